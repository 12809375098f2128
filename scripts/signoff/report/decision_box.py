"""Whether the numbers support a deployment (yes, no, or look closer), and why: the box at the top of the report."""

from collections.abc import Sequence
from dataclasses import dataclass

from signoff.base.errors import TaskError
from signoff.base.numbers import agreed, counted
from signoff.model.thresholds import Threshold
from signoff.release.records import Best, Diagnostics, Metrics, Reason, SliceRow, Visible, VisibleInSegment, Week
from signoff.release.verdict import verdict
from signoff.report.document import Block, Box, Code, Items, Words, number

# With fewer held-out rows, the scores are not reliable enough, whatever their intervals are.
_FEWEST_ROWS = 100
# The largest change that may go unseen, as a share of the mean: of all new targets, and of those of one segment. The
# model's gain over the best baseline is no such limit: a change of a few percent, which is less than what varies from
# week to week, may equal it.
_MOST_UNSEEN, _MOST_UNSEEN_OF_SEGMENT = 0.2, 1 / 3
# The largest share of a segment's newest targets that may be noise and rather go unseen: if all of them were noise, the
# alarms must rather see it.
_MOST_NOISE = 1.0
_MOST_REASONS = 3
_MOST_ALARMS = 8
# Reasons about these repeat what the box says above them.
_SAID_ABOVE = {"thresholds", "contract", "baselines"}
_LOOKS = {"yes": ("good", "✓"), "no": ("bad", "✗"), "look closer": ("doubt", "⚠")}


@dataclass(frozen=True)
class _Decision:
    """The content of the box: `deploy` is "yes", "no" or "look closer"; the other parts are sentences."""

    deploy: str
    why: list[str]
    verdict: str
    where: list[str]
    sides: dict[str, list[str]]


def decision(metrics: Metrics, diagnostics: Diagnostics, live: Sequence[str] = ()) -> _Decision:
    """Return the content of the box.

    "Yes" needs thresholds that are set and met, a data contract without violations, no alarm, _FEWEST_ROWS held-out
    rows, a best baseline that is beaten by an interval that excludes 0, no baseline that is better by R2, and enough
    new rows to see a change of _MOST_UNSEEN, and of _MOST_UNSEEN_OF_SEGMENT in each segment, and to see rather than not
    that the targets of a segment are noise. `live` has the warnings about the deployed release. They do not speak
    against the new model; `where` begins with them.

    Raises
    ------
    TaskError
        The diagnostics were written by an older version of the workflow.
    """
    _, failures = verdict(diagnostics["validation"], metrics)
    best = diagnostics["against_best"]
    if best["verdict"] == "worse":
        failures = [*failures, f"it is worse than the best baseline: {_difference(best)}"]
    doubts = _doubts(metrics, diagnostics)
    if failures:
        deploy, why = "no", [f"{each[0].upper()}{each[1:]}." for each in failures]
    elif doubts:
        deploy, why = "look closer", doubts
    else:
        kept = f"All thresholds are met, the data contract holds, no alarm was raised, at least {_FEWEST_ROWS} rows "
        deploy, why = "yes", [f"{kept}are held out, and the best baseline is beaten: {_difference(best)}."]
    if len(why) > _MOST_REASONS:
        why = [*why[:_MOST_REASONS], f"… and {len(why) - _MOST_REASONS} more."]
    sides = {side: _not_yet_said(diagnostics["reasons"][side])[:3] for side in ("for", "against")}
    for side, sentences in sides.items():
        if not sentences:
            above = diagnostics["reasons"][side] or (side == "against" and deploy != "yes")
            sentences.append("Nothing besides what is said above." if above else "Nothing was found.")
    return _Decision(deploy, why, _scores(metrics), [*live, *_where(metrics, diagnostics)], sides)


def _not_yet_said(reasons: list[Reason]) -> list[str]:
    """Return the sentences of the reasons that the box does not give above them.

    Raises
    ------
    TaskError
        Older versions of the workflow did not write what a reason is about.
    """
    try:
        return [each["sentence"] for each in reasons if each["about"] not in _SAID_ABOVE]
    except TypeError:
        message = "The diagnostics were written by another version of the workflow. Run make report."
        raise TaskError(message) from None


