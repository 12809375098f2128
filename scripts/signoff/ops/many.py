"""What a project with many models consists of: the folder of each model, and the models that could not be trained."""

import contextlib
from pathlib import Path
from typing import cast

from signoff.base.config import Config
from signoff.base.errors import TaskError
from signoff.base.files import read_json
from signoff.config.settings import config_here, read_config
from signoff.ops.runs import INGEST_RECORD
from signoff.source.last_ingest import SplitRecord, parts_with_model
from signoff.source.names import folder_name

MODELS = Path("models")
_CHUNKS = MODELS / ".chunks"


def has_many_models(config: Config) -> bool:
    """Return whether a config asks for many models."""
    return bool(config.models.by or config.models.each)


def many_models_here() -> bool:
    """Return whether the config in this folder asks for many models; False if there is no config."""
    return config_here() is not None and has_many_models(read_config()[0])


def model_folders(config: Config) -> list[Path]:
    """Return the existing folder of each model, sorted by name; none if the config has one model.

    The models of a column are known once the source was split.
    """
    names = sorted({folder_name(each) for each in config.models.each})
    if config.models.by:
        with contextlib.suppress(TaskError, OSError, KeyError):
            names = models_of_column()
    # Each name is that of a folder within models/.
    return [MODELS / name for name in names if name == Path(name).name and (MODELS / name).is_dir()]


def models_of_column() -> list[str]:
    """Return the names of the models of a column, sorted, as the source was split. Raises as `read_json`."""
    return sorted(parts_with_model(cast(SplitRecord, read_json(INGEST_RECORD))))


def values_without_model() -> list[str]:
    """Return the values of the column that have too few rows for a model of their own, sorted."""
    with contextlib.suppress(TaskError, OSError):
        return sorted(read_json(INGEST_RECORD).get("without_model", []))
    return []


def failed_models() -> dict[str, str]:
    """Return the models that could not be made in the last run, each with the tasks that failed."""
    found: dict[str, list[str]] = {}
    for path in sorted(_CHUNKS.glob("*.json")):
        with contextlib.suppress(TaskError, OSError, KeyError):
            for name, why in read_json(path)["failed"].items():
                found.setdefault(name, []).append(why)
    return {name: f"{', '.join(why)} failed (models/{name}/logs)" for name, why in sorted(found.items())}


def forget_chunks(number: int) -> None:
    """Delete the outputs of chunks that no longer exist: those whose number is `number` or more."""
    for path in _CHUNKS.glob("*.json"):
        if int(path.name.partition(".")[0]) >= number:
            path.unlink()
