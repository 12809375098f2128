"""Cleaning: what becomes of missing values and duplicate rows, by policy."""

from typing import Any

import numpy as np
import pandas as pd

from signoff.base.errors import TaskError
from signoff.tables.cells import MISSING
from signoff.tables.records import CleaningCounts


def by_policy(values: pd.Series, policy: Any, wrong: np.ndarray) -> tuple[pd.Series, str]:
    """Return a column as its policy has it, in training and in predictions alike, and what became of missing values.

    Parameters
    ----------
    values
        n values, missing where they are `wrong`: not of the column's kind. Such a row is dropped in any case.
    policy
        "drop", "leave" or {"fill": constant}.

    Returns
    -------
    values : pandas.Series
        The n values; the same object where nothing has changed.
    done : str
        "dropped" (the rows are to be), "left" or "filled".
    """
    if policy in ("drop", "leave"):
        return values, {"drop": "dropped", "leave": "left"}[policy]
    return _filled(values, policy["fill"]).where(~wrong), "filled"


def _filled(values: pd.Series, constant: Any) -> pd.Series:
    """Return `values` with `constant` where they are missing. Raises TaskError where it is of another kind."""
    if isinstance(constant, str) and constant.strip() in MISSING:
        raise TaskError(f"cleaning: column {values.name!r} cannot be filled with {constant!r}: it reads as missing.")
    is_text = isinstance(values.dtype, pd.StringDtype)
    is_date = pd.api.types.is_datetime64_any_dtype(values)
    if is_date and isinstance(constant, str):
        try:
            return values.fillna(pd.Timestamp(constant, tz=values.dt.tz))
        except ValueError as error:
            raise TaskError(f"cleaning: column {values.name!r} cannot be filled with {constant!r}: {error}") from error
    is_boolean = values.dtype == object or pd.api.types.is_bool_dtype(values)
    if is_text != isinstance(constant, str) or is_boolean != isinstance(constant, bool) or is_date:
        kind = "text" if is_text else "dates" if is_date else "true and false" if is_boolean else "numbers"
        raise TaskError(f"cleaning: column {values.name!r} holds {kind} and cannot be filled with {constant!r}.")
    return values.fillna(constant)


def refuse_loss(counts: CleaningCounts, max_rows_lost: float) -> None:
    """Raise TaskError where too few rows are left, naming the columns to blame, the worst first."""
    lost = counts["rows_in"] - counts["rows_out"]
    if counts["rows_out"] and lost <= max_rows_lost * counts["rows_in"]:
        return
    blame = {name: each["dropped"] + each["unreadable"] for name, each in counts["columns"].items()}
    worst = sorted((name for name in blame if blame[name]), key=lambda name: -blame[name])[:5]
    named = (
        ", ".join(f"{name} ({blame[name]:,} rows)" for name in worst) or f"duplicates ({counts['duplicates']:,} rows)"
    )
    raise TaskError(
        f"cleaning would lose {lost:,} of {counts['rows_in']:,} rows, more than cleaning.max_rows_lost allows "
        f"({max_rows_lost:.0%}). To blame: {named}. Leave or fill them in cleaning.columns, or correct the source."
    )
