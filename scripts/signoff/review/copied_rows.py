"""Rows of the held-out part that repeat others."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from signoff.review.reasons import alarm

_SHARE = 0.01
_SHUFFLES = 5


def copies(
    train: Iterable[pd.DataFrame], test: pd.DataFrame, columns: list[str], target: str, seed: int
) -> list[dict[str, Any]]:
    """Return an alarm where held-out rows repeat training rows, target included, more often than chance would have it.

    Chance is what is left of it with the held-out targets shuffled. `train` are the training rows, some at a time,
    `columns` the features but those of the calendar, which no two parts in time share.
    """
    if not columns:
        return []
    random, actual = np.random.default_rng(seed), test[target].to_numpy()
    several = [actual, *(random.permutation(actual) for _ in range(_SHUFFLES))]
    hashes = [pd.util.hash_pandas_object(test[columns].assign(**{target: each}), index=False) for each in several]
    looked_for = pd.Index(pd.unique(pd.concat(hashes)))
    seen = np.zeros(len(looked_for) + 1, dtype=bool)
    for rows in train:
        # What is not looked for is noted in the last place.
        seen[looked_for.get_indexer(pd.Index(pd.util.hash_pandas_object(rows[[*columns, target]], index=False)))] = True
    found, *shuffled = (int(seen[looked_for.get_indexer(pd.Index(each))].sum()) for each in hashes)
    chance = sum(shuffled) / _SHUFFLES
    if found < max(_SHARE * len(test), 10, 3 * (chance + math.sqrt(chance))):
        return []
    share, chance = found / len(test), chance / len(test)
    sentence = f"{share:.1%} of the held-out rows are copies of training rows, target included; "
    return [alarm("duplicates", None, sentence + f"by chance it would be {chance:.1%}.")]
