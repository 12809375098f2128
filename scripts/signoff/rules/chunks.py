"""Chunks of models: each is trained by one job, in one process."""

import functools
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from signoff.base.config import Config
from signoff.config.settings import section
from signoff.release.approval import refit_path
from signoff.release.live_record import state_of_predictions
from signoff.rules.asked import is_forced, single_targets
from signoff.rules.steps import CHUNKS_FOLDER, MODEL, Member, Steps, write_if_changed
from signoff.rules.task_chunks import chunked, step_of

# The rules that a job runs for each model, by the kind of job.
_RULES = {
    "models": [
        "ingest_data",
        "validate_data",
        "clean_data",
        "feature_engineering",
        "sample_features",
        "train_model",
        "evaluate_model",
    ],
    "reports": [
        "live_record",
        "refit_model",
        "row_budget",
        "explain_model",
        "compare_model",
        "diagnose",
        "generate_report",
    ],
}


def no_backtest(_wildcards: Any) -> str:
    """Be the input of the backtest of all models: ends the run with one line."""
    sys.exit("ERROR - a backtest replays one model. Make that of one of them: make backtest DIR=models/NAME.")


def releases_of(models: Iterable[str]) -> list[str]:
    """Return the link to the current release of each model that has one, and where it leads, sorted by name."""
    links = [f"models/{model}/deployed/current" for model in sorted(models)]
    return [f"{link} {os.readlink(link)}" for link in links if os.path.islink(link)]


@dataclass(frozen=True)
class Group:
    """The models that have the same config.

    Attributes
    ----------
    prefix
        Of the names of their rules.
    names
        A pattern of the models' folders.
    config
        Their checked config.
    """

    prefix: str
    names: str
    config: dict[str, Any]


@dataclass
class Chunks:
    """The chunks, as functions of wildcards for the inputs and params of the rule `models_chunk`.

    Parameters
    ----------
    workflow, rules
        Snakemake's.
    groups
        All models.
    parts
        Returns what `split_source` has recorded of each model, by name; None for a model with a source of its own. The
        object is the same as long as the record is.
    per_job
        `models.per_job` of the config.
    kind
        What the jobs make: models, or reports about them.
    """

    workflow: Any
    rules: Any
    groups: list[Group]
    parts: Callable[[], dict[str, dict[str, Any] | None]]
    per_job: int | None
    kind: str = "models"
    _parts: dict[str, dict[str, Any] | None] | None = field(init=False, default=None)
    _found: list[list[str]] = field(init=False, default_factory=list)

    @property
    def marker(self) -> str:
        """The pattern of the output of a chunk."""
        return f"models/.chunks/{{chunk}}{'' if self.kind == 'models' else '.' + self.kind}.json"

    def markers(self, _wildcards: Any = None) -> list[str]:
        """Return the outputs of all chunks. Ends the run with one line if single models are asked for, too."""
        if alone := single_targets(self.workflow, "models/"):
            sys.exit(
                f"ERROR - {alone[0]} is of one model, and two jobs of a run for all models would write its files. Make "
                "all models (make run) or this file: one after the other."
            )
        return [self.marker.format(chunk=number) for number in range(self.number())]

    def number(self) -> int:
        """Return the number of chunks."""
        return len(self._chunks())

    def models(self, wildcards: Any) -> list[str]:
        """Return the models of a chunk."""
        return self._chunks()[int(wildcards.chunk)]

    def plan(self, wildcards: Any) -> str:
        """Return the file that lists the models of a chunk; it is rewritten only if it has changed."""
        members = {
            model: Member(steps=str(self._file(self._group(model))), pieces=pieces)
            for model, pieces in self._pieces(self.models(wildcards)).items()
        }
        path = CHUNKS_FOLDER / f"{self.kind}-{wildcards.chunk}.json"
        write_if_changed(path, members)
        return str(path)

    def inputs(self, wildcards: Any) -> list[str]:
        """Return the inputs of the tasks of a chunk: the steps, the code, and the rows of each model."""
        found: set[str] = set()
        for group in {self._group(model).prefix: self._group(model) for model in self.models(wildcards)}.values():
            steps = self._steps(group)
            steps.write(self._file(group))
            found.add(str(self._file(group)))
            found.update(path for step in steps.steps for path in step.inputs if MODEL not in path)
        found.update(piece for pieces in self._pieces(self.models(wildcards)).values() for piece in pieces)
        return sorted(found)

    def threads(self, wildcards: Any) -> int:
        """Return the cores of a job: those of the run, divided among the jobs with new rows."""
        cores: int = self.workflow.cores
        return cores if len(self.models(wildcards)) == 1 else max(1, cores // max(1, self._with_new_rows))

    @functools.cached_property
    def _with_new_rows(self) -> int:
        """The number of chunks in which a model has new rows, or had none before."""
        return sum(map(self._has_new_rows, range(self.number())))

    def _has_new_rows(self, chunk: int) -> bool:
        pieces = [piece for found in self._pieces(self._chunks()[chunk]).values() for piece in found]
        try:
            made = os.stat(self.marker.format(chunk=chunk)).st_mtime_ns
            return not pieces or max(os.stat(piece).st_mtime_ns for piece in pieces) > made
        except FileNotFoundError:
            return True

    def releases(self, wildcards: Any) -> list[str]:
        """Return the link to the current release of each model that has one, and where it leads."""
        return releases_of(self.models(wildcards))

    def predictions(self, wildcards: Any) -> str:
        """Return a digest of the state of all files of the models' predictions."""
        return state_of_predictions(*(Path("models", model, "predictions") for model in self.models(wildcards)))

    def all_releases(self) -> list[str]:
        """Return the same for all models."""
        return releases_of(self.parts())

    def forced(self) -> bool:
        """Return whether the command line asks for all models to be rebuilt, whatever has changed."""
        return is_forced(self.workflow, f"{self.kind}_chunk")

    def _chunks(self) -> list[list[str]]:
        """Return the models of each chunk; found once for all jobs, each of which asks several times."""
        parts = self.parts()
        if self._parts is not parts:
            rows = {name: part["rows"] if part else None for name, part in parts.items()}
            self._parts, self._found = parts, chunked(rows, self.per_job)
        return self._found

    def _pieces(self, models: list[str]) -> dict[str, list[str]]:
        """Return by model the files in which `split_source` has put its rows."""
        parts = self.parts()
        return {
            model: [f"data/source/{model}/{piece}" for piece in part["pieces"]] if (part := parts[model]) else []
            for model in models
        }

    def _group(self, model: str) -> Group:
        return next(group for group in self.groups if re.fullmatch(group.names, model))

    def _file(self, group: Group) -> Path:
        return CHUNKS_FOLDER / f"{group.prefix}{self.kind}.json"

    def _steps(self, group: Group) -> Steps:
        """Return the steps of a group's models, from its rules."""
        settings = section(Config, group.config)
        asked = {"sample_features": settings.model.max_rows, "refit_model": refit_path(settings)}
        asked["row_budget"] = settings.model.max_rows and not settings.model.passes
        names = [each for each in _RULES[self.kind] if asked.get(each, True)]
        steps = [
            step_of(self.workflow, getattr(self.rules, f"{group.prefix}{name}").rule, {"model": MODEL})
            for name in names
        ]
        return Steps(steps, settings.release.allowed_signers, settings.release.required_approvals)
