"""The data contract: a pandera schema in YAML, and what it says of the kinds of columns."""

from pathlib import Path

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
        if dtype is None:
            continue
        kind = next((kind for kind, names in KINDS.items() if str(dtype).lower().startswith(names)), None)
        if kind is None:
            known = "int64, float64, bool, datetime64[ns], str"
            raise TaskError(f"the data contract: column {column!r} has the dtype {dtype!r}; known are {known}.")
        found[column] = kind
    return found


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
    contract = contract or {"columns": {}}
    rules = list(contract["columns"].values())
    return (
        any(value for key, value in contract.items() if key not in row_by_row)
        or any(value for each in rules for key, value in each.items() if key not in of_columns)
        or any("unique_values_eq" in (each.get("checks") or {}) for each in rules)
    )
