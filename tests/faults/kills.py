"""Kill every task and command at random moments, and see what is left: a table of what was tried and what was lost.

    python tests/faults/kills.py [--seed 1] [--count 500] [--output benchmarks/kills.md]

Each kill is one of SIGKILL, SIGTERM, SIGINT and running out of memory, of the task, of the Snakemake above it, or of
both. After each, every file is to be the whole one of before or the whole one of an undisturbed run, all releases are
to verify, and the same command, run again, is to end well with the bytes of the undisturbed run.
"""

import argparse
import collections
import concurrent.futures
import hashlib
import itertools
import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import warm
from conftest import OUTPUTS, Project, make_project, program, rides
from signoff.base.config import ReleaseConfig
from signoff.release.approval import read_sign_off
from signoff.release.store import Releases
from verify import verify

RULE = ReleaseConfig()
SIGN = ["--reviewer", "Ada", "--decision", "approve", "--comment", "read it"]
# What is run, in this order, by the name of its script: a target of Snakemake, or the arguments of the script itself.
STEPS: dict[str, list[str] | str] = {
    **{task: path for task, path in OUTPUTS.items() if task != "generate_report"},
    "verdict": "all",
    "explain_model": "reports/explanation.json",
    "compare_model": "reports/comparison.json",
    "diagnose": "reports/diagnostics.json",
    "generate_report": OUTPUTS["generate_report"],
    "sign_off": SIGN,
    "deploy": "deploy",
    "predict": "predictions/week.csv",
    "rollback": ["--reason", "a test"],
    "weekly": ["--cores", "2"],
}
FAULTS = ["SIGKILL", "SIGTERM", "SIGINT", "out of memory"]
VICTIMS = ["task", "snakemake", "all"]
MOMENTS = ["loading", "at work", "ending"]
TITLE = """# Recovery from kills

`make faults` kills each task and command at random moments: the task itself, the Snakemake that runs it, or both. A
kill counts as *lost* if a file was neither the complete old nor the complete new one, if a release did not verify, or
if rerunning the same command did not produce the bytes of an uninterrupted run or left other files behind.
"""
# A kill that is never felt, as when the process was faster, is tried again at another moment, so often.
TRIES = 8
# Seconds after which a run is taken for one that never ends, however busy the machine is.
PATIENCE = 1800
CGROUPS = Path("/sys/fs/cgroup/memory")
# Of the environment: processes of their own, in their place below Snakemake.
PROGRAMS = Path(sys.executable).parent


@dataclass
class Step:
    """One undisturbed run: the project before it and after it; how many seconds it took to come to the script's first
    word, from there to its last, and from there to the end."""

    name: str
    before: Path
    after: Path
    startup: float
    work: float
    tail: float


def project_in(folder: Path) -> Project:
    return Project(folder, folder.parent / "signoff")


def command(project: Project, name: str, programs: Path = PROGRAMS) -> list[str]:
    """Return the command line of a step, as make has it."""
    wanted = STEPS[name]
    if not isinstance(wanted, str):
        return [str(programs / "python"), str(project.workflow / f"scripts/{name}.py"), *wanted]
    words = [str(programs / "snakemake"), "--snakefile", str(project.workflow / "Snakefile")]
    words += ["--directory", str(project.folder), "--configfile", str(project.folder / "config.yaml")]
    return [*words, "--cores", "2", wanted]


