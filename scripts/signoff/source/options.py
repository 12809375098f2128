"""How the source is read: the section `reader` of the config, and the same as flags of a command line."""

import argparse
from dataclasses import fields

from signoff.base.config import ReaderConfig

READER = ReaderConfig()


def reader_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how the source is read."""
    parser.add_argument("--delimiter", default=READER.delimiter, help="what separates the source's fields")
    parser.add_argument("--encoding", default=READER.encoding, help="the source's text encoding")
    parser.add_argument(
        "--decimal", choices=[".", ","], default=READER.decimal, help="the decimal separator of numbers"
    )
    parser.add_argument("--missing", action="append", default=[], help="a spelling of a missing value; may be repeated")
    parser.add_argument("--sheet", help="the sheet of an Excel file; the first one if not given")
    parser.add_argument("--timeout-s", type=float, default=READER.timeout_s, help="seconds to wait for each piece")
    parser.add_argument("--max-seconds", type=float, default=READER.max_seconds, help="how long a download may take")
    parser.add_argument("--max-bytes", type=int, default=READER.max_bytes, help="how large the source may be, unpacked")
    parser.add_argument("--redirects", choices=["safe", "any"], default=READER.redirects, help="which to follow")
    parser.add_argument(
        "--on-unreachable", choices=["use_last", "stop"], default=READER.on_unreachable, help="with a good file there"
    )
    parser.add_argument("--query", help="the SQL statement whose rows to read, where the source is a database")


def reader_of(args: argparse.Namespace) -> ReaderConfig:
    """Return how the source is read, by the options."""
    return ReaderConfig(**{each.name: getattr(args, each.name) for each in fields(ReaderConfig)})
