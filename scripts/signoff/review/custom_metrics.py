"""Custom metrics: calls the function, and checks what it returns."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from types import ModuleType
from typing import cast

import numpy as np
import pandas as pd

from signoff.base.errors import TaskError
from signoff.features.user_code import call
from signoff.model.records import Scores
from signoff.model.scoring import BUILT_IN
from signoff.release.records import Difference, Drawn, Interval
from signoff.review.intervals import Resampling, bounds, judged_difference


def call_metrics(code: ModuleType, name: str, actual: pd.Series, predicted: pd.Series, rows: pd.DataFrame) -> Scores:
    """Return the metrics of a predictor, as the function `metrics` of the custom code computes them.

    Parameters
    ----------
    code
        As `user_code.load_code` returns it.
    name
        The predictor: "model", "champion" or a baseline.
    actual, predicted
        n numbers each.
    rows
        The features of the n rows.

    Raises
    ------
    TaskError
        The function fails, or returns anything but names with numbers, or a metric of the model is not finite. For
        another predictor a metric that is not finite is None: a constant baseline has no correlation, for example.
    """
    # Whatever the function changes is copied then: pandas copies on write.
    given = [each if each.dtype == "float64" else each.astype("float64") for each in (actual, predicted)]
    numbers = {name: each.copy(deep=False) for name, each in zip(("actual", "predicted"), given, strict=True)}
    found = call(code, "metrics", **numbers, rows=rows.copy(deep=False))
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


# The total number of rows in all resamples of a predictor, enough for the ends of an interval to be accurate to a tenth
# of its width. If there are more held-out rows, the resamples are drawn from a sample.
_MOST_VISITS = 5_000_000
_MOST_RESAMPLES, _FEWEST_RESAMPLES = 500, 200


@dataclass(frozen=True)
class HeldOut:
    """The n held-out rows with the predictions of "model", the baselines and, if there is one, "champion".

    Parameters
    ----------
    features
        n rows.
    actual
        n numbers.
    predictions
        n numbers for each predictor.
    scores
        The metrics of each predictor by name, on all n rows.
    """

    features: pd.DataFrame
    actual: np.ndarray
    predictions: dict[str, np.ndarray]
    scores: Mapping[str, Mapping[str, float | int | None]]

    def at(self, rows: np.ndarray) -> "HeldOut":
        """Return some of the rows, by their numbers, with the scores of all rows."""
        predictions = {name: each[rows] for name, each in self.predictions.items()}
        return HeldOut(self.features.iloc[rows], self.actual[rows], predictions, self.scores)


def own_intervals(
    code: ModuleType, names: list[str], held_out: HeldOut, sampled: Resampling, better: dict[str, int], seed: int
) -> tuple[dict[str, dict[str, Interval]], dict[str, Difference], Drawn]:
    """Return the intervals of custom metrics, and the model's difference from the champion.

    Parameters
    ----------
    code, names
        The custom code, as `user_code.load_code` returns it, and the names of its metrics.
    held_out
        The n held-out rows.
    sampled
        How the rows are resampled; here with fewer resamples.
    better
        For each metric the argument `better` of `intervals.judged`, if it is known.
    seed
        Seeds the sample of rows and every draw.

    Returns
    -------
    intervals : dict
        The lower and the upper end by predictor and metric; None if most resamples leave the metric undefined.
    differences : dict
        By metric, as `intervals.judged` returns them; empty without a champion.
    made_of : dict
        `resamples`, and the number of `rows` that they are drawn from.
    """
    count, predictors = len(held_out.actual), list(held_out.predictions)
    rows = np.arange(count)
    most = _MOST_VISITS // _FEWEST_RESAMPLES
    if count > most:
        rows = np.sort(np.random.default_rng(seed).permutation(count)[:most])
    resamples = int(np.clip(_MOST_VISITS // len(rows), _FEWEST_RESAMPLES, _MOST_RESAMPLES))
    again = sampled.again(rows, resamples, seed)
    chosen, order, resampled, failures = held_out.at(rows), np.arange(len(rows)), [], []
    for each in again.drawn.astype("int64"):
        found, failed = _metrics_of(code, names, chosen.at(np.repeat(order, each[again.blocks])))
        resampled.append(found)
        failures += failed
    values = np.stack(resampled)
    # Resamples of a sample are centred on its own value, so they are moved to the value of all rows.
    whole = np.array([[held_out.scores[each].get(name) for name in names] for each in predictors], dtype="float64")
    if len(rows) < count:
        found, failed = _metrics_of(code, names, chosen)
        values = values + (whole - found)
        failures += failed
    if failures:
        logging.warning("[compare_model] %s failed on %d resamples: %s", code.__file__, len(failures), failures[0])
    values[:, :, np.isnan(values).mean(axis=0).max(axis=0) > 0.5] = np.nan
    spans = {
        predictor: {name: bounds(values[:, n, k], again) for k, name in enumerate(names)}
        for n, predictor in enumerate(predictors)
    }
    differences: dict[str, Difference] = {}
    if "champion" in predictors:
        ours, theirs = (predictors.index(name) for name in ("model", "champion"))
        for k, name in enumerate(names):
            gap = values[:, ours, k] - values[:, theirs, k]
            differences[name] = judged_difference(whole[ours, k] - whole[theirs, k], gap, better.get(name), again)
    return spans, differences, {"resamples": resamples, "rows": len(rows)}


def _metrics_of(code: ModuleType, names: list[str], rows: HeldOut) -> tuple[np.ndarray, list[TaskError]]:
    """Return predictors × metrics (float64, missing if undefined) of some rows, and the calls that failed."""
    features, actual = rows.features.reset_index(drop=True), pd.Series(rows.actual)
    found, failures = [], []
    for predicted in rows.predictions.values():
        said: Scores = {}
        try:
            # Called by a name other than "model", so that an undefined metric is not an error.
            said = call_metrics(code, "resample", actual, pd.Series(predicted), features)
        except TaskError as error:
            failures.append(error)
        found.append([np.nan if said.get(name) is None else said[name] for name in names])
    return np.array(found, dtype="float64"), failures
