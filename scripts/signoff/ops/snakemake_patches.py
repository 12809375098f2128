"""The parts of Snakemake that this workflow replaces, each with its reason and the upstream issue, if any.

`patch` does it in the process of a run. tests/ops/test_snakemake_patches.py fails when Snakemake changes a patched
part, or no longer needs a patch. One replacement is elsewhere: with an object store, common.smk does not mark outputs
with `update()`, because Snakemake would look for the old output on the local disk.
"""

import asyncio
import fcntl
import os
import queue
import shlex
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
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

from signoff.base.files import make_way, open_lock, replacing
from signoff.ops import warm
from signoff.ops.damaged import changed_files, damaged
from signoff.ops.folder import orphans, running_snakemake, running_words, say

# As Snakemake defines them.
_measure = BenchmarkTimer.__init__
_exit_of_snakemake = JobScheduler.exit_gracefully
_finished_of_snakemake = PersistenceBase.finished
_checksum_of_snakemake = _IOFile.checksum
_update_of_snakemake = DAG.update_needrun
_command_of_snakemake = RealExecutor.format_job_exec
_info_of_snakemake = DefaultFormatter.format_job_info
_error_of_snakemake = DefaultFormatter.format_job_error
# Schedulers that have been sent SIGTERM.
_ending: queue.SimpleQueue[Any] = queue.SimpleQueue()
# Outputs of jobs that have failed, until `_finished` is called for their job.
_failed: set[str] = set()
# Outputs that `_update_needrun` has checked.
_seen: set[str] = set()
# What `_checksum` has found, by all that it depends on.
_checksums: dict[tuple[Any, ...], str | None] = {}


def patch(main_process: bool) -> None:
    """Apply the patches of this module to Snakemake in this process.

    Parameters
    ----------
    main_process
        False in the process of a single job, which Snakemake starts itself and which takes no lock.
    """
    if main_process:
        _clear_dead_lock()
        FilePersistence.lock = _lock
        _listen()
        JobScheduler.exit_gracefully = _exit_gracefully
        JobScheduler.update_input_sizes = _update_input_sizes
        JobScheduler._schedule_reevalutation = _wake_later
        DAG.update_needrun = _update_needrun
    FileBackupMixin.backup_output = _backup_output
    FileBackupMixin.restore_output = _restore_output
    PersistenceBase.finished = _finished
    _IOFile.checksum = _checksum


def keep_going() -> None:
    """Run all jobs that do not depend on a failed one, whatever the command line or a profile says.

    Reason: of many models, one that cannot be trained must not stop the others, and a workflow cannot set
    `--keep-going`. No upstream issue was found.
    """

    begun = JobScheduler.__init__

    def begin(self: Any, *arguments: Any, **options: Any) -> None:
        begun(self, *arguments, **options)
        self.keepgoing = True

    JobScheduler.__init__ = begin


def start_tasks_warm(programs: Path | None) -> None:
    """Let the tasks of a run on this machine begin with `programs`, whose `python` is one that has imported (warm.py).

    Not if jobs run elsewhere, or under the Python of a container or of an environment of their own.

    Reason: Snakemake cannot say while it reads a Snakefile where its jobs will run. And it measures the processes below
    the shell of a job, which a fork of another process is not. No upstream issue: no other workflow has such forks.
    """

    begun = JobScheduler.__init__

    def begin(self: Any, workflow: Any, executor_plugin: Any, *arguments: Any, **options: Any) -> None:
        begun(self, workflow, executor_plugin, *arguments, **options)
        elsewhere = executor_plugin.common_settings.non_local_exec or workflow.deployment_settings.deployment_method
        if programs and not elsewhere:
            shell._process_prefix = f"{shell._process_prefix or ''}export PATH={shlex.quote(str(programs))}:$PATH; "

    def measure(self: Any, *arguments: Any, **options: Any) -> None:
        _measure(self, *arguments, **options)
        self.main = _WithForks(self.pid)

    JobScheduler.__init__ = begin
    BenchmarkTimer.__init__ = measure


class _WithForks(psutil.Process):
    """A process whose children are also the forks that work for it or for one of its children, and theirs."""

    def children(self, recursive: bool = False) -> list[psutil.Process]:
        found = super().children(recursive)
        for process in [self, *found]:
            if fork := warm.fork_of(process.pid):
                with suppress(psutil.NoSuchProcess):
                    own = psutil.Process(fork)
                    found += [own, *own.children(recursive)]
        return found


