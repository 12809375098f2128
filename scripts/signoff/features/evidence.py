"""Facts about a column, collected from all rows in batches, that decide whether it becomes a feature, and its kind."""

import re
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pyarrow as pa

from signoff.tables.cells import BLANKS, SIGN_BEHIND, parse_number
from signoff.tables.counting import Counts
from signoff.tables.records import Contract

# Text with more than this share of distinct values is an id or prose: the model cannot learn from it as a category.
_MOST_DISTINCT = 0.5
# Text with at most this many distinct values is a category in any case.
_FEW_LEVELS = 20
# Distinct whole numbers are ids if there are at least this many rows, and the column's name says so …
_FEWEST_IDS = 20
_ID = re.compile(r"(?i:(?:^|[_ .-])(?:id|uuid|guid|rowid|identifier|unnamed)(?:[_ .:-]|$))|[a-z](?:Id|ID)$")
# … or if they count the rows, and the name means number, or there are many rows and it does not mean time or rank.
_COUNTER = re.compile(r"(?:^|[_ .-])(?:no|nr|num|number|nummer|index|idx|key|row|rownames?|obs|instant)\W*$|id$", re.I)
_MANY_IDS = 1000
_MEASURE = re.compile(r"year|month|week|day|date|time|hour|minute|second|period|step|age|rank|place|score|^t$", re.I)
# A time of day, or a duration.
_CLOCK = r"^(?:(\d+) days?,? )?(\d{1,3}):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?(?:\s?([AaPp])\.?[Mm]\.?)?$"


class ColumnFacts:
    """Facts about a column, complete after `look` has seen all values in batches of the same dtype.

    `rows` and `missing` are numbers of values; `counts` counts each text or, with `times`, each date; `latest` holds
    the last two dates. Values that exceed a memory limit go to a file in `folder`.
    """

    def __init__(self, folder: Path | None = None, times: bool = False):
        self.counts, self.times = Counts(folder), times
        self.rows = self.missing = 0
        self.boolean = self.unique = self.increasing = True
        self.has_time = False
        self.dtype: Any = None
        self.first: Any = None
        self.last: Any = None
        self.latest: list[pd.Timestamp] = []

    def look(self, values: pd.Series) -> None:
        """Take a batch of values into account."""
        self.dtype = values.dtype
        self.rows, self.missing = self.rows + len(values), self.missing + int(values.isna().sum())
        if self.is_date():
            known = values.dropna()
            self.has_time |= bool((known.dt.normalize() != known).any())
            self.latest = sorted({*self.latest, *known.drop_duplicates().nlargest(2)})[-2:]
            if self.times:
                self.counts.add(values)
        elif self.is_whole() and self.unique and len(values):
            # One duplicate value is enough.
            self.counts.add(values)
            self.unique = self.counts.none_twice()
            self.increasing &= values.is_monotonic_increasing and (self.last is None or self.last <= values.iloc[0])
            self.first = values.iloc[0] if self.first is None else self.first
            self.last = values.iloc[-1]
        elif not pd.api.types.is_numeric_dtype(values):
            self.boolean &= is_boolean(values)
            if not self.boolean:
                self.counts.add(values)

    def is_date(self) -> bool:
        return pd.api.types.is_datetime64_any_dtype(self.dtype)

    def is_whole(self) -> bool:
        return pd.api.types.is_integer_dtype(self.dtype)

    def is_number(self) -> bool:
        """Return whether the values are numbers, or booleans, which count as 0 and 1."""
        return pd.api.types.is_numeric_dtype(self.dtype) or self.boolean

    def known(self) -> int:
        """Return how many values are not missing."""
        return self.rows - self.missing


def facts_of(frame: pd.DataFrame, times: bool = False) -> dict[str, ColumnFacts]:
    """Return the facts of each column of a table in memory."""
    found = {str(name): ColumnFacts(times=times) for name in frame}
    for name, each in found.items():
        each.look(frame[name])
    return found


