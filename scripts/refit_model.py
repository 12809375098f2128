"""Refit the evaluated model on all rows, including the held-out ones, for the predictions of the release.

    python scripts/refit_model.py --model model/model.pkl --input data/features/features.csv \\
        --metrics reports/evaluation_metrics.json --output model/refit.pkl

The regressor, its parameters and the kinds of encoders are those of the evaluated model, whatever it was chosen from.
Its prediction intervals are kept, since they were fitted on errors of rows that their models had not seen. The same
model, features and versions give the same bytes. A description of the new model is written next to it, with the
suffix .json.
"""

import argparse
import logging
import time
from pathlib import Path
from typing import Any, cast

# First: from here on, scikit-learn imports scipy.stats only if it is used.
from signoff.base import command_line

# isort: split
import pandas as pd
from sklearn.pipeline import Pipeline

from signoff.base.errors import TaskError
from signoff.base.files import read_json, sha256, write_json
from signoff.base.numbers import rounded
from signoff.features.holdout import check_count, group_column, groups_of
from signoff.features.records import Description
from signoff.model.boosters import BOOSTERS
from signoff.model.model_file import load_model, write_model
from signoff.model.records import Metadata
from signoff.model.scoring import predict
from signoff.model.training import train_again, versions
from signoff.model.weights import weight_columns, weights_of
from signoff.release.records import Agreement, Metrics, RefitRecord
from signoff.review.refit import agreement, newest_rows, refit_alarms
from signoff.tables.batches import read_rows


def _compare(
    model: Pipeline, refit: Pipeline, rows: pd.DataFrame, description: Description, typical: float, threads: int
) -> Agreement:
    """Return how both models' predictions of the newest held-out rows differ.

    Parameters
    ----------
    model, refit
        The evaluated model, and the one that was trained again.
    rows
        The features of all rows, with the target and the split, and with the time column if there is one.
    description
        The description that `feature_engineering` writes.
    typical
        The median absolute error of `model` on all held-out rows.
    threads
        How many cores to use, at most.
    """
    kinds, target, when = list(description["features"]), description["target"], description["time_column"]
    test = rows[rows["split"] == "test"].reset_index(drop=True)
    newest = test.iloc[newest_rows(test[when] if when else None, len(test))]
    ours, theirs = (predict(each, newest[kinds], threads).to_numpy("float64") for each in (model, refit))
    return agreement(newest[target].to_numpy("float64"), ours, theirs, typical)


def refit_model(args: argparse.Namespace) -> RefitRecord:
    """Train the model again and write it; return what the JSON beside it holds.

    Raises
    ------
    TaskError
        The metrics are those of another model, or the model cannot be trained on these rows.
    """
    metadata = cast(Metadata, read_json(args.model.with_suffix(".json")))
    metrics = cast(Metrics, read_json(args.metrics))
    if metrics["model_sha256"] != metadata["sha256"]:
        raise TaskError(f"{args.metrics} was computed for a different model than {args.model}. Run make run.")
    description = cast(Description, read_json(args.input.with_suffix(".json")))
    kinds, target, when = description["features"], description["target"], description["time_column"]
    weighting = metadata.get("weight")
    group = [each for each in [group_column(description)] if each]
    names = [
        *dict.fromkeys([*([when] if when else []), *group, *weight_columns(weighting, when), *kinds, target, "split"])
    ]
    rows = read_rows(
        args.input, description["kinds"], names, "split", lambda split: split.isin(["train", "test"]), kinds
    )
    sizes = description["split"]["rows"]
    check_count(args.input, len(rows), sizes["train"] + sizes["test"], "training and held-out")
    model: Any = load_model(args.model, metadata["sha256"])
    started = time.monotonic()
    weights = weights_of(rows, weighting, when)
    options = (args.random_state, args.threads, weights, groups_of(rows, group_column(description)))
    refit = train_again(model, rows, kinds, rows[target], *options)
    logging.info("[refit_model] completed. Rows: %d, duration: %.2f s", len(rows), time.monotonic() - started)
    typical = cast(float, metrics["model"]["test"]["median_absolute_error"])
    found = _compare(model, refit, rows, description, typical, args.threads)
    digest = write_model(refit, args.output)
    return {
        "sha256": digest,
        "model_sha256": metadata["sha256"],
        "training_rows": len(rows),
        "last_time": description["split"].get("last_test"),
        "inputs": {args.input.name: sha256(args.input)},
        "versions": versions(each for each in BOOSTERS if each in metadata["versions"]),
        "agreement": rounded(found),
        "alarms": refit_alarms(found),
    }


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--model", required=True, type=Path, help="the evaluated model; its .json beside it")
    parser.add_argument("--input", required=True, type=Path, help="the features; their .json beside them")
    parser.add_argument("--metrics", required=True, type=Path, help="what evaluate_model wrote")
    parser.add_argument("--output", required=True, type=Path, help="the model: a .pkl or .skops file")
    parser.add_argument("--random-state", type=int, default=0, help="the seed")
    parser.add_argument("--threads", type=int, default=1, help="the most cores to use")
    args = parser.parse_args(argv)
    with command_line.logged("refit_model", args, args.input):
        found = refit_model(args)
        write_json(args.output.with_suffix(".json"), found)
        for each in found["alarms"]:
            logging.warning("[refit_model] alarm %s: %s", each["name"], each["sentence"])
        logging.info("[refit_model] wrote model to %s", args.output)


if __name__ == "__main__":
    main()
