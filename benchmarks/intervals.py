"""Coverage of prediction intervals on tables whose errors are known: of each row's own width, and of one width for all.

    python benchmarks/intervals.py [--seeds 8] [--page benchmarks/intervals.md] [SHAPE …]

Each table has five features. A model is trained on its first rows, and `fit_intervals` gives each row its interval; the
half width of `model.intervals: constant` comes from half as many held-out rows as there are others to measure it on.
Under a split by time, held-out rows are later ones. TUNED names the shapes that parameters were chosen on; the others
were kept apart and first measured afterwards.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "scripts"))

from signoff.model.quantiles import ends, fit_intervals  # noqa: E402
from signoff.model.records import Setting  # noqa: E402
from signoff.model.regressor import DEFAULT_ESTIMATOR, TrainingRows  # noqa: E402
from signoff.model.scoring import predict  # noqa: E402
from signoff.model.training import train_model  # noqa: E402
from signoff.review.intervals import half_width  # noqa: E402

KINDS = {"shop": "category", "a": "number", "b": "number", "c": "number", "hour": "number"}
SETTING: Setting = {"estimator": DEFAULT_ESTIMATOR, "params": {}}
LEVEL, BINS = 0.9, 5
TUNED = ("even noise", "noise grows with a", "skewed, one noisy shop", "noise grows with a, in time")
TUNED += ("days alike", "level drifts", "noise drifts")


@dataclass(frozen=True)
class Shape:
    """How the errors of n rows are made, from their features and their place in time (0 to 1)."""

    error: Callable[[np.random.Generator, pd.DataFrame, np.ndarray], np.ndarray]
    by_time: bool = False
    rows: int = 4000


def shocks(random: np.random.Generator, place: np.ndarray, days: int, memory: float) -> np.ndarray:
    """Return one autocorrelated shock of variance 1 for all rows of a day."""
    level, found = random.normal(), []
    for _ in range(days):
        found.append(level)
        level = memory * level + np.sqrt(1 - memory**2) * random.normal()
    return np.array(found)[np.minimum((place * days).astype(int), days - 1)]


def normal(random: np.random.Generator, rows: pd.DataFrame) -> np.ndarray:
    return random.normal(0, 1, len(rows))


SHAPES = {
    "even noise": Shape(lambda random, rows, place: normal(random, rows)),
    "noise grows with a": Shape(lambda random, rows, place: normal(random, rows) * (0.2 + 2 * rows["a"])),
    "skewed, one noisy shop": Shape(
        lambda random, rows, place: (
            random.gamma(1.5, 1, len(rows)) * (0.2 + 2 * rows["a"]) * np.where(rows["shop"] == "C", 4, 1)
        )
    ),
    "noise grows with a, in time": Shape(
        lambda random, rows, place: normal(random, rows) * (0.2 + 2 * rows["a"]), by_time=True
    ),
    "skewed, log-normal": Shape(lambda random, rows, place: np.exp(0.8 * normal(random, rows)) * (0.5 + rows["c"] / 2)),
    "one noisy shop of eight": Shape(
        lambda random, rows, place: normal(random, rows) * np.where(rows["shop"] == "F", 5, 1)
    ),
    "heavy tails, wide at night": Shape(
        lambda random, rows, place: random.standard_t(3, len(rows)) * np.where(rows["hour"] < 6, 2.5, 0.8)
    ),
    "counts (Poisson)": Shape(
        lambda random, rows, place: random.poisson(1 + 6 * rows["a"], len(rows)) - (1 + 6 * rows["a"])
    ),
    "few rows (200)": Shape(lambda random, rows, place: normal(random, rows) * (0.2 + 2 * rows["a"]), rows=200),
    "many rows (40,000)": Shape(
        lambda random, rows, place: normal(random, rows) * (0.2 + 2 * rows["b"] ** 2), rows=40_000
    ),
    "days alike": Shape(
        lambda random, rows, place: normal(random, rows) + shocks(random, place, 100, 0.7), by_time=True
    ),
    "level drifts": Shape(
        lambda random, rows, place: normal(random, rows) + 1.5 * shocks(random, place, 40, 0.95), by_time=True
    ),
    "noise doubles late": Shape(
        lambda random, rows, place: normal(random, rows) * np.where(place > 0.7, 2, 1) * (0.5 + rows["c"] / 2),
        by_time=True,
    ),
    "level swings, skewed": Shape(
        lambda random, rows, place: random.gamma(1, 1, len(rows)) + 0.7 * np.sin(6 * np.pi * place), by_time=True
    ),
    "noise drifts": Shape(
        lambda random, rows, place: normal(random, rows) * (0.5 + 1.5 * place) * (0.5 + rows["a"]), by_time=True
    ),
}


def features(random: np.random.Generator, rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return five features of n rows, and the mean of their target."""
    frame = pd.DataFrame(
        {
            "shop": pd.Series(random.choice(list("ABCDEFGH"), rows), dtype="str"),
            "a": random.uniform(0, 1, rows),
            "b": random.normal(0, 1, rows),
            "c": random.exponential(1, rows),
            "hour": random.integers(0, 24, rows).astype("float64"),
        }
    )
    shop = frame["shop"].map(dict(zip("ABCDEFGH", range(8), strict=True)))
    return frame, (5 * frame["a"] + 2 * np.sin(2 * frame["b"]) + frame["c"] + 0.5 * shop).to_numpy()


