"""Make the features of each row, and say which rows train the model and which test it.

    python scripts/feature_engineering.py --input data/processed/cleaned_data.csv --output data/features/features.csv

Nothing here is learnt from the data as a whole: each row's features depend on that row alone, so that no test row
leaks into the training part. What the model needs to know of the columns goes to the output's name with the suffix
.json: with it the same features can be made of rows that come later.
"""

import ast
import collections
import logging
import operator
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

import task
from counting import row_hashes
from custom import load_code
from custom_features import as_given, check_rows_alone, columns_given, custom_features, infinite_values, is_number
from facts import Facts, facts_of, names_or_prose, names_the_row, numbers_of, unit_of
from stream import Columns, scan, tables, write_frames
from table import is_boolean, read_table, write_table
from task import TaskError, json_object, nearest, read_json, write_json

CALENDAR = {
    "year": None,
    "quarter": 4,
    "month": 12,
    "day": 31,
    "day_of_week": 7,
    "day_of_year": 366,
    "hour": 24,
    "minute": 60,
}
DATE_PARTS = [*CALENDAR, *(f"{part}_cyclical" for part, period in CALENDAR.items() if period)]
DEFAULT_PARTS = ("year", "month", "day_of_week", "hour")
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def feature_engineering(
    frame: pd.DataFrame,
    target: str,
    time_column: str | None = None,
    drop: list[str] | None = None,
    date_parts: tuple[str, ...] = DEFAULT_PARTS,
    derived: dict[str, str] | None = None,
    split_by: str = "auto",
    test_weeks: float | None = None,
    test_share: float = 0.2,
    split_key: list[str] | None = None,
    custom: ModuleType | None = None,
    custom_mode: str = "after",
    keep: list[str] | None = None,
    not_before: list[str] | None = None,
) -> tuple[pd.DataFrame, dict]:
    """Return the features with target and split, and a description of them.

    Parameters
    ----------
    frame
        n rows × m columns as `clean_data` leaves them: numbers, booleans, datetime64 and str.
    target
        The column to predict.
    time_column
        When each row happened; found by itself where exactly one column holds dates.
    drop
        Columns that are no features. They may still stand in `derived`.
    date_parts
        What becomes of each date: names of DATE_PARTS; "hour_cyclical" gives the two features sine and cosine.
    derived
        Named expressions over columns, as "(a - b) / `a long name`": arithmetic and comparisons.
    split_by
        "time": the last rows in time are the test part. "hash": a stable hash of each row (without the target)
        decides. "auto": time where there is a time column, else hash.
    test_weeks, test_share
        The size of the test part: the last so many weeks; otherwise this share of the rows, 0 to 1.
    split_key
        The columns to hash; rows of one key stay on one side. All but the target by default.
    custom, custom_mode
        The user's own code, as `custom.load_code` gives it: its function `features` gets the rows and the built-in
        features, and returns those of the model ("after"), or gets the rows alone ("instead").
    keep
        Columns that are features although they look like ids or prose.
    not_before
        Columns that are known only after the target is; they are noted for the diagnostics, which raise the alarm.

    Returns
    -------
    features : pandas.DataFrame
        n rows; the time column where there is one, the features, the target, and `split` ("train" or "test").
    description : dict
        target, time_column, features (name → "number" or "category"), recipe (name → what `make_features` makes it
        of), custom (None, or mode, and columns: name → kind of what the user's own code gets), left_out (name →
        reason), not_before, kinds (of every column of `features`), split.

    Raises
    ------
    TaskError
        A name is unknown or taken, an expression cannot be computed, a part of the split is too small, or the user's
        own code fails, returns no features, or makes them of more than a row by itself.
    """
    plan = make_plan(
        facts_of(frame, times=not test_weeks),
        target,
        time_column,
        drop,
        date_parts,
        derived,
        split_by,
        test_weeks,
        test_share,
        split_key,
        keep,
        not_before,
        built_in=custom is None or custom_mode == "after",
    )
    features = make_features(frame, plan["recipe"], target)
    if custom is not None:
        features, plan["custom"] = own_features(frame, features, plan, custom, custom_mode)
        plan["features"] = {name: "number" if is_number(features[name]) else "category" for name in features}
    table, split = with_split(frame, features, plan)
    return table, described(plan, split)


