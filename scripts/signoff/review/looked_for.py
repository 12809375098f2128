"""One sentence on the faults that the diagnostics looked for and did not find."""

from collections.abc import Mapping
from typing import cast

from signoff.base.numbers import listed
from signoff.release.records import DriftRow, Findings, Metrics

# By the alarm that would report it. The other alarms judge the model's scores and intervals, which have their own
# reasons.
_ROWS = {
    "leak": "leaks",
    "duplicates": "copied rows",
    "unit_change": "changed units",
    "vanished_category": "vanished categories",
    "new_category": "new categories",
    "drift": "drift",
    "slice_bias": "slices whose bias has moved",
}
_NEWEST = {
    "stuck": "stuck columns",
    "duplicates": "rows loaded twice",
    "stale": "rows copied from earlier ones",
    "missing": "more missing values",
    "volume": "missing deliveries",
    "newest_errors": "larger errors",
    "times": "shifted clocks",
    "joint_change": "columns that are correlated differently",
}
_SINCE_RELEASE = {"history": "a shorter history"}
# A word in the name of a check of the contract, and the alarm that it corresponds to.
_CHECKS = [("before", "unit_change"), ("range", "unit_change"), ("greater", "unit_change"), ("less", "unit_change")]
_CHECKS += [("unique", "duplicates"), ("isin", "new_category"), ("complete", "vanished_category")]
_CHECKS += [(word, "volume") for word in ("rows", "freshness", "complete")]
_CHECKS += [(word, "missing") for word in ("missing", "nullable")]
_SPANS = {1: "days", 7: "weeks", 28: "four weeks"}
# Without an alarm, such an index comes from the calendar or a season.
_LARGE_PSI = 0.25


def nothing_found(metrics: Metrics, found: Findings, biased: bool) -> str:
    """Return the sentence on what was looked for and not found.

    Parameters
    ----------
    metrics
        As `evaluate_model` gives them.
    found
        alarms and, if diagnostics.json has them, drift, validation and newest.
    biased
        Whether the predictions are off to one side.
    """
    present = {each["name"] for each in found["alarms"]} | _seen(metrics, found)
    present |= {"slice_bias"} if biased else set()
    words = [text for name, text in _ROWS.items() if name not in present]
    drift = _drift(found)
    rows = [row for rows in drift.values() for row in rows or []]
    if "drift" in _ROWS.keys() - present and any((row["psi"] or 0) >= _LARGE_PSI for row in rows):
        words[words.index("drift")] = "drift beyond the season's"
    if drift.get("release") is not None:
        words += [text for name, text in _SINCE_RELEASE.items() if name not in present]
    sentence = f"nothing was found of {listed(words, 'or')}" if words else ""
    if newest := found.get("newest"):
        # A sample rarely holds both a row and its copy.
        unseen = {"duplicates", "stale"} if newest.get("sampled") else set()
        words = [text for name, text in _NEWEST.items() if name not in present | unseen]
        if words:
            where = f"in the newest {_SPANS[newest['days']]}"
            said = f"{where} of {listed(words, 'or')}"
            sentence += f"; nor {said}" if sentence else f"nothing was found {said}"
        if unseen:
            sentence += ". Only a sample of the rows was compared, in which copies are not seen"
        return f"No alarm: {sentence}."
    why = "there are too few rows or too short a time" if metrics.get("time_column") else "there is no time column"
    return f"No alarm: {sentence}. The newest rows were not compared with earlier ones, since {why}."


def _drift(found: Findings) -> Mapping[str, list[DriftRow] | None]:
    """Return the drift by what the rows are compared with; empty if `found` has none."""
    return cast(Mapping[str, list[DriftRow] | None], found.get("drift", {}))


def _seen(metrics: Metrics, found: Findings) -> set[str]:
    """Return the kinds of faults that are reported elsewhere, by the contract, by cleaning, or as drift."""
    validation, cleaning = found.get("validation"), metrics.get("cleaning")
    violations = validation.get("violations", []) if validation else []
    seen = {name for word, name in _CHECKS for each in violations if word in each["check"]}
    if cleaning and (cleaning.get("rows_dropped") or {}).get("duplicates"):
        seen.add("duplicates")
    for rows in _drift(found).values():
        for row in rows or []:
            seen |= {"drift"} if row["flagged"] else set()
            seen |= {"unit_change"} if row["unit"] else set()
            seen |= {"vanished_category"} if row["vanished"] else set()
            seen |= {"new_category"} if row["new"] else set()
            seen |= {"missing"} if row["missing"][1] - row["missing"][0] > 0.1 else set()
    return seen
