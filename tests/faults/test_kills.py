"""What a kill leaves: a few of those that `make faults` makes by the hundred, and the faults that these have found."""

import os
import subprocess
import time
from pathlib import Path

import kills
import pytest

from conftest import Project, program, rides

# Read by every Python that starts: a task whose fault this is waits for a file, or is killed as it begins; a Snakemake
# is told to end while it chooses its jobs.
SABOTAGE = """
import os, sys, time
words = " ".join(sys.orig_argv)
if "clean_data.py" in words and os.environ.get("FAULT") == "killed":
    os.kill(os.getpid(), 9)
while "clean_data.py" in words and os.environ.get("FAULT") == "slow" and not os.path.exists("go"):
    time.sleep(0.02)
if "bin/snakemake" in words and os.environ.get("FAULT") == "told":
    import signal, threading
    class Lock:
        own = threading.Lock
        def __init__(self):
            self.lock = Lock.own()
        def __getattr__(self, name):
            return getattr(self.lock, name)
        def __enter__(self):
            self.lock.acquire()
            if sys._getframe(1).f_code.co_name == "run_selector":
                signal.raise_signal(signal.SIGTERM)
        def __exit__(self, *error):
            self.lock.release()
    threading.Lock = Lock
"""


@pytest.fixture
def sabotaged(finished, tmp_path, monkeypatch) -> Project:
    """A finished project with new data, whose clean_data can be told by FAULT to have one."""
    (tmp_path / "fault").mkdir()
    (tmp_path / "fault/sitecustomize.py").write_text(SABOTAGE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fault"))
    rides(660).to_csv(finished.folder / "rides.csv", index=False)
    return finished


CLEANED = "data/processed/cleaned_data.csv"


def test_a_failed_task_leaves_its_old_output_in_place_and_is_run_again(sabotaged):
    """Put back with a new time, it would pass for made of today's data."""
    cleaned = sabotaged.folder / CLEANED
    before, old = cleaned.stat(), cleaned.read_bytes()
    with open(cleaned, "rb") as reader:
        failed = sabotaged.snakemake(CLEANED, check=False, FAULT="killed")
        assert failed.returncode == 1
        assert "clean_data failed: it stopped without a word" in failed.stdout
        assert cleaned.read_bytes() == old
        assert cleaned.stat().st_mtime_ns == before.st_mtime_ns
        # Who was reading it reads on: it was not written into.
        assert reader.read() == old
        assert cleaned.stat().st_ino != before.st_ino
    sabotaged.snakemake(CLEANED)
    assert sabotaged.json("data/processed/cleaned_data.json")["rows_in"] == 660
    # Nor is it done with a wrong config because that has been tried once: it fails until it is mended.
    sabotaged.configure(cleaning={"max_rows_lost": 0.001})
    for _ in range(2):
        assert "clean_data failed: cleaning would" in sabotaged.snakemake(CLEANED, check=False).stdout
    sabotaged.configure()
    assert sabotaged.jobs(CLEANED) == set(), "the file is that of this config again"


def start(project: Project, fault: str = "slow", programs: Path = kills.PROGRAMS) -> subprocess.Popen:
    words = [str(programs / "snakemake"), "--snakefile", str(project.workflow / "Snakefile")]
    words += ["--directory", str(project.folder), "--configfile", str(project.folder / "config.yaml"), "--cores", "2"]
    environment = os.environ | {"FAULT": fault}
    with open(project.folder / "said.txt", "wb") as said:
        return subprocess.Popen([*words, CLEANED], stdout=said, stderr=said, env=environment, start_new_session=True)


def test_the_next_run_clears_a_dead_lock_never_a_held_one_and_waits_for_what_still_works(sabotaged):
    first = start(sabotaged)
    while not (found := kills.tasks(first, "clean_data")):
        assert first.poll() is None, (sabotaged.folder / "said.txt").read_text()
        time.sleep(0.1)
    beside = sabotaged.snakemake(CLEANED, check=False)
    assert beside.returncode == 1
    assert f"Snakemake (process {first.pid}) runs since 20" in beside.stdout
    assert "cannot be locked" in beside.stdout
    # It alone: its task goes on, and would put old data over the next run's.
    first.kill()
    first.wait()
    second = start(sabotaged, programs=Path(program("python")).parent)
    try:
        while "waiting for process" not in (sabotaged.folder / "said.txt").read_text():
            assert second.poll() is None, (sabotaged.folder / "said.txt").read_text()
            time.sleep(0.02)
        assert found[-1].is_running()
        (sabotaged.folder / "go").touch()
        assert second.wait(120) == 0
    finally:
        (sabotaged.folder / "go").touch()
        second.wait(120)
    assert "clearing the lock that a killed Snakemake has left" in (sabotaged.folder / "said.txt").read_text()
    assert sabotaged.json("data/processed/cleaned_data.json")["rows_in"] == 660
    assert not list((sabotaged.folder / ".snakemake/locks").glob("*"))


def test_sigterm_ends_a_snakemake_while_it_holds_the_lock_of_its_scheduler(sabotaged):
    """Its own handler waits for that lock, which the thread holds that it interrupts: for ever."""
    told = start(sabotaged, "told", Path(program("python")).parent)
    try:
        assert told.wait(120) == 1
    finally:
        told.kill()
    assert "Will exit after finishing currently running jobs" in (sabotaged.folder / "said.txt").read_text()
    assert sabotaged.jobs(CLEANED) >= {"clean_data"}


def test_kills_at_random_moments_lose_nothing(released_run, tmp_path):
    """`make faults` makes hundreds, of every task and command."""
    steps = kills.prepare(tmp_path / "all", ["ingest_data"], released_run)
    made = list(kills.campaign(steps, seed=1, count=2))
    assert [each for each in made if each[-1]] == []
