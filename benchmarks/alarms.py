"""Make data with one known fault, and clean data of the same shape, and tell whether the diagnostics name the fault.

    python benchmarks/alarms.py --seeds 20 --output benchmarks/alarms.md

A hit is an alarm that names the fault, its column included, among the first three reasons against the model. Any alarm
on clean data is a false one.
"""

import argparse
import functools
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import diagnose
import effects
from evaluate_model import evaluate_model
from feature_engineering import feature_engineering
from train_model import train_model

TEST_SHARE = 0.2
# By fault: the alarms that name it, and what the column is for that they must name.
FAULTS = {
    "leaked target": ({"leak"}, "leak"),
    "shifted slice": ({"slice_bias"}, "slice"),
    "changed unit": ({"unit_change"}, "number"),
    "vanished category": ({"vanished_category"}, "category"),
    "constant prediction": ({"constant_prediction"}, None),
    "noise for a target": ({"no_signal", "constant_prediction"}, None),
}


def flights(seed: int, rows: int = 6000, growth: float = 0.0) -> pd.DataFrame:
    """Return made flights in the order of their time; `growth` is by how many minutes delays have grown at the end."""
    random = np.random.default_rng(seed)
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
    frame["arr_delay"] = (delay + growth * np.arange(rows) / rows).round()
    return frame


def sales(seed: int, rows: int = 2000) -> pd.DataFrame:
    """Return made sales: a skewed target, many shops, a rhythm of weeks, and columns that tell nothing."""
    random = np.random.default_rng(seed)
    time = pd.Series(pd.date_range("2023-03-01", periods=rows, freq="2h"))
    shops = [f"S{n:02}" for n in range(25)]
    frame = pd.DataFrame(
        {
            "time": time,
            "shop": random.choice(shops, rows, p=random.dirichlet(np.full(25, 3.0))),
            "kind": random.choice(["food", "toys", "books", "tools"], rows, p=[0.4, 0.25, 0.2, 0.15]),
            "price": np.exp(random.normal(2.5, 0.6, rows)).round(2),
            "shelf": random.integers(1, 6, rows),
            "weight": random.gamma(2.0, 0.8, rows).round(3),
            "code": random.standard_t(4, rows).round(2),
        }
    )
    rhythm = time.dt.day_of_week.map(dict(enumerate([0.0, 0.05, 0.1, 0.1, 0.3, 0.5, -0.2])))
    per_shop = frame["shop"].map(dict(zip(shops, random.normal(0, 0.3, 25), strict=True)))
    per_kind = frame["kind"].map({"food": 0.0, "toys": 0.3, "books": -0.2, "tools": 0.5})
    logarithm = 2 + per_shop + per_kind - 0.4 * np.log(frame["price"]) + 0.1 * frame["shelf"] + rhythm
    frame["sold"] = np.exp(logarithm + random.normal(0, 0.4, rows)).round(2)
    return frame


def real_flights(seed: int, rows: int = 4000) -> pd.DataFrame:
    """Return flights of 2013 in an order by chance, so that nothing has drifted but what is made to."""
    frame = flights_of_2013().sample(rows, random_state=seed).reset_index(drop=True)
    return pd.concat([pd.Series(pd.date_range("2013-01-01", periods=rows, freq="2h"), name="time"), frame], axis=1)


@functools.cache
def flights_of_2013() -> pd.DataFrame:
    """Return the real flights whose delays are known."""
    path = Path(__file__).resolve().parent.parent / "resources/flights.csv.xz"
    columns = ["carrier", "origin", "dest", "distance", "dep_delay", "arr_delay"]
    return pd.read_csv(path, usecols=columns, keep_default_na=False, na_values=[""])[columns].dropna()


# By kind of table: what makes it, its target, what a slice is shifted by, and the columns of the faults.
TABLES = {
    "flights": (flights, "arr_delay", 20.0, {"slice": "carrier", "category": "origin", "number": "distance"}),
    "sales": (sales, "sold", 8.0, {"slice": "shop", "category": "kind", "number": "weight"}),
    "real flights": (real_flights, "arr_delay", 20.0, {"slice": "carrier", "category": "origin", "number": "distance"}),
}
CLEAN = {
    "clean": {},
    "clean, 600 rows": {"rows": 600},
    "clean, split by a hash": {"split_by": "hash"},
    "clean, a target that grows a little": {"growth": 8.0},
}


