"""Read and write tables as CSV, with one rule for what a column is: number, boolean, date, text or empty."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from dates import DATE_FORMATS, DATE_LIKE, dates_of
from task import TaskError, replacing

# What pandas' own reader takes for missing.
MISSING = [
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
]
# What people write for missing where a number, a boolean or a date should be; in text it may mean something.
BLANKS = ["?", "-", "--", "---", "–", "—", ".", "..", "...", "…", "*", "n.a.", "nil", "nat", "missing", "unknown"]
BLANKS += ["k.a.", "s/d", "n.d.", "n/d", "nd", "not available", "no data", "0000-00-00"]
BLANKS += ["#value!", "#div/0!", "#ref!", "#name?", "#num!", "#null!", *(each.lower() for each in MISSING)]
BOOLEANS = {"true": True, "false": False}
CURRENCY = r"(?:[A-Za-z]{0,3}[$€£¥₹₽₺₩₪₫₴]|(?:AUD|BRL|CAD|CHF|CNY|CZK|DKK|EUR|GBP|HKD|HUF|INR|JPY|KRW|MXN|NOK|NZD|PLN|"
CURRENCY += r"RUB|SEK|SGD|TRY|USD|ZAR)|Rs\.?|kr\.?|zł|Kč|Ft)"
# Signs and currencies before a number; what may part its thousands in any notation.
BEFORE, SPACE = rf"\s*\(?[+-]?\s*{CURRENCY}?\s*[+-]?", "[' ’\u00a0\u202f]"
# A number with a decimal comma, perhaps with points between thousands, or with these alone; a unit may follow.
COMMA_NUMBER = re.compile(
    rf"({BEFORE})(\d{{1,3}}(?:(?:\.|{SPACE})\d{{3}})+(?:,\d+)?|\d*,\d+)(\s*[^\d\s,.]?[^\d,]{{0,11}})"
)
# A record may be as long as what Arrow reads at a time; a line, in characters, is looked at no further.
LONGEST = 1 << 20
# A column of which so many values are numbers (or dates) is one; the others are its bad values.
MOSTLY = 0.9


@dataclass
class Table:
    """A table as read: `frame` (n rows × m columns; int64, float64, bool, datetime64 or str), the `kinds` of its
    columns, in `formats` how its dates are written, and in `bad` for each column the values that are not of its kind,
    by row (0-based); they are missing in `frame`."""

    frame: pd.DataFrame
    kinds: dict[str, str]
    formats: dict[str, str] = field(default_factory=dict)
    bad: dict[str, pd.Series] = field(default_factory=dict)


def parse_options(path: Path) -> pyarrow.csv.ParseOptions:
    """Return the options that read `path` right: line breaks inside quotes cost speed, so only where quotes are."""
    with open(path, "rb") as file:
        quoted = any(b'"' in piece for piece in iter(lambda: file.read(1 << 20), b""))
    return pyarrow.csv.ParseOptions(newlines_in_values=quoted)


def text_options(columns: list[str]) -> pyarrow.csv.ConvertOptions:
    """Return the options that read every column as text, with the usual spellings of missing as null."""
    return pyarrow.csv.ConvertOptions(
        column_types={name: pa.string() for name in columns},
        include_columns=columns,
        null_values=MISSING,
        strings_can_be_null=True,
    )


def csv_rows(file: TextIO, name: object, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of CSV text, opened with newline="", and the numbers of their last lines, in bounded memory.

    Raises
    ------
    TaskError
        A row is longer than LONGEST, as one is where a quote is not closed, or where it is no text at all.
    """
    import csv

    csv.field_size_limit(LONGEST)
    number = 0

    def lines() -> Iterator[str]:
        while line := file.readline(LONGEST + 1):
            if len(line) > LONGEST:
                raise csv.Error
            yield line

    rows = csv.reader(lines(), delimiter=delimiter)
    try:
        for row in rows:
            number = rows.line_num
            yield number, row
    except csv.Error as error:
        raise TaskError(
            f"{name}: the row that begins in line {number + 1} is longer than {LONGEST:,} characters. "
            "Close its quote, or leave such a column out."
        ) from error


