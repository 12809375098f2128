"""Run the tasks of some of many models in one process, from the rows to the evaluation.

    python scripts/models_chunk.py --plan .snakemake/signoff_models/chunk-0.json --output models/.chunks/0.json

The rule writes the plan: the models, and for each the tasks with their commands. A task that has nothing to do is
skipped. A model that fails leaves the others alone; the output is written only if none has failed. It lists the files
of each model with their sizes and times, so that the next run notices a file that has been changed or deleted.
"""

import logging
import time
from pathlib import Path

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import read_json, write_json
from signoff.rules.one_process import OneProcess, steps_of


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--plan", required=True, type=Path, help="the JSON file that lists the models")
    parser.add_argument("--output", required=True, type=Path, help="the JSON file that lists the files of all models")
    parser.add_argument("--threads", type=int, default=1, help="cores to use, at most")
    parser.add_argument("--force", choices=["yes", "no"], default="no", help="run all tasks, whatever has changed")
    args = parser.parse_args(argv)
    with command_line.logged("models_chunk", args, args.plan):
        models = read_json(args.plan)
        process = OneProcess(args.threads, args.force == "yes")
        failed = {}
        for model, member in models.items():
            started = time.monotonic()
            if why := process.bring_up_to_date(model, member):
                failed[model] = why
                logging.warning("[models_chunk] %s failed: %s", model, why)
            else:
                logging.info("[models_chunk] %s is up to date after %.1f s", model, time.monotonic() - started)
        if failed:
            some = "; ".join(f"{model}: {why}" for model, why in list(failed.items())[:20])
            raise TaskError(f"{len(failed)} of {len(models)} models failed: {some}. The others are up to date.")
        files = {path for model, member in models.items() for step in steps_of(model, member) for path in step.outputs}
        stats = {path: Path(path).stat() for path in sorted(files)}
        write_json(args.output, {"files": {path: [each.st_size, each.st_mtime_ns] for path, each in stats.items()}})
        logging.info("[models_chunk] completed. Models: %d", len(models))


if __name__ == "__main__":
    main()
