"""The sampling keys of each row of features: stratum, hash, and time or side of the split.

The keys of a part are stored beside its CSV file, so that later weeks can sample without reading its rows again. They
hold that file's digest and one of their own bytes: if the CSV was edited, or has no keys yet, or damaged ones, they are
computed from its rows.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from signoff.base.files import read_bytes, replacing, sha256
from signoff.features.records import KeyRecord
from signoff.tables.counting import row_hashes
from signoff.tables.csv_file import header, parse_options, text_options
from signoff.tables.dates import parse_date
from signoff.tables.table import parse_table

_BLOCK_BYTES = 8 << 20


def _combined(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield concatenated tables, several small ones at once; a change of dtypes starts a new one."""
    waiting: list[pa.Table] = []
    size = 0
    for table in tables:
        if size >= _BLOCK_BYTES or (waiting and table.schema != waiting[0].schema):
            yield pa.concat_tables(waiting).combine_chunks()
            waiting, size = [], 0
        waiting.append(table)
        size += table.nbytes
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def read_blocks(paths: list[Path], columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield the rows of CSV files as tables of text: several small files at once, a large one in blocks."""

    def batches() -> Iterator[pa.Table]:
        for path in paths:
            options = text_options(columns or header(path))
            read = pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES)
            with pyarrow.csv.open_csv(path, read, parse_options(path), options) as reader:
                yield from map(pa.table, reader)

    return _combined(batches())


def _keys_of(rows: pa.Table, like: KeyRecord, hashed: bool = True) -> pa.Table:
    """Return the sampling keys of n rows of features, which are text.

    Parameters
    ----------
    rows
        All columns; without `hashed`, at least split, if it exists, and the time or else the target.
    like
        The description of the features.

    Returns
    -------
    pyarrow.Table
        n rows: time, if there is a time column; split, if `rows` has it; stratum (int64: the week since 1970, else the
        power of two and the sign of the target); hash (uint64) of the row's values alone, if `hashed`.
    """
    time = like["time_column"]
    keys: dict[str, Any] = {}
    if time:
        keys["time"] = parse_date(rows[time], "ISO8601")
        keys["stratum"] = _weeks_of(keys["time"].to_pandas())
    else:
        keys["stratum"] = _powers_of(rows[like["target"]])
    if "split" in rows.column_names:
        keys["split"] = rows["split"]
    if hashed:
        frame = parse_table(rows.select([name for name in like["kinds"] if name != "split"]), like["kinds"]).frame
        keys["hash"] = row_hashes(frame[sorted(map(str, frame))])
    return pa.table(keys)


def _weeks_of(times: pd.Series) -> np.ndarray:
    """Return the week since 1970 (int64) that each of n times is in, from Monday."""
    days = (times.dt.tz_localize(None) if times.dt.tz else times).to_numpy("datetime64[D]").astype("int64")
    # 1970 began on a Thursday.
    return (days + 3) // 7


def _powers_of(target: pa.ChunkedArray) -> np.ndarray:
    """Return the power of two, and the sign, of each of n numbers, as one (int64)."""
    values = pc.cast(target, pa.float64()).to_numpy()
    sizes = np.floor(np.log2(np.where(values == 0, 1, np.abs(values))))
    # Above the smallest power of two that there is, so that the sign stays.
    return cast(np.ndarray, (np.sign(values) * (sizes + 1075)).astype("int64"))


def is_training(rows: pa.Table, cut: pd.Timestamp | None, time: str = "time") -> np.ndarray:
    """Return which of n rows, keys or features as text, are training rows: by their split, or up to `cut`."""
    if cut is None:
        return cast(np.ndarray, pc.equal(rows["split"], "train").to_numpy())
    times = parse_date(rows[time], "ISO8601") if pa.types.is_string(rows[time].type) else rows[time]
    return cast(np.ndarray, (times.to_pandas() <= cut).to_numpy())


def _kept_path(features: Path) -> Path:
    """Return the path of the keys of a part's features."""
    return features.with_name(f".{features.stem}.keys.arrow")


def _made_of(features: Path, like: KeyRecord) -> dict[bytes, bytes]:
    """Return what the keys of a part's features depend on, as Arrow metadata."""
    decided = json.dumps([like["time_column"], like["target"], like["kinds"]])
    return {b"sha256": sha256(features).encode(), b"like": decided.encode()}


def keep_keys(features: Path, like: KeyRecord) -> None:
    """Write the keys of a part's features, one row at least, beside them."""
    blocks = [_keys_of(block, like) for block in read_blocks([features])]
    # A block without any time has no time zone, either.
    zoned = (each.schema for each in blocks if like["time_column"] and each.schema.field("time").type.tz)
    schema = next(zoned, blocks[0].schema).with_metadata(_made_of(features, like))
    with replacing(_kept_path(features)) as new:
        with pa.ipc.new_file(str(new), schema) as file:
            for block in blocks:
                file.write_table(block.cast(schema))
        # Behind the Arrow file, for a flipped bit changes its values and not its form.
        digest = bytes.fromhex(sha256(new))
        with open(new, "ab") as whole:
            whole.write(digest)


def read_keys(paths: list[Path], like: KeyRecord, hashed: bool = True) -> Iterator[pa.Table]:
    """Yield the keys of the rows of CSV files, as `_keys_of` returns them, of several small files at once."""

    def each() -> Iterator[pa.Table]:
        for path in paths:
            if keys := _kept_keys(path, like):
                yield keys if hashed else keys.drop_columns("hash")
                continue
            few = [name for name in header(path) if name in ("split", like["time_column"] or like["target"])]
            for block in read_blocks([path], None if hashed else few):
                yield _keys_of(block, like, hashed)

    return _combined(each())


def _kept_keys(features: Path, like: KeyRecord) -> pa.Table | None:
    """Return the stored keys of a part's features; None if they are missing or outdated."""
    path = _kept_path(features)
    if not path.is_file():
        return None
    try:
        content = read_bytes(path)
        if hashlib.sha256(content[:-32]).digest() != content[-32:]:
            logging.warning("%s is damaged, or of another version; %s is read in its place", path, features)
            return None
        with pa.ipc.open_file(pa.BufferReader(pa.py_buffer(content).slice(0, len(content) - 32))) as file:
            current = file.schema.metadata == _made_of(features, like)
            return file.read_all().replace_schema_metadata() if current else None
    except (pa.ArrowException, OSError):
        # Of another file.
        return None
