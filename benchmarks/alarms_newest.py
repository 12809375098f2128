"""Plant faults in the newest weeks of tables of many shapes, and count which of them the diagnostics name.

    python benchmarks/alarms_newest.py --seeds 3 --output benchmarks/alarms_newest.md

Each table has a release that was trained before the newest weeks. Some shapes are only ever clean. A hit is an alarm
that names the fault and its column. Any alarm on a clean table is a false alarm. `--keep FOLDER` keeps the trained
models: changed alarms are then measured again in a tenth of the time.
"""

import argparse
import hashlib
import os
import pickle
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import alarms_newest_apart as apart_shapes
from benchmarks import alarms_newest_clean as clean_shapes
from benchmarks.alarms import flights_of_2013, lasting, without_effects
from benchmarks.marks import between_marks

import explain_model as explanations
from clean_data import clean_data
from compare_model import Before, ComparisonOptions, compare_model
from diagnose import diagnose
from feature_engineering import feature_engineering
from signoff.base.numbers import rounded
from signoff.model.quantiles import ends, fit_intervals
from signoff.model.records import Setting
from signoff.model.regressor import DEFAULT_ESTIMATOR, TrainingRows
from signoff.model.scoring import LOW_AND_HIGH
from signoff.model.training import train_model
from signoff.report.decision_box import decision
from signoff.review import drift, newest
from signoff.review.delivery import history_alarms
from signoff.review.evaluation import Gate, by_part, evaluate_predictions
from signoff.review.times import rows_by_week

# A small model: the alarms are measured, not the model.
_PARAMS = {"max_iter": 40}
_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Shape:
    """A shape of table: what makes it, the target, and the columns that faults change."""

    make: Callable[[np.random.Generator], pd.DataFrame]
    target: str
    segment: str
    minor: str
    celsius: str | None
    # Never looked at while alarms were tuned.
    apart: bool = False


def _times(random: np.random.Generator, days: int, rows: int, weights: np.ndarray | None = None) -> pd.Series:
    """Return sorted times of rows within some days."""
    day = np.sort(random.choice(days, rows, p=None if weights is None else weights / weights.sum()))
    hour = np.clip(random.normal(13, 4, rows), 0, 23.9)
    moments = pd.Timestamp("2023-01-02") + pd.to_timedelta(day, unit="D") + pd.to_timedelta(hour, unit="h")
    return pd.Series(moments).dt.floor("min").sort_values(ignore_index=True)


def _day(time: pd.Series) -> np.ndarray:
    return (time.dt.floor("D") - time.min().floor("D")).dt.days.to_numpy()


def _heating(random: np.random.Generator) -> pd.DataFrame:
    """Seasonal daily data: heating by building, which follows the temperature of a year and a half."""
    days, rows = 550, 5500
    time = _times(random, days, rows)
    day = _day(time)
    warmth = 10 - 11 * np.cos(2 * np.pi * day / 365) + 2.5 * lasting(random, days, 0.7)[day]
    frame = pd.DataFrame(
        {
            "time": time,
            "building": random.choice([f"B{n}" for n in range(6)], rows),
            "temperature": warmth.round(1),
            "area": random.gamma(4, 60, rows).round(),
            "people": random.poisson(6, rows),
        }
    )
    level = frame["building"].map({f"B{n}": each for n, each in enumerate(random.normal(0, 6, 6))})
    frame["energy"] = (
        90 + level - 2.2 * frame["temperature"] + 0.05 * frame["area"] + random.normal(0, 6, rows)
    ).round(1)
    return frame


def _alike(random: np.random.Generator) -> pd.DataFrame:
    """Autocorrelated days (0.8), of the target and of a feature."""
    days, rows = 280, 4500
    time = _times(random, days, rows)
    day = _day(time)
    frame = pd.DataFrame(
        {
            "time": time,
            "line": random.choice(list("PQRST"), rows, p=[0.3, 0.25, 0.2, 0.15, 0.1]),
            "wind": np.exp(1.5 + 0.4 * lasting(random, days, 0.8)[day] + 0.2 * random.normal(size=rows)).round(2),
            "speed": random.normal(60, 9, rows).round(1),
            "load": random.gamma(3, 4, rows).round(2),
        }
    )
    shock = 5 * lasting(random, days, 0.8)[day]
    level = frame["line"].map(dict(zip("PQRST", [0, 4, -3, 6, -5], strict=True)))
    frame["delay"] = (
        30 + shock + level + 1.5 * frame["wind"] - 0.2 * frame["speed"] + random.normal(0, 4, rows)
    ).round(2)
    return frame


