"""Look into the model: what its predictions rest on, how it does on rows it has not seen, which features give it away.

    python scripts/explain_model.py --model model/model.pkl --features data/features/features.csv \\
        --output reports/explanation.json
"""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

# First: from here on, scikit-learn imports scipy.stats only if it is used.
from signoff.base import command_line

# isort: split
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold, TimeSeriesSplit
from threadpoolctl import threadpool_limits

from signoff.base.files import read_json, write_json
from signoff.base.numbers import rounded
from signoff.features.holdout import group_column, groups_of
from signoff.features.recipe import of_a_date
from signoff.features.records import Description
from signoff.model.encoding import fit, predictions
from signoff.model.model_file import load_model
from signoff.model.records import Metadata, Weighting
from signoff.model.regressor import use_threads
from signoff.model.weights import weights_of
from signoff.release.records import AlarmRecord, Explained, Visible
from signoff.review import bias, empty_model, importance, intervals
from signoff.review.known import known_early
from signoff.review.leaks import leaks
from signoff.review.newest_errors import error_alarms
from signoff.review.rests_on import rests_on
from signoff.review.sample import sample
from signoff.review.unseen import unseen_scores
from signoff.tables.batches import scan

# Rows of the training part that are enough to know the errors to a percent.
_CV_ROWS = 30_000
_FOLDS = 3
# How far back errors are compared with those of the newest rows, at least.
_RECENT_WEEKS = 24


def explain_model(
    model: Any,
    table: pd.DataFrame,
    description: Description,
    seed: int = 0,
    weighting: Weighting | None = None,
    known: Collection[str] = (),
) -> Explained:
    """Return the diagnostics of the model and its rows alone.

    Parameters
    ----------
    model
        The fitted pipeline.
    table, description
        The features of n rows, with the target and the split; and the JSON beside them.
    seed, weighting
        The seed of every draw and shuffle, and how the training rows were weighted.
    known
        The features that are known before the target is, and so are no leaks.

    Returns
    -------
    dict
        importance, importance_sample, partial_dependence, rests_on, visible and out_of_sample, as diagnostics.json
        has them; order (see `empty_model.order`); and the alarms of all of these.
    """
    kinds, target, by_time = description["features"], description["target"], description["split"]["by"] == "time"
    train, test = (table[table["split"] == part].reset_index(drop=True) for part in ("train", "test"))
    importances, made_of = importance.importance(model, test, list(kinds), test[target], seed)
    order, groups = description["time_column"] if by_time else None, group_column(description)
    weights = weights_of(train, weighting, description["time_column"])
    unseen, folds = out_of_sample(model, train, kinds, target, order, groups, seed, weights)
    then = train.loc[unseen.index, target]
    # Without an order of time, no fold is closer to the held-out part than others.
    folds = folds if by_time else 0 * folds
    actual, predicted = test[target].to_numpy("float64"), predictions(model, test[list(kinds)])
    error, error_then = predicted - actual, unseen - then
    # A slice of the calendar is a few whole days, which say little.
    lasting = {name: kind for name, kind in kinds.items() if not of_a_date(name, description)}
    slices = intervals.make_slices(table, lasting) if len(unseen) else {}
    of_newest, visible = _newest_errors(table, description, slices, error, error_then, folds)
    rests = rests_on(model[-1], train, kinds, target, importances, float(np.abs(error).mean()), seed)
    blocks, blocks_then, by = _blocks(table, description, unseen.index, seed)
    return {
        "importance": importances,
        "importance_sample": made_of,
        "partial_dependence": importance.dependence(model, test, kinds, importances, seed),
        "rests_on": {**rests, "known_before": set(rests["features"]) <= set(known)} if rests else None,
        "visible": visible,
        "out_of_sample": unseen_scores(then.to_numpy(), error_then.to_numpy(), folds, blocks_then, (error, blocks)),
        "order": empty_model.order((actual, predicted), (then.to_numpy("float64"), unseen.to_numpy("float64"))),
        "alarms": [
            *leaks(table, description, seed, known),
            *empty_model.one_value(actual, predicted),
            *_slice_bias(table, slices, (error, blocks), (error_then, blocks_then), folds, by == "days"),
            *of_newest,
        ],
    }


def _newest_errors(
    table: pd.DataFrame,
    description: Description,
    slices: intervals.Sliced,
    error: np.ndarray,
    error_then: pd.Series,
    folds: np.ndarray,
) -> tuple[list[AlarmRecord], Visible | None]:
    """Return the result of `error_alarms` for the errors of held-out rows, and of training rows by index.

    `slices` are those of all rows, by feature. `folds` are those of the training rows. The models of early folds have
    seen few rows, and no whole season: under a split by time only the last fold is used, and whatever else is not older
    than RECENT_WEEKS.
    """
    time = description["time_column"]
    if not time or error_then.empty:
        return [], None
    is_test = (table["split"] == "test").to_numpy()
    then = np.flatnonzero(~is_test)[error_then.index.to_numpy()]
    if description["split"]["by"] == "time":
        moments = table[time].iloc[then]
        recent = table[time].max() - pd.Timedelta(weeks=_RECENT_WEEKS)
        near = ((folds == folds.max()) | (moments >= recent)).to_numpy()
        then, error_then = then[near], error_then[near]
    rows = np.concatenate([np.flatnonzero(is_test), then])
    slices = {name: (codes[rows], labels) for name, (codes, labels) in slices.items()}
    errors = np.concatenate([error, error_then.to_numpy()])
    target = description["target"]
    predicted = errors + table[target].to_numpy("float64")[rows]
    moments = table[time].iloc[rows].reset_index(drop=True)
    categories = [name for name in slices if description["features"][name] == "category"]
    return error_alarms(moments, errors, predicted, slices, target, categories)


