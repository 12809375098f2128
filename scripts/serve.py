"""Serve the current release over HTTP: POST rows to /predict.

    python scripts/serve.py --port 8000

Run in the project's folder. The release is verified before it is loaded, and rows are scored as predict.py does. When
another release is deployed, the server answers with that one from then on. Ctrl-C ends it.
"""

import contextlib
import importlib.util
import logging
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.config.settings import config_argument, read_config
from signoff.serving.listening import ListeningSocket, listening
from signoff.serving.options import ServerOptions, options_of

# A worker imports this file before it reports to its parent that it is alive. The other imports take seconds.
if TYPE_CHECKING:
    from starlette.applications import Starlette
    from uvicorn import Config

    from signoff.serving.served import Served

# By default: each has the release and the libraries in memory.
_MOST_WORKERS = 4
# Seconds within which a worker must report to its parent, even on a busy machine.
_ALIVE = 30


def serve(options: ServerOptions, served: "Served", at: ListeningSocket, workers: int) -> None:
    """Answer requests that arrive at a socket until Ctrl-C or SIGTERM. Those that have arrived are answered first."""
    with contextlib.ExitStack() as stack:
        if workers > 1:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="signoff-")))
            # Prometheus' client looks for this when it is imported.
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
            note = folder / "release"
            note.write_text(served.state.scorer.release, encoding="utf-8")
        from uvicorn import Server
        from uvicorn.supervisors import Multiprocess

        if workers > 1:
            Multiprocess(_configured(partial(_worker, options, note), workers), [at]).run()
        else:
            from signoff.serving.app import app_for

            Server(_configured(lambda: app_for(options, served))).run([at])


def _worker(options: ServerOptions, note: Path) -> "Starlette":
    """Return the application of one of several processes."""
    from signoff.serving.app import app_of_worker

    return app_of_worker(options, note)


def _workers() -> int:
    """Return how many processes answer by default: a process scores on little more than one core at a time."""
    from joblib import cpu_count

    return min(int(cpu_count()), _MOST_WORKERS)


def _configured(make_app: Callable[[], "Starlette"], workers: int = 1) -> "Config":
    """Return how Uvicorn runs the application: with our log, and without a line for each request."""
    from uvicorn import Config

    return Config(
        make_app,
        factory=True,
        workers=workers,
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_worker_healthcheck=_ALIVE,
    )


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="its port; 0 for any that is free")
    number = f"processes that answer; by default one for each core, at most {_MOST_WORKERS}"
    parser.add_argument("--workers", type=int, help=number)
    config_argument(parser)
    args = parser.parse_args(argv)
    with command_line.logged("serve", args, f"{args.host}, port {args.port}"):
        for name in ("starlette", "uvicorn", "prometheus_client"):
            if importlib.util.find_spec(name) is None:
                raise TaskError(f"{name} is not installed. Run make serve, or pip install -r requirements-serve.txt.")
        from signoff.release.store import Releases
        from signoff.serving.served import Served

        options = options_of(read_config(args.config)[0], args.host)
        served = Served(Releases(), options.rule, options.reasons, newer=options.newer)
        with listening(args.host, args.port) as at:
            host, port = at.getsockname()[:2]
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            logging.info("[serve] release: %s", served.state.scorer.release)
            logging.info("[serve] POST rows to %s/predict; %s/openapi.json describes it", address, address)
            with _ending_well():
                serve(options, served, at, _workers() if args.workers is None else max(args.workers, 1))
            logging.info("[serve] ended.")


@contextlib.contextmanager
def _ending_well() -> Iterator[None]:
    """Treat Ctrl-C and SIGTERM, which Uvicorn raises again after the last answer, as the end of the work."""
    try:
        yield
    except KeyboardInterrupt:
        pass
    except SystemExit as stop:
        if stop.code != 128 + signal.SIGTERM:
            raise


if __name__ == "__main__":
    main()
