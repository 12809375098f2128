"""The state of a project: its last runs, its data, its release, and what waits for a person."""

from pathlib import Path
from typing import NamedTuple

from signoff.base.errors import TaskError
from signoff.base.files import parsed_json, read_bytes, read_json, read_utf8
from signoff.config.settings import read_config
from signoff.ops.runs import INGEST_RECORD
from signoff.release.approval import (
    DIAGNOSTICS,
    METRICS,
    REPORT,
    SIGN_OFF,
    check_approval,
    check_new,
    read_sign_off,
    reviewed_bytes,
)
from signoff.release.form import Move
from signoff.release.live_record import newest_words, read_live, warnings
from signoff.release.store import Releases, last_move
from signoff.report.timeline import Run
from signoff.source.last_ingest import age


class NextStep(NamedTuple):
    """The next task for a person: `waits` is run, report, review, approval, deploy or nothing; `words` describe it."""

    waits: str
    words: str


def standing() -> list[str]:
    """Return the lines on the data, the release, and what waits for a person.

    Raises
    ------
    TaskError
        The history of releases was altered, or a file is damaged.
    """
    lines = [data_line()]
    release, history = Releases().current(), Releases().history()
    moved = last_move(history)
    if release is None:
        lines.append("Release     none yet")
    elif moved is None:
        lines.append(f"Release     {release}, which the history does not name; see make verify")
    else:
        lines.append(f"Release     {release}, current for {age(moved['at'])} ({moved['action']})")
        live = read_live()
        if live and (words := newest_words(live["weeks"], release)):
            lines.append(f"Live        {words}")
        lines += [f"Live alarm  {each}" for each in warnings(live, release)]
    return [*lines, f"Next        {next_step(release, history).words}"]


def data_line() -> str:
    """Return the line on the data."""
    if not INGEST_RECORD.is_file():
        return "Data        none yet"
    record = read_json(INGEST_RECORD)
    return f"Data        {record['records']:,} rows of {record['source']}, new {age(record['ingested_at'])} ago"


def described_run(run: Run) -> str:
    """Return a run in words."""
    words = run["verdict"]
    if "MAE" in run:
        words += f", MAE {run['MAE']:.4f}, R2 {run['R2']:.4f}" if run["R2"] is not None else f", MAE {run['MAE']:.4f}"
    if "models" in run:
        words += f", {run['models']:,} models ({run['models_failed']:,} failed, {run['models_waiting']:,} wait)"
    words += f", {run['rows']:,} rows" if "rows" in run else ""
    words += f", {run['seconds']:.0f} s" if "seconds" in run else ""
    words += ", on the last data" if "stale" in run else ""
    if alarms := run.get("alarms"):
        words += f", {len(alarms)} alarm{'s' if len(alarms) > 1 else ''} ({', '.join(each['name'] for each in alarms)})"
    why = [each for each in (run.get("cause"), run.get("stale")) if each]
    why += [f"the rollback failed: {run['rollback_failed']}"] if "rollback_failed" in run else []
    return words + (f": {'; '.join(why)}" if why else "")


def next_step(release: str | None, history: list[Move]) -> NextStep:
    """Return what waits for a person.

    Parameters
    ----------
    release
        The current release; None if nothing is deployed.
    history
        The lines of the history.
    """
    if not Path(METRICS).is_file():
        return NextStep("run", "make run")
    model = parsed_json(read_bytes(Path(METRICS)), Path(METRICS))["model_sha256"]
    released = [each["release"] for each in history if each.get("model_sha256") == model]
    if release in released:
        return NextStep("nothing", "nothing: the last model is deployed")
    if released and history[-1]["action"] == "rollback":
        return NextStep("nothing", "nothing: the last model was deployed, and taken back")
    return _signed_step(model) or _review_step(model)


def _signed_step(model: str) -> NextStep | None:
    """Return the next step after the sign-off of a model; None if this model has no sign-off."""
    if not SIGN_OFF.is_file():
        return None
    try:
        document = read_sign_off(SIGN_OFF)
        if model not in document["files"].values():
            return None
        check_new(document, SIGN_OFF)
        check_approval(document, read_config()[0].release, reviewed_bytes(DIAGNOSTICS, document["files"]))
    except TaskError as error:
        return NextStep("approval", f"the sign-off is not enough: {error}")
    decisions = ", ".join(f"{each['reviewer']}: {each['decision']}" for each in document["decisions"])
    return NextStep("deploy", f"make deploy ({decisions})")


def _review_step(model: str) -> NextStep:
    """Return how to review a model that nobody has decided on."""
    # The verdict is written last, and only for a run that passed.
    judged = Path("reports/verdict.json")
    passed = judged.is_file() and judged.stat().st_mtime_ns >= Path(METRICS).stat().st_mtime_ns
    words = f"a model whose verdict is {'passed' if passed else 'failed'} waits for review:"
    report = Path(REPORT)
    if report.is_file() and model in read_utf8(report, errors="replace"):
        return NextStep("review", f"{words} read {REPORT}, then make sign-off")
    return NextStep("report", f"{words} make report")
