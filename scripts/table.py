"""Read and write tables as CSV, with one rule for what a column is: number, boolean, date, text or empty."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
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
MOST_SAMPLED = 200
# Multiples of it, modulo 2 ** 64, are spread as evenly as can be (Knuth, The Art of Computer Programming 3, 6.4).
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MONTHS = 12
# What a time with a zone ends with.
ZONE = r"(?:Z|:\d\d(?:\.\d+)?\s?[+-]\d\d:?\d\d)$"


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


def write_rows(file: TextIO, rows: Iterable[list[str]]) -> None:
    """Write rows as CSV with commas and "\\n" to text, opened with newline=""."""
    import csv

    plain = csv.writer(file, lineterminator="\n")
    quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        # Python's writer puts no quotes around a carriage return, which ends a row for whoever reads it.
        (quoted if "\r" in "".join(row) else plain).writerow(row)


def header(path: Path, name: object = None) -> list[str]:
    """Return the column names in the first line of a CSV file (comma, UTF-8), which errors call `name`."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        return next(csv_rows(file, name or path), (0, []))[1]


def with_names(columns: list[str]) -> list[str]:
    """Return column names without spaces around them, `unnamed_1` and so on, by its place, for one that has none."""
    return [each.strip() or f"unnamed_{n}" for n, each in enumerate(columns, 1)]


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
    columns = header_of_table(path)
    with no_table(path):
        text = pyarrow.csv.read_csv(path, parse_options=parse_options(path), convert_options=text_options(columns))
    return parse_table(text, kinds)


def header_of_table(path: Path) -> list[str]:
    """Return the column names of a file. Raises TaskError where it is empty."""
    columns = header(path)
    if not columns:
        raise TaskError(f"{path} is empty. Run the task that writes it again.")
    return columns


@contextlib.contextmanager
def no_table(path: Path) -> Iterator[None]:
    """Say in one line that a file is no table."""
    try:
        yield
    except pa.ArrowInvalid as error:
        raise TaskError(f"{path} cannot be read as a table: {error}. Ingest it again.") from error


def parse_table(text: pa.Table, kinds: dict[str, str] | None = None, formats: dict[str, str] | None = None) -> Table:
    """Return a table of text, n rows × m columns, with its values parsed; see `read_table`.

    `kinds` and `formats` say what some columns and their dates are known to be; the others' are found from all values.
    """
    table = Table(pd.DataFrame(), {})
    values = {}
    for name in text.column_names:
        column = without_blanks(text[name])
        about = Column((kinds or {}).get(name), (formats or {}).get(name))
        while about.kind is None or (about.kind == "date" and about.date_format is None):
            about.look(column)
            about.settle()
        table.kinds[name] = about.kind
        if about.kind == "date":
            table.formats[name] = about.date_format
        values[name], bad = parse_column(column, about.kind, about.date_format)
        if len(bad):
            table.bad[name] = bad
    table.frame = pd.DataFrame(values, columns=text.column_names, index=pd.RangeIndex(text.num_rows))
    return table


