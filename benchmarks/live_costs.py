"""Measure what the live record and the check of a batch cost: joining predictions, and scoring with the check.

    python benchmarks/live_costs.py --rows 1000000 --folder .

The join is compared with reading both files, by the reader of the live record, twice. Scoring, from the file to the
file of predictions, is compared with scoring without the check; its batch repeats the raw data of a project with a
release. Everything is measured in CPU seconds, in turn, and the table has the medians.
"""

import argparse
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from signoff.release.store import Releases
from signoff.review.batch_check import batch_report
from signoff.review.batch_rows import blocks, divide
from signoff.review.live import Promise, Sums
from signoff.review.live_join import Batch, Kinds, TrainingMeans, Unjoined
from signoff.review.row_scores import Beside, Scorer, load_scorer, score
from signoff.tables.csv_file import rendered

_KINDS = {"id": "number", "when": "date", "shop": "text", "size": "number", "sold": "number"}
_OURS = {"prediction": "number", "prediction_low": "number", "prediction_high": "number", "release": "text"}
_PROMISE = Promise(
    mae=1.0,
    low=0.9,
    high=1.1,
    bias=0.0,
    bias_error=0.1,
    weeks=[],
    level=0.9,
    coverage=0.9,
    coverages=[],
    baseline="mean",
    time="when",
    until=pd.Timestamp("2024-03-01"),
)


def _make(folder: Path, rows: int) -> None:
    """Write rows with their values, and predictions of them, a million at a time."""
    random = np.random.default_rng(0)
    with open(folder / "raw.csv", "wb") as raw, open(folder / "predictions.csv", "wb") as predictions:
        for start in range(0, rows, 1_000_000):
            n = min(1_000_000, rows - start)
            seconds = np.sort(random.integers(0, 200 * 86_400, n))
            columns = {
                "id": pa.array(np.arange(start, start + n)),
                "when": pa.array(np.datetime64("2024-01-01", "s") + seconds),
                "shop": pa.array(random.choice(list("abcdefgh"), n)),
                "size": pa.array(random.normal(50, 9, n).round(2)),
            }
            made = random.gamma(3, 4, n)
            scored = {"prediction": made, "prediction_low": made - 5, "prediction_high": made + 5}
            raw.write(rendered(pa.table({**columns, "sold": random.gamma(3, 4, n).round(2)}), header=not start))
            predictions.write(
                rendered(pa.table({**columns, **scored, "release": pa.array(["r"] * n)}), header=not start)
            )


def _read(folder: Path) -> None:
    """Read all columns of both files."""
    kinds = Kinds(_KINDS | _OURS, {"when": "ISO8601"})
    for path, names in (("raw.csv", _KINDS), ("predictions.csv", [*list(_KINDS)[:-1], *_OURS])):
        for _ in kinds.read(folder / path, list(names)):
            pass


def _join(folder: Path) -> None:
    """Join both files, and sum the errors."""
    kinds = Kinds(_KINDS, {"when": "ISO8601"})
    record, means = Unjoined(folder, ["id"], kinds, "sold", "when"), TrainingMeans(kinds, "sold", {"r": _PROMISE})
    for frame in kinds.read(folder / "raw.csv", [*means.columns, "id"]):
        means.add(frame)
        record.add_answers(frame)
    record.add_predictions(Batch(folder / "predictions.csv", 1), {"r": _PROMISE}, means.by_release())
    sums = Sums()
    for rows in record.joined():
        sums.add(rows)


def _predict(batch: Path, scorer: Scorer, check: bool) -> None:
    """Score a batch as make predict does, with or without the check."""
    beside, rows = Beside(scorer.check() if check else None), Counter(scored=0, rejected=0)
    with open(batch, "rb") as stream, open(batch.with_name("scored.csv"), "wb") as file:
        for n, (text, numbers, uneven) in enumerate(blocks(stream, str(batch))):
            predicted, reasons = score(text, scorer.model, beside=beside)
            good, bad = divide(text, numbers, uneven, predicted, reasons)
            file.write(rendered(good, header=n == 0))
            rows.update(scored=len(good), rejected=len(bad))
    batch_report(beside.check, scorer.release, rows)


def _batch(folder: Path, raw: Path, rows: int) -> Path:
    """Write a batch that repeats the rows of a file."""
    header, *lines = raw.read_bytes().splitlines(keepends=True)
    path = folder / "batch.csv"
    with open(path, "wb") as file:
        file.write(header)
        for start in range(0, rows, len(lines)):
            file.writelines(lines[: rows - start])
    return path


def _cpu(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _medians(runs: int, *works: Callable[[], None]) -> list[float]:
    """Return the median CPU seconds of each work; they take turns."""
    times = [[_cpu(work) for work in works] for _ in range(runs)]
    return [statistics.median(each) for each in zip(*times, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3, help="rounds, whose median counts")
    parser.add_argument("--folder", type=Path, help="a project with a release, whose batches are scored")
    args = parser.parse_args()
    lines = [f"{os.cpu_count()} cores ({platform.machine()}), {args.rows:,} rows.", ""]
    lines += ["| what | CPU s | |", "|---|---:|---|"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make(folder, args.rows)
        read, join = _medians(args.runs, lambda: _read(folder), lambda: _join(folder))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        lines.append(f"| read the values and the predictions | {read:.1f} | |")
        lines.append(
            f"| join them | {join:.1f} | {join / (2 * read):.2f} of reading both twice; peak {memory:.0f} MB |"
        )
        if args.folder:
            scorer = load_scorer(
                Releases(args.folder / "deployed"), None, {"allowed_signers": None, "required_approvals": 1}
            )
            batch = _batch(folder, args.folder / "data/raw/raw_data.csv", args.rows)
            without, checked = _medians(
                args.runs, lambda: _predict(batch, scorer, False), lambda: _predict(batch, scorer, True)
            )
            lines.append(f"| score a batch without its check | {without:.1f} | |")
            lines.append(f"| score it with the check | {checked:.1f} | {checked / without:.2f} of without |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
