"""The page of a decision: a real server on the loopback address, and the sign-off that its forms write."""

import json
import re
import shutil
import signal
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from test_decision import CONFIG, DIAGNOSTICS, METRICS, PAGE, digest, project, release, train, write  # noqa: F401
from test_history import Page
from test_overview import live
from test_statement import keys  # noqa: F401

import review
import sign_off as signing
from browser.chromium import accessible, accessible_light_and_dark
from conftest import ROOT, program
from conftest import in_process as run
from signoff.ops.review_page import Desk
from signoff.ops.review_server import ReviewServer
from signoff.release import decision
from signoff.release.approval import read_sign_off

SIGN_OFF = Path("reports/sign_off.json")
ADA = {"reviewer": "Ada", "decision": "approve", "comment": "Read it."}
NOW = "2020-01-05T12:00:00Z"
HOSTILE = '"><script>document.title = "run"</script>'


@pytest.fixture
def serving(project, monkeypatch):  # noqa: F811
    """A server for the project in the current folder."""
    monkeypatch.setattr(decision, "utc_now", lambda: NOW)
    with ReviewServer(Desk(None, SIGN_OFF)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def ask(address: str, fields: dict[str, str] | None = None, **headers: str) -> tuple[int, str]:
    """Return the status and the text of an answer. A form is sent from the page's own origin, if no other is given."""
    data = None if fields is None else urllib.parse.urlencode(fields).encode()
    origin = {"Origin": address[: address.index("/", 8)]} if data is not None else {}
    request = urllib.request.Request(address, data, {**origin, **headers})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def post(server: ReviewServer, action: str, **fields: str) -> tuple[int, str]:
    """Send a form as the page shows it now."""
    subject = re.search(r'name="subject" value="(\w+)"', ask(server.address)[1])
    return ask(f"{server.address}{action}", {"subject": subject[1] if subject else "", **fields})


def decide(server: ReviewServer, **fields: str) -> tuple[int, str]:
    return post(server, "decide", **{**ADA, **fields})


def test_the_form_writes_what_the_command_line_writes(serving):
    Path("reports/index.html").write_text("old", encoding="utf-8")
    status, text = decide(serving)
    assert status == 200
    assert "Ada: approve" in Path("reports/index.html").read_text(encoding="utf-8")
    assert "✓ The decision of Ada was written" in text and "<code>make deploy</code>" in text
    decisions = next(table for table in Page(text).tables if table[0][0] == "reviewer")
    assert decisions[1] == ["Ada", "approve", "Read it.", "", NOW]
    by_form = SIGN_OFF.read_bytes()
    SIGN_OFF.unlink()
    assert run(signing, *(word for name, value in ADA.items() for word in (f"--{name}", value)))[0] == 0
    assert SIGN_OFF.read_bytes() == by_form
    # It is said once.
    assert "was written" not in ask(serving.address)[1]


@pytest.mark.parametrize(
    ("path", "headers", "told"),
    [
        ("/", {}, "The address is wrong"),
        ("/report", {}, "The address is wrong"),
        (f"/{'A' * 43}/", {}, "The address is wrong"),
        ("/%C3%A9/", {}, "The address is wrong"),
        ("TOKEN", {"Host": "evil.example:80"}, "This host is not 127.0.0.1"),
        ("TOKEN", {"Origin": "https://evil.example"}, "Another page may not ask"),
        ("TOKEN", {"Origin": "null"}, "Another page may not ask"),
    ],
)
def test_others_are_refused(serving, path, headers, told):
    base = serving.address[: serving.address.index("/", 8)]
    for fields in (None, ADA):
        address = f"{base}{path}" if path != "TOKEN" else f"{serving.address}{'decide' if fields else ''}"
        status, text = ask(address, fields, **headers)
        assert status == 403 and told in text and serving.token not in text
    assert not SIGN_OFF.exists()


def test_a_form_of_no_origin_or_too_large_is_refused(serving):
    request = urllib.request.Request(f"{serving.address}decide", urllib.parse.urlencode(ADA).encode())
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=10)
    assert ask(f"{serving.address}other", ADA)[0] == 400
    assert ask(f"{serving.address}other")[0] == 404
    assert ask(f"{serving.address}decide", ADA, **{"Content-Length": str(1 << 30)})[0] == 400
    assert not SIGN_OFF.exists()


