"""Recent changes in the number of rows: in all, on single days, and of each level of a category."""

import math

import numpy as np
import pandas as pd
from scipy import special

from signoff.release.records import AlarmRecord
from signoff.review.drift import NEWS, usual_turnover
from signoff.review.periods import BEFORE, Change, Periods, local, span_sums, spans_of, step
from signoff.review.reasons import alarm, vanished

# A change of the number of rows counts if it is this large (in logarithms), this many times the largest earlier step,
# and this rare. Spans overlap, so they are about as many checks as there are lengths.
_CHANGED, _NEWS = math.log(1.35), ((1.3, 5e-4), (1.5, 1e-3))
# The variance of a step of the logarithm of Poisson counts, as a multiple of that of a single one: the median of the
# preceding spans varies, too.
_OF_STEP = 1 + math.pi / 2 / BEFORE
# A week may have lost rows, and the next one be complete: weeks that ended so many days ago are looked at, too.
_WEEK, _AGO = 7, range(1, 14)
# Weekdays on which there are no rows more often than this are days off. Fewer empty days than these are a holiday.
_OFF, _FEWEST_EMPTY = 0.2, 2
# More days without rows than before count if they are this many times the most of any earlier span, and this rare.
_MORE_EMPTY, _RARE_IF_EMPTY = 1.3, 1e-4
# Days of a month that may be months, too.
_MONTHS = 12
# A level is lost if at most this share of its rows is left, and if so few are this rare: over all levels of a column,
# and, if its share is the lowest that it had before, by itself.
_LEFT, _RARE_OF_LEVELS, _RARE_OF_LEAST = 0.3, 1e-4, 0.02
_MOST_NAMED = 3
_MOST_SEGMENTS = 60


def volume_alarms(time: pd.Series, periods: Periods) -> list[AlarmRecord]:
    """Return an alarm if the newest spans, or weeks, have far more or fewer rows than before, or days without any."""
    age = (periods.last - local(time).dropna().dt.floor("D")).dt.days.to_numpy()
    counts = np.bincount(age)
    if words := _empty_words(counts, periods) or _counts_words(counts, periods):
        return [alarm("volume", None, words)]
    return []


def _counts_words(counts: np.ndarray, periods: Periods) -> str:
    """Return a sentence on the rarest change of the number of rows, from the counts by day (the newest first)."""
    best: tuple[Change, str] | None = None
    by_period = counts[: periods.count * periods.days].reshape(-1, periods.days).sum(axis=1)
    for length, count in spans_of(periods):
        words = periods.words(length)
        if (found := _news(span_sums(by_period, length, count), length)) and (best is None or found.p < best[0].p):
            best = found, f"{words[0].upper()}{words[1:]}: {{}} rows; spans of that length before had about {{}}."
    if periods.days != _WEEK or best:
        return _filled(best)
    for ago in _AGO:
        weeks = (len(counts) - ago) // _WEEK
        found = _news(counts[ago : ago + weeks * _WEEK].reshape(-1, _WEEK).sum(axis=1), 1)
        if found and found.now < found.before and (best is None or found.p < best[0].p):
            start = periods.last - pd.Timedelta(days=ago + _WEEK - 1)
            best = found, f"The seven days from {start:%Y-%m-%d} have {{}} rows; such spans before had about {{}}."
    return _filled(best)


def _filled(best: tuple[Change, str] | None) -> str:
    if best is None:
        return ""
    return best[1].format(*(f"{round(math.exp(each) - 0.5):,}" for each in (best[0].now, best[0].before)))


def _news(rows: np.ndarray, length: int) -> Change | None:
    """Return the newest step of the logarithm of the counts if it counts."""
    found = step(np.log(rows + 0.5), length, math.sqrt(_OF_STEP / max(float(np.median(rows)), 1.0)))
    if found is None or abs(found.now - found.before) < _CHANGED:
        return None
    return found if any(found.larger >= larger and found.p < p for larger, p in _NEWS) else None


def _empty_words(counts: np.ndarray, periods: Periods) -> str:
    """Return a sentence if more of the newest days have no rows than of any earlier days, days off left out."""
    calendar = periods.last - pd.to_timedelta(np.arange(len(counts)), unit="D")
    empty, weekday = counts == 0, calendar.day_of_week.to_numpy()
    for length, _ in spans_of(periods):
        size = length * periods.days
        off = [each for each in range(7) if empty[size:][weekday[size:] == each].mean() > _OFF]
        lacking = empty & ~np.isin(weekday, off)
        now, before = lacking[:size], lacking[size:]
        usual = (before.sum() + 0.5) / (len(before) + 1)
        most = int(np.lib.stride_tricks.sliding_window_view(before, size).sum(axis=1).max())
        rare = special.pdtrc(now.sum() - 1, usual * size) < _RARE_IF_EMPTY
        if now.sum() < max(_FEWEST_EMPTY, _MORE_EMPTY * most) or not rare:
            continue
        first = calendar[:size][now].min()
        sentence = f"{now.sum()} of the days of {periods.words(length)} have no rows, {first:%Y-%m-%d} the first; "
        sentence += f"before, at most {most} of as many days had none."
        since = calendar[:size][calendar[:size] >= first]
        swapped = (since.day <= _MONTHS) & (since.day != since.month)
        if (swapped == now[: len(since)]).all():
            sentence += " These are the days that are also months: day and month may be swapped."
        return sentence
    return ""


def level_alarms(table: pd.DataFrame, kinds: dict[str, str], periods: Periods) -> list[AlarmRecord]:
    """Return an alarm for each column that has lost a level in the newest span, or nearly so, for the first time.

    The rows are in the order of time.
    """
    found = []
    for name, kind in kinds.items():
        codes, levels = pd.factorize(table[name])
        if kind != "category" or not 2 <= len(levels) <= _MOST_SEGMENTS:
            continue
        gone: dict[str, tuple[int, int, int]] = {}
        use = (periods.codes >= 0) & (codes >= 0)
        width = periods.count
        each = np.bincount(codes[use] * width + periods.codes[use], minlength=len(levels) * width).reshape(-1, width)
        for length, count in spans_of(periods):
            cells = span_sums(each, length, count)
            total = np.maximum(cells.sum(axis=0), 1)
            # Spans may begin with any period, so that a level that comes and goes has been absent from one of them.
            sliding = np.lib.stride_tricks.sliding_window_view(each, length, axis=1).sum(axis=-1)[:, length:]
            shares = sliding / np.maximum(sliding.sum(axis=0), 1)
            usual, least = shares.mean(axis=1) * total[0], shares.min(axis=1) * total[0]
            # Poisson: the probability of this few rows, given the usual earlier share, or the lowest one.
            p, of_least = (special.pdtr(cells[:, 0], np.maximum(rows, 1e-9)) for rows in (usual, least))
            lost = (cells[:, 0] <= _LEFT * usual) & (p < _RARE_OF_LEVELS / len(levels)) & (of_least < _RARE_OF_LEAST)
            if not lost.any():
                continue
            # Where levels go for good regularly, like people who leave, one more is no news.
            older = table[name][periods.codes >= length]
            usually = NEWS * usual_turnover(older[::-1], int(total[0]))
            for k in np.flatnonzero(lost & (usual > usually)):
                gone.setdefault(str(levels[int(k)]), (length, int(cells[k, 0]), int(np.median(cells[k, 1:]))))
        for level, (length, now, before) in list(gone.items())[:_MOST_NAMED]:
            sentence = f"{name} is “{level}” in {now:,} rows of {periods.words(length)}; spans of that length before "
            found.append(vanished(name, [level], f"{sentence}had about {before:,}."))
    return found
