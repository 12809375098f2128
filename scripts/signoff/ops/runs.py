"""The list of the scheduled runs, logs/runs.jsonl: one JSON object a line, the oldest first."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from signoff.base.files import any_json, read_utf8, replacing
from signoff.report.timeline import Run

RUNS = Path("logs/runs.jsonl")
LOCK = Path("logs/weekly.lock")
INGEST_RECORD = Path("data/raw/raw_data.json")
# The types of what a run's line may hold; other values could not be shown.
_TYPES: dict[str, Any] = {
    **dict.fromkeys(("at", "verdict"), str),
    **dict.fromkeys(("cause", "stale", "log", "release", "model_sha256"), str | None),
    **dict.fromkeys(("seconds", "MAE", "R2"), float | int | None),
    **dict.fromkeys(("rows", "models", "models_failed", "models_waiting"), int),
    **dict.fromkeys(("alarms", "live", "events", "notified"), list),
    "thresholds": dict,
}


def run_lines() -> list[str]:
    """Return the lines of the list as they are; bytes that are not UTF-8 survive being written again."""
    return read_utf8(RUNS, errors="surrogateescape").splitlines() if RUNS.is_file() else []


def lock_entry(held: bytes) -> dict[str, Any] | None:
    """Return process and time that the lock of the weekly run holds; None if it is empty, or was damaged by a crash."""
    try:
        found = any_json(held)
        datetime.fromisoformat(found["since"])
        return {"pid": found["pid"], "since": found["since"]}
    except (ValueError, TypeError, KeyError):
        return None


def read_runs() -> tuple[list[Run], list[str]]:
    """Return the runs, the oldest first, and a warning for each damaged line, which a full disk may cause."""
    found: list[Run] = []
    warnings = []
    for number, line in enumerate(run_lines(), 1):
        try:
            run = any_json(line.encode("utf-8", "surrogateescape"))
            datetime.fromisoformat(run["at"])
            if any(not isinstance(value, _TYPES.get(key, object)) for key, value in run.items()):
                raise TypeError
            whole = {"exit_code": None, "cause": None, **run, "at": run["at"], "verdict": run["verdict"]}
            found.append(cast(Run, whole))
        except (ValueError, TypeError, KeyError, AttributeError):
            warnings.append(f"line {number} of {RUNS} is damaged, and left out")
    return found, warnings


def write_runs(lines: list[str], *runs: dict[str, Any]) -> None:
    """Rewrite the list with `runs` after `lines`. A reader sees the old list or the complete new one."""
    lines = [*lines, *(json.dumps(run, ensure_ascii=False) for run in runs)]
    with replacing(RUNS) as new:
        new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="surrogateescape")
