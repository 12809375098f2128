"""The types of the data contract, of validation_report.json, and of the JSON beside the cleaned data."""

from typing import Any, NotRequired, TypedDict


class ColumnRules(TypedDict, total=False):
    """The rules of a column in the contract; pandera knows some more."""

    dtype: str | None
    nullable: bool
    unique: bool
    required: bool
    checks: dict[str, Any] | None
    date_format: str | None
    unit: str
    future: bool
    past: bool
    max_missing: object


class Contract(TypedDict):
    """The data contract: the rules of each column, and what the table as a whole must hold; pandera knows some more."""

    columns: dict[str, ColumnRules]
    rows: NotRequired[object]
    freshness: NotRequired[object]
    complete: NotRequired[object]
    newest: NotRequired[object]


class Violation(TypedDict):
    """A violation of the contract, as in validation_report.json; `found` says in words what was found."""

    column: str | None
    check: str
    rows: int
    examples: list[dict[str, object]]
    found: NotRequired[str]


class ColumnProfile(TypedDict):
    """The statistics of a column; those of all parts together have neither distinct values nor quartiles."""

    type: str
    unreadable: int
    missing: int
    distinct: NotRequired[int]
    min: NotRequired[Any]
    q25: NotRequired[Any]
    median: NotRequired[Any]
    q75: NotRequired[Any]
    max: NotRequired[Any]
    most_frequent: NotRequired[dict[str, int]]


class EarlierDelivery(TypedDict):
    """What the next delivery is compared with: the number of rows, also by level of some columns."""

    rows: int
    levels: dict[str, dict[str, int]]


class Saved(EarlierDelivery):
    """What a part of a delivery holds; days are texts, as keys of JSON are."""

    newest: str | None
    days: dict[str, int]
    levels_by_day: dict[str, dict[str, dict[str, int]]]
    missing: dict[str, int]
    missing_by_day: dict[str, dict[str, int]]


class ValidationReport(TypedDict):
    """validation_report.json; that of a part has `part_of_delivery`."""

    status: str
    contract: bool
    rows: int
    violations: list[Violation]
    profile: dict[str, ColumnProfile]
    raw_sha256: NotRequired[str]
    delivery: NotRequired[EarlierDelivery]
    last_delivery: NotRequired[EarlierDelivery]
    part_of_delivery: NotRequired[Saved]


class CleaningCounts(TypedDict):
    """How many rows and values were changed by cleaning; `columns` has the values by column and by what was done."""

    rows_in: int
    rows_out: int
    rows_dropped: dict[str, int]
    duplicates: NotRequired[int]
    columns: dict[str, dict[str, int]]


class ColumnsRead(TypedDict):
    """How each column was read and cleaned."""

    kinds: dict[str, str]
    date_formats: dict[str, str]
    policies: NotRequired[dict[str, Any]]


class Cleaned(CleaningCounts, ColumnsRead):
    """The JSON beside the cleaned data."""

    raw_sha256: NotRequired[str]
