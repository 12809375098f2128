"""Give each part of the source (a week, a month, or a value of a column) its rows in files of its own.

    python scripts/split_source.py --input SOURCE --output data/raw/raw_data.json --by week --column time_hour

A part's rows become PIECES/PART/FILE.csv, one for each file of the source that has any of them. A piece whose rows have
not changed is left as it is, so what was made of it need not be rebuilt. The source is streamed in bounded memory. Its
first rows go to PIECES/first_rows.csv once, and stay: they decide what the columns are, and which become features, in
all parts alike.
"""

import argparse
import logging
from pathlib import Path
from typing import cast

from signoff.base import command_line
from signoff.base.files import read_json, write_json
from signoff.source.address import Unreachable, shown
from signoff.source.last_ingest import SplitRecord, go_on, read_record
from signoff.source.options import reader_arguments, reader_of
from signoff.source.pieces import PERIOD_FORMATS
from signoff.source.split import SplitSource, split_source


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, metavar="SOURCE", help="path, folder, pattern or URL")
    parser.add_argument("--output", required=True, type=Path, help="the JSON record to write")
    parser.add_argument("--pieces", type=Path, default=Path("data/source"), help="the folder of the parts' rows")
    parser.add_argument(
        "--by", choices=[*PERIOD_FORMATS, "value"], required=True, help="what of the column makes a part"
    )
    parser.add_argument("--column", required=True, help="the column whose values make the parts")
    parser.add_argument("--pool", help="a column: each of its values gets a pooled part; empty: one for all rows")
    parser.add_argument("--min-rows", type=int, default=0, help="with --pool: a part with fewer rows gets no model")
    parser.add_argument("--target", help="the column to predict: checked to be there, and a number")
    parser.add_argument("--date-format", help="how the dates are written; if not given, the first rows decide")
    reader_arguments(parser)
    args = parser.parse_args(argv)
    with command_line.logged("split_source", args, shown(args.input)):
        before = read_json(args.output).get("parts", {}) if args.output.is_file() else {}
        record = _split(args)
        write_json(args.output, record)
        parts = record["parts"]
        changed = [name for name, part in parts.items() if before.get(name, {}).get("sha256") != part["sha256"]]
        logging.info(
            "[split_source] completed. Records: %d, parts: %d, new or changed: %d (%s), source: %s",
            *(record["records"], len(parts), len(changed), ", ".join(changed[:5]) or "none", record["source"]),
        )
        logging.info("[split_source] wrote the record to %s", args.output)


def _split(args: argparse.Namespace) -> SplitRecord:
    """Split the source; return the last record if it cannot be reached and the last parts may be used."""
    reader = reader_of(args)
    split = SplitSource(args.pieces, args.by, args.column, args.date_format, args.pool, args.min_rows)
    try:
        return split_source(args.input, args.output, split, args.target, reader)
    except Unreachable as error:
        last = read_record(args.input, reader.query, args.output)
        of_parts = last if last and "parts" in last else None
        logging.warning("[split_source] %s", go_on(error, of_parts, args.pieces, reader))
        return cast(SplitRecord, of_parts)


if __name__ == "__main__":
    main()
