"""Compare the model with the champion and the baselines, its errors by slice, and its rows with those before.

    python scripts/compare_model.py --features data/features/features.csv --metrics reports/evaluation_metrics.json \\
        --validation reports/validation_report.json --output reports/comparison.json

Beside the metrics holdout_predictions.csv is read.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import read_json, write_json
from signoff.base.numbers import rounded
from signoff.features.holdout import check_count, group_column, groups_of
from signoff.features.recipe import date_parts, of_a_date
from signoff.features.records import Description
from signoff.features.user_code import load_code
from signoff.model.records import Profile
from signoff.model.scoring import LOW_AND_HIGH
from signoff.release.records import AlarmRecord, Compared, Metrics, Validation
from signoff.release.store import Releases
from signoff.review import drift, findings, intervals
from signoff.review.comparison import LEAST_DIFFERENCE, compare_predictors, comparison_alarms
from signoff.review.copied_rows import copies
from signoff.review.delivery import history_alarms, lacking
from signoff.review.known import known_late
from signoff.review.newest import missing_alarms, newest_alarms
from signoff.review.periods import compared_periods
from signoff.review.sample import held_out, sample
from signoff.review.times import RowsByWeek, past_alarms, rows_by_week
from signoff.tables.batches import chosen, scan
from signoff.tables.records import ValidationReport

_OTHER_ROWS = (
    "the held-out predictions are not those of these features. Delete reports/holdout_predictions.csv, and run make "
    "report."
)


@dataclass(frozen=True)
class ComparisonOptions:
    """The seed of every draw, the share of rows that prediction intervals are to cover, the smallest difference from
    the champion that matters (a share of its MAE), and the user's own metrics, if there are any."""

    seed: int = 0
    level: float = 0.9
    least_difference: float = LEAST_DIFFERENCE
    code: ModuleType | None = None


@dataclass(frozen=True)
class Before:
    """The profile of the deployed release's rows, how many rows its source had, and in which weeks; None if unknown."""

    profile: dict[str, Profile] | None = None
    rows: int | None = None
    weeks: RowsByWeek | None = None

    @property
    def newest(self) -> pd.Timestamp | None:
        """The day of its newest row."""
        return pd.Timestamp(self.weeks["newest"]) if self.weeks else None


@dataclass(frozen=True)
class _Sampled:
    """Of samples such rows as stand for all rows alike, training or held out; and the features of all training rows,
    some at a time. See `sample.sample`."""

    alike: pd.DataFrame
    training_rows: Iterable[pd.DataFrame]


def compare_model(
    table: pd.DataFrame,
    description: Description,
    holdout: pd.DataFrame,
    metrics: Metrics,
    options: ComparisonOptions = ComparisonOptions(),
    before: Before = Before(),
    sampled: _Sampled | None = None,
) -> Compared:
    """Return how the model, its errors and its rows compare; docs/files.md describes each part.

    Raises TaskError if the held-out rows are not those of the table.

    Parameters
    ----------
    table, description
        The features of all rows, with the target and the split, and the JSON beside them.
    holdout
        The held-out rows, in the table's order: actual, predicted, baseline_…; and time, champion, prediction_low and
        prediction_high, if they exist.
    metrics
        As `evaluate_model` returns them.
    sampled
        If `table` and `holdout` are samples.

    Returns
    -------
    dict
        The keys of diagnostics.json from bootstrap to predictions_profile; baselines: the comparison with each, as
        `intervals.paired` returns it; alarms.
    """
    kinds, target, time = description["features"], description["target"], description["time_column"]
    test, split = table[table["split"] == "test"].reset_index(drop=True), description["split"]
    _check_rows(holdout, test[target], metrics["baselines"])
    actual, predicted = (holdout[name].to_numpy("float64") for name in ("actual", "predicted"))
    moments = test[time] if time else None
    drawn = intervals.resampling(moments, len(test), options.seed, groups=groups_of(test, group_column(description)))
    found, baselines = compare_predictors(
        metrics, holdout, test[list(kinds)], drawn, options.code, options.seed, options.least_difference
    )
    champion = holdout["champion"].to_numpy("float64") if "champion" in holdout else None
    parts = date_parts(description["recipe"])
    slices = _held_out_slices(table, kinds, parts)
    found |= {
        "level": intervals.LEVEL,
        "seed": options.seed,
        "slices": intervals.slice_table(slices, actual, predicted, champion, drawn),
        "by_week": intervals.by_week(moments, predicted - actual),
        "date_parts": parts,
        "newest": compared_periods(_alike(table, sampled)[time] if time else None, sampled=sampled is not None),
        # In a sample, the rows by week are not counted.
        "rows_by_week": rows_by_week(table[time]) if time and sampled is None else None,
        "prediction_interval": _covered(holdout, moments, split["by"] == "time", slices, drawn, options),
        "baselines": baselines,
    }
    of_rows, alarms = _compare_rows(table, description, options.seed, before, sampled)
    found |= of_rows | {"predictions_profile": drift.profile(holdout["predicted"], "number")}
    more = comparison_alarms(cast(Compared, found))
    return cast(Compared, {**found, "alarms": [*alarms, *past_alarms(found["rows_by_week"], before.weeks), *more]})


