"""Columns that determine the target by arithmetic: as a sum, product or quotient, or as the target of a later row."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from signoff.review.intervals import MIN_ROWS

# If a sum of columns is the target, it leaves less than this share of the variance; a sum of few may leave more.
_REST, _REST_OF_A_FEW, _A_FEW = 1e-4, 1e-3, 3
_FEWEST = 2
# How many rows later a target may be, the share of rows that must agree, and the number of rows that are checked.
_MOST_LATER, _AGREE, _MOST_ROWS = 3, 0.6, 50_000


class Combination(NamedTuple):
    """Columns that together determine the target: as a weighted sum, or as a product of powers."""

    names: list[str]
    is_sum: bool


def combination(rows: pd.DataFrame, kinds: dict[str, str], target: str) -> Combination | None:
    """Return the columns whose sum or product is the target, fitted on one half of the rows, judged on the other."""
    numbers = [name for name, kind in kinds.items() if kind == "number" and rows[name].notna().mean() > 0.5]
    y = rows[target].to_numpy("float64")
    known = {name: rows[name].to_numpy("float64", na_value=np.nan) for name in numbers}
    if needed := _sum_of(known, y):
        return Combination(needed, True)
    # A sum of logarithms is a product. If the target is 0, a factor is 0, too.
    use = y != 0
    factors = {name: each[use] for name, each in known.items() if np.mean(each[use] == 0) < 0.01}
    if use.mean() < 0.1 or len(factors) < _FEWEST:
        return None
    needed = _sum_of({name: _logarithm(each) for name, each in factors.items()}, _logarithm(y[use]))
    return Combination(needed, False) if needed else None


def _logarithm(values: np.ndarray) -> np.ndarray:
    """Return the logarithm of the absolute value of each of n numbers; NaN for 0."""
    found: np.ndarray = np.log(np.where(values == 0, np.nan, np.abs(values)))
    return found


def _sum_of(known: dict[str, np.ndarray], y: np.ndarray) -> list[str]:
    """Return the smallest set of columns whose weighted sum is the n numbers; an empty list if none is."""
    use = np.isfinite(y)
    for each in known.values():
        use = use & np.isfinite(each)
    y, known = y[use], {name: each[use] for name, each in known.items()}
    half = len(y) // 2
    varied = {name: each for name, each in known.items() if np.ptp(each[:half]) > 0} if half else {}
    if len(varied) < _FEWEST or half <= 5 * len(varied) or len(y) - half < MIN_ROWS:
        return []
    needed = list(varied)
    rest = _linear_rest(varied, y, needed)
    if not rest < _REST_OF_A_FEW:
        return []
    limit = max(_REST, 2 * rest)
    # A column that the sum does not need is left out.
    for name in varied:
        fewer = [each for each in needed if each != name]
        if len(fewer) >= _FEWEST and _linear_rest(varied, y, fewer) < limit:
            needed = fewer
    return needed if _linear_rest(varied, y, needed) < (_REST_OF_A_FEW if len(needed) <= _A_FEW else _REST) else []


def _linear_rest(known: dict[str, np.ndarray], y: np.ndarray, names: list[str]) -> float:
    """Return the share of variance that a linear model leaves unexplained on the second half of the rows."""
    columns, half = np.column_stack([known[name] for name in names]), len(y) // 2
    columns = (columns - columns[:half].mean(axis=0)) / columns[:half].std(axis=0)
    matrix = np.column_stack([np.ones(len(columns)), columns])
    weights, *_ = np.linalg.lstsq(matrix[:half], y[:half], rcond=None)
    rest = y[half:] - matrix[half:] @ weights
    return float((rest**2).mean() / max(float(y[half:].var()), 1e-300))


def later_rows(table: pd.DataFrame, kinds: dict[str, str], target: str) -> dict[str, str]:
    """Return, of each number that is the target of a later row, which row that is, in words.

    `table` is n rows in the order of time. A row is the next one of all, or of those that share a category's level.
    """
    table = table.tail(_MOST_ROWS).reset_index(drop=True)
    y = table[target].astype("float64")
    numbers = {name: table[name].astype("float64") for name, kind in kinds.items() if kind == "number"}
    groups = [
        name for name, kind in kinds.items() if kind == "category" and 1 < table[name].nunique() <= len(table) / 5
    ]
    moved = {f"of {n} row{'s' if n > 1 else ''} later": y.shift(-n) for n in range(1, _MOST_LATER + 1)}
    moved |= {f"of the next row of the same {name}": y.groupby(table[name]).shift(-1) for name in groups}
    # A value that most rows share agrees by chance.
    usual = y == y.mode().iloc[0] if len(y) else y.notna()
    found: dict[str, str] = {}
    for words, later in moved.items():
        looked_at = (later.notna() & ~usual & (later != y)).to_numpy()
        if looked_at.sum() < MIN_ROWS:
            continue
        for name, values in numbers.items():
            if name not in found and _agreement(values[looked_at].to_numpy(), later[looked_at].to_numpy()) >= _AGREE:
                found[name] = words
    return found


def _agreement(values: np.ndarray, others: np.ndarray) -> float:
    """Return the share of n pairs of numbers that are equal, beyond chance (Cohen's kappa, 1960).

    Two columns that are nearly always zero are equal in nearly all rows, in any order.
    """
    close = float(np.isclose(values, others, rtol=1e-9, atol=0).mean())
    if close < _AGREE:
        return close
    order = np.random.default_rng(0).permutation(len(values))
    chance = float(np.isclose(values[order], others, rtol=1e-9, atol=0).mean())
    return (close - chance) / (1 - chance) if chance < 1 else 0.0