def count_modules(scripts: Path) -> None:
    """Count the modules and captions among the inputs of a job that is started or has failed, instead of listing them.

    Reason: a rule declares each module that its script imports. Their paths, 20 to 120, hide the job's data in a log.
    No upstream issue: rules with so much code are rare.

    Parameters
    ----------
    scripts
        The folder `scripts` of the workflow, absolute.
    """
    folders = f"{scripts}/signoff/", f"{scripts.parent}/workflow/"

    def counted(shown: Callable[[Any, dict[str, Any]], str]) -> Callable[[Any, dict[str, Any]], str]:
        def show(self: Any, message: dict[str, Any]) -> str:
            inputs = [each for each in message["input"] if not os.path.abspath(each).startswith(folders)]
            if count := len(message["input"]) - len(inputs):
                inputs.append(f"{count} modules and captions of the workflow (--verbose lists them)")
            return shown(self, {**message, "input": inputs})

        return show

    DefaultFormatter.format_job_info = counted(_info_of_snakemake)
    DefaultFormatter.format_job_error = counted(_error_of_snakemake)


def start_jobs_with(script: Path) -> None:
    """Let a job on a cluster start its Snakemake with this script, if it sees the same files.

    Reason: more than half of the start is imports that a job does not use (scripts/run_snakemake.py), and a job on
    Slurm starts two, one in the other. No upstream issue was found.
    """

    def command(self: Any, job: Any) -> str:
        words: str = _command_of_snakemake(self, job)
        if SharedFSUsage.SOURCES not in self.workflow.storage_settings.shared_fs_usage:
            return words
        return words.replace(" -m snakemake ", f" {shlex.quote(str(script))} ", 1)

    RealExecutor.format_job_exec = command


def _clear_dead_lock() -> None:
    """Delete the lock that a killed Snakemake has left in this folder. It replaces `snakemake --unlock`.

    Reason: a scheduled run must not wait for a person after a power cut, and `--unlock` does not check whether another
    Snakemake is running. No upstream issue: there, unlocking by hand is intended.

    Each Snakemake holds a lock of the operating system, shared with the others, which ends with the process even if it
    is killed. A process that can have this lock exclusively is the only one. It waits for tasks that a killed Snakemake
    has left running, which could otherwise write their outputs over those of the next run.
    """
    Path(".snakemake").mkdir(exist_ok=True)
    # Never closed: this process holds it until it ends. Its tasks do not inherit it.
    held = open_lock(Path(".snakemake/signoff.lock"))
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except BlockingIOError:
        alone = False
    left = list(Path(".snakemake/locks").glob("*"))
    if left and alone:
        tasks = orphans()
        for each in tasks:
            say(f"waiting for process {each.pid}, a task that a killed Snakemake has left")
        psutil.wait_procs(tasks)
        say("clearing the lock that a killed Snakemake has left")
        for path in left:
            path.unlink(missing_ok=True)
    fcntl.flock(held, fcntl.LOCK_SH)


@contextmanager
def _lock(self: Any) -> Iterator[None]:
    """Lock the files of a run in one step, delete only its own locks at its end, and say which Snakemake holds one.

    Reason: Snakemake looks for locks first and writes its own afterwards, so that two which start together may both
    run. The one that ends first deletes the folder of all locks: the other then fails to write its own, or runs without
    any. And the message advises to remove the lock, and does not name the process that holds it. No upstream issue was
    found.
    """
    try:
        with _locks_untouched():
            if self.locked:
                other = running_snakemake()
                say(f"{running_words(other)}: try again later" if other else "another Snakemake was at work: try again")
                raise LockException()
            # --unlock deletes the folder.
            Path(self._lockdir).mkdir(exist_ok=True)
            self._write_locks("input", map(str, self.all_inputfiles()))
            self._write_locks("output", map(str, self.all_outputfiles()))
        yield
    finally:
        with _locks_untouched():
            while self._lockfile:
                Path(self._lockfile.popitem()[1]).unlink(missing_ok=True)


