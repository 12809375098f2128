"""Telling people how a scheduled run ended: real mail, real webhooks, real commands, and no secret left behind."""

import contextlib
import email
import email.policy
import http.server
import json
import re
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import psutil
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from test_weekly import runs

import weekly as weekly_script
from conftest import Project, listen
from signoff.base.config import NotifyConfig
from signoff.ops import notify
from signoff.release.store import Releases

# The test server is asked to let somebody in without TLS.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")
SECRET = "can/ary+word@7"


@pytest.fixture
def hook():
    """A webhook on the loopback address that keeps what was posted; it answers `status`, or 413 above `most` bytes."""
    told = SimpleNamespace(messages=[], paths=[], status=200, most=float("inf"))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            told.paths.append(self.path)
            size = int(self.headers["Content-Length"])
            told.messages.append(json.loads(self.rfile.read(size)))
            self.send_response(told.status if size <= told.most else 413)
            self.end_headers()

    with listen(Handler) as host:
        told.url = f"json://{host}"
        yield told


@pytest.fixture
def mail():
    """A mail server on the loopback address that lets one user in, with the mails that it got."""
    got = SimpleNamespace(mails=[], logins=[])

    class Handler:
        async def handle_DATA(self, server, session, envelope):
            got.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
            return "250 OK"

    def authenticator(server, session, envelope, mechanism, data):
        got.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password.decode() == SECRET)

    with socket.create_server(("127.0.0.1", 0)) as free:
        got.port = free.getsockname()[1]
    options = {"authenticator": authenticator, "auth_require_tls": False, "auth_required": True}
    controller = Controller(Handler(), hostname="127.0.0.1", port=got.port, **options)
    controller.start()
    yield got
    controller.stop()


def weekly(project: Project, code: int = 0) -> tuple[dict, str]:
    """Make a scheduled run; return its line and what it said."""
    done = project.script("weekly", check=False)
    assert done.returncode == code, done.stdout
    return runs(project)[-1], done.stdout


def test_each_run_leaves_a_line_with_its_verdict_a_new_model_is_told_once_and_a_failed_run_each_time(finished, hook):
    assert "none yet" in finished.script("status").stdout
    finished.configure(notify={"urls": [hook.url]})
    line, _ = weekly(finished)
    assert (line["exit_code"], line["verdict"], line["rows"], line["cause"]) == (0, "passed", 600, None)
    assert line["MAE"] > 0 and line["seconds"] > 0 and line["source_version"].startswith("sha256:")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["at"])
    assert line["events"] == ["review"]
    assert line["notified"] == ["notify.urls, number 1 (json)"]
    assert "notify_failed" not in line
    told = hook.messages[0]
    assert told["title"] == "Signoff project: a new model waits for review"
    assert told["type"] == "info"
    assert f"Project     {finished.folder} on " in told["message"]
    assert "600 rows of rides.csv" in told["message"]
    assert "Next        a model whose verdict is passed waits for review: read" in told["message"]
    # The summary of the run
    assert "Threshold   mae_max 10: MAE is" in told["message"]
    assert "Verdict     passed" in told["message"]

    assert "events" not in weekly(finished)[0]
    assert len(hook.messages) == 1

    finished.configure(notify={"urls": [hook.url]}, thresholds={"mae_max": 0.1})
    for _ in range(2):
        failed, _ = weekly(finished, 1)
        assert failed["events"] == ["failed"]
    assert [each["verdict"] for each in runs(finished)] == ["passed", "passed", "failed", "failed"]
    assert "mae_max 0.1" in failed["cause"] and len(hook.messages) == 3
    # Nobody has asked for a report, and the diagnostics are there, after a failed verdict, too.
    diagnostics = finished.json("reports/diagnostics.json")
    assert diagnostics["model_sha256"] == line["model_sha256"] == failed["model_sha256"]
    assert [each["name"] for each in failed["alarms"]] == [each["name"] for each in diagnostics["alarms"]]
    told = hook.messages[2]
    assert told["title"] == "Signoff project: the run failed"
    assert told["type"] == "failure"
    assert "the verdict is failed: threshold mae_max 0.1: MAE is" in told["message"]
    assert "Log         logs/verdict.log" in told["message"]
    assert "Verdict     failed" in told["message"]
    assert "a model whose verdict is failed waits for review" in told["message"]

    # A run that comes to no verdict is told with its cause and log.
    finished.configure(notify={"urls": [hook.url]}, raw_data_source_url="nowhere.csv")
    line, _ = weekly(finished, 1)
    assert line["verdict"] == "error" and "nowhere.csv does not exist" in line["cause"]
    told = hook.messages[3]["message"]
    assert "nowhere.csv does not exist" in told
    assert "Log         logs/ingest_data.log" in told
    assert "Verdict " not in told
    shown = finished.script("status").stdout
    assert shown.index("nowhere.csv does not exist") < shown.index("failed, MAE") < shown.index("passed, MAE")
    # A config that is wrong elsewhere
    finished.configure(notify={"urls": [hook.url]}, thresholds={"mae_mx": 10})
    line, _ = weekly(finished, 1)
    assert "thresholds.mae_mx is unknown" in line["cause"]
    assert "did you mean mae_max?" in hook.messages[4]["message"]
    assert "Log         logs/weekly.txt" in hook.messages[4]["message"]


