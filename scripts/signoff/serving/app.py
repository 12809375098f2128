"""The web application of `make serve`. Nothing else imports Starlette, Uvicorn and Prometheus' client."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from threadpoolctl import threadpool_limits

from signoff.base import command_line
from signoff.base.errors import TaskError, explain
from signoff.release.store import Releases
from signoff.serving.openapi import document
from signoff.serving.options import CellForm, ServerOptions
from signoff.serving.record import Predicted
from signoff.serving.rows import RequestRows, answer, refusal, rows_of_csv, rows_of_json
from signoff.serving.served import Served, ServerState

# Requests that a process scores at the same time. Some of the work of a request runs beside the Python code of another
# one, but more threads wait for each other.
_THREADS = 2
# Seconds between two checks for another release.
_EVERY = 0.25
# Seconds before a process tries again to load a release.
_WAIT = 2.0
_READERS: dict[str, Callable[[bytes, CellForm], RequestRows]] = {
    "application/json": rows_of_json,
    "text/csv": rows_of_csv,
}
_REQUESTS = Counter("signoff_requests", "Requests to /predict", ["status"])
_SECONDS = Histogram("signoff_request_seconds", "Duration of requests to /predict")
_ROWS = Counter("signoff_rows", "Rows of answered requests", ["release", "outcome"])
_FINDINGS = Counter("signoff_findings", "Differences of requests from the released data", ["release", "what"])
_UNRECORDED = Counter("signoff_unrecorded_rows", "Predicted rows that could not be written for the live record")
_LOADED = Gauge("signoff_release_loaded_time", "When a release was loaded", ["release"], multiprocess_mode="max")
_PROBLEM = Gauge("signoff_release_problem", "1 if the current release cannot be loaded", multiprocess_mode="livemax")


class _Refused(Exception):
    """A request that is answered with a status of 4xx or 5xx."""

    def __init__(self, status: int, content: dict[str, Any]):
        super().__init__(content["error"])
        self.status, self.content = status, content


def app_for(options: ServerOptions, served: Served | None = None) -> Starlette:
    """Return the application. Without a release that is loaded, it loads the current one, which may raise TaskError."""
    served = served or Served(Releases(), options.rule, options.reasons, newer=options.newer)
    # For good: a request that set this for itself would set it for those beside it, too.
    threadpool_limits(limits=1, user_api="blas")
    routes = [
        Route("/predict", _Endpoint(options, served).predict, methods=["POST"]),
        Route("/health", partial(_health, served), methods=["GET"]),
        Route("/metrics", partial(_metrics, served), methods=["GET"]),
        Route("/openapi.json", partial(_openapi, served), methods=["GET"]),
    ]
    hosts = list(options.hosts) or ["*"]
    return Starlette(
        routes=routes,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)],
        exception_handlers={HTTPException: _http_error},
        lifespan=lambda _: _following(served),
    )


def app_of_worker(options: ServerOptions, note: Path) -> Starlette:
    """Return the application of one of several processes; `note` is that of `Served`.

    The process that starts the others has loaded the current release before. If no release can be loaded, because this
    process was restarted and the files were altered in the meantime, it waits: an error would end the whole server,
    and the others still answer.
    """
    command_line.start_log()
    _forget_dead_processes()
    said = None
    with _ended_by_signals():
        while True:
            try:
                return app_for(options, Served(Releases(), options.rule, options.reasons, note, options.newer))
            except Exception as error:
                if explain(error) != said:
                    said = explain(error)
                    logging.error("[serve] a process waits for a release that it can load: %s", said)
                time.sleep(_WAIT)


def _forget_dead_processes() -> None:
    """Drop the state of processes that were killed from /metrics; their counts stay."""
    forget: Any = mark_process_dead
    for path in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("gauge_live*.db"):
        process = path.stem.rpartition("_")[2]
        if not Path("/proc", process).exists():
            forget(int(process))


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End the process at once on Ctrl-C or SIGTERM, which Uvicorn handles only when the application is loaded."""
    before = {each: signal.signal(each, _end) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _end(*_: object) -> None:
    sys.exit(0)


@contextlib.asynccontextmanager
async def _following(served: Served) -> AsyncIterator[None]:
    """Look for another release from time to time, while requests are answered with the one that is loaded."""

    async def follow() -> None:
        while True:
            _LOADED.labels(served.state.scorer.release).set_to_current_time()
            _PROBLEM.set(served.state.problem is not None)
            before = served.state
            while served.state is before:
                await asyncio.sleep(_EVERY)
                await asyncio.to_thread(served.refresh)

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class _Endpoint:
    """Handles POST /predict. Rows are scored in a few threads; with custom code, one request after the other."""

    def __init__(self, options: ServerOptions, served: Served):
        self._options, self._served = options, served
        self._scoring = ThreadPoolExecutor(_THREADS, "scoring")
        self._custom_code = threading.Lock()
        self._record = Predicted() if options.log else None

    async def predict(self, request: Request) -> Response:
        started = time.perf_counter()
        status: int = 500
        content: dict[str, Any] | str = {"error": "unexpected failure"}
        try:
            read = self._reader(request)
            body = await self._body(request)
            work = partial(self._answer, read, body, self._served.state)
            status, content = 200, await asyncio.get_running_loop().run_in_executor(self._scoring, work)
        except ClientDisconnect:
            status, content = 400, {"error": "the client has closed the connection."}
        except _Refused as refused:
            status, content = refused.status, refused.content
        except TaskError as error:
            status, content = 400, {"error": str(error)}
        except Exception as error:
            logging.error("[serve] %s", explain(error))
            content = {"error": explain(error)}
        _REQUESTS.labels(status).inc()
        _SECONDS.observe(time.perf_counter() - started)
        return _json(content, status)

    def _reader(self, request: Request) -> Callable[[bytes], RequestRows]:
        """Return the function that parses the body, by its content type."""
        kind, _, parameters = request.headers.get("content-type", "").partition(";")
        read = _READERS.get(kind.strip().lower())
        if not read or request.headers.get("content-encoding", "identity") != "identity":
            raise _Refused(
                415, {"error": "send rows as Content-Type application/json or text/csv, without a Content-Encoding."}
            )
        name, _, charset = parameters.strip().partition("=")
        form = self._options.form
        if name.lower() == "charset" and read is rows_of_csv:
            form = replace(form, encoding=charset.strip('"'))
        return lambda body: read(body, form)

    async def _body(self, request: Request) -> bytes:
        """Return the body. Raises _Refused as soon as it is too large."""
        most = self._options.max_bytes
        too_large = _Refused(
            413, {"error": f"the body has more than {most:,} bytes (serving.max_mb). Send fewer rows."}
        )
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > most:
            raise too_large
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise too_large
            parts.append(part)
        return b"".join(parts)

    def _answer(self, read: Callable[[bytes], RequestRows], body: bytes, state: ServerState) -> str:
        """Return the response to a body, as JSON, from the release that was current when it arrived."""
        options = self._options
        rows = read(body)
        with self._custom_code if state.scorer.model.code else contextlib.nullcontext():
            found = answer(rows, state.scorer, options.form.missing, options.columns)
        release = found.report["release"]
        for each in found.report["findings"]:
            _FINDINGS.labels(release, each["what"]).inc()
        if reason := refusal(found.report, options.on_drift):
            kept = replace(found, scored=found.scored.slice(0, 0))
            raise _Refused(422, {"error": reason, **kept.content})
        text = found.text
        for outcome in ("scored", "rejected"):
            _ROWS.labels(release, outcome).inc(found.report[outcome])
        if self._record:
            try:
                self._record.add(release, found.scored)
            except (TaskError, OSError) as error:
                # The answer is valid even if the record cannot be written.
                _UNRECORDED.inc(len(found.scored))
                logging.error("[serve] predictions are not in the live record: %s", explain(error))
        return text


async def _health(served: Served, _: Request) -> Response:
    state = served.state
    status = "degraded" if state.problem else "ok"
    content = {"status": status, "release": state.scorer.release, "since": state.since, "problem": state.problem}
    return _json(content)


async def _openapi(served: Served, _: Request) -> Response:
    return _json(document(served.state.scorer))


async def _metrics(served: Served, _: Request) -> Response:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
    registry = CollectorRegistry()
    collector: Any = MultiProcessCollector
    collector(registry)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {
        404: "there is nothing here. POST rows to /predict.",
        405: "this path has another method: see /openapi.json.",
    }
    return _json({"error": words.get(error.status_code, error.detail)}, error.status_code, error.headers)


def _json(content: dict[str, Any] | str, status: int = 200, headers: Any = None) -> Response:
    """Return a response, from JSON or what is to be JSON. Numbers keep all their digits."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, allow_nan=False)
    return Response(text, status, headers, media_type="application/json")
