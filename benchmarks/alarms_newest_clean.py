"""Tables without a fault, on which no alarm may be raised. Alarms were not written with these shapes in mind."""

import numpy as np
import pandas as pd
from benchmarks.alarms import flights_of_2013, lasting
from sklearn.datasets import load_diabetes

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
    """Two regimes that alternate by month: price and target are correlated differently in each."""
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


def wander(random: np.random.Generator) -> pd.DataFrame:
    """The target's level and one feature are random walks, and tails are those of Student's t with 3 degrees."""
    days = 300
    day, time = _rows(random, days, np.full(days, 14.0))
    walk = np.cumsum(random.normal(0, 0.5, days))
    frame = pd.DataFrame(
        {
            "time": time,
            "desk": random.choice(list("ABCDE"), len(day)),
            "rate": (100 + np.cumsum(random.normal(0, 0.4, days))[day] + random.normal(0, 1, len(day))).round(2),
            "volume": random.gamma(2, 30, len(day)).round(),
            "age": random.integers(1, 60, len(day)),
        }
    )
    level = frame["desk"].map(_levels(random, list("ABCDE"), 3))
    spread = 50 + level + walk[day] + 0.1 * frame["volume"] - 0.2 * frame["age"] + 3 * random.standard_t(3, len(day))
    return frame.assign(spread=spread.round(2))


def depots(random: np.random.Generator) -> pd.DataFrame:
    """Seven tenths of the targets are zero, the others lognormal; more in some seasons."""
    days = 360
    day, time = _rows(random, days, np.full(days, 14.0))
    frame = pd.DataFrame(
        {
            "time": time,
            "depot": random.choice([f"D{n}" for n in range(10)], len(day), p=np.arange(1, 11) / 55),
            "mileage": random.gamma(3, 30, len(day)).round(1),
            "axles": random.choice([2, 3, 4], len(day), p=[0.6, 0.3, 0.1]),
            "load": random.normal(12, 3, len(day)).round(1),
        }
    )
    chance = 0.05 + 0.002 * frame["mileage"] + 0.05 * (1 + np.cos(2 * np.pi * day / 365))
    cost = np.exp(3 + 0.6 * frame["axles"] + random.normal(0, 0.6, len(day))) * (random.random(len(day)) < chance)
    return frame.assign(cost=cost.round(2))


def rare(random: np.random.Generator) -> pd.DataFrame:
    """One level of nine tenths and forty rare ones, bursts of rows, values that are missing for days on end."""
    days = 260
    bursts = np.exp(0.5 * lasting(random, days, 0.5))
    day, time = _rows(random, days, 14 * bursts)
    names = ["usual", *(f"rare{n:02}" for n in range(40))]
    frame = pd.DataFrame(
        {
            "time": time,
            "cause": random.choice(names, len(day), p=[0.9, *np.full(40, 0.1 / 40)]),
            "shift": random.choice(["day", "night"], len(day), p=[0.8, 0.2]),
            "heat": (200 + 5 * lasting(random, days, 0.7)[day] + random.normal(0, 3, len(day))).round(),
            "speed": random.normal(30, 4, len(day)).round(1),
        }
    )
    frame.loc[(lasting(random, days, 0.8) > 1.2)[day], "speed"] = np.nan
    level = frame["cause"].map(_levels(random, names, 4)) + 3 * (frame["shift"] == "night")
    scrap = (
        40 + level + 0.1 * (frame["heat"] - 200) + 0.4 * frame["speed"].fillna(30) + 2 * lasting(random, days, 0.6)[day]
    )
    return frame.assign(scrap=(scrap + random.gamma(2, 3, len(day))).round(1))


