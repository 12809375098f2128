"""Checks of the time of day: a clock, a time zone or the form of the times may have changed."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from signoff.release.records import AlarmRecord
from signoff.review.periods import Periods, local, spans_of
from signoff.review.reasons import alarm

_HOURS = 24
_SHIFTS = (-2, -1, 1, 2)
# How much better the shifted profile of hours must fit (in log-likelihoods: a likelihood ratio of 1000 is as rare as 1
# / 1000, by Markov's inequality, and several shifts and spans are tried), and how often as much as ever before.
_BETTER, _LARGER = math.log(1000), 2.0
_FEWEST_HOURS, _FEWEST_ROWS = 6, 30
# The share of the newest rows at hours, or minutes, that no more than this share of at least so many earlier rows has.
_NEW, _UNUSED, _FEWEST_EARLIER = 0.2, 0.001, 200
# Around these days many clocks change to or from summer time.
_SUMMER_TIME = ((3, 8, 31), (10, 25, 31), (11, 1, 7))
_AROUND = pd.Timedelta(days=10)


def clock_alarms(time: pd.Series, target: np.ndarray, periods: Periods) -> list[AlarmRecord]:
    """Return an alarm if the newest rows are at other times of the day than before.

    They are at hours of the day, or minutes of the hour, at which there were none; or they fit the rows before better
    with their times moved by an hour or two. Two profiles are compared then: the number of rows by hour of the day, and
    the mean of the target by hour (less the mean of the day).

    Parameters
    ----------
    time, target
        The times of n rows, and their targets.
    periods
        The periods of these rows.
    """
    moments = local(time)
    # With an earlier change to or from summer time, the spans since show whether the times follow it.
    first = periods.last - pd.Timedelta(days=periods.count * periods.days)
    earlier = pd.date_range(first + _AROUND, periods.last - 8 * _AROUND, freq="10D")
    followed = any(_clocks_change(each) for each in earlier)
    hour = moments.dt.hour.to_numpy()
    words = _unused_words(moments, hour, periods, followed) or _shifted_words(hour, target, periods, followed)
    return [alarm("times", None, words)] if words else []


def _unused_words(moments: pd.Series, hour: np.ndarray, periods: Periods, followed: bool) -> str:
    """Return a sentence if many of the newest rows are at hours, or minutes, that hardly any earlier row had."""
    units = {"hours of the day": hour, "minutes of the hour": moments.dt.minute.to_numpy()}
    for length, _ in spans_of(periods):
        late = (periods.codes >= 0) & (periods.codes < length)
        for unit, values in units.items():
            used = np.bincount(values[~late], minlength=60)
            new = late & (used <= _UNUSED * used.sum())[values]
            if used.sum() < _FEWEST_EARLIER or new.sum() < max(_FEWEST_ROWS, _NEW * late.sum()):
                continue
            start = moments[new].min()
            if _clocks_change(start) and not followed:
                continue
            sentence = f"{new.sum():,} of {late.sum():,} rows of {periods.words(length)} are at {unit} at which there "
            sentence += f"were hardly any rows before, the first at {start:%Y-%m-%d %H:%M}: a clock, a time zone, or "
            return f"{sentence}the form of the times may have changed."
    return ""


def _shifted_words(hour: np.ndarray, target: np.ndarray, periods: Periods, followed: bool) -> str:
    """Return a sentence if the newest rows fit those before better with their times moved by an hour or two."""
    if len(np.unique(hour)) < _FEWEST_HOURS:
        return ""
    counted, valued = _profiles(hour, target, periods)
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
        return f"{sentence}hour of the day: a clock or a time zone may have changed."
    return ""


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
