"""Run tasks of some of many models in one process: from the rows to the evaluation, or those of the report.

    python scripts/models_chunk.py --plan .snakemake/signoff_models/models-0.json --output models/.chunks/0.json

The rule writes the plan: the models, and for each the tasks with their commands. A task that has nothing to do is
skipped. A model that fails leaves the others alone. The output lists the files of each model with their sizes and
times, so that the next run notices a file that has been changed or deleted, and the models that failed, which the
next run tries again.
"""

import logging
from pathlib import Path

from signoff.base import command_line
from signoff.base.files import read_json, write_json
from signoff.rules.members import tasks_of
from signoff.rules.one_process import OneProcess
from signoff.rules.steps import CHUNKS_FOLDER


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--plan", required=True, type=Path, help="the JSON file that lists the models")
    parser.add_argument("--output", required=True, type=Path, help="the JSON file that lists the files of all models")
    parser.add_argument("--after", type=Path, help="the output of the job before; what failed there is left out")
    parser.add_argument("--threads", type=int, default=1, help="the most cores to use")
    parser.add_argument("--force", choices=["yes", "no"], default="no", help="run all tasks, whatever has changed")
    args = parser.parse_args(argv)
    with command_line.logged("models_chunk", args, args.plan):
        out = read_json(args.after)["failed"] if args.after else {}
        models = {model: tasks_of(model, member) for model, member in read_json(args.plan).items() if model not in out}
        process = OneProcess(args.threads, args.force == "yes", CHUNKS_FOLDER / "done")
        failed, files = process.complete(models, "models_chunk")
        write_json(args.output, {"failed": failed, "files": files})
        logging.info("[models_chunk] completed. Models: %d, failed: %d", len(models), len(failed))


if __name__ == "__main__":
    main()
