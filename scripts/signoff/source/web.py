"""A file behind http:// or https://."""

import email.utils
import hashlib
import ipaddress
import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from signoff.base.errors import TaskError
from signoff.source.address import Cut, Unreachable, shown, split_url
from signoff.source.options import READER, Reader

SCHEMES = ("http", "https")
# Where a cloud tells a machine its credentials, and what the library that knows the networks takes for public.
NOT_PUBLIC = [
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
# The last four bytes of an address are one of IPv4.
NAT64 = [ipaddress.ip_network("64:ff9b::/96")]
T = TypeVar("T")
CORRECT = "Correct raw_data_source_url in the config"


@contextmanager
def response(source: str, method: str = "GET", reader: Reader = READER):
    """Yield the `requests` response for a remote `source`, its body unread.

    Raises
    ------
    Unreachable
        No connection, a timeout, HTTP 408, 429 or 5xx.
    TaskError
        Any other answer than the whole file, a certificate that does not verify, a redirect that is not followed:
        asking again would not help.
    """
    import requests

    class Session(requests.Session):
        def rebuild_auth(self, prepared_request, response):
            # What requests calls before it follows a redirect.
            if reader.redirects == "safe":
                check_redirect(response.url, prepared_request.url)
            super().rebuild_auth(prepared_request, response)

    # Compressed on the way, the length would not be that of the file, and a .csv.gz could arrive unpacked.
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
                error.retry_after = seconds(answer.headers.get("Retry-After"))
                raise error
            # Nothing but 200 says that this is the whole file: 206 would be a part of it.
            if answer.status_code != 200:
                raise TaskError(
                    f"{shown(source)} answered {answer.status_code} {answer.reason}. {CORRECT}, "
                    f"{'and the password or token for it' if answer.status_code in (401, 403) else 'or ask its owner'}."
                )
            yield answer
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" not in str(error):
            raise Unreachable(f"{shown(source)} cannot be reached ({reason(error)})") from error
        raise TaskError(
            f"{shown(source)}: its certificate does not verify ({reason(error)}). {CORRECT}, or name its "
            "authority in the environment variable REQUESTS_CA_BUNDLE."
        ) from error
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise Unreachable(f"{shown(source)} cannot be reached ({reason(error)})") from error
    except requests.RequestException as error:
        raise TaskError(f"{shown(source)}: {error}. {CORRECT}.") from error


def check_redirect(before: str, after: str) -> None:
    """Raise TaskError where a redirect leads off http and https, from https to http, or from a public address to a
    private one: whoever answers for the source could otherwise have what only this machine can reach ingested."""
    here, there = split_url(before), split_url(after)
    if there.scheme not in ("http", "https") or (here.scheme, there.scheme) == ("https", "http"):
        what = f"from {here.scheme} to {there.scheme}"
    elif is_private(there.hostname) and not is_private(here.hostname):
        what = "from a public address to a private one"
    else:
        return
    raise TaskError(
        f"{shown(before)} redirects to {shown(after)}, {what}: not followed. {CORRECT}, or allow it with "
        "reader.redirects: any."
    )


def is_private(host: str | None) -> bool:
    """Tell whether a name or an address leads to this machine, or into a network that is not the public one."""
    try:
        found = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)}
    except OSError:
        # Who asks it will be told.
        return False
    return not all(_is_public(ipaddress.ip_address(each)) for each in found)


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Tell whether an address is one of the public network, also where it carries another one (NAT64, 6to4, mapped)."""
    if not address.is_global or any(address in each for each in NOT_PUBLIC if each.version == address.version):
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return True
    within = address.ipv4_mapped or address.sixtofour
    if any(address in each for each in NAT64):
        within = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    carried = [within, *(address.teredo or ())]
    return all(_is_public(each) for each in carried if each)


def within(reader: Reader, source: str, function: Callable[[], T]) -> T:
    """Return what `function` does, or raises, in at most `reader.max_seconds`; else raise TaskError.

    A timeout of the socket alone begins anew with each byte. The thread that has taken too long ends with its socket.
    """
    outcome: queue.SimpleQueue = queue.SimpleQueue()

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
    return found


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


def version(source: str, reader: Reader) -> dict[str, str]:
    """Ask a server for the version of a remote file: HEAD, or a GET of which only the head is read."""

    def ask(method: str) -> dict[str, str]:
        with response(source, method, reader) as answer:
            return version_in(answer.headers)

    try:
        return within(reader, source, lambda: ask("HEAD"))
    except (TaskError, Unreachable):
        # Some servers know no HEAD, and say so in many ways.
        return within(reader, source, lambda: ask("GET"))


def download(source: str, path: Path, reader: Reader) -> dict[str, str]:
    """Stream a remote file to `path` as it is, and return its version.

    Raises
    ------
    Unreachable
        See `response`; or the body ended before its announced length.
    TaskError
        See `response` and `within`.
    """
    # Closed here, so that a thread which has taken too long cannot write into what is read afterwards.
    with open(path, "wb") as file:
        return within(reader, source, lambda: read(source, file.write, reader))


def digest(source: str, reader: Reader) -> str:
    """Return the SHA-256 of a remote file's content; raises what `download` does."""
    found = hashlib.sha256()
    within(reader, source, lambda: read(source, found.update, reader))
    return found.hexdigest()


def read(source: str, take: Callable[[bytes], object], reader: Reader) -> dict[str, str]:
    """Give a remote file to `take`, piece by piece, as it is, and return its version."""
    from urllib3.exceptions import HTTPError

    with response(source, reader=reader) as answer:
        size = 0
        try:
            for piece in answer.raw.stream(1 << 20, decode_content=False):
                take(piece)
                size += len(piece)
        except HTTPError as error:
            # A body that is shorter than its Content-Length among others: urllib3 counts.
            raise Cut(f"the transfer of {shown(source)} was cut after {size:,} bytes") from error
        return version_in(answer.headers)
