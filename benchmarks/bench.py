"""Measure the workflow beside a plain script and beside a workflow that only copies files; print one table.

    python benchmarks/bench.py --runs 3

Every round runs both sides of each row, one after the other, on two cores; a time is the median of the rounds.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CORES = 2
# A run with nothing to do is short: measured so often a round.
REPEATS = 3
METRICS = "reports/evaluation_metrics.json"
FULL, WITH_REPORT, IDLE = "full run, cold", "the same, with the report", "nothing to do"


def timed(folder: Path, *command: object) -> tuple[float, str]:
    """Run a command in a folder; return the seconds it took and what it printed. A command that fails ends it all."""
    # On a machine with more cores, libraries would take them all.
    environment = {**os.environ, "OMP_NUM_THREADS": str(CORES)}
    started = time.perf_counter()
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{done.stdout}\nThis failed, with exit code {done.returncode}: {' '.join(map(str, command))}")
    return seconds, done.stdout


def snakemake(folder: Path, snakefile: Path, *arguments: object) -> tuple[float, str]:
    """Run a workflow in a folder, as `timed` does."""
    command = [Path(sys.executable).with_name("snakemake"), "-s", snakefile, "--directory", folder]
    return timed(folder, *command, "--cores", CORES, *arguments)


def new_folder(parent: Path, name: str) -> Path:
    """Return an empty folder with a config whose paths hold from anywhere."""
    folder = parent / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    config["raw_data_source_url"] = str(ROOT / config["raw_data_source_url"])
    config["validation"]["schema"] = str(ROOT / config["validation"]["schema"])
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


def measure(parent: Path, runs: int) -> tuple[dict[str, tuple[list[float], list[float]]], dict, dict]:
    """Return for each row the seconds of both sides, and the metrics that both sides wrote."""
    seconds = {name: ([], []) for name in (FULL, WITH_REPORT, IDLE)}
    copies = new_folder(parent, "copies")
    shutil.copy(ROOT / "resources/flights.csv.xz", copies / "source")
    snakemake(copies, HERE / "copies.smk")
    for n in range(runs):
        for name, targets, options in ((FULL, [], []), (WITH_REPORT, ["all", "reports/final_report.md"], ["--report"])):
            print(f"round {n + 1} of {runs}: {name}", file=sys.stderr)
            plain, workflow = new_folder(parent, "plain"), new_folder(parent, "workflow")
            signoff = [workflow, ROOT / "Snakefile", f"--configfile={workflow / 'config.yaml'}"]
            seconds[name][1].append(timed(plain, sys.executable, HERE / "plain.py", "config.yaml", *options)[0])
            seconds[name][0].append(snakemake(*signoff, *targets)[0])
        for _ in range(REPEATS):
            for side, (taken, said) in enumerate((snakemake(*signoff), snakemake(copies, HERE / "copies.smk"))):
                if "Nothing to be done" not in said:
                    sys.exit(f"{said}\nThis should have found nothing to do.")
                seconds[IDLE][side].append(taken)
    found = (json.loads((folder / METRICS).read_text(encoding="utf-8")) for folder in (workflow, plain))
    return seconds, *found


def machine() -> str:
    """Return the processor, the cores and the memory of this machine."""
    processor, memory = platform.processor() or platform.machine(), ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), processor)
    if hasattr(os, "sysconf"):
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    return f"{processor}, {os.cpu_count()} cores{memory}"


def row(*cells: str) -> str:
    """Return a line of the table."""
    return "{:<41}{:>21}{:>21}{:>7}   {:<8}{}".format(*cells).rstrip()


def kept(yes: bool) -> str:
    """Return the word for a target."""
    return "kept" if yes else "MISSED"


def table(seconds: dict, ours: dict, plain: dict, runs: int) -> list[str]:
    """Return the lines of the table."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("snakemake", "pandas", "scikit-learn"))
    lines = [
        f"Machine    {machine()}",
        f"Versions   python {platform.python_version()}, {versions}",
        f"Rows       {ours['cleaning']['rows_in']:,}; {CORES} cores used",
        f"Times      medians, with least and greatest, of {runs} rounds ({runs * REPEATS} runs with nothing to do)",
        "",
        row("", "Signoff", "beside it", "ratio", "target", ""),
    ]
    beside = {FULL: "plain script", WITH_REPORT: "plain script", IDLE: "seven copies"}
    for name, limit in ((FULL, 2.0), (WITH_REPORT, 2.0), (IDLE, 1.5)):
        sides = [f"{median(side):.2f} s ({min(side):.1f}–{max(side):.1f})" for side in seconds[name]]
        ratio = median(seconds[name][0]) / median(seconds[name][1])
        lines.append(row(f"{name} / {beside[name]}", *sides, f"{ratio:.2f}", f"<= {limit}", kept(ratio <= limit)))
    scores, others, limits = ours["model"]["test"], plain["test"]["predicted"], {"MAE": 12.5, "R2": 0.8}
    for name, limit in limits.items():
        keeps = scores[name] <= limit if name == "MAE" else scores[name] >= limit
        sign = "<=" if name == "MAE" else ">="
        cells = [f"{each[name]:.6f}" for each in (scores, others)]
        lines.append(row(f"{name}, {ours['split']['rule']}", *cells, "", f"{sign} {limit}", kept(keeps)))
    same = round(scores["MAE"], 6) == round(others["MAE"], 6)
    return [*lines, "", f"The model's MAE is {'' if same else 'NOT '}the same on both sides to 6 decimals."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="rounds to measure (default: %(default)s)")
    runs = max(1, parser.parse_args().runs)
    with tempfile.TemporaryDirectory() as parent:
        print(*table(*measure(Path(parent), runs), runs), sep="\n")


if __name__ == "__main__":
    main()
