"""What a run says when it has ended: the summary, and for each task that failed its cause and its log."""

# Snakemake has left the working folder by the time that it exits.
LOGS = Path("logs").absolute()
STARTED = time.time()


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
    said = re.findall(r"^slurmstepd\S*: error: (.*)", text, re.M)
    # First of all how much memory it was: the two lines about that come in either order.
    said.sort(key=lambda words: "memory limit (" not in words)
    return "".join(f" Slurm: {words}" for words in said[:1])


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


# At exit, since Snakemake's own last words would push the summary and the causes off the screen
onsuccess:
    atexit.register(say_how_it_ended)


onerror:
    atexit.register(say_how_it_ended)
