"""Tasks that begin at once: a process that has imported once, the warm parent, forks for each of them.

Most of what a small task takes are the imports of pandas, Arrow and scikit-learn. `start` starts a warm parent for the
local tasks of one Snakemake (scripts/warm_parent.py, forking.py), and `programs` is a folder with a `python` that asks
it for a fork of it: a process of its own, with the arguments, folder, environment and streams of who asks. The asking
program passes signals on to the fork, and ends as it does; if either of both is killed, so is the other. If there is
nobody to ask, it becomes Python itself.

The forks end with the warm parent if that is killed. It ends with Snakemake; when that is killed, the tasks that run go
on, as they do without it.
"""

import atexit
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from signoff.base.files import only_file

# Imports next to nothing: for os and signal it would need as long again as for all the rest. `words`, `python` and
# `address` are given before.
_ASK = """
umask = posix.umask(0)
posix.umask(umask)
server = _socket.socket(_socket.AF_UNIX)
try:
    server.connect(address)
    request = [b"%d" % umask, posix.getcwdb(), b"%d" % len(words)]
    request += [each.encode(sys.getfilesystemencoding(), "surrogateescape") for each in words]
    request = b"\\0".join([*request, *map(b"=".join, posix.environ.items())])
    streams = b"".join(each.to_bytes(4, sys.byteorder) for each in (0, 1, 2))
    server.sendmsg([len(request).to_bytes(4, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
    while request:
        request = request[server.send(request):]
    process = int.from_bytes(server.recv(4), "big")
except OSError:
    process = 0
if not process:
    posix.execv(python, [python, *words])
def stop(number, frame):
    posix.killpg(process, _signal.SIGSTOP)
    posix.kill(posix.getpid(), _signal.SIGSTOP)
    posix.killpg(process, _signal.SIGCONT)
for each in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGUSR1, _signal.SIGUSR2):
    if _signal.getsignal(each) != _signal.SIG_IGN:
        _signal.signal(each, lambda number, frame: posix.kill(process, number))
_signal.signal(_signal.SIGTSTP, stop)
status = server.recv(4)
code = posix.waitstatus_to_exitcode(int.from_bytes(status, "big")) if status else -9
if code < 0:
    _signal.signal(-code, _signal.SIG_DFL) if -code not in (_signal.SIGKILL, _signal.SIGSTOP) else None
    posix.kill(posix.getpid(), -code)
posix._exit(code)
"""
_PROGRAM = """#!{python} -IS
import _signal, _socket, posix, sys
words, python, address = sys.argv[1:], {python!r}, {address!r}
# Only the scripts of this workflow are known to do no harm when they are imported.
if not words or not words[0].endswith(".py"):
    posix.execv(python, [python, *words])
"""
# The longest first line of a program that each system reads.
_FIRST_LINE = 127


@dataclass(frozen=True)
class _Parent:
    process: subprocess.Popen[bytes]
    folder: Path
    owner: int = field(default_factory=os.getpid)

    def end(self) -> None:
        """End it, and wait for it, so that what the tasks took counts as this process's."""
        if self not in _started or os.getpid() != self.owner:
            return
        _started.remove(self)
        if self.process.stdin:
            self.process.stdin.close()
        # It may be importing what nobody needs any more. If a task runs on, it ends after that.
        if self.process.poll() is not None or not any(self.folder.glob("[0-9]*")):
            self.process.kill()
            self.process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)


_started: list[_Parent] = []


def start(script: Path) -> None:
    """Start a warm parent for the tasks of this Snakemake, if the system has what it needs; `script` runs it.

    Not in a job of Slurm, because a fork of a process outside of it would not be Slurm's to limit and to kill.
    """
    first_line = f"#!{sys.executable} -IS"
    # Elsewhere a fork is not safe after imports, such as those of macOS' frameworks.
    possible = sys.platform == "linux" and len(first_line) <= _FIRST_LINE and first_line.count(" ") == 1
    # A Python that starts with other modules may do anything at its start.
    other = {"SLURM_JOB_ID", "PYTHONPATH", "PYTHONHOME"} & os.environ.keys()
    if not possible or other or _is_script(Path(sys.executable)):
        return
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="signoff-"))
        _started.append(_Parent(_start_in(folder, script.absolute()), folder))
        atexit.register(_started[-1].end)
    except OSError:
        # Nothing is lost without it, whatever the reason is.
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _start_in(folder: Path, script: Path) -> subprocess.Popen[bytes]:
    """Write the program that asks into a folder, and start whom it asks."""
    (folder / "bin").mkdir()
    text = _PROGRAM.format(python=sys.executable, address=str(folder / "socket")) + _ASK
    (folder / "bin/python").write_text(text, encoding="utf-8")
    (folder / "bin/python").chmod(0o700)
    # Libraries read these when they are loaded, and their threads would not survive a fork.
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "cwd": "/", "start_new_session": True}
    return subprocess.Popen([sys.executable, str(script), str(folder)], env=os.environ | one_thread, **options)


def programs() -> Path | None:
    """Return the folder with the `python` that asks the warm parent; None if there is none."""
    return _started[-1].folder / "bin" if _started else None


def fork_of(asking: int) -> int | None:
    """Return the process that does the work of one that asks, None if it does not ask."""
    with contextlib.suppress(OSError):
        return int(os.readlink(_started[-1].folder / str(asking))) if _started else None
    return None


def _is_script(program: Path) -> bool:
    """Return whether a Python is a script, which asks another warm parent."""
    with open(program, "rb", opener=only_file) as file:
        return file.read(2) == b"#!"
