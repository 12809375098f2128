"""Run a Python command in a fork of a process that has imported what it will import.

Else the imports of Snakemake and pandas, some hundred times over, would be half of what the tests take. Each command is
a process of its own all the same, with its own arguments, environment, folder, streams and exit code.
"""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The tests' own search path: the commands have theirs.
OURS = {str(ROOT), str(ROOT / "scripts"), str(ROOT / "tests"), ""}
PRELOADED = ["snakemake.cli", "snakemake_executor_plugin_slurm", "snakemake_storage_plugin_s3", "rich.progress", "yte"]
PRELOADED += ["pandas", "pyarrow.csv", "pyarrow.compute", "jsonschema", "requests", "tenacity"]
PRELOADED += ["sklearn.compose", "sklearn.ensemble", "sklearn.pipeline", "matplotlib.figure"]
server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(PRELOADED)


def child(command: list[str], folder: str, environment: dict[str, str], output: str) -> None:
    """Be that command."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    streams = os.open(output, os.O_WRONLY)
    os.dup2(streams, 1)
    os.dup2(streams, 2)
    sys.argv = command
    sys.path[:] = [str(Path(command[0]).parent), *(each for each in sys.path if each not in OURS)]
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:
        # What an interpreter does at its end, and a fork does not.
        threading._shutdown()
        atexit._run_exitfuncs()


def run(command: list[str], cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess:
    """Run a Python script with its arguments; its two streams come back as one text."""
    if "PYTHONPATH" in env:
        # Python reads it when it starts.
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        words = [sys.executable, *map(str, command)]
        return subprocess.run(words, cwd=cwd, env=env, encoding="utf-8", timeout=900, check=False, **streams)
    with tempfile.NamedTemporaryFile() as output:
        process = server.Process(target=child, args=(list(map(str, command)), str(cwd), env, output.name))
        process.start()
        process.join(900)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(command, 900)
        text = Path(output.name).read_text(encoding="utf-8")
    return subprocess.CompletedProcess([*map(str, command)], process.exitcode, text)
