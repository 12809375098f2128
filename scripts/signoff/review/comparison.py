"""Comparison of the model with the champion and the baselines: intervals of scores, differences, and alarms."""

import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy import special

from signoff.model.scoring import HIGHER_IS_BETTER, METRIC_NAMES
from signoff.model.thresholds import Threshold
from signoff.release.records import AlarmRecord, Bootstrap, Compared, Difference, Metrics, Pair, PredictionIntervals
from signoff.review import custom_metrics, intervals, reasons

# The default of the smallest difference from the champion that matters, as a share of its MAE.
LEAST_DIFFERENCE = 0.01
# A slice is worse than the champion if its MAE is larger by this share, and significantly so among all slices.
_SLICE_DIFFERENCE, _RARE = 0.05, 0.005
# A slice is undercovered if the share of its rows outside is this multiple of the promised one, and significantly more
# than the multiple that is usual: intervals are calibrated on all rows together.
_UNCOVERED, _USUAL_UNCOVERED, _RARE_UNCOVERED, _FEWEST_COVERED = 2, 1.5, 0.05, 100


def compare_predictors(
    metrics: Metrics,
    holdout: pd.DataFrame,
    features: pd.DataFrame,
    sampled: intervals.Resampling,
    code: ModuleType | None = None,
    seed: int = 0,
    least_difference: float = LEAST_DIFFERENCE,
) -> tuple[dict[str, Any], dict[str, Pair]]:
    """Return the comparison for diagnostics.json, and that of the model with each baseline.

    Parameters
    ----------
    metrics
        As `evaluate_model` returns them.
    holdout, features
        The n held-out rows: actual, predicted, baseline_… and champion (if any); and their features.
    sampled, seed
        How the n rows are resampled, and the seed of every other draw.
    code
        The custom metrics, as `user_code.load_code` returns them, if `metrics` has any.
    least_difference
        The smallest difference from the champion that matters, as a share of its MAE.

    Returns
    -------
    found : dict
        bootstrap, intervals, paired and differences (None without a champion).
    against : dict
        The comparison with each baseline, as `intervals.paired` returns it.
    """
    rows = _held_out(metrics, holdout, features)
    actual, made = rows.actual, rows.predictions
    pairs = {
        name: intervals.paired(actual, made["model"], each, sampled) for name, each in made.items() if name != "model"
    }
    resampled = {name: intervals.resampled_metrics(actual, each, sampled) for name, each in made.items()}
    resamples, blocks = sampled.drawn.shape
    bootstrap: Bootstrap = {"resamples": resamples, "blocks": blocks, "by": sampled.by}
    spans = {name: intervals.metric_intervals(each, sampled) for name, each in resampled.items()}
    paired, differences = pairs.pop("champion", None), None
    if paired:
        champion = rows.scores["champion"]["MAE"]
        assert champion is not None
        # The whole interval must exceed the difference that matters: one that may be tiny raises no alarm.
        low, high = intervals.sure_interval(actual, made["model"], made["champion"], sampled)
        paired["matters"] = max(low, -high) >= least_difference * champion
        differences = _differences(rows, resampled, sampled)
    if code:
        assert metrics["custom_metrics"] is not None, "the metrics name the custom ones"
        own = metrics["custom_metrics"]["names"]
        better = _better(own, metrics["thresholds"])
        more, gaps, bootstrap["own_metrics"] = custom_metrics.own_intervals(code, own, rows, sampled, better, seed)
        for name, each in more.items():
            spans[name] |= each
        if differences is not None:
            differences |= gaps
    return {"bootstrap": bootstrap, "intervals": spans, "paired": paired, "differences": differences}, pairs


def _held_out(metrics: Metrics, holdout: pd.DataFrame, features: pd.DataFrame) -> custom_metrics.HeldOut:
    """Return the held-out rows with the predictors that have predictions for them."""
    scores: dict[str, Any] = {"model": metrics["model"], "champion": metrics["champion"], **metrics["baselines"]}
    columns = {"model": "predicted", "champion": "champion"}
    columns |= {name: f"baseline_{name}" for name in metrics["baselines"]}
    columns = {name: column for name, column in columns.items() if column in holdout}
    return custom_metrics.HeldOut(
        features,
        holdout["actual"].to_numpy("float64"),
        {name: holdout[column].to_numpy("float64") for name, column in columns.items()},
        {name: scores[name]["test"] for name in columns},
    )


