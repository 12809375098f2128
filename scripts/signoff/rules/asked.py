"""What the command line of a run asks for."""

import os
from typing import Any


def single_targets(workflow: Any, *folders: str) -> list[str]:
    """Return the targets of a run that are files of single models, weeks or parts, in folders that end with a slash."""
    paths = map(os.path.normpath, workflow.dag_settings.targets)
    return sorted(each for each in paths if each.startswith(folders) and "/.chunks/" not in each)


def is_forced(workflow: Any, *rules: str) -> bool:
    """Return whether the command line asks for all tasks of these rules to be run, whatever has changed."""
    settings = workflow.dag_settings
    return bool(settings.forceall or any(each.endswith(rules) for each in settings.forcerun))
