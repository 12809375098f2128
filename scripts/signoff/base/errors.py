"""Errors that a user can act on, and the sentences that explain them."""

import difflib
import errno
import os
from collections.abc import Iterable

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE}


class TaskError(Exception):
    """A foreseeable problem. The user sees its message as one line, which says what to do about it."""


def explain(error: Exception) -> str:
    """Return one sentence that says what went wrong and what to do."""
    if isinstance(error, TaskError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} does not exist. Check the path, or run the task that writes it."
    if isinstance(error, MemoryError):
        return "not enough memory. Run on a machine with more, or on fewer rows."
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}. Check the path, its owner and the free space."
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return f"a file could not be written: {os.strerror(error.errno)}. Make room, or raise the limit, and run again."
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        return f"{ascii(error.object)[:100]} holds bytes that are not text in UTF-8. Write it in UTF-8, and run again."
    return (
        f"unexpected failure ({type(error).__name__}: {error}). "
        "Run again with --verbose (or SIGNOFF_VERBOSE=1) for the traceback, and report it if it is a bug."
    )


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a clause that suggests the known names closest to an unknown one."""
    names = [str(each) for each in names]
    folded = {each.lower(): each for each in reversed(names)}
    close = [folded[each] for each in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.5)]
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"there are: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}."


class Lacking(TaskError, KeyError):
    """A key is missing from a file."""

    __str__ = Exception.__str__


class NotAFile(TaskError, OSError):
    """A folder, a pipe or a device is where a file must be."""
