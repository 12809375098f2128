"""The realised error of releases: figures by release and week, and alarms about the current one."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from signoff.model.records import mae
from signoff.release.live_record import Broken, LiveAlarm, LiveWeek
from signoff.release.records import Diagnostics, Metrics, Week
from signoff.review.live_join import NO_WEEK, Unjoined

# A week with fewer answered rows is not judged by itself.
_FEWEST_ROWS = 10
# One week is an alarm at the first probability, two in a row together at the second.
_RARE, _RARE_TWICE = 0.0003, 0.001
# A week above this probability is as promised.
_UNUSUAL = 0.05
# The prior of the spread of weeks counts as much as this many weeks.
_PRIOR_WEEKS = 6
# From this many earlier weeks on, the bias is also compared with theirs.
_FEWEST_EARLIER = 4
# The smallest effects that raise an alarm: a ratio of errors, a share of the MAE, a difference of the coverage.
_WORSE, _OFF, _SHORT = 1.15, 0.25, 0.05


@dataclass(frozen=True)
class Promise:
    """What the report of a release said about its errors.

    `bias` is the mean error, and `bias_error` its standard error.
    `weeks` has MAE, bias and rows of each held-out week. `low` and `high` are the 95% interval of the MAE; `level` is
    the nominal coverage of the prediction intervals, `coverage` the measured one. `baseline` is the best baseline, and
    `mean` the mean of the target, which the baseline "mean" predicts.
    """

    mae: float
    low: float | None
    high: float | None
    bias: float
    bias_error: float | None
    weeks: Sequence[Week]
    level: float
    coverage: float | None
    coverages: Sequence[float]
    baseline: str
    time: str | None
    until: pd.Timestamp | None


def promise_of(metrics: Metrics, diagnostics: Diagnostics) -> Promise:
    """Return what a release promised, from its metrics and diagnostics."""
    scores = {name: mae(each["test"]) for name, each in metrics["baselines"].items()}
    low, high = diagnostics["intervals"]["model"]["MAE"]
    covered = diagnostics["prediction_interval"]
    shipped = covered.get("shipped_coverage")
    weeks = diagnostics.get("by_week", [])
    interval = diagnostics["intervals"]["model"]["bias"]
    return Promise(
        mae=mae(metrics["model"]["test"]),
        low=low,
        high=high,
        bias=math.fsum(each["bias"] * each["rows"] for each in weeks) / max(sum(each["rows"] for each in weeks), 1),
        bias_error=_standard_error(*interval),
        weeks=weeks,
        level=covered["level"],
        coverage=covered["coverage"] if shipped is None else shipped,
        coverages=[each["coverage"] for each in covered.get("over_time") or [] if each.get("coverage") is not None],
        baseline=min(scores, key=lambda name: scores[name]),
        time=metrics["time_column"],
        until=_moment(metrics["split"].get("last_test")),
    )


def _moment(text: str | None) -> pd.Timestamp | None:
    """Return a time in UTC without a time zone, like the times of rows."""
    if not text:
        return None
    found = pd.Timestamp(text)
    return found.tz_convert("UTC").tz_localize(None) if found.tz else found


class Sums:
    """Sums over rows by release, week and kind of prediction, and by slice."""

    _NAMES = ("rows", "answered", "size", "error", "intervals", "covered", "width", "baseline", "with_baseline")

    def __init__(self) -> None:
        self.lines: dict[tuple[int, ...], np.ndarray] = defaultdict(lambda: np.zeros(len(self._NAMES)))
        self.slices: dict[tuple[int, ...], np.ndarray] = defaultdict(lambda: np.zeros(len(self._NAMES)))

    def add(self, rows: pd.DataFrame) -> None:
        """Add rows as `Record.joined` yields them."""
        error = rows["prediction"] - rows["target"]
        answered = error.notna()
        interval = answered & rows["low"].notna() & rows["high"].notna()
        covered = interval & (rows["low"] <= rows["target"]) & (rows["target"] <= rows["high"])
        baseline = (rows["baseline"] - rows["target"]).abs()
        found = pd.DataFrame(
            {
                "rows": 1.0,
                "answered": answered.astype("float64"),
                "size": error.abs().fillna(0),
                "error": error.fillna(0),
                "intervals": interval.astype("float64"),
                "covered": covered.astype("float64"),
                "width": (rows["high"] - rows["low"]).where(interval, 0),
                "baseline": baseline.fillna(0),
                "with_baseline": baseline.notna().astype("float64"),
            },
            columns=list(self._NAMES),
            index=rows.index,
        )
        by = ["release", "week", "as_if"]
        for labels, values in _grouped(found, [rows[name] for name in by]):
            self.lines[labels] += values
        for n in range(sum(str(name).startswith("slice_") for name in rows)):
            known = rows[f"slice_{n}"] >= 0
            if known.any():
                keys = [rows.loc[known, name] for name in (*by, f"slice_{n}")]
                for labels, values in _grouped(found[known], keys):
                    self.slices[(*labels[:3], n, labels[3])] += values


def _grouped(frame: pd.DataFrame, keys: list[pd.Series]) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Yield the labels and the sums of each group of rows."""
    sums = frame.groupby(keys, sort=True).sum()
    for labels, values in zip(sums.index, sums.to_numpy(), strict=True):
        yield tuple(map(int, labels)), values


