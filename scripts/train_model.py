"""Train a scikit-learn regressor on the training part of the features.

    python scripts/train_model.py --input data/features/features.csv --output model/model.pkl

The model is one Pipeline that takes the features as a frame, encodes what it must, and predicts: what is learnt from
data is learnt from the training part alone. The same features, parameters and versions give the same bytes, on any
number of cores. What the model is made of goes to the output's name with the suffix .json.
"""

import logging
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import sklearn

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import read_json, sha256, write_json
from signoff.base.numbers import decimals
from signoff.model.model_file import write_model
from signoff.model.quantiles import fit_intervals
from signoff.model.regressor import add_model, make_regressor
from signoff.model.scoring import metrics, predict
from signoff.model.training import train_model
from signoff.tables.batches import read_rows
from signoff.tables.contract import describe

# More of the training part, drawn by chance, would change its score in the third digit at most.
MOST_ROWS_TO_SCORE = 100_000


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="the features; their .json beside them")
    parser.add_argument("--output", required=True, type=Path, help="the model: a .pkl (joblib) or .skops file")
    add_model(parser)
    parser.add_argument(
        "--intervals",
        choices=["quantile", "constant"],
        default="quantile",
        help="prediction intervals: of a width of their own for each row, or of one width, from held-out errors",
    )
    parser.add_argument("--interval-level", type=float, default=0.9, help="the share of rows they are to cover")
    parser.add_argument("--threads", type=int, default=1, help="cores to use, at most")
    parser.add_argument("--passes", type=int, help="learn from all rows in so many passes; the input is a sample")
    parser.add_argument("--all-rows", type=Path, help="for --passes: the features of all rows, or the folder of parts")
    parser.add_argument("--plan", type=Path, help="for --passes: the record of split_source, which names the parts")
    parser.add_argument("--halt-on", type=Path, help="a validation report: if its status is fail, train nothing")
    args = parser.parse_args(argv)
    with command_line.logged("train_model", args, args.input):
        if args.halt_on and (violations := read_json(args.halt_on)["violations"]):
            raise TaskError(
                f"the raw data violate the contract (validation.on_failure: halt): {'; '.join(describe(violations))}. "
                f"Correct the source or the contract; all of it is in {args.halt_on}."
            )
        if not args.candidates:
            # What is wrong with it is told before the rows are read.
            make_regressor(args.estimator, args.params, args.random_state)
        description = read_json(args.input.with_suffix(".json"))
        kinds, target = description["features"], description["target"]
        by_time = args.intervals == "quantile" and description["split"]["by"] == "time"
        when = [description["time_column"]] if description["time_column"] and (args.candidates or by_time) else []
        names = [*when, *kinds, target]
        with ThreadPoolExecutor(1) as beside:
            digest_of_input = beside.submit(sha256, args.input)
            # Of features, every encoding makes float64.
            train = read_rows(args.input, description["kinds"], names, "split", lambda split: split == "train", kinds)
        moments = train[when[0]] if when else None
        started = time.monotonic()
        chosen, search = {"estimator": args.estimator, "params": args.params}, None
        if args.candidates:
            # Imported here: only some runs need it.
            from signoff.model.search import choose_model

            chosen, search = choose_model(
                args.candidates, train, kinds, train[target], moments, args.random_state, args.threads
            )
        logging.info("[train_model] estimator: %s, parameters: %s", chosen["estimator"], chosen["params"] or "defaults")
        seed, rows_seen = args.random_state, len(train)
        if args.passes:
            # Imported here: only some runs need it.
            from signoff.model.passes import all_training_rows, fit_in_passes

            blocks = all_training_rows(args.all_rows, args.plan, description, args.passes)
            model, rows_seen = fit_in_passes(train, kinds, target, blocks, **chosen, random_state=seed)
        else:
            model = train_model(train, kinds, train[target], **chosen, random_state=seed, threads=args.threads)
        intervals = None
        if args.intervals == "quantile":
            later = moments if by_time else None
            intervals = fit_intervals(
                train, kinds, train[target], later, chosen, args.interval_level, seed, args.threads
            )
            if intervals:
                model.intervals_ = intervals
        duration = time.monotonic() - started
        # To predict all of millions of rows takes as long as to learn from them.
        rows = np.random.default_rng(seed).choice(len(train), min(len(train), MOST_ROWS_TO_SCORE), replace=False)
        some = train.iloc[np.sort(rows)]
        score = metrics(some[target], predict(model, some[list(kinds)], args.threads))
        logging.info(
            "[train_model] completed. Training duration: %.2f s on %d threads, final training score: R2 %s",
            *(duration, args.threads, decimals(score["R2"])),
        )
        if description["custom"]:
            # The same regressor behind other code is another model, with a digest of its own.
            model.custom_code_sha256 = description["custom"]["sha256"]
        digest = write_model(model, args.output)
        write_json(
            args.output.with_suffix(".json"),
            {
                "sha256": digest,
                "estimator": chosen["estimator"],
                "parameters": {name: repr(value) for name, value in sorted(model[-1].get_params().items())},
                "target": target,
                "features": kinds,
                "recipe": description["recipe"],
                "custom": description["custom"],
                "columns": description["columns"],
                "training_rows": rows_seen // (args.passes or 1),
                "training_score": score,
                "intervals": {"by": "quantile" if intervals else "constant", "level": args.interval_level},
                "inputs": {args.input.name: digest_of_input.result()},
                "versions": {
                    "python": platform.python_version(),
                    **{each.__name__: each.__version__ for each in (joblib, np, pd, sklearn)},
                },
                "split": description["split"],
                "time_column": description["time_column"],
                "left_out": description["left_out"],
                "cleaning": description["cleaning"],
                **({"candidates": search} if search else {}),
            },
        )
        logging.info("[train_model] wrote model to %s", args.output)


if __name__ == "__main__":
    main()
