"""Why to deploy a model and why not, in sentences; the weightiest first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from signoff.base.numbers import agreed, counted
from signoff.model.records import mae
from signoff.model.thresholds import DeployedScores, Threshold
from signoff.release.records import AlarmRecord, Best, Findings, Interval, Metrics, Pair, PredictionIntervals, Reason
from signoff.review.looked_for import nothing_found

# In standard errors; chance exceeds it once in two hundred times.
SURE = 2.6
_UNIT = "on the target's scale"
# The weight of each kind of alarm in the reasons against; a cause weighs more than its effects.
WEIGHTS = {
    "leak": 98,
    "not_before": 97,
    "constant_prediction": 96,
    "stuck": 95,
    "unit_change": 94,
    "history": 93,
    "stale": 93,
    "vanished_category": 92,
    "no_signal": 91,
    "volume": 90,
    "slice_bias": 90,
    "newest_errors": 89,
    "duplicates": 88,
    "refit_differs": 87,
    "overfit_gap": 82,
    "worse_than_champion": 80,
    "slice_worse": 70,
    "times": 63,
    "new_category": 62,
    "joint_change": 61,
    "degraded": 60,
    "drift": 56,
    "missing": 54,
    "coverage": 52,
    "slice_coverage": 51,
}


def alarm(name: str, feature: str | None, sentence: str) -> AlarmRecord:
    return {"name": name, "feature": feature, "sentence": sentence}


def vanished(feature: str, levels: list[str], sentence: str) -> AlarmRecord:
    """Return the alarm that these levels of a category do not occur any more, or hardly; see `each_level_once`."""
    return {**alarm("vanished_category", feature, sentence), "levels": levels}


def short_of(covered: PredictionIntervals) -> str | None:
    """Return the sentence on prediction intervals that cover less than they promise, by more than chance; else None."""
    if covered["coverage"] is None or covered["rows"] < 100:
        return None
    # If all rows are of one day, the standard error is unknown, and no conclusion is possible.
    short, error = covered["level"] - covered["coverage"], covered["coverage_error"]
    if short < 0.03 or error is None or short < SURE * error:
        return None
    sentence = f"Prediction intervals covered {covered['coverage']:.1%} of rows that they were not fitted on "
    if covered.get("fitted_half_width") is not None:
        sentence += f"(± {covered['fitted_half_width']:.4g}); what ships, ± {covered['half_width']:.4g}, covers "
        sentence += f"{covered['shipped_coverage']:.1%} of the same rows "
    return f"{sentence.rstrip()}; {covered['level']:.0%} were promised."


@dataclass(frozen=True)
class _Weighed:
    """A reason with its weight."""

    weight: int
    about: str
    sentence: str


class _Sides:
    """The reasons for the model and against it."""

    def __init__(self) -> None:
        self.good: list[_Weighed] = []
        self.bad: list[_Weighed] = []

    def ordered(self) -> dict[str, list[Reason]]:
        """Return the reasons of each side, the weightiest first."""
        sides = {"for": self.good, "against": self.bad}
        return {
            side: [
                {"about": each.about, "sentence": each.sentence}
                for each in sorted(found, key=lambda each: -each.weight)
            ]
            for side, found in sides.items()
        }


def reasons(metrics: Metrics, found: Findings) -> dict[str, list[Reason]]:
    """Return the reasons for and against the model, one sentence each, the weightiest first.

    Parameters
    ----------
    metrics
        As `evaluate_model` returns them.
    found
        intervals, paired, against_best (None, or as `intervals.paired` returns it, for the best baseline with its
        name), slices, prediction_interval and alarms.
    """
    sides, spans = _Sides(), found["intervals"]["model"]
    _say_of_thresholds(sides, metrics["thresholds"])
    sides.bad += [
        _Weighed(WEIGHTS[each["name"]], each["name"], each["sentence"])
        for each in found["alarms"]
        if each["name"] != "coverage"
    ]
    _say_of_narrow_thresholds(sides, metrics["thresholds"], spans)
    low, high = cast(list[float], spans["bias"])
    biased = low * high > 0
    if biased and min(abs(low), abs(high)) >= 0.05 * mae(metrics["model"]["test"]):
        words = f"Its predictions are off to one side: by {low:+.3g} to {high:+.3g} on average"
        sides.bad.append(_Weighed(48, "bias", f"{words} {_UNIT} (95% interval)."))
    _say_of_champion(sides, metrics["champion"] or {}, found["paired"])
    _say_of_baselines(sides, metrics, found["against_best"])
    judged = metrics.get("validation")
    violations = judged["violations"] if judged else []
    if violations:
        sides.bad.append(_Weighed(58, "contract", f"The data contract is violated {counted(len(violations), 'time')}."))
    slices = found["slices"]
    if found["paired"] and slices["looked_at"] and not any(each["worse"] for each in slices["rows"]):
        sentence = f"In none of {slices['looked_at']:,} slices is it significantly worse than the deployed release."
        sides.good.append(_Weighed(60, "slices", sentence))
    if not found["alarms"]:
        sides.good.append(_Weighed(70, "alarms", nothing_found(metrics, found, biased)))
    _say_of_intervals(sides, found["prediction_interval"])
    low, high = cast(list[float], spans["MAE"])
    sentence = f"Its MAE on rows like these lies between {low:.4g} and {high:.4g} {_UNIT} (95% interval)."
    sides.good.append(_Weighed(20, "error", sentence))
    return sides.ordered()


def _say_of_thresholds(sides: _Sides, thresholds: list[Threshold]) -> None:
    """Add whether every threshold is met."""
    missed = [
        f"{each['name']} {each['limit']:g}: {each['metric']} is "
        + ("undefined" if each["value"] is None else f"{each['value']:.4g}")
        for each in thresholds
        if not each["passed"]
    ]
    if missed:
        # One sentence for all, which leaves room for their possible causes.
        words = f"{len(missed)} of {counted(len(thresholds), 'threshold')} {agreed(len(missed), 'is', 'are')} missed"
        sides.bad.append(_Weighed(100, "thresholds", f"{words} ({'; '.join(missed)})."))
    elif thresholds:
        kept = ", ".join(
            f"{each['metric']} {each['value']:.4g} ({each['name']} {each['limit']:g})" for each in thresholds
        )
        sides.good.append(_Weighed(90, "thresholds", f"Every threshold is met: {kept}."))


def _say_of_narrow_thresholds(sides: _Sides, thresholds: list[Threshold], spans: Mapping[str, Interval]) -> None:
    """Add the thresholds that lie inside the interval of their metric."""
    for each in thresholds:
        low, high = spans.get(each["metric"], (None, None))
        if each["passed"] and low is not None and high is not None and low < each["limit"] < high:
            words = f"The threshold {each['name']} {each['limit']:g} is met narrowly: the 95% interval of "
            sides.bad.append(
                _Weighed(50, "narrow_thresholds", f"{words}{each['metric']} goes from {low:.4g} to {high:.4g}.")
            )


def _say_of_champion(sides: _Sides, champion: DeployedScores, ours: Pair | None) -> None:
    """Add how the MAE differs from the deployed release's."""
    if not ours:
        if "problem" in champion:
            sides.bad.append(
                _Weighed(66, "champion", f"The deployed release could not be scored beside it: {champion['problem']}")
            )
        return
    lower, upper = ours["interval"]
    span = f"{ours['difference']:+.3g} (95% interval {lower:+.3g} to {upper:+.3g}) {_UNIT}"
    if ours["verdict"] == "better":
        sides.good.append(_Weighed(95, "champion", f"It is better than the deployed release: MAE differs by {span}."))
    elif ours["verdict"] == "worse" and not ours.get("matters", True):
        sides.bad.append(
            _Weighed(40, "champion", f"It is slightly worse than the deployed release: MAE differs by {span}.")
        )
    elif ours["verdict"] == "cannot be told apart":
        sides.bad.append(
            _Weighed(30, "champion", f"It cannot be told apart from the deployed release: MAE differs by {span}.")
        )
    elif not ours["matters"]:
        words = "It is worse than the deployed release by too little for an alarm"
        sides.bad.append(_Weighed(45, "champion", f"{words}: MAE differs by {span}."))


