"""Splits a source: the rows of each part (a week, a month or a value of a column) go to separate files."""

import functools
import hashlib
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from signoff.base.config import ReaderConfig
from signoff.base.errors import TaskError, nearest
from signoff.base.files import beside, only_file, sha256
from signoff.source.address import expand, shown
from signoff.source.arrival import Arrived, arrive, at_most, record_of
from signoff.source.checks import Goal, check_enough, check_target
from signoff.source.fetch import label, part_version, parts_of_source, state_of_part
from signoff.source.last_ingest import FileRecord, SplitRecord, TableRecord, read_record
from signoff.source.names import piece_name
from signoff.source.options import READER
from signoff.source.pieces import (
    PERIOD_FORMATS,
    RowsToSplit,
    copy_rows,
    format_of_dates,
    intact,
    is_pooled,
    split_table,
    summed,
    whole,
)
from signoff.tables.csv_file import parse_options


@dataclass(frozen=True)
class SplitSource:
    """How a source is split.

    Attributes
    ----------
    pieces
        The folder that gets a folder for each part, and first_rows.csv.
    by, column
        "week" (ISO 8601, from Monday) or "month" of the dates in `column`, in UTC; or "value", of any column.
    date_format
        How the dates are written, if the data contract says it. Otherwise the first rows decide.
    pool
        The column that makes the pooled parts, each of which holds the rows of several others; empty for one with all
        rows, None for none.
    min_rows
        A part with fewer rows gets no model of its own: a pooled one answers.
    first_rows
        How many rows first_rows.csv gets, at most.
    """

    pieces: Path
    by: str
    column: str
    date_format: str | None = None
    pool: str | None = None
    min_rows: int = 0
    first_rows: int = 500_000

    @property
    def recorded(self) -> dict[str, str]:
        """What the record says of it. If it changes, all is split again."""
        found = {"by": self.by, "column": self.column}
        found |= {"date_format": self.date_format} if self.date_format else {}
        return found | ({} if self.pool is None else {"pool": self.pool})


def split_source(
    source: str, output: Path, split: SplitSource, target: str | None = None, reader: ReaderConfig = READER
) -> SplitRecord:
    """Split `source`, and return its record.

    A piece whose rows are the same as before is left as it is. A file of the source that has not changed is not read
    again, and of one that has only grown just the new rows are split.

    Parameters
    ----------
    source, target, reader
        As for `ingest_data`.
    output
        The record of the last time, if it exists.
    split
        What makes a part, and where the parts go.

    Raises
    ------
    TaskError, Unreachable
        As `ingest_data`; or the column does not exist, or `split` needs dates and the column holds none.
    """
    last = cast(SplitRecord | None, read_record(source, reader.query, output))
    if last and (last.get("split") != split.recorded or not split.pieces.is_dir()):
        last = None
    run = _Run(split, target, reader, last)
    found = parts_of_source(expand(source), reader)
    with (
        beside(run.fresh / "download") as download,
        beside(run.fresh / "table") as table,
        beside(run.first) as head,
        at_most(reader.max_bytes, source),
    ):
        for part in found:
            run.take(part, download, table, head)
        check_enough(sum(each["records"] for each in run.files.values()), shown(source))
        if target is not None and run.read == len(found):
            check_target(run.goal, f"{shown(source)}: the target {target!r}")
        # From here on nothing can be wrong with the source.
        if run.deciding:
            head.replace(run.first)
    _replace_pieces(run.fresh, split.pieces, run.files)
    plan = summed(split.pieces, run.files)
    total = hashlib.sha256("".join(f"{name} {each['sha256']}\n" for name, each in plan.items()).encode()).hexdigest()
    # A pooled part holds rows that are counted already.
    size = sum(path.stat().st_size for path in split.pieces.glob("*/*.csv") if not is_pooled(path.parent.name))
    own = {name: each["rows"] for name, each in plan.items() if not is_pooled(name)}
    few = [name for name, rows in own.items() if rows < split.min_rows]
    return {
        **record_of(source, reader, run.arrived, (sum(own.values()), total, size), last),
        "split": split.recorded,
        "files": run.files,
        "parts": plan,
        "without_model": few,
    }


