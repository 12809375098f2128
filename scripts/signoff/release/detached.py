"""A statement that is signed elsewhere: one file with exactly the bytes to sign, and its signature."""

import re
from pathlib import Path

from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError
from signoff.base.files import read_plain, replacing
from signoff.base.redaction import printable
from signoff.release.approval import PAGE, check_age, expiry, statement
from signoff.release.decision import new_decision, with_decision, with_others, without_commit
from signoff.release.envelope import parts_of_payload, payload_of
from signoff.release.form import Decided, Decision, Given, Subject, problem_of, strict_json
from signoff.release.signature import plain_name
from signoff.release.store import Releases
from signoff.release.subject import summary_lines

# Each reviewed file takes about a hundred bytes.
LARGEST = 1 << 20
_ANOTHER = "Write another statement: make statement."


def statement_path(reviewer: str) -> Path:
    """Return where the statement of a reviewer is written by default."""
    return Path("reports", f"statement-{re.sub(r'[^A-Za-z0-9@_.-]+', '-', reviewer.strip())}.dsse")


def _instructions(path: Path, subject: Subject, decision: Decision, lines: list[str], rule: ReleaseConfig) -> str:
    """Return the text for the reviewer: the decision, what it is about, and the commands that check and sign it.

    Parameters
    ----------
    path
        The statement's file.
    subject, decision
        What the statement holds.
    lines
        The summary of the subject.
    rule
        The section `release` of the config.
    """
    until, trainers = expiry(decision, rule.valid_days), rule.separate_trainer
    shown = [
        f"Reviewer    {printable(decision['reviewer'])}",
        f"Decision    {decision['decision']}",
        f"Comment     {printable(decision['comment'])}",
        *([f"Override    {printable(decision['override'])}"] if decision["override"] else []),
        f"Made at     {decision['signed_at']}",
        *([f"Expires     {until}"] if until else []),
        *([f"Trained by  {printable(', '.join(trainers))}, who may not approve"] if trainers else []),
        *lines,
        f"Digest      {subject['files'][PAGE]} ({PAGE})",
    ]
    page = Path(PAGE).name
    # A line of JSON is a name or a digest as a whole, so no comment can pass for one.
    line, digest = f'^ *"name": "{page}",$', '^ *"sha256": "\\(.*\\)"$'
    return "\n".join(
        [
            *shown,
            "",
            f"Put {path.name} and the report that you have read, {page}, into one folder. Check that the statement is",
            "about this report (the answer must be OK), and that it begins with your decision; it is an in-toto",
            "Statement as JSON, and can be read as a whole:",
            "",
            f"""    sed -n '/{line}/,/}}/s/{digest}/\\1  {page}/p' {path.name} | sha256sum --check""",
            f"    head -n 13 {path.name}",
            "",
            "Sign it with your key (a file, an agent or a hardware key), and send back the signature:",
            "",
            f"    ssh-keygen -Y sign -f KEY -n signoff {path.name}",
            "",
            f"The project takes it with: make sign-off SIGNATURE={path}.sig",
            "",
        ]
    )


def write_statement(
    here: Subject, given: Given, sign_off: Path, output: Path | None, rule: ReleaseConfig
) -> tuple[Path, str]:
    """Write a statement to sign, and beside it the text about it; return the path of the statement, and the text.

    Parameters
    ----------
    here
        The subject of the decision, as `review` returns it.
    given
        As in `new_decision`.
    sign_off
        Where the others' decisions are, if there are any.
    output
        Where to write it; by default, where `statement_path` says.
    rule
        The section `release` of the config.

    Raises
    ------
    TaskError
        The decision is not complete, or no signature could be checked.
    """
    check_signers(rule)
    lines = [*map(printable, summary_lines(here))]
    with Releases().locked("statement"):
        # The same text that the others have signed.
        subject, _ = with_others(here, sign_off)
    decision = new_decision(subject, given, rule)
    path = output or statement_path(decision["reviewer"])
    text = _instructions(path, subject, decision, lines, rule)
    for each, content in ((path, statement(subject, decision)), (path.with_suffix(".txt"), text.encode())):
        with replacing(each) as new:
            new.write_bytes(content)
    return path, text


def check_signers(rule: ReleaseConfig) -> None:
    """Raise TaskError if no signature can be checked."""
    if not rule.allowed_signers:
        raise TaskError("release.allowed_signers is not set, so no signature can be checked. Set it in the config.")


