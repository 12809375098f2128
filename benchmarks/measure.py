"""What the benchmarks share: a command's time and memory, a folder to run in, and the table, CSV and figure."""

import csv
import datetime
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CORES = 2
# In the embedded data.
YEAR_ROWS = 336_776
# What is measured beside may not call home. It gets as many threads as the workflow, and as in the workflow they wait
# but a moment before they leave the core to others.
ENVIRONMENT = {
    "DVC_NO_ANALYTICS": "1",
    "DO_NOT_TRACK": "1",
    "KEDRO_DISABLE_TELEMETRY": "1",
    "OMP_NUM_THREADS": str(CORES),
    "GOMP_SPINCOUNT": "10000",
}
COLUMNS = ["part", "name", "seconds", "least", "greatest", "runs", "cpu_seconds", "peak_mb", "ratio", "cpu_ratio"]
COLUMNS += ["target", "kept", "mae"]


class Run(NamedTuple):
    """A command's wall time, its CPU time with that of its children, the peak memory of the largest process among them
    (MB), and what it printed; of a step inside a process only the first."""

    seconds: float
    cpu: float = 0
    megabytes: float = 0
    said: str = ""


def run(folder: Path, command: list[object] | str, expect: str = "", **environment: str) -> Run:
    """Run a command in a folder; text is for the shell. One that fails, or does not print `expect`, ends it all."""
    words = command if isinstance(command, str) else list(map(str, command))
    # If Python may not keep what it compiles, each process compiles the workflow, but no installed package.
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    # To a file: nobody has to wait for a reader. The peak counts what this process holds, so it imports little.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            words,
            cwd=folder,
            env={**inherited, **ENVIRONMENT, **environment},
            shell=isinstance(command, str),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            # Whoever stops the benchmark stops what it runs.
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
    if process.returncode or expect not in text:
        sys.exit(f"{text}\nThis ended with exit code {process.returncode}, and should have said {expect!r}: {words}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)


def set_up() -> None:
    """Keep to the first cores of a larger machine, with all that is started; let SIGTERM end the benchmark in order."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


def snakemake(folder: Path, snakefile: Path, *arguments: object) -> list[object]:
    """Return the command that runs a workflow in a folder, as make does."""
    program = [sys.executable, ROOT / "scripts/run_snakemake.py"]
    return [*program, "-s", snakefile, "--directory", folder, "--cores", CORES, *arguments]


def signoff(folder: Path, *arguments: object) -> list[object]:
    """Return the command that runs all seven tasks in a folder that has a config."""
    targets = ["all", "reports/final_report.md"]
    return snakemake(folder, ROOT / "Snakefile", *targets, f"--configfile={folder / 'config.yaml'}", *arguments)


def new_folder(parent: Path, name: str, source: Path) -> Path:
    """Return an empty folder with a config whose paths hold from anywhere, and which every number of rows passes."""
    folder = parent / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    config["raw_data_source_url"] = str(source)
    shutil.copy(ROOT / config["validation"]["schema"], folder / "schema.yaml")
    config["validation"]["schema"] = "schema.yaml"
    config["thresholds"] = {"mae_max": 1000, "r2_min": -1}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


def write_config(folder: Path, config: dict) -> None:
    """Write the config of a folder."""
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def make_source(parent: Path, rows: int) -> Path:
    """Return a CSV file of so many flights."""
    path = parent / f"flights-{rows}.csv"
    run(parent, [sys.executable, HERE / "data.py", "--rows", rows, "--output", path])
    return path


def row(
    part: str,
    name: str,
    runs: list[Run],
    ours: list[Run] | None = None,
    beside: list[Run] | None = None,
    target: float | None = None,
) -> dict:
    """Return a row of the table: the medians of `runs`; as ratios the median of `ours`, as a multiple of `beside`'s."""
    found = {"part": part, "name": name, "seconds": median(each.seconds for each in runs), "runs": len(runs)}
    found |= {"least": min(each.seconds for each in runs), "greatest": max(each.seconds for each in runs)}
    if runs[0].cpu:
        found |= {"cpu_seconds": median(each.cpu for each in runs), "peak_mb": max(each.megabytes for each in runs)}
    if beside:
        found["ratio"] = median(each.seconds for each in ours) / median(each.seconds for each in beside)
        if beside[0].cpu:
            found["cpu_ratio"] = median(each.cpu for each in ours) / median(each.cpu for each in beside)
    return found | (judged(found["ratio"], target) if target else {})


def judged(value: float, limit: float) -> dict:
    """Return the target of a value, and whether it is kept."""
    return {"target": limit, "kept": "yes" if value <= limit else "NO"}


def about(rows: int, more: list[str]) -> dict[str, str]:
    """Return what the figures depend on: machine, versions, rows, load and date."""
    processor, memory = platform.processor() or platform.machine(), ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), processor)
    if hasattr(os, "sysconf"):
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    packages = [f"{name} {version(name)}" for name in ("snakemake", "pandas", "pyarrow", "scikit-learn")]
    return {
        "machine": f"{processor}, {os.cpu_count()} cores, {CORES} used{memory}",
        "versions": ", ".join([f"python {platform.python_version()}", *packages, *more]),
        "flights": f"{rows:,}",
        "load": f"{os.getloadavg()[0]:.1f} at the start",
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
    }


