"""Fit a model in passes over more rows than memory holds, for regressors with `partial_fit`."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from signoff.base.errors import TaskError
from signoff.base.files import read_json
from signoff.features.records import Description
from signoff.features.row_keys import is_training, read_blocks
from signoff.model.pipeline import make_pipeline
from signoff.model.regressor import make_regressor
from signoff.tables.table import parse_table


def fit_in_passes(
    sample: pd.DataFrame,
    kinds: dict[str, str],
    target: str,
    blocks: Iterator[pd.DataFrame],
    estimator: str,
    params: dict[str, Any],
    random_state: int,
) -> tuple[Pipeline, int]:
    """Return a pipeline whose regressor was fitted on all blocks of rows in order, and the number of rows.

    The encoding (medians, scales, categories) is fitted on the sample, which represents all rows; the regressor learns
    by `partial_fit`, one block at a time.

    Parameters
    ----------
    sample
        n training rows, sampled from all: the features in `kinds`, and the target.
    kinds
        "number" or "category" for each feature.
    blocks
        All training rows in blocks, once per pass.
    estimator, params, random_state
        As for `train_model`.

    Raises
    ------
    TaskError
        The regressor has no partial_fit, or it does not accept these parameters or data.
    """
    regressor = make_regressor(estimator, params, random_state)
    if not hasattr(regressor, "partial_fit"):
        raise TaskError(
            f"model.passes: {estimator} has no partial_fit. Remove model.passes, or name a regressor that has it, "
            "such as sklearn.linear_model.SGDRegressor or sklearn.neural_network.MLPRegressor."
        )
    # Without the levels, none of them gets the mean of its target, which the blocks could not be given out of fold.
    pipeline = make_pipeline(regressor, kinds, sample, {}, random_state)
    names, rows = list(kinds), 0
    try:
        with threadpool_limits({"openmp": 1, "blas": 1}):
            encode = pipeline[:-1].fit(sample[names])
            for block in blocks:
                regressor.partial_fit(encode.transform(block[names]), block[target])
                rows += len(block)
            pipeline.predict(sample[names].head(1))
    except (ValueError, TypeError) as error:
        raise TaskError(f"model: {estimator} with {params} cannot be trained: {error}") from error
    return pipeline, rows


def all_training_rows(
    features: Path, plan: Path | None, description: Description, passes: int
) -> Iterator[pd.DataFrame]:
    """Yield the training rows of a feature table, or of the folder of its parts, block by block, once per pass."""
    split, time = description["split"], cast(str, description["time_column"])
    paths, cut = [features], None
    if plan:
        paths = [features / f"{name}.csv" for name in read_json(plan)["parts"]]
        cut = pd.Timestamp(split["last_train"]) if split["by"] == "time" else None
    columns = [name for name in description["kinds"] if name != "split"]
    for number in range(passes):
        logging.info("[train_model] pass %d of %d", number + 1, passes)
        for path in paths:
            for block in read_blocks([path]):
                train = is_training(block, cut, time)
                rows = parse_table(block.select(columns), description["kinds"]).frame[train]
                if len(rows):
                    yield rows
