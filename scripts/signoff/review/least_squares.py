"""Least squares of n numbers by splines of others, on their normal scores."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtri
from sklearn.preprocessing import SplineTransformer

BINS = 16


class _Gain(NamedTuple):
    """The share of variance that further columns explain, adjusted for their number, its standard error, and F."""

    share: float
    error: float
    f: float


def normal_scores(values: np.ndarray) -> np.ndarray:
    """Return n normal scores in the order of the values; ties share a score, and missing values stay missing."""
    ranks = pd.Series(values).rank().to_numpy("float64")
    scores: np.ndarray = ndtri((ranks - 0.5) / max(np.isfinite(ranks).sum(), 1))
    return scores


def gain(known: list[np.ndarray], more: list[np.ndarray], wanted: np.ndarray) -> _Gain:
    """Return the gain from adding the columns `more` to `known` in a least-squares fit of `wanted` (n numbers)."""
    before, after = rest_of(known, wanted), rest_of([*known, *more], wanted)
    added = sum(each.shape[1] for each in more)
    left = len(wanted) - 1 - added - sum(each.shape[1] for each in known)
    first, second = float(before @ before) or 1e-300, float(after @ after)
    share = 1 - (second / left) / (first / (left + added))
    f = (first - second) / added / max(second / left, 1e-300)
    positive = min(max(share, 0.0), 1.0)
    return _Gain(share, math.sqrt(4 * positive * (1 - positive) ** 2 / left + 2 * added / left**2), f)


def t_of(known: list[np.ndarray], values: np.ndarray, wanted: np.ndarray) -> float:
    """Return the t statistic of a column beside the columns `known` in a least-squares fit of `wanted` (n numbers)."""
    own, rest = rest_of(known, values), rest_of(known, wanted)
    squares = float(own @ own) or 1e-300
    slope = float(own @ rest) / squares
    left = rest - slope * own
    degrees = len(wanted) - 2 - sum(each.shape[1] for each in known)
    return slope / math.sqrt(max(float(left @ left), 1e-300) / max(degrees, 1) / squares)


def spline(values: np.ndarray) -> np.ndarray:
    """Return cubic splines of n numbers, with knots at quantiles; a missing value counts as the middle."""
    filled = np.where(np.isfinite(values), values, np.nanmedian(values))
    knots = np.unique(np.quantile(filled, np.linspace(0, 1, BINS)))
    if len(knots) < 3:
        return filled[:, None]
    made = SplineTransformer(degree=3, knots=knots[:, None], extrapolation="linear", include_bias=False)
    found: np.ndarray = made.fit_transform(filled[:, None])
    return found


def rest_of(known: list[np.ndarray], wanted: np.ndarray) -> np.ndarray:
    """Return the residuals of a linear model of n numbers on the columns."""
    matrix = np.hstack([np.ones((len(wanted), 1)), *known])
    weights, *_ = np.linalg.lstsq(matrix, wanted, rcond=1e-10)
    rest: np.ndarray = wanted - matrix @ weights
    return rest
