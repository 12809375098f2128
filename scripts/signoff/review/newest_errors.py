"""Recent changes in the model's errors, overall and by segment, compared with earlier spans of equal length."""

import itertools
import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from signoff.release.records import AlarmRecord, Visible, VisibleInSegment
from signoff.review.outlying_errors import outlying_alarms
from signoff.review.periods import SPANS, Change, Periods, local, periods_of, spans_of
from signoff.review.reasons import alarm
from signoff.review.segment_noise import Check, growth, least_share
from signoff.review.series import newest_steps

_Slices = dict[str, tuple[np.ndarray, list[str]]]

# Errors beyond this multiple of the median error are clipped, since a few rows could move a mean.
_HUGE = 6
# Predictions beyond these quantiles are clipped.
_TAIL = 0.02
# The smallest effects that count: a mean error as a share of the usual error, the logarithm of a ratio of errors, and
# the slope of the target on the predictions.
_MOVED, _WORSE, _SCALED = 0.2, math.log(1.3), 0.1
# A step must be this many times the largest earlier step, and this rare among all checks; the larger the ratio, the
# less rare it must be.
_NEWS_OF_A_SEGMENT = ((1.2, 0.02), (2.0, 0.04))
_KINDS_OF_SEGMENTS = ("mean", "size", "slope")
_LARGER, _RARE_OF_ALL, _NUMBER_OF_KINDS = 1.2, 0.01, len(_KINDS_OF_SEGMENTS)
# Older periods are ignored.
_MOST_DAYS, _MOST_PERIODS = 250, 60
# The errors of all rows can grow and shrink for weeks if days are autocorrelated.
_LARGER_SIZE = 1.6
# Spans that end with the newest row overlap, so they count as this many independent checks.
_SPANS = 2
_RARE = _RARE_OF_ALL / (_NUMBER_OF_KINDS * _SPANS)
_MOST_NAMED = 3
# The minimum number of rows of a segment in a span, and in a period. A slope has the weight of the spread of its
# predictions, which is small in small periods.
_FEWEST = 6
_FEWEST_OF_PERIOD = {"mean": 1, "size": _FEWEST, "slope": 2}
# The change of targets by which it is measured how visible one is.
_CHANGE = 0.2
# The share of all rows from which a level counts as a segment in what is said about visible changes; and the share of
# what may be wrong about the mean errors of levels that is that of such levels.
_SEGMENT, _OF_LARGE = 0.05, 0.8
# The shares of what may be wrong that belong to the mean errors of segments, to their other kinds, and to numbers.
_OF_MEANS, _OF_OTHER_KINDS, _OF_NUMBERS = 0.5, 0.25, 0.25


@dataclass(frozen=True)
class _Move:
    """What has moved: the segment, or None for all rows; the "mean" of its errors, their "size", or the "slope" of the
    target on the predictions; by what step."""

    feature: str | None
    level: str | None
    kind: str
    step: Change


def error_alarms(
    time: pd.Series,
    error: np.ndarray,
    predicted: np.ndarray,
    slices: _Slices,
    unit: str,
    categories: Collection[str] = (),
) -> tuple[list[AlarmRecord], Visible | None]:
    """Return an alarm if the errors of the newest rows have moved further than ever before, and what can be seen.

    The second part is None if there are too few rows for any comparison.

    Parameters
    ----------
    time, error, predicted
        The time of n rows, prediction less target by a model that had not seen the row, and the prediction.
    slices
        As `intervals.make_slices` returns them, for these rows.
    unit
        The target's name.
    categories
        The features among the slices whose levels are segments.
    """
    periods = periods_of(time)
    if periods is None or not len(error):
        return [], None
    usual = float(np.median(np.abs(error)))
    most = _HUGE * usual or math.inf
    rows = error, predicted
    # What changed targets do to each error, as a multiple of the change: nothing to huge errors.
    changed = np.clip(error - _CHANGE * (predicted - error), -most, most)
    error = np.clip(error, -most, most)
    felt = (error - changed) / _CHANGE
    # A few outliers would dominate the slopes.
    predicted = np.clip(predicted, *np.quantile(predicted, [_TAIL, 1 - _TAIL]))
    usual = float(np.abs(error).mean())
    if not usual:
        return [], None
    whole = _steps_of_all(time, error, predicted, usual, periods)
    tests = _tests_of(slices, categories)
    segments = [each for feature in slices for each in _steps_of(feature, slices, (error, predicted), tests, periods)]
    moves = [move for each in segments for move in _moves_of(each, usual)]
    alarms = [
        alarm("newest_errors", each.feature, _words(each, periods, unit))
        for each in _causes(_moves_of_all(whole, usual), moves, time, (error, predicted), slices, usual, periods)
    ]
    segments_of = {name: slices[name] for name in categories}
    if not alarms:
        age = (periods.last - local(time).dt.floor("D")).dt.days.to_numpy()
        alarms = outlying_alarms(age, *rows, periods, unit, segments_of)
    visible = _visible(whole, segments, (felt, predicted), segments_of, usual, periods)
    return alarms, {**visible, "noise": _visible_noise(segments, rows, segments_of, most)}


