"""Derived features: expressions over columns, interpreted and never executed, and the columns in them."""

import ast
import functools
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from signoff.base.errors import TaskError, nearest
from signoff.tables.arrays import numbers_in

# The columns of n rows by name: to make a data frame of a few rows takes longer than to compute with them.
Rows = pd.DataFrame | Mapping[str, pd.Series]
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
    frame: Rows,
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

    try:
        tree, quoted = _parse(expression)
        # As pandas does: a division by zero is an infinity.
        with np.errstate(all="ignore"):
            values = _value(tree, _Columns(frame, target, quoted, where))
        if not isinstance(values, pd.Series | np.ndarray):
            raise TaskError(f"{where} uses no column.")
        if isinstance(values, pd.Series) and pd.api.types.is_timedelta64_dtype(values):
            values = cast(Any, values) / pd.Timedelta(days=1)
        numbers = np.asarray(_arithmetic(values).astype("float64"))
    except (SyntaxError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise TaskError(f"{where} cannot be computed ({error}).") from error
    is_infinite = np.isinf(numbers)
    if infinite is not None:
        infinite[name] += int(is_infinite.sum())
    if is_infinite.any():
        numbers = np.where(is_infinite, np.nan, numbers)
    return pd.Series(numbers, index_of(frame), copy=False)


def index_of(rows: Rows) -> pd.Index:
    """Return the index of the columns of n rows."""
    return rows.index if isinstance(rows, pd.DataFrame) else next(iter(rows.values())).index


@dataclass(frozen=True)
class _Columns:
    """The rows of an expression: its columns by the names in its tree, and the words with which errors begin."""

    frame: Rows
    target: str | None
    quoted: Mapping[str, str]
    where: str

    def column(self, name: str) -> pd.Series:
        """Return a column. Raises TaskError if there is none of that name, or it is the target."""
        name = self.quoted.get(name, name)
        if name == self.target:
            raise TaskError(f"{self.where} uses the target, which is not known when a row is scored.")
        if name not in self.frame:
            raise TaskError(
                f"{self.where}: there is no column {name!r}: {nearest(name, [str(each) for each in self.frame])}"
            )
        return self.frame[name]

    def compared(self, value: Any) -> Any:
        """Return one side of a comparison, which pandas compares: other columns than numbers, too."""
        return pd.Series(value, index_of(self.frame)) if isinstance(value, np.ndarray) else value


def _value(node: ast.AST, rows: _Columns) -> Any:
    """Return the value of a part of an expression.

    Numbers that were computed are arrays, because pandas takes much longer for an operation on few rows.

    Not nested in `evaluate`: a recursive closure would keep all rows until the next garbage collection.
    """
    match node:
        case ast.Expression(body=body):
            return _value(body, rows)
        case ast.Constant(value=int() | float() | str() as constant):
            return constant
        case ast.Name(id=name):
            return rows.column(name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            convert: Callable[[Any], Any] = _logical if isinstance(op, ast.BitAnd | ast.BitOr) else _arithmetic
            sides = (convert(_value(each, rows)) for each in (left, right))
            return _OPERATORS[type(op)](*sides)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            convert = _logical if isinstance(op, ast.Invert) else _arithmetic
            return _OPERATORS[type(op)](convert(_value(operand, rows)))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
            one, two = (rows.compared(_value(each, rows)) for each in (left, right))
            # A comparison with a missing value is missing.
            return _logical(_OPERATORS[type(op)](one, two)).mask(pd.isna(one) | pd.isna(two))
    raise TaskError(
        f"{rows.where}: only column names, numbers, + - * / // % **, comparisons, & | ~ and brackets are allowed."
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
    """Return numbers as arrays of floats, which do not wrap around, booleans as 0 and 1, and other columns unchanged.

    Raises TypeError for text, because % could make it arbitrarily long, and for the root of a negative number.
    """
    if isinstance(value, str | complex):
        raise TypeError(f"{value!r} is not a real number")
    if isinstance(value, int):
        return float(value)
    if isinstance(value, pd.Series) and (value.dtype == object or pd.api.types.is_bool_dtype(value)):
        value = value.astype("boolean").astype("Float64")
    if isinstance(value, pd.Series) and pd.api.types.is_numeric_dtype(value):
        return numbers_in(value)
    return value


def _logical(value: object) -> pd.Series:
    """Return booleans, some of which may be missing. Raises TypeError for anything else."""
    if not isinstance(value, pd.Series) or not (value.dtype == object or pd.api.types.is_bool_dtype(value)):
        raise TypeError("& | ~ and comparisons need columns")
    return value.astype("boolean")
