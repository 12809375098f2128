"""The last output of a run: the summary, and the cause and the log of each failed task."""

import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signoff.base.files import read_utf8, written_since
from signoff.release.verdict import show_summary


@dataclass(frozen=True)
class Ending:
    """The last output of a run.

    Parameters
    ----------
    folder
        The project's folder, absolute: Snakemake has left it by the time that it exits.
    started
        When the run began, as `time_of_files` tells.
    many_models
        Whether the project has many models, each with logs in its folder.
    next_command
        The command for the report of this run.
    """

    folder: Path
    started: float
    many_models: bool
    next_command: str

    def say(self) -> None:
        """Print the summary if the run came to a verdict, and the cause and the log of each failed task."""
        for log in self._logs():
            lines = read_utf8(log, errors="replace").splitlines()
            name = log.relative_to(self.folder)
            # A rule that does a task for a part of the data has a different name than the task.
            task = name.with_suffix("").parts[name.parts.index("logs") + 1]
            if task == "verdict" and not self.many_models:
                show_summary(log, self.next_command)
            if any(re.search(r"\[\w+\] end after ", line) for line in lines):
                continue
            errors = [line.partition(" - ERROR - ")[2] for line in lines if " - ERROR - " in line]
            killed = "it stopped without a word; was it killed, or out of memory?"
            cause = re.sub(r"^\[\w+\] ", "", errors[-1]) if errors else killed
            print(f"\n{task} failed: {cause}{self._said_by_slurm(task)}\nIts log: {name}", file=sys.stderr)

    def _logs(self) -> list[Path]:
        """Return the logs that this run has written, the oldest first."""
        logs = [*Path(self.folder, "logs").rglob("*.log")]
        logs += self.folder.glob("models/*/logs/*.log") if self.many_models else []
        return self._of_this_run(logs)

    def _said_by_slurm(self, task: str) -> str:
        """Return why Slurm ended a task's last job, if it did: cancelled, or over its memory or time."""
        logs = self._of_this_run([*Path(self.folder, ".snakemake/slurm_logs").glob(f"*_{task}*/**/*.log")])
        text = read_utf8(logs[-1], errors="replace") if logs else ""
        said = re.findall(r"^slurmstepd\S*: error: (.*)", text, re.M)
        # The line with the amount of memory first: the two lines about memory come in either order.
        said.sort(key=lambda line: "memory limit (" not in line)
        return "".join(f" Slurm: {line}" for line in said[:1])

    def _of_this_run(self, logs: list[Path]) -> list[Path]:
        """Return the logs that were written since the run began, the oldest first."""
        return written_since(logs, self.started)


def next_command(workflow: Any, folder: Path) -> str:
    """Return the command for the report of a run: the one that make has set, or one of Snakemake.

    Parameters
    ----------
    workflow
        Snakemake's object, for the Snakefile and the config files of the command line.
    folder
        The project's folder, absolute.
    """
    words = ["snakemake"]
    if folder != Path(workflow.basedir):
        words += ["-s", workflow.main_snakefile, "--directory", str(folder)]
    words.append("reports/final_report.md")
    if folder != Path(workflow.basedir) and workflow.overwrite_configfiles:
        words += ["--configfile", *workflow.overwrite_configfiles]
    return os.environ.get("SIGNOFF_NEXT") or shlex.join(map(str, words))
