"""A server that answers with the current release: a real process on the loopback address."""

import asyncio
import contextlib
import io
import json
import math
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import joblib
import jsonschema
import pandas as pd
import pyarrow as pa
import pytest
import requests
from test_boosters import MEAN, needs_both

import live_record
import predict as script_predict
import reproduce
import rollback
import serve
from conftest import ROOT, Project, in_process, program, rides, run
from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError
from signoff.config.settings import read_config
from signoff.features.recipe import features_again
from signoff.release.store import Releases
from signoff.review.row_scores import cleaned_rows, load_scorer
from signoff.serving import app, record
from signoff.serving.listening import ListeningSocket, listening
from signoff.serving.options import CellForm, options_of
from signoff.serving.rows import _Answer, answer, refusal, rows_of_csv, rows_of_json
from signoff.serving.served import Served

RULE = ReleaseConfig()
CSV, JSON = {"Content-Type": "text/csv"}, {"Content-Type": "application/json"}
ROW = {"started": "2024-05-01 03:00:00", "city": "Bonn", "km": 3.5, "riders": 2}


@dataclass
class Running:
    """A server in a project's folder."""

    project: Project
    url: str
    process: subprocess.Popen

    def post(self, body: object, headers: dict[str, str] = JSON) -> requests.Response:
        content = body if isinstance(body, str | bytes) else json.dumps(body)
        content = content.encode() if isinstance(content, str) else content
        return requests.post(f"{self.url}/predict", data=content, headers=headers, timeout=60)

    def get(self, path: str) -> requests.Response:
        return requests.get(f"{self.url}{path}", timeout=60)


@pytest.fixture(scope="module")
def running(released_run, tmp_path_factory) -> Iterator[Running]:
    """A server in a copy of the project with two releases. At the end, Ctrl-C stops it."""
    project = released_run.copy(tmp_path_factory.mktemp("serve") / "copy")
    project.configure(serving={"max_mb": 0.2})
    with started(project) as server:
        yield server
    said = (project.folder / "serve.log").read_text(encoding="utf-8")
    assert "Traceback" not in said and "ERROR" not in said


@contextlib.contextmanager
def started(project: Project, *options: str, python: str | None = None) -> Iterator[Running]:
    """A server in a project's folder, which is stopped by Ctrl-C."""
    log = project.folder / "serve.log"
    command = [python or program("python"), project.workflow / "scripts/serve.py", "--port=0", "--workers=1", *options]
    with log.open("w", encoding="utf-8") as streams:
        process = subprocess.Popen(command, cwd=project.folder, stdout=streams, stderr=streams)
    for _ in range(600):
        found = re.search(r"POST rows to (\S+)/predict", log.read_text(encoding="utf-8"))
        if found:
            break
        assert process.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.05)
    try:
        yield Running(project, found[1], process)
    finally:
        process.send_signal(signal.SIGINT)
        code, said = process.wait(60), log.read_text(encoding="utf-8")
    assert code == 0 and "[serve] ended." in said


