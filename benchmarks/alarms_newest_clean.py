"""Tables without a fault, on which no alarm may be raised. Alarms were not written with these shapes in mind."""

import numpy as np
import pandas as pd
from benchmarks.alarms import lasting

_FIRST = pd.Timestamp("2022-01-03")


def _rows(random: np.random.Generator, days: int, by_day: np.ndarray) -> tuple[np.ndarray, pd.Series]:
    """Return the day of each row, and its time; `by_day` is how many rows a day has on average."""
    day = np.repeat(np.arange(days), random.poisson(by_day, days))
    seconds = random.integers(6 * 3600, 22 * 3600, len(day))
    time = _FIRST + pd.to_timedelta(day, unit="D") + pd.to_timedelta(seconds, unit="s")
    order = np.argsort(time, kind="stable")
    return day[order], pd.Series(time[order]).dt.floor("min").reset_index(drop=True)


def _levels(random: np.random.Generator, names: list[str], spread: float) -> dict[str, float]:
    return dict(zip(names, random.normal(0, spread, len(names)), strict=True))


def sensors(random: np.random.Generator) -> pd.DataFrame:
    """Five sensors whose days are alike (0.9), two of which share a part."""
    days = 280
    day, time = _rows(random, days, np.full(days, 12.0))
    shared = lasting(random, days, 0.9)
    frame = pd.DataFrame({"time": time, "unit": random.choice(list("ABCD"), len(day), p=[0.4, 0.3, 0.2, 0.1])})
    for n in range(5):
        own = lasting(random, days, 0.9) + (0.7 * shared if n < 2 else 0)
        frame[f"sensor_{n}"] = (50 + 6 * own[day] + random.normal(0, 2, len(day))).round(1)
    level = frame["unit"].map(_levels(random, list("ABCD"), 4))
    frame["yield"] = (
        100 + level + 0.8 * frame["sensor_0"] - 0.5 * frame["sensor_3"] + 4 * lasting(random, days, 0.9)[day]
    )
    frame["yield"] = (frame["yield"] + random.normal(0, 4, len(day))).round(1)
    return frame


def growth(random: np.random.Generator) -> pd.DataFrame:
    """Volume and amounts that grow by half over the time."""
    days = 330
    day, time = _rows(random, days, 8 + 6 * np.arange(days) / days)
    plans = ["free", "basic", "plus", "team"]
    frame = pd.DataFrame(
        {
            "time": time,
            "plan": random.choice(plans, len(day), p=[0.4, 0.3, 0.2, 0.1]),
            "users": random.poisson(12 * (1 + 0.5 * day / days)),
            "age": random.gamma(2, 200, len(day)).round() + day // 3,
            "tickets": random.poisson(2, len(day)),
        }
    )
    level = frame["plan"].map(_levels(random, plans, 5))
    amount = 40 + 20 * day / days + level + 1.4 * frame["users"] - 2 * frame["tickets"] + random.normal(0, 6, len(day))
    return frame.assign(spend=amount.round(2))


def lognormal(random: np.random.Generator) -> pd.DataFrame:
    """Amounts whose logarithm is normal, of all numbers and of the target."""
    days = 250
    day, time = _rows(random, days, np.full(days, 13.0))
    kinds = [f"K{n}" for n in range(6)]
    frame = pd.DataFrame({"time": time, "kind": random.choice(kinds, len(day))})
    for name, middle, spread in (("income", 8, 0.7), ("debt", 6, 1.2), ("price", 4, 0.9)):
        frame[name] = np.exp(random.normal(middle, spread, len(day))).round(2)
    logarithm = frame["kind"].map(_levels(random, kinds, 0.3)) + 0.5 * np.log(frame["income"])
    logarithm += 0.3 * np.log(frame["price"]) + random.normal(0, 0.6, len(day))
    return frame.assign(amount=np.exp(logarithm).round(2))


def sparse(random: np.random.Generator) -> pd.DataFrame:
    """Three rows a day, with a season."""
    days = 600
    day, time = _rows(random, days, np.full(days, 3.0))
    season = np.cos(2 * np.pi * day / 365)
    frame = pd.DataFrame(
        {
            "time": time,
            "site": random.choice(["east", "west", "harbour"], len(day), p=[0.5, 0.3, 0.2]),
            "warmth": (11 - 9 * season + 3 * lasting(random, days, 0.7)[day]).round(1),
            "load": random.gamma(4, 5, len(day)).round(1),
        }
    )
    level = frame["site"].map(_levels(random, ["east", "west", "harbour"], 6))
    cost = 70 + level + 1.5 * frame["load"] - 0.9 * frame["warmth"] + random.normal(0, 7, len(day))
    return frame.assign(cost=cost.round(1))


