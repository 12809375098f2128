"""Write what a person decides from: the report in Markdown with its figures, and as one page that needs nothing else.

    python scripts/generate_report.py --input reports/evaluation_metrics.json --output reports/final_report.md

Beside the input are read: diagnostics.json and holdout_predictions.csv. The page goes to the output's name with the
suffix .html, the figures to figures/ beside it, and the tables, each as a page, to tables/.
"""

import logging
from pathlib import Path

import task
from approval import WORKFLOW
from contract import describe
from document import Alarm, Box, Code, Figure, Items, Link, Section, Shown, Strong, Table, markdown, number, page
from figures import figures, save_figure, svg
from sample import sample
from scoring import METRICS
from stream import scan
from task import TaskError, read_json, replacing, sha256
from verdict import verdict

# What stands beside the metrics, and is read too.
BESIDE = ["evaluation_metrics.json", "diagnostics.json", "holdout_predictions.csv"]
# The sections whose tables have a page of their own, for Snakemake's report.
TABLES = {
    "Model": "model",
    "Results": "scores",
    "Slices": "slices",
    "Drift": "drift",
    "Prediction intervals": "coverage",
    "Importance": "importance",
}
# The most rows of a table; the rest stands in diagnostics.json.
MOST = 20
# What only a person can say, under the headings of Mitchell et al. (2019), Model cards for model reporting,
# https://doi.org/10.1145/3287560.3287596
CARD = {"owner": "Owner", "intended_use": "Intended use", "limitations": "Limitations"}


def generate_report(
    metrics: dict,
    diagnostics: dict,
    card: dict[str, str | None],
    digests: dict[str, str],
    drawn: dict[str, dict[str, str]],
    budget: dict | None = None,
) -> tuple[str, list]:
    """Return the title of the report, and its parts as `document` has them.

    Parameters
    ----------
    metrics, diagnostics
        As they stand in evaluation_metrics.json and diagnostics.json.
    card
        What only a person can say of the model: owner, intended_use, limitations; None where nothing is said.
    digests
        The SHA-256 of the files that the report was made of, by name.
    drawn
        For each section with figures, the SVG element of each by its name.
    budget
        What the budget of training rows costs, where there is one, as `row_budget` writes it.
    """

    def figure(one: tuple[str, str]) -> Figure:
        name, svg = one
        caption = (WORKFLOW / "workflow/report" / f"{name}.rst").read_text(encoding="utf-8")
        return Figure(name, caption.strip(), svg)

    parts = [
        decision_box(decision(metrics, diagnostics)),
        Section("Thresholds", thresholds(metrics["thresholds"])),
        *([Section("Alarms", alarms(diagnostics["alarms"]))] if diagnostics["alarms"] else []),
        Section("Data", [*data(metrics), *(row_budget(budget, metrics["target"]) if budget else [])]),
        Section("Validation", validation_blocks(diagnostics["validation"])),
        Section("Model", model(metrics)),
        Section("Intended use and limitations", card_blocks(card)),
        Section("Results", results(metrics, diagnostics)),
        Section("Slices", slices(diagnostics["slices"], diagnostics["level"], metrics["target"])),
        Section("Drift", drift(diagnostics["drift"])),
        Section("Prediction intervals", intervals(diagnostics["prediction_interval"])),
        Section(
            "Importance", importance(diagnostics["importance"], diagnostics["importance_sample"], metrics["target"])
        ),
        Section("Reproducibility", reproducibility(metrics, diagnostics, digests)),
    ]
    for part in parts:
        # A figure of no slices shows nothing.
        if part.title != "Slices" or diagnostics["slices"]["rows"]:
            part.blocks.extend(map(figure, drawn.get(part.title, {}).items()))
    return f"Report: {metrics['target']}", parts


