"""Runs and releases in MLflow, on a real server on the loopback address: `make mlflow` installs it."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import requests
import yaml

import deploy
import predict
import rollback
import sign_off
import track
from conftest import CONFIG, ROOT, in_process
from signoff.base.config import Config, TrackingConfig
from signoff.base.errors import TaskError
from signoff.config.settings import SCHEMA, check_config
from signoff.model.scoring import LOW_AND_HIGH
from signoff.release import mlflow_client, outbox, tracking

MLFLOW = ROOT / ".venv/mlflow-server/bin/mlflow"
DECISION = ("--reviewer=Ada", "--decision=approve", "--comment=read it")
needs_client = pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow's client is not installed: make mlflow")


class MlflowServer:
    """A server with a database and a folder of artefacts that outlive it."""

    def __init__(self, folder: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.url, self.process = folder, f"http://127.0.0.1:{self.port}", None

    def start(self) -> None:
        command = [MLFLOW, "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "./artifacts"]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with open(self.folder / "log", "a", encoding="utf-8") as log:
            options = {"stdout": log, "stderr": log, "start_new_session": True, "cwd": self.folder}
            self.process = subprocess.Popen(command, env={**os.environ, **quiet}, **options)
        for _ in range(3000):
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except OSError:
                assert self.process.poll() is None, (self.folder / "log").read_text(encoding="utf-8")
                time.sleep(0.2)
        raise AssertionError((self.folder / "log").read_text(encoding="utf-8"))

    def stop(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(60)
            self.process = None

    @property
    def client(self):
        from mlflow import MlflowClient

        return MlflowClient(self.url, self.url)

    def runs(self, experiment: str) -> list:
        """Return the runs of an experiment, the newest first."""
        found = self.client.get_experiment_by_name(experiment)
        return self.client.search_runs([found.experiment_id], order_by=["attributes.start_time DESC"]) if found else []

    def files(self, run, folder: Path) -> dict[str, bytes]:
        """Return each artefact of a run, downloaded."""
        at = Path(self.client.download_artifacts(run.info.run_id, "", str(folder)))
        return {str(path.relative_to(at)): path.read_bytes() for path in at.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def mlflow_installed(tmp_path_factory):
    """A server that a test may start; skipped where none is installed."""
    if not MLFLOW.is_file():
        pytest.skip("MLflow's server is not installed: make mlflow")
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.stop()


@pytest.fixture
def mlflow_server(mlflow_installed):
    """A running server."""
    if not mlflow_installed.process:
        mlflow_installed.start()
    return mlflow_installed


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What this process asks the server is as quiet and as quick to give up as what the workflow asks."""
    for name, value in mlflow_client._ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def expected_metrics(metrics: dict) -> dict[str, float]:
    groups = {"test": metrics["model"]["test"], "train": metrics["model"]["train"]}
    groups |= {f"baseline_{name}": each["test"] for name, each in metrics["baselines"].items()}
    return {f"{name}/{key}": value for name, group in groups.items() for key, value in group.items()}


