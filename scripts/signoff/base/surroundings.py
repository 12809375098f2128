"""What a run takes from the account that starts it: a name, a folder for caches, and no other Python's packages."""

import getpass
import os
import pwd
from pathlib import Path

# Packages of another Python would be imported in place of those that are pinned.
_FOREIGN = ("PYTHONPATH", "PYTHONHOME")


def user_name() -> str:
    """Return the name of the account; in a container it may have none but its number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def run_environment(folder: Path) -> dict[str, str]:
    """Return the environment variables for a Snakemake that works in `folder`.

    In a container the account may have no name, and its home may be missing or read-only: caches then go into the
    folder. The Makefile does the same.
    """
    found = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
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
