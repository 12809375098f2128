"""Run the tasks of some weeks of the backtest, or of some parts of the data, in one process.

    python scripts/tasks_chunk.py --plan .snakemake/signoff_parts_chunk/0.json --output data/.chunks/0.json

The rule writes the plan: for each week or part the tasks with their commands. A task that has nothing to do is skipped.
A week or part that fails leaves the others alone. The output lists the files of all of them with their sizes and times,
so that the next run notices a file that has been changed or deleted.
"""

import logging
from pathlib import Path

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import read_json, write_json
from signoff.rules.one_process import OneProcess
from signoff.rules.steps import ModelTask


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--plan", required=True, type=Path, help="the JSON file that lists the tasks")
    parser.add_argument("--output", required=True, type=Path, help="the JSON file that lists the files of all tasks")
    parser.add_argument("--force", choices=["yes", "no"], default="no", help="run all tasks, whatever has changed")
    args = parser.parse_args(argv)
    with command_line.logged("tasks_chunk", args, args.plan):
        plan = {name: [ModelTask(**each) for each in steps] for name, steps in read_json(args.plan).items()}
        process = OneProcess(1, args.force == "yes", args.plan.parent / "done")
        failed, files = process.complete(plan, "tasks_chunk")
        if failed:
            names = ", ".join(f"{name} ({why})" for name, why in failed.items())
            raise TaskError(f"{names} failed, each with its own log. All others are up to date.")
        write_json(args.output, {"files": files})
        logging.info("[tasks_chunk] completed. Weeks or parts: %d", len(plan))


if __name__ == "__main__":
    main()