def invoices(random: np.random.Generator) -> pd.DataFrame:
    """A target that is nearly the product of two features, month ends that are busy, prices that rise in steps."""
    days = 400
    late = np.arange(days) % 30 >= 26
    day, time = _rows(random, days, np.where(late, 22.0, 9.0))
    price = np.array([4, 5, 6, 8, 12, 20])[random.integers(0, 6, len(day))] * (1 + 0.04 * (day // 100))
    frame = pd.DataFrame(
        {
            "time": time,
            "client": random.choice([f"C{n:02}" for n in range(15)], len(day)),
            "unit_price": price.round(2),
            "quantity": random.poisson(6, len(day)) + 1,
            "weight": np.exp(random.normal(1, 0.5, len(day))).round(2),
        }
    )
    amount = frame["unit_price"] * frame["quantity"] * random.uniform(0.8, 1, len(day)) + 2 * frame["weight"]
    return frame.assign(amount=(amount + random.normal(0, 4, len(day))).round(2))


def short(random: np.random.Generator) -> pd.DataFrame:
    """Few rows: two a day of 150 days."""
    days = 150
    day, time = _rows(random, days, np.full(days, 2.0))
    frame = pd.DataFrame(
        {
            "time": time,
            "lab": random.choice(["north", "south"], len(day), p=[0.7, 0.3]),
            "dose": random.uniform(0, 10, len(day)).round(1),
            "age": random.integers(20, 80, len(day)),
        }
    )
    effect = 20 + 3 * frame["dose"] - 0.1 * frame["age"] + 2 * (frame["lab"] == "north") + random.normal(0, 5, len(day))
    return frame.assign(effect=effect.round(1))


def wards(random: np.random.Generator) -> pd.DataFrame:
    """Stays of patients, with outbreaks of some weeks, weekdays that differ, and a tail."""
    days = 370
    outbreak = np.maximum(0, lasting(random, days, 0.93) - 0.8)
    day, time = _rows(random, days, np.where(np.arange(days) % 7 >= 5, 8.0, 13.0) * (1 + outbreak))
    names = [f"ward{n}" for n in range(7)]
    frame = pd.DataFrame(
        {
            "time": time,
            "ward": random.choice(names, len(day), p=np.array([8, 6, 5, 4, 3, 2, 1]) / 29),
            "age": np.clip(random.normal(58, 20, len(day)), 0, 99).round(),
            "fever": (37 + 0.4 * outbreak[day] + 0.8 * random.gamma(1, 0.6, len(day))).round(1),
            "visits": random.poisson(2, len(day)),
        }
    )
    level = frame["ward"].map(_levels(random, names, 0.2))
    middle = 1 + level + 0.01 * frame["age"] + 0.15 * (frame["fever"] - 37) + 0.2 * outbreak[day]
    return frame.assign(stay=np.exp(middle + random.normal(0, 0.5, len(day))).round(1))


def ticks(random: np.random.Generator) -> pd.DataFrame:
    """Noise whose size wanders for weeks by itself, a rhythm of weekdays, and a feature that follows the level."""
    days = 320
    day, time = _rows(random, days, np.where(np.arange(days) % 7 == 0, 22.0, 11.0))
    noise = np.exp(0.4 * lasting(random, days, 0.95))
    hidden = lasting(random, days, 0.85)
    frame = pd.DataFrame(
        {
            "time": time,
            "venue": random.choice(list("XYZ"), len(day), p=[0.6, 0.3, 0.1]),
            "bids": random.poisson(np.exp(3 + 0.2 * hidden)[day]),
            "size": np.exp(random.normal(2, 0.8, len(day))).round(1),
            "depth": random.beta(2, 5, len(day)).round(3),
        }
    )
    level = frame["venue"].map(_levels(random, list("XYZ"), 2)) + 4 * hidden[day] + 3 * (day % 7 == 0)
    price = 80 + level + 0.3 * frame["bids"] + 6 * frame["depth"] + 4 * noise[day] * random.standard_t(5, len(day))
    return frame.assign(price=price.round(2))


def routes(random: np.random.Generator) -> pd.DataFrame:
    """Real: the mean delay of the flights of each airport, carrier and day, of 25 to 45 weeks of 2013."""
    flights = flights_of_2013()
    groups = flights.groupby([flights["time_hour"].dt.tz_localize(None).dt.floor("D"), "origin", "carrier"])
    frame = groups.agg(
        flights=("distance", "size"),
        distance=("distance", "mean"),
        departure=("dep_delay", "median"),
        arrival=("arr_delay", "mean"),
    )
    frame = frame.reset_index().rename(columns={"time_hour": "time"}).round({"distance": 0, "arrival": 1})
    weeks = int(random.integers(25, 46))
    first = pd.Timestamp("2013-01-01") + pd.Timedelta(days=int(random.integers(0, 365 - 7 * weeks)))
    inside = frame[(frame["time"] >= first) & (frame["time"] < first + pd.Timedelta(weeks=weeks))]
    return inside[inside["flights"] >= 3].reset_index(drop=True)


def diabetes(random: np.random.Generator) -> pd.DataFrame:
    """Real: the patients of scikit-learn's diabetes, in an order by chance, three times over with other noise."""
    data = load_diabetes(as_frame=True, scaled=False)
    frame = pd.concat([data.frame] * 3, ignore_index=True).sample(frac=1, random_state=int(random.integers(10**6)))
    time = _FIRST + pd.to_timedelta(np.sort(random.integers(0, 210 * 24 * 60, len(frame))), unit="min")
    frame = frame.drop(columns=["s4"]).rename(columns={"target": "progress"}).assign(time=time)
    frame["sex"] = frame["sex"].map({1.0: "one", 2.0: "two"})
    for name in ("bmi", "bp", "s1", "s2", "s3", "s5", "progress"):
        frame[name] = (frame[name] * np.exp(random.normal(0, 0.05, len(frame)))).round(2)
    return frame.reset_index(drop=True)
