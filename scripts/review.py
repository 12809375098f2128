"""Open a page in a browser that shows what the decision needs, and takes it: the same sign-off as sign_off.py writes.

    python scripts/review.py [--no-browser] [--port N]

Run in the project's folder. The server listens on 127.0.0.1 alone. It ends with Ctrl-C, or after an hour without use.
"""

import contextlib
import logging
import tempfile
import webbrowser
from collections.abc import Iterator
from html import escape
from pathlib import Path

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.config.settings import config_argument, read_config
from signoff.ops.review_page import Desk
from signoff.ops.review_server import ReviewServer
from signoff.release.approval import REPORT, SIGN_OFF


@contextlib.contextmanager
def _in_browser(address: str) -> Iterator[None]:
    """Open the address in a browser, by a private file: everybody on the machine can read a command line."""
    with tempfile.NamedTemporaryFile("w", prefix="review-", suffix=".html", encoding="utf-8") as file:
        file.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(address)}">')
        file.flush()
        webbrowser.open(Path(file.name).as_uri())
        yield


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--port", type=int, default=0, help="the port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--idle", type=float, default=3600, help="end after this many seconds without use")
    parser.add_argument("--output", type=Path, default=SIGN_OFF, help="the sign-off")
    config_argument(parser)
    args = parser.parse_args(argv)
    with command_line.logged("review", args, REPORT):
        read_config(args.config)
        try:
            server = ReviewServer(Desk(args.config, args.output), args.port, args.idle)
        except (OSError, OverflowError) as error:
            raise TaskError(f"port {args.port} of 127.0.0.1 cannot be used: {error}. Name another: --port") from error
        shown = contextlib.nullcontext() if args.no_browser else _in_browser(server.address)
        with contextlib.suppress(KeyboardInterrupt), server, shown:
            # Printed, not logged: whoever has the address can decide.
            print(f"\nOpen {server.address}\nCtrl-C ends it.\n", flush=True)
            server.serve_until_idle()
        logging.info("[review] the page is closed")


if __name__ == "__main__":
    main()
