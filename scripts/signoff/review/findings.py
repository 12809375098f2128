"""Alarms about shifts in the rows, each judged by its size."""

import numpy as np
import pandas as pd

from signoff.release.records import AlarmRecord, DriftRow
from signoff.review.drift import NEWS, SHARE, longest_absence, never_by_chance, usual_turnover
from signoff.review.reasons import alarm, vanished

# At most this many shifted columns get their own sentence.
_MOST_SHIFTED = 3


def last_seen(before: pd.DataFrame, after: pd.DataFrame, kinds: dict[str, str], time: str) -> list[AlarmRecord]:
    """Return an alarm for each level that vanishes within the held-out part; both parts are in the order of time.

    A level that comes and goes, like weekends, has been absent for as long in the training part. In a column of people
    who come and leave, others have gone for good.
    """
    found = []
    for name in [each for each, kind in kinds.items() if kind == "category"]:
        codes, levels = pd.factorize(before[name])
        counts = np.bincount(codes[codes >= 0], minlength=len(levels))
        places = levels.get_indexer(pd.Index(after[name]))
        last = np.full(len(levels), -1)
        # The last place of each level is kept.
        last[places[places >= 0]] = np.flatnonzero(places >= 0)
        for k in np.flatnonzero((counts >= max(SHARE * len(before), 1)) & (last >= 0)):
            silent = len(after) - 1 - last[k]
            if not never_by_chance(counts[k] / len(before), silent, len(levels)):
                continue
            absent = silent > NEWS * longest_absence(codes == k)
            if absent and counts[k] / len(before) * silent > NEWS * usual_turnover(before[name][::-1], silent):
                moment = after[time].iloc[last[k]]
                level = str(levels[int(k)])
                sentence = (
                    f"{name} is “{level}” for the last time at {moment}, {silent:,} held-out rows before the end."
                )
                found.append(vanished(name, [level], sentence))
    return found


def each_level_once(alarms: list[AlarmRecord]) -> list[AlarmRecord]:
    """Return alarms without a second one on a level that has vanished: from the held-out part, or the newest weeks."""
    found: list[AlarmRecord] = []
    gone: set[tuple[str | None, str]] = set()
    for each in alarms:
        levels = {(each["feature"], level) for level in each.get("levels", [])}
        if not levels or levels - gone:
            found.append(alarm(each["name"], each["feature"], each["sentence"]))
            gone |= levels
    return found


def drift_alarms(rows: list[DriftRow], where: str) -> list[AlarmRecord]:
    """Return the alarms about the results of `drift.compare`; `where` says what the later rows are."""
    found, shifted = [], []
    for row in rows:
        name, quoted = row["feature"], [f"“{each}”" for each in (*row["vanished"], *row["new"])]
        gone, new = quoted[: len(row["vanished"])], quoted[len(row["vanished"]) :]
        if row["unit"]:
            sentence = f"{name} seems to be in another unit in {where} ({row['unit']})."
            found.append(alarm("unit_change", name, sentence))
        elif gone:
            sentence = f"{name} is never {' or '.join(gone[:3])} in {where}."
            found.append(vanished(name, row["vanished"][:3], sentence))
        elif new:
            found.append(
                alarm("new_category", name, f"{name} is {' or '.join(new[:3])} for the first time in {where}.")
            )
        if abs(row["missing"][1] - row["missing"][0]) > 0.1 and row["flagged"]:
            before, after = row["missing"]
            found.append(
                alarm("missing", name, f"{name} is missing in {after:.1%} of {where}, before in {before:.1%}.")
            )
        elif row["flagged"] and not row["unit"] and not gone and not new:
            what = f"{name} (its length)" if row["kind"] == "text" else name
            shifted.append((name, what, f"PSI {row['psi']:.2f}, {row['statistic']} distance {row['size']:.2f}"))
    for name, what, sizes in shifted[:_MOST_SHIFTED]:
        found.append(alarm("drift", name, f"{what} has a different distribution in {where}: {sizes}."))
    if others := [what for _, what, _ in shifted[_MOST_SHIFTED:]]:
        listed = f"{', '.join(others[:10])}{', …' if len(others) > 10 else ''}"
        found.append(alarm("drift", None, f"{len(others)} more have a different distribution in {where}: {listed}."))
    return found
