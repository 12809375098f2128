"""Give each part of the source (a week, a month, or a value of a column) its rows in files of their own.

    python scripts/split_source.py --input SOURCE --output data/raw/raw_data.json --by week --column time_hour

A part's rows become PIECES/PART/FILE.csv, one for each file of the source that has any of them. A piece whose rows are
the same as before is left as it is, and a file of the source that is as it was is not read again: what was made of
them need not be made again. The source is streamed in bounded memory. Its first rows go to PIECES/first_rows.csv once,
and stay: by them it is decided what the columns are, and which become features, in all parts alike.
"""

import datetime
import hashlib
import logging
import re
import shutil
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

import task
from address import LIMITS, Limits, Unreachable, expand, shown
from csv_file import header, parse_options, text_options
from dates import dates_of
from ingest_data import (
    at_most,
    check_columns,
    check_enough,
    check_rows,
    check_target,
    limits_of,
    name_columns,
    reader_arguments,
    same_columns,
    unpack,
)
from source import as_text, disk_version, fetch, kind, label, part_version, parts, read_record, together, use_last
from table import parse_table
from task import TaskError, beside, nearest, read_json, sha256, write_json
from values import is_blank

PERIODS = {"week": "%G-W%V", "month": "%Y-%m"}
FIRST_ROWS = 500_000
# Rows that have no time, or no value in the column.
NO_PART = "missing"
BLOCK_BYTES = 16 << 20
LONGEST_NAME = 100


def split_source(
    source: str,
    output: Path,
    pieces: Path,
    by: str,
    column: str,
    target: str | None = None,
    reader: tuple[str, str, str] = (",", "utf-8", "."),
    query: str | None = None,
    limits: Limits = LIMITS,
    first_rows: int = FIRST_ROWS,
) -> dict:
    """Split `source`, and return its record.

    Parameters
    ----------
    source, target, query, limits
        As for `ingest_data`.
    output
        The record of the last time, where there is one; what it tells of is not read again.
    pieces
        The folder that gets a folder for each part, and first_rows.csv.
    by, column
        "week" (ISO 8601, from Monday) or "month" of the dates in `column`, in UTC; or "value", of any column.
    reader
        The delimiter, the encoding and the decimal mark of the source's text.
    first_rows
        How many rows first_rows.csv gets, at most.

    Returns
    -------
    dict
        What `ingest_data` records of a source, and: split (by, column), files (by label: id, version, sha256, records,
        parts), and parts (by name, sorted: rows, pieces, sha256).

    Raises
    ------
    TaskError, Unreachable
        As `ingest_data`; and there is no such column, or `by` needs dates and it holds none.
    """
    how = {"by": by, "column": column}
    last = read_record(source, query, output)
    last = last if last and last.get("split") == how and pieces.is_dir() else None
    fresh, first = pieces / ".new", pieces / "first_rows.csv"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    if last is None:
        first.unlink(missing_ok=True)
    goal = {"values": 0, "numbers": 0, "min": float("inf"), "max": float("-inf"), "word": None}
    files, versions, texts, columns = {}, {}, {}, last["columns"] if last else []
    deciding, chosen, date_format, read = not first.is_file(), 0, None, 0
    found = parts(expand(source), query, limits)
    with (
        beside(fresh / "download") as download,
        beside(fresh / "table") as table,
        beside(first) as head,
        at_most(limits.max_bytes, source),
    ):
        for part in found:
            name, on_disk = label(part), kind(part, query) == "disk"
            known = last["files"].get(name) if last else None
            if known and whole(pieces, known):
                version = disk_version(Path(part)) if on_disk else part_version(part, query, limits)
                if version == (last["version"][name] if on_disk else known["version"]):
                    files[name], versions[name], texts[name] = known, last["version"][name], known["version"]
                    continue
            arrived, version = fetch(part, query, download, limits)
            digest, read = sha256(arrived), read + 1
            unpack(arrived, table, name, *reader)
            name_columns(table, name)
            check_columns(table, name, target, reader[0])
            columns = columns or header(table)
            same_columns(table, name, columns)
            if column not in columns:
                raise TaskError(f"data.partition_by: {name} has no column {column!r}: {nearest(column, columns)}")
            rows = check_rows(table, name, target, goal)
            if deciding and chosen < first_rows:
                chosen += copy_rows(table, head, first_rows - chosen)
            if by in PERIODS and date_format is None:
                date_format = format_of_dates(head if deciding else first, column, by)
            identity = f"{quote(name, safe='')[-LONGEST_NAME:]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.csv"
            counts = split_table(table, fresh, identity, column, by, date_format)
            if on_disk and version != disk_version(arrived):
                raise TaskError(f"{part} was changed while it was read. Run again when its writer is done.")
            versions[name] = version
            texts[name] = as_text(version) if version and not on_disk else "sha256:" + digest
            files[name] = {"id": identity, "version": texts[name], "sha256": digest, "records": rows, "parts": counts}
        check_enough(sum(each["records"] for each in files.values()), shown(source))
        if target is not None and read == len(found):
            check_target(goal, f"{shown(source)}: the target {target!r}")
        # From here on nothing can be wrong with the source.
        if deciding:
            head.replace(first)
    move(fresh, pieces, files)
    digests = [each["sha256"] for each in files.values()]
    plan = summed(pieces, files)
    total = hashlib.sha256("".join(f"{name} {each['sha256']}\n" for name, each in plan.items()).encode()).hexdigest()
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {
        "source": shown(source),
        "query": query,
        "source_version": together(texts),
        "version": versions,
        "source_sha256": digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest(),
        "records": sum(each["rows"] for each in plan.values()),
        "columns": columns,
        "sha256": total,
        "bytes": sum(path.stat().st_size for path in pieces.glob("*/*.csv")),
        "ingested_at": last["ingested_at"] if last and last["sha256"] == total else now,
        "split": how,
        "files": files,
        "parts": plan,
    }


