"""Write the table of all models that were trained from one config, and make each model's folder a project.

    python scripts/models.py --output reports/verdict.json

Run in the folder of the config. The table is models.csv beside the output, which is written only if every model has
passed. The folder models/NAME gets a config.yaml, and copies of the data contract and of the user's code; the
config refers to the original file of signers. A person reviews, signs off, deploys and predicts in that folder
(make … DIR=models/NAME).
"""

import csv
import logging
import os
from pathlib import Path
from typing import Any

import yaml

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import read_json, replacing, write_json
from signoff.config.settings import config_argument, read_config
from signoff.release.approval import METRICS, VALIDATION, custom_code
from signoff.release.verdict import verdict
from signoff.rules.models import config_of
from signoff.source.pieces import folder_name

_COLUMNS = ["model", "verdict", "rows", "training_rows", "test_rows", "MAE", "R2", "best_baseline_MAE", "champion_MAE"]
_COLUMNS += ["why"]
_FOLDER = Path("models")


def write_project(folder: Path, settings: dict[str, Any]) -> None:
    """Make a model's folder a project, in which people decide."""
    up = Path(*[".."] * len(folder.parts))
    source = settings["raw_data_source_url"].replace("{model}", folder.name)
    settings = {**settings, "raw_data_source_url": str(up / source) if _is_path(source) else source}
    settings["allow_outside"] = [str(up / path) for path in settings["allow_outside"]]
    if signers := settings["release"]["allowed_signers"]:
        # The original, so that a signer who is removed from it can sign nowhere. An absolute path stays absolute.
        settings["release"] = {**settings["release"], "allowed_signers": str(up / signers)}
        settings["allow_outside"].append(str(up / signers))
    schema = settings["validation"]["schema"]
    if schema and os.path.normpath(schema).startswith(("../", "/")):
        settings["validation"] = {**settings["validation"], "schema": str(up / schema)}
        schema = None
    _write(folder / "config.yaml", yaml.safe_dump(settings, allow_unicode=True, sort_keys=False).encode())
    for path in [schema, *custom_code(settings)]:
        if path and Path(path).is_file():
            _write(folder / path, Path(path).read_bytes())


def _is_path(source: str) -> bool:
    """Return whether a source is a path from the folder of the config."""
    return "://" not in source and "$" not in source and not Path(source).is_absolute()


def _write(path: Path, content: bytes) -> None:
    """Write a file unless it already has this content."""
    if not path.is_file() or path.read_bytes() != content:
        with replacing(path) as new:
            new.write_bytes(content)


def _row_of(name: str, metrics: dict[str, Any], validation: dict[str, Any], on_failure: str) -> dict[str, Any]:
    """Return the row of a model in the table."""
    _, failures = verdict(validation, metrics, on_failure)
    baselines = [each["test"]["MAE"] for each in metrics["baselines"].values()]
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


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    config_argument(parser)
    parser.add_argument("--output", required=True, type=Path, help="the JSON file that says that all have passed")
    args = parser.parse_args(argv)
    with command_line.logged("models", args, _FOLDER):
        config, _ = read_config(args.config)
        each = {folder_name(name): name for name in config["models"]["each"]}
        names = sorted(read_json(Path("data/raw/raw_data.json"))["parts"]) if config["models"]["by"] else list(each)
        rows = []
        for name in names:
            folder = _FOLDER / name
            write_project(folder, settings := config_of(config, each.get(name)))
            metrics, validation = (read_json(folder / path) for path in (METRICS, VALIDATION))
            rows.append(_row_of(name, metrics, validation, settings["validation"]["on_failure"]))
        with (
            replacing(args.output.with_name("models.csv")) as new,
            open(new, "w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        failed = [row for row in rows if row["verdict"] == "failed"]
        for row in failed[:20]:
            logging.warning("[models] %s failed: %s", row["model"], row["why"])
        logging.info("[models] wrote the table of all models to %s", args.output.with_name("models.csv"))
        if failed:
            first = f"{failed[0]['model']}: {failed[0]['why']}"
            table = args.output.with_name("models.csv")
            raise TaskError(f"{len(failed)} of {len(rows)} models failed, such as {first}. All of them are in {table}.")
        write_json(args.output, {"verdict": "passed", "models": len(rows)})
        logging.info("[models] completed. Models: %d, all passed", len(rows))


if __name__ == "__main__":
    main()
