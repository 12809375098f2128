"""A decision on many models by a rule: which of them fit, and the statement that lists them.

Each model keeps a sign-off of its own, whose decision names the rule and the digest of the list. So a model is
released, verified and rolled back by itself, and the decision cannot be moved to a model that it was not made for.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from signoff.base.errors import TaskError, nearest
from signoff.base.files import parsed_json
from signoff.model.records import mae
from signoff.release.approval import METRICS, SIGN_OFF, canonical, read_sign_off, reviewed_bytes
from signoff.release.decision import without_commit
from signoff.release.form import Subject
from signoff.release.records import Metrics

# The type of the list, so that it cannot be mistaken for another statement.
_TYPE = "signoff/list"
# Every rule has these: a model that failed or raises alarms needs a reason of its own.
_ALWAYS = ("verdict passed", "no alarm")


def parse_rule(text: str) -> list[str]:
    """Return the clauses of a rule, which are separated by commas.

    Raises
    ------
    TaskError
        A clause is unknown or repeated, or one that every rule needs is missing.
    """
    clauses = [" ".join(each.split()).lower() for each in text.split(",")]
    for number, each in enumerate(clauses):
        if each not in _CLAUSES:
            raise TaskError(
                f"the rule has the unknown clause {each!r}; {nearest(each, list(_CLAUSES))} Separate these by commas: "
                f"{', '.join(_CLAUSES)}."
            )
        if each in clauses[:number]:
            raise TaskError(f"the rule has the clause {each!r} twice.")
    if missing := [each for each in _ALWAYS if each not in clauses]:
        raise TaskError(
            f"the rule lacks the clause {missing[0]!r}. A model that failed or raises alarms needs a decision of its "
            "own, with a reason."
        )
    return clauses


def problems(subject: Subject, clauses: list[str]) -> list[str]:
    """Return why a model does not fit a rule; an empty list if it does.

    Parameters
    ----------
    subject
        As `review` returns it in the model's folder, which is the current folder.
    clauses
        As `parse_rule` returns them.
    """
    return [problem for each in clauses if (problem := _CLAUSES[each](subject))] + _rejections(subject)


def list_of_models(clauses: list[str], subjects: Mapping[str, Subject]) -> bytes:
    """Return the list of the models of a decision as canonical JSON: the rule, and the digest of each subject."""
    digests = {name: hashlib.sha256(canonical(subject)).hexdigest() for name, subject in subjects.items()}
    return canonical({"_type": _TYPE, "rule": clauses, "models": digests})


def comment_of(comment: str, clauses: list[str], content: bytes, number: int) -> str:
    """Return the comment of a model's decision, which is signed: the person's words, the rule and the list's digest."""
    digest = hashlib.sha256(content).hexdigest()
    return f"{comment.strip()} (one of {number:,} models by the rule: {', '.join(clauses)}; list sha256:{digest})"


def _rejections(subject: Subject) -> list[str]:
    """Return who has rejected the model of these files."""
    if not SIGN_OFF.is_file():
        return []
    try:
        document = read_sign_off(SIGN_OFF)
    except TaskError:
        # The decision replaces it, as a decision on a single model does.
        return []
    if without_commit(document) != without_commit(subject):
        return []
    return [f"{each['reviewer']} has rejected it" for each in document["decisions"] if each["decision"] == "reject"]


def _failed(subject: Subject) -> str | None:
    return "; ".join(subject["failures"]) or None


def _alarmed(subject: Subject) -> str | None:
    names = list(dict.fromkeys(each["name"] for each in subject["alarms"]))
    return f"it raises alarms ({', '.join(names)})" if names else None


def _metrics(subject: Subject) -> Metrics:
    return cast(Metrics, parsed_json(reviewed_bytes(METRICS, subject["files"]), Path(METRICS)))


def _not_better(subject: Subject) -> str | None:
    metrics = _metrics(subject)
    champion = metrics["champion"]
    if not champion or "test" not in champion:
        return "its release cannot be compared" if champion else "nothing is deployed yet"
    now, then = mae(metrics["model"]["test"]), mae(champion["test"])
    return None if now < then else f"MAE {now:.4g}, and its release has {then:.4g} on the same rows"


def _has_champion(subject: Subject) -> str | None:
    return f"{subject['predecessor']} is deployed" if subject["predecessor"] else None


def _not_better_than_baselines(subject: Subject) -> str | None:
    metrics = _metrics(subject)
    name, best = min(((name, mae(each["test"])) for name, each in metrics["baselines"].items()), key=lambda it: it[1])
    now = mae(metrics["model"]["test"])
    return None if now < best else f"MAE {now:.4g}, and the baseline {name} has {best:.4g}"


# Each returns why a model does not fit; None if it does.
_CLAUSES: dict[str, Callable[[Subject], str | None]] = {
    "verdict passed": _failed,
    "no alarm": _alarmed,
    "better than the champion": _not_better,
    "no champion": _has_champion,
    "better than every baseline": _not_better_than_baselines,
}
