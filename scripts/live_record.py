"""Compare what the releases have predicted with what then happened, by release and week.

    python scripts/live_record.py --raw data/raw/raw_data.csv --target minutes --output reports/live.json

Run in the project's folder, or name it with --folder. Predictions are read from its predictions/. Rows that came after
the data of the current release and were never predicted are scored with it, and marked "as if predicted". A table of
the weeks goes to live.csv beside the output.
"""

import argparse
import contextlib
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from signoff.base import command_line
from signoff.base.errors import TaskError, explain, nearest
from signoff.base.files import read_json, replacing, write_json
from signoff.base.surroundings import run_environment
from signoff.config.settings import config_argument
from signoff.release.form import Line as Move
from signoff.release.live_record import Line, LiveAlarm, broken_words
from signoff.release.store import Releases, kept_releases
from signoff.review.batch_check import SUFFIX
from signoff.review.live import Promise, Sums, broken_limits, judge, lines_of, merged, promise_of, slice_alarms
from signoff.review.live_join import Batch, Kinds, Record, training_means
from signoff.tables.batches import text_batches
from signoff.tables.csv_file import header_of_table, quoted_where_needed, write_csv

OURS = ("row_number", "prediction", "prediction_low", "prediction_high", "release")
# Where make predict writes.
_FOLDER = Path("predictions")


def promises_of(history: Sequence[Move]) -> dict[str, Promise]:
    """Return the promises in the report of each release; old releases without diagnostics are left out."""
    found = {}
    releases = Releases()
    for name in kept_releases(history):
        document = releases.sign_off(name, history)
        try:
            parts = [releases.json(name, document, file) for file in ("evaluation_metrics.json", "diagnostics.json")]
            found[name] = promise_of(*parts)
        except (StopIteration, KeyError):
            logging.warning("[live_record] %s has no diagnostics to compare with: left out", name)
    return found


