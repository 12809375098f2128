"""A sum of regressors, each of which learns what those before it leave over."""

from typing import Any, Self

import numpy as np
import pandas as pd
import sklearn
from sklearn.base import BaseEstimator, RegressorMixin, clone

from signoff.model.weights import fit_weighted


class ResidualRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no type hints
    """Predicts the sum of its estimators: the first is fitted on the target, each other on the residuals before it.

    Trees predict no value beyond those that they have seen. With a linear model before them, a trend goes on.

    Parameters
    ----------
    estimators
        Pairs of a name and a regressor.
    """

    def __init__(self, estimators: list[tuple[str, Any]]):
        self.estimators = estimators

    def fit(self, features: pd.DataFrame, target: pd.Series, sample_weight: np.ndarray | None = None) -> Self:
        left, self.estimators_ = target, []
        # Weights are handed to each estimator here, not by scikit-learn's routing.
        with sklearn.config_context(enable_metadata_routing=False):
            for _, each in self.estimators:
                fitted = fit_weighted(clone(each), features, left, sample_weight)
                left = left - fitted.predict(features)
                self.estimators_.append(fitted)
        return self

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        parts: list[np.ndarray] = [each.predict(features) for each in self.estimators_]
        total: np.ndarray = np.sum(parts, axis=0)
        return total
