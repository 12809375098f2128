"""Statements and signatures in a merge commit of the repository that holds the project."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from signoff.base.errors import TaskError
from signoff.base.redaction import printable
from signoff.release.approval import Rule
from signoff.release.detached import LARGEST, check_signers


@dataclass(frozen=True)
class Merged:
    """A statement in a commit, by its path in the project, and its signature as armored text."""

    path: Path
    content: bytes
    signature: str


def merged_statements(commit: str, rule: Rule) -> list[Merged]:
    """Return the signed statements that a commit has brought to the project's folder, in the order of their names.

    Files are read from the commit, so that what is checked is what was merged.

    Parameters
    ----------
    commit
        A commit of the repository that the current folder is in, as git names it. Only what differs from its first
        parent counts.
    rule
        The section `release` of the config.

    Raises
    ------
    TaskError
        The commit does not exist, git does not verify its signature by an allowed signer, or it holds no signed
        statement.
    """
    check_signers(rule)
    shown = printable(commit)
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    if found.returncode != 0:
        raise TaskError(f"git knows no commit {shown} in this folder. Fetch it, and name it: make sign-off COMMIT=…")
    name = found.stdout.decode("ascii").strip()
    _check_signed(name, shown, Path(str(rule["allowed_signers"])))
    listed = _git("diff", "--name-only", "--relative", "--diff-filter=AM", "--no-renames", "-z", f"{name}^1", name)
    signatures = sorted(os.fsdecode(each) for each in listed.stdout.split(b"\0") if each.endswith(b".dsse.sig"))
    if not signatures:
        raise TaskError(
            f"the commit {shown} brings no signature of a statement (….dsse.sig) to this folder. Sign the statement, "
            "commit its .sig beside it, and merge both."
        )
    return [_statement(name, Path(each), shown) for each in signatures]


def _check_signed(name: str, shown: str, signers: Path) -> None:
    """Raise TaskError unless git verifies the signature of a commit with the keys of the allowed signers."""
    # OpenPGP and X.509, which know other people, are not asked.
    others = [
        word for each in ("gpg.program", "gpg.openpgp.program", "gpg.x509.program") for word in ("-c", f"{each}=false")
    ]
    ssh = ["-c", f"gpg.ssh.allowedSignersFile={signers.resolve()}", "-c", "gpg.ssh.program=ssh-keygen"]
    done = _git(*others, *ssh, "-c", "gpg.ssh.revocationFile=", "verify-commit", name)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise TaskError(
            f"the commit {shown} is not signed with a key in {signers} ({said[-1] if said else 'no signature'}). "
            "Someone in that file must merge with their key: git -c gpg.format=ssh -c user.signingKey=KEY merge -S "
            "--no-ff BRANCH."
        )


def _statement(commit: str, signature: Path, shown: str) -> Merged:
    """Return a statement in a commit. Raises TaskError if it is missing, a link or too large."""
    path = signature.with_suffix("")
    contents = []
    for each in (path, signature):
        entry = _git("ls-tree", "-l", "-z", commit, "--", f":(literal){each}").stdout.split()
        if not entry or entry[0] not in (b"100644", b"100755"):
            raise TaskError(f"{each} is not a file in the commit {shown}. A statement and its .sig lie in one folder.")
        if int(entry[3]) > LARGEST:
            raise TaskError(f"{each} has more than {LARGEST:,} bytes, so it is neither a statement nor a signature.")
        contents.append(_git("cat-file", "blob", entry[2].decode("ascii")).stdout)
    return Merged(path, contents[0], contents[1].decode("utf-8", "replace"))


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run git in the current folder. Raises TaskError if it is not installed."""
    try:
        command = ["git", *arguments]
        return subprocess.run(command, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"})
    except FileNotFoundError as error:
        raise TaskError("git is not installed, so no commit can be checked. Install it, or use SIGNATURE=.") from error
