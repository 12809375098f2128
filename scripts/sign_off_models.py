"""Approve, of many models, all that fit a rule; the others wait for their own decision.

    python scripts/sign_off_models.py --rule "verdict passed, no alarm, better than the champion" \\
        [--reviewer NAME --decision approve --comment TEXT] [--key PATH | --statement]

Run in the folder of the config. What is not given is asked for on a terminal. Each model that fits gets a sign-off in
its own folder, signed for its files alone, whose comment names the rule and the digest of the list of all models of
this decision. The list is reports/signed/DIGEST.json. With --statement, nothing is signed: each folder gets the
statement of its decision, to sign elsewhere.
"""

import argparse
import contextlib
import hashlib
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from signoff.base import command_line
from signoff.base.config import Config
from signoff.base.errors import TaskError, explain
from signoff.base.files import replacing
from signoff.base.numbers import counted
from signoff.base.redaction import printable
from signoff.config.settings import config_argument, read_config
from signoff.ops.many import MODELS, failed_models, has_many_models, model_folders
from signoff.ops.overview import update_index
from signoff.ops.status import next_step
from signoff.release.approval import SIGN_OFF, code_state
from signoff.release.decision import decide
from signoff.release.detached import check_signers, statement_path, write_statement
from signoff.release.form import CodeState, Given, Subject
from signoff.release.rule_decision import comment_of, list_of_models, parse_rule, problems
from signoff.release.signing import write_decision
from signoff.release.store import Releases
from signoff.release.subject import review

_LISTS = Path("reports/signed")
_MOST = 20


@dataclass(frozen=True)
class _Model:
    """A model that fits: its config with the files of it, and the subject of the decision."""

    config: Config
    config_paths: list[str]
    subject: Subject


def _sorted_out(folders: list[Path], clauses: list[str], code: CodeState) -> tuple[dict[Path, _Model], dict[str, str]]:
    """Return the models that fit a rule by folder, and by name why each of the others does not.

    A model whose last model is deployed, or signed and ready to deploy, is in neither.
    """
    fit: dict[Path, _Model] = {}
    others = failed_models()
    for folder in (each for each in folders if each.name not in others):
        with contextlib.chdir(folder):
            try:
                releases = Releases()
                step = next_step(releases.current(), releases.history())
                if step.waits in ("nothing", "deploy"):
                    continue
                config, paths = read_config()
                subject = review(config, paths, code)
                if why := problems(subject, clauses):
                    others[folder.name] = "; ".join(why)
                else:
                    fit[folder] = _Model(config, paths, subject)
            except (TaskError, OSError) as error:
                others[folder.name] = explain(error)
    return fit, others


def _ask(args: argparse.Namespace, number: int) -> None:
    """Ask on the terminal for what the command line does not give."""
    while not (args.reviewer or "").strip():
        args.reviewer = input("Your name: ")
    while args.decision is None:
        answer = input(f"Approve {counted(number, 'model')}? [y/n] ").strip().lower()
        if answer in ("n", "no"):
            raise TaskError("nothing was signed.")
        args.decision = "approve" if answer in ("y", "yes") else None
    while not (args.comment or "").strip():
        args.comment = input("Comment: ")


def _sign_all(fit: dict[Path, _Model], args: argparse.Namespace, clauses: list[str], code: CodeState) -> dict[str, str]:
    """Write the list, and the sign-off or the statement of each model; return why a model got none, or needs more."""
    content = list_of_models(clauses, {folder.name: model.subject for folder, model in fit.items()})
    path = _LISTS / f"{hashlib.sha256(content).hexdigest()}.json"
    with replacing(path) as new:
        new.write_bytes(content)
    comment = comment_of(args.comment, clauses, content, len(fit))
    given: Given = {"reviewer": args.reviewer, "decision": "approve", "comment": comment, "override": None}
    key = args.key and args.key.expanduser().absolute()
    failed = {}
    for folder, model in fit.items():
        rule = model.config.release
        with contextlib.chdir(folder):
            try:
                if args.statement:
                    write_statement(model.subject, given, SIGN_OFF, None, rule)
                    continue
                written = write_decision(
                    model.subject,
                    model.config,
                    model.config_paths,
                    SIGN_OFF,
                    lambda model=model, rule=rule: decide(model.subject, given, SIGN_OFF, rule, key),  # type: ignore[misc]
                    code,
                )
                if written.not_yet:
                    failed[folder.name] = written.not_yet
            except (TaskError, OSError) as error:
                failed[folder.name] = explain(error)
    logging.info("[sign_off_models] wrote the list of the models to %s", path)
    return failed


