"""Run Snakemake without importing what a run does not need: it begins in half of the time.

    python scripts/run_snakemake.py --snakefile Snakefile --cores 2

The options are Snakemake's, and so is what a run does. At its start Snakemake imports pandas for a report of its plugin
for Slurm, boto3 for its plugin for S3, SQLAlchemy for a database of records, and others. Here they are imported when
they are first used.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from signoff.base.late_import import collect_less, import_late, imported
from signoff.base.surroundings import set_waiting_of_threads
from signoff.ops import warm

# The modules, and what others import from them or ask about them by name.
_LATE = {
    # For the report of the plugin for Slurm. A param of a rule, or a value of a profile, may be one of their objects.
    "numpy": {"ndarray", "str_"},
    "pandas": {"DataFrame", "Index", "Series", "Timedelta"},
    # For the plugin for S3, and for a Snakefile in an object store.
    "boto3": set(),
    "botocore": set(),
    "botocore.client": set(),
    "botocore.session": set(),
    "snakemake.persistence.db": {"DbPersistence"},
    # For files at URLs.
    "requests": set(),
    # For messages of the progress bars.
    "rich.markdown": {"Markdown"},
}


def run() -> None:
    collect_less()
    for name, names in _LATE.items():
        import_late(name, names)
    words = sys.argv[1:]
    # With a mode, it is started for a job of another Snakemake.
    if not _any_option(words, "--mode"):
        set_waiting_of_threads()
        warm.start(Path(__file__).with_name("warm_parent.py"))
    if not _any_option(words, "--persistence-backend"):
        _keep_records_without_a_database()
    if not _any_option(words, "--report"):
        _leave_out_reports()
    # Snakemake prints its command.
    sys.argv[0] = str(Path(sys.executable).with_name("snakemake"))
    from snakemake.cli import main

    imported()
    main()


def _any_option(words: list[str], name: str) -> bool:
    """Return whether there is an option that begins with this name, or is an abbreviation of it."""
    options = [word.partition("=")[0] for word in words if word.startswith("--") and word != "--"]
    return any(option.startswith(name) or name.startswith(option) for option in options)


def _keep_records_without_a_database() -> None:
    """Let the class of Snakemake's records be a model of pydantic rather than of SQLModel.

    Reason: the records are JSON files. SQLModel adds to a model of pydantic what a table of a database needs, and
    imports SQLAlchemy, which takes a quarter of the time of a start.
    """
    if "snakemake.persistence" in sys.modules:
        return
    import pydantic

    def field(sa_column: object = None, **options: Any) -> Any:
        return pydantic.Field(**options)

    database, models = ModuleType("sqlalchemy"), ModuleType("sqlmodel")
    vars(database).update(Column=lambda kind: None, JSON=None)
    vars(models).update(SQLModel=pydantic.BaseModel, Field=field)
    own = {name: sys.modules.get(name) for name in ("sqlalchemy", "sqlmodel")}
    sys.modules.update(sqlalchemy=database, sqlmodel=models)
    try:
        import snakemake.cli  # noqa: F401, which imports the records
    finally:
        # For all others, they are what they are.
        for name, module in own.items():
            del sys.modules[name]
            if module:
                sys.modules[name] = module


def _leave_out_reports() -> None:
    """Do not look for plugins that write Snakemake's own report, whose options then are unknown.

    Reason: only `--report` needs one, and they import docutils and Jinja.
    """
    from snakemake_interface_report_plugins.registry import ReportPluginRegistry

    ReportPluginRegistry.collect_plugins = lambda self: setattr(self, "plugins", {})


if __name__ == "__main__":
    run()
