"""The release of a server: loaded after verification, and replaced when another one is deployed."""

import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError, explain
from signoff.base.files import read_utf8, replacing
from signoff.release.approval import utc_now
from signoff.release.store import Releases
from signoff.review.newer_rows import Newer, with_newer
from signoff.review.row_scores import Scorer, load_scorer

# The number of checks of the folder before a release that could not be loaded is tried again.
_PATIENCE = 40
_Seen = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class ServerState:
    """The state of a server: the release, since when (UTC), and why a newer one could not be loaded, if so."""

    scorer: Scorer
    since: str
    problem: str | None = None


class Served:
    """Follows deployed/current. Requests take `state` once, so that an answer is of one release.

    Parameters
    ----------
    releases, rule, reasons
        As for `load_scorer`, which raises TaskError if the current release may not be used.
    note
        A file that the processes of a server share. It names the release that they loaded last. A process that cannot
        load the current release, because it was restarted after that had been altered, begins with this one.
    newer
        Newer rows for features of earlier rows; read again when the file changes.
    """

    def __init__(
        self,
        releases: Releases,
        rule: ReleaseConfig,
        reasons: int,
        note: Path | None = None,
        newer: Newer | None = None,
    ):
        self._releases, self._rule, self._reasons, self._note, self._newer = releases, rule, reasons, note, newer
        self._refreshing = threading.Lock()
        self._seen = self._look()
        self._waited = 0
        self.state = self._first()

    def refresh(self) -> None:
        """Load the current release if another one was deployed; keep what is loaded if that one does not verify."""
        with self._refreshing:
            seen = self._look()
            self._waited += 1
            if seen == self._seen and not (self.state.problem and self._waited >= _PATIENCE):
                return
            self._waited = 0
            try:
                scorer = self._load()
            except Exception as error:
                if self._look() != seen:
                    # A release was being deployed. The next check sees all of it.
                    return
                problem = _problem(error)
                if problem != self.state.problem:
                    self._log(problem, self.state.scorer)
                self.state = ServerState(self.state.scorer, self.state.since, problem)
            else:
                if scorer.release != self.state.scorer.release:
                    logging.info("[serve] release: %s, before: %s", scorer.release, self.state.scorer.release)
                self.state = ServerState(scorer, utc_now())
                self._write_note()
            self._seen = seen

    def _first(self) -> ServerState:
        """Return the state at the start: the current release or, in a process that was restarted, the last good one."""
        try:
            return ServerState(self._load(), utc_now())
        except Exception as error:
            last = self._note and read_utf8(self._note)
            if not last:
                raise
            problem = _problem(error)
            try:
                scorer = self._load(last)
            except Exception as other:
                raise TaskError(f"{problem} {explain(other)}") from other
        self._log(problem, scorer)
        return ServerState(scorer, utc_now(), problem)

    def _load(self, release: str | None = None) -> Scorer:
        return with_newer(load_scorer(self._releases, release, self._rule, self._reasons), self._newer)

    def _write_note(self) -> None:
        if self._note:
            with replacing(self._note) as new:
                new.write_text(self.state.scorer.release, encoding="utf-8")

    def _log(self, problem: str, scorer: Scorer) -> None:
        logging.error("[serve] %s The server goes on with %s.", problem, scorer.release)

    def _look(self) -> _Seen:
        """Return the state of the files that a deploy, a rollback or a change of the keys replaces."""
        stored = self._releases
        paths = [stored.link, stored.history_file, stored.head_file, stored.marker]
        if self._rule.allowed_signers:
            paths.append(Path(self._rule.allowed_signers))
        if self._newer:
            paths.append(self._newer.path)
        return tuple(_state_of(path) for path in paths)


def _problem(error: Exception) -> str:
    return f"the current release cannot be loaded: {explain(error)}"


def _state_of(path: Path) -> tuple[int, int, int] | None:
    """Return the inode, size and time of a file; None if it does not exist."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
