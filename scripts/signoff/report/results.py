"""The sections of the report that judge the model: scores, slices, drift, prediction intervals, importance."""

from signoff.base.errors import TaskError
from signoff.base.numbers import agreed, counted
from signoff.model.records import Scores
from signoff.model.scoring import METRIC_NAMES
from signoff.model.thresholds import DeployedScores
from signoff.release.records import (
    Diagnostics,
    Difference,
    Drift,
    DriftRow,
    Importance,
    ImportanceSample,
    Interval,
    Metrics,
    Pair,
    PredictionIntervals,
    SliceRow,
    Slices,
)
from signoff.report.document import Alarm, Block, Shown, Strong, Table, Words, number

# The most rows of a table; the others are in the JSON file only.
MOST = 20
# The rule of thumb for a large population stability index.
_LARGE_PSI = 0.25
_LEAST_COVERED = 10
# The first columns of a table of drift; the others are left out if they are empty.
_ALWAYS = 6


def results(metrics: Metrics, diagnostics: Diagnostics) -> list[Block]:
    """Return the scores of the model with those of the champion and the baselines."""
    own = metrics["custom_metrics"]["names"] if metrics["custom_metrics"] else []
    names = [*METRIC_NAMES.values(), *own]
    rows: list[list[Words]] = []
    spans: list[list[Words]] = []
    for name, scores in {"model": metrics["model"], **others(metrics)}.items():
        shown = Strong(name) if name == "model" else name
        for part, score in scores.items():
            values = [score.get(metric) for metric in (*METRIC_NAMES, *own)]
            part = {"test": "held out", "train": "training"}[part]
            rows.append([shown, part, score["rows"], *(Shown(number(each), each) for each in values)])
        found = intervals_of(name, diagnostics)
        spans.append([shown, *(span(found.get(metric)) for metric in (*METRIC_NAMES, *own))])
    return [
        f"Scores are on the scale of {metrics['target']}; R2 has no unit. Held out: {metrics['split']['rule']}.",
        *_training_sample(metrics),
        *_champion_lines(metrics["champion"]),
        *_against_champion(diagnostics["paired"], diagnostics["level"]),
        Table("Scores", ["predictor", "part", "rows", *names], rows),
        _how_sure(diagnostics, bool(own)),
        Table("Intervals of the scores", ["predictor", *names], spans),
        *_differences(diagnostics["differences"], diagnostics["level"]),
    ]


def _how_sure(diagnostics: Diagnostics, own: bool) -> str:
    """Return an explanation of the intervals of the scores; `own` says whether there are custom metrics."""
    bootstrap = diagnostics["bootstrap"]
    how = f"{bootstrap['resamples']:,} resamples of {counted(bootstrap['blocks'], bootstrap['by'].removesuffix('s'))}"
    if own and "own_metrics" in bootstrap:
        drawn = bootstrap["own_metrics"]
        how += f"; for your own metrics {drawn['resamples']:,} resamples of {counted(drawn['rows'], 'row')}"
    return f"The {diagnostics['level']:.0%} intervals of the scores on the held-out rows, by bootstrap ({how}):"


def _against_champion(pair: Pair | None, level: float) -> list[Block]:
    """Return how the model compares with the champion on the same rows."""
    if not pair:
        return []
    difference = f"{pair['metric']} of the model − {pair['metric']} of the champion = {number(pair['difference'])}"
    low, high = map(number, pair["interval"])
    told = f"the model is {pair['verdict']}" if " " not in pair["verdict"] else "they cannot be told apart"
    return [f"Model against champion: {difference}, {level:.0%} interval {low} to {high}: {told}."]


def _differences(found: dict[str, Difference] | None, level: float) -> list[Block]:
    """Return the difference from the champion in each metric."""
    if not found:
        return []
    rows: list[list[Words]] = [
        [METRIC_NAMES.get(name, name), each["difference"], span(each["interval"]), _tone(each["verdict"])]
        for name, each in found.items()
    ]
    return [
        f"By each metric, model − champion on the same rows and resamples, with {level:.0%} intervals:",
        Table("Differences from the champion", ["metric", "difference", "interval", "the model is"], rows),
    ]


def _training_sample(metrics: Metrics) -> list[Block]:
    """Return why the model's training score is not that of all training rows, if so."""
    scored, rows = int(metrics["model"]["train"]["rows"] or 0), metrics["split"]["rows"]["train"]
    if scored >= rows:
        return []
    sample = f"a sample of {scored:,} of the {rows:,} training rows"
    return [f"The model was trained on all {rows:,} training rows; its training score is that of {sample}."]


