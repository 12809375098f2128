"""Thresholds: what a model's metrics on the test part must keep, and whether they do."""

import argparse

from signoff.base.errors import TaskError, nearest

# By name in the config: of a metric in `scoring.metrics`, in lower case, the largest or the least value …
THRESHOLDS = {"mae_max": "the largest mean absolute error", "r2_min": "the least R2"}
# … and what stands by itself.
THRESHOLDS |= {"max_regression": "MAE above the champion's, as a share of it"}


def add_thresholds(parser: argparse.ArgumentParser) -> None:
    """Give a command line a flag for each threshold."""
    for name, meaning in THRESHOLDS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, help=f"threshold: {meaning}")


def given(args: argparse.Namespace) -> dict[str, float]:
    """Return the thresholds that a command line has set."""
    return {name: getattr(args, name) for name in THRESHOLDS if getattr(args, name) is not None}


def judge(
    model: dict, champion: dict | None, thresholds: dict[str, float], limits: dict[str, dict[str, float]] | None = None
) -> list[dict]:
    """Return for each threshold that is set its name, metric, limit, value, and whether it is passed.

    Parameters
    ----------
    model
        The model's metrics on the test part.
    champion
        In test, those of the model that is deployed, on the same rows; None where nothing is deployed.
    thresholds
        By names of THRESHOLDS.
    limits
        For each metric of the user's own by name its min, its max or both.

    Raises
    ------
    TaskError
        A limit is one of no metric.
    """
    built_in = {metric.lower(): metric for metric in model}
    found = []
    for name, limit in thresholds.items():
        metric, _, which = name.rpartition("_")
        if name != "max_regression":
            found.append(compared(name, built_in[metric], which, limit, model))
        elif champion:
            found.append(regression(limit, model["MAE"], champion))
    for metric, bounds in (limits or {}).items():
        if metric not in model:
            raise TaskError(f"thresholds.custom: there is no metric {metric!r}: {nearest(metric, model)}")
        found += [compared(f"{metric}_{which}", metric, which, limit, model) for which, limit in bounds.items()]
    return found


def compared(name: str, metric: str, which: str, limit: float, model: dict) -> dict:
    """Return a threshold with the value of its metric. An undefined one fails it: nobody knows that it is kept."""
    value = model[metric]
    passed = value is not None and (value <= limit if which == "max" else value >= limit)
    return {"name": name, "metric": metric, "limit": limit, "value": value, "passed": passed}


def regression(limit: float, mae: float, champion: dict) -> dict:
    """Return the threshold beside the champion. One that cannot be scored fails it: nobody knows that it is kept."""
    theirs = champion["test"]["MAE"] if "test" in champion else None
    passed = theirs is not None and mae <= theirs * (1 + limit)
    share = mae / theirs - 1 if theirs else None
    shown = {"metric": "MAE above the champion's", "limit": limit, "value": share, "passed": passed}
    return {"name": "max_regression", **shown}
