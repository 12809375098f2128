"""What the weights of the training rows, or a transformation of the target, gain, by cross-validation."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd

from signoff.model.presets import rows_to_compare
from signoff.model.records import Gain, Setting, words_of_gain
from signoff.model.regressor import TrainingRows
from signoff.model.search import FEWEST_ROWS_TO_FOLD, folds_of, halved


def gain_of_weights(rows: TrainingRows, setting: Setting, random_state: int, threads: int) -> Gain | None:
    """Return what the weights of these rows gain for a setting, by cross-validation; None if that is impossible.

    Errors are not weighted, as those of the evaluation are not.
    """
    if rows.weights is None or len(rows) < FEWEST_ROWS_TO_FOLD:
        return None
    rows = rows.at(rows_to_compare(rows, random_state))
    without = (replace(rows, weights=None), setting)
    return _gain(without, (rows, setting), "model.weight", random_state, threads)


def gain_of_transform(rows: TrainingRows, setting: Setting, random_state: int, threads: int) -> Gain | None:
    """Return what the transformation of the target gains for a setting that `transformed` returned, as above."""
    if len(rows) < FEWEST_ROWS_TO_FOLD:
        return None
    rows = rows.at(rows_to_compare(rows, random_state))
    without = (rows, setting["params"]["regressor"])
    return _gain(without, (rows, setting), "model.target_transform", random_state, threads)


def _gain(
    without: tuple[TrainingRows, Setting], gaining: tuple[TrainingRows, Setting], key: str, seed: int, threads: int
) -> Gain | None:
    """Return how much lower the MAE of `gaining` is, on the same rows; None if one of both cannot be trained."""
    order, folds, said = folds_of(gaining[0], seed)
    scores = []
    for rows, setting in (without, gaining):
        ordered, kept = rows.at(order), dict[int, pd.Series]()
        halved([setting], ordered, folds, said, seed, threads, kept)
        if not kept:
            return None
        errors = (kept[0] - ordered.target).abs()
        scores.append(np.array([errors.iloc[unseen].mean() for _, unseen in folds.split(ordered.features)]))
    difference = scores[0] - scores[1]
    found: Gain = {
        "folds": said,
        "MAE_without": float(scores[0].mean()),
        "MAE_with": float(scores[1].mean()),
        "difference": float(difference.mean()),
        "standard_error": float(difference.std(ddof=1) / np.sqrt(len(difference))),
    }
    logging.info("[train_model] %s", words_of_gain(found, key))
    return found