def _shops(random: np.random.Generator) -> pd.DataFrame:
    """A panel: each of 12 shops once a day, with promotions and a rhythm of weeks."""
    days, shops = 320, 12
    day = np.repeat(np.arange(days), shops)
    rows = len(day)
    frame = pd.DataFrame(
        {
            "time": pd.Timestamp("2022-03-07") + pd.to_timedelta(day, unit="D"),
            "shop": np.tile([f"S{n:02}" for n in range(shops)], days),
            "promotion": (random.random(rows) < 0.15).astype(int),
            "price": np.exp(random.normal(1.2, 0.25, rows)).round(2),
            "visitors": random.poisson(80 + 30 * (day % 7 >= 5)),
        }
    )
    level = frame["shop"].map({f"S{n:02}": each for n, each in enumerate(random.normal(0, 0.3, shops))})
    logarithm = 3.5 + level + 0.4 * frame["promotion"] - 0.3 * np.log(frame["price"]) + 0.006 * frame["visitors"]
    logarithm += 0.05 * lasting(random, days, 0.6)[day]
    frame["sold"] = np.exp(logarithm + random.normal(0, 0.2, rows)).round(1)
    return frame


def _counts(random: np.random.Generator) -> pd.DataFrame:
    """Counts of which most are zero."""
    days, rows = 210, 4000
    time = _times(random, days, rows)
    frame = pd.DataFrame(
        {
            "time": time,
            "region": random.choice(["north", "south", "east", "west"], rows, p=[0.4, 0.3, 0.2, 0.1]),
            "age": random.normal(40, 12, rows).round().clip(18, 90),
            "distance": random.gamma(2, 9, rows).round(1),
            "rooms": random.integers(1, 7, rows),
        }
    )
    level = frame["region"].map({"north": 0.0, "south": 0.5, "east": -0.3, "west": 0.8})
    rate = np.exp(-1.1 + level + 0.03 * frame["distance"] - 0.01 * (frame["age"] - 40))
    frame["claims"] = random.poisson(rate)
    return frame


def _tails(random: np.random.Generator) -> pd.DataFrame:
    """Heavy tails of the target and of a feature, and some missing values."""
    days, rows = 260, 4500
    frame = pd.DataFrame(
        {
            "time": _times(random, days, rows),
            "branch": random.choice([f"K{n}" for n in range(8)], rows),
            "insured": np.exp(random.normal(8, 1.1, rows)).round(),
            "years": random.integers(0, 30, rows),
            "score": random.normal(600, 60, rows).round(),
        }
    )
    level = frame["branch"].map({f"K{n}": each for n, each in enumerate(random.normal(0, 0.3, 8))})
    logarithm = 1 + 0.6 * np.log(frame["insured"]) + level - 0.02 * frame["years"]
    frame["damage"] = (np.exp(logarithm) * random.pareto(2.5, rows)).round(2)
    frame.loc[random.random(rows) < 0.04, "score"] = np.nan
    return frame


def _few(random: np.random.Generator) -> pd.DataFrame:
    """Few rows a week: 16, for two years."""
    days, rows = 728, 1664
    time = _times(random, days, rows)
    frame = pd.DataFrame(
        {
            "time": time,
            "team": random.choice(list("ABC"), rows, p=[0.5, 0.3, 0.2]),
            "effort": random.gamma(3, 5, rows).round(1),
            "temperature": (12 - 7 * np.cos(2 * np.pi * _day(time) / 365) + random.normal(0, 4, rows)).round(1),
        }
    )
    level = frame["team"].map({"A": 0.0, "B": 8.0, "C": -6.0})
    frame["hours"] = (50 + level + 2 * frame["effort"] - 0.5 * frame["temperature"] + random.normal(0, 5, rows)).round(
        1
    )
    return frame


