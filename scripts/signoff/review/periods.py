"""Spans of time of equal length: a figure of the newest span compared with the same figure of earlier spans.

Consecutive rows are alike, and seasons come and go. So a figure of the newest span is not compared with single rows but
with earlier spans: its step from the spans just before is compared with the earlier steps.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

# The lengths of a period, in days, the first that has enough rows and periods is used.
LENGTHS = (7, 1, 28)
_FEWEST_PERIODS = 10
FEWEST_ROWS = 12
# Weeks may have fewer.
_FEWEST_IN_WEEK = 6
# The lengths of a span, in periods.
SPANS = (1, 2, 3, 4)
FEWEST_STEPS = 4
BEFORE = 3


@dataclass(frozen=True)
class Periods:
    """The period of each of n rows (0 is the newest, -1 none), the number of whole periods, their days, the last day,
    and how many periods have begun since the deployed release (0: unknown)."""

    codes: np.ndarray
    count: int
    days: int
    last: pd.Timestamp
    since: int = 0

    def begins(self, length: int) -> str:
        """Return the first day of the newest `length` periods."""
        return f"{self.last - pd.Timedelta(days=length * self.days - 1):%Y-%m-%d}"

    def words(self, length: int) -> str:
        """Return a phrase for the newest `length` periods."""
        days = length * self.days
        span = f"{days // 7} weeks" if days % 7 == 0 and days > 7 else "week" if days == 7 else f"{days} days"
        if length == self.since and length not in SPANS:
            return f"the {span} since the deployed release (from {self.begins(length)})"
        return f"the last {span if days > 1 else 'day'} (from {self.begins(length)})"


@dataclass(frozen=True)
class Change:
    """A step of a figure between the newest span and earlier ones: the periods of a span, the figures, its p-value and
    its ratio to the largest earlier step; if known, its standard error, degrees of freedom and the largest earlier t.
    """

    length: int
    now: float
    before: float
    p: float
    larger: float
    error: float = math.nan
    degrees: float = math.nan
    earlier: float = math.nan

    def least(self, p: float, larger: float, chance: float = 0.9) -> float:
        """Return the smallest step that would be seen with this chance, with these limits of p and `larger`."""
        t = max(-float(special.stdtrit(self.degrees, p / 2)), larger * self.earlier)
        return (t + float(special.ndtri(chance))) * self.error


def local(time: pd.Series) -> pd.Series:
    """Return times as their own clocks show them."""
    return time.dt.tz_localize(None) if time.dt.tz is not None else time


def periods_of(time: pd.Series, released: pd.Timestamp | None = None) -> Periods | None:
    """Return the periods of rows by their time; None if there are too few rows or too short a time.

    `released` is the day of the newest row of the deployed release.
    """
    known = time.dropna()
    if len(known) < _FEWEST_PERIODS * FEWEST_ROWS:
        return None
    days = local(time).dt.floor("D")
    last = days.max()
    age = (last - days).dt.days.to_numpy("float64", na_value=-1).astype("int64")
    length = next((each for each in LENGTHS if enough_rows(age[age >= 0], np.ones(len(known)), each)), None)
    if length is None:
        return None
    count = int((age.max() + 1) // length)
    codes = np.where((age >= 0) & (age < count * length), age // length, -1)
    return Periods(codes, count, length, last, since(released, last, length))


def since(released: pd.Timestamp | None, last: pd.Timestamp, length: int) -> int:
    """Return how many periods of `length` days have begun since a day; 0 if it is unknown."""
    return 0 if released is None else max(math.ceil((last - released).days / length), 0)


def compared_periods(time: pd.Series | None, sampled: bool = False) -> dict[str, int | bool] | None:
    """Return the days of a period and how many periods are compared, as diagnostics.json has them; None without any.

    The result also notes if the table is `sampled`.
    """
    periods = None if time is None else periods_of(time)
    if periods is None:
        return None
    return {"days": periods.days, "count": periods.count} | ({"sampled": True} if sampled else {})


def enough_rows(age: np.ndarray, rows: np.ndarray, length: int) -> bool:
    """Return whether there are enough periods of this length, with enough rows each."""
    count = int((age.max() + 1) // length)
    inside = age < count * length
    if count < _FEWEST_PERIODS:
        return False
    fewest = _FEWEST_IN_WEEK if length == LENGTHS[0] else FEWEST_ROWS
    return bool(np.median(np.bincount(age[inside] // length, rows[inside], count)) >= fewest)


def step(figures: np.ndarray, length: int, floor: float = 0.0) -> Change | None:
    """Return the newest step of a figure by span, the newest first; None if there are too few earlier spans.

    A step starts from the median of the BEFORE preceding spans. `floor` is the standard error of a step by chance.
    """
    steps = []
    for n in range(len(figures) - 1):
        before = figures[n + 1 : n + 1 + BEFORE]
        before = before[np.isfinite(before)]
        if not np.isfinite(figures[n]) or not len(before):
            if n == 0:
                return None
            continue
        steps.append(figures[n] - np.median(before))
    if len(steps) <= FEWEST_STEPS:
        return None
    first, others = abs(steps[0]), np.array(steps[1:])
    spread = max(math.sqrt(float((others**2).mean())), floor, 1e-12)
    t = first / (spread * math.sqrt(1 + 1 / len(others)))
    p = float(2 * special.stdtr(len(others), -t))
    larger = first / max(float(np.abs(others).max()), 1e-12)
    return Change(length, float(figures[0]), float(figures[0] - steps[0]), p, larger)


def step_in_series(y: np.ndarray, late: np.ndarray) -> tuple[float, float, float] | None:
    """Return the levels before and after a step of a series, and the t statistic of the difference."""
    means = y[~late].mean(), y[late].mean()
    rest = y - np.where(late, means[1], means[0])
    squares = float(rest @ rest)
    if squares <= 0:
        return None
    alike = float(rest[1:] @ rest[:-1]) / squares
    alike = float(np.clip(alike + (1 + 3 * alike) / len(y), 0.0, 0.97))
    x = np.column_stack([np.ones(len(y)), late.astype("float64")])
    y, x = y[1:] - alike * y[:-1], x[1:] - alike * x[:-1]
    inverse = np.linalg.pinv(x.T @ x)
    level, step = inverse @ (x.T @ y)
    rest = y - x @ np.array([level, step])
    error = math.sqrt(float(rest @ rest) / max(len(y) - 2, 1) * float(inverse[1, 1]))
    return float(level), float(level + step), float(step) / max(error, 1e-12)


def spans_of(periods: Periods) -> Iterator[tuple[int, int]]:
    """Yield each span length, in periods, and the number of spans; one is that since the deployed release."""
    for length in sorted({*SPANS, *([periods.since] if periods.since else [])}):
        if periods.count // length >= FEWEST_STEPS + 2:
            yield length, periods.count // length


def span_sums(values: np.ndarray, length: int, count: int) -> np.ndarray:
    """Return the sums over spans of values by period, along the last axis, the newest span first."""
    found: np.ndarray = values[..., : count * length].reshape(*values.shape[:-1], count, length).sum(axis=-1)
    return found


def means(periods: Periods, values: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield each length of a span, the mean of the known values of each span, NaN where there are too few, and how many
    there are."""
    use = (periods.codes >= 0) & np.isfinite(values)
    codes = periods.codes[use]
    n = np.bincount(codes, minlength=periods.count)[: periods.count]
    total = np.bincount(codes, values[use], periods.count)
    for length, count in spans_of(periods):
        several = span_sums(n, length, count)
        with np.errstate(divide="ignore", invalid="ignore"):
            yield (
                length,
                np.where(several >= FEWEST_ROWS // 2, span_sums(total, length, count) / several, np.nan),
                several,
            )


def steps_of(
    figures: np.ndarray, rows: np.ndarray, deviations: np.ndarray, length: int, own: bool = False
) -> Iterator[tuple[int, Change]]:
    """Yield the newest step of each of k series (the levels of a feature), by its number.

    A step starts from the median of the BEFORE preceding spans, and is measured in standard errors by chance, given the
    number of rows. The earlier steps of all series show how much they usually move beyond chance.

    Parameters
    ----------
    figures, rows
        The mean and the number of rows of each series and span (k × m), the newest span first.
    deviations
        The standard deviation of a row of each series.
    length
        How many periods a span has.
    own
        Judge each series by its own earlier steps alone, because the series differ.
    """
    count = figures.shape[1]
    z = np.full((len(figures), max(count - 1, 0)), np.nan)
    before = np.full(len(figures), np.nan)
    for n in range(count - 1):
        earlier = figures[:, n + 1 : n + 1 + BEFORE]
        with np.errstate(invalid="ignore", divide="ignore"):
            counts = np.where(np.isfinite(earlier), rows[:, n + 1 : n + 1 + BEFORE], 0).sum(axis=1)
            known = np.isfinite(earlier).any(axis=1)
            middle = np.full(len(figures), np.nan)
            middle[known] = np.nanmedian(earlier[known], axis=1)
            # The variance of a median of normal figures is pi / 2 times that of their mean.
            chance = deviations * np.sqrt(1 / rows[:, n] + math.pi / 2 / counts)
            z[:, n] = (figures[:, n] - middle) / np.maximum(chance, 1e-12)
        if n == 0:
            before = middle
    others = z[:, 1:]
    known = np.isfinite(others)
    if known.sum() <= FEWEST_STEPS:
        return
    usual = max(1.0, math.sqrt(float((others[known] ** 2).mean())))
    # Neighbouring steps share figures.
    degrees = max(known.sum() / 2, 3)
    for k in np.flatnonzero(np.isfinite(z[:, 0]) & (known.sum(axis=1) > FEWEST_STEPS)):
        earlier = others[k][known[k]]
        own_usual = math.sqrt(float((earlier**2).mean()))
        t = abs(z[k, 0]) / max(1.0 if own else usual, own_usual)
        few = len(earlier) if own or own_usual > 1.5 * usual else degrees
        p = float(2 * special.stdtr(few, -t))
        larger = abs(z[k, 0]) / max(float(np.abs(earlier).max()), 1e-12)
        yield int(k), Change(length, float(figures[k, 0]), float(before[k]), p, larger)
