"""Derived features: expressions over columns, interpreted and never executed, and the columns in them."""

import ast
import functools
import operator
import re
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pandas as pd

from signoff.base.errors import TaskError, nearest

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
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


def evaluate(
    name: str,
    expression: str,
    frame: pd.DataFrame,
    target: str | None = None,
    infinite: dict[str, int] | None = None,
    key: str = "features.derived",
) -> pd.Series:
    """Return the values of a derived feature as float64; a difference of dates in days.

    The expression is walked, never executed: only the operators of OPERATORS, column names, numbers and texts are
    understood, so it can call and import nothing. `key` is the section of the config that errors name.

    Raises
    ------
    TaskError
        For anything else, an unknown column, the target, or values that cannot be combined.
    """
    where = f"{key}.{name}: {str(expression)[:200]!r}"

    def column(name: str) -> pd.Series:
        name = quoted.get(name, name)
        if name == target:
            raise TaskError(f"{where} uses the target, which is not known when a row is scored.")
        if name not in frame:
            raise TaskError(f"{where}: there is no column {name!r}: {nearest(name, frame.columns)}")
        return frame[name]

    try:
        tree, quoted = _parse(expression)
        values = _value(tree, column, where)
        if not isinstance(values, pd.Series):
            raise TaskError(f"{where} uses no column.")
        if pd.api.types.is_timedelta64_dtype(values):
            values = cast(Any, values) / pd.Timedelta(days=1)
        numbers: pd.Series = _arithmetic(values).astype("float64")
    except (SyntaxError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise TaskError(f"{where} cannot be computed ({error}).") from error
    is_infinite = np.isinf(numbers.to_numpy())
    if infinite is not None:
        infinite[name] += int(is_infinite.sum())
    return numbers.where(~is_infinite) if is_infinite.any() else numbers


def _value(node: ast.AST, column: Callable[[str], pd.Series], where: str) -> Any:
    """Return the value of a part of an expression; `column` returns a column by its name.

    Not nested in `evaluate`: a recursive closure would keep all rows until the next garbage collection.
    """
    match node:
        case ast.Expression(body=body):
            return _value(body, column, where)
        case ast.Constant(value=int() | float() | str() as constant):
            return constant
        case ast.Name(id=name):
            return column(name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            convert: Callable[[Any], Any] = _logical if isinstance(op, ast.BitAnd | ast.BitOr) else _arithmetic
            sides = (convert(_value(each, column, where)) for each in (left, right))
            return _OPERATORS[type(op)](*sides)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            convert = _logical if isinstance(op, ast.Invert) else _arithmetic
            return _OPERATORS[type(op)](convert(_value(operand, column, where)))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
            one, two = _value(left, column, where), _value(right, column, where)
            # A comparison with a missing value is missing.
            return _logical(_OPERATORS[type(op)](one, two)).mask(pd.isna(one) | pd.isna(two))
    raise TaskError(
        f"{where}: only column names, numbers, + - * / // % **, comparisons, & | ~ and brackets are allowed."
    )


@functools.lru_cache(maxsize=1_000)
def _parse(expression: str) -> tuple[ast.AST, dict[str, str]]:
    """Return the tree of an expression, and the columns in backticks by their names in the tree."""
    columns = dict.fromkeys(re.findall("`([^`]*)`", str(expression)))
    quoted = {f"_quoted_{n}_": column for n, column in enumerate(columns)}
    text = str(expression)
    for name, column in quoted.items():
        text = text.replace(f"`{column}`", name)
    try:
        return ast.parse(text.strip(), mode="eval"), quoted
    except MemoryError as error:
        # Python's parser reports deep nesting this way.
        raise SyntaxError("too deep") from error


def names_in(expression: str) -> list[str]:
    """Return the names of the columns in an expression."""
    tree, quoted = _parse(expression)
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return [quoted.get(name, name) for name in names]


def _arithmetic(value: Any) -> Any:
    """Return numbers as floats, which do not wrap around, booleans as 0 and 1, and other columns unchanged.

    Raises TypeError for text, because % could make it arbitrarily long, and for the root of a negative number.
    """
    if isinstance(value, str | complex):
        raise TypeError(f"{value!r} is not a real number")
    if isinstance(value, int):
        return float(value)
    if isinstance(value, pd.Series) and value.dtype == np.float64:
        return value
    if isinstance(value, pd.Series) and (value.dtype == object or pd.api.types.is_bool_dtype(value)):
        value = value.astype("boolean").astype("Float64")
    if isinstance(value, pd.Series) and pd.api.types.is_numeric_dtype(value):
        return pd.Series(value.to_numpy("float64", na_value=np.nan), value.index)
    return value


def _logical(value: object) -> pd.Series:
    """Return booleans, some of which may be missing. Raises TypeError for anything else."""
    if not isinstance(value, pd.Series) or not (value.dtype == object or pd.api.types.is_bool_dtype(value)):
        raise TypeError("& | ~ and comparisons need columns")
    return value.astype("boolean")
