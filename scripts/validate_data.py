"""Check the raw data against the data contract, all of it at once, and profile every column.

    python scripts/validate_data.py --input data/raw/raw_data.csv --output reports/validation_report.json

A violation is a finding, not a failure: the report says "fail", and the exit code is 0. Rows are numbered from 1, the
first row after the header.
"""

import argparse
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import sha256, write_json
from signoff.features.evidence import other_words
from signoff.tables import contract as contracts
from signoff.tables.arrays import with_columns
from signoff.tables.batches import Columns, judged, tables
from signoff.tables.counting import Counts
from signoff.tables.delivery import Delivery
from signoff.tables.delivery_checks import STEADY_PERIODS, with_delivery
from signoff.tables.own_keys import delivery_rules
from signoff.tables.parts import read_part
from signoff.tables.records import ColumnProfile, ColumnRules, Contract, ValidationReport, Violation
from signoff.tables.table import ParsedTable, read_table
from signoff.tables.times import Times, ingest_time, time_column_of
from signoff.tables.violations import EXAMPLES, describe

# The number of newest periods in which rows are counted by level.
_KEPT_PERIODS = STEADY_PERIODS + 2
# Violations by column and check.
_Found = dict[tuple[str | None, str], Violation]


def validate_data(table: ParsedTable, contract: Contract | None = None, times: Times | None = None) -> ValidationReport:
    """Return the validation report of `table`, and what it holds as a delivery.

    Parameters
    ----------
    table
        As `table.read_table` gives it, read with the kinds that the contract declares.
    contract
        A pandera schema as the mapping that its YAML holds, with own keys; without one, only the kinds of values and
        the times are checked.
    times
        The time column, and which times are wrong.

    Returns
    -------
    dict
        status ("pass" or "fail"), contract (bool), rows, violations and profile (by column), as
        workflow/schemas/validation_report.schema.yaml describes them.

    Raises
    ------
    TaskError
        The contract is not a pandera schema.
    """
    return _validate_tables(lambda: [table], table.kinds, contract, times=times)[0]


def _validate_tables(
    make: Callable[[], Iterable[ParsedTable]],
    kinds: dict[str, str],
    contract: Contract | None,
    folder: Path | None = None,
    times: Times | None = None,
) -> tuple[ValidationReport, Delivery]:
    """Return the report of the rows that `make` yields, in bounded memory, and what they hold as a delivery.

    The rows are read again if some of their times turn out to be far outside of the others. More values of a column
    than memory should hold go to a file in `folder`. See `validate_data`.
    """
    report, delivery = _validated(make(), kinds, contract, folder, times)
    if times and (narrowed := times.narrowed(delivery.days)) != times:
        report, delivery = _validated(make(), kinds, contract, folder, narrowed)
    return report, delivery


def _validated(
    batches: Iterable[ParsedTable],
    kinds: dict[str, str],
    contract: Contract | None,
    folder: Path | None,
    times: Times | None,
) -> tuple[ValidationReport, Delivery]:
    """Return the report of some tables as of one, and what they hold; see `validate_tables`."""
    rules = delivery_rules(contract)
    delivery = Delivery(rules.levels, rules.max_missing, _KEPT_PERIODS * rules.newest)
    found, counts = _Violations(kinds, contract), {name: Counts(folder) for name in kinds}
    missing: Counter[str] = Counter()
    for table in batches:
        wrong = times.wrong(table.frame[times.column]) if times else {}
        found.look(table, times, wrong)
        moments = table.frame[times.column] if times else None
        if moments is not None:
            for each in wrong.values():
                moments = moments.mask(each)
        delivery.look(table.frame, moments)
        for name, count in counts.items():
            count.add(table.frame[name])
            missing[name] += int(table.frame[name].isna().sum())
    violations, unreadable = found.ordered(), found.unreadable()
    report: ValidationReport = {
        "status": "fail" if violations else "pass",
        "contract": contract is not None,
        "rows": delivery.rows,
        "violations": violations,
        "profile": {
            name: _profile(kind, unreadable.get(name, 0), missing[name], counts[name]) for name, kind in kinds.items()
        },
    }
    return report, delivery


