"""What a model predicts, and how well: the same for training, evaluation, backtest and scoring."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from signoff.tables.spill import PIECE, Spill, as_keys, from_keys, select

# What `metrics` gives beside the number of rows, in the order of the report, and what it is called there.
METRICS = {"MAE": "MAE", "R2": "R2", "RMSE": "RMSE", "median_absolute_error": "median absolute error"}
BUILT_IN = {"rows", *METRICS}
# Of all others, less is better.
HIGHER_IS_BETTER = {"R2"}


def predict(model: object, features: pd.DataFrame, threads: int) -> pd.Series:
    """Return the model's prediction for each row, made on so many cores at most."""
    from threadpoolctl import threadpool_limits

    from signoff.model.encoding import predictions
    from signoff.model.pipeline import threads_for

    with threadpool_limits({"openmp": threads_for(features, threads), "blas": 1}):
        return pd.Series(predictions(model, features), features.index)


def metrics(actual: pd.Series | Spill, predicted: pd.Series | Spill | float) -> dict[str, float | int | None]:
    """Return rows, MAE, RMSE, median absolute error and R2 (None where the actual values are constant).

    `predicted` may be one number for all rows. The digits are those that numpy gives for arrays in memory.
    """
    if isinstance(actual, pd.Series):
        actual, predicted = (each.to_numpy("float64") for each in actual.align(predicted))
    rows = len(actual)

    def errors(part: slice) -> np.ndarray:
        return (predicted if np.isscalar(predicted) else predicted[part]) - actual[part]

    mean = total(lambda part: actual[part], rows) / rows
    spread = float(total(lambda part: (actual[part] - mean) ** 2, rows))
    squares = float(total(lambda part: errors(part) ** 2, rows))
    return {
        "rows": rows,
        "MAE": float(total(lambda part: np.abs(errors(part)), rows) / rows),
        "RMSE": float(np.sqrt(squares / rows)),
        "median_absolute_error": median(lambda part: np.abs(errors(part)), rows),
        "R2": 1 - squares / spread if spread else None,
    }


def total(numbers: Callable[[slice], np.ndarray], stop: int, start: int = 0) -> float:
    """Return the sum of float64 numbers, more than memory holds, added up by halves in the order that numpy does.

    numpy adds pairwise: numpy/_core/src/umath/loops_utils.h.src, `pairwise_sum`.
    """
    count = stop - start
    if count <= PIECE:
        return np.sum(numbers(slice(start, stop)))
    middle = start + count // 2 - count // 2 % 8
    return total(numbers, middle, start) + total(numbers, stop, middle)


def median(numbers: Callable[[slice], np.ndarray], count: int) -> float:
    """Return the median of float64 numbers, more than memory holds."""
    # Of more, each digit of it takes another look at all of them.
    if count <= 4 * PIECE:
        return float(np.median(numbers(slice(0, count))))

    def parts() -> Iterator[tuple[np.ndarray, None]]:
        for start in range(0, count, PIECE):
            yield as_keys(numbers(slice(start, start + PIECE))), None

    low, high = from_keys(select([(count - 1) // 2, count // 2], parts), "float64")
    return float((low + high) / 2)
