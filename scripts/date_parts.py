"""Parts of dates that are features: as numbers, and as waves that close the circle of a day, a week or a year."""

import numpy as np
import pandas as pd

from task import TaskError, nearest

# Each part with its period, where it comes round again.
CALENDAR = {
    "year": None,
    "quarter": 4,
    "month": 12,
    "day": 31,
    "day_of_week": 7,
    "day_of_year": 366,
    "hour": 24,
    "minute": 60,
}
DATE_PARTS = [*CALENDAR, *(f"{part}_cyclical" for part, period in CALENDAR.items() if period)]
DEFAULT_PARTS = ("year", "month", "day_of_week", "hour")


def parts_of(has_time: bool, names: tuple[str, ...]) -> list[str]:
    """Return the parts of dates that become features: of dates without time of day no hour and no minute."""
    found = []
    for name in names:
        part = name.removesuffix("_cyclical")
        if part not in CALENDAR:
            raise TaskError(f"features.date_parts: {name!r} is unknown; {nearest(name, DATE_PARTS)}")
        if has_time or part not in ("hour", "minute"):
            found += [name] if part == name else [f"{part}_sin", f"{part}_cos"]
    return found


def part_of(dates: pd.Series, part: str) -> pd.Series:
    """Return a part of dates; of one that ends in _sin or _cos that wave, once round in its period."""
    if not part.endswith(("_sin", "_cos")):
        return getattr(dates.dt, part)
    part, wave = part[:-4], {"_sin": np.sin, "_cos": np.cos}[part[-4:]]
    return wave(2 * np.pi * getattr(dates.dt, part) / CALENDAR[part])
