"""Secrets, a canary in every place where a person may put one: none is in a file, a log or on the screen afterwards."""

import base64
import http.server
import logging
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from conftest import Project, listen, rides
from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.config.settings import SCHEMA, check_config
from signoff.source import address

# One for each place, so that a leak tells where it comes from; with signs that break what takes no care of them.
CANARIES = {
    name: f"{name.lower()}/ca'na\"ry@#%41&=?"
    for name in (
        "TOKEN",
        "PASSWORD",
        "SMTP_PASSWORD",
        "HOOK_TOKEN",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
    )
} | {
    "AWS_SECRET_ACCESS_KEY": "aws-canary-0123456789",
    "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "storage-canary-0123456789",
    "SIGNATURE": "redirected-canary-0123456789",
    "PASSPHRASE": "passphrase-canary-0123456789",
    "UNRELATED": "unrelated-canary-0123456789",
}


def leaks(folder: Path, *said: str) -> list[str]:
    """Return which canary stands in which file below a folder, or in what was said, in whatever form it is sent."""
    forms = {}
    for name, value in CANARIES.items():
        basic = base64.b64encode(f"me:{value}".encode())[4:-4]
        forms[name] = [value.encode(), quote(value, safe="").encode(), quote(value).encode(), basic]
    texts = {str(each): each.read_bytes() for each in folder.rglob("*") if each.is_file()}
    texts |= {f"what command {n} said": each.encode() for n, each in enumerate(said, 1)}
    return [f"{name} in {where}" for name, words in forms.items() for where, text in texts.items()
            if any(word in text for word in words)]  # fmt: skip


@pytest.fixture
def guarded():
    """A server that wants a password and a token, and then sends its reader to a signed address, as object stores do.

    `mode` says what is there: the table, a refusal, or nothing but a closed connection.
    """
    state = SimpleNamespace(mode="table", asked=[], refused=0)
    body = rides().to_csv(index=False).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            state.asked.append(self.path)
            if "Signature" not in self.path:
                expected = base64.b64encode(f"me:{CANARIES['PASSWORD']}".encode()).decode()
                token = quote(CANARIES["TOKEN"], safe="")
                state.refused += self.headers["Authorization"] != f"Basic {expected}" or token not in self.path
                self.send_response(302)
                self.send_header("Location", f"/signed.csv?X-Amz-Signature={CANARIES['SIGNATURE']}")
                self.end_headers()
            elif state.mode == "gone":
                self.close_connection = True
                self.connection.close()
            else:
                self.send_response(200 if state.mode == "table" else 403)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("ETag", f'"{state.mode}"')
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

        do_HEAD = do_GET

    with listen(Handler) as state.host:
        yield state


@pytest.fixture
def keys(tmp_path, monkeypatch) -> Path:
    """A key with a passphrase, which OpenSSH asks a program for where there is no terminal, and its public half."""
    key, ask = tmp_path / "key", tmp_path / "ask"
    subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", CANARIES["PASSPHRASE"], "-C", "", "-f", key], check=True)
    ask.write_text('#!/bin/sh\necho "$PASSPHRASE"\n', encoding="utf-8")
    ask.chmod(0o755)
    monkeypatch.setenv("SSH_ASKPASS", str(ask))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    return key