def test_alarms_need_a_reason_and_what_was_typed_stays(serving):
    found = json.loads(Path(DIAGNOSTICS).read_text("utf-8"))
    write(DIAGNOSTICS, found | {"alarms": [{"name": "drift", "feature": None, "sentence": f"It drifts. {HOSTILE}"}]})
    model = json.loads(Path(METRICS).read_text("utf-8"))["model_sha256"]
    for path in ("reports/final_report.md", PAGE):
        write(path, f"{model} {digest(METRICS)} {digest(DIAGNOSTICS)}")
    status, text = decide(serving, comment=f"Read {HOSTILE}")
    assert status == 422
    assert "✗ Nothing was written" in text and "this model raises alarms (drift)" in text
    assert text.count("<script") == 1 and 'value="approve" required checked' in text and "Read &#34;&gt;" in text
    assert not SIGN_OFF.exists()
    assert decide(serving, override="It is known.")[0] == 200
    assert read_sign_off(SIGN_OFF)["decisions"][0]["override"] == "It is known."


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"reviewer": " "}, "the reviewer is empty"),
        ({"comment": ""}, "the comment is empty"),
        ({"decision": "maybe"}, "the decision is missing"),
        ({"subject": "0" * 64}, "a file has changed since this page was opened"),
    ],
)
def test_what_is_missing_is_said_on_the_page(serving, fields, told):
    status, text = decide(serving, **fields)
    assert status == 422 and told in text and not SIGN_OFF.exists()


def test_changes_since_the_release_are_side_by_side(serving, project):  # noqa: F811
    assert "this would be the first release" in ask(serving.address)[1]
    name = release(project, 1)
    train(2, name)
    write("config.yaml", f"{CONFIG}thresholds: {{mae_max: 5}}\nnotify: {{command: secret}}\n")
    text = ask(serving.address)[1]
    tables = {table[0][0]: table[1:] for table in Page(text).tables}
    assert ["MAE (the release on today's held-out rows: 3.0000)", "1.5000", "3.0000"] in tables["Metrics"]
    assert ["config/config.yaml.thresholds.mae_max", "", "5"] in tables["Config and contract"]
    assert ["config/config.yaml.notify.command", "(not shown)", "(not shown)"] in tables["Config and contract"]
    assert ["training rows", "1000", "2000"] in tables["Data"] and "secret" not in text
    # What is damaged is said.
    Path("deployed/releases", name, "model.json").write_text("{}", encoding="utf-8")
    assert "Unknown: deployed/releases" in ask(serving.address)[1]


def test_the_live_record_of_the_release_and_its_alarm_are_on_the_page(serving, project):  # noqa: F811
    name = release(project, 1)
    train(2, name)
    write("reports/live.json", live(name, "It errs more."))
    text = ask(serving.address)[1]
    page = Page(text)
    assert "It errs more." in text.partition("<iframe")[0] and text.count("<svg") == 1
    assert [row[0] for table in page.tables for row in table if row[0].startswith("2026-01-")]


def test_what_cannot_be_decided_on_is_said(serving):
    Path(PAGE).unlink()
    assert f"{PAGE} does not exist: there is nothing to sign off" in ask(serving.address)[1]
    assert ask(f"{serving.address}report")[0] == 409
    assert "there is nothing to sign off" in ask(f"{serving.address}decide", ADA)[1]


def test_the_report_is_shown_as_it_is_without_an_origin(serving):
    with urllib.request.urlopen(f"{serving.address}report", timeout=10) as answer:
        assert answer.read() == Path(PAGE).read_bytes()
        assert answer.headers["Content-Security-Policy"].startswith("sandbox allow-scripts;")
    with urllib.request.urlopen(serving.address, timeout=10) as answer:
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
        assert "script-src" in answer.read().decode().partition("Content-Security-Policy")[2].partition(">")[0]
    assert serving.server_address[0] == "127.0.0.1"


def test_with_keys_a_statement_goes_out_and_its_signature_comes_back(serving, keys, tmp_path):  # noqa: F811
    shutil.copy(keys / "signers", "signers")
    write("config.yaml", CONFIG + "release: {allowed_signers: signers}\n")
    assert decide(serving, reviewer="ada")[0] == 422 and not SIGN_OFF.exists()
    status, text = post(serving, "statement", **ADA | {"reviewer": "ada"})
    assert status == 200 and 'download="statement-ada.dsse"' in text
    path = tmp_path / "statement-ada.dsse"
    with urllib.request.urlopen(re.search(r'href="(data:[^"]+)"', text)[1]) as saved:
        path.write_bytes(saved.read())
    assert path.read_bytes() == Path("reports/statement-ada.dsse").read_bytes()
    for key, wanted in (("bob", 422), ("ada", 200)):
        Path(f"{path}.sig").unlink(missing_ok=True)
        command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(keys / key), "-n", "signoff", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        # As a browser sends the lines of a text.
        signature = Path(f"{path}.sig").read_text("utf-8").replace("\n", "\r\n")
        status, text = post(serving, "signature", statement=path.read_text("utf-8"), signature=signature)
        assert status == wanted
        assert ("ada may not sign with this key" in text) == (key == "bob")
    assert read_sign_off(SIGN_OFF)["decisions"][0]["signature"].startswith("-----BEGIN SSH SIGNATURE-----")


