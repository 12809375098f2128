"""Reads the rows of a query from a database."""

import contextlib
import datetime
import hashlib
import itertools
import json
import math
import re
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from signoff.base.config import ReaderConfig
from signoff.base.errors import TaskError
from signoff.source.address import Unreachable, shown
from signoff.source.postgresql import check_rights

if TYPE_CHECKING:
    from sqlalchemy import Connection

SCHEMES = ("sqlite", "postgresql", "postgres", "mysql", "mariadb", "oracle", "mssql", "duckdb", "snowflake", "bigquery")
# What a server says that has answered, so asking again does not help.
_REFUSED = re.compile(
    r"password|authenticat|denied|pg_hba|does not exist|unknown database|no such (?!file)|not a database", re.I
)


def _rows(url: str, query: str, timeout_s: float) -> Iterator[list[str]]:
    """Yield the names of a query's columns, and then its rows, each value as the text that CSV has for it.

    The rows are streamed if the driver can. In SQLite and PostgreSQL the query can change nothing; in others, what it
    changes is rolled back.

    Parameters
    ----------
    url
        As SQLAlchemy reads it: dialect[+driver]://user:password@host/database.
    query
        One SQL statement that gives rows.
    timeout_s
        How long to wait for a connection, in seconds.

    Raises
    ------
    TaskError
        The URL, the driver or the query is wrong, access is refused, or a column holds no single values.
    Unreachable
        The server does not answer.
    """
    import sqlalchemy

    with _refusals_explained(url):
        address = sqlalchemy.make_url(url)
        if address.drivername in ("postgres", "postgresql"):
            address = address.set(drivername="postgresql+psycopg")
        dialect = address.get_backend_name()
        if dialect == "sqlite" and not Path(address.database or "").is_file():
            # SQLite would make an empty database of that name.
            raise TaskError(f"{shown(url)}: {address.database or 'the file'} does not exist. Correct its path.")
        waits = {"connect_timeout": max(1, round(timeout_s))} if dialect in ("postgresql", "mysql", "mariadb") else {}
        engine = sqlalchemy.create_engine(address, connect_args=waits, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            _make_read_only(connection, dialect, url)
            # As plain text for the driver: a colon or a percent sign in it is not a parameter.
            streamed = connection.execution_options(stream_results=True, yield_per=10_000, no_parameters=True)
            found = streamed.exec_driver_sql(query)
            if not found.returns_rows:
                raise TaskError("reader.query gives no rows. Write one SELECT.")
            names = list(found.keys())
            yield names
            for row in found:
                yield [_as_text(value, name) for name, value in zip(names, row, strict=True)]


def _make_read_only(connection: "Connection", dialect: str, url: str) -> None:
    """Refuse queries that change something, in SQLite and PostgreSQL."""
    if dialect == "postgresql":
        connection.execution_options(postgresql_readonly=True)
        check_rights(connection, shown(url))
    elif dialect == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = 1")
        cast(Any, connection.connection.driver_connection).set_authorizer(_only_queries)


@contextlib.contextmanager
def _refusals_explained(url: str) -> Iterator[None]:
    """Turn the errors of SQLAlchemy and of drivers into one line each; see `_rows`."""
    from sqlalchemy import exc

    try:
        yield
    except exc.NoSuchModuleError as error:
        raise TaskError(f"{shown(url)}: {error}. Correct the part before ://.") from error
    except ModuleNotFoundError as error:
        raise TaskError(f"{shown(url)}: its driver is missing ({error}). Install it into .venv.") from error
    except exc.ArgumentError as error:
        raise TaskError(f"{shown(url)} is not the URL of a database. Write dialect://user@host/database.") from error
    except exc.DBAPIError as error:
        # Without the position in the statement, which is not as the user wrote it.
        what = " ".join(str(error.orig).split()).partition(" LINE ")[0] or type(error.orig).__name__
        lost = isinstance(error, exc.OperationalError | exc.InterfaceError) or error.connection_invalidated
        if lost and not _REFUSED.search(what) and not url.startswith("sqlite"):
            raise Unreachable(f"{shown(url)} cannot be reached ({what})") from error
        raise TaskError(f"{shown(url)}: {what}. Correct reader.query, or ask who keeps the database.") from error


def _only_queries(action: int, *_about: str | None) -> int:
    """Refuse what SQLite's query_only allows: other database files, and settings, which are stored in the file."""
    other = (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA)
    return sqlite3.SQLITE_DENY if action in other else sqlite3.SQLITE_OK


def _as_text(value: object, column: str) -> str:
    """Return a value as CSV has it: nothing for NULL and NaN, ISO 8601 for times. Raises TaskError for bytes."""
    if value is None or (isinstance(value, float | Decimal) and math.isnan(value)):
        return ""
    if isinstance(value, bytes | memoryview):
        raise TaskError(f"reader.query: column {column!r} holds bytes, not a value. Leave it out of the query.")
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def version(url: str, reader: ReaderConfig) -> dict[str, str]:
    """Return the SHA-256 of a query's result, the same in whatever order the rows come."""
    return download(url, Path("/dev/null"), reader)


def download(url: str, path: Path, reader: ReaderConfig) -> dict[str, str]:
    """Write a query's result to `path`, as UTF-8 CSV with commas and decimal points, and return its `version`."""
    # Not needed by who only asks what a source is.
    from signoff.tables.csv_file import write_rows

    total = 0
    found = _rows(url, reader.query or "", reader.timeout_s)
    head = next(found)

    def added_up() -> Iterator[list[str]]:
        nonlocal total
        for row in found:
            # The sum does not depend on the order, which a query without ORDER BY leaves open.
            total += int.from_bytes(hashlib.sha256("\0".join(row).encode()).digest())
            yield row

    with open(path, "w", encoding="utf-8", newline="") as file:
        write_rows(file, itertools.chain([head], added_up()))
    return {"rows": hashlib.sha256(f"{head} {total}".encode()).hexdigest()}
