"""Which format a file is in, told by its first bytes, and the bytes of its text, unpacked."""

import codecs
import csv
import functools
import gzip
import io
import logging
import lzma
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv

from signoff.base.errors import TaskError
from signoff.base.files import replacing
from signoff.source.options import Reader
from signoff.tables.cells import with_point
from signoff.tables.csv_file import LONGEST, csv_rows, header, with_names, write_rows

MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip", b"PAR1": "parquet"}
MAGIC |= {b"BZh": "bzip2", b"(\xb5/\xfd": "zstd", b"\xd0\xcf\x11\xe0": "Excel", b"%PDF": "PDF"}


def packed_as(arrived: Path) -> str | None:
    """Return the format that a file's first bytes tell; None for text, or what is not known."""
    with open(arrived, "rb") as file:
        head = file.read(8)
    return next((form for magic, form in MAGIC.items() if head.startswith(magic)), None)


def refuse_markup(head: bytes, name: str) -> None:
    """Raise TaskError where a file begins like a web page: an error or a login page instead of the data."""
    if head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"<"):
        line = head.decode("utf-8", "replace").split()
        raise TaskError(
            f"{name} is an HTML or XML page, not a table (it begins with {' '.join(line)[:60]!r}). "
            "Open it in a browser: it may ask to log in, or say that it has moved."
        )


def open_text(arrived: Path, form: str | None, name: str) -> BinaryIO:
    """Open a file that is plain or compressed, for reading its decompressed bytes."""
    if form == "gzip":
        return gzip.open(arrived)
    if form == "xz":
        return lzma.open(arrived)
    if form == "zip":
        archive = zipfile.ZipFile(arrived)
        members = [each for each in archive.namelist() if each.lower().endswith(".csv") and "__MACOSX" not in each]
        if len(members) != 1:
            raise TaskError(f"{name} holds {len(members)} CSV files. Give an archive with exactly one.")
        return archive.open(members[0])
    return open(arrived, "rb")


SUFFIXES = {".gz": "gzip", ".xz": "xz", ".zip": "zip", ".parquet": "parquet"}


def unpack(arrived: Path, table: Path, name: str, reader: Reader) -> None:
    """Write what is in `arrived`, of whatever format, to `table` as UTF-8 CSV with commas.

    Raises
    ------
    TaskError
        The content is damaged, or not what its name or `reader` say.
    """
    found = packed_as(arrived)
    expected = SUFFIXES.get(Path(name.partition("?")[0]).suffix.lower())
    if expected and found != expected:
        # The reason why is more useful than the fact: most often it is a login page.
        with open(arrived, "rb") as file:
            refuse_markup(file.read(512), name)
        raise TaskError(f"{name} is named as {expected}, but its content is not. Rename it, or export it again.")
    try:
        if found == "parquet":
            copy_parquet(arrived, table, name)
        elif found in (None, "gzip", "xz", "zip"):
            copy_text(functools.partial(open_text, arrived, found, name), table, name, reader)
        else:
            raise TaskError(f"{name} is a {found} file. Give CSV (plain, gzip, xz or zip) or Parquet.")
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowInvalid) as error:
        raise TaskError(f"{name} is damaged or incomplete ({error}). Fetch or export it again.") from error
    except (NotImplementedError, RuntimeError) as error:
        raise TaskError(
            f"{name} cannot be unpacked ({error}). Pack it without a password, as gzip or plain zip."
        ) from error


def copy_text(opened: Callable[[], BinaryIO], table: Path, name: str, reader: Reader) -> None:
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
    refuse_markup(head, name)
    if codec == "utf-8" and head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise TaskError(f"{name} is UTF-16 text. Set reader.encoding: utf-16 in the config.")
    if codec == "utf-8":
        codec = "utf-8-sig"
    try:
        with (
            io.TextIOWrapper(opened(), encoding=codec, newline="") as text,
            open(table, "w", encoding="utf-8", newline="") as file,
        ):
            if delimiter == "," and reader.decimal == ".":
                shutil.copyfileobj(text, file, 1 << 20)
            else:
                rows = (row for _, row in csv_rows(text, name, delimiter))
                if reader.decimal == ",":
                    rows = ([with_point(cell) for cell in row] for row in rows)
                write_rows(file, rows)
    except UnicodeError as error:
        with opened() as stream:
            # A line that is as long as a file is none: its beginning tells.
            lines = iter(lambda: stream.readline(LONGEST), b"")
            line = next((n for n, each in enumerate(lines, 1) if not decodes(each, codec)), "?")
        raise TaskError(
            f"{name}: line {line} is not {encoding} ({getattr(error, 'reason', error)}). "
            "Set reader.encoding in the config (often cp1252 or latin-1)."
        ) from error
    except csv.Error as error:
        raise TaskError(f"{name} cannot be read as CSV ({error}). Export it again.") from error


def decodes(line: bytes, codec: str) -> bool:
    """Tell whether a line of bytes is text in that encoding."""
    try:
        line.decode(codec)
    except UnicodeError:
        return False
    return True


def copy_parquet(arrived: Path, table: Path, name: str) -> None:
    """Write a Parquet file to `table` as CSV, batch by batch."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(arrived) as parquet:
        schema = parquet.schema_arrow
        nested = [each.name for each in schema if pa.types.is_nested(each.type) or pa.types.is_binary(each.type)]
        if nested:
            raise TaskError(
                f"{name}: column {', '.join(nested)} holds no single value a row. Leave it out of the file."
            )
        # What CSV has no form for is written as text: categories, durations, decimals.
        simple = (
            pa.types.is_integer,
            pa.types.is_floating,
            pa.types.is_boolean,
            pa.types.is_timestamp,
            pa.types.is_date,
        )
        columns = [each if any(is_(each.type) for is_ in simple) else each.with_type(pa.string()) for each in schema]
        options = pyarrow.csv.WriteOptions(quoting_style="needed")
        with pyarrow.csv.CSVWriter(table, pa.schema(columns), write_options=options) as writer:
            # Few rows at a time: one long text, written once, may stand in all of them.
            for batch in parquet.iter_batches(batch_size=1024):
                writer.write_batch(batch.cast(pa.schema(columns)))


def name_columns(table: Path, name: str) -> None:
    """Give the columns of a CSV file that have no name one, as an index has none; take spaces around a name away."""
    columns = header(table, name)
    names = with_names(columns)
    if not "".join(columns).strip() or names == columns:
        return
    with (
        replacing(table) as named,
        open(table, encoding="utf-8-sig", newline="") as old,
        open(named, "w", encoding="utf-8", newline="") as new,
    ):
        next(csv.reader(old))
        write_rows(new, [names])
        shutil.copyfileobj(old, new, 1 << 20)
    unnamed = [new for new, old in zip(names, columns, strict=True) if new not in old]
    if unnamed:
        logging.warning("[ingest_data] columns without a name are called %s", ", ".join(unnamed))