def make_plan(
    facts: dict[str, Facts],
    target: str,
    time_column: str | None = None,
    drop: list[str] | None = None,
    date_parts: tuple[str, ...] = DEFAULT_PARTS,
    derived: dict[str, str] | None = None,
    split_by: str = "auto",
    test_weeks: float | None = None,
    test_share: float = 0.2,
    split_key: list[str] | None = None,
    keep: list[str] | None = None,
    not_before: list[str] | None = None,
    built_in: bool = True,
) -> dict:
    """Return what is to be made of rows that are known by the facts of their columns.

    It is the description that `feature_engineering` returns, with a rule in place of what the split has come to. Unless
    `built_in`, there are no features. The other parameters are those of `feature_engineering`.
    """
    drop, keep, not_before = drop or [], keep or [], not_before or []
    named = [*drop, *keep, *not_before, *(split_key or [])]
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
    recipe, kinds, left_out = {}, {}, {}
    if built_in:
        recipe, kinds, left_out = choose_features(facts, target, time_column, drop, date_parts, derived or {}, keep)
    return {
        "target": target,
        "time_column": time_column,
        "features": kinds,
        "recipe": recipe,
        "custom": None,
        "left_out": left_out,
        "not_before": not_before,
        "split": split_rule(facts, target, time_column, split_by, test_weeks, test_share, split_key),
    }


def own_features(
    frame: pd.DataFrame, built_in: dict[str, pd.Series], plan: dict, code: ModuleType, mode: str
) -> tuple[pd.DataFrame, dict]:
    """Return the features that the user's own code makes of all rows, and what is noted of it."""
    own = {"mode": mode, "columns": columns_given(frame.drop(columns=plan["target"]), code)}
    about = {"target": plan["target"], "time_column": plan["time_column"], "custom": own}
    built_in = pd.DataFrame(built_in) if mode == "after" else None
    features = custom_features(frame, built_in, about, code)
    for name, infinite in infinite_values(features).items():
        if infinite.any():
            raise TaskError(
                f"{code.__file__}: the feature {name!r} is infinite in {int(infinite.sum()):,} rows, the first "
                f"row {infinite.idxmax() + 1} of the cleaned data. Divide by nothing that can be zero."
            )
    check_rows_alone(features, frame, built_in, about, code)
    return features, own


def with_split(frame: pd.DataFrame, features: dict[str, pd.Series], plan: dict) -> tuple[pd.DataFrame, dict]:
    """Return the table of some rows, with time, features, target and side, and what is to be told of its sides."""
    target, time_column = plan["target"], plan["time_column"]
    is_test = test_rows(frame, plan)
    head = {time_column: frame[time_column]} if time_column else {}
    side = np.where(is_test, "test", "train")
    table = pd.DataFrame({**head, **features, target: frame[target], "split": side}, index=frame.index)
    split = {"rows": {"train": int((~is_test).sum()), "test": int(is_test.sum())}}
    if plan["split"]["by"] == "time":
        times = frame[time_column]
        split |= {"first": times.min(), "last_train": times[~is_test].max(), "last_test": times.max()}
    return table, split


def kinds_of(plan: dict) -> dict[str, str]:
    """Return the kinds of the columns of the table that a plan makes."""
    head = {plan["time_column"]: "date"} if plan["time_column"] else {}
    kinds = {name: "text" if kind == "category" else kind for name, kind in plan["features"].items()}
    return {**head, **kinds, plan["target"]: "number", "split": "text"}


def described(plan: dict, split: dict) -> dict:
    """Return the description of the features, once it is known how many rows are on which side."""
    rule, rows = plan["split"], split["rows"]
    if min(rows.values()) < 2:
        raise TaskError(
            f"the split ({rule['rule']}) gives {rows['train']} rows to train and {rows['test']} to test; each part "
            "needs at least 2. Change split.test_weeks or split.test_share, or bring more rows."
        )
    told = {name: rule[name] for name in ("by", "rule", "key", "share") if name in rule}
    told |= {name: str(split[name]) for name in ("first", "last_train", "last_test") if name in split}
    return {
        **{key: value for key, value in plan.items() if key != "split"},
        "kinds": kinds_of(plan),
        "split": {**told, "rows": rows},
    }


