"""Check the raw data against the data contract, all of it at once, and profile every column.

    python scripts/validate_data.py --input data/raw/raw_data.csv --output reports/validation_report.json

A violation is a finding, not a failure: the report says "fail", and the exit code is 0. Rows are numbered from 1, the
first row after the header.
"""

import logging
from pathlib import Path

import pandas as pd

import contract as contracts
import task
from part import read_part
from table import Table, read_table
from task import TaskError, write_json

EXAMPLES = 5


def validate_data(table: Table, contract: dict | None = None) -> dict:
    """Return the validation report of `table`.

    Parameters
    ----------
    table
        As `table.read_table` gives it, read with the kinds that the contract declares.
    contract
        A pandera schema as the mapping that its YAML holds; without one, only the kinds of values are checked.

    Returns
    -------
    dict
        status ("pass" or "fail"), contract (bool), rows, violations and profile (by column), as
        workflow/schemas/validation_report.schema.yaml describes them.

    Raises
    ------
    TaskError
        The contract is no pandera schema.
    """
    violations = [violation(column, f"is a {table.kinds[column]}", values) for column, values in table.bad.items()]
    if contract:
        violations += whole_number_violations(table.frame, contract)
        violations += contract_violations(table.frame, contract, table.bad)
    return {
        "status": "fail" if violations else "pass",
        "contract": contract is not None,
        "rows": len(table.frame),
        "violations": violations,
        "profile": {
            name: {"type": table.kinds[name], "unreadable": len(table.bad.get(name, [])), **profile(table.frame[name])}
            for name in table.frame
        },
    }


def violation(column: str | None, check: str, values: pd.Series) -> dict:
    """Return a violation of `check` by `values`, whose index is their row (0-based)."""
    examples = [{"row": int(row) + 1, "value": plain(value)} for row, value in values.head(EXAMPLES).items()]
    return {"column": column, "check": check, "rows": len(values), "examples": examples}


def plain(value: object) -> object:
    """Return a value as JSON can hold it."""
    if value is None or value is pd.NaT or value != value:
        return None
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, bool | int | float | str) else str(value)


def whole_number_violations(frame: pd.DataFrame, contract: dict) -> list[dict]:
    """Return the violations of integer dtypes: values with a fraction."""
    found = []
    for column, rules in contract["columns"].items():
        is_integer = str((rules or {}).get("dtype", "")).lower().startswith(("int", "uint"))
        if is_integer and column in frame and pd.api.types.is_float_dtype(frame[column]):
            fractions = frame[column][frame[column] % 1 > 0]
            if len(fractions):
                found.append(violation(column, "is a whole number", fractions))
    return found


def contract_violations(frame: pd.DataFrame, contract: dict, bad: dict[str, pd.Series]) -> list[dict]:
    """Return the violations that pandera finds, checking lazily; `bad` values are not reported again as missing."""
    import pandera.pandas as pandera
    import yaml
    from pandera.errors import SchemaErrors

    # Zones are compared as UTC; a contract writes its dates without one.
    naive = {name: frame[name].dt.tz_convert("UTC").dt.tz_localize(None) for name in frame.select_dtypes("datetimetz")}
    frame = frame.assign(**naive)
    try:
        schema = pandera.DataFrameSchema.from_yaml(yaml.safe_dump(contract, sort_keys=False))
    except Exception as error:
        raise TaskError(f"the data contract is no pandera schema ({type(error).__name__}: {error})") from error
    for column in schema.columns.values():
        # The kinds are checked already, value by value; whole numbers with missing ones among them are float64.
        column.dtype = None
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
        found = []
        for (column, check), group in cases.groupby(["column", "check"], sort=False, dropna=False):
            column = None if pd.isna(column) else str(column)
            if group["index"].isna().all():
                # A check of the table as a whole: a column that is missing or too many.
                found += [
                    {"column": str(each), "check": str(check), "rows": 0, "examples": []}
                    for each in group["failure_case"]
                ]
                continue
            values = group.set_index("index")["failure_case"].sort_index()
            if check == "not_nullable":
                values = values.drop(bad[column].index if column in bad else [])
            if len(values):
                found.append(violation(column, str(check), values))
        return found
    return []


def profile(values: pd.Series) -> dict:
    """Return missing and distinct counts; for numbers and dates the least, the greatest and the quartiles."""
    known = values.dropna()
    found = {"missing": len(values) - len(known), "distinct": int(known.nunique())}
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if len(known) and (is_number or pd.api.types.is_datetime64_any_dtype(values)):
        names = ["min", "q25", "median", "q75", "max"]
        quantiles = known.quantile([0, 0.25, 0.5, 0.75, 1])
        return found | {name: plain(value) for name, value in zip(names, quantiles, strict=True)}
    return found | {"most_frequent": {str(value): int(n) for value, n in known.value_counts().head(EXAMPLES).items()}}


def main(argv: list[str] | None = None) -> None:
    parser = task.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="the raw data, as ingest_data writes them")
    parser.add_argument("--output", required=True, type=Path, help="the JSON report to write")
    parser.add_argument("--schema", type=Path, help="the data contract: a pandera schema in YAML")
    parser.add_argument(
        "--like", type=Path, metavar="JSON", help="of clean_data: the input is a part, of the same kinds of columns"
    )
    args = parser.parse_args(argv)
    with task.logged("validate_data", args, args.input):
        contract = contracts.read_contract(args.schema) if args.schema else None
        if contract is None:
            logging.info("[validate_data] no data contract: only the kinds of values are checked")
        kinds = contracts.kinds(contract) if contract else None
        table = read_part(args.input, args.like) if args.like else read_table(args.input, kinds)
        report = validate_data(table, contract)
        write_json(args.output, report)
        for line in contracts.describe(report["violations"]):
            logging.warning("[validate_data] %s", line)
        logging.info(
            "[validate_data] completed. Status: %s, violations: %d", report["status"], len(report["violations"])
        )
        logging.info("[validate_data] wrote validation report to %s", args.output)


if __name__ == "__main__":
    main()
