"""Features of earlier rows with the same key: lags, rolling means, counts, and the time since the last row.

A row counts for another one only if it was known before that one's moment: its own moment plus `available_after` must
be earlier, and not equal. The sums of a window are exact, so a value depends on the rows in its window alone. It is the
same to the last digit when it is computed again from a `state`, which has fewer earlier rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from signoff.base.errors import TaskError
from signoff.features.custom_features import as_given, kind_of
from signoff.features.expressions import evaluate, names_in
from signoff.features.history_plan import micros
from signoff.features.records import FeatureRecipe

_HOUR = 3_600_000_000
_NEVER = np.iinfo("int64").max
# A window's sum is made of parts of this many bits, of which 2 ** 31 fit in 63 bits.
_BITS = 32


@dataclass(frozen=True)
class Earlier:
    """Rows that the features of other rows are computed from, as `remembered` returns them.

    They are enough for moments from `since` on (microseconds since 1970, in UTC). The history of an earlier row is
    missing. `time` is the column of moments.
    """

    rows: pd.DataFrame
    since: int
    time: str

    @property
    def end(self) -> int:
        """The last moment."""
        return int(micros_of(self.rows[self.time]).max(initial=self.since))


def history_of(recipe: Mapping[str, FeatureRecipe]) -> dict[str, FeatureRecipe]:
    """Return the features that are computed from earlier rows."""
    return {name: how for name, how in recipe.items() if "history" in how}


def _columns_remembered(recipe: Mapping[str, FeatureRecipe]) -> list[str]:
    """Return the columns of earlier rows that the features need."""
    found: dict[str, None] = {}
    for how in history_of(recipe).values():
        needed = [*how["by"], how["time"], *names_in(how.get("of", "0"))]
        found |= dict.fromkeys([*needed, *([] if micros(how["after"]) is not None else names_in(how["after"]))])
    return list(found)


def remembered(frame: pd.DataFrame, recipe: Mapping[str, FeatureRecipe]) -> pd.DataFrame:
    """Return the columns that the history of other rows needs of n rows, in dtypes that no batch changes."""
    return pd.DataFrame({name: as_given(frame[name], kind_of(frame[name])) for name in _columns_remembered(recipe)})


def history_features(
    frame: pd.DataFrame, recipe: Mapping[str, FeatureRecipe], earlier: Earlier | None = None
) -> dict[str, pd.Series]:
    """Return the features of n rows that are computed from earlier rows, as float64; missing if nothing was known.

    Parameters
    ----------
    frame
        n rows with the keys and the time.
    recipe
        The recipes of all features.
    earlier
        The earlier rows. Without them, `frame` itself has all rows, with all columns of `columns_remembered`.

    Raises
    ------
    TaskError
        A value, or the time after which it is known, cannot be computed.
    """
    groups: dict[tuple[tuple[str, ...], str, str], dict[str, FeatureRecipe]] = {}
    for name, how in history_of(recipe).items():
        groups.setdefault((tuple(how["by"]), how["time"], how["after"]), {})[name] = how
    found: dict[str, pd.Series] = {}
    source = frame if earlier is None else earlier.rows
    for (by, time, after), features in groups.items():
        known = _Known(source, frame, by, time, after)
        moments = micros_of(frame[time])
        usable = (known.codes >= 0) & (moments != _NEVER) & (moments >= (earlier.since if earlier else -_NEVER))
        moments = np.where(usable, moments, 0)
        for name, how in features.items():
            values = known.feature(name, how, moments, stale=earlier is not None)
            found[name] = pd.Series(np.where(usable, values, np.nan), frame.index)
    return {name: found[name] for name in history_of(recipe)}


def rows_needed_from(past: pd.DataFrame, recipe: Mapping[str, FeatureRecipe], since: int) -> Earlier:
    """Return those of all rows that the features of a row at `since` or later need, in their order."""
    kept = np.zeros(len(past), dtype=bool)
    for how in history_of(recipe).values():
        known = _Known(past, past.iloc[:0], tuple(how["by"]), how["time"], how["after"])
        kept[known.order[known.at >= since - (micros(how.get("window", "0h")) or 0)]] = True
        # Of each key, the last rows before that.
        last = {"lag": how.get("lag", 0), "since_last": 1}.get(how["history"], 0)
        older = np.flatnonzero(known.at < since)
        ends = np.searchsorted(known.of[older], known.of[older], side="right")
        kept[known.order[older[ends - np.arange(len(older)) <= last]]] = True
    return Earlier(past[kept].reset_index(drop=True), since, next(iter(history_of(recipe).values()))["time"])


class _Known:
    """Rows by key and by the moment when they became known, and the keys of the rows that ask."""

    def __init__(self, source: pd.DataFrame, asking: pd.DataFrame, by: tuple[str, ...], time: str, after: str):
        self._source = source
        moments = micros_of(source[time])
        at = _known_at(source, moments, after)
        codes = _codes(source, asking, by)
        of, self.codes = codes[: len(source)], codes[len(source) :]
        rows = np.flatnonzero((of >= 0) & (at != _NEVER))
        # Equal moments stay in the order of the rows.
        self.order = rows[np.lexsort((moments[rows], at[rows], of[rows]))]
        self.at, self.of, self._moments = at[self.order], of[self.order], moments[self.order]
        self._times = np.unique(self.at)
        self._places = self.of * (len(self._times) + 1) + np.searchsorted(self._times, self.at)

    def before(self, moments: np.ndarray) -> np.ndarray:
        """Return for each row that asks the place after the last row of its key that was known before a moment."""
        asked = self.codes * (len(self._times) + 1) + np.searchsorted(self._times, moments)
        return np.searchsorted(self._places, asked)

    def feature(self, name: str, how: FeatureRecipe, moments: np.ndarray, stale: bool) -> np.ndarray:
        """Return a feature of the rows that ask; `stale` says that rows may be known which are not among these."""
        if not len(self.order):
            return np.zeros(len(moments)) if how["history"] == "count" and not stale else np.full(len(moments), np.nan)
        last = self.before(moments)
        if how["history"] in ("mean", "count"):
            window = micros(how["window"]) or 0
            first = self.before(moments - window)
            if how["history"] == "count":
                counts = (last - first).astype("float64")
                return np.where(stale & (moments - window > self.at.max()), np.nan, counts)
            return _means(self._values(name, how), first, last)
        place = last - how.get("lag", 1)
        exists = place >= np.searchsorted(self.of, self.codes)
        place = np.where(exists, place, 0)
        if how["history"] == "lag":
            return np.where(exists, self._values(name, how)[place], np.nan)
        return np.where(exists, (moments - self._moments[place]) / _HOUR, np.nan)

    def _values(self, name: str, how: FeatureRecipe) -> np.ndarray:
        return evaluate(name, how["of"], self._source, key="features.history").to_numpy("float64")[self.order]


def _means(values: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return the mean of the values that are not missing from each first place up to a last one, which is excluded.

    The parts of all values between two powers of two are added as integers. A sum is then exact, and does not depend on
    the values outside of its window, as a difference of cumulative sums of floats would.
    """
    there = np.concatenate([[0], np.cumsum(~np.isnan(values))])
    rest, sums = np.nan_to_num(values, nan=0.0), np.zeros(len(first))
    while rest.any():
        power = (int(np.frexp(np.abs(rest).max())[1]) - 1) // _BITS * _BITS
        part = np.trunc(np.ldexp(rest, -power))
        added = np.concatenate([[0], np.cumsum(part.astype("int64"))])
        sums += np.ldexp((added[last] - added[first]).astype("float64"), power)
        rest -= np.ldexp(part, power)
    counts = there[last] - there[first]
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def micros_of(times: pd.Series) -> np.ndarray:
    """Return n times in microseconds since 1970 in UTC (int64); the largest number if missing."""
    found = as_given(times, "date").to_numpy("datetime64[us]").astype("int64")
    return np.where(times.isna().to_numpy(), _NEVER, found)


