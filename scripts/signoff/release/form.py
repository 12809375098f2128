"""The exact form of a sign-off: its keys, and the values that each may have. Anything else is refused."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NotRequired, TypedDict, TypeGuard

from signoff.release.signature import plain_name

# The version of the form that is written. The forms before it are only read, from existing releases.
VERSION = 3
# What is signed is one JSON object, with the subject and the decision side by side.
NESTED_VERSION = 2
# What is signed is the subject and the decision, merged into one object.
OLD_VERSION = 1

SHA256 = re.compile(r"[0-9a-f]{64}")
PROJECT = re.compile(r"[0-9a-f]{32}")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_RELEASE = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{12}")
_DATA_FILE = re.compile(r"[0-9a-f]{64}\.(csv|json)\.gz")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class CodeState(TypedDict):
    """The digest and the git commit of the workflow's code."""

    commit: str | None
    clean: bool | None
    sha256: str


class SignedAlarm(TypedDict):
    """An alarm that the reviewer was shown: its name, the feature that it concerns, and its sentence."""

    name: str
    feature: str | None
    sentence: str


class Given(TypedDict):
    """What a person says: who they are, approve or reject, why, and why in spite of a failure or an alarm."""

    reviewer: str
    decision: str
    comment: str
    override: str | None


class Decision(Given):
    """The decision of one person, with the signature. Only version 3 has `valid_until`, which may be None."""

    signed_at: str
    valid_until: NotRequired[str | None]
    signature: str | None


class Subject(TypedDict):
    """What was reviewed: the part of a sign-off that a decision is about.

    One of version 2 has no `alarms`. One of version 1 has also `compared_with` in place of `project` and `predecessor`.
    """

    version: int
    project: str
    predecessor: str | None
    files: dict[str, str]
    code: CodeState
    verdict: str
    failures: list[str]
    alarms: NotRequired[list[SignedAlarm]]


class Decided(Subject):
    """A sign-off without its digest, which is added when it is written."""

    decisions: list[Decision]


class SignOff(Decided):
    """The subject, the decisions, and a digest of all of it."""

    sha256: str


# A line of the history; which keys it has depends on its action, see LINE.
Move = TypedDict(
    "Move",
    {
        "at": str,
        "action": str,
        "release": str,
        "previous": str,
        "by": list[str],
        "reason": list[str] | str,
        "override": list[str],
        "model_sha256": str,
        "sign_off_sha256": str,
        "from": str | None,
        "move": str,
        "data": list[str],
    },
    total=False,
)


_Check = Callable[[object], bool]


def _is_text(value: object) -> TypeGuard[str]:
    """Return whether a value is text that can be written as UTF-8."""
    return isinstance(value, str) and value == value.encode("utf-8", "replace").decode()


def _matches(pattern: re.Pattern[str]) -> _Check:
    """Return a check that a whole text matches a pattern."""
    return lambda value: type(value) is str and pattern.fullmatch(value) is not None


def one_of(*values: object) -> _Check:
    """Return a check whether a value is one of these, of the same type: True is not 1."""
    return lambda value: any(type(value) is type(each) and value == each for each in values)


def _or_none(check: _Check) -> _Check:
    """Return a check that lets None pass too."""
    return lambda value: value is None or check(value)


def _list_of(check: _Check) -> _Check:
    """Return a check of a list's elements."""
    return lambda value: type(value) is list and all(map(check, value))


def _exactly(fields: dict[str, _Check], optional: dict[str, _Check] | None = None) -> _Check:
    """Return a check of an object with exactly these keys, and perhaps the optional ones, each with its own check."""
    known = {**fields, **(optional or {})}
    return lambda value: (
        isinstance(value, dict)
        and fields.keys() <= value.keys() <= known.keys()
        and all(known[key](value[key]) for key in value)
    )


def _is_path(value: object) -> TypeGuard[str]:
    """Return whether a value is a path in its shortest form, so that one file has one name."""
    return _is_text(value) and value not in ("", ".") and "\0" not in value and os.path.normpath(value) == value


def _is_files(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_path, value)) and all(map(_DIGEST, value.values()))


def _is_stripped(value: object) -> bool:
    return _is_text(value) and value == value.strip() != ""


