"""Print what to copy so that a scheduler runs the workflow every week on this folder.

python scripts/schedule.py --kind cron
"""

import shlex
import string
import sys
from collections.abc import Callable
from pathlib import Path

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import WORKFLOW, read_utf8

_SCHEDULERS = sorted(path.name for path in (WORKFLOW / "schedule").iterdir() if not path.suffix)
# They run on machines of the host, where the paths of this folder mean nothing; their dollars are those of a shell.
_HOSTED = {"github", "gitlab"}


def schedule(kind: str, folder: Path, workflow: Path = WORKFLOW, python: str = sys.executable) -> str:
    """Return the text for a scheduler of that kind (a file in schedule/), with the paths as the scheduler reads them.

    Raises
    ------
    TaskError
        A path contains a line break or another character that no scheduler can read.
    """
    text = read_utf8(WORKFLOW / "schedule" / kind)
    if kind in _HOSTED:
        return text
    paths = {"FOLDER": str(folder.resolve()), "WORKFLOW": str(workflow), "PYTHON": python}
    for path in paths.values():
        if not path.isprintable():
            raise TaskError(f"{path!r} cannot be written down for a scheduler. Rename the folder.")
    escape = _ESCAPES.get(kind, _in_shell)
    return string.Template(text).substitute({name: escape(name, path) for name, path in paths.items()})


def _in_shell(name: str, path: str) -> str:
    """Return a path as a shell reads it."""
    return shlex.quote(path)


def _in_unit(name: str, path: str) -> str:
    """Return a path as systemd reads it: a percent sign begins a specifier; a command has variables and quotes too."""
    signs = [("%", "%%")] if name == "FOLDER" else [("%", "%%"), ("\\", "\\\\"), ('"', '\\"'), ("$", "$$")]
    for sign, escaped in signs:
        path = path.replace(sign, escaped)
    # At the end of a line a backslash would join the next line to it.
    return f"{path}/" if name == "FOLDER" and path.endswith("\\") else path


# Not only a shell reads the paths of these templates: in a crontab, a percent sign ends the command.
_ESCAPES: dict[str, Callable[[str, str], str]] = {
    "systemd": _in_unit,
    "cron": lambda name, path: shlex.quote(path).replace("%", r"\%"),
}


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--kind", required=True, choices=_SCHEDULERS, help="the scheduler")
    args = parser.parse_args(argv)
    try:
        text = schedule(args.kind, Path.cwd())
    except TaskError as error:
        with command_line.logged("schedule", args, Path.cwd()):
            raise error
    print(text, end="")


if __name__ == "__main__":
    main()
