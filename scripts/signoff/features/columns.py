"""Features as columns, without a data frame."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Features:
    """n rows of features by column: float64 arrays, and text as arrays of the dtype str.

    A data frame is made only if somebody needs one. Of few rows, that takes longer than to compute the features.
    """

    columns: Mapping[str, Any]
    index: pd.Index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, name: str) -> Any:
        return self.columns[name]

    @property
    def size(self) -> int:
        """The number of values."""
        return len(self.index) * len(self.columns)

    @functools.cached_property
    def frame(self) -> pd.DataFrame:
        """The same as a data frame."""
        # Without an index, pandas would align the columns, which takes longer than all features of a few rows.
        return pd.DataFrame(self.columns, index=self.index)


def frame_of(features: pd.DataFrame | Features) -> pd.DataFrame:
    """Return features as a data frame."""
    return features.frame if isinstance(features, Features) else features
