"""Make the features of each row, and say which rows train the model and which test it.

    python scripts/feature_engineering.py --input data/processed/cleaned_data.csv --output data/features/features.csv

Nothing here is learnt from the data as a whole: each row's features depend on that row alone, so that no test row
leaks into the training part. What the model needs to know of the columns goes to the output's name with the suffix
.json: with it the same features can be made of rows that come later.
"""

import ast
import logging
import operator
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow as pa

import task
from custom import load_code
from custom_features import as_given, check_rows_alone, columns_given, custom_features, infinite_values, is_number
from table import is_boolean, parse_number, read_table, write_table
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
DEFAULT_PARTS = ("year", "month", "day", "day_of_week", "hour")
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
# Text of which more than half of the values differ names its row (an id) or is prose: no category to learn from.
MOST_DISTINCT = 0.5
# Of so many different texts or fewer, categories are made in any case.
FEW_LEVELS = 20
# Whole numbers that all differ name the row where there are enough rows to tell, and their name says so …
FEWEST_IDS = 20
ID = re.compile(r"(?i:(?:^|[_ .-])(?:id|uuid|guid|rowid|identifier|unnamed)(?:[_ .:-]|$))|[a-z](?:Id|ID)$")
# … or where they count the rows, and their name says number, or they are many and it does not speak of time or ranks.
COUNTER = re.compile(r"(?:^|[_ .-])(?:no|nr|num|number|nummer|index|idx|key|row|rownames?|obs|instant)\W*$|id$", re.I)
MANY_IDS = 1000
MEASURE = re.compile(r"year|month|week|day|date|time|hour|minute|second|period|step|age|rank|place|score|^t$", re.I)
# A time of day, or how long something took.
CLOCK = r"^(?:(\d+) days?,? )?(\d{1,3}):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?(?:\s?([AaPp])\.?[Mm]\.?)?$"


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
    named = [*(drop or []), *(keep or []), *(not_before or []), *(split_key or [])]
    for column in (target, *([time_column] if time_column else []), *named):
        if column not in frame.columns:
            raise TaskError(f"features: there is no column {column!r}: {nearest(column, frame.columns)}")
    dates = [name for name in frame.columns if pd.api.types.is_datetime64_any_dtype(frame[name])]
    if time_column is None and len(dates) == 1:
        time_column = dates[0]
    if time_column is None and len(dates) > 1:
        logging.warning(
            "[feature_engineering] several columns hold dates (%s): name one as time_column to split by time",
            ", ".join(map(str, dates)),
        )
    if time_column is not None and time_column not in dates:
        raise TaskError(f"time_column: {time_column!r} holds no dates; {nearest(time_column, dates)}")
    recipe, kinds, left_out, own = {}, {}, {}, None
    if custom is None or custom_mode == "after":
        chosen = choose_features(frame, target, time_column, drop or [], date_parts, derived or {}, keep or [])
        recipe, kinds, left_out = chosen
    features = make_features(frame, recipe, target)
    if custom is not None:
        own = {"mode": custom_mode, "columns": columns_given(frame.drop(columns=target), custom)}
        about = {"target": target, "time_column": time_column, "custom": own}
        built_in = pd.DataFrame(features) if custom_mode == "after" else None
        features = custom_features(frame, built_in, about, custom)
        for name, infinite in infinite_values(features).items():
            if infinite.any():
                raise TaskError(
                    f"{custom.__file__}: the feature {name!r} is infinite in {int(infinite.sum()):,} rows, the first "
                    f"row {infinite.idxmax() + 1} of the cleaned data. Divide by nothing that can be zero."
                )
        check_rows_alone(features, frame, built_in, about, custom)
        kinds = {name: "number" if is_number(features[name]) else "category" for name in features}
    side, split = split_rows(frame, target, time_column, split_by, test_weeks, test_share, split_key)
    head = {time_column: frame[time_column]} if time_column else {}
    table = pd.DataFrame({**head, **features, target: frame[target], "split": side}, index=frame.index)
    kinds_of_columns = {name: {"category": "text"}.get(kind, kind) for name, kind in kinds.items()}
    return table, {
        "target": target,
        "time_column": time_column,
        "features": kinds,
        "recipe": recipe,
        "custom": own,
        "left_out": left_out,
        "not_before": not_before or [],
        "kinds": {**dict.fromkeys(head, "date"), **kinds_of_columns, target: "number", "split": "text"},
        "split": split,
    }


