"""Run the workflow unattended: one run at a time, after any crash, with one line per run in logs/runs.jsonl.

    python scripts/weekly.py [--cores N]

Run in the project's folder. The exit code is Snakemake's, or 75 (try again later) while another run is going on.
"""

if __name__ == "__main__":
    from signoff.base.surroundings import isolate

    # Before a package of another Python is imported, which could be broken here.
    isolate()

import contextlib
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import psutil

from signoff.base import command_line
from signoff.base.errors import TaskError, explain
from signoff.base.files import (
    WORKFLOW,
    discard,
    only_file,
    open_lock,
    read_json,
    read_utf8,
    time_of_files,
    written_since,
)
from signoff.base.surroundings import run_environment
from signoff.config.settings import CONFIG_PATHS, read_config, refuse_code, required_config
from signoff.ops.all_models import outcome_of_all
from signoff.ops.folder import running_snakemake, running_words
from signoff.ops.many import has_many_models, many_models_here
from signoff.ops.notify import notify
from signoff.ops.runs import INGEST_RECORD, LOCK, lock_entry, read_runs, run_lines, write_runs
from signoff.release.approval import DIAGNOSTICS, METRICS, REPORT, utc_now
from signoff.release.live_record import LIVE_RECORD, broken_words, read_live
from signoff.release.store import Releases
from signoff.report.timeline import Run
from signoff.source.last_ingest import GOING_ON

_BUSY = 75
# What Snakemake and the tasks printed in the last run.
_SAID = Path("logs/weekly.txt")


@contextlib.contextmanager
def _only_one(at: str) -> Iterator[dict[str, Any] | None]:
    """Yield what a killed run left in the lock, or None. The lock records `at`, and ends with its process.

    Raises
    ------
    BlockingIOError
        Another process holds it. The message names the process and when it began.
    """
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    # A crash may have damaged it. Nothing is written before it is held.
    with open(open_lock(LOCK), "r+b") as file:
        held = lock_entry(file.read())
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = held or {"pid": "?", "since": "just now"}
            raise BlockingIOError(f"process {holder['pid']} runs since {holder['since']}") from error
        file.truncate(0)
        file.seek(0)
        file.write(json.dumps({"pid": os.getpid(), "since": at}).encode())
        file.flush()
        try:
            yield held
        finally:
            file.truncate(0)