def _differences(
    rows: custom_metrics.HeldOut, resampled: Mapping[str, Mapping[str, np.ndarray]], sampled: intervals.Resampling
) -> dict[str, Difference]:
    """Return how each built-in metric of the model differs from the champion's."""
    found = {}
    for name in METRIC_NAMES:
        ours, theirs = (rows.scores[predictor][name] for predictor in ("model", "champion"))
        gap = math.nan if ours is None or theirs is None else ours - theirs
        better = 1 if name in HIGHER_IS_BETTER else -1
        found[name] = intervals.judged_difference(
            gap, resampled["model"][name] - resampled["champion"][name], better, sampled
        )
    return found


def _better(names: list[str], thresholds: list[Threshold]) -> dict[str, int]:
    """Return 1 for a custom metric that has only a minimum, -1 if it has only a maximum, and 0 if it is unknown."""
    limits = {(each["metric"], each["name"].removeprefix(f"{each['metric']}_")) for each in thresholds}
    return {name: ((name, "min") in limits) - ((name, "max") in limits) for name in names}


def comparison_alarms(found: Compared) -> list[AlarmRecord]:
    """Return the alarms about a model worse than the champion, and about intervals that cover too few rows."""
    return [*_worse_than_champion(found), *_coverage(found["prediction_interval"])]


def _worse_than_champion(found: Compared) -> list[AlarmRecord]:
    """Return the alarms about a model, or slices, significantly worse than the champion, by enough to matter."""
    named, pair = [], found["paired"]
    if pair and pair["verdict"] == "worse" and pair["matters"]:
        low, high = pair["interval"]
        sentence = f"It is worse than the deployed release: its MAE is {pair['difference']:.3g} larger (95% interval "
        named.append(reasons.alarm("worse_than_champion", None, f"{sentence}{low:.3g} to {high:.3g})."))
    worse = [each for each in found["slices"]["rows"] if each["worse"] and (each.get("p") or 0.0) < _RARE]
    for row in worse[:3]:
        # The whole interval must lie beyond what matters.
        low, theirs = cast(list[float], row["difference_interval"])[0], cast(float, row["champion_MAE"])
        if low >= _SLICE_DIFFERENCE * theirs:
            sentence = (
                f"Where {row['feature']} is {row['value']} ({row['rows']:,} rows), its MAE is {row['MAE']:.4g}, and "
            )
            sentence += f"that of the deployed release {theirs:.4g}."
            named.append(reasons.alarm("slice_worse", row["feature"], sentence))
    return named


def _coverage(covered: PredictionIntervals) -> list[AlarmRecord]:
    """Return the alarms about prediction intervals that cover too few rows, overall or in a slice."""
    named = []
    sentence = reasons.short_of(covered)
    # Beside the smallest shortfall that matters, which the sentence has, chance is allowed for: days are alike.
    if sentence and (covered["coverage_p"] is None or covered["coverage_p"] < _RARE):
        named.append(reasons.alarm("coverage", None, sentence))
    if covered["coverage"] is None:
        return named
    promised = 1 - covered["level"]
    for row in covered["by_slice"]:
        outside = 1 - row["coverage"]
        p = _at_least(outside, row["independent"], _USUAL_UNCOVERED * promised) * covered["slices"]
        if row["rows"] >= _FEWEST_COVERED and outside > _UNCOVERED * promised and p < _RARE_UNCOVERED:
            sentence = f"Where {row['feature']} is {row['value']} ({row['rows']:,} held-out rows), the prediction "
            sentence += f"interval that ships covers {row['coverage']:.1%}; {covered['level']:.0%} were promised."
            named.append(reasons.alarm("slice_coverage", row["feature"], sentence))
            break
    return named


def _at_least(share: float, rows: float, usual: float) -> float:
    """Return the binomial probability of this share of n rows or a larger one, if `usual` is the expected one.

    The tail of a normal distribution is several times too small here: few rows are expected outside. n need not be
    whole.
    """
    hits = share * rows
    return float(special.betainc(hits, rows - hits + 1, min(usual, 1.0))) if hits > 0 else 1.0
