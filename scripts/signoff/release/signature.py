"""Sign a reviewer's decision with an OpenSSH key, and verify the signature."""

import base64
import hashlib
import os
import re
import struct
import subprocess
import tempfile
import unicodedata
from pathlib import Path
from typing import TypedDict

from signoff.base.errors import TaskError
from signoff.base.files import read_utf8

# The namespace keeps a signature for another purpose, such as a commit, from counting here.
_NAMESPACE = "signoff"
_ARMOR = re.compile(r"-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)\n-----END SSH SIGNATURE-----\n")
_PRINCIPALS = re.compile(r'^[ \t]*(?:"([^"\n]+)"|([^\s#"]\S*))', re.M)
# The order of the Ed25519 group: if the number in a signature is not below it, a second signature can be derived.
_ORDER = 2**252 + 27742317777372353535851937790883648493


class _Signed(TypedDict):
    """The part of a decision that says who has signed it."""

    reviewer: str
    signature: str | None


def sign(content: bytes, key: Path) -> str:
    """Return OpenSSH's armored signature of `content`, made with a key file or with its agent.

    Raises
    ------
    TaskError
        The key does not exist, or cannot sign.
    """
    if not key.is_file():
        raise TaskError(f"the key {key} does not exist. Name a private key of OpenSSH: --key ~/.ssh/id_ed25519")
    # ssh-keygen asks for a passphrase on the terminal.
    done = _ssh_keygen("-Y", "sign", "-f", str(key), "-n", _NAMESPACE, content=content)
    if done.returncode != 0:
        raise TaskError(f"ssh-keygen cannot sign with {key}: {_last_line(done)}")
    return done.stdout.decode()


def verify_signature(content: bytes, decision: _Signed, allowed_signers: Path, at: str | None) -> str:
    """Return the fingerprint of the key with which `reviewer` has signed `content`.

    Raises
    ------
    TaskError
        The signature is missing or not of this content, or allowed_signers does not have the key for this name.
    """
    reviewer, signature = decision["reviewer"], decision["signature"]
    if not allowed_signers.is_file():
        raise TaskError(f"release.allowed_signers: {allowed_signers} does not exist. Write it, or correct the config.")
    if not signature:
        raise TaskError(
            f"the sign-off of {reviewer} carries no signature, and release.allowed_signers asks for one. "
            "Sign off again with --key (make sign-off KEY=…)."
        )
    with tempfile.NamedTemporaryFile("w", suffix=".sig", encoding="utf-8") as file:
        file.write(signature)
        file.flush()
        check = ["-n", _NAMESPACE, "-s", file.name]
        novalidate = ["-Y", "check-novalidate", *check]
        if not _is_canonical(signature) or _ssh_keygen(*novalidate, content=content).returncode != 0:
            raise TaskError(
                f"the signature of {reviewer} is not one of this sign-off in the namespace {_NAMESPACE!r}: it, or what "
                "it signs, was altered, or it was made for something else. Sign off again: make sign-off KEY=…"
            )
        time = [] if at is None else [f"-Overify-time={''.join(each for each in at if each.isdigit())}"]
        done = _ssh_keygen("-Y", "verify", "-f", str(allowed_signers), "-I", reviewer, *check, *time, content=content)
    if done.returncode != 0:
        raise TaskError(
            f"{reviewer} may not sign with this key: it is not listed in {allowed_signers}, or not valid at that time "
            f"({_last_line(done)}). Ask whoever keeps that file to add it, or let someone else sign."
        )
    return done.stdout.decode().split()[-1]


def _is_canonical(signature: str) -> bool:
    """Return whether a signature has the exact form that OpenSSH writes; OpenSSH also reads other forms."""
    armor = _ARMOR.fullmatch(signature)
    if armor is None:
        return False
    try:
        blob = base64.b64decode(armor[1].replace("\n", ""), validate=True)
        text = base64.b64encode(blob).decode()
        lines = [text[start : start + 70] for start in range(0, len(text), 70)]
        magic, blob = blob[:10], blob[10:]
        _key, namespace, reserved, _hash, made = fields = _strings(blob)
        kind, *numbers = _strings(made)
    except (ValueError, struct.error):
        return False
    if kind == b"ssh-ed25519" and (len(numbers) != 1 or int.from_bytes(numbers[0][32:], "little") >= _ORDER):
        return False
    as_written = magic == b"SSHSIG\0\0\0\1" and namespace == _NAMESPACE.encode() and reserved == b""
    return as_written and len(fields) == 5 and armor[1] == "\n".join(lines)


def fingerprint(signature: str) -> str:
    """Return the fingerprint of the key that has made an armored signature, as ssh-keygen shows it; "" without one."""
    armor = _ARMOR.fullmatch(signature)
    if armor is None:
        return ""
    key = _strings(base64.b64decode(armor[1])[10:])[0]
    return f"SHA256:{base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip('=')}"


def _strings(blob: bytes) -> list[bytes]:
    """Return the length-prefixed strings of an SSH message, and any remaining bytes as one more string."""
    found = []
    while len(blob) >= 4:
        (length,) = struct.unpack(">I", blob[:4])
        if length > len(blob) - 4:
            break
        found.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return [*found, blob] if blob else found


def plain_name(name: str) -> str:
    """Return a normalised name, in which case, surrounding blanks and Unicode forms do not matter."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def person_of(name: str, allowed_signers: Path) -> str:
    """Return one name for each person: names on the same line of allowed_signers belong to one person."""
    same: list[set[str]] = []
    for principals in _principals(allowed_signers):
        names = {plain_name(each) for each in principals if not set(each) & set("*?!")}
        others = [each for each in same if each & names]
        same = [each for each in same if not each & names] + [names.union(*others)]
    return min(next((each for each in same if plain_name(name) in each), {plain_name(name)}))


def names_of(allowed_signers: Path) -> list[str]:
    """Return the first name of each line of allowed_signers; none if the file is missing."""
    if not allowed_signers.is_file():
        return []
    return list(dict.fromkeys(principals[0] for principals in _principals(allowed_signers)))


def _principals(allowed_signers: Path) -> list[list[str]]:
    """Return the names at the beginning of each line of allowed_signers; as in OpenSSH, quoted ones may have blanks."""
    text = read_utf8(allowed_signers, errors="replace")
    return [(quoted or plain).split(",") for quoted, plain in _PRINCIPALS.findall(text)]


def _ssh_keygen(*arguments: str, content: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run ssh-keygen on `content`, in UTC. Raises TaskError if it is not installed."""
    try:
        environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C"}
        return subprocess.run(
            ["ssh-keygen", *arguments], input=content, capture_output=True, check=False, env=environment
        )
    except FileNotFoundError as error:
        raise TaskError("ssh-keygen is not installed: signatures need OpenSSH 8.2 or newer.") from error


def _last_line(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the last line of a command's output."""
    lines = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else f"exit code {done.returncode}"