def choose_features(
    frame: pd.DataFrame,
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
        taken = name in frame and how != {"column": name}
        if name in recipe or name in (target, time_column) or taken:
            raise TaskError(f"features: the name {name!r} is taken; rename the column or the derived feature.")
        recipe[name], kinds[name] = how, kind

    for name in frame.columns:
        values = frame[name]
        if name == target or name in left_out:
            continue
        if pd.api.types.is_datetime64_any_dtype(values):
            for part in parts_of(values, date_parts):
                add(f"{name}_{part}", {"column": name, "part": part}, "number")
        elif values.isna().all() and not pd.api.types.is_numeric_dtype(values):
            left_out[name] = "empty"
        elif name not in keep and names_the_row(name, values):
            left_out[name] = "whole numbers that only name the row"
        elif pd.api.types.is_numeric_dtype(values) or is_boolean(values):
            recipe[named(name)], kinds[named(name)] = {"column": name}, "number"
        elif (unit := unit_of(values)) is not None:
            recipe[named(name)], kinds[named(name)] = {"column": name, "unit": unit}, "number"
        elif name not in keep and values.nunique() > max(MOST_DISTINCT * values.count(), FEW_LEVELS):
            left_out[name] = f"text with {values.nunique():,} different values in {values.count():,} rows"
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


def names_the_row(name: str, values: pd.Series) -> bool:
    """Tell whether a column holds whole numbers, all different, that are called an id or count the rows."""
    if not pd.api.types.is_integer_dtype(values) or len(values) < FEWEST_IDS:
        return False
    # The first rows tell of most columns, and fast.
    if not values.head(MANY_IDS).is_unique or not values.is_unique:
        return False
    # Some rows may be gone.
    counts = values.is_monotonic_increasing and int(values.iloc[-1]) - int(values.iloc[0]) < 2 * len(values)
    many = len(values) >= MANY_IDS and not MEASURE.search(name)
    return bool(ID.search(name) or (counts and (many or COUNTER.search(name))))


def unit_of(values: pd.Series) -> str | None:
    """Return the unit behind the numbers that most of many different texts are; None for others.

    "" is no unit, and ":" that of a time of day or a duration.
    """
    if values.nunique() <= FEW_LEVELS:
        return None
    text = values.dropna().drop_duplicates().astype("str").str.strip()
    units = text.str.extract(r"\d\s*([^\d\s.,][^\d]{0,11})$")[0].value_counts()
    shares = {each: numbers_of(text, each).notna().mean() for each in ("", ":", *map(str, units.index[:1]))}
    best = max(shares, key=shares.get)
    return best if shares[best] >= 0.5 else None


def numbers_of(values: pd.Series, unit: str) -> pd.Series:
    """Return the numbers that texts are, with or without the unit behind them, as float64; NaN for other texts.

    With the unit ":" these are the hours of a time of day or a duration.
    """
    text = values.astype("str").str.strip()
    if unit == ":":
        days, hours, minutes, seconds, half = (part for _, part in text.str.extract(CLOCK).items())
        hours = pd.to_numeric(hours).where(half.isna(), pd.to_numeric(hours) % 12 + 12 * half.isin(["p", "P"]))
        days, seconds = (pd.to_numeric(part).fillna(0) for part in (days, seconds))
        return (24 * days + hours + pd.to_numeric(minutes) / 60 + seconds / 3600).astype("float64")
    text = text.str.removesuffix(unit)
    numbers = parse_number(pa.chunked_array([pa.array(text, pa.string(), from_pandas=True)]))
    return numbers.to_pandas().astype("float64").set_axis(values.index)


def parts_of(dates: pd.Series, names: tuple[str, ...]) -> list[str]:
    """Return the parts of dates that become features: of dates without time of day no hour and no minute."""
    found = []
    has_time = bool((dates.dropna().dt.normalize() != dates.dropna()).any())
    for name in names:
        part = name.removesuffix("_cyclical")
        if part not in CALENDAR:
            raise TaskError(f"features.date_parts: {name!r} is unknown; {nearest(name, DATE_PARTS)}")
        if has_time or part not in ("hour", "minute"):
            found += [name] if part == name else [f"{part}_sin", f"{part}_cos"]
    return found


def make_features(frame: pd.DataFrame, recipe: dict[str, dict], target: str | None = None) -> dict[str, pd.Series]:
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

    Raises
    ------
    TaskError
        An expression cannot be computed.
    """
    features = {}
    for name, how in recipe.items():
        if "expression" in how:
            features[name] = evaluate(name, how["expression"], frame, target)
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
    return features


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
    return ast.parse(text.strip(), mode="eval"), quoted


def evaluate(name: str, expression: str, frame: pd.DataFrame, target: str | None = None) -> pd.Series:
    """Return the values of a derived feature as float64; a difference of dates in days.

    The expression is walked, never executed: only the operators of OPERATORS, column names, numbers and texts are
    understood, so it can call and import nothing.

    Raises
    ------
    TaskError
        On anything else, an unknown column, the target, or values that do not go together.
    """
    where = f"features.derived.{name}: {expression!r}"

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
    infinite = int(np.isinf(values).sum())
    if infinite:
        logging.warning(
            "[feature_engineering] %s: %d infinite values (a division by zero?) are taken as missing", name, infinite
        )
    return values.where(~np.isinf(values))


def arithmetic(value: object) -> object:
    """Return numbers as floats, which never overflow in silence, booleans as 0 and 1, anything else as it is."""
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


def split_rows(
    frame: pd.DataFrame,
    target: str,
    time_column: str | None,
    split_by: str,
    test_weeks: float | None,
    test_share: float,
    split_key: list[str] | None,
) -> tuple[np.ndarray, dict]:
    """Return "train" or "test" for each row, and how that was decided; see `feature_engineering`."""
    if split_by == "auto":
        split_by = "hash" if time_column is None or split_key else "time"
    if split_by == "time" and time_column is None:
        raise TaskError("split.by: time needs a column of dates. Name it as time_column, or set split.by: hash.")
    if split_by == "time":
        times = frame[time_column]
        if times.isna().any():
            raise TaskError(
                f"{int(times.isna().sum())} rows have no {time_column}, by which the rows are split. Name it as "
                "time_column in the config, and cleaning drops them; or set split.by: hash."
            )
        if test_weeks:
            cut, rule = times.max() - pd.Timedelta(weeks=test_weeks), f"the last {test_weeks:g} weeks by {time_column}"
        else:
            cut, rule = times.quantile(1 - test_share), f"the last {test_share:.0%} of the rows by {time_column}"
        # Where the last time alone is more than that, it is the test part.
        is_test = times > cut if test_weeks else times > min(cut, times[times < times.max()].max())
        split = {"by": "time", "rule": rule, "first": str(times.min())}
        split |= {"last_train": str(times[~is_test].max()), "last_test": str(times.max())}
    else:
        columns = split_key or sorted(name for name in frame.columns if name != target)
        is_test = stable_hash(frame[columns]) < np.uint64(test_share * 2**64)
        split = {"by": "hash", "rule": f"{test_share:.0%} of the rows by a hash of {', '.join(columns)}"}
    rows = {"train": int((~is_test).sum()), "test": int(is_test.sum())}
    if min(rows.values()) < 2:
        raise TaskError(
            f"the split ({split['rule']}) gives {rows['train']} rows to train and {rows['test']} to test; each part "
            "needs at least 2. Change split.test_weeks or split.test_share, or bring more rows."
        )
    return np.where(is_test, "test", "train"), {**split, "rows": rows}


def stable_hash(frame: pd.DataFrame) -> pd.Series:
    """Return a hash (uint64) of each row that depends on its values alone.

    What its neighbours are must not matter: a missing value among whole numbers makes the column one of floats, a time
    of day or a zone changes how dates are written, and a column that was empty gets a kind with its first value.
    """
    hashes = {}
    for name, values in frame.items():
        if pd.api.types.is_datetime64_any_dtype(values):
            naive = values.dt.tz_convert("UTC").dt.tz_localize(None) if values.dt.tz else values
            values = naive.fillna(pd.Timestamp(0)).astype("datetime64[us]").astype("int64")
        elif pd.api.types.is_numeric_dtype(values) or values.dtype == object:
            values = values.astype("float64")
        else:
            values = values.astype("str").astype(object)
        hashes[name] = pd.util.hash_pandas_object(values, index=False).where(frame[name].notna(), 0)
    return pd.util.hash_pandas_object(pd.DataFrame(hashes), index=False)


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
    args = parser.parse_args(argv)
    with task.logged("feature_engineering", args, args.input):
        custom, digest = load_code(args.custom) if args.custom else (None, None)
        if custom and args.custom_mode == "instead" and (args.drop or args.derived):
            logging.warning(
                "[feature_engineering] features.drop and derived do nothing (features.custom_mode: instead)"
            )
        cleaning = args.input.with_suffix(".json")
        counts = read_json(cleaning) if cleaning.is_file() else {}
        table = read_table(args.input, counts.get("kinds"))
        features, description = feature_engineering(
            table.frame,
            args.target or str(table.frame.columns[-1]),
            args.time_column,
            args.drop,
            DEFAULT_PARTS if args.date_parts is None else tuple(each for each in args.date_parts if each),
            args.derived,
            args.split_by,
            args.test_weeks,
            args.test_share,
            args.split_key,
            custom,
            args.custom_mode,
            args.keep,
            args.not_before,
        )
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
            *(*features.shape, split["rows"]["train"], split["rows"]["test"], split["rule"]),
        )
        write_table(features, args.output)
        cleaned = {key: counts[key] for key in ("rows_in", "rows_out", "rows_dropped") if key in counts}
        columns = {
            name: {
                "kind": counts.get("kinds", table.kinds)[name],
                "date_format": counts.get("date_formats", table.formats).get(name),
                "policy": counts.get("policies", {}).get(name, "drop"),
            }
            for name in dict.fromkeys([*columns_used(description["recipe"]), *(own["columns"] if own else [])])
        }
        write_json(args.output.with_suffix(".json"), {**description, "columns": columns, "cleaning": cleaned})
        logging.info("[feature_engineering] wrote features to %s", args.output)


if __name__ == "__main__":
    main()