def test_runs_and_releases_are_logged_once_and_wait_while_the_server_is_down(
    finished, mlflow_installed, tmp_path, monkeypatch
):
    # The first, so that the server need not be started twice. The experiment is the project's folder by default.
    server, experiment = mlflow_installed, "project"
    finished.configure(tracking={"mlflow_uri": server.url})
    monkeypatch.chdir(finished.folder)
    server.stop()
    try:
        said = finished.snakemake().stdout
        warning = f"not all is in MLflow: {server.url} cannot be reached ([Errno 111] Connection refused); "
        assert f"\nWarning     {warning}runs that wait in logs/mlflow: 1; the next run tries again\n" in said
        # It is tried again, and said again, until it is there.
        assert finished.jobs() == {"track", "verdict"}
        assert in_process(sign_off, *DECISION)[0] == 0
        assert f"WARNING - [track] {warning}" in in_process(deploy)[1]
        before = finished.contents() | {"config/config.yaml": Path("config.yaml").read_bytes()}
        # The week after, with another model and the server still away.
        finished.configure(tracking={"mlflow_uri": server.url}, model={**CONFIG["model"], "params": {"max_iter": 21}})
        assert "runs that wait in logs/mlflow: 2;" in finished.snakemake().stdout
    finally:
        server.start()
    said = finished.snakemake().stdout
    assert finished.jobs() == set()
    second, first = server.runs(experiment)
    address = rf"^Tracking    {server.url}/#/experiments/\d+/runs/{second.info.run_id}$"
    assert re.search(address, said, flags=re.M)
    assert "champion/MAE" in second.data.metrics
    release = os.readlink("deployed/current").split("/")[1]
    assert first.data.tags["signoff.release"] == release
    assert server.client.get_model_version_by_alias(experiment, "champion").run_id == first.info.run_id
    assert [path.name for path in Path("logs/mlflow").iterdir()] == [".lock"]
    check_run(first, before, server.files(first, tmp_path / "first"))

    # A record that is lost leads to no second run.
    Path("reports/tracking.json").unlink()
    assert finished.jobs() == {"track", "verdict"}
    assert in_process(track)[0] == 0
    assert [each.info.run_id for each in server.runs(experiment)] == [second.info.run_id, first.info.run_id]

    # The release of a run that was logged is that run, and not another one.
    finished.snakemake("reports/final_report.md")
    assert in_process(sign_off, *DECISION)[0] == 0
    said = in_process(deploy)[1]
    champion = server.client.get_model_version_by_alias(experiment, "champion")
    assert champion.run_id == second.info.run_id
    assert f"[track] logged the release {champion.tags['signoff.release']}: {experiment}, version" in said
    assert (
        second.data.metrics["champion/MAE"]
        == finished.json("reports/evaluation_metrics.json")["champion"]["test"]["MAE"]
    )
    in_process(deploy)
    assert len(server.runs(experiment)) == 2
    assert len(server.client.search_model_versions(f"name = '{experiment}'")) == 2

    # The same model fails its threshold: the run exits 1, and is logged with its report.
    finished.configure(
        tracking={"mlflow_uri": server.url},
        model={**CONFIG["model"], "params": {"max_iter": 21}},
        thresholds={"mae_max": 0.01},
    )
    assert finished.snakemake(check=False).returncode == 1
    third = server.runs(experiment)[0]
    assert third.data.params["estimator.max_iter"] == "21"
    assert third.data.tags["signoff.verdict"] == "failed"
    assert third.data.tags["signoff.failures"].startswith("threshold mae_max 0.01: MAE is")
    report = server.files(third, tmp_path / "third")["reports/final_report.md"]
    assert report == Path("reports/final_report.md").read_bytes()
    assert finished.json("model/model.json")["sha256"].encode() in report


def check_run(run, outputs: dict[str, bytes], files: dict[str, bytes]) -> None:
    """Check that a run has the numbers and the files of the model that was evaluated."""
    assert run.info.status == "FINISHED"
    metrics, metadata, record = (
        json.loads(outputs[path])
        for path in ("reports/evaluation_metrics.json", "model/model.json", "data/raw/raw_data.json")
    )
    assert run.data.metrics == {**expected_metrics(metrics), "contract_violations": 0}
    assert run.data.params["model.params"] == '{"max_iter": 20}'
    assert run.data.params["estimator.max_iter"] == "20"
    assert run.data.params["features"] == ", ".join(metadata["features"])
    assert run.data.params["thresholds.mae_max"] == "10"
    assert run.data.tags["signoff.verdict"] == "passed"
    assert run.data.tags["signoff.source_version"] == "sha256:" + record["source_sha256"]
    assert run.data.tags["signoff.sha256 data/raw/raw_data.csv"] == record["sha256"]
    expected = {"model/model.pkl", "model/model.json", "config/config.yaml", "data/raw/raw_data.json"}
    names = ["validation_report.json", "final_report.md", "final_report.html", "evaluation_metrics.json"]
    names += ["diagnostics.json", "holdout_predictions.csv", "sign_off.json"]
    figures = {path for path in outputs if path.startswith("reports/figures/")}
    assert len(figures) > 5
    expected |= {f"reports/{name}" for name in names} | figures
    assert {path for path in files if not path.startswith("mlflow_model/")} == expected
    assert all(files[path] == outputs[path] for path in expected)


