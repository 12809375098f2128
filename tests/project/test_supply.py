"""What the workflow is made of, and who may do what in hosted CI."""

import re
import sys

import pytest
import yaml

from conftest import ROOT, run

WORKFLOWS = [*sorted(ROOT.glob(".github/workflows/*.yml")), ROOT / "schedule/github"]

# What a job may do besides reading: only where no code of a model runs, or after a person has signed it.
RIGHTS = {
    "release": {"contents": "write"},
    "propose": {"actions": "read", "contents": "write", "pull-requests": "write"},
    "deploy": {"actions": "read", "contents": "write"},
}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_hosted_ci_pins_its_actions_and_holds_the_least_rights(path):
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    # YAML 1.1 reads the key `on` as true.
    assert "pull_request_target" not in workflow[True]
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for name, job in workflow["jobs"].items():
        assert job.get("permissions", {}) == RIGHTS.get(name, {}), name
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
                assert f"uses: {step['uses']} # v" in text, "the version stands behind the commit"
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
            # What others write, such as a title, would be pasted into the shell.
            assert "${{" not in step.get("run", "")


def test_one_action_has_one_pin():
    pins = {}
    for path in WORKFLOWS:
        for action, commit in re.findall(r"uses: (\S+)@(\S+)", path.read_text(encoding="utf-8")):
            assert pins.setdefault(action, commit) == commit
    assert len(pins) == 3


def packages(name: str) -> set[str]:
    """Return the packages that a file of pins names for this system."""
    found = re.findall(r"^([\w.-]+)==\S+(?: ; (.*?))? \\$", (ROOT / name).read_text("utf-8"), flags=re.M)
    from packaging.markers import Marker

    return {re.sub("[-_.]+", "-", each).lower() for each, marker in found if not marker or Marker(marker).evaluate()}


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the list was made on Python 3.11")
def test_the_licence_of_every_pinned_package_is_listed():
    lines = re.findall(r"^\| ([\w.-]+) +\| (\w.*?) +\|", (ROOT / "LICENCES.md").read_text("utf-8"), flags=re.M)
    listed = {re.sub("[-_.]+", "-", name).lower(): licence for name, licence in lines}
    listed.pop("name", None)
    assert listed.keys() == set().union(
        *map(packages, ("requirements.txt", "requirements-dev.txt", "requirements-boosters.txt"))
    )
    assert not [each for each in listed.values() if each == "UNKNOWN"]


def test_running_installs_nothing_that_only_tests_need():
    dev = (ROOT / "requirements-dev.in").read_text("utf-8")
    asked = {re.sub("[-_.]+", "-", each).lower() for each in re.findall(r"^(\w[\w.-]*)", dev, flags=re.M)}
    # rich brings it along.
    assert asked & packages("requirements.txt") == {"markdown-it-py"}
    assert {"pytest", "moto", "ruff", "mypy"} <= asked <= packages("requirements-dev.txt")


def test_the_conda_environment_is_whole_in_itself_and_in_step_with_the_pins(tmp_path):
    """Snakemake copies environment.yml alone to where it makes the environment (--sdm conda)."""
    pins = (ROOT / "requirements.txt").read_text("utf-8").replace(" \\\n   ", "").splitlines()
    conda, pip = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"][-2:]
    assert conda == "pip"
    assert pip == {"pip": pins}, "make environment.yml"
    assert all(" --hash=sha256:" in line for line in pins)
    # As conda hands them to pip.
    (tmp_path / "requirements.txt").write_text("\n".join(pip["pip"]), encoding="utf-8")
    words = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--no-index", "--require-hashes", "-r"]
    done = run([*words, tmp_path / "requirements.txt"], cwd=tmp_path)
    assert done.returncode == 0, done.stdout


def test_every_pin_has_hashes_and_no_index():
    for path in ROOT.glob("requirements*.txt"):
        text = path.read_text(encoding="utf-8")
        pins = re.split(r"^(?=[\w.-]+==)", text, flags=re.M)
        assert pins[0] == "" and all("--hash=sha256:" in each for each in pins[1:]), path
        assert "://" not in text and "--index" not in text, path


def test_release_notes_are_the_section_of_the_changelog(tmp_path):
    done = run(["make", "-s", "notes", "VERSION=Unreleased"], cwd=ROOT)
    assert done.returncode == 0 and done.stdout.startswith("## Unreleased\n\n### ")
    assert run(["make", "-s", "notes", "VERSION=9.9.9"], cwd=ROOT).returncode != 0