def _noise(random: np.random.Generator) -> pd.DataFrame:
    """A low signal: the features explain a tenth of the target's variance."""
    days, rows = 240, 4500
    frame = pd.DataFrame(
        {
            "time": _times(random, days, rows),
            "channel": random.choice(["web", "shop", "phone"], rows, p=[0.5, 0.3, 0.2]),
            "visits": random.poisson(5, rows),
            "amount": np.exp(random.normal(3, 0.6, rows)).round(2),
            "tenure": random.gamma(2, 20, rows).round(),
        }
    )
    level = frame["channel"].map({"web": 0.0, "shop": 2.0, "phone": -2.0})
    frame["gain"] = (20 + level + 0.8 * frame["visits"] + random.normal(0, 8, rows)).round(2)
    return frame


def _trips(random: np.random.Generator) -> pd.DataFrame:
    """Trips: a strong rhythm of weekdays and hours, a volume that grows, 30 stations, missing values."""
    days, rows = 300, 6000
    grows = (1 + np.arange(days) / days) * np.where(np.arange(days) % 7 >= 5, 0.5, 1.0)
    time = _times(random, days, rows, grows)
    day = _day(time)
    stations = [f"st{n:02}" for n in range(30)]
    shares = np.arange(1, 31) ** -0.7
    frame = pd.DataFrame(
        {
            "time": time,
            "station": random.choice(stations, rows, p=shares / shares.sum()),
            "member": random.choice(["yes", "no"], rows, p=[0.7, 0.3]),
            "distance": random.gamma(2.5, 1.4, rows).round(2),
            "temperature": (14 - 9 * np.cos(2 * np.pi * (day + 60) / 365) + 3 * lasting(random, days, 0.8)[day]).round(
                1
            ),
            "wind": random.gamma(2, 2, rows).round(1),
        }
    )
    level = frame["station"].map(dict(zip(stations, random.normal(0, 2, 30), strict=True)))
    frame["minutes"] = (
        6
        + level
        + 4.5 * frame["distance"]
        + 3 * (frame["member"] == "no")
        - 0.1 * frame["temperature"]
        + 4 * ((time.dt.hour >= 16) & (time.dt.hour <= 18))
        + random.gamma(2, 2.5, rows)
    ).round(1)
    frame.loc[random.random(rows) < 0.05, "wind"] = np.nan
    return frame


def _power(random: np.random.Generator) -> pd.DataFrame:
    """Power by the hour of two plants, with a season, days that are alike (0.9), and noise that changes."""
    rows = 24 * 230
    hour = np.arange(rows)
    time = pd.Series(pd.Timestamp("2021-02-01") + pd.to_timedelta(hour, unit="h"))
    day = hour // 24
    warmth = 9 - 10 * np.cos(2 * np.pi * (day + 20) / 365) + 2 * lasting(random, 230, 0.9)[day]
    warmth = warmth + 3 * np.sin(2 * np.pi * (hour % 24 - 9) / 24) + random.normal(0, 0.7, rows)
    frame = pd.DataFrame(
        {
            "time": time,
            "plant": random.choice(["A", "B", "C", "D"], rows, p=[0.4, 0.3, 0.2, 0.1]),
            "temperature": warmth.round(1),
            "pressure": (1013 + 7 * lasting(random, 230, 0.8)[day] + random.normal(0, 1, rows)).round(1),
            "clouds": random.beta(0.8, 0.8, rows).round(2),
        }
    )
    level = frame["plant"].map({"A": 0.0, "B": 20.0, "C": -15.0, "D": 35.0})
    noise = random.normal(size=rows) * np.exp(1.6 + 0.3 * lasting(random, 230, 0.8)[day])
    frame["power"] = (
        220
        + level
        - 2.5 * frame["temperature"]
        - 30 * frame["clouds"]
        + 25 * np.sin(2 * np.pi * (hour % 24 - 7) / 24)
        + 8 * lasting(random, 230, 0.8)[day]
        + noise
    ).round(1)
    return frame


