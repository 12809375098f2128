"""Measure the workflow beside a plain script, a bare floor, make, DVC and Kedro; print one table.

    python benchmarks/bench.py --rows 336776 --runs 3

Every round runs every row once, one after the other, on two cores, and begins with another one; a time is the median
of the rounds. benchmarks/README.md says what each row is.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import others
import yaml
from measure import (
    CORES,
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
    signoff,
    snakemake,
)

PARTS = ["idle", "changes", "tasks"]
# The tools that notice that there is nothing to do, and what they say then.
IDLE = {"make": "Nothing to be done", "dvc": "up to date"}
PLAIN, FLOOR, COPIES, STARTS = "plain script", "bare floor", "seven copies", "our processes, only started"
BARE, ONCE = "the same matrix, bare", "Signoff, once in a process"
# A run with nothing to do is short: measured so often a round.
REPEATS = 3
# One key of each task's, in the order of the tasks, and what it becomes.
CHANGES = {
    "ingest_data: reader.timeout_s": {"reader": {"timeout_s": 31}},
    "validate_data: validation.schema": {"validation": {"schema": "contract.yaml"}},
    "clean_data: cleaning.max_rows_lost": {"cleaning": {"max_rows_lost": 0.4}},
    "feature_engineering: split.test_weeks": {"split": {"test_weeks": 9}},
    "train_model: random_state": {"random_state": 1},
    "evaluate_model: thresholds.mae_max": {"thresholds": {"mae_max": 999, "r2_min": -1}},
}
# The plain script's step that does what a task does.
STEPS = {
    "ingest_data": "ingest",
    "validate_data": "validate",
    "clean_data": "clean",
    "feature_engineering": "make_features",
    "train_model": "train",
    "evaluate_model": "evaluate",
    "generate_report": "write_report",
}


def one_round(parent: Path, source: Path, parts: list[str], tools: list[str], first: int, fit_seconds: float) -> dict:
    """Run everything once; return the runs by part and name, what they told, and the MAE of each."""
    names = ["Signoff", PLAIN, FLOOR, *tools]
    folders = {name: new_folder(parent, name.replace(" ", "-"), source) for name in names}
    ours = folders["Signoff"]
    steps = others.steps(run(parent, signoff(ours, "--dry-run", "--printshellcmds")).said, source)
    commands = {
        "Signoff": signoff(ours),
        PLAIN: [sys.executable, HERE / "plain.py", "config.yaml", "--report"],
        FLOOR: [sys.executable, HERE / "floor.py", "config.yaml"],
    } | {tool: others.PREPARE[tool](folders[tool], steps, CORES) for tool in tools}
    found = {"whole": {}, "MAE": {}, "told": {}}
    for name in names[first % len(names) :] + names[: first % len(names)]:
        print(f"  {name}", file=sys.stderr)
        found["whole"][name] = [run(folders[name], commands[name])]
        found["MAE"][name] = mae(folders[name])
        if name == PLAIN:
            found["told"][name] = last_line(found["whole"][name][0])
        if name not in ("Signoff", *IDLE):
            shutil.rmtree(folders[name])
    starts = parent / f"starts-{first}"
    starts.mkdir()
    found["starts"] = {STARTS: [run(starts, snakemake(starts, HERE / "starts.smk"))]}
    print("  the fit alone", file=sys.stderr)
    found["fit"], found["MAE"][BARE] = fits(ours, fit_seconds)
    if "idle" in parts:
        print("  nothing to do", file=sys.stderr)
        found["idle"] = idle(parent, ours, {tool: (folders[tool], commands[tool]) for tool in tools if tool in IDLE})
    if "changes" in parts:
        print("  one key changed", file=sys.stderr)
        found["changes"] = {name: [run(ours, signoff(ours))] for name in changes(ours)}
    if "tasks" in parts:
        print("  each task", file=sys.stderr)
        ours = new_folder(parent, "Signoff", source)
        # As many threads as Snakemake gives it.
        found["tasks"] = {
            name: [run(ours, step["command"], OMP_NUM_THREADS=str(step["threads"]))] for name, step in steps.items()
        }
    return found


def fits(folder: Path, seconds: float) -> tuple[dict[str, list[Run]], float]:
    """Train on the features of a whole run, and by scikit-learn alone; return the runs by name, and the MAE of the
    latter."""
    told = last_line(run(folder, [sys.executable, HERE / "fit.py", "data/features/features.csv", seconds]))
    log = (folder / "logs/train_model.log").read_text(encoding="utf-8")
    found = {"Signoff": list(map(Run, told["ours"])), BARE: list(map(Run, told["bare"]))}
    found[ONCE] = [Run(float(re.search(r"Training duration: ([\d.]+) s", log)[1]))]
    return found, told["MAE"]


def last_line(done: Run) -> dict:
    """Return what a command says in its last line, as JSON."""
    return json.loads(done.said.splitlines()[-1])


def mae(folder: Path) -> float:
    """Return the MAE of the held-out rows that a run wrote."""
    metrics = json.loads((folder / "reports/evaluation_metrics.json").read_text(encoding="utf-8"))
    return (metrics["model"]["test"] if "model" in metrics else metrics["test"]["predicted"])["MAE"]


def idle(parent: Path, ours: Path, tools: dict[str, tuple]) -> dict[str, list[Run]]:
    """Run what has run once more, in turns; return the runs by name."""
    copies = parent / "copies"
    if not copies.exists():
        copies.mkdir()
        (copies / "source").write_text("a,b\n1,2\n", encoding="utf-8")
        run(copies, snakemake(copies, HERE / "copies.smk"))
    turns = {"Signoff": (ours, signoff(ours)), COPIES: (copies, snakemake(copies, HERE / "copies.smk")), **tools}
    found = {name: [] for name in turns}
    for _ in range(REPEATS):
        for name, turn in turns.items():
            found[name].append(run(*turn, expect=IDLE.get(name, "Nothing to be done")))
    return found


def changes(folder: Path) -> Iterator[str]:
    """Change one key more of a folder's config before each name that is yielded."""
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    shutil.copy(ROOT / "config/schema.yaml", folder / "contract.yaml")
    for name, change in CHANGES.items():
        for key, value in change.items():
            config[key] = {**config.get(key, {}), **value} if isinstance(value, dict) else value
        (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        yield name


def rows_of(found: list[dict], rows: int) -> list[dict]:
    """Return the rows of the table, from what all rounds found."""

    def runs(part: str, name: str) -> list[Run]:
        return [each for one in found for each in one[part][name]]

    def told(name: str, what: str) -> list[Run]:
        return [Run(one["told"][name][what]) for one in found]

    part = "All seven tasks, cold (ratio: Signoff / this one)"
    targets = {PLAIN: 0.7, FLOOR: 1.2} if rows >= 1_000_000 else {PLAIN: 1.3}
    ours = runs("whole", "Signoff")
    lines = [row(part, "Signoff", ours)]
    lines += [
        row(part, name, runs("whole", name), ours, runs("whole", name), targets.get(name))
        for name in ("Signoff", PLAIN, FLOOR, *others.PREPARE)
        if name in found[0]["whole"] and name != "Signoff"
    ]
    for line in lines:
        line["mae"] = found[0]["MAE"][line["name"]]
    lines.append(row(part, STARTS, runs("starts", STARTS), ours, runs("starts", STARTS)))
    part, ours, bare = "The fit alone (ratio: Signoff / this one)", runs("fit", "Signoff"), runs("fit", BARE)
    # Of each turn, and the median of these: from one to the next, the machine is faster or slower.
    ratio = median(one.seconds / other.seconds for one, other in zip(ours, bare, strict=True))
    lines += [row(part, "Signoff", ours), row(part, BARE, bare)]
    lines[-1] |= {"mae": found[0]["MAE"][BARE], "ratio": ratio, **judged(ratio, 1.05)}
    # What a process does once is in it, and its memory is new.
    lines.append(row(part, ONCE, runs("fit", ONCE), ours, runs("fit", ONCE)))
    if "idle" in found[0]:
        part, ours = "Nothing to do (ratio: Signoff / this one)", runs("idle", "Signoff")
        lines.append(row(part, "Signoff", ours))
        lines += [
            row(part, name, runs("idle", name), ours, runs("idle", name), 1.2 if name == COPIES else None)
            for name in found[0]["idle"]
            if name != "Signoff"
        ]
    for name in found[0].get("changes", {}):
        part, ours = "One config key changed (ratio: this / plain script)", runs("changes", name)
        tasks = set(re.findall(r"^(?:local)?rule (\w+):", ours[0].said, flags=re.M)) - {"all"}
        lines.append(row(part, f"{name} ({len(tasks)} run)", ours, ours, runs("whole", PLAIN)))
    for name in found[0].get("tasks", {}):
        part, ours = "Each task by itself (ratio: this / plain script's step)", runs("tasks", name)
        lines.append(row(part, name, ours, ours, told(PLAIN, STEPS[name]) if name in STEPS else None))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=YEAR_ROWS, help="how many flights (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="rounds to measure (default: %(default)s)")
    parser.add_argument("--fit-seconds", type=float, default=60, help="for the fit alone (default: %(default)s)")
    parser.add_argument(
        "--only", nargs="*", choices=PARTS, default=PARTS, help="beside the whole run, only these parts"
    )
    parser.add_argument("--tools", nargs="*", choices=list(others.PREPARE), default=list(others.PREPARE))
    parser.add_argument("--output", type=Path, default=HERE / "results", help="the folder for CSV and figure")
    args = parser.parse_args()
    set_up()
    tools, problem = others.available(args.tools)
    facts = about(args.rows, others.versions(tools))
    with tempfile.TemporaryDirectory() as folder:
        parent = Path(folder)
        # The year itself is the embedded file, as in a first run.
        source = ROOT / "resources/flights.csv.xz" if args.rows == YEAR_ROWS else make_source(parent, args.rows)
        found = []
        for n in range(max(1, args.runs)):
            print(f"round {n + 1} of {args.runs}", file=sys.stderr)
            found.append(one_round(parent, source, args.only, tools, n, args.fit_seconds))
    errors = {name: round(value, 6) for name, value in found[0]["MAE"].items()}
    same = len(set(errors.values())) == 1
    notes = [f"MAE of the held-out rows: {'the same in all' if same else 'NOT the same'}: {errors}", *problem]
    report("bench", args.output, rows_of(found, args.rows), facts, notes)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
