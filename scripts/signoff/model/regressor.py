"""A regressor from its dotted name, and the cores that it uses."""

import argparse
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, cast

import joblib
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, is_regressor
from sklearn.pipeline import Pipeline

from signoff.base.command_line import json_object
from signoff.base.errors import TaskError, nearest
from signoff.features.columns import Features
from signoff.model.boosters import BOOSTERS, INSTALL, booster_of, fixed_params, forget_fit
from signoff.model.metric import TO_MINIMISE
from signoff.model.records import DEFAULT_MINUTES, Candidate
from signoff.model.transform import TRANSFORMS, Transform

DEFAULT_ESTIMATOR = "sklearn.ensemble.HistGradientBoostingRegressor"
RIDGE, TREES = "sklearn.linear_model.RidgeCV", "sklearn.ensemble.ExtraTreesRegressor"
# Parameters that are an estimator, several of them, or a function.
_ONE = ("estimator", "regressor", "final_estimator", "transformer")
_SEVERAL = ("estimators", "steps")
_FUNCTIONS = ("func", "inverse_func")
# The attributes of an estimator that hold others.
_WITHIN = {"steps", "transformers", "transformers_", "estimators", "estimators_", "regressor", "regressor_"}
_WITHIN |= {"final_estimator", "final_estimator_"}
# With fewer values, threads wait for each other longer than they work: on a busy machine, hundreds of times as long.
_FEWEST_VALUES_TO_SHARE = 100_000


class Regressor(Protocol):
    """The interface of a regressor that the workflow needs, which is scikit-learn's."""

    def fit(self, features: object, target: object) -> object: ...
    def predict(self, features: object) -> np.ndarray: ...
    def get_params(self) -> dict[str, Any]: ...
    def set_params(self, **params: object) -> object: ...
    def __sklearn_tags__(self) -> Any: ...


@dataclass(frozen=True)
class Learning:
    """What is trained: one estimator, or the best of several candidates or of a preset by a metric.

    With the preset best, `minutes` of drawing settings, or the number of `trials`, which decides alone if it is given.
    With the seed and the most cores to use. `boosters` are those that take part in a preset; None: the installed ones.
    """

    estimator: str = DEFAULT_ESTIMATOR
    params: dict[str, Any] | None = None
    candidates: list[Candidate] | None = None
    preset: str = "fast"
    minutes: float = DEFAULT_MINUTES
    trials: int | None = None
    metric: str = "MAE"
    target_transform: Transform | None = None
    random_state: int = 0
    threads: int = 1
    boosters: list[str] | None = None

    @classmethod
    def given(cls, args: argparse.Namespace) -> "Learning":
        """Return the training options from those of `add_model` and --threads."""
        names = ["estimator", "params", "candidates", "preset", "minutes", "trials", "metric", "target_transform"]
        names += ["random_state", "threads"]
        return cls(**{name: getattr(args, name) for name in names}, boosters=args.boosters)


