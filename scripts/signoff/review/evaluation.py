"""Predict the rows of a file of features in batches, collect what the metrics need, and judge it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd

from signoff.base.errors import TaskError, explain, nearest
from signoff.model.records import Metadata, Scores
from signoff.model.scoring import LOW_AND_HIGH, interval_ends, metrics, predict, total
from signoff.model.thresholds import DeployedScores, Threshold, judge
from signoff.review.champion import Champion, ChampionError
from signoff.tables.batches import Columns, chosen, tables
from signoff.tables.spill import Spill
from signoff.tables.writer import write_frames

_PARTS = ("test", "train")
# The values of the rows, by part of the split; a single value applies to all rows.
_Parts = dict[str, pd.Series | Spill | float]


class Evaluation(TypedDict):
    """The metrics of every predictor by part of the split, the thresholds, and the verdict."""

    model: dict[str, Scores]
    baselines: dict[str, dict[str, Scores]]
    champion: DeployedScores | None
    thresholds: list[Threshold]
    verdict: str


@dataclass(frozen=True)
class Gate:
    """What the model is judged by.

    `thresholds` are set by names of `thresholds._THRESHOLDS`, and `limits` are the min, max or both of any metric.
    `own_metrics` returns further metrics, given the predictor's name, its actual and its predicted values; it needs
    all rows at once.
    """

    thresholds: Mapping[str, float]
    limits: Mapping[str, Mapping[str, float]]
    own_metrics: Callable[[str, pd.Series, pd.Series], Scores] | None = None


@dataclass(frozen=True)
class FeatureRows:
    """The rows of a file of features in batches. A `frame` with all of its rows is one batch."""

    path: Path
    columns: Columns
    frame: pd.DataFrame | None = None

    def batches(self, names: list[str]) -> Iterator[pd.DataFrame]:
        """Yield some columns of all rows."""
        if self.frame is not None:
            yield self.frame[names]
        else:
            yield from (rows.frame for rows in tables(self.path, self.columns, names))

    def held_out(self) -> Iterator[pd.DataFrame]:
        """Yield all columns of the test part."""
        if self.frame is not None:
            yield self.frame[self.frame["split"] == "test"]
        else:
            yield from chosen(self.path, self.columns, "split", lambda split: split == "test")


class _Kept:
    """The values of a column: those of several batches in a file in `folder`, or those of one batch in memory."""

    def __init__(self, folder: Path | None):
        self.values: pd.Series | Spill = Spill(folder, "float64") if folder else pd.Series(dtype="float64")

    def add(self, values: pd.Series) -> None:
        if isinstance(self.values, Spill):
            self.values.add(values.to_numpy("float64"))
        else:
            self.values = values.astype("float64")


def by_part(values: pd.Series, split: pd.Series) -> _Parts:
    """Return the values of a table by part of the split."""
    return {part: values[split[values.index] == part] for part in _PARTS}


def evaluate_predictions(
    predictions: dict[str, _Parts],
    actual: _Parts,
    gate: Gate,
    champion: DeployedScores | None = None,
    training_score: Scores | None = None,
) -> Evaluation:
    """Return the metrics of every predictor and the verdict on the model's.

    Parameters
    ----------
    predictions
        The predictions of "model", of each baseline and, if `champion` could be scored, of "champion", in the target's
        unit. The champion needs only those of the test part, and so does the model if `training_score` is given.
    actual
        The true values.
    gate
        What the model is judged by.
    champion
        The deployed model: its release, with a note or a problem.
    training_score
        The model's metrics on the training part, if they are known.

    Raises
    ------
    TaskError
        A limit is for an unknown metric.
    """

    def score(name: str, part: str) -> Scores:
        known, predicted = actual[part], predictions[name][part]
        assert not isinstance(known, float), "the true values are one per row"
        scores = metrics(known, predicted)
        if gate.own_metrics is None:
            return scores
        assert isinstance(known, pd.Series) and not isinstance(predicted, Spill), "custom metrics need all rows at once"
        values = predicted if isinstance(predicted, pd.Series) else pd.Series(predicted, known.index)
        return scores | gate.own_metrics(name, known, values)

    model = {"test": score("model", "test"), "train": training_score or score("model", "train")}
    others = [name for name in predictions if name not in ("model", "champion")]
    baselines = {name: {part: score(name, part) for part in _PARTS} for name in others}
    if champion and "champion" in predictions:
        champion = {**champion, "test": score("champion", "test")}
    found = judge(model["test"], champion, gate.thresholds, gate.limits)
    verdict = "passed" if all(each["passed"] for each in found) else "failed"
    return {"model": model, "baselines": baselines, "champion": champion, "thresholds": found, "verdict": verdict}


def evaluate_rows(
    model: Any,
    metadata: Metadata,
    rows: FeatureRows,
    output: Path,
    gate: Gate,
    baseline: str | None = None,
    champion: Champion | DeployedScores | None = None,
    threads: int = 1,
) -> Evaluation:
    """Evaluate a model on a file of features, and write its held-out rows with all predictions to `output`.

    `metadata` is the JSON beside the model; its score on the training part is taken from there, unless `gate` has
    metrics that it lacks. A `champion` that cannot be scored is a release with a problem.

    Raises ChampionError if the champion cannot predict these rows.
    """
    features = list(metadata["features"])
    if baseline:
        _check_baseline(baseline, metadata["features"])
    name, folder = _baseline_name(baseline), output.parent if rows.frame is None else None
    train = _training_part(metadata, rows, folder, baseline)
    known = train["actual"].values
    numbers = known if isinstance(known, Spill) else known.to_numpy("float64")
    mean = float(total(lambda part: numbers[part], len(numbers)) / len(numbers))
    # Custom metrics need the model's predictions of the training part, too.
    needed = rows.frame if gate.own_metrics else None
    whole = None if needed is None else predict(model, needed[features], threads)
    test: dict[str, _Kept] = {}
    found: list[Evaluation] = []

    def judged() -> Evaluation:
        actual: _Parts = {"test": test["actual"].values, "train": known}
        predictions = _predictions_by_part(test, train, mean, name)
        if whole is not None and isinstance(known, pd.Series):
            predictions["model"]["train"] = whole[known.index]
        deployed = champion.record() if isinstance(champion, Champion) else champion
        score = None if gate.own_metrics else metadata["training_score"]
        return evaluate_predictions(predictions, actual, gate, deployed, score)

    def held_out() -> Iterator[pd.DataFrame]:
        test.clear()
        for frame in rows.held_out():
            predicted = whole[frame.index] if whole is not None else _predict_all(model, frame[features], threads)
            table = _table(frame, metadata, predicted, mean, baseline)
            ends = interval_ends(model, frame[features], predicted, threads)
            if ends:
                table[list(LOW_AND_HIGH)] = pd.concat(ends, axis=1)
            if isinstance(champion, Champion):
                table["champion"] = _champion_predictions(champion, frame, threads)
            for each in table.columns.drop(["time", "baseline_mean", *LOW_AND_HIGH], errors="ignore"):
                test.setdefault(each, _Kept(folder)).add(table[each])
            yield table
        # Before the file is moved to its place.
        found[:] = [judged()]

    write_frames(held_out, output)
    return found[0]


def _predictions_by_part(
    test: Mapping[str, _Kept], train: Mapping[str, _Kept], mean: float, name: str | None
) -> dict[str, _Parts]:
    """Return the predictions of each predictor by part; `name` is the name of the baseline column."""
    found: dict[str, _Parts] = {"model": {"test": test["predicted"].values}, "mean": {"test": mean, "train": mean}}
    if name:
        found[name] = {"test": test[f"baseline_{name}"].values, "train": train[name].values}
    if "champion" in test:
        found["champion"] = {"test": test["champion"].values}
    return found


def _training_part(
    metadata: Metadata, rows: FeatureRows, folder: Path | None, baseline: str | None
) -> dict[str, _Kept]:
    """Return the true values of the training part as "actual", and those of the baseline column by its name."""
    target, name = metadata["target"], _baseline_name(baseline)
    train = {each: _Kept(folder) for each in ("actual", *([name] if name else []))}
    for frame in rows.batches(list(dict.fromkeys([target, "split", *([baseline] if baseline else [])]))):
        seen = frame["split"] == "train"
        train["actual"].add(frame[target][seen])
        if baseline and name:
            train[name].add(baseline_column(frame, baseline, metadata["features"])[seen])
    return train


def _table(
    frame: pd.DataFrame, metadata: Metadata, predicted: pd.Series, mean: float, baseline: str | None
) -> pd.DataFrame:
    """Return held-out rows as they are written, without the champion's predictions."""
    table = pd.DataFrame({"actual": frame[metadata["target"]]})
    if metadata["time_column"]:
        # It gets a new name, because another column may already have this name.
        table.insert(0, "time", frame[metadata["time_column"]])
    table["predicted"] = predicted
    table["baseline_mean"] = mean
    if baseline:
        table[f"baseline_{_baseline_name(baseline)}"] = frame[baseline]
    return table