def with_fault(frame: pd.DataFrame, table: str, fault: str | None, seed: int) -> pd.DataFrame:
    """Return a table with one fault, which but for a leak and noise is in the rows that will be held out."""
    _, target, shift, columns = TABLES[table]
    random = np.random.default_rng(seed)
    frame, rows = frame.copy(), len(frame)
    late = np.arange(rows) >= rows * (1 - TEST_SHARE)
    if fault == "leaked target":
        noise = random.normal(0, 0.02 * frame[target].std(), rows)
        frame["gate_code"] = (frame[target] * 7 + 1000 + 7 * noise).round(1)
    elif fault == "shifted slice":
        # One of those that every twentieth row is of, or more.
        levels = frame[columns["slice"]].value_counts(normalize=True)
        level = random.choice(sorted(levels[levels >= 0.05].index))
        frame.loc[late & (frame[columns["slice"]] == level), target] += shift
    elif fault == "changed unit":
        factor = random.choice([1.609344, 0.453592, 1000, 60])
        frame[columns["number"]] = frame[columns["number"]].where(~late, frame[columns["number"]] * factor)
    elif fault == "vanished category":
        first, *others = frame[columns["category"]].value_counts().index
        frame.loc[late & (frame[columns["category"]] == random.choice(others[:3])), columns["category"]] = first
    elif fault == "noise for a target":
        frame[target] = random.permutation(frame[target].to_numpy())
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
    with threadpool_limits(1):
        return diagnose.diagnose(model, table, description, holdout[test].reset_index(drop=True), metrics, seed)


def named(found: dict, fault: str, table: str = "flights") -> bool:
    """Tell whether an alarm of the fault, on its column, is among the first three reasons against."""
    told = [each["sentence"] for each in found["alarms"] if names(each, fault, table)]
    return any(sentence in found["reasons"]["against"][:3] for sentence in told)


def names(alarm: dict, fault: str, table: str) -> bool:
    """Tell whether an alarm names the fault, and the right column."""
    kinds, role = FAULTS[fault]
    feature = {**TABLES[table][3], "leak": "gate_code", None: None}[role]
    return alarm["name"] in kinds and alarm["feature"] == feature


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {'; '.join(TABLES)} (default: all)")
    parser.add_argument("--seeds", type=int, default=20, help="how many tables of each kind")
    parser.add_argument("--output", type=Path, help="also write the results to this Markdown file")
    args = parser.parse_args()
    # Most of the time goes there, and no alarm depends on them.
    effects.importance = lambda *_: ([], {})
    effects.dependence = lambda *_: {}
    lines = ["| table | data | seeds | named | other alarms |", "|---|---|---:|---:|---|"]
    missed = 0
    for table in args.tables or TABLES:
        if table not in TABLES:
            parser.error(f"there is no table {table!r}")
        make, target, *_ = TABLES[table]
        for kind in (*FAULTS, *CLEAN):
            fault = kind if kind in FAULTS else None
            options = dict(CLEAN.get(kind, {}))
            if "growth" in options and make is not flights:
                continue
            split = {"split_by": options.pop("split_by", "time"), "test_share": TEST_SHARE}
            hits, others = 0, []
            for seed in range(args.seeds):
                constant = "sklearn.dummy.DummyRegressor" if fault == "constant prediction" else None
                frame = with_fault(make(seed, **options), table, fault, seed)
                found = diagnosed(frame, target, seed, constant, **split)
                hits += bool(found["alarms"]) if fault is None else named(found, fault, table)
                others += [each for each in found["alarms"] if fault is None or not names(each, fault, table)]
            told = pd.Series([f"{each['name']} {each['feature'] or ''}".strip() for each in others], dtype="str")
            also = ", ".join(f"{name}: {n}" for name, n in told.value_counts().items()) or "none"
            lines.append(f"| {table} | {kind} | {args.seeds} | {hits} ({hits / args.seeds:.0%}) | {also} |")
            print(lines[-1], flush=True)
            missed += hits > 0.05 * args.seeds if fault is None else hits < 0.95 * args.seeds
    if args.output:
        words = [
            "# Are faults named?",
            "",
            f"`make bench-alarms` makes {args.seeds} tables of each kind, with one fault each and without: 6,000",
            "flights with weather by day; 2,000 sales with a skewed target, 25 shops, a rhythm of weeks and columns",
            "that tell nothing; and 4,000 real flights of 2013 in an order by chance. The last fifth in time is held",
            "out, where nothing else is said. *Named*: an alarm of this kind, on the right column, is among the first",
            "three reasons against. Of clean tables, it counts those with any alarm. *Other alarms* beside a fault may",
            "follow from it.",
            "",
        ]
        args.output.write_text("\n".join([*words, *lines]) + "\n", encoding="utf-8")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
