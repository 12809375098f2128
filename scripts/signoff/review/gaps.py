"""Whole numbers that have recently disappeared between their neighbours: a sign of a multiplication with rounding.

Times 1.19 and rounded, 2 stays 2 and 3 becomes 4: no row is 3 any more. A season or a trend moves neighbours together
and leaves no such gaps. Values may come in lumps (all rows of a day share its temperature; a sensor has other values
after it was serviced), so the gaps of the newest span are compared with those of earlier spans, and must be those of a
multiplication.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from signoff.base.numbers import listed
from signoff.release.records import AlarmRecord
from signoff.review.periods import FEWEST_STEPS, SPANS, Periods, span_sums, spans_of
from signoff.review.reasons import alarm

# Numbers with more decimals, or with more different steps between their tails, are too fine to have gaps.
_MOST_DECIMALS, _MOST_VALUES = 2, 1500
_TAIL = 0.005
# A value is compared with this many neighbours on each side, and must have been in this many earlier rows.
_NEIGHBOURS, _FEWEST_BEFORE = 3, 20
# How many rows must be lacking: at least, in standard deviations, and as a multiple of the most in any earlier span.
_LACKING, _SURE, _LARGER = 12.0, 5.0, 2.0
# Factors with four decimals, and some conversions that have more; how many are tried at once. What the gaps of a factor
# must explain: a share of the lacking rows, on values with hardly any of the rows that are expected there.
_FACTORS = np.r_[np.arange(10_200, 40_001) / 10_000, 1.609344, 2.204623, 3.28084, 3.785412]
_AT_ONCE = 1000
# A half may be rounded up or down.
_HALVES = (0.5 - 1e-6, 0.5 + 1e-6)
_EXPLAINED, _HELD = 0.6, 0.08
_MOST_NAMED = 3


class _Gap(NamedTuple):
    """The values that are absent from the newest `length` periods, and how many rows were expected to have them."""

    length: int
    values: list[float]
    rows: float


def gap_alarms(table: pd.DataFrame, kinds: dict[str, str], periods: Periods) -> list[AlarmRecord]:
    """Return an alarm for each numeric column whose newest values have gaps that earlier ones did not have.

    Parameters
    ----------
    table
        n rows.
    kinds
        The kind of each column to look at.
    """
    found = []
    for name in [name for name, kind in kinds.items() if kind == "number"]:
        lattice = _lattice(table[name].to_numpy("float64", na_value=np.nan))
        if lattice is None:
            continue
        if gap := _gap(*lattice, periods):
            found.append(alarm("unit_change", name, _words(name, gap, periods)))
    return found[:_MOST_NAMED]


def _lattice(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the place of each number among all steps between the tails (-1: none), and these steps; None: too fine."""
    known = values[np.isfinite(values)]
    if len(known) < _FEWEST_BEFORE * FEWEST_STEPS:
        return None
    low, high = np.quantile(known, [_TAIL, 1 - _TAIL])
    for scale in (10.0**n for n in range(_MOST_DECIMALS + 1)):
        if np.abs(known * scale - np.round(known * scale)).max() < 1e-6:
            break
    else:
        return None
    first, last = round(low * scale), round(high * scale)
    if not 3 <= last - first <= _MOST_VALUES:
        return None
    place = np.full(len(values), -1, dtype="int64")
    inside = np.isfinite(values) & (values >= low) & (values <= high)
    place[inside] = np.round(values[inside] * scale).astype("int64") - first
    return place, np.arange(first, last + 1) / scale


