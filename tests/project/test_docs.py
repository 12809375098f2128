"""Every command in README.md and docs/ is run, page by page as a reader would, and shows what the page shows."""

import ast
import lzma
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import OUTPUTS, ROOT, program, rides, run
from signoff.base.files import read_json
from signoff.config.settings import check_config

PAGES = {str(path.relative_to(ROOT)): path for path in (ROOT / "README.md", ROOT / "config/README.md")}
PAGES |= {str(path.relative_to(ROOT)): path for path in sorted((ROOT / "docs").glob("*.md"))}
# The pages that share one copy of the project, in the order in which they are read; the rest follow the last.
TOGETHER = [
    ["docs/tutorial.md", "README.md"],
    [f"docs/{name}.md" for name in ("your-data", "without-make", "sign-off-with-keys", "serving", "schedule")],
]
TOGETHER[-1] += [name for name in PAGES if not any(name in group for group in TOGETHER)]

RUN = {"console", "bash", "sh", "python"}
SHOWN = {"yaml", "json", "text", "ini", "{toctree}", "{include} ../README.md", "{code-block} python"}
# What cannot run here, by how the command begins: why, and what is checked instead.
NOT_RUN = {
    "make backtest": "takes minutes on the flights; tests/review/test_backtest.py runs it on fewer rows",
    "make serve": "goes on until Ctrl-C; tests/serving/test_serve.py starts the server",
    "make review": "goes on until Ctrl-C; tests/ops/test_review_page.py starts the server",
    "mlflow models serve": "goes on until Ctrl-C; tests/release/test_track.py serves a release from a real registry",
    'curl -H "Content-Type: application/json" http://127.0.0.1:5001': "asks that server",
    "git add --force delays/reports/statement-ada": "tests/release/test_statement.py merges a statement",
    "git -c gpg.format=ssh": "merges that statement",
    "make sign-off DIR=delays COMMIT=HEAD": "takes it from that merge",
    "mlserver start": "a server of its own requirements, which are not those of the project; tried by hand",
    "make signing": "installs a tool of its own requirements; tests/release/test_attest.py uses it if it is there",
    "make attest DIR=delays KEY=": "needs that tool",
    "model_signing verify": "needs that tool; tests/release/test_attest.py verifies with it if it is there",
    "git clone URL": "the copy that the pages run in stands for it",
    ".venv/bin/snakemake --workflow-profile profiles/slurm": "needs a cluster; tests/slurm runs the profile on one",
    "snakemake --cores 4 --default-storage-provider s3": "needs a bucket; tests/rules/test_object_store.py has one",
}
# What is run after all pages of its group: README.md begins with the data and the model that the tutorial ends with.
AT_THE_END = ("make clean",)
# Programs that would change the machine, and what stands in for them; what they were given is checked below.
STAND_INS = {
    "crontab": 'if [ "$1" = - ]; then cat > ~/crontab; elif [ -e ~/crontab ]; then cat ~/crontab; else exit 1; fi',
    "systemctl": 'echo "$*" >> ~/systemctl',
}
# PYTHONUNBUFFERED: output in the order in which a terminal shows it. No page shows what another preset trains, and
# nobody looks at the figures.
SHELL = {"LC_ALL": "C.UTF-8", "TERM": "dumb", "PYTHONUNBUFFERED": "1", "CORES": "2"}
SHELL |= {"PRESET": "fast", "SIGNOFF_ONE_FIGURE": "1"}


def fences(page: Path) -> list[tuple[int, str, list[str]]]:
    """Return line number, language and lines of each fenced block."""
    found, inside = [], None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            if inside is None:
                inside = (number, line.removeprefix("```"), [])
                found.append(inside)
            else:
                inside = None
        elif inside:
            inside[2].append(line)
    assert inside is None, f"{page}: a block is not closed"
    return found


def commands(page: Path) -> list[tuple[int, str, list[str]]]:
    """Return line number, command and the output shown (none: not shown) of each command of a page, in order."""
    found: list[tuple[int, str, list[str]]] = []
    for start, language, lines in fences(page):
        if language == "python":
            found.append((start, f"python - << 'END OF BLOCK'\n{chr(10).join(lines)}\nEND OF BLOCK", []))
        elif language in ("bash", "sh"):
            for number, line in enumerate(lines, start + 1):
                if line.strip() and not line.lstrip().startswith("#"):
                    found.append((number, line, []))
        elif language == "console":
            assert lines and lines[0].startswith("$ "), f"{page}:{start}: a console block begins with a command"
            for number, line in enumerate(lines, start + 1):
                if line.startswith("$ "):
                    found.append((number, line[2:], []))
                elif line.startswith("> ") and not found[-1][2]:
                    found[-1] = (found[-1][0], f"{found[-1][1]}\n{line[2:]}", [])
                else:
                    found[-1][2].append(line)
    return found


