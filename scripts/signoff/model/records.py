"""The types of model.json on how a model was chosen, and their words; the types of scores.

A report and the verdict need them, and no library: to import one would take longer than the verdict.
"""

from typing import Any, Literal, NotRequired, TypedDict, cast

from signoff.features.records import Described

Metric = Literal[
    "MAE",
    "RMSE",
    "poisson_deviance",
    "gamma_deviance",
    "tweedie_deviance",
    "quantile_loss_5",
    "quantile_loss_10",
    "quantile_loss_25",
    "quantile_loss_75",
    "quantile_loss_90",
    "quantile_loss_95",
]
# By metric, custom ones included; an undefined one is None.
Scores = dict[str, float | int | None]

# How long the preset best compares models.
DEFAULT_MINUTES = 10.0


class Setting(TypedDict):
    """A regressor by its dotted name, and its parameters."""

    estimator: str
    params: dict[str, Any]


class Candidate(TypedDict):
    """An entry of model.candidates in the config; a parameter may be a distribution, of which there are `draws`."""

    estimator: str
    params: NotRequired[dict[str, Any]]
    draws: NotRequired[int]


class ComparedSetting(Setting):
    """A setting with its error by the metric of the comparison, or the problem that prevents training."""

    MAE: NotRequired[float | None]
    RMSE: NotRequired[float | None]
    poisson_deviance: NotRequired[float | None]
    gamma_deviance: NotRequired[float | None]
    tweedie_deviance: NotRequired[float | None]
    quantile_loss_5: NotRequired[float | None]
    quantile_loss_10: NotRequired[float | None]
    quantile_loss_25: NotRequired[float | None]
    quantile_loss_75: NotRequired[float | None]
    quantile_loss_90: NotRequired[float | None]
    quantile_loss_95: NotRequired[float | None]
    spread: float | None
    rows: int
    problem: str | None


class Cost(TypedDict):
    """The cost of a comparison: the number of fitted models, and the total of their training rows."""

    fits: int
    rows: int


class Trials(TypedDict):
    """How many settings the preset best has drawn, and the minutes that it was given, if these decided."""

    count: int
    minutes: NotRequired[float]


class TextGain(TypedDict):
    """The cross-validated error without and with a column of text, and whether the model uses the column.

    The standard error is that of the difference, paired over the folds.
    """

    column: str
    without: float
    with_it: float
    difference: float
    standard_error: float
    used: bool


class Comparison(TypedDict):
    """All settings, the chosen one first, the folds in words, the metric; with a preset, why that one, and its cost.

    With the preset best, also its trials, and with columns of text, also what each of them gains.
    """

    folds: str
    # Only if it is not the MAE.
    metric: NotRequired[Metric]
    why: NotRequired[str]
    cost: NotRequired[Cost]
    trials: NotRequired[Trials]
    text: NotRequired[list[TextGain]]
    settings: list[ComparedSetting]


class Gain(TypedDict):
    """The cross-validated MAE of the chosen setting without and with weights or a transformation of the target.

    The standard error is that of the difference, paired over the folds. A positive difference says that they help.
    """

    folds: str
    MAE_without: float
    MAE_with: float
    difference: float
    standard_error: float


class Weighting(TypedDict):
    """How rows are weighted: by the values of a column, or half as much for each half-life of age, in weeks."""

    column: NotRequired[str]
    half_life_weeks: NotRequired[float]
    gain: NotRequired[Gain | None]


class Transformed(TypedDict):
    """The function of the target that a model learns, and what that gains."""

    function: str
    gain: Gain | None


class ModelIntervals(TypedDict):
    """Whether each prediction interval has a width of its own, and the share of rows they are to cover."""

    by: str
    level: float


class Metadata(Described):
    """model.json: the model's digest, and what it was made from."""

    sha256: str
    estimator: str
    parameters: dict[str, str]
    training_rows: int
    training_score: dict[str, float | int | None]
    intervals: ModelIntervals
    inputs: dict[str, str]
    versions: dict[str, str]
    candidates: NotRequired[Comparison]
    weight: NotRequired[Weighting]
    target_transform: NotRequired[Transformed]
    # By column of text, the number of features that the model makes of it; 0 if it ignores the column.
    text: NotRequired[dict[str, int]]


class Profile(TypedDict):
    """The profile of a column, with which later rows are compared; `missing` is a share.

    For numbers, and the lengths of texts, `shares` of the rows are up to each of the `edges`. A category has the
    `counts` of its most frequent levels, and the number of `others`.
    """

    kind: str
    rows: int
    missing: float
    edges: NotRequired[list[float]]
    shares: NotRequired[list[float]]
    counts: NotRequired[dict[str, int]]
    others: NotRequired[int]


def trials_again(found: Comparison | None) -> dict[str, object]:
    """Return the options of `train_model` with which the preset best draws as many settings as in a comparison."""
    return {"minutes": None, "trials": found["trials"]["count"]} if found and "trials" in found else {}


def words_of(setting: Setting) -> str:
    """Return a setting in words, such as Ridge(alpha=0.1)."""
    params = ", ".join(f"{name}={_value(value)}" for name, value in setting["params"].items())
    return f"{setting['estimator'].rpartition('.')[2]}({params})"


def _value(value: Any) -> str:
    """Return a parameter's value in words; an estimator among them as `words_of` writes it."""
    if isinstance(value, dict) and isinstance(value.get("estimator"), str):
        return words_of({"estimator": value["estimator"], "params": value.get("params") or {}})
    if isinstance(value, list | tuple) and any(isinstance(each, dict | list | tuple) for each in value):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)


def words_of_gain(gain: Gain, key: str) -> str:
    """Return a sentence on what weights or a transformation gain; `key` is that of the config."""
    by, error = gain["difference"], gain["standard_error"]
    weights = key == "model.weight"
    what, them, end = ("the weights", "them", "") if weights else ("the transformation", "it", "s")
    if abs(by) <= error:
        verdict = "which is no established difference"
    else:
        verdict = f"so {what} lower{end} it" if by > 0 else f"so {what} raise{end} it: remove {key}"
    return (
        f"cross-validated MAE with {what} {gain['MAE_with']:.4g}, without {them} {gain['MAE_without']:.4g}; "
        f"the difference is {by:.3g} ± {error:.2g}, {verdict}"
    )


def words_of_text(gain: TextGain, metric: str) -> str:
    """Return a sentence on what a column of text gains."""
    verdict = "so it is used" if gain["used"] else "so it is not used"
    return (
        f"text of {gain['column']}: cross-validated {metric} with it {gain['with_it']:.4g}, without it "
        f"{gain['without']:.4g}; the difference is {gain['difference']:.3g} ± {gain['standard_error']:.2g}, {verdict}"
    )


def mae(scores: Scores) -> float:
    """Return the MAE, which is never undefined."""
    return cast(float, scores["MAE"])
