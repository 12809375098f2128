"""What a table of the benchmark is, and what makes tables dirty."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd


class Example(NamedTuple):
    """A table: `frame` is what a person has after reading it with care, the target and useful columns, with their
    types; `written` is what stands in the file, all rows and columns, where that is something else."""

    frame: pd.DataFrame
    target: str
    written: pd.DataFrame | None = None
    csv: dict | None = None
    file: str = "table.csv"


def gaps(random: np.random.Generator, values: Iterable, share: float) -> pd.Series:
    """Return values of which a share is missing."""
    values = pd.Series(values)
    return values.mask(random.random(len(values)) < share)


def text(values: pd.Series, form: str, missing: str = "") -> pd.Series:
    """Return values in a notation, with a word for what is missing."""
    return pd.Series([missing if pd.isna(each) else form.format(each) for each in values], values.index)


def effects(random: np.random.Generator, codes: np.ndarray, spread: float) -> np.ndarray:
    """Return an effect on the target for each of the codes 0, 1, 2 …, drawn once a code."""
    return random.normal(0, spread, int(codes.max()) + 1)[codes]
