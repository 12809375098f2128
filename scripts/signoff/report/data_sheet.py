"""A release's data sheet: the known facts about its training and test data, and what is unknown.

The questions follow Gebru et al. (2021, Datasheets for Datasets, Communications of the ACM 64).
"""

import json
from collections.abc import Mapping
from typing import Any

from signoff.release.facts import ReleaseFacts
from signoff.report.document import Block, Code, Items, Part, Section, Table, Words, number
from signoff.report.markdown import markdown
from signoff.tables.records import Contract, ValidationReport
from signoff.tables.violations import describe

# Keys of a column's profile, and their names in the table.
_STATISTICS = {"missing": "missing", "unreadable": "unreadable", "distinct": "distinct"}
_NUMBERS = {"min": "lowest", "median": "median", "max": "highest"}
_LEVELS = 3
# Questions that only people can answer.
_UNANSWERED = [
    "Why, by whom and how the data were collected, and who paid for it.",
    "Whether they concern people, and on which legal ground they are used; whether people were asked.",
    "Under which licence they may be used and passed on.",
    "Whom the data leave out: the statistics describe the rows that were delivered.",
]


def data_sheet(facts: ReleaseFacts, validation: ValidationReport, contract: Contract | None) -> str:
    """Return the data sheet of a release as Markdown.

    Parameters
    ----------
    facts
        The release.
    validation
        Its validation_report.json.
    contract
        Its data contract; None if it has none.
    """
    parts: list[Part] = [
        f"The data of release {facts.name}, deployed at {facts.deploy['at']}.",
        _composition(facts, validation),
        _columns(validation),
        _contract(contract),
        _violations(validation),
        _preparation(facts),
        Section("What this sheet does not answer", [Items([*_UNANSWERED])]),
    ]
    return markdown(f"Data of the model of {facts.metrics['target']}", parts)


def _composition(facts: ReleaseFacts, validation: ValidationReport) -> Section:
    """Return the number of rows, their time span, and the digests of the data."""
    said: list[Words] = [f"Target: {facts.metrics['target']}"]
    if "rows" in validation:
        said.append(f"Rows as delivered: {validation['rows']:,}")
    split = facts.metrics["split"]
    if split.get("first"):
        said.append(f"Time: {split['first']} to {split['last_test']}")
    said += [[Code(path), ", SHA-256 ", Code(digest)] for path, digest in facts.data.items()]
    kept = facts.deploy.get("data")
    again: Words = ["The project keeps the training data. ", Code("make reproduce"), " trains the release again."]
    said.append(again if kept else "The project does not keep the training data.")
    return Section("Composition", [Items(said)])


def _columns(validation: ValidationReport) -> Section:
    """Return the statistics of each column, as delivered."""
    rows: list[list[Words]] = []
    for name, column in validation.get("profile", {}).items():
        about: Mapping[str, Any] = column
        row: list[Words] = [name, about["type"], *(about.get(key) for key in _STATISTICS)]
        row += [_value(about.get(key)) for key in _NUMBERS]
        levels = list(about.get("most_frequent", {}).items())[:_LEVELS]
        rows.append([*row, ", ".join(f"{level} ({count:,})" for level, count in levels)])
    if not rows:
        return Section("Columns", ["The release holds no statistics of its columns: an older version made it."])
    names = ["column", "kind", *_STATISTICS.values(), *_NUMBERS.values(), "most frequent values"]
    return Section("Columns", [Table("Columns", names, rows)])


def _value(value: Any) -> Words:
    """Return a statistic of a column: a number with four digits, or a time as it is."""
    return number(value) if isinstance(value, int | float) else value


def _contract(contract: Contract | None) -> Section:
    """Return the requirements of the contract."""
    if contract is None:
        return Section("Contract", ["No data contract: only the kinds of values were checked."])
    rows: list[list[Words]] = [
        [name, Code(json.dumps(rules or {}, ensure_ascii=False, default=str))]
        for name, rules in contract["columns"].items()
    ]
    blocks: list[Block] = [Table("Contract", ["column", "rules"], rows)]
    others = {key: value for key, value in contract.items() if key not in ("columns", "schema_type", "version")}
    if others:
        blocks.append(["Of the whole table: ", Code(json.dumps(others, ensure_ascii=False, default=str))])
    return Section("Contract", blocks)


def _violations(validation: ValidationReport) -> Section:
    """Return the violations of the contract."""
    lines: list[Words] = [*describe(validation.get("violations", []))]
    return Section("Violations", [Items(lines) if lines else "None."])


def _preparation(facts: ReleaseFacts) -> Section:
    """Return how the rows were cleaned, and which were held out."""
    split, cleaning = facts.metrics["split"], facts.metrics.get("cleaning")
    said: list[Words] = []
    if cleaning:
        said.append(f"Cleaning kept {cleaning['rows_out']:,} of {cleaning['rows_in']:,} rows.")
    rows = split["rows"]
    said.append(f"{rows['train']:,} rows for training, {rows['test']:,} held out: {split['rule']}.")
    features: list[list[Words]] = [[name, kind] for name, kind in facts.model["features"].items()]
    return Section("Preparation", [Items(said), Table("Features", ["feature", "kind"], features)])
