"""A fork of a process that has imported once, which makes some of many models."""

import contextlib
import gc
import importlib
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from signoff.base.errors import TaskError


@dataclass
class Fork:
    """A fork of this process, which tells of each model that it has ended with.

    Attributes
    ----------
    child
        Its process.
    reading
        The pipe from which a line is read for each model.
    left
        The models that it has not ended with.
    """

    child: int
    reading: int
    left: list[str]
    ended: bool = False
    _read: bytes = b""

    @classmethod
    def begin(cls, models: list[str], work: Callable[[int], None], others: Iterable[int]) -> "Fork":
        """Begin to `work` for models in a fork, which is given the pipe to write to and closes the `others`."""
        # Garbage collection of imported objects would copy their memory in a fork.
        gc.freeze()
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            for each in (reading, *others):
                os.close(each)
            _end(lambda: work(writing))
        os.close(writing)
        return cls(child, reading, models)

    def ended_models(self) -> Iterator[tuple[str, str | None]]:
        """Read what the fork has written; yield each model that it has ended with, and what went wrong."""
        some = os.read(self.reading, 1 << 16)
        *lines, self._read = (self._read + some).split(b"\n")
        for line in lines:
            found = json.loads(line)
            # Late imports of the tasks are then already done for the next fork.
            for name in found["imported"]:
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)
            yield self.left.pop(0), ", ".join(found["failed"]) or None
        self.ended = not some

    def end(self) -> Iterator[tuple[str, str | None]]:
        """Wait for the fork; if it has died, its current model has failed. Raises TaskError if it was stopped."""
        os.close(self.reading)
        code = os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
        if self.left and code >= 128:
            raise TaskError(f"{self.left[0]}: stopped from outside (exit code {code}). Run it again to go on.")
        if self.left:
            why = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            yield self.left.pop(0), why

    def stop(self) -> None:
        """End the fork, because this process was asked to end, and wait for it."""
        os.close(self.reading)
        os.kill(self.child, signal.SIGTERM)
        os.waitpid(self.child, 0)


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
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
