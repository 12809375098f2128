"""Recent changes in the rows: the newest spans of time compared with earlier spans of equal length; see `periods`."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeGuard

import numpy as np
import pandas as pd

from signoff.features.recipe import of_a_date
from signoff.features.records import Description
from signoff.release.records import AlarmRecord
from signoff.review import drift
from signoff.review.clocks import clock_alarms
from signoff.review.gaps import gap_alarms
from signoff.review.joint import joint_alarms
from signoff.review.periods import (
    BEFORE,
    FEWEST_ROWS,
    LENGTHS,
    SPANS,
    Change,
    Periods,
    enough_rows,
    local,
    means,
    periods_of,
    since,
    span_sums,
    spans_of,
    step,
)
from signoff.review.placeholders import placeholder_alarms
from signoff.review.precision import precision_alarms
from signoff.review.reasons import alarm
from signoff.review.repeated_rows import repeated_alarms
from signoff.review.series import newest_steps
from signoff.review.times import swap_alarms
from signoff.review.volume import level_alarms, volume_alarms

# A step counts if it is this many times the largest earlier step, and this rare over all checks.
_LARGER = 1.5
_RARE, _RARE_IF_ALIKE = 0.006, 0.001
# The smallest effects that are reported: in mean ranks, their spread, and shares.
_LEVEL, _SPREAD, _PART = 0.12, 0.07, 0.15
# The share of the earlier values, at each end, that does not count for their range.
_OUTERMOST = 0.001
# The share of one value from which the ranks of all others are compared, too.
_HIDES = 0.3
_MOST_ROWS = 60_000
_FEWEST_STUCK = 12
_MOST_NAMED = 3


def newest_alarms(
    table: pd.DataFrame, description: Description, released: pd.Timestamp | None = None
) -> list[AlarmRecord]:
    """Return the alarms of what has just changed in the rows.

    Parameters
    ----------
    table
        The features of n rows, with the target, the time and the split. A sample must have the same share of each part.
    description
        The description that `feature_engineering` writes.
    released
        The day of the newest row of the deployed release. The rows since then are a span, too.
    """
    time = description["time_column"]
    if not time:
        return []
    table = table if table[time].is_monotonic_increasing else table.sort_values(time, kind="stable")
    periods = periods_of(table[time], released)
    if periods is None:
        return []
    kinds = {name: kind for name, kind in drift.columns(description) if not of_a_date(name, description)}
    checks = len(SPANS) * (2 * len(kinds) + 4)
    stuck, still = _stuck_columns(table, table[time], kinds, periods)
    repeats = repeated_alarms(table, [*kinds], description, periods)
    volumes = [*volume_alarms(table[time], periods), *level_alarms(table, kinds, periods)]
    moved = _shifted(table, {name: kind for name, kind in kinds.items() if name not in still}, periods, checks)
    # A step is stronger evidence than decimals.
    skip = {each["feature"] for each in (*stuck, *moved)}
    filled = placeholder_alarms(table, {name: kind for name, kind in kinds.items() if name not in skip}, time, periods)
    skip |= {each["feature"] for each in filled}
    precise = [each for each in precision_alarms(table, kinds, periods) if each["feature"] not in skip]
    skip |= {each["feature"] for each in precise}
    gaps = [each for each in gap_alarms(table, kinds, periods) if each["feature"] not in skip]
    target = table[description["target"]].to_numpy("float64", na_value=np.nan)
    clocks = clock_alarms(table[time], target, periods)
    found = [*repeats, *stuck, *filled, *precise, *gaps, *volumes, *moved, *clocks, *swap_alarms(table[time])]
    # A change in one column also changes its correlations.
    return found or joint_alarms(table, kinds, periods)


def _runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the start and the length of each run of equal values."""
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    return starts, np.diff(np.r_[starts, len(values)])