def test_rows_get_what_make_predict_writes_to_the_last_digit(running, monkeypatch):
    monkeypatch.chdir(running.project.folder)
    frame = rides(660).drop(columns="minutes")
    frame.loc[5, "started"] = "yesterday"
    text = frame.to_csv(index=False)
    Path("rows.csv").write_text(text, encoding="utf-8")
    in_process(script_predict, "--input=rows.csv", "--output=out/rows.csv")
    expected = pd.read_csv("out/rows.csv", dtype=str)
    rejected = pd.read_csv("out/rows.rejected.csv")[["row_number", "reason"]].to_dict("records")
    report = running.project.json("out/rows.report.json")
    cells = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    records = json.loads(frame.to_json(orient="records"))
    assert all(str(each["km"]) == cell for each, cell in zip(records, cells["km"], strict=True) if each["km"])
    for found in (running.post(text, CSV).json(), running.post(records).json()):
        for name in ("prediction", "prediction_low", "prediction_high"):
            assert [str(each[name]) for each in found["predictions"]] == expected[name].tolist()
        assert [each["row_number"] for each in found["predictions"]] == expected["row_number"].astype(int).tolist()
        assert found["rejected_rows"] == rejected
        assert {**report, "predicted_at": found["predicted_at"]} == {key: found[key] for key in report}
    # What was predicted is where the live record looks for it, in the form that it reads.
    [batch] = live_record._batches()
    assert batch.path.parent == record._FOLDER
    pd.testing.assert_frame_equal(pd.read_csv(batch.path, dtype=str), pd.concat([expected] * 2, ignore_index=True))
    raw = ["--raw=data/raw/raw_data.csv", "--cleaned=data/processed/cleaned_data.json", "--target=minutes"]
    assert in_process(live_record, *raw, "--output=reports/live.json")[0] == 0
    live = running.project.json("reports/live.json")
    assert sum(each["answered"] for each in live["weeks"] if not each["as_if"]) == len(expected)
    assert live["unreadable"] == []


def test_odd_rows_get_the_predictions_of_scikit_learn_alone_or_among_others(running, monkeypatch):
    monkeypatch.chdir(running.project.folder)
    scorer = load_scorer(Releases(), None, RULE)
    random = Random(0)
    odd = {
        "started": ["2024-05-01 03:00:00", "2024-02-29T23:59:59", " 2024-01-01 ", "1. May", None],
        "city": ["Bonn", "Atlantis", " Bonn ", "", "NA", None, True, "ß" * 300],
        "km": [3.5, 7, 0, -1, "3.5", " 2 ", "1e3", "$1,234.50", "1.2M", 1e300, "1e999", "many", None],
        "riders": [2, "2", 2.0, "2.5", 9007199254740993, "", "-"],
    }
    records = [{name: random.choice(values) for name, values in odd.items()} for _ in range(120)]
    rows = rows_of_json(json.dumps(records).encode(), CellForm())
    together = answer(rows, scorer, [], []).content
    of_row = {each["row_number"]: each for name in ("predictions", "rejected_rows") for each in together[name]}
    assert 20 < together["scored"] < 100 and len(of_row) == 120
    for number, one in enumerate(records, 1):
        alone = answer(rows_of_json(json.dumps([one]).encode(), CellForm()), scorer, [], []).content
        assert [*alone["predictions"], *alone["rejected_rows"]] == [{**of_row[number], "row_number": 1}]
    cleaned, reasons = cleaned_rows(rows.text, scorer.model.metadata["columns"], [], None)
    kept = pd.DataFrame(cleaned)[reasons == ""].reset_index(drop=True)
    expected = scorer.model.pipeline.predict(features_again(kept, scorer.model.metadata).frame)
    assert [each["prediction"] for each in together["predictions"]] == expected.tolist()


def test_requests_at_the_same_time_get_the_answers_that_they_get_alone(running):
    records = json.loads(rides(120).drop(columns="minutes").to_json(orient="records"))
    bodies = [records[start : start + size] for size in (1, 7, 60) for start in range(0, 60, 12)]
    alone = [running.post(each).json()["predictions"] for each in bodies]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            together = pool.map(lambda each: running.post(each).json()["predictions"], bodies)
            assert list(together) == alone


def test_the_openapi_document_describes_rows_answers_and_errors(running):
    document = running.get("/openapi.json").json()
    schemas = document["components"]["schemas"]

    def check(value: object, name: str) -> None:
        jsonschema.validate(value, {**schemas[name], "components": document["components"]})

    check(ROW, "Row")
    check(running.post([ROW, {**ROW, "km": None}]).json(), "Answer")
    check(running.post([]).json(), "Error")
    check(running.get("/health").json(), "Health")
    with pytest.raises(jsonschema.ValidationError):
        check({}, "Row")


