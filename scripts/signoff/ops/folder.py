"""Which processes work in a project's folder."""

import os
import sys
import time
from pathlib import Path

import psutil

from signoff.base.files import WORKFLOW

_SCRIPTS = WORKFLOW / "scripts"


def say(what: str) -> None:
    """Print a line with the name of the folder to standard error."""
    print(f"{what} ({Path.cwd()})", file=sys.stderr, flush=True)


def running_words(process: psutil.Process) -> str:
    """Return in words which Snakemake is running, and since when (UTC)."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(process.create_time()))
    return f"Snakemake (process {process.pid}) runs since {since}"


def running_snakemake() -> psutil.Process | None:
    """Return another Snakemake that works in this folder, or None."""
    for process in psutil.process_iter(["cwd", "cmdline"]):
        words = process.info["cmdline"] or []
        is_snakemake = any(Path(word).name in ("snakemake", "run_snakemake.py") for word in words[:3])
        if is_snakemake and process.info["cwd"] == os.getcwd() and process.pid != os.getpid():
            return process
    return None


def orphans() -> list[psutil.Process]:
    """Return the tasks that run in this folder, with a command line as a rule writes it."""
    found = []
    for process in psutil.process_iter(["cwd", "cmdline"]):
        words = process.info["cmdline"] or []
        # One that asks a warm parent has its own program, with options, before the script.
        ours = process.info["cwd"] == os.getcwd() and any(
            Path(word).resolve().parent == _SCRIPTS for word in words[1:4]
        )
        if ours and any(word.startswith("--log=") for word in words):
            found.append(process)
    return found
