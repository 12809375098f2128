"""The scores on training rows that the models had not seen, and how those on the held-out rows differ from them."""

import numpy as np
from sklearn.metrics import r2_score

from signoff.release.records import OutOfSample
from signoff.review.intervals import sums

# The number of spans of unseen rows, of which the one with the smallest error is used.
_SPANS = 4
_SHUFFLES = 1000


def unseen_scores(
    actual: np.ndarray, error: np.ndarray, folds: np.ndarray, blocks: np.ndarray, held_out: tuple[np.ndarray, ...]
) -> OutOfSample | None:
    """Return the scores on training rows that the models had not seen; None if there are none.

    Parameters
    ----------
    actual, error, folds, blocks
        Of n such rows, in the order of time under a split by time: the target, prediction less target, the fold, and
        the block. Rows of one block are alike. If there are several folds, the models of later ones have seen more
        rows, and the scores are those of the last one.
    held_out
        The errors of the m held-out rows, and their blocks.
    """
    if not len(actual):
        return None
    last, size = folds == folds.max(), np.abs(error)
    # In the order of time, if the split is by time: the error of one span says little where it wanders.
    spans = np.array_split(size[last], min(_SPANS, int(last.sum())))
    y = actual[last].astype("float64")
    return {
        "rows": int(last.sum()),
        "MAE": float(size[last].mean()),
        "best_MAE": min(float(each.mean()) for each in spans),
        "mean_MAE": float(np.abs(y - y.mean()).mean()),
        "R2": float(r2_score(y, y + error[last])) if len(np.unique(y)) > 1 else None,
        "fall": _fall(size, folds),
        "p": _p_of_gap((np.abs(held_out[0]), held_out[1]), (size[last], blocks[last])),
    }


def _fall(size: np.ndarray, folds: np.ndarray) -> float:
    """Return the mean ratio (geometric) of the mean errors of two consecutive folds; 1 at most.

    The judged model has seen more rows than that of the last fold, so its error may fall as much again.
    """
    means = [float(size[folds == n].mean()) for n in np.unique(folds)]
    if len(means) < 2 or not means[0]:
        return 1.0
    return float(min((means[-1] / means[0]) ** (1 / (len(means) - 1)), 1.0))


def _p_of_gap(*parts: tuple[np.ndarray, np.ndarray]) -> float:
    """Return the p-value of the difference between the mean errors of two sets of rows.

    Blocks are shuffled between the two (Fisher 1935, The Design of Experiments): a few huge errors are in either set by
    chance. Blocks may resemble their neighbours, which this leaves out; the true p-value is then larger.
    """
    each = []
    for size, blocks in parts:
        totals = sums(blocks, int(blocks.max()) + 1, np.ones(len(size)), size)
        each.append(totals[totals[:, 0] > 0])
    count, totals = len(each[0]), np.concatenate(each)
    random = np.random.default_rng(0)
    first = np.arange(len(totals)) < count
    inside = np.stack([first, *(random.permuted(first) for _ in range(_SHUFFLES))]).astype("float64")
    (n, errors), (rest, others) = (np.moveaxis(one @ totals, -1, 0) for one in (inside, 1 - inside))
    far = np.abs(np.log(np.maximum(errors, 1e-300) / n) - np.log(np.maximum(others, 1e-300) / rest))
    return float((far >= far[0] * (1 - 1e-9)).mean())
