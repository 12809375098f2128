"""Gather the files of all parts of the data: concatenate tables, and merge reports and counts.

    python scripts/gather.py --plan data/raw/raw_data.json --input data/raw/parts --output data/raw/raw_data.csv

A report (an output that ends in .json) covers all rows, numbered from the first row of the first part.
"""

import csv
import io
import logging
import shutil
from pathlib import Path
from typing import cast

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import only_file, read_json, replacing, sha256, write_json
from signoff.tables.contract import read_contract
from signoff.tables.delivery import Delivery
from signoff.tables.delivery_checks import with_delivery
from signoff.tables.own_keys import delivery_rules
from signoff.tables.parts import gather_counts
from signoff.tables.records import Cleaned, ColumnProfile, ValidationReport, Violation
from signoff.tables.times import ingest_time, time_column_of
from signoff.tables.violations import EXAMPLES, describe


def _gather_tables(tables: list[Path], output: Path) -> None:
    """Concatenate CSV files with the same header in `output`.

    Raises
    ------
    TaskError
        A file has different columns.
    """
    first = b""
    with replacing(output) as new, open(new, "wb") as file:
        for path in tables:
            with open(path, "rb", opener=only_file) as part:
                head = part.readline()
                first = first or head
                if _columns(head) != _columns(first):
                    raise TaskError(f"{path} has other columns than {tables[0]}. Delete it and run again.")
                if file.tell() == 0:
                    file.write(first)
                shutil.copyfileobj(part, file, 1 << 20)
                if part.tell() > len(head):
                    part.seek(-1, io.SEEK_END)
                    file.write(b"" if part.read() == b"\n" else b"\n")


def _columns(head: bytes) -> list[str]:
    """Return the names in a header, which may have quotes."""
    return next(csv.reader([head.decode("utf-8-sig")]))


def _gather_reports(reports: list[ValidationReport]) -> ValidationReport:
    """Return the validation reports of all parts as one.

    The profile has no distinct values, quartiles and most frequent values, since these cannot be added up.
    """
    violations: dict[tuple[str | None, str], Violation] = {}
    profile: dict[str, ColumnProfile] = {}
    before = 0
    for report in reports:
        for each in report["violations"]:
            key = (each["column"], each["check"])
            found = violations.setdefault(key, {"column": key[0], "check": key[1], "rows": 0, "examples": []})
            found["rows"] += each["rows"]
            more = [{"row": before + cast(int, one["row"]), "value": one["value"]} for one in each["examples"]]
            found["examples"] = [*found["examples"], *more][:EXAMPLES]
        for name, column in report["profile"].items():
            total = profile.setdefault(name, {"type": column["type"], "unreadable": 0, "missing": 0})
            total["unreadable"] += column["unreadable"]
            total["missing"] += column["missing"]
            if "min" in column:
                total["min"] = min(total.get("min", column["min"]), column["min"])
            if "max" in column:
                total["max"] = max(total.get("max", column["max"]), column["max"])
        before += report["rows"]
    return {
        "status": "fail" if violations else "pass",
        "contract": any(report["contract"] for report in reports),
        "rows": before,
        "violations": list(violations.values()),
        "profile": profile,
    }


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--plan", required=True, type=Path, help="the record of split_source, which names the parts")
    parser.add_argument("--input", required=True, type=Path, help="the folder of the parts' files")
    parser.add_argument("--output", required=True, type=Path, help="the CSV file, or the JSON report, to write")
    parser.add_argument("--max-rows-lost", type=float, default=0.5, help="largest share of rows that cleaning dropped")
    parser.add_argument("--schema", type=Path, help="the data contract, whose keys about the delivery are judged")
    parser.add_argument("--time-column", help="the time of each row")
    parser.add_argument("--find-time", choices=["yes"], help="else, the only column of dates is the time column")
    args = parser.parse_args(argv)
    with command_line.logged("gather", args, args.input):
        names = list(read_json(args.plan)["parts"])
        paths = [args.input / f"{name}{args.output.suffix}" for name in names]
        if args.output.suffix == ".json":
            reports = [cast(ValidationReport, read_json(path)) for path in paths]
            report: ValidationReport = {**_gather_reports(reports), "raw_sha256": sha256(args.plan)}
            rules = delivery_rules(read_contract(args.schema) if args.schema else None)
            delivery = Delivery(rules.levels, rules.max_missing)
            for each in reports if rules.any() else []:
                delivery.add(each["part_of_delivery"])
            types = {name: each["type"] for name, each in report["profile"].items()}
            time = time_column_of(types, args.time_column, bool(args.find_time))
            report = with_delivery(report, delivery, rules, args.output, time, ingest_time(args.plan))
            for line in describe(report["violations"]):
                logging.warning("[gather] %s", line)
            write_json(args.output, report)
        else:
            _gather_tables(paths, args.output)
            if (counted := [path.with_suffix(".json") for path in paths])[0].is_file():
                counts = [cast(Cleaned, read_json(path)) for path in counted]
                if "policies" in counts[0]:
                    total = gather_counts(counts, args.max_rows_lost)
                    write_json(args.output.with_suffix(".json"), {**total, "raw_sha256": sha256(args.plan)})
        logging.info("[gather] completed. Parts: %d", len(names))
        logging.info("[gather] wrote %s", args.output)


if __name__ == "__main__":
    main()
