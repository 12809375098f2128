"""The preset `good`: several kinds of models compared on the training part, the simplest of the best, or their mean."""

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from signoff.base.errors import TaskError
from signoff.model.metric import Metric, error_of, loss_of
from signoff.model.records import Comparison, Setting, words_of
from signoff.model.regressor import DEFAULT_ESTIMATOR, TrainingRows
from signoff.model.search import FIRST_ROUND_ROWS, cost_of, folds_of, halved, naming, ranked
from signoff.model.search import with_error as compared_with
from signoff.model.text import ignoring
from signoff.model.text_gain import gains_of_text
from signoff.model.transform import transformed

_RIDGE, _TREES = "sklearn.linear_model.RidgeCV", "sklearn.ensemble.ExtraTreesRegressor"
_RESIDUALS = "signoff.model.residuals.ResidualRegressor"
_MEAN = "sklearn.ensemble.VotingRegressor"
# Its default is a thousand trees, which are hardly better, for twice the time.
_CATBOOST = {"iterations": 500}
_BOOSTERS: dict[str, Setting] = {
    "lightgbm": {"estimator": "lightgbm.LGBMRegressor", "params": {}},
    "catboost": {"estimator": "catboost.CatBoostRegressor", "params": _CATBOOST},
}
# With fewer rows, folds are too small to compare on.
_FEWEST_ROWS = 20
# Up to this many rows, boosting with twenty rows per leaf underfits.
_FEW_ROWS = 200
# A target with a larger skewness is also learnt as its logarithm.
_SKEWED = 1.0
# More rows are not needed to compare on: errors are known well enough, and time is bounded.
_MOST_COMPARED, _MOST_VALUES = 20_000, 600_000
# This keeps the size of a model of many rows small enough for a release.
_MOST_LEAVES = 2500
_MOST_MEMBERS, _STEPS = 3, 20


def choose_good(
    rows: TrainingRows,
    random_state: int = 0,
    threads: int = 1,
    metric: Metric = "MAE",
    boosters: Iterable[str] = (),
) -> tuple[Setting, Comparison | None]:
    """Return the setting to train, and how the settings of the preset compare; parameters as for `choose_model`.

    Of those within one standard error of the best by the metric, paired over the folds, the simplest is chosen
    (Breiman, Friedman, Olshen, Stone 1984, Classification and Regression Trees, 3.4.3). A weighted mean of the best
    replaces it if it is better by more than one standard error. The weights are those of ensemble selection (Caruana,
    Niculescu-Mizil, Crew, Ksikes 2004, Ensemble Selection from Libraries of Models, ICML), and are scored on folds that
    they were not selected on.

    The comparison is None for fewer than 20 rows: the setting is then that of the preset fast. Of more than 20,000
    rows, or 600,000 values, a sample is compared: spread evenly over time, or drawn at random. Columns of text that do
    not lower the error of gradient boosting are ignored by all settings. `boosters` are the optional packages used.

    Raises
    ------
    TaskError
        No setting can be trained.
    """
    if len(rows) < _FEWEST_ROWS:
        logging.info("[train_model] model.preset: good compares nothing on %d training rows: too few", len(rows))
        return {"estimator": DEFAULT_ESTIMATOR, "params": {}}, None
    settings = settings_of_good(rows.target, metric, rows.time is not None, boosters)
    rows = rows.at(rows_to_compare(rows, random_state))
    order, folds, said = folds_of(rows, random_state)
    rows = rows.at(order)
    text, cost_of_text = gains_of_text(rows, settings[1], folds, said, random_state, threads, metric)
    settings = [ignoring(each, [gain["column"] for gain in text if not gain["used"]]) for each in settings]
    target, kept = rows.target, dict[int, pd.Series]()
    found = halved(settings, rows, folds, said, random_state, threads, kept, metric)
    if not kept:
        raise TaskError(f"model.preset: no model can be trained. {words_of(found[0])}: {found[0]['problem']}")
    most = max(found[n]["rows"] for n in kept)
    finalists = sorted(n for n in kept if found[n]["rows"] == most)
    errors, places = _errors(target, {n: kept[n] for n in finalists}, folds, metric)
    chosen, why = _simplest(errors, settings)
    mean = _mean(target, {n: kept[n] for n in finalists}, errors, places, metric)
    compared = dict(found)
    if mean is not None:
        weights, scores = mean
        compared[-1] = compared_with(_voting(settings, weights), metric, (scores.mean(), scores.std()), most)
        gain, error = _paired(errors[chosen], scores)
        if gain > error:
            why = f"the weighted mean is better than {words_of(settings[chosen])} by {gain:.4g} ± {error:.2g}"
            chosen = -1
    first = compared[chosen]
    logging.info("[train_model] chosen: %s, cross-validated %s %.4f: %s", words_of(first), metric, first[metric], why)
    setting: Setting = {"estimator": first["estimator"], "params": first["params"]}
    others = [each for each in ranked(compared.values(), metric) if each is not first]
    cost = cost_of(found.values(), folds, cost_of_text)
    comparison: Comparison = {"folds": said, "why": why, "cost": cost, "settings": [first, *others]}
    if text:
        comparison["text"] = text
    return setting, naming(comparison, metric)


