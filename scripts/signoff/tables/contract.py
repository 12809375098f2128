"""The data contract, a pandera schema in YAML: which kinds of columns it declares, and the notation of dates."""

from datetime import datetime
from pathlib import Path
from typing import cast

import yaml

from signoff.base.errors import TaskError
from signoff.base.files import read_utf8
from signoff.tables.own_keys import OF_COLUMNS, OF_TABLE, check_own_keys
from signoff.tables.records import Contract

# What the dtypes of each kind begin with.
_DTYPES = {
    "number": ("int", "uint", "float", "decimal"),
    "boolean": ("bool",),
    "date": ("date", "timestamp"),
    "text": ("str", "object", "category", "string"),
}
# Notations of dates that strptime does not know.
_NAMED_NOTATIONS = ("ISO8601", "epoch s", "epoch ms", "quarter", "week")


def read_contract(path: Path) -> Contract:
    """Return the contract as the mapping that its YAML holds.

    Raises
    ------
    TaskError
        The file is missing, is not YAML, names no columns, or a key has a value of the wrong type.
    """
    try:
        contract = yaml.safe_load(read_utf8(Path(path)))
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
    columns = {column: rules or {} for column, rules in contract["columns"].items()}
    found = cast(Contract, {**contract, "columns": columns})
    check_own_keys(found, path)
    return found


def kinds(contract: Contract) -> dict[str, str]:
    """Return the kind (number, boolean, date, text) of each column with a dtype. Raises TaskError for others."""
    found = {}
    for column, rules in contract["columns"].items():
        dtype = rules.get("dtype")
        if dtype is None and "date_format" in rules:
            dtype = "datetime64[ns]"
        if dtype is None:
            continue
        kind = next((kind for kind, names in _DTYPES.items() if str(dtype).lower().startswith(names)), None)
        if kind is None:
            known = "int64, float64, bool, datetime64[ns], str"
            raise TaskError(f"the data contract: column {column!r} has the dtype {dtype!r}; known are {known}.")
        found[column] = kind
    return found


def formats(contract: Contract) -> dict[str, str]:
    """Return the notation of each column with a `date_format`.

    Raises
    ------
    TaskError
        It is not a notation of dates, or the column has another dtype.
    """
    declared = kinds(contract)
    found = {}
    for column, rules in contract["columns"].items():
        notation = rules.get("date_format")
        if notation is None:
            continue
        if declared[column] != "date":
            raise TaskError(
                f"the data contract: column {column!r} has a date_format, but the dtype {rules['dtype']!r}. Set dtype: "
                "datetime64[ns], or remove date_format."
            )
        if notation not in _NAMED_NOTATIONS and not _is_strptime(notation):
            raise TaskError(
                f"the data contract: column {column!r} has the date_format {notation!r}, which is not a notation of "
                f"dates. Write it as strptime does, such as '%d/%m/%Y %H:%M', or use {', '.join(_NAMED_NOTATIONS)}."
            )
        found[column] = notation
    return found


def with_key(contract: Contract | None, key: str) -> list[str]:
    """Return the columns for which the contract says `key: true`."""
    return [name for name, rules in (contract or {"columns": {}})["columns"].items() if rules.get(key)]


def _is_strptime(notation: object) -> bool:
    """Return whether strptime knows all directives of a notation, among which are a month and a year, or the like."""
    if not isinstance(notation, str) or "%" not in notation:
        return False
    try:
        moment = datetime(2024, 3, 31).strftime(notation)
        return datetime.strptime(moment, notation).replace(tzinfo=None) != datetime(1900, 1, 1)
    except ValueError:
        # The moment has no time zone.
        return "%z" in notation and _is_strptime(notation.replace("%z", ""))


def without_own_keys(contract: Contract) -> dict[str, object]:
    """Return the part of a contract that pandera knows."""
    columns = {
        column: {key: value for key, value in rules.items() if key not in OF_COLUMNS}
        for column, rules in contract["columns"].items()
    }
    return {key: value for key, value in contract.items() if key not in OF_TABLE} | {"columns": columns}


def looks_at_all_rows(contract: Contract | None) -> bool:
    """Return whether pandera must see all rows at once, for checks of more than single values, such as uniqueness."""
    row_by_row = {"schema_type", "version", "columns", "name", "title", "description", "metadata", "strict", *OF_TABLE}
    of_columns = {"dtype", "nullable", "checks", "required", "name", "title", "description", "metadata", "regex"}
    of_columns |= set(OF_COLUMNS)
    contract = contract or {"columns": {}}
    rules = list(contract["columns"].values())
    return (
        any(value for key, value in contract.items() if key not in row_by_row)
        or any(value for each in rules for key, value in each.items() if key not in of_columns)
        or any("unique_values_eq" in (each.get("checks") or {}) for each in rules)
    )