def _causes(
    whole: list[_Move],
    moves: list[_Move],
    time: pd.Series,
    rows: tuple[np.ndarray, np.ndarray],
    slices: _Slices,
    usual: float,
    periods: Periods,
) -> list[_Move]:
    """Return the moves that others do not explain: that of all rows, or those of the segments that cause it."""
    error, predicted = rows
    firsts: dict[str | None, _Move] = {}
    # A bias also makes errors larger, and is more informative.
    for each in sorted(moves, key=lambda move: (move.kind, move.step.p)):
        firsts.setdefault(each.feature, each)
    single = list(firsts.values())[:_MOST_NAMED]
    if not whole:
        return single
    for each in single:
        codes, labels = slices[str(each.feature)]
        others = codes != labels.index(str(each.level))
        rest = np.where(others, error, np.nan)
        steps = _steps_of_all(time, rest, predicted, usual, periods) if others.mean() > 0.2 else None
        if steps is not None and not _moves_of_all(steps, usual):
            return [each]
    return whole[:1]


def _steps_of_all(
    time: pd.Series, error: np.ndarray, predicted: np.ndarray, usual: float, periods: Periods
) -> dict[str, list[Change]]:
    """Return the steps of the mean error of all rows, of its size, and of the slope of the target on the predictions.

    Rows whose error is NaN are left out.
    """
    days = time.dt.tz_localize(None).dt.floor("D") if time.dt.tz is not None else time.dt.floor("D")
    age = (periods.last - days).dt.days.to_numpy()
    use = np.isfinite(error) & (age >= 0) & (age < _MOST_DAYS)
    age, error, predicted = age[use], error[use], predicted[use]
    lengths = [length for length, _ in spans_of(periods)]
    count = np.bincount(age)
    noise = _noise_of_days(count)
    found = {}
    for kind in ("mean", "size"):
        values = np.abs(error) if kind == "size" else error
        with np.errstate(divide="ignore", invalid="ignore"):
            daily = np.bincount(age, values) / count
            daily = np.log(np.maximum(daily, 1e-3 * usual)) if kind == "size" else daily
        tried = newest_steps(daily[None, ::-1], noise[None, ::-1], lengths, periods.days)
        found[kind] = [each for _, _, each in tried]
    width = int(age.max()) // periods.days + 1
    slopes, chance = _slopes(age // periods.days, age, error, predicted, width)
    found["slope"] = [each for _, _, each in newest_steps(slopes[None, ::-1], chance[None, ::-1], lengths)]
    return found


def _moves_of_all(found: dict[str, list[Change]], usual: float) -> list[_Move]:
    """Return the largest of the steps of all rows that count, of each kind."""
    moves = []
    for kind, steps in found.items():
        news = [
            each
            for each in steps
            if each.p < _RARE
            and each.larger >= (_LARGER_SIZE if kind == "size" else _LARGER)
            and _matters(each, kind, usual)
        ]
        if news:
            moves.append(_Move(None, None, kind, min(news, key=lambda step: step.p)))
    return moves


def _noise_of_days(rows: np.ndarray) -> np.ndarray:
    """Return the variance of the mean of each day, up to a factor: half is due to the rows, half to the day."""
    usual = float(np.median(rows[rows > 0]))
    found: np.ndarray = 0.5 + 0.5 * usual / np.maximum(rows, 1)
    return found


def _slopes(
    cells: np.ndarray, groups: np.ndarray, error: np.ndarray, predicted: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the slope of the targets on the predictions in each of `count` cells, and its variance.

    The variance is known up to a factor. Only rows of one group (a day) are compared, so that effects shared by its
    rows cancel.
    """
    n = np.maximum(np.bincount(groups), 1)
    x, y = (each - (np.bincount(groups, each) / n)[groups] for each in (predicted, error))
    squares = np.bincount(cells, x * x, count)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = 1 - np.where(squares > 0, np.bincount(cells, x * y, count) / squares, np.nan)
        return slopes, 1 / squares


def _matters(each: Change, kind: str, usual: float) -> bool:
    """Return whether a step is large enough, and for the worse: smaller errors do no harm."""
    far = each.now - each.before
    if kind == "size":
        return far >= _WORSE
    if kind == "slope":
        return abs(far) >= _SCALED and abs(each.now - 1) >= abs(each.before - 1)
    return abs(far) >= _MOVED * usual and abs(each.now) >= abs(each.before)


def _tests_of(slices: _Slices, categories: Collection[str]) -> dict[tuple[str, str], np.ndarray]:
    """Return how many tests count against each level of each feature and kind.

    The mean errors of segments matter most, and are few of all tests: half of what may be wrong is theirs. A quarter
    belongs to the other kinds of segments, and the last one to the slices of numbers. Most of the part of segments
    belongs to levels with _SEGMENT of the rows, so that many small levels do not hide what is seen of a few large ones.
    """
    rows = {name: np.bincount(codes[codes >= 0], minlength=len(labels)) for name, (codes, labels) in slices.items()}
    large = {name: rows[name] >= _SEGMENT * len(slices[name][0]) for name in categories}
    own, count = sum(map(len, large.values())), sum(int(each.sum()) for each in large.values())
    others = _NUMBER_OF_KINDS * (sum(map(len, rows.values())) - own)
    shares = (_OF_LARGE, 1 - _OF_LARGE) if 0 < count < own else (1.0, 1.0)
    found = {}
    for name, kind in itertools.product(slices, _KINDS_OF_SEGMENTS):
        tests = np.full(len(rows[name]), others / (_OF_NUMBERS if own else 1.0))
        if name in categories:
            kinds, part = (1, _OF_MEANS) if kind == "mean" else (_NUMBER_OF_KINDS - 1, _OF_OTHER_KINDS)
            tests = np.where(large[name], count / shares[0], (own - count) / shares[1]) * kinds / part
        found[name, kind] = _SPANS * tests
    return found


@dataclass(frozen=True)
class _Tried:
    """The steps of the levels of a feature, of one kind; how many rows each level has in them; and how many tests count
    against it."""

    feature: str
    kind: str
    labels: list[str]
    steps: list[tuple[int, Change]]
    rows: np.ndarray
    checks: np.ndarray

    def limits(self, k: int) -> list[tuple[float, float]]:
        """Return the limits of a level's steps: of the ratio to the largest earlier one, and of p."""
        return [(larger, p / float(self.checks[k])) for larger, p in _NEWS_OF_A_SEGMENT]


def _steps_of(
    feature: str,
    slices: _Slices,
    rows: tuple[np.ndarray, np.ndarray],
    tests: dict[tuple[str, str], np.ndarray],
    periods: Periods,
) -> Iterator[_Tried]:
    """Yield the steps of the errors of each level of a feature, relative to those of all other rows."""
    codes, labels = slices[feature]
    error, predicted = rows
    width = min(periods.count, _MOST_PERIODS)
    recent = (periods.codes >= 0) & (periods.codes < width)
    inside = (codes >= 0) & recent
    cells = codes[inside] * width + periods.codes[inside]
    shape = (len(labels), width)
    n = np.bincount(cells, minlength=len(labels) * width).reshape(shape)
    others = np.bincount(periods.codes[recent], minlength=width) - n
    lengths = [length for length, _ in spans_of(periods)]
    for kind in _KINDS_OF_SEGMENTS:
        values = np.abs(error) if kind == "size" else error
        sums = np.bincount(cells, values[inside], len(labels) * width).reshape(shape)
        total = np.bincount(periods.codes[recent], values[recent], width)
        with np.errstate(divide="ignore", invalid="ignore"):
            own, rest = sums / n, (total - sums) / others
            figures = np.log(own / rest) if kind == "size" else own - rest
            noise = _deviations(values, codes, len(labels), kind == "size")[:, None] ** 2 * (1 / n + 1 / others)
        if kind == "slope":
            own, chance = _slopes(cells, cells, error[inside], predicted[inside], n.size)
            figures, noise = own.reshape(shape), chance.reshape(shape)
        figures[(n < _FEWEST_OF_PERIOD[kind]) | ~np.isfinite(figures)] = np.nan
        steps = [(k, each) for k, _, each in newest_steps(figures[:, ::-1], noise[:, ::-1], lengths)]
        yield _Tried(feature, kind, labels, steps, np.cumsum(n, axis=1), tests[feature, kind])


def _moves_of(tried: _Tried, usual: float) -> Iterator[_Move]:
    """Yield the rarest step of each level that counts."""
    best: dict[int, Change] = {}
    for k, each in tried.steps:
        rare = any(each.larger >= larger and each.p < p for larger, p in tried.limits(k))
        news = rare and _matters(each, tried.kind, usual)
        if news and tried.rows[k, each.length - 1] >= _FEWEST and (k not in best or each.p < best[k].p):
            best[k] = each
    for k, each in best.items():
        yield _Move(tried.feature, tried.labels[k], tried.kind, each)


def _visible(
    whole: dict[str, list[Change]],
    segments: list[_Tried],
    rows: tuple[np.ndarray, np.ndarray],
    categories: _Slices,
    usual: float,
    periods: Periods,
) -> Visible:
    """Return the smallest change of the newest targets that these checks would have seen, of all rows and of segments.

    Only levels of these categories with _SEGMENT of the rows count as segments. `rows` are the change of each error if
    its target doubled, and the prediction. The change lasts for the longest span that is compared: shorter spans would
    be compared with changed rows, too.
    """
    longest = max((step.length for step in whole["mean"]), default=0)
    of_all = {kind: [step for step in steps if step.length == longest] for kind, steps in whole.items()}
    least = _least(of_all, _effects(*rows), usual, ((_LARGER, _RARE),))
    effects = {
        (feature, k): _effects(*(each[codes == k] for each in rows))
        for feature, (codes, labels) in categories.items()
        for k in range(len(labels))
    }
    found: dict[tuple[str, int], list[float]] = {}
    for each in segments:
        if each.feature in categories and each.kind in ("mean", "slope"):
            for k, step in ((k, step) for k, step in each.steps if step.length == longest):
                share = _least({each.kind: [step]}, effects[each.feature, k], usual, each.limits(k))
                found.setdefault((each.feature, k), []).append(share)
    shares = [
        (min(found.get((feature, k), [math.inf])), feature, label) for feature, k, label, _ in _large_levels(categories)
    ]
    return {
        "days": (longest or max(SPANS)) * periods.days,
        "share": least if math.isfinite(least) else None,
        "segment": _least_visible(shares),
    }


def _visible_noise(
    segments: list[_Tried], rows: tuple[np.ndarray, np.ndarray], categories: _Slices, most: float
) -> VisibleInSegment | None:
    """Return the segment in which noise in place of the newest targets is hardest to see; None without segments.

    `rows` are the errors and the predictions. Errors are clipped at `most`. As in `_visible`, the noise lasts for the
    longest span, and only levels with _SEGMENT of the rows count.
    """
    longest = max((step.length for each in segments for _, step in each.steps), default=0)
    checks: dict[tuple[str, int], list[Check]] = {}
    for each in segments:
        least = {"size": _WORSE, "slope": _SCALED}.get(each.kind)
        if each.feature in categories and least is not None:
            for k, step in each.steps:
                if step.length == longest:
                    checks.setdefault((each.feature, k), []).append(Check(each.kind, step, least, each.limits(k)))
    error, predicted = rows
    return _least_visible(
        [
            (least_share(checks.get((feature, k), []), growth(error[inside], predicted[inside], most)), feature, label)
            for feature, k, label, inside in _large_levels(categories)
        ]
    )


def _large_levels(categories: _Slices) -> Iterator[tuple[str, int, str, np.ndarray]]:
    """Yield feature, code and label of each level with _SEGMENT of the rows, and which rows have it."""
    for feature, (codes, labels) in categories.items():
        for k, label in enumerate(labels):
            inside = codes == k
            if inside.mean() >= _SEGMENT:
                yield feature, k, label, inside


def _least_visible(shares: list[tuple[float, str, str]]) -> VisibleInSegment | None:
    """Return the segment with the largest of these shares, feature and label beside each; None if there are none."""
    if not shares:
        return None
    share, feature, value = max(shares)
    return {"feature": feature, "value": value, "share": share if math.isfinite(share) else None}


def _effects(felt: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return how far the mean error and the slope move if targets double."""
    if not len(felt):
        return {"mean": 0.0, "slope": 0.0}
    around = predicted - predicted.mean()
    slope = float(around @ felt) / max(float(around @ around), 1e-300)
    return {"mean": abs(float(felt.mean())), "slope": abs(slope)}


def _least(
    steps: dict[str, list[Change]], effects: dict[str, float], usual: float, limits: Iterable[tuple[float, float]]
) -> float:
    """Return the smallest change that is seen, as a share of the target: by the mean error, or by the slope."""
    found = [math.inf]
    for kind, least, right in (("mean", _MOVED * usual, 0.0), ("slope", _SCALED, 1.0)):
        for each in steps.get(kind, []):
            # A smaller change to the other side makes errors smaller, which is no news.
            far = max(least, 2 * abs(each.before - right))
            for larger, p in limits:
                found.append(max(each.least(p, larger), far) / max(effects[kind], 1e-300))
    return min(each for each in found if not math.isnan(each))


def _deviations(values: np.ndarray, codes: np.ndarray, count: int, relative: bool) -> np.ndarray:
    """Return the standard deviation of the values of each level, or its ratio to their mean."""
    found = np.zeros(count)
    for k in range(count):
        inside = values[codes == k]
        if len(inside):
            found[k] = inside.std() / (max(float(inside.mean()), 1e-12) if relative else 1.0)
    return found


def _words(move: _Move, periods: Periods, unit: str) -> str:
    """Return the sentence on a move."""
    where = "" if move.feature is None else f"Where {move.feature} is {move.level}, "
    span = periods.words(move.step.length)
    now, before = move.step.now, move.step.before
    if move.kind == "size" and move.feature is None:
        now, before = math.exp(now), math.exp(before)
        sentence = f"the mean error of {unit} in {span} is {now:.4g}, {now / before:.1f} times that before "
        sentence += f"({before:.4g})."
    elif move.kind == "size":
        now, before = math.exp(now), math.exp(before)
        sentence = f"{where}errors in {span} are {now:.2g} times as large as those of all other rows, and were "
        sentence += f"{before:.2g} times as large before."
    elif move.kind == "slope":
        of = "one day" if move.feature is None else "one period"
        sentence = (
            f"{where}if predictions of {unit} within {of} differ by 1, targets differ by {now:.2f} on average in "
        )
        sentence += f"{span}, and did by {before:.2f} before: the target may have another scale."
    else:
        against = "" if move.feature is None else " against those of all other rows"
        sentence = f"{where}predictions of {unit} are off by {now:+.4g}{against} on average in {span}, and were by "
        sentence += f"{before:+.4g} before: the target may have changed."
    return sentence[0].upper() + sentence[1:]
