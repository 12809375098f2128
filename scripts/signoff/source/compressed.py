"""The bytes of a text file that is plain or compressed, unpacked while they are read."""

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path
from typing import IO, BinaryIO

from signoff.base.errors import TaskError

MEMBERS = (".csv", ".tsv", ".jsonl", ".ndjson")
# What unpacking may hold: eight times the dictionary of `xz -9`. A file can ask for 4 GB.
XZ_MEMORY = 1 << 29
PIECE = 1 << 16


class Unpacked(io.RawIOBase):
    """The text of an xz file, of one stream or of several, in bounded memory."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb")  # noqa: SIM115
        self._stream = lzma.LZMADecompressor(memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        while True:
            if self._stream.eof:
                rest = self._stream.unused_data.lstrip(b"\0") or self._file.read(PIECE).lstrip(b"\0")
                if not rest:
                    return 0
                self._stream, more = lzma.LZMADecompressor(memlimit=XZ_MEMORY), rest
            else:
                more = self._file.read(PIECE) if self._stream.needs_input else b""
                if not more and self._stream.needs_input:
                    raise EOFError("it ends before its end was reached")
            found = self._stream.decompress(more, max_length=len(buffer))
            if found:
                buffer[: len(found)] = found
                return len(found)

    def close(self) -> None:
        self._file.close()
        super().close()


def open_text(arrived: Path, form: str | None, name: str) -> BinaryIO | IO[bytes]:
    """Open a file that is plain or compressed, for reading its decompressed bytes."""
    if form == "gzip":
        return gzip.open(arrived)
    if form == "xz":
        return io.BufferedReader(Unpacked(arrived), PIECE)
    if form == "bzip2":
        return bz2.open(arrived)
    if form == "zstd":
        import pyarrow as pa

        # Buffered, it has lines.
        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(arrived)), "zstd"), PIECE)
    if form == "zip":
        archive = zipfile.ZipFile(arrived)
        members = [each for each in archive.namelist() if each.lower().endswith(MEMBERS) and "__MACOSX" not in each]
        if len(members) != 1:
            raise TaskError(f"{name} holds {len(members)} CSV files or JSON lines. Give an archive with exactly one.")
        return archive.open(members[0])
    return open(arrived, "rb")
