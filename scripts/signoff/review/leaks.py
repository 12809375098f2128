"""Features that know the target: what looks like success and is none."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from sklearn.metrics import r2_score
from sklearn.tree import DecisionTreeRegressor

from signoff.features.recipe import columns_used
from signoff.model.encoding import fit, predictions
from signoff.model.regressor import DEFAULT_ESTIMATOR, make_regressor
from signoff.review.intervals import MIN_ROWS
from signoff.review.reasons import alarm

LEAK_ROWS = 10_000
# One feature that explains so much, and leaves so much less than all others together, is likely to be the target.
LEAK_R2 = 0.97
# Numbers that give the target by a sum leave less of it than this.
SUM_REST = 1e-4
FEWEST_OF_A_SUM = 2
LEAK_RATIO = 5


def leaks(train: pd.DataFrame, kinds: dict[str, str], target: str, seed: int) -> list[dict]:
    """Return an alarm for each feature that tells the target nearly by itself, and far better than the others together.

    A feature is judged by what a tree of it alone (of a category: the mean of each level) explains of other rows. The
    target's tails are cut off, which no tree can reach.
    """
    rows = train.sample(min(len(train), LEAK_ROWS), random_state=seed).reset_index(drop=True)
    y = rows[target].astype("float64")
    y = y.clip(*y.quantile([0.01, 0.99]))
    if len(rows) < 2 * MIN_ROWS or y.nunique() < 3:
        return []
    half = np.arange(len(rows)) < len(rows) // 2
    alone = {name: explained(rows[name], kind, y, half) for name, kind in kinds.items()}
    suspects = [name for name, r2 in alone.items() if r2 >= LEAK_R2]
    if not suspects:
        return sum_of(rows, kinds, rows[target].astype("float64"), half)
    others = {name: kind for name, kind in kinds.items() if name not in suspects and rows.loc[half, name].notna().any()}
    r2 = 0.0
    if others:
        model = fit(make_regressor(DEFAULT_ESTIMATOR, {}, seed), others, rows[half], y[half], seed)
        r2 = max(0.0, r2_score(y[~half], predictions(model, rows[~half][list(others)])))
    return [
        alarm(
            "leak",
            name,
            f"{name} alone explains {alone[name]:.1%} of the target's variance, all other features together {r2:.1%}: "
            "is it known before the target is?",
        )
        for name in sorted(suspects, key=alone.get, reverse=True)
        if 1 - r2 >= LEAK_RATIO * (1 - alone[name])
    ]


def sum_of(rows: pd.DataFrame, kinds: dict[str, str], y: pd.Series, half: np.ndarray) -> list[dict]:
    """Return an alarm where a sum of a few numbers, each with its weight, gives the target exactly."""
    numbers = [name for name, kind in kinds.items() if kind == "number"]
    known = rows[numbers].astype("float64")
    use = known.notna().all(axis=1).to_numpy()
    varied = [name for name in numbers if known.loc[half & use, name].nunique() > 1]
    if len(varied) < FEWEST_OF_A_SUM or (half & use).sum() <= 5 * len(varied) or (~half & use).sum() < MIN_ROWS:
        return []
    if not linear_rest(known, y, varied, half, use) < SUM_REST:
        return []
    needed = varied
    # What the sum holds without is not part of it.
    for name in varied:
        fewer = [each for each in needed if each != name]
        if len(fewer) >= FEWEST_OF_A_SUM and linear_rest(known, y, fewer, half, use) < SUM_REST:
            needed = fewer
    listed = " and ".join([", ".join(needed[:-1]), needed[-1]])
    sentence = (
        f"A sum of {listed}, each times a constant, gives the target: is each of them known before the target is?"
    )
    return [alarm("leak", needed[0], sentence)]


def linear_rest(known: pd.DataFrame, y: pd.Series, names: list[str], half: np.ndarray, use: np.ndarray) -> float:
    """Return the share of the variance that a linear model of some numbers leaves on the other half of the rows."""
    columns = known[names].to_numpy()
    columns = (columns - columns[half & use].mean(axis=0)) / columns[half & use].std(axis=0)
    matrix = np.column_stack([np.ones(len(columns)), columns])
    weights, *_ = np.linalg.lstsq(matrix[half & use], y[half & use].to_numpy(), rcond=None)
    rest = y[~half & use].to_numpy() - matrix[~half & use] @ weights
    return float((rest**2).mean() / max(float(y[~half & use].var()), 1e-300))


def explained(values: pd.Series, kind: str, y: pd.Series, half: np.ndarray) -> float:
    """Return the R2 on one half of the rows of what one feature tells on the other half."""
    if kind == "category":
        means = y[half].groupby(values[half]).mean()
        return r2_score(y[~half], values[~half].map(means).astype("float64").fillna(y[half].mean()))
    if values[half].isna().all():
        return 0.0
    tree = DecisionTreeRegressor(min_samples_leaf=3, random_state=0)
    column = values.astype("float64").to_frame()
    return r2_score(y[~half], tree.fit(column[half], y[half]).predict(column[~half]))


COPIES = 0.01
SHUFFLES = 5


def known_late(not_before: list[str], description: dict) -> list[dict]:
    """Return an alarm for each feature that is made of a column which is known only after the target's moment."""
    found = []
    for name in description["features"]:
        how = description["recipe"].get(name)
        made_of = columns_used({name: how}) if how else [name]
        for column in set(not_before) & {name, *made_of}:
            which = f"The feature {name}" + ("" if column == name else f" is made of {column}, which")
            found.append(alarm("not_before", name, f"{which} is known only after the target (features.not_before)."))
    for column in set(not_before) & set((description.get("custom") or {}).get("columns", {})):
        sentence = f"Your own code gets {column}, which is known only after the target (features.not_before)."
        found.append(alarm("not_before", column, sentence))
    return sorted(found, key=lambda each: each["feature"])


def copies(train: Iterable[pd.DataFrame], test: pd.DataFrame, columns: list[str], target: str, seed: int) -> list[dict]:
    """Return an alarm where held-out rows repeat training rows, target included, more often than chance would have it.

    Chance is what is left of it with the held-out targets shuffled. `train` are the training rows, some at a time,
    `columns` the features but those of the calendar, which no two parts in time share.
    """
    if not columns:
        return []
    random, actual = np.random.default_rng(seed), test[target].to_numpy()
    several = [actual, *(random.permutation(actual) for _ in range(SHUFFLES))]
    hashes = [pd.util.hash_pandas_object(test[columns].assign(**{target: each}), index=False) for each in several]
    looked_for = pd.Index(pd.unique(pd.concat(hashes)))
    seen = np.zeros(len(looked_for) + 1, dtype=bool)
    for rows in train:
        # What is not looked for is noted in the last place.
        seen[looked_for.get_indexer(pd.util.hash_pandas_object(rows[[*columns, target]], index=False))] = True
    found, *shuffled = (int(seen[looked_for.get_indexer(each)].sum()) for each in hashes)
    chance = sum(shuffled) / SHUFFLES
    if found < max(COPIES * len(test), 10, 3 * (chance + math.sqrt(chance))):
        return []
    share, chance = found / len(test), chance / len(test)
    sentence = f"{share:.1%} of the held-out rows are copies of training rows, target included; "
    return [alarm("duplicates", None, sentence + f"by chance it would be {chance:.1%}.")]
