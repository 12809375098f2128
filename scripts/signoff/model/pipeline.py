"""An unfitted model: a regressor behind the encoding that suits it."""

import logging
from typing import Any, cast

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import KFold, PredefinedSplit
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

from signoff.base.errors import TaskError
from signoff.model.boosters import booster_of
from signoff.model.group_folds import inner_folds
from signoff.model.regressor import Regressor, members
from signoff.model.text import IgnoringText, TextEncoder

# Gradient boosting puts each feature's values into at most 255 bins.
_MOST_LEVELS = 254
# It ignores levels with fewer than ten rows. Below this average, it would miss most levels.
_FEWEST_ROWS_A_LEVEL = 12
_MOST_DUMMIES = 50
# By name, the encoder and its columns.
_Encoders = list[tuple[str, Any, list[str]]]


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
    groups: np.ndarray | None = None,
) -> Pipeline:
    """Return the regressor behind an encoding that suits it and the n training rows of features with these levels.

    Histogram gradient boosting accepts missing values and splits on sets of categories, so it gets ordinal codes; a
    level that the training part lacks counts as missing. A category with too many levels becomes two numbers: the
    code, in alphabetical order, and the target's mean, cross-fitted as in scikit-learn's TargetEncoder; with the number
    of each row's group, the mean for a row comes from rows of other groups. LightGBM and CatBoost get two such numbers
    for each category. Any other regressor gets scaled numbers, the median for missing values, one column for each of
    the most frequent levels, and the mean if there are more. Text becomes a few numbers (`TextEncoder`).
    A regressor of regressors (`members`) hands on the features as they are, and each of these has its own encoding.
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
    texts = [name for name, kind in kinds.items() if kind == "text" and name not in unknown]
    if not categories and not numbers and not texts:
        raise TaskError("no feature has values in the training part. Bring other columns, or more rows.")
    if inner := members(regressor):
        usable = {name: kind for name, kind in kinds.items() if name not in unknown}
        if isinstance(regressor, IgnoringText):
            # A fold may lack the values of a column that the whole training part has.
            regressor.set_params(columns=[name for name in regressor.columns if name in kinds])
            usable = {name: kind for name, kind in usable.items() if name not in regressor.columns}
        # Stacking fits each member on parts of the rows too, where the numbers of all groups do not fit.
        groups = None if hasattr(regressor, "final_estimator") else groups
        for name, each in inner.items():
            pipeline = make_pipeline(bare(each), usable, features, levels, random_state, groups)
            _encode_by_itself(regressor, name, pipeline)
        return Pipeline([("encode", FunctionTransformer(feature_names_out="one-to-one")), ("regress", regressor)])
    boosting = isinstance(regressor, HistGradientBoostingRegressor) or booster_of(regressor)
    if boosting:
        folds = inner_folds(len(features), random_state, groups)
        columns = _codes(regressor, categories, numbers, features, levels, folds)
    else:
        columns = _dummies(regressor, categories, numbers)
        if many := [name for name in categories if _count(levels.get(name)) > _MOST_DUMMIES]:
            means = TargetEncoder(target_type="continuous", cv=inner_folds(len(features), random_state, groups))
            columns.append(("means", Pipeline([("encode", means), ("scale", StandardScaler())]), many))
    # They come last: the positions of the categories stay the same.
    encoders = [_numbers_of_text(random_state, scaled=not boosting) for _ in texts]
    columns += [(f"text{n}", encoder, [texts[n]]) for n, encoder in enumerate(encoders)]
    encode = ColumnTransformer([each for each in columns if each[2]], verbose_feature_names_out=False)
    return Pipeline([("encode", encode), ("regress", regressor)])


def _numbers_of_text(random_state: int, scaled: bool) -> Any:
    """Return the encoder of a column of text."""
    encoder = TextEncoder(random_state=random_state)
    return Pipeline([("encode", encoder), ("scale", StandardScaler())]) if scaled else encoder


def bare(regressor: Any) -> Any:
    """Return a regressor without the encoding that an earlier fit, on other columns, put before it."""
    if not isinstance(regressor, Pipeline) or regressor.steps[0][0] != "encode":
        return regressor
    found = regressor[-1]
    if "categorical_features" in found.get_params(deep=False):
        found.set_params(categorical_features=None)
    return found


def _encode_by_itself(regressor: Any, name: str, pipeline: Pipeline) -> None:
    """Replace a regressor within another one by its pipeline."""
    if hasattr(regressor, "estimators"):
        replaced = [(label, pipeline if label == name else each) for label, each in regressor.estimators]
        regressor.set_params(estimators=replaced)
    else:
        regressor.set_params(regressor=pipeline)


def ordinal_codes() -> OrdinalEncoder:
    """Return an encoder that codes levels in alphabetical order; an unknown level counts as missing (NaN)."""
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)


def by_levels(
    categories: list[str], rows: int, levels: dict[str, ExtensionArray]
) -> tuple[list[str], list[str], list[str]]:
    """Return the categories that gradient boosting can split on as sets, those with too many levels, and with one."""
    most = min(_MOST_LEVELS, rows / _FEWEST_ROWS_A_LEVEL)
    count = {name: _count(levels[name]) for name in categories}
    many = [name for name in categories if count[name] > most]
    # scikit-learn cannot split on sets of a single level, but it can split its code from missing values.
    single = [name for name in categories if count[name] == 1]
    return [name for name in categories if name not in (*many, *single)], many, single


def _count(levels: ExtensionArray | None) -> int:
    """Return the number of levels of a category, without a missing value; 0 if they are not given."""
    return 0 if levels is None else int(pd.notna(levels).sum())


def _codes(
    regressor: Regressor,
    categories: list[str],
    numbers: list[str],
    features: pd.DataFrame,
    levels: dict[str, ExtensionArray],
    folds: KFold | PredefinedSplit,
) -> _Encoders:
    """Return the encoders for gradient boosting, and set which codes are categories."""
    encoder = ordinal_codes()
    categories, many, single = by_levels(categories, len(features), levels)
    if booster_of(regressor):
        categories, many = [], [*categories, *many]
    if categories and "categorical_features" in regressor.get_params():
        regressor.set_params(categorical_features=list(range(len(categories))))
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
