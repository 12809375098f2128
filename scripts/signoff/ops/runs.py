"""The list of the scheduled runs, logs/runs.jsonl: one JSON object a line, the oldest first."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from signoff.base.files import replacing

RUNS = Path("logs/runs.jsonl")
LOCK = Path("logs/weekly.lock")
RECORD = Path("data/raw/raw_data.json")


def run_lines() -> list[str]:
    """Return the lines of the list as they are; bytes that are not UTF-8 survive being written again."""
    return RUNS.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if RUNS.is_file() else []


def lock_entry(held: bytes) -> dict[str, Any] | None:
    """Return process and time that the lock of the weekly run holds; None if it is empty, or was damaged by a crash."""
    try:
        found = json.loads(held.decode("utf-8"))
        datetime.fromisoformat(found["since"])
        return {"pid": found["pid"], "since": found["since"]}
    except (ValueError, TypeError, KeyError):
        return None


def read_runs() -> tuple[list[dict[str, Any]], list[str]]:
    """Return the runs, the oldest first, and a warning for each damaged line, which a full disk may cause."""
    found, warnings = [], []
    for number, line in enumerate(run_lines(), 1):
        try:
            run = json.loads(line)
            datetime.fromisoformat(run["at"])
            found.append({"exit_code": None, "cause": None, **run, "at": run["at"], "verdict": run["verdict"]})
        except (ValueError, TypeError, KeyError):
            warnings.append(f"line {number} of {RUNS} is damaged, and left out")
    return found, warnings


def write_runs(lines: list[str], *runs: dict[str, Any]) -> None:
    """Rewrite the list with `runs` after `lines`. A reader sees the old list or the complete new one."""
    lines = [*lines, *(json.dumps(run, ensure_ascii=False) for run in runs)]
    with replacing(RUNS) as new:
        new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="surrogateescape")
