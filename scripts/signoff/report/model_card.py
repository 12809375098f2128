"""A release's model card: Markdown with the metadata of the Hugging Face Hub.

The format: https://huggingface.co/docs/hub/model-cards
"""

from typing import Any

import yaml

from signoff.release.facts import ReleaseFacts
from signoff.report.document import Block, Code, Items, Part, Section, Strong, Table, Words, number
from signoff.report.markdown import markdown

# The names of metrics on the Hub.
_HUGGING_FACE_NAMES = {"MAE": "mae", "RMSE": "rmse", "R2": "r_squared"}
_TASK = "tabular-regression"
_SLICES = 5


def model_card(facts: ReleaseFacts) -> str:
    """Return the model card of a release."""
    target = facts.metrics["target"]
    front = yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True)
    parts: list[Part] = [
        f"Release {facts.name}, deployed at {facts.deploy['at']}.",
        _use(facts),
        _scores(facts),
        _limitations(facts),
        _data(facts),
        _training(facts),
        _approval(facts),
    ]
    return f"---\n{front}---\n\n{markdown(f'Model of {target}', parts)}"


def _front_matter(facts: ReleaseFacts) -> dict[str, Any]:
    """Return the metadata of the card: the library, the tags and the held-out scores."""
    target = facts.metrics["target"]
    scores = {name: value for name, value in facts.metrics["model"]["test"].items() if name != "rows"}
    metrics = [
        {"type": _HUGGING_FACE_NAMES.get(name, name), "name": f"{name} on held-out rows", "value": value}
        for name, value in scores.items()
        if value is not None
    ]
    result = {
        "task": {"type": _TASK, "name": "Tabular regression"},
        "dataset": {"type": "tabular", "name": f"held-out rows: {facts.metrics['split']['rule']}"},
        "metrics": metrics,
    }
    return {
        "library_name": "sklearn",
        "pipeline_tag": _TASK,
        "tags": [_TASK, "sklearn", "signoff"],
        "metrics": [each["type"] for each in metrics],
        "model-index": [{"name": f"model of {target}", "results": [result]}],
    }


def _use(facts: ReleaseFacts) -> Section:
    """Return the section on the use of the model, as far as the config describes it."""
    owner, use, limits = (facts.about.get(key) for key in ("owner", "intended_use", "limitations"))
    said: list[Words] = [
        f"Task: predict {facts.metrics['target']} for a row.",
        f"Owner: {owner or 'the config does not say.'}",
        f"Intended use: {use or 'the config does not say.'}",
        f"Limitations: {limits or 'the config does not say. What was measured is under Limitations.'}",
        "License: the config does not say.",
    ]
    return Section("Intended use", [Items(said)])


def _scores(facts: ReleaseFacts) -> Section:
    """Return the held-out scores of the model, the release before it, and the baselines."""
    predictors = {"model": facts.metrics["model"], **facts.metrics["baselines"]}
    # A release that could not be scored has a problem instead of scores.
    if "test" in (facts.metrics.get("champion") or {}):
        predictors["champion"] = facts.metrics["champion"]
    intervals, rows = facts.diagnostics.get("intervals", {}), []
    for name, scores in predictors.items():
        for metric, value in scores["test"].items():
            if metric != "rows":
                row: list[Words] = [_named(name), metric, number(value)]
                rows.append([*row, _range(intervals.get(name, {}).get(metric))])
    level = facts.diagnostics.get("level")
    interval = f"{level:.0%} interval" if level else "interval"
    held_out = f"On {facts.metrics['model']['test']['rows']:,} held-out rows: {facts.metrics['split']['rule']}."
    blocks: list[Block] = [held_out, *([facts.measured_on] if facts.measured_on else [])]
    blocks.append(Table("Scores", ["predictor", "metric", "value", interval], rows))
    slices = sorted(facts.diagnostics.get("slices", {}).get("rows", []), key=lambda row: -row["MAE"])[:_SLICES]
    if slices:
        found: list[list[Words]] = [
            [row["feature"], row["value"], row["rows"], number(row["MAE"]), _range(row["MAE_interval"])]
            for row in slices
        ]
        blocks += [
            "The slices with the largest MAE:",
            Table("Slices", ["feature", "value", "rows", "MAE", interval], found),
        ]
    return Section("Evaluation", blocks)


def _named(name: str) -> str:
    if name == "champion":
        return "the release before"
    return "the model" if name == "model" else f"baseline: {name}"


def _range(interval: list[float | None] | None) -> str:
    return "none" if not interval or None in interval else f"{number(interval[0])} to {number(interval[1])}"


def _limitations(facts: ReleaseFacts) -> Section:
    """Return the findings against the model, and the reasons why it was approved nevertheless."""
    found: list[Words] = [f"Missed: {each}" for each in facts.document["failures"]]
    found += [f"Alarm: {each['sentence']}" for each in facts.alarms]
    for each in facts.document["decisions"]:
        if each["override"]:
            found.append(f"{each['reviewer']} approved it nevertheless: {each['override']}")
    if not facts.diagnostics:
        found.append("The release holds no diagnostics: whether it raises alarms was not examined.")
    return Section("Limitations", [Items(found or ["No threshold was missed, and no alarm was raised."])])


def _data(facts: ReleaseFacts) -> Section:
    """Return the window of the data, the number of rows and the digests."""
    split, cleaning = facts.metrics["split"], facts.metrics.get("cleaning")
    said: list[Words] = [f"Rows: {split['rows']['train']:,} for training, {split['rows']['test']:,} held out."]
    if split.get("first"):
        window = f"Time: {split['first']} to {split['last_test']}"
        said.append(window + (f"; training ends at {split['last_train']}." if split.get("last_train") else "."))
    if cleaning:
        said.append(f"Cleaning kept {cleaning['rows_out']:,} of {cleaning['rows_in']:,} rows.")
    said += [[Code(path), ", SHA-256 ", Code(digest)] for path, digest in facts.data.items()]
    return Section("Data", [Items(said)])


def _training(facts: ReleaseFacts) -> Section:
    """Return the estimator, the features and the versions."""
    features: list[list[Words]] = [[name, kind] for name, kind in facts.model["features"].items()]
    versions = ", ".join(f"{name} {version}" for name, version in facts.model["versions"].items())
    estimator: Words = ["Estimator: ", Code(facts.model["estimator"])]
    return Section("Training", [estimator, f"Versions: {versions}", Table("Features", ["feature", "kind"], features)])


def _approval(facts: ReleaseFacts) -> Section:
    """Return who decided what, and the commands that check it."""
    said: list[Words] = [f"Verdict: {facts.document['verdict']}"]
    for each in facts.document["decisions"]:
        signed = "with a signature" if each["signature"] else "without a signature"
        words = [Strong(each["reviewer"]), f": {each['decision']}, at {each['signed_at']}, {signed}: {each['comment']}"]
        said.append([*words])
    said.append(f"Release before: {facts.predecessor or 'none'}")
    check: Words = ["This card is not signed. ", Code("make verify"), " checks the release that it describes."]
    return Section("Approval", [Items(said), check])
