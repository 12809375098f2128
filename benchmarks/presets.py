"""Compare the held-out MAE of model.preset good with those of fast and of other learners, which choose nothing.

    python benchmarks/presets.py [NAME …] [--output benchmarks/presets.md]

The tables are generated ones and those of scikit-learn. The other learners are ridge regression, randomised trees, and
LightGBM and CatBoost if they are installed (make boosters); `good` itself does without these two.
"""

import argparse
import os
import platform
import re
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn
from sklearn import datasets

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "benchmarks")]

from marks import between_marks  # noqa: E402

from signoff.model.boosters import REGRESSORS, usable, versions_of  # noqa: E402
from signoff.model.presets import choose_good  # noqa: E402
from signoff.model.records import words_of  # noqa: E402
from signoff.model.regressor import RIDGE, TREES, TrainingRows  # noqa: E402
from signoff.model.training import train_model  # noqa: E402
from tables import TABLES  # noqa: E402

MOST_ROWS = 3000
NAMES = [
    "tiny",
    "narrow",
    "adverts",
    "grades",
    "estates",
    "autos",
    "concrete",
    "insurance",
    "houses",
    "abalone",
    "wine",
]
NAMES += ["counts", "claims", "bikes", "energy", "rooms", "diamonds", "sales", "sensors", "zips", "mixed", "stores"]
NAMES += ["superconductors", "power", "taxi"]
FROM_SKLEARN = {
    "load_diabetes": lambda: datasets.load_diabetes(as_frame=True, return_X_y=True),
    "make_friedman1": lambda: datasets.make_friedman1(400, noise=1, random_state=0),
    "make_friedman2": lambda: datasets.make_friedman2(400, noise=50, random_state=0),
    "make_friedman3": lambda: datasets.make_friedman3(400, noise=0.1, random_state=0),
}
BOOSTERS = usable(None)
PEERS = {
    "ridge": {"estimator": RIDGE, "params": {"alphas": [0.1, 1.0, 10.0, 100.0, 1000.0]}},
    "randomised trees": {"estimator": TREES, "params": {"n_estimators": 100}},
} | {name: {"estimator": REGRESSORS[name], "params": {}} for name in BOOSTERS}
# Of so many tables, the page says why good chose what it chose.
WORST = 5


def columns(name: str) -> tuple[pd.DataFrame, pd.Series, pd.Series | None]:
    """Return features, target and time of a table, at most MOST_ROWS rows: the first dates are the time, if any."""
    if name in FROM_SKLEARN:
        x, y = FROM_SKLEARN[name]()
        return pd.DataFrame(x).rename(columns=str), pd.Series(y), None
    example = TABLES[name](np.random.default_rng(zlib.crc32(name.encode())))
    frame = example.frame.dropna(subset=[example.target])
    rows = len(frame) if name == "taxi" else min(len(frame), MOST_ROWS)
    frame = frame.sample(rows, random_state=0).reset_index(drop=True)
    found, when = {}, None
    for column, values in frame.drop(columns=example.target).items():
        if pd.api.types.is_datetime64_any_dtype(values):
            when = values if when is None and values.notna().all() else when
            found |= {f"{column} {part}": getattr(values.dt, part) for part in ("year", "month", "day_of_week", "hour")}
        else:
            found[column] = values
    return pd.DataFrame(found), frame[example.target].astype("float64"), when