def take_signature(signature: Path, here: Subject, sign_off: Path, rule: ReleaseConfig) -> Decided:
    """Return the sign-off with the decision of a statement that was signed elsewhere.

    Parameters
    ----------
    signature
        The file that ssh-keygen has written: the statement's name and ".sig".
    here
        The current subject of the decision, as `review` returns it.
    sign_off
        Where the others' decisions are, if there are any.
    rule
        The section `release` of the config.

    Raises
    ------
    TaskError
        The files are missing or of a wrong form, the statement is about other files than those here or has expired, or
        the signature is not one of an allowed signer in this reviewer's name.
    """
    if signature.suffix != ".sig":
        raise TaskError(f"{signature} is not a signature: its name must be the statement's name and .sig.")
    path = signature.with_suffix("")
    # Each file is read once, so that the checked bytes are the kept ones.
    return take_statement(_read(path), _read(signature).decode("utf-8", "replace"), path, here, sign_off, rule)


def take_statement(
    content: bytes, signature: str, path: Path, here: Subject, sign_off: Path, rule: ReleaseConfig
) -> Decided:
    """Return the sign-off with the decision of a statement, from the bytes of both files; raises as `take_signature`.

    Parameters
    ----------
    content, signature
        The statement, and the signature of OpenSSH as armored text.
    path
        What to call the statement.
    here, sign_off, rule
        As in `take_signature`.
    """
    check_signers(rule)
    subject, decision = _parse_statement(content, path)
    decision["signature"] = signature
    _check_here(subject, here, path)
    # It needs a comment, and a reason to override, like any other.
    new_decision(here, decision, rule)
    check_age([decision], rule)
    _, others = stored = with_others(subject, sign_off)
    if others and stored[0] != subject:
        raise TaskError(f"{sign_off} was signed at another commit than the one in {path}. {_ANOTHER}")
    for each in others:
        if (
            plain_name(each["reviewer"]) == plain_name(decision["reviewer"])
            and each["signed_at"] > decision["signed_at"]
        ):
            raise TaskError(f"{each['reviewer']} has decided again at {each['signed_at']}, after {path}. {_ANOTHER}")
    return with_decision(subject, others, decision, rule)


def _parse_statement(content: bytes, path: Path) -> tuple[Subject, Decision]:
    """Return the subject and the decision of a statement whose file holds these bytes.

    Raises
    ------
    TaskError
        They are not, byte for byte, the statement of a decision: a key is unknown, missing or repeated, for example.
    """
    problem: str | None = "it is not the text that make statement has written"
    try:
        subject, decision = parts_of_payload(strict_json(payload_of(content)))
        decision["signature"] = None
        problem = problem_of(subject, [decision]) or (problem if statement(subject, decision) != content else None)
    except ValueError as error:
        problem = str(error)
    if problem:
        raise TaskError(f"{path} is not a statement: {problem}. {_ANOTHER}")
    return subject, decision


def _read(path: Path) -> bytes:
    """Return the bytes of a small file. Raises TaskError if it is missing, and as `read_plain`."""
    try:
        return read_plain(path, LARGEST)
    except FileNotFoundError as error:
        raise TaskError(f"{path} does not exist. A statement and its .sig lie in one folder.") from error


def _check_here(subject: Subject, here: Subject, path: Path) -> None:
    """Raise TaskError if a statement is about other files than those here now; the message names the difference."""
    if subject["version"] != here["version"]:
        raise TaskError(f"{path} has the form of an older workflow. {_ANOTHER}")
    if subject["project"] != here["project"]:
        raise TaskError(f"{path} was written for another project than this one. {_ANOTHER}")
    if subject["predecessor"] != here["predecessor"]:
        raise TaskError(
            f"{path} was written when {subject['predecessor'] or 'nothing'} was deployed, but now "
            f"{here['predecessor'] or 'nothing'} is: it was superseded. {_ANOTHER}"
        )
    names = [*here["files"], *subject["files"]]
    if differ := [name for name in names if subject["files"].get(name) != here["files"].get(name)]:
        raise TaskError(f"{differ[0]} is not the one that {path} is about. Read the report again. {_ANOTHER}")
    if subject["code"]["sha256"] != here["code"]["sha256"]:
        raise TaskError(f"the workflow's code is not the one that {path} is about. {_ANOTHER}")
    if without_commit(subject) != without_commit(here):
        raise TaskError(f"the verdict in {path} is not the one of these files. {_ANOTHER}")
