"""How the source is read: the section `reader` of the config, and the same as flags of a command line."""

import argparse
from typing import NamedTuple


class Reader(NamedTuple):
    """The keys of `reader` in the config: how the source is written, what reading it may take, where it may lead."""

    delimiter: str = ","
    encoding: str = "utf-8"
    # With "," numbers such as 1.234,5 become 1234.5.
    decimal: str = "."
    # Spellings of a missing value in the source, besides the usual ones.
    missing: tuple[str, ...] = ()
    # The sheet of an Excel file; None is the first one.
    sheet: str | None = None
    # The SQL statement whose rows are read, where the source is a database.
    query: str | None = None
    # For a connection (at most 10 s) and for each piece of a body.
    timeout_s: float = 30.0
    # For one download over HTTP, however slowly its pieces come.
    max_seconds: float = 3600.0
    # Of each file that is written: as it arrived, unpacked, and put together of its parts.
    max_bytes: int = 10_000_000_000
    # "any" follows redirects from https to http, and from a public address to a private one, too.
    redirects: str = "safe"
    # "use_last": a source that cannot be reached leaves what the last ingest made as it is. "stop": it fails.
    on_unreachable: str = "use_last"


READER = Reader()


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


def reader_of(args: argparse.Namespace) -> Reader:
    """Return how the source is read, by the options."""
    found = Reader(**{name: getattr(args, name) for name in Reader._fields})
    return found._replace(missing=tuple(found.missing))
