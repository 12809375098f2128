"""The effect of each feature on a model: permutation importance and partial dependence."""

from typing import Any

import numpy as np
import pandas as pd

from signoff.model.encoding import predictions
from signoff.release.records import Effect, Importance, ImportanceSample

# The number of predictions for all importances; for one feature, at most and at least; how often it is shuffled.
_MOST_PREDICTIONS = 100_000
_MOST_ROWS, _FEWEST_ROWS = 10_000, 500
_REPEATS = 5
# Cells of the table in one call of the model; each call has a fixed cost.
_CELLS = 2_000_000
_DEPENDENCE_ROWS = 500
_DEPENDENCE_FEATURES = 5


def importance(
    model: object, test: pd.DataFrame, names: list[str], target: pd.Series, seed: int
) -> tuple[list[Importance], ImportanceSample]:
    """Return the rise in MAE if a feature is shuffled among held-out rows, the most important feature first.

    Permutation importance (Breiman 2001, Random forests), like `sklearn.inspection.permutation_importance`, but with
    many shuffles in one call of the model.

    Parameters
    ----------
    model
        The fitted pipeline.
    test, names, target
        n rows, their m features, and their target.
    seed
        The seed of the choice of rows, and of every shuffle.

    Returns
    -------
    found : list of dict
        feature, mean (of all shuffles), std (its standard error, over the rows).
    made_of : dict
        rows (the number of rows used) and repeats (how often each feature was shuffled).
    """
    random = np.random.default_rng(seed)
    repeats = int(np.clip(_MOST_PREDICTIONS // (len(names) * 2 * _FEWEST_ROWS), 1, _REPEATS))
    count = min(len(test), int(np.clip(_MOST_PREDICTIONS // (repeats * len(names)), _FEWEST_ROWS, _MOST_ROWS)))
    chosen = test.index[np.sort(random.permutation(len(test))[:count])]
    rows, actual = test.loc[chosen, names], target[chosen].to_numpy("float64")
    shuffles = [(name, random.permutation(count)) for name in names for _ in range(repeats)]
    base = np.abs(predictions(model, rows) - actual)
    size = max(1, _CELLS // (count * len(names)))
    rises = []
    for first in range(0, len(shuffles), size):
        several = shuffles[first : first + size]
        places = {name: np.tile(np.arange(count), (len(several), 1)) for name in dict(several)}
        for n, (name, order) in enumerate(several):
            places[name][n] = order
        grid = pd.concat([rows] * len(several), ignore_index=True)
        for name, at in places.items():
            grid[name] = rows[name].take(at.ravel()).array
        rises.append(np.abs(predictions(model, grid).reshape(len(several), count) - actual) - base)
    rise = np.concatenate(rises).reshape(len(names), repeats, count).mean(axis=1)
    found: list[Importance] = [
        {"feature": name, "mean": float(each.mean()), "std": float(each.std() / np.sqrt(count))}
        for name, each in zip(names, rise, strict=True)
    ]
    return sorted(found, key=lambda each: -each["mean"]), {"rows": count, "repeats": repeats}


def dependence(
    model: object, test: pd.DataFrame, kinds: dict[str, str], important: list[Importance], seed: int
) -> dict[str, Effect]:
    """Return the partial dependence (Friedman 2001) of the first few features: the mean prediction by feature value.

    Text has none, because nearly each of its values occurs once.
    """
    rows = test[list(kinds)].sample(min(_DEPENDENCE_ROWS, len(test)), random_state=seed)
    found: dict[str, Effect] = {}
    most = [each for each in important[:_DEPENDENCE_FEATURES] if each["mean"] > 0]
    for name in [each["feature"] for each in most if kinds[each["feature"]] != "text"]:
        known = test[name].dropna()
        values: list[Any]
        if kinds[name] == "category":
            values = [str(each) for each in known.value_counts().index[:10]]
        elif known.nunique() <= 20:
            values = sorted(float(each) for each in known.unique())
        else:
            values = np.unique(known.quantile(np.linspace(0.02, 0.98, 20))).tolist()
        # All values in one call, because each call has a fixed cost.
        grid = pd.concat([rows] * len(values), ignore_index=True)
        grid[name] = pd.Series(np.repeat(values, len(rows)), dtype="str" if kinds[name] == "category" else "float64")
        means = predictions(model, grid).reshape(len(values), -1).mean(axis=1)
        found[name] = {"kind": kinds[name], "values": values, "mean": means.tolist()}
    return found
