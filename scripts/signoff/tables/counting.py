"""Count the values of a column, exactly, whatever there are; tell rows apart by a hash of their values."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from signoff.tables.spill import Spill, as_keys, distinct, from_keys, pieces, select

# The different values of a column that are counted in memory; of others, only hashes of 8 bytes are kept, on disk.
_MOST_VALUES = 100_000


def row_hashes(frame: pd.DataFrame, missing: int = 0) -> np.ndarray:
    """Return a hash (uint64) of each row that depends on its values alone; `missing` is the hash of a missing one.

    What its neighbours are must not matter: a missing value among whole numbers makes the column one of floats, a time
    of day or a zone changes how dates are written, and a column that was empty gets a kind with its first value.
    """
    hashes = {}
    for name, values in frame.items():
        if pd.api.types.is_datetime64_any_dtype(values):
            naive = values.dt.tz_convert("UTC").dt.tz_localize(None) if values.dt.tz else values
            values = naive.fillna(pd.Timestamp(0)).astype("datetime64[us]").astype("int64")
        elif pd.api.types.is_numeric_dtype(values) or values.dtype == object:
            values = values.astype("float64")
        else:
            values = values.astype("str")
        hashes[name] = pd.util.hash_pandas_object(values, index=False).where(frame[name].notna(), missing)
    return pd.util.hash_pandas_object(pd.DataFrame(hashes), index=False).to_numpy()


class Counts:
    """How often each value of a column occurs, in whatever batches they come; missing ones are not counted.

    Up to _MOST_VALUES different values, the first ones, are counted in memory. The others are kept in a file in
    `folder`: numbers and dates as such, of text hashes.
    """

    def __init__(self, folder: Path | None = None):
        self.folder, self.total = folder, 0
        self.counts: dict[Any, int] = {}
        self.others: Spill | None = None
        # An empty series of the column's dtype, once there is a batch.
        self.values: Any = None

    def add(self, values: pd.Series) -> None:
        """Count one batch: numbers, booleans, dates or text, of the same dtype each time."""
        column = pa.array(values, from_pandas=True)
        self.values = values.iloc[:0]
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", column.type.tz)).view(pa.int64())
        counted = pc.value_counts(column.drop_null())
        counts = self.counts
        others: dict[Any, int] = {}
        for value, n in zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True):
            if value in counts:
                counts[value] += n
            elif len(counts) < _MOST_VALUES:
                counts[value] = n
            else:
                others[value] = n
            self.total += n
        if others:
            self.others = self.others or Spill(self.folder)
            self.others.add(np.repeat(self.keys(others), list(others.values())))

    def keys(self, values: Iterable[Any]) -> np.ndarray:
        """Return values as uint64: numbers and dates in their order, of text hashes."""
        values = list(values)
        if isinstance(values[0], str):
            return pd.util.hash_array(np.array(values, dtype=object))
        return as_keys(np.array(values, dtype="float64" if isinstance(values[0], float) else "int64"))

    def none_twice(self) -> bool:
        """Return whether no value was seen to repeat another; the file is not read."""
        return self.total == len(self.counts) + (len(self.others) if self.others else 0)

    def distinct(self) -> int:
        """Return how many different values there are."""
        return len(self.counts) + (distinct(self.others) if self.others else 0)

    def most_frequent(self, number: int) -> dict[object, int]:
        """Return the values that occur most often, of equally frequent ones the first."""
        return dict(sorted(self.counts.items(), key=lambda each: -each[1])[:number])

    def quantiles(self, shares: list[float]) -> list[Any]:
        """Return quantiles of numbers or dates, interpolated as pandas does; there must be a value."""
        keys, weights = self.keys(self.counts), np.array(list(self.counts.values()))
        places = [(self.total - 1) * (share * 100 / 100) for share in shares]
        ranks = sorted({rank for place in places for rank in (math.floor(place), math.ceil(place))})

        def parts() -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
            yield keys, weights
            assert self.others is not None
            for piece in pieces(self.others):
                yield piece, None

        if self.others:
            at_ranks = select(ranks, parts)
        else:
            order = np.argsort(keys)
            at_ranks = keys[order][np.searchsorted(np.cumsum(weights[order]), ranks, side="right")]
        dtype = "float64" if pd.api.types.is_float_dtype(self.values) else "int64"
        found = dict(zip(ranks, from_keys(at_ranks, dtype), strict=True))
        # A series of two values would give the same, in ten times the time.
        between = np.array(
            [np.percentile([found[math.floor(each)], found[math.ceil(each)]], each % 1 * 100) for each in places]
        )
        if pd.api.types.is_datetime64_any_dtype(self.values):
            return list(pd.Series(between.astype("datetime64[us]")).dt.tz_localize(self.values.dt.tz))
        return list(map(float, between))
