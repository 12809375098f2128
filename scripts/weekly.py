"""Run the workflow unattended: once at a time, whatever a killed run has left, with one line a run in logs/runs.jsonl.

    python scripts/weekly.py [--cores N]

Run in the project's folder. The exit code is Snakemake's; 75 (try again later) where another run goes on.
"""

import contextlib
import fcntl
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

import task
from approval import METRICS, WORKFLOW, utc_now
from release import current_release
from settings import USUAL
from task import TaskError, read_json

RUNS = Path("logs/runs.jsonl")
LOCK = Path("logs/weekly.lock")
RECORD = Path("data/raw/raw_data.json")
BUSY = 75


@contextlib.contextmanager
def only_one() -> Iterator[dict | None]:
    """Yield what a killed run has left in the lock, if there was one. The lock goes with its process.

    Raises
    ------
    BlockingIOError
        Another process holds it; the message says which, since when.
    """
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with open(LOCK, "a+", encoding="utf-8") as file:
        file.seek(0)
        held = file.read()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = json.loads(held) if held else {"pid": "?", "since": "just now"}
            raise BlockingIOError(f"process {holder['pid']} runs since {holder['since']}") from error
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "since": utc_now()}))
        file.flush()
        yield json.loads(held) if held else None
        file.truncate(0)


def running_snakemake() -> psutil.Process | None:
    """Return a Snakemake that works in this folder."""
    for process in psutil.process_iter(["cwd", "cmdline"]):
        words = process.info["cmdline"] or []
        is_snakemake = any(Path(word).name == "snakemake" for word in words[:3])
        if is_snakemake and process.info["cwd"] == os.getcwd() and process.pid != os.getpid():
            return process
    return None


def snakemake(*arguments: str) -> list[str]:
    """Return the command that runs the workflow on the project in this folder."""
    command = [str(Path(sys.executable).with_name("snakemake")), "--snakefile", str(WORKFLOW / "Snakefile")]
    config = next((each for each in USUAL if Path(each).is_file()), None)
    if config is None:
        raise TaskError(f"there is no {' and no '.join(USUAL)} here. Go to the project's folder.")
    return [*command, *arguments, "--directory", ".", "--configfile", config]


def weekly(cores: str) -> int:
    """Run the workflow up to its verdict, and return Snakemake's exit code.

    A lock that a killed Snakemake has left is cleared first; the caller has made sure that none runs here.
    """
    if any(Path(".snakemake/locks").glob("*")):
        logging.warning("[weekly] clearing the lock that a killed Snakemake has left")
        subprocess.run(snakemake("--unlock"), check=True, capture_output=True)
    child = subprocess.Popen(snakemake("--cores", cores))
    try:
        return child.wait()
    finally:
        # Stopped from outside: its tasks restore the last good files.
        if child.poll() is None:
            child.terminate()
            child.wait()


def outcome(started: float, exit_code: int | None) -> dict:
    """Return what a run that began at `started` (seconds since 1970) came to, from the files that it left."""
    found: dict = {"exit_code": exit_code, "verdict": "error", "cause": None}
    if RECORD.is_file():
        record = read_json(RECORD)
        found |= {"source_version": record["source_version"], "rows": record["records"]}
    verdict_log = Path("logs/verdict.log")
    judged = exit_code == 0 or (verdict_log.is_file() and verdict_log.stat().st_mtime >= started - 1)
    if judged and Path(METRICS).is_file():
        metrics = read_json(METRICS)
        test = metrics["model"]["test"]
        found |= {"verdict": "passed" if exit_code == 0 else "failed", "MAE": test["MAE"], "R2": test["R2"]}
        found |= {"model_sha256": metrics["model_sha256"]}
    for log in sorted(Path("logs").glob("*.log"), key=lambda path: path.stat().st_mtime) if exit_code else []:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line for line in lines if " - ERROR - " in line]
        if errors and log.stat().st_mtime >= started - 1:
            found["cause"] = errors[-1].partition(" - ERROR - ")[2]
    return {**found, "release": current_release()}


def append(line: dict) -> None:
    """Add one line to the list of runs, on disk when this returns."""
    with open(RUNS, "a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def main(argv: list[str] | None = None) -> None:
    parser = task.arguments(__doc__)
    parser.add_argument("--cores", default="all", help="how many cores Snakemake may use")
    args = parser.parse_args(argv)
    with task.logged("weekly", args, Path.cwd()):
        snakemake()
    try:
        with only_one() as killed:
            other = running_snakemake()
            if other is not None:
                since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(other.create_time()))
                raise BlockingIOError(f"Snakemake (process {other.pid}) runs since {since}")
            if killed:
                append({"at": killed["since"], "exit_code": None, "verdict": "killed", "cause": "it was killed"})
            at, started, exit_code = utc_now(), time.time(), None
            try:
                exit_code = weekly(args.cores)
            except SystemExit as stop:
                exit_code = stop.code
                raise
            finally:
                append({"at": at, "seconds": round(time.time() - started, 1), **outcome(started, exit_code)})
    except BlockingIOError as error:
        logging.error("[weekly] %s in %s. Try again later.", error, Path.cwd())
        sys.exit(BUSY)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
