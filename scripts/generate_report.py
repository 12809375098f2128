"""Write the report that a person decides from: Markdown with figures, and one page that loads nothing.

    python scripts/generate_report.py --input reports/evaluation_metrics.json --output reports/final_report.md

diagnostics.json and holdout_predictions.csv are read from the folder of the input. The page gets the suffix .html; the
figures are written to figures/ beside it, and the tables, one page each, to tables/.
"""

import hashlib
import logging
from pathlib import Path
from typing import cast

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import WORKFLOW, parsed_json, read_bytes, read_utf8, replacing, sha256
from signoff.release.live_record import Live, warnings
from signoff.release.records import Backtest, Diagnostics, Metrics, RowBudget
from signoff.report.decision_box import decision, decision_box
from signoff.report.document import Block, Box, Code, Figure, Section, Strong, Table, Words
from signoff.report.drawing import save_figure, svg
from signoff.report.figures import figures
from signoff.report.inputs import data, model, row_budget_section, validation_blocks
from signoff.report.judged import alarm_blocks, threshold_blocks
from signoff.report.live import live_section
from signoff.report.markdown import markdown
from signoff.report.page import page
from signoff.report.refit import refit_section
from signoff.report.results import drift, importance_section, intervals, results, slices
from signoff.review.sample import held_out

# The files that are read, all in one folder.
_BESIDE = ["evaluation_metrics.json", "diagnostics.json", "holdout_predictions.csv"]
# The sections whose tables have a page of their own, for Snakemake's report.
_TABLES = {
    "Model": "model",
    "Results": "scores",
    "Slices": "slices",
    "Drift": "drift",
    "Prediction intervals": "coverage",
    "Importance": "importance",
}
# Statements that only a person can make, under the headings of Mitchell et al. (2019), Model cards for model reporting,
# https://doi.org/10.1145/3287560.3287596
_CARD = {"owner": "Owner", "intended_use": "Intended use", "limitations": "Limitations"}


def generate_report(
    metrics: Metrics,
    diagnostics: Diagnostics,
    card: dict[str, str | None],
    digests: dict[str, str],
    drawn: dict[str, dict[str, str]],
    budget: RowBudget | None = None,
    live: Live | None = None,
    backtest: Backtest | None = None,
) -> tuple[str, list[Box | Section]]:
    """Return the title and the parts of the report.

    Parameters
    ----------
    metrics, diagnostics
        The contents of evaluation_metrics.json and diagnostics.json.
    card
        owner, intended_use and limitations, as the config has them; None if it does not.
    digests
        The SHA-256 of the files that the report was made from, by name.
    drawn
        For each section with figures, the SVG element of each by its name.
    budget
        The content of row_budget.json, if there is a budget of training rows.
    live
        The content of live.json, if there is a release.
    backtest
        The content of backtest.json, if there is a backtest.
    """

    def figure(name: str, drawing: str) -> Figure:
        caption = read_utf8(WORKFLOW / "workflow/report" / f"{name}.rst")
        return Figure(name, caption.strip(), drawing)

    parts: list[Box | Section] = [
        decision_box(decision(metrics, diagnostics, warnings(live, live["release"]) if live else ())),
        Section("Thresholds", threshold_blocks(metrics["thresholds"])),
        *([Section("Alarms", alarm_blocks(diagnostics["alarms"]))] if diagnostics["alarms"] else []),
        Section("Data", [*data(metrics), *(row_budget_section(budget, metrics["target"]) if budget else [])]),
        Section("Validation", validation_blocks(diagnostics["validation"])),
        Section("Model", model(metrics)),
        *([refit_section(diagnostics["refit"], metrics, backtest)] if "refit" in diagnostics else []),
        Section("Intended use and limitations", _card_blocks(card)),
        Section("Results", results(metrics, diagnostics)),
        *([live_section(live)] if live else []),
        Section("Slices", slices(diagnostics["slices"], diagnostics["level"], metrics["target"])),
        Section("Drift", drift(diagnostics["drift"])),
        Section("Prediction intervals", intervals(diagnostics["prediction_interval"])),
        Section(
            "Importance",
            importance_section(diagnostics["importance"], diagnostics["importance_sample"], metrics["target"]),
        ),
        Section("Reproducibility", _reproducibility(metrics, diagnostics, digests)),
    ]
    for part in parts:
        # A figure without slices would be empty.
        if part.title != "Slices" or diagnostics["slices"]["rows"]:
            part.blocks.extend(figure(*each) for each in drawn.get(part.title, {}).items())
    return f"Report: {metrics['target']}", parts


