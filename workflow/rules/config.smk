"""The checked config, and what the process of a run and those of its tasks are given."""

import atexit
import functools
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from snakemake.io import sourcecache_entry
from snakemake.sourcecache import LocalSourceFile

# Under models in the config, the folder of each model, with {model} in it, and which models these rules are for.
ONE_OF = config.pop("within", {"folder": "", "names": ".+", "plan": None})
WITHIN = ONE_OF["folder"]
# Of this file, not of the main Snakefile, which is another one where this workflow is a module.
HERE = workflow.current_basedir
if not isinstance(HERE, LocalSourceFile):
    sys.exit('ERROR - as a module, this workflow is used from a clone on disk: snakefile: "PATH/Snakefile".')
SCRIPTS = Path(os.path.abspath(HERE.path)).parents[1] / "scripts"
if str(SCRIPTS) not in sys.path:
    sys.path.insert(0, str(SCRIPTS))

from signoff.base.errors import TaskError
from signoff.base.files import read_json, sha256
from signoff.config.settings import check_config, refuse_code
from signoff.features.user_code import read_code
from signoff.ops.damaged import rebuild_damaged_outputs
from signoff.ops.folder import clear_dead_lock, end_when_told, name_the_holder
from signoff.ops.old_outputs import keep_old_outputs
from signoff.release.approval import custom_code, features_path, model_path, raw_path
from signoff.release.store import current_release
from signoff.release.tracking import check_tracking, read_record
from signoff.release.verdict import show_summary
from signoff.rules import code
from signoff.source import fetch
from signoff.source.options import Reader
from signoff.tables import contract

try:
    refuse_code(workflow.configfiles)
    check_config(config, SCRIPTS.parent / "workflow/schemas/config.schema.yaml")
    check_tracking(config)
    CONTRACT = config["validation"]["schema"]
    RULES = contract.read_contract(CONTRACT) if CONTRACT else None
    for each in custom_code(config):
        read_code(each)
    KINDS = contract.kinds(RULES) if RULES else {}
    DATE_FORMATS = contract.formats(RULES) if RULES else {}
    PAST_ONLY = contract.past_only(RULES, config["time_column"])
except TaskError as error:
    sys.exit(f"ERROR - {error}")


if not WITHIN:
    if workflow.is_main_process:
        clear_dead_lock()
        name_the_holder()
        end_when_told()
        rebuild_damaged_outputs()
    keep_old_outputs()


wildcard_constraints:
    model=ONE_OF["names"],


PARTITION_BY = config["data"]["partition_by"]
# The raw data as one file; with parts there is none to look at without gathering it.
WHOLE_RAW = [] if PARTITION_BY else "data/raw/raw_data.csv"
MANY_MODELS = bool(config["models"]["by"] or config["models"]["each"])


def relay():
    """Return the shell words that send a task's lines through this process, which prints them above the progress bars.

    Written straight to the terminal, lines and bars would overwrite each other.
    """
    folder = tempfile.mkdtemp(prefix="signoff-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    pipe = os.path.join(folder, "stderr")
    os.mkfifo(pipe)
    # Open for writing too, so that reading does not end with the first task.
    lines = os.fdopen(os.open(pipe, os.O_RDWR), encoding="utf-8", errors="replace")
    # Rich replaces sys.stderr while its bars are up: it is looked up anew for each line.
    threading.Thread(target=lambda: [sys.stderr.write(line) for line in lines], daemon=True).start()
    return f"exec 2> {shlex.quote(pipe)}; "


# OpenMP's threads wait a moment before they sleep. By default they burn for long what other jobs could use (twice the
# time on a busy machine); asleep at once, each of a model's thousands of waits costs more than the work between them.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# The tasks run under the Python that runs Snakemake, whatever else is on the PATH.
PREFIX = f"export PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH; "
if workflow.output_settings.verbose:
    PREFIX += "export SIGNOFF_VERBOSE=1; "
if not WITHIN:
    if sys.stderr.isatty():
        PREFIX += relay()
    shell.prefix(PREFIX)
