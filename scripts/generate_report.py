"""Write what a reviewer needs in two minutes: the report in Markdown, with its figures.

    python scripts/generate_report.py --input reports/evaluation_metrics.json --output reports/final_report.md

The held-out rows are read from holdout_predictions.csv beside the input; the figures go to figures/ beside the output.
"""

import logging
from pathlib import Path

import pandas as pd

import task
from table import read_table
from task import read_json, replacing

FIGURES = {
    "predicted_against_actual": "Predicted against actual on the held-out rows; darker is more rows. On the line, a "
    "prediction is exact. Look for a cloud that bends away from the line, or a tail that the model never "
    "reaches.",
    "residuals": "Residuals (predicted − actual). Look for a centre away from zero, which is bias, and for long tails.",
    "error_over_time": "Mean absolute error by {unit}. Look for a rise at the end: the next weeks will be like it.",
}


def generate_report(metrics: dict, holdout: pd.DataFrame) -> str:
    """Return the report as Markdown.

    Parameters
    ----------
    metrics
        As `evaluate_model` writes them.
    holdout
        The held-out rows: actual, predicted and, where there is a time column, time.
    """
    target, split, cleaning = metrics["target"], metrics["split"], metrics["cleaning"]
    rows = split["rows"]
    own = (metrics["custom_metrics"] or {"names": []})["names"]
    failed = [each for each in metrics["thresholds"] if not each["passed"]]
    lines = [
        f"# Report: {cell(target)}",
        "",
        f"**{'✗ FAILED' if failed else '✓ PASSED'}**: " + verdict_sentence(metrics, failed),
        "",
        "## Thresholds",
        "",
        *markdown_table(
            ["threshold", "limit", "value on the held-out rows", "verdict"],
            [
                [
                    cell(each["name"]),
                    number(each["limit"]),
                    number(each["value"]),
                    "passed" if each["passed"] else "**failed**",
                ]
                for each in metrics["thresholds"]
            ]
            or [["none is set", "", "", ""]],
        ),
        "",
        "## Results",
        "",
        f"In the unit of {cell(target)}; R2 has none. Held out: {split['rule']}.",
        "",
        *champion_lines(metrics["champion"]),
        *markdown_table(
            ["predictor", "part", "rows", "MAE", "R2", "RMSE", "median absolute error", *map(cell, own)],
            [
                [cell(name), {"test": "held out", "train": "training"}[part], f"{score['rows']:,}"]
                + [number(score.get(metric)) for metric in ("MAE", "R2", "RMSE", "median_absolute_error", *own)]
                for name, scores in {"**model**": metrics["model"], **others(metrics)}.items()
                for part, score in scores.items()
            ],
        ),
        "",
        "## Data",
        "",
    ]
    if cleaning:
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in cleaning["rows_dropped"].items() if count)
        lines.append(
            f"- Rows in: {cleaning['rows_in']:,}; after cleaning: {cleaning['rows_out']:,}; "
            f"dropped: {dropped or 'none'}."
        )
    lines += [
        f"- Rows to train: {rows['train']:,}; held out: {rows['test']:,}.",
        f"- Split by {split['by']}: {split['rule']}.",
    ]
    if split["by"] == "time":
        lines.append(f"- Last training row: {split['last_train']}; last held-out row: {split['last_test']}.")
    if "validation" in metrics:
        lines.append(
            f"- Data contract: **{metrics['validation']['status']}**, "
            f"{len(metrics['validation']['violations'])} violations."
        )
    lines += [
        "- Each column's profile, and any violation of the contract: [validation_report.json](validation_report.json).",
        "",
        "## Model",
        "",
        f"- Estimator: `{metrics['estimator']}`.",
        f"- Features: {', '.join(f'{cell(name)} ({kind})' for name, kind in metrics['features'].items())}.",
        *(
            f"- {what} made by {cell(code['file'])}, SHA-256 `{code['sha256']}`."
            for what, code in (("Features", metrics["custom"]), ("Metrics", metrics["custom_metrics"]))
            if code
        ),
        f"- Left out: {', '.join(f'{cell(name)} ({why})' for name, why in metrics['left_out'].items()) or 'none'}.",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in metrics['versions'].items())}.",
        f"- SHA-256 of the model: `{metrics['model_sha256']}`.",
        "",
        "## Figures",
    ]
    unit = "week" if "time" in holdout else "twentieth of the rows, in their order"
    for name, caption in FIGURES.items():
        lines += ["", f"![{name.replace('_', ' ')}](figures/{name}.png)", "", f"*{caption.format(unit=unit)}*"]
    return "\n".join(lines) + "\n"


def others(metrics: dict) -> dict[str, dict]:
    """Return the scores of the champion and the baselines under the names that the report gives them."""
    champion = metrics["champion"] or {}
    found = {f"champion: {champion['release']}": {"test": champion["test"]}} if "test" in champion else {}
    return found | {f"baseline: {name}": scores for name, scores in metrics["baselines"].items()}


def champion_lines(champion: dict | None) -> list[str]:
    """Return what the table of results does not say of the deployed model."""
    if champion is None:
        return ["Champion: nothing is deployed yet.", ""]
    words = [f"Champion: the deployed release `{champion['release']}`, scored on the same held-out rows."]
    if "problem" in champion:
        words = [
            f"**Champion: the deployed release `{champion['release']}` cannot be scored: {cell(champion['problem'])}**"
        ]
    return [*words, *([f"Mind that {champion['note']}."] if "note" in champion else []), ""]


