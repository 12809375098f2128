"""Bring the parts of a source here, one by one: fetched, unpacked, checked, with the columns of the first."""

import contextlib
import datetime
import errno
import hashlib
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from signoff.base.errors import TaskError
from signoff.base.files import replacing, sha256
from signoff.base.limits import limited
from signoff.source import disk
from signoff.source.address import shown
from signoff.source.checks import Goal, check_columns, check_rows
from signoff.source.fetch import as_text, fetch, together
from signoff.source.options import READER, Reader
from signoff.source.unpacking import name_columns, unpack
from signoff.tables.csv_file import csv_rows, header, write_rows


class Arrived(NamedTuple):
    """A part of the source, as it was when it was read: its version, that as text, its digest, columns and rows."""

    version: dict
    text: str
    sha256: str
    columns: list[str]
    rows: int


def arrive(
    part: str,
    reader: Reader,
    name: str,
    target: str | None,
    columns: list[str],
    goal: Goal,
    download: Path,
    table: Path,
) -> Arrived:
    """Bring a part of the source to `table`, as UTF-8 CSV with commas.

    Parameters
    ----------
    part, reader, name
        As for `source.fetch`, and what errors call it.
    target
        The column to predict, of which `goal` gets to know; without it, only the table as such is checked.
    columns
        Those of the first part; [] of the first.
    download
        Where the bytes of a remote part go.

    Raises
    ------
    TaskError, Unreachable
        It cannot be had, is damaged, or no table of these columns that a model can learn from.
    """
    arrived, version = fetch(part, download, reader)
    # What a database gives is written by us.
    reader = READER._replace(missing=reader.missing, sheet=reader.sheet) if reader.query else reader
    with ThreadPoolExecutor(1) as beside:
        hashed = beside.submit(sha256, arrived)
        unpack(arrived, table, name, reader)
    digest = hashed.result()
    name_columns(table, name)
    check_columns(table, name, target, reader.delimiter)
    columns = columns or header(table)
    same_columns(table, name, columns)
    rows = check_rows(table, name, target, goal)
    on_disk = arrived != download
    if on_disk and version != disk.version(arrived):
        raise TaskError(f"{part} was changed while it was read. Run again when its writer is done.")
    text = as_text(version) if version and not on_disk else f"sha256:{digest}"
    return Arrived(version, text, digest, columns, rows)


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


def record_of(
    source: str, reader: Reader, parts: dict[str, Arrived], records: int, digest: str, size: int, last: dict | None
) -> dict:
    """Return what is written down of an ingest: of the source, and of what was made of it (digest, bytes).

    The time is that of `last`, the record before, where the same was made of the source then.
    """
    digests = [each.sha256 for each in parts.values()]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {
        "source": shown(source),
        "query": reader.query,
        "source_version": together({name: each.text for name, each in parts.items()}),
        "version": {name: each.version for name, each in parts.items()},
        "source_sha256": digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest(),
        "records": records,
        "columns": next(iter(parts.values())).columns,
        "sha256": digest,
        "bytes": size,
        "ingested_at": last["ingested_at"] if last and last["sha256"] == digest else now,
    }


@contextlib.contextmanager
def at_most(max_bytes: int, source: str) -> Iterator[None]:
    """Let no file grow beyond `max_bytes` within the block: not a download, nor what a few bytes of it unpack to.

    Raises
    ------
    TaskError
        One would have.
    """
    limit = max_bytes
    try:
        with limited(resource.RLIMIT_FSIZE, max_bytes) as limit:
            yield
    except OSError as error:
        if error.errno != errno.EFBIG or limit < max_bytes:
            raise
        raise TaskError(
            f"{shown(source)} is larger than {max_bytes:,} bytes, as it is or unpacked. Correct raw_data_source_url in "
            "the config, or allow more with reader.max_bytes."
        ) from error
