"""The tasks of many models in one process, which has imported once and forks for each model.

A fork has its own log, memory and signals, so a model that fails, or is killed, leaves the others alone. A task is
skipped if its command, its code and the content of its inputs and outputs are those of its last run.
"""

import contextlib
import gc
import hashlib
import importlib
import json
import logging
import os
import signal
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from snakemake.persistence import RECORD_FORMAT_VERSION, MetadataRecord
from snakemake.persistence.file import FilePersistence

from signoff.base.errors import TaskError
from signoff.base.files import read_json, sha256, write_json
from signoff.rules.place import Place
from signoff.rules.settings import Release
from signoff.rules.steps import CHAMPION, DIAGNOSED, FOLDER, LIVE, PREDICTIONS, THREADS, Member, Step, Steps

_PLACE = Place("models/{model}/")
# The command lines that may run here, whatever the plan names.
_TASKS = {"ingest_data", "validate_data", "clean_data", "feature_engineering", "gather_features"}
_TASKS |= {"train_model", "evaluate_model", "refit_model", "row_budget"}
_TASKS |= {"live_record", "explain_model", "compare_model", "diagnose", "generate_report"}


@dataclass
class OneProcess:
    """A process that runs the tasks of models.

    Parameters
    ----------
    threads
        The cores that a task may use.
    force
        Whether all tasks run, whatever has changed.
    """

    threads: int
    force: bool
    _records: FilePersistence = field(init=False)
    _digests: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._records = FilePersistence(nolock=True, path=Path(".snakemake"))

    def bring_up_to_date(self, model: str, member: Member) -> str | None:
        """Run the tasks of a model whose inputs have changed, in a fork; return what went wrong, if anything did."""
        steps = steps_of(model, member)
        if not self.force and all(self._is_done(each, _read_done(model)) for each in steps):
            return None
        for each in steps:
            _command_line(each.task)
        # Garbage collection of imported objects would copy their memory in a fork.
        gc.freeze()
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            _end(lambda: self._in_fork(model, steps, writing))
        os.close(writing)
        status = None
        try:
            with open(reading, "rb") as file:
                said = file.read()
            status = os.waitpid(child, 0)[1]
        finally:
            if status is None:
                _stop(child)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        if code >= 128:
            raise TaskError(f"{model}: stopped from outside (exit code {code}). Run it again to go on.")
        if not said:
            return f"ended with exit code {code}"
        found = json.loads(said)
        # Late imports of the tasks are then already done for the next model.
        for name in found["imported"]:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        return ", ".join(found["failed"]) or None

    def _in_fork(self, model: str, steps: list[Step], writing: int) -> None:
        """Run the tasks, and write which failed."""
        before = set(sys.modules)
        failed = self._run(model, steps)
        imported = [
            name for name, module in list(sys.modules.items()) if name not in before and _is_found_by(name, module)
        ]
        # If this process's parent was killed, nobody reads it, and the next run finds the model up to date.
        with contextlib.suppress(BrokenPipeError), open(writing, "wb") as file:
            file.write(json.dumps({"failed": failed, "imported": imported}).encode())

    def _run(self, model: str, steps: list[Step]) -> list[str]:
        """Run the outdated tasks, except those that need the output of a failed one; return the failed ones."""
        done, failed = _read_done(model), []
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
            if code := _code_of(step, self.threads):
                if code >= 128:
                    sys.exit(code)
                failed.append(step.task)
                missing.update(step.outputs)
                continue
            new.update(step.outputs)
            # That of an earlier job: Snakemake would take it for an output that is older than its inputs.
            step.benchmark.unlink(missing_ok=True)
            for path in step.outputs:
                record = MetadataRecord(rule=step.rule, code=step.code, params=step.params)
                record.record_format_version = RECORD_FORMAT_VERSION
                self._records._write_record(path, record)
            done[step.task] = {"made_from": made_from, "outputs": {path: sha256(Path(path)) for path in step.outputs}}
        write_json(_done(model), done)
        return failed

    def _is_done(self, step: Step, done: dict[str, Any]) -> bool:
        """Return whether a task's last run had the same command, code and inputs, and its outputs are still there."""
        last = done.get(step.task)
        return bool(
            last
            and all(Path(path).is_file() for path in [*step.inputs, *step.outputs])
            and last["made_from"] == self._made_from(step)
            and last["outputs"] == {path: sha256(Path(path)) for path in step.outputs}
        )

    def _made_from(self, step: Step) -> str:
        """Return the digest of everything that determines the output of a task."""
        inputs = {path: self._digest(path) for path in step.inputs}
        # Not the name of the rule, which changes when another model gets keys of its own.
        facts = [step.code, step.params, step.command, inputs]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _digest(self, path: str) -> str:
        """Return the digest of an input; that of what all models share is computed once."""
        if path.startswith(("models/", "data/")):
            return sha256(Path(path))
        if path not in self._digests:
            self._digests[path] = sha256(Path(path))
        return self._digests[path]


def steps_of(model: str, member: Member) -> list[Step]:
    """Return the tasks of a model, in the order in which they run."""
    found = Steps.read(Path(member["steps"]))
    champion = _PLACE.champion_flags(Release(found.allowed_signers, found.required_approvals))
    wildcards = SimpleNamespace(model=model)
    own = {CHAMPION: champion(wildcards), DIAGNOSED: _PLACE.diagnosed_flags(wildcards)}
    own |= {LIVE: _PLACE.live_flags(wildcards), PREDICTIONS: _PLACE.predictions(wildcards)}
    steps = [each.of(model, own, member["pieces"]) for each in found.steps]
    # Before the first release, there is nothing to compare.
    return [each for each in steps if each.task != "live_record" or own[CHAMPION]]


def _is_found_by(name: str, module: Any) -> bool:
    """Return whether another process imports a module by this name."""
    spec = getattr(module, "__spec__", None)
    return spec is not None and spec.name == name


def _done(model: str) -> Path:
    return FOLDER / "done" / f"{model}.json"


def _read_done(model: str) -> dict[str, Any]:
    """Return the recorded digests of a model's tasks; empty if unknown."""
    try:
        return dict(read_json(_done(model)))
    except (FileNotFoundError, TaskError):
        return {}


def _command_line(task: str) -> Any:
    """Return the command line of a task. Raises TaskError if it is not one that a model needs."""
    if task not in _TASKS:
        raise TaskError(f"{task} is not a task of a model. Delete .snakemake/signoff_models, and run again.")
    return importlib.import_module(task)


def _code_of(step: Step, threads: int) -> int:
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


def _end(work: Any) -> None:
    """End this process, a fork, after its work."""
    code = 1
    try:
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _stop(child: int) -> None:
    """End a fork whose parent was asked to end, and wait for it."""
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
