"""A file behind http:// or https://."""

import email.utils
import hashlib
import ipaddress
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from signoff.base.config import ReaderConfig
from signoff.base.errors import TaskError
from signoff.source.address import Cut, Unreachable, shown, split_url
from signoff.source.last_ingest import Version
from signoff.source.options import READER

if TYPE_CHECKING:
    import requests

SCHEMES = ("http", "https")
# Where clouds give a machine its credentials, and private networks that `ipaddress` takes for public.
_NOT_PUBLIC = [
    ipaddress.ip_network(each)
    for each in (
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.0/24",
        "fd00:ec2::254",
        "64:ff9b:1::/48",
    )
]
# The last four bytes of such an address are an IPv4 address.
_NAT64 = [ipaddress.ip_network("64:ff9b::/96")]
_T = TypeVar("_T")
_CORRECT = "Correct raw_data_source_url in the config"


@contextmanager
def _response(source: str, method: str = "GET", reader: ReaderConfig = READER) -> Iterator["requests.Response"]:
    """Yield the response of `requests` for a remote `source`, with its body unread.

    Raises
    ------
    Unreachable
        No connection, a timeout, HTTP 408, 429 or 5xx.
    TaskError
        Any other answer than the whole file, a certificate that does not verify, or a redirect that is not followed.
        Another try would not help.
    """
    import requests

    class Session(requests.Session):
        def rebuild_auth(self, prepared_request: "requests.PreparedRequest", response: "requests.Response") -> None:
            # requests calls this before it follows a redirect.
            if reader.redirects == "safe":
                _check_redirect(response.url, prepared_request.url or "")
            super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]

    # If it were compressed on the way, the length would not be the file's, and a .csv.gz could arrive unpacked.
    headers = {"Accept-Encoding": "identity", "User-Agent": "signoff"}
    try:
        with (
            Session() as session,
            session.request(
                method,
                source,
                stream=True,
                timeout=(min(10.0, reader.timeout_s), reader.timeout_s),
                headers=headers,
                allow_redirects=True,
            ) as answer,
        ):
            if answer.status_code in (408, 429) or answer.status_code >= 500:
                error = Unreachable(f"{shown(source)} answered {answer.status_code} {answer.reason}")
                error.retry_after = _seconds(answer.headers.get("Retry-After"))
                raise error
            # Only 200 means that this is the whole file: 206 would be a part of it.
            if answer.status_code != 200:
                raise TaskError(
                    f"{shown(source)} answered {answer.status_code} {answer.reason}. {_CORRECT}, "
                    f"{'and the password or token for it' if answer.status_code in (401, 403) else 'or ask its owner'}."
                )
            yield answer
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" not in str(error):
            raise Unreachable(f"{shown(source)} cannot be reached ({reason(error)})") from error
        raise TaskError(
            f"{shown(source)}: its certificate does not verify ({reason(error)}). {_CORRECT}, or name its "
            "authority in the environment variable REQUESTS_CA_BUNDLE."
        ) from error
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise Unreachable(f"{shown(source)} cannot be reached ({reason(error)})") from error
    except requests.RequestException as error:
        raise TaskError(f"{shown(source)}: {error}. {_CORRECT}.") from error


def _check_redirect(before: str, after: str) -> None:
    """Raise TaskError if a redirect leaves http and https, or leads from https to http or from a public address to a
    private one. Otherwise the source's server could make this machine ingest what only this machine can reach."""
    here, there = split_url(before), split_url(after)
    if there.scheme not in ("http", "https") or (here.scheme, there.scheme) == ("https", "http"):
        what = f"from {here.scheme} to {there.scheme}"
    elif _is_private(there.hostname) and not _is_private(here.hostname):
        what = "from a public address to a private one"
    else:
        return
    raise TaskError(
        f"{shown(before)} redirects to {shown(after)}, {what}: not followed. {_CORRECT}, or allow it with "
        "reader.redirects: any."
    )


