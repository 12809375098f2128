"""The config, checked against its schema before anything runs."""

import argparse
import contextlib
import functools
import math
import os
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from signoff.base.config import Config, ModelConfig
from signoff.base.errors import TaskError, nearest
from signoff.base.files import WORKFLOW, read_utf8
from signoff.source.address import refuse_password

_TYPES = {"object": "a mapping", "array": "a list", "string": "text", "null": "null", "boolean": "true or false"}
_TYPES |= {"number": "a number", "integer": "a whole number"}


SCHEMA = WORKFLOW / "workflow/schemas/config.schema.yaml"
CONFIG_PATHS = ("config/config.yaml", "config.yaml")

_Section = TypeVar("_Section")


def config_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the config, for the command lines that a person runs in the project's folder."""
    parser.add_argument(
        "--config", action="append", help=f"the config; by default {' or '.join(CONFIG_PATHS)}, whichever is there"
    )


def config_here() -> str | None:
    """Return the path of the config in this folder; None if there is none."""
    return next((each for each in CONFIG_PATHS if Path(each).is_file()), None)


def required_config() -> str:
    """Return the path of the config in this folder. Raises TaskError if there is none."""
    path = config_here()
    if path is None:
        raise TaskError(f"there is no {' and no '.join(CONFIG_PATHS)} here. Go to the project's folder.")
    return path


def read_config(paths: list[str] | None = None) -> tuple[Config, list[str]]:
    """Return the checked config with its defaults, and its files; a later file overrides an earlier one.

    Raises
    ------
    TaskError
        The config is missing or not valid.
    """
    values, paths = read_values(paths)
    return section(Config, values), paths


def read_values(paths: list[str] | None = None) -> tuple[dict[str, Any], list[str]]:
    """Return the same as a mapping, to write configs of models from it; raises as `read_config`."""
    here = config_here()
    paths = paths or ([here] if here else [])
    if not paths:
        raise TaskError(
            f"there is no {' and no '.join(CONFIG_PATHS)} here. Go to the project's folder, or name one: --config"
        )
    config: dict[str, Any] = {}
    # The same name for the same file, however it was given.
    paths = [os.path.relpath(path) for path in paths]
    for path in paths:
        try:
            more = yaml.safe_load(read_utf8(Path(path)))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise TaskError(f"{path} is not valid YAML: {error}") from error
        if not isinstance(more, dict):
            raise TaskError(f"{path} holds no keys. raw_data_source_url and target are the least.")
        merge(config, more)
    try:
        check_config(config, SCHEMA)
    except TaskError as error:
        raise TaskError(f"{' and '.join(paths)}: {str(error).removeprefix('config: ')}") from error
    return config, paths


def section(kind: type[_Section], values: Mapping[str, Any]) -> _Section:
    """Return a checked config, or a section of it, as a dataclass."""
    types = _types_of(cast(Any, kind))
    found = {}
    for each in fields(kind):  # type: ignore[arg-type]
        value = values[each.name]
        found[each.name] = section(types[each.name], value) if is_dataclass(types[each.name]) else value
    return kind(**found)


@functools.cache
def _types_of(kind: Any) -> dict[str, Any]:
    """Return the types of the fields of a dataclass. Finding them takes longer than reading a small file."""
    return get_type_hints(kind)


def refuse_code(paths: list[str]) -> None:
    """Raise TaskError if a config requests YTE, with which Snakemake would run Python code in it.

    Snakemake reads a config before any line of the workflow: only what starts Snakemake can refuse it in time.
    """
    for path in paths:
        text = read_utf8(Path(path), errors="replace")
        if "__use_yte__" in text or "__use_yte__" in _scalars(text):
            raise TaskError(
                f"{path}: with __use_yte__ a config is a program. Take it out, and write what it would give."
            )


def _scalars(text: str) -> set[str]:
    """Return every scalar of a YAML text: a key may be written with escapes, or come from an anchor."""
    found = set()
    # Snakemake cannot load what is not valid YAML either.
    with contextlib.suppress(yaml.YAMLError):
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.ScalarEvent):
                found.add(event.value)
    return found


def merge(config: dict[str, Any], more: dict[str, Any]) -> None:
    """Override `config` with `more`, section by section, as Snakemake does with several config files."""
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            merge(config[key], value)
        else:
            config[key] = value