def measure(shape: Shape, seed: int) -> dict[str, pd.Series]:
    """Return for both kinds of interval the coverage of all rows, of each shop and of each fifth, and the width."""
    random = np.random.default_rng(seed)
    held = shape.rows // 4 if shape.by_time else 6000
    rows, mean = features(random, shape.rows + held)
    place = np.arange(len(rows)) / len(rows)
    target = pd.Series(mean + np.asarray(shape.error(random, rows, place)))
    known = slice(None, shape.rows)
    time = pd.Series(pd.date_range("2024-01-01", periods=len(rows), freq="min"))
    later = time[known] if shape.by_time else None
    model = train_model(rows[known], KINDS, target[known], **SETTING)
    found = fit_intervals(TrainingRows(rows[known], KINDS, target[known], later), SETTING, LEVEL)
    assert found is not None
    rest, actual = rows[shape.rows :], target[shape.rows :].to_numpy()
    predicted = predict(model, rest, 1).to_numpy()
    # As long a span as it is measured on; of rows in no order, as many as would be held out.
    first = held // 2 if shape.by_time else min(shape.rows // 4, held // 2)
    half = half_width(np.abs(actual - predicted)[:first], LEVEL)
    assert half is not None
    after = slice(first, None)
    bounds = {"own": ends(found, rest, predicted), "constant": (predicted - half, predicted + half)}
    groups = {name: pd.qcut(rest[name], BINS, labels=False) for name in KINDS if name != "shop"}
    groups |= {"prediction": pd.qcut(predicted, BINS, labels=False), "shop": rest["shop"]}
    result = {}
    for name, (low, high) in bounds.items():
        part = slice(None) if name == "own" else after
        inside = pd.Series((low <= actual) & (actual <= high))[part]
        shares = {"all": inside.mean(), "width": (high - low).mean() / (2 * half)}
        for key, codes in groups.items():
            for code, share in inside.groupby(np.asarray(codes)[part]).mean().items():
                shares[f"{key} {code}"] = share
        result[name] = pd.Series(shares)
    return result


def line(name: str, seeds: int) -> str:
    """Return the row of the table for one shape."""
    runs = [measure(SHAPES[name], seed) for seed in range(seeds)]
    cells = [name, "yes" if name in TUNED else "no"]
    for kind in ("own", "constant"):
        runs_of = pd.DataFrame([each[kind] for each in runs])
        parts = runs_of.drop(columns=["all", "width"]).mean()
        cells += [f"{runs_of['all'].mean():.1%} ± {runs_of['all'].std():.1%}", f"{parts.min():.1%}–{parts.max():.1%}"]
    cells.append(f"{np.mean([each['own']['width'] for each in runs]):.2f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shapes", nargs="*", help="the shapes to measure; all if not given")
    parser.add_argument("--seeds", type=int, default=8, help="tables of each shape")
    parser.add_argument("--page", type=Path, help="the page whose table is replaced")
    args = parser.parse_args()
    lines = [
        "| errors | tuned on | own width: all | parts | one width: all | parts | width |",
        "|---|---|---|---|---|---|---|",
    ]
    print(*lines, sep="\n", flush=True)
    for name in args.shapes or SHAPES:
        lines.append(line(name, args.seeds))
        print(lines[-1], flush=True)
    if args.page:
        text = args.page.read_text(encoding="utf-8")
        before, _, rest = text.partition("| errors |")
        after = rest.partition("\n\n")[2]
        args.page.write_text("\n".join([f"{before}{lines[0]}", *lines[1:], "", after]), encoding="utf-8")


if __name__ == "__main__":
    main()
