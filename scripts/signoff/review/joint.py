"""Changes in the correlation of columns in the newest rows, even if each column alone looks the same.

A classifier of newest against earlier rows would detect this, too. But the days of a span are alike, so it can separate
any two spans; correlations within spans do not have this problem.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd

from signoff.release.records import AlarmRecord
from signoff.review.periods import FEWEST_ROWS, Change, Periods, spans_of, steps_of
from signoff.review.reasons import alarm

# The number of levels of a category that are used, and of columns in total.
_LEVELS, _SHARE, _MOST_COLUMNS = 5, 0.08, 40
# The smallest change in a correlation (after Fisher's transformation), how rare it must be among all checks, and its
# ratio to the largest earlier change.
_CHANGE, _RARE, _LARGER = 0.25, 0.01, 1.3
# Spans that end with the newest row overlap, so they count as this many independent checks.
_SPANS = 2
_MOST_NAMED = 2


def joint_alarms(table: pd.DataFrame, kinds: dict[str, str], periods: Periods) -> list[AlarmRecord]:
    """Return an alarm for each pair of columns with an unprecedented recent change in rank correlation.

    Ranks are taken within a span, so that a season, trend or shift of one column alone does not count. Each level of a
    category is a separate column.

    Parameters
    ----------
    table
        n rows.
    kinds
        The kind of each column to look at.
    """
    names, codes = _columns(table, kinds)
    pairs = [pair for pair in itertools.combinations(range(len(names)), 2) if names[pair[0]][0] != names[pair[1]][0]]
    if not pairs:
        return []
    found: dict[tuple[str, str], tuple[Change, str]] = {}
    for length, figures, rows in _correlations(codes, pairs, periods):
        for k, each in steps_of(figures, rows, np.ones(len(pairs)), length, own=True):
            news = each.p < _RARE / (len(pairs) * _SPANS) and each.larger >= _LARGER
            first, second = (names[place] for place in pairs[k])
            key = (first[0], second[0])
            if news and abs(each.now - each.before) >= _CHANGE and (key not in found or each.p < found[key][0].p):
                found[key] = each, f"{first[1]} and {second[1]}"
    strongest = sorted(found.items(), key=lambda item: item[1][0].p)[:_MOST_NAMED]
    return [
        alarm(
            "joint_change",
            key[1],
            f"{words} are correlated differently in {periods.words(each.length)}: their rank correlation is "
            f"{np.tanh(each.now):+.2f} there and was {np.tanh(each.before):+.2f} before.",
        )
        for key, (each, words) in strongest
    ]


def _columns(table: pd.DataFrame, kinds: dict[str, str]) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Return the name and the description of each column to check, and the order of its values (n × m).

    Equal values have the same number from 0, and missing ones have -1.
    """
    names, codes = [], []
    for name, kind in kinds.items():
        if kind == "number":
            values = table[name].to_numpy("float64", na_value=np.nan)
            _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
            # If nearly all values are equal, the few others make the correlation of a span.
            if counts.max(initial=0) <= (1 - _SHARE) * len(values):
                names.append((name, name))
                codes.append(np.where(np.isnan(values), -1, places))
            continue
        if kind == "text":
            continue
        shares = table[name].value_counts(normalize=True)
        for level in shares[shares >= _SHARE].index[:_LEVELS]:
            names.append((name, f"{name} “{level}”"))
            codes.append((table[name] == level).to_numpy("bool", na_value=False).astype("int64"))
    if not codes:
        return [], np.empty((len(table), 0), "int64")
    return names[:_MOST_COLUMNS], np.column_stack(codes[:_MOST_COLUMNS])


def _ranks(codes: np.ndarray) -> np.ndarray:
    """Return the mean ranks of equal values (n × m) in each column; for missing ones, the mean of all ranks."""
    ranks = np.empty(codes.shape)
    for k, column in enumerate(codes.T):
        counts = np.bincount(column[column >= 0], minlength=1)
        ranks[:, k] = np.where(column >= 0, (np.cumsum(counts) - (counts - 1) / 2)[column], (len(column) + 1) / 2)
    return ranks


def _correlations(
    codes: np.ndarray, pairs: list[tuple[int, int]], periods: Periods
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield each span length, the correlations of each pair in each span, and the number of rows behind them."""
    places = tuple(np.array(pairs).T)
    order = np.argsort(periods.codes, kind="stable")
    ends = np.searchsorted(periods.codes[order], np.arange(periods.count + 1))
    for length, count in spans_of(periods):
        figures, rows = np.full((len(pairs), count), np.nan), np.zeros(count)
        for n in range(count):
            inside = codes[order[ends[n * length] : ends[(n + 1) * length]]]
            rows[n] = max(len(inside) - 3, 0)
            if len(inside) < 2 * FEWEST_ROWS:
                continue
            ranks = _ranks(inside)
            ranks -= ranks.mean(axis=0)
            spread = np.sqrt((ranks**2).sum(axis=0))
            with np.errstate(divide="ignore", invalid="ignore"):
                together = (ranks.T @ ranks) / np.outer(spread, spread)
                figures[:, n] = np.arctanh(np.clip(together[places], -0.999, 0.999))
        yield length, figures, np.tile(rows, (len(pairs), 1))