def choose_features(
    facts: dict[str, Facts],
    target: str,
    time_column: str | None,
    drop: list[str],
    date_parts: tuple[str, ...],
    derived: dict[str, str],
    keep: list[str],
) -> tuple[dict, dict, dict]:
    """Return for each feature its recipe and its kind, and for each column left out the reason."""
    recipe, kinds, left_out = {}, {}, dict.fromkeys(drop, "dropped in the config")

    def named(column: str) -> str:
        # The table of features has a column `split` of its own.
        return "split_" if column == "split" else column

    def add(name: str, how: dict, kind: str) -> None:
        taken = name in facts and how != {"column": name}
        if name in recipe or name in (target, time_column) or taken:
            raise TaskError(f"features: the name {name!r} is taken; rename the column or the derived feature.")
        recipe[name], kinds[name] = how, kind

    for name, column in facts.items():
        if name == target or name in left_out:
            continue
        if column.is_date():
            for part in parts_of(column.has_time, date_parts):
                add(f"{name}_{part}", {"column": name, "part": part}, "number")
        elif not column.known() and not pd.api.types.is_numeric_dtype(column.dtype):
            left_out[name] = "empty"
        elif name not in keep and names_the_row(name, column):
            left_out[name] = "whole numbers that only name the row"
        elif column.is_number():
            recipe[named(name)], kinds[named(name)] = {"column": name}, "number"
        elif (unit := unit_of(column)) is not None:
            recipe[named(name)], kinds[named(name)] = {"column": name, "unit": unit}, "number"
        elif name not in keep and names_or_prose(column):
            left_out[name] = f"text with {column.counts.distinct():,} different values in {column.known():,} rows"
        else:
            recipe[named(name)], kinds[named(name)] = {"column": name}, "category"
    for name, expression in derived.items():
        add(name, {"expression": expression}, "number")
    if "split" in (*recipe, target, time_column):
        raise TaskError(
            "features: the name 'split' is taken by the workflow; rename that column in the source, or drop it."
        )
    if not recipe:
        why = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:5])
        raise TaskError(f"features: none is left ({why}). Keep one in features.keep, or bring more columns.")
    return recipe, kinds, left_out


def parts_of(has_time: bool, names: tuple[str, ...]) -> list[str]:
    """Return the parts of dates that become features: of dates without time of day no hour and no minute."""
    found = []
    for name in names:
        part = name.removesuffix("_cyclical")
        if part not in CALENDAR:
            raise TaskError(f"features.date_parts: {name!r} is unknown; {nearest(name, DATE_PARTS)}")
        if has_time or part not in ("hour", "minute"):
            found += [name] if part == name else [f"{part}_sin", f"{part}_cos"]
    return found


def make_features(
    frame: pd.DataFrame, recipe: dict[str, dict], target: str | None = None, infinite: dict[str, int] | None = None
) -> dict[str, pd.Series]:
    """Return the features of n rows by name, each made of what its recipe says.

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

    Raises
    ------
    TaskError
        An expression cannot be computed.
    """
    features = {}
    counted = collections.Counter() if infinite is None else infinite
    for name, how in recipe.items():
        if "expression" in how:
            features[name] = evaluate(name, how["expression"], frame, target, counted)
            continue
        values = frame[how["column"]]
        if "unit" in how:
            features[name] = numbers_of(values, how["unit"])
        elif "part" in how:
            features[name] = part_of(values, how["part"])
        elif is_boolean(values):
            features[name] = values.astype("boolean").astype("Float64")
        else:
            features[name] = values if pd.api.types.is_numeric_dtype(values) else values.astype("str")
    if infinite is None:
        warn_of_infinite(counted)
    return features


def warn_of_infinite(counts: dict[str, int]) -> None:
    """Say which features have infinite values, and how many."""
    for name, count in counts.items():
        if count:
            logging.warning(
                "[feature_engineering] %s: %d infinite values (a division by zero?) are taken as missing", name, count
            )


