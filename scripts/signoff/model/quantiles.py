"""Prediction intervals with a width for each row: conformalized quantile regression of a model's errors.

The errors are those of a model with the same setting, on training rows that it had not seen. Two gradient boostings
learn their lower and upper quantile from the features and the prediction. They are widened, on each side, by the amount
by which they miss errors that they were not fitted on, in units of their distance (Romano, Patterson, Candès 2019,
Conformalized Quantile Regression, NeurIPS 32; Sesia, Candès 2020, A comparison of some conformal quantile regression
methods, Stat 9). Errors are learnt instead of targets, so that a better model has narrower intervals. If rows have a
time, errors are of rows later than those that the model saw, newer errors weigh more in the correction (Barber, Candès,
Ramdas, Tibshirani 2023, Conformal Prediction beyond Exchangeability, Annals of Statistics 51), and it is larger if
errors have grown.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from threadpoolctl import threadpool_limits

from signoff.base.errors import TaskError, explain
from signoff.features.columns import Features
from signoff.model.encoding import encoded_matrix, predictions, predictions_of_codes
from signoff.model.pipeline import by_levels, levels_of, ordinal_codes
from signoff.model.records import Setting
from signoff.model.regressor import TrainingRows, threads_for, use_threads
from signoff.model.training import train_setting

# This many training rows are enough to learn the size of errors.
_MOST_ROWS, _MOST_ERRORS = 200_000, 25_000
# With fewer training rows, one part of them has too few errors: more models are fitted, so that most rows have one.
_ENOUGH_ROWS = 5_000
_PARTS = 4
# The share of rows whose errors are used, if one model predicts them.
_SHARE = 0.25
# The number of parts of the errors; each is calibrated by quantiles fitted on the others.
_FOLDS = 5
# The weight halves for a row that is older by this share of the calibration rows.
_HALF_LIFE = 0.25
# This many of the newest errors test whether the coverage from earlier ones is as promised.
_ENOUGH_TO_JUDGE = 100
_SHARES_OF_TAIL = np.linspace(1, 1 / 3, 9)
# The smallest distance between the quantiles that scales a correction, as a share of the median distance.
_LEAST_DISTANCE = 0.1
_TREES = {"learning_rate": 0.2, "max_leaf_nodes": 6, "early_stopping": False}
# With few errors, there are few trees with many rows per leaf, so widths differ less between rows.
_MOST_TREES, _ERRORS_A_TREE = 25, 40
_LEAST_IN_LEAF, _MOST_IN_LEAF = 30, 400


class _Intervals(TypedDict):
    """Computes the interval of a prediction; the attribute `intervals_` of a model's pipeline.

    It holds only scikit-learn's types, so that a model's file can be read without this project.

    level
        The share of rows that intervals are to cover.
    encode
        The fitted encoding of the features; the prediction is one more column after them.
    lower, upper
        The fitted quantiles of the error (actual − predicted), in the target's unit.
    below, above
        The corrections on each side, in units of the distance between the quantiles.
    least
        The smallest such distance, in the target's unit.
    """

    level: float
    encode: ColumnTransformer
    lower: Any
    upper: Any
    below: float
    above: float
    least: float


def fit_intervals(
    rows: TrainingRows, setting: Setting, level: float, random_state: int = 0, threads: int = 1
) -> _Intervals | None:
    """Return the intervals of a model that is trained on these n rows; None, with a warning, if they cannot be fitted.

    Parameters
    ----------
    rows
        What the model learns from. It has times only if later rows are to be predicted; without, rows are in no order.
        Rows of one group are not used both to fit and to calibrate. Weights count in the models whose errors are
        learnt, but not in the quantiles, because the intervals are to cover a share of all rows.
    random_state, threads
        As for `train_model`.
    setting
        The estimator and the parameters of the model.
    level
        The share of rows that intervals are to cover, above 0 and below 1.
    """
    by_time = rows.time is not None
    rows = rows.at(_in_order(rows, random_state))
    starts = _starts(rows)
    try:
        parts = [
            _errors(rows, seen, unseen, setting, random_state, threads) for seen, unseen in _parts(starts, by_time)
        ]
    # A regressor that can be trained on all rows may fail on a part of them.
    except Exception as error:
        logging.warning(
            "[train_model] no interval for each row: the errors of unseen rows are unknown: %s", explain(error)
        )
        return None
    places = np.concatenate([unseen for unseen, _, _ in parts])
    predicted, errors = (np.concatenate([each[n] for each in parts]) for n in (1, 2))
    if len(places) > _MOST_ERRORS:
        some = np.linspace(0, len(places) - 1, _MOST_ERRORS).astype("int64")
        places, predicted, errors = places[some], predicted[some], errors[some]
    found = _calibrated(rows.at(places), predicted, errors, level, by_time, threads)
    if found is None:
        logging.warning("[train_model] no interval for each row: %d errors of unseen rows are too few", len(errors))
    return found


def ends(
    intervals: _Intervals, features: pd.DataFrame | Features, predicted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and the upper end of the interval of n predictions; the prediction is between them."""
    matrix = encoded_matrix(intervals["encode"], features, predicted)
    lower, upper = (predictions_of_codes(intervals[end], matrix) for end in ("lower", "upper"))
    distance = np.maximum(upper - lower, intervals["least"])
    low = predicted + lower - intervals["below"] * distance
    high = predicted + upper + intervals["above"] * distance
    return np.minimum(low, predicted), np.maximum(high, predicted)


