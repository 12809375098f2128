"""Score a model on a file of features, some rows at a time; and the column that stands in for a prediction."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from signoff.base.errors import TaskError, explain, nearest
from signoff.model.scoring import metrics, predict, total
from signoff.review.champion import ChampionError, note_on
from signoff.tables.batches import Columns, chosen, tables
from signoff.tables.spill import Spill
from signoff.tables.writer import write_frames


def score_file(
    model: object,
    metadata: dict,
    path: Path,
    columns: Columns,
    output: Path,
    baseline: str | None,
    champion: dict | None,
    threads: int,
    judge_scores: Callable[[dict, dict, dict | None], dict],
) -> dict:
    """Score a model on the rows of a file, some at a time, as `evaluate_model` does on all of them at once.

    Parameters
    ----------
    model, metadata
        The model, and what `train_model` says of it; its score on the training part is taken from there.
    path, columns
        The features, and what `stream.scan` finds of them.
    output
        Where the held-out rows go, with their predictions.
    baseline
        The column that stands in for a prediction, if any.
    champion
        The deployed model's release, model and metadata, or a problem; None where there is none.
    threads
        How many cores to use, at most.
    judge_scores
        What makes the result, given the scores of the model, of each baseline, and of the champion.
    """
    target, time, features = metadata["target"], metadata["time_column"], list(metadata["features"])
    if baseline:
        _check_baseline(baseline, metadata["features"])
    needed = list(dict.fromkeys([target, "split", *([baseline] if baseline else [])]))
    name = baseline_name(baseline)
    train = {each: Spill(output.parent, "float64") for each in ("actual", *([name] if baseline else []))}
    for rows in tables(path, columns, needed):
        if baseline:
            values = baseline_column(rows.frame, baseline, metadata["features"])
        seen = rows.frame["split"] == "train"
        train["actual"].add(rows.frame[target][seen])
        if baseline:
            train[name].add(values[seen])
    mean = total(lambda part: train["actual"][part], len(train["actual"])) / len(train["actual"])
    found, test = {}, {}

    def held_out() -> Iterator[pd.DataFrame]:
        test.clear()
        for frame in chosen(path, columns, "split", lambda split: split == "test"):
            table = pd.DataFrame({"actual": frame[target]})
            if time:
                # Under a name of its own: the user's may be one of the others.
                table.insert(0, "time", frame[time])
            table["predicted"] = predict(model, frame[features], threads) if len(frame) else pd.Series(dtype="float64")
            table["baseline_mean"] = mean
            if baseline:
                table[f"baseline_{name}"] = frame[baseline]
            if champion and "model" in champion:
                theirs = frame[list(champion["metadata"]["features"])]
                try:
                    table["champion"] = (
                        predict(champion["model"], theirs, threads) if len(frame) else table["predicted"]
                    )
                except Exception as error:
                    raise ChampionError(explain(error)) from error
            for each in table.columns.drop(["time", "baseline_mean"], errors="ignore"):
                test.setdefault(each, Spill(output.parent, "float64")).add(table[each])
            yield table
        actual = test["actual"]
        scores = {"test": metrics(actual, test["predicted"]), "train": metadata["training_score"]}
        baselines = {"mean": {"test": metrics(actual, mean), "train": metrics(train["actual"], mean)}}
        if baseline:
            both = {"test": (actual, test[f"baseline_{name}"]), "train": (train["actual"], train[name])}
            baselines[name] = {part: metrics(*each) for part, each in both.items()}
        theirs = champion
        if champion and "model" in champion:
            theirs = {"release": champion["release"], **note_on(champion["metadata"], metadata)}
            theirs["test"] = metrics(actual, test["champion"])
        found.update(judge_scores(scores, baselines, theirs))

    write_frames(held_out, output)
    return found


def _check_baseline(column: str, features: dict[str, str]) -> None:
    """Raise TaskError where a column that is to stand in for a prediction is no numeric feature."""
    numbers = [name for name, kind in features.items() if kind == "number"]
    if column not in numbers:
        raise TaskError(f"evaluation.baseline: {column!r} is no numeric feature; {nearest(column, numbers)}")


def baseline_name(column: str | None) -> str | None:
    """Return what the metrics call a column that stands in for a prediction: its own name, if no predictor has it."""
    return f"column {column}" if column in ("model", "mean", "champion") else column


def baseline_column(table: pd.DataFrame, column: str, features: dict[str, str]) -> pd.Series:
    """Return the feature that stands in for a prediction. Raises TaskError where it is no number, or missing."""
    _check_baseline(column, features)
    if table[column].isna().any():
        raise TaskError(f"evaluation.baseline: {column!r} is missing in some rows, so it predicts nothing there.")
    return table[column]
