"""What the command lines of all tasks share: the log, the one-line error, files that are never half written."""

import argparse
import atexit
import contextlib
import difflib
import errno
import gc
import hashlib
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

# A process that ends looks for garbage among all objects of what it has imported, several times: 0.2 s for nothing.
atexit.register(gc.freeze)

LOG_FORMAT = "%(asctime)s - %(levelname)s - %(message)s"
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE}
SYNC_SECONDS = 0.25
# What must never be shown, and what is shown instead.
SECRETS: dict[str, str] = {}
# What a server has sent, such as the signed address that it redirects to, is nowhere to be known from.
SECRETS_IN_URLS = re.compile(
    r"(?<=://)[^/?\s'\"@]*(?=@)|(?<=[?&])([\w.-]*(?:key|token|secret|password|signature|sig|credential)=)[^&\s'\"]*",
    re.I,
)


class TaskError(Exception):
    """A foreseeable problem. Its message is shown to the user as one line, and says what to do about it."""


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every task has; `description` is the script's docstring."""
    parser = argparse.ArgumentParser(
        description=description.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--log", type=Path, help="also write the log to this file")
    parser.add_argument(
        "--verbose",
        action="store_true",
        default=bool(os.environ.get("SIGNOFF_VERBOSE")),
        help="show the Python traceback of a failure (also: SIGNOFF_VERBOSE=1)",
    )
    return parser


def keep_secret(value: str, instead: str) -> None:
    """Show `instead` wherever a log would show `value`. Of less than four characters it is no secret."""
    if len(value) > 3:
        SECRETS[value] = instead


def redact(text: str) -> str:
    """Return `text` without the secrets that are known."""
    for value in sorted(SECRETS, key=len, reverse=True):
        text = text.replace(value, SECRETS[value])
    return text


def printable(text: str) -> str:
    """Return `text` with what would steer a terminal, or begin a line of its own, as Python's escapes."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class Redacting(logging.Formatter):
    """The format of every log: no secrets, not in tracebacks either, and one line a message, whatever the data hold."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = printable(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return SECRETS_IN_URLS.sub(lambda found: (found[1] or "") + "***", redact(super().format(record)))


def json_object(text: str) -> dict:
    """Return the mapping that a command line gave as JSON text; argparse turns the ValueError into exit 2."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"{text} is not a JSON object")
    return value


@contextlib.contextmanager
def logged(task: str, args: argparse.Namespace, subject: object) -> Iterator[None]:
    """Log start and end of `task` on standard error and in `args.log`; turn any failure into one ERROR line and exit 1.

    Raises
    ------
    SystemExit
        With code 1 after any exception of the block, 128 + n after signal n.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if args.log:
        args.log.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(args.log, mode="w", encoding="utf-8"))
    for each in handlers:
        each.setFormatter(Redacting(LOG_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
    # Without a handler SIGTERM would end the process on the spot, and leave a half-written file behind.
    signal.signal(signal.SIGTERM, _stop)
    started = time.monotonic()
    logging.info("[%s] start: %s", task, subject)
    try:
        yield
    except KeyboardInterrupt:
        logging.error("[%s] interrupted. Run it again to go on.", task)
        sys.exit(128 + signal.SIGINT)
    except SystemExit as stop:
        logging.error("[%s] stopped from outside (exit code %s). Run it again to go on.", task, stop.code)
        raise
    except Exception as error:
        logging.error("[%s] %s", task, " ".join(explain(error).split()), exc_info=args.verbose)
        sys.exit(1)
    logging.info("[%s] end after %.1f s", task, time.monotonic() - started)


def _stop(signal_number: int, _frame: object) -> None:
    sys.exit(128 + signal_number)


def explain(error: Exception) -> str:
    """Return one sentence that tells a person what went wrong and what to do."""
    if isinstance(error, TaskError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} does not exist. Check the path, or run the task that writes it."
    if isinstance(error, MemoryError):
        return "not enough memory. Run on a machine with more, or on fewer rows."
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}. Check the path, its owner and the free space."
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return f"a file could not be written: {os.strerror(error.errno)}. Make room, or raise the limit, and run again."
    return (
        f"unexpected failure ({type(error).__name__}: {error}). "
        "Run again with --verbose (or SIGNOFF_VERBOSE=1) for the traceback, and report it if it is a bug."
    )


def decimals(value: float | None) -> str:
    """Return a metric with four decimals, or "undefined"."""
    return "undefined" if value is None else f"{value:.4f}"


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the clause that points from an unknown name to the known ones most like it."""
    names = [str(each) for each in names]
    folded = {each.lower(): each for each in reversed(names)}
    close = [folded[each] for each in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.5)]
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"there are: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}."


def delete_leftovers(folder: Path) -> None:
    """Delete the hidden files of `beside` whose processes, of this machine, were killed."""
    here = f".{socket.gethostname()}-"
    for leftover in folder.glob(".*.part"):
        _, ours, process = leftover.name.removesuffix(".part").rpartition(here)
        if ours and process.isdigit() and Path("/proc/self").exists() and has_ended(process):
            leftover.unlink(missing_ok=True)


def has_ended(process: str) -> bool:
    """Tell whether a process of this machine has ended, be it that nobody has asked how yet: a zombie."""
    try:
        state = Path("/proc", process, "stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in (b"Z", b"X")


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yield a hidden path in the folder of `path`, for a file that lives as long as the block.

    What earlier processes have left in that folder because they were killed is deleted first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    delete_leftovers(path.parent)
    hidden = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.part")
    try:
        yield hidden
    finally:
        hidden.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden path, and move it to `path` when the block ends well.

    A reader of `path` sees the old file or the whole new one, after SIGKILL too.
    """
    with beside(path) as new:
        with synced(new):
            yield new
        sync(new)
        os.replace(new, path)


@contextlib.contextmanager
def synced(path: Path) -> Iterator[None]:
    """Bring what the block writes to the disk while it goes on: at its end, less is left to wait for."""
    ended, errors = threading.Event(), []

    def again_and_again() -> None:
        try:
            while not ended.wait(SYNC_SECONDS):
                # Not there yet, or begun anew.
                with contextlib.suppress(FileNotFoundError):
                    sync(path)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=again_and_again)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    # The system tells of an error once, to the first who asks.
    if errors:
        raise errors[0]


def sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_json(path: Path, value: dict) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinity raise ValueError: they are not JSON."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


class Lacking(TaskError, KeyError):
    """A key is missing from a file."""

    __str__ = Exception.__str__


class Recorded(dict):
    """An object in a JSON file of ours, which another version of the workflow may have written."""

    path: Path

    def __missing__(self, key: object) -> None:
        raise Lacking(
            f"{self.path} does not tell {key!r}: another version of the workflow has written it. Make it anew (make "
            "run, make report; of a release, train and release again)."
        )


def read_json(path: Path) -> dict:
    """Return the JSON object in `path`. Raises TaskError where it is damaged, and later for a key that it lacks."""

    def recorded(pairs: dict) -> Recorded:
        found = Recorded(pairs)
        found.path = path
        return found

    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"), object_hook=recorded)
    except ValueError as error:
        raise TaskError(f"{path} is not valid JSON ({error}). Delete it and run again.") from error
    if not isinstance(found, dict):
        raise TaskError(f"{path} holds no JSON object. Delete it and run again.")
    return found


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, reading it in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
