"""Statements and signatures in a merge commit of the repository that holds the project."""

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError
from signoff.base.redaction import printable
from signoff.release.detached import LARGEST, check_signers
from signoff.release.git import run_git


@dataclass(frozen=True)
class Merged:
    """A statement in a commit, by its path in the project, and its signature as armored text."""

    path: Path
    content: bytes
    signature: str


def merged_statements(commit: str, rule: ReleaseConfig) -> list[Merged]:
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
    _check_signed(name, shown, Path(str(rule.allowed_signers)))
    head = _object(name, "commit").partition(b"\n\n")[0].decode("utf-8", "replace").splitlines()
    tree, *parents = (line.partition(" ")[2] for line in head if line.startswith(("tree ", "parent ")))
    changed = ("diff-tree", "-r", "--name-only", "--relative", "--diff-filter=AM", "--no-renames", "-z")
    listed = _git(*changed, parents[0], name).stdout.split(b"\0") if parents else []
    signatures = sorted(os.fsdecode(each) for each in listed if each.endswith(b".dsse.sig"))
    if not signatures:
        raise TaskError(
            f"the commit {shown} brings no signature of a statement (….dsse.sig) to this folder. Sign the statement, "
            "commit its .sig beside it, and merge both."
        )
    return [_statement(tree, Path(each), shown) for each in signatures]


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


def _statement(tree: str, signature: Path, shown: str) -> Merged:
    """Return a statement in the tree of a commit. Raises TaskError if it is missing, a link or too large."""
    path = signature.with_suffix("")
    here = Path(os.fsdecode(_git("rev-parse", "--show-prefix").stdout.removesuffix(b"\n")))
    contents = []
    for each in (path, signature):
        found = _file(tree, (here / each).parts)
        if found is None:
            raise TaskError(f"{each} is not a file in the commit {shown}. A statement and its .sig lie in one folder.")
        if int(_git("cat-file", "-s", found).stdout or 0) > LARGEST:
            raise TaskError(f"{each} has more than {LARGEST:,} bytes, so it is neither a statement nor a signature.")
        contents.append(_object(found, "blob"))
    return Merged(path, contents[0], contents[1].decode("utf-8", "replace"))


def _file(tree: str, path: tuple[str, ...]) -> str | None:
    """Return the name of the object with the content of a file in a tree; None if there is no such file."""
    content, wanted = _object(tree, "tree"), os.fsencode(path[0])
    while content:
        entry, _, content = content.partition(b"\0")
        mode, _, name = entry.partition(b" ")
        found, content = content[: len(tree) // 2].hex(), content[len(tree) // 2 :]
        if name != wanted:
            continue
        if len(path) > 1:
            return _file(found, path[1:]) if mode == b"40000" else None
        return found if mode in (b"100644", b"100755") else None
    return None


def _object(name: str, kind: str) -> bytes:
    """Return the content of an object, which git does not compare with its name when it is read.

    Raises
    ------
    TaskError
        The repository has no such object, or another content in its place.
    """
    content = _git("cat-file", kind, name).stdout
    made = hashlib.new("sha256" if len(name) == 64 else "sha1", usedforsecurity=False)
    made.update(f"{kind} {len(content)}\0".encode() + content)
    if made.hexdigest() != name:
        raise TaskError(f"the object {name} of the repository is missing or damaged. Clone it again.")
    return content


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run git in the current folder. Raises TaskError if it is not installed."""
    done = run_git(Path(), *arguments)
    if done is None:
        raise TaskError("git is not installed, so no commit can be checked. Install it, or use SIGNATURE=.")
    return done
