"""A Slurm cluster of one node in a folder: its own key, database, daemons and ports; root is not needed."""

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import string
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
NEEDED = ["munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "sbatch", "srun", "sacct", "sacctmgr"]
# Where Debian puts daemons; not on everybody's PATH.
SYSTEM_TABLES = Path("/usr/share/mysql/mysql_system_tables.sql")
SEARCHED = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


class NoCluster(Exception):
    """Slurm is not installed, or did not start; the message says why."""


def free_port() -> str:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return str(listening.getsockname()[1])


def wait_until(works: list[str], daemon: subprocess.Popen, log: Path, environment: dict[str, str]) -> None:
    """Wait until the command `works` succeeds. Raises NoCluster, with the end of its log, where the daemon is down."""
    deadline = time.monotonic() + 60
    while subprocess.run(works, env=environment, capture_output=True, timeout=30, check=False).returncode:
        if daemon.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
            raise NoCluster(f"{log.stem} did not start: {' | '.join(last)}")
        time.sleep(0.2)


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start a cluster in `folder`, and yield the environment in which sbatch, sacct and the others talk to it.

    It has the partitions `short` and `weekly`, and the accounts `research` and `delays` for this user. All daemons are
    stopped at the end.

    Raises
    ------
    NoCluster
        A program is missing, or a daemon did not start.
    """
    paths = {name: shutil.which(name, path=SEARCHED) for name in NEEDED}
    if missing := [name for name, path in paths.items() if path is None]:
        raise NoCluster(f"{', '.join(missing)} not found: tests/slurm/install.sh installs them")
    names = {"folder": str(folder), "user": getpass.getuser(), "host": socket.gethostname().partition(".")[0]}
    names |= {f"{each}_port": free_port() for each in ("ctld", "slurmd", "dbd", "database")}
    for each in ("state", "spool", "database", "bin"):
        (folder / each).mkdir()
    for name in ("slurm.conf", "slurmdbd.conf"):
        text = string.Template((HERE / name).read_text(encoding="utf-8")).substitute(names)
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o600)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o600)
    # Snakemake's plugin clears SLURM_CONF from the environment of srun, which would then look in /etc.
    (folder / "bin/srun").write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {paths["srun"]} "$@"\n')
    (folder / "bin/srun").chmod(0o700)
    environment = os.environ | {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{folder}/bin:{SEARCHED}"}

    munge = ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={folder}/munge.key"]
    munge += [f"--{each}-file={folder}/munged.{each}" for each in ("pid", "log", "seed")]
    database = ["mariadbd", "--no-defaults", f"--datadir={folder}/database", f"--socket={folder}/database.socket"]
    database += [f"--port={names['database_port']}", "--bind-address=127.0.0.1", "--skip-grant-tables"]
    database += [f"--user={names['user']}", f"--pid-file={folder}/database.pid"]
    daemons = {
        "munged": (munge, ["munge", f"--socket={folder}/munge.socket", "--no-input"]),
        "mariadbd": (database, ["bash", "-c", f"< /dev/tcp/127.0.0.1/{names['database_port']}"]),
        "slurmdbd": (["slurmdbd", "-D"], ["sacctmgr", "-n", "list", "cluster"]),
        "slurmctld": (["slurmctld", "-D"], ["scontrol", "ping"]),
        "slurmd": (["slurmd", "-D"], ["srun", "--account=research", "--mem=10", "true"]),
    }
    tables = "create database mysql;\nuse mysql;\n" + SYSTEM_TABLES.read_text(encoding="utf-8")
    subprocess.run([*database, "--bootstrap"], env=environment, input=tables.encode(), check=True, capture_output=True)
    with contextlib.ExitStack() as stack:
        for name, (command, works) in daemons.items():
            log = folder / f"{name}.log"
            output = stack.enter_context(log.open("wb"))
            # It goes with this process, should this one be killed.
            command = ["setpriv", "--pdeathsig", "TERM", *command]
            daemon = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
            stack.callback(stop, daemon)
            wait_until(works, daemon, log, environment)
            if name == "slurmdbd":
                make_accounts(names["user"], environment)
        yield environment
        for command in (["scancel", f"--user={names['user']}"], ["squeue", "--noheader"]):
            subprocess.run(command, env=environment, check=True)


def make_accounts(user: str, environment: dict[str, str]) -> None:
    """Make the accounts `research` and `delays`, of which the first is the user's default."""
    for words in (
        ["cluster", "test"],
        ["account", "research"],
        ["account", "delays"],
        ["user", user, "account=research", "defaultaccount=research"],
        ["user", user, "account=delays"],
    ):
        subprocess.run(["sacctmgr", "--immediate", "add", *words], env=environment, check=True, capture_output=True)


def stop(daemon: subprocess.Popen) -> None:
    """Ask a daemon to end, and kill it where it has not after 20 seconds."""
    daemon.terminate()
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
