"""Check everything that was ever released: the history's chain, every file, and that the current release is approved.

python scripts/verify.py
"""

import logging

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.config.settings import config_argument, read_config
from signoff.release.store import (
    CURRENT,
    RELEASES,
    approved_release,
    current_release,
    read_history,
    releases,
    verify_release,
)


def verify(rule: dict) -> tuple[list[str], list[str]]:
    """Return what is as it should be, and what is not, one line each.

    Parameters
    ----------
    rule
        The section `release` of the config: the current release must be approved under it.
    """
    try:
        history = read_history()
    except TaskError as error:
        return [], [str(error)]
    good, problems = [f"history: {len(history)} entries, each follows the one before"], []
    for name in releases(history):
        try:
            document = verify_release(name, history)
            who = ", ".join(each["reviewer"] for each in document["decisions"])
            signed = all(each["signature"] for each in document["decisions"])
            good.append(f"release {name}: every file as approved by {who} ({'signed' if signed else 'unsigned'})")
            good += [f"  override: {each['override']}" for each in document["decisions"] if each["override"]]
        except TaskError as error:
            problems.append(str(error))
    moves = [entry for entry in history if entry["action"] != "prune"]
    current = current_release()
    if not moves and not CURRENT.is_symlink():
        return [*good, "nothing is released yet"], problems
    if moves and current == moves[-1]["release"]:
        good.append(f"current: {current}")
    elif moves and current == moves[-1]["from"]:
        good.append(f"current: {current}; a move to {moves[-1]['release']} was interrupted: run it again")
    else:
        expected = moves[-1]["release"] if moves else "none"
        problems.append(f"{CURRENT} points to {current or 'nothing'}, the history says {expected}. Run make rollback.")
    if current is not None and not problems:
        try:
            approved_release(current, rule)
        except TaskError as error:
            problems.append(f"{RELEASES / current} is current, but not approved under the config: {error}")
    return good, problems


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    config_argument(parser)
    args = parser.parse_args(argv)
    with command_line.logged("verify", args, "deployed"):
        config, _ = read_config(args.config)
        good, problems = verify(config["release"])
        for line in good:
            logging.info("[verify] %s", line)
        if problems:
            raise TaskError(" ".join(problems))
        logging.info("[verify] completed. All is well.")


if __name__ == "__main__":
    main()
