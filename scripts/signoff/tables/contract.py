"""The data contract: a pandera schema in YAML; what it says of columns' kinds, and how their dates are written."""

from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from signoff.base.errors import TaskError

# Of each violation, and of the values of a column, so many are shown.
EXAMPLES = 5
KINDS = {
    "number": ("int", "uint", "float", "decimal"),
    "boolean": ("bool",),
    "date": ("date", "timestamp"),
    "text": ("str", "object", "category", "string"),
}
# Notations of dates that strptime does not know.
NAMED_NOTATIONS = ("ISO8601", "epoch s", "epoch ms", "quarter", "week")
# What the contract says of a column beside what pandera knows.
OWN_OF_COLUMNS = ("date_format", "future", "unit")


def read_contract(path: Path) -> dict:
    """Return the contract as the mapping that its YAML holds.

    Raises
    ------
    TaskError
        When the file is missing, is no YAML, or names no columns.
    """
    try:
        contract = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TaskError(f"the data contract {path} does not exist. Correct validation.schema in the config.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TaskError(f"the data contract {path} is not valid YAML: {error}") from error
    if not isinstance(contract, dict) or not isinstance(contract.get("columns"), dict):
        raise TaskError(f"the data contract {path} needs a key 'columns': a pandera schema in YAML.")
    for column, rules in contract["columns"].items():
        if not isinstance(rules or {}, dict) or not isinstance((rules or {}).get("checks") or {}, dict):
            raise TaskError(
                f"the data contract {path}: column {column!r} needs keys such as dtype, nullable and checks."
            )
    return {**contract, "columns": {column: rules or {} for column, rules in contract["columns"].items()}}


def kinds(contract: dict) -> dict[str, str]:
    """Return for each column with a dtype the kind of its values: number, boolean, date or text.

    Raises
    ------
    TaskError
        When a dtype is none of these.
    """
    found = {}
    for column, rules in contract["columns"].items():
        dtype = (rules or {}).get("dtype")
        if dtype is None and "date_format" in (rules or {}):
            dtype = "datetime64[ns]"
        if dtype is None:
            continue
        kind = next((kind for kind, names in KINDS.items() if str(dtype).lower().startswith(names)), None)
        if kind is None:
            known = "int64, float64, bool, datetime64[ns], str"
            raise TaskError(f"the data contract: column {column!r} has the dtype {dtype!r}; known are {known}.")
        found[column] = kind
    return found


def formats(contract: dict[str, Any]) -> dict[str, str]:
    """Return for each column with a `date_format` how its dates are written.

    Raises
    ------
    TaskError
        It is no notation of dates, or the column holds something else.
    """
    declared = kinds(contract)
    found = {}
    for column, rules in contract["columns"].items():
        notation = (rules or {}).get("date_format")
        if notation is None:
            continue
        if declared[column] != "date":
            raise TaskError(
                f"the data contract: column {column!r} has a date_format, but the dtype {rules['dtype']!r}. Set dtype: "
                "datetime64[ns], or remove date_format."
            )
        if notation not in NAMED_NOTATIONS and not is_strptime(notation):
            raise TaskError(
                f"the data contract: column {column!r} has the date_format {notation!r}, which is no notation of "
                f"dates. Write it as strptime does, such as '%d/%m/%Y %H:%M', or use {', '.join(NAMED_NOTATIONS)}."
            )
        found[column] = notation
    return found


def past_only(contract: dict[str, Any] | None, time_column: str | None) -> str | None:
    """Return the time column where its times must not be in the future: unless the contract says `future: true`."""
    rules = (contract or {"columns": {}})["columns"].get(time_column) or {}
    return None if rules.get("future") else time_column


def is_strptime(notation: object) -> bool:
    """Return whether strptime knows all directives of a notation, among which are a month and a year, or the like."""
    if not isinstance(notation, str) or "%" not in notation:
        return False
    try:
        moment = datetime(2024, 3, 31).strftime(notation)
        return datetime.strptime(moment, notation).replace(tzinfo=None) != datetime(1900, 1, 1)
    except ValueError:
        # A notation of a time zone finds none here.
        return "%z" in notation and is_strptime(notation.replace("%z", ""))


def without_own_keys(contract: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a contract that pandera knows."""
    columns = {
        column: {key: value for key, value in rules.items() if key not in OWN_OF_COLUMNS}
        for column, rules in contract["columns"].items()
    }
    return {**contract, "columns": columns}


def describe(violations: list[dict]) -> list[str]:
    """Return one line for each violation of a validation report."""
    lines = []
    for each in violations:
        where = f"column {each['column']}: " if each["column"] else ""
        examples = ", ".join(f"{example['value']!r} in row {example['row']}" for example in each["examples"][:3])
        rows = f" in {each['rows']:,} rows ({examples})" if each["rows"] else ""
        lines.append(f"{where}violates {each['check']!r}{rows}")
    return lines


def looks_at_all_rows(contract: dict | None) -> bool:
    """Tell whether a contract holds anything but checks of single values, such as that a column's values differ."""
    row_by_row = {"schema_type", "version", "columns", "name", "title", "description", "metadata", "strict"}
    of_columns = {"dtype", "nullable", "checks", "required", "name", "title", "description", "metadata", "regex"}
    of_columns |= set(OWN_OF_COLUMNS)
    contract = contract or {"columns": {}}
    rules = list(contract["columns"].values())
    return (
        any(value for key, value in contract.items() if key not in row_by_row)
        or any(value for each in rules for key, value in each.items() if key not in of_columns)
        or any("unique_values_eq" in (each.get("checks") or {}) for each in rules)
    )
