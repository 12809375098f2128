"""What a sign-off covers, and whether it is valid: the digests of all reviewed files, and the decisions."""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from signoff.base.config import Config, ReleaseConfig
from signoff.base.errors import TaskError
from signoff.base.files import WORKFLOW, parsed_json, read_bytes, read_plain, sha256
from signoff.release.envelope import pae, payload
from signoff.release.form import (
    NESTED_VERSION,
    OLD_VERSION,
    SUBJECT,
    VERSION,
    CodeState,
    Decided,
    Decision,
    SignedAlarm,
    SignOff,
    Subject,
    one_of,
    problem_of,
    strict_json,
)
from signoff.release.git import run_git
from signoff.release.signature import person_of, plain_name, verify_signature

# The type of a signed statement of version 2, so that it cannot be mistaken for another kind of text.
_TYPE = "signoff/decision"
_CLOCKS_DIFFER = timedelta(minutes=5)
_AGAIN = "Sign off again: make sign-off."
READ_AGAIN = "Read the report again (make report), then run make sign-off."
SIGN_OFF = Path("reports/sign_off.json")
# Bytes of a sign-off: each file and each decision takes some hundreds.
_LARGEST = 1 << 24
REPORT = "reports/final_report.md"
# The same as a page.
PAGE = "reports/final_report.html"
METRICS = "reports/evaluation_metrics.json"
VALIDATION = "reports/validation_report.json"
DIAGNOSTICS = "reports/diagnostics.json"
_FIGURE = re.compile(r"reports/figures/[A-Za-z0-9][A-Za-z0-9_.-]*\.png")


def model_path(config: Config) -> str:
    """Return where the model is, by its format."""
    return {"pickle": "model/model.pkl", "skops": "model/model.skops"}[config.model.format]


def refit_path(config: Config) -> str | None:
    """Return where the model is that was trained again on all rows; None if model.refit asks for none.

    With `auto` it exists if the config splits rows by time. Where `model.max_rows` is set, all rows may not fit into
    memory, so it does not.
    """
    model, split = config.model, config.split
    by_default = split.by == "auto" and config.time_column and not split.key and not split.groups
    by_time = split.by == "time" or by_default
    asked = model.refit == "all" or (model.refit == "auto" and by_time and not model.max_rows)
    return str(Path(model_path(config)).with_stem("refit")) if asked else None


def _history_path(config: Config) -> str | None:
    """Return where the earlier rows are that predictions need; None without features.history."""
    return "model/history.arrow" if config.features.history else None


def raw_path(config: Config) -> str:
    """Return the file that identifies the raw data: the data, or the digests of their parts."""
    return f"data/raw/raw_data.{'json' if config.data.partition_by else 'csv'}"


def features_path(config: Config) -> str:
    """Return where the features are that the model is trained and tested on."""
    return f"data/features/{'sample' if config.model.max_rows else 'features'}.csv"


def reviewed_files(config: Config, config_paths: list[str]) -> list[str]:
    """Return the paths of what a sign-off must cover, from the project's folder; figures come on top."""
    contract = config.validation.schema
    files = [model_path(config), "model/model.json", METRICS, VALIDATION, DIAGNOSTICS, REPORT, PAGE]
    if refit := refit_path(config):
        files += [refit, "model/refit.json"]
    if history := _history_path(config):
        files.append(history)
    features = features_path(config)
    files += [features, features.removesuffix("csv") + "json", raw_path(config)]
    files += [*config_paths, *([contract] if contract else []), *custom_code(config)]
    return [os.path.normpath(path) for path in files]


def custom_code(config: Config) -> list[str]:
    """Return the paths of custom code, relative to the project's folder."""
    named = (config.features.custom, config.evaluation.metrics)
    return list(dict.fromkeys(path for path in named if path))


def released_as(path: str) -> str | None:
    """Return the name that a reviewed file has in a release; None for the data, which are not copied."""
    path = os.path.normpath(path)
    outside = path.startswith(("/", "../"))
    if path.endswith(".py"):
        return f"code/{Path(path).name if outside else path}"
    folder, _, name = path.partition("/")
    if folder == "data":
        return None
    return name if folder in ("model", "reports") and name else f"config/{Path(path).name}"