def _flights(random: np.random.Generator) -> pd.DataFrame:
    """Flights of 26 weeks of 2013, which drift by themselves."""
    frame = flights_of_2013().rename(columns={"time_hour": "time"}).drop(columns="dest")
    first = pd.Timestamp("2013-01-01", tz="UTC") + int(random.integers(0, 170)) * _DAY
    inside = frame[(frame["time"] >= first) & (frame["time"] < first + pd.Timedelta(weeks=26))]
    chosen = inside.sample(6000, random_state=int(random.integers(1000))).sort_index()
    return chosen.assign(time=chosen["time"].dt.tz_localize(None)).reset_index(drop=True)


SHAPES = {
    "heating": Shape(_heating, "energy", "building", "area", "temperature"),
    "alike": Shape(_alike, "delay", "line", "load", None),
    "shops": Shape(_shops, "sold", "shop", "price", None),
    "counts": Shape(_counts, "claims", "region", "distance", None),
    "tails": Shape(_tails, "damage", "branch", "insured", None),
    "few": Shape(_few, "hours", "team", "effort", "temperature"),
    "noise": Shape(_noise, "gain", "channel", "amount", None),
    "trips": Shape(_trips, "minutes", "station", "distance", "temperature", apart=True),
    "power": Shape(_power, "power", "plant", "clouds", "temperature"),
    "flights": Shape(_flights, "arr_delay", "carrier", "distance", None),
    "holidays": Shape(clean_shapes.holidays, "sales", "store", "visitors", None, apart=True),
    "panel": Shape(clean_shapes.panel, "turnover", "shop", "price", None, apart=True),
    "goals": Shape(clean_shapes.goals, "incidents", "zone", "traffic", None, apart=True),
    "energy": Shape(apart_shapes.energy, "kwh", "tariff", "wind", "warmth", apart=True),
    "calls": Shape(apart_shapes.calls, "repeats", "queue", "tenure", None, apart=True),
    "outlets": Shape(apart_shapes.outlets, "units", "region", "shelf", None, apart=True),
    "little": Shape(apart_shapes.little, "yield_", "plot", "water", "warmth", apart=True),
    "orders": Shape(apart_shapes.orders, "amount", "channel", "lines", None, apart=True),
}

# Only ever measured without a fault.
CLEAN_SHAPES = {
    "sensors": Shape(clean_shapes.sensors, "yield", "unit", "sensor_0", None),
    "growth": Shape(clean_shapes.growth, "spend", "plan", "users", None),
    "lognormal": Shape(clean_shapes.lognormal, "amount", "kind", "income", None),
    "sparse": Shape(clean_shapes.sparse, "cost", "site", "load", "warmth"),
    "regimes": Shape(clean_shapes.regimes, "demand", "area", "price", None),
    "basins": Shape(clean_shapes.basins, "flow", "gate", "gauge_0", None),
    "wander": Shape(clean_shapes.wander, "spread", "desk", "volume", None),
    "depots": Shape(clean_shapes.depots, "cost", "depot", "load", None),
    "rare": Shape(clean_shapes.rare, "scrap", "shift", "heat", None),
    "invoices": Shape(clean_shapes.invoices, "amount", "client", "weight", None),
    "short": Shape(clean_shapes.short, "effect", "lab", "dose", None),
    "wards": Shape(clean_shapes.wards, "stay", "ward", "fever", None),
    "ticks": Shape(clean_shapes.ticks, "price", "venue", "size", None),
    "routes": Shape(clean_shapes.routes, "arrival", "carrier", "distance", None),
    "diabetes": Shape(clean_shapes.diabetes, "progress", "sex", "bp", None, apart=True),
}
EVERY = SHAPES | CLEAN_SHAPES

