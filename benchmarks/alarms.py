"""Make data with one known fault, and clean data of the same shape, and tell whether the diagnostics name the fault.

    python benchmarks/alarms.py --seeds 20 --output benchmarks/alarms.md

A hit is an alarm that names the fault, its column included, among the first three reasons against the model. Any alarm
on clean data is a false one.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from diagnose import diagnose
from evaluate_model import evaluate_model
from feature_engineering import feature_engineering
from train_model import train_model

ROWS, TEST_SHARE = 6000, 0.2
CLEAN = {
    "clean": {},
    "clean, 600 rows": {"rows": 600},
    "clean, split by a hash": {"split_by": "hash"},
    "clean, a target that grows a little": {"growth": 8.0},
}
# By fault: the alarms that name it, and the feature that they must name.
FAULTS = {
    "leaked target": ({"leak"}, "gate_code"),
    "shifted carrier": ({"slice_bias"}, "carrier"),
    "changed unit": ({"unit_change"}, "distance"),
    "vanished category": ({"vanished_category"}, "origin"),
    "constant prediction": ({"constant_prediction"}, None),
    "noise for a target": ({"no_signal", "constant_prediction"}, None),
}


def flights(seed: int, fault: str | None = None, rows: int = ROWS, growth: float = 0.0) -> pd.DataFrame:
    """Return flights in the order of their time: clean, or with one fault in those that will be held out.

    `growth` is by how many minutes the delays have grown at the end.
    """
    random = np.random.default_rng(seed)
    late = np.arange(rows) >= rows * (1 - TEST_SHARE)
    frame = pd.DataFrame(
        {
            "time": pd.date_range("2024-01-01", periods=rows, freq="45min"),
            "carrier": random.choice(["AA", "B6", "DL", "EV", "UA"], rows, p=[0.15, 0.25, 0.2, 0.2, 0.2]),
            "origin": random.choice(["EWR", "JFK", "LGA"], rows, p=[0.4, 0.35, 0.25]),
            "distance": random.gamma(3.0, 350.0, rows).round() + 90,
            "dep_delay": (random.exponential(25.0, rows) - 12).round(),
            "seats": random.choice([50, 90, 140, 180, 220], rows),
        }
    )
    # Days are alike in themselves: weather.
    weather = random.normal(0, 4, rows // 32 + 1)[np.arange(rows) // 32]
    slow = frame["carrier"].map({"AA": -3.0, "B6": 4.0, "DL": -2.0, "EV": 6.0, "UA": 0.0})
    delay = frame["dep_delay"] * 0.95 + slow - frame["distance"] / 300 + weather + random.normal(0, 12, rows)
    delay += growth * np.arange(rows) / rows
    frame["arr_delay"] = delay.round()
    if fault == "leaked target":
        frame["gate_code"] = (frame["arr_delay"] * 7 + 1000 + random.normal(0, 5, rows)).round()
    elif fault == "shifted carrier":
        frame.loc[late & (frame["carrier"] == random.choice(["AA", "B6", "DL", "EV", "UA"])), "arr_delay"] += 20
    elif fault == "changed unit":
        frame.loc[late, "distance"] *= 1.609344
    elif fault == "vanished category":
        frame.loc[late & (frame["origin"] == "LGA"), "origin"] = "JFK"
    elif fault == "noise for a target":
        frame["arr_delay"] = random.normal(5, 40, rows).round()
    return frame


def diagnosed(
    frame: pd.DataFrame,
    target: str,
    seed: int,
    estimator: str | None = None,
    params: dict | None = None,
    **features: object,
) -> dict:
    """Return the diagnostics of a model that is trained and judged as the workflow does it."""
    table, description = feature_engineering(frame, target, **features)
    kinds = description["features"]
    train = table[table["split"] == "train"]
    chosen = {"estimator": estimator} if estimator else {}
    model = train_model(train, kinds, train[target], params=params, random_state=seed, **chosen)
    predictions = {
        "model": pd.Series(model.predict(table[list(kinds)]), table.index),
        "mean": pd.Series(train[target].mean(), table.index),
    }
    metrics = {"target": target, **evaluate_model(predictions, table[target], table["split"])}
    test = table["split"] == "test"
    holdout = pd.DataFrame({"actual": table[target], "predicted": predictions["model"]})
    holdout["baseline_mean"] = predictions["mean"]
    return diagnose(model, table, description, holdout[test].reset_index(drop=True), metrics, seed)


def named(found: dict, fault: str) -> bool:
    """Tell whether an alarm of the fault, on its column, is among the first three reasons against."""
    names, feature = FAULTS[fault]
    told = [each["sentence"] for each in found["alarms"] if each["name"] in names and each["feature"] == feature]
    return any(sentence in found["reasons"]["against"][:3] for sentence in told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {'; '.join((*FAULTS, *CLEAN))} (default: all)")
    parser.add_argument("--seeds", type=int, default=20, help="how many tables of each kind")
    parser.add_argument("--output", type=Path, help="also write the table to this Markdown file")
    args = parser.parse_args()
    lines = ["| data | tables | named | other alarms |", "|---|---:|---:|---|"]
    missed = 0
    for kind in args.kinds or (*FAULTS, *CLEAN):
        if kind not in (*FAULTS, *CLEAN):
            parser.error(f"there is no kind {kind!r}")
        fault = kind if kind in FAULTS else None
        options = dict(CLEAN.get(kind, {}))
        split = {"split_by": options.pop("split_by", "time"), "test_share": TEST_SHARE}
        hits, others = 0, []
        for seed in range(args.seeds):
            constant = "sklearn.dummy.DummyRegressor" if fault == "constant prediction" else None
            found = diagnosed(flights(seed, fault, **options), "arr_delay", seed, constant, **split)
            alarms = [(each["name"], each["feature"]) for each in found["alarms"]]
            if fault is None:
                others += alarms
                hits += bool(alarms)
            else:
                hits += named(found, fault)
                names, feature = FAULTS[fault]
                others += [each for each in alarms if each[0] not in names or each[1] != feature]
        counts = pd.Series([f"{name} {feature or ''}".strip() for name, feature in others], dtype="str").value_counts()
        also = ", ".join(f"{name}: {n}" for name, n in counts.items()) or "none"
        lines.append(f"| {kind} | {args.seeds} | {hits} ({hits / args.seeds:.0%}) | {also} |")
        print(lines[-1], flush=True)
        missed += hits > 0.05 * args.seeds if fault is None else hits < 0.95 * args.seeds
    if args.output:
        words = [
            "# Are faults named?",
            "",
            f"`make bench-alarms` makes {args.seeds} tables of {ROWS:,} flights, with weather by day, for each fault,",
            "and as many of each kind without. The last fifth in time is held out, where nothing else is said.",
            "*Named*: an alarm of this kind, on the right column, is among the first three reasons against. Of",
            "clean tables, it counts those with any alarm.",
            "",
        ]
        args.output.write_text("\n".join([*words, *lines]) + "\n", encoding="utf-8")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
