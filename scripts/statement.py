"""Write a decision to a file that a reviewer signs elsewhere with ssh-keygen, and beside it what the decision is about.

    python scripts/statement.py --reviewer NAME --decision approve|reject --comment TEXT [--override REASON]

Run in the project's folder. The statement holds exactly the bytes to sign, an in-toto Statement encoded for a DSSE
envelope; `sign_off.py --signature` takes the signature.
"""

import logging
from pathlib import Path
from typing import cast

from signoff.base import command_line
from signoff.config.settings import config_argument, read_config
from signoff.release.approval import REPORT, SIGN_OFF
from signoff.release.detached import write_statement
from signoff.release.form import Given
from signoff.release.subject import review


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--reviewer", required=True, help="the name of the reviewer in release.allowed_signers")
    parser.add_argument("--decision", required=True, choices=["approve", "reject"])
    parser.add_argument("--comment", required=True, help="what the reviewer has looked at, and why they decide so")
    parser.add_argument("--override", metavar="REASON", help="why a model that failed or raised alarms is approved")
    parser.add_argument("--sign-off", type=Path, default=SIGN_OFF, help="where the decisions of others are")
    parser.add_argument("--output", type=Path, help="the statement; by default reports/statement-REVIEWER.dsse")
    config_argument(parser)
    args = parser.parse_args(argv)
    with command_line.logged("statement", args, REPORT):
        config, paths = read_config(args.config)
        subject, said = review(config, paths), cast(Given, vars(args))
        output, text = write_statement(subject, said, args.sign_off, args.output, config.release)
        print("", text, sep="\n", flush=True)
        logging.info("[statement] wrote %s and %s", output, output.with_suffix(".txt"))


if __name__ == "__main__":
    main()
