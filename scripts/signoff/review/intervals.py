"""Uncertainty of the metrics: bootstrap intervals, differences between predictors, slices, prediction intervals."""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from signoff.features.recipe import names_of_values
from signoff.release.records import CoveredSlice, CoveredWeek, Difference, Interval, Pair, SliceRow, Slices, Week

LEVEL = 0.95
# An interval of 95 % is wrong to one side in one of forty runs, which is too often for an alarm.
_SURE_LEVEL = 0.99
_RESAMPLES = 1000
# This many random groups of rows vary like single rows, to within a few percent, at a bounded cost.
_MOST_BLOCKS = 2000
# Fewer days are too few to estimate how days differ.
_FEWEST_DAYS = 10
# If there are more days, neighbours are joined, so that the resamples can estimate each block's contribution.
_MOST_DAYS = 400
# Days per week, and how few weeks say how much a slice's errors differ from week to week.
_WEEK, _FEWEST_WEEKS = 7, 5
# The correlation of one day with the next that an interval from few days allows for; see `serial_error`.
_USUAL_CORRELATION = 0.68
_MOST_VALUES = 2000
MIN_ROWS = 30
_MOST_LEVELS = 50
_BINS = 5

# For each feature the slice of each row (from 0; -1: none), and the slices' names.
Sliced = dict[str, tuple[np.ndarray, list[str]]]


