"""The metrics of a user's own code: called, and checked to be metrics."""

import logging
import math
from numbers import Real
from types import ModuleType
from typing import Any, cast

import numpy as np
import pandas as pd

from signoff.base.errors import TaskError
from signoff.features.user_code import call
from signoff.model.scoring import BUILT_IN, Scores
from signoff.review.intervals import Resampling, bounds, judged


def call_metrics(code: ModuleType, name: str, actual: pd.Series, predicted: pd.Series, rows: pd.DataFrame) -> Scores:
    """Return what the function `metrics` of the user's own code says of a predictor.

    Parameters
    ----------
    code
        As `custom.load_code` gives it.
    name
        The predictor: "model", "champion" or a baseline.
    actual, predicted
        n numbers each.
    rows
        The features of the n rows.

    Raises
    ------
    TaskError
        The function fails, or returns anything but names with numbers. Of what is not finite, the model's is refused;
        a predictor that stands beside it may be without (a constant baseline correlates with nothing), and gets None.
    """
    numbers = {"actual": actual.astype("float64"), "predicted": predicted.astype("float64")}
    found = call(code, "metrics", **numbers, rows=rows.copy())
    file = code.__file__
    if not isinstance(found, dict) or not all(isinstance(each, str) and each.strip() for each in found):
        raise TaskError(f'{file}: metrics returned {found!r:.80}, but must return names with numbers: {{"name": 0.5}}.')
    taken = [each for each in found if each in BUILT_IN]
    if taken:
        raise TaskError(f"{file}: metrics returned {taken[0]!r}, which is built in. Give it another name.")
    clean = {}
    for metric, value in found.items():
        if value is not None and not isinstance(value, Real):
            raise TaskError(f"{file}: the metric {metric!r} is {value!r:.80}, but must be a number.")
        finite = value is not None and math.isfinite(value)
        if name == "model" and value is not None and not finite:
            raise TaskError(
                f"{file}: the metric {metric!r} of the model is {value}, but must be a finite number; return None "
                "where it is undefined."
            )
        clean[metric] = float(cast(float, value)) if finite else None
    return clean


# Rows that a metric gets in all, of each predictor: enough for an end of an interval to be right to a tenth of its
# width. Of more rows at a time a sample is drawn from.
MOST_VISITS = 5_000_000
MOST_RESAMPLES, FEWEST_RESAMPLES = 500, 200


def own_intervals(
    code: ModuleType,
    scores: dict[str, dict[str, float | None]],
    actual: np.ndarray,
    predictions: dict[str, np.ndarray],
    features: pd.DataFrame,
    sampled: Resampling,
    better: dict[str, int],
    seed: int,
) -> tuple[dict[str, dict[str, list[Any]]], dict[str, dict[str, Any]], dict[str, int]]:
    """Return the intervals of a user's own metrics, and the model's difference from the champion.

    Parameters
    ----------
    code
        The user's own code, as `custom.load_code` gives it.
    scores
        Of each predictor its metrics by name, on all held-out rows.
    actual, predictions
        n numbers, and n for each predictor: "model", the baselines and, where there is one, "champion".
    features
        The features of the n rows.
    sampled
        How the rows are drawn again; here with fewer resamples.
    better
        Of each metric what `intervals.judged` asks for, where it is known.
    seed
        Of the rows that are looked at, and of every draw.

    Returns
    -------
    intervals : dict
        By predictor and metric the lower and the upper end; None where most resamples leave it undefined.
    differences : dict
        By metric, as `intervals.judged` gives them; empty without a champion.
    made_of : dict
        resamples (how many there are) and rows (how many of the held-out ones they are drawn from).
    """
    names = list(scores["model"])
    rows = np.arange(len(actual))
    most = MOST_VISITS // FEWEST_RESAMPLES
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).permutation(len(rows))[:most])
    resamples = int(np.clip(MOST_VISITS // len(rows), FEWEST_RESAMPLES, MOST_RESAMPLES))
    again = sampled.again(rows, resamples, seed)
    actual, features = actual[rows], features.iloc[rows]
    failures = []

    def of(at: np.ndarray) -> np.ndarray:
        """Return predictors × metrics, of the rows at these places."""
        drawn, found = features.iloc[at].reset_index(drop=True), []
        for predicted in predictions.values():
            try:
                # As of what stands beside a model: undefined is no failure.
                said = call_metrics(code, "resample", pd.Series(actual[at]), pd.Series(predicted[rows][at]), drawn)
            except TaskError as error:
                failures.append(error)
                said = {}
            found.append([np.nan if said.get(name) is None else said[name] for name in names])
        return np.array(found, dtype="float64")

    order = np.arange(len(rows))
    resampled = np.stack([of(np.repeat(order, each[again.blocks])) for each in again.drawn.astype("int64")])
    if failures:
        logging.warning("[compare_model] %s failed on %d resamples: %s", code.__file__, len(failures), failures[0])
    # Of a sample the resamples lie around its own value.
    whole = np.array([[scores[predictor].get(name) for name in names] for predictor in predictions], dtype="float64")
    if len(rows) < len(next(iter(predictions.values()))):
        resampled = resampled + (whole - of(order))
    resampled[:, :, np.isnan(resampled).mean(axis=0).max(axis=0) > 0.5] = np.nan
    found = {
        predictor: {name: bounds(resampled[:, n, k], again) for k, name in enumerate(names)}
        for n, predictor in enumerate(predictions)
    }
    made_of = {"resamples": resamples, "rows": len(rows)}
    if "champion" not in predictions:
        return found, {}, made_of
    ours, theirs = (list(predictions).index(name) for name in ("model", "champion"))
    gaps = {
        name: judged(
            whole[ours, k] - whole[theirs, k], resampled[:, ours, k] - resampled[:, theirs, k], better.get(name), again
        )
        for k, name in enumerate(names)
    }
    return found, gaps, made_of
