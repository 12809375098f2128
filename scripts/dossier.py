"""Collect what an auditor needs of a release in one zip: data sheet, report, sign-off, history, versions and more.

    python scripts/dossier.py [--release NAME]

Run in the project's folder. The zip is dossiers/<release>.zip, and its README.md names each file with its SHA-256. The
model and the data are not in it. The same files of the project give the same bytes.
"""

import hashlib
import io
import logging
import zipfile
from datetime import datetime
from pathlib import Path
from typing import cast

import yaml

from signoff.base import command_line
from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError
from signoff.base.files import WORKFLOW, read_bytes, replacing, sha256
from signoff.config.settings import config_argument, read_config
from signoff.release.approval import statement
from signoff.release.facts import SIGN_OFF_NAME, ReleaseFacts, read_facts
from signoff.release.live_record import LIVE_RECORD
from signoff.release.store import Releases, release_argument
from signoff.report.data_sheet import data_sheet
from signoff.report.dossier import Entry, is_model, readme
from signoff.report.standard_forms import standard_forms
from signoff.tables.records import Contract, ValidationReport

_FOLDER = Path("dossiers")
_SIGNED, _MADE, _NOW = "signed with the release", "made from the signed files", "the project, when the zip was made"
_ABOUT = {
    SIGN_OFF_NAME: "who decided what, with signatures, and the SHA-256 of all that was reviewed",
    "final_report.md": "the report that the reviewer read",
    "final_report.html": "the same as a page",
    "evaluation_metrics.json": "scores of the model, the release before and the baselines",
    "diagnostics.json": "errors by slice and over time, alarms",
    "validation_report.json": "the data beside their contract, and statistics of each column",
    "model.json": "features, parameters, versions, digest of the model",
}


def dossier(rule: ReleaseConfig, name: str | None = None) -> Path:
    """Write the dossier of a release; return its path.

    Parameters
    ----------
    rule
        The section `release` of the config.
    name
        A release; by default the current one.

    Raises
    ------
    TaskError
        The release does not verify, or is not approved under `rule`. Nothing is written then.
    """
    releases = Releases()
    facts = read_facts(name or releases.current(), rule, releases)
    entries = {**_of_release(facts, releases), **_made(facts, releases), **_of_project(rule, releases)}
    entries["README.md"] = Entry(readme(facts, entries).encode(), "this file", _MADE)
    path = _FOLDER / f"{facts.name}.zip"
    _FOLDER.mkdir(exist_ok=True)
    with replacing(path) as new:
        new.write_bytes(_zipped(entries, facts))
    return path


def _of_release(facts: ReleaseFacts, releases: Releases) -> dict[str, Entry]:
    """Return the signed files of the release, but for its model. Raises TaskError if one is not what was signed."""
    found = {}
    for file in facts.files:
        if file == SIGN_OFF_NAME:
            content = read_bytes(releases.releases / facts.name / file)
            if hashlib.sha256(content).hexdigest() != facts.files[file]:
                raise TaskError(f"{releases.releases / facts.name / file} was altered. Restore it from a backup.")
        elif is_model(file):
            continue
        else:
            content = releases.content(facts.name, facts.document, file)
        kind = {"figures": "a figure of the report", "config": "config, contract or code"}.get(Path(file).parent.name)
        found[f"release/{file}"] = Entry(content, _ABOUT.get(file) or kind or "a reviewed file", _SIGNED)
    return found


def _made(facts: ReleaseFacts, releases: Releases) -> dict[str, Entry]:
    """Return the documents that are made from the signed files, and what each reviewer has signed."""
    validation = cast(ValidationReport, releases.json(facts.name, facts.document, "validation_report.json"))
    forms = standard_forms(facts)
    texts = {
        "data-sheet.md": (
            data_sheet(facts, validation, _contract(facts, releases)),
            "statistics and contract of the data",
        ),
        "model-card.md": (forms.model_card, "use, scores, limitations and approval of the model"),
        "bom.cdx.json": (
            forms.bom,
            "versions: a CycloneDX 1.6 bill of materials, with the packages that the workflow pins now",
        ),
        "statement.intoto.json": (forms.statement, "an in-toto Statement of the release"),
    }
    found = {file: Entry(text.encode(), about, _MADE) for file, (text, about) in texts.items()}
    for number, decision in enumerate(facts.document["decisions"], 1):
        if decision["signature"]:
            content, who = statement(facts.document, decision), decision["reviewer"]
            found[f"signatures/{number}.signed"] = Entry(content, f"what {who} has signed", _SIGNED)
            found[f"signatures/{number}.signed.sig"] = Entry(
                decision["signature"].encode(), f"the signature of {who}", _SIGNED
            )
    return found


def _of_project(rule: ReleaseConfig, releases: Releases) -> dict[str, Entry]:
    """Return the files of the project and the workflow that are not part of a release."""
    places = {
        "history.jsonl": (
            releases.history_file,
            "all deploys, rollbacks and prunings, each line chained to the one before",
        ),
        "history.head": (releases.head_file, "the SHA-256 of its last line"),
        "live.json": (LIVE_RECORD, "what was predicted beside what happened, and its alarms"),
        "live.csv": (LIVE_RECORD.with_suffix(".csv"), "the same, one line for each release and week"),
        "LICENCES.md": (WORKFLOW / "LICENCES.md", "the licences of all packages"),
    }
    if rule.allowed_signers:
        places["allowed_signers"] = (Path(rule.allowed_signers), "the public keys that may sign")
    return {name: Entry(read_bytes(path), about, _NOW) for name, (path, about) in places.items() if path.is_file()}


def _contract(facts: ReleaseFacts, releases: Releases) -> Contract | None:
    """Return the data contract of the release; None if it has none."""
    for file in facts.files:
        if file.startswith("config/") and file.endswith((".yaml", ".yml")):
            content = yaml.safe_load(releases.content(facts.name, facts.document, file))
            if isinstance(content, dict) and isinstance(content.get("columns"), dict):
                return cast(Contract, content)
    return None


def _zipped(entries: dict[str, Entry], facts: ReleaseFacts) -> bytes:
    """Return the bytes of the zip. Each file has the time of the deploy, so that the same files give the same bytes."""
    at = datetime.fromisoformat(facts.deploy["at"])
    time = at.year, at.month, at.day, at.hour, at.minute, at.second
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name in sorted(entries):
            about = zipfile.ZipInfo(f"{facts.name}/{name}", time)
            about.external_attr, about.create_system = 0o644 << 16, 3
            file.writestr(about, entries[name].content, zipfile.ZIP_DEFLATED, compresslevel=9)
    return packed.getvalue()


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    release_argument(parser)
    config_argument(parser)
    args = parser.parse_args(argv)
    with command_line.logged("dossier", args, args.release or "the current release"):
        config, _ = read_config(args.config)
        path = dossier(config.release, args.release)
        logging.info("[dossier] completed: %s, SHA-256 %s", path, sha256(path))


if __name__ == "__main__":
    main()