def _alike(table: pd.DataFrame, sampled: _Sampled | None) -> pd.DataFrame:
    """Return rows of which training and held-out ones are sampled alike."""
    return sampled.alike if sampled else table


def _held_out_slices(table: pd.DataFrame, kinds: dict[str, str], parts: dict[str, str]) -> intervals.Sliced:
    """Return the slices of all rows, for the held-out rows."""
    is_test = (table["split"] == "test").to_numpy()
    slices = intervals.make_slices(table, kinds, parts)
    return {name: (codes[is_test], labels) for name, (codes, labels) in slices.items()}


def _covered(
    holdout: pd.DataFrame,
    moments: pd.Series | None,
    by_time: bool,
    slices: intervals.Sliced,
    drawn: intervals.Resampling,
    options: ComparisonOptions,
) -> dict[str, Any]:
    """Return how much the model's own intervals cover, or those of a constant width, of the held-out rows."""
    actual, predicted = (holdout[name].to_numpy("float64") for name in ("actual", "predicted"))
    if set(LOW_AND_HIGH) <= set(holdout):
        low, high = (holdout[name].to_numpy("float64") for name in LOW_AND_HIGH)
        return intervals.row_intervals(actual, predicted, (low, high), moments, slices, drawn, options.level)
    return intervals.prediction_interval(
        actual, predicted, moments, by_time, slices, drawn, options.level, options.seed
    )


def _compare_rows(
    table: pd.DataFrame, description: Description, seed: int, before: Before, sampled: _Sampled | None
) -> tuple[dict[str, Any], list[AlarmRecord]]:
    """Return how later rows differ from earlier ones (drift, and the profile for the next release), and the alarms.

    The parameters are those of `compare_model`.
    """
    kinds, target, time = description["features"], description["target"], description["time_column"]
    alike = _alike(table, sampled)
    train, test = (table[table["split"] == part].reset_index(drop=True) for part in ("train", "test"))
    by_time = description["split"]["by"] == "time"
    in_time = [
        each if not (time and by_time) or each[time].is_monotonic_increasing else each.sort_values(time, kind="stable")
        for each in (train, test)
    ]
    columns = drift.columns(description)
    training = drift.compared(
        {name: drift.profile(train[name], kind) for name, kind in columns},
        in_time[1],
        description,
        in_time[0] if by_time else None,
    )
    release = drift.compared(before.profile, alike, description) if before.profile else None
    profile = {name: drift.profile(alike[name], kind) for name, kind in columns}
    names = [name for name in kinds if not of_a_date(name, description)]
    alarms = [
        *known_late(description.get("not_before", []), description),
        *copies(sampled.training_rows if sampled else [train], test, names, target, seed),
        *findings.drift_alarms(training, "the held-out part"),
        *(findings.last_seen(in_time[0], in_time[1], kinds, time) if time and by_time else []),
        *findings.drift_alarms(release or [], "these data, set beside those of the deployed release"),
        *newest_alarms(alike, description, before.newest),
    ]
    return {"drift": {"training": training, "release": release}, "profile": profile}, findings.each_level_once(alarms)


def _check_rows(holdout: pd.DataFrame, test: pd.Series, baselines: Iterable[str]) -> None:
    """Raise TaskError if the predictions are not those of the held-out rows, whose target is `test`."""
    for name in ["actual", "predicted", *(f"baseline_{name}" for name in baselines)]:
        if name not in holdout:
            raise TaskError(f"the held-out predictions have no column {name}. Run make run, and make report again.")
    if not np.array_equal(holdout["actual"], test):
        raise TaskError(_OTHER_ROWS)


