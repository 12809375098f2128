"""Two at once, of everything against everything: one waits, or says who runs; never a mixture."""

import itertools
import os
import re
import subprocess

import kills
import pytest

from conftest import Project, program, rides

pytestmark = pytest.mark.one_figure
LONG = os.environ.get("SIGNOFF_FAULTS") == "long"
COMMANDS = {
    "run": "all",
    "report": "reports/final_report.md",
    "predict": "predictions/week.csv",
    "deploy": "deploy",
    "weekly": ["--cores", "2"],
    "sign_off": kills.SIGN,
    "rollback": ["--reason", "a test"],
}
# How a command may end that finds another one at work.
REFUSALS = [
    r"process \d+\) runs since",
    r"another Snakemake was at work: try again",
    r"process \d+ runs since",
    r"a file has changed while you were deciding",
    r"was computed from other data than",
    r"was computed for a different (evaluation|version)",
    r"has changed since it was signed",
    r"changed while it was copied",
    r"was computed for a different model",
    r"was computed for a different model",
    r"is not the model that",
    r"compares the model with",
    r"there is no release before",
    r"is the current release already",
    r"does not exist",
]


# What is made of the release that is current, too.
COMPARED = [
    f"reports/{each}"
    for each in ("evaluation", "holdout", "comparison", "diagnostics", "final", "figures", "live", "tables", "verdict")
]


@pytest.fixture(scope="module")
def states(released_run, tmp_path_factory) -> tuple[Project, kills.Step]:
    """A project that has released, and has new data; and how it is before and after an undisturbed run and report."""
    project = released_run.copy(tmp_path_factory.mktemp("together") / "all")
    (project.folder / "data/batches").mkdir(exist_ok=True)
    rides(300, seed=3).to_csv(project.folder / "data/batches/week.csv", index=False)
    rides(720).to_csv(project.folder / "rides.csv", index=False)
    before = project.folder.parent / "before"
    project.folder.rename(before)
    after = Project(project.folder.parent / "after", project.workflow)
    subprocess.run(["cp", "-a", before, after.folder], check=True)
    # The figure of the tests, which run it again.
    after.snakemake("all", "reports/final_report.md", "predictions/week.csv", SIGNOFF_ONE_FIGURE="1")
    return project, kills.Step("run", before, after.folder, 0, 0, 0)


def start(project: Project, name: str, number: int) -> tuple[str, subprocess.Popen, str]:
    wanted = COMMANDS[name]
    words = [program("python"), str(project.workflow / f"scripts/{name}.py"), *wanted]
    if isinstance(wanted, str):
        words = [program("snakemake"), "--snakefile"]
        words += [str(project.workflow / "Snakefile"), "--directory", str(project.folder)]
        words += ["--configfile", str(project.folder / "config.yaml"), "--cores", "2", wanted]
    said = project.folder / f"said-{number}.txt"
    with open(said, "wb") as file:
        process = subprocess.Popen(words, cwd=project.folder, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    return name, process, said


def check(states, names: list[str]) -> list[int]:
    """Start commands at once, and check what each says and what is left; return their exit codes."""
    project, step = states
    folder = step.before.parent / f"now-{'-'.join(names)}"
    subprocess.run(["cp", "-a", step.before, folder], check=True)
    now = Project(folder, project.workflow)
    codes = []
    for name, process, said in [start(now, name, number) for number, name in enumerate(names)]:
        codes.append(process.wait(600))
        text = said.read_text("utf-8", "replace")
        assert codes[-1] in (0, 1, 75), (names, name, text)
        assert "Traceback" not in text, (names, name, text)
        if codes[-1]:
            assert any(re.search(each, text) for each in REFUSALS), (names, name, text)
    # A sign-off is of one state, and what it was; what is compared with the release moves with it.
    moved = {"deploy", "rollback"} & {*names}
    odd = ("reports/sign_off.json", "predictions/", *(COMPARED if moved else ()))
    problems = [each for each in kills.lost(folder, step) if not each.startswith(odd)]
    problems = [each for each in problems if each != "another release is current" or not moved]
    assert problems == [], names
    # What no run has disturbed is as it was: `lost` has compared it.
    if {"run", "report", "predict", "weekly"} & {*names}:
        now.snakemake("all", "reports/final_report.md")
        expected, found = kills.contents(step.after), kills.contents(folder)
        differ = [each for each in expected if not each.startswith(odd) and expected[each] != found.get(each)]
        assert differ == [], names
        assert now.jobs("all", "reports/final_report.md") == set()
    return codes


def test_all_commands_at_once_are_one_after_the_other_or_refused(states):
    names = ["run", "run", "weekly", "report", "predict", "deploy", "sign_off", "rollback"]
    codes = check(states, names)
    assert 0 in codes


# The test above has all at once; make faults tries each of the pairs.
PAIRS = list(itertools.combinations_with_replacement(COMMANDS, 2)) if LONG else [("deploy", "rollback")]


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_each_two_commands_at_once_are_one_after_the_other_or_one_is_refused(states, pair):
    assert 0 in check(states, list(pair))


def test_two_who_sign_off_at_once_are_both_noted(finished):
    for _ in range(3):
        (finished.folder / "reports/sign_off.json").unlink(missing_ok=True)
        both = []
        for name in ("Ada", "Bob", "Eve"):
            words = [program("python"), str(finished.workflow / "scripts/sign_off.py"), *kills.SIGN, "--reviewer", name]
            both.append(subprocess.Popen(words, cwd=finished.folder, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE))
        for each in both:
            assert each.wait(120) == 0, each.stderr.read()
            each.stderr.close()
        found = [each["reviewer"] for each in finished.json("reports/sign_off.json")["decisions"]]
        assert sorted(found) == ["Ada", "Bob", "Eve"]
