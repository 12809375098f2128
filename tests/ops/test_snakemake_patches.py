"""Each patch of Snakemake: what is patched is as it was, Snakemake alone still needs it, and with it all is well."""

import asyncio
import hashlib
import inspect
import json
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import snakemake.api  # noqa: F401, its modules import each other, and only this order works
from snakemake.benchmark import BenchmarkTimer
from snakemake.dag import DAG
from snakemake.exceptions import LockException
from snakemake.io import _IOFile
from snakemake.logging import DefaultFormatter
from snakemake.persistence import FileBackupMixin, PersistenceBase
from snakemake.persistence.file import FilePersistence
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.settings.types import SharedFSUsage
from snakemake.shell import shell
from snakemake_interface_executor_plugins.executors.real import RealExecutor

from conftest import program, run
from signoff.base.files import replacing
from signoff.ops import snakemake_patches as patches

# The digest of the source of all that is patched, of 9.27.0 and 9.27.1: after a change, read the new source, and decide
# whether the patch still fits.
PATCHED = {
    PersistenceBase.lock: "a0dd9daec26ea14b",
    FilePersistence._read_locks: "b22956063309135a",
    FilePersistence._write_locks: "0f786fb184b3b690",
    FilePersistence._delete_locks: "831014b3c20699d1",
    JobScheduler.__init__: "996627fdef14a803",
    JobScheduler.exit_gracefully: "71dc8bb2df123d88",
    JobScheduler.update_input_sizes: "3d3d19efdbbe3267",
    JobScheduler._schedule_reevalutation: "bb09f100ea5766bb",
    FileBackupMixin.backup_output: "0567435ee10946db",
    FileBackupMixin.restore_output: "929db9930db20c0c",
    PersistenceBase.finished: "3f347851a55e2243",
    _IOFile.checksum: "cc344b5b1a5e355b",
    DAG.update_needrun: "2cc7fc0714165cf3",
    RealExecutor.format_job_exec: "309fc84b3aa21142",
    DefaultFormatter.format_job_info: "522664f0e974c58c",
    DefaultFormatter.format_job_error: "099c9c3ccdbb86e5",
}


@pytest.mark.parametrize("function", PATCHED, ids=lambda each: each.__qualname__)
def test_what_is_patched_is_as_it_was_when_the_patch_was_written(function):
    assert hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16] == PATCHED[function]


def test_each_reason_is_written_down():
    found = [
        each for each in vars(patches).values() if inspect.isfunction(each) and each.__module__ == patches.__name__
    ]
    assert [each.__name__ for each in found if "Reason: " not in each.__doc__] == ["patch", "_listen"]


class Run(FilePersistence):
    """What Snakemake knows of the files of a run in this folder."""

    def __init__(self, inputs: list[str], outputs: list[str]):
        super().__init__()
        self.inputs, self.outputs = inputs, outputs

    def all_inputfiles(self) -> list[str]:
        return self.inputs

    def all_outputfiles(self) -> list[str]:
        return self.outputs


