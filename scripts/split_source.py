"""Give each part of the source (a week, a month, or a value of a column) its rows in files of their own.

    python scripts/split_source.py --input SOURCE --output data/raw/raw_data.json --by week --column time_hour

A part's rows become PIECES/PART/FILE.csv, one for each file of the source that has any of them. A piece whose rows are
the same as before is left as it is, a file of the source that is as it was is not read again, and of one that has only
grown the new rows alone are split: what was made of the others need not be made again. The source is streamed in
bounded memory. Its first rows go to PIECES/first_rows.csv once, and stay: by them it is decided what the columns are,
and which become features, in all parts alike.
"""

import functools
import hashlib
import logging
import shutil
from collections import Counter
from pathlib import Path

from signoff.base import command_line
from signoff.base.errors import TaskError, nearest
from signoff.base.files import beside, sha256, write_json
from signoff.source.address import Unreachable, expand, shown
from signoff.source.arrival import Arrived, arrive, at_most, record_of
from signoff.source.checks import Goal, check_enough, check_target
from signoff.source.fetch import label, parts
from signoff.source.last_ingest import go_on, read_record
from signoff.source.options import READER, Reader, reader_arguments, reader_of
from signoff.source.pieces import PERIODS, copy_rows, format_of_dates, piece_name, split_table
from signoff.source.unchanged import grown, intact, same, summed, whole

FIRST_ROWS = 500_000


def split_source(
    source: str,
    output: Path,
    pieces: Path,
    by: str,
    column: str,
    target: str | None = None,
    reader: Reader = READER,
    first_rows: int = FIRST_ROWS,
    date_format: str | None = None,
) -> dict:
    """Split `source`, and return its record.

    Parameters
    ----------
    source, target, reader
        As for `ingest_data`.
    output
        The record of the last time, where there is one; what it tells of is not read again.
    pieces
        The folder that gets a folder for each part, and first_rows.csv.
    by, column
        "week" (ISO 8601, from Monday) or "month" of the dates in `column`, in UTC; or "value", of any column.
    first_rows
        How many rows first_rows.csv gets, at most.
    date_format
        How the dates are written, where the data contract says it; else the first rows decide.

    Returns
    -------
    dict
        What `ingest_data` records of a source, and: split (by, column), files (by label: id, version, sha256, records,
        table, parts), and parts (by name, sorted: rows, pieces, sha256).

    Raises
    ------
    TaskError, Unreachable
        As `ingest_data`; and there is no such column, or `by` needs dates and it holds none.
    """
    how = {"by": by, "column": column} | ({"date_format": date_format} if date_format else {})
    last = read_record(source, reader.query, output)
    last = last if last and last.get("split") == how and pieces.is_dir() else None
    fresh, first = pieces / ".new", pieces / "first_rows.csv"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    if last is None:
        first.unlink(missing_ok=True)
    # Once, and only where a file has grown: it reads all pieces.
    as_recorded = functools.cache(lambda: intact(pieces, last))
    goal, columns, files = Goal(), last["columns"] if last else [], {}
    arrived: dict[str, Arrived] = {}
    deciding, chosen, read = not first.is_file(), 0, 0
    found = parts(expand(source), reader)
    with (
        beside(fresh / "download") as download,
        beside(fresh / "table") as table,
        beside(first) as head,
        at_most(reader.max_bytes, source),
    ):
        for part in found:
            name = label(part)
            known = last["files"].get(name) if last else None
            identity = piece_name(name)
            known = known if known and known["id"] == identity and whole(pieces, known) else None
            if known and same(part, reader, last["version"][name], known["version"]):
                files[name], version = known, last["version"][name]
                arrived[name] = Arrived(version, known["version"], known["sha256"], columns, known["records"])
                continue
            new = arrived[name] = arrive(part, reader, name, target, columns, goal, download, table)
            columns, read = new.columns, read + 1
            if column not in columns:
                raise TaskError(f"data.partition_by: {name} has no column {column!r}: {nearest(column, columns)}")
            if deciding and chosen < first_rows:
                chosen += copy_rows(table, head, first_rows - chosen)
            if by in PERIODS and date_format is None:
                date_format = format_of_dates(head if deciding else first, column, by)
            files[name] = {"id": identity, "version": new.text, "sha256": new.sha256, "records": new.rows}
            # A record of before there was such a thing tells no table.
            files[name]["table"], start = grown(table, known.get("table") if known else None)
            start = start if start and as_recorded() else 0
            counts = Counter(known["parts"] if start else {})
            if start < files[name]["table"]["bytes"]:
                counts.update(split_table(table, fresh, identity, column, by, date_format, start=start, before=pieces))
            files[name]["parts"] = dict(sorted(counts.items()))
        check_enough(sum(each["records"] for each in files.values()), shown(source))
        if target is not None and read == len(found):
            check_target(goal, f"{shown(source)}: the target {target!r}")
        # From here on nothing can be wrong with the source.
        if deciding:
            head.replace(first)
    move(fresh, pieces, files)
    plan = summed(pieces, files)
    total = hashlib.sha256("".join(f"{name} {each['sha256']}\n" for name, each in plan.items()).encode()).hexdigest()
    size = sum(path.stat().st_size for path in pieces.glob("*/*.csv"))
    records = sum(each["rows"] for each in plan.values())
    record = record_of(source, reader, arrived, records, total, size, last)
    return {**record, "split": how, "files": files, "parts": plan}


def move(fresh: Path, pieces: Path, files: dict[str, dict]) -> None:
    """Put new pieces in the place of those that are different, and delete those that are of no file any more."""
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


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, metavar="SOURCE", help="path, folder, pattern or URL")
    parser.add_argument("--output", required=True, type=Path, help="the JSON record to write")
    parser.add_argument("--pieces", type=Path, default=Path("data/source"), help="the folder of the parts' rows")
    parser.add_argument("--by", choices=[*PERIODS, "value"], required=True, help="what of the column makes a part")
    parser.add_argument("--column", required=True, help="the column that tells the part")
    parser.add_argument("--target", help="the column to predict: checked to be there, and a number")
    parser.add_argument("--date-format", help="how the dates are written; else the first rows decide")
    reader_arguments(parser)
    args = parser.parse_args(argv)
    with command_line.logged("split_source", args, shown(args.input)):
        reader = reader_of(args)
        before = (read_record(args.input, reader.query, args.output) or {}).get("parts", {})
        try:
            record = split_source(
                *(args.input, args.output, args.pieces, args.by, args.column, args.target, reader),
                date_format=args.date_format,
            )
        except Unreachable as error:
            record = read_record(args.input, reader.query, args.output)
            of_parts = record if record and "parts" in record else None
            logging.warning("[split_source] %s", go_on(error, of_parts, args.pieces, reader))
        write_json(args.output, record)
        changed = [
            name for name, part in record["parts"].items() if before.get(name, {}).get("sha256") != part["sha256"]
        ]
        logging.info(
            "[split_source] completed. Records: %d, parts: %d, new or changed: %d (%s), source: %s",
            *(
                record["records"],
                len(record["parts"]),
                len(changed),
                ", ".join(changed[:5]) or "none",
                record["source"],
            ),
        )
        logging.info("[split_source] wrote the record to %s", args.output)


if __name__ == "__main__":
    main()
