"""Compare a batch that is scored with the data of its release: kinds, ranges, missing values, levels and distributions.

The features are compared with the profile that was signed with the release, the columns with its validation report.
Missing, unreadable and out-of-range values are counted in all rows. Distributions are compared on a random sample of at
most `_MOST_ROWS` rows, so memory does not grow with the batch.
"""

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd
from scipy import special

from signoff.base.numbers import counted
from signoff.features.columns import Features, frame_of
from signoff.features.earlier_rows import Earlier, history_of
from signoff.features.history_plan import micros
from signoff.features.recipe import of_a_date
from signoff.model.records import Metadata, Profile
from signoff.release.approval import utc_now
from signoff.release.records import DriftRow
from signoff.review import drift
from signoff.tables.arrays import missing_in, numbers_in
from signoff.tables.records import ColumnProfile

# Shares and distributions of fewer rows are not judged.
_FEWEST_ROWS = 50
# Rows of the sample whose distributions are compared, at most.
_MOST_ROWS = 20_000
# A rise in the share of missing, unreadable or rejected rows is reported if it is larger than this.
_RISE = 0.05
# Values outside the released range, at least.
_FEWEST_OUTSIDE = 3
# A level needs this many expected rows to be compared on its own (the usual rule for Pearson's test).
_EXPECTED = 5


def report_path(predictions: Path) -> Path:
    """Return where the report on a batch is, by the file of its predictions."""
    return predictions.with_name(f"{predictions.name.removesuffix('.csv')}.report.json")


class _BatchFinding(TypedDict):
    """A difference between a batch and the release's data.

    `column` is None if it concerns whole rows; `before` and `now` are shares, or ends of ranges, or None.
    """

    column: str | None
    what: str
    before: float | None
    now: float | None
    sentence: str


class BatchReport(TypedDict):
    """predictions/BATCH.report.json; `compared` says why a batch, or a part of it, was not compared."""

    release: str
    rows: int
    scored: int
    rejected: int
    predicted_at: str
    compared: str
    findings: list[_BatchFinding]


@dataclasses.dataclass(frozen=True)
class Released:
    """The part of a release with which later rows are compared.

    Parameters
    ----------
    metadata
        model.json.
    features
        The profile of each feature, as `drift.profile` returns it.
    predictions
        The profile of the predictions of the held-out rows; None in releases of older versions.
    columns
        The profile of each raw column in validation_report.json.
    rows
        The number of raw rows in that report.
    """

    metadata: Metadata
    features: Mapping[str, Profile]
    predictions: Profile | None
    columns: Mapping[str, ColumnProfile]
    rows: int

    @functools.cached_property
    def compared(self) -> dict[str, Profile]:
        """The profiles of the features whose distributions are compared: not those of dates."""
        return {
            name: self.features[name]
            for name, kind in self.metadata["features"].items()
            if name in self.features and self.features[name].get("kind") == kind and not of_a_date(name, self.metadata)
        }


