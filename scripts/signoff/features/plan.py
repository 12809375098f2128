"""Decides from the facts of all rows which features each column gives, and describes them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from signoff.base.errors import TaskError, nearest
from signoff.features.evidence import ColumnFacts, names_or_prose, names_the_row, unit_of
from signoff.features.history_plan import history_recipes
from signoff.features.holdout import grouped, split_rule
from signoff.features.recipe import DEFAULT_PARTS, parts_of
from signoff.features.records import FeatureRecipe, HistoryEntry, Plan

# Recipes and kinds by feature, and for each column left out the reason.
_Chosen = tuple[dict[str, FeatureRecipe], dict[str, str], dict[str, str]]


@dataclass(frozen=True)
class FeatureOptions:
    """What becomes of the columns, and how the rows are split."""

    # When each row happened; found automatically if exactly one column holds dates.
    time_column: str | None = None
    # Columns that are not features. `derived` may still use them.
    drop: Sequence[str] = ()
    # Columns that are features although they look like ids or prose.
    keep: Sequence[str] = ()
    # Columns of text whose words become features, when a model is trained.
    text: Sequence[str] = ()
    # Columns that are known only after the target is: the diagnostics raise an alarm for them.
    not_before: Sequence[str] = ()
    # What becomes of each date: names of DATE_PARTS; "hour_cyclical" gives the two features sine and cosine.
    date_parts: tuple[str, ...] = DEFAULT_PARTS
    # Named expressions over columns, such as "(a - b) / `a long name`".
    derived: Mapping[str, str] = field(default_factory=dict)
    # Features of earlier rows: entries with by, values, windows, lags, count, since_last and available_after.
    history: Sequence[HistoryEntry] = ()
    # "time": the last rows in time are the test part. "hash": a stable hash of each row (without the target) decides.
    # "auto": time if there is a time column, else hash.
    split_by: str = "auto"
    # The size of the test part: the last weeks, or else this share of the rows, 0 to 1.
    test_weeks: float | None = None
    test_share: float = 0.2
    # The columns to hash; rows of one key are on one side. All but the target by default.
    split_key: Sequence[str] = ()
    # The column by which rows belong together: those of a group are on one side, and in one fold.
    split_groups: str | None = None
    # The column with the weight of each row in training, which is not a feature.
    weight: str | None = None


def make_plan(facts: dict[str, ColumnFacts], target: str, options: FeatureOptions, built_in: bool = True) -> Plan:
    """Return how the features are made and the rows are split, given the facts of all columns after all rows.

    `built_in` says whether there are features other than those of custom code. The result is the description that
    `feature_engineering` returns, with a rule instead of the result of the split.

    Raises
    ------
    TaskError
        A name is unknown or taken, no feature is left, or the rows cannot be split this way.
    """
    drop, keep, not_before = list(options.drop or ()), list(options.keep or ()), list(options.not_before or ())
    split_key, time_column = list(options.split_key or ()), options.time_column
    groups, weight = options.split_groups, options.weight
    named = [*drop, *keep, *not_before, *split_key, *(each for each in (groups, weight) if each)]
    for column in (target, *([time_column] if time_column else []), *named):
        if column not in facts:
            raise TaskError(f"features: there is no column {column!r}: {nearest(column, facts)}")
    dates = [name for name in facts if facts[name].is_date()]
    if time_column is None and len(dates) == 1:
        time_column = dates[0]
    if time_column is None and len(dates) > 1:
        logging.warning(
            "[feature_engineering] several columns hold dates (%s): name one as time_column to split by time",
            ", ".join(map(str, dates)),
        )
    if time_column is not None and time_column not in dates:
        raise TaskError(f"time_column: {time_column!r} holds no dates; {nearest(time_column, dates)}")
    for name in options.text or ():
        _refuse_text(name, facts, target, options)
    if weight:
        _refuse_weight(weight, facts[weight], (target, groups), keep)
    chosen: _Chosen = {}, {}, {}
    if built_in:
        chosen = _choose_features(facts, target, time_column, options)
    recipe, kinds, left_out = chosen
    split_options = (options.split_by, options.test_weeks, options.test_share, split_key or None)
    split = grouped(groups, facts[groups], options.test_share) if groups else None
    plan: Plan = {
        "target": target,
        "time_column": time_column,
        "features": kinds,
        "recipe": recipe,
        "custom": None,
        "left_out": left_out,
        "not_before": not_before,
        "split": split or split_rule(facts, target, time_column, *split_options),
    }
    if weight:
        plan["weight"] = weight
    return plan


def _refuse_text(name: str, facts: dict[str, ColumnFacts], target: str, options: FeatureOptions) -> None:
    """Raise TaskError if a column named in features.text is not one of text, or is something else already."""
    if name not in facts:
        raise TaskError(f"features.text: there is no column {name!r}: {nearest(name, facts)}")
    if name == target:
        raise TaskError(f"features.text names {name}, which is the target. Remove it there.")
    for key, names in (("drop", options.drop), ("keep", options.keep)):
        if name in (names or ()):
            raise TaskError(f"features.text and features.{key} both name {name}. Remove it from one of them.")
    column = facts[name]
    if column.is_date() or (column.known() and column.is_number()):
        of_numbers = pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)
        kind = "dates" if column.is_date() else "numbers" if of_numbers else "booleans"
        raise TaskError(f"features.text: column {name} holds {kind}, not text. Remove it there.")


def _refuse_weight(weight: str, facts: ColumnFacts, taken: tuple[str | None, ...], keep: list[str]) -> None:
    """Raise TaskError if a column cannot be the weight of rows."""
    if weight in taken:
        raise TaskError(
            f"model.weight is {weight!r}, which is already the target or split.groups. Name another column."
        )
    if facts.is_date() or not facts.is_number():
        raise TaskError(f"model.weight: column {weight} is not numeric. Name a column of numbers.")
    if weight in keep:
        raise TaskError(
            f"features.keep names {weight}, which is model.weight and so is not a feature. Remove it there, and add a "
            f"feature such as `features.derived: {{weight_: {weight} * 1}}` if the model is to use it."
        )


def _choose_features(
    facts: dict[str, ColumnFacts], target: str, time_column: str | None, options: FeatureOptions
) -> _Chosen:
    """Return for each feature its recipe and its kind, and for each column left out the reason."""
    recipe: dict[str, FeatureRecipe] = {}
    kinds: dict[str, str] = {}
    left_out = dict.fromkeys(options.drop or (), "dropped in the config")
    if options.weight:
        left_out[options.weight] = "the weight of each row"
    keep = options.keep or ()

    def named(column: str) -> str:
        # The table of features has a column `split` of its own.
        return "split_" if column == "split" else column

    def free(part: str) -> str:
        # A column may have the name that the part of a date gets.
        while part in facts or part in recipe:
            part += "_"
        return part

    def add(name: str, how: FeatureRecipe, kind: str) -> None:
        taken = name in facts and how != {"column": name}
        if name in recipe or name in (target, time_column) or taken:
            raise TaskError(f"features: the name {name!r} is taken; rename the column or the derived feature.")
        recipe[name], kinds[name] = how, kind

    for name, column in facts.items():
        if name == target or name in left_out:
            continue
        if column.is_date():
            for part in parts_of(column.has_time, options.date_parts):
                add(free(f"{name}_{part}"), {"column": name, "part": part}, "number")
        elif not column.known() and not pd.api.types.is_numeric_dtype(column.dtype):
            left_out[name] = "empty"
        elif name not in keep and names_the_row(name, column):
            left_out[name] = "whole numbers that only name the row"
        elif column.is_number():
            recipe[named(name)], kinds[named(name)] = {"column": name}, "number"
        elif name in (options.text or ()):
            recipe[named(name)], kinds[named(name)] = {"column": name}, "text"
        elif (unit := unit_of(column)) is not None:
            recipe[named(name)], kinds[named(name)] = {"column": name, "unit": unit}, "number"
        elif name not in keep and names_or_prose(column):
            left_out[name] = f"text with {column.counts.distinct():,} different values in {column.known():,} rows"
        else:
            recipe[named(name)], kinds[named(name)] = {"column": name}, "category"
    for name, expression in (options.derived or {}).items():
        add(name, {"expression": expression}, "number")
    for name, how in history_recipes(options.history or (), facts, target, time_column).items():
        add(name, how, "number")
    if "split" in (*recipe, target, time_column):
        raise TaskError(
            "features: the name 'split' is taken by the workflow; rename that column in the source, or drop it."
        )
    if not recipe:
        why = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:5])
        raise TaskError(f"features: none is left ({why}). Keep one in features.keep, or bring more columns.")
    return recipe, kinds, left_out
