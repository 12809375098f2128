"""What a delivery holds as a whole: rows by day, by level of some columns, and missing values."""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from signoff.tables.records import EarlierDelivery, Saved

# The day of a row without a valid time.
NO_DAY = -(10**9)


class Delivery:
    """What a delivery holds: rows by day (days since 1970), the same by level, and missing values by day.

    Rows without a valid time count as of no day. Counts by level are kept for the last `keep` days, all if None.
    """

    def __init__(self, levels: Iterable[str] = (), missing: Iterable[str] = (), keep: int | None = None):
        self.rows, self.keep = 0, keep
        self.newest: pd.Timestamp | None = None
        self.days: Counter[int] = Counter()
        self.levels: dict[str, dict[str, int]] = {name: {} for name in levels}
        self.levels_by_day: dict[str, dict[tuple[str, int], int]] = {name: {} for name in levels}
        self.missing: Counter[str] = Counter()
        self.missing_by_day: dict[str, Counter[int]] = {name: Counter() for name in missing}

    def look(self, frame: pd.DataFrame, times: pd.Series | None) -> None:
        """Add some rows; `times` are their times (datetime64), NaT if unknown or wrong; None without a time column."""
        self.rows += len(frame)
        days = None if times is None else days_of(times)
        if days is not None and times is not None and (days != NO_DAY).any():
            naive = times.dt.tz_convert("UTC").dt.tz_localize(None) if times.dt.tz is not None else times
            latest = naive.max()
            self.newest = latest if self.newest is None else max(latest, self.newest)
            self.days.update(_counted(days[days != NO_DAY]))
        for name in self.levels:
            if name in frame:
                self._look_at_levels(name, frame[name], days)
        for name, by_day in self.missing_by_day.items():
            absent = frame[name].isna().to_numpy() if name in frame else np.zeros(0, bool)
            self.missing[name] += int(absent.sum())
            if days is not None and absent.any():
                by_day.update(_counted(days[absent & (days != NO_DAY)]))

    def _look_at_levels(self, name: str, values: pd.Series, days: np.ndarray | None) -> None:
        known = values.notna().to_numpy()
        text, total, by_day = values[known].astype("str"), self.levels[name], self.levels_by_day[name]
        for level, n in text.value_counts().items():
            total[str(level)] = total.get(str(level), 0) + int(n)
        if days is None:
            return
        counted = pd.DataFrame({"level": text, "day": days[known]})[days[known] != NO_DAY].value_counts()
        for (level, day), n in counted.items():
            by_day[str(level), day] = by_day.get((str(level), day), 0) + int(n)
        if self.keep is not None and self.days:
            first = max(self.days) - self.keep
            self.levels_by_day[name] = {key: n for key, n in by_day.items() if key[1] > first}

    def record(self) -> EarlierDelivery:
        """Return what the next delivery is compared with."""
        return {"rows": self.rows, "levels": {name: dict(sorted(each.items())) for name, each in self.levels.items()}}

    def saved(self) -> Saved:
        """Return all of it for JSON, for `add` of the delivery of all parts."""
        by_level: dict[str, dict[str, dict[str, int]]] = {name: {} for name in self.levels}
        for name, counts in self.levels_by_day.items():
            for (level, day), n in counts.items():
                by_level[name].setdefault(level, {})[str(day)] = n
        return {
            **self.record(),
            "newest": None if self.newest is None else str(self.newest),
            "days": _texts(self.days),
            "levels_by_day": by_level,
            "missing": dict(self.missing),
            "missing_by_day": {name: _texts(each) for name, each in self.missing_by_day.items()},
        }

    def add(self, saved: Saved) -> None:
        """Add a part of the delivery, as `saved` gives it."""
        self.rows += saved["rows"]
        if saved["newest"] is not None:
            self.newest = max(each for each in (self.newest, pd.Timestamp(saved["newest"])) if each is not None)
        self.days.update(_days(saved["days"]))
        self.missing.update(saved["missing"])
        for name in self.missing_by_day:
            self.missing_by_day[name].update(_days(saved["missing_by_day"][name]))
        for name, total in self.levels.items():
            for level, n in saved["levels"][name].items():
                total[level] = total.get(level, 0) + n
            for level, counts in saved["levels_by_day"][name].items():
                for day, n in _days(counts).items():
                    key = (level, day)
                    self.levels_by_day[name][key] = self.levels_by_day[name].get(key, 0) + n

    def periods(self, days: Mapping[int, int], length: int) -> np.ndarray:
        """Return counts by day as counts by period of `length` days, the newest first, of whole periods only."""
        last = max(self.days)
        number = (last - min(self.days) + 1) // length
        found = np.zeros(number, dtype="int64")
        for day, n in days.items():
            if (last - day) // length < number:
                found[(last - day) // length] += n
        return found

    def by_level(self, name: str, length: int) -> dict[str, np.ndarray]:
        """Return for each level of a column its rows by period of `length` days, the newest first."""
        split: dict[str, dict[int, int]] = {level: {} for level in self.levels[name]}
        for (level, day), n in self.levels_by_day[name].items():
            split[level][day] = n
        return {level: self.periods(days, length) for level, days in split.items()}


def days_of(times: pd.Series) -> np.ndarray:
    """Return for each of n times its day since 1970, NO_DAY for a missing one."""
    naive = times.dt.tz_convert("UTC").dt.tz_localize(None) if times.dt.tz is not None else times
    days = (naive.astype("datetime64[us]").astype("int64") // 86_400_000_000).to_numpy()
    return np.where(times.isna(), NO_DAY, days)


def _counted(days: np.ndarray) -> dict[int, int]:
    found, n = np.unique(days, return_counts=True)
    return dict(zip(found.tolist(), n.tolist(), strict=True))


def _texts(days: Mapping[int, int]) -> dict[str, int]:
    return {str(day): n for day, n in days.items()}


def _days(texts: Mapping[str, int]) -> dict[int, int]:
    return {int(day): n for day, n in texts.items()}


def counts_by_day(times: pd.Series) -> dict[int, int]:
    """Return the number of times by day since 1970, missing ones left out."""
    return _counted(days_of(times.dropna()))