def decision_box(found: _Decision) -> Box:
    """Return the box at the top of the report."""
    tone, mark = _LOOKS[found.deploy]
    sides: dict[str, list[Words]] = {side.capitalize(): [*sentences] for side, sentences in found.sides.items()}
    blocks: list[Block] = [
        Items([*found.why]) if len(found.why) > 1 else found.why[0],
        found.verdict,
        *([Items([*found.where])] if found.where else []),
        ["This is what the numbers say. A person decides: ", Code("make sign-off"), "."],
    ]
    return Box(tone, f"{mark} Deploy? {found.deploy.capitalize()}", blocks, sides)


def _doubts(metrics: Metrics, diagnostics: Diagnostics) -> list[str]:
    """Return why a model that has not failed needs a closer look, one sentence each."""
    found, best, rows = [], diagnostics["against_best"], int(metrics["model"]["test"]["rows"] or 0)
    # By name only, since the most important ones are among the reasons against.
    alarms = [
        each["name"].replace("_", " ") + (f" ({each['feature']})" if each["feature"] else "")
        for each in diagnostics["alarms"]
    ]
    if alarms:
        named = ", ".join([*alarms[:_MOST_ALARMS], *(["…"] if len(alarms) > _MOST_ALARMS else [])])
        asks = f"{counted(len(alarms), 'alarm')} {agreed(len(alarms), 'asks', 'ask')}"
        found.append(f"{asks} for a closer look: {named}.")
    if best["verdict"] != "better":
        found.append(f"It is not established that it beats the best baseline: {_difference(best)}.")
    found += [f"{each[0].upper()}{each[1:]}." for each in _better_by_r2(metrics)]
    if not metrics["thresholds"]:
        found.append("No threshold is set, so nothing says what is good enough.")
    found += _unseen(diagnostics)
    if rows < _FEWEST_ROWS:
        held_out = f"{counted(rows, 'row')} {agreed(rows, 'is', 'are')}"
        found.append(f"Only {held_out} held out; fewer than {_FEWEST_ROWS} say too little.")
    return found


def _unseen(diagnostics: Diagnostics) -> list[str]:
    """Return a sentence if no check could have seen a large change of all new targets, or of those of a segment."""
    visible = diagnostics.get("visible")
    if visible is None:
        return []
    share, worst, where = visible["share"], visible["segment"], f"all targets of {_span(visible['days'])}"
    if share is not None and share <= _MOST_UNSEEN:
        if worst is None or (worst["share"] or 1.0) <= _MOST_UNSEEN_OF_SEGMENT:
            return _unseen_noise(visible)
        share, where = worst["share"], f"the newest targets where {worst['feature']} is {worst['value']}"
    size = "of any size" if share is None else f"of less than ± {share:.0%}"
    words = f"The new rows are too few, or vary too much: a change {size} of {where} could go unseen."
    return [f"{words} More rows a week, or more weeks, would show smaller changes.", *_unseen_noise(visible)]


def _unseen_noise(visible: Visible) -> list[str]:
    """Return a sentence if a segment's newest targets could be noise, and no check would be likely to see it."""
    noise = visible.get("noise")
    if noise is None or (noise["share"] is not None and noise["share"] <= _MOST_NOISE):
        return []
    where = f"where {noise['feature']} is {noise['value']}"
    words = f"If the newest targets {where} had nothing to do with the features, that would probably go unseen: "
    return [f"{words}the new rows are too few, or the model explains too little of them."]


def _difference(best: Best) -> str:
    """Return how the model's MAE differs from that of the best baseline, with the interval."""
    far = best["difference"]
    words = f"its MAE is {number(abs(far))} {'above' if far > 0 else 'below'} that of {best['name']}"
    low, high = best["interval"]
    return words if low is None else f"{words} (95% interval of the difference: {number(low)} to {number(high)})"


def _better_by_r2(metrics: Metrics) -> list[str]:
    """Return a sentence for each baseline with a higher R2 than the model's."""
    ours, found = metrics["model"]["test"]["R2"], []
    for name, scores in metrics["baselines"].items():
        theirs = scores["test"]["R2"]
        if ours is not None and theirs is not None and theirs > ours:
            found.append(f"by R2 the baseline {name} is better ({number(theirs)} against {number(ours)})")
    return found


