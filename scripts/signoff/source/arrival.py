"""The parts of a source arrive one by one: they are fetched, unpacked, checked, and get the columns of the first."""

import contextlib
import datetime
import errno
import hashlib
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from signoff.base.config import ReaderConfig
from signoff.base.errors import TaskError
from signoff.base.files import only_file, replacing, sha256
from signoff.base.limits import limited
from signoff.source import disk
from signoff.source.address import shown
from signoff.source.checks import Goal, check_columns, check_rows
from signoff.source.fetch import as_text, fetch, joint_version
from signoff.source.last_ingest import IngestRecord, Version
from signoff.source.options import READER
from signoff.source.unpacking import name_columns, unpack
from signoff.tables.csv_file import csv_rows, header, write_rows


class Arrived(NamedTuple):
    """A part of the source as it was when it was read: its version, also as text, its SHA-256, columns and rows."""

    version: Version
    text: str
    sha256: str
    columns: list[str]
    rows: int


def arrive(
    part: str,
    reader: ReaderConfig,
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
        As for `fetch`, and what errors call the part.
    target
        The column to predict, whose values are added to `goal`; without it, only the table is checked.
    columns
        Those of the first part; [] for the first part itself.
    download
        Where the bytes of a remote part go.

    Raises
    ------
    TaskError, Unreachable
        It cannot be fetched, is damaged, or is not a table of these columns that a model can learn from.
    """
    arrived, version = fetch(part, download, reader)
    # What a database gives was written by this workflow.
    reader = replace(READER, missing=reader.missing, sheet=reader.sheet) if reader.query else reader
    with ThreadPoolExecutor(1) as beside:
        hashed = beside.submit(sha256, arrived)
        unpack(arrived, table, name, reader)
    digest = hashed.result()
    name_columns(table, name)
    check_columns(table, name, target, reader.delimiter)
    columns = columns or header(table)
    _same_columns(table, name, columns)
    rows = check_rows(table, name, target, goal)
    on_disk = arrived != download
    if on_disk and version != disk.version(arrived):
        raise TaskError(f"{part} was changed while it was read. Run again when its writer is done.")
    text = as_text(version) if version and not on_disk else f"sha256:{digest}"
    return Arrived(version, text, digest, columns, rows)


def _same_columns(piece: Path, name: str, columns: list[str]) -> None:
    """Sort a part's columns as the first part's. Raises TaskError if they are not the same."""
    own = header(piece)
    if own == columns:
        return
    if set(own) != set(columns):
        differ = [f"lacks {each}" for each in columns if each not in own]
        differ += [f"also has {each}" for each in own if each not in columns]
        raise TaskError(f"{name} {', '.join(differ)}: the first part has {', '.join(columns)}. All need the same.")
    order = [own.index(each) for each in columns]
    with (
        replacing(piece) as sorted_piece,
        open(piece, encoding="utf-8-sig", newline="", opener=only_file) as old,
        open(sorted_piece, "w", encoding="utf-8", newline="") as new,
    ):
        # A row of another length stays as it is: the check of rows reports it.
        rows = ([row[n] for n in order] if len(row) == len(own) else row for _, row in csv_rows(old, name) if row)
        write_rows(new, rows)


def record_of(
    source: str, reader: ReaderConfig, parts: dict[str, Arrived], made: tuple[int, str, int], last: IngestRecord | None
) -> IngestRecord:
    """Return the record of an ingest: of the source, and of what was `made` of it (rows, SHA-256, bytes).

    The time is that of `last`, the record before, if the source gave the same then.
    """
    records, digest, size = made
    digests = [each.sha256 for each in parts.values()]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {
        "source": shown(source),
        "query": reader.query,
        "source_version": joint_version({name: each.text for name, each in parts.items()}),
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
    """Let no file grow beyond `max_bytes` within the block, neither a download nor what it unpacks to.

    Raises
    ------
    TaskError
        A file would have grown more.
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
