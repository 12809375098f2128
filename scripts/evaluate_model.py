"""Score the model on the held-out part and on the training part, beside baselines, and judge its thresholds.

    python scripts/evaluate_model.py --model model/model.pkl --features data/features/features.csv \\
        --output reports/evaluation_metrics.json

A threshold that fails is a verdict, not a failure: the metrics say "failed", and the exit code is 0. The held-out rows
with their predictions go to holdout_predictions.csv beside the output.
"""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd

from signoff.base import command_line
from signoff.base.command_line import json_object
from signoff.base.files import read_json, write_json
from signoff.base.numbers import decimals
from signoff.features.user_code import load_code
from signoff.model.model_file import load_model
from signoff.model.scoring import BUILT_IN, metrics, predict
from signoff.model.thresholds import add_thresholds, given, judge
from signoff.release.store import use
from signoff.review.champion import ChampionError, open_champion, score_champion
from signoff.review.custom_metrics import call_metrics
from signoff.review.evaluation import baseline_column, baseline_name, score_file
from signoff.tables.batches import scan
from signoff.tables.contract import describe
from signoff.tables.table import read_table, write_table


def evaluate_model(
    predictions: dict[str, pd.Series],
    target: pd.Series,
    split: pd.Series,
    thresholds: dict[str, float] | None = None,
    champion: dict | None = None,
    own_metrics: Callable[[str, pd.Series, pd.Series], dict] | None = None,
    limits: dict[str, dict[str, float]] | None = None,
    training_score: dict | None = None,
) -> dict:
    """Return the metrics of every predictor and the verdict on the model's.

    Parameters
    ----------
    predictions
        For "model" and for each baseline its n predictions, in the target's unit; for the model those of the test part
        are enough where `training_score` is given.
    target
        The n true values.
    split
        "train" or "test" for each of the n rows.
    thresholds
        What the model's metrics on the test part must keep, by names of `thresholds.THRESHOLDS`.
    champion
        The deployed model: release, and predictions for the test part, or why there are none: problem.
    own_metrics
        What gives further metrics by name, from the predictor's name, its actual and its predicted values.
    limits
        For each metric by name its min, its max or both: further thresholds on the test part.
    training_score
        The model's metrics on the training part, where they are known already.

    Returns
    -------
    dict
        model and baselines (each: test and train → MAE, RMSE, median_absolute_error in the target's unit, R2, and
        own metrics),
        champion (None, or its release with test or problem), thresholds (each: name, metric, limit, value, passed)
        and verdict ("passed" or "failed").

    Raises
    ------
    TaskError
        A limit is one of no metric.
    """

    def score(name: str, values: pd.Series, part: str) -> dict:
        actual = target[split == part]
        predicted = values[actual.index]
        return metrics(actual, predicted) | (own_metrics(name, actual, predicted) if own_metrics else {})

    model = predictions["model"]
    model = {"test": score("model", model, "test"), "train": training_score or score("model", model, "train")}
    scores = {
        name: {part: score(name, values, part) for part in ("test", "train")}
        for name, values in predictions.items()
        if name != "model"
    }
    if champion:
        champion = dict(champion)
        if "predictions" in champion:
            champion["test"] = score("champion", champion.pop("predictions"), "test")
    return judged(model, scores, champion, thresholds or {}, limits)


