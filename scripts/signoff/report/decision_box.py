"""What the numbers say of deploying: yes, no, or look closer, and why; the box that opens the report."""

from signoff.release.verdict import verdict
from signoff.report.document import Box, Code, Items, number


def decision(metrics: dict, diagnostics: dict) -> dict:
    """Return what the numbers say of deploying: deploy (yes, no, look closer), why, verdict, for, against."""
    _, failures = verdict(diagnostics["validation"], metrics)
    paired = diagnostics["paired"]
    doubts = [each["name"] + (f" ({each['feature']})" if each["feature"] else "") for each in diagnostics["alarms"]]
    if paired and paired["verdict"] == "worse" and "worse_than_champion" not in doubts:
        doubts.append("worse_than_champion")
    if failures:
        deploy, why = "no", [f"{each[0].upper()}{each[1:]}." for each in failures]
    elif doubts:
        # In short, since the weightiest stand under the reasons against.
        asks = f"{len(doubts)} alarms ask" if len(doubts) > 1 else "1 alarm asks"
        named = f"{', '.join(doubts[:8])}{', …' if len(doubts) > 8 else ''}"
        deploy, why = "look closer", [f"{asks} for a closer look: {named}."]
    else:
        kept = "Every threshold is kept" if metrics["thresholds"] else "No threshold is set"
        deploy, why = "yes", [f"{kept}, the data contract holds, and no alarm stands."]
    if len(why) > 3:
        why = [*why[:3], f"… and {len(why) - 3} more."]
    failed = [each for each in metrics["thresholds"] if not each["passed"]]
    words = ("✗ FAILED: " if failed else "✓ PASSED: ") + verdict_sentence(metrics, failed)
    sides = {side: diagnostics["reasons"][side][:3] for side in ("for", "against")}
    return {"deploy": deploy, "why": why, "verdict": words, **sides}


def decision_box(found: dict) -> Box:
    """Return the box that opens the report; `found` as `decision` returns it."""
    tone, mark = {"yes": ("good", "✓"), "no": ("bad", "✗"), "look closer": ("doubt", "?")}[found["deploy"]]
    sides = {name.capitalize(): found[name] or ["Nothing was found."] for name in ("for", "against")}
    last = ["This is what the numbers say. A person decides: ", Code("make sign-off"), "."]
    blocks = [Items(found["why"]) if len(found["why"]) > 1 else found["why"][0], found["verdict"], last]
    return Box(tone, f"{mark} Deploy? {found['deploy'].capitalize()}", blocks, sides)


def verdict_sentence(metrics: dict, failed: list[dict]) -> str:
    """Return the verdict in words: the thresholds, and the model beside the best baseline."""
    if not metrics["thresholds"]:
        words = "no threshold is set"
    elif failed:
        words = "; ".join(
            f"{each['metric']} {number(each['value'])} misses {each['name']} {number(each['limit'])}" for each in failed
        )
    else:
        words = f"all {len(metrics['thresholds'])} thresholds are kept"
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
