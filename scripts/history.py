"""Show the metrics of all scheduled runs and releases over time, in one page that loads nothing.

    python scripts/history.py [--output reports/history.html]

Run in the project's folder. The same runs and releases give the same bytes.
"""

import json
import logging
from pathlib import Path
from typing import Any, cast

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import replacing
from signoff.base.numbers import counted
from signoff.ops.runs import read_runs
from signoff.release.approval import METRICS
from signoff.release.form import Line
from signoff.release.live_record import read_live
from signoff.release.store import Releases
from signoff.report.document import Alarm, Code, Drawing, Part, Section, Shown, Table, Words
from signoff.report.live import live_section
from signoff.report.page import page
from signoff.report.timeline import Period, Run, timeline, when


def history(
    runs: list[Run], moves: list[Line], target: str | None, warnings: list[str], live: dict[str, Any] | None = None
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    runs
        As `read_runs` returns them.
    moves
        The history of releases, as `Releases.history` returns it.
    target
        What the model predicts, if a run has been evaluated.
    warnings
        What is wrong with the list of runs.
    live
        The live record, if there is one.
    """
    names = list(dict.fromkeys(each["release"] for each in moves if each["action"] == "deploy"))
    numbers = {name: number for number, name in enumerate(names, 1)}
    periods = _current_periods([each for each in moves if each["action"] != "prune"], runs)
    passed, failed = (sum(each["verdict"] == verdict for each in runs) for verdict in ("passed", "failed"))
    last = f" (the last on {runs[-1]['at'][:10]})" if runs else ""
    scheduled = (
        f"Scheduled runs: {len(runs)}{last}; {passed} passed, {failed} missed a threshold or the data contract, "
        f"{len(runs) - passed - failed} came to no verdict. Releases: {len(names)}. Times are UTC."
    )
    parts: list[Part] = [scheduled, *(Alarm(f"{each}.") for each in warnings)]
    if runs or periods:
        parts.append(Drawing(timeline(runs, periods, numbers, {each.get("model_sha256") for each in moves})))
    releases = _release_table(moves, runs, numbers, periods) if names else "Nothing has been released yet."
    parts.append(Section("Releases", [releases]))
    none: Words = ["There has been no scheduled run yet: ", Code("make weekly"), "."]
    if live:
        parts.append(live_section(live, numbers))
    parts.append(Section("Runs", [_run_table(runs, numbers) if runs else none]))
    return page(f"Runs and releases: {target}" if target else "Runs and releases", parts)


def _current_periods(moves: list[Line], runs: list[Run]) -> list[Period]:
    """Return the period of each release; the last one ends with the last known time."""
    times = [when(each["at"]) for each in moves]
    ends = [*times[1:], *([max([*times, *(when(each["at"]) for each in runs)])] if times else [])]
    return [Period(start, end, move["release"]) for start, end, move in zip(times, ends, moves, strict=True)]


def _run_table(runs: list[Run], numbers: dict[str, int]) -> Table:
    """Return the table of the runs, the newest first."""
    rows: list[list[Words]] = []
    for run in reversed(runs):
        why = "; ".join(each for each in (run.get("cause"), run.get("stale")) if each)
        verdict = run["verdict"] if run["verdict"] == "passed" else Alarm(run["verdict"])
        scores = [_shown(run.get("MAE"), ".4f"), _shown(run.get("R2"), ".4f"), _shown(run.get("rows"), ",")]
        time, release = run["at"][:16].replace("T", " "), numbers.get(run.get("release") or "")
        rows.append([time, verdict, *scores, _shown(run.get("seconds"), ".0f"), _shown(release, "d"), why])
    return Table("Runs", ["time", "verdict", "MAE", "R2", "rows", "seconds", "release", "why"], rows)


def _release_table(moves: list[Line], runs: list[Run], numbers: dict[str, int], periods: list[Period]) -> Table:
    """Return the table of the releases, the newest first."""
    rows: list[list[Words]] = []
    for name, number in reversed(numbers.items()):
        first = next(each for each in moves if each["release"] == name)
        scores = _release_scores(name, first["model_sha256"], runs, moves)
        spans = [
            f"{each.start:%Y-%m-%d} – {'now' if n + 1 == len(periods) else f'{each.end:%Y-%m-%d}'}"
            for n, each in enumerate(periods)
            if each.release == name
        ]
        metrics = [_shown(scores.get(key), ".4f") for key in ("MAE", "R2")]
        rows.append([number, name, *metrics, "\n".join(spans), "\n".join(_told(first, name, moves))])
    return Table("Releases", ["#", "name", "MAE", "R2", "current", "approved by"], rows)


def _told(first: Line, name: str, moves: list[Line]) -> list[str]:
    """Return who approved a release and why, and what happened to it later."""
    words = [f"{who}: {why}" for who, why in zip(first["by"], first["reason"], strict=False)]
    words += [f"override: {each}" for each in first.get("override", [])]
    for each in [move for move in moves if move["release"] == name]:
        if each["action"] == "rollback":
            words.append(f"{each['at'][:10]} rolled back to: {'; '.join(each['reason'])}")
        if each["action"] == "prune":
            words.append(f"{each['at'][:10]} deleted")
    return words


def _release_scores(name: str, model_sha256: str, runs: list[Run], moves: list[Line]) -> dict[str, Any]:
    """Return MAE and R2 of a release as they were signed; those of a run with its model if it is pruned or altered."""
    releases = Releases()
    try:
        return dict(releases.json(name, releases.sign_off(name, moves), Path(METRICS).name)["model"]["test"])
    except (OSError, TaskError, KeyError):
        return next(({**each} for each in runs if each.get("model_sha256") == model_sha256), {})


def _shown(value: float | None, form: str) -> Shown | None:
    """Return a cell with a number in it, or None."""
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
        found, warnings = read_runs()
        runs = cast(list[Run], found)
        for each in warnings:
            logging.warning("[history] %s", each)
        with replacing(args.output) as new:
            new.write_text(history(runs, Releases().history(), target, warnings, read_live()), encoding="utf-8")
        logging.info("[history] completed. %s: %s", counted(len(runs), "run"), args.output)


if __name__ == "__main__":
    main()
