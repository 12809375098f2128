"""Measure what a new week costs where the data are in parts: the 2nd week beside the last; print one table.

    python benchmarks/weeks.py --rows 336776

The source is a folder with a file of flights for each week, or one file to which each week's are added, so that it has
to be read and checked anew. Features, validation report and a sample of 20,000 rows are made (`data`), then the model
is trained, evaluated and judged (`model`).
"""

import argparse
import re
import shutil
import tempfile
from pathlib import Path

import pandas as pd
import yaml
from measure import (
    HERE,
    ROOT,
    YEAR_ROWS,
    Run,
    about,
    judged,
    make_source,
    new_folder,
    report,
    row,
    run,
    set_up,
    snakemake,
    write_config,
)

MODEL_ROWS = 20_000
LIMIT = 1.3
SOURCES = {"a file a week": True, "one file that grows": False}
STEPS = {"data": ["data/features/sample.csv", "reports/validation_report.json"], "model": ["all"]}


def before_the_week(parent: Path, flights: pd.DataFrame, weeks: pd.Series, number: int, file_a_week: bool) -> Path:
    """Return a folder in which all has run for the weeks before that number (from 1), and whose source has it now."""
    name = f"week-{number}-{'files' if file_a_week else 'file'}"
    source = parent / f"source-{name}{'' if file_a_week else '.csv'}"
    folder = new_folder(parent, name, source)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    config |= {"data": {"partition_by": "week"}, "model": {"max_rows": MODEL_ROWS}, "split": {"test_share": 0.2}}
    write_config(folder, config)
    *before, new = sorted(weeks.unique())[:number]
    if file_a_week:
        source.mkdir()
        for each in before:
            flights[weeks == each].to_csv(source / f"{each}.csv", index=False)
    else:
        flights[weeks < new].to_csv(source, index=False)
    run_steps(folder)
    if file_a_week:
        flights[weeks == new].to_csv(source / f"{new}.csv", index=False)
    else:
        flights[weeks <= new].to_csv(source, index=False)
    return folder


def run_steps(folder: Path) -> dict[str, Run]:
    """Run the workflow in a folder, step by step."""
    command = snakemake(folder, ROOT / "Snakefile", f"--configfile={folder / 'config.yaml'}")
    return {step: run(folder, [*command, *targets]) for step, targets in STEPS.items()}


def a_new_week(folder: Path) -> dict[str, Run]:
    """Return what the new week takes, by step; the folder is then as it was."""
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept)
    found = run_steps(folder)
    shutil.rmtree(folder)
    kept.rename(folder)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=YEAR_ROWS, help="how many flights (default: %(default)s)")
    parser.add_argument("--week", type=int, help="set beside the 2nd (default: the last)")
    parser.add_argument("--runs", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="the folder for CSV and figure")
    args = parser.parse_args()
    set_up()
    facts = about(args.rows, [])
    with tempfile.TemporaryDirectory() as parent:
        flights = pd.read_csv(make_source(Path(parent), args.rows), dtype=str, keep_default_na=False)
        # Whoever adds rows to a file adds the newest at its end; the example's come in another order.
        flights = flights.sort_values("time_hour", kind="stable", ignore_index=True)
        weeks = pd.to_datetime(flights["time_hour"]).dt.strftime("%G-W%V")
        numbers = (2, args.week or weeks.nunique())
        cases = [(kind, number) for kind in SOURCES for number in numbers]
        folders = [before_the_week(Path(parent), flights, weeks, number, SOURCES[kind]) for kind, number in cases]
        # In turns, as the machine may be slower now than then.
        rounds = [[a_new_week(folder) for folder in folders] for _ in range(args.runs)]
    found = {case: [each[n] for each in rounds] for n, case in enumerate(cases)}
    rows = []
    for kind in SOURCES:
        for step in STEPS:
            early, late = ([each[step] for each in found[kind, number]] for number in numbers)
            for number, runs in zip(numbers, (early, late), strict=True):
                part = f"A new week of {kind}, {step} (ratio: of the 2nd)"
                jobs = len(re.findall(r"^(?:local)?(?:rule|checkpoint) \w+:$", runs[0].said, re.M))
                line = row(part, f"week {number}: {jobs} jobs", runs, runs, early)
                # By CPU time: how long a run waits for other programs says nothing.
                rows.append(line | judged(line["cpu_ratio"], LIMIT))
    report("weeks", args.output, rows, facts)


if __name__ == "__main__":
    main()
