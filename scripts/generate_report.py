"""Write what a person decides from: the report in Markdown with its figures, and as one page that needs nothing else.

    python scripts/generate_report.py --input reports/evaluation_metrics.json --output reports/final_report.md

Beside the input are read: diagnostics.json and holdout_predictions.csv. The page goes to the output's name with the
suffix .html, the figures to figures/ beside it, and the tables, each as a page, to tables/.
"""

import hashlib
import logging
from pathlib import Path

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import parsed_json, replacing, sha256
from signoff.release.approval import WORKFLOW
from signoff.report.decision_box import decision, decision_box
from signoff.report.document import Alarm, Code, Figure, Items, Section, Strong, Table, number
from signoff.report.drawing import save_figure, svg
from signoff.report.figures import figures
from signoff.report.inputs import data, model, row_budget, validation_blocks
from signoff.report.markdown import markdown
from signoff.report.page import page
from signoff.report.results import drift, importance, intervals, results, slices
from signoff.review.sample import held_out

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

    def figure(name: str, drawing: str) -> Figure:
        caption = (WORKFLOW / "workflow/report" / f"{name}.rst").read_text(encoding="utf-8")
        return Figure(name, caption.strip(), drawing)

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
            part.blocks.extend(figure(*each) for each in drawn.get(part.title, {}).items())
    return f"Report: {metrics['target']}", parts


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


def card_blocks(card: dict[str, str | None]) -> list:
    """Return what only a person can say of the model."""
    blocks = [[Strong(f"{CARD[name]}: "), card[name]] for name in CARD if card[name]]
    missing = [f"report.{name}" for name in CARD if not card[name]]
    return [*blocks, *([f"Not said in the config: {', '.join(missing)}."] if missing else [])]


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


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="the metrics that evaluate_model writes")
    parser.add_argument("--output", required=True, type=Path, help="the Markdown file to write; the page beside it")
    parser.add_argument("--owner", help="who answers for the model")
    parser.add_argument("--intended-use", help="what the model is for, and who uses it")
    parser.add_argument("--limitations", help="what it is not for, and where it is known to fail")
    parser.add_argument("--row-budget", type=Path, help="also say what the budget of training rows costs")
    args = parser.parse_args(argv)
    with command_line.logged("generate_report", args, args.input):
        paths = [args.input, *(args.input.with_name(name) for name in BESIDE[1:])]
        contents = {path: path.read_bytes() for path in paths[:2]}
        metrics, diagnostics = (parsed_json(content, path) for path, content in contents.items())
        holdout, _ = held_out(paths[2], metrics["model"]["test"]["rows"])
        drawn = {}
        for section, name, figure in figures(metrics, diagnostics, holdout):
            save_figure(figure, args.output.parent / "figures" / f"{name}.png", close=False)
            drawn.setdefault(section, {})[name] = svg(figure, name, name.replace("_", " "))
        card = {name: getattr(args, name) for name in CARD}
        budget = None
        if args.row_budget:
            contents[args.row_budget] = args.row_budget.read_bytes()
            budget = parsed_json(contents[args.row_budget], args.row_budget)
        if budget and budget["model_sha256"] != metrics["model_sha256"]:
            raise TaskError(f"{args.row_budget} speaks of another model than {args.input}. Run make report.")
        # What was parsed has the digest that the report names, whatever lies on disk by now.
        digests = {
            path.name: hashlib.sha256(contents[path]).hexdigest() if path in contents else sha256(path)
            for path in dict.fromkeys([*paths, *contents])
        }
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
