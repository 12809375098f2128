"""Bring the source to data/raw/raw_data.csv: whole, checked to be a table, as UTF-8 CSV with commas.

    python scripts/ingest_data.py --input SOURCE --output data/raw/raw_data.csv

Source: a .csv, .csv.gz, .csv.xz, .csv.zip or .parquet file, a folder or a pattern of such files, as a path or a URL
(file, http, https, s3, …); or, with a query, the URL of a database. ${NAME} in it is the value of that environment
variable. It is streamed in bounded memory to a file beside the output, which is moved into place only when it has
passed every check. A record of it goes to the same name with the suffix .json.
"""

import argparse
import codecs
import collections
import contextlib
import csv
import datetime
import errno
import functools
import gzip
import hashlib
import io
import itertools
import json
import logging
import lzma
import resource
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

import task
from address import LIMITS, Cut, Limits, Unreachable, expand, shown
from column import MOSTLY
from csv_file import LONGEST, csv_rows, header, parse_options, text_options, with_names, write_rows
from source import as_text, disk_version, fetch, kind, label, parts, read_record, together, use_last
from task import TaskError, beside, nearest, replacing, sha256, write_json
from values import is_blank, parse_number, with_point

MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip", b"PAR1": "parquet"}
MAGIC |= {b"BZh": "bzip2", b"(\xb5/\xfd": "zstd", b"\xd0\xcf\x11\xe0": "Excel", b"%PDF": "PDF"}
SUFFIXES = {".gz": "gzip", ".xz": "xz", ".zip": "zip", ".parquet": "parquet"}
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
INFINITIES = pa.array(
    [sign + word for sign in ("", "+", "-") for word in ("inf", "Inf", "INF", "infinity", "Infinity", "INFINITY")]
)


def ingest_data(
    source: str,
    output: Path,
    target: str | None = None,
    delimiter: str = ",",
    encoding: str = "utf-8",
    limits: Limits = LIMITS,
    on_unreachable: str = "use_last",
    decimal: str = ".",
    query: str | None = None,
) -> dict:
    """Bring `source` to `output`, and return its record.

    Parameters
    ----------
    source
        Path, pattern or URL; see the top of this file.
    output
        Where the table goes, as UTF-8 CSV with commas; its record goes beside it with the suffix .json.
    target
        The column to predict; without it, only the table as such is checked.
    delimiter, encoding, decimal
        How the source's text is written; with the decimal "," numbers such as 1.234,5 become 1234.5.
    limits
        What reading may take, and where it may lead.
    on_unreachable
        "use_last": a source that cannot be reached leaves the file of the last ingest as it is. "stop": it fails.
    query
        The SQL statement whose rows are read, where `source` is a database.

    Returns
    -------
    dict
        source, query, source_version (as `source.source_version`), version (of each part), source_sha256, sha256,
        bytes, records, columns, ingested_at (UTC).

    Raises
    ------
    TaskError
        The source is missing, incomplete, too large, too slow, or no table that a model of `target` can learn from.
    Unreachable
        It cannot be reached, three times, and there is nothing to go on with.
    """
    last = read_record(source, query, output.with_suffix(".json"))
    reader = (",", "utf-8", ".") if query else (delimiter, encoding, decimal)
    try:
        with replacing(output) as table, at_most(limits.max_bytes, source):
            found = collect(source, query, table, target, reader, limits)
            digest = sha256(table)
    except Unreachable as error:
        if last and output.is_file() and on_unreachable == "use_last" and not isinstance(error, Cut):
            logging.warning("[ingest_data] %s", use_last(error, last, output))
            return last
        raise TaskError(f"{error}. Check the network and raw_data_source_url, or try later.") from error
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    record = {
        "source": shown(source),
        "query": query,
        **found,
        "sha256": digest,
        "bytes": output.stat().st_size,
        "ingested_at": last["ingested_at"] if last and last["sha256"] == digest else now,
    }
    write_json(output.with_suffix(".json"), record)
    return record


