"""Facts about a verified release: the input of its model card, bill of materials and statement."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError
from signoff.release.approval import released_as
from signoff.release.form import Move, SignOff
from signoff.release.store import Releases, evaluated, predicts_with

SIGN_OFF_NAME = "sign_off.json"


@dataclass(frozen=True)
class ReleaseFacts:
    """A release as it was signed.

    Each part is parsed from the bytes that have the signed digest. `diagnostics` is empty for a release of a version
    that wrote none; `about` is the section `report` of the release's config.
    """

    name: str
    document: SignOff
    deploy: Move
    metrics: dict[str, Any]
    model: dict[str, Any]
    diagnostics: dict[str, Any]
    about: dict[str, Any]

    @property
    def files(self) -> dict[str, str]:
        """The SHA-256 of each file of the release, by its name there, the sign-off included."""
        places = {released_as(path): digest for path, digest in self.document["files"].items()}
        files = {place: digest for place, digest in places.items() if place}
        return dict(sorted({**files, SIGN_OFF_NAME: self.deploy["sign_off_sha256"]}.items()))

    @property
    def measured_on(self) -> str | None:
        """Which file the scores are of, in words, if the release predicts with another one."""
        served, judged = predicts_with(self.files), evaluated(self.files)
        if served == judged:
            return None
        return (
            f"The scores and the prediction intervals are those of {judged}, which was trained without the held-out "
            f"rows. The release predicts with {served}, the same recipe trained on all rows."
        )

    @property
    def data(self) -> dict[str, str]:
        """The SHA-256 of the reviewed data, which are not part of the release, by path in the project."""
        files = self.document["files"].items()
        return dict(sorted((path, digest) for path, digest in files if released_as(path) is None))

    @property
    def predecessor(self) -> str | None:
        """The release that the model was compared with."""
        document: Mapping[str, Any] = self.document
        found: str | None = document.get("predecessor", document.get("compared_with"))
        return found

    @property
    def alarms(self) -> list[dict[str, Any]]:
        """The alarms that the reviewer was shown."""
        return list(self.diagnostics.get("alarms", []))


def read_facts(name: str | None, rule: ReleaseConfig, releases: Releases | None = None) -> ReleaseFacts:
    """Return the facts of a release that verifies and is approved.

    Parameters
    ----------
    name
        The release; None if nothing is deployed.
    rule
        The section `release` of the config.
    releases
        Where the releases are: by default in the current folder.

    Raises
    ------
    TaskError
        Nothing is deployed, or the release does not verify or is not approved under `rule`.
    """
    store = releases or Releases()
    folder, document = store.approved(name, rule)
    name, places = folder.name, {released_as(path) for path in document["files"]}
    about: dict[str, Any] = {}
    # In their order: a later config precedes an earlier one.
    for place in map(released_as, document["files"]):
        if place and place.startswith("config/") and place.endswith((".yaml", ".yml")):
            about |= _about(store.content(name, document, place), folder / place)
    deploys = (each for each in store.history() if each["action"] == "deploy" and each["release"] == name)
    return ReleaseFacts(
        name=name,
        document=document,
        deploy=next(deploys),
        metrics=store.json(name, document, "evaluation_metrics.json"),
        model=store.json(name, document, "model.json"),
        diagnostics=store.json(name, document, "diagnostics.json") if "diagnostics.json" in places else {},
        about=about,
    )


def _about(content: bytes, path: Path) -> dict[str, Any]:
    """Return the section `report` of a config's bytes; a contract has none. Raises TaskError if it is not YAML."""
    try:
        config = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TaskError(f"{path} is not YAML in UTF-8. Restore it from a backup.") from error
    section = config.get("report") if isinstance(config, dict) else None
    return dict(section) if isinstance(section, dict) else {}
