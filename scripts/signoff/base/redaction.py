"""Keep secrets and terminal control characters out of logs."""

import logging
import re

# Values that must never be shown, and the text shown in their place.
_SECRETS: dict[str, str] = {}
# Names of secrets in the parameters of a URL.
_SECRET = re.compile(
    r"(?i:(^|[_.-])(api_?key|key|token|secret|pass(word|wd|phrase)?|pwd|pw|signature|sig|credentials?|auth|jwt)$)"
    r"|(?i:(^|[_.-])(authorization|bearer|otp|(php|j|asp)?sess(ion)?_?id)$)"
    r"|(?i:(password|passwd|sastoken|authtoken|userpass)$)"
    r"|(?i:(access|session|client|refresh|id|account|private|shared|api)(key|token|secret)$)"
    r"|(?<=[a-z0-9])(Key|Token|Secret|Pass(word|wd|phrase)?|Pwd|Signature|Sig|Credentials?|Auth)$"
    # As parts of a name they are common: postal_code, session_date.
    r"|(?i:^(session|sid|code)$)|(?i:(^|[_.-])(auth|authorization|login|access)[_.-]?code$)"
)
# Secrets in URLs that a server sends, such as a signed redirect, are found by their form alone.
_IN_URLS = re.compile(r"(?<=://)[^/?\s'\"@]*(?=@)|(?<=[?&;#])([\w.-]+)=[^&;\s'\"]*")
_LIKELY = re.compile("(key|token|secret|password|signature|sig|credential)$", re.I)


def keep_secret(value: str, instead: str) -> None:
    """Show `instead` wherever a log would show `value`. Values below four characters are ignored."""
    if len(value) > 3:
        _SECRETS[value] = instead


def redact(text: str) -> str:
    """Return `text` with each known secret replaced."""
    for value in sorted(_SECRETS, key=len, reverse=True):
        text = text.replace(value, _SECRETS[value])
    return text


def printable(text: str) -> str:
    """Return `text` with control characters and line breaks as Python escapes."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def names_secret(name: str) -> bool:
    """Return whether a parameter of a URL is a secret by its name."""
    return _SECRET.search(name) is not None


def _without_secret(found: re.Match[str]) -> str:
    """Return a login or a parameter that was found in a URL, without its value if that is a secret."""
    name = found[1]
    if name is None:
        return "***"
    return f"{name}=***" if names_secret(name) or _LIKELY.search(name) else found[0]


class Redacting(logging.Formatter):
    """The format of every log: one line per message, and no secrets, even in tracebacks."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = printable(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return _IN_URLS.sub(_without_secret, redact(super().format(record)))
