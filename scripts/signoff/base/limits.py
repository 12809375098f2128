"""Limits that the system keeps, whoever takes the memory or writes the file: Python, Arrow or another library."""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def limited(kind: int, most: int) -> Iterator[int]:
    """Lower a limit of this process within the block, and yield the limit in force, which may have been lower before.

    Parameters
    ----------
    kind
        A constant of `resource`, such as RLIMIT_FSIZE.
    most
        The limit, in bytes.
    """
    own, hard = resource.getrlimit(kind)
    limit = most if own == resource.RLIM_INFINITY else min(most, own)
    resource.setrlimit(kind, (limit, hard))
    try:
        yield limit
    finally:
        resource.setrlimit(kind, (own, hard))


@contextlib.contextmanager
def limited_memory(more: int) -> Iterator[None]:
    """Let the process take at most `more` bytes of memory within the block, beyond what it holds already.

    Raises
    ------
    MemoryError
        It needs more. Systems without /proc have no such limit.
    """
    status = Path("/proc/self/status")
    held = (
        [each for each in status.read_text("utf-8").splitlines() if each.startswith("VmData:")]
        if status.exists()
        else []
    )
    if not held:
        yield
        return
    with limited(resource.RLIMIT_DATA, int(held[0].split()[1]) * 1024 + more):
        yield
