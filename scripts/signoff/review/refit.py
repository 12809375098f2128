"""Whether a model that was trained again on all rows agrees with the evaluated one on the newest rows."""

import numpy as np
import pandas as pd

from signoff.release.records import Agreement, AlarmRecord
from signoff.review.reasons import alarm

# The newest week is compared, and at least this many rows.
_FEWEST_ROWS = 200
# A model that learns every row by heart differs from the evaluated one by exactly the error of the latter.
_MOST_SHARE = 1.1
# Differences below this share of the target's spread come from rounding.
_ROUNDING = 1e-6


def newest_rows(time: pd.Series | None, rows: int) -> np.ndarray:
    """Return the places of the newest of n rows: the last seven days, more if these are few; all without a time."""
    if time is None:
        return np.arange(rows)
    order = np.argsort(time.to_numpy(), kind="stable")
    week = int((time > time.max() - pd.Timedelta(days=7)).sum())
    return np.asarray(order[-max(week, _FEWEST_ROWS) :])


def agreement(actual: np.ndarray, evaluated: np.ndarray, refit: np.ndarray, typical: float) -> Agreement:
    """Return how two models' predictions of n rows differ.

    Parameters
    ----------
    actual, evaluated, refit
        n true values, and the predictions of the evaluated model and of the one that was trained again.
    typical
        The median absolute error of the evaluated model on all held-out rows. Unlike their mean, it does not grow with
        a few wrong values, which can spoil the other model. It is used if the error on these rows is smaller.
    """
    apart = refit - evaluated
    size = float(np.abs(apart).mean())
    error = max(typical, float(np.abs(evaluated - actual).mean()))
    least = _ROUNDING * float(np.abs(actual - np.median(actual)).mean())
    return {
        "rows": len(actual),
        "difference": size,
        "bias": float(apart.mean()),
        "MAE": error,
        "share": 0.0 if size <= least else size / max(error, least),
        "limit": _MOST_SHARE,
    }


def refit_alarms(found: Agreement) -> list[AlarmRecord]:
    """Return an alarm if the models differ by more than the evaluated one errs, or if a prediction is not finite."""
    if found["share"] <= found["limit"]:
        return []
    sentence = (
        f"On the newest {found['rows']:,} rows the model that was trained again on all rows differs from the evaluated "
        f"one by {found['difference']:.4g} on average, {found['share']:.1f} times the error of the latter "
        f"({found['MAE']:.4g})."
    )
    return [alarm("refit_differs", None, sentence)]
