"""The state of a project: its last runs, its data, its release, and what waits for a person."""

from pathlib import Path

from signoff.base.errors import TaskError
from signoff.base.files import read_json
from signoff.config.settings import read_config
from signoff.ops.runs import RECORD
from signoff.release.approval import METRICS, REPORT, SIGN_OFF, check_decisions
from signoff.release.store import current_release, read_history
from signoff.source.last_ingest import age


def standing() -> list[str]:
    """Return the lines that tell of the data, the release, and what waits for a person; raises as `status` does."""
    lines = ["Data        none yet"]
    if RECORD.is_file():
        record = read_json(RECORD)
        lines = [f"Data        {record['records']:,} rows of {record['source']}, new {age(record)} ago"]
    release, history = current_release(), read_history()
    if release is None:
        lines.append("Release     none yet")
    else:
        moved = next(each for each in reversed(history) if each["action"] != "prune")
        lines.append(f"Release     {release}, current for {age({'ingested_at': moved['at']})} ({moved['action']})")
    return [*lines, f"Next        {next_step(release, history)}"]


def told(run: dict) -> str:
    """Return a run in words."""
    words = run["verdict"]
    if "MAE" in run:
        words += f", MAE {run['MAE']:.4f}, R2 {run['R2']:.4f}" if run["R2"] is not None else f", MAE {run['MAE']:.4f}"
    words += f", {run['rows']:,} rows" if "rows" in run else ""
    words += f", {run['seconds']:.0f} s" if "seconds" in run else ""
    words += ", on the last data" if "stale" in run else ""
    why = [run[key] for key in ("cause", "stale") if run.get(key)]
    return words + (f": {'; '.join(why)}" if why else "")


def next_step(release: str | None, history: list[dict]) -> str:
    """Return what waits for a person."""
    if not Path(METRICS).is_file():
        return "make run"
    metrics = read_json(METRICS)
    # Written last, and only for a run that passed.
    judged = Path("reports/verdict.json")
    passed = judged.is_file() and judged.stat().st_mtime_ns >= Path(METRICS).stat().st_mtime_ns
    verdict = "passed" if passed else "failed"
    released = [each["release"] for each in history if each.get("model_sha256") == metrics["model_sha256"]]
    if release in released:
        return "nothing: the last model is deployed"
    if released and history[-1]["action"] == "rollback":
        return "nothing: the last model was deployed, and taken back"
    if SIGN_OFF.is_file() and metrics["model_sha256"] in read_json(SIGN_OFF)["files"].values():
        try:
            check_decisions(read_json(SIGN_OFF), read_config()[0]["release"])
        except TaskError as error:
            return f"the sign-off is not enough: {error}"
        decisions = ", ".join(f"{each['reviewer']}: {each['decision']}" for each in read_json(SIGN_OFF)["decisions"])
        return f"make deploy ({decisions})"
    report = Path(REPORT)
    if report.is_file() and metrics["model_sha256"] in report.read_text(encoding="utf-8"):
        return f"a model whose verdict is {verdict} waits for review: read {REPORT}, then make sign-off"
    return f"a model whose verdict is {verdict} waits for review: make report"
