"""Show what the decision needs, ask for it, and write down who has decided what on exactly which files.

    python scripts/sign_off.py [--reviewer NAME --decision approve|reject --comment TEXT] [--override REASON]

Run in the project's folder. What is not given is asked for on a terminal. A second reviewer of the same files is added
to the sign-off; whoever decides again replaces their decision.
"""

import logging
import os
import sys
from pathlib import Path

from signoff.base import command_line
from signoff.base.errors import TaskError, explain
from signoff.base.files import parsed_json, read_json, replacing, sha256
from signoff.base.redaction import printable
from signoff.config.settings import config_argument, read_config
from signoff.release.approval import (
    DIAGNOSTICS,
    METRICS,
    PAGE,
    REPORT,
    SIGN_OFF,
    VALIDATION,
    VERSION,
    alarms_of,
    check_approval,
    check_names,
    code_state,
    features_path,
    model_path,
    no_commit,
    raw_path,
    read_sign_off,
    reviewed_bytes,
    reviewed_files,
    serialised,
    statement,
    subject_of,
    utc_now,
)
from signoff.release.live_record import read_live, warnings
from signoff.release.signature import plain_name, sign, verify_signature
from signoff.release.store import Releases
from signoff.release.verdict import verdict


def review(config: dict, config_paths: list[str]) -> dict:
    """Return what there is to decide on: the digests of all files and of the code, the verdict, and why it failed.

    Raises
    ------
    TaskError
        A file is missing, or speaks of another state of a file than the one that is there.
    """
    model = model_path(config)
    for path in reviewed_files(config, config_paths):
        if not Path(path).is_file():
            command = "make report" if path in (DIAGNOSTICS, REPORT, PAGE) else "make run, then make report"
            raise TaskError(f"{path} does not exist: there is nothing to sign off. Run {command}.")
    raw, features = raw_path(config), features_path(config)
    figures = sorted(str(path) for path in Path("reports/figures").glob("*.png"))
    files = {path: sha256(Path(path)) for path in [*reviewed_files(config, config_paths), *figures]}
    check_names(files, reviewed_files(config, config_paths))
    metrics, validation = as_reviewed(METRICS, files), as_reviewed(VALIDATION, files)
    check_agreement(model, raw, features, files)
    releases = Releases()
    release = releases.in_use(releases.history())
    judged_against = (metrics["champion"] or {}).get("release")
    if release != judged_against and not (release or "").endswith(f"-{files[model][:12]}"):
        raise TaskError(
            f"{METRICS} compares the model with {judged_against or 'no release'}, but {release or 'none'} is deployed "
            "now. Run make run, then make report."
        )
    _, failures = verdict(validation, metrics)
    return {
        "version": VERSION,
        "project": releases.project(make=True),
        "predecessor": release,
        "files": files,
        "code": code_state(),
        "verdict": "failed" if failures else "passed",
        "failures": failures,
    }


def check_agreement(model: str, raw: str, features: str, files: dict[str, str]) -> None:
    """Raise TaskError if a reviewed file was written for a different state of another one.

    Parameters
    ----------
    model, raw, features
        Their paths.
    files
        The digests of the reviewed files by path.
    """
    described_in = features.removesuffix("csv") + "json"
    metrics, validation, metadata, diagnostics, described = (
        as_reviewed(path, files) for path in (METRICS, VALIDATION, "model/model.json", DIAGNOSTICS, described_in)
    )
    for path, found in ((VALIDATION, validation), (features, described)):
        if found.get("raw_sha256") != files[raw]:
            raise TaskError(f"{path} speaks of other data than {raw}. Run make run, then make report.")
    trained_on = metadata["inputs"].get(Path(features).name)
    if metadata["sha256"] != files[model] or trained_on != files[features]:
        raise TaskError(f"{model} is not the model that model/model.json describes. Run make run, then make report.")
    for made, by in ((model, metadata.get("custom")), (METRICS, metrics.get("custom_metrics"))):
        if by and files.get(os.path.normpath(by["file"])) != by["sha256"]:
            raise TaskError(f"{by['file']} is not the code that {made} was made with. Run make run, then make report.")
    if metrics["model_sha256"] != files[model]:
        raise TaskError(f"{METRICS} speaks of another model than {model}. Run make run, then make report.")
    if diagnostics.get("model_sha256") != files[model]:
        raise TaskError(f"{DIAGNOSTICS} speaks of another model than {model}. Run make report.")
    if diagnostics.get("metrics_sha256") != files[METRICS]:
        raise TaskError(f"{DIAGNOSTICS} speaks of another evaluation than {METRICS}. Run make report.")
    for path in (REPORT, PAGE):
        text = reviewed_bytes(path, files).decode()
        if files[model] not in text:
            raise TaskError(f"{path} speaks of another model than {model}. Run make report.")
        for other in (METRICS, DIAGNOSTICS):
            if files[other] not in text:
                raise TaskError(f"{path} speaks of another state of {other}. Run make report.")


