"""The tasks of many models, or of many weeks, in one process, which has imported once and forks, once for each core.

A model that fails leaves the others alone. If a fork is killed, its current model has failed, and another fork goes on
with the next one. A task is skipped if its command, its code and the content of its inputs and outputs are those of its
last run. The same holds for a week.
"""

import functools
import hashlib
import importlib
import json
import logging
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from signoff.base.errors import TaskError
from signoff.base.files import read_json, sha256, write_json
from signoff.rules.forks import Ended, Fork
from signoff.rules.records import record
from signoff.rules.steps import THREADS, ModelTask

# A fork costs as much as a third of a small model, and its memory may grow.
_MODELS_PER_FORK = 20
# With more at a time, their memory could exceed what the job has asked for.
_FORKS = 8
# The command lines that may run here, whatever the plan names.
_TASKS = {"ingest_data", "validate_data", "clean_data", "feature_engineering", "gather_features"}
_TASKS |= {"train_model", "evaluate_model", "refit_model", "row_budget"}
_TASKS |= {"backtest_week", "live_record", "explain_model", "compare_model", "diagnose", "generate_report"}


class _LastRun(TypedDict):
    """The digest of everything that a task was made from, and those of its outputs."""

    made_from: str
    outputs: dict[str, str]


@dataclass
class OneProcess:
    """A process that runs the tasks of models.

    Parameters
    ----------
    threads
        The cores to use: for the only model, or for as many models at a time.
    force
        Whether all tasks run, whatever has changed.
    done
        The folder that records what each task was made from.
    """

    threads: int
    force: bool
    done: Path
    _written: set[str] = field(init=False, default_factory=set)
    _digests: dict[str, str] = field(init=False, default_factory=dict)

    def bring_up_to_date(self, all_steps: Mapping[str, list[ModelTask]]) -> Iterator[tuple[str, str | None]]:
        """Run the tasks whose inputs have changed; yield each model or week with what went wrong, if anything.

        Parameters
        ----------
        all_steps
            The tasks of each model or week, in their order.

        Raises
        ------
        TaskError
            A task was stopped from outside.
        """
        self._written = {path for steps in all_steps.values() for step in steps for path in step.outputs}
        # A model that is alone has all cores.
        cores, most = (self.threads, 1) if len(all_steps) == 1 else (1, min(self.threads, _FORKS))
        work = functools.partial(self._work_for, all_steps, cores)
        unseen, outdated, forks = deque(all_steps), None, list[Fork]()
        try:
            while unseen or outdated or forks:
                if unseen and not outdated:
                    model = unseen.popleft()
                    if self._is_up_to_date(model, all_steps[model]):
                        yield model, None
                    else:
                        outdated = model
                if outdated and _give(outdated, all_steps[outdated], forks, most, work):
                    outdated = None
                if not unseen and not outdated:
                    for fork in forks:
                        fork.give_no_more()
                # While forks are at work, the next model is looked at.
                wait = 0 if unseen and not outdated else None
                for fork in select.select(forks, [], [], wait)[0] if forks else []:
                    yield from fork.listen()
                forks = [fork for fork in forks if fork.fileno() >= 0]
        finally:
            for fork in forks:
                fork.stop()

    def complete(
        self, all_steps: Mapping[str, list[ModelTask]], task: str
    ) -> tuple[dict[str, str], dict[str, list[int]]]:
        """Bring all up to date, and log each as `task`; return why some failed, and size and time in ns of each output.

        Other parameters and errors are those of `bring_up_to_date`.
        """
        failed = {}
        started = time.monotonic()
        for name, why in self.bring_up_to_date(all_steps):
            if why:
                failed[name] = why
                logging.warning("[%s] %s failed: %s", task, name, why)
            else:
                logging.info("[%s] %s is up to date after %.1f s", task, name, time.monotonic() - started)
            started = time.monotonic()
        files = {}
        for path in sorted({path for steps in all_steps.values() for step in steps for path in step.outputs}):
            if Path(path).is_file():
                files[path] = [(found := Path(path).stat()).st_size, found.st_mtime_ns]
        return dict(sorted(failed.items())), files

    def _work_for(self, all_steps: Mapping[str, list[ModelTask]], cores: int, model: str) -> Ended:
        """Run the outdated tasks of a model in a fork, each with so many cores."""
        before = set(sys.modules)
        failed = self._run(model, all_steps[model], cores)
        modules = list(sys.modules.items())
        return failed, [name for name, module in modules if name not in before and _is_found_by(name, module)]

    def _is_up_to_date(self, model: str, steps: list[ModelTask]) -> bool:
        done = self._read_done(model)
        return not self.force and all(self._is_done(each, done) for each in steps)

    def _run(self, model: str, steps: list[ModelTask], cores: int) -> list[str]:
        """Run the outdated tasks, except those that need the output of a failed one; return the failed ones."""
        done, failed = self._read_done(model), []
        new: set[str] = set()
        missing: set[str] = set()
        # The record of a killed task describes other files, so that the task runs again.
        for step in steps:
            if missing.intersection(step.inputs):
                missing.update(step.outputs)
                continue
            if not self.force and not new.intersection(step.inputs) and self._is_done(step, done):
                continue
            made_from = self._made_from(step)
            if code := _code_of(step, cores):
                if code >= 128:
                    sys.exit(code)
                failed.append(step.task)
                missing.update(step.outputs)
                continue
            new.update(step.outputs)
            # That of an earlier job: Snakemake would take it for an output that is older than its inputs.
            step.benchmark.unlink(missing_ok=True)
            record(step)
            done[step.task] = {"made_from": made_from, "outputs": {path: sha256(Path(path)) for path in step.outputs}}
        write_json(self._record(model), done)
        return failed

    def _is_done(self, step: ModelTask, done: dict[str, _LastRun]) -> bool:
        """Return whether a task's last run had the same command, code and inputs, and its outputs are still there."""
        last = done.get(step.task)
        return bool(
            last
            and all(Path(path).is_file() for path in [*step.inputs, *step.outputs])
            and last["made_from"] == self._made_from(step)
            and last["outputs"] == {path: sha256(Path(path)) for path in step.outputs}
        )

    def _made_from(self, step: ModelTask) -> str:
        """Return the digest of everything that determines the output of a task."""
        # A project that was moved, or is mounted elsewhere, is the same.
        here = f"{Path.cwd()}/"
        inputs = {path.removeprefix(here): self._digest(path) for path in step.inputs}
        command = [word.removeprefix(here) for word in step.command]
        # Not the name of the rule, which changes when another model gets keys of its own.
        facts = [step.code, step.params, command, inputs]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _digest(self, path: str) -> str:
        """Return the digest of an input; that of a file that no task writes is computed once."""
        if path in self._written:
            return sha256(Path(path))
        if path not in self._digests:
            self._digests[path] = sha256(Path(path))
        return self._digests[path]

    def _record(self, model: str) -> Path:
        # In a folder of its own: whoever replaces a file looks through its folder for what a killed process has left.
        return self.done / model / "tasks.json"

    def _read_done(self, model: str) -> dict[str, _LastRun]:
        """Return the recorded digests of a model's tasks; empty if unknown."""
        try:
            return dict(read_json(self._record(model)))
        except (FileNotFoundError, TaskError):
            return {}