def _shown(found: dict[str, str], title: str) -> list[str]:
    """Return lines with models and why, at most 20."""
    lines = [f"{title if n == 0 else '':<12}{name}: {why}" for n, (name, why) in enumerate(list(found.items())[:_MOST])]
    return lines + ([f"{'':<12}and {len(found) - _MOST} more"] if len(found) > _MOST else [])


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--rule", required=True, help='such as "verdict passed, no alarm, better than the champion"')
    parser.add_argument("--reviewer", help="your name; with release.allowed_signers, the principal in that file")
    parser.add_argument("--decision", choices=["approve"])
    parser.add_argument("--comment", help="what you have looked at, and why you decide so")
    parser.add_argument("--key", type=Path, help="sign with this private key of OpenSSH")
    parser.add_argument("--statement", action="store_true", help="write what to sign elsewhere, for each model")
    config_argument(parser)
    args = parser.parse_args(argv)
    missing = [f"--{name}" for name in ("reviewer", "decision", "comment") if getattr(args, name) is None]
    if missing and not sys.stdin.isatty():
        parser.error(f"there is no terminal to ask on: give {', '.join(missing)}")
    with command_line.logged("sign_off_models", args, MODELS):
        config, _ = read_config(args.config)
        if not has_many_models(config):
            raise TaskError("this project has one model: run make sign-off without MODELS.")
        clauses, code = parse_rule(args.rule), code_state()
        if args.statement:
            check_signers(config.release)
        elif config.release.allowed_signers and args.key is None:
            raise TaskError("release.allowed_signers asks for a signature: name your key (make sign-off KEY=…).")
        fit, others = _sorted_out(model_folders(config), clauses, code)
        lines = [f"Rule        {', '.join(clauses)}", f"Fit         {counted(len(fit), 'model')}"]
        lines += [f"{'':<12}{', '.join(each.name for each in list(fit)[:_MOST])}{', …' if len(fit) > _MOST else ''}"]
        print("", *map(printable, [*lines, *_shown(others, "Wait")]), "", sep="\n", flush=True)
        if not fit:
            raise TaskError("no model that waits fits the rule: nothing was signed.")
        if sys.stdin.isatty():
            try:
                _ask(args, len(fit))
            except EOFError as error:
                raise TaskError("no answer: nothing was signed.") from error
        failed = _sign_all(fit, args, clauses, code)
        update_index()
        if code_state()["sha256"] != code["sha256"]:
            raise TaskError("the workflow's code has changed while you were deciding. Sign off again: make sign-off.")
        signed = len(fit) - len(failed)
        logging.info("[sign_off_models] %s: approve, %s", args.reviewer, counted(signed, "model"))
        logging.info("[sign_off_models] waiting for their own decision: %d", len(others))
        for line in _shown(failed, "Not yet"):
            logging.info("[sign_off_models] %s", line)
        if signed and args.statement:
            path = statement_path(args.reviewer)
            logging.info("[sign_off_models] sign each: ssh-keygen -Y sign -f KEY -n signoff models/NAME/%s", path)
            logging.info("[sign_off_models] next: make sign-off DIR=models/NAME SIGNATURE=%s.sig, for each", path)
        elif signed:
            logging.info("[sign_off_models] next: make deploy")
        else:
            what = "has a statement" if args.statement else "can be deployed"
            name, why = next(iter(failed.items()))
            raise TaskError(f"no model {what} yet, such as {name}: {why}")


if __name__ == "__main__":
    main()
