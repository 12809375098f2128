"""Write a decision into the sign-off, for the command line and for the page in a browser."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from signoff.base.config import Config
from signoff.base.errors import TaskError
from signoff.base.files import replacing
from signoff.release.approval import DIAGNOSTICS, check_approval, reviewed_bytes, serialised
from signoff.release.form import CodeState, Decided, Decision, Subject
from signoff.release.store import Releases
from signoff.release.subject import review


@dataclass(frozen=True)
class Written:
    """The decision that was written, and why the model cannot be deployed yet; None if it can."""

    decision: Decision
    not_yet: str | None


def write_decision(
    subject: Subject,
    config: Config,
    config_paths: list[str],
    sign_off: Path,
    decided: Callable[[], Decided],
    code: CodeState | None = None,
) -> Written:
    """Write the sign-off that `decided` returns, and return its last decision.

    Parameters
    ----------
    subject
        The subject of the decision, as `review` returned it when the person began the review.
    config, config_paths
        As `read_config` returns them.
    sign_off
        The file to write.
    decided
        Adds the decision to those of others, see `decide` and `take_signature`. It is called with the lock held.
    code
        As in `review`.

    Raises
    ------
    TaskError
        The decision is not complete or not allowed, or a file has changed since; nothing is written then.
    """
    # One process at a time, so that of two simultaneous approvals the second keeps the first.
    with Releases().locked("sign_off"):
        document = decided()
        if review(config, config_paths, code) != subject:
            raise TaskError("a file has changed while you were deciding. Wait for the run to end, and look again.")
        with replacing(sign_off) as new:
            new.write_bytes(serialised(document))
    decision: Decision = document["decisions"][-1]
    try:
        check_approval(document, config.release, reviewed_bytes(DIAGNOSTICS, subject["files"]))
    except TaskError as error:
        return Written(decision, str(error))
    return Written(decision, None)
