"""Times that cannot be right: in the future, or far outside of all others, such as 1900-01-01 among days of 2024."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from signoff.base.files import read_json
from signoff.tables.cells import MOSTLY
from signoff.tables.delivery import NO_DAY, days_of

# How far beyond the ingest a time may be: clocks and zones differ, and a bare date may name the end of its month.
_SLACK, _SLACK_OF_DATES = pd.Timedelta(days=1), pd.Timedelta(days=31)
# Times are far outside if no time lies between them and the others for this many days, and for this many times the span
# of the middle 80% of the rows.
_FAR_DAYS, _FAR_SPANS = 5 * 365, 3
# Days that programs write for an unknown one: for them, a year and the span itself are enough.
_PLACEHOLDERS: tuple[str, ...] = (
    "0001-01-01",
    "1601-01-01",
    "1753-01-01",
    "1899-12-30",
    "1899-12-31",
    "1900-01-01",
    "1904-01-01",
)
_PLACEHOLDERS += ("1970-01-01", "1980-01-01", "2099-12-31", "9999-12-31")
_PLACEHOLDER_DAYS = days_of(pd.Series(_PLACEHOLDERS).astype("datetime64[us]"))
_FAR_DAYS_OF_PLACEHOLDERS = 365
# Of fewer rows nobody can say which are outside.
_FEWEST_ROWS = 20


@dataclass(frozen=True)
class Times:
    """A column of times, and which of them are wrong.

    `now` is the time of the ingest (UTC, without a zone), None if later times are allowed or the time is unknown.
    `first` and `last` are the days since 1970 beyond which times are far outside, None if no time is.
    """

    column: str
    now: pd.Timestamp | None = None
    past: bool = False
    future: bool = False
    first: int | None = None
    last: int | None = None

    def wrong(self, values: pd.Series) -> dict[str, np.ndarray]:
        """Return for each rule that n times break, in words, which of them break it (n booleans)."""
        nothing = np.zeros(len(values), dtype=bool)
        late = nothing if self.now is None else in_future(values, self.now)
        days = days_of(values)
        before = nothing if self.first is None else (days < self.first) & (days != NO_DAY)
        after = nothing if self.last is None else (days > self.last) & ~late
        found = {
            "is not in the future": late,
            "is not far before all other times": before,
            "is not far after all other times": after,
        }
        return {check: each for check, each in found.items() if each.any()}

    def narrowed(self, days: Mapping[int, int]) -> "Times":
        """Return the same column with the limits that its times show; `days` counts the rows by day since 1970."""
        first, last = _limits(days)
        return Times(
            self.column,
            self.now,
            self.past,
            self.future,
            None if self.past else first,
            None if self.future else last,
        )


def _limits(days: Mapping[int, int]) -> tuple[int | None, int | None]:
    """Return the first and the last day that is not far outside; None where no day is."""
    if sum(days.values()) < _FEWEST_ROWS:
        return None, None
    ordered = np.array(sorted(days))
    rows = np.array([days[each] for each in ordered])
    upto = np.cumsum(rows)
    low, high = ordered[np.searchsorted(upto, [upto[-1] * 0.1, upto[-1] * 0.9])]
    few = (1 - MOSTLY) * upto[-1]
    early, late = (np.searchsorted(np.cumsum(each), few, side="right") + 1 for each in (rows, rows[::-1]))
    before = _outside(ordered[:early], high - low, _PLACEHOLDER_DAYS)
    after = _outside(-ordered[::-1][:late], high - low, -_PLACEHOLDER_DAYS)
    return before, None if after is None else -after


def _outside(days: np.ndarray, span: int, placeholders: np.ndarray) -> int | None:
    """Return the first of some ascending days that is not far before the next ones; None if the very first is not."""
    gaps, unknown = np.diff(days), np.logical_and.accumulate(np.isin(days[:-1], placeholders))
    least = np.where(unknown, max(_FAR_DAYS_OF_PLACEHOLDERS, span), max(_FAR_DAYS, _FAR_SPANS * span))
    far = np.flatnonzero(gaps > least)
    return int(days[far[-1] + 1]) if len(far) else None


def ingest_time(raw: Path) -> pd.Timestamp | None:
    """Return when raw data were ingested, in UTC, by the record beside them; None without such a record.

    It is the present as far as these rows are concerned, and the same however often they are read.
    """
    record = raw.with_suffix(".json")
    found = read_json(record).get("ingested_at") if record.is_file() else None
    return pd.Timestamp(found).tz_convert("UTC").tz_localize(None) if found else None


def in_future(times: pd.Series, now: pd.Timestamp) -> np.ndarray:
    """Return for each of n times whether it is clearly later than `now`; a missing one is not."""
    naive = times if times.dt.tz is None else times.dt.tz_convert("UTC").dt.tz_localize(None)
    is_date = naive == naive.dt.normalize()
    return np.asarray((naive > now + _SLACK_OF_DATES) | (~is_date & (naive > now + _SLACK)), dtype=bool)


def time_column_of(kinds: Mapping[str, str], named: str | None, find: bool) -> str | None:
    """Return the column of times: the one that is named, or else, to `find` it, the only column of dates."""
    dates = [name for name, kind in kinds.items() if kind == "date"]
    if named is not None:
        return named if named in dates else None
    return dates[0] if find and len(dates) == 1 else None
