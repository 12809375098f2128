"""Say how the project stands, from its files alone: the last runs, the data, the release, what waits for whom.

python scripts/status.py
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import task
from approval import METRICS, REPORT, SIGN_OFF
from release import current_release, read_history
from source import age
from task import TaskError, read_json
from weekly import LOCK, RECORD, RUNS


def status(runs: int = 5) -> list[str]:
    """Return the lines that tell how the project in this folder stands, with at most so many of the last runs.

    Raises
    ------
    TaskError
        The history of releases was altered, or a file is damaged.
    """
    lines = [f"Runs        none yet ({RUNS})"]
    if RUNS.is_file():
        last = [json.loads(line) for line in RUNS.read_text(encoding="utf-8").splitlines()[-runs:]]
        lines = [f"{'Runs' if n == 0 else '':<12}{each['at']}  {told(each)}" for n, each in enumerate(reversed(last))]
    if running():
        lines.append(f"Running     since {running()['since']}, process {running()['pid']}")
    if RECORD.is_file():
        record = read_json(RECORD)
        lines.append(f"Data        {record['records']:,} rows of {record['source']}, new {age(record)} ago")
    else:
        lines.append("Data        none yet")
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
    return words + (f": {run['cause']}" if run["cause"] else "")


def running() -> dict | None:
    """Return process and time of a weekly run that goes on."""
    import fcntl

    if not LOCK.is_file():
        return None
    with open(LOCK, encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return json.loads(file.read() or '{"pid": "?", "since": "just now"}')
    return None


def next_step(release: str | None, history: list[dict]) -> str:
    """Return what waits for a person."""
    if not Path(METRICS).is_file():
        return "make run"
    metrics = read_json(METRICS)
    deployed = {each["model_sha256"] for each in history if each["action"] == "deploy" and each["release"] == release}
    if metrics["model_sha256"] in deployed:
        return "nothing: the last model is deployed"
    if SIGN_OFF.is_file() and read_json(SIGN_OFF)["files"].get("model/model.pkl") == metrics["model_sha256"]:
        decisions = ", ".join(f"{each['reviewer']}: {each['decision']}" for each in read_json(SIGN_OFF)["decisions"])
        return f"make deploy ({decisions})"
    report = Path(REPORT)
    if report.is_file() and metrics["model_sha256"] in report.read_text(encoding="utf-8"):
        return f"a model whose verdict is {metrics['verdict']} waits for review: read {REPORT}, then make sign-off"
    return f"a model whose verdict is {metrics['verdict']} waits for review: make report"


def main(argv: list[str] | None = None) -> None:
    parser = task.arguments(__doc__)
    parser.add_argument("--runs", type=int, default=5, help="how many of the last runs to show")
    args = parser.parse_args(argv)
    try:
        lines = [f"Now         {datetime.now(UTC).isoformat(timespec='seconds')}", *status(args.runs)]
    except TaskError as error:
        with task.logged("status", args, Path.cwd()):
            raise error
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
