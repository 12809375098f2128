"""Print what to copy so that a scheduler runs the workflow every week on this folder.

python scripts/schedule.py --kind cron
"""

import string
import sys
from pathlib import Path

import task
from approval import WORKFLOW

KINDS = sorted(path.name for path in (WORKFLOW / "schedule").iterdir())


def schedule(kind: str, folder: Path) -> str:
    """Return the text for a scheduler of that kind (a file in schedule/), with this folder's paths in it."""
    template = string.Template((WORKFLOW / "schedule" / kind).read_text(encoding="utf-8"))
    return template.substitute(FOLDER=folder.resolve(), WORKFLOW=WORKFLOW, PYTHON=sys.executable)


def main(argv: list[str] | None = None) -> None:
    parser = task.arguments(__doc__)
    parser.add_argument("--kind", required=True, choices=KINDS, help="the scheduler")
    args = parser.parse_args(argv)
    print(schedule(args.kind, Path.cwd()), end="")


if __name__ == "__main__":
    main()
