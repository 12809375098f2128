"""Report what weekly retraining gains, and which releases the thresholds would have stopped.

    python scripts/backtest.py --input reports/backtest/*.json --output reports/backtest.csv

The summary goes to the output's name with the suffix .json, the report to .md and its figure to .png.
"""

import itertools
import logging
from collections.abc import Hashable
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
import pandas as pd

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import read_json, replacing, write_json
from signoff.model.records import Scores
from signoff.model.thresholds import add_thresholds, given_thresholds, judge
from signoff.release.records import Backtest
from signoff.report.document import number
from signoff.report.drawing import plotting, save_figure
from signoff.report.markdown import cell, markdown_table
from signoff.review.backtest import NEVER
from signoff.tables.table import write_table

_RETRAINED = "retrained"
_COMPARED = ["MAE", "RMSE", "R2", "bias"]
# The most weeks of one gap that are named.
_LONGEST_GAP = 53


class _Trained(TypedDict):
    """What `backtest_week` writes: a model, and the scores of it and of the baselines on each week."""

    target: str
    trained_on: list[str]
    training_rows: int
    model_sha256: str
    scores: dict[str, dict[str, Scores]]


def backtest(models: dict[str, _Trained], thresholds: dict[str, float] | None = None) -> tuple[pd.DataFrame, Backtest]:
    """Return the backtest week by week, and its summary.

    Parameters
    ----------
    models
        What `backtest_week` wrote: by week for the model that was retrained before it, and under "never_retrained"
        for the one that was trained before the first of these weeks.
    thresholds
        The gate, by names of `thresholds._THRESHOLDS`, judged on each week's scores. What is deployed without
        retraining, and so the champion, is the model that is never retrained.

    Returns
    -------
    weeks : pandas.DataFrame
        One row a week: week (ISO), rows, training_rows; for "retrained", "never_retrained" and each "baseline_…" the
        MAE, RMSE and bias in the target's unit, and the R2; gate ("passed" or "stopped") and the thresholds failed.
    summary : dict
        target, first_week, last_week, weeks, rows, without_rows (weeks in between that have none), MAE, RMSE and bias
        over all rows by predictor, retraining_is_worth (MAE never retrained − MAE retrained, in the target's unit),
        weeks_better, weeks_worse, gate_is_set, and stopped (week → thresholds failed).
    """
    never = models[NEVER]["scores"]
    rows: list[dict[str, Any]] = []
    for week in sorted(set(models) - {NEVER}):
        scores = dict(models[week]["scores"][week])
        found = {_RETRAINED: scores.pop("model"), NEVER: never[week]["model"]}
        found |= {f"baseline_{name}": score for name, score in scores.items()}
        judged = judge(found[_RETRAINED], {"test": found[NEVER]}, thresholds or {})
        failed = [each["name"] for each in judged if not each["passed"]]
        rows.append(
            {
                "week": week,
                "rows": found[_RETRAINED]["rows"],
                "training_rows": models[week]["training_rows"],
                **{f"{name}_{metric}": score[metric] for name, score in found.items() for metric in _COMPARED},
                "gate": "stopped" if failed else "passed",
                "failed": " ".join(failed),
            }
        )
    weeks = pd.DataFrame(rows)
    overall = {name: _over_all_rows(weeks, name) for name in found}
    return weeks, {
        "target": models[NEVER]["target"],
        "first_week": rows[0]["week"],
        "last_week": rows[-1]["week"],
        "weeks": len(weeks),
        "rows": int(weeks["rows"].sum()),
        "without_rows": _weeks_between(list(weeks["week"])),
        "overall": overall,
        "retraining_is_worth": overall[NEVER]["MAE"] - overall[_RETRAINED]["MAE"],
        "weeks_better": int((weeks[f"{_RETRAINED}_MAE"] < weeks[f"{NEVER}_MAE"]).sum()),
        "weeks_worse": int((weeks[f"{_RETRAINED}_MAE"] > weeks[f"{NEVER}_MAE"]).sum()),
        "gate_is_set": bool(thresholds),
        "stopped": {row["week"]: row["failed"].split() for row in rows if row["failed"]},
    }


def _over_all_rows(weeks: pd.DataFrame, name: str) -> dict[str, float]:
    """Return MAE, RMSE and bias of a predictor over the rows of all weeks."""
    share = weeks["rows"] / weeks["rows"].sum()
    mae, rmse, bias = (weeks[f"{name}_{metric}"] for metric in ("MAE", "RMSE", "bias"))
    squared = float((rmse**2 * share).sum())
    return {"MAE": float((mae * share).sum()), "RMSE": squared**0.5, "bias": float((bias * share).sum())}


