"""The reasons of a prediction, compared with Shapley values that are computed from all sets of features."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from signoff.model import scoring
from signoff.model.attribution import Attribution, reference_of
from signoff.model.training import train_model
from signoff.review import drift

KINDS = {"km": "number", "riders": "number", "city": "category", "empty": "number"}


def table(rows: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "km": random.uniform(1, 20, rows),
            "riders": random.integers(1, 5, rows),
            "city": pd.Series(random.choice(["Bonn", "Trier"], rows, p=[0.7, 0.3]), dtype="str"),
            "empty": np.nan,
        }
    )
    return frame.assign(km=frame["km"].mask(random.random(rows) < 0.2))


class Pairs:
    """A model whose features interact in pairs only."""

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        km, bonn = features["km"].fillna(-3).to_numpy("float64"), features["city"].eq("Bonn").to_numpy("float64")
        return 100 + km**2 + 3 * km * bonn - features["riders"].to_numpy("float64") * km + 7 * bonn


def reference(frame: pd.DataFrame) -> dict:
    return reference_of({name: drift.profile(frame[name], kind) for name, kind in KINDS.items()}, KINDS)


def exact(model: object, frame: pd.DataFrame, others: dict) -> pd.DataFrame:
    """Return the Shapley values of all features by their definition."""
    names = list(others)
    worth = {}
    for size in range(len(names) + 1):
        for kept in itertools.combinations(names, size):
            replaced = {name: others[name] for name in names if name not in kept}
            columns = {
                name: pd.Series(value, frame.index, dtype="str" if KINDS[name] == "category" else "float64")
                for name, value in replaced.items()
            }
            worth[frozenset(kept)] = scoring.predict(model, frame.assign(**columns), 1).to_numpy()
    found = pd.DataFrame(0.0, frame.index, names)
    for name in names:
        for kept, value in worth.items():
            if name not in kept:
                share = 1 / (len(names) * math.comb(len(names) - 1, len(kept)))
                found[name] += share * (worth[kept | {name}] - value)
    return found


def test_the_reference_is_the_median_and_the_most_frequent_level_and_missing_where_most_values_are():
    frame = table().assign(riders=[1] * 31 + [np.nan] * 29)
    found = reference(frame)
    assert found == {"km": frame["km"].quantile(0.5, interpolation="lower"), "riders": 1.0, "city": "Bonn"}
    frame = frame.assign(riders=[1] * 29 + [np.nan] * 31, city=["Bonn"] * 20 + ["Trier"] * 10 + [None] * 30)
    assert reference(frame) == {"km": found["km"], "riders": None, "city": None}


def test_contributions_are_shapley_values_and_lead_from_the_reference_to_the_prediction():
    frame = table()
    others = reference(frame)
    given = Attribution(Pairs(), others, 2)
    predicted = scoring.predict(Pairs(), frame, 1)
    found = given.contributions(frame, predicted)
    pd.testing.assert_frame_equal(found, exact(Pairs(), frame, others))
    # The same of a model without interactions, behind an encoding.
    model = train_model(frame, KINDS, predicted, estimator="sklearn.linear_model.Ridge")
    predicted = scoring.predict(model, frame, 1)
    found = Attribution(model, others, 2).contributions(frame, predicted)
    pd.testing.assert_frame_equal(found, exact(model, frame, others), atol=1e-9)
    # If three features interact, the sum is still exact.
    target = frame["km"].fillna(0) * frame["riders"] * frame["city"].eq("Bonn")
    model = train_model(frame, KINDS, target, params={"max_iter": 30, "min_samples_leaf": 3})
    predicted = scoring.predict(model, frame, 1)
    found = Attribution(model, others, 2).contributions(frame, predicted)
    rest = predicted - found.sum(axis=1)
    assert rest.std() < 1e-9 and found.abs().max(axis=None) > 1
    assert (found - exact(model, frame, others)).abs().mean(axis=None) < 0.1 * found.abs().mean(axis=None)


def test_reasons_are_sorted_by_size_and_empty_where_nothing_else_moved_the_prediction():
    frame = table()
    others = reference(frame)
    same = frame.iloc[[0, 1]].assign(km=others["km"], riders=4, city="Bonn")
    given = Attribution(Pairs(), others, 4)
    found = given.reasons(same, scoring.predict(Pairs(), same, 1))
    assert list(found) == given.columns() and found.index.tolist() == [0, 1]
    riders = -(4 - others["riders"]) * others["km"]
    assert found["reason_1"].tolist() == ["riders"] * 2
    assert found["reason_1_by"].tolist() == pytest.approx([riders] * 2)
    assert found.filter(regex="_[234]").isna().all(axis=None)
    found = given.reasons(frame, scoring.predict(Pairs(), frame, 1))
    sizes = found.filter(like="_by").abs().fillna(0).to_numpy()
    assert (np.diff(sizes, axis=1) <= 0).all() and found["reason_4"].isna().all()
    assert given.reasons(frame.head(0), pd.Series(dtype="float64")).empty