def whole(pieces: Path, file: dict) -> bool:
    """Tell whether all pieces of a file of the source are there."""
    return all((pieces / part / file["id"]).is_file() for part in file["parts"])


def blocks(table: Path, columns: list[str], block_bytes: int = BLOCK_BYTES):
    """Return what reads a CSV file block by block, as text: every cell as it is."""
    return pyarrow.csv.open_csv(
        table,
        read_options=pyarrow.csv.ReadOptions(block_size=block_bytes),
        parse_options=parse_options(table),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()), include_columns=columns, strings_can_be_null=False
        ),
    )


def writing(table: Path, header: bool) -> pyarrow.csv.WriteOptions:
    """Return how pieces of `table` are written: with quotes if it has any, whatever a single piece holds.

    So the bytes of a piece do not depend on where the blocks of the source end.
    """
    style = "needed" if parse_options(table).newlines_in_values else "none"
    return pyarrow.csv.WriteOptions(include_header=header, quoting_style=style, quoting_header=style)


def copy_rows(table: Path, head: Path, rows: int) -> int:
    """Add the first rows of a CSV file to `head`, so many at most, and return how many they are."""
    copied = 0
    with open(head, "ab") as file, blocks(table, header(table)) as reader:
        for batch in reader:
            some = pa.Table.from_batches([batch.slice(0, rows - copied)])
            pyarrow.csv.write_csv(some, file, writing(table, header=file.tell() == 0))
            copied += some.num_rows
            if copied == rows:
                break
    return copied


def format_of_dates(rows: Path, column: str, by: str) -> str:
    """Return how the dates of a column are written, judged by the first rows.

    Raises
    ------
    TaskError
        They are no dates, or it cannot be told which.
    """
    text = pyarrow.csv.read_csv(rows, parse_options=parse_options(rows), convert_options=text_options([column]))
    table = parse_table(text, {column: "date"})
    known = text[column].drop_null()
    if len(known) == 0 or table.frame[column].count() < len(known) / 2:
        example = f", such as {known[0].as_py()!r}" if len(known) else ""
        raise TaskError(
            f"data.partition_by: {by} needs dates, but time_column {column!r} holds none that can be told{example}. "
            "Write them as 2024-12-31, or partition by another column."
        )
    return table.formats[column]