def _released(path: Path) -> Before:
    """Return the profile in a release's diagnostics, how many rows its source had, and in which weeks.

    The weeks are None if an older version made the release.

    Raises
    ------
    TaskError
        The file is not the one that was signed, or is damaged.
    """
    # deployed/releases/NAME/diagnostics.json
    name, releases = path.parent.name, Releases(path.parents[2])
    try:
        found = releases.json(name, releases.sign_off(name, releases.history()), path.name)
        return Before(found["profile"], int(found["validation"]["rows"]), found.get("rows_by_week"))
    except (TaskError, KeyError, TypeError, ValueError) as error:
        raise TaskError(
            f"{path} is damaged. make verify lists the damaged files of the release. Restore it."
        ) from error


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--features", required=True, type=Path, help="the features; their .json beside them")
    parser.add_argument("--metrics", required=True, type=Path, help="what evaluate_model wrote, its rows beside it")
    parser.add_argument("--validation", required=True, type=Path, help="the validation report, kept for the reviewer")
    parser.add_argument("--output", required=True, type=Path, help="the JSON file to write")
    parser.add_argument("--raw", type=Path, help="the raw data, to see what was missing in them before cleaning")
    parser.add_argument(
        "--release", type=Path, help="the diagnostics.json of the deployed release, to compare the data"
    )
    parser.add_argument("--interval-level", type=float, default=0.9, help="what prediction intervals are to cover")
    parser.add_argument(
        "--least-difference", type=float, default=LEAST_DIFFERENCE, help="what matters, as a share of the MAE deployed"
    )
    parser.add_argument("--random-state", type=int, default=0, help="the seed")
    args = parser.parse_args(argv)
    with command_line.logged("compare_model", args, args.metrics):
        description = cast(Description, read_json(args.features.with_suffix(".json")))
        metrics, said = cast(Metrics, read_json(args.metrics)), cast(ValidationReport, read_json(args.validation))
        before = _released(args.release) if args.release else Before()
        own = metrics.get("custom_metrics")
        code = load_code(Path(own["file"]), own["sha256"])[0] if own else None
        sizes = cast(dict[str, int], description["split"]["rows"])
        columns = scan(args.features, description["kinds"])
        table, alike, rows = sample(args.features, columns, sizes)
        holdout, again = held_out(args.metrics.with_name("holdout_predictions.csv"), sizes["test"])
        for part, kind in (("train", "training"), ("test", "held-out")):
            check_count(args.features, rows[part], sizes[part], kind)
        if again != sizes["test"]:
            raise TaskError(_OTHER_ROWS)
        sampled = None
        if len(table) < sum(sizes.values()):
            logging.info("[compare_model] looks at %d of %d rows", len(table), sum(sizes.values()))
            needed = [*description["features"], description["target"]]
            training_rows = chosen(args.features, columns, "split", lambda split: split == "train", needed)
            sampled = _Sampled(alike, training_rows)
        level = args.interval_level
        if "intervals" in metrics:
            # That of the intervals that the model has.
            level = metrics["intervals"]["level"]
        # All matrices here are small: a second thread would mostly wait for the first.
        with threadpool_limits(1):
            options = ComparisonOptions(args.random_state, level, args.least_difference, code)
            found = compare_model(table, description, holdout, metrics, options, before, sampled)
        found["alarms"] += history_alarms(said["rows"], before.rows)
        if args.raw:
            found["alarms"] += missing_alarms(lacking(args.raw, description, said["profile"]), before.newest)
        found = rounded(found)
        # The contract's part of the report is read here, so that the report does not depend on another task.
        validation: Validation = {
            "status": said["status"],
            "contract": said["contract"],
            "rows": said["rows"],
            "violations": said["violations"],
        }
        write_json(args.output, {"model_sha256": metrics["model_sha256"], "validation": validation, **found})
        mae, (low, high) = metrics["model"]["test"]["MAE"], found["intervals"]["model"]["MAE"]
        logging.info("[compare_model] completed. MAE %.4f, 95%% interval %s to %s", mae, low, high)
        logging.info("[compare_model] wrote %s", args.output)


if __name__ == "__main__":
    main()
