"""Programs that begin at once: a process that has imported once, the warm parent, forks for each of them.

Most of what a small task takes are the imports of pandas, Arrow and scikit-learn. `start` starts a warm parent for the
local tasks of one Snakemake (scripts/warm_parent.py), and `programs` is a folder with a `python` that asks it for a
fork of it: a process of its own, with the arguments, folder, environment and streams of who asks. The asking program
passes signals on to the fork, and ends as it does; if either of both is killed, so is the other. If there is nobody to
ask, it becomes Python itself, as ever.

The forks end with the warm parent if that is killed. It ends with Snakemake; when that is killed, the tasks that run go
on, as they do without it.
"""

import array
import atexit
import contextlib
import ctypes
import gc
import io
import marshal
import os
import runpy
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from signoff.base.files import only_file

# Imports next to nothing: for os and signal it would need as long again as for all the rest. `words`, `python` and
# `address` are given before.
_ASK = """
umask = posix.umask(0)
posix.umask(umask)
server = _socket.socket(_socket.AF_UNIX)
try:
    server.connect(address)
    request = marshal.dumps((words, posix.getcwd(), umask, posix.environ))
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
import _signal, _socket, marshal, posix, sys
words, python, address = sys.argv[1:], {python!r}, {address!r}
# Only the scripts of this workflow are known to do no harm when they are imported.
if not words or not words[0].endswith(".py"):
    posix.execv(python, [python, *words])
"""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The longest first line of a program that each system reads.
_FIRST_LINE = 127
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Asked:
    """A program that is asked for: its command, and what it is given; `streams` are those of who asks."""

    words: list[str]
    cwd: str
    umask: int
    environment: dict[bytes, bytes]
    streams: list[int]


# For the local tasks of a Snakemake


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
    # Nothing is lost without it, whatever the reason is.
    with contextlib.suppress(OSError):
        folder = Path(tempfile.mkdtemp(prefix="signoff-"))
        (folder / "bin").mkdir()
        text = _PROGRAM.format(python=sys.executable, address=str(folder / "socket")) + _ASK
        (folder / "bin/python").write_text(text, encoding="utf-8")
        (folder / "bin/python").chmod(0o700)
        # Libraries read these when they are loaded, and their threads would not survive a fork.
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, str(script.absolute()), str(folder)],
            stdin=subprocess.PIPE,
            cwd="/",
            env=os.environ | one_thread,
            start_new_session=True,
        )
        _started.append(_Parent(process, folder))
        atexit.register(_started[-1].end)


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


# In the warm parent


def fork_for_each(
    path: Path,
    prepare: Callable[[list[str]], None],
    become: Callable[[Asked, socket.socket], None],
    meanwhile: Iterable[object] = (),
) -> None:
    """Fork for each who asks, until the standard input is closed and no fork is left.

    Parameters
    ----------
    path
        Of the socket; who may write to it may ask. Beside it, each process that asks has a link, whose name is its
        number, to the number of its fork.
    prepare
        Called before a fork, with the command.
    become
        Called in a fork, which it ends.
    meanwhile
        Work to do while nobody asks.
    """
    server, work = _Server(path, prepare, become), iter(meanwhile)
    busy = True
    while server.lives or server.forks:
        found = server.poll.poll(0 if busy and server.lives else None)
        for descriptor, _ in found:
            server.attend(descriptor)
        if not found:
            busy = next(work, server) is not server


