"""The names of the folders and files of parts; a command that only needs a name imports no library for tables."""

import hashlib
import re
from urllib.parse import quote

_LONGEST_NAME = 100


def folder_name(value: str) -> str:
    """Return a value as the name of a folder: what is neither a letter nor a digit is percent-encoded."""
    name = re.sub(r"^\.", "%2E", quote(value, safe=" "))
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_LONGEST_NAME]}-{hashlib.sha256(value.encode()).hexdigest()[:8]}"


def piece_name(label: str) -> str:
    """Return the name of the piece that a file of the source has in each part; it is never a hidden file's."""
    name = re.sub(r"^[._]", lambda first: f"%{ord(first[0]):02X}", quote(label, safe="")[-_LONGEST_NAME:])
    return f"{name}-{hashlib.sha256(label.encode()).hexdigest()[:8]}.csv"
