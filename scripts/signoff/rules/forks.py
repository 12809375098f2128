"""A fork of a process that has imported once, which makes some of many models."""

import contextlib
import gc
import importlib
import json
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from signoff.base.errors import TaskError

# What is told of a model: the tasks that failed, and the modules that were imported for it.
Ended = tuple[list[str], list[str]]


@dataclass
class Fork:
    """A fork of this process, which is given one model after the other, and tells when it has ended with each.

    Attributes
    ----------
    child
        Its process.
    connection, lines
        The names of models are written to it, and a line is read for each that the fork has ended with.
    takes
        How many more models it takes.
    model
        The model that it is at work for, if any.
    """

    child: int
    connection: socket.socket
    lines: BinaryIO
    takes: int
    model: str | None = None

    @classmethod
    def begin(cls, work: Callable[[str], Ended], most: int, others: Iterable["Fork"]) -> "Fork":
        """Begin a fork that does `work` for each of at most so many models, and closes what belongs to the `others`."""
        # Garbage collection of imported objects would copy their memory in a fork.
        gc.freeze()
        ours, theirs = socket.socketpair()
        child = os.fork()
        if not child:
            ours.close()
            for other in others:
                other.close()
            _end(lambda: _work_for_each(theirs, work))
        theirs.close()
        return cls(child, ours, ours.makefile("rb"), most)

    def fileno(self) -> int:
        """Return what `select` waits for; below 0 once it has ended."""
        return self.connection.fileno()

    def give(self, model: str) -> None:
        """Let it work for a model."""
        self.model = model
        self.takes -= 1
        # If it has been killed, this model has failed, as the one that it was killed with.
        with contextlib.suppress(BrokenPipeError):
            self.connection.sendall(f"{model}\n".encode())
        if not self.takes:
            self.give_no_more()

    def give_no_more(self) -> None:
        """Let it end after its current model."""
        self.takes = 0
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)

    def listen(self) -> Iterator[tuple[str, str | None]]:
        """Read what it has written; yield the model that it has ended with, and what went wrong.

        Raises TaskError if it was stopped from outside.
        """
        try:
            line = self.lines.readline()
        except ConnectionResetError:
            line = b""
        if not line.endswith(b"\n"):
            yield from self._ended()
            return
        failed, imported = json.loads(line)
        for name in imported:
            # The next fork then finds it imported.
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        model, self.model = self.model, None
        if model:
            yield model, ", ".join(failed) or None

    def _ended(self) -> Iterator[tuple[str, str | None]]:
        """Wait for the fork; if it has died, its current model has failed."""
        self.close()
        code = os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
        if self.model:
            if code >= 128:
                raise TaskError(f"{self.model}: stopped from outside (exit code {code}). Run it again to go on.")
            yield self.model, f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def close(self) -> None:
        """Close what this process has of it."""
        self.lines.close()
        self.connection.close()

    def stop(self) -> None:
        """End the fork, because this process was asked to end, and wait for it."""
        if self.fileno() >= 0:
            self.close()
            os.kill(self.child, signal.SIGTERM)
            os.waitpid(self.child, 0)


def _work_for_each(connection: socket.socket, work: Callable[[str], Ended]) -> None:
    """Do the work for each model whose name is read, and write a line about it."""
    with connection, connection.makefile("r", encoding="utf-8", newline="\n") as names:
        for name in names:
            found = work(name.removesuffix("\n"))
            try:
                connection.sendall(json.dumps(found).encode() + b"\n")
            except (BrokenPipeError, ConnectionResetError):
                # The parent was killed. The next run finds this model up to date, and goes on with the next one.
                os._exit(1)


def _end(work: Callable[[], None]) -> None:
    """End this process, a fork, after its work."""
    code = 1
    try:
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