def lines_of(record: Unjoined, sums: Sums, promises: Mapping[str, Promise]) -> list[LiveWeek]:
    """Return a line for each release and week, the oldest first; releases without a promise are skipped."""
    found: list[LiveWeek] = []
    for (code, week, as_if), values in sums.lines.items():
        name = record.releases[int(code)]
        promise = promises.get(name)
        if promise is None:
            continue
        each = dict(zip(Sums._NAMES, values, strict=True))
        answered, intervals, based = each["answered"], each["intervals"], each["with_baseline"]
        found.append(
            {
                "release": name,
                "week": _date(week),
                "as_if": bool(as_if),
                "rows": int(each["rows"]),
                "answered": int(answered),
                "MAE": each["size"] / answered if answered else None,
                "bias": each["error"] / answered if answered else None,
                "coverage": each["covered"] / intervals if intervals else None,
                "width": each["width"] / intervals if intervals else None,
                "baseline": promise.baseline,
                "baseline_MAE": each["baseline"] / based if based else None,
                "promised_MAE": promise.mae,
                "promised_low": promise.low,
                "promised_high": promise.high,
                "alarms": [],
            }
        )
    return sorted(found, key=lambda line: (line["week"] or "", line["release"], line["as_if"]))


def _date(week: float) -> str | None:
    return None if week == NO_WEEK else str(np.datetime64(int(week), "D"))


def merged(earlier: Sequence[LiveWeek], lines: Sequence[LiveWeek], known: Sequence[str]) -> list[LiveWeek]:
    """Return the lines, and earlier ones whose rows the source no longer has.

    An earlier line is kept if it had more answers than now, and its release is one of `known`.
    """

    def identity(line: LiveWeek) -> tuple[str, str | None, bool]:
        return line["release"], line["week"], line["as_if"]

    found = {identity(line): line for line in lines}
    for line in earlier:
        now = found.get(identity(line))
        if line["release"] in known and (now is None or now["answered"] < line["answered"]):
            found[identity(line)] = line
    return sorted(found.values(), key=lambda line: (line["week"] or "", line["release"], line["as_if"]))


@dataclass(frozen=True)
class _Week:
    """One or several weeks of the current release: their first day, answered rows, and figures over predictions of
    both kinds."""

    week: str
    rows: int
    mae: float
    bias: float
    coverage: float | None
    intervals: int
    weeks: int = 1


def _weeks_of(lines: Sequence[LiveWeek], release: str) -> list[_Week]:
    """Return the weeks of a release with enough answers, the oldest first."""
    of_release = [line for line in lines if line["release"] == release and line["answered"]]
    found = []
    for week in sorted({line["week"] for line in of_release if line["week"]}):
        parts = [
            _Week(
                week,
                line["answered"],
                line["MAE"] or 0.0,
                line["bias"] or 0.0,
                line["coverage"],
                0 if line["coverage"] is None else line["answered"],
            )
            for line in of_release
            if line["week"] == week
        ]
        found.append(_pooled(parts, 1))
    return [each for each in found if each.rows >= _FEWEST_ROWS]


