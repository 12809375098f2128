"""Tasks that begin at once: forks of a process that has imported, which do what Python does, and end as it does."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import snakemake.api  # noqa: F401, before its parts

from conftest import ROOT, run
from signoff.ops import folder, warm
from signoff.ops.snakemake_patches import _WithForks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a warm parent")
# A task that waits for a file.
SLOW = """
import time
from pathlib import Path
from signoff.base import command_line

def main():
    args = command_line.arguments("Wait.").parse_args()
    with command_line.logged("slow", args, "a file"):
        until = time.monotonic() + 100
        while not Path("go").exists() and time.monotonic() < until:
            time.sleep(0.01)

if __name__ == "__main__":
    main()
"""
# A task whose libraries have threads.
THREADED = """
import pyarrow
import sklearn.utils
from threadpoolctl import threadpool_info

if __name__ == "__main__":
    print(sorted((each["internal_api"], each["num_threads"]) for each in threadpool_info()), pyarrow.cpu_count())
"""


@contextlib.contextmanager
def parent(scripts: Path):
    """Yield a warm parent of this process, with one core, so that it imports nothing that nobody asks for."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    warm.start(scripts / "warm_parent.py")
    os.sched_setaffinity(0, cores)
    found = warm._started[-1]
    while not (found.folder / "socket").exists():
        assert found.process.poll() is None
        time.sleep(0.01)
    try:
        yield found
    finally:
        found.end()


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """The scripts of the workflow, and another one."""
    ignored = shutil.ignore_patterns("__pycache__")
    found = shutil.copytree(ROOT / "scripts", tmp_path_factory.mktemp("warm") / "scripts", ignore=ignored)
    (found / "slow.py").write_text(SLOW, encoding="utf-8")
    (found / "threaded.py").write_text(THREADED, encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def own_parent(scripts):
    with parent(scripts) as found:
        yield found


def start(parent: warm._Parent, scripts: Path, folder: Path, before: str = "") -> subprocess.Popen:
    """Start the slow task, as Snakemake does; with `before`, the shell becomes the program that asks."""
    command = f"{before}python {scripts}/slow.py --log=task.log"
    environment = {**os.environ, "PATH": f"{parent.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(["bash", "-c", command], cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    while not (folder / "task.log").is_file() or "start:" not in (folder / "task.log").read_text("utf-8"):
        assert process.poll() is None
        time.sleep(0.01)
    return process


def fork_of(task: subprocess.Popen) -> psutil.Process:
    """Return the fork that works for a task, which Snakemake's benchmark finds among the processes below its shell."""
    own = {each.pid for each in psutil.Process(task.pid).children(recursive=True)} | {task.pid}
    [found] = [each for each in _WithForks(task.pid).children(recursive=True) if each.pid not in own]
    return found


@pytest.mark.parametrize("words", [["--help"], ["--unknown"], ["--plan", "missing.json", "--output", "out.json"]])
def test_a_fork_says_what_python_says_and_ends_as_it_does(own_parent, scripts, tmp_path, words):
    pythons = own_parent.folder / "bin" / "python", Path(sys.executable)
    done, expected = (run([each, scripts / "models_chunk.py", *words], cwd=tmp_path) for each in pythons)
    # Times differ.
    said = [[line[23:] if " - " in line else line for line in each.stdout.splitlines()] for each in (done, expected)]
    assert (done.returncode, said[0]) == (expected.returncode, said[1])


def test_libraries_that_are_loaded_already_use_as_many_threads_as_a_task_may(own_parent, scripts):
    environment = os.environ | {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    pythons = own_parent.folder / "bin/python", Path(sys.executable)
    done, expected = (run([each, scripts / "threaded.py"], env=environment).stdout for each in pythons)
    assert done == expected and "('openmp', 2)" in done and "('openblas', 2)" in done


def test_signals_reach_the_fork_and_who_asks_ends_as_it_does(own_parent, scripts, tmp_path):
    """A test of the fork's memory, too: it is among the processes that Snakemake measures."""
    ends = {}
    for name, number in (("told", signal.SIGTERM), ("Ctrl-C", signal.SIGINT), ("killed", signal.SIGKILL)):
        (tmp_path / name).mkdir()
        task = start(own_parent, scripts, tmp_path / name, before="exec ")
        fork = fork_of(task)
        assert fork.memory_info().rss > psutil.Process(task.pid).memory_info().rss
        task.send_signal(number)
        ends[name] = task.wait(60)
        psutil.wait_procs([fork], 60)
        assert not fork.is_running()
        said = (tmp_path / name / "task.log").read_text("utf-8")
        assert ("stopped from outside" in said, "interrupted" in said) == (name == "told", name == "Ctrl-C")
    assert ends == {"told": 143, "Ctrl-C": 130, "killed": -9}


def test_a_killed_fork_is_a_killed_task_and_the_next_one_is_none(own_parent, scripts, tmp_path):
    task = start(own_parent, scripts, tmp_path, before="exec ")
    fork_of(task).kill()
    assert task.wait(60) == -9
    assert not list(own_parent.folder.glob("[0-9]*"))


def test_if_the_warm_parent_is_killed_its_tasks_are_and_the_next_one_starts_python(scripts, tmp_path):
    with parent(scripts) as found:
        task = start(found, scripts, tmp_path, before="exec ")
        fork = fork_of(task)
        found.process.kill()
        assert task.wait(60) == -9
        psutil.wait_procs([fork], 60)
        assert not fork.is_running()
        assert run([found.folder / "bin" / "python", scripts / "slow.py", "--help"]).returncode == 0
    assert not found.folder.exists()


def test_if_snakemake_is_killed_its_task_goes_on_and_the_next_snakemake_knows_of_it(scripts, tmp_path, monkeypatch):
    with parent(scripts) as found:
        task = start(found, scripts, tmp_path)
        # As the system does.
        found.process.stdin.close()
        while (found.folder / "socket").exists():
            time.sleep(0.01)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(folder, "_SCRIPTS", scripts)
        assert len(folder.orphans()) == 1
        (tmp_path / "go").touch()
        assert task.wait(60) == 0
        assert found.process.wait(60) == 0
        assert not found.folder.exists()


def test_a_module_that_has_changed_since_runs_as_it_is_now(own_parent, scripts):
    command = [own_parent.folder / "bin/python", scripts / "slow.py", "--help"]
    assert "also write the log" in run(command).stdout
    module = scripts / "signoff/base/command_line.py"
    module.write_text(module.read_text("utf-8").replace("also write the log", "new words"), encoding="utf-8")
    assert "new words" in run(command).stdout


def test_the_tasks_of_a_run_are_forks_and_nothing_is_left_of_it(project):
    words = ["--snakefile", project.workflow / "Snakefile", "--directory", project.folder, "--cores", "1"]
    words += ["data/processed/cleaned_data.csv", "--configfile", project.folder / "config.yaml"]
    forks, of_parent = set(), None
    with open(project.folder / "said.txt", "wb") as said:
        command = [sys.executable, project.workflow / "scripts/run_snakemake.py", *words]
        snakemake = subprocess.Popen(command, stdout=said, stderr=said)
    while snakemake.poll() is None:
        with contextlib.suppress(psutil.Error):
            for each in psutil.Process(snakemake.pid).children():
                if any("warm_parent" in word for word in each.cmdline()):
                    of_parent = Path(each.cmdline()[2])
                    # One that became Python itself has another command line.
                    forks |= {fork.pid for fork in each.children() if fork.cmdline() == each.cmdline()}
        time.sleep(0.005)
    assert snakemake.returncode == 0, (project.folder / "said.txt").read_text("utf-8")
    assert len(forks) >= 2
    assert not of_parent.exists()
