"""Write the pages of the project: what is deployed and what waits for whom, and all runs and releases over time.

    python scripts/history.py [--index reports/index.html] [--output reports/history.html]

Run in the project's folder. Neither page loads anything. The same runs and releases give the same bytes of the history.
"""

import logging
from pathlib import Path

from signoff.base import command_line
from signoff.base.files import any_json, read_bytes, replacing
from signoff.base.numbers import counted
from signoff.ops.overview import INDEX, write_index
from signoff.ops.runs import read_runs
from signoff.release.approval import METRICS
from signoff.release.form import Move
from signoff.release.live_record import Live, read_live
from signoff.release.store import Releases
from signoff.report.document import Alarm, Code, Drawing, Part, Section, Words
from signoff.report.live import live_section
from signoff.report.page import page
from signoff.report.runs_and_releases import current_periods, release_numbers, release_table, run_table
from signoff.report.timeline import Run, timeline


def history(
    runs: list[Run], moves: list[Move], target: str | None, warnings: list[str], live: Live | None = None
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
        The live record, if any.
    """
    numbers, periods = release_numbers(moves), current_periods(moves, runs)
    passed, failed = (sum(each["verdict"] == verdict for each in runs) for verdict in ("passed", "failed"))
    last = f" (the last on {runs[-1]['at'][:10]})" if runs else ""
    scheduled = (
        f"Scheduled runs: {len(runs)}{last}; {passed} passed, {failed} missed a threshold or the data contract, "
        f"{len(runs) - passed - failed} came to no verdict. Releases: {len(numbers)}. Times are UTC."
    )
    parts: list[Part] = [scheduled, *(Alarm(f"{each}.") for each in warnings)]
    if runs or periods:
        parts.append(Drawing(timeline(runs, periods, numbers, {each.get("model_sha256") for each in moves})))
    releases = release_table(moves, runs, numbers) if numbers else "Nothing has been released yet."
    parts.append(Section("Releases", [releases]))
    none: Words = ["There has been no scheduled run yet: ", Code("make weekly"), "."]
    if live:
        parts.append(live_section(live, numbers))
    parts.append(Section("Runs", [run_table(runs, numbers) if runs else none]))
    return page(f"Runs and releases: {target}" if target else "Runs and releases", parts)


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--output", type=Path, default="reports/history.html", help="the page of all runs and releases")
    parser.add_argument("--index", type=Path, default=INDEX, help="the page of the project")
    args = parser.parse_args(argv)
    with command_line.logged("history", args, Path.cwd()):
        try:
            target = any_json(read_bytes(Path(METRICS)))["target"]
        except (OSError, ValueError, KeyError, TypeError):
            target = None
        runs, warnings = read_runs()
        for each in warnings:
            logging.warning("[history] %s", each)
        # First, since it also says why the history of releases cannot be read.
        write_index(args.index)
        logging.info("[history] to read in a browser: %s", args.index)
        with replacing(args.output) as new:
            new.write_text(history(runs, Releases().history(), target, warnings, read_live()), encoding="utf-8")
        logging.info("[history] completed. %s: %s", counted(len(runs), "run"), args.output)


if __name__ == "__main__":
    main()
