"""Numbers as people and JSON files show them."""

import math

import numpy as np


def rounded(value: object) -> object:
    """Return a nested value with numbers of six digits; those that are not finite become None."""
    if isinstance(value, dict):
        return {key: each if key == "profile" else rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def decimals(value: float | None) -> str:
    """Return a metric with four decimals, or "undefined"."""
    return "undefined" if value is None else f"{value:.4f}"
