"""Measure `make serve`: requests a second and their duration, with 1, 100 and 1,000 rows a request.

    make bench-serve DIR=folder

The server runs with one worker, and answers with the current release of a project. The rows are those of the project's
raw data, as JSON. Four clients, in a process of their own, send one request after the other.
"""

import argparse
import contextlib
import http.client
import json
import multiprocessing
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
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


def measure(port: int, body: bytes, seconds: float, answers: multiprocessing.Queue) -> None:
    """Send a body again and again for some seconds; put the durations, in seconds, into the queue."""
    durations: list[float] = []
    end = time.monotonic() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while time.monotonic() < end:
            started = time.perf_counter()
            connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            durations.append(time.perf_counter() - started)
            if answer.status != 200:
                sys.exit(content.decode())

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    answers.put(durations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("."), help="a project with a release")
    parser.add_argument("--seconds", type=float, default=10, help="how long each size is measured")
    args = parser.parse_args()
    rows = pd.read_csv(args.folder / "data/raw/raw_data.csv", nrows=max(SIZES) * 2).dropna().head(max(SIZES))
    records = json.loads(rows.to_json(orient="records"))
    print("| rows a request | requests a second | rows a second | p50 | p99 |\n|---|---|---|---|---|")
    with server(args.folder) as port:
        for size in SIZES:
            body = json.dumps([records[n % len(records)] for n in range(size)]).encode()
            answers = multiprocessing.Queue()
            for seconds in (args.seconds / 5, args.seconds):
                # The first time, only to warm up.
                client = multiprocessing.Process(target=measure, args=(port, body, seconds, answers))
                client.start()
                durations = answers.get()
                client.join()
            middle, last = np.percentile(durations, [50, 99]) * 1e3
            rate = len(durations) / args.seconds
            print(f"| {size:,} | {rate:,.0f} | {rate * size:,.0f} | {middle:.1f} ms | {last:.1f} ms |")


if __name__ == "__main__":
    main()
