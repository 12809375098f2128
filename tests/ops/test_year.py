"""A year of Mondays: a scheduled run each week on data that grow, with everything that goes wrong in a year.

SIGNOFF_WEEKS says how many; `make year` makes it 52.
"""

import hashlib
import http.server
import json
import os
import signal
import subprocess
import time
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from test_weekly import kill_all, runs, start

from conftest import CONFIG, ROOT, Project, listen, program

WEEKS = int(os.environ.get("SIGNOFF_WEEKS", 3))
# What happens in which week, again and again. It begins with a good one; the last four are for `make year`.
FAULTS = ["none", "source down", "killed", "column renamed", "threshold missed", "none", "transfer cut"]
KILLED_IN = ["ingest_data", "train_model", "clean_data", "evaluate_model"]


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    """Some of the flights, in the order of time, as text."""
    frame = pd.read_csv(ROOT / "resources/flights.csv.xz", dtype=str, keep_default_na=False)
    return frame.iloc[::60].sort_values("time_hour", kind="stable")


@pytest.fixture
def source():
    """A real server whose file, and whose faults, change from week to week."""
    served = SimpleNamespace(body=b"", fault=None)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if served.fault == "closes":
                self.connection.close()
                return
            self.send_response(503 if served.fault == "503" else 200)
            self.send_header("ETag", f'"{hashlib.sha256(served.body).hexdigest()}"')
            self.send_header("Content-Length", str(len(served.body)))
            self.end_headers()
            if self.command == "GET" and served.fault != "503":
                self.wfile.write(served.body[: len(served.body) // (2 if served.fault == "cut" else 1)])

        do_HEAD = do_GET

        def handle(self):
            try:
                super().handle()
            except (OSError, ValueError):
                """The connection was closed."""

    with listen(Handler) as host:
        served.url = f"http://{host}/flights.csv"
        yield served


def configure(project: Project, url: str, **changes: object) -> None:
    """Write the config of the flights, with a small model and wide thresholds."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
    config |= {"raw_data_source_url": url, "model": CONFIG["model"], "split": {"test_weeks": 2}}
    config |= {"validation": {"schema": "schema.yaml"}, "thresholds": {"mae_max": 100}, "evaluation": {}}
    config |= {"notify": {"command": 'echo "$SIGNOFF_EVENTS" >> told.txt'}, **changes}
    (project.folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def run_and_kill(project: Project, during: str) -> None:
    """Begin a scheduled run, and kill all of it with SIGKILL when that task has begun."""
    began = time.time()
    process = start(project, program("python"))
    log = project.folder / f"logs/{during}.log"
    while not (log.is_file() and log.stat().st_mtime > began):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    kill_all(process, project)


def run_beside_another(project: Project) -> tuple[subprocess.CompletedProcess, int, int]:
    """Try a scheduled run while another one goes on; return the second, and process id and exit code of the first."""
    lock = project.folder / "logs/weekly.lock"
    before = lock.read_text()
    process = start(project, program("python"))
    while (held := lock.read_text()) in ("", before):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    pid, since = json.loads(held)["pid"], json.loads(held)["since"]
    os.killpg(pid, signal.SIGSTOP)
    try:
        second = project.script("weekly", check=False)
        assert f"Running     since {since}" in project.script("status").stdout
    finally:
        os.killpg(pid, signal.SIGCONT)
    process.communicate(timeout=900)
    return second, pid, process.returncode


def test_a_year_of_mondays(project, source, flights):
    (project.folder / "schema.yaml").write_text((ROOT / "config/schema.yaml").read_text("utf-8"), encoding="utf-8")
    expected_lines, expected_events, released = [], [], None
    for week in range(WEEKS):
        fault = FAULTS[week % len(FAULTS)]
        cycle = week // len(FAULTS)
        frame = flights.iloc[: 2600 + 50 * week]
        if fault == "column renamed":
            frame = frame.rename(columns={"dep_delay": "departure_delay"})
        source.body = frame.to_csv(index=False).encode()
        source.fault = {"source down": ["503", "closes"][cycle % 2], "transfer cut": "cut"}.get(fault)
        configure(project, source.url, **({"thresholds": {"mae_max": 0.1}} if fault == "threshold missed" else {}))
        before = project.contents()

        if fault == "killed":
            run_and_kill(project, KILLED_IN[cycle % len(KILLED_IN)])
            # Each file is the one before or the new one, whole; the release is as it was.
            assert (project.folder / "data/raw/raw_data.csv").read_bytes() in (
                before["data/raw/raw_data.csv"],
                source.body,
            )
            assert set(project.contents()) ^ set(before) == set()
            shown = project.script("status").stdout
            assert "Killed      the run that began at" in shown
            assert "Running" not in shown
            project.script("verify")
            expected_lines.append("killed")
            # The one after it has a second one beside it.
            second, pid, code = run_beside_another(project)
            assert second.returncode == 75
            assert f"process {pid} runs since" in second.stdout
        else:
            code = project.script("weekly", check=False).returncode

        verdict = {"column renamed": "error", "transfer cut": "error", "threshold missed": "failed"}.get(
            fault, "passed"
        )
        expected_lines.append(verdict)
        lines, line = runs(project), runs(project)[-1]
        assert [each["verdict"] for each in lines] == expected_lines, (week, fault, line)
        assert code == line["exit_code"] == (0 if verdict == "passed" else 1)
        metrics = project.json("reports/evaluation_metrics.json")
        after = project.contents()
        events = {"passed": "review"}.get(verdict, "failed")
        cause = ""
        if fault == "source down":
            events = ""
            cause = "going on with data/raw/raw_data.csv"
            assert "503" in line["stale"] or "cannot be reached" in line["stale"]
            # But for the metrics: there is a champion now.
            kept = [path for path in before if path.startswith(("model/", "data/"))]
            assert {path: after[path] for path in kept} == {path: before[path] for path in kept}
        elif fault == "transfer cut":
            cause = "was cut after"
            assert after == before
        elif fault == "column renamed":
            cause = "dep_delay"
            kept = [path for path in before if path.startswith(("model/", "data/features/", "reports/evaluation"))]
            assert {path: after[path] for path in kept} == {path: before[path] for path in kept}
        else:
            assert line["rows"] == len(frame)
            assert line["model_sha256"] == metrics["model_sha256"]
            cause = "threshold mae_max 0.1: MAE is" if fault == "threshold missed" else ""
        assert cause in (line.get("stale") or line["cause"] or ""), line
        events = "review killed" if fault == "killed" else events
        expected_events += [events] * bool(events)
        assert (project.folder / "told.txt").read_text().splitlines() == expected_events

        shown = project.script("status").stdout.splitlines()
        assert shown[1].startswith(f"Runs        {line['at']}  {verdict}"), shown
        assert cause in shown[1]
        assert not any(each.startswith(("Running", "Killed", "Warning")) for each in shown)
        records = project.json("data/raw/raw_data.json")["records"]
        assert [each for each in shown if each.startswith(f"Data        {records:,} rows of {source.url}")], shown
        release = f"Release     {released}, current for" if released else "Release     none yet"
        assert [each for each in shown if each.startswith(release)], shown
        passed = (project.folder / "reports/verdict.json").is_file()
        waits = f"Next        a model whose verdict is {'passed' if passed else 'failed'} waits for review: make report"
        done = released and released.endswith(metrics["model_sha256"][:12])
        assert shown[-1] == ("Next        nothing: the last model is deployed" if done else waits), (week, fault)

        if fault == "none":
            project.snakemake("reports/final_report.md")
            project.sign_off("--override", "the alarms were read")
            assert project.script("status").stdout.splitlines()[-1] == "Next        make deploy (Ada: approve)"
            project.snakemake("deploy")
            released = os.readlink(project.folder / "deployed/current").removeprefix("releases/")
            assert released.endswith(metrics["model_sha256"][:12])
            assert "nothing: the last model is deployed" in project.script("status").stdout
        if released:
            assert "All is well" in project.script("verify").stdout
    page = (project.folder / "reports/history.html").read_text("utf-8")
    assert f"Scheduled runs: {len(expected_lines)} " in page
