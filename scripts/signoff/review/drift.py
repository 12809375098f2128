"""Drift between two sets of rows: a compact profile of each column, and the comparison of later rows with it."""

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy import special

from signoff.features.recipe import of_a_date
from signoff.features.records import Described
from signoff.model.records import Profile
from signoff.release.records import DriftRow
from signoff.review.periods import step_in_series
from signoff.tables.arrays import missing_in, numbers_in, text_in

_QUANTILES = 51
_MOST_LEVELS = 200
_MOST_NAMES = 20
# The usual reading: below 0.1 no shift, from 0.25 on a large one.
LARGE_PSI = 0.25
SUBSTANTIAL = 0.1
# A share of the rows, before or after, that is too large to ignore.
SHARE = 0.01
# How often one of a column's levels may be missing by chance before it counts as vanished.
RARE = 0.001
# A shift counts if it is this many times the usual shift of the column from period to period.
NEWS, _SHIFTED = 2, 2.5
_MOST_PERIODS = 5
# In standard errors of a step in a series of this many blocks of rows.
_SURE_SHIFT, _BLOCKS = 3.5, 250
# A jump between neighbouring rows counts if it is this many times the largest of at least this many earlier ones.
_LARGER_JUMP, _FEWEST_JUMPS, _MOST_JUMPS = 1.3, 4, 20
# Unit conversions: the factor, and the constant that is added.
_UNITS = {
    (1.609344, 0.0): "miles to kilometres",
    (0.621371, 0.0): "kilometres to miles",
    (2.204623, 0.0): "kilograms to pounds",
    (0.453592, 0.0): "pounds to kilograms",
    (3.28084, 0.0): "metres to feet",
    (0.3048, 0.0): "feet to metres",
    (2.54, 0.0): "inches to centimetres",
    (0.393701, 0.0): "centimetres to inches",
    (60.0, 0.0): "hours to minutes, or minutes to seconds",
    (1 / 60, 0.0): "minutes to hours, or seconds to minutes",
    (1.8, 32.0): "Celsius to Fahrenheit",
    (1 / 1.8, -32 / 1.8): "Fahrenheit to Celsius",
    (1.0, 273.15): "Celsius to kelvin",
    (1.0, -273.15): "kelvin to Celsius",
    **{(10.0**n, 0.0): f"a unit that is {10**n:,} times smaller" for n in (1, 2, 3, 6)},
    **{(10.0**-n, 0.0): f"a unit that is {10**n:,} times larger" for n in (1, 2, 3, 6)},
}


def profile(values: pd.Series, kind: str) -> Profile:
    """Return the profile of a column, with which later rows can be compared.

    Parameters
    ----------
    values
        n values of one column: numbers, or text.
    kind
        "number", "category" or "text", of which the length in characters is compared.

    Returns
    -------
    dict
        kind, rows, missing (a share). For numbers: all distinct values if they are few, else distinct quantiles, and
        the share of rows up to each. For a category: the counts of its most frequent levels, and of all others
        together.
    """
    values = _measured(values, kind)
    known = values.dropna()
    found: Profile = {"kind": kind, "rows": len(values), "missing": float(values.isna().mean()) if len(values) else 0.0}
    if kind == "category":
        counts = known.value_counts()
        top = counts.head(_MOST_LEVELS)
        return {
            **found,
            "counts": {str(level): int(n) for level, n in top.items()},
            "others": int(counts.sum() - top.sum()),
        }
    numbers = np.sort(known.to_numpy("float64"))
    edges = np.unique(numbers)
    if len(edges) > _MOST_LEVELS:
        # Quantiles are values of the column, so that distances are right if many rows share a value.
        edges = np.unique(np.quantile(numbers, np.linspace(0, 1, _QUANTILES), method="inverted_cdf"))
    return {**found, "edges": edges.tolist(), "shares": _shares_up_to(numbers, edges).tolist()}


def _measured(values: pd.Series, kind: str) -> pd.Series:
    """Return the values to compare: of text, its length, because nearly every text is a new one."""
    return values.astype("str").str.len().astype("float64") if kind == "text" and values.dtype != "float64" else values