def in_order(group: list[str]) -> list[tuple[str, list[tuple[int, str, list[str]]]]]:
    """Return the commands of a group of pages that are run, each with its page, in the order in which they are."""
    early, late = [], []
    for name in group:
        every = [step for step in commands(PAGES[name]) if not step[1].startswith(tuple(NOT_RUN))]
        early.append((name, [step for step in every if not step[1].startswith(AT_THE_END)]))
        late.append((name, [step for step in every if step[1].startswith(AT_THE_END)]))
    return early + late


def pattern(shown: list[str]) -> str:
    """Return what output must match: … stands for any text in its line, and alone in a line for any lines."""
    parts = ["(?:.*\n)*?" if line.strip() == "…" else re.escape(line).replace("…", ".*?") + "\n" for line in shown]
    return "".join(parts)


class Shell:
    """A reader's shell, in which one command follows another."""

    def __init__(self, folder: Path, environment: dict[str, str]):
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        options |= {"text": True, "encoding": "utf-8"}
        self.bash = subprocess.Popen(["bash", "--norc"], cwd=folder, env=environment, **options)

    def __call__(self, command: str) -> tuple[int, str]:
        """Run a command; return its exit code and what it wrote."""
        self.bash.stdin.write(f'{{ {command}\n}} < /dev/null\ncode=$?; echo; echo "EXIT CODE $code"; (exit $code)\n')
        self.bash.stdin.flush()
        lines: list[str] = []
        for line in self.bash.stdout:
            if ended := re.fullmatch(r"EXIT CODE (\d+)\n", line):
                return int(ended[1]), "".join(lines)[:-1]
            lines.append(line)
        raise AssertionError(f"the shell ended at: {command}\n{''.join(lines)}")

    def close(self) -> None:
        self.bash.communicate()


