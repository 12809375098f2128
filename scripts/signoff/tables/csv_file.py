"""CSV files: how they are read as text, and how they are written."""

import contextlib
import csv
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO, TypeVar

import pyarrow as pa
import pyarrow.csv

from signoff.base.errors import TaskError
from signoff.base.files import only_file
from signoff.tables.cells import MISSING, repeated_as_text

# A record may be as long as what Arrow reads at a time; a line, in characters, is looked at no further.
LONGEST = 1 << 20
# Rows that Arrow makes text of at a time: a sixteenth, its default, takes a fifth longer.
_BATCH = 1 << 14
_Batch = TypeVar("_Batch")
_Written = TypeVar("_Written")


def parse_options(path: Path) -> pyarrow.csv.ParseOptions:
    """Return the options that read `path` right: line breaks inside quotes cost speed, so only where quotes are."""
    with open(path, "rb", opener=only_file) as file:
        quoted = any(b'"' in piece for piece in iter(lambda: file.read(1 << 20), b""))
    return pyarrow.csv.ParseOptions(newlines_in_values=quoted)


def text_options(columns: list[str]) -> pyarrow.csv.ConvertOptions:
    """Return the options that read every column as text, with the usual spellings of missing as null."""
    return pyarrow.csv.ConvertOptions(
        column_types={name: pa.string() for name in columns},
        include_columns=columns,
        null_values=MISSING,
        strings_can_be_null=True,
    )


def read_ahead(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """Yield batches, each while the next one is read or made."""
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(next, batches, None)
        while (batch := following.result()) is not None:
            following = reader.submit(next, batches, None)
            yield batch


def header(path: Path, name: object = None) -> list[str]:
    """Return the column names in the first line of a CSV file (comma, UTF-8), which errors call `name`."""
    with open(path, encoding="utf-8-sig", newline="", opener=only_file) as file:
        return next(csv_rows(file, name or path), (0, []))[1]


def header_of_table(path: Path) -> list[str]:
    """Return the column names of a file. Raises TaskError where it is empty."""
    columns = header(path)
    if not columns:
        raise TaskError(f"{path} is empty. Run the task that writes it again.")
    return columns


def with_names(columns: list[str]) -> list[str]:
    """Return column names without invisible characters around them; an empty one becomes `unnamed_1`, by its place.

    A byte order mark before a name would be taken for the file's own when the file is rewritten.
    """
    seen = (re.sub(r"^[\s\ufeff]+|[\s\ufeff]+$", "", each) for each in columns)
    return [each or f"unnamed_{n}" for n, each in enumerate(seen, 1)]


def read_text(path: Path, columns: list[str]) -> pa.Table:
    """Return some columns of a file as text. Raises KeyError if one is missing, ArrowInvalid if it is not a table."""
    return pyarrow.csv.read_csv(path, parse_options=parse_options(path), convert_options=text_options(columns))


@contextlib.contextmanager
def no_table(path: Path) -> Iterator[None]:
    """Explain in one line that a file is not a table."""
    try:
        yield
    except pa.ArrowInvalid as error:
        raise TaskError(f"{path} cannot be read as a table: {error}. Ingest it again.") from error


def csv_rows(file: TextIO, name: object, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of CSV text, opened with newline="", and the numbers of their last lines, in bounded memory.

    Raises
    ------
    TaskError
        A row is longer than LONGEST, for example because a quote is not closed, or because it is not text.
    """
    csv.field_size_limit(LONGEST)
    number = 0

    def lines() -> Iterator[str]:
        while line := file.readline(LONGEST + 1):
            if len(line) > LONGEST:
                raise csv.Error
            yield line

    rows = csv.reader(lines(), delimiter=delimiter)
    try:
        for row in rows:
            number = rows.line_num
            yield number, row
    except csv.Error as error:
        raise TaskError(
            f"{name}: the row that begins in line {number + 1} is longer than {LONGEST:,} characters. "
            "Close its quote, or leave such a column out."
        ) from error


def write_rows(file: TextIO, rows: Iterable[list[str]]) -> None:
    """Write rows as CSV with commas and "\\n" to text, opened with newline=""."""
    plain = csv.writer(file, lineterminator="\n")
    quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        # Python's writer puts no quotes around a carriage return, which ends a row for whoever reads it.
        (quoted if "\r" in "".join(row) else plain).writerow(row)


def write_csv(table: pa.Table, sink: object, style: str, header: bool = True) -> None:
    """Write `table` to a path or an open file."""
    # Where texts are quoted, what is made text here would be too.
    for n, column in enumerate(table.columns if style == "none" else ()):
        table = table.set_column(n, table.column_names[n], repeated_as_text(column))
    options = {"include_header": header, "quoting_style": style, "quoting_header": style}
    pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(**options, batch_size=_BATCH))


def quoted_where_needed(write: Callable[[str], _Written]) -> _Written:
    """Call `write` with Arrow's style of quoting, and a second time if a value needs quotes.

    Arrow quotes every text or none, and none is easier to read.
    """
    try:
        return write("none")
    except pa.ArrowInvalid:
        return write("needed")


def rendered(table: pa.Table, header: bool) -> pa.Buffer:
    """Return `table` as the bytes of a CSV file, or of a later piece of one."""

    def bytes_of(style: str) -> pa.Buffer:
        sink = pa.BufferOutputStream()
        write_csv(table, sink, style, header)
        return sink.getvalue()

    return quoted_where_needed(bytes_of)