def check_names(files: Iterable[str], known: list[str]) -> None:
    """Raise TaskError if a sign-off names a file that is not reviewed, a link, or two files of one name.

    Parameters
    ----------
    files
        The paths that the sign-off names.
    known
        As `reviewed_files` returns them.
    """
    places: dict[str, str] = {}
    for path in files:
        if path not in known and not _FIGURE.fullmatch(path):
            raise TaskError(f"the sign-off names {path!r}, which is not a file that is reviewed. {READ_AGAIN}")
        place = released_as(path)
        if place is None:
            continue
        if other := places.get(place):
            raise TaskError(f"{other} and {path} would both be {place} in the release. Rename one of them.")
        places[place] = path
        if path.startswith(("model/", "reports/")):
            for part in (Path(path), *Path(path).parents):
                if part.is_symlink():
                    raise TaskError(f"{part} is a link. Replace it with what it points to, and run make deploy.")


def code_state() -> CodeState:
    """Return the SHA-256 of the workflow's code, which is compared, and its git commit, which is only recorded.

    The commit, and whether the code was clean, are None outside git, if the workflow's folder is inside another
    repository, or if the checkout belongs to another account.
    """
    parts = ["Snakefile", "workflow", "scripts"]
    files = [path for part in parts for path in (WORKFLOW / part, *(WORKFLOW / part).rglob("*"))]
    lines = [
        f"{sha256(path)}  {path.relative_to(WORKFLOW)}\n"
        for path in sorted(files)
        if path.is_file() and "__pycache__" not in path.parts
    ]
    tracked = _git("ls-files", "--error-unmatch", "--", "Snakefile") is not None
    commit = _git("rev-parse", "HEAD") if tracked else None
    return {
        "commit": commit,
        "clean": None if commit is None else _is_clean(parts),
        "sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
    }


def _is_clean(parts: list[str]) -> bool:
    """Return whether the code is that of the commit, even if git is configured to ignore or skip a file."""
    status, marks = _git("status", "--porcelain", "--ignored", "--", *parts), _git("ls-files", "-v", "--", *parts)
    if status is None or marks is None:
        return False
    changed = [each for each in status.splitlines() if not each.startswith("!! ") or "__pycache__/" not in each]
    return not changed and all(each.startswith("H ") for each in marks.splitlines())


def no_commit() -> str:
    """Return the reason why the commit of the workflow's code is unknown."""
    done = run_git(WORKFLOW, "ls-files", "--error-unmatch", "--", "Snakefile")
    if done is not None and b"dubious ownership" in done.stderr:
        return "in a git checkout of another account, which git does not read"
    return "not in git"


def _git(*arguments: str) -> str | None:
    """Return git's output for the workflow's folder; None if it is not a repository, or git is not installed."""
    done = run_git(WORKFLOW, *arguments)
    return os.fsdecode(done.stdout).strip() if done is not None and done.returncode == 0 else None


