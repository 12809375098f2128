"""Helpers of the rules: the checked config, the code that a task runs, the version of the source."""

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

# Under models in the config, the folder of each model, with {model} in it, and which models these rules are for.
ONE_OF = config.pop("within", {"folder": "", "names": ".+", "plan": None})
WITHIN = ONE_OF["folder"]
SCRIPTS = Path(workflow.basedir, "scripts")
sys.path.insert(0, str(SCRIPTS))

import contract
import source
from approval import custom_code, features_path, model_path, raw_path
from custom import read_code
from folder import clear_dead_lock, end_when_told, name_the_holder
from old_outputs import keep_old_outputs
from reader import Reader
from release import current_release
from settings import check_config, refuse_code
from task import TaskError, read_json
from track import check_tracking, read_record
from verdict import show_summary

# Snakemake has left the working folder by the time that it exits.
LOGS = Path("logs").absolute()
STARTED = time.time()

try:
    refuse_code(workflow.configfiles)
    check_config(config, Path(workflow.basedir, "workflow/schemas/config.schema.yaml"))
    check_tracking(config)
    CONTRACT = config["validation"]["schema"]
    RULES = contract.read_contract(CONTRACT) if CONTRACT else None
    for code in custom_code(config):
        read_code(code)
    KINDS = contract.kinds(RULES) if RULES else {}
except TaskError as error:
    sys.exit(f"ERROR - {error}")


if not WITHIN:
    if workflow.is_main_process:
        clear_dead_lock()
        name_the_holder()
        end_when_told()
    keep_old_outputs()


wildcard_constraints:
    model=ONE_OF["names"],


PARTITION_BY = config["data"]["partition_by"]
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


IN_STORE = workflow.storage_settings.default_storage_provider is not None
if IN_STORE:
    # Snakemake would look on disk for the object to update: there, an output is made anew.
    update = str


def on_disk(path):
    """Mark a file, where there is one, as one that stays on disk where all others are in an object store.

    Snakemake's own local() would also keep the job from being sent away.
    """
    if path is None:
        return []
    # A path from the root is the same for all models.
    path = os.path.abspath(path) if WITHIN else path
    return sourcecache_entry(path, path) if IN_STORE else path


def script(name):
    """Return the path of a script from the working folder, so that the command shown is one that a person can type."""
    return on_disk(os.path.relpath(SCRIPTS / f"{name}.py"))


def helpers(name):
    """Return the paths of the modules in scripts/ that a script imports, and those that they import."""
    return [code_of(name)] if WITHIN else modules_of(name)


@functools.cache
def code_of(name):
    """Return a file that changes when one of these modules does: one input, for rules that have thousands of jobs."""
    path = Path(".snakemake/signoff_code", f"{name}.sha256").absolute()
    lines = "".join(f"{source.sha256(Path(each))}  {Path(each).name}\n" for each in modules_of(name))
    if not path.is_file() or path.read_text(encoding="utf-8") != lines:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lines, encoding="utf-8")
    return str(path)


@functools.cache
def modules_of(name):
    """Return what `helpers` does, file by file."""
    # Read as text: parsing a dozen scripts would be felt in a run with nothing to do.
    names = re.findall(r"^\s*(?:from|import) (\w+)", (SCRIPTS / f"{name}.py").read_text(encoding="utf-8"), re.M)
    local = [each for each in names if (SCRIPTS / f"{each}.py").is_file()]
    return sorted({path for each in local for path in (script(each), *modules_of(each))})


def captions():
    """Return the paths of the captions, which the report has in common with Snakemake's own."""
    return [on_disk(os.path.relpath(path)) for path in sorted(SCRIPTS.parent.glob("workflow/report/*.rst"))]


def flags(**values):
    """Return command-line flags, quoted for the shell: none for None, one each for a list, JSON for a mapping.

    They come as a function, since Snakemake would take a brace in a bare text for a wildcard.
    """
    words = []
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                # A command may have 128 KiB: five hundred long names in another script fit as they are, escaped they
                # do not.
                each = json.dumps(each, sort_keys=True, ensure_ascii=False)
            if each is not None:
                # Snakemake's report holds it in a script, which "</script>" would end.
                words.append(shlex.quote(f"{flag}={each}").replace("<", r"'$'\x3c''"))
    return lambda wildcards: " ".join(words)


def more_flags(rule, **values):
    """Return the command-line flags of a rule, and more of them, which go over its own."""
    return lambda wildcards: f"{rule.params.options(wildcards)} {flags(**values)(wildcards)}"


def pieces(wildcards):
    """Return what split_source has written of a model's rows, where the models are those of a column."""
    if not ONE_OF["plan"]:
        return []
    found = ONE_OF["plan"]()["parts"][wildcards.model]["pieces"]
    return [local(f"data/source/{wildcards.model}/{piece}") for piece in found]


def home(wildcards):
    """Return the folder of the project, or of the model among several."""
    return WITHIN.format(model=wildcards.model) if WITHIN else ""


def champion(wildcards):
    """Return the name of the current release, None where there is none."""
    return current_release(Path(home(wildcards)))


