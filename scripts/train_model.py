"""Train a scikit-learn regressor on the training rows of the features.

    python scripts/train_model.py --input data/features/features.csv --output model/model.pkl

The model is a Pipeline that takes a frame of features, encodes them and predicts. All that it learns comes from the
training rows. The same features, parameters and versions give the same bytes, on any number of cores. What the model
was made from is written to the output's name with the suffix .json.
"""

import argparse
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

# First: from here on, scikit-learn imports scipy.stats only if it is used.
from signoff.base import command_line

# isort: split
import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from signoff.base.errors import TaskError
from signoff.base.files import read_json, sha256, write_json
from signoff.base.numbers import decimals
from signoff.features.holdout import check_count, group_column, groups_of
from signoff.features.records import Description
from signoff.model.boosters import named_in
from signoff.model.model_file import write_model
from signoff.model.quantiles import fit_intervals
from signoff.model.records import Comparison, Scores, Setting, Transformed, Weighting
from signoff.model.regressor import Learning, TrainingRows, add_model, make_regressor
from signoff.model.scoring import metrics, predict
from signoff.model.text import text_features
from signoff.model.training import choose, train_setting, versions
from signoff.model.weights import add_weight, given_weighting, weight_columns, weights_of
from signoff.tables.batches import read_rows
from signoff.tables.violations import describe

# With more rows, the training score would change in the third digit at most.
_MOST_ROWS_TO_SCORE = 100_000


@dataclass(frozen=True)
class _Trained:
    """A trained model, and what is recorded of its training.

    Attributes
    ----------
    setting
        The estimator and its parameters.
    comparison
        How the candidates compare; None if there was only one.
    weighting
        How the rows are weighted, and what that gains; None if they are not.
    transform
        Which function of the target is learnt, and what that gains; None if it is the target itself.
    rows
        The rows that each pass has learnt from.
    seconds
        How long the training took.
    """

    model: Pipeline
    setting: Setting
    comparison: Comparison | None
    weighting: Weighting | None
    transform: Transformed | None
    rows: int
    seconds: float


def _refuse_violations(report: Path) -> None:
    """Raise TaskError if the validation report names violations of the data contract."""
    if violations := read_json(report)["violations"]:
        raise TaskError(
            f"the raw data violate the contract (validation.on_failure: halt): {'; '.join(describe(violations))}. "
            f"Correct the source or the contract; the whole list is in {report}."
        )


def _train(args: argparse.Namespace, description: Description, rows: pd.DataFrame) -> _Trained:
    """Train what the command line asks for. Raises TaskError if it cannot be trained.

    Parameters
    ----------
    description
        The description that `feature_engineering` writes.
    rows
        The training rows, with the features, the target, and the time column if it is needed.
    """
    kinds, learning = description["features"], Learning.given(args)
    target, seed, threads = rows[description["target"]], learning.random_state, learning.threads
    # A frame without the time column has no use for it.
    moments = rows.get(description["time_column"]) if description["time_column"] else None
    started = time.monotonic()
    groups, weighting = groups_of(rows, group_column(description)), given_weighting(args)
    weights = weights_of(rows, weighting, description["time_column"])
    every = TrainingRows(rows, kinds, target, moments, groups, weights)
    setting, comparison = choose(learning, every)
    if comparison:
        logging.info("[train_model] the comparison took %.2f s", time.monotonic() - started)
    logging.info("[train_model] estimator: %s, parameters: %s", setting["estimator"], setting["params"] or "defaults")
    learnt = len(rows)
    if args.passes:
        # Imported here: only some runs need it.
        from signoff.model.passes import all_training_rows, fit_in_passes

        blocks = all_training_rows(args.all_rows, args.plan, description, args.passes)
        model, seen = fit_in_passes(rows, kinds, description["target"], blocks, **setting, random_state=seed)
        learnt = seen // args.passes
    else:
        model = train_setting(every, setting, seed, threads)
    if weighting:
        # Imported here: only some runs need it.
        from signoff.model.gain import gain_of_weights

        weighting["gain"] = gain_of_weights(every, setting, seed, threads)
    transform = _transform(learning, every, setting)
    if args.intervals == "quantile":
        later = moments if description["split"]["by"] == "time" else None
        learnt_from = TrainingRows(rows, kinds, target, later, groups, weights)
        intervals = fit_intervals(learnt_from, setting, args.interval_level, seed, threads)
        if intervals:
            model.intervals_ = intervals
    if description["custom"]:
        # The same regressor with other code is another model, with another digest.
        model.custom_code_sha256 = description["custom"]["sha256"]
    if "history" in description:
        # So is one whose predictions start from other earlier rows.
        model.history_sha256 = description["history"]["sha256"]
    return _Trained(model, setting, comparison, weighting, transform, learnt, time.monotonic() - started)


def _transform(learning: Learning, rows: TrainingRows, setting: Setting) -> Transformed | None:
    """Return which function of the target is learnt, and what that gains; None if it is the target itself."""
    if not learning.target_transform:
        return None
    # Imported here: only some runs need it.
    from signoff.model.gain import gain_of_transform

    gain = gain_of_transform(rows, setting, learning.random_state, learning.threads)
    return {"function": learning.target_transform, "gain": gain}