# By fault: the alarms that name it, and which column they must name: that of the shape, or None for any.
NAMED_BY: dict[str, tuple[set[str], str | None]] = {
    "stuck sensor": ({"stuck"}, "minor"),
    "rows loaded twice": ({"duplicates"}, None),
    "half the history missing": ({"history"}, None),
    "six stale weeks": ({"stale"}, None),
    "60 % missing": ({"missing"}, "minor"),
    "segment not delivered": ({"vanished_category", "volume"}, "segment"),
    "× 2.54": ({"unit_change", "drift"}, "minor"),
    "°C to °F": ({"unit_change", "drift"}, "celsius"),
    "target × 1.19": ({"newest_errors", "drift", "unit_change", "joint_change"}, "target"),
    "segment's target + 20 %": ({"newest_errors", "slice_bias", "joint_change"}, "segment"),
    "regression in one slice": (
        {"newest_errors", "slice_bias", "slice_worse", "slice_coverage", "joint_change"},
        "segment",
    ),
    "day and month swapped": ({"times", "volume", "history"}, None),
    "clock + 1 h": ({"times"}, None),
    "loaded twice but for a column": ({"duplicates"}, "minor"),
    "half a week missing": ({"volume"}, None),
    "zeros for missing values": ({"drift", "unit_change"}, "minor"),
    "decimal point": ({"newest_errors", "drift", "unit_change"}, "target"),
}
CLEAN = ("clean first run", "clean release", "clean next week")


def planted(frame: pd.DataFrame, shape: Shape, fault: str, weeks: int, random: np.random.Generator) -> pd.DataFrame:
    """Return a table with a fault in the newest weeks."""
    frame = frame.copy()
    start = frame["time"].max().floor("D") - (7 * weeks - 1) * _DAY
    late = (frame["time"] >= start).to_numpy()
    shares = frame[shape.segment].value_counts(normalize=True)
    level = random.choice(sorted(shares[shares >= min(0.08, shares.max())].index))
    inside = late & (frame[shape.segment] == level).to_numpy()
    # As if the source had rounded it as always.
    decimals = _decimals(frame[shape.target])
    if fault == "stuck sensor":
        frame.loc[late, shape.minor] = float(frame.loc[late, shape.minor].dropna().iloc[0])
    elif fault == "rows loaded twice":
        frame = pd.concat([frame, frame[late]], ignore_index=True)
    elif fault == "half the history missing":
        middle = frame["time"].min() + (start - frame["time"].min()) / 2
        frame = frame[frame["time"] >= middle]
    elif fault == "six stale weeks":
        end = frame["time"].max().floor("D") + _DAY
        begin = end - 42 * _DAY
        copies = frame[(frame["time"] >= begin - 42 * _DAY) & (frame["time"] < begin)]
        frame = pd.concat([frame[frame["time"] < begin], copies.assign(time=copies["time"] + 42 * _DAY)])
    elif fault == "60 % missing":
        frame[shape.minor] = frame[shape.minor].where(~(late & (random.random(len(frame)) < 0.6)))
    elif fault == "segment not delivered":
        frame = frame[~inside]
    elif fault == "× 2.54":
        frame[shape.minor] = frame[shape.minor].where(~late, (frame[shape.minor] * 2.54).round(2))
    elif fault == "°C to °F":
        assert shape.celsius
        frame[shape.celsius] = frame[shape.celsius].where(~late, (frame[shape.celsius] * 1.8 + 32).round(1))
    elif fault == "target × 1.19":
        frame[shape.target] = frame[shape.target].where(~late, (frame[shape.target] * 1.19).round(decimals))
    elif fault == "segment's target + 20 %":
        frame[shape.target] = frame[shape.target].where(~inside, (frame[shape.target] * 1.2).round(decimals))
    elif fault == "regression in one slice":
        # What the model knew of this slice is no longer so.
        frame.loc[inside, shape.target] = random.choice(frame[shape.target].to_numpy(), inside.sum())
    elif fault == "day and month swapped":
        end = frame["time"].max().floor("D") + _DAY
        start = frame["time"].max().floor("D") - (7 * max(weeks, 4) - 1) * _DAY
        swap = (frame["time"] >= start) & (frame["time"].dt.day <= 12)
        swapped = [each.replace(month=each.day, day=each.month) for each in frame.loc[swap, "time"]]
        frame.loc[swap, "time"] = swapped
        # Cleaning drops times of the future.
        frame = frame[frame["time"] < end].sort_values("time", kind="stable")
    elif fault == "clock + 1 h":
        frame.loc[late, "time"] += pd.Timedelta(hours=1)
    else:
        frame = _planted_in_rows(frame, shape, fault, late, random)
    return frame.reset_index(drop=True)


