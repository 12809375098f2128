"""What a reviewer signs: an in-toto Statement, version 1, in the pre-authentication encoding of a DSSE envelope.

The formats: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and
https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, cast

from signoff.release.form import Decision, Subject
from signoff.release.signature import fingerprint

STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "urn:x-signoff:decision:v1"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
# The parts of the subject beside its files, and of the decision, in the order of the text: what a reader looks for is
# at the beginning.
_SUBJECT = ("verdict", "failures", "alarms", "predecessor", "project", "code", "version")
_DECISION = ("reviewer", "decision", "comment", "override", "signed_at", "valid_until")


def payload(subject: Subject, decision: Mapping[str, object], names: Mapping[str, str | None]) -> bytes:
    """Return the Statement of a decision as JSON in UTF-8; equal values give equal bytes.

    Parameters
    ----------
    subject, decision
        The parts of a sign-off, in its exact form.
    names
        What each file is called in a release, by its path in the project; None for data, which are not copied.
    """
    files = sorted(subject["files"].items())
    others: Mapping[str, object] = subject
    value = {
        "_type": STATEMENT,
        "predicateType": _PREDICATE,
        "predicate": {
            "decision": {key: decision[key] for key in _DECISION},
            **{key: others[key] for key in _SUBJECT},
            "data": [_resource(path, path, digest) for path, digest in files if names[path] is None],
        },
        "subject": [_resource(name, path, digest) for path, digest in files if (name := names[path]) is not None],
    }
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode()


def _resource(name: str, path: str, digest: str) -> dict[str, Any]:
    """Return a ResourceDescriptor of a file, with its path in the project."""
    return {"name": name, "digest": {"sha256": digest}, "annotations": {"path": path}}


def parts_of_payload(value: object) -> tuple[Subject, Decision]:
    """Return the subject and the decision in the value of a payload.

    The caller must check both, and that their payload is this one: here, unknown keys are left out.

    Raises
    ------
    ValueError
        A key is missing.
    """
    try:
        statement: Any = value
        predicate = statement["predicate"]
        resources = [*statement["subject"], *predicate["data"]]
        files = {each["annotations"]["path"]: each["digest"]["sha256"] for each in resources}
        subject = {"files": files, **{key: predicate[key] for key in _SUBJECT}}
        decision = {key: predicate["decision"][key] for key in _DECISION}
    except (LookupError, TypeError) as error:
        raise ValueError("a key is missing") from error
    return cast(Subject, subject), cast(Decision, decision)


def pae(content: bytes) -> bytes:
    """Return the pre-authentication encoding of a payload: the bytes that are signed."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(content), content)


def payload_of(signed: bytes) -> bytes:
    """Return the payload in a pre-authentication encoding. Raises ValueError if the bytes are none."""
    content = signed.split(b" ", 4)[-1]
    if pae(content) != signed:
        raise ValueError("it does not begin with DSSEv1, the type and the length of its JSON")
    return content


def envelope(signed: bytes, signature: str) -> dict[str, Any]:
    """Return the DSSE envelope of a signed payload.

    Parameters
    ----------
    signed
        The pre-authentication encoding of the payload.
    signature
        The signature of OpenSSH as armored text. The envelope holds its bytes in base64, and the key's fingerprint.
    """
    made = {"keyid": fingerprint(signature), "sig": base64.b64encode(signature.encode()).decode()}
    content = base64.b64encode(payload_of(signed)).decode()
    return {"payload": content, "payloadType": _PAYLOAD_TYPE, "signatures": [made]}
