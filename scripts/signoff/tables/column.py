"""What a column is, number, boolean, date, text or empty: one rule, which looks at all of its values."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from signoff.tables.cells import MOSTLY, is_blank, parse_boolean, parse_number
from signoff.tables.dates import Notations, any_like_date, iso_dates, likely_notations, most_dates
from signoff.tables.spill import GOLDEN

_MOST_SAMPLED = 200
PARSERS: dict[str, Callable[[pa.ChunkedArray], pa.ChunkedArray]] = {
    "number": parse_number,
    "boolean": parse_boolean,
    "text": lambda text: text,
    "empty": lambda text: text,
}


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
        self.sample: dict[Any, str] = {}
        self.halved = 0
        self.rows = self.valid = 0
        self.whole = True
        self.zones: set[str | None] = set()
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
        while self.valid + len(valid) > _MOST_SAMPLED << self.halved:
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
            # A notation that is known is kept, whatever the values are.
            self.notations = Notations([self.date_format] if self.date_format else likely_notations(sample))
        else:
            # Most text fails on the sample: no need to look at the others.
            self.candidates = _likely_kinds(sample)
            if not self.candidates:
                self.conclude("text" if self.valid else "empty")
        self.start()

    def iso(self) -> bool:
        """Return whether all dates are ISO 8601, with a time zone or without."""
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


def _likely_kinds(sample: pa.ChunkedArray) -> list[str]:
    """Return the kinds that at least half of a sample of text, blanks aside, are of."""
    known = len(sample) - (pc.sum(is_blank(sample)).as_py() or 0)
    fit = {kind: pc.sum(pc.is_valid(PARSERS[kind](sample))).as_py() or 0 for kind in ("number", "boolean")}
    # Most text is not a date, so that hundreds of notations need not be tried.
    if any_like_date(sample):
        fit["date"] = most_dates(sample) * len(sample)
    return [kind for kind in fit if known and fit[kind] >= known / 2]