def decision(metrics: dict, diagnostics: dict) -> dict:
    """Return what the numbers say of deploying: deploy (yes, no, look closer), why, verdict, for, against."""
    _, failures = verdict(diagnostics["validation"], metrics)
    paired = diagnostics["paired"]
    doubts = [each["name"] + (f" ({each['feature']})" if each["feature"] else "") for each in diagnostics["alarms"]]
    if paired and paired["verdict"] == "worse" and "worse_than_champion" not in doubts:
        doubts.append("worse_than_champion")
    if failures:
        deploy, why = "no", [f"{each[0].upper()}{each[1:]}." for each in failures]
    elif doubts:
        # In short, since the weightiest stand under the reasons against.
        asks = f"{len(doubts)} alarms ask" if len(doubts) > 1 else "1 alarm asks"
        named = f"{', '.join(doubts[:8])}{', …' if len(doubts) > 8 else ''}"
        deploy, why = "look closer", [f"{asks} for a closer look: {named}."]
    else:
        kept = "Every threshold is kept" if metrics["thresholds"] else "No threshold is set"
        deploy, why = "yes", [f"{kept}, the data contract holds, and no alarm stands."]
    if len(why) > 3:
        why = [*why[:3], f"… and {len(why) - 3} more."]
    failed = [each for each in metrics["thresholds"] if not each["passed"]]
    words = ("✗ FAILED: " if failed else "✓ PASSED: ") + verdict_sentence(metrics, failed)
    sides = {side: diagnostics["reasons"][side][:3] for side in ("for", "against")}
    return {"deploy": deploy, "why": why, "verdict": words, **sides}


def decision_box(found: dict) -> Box:
    """Return the box that opens the report; `found` as `decision` returns it."""
    tone, mark = {"yes": ("good", "✓"), "no": ("bad", "✗"), "look closer": ("doubt", "?")}[found["deploy"]]
    sides = {name.capitalize(): found[name] or ["Nothing was found."] for name in ("for", "against")}
    last = ["This is what the numbers say. A person decides: ", Code("make sign-off"), "."]
    blocks = [Items(found["why"]) if len(found["why"]) > 1 else found["why"][0], found["verdict"], last]
    return Box(tone, f"{mark} Deploy? {found['deploy'].capitalize()}", blocks, sides)


def verdict_sentence(metrics: dict, failed: list[dict]) -> str:
    """Return the verdict in words: the thresholds, and the model beside the best baseline."""
    if not metrics["thresholds"]:
        words = "no threshold is set"
    elif failed:
        words = "; ".join(
            f"{each['metric']} {number(each['value'])} misses {each['name']} {number(each['limit'])}" for each in failed
        )
    else:
        words = f"all {len(metrics['thresholds'])} thresholds are kept"
    best = min(metrics["baselines"], key=lambda name: metrics["baselines"][name]["test"]["MAE"])
    ours, theirs = metrics["model"]["test"], metrics["baselines"][best]["test"]
    share = 1 - ours["MAE"] / theirs["MAE"] if theirs["MAE"] else 0.0
    sentence = f"{words}. On the held-out rows the model's MAE is {number(ours['MAE'])}, "
    sentence += f"{abs(share):.1%} {'below' if share >= 0 else 'ABOVE'} that of the best baseline "
    sentence += f"({best}, {number(theirs['MAE'])})"
    for name, scores in metrics["baselines"].items():
        theirs = scores["test"]
        if None not in (ours["R2"], theirs["R2"]) and theirs["R2"] > ours["R2"]:
            sentence += f"; by R2 the baseline {name} is better ({number(theirs['R2'])} against {number(ours['R2'])})"
    return sentence + "."


def thresholds(found: list[dict]) -> list:
    """Return what must be kept, and whether it is."""
    rows = [
        [each["name"], number(each["limit"]), number(each["value"]), "passed" if each["passed"] else Alarm("failed")]
        for each in found
    ]
    names = ["threshold", "limit", "value on the held-out rows", "verdict"]
    return [Table("Thresholds", names, rows)] if rows else ["None is set."]


def alarms(found: list[dict]) -> list:
    """Return everything that asks for a closer look."""
    return [Items([[Alarm(each["name"]), f": {each['sentence']}"] for each in found])]