def passed(project: Project, **more: object) -> dict:
    """Return the line of a run that came to the model that is there."""
    model = project.json("reports/evaluation_metrics.json")["model_sha256"]
    return {"at": "2024-01-01T00:00:00Z", "exit_code": 0, "verdict": "passed", "model_sha256": model, **more}


def test_when_a_model_waits(finished, monkeypatch):
    now = datetime.now(UTC)
    monkeypatch.chdir(finished.folder)
    run = passed(finished)
    nobody = {**run, "events": ["review"], "notified": []}
    assert notify._find_events(run, [], 4, now) == ["review"]
    assert notify._find_events(run, [nobody], 4, now) == ["review"]
    assert notify._find_events(run, [{**nobody, "notified": ["x"]}, run], 4, now) == []
    assert notify._find_events(run, [{**nobody, "notified": ["x"], "model_sha256": "other"}], 4, now) == ["review"]
    killed = {"at": "2024-01-01T00:00:00Z", "exit_code": None, "verdict": "killed"}
    assert notify._find_events(run, [killed], 4, now) == ["review", "killed"]
    assert notify._find_events(run, [killed, run], 4, now) == ["review"]
    finished.sign_off()
    assert notify._find_events(run, [], 4, now) == []
    sign_off = finished.folder / "reports/sign_off.json"
    finished.snakemake("deploy")
    sign_off.unlink()
    assert notify._find_events(run, [], 4, now) == []


def test_a_message_carries_the_box_the_link_and_the_report_if_the_service_takes_it(released, hook, mail, monkeypatch):
    monkeypatch.chdir(released.folder)
    model = released.json("reports/diagnostics.json")["model_sha256"]
    monkeypatch.setenv("SMTP_PASSWORD", SECRET)
    address = f"mailto://ada:${{SMTP_PASSWORD}}@127.0.0.1:{mail.port}?from=s@example.org&to=ada@example.org"
    chosen = {"urls": [address], "command": 'cat > got.txt; echo "$SIGNOFF_REPORT" >> got.txt', "attach_report": True}
    url = "https://reports.example.org/rides?week=1"
    released.configure(notify=chosen, report={"url": url})
    assert weekly_script._targets()[-1] == "reports/final_report.md"
    alarms = [{"name": "live_bias", "sentence": "It is off by 7."}]
    live = {"release": Releases().current(), "rows": 9, "answered": 9, "weeks": [], "alarms": alarms, "broken": []}
    Path("reports/live.json").write_text(json.dumps(live), encoding="utf-8")
    run = {"at": "2024-01-01T00:00:00Z", "exit_code": 1, "verdict": "failed", "cause": "x", "model_sha256": model}
    run["alarms"] = [{"name": "drift", "sentence": "km has moved."}]
    line = notify.notify(run, [])
    assert line == {"events": ["failed"], "notified": ["notify.urls, number 1 (mailto)", "notify.command"]}
    text = Path("got.txt").read_text("utf-8")
    assert text.splitlines()[-1] == "reports/final_report.html"
    assert f"Report      {url}\n" in text
    assert "\nAlarms\n  drift: km has moved.\n" in text
    box = text.partition("\nDeploy?     ")[2].splitlines()
    assert box[0] in ("yes", "no", "look closer") and "  It is off by 7." in box and {"For", "Against"} <= {*box}
    (got,) = mail.mails
    (file,) = got.iter_attachments()
    assert file.get_filename() == "final_report.html"
    assert file.get_payload(decode=True) == Path("reports/final_report.html").read_bytes()

    # A service that fails with the file gets the message without it, and the report of another model is not sent.
    hook.most = 100_000
    settings = {"urls": [hook.url], "command": None}
    page = notify._report_of(model)
    sent = notify.send(NotifyConfig(**settings), "title", "text", ["review"], page)
    assert sent == (["notify.urls, number 1 (json)"], [])
    assert [len(each["attachments"]) for each in hook.messages] == [1, 0]
    assert notify._report_of("0" * 64) is None
    assert "Deploy?" not in notify._message({**run, "model_sha256": "0" * 64}, ["failed"])[1]
    released.configure(notify=settings)
    assert weekly_script._targets()[-1] == "reports/diagnostics.json"
    assert "Report  " not in notify._message(run, ["failed"])[1]