@dataclass(frozen=True)
class TrainingRows:
    """The training data: n rows of features (as for `train_model`), their kinds, and n targets.

    Also, if known, n times, the number of each row's group if rows of one group must not be learnt from and scored, and
    n weights.
    """

    features: pd.DataFrame
    kinds: dict[str, str]
    target: pd.Series
    time: pd.Series | None = None
    groups: np.ndarray | None = None
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.target)

    def at(self, places: np.ndarray) -> "TrainingRows":
        """Return the rows at these places (from 0), in this order, numbered from 0."""
        features = self.features.iloc[places].reset_index(drop=True)
        target = self.target.iloc[places].reset_index(drop=True)
        time = None if self.time is None else self.time.iloc[places].reset_index(drop=True)
        groups = None if self.groups is None else self.groups[places]
        weights = None if self.weights is None else self.weights[places]
        return TrainingRows(features, self.kinds, target, time, groups, weights)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that select the model."""
    parser.add_argument("--estimator", default=DEFAULT_ESTIMATOR, help="dotted name of a scikit-learn regressor")
    parser.add_argument("--params", type=json_object, default={}, help="its parameters as JSON")
    parser.add_argument(
        "--candidates", type=json_object, action="append", help="choose among several: estimator and params as JSON"
    )
    parser.add_argument(
        "--preset",
        choices=["fast", "good", "best"],
        default="fast",
        help="fast: the estimator; good: the best of several models by cross-validation; best: of as many as possible",
    )
    parser.add_argument(
        "--minutes", type=float, default=DEFAULT_MINUTES, help="how long the preset best compares models"
    )
    parser.add_argument("--trials", type=int, help="how many settings the preset best draws, whatever time that takes")
    parser.add_argument(
        "--boosters",
        choices=[*BOOSTERS, "none"],
        action="append",
        help="an optional package that takes part in the preset; by default those that are installed",
    )
    parser.add_argument("--metric", choices=TO_MINIMISE, default="MAE", help="what decides which model is the best")
    parser.add_argument("--target-transform", choices=TRANSFORMS, help="learn this function of the target")
    parser.add_argument("--random-state", type=int, default=0, help="the seed")


def make_regressor(estimator: str, params: dict[str, Any], random_state: int, key: str = "model") -> Regressor:
    """Return an unfitted regressor from its dotted name; `key` is its place in the config.

    Parameters that are themselves estimators or functions may be given by name: see `_built`.

    Raises TaskError if the regressor does not exist, or does not accept these parameters.
    """
    regressor = _make(estimator, params, random_state, key)
    if not is_regressor(regressor):
        raise TaskError(f"{key}.estimator: {estimator} is not a regressor. Example: {DEFAULT_ESTIMATOR}")
    return cast(Regressor, regressor)


def _make(estimator: str, params: dict[str, Any], random_state: int, key: str) -> Any:
    """Return an unfitted estimator from its dotted name; raises as `make_regressor`."""
    module_name, _, class_name = estimator.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, OSError, ValueError) as error:
        if module_name.partition(".")[0] in BOOSTERS:
            raise TaskError(f"{key}.estimator: cannot import {module_name!r} ({error}). {INSTALL}") from error
        raise TaskError(
            f"{key}.estimator: cannot import {module_name!r} ({error}). Example: {DEFAULT_ESTIMATOR}"
        ) from error
    if not hasattr(module, class_name):
        names = [name for name in dir(module) if name.endswith("Regressor") or not name.startswith("_")]
        raise TaskError(f"{key}.estimator: {module_name} has no {class_name!r}: {nearest(class_name, names)}")
    if not hasattr(getattr(module, class_name), "fit"):
        raise TaskError(f"{key}.estimator: {estimator} is not a regressor. Example: {DEFAULT_ESTIMATOR}")
    built = {name: _built(name, value, random_state, f"{key}.params.{name}") for name, value in params.items()}
    try:
        regressor = getattr(module, class_name)(**fixed_params(estimator, built, random_state))
        known = regressor.get_params(deep=False)
    except (TypeError, AttributeError) as error:
        raise TaskError(f"{key}.params: {class_name} does not accept {params}: {error}") from error
    if "random_state" in known and "random_state" not in params:
        regressor.set_params(random_state=random_state)
    return regressor


def _built(name: str, value: Any, random_state: int, key: str) -> Any:
    """Return a parameter's value: an estimator, a list of named estimators or a function is made from its name.

    An estimator is a dotted name, or a mapping with `estimator` and `params`. A list has one for each item, either by
    itself or as a pair of its name and the estimator; a mapping has them by name. Raises TaskError as `make_regressor`.
    """
    if name in _ONE and value is not None:
        return _from_name(value, random_state, key)
    if name in _FUNCTIONS and isinstance(value, str):
        module, _, function = value.rpartition(".")
        try:
            return getattr(importlib.import_module(module), function)
        except (ImportError, ValueError, AttributeError) as error:
            raise TaskError(f"{key}: cannot find {value!r} ({error}). Example: numpy.log1p") from error
    if name in _SEVERAL:
        items = list(value.items()) if isinstance(value, dict) else value
        if not isinstance(items, list) or not items:
            raise TaskError(f"{key} is {value!r}, but must be a list of estimators.")
        found = []
        for n, item in enumerate(items):
            pair = isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str)
            label, each = item if pair else (f"model{n + 1}", item)
            found.append((label, "drop" if each == "drop" else _from_name(each, random_state, f"{key}.{n}")))
        return found
    return value


def _from_name(value: Any, random_state: int, key: str) -> Any:
    """Return the unfitted estimator from a dotted name, or from a mapping of estimator and params."""
    if isinstance(value, str):
        value = {"estimator": value}
    if (
        not isinstance(value, dict)
        or not isinstance(value.get("estimator"), str)
        or not set(value) <= {"estimator", "params"}
        or not isinstance(value.get("params") or {}, dict)
    ):
        raise TaskError(
            f"{key} is {value!r}, but must be an estimator: its dotted name, or a mapping with estimator and params."
        )
    return _make(value["estimator"], value.get("params") or {}, random_state, key)


def members(regressor: Any) -> dict[str, Any]:
    """Return the regressors, by name, to which a regressor passes the features unchanged."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import StackingRegressor, VotingRegressor

    # These modules import this one.
    from signoff.model.residuals import ResidualRegressor
    from signoff.model.text import IgnoringText

    if isinstance(regressor, TransformedTargetRegressor | IgnoringText) and regressor.regressor is not None:
        return {"regressor": regressor.regressor}
    stacked = isinstance(regressor, StackingRegressor) and not regressor.passthrough
    if isinstance(regressor, VotingRegressor | ResidualRegressor) or stacked:
        return {name: each for name, each in regressor.estimators if each != "drop"}
    return {}


def estimators(value: Any) -> Iterator[Any]:
    """Yield each estimator within an estimator, fitted ones too, and itself."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from estimators(each)
    elif isinstance(value, BaseEstimator):
        yield value
        # Trees are many, and get their weights from the forest.
        for name, each in vars(value).items():
            if name in _WITHIN:
                yield from estimators(each)


def threads_for(features: pd.DataFrame | Features, threads: int) -> int:
    """Return the useful number of threads for n × m features, at most one per core."""
    return 1 if features.size < _FEWEST_VALUES_TO_SHARE else min(threads, int(joblib.cpu_count()))


def use_threads(regressor: Regressor, threads: int | None) -> None:
    """Set how many cores a regressor uses; None, once it is fitted, removes the number.

    The bytes of a model must not depend on it. In gradient boosting, only the binning stores it.
    """
    # Those that are fitted and those that are not yet; the cores are shared within each.
    within = [*getattr(regressor, "estimators_", ()), getattr(regressor, "regressor_", None)]
    within = (
        [*members(regressor).values(), *(each for each in within if each is not None)] if members(regressor) else []
    )
    for each in within:
        if each != "drop":
            use_threads(each[-1] if isinstance(each, Pipeline) else each, threads)
    if within:
        return
    if booster_of(regressor):
        # It has one thread, unless the config says otherwise.
        if threads is None:
            forget_fit(regressor)
        return
    # Bagging splits its work by the number of jobs, and stores how.
    if "n_jobs" in regressor.get_params() and not type(regressor).__name__.startswith("Bagging"):
        regressor.set_params(n_jobs=threads)
    if threads is None and hasattr(regressor, "_bin_mapper"):
        regressor._bin_mapper.n_threads = None
