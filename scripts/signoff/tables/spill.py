"""More numbers than memory holds, in a file: their groups, how many are different, which repeat, which have a rank."""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

# Multiples of it, modulo 2 ** 64, are spread as evenly as can be (Knuth, The Art of Computer Programming 3, 6.4).
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# Numbers that are in memory at a time.
PIECE = 1 << 20


class Spill:
    """Numbers of 8 bytes, kept in their order in a file without a name, in `folder` or that for temporary files.

    It goes when the process does.
    """

    def __init__(self, folder: Path | None, dtype: str = "uint64"):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        self.file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        self.dtype, self.size = np.dtype(dtype), 0

    def add(self, numbers: np.ndarray) -> None:
        self.file.write(np.ascontiguousarray(numbers, self.dtype).data)
        self.size += len(numbers)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice) -> np.ndarray:
        start, stop, _ = part.indices(self.size)
        read = os.pread(self.file.fileno(), 8 * max(stop - start, 0), 8 * start)
        return np.frombuffer(read, self.dtype)


def pieces(numbers: Spill | np.ndarray) -> Iterator[np.ndarray]:
    """Yield all numbers, some at a time."""
    return (numbers[n : n + PIECE] for n in range(0, len(numbers), PIECE))


def _groups(numbers: Spill) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all numbers with their places (from 0), in groups that fit into memory; equal ones are in one group."""
    # Told apart by a hash.
    bits = (len(numbers) // (2 * PIECE)).bit_length()
    for group in range(1 << bits if len(numbers) else 0):
        found, places = [], []
        for n, piece in enumerate(pieces(numbers)):
            inside = np.arange(len(piece))
            if bits:
                inside = np.flatnonzero(piece * GOLDEN >> np.uint64(64 - bits) == group)
            found.append(piece[inside])
            places.append((n * PIECE + inside).astype("uint32" if len(numbers) < 1 << 32 else "int64"))
        yield np.concatenate(found), np.concatenate(places)


def distinct(numbers: Spill) -> int:
    """Return how many different numbers there are."""
    count = 0
    for found, _ in _groups(numbers):
        found.sort()
        count += min(len(found), 1) + int((found[1:] != found[:-1]).sum())
    return count


def repeats(numbers: Spill) -> Iterator[np.ndarray]:
    """Yield the places (from 0) of numbers that also occur at an earlier place."""
    for found, places in _groups(numbers):
        ordered = np.sort(found)
        twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        if len(twice):
            among = np.flatnonzero(np.isin(found, twice))
            among = among[np.argsort(found[among], kind="stable")]
            again = np.flatnonzero(found[among][1:] == found[among][:-1]) + 1
            yield places[among[again]].astype("int64")


def select(ranks: list[int], parts: Callable[[], Iterable[tuple[np.ndarray, np.ndarray | None]]]) -> np.ndarray:
    """Return the numbers (uint64) of some ranks, from 0, among more of them than memory holds.

    `parts` returns them again at each call, some at a time, with how often each one counts (None: once).
    """
    left, found = np.array(ranks), np.zeros(len(ranks), "uint64")
    # By 16 bits at a time, the first ones first: how many numbers that begin as the one looked for go on with which.
    for shift in (48, 32, 16, 0):
        counts = {begin: np.zeros(1 << 16, "int64") for begin in np.unique(found)}
        for numbers, weights in parts():
            for begin in counts:
                same = numbers >> np.uint64(shift + 16) == begin if shift < 48 else slice(None)
                digits = (numbers[same] >> np.uint64(shift) & np.uint64(0xFFFF)).astype("int64")
                times = None if weights is None else weights[same]
                counts[begin] += np.bincount(digits, times, minlength=1 << 16).astype("int64")
        for n, begin in enumerate(found):
            upto = np.cumsum(counts[begin])
            digit = np.searchsorted(upto, left[n], side="right")
            left[n] -= upto[digit - 1] if digit else 0
            found[n] = begin << np.uint64(16) | np.uint64(digit)
    return found


def as_keys(numbers: np.ndarray) -> np.ndarray:
    """Return numbers (int64 or float64) as uint64 in the same order."""
    bits = numbers.view("int64") if numbers.dtype == "int64" else (numbers + 0.0).view("int64")
    if numbers.dtype == "float64":
        bits = bits ^ (bits >> 63 & np.int64(2**63 - 1))
    return bits.view("uint64") ^ np.uint64(1 << 63)


def from_keys(keys: np.ndarray, dtype: str) -> np.ndarray:
    """Return the numbers of a dtype, int64 or float64, that keys stand for."""
    bits = (keys ^ np.uint64(1 << 63)).view("int64")
    return (bits ^ (bits >> 63 & np.int64(2**63 - 1))).view("float64") if dtype == "float64" else bits
