"""Measure what a budget of training rows costs: train the model on a quarter and on half of its rows, and compare.

    python scripts/row_budget.py --model model/model.pkl --features data/features/sample.csv \\
        --output reports/row_budget.json

The smaller samples are drawn as the whole one was, and each is part of the larger ones. What the last doubling of the
rows has gained bounds what the next one is likely to gain, since learning curves flatten (Cortes et al. 1994, Learning
curves: asymptotic values and rate of convergence).
"""

import logging
import tempfile
from pathlib import Path
from typing import Any, cast

import pandas as pd

from signoff.base import command_line
from signoff.base.files import read_json, write_json
from signoff.base.numbers import rounded
from signoff.features.gathering import gather_features
from signoff.features.holdout import group_column, groups_of
from signoff.features.records import Described, Description
from signoff.model.model_file import load_model
from signoff.model.records import Weighting
from signoff.model.scoring import metrics, predict
from signoff.model.training import train_again
from signoff.model.weights import weights_of
from signoff.release.records import BudgetPoint
from signoff.review.intervals import LEVEL, paired, resampling
from signoff.tables.table import read_table

_SHARES = (4, 2)
# With fewer rows, a metric says little.
_FEWEST_ROWS = 50


def row_budget(
    model: Any,
    samples: list[pd.DataFrame],
    description: Described,
    threads: int,
    seed: int,
    weighting: Weighting | None = None,
) -> list[BudgetPoint]:
    """Return the scores of a model on the held-out rows when it is trained on larger and larger samples.

    Parameters
    ----------
    model
        The pipeline that was fitted on the last sample.
    samples
        Tables with the training rows and all held-out rows, as `gather_features` writes them.
    description
        As `feature_engineering` writes it.
    threads, seed
        How many cores to use at most, and the seed of the resamples.
    weighting
        How the training rows are weighted.

    Returns
    -------
    list of dict
        For each sample rows, MAE and R2; and gain (MAE of the one before less its own, in the target's unit) with its
        interval.
    """
    kinds, target, time = list(description["features"]), description["target"], description["time_column"]
    test = samples[-1][samples[-1]["split"] == "test"].reset_index(drop=True)
    groups = groups_of(test, group_column(description))
    sampled = resampling(test[time] if time else None, len(test), seed, groups=groups)
    actual, before, found = test[target].to_numpy("float64"), None, []
    for n, sample in enumerate(samples):
        train = sample[sample["split"] == "train"]
        fitted = model if n == len(samples) - 1 else _fit_again(model, train, description, (seed, threads), weighting)
        predicted = predict(fitted, test[kinds], threads)
        score = metrics(test[target], predicted)
        mae, r2 = score["MAE"], score["R2"]
        assert mae is not None
        row: BudgetPoint = {"rows": len(train), "MAE": mae, "R2": r2, "gain": None, "interval": None}
        ours = predicted.to_numpy("float64")
        if before is not None:
            pair = paired(actual, before, ours, sampled)
            row |= {"gain": pair["difference"], "interval": pair["interval"]}
        before = ours
        found.append(row)
    return found


def _fit_again(
    model: Any, train: pd.DataFrame, description: Described, options: tuple[int, int], weighting: Weighting | None
) -> Any:
    """Return a model of the same class and parameters, fitted on other rows; `options` are the seed and the threads."""
    weights = weights_of(train, weighting, description["time_column"])
    groups, target = groups_of(train, group_column(description)), train[description["target"]]
    return train_again(model, train, description["features"], target, *options, weights, groups)


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--model", required=True, type=Path, help="the model; its .json beside it")
    parser.add_argument(
        "--features", required=True, type=Path, help="the sample it was trained on; its .json beside it"
    )
    parser.add_argument("--output", required=True, type=Path, help="the JSON file to write")
    parser.add_argument("--random-state", type=int, default=0, help="the seed")
    parser.add_argument("--threads", type=int, default=1, help="the most cores to use")
    args = parser.parse_args(argv)
    with command_line.logged("row_budget", args, args.model):
        metadata = read_json(args.model.with_suffix(".json"))
        description = cast(Description, read_json(args.features.with_suffix(".json")))
        model = load_model(args.model, metadata["sha256"])
        rows = description["split"]["rows"]["train"]
        samples = []
        for share in _SHARES:
            if rows // share < _FEWEST_ROWS:
                continue
            with tempfile.TemporaryDirectory(dir=args.output.parent, prefix=".row_budget-") as folder:
                smaller = Path(folder, "sample.csv")
                gather_features([args.features], smaller, description, max_rows=rows // share)
                samples.append(read_table(smaller, description["kinds"]).frame)
        samples.append(read_table(args.features, description["kinds"]).frame)
        found = row_budget(model, samples, description, args.threads, args.random_state, metadata.get("weight"))
        split = description["split"]
        about = {"max_rows": split["max_rows"], "available": split["available"], "level": LEVEL}
        write_json(args.output, {"model_sha256": metadata["sha256"], **about, "curve": rounded(found)})
        for each in found:
            logging.info("[row_budget] trained on %d rows: MAE %.4f", each["rows"], each["MAE"])
        logging.info("[row_budget] completed. Training rows: %d of %d", rows, split["available"])
        logging.info("[row_budget] wrote what the budget costs to %s", args.output)


if __name__ == "__main__":
    main()