@contextlib.contextmanager
def at_most(max_bytes: int, source: str) -> Iterator[None]:
    """Let no file grow beyond `max_bytes` within the block: not a download, nor what a few bytes of it unpack to.

    Raises
    ------
    TaskError
        One would have.
    """
    own, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = max_bytes if own == resource.RLIM_INFINITY else min(max_bytes, own)
    # The system counts, whoever writes: Python or Arrow.
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
    try:
        yield
    except OSError as error:
        if error.errno != errno.EFBIG or limit < max_bytes:
            raise
        raise TaskError(
            f"{shown(source)} is larger than {max_bytes:,} bytes, as it is or unpacked. Correct raw_data_source_url in "
            "the config, or allow more with reader.max_bytes."
        ) from error
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (own, most))


def collect(
    source: str, query: str | None, table: Path, target: str | None, reader: tuple[str, str, str], limits: Limits
) -> dict:
    """Write all parts of `source` to `table`, one below the other, and return what `ingest_data` records of them.

    `reader` is the delimiter, the encoding and the decimal mark of the parts. Raises what `ingest_data` does.
    """
    goal = {"values": 0, "numbers": 0, "min": float("inf"), "max": float("-inf"), "word": None}
    columns: list[str] = []
    records, versions, texts, digests = 0, {}, {}, []
    found = parts(expand(source), query, limits)
    with beside(table.with_suffix(".source")) as download, beside(table.with_suffix(".piece")) as piece:
        for part in found:
            name = shown(source) if len(found) == 1 else label(part)
            arrived, version = fetch(part, query, download, limits)
            digests.append(sha256(arrived))
            unpack(arrived, piece, name, *reader)
            name_columns(piece, name)
            check_columns(piece, name, target, reader[0])
            columns = columns or header(piece)
            same_columns(piece, name, columns)
            records += check_rows(piece, name, target, goal)
            append(piece, table)
            on_disk = kind(part, query) == "disk"
            if on_disk and version != disk_version(arrived):
                raise TaskError(f"{part} was changed while it was read. Run again when its writer is done.")
            versions[label(part)] = version
            texts[label(part)] = as_text(version) if version and not on_disk else "sha256:" + digests[-1]
    if target is not None:
        check_enough(records, shown(source))
        check_target(goal, f"{shown(source)}: the target {target!r}")
    return {
        "source_version": together(texts),
        "version": versions,
        "source_sha256": digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest(),
        "records": records,
        "columns": columns,
    }


