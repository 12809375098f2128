"""Folds that have each group of rows (split.groups) in one of them."""

from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, PredefinedSplit
from sklearn.preprocessing import TargetEncoder

from signoff.model.regressor import estimators

_INNER_FOLDS = 5


def by_group(groups: np.ndarray, most: int) -> PredefinedSplit | None:
    """Return a splitter into at most `most` folds with each group in one of them; None if there is only one group."""
    count = min(most, len(np.unique(groups)))
    if count < 2:
        return None
    fold = np.empty(len(groups), dtype="int64")
    for number, (_, unseen) in enumerate(GroupKFold(count).split(groups, groups=groups)):
        fold[unseen] = number
    return PredefinedSplit(fold)


def inner_folds(rows: int, random_state: int, groups: np.ndarray | None) -> KFold | PredefinedSplit:
    """Return the folds in which the means of a target are cross-fitted."""
    folds = None if groups is None else by_group(groups, _INNER_FOLDS)
    return folds or KFold(min(_INNER_FOLDS, rows), shuffle=True, random_state=random_state)


def forget_groups(estimator: Any) -> None:
    """Remove the fold of each training row from the encoders of a fitted pipeline, which no prediction needs."""
    for each in estimators(estimator):
        if isinstance(each, TargetEncoder) and isinstance(each.cv, PredefinedSplit):
            each.cv = KFold(_INNER_FOLDS)
