"""A server on the loopback address for the page of a decision: one secret address, and no other origin."""

import hmac
import logging
import secrets
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from signoff.base.errors import explain
from signoff.ops.review_page import Desk

_LARGEST = 1 << 21
_ACTIONS = ("decide", "statement", "signature")
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    # Without any referrer, a browser would hide the origin of a form, too.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class ReviewServer(ThreadingHTTPServer):
    """Serves the page until nobody has used it for `idle` seconds."""

    daemon_threads = True

    def __init__(self, desk: Desk, port: int = 0, idle: float = 3600) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.desk, self.idle = desk, idle
        self.token = secrets.token_urlsafe(32)
        self.used = time.monotonic()
        # One request at a time works on the files.
        self.turn = threading.Lock()

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names under which a browser may ask: any other is an attempt to rebind a domain to this address."""
        return tuple(f"{name}:{self.server_address[1]}" for name in ("127.0.0.1", "localhost"))

    @property
    def address(self) -> str:
        """The address of the page, with its secret."""
        return f"http://{self.hosts[0]}/{self.token}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Log an error of a request in one line; a closed connection is not an error."""
        error = sys.exception()
        if isinstance(error, Exception) and not isinstance(error, ConnectionError | TimeoutError):
            logging.error("[review] %s", explain(error))

    def serve_until_idle(self) -> None:
        """Answer requests until `idle` seconds have passed without one that knows the address."""
        while (left := self.used + self.idle - time.monotonic()) > 0:
            self.timeout = left
            self.handle_request()


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    timeout = 60
    server_version, sys_version = "signoff", ""

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the address is a secret."""

    def do_GET(self) -> None:
        name = self._allowed()
        if name is None:
            return
        with self.server.turn:
            if name == "":
                self._send(HTTPStatus.OK, self.server.desk.show().encode(), "frame-ancestors 'none'")
            elif name == "report":
                self._send_report()
            else:
                self._refuse(HTTPStatus.NOT_FOUND, "there is no such page.")

    def do_POST(self) -> None:
        name = self._allowed()
        if name is None:
            return
        length = self.headers.get("Content-Length", "")
        if name not in _ACTIONS or not length.isdigit() or int(length) > _LARGEST:
            self._refuse(HTTPStatus.BAD_REQUEST, "this is not one of the forms.")
            return
        text = self.rfile.read(int(length)).decode("utf-8", "replace")
        given = dict(parse_qsl(text, keep_blank_values=True))
        with self.server.turn:
            try:
                self.server.desk.take(name, given)
            except Exception as error:
                logging.error("[review] %s", explain(error))
                content = self.server.desk.show(explain(error), given).encode()
                self._send(HTTPStatus.UNPROCESSABLE_ENTITY, content, "frame-ancestors 'none'")
                return
        logging.info("[review] %s: done", name)
        # The page is shown by a new request, so that loading it again writes nothing.
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", f"/{self.server.token}/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _allowed(self) -> str | None:
        """Return the path after the secret; None after refusing a request that is not allowed."""
        path = urlsplit(self.path).path
        token, _, name = path.removeprefix("/").partition("/")
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        ours = {f"http://{each}" for each in self.server.hosts}
        if host not in self.server.hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "this host is not 127.0.0.1.")
        elif (origin is None and self.command == "POST") or (origin is not None and origin not in ours):
            self._refuse(HTTPStatus.FORBIDDEN, "another page may not ask.")
        elif not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, "the address is wrong. Open the one that make review has printed.")
        else:
            self.server.used = time.monotonic()
            return name
        return None

    def _send_report(self) -> None:
        """Send the report. It may run its script, but is of no origin, so it cannot use the forms."""
        try:
            content = self.server.desk.report()
        except Exception as error:
            self._refuse(HTTPStatus.CONFLICT, explain(error))
            return
        self._send(HTTPStatus.OK, content, "sandbox allow-scripts; frame-ancestors 'self'")

    def _send(self, status: HTTPStatus, content: bytes, policy: str) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Security-Policy": policy, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        content = f"{why[0].upper()}{why[1:]}\n".encode()
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