def header(path: Path, name: object = None) -> list[str]:
    """Return the column names in the first line of a CSV file (comma, UTF-8), which errors call `name`."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        return next(csv_rows(file, name or path), (0, []))[1]


def with_names(columns: list[str]) -> list[str]:
    """Return column names, `unnamed_1` and so on, by its place, for one that has none."""
    return [each if each.strip() else f"unnamed_{n}" for n, each in enumerate(columns, 1)]


def with_point(cell: str) -> str:
    """Return a number such as 1.234,5 as 1234.5, and 1 234,5 € as 1234.5 €; any other text as it is."""
    found = COMMA_NUMBER.fullmatch(cell)
    if not found:
        return cell
    before, number, after = found.groups()
    return before + re.sub(rf"\.|{SPACE}", "", number).replace(",", ".") + after


def read_table(path: Path, kinds: dict[str, str] | None = None) -> Table:
    """Read a comma-separated UTF-8 file.

    Parameters
    ----------
    path
        A file as `ingest_data` writes it.
    kinds
        What some columns are known to be; the others' kinds are found from all of their values.

    Raises
    ------
    TaskError
        When the file is no table.
    """
    columns = header(path)
    if not columns:
        raise TaskError(f"{path} is empty. Run the task that writes it again.")
    try:
        text = pyarrow.csv.read_csv(path, parse_options=parse_options(path), convert_options=text_options(columns))
    except pa.ArrowInvalid as error:
        raise TaskError(f"{path} cannot be read as a table: {error}. Ingest it again.") from error
    return parse_table(text, kinds)


def parse_table(text: pa.Table, kinds: dict[str, str] | None = None, formats: dict[str, str] | None = None) -> Table:
    """Return a table of text, n rows × m columns, with its values parsed; see `read_table`.

    `kinds` and `formats` say what some columns and their dates are known to be; the others' are found from all values.
    """
    table = Table(pd.DataFrame(), {})
    values = {}
    for name in text.column_names:
        column = text[name]
        if pc.any(pc.utf8_is_space(column)).as_py():
            # A cell of blanks is empty.
            column = pc.if_else(pc.utf8_is_space(column), None, column)
        kind = table.kinds[name] = (kinds or {}).get(name) or find_kind(column)
        if kind == "date":
            table.formats[name] = (formats or {}).get(name) or find_date_format(column)
            parsed = parse_date(column, table.formats[name])
        else:
            parsed = PARSERS[kind](column)
        bad = pc.and_(pc.is_valid(column), pc.is_null(parsed, nan_is_null=True)).to_pandas().astype(bool)
        if bad.any():
            bad &= ~is_blank(column).to_pandas().astype(bool)
        values[name] = parsed.to_pandas()
        if kind == "text":
            values[name] = values[name].astype("str")
        if bad.any():
            table.bad[name] = pd.Series(text[name].to_pandas()[bad], dtype="object")
    table.frame = pd.DataFrame(values, columns=text.column_names, index=pd.RangeIndex(text.num_rows))
    return table


def find_kind(text: pa.ChunkedArray) -> str:
    """Return what a column of text is, judged on its distinct values."""
    valid = pc.drop_null(text)
    if len(valid) == 0:
        return "empty"
    # Most text columns fail on any sample: no need to look at the others.
    sample = valid.take(pa.array(range(0, len(valid), len(valid) // 100 + 1)))
    for kind in ("number", "boolean", "date"):
        if kind == "date" and not pc.any(pc.match_substring_regex(sample, DATE_LIKE)).as_py():
            break
        if share_of(kind, sample) >= 0.5:
            share = share_of(kind, valid)
            if share >= (1 if kind == "boolean" else MOSTLY):
                return kind
    return "text"


def share_of(kind: str, text: pa.ChunkedArray) -> float:
    """Return the share of values that are of a kind, among those that are no blanks."""
    others = pc.filter(text, pc.is_null(PARSERS[kind](text), nan_is_null=True))
    blanks = pc.sum(is_blank(others)).as_py() or 0
    return 1 - (len(others) - blanks) / max(len(text) - blanks, 1) if len(text) > blanks else 0.0


def is_blank(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Tell which cells hold what people write for missing where a number, a boolean or a date should be."""
    return pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(text)), pa.array(BLANKS))


