"""Which features moved a prediction, by Shapley values in the target's unit.

The contributions of a row are the Shapley values of the game in which a set of features has the row's values, and the
others have those of one reference row (Sundararajan, Najmi 2020, The Many Shapley Values for Model Explanation, ICML:
"baseline Shapley"). They add up to the difference between the two predictions. They are estimated as by Štrumbelj and
Kononenko (2014, Explaining prediction models and individual predictions with feature contributions, Knowledge and
Information Systems 41): features take the row's values one after the other, in a random order and then in the opposite
one. Both together are exact if features interact in pairs only (Mitchell, Cooper, Frank, Holmes 2022, Sampling
Permutations for Shapley Value Estimation, JMLR 23). It works for any model, and the same row always gets the same
reasons. For m features it takes at most 2 m − 1 predictions of each row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from signoff.model import scoring
from signoff.model.records import Profile
from signoff.tables.arrays import with_columns

# The value of each feature in the reference row: a number, a level, or None if it is missing.
_Reference = dict[str, float | str | None]
# A contribution below this share of the prediction is rounding.
_NOISE = 1e-9


def reference_of(profile: Mapping[str, Profile], features: Mapping[str, str]) -> _Reference:
    """Return the reference row: the median of each number, the most frequent level of each category, and no text.

    Parameters
    ----------
    profile
        The profile of each feature in the data of the release, as `drift.profile` returns it.
    features
        The kind of each feature of the model. A feature without any value is left out: no model can use it.
    """
    found: _Reference = {}
    for name in features:
        about = profile[name]
        missing = about["missing"] * about["rows"]
        if about["kind"] == "number" and about["edges"]:
            middle = min(int(np.searchsorted(about["shares"], 0.5)), len(about["edges"]) - 1)
            found[name] = None if missing > about["rows"] / 2 else about["edges"][middle]
        elif about["kind"] == "category" and about["counts"]:
            level, rows = max(about["counts"].items(), key=lambda each: each[1])
            found[name] = None if missing > rows else level
        elif about["kind"] == "text" and about["edges"]:
            found[name] = None
    return found


@dataclass(frozen=True)
class Attribution:
    """Computes the reasons of predictions.

    Parameters
    ----------
    model
        The fitted pipeline.
    reference
        The values of m features that each row is compared with.
    count
        How many reasons a row gets, at most.
    threads
        How many cores to use, at most.
    """

    model: Any
    reference: _Reference
    count: int
    threads: int = 1

    def columns(self) -> list[str]:
        """Return the names of the columns of `reasons`."""
        return [f"reason_{n}{end}" for n in range(1, self.count + 1) for end in ("", "_by")]

    def reasons(self, features: pd.DataFrame, predicted: pd.Series) -> pd.DataFrame:
        """Return the features that moved each prediction most, the first one most.

        Parameters
        ----------
        features
            n rows.
        predicted
            Their n predictions, in the target's unit.

        Returns
        -------
        pandas.DataFrame
            n rows, with the index of `features`. For each reason the name of the feature (`reason_1`; missing if fewer
            features moved the prediction) and its contribution in the target's unit (`reason_1_by`).
        """
        moved = self.contributions(features, predicted)
        values, names = moved.to_numpy(), np.array([*moved.columns, None], dtype="object")
        size = np.abs(values)
        size[size <= _NOISE * np.abs(predicted.to_numpy("float64"))[:, None]] = 0
        order = np.argsort(-size, axis=1, kind="stable")
        found: dict[str, Any] = {}
        for n in range(self.count):
            place = order[:, n] if n < values.shape[1] else np.full(len(values), -1)
            known = place >= 0
            known[known] = size[known, place[known]] > 0
            found[f"reason_{n + 1}"] = pd.Series(names[np.where(known, place, -1)], features.index, dtype="str")
            found[f"reason_{n + 1}_by"] = np.where(known, values[np.arange(len(values)), place], np.nan)
        return pd.DataFrame(found, index=features.index)

    def contributions(self, features: pd.DataFrame, predicted: pd.Series) -> pd.DataFrame:
        """Return n × m contributions (float64), in the target's unit, to the predictions of n rows.

        The sum of a row is its prediction minus that of the reference row.
        """
        base = with_columns(features, {name: _repeated(features[name], each) for name, each in self.reference.items()})
        found = pd.DataFrame(0.0, features.index, list(self.reference))
        if not len(features):
            return found
        differs = {name: _differs(features[name], base[name]) for name in found}
        start = np.repeat(scoring.predict(self.model, base.iloc[:1], self.threads).to_numpy("float64"), len(features))
        order = [found.columns[at] for at in np.random.default_rng(0).permutation(found.shape[1])]
        for path in (order, order[::-1]):
            mixed, before = base.copy(), start
            for name in path:
                mixed[name] = features[name]
                # The last step arrives at the rows themselves.
                last = name == path[-1]
                after = predicted.to_numpy("float64") if last else self._after(mixed, before, differs[name])
                found[name] += (after - before) / 2
                before = after
        return found

    def _after(self, mixed: pd.DataFrame, before: np.ndarray, differs: np.ndarray) -> np.ndarray:
        """Return the predictions of n rows, which were `before` until a feature changed in some of them."""
        after = before.copy()
        if differs.any():
            after[differs] = scoring.predict(self.model, mixed[differs], self.threads)
        return after


def _repeated(values: pd.Series, value: float | str | None) -> pd.Series:
    """Return one value, repeated to the length of the others, with a dtype that can hold it."""
    text = not pd.api.types.is_numeric_dtype(values)
    return pd.Series(np.nan if value is None else value, values.index, dtype=values.dtype if text else "float64")


def _differs(values: pd.Series, others: pd.Series) -> np.ndarray:
    """Return which of n values differ from others, where a missing value equals a missing one."""
    differs: np.ndarray = ~((values == others).fillna(False) | (values.isna() & others.isna())).to_numpy("bool")
    return differs