def judged(model: dict, baselines: dict, champion: dict | None, *limits: dict | None) -> dict:
    """Return the scores of all predictors with the verdict on the model's; `limits` are the two of `judge`."""
    found = judge(model["test"], champion, *limits)
    verdict = "passed" if all(each["passed"] for each in found) else "failed"
    return {"model": model, "baselines": baselines, "champion": champion, "thresholds": found, "verdict": verdict}


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--model", required=True, type=Path, help="the model; its .json beside it")
    parser.add_argument("--features", required=True, type=Path, help="the features; their .json beside them")
    parser.add_argument("--output", required=True, type=Path, help="the JSON metrics to write")
    parser.add_argument("--baseline", metavar="COLUMN", help="also score this column as if it were the prediction")
    add_thresholds(parser)
    parser.add_argument("--champion", metavar="RELEASE", help="also score this release, on the same rows")
    parser.add_argument("--deployed", type=Path, help="the folder of the releases, where it is not deployed/")
    parser.add_argument("--allowed-signers", help="load the champion only if it was signed by one of these keys")
    parser.add_argument("--required-approvals", type=int, default=1, help="load the champion only with so many")
    parser.add_argument("--cleaned", type=Path, help="the cleaned data: make the champion's own features of them")
    parser.add_argument("--metrics", type=Path, help="a Python file with a function `metrics` of yours")
    parser.add_argument(
        "--limits", type=json_object, default={}, help='thresholds by metric: {"late": {"max": 0.1}}, also min'
    )
    parser.add_argument("--threads", type=int, default=1, help="cores to use, at most")
    parser.add_argument("--validation-report", type=Path, help="also keep this report's violations in the metrics")
    args = parser.parse_args(argv)
    with command_line.logged("evaluate_model", args, args.model):
        code, digest = load_code(args.metrics) if args.metrics else (None, None)
        metadata = read_json(args.model.with_suffix(".json"))
        model = load_model(args.model, metadata["sha256"])
        kinds = read_json(args.features.with_suffix(".json"))["kinds"]
        rule = {"allowed_signers": args.allowed_signers, "required_approvals": args.required_approvals}
        holdout = args.output.with_name("holdout_predictions.csv")
        if args.deployed:
            use(args.deployed)
        if code or args.cleaned:
            # The user's own code, and a champion's, get all rows at once.
            table = read_table(args.features, kinds).frame
            found, rows = evaluate_all(model, metadata, table, args, rule, code)
            write_table(rows, holdout)
        else:
            columns = scan(args.features, kinds)
            names = list(columns.kinds)
            champion = open_champion(args.champion, names, metadata, rule) if args.champion else None

            def verdict(scores: dict, baselines: dict, theirs: dict | None) -> dict:
                return judged(scores, baselines, theirs, given(args), args.limits)

            file = (model, metadata, args.features, columns, holdout, args.baseline)
            try:
                found = score_file(*file, champion, args.threads, verdict)
            except ChampionError as error:
                champion = {"release": args.champion, "problem": str(error)}
                found = score_file(*file, champion, args.threads, verdict)
        champion = found["champion"]
        names = [each for each in found["model"]["test"] if each not in BUILT_IN]
        found["custom_metrics"] = {"file": str(args.metrics), "sha256": digest, "names": names} if code else None
        context = ["target", "time_column", "estimator", "features", "left_out", "split", "cleaning", "versions"]
        found |= {name: metadata[name] for name in [*context, "custom"]}
        found |= {name: metadata[name] for name in ["candidates"] if name in metadata}
        found["model_sha256"] = metadata["sha256"]
        if args.validation_report:
            report = read_json(args.validation_report)
            found["validation"] = {name: report[name] for name in ("status", "violations")}
            for line in describe(report["violations"]):
                logging.warning("[evaluate_model] the raw data violate the contract: %s", line)
        write_json(args.output, found)
        score = found["model"]["test"]
        logging.info("[evaluate_model] completed. MAE: %.4f, R2: %s", score["MAE"], decimals(score["R2"]))
        for name in names:
            logging.info("[evaluate_model] %s: %s", name, decimals(score[name]))
        if champion and "problem" in champion:
            logging.warning(
                "[evaluate_model] champion %s cannot be scored: %s", champion["release"], champion["problem"]
            )
        elif champion:
            logging.info("[evaluate_model] champion %s: MAE: %.4f", args.champion, found["champion"]["test"]["MAE"])
        for each in found["thresholds"]:
            logging.info(
                "[evaluate_model] threshold %s %s: %s is %s",
                *(each["name"], each["limit"], each["metric"], decimals(each["value"])),
            )
            logging.info("[evaluate_model] threshold %s: %s", each["name"], "passed" if each["passed"] else "FAILED")
        logging.info("[evaluate_model] verdict: %s", found["verdict"])
        logging.info("[evaluate_model] wrote metrics to %s", args.output)


def evaluate_all(
    model: object,
    metadata: dict,
    table: pd.DataFrame,
    args: argparse.Namespace,
    rule: dict,
    code: ModuleType | None,
) -> tuple[dict, pd.DataFrame]:
    """Judge a model on features that are there as a whole, n rows; return the result, and the held-out rows."""
    target, split = table[metadata["target"]], table["split"]
    test = split == "test"
    # The training part was scored when the model was trained; a metric of the user's own sees it here first.
    rows = table if code else table[test]
    predictions = {
        "model": predict(model, rows[list(metadata["features"])], args.threads),
        "mean": pd.Series(target[split == "train"].mean(), table.index),
    }
    if args.baseline:
        predictions[baseline_name(args.baseline)] = baseline_column(table, args.baseline, metadata["features"])
    champion = None
    if args.champion:
        champion = score_champion(args.champion, table[test], metadata, rule, args.threads, args.cleaned)

    def own_metrics(name: str, actual: pd.Series, predicted: pd.Series) -> dict:
        return call_metrics(code, name, actual, predicted, table.loc[actual.index, list(metadata["features"])])

    own = own_metrics if code else None
    known = None if code else metadata["training_score"]
    found = evaluate_model(predictions, target, split, given(args), champion, own, args.limits, known)
    rows = pd.DataFrame({"actual": target[test]})
    if metadata["time_column"]:
        # Under a name of its own: the user's may be one of the others.
        rows.insert(0, "time", table[metadata["time_column"]][test])
    columns = {"model": "predicted", **{name: f"baseline_{name}" for name in predictions if name != "model"}}
    for name, column in columns.items():
        rows[column] = predictions[name][rows.index]
    if champion and "predictions" in champion:
        rows["champion"] = champion["predictions"]
    return found, rows


if __name__ == "__main__":
    main()