def test_a_damaged_project_is_told_all_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("deployed/history.jsonl", "data/raw/raw_data.json"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("x")
    run = {"at": "2024-01-01T00:00:00Z", "exit_code": 1, "verdict": "error", "cause": "out of tea"}
    assert notify._find_events(run, [], 4, datetime.now(UTC)) == ["failed"]
    _, text = notify._message(run, ["failed"])
    assert "out of tea" in text
    assert "Problem     data/raw/raw_data.json is damaged: it is not valid JSON" in text
    (tmp_path / "data/raw/raw_data.json").unlink()
    assert "line 1 was altered" in notify._message(run, ["failed"])[1]


def test_mail_and_command_get_it_too(finished, mail, monkeypatch):
    monkeypatch.chdir(finished.folder)
    monkeypatch.setenv("SMTP_PASSWORD", SECRET)
    address = f"mailto://ada:${{SMTP_PASSWORD}}@127.0.0.1:{mail.port}?from=s@example.org&to=ada@example.org&format=text"
    command = 'cat > got.txt; echo "$SIGNOFF_EVENTS: $SIGNOFF_TITLE" >> got.txt'
    finished.configure(notify={"urls": [address], "command": command})
    line = notify.notify(passed(finished), [])
    assert line == {"events": ["review"], "notified": ["notify.urls, number 1 (mailto)", "notify.command"]}
    assert mail.logins == [("ada", SECRET)]
    (got,) = mail.mails
    assert got["Subject"] == "Signoff project: a new model waits for review"
    assert "ada@example.org" in got["To"]
    text = (finished.folder / "got.txt").read_text("utf-8")
    assert "Verdict     passed\n" in text
    assert text.endswith("review: Signoff project: a new model waits for review\n")
    assert "Verdict     passed" in got.get_content()


def test_what_fails_fails_no_run_and_no_secret_is_left_behind(finished, hook, mail, monkeypatch):
    monkeypatch.delenv("NOWHERE_SET", raising=False)
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("WHOLE", "json://user:canary-in-a-whole-address@127.0.0.1:9/canary-path")
    monkeypatch.setenv("CHAT", "slack://canary-first/canary-second/canary-third")
    secrets = [SECRET, notify.quote(SECRET, safe=""), "canary-in-a-whole-address", "canary-path"]
    secrets += ["canary-first", "canary-second"]
    urls = [f"{hook.url}/${{TOKEN}}", "json://user:${TOKEN}@127.0.0.1:9/${TOKEN}", "slack://${TOKEN}/x", "${WHOLE}"]
    urls += [f"mailto://ada:${{TOKEN}}x@127.0.0.1:{mail.port}?from=s@example.org&to=ada@example.org"]
    urls += ["jsn://ada:${TOKEN}@127.0.0.1", "json://127.0.0.1/${NOWHERE_SET}", "${CHAT}"]
    finished.configure(notify={"urls": urls, "command": 'echo "$TOKEN is wrong"; exit 3'})
    line, said = weekly(finished)
    assert [unquote(path) for path in hook.paths] == [f"/{SECRET}"]
    assert line["notified"] == ["notify.urls, number 1 (json)"]
    problems = [
        "2 (json): exit code 1: A Connection error",
        "3 (slack): exit code 1",
        "4: exit code 1: A Conn",
        "8: exit code 1: ",
    ]
    problems += ["5 (mailto): exit code 1", "6 (jsn): exit code 1: it said nothing of use"]
    problems += ["7 (json): the environment variable NOWHERE_SET is not set", "command: exit code 3: *** is wrong"]
    for problem in problems:
        assert problem in line["notify_failed"]
        assert said.count(problem) == 1
    assert "Traceback" not in said
    files = [path for path in finished.folder.rglob("*") if path.is_file()]
    assert any(".snakemake" in path.parts for path in files)
    for secret in secrets:
        assert secret not in said
        assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_what_never_ends_is_ended(monkeypatch, tmp_path):
    monkeypatch.setattr(notify, "_TIMEOUT_S", 1)
    monkeypatch.chdir(tmp_path)
    command = f"(sleep 1000 & echo $! > {tmp_path}/pid; wait)"
    notified, failed = notify.send(NotifyConfig(command=command), "title", "text", ["trial"])
    assert notified == []
    assert failed == ["notify.command: no end within 1 s"]
    # What it has started, too.
    with contextlib.suppress(psutil.NoSuchProcess):
        left = psutil.Process(int((tmp_path / "pid").read_text()))
        for _ in range(100):
            if left.status() == psutil.STATUS_ZOMBIE:
                break
            time.sleep(0.1)
        else:
            raise AssertionError("it still runs")
    # Something in the background keeps nobody waiting.
    assert notify.send(NotifyConfig(command="sleep 3 &"), "title", "text", [])[0] == ["notify.command"]


def test_unchanged_data_are_told_every_so_many_weeks(finished, monkeypatch):
    monkeypatch.chdir(finished.folder)
    since = datetime.fromisoformat(finished.json("data/raw/raw_data.json")["ingested_at"])
    earlier, told = [], []
    for week in range(1, 14):
        # Not to the second: one run starts a little earlier than the other.
        now = since + timedelta(weeks=week, seconds=-30 if week % 2 else 30)
        run = {"at": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "exit_code": 0, "verdict": "passed"}
        run["events"] = notify._find_events(run, earlier, 4, now)
        # In the eighth week nobody can be reached.
        run["notified"] = [] if week == 8 else ["x"]
        told += [week] * ("unchanged" in run["events"])
        earlier.append(run)
    assert told == [4, 8, 9, 13]
    assert notify._find_events(earlier[-1], [], 0, now) == []


def test_a_run_on_the_last_data_says_so(finished, server, hook):
    body = (finished.folder / "rides.csv").read_bytes()
    server.answers = [(200, {"ETag": '"1"'}, body)]
    settings = {"raw_data_source_url": f"{server.url}/rides.csv", "notify": {"urls": [hook.url], "unchanged_weeks": 0}}
    finished.configure(**settings)
    assert "stale" not in weekly(finished)[0]
    server.stop()
    finished.configure(**settings, thresholds={"mae_max": 0.1})
    line, _ = weekly(finished, 1)
    assert "going on with data/raw/raw_data.csv, ingested" in line["stale"]
    assert "cannot be reached" in hook.messages[-1]["message"]
    assert "on the last data" in finished.script("status").stdout.splitlines()[1]


def test_a_test_message(finished, hook):
    finished.configure(notify={"urls": [hook.url, "json://127.0.0.1:9"]})
    done = finished.script("notify", check=False)
    assert done.returncode == 1
    assert "sent: notify.urls, number 1 (json)" in done.stdout
    assert "number 2 (json): exit code 1: A Connection error" in done.stdout
    assert "test message" in hook.messages[0]["title"]
    finished.configure()
    done = finished.script("notify", check=False)
    assert done.returncode == 1
    assert "set notify.urls or notify.command" in done.stdout