def start(project: Project, name: str, programs: Path = PROGRAMS) -> subprocess.Popen:
    with open(project.folder / "said.txt", "wb") as said:
        return subprocess.Popen(
            command(project, name, programs),
            cwd=project.folder,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def run(project: Project, name: str) -> int:
    """Run a step to its end, also where another one has to end first; nobody kills it, so it may begin at once."""
    while (code := start(project, name, Path(program("python")).parent).wait(PATIENCE)) == 75:
        time.sleep(0.1)
    return code


def tasks(process: subprocess.Popen, name: str) -> list[psutil.Process]:
    """Return the processes that run a step's script: what Snakemake has started, or what was started itself."""
    try:
        every = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    found = []
    for each in every:
        try:
            words = each.cmdline()
        except psutil.Error:
            continue
        script = Path(words[1]).name if len(words) > 1 and Path(words[0]).name.startswith("python") else ""
        if script == f"{name}.py" or (name == "weekly" and any(word.startswith("--log=") for word in words)):
            found.append(each)
    return found


def said(project: Project, name: str, since: float, word: bytes) -> bool:
    """Tell whether a step's script has said its first word, or its last: it is loaded, or done."""
    log = project.folder / ("logs/predict/week.log" if name == "predict" else f"logs/{name}.log")
    if not isinstance(STEPS[name], str):
        log = project.folder / "said.txt"
    try:
        return log.stat().st_mtime >= since and word in log.read_bytes()
    except FileNotFoundError:
        return False


def measured(project: Project, name: str) -> tuple[float, float, float]:
    """Run a step undisturbed; return the three times of a `Step`."""
    since, started = time.time() - 0.01, time.monotonic()
    process, times = start(project, name), []
    while process.poll() is None:
        if len(times) < 2 and said(project, name, since, (b"start:", b"end after")[len(times)]):
            times.append(time.monotonic())
        time.sleep(0.02)
    assert process.returncode == 0, (name, (project.folder / "said.txt").read_text())
    moments = [started, *times, *[time.monotonic()] * (3 - len(times))]
    return tuple(after - before for before, after in itertools.pairwise(moments))


# What a project holds


def contents(folder: Path) -> dict[str, str]:
    """Return the digest of every file of the contract, without the moments that stand in some of them."""
    found = {}
    for part in ("data", "model", "reports", "predictions", "deployed"):
        for path in (folder / part).rglob("*"):
            name = str(path.relative_to(folder))
            # The history's page is made of logs, and holds times; deployed/ is what verify looks after.
            if (
                path.is_symlink()
                or not path.is_file()
                or name in ("reports/history.html", "reports/index.html", "deployed/.lock")
            ):
                continue
            if name.startswith("deployed/") or path.name.endswith(".part"):
                continue
            content = path.read_bytes()
            if name == "data/raw/raw_data.json":
                content = repr({**json.loads(content), "ingested_at": None, "version": None}).encode()
            elif name.endswith(".report.json"):
                content = repr({**json.loads(content), "predicted_at": None}).encode()
            elif name == "reports/sign_off.json":
                document = read_sign_off(path)
                decisions = [{**each, "signed_at": None} for each in document["decisions"]]
                content = repr({**document, "decisions": decisions, "sha256": None}).encode()
            found[name] = hashlib.sha256(content).hexdigest()
    return found


def inside(folder: Path, function):
    """Return what a function returns in a folder."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        return function()
    finally:
        os.chdir(here)


def deployed(folder: Path) -> tuple[str | None, list[str]]:
    """Return the model that is current, and what the history tells, without its moments."""

    def look() -> tuple[str | None, list[str]]:
        lines = [f"{entry['action']} {entry['release'].rpartition('-')[2]}" for entry in Releases().history()]
        return (Releases().current() or "").rpartition("-")[2] or None, lines

    return inside(folder, look)


def lost(folder: Path, step: Step) -> Iterator[str]:
    """Yield what is neither as before a step nor as after it, each in one sentence."""
    old, new = contents(step.before), contents(step.after)
    try:
        now = contents(folder)
    except Exception as error:
        yield f"damaged: {error}"
        return
    for name in sorted(old.keys() | new.keys() | now.keys()):
        # The verdict is there only where the last run has passed.
        if now.get(name) not in (old.get(name), new.get(name), None if name == "reports/verdict.json" else 0):
            yield f"{name} is {'gone' if name not in now else 'neither the old one nor the new one'}"
    page = folder / "reports/history.html"
    if page.is_file() and not page.read_text("utf-8").rstrip().endswith("</html>"):
        yield "reports/history.html is cut"
    yield from inside(folder, lambda: verify(RULE)[1])
    if deployed(folder)[0] not in (deployed(step.before)[0], deployed(step.after)[0]):
        yield "another release is current"
    runs = folder / "logs/runs.jsonl"
    for line in runs.read_text("utf-8").splitlines() if runs.is_file() else []:
        try:
            json.loads(line)
        except ValueError:
            yield "logs/runs.jsonl is damaged"


def unfinished(folder: Path, step: Step) -> Iterator[str]:
    """Run a step again, and yield in what it differs from an undisturbed one."""
    project = project_in(folder)
    done = step.name == "rollback" and deployed(folder)[0] == deployed(step.after)[0]
    code = 0 if done else run(project, step.name)
    if code:
        said = (folder / "said.txt").read_text("utf-8", "replace").strip().splitlines()
        yield f"run again, it ended with {code}: {' / '.join(said[-3:])}"
        return
    expected, found = contents(step.after), contents(folder)
    yield from (f"{name} differs" for name in sorted(expected | found) if expected.get(name) != found.get(name))
    if deployed(folder)[0] != deployed(step.after)[0]:
        yield "another release is current"
    yield from inside(folder, lambda: verify(RULE)[1])
    leftovers = [path for path in folder.rglob(".*.part") if ".snakemake" not in path.parts]
    yield from (f"{path.relative_to(folder)} is left" for path in leftovers)


# The faults


def exhaust(process: psutil.Process, chosen: random.Random) -> None:
    """Let a process have hardly any more memory: by a cgroup, whose kernel kills, or by a limit, which it is told."""
    spare = chosen.randrange(1, 24) << 20
    group = CGROUPS / f"signoff-{process.pid}"
    if chosen.random() < 0.5 and os.access(CGROUPS / "cgroup.procs", os.W_OK):
        group.mkdir()
        try:
            (group / "memory.limit_in_bytes").write_text(str(spare))
            (group / "cgroup.procs").write_text(str(process.pid))
            psutil.wait_procs([process], timeout=60)
        finally:
            remove(group)
    else:
        limit = process.memory_info().vms + spare
        resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))


def remove(group: Path, patience: float = 30) -> None:
    """Remove a cgroup, once the kernel has let go of what was killed in it."""
    until = time.monotonic() + patience
    while group.exists():
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def strike(step: Step, project: Project, fault: str, victim: str, chosen: random.Random) -> str | None:
    """Run a step, and kill it at a moment; return when that was, or None where it was not felt."""
    moment = chosen.choices(MOMENTS, [2, 7, 0 if victim == "task" else 2])[0]
    moment = "at work" if step.name == "weekly" else moment
    since = time.time() - 0.01
    process = start(project, step.name)
    word = {"at work": b"start:", "ending": b"end after"}.get(moment)
    while process.poll() is None and word and not said(project, step.name, since, word):
        time.sleep(0.001)
    if moment == "loading" and victim == "task":
        while process.poll() is None and not tasks(process, step.name):
            time.sleep(0.05)
        time.sleep(chosen.uniform(0, 1))
    else:
        long = {"loading": step.startup, "at work": step.work, "ending": step.tail}[moment]
        time.sleep(chosen.uniform(0, long))
    hit = tasks(process, step.name) if victim == "task" else []
    if process.poll() is not None or (victim == "task" and not hit):
        process.wait(PATIENCE)
        return None
    try:
        if fault == "out of memory":
            exhaust(hit[-1], chosen)
        elif victim == "task":
            hit[-1].send_signal(getattr(signal, fault))
        elif victim == "snakemake":
            os.kill(process.pid, getattr(signal, fault))
        else:
            os.killpg(process.pid, getattr(signal, fault))
    except (psutil.NoSuchProcess, ProcessLookupError):
        process.wait(PATIENCE)
        return None
    code = process.wait(PATIENCE)
    # A task that a Snakemake killed alone has left goes on, and is to trouble nobody.
    return None if code == 0 else moment


def once(step: Step, seed: str) -> tuple[str, str, str, list[str]] | None:
    """Make one kill of a step; return fault, victim, moment and what was lost, or None where none was felt."""
    chosen = random.Random(seed)
    for _ in range(TRIES):
        fault, victim = chosen.choice(FAULTS), chosen.choice(VICTIMS)
        alone = not isinstance(STEPS[step.name], str) and step.name != "weekly"
        victim = "task" if alone or fault == "out of memory" else victim
        folder = step.before.parent / f"work-{seed}"
        shutil.copytree(step.before, folder, symlinks=True)
        try:
            moment = strike(step, project_in(folder), fault, victim, chosen)
            if moment is None:
                continue
            problems = [*lost(folder, step), *unfinished(folder, step)]
            return fault, victim, moment, problems
        except subprocess.TimeoutExpired:
            for process in psutil.process_iter(["cwd"]):
                if (process.info["cwd"] or "").startswith(str(folder)):
                    process.kill()
            return fault, victim, "at work", [f"a run had not ended after {PATIENCE} seconds"]
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return None


def prepare(base: Path, names: list[str], project: Project | None = None) -> list[Step]:
    """Make a project that has released once, give it new data, and run each step undisturbed, keeping what is between.

    `project` is one that has released already, to be copied.
    """
    if project is None:
        project = make_project(base)
        for name in ("verdict", "generate_report", "sign_off", "deploy"):
            assert run(project, name) == 0, (project.folder / "said.txt").read_text("utf-8")
    else:
        shutil.copytree(project.folder.parent, base, symlinks=True)
        project = Project(base / "project", base / "signoff")
    (project.folder / "data/batches").mkdir(exist_ok=True)
    rides(300, seed=3).to_csv(project.folder / "data/batches/week.csv", index=False)
    assert run(project, "predict") == 0, (project.folder / "said.txt").read_text("utf-8")
    rides(720).to_csv(project.folder / "rides.csv", index=False)
    fresh = shutil.copytree(project.folder, base / "fresh", symlinks=True)
    found = []
    for name in STEPS:
        if name not in names and name == "weekly":
            continue
        before, after = base / f"before-{name}", base / f"after-{name}"
        shutil.copytree(fresh if name == "weekly" else project.folder, before, symlinks=True)
        now = shutil.copytree(before, base / "now", symlinks=True)
        took = measured(project_in(now), name)
        now.rename(after)
        if name in names:
            found.append(Step(name, before, after, *took))
        shutil.rmtree(project.folder)
        shutil.copytree(after, project.folder, symlinks=True)
        if {*names} <= {each.name for each in found}:
            break
    return found


def campaign(steps: list[Step], seed: int, count: int, workers: int = 2, seconds: float = math.inf) -> Iterator[tuple]:
    """Make `count` kills, or as many as `seconds` allow, round and round the steps; yield for each its step, and what
    `once` returns."""
    made, until = 0, time.monotonic() + seconds
    with concurrent.futures.ProcessPoolExecutor(workers) as pool:
        number, pending = 0, {}
        while made < count:
            while len(pending) < workers and made + len(pending) < count and time.monotonic() < until:
                step = steps[number % len(steps)]
                pending[pool.submit(once, step, f"{seed}-{number}")] = step
                number += 1
            if not pending:
                break
            for done in concurrent.futures.wait(pending, return_when="FIRST_COMPLETED").done:
                step, result = pending.pop(done), done.result()
                if result:
                    made += 1
                    for problem in result[-1]:
                        print(f"{step.name}, {', '.join(result[:-1])}: {problem}", flush=True)
                    yield step.name, *result


def table(made: list[tuple]) -> str:
    """Return what was tried and what was lost, as Markdown, of kills as `campaign` returns them, with their seeds."""
    lines = [
        "| killed | SIGKILL | SIGTERM | SIGINT | out of memory | in all | loading / at work / ending |"
        " the task / Snakemake / both | lost |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    kills = [each[1:] for each in made]
    for name in [*STEPS, "in all"]:
        here = [each for each in kills if name in (each[0], "in all")]
        faults, victims, moments = (collections.Counter(each[n] for each in here) for n in (1, 2, 3))
        cells = [name, *(faults[each] for each in FAULTS), len(here)]
        cells += [
            " / ".join(str(moments[each]) for each in MOMENTS),
            " / ".join(str(victims[each]) for each in VICTIMS),
        ]
        cells.append(sum(bool(each[4]) for each in here))
        if here:
            lines.append(f"| {' | '.join(map(str, cells))} |")
    problems = [f"- {name}, {', '.join(what)}: {each}" for _, name, *what, found in made for each in found]
    seeds = ", ".join(
        f"{count} of seed {seed}" for seed, count in collections.Counter(each[0] for each in made).items()
    )
    told = ["What was lost:", "", *problems] if problems else ["Nothing was lost."]
    return "\n".join([TITLE, f"Kills: {len(made)} ({seeds}).", "", *lines, "", *told]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=500, help="how many kills")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many minutes of killing")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--results", type=Path, help="add the kills to this file, and tell of all that stand in it")
    parser.add_argument("--output", type=Path, help="write the table to this file, too")
    args = parser.parse_args()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="signoff-kills-") as base, warm.programs() as programs:
        # What is run again after a kill, and not killed itself, begins at once.
        os.environ["SIGNOFF_PROGRAMS"] = str(programs)
        # What a sign-off holds of the code is not to depend on a repository around it.
        os.environ["GIT_CEILING_DIRECTORIES"] = base
        results = args.results or Path(base, "results")
        with results.open("a", encoding="utf-8") as file:
            for each in campaign(prepare(Path(base, "all"), args.steps), args.seed, args.count, 2, args.minutes * 60):
                file.write(f"{json.dumps((args.seed, *each))}\n")
                file.flush()
        made = [json.loads(line) for line in results.read_text("utf-8").splitlines()]
    text = table(made)
    print(text)
    if args.output:
        args.output.write_text(text, encoding="utf-8")
    sys.exit(any(each[-1] for each in made))


if __name__ == "__main__":
    main()
