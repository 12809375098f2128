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
import own_metrics
import reasons
import task
import too_good
from custom import load_code
from recipe import columns_used
from sample import held_out, sample
from scoring import HIGHER_IS_BETTER, METRICS
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
    for name in ["actual", "predicted", *(f"baseline_{name}" for name in metrics["baselines"])]:
        if name not in holdout:
            raise TaskError(f"the held-out predictions have no column {name}. Run make run, and make report again.")
    train, test = (table[table["split"] == part].reset_index(drop=True) for part in ("train", "test"))
    if len(holdout) != len(test) or not np.array_equal(holdout["actual"], test[target]):
        raise TaskError(
            "the held-out predictions are not those of these features. Run make run, and make report again."
        )
    seen = train[target].reindex(unseen["row"]).to_numpy("float64")
    if not np.array_equal(unseen["actual"], seen):
        raise TaskError(
            "the out-of-sample predictions are not those of these features. Run make run, and make report again."
        )
    by_time = description["split"]["by"] == "time"
    in_time = [
        each if not by_time or each[time].is_monotonic_increasing else each.sort_values(time, kind="stable")
        for each in (train, test)
    ]
    actual, predicted = (holdout[name].to_numpy("float64") for name in ("actual", "predicted"))
    moments = test[time] if time else None
    blocks, made_of = intervals.blocks_of(moments, len(test), seed)
    drawn = intervals.draws(int(blocks.max()) + 1, intervals.RESAMPLES, seed)
    scored = {"model": predicted}
    if "champion" in holdout:
        scored["champion"] = holdout["champion"].to_numpy("float64")
    scored |= {name: holdout[f"baseline_{name}"].to_numpy("float64") for name in metrics["baselines"]}
    champion = scored.get("champion")
    all_slices = intervals.make_slices(table, kinds)
    is_test = (table["split"] == "test").to_numpy()
    slices = {name: (codes[is_test], labels) for name, (codes, labels) in all_slices.items()}
    best = min(metrics["baselines"], key=lambda name: metrics["baselines"][name]["test"]["MAE"])

    def against(theirs: np.ndarray) -> dict:
        return intervals.paired(actual, predicted, theirs, blocks, drawn)

    resampled = {name: intervals.resampled_metrics(actual, each, blocks, drawn) for name, each in scored.items()}
    found = {
        "level": intervals.LEVEL,
        "seed": seed,
        "bootstrap": {"resamples": len(drawn), "by": made_of, "blocks": drawn.shape[1]},
        "intervals": {name: intervals.metric_intervals(each) for name, each in resampled.items()},
        "paired": against(champion) if champion is not None else None,
        "differences": None,
        "slices": intervals.slice_table(slices, actual, predicted, champion, blocks, drawn),
        "drift": {
            "training": compared(
                {name: drift.profile(train[name], kind) for name, kind in columns(description)},
                in_time[1],
                description,
                in_time[0] if by_time else None,
            ),
            "release": compared(before, alike, description) if before else None,
        },
        "profile": {name: drift.profile(alike[name], kind) for name, kind in columns(description)},
        "prediction_interval": intervals.prediction_interval(
            actual, predicted, moments, by_time, slices, blocks, interval_level, seed
        ),
    }
    scores = {"model": metrics["model"], "champion": metrics["champion"], **metrics["baselines"]}
    if champion is not None:
        ours, theirs = (scores[name]["test"] for name in ("model", "champion"))
        found["differences"] = {
            name: intervals.judged(
                math.nan if None in (ours[name], theirs[name]) else ours[name] - theirs[name],
                resampled["model"][name] - resampled["champion"][name],
                1 if name in HIGHER_IS_BETTER else -1,
            )
            for name in METRICS
        }
    if code:
        own = metrics["custom_metrics"]["names"]
        limits = {(each["metric"], each["name"].removeprefix(f"{each['metric']}_")) for each in metrics["thresholds"]}
        spans, differences, found["bootstrap"]["own_metrics"] = own_metrics.own_intervals(
            code,
            {name: {metric: scores[name]["test"].get(metric) for metric in own} for name in scored},
            actual,
            scored,
            test[list(kinds)],
            blocks,
            # What has a least value only is to be large.
            {name: ((name, "min") in limits) - ((name, "max") in limits) for name in own},
            seed,
        )
        for name, each in spans.items():
            found["intervals"][name] |= each
        if champion is not None:
            found["differences"] |= differences
    found |= {name: each for name, each in explanation.items() if name != "alarms"}
    found["alarms"] = [
        *explanation["alarms"],
        *too_good.known_late(description.get("not_before", []), description),
        *findings.empty_model(
            actual,
            predicted,
            found["intervals"]["model"],
            against(scored["mean"]),
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
    found["reasons"] = reasons.reasons(metrics, found | {"against_best": {"name": best, **against(scored[best])}})
    return rounded(found)


def released_profile(path: Path) -> dict:
    """Return the profile in a release's diagnostics. Raises TaskError where these are damaged."""
    try:
        return read_json(path)["profile"]
    except (TaskError, KeyError, TypeError) as error:
        raise TaskError(f"{path} is damaged: make verify tells which files of the release are. Restore it.") from error


def columns(description: dict) -> list[tuple[str, str]]:
    """Return the features and the target, each with its kind."""
    return [*description["features"].items(), (description["target"], "number")]


def compared(profiles: dict, later: pd.DataFrame, description: dict, earlier: pd.DataFrame | None = None) -> list[dict]:
    """Return how each column of later rows differs from its profile, the largest shift first.

    `earlier` are the rows that the profiles are of, where both parts are in the order of time.
    """
    rows = [
        drift.compare(name, profiles[name], later[name], of_a_date(name, description))
        for name, kind in columns(description)
        if name in profiles and profiles[name]["kind"] == kind
    ]
    if earlier is not None:
        rows = [drift.news(row, earlier[row["feature"]], later[row["feature"]]) for row in rows]
    return sorted(rows, key=lambda row: (not row["flagged"], -(row["psi"] or 0.0)))


def of_a_date(name: str, description: dict) -> bool:
    """Tell whether a feature is made of a date: it then changes with time by construction."""
    how = description["recipe"].get(name)
    if not how:
        return False
    dates = {column for column, about in description.get("columns", {}).items() if about["kind"] == "date"}
    return "part" in how or bool(dates & set(columns_used({name: how})))


def comparison_alarms(found: dict) -> list[dict]:
    """Return the alarms of what is worse than the champion, and of prediction intervals that cover too little."""
    named, pair, covered = [], found["paired"], found["prediction_interval"]
    if pair and pair["verdict"] == "worse":
        low, high = pair["interval"]
        sentence = f"It is worse than the deployed release: its MAE is {pair['difference']:.3g} larger (95 % interval "
        named.append(reasons.alarm("worse_than_champion", None, f"{sentence}{low:.3g} to {high:.3g})."))
    for row in [each for each in found["slices"]["rows"] if each["worse"]][:3]:
        if row["MAE"] >= 1.05 * row["champion_MAE"]:
            sentence = (
                f"Where {row['feature']} is {row['value']} ({row['rows']:,} rows), its MAE is {row['MAE']:.4g}, and "
            )
            sentence += f"that of the deployed release {row['champion_MAE']:.4g}."
            named.append(reasons.alarm("slice_worse", row["feature"], sentence))
    sentence = reasons.short_of(covered)
    # Outside are twice as many rows as promised.
    if sentence and 1 - covered["coverage"] > 2 * (1 - covered["level"]):
        named.append(reasons.alarm("coverage", None, sentence))
    return named


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
