"""The deployed model as a predictor: whether it can be scored on the same rows, and its features for them."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pandas as pd

from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError, explain
from signoff.base.files import read_json
from signoff.features.custom_features import infinite_values
from signoff.features.recipe import features_again
from signoff.model.records import Metadata
from signoff.model.thresholds import DeployedScores
from signoff.release.approval import released_as
from signoff.release.form import SignOff
from signoff.release.store import Releases, evaluated, predicts_with
from signoff.tables.table import read_table

_DEPLOYED = Releases()
_TWIN = "it predicts with a model that was trained on rows that are held out now, so its evaluated twin is scored"


class ChampionError(Exception):
    """The champion cannot predict; the new model can be judged without it."""


@dataclass(frozen=True)
class Champion:
    """A release that can be scored on the held-out rows, with the note of `_note_on`.

    `own_features` are its features for all rows, if they are not computed like the challenger's.
    """

    release: str
    model: Any
    metadata: Metadata
    note: str | None
    own_features: pd.DataFrame | None = None

    def features_of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return its features for some of the challenger's rows."""
        if self.own_features is not None:
            return self.own_features.loc[rows.index]
        return rows[list(self.metadata["features"])]

    def record(self) -> DeployedScores:
        """Return its record in the evaluation, without scores."""
        found: DeployedScores = {"release": self.release}
        if self.note:
            found["note"] = self.note
        return found


def open_champion(
    name: str,
    columns: list[str],
    challenger: Metadata,
    rule: ReleaseConfig,
    cleaned: Path | None = None,
    releases: Releases = _DEPLOYED,
) -> Champion | DeployedScores:
    """Return the deployed model, or the problem that prevents scoring it.

    Parameters
    ----------
    name
        The current release.
    columns
        The columns of the challenger's features.
    challenger
        The metadata of the model that was trained on these features.
    rule
        allowed_signers and required_approvals: what a release must have before its model is loaded.
    cleaned
        The cleaned rows that the features were computed from. If they are given, and the champion's features are
        computed differently, its own copy of the code computes them.
    releases
        Where the release is.
    """
    try:
        document = releases.approved(name, rule)[1]
        # The model that serves this release may have seen the rows that are held out now.
        then = cast(Metadata, releases.json(name, document, "model.json"))
        unseen = _has_refit(document) and not _saw_held_out(then, challenger)
        model, champion = releases.model_of(name, document, refit=unseen)
        problem = _differences(champion, challenger, columns)
        features = None
        if cleaned and problem:
            features = _champion_features(cleaned, champion, releases.code(name, champion))
        elif problem:
            raise TaskError(problem)
    # Any fault of the deployed model must not stop the new one from being judged.
    except Exception as error:
        return {"release": name, "problem": explain(error)}
    notes = [_TWIN] if _has_refit(document) and not unseen else []
    notes += [note] if (note := _note_on(champion, challenger)) else []
    return Champion(name, model, champion, "; ".join(notes) or None, features)


def _has_refit(document: SignOff) -> bool:
    """Return whether a release predicts with a model that was trained again on all rows."""
    names = [released_as(path) for path in document["files"]]
    return predicts_with(names) != evaluated(names)


def _saw_held_out(champion: Metadata, challenger: Metadata) -> bool:
    """Return whether a model that was trained on all rows of the champion may have seen rows held out now."""
    last, begin = champion["split"].get("last_test"), challenger["split"].get("last_train")
    by_time = champion["split"]["by"] == challenger["split"]["by"] == "time"
    return not (by_time and last and begin and last <= begin)


def _differences(champion: Metadata, challenger: Metadata, columns: list[str]) -> str | None:
    """Return why a challenger's features, with these columns, differ from the champion's; None if they do not.

    Raises
    ------
    TaskError
        The champion predicts another target.
    """
    if champion["target"] != challenger["target"]:
        raise TaskError(f"it predicts {champion['target']!r}, and not {challenger['target']!r}.")
    gone = [each for each in champion["features"] if each not in columns or each not in challenger["features"]]
    if gone:
        return f"its columns are gone from the features: {', '.join(gone)}."
    other = [
        each
        for each in champion["features"]
        if _made_of(champion, each) != _made_of(challenger, each)
        or champion["features"][each] != challenger["features"][each]
    ]
    return f"these of its columns are computed differently now: {', '.join(other)}." if other else None


def _made_of(metadata: Metadata, feature: str) -> object:
    """Return everything that determines a feature, from the metadata of a model."""
    if custom := metadata.get("custom"):
        code = {key: value for key, value in custom.items() if key != "file"}
        return code, metadata["recipe"]
    return metadata["recipe"][feature]


def _note_on(champion: Metadata, challenger: Metadata) -> str | None:
    """Return a note if the champion was trained on some of the rows that are held out now."""
    if champion["split"].get("last_train", "") <= challenger["split"].get("last_train", "~"):
        return None
    return "it was trained on some of the rows that are held out now"


def _champion_features(cleaned: Path, champion: Any, code: ModuleType | None) -> pd.DataFrame:
    """Return the champion's features of the cleaned rows. Raises TaskError if these lack a column that it needs."""
    kinds = read_json(cleaned.with_suffix(".json"))["kinds"]
    for name, how in {**champion["columns"], **champion.get("history", {}).get("columns", {})}.items():
        if kinds.get(name) != how["kind"]:
            raise TaskError(
                f"its features need the column {name!r} ({how['kind']}), which is {kinds.get(name, 'gone')}."
            )
    features = features_again(read_table(cleaned, kinds).frame, champion, code).frame
    for name, infinite in infinite_values(features).items():
        if infinite.any():
            raise TaskError(f"its feature {name!r} is infinite in {int(infinite.sum()):,} rows.")
    return features
