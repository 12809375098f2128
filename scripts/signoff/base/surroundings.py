"""What a run takes from the account that starts it: a name, a folder for caches, text as UTF-8, no foreign packages."""

import getpass
import io
import os
import pwd
import sys
from pathlib import Path

# Packages of another Python would be imported in place of those that are pinned.
_FOREIGN = ("PYTHONPATH", "PYTHONHOME")


def user_name() -> str:
    """Return the name of the account; in a container it may have none but its number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def use_utf8() -> None:
    """Read and write text as UTF-8 whatever the locale is, and print what the terminal cannot show as escapes.

    Python decides about the names of files and the words of a command line when it starts. In a locale such as
    de_DE.ISO-8859-1 the program is therefore replaced by itself in UTF-8 mode; its streams keep the encoding of the
    terminal. The locale C does not know one, and gets UTF-8.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.ignore_environment:
        streams = {} if sys.stdout.encoding == "ascii" else {"PYTHONIOENCODING": sys.stdout.encoding}
        _start_again({**streams, **os.environ, "PYTHONUTF8": "1"})
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.encoding.lower() != "utf-8":
        sys.stdout.reconfigure(errors="backslashreplace")


def isolate() -> None:
    """Replace the program by itself without the paths of another Python's packages, if the environment has any."""
    if any(name in os.environ for name in _FOREIGN):
        _start_again({name: value for name, value in os.environ.items() if name not in _FOREIGN})


def _start_again(environment: dict[str, str]) -> None:
    """Replace this process by the same command with other environment variables."""
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def set_waiting_of_threads() -> None:
    """Let OpenMP's threads, in processes that this one starts, wait a moment before they sleep.

    By default they use a core for long that other jobs could use (twice the time on a busy machine). Asleep at once,
    each of a model's thousands of waits costs more than the work between them.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def run_environment(folder: Path) -> dict[str, str]:
    """Return the environment variables for a Snakemake that works in `folder`.

    In a container the account may have no name, and its home may be missing or read-only: caches then go into the
    folder. The Makefile does the same.
    """
    found = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    # What Snakemake and the tasks say goes to files.
    found |= {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}
    found["USER"] = found.get("USER") or user_name()
    found["HOME"] = found.get("HOME") or _registered_home()
    caches = Path(found.get("XDG_CACHE_HOME") or Path(found["HOME"], ".cache"))
    if not _is_writable(caches / "snakemake"):
        own = folder.resolve() / ".snakemake/cache"
        own.mkdir(parents=True, exist_ok=True)
        found |= {"XDG_CACHE_HOME": str(own), "MPLCONFIGDIR": str(own / "matplotlib")}
    return found


def _registered_home() -> str:
    """Return the home of the account, / if it has no entry in the list of accounts."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return "/"


def _is_writable(folder: Path) -> bool:
    """Return whether files can be created in a folder, which is created first if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
