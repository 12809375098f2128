"""Thresholds for a model's metrics on the test part, and whether it meets them."""

import argparse
from collections.abc import Mapping
from typing import TypedDict

from signoff.base.errors import TaskError, nearest
from signoff.model.records import Scores

# By name in the config: a metric of `scoring.metrics` in lower case, with its largest or smallest value …
_THRESHOLDS = {"mae_max": "the largest mean absolute error", "r2_min": "the least R2"}
# … and the one that compares.
_THRESHOLDS |= {"max_regression": "MAE above the champion's, as a share of it"}


class Threshold(TypedDict):
    """A threshold with the model's value."""

    name: str
    metric: str
    limit: float
    value: float | None
    passed: bool


class DeployedScores(TypedDict, total=False):
    """The deployed model on the same rows: its scores, or the problem that prevents them."""

    release: str
    test: Scores
    note: str
    problem: str


def add_thresholds(parser: argparse.ArgumentParser) -> None:
    """Add one option per threshold."""
    for name, meaning in _THRESHOLDS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, help=f"threshold: {meaning}")


def given_thresholds(args: argparse.Namespace) -> dict[str, float]:
    """Return the thresholds that a command line has set."""
    return {name: getattr(args, name) for name in _THRESHOLDS if getattr(args, name) is not None}


def judge(
    model: Scores,
    champion: DeployedScores | None,
    thresholds: Mapping[str, float],
    limits: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Threshold]:
    """Return each threshold that is set, with the model's value and whether it passes.

    Parameters
    ----------
    model
        The model's metrics on the test part.
    champion
        In `test`, the metrics of the deployed model on the same rows; None if nothing is deployed.
    thresholds
        By names of THRESHOLDS.
    limits
        By custom metric: its min, its max or both.

    Raises
    ------
    TaskError
        A limit is for an unknown metric.
    """
    built_in = {metric.lower(): metric for metric in model}
    found = []
    for name, limit in thresholds.items():
        metric, _, which = name.rpartition("_")
        if name != "max_regression":
            found.append(_compared(name, built_in[metric], which, limit, model))
        elif champion:
            found.append(_regression(limit, model["MAE"], champion))
    for metric, bounds in (limits or {}).items():
        if metric not in model:
            raise TaskError(f"thresholds.custom: there is no metric {metric!r}: {nearest(metric, model)}")
        found += [_compared(f"{metric}_{which}", metric, which, limit, model) for which, limit in bounds.items()]
    return found


def _compared(name: str, metric: str, which: str, limit: float, model: Scores) -> Threshold:
    """Return a threshold with the value of its metric. An undefined value fails it."""
    value = model[metric]
    passed = value is not None and (value <= limit if which == "max" else value >= limit)
    return {"name": name, "metric": metric, "limit": limit, "value": value, "passed": passed}


def _regression(limit: float, mae: float | None, champion: DeployedScores) -> Threshold:
    """Return the threshold relative to the champion. A champion that cannot be scored fails it."""
    theirs = champion["test"]["MAE"] if "test" in champion else None
    passed = theirs is not None and mae is not None and mae <= theirs * (1 + limit)
    share = mae / theirs - 1 if theirs and mae is not None else None
    metric = "MAE above the champion's"
    return {"name": "max_regression", "metric": metric, "limit": limit, "value": share, "passed": passed}