def check_config(values: dict[str, Any], schema_path: Path) -> Config:
    """Check a config, fill in the defaults of the schema, and return it with types.

    Parameters
    ----------
    values
        The config as read from YAML; changed in place.
    schema_path
        workflow/schemas/config.schema.yaml.

    Raises
    ------
    TaskError
        A key is unknown, missing, of a wrong type or out of range. The message names it and the nearest valid one.
    """
    # libyaml's parser if PyYAML has it: the one in Python would slow down a run with nothing to do.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    schema = loader(read_utf8(schema_path)).get_single_data()
    _fill_defaults(values, schema)
    for key, value in _numbers(values):
        if not math.isfinite(value):
            # JSON Schema accepts YAML's .nan and .inf as numbers.
            raise TaskError(f"config: {key} is {value}, but must be a finite number.")
    errors = sorted(Draft202012Validator(schema).iter_errors(values), key=lambda error: list(map(str, error.path)))
    if errors:
        raise TaskError("config: " + " ".join(_explain_config_error(each) for each in errors))
    config = section(Config, values)
    model = config.model
    _check_candidates(model)
    refuse_password(config.raw_data_source_url)
    if config.data.partition_by in ("week", "month") and not config.time_column:
        raise TaskError(f"config: data.partition_by: {config.data.partition_by} needs time_column. Name it.")
    _check_groups(config)
    _check_history(config)
    if both := set(config.features.not_before) & set(config.features.known_before):
        listed = " and ".join(sorted(both))
        raise TaskError(f"config: features.not_before and features.known_before both name {listed}. Remove one.")
    if model.passes and model.preset != "fast":
        raise TaskError("config: model.passes needs a model.estimator with partial_fit, and model.preset: fast.")
    if model.passes and (not model.max_rows or model.candidates):
        raise TaskError("config: model.passes needs model.max_rows, and cannot be combined with model.candidates.")
    _check_metric(model)
    _check_budget(model)
    _check_transform(model)
    if model.passes and model.weight:
        raise TaskError("config: model.weight cannot be combined with model.passes. Use model.max_rows alone.")
    if model.weight == config.target:
        raise TaskError(f"config: model.weight is {config.target!r}, which is the target. Name another column.")
    if model.passes and model.refit == "all":
        raise TaskError("config: model.refit: all cannot be combined with model.passes. Use model.max_rows alone.")
    for number, url in enumerate(config.notify.urls):
        refuse_password(url, f"notify.urls.{number}")
    _check_paths(config)
    return config


def _check_paths(config: Config) -> None:
    """Raise TaskError if a path leads out of the project's folder, also by a link, and not into an allowed folder.

    The source may be anywhere. A path must not contain what Snakemake would take for a wildcard.
    """
    allowed = [Path(each).resolve() for each in (".", *config.allow_outside)]
    paths = {
        "validation.schema": config.validation.schema,
        "features.custom": config.features.custom,
        "evaluation.metrics": config.evaluation.metrics,
        "scoring.history": config.scoring.history,
        "release.allowed_signers": config.release.allowed_signers,
    }
    for key, path in paths.items():
        if re.search(r"\{.*\}", path or ""):
            raise TaskError(f"config: {key} is {path!r}, but the name of a file may hold no {{…}}. Rename it.")
        try:
            place = Path(path or ".").resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise TaskError(f"config: {key} is {path!r}, which is not a path ({error}).") from error
        if not any(place.is_relative_to(folder) for folder in allowed):
            raise TaskError(
                f"config: {key} is {path!r}, which is outside of the project's folder ({place}). Move the file into "
                "it, or name the file's folder in allow_outside."
            )


def _check_groups(config: Config) -> None:
    """Raise TaskError if split.groups is the target, or another key also decides how rows are split."""
    split = config.split
    if split.groups is None:
        return
    if split.by == "time" or split.test_weeks or split.key:
        other = "by: time" if split.by == "time" else "test_weeks" if split.test_weeks else "key"
        raise TaskError(
            f"config: split.groups: {split.groups} already decides which rows are held out. Remove split.{other}, "
            "or split.groups."
        )
    if split.groups in (config.target, "split"):
        raise TaskError(f"config: split.groups is {split.groups!r}, but must be another column than that.")


def _check_history(config: Config) -> None:
    """Raise TaskError if features of earlier rows cannot be combined with another key."""
    if not config.features.history:
        return
    if config.data.partition_by:
        raise TaskError(
            "config: features.history needs all rows, and data.partition_by computes the features of each part by "
            "itself. Remove one of the two."
        )
    if config.features.custom and config.features.custom_mode == "instead":
        raise TaskError("config: features.history is built in. Set features.custom_mode: after, or remove it.")


def _check_metric(model: ModelConfig) -> None:
    """Raise TaskError if a metric is to decide between models, but only one is trained."""
    if model.metric and model.preset == "fast" and not model.candidates:
        raise TaskError(
            f"config: model.metric: {model.metric} decides between several models, but only one is trained. Set "
            "model.preset: good or model.candidates, or remove it and name a loss in model.params."
        )


