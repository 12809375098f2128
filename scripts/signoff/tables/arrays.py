"""Columns as pandas has them and their values as arrays, without the parts of pandas that take long for few rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

_STR = pd.StringDtype(na_value=np.nan)
_TIME_IN_UTC = pa.timestamp("us", "UTC")
# Its time zone is the object that Arrow chooses.
_ZONED: Any = pa.array([], _TIME_IN_UTC).to_pandas().dtype


def missing_in(values: pd.Series) -> np.ndarray:
    """Return which of n values are missing, as `isna` does; of a few numbers, pandas takes much longer."""
    is_float = isinstance(values.dtype, np.dtype) and values.dtype.kind == "f"
    return np.asarray(np.isnan(values.to_numpy()) if is_float else values.array.isna())


def numbers_in(values: pd.Series) -> np.ndarray:
    """Return n numbers as float64, NaN where they are missing; possibly the memory of `values` itself."""
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "iuf":
        return values.to_numpy().astype("float64", copy=False)
    return values.to_numpy("float64", na_value=np.nan)


def text_in(values: pd.Series) -> pd.Series:
    """Return values as text of the dtype str; the same object if they are."""
    return values if isinstance(values.dtype, pd.StringDtype) and values.dtype == _STR else values.astype("str")


def with_columns(frame: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Return a copy with some columns replaced or added, as `assign` does, which cannot set one that is named self."""
    found = frame.copy(deep=False)
    for name, values in columns.items():
        found[name] = values
    return found


def as_series(parsed: pa.ChunkedArray) -> pd.Series:
    """Return what `to_pandas` does, which takes longer for a few numbers, and a millisecond for dates with a zone."""
    if parsed.type == _TIME_IN_UTC:
        dates: pd.Series = pd.Series(parsed.to_numpy(), dtype=_ZONED, copy=False)
        return dates
    is_number = pa.types.is_floating(parsed.type) or pa.types.is_integer(parsed.type)
    values: pd.Series = pd.Series(parsed.to_numpy(), copy=False) if is_number else parsed.to_pandas()
    return values
