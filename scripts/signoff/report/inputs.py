"""The sections of the report on the inputs of the model: data, contract, model."""

from signoff.base.numbers import counted
from signoff.features.history_plan import micros
from signoff.features.records import HistoryFacts
from signoff.model.records import (
    Comparison,
    Gain,
    Transformed,
    Weighting,
    words_of,
    words_of_gain,
    words_of_text,
)
from signoff.release.records import Metrics, RowBudget, Validation
from signoff.report.choice import candidates_blocks
from signoff.report.document import Alarm, Block, Code, Items, Link, Table, Words, number
from signoff.report.results import MOST, span
from signoff.tables.violations import describe

# Parts of a setting in words that learns the median, or the mean of another function of the target.
_OF_MEDIAN = ("loss='absolute_error'", "func='numpy.")


def data(metrics: Metrics) -> list[Block]:
    """Return which rows trained the model, and which it was evaluated on."""
    split, cleaning = metrics["split"], metrics["cleaning"]
    items: list[Words] = []
    if cleaning:
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in cleaning["rows_dropped"].items() if count)
        items.append(
            f"Rows in: {cleaning['rows_in']:,}; after cleaning: {cleaning['rows_out']:,}; dropped: {dropped or 'none'}."
        )
    rows = split["rows"]
    train, test = counted(rows["train"], "row"), counted(rows["test"], "row")
    items.append(f"Training data: {train}. Evaluation data, held out: {test}.")
    items.append(f"Split by {split['by']}: {split['rule']}.")
    if split["by"] == "time":
        items.append(f"Last training row: {split['last_train']}; last held-out row: {split['last_test']}.")
    return [Items(items)]


def row_budget_section(found: RowBudget, target: str) -> list[Block]:
    """Return the section on the cost of training on a sample of the rows."""
    curve = found["curve"]
    rows: list[list[Words]] = [
        [each["rows"], each["MAE"], each["R2"], each["gain"], span(each["interval"]) if each["interval"] else ""]
        for each in curve
    ]
    words = f"Trained on a sample of {curve[-1]['rows']:,} of {found['available']:,} training rows "
    words += f"(model.max_rows: {found['max_rows']:,}). "
    last = curve[-1]
    if len(curve) > 1 and last["gain"] is not None and last["rows"] < found["available"]:
        doubled = f"Twice the rows, from {curve[-2]['rows']:,} to {last['rows']:,}, changed the MAE by "
        words += f"{doubled}{number(-last['gain'])}; each further doubling is likely to gain less. "
    words += f"MAE and gain are on the scale of {target}, over all held-out rows:"
    names = ["training rows", "MAE", "R2", "gain in MAE", f"{found['level']:.0%} interval"]
    return [words, Table("Row budget", names, rows)]


def validation_blocks(found: Validation) -> list[Block]:
    """Return the section on whether the raw data meet their contract."""
    status = "pass" if found["status"] == "pass" else Alarm("fail")
    known = "" if found["contract"] else " (no contract: only the kinds of values were checked)"
    violations, rows = counted(len(found["violations"]), "violation"), counted(found["rows"], "row")
    blocks: list[Block] = [["Data contract: ", status, f"{known}, {violations} in {rows}."]]
    if found["violations"]:
        blocks.append(Items([*describe(found["violations"][:MOST])]))
    file = Link("validation_report.json", "validation_report.json")
    return [*blocks, ["Each column's profile, and the rows that violate the contract: ", file, "."]]


def model(metrics: Metrics) -> list[Block]:
    """Return the section on the model's estimator and features."""
    features = ", ".join(f"{name} ({kind})" for name, kind in metrics["features"].items())
    left_out = ", ".join(f"{name} ({why})" for name, why in metrics["left_out"].items())
    custom: list[Words] = [
        [f"{what} from ", Code(each["file"]), ", SHA-256 ", Code(each["sha256"]), "."]
        for what, each in (("Features", metrics["custom"]), ("Metrics", metrics["custom_metrics"]))
        if each
    ]
    items: list[Words] = [
        ["Estimator: ", Code(metrics["estimator"]), "."],
        f"Target: {metrics['target']}.",
        f"Features: {features}.",
        *custom,
        *([_history(metrics["history"])] if "history" in metrics else []),
        f"Left out: {left_out or 'none'}.",
    ]
    if "text" in metrics:
        items.append(_text(metrics["text"], metrics.get("candidates")))
    if "weight" in metrics:
        items.append(_weight(metrics["weight"]))
    if "target_transform" in metrics:
        items.append(_transform(metrics["target_transform"]))
    chosen = words_of(metrics["candidates"]["settings"][0]) if "candidates" in metrics else ""
    if "target_transform" in metrics or any(each in chosen for each in _OF_MEDIAN):
        who = "Some models of the weighted mean" if chosen.startswith("VotingRegressor") else "Predictions"
        items.append(f"{who} estimate the median, so the mean of predictions may be below that of a skewed target.")
    if "candidates" not in metrics:
        return [Items(items)]
    return [
        Items(items),
        *candidates_blocks(metrics["candidates"], metrics["target"], metrics["split"]["rows"]["train"]),
    ]


def _text(numbers: dict[str, int], comparison: Comparison | None) -> str:
    """Return how many features each column of text gives, and what it gains if that was measured."""
    counts = [f"{name} ({counted(count, 'feature') if count else 'not used'})" for name, count in numbers.items()]
    gains: list[str] = []
    if comparison:
        gains = [words_of_text(each, comparison.get("metric", "MAE")) for each in comparison.get("text", [])]
    words = f"Columns of text: {', '.join(counts)}. The features are the length, and weights of words reduced to a few "
    return ". ".join([f"{words}numbers", *(each[0].upper() + each[1:] for each in gains)]) + "."


def _weight(weighting: Weighting) -> str:
    """Return how the training rows are weighted, and what that gains."""
    by = weighting.get("column") or f"a half-life of {weighting['half_life_weeks']:g} weeks"
    return f"Training rows are weighted by {by}: {_gain(weighting.get('gain'), 'model.weight')}."


def _transform(found: Transformed) -> str:
    """Return which function of the target is learnt, and what that gains."""
    return f"The model learns {found['function']} of the target: {_gain(found['gain'], 'model.target_transform')}."


def _gain(gain: Gain | None, key: str) -> str:
    """Return what weights or a transformation gain; `key` is that of the config."""
    if gain is None:
        return "there are too few rows to measure what that gains"
    return f"{words_of_gain(gain, key)} ({gain['folds']})"


def _history(found: HistoryFacts) -> Words:
    """Return the item on the features of earlier rows, and when these are known."""
    known = " or ".join(after if micros(after) is not None else f"{after} (in hours)" for after in found["after"])
    return (
        f"Features of earlier rows: {', '.join(found['features'])}. A row counts for those that come later than "
        f"{known} after it: is all of it known by then? A release predicts with "
        f"{counted(found['rows'], 'earlier row')}, the last of {found['end']}."
    )