def champion_flags(wildcards):
    """Return the options that have the current release scored too."""
    name = champion(wildcards)
    needs = {key: config["release"][key] for key in ("allowed_signers", "required_approvals")}
    deployed = f"{home(wildcards)}deployed" if WITHIN else None
    return flags(champion=name, deployed=deployed, **needs)(wildcards) if name else ""


def released(name):
    """Return a file of the current release, where there is one, as an input."""

    def path(wildcards):
        found = f"{home(wildcards)}deployed/releases/{champion(wildcards)}/{name}"
        return local(found) if champion(wildcards) and Path(found).is_file() else []

    return path


def model_options():
    """Return the options that say what is trained: one estimator, or several to choose among."""
    model = config["model"]
    names = ["candidates"] if model["candidates"] else ["estimator", "params"]
    return {name: model[name] for name in names}


def source_version(_wildcards=None):
    """Return what changes when the source does; of pieces, these do themselves."""
    return None if ONE_OF["plan"] else version_of_source()


@functools.cache
def version_of_source():
    """Return the version of the source, found once a run."""
    reader = Reader(**config["reader"])
    return source.source_version(config["raw_data_source_url"], Path(raw_path(config)), reader)


def memory(megabytes, all_rows=False):
    """Return the memory of a job: so much, or twelve times its input where it holds all rows; more with each attempt."""
    if all_rows:
        return lambda wildcards, input, attempt: attempt * max(megabytes, int(12 * input.size_mb))
    # Without a look at the input: in a plan of thousands of jobs that takes a while.
    return lambda wildcards, attempt: attempt * megabytes


def backtest_plan():
    """Return for each model of the backtest which weeks train it and which it is scored on; once split_weeks has run."""
    path = Path(checkpoints.split_weeks.get().output.plan)
    return read_plan(path, path.stat().st_mtime_ns)


@functools.cache
def read_plan(path, _changed):
    """Return the plan, read once for all jobs."""
    return read_json(path)


def part_plan():
    """Return what split_source has recorded of the source: the parts with their rows and pieces; once it has run."""
    path = Path(checkpoints.split_source.get().output.record)
    return read_plan(path, path.stat().st_mtime_ns)


def once_split(path):
    """Return a file that is looked at only when split_source has run: else Snakemake takes it for out of date."""
    return lambda wildcards: part_plan() and path


def of_all_parts(*patterns):
    """Return the files of all parts, by patterns with {part} in them."""
    return lambda wildcards: expand(patterns, part=part_plan()["parts"])


def minutes(number):
    """Return the time that a job may take: so many minutes, and as many more with each attempt."""
    return lambda wildcards, attempt: attempt * number


def next_command():
    """Return what to type for the report of the run that has just ended."""
    words = ["snakemake"]
    if LOGS.parent != Path(workflow.basedir):
        words += ["-s", workflow.main_snakefile, "--directory", LOGS.parent, "reports/final_report.md"]
        words += ["--configfile", *workflow.overwrite_configfiles] if workflow.overwrite_configfiles else []
    else:
        words += ["reports/final_report.md"]
    return os.environ.get("SIGNOFF_NEXT") or shlex.join(map(str, words))


def run_logs():
    """Return the logs that this run has written, the oldest first."""
    logs = [*LOGS.rglob("*.log"), *(LOGS.parent.glob("models/*/logs/*.log") if MANY_MODELS else [])]
    logs = [path for path in logs if path.stat().st_mtime >= STARTED - 1]
    return sorted(logs, key=lambda path: path.stat().st_mtime)


def words_of_slurm(task):
    """Return what Slurm has said about a task's last job, where it ended it: cancelled, over its memory or its time."""
    logs = Path(LOGS.parent, ".snakemake/slurm_logs").glob(f"*_{task}*/**/*.log")
    logs = sorted((path for path in logs if path.stat().st_mtime >= STARTED - 1), key=lambda path: path.stat().st_mtime)
    text = logs[-1].read_text(encoding="utf-8", errors="replace") if logs else ""
    return "".join(f" Slurm: {words}" for words in re.findall(r"^slurmstepd\S*: error: (.*)", text, re.M)[:1])


def say_how_it_ended():
    """Print the summary, where the run came to a verdict, and for each task that failed its cause and its log."""
    for log in run_logs():
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        name = log.relative_to(LOGS.parent)
        task = name.with_suffix("").parts[name.parts.index("logs") + 1]
        if task == "verdict" and not MANY_MODELS:
            show_summary(log, next_command())
        # A rule that does a task for a part of the data has another name than the task.
        if any(re.search(r"\[\w+\] end after ", line) for line in lines):
            continue
        errors = [line.partition(" - ERROR - ")[2] for line in lines if " - ERROR - " in line]
        killed = "it stopped without a word; was it killed, or out of memory?"
        cause = re.sub(r"^\[\w+\] ", "", errors[-1]) if errors else killed
        print(f"\n{task} failed: {cause}{words_of_slurm(task)}\nIts log: {name}", file=sys.stderr)
