"""The metric by which models are compared: the smaller its value, the better."""

from typing import Any, cast, get_args

import numpy as np
import pandas as pd

from signoff.base.errors import TaskError
from signoff.model.records import Metric

TO_MINIMISE: tuple[Metric, ...] = get_args(Metric)
# The losses of gradient boosting that are such a deviance, or nearest to it: it has none of Tweedie.
_DEVIANCES: dict[Metric, str] = {
    "poisson_deviance": "poisson",
    "gamma_deviance": "gamma",
    "tweedie_deviance": "poisson",
}


def error_of(metric: Metric, actual: np.ndarray, predicted: np.ndarray) -> float:
    """Return the error of n predictions; infinite if a prediction is not in the range of the deviance.

    The deviances are those of McCullagh, Nelder 1989, Generalized Linear Models, 2.3; Tweedie's has the power 1.5. A
    quantile loss is that of Koenker, Bassett 1978, Regression Quantiles, Econometrica 46.
    """
    if metric == "MAE":
        return float(np.abs(actual - predicted).mean())
    if metric == "RMSE":
        return float(np.sqrt(((actual - predicted) ** 2).mean()))
    if (level := _quantile_of(metric)) is not None:
        over = actual - predicted
        return float(np.maximum(level * over, (level - 1) * over).mean())
    if (predicted <= 0).any():
        return float("inf")
    if metric == "tweedie_deviance":
        root = np.sqrt(predicted)
        return float(4 * (actual / root + root - 2 * np.sqrt(actual)).mean())
    if metric == "poisson_deviance":
        # Only this metric needs it.
        from scipy.special import xlogy

        return float(2 * (xlogy(actual, actual / predicted) - actual + predicted).mean())
    return float(2 * (np.log(predicted / actual) + actual / predicted - 1).mean())


def _quantile_of(metric: Metric) -> float | None:
    """Return the level of the quantile that a metric asks for, between 0 and 1; None for other metrics."""
    name, _, percent = metric.rpartition("_")
    return int(percent) / 100 if name == "quantile_loss" else None


def loss_of(metric: Metric) -> dict[str, Any]:
    """Return the parameters of gradient boosting for the loss of this deviance or quantile; none for other metrics."""
    if (level := _quantile_of(metric)) is not None:
        return {"loss": "quantile", "quantile": level}
    return {"loss": _DEVIANCES[metric]} if metric in _DEVIANCES else {}


def refuse_target(metric: str, target: pd.Series) -> Metric:
    """Return the metric. Raises TaskError if it is undefined for one of n targets."""
    wrong = target <= 0 if metric == "gamma_deviance" else target < 0
    if metric in _DEVIANCES and wrong.any():
        least = "above 0" if metric == "gamma_deviance" else "at least 0"
        raise TaskError(
            f"model.metric: {metric} needs a target {least}, but {wrong.sum():,} of {len(target):,} training rows have "
            f"another one, such as {target[wrong].iloc[0]:g}. Set model.metric: MAE or RMSE."
        )
    return cast(Metric, metric)
