"""Three shapes that were written after the live alarms had been tuned, so that their last form is measured on them."""

import numpy as np
import pandas as pd
from benchmarks.alarms import lasting


def _times(random: np.random.Generator, rows: int, days: int) -> pd.Series:
    """Return sorted times of rows within some days; half as many come at the weekend."""
    weights = np.where(np.arange(days) % 7 >= 5, 0.5, 1.0)
    day = np.sort(random.choice(days, rows, p=weights / weights.sum()))
    moments = pd.Timestamp("2022-01-03") + pd.to_timedelta(day * 24 + random.uniform(6, 20, rows), unit="h")
    return pd.Series(moments).dt.floor("min").sort_values(ignore_index=True)


def parcels(random: np.random.Generator) -> pd.DataFrame:
    """Minutes of deliveries: skewed noise that grows with the distance, and twelve depots."""
    rows = 4200
    frame = pd.DataFrame(
        {
            "time": _times(random, rows, 280),
            "depot": random.choice([f"d{n}" for n in range(12)], rows),
            "stops": random.integers(1, 30, rows),
            "km": random.gamma(2, 9, rows).round(1),
        }
    )
    level = frame["depot"].map({f"d{n}": size for n, size in enumerate(random.normal(0, 6, 12))})
    noise = random.gamma(1.5, 3 + 0.1 * frame["km"], rows)
    frame["minutes"] = (20 + level + 2.5 * frame["stops"] + 1.4 * frame["km"] + noise).round(1)
    return frame


def tickets(random: np.random.Generator) -> pd.DataFrame:
    """Tickets that a team closes in a shift: counts around eight, sixty shifts a week."""
    rows = 2400
    frame = pd.DataFrame(
        {
            "time": _times(random, rows, 280),
            "team": random.choice(list("ABCDEF"), rows),
            "people": random.integers(2, 9, rows),
            "backlog": random.gamma(3, 20, rows).round(),
        }
    )
    level = frame["team"].map(dict(zip("ABCDEF", random.normal(0, 0.2, 6), strict=True)))
    rate = np.exp(0.9 + level + 0.16 * frame["people"] + 0.005 * frame["backlog"])
    frame["closed"] = random.poisson(rate).astype(float)
    return frame


def wells(random: np.random.Generator) -> pd.DataFrame:
    """Water by day from sixteen wells: a season, days that are alike (0.6), and noise in proportion to the level."""
    days, wells_ = 380, 16
    day = np.repeat(np.arange(days), wells_)
    name = np.tile(np.arange(wells_), days)
    warmth = 11 - 9 * np.cos(2 * np.pi * day / 365) + 3 * lasting(random, days, 0.7)[day]
    level = np.exp(3 + random.normal(0, 0.6, wells_)[name] + 0.02 * warmth + 0.03 * lasting(random, days, 0.6)[day])
    frame = pd.DataFrame(
        {
            "time": pd.Timestamp("2022-01-03") + pd.to_timedelta(day * 24 + 12, unit="h"),
            "well": [f"w{n}" for n in name],
            "warmth": warmth.round(1),
            "pressure": random.normal(5, 1, len(day)).round(2),
        }
    )
    frame["volume"] = (level * np.exp(random.normal(0, 0.15, len(day)))).round(2)
    return frame