def _say_of_baselines(sides: _Sides, metrics: Metrics, best: Best) -> None:
    """Add how the MAE differs from the best baseline's, and which baselines are better by R2."""
    model, theirs = metrics["model"]["test"], metrics["baselines"][best["name"]]["test"]
    share = 1 - mae(model) / mae(theirs) if theirs["MAE"] else 0.0
    words = f"of the best baseline ({best['name']}), {model['MAE']:.4g} against {theirs['MAE']:.4g} {_UNIT}"
    if best["verdict"] == "better":
        sides.good.append(_Weighed(80, "baselines", f"Its MAE is {share:.1%} below that {words}."))
    elif best["verdict"] == "worse":
        sides.bad.append(_Weighed(84, "baselines", f"Its MAE is {-share:.1%} above that {words}."))
    else:
        sides.bad.append(_Weighed(68, "baselines", f"Its MAE cannot be told apart from that {words}."))
    for name, scores in metrics["baselines"].items():
        r2, ours = scores["test"]["R2"], model["R2"]
        if r2 is not None and ours is not None and r2 > ours:
            sides.bad.append(
                _Weighed(35, "baselines", f"By R2 the baseline {name} is better: {r2:.4g} against {ours:.4g}.")
            )


def _say_of_intervals(sides: _Sides, covered: PredictionIntervals) -> None:
    """Add whether the prediction intervals cover as much as they promise."""
    if (too_few := short_of(covered)) is not None:
        sides.bad.append(_Weighed(WEIGHTS["coverage"], "coverage", too_few))
    if covered["coverage"] is not None and abs(covered["coverage"] - covered["level"]) <= 0.03:
        half = covered.get("fitted_half_width") or covered["half_width"]
        width = f"± {half:.4g}" if half else f"{covered['mean_width']:.4g} wide on average, they"
        sentence = f"Its prediction intervals hold: {width} covered {covered['coverage']:.1%} of "
        sides.good.append(
            _Weighed(
                40, "coverage", f"{sentence}rows that they were not fitted on ({covered['level']:.0%} were promised)."
            )
        )
