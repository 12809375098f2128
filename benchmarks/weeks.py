"""Measure what a new week costs where the data are in parts: the 2nd week beside the last; print one table.

    python benchmarks/weeks.py --rows 336776

The source is a folder with a file of flights for each week, or one file that grows by a week, so that it has to be read
and checked anew. Features, validation report and a sample of 20,000 rows are made (`data`), then the model is trained,
evaluated and judged (`model`).
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
SOURCES = {"a file a week": True, "one file that grows": False}
STEPS = {"data": ["data/features/sample.csv", "reports/validation_report.json"], "model": ["all"]}


def a_new_week(
    parent: Path, flights: pd.DataFrame, weeks: pd.Series, number: int, file_a_week: bool
) -> dict[str, list]:
    """Return what a run takes after the week of that number (from 1) has come, by step; and how many jobs it runs."""
    source = parent / ("source" if file_a_week else "source.csv")
    folder = new_folder(parent, f"week-{number}", source)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    config |= {"data": {"partition_by": "week"}, "model": {"max_rows": MODEL_ROWS}, "split": {"test_share": 0.2}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    names = sorted(weeks.unique())
    command = snakemake(folder, ROOT / "Snakefile", f"--configfile={folder / 'config.yaml'}")
    found = {}
    for last in (number - 1, number):
        if file_a_week:
            source.mkdir(exist_ok=True)
            # Those of the run before stay as they are.
            for name in [each for each in names[:last] if not (source / f"{each}.csv").exists()]:
                flights[weeks == name].to_csv(source / f"{name}.csv", index=False)
        else:
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
        # What grows gets its new rows at its end. The flights come by the day of New York, and not by month.
        flights = flights.sort_values("time_hour", kind="stable", ignore_index=True)
        weeks = pd.to_datetime(flights["time_hour"]).dt.strftime("%G-W%V")
        last = args.week or weeks.nunique()
        rows = []
        for kind, file_a_week in SOURCES.items():
            early, late = (a_new_week(Path(folder), flights, weeks, n, file_a_week) for n in (2, last))
            for step in STEPS:
                for number, found in ((2, early), (last, late)):
                    done, jobs = found[step]
                    part = f"A new week of {kind}, {step} (ratio: of the 2nd)"
                    line = row(part, f"week {number}: {jobs} jobs", [done], [done], [early[step][0]])
                    # By CPU time: how long a run waits for other programs says nothing.
                    rows.append(line | judged(line["cpu_ratio"], LIMIT))
    report("weeks", args.output, rows, facts)


if __name__ == "__main__":
    main()
