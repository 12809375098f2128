"""The sections of the report that judge the model: scores, slices, drift, prediction intervals, importance."""

from signoff.base.errors import TaskError
from signoff.model.scoring import METRIC_NAMES
from signoff.report.document import Alarm, Shown, Strong, Table, number

# The most rows of a table; the rest stands in diagnostics.json.
MOST = 20


def results(metrics: dict, diagnostics: dict) -> list:
    """Return the scores of the model beside those of the champion and the baselines."""
    own = (metrics["custom_metrics"] or {"names": []})["names"]
    level, bootstrap = diagnostics["level"], diagnostics["bootstrap"]
    rows, spans = [], []
    for name, scores in {"model": metrics["model"], **others(metrics)}.items():
        shown = Strong(name) if name == "model" else name
        for part, score in scores.items():
            values = [score.get(metric) for metric in (*METRIC_NAMES, *own)]
            part = {"test": "held out", "train": "training"}[part]
            rows.append([shown, part, score["rows"], *(Shown(number(each), each) for each in values)])
        found = intervals_of(name, diagnostics)
        spans.append([shown, *(span(found.get(metric)) for metric in (*METRIC_NAMES, *own))])
    how = f"{bootstrap['resamples']:,} resamples of {bootstrap['blocks']:,} {bootstrap['by']}"
    if own:
        drawn = bootstrap["own_metrics"]
        how += f"; of your own metrics {drawn['resamples']:,} resamples of the same, of {drawn['rows']:,} rows"
    blocks = [
        f"On the scale of the target ({metrics['target']}); R2 has no unit. Held out: {metrics['split']['rule']}.",
        *training_sample(metrics),
        *champion_lines(metrics["champion"]),
    ]
    gaps = []
    if diagnostics["paired"]:
        blocks.append(f"Model against champion, {paired_words(diagnostics['paired'], level)}.")
        gaps = [
            f"By each metric, model − champion on the same rows and resamples, with {level:.0%} intervals:",
            Table(
                "Differences from the champion",
                ["metric", "difference", "interval", "the model is"],
                [
                    [METRIC_NAMES.get(name, name), each["difference"], span(each["interval"]), tone(each["verdict"])]
                    for name, each in diagnostics["differences"].items()
                ],
            ),
        ]
    return [
        *blocks,
        Table("Scores", ["predictor", "part", "rows", *METRIC_NAMES.values(), *own], rows),
        f"How far each of the scores on the held-out rows can be trusted: {level:.0%} bootstrap intervals ({how}).",
        Table("Intervals of the scores", ["predictor", *METRIC_NAMES.values(), *own], spans),
        *gaps,
    ]


def training_sample(metrics: dict) -> list[str]:
    """Return why the model's training score is of fewer rows than those that trained it."""
    scored, rows = metrics["model"]["train"]["rows"], metrics["split"]["rows"]["train"]
    return [f"The model's training score is that of a sample of {scored:,} of {rows:,} rows."] if scored < rows else []


def tone(verdict: str) -> str:
    """Return a verdict on a difference as a cell: what is worse must be seen."""
    return Alarm(verdict) if verdict == "worse" else verdict


def others(metrics: dict) -> dict[str, dict]:
    """Return the scores of the champion and the baselines under the names that the report gives them."""
    champion = metrics["champion"] or {}
    found = {f"champion: {champion['release']}": {"test": champion["test"]}} if "test" in champion else {}
    return found | {f"baseline: {name}": scores for name, scores in metrics["baselines"].items()}


def intervals_of(name: str, diagnostics: dict) -> dict[str, list[float]]:
    """Return the intervals of a predictor's metrics. Raises TaskError where there are none."""
    key = "champion" if name.startswith("champion: ") else name.removeprefix("baseline: ")
    if key not in diagnostics["intervals"]:
        raise TaskError(f"diagnostics.json knows no {name}, so it is not of the same run as the metrics. Run make run.")
    return diagnostics["intervals"][key]


def champion_lines(champion: dict | None) -> list:
    """Return what the table of results does not say of the deployed model."""
    if champion is None:
        return ["Champion: nothing is deployed yet."]
    words = f"Champion: the deployed release {champion['release']}"
    if "problem" in champion:
        lines = [Alarm(f"{words} cannot be scored: {champion['problem']}")]
    else:
        lines = [f"{words}, scored on the same held-out rows."]
    return [*lines, *([f"Mind that {champion['note']}."] if "note" in champion else [])]


def paired_words(paired: dict, level: float) -> str:
    """Return how the model compares with the champion on the same rows."""
    low, high = map(number, paired["interval"])
    difference = f"{paired['metric']} of the model − {paired['metric']} of the champion"
    words = f"{difference} = {number(paired['difference'])}, {level:.0%} interval {low} … {high}"
    return (
        f"{words}: the model is {paired['verdict']}"
        if " " not in paired["verdict"]
        else f"{words}: they cannot be told apart"
    )


def slices(found: dict, level: float, target: str) -> list:
    """Return where the model is worse than elsewhere."""
    words = (
        f"{found['looked_at']:,} parts of the held-out rows were looked at, each of {found['min_rows']:,} rows or more."
    )
    if not found["rows"]:
        return [words]
    champion = any(each["champion_MAE"] is not None for each in found["rows"])
    names = ["feature", "value", "rows", "MAE", f"{level:.0%} interval", "bias"]
    names += ["champion's MAE", "model − champion", "worse"] if champion else []
    rows = []
    for each in found["rows"][:MOST]:
        row = [each["feature"], str(each["value"]), each["rows"], each["MAE"], span(each["MAE_interval"]), each["bias"]]
        if champion:
            row += [each["champion_MAE"], span(each["difference_interval"]), Alarm("worse") if each["worse"] else ""]
        rows.append(row)
    how = f"{words} {rest(found['rows'])}The worst are above; MAE and bias (mean of predicted − actual) "
    how += f"on the scale of {target}."
    if champion:
        how += f" Worse than the champion is what stays so after the correction for many looks ({found['correction']})."
    return [how, Table("Slices", names, rows)]


