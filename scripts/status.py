"""Show the state of the project, from its files alone: the last runs, the data, the release, and what waits for whom.

python scripts/status.py
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from signoff.base import command_line
from signoff.base.files import only_file
from signoff.base.redaction import printable
from signoff.ops.all_models import standing_of_all
from signoff.ops.many import many_models_here
from signoff.ops.runs import LOCK, RUNS, lock_entry, read_runs
from signoff.ops.status import described_run, standing


def status(runs: int = 5) -> list[str]:
    """Return the lines on the state of the project in this folder, with at most `runs` of the last runs.

    Raises
    ------
    TaskError
        The history of releases was altered, or a file is damaged.
    """
    found, warnings = read_runs()
    last = reversed(found[-runs:])
    lines = [f"{'Runs' if n == 0 else '':<12}{each['at']}  {described_run(each)}" for n, each in enumerate(last)]
    lines = [*(lines or [f"Runs        none yet ({RUNS})"]), *(f"Warning     {each}" for each in warnings)]
    holder, alive = _lock_holder()
    if holder and alive:
        lines.append(f"Running     since {holder['since']}, process {holder['pid']}")
    elif holder:
        lines.append(f"Killed      the run that began at {holder['since']}; the next one clears what it has left")
    return [*lines, *(standing_of_all() if many_models_here() else standing())]


def _lock_holder() -> tuple[dict[str, Any] | None, bool]:
    """Return the process and the time of a weekly run, and whether it still runs; None without a run."""
    import fcntl

    if not LOCK.is_file():
        return None, False
    with open(LOCK, "rb", opener=only_file) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock_entry(file.read()) or {"pid": "?", "since": "just now"}, True
        return lock_entry(file.read()), False


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--runs", type=int, default=5, help="how many of the last runs to show")
    args = parser.parse_args(argv)
    try:
        lines = [f"Now         {datetime.now(UTC).isoformat(timespec='seconds')}", *status(args.runs)]
    except Exception as error:
        with command_line.logged("status", args, Path.cwd()):
            raise error
    print(*map(printable, lines), sep="\n")


if __name__ == "__main__":
    main()
