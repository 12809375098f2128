"""Snakemake's record of a task that it has not run itself, in the form of its own.

Importing the part of Snakemake that writes it takes as long as two small models, in each job with many models.
"""

import json
import os
from base64 import urlsafe_b64encode
from pathlib import Path

from signoff.rules.steps import ModelTask

_FOLDER = Path(".snakemake/metadata")
# Snakemake compares neither params nor code with a record of another version.
_VERSION = 6


def record(step: ModelTask) -> None:
    """Record what the outputs of a task were made from, as Snakemake does for a job."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    most = os.pathconf(_FOLDER, "PC_NAME_MAX") - 1
    content = {"rule": step.rule, "code": step.code, "params": step.params, "record_format_version": _VERSION}
    for output in step.outputs:
        path = _path_of(output, most)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")


def _path_of(output: str, most: int) -> Path:
    """Return the file of the record of an output; a name of more than `most` characters becomes folders."""
    name = urlsafe_b64encode(output.encode()).decode()
    *folders, last = (name[start : start + most] for start in range(0, len(name), most))
    return _FOLDER.joinpath(*(f"@{each}" for each in folders), last)