def _predict_all(model: Any, features: pd.DataFrame, threads: int) -> pd.Series:
    """Return the predictions of a batch, which may be empty."""
    return predict(model, features, threads) if len(features) else pd.Series(dtype="float64")


def _champion_predictions(champion: Champion, frame: pd.DataFrame, threads: int) -> pd.Series:
    """Return the champion's predictions of a batch. Raises ChampionError if it fails in any way."""
    try:
        return _predict_all(champion.model, champion.features_of(frame), threads)
    except Exception as error:
        raise ChampionError(explain(error)) from error


def _check_baseline(column: str, features: Mapping[str, str]) -> None:
    """Raise TaskError if a column that serves as a prediction is not a numeric feature."""
    numbers = [name for name, kind in features.items() if kind == "number"]
    if column not in numbers:
        raise TaskError(f"evaluation.baseline: {column!r} is not a numeric feature; {nearest(column, numbers)}")


def _baseline_name(column: str | None) -> str | None:
    """Return the name of a baseline column among the predictors: its own, unless a predictor has that name."""
    return f"column {column}" if column in ("model", "mean", "champion") else column


def baseline_column(table: pd.DataFrame, column: str, features: Mapping[str, str]) -> pd.Series:
    """Return the feature that serves as a prediction. Raises TaskError if it is not numeric or has missing values."""
    _check_baseline(column, features)
    if table[column].isna().any():
        raise TaskError(f"evaluation.baseline: {column!r} is missing in some rows, so it cannot serve as a prediction.")
    return table[column]
