"""Write a decision to a file that a reviewer signs elsewhere with ssh-keygen, and beside it what the decision is about.

    python scripts/statement.py --reviewer NAME --decision approve|reject --comment TEXT [--override REASON]

Run in the project's folder. The statement holds exactly the bytes to sign; `sign_off.py --signature` takes the
signature.
"""

import logging
from pathlib import Path

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import replacing
from signoff.base.redaction import printable
from signoff.config.settings import config_argument, read_config
from signoff.release.approval import REPORT, SIGN_OFF, statement
from signoff.release.decision import new_decision, with_others
from signoff.release.detached import instructions, statement_path
from signoff.release.store import Releases
from signoff.release.subject import review, summary


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--reviewer", required=True, help="the name of the reviewer in release.allowed_signers")
    parser.add_argument("--decision", required=True, choices=["approve", "reject"])
    parser.add_argument("--comment", required=True, help="what the reviewer has looked at, and why they decide so")
    parser.add_argument("--override", metavar="REASON", help="why a model that failed or raised alarms is approved")
    parser.add_argument("--sign-off", type=Path, default=SIGN_OFF, help="where the decisions of others are")
    parser.add_argument("--output", type=Path, help="the statement; by default reports/statement-REVIEWER.json")
    config_argument(parser)
    args = parser.parse_args(argv)
    with command_line.logged("statement", args, REPORT):
        config, paths = read_config(args.config)
        rule = config["release"]
        if not rule["allowed_signers"]:
            raise TaskError(
                "release.allowed_signers is not set, so no signature could be checked. Set it in the config."
            )
        here = review(config, paths)
        lines = summary(here)
        with Releases().locked("statement"):
            # As the others have signed it, so that all signatures are about one text.
            subject, _ = with_others(here, args.sign_off)
        decision = new_decision(subject, vars(args))
        output = args.output or statement_path(args.reviewer)
        text = instructions(output, subject, decision, [*map(printable, lines)], rule)
        for path, content in ((output, statement(subject, decision)), (output.with_suffix(".txt"), text.encode())):
            with replacing(path) as new:
                new.write_bytes(content)
        print("", text, sep="\n", flush=True)
        logging.info("[statement] wrote %s and %s", output, output.with_suffix(".txt"))


if __name__ == "__main__":
    main()
