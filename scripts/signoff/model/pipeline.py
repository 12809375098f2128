"""An unfitted model: a regressor from its name, behind the encoding that suits it."""

import argparse
import importlib
import logging

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
MOST_LEVELS = 254
# It looks at no level that fewer than ten rows have: with so few rows a level, on average, it would miss most of them.
FEWEST_ROWS_A_LEVEL = 12
MOST_DUMMIES = 50
# On fewer values, threads wait for each other longer than they work; on a busy machine, hundreds of times so.
FEWEST_VALUES_TO_SHARE = 100_000


def add_model(parser: argparse.ArgumentParser) -> None:
    """Give a command line the flags that say what to fit."""
    parser.add_argument("--estimator", default=DEFAULT_ESTIMATOR, help="dotted name of a scikit-learn regressor")
    parser.add_argument("--params", type=json_object, default={}, help="its parameters as JSON")
    parser.add_argument(
        "--candidates", type=json_object, action="append", help="choose among several: estimator and params as JSON"
    )
    parser.add_argument("--random-state", type=int, default=0, help="the seed")


def make_regressor(estimator: str, params: dict, random_state: int, key: str = "model"):
    """Return an unfitted regressor, from its dotted name; `key` is where they stand in the config.

    Raises TaskError where there is no such regressor, or it does not take these parameters.
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
        raise TaskError(f"{key}.estimator: {estimator} is no regressor. Example: {DEFAULT_ESTIMATOR}")
    try:
        regressor = getattr(module, class_name)(**params)
        known = regressor.get_params()
    except (TypeError, AttributeError) as error:
        raise TaskError(f"{key}.params: {class_name} does not take {params}: {error}") from error
    if not is_regressor(regressor):
        raise TaskError(f"{key}.estimator: {estimator} is no regressor. Example: {DEFAULT_ESTIMATOR}")
    if "random_state" in known and "random_state" not in params:
        regressor.set_params(random_state=random_state)
    return regressor


def levels_of(features: pd.DataFrame, kinds: dict[str, str]) -> dict[str, ExtensionArray]:
    """Return the values that each category has in n rows, a missing one among them where there is any."""
    return {name: features[name].unique() for name, kind in kinds.items() if kind == "category"}


def make_pipeline(
    regressor, kinds: dict[str, str], features: pd.DataFrame, levels: dict[str, ExtensionArray], random_state: int
) -> Pipeline:
    """Return the regressor behind the encoding that suits it and the n rows of features to train on, of these levels.

    Histogram gradient boosting takes missing values as they are and splits on sets of categories, so it gets ordinal
    codes; a level that the training part lacks counts as missing. Of a category with too many levels for that it gets
    two numbers: the code, in alphabetical order, and the target's mean, cross-fitted as in scikit-learn's
    TargetEncoder. Any other regressor gets scaled numbers, the median where one is missing, and one column for each of
    the most frequent levels.
    """
    # Imported here: not every task makes a pipeline.
    from sklearn.ensemble import HistGradientBoostingRegressor

    # Nothing can be learnt of a feature that the training part lacks, and no encoder takes it.
    unknown = [name for name in kinds if features[name].isna().all()]
    if unknown:
        logging.warning("[train_model] not used, being missing in the whole training part: %s", ", ".join(unknown))
    categories = [name for name, kind in kinds.items() if kind == "category" and name not in unknown]
    numbers = [name for name, kind in kinds.items() if kind == "number" and name not in unknown]
    if not categories and not numbers:
        raise TaskError("every feature is missing in the whole training part. Bring other columns, or more rows.")
    if isinstance(regressor, HistGradientBoostingRegressor):
        encoder = OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=np.nan,
            encoded_missing_value=np.nan,
        )
        most = min(MOST_LEVELS, len(features) / FEWEST_ROWS_A_LEVEL)
        count = {name: pd.notna(levels[name]).sum() for name in categories}
        many = [name for name in categories if count[name] > most]
        # Of one level and nothing, scikit-learn makes no sets to split, but of two numbers.
        single = [name for name in categories if count[name] == 1]
        categories = [name for name in categories if name not in (*many, *single)]
        if categories and "categorical_features" in regressor.get_params():
            regressor.set_params(categorical_features=list(range(len(categories))))
        folds = KFold(min(5, len(features)), shuffle=True, random_state=random_state)
        means = TargetEncoder(target_type="continuous", cv=folds)
        columns = [("categories", encoder, categories), ("codes", encoder, [*many, *single]), ("means", means, many)]
        columns += [("numbers", "passthrough", numbers)]
    else:
        # Imported here: only some regressors need it.
        from sklearn.impute import SimpleImputer

        encoder = OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            max_categories=MOST_DUMMIES,
            sparse_output=regressor.__sklearn_tags__().input_tags.sparse,
        )
        imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
        columns = [
            ("categories", encoder, categories),
            ("numbers", Pipeline([("impute", imputer), ("scale", StandardScaler())]), numbers),
        ]
    encode = ColumnTransformer([each for each in columns if each[2]], verbose_feature_names_out=False)
    return Pipeline([("encode", encode), ("regress", regressor)])


def threads_for(features: pd.DataFrame, threads: int) -> int:
    """Return how many threads are worth their while on n × m features: no more than there are cores."""
    return 1 if features.size < FEWEST_VALUES_TO_SHARE else min(threads, joblib.cpu_count())


def use_threads(regressor, threads: int | None) -> None:
    """Let a regressor use so many cores; None, once it is fitted, takes the number out again.

    The bytes of a model must not depend on it. In gradient boosting the binning remembers it, and nothing else differs.
    """
    # Bagging splits its work by the number of jobs, and remembers how.
    if "n_jobs" in regressor.get_params() and not type(regressor).__name__.startswith("Bagging"):
        regressor.set_params(n_jobs=threads)
    if threads is None and hasattr(regressor, "_bin_mapper"):
        regressor._bin_mapper.n_threads = None
