"""Score the model on the held-out part and on the training part, beside baselines, and judge its thresholds.

    python scripts/evaluate_model.py --model model/model.pkl --features data/features/features.csv \\
        --output reports/evaluation_metrics.json

A threshold that fails is a verdict, not a failure: the metrics say "failed", and the exit code is 0. The held-out rows
with their predictions go to holdout_predictions.csv beside the output.
"""

import argparse
import logging
from pathlib import Path
from types import ModuleType
from typing import cast

import pandas as pd

from signoff.base import command_line
from signoff.base.command_line import json_object
from signoff.base.config import ReleaseConfig
from signoff.base.files import read_json, write_json
from signoff.base.numbers import decimals
from signoff.features.history_state import history_facts
from signoff.features.holdout import check_count
from signoff.features.user_code import load_code
from signoff.model.model_file import load_model
from signoff.model.records import Metadata, Scores
from signoff.model.scoring import BUILT_IN
from signoff.model.thresholds import DeployedScores, add_thresholds, given_thresholds
from signoff.release.store import Releases
from signoff.review.champion import ChampionError, open_champion
from signoff.review.custom_metrics import call_metrics
from signoff.review.evaluation import Evaluation, FeatureRows, Gate, evaluate_rows
from signoff.tables.batches import scan
from signoff.tables.records import ValidationReport
from signoff.tables.table import read_table
from signoff.tables.violations import describe


def evaluate_model(args: argparse.Namespace, metadata: Metadata, code: ModuleType | None) -> Evaluation:
    """Evaluate the model of the command line, and write its held-out rows; `code` has the custom metrics."""
    model = load_model(args.model, metadata["sha256"])
    columns = scan(args.features, read_json(args.features.with_suffix(".json"))["kinds"])
    # Custom metrics, and a champion's own features, need all rows at once.
    frame = read_table(args.features, columns.kinds).frame if code or args.cleaned else None

    def own_metrics(name: str, actual: pd.Series, predicted: pd.Series) -> Scores:
        assert code is not None and frame is not None
        return call_metrics(code, name, actual, predicted, frame.loc[actual.index, list(metadata["features"])])

    gate = Gate(given_thresholds(args), args.limits, own_metrics if code else None)
    rows = FeatureRows(args.features, columns, frame)
    rule = ReleaseConfig(args.allowed_signers, args.required_approvals)
    champion = None
    if args.champion:
        champion = open_champion(
            args.champion, list(columns.kinds), metadata, rule, args.cleaned, Releases(args.deployed)
        )
    holdout = args.output.with_name("holdout_predictions.csv")
    try:
        return evaluate_rows(model, metadata, rows, holdout, gate, args.baseline, champion, args.threads)
    except ChampionError as error:
        problem: DeployedScores = {"release": args.champion, "problem": str(error)}
        return evaluate_rows(model, metadata, rows, holdout, gate, args.baseline, problem, args.threads)


def main(argv: list[str] | None = None) -> None:
    args = _parser().parse_args(argv)
    with command_line.logged("evaluate_model", args, args.model):
        code, digest = load_code(args.metrics) if args.metrics else (None, None)
        record = read_json(args.model.with_suffix(".json"))
        metadata = cast(Metadata, record)
        evaluation = evaluate_model(args, metadata, code)
        held_out = cast(int, evaluation["model"]["test"]["rows"])
        check_count(args.features, held_out, metadata["split"]["rows"]["test"], "held-out")
        names = [each for each in evaluation["model"]["test"] if each not in BUILT_IN]
        custom = {"file": str(args.metrics), "sha256": digest, "names": names} if code else None
        found = {**evaluation, "custom_metrics": custom}
        context = ["target", "time_column", "estimator", "features", "left_out", "split", "cleaning", "versions"]
        found |= {name: record[name] for name in [*context, "custom"]}
        training = ["candidates", "weight", "target_transform", "text", "intervals"]
        found |= {name: record[name] for name in training if name in record}
        if "history" in metadata:
            found["history"] = history_facts(metadata)
        found["model_sha256"] = metadata["sha256"]
        if args.validation_report:
            report = cast(ValidationReport, read_json(args.validation_report))
            found["validation"] = {"status": report["status"], "violations": report["violations"]}
            for line in describe(report["violations"]):
                logging.warning("[evaluate_model] the raw data violate the contract: %s", line)
        write_json(args.output, found)
        _log(evaluation, names)
        logging.info("[evaluate_model] wrote metrics to %s", args.output)


def _parser() -> argparse.ArgumentParser:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--model", required=True, type=Path, help="the model; its .json beside it")
    parser.add_argument("--features", required=True, type=Path, help="the features; their .json beside them")
    parser.add_argument("--output", required=True, type=Path, help="the JSON metrics to write")
    parser.add_argument("--baseline", metavar="COLUMN", help="also score this column as if it were the prediction")
    add_thresholds(parser)
    parser.add_argument("--champion", metavar="RELEASE", help="also score this release, on the same rows")
    parser.add_argument("--deployed", type=Path, default=Path("deployed"), help="the folder of the releases")
    parser.add_argument("--allowed-signers", help="load the champion only if it was signed by one of these keys")
    parser.add_argument("--required-approvals", type=int, default=1, help="load the champion only with this many")
    parser.add_argument("--cleaned", type=Path, help="the cleaned data: make the champion's own features of them")
    parser.add_argument("--metrics", type=Path, help="a Python file with a function `metrics` of yours")
    parser.add_argument(
        "--limits", type=json_object, default={}, help='thresholds by metric: {"late": {"max": 0.1}}, also min'
    )
    parser.add_argument("--threads", type=int, default=1, help="the most cores to use")
    parser.add_argument("--validation-report", type=Path, help="also keep this report's violations in the metrics")
    return parser


def _log(found: Evaluation, names: list[str]) -> None:
    """Log the scores, the thresholds and the verdict; `names` are the custom metrics."""
    score, champion = found["model"]["test"], found["champion"]
    logging.info("[evaluate_model] completed. MAE: %.4f, R2: %s", score["MAE"], decimals(score["R2"]))
    for name in names:
        logging.info("[evaluate_model] %s: %s", name, decimals(score[name]))
    if champion and "problem" in champion:
        logging.warning("[evaluate_model] champion %s cannot be scored: %s", champion["release"], champion["problem"])
    elif champion:
        logging.info("[evaluate_model] champion %s: MAE: %.4f", champion["release"], champion["test"]["MAE"])
    for each in found["thresholds"]:
        logging.info(
            "[evaluate_model] threshold %s %s: %s is %s",
            *(each["name"], each["limit"], each["metric"], decimals(each["value"])),
        )
        logging.info("[evaluate_model] threshold %s: %s", each["name"], "passed" if each["passed"] else "FAILED")
    logging.info("[evaluate_model] verdict: %s", found["verdict"])


if __name__ == "__main__":
    main()
