"""Newest rows among the largest errors: targets with a misplaced decimal point, or in another unit."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from signoff.release.records import AlarmRecord
from signoff.review.periods import Periods, spans_of
from signoff.review.reasons import alarm

# How many of the largest errors are looked at, and at most as a share of all rows.
_LARGEST, _SHARE = (4, 8, 16, 32, 64), 0.02
# How rare it must be that so many of them lie in the newest span. Most of the checks overlap: they are about a dozen.
_RARE = 5e-5
# An earlier span of equal length may have a share of this many of them: errors come in clusters.
_LARGER = 2.0
# With fewer rows in a day on average, its median says little.
_FEWEST_IN_DAY = 5
# How rare it must be, over all levels, that so many of these errors have one level.
_RARE_OF_LEVELS = 0.01
# The sentence gives the ratio of such targets to their predictions if it is this large, or as small.
_MULTIPLE = 3.0


@dataclass(frozen=True)
class _Outlying:
    """The rows with the largest errors on one side, those of them in the newest span, its periods, and the p-value."""

    largest: np.ndarray
    newest: np.ndarray
    length: int
    p: float


def outlying_alarms(
    days: np.ndarray,
    error: np.ndarray,
    predicted: np.ndarray,
    periods: Periods,
    unit: str,
    segments: dict[str, tuple[np.ndarray, list[str]]],
) -> list[AlarmRecord]:
    """Return an alarm if more of the largest errors lie in the newest span than chance, or any earlier span, explains.

    Parameters
    ----------
    days, error, predicted
        The day of each of n rows, as a number; prediction less target by a model that had not seen the row; and the
        prediction.
    periods
        The periods of these rows.
    unit
        The target's name.
    segments
        The code of each row and the labels, by category. The alarm names the level that most of the errors have.
    """
    found = _outlying(days, _within_days(days, error, periods), periods)
    if found is None:
        return []
    newest, under = found.newest, bool(np.median(error[found.newest]) < 0)
    late = np.flatnonzero((periods.codes >= 0) & (periods.codes < found.length))
    expected = len(found.largest) * len(late) / np.count_nonzero(periods.codes >= 0)
    sentence = f"Of the {len(found.largest)} predictions of {unit} that are furthest {'below' if under else 'above'} "
    sentence += f"their targets, {len(newest)} are in {periods.words(found.length)}, where {expected:.1f} were expected"
    with np.errstate(divide="ignore", invalid="ignore"):
        times = float(np.median((predicted[newest] - error[newest]) / predicted[newest]))
    if np.isfinite(times) and times > 0 and max(times, 1 / times) >= _MULTIPLE:
        sentence += f": these targets are {times:.2g} times the predictions (median)"
    feature, level, rows = _segment(newest, late, segments)
    if feature:
        sentence += f". Of these rows, {rows} have {feature} {level}"
    return [alarm("newest_errors", feature, f"{sentence}. A few targets may be wrong, or in another unit.")]


def _within_days(days: np.ndarray, error: np.ndarray, periods: Periods) -> np.ndarray:
    """Return errors less the median of their day, or period if days have few rows, since levels move by themselves."""
    few = len(days) < _FEWEST_IN_DAY * len(np.unique(days))
    errors = pd.Series(error)
    return (errors - errors.groupby(periods.codes if few else days).transform("median")).to_numpy()


def _outlying(days: np.ndarray, error: np.ndarray, periods: Periods) -> _Outlying | None:
    """Return the largest errors of one side that lie in the newest span with the smallest p-value; None if none count.

    All orders of rows are equally likely without a change, whatever the distribution of the errors is. Since errors of
    one day resemble each other, days with such an error are counted, not rows (a binomial test).
    """
    use = np.flatnonzero(periods.codes >= 0)
    best: _Outlying | None = None
    for side in (1, -1):
        order = use[np.argsort(side * error[use], kind="stable")]
        for largest in (order[:k] for k in _LARGEST if k <= _SHARE * len(use)):
            firsts = largest[np.unique(days[largest], return_index=True)[1]]
            for length, count in spans_of(periods):
                by_span = np.bincount(periods.codes[firsts] // length, minlength=count)
                share = float((periods.codes[use] < length).mean())
                p = float(special.bdtrc(by_span[0] - 1, len(firsts), share))
                if p < min(_RARE, best.p if best else 1.0) and by_span[0] >= _LARGER * by_span[1:].max():
                    best = _Outlying(largest, largest[periods.codes[largest] < length], length, p)
    return best


def _segment(
    rows: np.ndarray, late: np.ndarray, segments: dict[str, tuple[np.ndarray, list[str]]]
) -> tuple[str | None, str, int]:
    """Return the feature and level that some of the newest rows have by less than chance, and how many have it."""
    found: list[tuple[float, str, str, int]] = []
    for feature, (codes, labels) in segments.items():
        for k in np.unique(codes[rows][codes[rows] >= 0]):
            count = int((codes[rows] == k).sum())
            p = float(special.bdtrc(count - 1, len(rows), float((codes[late] == k).mean())))
            found.append((p * len(labels) * len(segments), feature, labels[k], count))
    p, feature, level, count = min(found, default=(1.0, "", "", 0))
    return (feature, level, count) if p < _RARE_OF_LEVELS else (None, "", 0)
