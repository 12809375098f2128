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
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa

from signoff.base import command_line
from signoff.base.errors import TaskError, explain, nearest
from signoff.base.files import read_json, replacing, write_json
from signoff.base.surroundings import run_environment
from signoff.config.settings import config_argument
from signoff.release.form import Move
from signoff.release.live_record import Live, LiveAlarm, LiveWeek, broken_words, read_live
from signoff.release.records import Diagnostics, Metrics
from signoff.release.store import Releases, kept_releases
from signoff.review.batch_check import report_path
from signoff.review.live import Promise, Sums, broken_limits, lines_of, mark_alarms, merged, promise_of, slice_alarms
from signoff.review.live_join import Batch, Kinds, TrainingMeans, Unjoined
from signoff.tables.batches import text_batches
from signoff.tables.csv_file import header_of_table, rendered

_OURS = ("row_number", "prediction", "prediction_low", "prediction_high", "release")
# Where make predict writes.
_FOLDER = Path("predictions")


def _promises_of(history: Sequence[Move]) -> dict[str, Promise]:
    """Return the promises in the report of each release; old releases without diagnostics are left out."""
    found = {}
    releases = Releases()
    for name in kept_releases(history):
        document = releases.sign_off(name, history)
        try:
            metrics = cast(Metrics, releases.json(name, document, "evaluation_metrics.json"))
            found[name] = promise_of(metrics, cast(Diagnostics, releases.json(name, document, "diagnostics.json")))
        except (StopIteration, KeyError):
            logging.warning("[live_record] %s has no diagnostics to compare with: left out", name)
    return found


