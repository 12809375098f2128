"""Measure `make serve` beside `mlflow models serve`: requests a second, with 1, 100 and 1,000 rows a request.

    make bench-serve DIR=folder

Both run with one worker and answer raw rows with the same release: `make attest` has written it as an MLflow model,
which `make tracking` lets MLflow serve. If either is missing, `make serve` is measured alone. The rows are those of the
project's raw data, as JSON. Four clients, in a process of their own, send one request after the other, to the two
servers in turn, so that other load on the machine concerns both.
"""

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
SIZES = (1, 100, 1_000)
CLIENTS = 4


@contextlib.contextmanager
def server(folder: Path) -> Iterator[int]:
    """Start the server in a project's folder, and yield its port."""
    command = [sys.executable, ROOT / "scripts/serve.py", "--port=0"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stderr:
                if found := re.search(r"POST rows to \S+:(\d+)/predict", line):
                    break
                if "ERROR" in line:
                    sys.exit(line)
            # Read on, so that the server never waits for a full pipe.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield int(found[1])
        finally:
            process.terminate()


@contextlib.contextmanager
def mlflow_server(model: Path) -> Iterator[int]:
    """Have MLflow serve a model in this environment, and yield its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    programs = Path(sys.executable).parent
    command = [programs / "mlflow", "models", "serve", "--model-uri", model, "--env-manager", "local"]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    with subprocess.Popen([*command, "--port", str(port)], env=environment, **options) as process:
        try:
            while not _answers(port):
                if process.poll() is not None:
                    sys.exit("mlflow models serve has ended: try it by hand")
                time.sleep(0.2)
            yield port
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def _answers(port: int) -> bool:
    """Return whether MLflow's server is ready."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5):
        return True
    return False


def measure(port: int, path: str, body: bytes, seconds: float, answers: multiprocessing.Queue) -> None:
    """Send a body again and again for some seconds; put the durations, in seconds, into the queue."""
    durations: list[float] = []
    end = time.monotonic() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while time.monotonic() < end:
            started = time.perf_counter()
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                sys.exit(content.decode())
            durations.append(time.perf_counter() - started)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    answers.put(durations)


def durations_of(port: int, path: str, body: bytes, seconds: float) -> list[float]:
    """Return the durations of the requests that a process of four clients sent in some seconds."""
    answers: multiprocessing.Queue = multiprocessing.Queue()
    client = multiprocessing.Process(target=measure, args=(port, path, body, seconds, answers))
    client.start()
    durations: list[float] = answers.get()
    client.join()
    return durations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("."), help="a project with a release")
    parser.add_argument("--seconds", type=float, default=10, help="how long each size is measured")
    parser.add_argument("--rounds", type=int, default=3, help="how often the servers take turns")
    args = parser.parse_args()
    rows = pd.read_csv(args.folder / "data/raw/raw_data.csv", nrows=max(SIZES) * 2).dropna().head(max(SIZES))
    records = json.loads(rows.to_json(orient="records"))
    model = args.folder / "attestations" / (args.folder / "deployed/current").resolve().name / "mlflow_model"
    with contextlib.ExitStack() as stack:
        ports = {"make serve": (stack.enter_context(server(args.folder)), "/predict")}
        if model.is_dir() and find_spec("mlflow"):
            ports["mlflow models serve"] = (stack.enter_context(mlflow_server(model)), "/invocations")
        print(f"load at the start: {os.getloadavg()[0]:.1f}")
        print("| server | rows a request | requests a second | rows a second | p50 | p99 |\n|---|---|---|---|---|---|")
        for size in SIZES:
            sent = [records[n % len(records)] for n in range(size)]
            bodies = {"/predict": json.dumps(sent), "/invocations": json.dumps({"dataframe_records": sent})}
            found: dict[str, list[float]] = {name: [] for name in ports}
            for turn in range(args.rounds + 1):
                for name, (port, path) in ports.items():
                    # The first time, only to warm up.
                    seconds = args.seconds / args.rounds if turn else 1
                    durations = durations_of(port, path, bodies[path].encode(), seconds)
                    found[name] += durations if turn else []
            for name, durations in found.items():
                middle, last = np.percentile(durations, [50, 99]) * 1e3
                rate = len(durations) / args.seconds
                print(f"| `{name}` | {size:,} | {rate:,.1f} | {rate * size:,.0f} | {middle:.1f} ms | {last:.1f} ms |")


if __name__ == "__main__":
    main()
