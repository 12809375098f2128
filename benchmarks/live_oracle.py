"""Count how many targets × 1.25 a test finds that knows how clean weeks are distributed, beside the live alarms.

    python benchmarks/live_oracle.py --tables 4 --keep FOLDER

It knows the mean of each statistic over the twelve clean weeks of the replay, how much weeks of the shape differ (over
all its tables), and that the target has grown. Its level is 5% over twelve weeks, shared by tests of one week and of
two. So it shows what is possible at most: live alarms have only the weeks of the report and those since the release.
"""

import argparse
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import live_alarms
import numpy as np
import pandas as pd
from live_alarms import WEEKS, Replay
from scipy import stats

_KIND = "target × 1.25"
# Of each week and of each two weeks, the limit in standard deviations.
_LIMIT = float(stats.norm.isf((1 - 0.95 ** (1 / WEEKS)) / 2))
_FEWEST_ROWS = 10


def _slope(actual: np.ndarray, predicted: np.ndarray) -> float:
    around = predicted - predicted.mean()
    return float(around @ actual / max(around @ around, 1e-12))


STATISTICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "ratio of the means": lambda actual, predicted: float(actual.mean() / predicted.mean()),
    "slope": _slope,
    "slope through 0": lambda actual, predicted: float(predicted @ actual / max(predicted @ predicted, 1e-12)),
    "bias": lambda actual, predicted: float((actual - predicted).mean()),
    "MAE": lambda actual, predicted: float(np.log(np.abs(actual - predicted).mean())),
    "median error": lambda actual, predicted: float(np.median(actual - predicted)),
}


def _by_week(rows: pd.DataFrame, length: int, name: str, factor: float) -> np.ndarray:
    """Return a statistic of the `length` weeks up to each week, of targets times a factor; NaN for too few rows."""
    found = np.full(WEEKS, np.nan)
    for week in range(length - 1, WEEKS):
        each = rows[rows["week"].between(week - length + 1, week)]
        if len(each) >= _FEWEST_ROWS:
            found[week] = STATISTICS[name](factor * each["actual"].to_numpy(), each["predicted"].to_numpy())
    return found


def found_by(replays: list[Replay], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return which faults the oracle finds by the second bad week, and in which clean replays it raises an alarm."""
    series = [[[_by_week(each.rows, n, name, factor) for factor in (1.0, 1.25)] for n in (1, 2)] for each in replays]
    variances: dict[tuple[str, int], list[float]] = defaultdict(list)
    for each, lengths in zip(replays, series, strict=True):
        for n, (clean, _) in enumerate(lengths):
            variances[each.shape, n].append(float(np.nanvar(clean, ddof=1)))
    hits, alarms = [], []
    for each, lengths in zip(replays, series, strict=True):
        begins = live_alarms.begins_of(each, _KIND)
        far, usual = [-np.inf], [-np.inf]
        for n, (clean, bad) in enumerate(lengths):
            deviation, up = np.sqrt(np.mean(variances[each.shape, n])), np.sign(np.nanmean(bad - clean)) or 1.0
            z, z_clean = (up * (values - np.nanmean(clean)) / deviation for values in (bad, clean))
            far += list(z[begins + n : begins + 2])
            usual += list(z_clean)
        hits.append(np.nanmax(far) > _LIMIT)
        alarms.append(np.nanmax(usual) > _LIMIT)
    return np.array(hits), np.array(alarms)


def table_of(replays: list[Replay]) -> list[str]:
    """Return the lines of a Markdown table: what the live alarms find, and what the oracle finds by each statistic."""
    weeks = [live_alarms.judged(each, _KIND).week for each in replays]
    ours = np.array([week is not None and week <= 2 for week in weeks])
    lines = ["| test | found | of those that live alarms miss | clean, alarmed |", "|---|---:|---:|---:|"]
    lines.append(f"| live alarms | {ours.sum()} of {len(ours)} | | |")
    for name in STATISTICS:
        hits, alarms = found_by(replays, name)
        lines.append(f"| {name} | {hits.sum()} | {(hits & ~ours).sum()} of {(~ours).sum()} | {alarms.sum()} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=4, help="how many tables of each shape")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="how many to use")
    parser.add_argument("--keep", type=Path, help="a folder for the errors, as for live_alarms.py")
    args = parser.parse_args()
    for title, names, tables in live_alarms.groups(args.tables):
        print("\n".join([title, *table_of(list(live_alarms.replays(names, range(tables), args.cores, args.keep)))]))


if __name__ == "__main__":
    main()
