"""Rows written some at a time: to a CSV file and, where it is read once more by us, to its side file."""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from signoff.base.files import beside, replacing, sha256
from signoff.tables.arrow_copy import KEY, NO_DIGEST, seal, side_path
from signoff.tables.csv_file import quoted_where_needed, write_csv

# From here on Arrow writes a number with an exponent, so that it is read as no whole one.
_EXPONENT = 1e10
# What numbers are kept in, by their first rows; where further ones do not fit, in one of the last two.
_TYPES = (pa.int16(), pa.int32(), pa.int64(), pa.float64())


def write_frames(make: Callable[[], Iterator[pd.DataFrame]], path: Path, kinds: dict[str, str] | None = None) -> None:
    """Write frames, one below the other, to the CSV file that `table.write_table` would write of them together.

    They are made a second time where a value turns out to need quotes: Arrow quotes every text of a file, or none. With
    `kinds`, what the columns are, the side file is written too.
    """

    def write(style: str) -> _SideWriter | None:
        side = _SideWriter(kinds, part) if kinds else None
        # The next rows are made while these are written.
        with pa.OSFile(str(new), "wb") as file, ThreadPoolExecutor(1) as writer:
            written = None
            for n, frame in enumerate(make()):
                table = pa.Table.from_pandas(frame, preserve_index=False)
                if written:
                    written.result()
                written = writer.submit(write_rows, table, file, style, n == 0, side)
            if written:
                written.result()
        return side

    def write_rows(table: pa.Table, file: pa.NativeFile, style: str, header: bool, side: _SideWriter | None) -> None:
        write_csv(table, file, style, header)
        if side:
            side.add(table)

    with beside(side_path(path)) as part, replacing(path) as new:
        side = quoted_where_needed(write)
        if side:
            side.close(new, path)


class _SideWriter:
    """Writes the side file of a CSV file while its rows, n × m columns of some kinds, are written there."""

    def __init__(self, kinds: dict[str, str], part: Path):
        self.kinds, self.part, self.begun = kinds, part, 0
        self.writer: Any = None
        self.missing, self.known = (dict.fromkeys(kinds, False) for _ in range(2))
        self.whole = dict.fromkeys(kinds, True)

    def add(self, table: pa.Table) -> None:
        """Take some rows."""
        table = table.combine_chunks()
        schema = pa.schema([(name, self.type_of(name, table[name])) for name in table.column_names])
        if self.writer is None:
            # What an earlier try has left open stays its own file.
            self.part.unlink(missing_ok=True)
            self.begin(schema)
        elif schema != self.schema:
            self.restart(schema, table)
        table = table.cast(self.schema)
        for name, column in zip(table.column_names, table.columns, strict=True):
            self.missing[name] |= column.null_count > 0
            self.known[name] |= column.null_count < len(column)
            if self.whole[name] and pa.types.is_floating(column.type):
                small = pc.less(pc.abs(column), _EXPONENT)
                self.whole[name] = pc.all(pc.and_(small, pc.equal(pc.floor(column), column))).as_py() is not False
        self.writer.write_table(table)

    def begin(self, schema: pa.Schema) -> None:
        """Begin the file."""
        self.schema, self.writer, self.begun = schema, pa.ipc.new_file(str(self.part), schema), self.begun + 1

    def restart(self, schema: pa.Schema, table: pa.Table) -> None:
        """Rewrite the file with wider columns, which also fit the rows of `table`."""
        if self.begun == 3:
            # One column after the other: before the file is copied for each, all are as wide as they can be.
            for n, each in enumerate(schema):
                if each.type in _TYPES[:2]:
                    schema = schema.set(n, each.with_type(_first_fit(table[each.name], _TYPES[2:])))
        self.writer.close()
        with pa.OSFile(str(self.part)) as file, pa.ipc.open_file(file) as reader:
            self.part.unlink()
            self.begin(schema)
            for n in range(reader.num_record_batches):
                self.writer.write_table(pa.table(reader.get_batch(n)).cast(schema, safe=False))

    def type_of(self, name: str, found: pa.ChunkedArray) -> pa.DataType:
        """Return the type that a column is kept in: that of its first rows, as long as further ones fit."""
        kind = self.kinds[name]
        if kind == "number":
            return _first_fit(found, (self.schema.field(name).type, *_TYPES[2:]) if self.writer else _TYPES)
        if kind == "date":
            return self.schema.field(name).type if self.writer else pa.timestamp("us", found.type.tz)
        return pa.bool_() if kind == "boolean" else pa.string()

    def dtype_of(self, name: str) -> str:
        """Return the dtype that reading the CSV file would give."""
        kind, found = self.kinds[name], self.schema.field(name).type
        if kind == "number":
            return "int64" if self.whole[name] and not self.missing[name] else "float64"
        if kind == "date":
            return f"datetime64[us, {found.tz}]" if found.tz and self.known[name] else "datetime64[us]"
        return {"boolean": "object" if self.missing[name] else "bool"}.get(kind, "str")

    def close(self, written: Path, path: Path) -> None:
        """Say what the file is, and move it to its place; `written` is the CSV file that is to be `path`."""
        dtypes = {name: self.dtype_of(name) for name in self.kinds}
        about = {"sha256": sha256(written), "body": NO_DIGEST, "kinds": self.kinds, "dtypes": dtypes}
        self.writer.write_batch(pa.RecordBatch.from_pylist([], schema=self.schema), {KEY: json.dumps(about)})
        self.writer.close()
        seal(self.part)
        os.replace(self.part, side_path(path))


def _first_fit(column: pa.ChunkedArray, types: tuple[pa.DataType, ...]) -> pa.DataType:
    """Return the first of some types that numbers fit in; float64, the last, takes any."""
    return next(each for each in types if _fits(column, each))


def _fits(column: pa.ChunkedArray, kept: pa.DataType) -> bool:
    """Return whether one of TYPES holds these numbers, some of them missing, without loss."""
    if pa.types.is_floating(kept):
        return True
    if pa.types.is_floating(column.type):
        values = column.to_numpy()
        # From EXPONENT on they may be no whole numbers in the CSV file; and minus zero is none.
        if kept.bit_width == 64 or np.signbit(values[values == 0]).any():
            return False
    try:
        column.cast(kept)
    except pa.ArrowInvalid:
        return False
    return True
