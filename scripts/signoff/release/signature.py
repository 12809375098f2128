"""Sign what a reviewer decides with a key of OpenSSH, and verify it."""

import os
import subprocess
import tempfile
from pathlib import Path

from signoff.base.errors import TaskError

# Keeps a signature that was made for something else, such as a commit, from counting here.
NAMESPACE = "signoff"


def sign(content: bytes, key: Path) -> str:
    """Return OpenSSH's armored signature of `content`, made with a key file or with its agent.

    Raises
    ------
    TaskError
        There is no such key, or it cannot sign.
    """
    if not key.is_file():
        raise TaskError(f"the key {key} does not exist. Name a private key of OpenSSH: --key ~/.ssh/id_ed25519")
    # The passphrase, where there is one, is asked for on the terminal.
    done = ssh_keygen("-Y", "sign", "-f", str(key), "-n", NAMESPACE, content=content)
    if done.returncode != 0:
        raise TaskError(f"ssh-keygen cannot sign with {key}: {last_line(done)}")
    return done.stdout.decode()


def verify_signature(content: bytes, decision: dict, allowed_signers: Path, at: str | None) -> str:
    """Return the fingerprint of the key with which `reviewer` has signed `content`.

    Raises
    ------
    TaskError
        There is no signature, it is not one of this content, or allowed_signers does not have the key for this name.
    """
    reviewer, signature = decision["reviewer"], decision["signature"]
    if not allowed_signers.is_file():
        raise TaskError(f"release.allowed_signers: {allowed_signers} does not exist. Write it, or correct the config.")
    if not signature:
        raise TaskError(
            f"the sign-off of {reviewer} carries no signature, and release.allowed_signers asks for one. "
            "Sign off again with --key (make sign-off KEY=…)."
        )
    with tempfile.NamedTemporaryFile("w", suffix=".sig") as file:
        file.write(signature)
        file.flush()
        check = ["-n", NAMESPACE, "-s", file.name]
        if ssh_keygen("-Y", "check-novalidate", *check, content=content).returncode != 0:
            raise TaskError(
                f"the signature of {reviewer} is not one of this sign-off in the namespace {NAMESPACE!r}: it, or what "
                "it signs, was altered, or it was made for something else. Sign off again: make sign-off KEY=…"
            )
        time = [] if at is None else [f"-Overify-time={''.join(each for each in at if each.isdigit())}"]
        done = ssh_keygen("-Y", "verify", "-f", str(allowed_signers), "-I", reviewer, *check, *time, content=content)
    if done.returncode != 0:
        raise TaskError(
            f"{reviewer} may not sign with this key: it is a stranger to {allowed_signers}, or not valid at that time "
            f"({last_line(done)}). Who keeps that file must add it, or someone else must sign."
        )
    return done.stdout.decode().split()[-1]


def ssh_keygen(*arguments: str, content: bytes) -> subprocess.CompletedProcess:
    """Run ssh-keygen on `content`, in UTC. Raises TaskError where it is not installed."""
    try:
        environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C"}
        return subprocess.run(
            ["ssh-keygen", *arguments], input=content, capture_output=True, check=False, env=environment
        )
    except FileNotFoundError as error:
        raise TaskError("ssh-keygen is not installed: signatures need OpenSSH 8.2 or newer.") from error


def last_line(done: subprocess.CompletedProcess) -> str:
    """Return the last thing that a command said."""
    lines = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else f"exit code {done.returncode}"
