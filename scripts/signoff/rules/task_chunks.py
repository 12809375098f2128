"""Chunks of tasks: those of several weeks of the backtest, or of several parts of the data, run in one process."""

import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snakemake.jobs import Job
from snakemake.utils import format as formatted

from signoff.rules.asked import is_forced, single_targets
from signoff.rules.flags import unquoted
from signoff.rules.steps import THREADS, ModelTask, write_if_changed

# At most this many jobs. A process needs as long to begin as for five models, so a job makes at least 50, and 100 if
# there are ten jobs.
_JOBS, _MODELS = 50, 50
# With this many rows, reading and fitting take far longer than starting a process.
_ROWS = 200_000


def chunked(rows: dict[str, int | None], per_job: int | None, most_rows: int = _ROWS) -> list[list[str]]:
    """Return the models, weeks or parts of each job, sorted by name.

    Parameters
    ----------
    rows
        The number of rows of each model; None if they were not counted.
    per_job
        The models of each job. None: 50, 100 for more than 500 models, or as many as make 50 jobs, but fewer if they
        have more than `most_rows` together; a model whose rows were not counted has its own job.
    most_rows
        The most rows of the models of a job.
    """
    most = per_job or max(_MODELS, min(2 * _MODELS, math.ceil(len(rows) / 10)), math.ceil(len(rows) / _JOBS))
    found: list[list[str]] = []
    held = 0
    for name in sorted(rows):
        count = rows[name]
        more = 0 if per_job else most_rows if count is None else count
        if not found or len(found[-1]) == most or held + more > most_rows:
            found.append([])
            held = 0
        found[-1].append(name)
        held += more
    return found


@dataclass(frozen=True)
class TaskChunks:
    """Chunks of weeks or parts, as functions of wildcards for the inputs and params of the rule of a chunk.

    Parameters
    ----------
    workflow, rules
        Snakemake's.
    rule
        The name of the rule of a chunk.
    tasks
        The names of the rules that a job runs for each week or part, in their order.
    wildcard
        Their wildcard.
    rows
        Returns the rows of each week or part.
    marker
        The pattern of the output of a chunk.
    few_rows
        With fewer rows in a job, starting its process takes longer than its work.
    """

    workflow: Any
    rules: Any
    rule: str
    tasks: tuple[str, ...]
    wildcard: str
    rows: Callable[[], dict[str, int]]
    marker: str
    few_rows: int

    def markers(self, _wildcards: Any = None) -> list[str]:
        """Return the outputs of all chunks. Ends the run with one line if a file of a single task is asked for, too."""
        outputs = [str(each) for task in self.tasks for each in self._rule(task).output]
        if alone := single_targets(self.workflow, *(each.partition("{")[0] for each in outputs)):
            sys.exit(
                f"ERROR - two jobs of this run would write {alone[0]}: one for it alone, and one for many. Make it and "
                "the others one after the other."
            )
        return [self.marker.format(chunk=number) for number in range(len(self._chunks()))]

    def inputs(self, wildcards: Any) -> list[str]:
        """Return the file that lists the tasks of a chunk, and the inputs of these tasks that none of them writes.

        The file is rewritten only if it has changed.
        """
        plan = {
            name: [step_of(self.workflow, self._rule(task), {self.wildcard: name}) for task in self.tasks]
            for name in self._chunks()[int(wildcards.chunk)]
        }
        path = Path(".snakemake", f"signoff_{self.rule}", f"{wildcards.chunk}.json")
        write_if_changed(path, {name: [asdict(step) for step in steps] for name, steps in plan.items()})
        steps = [step for each in plan.values() for step in each]
        written = {path for step in steps for path in step.outputs}
        return [str(path), *sorted({path for step in steps for path in step.inputs} - written)]

    def forced(self) -> bool:
        """Return whether the command line asks for all tasks to be run, whatever has changed."""
        return is_forced(self.workflow, self.rule, *self.tasks)

    def _chunks(self) -> list[list[str]]:
        rows = self.rows()
        # One job for each core. Without room for one more, or for a few rows, the last ones would need another job.
        share = math.ceil(sum(rows.values()) / (self.workflow.cores or 1)) + max(rows.values(), default=0)
        most = share if share <= 1.25 * _ROWS else _ROWS
        return chunked(dict(rows), None, max(self.few_rows, most))

    def _rule(self, name: str) -> Any:
        return getattr(self.rules, name).rule


def step_of(workflow: Any, rule: Any, wildcards: dict[str, str]) -> ModelTask:
    """Return what the job of a rule with these wildcards would run."""
    job = Job(rule, workflow.dag, wildcards)
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
        params=workflow.persistence._params(job),
        command=_command(words),
        inputs=[str(path) for path in job.input],
        outputs=[str(path) for path in job.output],
    )


def _command(text: str) -> list[str]:
    """Return the script and the arguments of a rule's shell command, without what comes before them."""
    found = unquoted(text)
    return found[found.index("python") + 1 :]