def measure(name: str) -> dict[str, object]:
    """Return a table's training rows, the MAE of fast and the ratios to it, the CPU time of good, and its choice."""
    x, y, when = columns(name)
    kinds = {each: "number" if pd.api.types.is_numeric_dtype(x[each]) else "category" for each in x}
    x = x.assign(**{each: x[each].astype("str") if kind == "category" else x[each] for each, kind in kinds.items()})
    order = np.random.default_rng(1).permutation(len(y)) if when is None else when.argsort(kind="stable").to_numpy()
    train, test = np.split(order, [int(0.8 * len(y))])
    times = None if when is None else when.iloc[train]
    errors, seconds, chosen, why = {}, {}, "", "too few rows"
    for learner, setting in {"fast": {}, "good": {}, **PEERS}.items():
        # Not wall time, which depends on what else runs here.
        started = time.process_time()
        if learner == "good":
            setting, comparison = choose_good(TrainingRows(x.iloc[train], kinds, y.iloc[train], times))
            chosen, why = words_of(setting), comparison["why"] if comparison else why
        model = train_model(x.iloc[train], kinds, y.iloc[train], **setting)
        seconds[learner] = time.process_time() - started
        errors[learner] = float(np.abs(model.predict(x.iloc[test]) - y.iloc[test]).mean())
    return {
        "table": name,
        "rows": len(train),
        "fast": errors["fast"],
        "MAE": errors["good"] / errors["fast"],
        "peers": {peer: errors[peer] / errors["fast"] for peer in PEERS},
        "seconds": seconds["good"],
        "slower": seconds["good"] / seconds["fast"],
        "chosen": chosen,
        "why": why,
    }


def mean(ratios: pd.Series) -> float:
    """Return the geometric mean."""
    return float(np.exp(np.log(ratios.astype("float64")).mean()))


def measured(found: list[dict]) -> list[str]:
    """Return the lines of the page on what was measured, the worst tables first."""
    ratios = pd.DataFrame(found).sort_values("MAE", ascending=False, kind="stable")
    peers = pd.DataFrame(list(ratios["peers"]), index=ratios.index)
    ratios = ratios.assign(best=peers.min(axis=1), peer=peers.idxmin(axis=1))
    over = int((ratios["MAE"] > 1.0005).sum())
    named = ", ".join(f"{mean(ratios['MAE'] / peers[each]):.3f} of {each}" for each in peers)
    versions = f"Python {platform.python_version()}, scikit-learn {sklearn.__version__}"
    versions += "".join(f", {name} {number}" for name, number in versions_of(BOOSTERS).items())
    lines = [
        "",
        f"On {len(ratios)} tables, the geometric mean of the ratios is {mean(ratios['MAE']):.3f}, and the worst is "
        f"{ratios['MAE'].max():.3f}; `good` was worse on {over}.",
        f"Its error is {named}, and {mean(ratios['MAE'] / ratios['best']):.3f} of the best of these on each table.",
        f"`good` took {ratios['slower'].median():.0f} times the CPU time of `fast` at the median and "
        f"{ratios['seconds'].max():.0f} s at most.",
        f"Measured with {os.cpu_count()} cores, {platform.machine()}, {versions}.",
        "",
        "| table | training rows | MAE of fast | ratio | best peer | its ratio | CPU s | times fast | chosen |",
        "|---|---:|---:|---:|---|---:|---:|---:|---|",
    ]
    for each in ratios.itertuples():
        lines.append(
            f"| {each.table} | {each.rows:,} | {each.fast:.4g} | {each.MAE:.3f} | {each.peer} | {each.best:.3f} | "
            f"{each.seconds:.1f} | {each.slower:.0f} | {short(each.chosen)} |"
        )
    lines += ["", "Why `good` chose what it chose on the worst of them:", ""]
    lines += [f"- {each.table}: {each.why}." for each in ratios.head(WORST).itertuples()]
    return lines


def short(words: str) -> str:
    """Return the classes of a setting, with what differs from their defaults in a word."""
    named = re.findall(r"(\w+)(?:Regressor|CV)\(|'(absolute_error)'|min_samples_leaf=(5)|(numpy\.log)", words)
    found = ["".join(each) for each in named]
    shown = {"absolute_error": "(absolute)", "5": "(small leaves)", "numpy.log": "(logarithm)"}
    return " ".join(shown.get(each, each) for each in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="some of the tables")
    parser.add_argument("--output", type=Path, help="the page to write")
    args = parser.parse_args()
    found = []
    for name in args.names or [*FROM_SKLEARN, *NAMES]:
        found.append(measure(name))
        print(f"{name}: {found[-1]['MAE']:.3f}, {found[-1]['seconds']:.1f} s, {found[-1]['chosen']}", flush=True)
    lines = measured(found)
    print("\n".join(lines))
    if args.output:
        page = args.output.read_text(encoding="utf-8")
        args.output.write_text(between_marks(page, lines), encoding="utf-8")


if __name__ == "__main__":
    main()
