"""What has arrived, in whatever format it is, becomes UTF-8 CSV with commas."""

import codecs
import contextlib
import csv
import functools
import io
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa

from signoff.base.config import ReaderConfig
from signoff.base.errors import TaskError
from signoff.base.files import only_file, replacing
from signoff.base.limits import limited_memory
from signoff.source.columnar import copy_columns
from signoff.source.compressed import COMPRESSED, MAGIC, SUFFIXES, open_text, packed_as, refusing_damage
from signoff.source.records import copy_excel, copy_json_lines
from signoff.tables.cells import with_point
from signoff.tables.csv_file import LONGEST, csv_rows, header, with_names, write_rows

# Names of columns may begin with a bracket.
_JSON = re.compile(rb"(\xef\xbb\xbf)?\s*(\{|\[\s*[{\[])")
# One page of a Parquet file, one batch, one stripe or one cell is unpacked as a whole.
_MEMORY = 2 << 30
_COLUMNAR = ("Parquet", "Arrow", "ORC")
_READ = (
    "CSV or JSON lines (plain, or packed by gzip, xz, bzip2, zstd or zip), Parquet, Feather (Arrow), ORC and Excel "
    "(.xlsx) are read"
)


def is_json_lines(opened: Callable[[], IO[bytes]]) -> bool:
    """Return whether a text begins like JSON lines, or like other JSON, so that its errors are explained as JSON."""
    with opened() as stream:
        return bool(_JSON.match(stream.read(512)))


def _refuse_markup(head: bytes, name: str) -> None:
    """Raise TaskError where a file begins like a web page: an error or a login page instead of the data."""
    if head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"<"):
        line = head.decode("utf-8", "replace").split()
        raise TaskError(
            f"{name} is an HTML or XML page, not a table (it begins with {' '.join(line)[:60]!r}). "
            "Open it in a browser: it may ask to log in, or say that it has moved."
        )


# The format that a file has by its name.
_EXPECTED = {**SUFFIXES, ".parquet": "Parquet", ".feather": "Arrow", ".arrow": "Arrow", ".orc": "ORC"}
_EXPECTED |= {".xlsx": "Excel", ".xlsm": "Excel"}


def unpack(arrived: Path, table: Path, name: str, reader: ReaderConfig) -> None:
    """Write what is in `arrived`, of whatever format, to `table` as UTF-8 CSV with commas.

    Raises
    ------
    TaskError
        The content is damaged, or not what its name or `reader` say.
    """
    found = packed_as(arrived)
    expected = _EXPECTED.get(Path(name.partition("?")[0]).suffix.lower())
    if expected and found != expected and not (found in MAGIC.values() and found not in (*COMPRESSED, *_COLUMNAR)):
        # The reason why is more useful than the fact: most often it is a login page.
        with open(arrived, "rb", opener=only_file) as file:
            _refuse_markup(file.read(512), name)
        raise TaskError(f"{name} is named as {expected}, but its content is not. Rename it, or export it again.")
    if reader.sheet is not None and found != "Excel":
        raise TaskError(f"reader.sheet: {name} is not an Excel file, and has no sheets. Remove the key.")
    with _bounded_memory(name), refusing_damage(name, pa.ArrowInvalid):
        if found in _COLUMNAR:
            copy_columns(arrived, found, table, name, reader)
        elif found == "Excel":
            copy_excel(arrived, table, name, reader)
        elif found is None or found in COMPRESSED:
            opened = functools.partial(open_text, arrived, found, name)
            if is_json_lines(opened):
                copy_json_lines(opened, table, name, reader.missing)
            else:
                _copy_text(opened, table, name, reader)
        else:
            raise TaskError(f"{name} is a file of the format {found}, which is not read. {_READ}.")


@contextlib.contextmanager
def _bounded_memory(name: str) -> Iterator[None]:
    """Raise TaskError if what is read in the block needs more than MEMORY at a time, beyond what the process holds."""
    try:
        with limited_memory(_MEMORY):
            yield
    except MemoryError as error:
        raise TaskError(
            f"{name} takes more than {_MEMORY >> 20:,} MiB of memory to unpack. Write it in smaller parts (row groups, "
            "batches, stripes), or as CSV."
        ) from error


def _copy_text(opened: Callable[[], IO[bytes]], table: Path, name: str, reader: ReaderConfig) -> None:
    """Copy CSV text to `table`: as it is where it has commas between fields and points in numbers, else rewritten."""
    delimiter, encoding = reader.delimiter, reader.encoding
    try:
        codec = codecs.lookup(encoding).name
        "".encode(codec)
    except LookupError as error:
        raise TaskError(f"reader.encoding: Python knows no encoding {encoding!r}. Try cp1252 or latin-1.") from error
    if delimiter in '"\r\n':
        raise TaskError(f"reader.delimiter: {delimiter!r} cannot separate fields, since it does something else in CSV.")
    with opened() as stream:
        head = stream.read(512)
    _refuse_markup(head, name)
    if codec == "utf-8" and head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise TaskError(f"{name} is UTF-16 text. Set reader.encoding: utf-16 in the config.")
    if codec == "utf-8":
        codec = "utf-8-sig"
    try:
        with (
            io.TextIOWrapper(opened(), encoding=codec, newline="") as text,
            open(table, "w", encoding="utf-8", newline="") as file,
        ):
            if delimiter == "," and reader.decimal == "." and not reader.missing:
                shutil.copyfileobj(text, file, 1 << 20)
            else:
                rows = (row for _, row in csv_rows(text, name, delimiter))
                if reader.decimal == ",":
                    rows = ([with_point(cell) for cell in row] for row in rows)
                if reader.missing:
                    rows = (
                        ["" if n and each in reader.missing else each for each in row] for n, row in enumerate(rows)
                    )
                write_rows(file, rows)
    except UnicodeError as error:
        with opened() as stream:
            # A line that is as long as a file is none: its beginning tells.
            lines = iter(lambda: stream.readline(LONGEST), b"")
            line = next((n for n, each in enumerate(lines, 1) if not _decodes(each, codec)), "?")
        raise TaskError(
            f"{name}: line {line} is not {encoding} ({getattr(error, 'reason', error)}). "
            "Set reader.encoding in the config (often cp1252 or latin-1)."
        ) from error
    except csv.Error as error:
        raise TaskError(f"{name} cannot be read as CSV ({error}). Export it again.") from error


def _decodes(line: bytes, codec: str) -> bool:
    """Return whether a line of bytes is text in that encoding."""
    try:
        line.decode(codec)
    except UnicodeError:
        return False
    return True


def name_columns(table: Path, name: str) -> None:
    """Give the columns of a CSV file that have no name one, as an index has none; take spaces around a name away."""
    columns = header(table, name)
    names = with_names(columns)
    if not "".join(columns).strip() or names == columns:
        return
    with (
        replacing(table) as named,
        open(table, encoding="utf-8-sig", newline="", opener=only_file) as old,
        open(named, "w", encoding="utf-8", newline="") as new,
    ):
        next(csv.reader(old))
        write_rows(new, [names])
        shutil.copyfileobj(old, new, 1 << 20)
    unnamed = [new for new, old in zip(names, columns, strict=True) if new not in old]
    if unnamed:
        logging.warning("[ingest_data] columns without a name are called %s", ", ".join(unnamed))
