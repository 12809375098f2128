"""The settings that the preset `best` draws: in a fixed order, for a number of minutes or up to a number of trials."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from signoff.model.boosters import REGRESSORS
from signoff.model.metric import loss_of
from signoff.model.records import DEFAULT_MINUTES, Candidate, Metric, Setting, Trials
from signoff.model.regressor import DEFAULT_ESTIMATOR, RIDGE, TREES
from signoff.model.search import FIRST_ROUND_ROWS, draws_of
from signoff.model.transform import Transform, transformed

# With rows for several rounds, most of a batch is discarded on few rows.
_BATCH, _BATCH_OF_ONE_ROUND = 9, 3
# More would hardly be better, and each has a line in the record.
_MOST_TRIALS = 999
_BOOSTING = {
    "learning_rate": {"loguniform": [0.03, 0.3]},
    "max_iter": [100, 200],
    "max_leaf_nodes": [4, 8, 16, 31],
    "min_samples_leaf": [3, 5, 10, 20],
    "l2_regularization": {"loguniform": [0.001, 10]},
    "max_features": {"uniform": [0.3, 1]},
}
_TREES: Candidate = {
    "estimator": TREES,
    "params": {"n_estimators": [100], "max_features": {"uniform": [0.2, 1]}},
}
_KERNEL = {"gamma": {"loguniform": [0.001, 1]}, "n_components": [100, 200, 400]}
_BOOSTERS: dict[str, Candidate] = {
    "lightgbm": {
        "estimator": REGRESSORS["lightgbm"],
        "params": {
            "learning_rate": {"loguniform": [0.02, 0.2]},
            "n_estimators": [100, 200, 400],
            "num_leaves": [7, 15, 31, 63],
            "min_child_samples": [3, 5, 10, 20, 40],
            "reg_lambda": {"loguniform": [0.001, 10]},
            "colsample_bytree": {"uniform": [0.3, 1]},
        },
    },
    "catboost": {
        "estimator": REGRESSORS["catboost"],
        "params": {
            "iterations": [300, 500],
            "learning_rate": {"loguniform": [0.02, 0.2]},
            "depth": [4, 6, 8],
            "l2_leaf_reg": {"loguniform": [1, 10]},
        },
    },
}


@dataclass(frozen=True)
class Budget:
    """How many settings are drawn: as many as there is time for, or `trials`, whatever time they take.

    Time decides only how many. With the number of trials that it has led to, the same ones are drawn again.
    """

    minutes: float = DEFAULT_MINUTES
    trials: int | None = None
    clock: Callable[[], float] = time.monotonic

    def used(self, trials: int) -> Trials:
        """Return what is recorded once so many settings have been drawn."""
        return {"count": trials} if self.trials is not None else {"count": trials, "minutes": self.minutes}


def drawn(
    leaves: list[float],
    metric: Metric = "MAE",
    transform: Transform | None = None,
    boosters: Iterable[str] = (),
    random_state: int = 0,
) -> Iterator[Setting]:
    """Yield settings without end, of one kind of model after the other; none of them depends on how many are used.

    Kernels and randomised trees, of which a fit takes a tenth and a fourth of the time of boosting, have more turns.
    `leaves` are the least sizes of a leaf of these trees. With a `transform`, one kind of model learns that of the
    target.
    """
    boosting: Candidate = {"estimator": DEFAULT_ESTIMATOR, "params": _BOOSTING}
    kinds = [boosting, _with(boosting, {"loss": "absolute_error"})]
    if loss := loss_of(metric):
        kinds.append(_with(boosting, loss))
    kinds += [_BOOSTERS[each] for each in boosters]
    # The number of a kind is part of its seed, so that kinds are not drawn alike.
    slow = [draws_of(each, random_state + n) for n, each in enumerate(kinds)]
    if transform:
        slow.append(transformed(each, transform) for each in draws_of(boosting, random_state + len(kinds)))
    trees = draws_of(_with(_TREES, {"min_samples_leaf": leaves}), random_state)
    kernels = (smooth(each["params"]) for each in draws_of({"estimator": "", "params": _KERNEL}, random_state))
    while True:
        for number, each in enumerate(slow):
            yield next(kernels)
            yield next(each)
            yield next(kernels if number % 2 else trees)


def _with(candidate: Candidate, params: dict[str, Any]) -> Candidate:
    """Return a candidate with more parameters."""
    return {"estimator": candidate["estimator"], "params": {**candidate["params"], **params}}


def smooth(params: dict[str, Any]) -> Setting:
    """Return ridge regression on some features of a kernel with these parameters, smooth where trees have steps.

    The features are those of Williams, Seeger 2001, Using the Nyström Method to Speed Up Kernel Machines, NIPS.
    """
    kernel = {"estimator": "sklearn.kernel_approximation.Nystroem", "params": params}
    ridge = {"estimator": RIDGE, "params": {"alphas": [0.001, 0.01, 0.1, 1.0, 10.0]}}
    return {"estimator": "sklearn.pipeline.Pipeline", "params": {"steps": [["kernel", kernel], ["ridge", ridge]]}}


def batches(settings: Iterator[Setting], rows: int, budget: Budget, started: float) -> Iterator[list[Setting]]:
    """Yield settings to compare together on n rows, until the budget is used.

    With minutes, counted from `started`, no batch begins if the slowest one so far would take longer than what is left.
    Only the number of batches depends on time: none of them depends on the batches before it.
    """
    size, made, slowest = _BATCH if rows >= 3 * FIRST_ROUND_ROWS else _BATCH_OF_ONE_ROUND, 0, 0.0
    most = _MOST_TRIALS if budget.trials is None else budget.trials
    while made < most:
        begun = budget.clock()
        if budget.trials is None and begun - started + slowest > 60 * budget.minutes:
            return
        batch = list(itertools.islice(settings, min(size, most - made)))
        yield batch
        made, slowest = made + len(batch), max(slowest, budget.clock() - begun)