class _Run:
    """What is known of the source's files while they are split, one after the other."""

    def __init__(self, split: SplitSource, target: str | None, reader: ReaderConfig, last: SplitRecord | None) -> None:
        self.split, self.target, self.reader, self.last = split, target, reader, last
        self.fresh, self.first = split.pieces / ".new", split.pieces / "first_rows.csv"
        shutil.rmtree(self.fresh, ignore_errors=True)
        self.fresh.mkdir(parents=True)
        if last is None:
            self.first.unlink(missing_ok=True)
        self.deciding, self.chosen, self.read = not self.first.is_file(), 0, 0
        self.date_format = split.date_format
        self.goal = Goal()
        self.columns: list[str] = last["columns"] if last else []
        self.files: dict[str, FileRecord] = {}
        self.arrived: dict[str, Arrived] = {}

    @functools.cached_property
    def as_recorded(self) -> bool:
        """Whether all pieces are those of the record. It reads them all, so only a file that has grown asks."""
        return self.last is not None and intact(self.split.pieces, self.last)

    def take(self, part: str, download: Path, table: Path, head: Path) -> None:
        """Split one file of the source, unless it is as it was; `head` gets its first rows."""
        name, known = label(part), None
        identity = piece_name(name)
        if self.last is not None:
            known = self.last["files"].get(name)
            known = known if known and known["id"] == identity and whole(self.split.pieces, known) else None
            if known and self._is_same(part, name, known):
                version = self.last["version"][name]
                self.files[name] = known
                text, digest = known["version"], known["sha256"]
                self.arrived[name] = Arrived(version, text, digest, self.columns, known["records"])
                return
        new = arrive(part, self.reader, name, self.target, self.columns, self.goal, download, table)
        self.arrived[name], self.columns, self.read = new, new.columns, self.read + 1
        column = self.split.column
        for each, key in ((column, "data.partition_by"), (self.split.pool, "models.pool")):
            if each and each not in new.columns:
                raise TaskError(f"{key}: {name} has no column {each!r}: {nearest(each, new.columns)}")
        self._decide(table, head)
        # Records of older versions do not describe the table.
        state, start = _grown(table, known.get("table") if known else None)
        start = start if start and self.as_recorded else 0
        counts = Counter(known["parts"] if known and start else {})
        if start < state["bytes"]:
            rows = RowsToSplit(table, column, self.split.by, self.date_format, start, self.split.pool)
            counts.update(split_table(rows, self.fresh, identity, before=self.split.pieces))
        self.files[name] = {
            "id": identity,
            "version": new.text,
            "sha256": new.sha256,
            "records": new.rows,
            "table": state,
            "parts": dict(sorted(counts.items())),
        }

    def _is_same(self, part: str, name: str, known: FileRecord) -> bool:
        """Return whether a file of the source is in the version that its record names."""
        assert self.last is not None
        state = state_of_part(part, self.reader)
        if state:
            return state == self.last["version"][name]
        return part_version(part, self.reader) == known["version"]

    def _decide(self, table: Path, head: Path) -> None:
        """Keep the first rows of all, once, and find out from them how the dates are written."""
        if self.deciding and self.chosen < self.split.first_rows:
            self.chosen += copy_rows(table, head, self.split.first_rows - self.chosen)
        if self.split.by in PERIOD_FORMATS and self.date_format is None:
            self.date_format = format_of_dates(head if self.deciding else self.first, self.split.column, self.split.by)


def _replace_pieces(fresh: Path, pieces: Path, files: dict[str, FileRecord]) -> None:
    """Replace the pieces that differ from new ones, and delete those that no file of the source has any more."""
    for path in sorted(fresh.glob("*/*.csv")):
        old = pieces / path.relative_to(fresh)
        if not (old.is_file() and sha256(old) == sha256(path)):
            old.parent.mkdir(exist_ok=True)
            path.replace(old)
    shutil.rmtree(fresh)
    expected = {pieces / part / file["id"] for file in files.values() for part in file["parts"]}
    for path in set(pieces.glob("*/*.csv")) - expected:
        path.unlink()
    for folder in [each for each in pieces.iterdir() if each.is_dir() and not any(each.iterdir())]:
        folder.rmdir()


def _grown(table: Path, before: TableRecord | None) -> tuple[TableRecord, int]:
    """Return what identifies a table later, and from which byte on its rows are new.

    All rows are new (0) if the table does not begin with the rows that `before` describes, or has quotes and had none.
    """
    start = min(before["bytes"] if before else 0, table.stat().st_size)
    size, quoted = table.stat().st_size, parse_options(table).newlines_in_values
    digest, found = hashlib.sha256(), []
    with open(table, "rb", opener=only_file) as file:
        for end in (start, size):
            while left := end - file.tell():
                digest.update(file.read(min(left, 1 << 20)))
            found.append(digest.hexdigest())
        file.seek(-1, os.SEEK_END)
        ended = file.read() == b"\n"
    as_before = before == {"bytes": start, "sha256": found[0], "quoted": quoted, "ended": True}
    return {"bytes": size, "sha256": found[1], "quoted": quoted, "ended": ended}, start if as_before else 0
