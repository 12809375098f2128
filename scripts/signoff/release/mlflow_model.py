"""A release as an MLflow model: a folder that MLflow loads and serves, with the code that it needs.

The folder has the form that https://mlflow.org/docs/latest/ml/model/ describes, with the flavour python_function. It is
written without MLflow. `serving.mlflow_loader` loads it.
"""

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from signoff.base.config import Config
from signoff.base.errors import TaskError
from signoff.base.files import WORKFLOW, read_utf8, write_json
from signoff.base.modules import modules_of
from signoff.model.boosters import BOOSTERS
from signoff.model.records import Metadata
from signoff.model.scoring import LOW_AND_HIGH, has_bounds
from signoff.release.approval import released_as, serialised
from signoff.release.form import SignOff
from signoff.release.store import Releases, evaluated, predicts_with
from signoff.tables.records import ColumnProfile

# The file with the scoring options, in the folder of data.
SCORING = "scoring.json"
# The column that says why a row has no prediction.
REJECTED = "rejected"
_LOADER = "signoff.serving.mlflow_loader"
_CODE, _DATA = "code", "data"
# What the loader and the models import, by their names in requirements.txt.
_PACKAGES = ("joblib", "numpy", "pandas", "pyarrow", "pyyaml", "scikit-learn", "scipy", "skops", "threadpoolctl")
# What rows are compared with.
_PROFILES = ("diagnostics.json", "validation_report.json")


