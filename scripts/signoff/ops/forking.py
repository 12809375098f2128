"""A process that forks for each program that is asked for (warm.py), and what such a fork does."""

import array
import atexit
import contextlib
import ctypes
import gc
import io
import os
import runpy
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Linux' number of the option.
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Asked:
    """A program that is asked for: its command, and what it is given; `streams` are those of who asks."""

    words: list[str]
    cwd: str
    umask: int
    environment: dict[bytes, bytes]
    streams: list[int]


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
        umask, cwd, count, *rest = request.split(b"\0")
        words = [os.fsdecode(each) for each in rest[: int(count)]]
        environment = {name: value for name, _, value in (each.partition(b"=") for each in rest[int(count) :])}
        asked = Asked(words, os.fsdecode(cwd), int(umask), environment, list(streams))
    except (OSError, EOFError, ValueError):
        for each in streams:
            os.close(each)
        return None
    connection.settimeout(None)
    return asked


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
