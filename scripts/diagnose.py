"""Collect what a reviewer needs beyond the thresholds: intervals, slices, drift, alarms, reasons for and against.

    python scripts/diagnose.py --metrics reports/evaluation_metrics.json --explanation reports/explanation.json \\
        --comparison reports/comparison.json --output reports/diagnostics.json
"""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import parsed_json, read_bytes, read_json, write_json
from signoff.model.records import Scores, mae
from signoff.release.records import (
    AlarmRecord,
    Compared,
    Diagnostics,
    Difference,
    Explained,
    Findings,
    Interval,
    Metrics,
    OutOfSample,
    RefitRecord,
)
from signoff.review.reasons import SURE, WEIGHTS, alarm, reasons

# The held-out error is too good below this share of the error on training rows that the model had not seen, and too
# bad above this multiple.
_TOO_GOOD, _TOO_BAD = 0.6, 1.5
# As a share of the smallest error in any span of the training rows.
_TOO_GOOD_OF_BEST = 0.8
# Chance explains a larger difference less often than this.
_RARE = 0.01


def diagnose(
    metrics: Metrics,
    explanation: Explained,
    comparison: Compared,
    refit: RefitRecord | None = None,
) -> Diagnostics:
    """Return the content of diagnostics.json; docs/files.md says what each part is.

    Parameters
    ----------
    metrics, explanation, comparison
        The results of `evaluate_model`, `explain_model` and `compare_model`.
    refit
        The result of `refit_model`, if the model was trained again on all rows.
    """
    scores = {name: each["test"] for name, each in metrics["baselines"].items()}
    best = min(scores, key=lambda name: mae(scores[name]))
    against = comparison["baselines"]
    alarms = [
        *explanation["alarms"],
        *_no_signal(metrics["model"]["test"], comparison["intervals"]["model"], against["mean"], explanation),
        *_gap(metrics["model"]["test"], scores["mean"], explanation["out_of_sample"]),
        *comparison["alarms"],
        *(refit["alarms"] if refit else []),
    ]
    inner = ("alarms", "baselines", "order")
    parts: tuple[Mapping[str, object], ...] = (comparison, explanation)
    found: dict[str, Any] = {name: each for part in parts for name, each in part.items() if name not in inner}
    if refit:
        found["refit"] = {
            "sha256": refit["sha256"],
            "training_rows": refit["training_rows"],
            "last_time": refit["last_time"],
            "agreement": refit["agreement"],
        }
    found["alarms"] = sorted(alarms, key=lambda each: -WEIGHTS[each["name"]])
    found["against_best"] = {"name": best, **against[best]}
    found["reasons"] = reasons(metrics, cast(Findings, found))
    return cast(Diagnostics, found)


def _no_signal(
    scores: Scores, intervals: dict[str, Interval], against_mean: Difference, explanation: Explained
) -> list[AlarmRecord]:
    """Return an alarm if the predictions have nothing to do with the target.

    Parameters
    ----------
    scores, intervals
        MAE and R2 of the model on the held-out rows, and their intervals.
    against_mean
        The comparison of the model with the mean, as `intervals.paired` returns it.
    explanation
        order (see `empty_model.order`), and alarms: a single prediction for all rows has an alarm of its own.
    """
    if any(each["name"] == "constant_prediction" for each in explanation["alarms"]):
        return []
    r2, low = scores["R2"], intervals["R2"][0]
    if explanation["order"] >= SURE or against_mean["verdict"] == "better":
        return []
    if (low is not None and low > 0.01) or (r2 is not None and r2 >= 0.1):
        return []
    low, high = against_mean["interval"]
    known = "undefined" if r2 is None else f"{r2:.3f}"
    sentence = f"The model knows nothing that the mean does not: R2 is {known}, and its MAE less that of the mean lies "
    return [alarm("no_signal", None, f"{sentence}between {low:.3g} and {high:.3g}.")]


def _gap(metrics: Scores, mean: Scores, unseen: OutOfSample | None) -> list[AlarmRecord]:
    """Return an alarm if the held-out score is far from that on training rows that the model had not seen.

    Parameters
    ----------
    metrics, mean
        MAE and R2 of the model and of the mean on the held-out rows.
    unseen
        MAE of models on training rows that they had not seen, best_MAE of the best span of these, mean_MAE of the mean
        there, R2, the mean `fall` of the error with more rows (a ratio), and `p` of the difference between the MAEs.
    """
    if not unseen or not unseen["MAE"] or not mean["MAE"] or unseen["p"] >= _RARE:
        return []
    ratio = mae(metrics) / unseen["MAE"]
    easier = (mae(metrics) / mae(mean)) / (unseen["MAE"] / unseen["mean_MAE"]) if unseen["mean_MAE"] else ratio
    words = (
        f"MAE is {metrics['MAE']:.4g} on the held-out rows, and {unseen['MAE']:.4g} on training rows that the model "
    )
    # A model that has seen more rows may be as much better again.
    if max(ratio, easier) < _TOO_GOOD * unseen["fall"] and mae(metrics) < _TOO_GOOD_OF_BEST * unseen["best_MAE"]:
        return [alarm("overfit_gap", None, f"{words}had not seen: too good, as if held-out rows were known to it.")]
    if min(ratio, easier) > _TOO_BAD:
        return [alarm("degraded", None, f"{words}had not seen: {ratio:.1f} times as much.")]
    return []


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--metrics", required=True, type=Path, help="what evaluate_model wrote")
    parser.add_argument("--explanation", required=True, type=Path, help="what explain_model wrote")
    parser.add_argument("--comparison", required=True, type=Path, help="what compare_model wrote")
    parser.add_argument("--refit", type=Path, help="what refit_model wrote, if it ran")
    parser.add_argument("--output", required=True, type=Path, help="the JSON file to write")
    args = parser.parse_args(argv)
    with command_line.logged("diagnose", args, args.metrics):
        paths = [args.metrics, args.explanation, args.comparison, *([args.refit] if args.refit else [])]
        content = read_bytes(args.metrics)
        parts: list[Any] = [parsed_json(content, args.metrics), *(read_json(path) for path in paths[1:])]
        for path, part in zip(paths, parts, strict=True):
            if part["model_sha256"] != parts[0]["model_sha256"]:
                raise TaskError(
                    f"{args.metrics} was computed for a different model than {path}. Run make run, then make report."
                )
        found = diagnose(*parts)
        write_json(args.output, {**found, "metrics_sha256": hashlib.sha256(content).hexdigest()})
        logging.info("[diagnose] completed. Alarms: %d", len(found["alarms"]))
        for each in found["alarms"]:
            logging.warning("[diagnose] alarm %s: %s", each["name"], each["sentence"])
        logging.info("[diagnose] wrote diagnostics to %s", args.output)


if __name__ == "__main__":
    main()