class BatchCheck:
    """Statistics of a batch, collected block by block."""

    def __init__(self, released: Released):
        self.released = released
        self.scored = 0
        self.missing: Counter[str] = Counter()
        self.unreadable: Counter[str] = Counter()
        self.outside: Counter[str] = Counter()
        self.ends: dict[str, tuple[float, float]] = {}
        self.outdated: dict[str, int] = {}
        # For each block, the features of the drawn rows, their predictions, and their numbers.
        self._sample: list[tuple[pd.DataFrame | Features, np.ndarray, np.ndarray]] = []
        self._sampled, self._halvings = 0, 0

    def add_column(self, name: str, values: pd.Series, unreadable: np.ndarray) -> None:
        """Count a block of a raw column, n parsed values of which some could not be read."""
        wrong = int(np.count_nonzero(unreadable))
        self.unreadable[name] += wrong
        self.missing[name] += int(np.count_nonzero(missing_in(values))) - wrong
        about = self.released.columns.get(name)
        if (
            about is None
            or about.get("type") != "number"
            or "min" not in about
            or not pd.api.types.is_numeric_dtype(values)
        ):
            return
        numbers = numbers_in(values)
        outside = (numbers < about["min"]) | (numbers > about["max"])
        if outside.any():
            low, high = self.ends.get(name, (math.inf, -math.inf))
            self.ends[name] = min(low, float(numbers[outside].min())), max(high, float(numbers[outside].max()))
            self.outside[name] += int(outside.sum())

    def add_moments(self, moments: np.ndarray, earlier: Earlier) -> None:
        """Count rows that are too old or too new for the features of earlier rows; moments as `micros_of`."""
        made = [how for how in history_of(self.released.metadata["recipe"]).values() if "window" in how]
        reach = min(((micros(how["window"]) or 0) + (micros(how["after"]) or 0) for how in made), default=None)
        self.outdated["end"] = earlier.end
        old, new = moments < earlier.since, moments > earlier.end + (reach or 0)
        for what, rows in (("old", old), ("new", new & (reach is not None))):
            self.outdated[what] = self.outdated.get(what, 0) + int(rows.sum())

    def add_scored(self, features: pd.DataFrame | Features, predicted: pd.Series | np.ndarray) -> None:
        """Add a block of n scored rows: their features, and n predictions."""
        numbers = np.arange(self.scored, self.scored + len(features), dtype="uint64")
        self.scored += len(features)
        self._sample.append(self._part(features, np.asarray(predicted, dtype="float64"), numbers))
        self._sampled += len(self._sample[-1][0])
        while self._sampled > _MOST_ROWS:
            self._halvings += 1
            self._sample = [self._part(*each) for each in self._sample]
            self._sampled = sum(len(features) for features, _, _ in self._sample)

    def _part(
        self, features: pd.DataFrame | Features, predicted: np.ndarray, numbers: np.ndarray
    ) -> tuple[pd.DataFrame | Features, np.ndarray, np.ndarray]:
        """Return the drawn rows of a block."""
        drawn = self._drawn(numbers)
        if drawn.all():
            return features, predicted, numbers
        return frame_of(features)[drawn], predicted[drawn], numbers[drawn]

    def _drawn(self, numbers: np.ndarray) -> np.ndarray:
        """Return which rows are in the sample, by a hash of their numbers (splitmix64), whatever the blocks are."""
        with np.errstate(over="ignore"):
            hashed = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
            hashed = (hashed ^ (hashed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            hashed = (hashed ^ (hashed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            hashed ^= hashed >> np.uint64(31)
        drawn: np.ndarray = hashed < np.uint64((1 << 64 - self._halvings) - 1)
        return drawn

    def findings(self, rejected: int) -> list[_BatchFinding]:
        """Return the differences from the release's data; `rejected` counts rows that could not be scored."""
        shifts = self._shifts() if self.scored >= _FEWEST_ROWS else []
        converted = {each["column"] for each in shifts if each["what"] == "unit"}
        found = self._shares(rejected) if self.scored + rejected >= _FEWEST_ROWS else []
        return [
            *shifts,
            *found,
            *self._earlier(self.scored),
            *(each for each in self._ranges(self.scored + rejected) if each["column"] not in converted),
        ]

    def compared(self, rejected: int) -> str:
        """Return a phrase on the part of the batch that was compared."""
        if self.scored + rejected < _FEWEST_ROWS:
            return f"ranges only: shares and distributions are compared from {_FEWEST_ROWS} rows on"
        if self.scored < _FEWEST_ROWS:
            return f"ranges and shares: distributions are compared from {_FEWEST_ROWS} scored rows on"
        if self.released.predictions is None:
            return "all but the predictions, of which the release holds no profile"
        return "all"

    def _shares(self, rejected: int) -> list[_BatchFinding]:
        """Return the columns with more missing or unreadable values, and whether more rows are rejected."""
        rows, known = self.scored + rejected, self.released.rows
        shares: list[tuple[str | None, str, float, int, str]] = []
        for name in self.released.metadata["columns"]:
            about = self.released.columns.get(name)
            if about is not None:
                kind = self.released.metadata["columns"][name]["kind"]
                pairs = [
                    ("missing", about["missing"], self.missing[name], "are missing"),
                    ("kind", about["unreadable"], self.unreadable[name], f"cannot be read as a {kind}"),
                ]
                shares += [
                    (name, what, before, now, f"{name}: {{}} of its values {words}")
                    for what, before, now, words in pairs
                ]
        cleaning = self.released.metadata.get("cleaning")
        if cleaning and cleaning["rows_in"]:
            dropped = cleaning["rows_dropped"]
            before = (dropped["unreadable"] + dropped["missing"]) / cleaning["rows_in"] * known
            shares.append((None, "rejected", before, rejected, "{} of the rows were rejected"))
        found: list[_BatchFinding] = []
        for column, what, before, now, words in shares:
            then, share = before / max(known, 1), now / rows
            if share - then > _RISE and _more(before, known, now, rows) < drift.RARE / len(shares):
                sentence = f"{words.format(f'{share:.1%}')}, and {then:.1%} in the released data"
                found.append({"column": column, "what": what, "before": then, "now": share, "sentence": sentence})
        return found

    def _earlier(self, rows: int) -> list[_BatchFinding]:
        """Return whether rows lack features of earlier rows, because they are too old or too new."""
        found: list[_BatchFinding] = []
        for what, words in (
            ("old", "are older than the held-out rows of the release"),
            ("new", "come after the last earlier row, {}, by more than a window"),
        ):
            if count := self.outdated.get(what, 0):
                end = str(pd.Timestamp(self.outdated["end"], unit="us"))
                sentence = f"{count / rows:.1%} of the rows {words.format(end)}: they lack features of earlier rows"
                found.append(
                    {"column": None, "what": "history", "before": None, "now": count / rows, "sentence": sentence}
                )
        return found

    def _ranges(self, rows: int) -> list[_BatchFinding]:
        """Return the columns with more values outside the released range than chance explains."""
        found: list[_BatchFinding] = []
        for name, count in self.outside.items():
            about, known = self.released.columns[name], self.released.rows
            share = count / rows
            by_chance = not drift.never_by_chance(known / (known + rows), count, 2 * len(self.released.columns))
            if count < _FEWEST_OUTSIDE or share < drift.SHARE or by_chance:
                continue
            low, high = self.ends[name]
            ends = [f"{low:.6g}"] * (low < about["min"]) + [f"{high:.6g}"] * (high > about["max"])
            sentence = (
                f"{name}: {counted(count, 'value')} ({share:.1%}) outside the released range from {about['min']:.6g} "
                f"to {about['max']:.6g}, up to {' and '.join(ends)}"
            )
            found.append({"column": name, "what": "range", "before": 0.0, "now": share, "sentence": sentence})
        return found

    def _shifts(self) -> list[_BatchFinding]:
        """Return the features whose distribution, unit or levels have changed, and whether the predictions have."""
        blocks = [features for features, _, _ in self._sample]
        sample = pd.concat(map(frame_of, blocks), ignore_index=True) if len(blocks) > 1 else blocks[0]
        compared = self.released.compared
        found: list[_BatchFinding] = []
        for name, before in compared.items():
            found += _shift(name, before, pd.Series(sample[name], copy=False), len(compared) + 1)
        if self.released.predictions is not None:
            predicted = pd.Series(np.concatenate([predictions for _, predictions, _ in self._sample]), copy=False)
            row = drift.compare("the predictions", self.released.predictions, predicted)
            if _has_shifted(row, len(compared) + 1):
                found.append(_psi_finding(None, "predictions", row))
        return found


def _shift(name: str, before: Profile, values: pd.Series, compared: int) -> list[_BatchFinding]:
    """Return the changes in a feature, one of `compared` features."""
    row = drift.compare(name, before, values)
    if row["p"] is None:
        return []
    sure = row["p"] < drift.RARE / compared
    if row["unit"] and sure:
        # A profile does not know the order of its rows, so one season of a year may fit as well.
        sentence = f"{name}: all values may have been converted ({row['unit']}), unless a season explains the shift"
        return [{"column": name, "what": "unit", "before": None, "now": None, "sentence": sentence}]
    if row["new"]:
        share = float(values.astype("str").isin(row["new"]).mean())
        levels = ", ".join(map(repr, row["new"][:3])) + (", …" if len(row["new"]) > 3 else "")
        word = "level" if len(row["new"]) == 1 else "levels"
        sentence = f"{name}: {share:.1%} of the rows have a new {word}: {levels}"
        return [{"column": name, "what": "new_category", "before": 0.0, "now": share, "sentence": sentence}]
    if before["kind"] == "category":
        pooled = _pooled(before, len(values) - int(np.count_nonzero(missing_in(values))))
        row = row if pooled == before else drift.compare(name, pooled, values)
    return [_psi_finding(name, "shift", row)] if _has_shifted(row, compared) else []


def _has_shifted(row: DriftRow, compared: int) -> bool:
    """Return whether the shift that `drift.compare` measured is large and significant among `compared` features."""
    psi, size, p = row["psi"], row["size"], row["p"]
    if psi is None or size is None or p is None:
        return False
    return row["flagged"] and psi >= drift.LARGE_PSI and size >= drift.SUBSTANTIAL and p < drift.RARE / compared


def _psi_finding(name: str | None, what: str, row: DriftRow) -> _BatchFinding:
    """Return the finding of a shifted distribution; `now` is its PSI."""
    which = "the distribution of its length" if row["kind"] == "text" else "the distribution"
    sentence = f"{row['feature']}: {which} has shifted (PSI {row['psi']:.2f}, {row['statistic']} {row['size']:.2f})"
    return {"column": name, "what": what, "before": None, "now": row["psi"], "sentence": sentence}


def _pooled(before: Profile, rows: int) -> Profile:
    """Return the profile of a category, with the levels pooled that are rare for a sample of that many rows."""
    known = sum(before["counts"].values()) + before["others"]
    kept = {level: n for level, n in before["counts"].items() if n / max(known, 1) * rows >= _EXPECTED}
    return {**before, "counts": kept, "others": known - sum(kept.values())}


def _more(before: float, known: int, now: int, rows: int) -> float:
    """Return the probability of at least `now` of `rows` if `before` of `known` were seen (the binomial tail).

    Two rows are added to `before`, because a share that was measured on few rows may be larger.
    """
    share = min((before + 2) / (known + 2), 1.0)
    return float(special.bdtrc(now - 1, rows, share)) if now else 1.0


def batch_report(check: BatchCheck | None, release: str, rows: Counter[str]) -> BatchReport:
    """Return the report of a batch; `rows` counts the rows scored and rejected."""
    report: BatchReport = {
        "release": release,
        "rows": rows["scored"] + rows["rejected"],
        "scored": rows["scored"],
        "rejected": rows["rejected"],
        "predicted_at": utc_now(),
        "compared": "nothing: an older version made the release, without a profile of its data",
        "findings": [],
    }
    if check:
        report |= {"compared": check.compared(rows["rejected"]), "findings": check.findings(rows["rejected"])}
    return report
