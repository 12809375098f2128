"""Columns that are computed from the target: given the target, other features do not explain them.

Causes and effects of the target explain it equally well. They differ in what the other features add. Once the target is
known, the other causes are informative about a cause ("explaining away": a trip that was short for its distance was not
in rush hour). About an effect of the target, they are not (d-separation: Pearl, Causality, 2009, 1.2). Of two features
that say nothing about each other once the target is known, at least one is no cause, but it may be either.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from signoff.review.least_squares import gain, normal_scores, rest_of, spline, t_of
from signoff.review.numeric_table import NumericTable, codes_of, columns_of, matrix_of, predicted, with_linear

_ROWS = 5_000
_FEWEST_ROWS = 300
# The R2 of the target that a candidate must reach alone, the share of it that the target must explain of the candidate
# (of a cause with ups and downs, like a dose or an hour, it explains far less), and how many candidates are checked.
_LEAST_R2, _BOTH_WAYS, _MOST_CANDIDATES = 0.4, 0.6, 8
# A share of the effect of a cause that counts as none; smaller if the candidate may also be computed from another
# feature.
_NOTHING, _NOTHING_BESIDE = 0.4, 0.2
# The F statistic that the gain of the others in explaining the target must reach.
_SURE = 12.0
# There, the effect of the other features must also be within this many standard errors: if a cause acts differently by
# group, it is small, but not zero.
_BY_CHANCE = 2.2
# With too few rows for these limits, what decides is how much likelier the effect of the other features is if there is
# none than if it were that of a cause (a logarithm; more is asked if the candidate may also be computed from another
# feature), if a flexible model of them finds nothing either (F).
_LIKELIER, _LIKELIER_BESIDE, _FOUND = math.log(10), math.log(100), 4.6
# If the candidate adds less than this share to the others, the test is inconclusive.
_LEAST_SHARE = 0.03


class Descendant(NamedTuple):
    """A feature that seems to be computed from the target, and from `also`, if it is not None."""

    name: str
    also: str | None
    # R2 of the target on the feature alone, of normal scores.
    alone: float
    # Another feature without which nothing points to this one: it may be the one that is computed from the target.
    rival: str | None


def post_outcome(rows: pd.DataFrame, kinds: dict[str, str], target: str, seed: int) -> list[Descendant]:
    """Return the numeric features that seem to be computed from the target, the closest first.

    Parameters
    ----------
    rows
        Training rows in random order.
    kinds
        The kind of each feature, "number" or "category".
    target
        The column of the target.
    seed
        The seed of the models.
    """
    rows = rows.head(_ROWS)
    y = normal_scores(rows[target].to_numpy("float64"))
    usable = {name: kind for name, kind in kinds.items() if rows[name].nunique() > 1}
    alone = {}
    for name in [name for name, kind in usable.items() if kind == "number"]:
        known = rows[name].notna().to_numpy()
        if known.sum() >= max(_FEWEST_ROWS, len(rows) // 4):
            x = normal_scores(rows[name].to_numpy("float64")[known])
            explained = _explained(y[known], x)
            if explained >= _LEAST_R2 and _explained(x, y[known]) >= _BOTH_WAYS * explained:
                alone[name] = explained
    ordered = sorted(alone, key=lambda name: -alone[name])
    if not ordered:
        return []
    matrix, is_category = matrix_of(rows, usable)
    names = list(usable)
    found: list[Descendant] = []
    for name in ordered[:_MOST_CANDIDATES]:
        # A column computed from the target is left out when the next candidate is tested.
        others = [k for k, each in enumerate(names) if each not in (name, *(one.name for one in found))]
        known = rows[name].notna().to_numpy()
        if others:
            table = NumericTable(
                matrix[known][:, others], [is_category[k] for k in others], np.arange(known.sum()) % 2 == 0, seed
            )
            x = normal_scores(rows[name].to_numpy("float64")[known])
            also = _computed_from(x, normal_scores(y[known]), table)
            if also is not None:
                candidates = [k for k, each in enumerate(others) if names[each] in alone] if also < 0 else []
                rival = _rival(x, normal_scores(y[known]), table, candidates)
                besides, other = (None if k < 0 else names[others[k]] for k in (also, rival))
                found.append(Descendant(name, besides, alone[name], other))
    return found


def _rival(x: np.ndarray, y: np.ndarray, table: NumericTable, candidates: list[int]) -> int:
    """Return the candidate without which x does not seem to be computed from y (-1: none)."""
    for k in candidates:
        rest = [j for j in range(len(table.is_category)) if j != k]
        fewer = table._replace(matrix=table.matrix[:, rest], is_category=[table.is_category[j] for j in rest])
        if not rest or _computed_from(x, y, fewer) is None:
            return k
    return -1


def _explained(wanted: np.ndarray, values: np.ndarray) -> float:
    """Return the R2 of n numbers by a spline of others."""
    return 1 - float(rest_of([spline(values)], wanted).var() / max(wanted.var(), 1e-300))


def _computed_from(x: np.ndarray, y: np.ndarray, table: NumericTable) -> int | None:
    """Return the other feature that x is computed from besides y (-1: none); None if x is not computed from y."""
    by_others = predicted(y, table.matrix, table.is_category, table)
    share = gain([spline(by_others)], [spline(x)], y).share
    if share < _LEAST_SHARE:
        return None
    rest = rest_of([spline(y)], x)
    with_y = np.column_stack([table.matrix, y])
    more = np.column_stack([by_others, predicted(rest, with_y, [*table.is_category, False], table)])
    candidates = (-1, _most_related(rest, table))
    for also in candidates:
        further, both = _beside(also, y, table)
        limit = _NOTHING if also < 0 else _NOTHING_BESIDE
        of_y = gain([spline(x), *further], [by_others[:, None]], y)
        of_x = gain([spline(y), *further, *both], [more], x)
        nothing = also < 0 or of_x.share <= _BY_CHANCE * of_x.error
        if nothing and of_y.f >= _SURE and of_x.share + 2 * of_x.error < limit * share * of_y.share:
            return also
    by_others = with_linear(by_others, y, table)
    more = np.column_stack([by_others, more[:, 1]])
    return next((also for also in candidates if _likely(x, y, by_others, more, _beside(also, y, table))), None)


def _likely(
    x: np.ndarray,
    y: np.ndarray,
    by_others: np.ndarray,
    more: np.ndarray,
    beside: tuple[list[np.ndarray], list[np.ndarray]],
) -> bool:
    """Return whether the others' effect on x, given y, is likelier none than that on a cause of y, of few rows too."""
    further, both = beside
    share = gain([spline(by_others)], [spline(x)], y).share
    # The t statistic that is expected of a cause is less than 0 ("explaining away").
    of_cause = -math.sqrt(max(share * gain([spline(x), *further], [by_others[:, None]], y).f, 0.0))
    t = t_of([spline(y), *further, *both], by_others, x) * np.sign(np.corrcoef(x, y)[0, 1])
    found = gain([spline(y), *further, *both], [more], x).f >= _FOUND
    return not found and of_cause * (of_cause / 2 - t) >= (_LIKELIER_BESIDE if further else _LIKELIER)


def _beside(also: int, y: np.ndarray, table: NumericTable) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the columns of a feature that x may also be computed from, and its products with y."""
    if also < 0:
        return [], []
    return [columns_of(table, also)], [] if table.is_category[also] else [_surface(y, table.matrix[:, also])]


def _surface(y: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return products of powers of two numbers."""
    z = np.nan_to_num(normal_scores(values))
    return np.column_stack([y * z, y**2 * z, y * z**2, y**2 * z**2, y**3 * z, y * z**3])


def _most_related(rest: np.ndarray, table: NumericTable) -> int:
    """Return the feature whose levels, or quantiles, explain n numbers best."""

    def explained(k: int) -> float:
        codes = codes_of(table, k)
        counts, sums = np.bincount(codes), np.bincount(codes, rest)
        used = counts > 0
        return float((sums[used] ** 2 / counts[used]).sum() - used.sum() * rest.var())

    return max(range(table.matrix.shape[1]), key=explained)
