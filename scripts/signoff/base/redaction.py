"""What a log must never show: secrets, and characters that steer a terminal."""

import logging
import re

# What must never be shown, and what is shown instead.
SECRETS: dict[str, str] = {}
# What a server has sent, such as the signed address that it redirects to, is nowhere to be known from.
SECRETS_IN_URLS = re.compile(
    r"(?<=://)[^/?\s'\"@]*(?=@)|(?<=[?&])([\w.-]*(?:key|token|secret|password|signature|sig|credential)=)[^&\s'\"]*",
    re.I,
)


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
