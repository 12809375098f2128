"""Text as values: what counts as missing, numbers as people write them, true and false; and numbers as text."""

import re
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# What pandas' own reader takes for missing.
MISSING = [
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
]
# What people write for missing where a number, a boolean or a date should be; in text it may mean something.
BLANKS = ["?", "-", "--", "---", "–", "—", ".", "..", "...", "…", "*", "n.a.", "nil", "nat", "missing", "unknown"]
BLANKS += ["k.a.", "s/d", "n.d.", "n/d", "nd", "not available", "no data", "0000-00-00"]
BLANKS += ["#value!", "#div/0!", "#ref!", "#name?", "#num!", "#null!", *(each.lower() for each in MISSING)]
# A column is of the kind of at least this share of its values; the others are its bad values.
MOSTLY = 0.9
_BOOLEANS = {"true": True, "false": False}
_CURRENCY = r"(?:[A-Za-z]{0,3}[$€£¥₹₽₺₩₪₫₴]|(?:AUD|BRL|CAD|CHF|CNY|CZK|DKK|EUR|GBP|HKD|HUF|INR|JPY|KRW|MXN|NOK|NZD|PLN|"
_CURRENCY += r"RUB|SEK|SGD|TRY|USD|ZAR)|Rs\.?|kr\.?|zł|Kč|Ft)"
# What is printed for a minus: the hyphens, the en dash, the minus sign, and the small and the wide hyphen.
MINUS = "[-\u2010\u2011\u2013\u2212\ufe63\uff0d]"
SIGN = MINUS.replace("[-", r"[+\-")
# What may follow a number and change its sign: a minus, or debit and credit, whose sign is ambiguous.
SIGN_BEHIND = re.compile(rf"{MINUS}|(?:DR|CR)\b", re.IGNORECASE)
# Signs and currencies before a number; what may separate its thousands in any notation.
_BEFORE, _SPACE = rf"\s*\(?{SIGN}?\s*{_CURRENCY}?\s*\(?{SIGN}?", "[' ’\u00a0\u202f]"
# A number with a decimal comma, perhaps with points between thousands, or with these alone; a unit may follow.
COMMA_NUMBER = re.compile(
    rf"({_BEFORE})(\d{{1,3}}(?:(?:\.|{_SPACE})\d{{3}})+(?:,\d+)?|\d*,\d+(?:[eE]{SIGN}?\d+)?)"
    r"(\s*[^\d\s,.]?[^\d,]{0,11})"
)
# Whole numbers are converted to text all at once if their range has at most this many.
_MOST_WORDS = 10_000


