"""Predictions and metrics, shared by training, evaluation, backtest and scoring."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pandas as pd

from signoff.features.columns import Features
from signoff.model.records import Scores
from signoff.tables.spill import PIECE, Spill, as_keys, from_keys, select

# The metrics in the order of the report, with their names there.
METRIC_NAMES = {"MAE": "MAE", "R2": "R2", "RMSE": "RMSE", "median_absolute_error": "median absolute error"}
BUILT_IN = {"rows", *METRIC_NAMES}
# For all others, lower is better.
HIGHER_IS_BETTER = {"R2"}

# The ends of the interval of a prediction, among the held-out rows and with each scored row.
LOW_AND_HIGH = ("prediction_low", "prediction_high")


def predict(model: Any, features: pd.DataFrame | Features, threads: int) -> pd.Series:
    """Return the model's prediction for each row, on at most this many cores."""
    from signoff.model.encoding import predictions

    with _limited(features, threads):
        return pd.Series(predictions(model, features), features.index)


def _limited(features: pd.DataFrame | Features, threads: int) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which the libraries use at most this many cores."""
    from signoff.model.regressor import threads_for

    limits = {"openmp": threads_for(features, threads), "blas": 1}
    return cast(contextlib.AbstractContextManager[Any], _libraries(len(sys.modules)).limit(limits=limits))


@functools.lru_cache(maxsize=1)
def _libraries(modules: int) -> Any:
    """Return what limits the libraries that are loaded. To find them takes a tenth of the time of a request.

    Libraries are loaded by imports, so they are looked for again if the number of `modules` is another one.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def has_bounds(model: Any) -> bool:
    """Return whether a model has its own intervals; see `quantiles._Intervals`."""
    return hasattr(model, "intervals_")


def interval_ends(
    model: Any, features: pd.DataFrame | Features, predicted: pd.Series, threads: int
) -> tuple[pd.Series, pd.Series] | None:
    """Return the lower and the upper end of the interval of each prediction; None if the model has no intervals."""
    if not has_bounds(model):
        return None
    if predicted.empty:
        return predicted, predicted
    from signoff.model.quantiles import ends

    with _limited(features, threads):
        low, high = ends(model.intervals_, features, predicted.to_numpy("float64"))
    return pd.Series(low, predicted.index), pd.Series(high, predicted.index)


def metrics(actual: pd.Series | Spill, predicted: pd.Series | Spill | float) -> Scores:
    """Return rows, MAE, RMSE, median absolute error and R2 (None if the actual values are constant).

    `predicted` may be one number for all rows. The result has the same digits as numpy's for arrays in memory.
    """
    known, guessed = _arrays(actual, predicted)
    rows = len(known)

    def errors(part: slice) -> np.ndarray:
        return (guessed if isinstance(guessed, float | int) else guessed[part]) - known[part]

    mean = total(lambda part: known[part], rows) / rows
    spread = float(total(lambda part: (known[part] - mean) ** 2, rows))
    squares = float(total(lambda part: errors(part) ** 2, rows))
    return {
        "rows": rows,
        "MAE": float(total(lambda part: np.abs(errors(part)), rows) / rows),
        "RMSE": float(np.sqrt(squares / rows)),
        "median_absolute_error": _median(lambda part: np.abs(errors(part)), rows),
        "R2": 1 - squares / spread if spread else None,
    }


def _arrays(
    actual: pd.Series | Spill, predicted: pd.Series | Spill | float
) -> tuple[np.ndarray | Spill, np.ndarray | Spill | float]:
    """Return actual and predicted values, row by row, as numbers that slices can be taken of."""
    if isinstance(actual, Spill):
        assert not isinstance(predicted, pd.Series), "a file of numbers has no index to align to"
        return actual, predicted
    assert not isinstance(predicted, Spill), "a file of numbers has no index to align to"
    known, guessed = actual.align(predicted) if isinstance(predicted, pd.Series) else (actual, predicted)
    return known.to_numpy("float64"), guessed.to_numpy("float64") if isinstance(guessed, pd.Series) else guessed


def total(numbers: Callable[[slice], np.ndarray], stop: int, start: int = 0) -> float:
    """Return the sum of float64 numbers, more than memory holds, added by halves in numpy's order.

    numpy adds pairwise: numpy/_core/src/umath/loops_utils.h.src, `pairwise_sum`.
    """
    count = stop - start
    if count <= PIECE:
        return np.sum(numbers(slice(start, stop)))  # type: ignore[no-any-return]
    middle = start + count // 2 - count // 2 % 8
    return total(numbers, middle, start) + total(numbers, stop, middle)


def _median(numbers: Callable[[slice], np.ndarray], count: int) -> float:
    """Return the median of float64 numbers, more than memory holds."""
    # With more numbers, each of its digits takes another pass over all of them.
    if count <= 4 * PIECE:
        return float(np.median(numbers(slice(0, count))))

    def parts() -> Iterator[tuple[np.ndarray, None]]:
        for start in range(0, count, PIECE):
            yield as_keys(numbers(slice(start, start + PIECE))), None

    low, high = from_keys(select([(count - 1) // 2, count // 2], parts), "float64")
    return float((low + high) / 2)
