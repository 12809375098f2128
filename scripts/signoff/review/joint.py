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
    names, columns = _columns(table, kinds)
    pairs = [pair for pair in itertools.combinations(range(len(names)), 2) if names[pair[0]][0] != names[pair[1]][0]]
    if not pairs:
        return []
    found: dict[tuple[str, str], tuple[Change, str]] = {}
    for length, figures, rows in _correlations(columns, pairs, periods):
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
    """Return the name and the description of each column to check, and the values (n × m)."""
    names, columns = [], []
    for name, kind in kinds.items():
        if kind == "number":
            values = table[name].to_numpy("float64", na_value=np.nan)
            # If nearly all values are equal, the few others make the correlation of a span.
            if np.unique(values, return_counts=True)[1].max(initial=0) <= (1 - _SHARE) * len(values):
                names.append((name, name))
                columns.append(values)
            continue
        if kind == "text":
            continue
        shares = table[name].value_counts(normalize=True)
        for level in shares[shares >= _SHARE].index[:_LEVELS]:
            names.append((name, f"{name} “{level}”"))
            columns.append((table[name] == level).to_numpy("float64", na_value=0.0))
    return names[:_MOST_COLUMNS], np.column_stack(columns[:_MOST_COLUMNS]) if columns else np.empty((len(table), 0))


def _correlations(
    columns: np.ndarray, pairs: list[tuple[int, int]], periods: Periods
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield each span length, the correlations of each pair in each span, and the number of rows behind them."""
    places = tuple(np.array(pairs).T)
    order = np.argsort(periods.codes, kind="stable")
    ends = np.searchsorted(periods.codes[order], np.arange(periods.count + 1))
    for length, count in spans_of(periods):
        figures, rows = np.full((len(pairs), count), np.nan), np.zeros(count)
        for n in range(count):
            inside = columns[order[ends[n * length] : ends[(n + 1) * length]]]
            rows[n] = max(len(inside) - 3, 0)
            if len(inside) < 2 * FEWEST_ROWS:
                continue
            ranks = pd.DataFrame(inside).rank().fillna((len(inside) + 1) / 2).to_numpy(copy=True)
            ranks -= ranks.mean(axis=0)
            spread = np.sqrt((ranks**2).sum(axis=0))
            with np.errstate(divide="ignore", invalid="ignore"):
                together = (ranks.T @ ranks) / np.outer(spread, spread)
                figures[:, n] = np.arctanh(np.clip(together[places], -0.999, 0.999))
        yield length, figures, np.tile(rows, (len(pairs), 1))
