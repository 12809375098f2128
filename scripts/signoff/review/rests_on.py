"""Whether a model depends on one feature, or on two that can replace each other: its error without them."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from signoff.model.encoding import fit, predictions
from signoff.model.regressor import use_threads
from signoff.release.records import Importance, RestsOn
from signoff.review.numeric_table import NumericTable, codes_of, matrix_of

# Rows to fit the model to, with and without the features, and others to judge it; the ratio is accurate to a few
# percent.
_ROWS, _JUDGED = 2_000, 1_000
_FEWEST_ROWS = 200
# The ratio of errors from which it is worth a question, and the rise of MAE by shuffling below which no check is
# needed.
_TIMES, _LEAST_RISE = 1.5, 0.4
# A feature that explains this share of another may replace it; one that explains all of it does.
_ALIKE, _SAME = 0.5, 0.85


def rests_on(
    regressor: Any,
    train: pd.DataFrame,
    kinds: dict[str, str],
    target: str,
    important: list[Importance],
    mae: float,
    seed: int,
) -> RestsOn | None:
    """Return the feature without which the model's error is far larger, or the two; None if there are none.

    Parameters
    ----------
    regressor
        The model's regressor; it is refitted with and without the features (Lei and others 2018, Distribution-free
        predictive inference for regression: leave out one covariate).
    train
        The training rows; the last third of the chosen rows is used for judging.
    kinds, target
        The kind of each feature, and the column of the target.
    important, mae
        The result of `importance`, and the model's MAE on held-out rows.
    seed
        The seed of the choice of rows, and of the models.
    """
    first = important[:1]
    if len(kinds) < 2 or not first or sum(each["mean"] for each in important[:2]) < _LEAST_RISE * mae:
        return None
    if len(train) < _FEWEST_ROWS:
        return None
    name = first[0]["feature"]
    rows = train.iloc[np.random.default_rng(seed).permutation(len(train))[: _ROWS + _JUDGED]]
    before, after = rows.iloc[: len(rows) * 2 // 3], rows.iloc[len(rows) * 2 // 3 :]

    def error(left_out: list[str]) -> float:
        used = {each: kind for each, kind in kinds.items() if each not in left_out and before[each].notna().any()}
        if not used:
            return float((after[target] - before[target].median()).abs().mean())
        again = clone(regressor)
        use_threads(again, 1)
        if "categorical_features" in again.get_params():
            # These parameters are set for the columns of the whole training part.
            again.set_params(categorical_features=None)
        model = fit(again, used, before, before[target], seed)
        return float(np.abs(predictions(model, after[list(used)]) - after[target].to_numpy("float64")).mean())

    try:
        whole = error([])
        second, is_same = _second(rows, kinds, name, important)
        for features in ([[name]] if not is_same else []) + [[name, second]]:
            without = error(features)
            if without >= _TIMES * max(whole, 1e-300):
                return {"features": features, "MAE": whole, "MAE_without": without, "rows": len(after)}
    except (ValueError, TypeError):
        # A regressor that can be trained on all features may fail on a few.
        return None
    return None


def _second(rows: pd.DataFrame, kinds: dict[str, str], name: str, important: list[Importance]) -> tuple[str, bool]:
    """Return the feature that explains another one best, or the next by importance if none explains it
    well; and whether it determines it fully."""
    others = {each: kind for each, kind in kinds.items() if each != name and kind != "text"}
    if not others:
        return str(important[1]["feature"]), False
    matrix, is_category = matrix_of(rows, others)
    table = NumericTable(matrix, is_category, np.zeros(len(rows), dtype=bool), 0)
    ranks = rows[name].rank() if kinds[name] == "number" else pd.Series(pd.factorize(rows[name])[0], rows.index)
    wanted = ranks.fillna(ranks.mean()).to_numpy("float64")
    alike = [_explained(wanted, codes_of(table, k)) for k in range(len(others))]
    best = int(np.argmax(alike))
    return list(others)[best] if alike[best] >= _ALIKE else str(important[1]["feature"]), alike[best] >= _SAME


def _explained(wanted: np.ndarray, codes: np.ndarray) -> float:
    """Return the share of the variance of n numbers that the group means explain."""
    counts, sums = np.bincount(codes), np.bincount(codes, wanted - wanted.mean())
    between = float((sums[counts > 0] ** 2 / counts[counts > 0]).sum())
    chance = (counts > 0).sum() / len(wanted) * float(wanted.var())
    return (between / len(wanted) - float(chance)) / max(float(wanted.var()), 1e-300)