_DIGEST = _matches(SHA256)
_CODE = _exactly({"commit": _or_none(_matches(_COMMIT)), "clean": _or_none(one_of(True, False)), "sha256": _DIGEST})
_OLD_DECISION: dict[str, _Check] = {
    "reviewer": _is_stripped,
    "decision": one_of("approve", "reject"),
    "comment": _is_stripped,
    "override": _or_none(_is_stripped),
    "signed_at": _matches(_MOMENT),
    "signature": _or_none(_is_text),
}
_DECISION: dict[int, dict[str, _Check]] = {
    OLD_VERSION: _OLD_DECISION,
    NESTED_VERSION: _OLD_DECISION,
    VERSION: {**_OLD_DECISION, "valid_until": _or_none(_matches(_MOMENT))},
}
_REVIEWED: dict[str, _Check] = {
    "files": _is_files,
    "code": _CODE,
    "verdict": one_of("passed", "failed"),
    "failures": _list_of(_is_text),
}
_ALARM = _exactly({"name": _is_text, "feature": _or_none(_is_text), "sentence": _is_text})
_NESTED: dict[str, _Check] = {"project": _matches(PROJECT), "predecessor": _or_none(_matches(_RELEASE)), **_REVIEWED}
SUBJECT: dict[int, dict[str, _Check]] = {
    OLD_VERSION: {"version": one_of(OLD_VERSION), **_REVIEWED, "compared_with": _or_none(_matches(_RELEASE))},
    NESTED_VERSION: {"version": one_of(NESTED_VERSION), **_NESTED},
    VERSION: {"version": one_of(VERSION), **_NESTED, "alarms": _list_of(_ALARM)},
}

_MOVE: dict[str, _Check] = {"at": _matches(_MOMENT), "release": _matches(_RELEASE), "previous": _DIGEST}
_WHO: dict[str, _Check] = {"by": _list_of(_is_text), "reason": _list_of(_is_text), "from": _or_none(_is_text)}
# The digest of the secret that the marker of the move holds; older workflows wrote none.
_SECRET: dict[str, _Check] = {"move": _DIGEST}
# The files in deployed/data that the release was trained on, if it keeps them.
_DATA: dict[str, _Check] = {"data": _list_of(_matches(_DATA_FILE))}
# The lines of the history.
_LINE = {
    "deploy": _exactly(
        {
            **_MOVE,
            **_WHO,
            "action": one_of("deploy"),
            "override": _list_of(_is_text),
            "model_sha256": _DIGEST,
            "sign_off_sha256": _DIGEST,
        },
        {**_SECRET, **_DATA},
    ),
    "rollback": _exactly({**_MOVE, **_WHO, "action": one_of("rollback")}, _SECRET),
    "prune": _exactly({**_MOVE, "action": one_of("prune"), "reason": _is_text}),
}


def is_line(value: object) -> bool:
    """Return whether a value has the exact form of a line of the history."""
    return isinstance(value, dict) and any(check(value) for check in _LINE.values())


def strict_json(content: bytes) -> object:
    """Return the value of JSON text. Raises ValueError if it is not JSON, or an object repeats a key."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key is repeated")
        return found

    def refuse(word: str) -> object:
        raise ValueError(f"{word} is not JSON")

    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def problem_of(subject: Mapping[str, object], decisions: object) -> str | None:
    """Return the first deviation from the exact form of a sign-off, or None."""
    version = subject.get("version")
    if not isinstance(version, int) or not one_of(*SUBJECT)(version):
        return f"it has the version {version!r}"
    problem = _wrong(subject, SUBJECT[version])
    if problem is None and (subject["verdict"] == "failed") != bool(subject["failures"]):
        problem = "verdict and failures do not agree"
    return problem or _problem_of_decisions(decisions, _DECISION[version])


def _problem_of_decisions(decisions: object, fields: dict[str, _Check]) -> str | None:
    """Return the first deviation from the exact form of a list of decisions, or None."""
    if not isinstance(decisions, list):
        return "decisions is not a list"
    for number, decision in enumerate(decisions):
        if not isinstance(decision, dict):
            return f"decisions.{number} is not an object"
        if problem := _wrong(decision, fields, f"decisions.{number}."):
            return problem
    names = {plain_name(decision["reviewer"]) for decision in decisions}
    return "one reviewer has two decisions" if len(names) < len(decisions) else None


def _wrong(value: Mapping[str, object], fields: dict[str, _Check], where: str = "") -> str | None:
    """Return which key of an object is unknown, missing or wrong, or None."""
    return next(_wrongs(value, fields, where), None)


def _wrongs(value: Mapping[str, object], fields: dict[str, _Check], where: str) -> Iterator[str]:
    yield from (f"the key {where}{key} is unknown" for key in value if key not in fields)
    yield from (f"the key {where}{key} is missing" for key in fields if key not in value)
    yield from (
        f"{where}{key} has a wrong value" for key, check in fields.items() if key in value and not check(value[key])
    )
