"""Replay weeks after a release with and without faults, and count in which week the live record raises an alarm.

    python benchmarks/live_alarms.py --tables 6 --output benchmarks/live.md

Each table is split into rows before a release and twelve weeks after it. A small model is trained, judged on held-out
rows, and trained again on all rows before the release, as `model.refit: all` does. Its errors of the twelve weeks are
judged week by week, as `make weekly` would. In a fault, they are changed from a random week on. `--keep FOLDER` keeps
the errors: changed alarms are then measured in seconds.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import live_shapes
from benchmarks.alarms_newest import EVERY, Shape, _kept, features_of
from benchmarks.marks import between_marks

from signoff.model.training import train_model
from signoff.release.live_record import LiveWeek
from signoff.review import intervals
from signoff.review.live import Promise, mark_alarms

_PARAMS = {"max_iter": 40}
WEEKS = 12
# A fault begins in one of these weeks (counted from 0), and lasts.
_BEGINS = range(2, 7)
FAULTS = ("noise doubled", "target × 1.25", "noise doubled, labels late")
CLEAN = ("clean", "clean, labels late")
# The share of the labels that come in the same week, a week and two weeks later.
_ON_TIME = (0.5, 0.3, 0.2)
_AFTERWARDS = {
    "parcels": Shape(live_shapes.parcels, "minutes", "depot", "stops", None, apart=True),
    "tickets": Shape(live_shapes.tickets, "closed", "team", "backlog", None, apart=True),
    "wells": Shape(live_shapes.wells, "volume", "well", "pressure", "warmth", apart=True),
}


@dataclass(frozen=True)
class Replay:
    """What a release promised, and its rows of the weeks after it: week (from 0), predicted, actual, low and high."""

    shape: str
    seed: int
    promise: Promise
    rows: pd.DataFrame


def _rows_before_and_after(raw: pd.DataFrame) -> tuple[pd.DataFrame, pd.Timestamp]:
    """Return the rows of whole weeks, and when the weeks after the release begin."""
    end = raw["time"].max().floor("D") + pd.Timedelta(days=1)
    end -= pd.Timedelta(days=end.weekday())
    return raw[raw["time"] < end].reset_index(drop=True), end - pd.Timedelta(weeks=WEEKS)


def replay(name: str, seed: int) -> Replay:
    """Train on a table, and return what the release promised and what then happened."""
    shape: Shape = (EVERY | _AFTERWARDS)[name]
    with threadpool_limits(1):
        raw, release = _rows_before_and_after(shape.make(np.random.default_rng([71, seed, *name.encode()])))
        table, description = features_of(raw, shape.target)
        kinds, target, time = description["features"], shape.target, table["time"]
        before, after = table[time < release], table[time >= release]
        held = before["time"] >= before["time"].sort_values().iloc[int(0.8 * len(before))]
        test = before[held].reset_index(drop=True)

        def model_of(rows: pd.DataFrame) -> object:
            return train_model(rows, kinds, rows[target], params=_PARAMS, random_state=seed)

        predicted = model_of(before[~held]).predict(test[list(kinds)])
        promise = _promise(test["time"], test[target].to_numpy("float64"), predicted, release, seed)
        later = model_of(before).predict(after[list(kinds)])
    half = intervals.half_width(np.abs(predicted - test[target].to_numpy()), 0.9) or np.nan
    rows = pd.DataFrame(
        {
            "week": ((after["time"] - release).dt.days // 7).to_numpy(),
            "predicted": later,
            "actual": after[target].to_numpy("float64"),
        }
    )
    return Replay(name, seed, promise, rows.assign(low=later - half, high=later + half))


def _promise(time: pd.Series, actual: np.ndarray, predicted: np.ndarray, release: pd.Timestamp, seed: int) -> Promise:
    """Return what a report says about the held-out rows."""
    drawn = intervals.resampling(time, len(actual), seed)
    found = intervals.metric_intervals(intervals.resampled_metrics(actual, predicted, drawn), drawn)
    covered = intervals.prediction_interval(actual, predicted, time, True, {}, drawn, 0.9, seed)
    weeks = intervals.by_week(time, predicted - actual)
    (low, high), (least, most) = found["MAE"], found["bias"]
    return Promise(
        mae=float(np.abs(predicted - actual).mean()),
        low=low,
        high=high,
        bias=float((predicted - actual).mean()),
        bias_error=None if least is None or most is None else (most - least) / (2 * 1.96),
        weeks=weeks,
        level=0.9,
        coverage=covered["shipped_coverage"],
        coverages=[each["coverage"] for each in covered["over_time"]],
        baseline="mean",
        time="time",
        until=release,
    )


def changed(found: Replay, kind: str, begins: int, random: np.random.Generator) -> pd.DataFrame:
    """Return the rows with a fault from a week on, and in `late` by how many weeks each label is late."""
    rows = found.rows.copy()
    bad = rows["week"] >= begins
    if kind.startswith("noise doubled"):
        rows["actual"] = rows["actual"].where(~bad, rows["predicted"] + 2 * (rows["actual"] - rows["predicted"]))
    elif kind == "target × 1.25":
        rows["actual"] = rows["actual"].where(~bad, 1.25 * rows["actual"])
    late = random.choice(len(_ON_TIME), len(rows), p=_ON_TIME)
    return rows.assign(late=late if "late" in kind else 0)


def lines_until(rows: pd.DataFrame, week: int, promise: Promise) -> list[LiveWeek]:
    """Return the lines of the live record at the end of a week: the labels that have arrived by then."""
    known = rows[rows["week"] + rows["late"] <= week]
    error = known["predicted"] - known["actual"]
    covered = (known["low"] <= known["actual"]) & (known["actual"] <= known["high"])
    figures = pd.DataFrame({"week": known["week"], "size": error.abs(), "error": error, "covered": covered})
    lines: list[LiveWeek] = []
    for number, each in figures.groupby("week"):
        lines.append(
            {
                "release": "r",
                "week": str((pd.Timestamp(promise.until) + pd.Timedelta(weeks=int(number))).date()),
                "as_if": False,
                "rows": len(each),
                "answered": len(each),
                "MAE": float(each["size"].mean()),
                "bias": float(each["error"].mean()),
                "coverage": float(each["covered"].mean()) if known["low"].notna().all() else None,
                "width": None,
                "baseline": "mean",
                "baseline_MAE": None,
                "promised_MAE": promise.mae,
                "promised_low": promise.low,
                "promised_high": promise.high,
                "alarms": [],
            }
        )
    return lines


@dataclass(frozen=True)
class Result:
    """A replay: in which bad week (from 1) the alarm came, None if it never did; in which week of a clean one.

    `size` is the MAE of the bad weeks by the promised MAE, and `moved` the change of the bias by it.
    """

    shape: str
    seed: int
    kind: str
    week: int | None
    names: str
    size: float
    moved: float


def _random(found: Replay, kind: str) -> np.random.Generator:
    return np.random.default_rng([found.seed, *kind.encode(), *found.shape.encode()])


def begins_of(found: Replay, kind: str) -> int:
    """Return the week from which on a replay has a fault."""
    return int(_random(found, kind).choice(_BEGINS))


def judged(found: Replay, kind: str) -> Result:
    """Return when a replay raises an alarm."""
    random = _random(found, kind)
    begins = 0 if kind in CLEAN else int(random.choice(_BEGINS))
    rows = changed(found, kind, begins, random)
    bad = rows[rows["week"] >= begins]
    error = bad["predicted"] - bad["actual"]
    size, moved = float(error.abs().mean()), float(error.mean()) - found.promise.bias
    week, names = None, ""
    for each in range(begins, WEEKS):
        if alarms := mark_alarms(lines_until(rows, each, found.promise), "r", found.promise):
            week, names = each - begins + 1, " ".join(sorted({alarm["name"] for alarm in alarms}))
            break
    mae = found.promise.mae
    return Result(found.shape, found.seed, kind, week, names, size / mae, abs(moved) / mae)


def _judgeable(found: Replay) -> bool:
    """Return whether most weeks have the ten rows that a judgement needs."""
    return bool((found.rows.groupby("week").size().reindex(range(WEEKS), fill_value=0) >= 10).mean() > 0.5)


def replays(names: list[str], seeds: range, cores: int, keep: Path | None) -> Iterator[Replay]:
    """Yield the replays of all tables whose weeks can be judged."""
    jobs = [(name, seed, keep) for seed in seeds for name in names]
    with ProcessPoolExecutor(cores) as pool:
        yield from filter(_judgeable, pool.map(_one, jobs))


def _one(job: tuple[str, int, Path | None]) -> Replay:
    name, seed, keep = job
    return _kept(keep, f"live {name} {seed}", lambda: replay(name, seed))


def table_of(results: list[Result]) -> list[str]:
    """Return the lines of a Markdown table: in which week each fault is found, and how many clean replays alarm."""
    lines = [
        "| replay | replays | in the first bad week | by the second | ever | missed by then, or alarmed if clean |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for kind in dict.fromkeys(each.kind for each in results):
        those = [each for each in results if each.kind == kind]
        ever = [each for each in those if each.week is not None]
        first, second = ([each for each in ever if (each.week or 0) <= week] for week in (1, 2))
        wrong = Counter(
            each.shape for each in (ever if kind in CLEAN else those) if kind in CLEAN or each not in second
        )
        counts = ["", ""] if kind in CLEAN else [str(len(first)), f"{len(second)} ({len(second) / len(those):.0%})"]
        counts.append(f"{len(ever)} ({len(ever) / len(those):.0%})")
        words = ", ".join(f"{name} {n}" for name, n in wrong.most_common()) or "none"
        lines.append(f"| {kind} | {len(those)} | {' | '.join(counts)} | {words} |")
    return lines


def groups(tables: int) -> Iterator[tuple[str, list[str], int]]:
    """Yield the title, the shapes and the number of tables of each group of replays."""
    tuned, apart = ([name for name, shape in EVERY.items() if shape.apart == each] for each in (False, True))
    yield "Shapes that the alarms were tuned on", tuned, tables
    yield "Shapes that were kept apart", apart, tables
    yield "Shapes that were written after the last change", list(_AFTERWARDS), 3 * tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=4, help="how many tables of each shape")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="how many to use")
    parser.add_argument("--keep", type=Path, help="a folder for the errors, which a second run reads")
    parser.add_argument("--output", type=Path, help="also write the results to this page, between its marks")
    args = parser.parse_args()
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for title, names, tables in groups(args.tables):
        found = list(replays(names, range(tables), args.cores, args.keep))
        shapes = ", ".join(dict.fromkeys(each.shape for each in found))
        results = [judged(each, kind) for kind in (*CLEAN, *FAULTS) for each in found]
        lines += ["", f"### {title}", "", f"{shapes}; {tables} tables of each.", "", *table_of(results)]
    print("\n".join(lines))
    if args.output:
        args.output.write_text(between_marks(args.output.read_text(encoding="utf-8"), lines), encoding="utf-8")


if __name__ == "__main__":
    main()
