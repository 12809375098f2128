"""Outputs that a power cut or a failing disk has damaged: the next run that needs them rebuilds them.

Snakemake looks at names and times. A truncated file, or one full of NUL bytes, counts as a valid output, and each task
that reads it would fail until somebody deletes it.
"""

import codecs
import csv
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from signoff.base.files import any_json, only_file, read_bytes

_PIECE = 1 << 16
_HEX = re.compile(rb"[0-9a-f]{64}")
_DIGEST = rb"[0-9a-f]{64}` \|\n$"


def damaged(outputs: Iterable[str]) -> Iterator[tuple[Path, str]]:
    """Yield the damaged files among the outputs of a job, each with its problem in words."""
    for path in map(Path, outputs):
        if path.exists() and not path.is_file() and path.suffix in _CHECKS:
            yield path, "not a file"
        if not path.is_file():
            continue
        problem = _problem(path)
        if problem:
            yield path, problem
        elif path.parts[-2:] == ("weeks", "plan.json"):
            # The job also writes the weeks.
            yield from ((each, "not a whole Parquet file") for each in _broken_weeks(path.parent))


def changed_files(marker: Path) -> list[str]:
    """Return the models that failed in the job of a chunk, and the files changed or deleted since it listed them.

    Parameters
    ----------
    marker
        The output of that job. If it is damaged, the list is empty: it is rebuilt anyway.
    """
    try:
        listed = any_json(read_bytes(marker))
        found, files = list(listed.get("failed", ())), dict(listed["files"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    for path, expected in files.items():
        try:
            now = os.stat(path)
        except OSError:
            found.append(path)
            continue
        # To look into the files of thousands of models would take too long.
        inside = marker.parts[0] != "models" and any(damaged([path]))
        if inside or [now.st_size, now.st_mtime_ns] != expected:
            found.append(path)
    return found


def _problem(path: Path) -> str | None:
    """Return the problem of a file; None if it is intact, or of a kind that is not checked."""
    look = _CHECKS.get(path.suffix)
    if look is None:
        return None
    return "empty" if path.stat().st_size == 0 else look(path)


def _json(path: Path) -> str | None:
    try:
        return None if isinstance(any_json(read_bytes(path)), dict) else "not a JSON object"
    except ValueError:
        return "not valid JSON"


def _text(path: Path) -> str | None:
    head, tail = _ends(path)
    if b"\0" in (head[:1], tail[-1:]):
        return "NUL bytes"
    # The first piece may end, and the last one begin, within a character.
    start = next((n for n, byte in enumerate(tail[:4]) if byte & 0xC0 != 0x80), 0)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < _PIECE)
        tail[start:].decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8"
    return None


def _csv(path: Path) -> str | None:
    problem = _text(path)
    head, tail = _ends(path)
    if problem:
        return problem
    if path.name == "holdout_predictions.csv":
        # Nobody edits it, and no cell has a line break: a file that was cut between two rows is noticed, too.
        return _rows_missing(path)
    if tail.endswith(b"\n"):
        return None
    # An edited CSV file may lack the last line break, but not fields.
    header, last = (
        next(csv.reader(io.StringIO(each.decode("utf-8", "replace"))), [])
        for each in (head.partition(b"\n")[0], tail.rpartition(b"\n")[2])
    )
    return "its last row is cut" if len(last) < len(header) else None


def _rows_missing(path: Path) -> str | None:
    """Return the problem of the held-out rows if they are fewer or more than the metrics beside them count."""
    try:
        rows = any_json(read_bytes(path.with_name("evaluation_metrics.json")))["model"]["test"]["rows"]
    except (OSError, ValueError, KeyError, TypeError):
        # The metrics are rebuilt, and the rows with them.
        return None
    with open(path, "rb", opener=only_file) as file:
        found = sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b"")) - 1
    return None if found == rows else f"it has {found:,} rows instead of {rows:,}"


def _page(path: Path) -> str | None:
    return _text(path) or (None if _ends(path)[1].rstrip().endswith(b"</html>") else "its end is missing")


def _markdown(path: Path) -> str | None:
    problem, end = _text(path), _ends(path)[1]
    # The report ends with the digests of what it was written from, and the page with the same ones.
    if path.name == "final_report.md" and not problem:
        page = path.with_suffix(".html")
        last = _HEX.findall(_ends(page)[1])[-1:] if page.is_file() else []
        whole = re.search(_DIGEST, end) and (not last or _HEX.findall(end)[-1:] == last)
    else:
        whole = end.endswith(b"\n")
    return problem or (None if whole else "its end is missing")


def _picture(path: Path) -> str | None:
    head, tail = _ends(path)
    whole = head.startswith(b"\x89PNG\r\n\x1a\n") and tail.endswith(b"IEND\xaeB`\x82")
    return None if whole else "not a whole PNG picture"


def _model(path: Path) -> str | None:
    """Return the problem of a model that is not the one that the JSON beside it describes."""
    try:
        digest = any_json(read_bytes(path.with_suffix(".json")))["sha256"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # It is rebuilt, and the model with it.
        return None
    with open(path, "rb", opener=only_file) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return None if found == digest else f"not the model that {path.with_suffix('.json').name} describes"


_CHECKS: dict[str, Callable[[Path], str | None]] = {
    ".json": _json,
    ".csv": _csv,
    ".html": _page,
    ".md": _markdown,
    ".png": _picture,
    ".pkl": _model,
    ".skops": _model,
}


def _ends(path: Path) -> tuple[bytes, bytes]:
    """Return the first and the last piece of a file, which may overlap."""
    with open(path, "rb", opener=only_file) as file:
        head = file.read(_PIECE)
        file.seek(max(0, path.stat().st_size - _PIECE))
        return head, file.read()


def _broken_weeks(folder: Path) -> list[Path]:
    """Return the Parquet files of a folder that do not begin and end as Parquet files do."""
    ends = {path: _ends(path) for path in sorted(folder.glob("*.parquet"))}
    return [path for path, (head, tail) in ends.items() if head[:4] != b"PAR1" or tail[-4:] != b"PAR1"]