def features_again(frame: pd.DataFrame, metadata: dict, code: ModuleType | None = None) -> pd.DataFrame:
    """Return the features of n rows that come after the training, as the model takes them: float64 and str.

    Parameters
    ----------
    frame
        n rows, numbered from 0, with the columns that `metadata` names.
    metadata
        As `train_model` writes it.
    code
        What made the features then, where it was the user's own code. Its numbers may be infinite.

    Raises
    ------
    TaskError
        A feature cannot be made.
    """
    made = make_features(frame, metadata["recipe"], metadata["target"])
    if code:
        built_in = pd.DataFrame(made) if metadata["custom"]["mode"] == "after" else None
        made = custom_features(frame, built_in, metadata, code)
    for name, kind in metadata["features"].items():
        if code and name not in made:
            raise TaskError(f"{code.__file__}: features returned no column {name!r}, which the model was trained on.")
        if code and made[name].notna().any() and is_number(made[name]) != (kind == "number"):
            raise TaskError(f"{code.__file__}: the feature {name!r} was a {kind} in the training, and is none now.")
    return pd.DataFrame(
        {
            name: as_given(made[name], "number") if kind == "number" else made[name].astype("str")
            for name, kind in metadata["features"].items()
        }
    )


def part_of(dates: pd.Series, part: str) -> pd.Series:
    """Return a part of dates; of one that ends in _sin or _cos that wave, once round in its period."""
    if not part.endswith(("_sin", "_cos")):
        return getattr(dates.dt, part)
    part, wave = part[:-4], {"_sin": np.sin, "_cos": np.cos}[part[-4:]]
    return wave(2 * np.pi * getattr(dates.dt, part) / CALENDAR[part])


def columns_used(recipe: dict[str, dict]) -> list[str]:
    """Return the columns that the features are made of."""
    found = {}
    for how in recipe.values():
        if "expression" in how:
            tree, quoted = parse(how["expression"])
            names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
            found |= dict.fromkeys(quoted.get(name, name) for name in names)
        else:
            found[how["column"]] = None
    return list(found)


def parse(expression: str) -> tuple[ast.AST, dict[str, str]]:
    """Return the tree of an expression, and the columns that stand in backticks by the names they have in the tree."""
    columns = dict.fromkeys(re.findall("`([^`]*)`", str(expression)))
    quoted = {f"_quoted_{n}_": column for n, column in enumerate(columns)}
    text = str(expression)
    for name, column in quoted.items():
        text = text.replace(f"`{column}`", name)
    try:
        return ast.parse(text.strip(), mode="eval"), quoted
    except MemoryError as error:
        # So Python's parser says it.
        raise SyntaxError("too deep") from error


