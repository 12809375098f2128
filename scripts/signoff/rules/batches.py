"""The file of a batch of new rows, by the name that a person gives."""

import sys
from pathlib import Path
from typing import Any

from signoff.base.errors import TaskError, nearest
from signoff.source.compressed import SUFFIXES

_BATCHES = Path("data/batches")


def _find_batch(name: str) -> Path:
    """Return the file of a batch in data/batches, NAME.csv or the same compressed.

    Raises
    ------
    TaskError
        The name is empty or leads out of the folder, or the batch does not exist, or exists more than once.
    """
    if not name:
        raise TaskError(f"a batch needs a name: BATCH=week (predictions/week.csv) scores {_BATCHES}/week.csv.")
    if name.startswith("/") or ".." in Path(name).parts:
        raise TaskError(
            f"the batch {name!r} is not in {_BATCHES}. Copy the file there and give its name, or score it with "
            "scripts/predict.py --input."
        )
    found = [path for end in ("", *SUFFIXES) if (path := _BATCHES / f"{name}.csv{end}").is_file()]
    if len(found) > 1:
        raise TaskError(f"the batch {name!r} has several files: {', '.join(map(str, found))}. Keep one of them.")
    if not found:
        files = _BATCHES.rglob("*.csv*") if _BATCHES.is_dir() else []
        known = sorted({str(path.relative_to(_BATCHES)).partition(".csv")[0] for path in files})
        raise TaskError(
            f"{_BATCHES / name}.csv does not exist, and neither does a compressed one ({', '.join(SUFFIXES)})"
            f"{f': {nearest(name, known)}' if known else '. Put the batch there.'}"
        )
    return found[0]


def batch_file(wildcards: Any) -> str:
    """Return the file of a batch, for the rule that scores it. Ends the run with one line if `find_batch` raises."""
    try:
        return str(_find_batch(wildcards.batch))
    except TaskError as error:
        sys.exit(f"ERROR - {error}")


def state_of_batch(path: str | None) -> str | None:
    """Return the size and the time of a file as text, which changes with it; None without a path or a file."""
    if path is None or not Path(path).is_file():
        return None
    found = Path(path).stat()
    return f"{found.st_size} {found.st_mtime_ns}"
