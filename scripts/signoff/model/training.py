"""Training: one pipeline, fitted on the training rows."""

import platform
import warnings
from collections.abc import Iterable
from functools import cache
from typing import Any

import joblib
import numpy as np
import pandas as pd
import sklearn
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from threadpoolctl import ThreadpoolController

from signoff.base.errors import TaskError
from signoff.model.boosters import usable, versions_of
from signoff.model.encoding import fit, predictions
from signoff.model.metric import refuse_target
from signoff.model.pipeline import bare
from signoff.model.records import Comparison, Setting
from signoff.model.regressor import (
    DEFAULT_ESTIMATOR,
    Learning,
    Regressor,
    TrainingRows,
    make_regressor,
    threads_for,
    use_threads,
)
from signoff.model.transform import refuse_untransformable, transformed


def choose(learning: Learning, rows: TrainingRows) -> tuple[Setting, Comparison | None]:
    """Return the setting to train on these rows, and how candidates or those of a preset compare."""
    metric, transform = refuse_target(learning.metric, rows.target), learning.target_transform
    refuse_untransformable(transform, rows.target)
    if learning.candidates:
        # Imported here: only some runs need it.
        from signoff.model.search import choose_model

        return choose_model(learning.candidates, rows, learning.random_state, learning.threads, metric, transform)
    if learning.preset != "fast":
        # Imported here: only some runs need it.
        from signoff.model.draws import Budget
        from signoff.model.presets import choose_good

        boosters = usable(learning.boosters)
        budget = Budget(learning.minutes, learning.trials) if learning.preset == "best" else None
        return choose_good(rows, learning.random_state, learning.threads, metric, boosters, budget)
    setting: Setting = {"estimator": learning.estimator, "params": learning.params or {}}
    return transformed(setting, transform) if transform else setting, None


def train_model(
    features: pd.DataFrame,
    kinds: dict[str, str],
    target: pd.Series,
    estimator: str = DEFAULT_ESTIMATOR,
    params: dict[str, Any] | None = None,
    random_state: int = 0,
    threads: int = 1,
    weights: np.ndarray | None = None,
) -> Pipeline:
    """Return a pipeline fitted on `features`.

    Parameters
    ----------
    features
        n rows × m columns: numbers of any width, str for categories; missing values are allowed.
    kinds
        "number" or "category" for each of the m columns.
    target
        n finite numbers.
    estimator, params
        The dotted name of a regressor with scikit-learn's interface, and its parameters.
    random_state
        The seed, if the regressor has one.
    threads
        How many cores to use, at most.
    weights
        The weight of each row, if rows are weighted.

    Raises
    ------
    TaskError
        The regressor does not exist, or does not accept these parameters or data, or weights.
    """
    setting: Setting = {"estimator": estimator, "params": params or {}}
    return train_setting(TrainingRows(features, kinds, target, weights=weights), setting, random_state, threads)


def train_setting(rows: TrainingRows, setting: Setting, random_state: int = 0, threads: int = 1) -> Pipeline:
    """Return a pipeline fitted on rows with their weights and groups, if any; otherwise as `train_model`."""
    regressor = make_regressor(**setting, random_state=random_state)
    return _fitted(regressor, rows, setting, random_state, threads)


def train_again(
    model: Pipeline,
    features: pd.DataFrame,
    kinds: dict[str, str],
    target: pd.Series,
    random_state: int = 0,
    threads: int = 1,
    weights: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Pipeline:
    """Return a pipeline with the regressor and the kinds of encoders of `model`, fitted on other rows.

    The intervals of `model` are kept: they were fitted on errors of rows that their models had not seen. So is the
    digest of the code that computes the features. `groups` has the number of each row's group, if rows are grouped. The
    other parameters, and what is raised, are as for `train_model`.
    """
    regressor = bare(clone(model))
    estimator = f"{type(regressor).__module__}.{type(regressor).__qualname__}"
    rows = TrainingRows(features, kinds, target, groups=groups, weights=weights)
    found = _fitted(regressor, rows, {"estimator": estimator, "params": {}}, random_state, threads)
    for name in ("intervals_", "custom_code_sha256", "history_sha256"):
        if hasattr(model, name):
            setattr(found, name, getattr(model, name))
    return found


def _fitted(regressor: Regressor, rows: TrainingRows, setting: Setting, random_state: int, threads: int) -> Pipeline:
    """Return a pipeline with this regressor, fitted with at most `threads` threads; `setting` is named in errors."""
    estimator, params, features, kinds = setting["estimator"], setting["params"], rows.features, rows.kinds
    use_threads(regressor, min(threads, joblib.cpu_count()))
    threads, libraries = threads_for(features, threads), _libraries_with_threads(estimator)
    try:
        # Sums in linear algebra depend on how many threads share them, so BLAS gets one.
        with libraries.limit(limits={"openmp": threads, "blas": 1}), warnings.catch_warnings():
            # A kernel of few rows has all of them.
            warnings.filterwarnings("ignore", message="n_components > n_samples")
            pipeline = fit(regressor, kinds, features, rows.target, random_state, rows.weights, rows.groups)
        # Other regressors than the default may check their parameters against the data only here.
        if estimator != DEFAULT_ESTIMATOR:
            with libraries.limit(limits=1):
                predictions(pipeline, features.head(1)[list(kinds)])
    except (ValueError, TypeError) as error:
        raise TaskError(f"model: {estimator} with {params} cannot be trained: {error}") from error
    use_threads(regressor, None)
    return pipeline


def versions(boosters: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of Python and of the packages that a model depends on, with these boosters."""
    packages = {each.__name__: each.__version__ for each in (joblib, np, pd, sklearn)}
    return {"python": platform.python_version(), **packages, **versions_of(boosters)}


@cache
def _libraries_with_threads(estimator: str) -> ThreadpoolController:
    """Return the loaded thread libraries, once the regressor's module is imported; searched once per estimator."""
    return ThreadpoolController()