def holidays(random: np.random.Generator) -> pd.DataFrame:
    """A strong week, and about twelve holidays a year that change rows, visitors and target."""
    days = 400
    number = np.arange(days)
    free = np.isin(number, random.choice(days, 13, replace=False))
    weekend = number % 7 >= 5
    day, time = _rows(random, days, np.where(free, 4.0, np.where(weekend, 14.0, 9.0)))
    stores = [f"S{n}" for n in range(8)]
    frame = pd.DataFrame(
        {
            "time": time,
            "store": random.choice(stores, len(day)),
            "visitors": random.poisson(np.where(free, 20, np.where(weekend, 90, 60))[day]),
            "discount": (random.integers(0, 5, len(day)) * 5),
            "basket": random.gamma(5, 6, len(day)).round(2),
        }
    )
    level = frame["store"].map(_levels(random, stores, 6))
    sales = 30 + level + 0.7 * frame["visitors"] + 0.4 * frame["discount"] + 0.5 * frame["basket"]
    sales = sales + 6 * lasting(random, days, 0.5)[day] - 15 * free[day] + random.normal(0, 7, len(day))
    return frame.assign(sales=sales.round(1))


def panel(random: np.random.Generator) -> pd.DataFrame:
    """Twenty shops, once every other day; the level of each wanders by itself around its own."""
    days, names = 340, [f"shop{n:02}" for n in range(20)]
    parts = []
    for n, name in enumerate(names):
        day = np.arange(n % 2, days, 2)
        price = np.exp(random.normal(1, 0.2) + 0.15 * random.normal(size=len(day)))
        staff = random.poisson(6, len(day))
        level = 60 + 12 * random.normal() + 3 * lasting(random, days, 0.9)[day]
        turnover = level + 2 * staff - 5 * price + 8 * (day % 7 >= 5) + random.normal(0, 4, len(day))
        parts.append(
            pd.DataFrame(
                {
                    "time": _FIRST + pd.to_timedelta(day, unit="D"),
                    "shop": name,
                    "price": price.round(2),
                    "staff": staff,
                    "turnover": turnover.round(1),
                }
            )
        )
    return pd.concat(parts).sort_values("time", kind="stable", ignore_index=True)


def goals(random: np.random.Generator) -> pd.DataFrame:
    """Counts with more spread than Poisson's, whose days are alike (0.6)."""
    days = 260
    day, time = _rows(random, days, np.full(days, 12.0))
    zones = ["inner", "outer", "ring", "coast"]
    frame = pd.DataFrame(
        {
            "time": time,
            "zone": random.choice(zones, len(day), p=[0.4, 0.3, 0.2, 0.1]),
            "traffic": random.poisson(40, len(day)),
            "rain": np.maximum(0, lasting(random, days, 0.6)[day] + random.normal(0, 0.5, len(day))).round(2),
            "lanes": random.integers(1, 5, len(day)),
        }
    )
    logarithm = 0.3 + frame["zone"].map(_levels(random, zones, 0.4)) + 0.02 * frame["traffic"] + 0.2 * frame["rain"]
    rate = np.exp(logarithm + 0.15 * lasting(random, days, 0.6)[day]) * random.gamma(3, 1 / 3, len(day))
    return frame.assign(incidents=random.poisson(rate))


def regimes(random: np.random.Generator) -> pd.DataFrame:
    """Two regimes that alternate by month: price and target go together in another way in each."""
    days = 420
    day, time = _rows(random, days, np.full(days, 10.0))
    high = (day // 30) % 2 == 1
    frame = pd.DataFrame(
        {
            "time": time,
            "area": random.choice(list("NSEW"), len(day)),
            "price": np.where(high, random.normal(30, 5, len(day)), random.normal(22, 3, len(day))).round(2),
            "stock": random.gamma(3, 10, len(day)).round(),
            "regime": np.where(high, "high", "low"),
        }
    )
    slope = np.where(high, -1.5, -0.4)
    level = frame["area"].map(_levels(random, list("NSEW"), 4))
    demand = 120 + level + slope * frame["price"] + 0.3 * frame["stock"] + random.normal(0, 6, len(day))
    return frame.assign(demand=demand.round(1))


def basins(random: np.random.Generator) -> pd.DataFrame:
    """Water by the hour of four gauges, whose days are much alike (0.95) and which share their weather."""
    days = 200
    hour = np.arange(0, 24 * days, 2)
    day = hour // 24
    weather = lasting(random, days, 0.95)
    frame = pd.DataFrame({"time": pd.Series(_FIRST + pd.to_timedelta(hour, unit="h"))})
    frame["gate"] = random.choice(["one", "two", "three"], len(hour), p=[0.5, 0.3, 0.2])
    for n in range(4):
        own = lasting(random, days, 0.95)
        gauge = 200 + 15 * (0.6 * weather + own)[day] + 3 * np.sin(2 * np.pi * (hour % 24) / 24 + n)
        frame[f"gauge_{n}"] = (gauge + random.normal(0, 4, len(hour))).round(1)
    level = frame["gate"].map(_levels(random, ["one", "two", "three"], 6))
    flow = 20 + level + 0.4 * frame["gauge_0"] + 0.2 * frame["gauge_2"] + 6 * lasting(random, days, 0.9)[day]
    return frame.assign(flow=(flow + random.normal(0, 5, len(hour))).round(1))