def as_reviewed(path: str, files: dict[str, str]) -> dict:
    """Return the content of a reviewed JSON file; raises as `reviewed_bytes`."""
    return parsed_json(reviewed_bytes(path, files), Path(path))


def summary(subject: dict) -> list[str]:
    """Return the lines that a reviewer sees before deciding."""
    metrics, validation = (as_reviewed(path, subject["files"]) for path in (METRICS, VALIDATION))
    source = read_json(Path("data/raw/raw_data.json"))
    split = metrics["split"]
    window = f"{split['first']} … {split['last_test']} ({metrics['time_column']})" if "first" in split else "no dates"
    code = subject["code"]
    state = {True: "clean", False: "with changes that are not committed", None: no_commit()}[code["clean"]]
    lines = [
        f"Target      {metrics['target']}",
        f"Source      {source['source']}, ingested {source['ingested_at']}",
        f"Data window {window}",
        *verdict(validation, metrics)[0],
        f"Verdict     {subject['verdict']}",
        *(f"            {each}" for each in subject["failures"]),
        *(f"Alarm       {each['name']}: {each['sentence']}" for each in raised(subject)),
        *(f"Live        {each}" for each in warnings(read_live(), subject["predecessor"])),
        f"Model       {metrics['estimator']}, {metrics['model_sha256'][:12]}",
        f"Code        {code['commit'] or code['sha256'][:12]} ({state})",
    ]
    lines += [
        f"{'Changes' if n == 0 else '':<12}{each}"
        for n, each in enumerate(changes(subject["predecessor"], subject["files"]))
    ]
    return [*lines, f"Report      {PAGE}, {REPORT}"]


def raised(subject: dict) -> list[dict[str, str]]:
    """Return the alarms of the reviewed diagnostics, each with its name and its sentence."""
    return alarms_of(reviewed_bytes(DIAGNOSTICS, subject["files"]))


def changes(release: str | None, files: dict[str, str]) -> list[str]:
    """Return the differences from the current release in words.

    Parameters
    ----------
    release
        The current release; None if nothing is deployed.
    files
        The digests of the reviewed files.
    """
    if release is None:
        return ["nothing is deployed yet: this would be the first release"]
    now, scored_now = as_reviewed("model/model.json", files), as_reviewed(METRICS, files)
    releases = Releases()
    try:
        document = releases.sign_off(release, releases.history())
        then = releases.json(release, document, "model.json")
        scored_then = releases.json(release, document, "evaluation_metrics.json")
    except (TaskError, OSError) as error:
        return [f"unknown: {explain(error)} See make verify"]
    if then["sha256"] == now["sha256"]:
        return [f"none: this very model is deployed as {release}"]
    mae = [each["model"]["test"]["MAE"] for each in (scored_then, scored_now)]
    found = [
        f"since {release}: {then['training_rows']:,} → {now['training_rows']:,} training rows",
        f"MAE then {mae[0]:.4f}, on the rows held out then; now {mae[1]:.4f}",
    ]
    for what, word in (("features", "feature"), ("parameters", "parameter"), ("versions", "version")):
        for name in sorted({*then[what], *now[what]}):
            old, new = then[what].get(name), now[what].get(name)
            if old != new:
                found.append(f"{word} {name}: {'none' if old is None else old} → {'none' if new is None else new}")
    if (then.get("custom") or {}) != (now.get("custom") or {}):
        files = [each["file"] if each else "none" for each in (then.get("custom"), now.get("custom"))]
        found.append(f"code of the features: {' → '.join(files)}" if files[0] != files[1] else f"{files[0]}: changed")
    for what in ("estimator", "target", "recipe", "columns"):
        if then[what] != now[what]:
            simple = isinstance(now[what], str)
            found.append(f"{what}: {then[what]} → {now[what]}" if simple else f"{what} of the features: changed")
    return found


