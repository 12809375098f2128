"""Helpers of the rules: the checked config, the code that a task runs, the version of the source."""

import ast
import atexit
import functools
import json
import os
import shlex
import sys
import time
from pathlib import Path

SCRIPTS = Path(workflow.basedir, "scripts")
sys.path.insert(0, str(SCRIPTS))

import contract
import source
from settings import check_config
from task import TaskError

STARTED = time.time()

try:
    check_config(config, Path(workflow.basedir, "workflow/schemas/config.schema.yaml"))
    CONTRACT = config["validation"]["schema"]
    KINDS = contract.kinds(contract.read_contract(CONTRACT)) if CONTRACT else {}
except TaskError as error:
    sys.exit(f"ERROR - {error}")

# The tasks run under the Python that runs Snakemake, whatever else is on the PATH.
shell.prefix(f"export PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH; ")


def script(name):
    """Return the path of a script from the working folder, so that the command shown is one that a person can type."""
    return os.path.relpath(SCRIPTS / f"{name}.py")


@functools.cache
def helpers(name):
    """Return the paths of the modules in scripts/ that a script imports, and those that they import."""
    tree = ast.parse((SCRIPTS / f"{name}.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {getattr(node, "module", None) for node in imports} | {each.name for node in imports for each in node.names}
    local = [each for each in names if each and (SCRIPTS / f"{each}.py").is_file()]
    return sorted({path for each in local for path in (script(each), *helpers(each))})


def flags(**values):
    """Return command-line flags, quoted for the shell: none for None, one each for a list, JSON for a mapping."""
    words = []
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, dict):
            value = json.dumps(value, sort_keys=True)
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                words.append(shlex.quote(f"{flag}={each}"))
    # Snakemake formats what it is given: a brace in a config must reach the script as it is.
    return " ".join(words)


@functools.cache
def source_version(_wildcards=None):
    """Return what changes when the source does; computed once a run."""
    reader = config["reader"]
    url, data = config["raw_data_source_url"], Path("data/raw/raw_data.csv")
    return source.source_version(url, data, reader["on_unreachable"], reader["timeout_s"])


def memory(megabytes):
    """Return the memory of a job: so much at least, twelve times its input's size, and more with each attempt."""
    return lambda wildcards, input, attempt: attempt * max(megabytes, int(12 * input.size_mb))


def explain_failure():
    """Print for each task that failed in this run its cause and its log."""
    for log in sorted(Path("logs").glob("*.log"), key=lambda path: path.stat().st_mtime):
        if log.stat().st_mtime < STARTED - 1:
            continue
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line.partition(" - ERROR - ")[2] for line in lines if " - ERROR - " in line]
        if errors:
            cause = errors[-1].removeprefix(f"[{log.stem}] ")
        elif any(f"[{log.stem}] end after" in line for line in lines):
            continue
        else:
            cause = "it stopped without a word; was it killed, or out of memory?"
        print(f"\n{log.stem} failed: {cause}\nIts log: {log}", file=sys.stderr)