def without_blanks(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return text in which a cell of blanks is empty."""
    return pc.if_else(pc.utf8_is_space(text), None, text) if pc.any(pc.utf8_is_space(text)).as_py() else text


def parse_column(
    text: pa.ChunkedArray, kind: str, date_format: str | None, dtype: str | None = None
) -> tuple[pd.Series, pd.Series]:
    """Return the values of a column of text, and by their place those that are not of its kind.

    `dtype` is what all of the column's rows need, where these are only some of them.
    """
    if kind == "number":
        parsed = parse_number(text, dtype)
    elif kind == "date":
        parsed = parse_date(text, date_format)
        if dtype and dtype.endswith("UTC]"):
            parsed = pc.cast(parsed, pa.timestamp("us", "UTC"))
    else:
        parsed = PARSERS[kind](text)
    values = parsed.to_pandas()
    if dtype or kind == "text":
        values = values.astype(dtype or "str")
    bad = pc.and_(pc.is_valid(text), pc.is_null(parsed, nan_is_null=True))
    if not pc.any(bad).as_py():
        return values, pd.Series(dtype="object")
    bad = pc.and_(bad, pc.invert(is_blank(text))).to_pandas()
    return values, text.to_pandas().astype("object")[bad]


class Column:
    """What a column is, found by looking at all of its values, in any number of batches, until it is `settled`.

    `kind` and, of dates, `date_format` are known then, and `dtype`, which holds the values, as pandas calls it. That
    takes one look where the kind is known, two where it has to be found, one more for dates that are not ISO 8601.
    """

    def __init__(self, kind: str | None = None, date_format: str | None = None):
        self.kind, self.date_format, self.dtype = kind, date_format, "str"
        self.settled = kind in ("text", "empty")
        # The kinds to weigh: none on the first look at a column that may be anything.
        self.candidates = [kind] if kind else []
        # The notations to weigh: none as long as all dates may be ISO 8601.
        self.notations = Notations([date_format]) if date_format not in (None, "ISO8601") else None
        self.start()

    def start(self) -> None:
        """Forget what the last look has counted."""
        self.sample, self.halved = {}, 0
        self.rows = self.valid = 0
        self.whole, self.zones = True, set()
        self.unfit, self.blanks = (dict.fromkeys(self.candidates, 0) for _ in range(2))

    def look(self, text: pa.ChunkedArray) -> None:
        """Take a batch of values into account, in which cells of blanks are null."""
        valid = pc.drop_null(text)
        self.take_sample(valid)
        self.rows, self.valid = self.rows + len(text), self.valid + len(valid)
        for kind in self.candidates:
            if kind == "date" and self.notations:
                self.blanks[kind] += self.notations.look(valid)
            elif kind == "date":
                dates = iso_dates(pc.unique(valid))
                self.zones |= {"mixed"} if dates is None else {dates.type.tz} if len(dates) else set()
            else:
                parsed = PARSERS[kind](valid)
                others = pc.filter(valid, pc.is_null(parsed, nan_is_null=True))
                self.unfit[kind] += len(others)
                self.blanks[kind] += pc.sum(is_blank(others)).as_py() or 0
                self.whole &= parsed.type == pa.int64()

    def take_sample(self, valid: pa.ChunkedArray) -> None:
        """Keep a hundred values or two, the same ones in whatever batches they come, and whatever pattern they have."""
        while self.valid + len(valid) > MOST_SAMPLED << self.halved:
            self.halved += 1
        limit = np.uint64((1 << 64 - self.halved) - 1)
        places = np.arange(self.valid, self.valid + len(valid), dtype="uint64") * GOLDEN
        self.sample = {place: value for place, value in self.sample.items() if place <= limit}
        chosen = np.flatnonzero(places <= limit)
        self.sample |= zip(places[chosen], valid.take(pa.array(chosen)).to_pylist(), strict=True)

    def settle(self) -> None:
        """Conclude from a look at all values what they are, or what the next look is for."""
        if self.candidates and (self.notations or "date" not in self.candidates or self.iso()):
            self.conclude(self.weighed())
            return
        sample = pa.chunked_array([pa.array(list(self.sample.values()), pa.string())])
        if self.candidates:
            self.notations = Notations(likely_notations(sample))
        else:
            # Most text fails on the sample: no need to look at the others.
            self.candidates = likely_kinds(sample)
            if not self.candidates:
                self.conclude("text" if self.valid else "empty")
        self.start()

    def iso(self) -> bool:
        """Tell whether all dates are ISO 8601, with a zone or without."""
        return self.zones <= {None} or self.zones == {"UTC"}

    def weighed(self) -> str:
        """Return the kind that the values are of, blanks aside."""
        if self.notations:
            self.unfit["date"] = self.notations.unfit.get(self.notations.best(), self.valid)
        for kind in self.candidates:
            known = self.valid - self.blanks[kind]
            share = 1 - (self.unfit[kind] - self.blanks[kind]) / known if known else 0.0
            if self.kind or share >= (1 if kind == "boolean" else MOSTLY):
                return kind
        return "text"

    def conclude(self, kind: str) -> None:
        """Write down what the column is."""
        self.kind, self.settled = kind, True
        complete = self.rows == self.valid and not self.unfit.get(kind)
        if kind == "number":
            self.dtype = "int64" if self.whole and complete else "float64"
        elif kind == "boolean":
            self.dtype = "bool" if complete else "object"
        elif kind == "date":
            self.date_format = self.notations.best() if self.notations else "ISO8601"
            zoned = self.notations.zoned if self.notations else self.zones == {"UTC"}
            self.dtype = "datetime64[us, UTC]" if zoned else "datetime64[us]"


def likely_kinds(sample: pa.ChunkedArray) -> list[str]:
    """Return the kinds that at least half of a sample of text, blanks aside, are of."""
    known = len(sample) - (pc.sum(is_blank(sample)).as_py() or 0)
    fit = {kind: pc.sum(pc.is_valid(PARSERS[kind](sample))).as_py() or 0 for kind in ("number", "boolean")}
    # Most text is no date, and need not be tried in a hundred notations.
    if pc.any(pc.match_substring_regex(sample, DATE_LIKE)).as_py():
        fit["date"] = max(shares(sample).values()) * len(sample)
    return [kind for kind in fit if known and fit[kind] >= known / 2]


class Notations:
    """What tells apart the notations that dates may be in, counted batch by batch."""

    def __init__(self, notations: list[str]):
        self.unfit = dict.fromkeys(notations, 0)
        self.days = {each: set() for each in notations}
        self.differ: set[frozenset] = set()
        self.some: set[str] = set()
        self.zoned = False

    def look(self, valid: pa.ChunkedArray) -> int:
        """Take a batch of text into account; return how many of its values are blanks."""
        counted = pc.value_counts(pc.utf8_trim_whitespace(valid))
        words, counts = counted.field("values"), counted.field("counts").to_numpy()
        blanks = int(counts[is_blank(words).to_numpy(zero_copy_only=False)].sum())
        words = words.to_pandas().astype("object")
        found = {each: dates_of(words, each) for each in self.unfit}
        for each, dates in found.items():
            self.unfit[each] += int(counts[dates.isna()].sum())
            self.days[each] |= set(dates.dt.day.dropna())
            self.differ |= {frozenset((each, other)) for other in found if not dates.equals(found[other])}
        if len(self.some) <= MONTHS:
            self.some |= set(words.head(MONTHS + 1))
        self.zoned |= bool(words.str.contains(ZONE, na=False).any())
        return blanks

    def best(self) -> str:
        """Return the notation in which most values are dates.

        "ambiguous" where two fit alike and tell different days, such as day first and month first: that is not guessed.
        """
        best = min(self.unfit, key=self.unfit.get)
        rivals = [each for each in self.unfit if each != best and self.unfit[each] == self.unfit[best]]
        # Years of first days of the month are no years of Januaries.
        monthly = [each for each in (best, *rivals) if len(self.some) > MONTHS and len(self.days[each]) == 1]
        if len(monthly) == 1:
            return monthly[0]
        return "ambiguous" if any(frozenset((best, each)) in self.differ for each in rivals) else best


def shares(sample: pa.ChunkedArray) -> dict[str, float]:
    """Return for each notation of dates the share of the different texts in a sample that fit it."""
    distinct = pc.unique(pc.utf8_trim_whitespace(sample)).to_pandas().astype("object")
    # Most notations fit none, and a few texts tell.
    few = distinct.iloc[:: len(distinct) // 20 + 1]
    some = [each for each in ("ISO8601", *DATE_FORMATS) if dates_of(few, each).notna().any()]
    return {each: float(dates_of(distinct, each).notna().mean()) for each in some} or {"ISO8601": 0.0}


def likely_notations(sample: pa.ChunkedArray) -> list[str]:
    """Return the notations in which most of a sample of text are dates."""
    found = shares(sample)
    return [each for each in found if found[each] > max(found.values()) / 2] or ["ISO8601"]


def is_blank(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Tell which cells hold what people write for missing where a number, a boolean or a date should be."""
    return pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(text)), pa.array(BLANKS))


