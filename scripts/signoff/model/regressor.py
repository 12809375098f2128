"""A regressor from its dotted name, and the cores that it uses."""

import argparse
import importlib
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict, cast

import joblib
import numpy as np
import pandas as pd
from sklearn.base import is_regressor

from signoff.base.command_line import json_object
from signoff.base.errors import TaskError, nearest

DEFAULT_ESTIMATOR = "sklearn.ensemble.HistGradientBoostingRegressor"
# With fewer values, threads wait for each other longer than they work: on a busy machine, hundreds of times as long.
_FEWEST_VALUES_TO_SHARE = 100_000


class Regressor(Protocol):
    """What the workflow needs of a regressor: scikit-learn's interface."""

    def fit(self, features: object, target: object) -> object: ...
    def predict(self, features: object) -> np.ndarray: ...
    def get_params(self) -> dict[str, Any]: ...
    def set_params(self, **params: object) -> object: ...
    def __sklearn_tags__(self) -> Any: ...


class Setting(TypedDict):
    """A regressor by its dotted name, and its parameters."""

    estimator: str
    params: dict[str, Any]


@dataclass(frozen=True)
class Learning:
    """What is trained: one estimator, or the best of several candidates; with the seed and the most cores to use."""

    estimator: str = DEFAULT_ESTIMATOR
    params: dict[str, Any] | None = None
    candidates: list[dict[str, Any]] | None = None
    random_state: int = 0
    threads: int = 1

    @classmethod
    def given(cls, args: argparse.Namespace) -> "Learning":
        """Return what the options of `add_model` and --threads say."""
        return cls(args.estimator, args.params, args.candidates, args.random_state, args.threads)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that select the model."""
    parser.add_argument("--estimator", default=DEFAULT_ESTIMATOR, help="dotted name of a scikit-learn regressor")
    parser.add_argument("--params", type=json_object, default={}, help="its parameters as JSON")
    parser.add_argument(
        "--candidates", type=json_object, action="append", help="choose among several: estimator and params as JSON"
    )
    parser.add_argument("--random-state", type=int, default=0, help="the seed")


def make_regressor(estimator: str, params: dict[str, Any], random_state: int, key: str = "model") -> Regressor:
    """Return an unfitted regressor from its dotted name; `key` is its place in the config.

    Raises TaskError if there is no such regressor, or if it does not accept these parameters.
    """
    module_name, _, class_name = estimator.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise TaskError(
            f"{key}.estimator: cannot import {module_name!r} ({error}). Example: {DEFAULT_ESTIMATOR}"
        ) from error
    if not hasattr(module, class_name):
        names = [name for name in dir(module) if name.endswith("Regressor") or not name.startswith("_")]
        raise TaskError(f"{key}.estimator: {module_name} has no {class_name!r}: {nearest(class_name, names)}")
    if not hasattr(getattr(module, class_name), "fit"):
        raise TaskError(f"{key}.estimator: {estimator} is not a regressor. Example: {DEFAULT_ESTIMATOR}")
    try:
        regressor = getattr(module, class_name)(**params)
        known = regressor.get_params()
    except (TypeError, AttributeError) as error:
        raise TaskError(f"{key}.params: {class_name} does not accept {params}: {error}") from error
    if not is_regressor(regressor):
        raise TaskError(f"{key}.estimator: {estimator} is not a regressor. Example: {DEFAULT_ESTIMATOR}")
    if "random_state" in known and "random_state" not in params:
        regressor.set_params(random_state=random_state)
    return cast(Regressor, regressor)


def threads_for(features: pd.DataFrame, threads: int) -> int:
    """Return how many threads n × m features are worth, at most one per core."""
    return 1 if features.size < _FEWEST_VALUES_TO_SHARE else min(threads, int(joblib.cpu_count()))


def use_threads(regressor: Regressor, threads: int | None) -> None:
    """Set how many cores a regressor uses; None, once it is fitted, removes the number.

    The bytes of a model must not depend on it. In gradient boosting, only the binning stores it.
    """
    # Bagging splits its work by the number of jobs, and stores how.
    if "n_jobs" in regressor.get_params() and not type(regressor).__name__.startswith("Bagging"):
        regressor.set_params(n_jobs=threads)
    if threads is None and hasattr(regressor, "_bin_mapper"):
        regressor._bin_mapper.n_threads = None
