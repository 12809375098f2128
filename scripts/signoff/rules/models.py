"""The configs of many models, grouped where they are equal."""

import copy
import json
import re
from typing import Any

from signoff.base.errors import TaskError
from signoff.config.settings import SCHEMA, check_config, merge
from signoff.source.names import folder_name


def groups(config: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return each config that models have, with a pattern of the folders of these models.

    Parameters
    ----------
    config
        The checked config, with `models`.

    Raises
    ------
    TaskError
        A model's own keys are not valid, or keys do not go together.
    """
    by, each = config["models"]["by"], config["models"]["each"]
    if config["data"]["partition_by"]:
        raise TaskError("config: models and data.partition_by do not go together. Take out one of them.")
    if config["tracking"]["mlflow_uri"]:
        raise TaskError(
            "config: models and tracking.mlflow_uri do not go together. Take out tracking.mlflow_uri. The scores of "
            "all models are in reports/models.csv."
        )
    alike: dict[str, list[str]] = {}
    for name, own in each.items():
        alike.setdefault(json.dumps(own, sort_keys=True), []).append(name)
    found = [
        ("|".join(re.escape(folder_name(name)) for name in names), config_of(config, names[0]))
        for names in alike.values()
    ]
    if by:
        # All other values of the column.
        named = "".join(f"(?!{re.escape(folder_name(name))}/)" for name in each)
        found.append((f"{named}[^/]+", config_of(config, None)))
    return found


def config_of(config: dict[str, Any], name: str | None) -> dict[str, Any]:
    """Return the config of one model; for None, that of a model without its own keys. Raises TaskError if not valid."""
    by, own = config["models"]["by"], copy.deepcopy(config["models"]["each"].get(name) or {})
    settings = {key: value for key, value in copy.deepcopy(config).items() if key != "models"}
    where = f"config: models.each.{name}: "
    try:
        if "models" in own or "data" in own or (by and "raw_data_source_url" in own):
            raise TaskError("models, data and, with models.by, raw_data_source_url cannot be a model's own.")
        merge(settings, own)
        if by:
            # The split has written these as plain CSV.
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
