"""Parts of dates that are features: as numbers, and as waves that close the circle of a day, a week or a year."""

import collections
import logging
from collections.abc import Mapping
from types import ModuleType
from typing import cast

import numpy as np
import pandas as pd

from signoff.base.errors import TaskError, nearest
from signoff.features.columns import Features
from signoff.features.custom_features import custom_features, is_number
from signoff.features.earlier_rows import Earlier, history_features
from signoff.features.evidence import is_boolean, numbers_of
from signoff.features.expressions import Rows, evaluate, index_of, names_in
from signoff.features.records import ColumnRecord, Described, FeatureRecipe, FeatureRecord
from signoff.tables.arrays import numbers_in, text_in
from signoff.tables.records import ColumnsRead

# Each part with its period, where it comes round again.
_CALENDAR = {
    "year": None,
    "quarter": 4,
    "month": 12,
    "day": 31,
    "day_of_week": 7,
    "day_of_year": 366,
    "hour": 24,
    "minute": 60,
}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October"]
_MONTHS += ["November", "December"]
DATE_PARTS = [*_CALENDAR, *(f"{part}_cyclical" for part, period in _CALENDAR.items() if period)]
DEFAULT_PARTS = ("year", "month", "day_of_week", "hour")


def parts_of(has_time: bool, names: tuple[str, ...]) -> list[str]:
    """Return the parts of dates that become features: hours and minutes only of dates with a time of day."""
    found = []
    for name in names:
        part = name.removesuffix("_cyclical")
        if part not in _CALENDAR:
            raise TaskError(f"features.date_parts: {name!r} is unknown; {nearest(name, DATE_PARTS)}")
        if has_time or part not in ("hour", "minute"):
            found += [name] if part == name else [f"{part}_sin", f"{part}_cos"]
    return found


def _part_of(dates: pd.Series, part: str) -> pd.Series:
    """Return a part of dates; if its name ends in _sin or _cos, that function of its place in the period."""
    if not part.endswith(("_sin", "_cos")):
        return cast(pd.Series, getattr(dates.dt, part))
    part, wave = part[:-4], {"_sin": np.sin, "_cos": np.cos}[part[-4:]]
    return cast(pd.Series, wave(2 * np.pi * getattr(dates.dt, part) / _CALENDAR[part]))


def date_parts(recipe: Mapping[str, FeatureRecipe]) -> dict[str, str]:
    """Return for each feature that is a part of a date which part it is."""
    return {name: how["part"] for name, how in recipe.items() if "part" in how}


def names_of_values(part: str | None) -> dict[float, str]:
    """Return the names of the values of a part of a date: weekdays from 0, months from 1; empty for other parts."""
    if part == "day_of_week":
        return dict(enumerate(_DAYS))
    return dict(enumerate(_MONTHS, 1)) if part == "month" else {}


def make_features(
    frame: Rows,
    recipe: Mapping[str, FeatureRecipe],
    target: str | None = None,
    infinite: dict[str, int] | None = None,
    history: Mapping[str, pd.Series] | None = None,
) -> dict[str, pd.Series]:
    """Return the features of n rows by name, each computed by its recipe.

    Parameters
    ----------
    frame
        n rows with the columns that `columns_used` names, of the kinds that they had when the recipe was made.
    recipe
        For each feature {"column": name}, that and {"part": part of a date} or {"unit": text behind numbers}, or
        {"expression": text}.
    target
        The column that no expression may use.
    infinite
        Where to count by feature the infinite values, which are missing ones; without it, they are logged.
    history
        The n rows' features of earlier rows, as `history_features` returns them.

    Raises
    ------
    TaskError
        An expression cannot be computed.
    """
    features = {}
    counted = collections.Counter() if infinite is None else infinite
    for name, how in recipe.items():
        if "history" in how:
            assert history is not None, "the features of earlier rows are computed first"
            features[name] = history[name]
            continue
        if "expression" in how:
            features[name] = evaluate(name, how["expression"], frame, target, counted)
            continue
        values = frame[how["column"]]
        if "unit" in how:
            features[name] = numbers_of(values, how["unit"])
        elif "part" in how:
            features[name] = _part_of(values, how["part"])
        elif is_boolean(values):
            features[name] = values.astype("boolean").astype("Float64")
        else:
            features[name] = values if pd.api.types.is_numeric_dtype(values) else text_in(values)
    if infinite is None:
        warn_of_infinite(counted)
    return features


