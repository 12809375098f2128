"""The types of what describes the features: the JSON beside features.csv, which model.json repeats in part."""

from typing import Any, NotRequired, TypedDict


class FeatureRecipe(TypedDict, total=False):
    """How a feature is made: of a column, of a part of its dates, of the numbers before a unit, or by an expression.

    `history` is "mean", "count", "lag" or "since_last" of earlier rows with the same values in the columns `by`: of the
    expression `of`, over `window` or `lag` rows before. `time` is the column of moments, and a row is known `after`
    that: a duration, or an expression in hours.
    """

    column: str
    part: str
    unit: str
    expression: str
    history: str
    by: list[str]
    time: str
    of: str
    window: str
    lag: int
    after: str


class HistoryEntry(TypedDict, total=False):
    """An entry of features.history in the config: which features of earlier rows there are."""

    by: str | list[str]
    values: list[str] | dict[str, str]
    windows: list[str]
    lags: list[int]
    count: bool
    since_last: bool
    available_after: str


class HistoryState(TypedDict):
    """The earlier rows that predictions need: the file's digest, its rows, from when to when they are, their columns.

    `since` and `end` are in microseconds since 1970, in UTC.
    """

    sha256: str
    rows: int
    since: int
    end: int
    columns: "dict[str, ColumnRecord]"


class CustomCode(TypedDict):
    """The custom code, and the kinds of the columns that it gets."""

    mode: str
    columns: dict[str, str]
    file: NotRequired[str]
    sha256: NotRequired[str | None]


class SplitRows(TypedDict):
    """The number of rows in each part of the split."""

    train: int
    test: int


class Split(TypedDict):
    """How the rows are split: by time or by a hash, in words, and the result."""

    by: str
    rule: str
    rows: SplitRows
    key: NotRequired[list[str]]
    groups: NotRequired[str]
    share: NotRequired[float]
    first: NotRequired[str]
    last_train: NotRequired[str]
    last_test: NotRequired[str]
    max_rows: NotRequired[int]
    available: NotRequired[int]


class ColumnRecord(TypedDict):
    """A column that features are made of."""

    kind: str
    date_format: str | None
    policy: str


class CodeRecord(TypedDict):
    """What the custom code and the check of its features need."""

    target: str
    time_column: str | None
    custom: CustomCode | None


class FeatureRecord(CodeRecord):
    """What is needed to make the features of later rows; both features.json and model.json have it."""

    features: dict[str, str]
    recipe: dict[str, FeatureRecipe]
    history: NotRequired[HistoryState]


class SplitRule(TypedDict):
    """The rule of a split in memory: by time, the rows later than `after` are the test part."""

    by: str
    rule: str
    key: NotRequired[list[str]]
    share: NotRequired[float]
    groups: NotRequired[str]
    groups_kind: NotRequired[str]
    after: NotRequired[Any]


class Sides(TypedDict):
    """The rows in each part of the split in memory and, if time decides, the first and last times."""

    rows: SplitRows
    first: NotRequired[Any]
    last_train: NotRequired[Any]
    last_test: NotRequired[Any]


class Plan(FeatureRecord):
    """How features are made and rows are split, before any row is: a description with the split's rule."""

    left_out: dict[str, str]
    not_before: list[str]
    split: SplitRule
    weight: NotRequired[str]


class KeyRecord(TypedDict):
    """What the keys of rows depend on."""

    target: str
    time_column: str | None
    kinds: dict[str, str]


class HistoryFacts(TypedDict):
    """What evaluation_metrics.json says of the features of earlier rows: their names, and when a row is known.

    `after` has durations, and expressions in hours; `rows` are released, the last of `end`.
    """

    features: list[str]
    after: list[str]
    rows: int
    end: str


class Described(FeatureRecord):
    """The part of a description that model.json repeats; `columns` and `cleaning` are added when it is written."""

    left_out: dict[str, str]
    split: Split
    columns: NotRequired[dict[str, ColumnRecord]]
    cleaning: NotRequired[dict[str, Any]]


class Description(Described):
    """The JSON beside features.csv; `raw_sha256` is added when it is written."""

    not_before: list[str]
    kinds: dict[str, str]
    raw_sha256: NotRequired[str]
    weight: NotRequired[str]