def copy_of_the_project(folder: Path) -> None:
    """Make what a reader has: a clone, with what is not committed yet, a table of their own, and a batch of flights."""
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    author = ["-c", "user.name=Reader", "-c", "user.email=reader@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "all"]):
        assert run(["git", *words], cwd=folder).returncode == 0
    # The environment that runs the tests, which is older than the copy; its programs begin at once.
    (folder / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        (folder / ".venv" / path.name).symlink_to(Path(program("python")).parent if path.name == "bin" else path)
    for name in folder.glob("requirements*.txt"):
        os.utime(name, (1, 1))
    rides(200).to_csv(folder / "rides.csv", index=False)
    (folder / "data/batches").mkdir(parents=True)
    with lzma.open(folder / "resources/flights.csv.xz", "rt") as flights:
        (folder / "data/batches/week.csv").write_text("".join(flights.readlines(20_000)), encoding="utf-8")


def environment(home: Path, folder: Path) -> dict[str, str]:
    """Return the variables of a reader's shell: a home of its own, and nothing of the make that runs the tests."""
    for name, text in STAND_INS.items():
        program = home / "bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        program.chmod(0o755)
    ours = ("MAKE", "MFLAGS", "PYTEST", "SIGNOFF", "SNAKEMAKE", "XDG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    path = f"{home / 'bin'}:{folder / '.venv/bin'}:{os.environ['PATH']}"
    return kept | {"HOME": str(home), "PATH": path, **SHELL}


def check_flights(project: Path, screen: str) -> None:
    """Check that the embedded flights, with the config as it is shipped, reach their figures; `screen` tells them."""
    metrics = read_json(project / "reports/evaluation_metrics.json")
    assert metrics["model"]["test"]["MAE"] <= 12.5
    assert metrics["model"]["test"]["R2"] >= 0.80
    assert metrics["cleaning"]["rows_in"] == 336_776
    assert metrics["cleaning"]["rows_out"] == 327_346
    # Eight weeks before the last flight, and not one row later, is where training ends.
    assert metrics["split"]["last_train"] < "2013-11-06 05" < metrics["split"]["last_test"]
    summary = screen[screen.rindex("Rows  ") :]
    for part in ("336,776 in", "327,346 after", "baseline: dep_delay", "baseline: mean", "mae_max", "r2_min", "passed"):
        assert part in summary
    assert all((project / path).is_file() for path in OUTPUTS.values())


def check_files(project: Path) -> None:
    """Check that docs/files.md tells of every file of a project in which everything was done, and of no other."""
    text = (ROOT / "docs/files.md").read_text("utf-8").partition("## Files\n")[2].partition("\n## ")[0]
    told = [re.sub(r"<[^>]*>", "*", path) for path in re.findall(r"^\| `([^`]+)`", text, flags=re.M)]
    for folder in ("data", "model", "reports", "logs", "deployed", "attestations", "dossiers", "predictions"):
        for path in (project / folder).rglob("*"):
            name = path.relative_to(project)
            assert path.is_dir() or any(name.match(each) for each in told), f"docs/files.md does not tell of {name}"
    for each in told:
        # A server writes the first, and no page starts one. tests/features/test_earlier_rows.py writes the second,
        # and tests/rules/test_models.py the third.
        if each.startswith(("predictions/served/", "model/history.arrow", "models/")):
            continue
        assert any(project.glob(each)), f"docs/files.md tells of {each}, which nothing writes"


@pytest.mark.parametrize("group", TOGETHER, ids=lambda group: Path(group[0]).stem)
def test_every_command_runs_and_shows_what_its_page_shows(group, tmp_path):
    folder, home = tmp_path / "signoff", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    copy_of_the_project(folder)
    given = environment(home, folder)
    for name, steps in in_order(group):
        shell = Shell(folder, given)
        for n, (line, command, shown) in enumerate(steps):
            code, output = shell(command)
            told = f"{name}:{line}: $ {command}\n" + "\n".join(output.splitlines()[-60:])
            # A failure is expected where the page shows it: make says so itself, else the reader asks.
            asked = n + 1 < len(steps) and steps[n + 1][1] == "echo $?"
            if not asked:
                fails = bool(shown) and re.match(r"make: \*\*\* .* Error \d+", shown[-1]) is not None
                if (code != 0) != fails:
                    pytest.fail(f"exit code {code}: {told}", pytrace=False)
            if shown and not re.fullmatch(pattern(shown), output):
                wanted = "\n".join(shown)
                pytest.fail(f"the page shows\n{wanted}\nbut it is\n{told}", pytrace=False)
            if (name, command) == ("README.md", "make run"):
                check_flights(folder, output)
        shell.close()
    check_schedules(home, given)
    if "docs/files.md" in group:
        check_files(folder / "delays")


def check_schedules(home: Path, given: dict[str, str]) -> None:
    """Check what a page gave to cron and to systemd: cron's line is run as cron would, systemd reads its units."""
    if (home / "crontab").is_file():
        (entry,) = [line for line in (home / "crontab").read_text("utf-8").splitlines() if re.match(r"[0-9*]", line)]
        *when, command = entry.split(" ", 5)
        assert when == ["0", "3", "*", "*", "1"]
        folder = Path(shlex.split(command)[1])
        before = (folder / "logs/runs.jsonl").read_text("utf-8").count("\n")
        done = run(["/bin/sh", "-c", command], cwd=home, env={"HOME": str(home), "PATH": "/usr/bin:/bin"})
        assert (done.returncode, done.stdout) == (0, "")
        assert (folder / "logs/runs.jsonl").read_text("utf-8").count("\n") == before + 1
    if (home / "systemctl").is_file():
        units = [home / ".config/systemd/user" / f"signoff.{kind}" for kind in ("service", "timer")]
        assert all("[Unit]" in unit.read_text("utf-8") for unit in units)
        if shutil.which("systemd-analyze"):
            done = run(["systemd-analyze", "--user", "verify", *map(str, units)], env=given)
            assert "signoff" not in done.stdout, done.stdout


def test_no_command_hides_from_the_tests():
    beginnings = ("$ ", "make ", "snakemake", "python ", "pip ", "git ", "cd ")
    every = []
    for name, page in PAGES.items():
        for line, language, lines in fences(page):
            assert language in RUN | SHOWN, f"{name}:{line}: {language!r} is neither run nor known to be no command"
            hidden = [each for each in lines if each.startswith(beginnings) and language in SHOWN]
            assert not hidden, f"{name}:{line}: commands belong into a block that is run: {hidden}"
        plain = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
        assert not re.search(r"\n\n    \S", plain), f"{name}: an indented block, of which nobody knows what it is"
        every += [command for _, command, _ in commands(page)]
    unused = [start for start in NOT_RUN if not any(command.startswith(start) for command in every)]
    assert not unused, f"these stand in no page any more: {unused}"


def test_what_a_page_names_exists():
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text("utf-8"))
    sections = {name: rule["properties"] for name, rule in schema["properties"].items() if "properties" in rule}
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text("utf-8"), flags=re.M))
    for name, page in PAGES.items():
        text = page.read_text("utf-8")
        assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets, name
        for path in re.findall(r"(?<![\w/])(?:scripts|schedule|profiles|workflow|benchmarks)/[\w/.-]*\w", text):
            assert (ROOT / path).exists(), f"{name} names {path}"
        for section, key in re.findall(rf"`({'|'.join(sections)})\.(?!json|pkl|py|skops)(\w+)", text):
            assert key in sections[section], f"{name} names {section}.{key}"


