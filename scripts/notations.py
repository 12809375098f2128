"""Which notation the dates of a column are in, judged by all of them; and text in a notation as dates."""

import pyarrow as pa
import pyarrow.compute as pc

from dates import dates_of, possible
from values import is_blank

MONTHS = 12
# What a time with a zone ends with.
ZONE = r"(?:Z|:\d\d(?:\.\d+)?\s?[+-]\d\d:?\d\d)$"


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


def likely_notations(sample: pa.ChunkedArray) -> list[str]:
    """Return the notations in which most of a sample of text are dates."""
    found = shares(sample)
    return [each for each in found if found[each] > max(found.values()) / 2] or ["ISO8601"]


def shares(sample: pa.ChunkedArray) -> dict[str, float]:
    """Return for each notation of dates the share of the different texts in a sample that fit it."""
    distinct = pc.unique(pc.utf8_trim_whitespace(sample)).to_pandas().astype("object")
    # Most notations fit none, and a few texts tell.
    few = distinct.iloc[:: len(distinct) // 20 + 1]
    some = [each for each in ("ISO8601", *possible(few)) if dates_of(few, each).notna().any()]
    return {each: float(dates_of(distinct, each).notna().mean()) for each in some} or {"ISO8601": 0.0}


def most_dates(sample: pa.ChunkedArray) -> float:
    """Return the largest of the `shares`."""
    distinct = pc.unique(pc.utf8_trim_whitespace(sample)).to_pandas().astype("object")
    # Mostly so, and then no other notation need be tried: half a second.
    return 1.0 if dates_of(distinct, "ISO8601").notna().all() else max(shares(sample).values())


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