def _tone(verdict: str) -> str:
    """Return a verdict on a difference as a cell, in which "worse" is highlighted."""
    return Alarm(verdict) if verdict == "worse" else verdict


def others(metrics: Metrics) -> dict[str, dict[str, Scores]]:
    """Return the scores of the champion and the baselines under the names that the report gives them."""
    champion = metrics["champion"] or {}
    found = {f"champion: {champion['release']}": {"test": champion["test"]}} if "test" in champion else {}
    return found | {f"baseline: {name}": scores for name, scores in metrics["baselines"].items()}


def intervals_of(name: str, diagnostics: Diagnostics) -> dict[str, Interval]:
    """Return the intervals of a predictor's metrics. Raises TaskError if there are none."""
    key = "champion" if name.startswith("champion: ") else name.removeprefix("baseline: ")
    if key not in diagnostics["intervals"]:
        raise TaskError(f"diagnostics.json has no {name}: it was computed for other metrics. Run make report.")
    return diagnostics["intervals"][key]


def _champion_lines(champion: DeployedScores | None) -> list[Block]:
    """Return notes on the deployed model that the table of results lacks."""
    if champion is None:
        return ["Champion: nothing is deployed yet."]
    words = f"Champion: the deployed release {champion['release']}"
    lines: list[Block] = [f"{words}, scored on the same held-out rows."]
    if "problem" in champion:
        lines = [Alarm(f"{words} cannot be scored: {champion['problem']}")]
    return [*lines, *([f"Note that {champion['note']}."] if "note" in champion else [])]


def slices(found: Slices, level: float, target: str) -> list[Block]:
    """Return the section on the slices where the model is worst."""
    count = found["looked_at"]
    words = f"{counted(count, 'part')} of the held-out rows {agreed(count, 'was', 'were')} looked at, each of "
    words += f"{found['min_rows']:,} rows or more."
    if not found["rows"]:
        return [words]
    champion = any(each["champion_MAE"] is not None for each in found["rows"])
    names = ["feature", "value", "rows", "MAE", f"{level:.0%} interval", "bias"]
    names += ["champion's MAE", "model − champion", "worse"] if champion else []
    rows = [_slice(each, champion) for each in found["rows"][:MOST]]
    how = f"{words} {rest(len(found['rows']))}The worst come first. MAE and bias (mean of predicted − actual) are on "
    how += f"the scale of {target}."
    if champion:
        how += " Only a difference from the champion that remains after the correction for many comparisons is marked "
        how += f"as worse ({found['correction']})."
    return [how, Table("Slices", names, rows)]


def _slice(each: SliceRow, champion: bool) -> list[Words]:
    """Return the row of a slice."""
    row: list[Words] = [each["feature"], str(each["value"]), each["rows"], each["MAE"]]
    row += [span(each["MAE_interval"]), each["bias"]]
    if champion:
        row += [each["champion_MAE"], span(each["difference_interval"]), Alarm("worse") if each["worse"] else ""]
    return row


def drift(found: Drift) -> list[Block]:
    """Return the section on drift."""
    blocks = _drift_table("Held-out rows against training rows", found["training"])
    if found["release"] is None:
        blocks.append("There is no deployed release with diagnostics to compare these data with.")
    else:
        blocks += _drift_table("These data against those of the deployed release", found["release"])
    return [*blocks, "p assumes independent rows. Rows of one day are alike, so a small p alone says little."]


def _drift_table(title: str, found: list[DriftRow]) -> list[Block]:
    """Return a table of the differences between the columns of two sets of rows."""
    order = sorted(found, key=lambda each: (not each["flagged"], -(each["psi"] or 0)))
    rows: list[list[Words]] = [
        [
            Strong(each["feature"]) if each["flagged"] else each["feature"],
            each["kind"],
            *_statistics(each),
            Shown(" → ".join(f"{share:.1%}" for share in each["missing"]), each["missing"][1]),
            _first(each["new"]),
            _first(each["vanished"]),
            Alarm("drifted") if each["flagged"] else "",
        ]
        for each in order[:MOST]
    ]
    flagged = sum(each["flagged"] for each in order)
    has = "has" if flagged == 1 or len(order) == 1 else "have"
    text = f"{title}: {flagged} of {counted(len(order), 'column')} {has} drifted. {rest(len(order))}".rstrip()
    if seasons := [each["feature"] for each in order if (each["psi"] or 0) >= _LARGE_PSI and not each["flagged"]]:
        text += f" The large PSI of {_first(seasons)} is no alarm: it is the calendar, or a season that moves the "
        text += "column as much within earlier rows, or chance among few rows."
    names = ["feature", "kind", "PSI", "size", "p", "missing", "new values", "vanished", "verdict"]
    filled = [n for n in range(len(names)) if n < _ALWAYS or any(row[n] for row in rows)]
    return [text, Table(title, [names[n] for n in filled], [[row[n] for n in filled] for row in rows])]


