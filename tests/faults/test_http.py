"""A source behind HTTP that does what servers and networks do: a real one, on the loopback address."""

import gzip
import io
import json
import lzma
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from conftest import ROOT
from signoff.base.config import ReaderConfig
from signoff.base.errors import TaskError
from signoff.source import web
from signoff.source.address import Unreachable
from signoff.source.fetch import source_version
from signoff.source.ingest import ingest_data

GOOD = b"when,km,minutes\n2024-01-01,1.5,3\n2024-01-02,2.5,5\n2024-01-03,,7\n"
QUICK = ReaderConfig(timeout_s=0.5)


def whole(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """Return the bytes of a correct answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Raw:
    """A server that hands each connection to `answer`, with the request that came, and counts them."""

    def __init__(self, answer: Callable[[socket.socket, str], None], tls: ssl.SSLContext | None = None):
        self.answer, self.tls, self.requests, self.stopped = answer, tls, [], threading.Event()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://localhost:{self.port}/a.csv"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self.handle, args=(connection,), daemon=True).start()

    def handle(self, connection: socket.socket) -> None:
        try:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536) or b"\r\n\r\n"
            text = request.decode("latin-1")
            self.requests.append(text.partition("\r\n")[0])
            self.answer(connection, text)
            # Sent, not reset: what the client has not read yet would be lost.
            connection.shutdown(socket.SHUT_WR)
            connection.recv(65536)
        except OSError:
            """The client has gone, or the answer has closed the connection itself."""
        finally:
            connection.close()


@pytest.fixture
def serve():
    """Start a `Raw` server whose answer is a function or bytes; stop it after the test."""
    started = []

    def start(answer: Callable | bytes, tls: ssl.SSLContext | None = None) -> Raw:
        function = (lambda connection, _: connection.sendall(answer)) if isinstance(answer, bytes) else answer
        started.append(Raw(function, tls))
        return started[-1]

    yield start
    for each in started:
        each.stopped.set()
        each.listening.close()


@pytest.fixture
def output(tmp_path) -> Path:
    """Where a table of an earlier run is, which no failure may touch."""
    (tmp_path / "before.csv").write_bytes(b"old,minutes\n1,2\n3,4\n")
    path = tmp_path / "data/raw_data.csv"
    ingest_data(str(tmp_path / "before.csv"), path)
    return path


def refused(url: str, output: Path, reader: ReaderConfig = QUICK) -> str:
    """Return why a source was refused, after checking that the files of the run before are as they were."""
    before = {each: each.read_bytes() for each in output.parent.iterdir()}
    with pytest.raises(TaskError) as raised:
        ingest_data(url, output, reader=reader)
    assert {each: each.read_bytes() for each in output.parent.iterdir()} == before
    return str(raised.value)


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "410 Gone"])
def test_an_answer_that_asking_again_does_not_change_is_asked_for_once(serve, output, status):
    server = serve(whole(b"no", status))
    line = refused(server.url, output)
    assert f"answered {status}. Correct raw_data_source_url in the config" in line
    assert ("password or token" in line) == status.startswith(("401", "403"))
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", ["408 Request Timeout", "429 Too Many", "500 Oops", "502 Bad Gateway", "503 Busy"])
def test_an_answer_that_can_pass_by_itself_is_asked_for_again(serve, output, status):
    server = serve(whole(b"later", status))
    assert f"answered {status}" in refused(server.url, output)
    assert len(server.requests) == 3
    busy = serve(lambda connection, _: connection.sendall(whole(b"", status) if busy.first() else whole(GOOD)))
    busy.first = iter([True, True, False]).__next__
    assert ingest_data(busy.url, output)["records"] == 3
    assert output.read_bytes() == GOOD


def test_the_wait_that_a_server_asks_for_is_waited(serve, output, caplog):
    asked = [whole(b"", "429 Too Many", "Retry-After: 7"), whole(b"", "503 Busy", "Retry-After: 4")]
    answers = iter([*asked, whole(GOOD)])
    server = serve(lambda connection, _: connection.sendall(next(answers)))
    ingest_data(server.url, output)
    assert [re.search(r"Retrying in (\S+)s\.\.\.", line)[1] for line in caplog.messages] == ["7.0", "4.0"]


@pytest.mark.parametrize("status", ["206 Partial Content", "204 No Content", "304 Not Modified", "300 Choices"])
def test_an_answer_without_the_whole_file_is_refused(serve, output, status):
    """A part of a table may well look like a whole one."""
    assert f"answered {status}" in refused(serve(whole(GOOD, status)).url, output)


def reset(connection: socket.socket, _request: str) -> None:
    """Send half a body, then have the system send a reset."""
    connection.sendall(whole(GOOD)[:-30])
    time.sleep(0.05)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def stalled(connection: socket.socket, _request: str) -> None:
    connection.sendall(whole(GOOD)[:-30])
    time.sleep(5)


CUT = {
    "reset in mid-body": reset,
    "stalled in mid-body": stalled,
    "shorter than announced": whole(GOOD)[:-1],
    "a chunk that is cut": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(GOOD) + GOOD[:-9],
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(GOOD) + GOOD + b"\r\n",
}


@pytest.mark.parametrize("case", CUT)
def test_a_body_that_ends_early_is_asked_for_again_and_never_taken_for_whole(serve, output, case):
    server = serve(CUT[case])
    assert "was cut after" in refused(server.url, output)
    assert len(server.requests) == 3


BROKEN = {
    "closed without a word": lambda connection, _: connection.close(),
    "no HTTP": b"220 mail.example.org ESMTP\r\n\r\n",
    "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\nConnection: close\r\n\r\n",
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_answer_that_is_not_http_is_reported_in_one_line(serve, output, case):
    line = refused(serve(BROKEN[case]).url, output)
    assert re.search("cannot be reached|is empty|raw_data_source_url", line), line
    assert "\n" not in line


def drop(connection: socket.socket, data: bytes, stopped: threading.Event) -> None:
    """Send five bytes a second: no single wait is long."""
    for each in data:
        if stopped.wait(0.2):
            return
        connection.sendall(bytes([each]))


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_source_that_drips_is_given_up_in_time(serve, output, where):
    def answer(connection: socket.socket, _request: str) -> None:
        answered = whole(GOOD * 50)
        at_once = 0 if where == "head" else len(answered) - len(GOOD * 50)
        connection.sendall(answered[:at_once])
        drop(connection, answered[at_once:], server.stopped)

    server = serve(answer)
    reader = ReaderConfig(timeout_s=2, max_seconds=0.6)
    started = time.monotonic()
    assert "had not arrived after 0.6 s" in refused(server.url, output, reader)
    assert source_version(server.url, output, reader=reader).startswith("error: ")
    # Once for the file, and for its version with HEAD and with GET, each of them once.
    assert time.monotonic() - started < 8
    assert len(server.requests) == 3
    time.sleep(0.3)
    assert output.read_bytes().startswith(b"old,minutes")


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", content)
    return file.getvalue()


def parquet_bomb() -> bytes:
    """Return 60 kB of Parquet with 200,000 rows of one and the same 10 kB."""
    column = pa.array(["x" * 10_000]).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 200_000, pa.int32()), column.dictionary)
    file = io.BytesIO()
    pa.parquet.write_table(pa.table({"a": column, "y": range(200_000)}), file)
    return file.getvalue()


LIMITED = 20_000_000
LINES = b"a,y\n" + b"1,2\n" * 50_000_000
BOMBS = {
    "a body without an end": ("a.csv", lambda: LINES),
    "gzip": ("a.csv.gz", lambda: gzip.compress(LINES, 1)),
    "gzip of zeros": ("a.csv.gz", lambda: gzip.compress(bytes(200_000_000), 1)),
    "xz": ("a.csv.xz", lambda: lzma.compress(LINES, preset=0)),
    "zip": ("a.csv.zip", lambda: zipped(LINES)),
    "parquet": ("a.parquet", parquet_bomb),
}
MEASURED = """
import sys
import ingest_data
try:
    ingest_data.main(sys.argv[1:])
finally:
    print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def measured(url: str, output: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Ingest a source in a process of its own, which prints how much memory it has used, in kB."""
    command = [sys.executable, "-c", MEASURED, "--input", url, "--output", str(output), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "scripts", check=False, timeout=120)


@pytest.mark.parametrize("case", BOMBS)
def test_what_is_larger_than_allowed_is_cut_off_on_disk_and_in_memory(serve, output, case):
    """Twenty million bytes are allowed, two hundred million come."""
    name, make = BOMBS[case]
    url = serve(whole(make())).url.replace("a.csv", name)
    done = measured(url, output, f"--max-bytes={LIMITED}")
    assert done.returncode == 1, done.stderr
    error = done.stderr.splitlines()[-1]
    assert "is larger than 20,000,000 bytes" in error, error
    assert "reader.max_bytes" in error
    assert "Traceback" not in done.stderr
    assert {each.name for each in output.parent.iterdir()} == {"raw_data.csv", "raw_data.json"}
    assert int(done.stdout) < 400_000, "kB"


def test_what_unpacks_to_one_endless_line_is_refused_without_reading_it(serve, output):
    url = serve(whole(gzip.compress(b"a," * 100_000_000, 1))).url + ".gz"
    done = measured(url, output)
    assert done.returncode == 1
    assert "the row that begins in line 1 is longer than 1,048,576 characters" in done.stderr.splitlines()[-1]
    assert int(done.stdout) < 400_000, "kB"


def test_a_gzip_that_is_broken_on_the_way_is_refused(serve, output):
    packed = bytearray(gzip.compress(os.urandom(2000).hex().encode()))
    packed[1000] ^= 1
    assert "is damaged or incomplete" in refused(serve(whole(bytes(packed))).url + ".gz", output)


def test_a_page_of_html_is_not_a_table(serve, output):
    page = whole(b"<!doctype html><title>Sign in</title>", "200 OK", "Content-Type: text/html")
    assert "is an HTML or XML page" in refused(serve(page).url, output)


def test_a_file_that_changes_between_two_requests_is_taken_whole_and_noticed(serve, output):
    """The version is asked for before the file: what arrives may be newer, and is one or the other."""
    states = iter([GOOD, GOOD + b"2024-01-04,1,1\n"])
    state = next(states)

    def answer(connection: socket.socket, request: str) -> None:
        connection.sendall(whole(b"" if request.startswith("HEAD") else state, "200 OK", f'ETag: "{len(state)}"'))

    server = serve(answer)
    asked = source_version(server.url, output)
    state = next(states)
    record = ingest_data(server.url, output)
    assert output.read_bytes() == state
    # Snakemake has noted the version before, so the next run ingests once more, and finds the same bytes.
    assert asked != source_version(server.url, output) == record["source_version"]
    again = ingest_data(server.url, output)
    assert (again["sha256"], again["ingested_at"]) == (record["sha256"], record["ingested_at"])


# Redirects


def to(location: str, status: str = "302 Found") -> bytes:
    return whole(b"", status, f"Location: {location}")


@pytest.mark.parametrize(
    ("host", "private"),
    [
        *((each, True) for each in ("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254")),
        *((each, True) for each in ("0.0.0.0", "100.64.0.1", "::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1")),
        *((each, True) for each in ("localhost", "2130706433", "0x7f.1")),
        *((each, False) for each in ("8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8")),
    ],
)
def test_which_addresses_are_private(host, private):
    assert web._is_private(host) is private


def test_a_name_with_one_private_address_among_public_ones_is_private(monkeypatch):
    """Which of them is asked is not for the name's owner to choose."""
    found = [(2, 1, 6, "", (address, 0)) for address in ("8.8.8.8", "10.1.2.3")]
    monkeypatch.setattr(web.socket, "getaddrinfo", lambda *_: found)
    assert web._is_private("example.org")
    monkeypatch.setattr(web.socket, "getaddrinfo", lambda *_: found[:1])
    assert not web._is_private("example.org")


@pytest.fixture
def localhost_is_public(monkeypatch):
    """Have the name localhost count as one of the public network, so that 127.0.0.1 is the private address behind."""
    known = web._is_private
    monkeypatch.setattr(web, "_is_private", lambda host: host != "localhost" and known(host))


def test_a_redirect_from_a_public_address_to_a_private_one_is_not_followed(serve, output, localhost_is_public):
    inside = serve(whole(GOOD))
    there = f"http://127.0.0.1:{inside.port}/latest/meta-data"
    server = serve(to(there))
    line = refused(server.url, output)
    assert f"redirects to {there}, from a public address to a private one: not followed" in line
    assert "reader.redirects: any" in line
    assert inside.requests == []
    assert source_version(server.url, output).startswith("error: ")
    assert inside.requests == []
    # By way of another public one.
    assert "not followed" in refused(serve(to(server.url)).url, output)
    assert ingest_data(server.url, output, reader=ReaderConfig(redirects="any"))["records"] == 3


def test_a_redirect_within_the_private_network_or_the_public_one_is_followed(serve, output, localhost_is_public):
    server = serve(whole(GOOD))
    here = f"http://127.0.0.1:{serve(to(f'http://127.0.0.1:{server.port}/b.csv')).port}/a.csv"
    for url in (here, serve(to(server.url, "308 Permanent Redirect")).url):
        assert ingest_data(url, output)["records"] == 3


@pytest.mark.parametrize("there", ["file:///etc/passwd", "ftp://127.0.0.1/a.csv", "gopher://127.0.0.1:70/_x"])
def test_a_redirect_off_http_is_never_followed(serve, output, there):
    for redirects in ("safe", "any"):
        line = refused(serve(to(there)).url, output, ReaderConfig(redirects=redirects))
        assert there.partition(":")[0] in line
        assert "raw_data_source_url" in line
        # Ours comes first; where it is told to be silent, requests follows to no other scheme by itself.
        assert (f"from http to {there.partition(':')[0]}: not followed" in line) == (redirects == "safe")


def test_redirects_without_an_end_are_one_line(serve, output):
    server = serve(lambda connection, _: connection.sendall(to(server.url)))
    assert "redirects" in refused(server.url, output)


def test_a_password_is_not_sent_on_to_another_host(serve, output):
    asked = []
    other = serve(lambda connection, request: (asked.append(request), connection.sendall(whole(GOOD))))
    server = serve(to(f"http://127.0.0.1:{other.port}/b.csv"))
    ingest_data(server.url.replace("://", "://me:secret@"), output)
    assert "authorization" not in asked[0].lower()


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate for localhost that nobody but itself has signed, with its key."""
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(path), "-out", str(path.with_suffix(".crt")), "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


@pytest.fixture
def tls(certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_certificate_that_does_not_verify_stops_at_once_and_old_data_are_not_used(serve, output, tls):
    server = serve(whole(GOOD), tls)
    output.with_suffix(".json").write_text(
        json.dumps(json.loads(output.with_suffix(".json").read_text()) | {"source": server.url})
    )
    line = refused(server.url, output)
    assert "its certificate does not verify (" in line
    assert "REQUESTS_CA_BUNDLE" in line
    assert server.requests == []
    assert source_version(server.url, output).startswith("error: ")


def test_a_certificate_of_another_host_does_not_verify(serve, output, tls, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.with_suffix(".crt")))
    server = serve(whole(GOOD), tls)
    assert ingest_data(server.url, output)["records"] == 3
    assert "its certificate does not verify" in refused(server.url.replace("localhost", "127.0.0.1"), output)


def test_a_redirect_from_https_to_http_is_not_followed(serve, output, tls, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.with_suffix(".crt")))
    plain = serve(whole(GOOD))
    server = serve(to(plain.url), tls)
    assert "from https to http: not followed" in refused(server.url, output)
    assert plain.requests == []
    assert ingest_data(server.url, output, reader=ReaderConfig(redirects="any"))["records"] == 3
    # The other way round is for the better.
    assert ingest_data(serve(to(serve(whole(GOOD), tls).url)).url, output)["records"] == 3


def test_a_server_that_speaks_no_tls_may_be_back(serve, output):
    with pytest.raises(Unreachable), web._response(serve(whole(GOOD)).url.replace("http:", "https:"), reader=QUICK):
        pass