def _decimals(values: pd.Series) -> int:
    """Return to how many decimals a source has rounded."""
    return next(n for n in range(6) if np.allclose(values, values.round(n)))


def _planted_in_rows(
    frame: pd.DataFrame, shape: Shape, fault: str, late: np.ndarray, random: np.random.Generator
) -> pd.DataFrame:
    """Return a table with a fault in a part of the newest rows."""
    some = random.random(len(frame))
    if fault == "loaded twice but for a column":
        decimals = _decimals(frame[shape.minor].dropna())
        again = frame[late].assign(**{shape.minor: (frame.loc[late, shape.minor] + 10.0**-decimals).round(decimals)})
        return pd.concat([frame, again]).sort_values("time", kind="stable")
    if fault == "half a week missing":
        # The week before the last three days.
        age = (frame["time"].max().floor("D") - frame["time"].dt.floor("D")).dt.days
        return frame[~(age.between(3, 9) & (some < 0.5))]
    if fault == "zeros for missing values":
        frame[shape.minor] = frame[shape.minor].mask(late & (some < 0.3), 0)
    elif fault == "decimal point":
        frame[shape.target] = frame[shape.target].mask(late & (some < 0.05), frame[shape.target] * 10)
    return frame


@dataclass
class Prepared:
    """What was trained on one table: all that the alarms are computed from."""

    table: pd.DataFrame
    description: dict[str, Any]
    model: Any
    metrics: dict[str, Any]
    holdout: pd.DataFrame
    unseen: tuple[pd.Series, np.ndarray]
    days: pd.DataFrame
    rows: int
    extra: dict[str, Any] = field(default_factory=dict)


class Job(NamedTuple):
    """A shape, a fault or a kind of clean run, and a seed; where trained models are kept."""

    shape: str
    kind: str
    seed: int
    keep: Path | None


