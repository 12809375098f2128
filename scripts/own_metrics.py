"""How sure a user's own metrics are. Nothing is known of them but what they return, so that rows are really drawn."""

import logging
from types import ModuleType

import numpy as np
import pandas as pd

from custom_metrics import call_metrics
from intervals import bounds, draws, judged
from task import TaskError

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
    blocks: np.ndarray,
    better: dict[str, int],
    seed: int,
) -> tuple[dict[str, dict[str, list]], dict[str, dict], dict]:
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
    blocks
        As for `intervals.metric_intervals`: rows of one block are drawn together.
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
    actual, features, blocks = actual[rows], features.iloc[rows], blocks[rows]
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
    times = draws(int(blocks.max()) + 1, resamples, seed).astype("int64")
    resampled = np.stack([of(np.repeat(order, each[blocks])) for each in times])
    if failures:
        logging.warning("[compare_model] %s failed on %d resamples: %s", code.__file__, len(failures), failures[0])
    # Of a sample the resamples lie around its own value.
    whole = np.array([[scores[predictor].get(name) for name in names] for predictor in predictions], dtype="float64")
    if len(rows) < len(next(iter(predictions.values()))):
        resampled = resampled + (whole - of(order))
    resampled[:, :, np.isnan(resampled).mean(axis=0).max(axis=0) > 0.5] = np.nan
    found = {
        predictor: {name: bounds(resampled[:, n, k]) for k, name in enumerate(names)}
        for n, predictor in enumerate(predictions)
    }
    made_of = {"resamples": resamples, "rows": len(rows)}
    if "champion" not in predictions:
        return found, {}, made_of
    ours, theirs = (list(predictions).index(name) for name in ("model", "champion"))
    gaps = {
        name: judged(
            whole[ours, k] - whole[theirs, k], resampled[:, ours, k] - resampled[:, theirs, k], better.get(name)
        )
        for k, name in enumerate(names)
    }
    return found, gaps, made_of
