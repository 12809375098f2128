"""What the numbers say of deploying: yes, no, or look closer, and why; the box that opens the report."""

from signoff.release.verdict import verdict
from signoff.report.document import Box, Code, Items, number

# Fewer held-out rows say too little, whatever their intervals are.
FEWEST_ROWS = 100


def decision(metrics: dict, diagnostics: dict) -> dict:
    """Return what the numbers say of deploying: deploy (yes, no, look closer), why, verdict, where, for, against.

    "Yes" needs thresholds that are set and passed, a contract that holds, no alarm, FEWEST_ROWS held-out rows, and a
    best baseline that is beaten by an interval without 0.
    """
    _, failures = verdict(diagnostics["validation"], metrics)
    best = diagnostics["against_best"]
    if best["verdict"] == "worse":
        failures = [*failures, f"its MAE is above that of the best baseline: {gain_words(best)}"]
    doubts = _doubts(metrics, diagnostics)
    if failures:
        deploy, why = "no", [f"{each[0].upper()}{each[1:]}." for each in failures]
    elif doubts:
        deploy, why = "look closer", doubts
    else:
        gain = f"the best baseline is beaten: {gain_words(best)}"
        deploy, why = "yes", [f"Every threshold is kept, the data contract holds, there is no alarm, and {gain}."]
    if len(why) > 3:
        why = [*why[:3], f"… and {len(why) - 3} more."]
    failed = [each for each in metrics["thresholds"] if not each["passed"]]
    words = ("✗ FAILED: " if failed else "✓ PASSED: ") if metrics["thresholds"] else ""
    words += verdict_sentence(metrics, failed)
    sides = {side: diagnostics["reasons"][side][:3] for side in ("for", "against")}
    return {"deploy": deploy, "why": why, "verdict": words, "where": where(diagnostics, metrics), **sides}


def _doubts(metrics: dict, diagnostics: dict) -> list[str]:
    """Return why a model that has not failed needs a closer look, one sentence each."""
    found, best, rows = [], diagnostics["against_best"], metrics["model"]["test"]["rows"]
    alarms = [each["name"] + (f" ({each['feature']})" if each["feature"] else "") for each in diagnostics["alarms"]]
    if alarms:
        asks = f"{len(alarms)} alarms ask" if len(alarms) > 1 else "1 alarm asks"
        # In short, since the weightiest are under the reasons against.
        named = f"{', '.join(alarms[:8])}{', …' if len(alarms) > 8 else ''}"
        found.append(f"{asks} for a closer look: {named}.")
    if best["verdict"] == "cannot be told apart":
        found.append(f"It is not established that it beats the best baseline: {gain_words(best)}.")
    if not metrics["thresholds"]:
        found.append("No threshold is set, so nothing says what is good enough.")
    if rows < FEWEST_ROWS:
        found.append(f"Only {rows:,} rows are held out; fewer than {FEWEST_ROWS} say too little.")
    return found


def gain_words(best: dict) -> str:
    """Return how the model's MAE differs from that of the best baseline, with the interval."""
    words = f"MAE of the model − MAE of {best['name']} = {number(best['difference'])}"
    low, high = best["interval"]
    return words if low is None else f"{words} (95 % interval {number(low)} to {number(high)})"


def where(diagnostics: dict, metrics: dict) -> list[str]:
    """Return where to look: the worst slice and week, the newest weeks, and the feature that the model rests on."""
    found, mae = [], metrics["model"]["test"]["MAE"]
    if rows := diagnostics["slices"]["rows"]:
        worst = max(rows, key=lambda row: row["MAE"])
        found.append(
            f"Worst slice: {worst['feature']} {worst['value']} ({worst['rows']:,} rows), MAE {number(worst['MAE'])}, "
            f"bias {number(worst['bias'])}; all held-out rows: MAE {number(mae)}."
        )
    weeks = diagnostics["by_week"]
    if len(weeks) > 1:
        worst = max(weeks, key=lambda week: week["MAE"])
        found.append(f"Worst week: {_week(worst)}. Newest weeks: {'; '.join(map(_week, weeks[-2:]))}.")
    by_rise = sorted(diagnostics["importance"], key=lambda each: -each["mean"])
    if (
        by_rise
        and mae
        and by_rise[0]["mean"] >= mae
        and (len(by_rise) == 1 or by_rise[0]["mean"] >= 3 * by_rise[1]["mean"])
    ):
        name, times = by_rise[0]["feature"], 1 + by_rise[0]["mean"] / mae
        found.append(
            f"It rests on {name}: without it the error is {times:.1f} times as large. "
            f"Is {name} known when predictions are made?"
        )
    return found


def _week(week: dict) -> str:
    """Return the week's figures in words."""
    return f"from {week['time']} ({week['rows']:,} rows) MAE {number(week['MAE'])}, bias {number(week['bias'])}"


def decision_box(found: dict) -> Box:
    """Return the box that opens the report; `found` as `decision` returns it."""
    tone, mark = {"yes": ("good", "✓"), "no": ("bad", "✗"), "look closer": ("doubt", "?")}[found["deploy"]]
    sides = {name.capitalize(): found[name] or ["Nothing was found."] for name in ("for", "against")}
    last = ["This is what the numbers say. A person decides: ", Code("make sign-off"), "."]
    blocks = [
        Items(found["why"]) if len(found["why"]) > 1 else found["why"][0],
        found["verdict"],
        *([Items(found["where"])] if found["where"] else []),
        last,
    ]
    return Box(tone, f"{mark} Deploy? {found['deploy'].capitalize()}", blocks, sides)


def verdict_sentence(metrics: dict, failed: list[dict]) -> str:
    """Return the verdict in words: the thresholds, and the model beside the best baseline."""
    if not metrics["thresholds"]:
        words = "No threshold is set"
    elif failed:
        words = "; ".join(
            f"{each['metric']} {number(each['value'])} misses {each['name']} {number(each['limit'])}" for each in failed
        )
    else:
        count = len(metrics["thresholds"])
        words = "the threshold is kept" if count == 1 else f"all {count} thresholds are kept"
    best = min(metrics["baselines"], key=lambda name: metrics["baselines"][name]["test"]["MAE"])
    ours, theirs = metrics["model"]["test"], metrics["baselines"][best]["test"]
    share = 1 - ours["MAE"] / theirs["MAE"] if theirs["MAE"] else 0.0
    sentence = f"{words}. On the held-out rows the model's MAE is {number(ours['MAE'])}, "
    sentence += f"{abs(share):.1%} {'below' if share >= 0 else 'ABOVE'} that of the best baseline "
    sentence += f"({best}, {number(theirs['MAE'])})"
    for name, scores in metrics["baselines"].items():
        theirs = scores["test"]
        if None not in (ours["R2"], theirs["R2"]) and theirs["R2"] > ours["R2"]:
            sentence += f"; by R2 the baseline {name} is better ({number(theirs['R2'])} against {number(ours['R2'])})"
    return sentence + "."