class _Violations:
    """The violations by single rows, collected batch by batch."""

    def __init__(self, kinds: dict[str, str], contract: Contract | None):
        self.kinds, self.contract = kinds, contract
        self.schema = _pandera_schema(contract) if contract else None
        self.formats = contracts.formats(contract) if contract else {}
        self.bad: _Found = {}
        self.fractions: _Found = {}
        self.broken: _Found = {}

    def look(self, table: ParsedTable, times: Times | None, wrong: dict[str, np.ndarray]) -> None:
        """Add the violations of some rows, of which `wrong` are those whose time is."""
        for column, values in table.bad.items():
            written = f", written as {self.formats[column]}" if column in self.formats else ""
            _add_violation(self.bad, column, f"is a {self.kinds[column]}{written}", values)
        if times:
            for check, each in wrong.items():
                _add_violation(self.bad, times.column, check, table.frame[times.column][each])
        if self.contract:
            for column, values in other_words(table.frame, self.contract).items():
                unit = self.contract["columns"][column]["unit"]
                kind = {"": "a number", ":": "a time of day or a duration"}.get(unit, f"a number before {unit!r}")
                _add_violation(self.bad, column, f"is {kind}", values)
            for column, values in _values_with_fractions(table.frame, self.contract).items():
                _add_violation(self.fractions, column, "is a whole number", values)
            for of, check, values in _contract_violations(table.frame, self.schema, table.bad):
                _add_violation(self.broken, of, check, values)

    def ordered(self) -> list[Violation]:
        """Return all violations: wrong values, fractions, then those of pandera's checks, by column."""
        columns = list(self.kinds)
        bad = sorted(self.bad.items(), key=lambda each: columns.index(str(each[0][0])))
        if not self.contract:
            return [each for _, each in bad]
        names = list(self.contract["columns"])
        fractions = sorted(self.fractions.items(), key=lambda each: names.index(str(each[0][0])))
        broken = sorted(
            self.broken.items(), key=lambda each: _place_in(self.schema, each[0][0], each[0][1], each[1]["rows"])
        )
        return [each for _, each in (*bad, *fractions, *broken)]

    def unreadable(self) -> dict[str, int]:
        """Return by column how many values are not of its kind."""
        return {str(column): each["rows"] for (column, check), each in self.bad.items() if check.startswith("is a ")}


def _add_violation(found: _Found, column: str | None, check: str, values: pd.Series) -> None:
    """Add a violation of `check` by `values`, whose index is their row (0-based), to those of earlier rows."""
    whole = found.setdefault((column, check), {"column": column, "check": check, "rows": 0, "examples": []})
    whole["rows"] += len(values)
    more = values.head(EXAMPLES - len(whole["examples"]))
    whole["examples"] += [{"row": int(cast(int, row)) + 1, "value": _plain(value)} for row, value in more.items()]


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if value is None or value is pd.NaT or value != value:
        return None
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, bool | int | float | str) else str(value)


def _values_with_fractions(frame: pd.DataFrame, contract: Contract) -> dict[str, pd.Series]:
    """Return by column the values with a fraction where the contract's dtype is an integer one."""
    found = {}
    for column, rules in contract["columns"].items():
        is_integer = str((rules or {}).get("dtype", "")).lower().startswith(("int", "uint"))
        if is_integer and column in frame and pd.api.types.is_float_dtype(frame[column]):
            fractions = frame[column][frame[column] % 1 > 0]
            if len(fractions):
                found[column] = fractions
    return found


def _pandera_schema(contract: Contract) -> Any:
    """Return the contract as a pandera schema. Raises TaskError if it is not valid."""
    import pandera.pandas as pandera
    import yaml

    try:
        schema = pandera.DataFrameSchema.from_yaml(
            yaml.safe_dump(contracts.without_own_keys(contract), sort_keys=False)
        )
    except Exception as error:
        raise TaskError(f"the data contract is not a pandera schema ({type(error).__name__}: {error})") from error
    for column in schema.columns.values():
        # The kinds are checked already, value by value; whole numbers with missing ones among them are float64.
        column.dtype = None
    return schema


def _contract_violations(
    frame: pd.DataFrame, schema: Any, bad: dict[str, pd.Series]
) -> Iterator[tuple[str | None, str, pd.Series]]:
    """Yield column, check and values of each violation that pandera finds; `bad` values are not missing ones too.

    A violation by the table as a whole, such as a missing column, has no values.
    """
    from pandera.errors import SchemaErrors

    # Zones are compared as UTC; a contract writes its dates without one.
    naive = {
        str(name): frame[name].dt.tz_convert("UTC").dt.tz_localize(None) for name in frame.select_dtypes("datetimetz")
    }
    try:
        schema.validate(with_columns(frame, naive), lazy=True)
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