def warn_of_infinite(counts: dict[str, int]) -> None:
    """Log which features have infinite values, and how many."""
    for name, count in counts.items():
        if count:
            logging.warning(
                "[feature_engineering] %s: %d infinite values (a division by zero?) are taken as missing", name, count
            )


def columns_used(recipe: Mapping[str, FeatureRecipe]) -> list[str]:
    """Return the columns of a row that its features are made of; of earlier rows, it needs the key and the time."""
    found: dict[str, None] = {}
    for how in recipe.values():
        if "history" in how:
            found |= dict.fromkeys([*how["by"], how["time"]])
        elif "expression" in how:
            found |= dict.fromkeys(names_in(how["expression"]))
        else:
            found[how["column"]] = None
    return list(found)


def columns_described(description: FeatureRecord, counts: ColumnsRead) -> dict[str, ColumnRecord]:
    """Return the kind, the notation of dates and the policy of each column that features are made of."""
    own = description["custom"]["columns"] if description["custom"] else {}
    return described_columns(list(dict.fromkeys([*columns_used(description["recipe"]), *own])), counts)


def described_columns(names: list[str], counts: ColumnsRead) -> dict[str, ColumnRecord]:
    """Return the kind, the notation of dates and the policy of columns, from the record of `clean_data`."""
    return {
        name: {
            "kind": counts["kinds"][name],
            "date_format": counts["date_formats"].get(name),
            "policy": counts.get("policies", {}).get(name, "drop"),
        }
        for name in names
    }


def features_again(
    frame: Rows, metadata: FeatureRecord, code: ModuleType | None = None, earlier: Earlier | None = None
) -> Features:
    """Return the features of n rows that come after the training, as the model takes them: float64 and str.

    Parameters
    ----------
    frame
        n rows, numbered from 0, with the columns that `metadata` names; a data frame, if there is custom code or a
        feature of earlier rows.
    metadata
        As `train_model` writes it.
    code
        The custom code that made the features, if any. Its numbers may be infinite.
    earlier
        The rows that features of earlier rows are computed from. Without them, `frame` has all rows.

    Raises
    ------
    TaskError
        A feature cannot be made.
    """
    recipe = metadata["recipe"]
    history = history_features(frame, recipe, earlier) if isinstance(frame, pd.DataFrame) else None
    made: dict[str, pd.Series] | pd.DataFrame = make_features(frame, recipe, metadata["target"], history=history)
    if code and metadata["custom"]:
        assert isinstance(frame, pd.DataFrame), "custom code gets a data frame"
        built_in = pd.DataFrame(made) if metadata["custom"]["mode"] == "after" else None
        made = custom_features(frame, built_in, metadata, code)
    for name, kind in metadata["features"].items():
        if code and name not in made:
            raise TaskError(f"{code.__file__}: features returned no column {name!r}, which the model was trained on.")
        if code and made[name].notna().any() and is_number(made[name]) != (kind == "number"):
            raise TaskError(f"{code.__file__}: the feature {name!r} was a {kind} in the training, and is none now.")
    columns = {
        name: numbers_in(made[name]) if kind == "number" else text_in(made[name]).array
        for name, kind in metadata["features"].items()
    }
    return Features(columns, index_of(made))


def of_a_date(name: str, description: Described) -> bool:
    """Return whether a feature is computed from a date, so that it changes with time by construction."""
    how = description["recipe"].get(name)
    if not how or "history" in how:
        return False
    dates = {column for column, about in description.get("columns", {}).items() if about["kind"] == "date"}
    return "part" in how or bool(dates & set(columns_used({name: how})))
