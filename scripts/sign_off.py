"""Show what the decision needs, ask for it, and write down who has decided what on exactly which files.

    python scripts/sign_off.py [--reviewer NAME --decision approve|reject --comment TEXT] [--override REASON]
    python scripts/sign_off.py --signature reports/statement-NAME.dsse.sig
    python scripts/sign_off.py --commit HEAD

Run in the project's folder. What is not given is asked for on a terminal. A second reviewer of the same files is added
to the sign-off; whoever decides again replaces their decision. A statement of `statement.py` that was signed
elsewhere is added in the same way, and with --commit, each one that a signed merge has brought to the repository.
"""

import argparse
import logging
import sys
from functools import partial
from pathlib import Path

from signoff.base import command_line
from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError
from signoff.base.redaction import printable
from signoff.config.settings import config_argument, read_config
from signoff.ops.overview import update_index
from signoff.release.approval import REPORT, SIGN_OFF
from signoff.release.decision import decide
from signoff.release.detached import take_signature, take_statement
from signoff.release.form import Decided, Given, Subject
from signoff.release.merged import Merged, merged_statements
from signoff.release.signing import write_decision
from signoff.release.subject import review, summary_lines

_DECIDED = ("reviewer", "decision", "comment")


def _ask(args: argparse.Namespace, failures: list[str], alarms: list[str] | None = None) -> None:
    """Ask on the terminal for what the command line does not give."""
    while not (args.reviewer or "").strip():
        args.reviewer = input("Your name: ")
    while args.decision not in ("approve", "reject"):
        answer = input("Approve or reject? [a/r] ").strip().lower()
        args.decision = next((each for each in ("approve", "reject") if answer and each.startswith(answer)), None)
    while failures and args.decision == "approve" and not (args.override or "").strip():
        args.override = input("It has failed. Why is it approved all the same? ")
    while alarms and args.decision == "approve" and not (args.override or "").strip():
        args.override = input("It raises alarms. Why is it approved all the same? ")
    while not (args.comment or "").strip():
        args.comment = input("Comment: ")


def _decided(args: argparse.Namespace, subject: Subject, rule: ReleaseConfig, merged: Merged | None) -> Decided:
    """Return the sign-off with the decision of the command line, or of a statement that was signed elsewhere."""
    if merged:
        return take_statement(merged.content, merged.signature, merged.path, subject, args.output, rule)
    if args.signature:
        return take_signature(args.signature.expanduser(), subject, args.output, rule)
    given: Given = {
        "reviewer": args.reviewer,
        "decision": args.decision,
        "comment": args.comment,
        "override": args.override,
    }
    return decide(subject, given, args.output, rule, args.key and args.key.expanduser())


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--reviewer", help="your name; with release.allowed_signers, the principal in that file")
    parser.add_argument("--decision", choices=["approve", "reject"])
    parser.add_argument("--comment", help="what you have looked at, and why you decide so")
    parser.add_argument("--override", metavar="REASON", help="why a model that failed or raised alarms is approved")
    parser.add_argument("--key", type=Path, help="sign with this private key of OpenSSH")
    parser.add_argument("--signature", type=Path, help="take the decision of a statement that was signed elsewhere")
    parser.add_argument("--commit", help="take the signed statements that this merge commit brings to the repository")
    parser.add_argument("--output", type=Path, default=SIGN_OFF, help="the sign-off")
    config_argument(parser)
    args = parser.parse_args(argv)
    extra = [f"--{name}" for name in (*_DECIDED, "override", "key") if getattr(args, name) is not None]
    if args.signature and args.commit:
        parser.error("give --signature or --commit, not both")
    elsewhere = "--signature" if args.signature else "--commit" if args.commit else None
    if elsewhere and extra:
        parser.error(f"the statement that was signed holds the decision: give {elsewhere} without {', '.join(extra)}")
    missing = [f"--{name}" for name in _DECIDED if getattr(args, name) is None]
    if missing and not elsewhere and not sys.stdin.isatty():
        parser.error(f"there is no terminal to ask on: give {', '.join(missing)}")
    with command_line.logged("sign_off", args, REPORT):
        config, paths = read_config(args.config)
        subject = review(config, paths)
        print("", *map(printable, summary_lines(subject)), "", sep="\n", flush=True)
        if sys.stdin.isatty() and not elsewhere:
            try:
                _ask(args, subject["failures"], [each["name"] for each in subject["alarms"]])
            except EOFError as error:
                raise TaskError("no answer: nothing was signed.") from error
        rule = config.release
        for merged in merged_statements(args.commit, rule) if args.commit else [None]:
            take = partial(_decided, args, subject, rule, merged)
            written = write_decision(subject, config, paths, args.output, take)
            decision, not_yet = written.decision, written.not_yet
            logging.info("[sign_off] %s: %s", decision["reviewer"], decision["decision"])
            if not decision["signature"]:
                logging.info("[sign_off] unsigned: it is as trustworthy as this folder (release.allowed_signers)")
        update_index()
        logging.info("[sign_off] wrote %s", args.output)
        if not_yet:
            logging.info("[sign_off] not to be deployed: %s", not_yet)
        else:
            logging.info("[sign_off] next: make deploy")


if __name__ == "__main__":
    main()
