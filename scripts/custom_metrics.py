"""The metrics of a user's own code: called, and checked to be metrics."""

import math
from numbers import Real
from types import ModuleType

import pandas as pd

from custom import call
from scoring import BUILT_IN
from task import TaskError


def call_metrics(code: ModuleType, name: str, actual: pd.Series, predicted: pd.Series, rows: pd.DataFrame) -> dict:
    """Return what the function `metrics` of the user's own code says of a predictor.

    Parameters
    ----------
    code
        As `custom.load_code` gives it.
    name
        The predictor: "model", "champion" or a baseline.
    actual, predicted
        n numbers each.
    rows
        The features of the n rows.

    Raises
    ------
    TaskError
        The function fails, or returns anything but names with numbers. Of what is not finite, the model's is refused;
        a predictor that stands beside it may be without (a constant baseline correlates with nothing), and gets None.
    """
    numbers = {"actual": actual.astype("float64"), "predicted": predicted.astype("float64")}
    found = call(code, "metrics", **numbers, rows=rows.copy())
    file = code.__file__
    if not isinstance(found, dict) or not all(isinstance(each, str) and each.strip() for each in found):
        raise TaskError(f'{file}: metrics returned {found!r:.80}, but must return names with numbers: {{"name": 0.5}}.')
    taken = [each for each in found if each in BUILT_IN]
    if taken:
        raise TaskError(f"{file}: metrics returned {taken[0]!r}, which is built in. Give it another name.")
    clean = {}
    for metric, value in found.items():
        if value is not None and not isinstance(value, Real):
            raise TaskError(f"{file}: the metric {metric!r} is {value!r:.80}, but must be a number.")
        finite = value is not None and math.isfinite(value)
        if name == "model" and value is not None and not finite:
            raise TaskError(
                f"{file}: the metric {metric!r} of the model is {value}, but must be a finite number; return None "
                "where it is undefined."
            )
        clean[metric] = float(value) if finite else None
    return clean