@contextmanager
def _locks_untouched() -> Iterator[None]:
    """Keep other processes from looking at or changing Snakemake's locks. It is part of `_lock`, and has its reason.

    Reason: a lock of the operating system ends with its process, and the locks of Snakemake are files.
    """
    with open(open_lock(Path(".snakemake/locks.lock")), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _exit_gracefully(self: Any, *_: object) -> None:
    """Handle SIGTERM in another thread: end with the tasks that are running, and begin none.

    Reason: Snakemake's handler takes a lock that is not reentrant, and waits forever if the signal arrived while the
    main thread held it. Starting a thread takes such a lock, too, so the thread waits from the beginning; a SimpleQueue
    takes none. No upstream issue was found.
    """
    _ending.put(self)


def _listen() -> None:
    """Start the thread that ends a scheduler for which `_exit_gracefully` was called."""

    def end() -> None:
        while True:
            _exit_of_snakemake(_ending.get())

    threading.Thread(target=end, daemon=True).start()


async def _update_input_sizes(self: Any, jobs: Iterable[Any]) -> None:
    """Look up the size of each input of the jobs that are ready once, for the order in which they begin.

    Reason: Snakemake looks up all of them again each second, and whenever a job ends. With 10,000 models, whose rows
    are as many files, this takes a third of a core for as long as the run lasts. No upstream issue was found.
    """

    async def size(path: Any) -> tuple[Any, int | None]:
        return path, await path.size() if await path.exists() else None

    new = {path for job in jobs for path in job.input}.difference(self._input_sizes)
    self._input_sizes.update(await asyncio.gather(*map(size, new)))


def _wake_later(self: Any, delay: float) -> None:
    """Let a scheduler look for jobs again after a delay in seconds, once for all that ask for it in the meantime.

    Reason: a scheduler asks for this whenever it has started a job, because of `--max-jobs-per-timespan`. Snakemake
    waits for each of these timers before it exits, a second after the last job has started. And while jobs wait for a
    core, each timer leads to the next one, so that there are as many as jobs have ended. No upstream issue was found.
    """
    now = time.monotonic()
    if not now < getattr(self, "_wakes_at", 0) <= now + delay:
        self._wakes_at = now + delay
        timer = threading.Timer(delay, self._open_jobs.release)
        timer.daemon = True
        timer.start()


async def _update_needrun(self: Any, *arguments: Any, **options: Any) -> None:
    """Rebuild damaged outputs, as if their jobs had been forced.

    Reason: Snakemake looks at names and times of outputs. A file that a power cut has damaged counts as an output, and
    each task that reads it fails until a person deletes it. No upstream issue: there, outputs are never read.
    """
    for job in self.jobs:
        # Jobs are added after a checkpoint. Outputs that this run has written itself are not checked.
        outputs = [str(path) for path in job.output if str(path) not in _seen and not path.is_storage]
        _seen.update(outputs)
        for path, problem in damaged(outputs):
            say(f"{path} is damaged ({problem}): it is rebuilt")
            self.forcefiles.update(job.output)
        # A job for many models, weeks or parts lists their files, which are not its outputs, and those that failed.
        for marker in (path for path in map(Path, outputs) if path.parent.name == ".chunks"):
            if files := changed_files(marker):
                say(f"{len(files)} models or files of models are not complete, or have changed, such as {files[0]}")
                self.forcefiles.update(job.output)
    await _update_of_snakemake(self, *arguments, **options)


def _backup_output(self: Any, path: Path) -> None:
    """Copy an output before its job runs, together with its modification time.

    Reason: Snakemake's backup has the time of today, so that an output restored from it seems newer than the inputs
    with which the job failed, and the next run has nothing to do. No upstream issue was found; the backup came with
    https://github.com/snakemake/snakemake/pull/3833.
    """
    # None of the outputs is a folder.
    if make_way(path) or path.is_dir():
        return
    backup = self._get_backup_path(path)
    backup.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, backup)


def _restore_output(self: Any, path: Path) -> bool:
    """Restore an output of a failed job in one step; return whether there was a backup.

    Reason: Snakemake copies into the existing file, which somebody may be reading, and which is left half written if
    the process is killed. No upstream issue was found.
    """
    _failed.add(str(path))
    backup = self._get_backup_path(path)
    if not backup.exists():
        return False
    with replacing(path) as new:
        shutil.copy2(backup, new)
    backup.unlink()
    return True


async def _finished(self: Any, job: Any) -> None:
    """Record what the outputs of a job were made from; for a failed job, keep what is recorded of its old outputs.

    Reason: Snakemake records the inputs and params of the failed job for the restored outputs, and the next run has
    nothing to do. Upstream: https://github.com/snakemake/snakemake/issues/3808.
    """
    outputs = {str(path) for path in job.output}
    if not outputs & _failed:
        await _finished_of_snakemake(self, job)
        return
    _failed.difference_update(outputs)
    for path in job.output:
        self._unmark_incomplete(self._get_key(path))


async def _checksum(self: Any, *arguments: Any, **options: Any) -> str | None:
    """Compute the checksum of a file once, as long as the file is the same.

    Reason: Snakemake reads each input of a job again for each of its outputs, and a rule declares each module that its
    script imports: a thousand files for the report. No upstream issue was found.
    """
    found = None
    with suppress(OSError):
        found = None if self.is_storage else os.stat(self.file)
    if found is None:
        return await _checksum_of_snakemake(self, *arguments, **options)  # type: ignore[no-any-return]
    key = (str(self.file), found.st_ino, found.st_size, found.st_ctime_ns, arguments, *options.items())
    if key not in _checksums:
        _checksums[key] = await _checksum_of_snakemake(self, *arguments, **options)
    return _checksums[key]
