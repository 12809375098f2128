# What all rules use: the checked config as `settings`, and helpers, which scripts/signoff/rules/ defines
import atexit
import os
import sys
from pathlib import Path

from snakemake.sourcecache import LocalSourceFile

# The folder of this file. If this workflow is a module of another one, the main Snakefile is elsewhere.
if not isinstance(workflow.current_basedir, LocalSourceFile):
    sys.exit('ERROR - as a module, this workflow is used from a clone on disk: snakefile: "PATH/Snakefile".')
SCRIPTS = Path(os.path.abspath(workflow.current_basedir.path)).parents[1] / "scripts"
if str(SCRIPTS) not in sys.path:
    sys.path.insert(0, str(SCRIPTS))

from signoff.base.errors import TaskError
from signoff.base.files import time_of_files
from signoff.ops import snakemake_patches, warm
from signoff.release.approval import features_path, model_path, raw_path, refit_path
from signoff.release.store import Releases
from signoff.release.tracking import read_tracking
from signoff.rules.batches import batch_file, state_of_batch
from signoff.rules.beginning import check_locale, task_prefix
from signoff.rules.code import CodeInputs
from signoff.rules.ending import Ending, next_command
from signoff.rules.flags import flags, more_flags, words
from signoff.rules.needs import memory, minutes
from signoff.rules.origin import Origin
from signoff.rules.parts import Parts
from signoff.rules.place import Place
from signoff.rules.settings import checked
from signoff.rules.task_chunks import TaskChunks

# models.smk reads the rules once for each group of models, and says which these are.
place = Place(**config.pop("within", {}))
try:
    check_locale()
    settings, contract = checked(config, workflow.configfiles)
except TaskError as error:
    sys.exit(f"ERROR - {error}")

origin = Origin(settings, Path(raw_path(settings)))
parts = Parts(checkpoints)
part_chunks = TaskChunks(
    workflow,
    rules,
    "parts_chunk",
    ("ingest_part", "validate_part", "clean_part", "feature_part"),
    wildcard="part",
    rows=parts.rows,
    marker="data/.chunks/{chunk}.json",
    few_rows=5_000,
)
code = CodeInputs(SCRIPTS, workflow.storage_settings.default_storage_provider is not None, bool(place.folder))
script, helpers, on_disk = code.script, code.helpers, code.on_disk
if code.in_store:
    # Snakemake would look on disk for the output to update. In a store, it is written from scratch.
    update = str


# Once in a process.
if not place.folder:
    snakemake_patches.patch(workflow.is_main_process)
    snakemake_patches.start_jobs_with(SCRIPTS / "run_snakemake.py")
    if not workflow.output_settings.verbose:
        snakemake_patches.count_modules(SCRIPTS)
    shell.prefix(task_prefix(workflow.output_settings.verbose))
    snakemake_patches.start_tasks_warm(warm.programs())


wildcard_constraints:
    model=place.names,


# Called when Snakemake exits: its own last words would push the summary and the causes off the screen.
say_how_it_ended = Ending(
    Path.cwd(), time_of_files(Path(".snakemake")), settings.has_many_models, next_command(workflow, Path.cwd())
).say


onsuccess:
    atexit.register(say_how_it_ended)


onerror:
    atexit.register(say_how_it_ended)