def data(metrics: dict) -> list:
    """Return which rows trained the model, and which it was judged on."""
    split, cleaning = metrics["split"], metrics["cleaning"]
    items = []
    if cleaning:
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in cleaning["rows_dropped"].items() if count)
        items.append(
            f"Rows in: {cleaning['rows_in']:,}; after cleaning: {cleaning['rows_out']:,}; dropped: {dropped or 'none'}."
        )
    rows = split["rows"]
    items.append(f"Training data: {rows['train']:,} rows. Evaluation data, held out: {rows['test']:,} rows.")
    items.append(f"Split by {split['by']}: {split['rule']}.")
    if split["by"] == "time":
        items.append(f"Last training row: {split['last_train']}; last held-out row: {split['last_test']}.")
    return [Items(items)]


def row_budget(found: dict, target: str) -> list:
    """Return what it costs to train on fewer rows than there are."""
    curve = found["curve"]
    rows = [
        [each["rows"], each["MAE"], each["R2"], each["gain"], span(each["interval"]) if each["interval"] else ""]
        for each in curve
    ]
    words = f"Trained on a sample of {curve[-1]['rows']:,} of {found['available']:,} training rows "
    words += f"(model.max_rows: {found['max_rows']:,}). "
    if len(curve) > 1 and curve[-1]["rows"] < found["available"]:
        last = curve[-1]
        words += (
            f"Twice the rows, from {curve[-2]['rows']:,} to {last['rows']:,}, changed MAE by {number(-last['gain'])}; "
        )
        words += "a larger budget is likely to gain less with each further doubling. "
    words += f"MAE and gain in the unit of {target}, on all held-out rows:"
    names = ["training rows", "MAE", "R2", "gain in MAE", f"{found['level']:.0%} interval"]
    return [words, Table("Row budget", names, rows)]


def validation_blocks(found: dict) -> list:
    """Return whether the raw data keep their contract, and where not."""
    status = "pass" if found["status"] == "pass" else Alarm("fail")
    kept = "" if found["contract"] else " (no contract: kinds of values only)"
    blocks = [["Data contract: ", status, f"{kept}, {len(found['violations'])} violations in {found['rows']:,} rows."]]
    if found["violations"]:
        blocks.append(Items(describe(found["violations"][:MOST])))
    file = Link("validation_report.json", "validation_report.json")
    return [*blocks, ["Each column's profile, and any violation of the contract by row: ", file, "."]]


def model(metrics: dict) -> list:
    """Return what the model is made of."""
    features = ", ".join(f"{name} ({kind})" for name, kind in metrics["features"].items())
    left_out = ", ".join(f"{name} ({why})" for name, why in metrics["left_out"].items())
    own = [("Features", metrics["custom"]), ("Metrics", metrics["custom_metrics"])]
    return [
        Items(
            [
                ["Estimator: ", Code(metrics["estimator"]), "."],
                f"Target: {metrics['target']}.",
                f"Features: {features}.",
                *([f"{what} made by ", Code(x["file"]), ", SHA-256 ", Code(x["sha256"]), "."] for what, x in own if x),
                f"Left out: {left_out or 'none'}.",
            ]
        ),
        *(candidates(metrics["candidates"], metrics["target"]) if "candidates" in metrics else []),
    ]


def candidates(found: dict, target: str) -> list:
    """Return what the model was chosen among."""
    rows = [
        [
            Code(each["estimator"].rpartition(".")[2]),
            ", ".join(f"{name}={value!r}" for name, value in each["params"].items()) or "its defaults",
            each["MAE"],
            each["spread"],
            each["rows"],
            Alarm(f"cannot be trained: {each['problem']}") if each["problem"] else "" if n else Strong("chosen"),
        ]
        for n, each in enumerate(found["settings"][:MOST])
    ]
    words = f"Chosen among {len(found['settings'])} candidates by {found['folds']}, on training rows alone"
    if len({each["rows"] for each in found["settings"]}) > 1:
        words += "; the best of each round came to the next, with more rows"
    words += f". MAE in the unit of {target}. "
    words += rest(found["settings"], "evaluation_metrics.json")
    names = ["estimator", "parameters", "MAE", "spread (standard deviation)", "rows", "verdict"]
    return [words.strip(), Table("Candidates", names, rows)]