def _shares_up_to(numbers: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the share of sorted numbers that are at most each edge."""
    return np.searchsorted(numbers, edges, side="right") / max(len(numbers), 1)


def _psi(before: np.ndarray, after: np.ndarray) -> float:
    """Return the population stability index of two lists of counts by bin (Siddiqi 2006, Credit Risk Scorecards).

    An empty bin counts as half a row; otherwise the index would be infinite.
    """
    p, q = (np.maximum(each, 0.5) / np.maximum(each, 0.5).sum() for each in (before, after))
    return float(((q - p) * np.log(q / p)).sum())


def compare(name: str, before: Profile, values: pd.Series, expected: bool = False) -> DriftRow:
    """Return how the values of a column differ from those of a profile.

    Parameters
    ----------
    name
        The feature, or the target.
    before
        As `profile` gives it.
    values
        m values of the same kind.
    expected
        The column changes by construction, like the year, and is not flagged.

    Returns
    -------
    DriftRow
        feature, kind, psi, statistic ("KS": the Kolmogorov-Smirnov distance at the profile's quantiles, or "total
        variation") with its size (0 to 1) and p (as if rows were independent), new and vanished levels, missing (the
        shares before and after), unit (None, or what every value seems to have been converted by), and flagged.
    """
    kind, rows = before["kind"], len(values) - int(np.count_nonzero(missing_in(values)))
    values = _measured(values, kind)
    missing = missing_in(values)
    known = before["rows"] * (1 - before["missing"])
    row: DriftRow = {
        "feature": name,
        "kind": kind,
        "psi": None,
        "statistic": "total variation" if kind == "category" else "KS",
        "size": None,
        "p": None,
        "new": [],
        "vanished": [],
        "missing": [before["missing"], float(missing.mean()) if len(values) else 0.0],
        "flagged": False,
        "unit": None,
    }
    gap = abs(row["missing"][1] - row["missing"][0]) > SUBSTANTIAL
    if known < 1 or rows < 1:
        row["flagged"] = gap and not expected
        return row
    if kind == "category":
        then, now, size, p = _category_compared(row, before, values[~missing] if missing.any() else values)
    else:
        # Lengths have no unit.
        numbers = np.sort(numbers_in(values)[~missing])
        then, now, size, p = _number_compared(row, before, numbers, expected or kind == "text")
    psi = _psi(then, now)
    row["psi"], row["size"], row["p"] = psi, size, p
    # The expected index for two samples of the same distribution.
    chance = (len(then) - 1) * (1 / known + 1 / rows)
    large = psi - chance >= LARGE_PSI and size >= SUBSTANTIAL and p < 0.001
    row["flagged"] = bool(large or gap or row["unit"]) and not expected
    return row


# Counts by bin of the earlier and the later rows, the size of their difference (0 to 1), and its p-value.
_Counted = tuple[np.ndarray, np.ndarray, float, float]


def _number_compared(row: DriftRow, before: Profile, numbers: np.ndarray, expected: bool) -> _Counted:
    """Compare known numbers, sorted, with a profile; set `unit` of the row if they seem to be converted."""
    known, rows = before["rows"] * (1 - before["missing"]), len(numbers)
    edges, shares = np.array(before["edges"]), np.array(before["shares"])
    now = _shares_up_to(numbers, edges)
    size = float(np.abs(shares - now).max())
    p = float(special.kolmogorov(size * math.sqrt(known * rows / (known + rows))))
    deciles = np.unique(np.searchsorted(shares, np.linspace(0.1, 0.9, 9) - 1e-9))
    counts = [np.diff([0, *each[deciles], 1]) * n for each, n in ((shares, known), (now, rows))]
    if not expected and p < 0.001:
        row["unit"] = _converted(edges, shares, numbers, size, known)
    return counts[0], counts[1], size, p


def _category_compared(row: DriftRow, before: Profile, values: pd.Series) -> _Counted:
    """Compare known levels with a profile; set `new` and `vanished` of the row."""
    known, rows = before["rows"] * (1 - before["missing"]), len(values)
    # The most frequent ones first, as pandas has them, which takes several times as long for a few levels.
    counted = pc.value_counts(pa.array(text_in(values).array, pa.string()))
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    levels, found = before["counts"], dict(sorted(pairs, key=lambda each: -each[1]))
    named = [found.get(level, 0) for level in levels]
    then, now = np.array([*levels.values(), before["others"]]), np.array([*named, rows - sum(named)])
    if before["others"] == 0:
        row["new"] = [
            str(level)
            for level, n in found.items()
            if level not in levels
            and n >= max(SHARE * rows, 5)
            and never_by_chance(known / (known + rows), n, len(levels))
        ][:_MOST_NAMES]
    row["vanished"] = [
        level
        for level, n in levels.items()
        if n >= SHARE * known and level not in found and never_by_chance(n / known, rows, len(levels))
    ][:_MOST_NAMES]
    used = np.array([then, now])[:, (then + now) > 0]
    p = _chi_squared(used) if used.shape[1] > 1 else 1.0
    return then, now, float(np.abs(then / known - now / rows).sum() / 2), p


def _chi_squared(counts: np.ndarray) -> float:
    """Return the p-value of Pearson's test that two rows of counts (2 × k, no empty column) share a distribution.

    The result is that of scipy.stats.chi2_contingency, with Yates's correction if k is 2. Importing scipy.stats takes
    longer than the whole diagnosis.
    """
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    distance = np.abs(counts - expected)
    if counts.shape[1] == 2:
        distance -= np.minimum(0.5, distance)
    return float(special.chdtrc(counts.shape[1] - 1, (distance**2 / expected).sum()))


def _news(row: DriftRow, before: pd.Series, after: pd.Series) -> DriftRow:
    """Return the row of `compare` without shifts that also occur within the earlier rows.

    Consecutive rows are alike, and seasons change. So the shift of the later rows is compared with the shifts of
    earlier periods.

    Parameters
    ----------
    row
        The result of `compare` for `after` and the profile of `before`.
    before, after
        The values, n and m, in the order of time.
    """
    before, after = _measured(before, row["kind"]), _measured(after, row["kind"])
    if row["vanished"] or row["new"]:
        new, vanished = _unusual_levels(row, before.astype("str"), after.astype("str"))
        row = {**row, "new": new, "vanished": vanished}
    gap = abs(row["missing"][1] - row["missing"][0]) > SUBSTANTIAL
    if not row["flagged"] or gap or row["size"] is None:
        return row
    count = int(np.clip(len(before) // max(len(after), 1), 2, _MOST_PERIODS))
    place = np.arange(len(before)) * count // len(before)
    periods = (
        compare(row["feature"], profile(before[place != k], row["kind"]), before[place == k]) for k in range(count)
    )
    largest = max(each["size"] or 0.0 for each in periods)
    if row["unit"] and _jumped(before, after):
        return row
    is_news = row["size"] > _SHIFTED * largest and (row["kind"] == "category" or _shifted(before, after))
    return {**row, "flagged": bool(is_news), "unit": None}


def _shifted(before: pd.Series, after: pd.Series) -> bool:
    """Return whether the level or the spread of numbers differs by more than autocorrelation explains."""
    both = pd.concat([before, after]).to_numpy("float64", na_value=np.nan)
    ranks = pd.Series(both).rank(pct=True).to_numpy()
    blocks = np.arange(len(both)) * min(_BLOCKS, len(both)) // len(both)
    late = np.arange(len(both)) >= len(before)
    for values in (ranks, np.abs(ranks - 0.5)):
        known = np.isfinite(values)
        rows = pd.DataFrame({"value": values[known], "late": late[known]}).groupby(blocks[known]).mean()
        found = step_in_series(rows["value"].to_numpy(), rows["late"].to_numpy() > 0.5)
        if found is not None and abs(found[2]) >= _SURE_SHIFT:
            return True
    return False


def _jumped(before: pd.Series, after: pd.Series) -> bool:
    """Return whether the jump from the end of `before` to `after` is larger than any jump before.

    A season can move numbers as far as a conversion, but slowly: the rows on both sides of the border differ no more
    than neighbouring rows do elsewhere.
    """
    near = int(np.clip(len(after) // 4, 30, max(len(before) // (_FEWEST_JUMPS + 2), 1)))
    ends = [len(before) - near * n for n in range(min(len(before) // near, _MOST_JUMPS))]
    windows = [before.iloc[end - near : end].dropna().to_numpy("float64") for end in ends]
    windows = [each for each in windows if len(each) >= near / 2]
    later = after.iloc[:near].dropna().to_numpy("float64")
    if len(windows) <= _FEWEST_JUMPS or not len(later):
        return False
    jumps = [_between(*pair) for pair in itertools.pairwise(windows)]
    return _between(later, windows[0]) > _LARGER_JUMP * max(jumps)


def _between(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean distance between the deciles of two samples (the Wasserstein distance without the tails)."""
    deciles = np.linspace(0.1, 0.9, 9)
    return float(np.abs(np.quantile(first, deciles) - np.quantile(second, deciles)).mean())


def longest_absence(present: pd.Series) -> int:
    """Return the length of the longest run of rows that are false."""
    return int(np.diff(np.flatnonzero(present), prepend=-1, append=len(present)).max()) - 1


def _unusual_levels(row: DriftRow, before: pd.Series, after: pd.Series) -> tuple[list[str], list[str]]:
    """Return the new and the vanished levels of a row that are no more of the changes that the column usually has."""
    rows, shares = len(after), before.value_counts(normalize=True)
    came, went = (NEWS * usual_turnover(each, rows) for each in (before, before[::-1]))
    gone = [each for each in row["vanished"] if rows > NEWS * longest_absence(before == each)]
    new = [each for each in row["new"] if (after == each).sum() > came]
    return new, [each for each in gone if shares.get(each, 1.0) * rows > went]


def usual_turnover(levels: pd.Series, rows: int) -> int:
    """Return how many of the first `rows` rows since it came a level has, if levels come regularly: the second most.

    Levels of the first `rows` rows, or half of all if these are fewer, are not new. Of the rows in reverse order, it is
    how many of the last rows a level has that goes for good.
    """
    codes, known = pd.factorize(levels.dropna())
    span = min(rows, len(codes) // 2)
    firsts = np.unique(codes, return_index=True)[1]
    age = np.arange(len(codes)) - firsts[codes]
    counts = np.bincount(codes[(firsts[codes] >= span) & (age < span)], minlength=max(len(known), 2))
    return int(np.sort(counts)[-2])


def never_by_chance(share: float, rows: int, levels: int) -> bool:
    """Return whether a level with this share, one of `levels`, is too frequent to be absent from `rows` rows."""
    return rows * math.log1p(-min(share, 1 - 1e-9)) < math.log(RARE / levels)


def _converted(edges: np.ndarray, shares: np.ndarray, numbers: np.ndarray, size: float, known: float) -> str | None:
    """Return the unit conversion that maps later numbers back to the profile; None if none does.

    Parameters
    ----------
    edges, shares
        The profile's quantiles, and the share of its rows up to each.
    numbers
        The m later numbers, sorted.
    size
        Their Kolmogorov-Smirnov distance from the profile.
    known
        The number of rows in the profile.
    """
    if size < 2 * SUBSTANTIAL or len(edges) < 3 or len(numbers) < 50:
        return None
    then, now = np.interp([0.2, 0.5, 0.8], shares, edges), np.quantile(numbers, [0.2, 0.5, 0.8])
    # Two samples of one distribution differ by less in 99 of 100 cases.
    noise = 1.63 * math.sqrt(1 / len(numbers) + 1 / known)
    # Converted values are rounded.
    upper = edges + 0.005 * np.abs(edges)
    best: tuple[float, str] | None = None
    # A constant alone, within the range of the numbers, cannot be told from another level.
    conversions = [
        (factor, shift, f"{words}, × {factor:.4g}{f' {shift:+.4g}' if shift else ''}")
        for (factor, shift), words in _UNITS.items()
        if factor != 1 or abs(shift) > then[2] - then[0]
    ]
    # Any other factor is estimated from the middle of the distribution.
    middle = np.interp(0.5, shares, edges)
    ratio = float(now[1] / middle) if middle and now[1] else 1.0
    if ratio > 0 and abs(math.log(ratio)) > 0.4 and (then > 0).all() | (then < 0).all():
        conversions.append((ratio, 0.0, f"a unit of another size, × {ratio:.3g}"))
    for factor, shift, words in conversions:
        left = float(np.abs(shares - _shares_up_to((numbers - shift) / factor, upper)).max())
        # A known unit is preferred to a factor that fits only slightly better.
        left += 0.02 if words.startswith("a unit of") else 0.0
        if best is None or left < best[0]:
            best = (left, words)
    return best[1] if best and best[0] < min(SUBSTANTIAL / 2 + noise, size / 2) else None


def columns(description: Described) -> list[tuple[str, str]]:
    """Return the features and the target, each with its kind."""
    return [*description["features"].items(), (description["target"], "number")]


def compared(
    profiles: Mapping[str, Profile],
    later: pd.DataFrame,
    description: Described,
    earlier: pd.DataFrame | None = None,
) -> list[DriftRow]:
    """Return how each column of later rows differs from its profile, the largest shift first.

    `earlier` are the rows of the profiles, given if both parts are in the order of time.
    """
    rows = [
        compare(name, profiles[name], later[name], of_a_date(name, description))
        for name, kind in columns(description)
        if name in profiles and profiles[name]["kind"] == kind
    ]
    if earlier is not None:
        rows = [_news(row, earlier[row["feature"]], later[row["feature"]]) for row in rows]
    return sorted(rows, key=lambda row: (not row["flagged"], -(row["psi"] or 0.0)))
