"""Recent changes in the rows: the newest spans of time compared with earlier spans of equal length; see `periods`."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeGuard

import numpy as np
import pandas as pd
from scipy import special

from signoff.features.recipe import of_a_date
from signoff.features.records import Description
from signoff.release.records import AlarmRecord
from signoff.review import drift
from signoff.review.gaps import gap_alarms
from signoff.review.joint import joint_alarms
from signoff.review.periods import (
    BEFORE,
    FEWEST_ROWS,
    LENGTHS,
    SPANS,
    Change,
    Periods,
    enough_rows,
    means,
    periods_of,
    since,
    span_sums,
    spans_of,
    step,
)
from signoff.review.precision import precision_alarms
from signoff.review.reasons import alarm, vanished
from signoff.review.series import newest_steps
from signoff.review.times import clock_alarms, swap_alarms

# A step counts if it is this many times the largest earlier step, and this rare over all checks.
_LARGER = 1.5
_RARE, _RARE_IF_ALIKE = 0.006, 0.001
# The smallest effects that are reported: in mean ranks, their spread, logarithms of counts, and shares.
_LEVEL, _SPREAD, _VOLUME, _PART = 0.12, 0.07, math.log(1.35), 0.15
_MOST_ROWS = 60_000
_FEWEST_STUCK = 20
# Repeated rows count if they are rare in periods older than this, of which there must be some spans.
_RECENT, _FEWEST_OLDER = 8, 2
_MOST_NAMED = 3
_MOST_SEGMENTS = 60
# Consecutive rows that are repeated in the same order are not a coincidence.
_IN_A_ROW = 3


def newest_alarms(
    table: pd.DataFrame, description: Description, released: pd.Timestamp | None = None
) -> list[AlarmRecord]:
    """Return the alarms of what has just changed in the rows.

    Parameters
    ----------
    table
        The features of n rows, with the target, the time and the split. A sample must have the same share of each part.
    description
        The description that `feature_engineering` writes.
    released
        The day of the newest row of the deployed release. The rows since then are a span, too.
    """
    time = description["time_column"]
    if not time:
        return []
    table = table if table[time].is_monotonic_increasing else table.sort_values(time, kind="stable")
    periods = periods_of(table[time], released)
    if periods is None:
        return []
    kinds = {name: kind for name, kind in drift.columns(description) if not of_a_date(name, description)}
    checks = len(SPANS) * (2 * len(kinds) + 4)
    stuck = _stuck_columns(table, table[time], kinds, periods)
    repeats = _repeated(table, [*kinds], time, periods)
    volumes = _volume(table, kinds, periods, checks)
    skip = {each["feature"] for each in stuck}
    moved = _shifted(table, {name: kind for name, kind in kinds.items() if name not in skip}, periods, checks)
    # A step is stronger evidence than decimals.
    skip |= {each["feature"] for each in moved}
    precise = [each for each in precision_alarms(table, kinds, periods) if each["feature"] not in skip]
    skip |= {each["feature"] for each in precise}
    gaps = [each for each in gap_alarms(table, kinds, periods) if each["feature"] not in skip]
    target = table[description["target"]].to_numpy("float64", na_value=np.nan)
    clocks = clock_alarms(table[time], target, periods)
    found = [*repeats, *stuck, *precise, *gaps, *volumes, *moved, *clocks, *swap_alarms(table[time])]
    # A change in one column also changes its correlations.
    return found or joint_alarms(table, kinds, periods)


def _runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the start and the length of each run of equal values."""
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    return starts, np.diff(np.r_[starts, len(values)])


