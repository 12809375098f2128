"""Work out what a reviewer needs beyond the thresholds: intervals, slices, drift, alarms, reasons for and against.

    python scripts/diagnose.py --features data/features/features.csv --metrics reports/evaluation_metrics.json \\
        --explanation reports/explanation.json --validation reports/validation_report.json \\
        --output reports/diagnostics.json

Beside the metrics holdout_predictions.csv is read, and beside the explanation out_of_sample_predictions.csv.
"""

import logging
import math
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

import drift
import findings
import intervals
import reasons
import task
import too_good
from comparison import compare_predictors, comparison_alarms
from custom import load_code
from recipe import of_a_date
from sample import held_out, sample
from stream import scan, tables
from table import read_table
from task import TaskError, read_json, write_json


def diagnose(
    table: pd.DataFrame,
    description: dict,
    holdout: pd.DataFrame,
    metrics: dict,
    explanation: dict,
    unseen: pd.DataFrame,
    seed: int = 0,
    interval_level: float = 0.9,
    before: dict | None = None,
    alike: pd.DataFrame | None = None,
    training_rows: Iterable[pd.DataFrame] | None = None,
    code: ModuleType | None = None,
) -> dict:
    """Return all that goes to diagnostics.json; docs/files.md tells what each part is.

    Parameters
    ----------
    table
        The features of all rows, with the target and the split.
    description
        What `feature_engineering` says of them.
    holdout
        The held-out rows, in the table's order: actual, predicted, baseline_…, where there are such time and champion.
    metrics
        As `evaluate_model` gives them.
    explanation, unseen
        As `explain_model` gives them.
    seed
        The seed of every draw and shuffle.
    interval_level
        The share of rows that prediction intervals are to cover.
    before
        The profile of the deployed release's rows, where it holds one.
    alike, training_rows
        Where `table` and `holdout` are samples: such of their rows as stand for all rows alike, training or held out;
        and the features of all training rows, some at a time. See `sample.sample`.
    code
        The user's own metrics, as `custom.load_code` gives them, where `metrics` has such.

    Raises
    ------
    TaskError
        The held-out rows, or the training rows that were predicted unseen, are not those of the table.
    """
    kinds, target, time = description["features"], description["target"], description["time_column"]
    alike = table if alike is None else alike
    train, test = (table[table["split"] == part].reset_index(drop=True) for part in ("train", "test"))
    check_rows(holdout, unseen, train[target], test[target], metrics["baselines"])
    by_time = description["split"]["by"] == "time"
    in_time = [
        each if not by_time or each[time].is_monotonic_increasing else each.sort_values(time, kind="stable")
        for each in (train, test)
    ]
    actual, predicted = (holdout[name].to_numpy("float64") for name in ("actual", "predicted"))
    moments = test[time] if time else None
    blocks, made_of = intervals.blocks_of(moments, len(test), seed)
    drawn = intervals.draws(int(blocks.max()) + 1, intervals.RESAMPLES, seed)
    found, against = compare_predictors(metrics, holdout, test[list(kinds)], blocks, drawn, code, seed)
    champion = holdout["champion"].to_numpy("float64") if "champion" in holdout else None
    all_slices = intervals.make_slices(table, kinds)
    is_test = (table["split"] == "test").to_numpy()
    slices = {name: (codes[is_test], labels) for name, (codes, labels) in all_slices.items()}
    found["bootstrap"]["by"] = made_of
    found |= {
        "level": intervals.LEVEL,
        "seed": seed,
        "slices": intervals.slice_table(slices, actual, predicted, champion, blocks, drawn),
        "drift": {
            "training": drift.compared(
                {name: drift.profile(train[name], kind) for name, kind in drift.columns(description)},
                in_time[1],
                description,
                in_time[0] if by_time else None,
            ),
            "release": drift.compared(before, alike, description) if before else None,
        },
        "profile": {name: drift.profile(alike[name], kind) for name, kind in drift.columns(description)},
        "prediction_interval": intervals.prediction_interval(
            actual, predicted, moments, by_time, slices, blocks, interval_level, seed
        ),
    }
    found |= {name: each for name, each in explanation.items() if name != "alarms"}
    found["alarms"] = [
        *explanation["alarms"],
        *too_good.known_late(description.get("not_before", []), description),
        *findings.empty_model(
            actual,
            predicted,
            found["intervals"]["model"],
            against["mean"],
            unseen["predicted"],
            unseen["actual"],
        ),
        *too_good.copies(
            training_rows or [train], test, [name for name in kinds if not of_a_date(name, description)], target, seed
        ),
        *too_good.gap(metrics["model"]["test"], metrics["baselines"]["mean"]["test"], found["out_of_sample"]),
        *findings.drift_alarms(found["drift"]["training"], "the held-out part"),
        *(findings.last_seen(*in_time, kinds, time) if by_time else []),
        *findings.drift_alarms(found["drift"]["release"] or [], "these data, set beside those of the deployed release"),
        *comparison_alarms(found),
    ]
    if len(unseen):
        then, periods = unseen["row"].to_numpy(), unseen["fold"].to_numpy()
        # A slice of the calendar is a few whole days, which say little.
        slices = {name: each for name, each in slices.items() if not of_a_date(name, description)}
        slices_then = {name: (codes[~is_test][then], labels) for name, (codes, labels) in all_slices.items()}
        blocks_then, _ = intervals.blocks_of(train.loc[then, time] if time else None, len(then), seed)
        errors = (unseen["predicted"] - unseen["actual"]).to_numpy("float64")
        found["alarms"] += findings.slice_bias(
            slices, slices_then, predicted - actual, blocks, errors, blocks_then, periods if by_time else 0 * periods
        )
    found["alarms"].sort(key=lambda each: -reasons.WEIGHTS[each["name"]])
    best = min(metrics["baselines"], key=lambda name: metrics["baselines"][name]["test"]["MAE"])
    found["reasons"] = reasons.reasons(metrics, found | {"against_best": {"name": best, **against[best]}})
    return rounded(found)