@dataclass(frozen=True)
class Resampling:
    """How the rows are resampled, block by block.

    blocks
        The block of each row, from 0, as `blocks_of` returns it.
    drawn
        How often each resample draws each block, as `_draws` returns it.
    by
        What a block is: "days", in the order of time, "groups" of split.groups, or "rows".
    """

    blocks: np.ndarray
    drawn: np.ndarray
    by: str

    @cached_property
    def _contributions(self) -> np.ndarray:
        """The matrix (blocks × resamples) that maps a resampled statistic to the contribution of each block."""
        return np.linalg.pinv(self.drawn - 1)

    def spread(self, resampled: np.ndarray) -> tuple[float, float]:
        """Return the standard error of a resampled statistic, and its degrees of freedom.

        A block contributes what the statistic changes by when the block is drawn more often (the infinitesimal
        jackknife, Efron 2014, JASA 109). Blocks that are days follow each other: see `serial_error`.
        """
        blocks = self.drawn.shape[1]
        if self.by != "days":
            return float(np.nanstd(resampled)) * math.sqrt(blocks / max(blocks - 1, 1)), float(max(blocks - 1, 1))
        around = np.nan_to_num(resampled - np.nanmean(resampled))
        error, degrees = serial_error(self._contributions @ around)
        return float(error), degrees

    def again(self, rows: np.ndarray, resamples: int, seed: int) -> "Resampling":
        """Return the resampling of a subset of the rows, given by their numbers."""
        blocks, count = self.blocks[rows], self.drawn.shape[1]
        if self.by == "days" and count > resamples // 2:
            # So that the resamples can estimate the contribution of each block.
            blocks, count = blocks * (resamples // 2) // count, resamples // 2
        return Resampling(blocks, _draws(count, resamples, seed), self.by)


def resampling(
    time: pd.Series | None, rows: int, seed: int, resamples: int = _RESAMPLES, groups: np.ndarray | None = None
) -> Resampling:
    """Return how `rows` rows are resampled: by group if there are any, or by day if `time` allows it."""
    blocks, by = blocks_of(time, rows, seed, groups)
    return Resampling(blocks, _draws(int(blocks.max()) + 1, resamples, seed), by)


def serial_error(contributions: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the standard error of a sum of contributions in the order of time, and its degrees of freedom.

    The sum is over the last axis.

    Bad days follow bad days, so they carry less information than independent days. The error is estimated from the
    slowest cosines alone, which are also its degrees of freedom (Müller 2007, Journal of Econometrics 141; Lazarus,
    Lewis, Stock and Watson 2018, HAR inference: recommendations for practice, JBES 36), and scaled up by the bias of
    this estimate under an autocorrelation of USUAL_CORRELATION. With few days, there are only one or two cosines, and
    intervals are wide.
    """
    count = contributions.shape[-1]
    cosines, scale = _cosines(count)
    return scale * np.sqrt(count * ((contributions @ cosines.T) ** 2).mean(axis=-1)), float(len(cosines))


@lru_cache(maxsize=8)
def _cosines(count: int) -> tuple[np.ndarray, float]:
    """Return the cosines that `serial_error` uses (each of length `count`) and its scale factor."""
    slowest = np.arange(1, max(int(count**0.6 / 2.6), 1) + 1)
    cosines = math.sqrt(2 / count) * np.cos(np.pi * np.outer(slowest, np.arange(count) + 0.5) / count)
    # The covariance of days whose autocorrelation falls off exponentially, as in an AR(1) process.
    alike = _USUAL_CORRELATION ** np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    seen = np.einsum("ki,ij,kj->k", cosines, alike, cosines).mean()
    return cosines, math.sqrt(alike.sum() / count / seen)


def blocks_of(time: pd.Series | None, rows: int, seed: int, groups: np.ndarray | None = None) -> tuple[np.ndarray, str]:
    """Return the block of each row (from 0), which is drawn as a whole, and what it is: "groups", "days" or "rows".

    `groups` has the number of each row's group if whole groups are held out (split.groups): the question is then how
    well the model predicts other groups, whatever the day. A single group says nothing about that. More than
    MOST_BLOCKS groups are joined at random.

    Rows of one day are alike (weather, prices), so drawing single rows would make the intervals too narrow. Days are
    numbered in the order of time; if there are more than MOST_DAYS, neighbours are joined. If a row has no time, or
    there are few days, blocks are rows, or random groups of rows if there are more than MOST_BLOCKS.
    """
    if groups is not None:
        which, count = pd.factorize(groups)[0], len(np.unique(groups))
        if count > 1:
            return (np.random.default_rng(seed).permutation(count) % min(count, _MOST_BLOCKS))[which], "groups"
    if time is not None and not time.isna().any():
        days, _ = pd.factorize(time.dt.floor("D"), sort=True)
        count = int(days.max()) + 1
        if count >= _FEWEST_DAYS:
            return (days * _MOST_DAYS // count if count > _MOST_DAYS else days), "days"
    return np.random.default_rng(seed).permutation(rows) % min(rows, _MOST_BLOCKS), "rows"


def _draws(blocks: int, resamples: int, seed: int) -> np.ndarray:
    """Return how often each resample draws each block, as an array (resamples × blocks, float64)."""
    shares = np.full(blocks, 1 / blocks)
    return np.random.default_rng(seed).multinomial(blocks, shares, size=resamples).astype("float64")


def sums(codes: np.ndarray, count: int, *values: np.ndarray) -> np.ndarray:
    """Return the sums of m arrays of values by group (count × m). Rows with a negative code are ignored."""
    inside = codes >= 0
    return np.stack([np.bincount(codes[inside], each[inside], count) for each in values], axis=1)


def bounds(
    resampled: np.ndarray, sampled: Resampling, level: float = LEVEL, least: float = -math.inf, most: float = math.inf
) -> Interval:
    """Return the interval of a resampled statistic, which lies between `least` and `most`.

    It is the percentile interval (Efron 1979), made wider or narrower so that its width is that of a t interval with
    the standard error and the degrees of freedom of `Resampling.spread`. Undefined resamples are ignored; the ends are
    None if all are undefined.
    """
    if not np.isfinite(resampled).any():
        return [None, None]
    low, middle, high = np.nanquantile(resampled, [(1 - level) / 2, 0.5, (1 + level) / 2])
    (error, degrees), plain = sampled.spread(resampled), float(np.nanstd(resampled))
    ratio = error / plain if plain > 0 else 1.0
    ratio *= float(special.stdtrit(degrees, (1 + level) / 2) / special.ndtri((1 + level) / 2))
    ends = middle - ratio * (middle - low), middle + ratio * (high - middle)
    return [float(np.clip(each, least, most)) for each in ends]


def resampled_metrics(actual: np.ndarray, predicted: np.ndarray, sampled: Resampling) -> dict[str, np.ndarray]:
    """Return MAE, RMSE, R2, median absolute error and bias of each resample.

    Parameters
    ----------
    actual, predicted
        n numbers each.
    sampled
        How the n rows are resampled. All metrics but the median need only the sums of each block. If there are more
        than _MOST_VALUES different errors, the median is taken among as many quantiles.
    """
    blocks, drawn = sampled.blocks, sampled.drawn
    error = predicted - actual
    size = np.abs(error)
    # Centred on the mean for numerical precision.
    centred = actual - actual.mean()
    ones = np.ones(len(error))
    n, signed, total, squares, first, second = (
        drawn @ sums(blocks, drawn.shape[1], ones, error, size, error**2, centred, centred**2)
    ).T
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = second - first**2 / n
        r2 = np.where(spread > 1e-12 * max(float((centred**2).sum()), 1e-300), 1 - squares / spread, np.nan)
    values = np.unique(size)
    if len(values) > _MOST_VALUES:
        values = np.unique(np.quantile(size, np.linspace(0, 1, _MOST_VALUES // 2 + 1), method="higher"))
    place = np.searchsorted(values, size)
    counts = np.bincount(blocks * len(values) + place, minlength=drawn.shape[1] * len(values))
    below = np.cumsum(drawn @ counts.reshape(drawn.shape[1], -1), axis=1)
    middle = [(below <= rank[:, None]).sum(axis=1) for rank in ((n - 1) // 2, n // 2)]
    return {
        "MAE": total / n,
        "RMSE": np.sqrt(squares / n),
        "R2": r2,
        "median_absolute_error": (values[middle[0]] + values[middle[1]]) / 2,
        "bias": signed / n,
    }


# The least and the largest value of a metric.
_RANGES = {
    "MAE": (0.0, math.inf),
    "RMSE": (0.0, math.inf),
    "median_absolute_error": (0.0, math.inf),
    "R2": (-math.inf, 1.0),
}


def metric_intervals(resampled: dict[str, np.ndarray], sampled: Resampling) -> dict[str, Interval]:
    """Return the lower and the upper end of each metric's interval."""
    anywhere = (-math.inf, math.inf)
    return {name: bounds(values, sampled, LEVEL, *_RANGES.get(name, anywhere)) for name, values in resampled.items()}


def judged_difference(difference: float, resampled: np.ndarray, better: int | None, sampled: Resampling) -> Difference:
    """Return a difference from the champion, its interval, and the conclusion.

    `better` is 1 if more is better, -1 if less is better, and None if it is unknown; the conclusion is then "higher" or
    "lower".
    """
    interval = bounds(resampled, sampled)
    low, high = interval
    if low is None or high is None or low <= 0 <= high:
        verdict = "cannot be told apart"
    elif better:
        verdict = "better" if (low > 0) == (better > 0) else "worse"
    else:
        verdict = "higher" if low > 0 else "lower"
    return {"difference": float(difference), "interval": interval, "verdict": verdict}


def paired(actual: np.ndarray, ours: np.ndarray, theirs: np.ndarray, sampled: Resampling) -> Pair:
    """Return our MAE minus theirs on the same rows and resamples, its interval, and the conclusion."""
    found = judged_difference(*_difference(actual, ours, theirs, sampled), -1, sampled)
    return {
        "metric": "MAE",
        "difference": found["difference"],
        "interval": found["interval"],
        "verdict": found["verdict"],
    }


def sure_interval(actual: np.ndarray, ours: np.ndarray, theirs: np.ndarray, sampled: Resampling) -> list[float]:
    """Return the interval of our MAE minus theirs at the alarm level, SURE_LEVEL; both ends are 0 if undefined."""
    found = bounds(_difference(actual, ours, theirs, sampled)[1], sampled, _SURE_LEVEL)
    return [0.0 if each is None else each for each in found]


def _difference(
    actual: np.ndarray, ours: np.ndarray, theirs: np.ndarray, sampled: Resampling
) -> tuple[float, np.ndarray]:
    """Return our MAE minus theirs, on all rows and in each resample."""
    gain = np.abs(ours - actual) - np.abs(theirs - actual)
    total, n = (sampled.drawn @ sums(sampled.blocks, sampled.drawn.shape[1], gain, np.ones(len(gain)))).T
    return float(gain.mean()), total / n


def holm(p: list[float]) -> np.ndarray:
    """Return p-values adjusted for multiple tests (Holm 1979, Scandinavian Journal of Statistics 6)."""
    values = np.asarray(p, dtype="float64")
    order = np.argsort(values)
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)) if len(values) else values
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def make_slices(table: pd.DataFrame, kinds: dict[str, str], parts: dict[str, str] | None = None) -> Sliced:
    """Return, for each feature, the slice of each of n rows (from 0; -1: none) and the names of the slices.

    A category has a slice for each of its _MOST_LEVELS most frequent levels, and so has a number with few values; other
    numbers are binned by their quantiles. Missing values are a slice of their own. `parts` says which features are
    parts of dates (see `recipe.date_parts`): each weekday and each month is a slice, under its name. Text has no
    slices.
    """
    found = {}
    for name, kind in kinds.items():
        if kind == "text":
            continue
        values_named = names_of_values((parts or {}).get(name))
        codes, levels = pd.factorize(table[name], use_na_sentinel=True)
        missing = codes < 0
        if kind == "category" or values_named or len(levels) <= 2 * _BINS:
            counts = np.bincount(codes[~missing], minlength=len(levels))
            most = np.argsort(-counts, kind="stable")[:_MOST_LEVELS]
            # The last slice is for missing values.
            place = np.full(len(levels) + 1, -1, dtype="int32")
            place[most] = np.arange(len(most))
            codes = place[codes]
            labels = [f"{each:g}" if kind == "number" else str(each) for each in levels[most]]
            labels = [values_named.get(levels[k], label) for k, label in zip(most, labels, strict=True)]
        else:
            values = table[name].to_numpy("float64", na_value=np.nan)
            edges = np.unique(np.nanquantile(values, np.linspace(0, 1, _BINS + 1)))
            codes = np.searchsorted(edges[1:-1], values).astype("int32")
            labels = [f"{low:.4g} to {high:.4g}" for low, high in itertools.pairwise(edges)]
        if missing.any():
            codes[missing] = len(labels)
            labels.append("missing")
        found[name] = codes, labels
    return found