def _stuck_columns(
    table: pd.DataFrame, moments: pd.Series, kinds: dict[str, str], periods: Periods
) -> tuple[list[AlarmRecord], set[str]]:
    """Return an alarm for each column that is, or was, stuck at a value in the newest rows for longer than ever before.

    The columns that still are stuck are returned, too.
    """
    found, still = [], set()
    for name in kinds:
        column = table[name]
        known = column.notna().to_numpy()
        values, _ = pd.factorize(column[known])
        recent = periods.codes[known]
        if len(values) < 2 * _FEWEST_STUCK:
            continue
        starts, lengths = _runs(values)
        near = (recent[starts] >= 0) & (recent[starts] <= max(2 * max(SPANS), periods.count // 4))
        near[-1] |= lengths[-1] < len(values) / 2
        if not near.any():
            continue
        k = np.flatnonzero(near)[np.argmax(lengths[near])]
        run, value = int(lengths[k]), values[starts[k]]
        before = values[: starts[k]]
        longest = int(lengths[:k].max(initial=0))
        share = (np.count_nonzero(before == value) + 1) / (len(before) + 2)
        if run < max(_FEWEST_STUCK, 3 * longest + 5) or run * math.log(share) > math.log(1e-6 / len(kinds)):
            continue
        shown, moment = column[known].iloc[starts[k]], moments[known].iloc[starts[k]]
        sentence = (
            f"{name} is {shown} in {run:,} consecutive rows, from {moment}; before, at most {longest:,} in a row were "
        )
        found.append(alarm("stuck", name, f"{sentence}equal."))
        if starts[k] + run == len(values):
            still.add(name)
    return found, still


def _most_moved(values: np.ndarray, periods: Periods, least: float, checks: int, chance: float = 0.0) -> Change | None:
    """Return the rarest step of the mean of values that counts, over all spans; None if none counts."""
    best = None
    for length, figures, n in means(periods, values):
        floor = chance / math.sqrt(max(float(np.median(n)), 1.0))
        found = step(figures, length, floor)
        if _is_news(found, least, checks) and (best is None or found.p < best.p):
            best = found
    if best and all(each.p < _RARE_IF_ALIKE for each in _if_alike(values, periods, [best.length])):
        return best
    # A few long spans are too few to show what is usual; the periods that they are made of are more.
    lengths = [length for length, _ in spans_of(periods)]
    tried = [each for each in _if_alike(values, periods, lengths) if _is_news(each, least, checks)]
    return min(tried, key=lambda each: each.p, default=None)


def _if_alike(values: np.ndarray, periods: Periods, lengths: Sequence[int]) -> list[Change]:
    """Return the steps of the newest spans by period, judged as if consecutive periods were autocorrelated."""
    use = (periods.codes >= 0) & np.isfinite(values)
    n = np.bincount(periods.codes[use], minlength=periods.count)[::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        means_by_period = np.bincount(periods.codes[use], values[use], periods.count)[::-1] / n
        return [each for *_, each in newest_steps(means_by_period[None], (1 / n)[None], lengths)]


def _is_news(found: Change | None, least: float, checks: int) -> TypeGuard[Change]:
    """Return whether a step was found that is large and rare enough to be reported."""
    return (
        found is not None
        and abs(found.now - found.before) >= least
        and found.larger >= _LARGER
        and found.p < _RARE / checks
    )


def _shifted(table: pd.DataFrame, kinds: dict[str, str], periods: Periods, checks: int) -> list[AlarmRecord]:
    """Return an alarm for each numeric column whose level or spread has an unprecedented step."""
    # Levels need no more rows than these, so every k-th row is used.
    every = len(table) // _MOST_ROWS + 1
    table = table.iloc[::every]
    periods = replace(periods, codes=periods.codes[::every])
    moved: list[tuple[Change, str, pd.Series, str]] = []
    for name in [each for each, kind in kinds.items() if kind == "number"]:
        values = table[name].to_numpy("float64", na_value=np.nan)
        ranks = _ranks(values)
        each = _most_moved(ranks, periods, _LEVEL, checks, 0.3)
        each = each or _most_moved(np.abs(ranks - 0.5), periods, _SPREAD, checks, 0.15)
        each = each or _beyond(values, periods)
        column, without = table[name], ""
        if each is None and (others := _without_most_frequent(values)) is not None:
            each = _most_moved(_ranks(others), periods, _LEVEL, checks, 0.3)
            column, without = pd.Series(others), ", without the most frequent value,"
        if each:
            moved.append((each, name, column, without))
    found = []
    for each, name, column, without in sorted(moved, key=lambda row: row[0].p)[:_MOST_NAMED]:
        inside = (periods.codes >= 0) & (periods.codes < each.length)
        now, before = column[inside].dropna(), column[~inside].dropna()
        # A season can look like another unit, so the unit is taken from the rows just before.
        recent = (periods.codes >= each.length) & (periods.codes < each.length * (1 + BEFORE))
        unit = _unit_of(column[recent].dropna(), now)
        figures = f"its median{without} is {now.median():.4g} there and {before.median():.4g} before"
        if math.isclose(now.median(), before.median(), rel_tol=0.05):
            spreads = [float(np.subtract(*rows.quantile([0.9, 0.1]))) for rows in (now, before)]
            figures = f"the middle 80% of its values span {spreads[0]:.4g} there and {spreads[1]:.4g} before"
        if unit:
            sentence = f"{name} seems to be in another unit in {periods.words(each.length)} ({unit}): {figures}."
            found.append(alarm("unit_change", name, sentence))
        else:
            words = "moved by more than between any earlier spans of that length"
            found.append(alarm("drift", name, f"{name} has {words} in {periods.words(each.length)}: {figures}."))
    return found


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of values, from 0 to 1; NaN for missing ones."""
    return pd.Series(values).rank(pct=True).to_numpy()


def _without_most_frequent(values: np.ndarray) -> np.ndarray | None:
    """Return values without the most frequent one, like days without rain; None if it hides little of the others."""
    levels, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    if not len(levels) or counts.max() < _HIDES * counts.sum():
        return None
    return np.where(values == levels[np.argmax(counts)], np.nan, values)


def _beyond(values: np.ndarray, periods: Periods) -> Change | None:
    """Return a step if many of the newest values lie far beyond all earlier ones."""
    known = np.isfinite(values)
    for length, _ in spans_of(periods):
        inside = (periods.codes >= 0) & (periods.codes < length)
        now, before = values[inside & known], values[~inside & known]
        if len(now) < FEWEST_ROWS or not len(before):
            continue
        # A few wrong values of long ago do not hide a new unit.
        low, high = np.quantile(before, [_OUTERMOST, 1 - _OUTERMOST])
        margin = 0.3 * (high - low)
        far = float(((now < low - margin) | (now > high + margin)).mean())
        if far >= _PART and high > low:
            return Change(length, far, 0.0, 0.0, math.inf)
    return None


def _unit_of(before: pd.Series, now: pd.Series) -> str | None:
    """Return the conversion that maps the newest values back to the earlier ones; None if none does."""
    profile = drift.profile(before, "number")
    unit: str | None = drift.compare("", profile, now)["unit"]
    return unit


def rows_by_day(rows: pd.DataFrame, time: str) -> pd.DataFrame:
    """Return the number of rows by day (column ""), and in how many of them each other column is missing."""
    lacking = rows.drop(columns=time).isna().astype("int64")
    lacking[""] = 1
    return lacking.groupby(local(rows[time]).dt.floor("D").to_numpy()).sum()


def missing_alarms(parts: Iterable[pd.DataFrame], released: pd.Timestamp | None = None) -> list[AlarmRecord]:
    """Return an alarm for each column that is missing more often in the newest rows than ever before.

    `parts` are results of `days_of`, each for some of the rows; `released` is as `newest_alarms` takes it.
    """
    several = list(parts)
    days = pd.concat(several).groupby(level=0).sum() if several else pd.DataFrame()
    if days.empty:
        return []
    age = (days.index.max() - days.index).days.to_numpy()
    found: list[tuple[float, AlarmRecord]] = []
    length = next((each for each in LENGTHS if enough_rows(age, days[""].to_numpy(), each)), None)
    if length is None:
        return []
    count = int((age.max() + 1) // length)
    last = days.index.max()
    codes = np.where(age < count * length, age // length, -1)
    periods = Periods(codes, count, length, last, since(released, last, length))
    use = periods.codes >= 0
    by_period = {name: np.bincount(periods.codes[use], days[name].to_numpy("float64")[use], count) for name in days}
    for name in [each for each in days.columns if each]:
        best = None
        for span, spans in spans_of(periods):
            total, lacking = (span_sums(by_period[each], span, spans) for each in ("", name))
            with np.errstate(divide="ignore", invalid="ignore"):
                shares = np.where(total >= FEWEST_ROWS // 2, lacking / total, np.nan)
            each = step(shares, span, math.sqrt(0.25 / max(float(np.median(total)), 1.0)) / 2)
            if _is_news(each, _PART / 2, len(SPANS) * len(days.columns)) and (best is None or each.p < best.p):
                best = each
        if best and best.now > best.before:
            sentence = (
                f"{name} is missing in {best.now:.1%} of the source's rows of {periods.words(best.length)}; before "
            )
            found.append((best.now, alarm("missing", name, f"{sentence}it was {max(best.before, 0):.1%}.")))
    return [each for _, each in sorted(found, key=lambda row: -row[0])[:_MOST_NAMED]]
