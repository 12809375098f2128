"""Checks of times: rows that were added to the past since the release, shifted clocks, and swapped days and months."""

import math
from collections.abc import Iterator
from typing import TypedDict

import numpy as np
import pandas as pd

from signoff.release.records import AlarmRecord
from signoff.review.periods import FEWEST_STEPS, Periods, spans_of
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
_HOURS = 24
_SHIFTS = (-2, -1, 1, 2)
# How much better the shifted profile of hours must fit (in log-likelihoods: a likelihood ratio of 1000 is as rare as 1
# / 1000, by Markov's inequality, and several shifts and spans are tried), and how often as much as ever before.
_BETTER, _LARGER = math.log(1000), 2.0
_FEWEST_HOURS, _FEWEST_ROWS = 6, 30
# Days that may be swapped with a month, the days of a span, the share of the usual rows below which such days have
# too few, and the least number of rows that they would usually have.
_MONTHS, _SPAN_OF_SWAPS, _FEW_OF_SWAPS, _FEWEST_OF_SWAPS = 12, 28, 0.5, 30
# Around these days many clocks change to or from summer time.
_SUMMER_TIME = ((3, 8, 31), (10, 25, 31), (11, 1, 7))
_AROUND = pd.Timedelta(days=10)


def rows_by_week(time: pd.Series | None) -> RowsByWeek | None:
    """Return how many rows each week has; None without times."""
    if time is None or time.isna().any() or not len(time):
        return None
    days = _local(time).dt.floor("D")
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


def clock_alarms(time: pd.Series, target: np.ndarray, periods: Periods) -> list[AlarmRecord]:
    """Return an alarm if the newest rows fit those before better with their times moved by an hour or two.

    Two profiles are compared with earlier ones: the number of rows by hour of the day, and the mean of the target by
    hour (less the mean of the day).
    """
    hour = _local(time).dt.hour.to_numpy()
    if len(np.unique(hour)) < _FEWEST_HOURS:
        return []
    counted, valued = _profiles(hour, target, periods)
    # With an earlier change to or from summer time, the spans since show whether the times follow it.
    first = periods.last - pd.Timedelta(days=periods.count * periods.days)
    earlier = pd.date_range(first + _AROUND, periods.last - 8 * _AROUND, freq="10D")
    followed = any(_clocks_change(each) for each in earlier)
    for length, count in spans_of(periods):
        gains = np.array(list(_gains(counted, valued, length, count)))
        if not len(gains) or not np.isfinite(gains[0]).all():
            continue
        best = int(np.argmax(gains[0]))
        largest = float(np.nanmax(np.maximum(gains[1:], 0.0), initial=0.0))
        start = periods.last - pd.Timedelta(days=length * periods.days - 1)
        if gains[0, best] < max(_BETTER, _LARGER * largest) or (_clocks_change(start) and not followed):
            continue
        shift = _SHIFTS[best]
        words = f"{abs(shift)} hour{'s' if abs(shift) > 1 else ''} {'later' if shift > 0 else 'earlier'}"
        sentence = f"The times of {periods.words(length)} look {words} than before, by the rows and the target of each "
        return [alarm("times", None, f"{sentence}hour of the day: a clock or a time zone may have changed.")]
    return []


def swap_alarms(time: pd.Series) -> list[AlarmRecord]:
    """Return an alarm if the first twelve days of months have hardly any rows in the newest weeks, for the first time.

    If day and month are swapped, rows of these days go to other months, but for days like 5 May.
    """
    days = _local(time).dropna().dt.floor("D")
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


def _profiles(hour: np.ndarray, target: np.ndarray, periods: Periods) -> tuple[np.ndarray, np.ndarray]:
    """Return of each period and hour the rows, and the sums of the target (in standard deviations within periods)."""
    use = (periods.codes >= 0) & np.isfinite(target)
    cells = periods.codes[use] * _HOURS + hour[use]
    size = periods.count * _HOURS
    rows = np.bincount(cells, minlength=size).reshape(-1, _HOURS).astype("float64")
    low, high = np.quantile(target[use], [0.02, 0.98])
    values = np.clip(target[use], low, high)
    means = np.bincount(periods.codes[use], values, periods.count) / np.maximum(rows.sum(axis=1), 1)
    rest = values - means[periods.codes[use]]
    return rows, np.bincount(cells, rest / max(float(rest.std()), 1e-12), size).reshape(-1, _HOURS)


def _gains(rows: np.ndarray, sums: np.ndarray, length: int, count: int) -> Iterator[np.ndarray]:
    """Yield for each span, the newest first, by how much each shift fits better than none (in log-likelihoods)."""
    spans = [each[: count * length].reshape(count, length, _HOURS).sum(axis=1) for each in (rows, sums)]
    for n in range(count):
        others = np.arange(count) != n
        others[0] = False
        n_then, sum_then = (each[others].sum(axis=0) for each in spans)
        n_now, sum_now = (each[n] for each in spans)
        if n_now.sum() < _FEWEST_ROWS:
            yield np.full(len(_SHIFTS), np.nan)
            continue
        shares = (n_then + 0.5) / (n_then + 0.5).sum()
        # A mean of few rows is shrunk towards that of the day.
        means = sum_then / (n_then + 10)
        # Rows of one day or hour are correlated, so they carry less information than independent rows.
        fits = {
            shift: float(n_now @ np.log(np.roll(shares, shift)))
            + float(sum_now @ np.roll(means, shift) - 0.5 * n_now @ np.roll(means, shift) ** 2)
            for shift in (0, *_SHIFTS)
        }
        yield np.array([fits[shift] - fits[0] for shift in _SHIFTS])


def _clocks_change(day: pd.Timestamp) -> bool:
    """Return whether clocks change to or from summer time within about ten days of a day."""
    near = pd.date_range(day - _AROUND, day + _AROUND)
    return any(
        (each.month, first <= each.day <= last) == (month, True) for each in near for month, first, last in _SUMMER_TIME
    )


def _local(time: pd.Series) -> pd.Series:
    return time.dt.tz_localize(None) if time.dt.tz is not None else time
