"""The files of a dossier, and the README.md that names them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from signoff.release.facts import ReleaseFacts
from signoff.report.document import Code, Items, Part, Section, Strong, Table, Words
from signoff.report.markdown import markdown

_VERIFY = "ssh-keygen -Y verify -f allowed_signers -I NAME -n signoff -s signatures/1.signed.sig < signatures/1.signed"


@dataclass(frozen=True)
class Entry:
    """A file of the dossier: its bytes, what it is, and where it comes from."""

    content: bytes
    about: str
    source: str


def is_model(file: str) -> bool:
    """Return whether a file of a release holds a model."""
    return file.endswith((".pkl", ".skops"))


def readme(facts: ReleaseFacts, entries: Mapping[str, Entry]) -> str:
    """Return in Markdown what the dossier of a release holds, how to check it, and what it lacks."""
    rows: list[list[Words]] = [
        [Code(name), each.about, each.source, Code(hashlib.sha256(each.content).hexdigest())]
        for name, each in sorted(entries.items())
    ]
    decisions: list[Words] = [
        [Strong(each["reviewer"]), f": {each['decision']}, at {each['signed_at']}: {each['comment']}"]
        for each in facts.document["decisions"]
    ]
    check: list[Words] = [
        ["Whether a file is the one named here: ", Code("sha256sum FILE")],
        [
            "Whether a reviewer has signed, with OpenSSH and the name as in ",
            Code("allowed_signers"),
            ": ",
            Code(_VERIFY),
        ],
        ["Whether the project still holds what was released: ", Code("make verify"), " in its folder."],
    ]
    left_out = {file: digest for file, digest in facts.files.items() if is_model(file)} | facts.data
    lacks: list[Words] = [[Code(path), ", with the SHA-256 ", Code(digest)] for path, digest in left_out.items()]
    if "live.json" not in entries:
        lacks.append("The live record: the project has none yet.")
    if "LICENCES.md" not in entries:
        lacks.append("The licences: the workflow's folder has no LICENCES.md.")
    if not any(each["signature"] for each in facts.document["decisions"]):
        lacks.append("Signatures: the decisions are not signed with keys.")
    parts: list[Part] = [
        f"Verdict: {facts.document['verdict']}. Deployed at {facts.deploy['at']}.",
        f"Release before: {facts.predecessor or 'none'}.",
        Items(decisions),
        Section("Files", [Table("Files", ["file", "what it is", "from", "SHA-256"], rows)]),
        Section("How to check them", [Items(check)]),
        Section("What is not in it", [Items(lacks)]),
    ]
    return markdown(f"Dossier of release {facts.name}", parts)