def texts(words: Iterable[str]) -> pa.Array:
    """Return texts as an array, without pandas: `pa.array` imports it, longer than a small table takes to be read."""
    encoded = [each.encode() for each in words]
    ends = np.cumsum([0, *map(len, encoded)], dtype="int32")
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def is_blank(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Tell which cells hold what people write for missing where a number, a boolean or a date should be."""
    return pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(text)), texts(BLANKS))


def without_blanks(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return text in which a cell of blanks is empty."""
    return pc.if_else(pc.utf8_is_space(text), None, text) if pc.any(pc.utf8_is_space(text)).as_py() else text


def with_point(cell: str) -> str:
    """Return a number such as 1.234,5 as 1234.5, and 1 234,5 € as 1234.5 €; any other text as it is."""
    found = COMMA_NUMBER.fullmatch(cell)
    if not found:
        return cell
    before, number, after = found.groups()
    return before + re.sub(rf"\.|{_SPACE}", "", number).replace(",", ".") + after


def parse_number(text: pa.ChunkedArray, dtype: str | None = None) -> pa.ChunkedArray:
    """Return int64 if every value is whole, otherwise float64, or `dtype`; anything but a finite number is null.

    12.5 % is 12.5; $1,234.50 and 1'234.50 CHF are 1234.5, (12), 12- and $(12) are −12, and 1.2M is 1200000.
    """
    for trim in (False, True):
        values = pc.utf8_trim_whitespace(text) if trim else text
        try:
            # The cast to whole numbers by itself would take 0x10 for one.
            numbers = _finite(pc.cast(values, pa.float64())) if dtype != "int64" else None
        except pa.ArrowInvalid:
            continue
        try:
            return numbers if dtype == "float64" else pc.cast(values, pa.int64())
        except pa.ArrowInvalid:
            if numbers is not None:
                return numbers
    encoded = values.combine_chunks().dictionary_encode()
    if not pc.any(pc.match_substring_regex(encoded.dictionary, r"\d")).as_py():
        return pa.chunked_array([pa.nulls(len(text), pa.float64())])
    words = pc.replace_substring_regex(_plain_numbers(encoded.dictionary), r"^\+", "")
    plain = pc.match_substring_regex(words, r"^-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$")
    # A number must not depend on the values beside it, so all have the same parser.
    distinct = pc.cast(pc.if_else(plain, words, None), pa.float64())
    return _finite(pa.chunked_array([distinct.take(encoded.indices)]))


def _finite(numbers: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return numbers of which those that are not finite are null."""
    if pa.types.is_integer(numbers.type) or pc.all(pc.is_finite(numbers)).as_py() is not False:
        return numbers
    return pc.if_else(pc.is_finite(numbers), numbers, None)


def _plain_numbers(text: pa.Array) -> pa.Array:
    """Return numbers without what people put around them: currencies, a percent sign, marks between thousands, K, M."""
    blank = r"[\s\x{a0}\x{202f}]*"
    text = pc.replace_substring_regex(text, MINUS, "-")
    text = pc.replace_substring_regex(
        text, rf"^({_CURRENCY}?){blank}\(([^()+-]*)\){blank}(%|{_CURRENCY})?$", r"-\1\2\3"
    )
    # The minus comes after the number, or between it and its unit.
    text = pc.replace_substring_regex(text, rf"^([^()+-]*\d[^()+-]*?){blank}-{blank}(%|{_CURRENCY})?$", r"-\1\2")
    text = pc.replace_substring_regex(text, r"^-\s+([\d.])", r"-\1")
    text = pc.replace_substring_regex(text, rf"^([+-]?)\s*{_CURRENCY}\s*([+-]?[\d.])", r"\1\2")
    text = pc.replace_substring_regex(text, rf"(\d\.?){blank}(?:%|{_CURRENCY})$", r"\1")
    for mark in (",", _SPACE):
        grouped = pc.match_substring_regex(text, rf"^[+-]?\d{{1,3}}(?:{mark}\d{{2,3}})*{mark}\d{{3}}(?:\.\d*)?$")
        if pc.any(grouped).as_py():
            text = pc.if_else(grouped, pc.replace_substring_regex(text, mark, ""), text)
    for letter, power in (("[kK]", 3), ("M", 6), ("(?:B|bn)", 9)):
        text = pc.replace_substring_regex(text, rf"^([+-]?(?:\d+\.?\d*|\.\d+)){letter}$", rf"\1e{power}")
    return text


def parse_boolean(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return bool for true and false in any case; anything else is null."""
    folded = pc.utf8_lower(pc.utf8_trim_whitespace(text))
    known = pc.is_in(folded, texts(_BOOLEANS))
    return pc.if_else(known, pc.equal(folded, "true"), None)


def repeated_as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the text that Arrow writes for each of n numbers or times, made once where they repeat; else `column`.

    Arrow takes longer to make text of a number than to look it up, and of a time longer still.
    """
    if pa.types.is_signed_integer(column.type):
        least, greatest = pc.min_max(column).as_py().values()
        if least is None or greatest - least >= min(len(column), _MOST_WORDS):
            return column
        return pc.cast(pa.array(least + np.arange(greatest - least + 1)), pa.string()).take(pc.subtract(column, least))
    if not pa.types.is_timestamp(column.type):
        # The first ones tell: where few repeat, to look for them takes longer.
        some = column.slice(0, _MOST_WORDS // 10)
        if not pa.types.is_floating(column.type) or len(pc.unique(some)) > 0.75 * len(some):
            return column
    encoded = column.combine_chunks().dictionary_encode()
    return pa.chunked_array([pc.cast(encoded.dictionary, pa.string()).take(encoded.indices)])