def _is_private(host: str | None) -> bool:
    """Return whether a name or an address leads to this machine, or into a network that is not public."""
    try:
        found = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)}
    except OSError:
        # The request itself will say so.
        return False
    return not all(_is_public(ipaddress.ip_address(each)) for each in found)


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an address, and any address inside it (NAT64, 6to4, mapped), is in the public network."""
    if not address.is_global or any(address in each for each in _NOT_PUBLIC if each.version == address.version):
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return True
    within = address.ipv4_mapped or address.sixtofour
    if any(address in each for each in _NAT64):
        within = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    carried = [within, *(address.teredo or ())]
    return all(_is_public(each) for each in carried if each)


def _within(reader: ReaderConfig, source: str, function: Callable[[], _T]) -> _T:
    """Return what `function` does, or raises, within `reader.max_seconds`; otherwise raise TaskError.

    The timeout of a socket starts again with each byte. A thread that takes too long ends with its socket.
    """
    outcome: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            outcome.put((function(), None))
        except BaseException as error:
            outcome.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        found, error = outcome.get(timeout=reader.max_seconds)
    except queue.Empty:
        raise TaskError(
            f"{shown(source)} had not arrived after {reader.max_seconds:g} s. Ask its owner, or allow more with "
            "reader.max_seconds."
        ) from None
    if error is not None:
        raise error
    return cast(_T, found)


def reason(error: Exception) -> str:
    """Return the innermost cause of a connection error, with which its nested text ends."""
    return str(error).rpartition(": ")[2].strip("'\")>") or type(error).__name__


def _seconds(retry_after: str | None) -> float | None:
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


def _version_in(headers: Mapping[str, str]) -> Version:
    """Return what identifies the state of a remote file: ETag, Last-Modified, length; empty if it is not enough."""
    names = {"etag": "ETag", "last_modified": "Last-Modified", "length": "Content-Length"}
    known: Version = {key: headers[name] for key, name in names.items() if name in headers}
    return known if known.keys() - {"length"} else {}


def version(source: str, reader: ReaderConfig) -> Version:
    """Ask a server for the version of a remote file by HEAD, or by a GET of which only the head is read."""

    def ask(method: str) -> Version:
        with _response(source, method, reader) as answer:
            return _version_in(answer.headers)

    try:
        return _within(reader, source, lambda: ask("HEAD"))
    except (TaskError, Unreachable):
        # Some servers do not support HEAD, and say so in many ways.
        return _within(reader, source, lambda: ask("GET"))


def download(source: str, path: Path, reader: ReaderConfig) -> Version:
    """Stream a remote file to `path` as it is, and return its version.

    Raises
    ------
    Unreachable
        See `_response`; or the body ended before its announced length.
    TaskError
        See `_response` and `_within`.
    """
    # It is closed here, so that a thread that takes too long cannot write into what is read afterwards.
    with open(path, "wb") as file:
        return _within(reader, source, lambda: _read(source, file.write, reader))


def digest(source: str, reader: ReaderConfig) -> str:
    """Return the SHA-256 of a remote file's content; raises what `download` does."""
    found = hashlib.sha256()
    _within(reader, source, lambda: _read(source, found.update, reader))
    return found.hexdigest()


def _read(source: str, take: Callable[[bytes], object], reader: ReaderConfig) -> Version:
    """Pass a remote file to `take`, piece by piece, as it is, and return its version."""
    from urllib3.exceptions import HTTPError

    with _response(source, reader=reader) as answer:
        size = 0
        try:
            for piece in answer.raw.stream(1 << 20, decode_content=False):
                take(piece)
                size += len(piece)
        except HTTPError as error:
            # Such as a body that is shorter than its Content-Length: urllib3 counts.
            raise Cut(f"the transfer of {shown(source)} was cut after {size:,} bytes") from error
        return _version_in(answer.headers)
