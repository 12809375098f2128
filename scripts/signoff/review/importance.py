"""What a model makes of each feature: how much worse it is without it, and what it predicts over its values."""

from typing import Any

import numpy as np
import pandas as pd

from signoff.model.encoding import predictions

# Predictions that the importances may cost; what a feature's own may, at most and at least; how often it is shuffled.
MOST_PREDICTIONS = 100_000
MOST_ROWS, FEWEST_ROWS = 10_000, 500
REPEATS = 5
# Of one call of the model, which has its own cost: cells of the table that it gets.
_CELLS = 2_000_000
_DEPENDENCE_ROWS = 500
_DEPENDENCE_FEATURES = 5


def importance(
    model: object, test: pd.DataFrame, names: list[str], target: pd.Series, seed: int
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return by how much MAE rises where a feature is shuffled among held-out rows, the most important first.

    Permutation importance (Breiman 2001, Random forests), as `sklearn.inspection.permutation_importance` gives it but
    with many shuffles in one call of the model.

    Parameters
    ----------
    model
        The fitted pipeline.
    test, names, target
        n rows, their m features, and their target.
    seed
        Of the choice of rows, and of every shuffle.

    Returns
    -------
    found : list of dict
        feature, mean (of all shuffles), std (its standard error, over the rows).
    made_of : dict
        rows (how many were looked at) and repeats (how often each feature was shuffled).
    """
    random = np.random.default_rng(seed)
    repeats = int(np.clip(MOST_PREDICTIONS // (len(names) * 2 * FEWEST_ROWS), 1, REPEATS))
    count = min(len(test), int(np.clip(MOST_PREDICTIONS // (repeats * len(names)), FEWEST_ROWS, MOST_ROWS)))
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
        grid = grid.assign(**{name: rows[name].take(at.ravel()).array for name, at in places.items()})
        rises.append(np.abs(predictions(model, grid).reshape(len(several), count) - actual) - base)
    rise = np.concatenate(rises).reshape(len(names), repeats, count).mean(axis=1)
    found = [
        {"feature": name, "mean": float(each.mean()), "std": float(each.std() / np.sqrt(count))}
        for name, each in zip(names, rise, strict=True)
    ]
    return sorted(found, key=lambda each: -each["mean"]), {"rows": count, "repeats": repeats}


def dependence(
    model: object, test: pd.DataFrame, kinds: dict[str, str], important: list[dict[str, Any]], seed: int
) -> dict[str, dict[str, Any]]:
    """Return the mean prediction where all rows are given one value of a feature (Friedman 2001), for the first few."""
    rows = test[list(kinds)].sample(min(_DEPENDENCE_ROWS, len(test)), random_state=seed)
    found = {}
    for name in [each["feature"] for each in important[:_DEPENDENCE_FEATURES] if each["mean"] > 0]:
        known = test[name].dropna()
        values: list[Any]
        if kinds[name] == "category":
            values = [str(each) for each in known.value_counts().index[:10]]
        elif known.nunique() <= 20:
            values = sorted(float(each) for each in known.unique())
        else:
            values = np.unique(known.quantile(np.linspace(0.02, 0.98, 20))).tolist()
        # All values in one call: each has its own cost.
        grid = pd.concat([rows] * len(values), ignore_index=True)
        column = pd.Series(np.repeat(values, len(rows)), dtype="str" if kinds[name] == "category" else "float64")
        means = predictions(model, grid.assign(**{name: column})).reshape(len(values), -1).mean(axis=1)
        found[name] = {"kind": kinds[name], "values": values, "mean": means.tolist()}
    return found
