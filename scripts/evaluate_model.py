"""Score the model on the held-out part and on the training part, beside baselines, and judge its thresholds.

    python scripts/evaluate_model.py --model model/model.pkl --features data/features/features.csv \\
        --output reports/evaluation_metrics.json

A threshold that fails is a verdict, not a failure: the metrics say "failed", and the exit code is 0. The held-out rows
with their predictions go to holdout_predictions.csv beside the output.
"""

import logging
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

import task
from contract import describe
from table import read_table, write_table
from task import TaskError, nearest, read_json, sha256, write_json


def evaluate_model(
    predictions: dict[str, pd.Series], target: pd.Series, split: pd.Series, mae_max: float | None, r2_min: float | None
) -> dict:
    """Return the metrics of every predictor and the verdict on the model's.

    Parameters
    ----------
    predictions
        For "model" and for each baseline its n predictions, in the target's unit.
    target
        The n true values.
    split
        "train" or "test" for each of the n rows.
    mae_max, r2_min
        The thresholds that the model's metrics on the test part must keep; None: no such threshold.

    Returns
    -------
    dict
        model and baselines (each: test and train → MAE, RMSE, median_absolute_error in the target's unit, R2),
        thresholds (each: name, metric, limit, value, passed) and verdict ("passed" or "failed").
    """
    scores = {
        name: {part: metrics(target[split == part], values[split == part]) for part in ("test", "train")}
        for name, values in predictions.items()
    }
    model = scores.pop("model")
    mae, r2 = model["test"]["MAE"], model["test"]["R2"]
    thresholds = []
    if mae_max is not None:
        thresholds.append(
            {"name": "mae_max", "metric": "MAE", "limit": mae_max, "value": mae, "passed": mae <= mae_max}
        )
    if r2_min is not None:
        passed = r2 is not None and r2 >= r2_min
        thresholds.append({"name": "r2_min", "metric": "R2", "limit": r2_min, "value": r2, "passed": passed})
    verdict = "passed" if all(each["passed"] for each in thresholds) else "failed"
    return {"model": model, "baselines": scores, "thresholds": thresholds, "verdict": verdict}


def metrics(actual: pd.Series, predicted: pd.Series) -> dict[str, float | int | None]:
    """Return rows, MAE, RMSE, median absolute error and R2 (None where the actual values are constant)."""
    error = (predicted - actual).to_numpy(dtype="float64")
    spread = float(((actual - actual.mean()) ** 2).sum())
    return {
        "rows": len(error),
        "MAE": float(np.abs(error).mean()),
        "RMSE": float(np.sqrt((error**2).mean())),
        "median_absolute_error": float(np.median(np.abs(error))),
        "R2": 1 - float((error**2).sum()) / spread if spread else None,
    }


def load_model(path: Path) -> tuple[object, dict]:
    """Return the model and its metadata, after the file's digest was found to be the one that was written down.

    Raises
    ------
    TaskError
        The file is not the one that train_model wrote: unpickling could run anything.
    """
    metadata = read_json(path.with_suffix(".json"))
    if sha256(path) != metadata["sha256"]:
        raise TaskError(f"{path} is not the file that {path.with_suffix('.json')} describes. Train the model again.")
    return joblib.load(path), metadata


def main(argv: list[str] | None = None) -> None:
    parser = task.arguments(__doc__)
    parser.add_argument("--model", required=True, type=Path, help="the model; its .json beside it")
    parser.add_argument("--features", required=True, type=Path, help="the features; their .json beside them")
    parser.add_argument("--output", required=True, type=Path, help="the JSON metrics to write")
    parser.add_argument("--baseline", metavar="COLUMN", help="also score this column as if it were the prediction")
    parser.add_argument("--mae-max", type=float, help="threshold: the largest mean absolute error")
    parser.add_argument("--r2-min", type=float, help="threshold: the least R2")
    parser.add_argument("--threads", type=int, default=1, help="cores to use, at most")
    parser.add_argument("--validation-report", type=Path, help="also keep this report's violations in the metrics")
    args = parser.parse_args(argv)
    with task.logged("evaluate_model", args, args.model):
        model, metadata = load_model(args.model)
        table = read_table(args.features, read_json(args.features.with_suffix(".json"))["kinds"]).frame
        target, split = table[metadata["target"]], table["split"]
        predictions = {
            "model": predict(model, table[list(metadata["features"])], args.threads),
            "mean": pd.Series(target[split == "train"].mean(), table.index),
        }
        if args.baseline:
            name = f"column {args.baseline}" if args.baseline in predictions else args.baseline
            predictions[name] = baseline_column(table, args.baseline, metadata["features"])
        found = evaluate_model(predictions, target, split, args.mae_max, args.r2_min)
        context = ["target", "time_column", "estimator", "features", "left_out", "split", "cleaning", "versions"]
        found |= {name: metadata[name] for name in context}
        found["model_sha256"] = metadata["sha256"]
        if args.validation_report:
            report = read_json(args.validation_report)
            found["validation"] = {name: report[name] for name in ("status", "violations")}
            for line in describe(report["violations"]):
                logging.warning("[evaluate_model] the raw data violate the contract: %s", line)
        test = split == "test"
        rows = pd.DataFrame({"actual": target[test]})
        if metadata["time_column"]:
            # Under a name of its own: the user's may be one of the others.
            rows.insert(0, "time", table[metadata["time_column"]][test])
        names = {"model": "predicted", **{name: f"baseline_{name}" for name in predictions if name != "model"}}
        for name, column in names.items():
            rows[column] = predictions[name][test]
        write_table(rows, args.output.with_name("holdout_predictions.csv"))
        write_json(args.output, found)
        score = found["model"]["test"]
        logging.info("[evaluate_model] completed. MAE: %.4f, R2: %s", score["MAE"], number(score["R2"]))
        for each in found["thresholds"]:
            logging.info(
                "[evaluate_model] threshold %s %s: %s is %s",
                *(each["name"], each["limit"], each["metric"], number(each["value"])),
            )
            logging.info("[evaluate_model] threshold %s: %s", each["name"], "passed" if each["passed"] else "FAILED")
        logging.info("[evaluate_model] verdict: %s", found["verdict"])
        logging.info("[evaluate_model] wrote metrics to %s", args.output)


def predict(model: object, features: pd.DataFrame, threads: int) -> pd.Series:
    """Return the model's prediction for each row, made on so many cores at most."""
    with threadpool_limits({"openmp": min(threads, joblib.cpu_count()), "blas": 1}):
        return pd.Series(model.predict(features), features.index)


def baseline_column(table: pd.DataFrame, column: str, features: dict[str, str]) -> pd.Series:
    """Return the feature that stands in for a prediction. Raises TaskError where it is no number, or missing."""
    numbers = [name for name, kind in features.items() if kind == "number"]
    if column not in numbers:
        raise TaskError(f"evaluation.baseline: {column!r} is no numeric feature; {nearest(column, numbers)}")
    if table[column].isna().any():
        raise TaskError(f"evaluation.baseline: {column!r} is missing in some rows, so it predicts nothing there.")
    return table[column]


def number(value: float | None) -> str:
    """Return a metric with four decimals, or "undefined"."""
    return "undefined" if value is None else f"{value:.4f}"


if __name__ == "__main__":
    main()