def test_the_command_ends_after_a_time_without_use_and_prints_its_address_once(project):  # noqa: F811
    command = [program("python"), str(ROOT / "scripts/review.py"), "--no-browser", "--idle", "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert re.search(r"^Open http://127\.0\.0\.1:\d+/[\w-]{43}/$", done.stdout, flags=re.M)
    assert "[review] the page is closed" in done.stderr and "http" not in done.stderr


def test_the_command_ends_after_an_hour_by_default(project, monkeypatch):  # noqa: F811
    class AlmostAnHourLater(ReviewServer):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            self.used -= 3599.9

        def serve_until_idle(self) -> None:
            hours.append(self.idle / 3600)
            super().serve_until_idle()

    hours: list[float] = []
    monkeypatch.setattr(review, "ReviewServer", AlmostAnHourLater)
    code, said, _ = run(review, "--no-browser")
    assert code == 0 and "[review] the page is closed" in said and hours == [1]


def test_ctrl_c_ends_the_command(project):  # noqa: F811
    command = [program("python"), str(ROOT / "scripts/review.py"), "--no-browser"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **streams) as process:
        while process.stdout.readline() != "Ctrl-C ends it.\n":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert "[review] the page is closed" in said and "Traceback" not in said


def test_a_person_reads_decides_and_signs_in_a_browser(browser, serving, keys, tmp_path):  # noqa: F811
    shutil.copy(keys / "signers", "signers")
    write("config.yaml", CONFIG + "release: {allowed_signers: signers}\n")
    browser.look(1200)
    browser.visit(serving.address)
    assert accessible(browser) == []
    # With the keyboard alone.
    browser("document.querySelector('[name=reviewer]').focus()")
    browser.type("ada")
    browser.press("Tab")
    browser.press(" ")
    browser.press("Tab")
    browser.type("Read <it>.")
    browser.press("Tab")
    assert browser("document.activeElement.textContent") == "Write the statement to sign"
    browser.submit()
    browser.look(390, dark=True)
    assert browser("document.querySelector('h2').textContent") == "Sign the statement"
    assert accessible(browser) == []
    assert browser("document.documentElement.scrollWidth") <= 390
    path = tmp_path / "statement-ada.dsse"
    path.write_text(browser("document.querySelector('[name=statement]').value"), encoding="utf-8")
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(keys / "ada"), "-n", "signoff", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    # The file of the signature is chosen in the page.
    browser.choose("input[aria-label^=Signature]", Path(f"{path}.sig"))
    browser("document.querySelector('[name=signature]').closest('form').querySelector('button').focus()")
    browser.submit()
    assert browser("document.querySelector('h2').textContent") == "✓ The decision of ada was written"
    assert "make deploy" in browser("document.querySelector('.box').textContent")
    (one,) = read_sign_off(SIGN_OFF)["decisions"]
    assert (one["reviewer"], one["decision"], one["comment"]) == ("ada", "approve", "Read <it>.") and one["signature"]
    # The report is in a frame that cannot reach the page.
    browser.look(1200)
    assert browser("document.querySelector('iframe').contentDocument") is None
    assert browser.told("Runtime.exceptionThrown") == []


def test_the_page_is_accessible_before_and_after_a_decision(browser, serving, project):  # noqa: F811
    train(2, release(project, 1))
    found = json.loads(Path(DIAGNOSTICS).read_text("utf-8"))
    write(DIAGNOSTICS, found | {"alarms": [{"name": "drift", "feature": None, "sentence": "It drifts."}]})
    model = json.loads(Path(METRICS).read_text("utf-8"))["model_sha256"]
    for path in ("reports/final_report.md", PAGE):
        write(path, f"{model} {digest(METRICS)} {digest(DIAGNOSTICS)}")
    browser.visit(serving.address)
    shown = [browser("document.body.textContent")]
    assert accessible_light_and_dark(browser) == []
    for fields in ({"comment": "Read it."}, {"override": "It is known."}):
        for name, text in {"reviewer": "Ada", **fields}.items():
            browser(f"document.querySelector('[name={name}]').value = '{text}'")
        browser("document.querySelector('[value=approve]').checked = true")
        browser("document.querySelector('form[action$=decide] button').focus()")
        browser.submit()
        shown.append(browser("document.body.textContent"))
        assert accessible_light_and_dark(browser) == []
    # An open page with the changes since the release, one that refuses, and one after the decision.
    for text, words in zip(shown, ("training rows", "Nothing was written", "was written"), strict=True):
        assert words in text
    assert read_sign_off(SIGN_OFF)["decisions"][0]["override"] == "It is known."
