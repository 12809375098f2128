"""Measure what a new week costs where the data are in parts: the 2nd week beside the last; print one table.

    python benchmarks/weeks.py --rows 336776

The source is one file of flights that grows by a week, so that it has to be read anew; features, validation report and
a sample of 20,000 rows are made (`data`), then the model is trained, evaluated and judged (`model`).
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

import pandas as pd
import yaml
from measure import HERE, ROOT, YEAR_ROWS, about, judged, make_source, new_folder, report, row, run, set_up, snakemake

MODEL_ROWS = 20_000
LIMIT = 1.3
STEPS = {"data": ["data/features/sample.csv", "reports/validation_report.json"], "model": ["all"]}


def a_new_week(parent: Path, flights: pd.DataFrame, weeks: pd.Series, number: int) -> dict[str, list]:
    """Return what a run takes after the week of that number (from 1) has come, by step; and how many jobs it runs."""
    source = parent / "source.csv"
    folder = new_folder(parent, f"week-{number}", source)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    config |= {"data": {"partition_by": "week"}, "model": {"max_rows": MODEL_ROWS}, "split": {"test_share": 0.2}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    names = sorted(weeks.unique())
    command = snakemake(folder, ROOT / "Snakefile", f"--configfile={folder / 'config.yaml'}")
    found = {}
    for last in (number - 1, number):
        flights[weeks <= names[last - 1]].to_csv(source, index=False)
        for step, targets in STEPS.items():
            print(f"week {last}: {step}", file=sys.stderr)
            done = run(folder, [*command, *targets])
            found[step] = (done, len(re.findall(r"^(?:local)?(?:rule|checkpoint) \w+:$", done.said, re.M)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=YEAR_ROWS, help="how many flights (default: %(default)s)")
    parser.add_argument("--week", type=int, help="set beside the 2nd (default: the last)")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="the folder for CSV and figure")
    args = parser.parse_args()
    set_up()
    facts = about(args.rows, [])
    with tempfile.TemporaryDirectory() as folder:
        flights = pd.read_csv(make_source(Path(folder), args.rows), dtype=str, keep_default_na=False)
        weeks = pd.to_datetime(flights["time_hour"]).dt.strftime("%G-W%V")
        last = args.week or weeks.nunique()
        early, late = (a_new_week(Path(folder), flights, weeks, n) for n in (2, last))
    rows = []
    for step in STEPS:
        part = f"A new week, {step} (ratio: of the 2nd)"
        for number, found in ((2, early), (last, late)):
            done, jobs = found[step]
            line = row(part, f"week {number}: {jobs} jobs", [done], [done], [early[step][0]])
            # By CPU time: how long a run waits for other programs says nothing.
            rows.append(line | judged(line["cpu_ratio"], LIMIT))
    report("weeks", args.output, rows, facts)


if __name__ == "__main__":
    main()