def write_mlflow_model(folder: Path, name: str, document: SignOff, at: str, config: Config, releases: Releases) -> None:
    """Write a release as an MLflow model.

    Parameters
    ----------
    folder
        A new folder.
    name, document, at
        The release, its sign-off, as `Releases.verify` or `Releases.approved` returns it, and the time of its deploy.
    config
        The project's config, of which `reader` and `scoring` apply to the rows that are sent.
    releases
        Where the release is.

    Raises
    ------
    TaskError
        A file of the release was altered since it was verified.
    """
    metadata = cast(Metadata, releases.json(name, document, "model.json"))
    _copy_release(folder / _DATA / "releases" / name, name, document, releases)
    write_json(folder / _DATA / SCORING, _scoring(name, config))
    _copy_code(folder / _CODE)
    example = _example(metadata, _profile(name, document, releases))
    write_json(folder / "input_example.json", example)
    write_json(folder / "serving_input_example.json", {"dataframe_split": example})
    python, requirements = metadata["versions"]["python"], _requirements(metadata["versions"])
    (folder / "requirements.txt").write_text("".join(f"{each}\n" for each in requirements), encoding="utf-8")
    environment = {"python": python, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    _write_yaml(folder / "python_env.yaml", environment)
    outputs = _outputs(name, document, config, releases)
    flavour = {"loader_module": _LOADER, "python_version": python, "code": _CODE, "data": _DATA}
    _write_yaml(
        folder / "MLmodel",
        {
            "flavors": {"python_function": {**flavour, "env": {"virtualenv": "python_env.yaml"}}},
            "mlflow_version": requirements[-1].partition("==")[2],
            "saved_input_example_info": {
                "artifact_path": "input_example.json",
                "serving_input_path": "serving_input_example.json",
                "type": "dataframe",
                "pandas_orient": "split",
            },
            "signature": {
                "inputs": json.dumps([_column(each, "string", True) for each in metadata["columns"]]),
                "outputs": json.dumps(outputs),
                "params": None,
            },
            "utc_time_created": at.replace("T", " ").removesuffix("Z"),
            "metadata": {"signoff.release": name},
        },
    )


def _copy_release(folder: Path, name: str, document: SignOff, releases: Releases) -> None:
    """Copy the files of a release that predictions need, each from the bytes that were signed."""
    files = {path: place for path in document["files"] if (place := released_as(path))}
    unused = {evaluated(files.values())} - {predicts_with(files.values())}
    for path, place in files.items():
        if (path.startswith("model/") or place.startswith("code/") or place in _PROFILES) and place not in unused:
            copy = folder / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(releases.content(name, document, place))
    (folder / "sign_off.json").write_bytes(serialised(document))


def _copy_code(folder: Path) -> None:
    """Copy the modules of the package that the loader, and models of any kind, import."""
    scripts = WORKFLOW / "scripts"
    first = [scripts / f"{_LOADER.replace('.', '/')}.py", *(scripts / "signoff/model").glob("*.py")]
    for path in {*first, *(module for each in first for module in modules_of(each, scripts))}:
        copy = folder / path.relative_to(scripts)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _scoring(name: str, config: Config) -> dict[str, Any]:
    """Return what applies to the rows that are sent, as the loader reads it."""
    reader, scoring = config.reader, config.scoring
    options = {"on_drift": scoring.on_drift, "reasons": scoring.reasons}
    return {"release": name, "missing": reader.missing, "decimal": reader.decimal, **options}


def _profile(name: str, document: SignOff, releases: Releases) -> Mapping[str, ColumnProfile]:
    """Return the profile of each raw column; an empty one for a release of a version that wrote none."""
    profile: Mapping[str, ColumnProfile] = releases.json(name, document, "validation_report.json").get("profile", {})
    return profile


def _example(metadata: Metadata, profile: Mapping[str, ColumnProfile]) -> dict[str, Any]:
    """Return one typical raw row, as a data frame that is split: columns and data."""
    names = list(metadata["columns"])
    return {"columns": names, "data": [[_typical(profile.get(each)) for each in names]]}


def _typical(profile: ColumnProfile | None) -> str | None:
    """Return the most frequent value of a column, or its median; None if its profile has neither."""
    if profile is None:
        return None
    frequent = profile.get("most_frequent")
    if frequent:
        return str(next(iter(frequent)))
    middle = profile.get("median")
    return None if middle is None else str(middle)


def _outputs(name: str, document: SignOff, config: Config, releases: Releases) -> list[dict[str, Any]]:
    """Return the columns of the answer."""
    pipeline, _ = releases.model_of(name, document, refit=True)
    bounded = has_bounds(pipeline) or releases.half_width(name, document) is not None
    numbers = ["prediction", *(LOW_AND_HIGH if bounded else ())]
    reasons = [
        _column(f"reason_{n}{end}", kind, False)
        for n in range(1, config.scoring.reasons + 1)
        for end, kind in (("", "string"), ("_by", "double"))
    ]
    return [*(_column(each, "double", False) for each in numbers), *reasons, _column(REJECTED, "string", False)]


def _column(name: str, kind: str, required: bool) -> dict[str, Any]:
    return {"type": kind, "name": name, "required": required}


def _requirements(versions: Iterable[str]) -> list[str]:
    """Return the pins of the packages that the loader and a model of these `versions` need, the last MLflow's."""
    pins = _pins("requirements.txt")
    missing = [each for each in _PACKAGES if each not in pins]
    if missing:
        raise TaskError(f"requirements.txt pins no {missing[0]}, which an MLflow model of a release needs. Add it.")
    # The whole of MLflow does not allow the pinned version of pyarrow. Its client can serve models, too.
    boosters = [line for each in BOOSTERS if each in versions for line in _pins("requirements-boosters.txt")[each]]
    return [
        *(line for each in _PACKAGES for line in pins[each]),
        *boosters,
        *_pins("requirements-mlflow.txt")["mlflow-skinny"],
    ]


def _pins(file: str) -> dict[str, list[str]]:
    """Return the lines that pin a package, one for each version of Python, without their hashes."""
    found: dict[str, list[str]] = {}
    for line in read_utf8(WORKFLOW / file).splitlines():
        if match := re.match(r"([\w.-]+)==", line):
            found.setdefault(match[1], []).append(line.removesuffix(" \\"))
    return found


def _write_yaml(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
