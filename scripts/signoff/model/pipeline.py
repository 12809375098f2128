"""An unfitted model: a regressor from its name, behind the encoding that suits it."""

import argparse
import importlib
import logging
from typing import Any, Protocol, TypedDict, cast

import joblib
import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray
from sklearn.base import is_regressor
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

from signoff.base.command_line import json_object
from signoff.base.errors import TaskError, nearest

DEFAULT_ESTIMATOR = "sklearn.ensemble.HistGradientBoostingRegressor"
# Gradient boosting puts each feature's values into at most 255 bins.
_MOST_LEVELS = 254
# It ignores levels with fewer than ten rows. Below this average, it would miss most levels.
_FEWEST_ROWS_A_LEVEL = 12
_MOST_DUMMIES = 50
# With fewer values, threads wait for each other longer than they work: on a busy machine, hundreds of times as long.
_FEWEST_VALUES_TO_SHARE = 100_000

# By name, the encoder and its columns.
_Encoders = list[tuple[str, Any, list[str]]]


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


def levels_of(features: pd.DataFrame, kinds: dict[str, str]) -> dict[str, ExtensionArray]:
    """Return the distinct values of each category in n rows, including a missing value if there is one."""
    found = {name: features[name].unique() for name, kind in kinds.items() if kind == "category"}
    return cast(dict[str, ExtensionArray], found)


def make_pipeline(
    regressor: Regressor,
    kinds: dict[str, str],
    features: pd.DataFrame,
    levels: dict[str, ExtensionArray],
    random_state: int,
) -> Pipeline:
    """Return the regressor behind an encoding that suits it and the n training rows of features with these levels.

    Histogram gradient boosting accepts missing values and splits on sets of categories, so it gets ordinal codes; a
    level that the training part lacks counts as missing. A category with too many levels becomes two numbers: the
    code, in alphabetical order, and the target's mean, cross-fitted as in scikit-learn's TargetEncoder. Any other
    regressor gets scaled numbers, the median for missing values, and one column for each of the most frequent levels.
    """
    # Imported here: not every task makes a pipeline.
    from sklearn.ensemble import HistGradientBoostingRegressor

    # The model cannot learn from a feature without values in the training part, and encoders reject it.
    unknown = [name for name in kinds if features[name].isna().all()]
    if unknown:
        logging.warning(
            "[train_model] not used, because they are missing in the whole training part: %s", ", ".join(unknown)
        )
    categories = [name for name, kind in kinds.items() if kind == "category" and name not in unknown]
    numbers = [name for name, kind in kinds.items() if kind == "number" and name not in unknown]
    if not categories and not numbers:
        raise TaskError("no feature has values in the training part. Bring other columns, or more rows.")
    boosting = isinstance(regressor, HistGradientBoostingRegressor)
    columns = (
        _codes(regressor, categories, numbers, features, levels, random_state)
        if boosting
        else _dummies(regressor, categories, numbers)
    )
    encode = ColumnTransformer([each for each in columns if each[2]], verbose_feature_names_out=False)
    return Pipeline([("encode", encode), ("regress", regressor)])


def _codes(
    regressor: Regressor,
    categories: list[str],
    numbers: list[str],
    features: pd.DataFrame,
    levels: dict[str, ExtensionArray],
    random_state: int,
) -> _Encoders:
    """Return the encoders for gradient boosting, and tell it which codes are categories."""
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        encoded_missing_value=np.nan,
    )
    most = min(_MOST_LEVELS, len(features) / _FEWEST_ROWS_A_LEVEL)
    count = {name: pd.notna(levels[name]).sum() for name in categories}
    many = [name for name in categories if count[name] > most]
    # scikit-learn cannot split on sets of a single level, but it can split its code from missing values.
    single = [name for name in categories if count[name] == 1]
    categories = [name for name in categories if name not in (*many, *single)]
    if categories and "categorical_features" in regressor.get_params():
        regressor.set_params(categorical_features=list(range(len(categories))))
    folds = KFold(min(5, len(features)), shuffle=True, random_state=random_state)
    means = TargetEncoder(target_type="continuous", cv=folds)
    columns = [("categories", encoder, categories), ("codes", encoder, [*many, *single]), ("means", means, many)]
    return [*columns, ("numbers", "passthrough", numbers)]


def _dummies(regressor: Regressor, categories: list[str], numbers: list[str]) -> _Encoders:
    """Return the encoders for any other regressor."""
    # Imported here: only some regressors need it.
    from sklearn.impute import SimpleImputer

    encoder = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=_MOST_DUMMIES,
        sparse_output=regressor.__sklearn_tags__().input_tags.sparse,
    )
    imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    return [
        ("categories", encoder, categories),
        ("numbers", Pipeline([("impute", imputer), ("scale", StandardScaler())]), numbers),
    ]


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
