"""Numbers that recently got more decimals: a sign of a multiplication, as in a conversion or a correction."""

import numpy as np
import pandas as pd

from signoff.release.records import AlarmRecord
from signoff.review.periods import Periods
from signoff.review.reasons import alarm

# Numbers with more decimals than this are computed, and are not evidence.
_MOST_DECIMALS = 4
# The length of the newest span, in periods, and the minimum number of older and of newer rows.
_NEWEST, _FEWEST_OLDER, _FEWEST = 8, 200, 5
_MOST_NAMED = 3


def precision_alarms(table: pd.DataFrame, kinds: dict[str, str], periods: Periods) -> list[AlarmRecord]:
    """Return an alarm for each numeric column whose newest rows have more decimals than any earlier row.

    Parameters
    ----------
    table
        n rows, the oldest first.
    kinds
        The kind of each column to look at.
    """
    newest = (periods.codes >= 0) & (periods.codes < min(_NEWEST, periods.count // 2))
    found = []
    for name in [each for each, kind in kinds.items() if kind == "number"]:
        values = table[name].to_numpy("float64", na_value=np.nan)
        known = np.isfinite(values)
        older = values[known & ~newest]
        if len(older) < _FEWEST_OLDER:
            continue
        usual = next((n for n in range(_MOST_DECIMALS + 1) if not _more_decimals(older, n).any()), None)
        if usual is None:
            continue
        more = known & newest
        more[more] = _more_decimals(values[more], usual)
        if more.sum() >= _FEWEST:
            found.append(alarm("unit_change", name, _words(table, kinds, name, more, newest, usual)))
    return found[:_MOST_NAMED]


def _more_decimals(values: np.ndarray, count: int) -> np.ndarray:
    """Return for each number whether it has more than `count` decimals."""
    scaled = values * 10.0**count
    # Digits beyond the precision of a float do not count as decimals.
    more: np.ndarray = np.abs(scaled - np.round(scaled)) > np.maximum(1e-6, np.abs(scaled) * 1e-9)
    return more


def _words(
    table: pd.DataFrame, kinds: dict[str, str], name: str, more: np.ndarray, newest: np.ndarray, usual: int
) -> str:
    """Return the sentence on a column, with the segment that all these rows share, if any."""
    first = np.flatnonzero(more)[0]
    time = next((table[each].iloc[first] for each in table if pd.api.types.is_datetime64_any_dtype(table[each])), None)
    since = "" if time is None else f" since {time:%Y-%m-%d}"
    decimals = "decimal" if usual == 1 else "decimals"
    sentence = (
        f"{name} has more than {usual} {decimals} in {more.sum():,} rows{since}, as in no row before: its values "
    )
    sentence += "may have been multiplied or converted."
    for each in [each for each, kind in kinds.items() if kind == "category"]:
        levels = table[each][more].unique()
        if len(levels) == 1 and (table[each][newest] == levels[0]).mean() < 0.8:
            return f"{sentence} In all of them {each} is {levels[0]}."
    return sentence
