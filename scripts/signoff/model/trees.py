"""Predict with the trees of histogram gradient boosting: the bytes of scikit-learn's `predict`, sooner for few rows.

scikit-learn checks the rows and then calls each tree by itself. For few rows, this takes far longer than to walk
through a hundred trees. Here, all trees of a boosting are one: above them is a search for the number of the tree, which
is one more column of the rows.
"""

from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.ensemble._hist_gradient_boosting._predictor import _predict_from_raw_data
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

# From this many rows times trees on, the copies of the rows cost more than the calls.
_MOST_LEAVES = 10_000


@dataclass(frozen=True)
class _Trees:
    """The trees of a fitted boosting as one.

    Parameters
    ----------
    fitted
        The predictors that they were made of. A new fit makes others.
    nodes, bitsets
        The nodes of all trees, and of the search above them, and the categories that go to the left.
    known, places
        The categories that the boosting knows, and their places by feature.
    start
        The sum before the first tree.
    """

    fitted: list[Any]
    nodes: np.ndarray
    bitsets: np.ndarray
    known: np.ndarray
    places: np.ndarray
    start: float


_made: "WeakKeyDictionary[Any, _Trees]" = WeakKeyDictionary()


def predictions_of_trees(boosting: Any, matrix: np.ndarray) -> np.ndarray | None:
    """Return the same as `predict` of a fitted boosting that does not encode its categories; None for other regressors.

    Parameters
    ----------
    boosting
        A regressor, of any kind.
    matrix
        n rows × m columns (float64), with codes for categories.
    """
    if type(boosting) is not HistGradientBoostingRegressor or matrix.shape[1] != boosting.n_features_in_:
        return None
    rows, count = len(matrix), len(boosting._predictors)
    if not rows or not count:
        return None
    trees = _made.get(boosting)
    if trees is None or trees.fitted is not boosting._predictors:
        trees = _made[boosting] = _as_one(boosting)
    return cast(np.ndarray, boosting._loss.link.inverse(_sums(trees, matrix)))


def _sums(trees: _Trees, matrix: np.ndarray) -> np.ndarray:
    """Return the sum of the trees' values for n rows."""
    rows, count = len(matrix), len(trees.fitted)
    if rows * count > _MOST_LEAVES:
        threads = _openmp_effective_n_threads()
        total, leaf = np.full(rows, trees.start), np.empty(rows)
        for (tree,) in trees.fitted:
            bitsets = tree.raw_left_cat_bitsets
            _predict_from_raw_data(tree.nodes, matrix, bitsets, trees.known, trees.places, threads, leaf)
            total += leaf
        return total
    numbered = np.empty((count, rows, matrix.shape[1] + 1))
    numbered[:, :, :-1] = matrix
    numbered[:, :, -1] = np.arange(count)[:, None]
    sums = np.empty((count + 1, rows))
    sums[0] = trees.start
    leaves = sums[1:].reshape(-1)
    wide = numbered.reshape(count * rows, -1)
    _predict_from_raw_data(trees.nodes, wide, trees.bitsets, trees.known, trees.places, 1, leaves)
    # One tree after the other, as scikit-learn adds them.
    np.add.accumulate(sums, axis=0, out=sums)
    last: np.ndarray = sums[-1]
    return last


def _as_one(boosting: Any) -> _Trees:
    """Return the trees of a fitted boosting as one tree."""
    trees = [tree for (tree,) in boosting._predictors]
    sizes = [len(tree.nodes) for tree in trees]
    roots = len(trees) - 1 + np.cumsum([0, *sizes[:-1]])
    bitsets = np.cumsum([0, *(len(tree.raw_left_cat_bitsets) for tree in trees)])
    search = np.zeros(len(trees) - 1, dtype=trees[0].nodes.dtype)
    search["feature_idx"] = boosting.n_features_in_
    _search(search, roots, 0, 0, len(trees))
    nodes = [search]
    for tree, root, before in zip(trees, roots, bitsets, strict=False):
        moved = tree.nodes.copy()
        for side in ("left", "right"):
            moved[side] += np.uint32(root)
        moved["bitset_idx"] += np.uint32(before)
        nodes.append(moved)
    known, places = boosting._bin_mapper.make_known_categories_bitsets()
    return _Trees(
        boosting._predictors,
        np.concatenate(nodes, dtype=search.dtype),
        np.concatenate([tree.raw_left_cat_bitsets for tree in trees]),
        known,
        places,
        0.0 + float(boosting._baseline_prediction.ravel()[0]),
    )


def _search(nodes: np.ndarray, roots: np.ndarray, place: int, first: int, end: int) -> int:
    """Write the search for the trees from `first` to `end` (exclusive) into the nodes from `place` on.

    Returns the node where it begins, which is the root of the tree if there is only one.
    """
    if end - first == 1:
        return int(roots[first])
    middle = (first + end) // 2
    nodes["num_threshold"][place] = middle - 0.5
    nodes["left"][place] = _search(nodes, roots, place + 1, first, middle)
    # The search on the left has one node fewer than trees.
    nodes["right"][place] = _search(nodes, roots, place + middle - first, middle, end)
    return place
