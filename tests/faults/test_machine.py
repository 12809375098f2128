"""The machine's own faults: a full disk, a quota, what may not be written, no descriptors left, odd clocks."""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import kills
import pytest

from conftest import Project, made_once, program, rides

LONG = os.environ.get("SIGNOFF_FAULTS") == "long"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a mount, or another user")
# Whoever is not root: root may write anywhere. It may read all, as root's Python may be where it is.
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
NOBODY += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def script(project: Project, name: str, *arguments: str, before: tuple = (), python: str | None = None, **options):
    """Run a task by its command line, behind other words and under limits of the system."""
    words = [*before, python or program("python"), str(project.workflow / f"scripts/{name}.py"), *arguments]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    # What it measures could not be written either, and it would say so.
    measured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    options = {"env": measured, **options}
    return subprocess.run(words, cwd=project.folder, text=True, check=False, timeout=300, **streams, **options)


# Each task that writes, by its command line, in the order of a run; the files are those of the finished project.
TASKS = {
    "ingest_data": ["--input=rides.csv", "--output=data/raw/raw_data.csv", "--target=minutes"],
    "validate_data": ["--input=data/raw/raw_data.csv", "--output=reports/validation_report.json"],
    "clean_data": ["--input=data/raw/raw_data.csv", "--output=data/processed/cleaned_data.csv"],
    "feature_engineering": [
        *("--input=data/processed/cleaned_data.csv", "--output=data/features/features.csv", "--target=minutes"),
    ],
    "train_model": [
        *("--input=data/features/features.csv", "--output=model/model.pkl", '--params={"max_iter": 5}'),
        "--intervals=constant",
    ],
    "evaluate_model": [
        *("--model=model/model.pkl", "--features=data/features/features.csv"),
        "--output=reports/evaluation_metrics.json",
    ],
    "sign_off": kills.SIGN,
    "deploy": [],
}


def fails_in_one_line(done: subprocess.CompletedProcess, *words: str) -> None:
    """Check that a task has failed, and has said why and what to do."""
    assert done.returncode == 1, done.stdout
    errors = [line for line in done.stdout.splitlines() if " - ERROR - " in line]
    assert len(errors) == 1, done.stdout
    assert "Traceback" not in done.stdout
    assert "unexpected failure" not in done.stdout
    assert any(word in errors[0] for word in words), errors[0]


@pytest.fixture(scope="session")
def signed_run(finished_run, tmp_path_factory) -> Project:
    """The finished project with a sign-off; shared, so never to be changed."""
    return made_once(tmp_path_factory, "signed", lambda folder: finished_run.copy(folder).sign_off())


@pytest.fixture
def signed(signed_run, tmp_path) -> Project:
    return signed_run.copy(tmp_path / "copy")


@pytest.mark.parametrize("name", TASKS)
def test_a_quota_that_is_used_up_is_one_line_and_leaves_the_old_files(signed, name):
    """No file may grow beyond 1 kB, as where a quota ends."""
    before = kills.contents(signed.folder)
    done = script(
        signed, name, *TASKS[name], preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    )
    fails_in_one_line(done, "File too large")
    assert kills.contents(signed.folder) == before
    assert list(signed.folder.rglob(".*.part")) == []


@pytest.mark.parametrize("name", ["clean_data", "deploy"])
def test_file_descriptors_that_are_used_up_are_one_line_and_leave_the_old_files(signed, name):
    before = kills.contents(signed.folder)
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))  # noqa: E731
    done = script(signed, name, *TASKS[name], python=sys.executable, preexec_fn=limit)
    assert done.returncode == 1
    assert "Too many open files" in done.stdout
    assert kills.contents(signed.folder) == before


@pytest.fixture
def readable(signed_run) -> Iterator[Project]:
    """A signed project that every user may read: what is pytest's own is root's alone."""
    with tempfile.TemporaryDirectory(prefix="signoff-faults-") as folder:
        Path(folder).chmod(0o755)
        project = signed_run.copy(Path(folder, "copy"))
        project.folder.parent.chmod(0o755)
        yield project


@AS_ROOT
@pytest.mark.parametrize("fault", ["folder", "owner"])
@pytest.mark.parametrize("name", ["ingest_data", "train_model", "deploy"])
def test_what_may_not_be_written_is_one_line_that_names_it(readable, name, fault):
    """Everything is root's, and may be read; run as another user. Only the one folder may be written, or nothing."""
    before = kills.contents(readable.folder)
    if fault == "owner":
        # The folder is theirs, but with the sticky bit: files of others in it may not be replaced.
        for each in ("data/raw", "model", "deployed"):
            (readable.folder / each).mkdir(exist_ok=True)
            (readable.folder / each).chmod(0o1777)
        if name == "deploy":
            (readable.folder / "deployed/.lock").touch(0o644)
    done = script(readable, name, *TASKS[name], before=tuple(NOBODY))
    fails_in_one_line(done, "Permission denied", "Operation not permitted")
    assert kills.contents(readable.folder) == before


