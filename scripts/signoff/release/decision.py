"""The decision of one person, and the sign-off that holds all decisions."""

import logging
from pathlib import Path

from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError
from signoff.release.approval import check_trainer, expiry, read_sign_off, statement, subject_of, utc_now
from signoff.release.form import Decided, Decision, Given, Subject
from signoff.release.signature import plain_name, sign, verify_signature


def new_decision(subject: Subject, given: Given, rule: ReleaseConfig) -> Decision:
    """Return a decision as it is recorded, with the current time and not signed yet.

    Parameters
    ----------
    subject
        As `review` returns it.
    given
        reviewer, decision ("approve" or "reject"), comment, and override (None without a failure or an alarm).
    rule
        The section `release` of the config, which says when the decision expires.

    Raises
    ------
    TaskError
        The name or the comment is empty, the reason to approve in spite of a failure or an alarm is missing, or the
        reviewer trains the model (release.separate_trainer).
    """
    text = {
        "reviewer": (given["reviewer"] or "").strip(),
        "decision": (given["decision"] or "").strip(),
        "comment": (given["comment"] or "").strip(),
        "override": (given["override"] or "").strip(),
    }
    for name in ("reviewer", "comment"):
        if not text[name]:
            raise TaskError(f"the {name} is empty. A sign-off needs a name, a decision and a comment.")
    alarms = [each["name"] for each in subject["alarms"]]
    doubt = f"raises alarms ({', '.join(alarms)})" if alarms else None
    doubt = f"has failed ({'; '.join(subject['failures'])})" if subject["failures"] else doubt
    if doubt and text["decision"] == "approve" and not text["override"]:
        raise TaskError(
            f"this model {doubt}. To approve it all the same, give the reason: --override REASON (make sign-off "
            "OVERRIDE=…). The reason is kept, and is shown from then on."
        )
    decision: Decision = {
        "reviewer": text["reviewer"],
        "decision": text["decision"],
        "comment": text["comment"],
        "override": (text["override"] or None) if doubt else None,
        "signed_at": utc_now(),
        "valid_until": None,
        "signature": None,
    }
    check_trainer(decision, rule)
    return {**decision, "valid_until": expiry(decision, rule.valid_days)}


def decide(subject: Subject, given: Given, sign_off: Path, rule: ReleaseConfig, key: Path | None) -> Decided:
    """Return the sign-off with this decision in it, beside those of others on the same files.

    Parameters
    ----------
    subject, given
        As in `new_decision`.
    sign_off
        Where the others' decisions are, if there are any.
    rule
        The section `release` of the config.
    key
        A private key of OpenSSH; needed if release.allowed_signers is set.

    Raises
    ------
    TaskError
        Something is missing, or the key is not one of those that may sign.
    """
    decision = new_decision(subject, given, rule)
    if rule.allowed_signers and key is None:
        raise TaskError("release.allowed_signers asks for a signature: name your key, --key PATH (make sign-off KEY=…)")
    subject, others = with_others(subject, sign_off)
    if key is not None:
        decision["signature"] = sign(statement(subject, decision), key)
    return with_decision(subject, others, decision, rule)


def with_others(subject: Subject, sign_off: Path) -> tuple[Subject, list[Decision]]:
    """Return the subject as others have signed it, with the commit recorded then, and their decisions.

    Without a sign-off of the same files and the same code, return the given subject, and no decision.
    """
    if sign_off.is_file():
        try:
            before = read_sign_off(sign_off)
            if without_commit(before) == without_commit(subject):
                return subject_of(before), before["decisions"]
            logging.info("[sign_off] %s was about other files or other code: it is replaced", sign_off)
        except TaskError as error:
            logging.warning("[sign_off] %s It is replaced.", error)
    return subject, []


def with_decision(subject: Subject, others: list[Decision], decision: Decision, rule: ReleaseConfig) -> Decided:
    """Return the sign-off with one more decision, which replaces an earlier one of the same reviewer.

    Raises
    ------
    TaskError
        release.allowed_signers is set, and the signature is not by one of its keys for this reviewer.
    """
    if rule.allowed_signers:
        verify_signature(statement(subject, decision), decision, Path(rule.allowed_signers), None)
    others = [each for each in others if plain_name(each["reviewer"]) != plain_name(decision["reviewer"])]
    return {**subject, "decisions": [*others, decision]}


def without_commit(document: Subject) -> dict[str, object]:
    """Return the subject of a sign-off without the commit, which is recorded but not compared."""
    subject = subject_of(document)
    return {**subject, "code": subject["code"]["sha256"]}
