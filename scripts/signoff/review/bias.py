"""Slices in which the bias of a model has changed since the training part by more than chance explains."""

import math
from typing import NamedTuple

import numpy as np
from scipy import special

from signoff.release.records import AlarmRecord
from signoff.review.intervals import MIN_ROWS, Sliced, holm, serial_error, sums
from signoff.review.reasons import alarm
from signoff.review.series import newest_steps

# As a share of the model's usual error.
_BIAS_SHARE = 0.5
# In what the slices of a feature move by from period to period.
_RESTLESS = 3
# Errors beyond this multiple of the median are huge: nearly three standard deviations under normality.
_HUGE = 4
# Models that were trained on a quarter, a half and three quarters of the rows have a bias of their own in each slice,
# as has the model that is judged. This multiplies the variance of the mean of their errors by this factor: by the
# weights of the four quarters in the difference, for a model that learns a slice's mean.
_MODELS = 2.4
# The held-out part is cut into this many spans. They are compared with earlier ones of equal length, if there are
# enough of these, and if a slice has enough rows in a span.
_SPANS, _FEWEST_SPANS, _FEWEST_IN_SPAN = 4, 6, 3
# A step of a slice that is rare by its rows must be this rare by its spans, which may be autocorrelated but are too few
# for the limit of all slices together.
_RARE_BY_SPAN = 0.001
# A slice with less is not checked for its own bias.
_FEWEST = 10


def slice_bias(
    slices: Sliced,
    then: Sliced,
    error: np.ndarray,
    blocks: np.ndarray,
    error_then: np.ndarray,
    blocks_then: np.ndarray,
    periods: np.ndarray,
    in_time: bool = False,
) -> list[AlarmRecord]:
    """Return an alarm for slices whose bias has moved away from that of all other rows since the training part.

    Parameters
    ----------
    slices, then
        The same slices of the n held-out and the m training rows, as `intervals.make_slices` returns them.
    error, error_then
        Prediction less target, by a model that had not seen the row.
    blocks, blocks_then
        The block of each row. Rows of one block are alike.
    periods
        The period of each of the m training rows, from 0. Movement that is usual between periods raises no alarm.
    in_time
        The blocks are days, in the order of time.
    """
    # A few huge errors (a heavy tail) would mask changes in all others.
    most = _HUGE * float(np.median(np.abs(error_then))) or math.inf
    (raw, error), (raw_then, error_then) = ((each, np.clip(each, -most, most)) for each in (error, error_then))
    usual, models = float(np.abs(error_then).mean()), _MODELS if len(np.unique(periods)) > 1 else 1.0
    looked, p = [], []
    for feature, (codes, labels) in slices.items():
        codes_then = then[feature][0]
        usual_move = _restlessness(codes_then, len(labels), error_then, blocks_then, periods)
        now = _against_rest(error, blocks, codes, len(labels))
        before = _against_rest(error_then, blocks_then, codes_then, len(labels), in_time)
        moved = now.gap - before.gap
        # The training part has more days, so it estimates their correlation for both parts.
        first, second = before.serial * now.variance, before.serial * models * before.variance
        variance = first + second
        # Welch's degrees of freedom.
        degrees = variance**2 / np.maximum(first**2 / now.degrees + second**2 / before.degrees, 1e-300)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(moved == 0, 0.0, np.abs(moved) / np.sqrt(variance))
        # A smaller bias does no harm: the models of the training part saw fewer rows than this one.
        harm = (np.abs(now.gap) > np.abs(before.gap)) & (np.abs(moved) > _RESTLESS * usual_move)
        spans = (error, blocks, codes, len(labels), error_then, blocks_then, codes_then)
        by_span = _step_ps(*_span_gaps(*spans)) if in_time else {}
        for k in np.flatnonzero(~np.isnan(moved)):
            looked.append((feature, k, abs(moved[k]) if harm[k] else 0.0, z[k]))
            by_rows = float(2 * special.stdtr(max(degrees[k], 1), -z[k]))
            p.append(by_rows if by_span.get(int(k), 0.0) < _RARE_BY_SPAN else 1.0)
    found = [row for row, corrected in zip(looked, holm(p), strict=True) if corrected < 0.01]
    found = sorted((row for row in found if row[2] >= _BIAS_SHARE * usual), key=lambda row: -row[3])
    # The strongest of each feature: if one level moves up, the others move down beside it.
    firsts = {feature: row for feature, *_ in reversed(found) for row in found[::-1] if row[0] == feature}
    return [
        alarm("slice_bias", feature, f"Where {feature} is {slices[feature][1][k]} {_moved(raw, raw_then, *inside)}")
        for feature, k, *_ in sorted(firsts.values(), key=lambda row: -row[3])[:3]
        if (inside := (slices[feature][0] == k, then[feature][0] == k))
    ]


def _moved(error: np.ndarray, error_then: np.ndarray, inside: np.ndarray, inside_then: np.ndarray) -> str:
    """Return a sentence on how the bias of a slice has moved; `inside` and `inside_then` mark its rows."""
    now, rest = error[inside].mean(), error[~inside].mean()
    before, rest_then = error_then[inside_then].mean(), error_then[~inside_then].mean()
    sentence = f"({inside.sum():,} held-out rows), predictions are off by {now:+.4g} on average, and were by "
    sentence += f"{before:+.4g} in the training part: they moved by {now - rest - before + rest_then:+.4g} "
    return f"{sentence}against all other rows."


class _Slices(NamedTuple):
    """Of each of k slices: its rows, their mean error, how far that is from the mean of all other rows, the variance of
    this gap and its degrees of freedom; NaN if there are too few rows. And by how much serial correlation of the blocks
    makes the variances of all of them larger."""

    rows: np.ndarray
    mean: np.ndarray
    gap: np.ndarray
    variance: np.ndarray
    degrees: np.ndarray
    serial: float


