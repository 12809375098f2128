"""A value that recently became frequent in a column of numbers: 0, -999, a default, or the limit of a cut-off."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from signoff.release.records import AlarmRecord
from signoff.review.periods import FEWEST_ROWS, SPANS, Change, Periods, local, spans_of, step
from signoff.review.reasons import alarm
from signoff.review.series import newest_steps

# The share of the newest rows that must have the value, beyond its share before; how many times the largest earlier
# step this must be; and how rare, over all checks, and if consecutive periods are autocorrelated.
_LEAST, _LARGER, _RARE, _RARE_IF_ALIKE = 0.1, 1.5, 0.006, 0.001
# A value that was frequent before is no placeholder: its share must be this many times as large.
_TIMES = 2.0
# The standard error of a share of one row, for shares of about a tenth.
_CHANCE = 0.3
# The share of the newest days on which the value must come, and the number.
_DAYS, _FEWEST = 0.5, 4
# The share of the newest rows that must have the largest or smallest value for it to be a limit, at least and of the
# earlier share of values at or beyond it; on how many days; and how rare it must be that no day has values beyond it.
# There must be other values, too: flags of holidays are 1 for weeks.
_AT_LIMIT, _OF_BEYOND, _FEWEST_DAYS, _RARE_BELOW = 0.05, 0.4, 4, 1e-5
_MOST_AT_LIMIT, _FEWEST_VALUES = 0.6, 4
_MOST_NAMED = 3


def placeholder_alarms(table: pd.DataFrame, kinds: dict[str, str], time: str, periods: Periods) -> list[AlarmRecord]:
    """Return an alarm for each numeric column in which one value has never been as frequent as in the newest rows.

    There is also one for each column whose newest values are cut off at a limit.

    In each period, some value is the most frequent one, beyond its share of all other periods. This excess is compared
    over the periods. A value that a whole day shares does not count as often as its rows, so it must have come on half
    of the days.

    Parameters
    ----------
    table
        n rows, with the columns of `kinds` and `time`.
    kinds
        The kind of each column to look at.
    periods
        The periods of these rows.
    """
    numbers = [name for name, kind in kinds.items() if kind == "number"]
    days = local(table[time]).dt.floor("D").to_numpy()
    checks = len(SPANS) * len(numbers)
    found, moved = [], []
    for name in numbers:
        if words := _limit_words(name, table[name], days, periods):
            found.append(alarm("drift", name, words))
        elif each := _most_frequent(table[name], days, periods, checks):
            moved.append((each, name))
    for (change, value), name in sorted(moved, key=lambda row: row[0][0].p)[:_MOST_NAMED]:
        sentence = f"{name} is {value:.6g} in {change.now:.0%} of the rows of {periods.words(change.length)}, and in "
        sentence += f"{change.before:.1%} before: it may stand for a missing value."
        found.append(alarm("drift", name, sentence))
    return found


def _most_frequent(column: pd.Series, days: np.ndarray, periods: Periods, checks: int) -> tuple[Change, float] | None:
    """Return the rarest step of the largest excess of a value that counts, with its shares, and the value."""
    values = column.to_numpy("float64", na_value=np.nan)
    use = (periods.codes >= 0) & np.isfinite(values)
    recent, days = periods.codes[use], days[use]
    codes, levels = pd.factorize(values[use])
    # Most columns end here.
    if len(levels) < 2 or not any(_newest_excess(codes, recent < each) >= _LEAST for each, _ in spans_of(periods)):
        return None
    by_period, _ = _excess(codes, recent, periods.count)
    best: tuple[Change, float] | None = None
    for length, count in spans_of(periods):
        inside, late = recent < count * length, recent < length
        excess, top = _excess(codes[inside], recent[inside] // length, count)
        rows = np.bincount(recent[inside] // length, minlength=count)
        # A value may have been as frequent for a part of an earlier span.
        if late.sum() < FEWEST_ROWS or not excess[0] >= max(_LEAST, _LARGER * np.nanmax(by_period[length:])):
            continue
        found = step(excess, length, _CHANCE / math.sqrt(float(np.median(rows))))
        held = np.unique(days[late & (codes == top)])
        if found is None or found.p >= _RARE / checks or len(held) < max(_DAYS * len(np.unique(days[late])), _FEWEST):
            continue
        tried = newest_steps(by_period[None, ::-1], np.ones((1, len(by_period))), [length])
        if all(each.p < _RARE_IF_ALIKE for *_, each in tried) and (best is None or found.p < best[0].p):
            now, before = (float((codes[rows] == top).mean()) for rows in (late, ~late))
            if now >= _TIMES * before:
                best = replace(found, now=now, before=before), float(levels[top])
    return best


def _limit_words(name: str, column: pd.Series, days: np.ndarray, periods: Periods) -> str:
    """Return a sentence if many of the newest values equal the largest, or smallest, of them, and earlier ones went
    beyond it in every span."""
    values = column.to_numpy("float64", na_value=np.nan)
    use = (periods.codes >= 0) & np.isfinite(values)
    values, recent, day = values[use], periods.codes[use], days[use]
    for sign, words in ((1, "at most"), (-1, "at least")):
        for length, count in spans_of(periods):
            late = recent < length
            if late.sum() < FEWEST_ROWS:
                continue
            limit = float((sign * values[late]).max())
            at, beyond = values == sign * limit, sign * values > limit
            now, before, over = (float(each.mean()) for each in (at[late], at[~late], beyond[~late]))
            if len(np.unique(day[at & late])) < _FEWEST_DAYS:
                continue
            if not max(_AT_LIMIT, _TIMES * before, _OF_BEYOND * (before + over)) <= now <= _MOST_AT_LIMIT:
                continue
            if len(np.unique(values[late])) < _FEWEST_VALUES:
                continue
            by_span = np.bincount(recent[beyond] // length, minlength=count)[1:count]
            with_any = (len(np.unique(day[beyond])) + 0.5) / (len(np.unique(day[~late])) + 1)
            if by_span.all() and (1 - with_any) ** len(np.unique(day[late])) < _RARE_BELOW:
                sentence = f"{name} is {words} {sign * limit:.6g} in {periods.words(length)}, and equals it in "
                sentence += f"{now:.0%} of the rows; {over:.0%} of the earlier rows are beyond it: the values may be "
                return f"{sentence}cut off."
    return ""


def _newest_excess(codes: np.ndarray, late: np.ndarray) -> float:
    """Return the largest excess of a value's share of the newest rows over its share of all others."""
    total, now = np.bincount(codes), np.bincount(codes[late], minlength=int(codes.max()) + 1)
    rows = int(late.sum())
    return float((now / max(rows, 1) - (total - now) / max(len(codes) - rows, 1)).max())


def _excess(codes: np.ndarray, spans: np.ndarray, count: int) -> tuple[np.ndarray, int]:
    """Return of each span the largest excess of a value's share over its share in all other spans, and the value of the
    newest span's; NaN for spans without rows."""
    cells, rows = np.unique(codes.astype("int64") * count + spans, return_counts=True)
    value, span = cells // count, cells % count
    total, size = np.bincount(codes), np.bincount(spans, minlength=count)
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = rows / size[span] - (total[value] - rows) / (len(codes) - size[span])
    largest = np.full(count, np.nan)
    np.fmax.at(largest, span, excess)
    newest = span == 0
    return largest, int(value[newest][np.argmax(excess[newest])]) if newest.any() else 0
