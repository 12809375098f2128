"""Thresholds and alarms as blocks of a document."""

from signoff.model.thresholds import Threshold
from signoff.release.records import AlarmRecord
from signoff.report.document import Alarm, Block, Items, Table, Words, number


def threshold_blocks(found: list[Threshold]) -> list[Block]:
    """Return the thresholds with their verdicts."""
    rows: list[list[Words]] = [
        [each["name"], number(each["limit"]), number(each["value"]), "passed" if each["passed"] else Alarm("failed")]
        for each in found
    ]
    names = ["threshold", "limit", "value on the held-out rows", "verdict"]
    return [Table("Thresholds", names, rows)] if rows else ["None is set."]


def alarm_blocks(found: list[AlarmRecord]) -> list[Block]:
    """Return the alarms with their sentences."""
    return [Items([[Alarm(each["name"]), f": {each['sentence']}"] for each in found])]