def _scores(metrics: Metrics) -> str:
    """Return the verdict on the thresholds, and the model's MAE with that of the best baseline."""
    thresholds = metrics["thresholds"]
    missed = [each for each in thresholds if not each["passed"]]
    if missed:
        words = f"✗ FAILED: {'; '.join(map(_missed, missed))}"
    elif thresholds:
        count = len(thresholds)
        which = {1: "the threshold is", 2: "both thresholds are"}.get(count, f"all {count} thresholds are")
        words = f"✓ PASSED: {which} met"
    else:
        words = "No threshold is set"
    mae = {name: float(scores["test"]["MAE"] or 0) for name, scores in metrics["baselines"].items()}
    best, ours = min(mae, key=lambda name: mae[name]), float(metrics["model"]["test"]["MAE"] or 0)
    share = 1 - ours / mae[best] if mae[best] else 0.0
    words += f". On the held-out rows the model's MAE is {number(ours)}, {abs(share):.1%} "
    words += f"{'below' if share >= 0 else 'ABOVE'} that of the best baseline ({best}, {number(mae[best])})"
    return f"{'; '.join([words, *_better_by_r2(metrics)])}."


def _missed(threshold: Threshold) -> str:
    """Return which threshold is missed, and by what value."""
    return f"{threshold['metric']} {number(threshold['value'])} misses {threshold['name']} {number(threshold['limit'])}"


def _where(metrics: Metrics, diagnostics: Diagnostics) -> list[str]:
    """Return where to look: the worst slice and week, the newest weeks, and the feature that the model rests on."""
    found, mae = [], float(metrics["model"]["test"]["MAE"] or 0)
    if rows := diagnostics["slices"]["rows"]:
        found.append(f"Worst slice: {_slice(_worst(rows, mae))}.")
    weeks = diagnostics["by_week"]
    if len(weeks) > 1:
        found.append(f"Worst week: {_week(max(weeks, key=lambda week: week['MAE']))}.")
        found.append(f"Newest weeks: {'; '.join(map(_week, weeks[-2:]))}.")
    if rests := diagnostics.get("rests_on"):
        names = " and ".join(rests["features"])
        it, are = ("it", "Is") if len(rests["features"]) == 1 else ("them", "Are")
        times = rests["MAE_without"] / rests["MAE"] if rests["MAE"] else float("inf")
        question = "" if rests.get("known_before") else f" {are} {names} known when predictions are made?"
        found.append(f"It rests on {names}: without {it} the error is {times:.1f} times as large.{question}")
    if visible := diagnostics.get("visible"):
        found += _seen(visible)
    return found


def _seen(visible: Visible) -> list[str]:
    """Return a sentence on the smallest changes that would have been seen, of all new targets and of a segment."""
    if visible["share"] is None:
        return []
    words = f"A change of ± {visible['share']:.0%} in all targets of {_span(visible['days'])} would have been seen"
    if (worst := visible["segment"]) is None:
        return [f"{words}."]
    noise = visible.get("noise")
    said = [] if noise is None or _unseen_noise(visible) else [_noise_seen(noise)]
    where = f"where {worst['feature']} is {worst['value']} (the least visible segment)"
    if worst["share"] is None:
        return [f"{words}, but none in the rows {where}.", *said]
    return [f"{words}, and one of ± {worst['share']:.0%} {where}.", *said]


def _noise_seen(noise: VisibleInSegment) -> str:
    """Return a sentence on how much noise in the newest targets of a segment would probably have been seen."""
    where = f"{noise['feature']} is {noise['value']} (the least visible segment)"
    return f"Noise in {noise['share']:.0%} of the newest targets where {where} would probably have been seen."


def _span(days: int) -> str:
    """Return a phrase for the newest days."""
    return f"the newest {days // 7} weeks" if days % 7 == 0 and days > 7 else f"the newest {days} days"


def _worst(rows: list[SliceRow], mae: float) -> SliceRow:
    """Return the slice with the largest error among those whose interval lies above the MAE of all rows.

    If there are none, the one that comes closest: the largest error is often that of a few rows.
    """
    sure = [row for row in rows if row["MAE_interval"][0] is not None and row["MAE_interval"][0] > mae]
    return max(sure, key=lambda row: row["MAE"]) if sure else max(rows, key=lambda row: row["MAE_interval"][0] or 0.0)


def _slice(row: SliceRow) -> str:
    """Return a slice with its figures."""
    low, high = row["MAE_interval"]
    interval = "" if low is None else f" (95% interval {number(low)} to {number(high)})"
    figures = f"MAE {number(row['MAE'])}{interval} and bias {number(row['bias'])}"
    return f"{row['feature']} = {row['value']} ({counted(row['rows'], 'row')}), with {figures}"


def _week(week: Week) -> str:
    """Return a week with its figures."""
    figures = f"MAE {number(week['MAE'])} and bias {number(week['bias'])}"
    return f"from {week['time']} ({counted(week['rows'], 'row')}), with {figures}"
