"""Show on the terminal whether to deploy, the reasons, and the scores, as the report has them.

python scripts/summary.py
"""

import hashlib
import logging
from pathlib import Path
from typing import cast

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import parsed_json, read_bytes
from signoff.base.redaction import printable
from signoff.release.approval import DIAGNOSTICS, METRICS, PAGE, REPORT
from signoff.release.live_record import read_live, warnings
from signoff.release.records import Diagnostics, Metrics
from signoff.release.store import Releases
from signoff.report.decision_box import decision
from signoff.report.document import number
from signoff.report.results import intervals_of, others

_COLOURS = {"yes": "green", "no": "red", "look closer": "yellow"}


def summary() -> Panel:
    """Return the box at the top of the report, with a small table of the scores.

    Raises
    ------
    TaskError
        There is no report yet, or it was written for a different model or for other metrics.
    """
    if not Path(REPORT).is_file():
        raise TaskError(f"{REPORT} does not exist: there is no report yet. Run make run, then make report.")
    contents = {path: read_bytes(Path(path)) for path in (METRICS, DIAGNOSTICS, REPORT)}
    metrics = cast(Metrics, parsed_json(contents[METRICS], Path(METRICS)))
    diagnostics = cast(Diagnostics, parsed_json(contents[DIAGNOSTICS], Path(DIAGNOSTICS)))
    report = contents[REPORT].decode(errors="replace")
    if metrics["model_sha256"] not in report:
        raise TaskError(f"{REPORT} was written for a different model than {METRICS}. Run make report.")
    for path in (METRICS, DIAGNOSTICS):
        if hashlib.sha256(contents[path]).hexdigest() not in report:
            raise TaskError(f"{REPORT} was written for a different state of {path}. Run make report.")
    found = decision(metrics, diagnostics, warnings(read_live(), Releases().current()))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("held out")
    for name in ("MAE", f"{diagnostics['level']:.0%} interval", "R2"):
        table.add_column(name, justify="right")
    for name, scores in {"model": metrics["model"], **others(metrics)}.items():
        score = scores["test"]
        low, high = map(number, intervals_of(name, diagnostics)["MAE"])
        table.add_row(Text(printable(name)), number(score["MAE"]), f"{low} … {high}", number(score["R2"]))
    lines = [*found.why, found.verdict, *found.where]
    if diagnostics["alarms"]:
        lines += ["", "Alarms", *(f"  • {each['name']}: {each['sentence']}" for each in diagnostics["alarms"])]
    for side in ("for", "against"):
        lines += ["", side.capitalize(), *(f"  • {each}" for each in found.sides[side])]
    words = Group(Text("\n".join(map(printable, lines))), table, Text(f"{PAGE}, {REPORT}"))
    title = Text(printable(f" {metrics['target']}: deploy? {found.deploy} "), style="bold")
    return Panel(words, title=title, title_align="left", border_style=_COLOURS[found.deploy], expand=False)


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    args = parser.parse_args(argv)
    with command_line.logged("summary", args, REPORT):
        Console(highlight=False).print(summary())
        logging.info("[summary] next: make sign-off")


if __name__ == "__main__":
    main()