def _batches() -> list[Batch]:
    """Return the files of predictions in the order in which they were written."""
    files = [path for path in _FOLDER.rglob("*.csv") if not path.name.endswith(".rejected.csv")]
    files = [path for path in files if not path.name.startswith(".")]
    ordered = sorted((_written(path), str(path), path) for path in files)
    return [Batch(path, moment // (86_400 * 10**9)) for moment, _, path in ordered]


def _written(path: Path) -> int:
    """Return when predictions were written, in ns since 1970: as their report says, else the time of the file."""
    report = report_path(path)
    if report.is_file():
        try:
            return pd.Timestamp(read_json(report)["predicted_at"]).as_unit("ns").value
        except (TaskError, KeyError, TypeError, ValueError):
            logging.warning("[live_record] %s is damaged: the time of %s is used instead", report, path.name)
    return path.stat().st_mtime_ns


def _key_of(batch: Batch, key: Sequence[str], columns: Sequence[str], target: str) -> tuple[str, ...]:
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
    for name in _OURS[1:2] + _OURS[4:]:
        if name not in header:
            raise TaskError(f"{batch.path} has no column {name!r}: it was not written by make predict.")
    shared = tuple(key) or tuple(name for name in header if name in columns and name not in (*_OURS, target))
    if not shared:
        raise TaskError(f"{batch.path} shares no column with the data, so no row can be matched. Set scoring.key.")
    return shared


def _grouped_by_key(
    found: Sequence[Batch], key: Sequence[str], columns: Sequence[str], target: str
) -> tuple[dict[tuple[str, ...], list[Batch]], list[str]]:
    """Return the batches by the columns that identify their rows, and what is wrong with those that cannot be read."""
    groups: dict[tuple[str, ...], list[Batch]] = {}
    problems = []
    for batch in found:
        try:
            groups.setdefault(_key_of(batch, key, columns, target), []).append(batch)
        except (TaskError, OSError) as error:
            problems.append(explain(error))
    return groups, problems


def _as_if_predicted(
    raw: Sequence[Path], wanted: np.ndarray, record: Unjoined, release: str, configs: Sequence[str], folder: Path
) -> Batch | None:
    """Score rows of the raw data that were never predicted; return the file, if there are any.

    `wanted` marks these rows. They are written to `folder`, and their targets are added to `record`.
    """
    if not wanted.any():
        return None
    rows_path, output = folder / "rows.csv", folder / "as_if.csv"
    start = 0
    with open(rows_path, "wb") as file:
        for path in raw:
            for text in text_batches(path, header_of_table(raw[0])):
                new = wanted[start : start + len(text)]
                file.write(rendered(text.filter(pa.array(new)), header=start == 0))
                start += len(text)
    for frame in record.kinds.read(rows_path, [*record.key, record.target]):
        record.add_answers(frame)
    script = Path(__file__).with_name("predict.py")
    command = [sys.executable, str(script), f"--input={rows_path}", f"--output={output}"]
    command += [f"--release={release}", *(f"--config={each}" for each in configs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=run_environment(Path.cwd()))
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it stopped without a message"])[-1].rpartition(" - ")[2]
        logging.warning("[live_record] new rows cannot be scored with %s: %s", release, reason)
        return None
    return Batch(output, 0, as_if=True)


def _read_answers(
    raw: Sequence[Path], records: Iterable[Unjoined], means: TrainingMeans, promise: Promise | None
) -> tuple[dict[str, float], np.ndarray]:
    """Read the raw data once: add the answers to each record, and return the training means of the releases.

    The second value marks the rows with an answer that came after the data of the current release, whose promise is
    `promise`; none if it has no time.
    """
    records = list(records)
    kinds, target = means.kinds, means.target
    names = list(dict.fromkeys([*means.columns, *(name for record in records for name in record.key)]))
    new = [np.zeros(0, dtype=bool)]
    for path in raw:
        for frame in kinds.read(path, names):
            means.add(frame)
            for record in records:
                record.add_answers(frame)
            if promise is None or promise.time is None or promise.until is None:
                new.append(np.zeros(len(frame), dtype=bool))
            else:
                later = (frame[promise.time] > promise.until) & frame[target].notna()
                new.append(later.to_numpy())
    return means.by_release(), np.concatenate(new)


def _summed(record: Unjoined, unused: np.ndarray | None = None) -> Sums:
    """Return the sums over a record; clear in `unused` the rows of the raw data that a prediction is matched with."""
    sums = Sums()
    for rows in record.joined():
        sums.add(rows)
        if unused is not None:
            unused[rows["place"].dropna().to_numpy("int64")] = False
    return sums


def live_record(args: argparse.Namespace, folder: Path) -> Live:
    """Return the record as it is written to live.json; `folder` is for temporary files."""
    history = Releases().history()
    current, promises = Releases().in_use(history), _promises_of(history)
    columns = header_of_table(args.raw[0])
    known = read_json(args.cleaned)
    kinds = Kinds({**known["kinds"], args.target: "number"}, known["date_formats"])
    time = promises[current].time if current in promises else None
    groups, problems = _grouped_by_key(_batches(), args.key, columns, args.target)
    records = {key: Unjoined(folder, key, kinds, args.target, time) for key in groups}
    means, new = _read_answers(
        args.raw, records.values(), TrainingMeans(kinds, args.target, promises), promises.get(current or "")
    )
    everything: list[tuple[Unjoined, Sums]] = []
    for key, record in records.items():
        for batch in groups[key]:
            record.add_predictions(batch, promises, means)
        everything.append((record, _summed(record, new)))
    if current in promises and promises[current].until is not None:
        key = tuple(args.key) or tuple(name for name in columns if name != args.target)
        record = Unjoined(folder, key, kinds, args.target, time)
        scored = _as_if_predicted(args.raw, new, record, current, args.config or (), folder)
        if scored:
            record.add_predictions(scored, promises, means)
            everything.append((record, _summed(record)))
    lines = [line for record, sums in everything for line in lines_of(record, sums, promises)]
    lines = merged(_earlier_lines(args.output), lines, kept_releases(history))
    alarms: list[LiveAlarm] = []
    broken = []
    if current in promises:
        alarms = mark_alarms(lines, current, promises[current])
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


def _earlier_lines(path: Path) -> list[LiveWeek]:
    """Return the lines of the record that is replaced; none if it is missing or damaged."""
    live = read_live(path)
    if live is None and os.path.lexists(path):
        logging.warning("[live_record] %s was damaged. It is rebuilt from the predictions and the data.", path)
    return live["weeks"] if live else []


def _write_table(lines: Sequence[LiveWeek], path: Path) -> None:
    """Write a line for each release and week as CSV."""
    frame = pd.DataFrame(lines, columns=list(LiveWeek.__annotations__))
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
        _write_table(found["weeks"], args.output.with_suffix(".csv"))
        write_json(args.output, found)
        for problem in found["unreadable"]:
            logging.warning("[live_record] left out: %s", problem)
        for each in found["alarms"]:
            logging.warning("[live_record] alarm %s: %s", each["name"], each["sentence"])
        for limit in found["broken"]:
            logging.warning("[live_record] %s", broken_words(limit))
        logging.info(
            "[live_record] completed. Predicted rows: %d, answered: %d, unanswered: %d",
            *(found["rows"], found["answered"], found["unanswered"]),
        )
        logging.info("[live_record] wrote the live record to %s", shown)


if __name__ == "__main__":
    main()