def names_the_row(name: str, facts: ColumnFacts) -> bool:
    """Return whether a column holds distinct whole numbers that are named an id or count the rows."""
    if not facts.is_whole() or facts.rows < _FEWEST_IDS:
        return False
    if not facts.unique or facts.counts.distinct() < facts.rows:
        return False
    # Some rows may have been dropped.
    counts = facts.increasing and int(facts.last) - int(facts.first) < 2 * facts.rows
    many = facts.rows >= _MANY_IDS and not _MEASURE.search(name)
    return bool(_ID.search(name) or (counts and (many or _COUNTER.search(name))))


def names_or_prose(facts: ColumnFacts) -> bool:
    """Return whether more than half of the texts in a column, and more than a few, are distinct."""
    return facts.counts.distinct() > max(_MOST_DISTINCT * facts.known(), _FEW_LEVELS)


def unit_of(facts: ColumnFacts) -> str | None:
    """Return the unit if most distinct texts are numbers with a unit; None for other columns.

    "" means without a unit, and ":" a time of day or a duration. Only the first `counting._MOST_VALUES` texts are used.
    """
    if facts.counts.distinct() <= _FEW_LEVELS:
        return None
    text = pd.Series(list(facts.counts.counts), dtype="str").str.strip()
    units = text.str.extract(r"\d\s*([^\d\s.,][^\d]{0,11})$")[0].value_counts()
    # Without what may be its sign, a number is another number.
    units = units[[not SIGN_BEHIND.match(each) for each in units.index]]
    shares = {each: numbers_of(text, each).notna().mean() for each in ("", ":", *map(str, units.index[:1]))}
    best = max(shares, key=lambda unit: shares[unit])
    return best if shares[best] >= 0.5 else None


def hides_signs(facts: ColumnFacts) -> bool:
    """Return whether most of the texts are numbers with debit or credit behind them."""
    text = pd.Series(list(facts.counts.counts), dtype="str").str.strip()
    behind = text.str.extract(r"\d\s*([A-Za-z]+\.?)$")[0].dropna()
    return len(text) > 0 and sum(bool(SIGN_BEHIND.match(each)) for each in behind) >= 0.5 * len(text)


def numbers_of(values: pd.Series, unit: str) -> pd.Series:
    """Return the numbers in texts, with or without the unit behind them, as float64; NaN for other texts.

    With the unit ":" the result is the hours of a time of day or a duration.
    """
    text = values.astype("str").str.strip()
    if unit == ":":
        days, hours, minutes, seconds, half = (part for _, part in text.str.extract(_CLOCK).items())
        hours = pd.to_numeric(hours).where(half.isna(), pd.to_numeric(hours) % 12 + 12 * half.isin(["p", "P"]))
        days, seconds = (pd.to_numeric(part).fillna(0) for part in (days, seconds))
        return (24 * days + hours + pd.to_numeric(minutes) / 60 + seconds / 3600).astype("float64")
    text = text.str.removesuffix(unit)
    numbers = parse_number(pa.chunked_array([pa.array(text, pa.string(), from_pandas=True)]))
    return cast(pd.Series, numbers.to_pandas().astype("float64").set_axis(values.index))


def other_words(frame: pd.DataFrame, contract: Contract | None) -> dict[str, pd.Series]:
    """Return for each column with a `unit` in the contract the texts that are not numbers.

    As features they are missing values.
    """
    found = {}
    for column, rules in (contract or {"columns": {}})["columns"].items():
        if "unit" not in rules or column not in frame or not isinstance(frame[column].dtype, pd.StringDtype):
            continue
        known = frame[column].dropna()
        words = known[numbers_of(known, rules["unit"]).isna()]
        words = words[~words.str.strip().str.lower().isin(BLANKS)]
        if len(words):
            found[column] = words
    return found


def is_boolean(values: pd.Series) -> bool:
    """Return whether values are booleans; pandas holds them as objects if some are missing."""
    is_object = values.dtype == object and values.dropna().isin([True, False]).all()
    return bool(pd.api.types.is_bool_dtype(values) or is_object)


def column_of(frame: pd.DataFrame, name: str) -> pd.Series:
    """Return a column by its name, which is unique."""
    return frame[name]
