"""Concatenate or sample the features of several parts."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from signoff.base.errors import TaskError
from signoff.base.files import replacing
from signoff.features.records import KeyRecord, SplitRows
from signoff.features.row_keys import is_training, read_blocks, read_keys
from signoff.tables.arrow_copy import side_path
from signoff.tables.csv_file import parse_options
from signoff.tables.spill import GOLDEN
from signoff.tables.table import parse_table

# Row numbers, strata and hashes.
_Keys = tuple[np.ndarray, np.ndarray, np.ndarray]


class _Gathered(TypedDict):
    """The rows written, the training rows available, and the time of the last training row."""

    rows: SplitRows
    available: int
    last_train: str


def _choose(blocks: Iterator[_Keys], quotas: dict[int, int], max_rows: int) -> np.ndarray:
    """Return the sorted numbers of the rows with the lowest hashes in each stratum.

    `blocks` yields row numbers, strata and hashes in batches; at most twice `max_rows` and one batch are in memory.
    """
    kept = [np.empty((0,), dtype=[("stratum", "i8"), ("hash", "u8"), ("row", "i8")])]
    limit = pd.Series(quotas)

    def lowest(rows: np.ndarray) -> np.ndarray:
        # Rows arrive in order, and this sort is stable.
        rows = rows[np.lexsort([rows["hash"], rows["stratum"]])]
        place = pd.Series(rows["stratum"]).groupby(rows["stratum"]).cumcount().to_numpy()
        return rows[place < limit.reindex(rows["stratum"]).to_numpy()]

    for numbers, strata, hashes in blocks:
        more = np.empty(len(numbers), dtype=kept[0].dtype)
        more["stratum"], more["hash"], more["row"] = strata, hashes, numbers
        kept.append(more)
        # Not after each block, which may be much smaller than the rows kept.
        if sum(map(len, kept)) > 2 * max_rows:
            kept = [lowest(np.concatenate(kept))]
    return np.sort(lowest(np.concatenate(kept))["row"])


def _quotas_of(sizes: dict[int, int], max_rows: int) -> dict[int, int]:
    """Return how many rows of each stratum are chosen: its share of the budget, rounded down."""
    total = sum(sizes.values())
    return sizes if total <= max_rows else {each: max_rows * size // total for each, size in sizes.items()}


def gather_features(
    paths: list[Path],
    output: Path,
    like: KeyRecord,
    cut: pd.Timestamp | None = None,
    max_rows: int | None = None,
) -> _Gathered:
    """Write the rows of `paths` to `output`, with their column split, and return the numbers of rows.

    Parameters
    ----------
    paths
        CSV files of `feature_engineering`: the whole table, or its parts.
    like
        The description of the features.
    cut
        The time of the last training row; None if the rows have a column split.
    max_rows
        The largest number of training rows to write; None: all.

    Returns
    -------
    dict
        rows (train and test, as written), available (all training rows), last_train.

    Raises
    ------
    TaskError
        There are fewer than two training or test rows.
    """
    sizes: dict[int, int] = {}
    last, tests = None, 0
    for keys in read_keys(paths, like, hashed=False):
        train = is_training(keys, cut)
        tests += int((~train).sum())
        for stratum, size in zip(*np.unique(keys["stratum"].to_numpy()[train], return_counts=True), strict=True):
            sizes[int(stratum)] = sizes.get(int(stratum), 0) + int(size)
        if like["time_column"] and train.any():
            newest = keys["time"].to_pandas()[train].max()
            last = newest if last is None else max(last, newest)
    available = sum(sizes.values())
    quotas = _quotas_of(sizes, max_rows) if max_rows else sizes
    count = sum(quotas.values())
    if min(count, tests) < 2:
        raise TaskError(
            f"the split gives {count} rows to train and {tests} to test; each part needs at least 2. Change "
            "split.test_weeks, split.test_share or model.max_rows, or bring more rows."
        )
    chosen = None
    if max_rows and count < available:
        chosen = _choose(_numbered(paths, like, cut), quotas, max_rows)
    _write_rows(paths, output, like, cut, chosen)
    return {"rows": {"train": count, "test": tests}, "available": available, "last_train": str(last)}


def _numbered(paths: list[Path], like: KeyRecord, cut: pd.Timestamp | None) -> Iterator[_Keys]:
    """Yield the numbers, strata and hashes of the training rows in batches.

    Equal rows get different hashes; otherwise, a table with many duplicate rows would be sampled in clumps.
    """
    first = 0
    for keys in read_keys(paths, like):
        train = is_training(keys, cut)
        strata, hashes = (keys[name].to_numpy()[train] for name in ("stratum", "hash"))
        again = pd.Series(hashes).groupby([hashes, strata]).cumcount().to_numpy("uint64")
        # The first of equal rows keeps its hash.
        yield np.flatnonzero(train) + first, strata, hashes + again * GOLDEN
        first += keys.num_rows


def _write_rows(
    paths: list[Path], output: Path, like: KeyRecord, cut: pd.Timestamp | None, chosen: np.ndarray | None
) -> None:
    """Write the test rows and the chosen training rows (None: all)."""
    first = 0
    # Like `feature_engineering`: text is quoted if any value of the table needs quotes.
    quoted = any(parse_options(path).newlines_in_values for path in paths)
    style = "needed" if quoted else "none"
    # A run without parts, before, may have written it.
    side_path(output).unlink(missing_ok=True)
    with replacing(output) as new, open(new, "wb") as file:
        for block in read_blocks(paths):
            train = is_training(block, cut, like["time_column"] or "time")
            keep = ~train
            if chosen is None:
                keep[:] = True
            else:
                start, end = np.searchsorted(chosen, [first, first + block.num_rows])
                keep[chosen[start:end] - first] = True
            first += block.num_rows
            if cut is not None:
                block = block.append_column("split", pa.array(np.where(train, "train", "test")))
            if not keep.all():
                block = block.filter(pa.array(keep))
            if quoted:
                block = pa.Table.from_pandas(parse_table(block, like["kinds"]).frame, preserve_index=False)
            options = {"include_header": file.tell() == 0, "quoting_style": style, "quoting_header": style}
            pyarrow.csv.write_csv(block, file, pyarrow.csv.WriteOptions(**options))
