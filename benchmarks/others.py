"""The workflow's own steps under other tools: make, DVC and Kedro run the very commands that Snakemake runs.

Each `prepare_*` puts what its tool needs into a folder and returns the command that runs all steps there.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from measure import HERE, run

TOOLS = HERE / ".venv"
REQUIREMENTS = HERE / "requirements.txt"


def steps(dry_run: str, source: Path) -> dict[str, dict]:
    """Return for each rule of a dry run with --printshellcmds its inputs, outputs, threads and command."""
    found = {}
    for block in re.split(r"^(?=(?:local)?rule )", dry_run, flags=re.M)[1:]:
        # What follows the blank line is about another job, or about them all.
        lines = block.partition("\n\n")[0]
        told = dict(re.findall(r"^ *(rule|localrule|input|output|threads|Shell command):? (.+?):?$", lines, flags=re.M))
        if "output" not in told:
            continue
        name = told.get("rule") or told["localrule"]
        command = re.sub(r"^(nice )?python ", rf"\1{shlex.quote(sys.executable)} ", told["Shell command"])
        found[name] = {
            "inputs": told["input"].split(", ") + ([str(source)] if name == "ingest_data" else []),
            "outputs": [each.removesuffix(" (update)") for each in told["output"].split(", ")],
            "threads": int(told.get("threads", 1)),
            # Where DVC folds a line in its lock, it loses the second of two spaces, and then finds another command.
            "command": re.sub(" +", " ", command),
        }
    return found


def prepare_make(folder: Path, found: dict[str, dict], cores: int) -> list[object]:
    """Write a Makefile with one rule a step."""

    def files(paths: list[str]) -> str:
        return " ".join(each.replace(" ", r"\ ") for each in paths)

    lines = [f"all: {files([path for step in found.values() for path in step['outputs']])}"]
    for step in found.values():
        lines += [f"{files(step['outputs'])} &: {files(step['inputs'])}", f"\t{step['command'].replace('$', '$$')}"]
    (folder / "Makefile").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ["make", "-j", cores]


def prepare_dvc(folder: Path, found: dict[str, dict], cores: int) -> list[object]:
    """Write a dvc.yaml with one stage a step, in a new DVC repository without git."""
    stages = {
        name: {"cmd": step["command"].replace("${", r"\${"), "deps": step["inputs"], "outs": step["outputs"]}
        for name, step in found.items()
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, width=10_000), encoding="utf-8")
    run(folder, [TOOLS / "bin/dvc", "init", "--no-scm", "--quiet"])
    return [TOOLS / "bin/dvc", "repro"]


def prepare_kedro(folder: Path, found: dict[str, dict], cores: int) -> list[object]:
    """Copy the Kedro project of benchmarks/kedro, and write the steps that its nodes run."""
    shutil.copytree(HERE / "kedro", folder, dirs_exist_ok=True)
    (folder / "conf/local").mkdir()
    (folder / "steps.json").write_text(json.dumps(found), encoding="utf-8")
    return [TOOLS / "bin/kedro", "run", "--runner", "ThreadRunner"]


PREPARE = {"make": prepare_make, "dvc": prepare_dvc, "kedro": prepare_kedro}


def available(tools: list[str]) -> tuple[list[str], list[str]]:
    """Return which of the tools there are, after installing them where they are missing, and why the others are not."""
    problem = install() if {"dvc", "kedro"} & set(tools) else None
    found = [name for name in tools if name == "make" or problem is None]
    return found, [f"Left out: DVC and Kedro cannot be installed: {problem}"] if problem else []


def install() -> str | None:
    """Make the environment of DVC and Kedro where it is missing or old; return why that cannot be done, else None."""
    ready = TOOLS / ".made"
    if ready.exists() and ready.stat().st_mtime >= REQUIREMENTS.stat().st_mtime:
        return None
    print("Installing DVC and Kedro into benchmarks/.venv (once)", file=sys.stderr)
    pip = [TOOLS / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS]
    for command in ([sys.executable, "-m", "venv", TOOLS], pip):
        done = subprocess.run(command, text=True, capture_output=True)
        if done.returncode:
            return (done.stderr or done.stdout).strip().splitlines()[-1]
    ready.touch()
    return None


def versions(tools: list[str]) -> list[str]:
    """Return the names and versions of the tools."""
    make = run(HERE, ["make", "--version"]).said.split()[2] if "make" in tools else None
    pinned = dict(re.findall("^(.+)==(.+)$", REQUIREMENTS.read_text(encoding="utf-8"), flags=re.M)) | {"make": make}
    return [f"{name} {pinned[name]}" for name in tools]
