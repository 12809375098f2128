"""Newest rows that were loaded twice, entirely or except for one feature, or that repeat rows of an earlier period."""

import math
from typing import cast

import numpy as np
import pandas as pd

from signoff.features.records import Description
from signoff.release.records import AlarmRecord
from signoff.review.periods import SPANS, Change, Periods, means
from signoff.review.reasons import alarm
from signoff.tables.spill import GOLDEN

# Shares of repeated rows count if they exceed the usual share by twice this, and if they are rare in periods older than
# _RECENT, of which there must be some spans.
_PART, _RECENT, _FEWEST_OLDER = 0.15, 8, 2
# Consecutive rows that are repeated in the same order are not a coincidence.
_IN_A_ROW = 3
# How many rows must appear twice except for a feature before all rows are looked at.
_FEWEST_TWICE = 6


def repeated_alarms(
    table: pd.DataFrame, columns: list[str], description: Description, periods: Periods
) -> list[AlarmRecord]:
    """Return the alarms about newest rows that are duplicates, or that repeat earlier rows except for the time.

    Parameters
    ----------
    table
        n rows in the order of time.
    columns
        The features, but those of the calendar, and the target.
    description
        The description that `feature_engineering` writes: its time column and its target are used.
    """
    time = cast(str, description["time_column"])
    hashes = pd.util.hash_pandas_object(table[columns], index=False).to_numpy()
    twice = _twice(table, columns, time)
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
    return found or _nearly_repeated(table, columns, time, description["target"], periods)


def _nearly_repeated(
    table: pd.DataFrame, columns: list[str], time: str, target: str, periods: Periods
) -> list[AlarmRecord]:
    """Return an alarm if the newest rows appear twice except for one feature."""
    newest = table[(periods.codes >= 0) & (periods.codes < max(SPANS))]
    for name in [each for each in columns if each != target]:
        others = [each for each in columns if each != name]
        # Most tables have no such rows, so all rows are looked at only if the newest ones have them.
        if _twice(newest, others, time).sum() < _FEWEST_TWICE:
            continue
        if best := _risen(_twice(table, others, time), periods):
            sentence = f"{best.now:.0%} of the rows of {periods.words(best.length)} appear twice, time and target "
            sentence += f"included, but for {name}; before it was at most {best.before:.1%}."
            return [alarm("duplicates", name, sentence)]
    return []


def _twice(rows: pd.DataFrame, columns: list[str], time: str) -> np.ndarray:
    """Return 1 for each row that equals another one in these columns and the time, and 0 for all others."""
    hashes = pd.util.hash_pandas_object(rows[columns], index=False).to_numpy()
    moments = rows[time].astype("int64").to_numpy().view("uint64")
    return pd.Series(hashes ^ (moments * GOLDEN)).duplicated(keep=False).to_numpy("float64")


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
            best is None or shares[0] - usual >= best.now - best.before
        ):
            best = Change(length, float(shares[0]), usual, 0.0, math.inf)
    return best


def _seen_before(keys: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Return for each row whether an older period has a row with the same key."""
    codes, several = pd.factorize(keys)
    oldest = np.zeros(len(several), dtype=age.dtype)
    np.maximum.at(oldest, codes, age)
    return oldest[codes] > age
