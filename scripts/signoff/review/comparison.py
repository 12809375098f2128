"""The model beside the champion and the baselines: how sure each score is, how far they differ, what is worse."""

import math
from types import ModuleType

import pandas as pd

from signoff.model.scoring import HIGHER_IS_BETTER, METRIC_NAMES
from signoff.review import custom_metrics, intervals, reasons

# A smaller difference from the champion, as a share of its MAE, is no reason for an alarm, however sure it is.
LEAST_DIFFERENCE = 0.01
# So large a share of a slice's rows outside their prediction intervals, in shares of what is promised.
UNCOVERED = 3
FEWEST_COVERED = 100


def compare_predictors(
    metrics: dict,
    holdout: pd.DataFrame,
    features: pd.DataFrame,
    sampled: intervals.Resampling,
    code: ModuleType | None = None,
    seed: int = 0,
) -> tuple[dict, dict[str, dict]]:
    """Return what goes to diagnostics.json, and the model against each baseline.

    Parameters
    ----------
    metrics
        As `evaluate_model` gives them.
    holdout, features
        The n held-out rows: actual, predicted, baseline_… and, where there is one, champion; and their features.
    sampled
        How the n rows are drawn again.
    code
        The user's own metrics, as `custom.load_code` gives them, where `metrics` has such.
    seed
        The seed of every draw.

    Returns
    -------
    found : dict
        bootstrap, intervals, paired and differences (None without a champion).
    against : dict
        By baseline, as `intervals.paired` gives it.
    """
    names = {"model": "predicted", "champion": "champion"} | {name: f"baseline_{name}" for name in metrics["baselines"]}
    scored = {name: holdout[column].to_numpy("float64") for name, column in names.items() if column in holdout}
    scores = {"model": metrics["model"], "champion": metrics["champion"], **metrics["baselines"]}
    actual = holdout["actual"].to_numpy("float64")
    paired = {
        name: intervals.paired(actual, scored["model"], each, sampled)
        for name, each in scored.items()
        if name != "model"
    }
    resampled = {name: intervals.resampled_metrics(actual, each, sampled) for name, each in scored.items()}
    found = {
        "bootstrap": {"resamples": len(sampled.drawn), "blocks": sampled.drawn.shape[1], "by": sampled.by},
        "intervals": {name: intervals.metric_intervals(each, sampled) for name, each in resampled.items()},
        "paired": paired.pop("champion", None),
        "differences": None,
    }
    if found["paired"]:
        champion = scores["champion"]["test"]["MAE"]
        found["paired"]["matters"] = abs(found["paired"]["difference"]) >= LEAST_DIFFERENCE * champion
        ours, theirs = (scores[name]["test"] for name in ("model", "champion"))
        found["differences"] = {
            name: intervals.judged(
                math.nan if None in (ours[name], theirs[name]) else ours[name] - theirs[name],
                resampled["model"][name] - resampled["champion"][name],
                1 if name in HIGHER_IS_BETTER else -1,
                sampled,
            )
            for name in METRIC_NAMES
        }
    if code:
        own = metrics["custom_metrics"]["names"]
        limits = {(each["metric"], each["name"].removeprefix(f"{each['metric']}_")) for each in metrics["thresholds"]}
        spans, differences, found["bootstrap"]["own_metrics"] = custom_metrics.own_intervals(
            code,
            {name: {metric: scores[name]["test"].get(metric) for metric in own} for name in scored},
            actual,
            scored,
            features,
            sampled,
            # What has a least value only is to be large.
            {name: ((name, "min") in limits) - ((name, "max") in limits) for name in own},
            seed,
        )
        for name, each in spans.items():
            found["intervals"][name] |= each
        if found["paired"]:
            found["differences"] |= differences
    return found, paired


def comparison_alarms(found: dict) -> list[dict]:
    """Return the alarms of what is worse than the champion, and of prediction intervals that cover too little."""
    named, pair, covered = [], found["paired"], found["prediction_interval"]
    if pair and pair["verdict"] == "worse" and pair["matters"]:
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
    for row in covered["by_slice"]:
        outside, promised = 1 - row["coverage"], 1 - covered["level"]
        if row["rows"] >= FEWEST_COVERED and outside > UNCOVERED * promised:
            sentence = f"Where {row['feature']} is {row['value']} ({row['rows']:,} held-out rows), the prediction "
            sentence += f"interval that ships covers {row['coverage']:.1%}; {covered['level']:.0%} were promised."
            named.append(reasons.alarm("slice_coverage", row["feature"], sentence))
            break
    return named