def test_releases_are_versions_of_a_registered_model_that_mlflow_serves(released, mlflow_server, tmp_path, monkeypatch):
    # Both were made before tracking was on. The name has what MLflow takes in an experiment, and in no model's name.
    experiment, model = 'it\'s a "Straße"/1: x', "it_s a _Straße__1_ x"
    tracking = {"mlflow_uri": mlflow_server.url, "experiment": experiment}
    released.configure(tracking=tracking)
    monkeypatch.chdir(released.folder)
    assert in_process(track)[0] == 0
    history = [json.loads(line) for line in Path("deployed/history.jsonl").read_text("utf-8").splitlines()]
    one, two = (entry["release"] for entry in history)
    client = mlflow_server.client

    def champion():
        return client.get_model_version_by_alias(model, "champion")

    versions = {each.tags["signoff.release"]: each for each in client.search_model_versions(f"name = '{model}'")}
    assert versions.keys() == {one, two}
    assert champion().version == versions[two].version
    for entry in history:
        run = client.get_run(versions[entry["release"]].run_id)
        assert run.data.tags["signoff.release"] == entry["release"]
        assert run.data.tags["signoff.released_at"] == entry["at"]
        assert run.data.tags["signoff.reviewers"] == "Ada"
        assert run.data.tags["signoff.comments"] == "read it"
        folder = Path("deployed/releases", entry["release"])
        files = mlflow_server.files(run, tmp_path / entry["release"])
        assert files["reports/sign_off.json"] == (folder / "sign_off.json").read_bytes()
        assert files["model/model.pkl"] == (folder / "model.pkl").read_bytes()

    assert in_process(rollback, "--reason=late")[0] == 0
    assert champion().tags["signoff.release"] == one
    assert in_process(rollback, f"--release={two}", "--reason=it was not")[0] == 0
    assert champion().version == versions[two].version

    # A raw row, and one that cannot be scored.
    row = {"started": "2024-05-01 03:00:00", "city": "Bonn", "km": 3.5, "riders": 2}
    pd.DataFrame([row]).to_csv("row.csv", index=False)
    assert in_process(predict, "--input=row.csv", "--output=out.csv")[0] == 0
    expected = {name: pd.read_csv("out.csv", dtype=str)[name][0] for name in ("prediction", *LOW_AND_HIGH)}
    with served(f"models:/{model}@champion", mlflow_server.url) as url:
        asked = json.dumps({"dataframe_records": [row, row | {"km": None}]})
        for body, kind, others in (
            (asked, "application/json", ["km is missing"]),
            (Path("row.csv").read_text("utf-8"), "text/csv", []),
        ):
            got = requests.post(url, data=body.encode(), headers={"Content-Type": kind}, timeout=60).json()
            good, *bad = got["predictions"]
            assert {name: str(good[name]) for name in expected} == expected
            assert good["rejected"] is None
            assert [each["rejected"] for each in bad] == others