def test_no_secret_is_written_by_runs_that_fail_and_runs_that_do_not(project: Project, guarded, keys, monkeypatch):
    url = f"http://me:${{PASSWORD}}@{guarded.host}/${{TOKEN}}/rides.csv?key=${{TOKEN}}"
    whole = address._VARIABLE.sub(lambda found: quote(CANARIES[found[1]], safe=""), url)
    environment = {"SOURCE": whole, "SIGNOFF_VERBOSE": "1", "MLFLOW_TRACKING_USERNAME": "me"}
    for name, value in {**CANARIES, **environment}.items():
        monkeypatch.setenv(name, value)
    signers = project.folder / "signers"
    signers.write_text(f"ada {keys.with_suffix('.pub').read_text('utf-8')}", encoding="utf-8")
    mail = "mailto://me:${SMTP_PASSWORD}@127.0.0.1:9?from=a@example.org&to=b@example.org"
    project.configure(
        raw_data_source_url="${SOURCE}",
        reader={"on_unreachable": "stop"},
        notify={"urls": [mail, "json://127.0.0.1:9/${HOOK_TOKEN}"], "command": 'echo "$HOOK_TOKEN is wrong"; exit 3'},
        tracking={"mlflow_uri": "http://127.0.0.1:9"} if find_spec("mlflow") else {},
        release={"allowed_signers": "signers"},
    )
    said = []

    def run(name: str, *words: object, expected: str = "") -> None:
        said.append(project.script(name, *words, check=False).stdout)
        assert expected in said[-1], said[-1]

    run("weekly", expected="Verdict     passed")
    assert guarded.asked and not guarded.refused
    said.append(project.snakemake("reports/final_report.md", "--verbose", "--printshellcmds").stdout)
    decision = ["--reviewer", "ada", "--decision", "approve", "--comment", "c", "--key"]
    run("sign_off", *decision, signers, expected="ssh-keygen cannot sign")
    run("sign_off", *decision, keys, expected="next: make deploy")
    run("deploy", expected="completed")
    run("verify", expected="(signed)")
    guarded.mode = "refusal"
    run("weekly", expected="answered 403")
    guarded.mode = "gone"
    words = ["--input", "${SOURCE}", "--output", "data/raw/raw_data.csv", "--on-unreachable", "stop"]
    run("ingest_data", *words, "--log", "logs/ingest_data.log", expected="cannot be reached")
    assert all("Traceback" in each for each in said[2:3] + said[-2:])
    run("status", expected="Release")
    assert leaks(project.folder.parent, *said) == []
    # The search finds what is there.
    (project.folder / "x").write_text(quote(CANARIES["TOKEN"]), encoding="utf-8")
    assert leaks(project.folder) == [f"TOKEN in {project.folder / 'x'}"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:hunter22@host/db", "postgresql://***@host/db"),
        ("postgresql://ada@host/db?password=hunter22", "postgresql://***@host/db?password=***"),
        ("https://hunter22@host/a.csv", "https://***@host/a.csv"),
        ("https://host/a.csv?week=3&access_token=hunter22", "https://host/a.csv?week=3&access_token=***"),
        ("https://host/a.csv?X-Amz-Signature=hunter22", "https://host/a.csv?X-Amz-Signature=***"),
        ("https://host/a.csv?session=hunter22&week=3", "https://host/a.csv?session=***&week=3"),
        ("https://host/a.csv?week=3#code=hunter22", "https://host/a.csv?week=3#code=***"),
        ("https://host/a.csv;jsessionid=hunter22?week=3", "https://host/a.csv;jsessionid=***?week=3"),
        ("https://host/a.csv?auth_code=hunter22", "https://host/a.csv?auth_code=***"),
        ("mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3Dhunter22", "mssql+pyodbc:///?odbc_connect=***"),
    ],
)
def test_a_secret_in_the_config_itself_is_refused_and_not_repeated(url, shown):
    for key, changes in {
        "raw_data_source_url": {"raw_data_source_url": url},
        "notify.urls.1": {"notify": {"urls": ["json://host", url]}},
    }.items():
        with pytest.raises(TaskError) as told:
            check_config({"raw_data_source_url": "a.csv", "target": "y", **changes}, SCHEMA)
        assert str(told.value).startswith(f"{key} {shown} holds a password or a token. Put it into an environment")
        assert "hunter22" not in str(told.value)
    for sign in ("hunter22", "PWD%3Dhunter22"):
        url = url.replace(sign, sign.replace("hunter22", "${SECRET}"))
    check_config({"raw_data_source_url": url, "target": "y", "notify": {"urls": [url, "${CHAT}"]}}, SCHEMA)


@pytest.mark.parametrize(
    "name", ["postal_code", "country_code", "codes", "session_date", "postcode", "side", "zip.code"]
)
def test_a_parameter_whose_name_resembles_that_of_a_secret_is_accepted(name):
    check_config({"raw_data_source_url": f"https://host/a.csv?{name}=12#{name}=13", "target": "y"}, SCHEMA)


def test_a_traceback_shows_no_secret_that_only_the_server_knew(tmp_path, monkeypatch):
    args = command_line.arguments("x").parse_args(["--log", str(tmp_path / "x.log"), "--verbose"])
    handlers = logging.getLogger().handlers[:]
    with pytest.raises(SystemExit), command_line.logged("x", args, "y"):
        try:
            raise OSError("url: /a.csv?week=3&X-Amz-Signature=hunter22&code=hunter22 (of https://me:hunter22@host/a)")
        except OSError as error:
            raise TaskError("cannot be reached") from error
    logging.getLogger().handlers[:] = handlers
    text = (tmp_path / "x.log").read_text(encoding="utf-8")
    assert "/a.csv?week=3&X-Amz-Signature=***&code=*** (of https://***@host/a)" in text and "hunter22" not in text
