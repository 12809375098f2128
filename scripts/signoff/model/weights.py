"""The weights of the training rows: from a column, or smaller for older rows."""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch
from sklearn.utils.validation import has_fit_parameter

from signoff.base.errors import TaskError
from signoff.model.records import Weighting
from signoff.model.regressor import estimators, members


def add_weight(parser: argparse.ArgumentParser) -> None:
    """Add the options that select the weights."""
    parser.add_argument("--weight", metavar="COLUMN", help="a column with the weight of each training row")
    parser.add_argument("--half-life-weeks", type=float, help="a training row this much older has half the weight")


def given_weighting(args: argparse.Namespace) -> Weighting | None:
    """Return the weighting from the options of `add_weight`; None if there is none."""
    if args.weight:
        return {"column": args.weight}
    return {"half_life_weeks": args.half_life_weeks} if args.half_life_weeks else None


def weight_columns(weighting: Weighting | None, time_column: str | None) -> list[str]:
    """Return the columns that the weights are made of. Raises TaskError if ages are needed and no time is known."""
    if weighting is None:
        return []
    if "column" in weighting:
        return [weighting["column"]]
    if time_column is None:
        raise TaskError("model.weight.half_life_weeks needs the age of each row. Name its time as time_column.")
    return [time_column]


def weights_of(rows: pd.DataFrame, weighting: Weighting | None, time_column: str | None) -> np.ndarray | None:
    """Return the weights of n rows, 1 on average; None without a weighting.

    Raises
    ------
    TaskError
        A weight is missing, negative or infinite, or all are 0; or a row has no time to compute its age from.
    """
    if weighting is None:
        return None
    (name,) = weight_columns(weighting, time_column)
    if "column" in weighting:
        if name not in rows:
            raise TaskError(f"model.weight: the features have no column {name!r}. Run make run.")
        if not pd.api.types.is_numeric_dtype(rows[name]):
            raise TaskError(f"model.weight: column {name} is not numeric. Name a column of numbers.")
        found = rows[name].to_numpy("float64")
        problem = "missing, negative or infinite"
    else:
        days = (rows[name].max() - rows[name]) / pd.Timedelta(days=7)
        found = np.power(0.5, days.to_numpy("float64") / weighting["half_life_weeks"])
        problem = "without a time"
    wrong = ~(np.isfinite(found) & (found >= 0))
    if wrong.any():
        first = rows[name].iloc[int(np.flatnonzero(wrong)[0])]
        raise TaskError(
            f"model.weight: {wrong.sum():,} of {len(rows):,} training rows have a weight in {name} that is {problem}, "
            f"such as {first}. Correct the source, or drop these rows with cleaning."
        )
    if not found.any():
        raise TaskError(f"model.weight: the weight of each training row is 0 in {name}. Bring rows with a weight.")
    weights: np.ndarray = found / found.mean()
    return weights


def fit_weighted(regressor: Any, features: Any, target: pd.Series, weights: np.ndarray | None) -> Any:
    """Return the regressor or pipeline, fitted on n encoded rows with their weights, if any.

    Raises TypeError if the regressor accepts no weights.
    """
    if weights is None:
        return regressor.fit(features, target)
    if isinstance(regressor, Pipeline):
        encode, last = regressor[:-1], regressor[-1]
        fit_weighted(last, encode.fit_transform(features, target), target, weights)
        return regressor
    for each in _leaves(regressor):
        if not has_fit_parameter(each, "sample_weight"):
            raise TypeError(f"{type(each).__name__} accepts no weights of rows (model.weight)")
    if not members(regressor):
        return regressor.fit(features, target, sample_weight=weights)
    # Regressors pass weights on to those within only by this interface of scikit-learn. It is removed again, so that
    # the model can also be fitted without weights.
    every = list(estimators(regressor))
    if _has_target_encoding(every):
        return _fit_around_target_encoding(regressor, features, target, weights)
    with sklearn.config_context(enable_metadata_routing=True):
        for each in every:
            if has_fit_parameter(each, "sample_weight") and hasattr(each, "set_fit_request"):
                each.set_fit_request(sample_weight=hasattr(each, "predict"))
        regressor.fit(features, target, sample_weight=weights)
    for each in (*every, *estimators(regressor)):
        vars(each).pop("_metadata_request", None)
    return regressor


def _has_target_encoding(every: list[Any]) -> bool:
    """Return whether one of several estimators is a target encoding."""
    # Imported here: only some models need it.
    from sklearn.preprocessing import TargetEncoder

    return any(isinstance(each, TargetEncoder) for each in every)


def _fit_around_target_encoding(regressor: Any, features: Any, target: pd.Series, weights: np.ndarray) -> Any:
    """Return a regressor of regressors, fitted with the weights of n rows, as it would fit those within by itself.

    In scikit-learn 1.9, TargetEncoder fails under the interface that hands weights on. Raises TypeError if there is no
    other way.
    """
    # Imported here: only some models need it.
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import StackingRegressor, VotingRegressor

    if isinstance(regressor, TransformedTargetRegressor):
        return regressor.fit(features, target, **{_name_of_weights(regressor.regressor): weights})
    if isinstance(regressor, VotingRegressor):
        fitted = {
            name: fit_weighted(clone(each), features, target, weights)
            for name, each in regressor.estimators
            if each != "drop"
        }
        regressor.estimators_, regressor.named_estimators_ = list(fitted.values()), Bunch(**fitted)
        return regressor
    if isinstance(regressor, StackingRegressor):
        raise TypeError(
            "StackingRegressor accepts no weights of rows (model.weight) if a category has so many values that its "
            "mean target is a feature. Use VotingRegressor, or remove model.weight"
        )
    # Those of this package fit each regressor within by `fit_weighted`.
    return regressor.fit(features, target, sample_weight=weights)


def _name_of_weights(regressor: Any) -> str:
    """Return the parameter by which the regressor of a TransformedTargetRegressor gets weights."""
    # Imported here: only some models need it.
    from sklearn.compose import TransformedTargetRegressor

    if isinstance(regressor, Pipeline):
        name, last = regressor.steps[-1]
        return f"{name}__{_name_of_weights(last)}"
    if isinstance(regressor, TransformedTargetRegressor):
        return _name_of_weights(regressor.regressor)
    # Others take weights for all within them.
    return "sample_weight"


def _leaves(regressor: Any) -> Iterator[Any]:
    """Yield the regressors within a regressor that learn by themselves; itself if it has none."""
    inner = members(regressor)
    if isinstance(regressor, Pipeline):
        inner = {"": regressor[-1]}
    for each in inner.values():
        yield from _leaves(each)
    if not inner:
        yield regressor
