"""Features that were made part by part, gathered or sampled into one table."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from signoff.base.errors import TaskError
from signoff.base.files import replacing
from signoff.features.row_keys import is_training, read_blocks, read_keys
from signoff.tables.csv_file import parse_options
from signoff.tables.spill import GOLDEN
from signoff.tables.table import parse_table


def choose(
    blocks: Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]], quotas: dict[int, int], max_rows: int
) -> np.ndarray:
    """Return the numbers of the rows with the lowest hashes of each stratum, in order.

    `blocks` gives for some rows at a time their numbers, strata and hashes; no more than twice `max_rows` and a block
    are kept in memory.
    """
    kept = [np.empty((0,), dtype=[("stratum", "i8"), ("hash", "u8"), ("row", "i8")])]
    limit = pd.Series(quotas)

    def lowest(rows: np.ndarray) -> np.ndarray:
        # They come in their order, which a sort by these two keeps.
        rows = rows[np.lexsort([rows["hash"], rows["stratum"]])]
        place = pd.Series(rows["stratum"]).groupby(rows["stratum"]).cumcount().to_numpy()
        return rows[place < limit.reindex(rows["stratum"]).to_numpy()]

    for numbers, strata, hashes in blocks:
        more = np.empty(len(numbers), dtype=kept[0].dtype)
        more["stratum"], more["hash"], more["row"] = strata, hashes, numbers
        kept.append(more)
        # Not with each block: what is kept may be many times as large.
        if sum(map(len, kept)) > 2 * max_rows:
            kept = [lowest(np.concatenate(kept))]
    return np.sort(lowest(np.concatenate(kept))["row"])


def quotas_of(sizes: dict[int, int], max_rows: int) -> dict[int, int]:
    """Return how many rows of each stratum are chosen: its share of the budget, rounded down, so that none grows."""
    total = sum(sizes.values())
    return sizes if total <= max_rows else {each: max_rows * size // total for each, size in sizes.items()}


def gather_features(
    paths: list[Path],
    output: Path,
    like: dict,
    cut: pd.Timestamp | None = None,
    max_rows: int | None = None,
) -> dict:
    """Write the rows of `paths` to `output`, with their column split, and return what is to be said of the split.

    Parameters
    ----------
    paths
        CSV files as `feature_engineering` writes them, of the whole or of parts.
    like
        The description of the features.
    cut
        The last time that trains; None where the rows have a column split.
    max_rows
        How many training rows are written, at most; None: all.

    Returns
    -------
    dict
        rows (train and test, as written), available (training rows that there are), last_train.

    Raises
    ------
    TaskError
        There are fewer than two rows to train, or to test.
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
    quotas = quotas_of(sizes, max_rows) if max_rows else sizes
    count = sum(quotas.values())
    if min(count, tests) < 2:
        raise TaskError(
            f"the split gives {count} rows to train and {tests} to test; each part needs at least 2. Change "
            "split.test_weeks, split.test_share or model.max_rows, or bring more rows."
        )
    chosen = None
    if count < available:
        chosen = choose(_numbered(paths, like, cut), quotas, max_rows)
    _write_rows(paths, output, like, cut, chosen)
    return {"rows": {"train": count, "test": tests}, "available": available, "last_train": str(last)}


def _numbered(paths: list[Path], like: dict, cut: pd.Timestamp | None) -> Iterator[tuple]:
    """Yield for some rows at a time the numbers, the strata and the hashes of those that train.

    Of equal rows each gets a hash of its own, else a table of which many rows are the same would be sampled in clumps.
    """
    first = 0
    for keys in read_keys(paths, like):
        train = is_training(keys, cut)
        strata, hashes = (keys[name].to_numpy()[train] for name in ("stratum", "hash"))
        again = pd.Series(hashes).groupby([hashes, strata]).cumcount().to_numpy("uint64")
        # The first of equal rows keeps its own.
        yield np.flatnonzero(train) + first, strata, hashes + again * GOLDEN
        first += keys.num_rows


def _write_rows(
    paths: list[Path], output: Path, like: dict, cut: pd.Timestamp | None, chosen: np.ndarray | None
) -> None:
    """Write the test rows, and of the training rows the chosen ones, or all."""
    first = 0
    # As `feature_engineering` writes them: text in quotes where any value of the table needs them.
    quoted = any(parse_options(path).newlines_in_values for path in paths)
    style = "needed" if quoted else "none"
    with replacing(output) as new, open(new, "wb") as file:
        for block in read_blocks(paths):
            train = is_training(block, cut, like["time_column"])
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
