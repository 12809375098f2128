"""Check everything that was ever released: the history's chain, every file, and that the current release is approved.

python scripts/verify.py
"""

import contextlib
import logging
import os
from pathlib import Path

from signoff.base import command_line
from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError
from signoff.config.settings import config_argument, read_config
from signoff.ops.many import has_many_models, model_folders
from signoff.release import kept_data
from signoff.release.approval import is_signed
from signoff.release.form import SignOff
from signoff.release.store import Releases, kept_releases, last_move


def verify(rule: ReleaseConfig) -> tuple[list[str], list[str]]:
    """Return the checks that passed and those that failed, one line each.

    Parameters
    ----------
    rule
        The section `release` of the config: the current release must be approved under it.
    """
    releases = Releases()
    try:
        history = releases.history()
    except TaskError as error:
        return [], [str(error)]
    good, problems = [f"history: {len(history)} entries, each follows the one before"], []
    for name in kept_releases(history):
        try:
            document = releases.verify(name, history)
            who = ", ".join(each["reviewer"] for each in document["decisions"])
            at = next(each["at"] for each in history if each["action"] == "deploy" and each["release"] == name)
            signed = "signed" if is_signed(document, rule, at) else _unsigned(document)
            good.append(f"release {name}: every file as approved by {who} ({signed})")
            good += [f"  override: {each['override']}" for each in document["decisions"] if each["override"]]
        except TaskError as error:
            problems.append(str(error))
    kept, damaged = kept_data.check(releases, history)
    good += kept
    move, current = last_move(history), releases.current()
    if move is None and current is None:
        return [*good, "nothing is released yet"], problems
    try:
        in_use = releases.in_use(history)
    except TaskError as error:
        return good, [*problems, *damaged, str(error)]
    if current == in_use:
        good.append(f"current: {current}")
    else:
        good.append(f"current: {current or 'none'}; a move to {in_use} was interrupted: run it again")
    if os.path.lexists(releases.marker) and not releases.is_moving(history):
        good.append(f"{releases.marker} belongs to no move that was interrupted: it is ignored")
    if in_use is not None and not problems:
        try:
            releases.approved(in_use, rule)
        except TaskError as error:
            problems.append(f"{releases.releases / in_use} is current, but not approved under the config: {error}")
    return good, [*problems, *damaged]


def _unsigned(document: SignOff) -> str:
    """Return the words for a release whose signatures were not all verified."""
    if any(each["signature"] for each in document["decisions"]):
        return "unsigned: its signatures are not verified under release.allowed_signers"
    return "unsigned"


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    config_argument(parser)
    args = parser.parse_args(argv)
    with command_line.logged("verify", args, "deployed"):
        config, _ = read_config(args.config)
        problems: list[str] = []
        # Of many models, each has releases of its own.
        for folder in model_folders(config) if has_many_models(config) else [Path()]:
            name = f"{folder.name}: " if folder.name else ""
            with contextlib.chdir(folder):
                good, found = verify(read_config()[0].release if folder.name else config.release)
            problems += [f"{name}{each}" for each in found]
            for line in good:
                logging.info("[verify] %s%s", name, line)
        if problems:
            raise TaskError(" ".join(problems))
        logging.info("[verify] completed. All is well.")


if __name__ == "__main__":
    main()
