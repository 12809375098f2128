"""Check the raw data against the data contract, all of it at once, and profile every column.

    python scripts/validate_data.py --input data/raw/raw_data.csv --output reports/validation_report.json

A violation is a finding, not a failure: the report says "fail", and the exit code is 0. Rows are numbered from 1, the
first row after the header.
"""

import argparse
import collections
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import sha256, write_json
from signoff.features.evidence import other_words
from signoff.tables import contract as contracts
from signoff.tables.batches import Columns, judged, tables
from signoff.tables.cleaning import in_future, ingest_time
from signoff.tables.contract import EXAMPLES
from signoff.tables.counting import Counts
from signoff.tables.parts import read_part
from signoff.tables.table import Table, read_table


class Past(NamedTuple):
    """A column of times, and the time of the ingest, which none of them may exceed."""

    column: str
    now: pd.Timestamp


def validate_data(table: Table, contract: dict | None = None, past: Past | None = None) -> dict:
    """Return the validation report of `table`.

    Parameters
    ----------
    table
        As `table.read_table` gives it, read with the kinds that the contract declares.
    contract
        A pandera schema as the mapping that its YAML holds; without one, only the kinds of values are checked.
    past
        The time column, and the time of the ingest, which no row may be dated after.

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
    return validate_tables([table], table.kinds, contract, past=past)


def validate_tables(
    tables: Iterable[Table],
    kinds: dict[str, str],
    contract: dict | None,
    folder: Path | None = None,
    past: Past | None = None,
) -> dict:
    """Return the validation report of the rows of several tables, as of one, in memory that they do not grow.

    More values of a column than memory should hold go to a file in `folder`. See `validate_data`.
    """
    schema = pandera_schema(contract) if contract else None
    formats = contracts.formats(contract) if contract else {}
    bad, fractions, broken = {}, {}, {}
    rows, missing, counts = 0, collections.Counter(), {name: Counts(folder) for name in kinds}
    for table in tables:
        frame = table.frame
        rows += len(frame)
        for column, values in table.bad.items():
            written = f", written as {formats[column]}" if column in formats else ""
            add_violation(bad, column, f"is a {kinds[column]}{written}", values)
        if past and (late := in_future(frame[past.column], past.now)).any():
            add_violation(bad, past.column, "is not in the future", frame[past.column][late])
        for column, values in other_words(frame, contract).items():
            unit = contract["columns"][column]["unit"]
            kind = {"": "a number", ":": "a time of day or a duration"}.get(unit, f"a number before {unit!r}")
            add_violation(bad, column, f"is {kind}", values)
        if contract:
            for column, values in values_with_fractions(frame, contract).items():
                add_violation(fractions, column, "is a whole number", values)
            for column, check, values in contract_violations(frame, schema, table.bad):
                add_violation(broken, column, check, values)
        for name, each in counts.items():
            each.add(frame[name])
            missing[name] += int(frame[name].isna().sum())
    if contract:
        broken = dict(sorted(broken.items(), key=lambda each: place_in(schema, *each[0], each[1]["rows"])))
        fractions = {
            key: fractions[key] for key in sorted(fractions, key=lambda key: list(contract["columns"]).index(key[0]))
        }
    bad = {key: bad[key] for key in sorted(bad, key=lambda key: list(kinds).index(key[0]))}
    violations = [*bad.values(), *fractions.values(), *broken.values()]
    unreadable = {column: each["rows"] for (column, check), each in bad.items() if check.startswith("is a ")}
    return {
        "status": "fail" if violations else "pass",
        "contract": contract is not None,
        "rows": rows,
        "violations": violations,
        "profile": {
            name: {"type": kind, "unreadable": unreadable.get(name, 0), **profile(counts[name], missing[name])}
            for name, kind in kinds.items()
        },
    }


def add_violation(found: dict[tuple, dict], column: str | None, check: str, values: pd.Series) -> None:
    """Add a violation of `check` by `values`, whose index is their row (0-based), to those of earlier rows."""
    whole = found.setdefault((column, check), {"column": column, "check": check, "rows": 0, "examples": []})
    whole["rows"] += len(values)
    more = values.head(EXAMPLES - len(whole["examples"]))
    whole["examples"] += [{"row": int(row) + 1, "value": plain(value)} for row, value in more.items()]


def plain(value: object) -> object:
    """Return a value as JSON can hold it."""
    if value is None or value is pd.NaT or value != value:
        return None
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, bool | int | float | str) else str(value)


def values_with_fractions(frame: pd.DataFrame, contract: dict) -> dict[str, pd.Series]:
    """Return by column the values with a fraction where the contract's dtype is an integer one."""
    found = {}
    for column, rules in contract["columns"].items():
        is_integer = str((rules or {}).get("dtype", "")).lower().startswith(("int", "uint"))
        if is_integer and column in frame and pd.api.types.is_float_dtype(frame[column]):
            fractions = frame[column][frame[column] % 1 > 0]
            if len(fractions):
                found[column] = fractions
    return found


