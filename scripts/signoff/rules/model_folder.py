"""The folder of one of many models as a project, in which people decide."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from signoff.base.config import Config
from signoff.base.files import read_bytes, replacing
from signoff.config.settings import section
from signoff.release.approval import custom_code
from signoff.rules.models import config_of
from signoff.source.names import folder_name


def write_projects(config: dict[str, Any], folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Make each model's folder a project, and return the config of each.

    Parameters
    ----------
    config
        The checked config, with `models`.
    folders
        The folder of each model, from the project's.

    Raises
    ------
    TaskError
        The config of a model is not valid.
    """
    named = {folder_name(name): name for name in config["models"]["each"]}
    # Most models have the same.
    settings_of = functools.cache(functools.partial(config_of, config))
    found = [settings_of(named.get(folder.name)) for folder in folders]
    for folder, settings in zip(folders, found, strict=True):
        _write_project(folder, settings)
    return found


def _write_project(folder: Path, settings: dict[str, Any]) -> None:
    """Make a model's folder a project: write its config, and copy the data contract and the user's code.

    Parameters
    ----------
    folder
        The model's folder, from the project's.
    settings
        The model's config, as `models.config_of` returns it. It refers to the original file of signers.
    """
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
    _write(folder / "config.yaml", _yaml(settings))
    for path in [schema, *custom_code(section(Config, settings))]:
        if path and Path(path).is_file():
            _write(folder / path, read_bytes(Path(path)))


def _yaml(settings: dict[str, Any]) -> bytes:
    """Return a config as YAML. The emitter in C writes the same in a fifth of the time, but is not everywhere."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(settings, Dumper=dumper, allow_unicode=True, sort_keys=False)
    return text.encode()


def _is_path(source: str) -> bool:
    """Return whether a source is a path from the folder of the config."""
    return "://" not in source and "$" not in source and not Path(source).is_absolute()


def _write(path: Path, content: bytes) -> None:
    """Write a file unless it already has this content."""
    if not path.is_file() or read_bytes(path) != content:
        with replacing(path, small=True) as new:
            new.write_bytes(content)
