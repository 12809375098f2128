"""Which columns of text lower the error of a model, by cross-validation."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from signoff.model.metric import error_of
from signoff.model.records import Cost, Metric, Setting, TextGain, words_of_text
from signoff.model.regressor import TrainingRows
from signoff.model.search import cost_of, halved


def gains_of_text(
    rows: TrainingRows, setting: Setting, folds: Any, said: str, random_state: int, threads: int, metric: Metric
) -> tuple[list[TextGain], Cost]:
    """Return what each column of text gains for a setting, and the cost of the comparison.

    Columns are added one after the other, each beside those before it that help: that lower the error by more than one
    standard error, paired over the folds. Nothing is compared without text, or if all features are text.

    Parameters
    ----------
    rows
        In the order of the folds, numbered from 0.
    folds, said
        As `search.folds_of` returns them.
    """
    texts = [name for name, kind in rows.kinds.items() if kind == "text"]
    cost: Cost = {"fits": 0, "rows": 0}
    if not texts or len(texts) == len(rows.kinds):
        return [], cost
    used = {name: kind for name, kind in rows.kinds.items() if kind != "text"}

    def errors(kinds: dict[str, str]) -> np.ndarray | None:
        kept: dict[int, pd.Series] = {}
        some = replace(rows, kinds=kinds)
        found = halved([setting], some, folds, said, random_state, threads, kept, metric)
        cost.update(cost_of(found.values(), folds, cost))
        if not kept:
            return None
        pairs = [(rows.target[unseen], kept[0][unseen]) for _, unseen in folds.split(rows.features)]
        return np.array([error_of(metric, *(each.to_numpy("float64") for each in pair)) for pair in pairs])

    gains: list[TextGain] = []
    best = errors(used)
    for name in texts:
        tried = {each: kind for each, kind in rows.kinds.items() if each in used or each == name}
        # A setting that cannot be trained says nothing: the text is used then, as without a comparison.
        after = None if best is None else errors(tried)
        if best is None or after is None:
            used = tried
            continue
        difference = best - after
        gain, error = float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))
        found: TextGain = {
            "column": name,
            "without": float(best.mean()),
            "with_it": float(after.mean()),
            "difference": gain,
            "standard_error": error,
            "used": gain > error,
        }
        logging.info("[train_model] %s", words_of_text(found, metric))
        gains.append(found)
        if found["used"]:
            used, best = tried, after
    return gains, cost
