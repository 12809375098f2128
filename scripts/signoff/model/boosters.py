"""LightGBM and CatBoost, which are optional: whether they are installed, and how equal models get equal bytes."""

import importlib
import logging
from collections.abc import Iterable
from typing import Any

from signoff.base.errors import TaskError

BOOSTERS = ("lightgbm", "catboost")
REGRESSORS = {"lightgbm": "lightgbm.LGBMRegressor", "catboost": "catboost.CatBoostRegressor"}
INSTALL = "Run make boosters, or pip install -r requirements-boosters.txt."
# Several threads are no faster on a busy machine. LightGBM may be many times slower there, and records their number.
_FIXED: dict[str, dict[str, Any]] = {
    "lightgbm": {"deterministic": True, "force_row_wise": True, "n_jobs": 1, "verbose": -1},
    # Without files, it leaves no folder catboost_info behind.
    "catboost": {"thread_count": 1, "allow_writing_files": False, "verbose": False},
}
# Other names of these parameters, by which a config may set them.
_ALIASES = {
    "n_jobs": {"num_threads", "num_thread", "nthread", "nthreads"},
    "verbose": {"verbosity", "silent", "logging_level", "verbose_eval"},
    "random_state": {"random_seed"},
}
# They differ each time that CatBoost is fitted.
_BY_FIT = ("model_guid", "train_finish_time")


def booster_of(regressor: object) -> str | None:
    """Return the package of a regressor if it is one of the boosters."""
    package = type(regressor).__module__.partition(".")[0]
    return package if package in BOOSTERS else None


def usable(given: Iterable[str] | None) -> list[str]:
    """Return the boosters that take part in a preset: those in `given`, or by default those that are installed.

    Raises TaskError if one of those given cannot be imported.
    """
    found = []
    for name in BOOSTERS if given is None else [each for each in BOOSTERS if each in given]:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if given is not None:
                raise TaskError(f"{name} is not installed ({error}). {INSTALL}") from error
        # LightGBM loads a library of the system, libgomp, that a small image may lack.
        except OSError as error:
            if given is not None:
                raise TaskError(f"{name} cannot be loaded: {error}") from error
            logging.warning("[train_model] %s takes no part, because it cannot be loaded: %s", name, error)
        else:
            found.append(name)
    return found


def fixed_params(estimator: str, params: dict[str, Any], random_state: int) -> dict[str, Any]:
    """Return the parameters of an estimator with those that make a booster reproducible, unless they are given."""
    package, _, name = estimator.partition(".")
    if not name.endswith("Regressor"):
        return params
    fixed = dict(_FIXED.get(package, {}))
    if package == "catboost":
        # Unlike scikit-learn's regressors, it does not say that it has this parameter.
        fixed["random_state"] = random_state
    return {key: value for key, value in fixed.items() if not _ALIASES.get(key, set()) & set(params)} | params


def forget_fit(regressor: Any) -> None:
    """Remove from a fitted CatBoost what differs each time it is fitted: an identifier, and the time."""
    if booster_of(regressor) == "catboost" and regressor.is_fitted():
        about = regressor.get_metadata()
        for key in set(_BY_FIT) & set(about.keys()):
            del about[key]


def named_in(*settings: object) -> list[str]:
    """Return the boosters that settings name, as an estimator or within one."""
    return [each for each in BOOSTERS if f"'{each}." in repr(settings)]


def versions_of(boosters: Iterable[str]) -> dict[str, str]:
    """Return the installed versions of boosters."""
    # Imported here: only some models need it.
    from importlib.metadata import version

    return {each: version(each) for each in boosters}
