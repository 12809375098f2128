"""Whether the newest values of an autocorrelated series differ from those before.

A series is modelled as a level, white noise, and an AR(1) process. The correlation of neighbours alone would miss the
process if the noise is large, and raise alarms about its turns. Its size and persistence are unknown: several values
are averaged, weighted by their likelihood.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import special

from signoff.review.periods import FEWEST_STEPS, Change

# The AR(1) process: its variance as a multiple of the noise's, and its persistence; the first pair is for none.
_GRID = [(0.0, 0.0), *((size, stays) for size in (0.1, 0.3, 1.0, 3.0, 10.0) for stays in (0.5, 0.8, 0.95))]
# The noise of an unknown value, as a multiple of the usual noise.
_UNKNOWN = 1e6
# Series of one kind add as much information on the noise of each as this many values of its own (Smyth 2004,
# Statistical Applications in Genetics and Molecular Biology 3: moderated t).
_SHARED = 8
# The minimum number of older values in a series.
_FEWEST_KNOWN = 6


def newest_steps(
    values: np.ndarray, noise: np.ndarray, lengths: Sequence[int], every: int = 1
) -> Iterator[tuple[int, int, Change]]:
    """Yield, for each series and length, the step between the newest values and all earlier ones.

    Generalised least squares for each covariance of a grid, weighted by the restricted likelihood of the older values
    (Patterson, Thompson 1971, Biometrika 58), which all series share. `larger` is the ratio of the statistic to its
    largest value at any earlier time, so a season or a trend does not count as a step.

    Parameters
    ----------
    values, noise
        k series of m values, the oldest first, NaN if unknown; and the variance of each value's white noise, up to a
        factor.
    lengths, every
        How many values are newest, in multiples of `every`, which is also the distance of earlier times.

    Yields
    ------
    series, length, step
        The number of the series, from 0; `length` is one of `lengths`.
    """
    # Constant series have no noise, and do not show what is usual.
    known = np.isfinite(values) & np.isfinite(noise) & (noise > 0)
    size = values.shape[1]
    longest = max(lengths, default=0) * every
    usable = np.flatnonzero(known[:, : max(size - longest, 0)].sum(axis=1) >= _FEWEST_KNOWN)
    if not len(usable):
        return
    values, noise, known = values[usable], noise[usable], known[usable]
    usual = np.array([np.median(each[there]) for each, there in zip(noise, known, strict=True)])
    scale = np.where(known, noise / usual[:, None], _UNKNOWN)
    middle = np.array([each[there].mean() for each, there in zip(values, known, strict=True)])
    centred = np.where(known, values - middle[:, None], 0.0)
    fits = [_Whitened(centred, scale, known, *each) for each in _GRID]
    likelihood = np.array([each.likelihood(size - longest) for each in fits])
    weights = np.exp(likelihood - likelihood.max())
    weights /= weights.sum()
    best = fits[int(np.argmax(weights))]
    for length in lengths:
        late = length * every
        tests = [each.step(size, late, usual) for each in fits]
        p = sum(
            weight * 2 * special.stdtr(df, -np.abs(t)) for weight, (_, _, t, df) in zip(weights, tests, strict=True)
        )
        before, far, now, degrees = best.step(size, late, usual)
        ends = [end for end in range(size - every, 0, -every) if end <= size - late and end - late >= size // 4]
        earlier = [np.abs(best.step(end, late, usual)[2]) for end in ends]
        if len(earlier) < FEWEST_STEPS:
            continue
        most = np.maximum(np.max(earlier, axis=0), 1e-12)
        enough = known[:, size - late :].any(axis=1)
        for k in np.flatnonzero(enough & np.isfinite(p)):
            first, t = float(before[k] + middle[k]), abs(float(now[k]))
            error = abs(float(far[k])) / t if t else math.inf
            figures = (first + float(far[k]), first, float(p[k]), t / float(most[k]))
            yield int(usable[k]), length, Change(length, *figures, error, float(degrees[k]), float(most[k]))


class _Whitened:
    """k series of m values under one covariance. The whitening depends on older values alone."""

    def __init__(self, values: np.ndarray, scale: np.ndarray, known: np.ndarray, size: float, stays: float):
        count = values.shape[1]
        place = np.arange(count)
        lasting = size * stays ** np.abs(np.subtract.outer(place, place)) if size else np.zeros((count, count))
        root = np.linalg.cholesky(lasting + scale[:, :, None] * np.eye(count))
        self.known, self.logarithms = known, np.log(np.diagonal(root, axis1=1, axis2=2))
        self.inverse = np.linalg.inv(root)
        self.level = self.inverse.sum(axis=2)
        self.values = (self.inverse @ values[:, :, None])[:, :, 0]

    def likelihood(self, end: int) -> float:
        """Return the logarithm of the restricted likelihood of the values before `end`, of all series together."""
        one, y = self.level[:, :end], self.values[:, :end]
        squares, n = (one**2).sum(axis=1), self.known[:, :end].sum(axis=1)
        rest = np.maximum((y**2).sum(axis=1) - (one * y).sum(axis=1) ** 2 / squares, 1e-300)
        found = -(n - 1) / 2 * np.log(rest) - self.logarithms[:, :end].sum(axis=1) - np.log(squares) / 2
        return float(found.sum())

    def step(self, end: int, late: int, usual: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return of each series the level, the step of the last `late` values before `end`, its t, and its degrees."""
        one, y = self.level[:, :end], self.values[:, :end]
        step = self.inverse[:, :end, end - late : end].sum(axis=2)
        a, b, c = (one * one).sum(axis=1), (one * step).sum(axis=1), (step * step).sum(axis=1)
        d, e = (one * y).sum(axis=1), (step * y).sum(axis=1)
        determinant = np.maximum(a * c - b * b, 1e-300)
        with np.errstate(over="ignore", invalid="ignore"):
            level, far = (c * d - b * e) / determinant, (a * e - b * d) / determinant
        rest = np.nan_to_num(np.maximum((y * y).sum(axis=1) - level * d - far * e, 0.0))
        degrees = np.maximum(self.known[:, :end].sum(axis=1) - 2, 1)
        shared = _SHARED if len(usual) > 1 else 0
        together = float((rest / usual).sum() / degrees.sum())
        variance = usual * (shared * together + rest / usual) / (shared + degrees)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            t = far / np.sqrt(np.maximum(variance * a / determinant, 1e-300))
        return level, far, t, (degrees + shared).astype("float64")