def check_rows(holdout: pd.DataFrame, unseen: pd.DataFrame, train: pd.Series, test: pd.Series, baselines: dict) -> None:
    """Raise TaskError where predictions are not those of the rows, whose target is `train` and `test`."""
    for name in ["actual", "predicted", *(f"baseline_{name}" for name in baselines)]:
        if name not in holdout:
            raise TaskError(f"the held-out predictions have no column {name}. Run make run, and make report again.")
    seen = train.reindex(unseen["row"])
    for which, found, expected in (("held-out", holdout, test), ("out-of-sample", unseen, seen)):
        if not np.array_equal(found["actual"], expected):
            raise TaskError(
                f"the {which} predictions are not those of these features. Run make run, and make report again."
            )


def released_profile(path: Path) -> dict:
    """Return the profile in a release's diagnostics. Raises TaskError where these are damaged."""
    try:
        return read_json(path)["profile"]
    except (TaskError, KeyError, TypeError) as error:
        raise TaskError(f"{path} is damaged: make verify tells which files of the release are. Restore it.") from error


def rounded(value: object) -> object:
    """Return a nested value with numbers of six digits, whatever order they were added up in; NaN becomes None."""
    if isinstance(value, dict):
        return {key: each if key == "profile" else rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def main(argv: list[str] | None = None) -> None:
    parser = task.arguments(__doc__)
    parser.add_argument("--features", required=True, type=Path, help="the features; their .json beside them")
    parser.add_argument("--metrics", required=True, type=Path, help="what evaluate_model wrote, its rows beside it")
    parser.add_argument("--explanation", required=True, type=Path, help="what explain_model wrote, its rows beside it")
    parser.add_argument("--validation", required=True, type=Path, help="the validation report, kept for the reviewer")
    parser.add_argument("--output", required=True, type=Path, help="the JSON file to write")
    parser.add_argument(
        "--release", type=Path, help="the diagnostics.json of the deployed release, to compare the data"
    )
    parser.add_argument("--interval-level", type=float, default=0.9, help="what prediction intervals are to cover")
    parser.add_argument("--random-state", type=int, default=0, help="the seed")
    args = parser.parse_args(argv)
    with task.logged("diagnose", args, args.metrics):
        description, metrics, explanation = map(
            read_json, [args.features.with_suffix(".json"), args.metrics, args.explanation]
        )
        if metrics["model_sha256"] != explanation.pop("model_sha256"):
            raise TaskError(
                f"{args.metrics} speaks of another model than {args.explanation}. Run make run, then make report."
            )
        before = released_profile(args.release) if args.release else None
        own = metrics.get("custom_metrics")
        code = load_code(Path(own["file"]), own["sha256"])[0] if own else None
        sizes = description["split"]["rows"]
        columns = scan(args.features, description["kinds"])
        table, alike, found = sample(args.features, columns, sizes)
        holdout, again = held_out(args.metrics.with_name("holdout_predictions.csv"), sizes["test"])
        if found != sizes or again != sizes["test"]:
            raise TaskError(
                "the held-out predictions are not those of these features. Run make run, and make report again."
            )
        rows = args.explanation.with_name("out_of_sample_predictions.csv")
        unseen = read_table(rows, dict.fromkeys(["row", "fold", "actual", "predicted"], "number")).frame
        training_rows = None
        if len(table) < sum(sizes.values()):
            logging.info("[diagnose] looks at %d of %d rows", len(table), sum(sizes.values()))
            everything = (each.frame for each in tables(args.features, columns))
            training_rows = (each[each["split"] == "train"] for each in everything)
        # All matrices here are small: a second thread would mostly wait for the first.
        with threadpool_limits(1):
            found = diagnose(
                table,
                description,
                holdout,
                metrics,
                explanation,
                unseen,
                args.random_state,
                args.interval_level,
                before,
                alike,
                training_rows,
                code,
            )
        # What the report says of the contract comes through here, so that the report waits for no further task.
        said = read_json(args.validation)
        validation = {name: said[name] for name in ("status", "contract", "rows", "violations")}
        write_json(args.output, {"model_sha256": metrics["model_sha256"], "validation": validation, **found})
        low, high = found["intervals"]["model"]["MAE"]
        logging.info(
            "[diagnose] completed. MAE %.4f, 95 %% interval %s to %s", metrics["model"]["test"]["MAE"], low, high
        )
        for each in found["alarms"]:
            logging.warning("[diagnose] alarm %s: %s", each["name"], each["sentence"])
        logging.info("[diagnose] wrote diagnostics to %s", args.output)


if __name__ == "__main__":
    main()
