"""The code that a task runs, as inputs of its rule: what changes runs again exactly what it concerns."""

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


@functools.cache
def script(name):
    """Return the path of a script from the working folder, so that the command shown is one that a person can type."""
    return on_disk(os.path.relpath(SCRIPTS / f"{name}.py"))


def helpers(name):
    """Return the paths of the modules that a script imports, directly or through others."""
    return [code_of(name)] if WITHIN else modules_of(name)


@functools.cache
def code_of(name):
    """Return a file that changes when one of these modules does: one input, for rules that have thousands of jobs."""
    path = Path(".snakemake/signoff_code", f"{name}.sha256").absolute()
    lines = "".join(f"{sha256(Path(each))}  {os.path.relpath(each, SCRIPTS)}\n" for each in modules_of(name))
    if not path.is_file() or path.read_bytes() != lines.encode():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lines, encoding="utf-8")
    return str(path)


@functools.cache
def modules_of(name):
    """Return what `helpers` does, file by file."""
    return [on_disk(os.path.relpath(path)) for path in code.modules_of(SCRIPTS / f"{name}.py")]


def captions():
    """Return the paths of the captions, which the report has in common with Snakemake's own."""
    return [on_disk(os.path.relpath(path)) for path in sorted(SCRIPTS.parent.glob("workflow/report/*.rst"))]
