"""Who works in a project's folder: the Snakemake that runs there, and what a killed one has left behind."""

import fcntl
import os
import sys
import threading
import time
from pathlib import Path

import psutil

from signoff.base.files import WORKFLOW

SCRIPTS = WORKFLOW / "scripts"


def clear_dead_lock() -> None:
    """Delete the lock that a killed Snakemake has left in this folder; to be called by each Snakemake as it begins.

    Each keeps a lock of its own as long as it lives, shared with the others, since the system takes that one away from
    a process that is killed. Who can have it alone knows that no other lives. Tasks that a killed Snakemake has left
    running are waited for: else they could put their outputs over those of the next run.
    """
    Path(".snakemake").mkdir(exist_ok=True)
    # Never closed: it is held until this process ends, and by no task of its.
    held = os.open(".snakemake/signoff.lock", os.O_RDWR | os.O_CREAT, 0o666)
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
        for each in left:
            each.unlink(missing_ok=True)
    fcntl.flock(held, fcntl.LOCK_SH)


def name_the_holder() -> None:
    """Have this process's Snakemake say which other one it is that holds the lock, where it finds it held."""
    from snakemake.persistence import PersistenceBase

    own = PersistenceBase.lock

    def lock(self):
        if self.locked:
            other = running_snakemake()
            say(f"{described(other)}: try again later" if other else "another Snakemake was at work: try again")
        return own(self)

    PersistenceBase.lock = lock


def go_on_after_failures() -> None:
    """Have this process's Snakemake run all jobs that do not depend on a failed one, whatever its options say."""
    from snakemake.scheduling.job_scheduler import JobScheduler

    begin = JobScheduler.__init__

    def begin_and_go_on(self, *arguments, **options) -> None:
        begin(self, *arguments, **options)
        self.keepgoing = True

    JobScheduler.__init__ = begin_and_go_on


def end_when_told() -> None:
    """Have this process's Snakemake take SIGTERM at any moment: end with the tasks that run, and begin none.

    Its own way is to take a lock in the handler of the signal, and waits for ever where the signal came while the main
    thread held it.
    """
    from snakemake.scheduling.job_scheduler import JobScheduler

    own = JobScheduler.exit_gracefully
    JobScheduler.exit_gracefully = lambda self, *_: threading.Thread(target=own, args=[self]).start()


def say(what: str) -> None:
    print(f"{what} ({Path.cwd()})", file=sys.stderr, flush=True)


def described(process: psutil.Process) -> str:
    """Return in words which Snakemake runs since when."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(process.create_time()))
    return f"Snakemake (process {process.pid}) runs since {since}"


def running_snakemake() -> psutil.Process | None:
    """Return another Snakemake that works in this folder."""
    for process in psutil.process_iter(["cwd", "cmdline"]):
        words = process.info["cmdline"] or []
        is_snakemake = any(Path(word).name == "snakemake" for word in words[:3])
        if is_snakemake and process.info["cwd"] == os.getcwd() and process.pid != os.getpid():
            return process
    return None


def orphans() -> list[psutil.Process]:
    """Return the tasks that run in this folder as a rule starts them."""
    found = []
    for process in psutil.process_iter(["cwd", "cmdline"]):
        words = process.info["cmdline"] or []
        ours = len(words) > 1 and process.info["cwd"] == os.getcwd() and Path(words[1]).resolve().parent == SCRIPTS
        if ours and any(word.startswith("--log=") for word in words):
            found.append(process)
    return found
