"""Write the table of all models that were trained from one config, and make each model's folder a project of its own.

    python scripts/models.py --output reports/verdict.json

Run in the folder of the config. The table is models.csv beside the output, which is written only where every model has
passed. The folder models/NAME gets a config.yaml, and copies of the data contract and of the user's own code: there a
person reviews, signs off, deploys and predicts (make … DIR=models/NAME).
"""

import copy
import csv
import json
import logging
import re
from pathlib import Path

import yaml

import task
from approval import METRICS, VALIDATION, custom_code
from pieces import folder_name
from settings import SCHEMA, check_config, config_argument, merge, read_config
from task import TaskError, read_json, replacing, write_json
from verdict import verdict

COLUMNS = ["model", "verdict", "rows", "training_rows", "test_rows", "MAE", "R2", "best_baseline_MAE", "champion_MAE"]
COLUMNS += ["why"]
FOLDER = Path("models")


def groups(config: dict) -> list[tuple[str, dict]]:
    """Return the configs that the models have: for each a pattern of the models' folders, and the config of a project.

    Parameters
    ----------
    config
        The checked config, with `models`.

    Raises
    ------
    TaskError
        A model's own keys make no valid config, or keys do not go together.
    """
    by, each = config["models"]["by"], config["models"]["each"]
    if config["data"]["partition_by"]:
        raise TaskError("config: models and data.partition_by do not go together. Take out one of them.")
    alike: dict[str, list[str]] = {}
    for name, own in each.items():
        alike.setdefault(json.dumps(own, sort_keys=True), []).append(name)
    found = [
        ("|".join(re.escape(folder_name(name)) for name in names), config_of(config, names[0]))
        for names in alike.values()
    ]
    if by:
        # All others: whatever values there are.
        named = "".join(f"(?!{re.escape(folder_name(name))}/)" for name in each)
        found.append((f"{named}[^/]+", config_of(config, None)))
    return found


def config_of(config: dict, name: str | None) -> dict:
    """Return the config of one model; None: of one that has no keys of its own. Raises TaskError where it is none."""
    by, own = config["models"]["by"], copy.deepcopy(config["models"]["each"].get(name) or {})
    settings = {key: value for key, value in copy.deepcopy(config).items() if key != "models"}
    where = f"config: models.each.{name}: "
    try:
        if "models" in own or "data" in own or (by and "raw_data_source_url" in own):
            raise TaskError("models, data and, with models.by, raw_data_source_url cannot be a model's own.")
        merge(settings, own)
        if by:
            # What the split has written, whatever the source is like.
            settings["raw_data_source_url"] = "data/source/{model}"
            settings["reader"] = {key: config["reader"][key] for key in ("max_bytes",)}
            if by not in settings["features"]["keep"]:
                settings["features"]["drop"] = [*settings["features"]["drop"], by]
        settings["tracking"] = {}
        settings["notify"] = {}
        check_config(settings, SCHEMA)
    except TaskError as error:
        raise TaskError(where + str(error).removeprefix("config: ")) from error
    return settings


def write_project(folder: Path, settings: dict) -> None:
    """Make a model's folder a project of its own, in which people decide."""
    up = Path(*[".."] * len(folder.parts))
    source = settings["raw_data_source_url"].replace("{model}", folder.name)
    settings = {**settings, "raw_data_source_url": str(up / source) if is_path(source) else source}
    write(folder / "config.yaml", yaml.safe_dump(settings, allow_unicode=True, sort_keys=False).encode())
    for path in [settings["validation"]["schema"], settings["release"]["allowed_signers"], *custom_code(settings)]:
        # That keys are missing is told where a signature is checked.
        if path and Path(path).is_file():
            write(folder / path, Path(path).read_bytes())


def is_path(source: str) -> bool:
    """Tell whether a source is a path from the folder of the config."""
    return "://" not in source and "$" not in source and not Path(source).is_absolute()


def write(path: Path, content: bytes) -> None:
    """Write a file, unless it is there already."""
    if not path.is_file() or path.read_bytes() != content:
        with replacing(path) as new:
            new.write_bytes(content)


def row_of(name: str, metrics: dict, validation: dict, on_failure: str) -> dict:
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
    parser = task.arguments(__doc__)
    config_argument(parser)
    parser.add_argument("--output", required=True, type=Path, help="the JSON file that says that all have passed")
    args = parser.parse_args(argv)
    with task.logged("models", args, FOLDER):
        config, _ = read_config(args.config)
        each = {folder_name(name): name for name in config["models"]["each"]}
        names = sorted(read_json(Path("data/raw/raw_data.json"))["parts"]) if config["models"]["by"] else list(each)
        rows = []
        for name in names:
            folder = FOLDER / name
            write_project(folder, settings := config_of(config, each.get(name)))
            found = [read_json(folder / path) for path in (METRICS, VALIDATION)]
            rows.append(row_of(name, *found, settings["validation"]["on_failure"]))
        with (
            replacing(args.output.with_name("models.csv")) as new,
            open(new, "w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
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
