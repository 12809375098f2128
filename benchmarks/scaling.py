"""Measure how time and memory of each task grow with the rows, and how long many jobs take to plan; print one table.

    python benchmarks/scaling.py --rows 300000 3000000 30000000 --models 100 1000 10000

A growth exponent is that of the time from one size to the next: 1 is linear. At each size a task finds no memory that
was used a moment ago. A size that the machine has no disk for is left out, and so is training on more rows than it has
memory for, judged by the size before; that is said.
"""

import argparse
import contextlib
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import measure
import others

# Its memory grows with the rows: the model is fitted on all of them at once.
UNBOUNDED = "train_model"
# Of a CSV file of flights, and how many files as large as it a run has on disk.
BYTES_A_ROW, FILES = 64, 7
EXPONENT, MEMORY_RATIO, MEMORY_MB = 1.05, 1.3, 700
# After so long a virtual machine's host has taken back what is free, but for less than this.
RETURNED_SECONDS, WARM_BYTES = 3, 2 << 30


def no_room(folder: Path, rows: int, before: int, peak_mb: float) -> str | None:
    """Return what this machine lacks for so many rows, where the size before had such a peak of memory; else None."""
    needs = rows * BYTES_A_ROW * FILES
    if needs > 0.9 * shutil.disk_usage(folder).free:
        return f"{needs / 1e9:.0f} GB of disk"
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines() if Path("/proc/meminfo").exists() else []
    free = next((int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable")), math.inf)
    if before and peak_mb * rows / before > 0.9 * free:
        return f"{peak_mb * rows / before / 1024:.0f} GiB of memory, judged by the {before:,} rows"
    return None


@contextlib.contextmanager
def cold_memory() -> Iterator[None]:
    """Leave to the block no memory that was used a moment ago.

    A virtual machine's host takes free memory back. What it has not taken yet costs a tenth of the rest, and is enough
    for few rows but not for many. Another process holds it: the peak of a child counts what its parent holds.
    """
    time.sleep(RETURNED_SECONDS)
    code = f"held = b'x' * {WARM_BYTES}; print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        try:
            yield
        finally:
            holder.kill()


def tasks(parent: Path, sizes: list[int], runs: int) -> tuple[dict[int, dict], list[str]]:
    """Return by size and task the runs of its command, and what was left out."""
    found, notes, before, peak = {}, [], 0, 0.0
    for rows in sorted(sizes):
        if lacking := no_room(parent, rows, before, 0):
            notes.append(f"Left out: {rows:,} rows need about {lacking}")
            break
        untrained = no_room(parent, rows, before, peak)
        if untrained:
            notes.append(
                f"Left out: {UNBOUNDED} on {rows:,} rows, which needs about {untrained}; the last model stands in"
            )
        source = measure.make_source(parent, rows)
        found[rows] = {}
        for n in range(runs if rows < max(sizes) else 1):
            folder = measure.new_folder(parent, "project", source)
            if untrained:
                shutil.copytree(parent / "model", folder / "model")
            plan = measure.run(folder, measure.signoff(folder, "--dry-run", "--printshellcmds")).said
            for name, step in others.steps(plan, source).items():
                if untrained and name == UNBOUNDED:
                    continue
                print(f"{rows:,} rows, run {n + 1}: {name}", file=sys.stderr)
                with cold_memory():
                    done = measure.run(folder, step["command"], OMP_NUM_THREADS=str(step["threads"]))
                found[rows].setdefault(name, []).append(done)
        trained = [each.megabytes for each in found[rows].get(UNBOUNDED, [])]
        before, peak = rows, max(trained, default=peak * rows / max(before, 1))
        shutil.rmtree(parent / "model", ignore_errors=True)
        shutil.copytree(parent / "project/model", parent / "model")
        source.unlink()
    return found, notes


def growth(found: dict[int, dict]) -> list[dict]:
    """Return the rows of the table for what `tasks` found."""
    lines, sizes = [], list(found)
    for name in found[sizes[0]]:
        for n, rows in enumerate(each for each in sizes if name in found[each]):
            line = measure.row(
                f"{name} (ratio: growth exponent, of wall and of CPU time)", f"{rows:,} rows", found[rows][name]
            )
            if n:
                last, factor = lines[-1], math.log(rows / sizes[n - 1])
                line["ratio"] = math.log(line["seconds"] / last["seconds"]) / factor
                line["cpu_ratio"] = math.log(line["cpu_seconds"] / last["cpu_seconds"]) / factor
                line |= measure.judged(line["ratio"], EXPONENT)
            lines.append(line)
    for name in found[sizes[0]]:
        if name != UNBOUNDED and len(sizes) > 1:
            less, more = (max(each.megabytes for each in found[rows][name]) for rows in sizes[-2:])
            line = {"part": f"Peak memory (ratio: {sizes[-1]:,} / {sizes[-2]:,} rows)", "name": name, "peak_mb": more}
            line |= {"ratio": more / less, **measure.judged(more / less, MEMORY_RATIO)}
            lines.append(line if more <= MEMORY_MB else {**line, "kept": "NO"})
    return lines


def plans(parent: Path, numbers: list[int]) -> list[dict]:
    """Return the rows of the table for the plan of the workflow's own rules: so many models, and so many parts.

    The plan is the graph of all jobs, as a run has it before its first one; a dry run works out the command of each job
    besides.
    """
    lines = []
    for keys, what in (({"models": {"by": "key"}}, "models"), ({"data": {"partition_by": "key"}}, "parts")):
        for number in sorted(numbers):
            print(f"planning {number:,} {what}", file=sys.stderr)
            source = parent / "keys.csv"
            rows = (f"k{n},{x},{x + n}\n" for n in range(number) for x in range(3))
            source.write_text("key,x,y\n" + "".join(rows), encoding="utf-8")
            folder = measure.new_folder(parent, f"{number}-{what}", source)
            measure.write_config(folder, {"raw_data_source_url": str(source), "target": "y", **keys})
            command = measure.snakemake(
                folder, measure.ROOT / "Snakefile", f"--configfile={folder / 'config.yaml'}", "--quiet", "rules"
            )
            # Only then is it known which there are.
            measure.run(folder, [*command, "--", "data/raw/raw_data.json"])
            shown = measure.run(folder, [*command, "--dry-run", "--", "all"])
            graph = measure.run(folder, [*command, "--rulegraph", "--", "all"])
            jobs = int(re.findall(r"^total +(\d+)$", shown.said, re.M)[-1])
            for done, part in ((graph, "The graph of all jobs"), (shown, "A dry run")):
                name = f"{number:,} {what}, {jobs:,} jobs"
                line = measure.row(f"{part} (ratio: CPU seconds / 20 s for 10,000 jobs)", name, [done])
                # A start takes longer than a few jobs.
                line["ratio"] = line["cpu_ratio"] = done.cpu / (20 * max(1, jobs / 10_000))
                lines.append(line | (measure.judged(line["ratio"], 1) if done is graph else {}))
            shutil.rmtree(folder)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rows", type=int, nargs="*", default=[300_000, 3_000_000, 30_000_000], help="how many flights"
    )
    parser.add_argument(
        "--models", type=int, nargs="*", default=[100, 1000, 10_000], help="how many to plan, and parts"
    )
    parser.add_argument("--runs", type=int, default=3, help="how often each size but the last (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=measure.HERE / "results", help="the folder for CSV and figure")
    args = parser.parse_args()
    measure.set_up()
    facts = measure.about(max(args.rows, default=0), [])
    with tempfile.TemporaryDirectory() as folder:
        planned = plans(Path(folder), args.models)
        found, notes = tasks(Path(folder), args.rows, args.runs)
        planned.sort(key=lambda line: line["part"], reverse=True)
        measure.report("scaling", args.output, [*(growth(found) if found else []), *planned], facts, notes)


if __name__ == "__main__":
    main()
