"""Files that are never half written, their digests, and the JSON that records them."""

import contextlib
import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from signoff.base.errors import Lacking, NotAFile, TaskError

# The folder of the Snakefile.
WORKFLOW = Path(__file__).resolve().parents[3]
_SYNC_SECONDS = 0.25
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def delete_leftovers(folder: Path) -> None:
    """Delete the hidden files of `beside` whose processes, of this machine, were killed."""
    here = f".{socket.gethostname()}-"
    for name in os.listdir(folder) if folder.is_dir() else ():
        # Path.glob takes several times as long.
        if not (name.startswith(".") and name.endswith(".part")):
            continue
        leftover = folder / name
        _, ours, process = leftover.name.removesuffix(".part").rpartition(here)
        process = process.partition(".")[0]
        if ours and process.isdigit() and Path("/proc/self").exists() and _has_ended(process):
            discard(leftover)


def discard(path: Path) -> None:
    """Delete whatever a path names, if anything: a file, a folder, or a link, which is not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def make_way(path: Path) -> bool:
    """Set aside a folder, a pipe or a socket in the place of a file; return whether there was one."""
    kind = _KINDS.get(stat.S_IFMT(path.lstat().st_mode)) if os.path.lexists(path) else None
    if kind is None:
        return False
    aside = path.with_name(f"{path.name}.set-aside-{secrets.token_hex(4)}")
    os.rename(path, aside)
    logging.warning("%s is %s, and must be a file: set aside as %s", path, kind, aside.name)
    return True


def hidden_name(name: str) -> str:
    """Return the name of a part that is being written: it names the process, and nobody can guess it before."""
    return f".{name}.{socket.gethostname()}-{os.getpid()}.{secrets.token_hex(8)}.part"


def no_link(path: str | os.PathLike[str], flags: int) -> int:
    """Open a path as `os.open` does, unless it is a link, which could lead to any file: an opener for `open`.

    Raises
    ------
    TaskError
        It is a link.
    """
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise TaskError(f"{os.fspath(path)} is a link, and must be a file. Delete the link, and run again.") from error


def open_lock(path: Path) -> int:
    """Return the descriptor of a lock's file, which is created if needed; raises as `no_link`."""
    make_way(path)
    return no_link(path, os.O_RDWR | os.O_CREAT)


def _has_ended(process: str) -> bool:
    """Return whether a process of this machine has ended. A zombie has, too."""
    try:
        state = Path("/proc", process, "stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in (b"Z", b"X")


def time_of_files(folder: Path) -> float:
    """Return the time, in seconds since 1970, of a file that is written into a folder now.

    It is some milliseconds behind the clock, and on a network file system it is that of another machine. Who may not
    write there gets the clock's.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


def written_since(paths: Iterable[Path], moment: float) -> list[Path]:
    """Return the files that were written since a moment of `time_of_files`, the oldest first."""
    times = {path: path.stat().st_mtime for path in paths}
    return sorted((path for path in times if times[path] >= moment), key=times.__getitem__)


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yield a hidden path in the folder of `path`, for a file that lives as long as the block.

    Hidden files left there by killed processes are deleted first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    delete_leftovers(path.parent)
    hidden = path.with_name(hidden_name(path.name))
    try:
        yield hidden
    finally:
        hidden.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: Path, small: bool = False) -> Iterator[Path]:
    """Yield a hidden path, and move it to `path` when the block ends well.

    A reader of `path` sees the old file or the whole new one, after SIGKILL too. A `small` file is synced to disk only
    at the end, because the thread that would sync it earlier takes longer to start.
    """
    with beside(path) as new:
        with contextlib.nullcontext() if small else _synced(new):
            yield new
        _sync(new)
        make_way(path)
        os.replace(new, path)


@contextlib.contextmanager
def _synced(path: Path) -> Iterator[None]:
    """Sync the file to disk while the block writes it, so that little is left to sync at the end."""
    ended = threading.Event()
    errors: list[OSError] = []

    def again_and_again() -> None:
        try:
            while not ended.wait(_SYNC_SECONDS):
                # It does not exist yet, or is being rewritten.
                with contextlib.suppress(FileNotFoundError):
                    _sync(path)
        except OSError as error:
            errors.append(error)

    # A daemon, since a signal may raise an exception while it is started: nothing waits for it then.
    thread = threading.Thread(target=again_and_again, daemon=True)
    try:
        thread.start()
        yield
    finally:
        ended.set()
        if thread.is_alive():
            thread.join()
    # The system reports a write error only once, to the first call that asks.
    if errors:
        raise errors[0]


def _sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def json_text(value: Mapping[str, object]) -> str:
    """Return `value` as indented JSON with a line break at the end. NaN and infinity raise ValueError."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write `json_text(value)`, atomically."""
    with replacing(path, small=True) as beside:
        beside.write_text(json_text(value), encoding="utf-8")


class _Recorded(dict[str, Any]):
    """An object from one of the workflow's JSON files, which another version may have written."""

    path: Path

    def __missing__(self, key: object) -> NoReturn:
        raise Lacking(
            f"{self.path} has no key {key!r} (written by another version of the workflow). Recreate it (make run, make "
            "report; for a release, train and release again)."
        )


def any_json(content: bytes) -> Any:
    """Return the value of JSON text in UTF-8. Raises ValueError for anything else, even if it is nested too deeply."""
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`. Raises TaskError if it is damaged, and later for a missing key."""
    return parsed_json(read_bytes(path), path)


def parsed_json(content: bytes, path: Path) -> dict[str, Any]:
    """Return the JSON object that `content`, read from `path`, holds; raises as `read_json`."""

    def recorded(pairs: dict[str, Any]) -> _Recorded:
        found = _Recorded(pairs)
        found.path = path
        return found

    try:
        found = json.loads(content.decode("utf-8"), object_hook=recorded)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{path} is damaged: it is not valid JSON ({error}). Run make run to rebuild it.") from error
    if not isinstance(found, dict):
        raise TaskError(f"{path} is damaged: it does not hold a JSON object. Run make run to rebuild it.")
    return found


def only_file(path: str | os.PathLike[str], flags: int) -> int:
    """Open a path as `os.open` does, if it is a file: the opener for `open`, which would wait for the writer of a pipe.

    Raises
    ------
    NotAFile
        It is a folder, a pipe, a socket or a device.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise NotAFile(f"{os.fspath(path)} is not a file. Put a file there.")


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file; raises as `only_file`."""
    with open(path, "rb", opener=only_file) as file:
        return file.read()


def read_utf8(path: Path, errors: str = "strict") -> str:
    """Return the text of a file, with line breaks as in a text file of Python; raises as `only_file`."""
    with open(path, encoding="utf-8", errors=errors, opener=only_file) as file:
        return file.read()


def read_plain(path: Path, most: int) -> bytes:
    """Return the bytes of a file that somebody else may have put there.

    Raises
    ------
    FileNotFoundError
        It does not exist.
    TaskError
        It is a link, not a file, or larger than `most` bytes.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: only_file(name, flags | os.O_NOFOLLOW)) as file:
            content = file.read(most + 1)
    except (FileNotFoundError, NotAFile):
        raise
    except OSError as error:
        if path.is_symlink():
            raise TaskError(f"{path} is a link. Replace it with what it points to.") from error
        raise TaskError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > most:
        raise TaskError(f"{path} has more than {most:,} bytes.")
    return content


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, reading it in pieces; raises as `only_file`."""
    with open(path, "rb", opener=only_file) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