def _known_at(source: pd.DataFrame, moments: np.ndarray, after: str) -> np.ndarray:
    """Return when each of n rows became known, as `micros_of`: after a duration, or an expression in hours."""
    fixed = micros(after)
    if fixed is not None:
        return np.where(moments == _NEVER, _NEVER, moments + np.where(moments == _NEVER, 0, fixed))
    hours = evaluate("available_after", after, source, key="features.history").to_numpy("float64")
    never = np.isnan(hours) | (hours > 24 * 366 * 1000) | (moments == _NEVER)
    later = np.round(np.where(never, 0, np.maximum(hours, 0)) * _HOUR).astype("int64")
    return np.where(never, _NEVER, np.where(never, 0, moments) + later)


def _codes(source: pd.DataFrame, asking: pd.DataFrame, by: tuple[str, ...]) -> np.ndarray:
    """Return the number of the key of each row, of `source` first; -1 if a part of the key is missing."""
    codes = np.zeros(len(source) + len(asking), dtype="int64")
    for name in by:
        kind = kind_of(source[name] if len(source) else asking[name])
        try:
            both = pd.concat([as_given(each[name], kind) for each in (source, asking)], ignore_index=True)
        except (TypeError, ValueError) as error:
            raise TaskError(f"features.history: {name} holds other values than when the model was trained.") from error
        more = pd.factorize(both)[0]
        missing = (more < 0) | (codes < 0)
        # As small as possible, so that several columns do not overflow.
        codes = np.unique(codes * (more.max(initial=0) + 1) + more, return_inverse=True)[1].astype("int64")
        codes[missing] = -1
    return codes