def _snakemake(*arguments: str) -> list[str]:
    """Return the command that runs the workflow on the project in this folder."""
    command = [sys.executable, str(WORKFLOW / "scripts/run_snakemake.py"), "--snakefile", str(WORKFLOW / "Snakefile")]
    config = required_config()
    # The workflow's own profile alone: another one could run a part, touch files, or ignore new data. A profile in the
    # project's folder is not looked at either.
    command += ["--profile", "none", "--workflow-profile", str(WORKFLOW / "profiles/default")]
    return [*command, *arguments, "--directory", ".", "--configfile", config]


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Tell a Snakemake and its tasks to end."""
    for each in psutil.Process(child.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            each.terminate()
    # As Ctrl-C: at SIGTERM it would wait for its tasks, and at two of them for ever, for a lock that it holds itself.
    child.send_signal(signal.SIGINT)


def _targets() -> list[str]:
    """Return Snakemake's targets: the diagnostics of one model, its report if messages lead to it, and the live record.

    With many models, these are the reports of all. All targets are needed even if a new model fails.
    """
    found = [str(LIVE_RECORD)] if Releases().current() else []
    # If the config is wrong, Snakemake reports it.
    with contextlib.suppress(TaskError):
        config = read_config()[0]
        if has_many_models(config):
            # With the reports and live records of all models.
            found = [REPORT]
        else:
            found += [DIAGNOSTICS]
            found += [REPORT] if config.report.url or config.notify.attach_report else []
    return ["--keep-going", "all", *found] if found else []


def weekly(cores: str) -> int:
    """Run the workflow up to its verdict and its diagnostics, and return Snakemake's exit code.

    The alarms of the diagnostics are what a threshold misses, so they do not wait until somebody asks for a report.

    The caller has made sure that no other Snakemake runs here.
    """
    discard(_SAID)
    refuse_code([each for each in CONFIG_PATHS if Path(each).is_file()])
    # To a file, not to a pipe: if this process is killed, Snakemake is to go on.
    with open(_SAID, "xb") as said, open(_SAID, encoding="utf-8", errors="replace", opener=only_file) as new:
        command, environment = _snakemake("--cores", cores, *_targets()), run_environment(Path.cwd())
        child = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
        try:
            while True:
                exit_code = child.poll()
                sys.stderr.write(new.read())
                sys.stderr.flush()
                if exit_code is not None:
                    return exit_code
                time.sleep(0.1)
        finally:
            # Stopped from outside: the tasks leave the last good files as they were.
            while child.poll() is None:
                _stop(child)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(10)


def _outcome(started: float, exit_code: int | None) -> dict[str, Any]:
    """Return the outcome of a run that began at `started` (of `time_of_files`), from the files that it left."""
    found: dict[str, Any] = {"exit_code": exit_code, "verdict": "error", "cause": None}
    said = read_utf8(_SAID, errors="replace").splitlines() if _SAID.is_file() else []
    stale = [line for line in said if GOING_ON in line]
    if stale:
        found["stale"] = stale[-1].rpartition(" - WARNING - ")[2]
    for log in written_since(Path("logs").glob("*.log"), started) if exit_code else []:
        lines = read_utf8(log, errors="replace").splitlines()
        if errors := [line for line in lines if " - ERROR - " in line]:
            found |= {"cause": errors[-1].partition(" - ERROR - ")[2], "log": str(log)}
    if exit_code and not found["cause"]:
        # Snakemake itself has failed, or was stopped.
        errors = [line for line in said if line.startswith("ERROR - ")] or [line for line in said if line.strip()]
        errors = errors or ["it stopped before Snakemake said a word"]
        found |= {"cause": errors[-1].removeprefix("ERROR - ").strip(), "log": str(_SAID)}
        found["cause"] += f" (Snakemake was ended by signal {-exit_code})" if exit_code < 0 else ""
    try:
        found["release"] = Releases().current()
        if INGEST_RECORD.is_file():
            record = read_json(INGEST_RECORD)
            found |= {"source_version": record["source_version"], "rows": record["records"]}
        many = many_models_here()
        verdict_log = Path("logs/models_verdict.log" if many else "logs/verdict.log")
        judged = exit_code == 0 or (verdict_log.is_file() and verdict_log.stat().st_mtime >= started)
        if judged and many:
            found |= {"verdict": "passed" if exit_code == 0 else "failed", **outcome_of_all()}
        elif judged:
            metrics = read_json(Path(METRICS))
            test = metrics["model"]["test"]
            found |= {"verdict": "passed" if exit_code == 0 else "failed", "MAE": test["MAE"], "R2": test["R2"]}
            found["model_sha256"] = metrics["model_sha256"]
            found["alarms"] = _alarms_of_model(metrics["model_sha256"])
            found["thresholds"] = {each["name"]: each["limit"] for each in metrics["thresholds"]}
    except Exception as error:
        # The run has its line whatever state the files are in.
        found["cause"] = found["cause"] or explain(error)
    return found


def _live_outcome() -> dict[str, Any]:
    """Return what the live record says of the current release, and fall back to the release before if it is configured.

    Only a record of the current release counts. A rollback that is not possible is reported.
    """
    live, release = read_live(), Releases().current()
    if live is None or release is None or live["release"] != release:
        return {}
    found: dict[str, Any] = {}
    if names := sorted({each["name"] for each in live["alarms"]} | {f"live.{each['name']}" for each in live["broken"]}):
        found["live"] = names
    if live["broken"] and _asks_for_rollback():
        reason = f"by the rule live.on_failure: {broken_words(live['broken'][0])}"
        command = [sys.executable, str(Path(__file__).with_name("rollback.py")), f"--reason={reason}"]
        command += ["--log", "logs/rollback.log"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=run_environment(Path.cwd()))
        if done.returncode:
            found["rollback_failed"] = (done.stderr.strip().splitlines() or ["no message"])[-1].partition(
                " - ERROR - "
            )[2]
            logging.error("[weekly] the rollback that live.on_failure asks for failed: %s", found["rollback_failed"])
        else:
            found |= {"rolled_back": release, "release": Releases().current()}
            logging.warning("[weekly] %s is current again instead of %s: %s", found["release"], release, reason)
    return found


def _asks_for_rollback() -> bool:
    """Return whether the config asks for a rollback if a limit is broken; a config that is wrong asks for none."""
    try:
        return read_config()[0].live.on_failure == "rollback"
    except TaskError:
        # The run has failed for this reason, and its line says so.
        return False


def _alarms_of_model(model_sha256: str) -> list[dict[str, Any]]:
    """Return the name and the sentence of each alarm of a model; none if the diagnostics are of another one."""
    if not Path(DIAGNOSTICS).is_file():
        return []
    diagnostics = read_json(Path(DIAGNOSTICS))
    if diagnostics.get("model_sha256") != model_sha256:
        return []
    return [{name: each[name] for name in ("name", "sentence")} for each in diagnostics["alarms"]]


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--cores", default="all", help="how many cores Snakemake may use")
    args = parser.parse_args(argv)
    with command_line.logged("weekly", args, Path.cwd()):
        _snakemake()
    # A shell that starts it in the background makes it, and the Snakemake that it starts, deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    at, started, exit_code = utc_now(), time.time(), None
    try:
        with _only_one(at) as killed:
            # A run that is killed while it notifies people already has its line.
            if killed and killed["since"] not in {run["at"] for run in read_runs()[0]}:
                lost = {"at": killed["since"], "exit_code": None, "verdict": "killed", "cause": "it was killed"}
                write_runs(run_lines(), lost)
            other = running_snakemake()
            if other is not None:
                raise BlockingIOError(running_words(other))
            earlier, lines = read_runs()[0], run_lines()
            began = time_of_files(Path("logs"))
            try:
                exit_code = weekly(args.cores)
            except KeyboardInterrupt:
                exit_code = 128 + signal.SIGINT
            except SystemExit as ended:
                exit_code = ended.code if isinstance(ended.code, int | None) else 1
            except Exception as error:
                logging.error("[weekly] %s", explain(error))
                exit_code = 1
            run = {"at": at, "seconds": round(time.time() - started, 1), **_outcome(began, exit_code)}
            # The files that an interrupted run leaves may be of an earlier week.
            run |= _live_outcome() if exit_code in (0, 1) else {}
            write_runs(lines, run)
            write_runs(lines, run | notify(cast(Run, run), earlier))
            history = [sys.executable, str(Path(__file__).with_name("history.py")), "--log", "logs/history.log"]
            environment = run_environment(Path.cwd())
            subprocess.run(history, check=False, stderr=subprocess.DEVNULL, env=environment)
    except BlockingIOError as error:
        logging.error("[weekly] %s in %s. Try again later.", error, Path.cwd())
        sys.exit(_BUSY)
    except (TaskError, OSError) as error:
        # For example, the disk is full: the run is over, but cannot be recorded.
        logging.error("[weekly] %s", explain(error))
        sys.exit(exit_code or 1)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