def _pooled(parts: Sequence[_Week], weeks: int) -> _Week:
    """Return the figures over the rows of several weeks, or of the kinds of predictions of one."""
    rows, intervals = sum(each.rows for each in parts), sum(each.intervals for each in parts)
    covered = math.fsum((each.coverage or 0.0) * each.intervals for each in parts)
    return _Week(
        parts[0].week,
        rows,
        math.fsum(each.mae * each.rows for each in parts) / rows,
        math.fsum(each.bias * each.rows for each in parts) / rows,
        covered / intervals if intervals else None,
        intervals,
        weeks,
    )


@dataclass(frozen=True)
class _Figure:
    """A figure of a week that is compared with the promise, on a scale on which a week's spread depends on rows alone.

    Parameters
    ----------
    value
        Returns the figure of a week; None if it has none.
    promised, promised_error
        The promised value, and its standard error in the report, if it is known.
    held_out
        The values of the held-out weeks.
    of_a_row
        The standard deviation of one row: that of a week of n independent rows is it by √n.
    extra
        How much more weeks differ, before it is known: the prior of their standard deviation.
    sides
        Whether only higher values are worse (1), or lower ones, too (2).
    matters
        Returns whether the effect is large enough for an alarm.
    also_earlier
        Whether weeks are also compared with earlier ones of the release, which may differ from the promise.
    """

    value: Callable[[_Week], float | None]
    promised: float
    promised_error: float | None
    held_out: Sequence[float]
    of_a_row: float
    extra: float
    sides: int
    matters: Callable[[_Week], bool]
    also_earlier: bool = False

    def probability(self, now: _Week, usual: Sequence[_Week] = ()) -> float:
        """Return the p-value of some weeks, a t test of their mean; `usual` are earlier ones that were as promised.

        Their spread is estimated from all known weeks together with a prior, because there are often few (a moderated
        t statistic: Smyth 2004, Linear Models and Empirical Bayes Methods for Assessing Differential Expression,
        Statistical Applications in Genetics and Molecular Biology 3). It is no less than the report's standard error,
        which allows for autocorrelation, and than that of independent rows.
        """
        value = self.value(now)
        if value is None:
            return 1.0
        earlier = [each for each in map(self.value, usual) if each is not None]
        far, count = value - self.promised, max(len(self.held_out), 1)
        promised = self._tail(far, now, (self.held_out, earlier), count, self.promised_error)
        if not self.also_earlier or len(earlier) < _FEWEST_EARLIER:
            return promised
        # What ships may have been trained on more rows than what was evaluated, so its bias may be another.
        own = self._tail(value - float(np.mean(earlier)), now, (earlier,), len(earlier))
        return min(2 * min(promised, own), 1.0)

    def _tail(
        self, far: float, now: _Week, groups: Sequence[Sequence[float]], count: int, error: float | None = None
    ) -> float:
        """Return the p-value of a distance from the mean of `count` weeks, whose standard error may be known.

        The groups of weeks show how much weeks differ within each.
        """
        by_rows = self.of_a_row**2 * now.weeks / now.rows
        squares = math.fsum(float(np.var(each)) * len(each) for each in groups if len(each) > 1)
        degrees = _PRIOR_WEEKS + sum(len(each) - 1 for each in groups if len(each) > 1)
        variance = (_PRIOR_WEEKS * (by_rows + self.extra**2) + squares) / degrees
        if error is not None:
            # The report's interval is wider if it rests on few weeks, as the test here is.
            wider = float(special.stdtrit(max(count - 1, 2), 0.975)) / 1.96
            variance = max(variance, (error / wider) ** 2 * count)
        spread = math.sqrt(max(variance, by_rows) * (1 / now.weeks + 1 / count))
        far = abs(far) if self.sides == 2 else far
        return self.sides * float(special.stdtr(degrees, -far / spread))


def _standard_error(low: float | None, high: float | None) -> float | None:
    """Return the standard error of a 95% interval."""
    return None if low is None or high is None else (high - low) / (2 * 1.96)