@contextlib.contextmanager
def served(model: str, tracking_uri: str) -> Iterator[str]:
    """Have MLflow serve a model, without a package of ours, and yield the address that takes rows."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(sys.executable).parent
    quiet = {"MLFLOW_TRACKING_URI": tracking_uri, "PATH": f"{folder}:{os.environ['PATH']}"}
    command = [
        folder / "mlflow",
        "models",
        "serve",
        "--model-uri",
        model,
        "--env-manager",
        "local",
        "--port",
        str(port),
    ]
    with open("mlflow.log", "w", encoding="utf-8") as log:
        options = {"stdout": log, "stderr": log, "start_new_session": True}
        process = subprocess.Popen(command, env={**os.environ, **quiet}, **options)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5):
                break
            assert process.poll() is None, Path("mlflow.log").read_text("utf-8")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def test_a_run_that_was_half_logged_is_completed_and_what_is_not_taken_keeps_no_other(
    finished, mlflow_server, monkeypatch
):
    metrics = finished.json("reports/evaluation_metrics.json")
    metrics["baselines"]["Straße {km/h}: 100%"] = baseline = metrics["baselines"].pop("km")
    (finished.folder / "reports/evaluation_metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    finished.configure(tracking={"mlflow_uri": mlflow_server.url, "experiment": "half"})
    monkeypatch.chdir(finished.folder)
    config = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))
    config = check_config(config, SCHEMA)
    digest = outbox.stage_judged(config, ["config.yaml"]).name
    experiment = mlflow_server.client.create_experiment("half")
    half = mlflow_server.client.create_run(experiment, 1, {"signoff.digest": digest})
    mlflow_server.client.log_param(half.info.run_id, "estimator.max_iter", "20")
    # Newer than the other, so asked for first; no server takes such a name.
    run = json.loads(Path("logs/mlflow", digest, "run.json").read_text(encoding="utf-8"))
    run |= {"metrics": {"{": 1}, "tags": {"signoff.digest": "0"}}
    (finished.folder / "logs/mlflow/bad/artifacts").mkdir(parents=True)
    (finished.folder / "logs/mlflow/bad/run.json").write_text(json.dumps(run), encoding="utf-8")
    said = in_process(track)[1]
    assert f"not all is in MLflow: {mlflow_server.url}: INVALID_PARAMETER_VALUE: Invalid value" in said
    assert "runs that wait in logs/mlflow: 1;" in said
    _, run = mlflow_server.runs("half")
    assert (run.info.run_id, run.info.status) == (half.info.run_id, "FINISHED")
    assert run.data.metrics["baseline_Straße _km_h__ 100_/MAE"] == baseline["test"]["MAE"]


POISON = """
import pathlib
pathlib.Path({marker!r}).touch()
raise ImportError("this is no MLflow")
"""


def test_without_the_key_nothing_of_mlflow_is_imported(finished, tmp_path, monkeypatch):
    marker = tmp_path / "imported"
    # Beside the scripts, where Python looks first.
    (finished.workflow / "scripts/mlflow").mkdir()
    poison = POISON.format(marker=str(marker))
    (finished.workflow / "scripts/mlflow/__init__.py").write_text(poison, encoding="utf-8")
    finished.configure(thresholds={"mae_max": 9})
    finished.snakemake("all", "reports/final_report.md")
    finished.sign_off()
    finished.script("deploy")
    assert not marker.exists()
    assert not (finished.folder / "logs/mlflow").exists()
    assert "track" not in finished.jobs("--forceall")
    # With it, it is: and what is wrong with an import is a warning, too. In programs that have not imported it before.
    monkeypatch.delenv("SIGNOFF_PROGRAMS")
    finished.configure(tracking={"mlflow_uri": "http://127.0.0.1:9"})
    assert "not all is in MLflow: " in finished.script("track").stdout
    assert marker.exists()


def test_only_the_client_imports_mlflow_and_only_in_functions():
    scripts = [
        path for path in (ROOT / "scripts").rglob("*.py") if re.search(r"(from|import) mlflow\b", path.read_text())
    ]
    assert [path.name for path in scripts] == ["mlflow_client.py"]
    assert not re.search(r"^(from|import) mlflow\b", scripts[0].read_text("utf-8"), flags=re.M)


def test_a_client_that_is_not_installed_is_reported_before_any_job(project, tmp_path, monkeypatch):
    (tmp_path / "without").mkdir()
    without = "import sys\nsys.modules['mlflow'] = None\n"
    (tmp_path / "without/sitecustomize.py").write_text(without, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "without"))
    project.configure(tracking={"mlflow_uri": "http://127.0.0.1:9"})
    done = project.snakemake(check=False)
    assert done.returncode == 1
    assert done.stdout.strip().splitlines()[-1] == (
        "ERROR - tracking.mlflow_uri is set, but MLflow's client is not installed. "
        "Run make tracking, or pip install -r requirements-mlflow.txt."
    )
    assert "rule " not in done.stdout


def contents(folder: Path) -> bytes:
    """Return what all files in a folder hold, hidden ones too."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_password_in_the_address_is_refused_and_not_repeated(project):
    project.configure(tracking={"mlflow_uri": "http://ada:hunter2@127.0.0.1:9"})
    done = project.snakemake(check=False)
    assert done.returncode == 1
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("ERROR - config: tracking.mlflow_uri carries a user name, a password or a query.")
    assert "MLFLOW_TRACKING_PASSWORD" in last
    assert "hunter2" not in done.stdout
    (project.folder / "config.yaml").unlink()
    assert b"hunter2" not in contents(project.folder)


