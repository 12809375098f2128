"""The folder of one of many models as a project, in which people decide."""

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from signoff.base.config import Config
from signoff.base.files import read_bytes, replacing
from signoff.config.settings import section
from signoff.release.approval import custom_code
from signoff.rules.models import config_of
from signoff.source.names import folder_name

_SOURCE = "raw_data_source_url"
# From a model's folder, models/NAME, to the project's.
_UP = Path("..", "..")


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

    # Most models have the same config, which takes a hundred times as long to write as a file to compare.
    @functools.cache
    def project_of(name: str | None) -> _Project:
        return _Project.of(config_of(config, name))

    projects = [project_of(named.get(folder.name)) for folder in folders]
    for folder, project in zip(folders, projects, strict=True):
        project.write(folder)
    return [project.settings for project in projects]


@dataclass(frozen=True)
class _Project:
    """The folders of all models that have the same config, as projects.

    Attributes
    ----------
    settings
        The config, as `models.config_of` returns it.
    before, after
        The lines of config.yaml around the line with the source, in which models differ.
    copies
        The data contract and the user's code: each path, and its content.
    """

    settings: dict[str, Any]
    before: bytes
    after: bytes
    copies: dict[str, bytes]

    @classmethod
    def of(cls, settings: dict[str, Any]) -> "_Project":
        """Return the project of a config. It refers to the original file of signers."""
        own = {**settings, "allow_outside": [str(_UP / path) for path in settings["allow_outside"]]}
        if signers := own["release"]["allowed_signers"]:
            # The original, so that a signer who is removed from it can sign nowhere. An absolute path stays absolute.
            own["release"] = {**own["release"], "allowed_signers": str(_UP / signers)}
            own["allow_outside"].append(str(_UP / signers))
        schema = own["validation"]["schema"]
        if schema and os.path.normpath(schema).startswith(("../", "/")):
            own["validation"] = {**own["validation"], "schema": str(_UP / schema)}
            schema = None
        copied = [path for path in [schema, *custom_code(section(Config, own))] if path and Path(path).is_file()]
        at = list(own).index(_SOURCE)
        before, after = dict(list(own.items())[:at]), dict(list(own.items())[at + 1 :])
        return cls(settings, _yaml(before), _yaml(after), {path: read_bytes(Path(path)) for path in copied})

    def write(self, folder: Path) -> None:
        """Make a model's folder this project, unless it is already."""
        source = self.settings[_SOURCE].replace("{model}", folder.name)
        line = _yaml({_SOURCE: str(_UP / source) if _is_path(source) else source})
        _write(folder / "config.yaml", self.before + line + self.after)
        for path, content in self.copies.items():
            _write(folder / path, content)


def _yaml(settings: dict[str, Any]) -> bytes:
    """Return a config as YAML. The emitter in C writes the same in a fifth of the time, but is not everywhere."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(settings, Dumper=dumper, allow_unicode=True, sort_keys=False) if settings else ""
    return text.encode()


def _is_path(source: str) -> bool:
    """Return whether a source is a path from the folder of the config."""
    return "://" not in source and "$" not in source and not Path(source).is_absolute()


def _write(path: Path, content: bytes) -> None:
    """Write a file unless it already has this content."""
    if not path.is_file() or read_bytes(path) != content:
        with replacing(path, small=True) as new:
            new.write_bytes(content)