def rows_to_compare(rows: TrainingRows, random_state: int) -> np.ndarray:
    """Return the places of the rows, at most _MOST_COMPARED, that settings are compared on; sorted, if by chance."""
    count, time = len(rows), rows.time
    size = min(count, _MOST_COMPARED, max(_MOST_VALUES // len(rows.kinds), FIRST_ROUND_ROWS))
    if size == count:
        return np.arange(count)
    if rows.groups is None and time is not None and not time.isna().any():
        order = time.argsort(kind="stable").to_numpy()
        spread: np.ndarray = order[np.linspace(0, count - 1, size).astype("int64")]
        return spread
    return np.sort(np.random.default_rng(random_state).choice(count, size, replace=False))


def settings_of_good(
    target: pd.Series, metric: Metric = "MAE", trend: bool = False, boosters: Iterable[str] = ()
) -> list[Setting]:
    """Return the settings that the preset compares for n values of the target, the simplest first.

    If the metric is a deviance or a quantile, gradient boosting with that loss is one of them. If there may be a
    `trend`, one is ridge regression with gradient boosting on its residuals.
    """
    rows, least = len(target), float(target.min())
    ridge: Setting = {"estimator": _RIDGE, "params": {"alphas": [0.1, 1.0, 10.0, 100.0, 1000.0]}}
    boosting: Setting = {"estimator": DEFAULT_ESTIMATOR, "params": {}}
    found = [ridge, boosting]
    if trend:
        steps = [["linear", ridge], ["boosting", boosting]]
        found.append({"estimator": _RESIDUALS, "params": {"estimators": steps}})
    if loss := loss_of(metric):
        found.append({"estimator": DEFAULT_ESTIMATOR, "params": loss})
    if rows <= _FEW_ROWS:
        found.append({"estimator": DEFAULT_ESTIMATOR, "params": {"min_samples_leaf": 5}})
    found.append({"estimator": DEFAULT_ESTIMATOR, "params": {"loss": "absolute_error"}})
    if least >= 0 and stats.skew(target) > _SKEWED:
        found.append(transformed({"estimator": DEFAULT_ESTIMATOR, "params": {}}, "log" if least > 0 else "log1p"))
    # A share of the rows, because a fold has fewer.
    trees = {"n_estimators": 100, "min_samples_leaf": 2 if rows <= 2 * _MOST_LEAVES else 1 / _MOST_LEAVES}
    return [*found, {"estimator": _TREES, "params": trees}, *(_BOOSTERS[each] for each in boosters)]


def _errors(
    target: pd.Series, predicted: dict[int, pd.Series], folds: Any, metric: Metric
) -> tuple[dict[int, np.ndarray], list[np.ndarray]]:
    """Return the error of each setting on each fold, and the rows of each fold that all settings predicted."""
    known = set.intersection(*(set(each.index) for each in predicted.values()))
    places = [np.array(sorted(known.intersection(unseen)), dtype="int64") for _, unseen in folds.split(target)]
    errors = {
        n: np.array(
            [error_of(metric, target[rows].to_numpy("float64"), each[rows].to_numpy("float64")) for rows in places]
        )
        for n, each in predicted.items()
    }
    return errors, places


def _paired(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return the mean difference `one` − `other` over k folds, and its standard error."""
    difference = one - other
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def _simplest(errors: dict[int, np.ndarray], settings: list[Setting]) -> tuple[int, str]:
    """Return the first setting that is within one standard error of the best, and why it is chosen."""
    best = min(errors, key=lambda n: float(errors[n].mean()))
    for n in sorted(errors):
        excess, error = _paired(errors[n], errors[best])
        if n != best and excess <= error:
            return n, (
                f"it is the simplest within one standard error of the best, {words_of(settings[best])}: "
                f"the difference is {excess:.4g} ± {error:.2g}"
            )
        if n == best:
            break
    return best, "it has the smallest error, and no simpler one is within one standard error"


def _mean(
    target: pd.Series,
    predicted: dict[int, pd.Series],
    errors: dict[int, np.ndarray],
    places: list[np.ndarray],
    metric: Metric = "MAE",
) -> tuple[dict[int, float], np.ndarray] | None:
    """Return the weights of the best settings, and the error of such a mean on each fold; None if it has one member."""
    best = sorted(predicted, key=lambda n: float(errors[n].mean()))[:_MOST_MEMBERS]
    matrix = np.column_stack([predicted[n].reindex(target.index).to_numpy("float64") for n in best])
    actual, scores = target.to_numpy("float64"), []
    for k, rows in enumerate(places):
        others = np.concatenate([each for number, each in enumerate(places) if number != k])
        weights = _selected(matrix[others], actual[others], metric)
        scores.append(error_of(metric, actual[rows], matrix[rows] @ weights))
    every = np.concatenate(places)
    weights = _selected(matrix[every], actual[every], metric)
    found = {n: float(weight) for n, weight in zip(best, weights, strict=True) if weight > 0}
    return (found, np.array(scores)) if len(found) > 1 else None


def _selected(matrix: np.ndarray, actual: np.ndarray, metric: Metric = "MAE") -> np.ndarray:
    """Return the weights of m columns of predictions: in each step, the most helpful one counts once more."""
    counts, total = np.zeros(matrix.shape[1]), np.zeros(len(actual))
    for step in range(1, _STEPS + 1):
        errors = [error_of(metric, actual, (total + column) / step) for column in matrix.T]
        best = int(np.argmin(errors))
        counts[best] += 1
        total = total + matrix[:, best]
    return counts / _STEPS


def _voting(settings: list[Setting], weights: dict[int, float]) -> Setting:
    """Return the weighted mean of settings."""
    estimators = [[f"model{k + 1}", dict(settings[n])] for k, n in enumerate(weights)]
    return {"estimator": _MEAN, "params": {"estimators": estimators, "weights": list(weights.values())}}