def drift(found: dict) -> list:
    """Return which features have moved."""
    blocks = []
    sides = {
        "training": "Held-out rows against training rows",
        "release": "These data against those of the deployed release",
    }
    for key, words in sides.items():
        if found[key] is None:
            blocks.append("There is no deployed release with diagnostics to compare these data with.")
            continue
        order = sorted(found[key], key=lambda each: (not each["flagged"], -(each["psi"] or 0)))
        rows = [
            [
                Strong(each["feature"]) if each["flagged"] else each["feature"],
                each["kind"],
                *statistics(each),
                Shown(" → ".join(f"{share:.1%}" for share in each["missing"]), each["missing"][1]),
                listed(each["new"]),
                listed(each["vanished"]),
                Alarm("drifted") if each["flagged"] else "",
            ]
            for each in order[:MOST]
        ]
        flagged = sum(each["flagged"] for each in order)
        text = f"{words}: {flagged} of {len(order)} columns have drifted. {rest(order)}"
        text += "p is computed as if rows were independent; rows of one day are alike, so a small p alone says little."
        if any((each["psi"] or 0) >= 0.25 and not each["flagged"] for each in order):
            text += " A large PSI without a verdict is the calendar or a season: it moves as much within earlier rows."
        blocks.append(text)
        names = ["feature", "kind", "PSI", "size", "p", "missing", "new values", "vanished", "verdict"]
        blocks.append(Table(words, names, rows))
    return blocks


def intervals(found: dict) -> list:
    """Return how sure a single prediction is."""
    if found.get("mean_width") is not None:
        words = f"Each prediction has an interval of its own, {number(found['mean_width'])} wide on average, which is "
        words += f"meant to hold {found['level']:.0%} of the actual values ({found['method']})."
        words += (
            f" Of {found['rows']:,} held-out rows, on which it was not fitted, {found['coverage']:.1%} are in theirs"
        )
        if found["constant_width"]:
            words += f"; one width for all, chosen afterwards, would have needed {number(found['constant_width'])}"
        return _least_covered(found, f"{words}.", "The parts that they cover least:")
    if found["half_width"] is None:
        return [f"There are too few held-out rows to say what holds {found['level']:.0%} of the actual values."]
    words = f"A prediction ± {number(found['half_width'])} is meant to hold {found['level']:.0%} of the actual values "
    if found["coverage"] is None:
        words += "; there are too few held-out rows to measure whether it does."
    else:
        words += (
            f"({found['method']}); of {found['rows']:,} held-out rows ± {number(found['fitted_half_width'])}, which "
        )
        words += (
            f"was not fitted on them, held {found['coverage']:.1%}, and what ships {found['shipped_coverage']:.1%}."
        )
    return _least_covered(found, words, "The parts that it covers least, with the width that ships:")


def _least_covered(found: dict, words: str, then: str) -> list:
    """Return what is said of prediction intervals, and a table of the slices that they cover least."""
    order = sorted(found["by_slice"], key=lambda each: each["coverage"])
    if not order:
        return [words]
    rows = [
        [each["feature"], str(each["value"]), each["rows"], Shown(f"{each['coverage']:.1%}", each["coverage"])]
        for each in order[:10]
    ]
    return [
        f"{words} {then}",
        Table("Coverage", ["feature", "value", "rows", "covered"], rows),
    ]


def importance(found: list[dict], sample: dict, target: str) -> list:
    """Return what the model's predictions rest on; `sample` says how many rows were looked at, and how often."""
    rows = [[each["feature"], each["mean"], each["std"]] for each in found[:MOST]]
    times = f"{sample['repeats']} times" if sample["repeats"] > 1 else "once"
    words = f"The rise of the MAE on {sample['rows']:,} held-out rows, on the scale of {target}, when a feature is "
    words += f"shuffled among them, {times}. {rest(found)}"
    return [words.strip(), Table("Importance", ["feature", "rise of MAE", "standard error"], rows)]


def statistics(row: dict) -> list:
    """Return PSI, size and p of a column; none of them where it is empty on one side."""
    if row["psi"] is None:
        return ["no values", "", ""]
    return [
        Shown(f"{row['psi']:.3f}", row["psi"]),
        Shown(f"{row['size']:.3f} ({row['statistic']})", row["size"]),
        Shown("< 0.0001" if row["p"] < 0.0001 else f"{row['p']:.4f}", row["p"]),
    ]


def span(interval: list[float] | None) -> Shown | None:
    """Return an interval as a cell, which sorts by its lower end."""
    if interval is None or None in interval:
        return None
    return Shown(f"{number(interval[0])} … {number(interval[1])}", interval[0])


def listed(values: list, most: int = 3) -> str:
    """Return the first few values, and how many there are besides."""
    return ", ".join(map(str, values[:most])) + (f" and {len(values) - most:,} more" if len(values) > most else "")


def rest(rows: list, file: str = "diagnostics.json") -> str:
    """Return the sentence that says where the rows are that a table leaves out."""
    return f"The first {MOST} of {len(rows):,}; all are in {file}. " if len(rows) > MOST else ""
