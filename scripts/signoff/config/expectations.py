"""What a data contract expects of a delivery, inferred from one table with slack for ordinary weeks to come."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from signoff.tables.delivery import Delivery
from signoff.tables.delivery_checks import FEWEST_DELIVERED_ROWS, STEADY_PERIODS, STEADY_ROWS, USUAL
from signoff.tables.records import ColumnRules

# The share of rows that the source must keep: a rolling window shrinks a little, and half a history is too little.
_KEPT = 0.7
# Of a newest period, its length in days; the first with enough rows and periods is used.
_LENGTHS = (7, 28)
_FEWEST_PERIODS = 10
# A table whose newest row is older is not updated, or not with its dates.
_OLDEST_DAYS = 31
_DELAY_DAYS = 21
_MOST_LEVELS = 50
# Of what was seen at least, or beyond what was seen at most, so much is allowed.
_SHARE_OF_LEAST, _SHARE_TO_ALL = 0.6, 0.25


def expectations(
    frame: pd.DataFrame, kinds: dict[str, str], target: str, time: str | None, now: pd.Timestamp | None
) -> tuple[dict[str, Any], dict[str, ColumnRules]]:
    """Return the keys of a contract about a delivery: those of the table, and by column its own.

    Parameters
    ----------
    frame
        n rows × m columns, as `read_table` gives them.
    kinds
        number, boolean, date, text or empty for each column.
    target, time
        The target column and the time column, None without one.
    now
        When the table was ingested (UTC, without a zone).
    """
    names = [name for name, kind in kinds.items() if kind in ("text", "boolean") and name != target]
    few = [name for name in names if 2 <= frame[name].nunique() <= _MOST_LEVELS]
    delivery = Delivery(few, frame.columns)
    times = frame[time] if time else None
    delivery.look(frame, times)
    table: dict[str, Any] = {"rows": {"min": _KEPT}}
    if not delivery.days:
        return table, _most_missing(delivery, frame.columns, None)
    length = next((each for each in _LENGTHS if _regular(delivery.periods(delivery.days, each))), None)
    if length:
        table["rows"] |= _newest_share(delivery.periods(delivery.days, length))
        table |= {"newest": f"{length} days"} if length != 7 else {}
    if now is not None and delivery.newest is not None:
        age = (now - delivery.newest) / pd.Timedelta(days=1)
        if age <= _OLDEST_DAYS:
            table["freshness"] = f"{int(max(age, 0)) + _DELAY_DAYS} days"
    complete: dict[str, Any] = {"every": every} if (every := _every(delivery.days)) else {}
    if length and (steady := [name for name in few if _steady(delivery, name, length)]):
        complete["levels"] = steady
    return table | ({"complete": complete} if complete else {}), _most_missing(delivery, frame.columns, length)


def _regular(counts: np.ndarray) -> bool:
    return len(counts) >= _FEWEST_PERIODS and float(np.median(counts)) >= FEWEST_DELIVERED_ROWS


def _newest_share(counts: np.ndarray) -> dict[str, float]:
    """Return the least share of the usual rows that the newest period may have, by those seen; newest first."""
    usual = [np.median(counts[n + 1 : n + 1 + USUAL]) for n in range(len(counts) - USUAL)]
    least = min(n / each if each else 0.0 for n, each in zip(counts, usual, strict=False))
    share = float(f"{_SHARE_OF_LEAST * least:.2f}")
    return {"newest": share} if share else {}


def _every(days: Mapping[int, int]) -> str | None:
    """Return the shortest calendar period in which rows are never missing, with enough of them to rely on that."""
    counts = pd.Series(dict(days)).sort_index()
    index = pd.to_datetime(counts.index, unit="D")
    span = int(counts.index[-1] - counts.index[0]) + 1
    for every, rule, least in (("day", "D", 400), ("week", "W", 7 * _FEWEST_PERIODS), ("month", "MS", 300)):
        whole = counts.set_axis(index).resample(rule).sum().iloc[1:-1]
        if span >= least and whole.min() >= STEADY_ROWS:
            return every
    return None


def _steady(delivery: Delivery, name: str, length: int) -> bool:
    """Return whether every level of a column has about as many rows in each period."""
    levels = delivery.by_level(name, length).values()
    return all(
        len(counts) > STEADY_PERIODS and counts.min() >= max(STEADY_ROWS, 0.5 * counts.max()) for counts in levels
    )


def _most_missing(delivery: Delivery, names: Iterable[str], length: int | None) -> dict[str, ColumnRules]:
    """Return for each column the largest shares of missing values that are allowed, in all rows and in the newest."""
    found: dict[str, ColumnRules] = {}
    for name in names:
        overall = newest = delivery.missing[name] / max(delivery.rows, 1)
        counts = delivery.periods(delivery.days, length or _LENGTHS[0]) if delivery.days else np.zeros(0)
        enough = counts >= FEWEST_DELIVERED_ROWS
        if enough.any():
            absent = delivery.periods(delivery.missing_by_day[name], length or _LENGTHS[0])
            newest = max(newest, float((absent[enough] / counts[enough]).max()))
            if enough.sum() < _FEWEST_PERIODS:
                # Of few periods, chance: three standard errors of the share in as few rows as are judged.
                newest += 3 * float(np.sqrt(overall * (1 - overall) / FEWEST_DELIVERED_ROWS))
        shares = [_allowed(overall), _allowed(newest)]
        if min(shares) < 1:
            same = shares[0] == shares[1]
            found[name] = {"max_missing": shares[0] if same else {"all": shares[0], "newest": shares[1]}}
    return found


def _allowed(share: float) -> float:
    return min(math.ceil(100 * (share + _SHARE_TO_ALL * (1 - share))) / 100, 1.0)