def _training_score(
    model: Pipeline, rows: pd.DataFrame, names: list[str], target: str, args: argparse.Namespace
) -> Scores:
    """Return the metrics of a model on its training rows, or on some of them drawn at random."""
    # Predicting millions of rows takes as long as learning from them.
    size = min(len(rows), _MOST_ROWS_TO_SCORE)
    drawn = np.random.default_rng(args.random_state).choice(len(rows), size, replace=False)
    some = rows.iloc[np.sort(drawn)]
    return metrics(some[target], predict(model, some[names], args.threads))


def _parameters(trained: _Trained) -> dict[str, str]:
    """Return the parameters of the regressor; estimators among them as the setting has them."""
    found = trained.model[-1].get_params(deep=False) | trained.setting["params"]
    return {name: repr(value) for name, value in sorted(found.items())}


def _metadata(trained: _Trained, level: float, description: Description, **found: object) -> dict[str, Any]:
    """Return the content of model.json; `found` has sha256, training_score and inputs; `level` is the intervals'."""
    by = "quantile" if hasattr(trained.model, "intervals_") else "constant"
    return {
        "sha256": found["sha256"],
        "estimator": trained.setting["estimator"],
        "parameters": _parameters(trained),
        "target": description["target"],
        "features": description["features"],
        "recipe": description["recipe"],
        "custom": description["custom"],
        "columns": description["columns"],
        "training_rows": trained.rows,
        "training_score": found["training_score"],
        "intervals": {"by": by, "level": level},
        "inputs": found["inputs"],
        "versions": versions(named_in(trained.setting, trained.comparison)),
        "split": description["split"],
        "time_column": description["time_column"],
        "left_out": description["left_out"],
        "cleaning": description["cleaning"],
        **({"candidates": trained.comparison} if trained.comparison else {}),
        **({"weight": trained.weighting} if trained.weighting else {}),
        **({"target_transform": trained.transform} if trained.transform else {}),
        **({"text": text} if (text := text_features(trained.model, description["features"])) else {}),
        **({"history": description["history"]} if "history" in description else {}),
    }


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="the features; their .json beside them")
    parser.add_argument("--output", required=True, type=Path, help="the model: a .pkl or .skops file")
    add_model(parser)
    add_weight(parser)
    parser.add_argument(
        "--intervals",
        choices=["quantile", "constant"],
        default="quantile",
        help="prediction intervals with a width for each row, or with one width, from held-out errors",
    )
    parser.add_argument("--interval-level", type=float, default=0.9, help="the share of rows they are to cover")
    parser.add_argument("--threads", type=int, default=1, help="the most cores to use")
    parser.add_argument("--passes", type=int, help="learn from all rows in this many passes; the input is a sample")
    parser.add_argument("--all-rows", type=Path, help="for --passes: the features of all rows, or the folder of parts")
    parser.add_argument("--plan", type=Path, help="for --passes: the record of split_source, which names the parts")
    parser.add_argument("--halt-on", type=Path, help="a validation report: if its status is fail, train nothing")
    args = parser.parse_args(argv)
    with command_line.logged("train_model", args, args.input):
        if args.halt_on:
            _refuse_violations(args.halt_on)
        if args.output.suffix == ".skops" and (named := named_in(args.estimator, args.params, args.candidates)):
            raise TaskError(
                f"model.format: skops cannot hold models of {' and '.join(named)}. Set model.format: pickle, or name "
                "another model.estimator."
            )
        if not args.candidates and args.preset == "fast":
            # A wrong name is reported before the rows are read.
            make_regressor(args.estimator, args.params, args.random_state)
        description = cast(Description, read_json(args.input.with_suffix(".json")))
        kinds, target = description["features"], description["target"]
        weighting = given_weighting(args)
        compares = args.candidates or args.preset != "fast" or weighting or args.target_transform
        needs_time = compares or (args.intervals == "quantile" and description["split"]["by"] == "time")
        when = [description["time_column"]] if description["time_column"] and needs_time else []
        group = [each for each in [group_column(description)] if each]
        weight = weight_columns(weighting, description["time_column"])
        names = list(dict.fromkeys([*when, *group, *weight, *kinds, target]))
        with ThreadPoolExecutor(1) as beside:
            digest_of_input = beside.submit(sha256, args.input)
            # Every encoding turns features into float64.
            rows = read_rows(args.input, description["kinds"], names, "split", lambda split: split == "train", kinds)
        check_count(args.input, len(rows), description["split"]["rows"]["train"], "training")
        trained = _train(args, description, rows)
        score = _training_score(trained.model, rows, list(kinds), target, args)
        logging.info(
            "[train_model] completed. Training duration: %.2f s on %d threads, final training score: R2 %s",
            *(trained.seconds, args.threads, decimals(score["R2"])),
        )
        digest = write_model(trained.model, args.output)
        digests = {"sha256": digest, "inputs": {args.input.name: digest_of_input.result()}}
        found = _metadata(trained, args.interval_level, description, training_score=score, **digests)
        write_json(args.output.with_suffix(".json"), found)
        logging.info("[train_model] wrote model to %s", args.output)


if __name__ == "__main__":
    main()
