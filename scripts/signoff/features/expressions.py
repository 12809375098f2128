"""Derived features: expressions over columns, walked and never executed, and the columns that they name."""

import ast
import operator
import re
from collections.abc import Callable

import numpy as np
import pandas as pd

from signoff.base.errors import TaskError, nearest

_OPERATORS = {
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
            values = values / pd.Timedelta(days=1)
        values = _arithmetic(values).astype("float64")
    except (SyntaxError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise TaskError(f"{where} cannot be computed ({error}).") from error
    if infinite is not None:
        infinite[name] += int(np.isinf(values).sum())
    return values.where(~np.isinf(values))


def _value(node: ast.AST, column: Callable[[str], pd.Series], where: str) -> object:
    """Return what a part of an expression is; `column` gives the columns that it names.

    A function by itself: within another one it would hold itself, and with it all rows, until garbage is looked for.
    """
    match node:
        case ast.Expression(body=body):
            return _value(body, column, where)
        case ast.Constant(value=int() | float() | str() as constant):
            return constant
        case ast.Name(id=name):
            return column(name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            convert = _logical if isinstance(op, ast.BitAnd | ast.BitOr) else _arithmetic
            sides = (convert(_value(each, column, where)) for each in (left, right))
            return _OPERATORS[type(op)](*sides)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            convert = _logical if isinstance(op, ast.Invert) else _arithmetic
            return _OPERATORS[type(op)](convert(_value(operand, column, where)))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
            left, right = _value(left, column, where), _value(right, column, where)
            # Nobody knows whether a missing value is above anything.
            return _logical(_OPERATORS[type(op)](left, right)).mask(pd.isna(left) | pd.isna(right))
    raise TaskError(
        f"{where}: only column names, numbers, + - * / // % **, comparisons, & | ~ and brackets are allowed."
    )


def _parse(expression: str) -> tuple[ast.AST, dict[str, str]]:
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


def names_in(expression: str) -> list[str]:
    """Return the columns that an expression names."""
    tree, quoted = _parse(expression)
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return [quoted.get(name, name) for name in names]


def _arithmetic(value: object) -> object:
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


def _logical(value: pd.Series) -> pd.Series:
    """Return booleans of which some may be missing. Raises TypeError for anything else."""
    if not isinstance(value, pd.Series) or not (value.dtype == object or pd.api.types.is_bool_dtype(value)):
        raise TypeError("& | ~ and comparisons need columns")
    return value.astype("boolean")