_NO_CHAMPION = "none: no champion to compare with"


def slice_table(
    slices: Sliced,
    actual: np.ndarray,
    ours: np.ndarray,
    champion: np.ndarray | None,
    sampled: Resampling,
    most: int = 200,
) -> Slices:
    """Return MAE, bias and difference from the champion for each slice of MIN_ROWS rows or more, the worst first.

    A slice is worse than the champion if its own interval says so, and Holm's correction over all slices too. The
    correction estimates the autocorrelation of days from all slices together, since a single slice is too small. The
    days of a slice may be consecutive (warm days), so the test by week must agree, too.

    Parameters
    ----------
    slices
        As `make_slices` returns them.
    actual, ours, champion
        n numbers each: the target, the model's and the champion's predictions (None without a champion).
    sampled, most
        How the n rows are resampled, and how many slices to list.
    """
    blocks, drawn = sampled.blocks, sampled.drawn
    error = ours - actual
    theirs = np.abs(champion - actual) if champion is not None else np.zeros(len(error))
    count, ratios, rows = drawn.shape[1], list[float](), list[SliceRow]()
    z: list[tuple[float, int]] = []
    by_weeks: list[float] = []
    for feature, (codes, labels) in slices.items():
        columns = (np.ones(len(error)), np.abs(error), error, np.abs(error) - theirs)
        cells = np.where(codes >= 0, codes * count + blocks, -1)
        totals = sums(cells, count * len(labels), *columns).reshape(len(labels), count, 4)
        for label, each in zip(labels, totals, strict=True):
            n, size, signed, gain = each.sum(axis=0)
            if n < MIN_ROWS:
                continue
            with np.errstate(divide="ignore", invalid="ignore"):
                resampled = drawn @ each
                mae, difference = (resampled[:, k] / resampled[:, 0] for k in (1, 3))
            row = _slice_row(feature, label, int(n), size / n, signed / n, bounds(mae, sampled, least=0.0))
            if champion is not None:
                row["champion_MAE"], row["difference_interval"] = (size - gain) / n, bounds(difference, sampled)
                spread = float(np.nanstd(difference))
                z.append((abs(gain / n) / spread if spread > 0 else 0.0, max(int((each[:, 0] > 0).sum()) - 1, 1)))
                ratios += [sampled.spread(difference)[0] / spread] if spread > 0 else []
                by_weeks.append(_p_by_week(each[:, 3], each[:, 0]) if sampled.by == "days" else 0.0)
            rows.append(row)
    wider = max(float(np.median(ratios)), 1.0) if ratios else 1.0
    p = [
        max(float(2 * special.stdtr(degrees, -each / wider)), weeks)
        for (each, degrees), weeks in zip(z, by_weeks, strict=True)
    ]
    for row, corrected in zip(rows, holm(p), strict=False):
        row["p"] = float(corrected)
        low, _ = row["difference_interval"] or (None, None)
        row["worse"] = bool(corrected < 1 - LEVEL and low is not None and low > 0)
    rows.sort(key=lambda row: (not row["worse"], -row["MAE"]))
    correction = f"Holm's, over the {len(p)} comparisons with the champion" if p else _NO_CHAMPION
    return {"min_rows": MIN_ROWS, "looked_at": len(rows), "correction": correction, "rows": rows[:most]}


