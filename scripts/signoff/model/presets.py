"""The presets `good` and `best`: models compared on the training part, the simplest of the best, or their mean."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from signoff.base.errors import TaskError
from signoff.model.boosters import REGRESSORS
from signoff.model.draws import Budget, batches, drawn, smooth
from signoff.model.metric import error_of, loss_of
from signoff.model.records import ComparedSetting, Comparison, Cost, Metric, Setting, words_of
from signoff.model.regressor import DEFAULT_ESTIMATOR, RIDGE, TREES, TrainingRows
from signoff.model.search import FIRST_ROUND_ROWS, cost_of, folds_of, halved, naming, ranked
from signoff.model.search import with_error as compared_with
from signoff.model.text import ignoring
from signoff.model.text_gain import gains_of_text
from signoff.model.transform import Transform, transformed

_RESIDUALS = "signoff.model.residuals.ResidualRegressor"
_MEAN = "sklearn.ensemble.VotingRegressor"
# A fit of few rows takes half of the time of boosting.
_KERNEL = {"gamma": 0.05, "n_components": 200}
# Its default is a thousand trees, which are hardly better, for twice the time.
_CATBOOST = {"iterations": 500}
_BOOSTERS: dict[str, Setting] = {
    "lightgbm": {"estimator": REGRESSORS["lightgbm"], "params": {}},
    "catboost": {"estimator": REGRESSORS["catboost"], "params": _CATBOOST},
}
# With fewer rows, folds are too small to compare on.
_FEWEST_ROWS = 20
# Up to this many rows, details that have few rows can be learnt, and what that costs is bounded: randomised trees have
# leaves of a single row, and boosting with small leaves is compared too, with more trees, which are smaller.
_FEW_ROWS = 5000
_SMALL_LEAVES = {"max_iter": 150, "max_leaf_nodes": 8, "min_samples_leaf": 5}
# Up to this many rows, which setting is the best is largely chance.
_FEW_TO_CHOOSE = 400
# A setting that is not better than gradient boosting with its defaults by so many standard errors is averaged with it.
_ESTABLISHED = 2
# A target with a larger skewness is also learnt as its logarithm.
_SKEWED = 1.0
# More rows are not needed to compare on: errors are known well enough, and time is bounded.
_MOST_COMPARED, _MOST_VALUES = 20_000, 300_000
# With more values, each split of randomised trees tries some of the features only: with all of them, these trees would
# take more time than all other settings together.
_MANY_VALUES, _FEWER_FEATURES = 100_000, 0.5
# Of more rows, this keeps the size of a model small enough for a release.
_MOST_LEAVES = 2500
_MOST_MEMBERS, _MOST_MEMBERS_OF_BEST, _STEPS = 3, 8, 20
# Of the settings, gradient boosting with its defaults; and of the means, whose numbers no setting has.
_DEFAULT, _MEAN_OF_BEST, _WITH_DEFAULT = 1, -1, -2
# Batches of different sizes have last rounds that differ by a few rows.
_NEARLY_ALL = 0.99


@dataclass
class _Found:
    """What has been compared so far: settings, how they compare, predictions of unseen rows by number, and the cost."""

    settings: list[Setting]
    compared: dict[int, ComparedSetting]
    predicted: dict[int, pd.Series]
    cost: Cost


def choose_good(
    rows: TrainingRows,
    random_state: int = 0,
    threads: int = 1,
    metric: Metric = "MAE",
    boosters: Iterable[str] = (),
    budget: Budget | None = None,
) -> tuple[Setting, Comparison | None]:
    """Return the setting to train, and how the settings of the preset compare; parameters as for `choose_model`.

    With a `budget`, the preset is `best`: it also compares settings that are drawn, and a mean need only be better.

    Of those within one standard error of the best by the metric, paired over the folds, the simplest is chosen
    (Breiman, Friedman, Olshen, Stone 1984, Classification and Regression Trees, 3.4.3). A weighted mean of the best
    replaces it if it is better by more than one standard error. The weights are those of ensemble selection (Caruana,
    Niculescu-Mizil, Crew, Ksikes 2004, Ensemble Selection from Libraries of Models, ICML), and are scored on folds that
    they were not selected on.

    The comparison is None for fewer than 20 rows: the setting is then that of the preset fast. Of more than 20,000
    rows, or 300,000 values, a sample is compared: spread evenly over time, or drawn at random. Columns of text that do
    not lower the error of gradient boosting are ignored by all settings. `boosters` are the optional packages used.

    Raises
    ------
    TaskError
        No setting can be trained.
    """
    started = budget.clock() if budget else 0.0
    if len(rows) < _FEWEST_ROWS:
        logging.info("[train_model] model.preset compares nothing on %d training rows: too few", len(rows))
        return {"estimator": DEFAULT_ESTIMATOR, "params": {}}, None
    settings = settings_of_good(rows.target, metric, rows.time is not None, boosters, len(rows.kinds))
    draws = drawn(_leaves(len(rows)), metric, _logarithm(rows.target), boosters, random_state)
    rows = rows.at(rows_to_compare(rows, random_state))
    order, folds, said = folds_of(rows, random_state)
    rows = rows.at(order)
    text, cost = gains_of_text(rows, settings[_DEFAULT], folds, said, random_state, threads, metric)
    unused = [gain["column"] for gain in text if not gain["used"]]
    found = _Found([], {}, {}, cost)

    def compare(more: Iterable[Setting]) -> None:
        first, kept = len(found.settings), dict[int, pd.Series]()
        added = [ignoring(each, unused) for each in more]
        compared = halved(added, rows, folds, said, random_state, threads, kept, metric)
        found.settings.extend(added)
        found.compared.update({first + n: each for n, each in compared.items()})
        found.predicted.update({first + n: each for n, each in kept.items()})
        found.cost = cost_of(compared.values(), folds, found.cost)

    compare(settings)
    if budget:
        for batch in batches(draws, len(rows), budget, started):
            compare(batch)
    setting, comparison = _chosen(found, rows.target, folds, metric, best=budget is not None)
    comparison["folds"] = said
    if budget:
        comparison["trials"] = budget.used(len(found.settings) - len(settings))
    if text:
        comparison["text"] = text
    return setting, comparison


def _chosen(found: _Found, target: pd.Series, folds: Any, metric: Metric, best: bool) -> tuple[Setting, Comparison]:
    """Return the simplest of the best settings, or their weighted mean, and the comparison; `best` is the preset.

    With at most 400 rows, what is chosen is averaged with gradient boosting with its defaults if it is not better than
    that by two standard errors: by chance, it may be much worse on new rows, where the error of a mean is at most the
    mean of both errors.
    """
    settings, compared = found.settings, dict(found.compared)
    if not found.predicted:
        raise TaskError(f"model.preset: no model can be trained. {words_of(compared[0])}: {compared[0]['problem']}")
    most = max(compared[n]["rows"] for n in found.predicted)
    finalists = {n: each for n, each in sorted(found.predicted.items()) if compared[n]["rows"] > _NEARLY_ALL * most}
    errors, places = _errors(target, finalists, folds, metric)
    chosen, why = _simplest(errors, settings)
    weights = {chosen: 1.0}

    def add_mean(number: int, weights: dict[int, float], predicted: pd.Series) -> None:
        finalists[number] = predicted
        errors[number] = _by_fold(target, predicted, places, metric)
        score = float(errors[number].mean()), float(errors[number].std())
        compared[number] = compared_with(_voting(settings, weights), metric, score, most)

    mean = _mean(target, finalists, errors, places, metric, _MOST_MEMBERS_OF_BEST if best else _MOST_MEMBERS)
    if mean is not None:
        add_mean(_MEAN_OF_BEST, *mean)
        gain, error = _paired(errors[chosen], errors[_MEAN_OF_BEST])
        if gain > (0 if best else error):
            why = f"the weighted mean is better than {words_of(settings[chosen])} by {gain:.4g} ± {error:.2g}"
            chosen, weights = _MEAN_OF_BEST, mean[0]
    if len(target) <= _FEW_TO_CHOOSE and chosen != _DEFAULT and _DEFAULT in finalists:
        gain, error = _paired(errors[_DEFAULT], errors[chosen])
        if gain <= _ESTABLISHED * error:
            weights = {n: weight / 2 for n, weight in weights.items()}
            weights[_DEFAULT] = weights.get(_DEFAULT, 0.0) + 0.5
            add_mean(_WITH_DEFAULT, weights, (finalists[chosen] + finalists[_DEFAULT]) / 2)
            chosen, default = _WITH_DEFAULT, words_of(settings[_DEFAULT])
            why += (
                f"; half of it is {default}, because with so few rows a gain of {gain:.4g} ± {error:.2g} may be chance"
            )
    first = compared[chosen]
    logging.info("[train_model] chosen: %s, cross-validated %s %.4f: %s", words_of(first), metric, first[metric], why)
    others = [each for each in ranked(compared.values(), metric) if each is not first]
    comparison: Comparison = {"folds": "", "why": why, "cost": found.cost, "settings": [first, *others]}
    return {"estimator": first["estimator"], "params": first["params"]}, naming(comparison, metric)


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
    target: pd.Series,
    metric: Metric = "MAE",
    trend: bool = False,
    boosters: Iterable[str] = (),
    features: int = 1,
) -> list[Setting]:
    """Return the settings that the preset compares for n values of the target and m features, the simplest first.

    If the metric is a deviance or a quantile, gradient boosting with that loss is one of them. If there may be a
    `trend`, one is ridge regression with gradient boosting on its residuals.
    """
    rows = len(target)
    ridge: Setting = {"estimator": RIDGE, "params": {"alphas": [0.1, 1.0, 10.0, 100.0, 1000.0]}}
    boosting: Setting = {"estimator": DEFAULT_ESTIMATOR, "params": {}}
    found = [ridge, boosting]
    if trend:
        steps = [["linear", ridge], ["boosting", boosting]]
        found.append({"estimator": _RESIDUALS, "params": {"estimators": steps}})
    if loss := loss_of(metric):
        found.append({"estimator": DEFAULT_ESTIMATOR, "params": loss})
    if rows <= _FEW_ROWS:
        found.append({"estimator": DEFAULT_ESTIMATOR, "params": dict(_SMALL_LEAVES)})
    found.append({"estimator": DEFAULT_ESTIMATOR, "params": {"loss": "absolute_error"}})
    if transform := _logarithm(target):
        found.append(transformed({"estimator": DEFAULT_ESTIMATOR, "params": {}}, transform))
    trees = {"n_estimators": 100, "min_samples_leaf": _leaves(rows)[0]}
    if rows * features > _MANY_VALUES:
        trees["max_features"] = _FEWER_FEATURES
    found += [{"estimator": TREES, "params": trees}, smooth(_KERNEL)]
    return [*found, *(_BOOSTERS[each] for each in boosters)]


def _logarithm(target: pd.Series) -> Transform | None:
    """Return the logarithm that is also learnt of n values of the target: none, if it is not skewed, or negative."""
    least = float(target.min())
    if least < 0 or stats.skew(target) <= _SKEWED:
        return None
    return "log" if least > 0 else "log1p"


def _leaves(rows: int) -> list[float]:
    """Return the least sizes of a leaf of randomised trees for n rows, the default first."""
    # A share of many rows, because a fold has fewer.
    return [1, 2, 4, 8] if rows <= _FEW_ROWS else [factor / _MOST_LEAVES for factor in (1, 2, 4)]


def _errors(
    target: pd.Series, predicted: dict[int, pd.Series], folds: Any, metric: Metric
) -> tuple[dict[int, np.ndarray], list[np.ndarray]]:
    """Return the error of each setting on each fold, and the rows of each fold that all settings predicted."""
    known = set.intersection(*(set(each.index) for each in predicted.values()))
    places = [np.array(sorted(known.intersection(unseen)), dtype="int64") for _, unseen in folds.split(target)]
    return {n: _by_fold(target, each, places, metric) for n, each in predicted.items()}, places


def _by_fold(target: pd.Series, predicted: pd.Series, places: list[np.ndarray], metric: Metric) -> np.ndarray:
    """Return the error on the rows of each fold."""
    return np.array(
        [error_of(metric, target[rows].to_numpy("float64"), predicted[rows].to_numpy("float64")) for rows in places]
    )


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
    members: int = _MOST_MEMBERS,
) -> tuple[dict[int, float], pd.Series] | None:
    """Return the weights of the best settings, and what such means predict of other folds; None if there is one."""
    columns = {n: each.reindex(target.index).to_numpy("float64") for n, each in predicted.items()}
    actual, unseen = target.to_numpy("float64"), pd.Series(np.nan, target.index)

    def weighted(folds: list[int]) -> dict[int, float]:
        best = sorted(columns, key=lambda n: float(errors[n][folds].mean()))[:members]
        some = np.concatenate([places[k] for k in folds])
        weights = _selected(np.column_stack([columns[n][some] for n in best]), actual[some], metric)
        return {n: float(weight) for n, weight in zip(best, weights, strict=True) if weight > 0}

    for k, rows in enumerate(places):
        others = weighted([number for number in range(len(places)) if number != k])
        unseen.iloc[rows] = np.sum([weight * columns[n][rows] for n, weight in others.items()], axis=0)
    found = weighted(list(range(len(places))))
    return (found, unseen) if len(found) > 1 else None


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