def pandera_schema(contract: dict):
    """Return the contract as a pandera schema. Raises TaskError where it is none."""
    import pandera.pandas as pandera
    import yaml

    try:
        schema = pandera.DataFrameSchema.from_yaml(
            yaml.safe_dump(contracts.without_own_keys(contract), sort_keys=False)
        )
    except Exception as error:
        raise TaskError(f"the data contract is no pandera schema ({type(error).__name__}: {error})") from error
    for column in schema.columns.values():
        # The kinds are checked already, value by value; whole numbers with missing ones among them are float64.
        column.dtype = None
    return schema


def contract_violations(
    frame: pd.DataFrame, schema: object, bad: dict[str, pd.Series]
) -> Iterator[tuple[str | None, str, pd.Series]]:
    """Yield column, check and values of each violation that pandera finds; `bad` values are not missing ones too.

    A violation by the table as a whole, such as a missing column, has no values.
    """
    from pandera.errors import SchemaErrors

    # Zones are compared as UTC; a contract writes its dates without one.
    naive = {name: frame[name].dt.tz_convert("UTC").dt.tz_localize(None) for name in frame.select_dtypes("datetimetz")}
    try:
        schema.validate(frame.assign(**naive), lazy=True)
    except SchemaErrors as errors:
        for (column, check), group in errors.failure_cases.groupby(["column", "check"], sort=False, dropna=False):
            column = None if pd.isna(column) else str(column)
            if group["index"].isna().all():
                for each in group["failure_case"]:
                    yield str(each), str(check), pd.Series(dtype="object")
                continue
            values = group.set_index("index")["failure_case"].sort_index()
            if check == "not_nullable":
                values = values.drop(bad[column].index if column in bad else [])
            if len(values):
                yield column, str(check), values


def place_in(schema: object, column: str | None, check: str, rows: int) -> tuple[bool, int, int]:
    """Return what orders violations as pandera does: those by the table as a whole, then by column and by check."""
    columns = list(schema.columns)
    place = columns.index(column) if column in columns else len(columns)
    checks = ["not_nullable", "field_uniqueness"]
    checks += [str(each.error) for each in schema.columns[column].checks] if column in columns else []
    return rows > 0, place, checks.index(check) if check in checks else len(checks)


def profile(counts: Counts, missing: int) -> dict:
    """Return missing and distinct counts; for numbers and dates the least, the greatest and the quartiles."""
    found, values = {"missing": missing, "distinct": counts.distinct()}, counts.values
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if counts.total and (is_number or pd.api.types.is_datetime64_any_dtype(values)):
        quantiles = counts.quantiles([0, 0.25, 0.5, 0.75, 1])
        return found | dict(zip(["min", "q25", "median", "q75", "max"], map(plain, quantiles), strict=True))
    return found | {"most_frequent": {str(value): n for value, n in counts.most_frequent(EXAMPLES).items()}}


def past_of(args: argparse.Namespace, kinds: dict[str, str]) -> Past | None:
    """Return what the times must not exceed, where they are dates and a record says when they were ingested."""
    now = ingest_time(args.input) if kinds.get(args.time_column) == "date" else None
    return None if now is None else Past(args.time_column, now)


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="the raw data, as ingest_data writes them")
    parser.add_argument("--output", required=True, type=Path, help="the JSON report to write")
    parser.add_argument("--schema", type=Path, help="the data contract: a pandera schema in YAML")
    parser.add_argument("--time-column", help="when each row happened: later than the ingest is a violation")
    parser.add_argument(
        "--like", type=Path, metavar="JSON", help="of clean_data: the input is a part, of the same kinds of columns"
    )
    args = parser.parse_args(argv)
    with command_line.logged("validate_data", args, args.input):
        contract = contracts.read_contract(args.schema) if args.schema else None
        if contract is None:
            logging.info("[validate_data] no data contract: only the kinds of values are checked")
        kinds, formats = (contracts.kinds(contract), contracts.formats(contract)) if contract else (None, None)
        if args.like or contracts.looks_at_all_rows(contract):
            table = read_part(args.input, args.like) if args.like else read_table(args.input, kinds, formats)
            report = validate_data(table, contract, past_of(args, table.kinds))
        else:

            def validated(columns: Columns) -> dict:
                past = past_of(args, columns.kinds)
                return validate_tables(tables(args.input, columns), columns.kinds, contract, args.output.parent, past)

            report = judged(args.input, kinds, validated, formats)
        write_json(args.output, {**report, "raw_sha256": sha256(args.input)})
        for line in contracts.describe(report["violations"]):
            logging.warning("[validate_data] %s", line)
        logging.info(
            "[validate_data] completed. Status: %s, violations: %d", report["status"], len(report["violations"])
        )
        logging.info("[validate_data] wrote validation report to %s", args.output)


if __name__ == "__main__":
    main()
