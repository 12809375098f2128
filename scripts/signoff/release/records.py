"""The types of the reports that a reviewer signs: evaluation_metrics.json and diagnostics.json."""

from typing import Any, NotRequired, TypedDict

from signoff.features.records import HistoryFacts, Split
from signoff.model.records import Comparison, ModelIntervals, Profile, Scores, Transformed, Weighting
from signoff.model.thresholds import DeployedScores, Threshold
from signoff.tables.records import Violation

# The lower and the upper end.
Interval = list[float] | list[None]


class _Cleaning(TypedDict):
    """The number of rows before and after cleaning, and of those dropped by reason."""

    rows_in: int
    rows_out: int
    rows_dropped: dict[str, int]


class _OwnMetrics(TypedDict):
    """The file of the custom metrics, its digest, and their names."""

    file: str
    sha256: str
    names: list[str]


class _OwnFeatures(TypedDict):
    """The file of the custom features, and its digest."""

    file: str
    sha256: str


class Validation(TypedDict):
    """The part of diagnostics.json on the data contract."""

    status: str
    contract: bool | None
    rows: int
    violations: list[Violation]


class _Judged(TypedDict):
    """Whether the data hold the contract, and what violates it."""

    status: str
    violations: list[Violation]


class Metrics(TypedDict):
    """evaluation_metrics.json: the scores of every predictor by part of the split, and what they depend on."""

    model: dict[str, Scores]
    baselines: dict[str, dict[str, Scores]]
    champion: DeployedScores | None
    thresholds: list[Threshold]
    verdict: str
    custom_metrics: _OwnMetrics | None
    target: str
    time_column: str | None
    estimator: str
    features: dict[str, str]
    left_out: dict[str, str]
    split: Split
    cleaning: _Cleaning | None
    versions: dict[str, str]
    custom: _OwnFeatures | None
    candidates: NotRequired[Comparison]
    weight: NotRequired[Weighting]
    target_transform: NotRequired[Transformed]
    text: NotRequired[dict[str, int]]
    history: NotRequired[HistoryFacts]
    intervals: NotRequired[ModelIntervals]
    validation: NotRequired[_Judged]
    model_sha256: str


class Difference(TypedDict):
    """The difference of a metric from that of another predictor on the same rows, and the verdict in words."""

    difference: float
    interval: Interval
    verdict: str


class Pair(Difference):
    """The same for the named metric; `matters` is true if it is large enough for an alarm."""

    metric: str
    matters: NotRequired[bool]


class Best(Pair):
    """The model beside the best baseline."""

    name: str


class Drawn(TypedDict):
    """The resamples of custom metrics."""

    resamples: int
    rows: int


class Bootstrap(TypedDict):
    """The number of resamples and of blocks, and what a block is."""

    resamples: int
    blocks: int
    by: str
    own_metrics: NotRequired[Drawn]


class Week(TypedDict):
    """A week of held-out rows, by its first day; `bias` is the mean of predicted − actual."""

    time: str
    rows: int
    MAE: float
    bias: float


class SliceRow(TypedDict):
    """A part of the held-out rows."""

    feature: str
    value: str
    rows: int
    MAE: float
    MAE_interval: Interval
    bias: float
    champion_MAE: float | None
    difference_interval: Interval | None
    worse: bool
    p: NotRequired[float]


class Slices(TypedDict):
    """The parts of the held-out rows, the worst first."""

    min_rows: int
    looked_at: int
    correction: str
    rows: list[SliceRow]


class DriftRow(TypedDict):
    """How the later values of a column differ from the earlier ones; `missing` has the shares before and after."""

    feature: str
    kind: str
    psi: float | None
    statistic: str
    size: float | None
    p: float | None
    new: list[str]
    vanished: list[str]
    missing: list[float]
    flagged: bool
    unit: str | None


class Drift(TypedDict):
    """The held-out rows against the training rows, and all rows against those of the release."""

    training: list[DriftRow]
    release: list[DriftRow] | None


class CoveredSlice(TypedDict):
    """The share of a slice's rows inside their prediction intervals."""

    feature: str
    value: str
    rows: int
    coverage: float
    # As how many independent rows they count.
    independent: float


class CoveredWeek(TypedDict):
    """The share of a week's rows inside their prediction intervals."""

    time: str
    rows: int
    coverage: float


class PredictionIntervals(TypedDict):
    """The coverage and the width of prediction intervals: one for each row (`mean_width`), or a constant half width."""

    level: float
    method: str
    rows: int
    coverage: float | None
    coverage_error: float | None
    coverage_interval: Interval
    coverage_p: NotRequired[float | None]
    half_width: float | None
    fitted_half_width: NotRequired[float | None]
    shipped_coverage: float | None
    mean_width: NotRequired[float | None]
    constant_width: NotRequired[float | None]
    by_slice: list[CoveredSlice]
    slices: int
    over_time: list[CoveredWeek] | None


class Importance(TypedDict):
    """The rise of the MAE when a feature is shuffled, with its standard error."""

    feature: str
    mean: float
    std: float


class ImportanceSample(TypedDict):
    """The number of rows that the importance was measured on, and of shuffles."""

    rows: int
    repeats: int


