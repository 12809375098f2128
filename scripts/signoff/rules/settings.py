"""The config as the rules read it: checked, with the defaults of the schema, and typed.

The schema is the one list of keys and defaults. A class here has only the names and types of what rules use. A test
compares them with the schema.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from signoff.base.errors import TaskError
from signoff.base.files import WORKFLOW
from signoff.config.settings import check_config, refuse_code
from signoff.features.user_code import read_code
from signoff.model.records import DEFAULT_MINUTES
from signoff.release.approval import custom_code
from signoff.release.tracking import check_tracking
from signoff.tables import contract

_Section = TypeVar("_Section")


@dataclass(frozen=True)
class _Data:
    partition_by: str | None


@dataclass(frozen=True)
class _Validation:
    schema: str | None
    on_failure: str


@dataclass(frozen=True)
class _Cleaning:
    default: str
    columns: dict[str, object]
    duplicates: str
    max_rows_lost: float


@dataclass(frozen=True)
class _Features:
    drop: list[str]
    keep: list[str]
    text: list[str]
    not_before: list[str]
    date_parts: list[str]
    derived: dict[str, str]
    history: list[dict[str, object]]
    custom: str | None
    custom_mode: str


@dataclass(frozen=True)
class _Split:
    by: str
    test_weeks: float | None
    test_share: float
    key: list[str]
    groups: str | None


@dataclass(frozen=True)
class _Model:
    estimator: str
    params: dict[str, object]
    candidates: list[dict[str, object]]
    preset: str
    minutes: float | None
    trials: int | None
    weight: str | dict[str, float] | None
    metric: str | None
    target_transform: str | None
    passes: int | None
    max_rows: int | None
    intervals: str
    format: str

    @property
    def trained(self) -> dict[str, object]:
        """The options that select what is trained: one estimator, or several candidates; and how rows are weighted."""
        weights: dict[str, object] = {}
        if isinstance(self.weight, str):
            weights = {"weight": self.weight}
        elif self.weight:
            weights = {"half_life_weeks": self.weight["half_life_weeks"]}
        if self.preset != "fast":
            # skops cannot hold them.
            no_boosters = {"boosters": "none"} if self.format == "skops" else {}
            return {"preset": self.preset, **self._budget, **weights, **no_boosters}
        options = weights | ({"target_transform": self.target_transform} if self.target_transform else {})
        if self.candidates:
            return {"candidates": self.candidates, **options}
        return {"estimator": self.estimator, "params": self.params, **options}

    @property
    def _budget(self) -> dict[str, object]:
        """How many settings the preset best draws: a number of them, or as many as there are minutes for."""
        given: dict[str, object] = {"minutes": self.minutes, "trials": self.trials}
        return {name: each for name, each in given.items() if each is not None}

    @property
    def draws(self) -> int:
        """The minutes, rounded up, for which settings are drawn; 0 if none are, or a fixed number of them."""
        return math.ceil(self.minutes or DEFAULT_MINUTES) if self.preset == "best" and self.trials is None else 0

    @property
    def weight_column(self) -> str | None:
        """The column with the weight of each row."""
        return self.weight if isinstance(self.weight, str) else None

    @property
    def measures_budget(self) -> bool:
        """Whether `row_budget` measures the cost of training on fewer rows."""
        return bool(self.max_rows) and not self.passes


@dataclass(frozen=True)
class _Models:
    by: str | None
    each: dict[str, dict[str, object] | None]
    per_job: int | None
    pool: bool | str
    min_rows: int | None

    @property
    def pool_column(self) -> str | None:
        """The column that makes the pooled models; empty for one model of all rows, None for none."""
        if isinstance(self.pool, str):
            return self.pool
        return "" if self.pool else None


@dataclass(frozen=True)
class _Evaluation:
    baseline: str | None
    metrics: str | None
    interval_level: float
    least_difference: float


@dataclass(frozen=True)
class Release:
    allowed_signers: str | None
    required_approvals: int


@dataclass(frozen=True)
class _Scoring:
    columns: list[str]
    key: list[str]
    on_drift: str
    reasons: int
    history: str | None


@dataclass(frozen=True)
class _Live:
    mae_max: float | None
    coverage_min: float | None


@dataclass(frozen=True)
class _Tracking:
    mlflow_uri: str | None


@dataclass(frozen=True)
class Settings:
    raw_data_source_url: str
    target: str
    time_column: str | None
    random_state: int
    data: _Data
    validation: _Validation
    cleaning: _Cleaning
    features: _Features
    split: _Split
    model: _Model
    models: _Models
    evaluation: _Evaluation
    release: Release
    scoring: _Scoring
    live: _Live
    tracking: _Tracking
    # Tasks get these whole, whatever keys they have.
    thresholds: dict[str, Any]
    reader: dict[str, object]
    report: dict[str, object]
    backtest: dict[str, object]

    @property
    def has_many_models(self) -> bool:
        """Whether the config asks for one model for each value of a column, or for several by name."""
        return bool(self.models.by or self.models.each)

    @property
    def trained(self) -> dict[str, object]:
        """The options that select what is trained, and the metric that decides between several models, if not MAE."""
        # The model with the lowest RMSE has the highest R2.
        by_r2 = self.thresholds["r2_min"] is not None and self.thresholds["mae_max"] is None
        metric = self.model.metric or ("RMSE" if by_r2 else "MAE")
        compares = self.model.preset != "fast" or self.model.candidates
        return self.model.trained | ({"metric": metric} if compares and metric != "MAE" else {})

    @property
    def training(self) -> dict[str, object]:
        """The options of `train_model` that do not name a file."""
        return {
            **self.trained,
            "intervals": self.model.intervals,
            "interval_level": self.evaluation.interval_level,
            "random_state": self.random_state,
        }

    @property
    def limits(self) -> dict[str, float | None]:
        """The thresholds of the workflow's own metrics, sorted by name."""
        return {name: limit for name, limit in sorted(self.thresholds.items()) if name != "custom"}

    @property
    def find_time(self) -> str | None:
        """yes if the only column of dates is the time column: none is named, and rows are not split by a hash."""
        by_hash = self.split.by == "hash" or self.split.key or self.split.groups
        return None if self.time_column or by_hash else "yes"

    @property
    def required_columns(self) -> list[str]:
        """The columns that no row may lack."""
        return [each for each in (self.target, self.time_column) if each]