UNUSABLE = {
    "half of it": ("[{]", JSON, 400, "the body is not JSON: Expecting property name"),
    "not UTF-8": (b'[{"km": "\xff"}]', JSON, 400, "it is not UTF-8"),
    "too deep": ("[" * 100_000, JSON, 400, "the body is not JSON: "),
    "half of a character": ('[{"km": "\\ud800"}]', JSON, 400, "not Unicode"),
    "no list": (ROW, JSON, 400, "must be a list of rows"),
    "no column": ([{"kms": 1}], JSON, 400, "the body has no column 'started': "),
    "our column": ([{**ROW, "release": 1}], JSON, 400, "have a column release of their own"),
    "no good row": ([1, {**ROW, "km": [3.5]}], JSON, 422, "2 rows rejected, none scored"),
    "no CSV column": ("started,city\n", CSV, 400, "the body has no column 'km'"),
    "empty": ("", CSV, 400, "Empty CSV file"),
    "encoding": (b"started,city\n1,K\xf6ln\n", CSV, 400, "cannot be read as utf-8 text"),
    "charset": ("started\n1", {"Content-Type": "text/csv; charset=x"}, 400, "knows no encoding 'x'"),
    "no charset": ("started\n1", {"Content-Type": "text/csv; charset=rot13"}, 400, "knows no encoding 'rot13' of text"),
    "twice": ('[{"km": 1, "km": 2}]', JSON, 422, "1 row rejected, none scored"),
    "no type": ("x", {}, 415, "text/csv"),
    "packed": ("x", {**JSON, "Content-Encoding": "gzip"}, 415, "without a Content-Encoding"),
    "large": ([ROW] * 5000, JSON, 413, "more than 200,000 bytes (serving.max_mb)"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_body_that_cannot_be_used_gets_one_clear_message(running, case):
    body, headers, status, message = UNUSABLE[case]
    found = running.post(body, headers)
    assert found.status_code == status, found.text
    assert message in found.json()["error"]
    assert "\n" not in found.json()["error"]


def test_other_paths_methods_names_and_bodies_without_a_length_are_refused(running):
    assert running.get("/").status_code == 404
    assert running.get("/predict").status_code == 405
    assert running.post([ROW], {**JSON, "Host": "evil.example"}).status_code == 400
    parts = (b" " * 50_000 for _ in range(10))
    assert requests.post(f"{running.url}/predict", data=parts, headers=JSON, timeout=60).status_code == 413
    text = running.get("/metrics").text
    assert 'signoff_requests_total{status="413"}' in text and "signoff_release_problem 0.0" in text


def test_no_request_is_lost_and_no_answer_is_wrong_while_releases_are_switched(running, monkeypatch):
    monkeypatch.chdir(running.project.folder)
    Path("one.csv").write_text(pd.DataFrame([ROW]).to_csv(index=False), encoding="utf-8")
    names = sorted(path.name for path in Path("deployed/releases").iterdir())
    expected = {}
    for name in names:
        in_process(script_predict, "--input=one.csv", "--output=one.out.csv", f"--release={name}")
        expected[name] = pd.read_csv("one.out.csv")["prediction"][0]
    assert len(set(expected.values())) == 2
    found, stop = [], threading.Event()

    def ask() -> None:
        with requests.Session() as session:
            while not stop.is_set():
                got = session.post(f"{running.url}/predict", json=[ROW], timeout=60)
                content = got.json() if got.status_code == 200 else {"release": got.text}
                found.append((content["release"], [each["prediction"] for each in content.get("predictions", [])]))

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for each in asking:
        each.start()
    try:
        for name in names:
            assert in_process(rollback, f"--release={name}", "--reason=x")[0] == 0
            limit = time.monotonic() + 60
            while running.get("/health").json()["release"] != name:
                assert time.monotonic() < limit
                time.sleep(0.02)
            known = len(found)
            while len(found) < known + 5:
                time.sleep(0.02)
    finally:
        stop.set()
        for each in asking:
            each.join()
    assert len(found) > 10
    assert {name for name, _ in found} == set(names)
    assert all(predictions == [expected[name]] for name, predictions in found)


def test_a_release_that_does_not_verify_is_not_served(released, monkeypatch):
    monkeypatch.chdir(released.folder)
    releases = Releases()
    served = Served(releases, RULE, 0)
    before = served.state
    served.refresh()
    assert served.state is before
    one, two = sorted(path.name for path in releases.releases.iterdir())
    model = releases.releases / one / "model.pkl"
    content = model.read_bytes()
    model.write_bytes(content + b"\0")
    with releases.locked("test"):
        releases.append("rollback", one, **{"from": two}, reason=["x"], by=["Ada"])
        releases.move_to(one)
    served.refresh()
    assert served.state.scorer is before.scorer
    problem = f"the current release cannot be loaded: {model} was altered. Restore it from a backup, or deploy "
    assert served.state.problem == f"{problem}another release."
    # It is not served by a new process either.
    code, said, _ = in_process(serve, "--port=0")
    assert code == 1 and f"{model} was altered" in said and "Traceback" not in said
    # The file is restored: after some looks it is tried again.
    model.write_bytes(content)
    for _ in range(50):
        served.refresh()
    assert served.state.problem is None
    assert served.state.scorer.release == one


def test_a_process_that_restarts_while_the_current_release_is_bad_serves_the_last_good_one(released, monkeypatch):
    monkeypatch.chdir(released.folder)
    one, two = sorted(path.name for path in Path("deployed/releases").iterdir())
    model = Path("deployed/releases", one, "model.pkl")
    # The environment's own Python, whose children are the processes that answer.
    with started(released, "--workers=2", python=sys.executable) as server:
        expected = server.post([ROW]).json()
        assert expected["release"] == two
        releases = Releases()
        with releases.locked("test"):
            releases.append("rollback", one, **{"from": two}, reason=["x"], by=["Ada"])
            content = model.read_bytes()
            model.write_bytes(content + b"\0")
            releases.move_to(one)
        killed, other = processes(server)
        os.kill(other, signal.SIGSTOP)
        os.kill(killed, signal.SIGKILL)
        # Only a new process can answer now.
        assert server.post([ROW]).json()["predictions"] == expected["predictions"]
        health = server.get("/health").json()
        assert (health["status"], health["release"]) == ("degraded", two)
        assert f"{model} was altered" in health["problem"]
        assert "signoff_release_problem 1.0" in server.get("/metrics").text
        # The server may have replaced it, too, because it did not answer.
        with contextlib.suppress(ProcessLookupError):
            os.kill(other, signal.SIGCONT)
        # The file is restored.
        model.write_bytes(content)
        Path("deployed/history.head").touch()
        wait(lambda: server.get("/health").json()["release"] == one)
        wait(lambda: server.post([ROW]).json()["release"] == one)
        loses_only_what_it_was_answering(server)
    assert "Traceback" not in Path("serve.log").read_text(encoding="utf-8")


def test_a_process_that_can_load_no_release_waits_and_ends_on_a_signal(released, tmp_path, monkeypatch):
    monkeypatch.chdir(released.folder)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    (tmp_path / "gauge_livemax_4194305.db").touch()
    release = Path(os.readlink("deployed/current")).name
    note, model = tmp_path / "note", Path("deployed/current/model.pkl").resolve()
    note.write_text(release, encoding="utf-8")
    content = model.read_bytes()
    model.write_bytes(b"")
    waited = []

    def wait_for_it(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            model.write_bytes(content)

    monkeypatch.setattr(app.time, "sleep", wait_for_it)
    options = options_of(read_config()[0], "127.0.0.1")
    handler = signal.getsignal(signal.SIGTERM)
    assert app.app_of_worker(options, note).routes
    assert len(waited) == 2
    # A process that was killed is not in the metrics any more.
    assert not list(tmp_path.glob("gauge_live*"))
    model.write_bytes(b"")
    monkeypatch.setattr(app.time, "sleep", lambda _: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit):
        app.app_of_worker(options, note)
    assert signal.getsignal(signal.SIGTERM) == handler


def loses_only_what_it_was_answering(server: Running) -> None:
    """Kill one of two processes while four clients ask; check that no answer is wrong, and which ones are lost."""
    answered, lost, stop = [], [], threading.Event()

    def ask(client: int) -> None:
        with requests.Session() as session:
            while not stop.is_set():
                try:
                    got = session.post(f"{server.url}/predict", json=[ROW], timeout=60)
                    found = got.json()
                    answered.append((found["release"], [each["prediction"] for each in found["predictions"]]))
                except requests.ConnectionError:
                    lost.append(client)

    asking = [threading.Thread(target=ask, args=[client]) for client in range(4)]
    for each in asking:
        each.start()
    try:
        wait(lambda: len(answered) > 8)
        os.kill(processes(server)[0], signal.SIGKILL)
        known = len(answered)
        wait(lambda: len(answered) > known + 20)
    finally:
        stop.set()
        for each in asking:
            each.join()
    # A process may not have switched to the current release yet.
    assert all(len(each) == 1 for _, each in answered)
    assert len({(name, *each) for name, each in answered}) == len({name for name, _ in answered})
    # A client has one request under way, which dies with its process; all others are answered by the other one.
    assert len(lost) == len({*lost})


def processes(server: Running) -> list[int]:
    """Return the processes of a server that answer."""
    process = server.process.pid
    children = map(int, Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split())
    return [each for each in children if b"--multiprocessing-fork" in Path(f"/proc/{each}/cmdline").read_bytes()]


def wait(done: Callable[[], bool]) -> None:
    """Wait until something is true."""
    limit = time.monotonic() + 60
    while not done():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_processes_share_the_connections_that_wait_and_one_with_fewer_comes_first():
    with listening("127.0.0.1", 0) as one, contextlib.ExitStack() as stack:
        # Another process has a duplicate.
        other = stack.enter_context(ListeningSocket(one.family, one.type, one.proto, os.dup(one.fileno())))
        taken = {one: [], other: []}

        def connect(number: int) -> None:
            for _ in range(number):
                stack.enter_context(socket.create_connection(one.getsockname()))
            # As two event loops do.
            while select.select([one], [], [], 0)[0]:
                for at in (one, other):
                    at.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        while True:
                            taken[at].append(stack.enter_context(at.accept()[0]))

        connect(4)
        assert [len(each) for each in taken.values()] == [2, 2]
        for each in taken[other]:
            each.close()
        connect(1)
        assert [len(each) for each in taken.values()] == [2, 3]


def test_an_answer_does_not_wait_for_the_client_to_acknowledge_a_part_of_it():
    async def sends_at_once() -> bool:
        found = asyncio.get_running_loop().create_future()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            found.set_result(bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
            writer.close()

        async with await asyncio.start_server(connected, sock=listening("127.0.0.1", 0)) as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.close()
            return await found

    assert asyncio.run(sends_at_once())


def test_a_release_without_the_signatures_that_are_requested_is_not_served(released, monkeypatch):
    monkeypatch.chdir(released.folder)
    Path("signers").write_text("ada ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBq1\n", encoding="utf-8")
    released.configure(release={"allowed_signers": "signers"})
    code, said, _ = in_process(serve, "--port=0")
    assert code == 1 and "ERROR - [serve] " in said and "sign" in said.rpartition("ERROR")[2]
    released.configure()
    with (
        listening("127.0.0.1", 0) as taken,
        pytest.raises(TaskError, match=r"Address already in use\. Set HOST="),
    ):
        listening("127.0.0.1", taken.getsockname()[1])


def test_reasons_follow_and_rows_unlike_the_released_data_are_refused_if_the_config_says_so(released, monkeypatch):
    monkeypatch.chdir(released.folder)
    scorer = Served(Releases(), RULE, 2).state.scorer
    found = answer(rows_of_json(json.dumps([ROW]).encode(), CellForm()), scorer, (), ())
    [row] = found.content["predictions"]
    assert list(row)[-4:] == ["reason_1", "reason_1_by", "reason_2", "reason_2_by"]
    assert row["reason_1"] == "km" and row["reason_1_by"] < 0
    assert json.loads(found.text) == found.content
    assert refusal(found.report, "stop") is None
    far = [{**ROW, "km": 500}] * 3
    report = answer(rows_of_json(json.dumps(far).encode(), CellForm()), scorer, (), ()).report
    assert refusal(report, "warn") is None
    assert "outside the released range" in refusal(report, "stop")


def test_rows_that_were_sent_are_kept_unless_the_log_is_off(released, monkeypatch):
    monkeypatch.chdir(released.folder)
    served, body = Served(Releases(), RULE, 0), json.dumps([ROW]).encode()
    for log in (False, True):
        released.configure(serving={"log": log})
        endpoint = app._Endpoint(options_of(read_config()[0], "127.0.0.1"), served)
        text = endpoint._answer(lambda body: rows_of_json(body, CellForm()), body, served.state)
        assert json.loads(text)["predictions"]
        assert Path("predictions").exists() == log
    [kept] = Path("predictions/served").iterdir()
    assert len(pd.read_csv(kept)) == 1


def test_the_server_leaves_the_loopback_address_only_if_make_is_told_so(monkeypatch):
    # Some shells export it.
    monkeypatch.setenv("HOST", "machine.example")
    command = ["make", "-n", "-o", ".venv/.serving", "-o", ".venv/.made", "serve", "PORT=1"]
    assert "serve.py  ${PORT+" in run(command, cwd=ROOT).stdout
    assert 'serve.py --host="$HOST" ${PORT+' in run([*command, "HOST=0.0.0.0"], cwd=ROOT).stdout


def test_a_process_for_each_core_answers_unless_the_number_is_given():
    cores = os.sched_getaffinity(0)
    assert serve._workers() == min(joblib.cpu_count(), 4)
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert serve._workers() == 1
    finally:
        os.sched_setaffinity(0, cores)


def test_numbers_and_cells_are_read_by_the_notation_of_the_config():
    form = CellForm(delimiter=";", encoding="cp1252", decimal=",")
    rows = rows_of_json(b'[{"km": 1.234, "city": "1.234,5", "x": true, "y": null}]', form)
    assert rows.text.to_pylist() == [{"km": "1.234", "city": "1234.5", "x": "true", "y": ""}]
    # A key that a row lacks is a missing value, and what is no row keeps its number.
    rows = rows_of_json(b'[{"km": 1}, 2, {"city": "x", "km": [1]}, {"city": "y"}]', CellForm())
    assert rows.text.to_pylist() == [{"km": "1", "city": ""}, {"km": "", "city": "y"}]
    assert rows.numbers.tolist() == [1, 4] and [number for number, _ in rows.uneven] == [2, 3]
    rows = rows_of_csv("km;city\n1.234,5;Köln\n1;2;3\n".encode("cp1252"), form)
    assert rows.text.to_pylist() == [{"km": "1234.5", "city": "Köln"}]
    assert rows.uneven == [(2, "3 fields, the header has 2: '1;2;3'")]


@pytest.mark.parametrize("encoding", ["rot13", "zlib", "punycode", "\0", "x"])
def test_an_encoding_that_is_not_of_text_is_refused(encoding):
    with pytest.raises(TaskError, match=r"knows no encoding .* of text"):
        rows_of_csv(b"a,b\n1,2\n", CellForm(encoding=encoding))


def test_a_row_that_names_a_column_more_than_once_is_rejected():
    rows = rows_of_json(b'[{"km": 1, "km": 2}, {"km": 3}, {"km": {"a": 1, "a": 2}}]', CellForm())
    assert rows.text.to_pylist() == [{"km": "3"}] and rows.numbers.tolist() == [2]
    assert rows.uneven == [(1, "a column is there more than once"), (3, "km: an object, not a value")]
    # Whatever white space is around the name, and whatever colons are in the values.
    for odd in (b'"km" :1, "km"\n\t: 2', b'"km": 1, "k\\u006d": 2', b'"city": "\\":", "km":1,"km" : ":"'):
        assert rows_of_json(b"[{%s}]" % odd, CellForm()).uneven == [(1, "a column is there more than once")]
    rows = rows_of_json(b'[{"city": ":", "a\\"":" :", "km" :1}]', CellForm())
    assert rows.text.to_pylist() == [{"city": ":", 'a"': " :", "km": "1"}] and not rows.uneven


def test_an_answer_has_any_text_and_missing_number_but_none_that_is_not_finite():
    report = {"release": "r", "rows": 3, "findings": []}
    rejected = pa.table({"row_number": [3], "reason": ['no "km"']})
    columns = {
        "row_number": [1, 2],
        "prediction": [1.5, 2e-7],
        "prediction_low": [None, 0.1],
        "prediction_high": [2, 3],
    }
    scored = pa.table({**columns, "reason_1": pa.array(['say "ß"', None], pa.large_string())})
    found = _Answer(report, scored, rejected, ["reason_1"])
    assert json.loads(found.text) == found.content
    assert json.loads(replace(found, scored=scored.slice(0, 0)).text)["predictions"] == []
    for number in (-math.inf, math.nan):
        odd = scored.set_column(1, "prediction", pa.array([1.5, number]))
        with pytest.raises(TaskError, match="the prediction of a row is not a finite number"):
            replace(found, scored=odd).text  # noqa: B018


def test_the_record_never_keeps_half_of_what_could_not_be_written(tmp_path, monkeypatch):
    kept = record.Predicted(tmp_path / "served")
    kept.add("r", pa.table({"km": ["1"], "prediction": [1.0]}))
    [path] = (tmp_path / "served").iterdir()
    before, write = path.read_bytes(), os.write
    calls = []

    def full(descriptor: int, content: memoryview) -> int:
        calls.append(1)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return write(descriptor, content[:3])

    with monkeypatch.context() as patched:
        patched.setattr(record.os, "write", full)
        with pytest.raises(OSError):
            kept.add("r", pa.table({"km": ["2"], "prediction": [2.0]}))
    assert path.read_bytes() == before
    kept.add("r", pa.table({"km": ["3"], "prediction": [3.0]}))
    assert path.read_bytes() == before + b"3,3\n"


@needs_both
def test_a_release_with_lightgbm_and_catboost_is_reproduced_and_served(project, monkeypatch):
    estimator, params = MEAN
    project.configure(model={"estimator": estimator, "params": params, "intervals": "constant"})
    project.snakemake("all", "reports/final_report.md")
    project.sign_off()
    project.snakemake("deploy")
    monkeypatch.chdir(project.folder)
    code, _, log = in_process(reproduce)
    assert code == 0, log
    assert "trained again, the model has the same bytes" in log[-2]
    frame = rides(660)[600:].drop(columns="minutes")
    frame.to_csv("rows.csv", index=False)
    code, _, log = in_process(script_predict, "--input=rows.csv", "--output=out/rows.csv")
    assert code == 0, log
    with started(project) as server:
        found = server.post(Path("rows.csv").read_text("utf-8"), CSV).json()["predictions"]
    expected = pd.read_csv("out/rows.csv", dtype=str)["prediction"].tolist()
    assert [str(each["prediction"]) for each in found] == expected and len(set(expected)) > 30