def decide(subject: dict, decision: dict, sign_off: Path, rule: dict, key: Path | None) -> dict:
    """Return the sign-off with this decision in it, beside those of others on the same files.

    Parameters
    ----------
    subject
        As `review` returns it.
    decision
        reviewer, decision ("approve" or "reject"), comment, and override (None without a failure or an alarm).
    sign_off
        Where the others' decisions are, if there are any.
    rule
        The section `release` of the config.
    key
        A private key of OpenSSH; needed where release.allowed_signers is set.

    Raises
    ------
    TaskError
        Something is missing, or the key is not one of those that may sign.
    """
    for name in ("reviewer", "comment"):
        if not decision[name].strip():
            raise TaskError(f"the {name} is empty. A sign-off needs a name, a decision and a comment.")
    alarms = [each["name"] for each in raised(subject)]
    given = bool((decision["override"] or "").strip())
    doubt = f"raises alarms ({', '.join(alarms)})" if alarms else None
    doubt = f"has failed ({'; '.join(subject['failures'])})" if subject["failures"] else doubt
    if doubt and decision["decision"] == "approve" and not given:
        raise TaskError(
            f"this model {doubt}. To approve it all the same, give the reason: --override REASON (make sign-off "
            "OVERRIDE=…). It is kept and shown ever after."
        )
    if rule["allowed_signers"] and key is None:
        raise TaskError("release.allowed_signers asks for a signature: name your key, --key PATH (make sign-off KEY=…)")
    decision = {
        "reviewer": decision["reviewer"].strip(),
        "decision": decision["decision"],
        "comment": decision["comment"].strip(),
        "override": decision["override"].strip() if given and (subject["failures"] or alarms) else None,
        "signed_at": utc_now(),
    }
    others = []
    if sign_off.is_file():
        try:
            before = read_sign_off(sign_off)
            if without_commit(before) == without_commit(subject):
                # As the others have signed it, with the commit that was noted then.
                subject, others = subject_of(before), before["decisions"]
            else:
                logging.info("[sign_off] %s was about other files or other code: it is replaced", sign_off)
        except TaskError as error:
            logging.warning("[sign_off] %s It is replaced.", error)
    decision["signature"] = sign(statement(subject, decision), key) if key else None
    if rule["allowed_signers"]:
        verify_signature(statement(subject, decision), decision, Path(rule["allowed_signers"]), None)
    others = [each for each in others if plain_name(each["reviewer"]) != plain_name(decision["reviewer"])]
    return {**subject, "decisions": [*others, decision]}


def without_commit(document: dict) -> dict:
    """Return what a sign-off says of what was reviewed, without the commit, which is noted and decides nothing."""
    subject = subject_of(document)
    return {**subject, "code": subject["code"]["sha256"]}


def ask(args, failures: list[str], alarms: list[str] | None = None) -> None:
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


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--reviewer", help="your name; with release.allowed_signers, the principal in that file")
    parser.add_argument("--decision", choices=["approve", "reject"])
    parser.add_argument("--comment", help="what you have looked at, and why you decide so")
    parser.add_argument("--override", metavar="REASON", help="why a model that failed or raised alarms is approved")
    parser.add_argument("--key", type=Path, help="sign with this private key of OpenSSH")
    parser.add_argument("--output", type=Path, default=SIGN_OFF, help="the sign-off")
    config_argument(parser)
    args = parser.parse_args(argv)
    missing = [f"--{name}" for name in ("reviewer", "decision", "comment") if getattr(args, name) is None]
    if missing and not sys.stdin.isatty():
        parser.error(f"there is no terminal to ask on: give {', '.join(missing)}")
    with command_line.logged("sign_off", args, REPORT):
        config, paths = read_config(args.config)
        subject = review(config, paths)
        print("", *map(printable, summary(subject)), "", sep="\n", flush=True)
        if sys.stdin.isatty():
            try:
                ask(args, subject["failures"], [each["name"] for each in raised(subject)])
            except EOFError as error:
                raise TaskError("no answer: nothing was signed.") from error
        decision = {name: getattr(args, name) for name in ("reviewer", "decision", "comment", "override")}
        # One at a time: of two who approve at once, the second finds the first one's approval, and keeps it.
        with Releases().locked("sign_off"):
            document = decide(subject, decision, args.output, config["release"], args.key and args.key.expanduser())
            if review(config, paths) != subject:
                raise TaskError("a file has changed while you were deciding. Wait for the run to end, and look again.")
            with replacing(args.output) as new:
                new.write_bytes(serialised(document))
        logging.info("[sign_off] %s: %s", document["decisions"][-1]["reviewer"], args.decision)
        if not args.key:
            logging.info("[sign_off] unsigned: it is as trustworthy as this folder (release.allowed_signers)")
        logging.info("[sign_off] wrote %s", args.output)
        try:
            check_approval(document, config["release"], reviewed_bytes(DIAGNOSTICS, subject["files"]))
            logging.info("[sign_off] next: make deploy")
        except TaskError as error:
            logging.info("[sign_off] not to be deployed: %s", error)


if __name__ == "__main__":
    main()