def card_blocks(card: dict[str, str | None]) -> list:
    """Return what only a person can say of the model."""
    blocks = [[Strong(f"{CARD[name]}: "), card[name]] for name in CARD if card[name]]
    missing = [f"report.{name}" for name in CARD if not card[name]]
    return [*blocks, *([f"Not said in the config: {', '.join(missing)}."] if missing else [])]


def results(metrics: dict, diagnostics: dict) -> list:
    """Return the scores of the model beside those of the champion and the baselines."""
    own = (metrics["custom_metrics"] or {"names": []})["names"]
    level, bootstrap = diagnostics["level"], diagnostics["bootstrap"]
    rows, spans = [], []
    for name, scores in {"model": metrics["model"], **others(metrics)}.items():
        shown = Strong(name) if name == "model" else name
        for part, score in scores.items():
            values = [score.get(metric) for metric in (*METRICS, *own)]
            part = {"test": "held out", "train": "training"}[part]
            rows.append([shown, part, score["rows"], *(Shown(number(each), each) for each in values)])
        found = intervals_of(name, diagnostics)
        spans.append([shown, *(span(found.get(metric)) for metric in (*METRICS, *own))])
    how = f"{bootstrap['resamples']:,} resamples of {bootstrap['blocks']:,} {bootstrap['by']}"
    if own:
        drawn = bootstrap["own_metrics"]
        how += f"; of your own metrics {drawn['resamples']:,} resamples of the same, of {drawn['rows']:,} rows"
    blocks = [
        f"In the unit of {metrics['target']}; R2 has none. Held out: {metrics['split']['rule']}.",
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
                    [METRICS.get(name, name), each["difference"], span(each["interval"]), tone(each["verdict"])]
                    for name, each in diagnostics["differences"].items()
                ],
            ),
        ]
    return [
        *blocks,
        Table("Scores", ["predictor", "part", "rows", *METRICS.values(), *own], rows),
        f"How far each of the scores on the held-out rows can be trusted: {level:.0%} bootstrap intervals ({how}).",
        Table("Intervals of the scores", ["predictor", *METRICS.values(), *own], spans),
        *gaps,
    ]


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
    how = f"{words} {rest(found['rows'])}The worst are above; MAE and bias (mean of predicted − actual) in the unit of "
    how += f"{target}."
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
        blocks.append(f"{words}: {flagged} of {len(order)} columns have drifted. {rest(order)}".strip())
        names = ["feature", "kind", "PSI", "size", "p", "missing", "new values", "vanished", "verdict"]
        blocks.append(Table(words, names, rows))
    return blocks


def intervals(found: dict) -> list:
    """Return how sure a single prediction is."""
    if found["half_width"] is None:
        return [f"There are too few held-out rows to say what holds {found['level']:.0%} of the actual values."]
    words = f"A prediction ± {number(found['half_width'])} is meant to hold {found['level']:.0%} of the actual values "
    if found["coverage"] is None:
        words += "; there are too few held-out rows to measure whether it does."
    else:
        words += f"({found['method']}); of {found['rows']:,} held-out rows it held {found['coverage']:.1%}."
    order = sorted(found["by_slice"], key=lambda each: each["coverage"])
    if not order:
        return [words]
    rows = [
        [each["feature"], str(each["value"]), each["rows"], Shown(f"{each['coverage']:.1%}", each["coverage"])]
        for each in order[:10]
    ]
    return [
        f"{words} The parts that it covers least:",
        Table("Coverage", ["feature", "value", "rows", "covered"], rows),
    ]


def importance(found: list[dict], sample: dict, target: str) -> list:
    """Return what the model's predictions rest on; `sample` says how many rows were looked at, and how often."""
    rows = [[each["feature"], each["mean"], each["std"]] for each in found[:MOST]]
    times = f"{sample['repeats']} times" if sample["repeats"] > 1 else "once"
    words = f"The rise of the MAE on {sample['rows']:,} held-out rows, in the unit of {target}, when a feature is "
    words += f"shuffled among them, {times}. {rest(found)}"
    return [words.strip(), Table("Importance", ["feature", "rise of MAE", "standard error"], rows)]