def _give(model: str, steps: list[ModelTask], forks: list[Fork], most: int, work: Callable[[str], Ended]) -> bool:
    """Give a model to a fork that has ended with its last one, or to a new one; return False if all are at work.

    Raises
    ------
    TaskError
        The plan names something else than the tasks of a model.
    """
    # They are imported for all later forks.
    for step in steps:
        _command_line(step.task)
    free = [fork for fork in forks if fork.takes and not fork.model]
    # Code of the user could change what the next model's tasks find.
    by_itself = any(map(_runs_own_code, steps))
    if by_itself:
        for fork in free:
            fork.give_no_more()
    if not free or by_itself:
        if len(forks) == most:
            return False
        free = [Fork.begin(work, 1 if by_itself else _MODELS_PER_FORK, forks)]
        forks += free
    free[0].give(model)
    return True


def _runs_own_code(step: ModelTask) -> bool:
    """Return whether a task runs code of the user."""
    return any(each.startswith(("--custom=", "--metrics=")) for each in step.command)


def _is_found_by(name: str, module: Any) -> bool:
    """Return whether another process imports a module by this name."""
    spec = getattr(module, "__spec__", None)
    return spec is not None and spec.name == name


def _command_line(task: str) -> Any:
    """Return the command line of a task. Raises TaskError if it is not one that a model needs."""
    if task not in _TASKS:
        raise TaskError(f"{task} is not a task of a model. Delete the folders .snakemake/signoff_*, and run again.")
    return importlib.import_module(task)


def _code_of(step: ModelTask, threads: int) -> int:
    """Run a task in this process; return its exit code."""
    arguments = [each.replace(THREADS, str(threads)) for each in step.command[1:]]
    # Snakemake makes the folders of what a job writes.
    for path in (*map(Path, step.outputs), step.log):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _command_line(step.task).main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1 if end.code else 0
    return 0
