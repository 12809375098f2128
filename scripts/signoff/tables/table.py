"""Tables as CSV files: their columns as numbers, booleans, dates and text, read and written."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from signoff.base.files import replacing
from signoff.tables.arrays import as_series, text_in
from signoff.tables.arrow_copy import side_path
from signoff.tables.cells import is_blank, parse_number, without_blanks
from signoff.tables.column import PARSERS, Column
from signoff.tables.csv_file import (
    header_of_table,
    no_table,
    quoted_where_needed,
    read_text,
    write_csv,
)
from signoff.tables.dates import parse_date

# Of a column whose values are all of its kind.
_NOTHING = pd.Series(dtype="object")


@dataclass
class ParsedTable:
    """A table as read: `frame` (n rows × m columns; int64, float64, bool, datetime64 or str), the `kinds` of its
    columns, in `formats` how its dates are written, and in `bad` for each column the values that are not of its kind,
    by row (0-based); they are missing in `frame`."""

    frame: pd.DataFrame
    kinds: dict[str, str]
    formats: dict[str, str] = field(default_factory=dict)
    bad: dict[str, pd.Series] = field(default_factory=dict)


@dataclass
class _ParsedColumns:
    """The columns of a table by name, in `values`; the rest as for `ParsedTable`. A table of few rows takes longer."""

    values: dict[str, pd.Series] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)
    bad: dict[str, pd.Series] = field(default_factory=dict)


def read_table(path: Path, kinds: dict[str, str] | None = None, formats: dict[str, str] | None = None) -> ParsedTable:
    """Read a comma-separated UTF-8 file as one batch; see `batches.tables` for reading some rows at a time.

    Parameters
    ----------
    path
        A file as `ingest_data` writes it.
    kinds
        What some columns are known to be; the others' kinds are found from all of their values.
    formats
        How the dates of some columns are known to be written; the others' notations are found likewise.

    Raises
    ------
    TaskError
        The file is not a table.
    """
    columns = header_of_table(path)
    with no_table(path):
        text = read_text(path, columns)
    return parse_table(text, kinds, formats)


def parse_table(
    text: pa.Table, kinds: dict[str, str] | None = None, formats: dict[str, str] | None = None
) -> ParsedTable:
    """Return a table of text, n rows × m columns, with its values parsed; see `read_table`.

    `kinds` and `formats` say what some columns and their dates are known to be; the others' are found from all values.
    """
    parsed = parse_columns(text, kinds, formats)
    index = pd.RangeIndex(text.num_rows)
    frame = pd.DataFrame(parsed.values, columns=text.column_names, index=index)
    return ParsedTable(frame, parsed.kinds, parsed.formats, parsed.bad)


def parse_columns(
    text: pa.Table, kinds: dict[str, str] | None = None, formats: dict[str, str] | None = None
) -> _ParsedColumns:
    """Return the same as `parse_table`, column by column."""
    found = _ParsedColumns()
    for name in text.column_names:
        column = without_blanks(text[name])
        kind, date_format = (kinds or {}).get(name), (formats or {}).get(name)
        if kind is None or (kind == "date" and date_format is None):
            kind, date_format = _found(column, kind, date_format)
        found.kinds[name] = kind
        if kind == "date":
            found.formats[name] = str(date_format)
        found.values[name], bad = parse_column(column, kind, date_format)
        if len(bad):
            found.bad[name] = bad
    return found


def _found(text: pa.ChunkedArray, kind: str | None, date_format: str | None) -> tuple[str, str | None]:
    """Return what a column of text is and how its dates are written, of which some may be known."""
    about = Column(kind, date_format)
    while about.kind is None or (about.kind == "date" and about.date_format is None):
        about.look(text)
        about.settle()
    return about.kind, about.date_format


def parse_column(
    text: pa.ChunkedArray, kind: str, date_format: str | None, dtype: str | None = None
) -> tuple[pd.Series, pd.Series]:
    """Return the values of a column of text, and by their place those that are not of its kind.

    `dtype` is what all of the column's rows need, where these are only some of them.
    """
    if kind == "number":
        parsed = parse_number(text, dtype)
    elif kind == "date":
        parsed = parse_date(text, str(date_format))
        if dtype and dtype.endswith("UTC]"):
            parsed = pc.cast(parsed, pa.timestamp("us", "UTC"))
    else:
        parsed = PARSERS[kind](text)
    values: Any = as_series(parsed)
    if dtype:
        values = values.astype(dtype)
    elif kind == "text":
        values = text_in(values)
    bad = pc.and_(pc.is_valid(text), pc.is_null(parsed, nan_is_null=True))
    if not pc.any(bad).as_py():
        return values, _NOTHING
    bad = pc.and_(bad, pc.invert(is_blank(text))).to_pandas()
    return values, text.to_pandas().astype("object")[bad]


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` without its index as CSV (comma, UTF-8, "\\n", missing as nothing), atomically."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    with replacing(path) as new:
        quoted_where_needed(lambda style: write_csv(table, new, style))
        side_path(path).unlink(missing_ok=True)
