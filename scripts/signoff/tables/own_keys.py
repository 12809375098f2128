"""The keys of a data contract that pandera does not know: their types, and what they say about a delivery."""

import re
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from signoff.base.errors import TaskError, nearest
from signoff.tables.records import Contract

_PERIODS = ("day", "week", "month")
# About the table: how many rows, how old the newest is, what must be there, and what the newest period is.
OF_TABLE = ("rows", "freshness", "complete", "newest")
# About one column.
OF_COLUMNS = ("date_format", "future", "past", "unit", "max_missing")
_KEYS_OF_ROWS = ("min", "max", "newest", "at_least", "at_most")
_TYPES = (
    ("unit", str, "text in quotes, such as 'kg'"),
    ("date_format", str, "text in quotes, such as '%d/%m/%Y'"),
    ("dtype", str, "text, such as float64"),
    *((key, bool, "true or false") for key in ("future", "past", "nullable", "unique")),
)
_HOURS = {"hour": 1, "day": 24, "week": 7 * 24}
_DURATION = re.compile(r"(\d+(?:\.\d+)?) (hour|day|week)s?")


@dataclass(frozen=True)
class _MaxMissing:
    """The largest share of missing values, from 0 to 1, in all rows and in the newest period."""

    all: float = 1.0
    newest: float = 1.0


@dataclass(frozen=True)
class DeliveryRules:
    """What a contract says about a delivery; None where it says nothing.

    `min_share` and `max_share` are shares of the last run's rows, `newest_share` is a share of the rows in a usual
    period, `at_least` and `at_most` are numbers of rows. `levels` has a column's required levels; None: those of the
    last run. `newest` is the length of the newest period in days.
    """

    min_share: float | None = None
    max_share: float | None = None
    newest_share: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    freshness: pd.Timedelta | None = None
    every: str | None = None
    levels: dict[str, list[str] | None] = field(default_factory=dict)
    newest: int = 7
    max_missing: dict[str, _MaxMissing] = field(default_factory=dict)

    def any(self) -> bool:
        """Return whether the contract says anything about a delivery."""
        return self != DeliveryRules(newest=self.newest)

    def needing_time(self) -> list[str]:
        """Return the keys in use that need a time column."""
        needs = {"rows.newest": self.newest_share, "freshness": self.freshness, "complete.every": self.every}
        return [key for key, value in needs.items() if value is not None]


def check_own_keys(contract: Contract, path: object) -> None:
    """Raise TaskError if a key has a value of the wrong type: the message names the column, the key and the value."""
    where = f"the data contract {path}"
    delivery_rules(contract, where)
    for column, rules in contract["columns"].items():
        for key, expected, words in _TYPES:
            value = rules.get(key)
            if value is not None and not isinstance(value, expected):
                raise _wrong(where, f"column {column!r}: {key}", value, words)


def delivery_rules(contract: Contract | None, where: str = "the data contract") -> DeliveryRules:
    """Return what a contract says about a delivery. Raises TaskError if a value has the wrong type."""
    contract = contract or {"columns": {}}
    rows = _mapping(contract.get("rows"), _KEYS_OF_ROWS, where, "rows")
    complete = _mapping(contract.get("complete"), ("every", "levels"), where, "complete")
    every, freshness, newest = complete.get("every"), contract.get("freshness"), contract.get("newest")
    if every is not None and every not in _PERIODS:
        raise _wrong(where, "complete.every", every, " or ".join(_PERIODS))
    days = 7 if newest is None else _duration(newest, where, "newest") / pd.Timedelta(days=1)
    if days < 1 or days % 1:
        raise _wrong(where, "newest", newest, "whole days, such as 7 days")
    number = {key: _number(rows.get(key), where, f"rows.{key}") for key in _KEYS_OF_ROWS}
    return DeliveryRules(
        min_share=number["min"],
        max_share=number["max"],
        newest_share=number["newest"],
        at_least=number["at_least"],
        at_most=number["at_most"],
        freshness=None if freshness is None else _duration(freshness, where, "freshness"),
        every=every,
        levels=_levels(complete.get("levels"), contract, where),
        newest=int(days),
        max_missing={
            column: _max_missing(rules["max_missing"], where, f"column {column!r}: max_missing")
            for column, rules in contract["columns"].items()
            if (rules or {}).get("max_missing") is not None
        },
    )


def _levels(value: object, contract: Contract, where: str) -> dict[str, list[str] | None]:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = dict.fromkeys(value)
    if not isinstance(value or {}, dict):
        raise _wrong(where, "complete.levels", value, "a list of columns, or a mapping from columns to their levels")
    found: dict[str, list[str] | None] = {}
    for column, levels in dict(value or {}).items():  # type: ignore[call-overload]
        if column not in contract["columns"]:
            raise TaskError(f"{where}: complete.levels names {column!r}: {nearest(str(column), contract['columns'])}")
        if not isinstance(levels, list | None):
            raise _wrong(where, f"complete.levels.{column}", levels, "a list of levels")
        found[column] = levels and [str(each) for each in levels]
    return found


def _max_missing(value: object, where: str, key: str) -> _MaxMissing:
    shares = value if isinstance(value, dict) else {"all": value, "newest": value}
    _mapping(shares, ("all", "newest"), where, key)
    found = {name: _number(share, where, f"{key}.{name}" if shares is value else key) for name, share in shares.items()}
    if any(share is not None and share > 1 for share in found.values()):
        raise _wrong(where, key, value, "a share from 0 to 1")
    return _MaxMissing(**{name: share for name, share in found.items() if share is not None})


def _mapping(value: object, keys: tuple[str, ...], where: str, key: str) -> dict[str, Any]:
    if not isinstance(value, dict | None):
        raise _wrong(where, key, value, f"a mapping with {', '.join(keys)}")
    for name in value or {}:
        if name not in keys:
            raise TaskError(f"{where}: the key {key}.{name} is unknown: {nearest(str(name), keys)}")
    return value or {}


def _number(value: object, where: str, key: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise _wrong(where, key, value, "a number that is not negative")
    return value


def _duration(value: object, where: str, key: str) -> pd.Timedelta:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise _wrong(where, key, value, "a duration, such as 10 days or 36 hours")
    return pd.Timedelta(hours=float(found[1]) * _HOURS[found[2]])


def _wrong(where: str, key: str, value: object, words: str) -> TaskError:
    return TaskError(f"{where}: {key} is {value!r}, but must be {words}.")
