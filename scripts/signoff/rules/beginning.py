"""The environment and the command prefix of a run's tasks."""

import atexit
import os
import shlex
import shutil
import sys
import tempfile
import threading

from signoff.base.errors import TaskError
from signoff.base.surroundings import set_waiting_of_threads


def check_locale() -> None:
    """Raise TaskError if this Python reads the names of files and writes commands in another encoding than UTF-8."""
    if sys.getfilesystemencoding() != "utf-8":
        raise TaskError(
            "names and commands are not UTF-8 in this locale. Set PYTHONUTF8=1 in the environment, or use make, which "
            "does."
        )


def task_prefix(verbose: bool) -> str:
    """Return the shell words that begin each task's command.

    The task runs under the Python that runs Snakemake, whatever else is on the PATH. On a terminal its lines go
    through this process.
    """
    set_waiting_of_threads()
    found = f"export PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH; "
    if verbose:
        found += "export SIGNOFF_VERBOSE=1; "
    return found + (_relay() if sys.stderr.isatty() else "")


def _relay() -> str:
    """Return the shell words that send a task's lines through this process, which prints them above the progress bars.

    Written straight to the terminal, lines and bars would overwrite each other.
    """
    folder = tempfile.mkdtemp(prefix="signoff-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    pipe = os.path.join(folder, "stderr")
    os.mkfifo(pipe)
    # Open for writing too, so that reading does not end with the first task.
    lines = os.fdopen(os.open(pipe, os.O_RDWR), encoding="utf-8", errors="replace")
    # Rich replaces sys.stderr while its bars are shown, so it is looked up for each line.
    threading.Thread(target=lambda: [sys.stderr.write(line) for line in lines], daemon=True).start()
    return f"exec 2> {shlex.quote(pipe)}; "
