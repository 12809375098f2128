"""A signature of a release's folder that OpenSSF's model_signing verifies.

The tool: https://github.com/sigstore/model-transparency. It has an environment of its own, because it needs packages
that nothing else here needs.
"""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

from signoff.base.errors import TaskError
from signoff.base.files import WORKFLOW, read_bytes, replacing

_PROGRAM = WORKFLOW / ".venv/signing/bin/model_signing"


def write_model_signature(folder: Path, files: dict[str, str], key: Path, output: Path) -> None:
    """Sign a folder with a private key; the signature is a Sigstore bundle.

    Parameters
    ----------
    folder
        The release.
    files
        The SHA-256 of each of its files, by its name there.
    key
        A private elliptic-curve key in a PEM file without a passphrase.
    output
        The signature to write.

    Raises
    ------
    TaskError
        model_signing is not installed or cannot sign with this key, or the folder has changed. Nothing is written then.
    """
    if not key.is_file():
        raise TaskError(f"the key {key} does not exist. Create one: openssl ecparam -name prime256v1 -genkey -noout")
    with replacing(output) as new:
        command = [str(_PROGRAM), "sign", "key", str(folder), "--private_key", str(key), "--signature", str(new)]
        try:
            done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
        except FileNotFoundError as error:
            raise TaskError("model_signing is not installed. Install it: make signing.") from error
        if done.returncode != 0:
            said = (done.stderr + done.stdout).strip().splitlines()
            raise TaskError(f"model_signing cannot sign with {key}: {said[-1] if said else done.returncode}")
        if _signed_files(read_bytes(new)) != files:
            raise TaskError(f"{folder} has changed while it was signed. Run make verify.")


def _signed_files(bundle: bytes) -> dict[str, str]:
    """Return the SHA-256 of each file in the manifest of a signature."""
    payload: Any = json.loads(base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"]))
    return {each["name"]: each["digest"] for each in payload["predicate"]["resources"]}
