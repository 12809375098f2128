"""Checks of times: rows that were added to the past since the release, and swapped days and months."""

from typing import TypedDict

import numpy as np
import pandas as pd

from signoff.release.records import AlarmRecord
from signoff.review.periods import FEWEST_STEPS, local
from signoff.review.reasons import alarm


class RowsByWeek(TypedDict):
    """How many rows each week has: the Monday of the first one, the counts, and the day of the newest row."""

    first: str
    counts: list[int]
    newest: str


# Rows come late: weeks that were newer than this at the release may still have changed since.
_LATE = pd.Timedelta(weeks=4)
# How many rows of older weeks must have come or gone, at least and as a share.
_FEWEST, _SHARE = 20, 0.003
# Days that may be swapped with a month, the days of a span, the share of the usual rows below which such days have
# too few, and the least number of rows that they would usually have.
_MONTHS, _SPAN_OF_SWAPS, _FEW_OF_SWAPS, _FEWEST_OF_SWAPS = 12, 28, 0.5, 30


def rows_by_week(time: pd.Series | None) -> RowsByWeek | None:
    """Return how many rows each week has; None without times."""
    if time is None or time.isna().any() or not len(time):
        return None
    days = local(time).dt.floor("D")
    weeks = (days - pd.to_timedelta(days.dt.day_of_week, unit="D")).astype("datetime64[s]")
    place = ((weeks - weeks.min()).dt.days // 7).to_numpy()
    return {
        "first": str(weeks.min().date()),
        "counts": np.bincount(place).tolist(),
        "newest": str(days.max().date()),
    }


def past_alarms(now: RowsByWeek | None, before: RowsByWeek | None) -> list[AlarmRecord]:
    """Return an alarm if weeks long before the release have got or lost rows since."""
    if now is None or before is None:
        return []
    # A source that delivers a window of time loses its oldest weeks.
    start = max(pd.Timestamp(each["first"]) for each in (now, before)) + pd.Timedelta(weeks=1)
    end = pd.Timestamp(before["newest"]) - _LATE
    then, again = (_between(each, start, end) for each in (before, now))
    changes = again - then
    found = []
    for changed, words in ((changes[changes > 0].sum(), "come"), (-changes[changes < 0].sum(), "gone")):
        if changed >= max(_FEWEST, _SHARE * then.sum()):
            weeks = np.flatnonzero(changes > 0 if words == "come" else changes < 0)
            day = start + pd.Timedelta(weeks=int(weeks[0]))
            sentence = f"{int(changed):,} rows of {len(weeks):,} weeks before {end:%Y-%m-%d} (the first begins on "
            sentence += f"{day:%Y-%m-%d}) have {words} since the deployed release: rows may have come late, or their "
            sentence += "dates may have been read wrong (day and month swapped)."
            if words == "gone":
                sentence = sentence.partition(": rows may")[0] + ": part of the history is missing."
            found.append(alarm("history", None, sentence))
    return found


def _between(weeks: RowsByWeek, start: pd.Timestamp, end: pd.Timestamp) -> np.ndarray:
    """Return the counts of the whole weeks from `start` to `end`."""
    first = pd.Timestamp(weeks["first"])
    count = max(int((end - start).days // 7), 0)
    skipped = int((start - first).days // 7)
    found = np.array(weeks["counts"][skipped : skipped + count], dtype="int64")
    return np.pad(found, (0, count - len(found)))


def swap_alarms(time: pd.Series) -> list[AlarmRecord]:
    """Return an alarm if the first twelve days of months have hardly any rows in the newest weeks, for the first time.

    If day and month are swapped, rows of these days go to other months, but for days like 5 May.
    """
    days = local(time).dropna().dt.floor("D")
    if not len(days):
        return []
    last = days.max()
    calendar = pd.date_range(days.min(), last, freq="D")
    rows = days.value_counts().reindex(calendar, fill_value=0).to_numpy()
    swaps = (calendar.day <= _MONTHS) & (calendar.day != calendar.month)
    age = np.arange(len(calendar))[::-1] // _SPAN_OF_SWAPS
    count = len(calendar) // _SPAN_OF_SWAPS
    for length in (1, 2):
        span, spans = age // length, count // length
        if spans < FEWEST_STEPS + 1:
            continue
        inside = span < spans
        early, others = (
            np.bincount(span[each], rows[each], spans)[:spans] / np.maximum(np.bincount(span[each], minlength=spans), 1)
            for each in (inside & swaps, inside & ~swaps)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = early / others
        # The swaps may have begun some spans ago.
        usual, expected = float(np.nanmin(ratio[1 + spans // 6 :])), others[0] * (swaps & (span == 0)).sum()
        if ratio[0] < _FEW_OF_SWAPS * usual and usual * expected >= _FEWEST_OF_SWAPS:
            start = last - pd.Timedelta(days=length * _SPAN_OF_SWAPS - 1)
            now = int(rows[swaps & (span == 0)].sum())
            sentence = f"Since {start:%Y-%m-%d}, days 1 to 12 of the months have {now:,} rows, where about "
            sentence += f"{usual * expected:,.0f} were expected: their day and month may be swapped."
            return [alarm("times", None, sentence)]
    return []