def _check_budget(model: ModelConfig) -> None:
    """Raise TaskError if a budget is given to a preset that has none, or two of them."""
    given = [f"model.{name}" for name in ("minutes", "trials") if getattr(model, name) is not None]
    if given and model.preset != "best":
        raise TaskError(
            f"config: {given[0]} is the budget of model.preset: best. Set that preset, or remove {given[0]}."
        )
    if len(given) > 1:
        raise TaskError("config: model.trials replaces model.minutes. Remove one of the two.")


def _check_transform(model: ModelConfig) -> None:
    """Raise TaskError if a transformation of the target cannot be combined with how the model is trained."""
    transform = model.target_transform
    if transform and model.preset != "fast":
        raise TaskError(
            f"config: model.preset: {model.preset} compares the logarithm of the target by itself. Remove "
            "model.target_transform, or set model.preset: fast."
        )
    if transform and model.passes:
        raise TaskError(
            "config: model.target_transform cannot be combined with model.passes. Use model.max_rows alone."
        )


def _check_candidates(model: ModelConfig) -> None:
    """Raise TaskError if an estimator is set beside the candidates, or the ends of a distribution are reversed."""
    default = ModelConfig.estimator
    if model.preset != "fast" and (model.candidates or model.params or model.estimator != default):
        raise TaskError(
            f"config: model.preset: {model.preset} chooses the model by itself. Remove model.estimator, "
            "model.params and model.candidates, or set model.preset: fast."
        )
    if model.candidates and (model.params or model.estimator != default):
        raise TaskError("config: model.candidates replaces model.estimator and model.params. Remove these two.")
    for n, candidate in enumerate(model.candidates):
        for name, value in candidate.get("params", {}).items():
            for kind, (low, high) in value.items() if isinstance(value, dict) else ():
                if low >= high:
                    raise TaskError(f"config: model.candidates.{n}.params.{name}.{kind}: {low} must be below {high}.")


def _numbers(value: object, key: str = "") -> list[tuple[str, float]]:
    """Return each number in a nested value with its key."""
    if isinstance(value, float):
        return [(key, value)]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for name, each in items for found in _numbers(each, f"{key}.{name}".lstrip("."))]


def _fill_defaults(config: dict[str, Any], schema: dict[str, Any]) -> None:
    """Set the keys that `config` lacks. A section of which every line is commented out is null, and counts as empty."""
    for key, rules in schema.get("properties", {}).items():
        if "default" not in rules:
            continue
        if config.get(key) is None:
            default = rules["default"]
            config[key] = default.copy() if isinstance(default, dict | list) else default
        if rules.get("type") == "object" and isinstance(config[key], dict):
            _fill_defaults(config[key], rules)


def _explain_config_error(error: ValidationError) -> str:
    """Return one sentence about an error of jsonschema."""
    schema: Any = error.schema
    value: Any = error.validator_value
    instance: Any = error.instance
    validator = str(error.validator)
    key = ".".join(map(str, error.path))
    prefix = f"{key}." if key else ""
    if validator == "additionalProperties":
        known = schema.get("properties", {})
        unknown = [name for name in instance if name not in known]
        return " ".join(f"the key {prefix}{name} is unknown: {nearest(str(name), known)}" for name in unknown)
    if validator == "required":
        missing = [name for name in value if name not in instance]
        return f"the key {', '.join(prefix + name for name in missing)} is missing."
    if validator == "type":
        allowed = value if isinstance(value, list) else [value]
        return f"{key} is {instance!r}, but must be {' or '.join(_TYPES[each] for each in allowed)}."
    if validator == "enum":
        return f"{key} is {instance!r}: {nearest(str(instance), value)}"
    if validator == "oneOf":
        return f"{key} is {instance!r}, but must be {_or_else(value)}."
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    if validator in bounds:
        return f"{key} is {instance!r}, but must be {bounds[validator]} {value}."
    if validator == "pattern":
        return f"{key} is {instance!r}, but must be a .py file in the project's folder, by its path from there."
    if validator in ("minLength", "maxLength"):
        return f"{key} is {instance!r}, but must have at {'least' if validator == 'minLength' else 'most'} 1 character."
    return f"{key}: {error.message}."


def _or_else(branches: list[dict[str, Any]]) -> str:
    """Return what the branches of a schema's oneOf allow: values, or mappings with their keys."""
    values = [str(each) for branch in branches for each in branch.get("enum", [])]
    keys = [f"a mapping with {' and '.join(branch['properties'])}" for branch in branches if "properties" in branch]
    return " or ".join([", ".join(values), *keys])
