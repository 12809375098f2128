"""What an ingest records of the source, and going on with the last one if the source cannot be reached."""

import datetime
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from signoff.base.config import ReaderConfig
from signoff.base.errors import TaskError
from signoff.base.files import any_json, read_bytes
from signoff.base.numbers import counted
from signoff.base.redaction import redact
from signoff.source.address import Cut, Unreachable, shown

# The state of a part of the source: times, inode and size of a file, an ETag, a digest of rows.
Version = dict[str, str | int]


class IngestRecord(TypedDict):
    """What is recorded of an ingest: of the source, and of what was made of it (sha256, bytes)."""

    source: str
    query: str | None
    # One text for all parts, and the version of each part by its label.
    source_version: str
    version: dict[str, Version]
    source_sha256: str
    records: int
    columns: list[str]
    sha256: str
    bytes: int
    # ISO 8601, in UTC.
    ingested_at: str


class TableRecord(TypedDict):
    """What identifies a CSV file later, and whether it has quotes and ends with a line break."""

    bytes: int
    sha256: str
    quoted: bool
    ended: bool


class FileRecord(TypedDict):
    """What is recorded of a file of a source that was split: `id` names its pieces, `parts` counts the rows of each."""

    id: str
    version: str
    sha256: str
    records: int
    # Older versions of the workflow wrote none.
    table: NotRequired[TableRecord]
    parts: dict[str, int]


class PartRecord(TypedDict):
    """What is recorded of a part: its rows, its pieces, and the SHA-256 of their digests."""

    rows: int
    pieces: list[str]
    sha256: str


class SplitRecord(IngestRecord):
    """What is recorded of a source that was split."""

    split: dict[str, str]
    files: dict[str, FileRecord]
    parts: dict[str, PartRecord]
    # Values with too few rows for a model of their own, with a pooled model.
    without_model: NotRequired[list[str]]


def parts_with_model(record: SplitRecord) -> dict[str, PartRecord]:
    """Return the parts that get a model each: all, or with a pooled model those with enough rows, and the pooled."""
    without = set(record.get("without_model", []))
    return {name: part for name, part in record["parts"].items() if name not in without}


# By this a log says that the last data were used.
GOING_ON = "going on with"


def read_record(source: str, query: str | None, record: Path) -> IngestRecord | None:
    """Return the record of the last ingest; None if there is none, or it is of another source."""
    try:
        last = any_json(read_bytes(record))
    except (OSError, ValueError):
        return None
    if not isinstance(last, dict):
        return None
    same = (last.get("source"), last.get("query")) == (shown(source), query) and "source_version" in last
    return cast(IngestRecord, last) if same else None


def age(at: str) -> str:
    """Return how long ago a time (ISO 8601) was, in words."""
    then = datetime.datetime.fromisoformat(at)
    hours = (datetime.datetime.now(datetime.UTC) - then).total_seconds() / 3600
    if hours < 1:
        return counted(round(max(hours, 0) * 60), "minute")
    return counted(round(hours), "hour") if hours < 48 else counted(round(hours / 24), "day")


def use_last(error: Exception, record: IngestRecord, data: Path) -> str:
    """Return the line with which a run says that it goes on with the last good file."""
    return redact(f"{error}; {GOING_ON} {data}, ingested {age(record['ingested_at'])} ago ({record['ingested_at']})")


def go_on(error: Unreachable, last: IngestRecord | None, data: Path, reader: ReaderConfig) -> str:
    """Return the line with which a run says that it goes on with the data of the last ingest.

    Raises
    ------
    TaskError
        It must not: this source has no data yet, `reader` forbids it, or the answer was cut.
    """
    if not last or not data.exists() or reader.on_unreachable != "use_last" or isinstance(error, Cut):
        raise TaskError(f"{error}. Check the network and raw_data_source_url, or try later.") from error
    return use_last(error, last, data)
