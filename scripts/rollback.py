"""Make an earlier release the current one again: the one before, or the one that is named.

python scripts/rollback.py --reason "late flights are off by an hour" [--release NAME]
"""

import logging
import sys

from signoff.base import command_line
from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError, nearest
from signoff.base.surroundings import user_name
from signoff.config.settings import config_argument, read_config
from signoff.ops.overview import update_index
from signoff.release.approval import check_policy_owner
from signoff.release.store import Releases, kept_releases, last_move, release_argument, release_before
from signoff.release.tracking import track


def rollback(reason: str, rule: ReleaseConfig, name: str | None = None) -> str:
    """Return the name of the release that is current afterwards.

    Parameters
    ----------
    reason
        Why; it stays in the history.
    rule
        The section `release` of the config.
    name
        A release; by default the one that was deployed before the current one.

    Raises
    ------
    TaskError
        The release does not exist, is not whole, or is already the current one. Nothing was changed then.
    """
    if not reason.strip():
        raise TaskError("a rollback needs a reason: --reason TEXT (make rollback REASON=…). It is kept in the history.")
    releases = Releases()
    with releases.locked("rollback"):
        history, current = releases.history(), releases.current()
        names = kept_releases(history)
        if name is None:
            name = release_before(current, history)
            if name is None:
                raise TaskError(f"there is no release before {current or 'the first'} to go back to.")
        if name not in names:
            raise TaskError(f"there is no release {name!r}: {nearest(name, names) if names else 'none is deployed.'}")
        move = last_move(history)
        if move is not None and name == current == move["release"]:
            raise TaskError(f"{name} is the current release already.")
        releases.approved(name, rule)
        releases.append("rollback", name, by=[user_name()], reason=[reason], **{"from": current})
        releases.move_to(name)
    return name


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    release_argument(parser, "the one before the current one")
    parser.add_argument("--reason", help="why; asked for on a terminal")
    config_argument(parser)
    args = parser.parse_args(argv)
    if args.reason is None and sys.stdin.isatty():
        args.reason = input("Why? ")
    with command_line.logged("rollback", args, args.release or "the release before"):
        config, paths = read_config(args.config)
        check_policy_owner(paths, config.release)
        name = rollback(args.reason or "", config.release, args.release)
        logging.info("[rollback] completed. Current release: %s", Releases().releases / name)
        update_index()
        if config.tracking.mlflow_uri:
            track(config)


if __name__ == "__main__":
    main()