class _Server:
    """Whom a process that forks listens to: those who ask, its forks, and the one that has started it."""

    def __init__(
        self, path: Path, prepare: Callable[[list[str]], None], become: Callable[[Asked, socket.socket], None]
    ) -> None:
        self._path, self._prepare, self._become = path, prepare, become
        self.lives = True
        # By the descriptor of the connection to who asks.
        self.forks: dict[int, tuple[socket.socket, int, Path]] = {}
        # They end it no sooner than who has started it: a task may still be at work.
        self._handlers = {each: signal.signal(each, signal.SIG_IGN) for each in _SIGNALS}
        self._life, none = os.dup(0), os.open(os.devnull, os.O_RDONLY)
        os.dup2(none, 0)
        self._waking, self._woken = socket.socketpair()
        self._waking.setblocking(False)
        self._woken.setblocking(False)
        signal.set_wakeup_fd(self._waking.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._listening = socket.socket(socket.AF_UNIX)
        new = path.with_name("new")
        self._listening.bind(str(new))
        self._listening.listen(1000)
        new.chmod(0o777)
        new.rename(path)
        self.poll = select.poll()
        for each in (self._life, self._woken, self._listening):
            self.poll.register(each, select.POLLIN)

    def attend(self, descriptor: int) -> None:
        """Do what a descriptor that is ready calls for."""
        if descriptor == self._life:
            self.lives = False
            self.poll.unregister(self._life)
            self.poll.unregister(self._listening)
            self._listening.close()
            self._path.unlink(missing_ok=True)
        elif descriptor == self._woken.fileno():
            self._woken.recv(1000)
            self._reap()
        elif descriptor in self.forks:
            # Who asked was killed. The fork's group, as where all of a run are killed: those that its children ask for
            # end, too.
            self.poll.unregister(descriptor)
            process = self.forks[descriptor][1]
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
            os.kill(process, signal.SIGKILL)
        elif self.lives:
            self._fork(self._listening.accept()[0])

    def _fork(self, connection: socket.socket) -> None:
        """Fork for one that asks. Without a fork, it becomes Python itself."""
        asked = _received(connection)
        if asked is None:
            connection.close()
            return
        self._prepare(asked.words)
        # Garbage collection of imported objects would copy their memory in a fork.
        gc.freeze()
        try:
            process = os.fork()
        except OSError:
            process = -1
        if not process:
            try:
                self._leave()
                self._become(asked, connection)
            finally:
                os._exit(1)
        for each in asked.streams:
            os.close(each)
        if process < 0:
            connection.close()
            return
        asking = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        link = self._path.with_name(str(asking))
        # For measuring only.
        with contextlib.suppress(OSError):
            link.unlink(missing_ok=True)
            link.symlink_to(str(process))
        self.forks[connection.fileno()] = connection, process, link
        # Told when it hangs up, which is when it was killed.
        self.poll.register(connection, 0)
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(process.to_bytes(4, "big"))

    def _leave(self) -> None:
        """Leave, in the fork, what is its parent's."""
        signal.set_wakeup_fd(-1)
        for each in (self._waking, self._woken, self._listening, *(one for one, _, _ in self.forks.values())):
            each.close()
        os.close(self._life)
        for number, handler in {**self._handlers, signal.SIGCHLD: signal.SIG_DFL}.items():
            signal.signal(number, handler)

    def _reap(self) -> None:
        """Tell those whose fork has ended how it did."""
        for descriptor, (connection, process, link) in list(self.forks.items()):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                del self.forks[descriptor]
                link.unlink(missing_ok=True)
                # Unless it was killed.
                with contextlib.suppress(KeyError, BrokenPipeError):
                    self.poll.unregister(descriptor)
                    connection.sendall(status.to_bytes(4, "big"))
                connection.close()


def _received(connection: socket.socket) -> Asked | None:
    """Return what is asked for; None if who asks was killed, or stopped, meanwhile."""
    streams = array.array("i")
    # Who is stopped must not keep the others waiting.
    connection.settimeout(5)
    try:
        head, control, *_ = connection.recvmsg(4, socket.CMSG_SPACE(12))
        for _, _, data in control:
            streams.frombytes(data)
        request = b""
        while len(request) < int.from_bytes(head, "big"):
            some = connection.recv(1 << 20)
            request += some
            if not some:
                raise EOFError
        words, cwd, umask, environment = marshal.loads(request)
    except (OSError, EOFError, ValueError, TypeError):
        for each in streams:
            os.close(each)
        return None
    connection.settimeout(None)
    return Asked(words, cwd, umask, environment, list(streams))


# In a fork


def take_over(asked: Asked) -> None:
    """Have the streams, the folder and the environment of who asks; be in a session of its own, and end as its parent.

    Who asks passes signals on: from a terminal, they would come twice.
    """
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for stream, each in enumerate(asked.streams):
        os.dup2(each, stream)
        os.close(each)
    for name in os.environb.keys() - asked.environment.keys():
        del os.environb[name]
    os.environb.update(asked.environment.items() - os.environb.items())
    os.chdir(asked.cwd)
    os.umask(asked.umask)
    time.tzset()
    sys.orig_argv = [sys.executable, *asked.words]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering="PYTHONUNBUFFERED" in os.environ or os.isatty(1))


def become_python(asked: Asked) -> None:
    """Replace the fork by Python, which knows nothing of what its parent has imported."""
    os.execve(sys.executable, [sys.executable, *asked.words], asked.environment)


def run_script(words: list[str]) -> None:
    """Run a script as Python does."""
    sys.argv, sys.path[0] = words, str(Path(words[0]).resolve().parent)
    runpy.run_path(words[0], run_name="__main__")


def end_after(work: Callable[[], object]) -> NoReturn:
    """End this process, a fork, after its work, with the code of a program that does this work."""
    code = 0
    try:
        work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if code and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException as error:
        traceback.print_exc()
        code = 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    # What an interpreter does at its end, and a fork does not.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(code & 0xFF)
