"""A release as an in-toto Statement, version 1, which is not signed, and its sign-off as a bundle of DSSE envelopes.

The format: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

import json
from typing import Any

from signoff.release.approval import statement
from signoff.release.envelope import STATEMENT, envelope
from signoff.release.facts import ReleaseFacts
from signoff.release.form import VERSION

_PREDICATE = "urn:x-signoff:release:v1"


def in_toto_statement(facts: ReleaseFacts) -> dict[str, Any]:
    """Return the statement: its subjects are the release's files, its predicate is the review and the decisions."""
    document = facts.document
    alarms = [{key: each.get(key) for key in ("name", "feature", "sentence")} for each in facts.alarms]
    return {
        "_type": STATEMENT,
        "subject": [_resource(name, digest) for name, digest in facts.files.items()],
        "predicateType": _PREDICATE,
        "predicate": {
            "release": facts.name,
            "deployedAt": facts.deploy["at"],
            "project": document.get("project"),
            "predecessor": facts.predecessor,
            "verdict": document["verdict"],
            "failures": document["failures"],
            "alarms": alarms,
            "decisions": document["decisions"],
            "code": document["code"],
            "data": [_resource(path, digest) for path, digest in facts.data.items()],
        },
    }


def envelopes(facts: ReleaseFacts) -> str:
    """Return the signed decisions as an in-toto bundle: JSON lines, each the DSSE envelope of one decision.

    It is empty without signatures, or if an older version of the workflow has written the sign-off: at that time, other
    texts were signed.
    """
    document = facts.document
    if document["version"] != VERSION:
        return ""
    made = [
        envelope(statement(document, each), each["signature"]) for each in document["decisions"] if each["signature"]
    ]
    return "".join(f"{json.dumps(each)}\n" for each in made)


def _resource(name: str, digest: str) -> dict[str, Any]:
    """Return a ResourceDescriptor of a file."""
    return {"name": name, "digest": {"sha256": digest}}
