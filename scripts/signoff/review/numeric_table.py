"""Features as numbers, and quick models of them."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor

from signoff.review.least_squares import BINS, normal_scores, spline

_MOST_LEVELS = 254
_MOST_COLUMNS = 12
_MODEL: dict[str, Any] = {
    "max_iter": 30,
    "max_leaf_nodes": 12,
    "min_samples_leaf": 25,
    "learning_rate": 0.15,
    "early_stopping": False,
}


class NumericTable(NamedTuple):
    """The features of n rows (n × m numbers), which of the m columns are categories, and a mask of half of the rows."""

    matrix: np.ndarray
    is_category: list[bool]
    half: np.ndarray
    seed: int


def matrix_of(rows: pd.DataFrame, kinds: dict[str, str]) -> tuple[np.ndarray, list[bool]]:
    """Return n × m numbers, with codes for categories, and which of the m columns are categories of few levels."""
    columns, is_category = [], []
    for name, kind in kinds.items():
        if kind == "category":
            codes, levels = pd.factorize(rows[name], sort=True)
            columns.append(np.where(codes < 0, np.nan, codes))
            is_category.append(1 < len(levels) <= _MOST_LEVELS)
        else:
            columns.append(rows[name].to_numpy("float64", na_value=np.nan))
            is_category.append(False)
    return np.column_stack(columns), is_category


def predicted(wanted: np.ndarray, columns: np.ndarray, is_category: list[bool], table: NumericTable) -> np.ndarray:
    """Return n predictions, each by a boosted model of the other half of the rows."""
    found = np.zeros(len(wanted))
    categories = np.flatnonzero(is_category) if any(is_category) else None
    for half in (table.half, ~table.half):
        model = HistGradientBoostingRegressor(**_MODEL, categorical_features=categories, random_state=table.seed)
        found[~half] = model.fit(columns[half], wanted[half]).predict(columns[~half])
    return found


def with_linear(predictions: np.ndarray, wanted: np.ndarray, table: NumericTable) -> np.ndarray:
    """Return n predictions mixed with those of a linear model of the other half, as fits best.

    Boosted models of few rows miss weak effects that a linear model of normal scores finds.
    """
    columns = np.hstack([np.ones((len(wanted), 1)), *(_few_columns(table, k) for k in range(table.matrix.shape[1]))])
    linear = np.zeros(len(wanted))
    for half in (table.half, ~table.half):
        weights, *_ = np.linalg.lstsq(columns[half], wanted[half], rcond=1e-10)
        linear[~half] = columns[~half] @ weights
    both = np.column_stack([predictions, linear])
    weights, *_ = np.linalg.lstsq(both - both.mean(axis=0), wanted - wanted.mean(), rcond=1e-10)
    found: np.ndarray = both @ np.maximum(weights, 0.0)
    return found


def _few_columns(table: NumericTable, k: int) -> np.ndarray:
    """Return a column of normal scores, or one for each of the most frequent levels of a category."""
    if not table.is_category[k]:
        scores: np.ndarray = np.nan_to_num(normal_scores(table.matrix[:, k]))
        return scores[:, None]
    codes = codes_of(table, k)
    levels = np.argsort(-np.bincount(codes), kind="stable")[:_MOST_COLUMNS]
    found: np.ndarray = (codes[:, None] == levels[1:]).astype("float64")
    return found


def codes_of(table: NumericTable, k: int) -> np.ndarray:
    """Return a code from 0 for each value of a feature, by quantile if it is a number; 0 if it is missing."""
    values = table.matrix[:, k]
    if table.is_category[k]:
        return np.where(np.isfinite(values), values, -1).astype("int64") + 1
    known = np.isfinite(values)
    codes = np.zeros(len(values), dtype="int64")
    edges = np.unique(np.quantile(values[known], np.linspace(0, 1, BINS + 1)[1:-1]))
    codes[known] = np.searchsorted(edges, values[known], side="right") + 1
    return codes


def columns_of(table: NumericTable, k: int) -> np.ndarray:
    """Return the columns that represent a feature in a linear model."""
    if not table.is_category[k]:
        return spline(normal_scores(table.matrix[:, k]))
    codes = codes_of(table, k)
    levels = np.unique(codes)[1:]
    return (codes[:, None] == levels).astype("float64") if len(levels) else np.zeros((len(codes), 1))
