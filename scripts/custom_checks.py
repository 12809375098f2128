"""Features that a user's own code makes of all rows to train on: finite, and each made of its own row alone."""

from types import ModuleType

import numpy as np
import pandas as pd

from custom_features import columns_given, custom_features, infinite_values, is_number
from task import TaskError

# So many rows get their features once more, each by itself.
ROWS_ALONE = 10


def own_features(
    frame: pd.DataFrame, built_in: dict[str, pd.Series], plan: dict, code: ModuleType, mode: str
) -> tuple[pd.DataFrame, dict]:
    """Return the features that the user's own code makes of all rows, and what is noted of it."""
    own = {"mode": mode, "columns": columns_given(frame.drop(columns=plan["target"]), code)}
    about = {"target": plan["target"], "time_column": plan["time_column"], "custom": own}
    built_in = pd.DataFrame(built_in) if mode == "after" else None
    features = custom_features(frame, built_in, about, code)
    refuse_infinite(features, code, "the cleaned data")
    check_rows_alone(features, frame, built_in, about, code)
    return features, own


def check_rows_alone(
    features: pd.DataFrame, rows: pd.DataFrame, built_in: pd.DataFrame | None, metadata: dict, code: ModuleType
) -> None:
    """Check that some rows, each given to the user's code by itself, get the features that they got among all rows.

    Raises
    ------
    TaskError
        They do not, so that a row's score would depend on the batch that it comes in; the message names the feature.
    """
    for row in sorted({round(each) for each in np.linspace(0, len(rows) - 1, ROWS_ALONE)}):
        one, its_own = (each if each is None else each.iloc[[row]].reset_index(drop=True) for each in (rows, built_in))
        alone = f"{code.__file__}: row {row + 1} of the cleaned data, given by itself:"
        try:
            again = custom_features(one, its_own, metadata, code)
        except TaskError as error:
            raise TaskError(f"{alone} {error}") from error
        if sorted(again) != sorted(features):
            raise TaskError(f"{alone} the features are {', '.join(again)}, and among all rows {', '.join(features)}.")
        for name in features:
            was, now = features[name].iloc[row], again[name].iloc[0]
            if is_number(features[name]) and is_number(again[name]):
                same = np.isclose(was, now, rtol=1e-9, atol=1e-12, equal_nan=True)
            else:
                same = was == now or (pd.isna(was) and pd.isna(now))
            if not same:
                raise TaskError(
                    f"{alone} the feature {name!r} is {now}, and among all rows {was}. A feature must be made of its "
                    "own row alone (no mean, rank, shift or chance), or a score would depend on the batch."
                )


def refuse_infinite(features: pd.DataFrame, code: ModuleType, rows: str) -> None:
    """Raise TaskError where a feature is infinite; `rows` is what they are called."""
    for name, infinite in infinite_values(features).items():
        if infinite.any():
            raise TaskError(
                f"{code.__file__}: the feature {name!r} is infinite in {int(infinite.sum()):,} rows, the first "
                f"row {infinite.idxmax() + 1} of {rows}. Divide by nothing that can be zero."
            )
