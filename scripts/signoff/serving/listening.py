"""The socket of a server, which several processes may share."""

import os
import socket
import weakref
from multiprocessing.reduction import DupFd, register
from typing import Any

from signoff.base.errors import TaskError

# The most times that a process leaves a connection to the others.
_MOST_PASSES = 16


class ListeningSocket(socket.socket):
    """A socket whose connections are shared evenly among the event loops of several processes.

    An event loop takes all connections that wait, and some processes would have none. This socket says that none waits
    as many times as the process has open ones, so that a process with fewer comes first.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open = weakref.WeakSet[socket.socket]()
        self._passes = 0

    def accept(self) -> tuple[socket.socket, Any]:
        """Take a connection. Raises BlockingIOError if none waits for this process."""
        if self._passes < min(sum(each.fileno() >= 0 for each in self._open), _MOST_PASSES):
            self._passes += 1
            raise BlockingIOError
        self._passes = 0
        connection, address = super().accept()
        self._open.add(connection)
        return connection, address


def listening(host: str, port: int) -> ListeningSocket:
    """Return a socket that listens. Raises TaskError if the address is not of this machine, or is in use."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        at = socket.create_server((str(address[0]), int(address[1])), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        known = isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno
        reason = os.strerror(known) if known else getattr(error, "strerror", None) or error
        raise TaskError(f"the server cannot listen on {host}, port {port}: {reason}. Set HOST= or PORT=.") from error
    # asyncio sends at once (TCP_NODELAY) only if the protocol is named. Otherwise each answer, which is sent in two
    # parts, waits 40 ms for the client's delayed acknowledgement of the first one.
    return ListeningSocket(at.family, at.type, socket.IPPROTO_TCP, at.detach())


def _received(duplicate: Any, family: int, kind: int, protocol: int) -> ListeningSocket:
    return ListeningSocket(family, kind, protocol, duplicate.detach())


# How another process gets the socket, as multiprocessing registers it for its base class.
register(ListeningSocket, lambda at: (_received, (DupFd(at.fileno()), at.family, at.type, at.proto)))
