"""The data source: a local path, file://, http:// or https:// URL; what version it is in, and its bytes."""

import datetime
import email.utils
import hashlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from retry import retry
from task import TaskError, sha256

TIMEOUT_S = 30.0
# What tells in a log that the last data were used.
GOING_ON = "going on with"
logger = logging.getLogger(__name__)


class Unreachable(Exception):
    """The source cannot be read now; it may be back later. `retry_after`: seconds that the server asked to wait."""

    retry_after: float | None = None


def is_remote(source: str) -> bool:
    """Tell whether `source` is an http or https URL."""
    return split_url(source).scheme in ("http", "https")


def split_url(source: str) -> SplitResult:
    """Return the parts of a URL. Raises TaskError where it is none."""
    try:
        return urlsplit(source)
    except ValueError as error:
        raise TaskError(f"{source} is no URL ({error}). Correct raw_data_source_url in the config.") from error


def local_path(source: str) -> Path:
    """Return the path that a local `source` names.

    Raises
    ------
    TaskError
        When its scheme is none that can be read, or nothing is there.
    """
    parts = split_url(source)
    if "://" in source and parts.scheme != "file":
        raise TaskError(f"{source}: cannot read {parts.scheme}://. Give a path, or a file://, http:// or https:// URL.")
    path = Path(unquote(parts.path)) if "://" in source else Path(source)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise TaskError(f"the source {source} {what}. Correct raw_data_source_url in the config.")
    return path


def shown(source: str) -> str:
    """Return `source` without the password that a URL may carry: what logs and records show."""
    try:
        parts = urlsplit(source)
    except ValueError:
        return source
    if not parts.password and not parts.username:
        return source
    return urlunsplit(parts._replace(netloc=f"***@{parts.netloc.rpartition('@')[2]}"))


@contextmanager
def response(source: str, method: str = "GET", timeout_s: float = TIMEOUT_S):
    """Yield the `requests` response for a remote `source`, its body unread.

    Raises
    ------
    Unreachable
        No connection, a timeout, HTTP 429 or 5xx.
    TaskError
        Any other HTTP error: asking again would not help.
    """
    import requests

    # Compressed on the way, the length would not be that of the file, and a .csv.gz could arrive unpacked.
    headers = {"Accept-Encoding": "identity", "User-Agent": "signoff"}
    try:
        with requests.request(
            method,
            source,
            stream=True,
            timeout=(min(10.0, timeout_s), timeout_s),
            headers=headers,
            allow_redirects=True,
        ) as answer:
            if answer.status_code == 429 or answer.status_code >= 500:
                error = Unreachable(f"{shown(source)} answered {answer.status_code} {answer.reason}")
                error.retry_after = seconds(answer.headers.get("Retry-After"))
                raise error
            if answer.status_code >= 400:
                raise TaskError(
                    f"{shown(source)} answered {answer.status_code} {answer.reason}. "
                    "Correct raw_data_source_url in the config, or ask whoever serves it."
                )
            yield answer
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise Unreachable(f"{shown(source)} cannot be reached ({reason(error)})") from error
    except requests.RequestException as error:
        raise TaskError(f"{shown(source)}: {error}. Correct raw_data_source_url in the config.") from error


def reason(error: Exception) -> str:
    """Return the innermost cause that the nested text of a connection error ends with."""
    return str(error).rpartition(": ")[2].strip("'\")>") or type(error).__name__


def seconds(retry_after: str | None) -> float | None:
    """Return the wait that a Retry-After header asks for, at most five minutes: seconds, or an HTTP date."""
    if retry_after is None:
        return None
    if retry_after.strip().isdigit():
        return min(float(retry_after), 300.0)
    try:
        until = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return min(max(until.timestamp() - time.time(), 0.0), 300.0)


def remote_version(headers: dict[str, str]) -> dict[str, str]:
    """Return what tells one state of a remote file from another: ETag, Last-Modified, length; empty if none is sent."""
    names = {"etag": "ETag", "last_modified": "Last-Modified", "length": "Content-Length"}
    version = {key: headers[name] for key, name in names.items() if name in headers}
    return version if version.keys() - {"length"} else {}


