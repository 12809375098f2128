"""Join predictions with the values that came later, in memory that does not grow with the number of rows.

Rows are matched by a 64-bit hash of their key. Both sides are written to temporary files and joined group by group.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from signoff.tables.batches import text_batches
from signoff.tables.counting import row_hashes
from signoff.tables.csv_file import header_of_table
from signoff.tables.spill import GOLDEN, PIECE, Spill, pieces
from signoff.tables.table import parse_column

# The largest number of text columns whose levels are slices, and the largest number of levels of each.
MOST_COLUMNS = 8
_MOST_LEVELS = 30
NO_WEEK = np.iinfo("int64").min
_DAY = 86_400_000_000


class Released(Protocol):
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
    """Columns of 8-byte numbers in files, one entry per row."""

    def __init__(self, folder: Path, **dtypes: str):
        self.columns = {name: Spill(folder, dtype) for name, dtype in dtypes.items()}

    def add(self, **values: np.ndarray) -> None:
        for name, each in values.items():
            self.columns[name].add(each)

    def __len__(self) -> int:
        return len(self.columns["key"])

    def group(self, bits: int, group: int) -> pd.DataFrame:
        """Return the rows whose hash belongs to one of 2 ** `bits` groups, with their place."""
        parts = []
        for n, keys in enumerate(pieces(self.columns["key"])):
            inside = np.arange(len(keys))
            if bits:
                inside = np.flatnonzero(keys * GOLDEN >> np.uint64(64 - bits) == group)
            rows = slice(n * PIECE, n * PIECE + len(keys))
            values = {name: column[rows][inside] for name, column in self.columns.items()}
            places = np.arange(rows.start, rows.stop)[inside]
            parts.append(pd.DataFrame({**values, "place": places}))
        return pd.concat(parts) if parts else pd.DataFrame({name: [] for name in [*self.columns, "place"]})


@dataclass(frozen=True)
class Batch:
    """A file of predictions, and the day on which it was written, for rows without a time (days since 1970)."""

    path: Path
    day: int
    as_if: bool = False


class Record:
    """Predictions and answers before they are joined; `folder` is for temporary files."""

    def __init__(self, folder: Path, key: Sequence[str], kinds: Kinds, target: str, time: str | None):
        self.key, self.kinds, self.target, self.time = list(key), kinds, target, time
        self.releases: list[str] = []
        texts = [name for name, kind in kinds.kinds.items() if kind == "text" and name not in (target, time)]
        self.levels: dict[str, list[str]] = {name: [] for name in texts[:MOST_COLUMNS]}
        self._files = 0
        numbers = dict.fromkeys(["prediction", "low", "high", "baseline"], "float64")
        codes = dict.fromkeys(["release", "week", "as_if", "file"], "int64")
        slices = {f"slice_{n}": "int64" for n in range(MOST_COLUMNS)}
        self.predicted = _Rows(folder, key="uint64", **numbers, **codes, **slices)
        self.answers = _Rows(folder, key="uint64", target="float64", week="int64")

    def add_predictions(self, batch: Batch, promises: Mapping[str, Released], means: Mapping[str, float]) -> None:
        """Add a file of predictions. Call it in the order in which the files were written.

        `means` has for each release the mean of its target, as `training_means` returns it.
        """
        header = header_of_table(batch.path)
        baselines = {each.baseline for each in promises.values() if each.baseline in header}
        more = [name for name in (self.time, *self.levels, *sorted(baselines)) if name and name in header]
        ours = ["prediction", "prediction_low", "prediction_high", "release"]
        names = list(dict.fromkeys([*self.key, *more, *(name for name in ours if name in header)]))
        numbers = dict.fromkeys([*ours[:3], *baselines], "number")
        kinds = Kinds({**self.kinds.kinds, **numbers, "release": "text"}, self.kinds.formats)
        for frame in kinds.read(batch.path, names):
            release = frame["release"].astype("str")
            codes = release.map({name: self._code(name) for name in release.unique()}).to_numpy("int64")
            rows = len(frame)
            missing = np.full(rows, np.nan)
            low, high = (
                frame[name].to_numpy() if name in frame else missing for name in ("prediction_low", "prediction_high")
            )
            baseline = np.full(rows, np.nan)
            for name, promise in promises.items():
                inside = (release == name).to_numpy()
                if promise.baseline in frame:
                    baseline[inside] = frame[promise.baseline].to_numpy()[inside]
                elif promise.baseline == "mean" and inside.any():
                    baseline[inside] = means[name]
            levels = {f"slice_{n}": np.full(rows, -1) for n in range(MOST_COLUMNS)}
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

    def add_answers(self, path: Path) -> None:
        """Add a file of rows with their target."""
        names = list(dict.fromkeys([*self.key, self.target, *([self.time] if self.time else [])]))
        for frame in self.kinds.read(path, names):
            self.answers.add(
                key=row_hashes(frame[self.key]),
                target=frame[self.target].to_numpy("float64"),
                week=_weeks(frame[self.time]) if self.time else np.full(len(frame), NO_WEEK),
            )

    def joined(self) -> Iterator[pd.DataFrame]:
        """Yield the predictions, each row once, with `target` (missing without an answer) and the answer's `place`.

        Of several predictions of one row, the last file counts; of several answers, the last one (a correction). If a
        key occurs several times within a file, its last occurrence belongs to the last answer, and so on backwards.
        """
        bits = max((len(self.predicted) + len(self.answers)) // (2 * PIECE), 0).bit_length()
        for group in range(1 << bits):
            predicted, answers = (rows.group(bits, group) for rows in (self.predicted, self.answers))
            answers = answers[answers["target"].notna()]
            predicted["rank"] = predicted.groupby(["key", "file"]).cumcount(ascending=False)
            answers["rank"] = answers.groupby("key").cumcount(ascending=False)
            predicted = predicted.drop_duplicates(["key", "rank"], keep="last").drop(columns="place")
            yield predicted.merge(answers.drop(columns="week"), on=["key", "rank"], how="left")

    def _code(self, release: str) -> int:
        if release not in self.releases:
            self.releases.append(release)
        return self.releases.index(release)

    def _levels(self, column: str, values: pd.Series) -> np.ndarray:
        """Return the code of each value of a column, -1 for missing and rare values."""
        known = self.levels[column]
        for value in values.dropna().unique()[: _MOST_LEVELS * 2]:
            if value not in known and len(known) < _MOST_LEVELS:
                known.append(value)
        return values.map({value: n for n, value in enumerate(known)}).fillna(-1).to_numpy("int64")


def training_means(
    raw: Sequence[Path], kinds: Kinds, target: str, promises: Mapping[str, Released]
) -> dict[str, float]:
    """Return for each release the mean of the targets that it was made from, which the baseline "mean" predicts.

    These are the targets up to the release's last time, or all of them if rows have no time.
    """
    totals = {name: [0.0, 0] for name in promises}
    times = {each.time for each in promises.values() if each.time}
    for path in raw:
        for frame in kinds.read(path, [target, *sorted(times)]):
            known = frame[target].notna()
            for name, promise in promises.items():
                use = known & (frame[promise.time] <= promise.until) if promise.time else known
                totals[name][0] += float(frame[target][use].sum())
                totals[name][1] += int(use.sum())
    return {name: total / count if count else math.nan for name, (total, count) in totals.items()}


def _weeks(time: pd.Series) -> np.ndarray:
    """Return the Monday of each time in days since 1970, `NO_WEEK` for a missing time."""
    days = time.astype("datetime64[us]").to_numpy().astype("int64") // _DAY
    return np.where(time.notna().to_numpy(), _monday(days), NO_WEEK)


def _monday(day: Any) -> Any:
    """Return the Monday of a week, in days since 1970, which began on a Thursday."""
    return day - (day + 3) % 7