def batches() -> list[Batch]:
    """Return the files of predictions in the order in which they were written."""
    files = [path for path in _FOLDER.rglob("*.csv") if not path.name.endswith(".rejected.csv")]
    files = [path for path in files if not path.name.startswith(".")]
    ordered = sorted((_written(path), str(path), path) for path in files)
    return [Batch(path, moment // (86_400 * 10**9)) for moment, _, path in ordered]


def _written(path: Path) -> int:
    """Return when predictions were written, in ns since 1970: as their report says, else the time of the file."""
    report = path.with_name(path.name.removesuffix(".csv") + SUFFIX)
    if report.is_file():
        try:
            return pd.Timestamp(read_json(report)["predicted_at"]).as_unit("ns").value
        except (TaskError, KeyError, TypeError, ValueError):
            logging.warning("[live_record] %s is damaged: the time of %s is used instead", report, path.name)
    return path.stat().st_mtime_ns


def key_of(batch: Batch, key: Sequence[str], columns: Sequence[str], target: str) -> tuple[str, ...]:
    """Return the columns that identify a row of a batch: the key, or all columns that the batch shares with the data.

    Raises TaskError if a column of the key is missing, or if nothing is shared.
    """
    header = header_of_table(batch.path)
    for name in key:
        if name not in header:
            raise TaskError(
                f"{batch.path} has no column {name!r}, which scoring.key names: {nearest(name, header)} "
                "Add it to scoring.columns."
            )
    for name in OURS[1:2] + OURS[4:]:
        if name not in header:
            raise TaskError(f"{batch.path} has no column {name!r}: it was not written by make predict.")
    shared = tuple(key) or tuple(name for name in header if name in columns and name not in (*OURS, target))
    if not shared:
        raise TaskError(f"{batch.path} shares no column with the data, so no row can be matched. Set scoring.key.")
    return shared


def grouped_by_key(
    found: Sequence[Batch], key: Sequence[str], columns: Sequence[str], target: str
) -> tuple[dict[tuple[str, ...], list[Batch]], list[str]]:
    """Return the batches by the columns that identify their rows, and what is wrong with those that cannot be read."""
    groups: dict[tuple[str, ...], list[Batch]] = {}
    problems = []
    for batch in found:
        try:
            groups.setdefault(key_of(batch, key, columns, target), []).append(batch)
        except (TaskError, OSError) as error:
            problems.append(explain(error))
    return groups, problems


def as_if_predicted(
    raw: Sequence[Path],
    used: np.ndarray,
    record: Record,
    release: str,
    promise: Promise,
    configs: Sequence[str],
    folder: Path,
) -> Batch | None:
    """Score the rows that came after the data of a release and were never predicted; return the file, if there are any.

    `used` marks the rows of the raw data that a prediction was matched with. The rows are written to `folder`, and
    their targets are added to `record`.
    """
    rows_path, output = folder / "rows.csv", folder / "as_if.csv"
    start, tables = 0, []
    assert record.time is not None and promise.until is not None
    for path in raw:
        columns = header_of_table(path)
        typed = record.kinds.read(path, [record.time, record.target])
        for text, frame in zip(text_batches(path, columns), typed, strict=True):
            new = (frame[record.time] > promise.until) & frame[record.target].notna()
            new &= ~used[start : start + len(frame)]
            start += len(frame)
            if new.any():
                tables.append(text.filter(pa.array(new.to_numpy())))
    if not tables:
        return None
    rows = pa.concat_tables(tables)
    quoted_where_needed(lambda style: write_csv(rows, rows_path, style))
    record.add_answers(rows_path)
    script = Path(__file__).with_name("predict.py")
    command = [sys.executable, str(script), f"--input={rows_path}", f"--output={output}"]
    command += [f"--release={release}", *(f"--config={each}" for each in configs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=run_environment(Path.cwd()))
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it stopped without a message"])[-1].rpartition(" - ")[2]
        logging.warning("[live_record] new rows cannot be scored with %s: %s", release, reason)
        return None
    return Batch(output, 0, as_if=True)


def live_record(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the record as it is written to live.json; `folder` is for temporary files."""
    history = Releases().history()
    current, promises = Releases().in_use(history), promises_of(history)
    columns = header_of_table(args.raw[0])
    known = read_json(args.cleaned)
    kinds = Kinds({**known["kinds"], args.target: "number"}, known["date_formats"])
    time = promises[current].time if current in promises else None
    means = training_means(args.raw, kinds, args.target, promises)
    groups, problems = grouped_by_key(batches(), args.key, columns, args.target)
    used = np.zeros(0, dtype=bool)
    everything: list[tuple[Record, Sums]] = []
    for key, files in groups.items():
        record, sums = Record(folder, key, kinds, args.target, time), Sums()
        for path in args.raw:
            record.add_answers(path)
        for batch in files:
            record.add_predictions(batch, promises, means)
        used = used if len(used) else np.zeros(len(record.answers), dtype=bool)
        for rows in record.joined():
            sums.add(rows)
            used[rows["place"].dropna().to_numpy("int64")] = True
        everything.append((record, sums))
    if current in promises and promises[current].until is not None:
        key = tuple(args.key) or tuple(name for name in columns if name != args.target)
        record, sums = Record(folder, key, kinds, args.target, time), Sums()
        if not len(used):
            used = np.zeros(
                sum(len(batch) for path in args.raw for batch in text_batches(path, columns[:1])), dtype=bool
            )
        new = as_if_predicted(args.raw, used, record, current, promises[current], args.config or (), folder)
        if new:
            record.add_predictions(new, promises, means)
            for rows in record.joined():
                sums.add(rows)
            everything.append((record, sums))
    lines = [line for record, sums in everything for line in lines_of(record, sums, promises)]
    lines = merged(earlier_lines(args.output), lines, kept_releases(history))
    alarms: list[LiveAlarm] = []
    broken = []
    if current in promises:
        alarms = judge(lines, current, promises[current])
        for record, sums in everything:
            alarms += slice_alarms(record, sums, current, promises[current])
        broken = broken_limits(lines, current, args.mae_max, args.coverage_min)
    predicted, answered = sum(line["rows"] for line in lines), sum(line["answered"] for line in lines)
    return {
        "release": current,
        "target": args.target,
        "rows": predicted,
        "answered": answered,
        "unanswered": predicted - answered,
        "alarms": alarms,
        "broken": broken,
        "unreadable": problems,
        "weeks": lines,
    }


def earlier_lines(path: Path) -> list[Line]:
    """Return the lines of the record that is replaced; none if it is missing or damaged."""
    try:
        return read_json(path)["weeks"] if path.is_file() else []
    except (TaskError, KeyError):
        logging.warning("[live_record] %s was damaged. It is rebuilt from the predictions and the data.", path)
        return []


def write_table(lines: Sequence[Line], path: Path) -> None:
    """Write a line for each release and week as CSV."""
    frame = pd.DataFrame(lines, columns=list(Line.__annotations__))
    frame["alarms"] = [" ".join(line["alarms"]) for line in lines]
    with replacing(path) as new:
        frame.to_csv(new, index=False, float_format="%.6g")


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--raw", required=True, type=Path, action="append", help="the raw data; may be repeated")
    parser.add_argument("--cleaned", required=True, type=Path, help="the JSON beside the cleaned data")
    parser.add_argument("--target", required=True, help="the column that is predicted")
    parser.add_argument("--key", action="append", default=[], help="a column that identifies a row; may be repeated")
    parser.add_argument("--mae-max", type=float, help="the largest MAE of a week of the current release")
    parser.add_argument("--coverage-min", type=float, help="the smallest coverage of its intervals in a week")
    parser.add_argument("--output", required=True, type=Path, help="the JSON file to write")
    parser.add_argument("--folder", type=Path, default=Path("."), help="the project's folder, if it is another one")
    config_argument(parser)
    args = parser.parse_args(argv)
    # Paths are those of the folder in which it was started.
    args.raw, args.cleaned = [path.absolute() for path in args.raw], args.cleaned.absolute()
    args.config, shown, args.output = (
        args.config and list(map(os.path.abspath, args.config)),
        args.output,
        args.output.absolute(),
    )
    with command_line.logged("live_record", args, args.folder / _FOLDER), contextlib.chdir(args.folder):
        args.output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=args.output.parent, prefix=".live-") as folder:
            found = live_record(args, Path(folder))
        write_table(found["weeks"], args.output.with_suffix(".csv"))
        write_json(args.output, found)
        for problem in found["unreadable"]:
            logging.warning("[live_record] left out: %s", problem)
        for each in found["alarms"]:
            logging.warning("[live_record] alarm %s: %s", each["name"], each["sentence"])
        for each in found["broken"]:
            logging.warning("[live_record] %s", broken_words(each))
        logging.info(
            "[live_record] completed. Predicted rows: %d, answered: %d, unanswered: %d",
            *(found["rows"], found["answered"], found["unanswered"]),
        )
        logging.info("[live_record] wrote the live record to %s", shown)


if __name__ == "__main__":
    main()
