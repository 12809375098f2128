"""A file behind http:// or https://."""

import email.utils
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from address import TIMEOUT_S, Cut, Unreachable, shown
from task import TaskError


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


def version_in(headers: dict[str, str]) -> dict[str, str]:
    """Return what tells one state of a remote file from another: ETag, Last-Modified, length; empty if none is sent."""
    names = {"etag": "ETag", "last_modified": "Last-Modified", "length": "Content-Length"}
    known = {key: headers[name] for key, name in names.items() if name in headers}
    return known if known.keys() - {"length"} else {}


def version(source: str, timeout_s: float) -> dict[str, str]:
    """Ask a server for the version of a remote file: HEAD, or a GET of which only the head is read."""
    try:
        with response(source, "HEAD", timeout_s) as answer:
            return version_in(answer.headers)
    except (TaskError, Unreachable):
        # Some servers know no HEAD, and say so in many ways.
        with response(source, timeout_s=timeout_s) as answer:
            return version_in(answer.headers)


def download(source: str, path: Path, timeout_s: float) -> dict[str, str]:
    """Stream a remote file to `path` as it is, and return its version.

    Raises
    ------
    Unreachable
        See `response`; or the body ended before its announced length.
    """
    from urllib3.exceptions import HTTPError

    with response(source, timeout_s=timeout_s) as answer, open(path, "wb") as file:
        try:
            for piece in answer.raw.stream(1 << 20, decode_content=False):
                file.write(piece)
        except HTTPError as error:
            # A body that is shorter than its Content-Length among others: urllib3 counts.
            raise Cut(f"the transfer of {shown(source)} was cut after {file.tell():,} bytes") from error
        return version_in(answer.headers)


def digest(source: str, timeout_s: float) -> str:
    """Return the SHA-256 of a remote file's content, read in pieces."""
    found = hashlib.sha256()
    with response(source, timeout_s=timeout_s) as answer:
        for piece in pieces(answer.raw):
            found.update(piece)
    return found.hexdigest()


def pieces(file: BinaryIO, size: int = 1 << 20) -> Iterator[bytes]:
    """Yield what is left of `file` in pieces of at most `size` bytes."""
    while piece := file.read(size):
        yield piece
