"""Chunks of models: each is trained by one job, in one process."""

import math
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake.jobs import Job
from snakemake.utils import format as formatted

from signoff.base.config import Config
from signoff.config.settings import section
from signoff.release.approval import refit_path
from signoff.release.live_record import state_of_predictions
from signoff.rules.flags import unquoted
from signoff.rules.steps import CHUNKS_FOLDER, MODEL, THREADS, Member, ModelTask, Steps, write_if_changed

# At most this many jobs. A process needs as long to begin as for five models, so a job makes at least 50, and 100 if
# there are ten jobs.
_JOBS, _MODELS = 50, 50
# With this many rows, reading and fitting take far longer than starting a process.
_ROWS = 200_000
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


def _chunked(rows: dict[str, int | None], per_job: int | None) -> list[list[str]]:
    """Return the models of each job, sorted by name.

    Parameters
    ----------
    rows
        The number of rows of each model; None if they were not counted.
    per_job
        The models of each job. None: 50, 100 for more than 500 models, or as many as make 50 jobs, but fewer if they
        have more than 200,000 rows together; a model whose rows were not counted has its own job.
    """
    most = per_job or max(_MODELS, min(2 * _MODELS, math.ceil(len(rows) / 10)), math.ceil(len(rows) / _JOBS))
    found: list[list[str]] = []
    held = 0
    for name in sorted(rows):
        count = rows[name]
        more = 0 if per_job else _ROWS if count is None else count
        if not found or len(found[-1]) == most or held + more > _ROWS:
            found.append([])
            held = 0
        found[-1].append(name)
        held += more
    return found


def _single_models(targets: Iterable[str]) -> list[str]:
    """Return the targets of a run that are files of single models, sorted."""
    paths = map(os.path.normpath, targets)
    return sorted(each for each in paths if each.startswith("models/") and not each.startswith("models/.chunks/"))


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


@dataclass(frozen=True)
class Chunks:
    """The chunks, as functions of wildcards for the inputs and params of the rule `models_chunk`.

    Parameters
    ----------
    workflow, rules
        Snakemake's.
    groups
        All models.
    parts
        Returns what `split_source` has recorded of each model, by name; None for a model with a source of its own.
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

    @property
    def marker(self) -> str:
        """The pattern of the output of a chunk."""
        return f"models/.chunks/{{chunk}}{'' if self.kind == 'models' else '.' + self.kind}.json"

    def markers(self, _wildcards: Any = None) -> list[str]:
        """Return the outputs of all chunks. Ends the run with one line if single models are asked for, too."""
        if alone := _single_models(self.workflow.dag_settings.targets):
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
            model: Member(steps=str(self._file(self._group(model))), pieces=self._pieces(model))
            for model in self.models(wildcards)
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
        for model in self.models(wildcards):
            found.update(self._pieces(model))
        return sorted(found)

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
        settings = self.workflow.dag_settings
        return bool(settings.forceall or any(rule.endswith(f"{self.kind}_chunk") for rule in settings.forcerun))

    def _chunks(self) -> list[list[str]]:
        return _chunked({name: part["rows"] if part else None for name, part in self.parts().items()}, self.per_job)

    def _pieces(self, model: str) -> list[str]:
        """Return the files in which `split_source` has put a model's rows."""
        part = self.parts()[model]
        return [f"data/source/{model}/{piece}" for piece in part["pieces"]] if part else []

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
        steps = [self._step(getattr(self.rules, f"{group.prefix}{name}").rule) for name in names]
        return Steps(steps, settings.release.allowed_signers, settings.release.required_approvals)

    def _step(self, rule: Any) -> ModelTask:
        """Return the step of a rule, with MODEL in place of the model's folder."""
        job = Job(rule, self.workflow.dag, {"model": MODEL})
        words = formatted(
            rule.shellcmd,
            input=job.input,
            output=job.output,
            params=job.params,
            log=job.log,
            threads=THREADS,
        )
        return ModelTask(
            rule=rule.name,
            code=rule.shellcmd,
            params=self.workflow.persistence._params(job),
            command=_command(words),
            inputs=[str(path) for path in job.input],
            outputs=[str(path) for path in job.output],
        )


def _command(text: str) -> list[str]:
    """Return the script and the arguments of a rule's shell command, without what comes before them."""
    found = unquoted(text)
    return found[found.index("python") + 1 :]
