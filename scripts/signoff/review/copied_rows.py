"""Held-out rows that duplicate training rows or each other, exactly or except for one column."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from signoff.release.records import AlarmRecord
from signoff.review.reasons import alarm
from signoff.tables.spill import GOLDEN

_SHARE, _FEWEST = 0.01, 10
# Targets are shuffled so many times among all rows, and as often among rows whose targets are at most so many different
# values apart.
_SHUFFLES, _NEAR = 3, 2
# Targets with at least this share of the rows (zeros, for example) agree by chance; rarer ones do if a column is left
# out.
_COMMON, _COMMON_OF_NEAR = 0.02, 0.002


class _Wanted:
    """Hashes to look for, and whether they were seen: one row for the actual targets, others for shuffled ones."""

    def __init__(self, hashes: np.ndarray):
        self.hashes = hashes
        self.values = pd.Index(pd.unique(hashes.ravel()))
        self.seen = np.zeros(len(self.values) + 1, dtype=bool)

    def look(self, hashes: np.ndarray) -> None:
        # Hashes that are not looked for are noted in the last place.
        self.seen[self.values.get_indexer(pd.Index(hashes))] = True

    def counts(self, use: np.ndarray) -> tuple[int, float]:
        """Return how many of the rows in use were seen, and how many by chance; `use` is as large as the hashes."""
        found = self.seen[self.values.get_indexer(pd.Index(self.hashes.ravel()))].reshape(self.hashes.shape) & use
        return int(found[0].sum()), _chance(found[1:].sum(axis=1))


def copies(
    train: Iterable[pd.DataFrame], test: pd.DataFrame, columns: list[str], target: str, seed: int
) -> list[AlarmRecord]:
    """Return an alarm if held-out rows duplicate others, target included, more often than chance explains.

    Chance is estimated by shuffling the held-out targets: among all rows, and among rows with nearly equal targets,
    which rows with equal features have by chance if the features nearly determine the target. Rows with common targets,
    such as zeros, are left out if they mask copies. `train` are the training rows, some at a time, `columns` the
    features but those of the calendar, which no two parts in time share.
    """
    if not columns or test.empty:
        return []
    random, parts = np.random.default_rng(seed), _hashes(test, [*columns, target])
    features, own = parts[:-1].sum(axis=0), parts[-1]
    anywhere = [random.permutation(own) for _ in range(_SHUFFLES)]
    nearby = [own[each] for each in _neighbours(test[target], random)]
    targets = np.stack([own, *anywhere, *nearby])
    share = np.stack([_shares(each) for each in targets])
    rare, rarest = share <= _COMMON, share <= max(_COMMON_OF_NEAR, 1.5 / len(test))
    whole = _Wanted(features + targets)
    near = [_Wanted((features - each + targets)[:, rarest[0] | rarest[1:].any(axis=0)]) for each in parts[:-1]]
    near = near if len(columns) > 1 and rarest[0].sum() >= _FEWEST else []
    for rows in train:
        seen = _hashes(rows, [*columns, target])
        total = seen.sum(axis=0)
        whole.look(total)
        for each, column in zip(near, seen, strict=False):
            each.look(total - column)
    for use, of_which in ((np.ones_like(rare), ""), (rare, " with a rare target")):
        if words := _words(*whole.counts(use), int(use[0].sum()), len(test)):
            return [alarm("duplicates", None, words.format(f"{of_which} are copies of training rows, target included"))]
    found = [each.counts(rarest[:, rarest[0] | rarest[1:].any(axis=0)]) for each in near]
    if found:
        best = max(range(len(found)), key=lambda k: found[k][0])
        if words := _words(*found[best], int(rarest[0].sum()), len(test)):
            what = f" are copies of training rows but for {columns[best]}, target included"
            return [alarm("duplicates", columns[best], words.format(what))]
    among = [_repeated((features + each)[use]) for each, use in zip(targets[: 1 + _SHUFFLES], rare, strict=False)]
    # A row with a neighbour's target is compared with the rows as they are: two copies could get the same target.
    again = np.isin(features + targets[-_SHUFFLES:], features + own) & rare[-_SHUFFLES:]
    among += list(again.sum(axis=1))
    if words := _words(among[0], _chance(np.array(among[1:])), int(rare[0].sum()), len(test)):
        return [alarm("duplicates", None, words.format(" repeat other held-out rows, target included"))]
    return []


def _neighbours(target: pd.Series, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield, for each row, another one whose target is one of the nearest different values."""
    values, first, codes = np.unique(target.to_numpy("float64"), return_index=True, return_inverse=True)
    for _ in range(_SHUFFLES):
        far = random.integers(1, _NEAR + 1, len(codes)) * random.choice([-1, 1], len(codes))
        outside = (codes + far < 0) | (codes + far >= len(values))
        yield first[np.clip(np.where(outside, codes - far, codes + far), 0, len(values) - 1)]


def _chance(counts: np.ndarray) -> float:
    """Return how many copies there are by chance, from the counts of shuffles among all rows and nearby."""
    return float(max(counts[:_SHUFFLES].mean(), counts[_SHUFFLES:].mean()))


def _words(found: int, chance: float, looked_at: int, rows: int) -> str:
    """Return the sentence on the copies, with a placeholder for their kind; empty if chance explains as many."""
    if found < max(_SHARE * rows, _FEWEST, 3 * (chance + math.sqrt(chance))):
        return ""
    return f"{found / looked_at:.1%} of the held-out rows{{}}; by chance it would be {chance / looked_at:.1%}."


def _hashes(rows: pd.DataFrame, names: list[str]) -> np.ndarray:
    """Return the hash of each cell (m columns × n rows); the sum over the columns is a hash of the row."""
    found = [pd.util.hash_pandas_object(rows[name], index=False).to_numpy() for name in names]
    return np.stack([each * GOLDEN * np.uint64(2 * k + 1) for k, each in enumerate(found)])


def _shares(hashes: np.ndarray) -> np.ndarray:
    """Return for each of n hashes the share of hashes equal to it."""
    codes, _ = pd.factorize(hashes)
    shares: np.ndarray = np.bincount(codes)[codes] / len(hashes)
    return shares


def _repeated(hashes: np.ndarray) -> int:
    """Return how many of the hashes repeat an earlier one."""
    return len(hashes) - len(pd.unique(hashes))
