"""Ingestion: the source is copied to a CSV file, whole and checked."""

import csv
import io
import logging
import shutil
from pathlib import Path
from typing import cast

from signoff.base.config import ReaderConfig
from signoff.base.files import beside, only_file, replacing, sha256, write_json
from signoff.source.address import Unreachable, expand, shown
from signoff.source.arrival import Arrived, arrive, at_most, record_of
from signoff.source.checks import Goal, check_enough, check_target
from signoff.source.fetch import label, parts_of_source
from signoff.source.last_ingest import IngestRecord, go_on, read_record
from signoff.source.options import READER


def ingest_data(source: str, output: Path, target: str | None = None, reader: ReaderConfig = READER) -> IngestRecord:
    """Bring `source` to `output`, and return its record.

    Parameters
    ----------
    source
        Path, folder, pattern or URL.
    output
        Where the table goes, as UTF-8 CSV with commas; its record goes beside it with the suffix .json.
    target
        The column to predict; without it, only the table as such is checked.
    reader
        How the source is written, what reading it may take, and what to do if it cannot be reached.

    Raises
    ------
    TaskError
        The source is missing, incomplete, too large, too slow, or no table that a model of `target` can learn from.
    Unreachable
        It cannot be reached, three times, and there is nothing to go on with.
    """
    last = read_record(source, reader.query, output.with_suffix(".json"))
    try:
        with replacing(output) as table, at_most(reader.max_bytes, source):
            found = _collect(source, reader, target, table)
            digest = sha256(table)
    except Unreachable as error:
        logging.warning("[ingest_data] %s", go_on(error, last, output, reader))
        # `go_on` raises if there is none.
        return cast(IngestRecord, last)
    records = sum(each.rows for each in found.values())
    record = record_of(source, reader, found, (records, digest, output.stat().st_size), last)
    write_json(output.with_suffix(".json"), record)
    return record


def _collect(source: str, reader: ReaderConfig, target: str | None, table: Path) -> dict[str, Arrived]:
    """Write all parts of `source` to `table`, one below the other, and return what is known of each, by its label.

    Raises what `ingest_data` does.
    """
    goal = Goal()
    columns: list[str] = []
    arrived: dict[str, Arrived] = {}
    found = parts_of_source(expand(source), reader)
    with beside(table.with_suffix(".source")) as download, beside(table.with_suffix(".piece")) as piece:
        for part in found:
            name = shown(source) if len(found) == 1 else label(part)
            arrived[label(part)] = arrive(part, reader, name, target, columns, goal, download, piece)
            columns = arrived[label(part)].columns
            _append(piece, table)
    if target is not None:
        check_enough(sum(each.rows for each in arrived.values()), shown(source))
        check_target(goal, f"{shown(source)}: the target {target!r}")
    return arrived


def _append(piece: Path, table: Path) -> None:
    """Add the rows of a CSV file to `table`; the first one becomes it, header and all."""
    if not table.exists():
        piece.replace(table)
        return
    with (
        open(piece, encoding="utf-8-sig", newline="", opener=only_file) as old,
        open(table, "r+", encoding="utf-8", newline="", opener=only_file) as new,
    ):
        next(csv.reader(old))
        end = new.seek(0, io.SEEK_END)
        with open(table, "rb", opener=only_file) as written:
            written.seek(end - 1)
            if written.read(1) not in b"\r\n":
                new.write("\n")
        shutil.copyfileobj(old, new, 1 << 20)
