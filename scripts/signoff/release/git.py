"""Run git on a repository that others may have prepared."""

import os
import subprocess
from pathlib import Path

# A hook's variables name its repository; these say where git looks for one, and which settings it reads.
_KEPT = ("GIT_CEILING_DIRECTORIES", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
# Objects that are shown in the place of others, a file that tells the parents of commits, and a setting that runs a
# program.
_PLAIN = ("--no-replace-objects", "-c", "core.commitGraph=false", "-c", "core.fsmonitor=false")


def run_git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes] | None:
    """Return what git says in a folder; None if git is not installed.

    Replaced objects are ignored, and so are variables that name another repository or other objects.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in _KEPT}
    command = ["git", *_PLAIN, "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=False, env={**environment, "LC_ALL": "C"})
    except FileNotFoundError:
        return None
