"""Tell what tests/faults has tried and what was lost, from pytest's own report: a table below that of the kills.

python -m pytest tests/faults --junit-xml=benchmarks/results/faults.xml
python tests/faults/tried.py benchmarks/results/faults.xml [--output benchmarks/faults.md]
"""

import argparse
import collections
import xml.etree.ElementTree as ET
from pathlib import Path

KINDS = {
    "test_http": "The source behind HTTP",
    "test_generated": "Generated tables",
    "test_machine": "The machine",
    "test_together": "Two at once",
    "test_kills": "Kills, each at a moment of its own",
}
TITLE = """## Recovery from other faults

Each row is a promise with the number of cases in which it was tested. *Lost* counts the cases in which it did not
hold, and *not tried* the cases whose requirements this machine lacks. For generated tables, one case is up to 1,500
tables.
"""


def tried(report: Path) -> dict[str, dict[str, collections.Counter]]:
    """Return by kind and promise how many cases were held, lost and not tried, of pytest's report in JUnit's form."""
    found: dict = {title: {} for title in KINDS.values()}
    for case in ET.parse(report).iter("testcase"):
        kind = KINDS.get(case.get("classname").rpartition(".")[2])
        if kind:
            promise = case.get("name").partition("[")[0].removeprefix("test_").replace("_", " ")
            ended = {each.tag for each in case}
            lost, skipped = ended & {"failure", "error"}, "skipped" in ended
            counts = found[kind].setdefault(promise, collections.Counter())
            counts["lost" if lost else "not tried" if skipped else "held"] += 1
    return found


def table(found: dict[str, dict[str, collections.Counter]]) -> str:
    """Return what `tried` does as Markdown."""
    lines, total = [TITLE], collections.Counter()
    for kind, promises in found.items():
        lines += [f"| {kind} | tried | lost | not tried |", "|---|---:|---:|---:|"]
        for promise, counts in promises.items():
            tries = counts["held"] + counts["lost"]
            lines.append(f"| {promise} | {tries} | {counts['lost']} | {counts['not tried']} |")
            total += counts
        lines.append("")
    cases = total["held"] + total["lost"]
    lines.append(f"In all: {cases} cases, {total['lost']} lost, {total['not tried']} not tried.")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="what pytest has written")
    parser.add_argument("--output", type=Path, help="put the table below what stands in this file, too")
    args = parser.parse_args()
    text = table(tried(args.report))
    print(text)
    if args.output:
        kills = args.output.read_text("utf-8").partition(TITLE.splitlines()[0])[0].rstrip()
        args.output.write_text(f"{kills}\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