def _stuck_columns(
    table: pd.DataFrame, moments: pd.Series, kinds: dict[str, str], periods: Periods
) -> list[AlarmRecord]:
    """Return an alarm for each column that is stuck at one value for longer than ever before, up to the newest rows."""
    found = []
    for name in kinds:
        column = table[name]
        known = column.notna().to_numpy()
        values, _ = pd.factorize(column[known])
        recent = periods.codes[known]
        if len(values) < 2 * _FEWEST_STUCK:
            continue
        starts, lengths = _runs(values)
        near = (recent[starts] >= 0) & (recent[starts] <= max(2 * max(SPANS), periods.count // 4))
        near[-1] |= lengths[-1] < len(values) / 2
        if not near.any():
            continue
        k = np.flatnonzero(near)[np.argmax(lengths[near])]
        run, value = int(lengths[k]), values[starts[k]]
        before = values[: starts[k]]
        longest = int(lengths[:k].max(initial=0))
        share = (np.count_nonzero(before == value) + 1) / (len(before) + 2)
        if run < max(_FEWEST_STUCK, 3 * longest + 5) or run * math.log(share) > math.log(1e-6 / len(kinds)):
            continue
        shown, moment = column[known].iloc[starts[k]], moments[known].iloc[starts[k]]
        sentence = (
            f"{name} is {shown} in {run:,} consecutive rows, from {moment}; before, at most {longest:,} in a row were "
        )
        found.append(alarm("stuck", name, f"{sentence}equal."))
    return found


def _repeated(table: pd.DataFrame, columns: list[str], time: str, periods: Periods) -> list[AlarmRecord]:
    """Return the alarms about newest rows that are duplicates, or that repeat earlier rows except for the time."""
    hashes = pd.util.hash_pandas_object(table[columns], index=False).to_numpy()
    moments = table[time].astype("int64").to_numpy().view("uint64")
    twice = pd.Series(hashes ^ (moments * np.uint64(0x9E3779B97F4A7C15))).duplicated(keep=False).to_numpy("float64")
    # Rows before the first whole period count as the oldest.
    age = np.where(periods.codes < 0, periods.count, periods.codes)
    chain, varied = hashes.copy(), np.zeros(len(hashes), dtype=bool)
    for n in range(1, _IN_A_ROW):
        following = np.roll(hashes, -n)
        chain = chain * np.uint64(0x100000001B3) + following
        varied |= hashes != following
    earlier = _seen_before(hashes, age)
    elsewhere = earlier.astype("float64")
    # Of an earlier or of a later period.
    often = (earlier | _seen_before(hashes, age.max(initial=0) - age)).astype("float64")
    sequence = (_seen_before(chain, age) & varied).astype("float64")
    found: list[AlarmRecord] = []
    looked_at: list[tuple[np.ndarray, str, str, np.ndarray | None]] = [
        (twice, "duplicates", "appear twice, time and target included", None),
        (sequence, "stale", "repeat rows of an earlier period in their order, target included, but for the time", None),
        (elsewhere, "stale", "are copies of rows of another period, target included, but for the time", often),
    ]
    for values, kind, words, evenly in looked_at:
        best = _risen(values, periods, evenly)
        if best and kind not in {each["name"] for each in found}:
            sentence = f"{best.now:.0%} of the rows of {periods.words(best.length)} {words}; before it was at most "
            found.append(alarm(kind, None, f"{sentence}{best.before:.1%}."))
    return found


def _risen(values: np.ndarray, periods: Periods, evenly: np.ndarray | None = None) -> Change | None:
    """Return the span whose share of repeated rows is far above that of all spans before the newest _RECENT periods.

    A newer row has more rows before it that it can repeat. So `evenly` marks the rows with a copy in any other period,
    newer or older: their share must be larger than usual, too.
    """
    best = None
    marked = {length: shares for length, shares, _ in means(periods, evenly)} if evenly is not None else {}
    for length, shares, _ in means(periods, values):
        before = shares[-(-_RECENT // length) :]
        before = before[np.isfinite(before)]
        if len(before) < _FEWEST_OLDER or not np.isfinite(shares[0]):
            continue
        usual = float(before.max())
        if length in marked and marked[length][0] < np.nanmedian(marked[length][1:]) + _PART:
            continue
        if shares[0] >= max(usual + 2 * _PART, 2 * usual) and (
            best is None or shares[0] - usual > best.now - best.before
        ):
            best = Change(length, float(shares[0]), usual, 0.0, math.inf)
    return best


def _seen_before(keys: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Return for each row whether an older period has a row with the same key."""
    codes, several = pd.factorize(keys)
    oldest = np.zeros(len(several), dtype=age.dtype)
    np.maximum.at(oldest, codes, age)
    return oldest[codes] > age


def _most_moved(values: np.ndarray, periods: Periods, least: float, checks: int, chance: float = 0.0) -> Change | None:
    """Return the rarest step of the mean of values that counts, over all spans; None if none counts."""
    best = None
    for length, figures, n in means(periods, values):
        floor = chance / math.sqrt(max(float(np.median(n)), 1.0))
        found = step(figures, length, floor)
        if _is_news(found, least, checks) and (best is None or found.p < best.p):
            best = found
    return best if best and _outlasts(values, periods, best.length) else None


def _outlasts(values: np.ndarray, periods: Periods, length: int) -> bool:
    """Return whether a step is still rare if consecutive periods are autocorrelated."""
    use = (periods.codes >= 0) & np.isfinite(values)
    n = np.bincount(periods.codes[use], minlength=periods.count)[::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        means_by_period = np.bincount(periods.codes[use], values[use], periods.count)[::-1] / n
        tried = newest_steps(means_by_period[None], (1 / n)[None], [length])
    return all(each.p < _RARE_IF_ALIKE for *_, each in tried)


def _is_news(found: Change | None, least: float, checks: int) -> TypeGuard[Change]:
    """Return whether a step was found that is large and rare enough to be reported."""
    return (
        found is not None
        and abs(found.now - found.before) >= least
        and found.larger >= _LARGER
        and found.p < _RARE / checks
    )


def _volume(table: pd.DataFrame, kinds: dict[str, str], periods: Periods, checks: int) -> list[AlarmRecord]:
    """Return the alarms about the number of rows in the newest spans, in total and by segment."""
    found = []
    best = None
    counts = np.bincount(periods.codes[periods.codes >= 0], minlength=periods.count)
    for length, count in spans_of(periods):
        rows = span_sums(counts, length, count)
        each = step(np.log(rows + 0.5), length, math.sqrt(2 / max(float(np.median(rows)), 1.0)))
        if _is_news(each, _VOLUME, checks) and (best is None or each.p < best.p):
            best = each
    if best:
        now, before = (round(math.exp(each) - 0.5) for each in (best.now, best.before))
        sentence = f"{periods.words(best.length)[0].upper()}{periods.words(best.length)[1:]}: {now:,} rows; spans "
        found.append(alarm("volume", None, f"{sentence}of that length before had about {before:,}."))
    return found + _segments(table, kinds, periods)


def _segments(table: pd.DataFrame, kinds: dict[str, str], periods: Periods) -> list[AlarmRecord]:
    """Return an alarm for each column that has lost a level in the newest span, or nearly so, for the first time."""
    found = []
    for name, kind in kinds.items():
        codes, levels = pd.factorize(table[name])
        if kind != "category" or not 2 <= len(levels) <= _MOST_SEGMENTS:
            continue
        gone: dict[str, tuple[int, int, int]] = {}
        use = (periods.codes >= 0) & (codes >= 0)
        width = periods.count
        each = np.bincount(codes[use] * width + periods.codes[use], minlength=len(levels) * width).reshape(-1, width)
        for length, count in spans_of(periods):
            cells = span_sums(each, length, count)
            total = np.maximum(cells.sum(axis=0), 1)
            # Spans may begin with any period, so that a level that comes and goes has been absent from one of them.
            sliding = np.lib.stride_tricks.sliding_window_view(each, length, axis=1).sum(axis=-1)[:, length:]
            least = (sliding / np.maximum(sliding.sum(axis=0), 1)).min(axis=1)
            expected = least * total[0]
            # Poisson: the probability of this few rows, given the number that the lowest earlier share predicts.
            p = special.pdtr(cells[:, 0], np.maximum(expected, 1e-9))
            for k in np.flatnonzero((cells[:, 0] <= 0.3 * expected) & (p < 1e-4 / len(levels))):
                gone.setdefault(str(levels[int(k)]), (length, int(cells[k, 0]), int(np.median(cells[k, 1:]))))
        for level, (length, now, usual) in list(gone.items())[:_MOST_NAMED]:
            sentence = f"{name} is “{level}” in {now:,} rows of {periods.words(length)}; spans of that length before "
            found.append(vanished(name, [level], f"{sentence}had about {usual:,}."))
    return found


def _shifted(table: pd.DataFrame, kinds: dict[str, str], periods: Periods, checks: int) -> list[AlarmRecord]:
    """Return an alarm for each numeric column whose level or spread has an unprecedented step."""
    # Levels need no more rows than these, so every k-th row is used.
    every = len(table) // _MOST_ROWS + 1
    table = table.iloc[::every]
    periods = replace(periods, codes=periods.codes[::every])
    moved: list[tuple[float, str, Change]] = []
    for name in [each for each, kind in kinds.items() if kind == "number"]:
        values = table[name].to_numpy("float64", na_value=np.nan)
        ranks = pd.Series(values).rank(pct=True).to_numpy()
        each = _most_moved(ranks, periods, _LEVEL, checks, 0.3)
        each = each or _most_moved(np.abs(ranks - 0.5), periods, _SPREAD, checks, 0.15)
        each = each or _beyond(values, periods)
        if each:
            moved.append((each.p, name, each))
    found = []
    for _, name, each in sorted(moved, key=lambda row: row[0])[:_MOST_NAMED]:
        inside = (periods.codes >= 0) & (periods.codes < each.length)
        now, before = table[name][inside].dropna(), table[name][~inside].dropna()
        # A season can look like another unit, so the unit is taken from the rows just before.
        recent = (periods.codes >= each.length) & (periods.codes < each.length * (1 + BEFORE))
        unit = _unit_of(table[name][recent].dropna(), now)
        figures = f"its median is {now.median():.4g} there and {before.median():.4g} before"
        if math.isclose(now.median(), before.median(), rel_tol=0.05):
            spreads = [float(np.subtract(*rows.quantile([0.9, 0.1]))) for rows in (now, before)]
            figures = f"the middle 80% of its values span {spreads[0]:.4g} there and {spreads[1]:.4g} before"
        if unit:
            sentence = f"{name} seems to be in another unit in {periods.words(each.length)} ({unit}): {figures}."
            found.append(alarm("unit_change", name, sentence))
        else:
            words = "moved by more than between any earlier spans of that length"
            found.append(alarm("drift", name, f"{name} has {words} in {periods.words(each.length)}: {figures}."))
    return found


def _beyond(values: np.ndarray, periods: Periods) -> Change | None:
    """Return a step if many of the newest values lie far beyond all earlier ones."""
    known = np.isfinite(values)
    for length, _ in spans_of(periods):
        inside = (periods.codes >= 0) & (periods.codes < length)
        now, before = values[inside & known], values[~inside & known]
        if len(now) < FEWEST_ROWS or not len(before):
            continue
        low, high = before.min(), before.max()
        margin = 0.3 * (high - low)
        far = float(((now < low - margin) | (now > high + margin)).mean())
        if far >= _PART and high > low:
            return Change(length, far, 0.0, 0.0, math.inf)
    return None


def _unit_of(before: pd.Series, now: pd.Series) -> str | None:
    """Return the conversion that maps the newest values back to the earlier ones; None if none does."""
    profile = drift.profile(before, "number")
    unit: str | None = drift.compare("", profile, now)["unit"]
    return unit


def rows_by_day(rows: pd.DataFrame, time: str) -> pd.DataFrame:
    """Return the number of rows by day (column ""), and in how many of them each other column is missing."""
    days = rows[time].dt.tz_localize(None) if rows[time].dt.tz is not None else rows[time]
    lacking = rows.drop(columns=time).isna().astype("int64")
    lacking[""] = 1
    return lacking.groupby(days.dt.floor("D").to_numpy()).sum()


def missing_alarms(parts: Iterable[pd.DataFrame], released: pd.Timestamp | None = None) -> list[AlarmRecord]:
    """Return an alarm for each column that is missing more often in the newest rows than ever before.

    `parts` are results of `days_of`, each for some of the rows; `released` is as `newest_alarms` takes it.
    """
    several = list(parts)
    days = pd.concat(several).groupby(level=0).sum() if several else pd.DataFrame()
    if days.empty:
        return []
    age = (days.index.max() - days.index).days.to_numpy()
    found: list[tuple[float, AlarmRecord]] = []
    length = next((each for each in LENGTHS if enough_rows(age, days[""].to_numpy(), each)), None)
    if length is None:
        return []
    count = int((age.max() + 1) // length)
    last = days.index.max()
    codes = np.where(age < count * length, age // length, -1)
    periods = Periods(codes, count, length, last, since(released, last, length))
    use = periods.codes >= 0
    by_period = {name: np.bincount(periods.codes[use], days[name].to_numpy("float64")[use], count) for name in days}
    for name in [each for each in days.columns if each]:
        best = None
        for span, spans in spans_of(periods):
            total, lacking = (span_sums(by_period[each], span, spans) for each in ("", name))
            with np.errstate(divide="ignore", invalid="ignore"):
                shares = np.where(total >= FEWEST_ROWS // 2, lacking / total, np.nan)
            each = step(shares, span, math.sqrt(0.25 / max(float(np.median(total)), 1.0)) / 2)
            if _is_news(each, _PART / 2, len(SPANS) * len(days.columns)) and (best is None or each.p < best.p):
                best = each
        if best and best.now > best.before:
            sentence = (
                f"{name} is missing in {best.now:.1%} of the source's rows of {periods.words(best.length)}; before "
            )
            found.append((best.now, alarm("missing", name, f"{sentence}it was {max(best.before, 0):.1%}.")))
    return [each for _, each in sorted(found, key=lambda row: -row[0])[:_MOST_NAMED]]
