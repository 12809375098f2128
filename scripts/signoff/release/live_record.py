"""The live record in reports/live.json: the accuracy of each release's predictions."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

from signoff.base.errors import TaskError
from signoff.base.files import read_json

LIVE_RECORD = Path("reports/live.json")
_BROKEN_WORDS = {"mae_max": "an MAE", "coverage_min": "a coverage"}


class LiveWeek(TypedDict):
    """The predictions of a release for one week, and their accuracy. Errors are in the target's unit."""

    release: str
    week: str | None
    as_if: bool
    rows: int
    answered: int
    MAE: float | None
    bias: float | None
    coverage: float | None
    width: float | None
    baseline: str
    baseline_MAE: float | None
    promised_MAE: float
    promised_low: float | None
    promised_high: float | None
    alarms: list[str]


class LiveAlarm(TypedDict):
    """An alarm about the current release: its kind, the slice if it is about one, and a sentence."""

    name: str
    slice: str | None
    sentence: str


class Broken(TypedDict):
    """A limit of the section `live` of the config that the newest week of the current release breaks."""

    name: str
    limit: float
    value: float
    week: str


class Live(TypedDict):
    """live.json; `broken` has the limits that the current release breaks, `unreadable` why batches were left out."""

    release: str | None
    target: str
    rows: int
    answered: int
    unanswered: int
    alarms: list[LiveAlarm]
    broken: list[Broken]
    unreadable: list[str]
    weeks: list[LiveWeek]


_NUMBER = int | float
_WEEK: dict[str, Any] = {
    **dict.fromkeys(("release", "baseline"), str),
    "week": str | None,
    "as_if": bool,
    **dict.fromkeys(("rows", "answered"), int),
    **dict.fromkeys(
        ("MAE", "bias", "coverage", "width", "baseline_MAE", "promised_low", "promised_high"), _NUMBER | None
    ),
    "promised_MAE": _NUMBER,
    "alarms": list,
}
_ALARM = {"name": str, "sentence": str}
_BROKEN: dict[str, Any] = {"name": str, "week": str, **dict.fromkeys(("limit", "value"), _NUMBER)}


def state_of_predictions(*folders: Path) -> str:
    """Return a digest of the names, sizes and times of all files of predictions: it changes when one of them does."""
    files = [path for folder in folders for path in sorted(folder.rglob("*.csv"))]
    state = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(state).encode()).hexdigest()[:16]


def read_live(path: Path = LIVE_RECORD) -> Live | None:
    """Return the live record; None if it does not exist yet, or is damaged: the next run then rebuilds it."""
    try:
        found = read_json(path) if path.is_file() else None
    except TaskError:
        return None
    return cast(Live, found) if _is_live(found) else None


def _is_live(value: Any) -> bool:
    """Return whether a value has the keys of a live record, each with a value of its type."""
    parts = {"weeks": _WEEK, "alarms": _ALARM, "broken": _BROKEN}
    return (
        _has({"release": str | None, **dict.fromkeys(("rows", "answered"), int)}, value)
        and all(isinstance(value.get(key), list) for key in parts)
        and all(_has(types, each) for key, types in parts.items() for each in value[key])
        and all(each["name"] in _BROKEN_WORDS for each in value["broken"])
    )


def _has(types: Mapping[str, Any], value: Any) -> bool:
    """Return whether a value is an object with these keys, each with a value of its type."""
    return isinstance(value, dict) and all(key in value and isinstance(value[key], types[key]) for key in types)


def warnings(live: Live | None, release: str | None) -> list[str]:
    """Return the alarms and broken limits of a release in sentences; none if the record is about another one."""
    if live is None or release is None or live["release"] != release:
        return []
    return [each["sentence"] for each in live["alarms"]] + [broken_words(each) for each in live["broken"]]


def broken_words(broken: Broken) -> str:
    """Return the sentence about a broken limit."""
    what = _BROKEN_WORDS[broken["name"]]
    words = f"The deployed release had {what} of {broken['value']:.4g} in the week from {broken['week']}"
    return f"{words}; live.{broken['name']} is {broken['limit']:g}."


def newest_words(lines: Sequence[LiveWeek], release: str) -> str | None:
    """Return a phrase on the accuracy of a release in its newest week with answers; None without one."""
    answered = [line for line in lines if line["release"] == release and line["answered"] and line["week"]]
    if not answered:
        return None
    last = answered[-1]
    rows = f"{last['answered']:,} rows{', as if predicted' if last['as_if'] else ''}"
    words = f"MAE {last['MAE']:.4g}, bias {last['bias']:+.4g} in the week from {last['week']} ({rows})"
    return f"{words}; the report promised an MAE of {last['promised_MAE']:.4g}"