def evaluate(
    name: str, expression: str, frame: pd.DataFrame, target: str | None = None, infinite: dict[str, int] | None = None
) -> pd.Series:
    """Return the values of a derived feature as float64; a difference of dates in days.

    The expression is walked, never executed: only the operators of OPERATORS, column names, numbers and texts are
    understood, so it can call and import nothing.

    Raises
    ------
    TaskError
        On anything else, an unknown column, the target, or values that do not go together.
    """
    where = f"features.derived.{name}: {str(expression)[:200]!r}"

    def value(node: ast.AST) -> object:
        match node:
            case ast.Expression(body=body):
                return value(body)
            case ast.Constant(value=int() | float() | str() as constant):
                return constant
            case ast.Name(id=column):
                column = quoted.get(column, column)
                if column == target:
                    raise TaskError(f"{where} uses the target, which is not known when a row is scored.")
                if column not in frame:
                    raise TaskError(f"{where}: there is no column {column!r}: {nearest(column, frame.columns)}")
                return frame[column]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                convert = logical if isinstance(op, ast.BitAnd | ast.BitOr) else arithmetic
                return OPERATORS[type(op)](convert(value(left)), convert(value(right)))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
                convert = logical if isinstance(op, ast.Invert) else arithmetic
                return OPERATORS[type(op)](convert(value(operand)))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in OPERATORS:
                left, right = value(left), value(right)
                # Nobody knows whether a missing value is above anything.
                return logical(OPERATORS[type(op)](left, right)).mask(pd.isna(left) | pd.isna(right))
        raise TaskError(
            f"{where}: only column names, numbers, + - * / // % **, comparisons, & | ~ and brackets are allowed."
        )

    try:
        tree, quoted = parse(expression)
        values = value(tree)
        if not isinstance(values, pd.Series):
            raise TaskError(f"{where} uses no column.")
        if pd.api.types.is_timedelta64_dtype(values):
            values = values / pd.Timedelta(days=1)
        values = arithmetic(values).astype("float64")
    except (SyntaxError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise TaskError(f"{where} cannot be computed ({error}).") from error
    if infinite is not None:
        infinite[name] += int(np.isinf(values).sum())
    return values.where(~np.isinf(values))


def arithmetic(value: object) -> object:
    """Return numbers as floats, which never overflow in silence, booleans as 0 and 1, other columns as they are.

    Raises TypeError for a text, which % would make as long as it says, and for the root of a negative number.
    """
    if isinstance(value, str | complex):
        raise TypeError(f"{value!r} is no real number")
    if isinstance(value, int):
        return float(value)
    if isinstance(value, pd.Series) and (value.dtype == object or pd.api.types.is_bool_dtype(value)):
        value = value.astype("boolean").astype("Float64")
    if isinstance(value, pd.Series) and pd.api.types.is_numeric_dtype(value):
        return pd.Series(value.to_numpy("float64", na_value=np.nan), value.index)
    return value


def logical(value: pd.Series) -> pd.Series:
    """Return booleans of which some may be missing. Raises TypeError for anything else."""
    if not isinstance(value, pd.Series) or not (value.dtype == object or pd.api.types.is_bool_dtype(value)):
        raise TypeError("& | ~ and comparisons need columns")
    return value.astype("boolean")


def split_rule(
    facts: dict[str, Facts],
    target: str,
    time_column: str | None,
    split_by: str,
    test_weeks: float | None,
    test_share: float,
    split_key: list[str] | None,
) -> dict:
    """Return what decides which rows are the test part, and that in words; see `feature_engineering`."""
    if split_by == "auto":
        split_by = "hash" if time_column is None or split_key else "time"
    if split_by == "time" and time_column is None:
        raise TaskError("split.by: time needs a column of dates. Name it as time_column, or set split.by: hash.")
    if split_by == "hash":
        columns = split_key or sorted(name for name in facts if name != target)
        rule = f"{test_share:.0%} of the rows by a hash of {', '.join(columns)}"
        return {"by": "hash", "rule": rule, "key": columns, "share": test_share}
    times = facts[time_column]
    if times.missing:
        raise TaskError(
            f"{times.missing} rows have no {time_column}, by which the rows are split. Name it as "
            "time_column in the config, and cleaning drops them; or set split.by: hash."
        )
    if not times.rows:
        cut, what = pd.NaT, "rows"
    elif test_weeks:
        cut, what = times.latest[-1] - pd.Timedelta(weeks=test_weeks), f"{test_weeks:g} weeks"
    else:
        # Where the last time alone is more than that, it is the test part.
        cut, what = min(times.counts.quantiles([1 - test_share])[0], times.latest[0]), f"{test_share:.0%} of the rows"
    return {"by": "time", "rule": f"the last {what} by {time_column}", "after": cut}


def test_rows(frame: pd.DataFrame, plan: dict) -> np.ndarray:
    """Return for each row whether it is in the test part."""
    rule = plan["split"]
    if rule["by"] == "time":
        return (frame[plan["time_column"]] > rule["after"]).to_numpy()
    return (stable_hash(frame[rule["key"]]) < np.uint64(rule["share"] * 2**64)).to_numpy()


def last_train_time(times: pd.Series, test_weeks: float | None, test_share: float) -> pd.Timestamp:
    """Return the time after which rows are the test part; of `times` (datetime64), the latest is enough for weeks."""
    if test_weeks:
        return times.max() - pd.Timedelta(weeks=test_weeks)
    # Where the last time alone is more than that, it is the test part.
    return min(times.quantile(1 - test_share), times[times < times.max()].max())


def features_of_part(frame: pd.DataFrame, like: dict, code: ModuleType | None = None) -> pd.DataFrame:
    """Return the features of one part of the rows, with time, target, and, under a split by hash, the part's split.

    Parameters
    ----------
    frame
        n rows as `clean_data` leaves them.
    like
        The description of the features of the rows that decided which there are.
    code
        The user's own code, where `like` was made with it.

    Raises
    ------
    TaskError
        A feature cannot be made, or the code's own feature is infinite.
    """
    time, target, split = like["time_column"], like["target"], like["split"]
    features = features_again(frame, like, code)
    for name, infinite in infinite_values(features).items():
        if code and infinite.any():
            raise TaskError(
                f"{code.__file__}: the feature {name!r} is infinite in {int(infinite.sum()):,} rows, the first "
                f"row {infinite.idxmax() + 1} of this part. Divide by nothing that can be zero."
            )
    table = {**({time: frame[time]} if time else {}), **features, target: frame[target]}
    if split["by"] == "hash":
        key = split["key"]
        table["split"] = np.where(stable_hash(frame[key]) < np.uint64(split["share"] * 2**64), "test", "train")
    return pd.DataFrame(table, index=frame.index)


def make_part(cleaned: Path, output: Path, like: dict, code: ModuleType | None) -> None:
    """Write the features of one part of the rows, and beside them how many rows and which times it has."""
    table = read_table(cleaned, read_json(cleaned.with_suffix(".json"))["kinds"])
    features = features_of_part(table.frame, like, code)
    times = features[like["time_column"]] if like["time_column"] else pd.Series(dtype="datetime64[us]")
    write_table(features, output)
    found = {"rows": len(features)} | ({"first": str(times.min()), "last": str(times.max())} if len(times) else {})
    write_json(output.with_suffix(".json"), found)
    logging.info("[feature_engineering] completed. Output shape: %d rows × %d columns", *features.shape)
    logging.info("[feature_engineering] wrote features to %s", output)


def stable_hash(frame: pd.DataFrame) -> pd.Series:
    """Return a hash (uint64) of each row that depends on its values alone; see `counting.row_hashes`."""
    return pd.Series(row_hashes(frame), frame.index)


def feature_file(path: Path, output: Path, columns: Columns, target: str, options: dict) -> dict:
    """Write the features of a file's rows, some at a time, as `feature_engineering` makes them of all at once.

    Parameters
    ----------
    path, output
        The cleaned data, and where the features go.
    columns
        As `stream.scan` finds them.
    target, options
        As for `make_plan`.

    Returns
    -------
    dict
        The description; see `feature_engineering`.
    """
    facts = {name: Facts(output.parent, times=not options["test_weeks"]) for name in columns.kinds}
    for rows in tables(path, columns):
        for name, each in facts.items():
            each.look(rows.frame[name])
    plan = make_plan(facts, target, **options)
    sides, infinite = [], collections.Counter()

    def made() -> Iterator[pd.DataFrame]:
        sides.clear()
        infinite.clear()
        for rows in tables(path, columns):
            features = make_features(rows.frame, plan["recipe"], target, infinite)
            table, side = with_split(rows.frame, features, plan)
            sides.append(side)
            yield table
        # Before the file is moved to its place.
        described(plan, together(sides))

    write_frames(made, output, kinds_of(plan))
    warn_of_infinite(infinite)
    return described(plan, together(sides))


def together(sides: list[dict]) -> dict:
    """Return what is to be told of the sides of some rows and some more."""
    ends = {"first": pd.Series.min, "last_train": pd.Series.max, "last_test": pd.Series.max}
    # Some rows may all be on one side: no time is the last one of the other.
    found = {name: end(pd.Series([each[name] for each in sides])) for name, end in ends.items() if name in sides[0]}
    return found | {"rows": {part: sum(each["rows"][part] for each in sides) for part in ("train", "test")}}


def main(argv: list[str] | None = None) -> None:
    parser = task.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="the cleaned data; its .json beside it, where there")
    parser.add_argument("--output", required=True, type=Path, help="the CSV file to write")
    parser.add_argument("--target", help="the column to predict; the last one if not given")
    parser.add_argument("--time-column", help="when each row happened; found where one column holds dates")
    parser.add_argument("--drop", action="append", default=[], help="columns that are no features")
    parser.add_argument("--date-parts", action="append", choices=["", *DATE_PARTS], help="of each date")
    parser.add_argument("--derived", type=json_object, default={}, help='named expressions: {"speed": "km / hours"}')
    parser.add_argument("--split-by", choices=["auto", "time", "hash"], default="auto", help="what decides the part")
    parser.add_argument("--test-weeks", type=float, help="the last so many weeks are the test part")
    parser.add_argument("--test-share", type=float, default=0.2, help="else this share of the rows")
    parser.add_argument(
        "--split-key", action="append", default=[], help="the columns to hash; all but the target if not given"
    )
    parser.add_argument("--custom", type=Path, help="a Python file with a function `features` of yours")
    parser.add_argument(
        "--custom-mode", choices=["after", "instead"], default="after", help="of the built-in features, it stands"
    )
    parser.add_argument("--keep", action="append", default=[], help="features although they look like ids or prose")
    parser.add_argument("--not-before", action="append", default=[], help="known only after the target is")
    parser.add_argument(
        "--like", type=Path, metavar="JSON", help="of this script: the input is a part, and gets the same features"
    )
    args = parser.parse_args(argv)
    with task.logged("feature_engineering", args, args.input):
        custom, digest = load_code(args.custom) if args.custom else (None, None)
        if args.like:
            make_part(args.input, args.output, read_json(args.like), custom)
            return
        if custom and args.custom_mode == "instead" and (args.drop or args.derived):
            logging.warning(
                "[feature_engineering] features.drop and derived do nothing (features.custom_mode: instead)"
            )
        cleaning = args.input.with_suffix(".json")
        counts = read_json(cleaning) if cleaning.is_file() else {}
        columns = scan(args.input, counts.get("kinds"))
        target = args.target or list(columns.kinds)[-1]
        date_parts = DEFAULT_PARTS if args.date_parts is None else tuple(each for each in args.date_parts if each)
        names = ["time_column", "drop", "derived", "split_by", "test_weeks", "test_share", "split_key", "keep"]
        options = {"date_parts": date_parts} | {name: getattr(args, name) for name in [*names, "not_before"]}
        if custom:
            # The user's code gets all rows at once.
            frame = read_table(args.input, columns.kinds).frame
            options |= {"custom": custom, "custom_mode": args.custom_mode}
            table, description = feature_engineering(frame, target, **options)
            write_table(table, args.output)
        else:
            description = feature_file(args.input, args.output, columns, target, options)
        own = description["custom"]
        if own:
            own |= {"file": str(args.custom), "sha256": digest}
            given = "built-in features and the columns" if args.custom_mode == "after" else "columns"
            logging.info("[feature_engineering] %s gets the %s %s", args.custom, given, ", ".join(own["columns"]))
        for name, reason in description["left_out"].items():
            logging.info("[feature_engineering] left out %s: %s", name, reason)
        split = description["split"]
        logging.info("[feature_engineering] features created: %s", ", ".join(description["features"]))
        logging.info(
            "[feature_engineering] completed. Output shape: %d rows × %d columns; train %d, test %d (%s)",
            *(sum(split["rows"].values()), len(description["kinds"])),
            *(split["rows"]["train"], split["rows"]["test"], split["rule"]),
        )
        cleaned = {key: counts[key] for key in ("rows_in", "rows_out", "rows_dropped") if key in counts}
        used = {
            name: {
                "kind": counts.get("kinds", columns.kinds)[name],
                "date_format": counts.get("date_formats", columns.formats).get(name),
                "policy": counts.get("policies", {}).get(name, "drop"),
            }
            for name in dict.fromkeys([*columns_used(description["recipe"]), *(own["columns"] if own else [])])
        }
        write_json(args.output.with_suffix(".json"), {**description, "columns": used, "cleaning": cleaned})
        logging.info("[feature_engineering] wrote features to %s", args.output)


if __name__ == "__main__":
    main()