@pytest.mark.parametrize("uri", ["http://host/?token=hunter2", "ftp://hunter2@host", "http://ada:hunter2@[host"])
def test_other_ways_to_give_a_secret_are_refused_too(uri):
    with pytest.raises(TaskError, match="carries a user name, a password or a query") as raised:
        tracking.check_tracking(Config("a.csv", "y", tracking=TrackingConfig(uri)))
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("uri", ["mlruns", "sqlite:///mlflow.db", "http://", "http://host:port", ""])
def test_an_address_that_is_not_a_server_is_refused(uri):
    with pytest.raises(TaskError, match="must be a server's URL"):
        tracking.check_tracking(Config("a.csv", "y", tracking=TrackingConfig(uri)))


@needs_client
def test_credentials_come_from_the_environment_and_stay_there(finished, server, monkeypatch):
    server.answers = [(401, {}, b"who are you?")]
    finished.configure(tracking={"mlflow_uri": server.url})
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    monkeypatch.chdir(finished.folder)
    said = in_process(track)[1]
    assert f"not all is in MLflow: {server.url}: " in said
    assert "401" in said
    for secret in ("hunter2", "YWRhOmh1bnRlcjI="):
        assert secret not in said
        assert secret.encode() not in contents(finished.folder)


@needs_client
def test_a_server_that_never_answers_is_given_up(finished, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        finished.configure(tracking={"mlflow_uri": url})
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        monkeypatch.chdir(finished.folder)
        said = in_process(track)[1]
    assert f"not all is in MLflow: {url} cannot be reached (no answer in time); runs that wait" in said


def test_a_password_that_the_config_names_is_in_nothing_that_is_logged(finished, monkeypatch):
    monkeypatch.setenv("MAIL_PASSWORD", "hunter2")
    finished.configure(notify={"urls": ["mailtos://ada:${MAIL_PASSWORD}@example.org"]})
    monkeypatch.chdir(finished.folder)
    config = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))
    config = check_config(config, SCHEMA)
    staged = contents(outbox.stage_judged(config, ["config.yaml"]))
    assert b"mailtos://" in staged
    assert b"hunter2" not in staged


def test_the_client_is_pinned_beside_the_rest_and_not_against_it():
    pins = [
        dict(re.findall(r"^([\w.-]+)==(\S+?) ", (ROOT / name).read_text(encoding="utf-8"), flags=re.M))
        for name in ("requirements.txt", "requirements-mlflow.txt")
    ]
    ours, theirs = pins
    assert "mlflow-skinny" in theirs
    assert "mlflow-skinny" not in ours
    assert {name: theirs[name] for name in ours.keys() & theirs} == {name: ours[name] for name in ours.keys() & theirs}
