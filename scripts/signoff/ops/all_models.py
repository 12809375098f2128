"""The state of all models of a project: what waits for a person, the worst model first."""

import hashlib
import json
from collections import Counter
from typing import Any

from signoff.base.numbers import counted
from signoff.config.settings import read_config
from signoff.ops.many import failed_models, model_folders
from signoff.ops.overview import ProjectState, read_state, worst_first
from signoff.ops.status import data_line

_MOST = 20


def _read_all() -> dict[str, ProjectState]:
    """Return the state of each model, the worst first."""
    return worst_first({folder.name: read_state(folder) for folder in model_folders(read_config()[0])})


def outcome_of_all() -> dict[str, Any]:
    """Return what the line of a scheduled run says of all models.

    Returns
    -------
    dict
        models, models_failed and models_waiting are numbers; waiting is a digest of the models that wait; alarms has
        one entry for each kind of alarm, with an example.
    """
    states, failed = _read_all(), failed_models()
    waiting = {name: state for name, state in states.items() if state.step.waits != "nothing"}
    models = sorted((name, (state.metrics or {}).get("model_sha256")) for name, state in waiting.items())
    missed = {name for name, state in states.items() if state.metrics and state.metrics["verdict"] == "failed"}
    return {
        "models": len(states),
        "models_failed": len(missed | failed.keys()),
        "models_waiting": len(waiting),
        "waiting": hashlib.sha256(json.dumps(models).encode()).hexdigest(),
        "alarms": _alarms(states),
    }


def _alarms(states: dict[str, ProjectState]) -> list[dict[str, str]]:
    """Return each kind of alarm once, the most frequent first: how many models raise it, and the worst of them."""
    numbers, examples = Counter[str](), dict[str, str]()
    for name, state in states.items():
        found = {each["name"]: each["sentence"] for each in state.alarms}
        numbers.update(found.keys())
        for kind, sentence in found.items():
            examples.setdefault(kind, f"{name}: {sentence}")
    return [
        {"name": kind, "sentence": f"{counted(number, 'model')}, such as {examples[kind]}"}
        for kind, number in numbers.most_common()
    ]


def standing_of_all() -> list[str]:
    """Return the lines on the data and on all models, with what waits for a person, the worst model first."""
    states, failed = _read_all(), failed_models()
    waits = Counter(state.step.waits for state in states.values())
    total = ", ".join(f"{number} {_WAITS[kind]}" for kind, number in waits.most_common())
    lines = [data_line(), f"Models      {len(states)}{': ' if total else ''}{total}"]
    lines += [f"Failed      {name}: {why}" for name, why in list(failed.items())[:_MOST]]
    shown = [(name, state) for name, state in states.items() if state.step.waits != "nothing" or state.warnings]
    for name, state in shown[:_MOST]:
        words = [state.problem or _WAITS[state.step.waits], *state.warnings]
        names = ", ".join(dict.fromkeys(each["name"] for each in state.alarms))
        lines.append(f"{'':<12}{name}: {'; '.join(words)}{f' (alarms: {names})' if names else ''}")
    if len(shown) > _MOST:
        lines.append(f"{'':<12}and {len(shown) - _MOST} more: make index")
    return [*lines, f"Next        {_next(waits)}"]


_WAITS = {
    "run": "not trained yet",
    "report": "without a report",
    "review": "to review",
    "approval": "with a sign-off that is not enough",
    "deploy": "to deploy",
    "nothing": "done",
}


def _next(waits: Counter[str]) -> str:
    """Return the next command for all models."""
    if waits["report"]:
        return "make report"
    if waits["review"] or waits["approval"]:
        return "make sign-off MODELS='verdict passed, no alarm', or make sign-off DIR=models/NAME for one"
    if waits["deploy"]:
        return "make deploy"
    return "make run" if waits["run"] or not waits else "nothing: the last models are deployed"
