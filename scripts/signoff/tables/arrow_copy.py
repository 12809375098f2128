"""A copy of a CSV file in Arrow's format beside it, which is read in its place while it matches the CSV.

The CSV is authoritative. The copy (side file) holds the digest of its CSV, a digest of its own bytes, and the kinds of
the columns. If the CSV was changed by hand, or the copy is missing or damaged, the CSV is read, with the same results.
"""

import functools
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from signoff.base.files import only_file, sha256

KEY = b"signoff"
# In the place of the file's own digest while that is computed.
NO_DIGEST = "0" * 64
# The digest is in the last bytes of the file, which also say what its columns are.
_TAIL, _PIECE = 8 << 20, 1 << 20
_KNOWN = {"int64": pa.int64(), "float64": pa.float64(), "datetime64[us]": pa.timestamp("us")}
# Given some values of a column, whether the row of each is taken (bool).
Choose = Callable[[pd.Series], pd.Series | np.ndarray]


@dataclass
class SideFile:
    """A side file that is that of its CSV: kinds and pandas dtypes of the columns are those of reading the CSV."""

    path: Path
    kinds: dict[str, str]
    dtypes: dict[str, str]


def side_path(path: Path) -> Path:
    """Return the path of the Arrow copy of a CSV file."""
    return path.with_name(f".{path.stem}.arrow")


def open_side(path: Path, kinds: dict[str, str] | None) -> SideFile | None:
    """Return the side file of a CSV file; None if it is missing, or does not match the CSV or these kinds."""
    side = side_path(path)
    if not kinds or not side.is_file():
        return None
    try:
        with pa.OSFile(str(side)) as file, pa.ipc.open_file(file) as reader:
            last = reader.get_batch_with_custom_metadata(reader.num_record_batches - 1)
            about, names = json.loads(last.custom_metadata[KEY]), reader.schema.names
        if about["kinds"] != kinds:
            return None
        with ThreadPoolExecutor(1) as other:
            own = other.submit(_own_digest, side, about["body"])
            if about["sha256"] != sha256(path):
                _say_changed(side, path)
                return None
            if own.result()[0] != about["body"]:
                raise ValueError
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        # Possibly written by another version.
        _say_damaged(side, path)
        return None
    return SideFile(side, {name: kinds[name] for name in names}, about["dtypes"])


def _own_digest(side: Path, written: str) -> tuple[str, int]:
    """Return the SHA-256 of a side file with NO_DIGEST in the place of the digest `written` in it, and that place.

    Raises
    ------
    ValueError
        It does not contain that digest.
    """
    with open(side, "rb", opener=only_file) as file:
        size = file.seek(0, 2)
        start = file.seek(max(size - _TAIL, 0))
        place = start + file.read().rindex(written.encode())
        digest = hashlib.sha256()
        file.seek(0)
        while piece := file.read(min(_PIECE, place - file.tell())):
            digest.update(piece)
        digest.update(NO_DIGEST.encode())
        file.seek(place + len(NO_DIGEST))
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest(), place


def seal(side: Path) -> None:
    """Write a side file's own digest into it, in the place of NO_DIGEST."""
    digest, place = _own_digest(side, NO_DIGEST)
    with open(side, "r+b", opener=only_file) as file:
        file.seek(place)
        file.write(digest.encode())


@functools.cache
def _say_damaged(side: Path, path: Path) -> None:
    """Log once that a side file is not used."""
    logging.warning("%s is damaged, or of another version; %s is read in its place", side, path)


@functools.cache
def _say_changed(side: Path, path: Path) -> None:
    """Log once that a CSV file is not the one that the workflow has written: somebody has edited it, or it was cut."""
    logging.warning("%s was edited or cut since it was written with %s; it is read as it is", path, side)


def _side_blocks(side: SideFile, names: list[str], mapped: bool = False) -> Iterator[Callable[[], pa.Table]]:
    """Yield for some rows at a time what reads some of their columns, as they are kept; `mapped`, without a copy."""
    # If Arrow reads only some columns, it copies them, even from a mapped file.
    wanted = [] if mapped else sorted(list(side.kinds).index(name) for name in names)
    options = pa.ipc.IpcReadOptions(included_fields=wanted)
    opened = pa.memory_map if mapped else pa.OSFile
    with opened(str(side.path)) as file, pa.ipc.open_file(file, options=options) as reader:
        # The last one is empty, and says what the file is.
        for n in range(max(reader.num_record_batches - 1, 1)):
            yield functools.partial(_block, reader, n, names)


def _block(reader: pa.ipc.RecordBatchFileReader, n: int, names: list[str]) -> pa.Table:
    return pa.table(reader.get_batch(n)).select(names)


def side_frames(side: SideFile, names: list[str]) -> Iterator[pd.DataFrame]:
    """Yield some columns of a side file, some rows at a time."""
    return (as_read(read(), side.dtypes) for read in _side_blocks(side, names))


def side_chosen(side: SideFile, names: list[str], by: str, choose: Choose, mapped: bool = False) -> Iterator[pa.Table]:
    """Yield some columns of the rows that `choose` takes by their values in one; blocks without such are not read."""
    for n, (values, read) in enumerate(zip(side_frames(side, [by]), _side_blocks(side, names, mapped), strict=True)):
        chosen = choose(values[by])
        if chosen.any() or n == 0:
            yield read() if chosen.all() else read().filter(pa.array(chosen))


def as_read(table: pa.Table, dtypes: dict[str, str]) -> pd.DataFrame:
    """Return rows as reading them from the CSV file would, but for columns that `dtypes` does not name: as kept."""
    for n, name in enumerate(table.column_names):
        # Numbers are kept as narrow as they are. Dates that are all missing have no zone. In one piece, so that what is
        # cast is not copied once more.
        known = _KNOWN.get(dtypes.get(name, ""))
        if known and known != table[name].type:
            table = table.set_column(n, name, pc.cast(table[name].combine_chunks(), known, safe=False))
    frame: pd.DataFrame = table.to_pandas(split_blocks=True)
    found = {str(name): dtype for name, dtype in frame.dtypes.items()}
    others = {name: dtypes[name] for name, dtype in found.items() if dtype != dtypes.get(name, dtype)}
    return frame.astype(others) if others else frame
