"""Tables for faults in the newest weeks that were written after the alarms, and that no limit was chosen on."""

import numpy as np
import pandas as pd
from benchmarks.alarms import lasting

_FIRST = pd.Timestamp("2021-09-06")


def _levels(random: np.random.Generator, names: list[str], spread: float) -> dict[str, float]:
    return dict(zip(names, random.normal(0, spread, len(names)), strict=True))


def energy(random: np.random.Generator) -> pd.DataFrame:
    """Energy by the hour: working days differ from weekends, 150 meters, a season, noise that lasts."""
    rows = 24 * 210
    hour = np.arange(rows)
    day, clock = hour // 24, hour % 24
    work = (day % 7 < 5) * np.exp(-(((clock - 12) / 4.5) ** 2))
    warmth = 12 + 8 * np.sin(2 * np.pi * (day + 40) / 365) + 2.5 * lasting(random, 210, 0.8)[day]
    frame = pd.DataFrame(
        {
            "time": pd.Series(_FIRST + pd.to_timedelta(hour, unit="h")),
            "meter": [f"M{n:03}" for n in random.integers(0, 150, rows)],
            "tariff": random.choice(["day", "night", "flat", "solar"], rows, p=[0.4, 0.3, 0.2, 0.1]),
            "warmth": (warmth + 3 * np.sin(2 * np.pi * (clock - 9) / 24)).round(1),
            "wind": random.gamma(2, 3, rows).round(1),
        }
    )
    level = frame["tariff"].map(_levels(random, ["day", "night", "flat", "solar"], 0.15))
    logarithm = 4 + level + 0.5 * work - 0.015 * frame["warmth"] + 0.004 * frame["wind"]
    logarithm += 0.06 * lasting(random, rows, 0.9) + random.normal(0, 0.12, rows)
    return frame.assign(kwh=np.exp(logarithm).round(2))


def calls(random: np.random.Generator) -> pd.DataFrame:
    """Sparse counts: most of the rows are 0 or 1, some are large, and Mondays are busy."""
    days = 300
    by_day = np.where(np.arange(days) % 7 == 0, 22.0, np.where(np.arange(days) % 7 >= 5, 5.0, 14.0))
    day = np.repeat(np.arange(days), random.poisson(by_day))
    seconds = np.clip(random.normal(11.5, 2.5, len(day)), 7, 19) * 3600
    time = (_FIRST + pd.to_timedelta(day, unit="D") + pd.to_timedelta(seconds, unit="s")).floor("min")
    queues = ["sales", "help", "billing"]
    frame = pd.DataFrame({"time": time, "queue": random.choice(queues, len(day), p=[0.5, 0.3, 0.2])})
    frame["waiting"] = random.poisson(4, len(day))
    frame["agents"] = random.integers(2, 12, len(day))
    frame["tenure"] = random.gamma(2, 14, len(day)).round()
    level = frame["queue"].map(_levels(random, queues, 0.5))
    rate = np.exp(-0.4 + level + 0.15 * frame["waiting"] - 0.05 * frame["agents"]) * random.gamma(2, 0.5, len(day))
    return frame.assign(repeats=random.poisson(rate)).sort_values("time", kind="stable", ignore_index=True)


def outlets(random: np.random.Generator) -> pd.DataFrame:
    """A weekly panel: 50 outlets, each once a week, with promotions and a level that drifts slowly."""
    weeks, count = 90, 50
    week, outlet = np.repeat(np.arange(weeks), count), np.tile(np.arange(count), weeks)
    regions = random.choice(["N", "S", "W", "E", "C"], count)
    rows = len(week)
    frame = pd.DataFrame({"time": pd.Series(_FIRST + pd.to_timedelta(7 * week, unit="D"))})
    frame["outlet"], frame["region"] = [f"o{n:02}" for n in outlet], regions[outlet]
    frame["promoted"] = (random.random(rows) < 0.2).astype(int)
    frame["footfall"] = random.poisson(300 + 60 * np.sin(2 * np.pi * week / 52))
    frame["shelf"] = random.gamma(6, 2, rows).round(1)
    level = np.exp(random.normal(5, 0.5, count))[outlet] * np.exp(0.03 * np.cumsum(random.normal(size=weeks)) / 3)[week]
    mean = level * np.exp(0.25 * frame["promoted"] + 0.001 * (frame["footfall"] - 300) + 0.01 * frame["shelf"])
    return frame.assign(units=random.poisson(mean * random.gamma(40, 1 / 40, rows)))


def little(random: np.random.Generator) -> pd.DataFrame:
    """300 rows of a year and a half, with a tail."""
    rows = 300
    time = pd.Series(_FIRST + pd.to_timedelta(np.sort(random.integers(0, 520 * 24 * 60, rows)), unit="min"))
    frame = pd.DataFrame({"time": time, "plot": random.choice(["sand", "clay", "loam"], rows, p=[0.45, 0.35, 0.2])})
    warmth = 10 - 8 * np.cos(2 * np.pi * time.dt.dayofyear / 365)
    frame["warmth"] = (warmth + random.normal(0, 3, rows)).round(1)
    frame["water"] = random.gamma(4, 5, rows).round(1)
    level = frame["plot"].map(_levels(random, ["sand", "clay", "loam"], 0.2))
    logarithm = 3 + level + 0.02 * frame["water"] + 0.01 * frame["warmth"] + 0.2 * random.standard_t(4, rows)
    return frame.assign(yield_=np.exp(logarithm).round(1))


def orders(random: np.random.Generator) -> pd.DataFrame:
    """Amounts of 400 clients, of which most are rare; a tail, a volume that doubles, values that are missing."""
    days, rows = 260, 5000
    shares = np.linspace(1, 2, days)
    day = np.sort(random.choice(days, rows, p=shares / shares.sum()))
    seconds = (random.beta(3, 3, rows) * 14 + 7) * 3600
    time = (_FIRST + pd.to_timedelta(day, unit="D") + pd.to_timedelta(seconds, unit="s")).floor("min")
    clients = np.arange(1, 401) ** -0.9
    client = random.choice(400, rows, p=clients / clients.sum())
    frame = pd.DataFrame({"time": time, "client": [f"c{n:03}" for n in client]})
    channels = ["web", "app", "store", "agent"]
    frame["channel"] = random.choice(channels, rows, p=[0.45, 0.3, 0.15, 0.1])
    frame["lines"] = random.poisson(3, rows) + 1
    frame["weight"] = np.exp(random.normal(1.5, 0.9, rows)).round(2)
    frame["rebate"] = random.choice([0, 5, 10, 15], rows, p=[0.6, 0.2, 0.15, 0.05])
    level = random.normal(0, 0.4, 400)[client] + frame["channel"].map(_levels(random, channels, 0.2))
    logarithm = 3 + level + 0.5 * np.log(frame["lines"]) + 0.2 * np.log(frame["weight"]) - frame["rebate"] / 100
    frame["amount"] = np.exp(logarithm + 0.35 * random.standard_t(5, rows)).round(2)
    frame.loc[random.random(rows) < 0.03, "weight"] = np.nan
    return frame.sort_values("time", kind="stable", ignore_index=True)
