"""Numbers as people and JSON files show them."""

import math
from numbers import Integral, Real
from typing import Any

# The quantiles of a profile are values of the data, which later values are compared with.
_EXACT = ("profile", "predictions_profile")


def rounded(value: Any) -> Any:
    """Return a nested value with numbers of six digits; those that are not finite become None."""
    if isinstance(value, dict):
        return {key: each if key in _EXACT else rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    # NumPy's numbers, too, without importing it.
    if isinstance(value, Real) and not isinstance(value, Integral):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: "1 row", "2,000 rows", "2 entries" (if that plural is given)."""
    return f"{count:,} {agreed(count, noun, plural or f'{noun}s')}"


def agreed(count: int, one: str, several: str) -> str:
    """Return the form of a word that agrees with a number, such as "is" or "are"."""
    return one if count == 1 else several


def listed(words: list[str], last: str = "and") -> str:
    """Return "a", "a and b", or "a, b and c"."""
    return f" {last} ".join([*([", ".join(words[:-1])] if words[1:] else []), *words[-1:]])


def decimals(value: float | None) -> str:
    """Return a metric with four decimals, or "undefined"."""
    return "undefined" if value is None else f"{value:.4f}"