def part_names(values: pa.Array, by: str, date_format: str | None) -> np.ndarray:
    """Return the part that each of n texts belongs to: names that a folder can have."""
    if by in PERIODS:
        dates = dates_of(values.to_pandas().astype("object").str.strip(), date_format)
        names, missing = dates.dt.strftime(PERIODS[by]).to_numpy(), dates.isna().to_numpy()
    else:
        names = np.array([folder_name(each.strip()) for each in values.to_pylist()], dtype="object")
        missing = is_blank(values).to_numpy(False)
    return np.where(missing, NO_PART, names)


def folder_name(value: str) -> str:
    """Return a value as the name of a folder: what is no letter or digit is written as in a URL."""
    name = re.sub(r"^\.", "%2E", quote(value, safe=" "))
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}-{hashlib.sha256(value.encode()).hexdigest()[:8]}"


def split_table(
    table: Path,
    folder: Path,
    name: str,
    column: str,
    by: str,
    date_format: str | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> dict[str, int]:
    """Write the rows of each part of a CSV file to `folder`/PART/`name`; return how many rows each has."""
    columns, counts = header(table), {}
    options = {is_first: writing(table, is_first) for is_first in (True, False)}
    with blocks(table, columns, block_bytes) as reader:
        for batch in reader:
            encoded = batch[column].dictionary_encode()
            names = part_names(encoded.dictionary, by, date_format)[encoded.indices.to_numpy()]
            codes, labels = pd.factorize(names)
            # The rows of a part lie together then, in the order that they had.
            rows = pa.Table.from_batches([batch]).take(np.argsort(codes, kind="stable"))
            ends = np.cumsum(np.bincount(codes))
            for part, start, end in zip(labels, [0, *ends[:-1]], ends, strict=True):
                path = folder / part / name
                path.parent.mkdir(exist_ok=True)
                with open(path, "ab") as file:
                    pyarrow.csv.write_csv(rows.slice(start, end - start), file, options[part not in counts])
                counts[part] = counts.get(part, 0) + int(end - start)
    return dict(sorted(counts.items()))


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


def summed(pieces: Path, files: dict[str, dict]) -> dict[str, dict]:
    """Return for each part its pieces, how many rows they have, and the SHA-256 of what they hold together."""
    found: dict[str, dict] = {}
    for file in files.values():
        for part, rows in file["parts"].items():
            each = found.setdefault(part, {"rows": 0, "pieces": []})
            each["rows"] += rows
            each["pieces"].append(file["id"])
    for part, each in found.items():
        each["pieces"].sort()
        digests = "".join(sha256(pieces / part / name) for name in each["pieces"])
        each["sha256"] = hashlib.sha256(digests.encode()).hexdigest()
    return dict(sorted(found.items()))


def main(argv: list[str] | None = None) -> None:
    parser = task.arguments(__doc__)
    parser.add_argument("--input", required=True, metavar="SOURCE", help="path, folder, pattern or URL")
    parser.add_argument("--output", required=True, type=Path, help="the JSON record to write")
    parser.add_argument("--pieces", type=Path, default=Path("data/source"), help="the folder of the parts' rows")
    parser.add_argument("--by", choices=[*PERIODS, "value"], required=True, help="what of the column makes a part")
    parser.add_argument("--column", required=True, help="the column that tells the part")
    reader_arguments(parser)
    args = parser.parse_args(argv)
    with task.logged("split_source", args, shown(args.input)):
        reader = (",", "utf-8", ".") if args.query else (args.delimiter, args.encoding, args.decimal)
        before = read_json(args.output).get("parts", {}) if args.output.is_file() else {}
        try:
            record = split_source(
                args.input,
                args.output,
                args.pieces,
                args.by,
                args.column,
                args.target,
                reader,
                args.query,
                limits_of(args),
            )
        except Unreachable as error:
            record = read_record(args.input, args.query, args.output)
            if not record or "parts" not in record or args.on_unreachable != "use_last":
                raise TaskError(f"{error}. Check the network and raw_data_source_url, or try later.") from error
            logging.warning("[split_source] %s", use_last(error, record, args.pieces))
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