def test_config_shown_in_a_page_is_valid():
    schema_path = ROOT / "workflow/schemas/config.schema.yaml"
    schema = yaml.safe_load(schema_path.read_text("utf-8"))
    for name, page in PAGES.items():
        for line, language, lines in fences(page):
            config = yaml.safe_load("\n".join(lines)) if language == "yaml" else {}
            if set(config) & set(schema["properties"]):
                try:
                    check_config({"raw_data_source_url": "x", "target": "y", **config}, schema_path)
                except Exception as error:
                    raise AssertionError(f"{name}:{line}: {error}") from error


def test_the_slurm_profile_names_what_snakemake_knows():
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text("utf-8"))
    options = run([program("snakemake"), "--help"]).stdout
    assert all(f"--{name}" in options for name in profile)


def test_the_reference_names_every_key_script_and_target(tmp_path):
    done = run([program("python"), str(ROOT / "docs/generate.py"), "--output", str(tmp_path)])
    assert done.returncode == 0, done.stdout
    config, commands = ((tmp_path / name).read_text("utf-8") for name in ("config.md", "commands.md"))
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text("utf-8"))
    for name, rule in schema["properties"].items():
        for key in [f"{name}.{each}" for each in rule["properties"]] if "properties" in rule else [name]:
            assert f"## `{key}`" in config
    for script in (ROOT / "scripts").glob("*.py"):
        functions = [node.name for node in ast.parse(script.read_text("utf-8")).body if hasattr(node, "name")]
        assert (f"usage: {script.name}" in commands) == ("main" in functions)
    for target in re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text("utf-8"), flags=re.M):
        assert f"`make {target}`" in commands


@pytest.mark.parametrize("other", ["dev", "docs", "serve"])
def test_the_lists_of_pins_agree(other):
    pins = []
    for name in ("requirements.txt", f"requirements-{other}.txt"):
        lines = re.findall(r"^([\w.-]+)==(\S+)(?: ; (.*?))? \\$", (ROOT / name).read_text("utf-8"), flags=re.M)
        pins.append({(package, marker): version for package, version, marker in lines})
    workflow, more = pins
    assert {each: more[each] for each in more if workflow.get(each, more[each]) != more[each]} == {}


def test_every_dependency_is_listed_with_what_it_is_for():
    asked = []
    for name in ("requirements.in", "requirements-dev.in"):
        asked += re.findall(r"^(\w[\w-]*)", (ROOT / name).read_text("utf-8"), flags=re.M)
    told = re.findall(r"^\| ([\w-]+) \| \S", (ROOT / "docs/dependencies.md").read_text("utf-8"), flags=re.M)
    assert sorted(set(told) - {"package"}) == sorted(asked)


def test_every_file_over_its_budget_is_named_with_the_reason():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    text = text.partition("A Snakefile should have at most 60 lines")[2].partition("\n## ")[0]
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in ROOT.glob("scripts/**/*.py")}
    rules = {path: len(path.read_text("utf-8").splitlines()) for path in ROOT.glob("workflow/rules/*.smk")}
    # A task is what has a command line.
    budget = {path: 200 if "\ndef main(" in path.read_text("utf-8") else 150 for path in lines}
    over = {path.stem for path in lines if lines[path] > budget[path]}
    over |= {path.name for path in rules if rules[path] > 150}
    assert set(re.findall(r"`([\w.]+)`", text.replace("`tests/project/test_docs.py`", ""))) == over
    assert len((ROOT / "Snakefile").read_text("utf-8").splitlines()) <= 60
    config = (ROOT / "config/config.yaml").read_text("utf-8").splitlines()
    assert len([line for line in config if line.strip() and not line.strip().startswith("#")]) <= 40