def parse_number(text: pa.ChunkedArray, dtype: str | None = None) -> pa.ChunkedArray:
    """Return int64 where every value is whole, else float64, or `dtype`; what is no finite number is null.

    12.5 % is 12.5; $1,234.50 and 1'234.50 CHF are 1234.5, (12) is −12, and 1.2M is 1200000.
    """
    for trim in (False, True):
        values = pc.utf8_trim_whitespace(text) if trim else text
        try:
            # The cast to whole numbers by itself would take 0x10 for one.
            numbers = finite(pc.cast(values, pa.float64())) if dtype != "int64" else None
        except pa.ArrowInvalid:
            continue
        try:
            return numbers if dtype == "float64" else pc.cast(values, pa.int64())
        except pa.ArrowInvalid:
            if numbers is not None:
                return numbers
    encoded = values.combine_chunks().dictionary_encode()
    words = pc.replace_substring_regex(plain_numbers(encoded.dictionary), r"^\+", "")
    plain = pc.match_substring_regex(words, r"^-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$")
    # What a number is must not depend on what stands beside it: the same parser for all of them.
    distinct = pc.cast(pc.if_else(plain, words, None), pa.float64())
    return finite(pa.chunked_array([distinct.take(encoded.indices)]))


def finite(numbers: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return numbers of which those that are not finite are null."""
    if pa.types.is_integer(numbers.type) or pc.all(pc.is_finite(numbers)).as_py() is not False:
        return numbers
    return pc.if_else(pc.is_finite(numbers), numbers, None)


def plain_numbers(text: pa.Array) -> pa.Array:
    """Return numbers without what people put around them: currencies, a percent sign, marks between thousands, K, M."""
    text = pc.replace_substring(text, "−", "-")
    text = pc.replace_substring_regex(text, r"^\(([^()+-]*)\)$", r"-\1")
    text = pc.replace_substring_regex(text, rf"^([+-]?)\s*{CURRENCY}\s*([+-]?[\d.])", r"\1\2")
    text = pc.replace_substring_regex(text, rf"(\d\.?)[\s\x{{a0}}\x{{202f}}]*(?:%|{CURRENCY})$", r"\1")
    for mark in (",", SPACE):
        grouped = pc.match_substring_regex(text, rf"^[+-]?\d{{1,3}}(?:{mark}\d{{2,3}})*{mark}\d{{3}}(?:\.\d*)?$")
        if pc.any(grouped).as_py():
            text = pc.if_else(grouped, pc.replace_substring_regex(text, mark, ""), text)
    for letter, power in (("[kK]", 3), ("M", 6), ("(?:B|bn)", 9)):
        text = pc.replace_substring_regex(text, rf"^([+-]?(?:\d+\.?\d*|\.\d+)){letter}$", rf"\1e{power}")
    return text


def parse_boolean(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return bool for true and false in any case; anything else is null."""
    folded = pc.utf8_lower(pc.utf8_trim_whitespace(text))
    known = pc.is_in(folded, pa.array(list(BOOLEANS)))
    return pc.if_else(known, pc.equal(folded, "true"), None)


def iso_dates(distinct: pa.Array) -> pa.Array | None:
    """Return different texts as timestamps, where all of them are ISO 8601, with a zone or without; else None."""
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return pc.cast(pc.utf8_trim_whitespace(distinct), kind)
        except pa.ArrowInvalid:
            pass
    return None


def parse_date(text: pa.ChunkedArray, date_format: str) -> pa.ChunkedArray:
    """Return text in a notation as timestamps in microseconds, in UTC where a zone is given."""
    # Each that there is, once.
    encoded = text.combine_chunks().dictionary_encode()
    dates = iso_dates(encoded.dictionary) if date_format == "ISO8601" else None
    if dates is None:
        distinct = pc.utf8_trim_whitespace(encoded.dictionary).to_pandas().astype("object")
        found = dates_of(distinct, date_format)
        zoned = distinct.str.contains(ZONE, na=False).any()
        dates = pa.array((found if zoned else found.dt.tz_localize(None)).dt.as_unit("us"), from_pandas=True)
    return pa.chunked_array([dates.take(encoded.indices)])


PARSERS = {
    "number": parse_number,
    "boolean": parse_boolean,
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
        quoted_where_needed(lambda style: write_csv(table, new, style))


def rendered(table: pa.Table, header: bool) -> pa.Buffer:
    """Return `table` as the bytes of a CSV file, or of a later piece of one."""

    def bytes_of(style: str) -> pa.Buffer:
        sink = pa.BufferOutputStream()
        write_csv(table, sink, style, header)
        return sink.getvalue()

    return quoted_where_needed(bytes_of)


def quoted_where_needed(write: Callable[[str], object]) -> object:
    """Call `write` with Arrow's style of quoting, once more where a value turns out to need quotes.

    Arrow quotes every text or none: none reads better, where no value needs it.
    """
    try:
        return write("none")
    except pa.ArrowInvalid:
        return write("needed")


def write_csv(table: pa.Table, sink: object, style: str, header: bool = True) -> None:
    """Write `table` to a path or an open file."""
    for n, column in enumerate(table.columns if style == "none" else ()):
        if pa.types.is_timestamp(column.type):
            # Arrow is slow at writing times: each that there is, once. As texts they would be quoted.
            times = column.combine_chunks().dictionary_encode()
            texts = pc.cast(times.dictionary, pa.string()).take(times.indices)
            table = table.set_column(n, table.column_names[n], texts)
    options = pyarrow.csv.WriteOptions(include_header=header, quoting_style=style, quoting_header=style)
    pyarrow.csv.write_csv(table, sink, options)