def _against_rest(
    error: np.ndarray, blocks: np.ndarray, codes: np.ndarray, count: int, in_time: bool = False
) -> _Slices:
    """Compare the errors inside each of `count` slices with those of all other rows.

    Rows of one block are alike, and what they share inside and outside a slice cancels. A few rows may be alike by
    chance, so the variance of a gap is at least that of as many rows from anywhere. With `in_time`, the blocks are
    consecutive in time, and a slice of many consecutive days (warm days) has fewer independent rows.
    """
    ones, width = np.ones(len(error)), int(blocks.max(initial=-1)) + 1
    cells = sums(np.where(codes >= 0, codes * width + blocks, -1), count * width, ones, error)
    inside = cells.reshape(count, width, 2)
    others = sums(blocks, width, ones, error) - inside
    contributions, usual = np.zeros((count, width)), np.zeros(count)
    means = []
    for sign, part in ((1, inside), (-1, others)):
        n, total = np.moveaxis(part, -1, 0)
        rows = np.maximum(n.sum(axis=1), 1)
        means.append(total.sum(axis=1) / rows)
        contributions += sign * (total - means[-1][:, None] * n) / rows[:, None]
        usual += error.var() / rows
    held = (inside[..., 0] > 0).sum(axis=1)
    rows, rest = inside[..., 0].sum(axis=1), others[..., 0].sum(axis=1)
    enough = (rows >= _FEWEST) & (rest >= MIN_ROWS)
    with np.errstate(divide="ignore", invalid="ignore"):
        clustered = (contributions**2).sum(axis=1) * held / (held - 1)
    wide = (clustered > usual) & (held > 1)
    variance = np.where(wide, clustered, usual)
    serial = 1.0
    if in_time and enough.any():
        errors, _ = serial_error(contributions[enough])
        serial = max(1.0, float((errors**2).sum() / max(variance[enough].sum(), 1e-300)))
    return _Slices(
        rows,
        np.where(rows > 0, means[0], np.nan),
        np.where(enough, means[0] - means[1], np.nan),
        variance,
        np.where(wide, held - 1, len(error) - 1),
        serial,
    )


def _span_gaps(
    error: np.ndarray,
    days: np.ndarray,
    codes: np.ndarray,
    count: int,
    error_then: np.ndarray,
    days_then: np.ndarray,
    codes_then: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gap of each of `count` slices by span of days, the oldest first, for earlier and for held-out rows.

    NaN if a slice has too few rows in a span.
    """
    length = max((int(days.max(initial=-1)) + 1) // _SPANS, 1)
    # Whole spans end with the newest earlier day.
    shift = -(int(days_then.max(initial=-1)) + 1) % length
    found = []
    for errors, spans, slices in (
        (error_then, (days_then + shift) // length, codes_then),
        (error, days // length, codes),
    ):
        width = int(spans.max(initial=-1)) + 1
        ones = np.ones(len(errors))
        inside = sums(np.where(slices >= 0, slices * width + spans, -1), count * width, ones, errors)
        inside = inside.reshape(count, width, 2)
        others = sums(spans, width, ones, errors) - inside
        with np.errstate(divide="ignore", invalid="ignore"):
            gaps = inside[..., 1] / inside[..., 0] - others[..., 1] / others[..., 0]
        gaps[inside[..., 0] < _FEWEST_IN_SPAN] = np.nan
        found.append(gaps)
    return found[0], found[1]


def _step_ps(before: np.ndarray, now: np.ndarray) -> dict[int, float]:
    """Return the p-value of a step from one series to the other, given the usual movement of such series.

    `before` and `now` are k series each, by span. Series with too few spans are left out, so that only their rows
    decide.
    """
    enough = (np.isfinite(before).sum(axis=1) >= _FEWEST_SPANS) & (np.isfinite(now).sum(axis=1) >= _SPANS - 1)
    if before.shape[1] < _FEWEST_SPANS or now.shape[1] < _SPANS - 1:
        return {}
    series = np.hstack([before, now])
    tried = newest_steps(series, np.ones(series.shape), [now.shape[1]])
    # A slice that covers few spans (warm weeks, for example) is one stretch of time, however many rows it has.
    return {int(k): 1.0 for k in np.flatnonzero(~enough)} | {k: each.p for k, _, each in tried if enough[k]}


def _restlessness(codes: np.ndarray, count: int, error: np.ndarray, blocks: np.ndarray, periods: np.ndarray) -> float:
    """Return the usual movement of the biases of a feature's slices from period to period (a standard deviation).

    It is the spread over the periods minus that by chance: a random effect, estimated by moments (DerSimonian, Laird
    1986, Meta-analysis in clinical trials).
    """
    several = [periods == n for n in np.unique(periods)]
    if len(several) < 2:
        return 0.0
    found = [_against_rest(error[each], blocks[each], codes[each], count) for each in several]
    gaps, chances = np.array([each.gap for each in found]), np.array([each.variance for each in found]).mean(axis=0)
    known = ~np.isnan(gaps).any(axis=0)
    spreads, chances, degrees = gaps[:, known].var(axis=0, ddof=1), chances[known], known.sum() * (len(several) - 1)
    if not degrees or not chances.min():
        return 0.0
    weights = 1 / chances
    # Cochran's test: spread that chance may explain is set to 0.
    if special.chdtrc(degrees, float(weights @ spreads) * (len(several) - 1)) > 0.05:
        return 0.0
    between = float(weights @ spreads - len(spreads)) / weights.sum()
    # Once for the held-out part, and a share for the mean of the periods.
    return math.sqrt(max(between, 0.0) * (1 + 1 / len(several)))
