"""The address of a source: its environment variables, what of it may be shown, and the errors of reading it."""

import os
import re
from urllib.parse import SplitResult, quote, unquote, urlsplit

from signoff.base.errors import TaskError
from signoff.base.redaction import keep_secret, names_secret

PATTERN = re.compile(r"[*?\[]")
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_SEPARATORS = re.compile("([?&;#])")
# Who logs in at a URL within a URL.
_WITHIN = re.compile(r"://([^/?#&\s]*)@")
# A chained file system of fsspec: the inner URL would not be checked.
_CHAINED = re.compile(r"^[\w+.-]*::|::[\w+.-]+://")


class Unreachable(Exception):
    """The source cannot be read now; it may be back later. `retry_after`: seconds that the server asked to wait."""

    retry_after: float | None = None


class Cut(Unreachable):
    """The server answered, but its answer ended early: worth another try, never a reason to go on with old data."""


def expand(source: str) -> str:
    """Return `source` with the value of each environment variable that it names as ${NAME}.

    In a URL a value is percent-encoded, so that a password may hold any character; a variable that is the whole source
    is used as it is. Only what connects gets the result; everything else shows the name.

    Raises
    ------
    TaskError
        A variable is not set.
    """

    def value(found: re.Match[str]) -> str:
        name, known = found[0], os.environ.get(found[1])
        if not known:
            raise TaskError(f"the environment variable {found[1]} is not set. Set it where the run starts.")
        keep_secret(known, name)
        if "://" not in source:
            # A whole URL in a variable: the server, or the library that connects, may show parts of it.
            url = split_url(known)
            keep_secret(url.password or "", name)
            keep_secret(shown(known), name)
            if url.scheme in ("http", "https") and len(url.path) > 8:
                keep_secret(url.path, name)
            return known
        keep_secret(quote(known, safe=""), name)
        return quote(known, safe="")

    return _VARIABLE.sub(value, source)


def split_url(source: str) -> SplitResult:
    """Return the parts of a URL. Raises TaskError if it is not valid."""
    try:
        return urlsplit(source)
    except ValueError as error:
        raise TaskError(f"{source} is not a valid URL ({error}). Correct raw_data_source_url in the config.") from error


def shown(source: str) -> str:
    """Return `source` without the secrets that a URL may carry as text: what logs and records show."""
    if "://" not in source:
        return source
    if _CHAINED.search(source):
        return re.sub(r"(?<=://)[^/\s]*(?=@)|(?<==)[^&\s]+", "***", source)
    scheme, authority, rest = _split(source)
    if "@" in authority:
        authority = f"***@{authority.rpartition('@')[2]}"
    path, *others = _SEPARATORS.split(rest)
    path = "/".join(_masked(each) for each in path.split("/"))
    # A value that itself contains pairs is for an ODBC driver, with its password.
    return f"{scheme}://{authority}{path}{''.join(_masked(each, '=') for each in others)}"


def _split(source: str) -> tuple[str, str, str]:
    """Return the scheme of a URL, its authority, and the rest, as they are written."""
    scheme, _, rest = source.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    return scheme, authority, rest[len(authority) :]


def _decoded(text: str) -> str:
    """Return text without its percent-encoding, which may be there twice."""
    return unquote(unquote(text))


def _masked(piece: str, also: str | None = None) -> str:
    """Return a part of a URL with `***` in place of its value if that is, or contains, a secret or the text `also`."""
    name, sign, value = piece.partition("=")
    if _secrets_in(_decoded(piece)) or (also and also in _decoded(value)):
        return f"{name}=***" if sign else "***"
    return piece


def _secrets_in(text: str) -> list[str]:
    """Return the values in the decoded text of a URL, after its authority, whose names are those of secrets."""
    found = []
    for piece in re.split("[?&;#/]", text):
        words = piece.split("=")
        names = [re.sub(r"\[.*\]$", "", each.strip()) for each in words]
        found += [value for name, value in zip(names, words[1:], strict=False) if value and names_secret(name)]
    return found + [each.partition(":")[2] or each for each in _WITHIN.findall(text)]


def refuse_password(source: str, key: str = "raw_data_source_url") -> None:
    """Raise TaskError if a URL contains a password or a token: the config and the records of runs would, too."""
    if "://" not in source:
        return
    refuse_chain(source, key)
    try:
        parts = urlsplit(source)
        secrets = [parts.password or (parts.username if parts.scheme in ("http", "https") else None)]
    except ValueError as error:
        raise TaskError(f"{key}: {error}. It is not a valid URL.") from error
    secrets += _secrets_in(_decoded(_split(source)[2]))
    if any(each and not _VARIABLE.search(each) for each in secrets):
        raise TaskError(
            f"{key} {shown(source)} holds a password or a token. Put it into an environment variable, and write its "
            "name instead: ${NAME}."
        )


def refuse_chain(source: str, key: str = "raw_data_source_url") -> None:
    """Raise TaskError if a URL is a chain of several."""
    if "://" in source and _CHAINED.search(source):
        raise TaskError(
            f"{key} {shown(source)} is a chain of URLs, which is not read. Give the URL of the file itself."
        )
