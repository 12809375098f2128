"""Write the table of all models that were trained from one config, and make each model's folder a project.

    python scripts/models.py --chunks 50 --output reports/verdict.json

Run in the folder of the config. The table is models.csv beside the output, which is written only if every model has
passed. A model that could not be trained is a row with the reason. The folder models/NAME gets a config.yaml, and
copies of the data contract and of the user's code; the config refers to the original file of signers. A person
reviews, signs off, deploys and predicts in that folder (make … DIR=models/NAME).
"""

import csv
import logging
from pathlib import Path
from typing import Any, cast

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import read_json, replacing, write_json
from signoff.config.settings import config_argument, read_values
from signoff.model.records import mae
from signoff.ops.many import MODELS, failed_models, forget_chunks, models_of_column
from signoff.release.approval import METRICS, VALIDATION
from signoff.release.records import Metrics, Validation
from signoff.release.verdict import verdict
from signoff.rules.model_folder import write_projects
from signoff.source.names import folder_name

_COLUMNS = ["model", "verdict", "rows", "training_rows", "test_rows", "MAE", "R2", "best_baseline_MAE", "champion_MAE"]
_COLUMNS += ["why"]


def _row_of(name: str, metrics: Metrics, validation: Validation, on_failure: str) -> dict[str, Any]:
    """Return the row of a model in the table."""
    _, failures = verdict(validation, metrics, on_failure)
    baselines = [mae(each["test"]) for each in metrics["baselines"].values()]
    scored, rows = metrics["model"]["test"], metrics["split"]["rows"]
    return {
        "model": name,
        "verdict": "failed" if failures else "passed",
        "rows": validation["rows"],
        "training_rows": rows["train"],
        "test_rows": rows["test"],
        "MAE": scored["MAE"],
        "R2": scored["R2"],
        "best_baseline_MAE": min(baselines),
        "champion_MAE": ((metrics["champion"] or {}).get("test") or {}).get("MAE"),
        "why": "; ".join(failures),
    }


def _write_verdict(folder: Path, verdict: str) -> None:
    """Write what the task `verdict` writes for a single model: a file that exists only if the model has passed."""
    path = folder / "reports/verdict.json"
    if verdict != "passed":
        path.unlink(missing_ok=True)
    elif not path.is_file() or path.stat().st_mtime_ns < (folder / METRICS).stat().st_mtime_ns:
        write_json(path, {"verdict": verdict})


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    config_argument(parser)
    parser.add_argument("--chunks", required=True, type=int, help="the number of jobs that have made the models")
    parser.add_argument("--output", required=True, type=Path, help="the JSON file that says that all have passed")
    args = parser.parse_args(argv)
    with command_line.logged("models", args, MODELS):
        values, _ = read_values(args.config)
        forget_chunks(args.chunks)
        by, each = values["models"]["by"], values["models"]["each"]
        names = models_of_column() if by else list(map(folder_name, each))
        rows, without = [], failed_models()
        folders = [MODELS / name for name in names]
        for folder, settings in zip(folders, write_projects(values, folders), strict=True):
            name = folder.name
            if name in without:
                rows.append({"model": name, "verdict": "failed", "why": without[name]})
                continue
            metrics = cast(Metrics, read_json(folder / METRICS))
            validation = cast(Validation, read_json(folder / VALIDATION))
            rows.append(_row_of(name, metrics, validation, settings["validation"]["on_failure"]))
            _write_verdict(folder, rows[-1]["verdict"])
        table = args.output.with_name("models.csv")
        with replacing(table) as new, open(new, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        failed = [row for row in rows if row["verdict"] == "failed"]
        for row in failed[:20]:
            logging.warning("[models] %s failed: %s", row["model"], row["why"])
        logging.info("[models] wrote the table of all models to %s", table)
        if failed:
            first = f"{failed[0]['model']}: {failed[0]['why']}"
            raise TaskError(f"{len(failed)} of {len(rows)} models failed, such as {first}. All of them are in {table}.")
        write_json(args.output, {"verdict": "passed", "models": len(rows)})
        logging.info("[models] completed. Models: %d, all passed", len(rows))


if __name__ == "__main__":
    main()
