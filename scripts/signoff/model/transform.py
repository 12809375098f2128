"""The transformation of the target that a model learns, and its inverse for predictions."""

from typing import Literal, get_args

import pandas as pd

from signoff.base.errors import TaskError
from signoff.model.records import Setting

Transform = Literal["log", "log1p", "sqrt"]
TRANSFORMS: tuple[Transform, ...] = get_args(Transform)
_FUNCTIONS: dict[Transform, tuple[str, str]] = {
    "log": ("numpy.log", "numpy.exp"),
    "log1p": ("numpy.log1p", "numpy.expm1"),
    "sqrt": ("numpy.sqrt", "numpy.square"),
}


def transformed(setting: Setting, transform: Transform) -> Setting:
    """Return a setting that learns the transformed target, and predicts in the target's unit.

    Predictions are transformed back by the inverse function alone, so they aim at the median, not at the mean.
    """
    func, inverse = _FUNCTIONS[transform]
    params = {"regressor": dict(setting), "func": func, "inverse_func": inverse, "check_inverse": False}
    return {"estimator": "sklearn.compose.TransformedTargetRegressor", "params": params}


def refuse_untransformable(transform: Transform | None, target: pd.Series) -> None:
    """Raise TaskError if the transformation is undefined for one of n targets."""
    if transform is None:
        return
    wrong = target <= 0 if transform == "log" else target < 0
    if wrong.any():
        least = "above 0" if transform == "log" else "at least 0"
        raise TaskError(
            f"model.target_transform: {transform} needs a target {least}, but {wrong.sum():,} of {len(target):,} "
            f"training rows have another one, such as {target[wrong].iloc[0]:g}. "
            + ("Set log1p, or remove it." if transform == "log" and not (target < 0).any() else "Remove it.")
        )
