"""Columns whose levels are made from the target (its bins, its means by group), or determine another column."""

import numpy as np
import pandas as pd
from scipy import special
from sklearn.tree import DecisionTreeClassifier

_FEWEST_ROWS = 200
_MOST_BINS, _FEWEST_ROWS_A_BIN = 100, 20
# The share of rows outside the largest level that may be in a level other than their target's; less for two levels.
_MOST_ASTRAY, _MOST_ASTRAY_OF_TWO = 0.03, 0.005
# Near a border of bins, rows are nearly as dense as in the levels; between natural groups there are few.
_NEAR, _DENSE = 0.1, 0.5
# The minimum number of bins with more than one value of the target, if bins share the value of their border.
_FEWEST_WIDE = 3
# Level means of the target must be this much closer to the values than chance allows.
_TOO_CLOSE, _BY_CHANCE, _FEWEST_LEVELS = 0.2, 1e-6, 5
_OFF = 0.1
# Levels determine a column, and not the target, if they leave this many times less of its variance.
_SURER = 5


def are_bins(values: pd.Series, y: np.ndarray) -> bool:
    """Return whether the levels of n values hold ranges of n numbers that do not overlap but touch."""
    known = values.notna().to_numpy()
    codes, _ = pd.factorize(values[known])
    y = y[known]
    count = int(codes.max(initial=-1)) + 1
    if len(y) < _FEWEST_ROWS or not 2 <= count <= min(_MOST_BINS, len(y) / _FEWEST_ROWS_A_BIN):
        return False
    if _are_bins_of_ranks(codes, y, count):
        return True
    if len(np.unique(y)) < 3 * count:
        return False
    tree = DecisionTreeClassifier(max_leaf_nodes=count, random_state=0).fit(y[:, None], codes)
    outside = len(y) - np.bincount(codes).max()
    astray = (tree.predict(y[:, None]) != codes).sum() / outside
    if astray > (_MOST_ASTRAY if count > 2 else _MOST_ASTRAY_OF_TWO):
        return False
    inner = tree.tree_.feature >= 0
    borders = np.sort(tree.tree_.threshold[inner])
    # A level that two branches of the tree share has no border between them.
    return len(borders) >= count - 1 and float(np.median(_densities(y, borders))) >= _DENSE


def _are_bins_of_ranks(codes: np.ndarray, y: np.ndarray, count: int) -> bool:
    """Return whether neighbouring levels share no value of y but that of their border, and touch.

    Bins of equal size split the rows of one value, such as zero. Only levels with several values count: a shop that is
    closed sells nothing, and one that is open may also sell nothing.
    """
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, codes, y)
    np.maximum.at(high, codes, y)
    order = np.lexsort((high, low))
    before, after = high[order][:-1], low[order][1:]
    if not _FEWEST_WIDE <= int((high > low).sum()) <= len(np.unique(y)) / 3 or (before > after).any():
        return False
    shared = before == after
    borders = (before + after)[~shared] / 2
    return shared.any() and float(np.median([*np.ones(shared.sum()), *_densities(y, borders)])) >= _DENSE


def _densities(y: np.ndarray, borders: np.ndarray) -> list[float]:
    """Return the density of n numbers at each border relative to that between the borders."""
    y = np.sort(y)
    places = np.searchsorted(y, [-np.inf, *borders, np.inf], side="right")
    counts = bool((y == np.round(y)).all())
    found = []
    for n in range(1, len(places) - 1):
        sides = []
        for side, part in ((-1, y[places[n - 1] : places[n]]), (1, y[places[n] : places[n + 1]])):
            width = float(np.subtract(*np.quantile(part, [0.95, 0.05]))) / 0.9
            if width > 0:
                # At least as far as the next value, of numbers that are counts.
                first = part[-1] if side < 0 else part[0]
                reach = max(_NEAR * width, side * (float(first) - borders[n - 1]))
                near = np.count_nonzero(side * (part - borders[n - 1]) <= reach)
                sides.append((near, len(part) * reach / width))
        # Most counts may be zero, and far from the border of their range.
        shares = [near / expected for near, expected in sides]
        both = sum(near for near, _ in sides) / max(sum(expected for _, expected in sides), 1e-300)
        found.append(max(shares, default=0.0) if counts else both)
    return found


def is_group_mean(values: np.ndarray, y: np.ndarray) -> bool:
    """Return whether n values are the means of n numbers over the rows that share a value.

    A mean that was known before differs from that of these rows by a sampling error.
    """
    known = np.isfinite(values)
    # Group means have the mean of all rows, and a regression on them has slope 1.
    if known.sum() < _FEWEST_ROWS or abs(values[known].mean() - y[known].mean()) > _OFF * y[known].std():
        return False
    variance, covariance = np.cov(values[known], y[known])[0]
    if not (1 - _OFF) * variance < covariance < (1 + _OFF) * variance:
        return False
    codes, levels = pd.factorize(values[known])
    counts = np.bincount(codes)
    several = counts[codes] > 1
    if several.sum() < max(_FEWEST_ROWS, 0.5 * known.sum()) or (counts > 1).sum() < _FEWEST_LEVELS:
        return False
    y = y[known][several]
    codes, levels = codes[several], levels.astype("float64")
    counts = np.bincount(codes, minlength=len(levels))
    used = counts > 0
    counts, levels = counts[used], levels[used]
    codes = (np.cumsum(used) - 1)[codes]
    means = np.bincount(codes, y) / counts
    left = len(y) - len(counts)
    within = float(((y - means[codes]) ** 2).sum()) / left
    if within <= 1e-9 * y.var() or len(counts) < _FEWEST_LEVELS:
        return False
    distance = float((counts * (means - levels) ** 2).sum()) / within
    free = len(levels)
    return distance / free < _TOO_CLOSE and float(special.chdtr(free, distance)) < _BY_CHANCE


def is_looked_up(rows: pd.DataFrame, name: str, kinds: dict[str, str], y: pd.Series) -> bool:
    """Return whether the levels of another feature determine this one, but not the target.

    What is computed from the target is no better known than the target. A distance that follows from two places, or a
    list price from the article, is.

    Parameters
    ----------
    name, kinds
        The feature, and the kinds of all features.
    rows, y
        n rows and their targets.
    """
    values = rows[name].astype("float64") if kinds[name] == "number" else rows[name].map(y.groupby(rows[name]).mean())
    known = values.notna()
    for other in [each for each in kinds if each != name]:
        levels = rows[other][known]
        several = levels.map(levels.value_counts()) > 1
        if several.mean() < 0.5:
            continue
        of_it, of_target = (_within(each[known][several], levels[several]) for each in (values, y))
        if of_target >= _SURER * of_it and of_target > 0:
            return True
    return False


def _within(values: pd.Series, levels: pd.Series) -> float:
    """Return the share of the variance of values that is within levels (an unbiased estimate)."""
    groups, count = values.groupby(levels), len(values) - levels.nunique()
    rest = float(((values - groups.transform("mean")) ** 2).sum())
    return rest / count / max(float(values.var()), 1e-300)