def _blocks(
    table: pd.DataFrame, description: Description, unseen: pd.Index, seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return the blocks of the held-out rows, those of training rows by index, and what a block of the latter is."""
    is_test = (table["split"] == "test").to_numpy()
    time = table[description["time_column"]] if description["time_column"] else None
    groups = groups_of(table, group_column(description))
    (blocks, _), (blocks_then, by) = (
        intervals.blocks_of(
            None if time is None else time.iloc[rows], len(rows), seed, None if groups is None else groups[rows]
        )
        if len(rows)
        else (np.array([], dtype="int64"), "rows")
        for rows in (np.flatnonzero(is_test), np.flatnonzero(~is_test)[unseen.to_numpy("int64")])
    )
    return blocks, blocks_then, by


def _slice_bias(
    table: pd.DataFrame,
    slices: intervals.Sliced,
    held_out: tuple[np.ndarray, np.ndarray],
    unseen: tuple[pd.Series, np.ndarray],
    periods: np.ndarray,
    in_time: bool,
) -> list[AlarmRecord]:
    """Return the alarms of `bias.slice_bias` for the errors of held-out rows, and of training rows by index.

    Beside the errors are the blocks of their rows.
    """
    (error, blocks), (error_then, blocks_then) = held_out, unseen
    if error_then.empty:
        return []
    is_test, then = (table["split"] == "test").to_numpy(), error_then.index.to_numpy()
    slices_then = {name: (codes[~is_test][then], labels) for name, (codes, labels) in slices.items()}
    slices = {name: (codes[is_test], labels) for name, (codes, labels) in slices.items()}
    return bias.slice_bias(slices, slices_then, error, blocks, error_then.to_numpy(), blocks_then, periods, in_time)


def out_of_sample(
    model: Any,
    train: pd.DataFrame,
    kinds: dict[str, str],
    target: str,
    time: str | None,
    groups: str | None,
    seed: int,
    weights: np.ndarray | None = None,
) -> tuple[pd.Series, np.ndarray]:
    """Return predictions for rows of the training part, by its index, by models that have not seen them.

    The regressor is fitted FOLDS times: under a split by `time` on the rows before those that it predicts, otherwise on
    the other folds; a group, by the values of a column, is in one fold. The second array is the fold of each row, from
    0, in the order of time under a split by time. Both are empty if there are too few rows or groups, or if the
    regressor cannot be trained on a part.
    """
    nothing = pd.Series(dtype="float64"), np.array([], dtype="int64")
    rows = train.sample(min(len(train), _CV_ROWS), random_state=seed)
    rows = rows.sort_values(time, kind="stable") if time else rows
    weight = None if weights is None else weights[rows.index]
    together = groups_of(rows, groups)
    if len(rows) < _FOLDS * intervals.MIN_ROWS or (together is not None and len(np.unique(together)) < _FOLDS):
        return nothing
    folds = TimeSeriesSplit(_FOLDS) if time else KFold(_FOLDS, shuffle=True, random_state=seed)
    found = []
    for seen, unseen in (folds if together is None else GroupKFold(_FOLDS)).split(rows, groups=together):
        before, after = rows.iloc[seen], rows.iloc[unseen]
        usable = [name for name in kinds if before[name].notna().any()]
        regressor = clone(model[-1])
        use_threads(regressor, 1)
        if "categorical_features" in regressor.get_params():
            # Set for the columns of the whole training part.
            regressor.set_params(categorical_features=None)
        try:
            fold = fit(
                regressor,
                {name: kinds[name] for name in usable},
                before,
                before[target],
                seed,
                None if weight is None else weight[seen],
                None if together is None else together[seen],
            )
            predicted = predictions(fold, after[usable])
        except (ValueError, TypeError) as error:
            # A regressor that can be trained on all rows may fail on a part of them.
            logging.warning("[explain_model] not judged on training rows that it had not seen: %s", error)
            return nothing
        found.append(pd.Series(predicted, after.index, dtype="float64"))
    return pd.concat(found), np.repeat(range(_FOLDS), [len(each) for each in found])


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--model", required=True, type=Path, help="the model; its .json beside it")
    parser.add_argument("--features", required=True, type=Path, help="the features; their .json beside them")
    parser.add_argument("--output", required=True, type=Path, help="the JSON file to write")
    parser.add_argument("--random-state", type=int, default=0, help="the seed")
    parser.add_argument("--known-before", action="append", default=[], help="columns that are no leaks")
    args = parser.parse_args(argv)
    with command_line.logged("explain_model", args, args.model):
        metadata = cast(Metadata, read_json(args.model.with_suffix(".json")))
        description = cast(Description, read_json(args.features.with_suffix(".json")))
        model = load_model(args.model, metadata["sha256"])
        sizes = cast(dict[str, int], description["split"]["rows"])
        table, _, _ = sample(args.features, scan(args.features, description["kinds"]), sizes)
        # Everything here is small: a second thread would mostly wait for the first.
        with threadpool_limits(1):
            known = known_early(args.known_before, description)
            found = explain_model(model, table, description, args.random_state, metadata.get("weight"), known)
        write_json(args.output, {"model_sha256": metadata["sha256"], **rounded(found)})
        most = [each["feature"] for each in found["importance"][:3] if each["mean"] > 0]
        logging.info("[explain_model] completed. Rests most on: %s", ", ".join(most) or "nothing")
        logging.info("[explain_model] wrote %s", args.output)


if __name__ == "__main__":
    main()