def features_of(raw: pd.DataFrame, target: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the features of the cleaned rows, and their description."""
    clean, _ = clean_data(raw, required=(target, "time"))
    table, description = feature_engineering(clean, target, time_column="time", split_by="time", test_share=0.2)
    return table, description


def prepared(raw: pd.DataFrame, target: str, seed: int, champion: Any = None) -> Prepared:
    """Train and score a model on a table as the workflow does, beside the champion."""
    table, description = features_of(raw, target)
    kinds, split = description["features"], table["split"]
    train = table[split == "train"]
    model = train_model(train, kinds, train[target], params=_PARAMS, random_state=seed)
    predictions = {
        "model": pd.Series(model.predict(table[list(kinds)]), table.index),
        "mean": pd.Series(train[target].mean(), table.index),
    }
    if champion is not None:
        predictions["champion"] = pd.Series(champion.predict(table[list(kinds)]), table.index)
    parts = {name: by_part(values, split) for name, values in predictions.items()}
    deployed = {"release": "the one before"} if champion is not None else None
    metrics = {
        "target": target,
        "cleaning": None,
        "split": description["split"],
        **evaluate_predictions(parts, by_part(table[target], split), Gate({"r2_min": -9.0}, {}), deployed),
    }
    holdout = pd.DataFrame({"actual": table[target], "predicted": predictions["model"]})
    holdout["baseline_mean"] = predictions["mean"]
    if champion is not None:
        holdout["champion"] = predictions["champion"]
    time = description["time_column"] if description["split"]["by"] == "time" else None
    for name, values in _interval_ends(table, kinds, target, time, predictions["model"], seed):
        holdout[name] = values
    holdout = holdout[split == "test"].reset_index(drop=True)
    unseen = explanations.out_of_sample(model, train.reset_index(drop=True), kinds, target, time, None, seed)
    days = newest.rows_by_day(raw, "time")
    return Prepared(table, description, model, metrics, holdout, unseen, days, len(raw))


def _interval_ends(
    table: pd.DataFrame, kinds: dict[str, str], target: str, time: str | None, predicted: pd.Series, seed: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the ends of the intervals that ship by default (`model.intervals: quantile`), by column."""
    train = table[table["split"] == "train"].reset_index(drop=True)
    rows = TrainingRows(train, kinds, train[target], train[time] if time else None)
    setting: Setting = {"estimator": DEFAULT_ESTIMATOR, "params": _PARAMS}
    if widths := fit_intervals(rows, setting, ComparisonOptions().level, seed):
        yield from zip(LOW_AND_HIGH, ends(widths, table[list(kinds)], predicted.to_numpy()), strict=True)


def judged(now: Prepared, before: Prepared | None, seed: int) -> dict[str, Any]:
    """Return the diagnostics, as the tasks of the workflow put them together."""
    explanations.out_of_sample = lambda *_: now.unseen
    profile, weeks = None, None
    if before is not None:
        names = drift.columns(before.description)
        profile = {name: drift.profile(before.table[name], kind) for name, kind in names}
        weeks = rows_by_week(before.table["time"])
    explanation = explanations.explain_model(now.model, now.table, now.description, seed)
    release = Before(profile, before.rows if before else None, weeks)
    comparison = compare_model(now.table, now.description, now.holdout, now.metrics, ComparisonOptions(seed), release)
    comparison["alarms"] += history_alarms(now.rows, release.rows)
    comparison["alarms"] += newest.missing_alarms([now.days])
    return diagnose(now.metrics, *map(rounded, (explanation, comparison)))


def _kept(keep: Path | None, key: str, make: Callable[[], Any]) -> Any:
    """Return what `make` returns, from a file of ours if it is kept there."""
    if keep is None:
        return make()
    path = keep / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.pickle"
    if path.exists():
        return pickle.loads(path.read_bytes())
    found = make()
    part = path.with_suffix(f".{os.getpid()}")
    part.write_bytes(pickle.dumps(found))
    part.replace(path)
    return found


_OUT_OF_SAMPLE = explanations.out_of_sample


def diagnosed(job: Job) -> tuple[list[tuple[str, str | None, str]], str, float]:
    """Return the alarms of one job, what the box says, and how many seconds judging took."""
    without_effects()
    explanations.out_of_sample = _OUT_OF_SAMPLE
    shape, (name, kind, seed, keep) = EVERY[job.shape], job
    with threadpool_limits(1):
        raw = shape.make(np.random.default_rng([seed, *name.encode()]))
        weeks = 2 + seed % 3
        start = raw["time"].max().floor("D") - (7 * weeks - 1) * _DAY
        before = None
        if kind == "clean release":
            # Released, and then run once more a week later.
            start = raw["time"].max().floor("D") - 6 * _DAY
        if kind != "clean first run":
            earlier = raw[raw["time"] < start].reset_index(drop=True)
            before = _kept(keep, f"{name} {seed} before {start}", lambda: prepared(earlier, shape.target, seed))
        random = np.random.default_rng([seed, *kind.encode()])
        frame = raw if kind in CLEAN else planted(raw, shape, kind, weeks, random)
        now = _kept(
            keep,
            f"{name} {kind} {seed}",
            lambda: prepared(frame, shape.target, seed, before.model if before else None),
        )
        began = time.process_time()
        found = judged(now, before, seed)

    found["validation"] = {"status": "passed", "contract": None, "rows": now.rows, "violations": []}
    deploy = decision(now.metrics, {**found, "importance": []}).deploy
    alarms = [(each["name"], each["feature"], each["sentence"]) for each in found["alarms"]]
    return alarms, deploy, time.process_time() - began


def names(alarm: tuple[str, str | None, str], kind: str, shape: Shape) -> bool:
    """Tell whether an alarm names the fault, and its column if it has one."""
    by, column = NAMED_BY[kind]
    name, feature, _ = alarm
    return name in by and (column is None or feature in (getattr(shape, column), None) or name == "joint_change")


class Result(NamedTuple):
    """A job, its alarms (name, feature, sentence), and what the box says."""

    job: Job
    alarms: list[tuple[str, str | None, str]]
    deploy: str

    @property
    def wrong(self) -> bool:
        """A fault is not named, or a clean table raises an alarm."""
        if self.job.kind in CLEAN:
            return bool(self.alarms)
        return not any(names(each, self.job.kind, EVERY[self.job.shape]) for each in self.alarms)


def jobs(shapes: list[str], kinds: list[str], seeds: range, keep: Path | None) -> Iterator[Job]:
    """Yield all that is to be tried."""
    for seed in seeds:
        for kind in kinds:
            for shape in shapes:
                impossible = (
                    (kind not in CLEAN and shape in CLEAN_SHAPES)
                    or (kind == "°C to °F" and not EVERY[shape].celsius)
                    or (kind == "clock + 1 h" and shape in ("shops", "panel", "outlets"))
                )
                if not impossible:
                    yield Job(shape, kind, seed, keep)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=f"of {', '.join(EVERY)} (default: all)")
    parser.add_argument("--kinds", nargs="*", help="faults or kinds of clean runs (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="how many tables of each kind")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="how many to use")
    parser.add_argument("--keep", type=Path, help="a folder for trained models, which a second run reads")
    parser.add_argument("--output", type=Path, help="also write the results to this page, between its marks")
    parser.add_argument("--verbose", action="store_true", help="print each alarm that names no fault")
    args = parser.parse_args()
    shapes = args.shapes or list(EVERY)
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    todo = list(jobs(shapes, args.kinds or [*NAMED_BY, *CLEAN], range(args.first, args.first + args.seeds), args.keep))
    results = []
    with ProcessPoolExecutor(args.cores) as pool:
        for job, (alarms, deploy, seconds) in zip(todo, pool.map(diagnosed, todo), strict=True):
            results.append(Result(job, alarms, deploy))
            if args.verbose and results[-1].wrong:
                told = "; ".join(f"{each[0]} {each[1]}: {each[2][:230]}" for each in alarms) or "nothing"
                print(f"{job.shape} | {job.kind} | {job.seed} | {deploy} | {seconds:.1f} s | {told}", flush=True)
    lines = []
    for apart, title in ((False, "Shapes that alarms were tuned on"), (True, "Shapes that were kept apart")):
        those = [each for each in results if EVERY[each.job.shape].apart == apart]
        if those:
            seeds = len({each.job.seed for each in those})
            listed = ", ".join(dict.fromkeys(each.job.shape for each in those))
            lines += ["", f"## {title}", "", f"{listed}; {seeds} tables of each kind.", "", *table_of(those)]
    print("\n".join(lines))
    if args.output:
        page = args.output.read_text(encoding="utf-8")
        args.output.write_text(between_marks(page, lines), encoding="utf-8")


def table_of(results: list[Result]) -> list[str]:
    """Return the lines of a Markdown table: how often each fault is named, how often clean tables raise an alarm."""
    lines = [
        "| data | tables | named, or alarmed if clean | “Yes” | missed, or alarmed, by shape | alarms |",
        "|---|---:|---:|---:|---|---|",
    ]
    for kind in dict.fromkeys(each.job.kind for each in results):
        those = [each for each in results if each.job.kind == kind]
        wrong = Counter(each.job.shape for each in those if each.wrong)
        hits = len(those) - wrong.total() if kind not in CLEAN else wrong.total()
        alarms = Counter(name for each in those for name in {alarm[0] for alarm in each.alarms})
        words = [", ".join(f"{name} {n}" for name, n in each.most_common()) or "none" for each in (wrong, alarms)]
        yes = sum(each.deploy == "yes" for each in those)
        lines.append(f"| {kind} | {len(those)} | {hits} ({hits / len(those):.0%}) | {yes} | {' | '.join(words)} |")
    return lines


if __name__ == "__main__":
    main()
