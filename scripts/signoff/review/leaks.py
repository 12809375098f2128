"""Target leakage: features that make a model look better than it is."""

from collections.abc import Collection

import numpy as np
import pandas as pd
from sklearn.metrics import r2_score
from sklearn.tree import DecisionTreeRegressor

from signoff.features.earlier_rows import history_of
from signoff.features.recipe import of_a_date
from signoff.features.records import Description
from signoff.model.encoding import fit, predictions
from signoff.model.regressor import DEFAULT_ESTIMATOR, make_regressor
from signoff.release.records import AlarmRecord
from signoff.review.arithmetic import Combination, combination, later_rows
from signoff.review.intervals import MIN_ROWS
from signoff.review.post_outcome import Descendant, post_outcome
from signoff.review.reasons import alarm
from signoff.review.target_levels import are_bins, is_group_mean, is_looked_up

_ROWS = 10_000
# A feature that explains this much, and leaves this much less unexplained than all others together, likely is the
# target.
_R2 = 0.97
_RATIO = 5
_QUESTION = "is it known before the target is?"
_IF_SO = f"{_QUESTION} If so, add it to features.known_before."


def leaks(
    table: pd.DataFrame, description: Description, seed: int, known_before: Collection[str] = ()
) -> list[AlarmRecord]:
    """Return an alarm for each feature that reveals the target in a way that no cause of it does.

    Parameters
    ----------
    table
        The features of n rows, with the target and the split, in any order.
    description
        The description that `feature_engineering` writes.
    seed
        The seed of the choice of rows, and of the models.
    known_before
        Features that are known before the target is; see `known.known_early`. They are evidence, but raise no alarm.
    """
    kinds, target = description["features"], description["target"]
    train = table[table["split"] == "train"]
    rows = train.sample(min(len(train), _ROWS), random_state=seed).reset_index(drop=True)
    if len(rows) < 2 * MIN_ROWS or rows[target].nunique() < 3:
        return []
    # The calendar is known in advance, and the target of earlier rows by construction. Text has no value to look at.
    earlier = history_of(description["recipe"])
    known = {name for name, kind in kinds.items() if kind == "text" or of_a_date(name, description) or name in earlier}
    kinds = {name: kind for name, kind in kinds.items() if name not in known}
    found = {name: _words_alone(name, *each) for name, each in _alone(rows, kinds, target, seed).items()}
    y = rows[target].to_numpy("float64")
    for name in kinds:
        if name not in found and are_bins(rows[name], y):
            sentence = f"The levels of {name} hold ranges of the target that do not overlap, as if it were its bins: "
            found[name] = sentence + _QUESTION
    for name in _group_means(table, train, kinds, target):
        sentence = f"{name} is the mean of the target over the rows that share it, each row's own target included: "
        found.setdefault(name, sentence + _QUESTION)
    time = description["time_column"]
    table = table if not time or table[time].is_monotonic_increasing else table.sort_values(time, kind="stable")
    for name, which in later_rows(table, kinds, target).items():
        found.setdefault(name, f"{name} is the target {which}: {_QUESTION}")
    others = {name: kind for name, kind in kinds.items() if name not in found}
    if together := combination(rows, others, target):
        accused = [name for name in together.names if name not in known_before]
        found[accused[0] if accused else together.names[0]] = _words_together(together)
        others = {name: kind for name, kind in others.items() if name not in together.names}
    for each in post_outcome(rows, others, target, seed):
        found[each.name] = _words_afterwards(each)
    return [alarm("leak", name, sentence) for name, sentence in found.items() if name not in known_before]


def _alone(rows: pd.DataFrame, kinds: dict[str, str], target: str, seed: int) -> dict[str, tuple[float, float]]:
    """Return the features that nearly determine the target alone, and far better than all others together.

    A feature is judged by the R2, on other rows, of a tree on it alone (for a category: the mean of each level). The
    tails of the target are clipped, since no tree can reach them. The numbers are its R2, and that of all others.
    """
    y = rows[target].astype("float64")
    y = y.clip(*y.quantile([0.01, 0.99]))
    half = np.arange(len(rows)) < len(rows) // 2
    alone = {name: _explained(rows[name], kind, y, half) for name, kind in kinds.items()}
    suspects = [name for name, r2 in alone.items() if r2 >= _R2]
    if not suspects:
        return {}
    others = {name: kind for name, kind in kinds.items() if name not in suspects and rows.loc[half, name].notna().any()}
    r2 = 0.0
    if others:
        model = fit(make_regressor(DEFAULT_ESTIMATOR, {}, seed), others, rows[half], y[half], seed)
        r2 = max(0.0, float(r2_score(y[~half], predictions(model, rows[~half][list(others)]))))
    ordered = sorted(suspects, key=lambda name: -alone[name])
    close = [name for name in ordered if 1 - r2 >= _RATIO * (1 - alone[name])]
    return {name: (alone[name], r2) for name in close if not is_looked_up(rows, name, kinds, y)}


def _explained(values: pd.Series, kind: str, y: pd.Series, half: np.ndarray) -> float:
    """Return the R2, on one half of the rows, of a model of one feature fitted on the other half."""
    if kind == "category":
        means = y[half].groupby(values[half]).mean()
        return float(r2_score(y[~half], values[~half].map(means).astype("float64").fillna(y[half].mean())))
    if values[half].isna().all():
        return 0.0
    tree = DecisionTreeRegressor(min_samples_leaf=3, random_state=0)
    column = values.astype("float64").to_frame()
    return float(r2_score(y[~half], tree.fit(column[half], y[half]).predict(column[~half])))


def _group_means(table: pd.DataFrame, train: pd.DataFrame, kinds: dict[str, str], target: str) -> list[str]:
    """Return the numeric columns that are group means of the target, over all rows or over the training rows."""
    parts = [part for part in (table, train) if part[target].notna().all()]
    numbers = [name for name, kind in kinds.items() if kind == "number"]
    return [
        name
        for name in numbers
        if any(is_group_mean(part[name].to_numpy("float64"), part[target].to_numpy("float64")) for part in parts)
    ]


def _words_alone(name: str, alone: float, others: float) -> str:
    words = f"{name} alone explains {alone:.1%} of the target's variance, all other features together {others:.1%}: "
    return words + _IF_SO


def _words_together(found: Combination) -> str:
    listed = " and ".join([", ".join(found.names[:-1]), found.names[-1]])
    kind, how = ("sum", "each times a constant") if found.is_sum else ("product", "each to a constant power")
    return f"A {kind} of {listed}, {how}, gives the target: is each of them known before the target is?"


def _words_afterwards(found: Descendant) -> str:
    made = f"{found.name} may be computed from the target" + (f" and {found.also}" if found.also else "")
    words = (
        f"{made}, or share a cause with it: it alone explains {found.alone:.0%} of it, and where the target is known, "
        f"the other features say nothing about {found.name}, as they would of a cause: "
    )
    if not found.rival:
        return words + _IF_SO
    instead = f"If so, {found.rival} may be computed from the target instead: only the two together show it."
    return f"{words}{_QUESTION} {instead} Add the one that is known to features.known_before."
