"""Whether a model's predictions have anything to do with the target."""

import math

import numpy as np
import pandas as pd

from signoff.release.records import AlarmRecord
from signoff.review.intervals import MIN_ROWS
from signoff.review.reasons import alarm


def one_value(actual: np.ndarray, predicted: np.ndarray) -> list[AlarmRecord]:
    """Return an alarm if the model predicts nearly the same value for each of n held-out rows."""
    # The standard deviation is not robust to a heavy tail, and percentiles fail if nearly all values are the same.
    middle = [float(np.subtract(*np.quantile(each, [0.95, 0.05]))) for each in (actual, predicted)]
    spread, own = float(np.std(actual)), float(np.std(predicted))
    if own > 0.01 * spread or middle[1] > 0.01 * middle[0]:
        return []
    sentence = f"The model predicts nearly the same for every row: its predictions vary by {own:.3g}, "
    return [alarm("constant_prediction", None, sentence + f"the target by {spread:.4g} (standard deviations).")]


def order(*parts: tuple[np.ndarray, np.ndarray]) -> float:
    """Return how much better than chance the model ranks rows, in standard errors.

    A model that is worse than the mean may still know something. Each part is actual and predicted values, of held-out
    rows and of training rows that the model had not seen. The best result counts, among each part and all of them
    together.
    """
    signs = [_rank_correlation(*each) for each in parts]
    weights = np.sqrt([len(each) for each, _ in parts])
    return max(*signs, float(weights @ signs) / math.sqrt(weights @ weights))


def _rank_correlation(actual: np.ndarray, predicted: np.ndarray) -> float:
    """Return Spearman's rank correlation in standard errors; 0 where it is not defined."""
    if len(actual) < MIN_ROWS or np.ptp(actual) == 0 or np.ptp(predicted) == 0:
        return 0.0
    ranks = [pd.Series(each).rank() for each in (actual, predicted)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) * math.sqrt(len(actual) - 1)