def parse_number(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return int64 where every value is whole, else float64; what is no finite number is null.

    12.5 % is 12.5; $1,234.50 and 1'234.50 CHF are 1234.5, and (12) is −12.
    """
    for values in (text, pc.utf8_trim_whitespace(text)):
        try:
            numbers = pc.cast(values, pa.float64())
            break
        except pa.ArrowInvalid:
            numbers = None
    if numbers is None:
        encoded = pc.utf8_trim_whitespace(text).combine_chunks().dictionary_encode()
        words = plain_numbers(encoded.dictionary).to_pandas().astype("object")
        distinct = pd.to_numeric(words, errors="coerce").astype("float64")
        numbers = pa.chunked_array([pa.array(distinct.to_numpy(), from_pandas=True).take(encoded.indices)])
        return pc.if_else(pc.is_finite(numbers), numbers, None)
    if not pc.all(pc.is_finite(numbers)).as_py() and pc.any(pc.is_valid(numbers)).as_py():
        return pc.if_else(pc.is_finite(numbers), numbers, None)
    try:
        return pc.cast(values, pa.int64())
    except pa.ArrowInvalid:
        return numbers


def plain_numbers(text: pa.Array) -> pa.Array:
    """Return numbers without what people put around them: currencies, a percent sign, marks between thousands."""
    text = pc.replace_substring(text, "−", "-")
    text = pc.replace_substring_regex(text, r"^\(([^()+-]*)\)$", r"-\1")
    text = pc.replace_substring_regex(text, rf"^([+-]?)\s*{CURRENCY}\s*([+-]?[\d.])", r"\1\2")
    text = pc.replace_substring_regex(text, rf"(\d\.?)[\s\x{{a0}}\x{{202f}}]*(?:%|{CURRENCY})$", r"\1")
    for mark in (",", SPACE):
        grouped = pc.match_substring_regex(text, rf"^[+-]?\d{{1,3}}(?:{mark}\d{{2,3}})*{mark}\d{{3}}(?:\.\d*)?$")
        if pc.any(grouped).as_py():
            text = pc.if_else(grouped, pc.replace_substring_regex(text, mark, ""), text)
    return text


def parse_boolean(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return bool for true and false in any case; anything else is null."""
    folded = pc.utf8_lower(pc.utf8_trim_whitespace(text))
    known = pc.is_in(folded, pa.array(list(BOOLEANS)))
    return pc.if_else(known, pc.equal(folded, "true"), None)


def find_date_format(text: pa.ChunkedArray) -> str:
    """Return the notation in which most of the values are dates: "ISO8601" or one of DATE_FORMATS.

    "ambiguous" where two fit alike and tell different days, such as day first and month first: that is not guessed.
    """
    trimmed = pc.utf8_trim_whitespace(text)
    if iso_dates(trimmed) is not None:
        return "ISO8601"
    distinct = pc.drop_null(pc.unique(trimmed)).to_pandas().astype("object")
    sample = distinct.iloc[:: len(distinct) // 100 + 1]
    fits = {each: dates_of(sample, each).notna().mean() for each in ["ISO8601", *DATE_FORMATS]}
    formats = [each for each in fits if fits[each] > max(fits.values()) / 2] or ["ISO8601"]
    found = {each: dates_of(distinct, each) for each in formats}
    best = min(formats, key=lambda each: found[each].isna().sum())
    rivals = [each for each in formats if each != best and found[each].isna().sum() == found[best].isna().sum()]
    # Years of first days of the month are no years of Januaries.
    monthly = [each for each in (best, *rivals) if len(distinct) > 12 and found[each].dt.day.nunique() == 1]
    if len(monthly) == 1:
        return monthly[0]
    return "ambiguous" if any(not found[each].equals(found[best]) for each in rivals) else best


def iso_dates(trimmed: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return text as timestamps, where all of it is ISO 8601, with a zone or without; else None."""
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return pc.cast(trimmed, kind)
        except pa.ArrowInvalid:
            pass
    return None


def parse_date(text: pa.ChunkedArray, date_format: str | None = None) -> pa.ChunkedArray:
    """Return timestamps in microseconds (UTC where a zone is given); without a notation, the one that fits is found."""
    trimmed = pc.utf8_trim_whitespace(text)
    if date_format in (None, "ISO8601") and (dates := iso_dates(trimmed)) is not None:
        return dates
    encoded = trimmed.combine_chunks().dictionary_encode()
    distinct = encoded.dictionary.to_pandas().astype("object")
    found = dates_of(distinct, date_format or find_date_format(text))
    zoned = distinct.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$", na=False).any()
    dates = pa.array((found if zoned else found.dt.tz_localize(None)).dt.as_unit("us"), from_pandas=True)
    return pa.chunked_array([dates.take(encoded.indices)])


PARSERS = {
    "number": parse_number,
    "boolean": parse_boolean,
    "date": parse_date,
    "text": lambda text: text,
    "empty": lambda text: text,
}


def is_boolean(values: pd.Series) -> bool:
    """Tell whether values are true and false; pandas holds them as objects where some are missing."""
    is_object = values.dtype == object and values.dropna().isin([True, False]).all()
    return bool(pd.api.types.is_bool_dtype(values) or is_object)


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` without its index as CSV (comma, UTF-8, "\\n", missing as nothing), atomically."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    with replacing(path) as new:
        write_csv(table, lambda: new)


def rendered(table: pa.Table, header: bool) -> pa.Buffer:
    """Return `table` as the bytes of a CSV file, or of a later piece of one."""
    sinks = []
    write_csv(table, lambda: sinks.append(pa.BufferOutputStream()) or sinks[-1], header)
    return sinks[-1].getvalue()


def write_csv(table: pa.Table, open_sink: Callable[[], object], header: bool = True) -> None:
    """Write `table` to what `open_sink` returns; it is called again where a value turns out to need quotes."""
    texts = table
    for n, column in enumerate(table.columns):
        if pa.types.is_timestamp(column.type):
            # Arrow is slow at writing times: each that there is, once.
            times = column.combine_chunks().dictionary_encode()
            texts = texts.set_column(
                n, table.column_names[n], pc.cast(times.dictionary, pa.string()).take(times.indices)
            )
    # Arrow quotes every text or none: none reads better, where no value needs it.
    for style, rows in (("none", texts), ("needed", table)):
        options = pyarrow.csv.WriteOptions(include_header=header, quoting_style=style, quoting_header=style)
        try:
            pyarrow.csv.write_csv(rows, open_sink(), options)
            return
        except pa.ArrowInvalid:
            if style == "needed":
                raise
