"""A bounded, reproducible sample of a table's rows, for results that need no more rows to be accurate."""

from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from signoff.tables.batches import Columns, chosen
from signoff.tables.csv_file import header_of_table
from signoff.tables.spill import GOLDEN

# The number of rows of a part (train, test) in the sample; the standard error of a share is 0.09 percentage points.
_MOST_ROWS = 300_000


def _places(first: int, count: int) -> np.ndarray:
    """Return a uniform hash (uint64) of the number of each row, so that the rows with the smallest are a sample."""
    return np.arange(first, first + count, dtype="uint64") * GOLDEN


def _limit(rows: int) -> np.uint64:
    """Return the largest place of a row in a sample of a table with this many rows."""
    return np.uint64(int(min(1.0, _MOST_ROWS / max(rows, 1)) * (2**64 - 1)) if rows > _MOST_ROWS else 2**64 - 1)


def sample(path: Path, columns: Columns, sizes: dict[str, int]) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """Return at most about _MOST_ROWS rows of each part of a table, in their order.

    Parameters
    ----------
    path, columns
        The table, and what `stream.scan` finds of its columns.
    sizes
        How many rows each part has, by the value of the column split; of a table without one, by "".

    Returns
    -------
    rows : pandas.DataFrame
        All rows of a part that is small enough, else a sample of it; numbered from 0.
    alike : pandas.DataFrame
        A subset of `rows` in which each part has its share of the table.
    found : dict
        How many rows each part was found to have.
    """
    limits = {part: _limit(rows) for part, rows in sizes.items()}
    least = min(limits.values())
    found, thin = dict.fromkeys(sizes, 0), []

    def choose(parts: pd.Series) -> np.ndarray:
        place = np.zeros(len(parts), dtype="uint64")
        taken = np.zeros(len(parts), dtype=bool)
        for part in sizes:
            inside = np.flatnonzero(parts == part) if part else np.arange(len(parts))
            place[inside] = _places(found[part], len(inside))
            taken[inside] = place[inside] <= limits[part]
            found[part] += len(inside)
        thin.append(place[taken] <= least)
        return taken

    by = "split" if "split" in columns.kinds else next(iter(columns.kinds))
    rows = pd.concat(chosen(path, columns, by, choose), ignore_index=True)
    is_alike = np.concatenate(thin)
    return rows, rows if is_alike.all() else rows[is_alike], found


def held_out(path: Path, rows: int) -> tuple[pd.DataFrame, int]:
    """Return at most about _MOST_ROWS of the held-out rows with their predictions, and how many rows there were.

    Parameters
    ----------
    path
        The file that `evaluate_model` writes: times, if any, in its column time; all else are numbers.
    rows
        How many rows it should have.

    Raises
    ------
    TaskError
        The file is not a table.
    """
    kinds = {name: "date" if name == "time" else "number" for name in header_of_table(path)}
    # The workflow wrote this file, so its format is known.
    dtypes = {name: "float64" if kind == "number" else None for name, kind in kinds.items()}
    columns = Columns(kinds, {"time": "ISO8601"}, cast(dict[str, str], dtypes))
    frame, _, found = sample(path, columns, {"": rows})
    return frame, found[""]
