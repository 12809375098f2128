"""What the weights of the training rows gain, by cross-validation."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd

from signoff.model.presets import rows_to_compare
from signoff.model.records import Gain, Setting, words_of_gain
from signoff.model.regressor import TrainingRows
from signoff.model.search import FEWEST_ROWS_TO_FOLD, folds_of, halved


def gain_of(rows: TrainingRows, setting: Setting, random_state: int, threads: int) -> Gain | None:
    """Return what the weights of these rows gain for a setting, by cross-validation; None if that is impossible.

    Errors are not weighted, as those of the evaluation are not.
    """
    if rows.weights is None or len(rows) < FEWEST_ROWS_TO_FOLD:
        return None
    rows = rows.at(rows_to_compare(rows, random_state))
    order, folds, said = folds_of(rows, random_state)
    rows, scores = rows.at(order), []
    for each in (replace(rows, weights=None), rows):
        kept: dict[int, pd.Series] = {}
        halved([setting], each, folds, said, random_state, threads, kept)
        if not kept:
            return None
        errors = (kept[0] - rows.target).abs()
        scores.append(np.array([errors.iloc[unseen].mean() for _, unseen in folds.split(rows.features)]))
    without, with_weights = scores
    difference = without - with_weights
    found: Gain = {
        "folds": said,
        "MAE_without": float(without.mean()),
        "MAE_with": float(with_weights.mean()),
        "difference": float(difference.mean()),
        "standard_error": float(difference.std(ddof=1) / np.sqrt(len(difference))),
    }
    logging.info("[train_model] %s", words_of_gain(found))
    return found