@AS_ROOT
def test_a_disk_that_is_full_loses_nothing_and_the_next_run_completes(finished, tmp_path):
    """The project on a small disk of its own, which new data fill at each task in turn."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        shutil.copytree(finished.folder, disk / "project", symlinks=True)
        shutil.copytree(finished.workflow, disk / "signoff", symlinks=True)
        project = Project(disk / "project", disk / "signoff")
        rides(720).to_csv(project.folder / "rides.csv", index=False)
        old = kills.contents(project.folder)
        ballast = project.folder / "ballast"
        failed = 0
        for spare in (0, 40_000, 120_000, 400_000) if LONG else (40_000,):
            free = shutil.disk_usage(disk).free
            with open(ballast, "wb") as file:
                file.write(bytes(max(0, free - spare)))
            done = project.script("weekly", check=False)
            failed += done.returncode != 0
            assert "Traceback" not in "".join(line for line in done.stdout.splitlines() if "signoff/scripts" in line)
            now = kills.contents(project.folder)
            assert all(now[each] for each in old if not each.endswith("verdict.json"))
            assert {json.loads(line)["verdict"] for line in lines(project)} <= {"error", "passed", "killed"}
            ballast.unlink()
        assert failed
        project.script("weekly")
        assert project.json("data/processed/cleaned_data.json")["rows_in"] == 720
        assert "All is well" in script(project, "verify").stdout
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def lines(project: Project) -> list[str]:
    path = project.folder / "logs/runs.jsonl"
    return path.read_text("utf-8").splitlines() if path.is_file() else []


# Clocks


def test_files_of_the_future_are_run_again_and_signed_by_what_they_hold(finished):
    """A file whose time lies in the future, as a wrong clock leaves it, is neither newer for ever nor believed."""
    tomorrow = time.time() + 86_400
    os.utime(finished.folder / "rides.csv", (tomorrow, tomorrow))
    assert finished.jobs() == set(), "the content is the same"
    os.utime(finished.folder / "data/raw/raw_data.csv", (tomorrow, tomorrow))
    finished.sign_off()
    rides(660).to_csv(finished.folder / "rides.csv", index=False)
    os.utime(finished.folder / "rides.csv", (tomorrow, tomorrow))
    finished.snakemake("data/processed/cleaned_data.csv")
    assert finished.json("data/processed/cleaned_data.json")["rows_in"] == 660


ZONES = ["UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"][: 4 if LONG else 2]


def test_the_time_zone_of_the_machine_changes_no_byte(finished, monkeypatch):
    """With hours that do not exist, or exist twice, among the data's times."""
    frame = rides(400)
    nights = ["2024-03-10 02:30:00", "2024-03-31 02:30:00", "2024-10-27 02:30:00", "2024-11-03 01:30:00"]
    frame.loc[: len(nights) - 1, "started"] = nights
    frame.to_csv(finished.folder / "rides.csv", index=False)
    found = []
    for zone in ZONES:
        for name in ("ingest_data", "validate_data", "clean_data", "feature_engineering"):
            monkeypatch.setenv("TZ", zone)
            finished.script(name, *TASKS[name])
        found.append(kills.contents(finished.folder))
    assert all(each == found[0] for each in found)
    assert "2024-03-31 02:30:00" in (finished.folder / "data/processed/cleaned_data.csv").read_text("utf-8")


@pytest.mark.skipif(not shutil.which("faketime"), reason="tests/faults/install.sh brings faketime")
@pytest.mark.parametrize("shift", ["-400d", "+400d"])
def test_a_clock_that_was_set_forward_or_back_loses_nothing(released, shift):
    """A release, a rollback and a run at another time: the order is that of the history, not that of the clock."""
    first, second = (entry["release"] for entry in map(json.loads, history(released)))
    clock = ["faketime", "-f", shift]
    done = script(released, "rollback", "--reason", "a test", before=tuple(clock))
    assert done.returncode == 0, done.stdout
    assert os.readlink(released.folder / "deployed/current").endswith(first)
    assert script(released, "deploy", before=tuple(clock)).returncode == 0
    assert os.readlink(released.folder / "deployed/current").endswith(second)
    assert "All is well" in script(released, "verify").stdout
    assert "All is well" in script(released, "verify", before=tuple(clock)).stdout
    assert "error" not in script(released, "status", before=tuple(clock)).stdout.lower()
    done = script(released, "rollback", "--reason", "a test")
    assert os.readlink(released.folder / "deployed/current").endswith(first)


def history(project: Project) -> list[str]:
    return (project.folder / "deployed/history.jsonl").read_text("utf-8").splitlines()
