"""The metric by which models are compared: the smaller its value, the better."""

from typing import Literal, cast, get_args

import numpy as np
import pandas as pd

from signoff.base.errors import TaskError

Metric = Literal["MAE", "RMSE", "poisson_deviance", "gamma_deviance"]
TO_MINIMISE: tuple[Metric, ...] = get_args(Metric)
# The losses of gradient boosting that are such a deviance.
_DEVIANCES: dict[Metric, str] = {"poisson_deviance": "poisson", "gamma_deviance": "gamma"}


def error_of(metric: Metric, actual: np.ndarray, predicted: np.ndarray) -> float:
    """Return the error of n predictions; infinite if a prediction is not in the range of the deviance.

    The deviances are those of McCullagh, Nelder 1989, Generalized Linear Models, 2.3.
    """
    if metric == "MAE":
        return float(np.abs(actual - predicted).mean())
    if metric == "RMSE":
        return float(np.sqrt(((actual - predicted) ** 2).mean()))
    if (predicted <= 0).any():
        return float("inf")
    if metric == "poisson_deviance":
        # Only this metric needs it.
        from scipy.special import xlogy

        return float(2 * (xlogy(actual, actual / predicted) - actual + predicted).mean())
    return float(2 * (np.log(predicted / actual) + actual / predicted - 1).mean())


def deviance_loss(metric: Metric) -> str | None:
    """Return the loss of gradient boosting that is this deviance; None for other metrics."""
    return _DEVIANCES.get(metric)


def refuse_target(metric: str, target: pd.Series) -> Metric:
    """Return the metric. Raises TaskError if it is undefined for one of n targets."""
    wrong = target < 0 if metric == "poisson_deviance" else target <= 0
    if metric in _DEVIANCES and wrong.any():
        least = "at least 0" if metric == "poisson_deviance" else "above 0"
        raise TaskError(
            f"model.metric: {metric} needs a target {least}, but {wrong.sum():,} of {len(target):,} training rows have "
            f"another one, such as {target[wrong].iloc[0]:g}. Set model.metric: MAE or RMSE."
        )
    return cast(Metric, metric)
