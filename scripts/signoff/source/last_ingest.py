"""What the last ingest wrote down, and going on with it where the source cannot be reached."""

import datetime
import json
from pathlib import Path

from signoff.base.errors import TaskError
from signoff.base.redaction import redact
from signoff.source.address import Cut, Unreachable, shown
from signoff.source.options import Reader

# What tells in a log that the last data were used.
GOING_ON = "going on with"


def read_record(source: str, query: str | None, record: Path) -> dict | None:
    """Return what the last ingest wrote down, or None where there is none, or one of another source."""
    try:
        last = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(last, dict):
        return None
    same = (last.get("source"), last.get("query")) == (shown(source), query) and "source_version" in last
    return last if same else None


def age(record: dict) -> str:
    """Return how long ago a record's data were ingested, in words."""
    then = datetime.datetime.fromisoformat(record["ingested_at"])
    hours = (datetime.datetime.now(datetime.UTC) - then).total_seconds() / 3600
    if hours < 1:
        return f"{max(hours, 0) * 60:.0f} minutes"
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def use_last(error: Exception, record: dict, data: Path) -> str:
    """Return the one line that a run says when it goes on with the last good file."""
    return redact(f"{error}; {GOING_ON} {data}, ingested {age(record)} ago ({record['ingested_at']})")


def go_on(error: Unreachable, last: dict | None, data: Path, reader: Reader) -> str:
    """Return the line that a run says when it goes on with the data of the last ingest.

    Raises
    ------
    TaskError
        It must not: there is nothing of this source, `reader` says so, or the answer was cut.
    """
    if not last or not data.exists() or reader.on_unreachable != "use_last" or isinstance(error, Cut):
        raise TaskError(f"{error}. Check the network and raw_data_source_url, or try later.") from error
    return use_last(error, last, data)