def _gap(place: np.ndarray, values: np.ndarray, periods: Periods) -> _Gap | None:
    """Return the gaps of the newest span, if no earlier span had nearly as many and a factor explains them."""
    numbers = np.round(values / (values[1] - values[0])).astype("int64")
    use = (periods.codes >= 0) & (place >= 0)
    size = len(values)
    rows = np.bincount(place[use] * periods.count + periods.codes[use], minlength=size * periods.count)
    rows = rows.reshape(size, periods.count)
    if rows.sum(axis=1).max() < _FEWEST_BEFORE:
        return None
    # Before a multiplication, whichever of these spans it fills.
    older = rows[:, max(SPANS) :].sum(axis=1)
    best = None
    for length, count in spans_of(periods):
        now = span_sums(rows, length, count)
        before = rows.sum(axis=1)[:, None] - now
        # The rows that a value would have if it had kept its share among its neighbours.
        near_now, near_before = _near(now), _near(before)
        expected = np.where(before >= _FEWEST_BEFORE, before * near_now / np.maximum(near_before, 1), 0.0)
        # The smallest and the largest values of a span are no gaps.
        between = (np.cumsum(now, axis=0) > 0) & (np.cumsum(now[::-1], axis=0)[::-1] > 0)
        expected = np.where(between, expected, 0.0)
        none = np.exp(-expected)
        lacking = (expected * ((now == 0) - none)).sum(axis=0)
        limit = _LACKING + _SURE * float(np.sqrt((expected[:, 0] ** 2 * none[:, 0] * (1 - none[:, 0])).sum()))
        limit = max(limit, _LARGER * float(lacking[1:].max(initial=0.0)))
        found = count > FEWEST_STEPS and lacking[0] >= limit and (best is None or lacking[0] > best.rows)
        if found and _of_a_factor(numbers, now[:, 0], older, expected[:, 0]):
            absent = np.flatnonzero(now[:, 0] == 0)
            most = sorted(absent[np.argsort(-expected[absent, 0], kind="stable")][:_MOST_NAMED])
            best = _Gap(length, [float(values[k]) for k in most], float(expected[absent, 0].sum()))
    return best


def _of_a_factor(numbers: np.ndarray, now: np.ndarray, before: np.ndarray, expected: np.ndarray) -> bool:
    """Return whether the absent values are those that the earlier ones times a factor, rounded, never give.

    Parameters
    ----------
    numbers
        k consecutive whole numbers.
    now, before, expected
        The newest rows with each number, those long before, and those that were expected without gaps.
    """
    lacking = np.where(now == 0, expected, 0.0)
    # Of the numbers below, in the tail, some are there.
    below = np.arange(int(numbers[0] / _FACTORS.max()), numbers[0] + 1)[-_MOST_VALUES:]
    earlier = np.r_[below, numbers[before > 0]]

    def fits(given: np.ndarray) -> bool:
        """Return whether the values without the given ones (a row for each factor) are the absent ones."""
        place = given - numbers[0]
        inside = (place >= 0) & (place < len(numbers))
        never = np.ones((len(given), len(numbers)), dtype=bool)
        never[np.nonzero(inside)[0], place[inside]] = False
        held = never @ now <= _HELD * (never @ expected)
        return bool((held & (never @ lacking >= _EXPLAINED * lacking.sum())).any())

    return any(
        fits(np.hstack([np.floor(factors[:, None] * earlier + half).astype("int64") for half in _HALVES]))
        for factors in np.array_split(_FACTORS, math.ceil(len(_FACTORS) / _AT_ONCE))
    )


def _near(rows: np.ndarray) -> np.ndarray:
    """Return the rows of each value (the first axis) and its neighbours together."""
    total = np.vstack([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0)])
    place = np.arange(len(rows))
    ends = np.minimum(place + _NEIGHBOURS + 1, len(rows)), np.maximum(place - _NEIGHBOURS, 0)
    found: np.ndarray = total[ends[0]] - total[ends[1]]
    return found


def _words(name: str, gap: _Gap, periods: Periods) -> str:
    """Return the sentence on the gaps of a column."""
    shown = listed([f"{each:g}" for each in gap.values], "or")
    return (
        f"{name} is never {shown} in {periods.words(gap.length)}, though about {gap.rows:,.0f} rows with such values "
        "were expected between their neighbours: its values may have been multiplied or converted."
    )