def canonical(value: object) -> bytes:
    """Return JSON in UTF-8 with sorted keys and no blanks, so that equal values have equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def serialised(document: Decided) -> bytes:
    """Return the bytes of a sign-off's file, its own digest included."""
    body = {key: value for key, value in document.items() if key != "sha256"}
    body["sha256"] = hashlib.sha256(canonical(body)).hexdigest()
    return (json.dumps(body, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def subject_of(document: Subject) -> Subject:
    """Return the part of a sign-off about the reviewed files, without the decisions."""
    return cast(Subject, {key: value for key, value in document.items() if key not in ("decisions", "sha256")})


def statement(document: Subject, decision: Decision) -> bytes:
    """Return the bytes that a reviewer signs: an in-toto Statement of the subject and the decision, encoded for DSSE.

    In version 2, they are canonical JSON with the two parts side by side. In version 1, the keys of both are merged
    into one object, but only if each part has exactly its own keys, and none of the other's.

    Raises
    ------
    TaskError
        A key is unknown or missing, or a value cannot be there.
    """
    subject = subject_of(document)
    said = {key: value for key, value in decision.items() if key != "signature"}
    problem = problem_of(subject, [{"signature": None, **decision}])
    if problem:
        raise TaskError(f"the sign-off has a wrong form: {problem}. {_AGAIN}")
    if subject["version"] == OLD_VERSION:
        return canonical({**subject, **said})
    if subject["version"] == NESTED_VERSION:
        return canonical({"_type": _TYPE, "subject": subject, "decision": said})
    return pae(payload(subject, said, {path: released_as(path) for path in subject["files"]}))


def parse_sign_off(content: bytes, path: Path) -> SignOff:
    """Return the sign-off whose file holds these bytes, in the current form or the one before.

    Raises
    ------
    TaskError
        A bit was changed, a key is unknown, missing or repeated, or the form is of another version.
    """
    try:
        document = strict_json(content)
        intact = isinstance(document, dict) and serialised(cast(SignOff, document)) == content
    except ValueError:
        document, intact = None, False
    if not isinstance(document, dict) or not intact:
        raise TaskError(f"{path} was altered after it was signed. {_AGAIN}")
    if not one_of(*SUBJECT)(document.get("version")):
        raise TaskError(
            f"{path} has the version {document.get('version')}, and this workflow reads {VERSION}. Use the workflow "
            "that has written it, or sign off again: make sign-off."
        )
    found = cast(SignOff, document)
    problem = problem_of(subject_of(found), found.get("decisions"))
    if problem:
        raise TaskError(f"{path} has a wrong form: {problem}. {_AGAIN}")
    return found


def read_sign_off(path: Path) -> SignOff:
    """Return a sign-off. Raises TaskError if the file does not exist, and as `read_plain` and `parse_sign_off`."""
    try:
        content = read_plain(path, _LARGEST)
    except FileNotFoundError as error:
        raise TaskError(
            f"{path} does not exist: nobody has signed off this model. Read {REPORT}, then run make sign-off."
        ) from error
    return parse_sign_off(content, path)


def check_new(document: SignOff, path: Path) -> None:
    """Raise TaskError if a sign-off has an older form, which is read in releases and cannot release anything."""
    if document["version"] != VERSION:
        raise TaskError(
            f"{path} has the form of an older workflow (version {document['version']}), which can be read "
            f"but not deployed. {READ_AGAIN}"
        )


def check_subject(document: SignOff, config: Config, config_paths: list[str]) -> None:
    """Raise TaskError if a file of the project, or the code, differs from what was signed; the message names it."""
    known = reviewed_files(config, config_paths)
    for path in known:
        if path not in document["files"]:
            raise TaskError(f"the sign-off does not cover {path}. {READ_AGAIN}")
    check_names(document["files"], known)
    for path, digest in document["files"].items():
        if not Path(path).is_file():
            raise TaskError(f"{path} was signed, and is gone. {READ_AGAIN}")
        if sha256(Path(path)) != digest:
            raise TaskError(f"{path} has changed since it was signed. {READ_AGAIN}")
    if code_state()["sha256"] != document["code"]["sha256"]:
        raise TaskError(f"the workflow's code has changed since the sign-off. {READ_AGAIN}")


def check_policy_owner(config_paths: list[str], rule: ReleaseConfig) -> None:
    """Raise TaskError if another account owns a file that says who may release, since it could change the file.

    The config, the file of signers, and their folders up to the project's are checked: the owner of a folder can rename
    its files. Root is always allowed.

    Parameters
    ----------
    config_paths
        The files that the config was read from, from the project's folder.
    rule
        The section `release` of the config.
    """
    project = Path.cwd()
    for path in map(Path, [*config_paths, *([rule.allowed_signers] if rule.allowed_signers else [])]):
        for place in (path.absolute(), path.resolve()):
            within = [each for each in place.parents if each.is_relative_to(project)] or [place.parent]
            for each in (place, *within):
                owner = each.stat().st_uid
                if owner not in (0, os.geteuid()):
                    raise TaskError(
                        f"{each} belongs to another account (uid {owner}), which could change who may release. Release "
                        "as that account, or take over the file and its folder (docs/threat-model.md)."
                    )


def reviewed_bytes(path: str, files: dict[str, str]) -> bytes:
    """Return the bytes of a reviewed file, checked in memory against the digest in `files`.

    Raises
    ------
    TaskError
        The file has changed since its digest was taken.
    """
    content = read_bytes(Path(path))
    if hashlib.sha256(content).hexdigest() != files[path]:
        raise TaskError(f"{path} has changed while it was read. Wait for the run to end, and look again.")
    return content


def check_approval(document: Decided, rule: ReleaseConfig, diagnostics: bytes | None, at: str | None = None) -> None:
    """Raise TaskError unless enough people have approved, and each has given a reason if the model raises alarms.

    Parameters
    ----------
    document, rule, at
        As in `check_decisions`.
    diagnostics
        The content of the diagnostics, which has the digest that was signed; None if the sign-off covers none.
    """
    _check_decisions(document, rule, at)
    if document["version"] == OLD_VERSION:
        # At the time of that form, alarms needed no reason.
        return
    if diagnostics is None:
        raise TaskError(f"the sign-off does not cover {DIAGNOSTICS}. {READ_AGAIN}")
    alarms = alarms_of(diagnostics)
    if document.get("alarms", alarms) != alarms:
        raise TaskError(f"the sign-off names other alarms than {DIAGNOSTICS}. {READ_AGAIN}")
    for decision in document["decisions"]:
        if alarms and not decision["override"]:
            names = ", ".join(each["name"] for each in alarms)
            raise TaskError(
                f"{decision['reviewer']} has approved a model that raises alarms ({names}) without an override. "
                "Sign off again with a reason: make sign-off OVERRIDE=…"
            )


def alarms_of(diagnostics: bytes) -> list[SignedAlarm]:
    """Return the alarms in the content of the diagnostics."""
    alarms = parsed_json(diagnostics, Path(DIAGNOSTICS)).get("alarms", [])
    return [{"name": each["name"], "feature": each.get("feature"), "sentence": each["sentence"]} for each in alarms]


def _check_decisions(document: Decided, rule: ReleaseConfig, at: str | None = None) -> None:
    """Raise TaskError unless enough people have approved; the message says who is missing, or who may not sign.

    Only the first approval of each person, and of each key, counts.

    Parameters
    ----------
    document
        A sign-off.
    rule
        The section `release` of the config: allowed_signers (path or None) and required_approvals.
    at
        When the keys must have been valid, as `utc_now` writes it; now, if not given.
    """
    people: set[str] = set()
    keys: set[str] = set()
    approvals = 0
    for decision in document["decisions"]:
        who = decision["reviewer"]
        if decision["decision"] != "approve":
            raise TaskError(f"{who} has rejected this model: {decision['comment']}. Train another one.")
        check_trainer(decision, rule)
        if document["failures"] and not decision["override"]:
            raise TaskError(f"{who} has approved a failed model without an override: {'; '.join(document['failures'])}")
        person, key = plain_name(who), f"no key of {plain_name(who)}"
        if rule.allowed_signers:
            signers = Path(rule.allowed_signers)
            key = verify_signature(statement(document, decision), decision, signers, at)
            person = person_of(who, signers)
        if person not in people and key not in keys:
            approvals += 1
        people.add(person)
        keys.add(key)
    missing = rule.required_approvals - approvals
    if missing > 0:
        names = ", ".join(each["reviewer"] for each in document["decisions"]) or "nobody"
        raise TaskError(
            f"{rule.required_approvals} different people must approve (release.required_approvals); so far {names}. "
            f"{missing} more must run make sign-off."
        )


def check_trainer(decision: Decision, rule: ReleaseConfig) -> None:
    """Raise TaskError if somebody approves who trains the model, in any of their names (release.separate_trainer)."""
    signers = Path(rule.allowed_signers) if rule.allowed_signers else None

    def person(name: str) -> str:
        return person_of(name, signers) if signers and signers.is_file() else plain_name(name)

    trainers = {person(each) for each in rule.separate_trainer}
    if decision["decision"] == "approve" and trainers and person(decision["reviewer"]) in trainers:
        raise TaskError(
            f"{decision['reviewer']} trains the model, and may not approve it (release.separate_trainer). Somebody "
            "else must run make sign-off."
        )


def check_age(decisions: Iterable[Decision], rule: ReleaseConfig) -> None:
    """Raise TaskError if a decision is older than release.valid_days, or was made in the future.

    This is checked only when a model is deployed; a release stays approved afterwards.
    """
    for decision in decisions:
        who, what = decision["reviewer"], {"approve": "approval"}.get(decision["decision"], "rejection")
        if decision["signed_at"] > _moment(datetime.now(UTC) + _CLOCKS_DIFFER):
            raise TaskError(f"{who}'s {what} is dated {decision['signed_at']}, which is in the future. {_AGAIN}")
        until = expiry(decision, rule.valid_days)
        if until is not None and until < utc_now():
            raise TaskError(
                f"{who}'s {what} of {decision['signed_at']} expired on {until} (release.valid_days: "
                f"{rule.valid_days}). {_AGAIN}"
            )


def expiry(decision: Decision, valid_days: int | None) -> str | None:
    """Return when a decision expires, as `utc_now` writes it; None if it never does.

    It is the earlier of what was signed and of what the config says now.
    """
    found = [decision.get("valid_until")]
    if valid_days is not None:
        found.append(_moment(datetime.fromisoformat(decision["signed_at"]) + timedelta(days=valid_days)))
    return min((each for each in found if each is not None), default=None)


def is_signed(document: SignOff, rule: ReleaseConfig, at: str) -> bool:
    """Return whether each decision has a signature that was verified against release.allowed_signers."""
    if not rule.allowed_signers:
        return False
    try:
        for decision in document["decisions"]:
            verify_signature(statement(document, decision), decision, Path(rule.allowed_signers), at)
    except TaskError:
        return False
    return bool(document["decisions"])


def utc_now() -> str:
    """Return the time as 2026-01-31T12:00:00Z."""
    return _moment(datetime.now(UTC))


def _moment(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
