"""The options of a server, from the config."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from signoff.base.config import Config, ReleaseConfig

# A worker imports this before it reports to its parent that it is alive.
if TYPE_CHECKING:
    from signoff.review.newer_rows import Newer

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class CellForm:
    """How cells are read, as `reader` of the config says."""

    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    missing: Sequence[str] = ()


@dataclass(frozen=True)
class ServerOptions:
    """The options of a server.

    Parameters
    ----------
    rule
        The approvals that a release must have.
    form
        How cells are read.
    columns
        The columns to write for the live record; all that the data have if empty.
    on_drift
        "stop" to refuse rows that differ from the released data.
    reasons
        How many reasons each prediction gets, at most.
    log
        Whether predictions are written for the live record.
    max_bytes
        The size of a request's body, at most.
    hosts
        The names by which clients may call the server; all if empty.
    history
        A file of newer rows, for features of earlier rows.
    """

    rule: ReleaseConfig
    form: CellForm
    columns: list[str]
    on_drift: str
    reasons: int
    log: bool
    max_bytes: int
    hosts: tuple[str, ...] = ()
    history: str | None = None

    @property
    def newer(self) -> "Newer | None":
        """The file of newer rows, for features of earlier rows."""
        from signoff.review.newer_rows import Newer

        form = self.form
        missing = tuple(form.missing)
        return Newer(Path(self.history), form.delimiter, form.encoding, form.decimal, missing) if self.history else None


def options_of(config: Config, host: str) -> ServerOptions:
    """Return the options of a server that listens on `host`."""
    reader, scoring, serving = config.reader, config.scoring, config.serving
    return ServerOptions(
        config.release,
        CellForm(reader.delimiter, reader.encoding, reader.decimal, tuple(reader.missing)),
        columns=scoring.columns,
        on_drift=scoring.on_drift,
        reasons=scoring.reasons,
        log=serving.log,
        max_bytes=int(serving.max_mb * 1e6),
        # A page in a browser could rebind another name to this address, and send rows from there.
        hosts=_LOOPBACK if host in _LOOPBACK else (),
        history=scoring.history,
    )
