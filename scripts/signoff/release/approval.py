"""What a sign-off covers, and whether it holds: digests of all that was reviewed, and decisions."""

import hashlib
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from signoff.base.errors import TaskError
from signoff.base.files import WORKFLOW, sha256
from signoff.release.signature import verify_signature

# Of the sign-off's form.
VERSION = 1
SIGN_OFF = Path("reports/sign_off.json")
REPORT = "reports/final_report.md"
# The same as a page.
PAGE = "reports/final_report.html"
METRICS = "reports/evaluation_metrics.json"
VALIDATION = "reports/validation_report.json"
DIAGNOSTICS = "reports/diagnostics.json"


def model_path(config: dict) -> str:
    """Return where the model is, by its format."""
    return {"pickle": "model/model.pkl", "skops": "model/model.skops"}[config["model"]["format"]]


def raw_path(config: dict) -> str:
    """Return what tells of all raw data: they themselves, or, where they are in parts, the digests of these."""
    return f"data/raw/raw_data.{'json' if config['data']['partition_by'] else 'csv'}"


def features_path(config: dict) -> str:
    """Return where the features are that the model is trained and tested on."""
    return f"data/features/{'sample' if config['model']['max_rows'] else 'features'}.csv"


def reviewed_files(config: dict, config_paths: list[str]) -> list[str]:
    """Return the paths of what a sign-off must cover, from the project's folder; figures come on top."""
    contract = config["validation"]["schema"]
    files = [model_path(config), "model/model.json", METRICS, VALIDATION, DIAGNOSTICS, REPORT, PAGE]
    features = features_path(config)
    files += [features, features.removesuffix("csv") + "json", raw_path(config)]
    return [*files, *config_paths, *([contract] if contract else []), *custom_code(config)]


def custom_code(config: dict) -> list[str]:
    """Return the paths of the user's own code, from the project's folder."""
    named = (config["features"]["custom"], config["evaluation"]["metrics"])
    return list(dict.fromkeys(path for path in named if path))


def released_as(path: str) -> str | None:
    """Return the name that a reviewed file has in a release; None for the data, which are not copied."""
    if path.endswith(".py"):
        return f"code/{path}"
    folder, _, name = path.partition("/")
    if folder == "data":
        return None
    return name if folder in ("model", "reports") else f"config/{Path(path).name}"


def code_state() -> dict:
    """Return the git commit of the workflow (None outside git), whether its code was clean, and the code's SHA-256."""
    parts = ["Snakefile", "workflow", "scripts"]
    files = [path for part in parts for path in (WORKFLOW / part, *(WORKFLOW / part).rglob("*"))]
    lines = [
        f"{sha256(path)}  {path.relative_to(WORKFLOW)}\n"
        for path in sorted(files)
        if path.is_file() and "__pycache__" not in path.parts
    ]
    commit = git("rev-parse", "HEAD")
    return {
        "commit": commit,
        "clean": None if commit is None else git("status", "--porcelain", "--", *parts) == "",
        "sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
    }


def git(*arguments: str) -> str | None:
    """Return what git says of the workflow's folder, or None where it is no repository or there is no git."""
    try:
        done = subprocess.run(["git", "-C", WORKFLOW, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def canonical(value: object) -> bytes:
    """Return JSON with sorted keys and no blanks, in UTF-8: one value, one text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def serialised(document: dict) -> bytes:
    """Return the bytes of a sign-off's file, its own digest included."""
    body = {key: value for key, value in document.items() if key != "sha256"}
    body["sha256"] = hashlib.sha256(canonical(body)).hexdigest()
    return (json.dumps(body, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_sign_off(path: Path) -> dict:
    """Return a sign-off. Raises TaskError where there is none, or where a single bit of it was changed."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise TaskError(
            f"{path} does not exist: nobody has signed off this model. Read {REPORT}, then run make sign-off."
        ) from error
    try:
        document = json.loads(content)
        intact = serialised(document) == content
    except (ValueError, AttributeError):
        intact = False
    if not intact:
        raise TaskError(f"{path} was altered after it was signed. Sign off again: make sign-off.")
    if document.get("version") != VERSION:
        raise TaskError(
            f"{path} has the version {document.get('version')}, and this workflow reads {VERSION}. Use the workflow "
            "that has written it, or sign off again: make sign-off."
        )
    return document


def statement(document: dict, decision: dict) -> bytes:
    """Return what a reviewer signs: all that was reviewed, and the decision, as canonical JSON."""
    subject = {key: value for key, value in document.items() if key not in ("decisions", "sha256")}
    return canonical({**subject, **{key: value for key, value in decision.items() if key != "signature"}})


def check_subject(document: dict, config: dict, config_paths: list[str]) -> None:
    """Raise TaskError where a file of the project, or the code, is not what was signed; the message names it."""
    again = "Read the report again (make report), then run make sign-off."
    for path in reviewed_files(config, config_paths):
        if path not in document["files"]:
            raise TaskError(f"the sign-off does not cover {path}. {again}")
    for path, digest in document["files"].items():
        if not Path(path).is_file():
            raise TaskError(f"{path} was signed, and is gone. {again}")
        if sha256(Path(path)) != digest:
            raise TaskError(f"{path} has changed since it was signed. {again}")
    now = code_state()
    if now != document["code"]:
        different = ", ".join(key for key in now if now[key] != document["code"].get(key))
        raise TaskError(f"the workflow's code ({different}) has changed since the sign-off. {again}")


def check_decisions(document: dict, rule: dict, at: str | None = None) -> None:
    """Raise TaskError unless enough people have approved; the message says who is missing, or who may not sign.

    Parameters
    ----------
    document
        A sign-off.
    rule
        The section `release` of the config: allowed_signers (path or None) and required_approvals.
    at
        When the keys must have been valid, as `utc_now` writes it; now, if not given.
    """
    signers = set()
    for decision in document["decisions"]:
        who = decision["reviewer"]
        if decision["decision"] != "approve":
            raise TaskError(f"{who} has rejected this model: {decision['comment']}. Train another one.")
        if document["failures"] and not decision["override"]:
            raise TaskError(f"{who} has approved a failed model without an override: {'; '.join(document['failures'])}")
        if rule["allowed_signers"]:
            signers.add(verify_signature(statement(document, decision), decision, Path(rule["allowed_signers"]), at))
        else:
            signers.add(who.casefold())
    missing = rule["required_approvals"] - len(signers)
    if missing > 0:
        names = ", ".join(each["reviewer"] for each in document["decisions"]) or "nobody"
        raise TaskError(
            f"{rule['required_approvals']} different people must approve (release.required_approvals); so far {names}. "
            f"{missing} more must run make sign-off."
        )


def utc_now() -> str:
    """Return the time as 2026-01-31T12:00:00Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