def unpack(arrived: Path, table: Path, name: str, delimiter: str, encoding: str, decimal: str) -> None:
    """Write what is in `arrived`, of whatever format, to `table` as UTF-8 CSV with commas.

    Raises
    ------
    TaskError
        The content is damaged, or not what its name or the reader's options say.
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
            copy_text(functools.partial(open_text, arrived, found, name), table, name, delimiter, encoding, decimal)
        else:
            raise TaskError(f"{name} is a {found} file. Give CSV (plain, gzip, xz or zip) or Parquet.")
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowInvalid) as error:
        raise TaskError(f"{name} is damaged or incomplete ({error}). Fetch or export it again.") from error
    except (NotImplementedError, RuntimeError) as error:
        raise TaskError(
            f"{name} cannot be unpacked ({error}). Pack it without a password, as gzip or plain zip."
        ) from error


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


def copy_text(
    opened: Callable[[], BinaryIO], table: Path, name: str, delimiter: str, encoding: str, decimal: str
) -> None:
    """Copy CSV text to `table`: as it is where it has commas between fields and points in numbers, else rewritten."""
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
            if delimiter == "," and decimal == ".":
                shutil.copyfileobj(text, file, 1 << 20)
            else:
                rows = (row for _, row in csv_rows(text, name, delimiter))
                if decimal == ",":
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
    unnamed = [new for new, old in zip(names, columns, strict=True) if not old.strip()]
    if unnamed:
        logging.warning("[ingest_data] columns without a name are called %s", ", ".join(unnamed))


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


def check_columns(table: Path, name: str, target: str | None, delimiter: str) -> None:
    """Check the header of a CSV file.

    Raises
    ------
    TaskError
        It is empty, column names are empty or stand twice, or `target` is missing or the only one.
    """
    columns = header(table)
    if not "".join(columns).strip():
        raise TaskError(f"{name} is empty. Check what writes it.")
    others = [(mark, word) for mark, word in SEPARATORS.items() if mark in columns[0] and mark != delimiter]
    if len(columns) == 1 and others:
        mark, word = others[0]
        raise TaskError(
            f"{name} seems to be separated by {word}. Set reader.delimiter: {json.dumps(mark)} in the config."
        )
    twice = sorted(each for each, count in collections.Counter(columns).items() if count > 1)
    if twice:
        raise TaskError(f"{name}: the column name {', '.join(twice)} stands more than once. Rename one of them.")
    if target is not None and target not in columns:
        with open(table, encoding="utf-8", newline="") as file:
            for line, row in itertools.islice(csv_rows(file, name), 1, 50):
                if target in row:
                    raise TaskError(
                        f"{name}: {target!r} (the target) stands in line {line}: that seems to be the header. "
                        "Take out what stands above it."
                    )
        raise TaskError(f"{name} has no column {target!r} (the target): {nearest(target, columns)}")
    if target is not None and len(columns) == 1:
        raise TaskError(f"{name} has only the target {target!r}: there is nothing to predict it from.")


def same_columns(piece: Path, name: str, columns: list[str]) -> None:
    """Bring a part's columns into the order of the first part's. Raises TaskError where they are not the same."""
    own = header(piece)
    if own == columns:
        return
    if set(own) != set(columns):
        differ = [f"lacks {each}" for each in columns if each not in own]
        differ += [f"has {each} besides" for each in own if each not in columns]
        raise TaskError(f"{name} {', '.join(differ)}: the first part has {', '.join(columns)}. All need the same.")
    order = [own.index(each) for each in columns]
    with (
        replacing(piece) as sorted_piece,
        open(piece, encoding="utf-8-sig", newline="") as old,
        open(sorted_piece, "w", encoding="utf-8", newline="") as new,
    ):
        # A row of another length stays as it is, for the check of rows to tell.
        rows = ([row[n] for n in order] if len(row) == len(own) else row for _, row in csv_rows(old, name) if row)
        write_rows(new, rows)


def append(piece: Path, table: Path) -> None:
    """Add the rows of a CSV file to `table`; the first one becomes it, header and all."""
    if not table.exists():
        piece.replace(table)
        return
    with (
        open(piece, encoding="utf-8-sig", newline="") as old,
        open(table, "r+", encoding="utf-8", newline="") as new,
    ):
        next(csv.reader(old))
        end = new.seek(0, io.SEEK_END)
        with open(table, "rb") as written:
            written.seek(end - 1)
            if written.read(1) not in b"\r\n":
                new.write("\n")
        shutil.copyfileobj(old, new, 1 << 20)


def check_rows(table: Path, name: str, target: str | None, goal: dict) -> int:
    """Return the number of records of a CSV file, read batch by batch, and add its target to `goal`.

    Raises
    ------
    TaskError
        It has rows of different lengths, or infinities among numbers.
    """
    columns, records = header(table), 0
    try:
        options = {"parse_options": parse_options(table), "convert_options": text_options(columns)}
        with pyarrow.csv.open_csv(table, **options) as reader:
            for batch in reader:
                for column in columns:
                    refuse_infinities(batch[column], f"{name}: column {column!r}", records, column == target)
                if target is not None:
                    add_target(goal, batch[target])
                records += batch.num_rows
    except pa.ArrowInvalid as error:
        raise TaskError(f"{name}: {uneven_row(table, name, len(columns)) or error}") from error
    return records


def check_enough(records: int, name: str) -> None:
    """Raise TaskError where a table has too few rows to hold any out."""
    if records < 2:
        found = "only a header and no row" if records == 0 else "only one row"
        raise TaskError(f"{name} has {found}. A model needs many; check what writes it.")


def refuse_infinities(text: pa.Array, where: str, rows_before: int, is_target: bool) -> None:
    """Raise TaskError where a column of numbers holds an infinity."""
    infinite = pc.is_in(text, INFINITIES)
    if not pc.any(infinite).as_py():
        return
    others = pc.filter(text, pc.and_(pc.invert(infinite), pc.is_valid(text)))
    numbers = len(pc.drop_null(parse_number(pa.chunked_array([others]))))
    if is_target or (numbers and numbers >= MOSTLY * len(others)):
        row = rows_before + infinite.index(True).as_py() + 1
        raise TaskError(
            f"{where} holds an infinity ({text[row - rows_before - 1]} in row {row}). "
            "Write such values as missing (an empty cell), or leave the column out."
        )


def add_target(goal: dict, text: pa.Array) -> None:
    """Add one batch of the target to what is known of it."""
    numbers = parse_number(pa.chunked_array([text]))
    goal["values"] += len(text) - text.null_count
    goal["numbers"] += len(numbers) - numbers.null_count
    bounds = pc.min_max(numbers).as_py()
    if bounds["min"] is not None:
        goal["min"], goal["max"] = min(goal["min"], bounds["min"]), max(goal["max"], bounds["max"])
    words = pc.filter(text, pc.and_(pc.is_valid(text), pc.is_null(numbers)))
    blanks = is_blank(words)
    goal["values"] -= pc.sum(blanks).as_py() or 0
    words = pc.filter(words, pc.invert(blanks))
    if goal["word"] is None and len(words):
        goal["word"] = words[0].as_py()


def check_target(goal: dict, where: str) -> None:
    """Raise TaskError where a model cannot learn from what is known of the target."""
    if goal["values"] == 0:
        raise TaskError(f"{where} has no value at all. Choose another column.")
    if goal["numbers"] < MOSTLY * goal["values"]:
        raise TaskError(
            f"{where} is no number: {goal['values'] - goal['numbers']:,} of {goal['values']:,} values are like "
            f"{goal['word']!r}. This workflow is for regression; choose a column of numbers."
        )
    if goal["min"] == goal["max"]:
        raise TaskError(
            f"{where} is constant: every value is {goal['min']:g}. There is nothing to learn; choose another."
        )


def uneven_row(table: Path, name: str, expected: int) -> str | None:
    """Return what is wrong with the first row that has more or fewer fields than the header."""
    with open(table, encoding="utf-8", newline="") as file:
        for line, fields in csv_rows(file, name):
            if fields and len(fields) != expected:
                return (
                    f"line {line} has {len(fields)} fields, the header has {expected}. "
                    "Correct it, or quote the text that holds the delimiter."
                )
    return None


def main(argv: list[str] | None = None) -> None:
    parser = task.arguments(__doc__)
    parser.add_argument("--input", required=True, metavar="SOURCE", help="path, folder, pattern or URL")
    parser.add_argument("--output", required=True, type=Path, help="the CSV file to write")
    reader_arguments(parser)
    args = parser.parse_args(argv)
    with task.logged("ingest_data", args, shown(args.input)):
        record = ingest_data(
            args.input,
            args.output,
            args.target,
            args.delimiter,
            args.encoding,
            limits_of(args),
            args.on_unreachable,
            args.decimal,
            args.query,
        )
        logging.info(
            "[ingest_data] completed. Records ingested: %d, columns: %d, bytes: %d, source: %s",
            record["records"],
            len(record["columns"]),
            record["bytes"],
            record["source"],
        )
        logging.info("[ingest_data] wrote raw data to %s", args.output)


def reader_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how the source is read."""
    parser.add_argument("--target", help="the column to predict: checked to be there, and a number")
    parser.add_argument("--delimiter", default=",", help="what separates the source's fields")
    parser.add_argument("--encoding", default="utf-8", help="the source's text encoding")
    parser.add_argument("--decimal", choices=[".", ","], default=".", help="what stands before a number's fraction")
    parser.add_argument("--timeout-s", type=float, default=LIMITS.timeout_s, help="seconds to wait for each piece")
    parser.add_argument("--max-seconds", type=float, default=LIMITS.max_seconds, help="how long a download may take")
    parser.add_argument("--max-bytes", type=int, default=LIMITS.max_bytes, help="how large the source may be, unpacked")
    parser.add_argument("--redirects", choices=["safe", "any"], default=LIMITS.redirects, help="which to follow")
    parser.add_argument(
        "--on-unreachable", choices=["use_last", "stop"], default="use_last", help="with a good file there"
    )
    parser.add_argument("--query", help="the SQL statement whose rows to read, where the source is a database")


def limits_of(args: argparse.Namespace) -> Limits:
    """Return what reading the source may take, by the options."""
    return Limits(args.timeout_s, args.max_seconds, args.max_bytes, args.redirects)


if __name__ == "__main__":
    main()
