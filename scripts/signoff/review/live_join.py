"""Join predictions with the values that came later, in memory that does not grow with the number of rows.

Rows are matched by a 64-bit hash of their key. Both sides are written to temporary files, in
groups by their key, and joined group by group.
"""

import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from signoff.tables.batches import text_batches
from signoff.tables.counting import row_hashes
from signoff.tables.csv_file import header_of_table
from signoff.tables.spill import GOLDEN
from signoff.tables.table import parse_column

# The largest number of text columns whose levels are slices, and the largest number of levels of each.
_MOST_COLUMNS = 8
_MOST_LEVELS = 30
# Groups by the first byte of a hash, and the number of rows of both sides that are joined at a time, if more than one
# group fits.
_GROUPS, _MOST_ROWS = 256, 500_000
NO_WEEK = np.iinfo("int32").min
_DAY = 86_400_000_000


class _Released(Protocol):
    """The part of a release that the join needs: its best baseline, its time column, and the last time of its data."""

    @property
    def baseline(self) -> str: ...

    @property
    def time(self) -> str | None: ...

    @property
    def until(self) -> pd.Timestamp | None: ...


@dataclass(frozen=True)
class Kinds:
    """How cells are read: the kind of each known column, and the notation of dates. Other columns are text."""

    kinds: Mapping[str, str]
    formats: Mapping[str, str]

    def read(self, path: Path, names: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield some columns of a CSV file, some rows at a time, with dtypes that do not depend on the other rows."""
        for batch in text_batches(path, list(names)):
            columns = {}
            for name in names:
                kind = self.kinds.get(name, "text")
                values, _ = parse_column(
                    batch[name], kind, self.formats.get(name), "float64" if kind == "number" else None
                )
                if kind == "date":
                    values = values.dt.tz_convert("UTC").dt.tz_localize(None) if values.dt.tz else values
                    values = values.astype("datetime64[us]")
                columns[name] = values
            yield pd.DataFrame(columns, columns=list(names))


class _Rows:
    """Rows of numbers in a file without a name, in groups by a hash of the key, each in its order."""

    def __init__(self, folder: Path, **dtypes: str):
        self.dtype = np.dtype([*dtypes.items(), ("place", "int64")])
        self.file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        # Where each group begins in each batch, in rows of the file.
        self.starts: list[np.ndarray] = []
        self.counts = np.zeros(_GROUPS, dtype="int64")

    def add(self, **values: np.ndarray) -> None:
        """Add a batch: a number for each row and column. Rows are numbered in the order in which they come."""
        before = len(self)
        rows = np.empty(len(values["key"]), self.dtype)
        for name, each in values.items():
            rows[name] = each
        rows["place"] = np.arange(before, before + len(rows))
        group = (rows["key"] * GOLDEN >> np.uint64(56)).astype("uint8")
        self.file.write(rows[np.argsort(group, kind="stable")].tobytes())
        counts = np.bincount(group, minlength=_GROUPS)
        self.starts.append(before + np.concatenate([[0], np.cumsum(counts)]))
        self.counts += counts

    def __len__(self) -> int:
        return int(self.counts.sum())

    def of(self, first: int, end: int) -> pd.DataFrame:
        """Return the rows of some groups, with their place."""
        size, file = self.dtype.itemsize, self.file.fileno()
        found = [os.pread(file, size * int(at[end] - at[first]), size * int(at[first])) for at in self.starts]
        rows = np.frombuffer(b"".join(found), self.dtype)
        return pd.DataFrame({name: rows[name] for name in self.dtype.names or ()})


@dataclass(frozen=True)
class Batch:
    """A file of predictions, and the day on which it was written, for rows without a time (days since 1970)."""

    path: Path
    day: int
    as_if: bool = False


class Unjoined:
    """Predictions and answers before they are joined; `folder` is for temporary files."""

    def __init__(self, folder: Path, key: Sequence[str], kinds: Kinds, target: str, time: str | None):
        self.key, self.kinds, self.target, self.time = list(key), kinds, target, time
        self.releases: list[str] = []
        texts = [name for name, kind in kinds.kinds.items() if kind == "text" and name not in (target, time)]
        self.levels: dict[str, list[str]] = {name: [] for name in texts[:_MOST_COLUMNS]}
        self._files = 0
        # As narrow as possible, because most of the time goes into moving these rows.
        numbers = dict.fromkeys(["prediction", "low", "high", "baseline"], "float64")
        codes = dict.fromkeys(["release", "week", "file"], "int32")
        slices = {f"slice_{n}": "int8" for n in range(len(self.levels))}
        self.predicted = _Rows(folder, key="uint64", **numbers, **codes, as_if="int8", **slices)
        self.answers = _Rows(folder, key="uint64", target="float64")

    def add_predictions(self, batch: Batch, promises: Mapping[str, _Released], means: Mapping[str, float]) -> None:
        """Add a file of predictions. Call it in the order in which the files were written.

        `means` has for each release the mean of its target, as `TrainingMeans.by_release` returns it.
        """
        header = header_of_table(batch.path)
        baselines = {each.baseline for each in promises.values() if each.baseline in header}
        more = [name for name in (self.time, *self.levels, *sorted(baselines)) if name and name in header]
        ours = ["prediction", "prediction_low", "prediction_high", "release"]
        names = list(dict.fromkeys([*self.key, *more, *(name for name in ours if name in header)]))
        numbers = dict.fromkeys([*ours[:3], *baselines], "number")
        kinds = Kinds({**self.kinds.kinds, **numbers, "release": "text"}, self.kinds.formats)
        for frame in kinds.read(batch.path, names):
            places, different = pd.factorize(frame["release"].astype("str"))
            codes = np.array([self._code(name) for name in different], dtype="int64")[places]
            rows = len(frame)
            missing = np.full(rows, np.nan)
            low, high = (
                frame[name].to_numpy() if name in frame else missing for name in ("prediction_low", "prediction_high")
            )
            baseline = np.full(rows, np.nan)
            for name, promise in promises.items():
                inside = codes == (self.releases.index(name) if name in self.releases else -1)
                if promise.baseline in frame:
                    baseline[inside] = frame[promise.baseline].to_numpy()[inside]
                elif promise.baseline == "mean" and inside.any():
                    baseline[inside] = means[name]
            levels = {f"slice_{n}": np.full(rows, -1) for n in range(len(self.levels))}
            for n, name in enumerate(self.levels):
                if name in frame:
                    levels[f"slice_{n}"] = self._levels(name, frame[name])
            week = _weeks(frame[self.time]) if self.time in frame else np.full(rows, _monday(batch.day))
            self.predicted.add(
                key=row_hashes(frame[self.key]),
                prediction=frame["prediction"].to_numpy(),
                low=low,
                high=high,
                baseline=baseline,
                release=codes,
                week=week,
                as_if=np.full(rows, int(batch.as_if)),
                file=np.full(rows, self._files),
                **levels,
            )
        self._files += 1

    def add_answers(self, frame: pd.DataFrame) -> None:
        """Add rows with their key and target, as `Kinds.read` yields them."""
        self.answers.add(key=row_hashes(frame[self.key]), target=frame[self.target].to_numpy("float64"))

    def joined(self) -> Iterator[pd.DataFrame]:
        """Yield the predictions, each row once, with `target` (missing without an answer) and the answer's `place`.

        Of several predictions of one row, the last file counts; of several answers, the last one (a correction). If a
        key occurs several times within a file, its last occurrence belongs to the last answer, and so on backwards.
        """
        counts = self.predicted.counts + self.answers.counts
        first = 0
        for end in range(1, _GROUPS + 1):
            if end < _GROUPS and counts[first : end + 1].sum() <= _MOST_ROWS:
                continue
            predicted, answers = self.predicted.of(first, end), self.answers.of(first, end)
            answers = answers[answers["target"].notna()]
            first = end
            if predicted["key"].is_unique and answers["key"].is_unique:
                found = pd.Index(answers["key"]).get_indexer(pd.Index(predicted["key"]))
                for name in ("target", "place"):
                    # Of a missing answer, the last element, which is none.
                    predicted[name] = np.append(answers[name].to_numpy("float64"), np.nan)[found]
                yield predicted
                continue
            predicted["rank"] = _from_the_end(predicted, ["key", "file"])
            answers = answers.assign(rank=_from_the_end(answers, ["key"]))
            predicted = predicted.drop_duplicates(["key", "rank"], keep="last").drop(columns="place")
            yield predicted.merge(answers[["key", "rank", "target", "place"]], on=["key", "rank"], how="left")

    def _code(self, release: str) -> int:
        if release not in self.releases:
            self.releases.append(release)
        return self.releases.index(release)

    def _levels(self, column: str, values: pd.Series) -> np.ndarray:
        """Return the code of each value of a column, -1 for missing and rare values."""
        known = self.levels[column]
        places, different = pd.factorize(values)
        for value in different[: _MOST_LEVELS * 2]:
            if value not in known and len(known) < _MOST_LEVELS:
                known.append(value)
        return np.append(pd.Index(known, dtype=values.dtype).get_indexer(different), -1)[places]


class TrainingMeans:
    """For each release the mean of the targets that it was made from, which the baseline "mean" predicts.

    These are the targets up to the release's last time, or all of them if rows have no time.
    """

    def __init__(self, kinds: Kinds, target: str, promises: Mapping[str, _Released]):
        self.kinds, self.target, self.promises = kinds, target, promises
        self.columns = sorted({target, *(each.time for each in promises.values() if each.time)})
        self._totals = dict.fromkeys(promises, (0.0, 0))

    def add(self, frame: pd.DataFrame) -> None:
        """Add rows, as `Kinds.read` yields them."""
        known = frame[self.target].notna()
        for name, promise in self.promises.items():
            use = known & (frame[promise.time] <= promise.until) if promise.time else known
            total, count = self._totals[name]
            self._totals[name] = total + float(frame[self.target][use].sum()), count + int(use.sum())

    def by_release(self) -> dict[str, float]:
        """Return the means."""
        return {name: total / count if count else math.nan for name, (total, count) in self._totals.items()}


def _from_the_end(rows: pd.DataFrame, by: list[str]) -> np.ndarray:
    """Return the number of later rows with the same values for each row."""
    return rows.groupby(by).cumcount(ascending=False).to_numpy()


def _weeks(time: pd.Series) -> np.ndarray:
    """Return the Monday of each time in days since 1970, `NO_WEEK` for a missing time."""
    days = time.astype("datetime64[us]").to_numpy().astype("int64") // _DAY
    return np.where(time.notna().to_numpy(), _monday(days), NO_WEEK)


def _monday(day: Any) -> Any:
    """Return the Monday of a week, in days since 1970, which began on a Thursday."""
    return day - (day + 3) % 7
