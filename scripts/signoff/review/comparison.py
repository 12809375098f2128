"""The model beside the champion and the baselines: how sure each score is, how far they differ, what is worse."""

import math
from types import ModuleType

import pandas as pd
from scipy import special

from signoff.model.scoring import HIGHER_IS_BETTER, METRIC_NAMES
from signoff.review import custom_metrics, intervals, reasons

# The smallest difference from the champion that matters, as a share of its MAE, if the config has no other.
LEAST_DIFFERENCE = 0.01
# A slice is worse than the champion if its MAE is larger by this share, and if so many slices rarely look so by chance.
_SLICE_DIFFERENCE, _RARE = 0.05, 0.005
# A slice is covered too little if this many times the promised share of its rows lies outside, and by chance as rarely.
_UNCOVERED, _FEWEST_COVERED = 3, 100


def compare_predictors(
    metrics: dict,
    holdout: pd.DataFrame,
    features: pd.DataFrame,
    sampled: intervals.Resampling,
    code: ModuleType | None = None,
    seed: int = 0,
    least_difference: float = LEAST_DIFFERENCE,
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
    least_difference
        The smallest difference from the champion that matters, as a share of its MAE.

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
        # The whole interval must lie beyond what matters: a difference that may be tiny is no reason for an alarm.
        ends = [0.0 if each is None else abs(each) for each in found["paired"]["interval"]]
        found["paired"]["matters"] = min(ends) >= least_difference * champion
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
    return [*_worse_than_champion(found), *_coverage(found["prediction_interval"])]


def _worse_than_champion(found: dict) -> list[dict]:
    """Return the alarms of a model, or of slices, that are surely worse than the champion, and by enough to matter."""
    named, pair = [], found["paired"]
    if pair and pair["verdict"] == "worse" and pair["matters"]:
        low, high = pair["interval"]
        sentence = f"It is worse than the deployed release: its MAE is {pair['difference']:.3g} larger (95% interval "
        named.append(reasons.alarm("worse_than_champion", None, f"{sentence}{low:.3g} to {high:.3g})."))
    worse = [each for each in found["slices"]["rows"] if each["worse"] and (each.get("p") or 0.0) < _RARE]
    for row in worse[:3]:
        if row["MAE"] >= (1 + _SLICE_DIFFERENCE) * row["champion_MAE"]:
            sentence = (
                f"Where {row['feature']} is {row['value']} ({row['rows']:,} rows), its MAE is {row['MAE']:.4g}, and "
            )
            sentence += f"that of the deployed release {row['champion_MAE']:.4g}."
            named.append(reasons.alarm("slice_worse", row["feature"], sentence))
    return named


def _coverage(covered: dict) -> list[dict]:
    """Return the alarms of prediction intervals that cover too little, of all rows or of a slice."""
    named = []
    sentence = reasons.short_of(covered)
    # Twice as many rows lie outside as promised.
    high = (covered.get("coverage_interval") or [None, None])[1]
    # The interval allows for days that are alike.
    if sentence and 1 - covered["coverage"] > 2 * (1 - covered["level"]) and (high is None or high < covered["level"]):
        named.append(reasons.alarm("coverage", None, sentence))
    if covered["coverage"] is None:
        return named
    promised, slices = 1 - covered["level"], covered["by_slice"]
    # Rows of one day are outside together: each slice is as unsure as all rows together are, in proportion.
    error = covered["coverage_error"] or 0.0
    independent = math.sqrt(promised * covered["level"] / max(covered["rows"], 1))
    alike = max(error / max(independent, 1e-12), 1.0)
    for row in slices:
        outside, chance = 1 - row["coverage"], alike * math.sqrt(promised * covered["level"] / row["rows"])
        rare = float(special.ndtr(-(outside - promised) / chance)) * len(slices) < _RARE
        if row["rows"] >= _FEWEST_COVERED and outside > _UNCOVERED * promised and rare:
            sentence = f"Where {row['feature']} is {row['value']} ({row['rows']:,} held-out rows), the prediction "
            sentence += f"interval that ships covers {row['coverage']:.1%}; {covered['level']:.0%} were promised."
            named.append(reasons.alarm("slice_coverage", row["feature"], sentence))
            break
    return named
