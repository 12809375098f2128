"""Keep secrets and terminal control characters out of logs."""

import logging
import re

# Values that must never be shown, and the text shown in their place.
_SECRETS: dict[str, str] = {}
# Secrets in URLs that a server sends, such as a signed redirect, are found by their form alone.
_SECRETS_IN_URLS = re.compile(
    r"(?<=://)[^/?\s'\"@]*(?=@)|(?<=[?&#])([\w.-]*(?:key|token|secret|password|signature|sig|credential)=)[^&\s'\"]*",
    re.I,
)


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


class Redacting(logging.Formatter):
    """The format of every log: one line per message, and no secrets, even in tracebacks."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = printable(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return _SECRETS_IN_URLS.sub(lambda found: (found[1] or "") + "***", redact(super().format(record)))
