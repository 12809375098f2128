"""The notations of dates: finds the notation of a column, and parses text into timestamps."""

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any, cast

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from signoff.tables.cells import MOSTLY, is_blank

_DAYS = ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%Y.%m.%d"]
_DAYS += ["%d.%m.%y", "%m/%d/%y", "%d/%m/%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y"]
_DAYS += ["%d/%b/%Y", "%d. %b %Y", "%d. %B %Y", "%b %d %Y", "%B %d %Y", "%d-%m-%y", "%m-%d-%y", "%Y%m%d"]
_TIMES = ["", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p"]
_TIMES += [" %H:%M:%S.%f", " %H:%M:%S%z", " %I:%M%p", " %I:%M:%S%p", " %H.%M", " %H.%M.%S"]
_DATE_FORMATS = [day + time for day in _DAYS for time in _TIMES]
_DATE_FORMATS += ["%Y%m%dT%H%M%S", "%b %d %H:%M:%S %Y", "%b %d %H:%M:%S %z %Y"]
# These are ambiguous, so they are dates only if a column is known to hold dates.
_DIGITS = {"%Y%m%d%H%M%S": 14, "%Y%m%d%H%M": 12, "%Y%m%d%H": 10, "%Y%m%d": 8, "%Y%m": 6}
_NUMBERS = [*_DIGITS, "epoch s", "epoch ms"]
_PERIODS = ["%Y-%m", "%Y/%m", "%m/%Y", "%m-%Y", "%b %Y", "%B %Y", "%b-%Y", "%b-%y", "%Y %b"]
_PERIODS += ["quarter", "week"]
_DATE_FORMATS += [each for each in (*_NUMBERS, *_PERIODS) if each not in _DATE_FORMATS]
# The characters that remain without these distinguish most notations; some contain a time zone.
_MARKS, _ZONE = re.compile(r"[\w\s]"), re.compile(r"(?<=:\d\d)\s*[+-]\d\d:?\d\d")
# What a date that is sure begins with: most text is none, and need not be tried in hundreds of notations. Arrow would
# compile this each time, which takes longer than to look at a few texts.
_WEEKDAY = r"^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? "
_DATE_LIKE = rf"\s*(?:{_WEEKDAY[1:]})?" r"(?:\d{1,4}[-./]\d{1,2}[-./]\d{1,4}"
_DATE_LIKE += r"|\d{1,2}(?:\. |[ /-])(?:de )?[^\W\d_]+\.?[ /-](?:de )?\d\d|[^\W\d_]+\.? \d{1,2},? \d"
_DATE_LIKE += r"|\d{8}(?:T\d{6}| \d\d:))"
# Months as they are called elsewhere, by what is short for them in English.
_MONTH_NAMES = {
    "Jan": "januar|jänner|janv(?:ier)?|ene(?:ro)?|gen(?:naio)?|janeiro|januari|jan",
    "Feb": "februar|févr(?:ier)?|fév|feb(?:rero|braio|ruari)?|fev(?:ereiro)?",
    "Mar": "märz|mär|mrz|mars|mrt|maart|mar(?:zo|ço)?",
    "Apr": "avr(?:il)?|abr(?:il)?|aprile|apr",
    "May": "mai(?:o)?|mayo|mag(?:gio)?|mei",
    "Jun": "juni|juin|junio|giu(?:gno)?|junho|jun",
    "Jul": "juli|juil(?:let)?|julio|lug(?:lio)?|julho|jul",
    "Aug": "août|ago(?:sto)?|augustus|aug",
    "Sep": "septiembre|septembre|set(?:tembre|embro)?|sept?",
    "Oct": "okt(?:ober)?|oct(?:ubre|obre)?|ott(?:obre)?|out(?:ubro)?",
    "Nov": "novembre|noviembre|novembro|nov",
    "Dec": "dez(?:ember|embro)?|déc(?:embre)?|dic(?:iembre|embre)?|dec",
}
# Seconds since 1970 of the years 2001 to 2033, and milliseconds.
_EPOCH = {"epoch s": ("s", r"^1\d{9}$"), "epoch ms": ("ms", r"^1\d{12}$")}
_QUARTER = re.compile(r"^(?:(\d{4})[ -]?Q([1-4])|Q([1-4])[ /-]?(\d{4}))$")
_WEEK = re.compile(r"^(\d{4})[ -]?W(\d\d?)$")
# The names of columns whose numbers are seconds since 1970.
_TIME = re.compile(r"time|date|stamp|epoch|_at$|^ts$", re.IGNORECASE)
# With fewer distinct values than this, months, quarters and weeks are codes.
_MONTHS = 12
# This many distinct texts show which notations a column may have.
_MOST_LOOKED_AT = 200


def dates_of(values: pd.Series, date_format: str) -> pd.Series:
    """Return n texts as n UTC timestamps; NaT for a text that is not in that notation.

    Notations are those of strptime, ISO8601, "epoch s" and "epoch ms" (since 1970), "quarter" (2024Q1, Q1 2024), "week"
    (2024-W01, 2024 W1) and "ambiguous", in which nothing is a date. The day of the week before a date, and UTC or
    GMT after it, are not part of a notation.
    """
    return _dates_of_each(values, [date_format])[date_format]


def _dates_of_each(values: pd.Series, date_formats: Iterable[str]) -> dict[str, pd.Series]:
    """Return n texts as timestamps in each notation, as `dates_of` does."""
    bare = functools.cache(lambda like: _bare(values.astype("object"), like))
    return {each: _dates_of(values, each, bare) for each in date_formats}


def _dates_of(values: pd.Series, date_format: str, bare: Callable[[str], pd.Series]) -> pd.Series:
    """Return n texts as timestamps; `bare` is `_bare` of them."""
    if date_format == "ambiguous":
        return pd.Series(pd.NaT, values.index, dtype="datetime64[us, UTC]")
    text = values.astype("object")
    if date_format in _NUMBERS:
        # As pandas writes whole numbers among which some are missing.
        text = text.str.replace(r"^(\d+)\.0$", r"\1", regex=True)
    if date_format in _DIGITS:
        # One digit too few is enough for strptime.
        text = text.where(text.str.len() == _DIGITS[date_format])
    if date_format in _EPOCH:
        unit, pattern = _EPOCH[date_format]
        numbers = pd.to_numeric(text.where(text.str.contains(pattern, na=False)), errors="coerce")
        return cast(pd.Series, pd.to_datetime(numbers, unit=cast(Any, unit), utc=True).dt.as_unit("us"))
    if date_format == "quarter":
        months = text.where(text.str.match(_QUARTER, na=False)).str.replace(_QUARTER, _first_month, regex=True)
        return pd.to_datetime(months, format="%Y-%m", errors="coerce", utc=True)
    if date_format == "week":
        mondays = text.where(text.str.match(_WEEK, na=False)).str.replace(_WEEK, r"\1-W\2-1", regex=True)
        return pd.to_datetime(mondays, format="%G-W%V-%u", errors="coerce", utc=True)
    if date_format in _NUMBERS:
        text = _bare(text, "")
    else:
        text = bare("ISO8601" if date_format == "ISO8601" else "%b" if "%b" in date_format else "")
    dates = pd.to_datetime(text, format=date_format, errors="coerce", utc=True)
    if date_format == "ISO8601":
        # A bare number or a month is not a date, even if a lenient parser reads it as one: 2010-12 may be a code.
        dates[~text.str.contains(r"^\d{4}-\d\d-\d\d", na=False)] = cast(Any, pd.NaT)
    return dates


def _possible(values: pd.Series) -> list[str]:
    """Return the notations that a few texts may be in, by the characters between their letters, digits and blanks.

    So only a few of hundreds are tried.
    """

    def marks(like: str) -> set[str]:
        return {_MARKS.sub("", _ZONE.sub("", text)) for text in _bare(values, like).dropna()}

    found = {True: marks("%b"), False: marks("")}
    return [
        each
        for each in _DATE_FORMATS
        if "%" not in each or each in _DIGITS or _MARKS.sub("", re.sub("%.", "", each)) in found["%b" in each]
    ]


def _bare(values: pd.Series, date_format: str) -> pd.Series:
    """Return text without what may surround dates in that notation."""
    text = pc.replace_substring_regex(pa.array(values, pa.string(), from_pandas=True), _WEEKDAY, "")
    text = pc.replace_substring_regex(text, r" ?(?:UTC|GMT)$", "Z")
    if date_format != "ISO8601":
        # 31.01.2024, 12:00 and 31/Jan/2024:12:00:00 +0100, as servers log it
        text = pc.replace_substring_regex(text, r"(\d), (\d\d?[:.]\d\d)", r"\1 \2")
        text = pc.replace_substring_regex(text, r"(\d{4}):(\d\d?:\d\d)", r"\1 \2")
        text = pc.replace_substring_regex(text, r"(\d) ([+-]\d\d:?\d\d)$", r"\1\2")
    if "%b" in date_format:
        text = pc.replace_substring(text, " de ", " ")
        for month, names in _MONTH_NAMES.items():
            text = pc.replace_substring_regex(text, rf"(?i)(^|[ .-])(?:{names})\.?($|[ -])", rf"\1{month}\2")
    return cast(pd.Series, text.to_pandas().set_axis(values.index))


def _first_month(quarter: re.Match[str]) -> str:
    """Return 2024-04 for 2024Q2."""
    year, number, first, last = quarter.groups()
    return f"{year or last}-{3 * int(number or first) - 2}"


def hides_dates(name: str, values: pd.Series) -> bool:
    """Return whether all numbers or texts are dates in one of the ambiguous notations.

    These are 20240131 and 20240131120000; 202401, 2024-01, Jan 2024, 2024Q1 and 2024-W05 if there are many of them; and
    seconds or milliseconds since 1970 in a column whose name is that of a time.
    """
    known = values.dropna().drop_duplicates()
    is_whole = pd.api.types.is_numeric_dtype(known) and not pd.api.types.is_bool_dtype(known) and (known % 1 == 0).all()
    if not is_whole and not isinstance(known.dtype, pd.StringDtype):
        return False
    text = (known.astype("int64") if is_whole and known.abs().max() < 1e15 else known).astype("str")
    for each in _NUMBERS if is_whole else _PERIODS:
        if each in _EPOCH and not _TIME.search(name):
            continue
        if len(known) <= _MONTHS and each not in ("%Y%m%d", "%Y%m%d%H%M%S"):
            continue
        found = dates_of(text.head(100), each)
        if len(found) and found.notna().all():
            dates = dates_of(text, each)
            return bool(dates.notna().all() and dates.dt.year.between(1900, 2100).all())
    return False


# What a time with a zone ends with.
_ZONE_AT_END = r"(?:Z|:\d\d(?:\.\d+)?\s?[+-]\d\d:?\d\d)$"


class Notations:
    """What distinguishes the notations that dates may have, counted batch by batch."""

    def __init__(self, notations: list[str]):
        self.unfit = dict.fromkeys(notations, 0)
        self.days: dict[str, set[pd.Timestamp]] = {each: set() for each in notations}
        self.differ: set[frozenset[str]] = set()
        self.zoned = False

    def look(self, valid: pa.ChunkedArray) -> int:
        """Take a batch of text into account; return how many of its values are blanks."""
        counted = pc.value_counts(pc.utf8_trim_whitespace(valid))
        words, counts = counted.field("values"), counted.field("counts").to_numpy()
        blanks = int(counts[is_blank(words).to_numpy(zero_copy_only=False)].sum())
        words = words.to_pandas().astype("object")
        found = _dates_of_each(words, self.unfit)
        for each, dates in found.items():
            self.unfit[each] += int(counts[dates.isna()].sum())
            # Not the times: a single day has many of them.
            self.days[each] |= set(dates.dropna().dt.normalize().unique())
            self.differ |= {frozenset((each, other)) for other in found if not dates.equals(found[other])}
        self.zoned |= bool(words.str.contains(_ZONE_AT_END, na=False).any())
        return blanks

    def best(self) -> str:
        """Return the notation in which most values are dates.

        "ambiguous" where two fit equally well and give different days, such as day first and month first: that is not
        guessed.
        """
        fitting = self.fitting()
        return fitting[0] if len(fitting) == 1 else "ambiguous"

    def fitting(self) -> list[str]:
        """Return the notation in which most values are dates, and those that fit as well and give other days."""
        best = min(self.unfit, key=self.unfit.__getitem__)
        rivals = [each for each in self.unfit if each != best and self.unfit[each] == self.unfit[best]]
        # Dates that are all first days of months are not all in January.
        monthly = [each for each in (best, *rivals) if self._are_first_days(each)]
        if len(monthly) == 1:
            return monthly
        return [best, *(each for each in rivals if frozenset((best, each)) in self.differ)]

    def _are_first_days(self, notation: str) -> bool:
        """Return whether the days are the first ones of more months than a year has."""
        days = self.days[notation]
        return len(days) > _MONTHS and all(each.day == 1 for each in days)


def undecided(text: pa.ChunkedArray) -> list[str]:
    """Return the notations in which text would be dates, where no value decides between them; else nothing."""
    valid = pc.drop_null(text)
    sample = pc.unique(valid).slice(0, _MOST_LOOKED_AT)
    if not any_like_date(sample):
        return []
    found = Notations(likely_notations(pa.chunked_array([sample])))
    blanks = found.look(valid)
    fitting = found.fitting()
    known = len(valid) - blanks
    fit = known - (found.unfit[fitting[0]] - blanks)
    return fitting if len(fitting) > 1 and known and fit >= MOSTLY * known else []


def likely_notations(sample: pa.ChunkedArray) -> list[str]:
    """Return the notations in which most of a sample of text are dates."""
    found = _shares(sample)
    return [each for each in found if found[each] > max(found.values()) / 2] or ["ISO8601"]


def _shares(sample: pa.ChunkedArray) -> dict[str, float]:
    """Return for each notation of dates the share of the different texts in a sample that fit it."""
    distinct = pc.unique(pc.utf8_trim_whitespace(sample)).to_pandas().astype("object")
    # Most notations fit none, and a few texts tell.
    few = distinct.iloc[:: len(distinct) // 20 + 1]
    found = _dates_of_each(few, ("ISO8601", *_possible(few)))
    fit = _dates_of_each(distinct, [each for each, dates in found.items() if dates.notna().any()])
    return {each: float(dates.notna().mean()) for each, dates in fit.items()} or {"ISO8601": 0.0}


def any_like_date(sample: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether any of a few texts begins like a date."""
    begins = re.compile(_DATE_LIKE).match
    return any(begins(text) for text in sample.to_pylist())


def most_dates(sample: pa.ChunkedArray) -> float:
    """Return the largest of the `_shares`."""
    distinct = pc.unique(pc.utf8_trim_whitespace(sample)).to_pandas().astype("object")
    # Mostly so, and then no other notation need be tried: half a second.
    return 1.0 if dates_of(distinct, "ISO8601").notna().all() else max(_shares(sample).values())


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
        zoned = distinct.str.contains(_ZONE_AT_END, na=False).any()
        dates = pa.array((found if zoned else found.dt.tz_localize(None)).dt.as_unit("us"), from_pandas=True)
    return pa.chunked_array([dates.take(encoded.indices)])
