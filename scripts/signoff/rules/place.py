"""Where a project's files are: in the working folder, or for one of many models in its folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signoff.base.config import ReleaseConfig
from signoff.release.live_record import state_of_predictions
from signoff.release.store import Releases
from signoff.rules.flags import words
from signoff.rules.steps import CHAMPION, DIAGNOSED, LIVE, MODEL, PREDICTIONS


@dataclass(frozen=True)
class Place:
    """The folder of the project that the rules are read for.

    Parameters
    ----------
    folder
        "models/{model}/" for one of many models; empty for the working folder.
    names
        The pattern of the names of the models.
    plan
        For models of a column: returns what `split_source` has recorded, once it has run.
    """

    folder: str = ""
    names: str = ".+"
    plan: Callable[[], dict[str, Any]] | None = None

    def of(self, wildcards: Any) -> str:
        """Return the folder, with a slash at its end; empty for the working folder."""
        return self.folder.format(model=wildcards.model) if self.folder else ""

    def champion(self, wildcards: Any) -> str | None:
        """Return the name of the current release, None before the first one."""
        return Releases(Path(self.of(wildcards), "deployed")).current()

    def champion_flags(self, release: ReleaseConfig) -> Callable[[Any], str]:
        """Return the flags with which the current release is scored too: none before the first one."""

        def flags(wildcards: Any) -> str:
            if self.folder and wildcards.model == MODEL:
                return CHAMPION
            name = self.champion(wildcards)
            deployed = f"{self.of(wildcards)}deployed" if self.folder else None
            return (
                words(
                    champion=name,
                    deployed=deployed,
                    allowed_signers=release.allowed_signers,
                    required_approvals=release.required_approvals,
                )
                if name
                else ""
            )

        return flags

    def released(self, name: str) -> Callable[[Any], str | list[str]]:
        """Return a file of the current release as an input; an empty list without a release or without this file."""

        def path(wildcards: Any) -> str | list[str]:
            found = self._released(wildcards, name)
            return _local(found) if found else []

        return path

    def live(self, wildcards: Any) -> str | list[str]:
        """Return the live record as an input; an empty list before the first release."""
        path = f"{self.of(wildcards)}reports/live.json"
        # Rules of one of many models get its folder as a prefix, but not for local paths.
        return (_local(path) if self.folder else path) if self.champion(wildcards) else []

    def live_flags(self, wildcards: Any) -> str:
        """Return the flag with the live record: empty before the first release."""
        if self.folder and wildcards.model == MODEL:
            return LIVE
        return words(live=f"{self.of(wildcards)}reports/live.json" if self.champion(wildcards) else None)

    def predictions(self, wildcards: Any) -> str:
        """Return a digest of the state of all files of predictions."""
        if self.folder and wildcards.model == MODEL:
            return PREDICTIONS
        return state_of_predictions(Path(self.of(wildcards), "predictions"))

    def diagnosed_flags(self, wildcards: Any) -> str:
        """Return the flag with the diagnostics of the current release: empty if it has none, as old releases do."""
        if self.folder and wildcards.model == MODEL:
            return DIAGNOSED
        return words(release=self._released(wildcards, "diagnostics.json"))

    def pieces(self, wildcards: Any) -> list[str]:
        """Return the files in which `split_source` has put a model's rows: none unless models are of a column."""
        if not self.plan or wildcards.model == MODEL:
            return []
        found = self.plan()["parts"][wildcards.model]["pieces"]
        return [_local(f"data/source/{wildcards.model}/{piece}") for piece in found]

    def _released(self, wildcards: Any, name: str) -> str | None:
        """Return the path of a file of the current release; None without a release or without this file."""
        champion = self.champion(wildcards)
        path = f"{self.of(wildcards)}deployed/releases/{champion}/{name}"
        return path if champion and Path(path).is_file() else None


def _local(path: str) -> str:
    """Mark a path that stays on disk even if all other files are in an object store."""
    # A job of many models uses this module, too, and would import all of Snakemake.
    from snakemake.io import local

    marked: str = local(path)
    return marked
