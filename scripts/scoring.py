"""What a model predicts, and how well: the same for training, evaluation, backtest and scoring."""

import joblib
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits


def predict(model: object, features: pd.DataFrame, threads: int) -> pd.Series:
    """Return the model's prediction for each row, made on so many cores at most."""
    with threadpool_limits({"openmp": min(threads, joblib.cpu_count()), "blas": 1}):
        return pd.Series(model.predict(features), features.index)


def metrics(actual: pd.Series, predicted: pd.Series) -> dict[str, float | int | None]:
    """Return rows, MAE, RMSE, median absolute error and R2 (None where the actual values are constant)."""
    error = (predicted - actual).to_numpy(dtype="float64")
    spread = float(((actual - actual.mean()) ** 2).sum())
    return {
        "rows": len(error),
        "MAE": float(np.abs(error).mean()),
        "RMSE": float(np.sqrt((error**2).mean())),
        "median_absolute_error": float(np.median(np.abs(error))),
        "R2": 1 - float((error**2).sum()) / spread if spread else None,
    }
