"""Show the metrics of all scheduled runs and releases over time, in one page that needs nothing else.

    python scripts/history.py [--output reports/history.html]

Run in the project's folder. The same runs and releases give the same bytes.
"""

import json
import logging
from datetime import datetime, timedelta
from pathlib import Path

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import replacing
from signoff.ops.runs import read_runs
from signoff.release.approval import METRICS
from signoff.release.store import read_history, released_json, signed_document
from signoff.report.document import Alarm, Code, Drawing, Section, Shown, Table
from signoff.report.drawing import INK, LIGHT, LINE, SOFT, plotting, svg
from signoff.report.page import page

COLOURS = {"passed": LIGHT["blue"], "failed": LIGHT["bad"], "threshold": LIGHT["doubt"]}
BANDS = [LIGHT["line"], LIGHT["shade"]]


def history(runs: list[dict], moves: list[dict], target: str | None, warnings: list[str]) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    runs
        As `read_runs` returns them.
    moves
        The history of releases, as `read_history` returns it.
    target
        What the model predicts.
    warnings
        What is wrong with the list of runs.
    """
    names = list(dict.fromkeys(each["release"] for each in moves if each["action"] == "deploy"))
    numbers = {name: number for number, name in enumerate(names, 1)}
    periods = current_periods([each for each in moves if each["action"] != "prune"], runs)
    title = f"Runs and releases: {target}" if target else "Runs and releases"
    passed, failed = (sum(each["verdict"] == verdict for each in runs) for verdict in ("passed", "failed"))
    last = f" (the last on {runs[-1]['at'][:10]})" if runs else ""
    scheduled = (
        f"Scheduled runs: {len(runs)}{last}; {passed} passed, {failed} missed a threshold or the data contract, "
        f"{len(runs) - passed - failed} came to no verdict. Releases: {len(names)}. Times are UTC."
    )
    parts = [scheduled, *(Alarm(f"{each}.") for each in warnings)]
    if runs or periods:
        parts.append(Drawing(figure(runs, periods, numbers, {each.get("model_sha256") for each in moves})))
    none = "Nothing has been released yet."
    parts.append(Section("Releases", [release_table(moves, runs, numbers, periods) if names else none]))
    none = ["There has been no scheduled run yet: ", Code("make weekly"), "."]
    parts.append(Section("Runs", [run_table(runs, numbers) if runs else none]))
    return page(title, parts)


def current_periods(moves: list[dict], runs: list[dict]) -> list[tuple[datetime, datetime, str]]:
    """Return from when until when which release was current; the last until the last thing that is known."""
    times = [when(each) for each in moves]
    ends = [*times[1:], max([*times, *(when(each) for each in runs)], default=None)]
    return [(start, end, move["release"]) for start, end, move in zip(times, ends, moves, strict=False)]


def when(line: dict) -> datetime:
    """Return the time of a run or of a line of the history, in UTC, without a zone, as matplotlib takes it."""
    return datetime.fromisoformat(line["at"]).replace(tzinfo=None)


def figure(
    runs: list[dict], periods: list[tuple[datetime, datetime, str]], numbers: dict[str, int], released: set[str]
) -> str:
    """Return an SVG element: the current release, MAE, R2 and rows over time, one below the other.

    Parameters
    ----------
    runs, periods
        As `history` and `current_periods` have them.
    numbers
        Of each release, by its name.
    released
        The digests of the models that were released.
    """
    plt = plotting()
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    # The current release above, as a strip.
    drawn, axes = plt.subplots(4, figsize=(10, 7.5), sharex=True, height_ratios=[0.35, 3, 3, 2])
    strip, *panels = axes
    times = [*(when(each) for each in runs), *(time for period in periods for time in period[:2])]
    margin = max((max(times) - min(times)) * 0.02, timedelta(days=1))
    strip.set_xlim(min(times) - margin, max(times) + margin)

    for n, (start, end, name) in enumerate(periods):
        end = end if n + 1 < len(periods) else end + margin
        strip.barh(0, end - start, left=start, height=1, color=BANDS[n % 2])
        if (end - start) > 0.6 * margin:
            strip.text(start + (end - start) / 2, 0, str(numbers[name]), ha="center", va="center", fontsize=9)
        for panel in panels:
            panel.axvline(start, color=SOFT, linewidth=0.8, linestyle=":", label="the release changes")
    strip.set(ylim=(-0.5, 0.5), yticks=[], ylabel="release")
    strip.yaxis.label.set(rotation=0, ha="right", va="center")
    strip.spines[:].set_visible(False)
    strip.tick_params(bottom=False)

    for panel, metric, threshold in ((panels[0], "MAE", "mae_max"), (panels[1], "R2", "r2_min")):
        judged = [each for each in runs if each.get(metric) is not None]
        panel.plot([when(each) for each in judged], [each[metric] for each in judged], color=LINE, linewidth=1)
        limits = [each["thresholds"].get(threshold) for each in judged if "thresholds" in each]
        if any(each is not None for each in limits):
            at = [when(each) for each in judged if "thresholds" in each]
            values = [float("nan") if each is None else each for each in limits]
            # A line where there is one run only, too.
            at, values = [*at, at[-1] + margin], [*values, values[-1]]
            style = {"color": COLOURS["threshold"], "linewidth": 1.2, "linestyle": "--", "where": "post"}
            panel.step(at, values, label="threshold", **style)
        for verdict, marker, size in (("passed", "o", 18), ("failed", "X", 42)):
            these = [each for each in judged if each["verdict"] == verdict]
            points = [when(each) for each in these], [each[metric] for each in these]
            panel.scatter(*points, s=size, marker=marker, color=COLOURS[verdict], label=f"verdict {verdict}", zorder=3)
        became = [each for each in judged if each.get("model_sha256") in released]
        points = [when(each) for each in became], [each[metric] for each in became]
        panel.scatter(*points, s=110, facecolors="none", edgecolors=INK, label="its model was released")
        panel.set_ylabel(metric)
    panels[0].set_title("MAE: lower is better; R2: higher is better", loc="left", fontsize=10)
    counted = [each for each in runs if "rows" in each]
    panels[2].step([when(each) for each in counted], [each["rows"] for each in counted], where="post", color=SOFT)
    panels[2].scatter([when(each) for each in counted], [each["rows"] for each in counted], s=8, color=SOFT)
    panels[2].set_ylabel("rows")
    panels[2].yaxis.set_major_formatter("{x:,.0f}")
    panels[2].set_ylim(bottom=0)
    for panel in panels:
        lost = [when(each) for each in runs if each["verdict"] not in ("passed", "failed")]
        level = panel.get_xaxis_transform()
        panel.scatter(
            lost, [0.03] * len(lost), marker="|", s=90, color=LIGHT["bad"], transform=level, label="came to no verdict"
        )
    locator = AutoDateLocator(minticks=3)
    panels[2].xaxis.set_major_locator(locator)
    panels[2].xaxis.set_major_formatter(ConciseDateFormatter(locator))
    legend = {
        label: handle for panel in panels[:2] for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    drawn.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return svg(drawn, "history", "The current release, MAE, R2 and rows over time")


def run_table(runs: list[dict], numbers: dict[str, int]) -> Table:
    """Return the table of the runs, the newest first."""
    rows = []
    for run in reversed(runs):
        why = "; ".join(run[key] for key in ("cause", "stale") if run.get(key))
        verdict = run["verdict"] if run["verdict"] == "passed" else Alarm(run["verdict"])
        scores = [shown(run.get(key), form) for key, form in (("MAE", ".4f"), ("R2", ".4f"), ("rows", ","))]
        time, release = run["at"][:16].replace("T", " "), numbers.get(run.get("release"))
        rows.append([time, verdict, *scores, shown(run.get("seconds"), ".0f"), shown(release, "d"), why])
    return Table("Runs", ["time", "verdict", "MAE", "R2", "rows", "seconds", "release", "why"], rows)


def release_table(
    moves: list[dict], runs: list[dict], numbers: dict[str, int], periods: list[tuple[datetime, datetime, str]]
) -> Table:
    """Return the table of the releases, the newest first."""
    rows = []
    for name, number in reversed(numbers.items()):
        first = next(each for each in moves if each["release"] == name)
        scores = release_scores(name, first["model_sha256"], runs, moves)
        spans = [
            f"{start:%Y-%m-%d} – {'now' if n + 1 == len(periods) else f'{end:%Y-%m-%d}'}"
            for n, (start, end, each) in enumerate(periods)
            if each == name
        ]
        words = [f"{who}: {why}" for who, why in zip(first["by"], first["reason"], strict=False)]
        words += [f"override: {each}" for each in first.get("override", [])]
        for each in moves:
            if each["action"] == "rollback" and each["release"] == name:
                words.append(f"{each['at'][:10]} rolled back to: {'; '.join(each['reason'])}")
            if each["action"] == "prune" and each["release"] == name:
                words.append(f"{each['at'][:10]} deleted")
        metrics = [shown(scores.get(key), ".4f") for key in ("MAE", "R2")]
        rows.append([number, name, *metrics, "\n".join(spans), "\n".join(words)])
    return Table("Releases", ["#", "name", "MAE", "R2", "current", "approved by"], rows)


def release_scores(name: str, model_sha256: str, runs: list[dict], moves: list[dict]) -> dict:
    """Return MAE and R2 of a release as they were signed; those of a run with its model if it is pruned or altered."""
    try:
        return released_json(name, signed_document(name, moves), "evaluation_metrics.json")["model"]["test"]
    except (OSError, TaskError, KeyError):
        return next((each for each in runs if each.get("model_sha256") == model_sha256), {})


def shown(value: float | None, form: str) -> Shown | None:
    """Return a cell with a number in it, None for None."""
    return None if value is None else Shown(format(value, form), value)


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--output", type=Path, default="reports/history.html", help="the HTML file to write")
    args = parser.parse_args(argv)
    with command_line.logged("history", args, Path.cwd()):
        try:
            target = json.loads(Path(METRICS).read_text("utf-8"))["target"]
        except (OSError, ValueError, KeyError):
            target = None
        runs, warnings = read_runs()
        for each in warnings:
            logging.warning("[history] %s", each)
        with replacing(args.output) as new:
            new.write_text(history(runs, read_history(), target, warnings), encoding="utf-8")
        logging.info("[history] completed. %d runs: %s", len(runs), args.output)


if __name__ == "__main__":
    main()