def intervals(found: PredictionIntervals) -> list[Block]:
    """Return the section on the uncertainty of a single prediction."""
    level = f"{found['level']:.0%}"
    if found.get("mean_width") is not None:
        words = f"Each prediction has its own interval, {number(found['mean_width'])} wide on average, which should "
        words += f"contain {level} of the actual values ({found['method']})."
        if found["coverage"] is not None:
            words += (
                f" It contains {found['coverage']:.1%} of the {counted(found['rows'], 'held-out row')}, on which it "
            )
            words += "was not fitted."
        if found["constant_width"]:
            words += f" One width for all rows, chosen afterwards, would have to be {number(found['constant_width'])}."
        return _least_covered(found, words, "The slices with the lowest coverage:")
    if found["half_width"] is None:
        return [f"There are too few held-out rows for intervals that contain {level} of the actual values."]
    words = f"A prediction ± {number(found['half_width'])} should contain {level} of the actual values "
    words += f"({found['method']})."
    if found["coverage"] is None or found["fitted_half_width"] is None or found["shipped_coverage"] is None:
        words += " There are too few held-out rows to measure whether it does."
    else:
        words += f" Of {counted(found['rows'], 'held-out row')} on which it was not fitted, "
        words += f"± {number(found['fitted_half_width'])} contained {found['coverage']:.1%}; the interval that ships "
        words += f"contains {found['shipped_coverage']:.1%} of the same rows."
    return _least_covered(found, words, "The slices with the lowest coverage by the interval that ships:")


def _least_covered(found: PredictionIntervals, words: str, then: str) -> list[Block]:
    """Return the text on prediction intervals, with a table of the slices with the lowest coverage."""
    order = sorted(found["by_slice"], key=lambda each: each["coverage"])
    if not order:
        return [words]
    rows: list[list[Words]] = [
        [each["feature"], str(each["value"]), each["rows"], Shown(f"{each['coverage']:.1%}", each["coverage"])]
        for each in order[:_LEAST_COVERED]
    ]
    return [f"{words} {then}", Table("Coverage", ["feature", "value", "rows", "covered"], rows)]


def importance_section(found: list[Importance], sample: ImportanceSample, target: str) -> list[Block]:
    """Return the section on the features that predictions depend on."""
    rows: list[list[Words]] = [[each["feature"], each["mean"], each["std"]] for each in found[:MOST]]
    times = "once" if sample["repeats"] == 1 else counted(sample["repeats"], "time")
    words = f"The rise of the MAE, on the scale of {target}, when a feature is shuffled {times} among "
    words += f"{counted(sample['rows'], 'held-out row')}. {rest(len(found))}"
    return [words.strip(), Table("Importance", ["feature", "rise of MAE", "standard error"], rows)]


def _statistics(row: DriftRow) -> list[Words]:
    """Return PSI, size and p of a column; none of them if it is empty on one side."""
    if row["psi"] is None or row["size"] is None or row["p"] is None:
        return ["no values", "", ""]
    return [
        Shown(f"{row['psi']:.3f}", row["psi"]),
        Shown(f"{row['size']:.3f} ({row['statistic']})", row["size"]),
        Shown("< 0.0001" if row["p"] < 0.0001 else f"{row['p']:.4f}", row["p"]),
    ]


def span(interval: Interval | None) -> Shown | None:
    """Return an interval as a cell that is sorted by its lower end."""
    if interval is None or interval[0] is None or interval[1] is None:
        return None
    return Shown(f"{number(interval[0])} to {number(interval[1])}", interval[0])


def _first(values: list[str], most: int = 3) -> str:
    """Return the first few values, and how many more there are."""
    return ", ".join(map(str, values[:most])) + (f" and {len(values) - most:,} more" if len(values) > most else "")


def rest(rows: int, file: str = "diagnostics.json") -> str:
    """Return the sentence on the rows that a table leaves out, if any."""
    return f"The table has the first {MOST} of {rows:,}; {file} has all. " if rows > MOST else ""
