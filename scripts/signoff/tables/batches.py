"""Tables larger than memory: what their columns are, found from all rows, then the rows, some at a time."""

import functools
import itertools
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from signoff.tables.arrow_copy import Choose, SideFile, as_read, open_side, side_chosen, side_frames
from signoff.tables.cells import without_blanks
from signoff.tables.column import Column
from signoff.tables.csv_file import header_of_table, no_table, parse_options, text_options
from signoff.tables.dates import iso_dates
from signoff.tables.table import ParsedTable, parse_column, read_table

# Bytes of text that are in memory at a time, several times over.
_BLOCK = 4 << 20
# What a column is for good, once some of its rows are: no other row can make whole numbers of it, or complete booleans.
_FINAL = ("float64", "object", "str")
_Known = dict[str, str] | None
_Pairs = tuple[tuple[str, str], ...]
_Result = TypeVar("_Result")


class _Misled(Exception):
    """A later row does not fit the columns that the first rows of its file suggest."""


@dataclass
class Columns:
    """The columns of a file, by all of its rows: kinds and formats as in `ParsedTable`, dtypes, and its Arrow copy."""

    kinds: dict[str, str]
    formats: dict[str, str]
    dtypes: dict[str, str]
    side: SideFile | None = None
    guessed: bool = False  # by the first rows alone


def text_batches(path: Path, columns: list[str]) -> Iterator[pa.Table]:
    """Yield some columns of a CSV file as text, some rows at a time, one batch at least; cells of blanks are null."""
    read = pyarrow.csv.ReadOptions(block_size=_BLOCK)
    options = {"read_options": read, "parse_options": parse_options(path), "convert_options": text_options(columns)}
    with no_table(path), pyarrow.csv.open_csv(path, **options) as reader:
        batch = None
        for batch in reader:
            yield pa.table({name: without_blanks(pa.chunked_array([batch[name]])) for name in columns})
        if batch is None:
            yield reader.schema.empty_table().select(columns)


def judged(path: Path, kinds: _Known, work: Callable[[Columns], _Result], formats: _Known = None) -> _Result:
    """Return the result of `work` on a file, with the columns that `scan` finds, reading the file once if possible.

    `work` is called with the columns of the first rows. If a later row does not fit them, it is called again with those
    of all rows. So it must leave nothing behind when it ends early, and read the rows with `tables`.
    """
    try:
        return work(scan(path, kinds, formats, first_rows=True))
    except _Misled:
        return work(scan(path, kinds, formats))


def scan(path: Path, kinds: _Known = None, formats: _Known = None, first_rows: bool = False) -> Columns:
    """Return what the columns of a file are, read once or a few times.

    Parameters
    ----------
    path, kinds, formats
        As for `table.read_table`.
    first_rows
        Whether to judge by these alone, for `tables` to find out whether they mislead.

    Raises
    ------
    TaskError
        The file is not a table.
    _Misled
        The first rows alone do not decide.
    """
    if side := open_side(path, kinds):
        formats = {name: "ISO8601" for name, kind in side.kinds.items() if kind == "date"}
        return Columns(side.kinds, formats, side.dtypes, side)
    state = path.stat()
    known = [tuple(sorted((each or {}).items())) for each in (kinds, formats)]
    found = _scanned(path, (state.st_ino, state.st_size, state.st_mtime_ns), known[0], known[1], first_rows)
    return Columns(dict(found[0]), dict(found[1]), dict(found[2]), guessed=first_rows)


@functools.lru_cache(maxsize=1)
def _scanned(
    path: Path, _state: tuple[int, ...], kinds: _Pairs, formats: _Pairs, first_rows: bool
) -> tuple[_Pairs, _Pairs, _Pairs]:
    """Return kinds, formats and dtypes; see `scan`.

    They are kept for a process in which another task reads the same file next.
    """
    types, notations = dict(kinds), dict(formats)
    found = {name: Column(types.get(name), notations.get(name)) for name in header_of_table(path)}
    while unsettled := [name for name, column in found.items() if not column.settled]:
        # Only all rows show the kind of a column, and the notation of its dates.
        if first_rows and any(found[name].kind is None or found[name].notations for name in unsettled):
            raise _Misled
        for batch in itertools.islice(text_batches(path, unsettled), 1 if first_rows else None):
            for name in unsettled:
                found[name].look(batch[name])
        for name in unsettled:
            found[name].settle()
    return (
        tuple((name, str(column.kind)) for name, column in found.items()),
        tuple((name, str(column.date_format)) for name, column in found.items() if column.kind == "date"),
        tuple((name, column.dtype) for name, column in found.items()),
    )


def tables(path: Path, columns: Columns, names: list[str] | None = None) -> Iterator[ParsedTable]:
    """Yield all columns of a file, or some, as `table.read_table` would read them, some rows at a time.

    Rows keep the numbers (from 0) that they have in the file, in the index and in `bad`. A wrong guess raises _Misled.
    """
    names = names or list(columns.kinds)
    row = 0
    for frame in side_frames(columns.side, names) if columns.side else ():
        index = pd.RangeIndex(row, row := row + len(frame))
        yield ParsedTable(frame.set_axis(index), columns.kinds, columns.formats)
    for batch in () if columns.side else text_batches(path, names):
        index = pd.RangeIndex(row, row := row + len(batch))
        values, bad = {}, {}
        for name in names:
            kind, notation, dtype = columns.kinds[name], columns.formats.get(name), columns.dtypes[name]
            sure = not columns.guessed or dtype in _FINAL
            values[name], wrong = parse_column(batch[name], kind, notation, dtype if sure else None)
            iso = kind != "date" or sure or iso_dates(pc.unique(batch[name])) is not None
            if not (sure or str(values[name].dtype) == dtype) or not iso:
                raise _Misled
            if len(wrong):
                bad[name] = wrong.set_axis(index[wrong.index])
        yield ParsedTable(pd.DataFrame(values, columns=names).set_axis(index), columns.kinds, columns.formats, bad)


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


def read_rows(
    path: Path, kinds: dict[str, str], names: list[str], by: str, choose: Choose, narrow: Container[str] = ()
) -> pd.DataFrame:
    """Return all that `chosen` yields, numbered from 0; whole numbers of `narrow` columns in as few bytes as kept."""
    if side := open_side(path, kinds):
        # Mapped into memory: blocks of which all rows are taken are copied only once.
        dtypes = {name: dtype for name, dtype in side.dtypes.items() if not (name in narrow and dtype == "int64")}
        return as_read(pa.concat_tables(side_chosen(side, names, by, choose, mapped=True)), dtypes)
    frame = read_table(path, kinds).frame
    return frame.loc[choose(frame[by]), names].reset_index(drop=True)
