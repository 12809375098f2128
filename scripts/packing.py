"""Which format a file is in, told by its first bytes, and the bytes of its text, unpacked."""

import codecs
import gzip
import lzma
import zipfile
from pathlib import Path
from typing import BinaryIO

from task import TaskError

MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip", b"PAR1": "parquet"}
MAGIC |= {b"BZh": "bzip2", b"(\xb5/\xfd": "zstd", b"\xd0\xcf\x11\xe0": "Excel", b"%PDF": "PDF"}


def packed_as(arrived: Path) -> str | None:
    """Return the format that a file's first bytes tell; None for text, or what is not known."""
    with open(arrived, "rb") as file:
        head = file.read(8)
    return next((form for magic, form in MAGIC.items() if head.startswith(magic)), None)


def refuse_markup(head: bytes, name: str) -> None:
    """Raise TaskError where a file begins like a web page: an error or a login page instead of the data."""
    if head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"<"):
        line = head.decode("utf-8", "replace").split()
        raise TaskError(
            f"{name} is an HTML or XML page, not a table (it begins with {' '.join(line)[:60]!r}). "
            "Open it in a browser: it may ask to log in, or say that it has moved."
        )


def open_text(arrived: Path, form: str | None, name: str) -> BinaryIO:
    """Open a file that is plain or compressed, for reading its decompressed bytes."""
    if form == "gzip":
        return gzip.open(arrived)
    if form == "xz":
        return lzma.open(arrived)
    if form == "zip":
        archive = zipfile.ZipFile(arrived)
        members = [each for each in archive.namelist() if each.lower().endswith(".csv") and "__MACOSX" not in each]
        if len(members) != 1:
            raise TaskError(f"{name} holds {len(members)} CSV files. Give an archive with exactly one.")
        return archive.open(members[0])
    return open(arrived, "rb")
