"""Flags of a command line, memory and time of a job, the release before, the parts of the data."""


def flags(**values):
    """Return command-line flags as a parameter of a rule: a function where Snakemake would take a brace for a wildcard."""
    text = words(**values)
    return (lambda wildcards: text) if "{" in text else text


def words(**values):
    """Return command-line flags, quoted for the shell: none for None, one each for a list, JSON for a mapping."""
    found = []
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                # A command may have 128 KiB: five hundred long names in another script fit as they are, escaped they
                # do not.
                each = json.dumps(each, sort_keys=True, ensure_ascii=False)
            if each is not None:
                # Snakemake's report holds it in a script, which "</script>" would end.
                found.append(shlex.quote(f"{flag}={each}").replace("<", r"'$'\x3c''"))
    return " ".join(found)


def more_flags(rule, **values):
    """Return the command-line flags of a rule, and more of them, which go over its own."""
    own, more = rule.params.options, words(**values)
    return lambda wildcards: f"{own(wildcards) if callable(own) else own} {more}"


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
    return words(champion=name, deployed=deployed, **needs) if name else ""


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
    return fetch.source_version(config["raw_data_source_url"], Path(raw_path(config)), reader)


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


def state_of_predictions():
    """Return what changes when a file of predictions does: a digest of names, sizes and times."""
    files = sorted(Path("predictions").rglob("*.csv"))
    state = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(state).encode()).hexdigest()[:16]