def _card_blocks(card: dict[str, str | None]) -> list[Block]:
    """Return the statements about the model that only a person can make."""
    blocks: list[Block] = [[Strong(f"{_CARD[name]}: "), card[name]] for name in _CARD if card[name]]
    missing = [f"report.{name}" for name in _CARD if not card[name]]
    return [*blocks, *([f"Not set in the config: {', '.join(missing)}."] if missing else [])]


def _reproducibility(metrics: Metrics, diagnostics: Diagnostics, digests: dict[str, str]) -> list[Block]:
    """Return how to reproduce the report, and how to verify it."""
    how: Words = [
        "Made by ", Code("make run"), " and ", Code("make report"), "; the same source, config and versions give the "
        "same bytes. The sign-off records the git commit and the digest of the workflow's code.",
    ]  # fmt: skip
    versions: list[list[Words]] = [[*each] for each in metrics["versions"].items()]
    models: list[list[Words]] = [["the model", Code(metrics["model_sha256"])]]
    if "refit" in diagnostics:
        models.append(["the model trained again on all rows", Code(diagnostics["refit"]["sha256"])])
    files: list[list[Words]] = [[name, Code(digest)] for name, digest in digests.items()]
    return [
        how,
        f"Seed of the resampling: {diagnostics['seed']}.",
        Table("Versions", ["package", "version"], versions),
        Table("Digests", ["file", "SHA-256"], [*models, *files]),
    ]


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="the metrics that evaluate_model writes")
    parser.add_argument("--output", required=True, type=Path, help="the Markdown file to write; the page beside it")
    parser.add_argument("--owner", help="who answers for the model")
    parser.add_argument("--intended-use", help="what the model is for, and who uses it")
    parser.add_argument("--limitations", help="what it is not for, and where it is known to fail")
    parser.add_argument("--row-budget", type=Path, help="also say what the budget of training rows costs")
    parser.add_argument("--live", type=Path, help="also show how right the releases turned out to be")
    parser.add_argument("--backtest", type=Path, help="also say how large errors were one week ahead")
    args = parser.parse_args(argv)
    with command_line.logged("generate_report", args, args.input):
        paths = [args.input, *(args.input.with_name(name) for name in _BESIDE[1:])]
        contents = {path: read_bytes(path) for path in paths[:2]}
        metrics = cast(Metrics, parsed_json(contents[paths[0]], paths[0]))
        diagnostics = cast(Diagnostics, parsed_json(contents[paths[1]], paths[1]))
        rows = cast(int, metrics["model"]["test"]["rows"])
        holdout, found = held_out(paths[2], rows)
        if found != rows:
            raise TaskError(f"{paths[2]} has {found:,} rows instead of {rows:,}. Delete it, and run make report again.")
        drawn: dict[str, dict[str, str]] = {}
        for section, name, figure in figures(metrics, diagnostics, holdout):
            save_figure(figure, args.output.parent / "figures" / f"{name}.png", close=False)
            drawn.setdefault(section, {})[name] = svg(figure, name, name.replace("_", " "))
        card = {name: getattr(args, name) for name in _CARD}
        more = {}
        for path in filter(None, (args.row_budget, args.live, args.backtest)):
            contents[path] = read_bytes(path)
            more[path] = parsed_json(contents[path], path)
        budget, live = cast(RowBudget | None, more.get(args.row_budget)), cast(Live | None, more.get(args.live))
        backtest = cast(Backtest | None, more.get(args.backtest))
        if budget and budget["model_sha256"] != metrics["model_sha256"]:
            raise TaskError(f"{args.row_budget} was computed for a different model than {args.input}. Run make report.")
        # The digests are those of the bytes that were parsed, even if a file has changed since.
        digests = {
            path.name: hashlib.sha256(contents[path]).hexdigest() if path in contents else sha256(path)
            for path in dict.fromkeys([*paths, *contents])
        }
        report = generate_report(metrics, diagnostics, card, digests, drawn, budget, live, backtest)
        for path, form in ((args.output, markdown), (args.output.with_suffix(".html"), page)):
            with replacing(path) as new:
                new.write_text(form(*report), encoding="utf-8")
        for part in [each for each in report[1] if each.title in _TABLES]:
            part = Section(part.title, [each for each in part.blocks if not isinstance(each, Figure)])
            with replacing(args.output.parent / "tables" / f"{_TABLES[part.title]}.html") as new:
                new.write_text(page(report[0], [part]), encoding="utf-8")
        logging.info("[generate_report] completed. Report: %s", args.output)
        logging.info("[generate_report] to read in a browser: %s", args.output.with_suffix(".html"))


if __name__ == "__main__":
    main()
