"""Train on the weeks before one week, and score that week: one step of the backtest.

    python scripts/backtest_week.py --train data/weeks/2013-W0[1-8].parquet --score data/weeks/2013-W09.parquet \\
        --output reports/backtest/2013-W09.json

The model is trained as `train_model` does it, and candidates are compared in the same way. It sees only the files given
as --train.
"""

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import write_json
from signoff.base.numbers import decimals
from signoff.model.model_file import pickled
from signoff.model.records import Weighting
from signoff.model.regressor import Learning, TrainingRows, add_model
from signoff.model.scoring import metrics, predict
from signoff.model.training import choose, train_model
from signoff.model.weights import add_weight, given_weighting, weights_of
from signoff.review.evaluation import baseline_column

# A column that no feature has the name of: features cannot be called `split`.
_WEEK = "split"


def backtest_week(
    train: pd.DataFrame,
    weeks: dict[str, pd.DataFrame],
    kinds: dict[str, str],
    target: str,
    learning: Learning,
    baseline: str | None = None,
    weighting: Weighting | None = None,
) -> dict[str, Any]:
    """Return the digest of the model trained on `train`, and the scores of it and of the baselines on each week.

    Parameters
    ----------
    train
        The rows to train on, in the order of their weeks, with the features that `kinds` names, the target, the column
        of weights if there is one, and, for a half-life, WEEK (when each row's week begins).
    weeks
        By week the rows to score, with the same columns.
    kinds
        "number", "category" or "text" for each feature.
    learning
        The estimator or candidates. Candidates are compared on the training rows.
    baseline
        A numeric feature to use as a baseline prediction, in addition to the mean of the training rows.
    weighting
        How the training rows are weighted.

    Returns
    -------
    dict
        training_rows; model_sha256, of its pickle; scores: by week for "model", "mean" and the baseline the metrics of
        `evaluate_model`, and bias (mean of predicted − actual, in the target's unit); with candidates or a preset also
        chosen: the estimator and its params; with the preset best also trials: how many settings were drawn.

    Raises
    ------
    TaskError
        The model cannot be trained, or the baseline is not a numeric feature, or has missing values.
    """
    order = pd.Series(range(len(train)), train.index)
    weights = weights_of(train, weighting, _WEEK)
    setting, comparison = choose(learning, TrainingRows(train, kinds, train[target], order, weights=weights))
    seed, threads = learning.random_state, learning.threads
    model = train_model(train, kinds, train[target], **setting, random_state=seed, threads=threads, weights=weights)
    features = list(kinds)
    scores = {}
    for week, rows in weeks.items():
        predictions = {
            "model": predict(model, rows[features], threads),
            "mean": pd.Series(train[target].mean(), rows.index),
        }
        if baseline:
            name = f"column {baseline}" if baseline in predictions else baseline
            predictions[name] = baseline_column(rows, baseline, kinds)
        scores[week] = {name: _scores(rows[target], predicted) for name, predicted in predictions.items()}
    digest = hashlib.sha256(pickled(model)).hexdigest()
    found = {"training_rows": len(train), "model_sha256": digest, "scores": scores}
    chosen = {"chosen": setting} if learning.candidates or learning.preset != "fast" else {}
    return found | chosen | ({"trials": comparison["trials"]} if comparison and "trials" in comparison else {})


def _scores(actual: pd.Series, predicted: pd.Series) -> dict[str, Any]:
    return {**metrics(actual, predicted), "bias": float((predicted - actual).mean())}


def _mondays(paths: list[Path]) -> np.ndarray:
    """Return when the week of each row begins, by the names of the files, such as 2013-W09."""
    rows = [pa.parquet.read_metadata(path).num_rows for path in paths]
    mondays = [pd.to_datetime(f"{path.stem}-1", format="%G-W%V-%u") for path in paths]
    return np.repeat(np.array(mondays, dtype="datetime64[ns]"), rows)


def _read_weeks(paths: list[Path]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the rows of weeks that `split_weeks` wrote, concatenated, and the kind of each column."""
    try:
        table = pa.concat_tables([pa.parquet.read_table(path, use_threads=False) for path in paths])
    except pa.ArrowInvalid as error:
        raise TaskError(f"{paths[0].parent}: its files do not match ({error}). Delete it and run again.") from error
    kinds = {each.name: "category" if pa.types.is_string(each.type) else "number" for each in table.schema}
    kinds |= {each.name: "text" for each in table.schema if b"kind" in (each.metadata or {})}
    return table.to_pandas(use_threads=False), kinds


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--train", required=True, type=Path, nargs="+", help="the weeks to train on: .parquet files")
    parser.add_argument("--score", required=True, type=Path, nargs="+", help="the weeks to score: .parquet files")
    parser.add_argument("--output", required=True, type=Path, help="the JSON scores to write")
    add_model(parser)
    add_weight(parser)
    parser.add_argument("--baseline", metavar="COLUMN", help="also score this column as if it were the prediction")
    parser.add_argument("--threads", type=int, default=1, help="the most cores to use")
    args = parser.parse_args(argv)
    with command_line.logged("backtest_week", args, args.output.stem):
        train, kinds = _read_weeks(args.train)
        # The last column is the target.
        target, _ = kinds.popitem()
        weeks = {path.stem: _read_weeks([path])[0] for path in args.score}
        weighting = given_weighting(args)
        if args.weight:
            # It is not a feature.
            del kinds[args.weight]
        if args.half_life_weeks:
            train[_WEEK] = _mondays(args.train)
        found = backtest_week(train, weeks, kinds, target, Learning.given(args), args.baseline, weighting)
        write_json(args.output, {"target": target, "trained_on": [path.stem for path in args.train], **found})
        for week, scores in found["scores"].items():
            logging.info(
                "[backtest_week] %s: trained on %d rows, MAE %.4f, R2 %s",
                *(week, len(train), scores["model"]["MAE"], decimals(scores["model"]["R2"])),
            )
        logging.info("[backtest_week] wrote the scores to %s", args.output)


if __name__ == "__main__":
    main()
