"""How a text file is written: its encoding, its delimiter and its decimal sign."""

import csv
import io
import itertools
import re
from collections.abc import Callable
from typing import IO

from signoff.source.checks import SEPARATORS
from signoff.tables.cells import BLANKS, COMMA_NUMBER, MINUS, SIGN

_SAMPLE = 1 << 18
_EXPONENT = rf"[eE]{SIGN}?\d+"
# Digits around a comma that cannot separate thousands, or an exponent behind it: the comma is a decimal one.
_CLEAR_COMMA = re.compile(
    r"\D*(?:0|\d{4,}|\d{1,3}(?:[. ’'\u00a0\u202f]\d{3})+)?,\d+\D*|\D*\d+,(?:\d\d?|\d{4,})\D*"
    rf"|\D*\d*,\d+{_EXPONENT}\D*"
)
# A plain number with a decimal point; the minus may come after it.
_CLEAR_POINT = re.compile(rf"\s*{SIGN}?(?:\d+\.(?:\d{{1,2}}|\d{{4,}})|0?\.\d+|\d*\.\d+{_EXPONENT})\s*{MINUS}?\s*")
_WHOLE = re.compile(rf"\s*{SIGN}?\s*\d+(?:{_EXPONENT})?\s*{MINUS}?\s*")


def sniff(opened: Callable[[], IO[bytes]], name: str) -> dict[str, str]:
    """Return how a text file is written: its encoding, delimiter and decimal, as the config's `reader` calls them.

    Parameters
    ----------
    opened
        A function that opens the file's (decompressed) bytes for reading.
    name
        What to call it in an error.
    """
    with opened() as stream:
        head = stream.read(_SAMPLE)
    encoding = "utf-8"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    else:
        try:
            with opened() as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as whole:
                while whole.read(_SAMPLE):
                    pass
        except UnicodeDecodeError:
            encoding = "cp1252" if not set(head) & {0x81, 0x8D, 0x8F, 0x90, 0x9D} else "latin-1"
    text = head.decode("utf-8-sig" if encoding == "utf-8" else encoding, errors="ignore")
    # The last line of the sample may be cut.
    lines = text.splitlines(keepends=True)[: -1 if len(head) == _SAMPLE else None]
    tables = {mark: _rows_of(lines, mark) for mark in (",", *(mark for mark in SEPARATORS if mark != ","))}
    delimiter = max(tables, key=lambda mark: _regularity(tables[mark]))
    return {"delimiter": delimiter, "encoding": encoding, "decimal": _decimal_of(tables[delimiter][1:], delimiter)}


def _decimal_of(rows: list[list[str]], delimiter: str) -> str:
    """Return the decimal sign in rows of text: a comma if a column says so and no column says a point."""
    commas = maybe = points = False
    for column in itertools.zip_longest(*rows, fillvalue=""):
        values = [each for each in column if each.strip() and each.strip().lower() not in BLANKS]
        with_comma = [each for each in values if "," in each]
        if with_comma and sum(map(_number_with_comma, values)) >= 0.9 * len(values):
            # 1,234 may be more than a thousand, or a little more than one.
            clear = any(_CLEAR_COMMA.fullmatch(each) for each in with_comma)
            commas, maybe = commas or clear, maybe or not clear
        points |= bool(values) and sum(bool(_CLEAR_POINT.fullmatch(each)) for each in values) >= 0.5 * len(values)
    return "," if not points and (commas or (maybe and delimiter == ";")) else "."


def _number_with_comma(cell: str) -> bool:
    """Return whether a cell is a number in a notation with a decimal comma, which a whole number always is."""
    return bool(COMMA_NUMBER.fullmatch(cell) or _WHOLE.fullmatch(cell))


def _rows_of(lines: list[str], delimiter: str) -> list[list[str]]:
    """Return the first thousand rows of CSV text."""
    try:
        return [row for row in itertools.islice(csv.reader(lines, delimiter=delimiter), 1000) if row]
    except csv.Error:
        return []


def _regularity(rows: list[list[str]]) -> tuple[float, int]:
    """Return how well rows make a table: the share that is as long as the header, where there is more than a column."""
    if not rows or len(rows[0]) < 2:
        # There may be text above the header.
        return 0.0, max((len(row) for row in rows), default=0)
    return sum(len(row) == len(rows[0]) for row in rows) / len(rows), len(rows[0])