def _figures(promise: Promise) -> dict[str, _Figure]:
    """Return the figures that are compared, by the name of their alarm."""
    known = [each for each in promise.weeks if each["rows"] >= _FEWEST_ROWS and each["MAE"] > 0]
    mae = max(promise.mae, 1e-300)
    return {
        # A mean of absolute errors has a relative standard error of about 1 / √n, a mean error 1.25 times as much.
        "live_error": _Figure(
            value=lambda week: math.log(max(week.mae, 1e-300)),
            promised=math.log(mae),
            # The held-out weeks show how errors vary. The report's interval would hide doubled errors for weeks.
            promised_error=None,
            held_out=[math.log(each["MAE"]) for each in known],
            of_a_row=1.0,
            extra=0.05,
            sides=1,
            matters=lambda week: week.mae > _WORSE * mae and (promise.high is None or week.mae > promise.high),
        ),
        "live_bias": _Figure(
            value=lambda week: week.bias / mae,
            promised=promise.bias / mae,
            promised_error=None if promise.bias_error is None else promise.bias_error / mae,
            held_out=[each["bias"] / mae for each in known],
            of_a_row=1.25,
            extra=0.12,
            sides=2,
            matters=lambda week: abs(week.bias - promise.bias) > _OFF * mae and abs(week.bias) > abs(promise.bias),
            also_earlier=True,
        ),
        "live_coverage": _coverage(promise),
    }


def _coverage(promise: Promise) -> _Figure:
    """Return the figure of the coverage: the share that is missed, on the scale of the arcsine of its root."""

    def value(coverage: float) -> float:
        return math.asin(math.sqrt(min(max(1 - coverage, 0.0), 1.0)))

    expected = promise.level if promise.coverage is None else min(promise.level, promise.coverage)
    held_out = [value(each) for each in promise.coverages]
    return _Figure(
        value=lambda week: None if week.coverage is None or week.intervals < _FEWEST_ROWS else value(week.coverage),
        promised=max(value(expected), float(np.mean(held_out)) if len(held_out) > 2 else 0.0),
        promised_error=None,
        held_out=held_out,
        of_a_row=0.5,
        extra=0.05,
        sides=1,
        matters=lambda week: (
            week.coverage is not None
            and week.coverage < expected - _SHORT
            and (1 - week.coverage) > 1.5 * (1 - expected)
        ),
    )


def mark_alarms(lines: Sequence[LiveWeek], release: str, promise: Promise) -> list[LiveAlarm]:
    """Mark the alarms in the lines of a release, and return those that hold for its newest weeks.

    A week is compared with the held-out weeks that the release was approved by, alone and together with the week
    before; its bias also with the release's earlier weeks. An alarm needs weeks that are very unlikely by chance, and
    an effect that matters.
    """
    weeks = _weeks_of(lines, release)
    figures = _figures(promise)
    # How many weeks each alarm is about.
    bad: dict[str, list[int]] = {name: [] for name in figures}
    usual: list[_Week] = []
    last: dict[str, float] = {}
    for n, week in enumerate(weeks):
        before = [each for each in usual if not n or each is not weeks[n - 1]]
        alone = {name: figure.probability(week, usual) for name, figure in figures.items()}
        for name, figure in figures.items():
            length = int(alone[name] < _RARE and figure.matters(week))
            if n and alone[name] < _UNUSUAL:
                both = _pooled(weeks[n - 1 : n + 1], 2)
                together = figure.matters(both) and figure.probability(both, before) < _RARE_TWICE
                length = 1 + (last[name] < _UNUSUAL) if together else length
            # An alarm that goes on.
            length = max(length, bad[name][-1] + 1) if length and n and bad[name][-1] else length
            bad[name].append(length)
        last = alone
        if min(alone.values()) > _UNUSUAL:
            usual.append(week)
    found: list[LiveAlarm] = []
    for name, lengths in bad.items():
        alarmed = {week.week for week, length in zip(weeks, lengths, strict=True) if length}
        for line in lines:
            if line["release"] == release and line["week"] in alarmed:
                line["alarms"] = sorted({*line["alarms"], name})
        if lengths and lengths[-1]:
            found.append({"name": name, "slice": None, "sentence": _words(name, weeks[-lengths[-1] :], promise)})
    return found