def _place_in(schema: Any, column: str | None, check: str, rows: int) -> tuple[bool, int, int]:
    """Return the sort key of a violation, as in pandera: table-wide ones first, then by column and by check."""
    columns = list(schema.columns)
    place = columns.index(column) if column in columns else len(columns)
    checks = ["not_nullable", "field_uniqueness"]
    checks += [str(each.error) for each in schema.columns[column].checks] if column in columns else []
    return rows > 0, place, checks.index(check) if check in checks else len(checks)


def _profile(kind: str, unreadable: int, missing: int, counts: Counts) -> ColumnProfile:
    """Return the counts of a column; for numbers and dates also the least, the greatest and the quartiles."""
    found: ColumnProfile = {
        "type": kind,
        "unreadable": unreadable,
        "missing": missing,
        "distinct": counts.distinct(),
    }
    values = counts.values
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if counts.total and (is_number or pd.api.types.is_datetime64_any_dtype(values)):
        quantiles = counts.quantiles([0, 0.25, 0.5, 0.75, 1])
        least, low, middle, high, greatest = map(_plain, quantiles)
        return {**found, "min": least, "q25": low, "median": middle, "q75": high, "max": greatest}
    return {**found, "most_frequent": {str(value): n for value, n in counts.most_frequent(EXAMPLES).items()}}


def _times_of(args: argparse.Namespace, kinds: dict[str, str], contract: Contract | None) -> Times | None:
    """Return the time column and which of its times are wrong; None without such a column."""
    name = time_column_of(kinds, args.time_column, bool(args.find_time))
    if name is None:
        return None
    rules: ColumnRules = (contract["columns"] if contract else {}).get(name, {})
    past, future = bool(rules.get("past")), bool(rules.get("future"))
    # A column that was only found may hold dates to come.
    now = ingest_time(args.input) if args.time_column and not future else None
    return Times(name, now, past, future)


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="the raw data, as ingest_data writes them")
    parser.add_argument("--output", required=True, type=Path, help="the JSON report to write; an earlier one is read")
    parser.add_argument("--schema", type=Path, help="the data contract: a pandera schema in YAML")
    parser.add_argument("--time-column", help="the time of each row: times after the ingest are violations")
    parser.add_argument("--find-time", choices=["yes"], help="else, the only column of dates is the time column")
    parser.add_argument(
        "--like", type=Path, metavar="JSON", help="of clean_data: the input is a part, of the same kinds of columns"
    )
    args = parser.parse_args(argv)
    with command_line.logged("validate_data", args, args.input):
        contract = contracts.read_contract(args.schema) if args.schema else None
        if contract is None:
            logging.info("[validate_data] no data contract: only the kinds of values are checked")
        kinds = contracts.kinds(contract) if contract else None
        formats = contracts.formats(contract) if contract else None
        if args.like or contracts.looks_at_all_rows(contract):
            table = read_part(args.input, args.like) if args.like else read_table(args.input, kinds, formats)
            times = _times_of(args, table.kinds, contract)
            report, delivery = _validate_tables(lambda: [table], table.kinds, contract, times=times)
        else:

            def validated(columns: Columns) -> tuple[ValidationReport, Delivery]:
                times = _times_of(args, columns.kinds, contract)
                return _validate_tables(
                    lambda: tables(args.input, columns), columns.kinds, contract, args.output.parent, times
                )

            report, delivery = judged(args.input, kinds, validated, formats)
        report["raw_sha256"], rules = sha256(args.input), delivery_rules(contract)
        if args.like:
            # Judged with the other parts.
            if rules.any():
                report["part_of_delivery"] = delivery.saved()
        else:
            types = {name: each["type"] for name, each in report["profile"].items()}
            time = time_column_of(types, args.time_column, bool(args.find_time))
            report = with_delivery(report, delivery, rules, args.output, time, ingest_time(args.input))
        write_json(args.output, report)
        for line in describe(report["violations"]):
            logging.warning("[validate_data] %s", line)
        logging.info(
            "[validate_data] completed. Status: %s, violations: %d", report["status"], len(report["violations"])
        )
        logging.info("[validate_data] wrote validation report to %s", args.output)


if __name__ == "__main__":
    main()
