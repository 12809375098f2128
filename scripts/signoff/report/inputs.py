"""The sections of the report that say what the model was made of: data, contract, model, candidates."""

from signoff.report.document import Alarm, Code, Items, Link, Strong, Table, number
from signoff.report.results import MOST, rest, span
from signoff.tables.contract import describe


def data(metrics: dict) -> list:
    """Return which rows trained the model, and which it was judged on."""
    split, cleaning = metrics["split"], metrics["cleaning"]
    items = []
    if cleaning:
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in cleaning["rows_dropped"].items() if count)
        items.append(
            f"Rows in: {cleaning['rows_in']:,}; after cleaning: {cleaning['rows_out']:,}; dropped: {dropped or 'none'}."
        )
    rows = split["rows"]
    items.append(f"Training data: {rows['train']:,} rows. Evaluation data, held out: {rows['test']:,} rows.")
    items.append(f"Split by {split['by']}: {split['rule']}.")
    if split["by"] == "time":
        items.append(f"Last training row: {split['last_train']}; last held-out row: {split['last_test']}.")
    return [Items(items)]


def row_budget(found: dict, target: str) -> list:
    """Return what it costs to train on fewer rows than there are."""
    curve = found["curve"]
    rows = [
        [each["rows"], each["MAE"], each["R2"], each["gain"], span(each["interval"]) if each["interval"] else ""]
        for each in curve
    ]
    words = f"Trained on a sample of {curve[-1]['rows']:,} of {found['available']:,} training rows "
    words += f"(model.max_rows: {found['max_rows']:,}). "
    if len(curve) > 1 and curve[-1]["rows"] < found["available"]:
        last = curve[-1]
        words += (
            f"Twice the rows, from {curve[-2]['rows']:,} to {last['rows']:,}, changed MAE by {number(-last['gain'])}; "
        )
        words += "a larger budget is likely to gain less with each further doubling. "
    words += f"MAE and gain in the unit of {target}, on all held-out rows:"
    names = ["training rows", "MAE", "R2", "gain in MAE", f"{found['level']:.0%} interval"]
    return [words, Table("Row budget", names, rows)]


def validation_blocks(found: dict) -> list:
    """Return whether the raw data keep their contract, and where not."""
    status = "pass" if found["status"] == "pass" else Alarm("fail")
    kept = "" if found["contract"] else " (no contract: kinds of values only)"
    blocks = [
        [
            "Data contract: ",
            status,
            f"{kept}, {counted(len(found['violations']), 'violation')} in {found['rows']:,} rows.",
        ]
    ]
    if found["violations"]:
        blocks.append(Items(describe(found["violations"][:MOST])))
    file = Link("validation_report.json", "validation_report.json")
    return [*blocks, ["Each column's profile, and any violation of the contract by row: ", file, "."]]


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is not 1."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def model(metrics: dict) -> list:
    """Return what the model is made of."""
    features = ", ".join(f"{name} ({kind})" for name, kind in metrics["features"].items())
    left_out = ", ".join(f"{name} ({why})" for name, why in metrics["left_out"].items())
    own = [("Features", metrics["custom"]), ("Metrics", metrics["custom_metrics"])]
    return [
        Items(
            [
                ["Estimator: ", Code(metrics["estimator"]), "."],
                f"Target: {metrics['target']}.",
                f"Features: {features}.",
                *([f"{what} made by ", Code(x["file"]), ", SHA-256 ", Code(x["sha256"]), "."] for what, x in own if x),
                f"Left out: {left_out or 'none'}.",
            ]
        ),
        *(candidates(metrics["candidates"], metrics["target"]) if "candidates" in metrics else []),
    ]


def candidates(found: dict, target: str) -> list:
    """Return what the model was chosen among."""
    rows = [
        [
            Code(each["estimator"].rpartition(".")[2]),
            ", ".join(f"{name}={value!r}" for name, value in each["params"].items()) or "its defaults",
            each["MAE"],
            each["spread"],
            each["rows"],
            Alarm(f"cannot be trained: {each['problem']}") if each["problem"] else "" if n else Strong("chosen"),
        ]
        for n, each in enumerate(found["settings"][:MOST])
    ]
    words = f"Chosen among {len(found['settings'])} candidates by {found['folds']}, on training rows alone"
    if len({each["rows"] for each in found["settings"]}) > 1:
        words += "; the best of each round came to the next, with more rows"
    words += f". MAE in the unit of {target}. "
    words += rest(found["settings"], "evaluation_metrics.json")
    names = ["estimator", "parameters", "MAE", "spread (standard deviation)", "rows", "verdict"]
    return [words.strip(), Table("Candidates", names, rows)]
