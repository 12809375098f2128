"""The format of a file by its first bytes, and the bytes of a plain or compressed text, unpacked as they are read."""

import bz2
import contextlib
import functools
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeAlias

from signoff.base.errors import TaskError
from signoff.base.files import only_file

MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"(\xb5/\xfd": "zstd"}
MAGIC |= {b"PAR1": "Parquet", b"ARROW1": "Arrow", b"ORC": "ORC"}
MAGIC |= {b"\xd0\xcf\x11\xe0": "old Excel (.xls)", b"FEA1": "old Feather", b"%PDF": "PDF", b"SQLite": "SQLite"}
# The formats that hold one text, by the suffix of their files.
SUFFIXES = {".gz": "gzip", ".xz": "xz", ".bz2": "bzip2", ".zst": "zstd", ".zip": "zip"}
COMPRESSED = tuple(SUFFIXES.values())
_DAMAGED: tuple[type[Exception], ...]
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
_MEMBERS = (".csv", ".tsv", ".jsonl", ".ndjson")
# What unpacking may hold: eight times the dictionary of `xz -9`. A file can ask for 4 GB.
_XZ_MEMORY = 1 << 29
_PIECE = 1 << 16


class _Gzip:
    """The decompressor of a gzip stream, with the methods of those of other formats."""

    def __init__(self) -> None:
        self._own = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._own.eof

    @property
    def unused_data(self) -> bytes:
        return self._own.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._own.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._own.decompress(self._own.unconsumed_tail + data, max_length)


_Decompressor: TypeAlias = lzma.LZMADecompressor | bz2.BZ2Decompressor | _Gzip


def packed_as(arrived: Path) -> str | None:
    """Return the format that the first bytes of a file name; None for text and unknown formats."""
    with open(arrived, "rb", opener=only_file) as file:
        head = file.read(8)
    found = next((form for magic, form in MAGIC.items() if head.startswith(magic)), None)
    return "Excel" if found == "zip" and _is_excel(arrived) else found


def _is_excel(arrived: Path) -> bool:
    """Return whether a zip archive is an Excel file (.xlsx, .xlsm)."""
    try:
        with zipfile.ZipFile(arrived) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except zipfile.BadZipFile:
        return False


@contextlib.contextmanager
def refusing_damage(name: str, *also: type[Exception]) -> Iterator[None]:
    """Raise TaskError, which calls the file `name`, if what the block reads is damaged (errors in `also`, too)."""
    try:
        yield
    except (*_DAMAGED, *also) as error:
        raise TaskError(f"{name} is damaged or incomplete ({error}). Fetch or export it again.") from error
    except OSError as error:
        # Arrow's own and bzip2's have no number; the system's do, such as that of a full disk.
        if error.errno is not None:
            raise
        raise TaskError(f"{name} is damaged or incomplete ({error}). Fetch or export it again.") from error
    except (NotImplementedError, RuntimeError) as error:
        raise TaskError(
            f"{name} cannot be unpacked ({error}). Pack it without a password, as gzip or plain zip."
        ) from error


class _Unpacked(io.RawIOBase):
    """The text of a file of one compressed stream or of several, in bounded memory.

    Parameters
    ----------
    path
        The file.
    stream
        Makes the decompressor of a stream.
    padding
        The bytes that may be between streams and after them.
    """

    def __init__(self, path: Path, stream: Callable[[], _Decompressor], padding: bytes = b"") -> None:
        self._file = open(path, "rb", opener=only_file)  # noqa: SIM115
        self._new, self._padding = stream, padding
        self._stream = stream()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        while True:
            if self._stream.eof:
                more = self._next_stream()
                if not more:
                    return 0
                self._stream = self._new()
            else:
                more = self._file.read(_PIECE) if self._stream.needs_input else b""
                if not more and self._stream.needs_input:
                    raise EOFError("it ends before its end was reached")
            found = self._stream.decompress(more, max_length=len(buffer))
            if found:
                buffer[: len(found)] = found
                return len(found)

    def _next_stream(self) -> bytes:
        """Return the first bytes of the next stream; nothing at the end of the file."""
        piece = self._stream.unused_data or self._file.read(_PIECE)
        while piece and not piece.lstrip(self._padding):
            piece = self._file.read(_PIECE)
        return piece.lstrip(self._padding)

    def close(self) -> None:
        self._file.close()
        super().close()


def open_text(arrived: Path, form: str | None, name: str) -> IO[bytes]:
    """Open a file that is plain or compressed, for reading its decompressed bytes."""
    if form == "gzip":
        # The standard library's reader reads a name in the header byte by byte, however long it is.
        return io.BufferedReader(_Unpacked(arrived, _Gzip, b"\0"), _PIECE)
    if form == "xz":
        stream = functools.partial(lzma.LZMADecompressor, memlimit=_XZ_MEMORY)
        return io.BufferedReader(_Unpacked(arrived, stream, b"\0"), _PIECE)
    if form == "bzip2":
        # The standard library's reader ignores whatever follows the first damaged head of a stream.
        return io.BufferedReader(_Unpacked(arrived, bz2.BZ2Decompressor), _PIECE)
    if form == "zstd":
        import pyarrow as pa

        # Buffered, it has lines.
        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(arrived)), "zstd"), _PIECE)
    if form == "zip":
        archive = zipfile.ZipFile(arrived)
        members = [each for each in archive.namelist() if each.lower().endswith(_MEMBERS) and "__MACOSX" not in each]
        if len(members) != 1:
            raise TaskError(f"{name} holds {len(members)} CSV files or JSON lines. Give an archive with exactly one.")
        return archive.open(members[0])
    return open(arrived, "rb", opener=only_file)