def _weighted_quantile(scores: np.ndarray, weights: np.ndarray, level: float) -> float:
    """Return the smallest of n scores that a new one exceeds with probability ≤ 1 − `level`; inf if n is too small.

    The new score is as likely as the heaviest of them to be the largest. With equal weights it is the score of rank
    ceil(`level` (n + 1)), as in split conformal prediction.
    """
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order])
    place = int(np.searchsorted(reached, level * (reached[-1] + weights.max()) * (1 - 1e-12)))
    return float(scores[order[place]]) if place < len(scores) else math.inf


def _in_order(rows: TrainingRows, random_state: int) -> np.ndarray:
    """Return the places of at most _MOST_ROWS rows: in the order of time, spread evenly; or drawn at random.

    Rows of a group are next to each other.
    """
    if rows.time is None:
        drawn: np.ndarray = np.random.default_rng(random_state).permutation(len(rows))[:_MOST_ROWS]
        if rows.groups is None:
            return drawn
        # The groups in the order in which they were drawn first.
        return drawn[np.argsort(pd.factorize(rows.groups[drawn])[0], kind="stable")]
    order = rows.time.argsort(kind="stable").to_numpy()
    spread: np.ndarray = order[np.linspace(0, len(rows) - 1, min(len(rows), _MOST_ROWS)).astype("int64")]
    return spread


def _starts(rows: TrainingRows) -> np.ndarray:
    """Return for each of n rows the place of the first row of its group, which is its own place without groups."""
    if rows.groups is None:
        return np.arange(len(rows))
    _, first, which = np.unique(rows.groups, return_index=True, return_inverse=True)
    starts: np.ndarray = first[which]
    return starts