def slice_alarms(record: Unjoined, sums: Sums, release: str, promise: Promise, weeks: int = 4) -> list[LiveAlarm]:
    """Return an alarm for each slice whose intervals covered far too little in the newest weeks, the worst first.

    The probability is corrected for the number of slices (Bonferroni).
    """
    if release not in record.releases:
        return []
    code = record.releases.index(release)
    newest = sorted({key[1] for key in sums.lines if key[0] == code and key[1] != NO_WEEK})[-weeks:]
    together: dict[tuple[int, int], np.ndarray] = defaultdict(lambda: np.zeros(len(Sums._NAMES)))
    whole = np.zeros(len(Sums._NAMES))
    for key, values in sums.lines.items():
        if key[0] == code and key[1] in newest:
            whole += values
    for key, values in sums.slices.items():
        if key[0] == code and key[1] in newest:
            together[int(key[3]), int(key[4])] += values
    intervals, covered = Sums._NAMES.index("intervals"), Sums._NAMES.index("covered")
    columns, found = list(record.levels), []
    judged = {key: values for key, values in together.items() if values[intervals] >= 3 * _FEWEST_ROWS}
    figure = _coverage(promise)
    for (column, level), values in judged.items():
        share, rows = values[covered] / values[intervals], int(values[intervals])
        now = _Week("", rows, 0.0, 0.0, share, rows)
        # If coverage is low everywhere, the slice is not the cause.
        others = (whole[covered] - values[covered]) / max(whole[intervals] - values[intervals], 1)
        unlikely = figure.matters(now) and figure.probability(now) * len(judged) < _RARE
        if unlikely and share < others - _SHORT:
            level_name = record.levels[columns[column]][level]
            name = f"{columns[column]} {level_name}"
            sentence = f"Where {columns[column]} is {level_name}, the intervals of the deployed release have covered "
            sentence += f"{share:.0%} of {rows:,} rows since {_date(newest[0])}; {promise.level:.0%} were promised."
            found.append((share, LiveAlarm(name="live_coverage", slice=name, sentence=sentence)))
    return [each for _, each in sorted(found, key=lambda pair: pair[0])[:3]]


def _words(name: str, weeks: Sequence[_Week], promise: Promise) -> str:
    """Return the sentence of an alarm about the last weeks."""
    rows = sum(week.rows for week in weeks)
    span = "in the last week" if len(weeks) == 1 else f"for {len(weeks)} weeks"
    span = f"{span} (from {weeks[0].week}, {rows:,} rows)"
    if name == "live_error":
        mae = sum(week.mae * week.rows for week in weeks) / rows
        promised = f"{promise.mae:.4g}"
        if promise.low is not None and promise.high is not None:
            promised += f" [{promise.low:.4g}, {promise.high:.4g}]"
        return f"The deployed release has had an MAE of {mae:.4g} {span}; its report promised {promised}."
    if name == "live_bias":
        bias = sum(week.bias * week.rows for week in weeks) / rows
        return (
            f"The deployed release has been off by {bias:+.4g} on average {span}; it was {promise.bias:+.4g} at review."
        )
    with_interval = [week for week in weeks if week.coverage is not None]
    count = sum(week.intervals for week in with_interval)
    share = sum(week.coverage * week.intervals for week in with_interval if week.coverage is not None) / count
    return f"The intervals of the deployed release have covered {share:.0%} {span}; {promise.level:.0%} were promised."


def broken_limits(
    lines: Sequence[LiveWeek], release: str, mae_max: float | None, coverage_min: float | None
) -> list[Broken]:
    """Return which limits of the config the newest judged week of a release breaks."""
    weeks = _weeks_of(lines, release)
    if not weeks:
        return []
    last = weeks[-1]
    found: list[Broken] = []
    if mae_max is not None and last.mae > mae_max:
        found.append({"name": "mae_max", "limit": mae_max, "value": last.mae, "week": last.week})
    if coverage_min is not None and last.coverage is not None and last.coverage < coverage_min:
        found.append({"name": "coverage_min", "limit": coverage_min, "value": last.coverage, "week": last.week})
    return found