def _slice_row(feature: str, label: str, rows: int, mae: float, bias: float, interval: Interval) -> SliceRow:
    """Return the row of a slice without a champion."""
    return {
        "feature": feature,
        "value": label,
        "rows": rows,
        "MAE": mae,
        "MAE_interval": interval,
        "bias": bias,
        "champion_MAE": None,
        "difference_interval": None,
        "worse": False,
    }


def _p_by_week(total: np.ndarray, n: np.ndarray) -> float:
    """Return the p-value of a mean of 0 if the rows of a week are correlated.

    `total` and `n` are the sum and the number of the rows of each day. With few days, "weeks" are shorter.
    """
    weeks = np.arange(len(n)) // max(min(_WEEK, len(n) // _FEWEST_WEEKS), 1)
    mean, variance, held = _clustered(np.bincount(weeks, total), np.bincount(weeks, n))
    if not variance or not np.isfinite(variance):
        return 1.0 if variance else 0.0
    return float(2 * special.stdtr(max(int(held) - 1, 1), -abs(float(mean)) / math.sqrt(float(variance))))


def _clustered(total: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means, their cluster-robust variances, and the number of blocks that have rows.

    `total` and `n` are the sum and the number of the rows of each block (the last axis).
    """
    held = (n > 0).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total.sum(axis=-1) / n.sum(axis=-1)
        variance = ((total - mean[..., None] * n) ** 2).sum(axis=-1) / n.sum(axis=-1) ** 2 * held / (held - 1)
    return mean, np.where(held > 1, variance, np.inf), held


def by_week(time: pd.Series | None, error: np.ndarray) -> list[Week]:
    """Return MAE and bias (mean of predicted − actual) of each week, the earliest first; none without times."""
    if time is None:
        return []
    weeks = time.dt.tz_localize(None).dt.to_period("W").dt.start_time.to_numpy()
    found = pd.DataFrame({"size": np.abs(error), "error": error}).groupby(weeks).agg(["size", "mean"])
    return [
        {"time": str(week.date()), "rows": int(n), "MAE": float(mae), "bias": float(bias)}
        for week, n, mae, _, bias in found.itertuples()
    ]


def half_width(sizes: np.ndarray, level: float) -> float | None:
    """Return the half width that covers a new row with probability `level`; None if there are too few rows."""
    rank = math.ceil((len(sizes) + 1) * level)
    return float(np.partition(sizes, rank - 1)[rank - 1]) if rank <= len(sizes) else None


def prediction_interval(
    actual: np.ndarray,
    predicted: np.ndarray,
    time: pd.Series | None,
    by_time: bool,
    slices: Sliced,
    sampled: Resampling,
    level: float,
    seed: int,
) -> dict[str, Any]:
    """Return the half width of the prediction interval, and its coverage of rows that it was not fitted on.

    Split conformal prediction (Lei, G'Sell, Rinaldo, Tibshirani, Wasserman 2018, Distribution-Free Predictive Inference
    for Regression, JASA 113): a quantile of the absolute errors on rows that the model has not seen. Coverage is
    measured with the half width of one half of the held-out rows on the other half: the later half under a split by
    time, a random half otherwise. The half width that ships is that of all held-out rows; `shipped_coverage`,
    `by_slice` and `over_time` are its coverage of that other half.
    """
    sizes = np.abs(predicted - actual)
    if by_time and time is not None:
        order = np.argsort(time.astype("int64").to_numpy(), kind="stable")
        how = "the later half of the held-out rows, with the half width of the earlier half"
    else:
        order = np.random.default_rng(seed).permutation(len(sizes))
        how = "one half of the held-out rows, by chance, with the half width of the other half"
    first, rest = order[: len(order) // 2], order[len(order) // 2 :]
    ships, trial = half_width(sizes, level), half_width(sizes[first], level)
    found = _nothing_known(level, f"split conformal, on absolute errors; coverage measured on {how}", len(rest))
    found["half_width"] = ships
    if trial is None or ships is None:
        return found
    covered = sizes[rest] <= ships
    found["fitted_half_width"], found["shipped_coverage"] = trial, float(covered.mean())
    # The half width was measured on as many rows, too.
    found |= _coverage(sizes <= trial, level, sampled, rest, first)
    return found | _in_parts(covered, rest, time, slices, sampled.blocks[rest], found)


def row_intervals(
    actual: np.ndarray,
    predicted: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    time: pd.Series | None,
    slices: Sliced,
    sampled: Resampling,
    level: float,
) -> dict[str, Any]:
    """Return the coverage and the width of the model's own intervals (one for each row) on the held-out rows.

    They were fitted on training rows only, so all n held-out rows can measure them. `ends` are the lower and the upper
    ends. `constant_width` is the width that would have reached the promised coverage if it were the same for all rows.
    """
    low, high = ends
    covered, rows = (low <= actual) & (actual <= high), np.arange(len(actual))
    how = "conformalized quantile regression of the errors on training rows that a model had not seen"
    found = _nothing_known(level, f"{how}; coverage measured on all held-out rows", len(rows))
    constant = half_width(np.abs(predicted - actual), level)
    found |= {"mean_width": float((high - low).mean()), "constant_width": constant and 2 * constant}
    found |= _coverage(covered, level, sampled, rows)
    found["shipped_coverage"] = found["coverage"]
    return found | _in_parts(covered, rows, time, slices, sampled.blocks, found)


def _nothing_known(level: float, method: str, rows: int) -> dict[str, Any]:
    """Return the record of prediction intervals before their coverage is measured."""
    return {
        "level": level,
        "half_width": None,
        "method": method,
        "coverage": None,
        "coverage_error": None,
        "coverage_interval": [None, None],
        "coverage_p": None,
        "rows": rows,
        "fitted_half_width": None,
        "shipped_coverage": None,
        "by_slice": [],
        "slices": 0,
        "over_time": [],
    }


def _coverage(inside: np.ndarray, level: float, sampled: Resampling, *parts: np.ndarray) -> dict[str, Any]:
    """Return the coverage of the first part of the rows, its standard error, interval and one-sided p-value.

    `inside` marks the rows (of n) that their interval covers; their share should be `level`. If the intervals were
    fitted on the second part, the error of that fit is added.
    """
    blocks, hit = sampled.blocks, inside.astype("float64")
    count = int(blocks.max()) + 1
    totals = [sums(blocks[each], count, hit[each], np.ones(len(each))).T for each in parts]
    measured = [_clustered(*each) for each in totals]
    mean, _, held = measured[0]
    plain = math.sqrt(sum(float(variance) for _, variance, _ in measured))
    error, degrees = plain, max(float(held) - 1, 1.0)
    if sampled.by == "days":
        serial = [
            serial_error(((hits - mean * n) / n.sum())[n > 0])
            for (hits, n), (mean, _, _) in zip(totals, measured, strict=True)
        ]
        error, degrees = math.hypot(*(float(each) for each, _ in serial)), min(each for _, each in serial)
    share = float(mean)
    p = float(special.stdtr(degrees, (share - level) / error)) if error > 0 else float(share >= level)
    error *= float(special.stdtrit(degrees, (1 + LEVEL) / 2))
    return {
        "coverage": share,
        "coverage_error": plain,
        "coverage_interval": [max(share - error, 0.0), min(share + error, 1.0)],
        "coverage_p": p,
    }


def _likeness(found: dict[str, Any], blocks: np.ndarray) -> float:
    """Return the correlation of two rows of one block in whether they are covered (Kish 1965, Survey Sampling, 5.4).

    `found` has the coverage_error of n rows and their nominal level, `blocks` are those of the rows.
    """
    error, size = found["coverage_error"], float(_rows_beside(np.bincount(blocks)[None])[0])
    if not error or size <= 1:
        return 0.0
    alike = error**2 / (found["level"] * (1 - found["level"]) / len(blocks))
    return min(max(float(alike) - 1, 0.0) / (size - 1), 1.0)


def _rows_beside(counts: np.ndarray) -> np.ndarray:
    """Return for each of k sets of rows how many of them are in a row's block on average, from the counts by block."""
    found: np.ndarray = (counts.astype("float64") ** 2).sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
    return found


def _persistence(rows: np.ndarray, hits: np.ndarray) -> float:
    """Return the variance of shares of hits, as a multiple of that if the hits of different blocks were independent.

    `rows` and `hits` are the counts of k slices by block (k × m), in the order of time. Where bad days follow bad days,
    the slowest cosines have more than their part of the variance (see `serial_error`). All slices are pooled.
    """
    enough = rows.sum(axis=1) >= MIN_ROWS
    share = hits.sum(axis=1, keepdims=True) / np.maximum(rows.sum(axis=1, keepdims=True), 1)
    off = (hits - share * rows)[enough] / np.sqrt(np.maximum(rows.sum(axis=1, keepdims=True)[enough], 1))
    cosines, _ = _cosines(rows.shape[1])
    usual = float((off**2).sum()) / rows.shape[1]
    return max(float(((off @ cosines.T) ** 2).mean(axis=1).sum()) / usual, 1.0) if usual else 1.0


def _in_parts(
    covered: np.ndarray,
    rows: np.ndarray,
    time: pd.Series | None,
    slices: Sliced,
    blocks: np.ndarray,
    found: dict[str, Any],
) -> dict[str, Any]:
    """Return the coverage of some rows by slice, the lowest first (50 at most), the number of slices, and by week.

    `blocks` are those of the rows, and `found` has their coverage_error and its level: the rows of a slice count as
    fewer independent ones, but a slice has few rows in a block.
    """
    by_slice: list[CoveredSlice] = []
    over_time: list[CoveredWeek] = []
    likeness = _likeness(found, blocks)
    width = int(blocks.max(initial=-1)) + 1
    for feature, (codes, labels) in slices.items():
        cells = np.where(codes[rows] >= 0, codes[rows] * width + blocks, -1)
        n, hit = np.moveaxis(
            sums(cells, width * len(labels), np.ones(len(rows)), covered.astype("float64")).reshape(-1, width, 2), -1, 0
        )
        count, share = n.sum(axis=1), hit.sum(axis=1) / np.maximum(n.sum(axis=1), 1)
        alike = 1 + np.maximum(_rows_beside(n) - 1, 0) * likeness
        independent = count / np.maximum(alike, _persistence(n, hit) if time is not None else 1.0)
        by_slice += [
            {
                "feature": feature,
                "value": labels[k],
                "rows": int(count[k]),
                "coverage": float(share[k]),
                "independent": float(independent[k]),
            }
            for k in np.flatnonzero(count >= MIN_ROWS)
        ]
    if time is not None:
        weeks = time.iloc[rows].dt.tz_localize(None).dt.to_period("W").dt.start_time
        by_week = pd.Series(covered).groupby(weeks.to_numpy()).agg(["size", "mean"])
        over_time = [
            {"time": str(week.date()), "rows": int(n), "coverage": float(share)}
            for week, n, share in by_week.itertuples()
        ]
    lowest = sorted(by_slice, key=lambda row: row["coverage"])[:50]
    return {"by_slice": lowest, "slices": len(by_slice), "over_time": over_time}