def _parts(starts: np.ndarray, by_time: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield which of n rows a model is fitted on, and which later ones (or others) it then predicts.

    `starts` is what `_starts` returns: a group is in the part of its first row.
    """
    rows, places = len(starts), np.arange(len(starts))
    if rows >= _ENOUGH_ROWS:
        cut = rows - int(rows * _SHARE)
        yield places[starts < cut], places[starts >= cut]
        return
    start = rows // 2 if by_time else 0
    for part in np.array_split(places[start:], _PARTS):
        unseen = places[(starts >= part[0]) & (starts <= part[-1])] if len(part) else part
        if len(unseen):
            yield (places[: unseen[0]] if by_time else np.delete(places, unseen)), unseen


def _errors(
    rows: TrainingRows,
    seen: np.ndarray,
    unseen: np.ndarray,
    setting: Setting,
    random_state: int,
    threads: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the unseen rows' places, their predictions by a model of the seen rows, and their errors."""
    before, after, target = rows.features.iloc[seen], rows.features.iloc[unseen], rows.target
    usable = {name: kind for name, kind in rows.kinds.items() if before[name].notna().any()}
    model = train_setting(replace(rows.at(seen), kinds=usable), setting, random_state, threads)
    with threadpool_limits({"openmp": threads_for(after, threads), "blas": 1}):
        predicted = np.asarray(predictions(model, after[list(usable)]), dtype="float64")
    if not np.isfinite(predicted).all():
        raise TaskError("a prediction is not finite")
    return unseen, predicted, target.iloc[unseen].to_numpy("float64") - predicted


def _calibrated(
    rows: TrainingRows,
    predicted: np.ndarray,
    errors: np.ndarray,
    level: float,
    by_time: bool,
    threads: int,
) -> _Intervals | None:
    """Return the intervals fitted on n errors (in the order of time, if known); None if there are too few."""
    tail, count = (1 - level) / 2, len(errors)
    # The rank ceil((1 − tail) (n + 1)) must not exceed n.
    if count * tail < 1:
        return None
    features = rows.features
    encode, sets = _encoding(features, rows.kinds)
    matrix = encoded_matrix(encode, features, predicted)
    fold = _starts(rows) * _FOLDS // count
    low, high = np.empty(count), np.empty(count)
    with threadpool_limits({"openmp": threads_for(features, threads), "blas": 1}):
        for k in range(_FOLDS):
            inside = fold == k
            lower, upper = _quantiles(matrix[~inside], errors[~inside], tail, sets)
            low[inside], high[inside] = lower.predict(matrix[inside]), upper.predict(matrix[inside])
        lower, upper = _quantiles(matrix, errors, tail, sets)
    least = _LEAST_DISTANCE * float(np.median(high - low)) or 1.0
    distance = np.maximum(high - low, least)
    missed = np.stack([(low - errors) / distance, (errors - high) / distance])
    if by_time:
        tail *= _drifting(missed, tail)
    below, above = _corrections(missed, tail, by_time)
    if not math.isfinite(below + above):
        return None
    return {
        "level": level,
        "encode": encode,
        "lower": lower,
        "upper": upper,
        "below": below,
        "above": above,
        "least": least,
    }


def _corrections(missed: np.ndarray, tail: float, by_time: bool) -> list[float]:
    """Return the weighted quantile of 2 × n scores that a new error exceeds on each side with probability `tail`."""
    count = missed.shape[1]
    age = np.arange(count)[::-1] / count
    weights = 0.5 ** (age / _HALF_LIFE) if by_time else np.ones(count)
    return [_weighted_quantile(each, weights, 1 - tail) for each in missed]


def _drifting(missed: np.ndarray, tail: float) -> float:
    """Return the factor for the tail that allows for growing errors; 1 if they have not grown.

    The quantile of the older scores is tested on the newest ones. If it covers too few, the tail is reduced by half of
    the required amount, because part of the shortfall is chance. Adapting the level to the coverage follows Gibbs,
    Candès 2021, Adaptive Conformal Inference under Distribution Shift, NeurIPS 34.
    """
    newest = missed.shape[1] // 4
    if newest < _ENOUGH_TO_JUDGE:
        return 1.0
    before, after = missed[:, :-newest], missed[:, -newest:]
    for share in _SHARES_OF_TAIL:
        ends_of = np.array(_corrections(before, share * tail, by_time=True))[:, None]
        if (after <= ends_of).all(axis=0).mean() >= 1 - 2 * tail:
            break
    return (1 + float(share)) / 2


def _encoding(features: pd.DataFrame, kinds: dict[str, str]) -> tuple[ColumnTransformer, list[int]]:
    """Return the fitted encoding of n rows in ordinal codes, and which of its columns are sets of levels."""
    known = [name for name in kinds if features[name].notna().any()]
    levels = levels_of(features, {name: kinds[name] for name in known})
    sets, many, single = by_levels(list(levels), len(features), levels)
    numbers = [name for name in known if kinds[name] == "number"]
    columns = [
        ("sets", ordinal_codes(), sets),
        ("codes", ordinal_codes(), [*many, *single]),
        ("numbers", "passthrough", numbers),
    ]
    encode = ColumnTransformer([each for each in columns if each[2]], verbose_feature_names_out=False)
    encode.fit(features[known])
    return encode, list(range(len(sets)))


def _quantiles(matrix: np.ndarray, errors: np.ndarray, tail: float, sets: list[int]) -> tuple[Any, Any]:
    """Return the fitted quantiles `tail` and 1 − `tail` of n errors."""
    # Imported here: not every task that predicts fits quantiles.
    from sklearn.ensemble import HistGradientBoostingRegressor

    least = min(max(len(errors) // 12, _LEAST_IN_LEAF), _MOST_IN_LEAF)
    found = []
    for quantile in (tail, 1 - tail):
        boosting = HistGradientBoostingRegressor(
            loss="quantile",
            quantile=quantile,
            max_iter=min(max(len(errors) // _ERRORS_A_TREE, 1), _MOST_TREES),
            min_samples_leaf=least,
            categorical_features=sets or None,
            random_state=0,
            **_TREES,
        )
        boosting.fit(matrix, errors)
        use_threads(boosting, None)
        found.append(boosting)
    return found[0], found[1]
