"""Changes since the release, side by side: config, data contract, data, features and metrics."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from signoff.base.errors import TaskError, explain
from signoff.base.files import parsed_json
from signoff.base.numbers import decimals
from signoff.release.approval import METRICS, released_as, reviewed_bytes
from signoff.release.form import Subject
from signoff.release.store import Releases

# An account in an address is not secret to readers of the config, but should not be on a page.
_HIDDEN = ("notify",)
_ACCOUNT = re.compile(r"(?<=://)[^/?\s@]*(?=@)")


class _Change(NamedTuple):
    """One item as text, in the release and now; empty if it is missing."""

    name: str
    then: str
    now: str


def _side_by_side(subject: Subject) -> dict[str, list[_Change]]:
    """Return the differences between the release in use and the reviewed files, by kind; metrics are always shown.

    Parameters
    ----------
    subject
        As `review` returns it.

    Raises
    ------
    TaskError
        A file of the release was altered, or a reviewed file has changed.
    """
    release, files = subject["predecessor"], subject["files"]
    if release is None:
        return {}
    releases = Releases()
    document = releases.sign_off(release, releases.history())

    def then(place: str) -> Any:
        return releases.json(release, document, place)

    def now(path: str) -> Any:
        return parsed_json(reviewed_bytes(path, files), Path(path))

    settings: list[dict[str, Any]] = [{}, {}]
    for path in document["files"]:
        place = released_as(path)
        if place and place.startswith("config/"):
            settings[0][place] = _settings(releases.content(release, document, place))
    for path in files:
        place = released_as(path)
        if place and place.startswith("config/"):
            settings[1][place] = _settings(reviewed_bytes(path, files))
    metrics, models = (then("evaluation_metrics.json"), now(METRICS)), (then("model.json"), now("model/model.json"))
    data = [
        {"training rows": model.get("training_rows"), "split": each["split"]}
        for model, each in zip(models, metrics, strict=True)
    ]
    for each, digests in zip(data, (document["files"], files), strict=True):
        each["SHA-256"] = {path: digest[:12] for path, digest in digests.items() if released_as(path) is None}
    features = [{each: model.get(each) for each in ("features", "columns", "recipe", "custom")} for model in models]
    model = [{each: found.get(each) for each in ("estimator", "parameters", "versions", "target")} for found in models]
    scores = [each["model"]["test"] for each in metrics]
    champion = (metrics[1]["champion"] or {}).get("test") or {}
    scored = {name: [each.get(name) for each in (*scores, champion)] for name in {**scores[0], **scores[1]}}
    return {
        "Metrics": [
            _Change(
                name + (f" (the release on today's held-out rows: {_words(again)})" if again is not None else ""),
                _words(old),
                _words(new),
            )
            for name, (old, new, again) in scored.items()
        ],
        "Config and contract": _differences(*settings),
        "Data": _differences(*data),
        "Features": _differences(*features),
        "Model": _differences(*model),
    }


def _settings(content: bytes) -> Any:
    """Return the content of a config or a contract; its text, if it is not YAML."""
    try:
        return yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError):
        return content.decode("utf-8", "replace")


def _differences(then: Any, now: Any) -> list[_Change]:
    """Return each key whose value differs; nested keys are joined with dots."""
    old, new = dict(_flat(then)), dict(_flat(now))
    found = []
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            hidden = any(part in _HIDDEN for part in key.split("."))
            found.append(_Change(key, *("(not shown)" if hidden else _words(each.get(key)) for each in (old, new))))
    return found


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested objects with their joined keys."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _flat(each, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _words(value: Any) -> str:
    """Return a value as text, without the account of an address."""
    if value is None:
        return ""
    text = decimals(value) if isinstance(value, float) else str(value)
    return _ACCOUNT.sub("***", text)


def problem_or(subject: Subject) -> dict[str, list[_Change]] | str:
    """Return `_side_by_side`, or a sentence on why it is unknown."""
    try:
        return _side_by_side(subject)
    except (TaskError, OSError, KeyError) as error:
        return explain(error)
