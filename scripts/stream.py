"""Tables larger than memory: what their columns are, found from all rows, then the rows, some at a time."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from column import Column
from csv_file import header_of_table, no_table, parse_options, quoted_where_needed, text_options, write_csv
from sidefile import Choose, SideFile, SideWriter, as_read, open_side, side_chosen, side_frames, side_path
from table import Table, parse_column, read_table
from task import beside, replacing
from values import without_blanks

# Bytes of text that are in memory at a time, several times over.
BLOCK = 4 << 20


@dataclass
class Columns:
    """What a file's columns are, by all of its rows: as in `table.Table`, and pandas dtypes; its side file, if any."""

    kinds: dict[str, str]
    formats: dict[str, str]
    dtypes: dict[str, str]
    side: SideFile | None = None


def text_batches(path: Path, columns: list[str]) -> Iterator[pa.Table]:
    """Yield some columns of a CSV file as text, some rows at a time, one batch at least; cells of blanks are null."""
    read = pyarrow.csv.ReadOptions(block_size=BLOCK)
    options = {"read_options": read, "parse_options": parse_options(path), "convert_options": text_options(columns)}
    with no_table(path), pyarrow.csv.open_csv(path, **options) as reader:
        batch = None
        for batch in reader:
            yield pa.table({name: without_blanks(pa.chunked_array([batch[name]])) for name in columns})
        if batch is None:
            yield reader.schema.empty_table().select(columns)


def scan(path: Path, kinds: dict[str, str] | None = None) -> Columns:
    """Return what the columns of a file are, read once or a few times.

    Parameters
    ----------
    path, kinds
        As for `table.read_table`.

    Raises
    ------
    TaskError
        When the file is no table.
    """
    if side := open_side(path, kinds):
        formats = {name: "ISO8601" for name, kind in side.kinds.items() if kind == "date"}
        return Columns(side.kinds, formats, side.dtypes, side)
    found = {name: Column((kinds or {}).get(name)) for name in header_of_table(path)}
    while unsettled := [name for name, column in found.items() if not column.settled]:
        for batch in text_batches(path, unsettled):
            for name in unsettled:
                found[name].look(batch[name])
        for name in unsettled:
            found[name].settle()
    return Columns(
        {name: column.kind for name, column in found.items()},
        {name: column.date_format for name, column in found.items() if column.kind == "date"},
        {name: column.dtype for name, column in found.items()},
    )


def tables(path: Path, columns: Columns, names: list[str] | None = None) -> Iterator[Table]:
    """Yield all columns of a file, or some, as `table.read_table` would read them, some rows at a time.

    Rows keep the numbers (from 0) that they have in the file, in the index and in `bad`.
    """
    names = names or list(columns.kinds)
    row = 0
    for frame in side_frames(columns.side, names) if columns.side else ():
        yield Table(frame.set_axis(pd.RangeIndex(row, row + len(frame))), columns.kinds, columns.formats)
        row += len(frame)
    if columns.side:
        return
    for batch in text_batches(path, names):
        index = pd.RangeIndex(row, row + len(batch))
        row += len(batch)
        values, bad = {}, {}
        for name in names:
            kind, notation, dtype = columns.kinds[name], columns.formats.get(name), columns.dtypes[name]
            values[name], wrong = parse_column(batch[name], kind, notation, dtype)
            if len(wrong):
                bad[name] = wrong.set_axis(index[wrong.index])
        frame = pd.DataFrame(values, columns=names).set_axis(index)
        yield Table(frame, columns.kinds, columns.formats, bad)


def chosen(
    path: Path, columns: Columns, by: str, choose: Choose, names: list[str] | None = None
) -> Iterator[pd.DataFrame]:
    """Yield all columns of a file, or some, of the rows that `choose` takes by their values in one; some at a time."""
    names = names or list(columns.kinds)
    if columns.side:
        yield from (as_read(rows, columns.dtypes) for rows in side_chosen(columns.side, names, by, choose))
        return
    for rows in tables(path, columns, list(dict.fromkeys([*names, by]))):
        yield rows.frame.loc[choose(rows.frame[by]), names]


def read_rows(path: Path, kinds: dict[str, str], names: list[str], by: str, choose: Choose) -> pd.DataFrame:
    """Return what `chosen` yields, all of it, numbered from 0."""
    if side := open_side(path, kinds):
        # Mapped into memory: blocks of which all rows are taken are copied only once.
        return as_read(pa.concat_tables(side_chosen(side, names, by, choose, pa.memory_map)), side.dtypes)
    frame = read_table(path, kinds).frame
    return frame.loc[choose(frame[by]), names].reset_index(drop=True)


def write_frames(make: Callable[[], Iterator[pd.DataFrame]], path: Path, kinds: dict[str, str] | None = None) -> None:
    """Write frames, one below the other, to the CSV file that `table.write_table` would write of them together.

    They are made a second time where a value turns out to need quotes: Arrow quotes every text of a file, or none. With
    `kinds`, what the columns are, the side file is written too.
    """

    def write(style: str) -> SideWriter | None:
        side = SideWriter(kinds, part) if kinds else None
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

    def write_rows(table: pa.Table, file: pa.NativeFile, style: str, header: bool, side: SideWriter | None) -> None:
        write_csv(table, file, style, header)
        if side:
            side.add(table)

    with beside(side_path(path)) as part, replacing(path) as new:
        side = quoted_where_needed(write)
        if side:
            side.close(new, path)
