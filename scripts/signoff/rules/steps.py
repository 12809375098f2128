"""The tasks of a model as data: what the rules of a project would run, for one process that runs them all."""

import ast
import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from signoff.base.files import read_bytes, read_json, replacing
from signoff.rules.flags import quoted, unquoted

# Placeholders for the parts that differ between models. No folder and no flag has such a name.
MODEL, CHAMPION, DIAGNOSED = "\x1fmodel\x1f", "\x1fchampion\x1f", "\x1fdiagnosed\x1f"
LIVE, PREDICTIONS, THREADS = "\x1flive\x1f", "\x1fpredictions\x1f", "\x1fthreads\x1f"
# Where the process of a chunk finds its models, and where it records what each was made from.
CHUNKS_FOLDER = Path(".snakemake/signoff_models")


@dataclass(frozen=True)
class ModelTask:
    """A task of a model.

    Attributes
    ----------
    rule
        The name of the rule, as Snakemake records it.
    code
        The rule's shell command, as Snakemake records it.
    params
        The rule's params, as Snakemake records them.
    command
        The path of the script, and its arguments.
    inputs, outputs
        The files that the rule declares.
    """

    rule: str
    code: str
    params: list[str]
    command: list[str]
    inputs: list[str]
    outputs: list[str]

    @property
    def task(self) -> str:
        """The name of the script, which is that of the task."""
        return Path(self.command[0]).stem

    @property
    def log(self) -> Path:
        """The log of the task."""
        return Path(next(each for each in self.command if each.startswith("--log=")).removeprefix("--log="))

    @property
    def benchmark(self) -> Path:
        """The file in which a job for this task alone records its time and memory."""
        return self.log.parent / "benchmarks" / f"{self.log.stem}.tsv"

    def of(self, model: str, own: Mapping[str, str], pieces: Iterable[str]) -> "ModelTask":
        """Return the step of one model.

        Parameters
        ----------
        model
            The model's folder.
        own
            What stands for CHAMPION, DIAGNOSED, LIVE (flags) and PREDICTIONS: it depends on the current release.
        pieces
            The files with the model's rows, which the first task reads.
        """

        def texts(values: list[str]) -> list[str]:
            return [each.replace(MODEL, model) for each in values]

        # As the rule of the report declares it, once there is a release.
        live = [each.removeprefix("--live=") for each in unquoted(own[LIVE])] if LIVE in self.command else []
        words: list[str] = []
        for each in self.command:
            words += unquoted(own[each]) if each in own else [each]
        return dataclasses.replace(
            self,
            params=[_param(each, model, own) for each in self.params],
            command=texts(words),
            inputs=texts(self.inputs) + (list(pieces) if self.task == "ingest_data" else []) + live,
            outputs=texts(self.outputs),
        )


def _param(recorded: str, model: str, own: Mapping[str, str]) -> str:
    """Return a param of a model as Snakemake records it: as Python writes it."""
    for placeholder, words in own.items():
        if recorded == repr(placeholder):
            return repr(words)
    if repr(MODEL)[1:-1] not in recorded:
        return recorded
    # Whether a word needs quotes depends on the model's name.
    return repr(quoted(each.replace(MODEL, model) for each in unquoted(ast.literal_eval(recorded))))


@dataclass(frozen=True)
class Steps:
    """The steps of all models that have the same config, in the order in which they run.

    Attributes
    ----------
    allowed_signers, required_approvals
        As in the config: they say how the current release of a model is verified.
    """

    steps: list[ModelTask]
    allowed_signers: str | None
    required_approvals: int

    def write(self, path: Path) -> None:
        """Write the steps, unless the file holds them already, so that its outputs stay up to date."""
        write_if_changed(path, dataclasses.asdict(self))

    @classmethod
    def read(cls, path: Path) -> "Steps":
        """Return the steps that `write` has written."""
        found = read_json(path)
        return cls(**{**found, "steps": [ModelTask(**each) for each in found["steps"]]})


class Member(TypedDict):
    """A model of a chunk: the file with its steps, and the files with its rows."""

    steps: str
    pieces: list[str]


def write_if_changed(path: Path, value: Any) -> None:
    """Write `value` as JSON, unless the file holds it already."""
    content = json.dumps(value, ensure_ascii=True).encode()
    if not path.is_file() or read_bytes(path) != content:
        with replacing(path) as new:
            new.write_bytes(content)
