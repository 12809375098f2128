"""The config as the rules read it: checked, with the options of tasks that several keys decide on."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signoff.base.config import Config, ModelsConfig
from signoff.base.errors import TaskError
from signoff.config.settings import SCHEMA, check_config, refuse_code
from signoff.features.user_code import read_code
from signoff.model.records import DEFAULT_MINUTES
from signoff.release.approval import custom_code
from signoff.release.tracking import check_tracking
from signoff.tables import contract


class Settings(Config):
    """The config, and what follows from it for the rules."""

    @property
    def has_many_models(self) -> bool:
        """Whether the config asks for one model for each value of a column, or for several by name."""
        return bool(self.models.by or self.models.each)

    @property
    def pool_column(self) -> str | None:
        """The column that makes the pooled models; empty for one model of all rows, None for none."""
        if isinstance(self.models.pool, str):
            return self.models.pool
        return "" if self.models.pool else None

    @property
    def weight_column(self) -> str | None:
        """The column with the weight of each row."""
        return self.model.weight if isinstance(self.model.weight, str) else None

    @property
    def measures_budget(self) -> bool:
        """Whether `row_budget` measures the cost of training on fewer rows."""
        return bool(self.model.max_rows) and not self.model.passes

    @property
    def trained(self) -> dict[str, object]:
        """The options that select what is trained, and the metric that decides between several models, if not MAE."""
        # The model with the lowest RMSE has the highest R2.
        by_r2 = self.thresholds.r2_min is not None and self.thresholds.mae_max is None
        metric = self.model.metric or ("RMSE" if by_r2 else "MAE")
        compares = self.model.preset != "fast" or self.model.candidates
        return self._estimators | ({"metric": metric} if compares and metric != "MAE" else {})

    @property
    def _estimators(self) -> dict[str, object]:
        """The options that select what is trained: one estimator, or several candidates; and how rows are weighted."""
        model = self.model
        weights: dict[str, object] = {}
        if isinstance(model.weight, str):
            weights = {"weight": model.weight}
        elif model.weight:
            weights = {"half_life_weeks": model.weight["half_life_weeks"]}
        if model.preset != "fast":
            # skops cannot hold them.
            no_boosters = {"boosters": "none"} if model.format == "skops" else {}
            return {"preset": model.preset, **self._budget, **weights, **no_boosters}
        options = weights | ({"target_transform": model.target_transform} if model.target_transform else {})
        if model.candidates:
            return {"candidates": model.candidates, **options}
        return {"estimator": model.estimator, "params": model.params, **options}

    @property
    def _budget(self) -> dict[str, object]:
        """How many settings the preset best draws: a number of them, or as many as there are minutes for."""
        given: dict[str, object] = {"minutes": self.model.minutes, "trials": self.model.trials}
        return {name: each for name, each in given.items() if each is not None}

    @property
    def draws(self) -> int:
        """The minutes, rounded up, for which settings are drawn; 0 if none are, or a fixed number of them."""
        model = self.model
        return math.ceil(model.minutes or DEFAULT_MINUTES) if model.preset == "best" and model.trials is None else 0

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
        return {name: limit for name, limit in sorted(vars(self.thresholds).items()) if name != "custom"}

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
    settings = Settings(**vars(check_config(config, SCHEMA)))
    check_tracking(settings)
    _check_pool(settings.models)
    path = settings.validation.schema
    found = contract.read_contract(Path(path)) if path else None
    for each in custom_code(settings):
        read_code(Path(each))
    return settings, _Contract(
        kinds=contract.kinds(found) if found else {},
        date_formats=contract.formats(found) if found else {},
        past=contract.with_key(found, "past"),
        future=contract.with_key(found, "future"),
        looks_at_all_rows=contract.looks_at_all_rows(found),
    )


def _check_pool(models: ModelsConfig) -> None:
    """Raise TaskError if the keys of a pooled model do not go together."""
    if models.pool and not models.by:
        raise TaskError("config: models.pool needs models.by, whose values have too few rows for a model of their own.")
    if models.pool == models.by:
        raise TaskError("config: models.pool and models.by name the same column. Set pool: true for one pooled model.")
    if models.min_rows and not models.pool:
        raise TaskError(
            "config: models.min_rows needs models.pool, which answers for values with fewer rows: pool: true for one "
            "model of all rows, or a column for one of each of its values."
        )
