"""What the account of a PostgreSQL database may do besides reading: some of it no read-only transaction prevents."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from signoff.base.errors import TaskError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

# By `set_config('role', …)` a query takes on every role that the account is a member of, inherited or not.
_ROLES = """
    SELECT rolname, rolsuper, rolreplication FROM pg_roles WHERE pg_has_role(session_user, oid, 'MEMBER')
    ORDER BY rolname <> session_user, rolname
"""
_FUNCTIONS = """
    SELECT DISTINCT proname FROM pg_proc
    WHERE (proname = 'lo_export' OR proname ~ '^dblink') AND has_function_privilege(session_user, oid, 'EXECUTE')
    ORDER BY proname
"""
# What the members of these roles may do on the server.
_ON_THE_SERVER = {"pg_write_server_files": "write files", "pg_execute_server_program": "run programs"}
_READING_ROLE = "CREATE ROLE reader LOGIN PASSWORD '…'; GRANT pg_read_all_data TO reader;"


@dataclass(frozen=True)
class _Rights:
    """What an account may do: the roles that it can take on, as (name, superuser, replication), itself first, and
    those of the functions `lo_export` and `dblink…` that it may call."""

    roles: tuple[tuple[str, bool, bool], ...]
    functions: tuple[str, ...]


def check_rights(connection: "Connection", where: str) -> None:
    """Check the rights of a connection's account before it runs a query; errors and warnings call its URL `where`.

    Raises
    ------
    TaskError
        The account could change what the server holds in spite of a read-only transaction.
    """
    from sqlalchemy import exc

    try:
        roles = [tuple(row) for row in connection.exec_driver_sql(_ROLES)]
        functions = [row[0] for row in connection.exec_driver_sql(_FUNCTIONS)]
    except exc.ProgrammingError as error:
        # Another server that speaks PostgreSQL's protocol, and has other catalogs.
        logging.warning("%s: the rights of its account cannot be read (%s).", where, " ".join(str(error.orig).split()))
        return
    finally:
        connection.rollback()
    rights = _Rights(tuple(roles), tuple(functions))
    if danger := _beyond_reading(rights):
        raise TaskError(
            f"{where}: the account {rights.roles[0][0]} {danger}, in spite of a read-only transaction. Use one that "
            f"can only read: {_READING_ROLE}"
        )
    if warning := _outside_of_it(rights):
        logging.warning("%s: the account %s %s.", where, rights.roles[0][0], warning)


def _beyond_reading(rights: _Rights) -> str | None:
    """Return what an account may do that no account which only reads needs, as the end of a sentence."""
    for name, superuser, replication in rights.roles:
        by = "" if name == rights.roles[0][0] else f" by the role {name}"
        if superuser:
            return f"is a superuser{by}: a query could write files on the server"
        if replication:
            return f"may replicate{by}: a query could make and drop replication slots"
        if name in _ON_THE_SERVER:
            return f"is a member of {name}: a query could {_ON_THE_SERVER[name]} on the server"
    if "lo_export" in rights.functions:
        return "may call lo_export: a query could write files on the server"
    return None


def _outside_of_it(rights: _Rights) -> str | None:
    """Return which functions that write through other connections an account may call, as the end of a sentence."""
    found = [each for each in rights.functions if each.startswith("dblink")]
    if not found:
        return None
    return (
        f"may call {found[0]}, which opens connections that no read-only transaction covers. "
        "REVOKE EXECUTE ON FUNCTION takes that from PUBLIC"
    )