def as_text(version: dict[str, str]) -> str:
    """Return a remote version as text: the ETag is enough, and the length may be missing in one of two answers."""
    return json.dumps({"etag": version["etag"]} if "etag" in version else version, sort_keys=True)


def local_version(path: Path) -> dict[str, int]:
    """Return the modification time (nanoseconds since 1970) and size (bytes) of a local file."""
    status = path.stat()
    return {"mtime_ns": status.st_mtime_ns, "size": status.st_size}


def pieces(file: BinaryIO, size: int = 1 << 20) -> Iterator[bytes]:
    """Yield what is left of `file` in pieces of at most `size` bytes."""
    while piece := file.read(size):
        yield piece


def version_text(record: dict) -> str:
    """Return the version of the source that a record tells, as `source_version` gives it."""
    if is_remote(record["source"]) and record["version"]:
        return as_text(record["version"])
    return "sha256:" + record["source_sha256"]


def read_record(source: str, record: Path) -> dict | None:
    """Return what the last ingest wrote down, or None where there is none, or one of another source."""
    try:
        last = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return last if last.get("source") == shown(source) else None


def age(record: dict) -> str:
    """Return how long ago a record's data were ingested, in words."""
    then = datetime.datetime.fromisoformat(record["ingested_at"])
    hours = (datetime.datetime.now(datetime.UTC) - then).total_seconds() / 3600
    if hours < 1:
        return f"{max(hours, 0) * 60:.0f} minutes"
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def use_last(error: Exception, record: dict, data: Path) -> str:
    """Return the one line that a run says when it goes on with the last good file."""
    return f"{error}; {GOING_ON} {data}, ingested {age(record)} ago ({record['ingested_at']})"


def source_version(source: str, data: Path, on_unreachable: str = "use_last", timeout_s: float = TIMEOUT_S) -> str:
    """Return a text that changes when the content of `source` does, and only then, as far as can be told.

    A local file is told by its SHA-256, which is taken from the record of the last ingest as long as modification
    time and size are the same. A remote one is told by its ETag, Last-Modified and length; by the SHA-256 of its
    content where the server sends neither of the first two. A source that cannot be reached now counts as unchanged,
    with a warning, when `data` was ingested from it, and `on_unreachable` allows it. A source that is wrong
    (missing, 404) gives a version of its own, so that the ingest runs and says what is wrong.
    """
    last = None
    try:
        last = read_record(source, data.with_suffix(".json"))
        if not is_remote(source):
            path = local_path(source)
            if last and last["version"] == local_version(path):
                return version_text(last)
            return "sha256:" + sha256(path)
        version = retry(on=Unreachable)(headers_of)(source, timeout_s)
        return as_text(version) if version else "sha256:" + retry(on=Unreachable)(digest_of)(source, timeout_s)
    except TaskError as error:
        return f"error: {error}"
    except Unreachable as error:
        if last and data.is_file() and on_unreachable == "use_last":
            logger.warning(use_last(error, last, data))
            return version_text(last)
        return f"unreachable: {error}"


def headers_of(source: str, timeout_s: float) -> dict[str, str]:
    """Ask a server for the version of a remote file: HEAD, or a GET of which only the head is read."""
    try:
        with response(source, "HEAD", timeout_s) as answer:
            return remote_version(answer.headers)
    except (TaskError, Unreachable):
        # Some servers know no HEAD, and say so in many ways.
        with response(source, timeout_s=timeout_s) as answer:
            return remote_version(answer.headers)


def digest_of(source: str, timeout_s: float) -> str:
    """Return the SHA-256 of a remote file's content, read in pieces."""
    digest = hashlib.sha256()
    with response(source, timeout_s=timeout_s) as answer:
        for piece in pieces(answer.raw):
            digest.update(piece)
    return digest.hexdigest()
