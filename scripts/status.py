"""Say how the project stands, from its files alone: the last runs, the data, the release, what waits for whom.

python scripts/status.py
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import task
from approval import METRICS, REPORT, SIGN_OFF, check_decisions
from last_ingest import age
from release import current_release, read_history
from runs import LOCK, RECORD, RUNS, read_runs
from settings import read_config
from task import TaskError, printable, read_json


def status(runs: int = 5) -> list[str]:
    """Return the lines that tell how the project in this folder stands, with at most so many of the last runs.

    Raises
    ------
    TaskError
        The history of releases was altered, or a file is damaged.
    """
    found, warnings = read_runs()
    last = reversed(found[-runs:])
    lines = [f"{'Runs' if n == 0 else '':<12}{each['at']}  {told(each)}" for n, each in enumerate(last)]
    lines = [*(lines or [f"Runs        none yet ({RUNS})"]), *(f"Warning     {each}" for each in warnings)]
    holder, alive = lock_holder()
    if holder and alive:
        lines.append(f"Running     since {holder['since']}, process {holder['pid']}")
    elif holder:
        lines.append(f"Killed      the run that began at {holder['since']}; the next one clears what it has left")
    return [*lines, *standing()]


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


def lock_holder() -> tuple[dict | None, bool]:
    """Return process and time of a weekly run that goes on, or was killed, and which of the two."""
    import fcntl

    if not LOCK.is_file():
        return None, False
    with open(LOCK, encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return json.loads(file.read() or '{"pid": "?", "since": "just now"}'), True
        held = file.read()
    return (json.loads(held) if held else None), False


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


def main(argv: list[str] | None = None) -> None:
    parser = task.arguments(__doc__)
    parser.add_argument("--runs", type=int, default=5, help="how many of the last runs to show")
    args = parser.parse_args(argv)
    try:
        lines = [f"Now         {datetime.now(UTC).isoformat(timespec='seconds')}", *status(args.runs)]
    except TaskError as error:
        with task.logged("status", args, Path.cwd()):
            raise error
    print(*map(printable, lines), sep="\n")


if __name__ == "__main__":
    main()
