"""The realised error of releases: figures by release and week, and alarms about the current one."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from signoff.release.live_record import Broken, Line, LiveAlarm
from signoff.review.live_join import MOST_COLUMNS, NO_WEEK, Record

# A week with fewer answered rows is not judged by itself.
_FEWEST_ROWS = 10
# One week is an alarm at the first probability, two in a row at the second.
_RARE, _RARE_TWICE = 0.0005, 0.005
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
    weeks: Sequence[Mapping[str, Any]]
    level: float
    coverage: float | None
    coverages: Sequence[float]
    baseline: str
    time: str | None
    until: pd.Timestamp | None


def promise_of(metrics: Mapping[str, Any], diagnostics: Mapping[str, Any]) -> Promise:
    """Return what a release promised, from its metrics and diagnostics."""
    scores = {name: each["test"]["MAE"] for name, each in metrics["baselines"].items()}
    low, high = diagnostics["intervals"]["model"]["MAE"]
    covered = diagnostics["prediction_interval"]
    shipped = covered.get("shipped_coverage")
    weeks = diagnostics.get("by_week", [])
    interval = diagnostics["intervals"]["model"]["bias"]
    return Promise(
        mae=metrics["model"]["test"]["MAE"],
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
        for n in range(MOST_COLUMNS):
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


def lines_of(record: Record, sums: Sums, promises: Mapping[str, Promise]) -> list[Line]:
    """Return a line for each release and week, the oldest first; releases without a promise are skipped."""
    found: list[Line] = []
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


def merged(earlier: Sequence[Line], lines: Sequence[Line], known: Sequence[str]) -> list[Line]:
    """Return the lines, and earlier ones whose rows the source no longer has.

    An earlier line is kept if it had more answers than now, and its release is one of `known`.
    """

    def identity(line: Line) -> tuple[str, str | None, bool]:
        return line["release"], line["week"], line["as_if"]

    found = {identity(line): line for line in lines}
    for line in earlier:
        now = found.get(identity(line))
        if line["release"] in known and (now is None or now["answered"] < line["answered"]):
            found[identity(line)] = line
    return sorted(found.values(), key=lambda line: (line["week"] or "", line["release"], line["as_if"]))


@dataclass(frozen=True)
class _Week:
    """A week of the current release: its first day, answered rows, and figures over predictions of both kinds."""

    week: str
    rows: int
    mae: float
    bias: float
    coverage: float | None
    intervals: int


def _weeks_of(lines: Sequence[Line], release: str) -> list[_Week]:
    """Return the weeks of a release with enough answers, the oldest first."""
    found = []
    of_release = [line for line in lines if line["release"] == release and line["answered"]]
    for week in sorted({line["week"] for line in of_release if line["week"]}):
        parts = [line for line in of_release if line["week"] == week]
        rows = sum(line["answered"] for line in parts)
        with_interval = [line for line in parts if line["coverage"] is not None]
        covered = sum(line["answered"] for line in with_interval)
        if rows < _FEWEST_ROWS:
            continue
        found.append(
            _Week(
                week,
                rows,
                sum(line["answered"] * (line["MAE"] or 0.0) for line in parts) / rows,
                sum(line["answered"] * (line["bias"] or 0.0) for line in parts) / rows,
                sum(line["answered"] * (line["coverage"] or 0.0) for line in with_interval) / covered
                if covered
                else None,
                covered,
            )
        )
    return found


def _probability(
    value: float, usual: Sequence[float], center: float, floor: float, error: float | None = None
) -> float:
    """Return the p-value of a week above `center`: a one-sided t test of a new observation.

    The spread is that of the held-out weeks, but at least `floor`, the standard error of a week of independent rows.
    `error` is the standard error of the mean of the held-out weeks as the report has it, which allows for
    autocorrelation and is known even for few weeks.
    """
    k = max(len(usual), 1)
    of_weeks, of_report = float(np.std(usual, ddof=1)) if k > 2 else 0.0, (error or 0.0) * math.sqrt(k)
    # The interval of the report is already wider if it rests on few weeks. If weeks differ by no more than sampling
    # explains, they have no extra spread.
    degrees = 30 if max(of_weeks, of_report) <= 1.2 * floor else 10 if of_report >= of_weeks else max(k - 1, 3)
    spread = max(of_weeks, of_report, floor) * math.sqrt(1 + 1 / k)
    return float(special.stdtr(degrees, -(value - center) / spread))


def _standard_error(low: float | None, high: float | None) -> float | None:
    """Return the standard error of a 95% interval."""
    return None if low is None or high is None else (high - low) / (2 * 1.96)


def judge(lines: Sequence[Line], release: str, promise: Promise) -> list[LiveAlarm]:
    """Mark the alarms in the lines of a release, and return those that hold for its newest weeks.

    A week is compared with the held-out weeks that the release was approved by. An alarm needs one week that is very
    unlikely by chance, or two in a row that are unlikely, and an effect that matters.
    """
    weeks = _weeks_of(lines, release)
    known = [each for each in promise.weeks if each["rows"] >= _FEWEST_ROWS and each["MAE"] > 0]
    unlikely: dict[str, list[tuple[float, bool]]] = {"live_error": [], "live_bias": [], "live_coverage": []}
    usual_size = [math.log(each["MAE"]) for each in known]
    usual_bias = [each["bias"] for each in known]
    error = _standard_error(promise.low, promise.high)
    relative = None if error is None else error / max(promise.mae, 1e-300)
    for week in weeks:
        # A mean of absolute errors has a relative standard error of about 1 / sqrt(n), a mean error 1.25 times as much.
        floor = 1 / math.sqrt(week.rows)
        center = float(np.mean(usual_size)) if len(usual_size) > 2 else math.log(max(promise.mae, 1e-300))
        p = _probability(math.log(max(week.mae, 1e-300)), usual_size, center, floor, relative)
        worse = week.mae > _WORSE * promise.mae and (promise.high is None or week.mae > promise.high)
        unlikely["live_error"].append((p, worse))
        far = abs(week.bias - promise.bias)
        p = 2 * _probability(far, usual_bias, 0.0, 1.25 * promise.mae * floor, promise.bias_error)
        moved = far > _OFF * promise.mae and abs(week.bias) > abs(promise.bias)
        unlikely["live_bias"].append((p, moved))
        unlikely["live_coverage"].append(_short(week.coverage, week.intervals, promise))
    found: list[LiveAlarm] = []
    for name, tries in unlikely.items():
        bad = [_is_alarm(tries, n) for n in range(len(tries))]
        for week, alarmed in zip(weeks, bad, strict=True):
            for line in lines:
                if alarmed and line["release"] == release and line["week"] == week.week:
                    line["alarms"] = sorted({*line["alarms"], name})
        if bad and bad[-1]:
            far = next((n for n, (p, matters) in enumerate(reversed(tries)) if not (matters and p < 0.05)), len(tries))
            found.append({"name": name, "slice": None, "sentence": _words(name, weeks[-max(far, 1) :], promise)})
    return found


def _is_alarm(tries: Sequence[tuple[float, bool]], n: int) -> bool:
    """Return whether a week is an alarm by itself, or with the week before."""
    p, matters = tries[n]
    before, mattered = tries[n - 1] if n else (1.0, False)
    return matters and (p < _RARE or (mattered and max(p, before) < _RARE_TWICE))


def _short(coverage: float | None, rows: int, promise: Promise) -> tuple[float, bool]:
    """Return the p-value of a coverage this low, and whether the shortfall matters."""
    if coverage is None or rows < _FEWEST_ROWS:
        return 1.0, False
    expected = min(promise.level, promise.level if promise.coverage is None else promise.coverage)

    def missed(share: float, of: float = math.inf) -> float:
        return math.log(max(1 - share, 0.5 / of))

    usual = [missed(each, 200) for each in promise.coverages]
    center = max(float(np.mean(usual)) if len(usual) > 2 else -math.inf, missed(expected, rows))
    floor = math.sqrt(max(expected, 0.5) / (rows * max(1 - expected, 0.5 / rows)))
    p = _probability(missed(coverage, rows), usual, center, floor)
    return p, coverage < expected - _SHORT and (1 - coverage) > 1.5 * (1 - expected)


def slice_alarms(record: Record, sums: Sums, release: str, promise: Promise, weeks: int = 4) -> list[LiveAlarm]:
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
    for (column, level), values in judged.items():
        share = values[covered] / values[intervals]
        p, matters = _short(share, int(values[intervals]), promise)
        # If coverage is low everywhere, the slice is not the cause.
        others = (whole[covered] - values[covered]) / max(whole[intervals] - values[intervals], 1)
        if matters and p * len(judged) < _RARE and share < others - _SHORT:
            level_name, rows = record.levels[columns[column]][level], int(values[intervals])
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
    lines: Sequence[Line], release: str, mae_max: float | None, coverage_min: float | None
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
