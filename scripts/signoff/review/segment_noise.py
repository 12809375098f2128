"""How much of a segment's newest targets would have to be noise for the checks of newest errors to see it.

Noise leaves the mean of the targets as it is. It shows in the size of the errors, and in the slope of the targets on
the predictions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from signoff.review.periods import Change

# Noise in a whole segment is a large fault, but a small signal: few tables would show it nine times in ten.
_CHANCE = 0.5


@dataclass(frozen=True)
class Check:
    """A check of the newest errors of a segment: of their "size" (the logarithm of their ratio to those of all other
    rows) or of the "slope" of the targets on the predictions; the step that was found; the smallest that counts; and
    pairs of limits of its ratio to the largest earlier step, and of its p-value."""

    kind: str
    step: Change
    least: float
    limits: Sequence[tuple[float, float]]


def growth(error: np.ndarray, predicted: np.ndarray, most: float) -> float:
    """Return how many times as large the errors of n rows are if each row gets the target of another one.

    `error` is prediction less target. Errors beyond `most` are clipped.
    """
    usual = float(np.clip(np.abs(error), 0, most).mean()) if len(error) else 0.0
    if not usual:
        return 1.0
    others = np.random.default_rng(0).permutation(predicted - error)
    return float(np.clip(np.abs(predicted - others), 0, most).mean()) / usual


def least_share(checks: Sequence[Check], grown: float) -> float:
    """Return the smallest share of a segment's newest targets whose exchange for noise is seen every second time.

    The result is more than 1, or infinite, if noise in all of them would rather go unseen. `grown` is what `growth`
    returns for the segment.
    """
    found = [math.inf]
    for each in checks:
        far = min(max(each.step.least(p, larger, _CHANCE), each.least) for larger, p in each.limits)
        if each.kind == "size" and grown > 1:
            found.append(math.expm1(far) / (grown - 1))
        if each.kind == "slope" and each.step.before > 0:
            # Noise flattens the slope. A slope that was too steep is first flattened to 1, which is no news.
            found.append(max(far, 2 * (each.step.before - 1)) / each.step.before)
    return min(each for each in found if not math.isnan(each))
