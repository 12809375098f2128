"""What looks like success and is none: features known too late, copied rows."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from reasons import alarm
from recipe import columns_used

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
