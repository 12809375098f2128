"""The runs and the releases of a project as tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from signoff.base.errors import TaskError
from signoff.release.approval import METRICS, PAGE
from signoff.release.form import Move
from signoff.release.store import Releases
from signoff.report.document import Alarm, Link, Shown, Table, Words
from signoff.report.timeline import Period, Run, when


def release_numbers(moves: Sequence[Move]) -> dict[str, int]:
    """Return the number of each release by name, in the order of the first deploys."""
    names = dict.fromkeys(each["release"] for each in moves if each["action"] == "deploy")
    return {name: number for number, name in enumerate(names, 1)}


def current_periods(moves: Sequence[Move], runs: Sequence[Run]) -> list[Period]:
    """Return the periods in which each release was current. The last one ends with the last known time."""
    moves = [each for each in moves if each["action"] != "prune"]
    times = [when(each["at"]) for each in moves]
    ends = [*times[1:], *([max([*times, *(when(each["at"]) for each in runs)])] if times else [])]
    return [Period(start, end, move["release"]) for start, end, move in zip(times, ends, moves, strict=True)]


def run_table(runs: Sequence[Run], numbers: Mapping[str, int]) -> Table:
    """Return the table of the runs, the newest first."""
    rows: list[list[Words]] = []
    for run in reversed(runs):
        why = "; ".join(each for each in (run.get("cause"), run.get("stale")) if each)
        verdict = run["verdict"] if run["verdict"] == "passed" else Alarm(run["verdict"])
        scores = [shown_number(run.get("MAE"), ".4f"), shown_number(run.get("R2"), ".4f")]
        scores.append(shown_number(run.get("rows"), ","))
        time, release = run["at"][:16].replace("T", " "), numbers.get(run.get("release") or "")
        rows.append([time, verdict, *scores, shown_number(run.get("seconds"), ".0f"), shown_number(release, "d"), why])
    return Table("Runs", ["time", "verdict", "MAE", "R2", "rows", "seconds", "release", "why"], rows)


def release_table(moves: Sequence[Move], runs: Sequence[Run], numbers: dict[str, int]) -> Table:
    """Return the table of the releases, the newest first. A name leads to the report of the release, if it is kept."""
    rows: list[list[Words]] = []
    periods = current_periods(moves, runs)
    for name, number in reversed(numbers.items()):
        first = next(each for each in moves if each["release"] == name)
        scores = _release_scores(name, first["model_sha256"], runs, moves)
        spans = [
            f"{each.start:%Y-%m-%d} – {'now' if n + 1 == len(periods) else f'{each.end:%Y-%m-%d}'}"
            for n, each in enumerate(periods)
            if each.release == name
        ]
        metrics = [shown_number(scores.get(key), ".4f") for key in ("MAE", "R2")]
        rows.append([number, report_link(name), *metrics, "\n".join(spans), "\n".join(told(first, name, moves))])
    return Table("Releases", ["#", "name", "MAE", "R2", "current", "approved by"], rows)


def report_link(name: str) -> Link | str:
    """Return a link from the folder of reports to the report of a release; its name alone if the report is missing."""
    path = Releases().releases / name / Path(PAGE).name
    return Link(name, f"../{path.as_posix()}") if path.is_file() else name


def told(first: Move, name: str, moves: Sequence[Move]) -> list[str]:
    """Return who approved a release and why, and what happened to it later.

    Parameters
    ----------
    first
        The line of the history that deployed it first.
    name
        The release.
    moves
        All lines of the history.
    """
    words = [f"{who}: {why}" for who, why in zip(first["by"], first["reason"], strict=False)]
    words += [f"override: {each}" for each in first.get("override", [])]
    for each in [move for move in moves if move["release"] == name]:
        if each["action"] == "rollback":
            words.append(f"{each['at'][:10]} rolled back to: {'; '.join(each['reason'])}")
        if each["action"] == "prune":
            words.append(f"{each['at'][:10]} deleted")
    return words


def _release_scores(name: str, model_sha256: str, runs: Sequence[Run], moves: Sequence[Move]) -> dict[str, Any]:
    """Return MAE and R2 of a release as they were signed; those of a run with its model if it is pruned or altered."""
    releases = Releases()
    try:
        return dict(releases.json(name, releases.sign_off(name, moves), Path(METRICS).name)["model"]["test"])
    except (OSError, TaskError, KeyError):
        return next(({**each} for each in runs if each.get("model_sha256") == model_sha256), {})


def shown_number(value: float | None, form: str) -> Shown | None:
    """Return a cell with a number, or None."""
    return None if value is None else Shown(format(value, form), value)
