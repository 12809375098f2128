"""Bring the source to data/raw/raw_data.csv: whole, checked to be a table, as UTF-8 CSV with commas.

    python scripts/ingest_data.py --input SOURCE --output data/raw/raw_data.csv

Source: a .csv, .csv.gz, .csv.xz, .csv.zip or .parquet file, a folder or a pattern of such files, as a path or a URL
(file, http, https, s3, …); or, with a query, the URL of a database. ${NAME} in it is the value of that environment
variable. It is streamed in bounded memory to a file beside the output, which is moved into place only when it has
passed every check. A record of it goes to the same name with the suffix .json.
"""

import logging
from pathlib import Path

from signoff.base import command_line
from signoff.source.address import shown
from signoff.source.ingest import ingest_data
from signoff.source.options import reader_arguments, reader_of


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, metavar="SOURCE", help="path, folder, pattern or URL")
    parser.add_argument("--output", required=True, type=Path, help="the CSV file to write")
    parser.add_argument("--target", help="the column to predict: checked to be there, and a number")
    reader_arguments(parser)
    args = parser.parse_args(argv)
    with command_line.logged("ingest_data", args, shown(args.input)):
        record = ingest_data(args.input, args.output, args.target, reader_of(args))
        logging.info(
            "[ingest_data] completed. Records ingested: %d, columns: %d, bytes: %d, source: %s",
            record["records"],
            len(record["columns"]),
            record["bytes"],
            record["source"],
        )
        logging.info("[ingest_data] wrote raw data to %s", args.output)


if __name__ == "__main__":
    main()
