"""Decides which features of earlier rows there are: the recipes that features.history of the config asks for."""

import re
from collections.abc import Mapping, Sequence

from signoff.base.errors import TaskError, nearest
from signoff.features.evidence import ColumnFacts
from signoff.features.expressions import names_in
from signoff.features.records import FeatureRecipe, HistoryEntry

_UNITS = {"min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}
_DURATION = re.compile(r"(\d{1,6}) ?(min|h|d|w)")


def micros(text: str) -> int | None:
    """Return a duration, such as "90min", "3h", "7d" or "2w", in microseconds; None if it is not one."""
    found = _DURATION.fullmatch(text)
    return int(found[1]) * _UNITS[found[2]] if found else None


def history_recipes(
    entries: Sequence[HistoryEntry], facts: Mapping[str, ColumnFacts], target: str, time_column: str | None
) -> dict[str, FeatureRecipe]:
    """Return the recipes of the features of earlier rows, by name.

    Raises
    ------
    TaskError
        There is no time column, a column is unknown or of a wrong kind, a window is not a duration, an entry gives no
        feature, or two entries give different features of the same name.
    """
    found: dict[str, FeatureRecipe] = {}
    for number, entry in enumerate(entries):
        where = f"features.history.{number}"
        if time_column is None:
            raise TaskError(f"{where}: earlier rows need a time column. Name the column of dates as time_column.")
        for name, how in _recipes_of(entry, facts, target, time_column, where).items():
            if found.setdefault(name, how) != how:
                raise TaskError(
                    f"{where}: another entry gives a different feature {name!r}. Set count or since_last in only one "
                    "of them, or name the value differently: values: {name: expression}."
                )
    return found


def _recipes_of(
    entry: HistoryEntry, facts: Mapping[str, ColumnFacts], target: str, time_column: str, where: str
) -> dict[str, FeatureRecipe]:
    """Return the recipes that one entry gives. Raises TaskError as `history_recipes`."""
    named = entry.get("by") or []
    by = [named] if isinstance(named, str) else list(named)
    given = entry.get("values") or []
    values = dict(given) if isinstance(given, Mapping) else {name: f"`{name}`" for name in given}
    windows, lags, after = entry.get("windows") or [], entry.get("lags") or [], entry.get("available_after", "0h")
    for name in by:
        _check_column(name, facts, f"{where}.by")
        if name in (target, time_column):
            what = "the target, which is unknown" if name == target else "the time column, which cannot be a key"
            raise TaskError(f"{where}.by: {name!r} is {what} when a row is scored. Name another column.")
    for name, expression in values.items():
        _check_numbers(expression, facts, f"{where}.values.{name}")
    for window in windows:
        if not micros(window):
            raise TaskError(f"{where}.windows: {window!r} is not a duration such as 90min, 3h, 7d or 2w.")
    if micros(after) is None:
        _check_numbers(after, facts, f"{where}.available_after", "; a duration is 90min, 3h, 7d or 2w")
    if not values and (lags or (windows and not entry.get("count"))):
        raise TaskError(f"{where}: lags and windows need values. Name the columns in values, or set count: true.")
    if values and not (lags or windows):
        raise TaskError(f"{where}: values need lags or windows. Name one, such as windows: [7d].")
    if entry.get("count") and not windows:
        raise TaskError(f"{where}: count needs windows. Name one, such as windows: [7d].")
    end = f"_by_{'_'.join(by)}" if by else ""
    common: FeatureRecipe = {"by": by, "time": time_column, "after": after}
    found: dict[str, FeatureRecipe] = {}
    for name, expression in values.items():
        for lag in lags:
            found[f"{name}_lag_{lag}{end}"] = {"history": "lag", "of": expression, "lag": lag, **common}
        for window in windows:
            found[f"{name}_mean_{_word(window)}{end}"] = {
                "history": "mean",
                "of": expression,
                "window": window,
                **common,
            }
    for window in windows if entry.get("count") else ():
        found[f"count_{_word(window)}{end}"] = {"history": "count", "window": window, **common}
    if entry.get("since_last"):
        found[f"hours_since_last{end}"] = {"history": "since_last", **common}
    if not found:
        raise TaskError(f"{where} gives no feature. Name values with windows or lags, or set count or since_last.")
    return found


def _word(window: str) -> str:
    return window.replace(" ", "")


def _check_column(name: str, facts: Mapping[str, ColumnFacts], where: str) -> None:
    """Raise TaskError if there is no such column."""
    if name not in facts:
        raise TaskError(f"{where}: there is no column {name!r}: {nearest(name, facts)}")


def _check_numbers(expression: str, facts: Mapping[str, ColumnFacts], where: str, more: str = "") -> None:
    """Raise TaskError if an expression names an unknown column, or one of text."""
    try:
        names = names_in(expression)
    except (SyntaxError, ValueError) as error:
        raise TaskError(f"{where}: {expression!r} cannot be read{more}.") from error
    for name in names:
        _check_column(name, facts, where)
        if not (facts[name].is_number() or facts[name].is_date()):
            raise TaskError(f"{where}: {name} holds text, but must hold numbers.")
    if not names:
        raise TaskError(f"{where}: {expression!r} names no column{more}.")
    if expression.strip("`") in facts and facts[expression.strip("`")].is_date():
        raise TaskError(f"{where}: {expression.strip('`')} holds dates, but must hold numbers.")
