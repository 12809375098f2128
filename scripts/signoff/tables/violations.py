"""The violations of the data contract in words: by itself, because the verdict needs no library."""

from collections.abc import Sequence

from signoff.base.numbers import counted
from signoff.tables.records import Violation

# The number of examples of each violation, and of the most frequent values of a column.
EXAMPLES = 5


def describe(violations: Sequence[Violation]) -> list[str]:
    """Return one line for each violation of a validation report."""
    lines = []
    for each in violations:
        where = f"column {each['column']}: " if each["column"] else ""
        if "found" in each:
            lines.append(f"{where}{each['found']}")
            continue
        examples = ", ".join(f"{example['value']!r} in row {example['row']}" for example in each["examples"][:3])
        rows = f" in {counted(each['rows'], 'row')} ({examples})" if each["rows"] else ""
        lines.append(f"{where}violates {each['check']!r}{rows}")
    return lines