def test_a_second_run_hears_who_holds_the_lock_which_snakemake_does_not_say(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, second = Run(["a"], ["b"]), Run(["a"], ["b"])
    with patches._lock(first):
        with pytest.raises(LockException) as error, second.lock():
            pass
        assert "process 4711" not in str(error.value) + capsys.readouterr().err
    with patches._lock(first):
        holder = SimpleNamespace(pid=4711, create_time=lambda: 0.0)
        monkeypatch.setattr(patches, "running_snakemake", lambda: holder)
        with pytest.raises(LockException), patches._lock(second):
            pass
        assert "Snakemake (process 4711) runs since 1970-01-01T00:00:00Z: try again later" in capsys.readouterr().err
        monkeypatch.setattr(patches, "running_snakemake", lambda: None)
        with pytest.raises(LockException), patches._lock(second):
            pass
        assert "another Snakemake was at work: try again" in capsys.readouterr().err
    with patches._lock(second):
        pass


def test_a_run_that_ends_leaves_the_locks_of_others_which_snakemake_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second, third = Run(["a"], ["b"]), Run(["a"], ["c"]), Run(["c"], ["d"])
    with second.lock():
        with first.lock():
            pass
        assert not third.locked
    first, second, third = Run(["a"], ["b"]), Run(["a"], ["c"]), Run(["c"], ["d"])
    with patches._lock(second):
        with patches._lock(first):
            pass
        assert third.locked
    assert not third.locked
    # Nor does one that is refused, although its own locks had the same names before.
    with patches._lock(second):
        pass
    with patches._lock(Run(["a"], ["c"])):
        with pytest.raises(LockException), patches._lock(second):
            pass
        assert third.locked


def test_a_lock_is_taken_if_its_folder_was_deleted_which_snakemake_cannot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, other = Run(["a"], ["b"]), Run(["b"], ["c"])
    other.cleanup_locks()
    with pytest.raises(FileNotFoundError), run.lock():
        pass
    with patches._lock(run):
        assert other.locked


def test_of_two_runs_that_start_together_one_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runs = [Run(["a"], ["b"]), Run(["a"], ["b"])]
    together, refused, ended = threading.Barrier(2), [], threading.Barrier(2)
    looked = Run.locked.fget

    def slow(self: Run) -> bool:
        found = looked(self)
        time.sleep(0.2)
        return found

    monkeypatch.setattr(Run, "locked", property(slow))

    def start(each: Run) -> None:
        together.wait()
        try:
            with patches._lock(each):
                ended.wait()
        except LockException:
            refused.append(each)
            ended.wait()

    threads = [threading.Thread(target=start, args=[each]) for each in runs]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert len(refused) == 1


@pytest.mark.parametrize("handler", [JobScheduler.exit_gracefully, patches._exit_gracefully])
def test_a_signal_during_scheduling_does_not_block_the_main_thread(handler):
    patches._listen()
    jobs = threading.Semaphore(0)
    scheduler = SimpleNamespace(_lock=threading.Lock(), _user_kill=None, _open_jobs=jobs)
    main = threading.Thread(target=handler, args=[scheduler, 15, None])
    with scheduler._lock:
        main.start()
        # Snakemake's own handler cannot end before the lock is free; ours ends at once.
        main.join(0.2 if handler is JobScheduler.exit_gracefully else None)
        assert main.is_alive() == (handler is JobScheduler.exit_gracefully)
    assert jobs.acquire(timeout=60)
    assert scheduler._user_kill == "graceful"


def test_a_signal_while_the_main_thread_starts_another_one_does_not_block_it():
    """The lock that each start of a thread takes is held then."""
    patches._listen()
    jobs = threading.Semaphore(0)
    scheduler = SimpleNamespace(_lock=threading.Lock(), _user_kill=None, _open_jobs=jobs)
    go = threading.Event()
    main = threading.Thread(target=lambda: (go.wait(), patches._exit_gracefully(scheduler, 15, None)), daemon=True)
    main.start()
    with threading._active_limbo_lock:
        go.set()
        assert jobs.acquire(timeout=60)
    assert scheduler._user_kill == "graceful"


@pytest.mark.parametrize(
    ("remote", "deployment", "warm"), [(False, set(), True), (True, set(), False), (False, {"conda"}, False)]
)
def test_only_tasks_of_this_machine_and_this_python_begin_as_forks(monkeypatch, remote, deployment, warm):
    monkeypatch.setattr(JobScheduler, "__init__", lambda self, *arguments: None)
    for owner, name in ((BenchmarkTimer, "__init__"), (shell, "_process_prefix")):
        # monkeypatch restores it after the test.
        monkeypatch.setattr(owner, name, getattr(owner, name))
    shell._process_prefix = "set -e; "
    patches.keep_going()
    patches.start_tasks_warm(Path("a b/bin"))
    workflow = SimpleNamespace(deployment_settings=SimpleNamespace(deployment_method=deployment))
    scheduler = JobScheduler(workflow, SimpleNamespace(common_settings=SimpleNamespace(non_local_exec=remote)))
    # Whichever of the two patches comes first.
    assert scheduler.keepgoing
    assert shell._process_prefix == "set -e; " + ("export PATH='a b/bin':$PATH; " if warm else "")


def test_a_scheduler_of_many_models_keeps_going(monkeypatch):
    given = []
    # monkeypatch restores it after the test.
    begin = lambda self, *arguments, **options: given.append((arguments, options))  # noqa: E731
    monkeypatch.setattr(JobScheduler, "__init__", begin)
    patches.keep_going()
    assert JobScheduler(1, executor=2).keepgoing is True
    assert given == [((1,), {"executor": 2})]


@pytest.mark.parametrize(
    ("shared", "program"),
    [(SharedFSUsage.all(), "'/a b/run_snakemake.py'"), (frozenset(), "-m snakemake")],
    ids=["shared files", "none"],
)
def test_a_job_that_sees_the_script_starts_snakemake_with_it(shared, program, monkeypatch):
    monkeypatch.setattr(patches, "_command_of_snakemake", lambda self, job: "cd / && python -m snakemake --snakefile x")
    # monkeypatch restores it after the test.
    monkeypatch.setattr(RealExecutor, "format_job_exec", RealExecutor.format_job_exec)
    patches.start_jobs_with(Path("/a b/run_snakemake.py"))
    executor = SimpleNamespace(workflow=SimpleNamespace(storage_settings=SimpleNamespace(shared_fs_usage=shared)))
    assert RealExecutor.format_job_exec(executor, None) == f"cd / && python {program} --snakefile x"


class Backups(FileBackupMixin):
    """Keeps backups in the working folder."""

    path = Path(".snakemake")


@pytest.mark.parametrize(
    ("backup", "restore", "keeps_time", "in_one_step"),
    [
        (FileBackupMixin.backup_output, FileBackupMixin.restore_output, False, False),
        (patches._backup_output, patches._restore_output, True, True),
    ],
)
def test_a_restored_output_is_the_old_one_with_its_time(
    backup, restore, keeps_time, in_one_step, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    output = Path("output.csv")
    output.write_text("old", encoding="utf-8")
    os.utime(output, (1000, 1000))
    backup(Backups(), output)
    output.write_text("half a new o", encoding="utf-8")
    with output.open(encoding="utf-8") as reader:
        assert restore(Backups(), output) is True
        assert output.read_text("utf-8") == "old"
        # Who reads sees the file that was there, not a mixture.
        assert (reader.read() == "half a new o") == in_one_step
    assert (output.stat().st_mtime == 1000) == keeps_time
    assert restore(Backups(), output) is False
    patches._failed.clear()


SNAKEFILE = """
rule one:
    output: update("one.txt")
    params: number=config["number"]
    shell: "echo {params.number} > {output}; test {params.number} -lt 2"
"""


def test_snakemake_alone_takes_the_restored_output_of_a_failed_job_for_a_new_one(tmp_path):
    """With the patch, test_workflow.py runs a bad source again and again."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
    words = [program("snakemake"), "--cores", "1", "--config"]
    first, failed, again = (run([*words, f"number={number}"], cwd=tmp_path).stdout for number in (1, 2, 2))
    assert "Error in rule one" in failed and "Error in rule one" not in first
    assert (tmp_path / "one.txt").read_text("utf-8") == "1\n"
    assert "Nothing to be done" in again


def test_what_is_recorded_of_the_outputs_of_a_failed_job_stays(monkeypatch):
    recorded, complete = [], []

    async def record(self, job):
        recorded.append(job.output)

    monkeypatch.setattr(patches, "_finished_of_snakemake", record)
    monkeypatch.setattr(patches, "_failed", {"a", "b"})
    persistence = SimpleNamespace(_unmark_incomplete=complete.append, _get_key=str.upper)
    for output in (["a", "b"], ["c"], ["a", "b"]):
        asyncio.run(patches._finished(persistence, SimpleNamespace(output=output)))
    assert (recorded, complete) == ([["c"], ["a", "b"]], ["A", "B"])


def test_a_damaged_output_has_its_job_forced_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("bad.json").write_text("{", encoding="utf-8")
    Path("good.json").write_text("{}", encoding="utf-8")
    ran = []

    async def own(self, *arguments, **options):
        ran.append((arguments, options))

    class Output(str):
        is_storage = False

    jobs = [SimpleNamespace(output=[Output("bad.json")]), SimpleNamespace(output=[Output("good.json"), Output("new")])]
    dag = SimpleNamespace(jobs=jobs, forcefiles=set())
    monkeypatch.setattr(patches, "_update_of_snakemake", own)
    monkeypatch.setattr(patches, "_seen", set())
    asyncio.run(patches._update_needrun(dag, 1, create_inventory=True))
    assert (dag.forcefiles, ran) == ({"bad.json"}, [((1,), {"create_inventory": True})])
    assert "bad.json is damaged (not valid JSON): it is rebuilt" in capsys.readouterr().err
    # A job of many models lists their files, of which one has been deleted.
    Path("models/.chunks").mkdir(parents=True)
    chunks = [f"models/.chunks/{number}.json" for number in (0, 1)]
    stat = Path("good.json").stat()
    for chunk, path in zip(chunks, ("good.json", "deleted.json"), strict=True):
        Path(chunk).write_text(json.dumps({"files": {path: [stat.st_size, stat.st_mtime_ns]}}), encoding="utf-8")
        dag.jobs.append(SimpleNamespace(output=[Output(chunk)]))
    dag.forcefiles.clear()
    asyncio.run(patches._update_needrun(dag))
    assert dag.forcefiles == {chunks[1]}
    assert "1 models or files of models are not complete, or have changed, such as deleted" in capsys.readouterr().err
    # After a checkpoint, what this run has written itself is not looked at.
    dag.forcefiles.clear()
    asyncio.run(patches._update_needrun(dag))
    assert dag.forcefiles == set()


def test_a_lock_is_cleared_only_if_no_other_snakemake_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    left = Path(".snakemake/locks/0.input.lock")
    left.parent.mkdir(parents=True)
    left.touch()
    waited = []
    monkeypatch.setattr(patches, "orphans", lambda: [SimpleNamespace(pid=7)])
    monkeypatch.setattr(psutil, "wait_procs", waited.extend)
    opened, own = [], os.open

    def opening(path, *arguments):
        opened.append(own(path, *arguments))
        return opened[-1]

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", opening)
        patches._clear_dead_lock()
    assert not left.exists() and [each.pid for each in waited] == [7]
    assert "waiting for process 7, a task that a killed Snakemake has left" in capsys.readouterr().err
    # The first call still holds the lock of the system, as another process would.
    left.touch()
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", opening)
        patches._clear_dead_lock()
    assert left.exists()
    for each in opened:
        os.close(each)


def test_a_file_is_read_again_for_its_checksum_only_after_a_change(tmp_path, monkeypatch):
    async def read(self, threshold):
        asked.append(threshold)
        return Path(self.file).read_text("utf-8") if Path(self.file).exists() else None

    asked, path = [], tmp_path / "a"
    monkeypatch.setattr(patches, "_checksum_of_snakemake", read)
    monkeypatch.setattr(patches, "_checksums", {})
    file = SimpleNamespace(file=str(path), is_storage=False)
    path.write_text("one", encoding="utf-8")
    assert [asyncio.run(patches._checksum(file, 10)) for _ in range(3)] == ["one"] * 3 and len(asked) == 1
    # Of the same size, and as old.
    with replacing(path) as new:
        new.write_text("two", encoding="utf-8")
        os.utime(new, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    assert [asyncio.run(patches._checksum(file, 10)) for _ in range(3)] == ["two"] * 3 and len(asked) == 2
    # In place.
    old = path.stat()
    time.sleep(0.02)
    path.write_text("six", encoding="utf-8")
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert asyncio.run(patches._checksum(file, 10)) == "six"
    assert asyncio.run(patches._checksum(file, 11)) == "six" and asked == [10, 10, 10, 11]
    path.unlink()
    assert asyncio.run(patches._checksum(file, 11)) is None
    # What a store says is its own.
    stored = SimpleNamespace(file=str(path), is_storage=True)
    path.write_text("four", encoding="utf-8")
    assert [asyncio.run(patches._checksum(stored, 11)) for _ in range(2)] == ["four"] * 2 and asked[4:] == [11] * 3


def test_the_size_of_an_input_is_looked_up_once_which_snakemake_does_each_time():
    class Input(str):
        async def exists(self):
            return self != "missing"

        async def size(self):
            asked.append(str(self))
            return len(self)

    def job(*names):
        return SimpleNamespace(input=[Input(name) for name in names])

    asked, scheduler = [], SimpleNamespace(_input_sizes={})
    for jobs in ([job("a", "bb"), job("bb", "missing")], [job("bb", "missing"), job("ccc")]):
        asyncio.run(patches._update_input_sizes(scheduler, jobs))
    assert scheduler._input_sizes == {"a": 1, "bb": 2, "missing": None, "ccc": 3}
    assert sorted(asked) == ["a", "bb", "ccc"]
    own = SimpleNamespace(_input_sizes={})
    asyncio.run(JobScheduler.update_input_sizes(own, [job("a", "bb")]))
    asyncio.run(JobScheduler.update_input_sizes(own, [job("a")]))
    assert own._input_sizes == {"a": 1, "bb": 2} and sorted(asked) == ["a", "a", "a", "bb", "bb", "ccc"]


@pytest.mark.parametrize("schedule", [JobScheduler._schedule_reevalutation, patches._wake_later])
def test_a_scheduler_wakes_once_after_a_delay_and_is_not_waited_for_which_snakemake_does_each_time(schedule):
    scheduler, before = SimpleNamespace(_open_jobs=threading.Semaphore(0)), set(threading.enumerate())
    for delay in (0.2, 0.3, 0.2):
        schedule(scheduler, delay)
    timers = set(threading.enumerate()) - before
    ours = schedule is patches._wake_later
    assert len(timers) == (1 if ours else 3) and all(timer.daemon == ours for timer in timers)
    assert scheduler._open_jobs.acquire(timeout=30)
    # What is asked after it has woken, or for an earlier moment, is not lost.
    schedule(scheduler, 60)
    schedule(scheduler, 0.1)
    assert scheduler._open_jobs.acquire(timeout=30)
    for timer in set(threading.enumerate()) - before:
        timer.cancel()