def show(value: object, form: str) -> str:
    """Return a number in a form, or nothing where there is none."""
    return "" if value is None else format(value, form)


def table(rows: list[dict]) -> list[str]:
    """Return the lines of the table."""
    line = "  {:<42}{:>9}  {:<17}{:>8}{:>9}{:>8}{:>8}   {:<9}{}"
    lines = [line.format("", "seconds", "(least–greatest)", "CPU s", "peak MB", "ratio", "CPU", "target", "kept")]
    part = None
    for row in rows:
        if row["part"] != part:
            part = row["part"]
            lines += ["", part]
        several = row.get("runs", 1) > 1
        spread = f"({row['least']:.2f}–{row['greatest']:.2f})" if several else ""
        cells = [show(row.get("seconds"), ".2f"), spread, show(row.get("cpu_seconds"), ".2f")]
        cells += [show(row.get("peak_mb"), ".0f"), show(row.get("ratio"), ".2f"), show(row.get("cpu_ratio"), ".2f")]
        target = f"<= {row['target']:g}" if row.get("target") else ""
        lines.append(line.format(row["name"], *cells, target, row.get("kept", "")).rstrip())
    return lines


def report(name: str, output: Path, rows: list[dict], facts: dict[str, str], notes: list[str] = ()) -> None:
    """Print the table, and write it to output/NAME.csv and NAME.png."""
    print(*(f"{key.title():<10} {value}" for key, value in facts.items()), "", *table(rows), "", *notes, sep="\n")
    output.mkdir(parents=True, exist_ok=True)
    with open(output / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *facts], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, **facts} for row in rows)
    draw(output / f"{name}.png", rows, facts)
    print(f"Written to {output / name}.csv and .png")


def draw(path: Path, rows: list[dict], facts: dict[str, str]) -> None:
    """Draw each row that has a ratio as a bar, its target as a mark."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [row for row in rows if row.get("ratio", 0) > 0]
    figure, axes = plt.subplots(figsize=(10, 2.2 + 0.28 * len(rows)), layout="constrained")
    colours = {"yes": "tab:green", "NO": "tab:red"}
    for place, row in enumerate(rows):
        # From 1, which is as long as what it is compared with.
        axes.barh(place, row["ratio"] - 1, left=1, color=colours.get(row.get("kept"), "tab:gray"))
        axes.annotate(
            f"{row['ratio']:.2f}", (max(row["ratio"], 1), place), (4, 0), textcoords="offset points", va="center"
        )
        if row.get("target"):
            axes.plot([row["target"]] * 2, [place - 0.4, place + 0.4], color="black")
    axes.axvline(1, color="black", linestyle=":")
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.invert_yaxis()
    axes.set_yticks(range(len(rows)), [f"{row['part'].split(' (')[0]}: {row['name']}" for row in rows], fontsize=8)
    axes.set_xlabel("ratio (black mark: target; green: kept, red: missed)")
    told = textwrap.fill("; ".join(f"{key}: {value}" for key, value in facts.items()), 130)
    figure.suptitle(told, fontsize=7)
    figure.savefig(path, dpi=120)
