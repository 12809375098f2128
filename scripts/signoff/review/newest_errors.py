"""Where the model's errors have just moved: of all rows and by segment, beside earlier spans of equal length."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from signoff.review.periods import FEWEST_ROWS, SPANS, Periods, Step, means, periods_of, step
from signoff.review.reasons import alarm

# So many times the median error is cut off, which a few rows would move a mean by.
HUGE = 6
# The smallest effects: a mean error in shares of the usual one, and the logarithm of a ratio of errors.
MOVED, WORSE = 0.4, math.log(1.35)
LARGER, RARE = 1.4, 0.01
MOST_NAMED = 3


@dataclass(frozen=True)
class Move:
    """What has moved: the segment, or None for all rows; its mean error or the size of its errors; by what step."""

    feature: str | None
    level: str | None
    size: bool
    step: Step


def error_alarms(
    time: pd.Series, error: np.ndarray, slices: dict[str, tuple[np.ndarray, list[str]]], unit: str
) -> list[dict]:
    """Return an alarm where errors of the newest rows have moved as never before.

    Parameters
    ----------
    time, error
        Of n rows their time, and prediction less target by a model that had not seen the row.
    slices
        As `intervals.make_slices` gives them, for these rows.
    unit
        The target, in whose unit the errors are.
    """
    periods = periods_of(time)
    if periods is None or not np.isfinite(error).all():
        return []
    usual = float(np.median(np.abs(error)))
    most = HUGE * usual or math.inf
    error = np.clip(error, -most, most)
    usual = float(np.abs(error).mean())
    if not usual:
        return []
    everywhere = {None: (np.zeros(len(error), dtype="int64"), [None])}
    segments = sum(len(labels) for _, labels in slices.values())
    moves = []
    for feature, (codes, labels) in (everywhere | slices).items():
        for k, level in enumerate(labels):
            inside = codes == k
            checks = len(SPANS) * 2 * (1 if feature is None else segments)
            moves += moved(error, inside, usual, periods, checks, feature, level)
    return [
        alarm("newest_errors", each.feature, words(each, periods, unit))
        for each in causes(moves, error, slices, usual, periods)
    ]


def causes(
    moves: list[Move],
    error: np.ndarray,
    slices: dict[str, tuple[np.ndarray, list[str]]],
    usual: float,
    periods: Periods,
) -> list[Move]:
    """Return the moves that do not follow from others: all rows, or the segments without which these have not moved."""
    whole = [each for each in moves if each.feature is None]
    single = sorted((each for each in moves if each.feature is not None), key=lambda move: move.step.p)
    firsts: dict[str | None, Move] = {}
    for each in single:
        firsts.setdefault(each.feature, each)
    if not whole:
        return list(firsts.values())[:MOST_NAMED]
    for each in list(firsts.values())[:MOST_NAMED]:
        codes, labels = slices[each.feature]
        others = codes != labels.index(each.level)
        if others.mean() > 0.2 and not moved(error, others, usual, periods, len(SPANS) * 2, None, None):
            return [each]
    return [min(whole, key=lambda move: move.step.p)]


def moved(
    error: np.ndarray,
    inside: np.ndarray,
    usual: float,
    periods: Periods,
    checks: int,
    feature: str | None,
    level: str | None,
) -> list[Move]:
    """Return by what the mean error of some rows, and the size of their errors, has moved: the rarest step of each."""
    found = []
    for size in (False, True):
        best = None
        values = np.where(inside, np.abs(error) if size else error, np.nan)
        spread = float(np.nanstd(values)) if inside.any() else 0.0
        for length, figures, n in means(periods, values):
            if n[0] < FEWEST_ROWS:
                continue
            floor = spread / math.sqrt(n[0]) * 1.2
            if size:
                floor /= max(float(np.nanmean(figures)), 1e-12)
                figures = np.log(np.maximum(figures, 1e-12))
            each = step(figures, length, floor)
            if each is None or each.p > RARE / checks or each.larger < LARGER:
                continue
            far = each.now - each.before
            # Fewer errors are no harm.
            if (far < WORSE if size else abs(far) < MOVED * usual) or (not size and abs(each.now) < abs(each.before)):
                continue
            if best is None or each.p < best.p:
                best = each
        if best:
            found.append(Move(feature, level, size, best))
    return found


def words(move: Move, periods: Periods, unit: str) -> str:
    """Return the sentence of what has moved."""
    where = "" if move.feature is None else f"Where {move.feature} is {move.level}, "
    span = periods.words(move.step.length)
    if move.size:
        now, before = math.exp(move.step.now), math.exp(move.step.before)
        sentence = f"{where}the mean error of {unit} in {span} is {now:.4g}, {now / before:.1f} times that of the "
        sentence += f"spans before ({before:.4g})."
    else:
        sentence = f"{where}predictions of {unit} are off by {move.step.now:+.4g} on average in {span}, and were by "
        sentence += f"{move.step.before:+.4g} in the spans before: the target may have changed."
    return sentence[0].upper() + sentence[1:]
