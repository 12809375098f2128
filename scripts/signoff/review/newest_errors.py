"""Where the model's errors have just moved: of all rows and by segment, compared with earlier spans of equal length."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from signoff.review.periods import Periods, Step, jump, periods_of, span_sums, spans_of, steps_of
from signoff.review.reasons import alarm

Slices = dict[str, tuple[np.ndarray, list[str]]]

# Errors beyond this many times the median error are clipped: a few rows would move a mean.
_HUGE = 6
# The smallest effects that count: a mean error as a share of the usual error, and the logarithm of a ratio of errors.
_MOVED, _WORSE = 0.3, math.log(1.3)
# How many times as large as any earlier step, and how rare among all checks, a step must be.
_LARGER, _RARE = 1.3, 0.05
_RARE_OF_ALL = 0.005
# Errors of all rows grow and shrink for weeks where days are alike.
_LARGER_SIZE = 1.6
# Spans that end with the newest row share their rows, so that all of them are as many checks as these.
_SPANS = 2
_MOST_NAMED = 3
# Rows of a segment in a span, so that its mean says something.
_FEWEST = 6


@dataclass(frozen=True)
class _Move:
    """What has moved: the segment, or None for all rows; its mean error or the size of its errors; by what step."""

    feature: str | None
    level: str | None
    size: bool
    step: Step


def error_alarms(time: pd.Series, error: np.ndarray, slices: Slices, unit: str) -> list[dict[str, str | None]]:
    """Return an alarm if errors of the newest rows have moved as never before.

    Parameters
    ----------
    time, error
        The time of n rows, and prediction less target by a model that had not seen the row.
    slices
        As `intervals.make_slices` returns them, for these rows.
    unit
        The target's name.
    """
    periods = periods_of(time)
    if periods is None or not len(error):
        return []
    usual = float(np.median(np.abs(error)))
    most = _HUGE * usual or math.inf
    error = np.clip(error, -most, most)
    usual = float(np.abs(error).mean())
    if not usual:
        return []
    whole = _moves_of_all(time, error, usual, periods)
    moves = [each for feature in slices for each in _moves_of(feature, slices, error, usual, periods)]
    return [
        alarm("newest_errors", each.feature, _words(each, periods, unit))
        for each in _causes(whole, moves, time, error, slices, usual, periods)
    ]


def _causes(
    whole: list[_Move],
    moves: list[_Move],
    time: pd.Series,
    error: np.ndarray,
    slices: Slices,
    usual: float,
    periods: Periods,
) -> list[_Move]:
    """Return the moves that do not follow from others: all rows, or the segments without which these have not moved."""
    firsts: dict[str | None, _Move] = {}
    # Errors to one side are larger, too, and say more.
    for each in sorted(moves, key=lambda move: (move.size, move.step.p)):
        firsts.setdefault(each.feature, each)
    single = list(firsts.values())[:_MOST_NAMED]
    if not whole:
        return single
    for each in single:
        codes, labels = slices[str(each.feature)]
        others = codes != labels.index(str(each.level))
        rest = np.where(others, error, np.nan)
        if others.mean() > 0.2 and not _moves_of_all(time, rest, usual, periods):
            return [each]
    return whole[:1]


def _moves_of_all(time: pd.Series, error: np.ndarray, usual: float, periods: Periods) -> list[_Move]:
    """Return by what the mean error of all rows, and its size, have moved; rows whose error is NaN are left out."""
    days = time.dt.tz_localize(None).dt.floor("D") if time.dt.tz is not None else time.dt.floor("D")
    age = (periods.last - days).dt.days.to_numpy()
    use = np.isfinite(error) & (age >= 0)
    found = []
    for size in (False, True):
        values = np.abs(error[use]) if size else error[use]
        count = np.bincount(age[use])
        with np.errstate(divide="ignore", invalid="ignore"):
            daily = np.bincount(age[use], values) / count
            daily = np.log(np.maximum(daily, 1e-3 * usual)) if size else daily
        steps = [
            each
            for length, _ in spans_of(periods)
            if (each := jump(daily[::-1], length, periods.days)) is not None
            and each.p < _RARE_OF_ALL / (2 * _SPANS)
            and each.larger >= (_LARGER_SIZE if size else _LARGER)
            and _matters(each, size, usual)
        ]
        if steps:
            found.append(_Move(None, None, size, min(steps, key=lambda step: step.p)))
    return found


def _matters(each: Step, size: bool, usual: float) -> bool:
    """Return whether a step is large enough, and for the worse: smaller errors do no harm."""
    far = each.now - each.before
    if size:
        return far >= _WORSE
    return abs(far) >= _MOVED * usual and abs(each.now) >= abs(each.before)


def _moves_of(feature: str, slices: Slices, error: np.ndarray, usual: float, periods: Periods) -> Iterator[_Move]:
    """Yield by what the errors of each level of a feature have moved against those of all other rows."""
    codes, labels = slices[feature]
    width, checks = periods.count, _SPANS * 2 * sum(len(names) for _, names in slices.values())
    inside = (codes >= 0) & (periods.codes >= 0)
    cells = codes[inside] * width + periods.codes[inside]
    shape, all_rows = (len(labels), width), periods.codes[periods.codes >= 0]
    n = np.bincount(cells, minlength=len(labels) * width).reshape(shape)
    total_n = np.bincount(all_rows, minlength=width)
    for size in (False, True):
        values = np.abs(error) if size else error
        sums = np.bincount(cells, values[inside], len(labels) * width).reshape(shape)
        total = np.bincount(all_rows, values[periods.codes >= 0], width)
        deviations = _deviations(values, codes, len(labels), size)
        best: dict[int, Step] = {}
        for length, count in spans_of(periods):
            rows, several = span_sums(n, length, count), span_sums(sums, length, count)
            with np.errstate(divide="ignore", invalid="ignore"):
                own = several / rows
                rest = (span_sums(total, length, count) - several) / (span_sums(total_n, length, count) - rows)
                figures = np.log(own / rest) if size else own - rest
            figures[(rows < _FEWEST) | ~np.isfinite(figures)] = np.nan
            for k, each in steps_of(figures, rows, deviations, length):
                news = each.p < _RARE / checks and each.larger >= _LARGER and _matters(each, size, usual)
                if news and (k not in best or each.p < best[k].p):
                    best[k] = each
        for k, each in best.items():
            yield _Move(feature, labels[k], size, each)


def _deviations(values: np.ndarray, codes: np.ndarray, count: int, relative: bool) -> np.ndarray:
    """Return the standard deviation of the values of each level, or what it is as a share of their mean."""
    found = np.zeros(count)
    for k in range(count):
        inside = values[codes == k]
        if len(inside):
            found[k] = inside.std() / (max(float(inside.mean()), 1e-12) if relative else 1.0)
    return found


def _words(move: _Move, periods: Periods, unit: str) -> str:
    """Return the sentence on what has moved."""
    where = "" if move.feature is None else f"Where {move.feature} is {move.level}, "
    span = periods.words(move.step.length)
    now, before = move.step.now, move.step.before
    if move.size and move.feature is None:
        now, before = math.exp(now), math.exp(before)
        sentence = f"the mean error of {unit} in {span} is {now:.4g}, {now / before:.1f} times that before "
        sentence += f"({before:.4g})."
    elif move.size:
        now, before = math.exp(now), math.exp(before)
        sentence = f"{where}errors in {span} are {now:.2g} times as large as those of all other rows, and were "
        sentence += f"{before:.2g} times as large before."
    else:
        against = "" if move.feature is None else " against those of all other rows"
        sentence = f"{where}predictions of {unit} are off by {now:+.4g}{against} on average in {span}, and were by "
        sentence += f"{before:+.4g} before: the target may have changed."
    return sentence[0].upper() + sentence[1:]
