"""The deployed model beside the new one: whether it can be scored on the same rows, and its predictions."""

from pathlib import Path
from types import ModuleType

import pandas as pd

from signoff.base.errors import TaskError, explain
from signoff.base.files import read_json
from signoff.features.custom_features import infinite_values
from signoff.features.recipe import features_again
from signoff.model.scoring import predict
from signoff.release.store import released_code, released_model
from signoff.tables.table import read_table


class ChampionError(Exception):
    """The champion cannot predict; the new model can be judged without it."""


def open_champion(name: str, columns: list[str], challenger: dict, rule: dict) -> dict:
    """Return a release with its model and metadata, or the problem that keeps it from being scored on such columns."""
    try:
        model, metadata = released_model(name, rule)
        if problem := _differences(metadata, challenger, columns):
            raise TaskError(problem)
    except Exception as error:
        return {"release": name, "problem": explain(error)}
    return {"release": name, "model": model, "metadata": metadata}


def score_champion(
    name: str, table: pd.DataFrame, challenger: dict, rule: dict, threads: int, cleaned: Path | None = None
) -> dict:
    """Return the deployed model's release and its predictions, or the problem that keeps it from being scored.

    Parameters
    ----------
    name
        The current release.
    table
        The features of the n rows that are held out.
    challenger
        The metadata of the model that was trained on these features.
    rule
        allowed_signers and required_approvals: what a release must carry before its model is loaded.
    cleaned
        The cleaned rows that the features were made of. Where they are given, the champion's own features are made of
        them, by its own copy of the code, if those in `table` are made in another way.
    """
    try:
        model, champion = released_model(name, rule)
        problem = _differences(champion, challenger, list(table))
        if cleaned and problem:
            features = _champion_features(cleaned, champion, released_code(name, champion))
        elif problem:
            raise TaskError(problem)
        else:
            features = table[list(champion["features"])]
        predictions = predict(model, features.loc[table.index], threads)
    except Exception as error:
        # Whatever is wrong with what was deployed, the new model can be judged without it.
        return {"release": name, "problem": explain(error)}
    return {"release": name, "predictions": predictions, **note_on(champion, challenger)}


def _differences(champion: dict, challenger: dict, columns: list[str]) -> str | None:
    """Return why the features of a challenger, in a table of such columns, are not the champion's; None: they are.

    Raises
    ------
    TaskError
        It predicts something else.
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
    return f"these of its columns are made in another way now: {', '.join(other)}." if other else None


def _made_of(metadata: dict, feature: str) -> object:
    """Return all that decides what a feature is, by the metadata of a model."""
    if metadata.get("custom"):
        code = {key: value for key, value in metadata["custom"].items() if key != "file"}
        return code, metadata["recipe"]
    return metadata["recipe"][feature]


def note_on(champion: dict, challenger: dict) -> dict:
    """Return what is to be noted where the champion was trained on some of the rows that are held out now."""
    if champion["split"].get("last_train", "") <= challenger["split"].get("last_train", "~"):
        return {}
    return {"note": "it was trained on some of the rows that are held out now"}


def _champion_features(cleaned: Path, champion: dict, code: ModuleType | None) -> pd.DataFrame:
    """Return the champion's features of the cleaned rows. Raises TaskError where these are not what it was made of."""
    kinds = read_json(cleaned.with_suffix(".json"))["kinds"]
    for name, how in champion["columns"].items():
        if kinds.get(name) != how["kind"]:
            raise TaskError(
                f"its features need the column {name!r} ({how['kind']}), which is {kinds.get(name, 'gone')}."
            )
    features = features_again(read_table(cleaned, kinds).frame, champion, code)
    for name, infinite in infinite_values(features).items():
        if infinite.any():
            raise TaskError(f"its feature {name!r} is infinite in {int(infinite.sum()):,} rows.")
    return features