def _weeks_between(weeks: list[str]) -> list[str]:
    """Return the weeks without rows between weeks that have some; of a longer gap, those of its first year."""
    found: list[str] = []
    for before, after in itertools.pairwise(weeks):
        gap = min((_monday(after) - _monday(before)).days // 7, _LONGEST_GAP + 1)
        found += [(_monday(before) + timedelta(weeks=n)).strftime("%G-W%V") for n in range(1, gap)]
    return found


def _monday(week: str) -> date:
    """Return the first day of an ISO week such as 2013-W09."""
    year, number_of_week = week.split("-W")
    return date.fromisocalendar(int(year), int(number_of_week), 1)


def _best_baseline(overall: dict[str, dict[str, float]]) -> str:
    """Return the baseline with the least MAE over all rows."""
    return min((name for name in overall if name.startswith("baseline_")), key=lambda name: overall[name]["MAE"])


def _shown(name: str) -> str:
    """Return the name of a predictor in the report."""
    names = {_RETRAINED: "retrained weekly", NEVER: "never retrained"}
    return names.get(name) or f"baseline: {name.removeprefix('baseline_')}"


def _worth(summary: Backtest) -> str:
    """Return a sentence on the value of retraining."""
    value, overall = summary["retraining_is_worth"], summary["overall"]
    share = abs(value) / overall[NEVER]["MAE"] if overall[NEVER]["MAE"] else 0.0
    return (
        f"retraining every week {'takes' if value >= 0 else 'adds'} {number(abs(value))} ({share:.1%}) "
        f"{'off' if value >= 0 else 'to'} the mean absolute error of {cell(summary['target'])}: "
        f"{number(overall[_RETRAINED]['MAE'])} against {number(overall[NEVER]['MAE'])} for the model that is never "
        f"retrained. Of {summary['weeks']} weeks it is better in {summary['weeks_better']} and worse in "
        f"{summary['weeks_worse']}"
    )


def _backtest_report(weeks: pd.DataFrame, summary: Backtest, figure: str) -> str:
    """Return the report as Markdown; `figure` is the name of the image beside it."""
    overall = summary["overall"]
    best = _best_baseline(overall)
    header = [
        "week",
        "rows",
        "MAE retrained",
        "never retrained",
        "difference",
        cell(_shown(best)),
        "R2",
        "bias",
        "gate",
    ]
    sentence = _worth(summary)
    lines = [
        f"# Backtest: {cell(summary['target'])}",
        "",
        f"**{sentence[0].upper()}{sentence[1:]}.** {_gate_words(summary)}",
        "",
        f"Replayed: {summary['weeks']} weeks, {summary['first_week']} to {summary['last_week']}, "
        f"{summary['rows']:,} rows. For each week a model is trained on the rows before it and scored on it; the model "
        f"that is never retrained is the one of {summary['first_week']}. The thresholds are judged on each week's "
        "score, which one week moves more than a longer test part does; the champion of max\\_regression is the model "
        "that is never retrained.",
        "",
        *([f"Without rows: {', '.join(summary['without_rows'])}.", ""] if summary["without_rows"] else []),
        f"![error by week]({figure})",
        "",
        "*Above, the mean absolute error by week; a cross is a week whose release the gate would have stopped. Below, "
        "how much lower it is for having retrained. Look for bars that grow: a model that gets stale.*",
        "",
        "## Over all weeks",
        "",
        *markdown_table(
            ["predictor", "MAE", "RMSE", "bias"],
            [
                [cell(_shown(name)), *(number(score[metric]) for metric in ("MAE", "RMSE", "bias"))]
                for name, score in overall.items()
            ],
        ),
        "",
        "Bias is the mean of predicted − actual.",
        "",
        "## Week by week",
        "",
        *markdown_table(
            header,
            [_week_cells(week, best) for week in weeks.to_dict("records")],
        ),
        "",
        "R2 and bias are those of the retrained model. Every figure of every predictor: [backtest.csv](backtest.csv).",
    ]
    return "\n".join(lines) + "\n"


def _gate_words(summary: Backtest) -> str:
    """Return in a sentence how many releases the thresholds would have stopped."""
    if not summary["gate_is_set"]:
        return "No threshold is set, so the gate stops nothing."
    stopped = summary["stopped"]
    counts = pd.Series([name for names in stopped.values() for name in names], dtype="str").value_counts()
    by_name = ", ".join(f"{name} {count}" for name, count in counts.sort_index().items())
    gate = f"The gate would have stopped **{len(stopped)} of {summary['weeks']}** releases"
    return f"{gate} ({by_name})." if stopped else f"{gate}."


def _week_cells(week: dict[Hashable, Any], best: str) -> list[str]:
    """Return the cells of a week in the table of weeks; `best` is the best baseline."""
    values = (week["retrained_R2"], week["retrained_bias"])
    return [
        week["week"],
        f"{week['rows']:,}",
        *(number(week[f"{name}_MAE"]) for name in (_RETRAINED, NEVER)),
        number(week[f"{NEVER}_MAE"] - week[f"{_RETRAINED}_MAE"]),
        number(week[f"{best}_MAE"]),
        *(number(None if pd.isna(value) else value) for value in values),
        f"**stopped**: {cell(week['failed'])}" if week["failed"] else "passed",
    ]


def _draw_backtest(weeks: pd.DataFrame, summary: Backtest, path: Path) -> None:
    """Draw the error by week, and below it what retraining is worth by week, as a PNG file."""
    plt = plotting()
    target = summary["target"].replace("$", r"\$")
    # A week without rows is a gap in the lines.
    weeks = weeks.set_index(pd.DatetimeIndex([_monday(week) for week in weeks["week"]]))
    gaps = pd.DatetimeIndex([_monday(week) for week in _weeks_between(list(weeks["week"]))])
    weeks = weeks.reindex(weeks.index.union(gaps))
    figure, (above, below) = plt.subplots(2, figsize=(9, 6), sharex=True, height_ratios=[2, 1])
    best = _best_baseline(summary["overall"])
    styles = {
        best: {"color": "#999999", "linestyle": ":"},
        NEVER: {"color": "#c77c11", "linestyle": "--"},
        _RETRAINED: {"color": "#3b6ea8"},
    }
    for name, style in styles.items():
        above.plot(weeks.index, weeks[f"{name}_MAE"], marker=".", label=_shown(name).replace("$", r"\$"), **style)
    stopped = weeks[weeks["gate"] == "stopped"]
    if len(stopped):
        label = f"stopped by the gate ({len(stopped)} of {summary['weeks']})"
        above.scatter(
            stopped.index, stopped[f"{_RETRAINED}_MAE"], marker="x", s=50, color="#c0392b", zorder=3, label=label
        )
    above.set(ylabel=f"mean absolute error of {target}")
    above.set_ylim(bottom=0)
    # Above the lines, which may come down to zero.
    figure.legend(frameon=False, ncols=2, loc="outside upper left")
    difference = weeks[f"{NEVER}_MAE"] - weeks[f"{_RETRAINED}_MAE"]
    below.bar(weeks.index, difference, width=5, color=np.where(difference < 0, "#c0392b", "#3b6ea8"))
    below.axhline(0, color="black", linewidth=0.8)
    below.set(xlabel="week beginning", ylabel="never retrained\n− retrained weekly")
    figure.autofmt_xdate()
    save_figure(figure, path)


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, nargs="+", help="what backtest_week wrote, all of it")
    parser.add_argument("--output", required=True, type=Path, help="the CSV file to write; .json, .md, .png beside it")
    add_thresholds(parser)
    args = parser.parse_args(argv)
    with command_line.logged("backtest", args, args.input[0].parent):
        models = {path.stem: cast(_Trained, read_json(path)) for path in args.input}
        if NEVER not in models or len(models) < 2:
            raise TaskError(f"{args.input[0].parent}: give {NEVER}.json and the file of each week.")
        weeks, summary = backtest(models, given_thresholds(args))
        write_table(weeks, args.output)
        write_json(args.output.with_suffix(".json"), summary)
        figure = args.output.with_suffix(".png")
        _draw_backtest(weeks, summary, figure)
        with replacing(args.output.with_suffix(".md")) as new:
            new.write_text(_backtest_report(weeks, summary, figure.name), encoding="utf-8")
        logging.info("[backtest] completed. %s.", _worth(summary).replace("\\", ""))
        logging.info("[backtest] stopped by the gate: %s", ", ".join(summary["stopped"]) or "none")
        logging.info("[backtest] wrote the report to %s", args.output.with_suffix(".md"))


if __name__ == "__main__":
    main()