@dataclass(frozen=True)
class _Contract:
    """The parts of the data contract that rules use.

    Attributes
    ----------
    kinds
        By column, the kind of its values: number, boolean, date or text.
    date_formats
        By column, how its dates are written.
    past, future
        The columns whose times may be far before all others, or in the future.
    looks_at_all_rows
        Whether a check needs all rows at once, such as that a column's values are unique.
    """

    kinds: dict[str, str]
    date_formats: dict[str, str]
    past: list[str]
    future: list[str]
    looks_at_all_rows: bool


def checked(config: dict[str, Any], config_paths: list[str]) -> tuple[Settings, _Contract]:
    """Check the config and all files that it names, fill in the defaults, and return it with the contract.

    Parameters
    ----------
    config
        As Snakemake has read it; the defaults are filled in.
    config_paths
        The files that it was read from.

    Raises
    ------
    TaskError
        A key, or a file that the config names, is not valid.
    """
    refuse_code(config_paths)
    check_config(config, WORKFLOW / "workflow/schemas/config.schema.yaml")
    check_tracking(config)
    _check_pool(config["models"])
    settings = section(Settings, config)
    path = settings.validation.schema
    found = contract.read_contract(Path(path)) if path else None
    for each in custom_code(config):
        read_code(Path(each))
    return settings, _Contract(
        kinds=contract.kinds(found) if found else {},
        date_formats=contract.formats(found) if found else {},
        past=contract.with_key(found, "past"),
        future=contract.with_key(found, "future"),
        looks_at_all_rows=contract.looks_at_all_rows(found),
    )


def _check_pool(models: dict[str, Any]) -> None:
    """Raise TaskError if the keys of a pooled model do not go together."""
    if models["pool"] and not models["by"]:
        raise TaskError("config: models.pool needs models.by, whose values have too few rows for a model of their own.")
    if models["pool"] == models["by"]:
        raise TaskError("config: models.pool and models.by name the same column. Set pool: true for one pooled model.")
    if models["min_rows"] and not models["pool"]:
        raise TaskError(
            "config: models.min_rows needs models.pool, which answers for values with fewer rows: pool: true for one "
            "model of all rows, or a column for one of each of its values."
        )


def section(kind: type[_Section], values: Mapping[str, Any]) -> _Section:
    """Return a section of the checked config as the dataclass `kind`; keys that it does not name are left out."""
    types = get_type_hints(kind)
    found = {}
    for each in fields(kind):  # type: ignore[arg-type]
        value = values[each.name]
        found[each.name] = section(types[each.name], value) if is_dataclass(types[each.name]) else value
    return kind(**found)