class RestsOn(TypedDict):
    """One or two features, and the MAE of models with and without them on the same rows, which they had not seen.

    `known_before` says whether the config declares that the features are known before the target is.
    """

    features: list[str]
    MAE: float
    MAE_without: float
    rows: int
    known_before: NotRequired[bool]


class Effect(TypedDict):
    """The mean prediction over the values of a feature."""

    kind: str
    values: list[Any]
    mean: list[float]


class AlarmRecord(TypedDict):
    """An alarm by name, the feature that it concerns, and its sentence; `levels` of a category are not written."""

    name: str
    feature: str | None
    sentence: str
    levels: NotRequired[list[str]]


class Reason(TypedDict):
    """A reason for or against the model: what it is about (an alarm by its name), and its sentence."""

    about: str
    sentence: str


class Agreement(TypedDict):
    """How the predictions of two models differ on the newest held-out rows.

    rows
        How many rows were compared.
    difference, bias
        The means of |refit − evaluated| and of refit − evaluated, in the target's unit.
    MAE
        The error of the evaluated model: the mean on these rows, or the median on all held-out rows if it is larger.
    share
        `difference` as a share of `MAE`.
    limit
        The largest share without an alarm.
    """

    rows: int
    difference: float
    bias: float
    MAE: float
    share: float
    limit: float


class Refit(TypedDict):
    """The model that was trained again on all rows: its digest, its rows, and how it agrees with the evaluated one."""

    sha256: str
    training_rows: int
    last_time: str | None
    agreement: Agreement


class VisibleInSegment(TypedDict):
    """The smallest change of a segment's newest targets that would have been seen, as a share of their mean."""

    feature: str
    value: str
    share: float | None


class Visible(TypedDict):
    """The smallest change of the newest targets, of up to `days` days, that would have been seen nine times in ten.

    `share` is a share of the mean target; None if no change would have been seen. The segment is that in which least is
    seen; None if there are no categories. `noise` is the segment in which it is hardest to see that newest targets are
    noise, with the share of them that would have to be noise to be seen every second time; above 1 if not even all.
    """

    days: int
    share: float | None
    segment: VisibleInSegment | None
    noise: NotRequired[VisibleInSegment | None]


class _Compared(TypedDict):
    """The part of diagnostics.json that compares the model, its errors and its rows with others."""

    validation: Validation
    level: float
    seed: int
    bootstrap: Bootstrap
    intervals: dict[str, dict[str, Interval]]
    paired: Pair | None
    differences: dict[str, Difference] | None
    by_week: list[Week]
    date_parts: NotRequired[dict[str, str]]
    newest: NotRequired[dict[str, Any] | None]
    slices: Slices
    drift: Drift
    profile: NotRequired[dict[str, Profile]]
    predictions_profile: NotRequired[Profile]
    prediction_interval: PredictionIntervals
    alarms: list[AlarmRecord]


class Compared(_Compared):
    """comparison.json: that part, and the comparison with each baseline."""

    baselines: dict[str, Pair]


class _Explained(TypedDict):
    """The part of diagnostics.json on the model alone."""

    importance: list[Importance]
    importance_sample: ImportanceSample
    partial_dependence: dict[str, Effect]
    rests_on: NotRequired[RestsOn | None]
    visible: NotRequired[Visible | None]
    alarms: list[AlarmRecord]


class OutOfSample(TypedDict):
    """The scores on training rows that the models had not seen; docs/files.md says what each is."""

    rows: int
    MAE: float
    best_MAE: float
    mean_MAE: float
    R2: float | None
    fall: float
    p: float


class Explained(_Explained):
    """explanation.json: that part, and what the alarms about a model without signal are judged by."""

    out_of_sample: OutOfSample | None
    order: float


class RefitRecord(Refit):
    """refit.json: the model that was trained again, what it was made from, and its alarms."""

    model_sha256: str
    inputs: dict[str, str]
    versions: dict[str, str]
    alarms: list[AlarmRecord]


class Findings(_Compared, _Explained):
    """diagnostics.json before the reasons are found."""

    against_best: Best
    refit: NotRequired[Refit]


class Diagnostics(Findings):
    """diagnostics.json; docs/files.md says what each part is."""

    reasons: dict[str, list[Reason]]


class Backtest(TypedDict):
    """backtest.json: the errors over all weeks by predictor, and the weeks whose release the thresholds would stop."""

    target: str
    first_week: str
    last_week: str
    weeks: int
    rows: int
    without_rows: list[str]
    overall: dict[str, dict[str, float]]
    retraining_is_worth: float
    weeks_better: int
    weeks_worse: int
    gate_is_set: bool
    stopped: dict[str, list[str]]


class BudgetPoint(TypedDict):
    """The scores with some training rows; `gain` is the MAE of the point before minus its own."""

    rows: int
    MAE: float
    R2: float | None
    gain: float | None
    interval: Interval | None


class RowBudget(TypedDict):
    """row_budget.json: the loss of accuracy with fewer training rows."""

    model_sha256: str
    available: int
    max_rows: int
    level: float
    curve: list[BudgetPoint]
