"""Measure `make serve` beside `mlflow models serve` and MLServer: requests a second, with 1, 100 and 1,000 rows each.

    make bench-serve DIR=folder PROGRAMS=folder

All answer raw rows with the same release: `make attest` has written it as an MLflow model. Each has as many processes
as by default, except for MLServer: its one worker beside the server does not start with the newest uvloop, so that the
server answers itself. With `--workers`, `make serve` and MLflow have that many.

PROGRAMS is the bin folder of an environment with mlflow, mlserver and mlserver-mlflow; what is not in it is not
measured. The rows are those of the project's raw data, as JSON. Four clients, in a process of their own, send one
request after the other, to the servers in turn, so that other load on the machine concerns all. The CPU time is that of
the server's processes.
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
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

ROOT = Path(__file__).resolve().parent.parent
SIZES = (1, 100, 1_000)
CLIENTS = 4


@contextlib.contextmanager
def server(folder: Path, workers: list[str]) -> Iterator[tuple[int, int]]:
    """Start the server in a project's folder, and yield its port and its process."""
    command = [sys.executable, ROOT / "scripts/serve.py", "--port=0", *workers]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stderr:
                if found := re.search(r"POST rows to \S+:(\d+)/predict", line):
                    break
                if "ERROR" in line:
                    sys.exit(line)
            # Read on, so that the server never waits for a full pipe.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield int(found[1]), process.pid
        finally:
            process.terminate()


def free_ports(count: int) -> list[int]:
    """Return ports that nobody uses."""
    with contextlib.ExitStack() as stack:
        free = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in free:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in free]


@contextlib.contextmanager
def mlflow_server(programs: Path, model: Path, workers: list[str]) -> Iterator[tuple[int, int]]:
    """Have MLflow serve a model in the environment of the programs; yield its port and its process."""
    [port] = free_ports(1)
    command = [programs / "mlflow", "models", "serve", "--model-uri", model, "--env-manager", "local", *workers]
    with other_server([*command, "--port", str(port)], programs, f"http://127.0.0.1:{port}/ping") as process:
        yield port, process


@contextlib.contextmanager
def mlserver(programs: Path, model: Path, _: list[str]) -> Iterator[tuple[int, int]]:
    """Have MLServer serve a model in one process; yield its port and its process."""
    port, *others = free_ports(3)
    with tempfile.TemporaryDirectory() as folder:
        ports = dict(zip(("http_port", "grpc_port", "metrics_port"), (port, *others), strict=True))
        settings = {**ports, "host": "127.0.0.1", "parallel_workers": 0, "debug": False}
        kind = {"name": "model", "implementation": "mlserver_mlflow.MLflowRuntime", "parameters": {"uri": str(model)}}
        for name, content in (("settings", settings), ("model-settings", kind)):
            Path(folder, f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        url = f"http://127.0.0.1:{port}/v2/models/model/ready"
        with other_server([programs / "mlserver", "start", folder], programs, url) as process:
            yield port, process


@contextlib.contextmanager
def other_server(command: list[object], programs: Path, url: str) -> Iterator[int]:
    """Start a server of an environment, and yield its process when the URL answers."""
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    with subprocess.Popen(list(map(str, command)), env=environment, **options) as process:
        try:
            while not _answers(url):
                if process.poll() is not None:
                    sys.exit(f"{command[0]} has ended: try it by hand")
                time.sleep(0.2)
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def _answers(url: str) -> bool:
    """Return whether a server is ready."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
        return True
    return False


def cpu_seconds(process: int) -> float:
    """Return the CPU time of a process and its children."""
    every = [psutil.Process(process), *psutil.Process(process).children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in every)


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
    parser.add_argument("--workers", type=int, help="processes of make serve and MLflow; by default, what each has")
    parser.add_argument("--programs", type=Path, help="the folder of the programs mlflow and mlserver")
    args = parser.parse_args()
    rows = pd.read_csv(args.folder / "data/raw/raw_data.csv", nrows=max(SIZES) * 2).dropna().head(max(SIZES))
    records = json.loads(rows.to_json(orient="records"))
    model = args.folder.resolve() / "attestations" / (args.folder / "deployed/current").resolve().name / "mlflow_model"
    workers = [f"--workers={args.workers}"] if args.workers else []
    others = {"mlflow models serve": ("mlflow", mlflow_server), "MLServer": ("mlserver", mlserver)}
    with contextlib.ExitStack() as stack:
        servers = {"make serve": (*stack.enter_context(server(args.folder, workers)), "/predict")}
        for name, (program, start) in others.items():
            if args.programs and (args.programs / program).exists():
                servers[name] = (*stack.enter_context(start(args.programs.resolve(), model, workers)), "/invocations")
        print(f"load at the start: {os.getloadavg()[0]:.1f}")
        print("| server | rows a request | requests a second | p50 | p99 | CPU a request |\n|---|---|---|---|---|---|")
        for size in SIZES:
            sent = [records[n % len(records)] for n in range(size)]
            bodies = {"/predict": json.dumps(sent), "/invocations": json.dumps({"dataframe_records": sent})}
            found: dict[str, list[float]] = {name: [] for name in servers}
            used = dict.fromkeys(servers, 0.0)
            for turn in range(args.rounds + 1):
                for name, (port, process, path) in servers.items():
                    # The first time, only to warm up.
                    seconds = args.seconds / args.rounds if turn else 1
                    before = cpu_seconds(process)
                    durations = durations_of(port, path, bodies[path].encode(), seconds)
                    if turn:
                        found[name] += durations
                        used[name] += cpu_seconds(process) - before
            for name, durations in found.items():
                middle, last = np.percentile(durations, [50, 99]) * 1e3
                rate, cpu = len(durations) / args.seconds, used[name] / len(durations) * 1e3
                print(f"| `{name}` | {size:,} | {rate:,.1f} | {middle:.1f} ms | {last:.1f} ms | {cpu:.1f} ms |")


if __name__ == "__main__":
    main()