def reproducibility(metrics: dict, diagnostics: dict, digests: dict[str, str]) -> list:
    """Return what it takes to make this again, and to see that it is the same."""
    return [
        ["Made by ", Code("make run"), " and ", Code("make report"), "; the same source, config and versions give the "
         "same bytes. The sign-off records the git commit and the digest of the workflow's code."],
        f"Seed of the resampling: {diagnostics['seed']}.",
        Table("Versions", ["package", "version"], [list(each) for each in metrics["versions"].items()]),
        Table(
            "Digests",
            ["file", "SHA-256"],
            [["the model", Code(metrics["model_sha256"])], *([name, Code(each)] for name, each in digests.items())],
        ),
    ]  # fmt: skip


def span(interval: list[float] | None) -> Shown | None:
    """Return an interval as a cell, which sorts by its lower end."""
    if interval is None or None in interval:
        return None
    return Shown(f"{number(interval[0])} … {number(interval[1])}", interval[0])


def statistics(row: dict) -> list:
    """Return PSI, size and p of a column; none of them where it is empty on one side."""
    if row["psi"] is None:
        return ["no values", "", ""]
    return [
        Shown(f"{row['psi']:.3f}", row["psi"]),
        Shown(f"{row['size']:.3f} ({row['statistic']})", row["size"]),
        Shown("< 0.0001" if row["p"] < 0.0001 else f"{row['p']:.4f}", row["p"]),
    ]


def listed(values: list, most: int = 3) -> str:
    """Return the first few values, and how many there are besides."""
    return ", ".join(map(str, values[:most])) + (f" and {len(values) - most:,} more" if len(values) > most else "")


def rest(rows: list, file: str = "diagnostics.json") -> str:
    """Return the sentence that says where the rows are that a table leaves out."""
    return f"The first {MOST} of {len(rows):,}; all are in {file}. " if len(rows) > MOST else ""


def main(argv: list[str] | None = None) -> None:
    parser = task.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="the metrics that evaluate_model writes")
    parser.add_argument("--output", required=True, type=Path, help="the Markdown file to write; the page beside it")
    parser.add_argument("--owner", help="who answers for the model")
    parser.add_argument("--intended-use", help="what the model is for, and who uses it")
    parser.add_argument("--limitations", help="what it is not for, and where it is known to fail")
    parser.add_argument("--row-budget", type=Path, help="also say what the budget of training rows costs")
    args = parser.parse_args(argv)
    with task.logged("generate_report", args, args.input):
        paths = [args.input, *(args.input.with_name(name) for name in BESIDE[1:])]
        metrics, diagnostics = map(read_json, paths[:2])
        kinds = {"time": "date", "actual": "number", "predicted": "number"}
        holdout, _, _ = sample(paths[2], scan(paths[2], kinds), {"": metrics["model"]["test"]["rows"]})
        drawn = {}
        for section, name, figure in figures(metrics, diagnostics, holdout):
            save_figure(figure, args.output.parent / "figures" / f"{name}.png", close=False)
            drawn.setdefault(section, {})[name] = svg(figure, name, name.replace("_", " "))
        card = {name: getattr(args, name) for name in CARD}
        budget = read_json(args.row_budget) if args.row_budget else None
        if budget and budget["model_sha256"] != metrics["model_sha256"]:
            raise TaskError(f"{args.row_budget} speaks of another model than {args.input}. Run make report.")
        digests = {path.name: sha256(path) for path in [*paths, *([args.row_budget] if budget else [])]}
        report = generate_report(metrics, diagnostics, card, digests, drawn, budget)
        for path, form in ((args.output, markdown), (args.output.with_suffix(".html"), page)):
            with replacing(path) as new:
                new.write_text(form(*report), encoding="utf-8")
        for part in [each for each in report[1] if each.title in TABLES]:
            part = Section(part.title, [each for each in part.blocks if not isinstance(each, Figure)])
            with replacing(args.output.parent / "tables" / f"{TABLES[part.title]}.html") as new:
                new.write_text(page(report[0], [part]), encoding="utf-8")
        logging.info("[generate_report] completed. Report: %s", args.output)
        logging.info("[generate_report] to read in a browser: %s", args.output.with_suffix(".html"))


if __name__ == "__main__":
    main()