def verdict_sentence(metrics: dict, failed: list[dict]) -> str:
    """Return the verdict in words: the thresholds, and the model beside the best baseline."""
    if not metrics["thresholds"]:
        words = "no threshold is set"
    elif failed:
        words = "; ".join(
            f"{cell(each['metric'])} {number(each['value'])} misses {cell(each['name'])} {number(each['limit'])}"
            for each in failed
        )
    else:
        words = f"all {len(metrics['thresholds'])} thresholds are kept"
    best = min(metrics["baselines"], key=lambda name: metrics["baselines"][name]["test"]["MAE"])
    ours, theirs = metrics["model"]["test"], metrics["baselines"][best]["test"]
    share = 1 - ours["MAE"] / theirs["MAE"] if theirs["MAE"] else 0.0
    sentence = f"{words}. On the held-out rows the model's MAE is {number(ours['MAE'])}, "
    sentence += f"{abs(share):.1%} {'below' if share >= 0 else '**above**'} that of the best baseline "
    sentence += f"({cell(best)}, {number(theirs['MAE'])})"
    for name, scores in metrics["baselines"].items():
        theirs = scores["test"]
        if None not in (ours["R2"], theirs["R2"]) and theirs["R2"] > ours["R2"]:
            sentence += (
                f"; by R2 the baseline {cell(name)} is better ({number(theirs['R2'])} against {number(ours['R2'])})"
            )
    return sentence + "."


def number(value: float | None) -> str:
    """Return a number with four significant digits, or "undefined"."""
    return "undefined" if value is None else f"{value:,.4g}"


def cell(text: object) -> str:
    """Return text so that Markdown shows it as it is."""
    escaped = str(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "\\`")
    return " ".join(escaped.replace("_", "\\_").split())


def markdown_table(names: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (names, ["---"] * len(names), *rows)]


def draw_figures(holdout: pd.DataFrame, target: str, folder: Path) -> None:
    """Draw the figures of `FIGURES` as PNG files in `folder`; the same rows give the same bytes."""
    plt = plotting()
    # Between two dollar signs matplotlib would set a formula.
    target = target.replace("$", r"\$")
    actual, predicted = holdout["actual"], holdout["predicted"]
    residuals = predicted - actual
    figure, axes = plt.subplots(figsize=(6, 5))
    cells = axes.hexbin(actual, predicted, gridsize=60, bins="log", mincnt=1, cmap="viridis_r")
    figure.colorbar(cells, label="rows (log scale)")
    ends = [min(actual.min(), predicted.min()), max(actual.max(), predicted.max())]
    axes.plot(ends, ends, color="black", linewidth=1, linestyle="--", label="exact")
    axes.set(xlabel=f"actual {target}", ylabel=f"predicted {target}")
    axes.legend(frameon=False)
    save_figure(figure, folder / "predicted_against_actual.png")

    figure, axes = plt.subplots(figsize=(6, 3.5))
    low, high = residuals.quantile([0.005, 0.995])
    beyond = int(((residuals < low) | (residuals > high)).sum())
    inside = residuals.clip(low, high) if high > low else residuals
    axes.hist(inside, bins=60, color="#3b6ea8")
    axes.axvline(0, color="black", linewidth=1)
    axes.axvline(residuals.mean(), color="#c0392b", linewidth=1, linestyle="--", label=f"mean {residuals.mean():.3g}")
    note = f"\n{beyond:,} rows beyond the edges are counted at them" if beyond and high > low else ""
    axes.set(xlabel=f"predicted − actual {target}{note}", ylabel="rows")
    axes.legend(frameon=False)
    save_figure(figure, folder / "residuals.png")

    figure, axes = plt.subplots(figsize=(6, 3.5))
    errors = residuals.abs()
    if "time" in holdout:
        by_week = errors.groupby(holdout["time"].dt.tz_localize(None).dt.to_period("W").dt.start_time).mean()
        axes.plot(by_week.index, by_week, marker="o", color="#3b6ea8")
        if len(by_week) <= 12:
            axes.set_xticks(by_week.index)
        axes.set(xlabel="week beginning", ylabel=f"mean absolute error of {target}")
        figure.autofmt_xdate()
    else:
        groups = pd.qcut(pd.Series(range(len(errors)), errors.index), min(20, len(errors)), labels=False)
        by_group = errors.groupby(groups).mean()
        axes.plot(by_group.index + 1, by_group, marker="o", color="#3b6ea8")
        axes.set(xlabel="held-out rows, in their order, by twentieths", ylabel=f"mean absolute error of {target}")
    axes.set_ylim(bottom=0)
    save_figure(figure, folder / "error_over_time.png")


def plotting():
    """Return matplotlib's pyplot, set to the style of every figure; imported here, since only figures need it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams |= {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.constrained_layout.use": True,
    }
    return plt


def save_figure(figure, path: Path) -> None:
    """Write a figure as PNG, atomically, and close it; the same figure gives the same bytes."""
    import matplotlib.pyplot as plt

    with replacing(path) as new:
        figure.savefig(new, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)


def main(argv: list[str] | None = None) -> None:
    parser = task.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="the metrics that evaluate_model writes")
    parser.add_argument("--output", required=True, type=Path, help="the Markdown file to write")
    args = parser.parse_args(argv)
    with task.logged("generate_report", args, args.input):
        metrics = read_json(args.input)
        kinds = {"time": "date", "actual": "number", "predicted": "number"}
        holdout = read_table(args.input.with_name("holdout_predictions.csv"), kinds).frame
        draw_figures(holdout, metrics["target"], args.output.parent / "figures")
        with replacing(args.output) as new:
            new.write_text(generate_report(metrics, holdout), encoding="utf-8")
        logging.info("[generate_report] completed. Report: %s", args.output)


if __name__ == "__main__":
    main()
