"""Ingest: what is read, how it is checked, and what a bad source leaves untouched."""

import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import ROOT, rides, run, script
from signoff.base.config import ReaderConfig
from signoff.base.errors import TaskError
from signoff.source.address import Unreachable, shown
from signoff.source.checks import _mentions_infinity
from signoff.source.fetch import source_version
from signoff.source.ingest import ingest_data
from signoff.source.last_ingest import age
from signoff.source.web import _response, _seconds
from signoff.tables.table import read_table

GOOD = b"when,km,minutes\n2024-01-01,1.5,3\n2024-01-02,2.5,5\n2024-01-03,,7\n"


def zipped(members: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return target.getvalue()


def parquet(frame: pd.DataFrame) -> bytes:
    target = io.BytesIO()
    frame.to_parquet(target)
    return target.getvalue()


def test_a_csv_file_is_ingested_without_pandas_whose_import_takes_longer_than_that(tmp_path):
    rides(200).to_csv(tmp_path / "rides.csv", index=False)
    words = ["--input=rides.csv", "--output=raw.csv", "--target=minutes"]
    code = f"import sys, ingest_data; ingest_data.main({words}); print('pandas' in sys.modules)"
    done = run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "scripts")})
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "False", done.stdout
    assert (tmp_path / "raw.csv").read_bytes() == (tmp_path / "rides.csv").read_bytes()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rides.csv", GOOD),
        ("rides.csv.gz", gzip.compress(GOOD, mtime=0)),
        ("rides.csv.xz", lzma.compress(GOOD)),
        ("rides.csv.zip", zipped({"rides.csv": GOOD, "readme.txt": b"hello"})),
        ("no_suffix", gzip.compress(GOOD, mtime=0)),
    ],
    ids=["plain", "gzip", "xz", "zip", "no suffix"],
)
def test_a_file_of_each_kind_arrives_byte_by_byte_with_its_record(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    output = tmp_path / "data/raw/raw_data.csv"
    record = ingest_data(str(tmp_path / name), output, "minutes")
    assert output.read_bytes() == GOOD
    assert record == json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    assert record["sha256"] == hashlib.sha256(GOOD).hexdigest()
    assert record["source_sha256"] == hashlib.sha256(data).hexdigest()
    assert (record["records"], record["columns"]) == (3, ["when", "km", "minutes"])
    status = (tmp_path / name).stat()
    times = {"mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns}
    version = {**times, "inode": status.st_ino, "size": len(data)}
    assert record["version"] == {str(tmp_path / name): version}
    assert datetime.now(UTC) - datetime.fromisoformat(record["ingested_at"]) < timedelta(minutes=1)
    assert {each.name for each in output.parent.iterdir()} == {"raw_data.csv", "raw_data.json"}


def test_parquet_keeps_every_value(tmp_path):
    frame = pd.DataFrame(
        {
            "when": pd.date_range("2024-01-01", periods=4, freq="h"),
            "city": pd.Categorical(["a, b", 'c"d', None, "e\nf"]),
            "fast": [True, False, True, True],
            "count": pd.array([1, None, 3, 2**53 + 1], dtype="Int64"),
            "y": [0.1, 1e-300, 3.0, -4.25],
        }
    )
    (tmp_path / "a.parquet").write_bytes(parquet(frame))
    ingest_data(str(tmp_path / "a.parquet"), tmp_path / "raw_data.csv", "y")
    table = read_table(tmp_path / "raw_data.csv")
    assert table.kinds == {"when": "date", "city": "text", "fast": "boolean", "count": "number", "y": "number"}
    assert list(table.frame["when"]) == list(frame["when"])
    assert table.frame["city"].fillna("").tolist() == ["a, b", 'c"d', "", "e\nf"]
    assert table.frame["fast"].tolist() == [True, False, True, True]
    assert table.frame["y"].tolist() == frame["y"].tolist()
    assert np.isnan(table.frame["count"][1])


def test_another_delimiter_and_encoding_become_utf8_with_commas(tmp_path):
    (tmp_path / "a.csv").write_bytes('name;"quoted; text";y\r\nKöln;"a;b";1\r\nBonn;c,d;2\r\n'.encode("cp1252"))
    ingest_data(str(tmp_path / "a.csv"), tmp_path / "raw_data.csv", "y", ReaderConfig(delimiter=";", encoding="cp1252"))
    text = (tmp_path / "raw_data.csv").read_text(encoding="utf-8")
    assert text == 'name,quoted; text,y\nKöln,a;b,1\nBonn,"c,d",2\n'


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_not_part_of_a_name(tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes("é,y\n1,2\n3,4\n".encode(encoding))
    read_as = "utf-16" if encoding == "utf-16" else "utf-8"
    assert ingest_data(str(tmp_path / "a.csv"), tmp_path / "raw_data.csv", "y", ReaderConfig(encoding=read_as))[
        "columns"
    ] == [
        "é",
        "y",
    ]


BAD = {
    "empty": (b"", "is empty"),
    "blank": (b"\n\n", "is empty"),
    "header alone": (b"a,y\n", "only a header and no row"),
    "one row": (b"a,y\n1,2\n", "only one row"),
    "wrong delimiter": (b"a;y\n1;2\n3;4\n", 'separated by semicolons. Set reader.delimiter: ";"'),
    "tabs": (b"a\ty\n1\t2\n3\t4\n", r'separated by tabs. Set reader.delimiter: "\t"'),
    "latin-1 bytes": (b"a,y\nx,1\nK\xf6ln,2\n", "line 3 is not utf-8"),
    "utf-16": ("a,y\n1,2\n3,4\n".encode("utf-16"), "Set reader.encoding: utf-16"),
    "missing target": (b"a,goal\n1,2\n3,4\n", "has no column 'y' (the target): there are: a, goal."),
    "misspelt target": (b"a,yy\n1,2\n3,4\n", "did you mean yy?"),
    "constant target": (b"a,y\n1,2\n3,2\n", "the target 'y' is constant: every value is 2"),
    "target of words": (b"a,y\n1,hot\n3,cold\n", "the target 'y' is not a number: 2 of 2 values are like 'hot'"),
    "empty target": (b"a,y\n1,\n3,\n", "the target 'y' has no value"),
    "target alone": (b"y\n1\n3\n", "and nothing to predict it from"),
    "infinite target": (b"a,y\n1,1\n3,-inf\n", "column 'y' holds an infinity (-inf in row 2)"),
    "infinity": (b"a,y\n1,1\n3,2\nInfinity,3\n", "column 'a' holds an infinity (Infinity in row 3)"),
    "infinity far below": (
        b"a,y\n" + b"1,1\n3,2\n" * 200_000 + b"inf,3\n",
        "column 'a' holds an infinity (inf in row 400001)",
    ),
    "duplicate name": (b"a,a,y\n1,2,3\n3,4,5\n", "duplicate column name 'a'"),
    "ragged": (b"a,y\n1,2\n3,4,5\n", "line 3 has 3 fields, the header has 2"),
    "ragged far below": (b"a,y\n" + b"1,1\n3,2\n" * 200_000 + b"3,4,5\n", "line 400002 has 3 fields, the header has 2"),
    "html": (b"<!DOCTYPE html>\n<html>log in</html>", "is an HTML or XML page"),
    "a cut quote": (b'a,y\n1,2\n"3,4\n5,6\n', "line"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_one_line_and_changes_nothing(tmp_path, case):
    data, message = BAD[case]
    output = tmp_path / "raw_data.csv"
    (tmp_path / "source.csv").write_bytes(b"a,y\n1,2\n3,4\n")
    ingest_data(str(tmp_path / "source.csv"), output, "y")
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    (tmp_path / "source.csv").write_bytes(data)
    done = script("ingest_data", "--input", "source.csv", "--output", "raw_data.csv", "--target", "y", cwd=tmp_path)
    assert done.returncode == 1
    error = done.stdout.splitlines()[-1]
    assert " - ERROR - [ingest_data] source.csv" in error
    assert message in error
    assert "Traceback" not in done.stdout
    after = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert after == before | {"source.csv": data}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv.gz", gzip.compress(GOOD * 100, mtime=0)[:-20], "is damaged or incomplete"),
        ("a.csv.xz", lzma.compress(GOOD * 100)[:-20], "is damaged or incomplete"),
        ("a.csv.zip", zipped({"a.csv": GOOD})[:-30], "is damaged or incomplete"),
        ("a.parquet", parquet(rides(50))[:-30], "is damaged or incomplete"),
        (
            "a.csv.gz",
            gzip.compress(GOOD, mtime=0)[:30] + b"\0" * 9 + gzip.compress(GOOD, mtime=0)[39:],
            "is damaged or incomplete",
        ),
        ("a.csv.gz", GOOD, "is named as gzip, but its content is not"),
        ("a.csv.gz", b"<html>moved</html>", "is an HTML or XML page"),
        ("a.csv.zip", zipped({"a.csv": GOOD, "b.csv": GOOD}), "holds 2 CSV files or JSON lines"),
        ("a.xls", b"\xd0\xcf\x11\xe0" + bytes(20), "is a file of the format old Excel"),
    ],
    ids=["cut gzip", "cut xz", "cut zip", "cut parquet", "broken gzip", "no gzip", "html", "two members", "excel"],
)
def test_a_damaged_or_wrong_container_is_refused(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(TaskError, match=message):
        ingest_data(str(tmp_path / name), tmp_path / "out/raw_data.csv")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_table_larger_than_a_batch_is_counted_and_checked_to_its_end(tmp_path):
    lines = "".join(f"{n},{n % 7},{n}\n" for n in range(200_000))
    (tmp_path / "a.csv").write_text("a,b,y\n" + lines, encoding="utf-8")
    assert ingest_data(str(tmp_path / "a.csv"), tmp_path / "raw_data.csv", "y")["records"] == 200_000
    (tmp_path / "a.csv").write_text("a,b,y\n" + lines + "1,inf,3\n", encoding="utf-8")
    with pytest.raises(TaskError, match="inf in row 200001"):
        ingest_data(str(tmp_path / "a.csv"), tmp_path / "raw_data.csv", "y")
    (tmp_path / "a.csv").write_text("a,b,y\n" + lines + "1,3\n", encoding="utf-8")
    with pytest.raises(TaskError, match="line 200002 has 2 fields"):
        ingest_data(str(tmp_path / "a.csv"), tmp_path / "raw_data.csv", "y")


# Remote sources: a real server on the loopback address


def test_a_url_is_streamed_with_its_version(tmp_path, server):
    server.answers = [
        (200, {"ETag": '"v1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, gzip.compress(GOOD, mtime=0))
    ]
    record = ingest_data(f"{server.url}/rides.csv.gz?token=1", tmp_path / "raw_data.csv", "minutes")
    assert (tmp_path / "raw_data.csv").read_bytes() == GOOD
    version = record["version"][f"{server.url}/rides.csv.gz?token=***"]
    assert version["etag"] == '"v1"'
    assert version["last_modified"] == "Mon, 01 Jan 2024 00:00:00 GMT"


def test_two_failures_and_then_a_success_is_a_success(tmp_path, server, caplog):
    server.answers = [(503, {}, b""), (429, {"Retry-After": "2"}, b""), (200, {}, GOOD)]
    assert ingest_data(f"{server.url}/a.csv", tmp_path / "raw_data.csv")["records"] == 3
    assert [message.partition(" Error")[0] for message in caplog.messages] == [
        "Attempt 1/3 failed for download. Retrying in 1.0s...",
        "Attempt 2/3 failed for download. Retrying in 2.0s...",
    ]


def test_a_404_is_not_tried_again(tmp_path, server):
    server.answers = [(404, {}, b"not here")]
    with pytest.raises(TaskError, match=r"answered 404 Not Found\. Correct raw_data_source_url"):
        ingest_data(f"{server.url}/a.csv", tmp_path / "raw_data.csv")
    assert server.requests == ["GET"]


def test_a_server_that_is_down_without_a_good_file_stops(tmp_path, server):
    server.stop()
    done = script("ingest_data", "--input", f"{server.url}/a.csv", "--output", "raw_data.csv", cwd=tmp_path)
    assert done.returncode == 1
    assert "cannot be reached" in done.stdout.splitlines()[-1]
    assert "All 3 attempts failed for download" in done.stdout
    assert not (tmp_path / "raw_data.csv").exists()


def test_a_server_that_is_down_with_a_good_file_goes_on_or_stops_as_told(tmp_path, server):
    server.answers = [(200, {}, GOOD)]
    url, output = f"{server.url}/a.csv", tmp_path / "raw_data.csv"
    first = ingest_data(url, output)
    server.stop()
    done = script("ingest_data", "--input", url, "--output", output, cwd=tmp_path)
    assert done.returncode == 0
    assert "WARNING - [ingest_data]" in done.stdout
    assert f"going on with {output}, ingested 0 minutes ago ({first['ingested_at']})" in done.stdout
    done = script("ingest_data", "--input", url, "--output", output, "--on-unreachable", "stop", cwd=tmp_path)
    assert done.returncode == 1
    assert output.read_bytes() == GOOD
    # The good file must be of this very source.
    with pytest.raises(TaskError, match="cannot be reached"):
        ingest_data(f"{server.url}/other.csv", output)


def test_a_cut_transfer_is_tried_again_and_never_taken_for_whole(tmp_path, server):
    output = tmp_path / "raw_data.csv"
    cut = (200, {"Content-Length": str(len(GOOD))}, GOOD[:-20])
    server.answers = [cut, (200, {}, GOOD)]
    assert ingest_data(f"{server.url}/a.csv", output)["records"] == 3
    server.answers = [cut]
    with pytest.raises(TaskError, match=r"the transfer of .* was cut"):
        ingest_data(f"{server.url}/a.csv", output)
    assert output.read_bytes() == GOOD


def test_a_login_page_is_not_a_table(tmp_path, server):
    server.answers = [(200, {"Content-Type": "text/html"}, b"\n <html><body>Please log in</body></html>")]
    with pytest.raises(TaskError, match="is an HTML or XML page"):
        ingest_data(f"{server.url}/a.csv", tmp_path / "raw_data.csv")


def test_a_stalled_server_times_out(tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TaskError, match=r"Read timed out|timed out"):
        ingest_data(
            f"http://127.0.0.1:{silent.getsockname()[1]}/a.csv",
            tmp_path / "raw_data.csv",
            reader=ReaderConfig(timeout_s=0.2),
        )


@pytest.mark.parametrize("url", ["http://[::1/a.csv", "http://127.0.0.1:port/a.csv"])
def test_a_wrong_url_is_one_line(tmp_path, url):
    done = script("ingest_data", "--input", url, "--output", "raw_data.csv", cwd=tmp_path)
    assert done.returncode == 1
    assert "Correct raw_data_source_url" in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stdout


def test_an_encoding_that_is_none_of_text_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(GOOD)
    with pytest.raises(TaskError, match="Python knows no encoding 'hex'"):
        ingest_data(str(tmp_path / "a.csv"), tmp_path / "raw_data.csv", reader=ReaderConfig(encoding="hex"))


def test_an_unknown_scheme_is_refused(tmp_path):
    with pytest.raises(TaskError, match="cannot read gopher://"):
        ingest_data("gopher://example.org/a.csv", tmp_path / "raw_data.csv")


def test_a_password_in_a_url_is_not_shown(tmp_path, server):
    server.answers = [(200, {}, GOOD)]
    url = server.url.replace("://", "://me:secret@") + "/a.csv"
    assert "secret" not in json.dumps(ingest_data(url, tmp_path / "raw_data.csv"))
    assert shown(url) == server.url.replace("://", "://***@") + "/a.csv"


def test_the_version_follows_the_content_of_a_local_file(tmp_path):
    source, data = tmp_path / "a.csv", tmp_path / "data/raw_data.csv"
    source.write_bytes(GOOD)
    before = source_version(str(source), data)
    ingest_data(str(source), data)
    assert source_version(str(source), data) == before
    source.touch()
    assert source_version(str(source), data) == before
    source.write_bytes(GOOD + b"2024-01-04,1,1\n")
    assert source_version(str(source), data) != before
    source.unlink()
    assert source_version(str(source), data).startswith("error: ")


def copied_over(old: Path, new: Path) -> None:
    """Do as `cp -p`."""
    shutil.copy2(new, old)


def moved_over(old: Path, new: Path) -> None:
    """Do as `mv`, and as `tar` does."""
    new.replace(old)


def linked(old: Path, new: Path) -> None:
    """Do as `ln -sfn`."""
    old.unlink()
    old.symlink_to(new)


@pytest.mark.parametrize("replace", [copied_over, moved_over, linked])
def test_other_content_of_the_same_size_and_time_is_another_version(tmp_path, replace):
    source, new, data = tmp_path / "a.csv", tmp_path / "new.csv", tmp_path / "data/raw_data.csv"
    source.write_bytes(GOOD)
    new.write_bytes(GOOD[::-1])
    for each in (source, new):
        os.utime(each, (1_700_000_000, 1_700_000_000))
    ingest_data(str(source), data)
    before = source_version(str(source), data)
    replace(source, new)
    assert source.stat().st_mtime == 1_700_000_000 and source.stat().st_size == len(GOOD)
    assert source_version(str(source), data) != before


@pytest.mark.parametrize("headers", [{"ETag": '"v1"'}, {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, {}])
def test_the_version_follows_the_content_of_a_remote_file(tmp_path, server, headers):
    url, data = f"{server.url}/a.csv", tmp_path / "raw_data.csv"
    server.answers = [(200, headers, GOOD)]
    before = source_version(url, data)
    ingest_data(url, data)
    assert source_version(url, data) == before
    changed = {name: value.replace("1", "2") for name, value in headers.items()}
    server.answers = [(200, changed, GOOD + b"2024-01-04,1,1\n")]
    assert source_version(url, data) != before
    server.answers = [(501, {}, b""), (200, headers, GOOD)]
    assert source_version(url, data) == before
    server.stop()
    assert source_version(url, data) == before
    assert source_version(url, data, ReaderConfig(on_unreachable="stop")).startswith("unreachable: ")
    assert source_version(url, tmp_path / "other.csv").startswith("unreachable: ")


def test_retry_after_is_seconds_or_a_date_and_bounded():
    assert _seconds("7") == 7
    assert _seconds("99999") == 300
    assert _seconds("soon") is None
    assert _seconds("Mon, 01 Jan 2001 00:00:00 GMT") == 0
    assert _seconds(None) is None


def test_a_5xx_answer_carries_its_retry_after(server):
    server.answers = [(503, {"Retry-After": "3"}, b"")]
    with pytest.raises(Unreachable) as raised, _response(server.url):
        pass
    assert raised.value.retry_after == 3


@pytest.mark.parametrize("word", ["inf", "-Inf", "+INF", "Infinity", "INFINITY"])
def test_an_infinity_is_found_wherever_the_pieces_end_that_a_file_is_read_in(tmp_path, word):
    path = tmp_path / "a.csv"
    for before in range(1 << 20, (1 << 20) - 5, -1):
        path.write_text(f"a,y\n1,1\n{' ' * (before - 8)}{word},3\n", encoding="utf-8")
        assert _mentions_infinity(path)
    path.write_text("a,y\n1,1\ni n f,3\nI,Nf\n", encoding="utf-8")
    assert not _mentions_infinity(path)


def test_words_that_begin_as_an_infinity_are_none(tmp_path):
    (tmp_path / "a.csv").write_text("a,y,b\ninfo,1,2\nInfinity Ltd,2,3\n", encoding="utf-8")
    assert ingest_data(str(tmp_path / "a.csv"), tmp_path / "raw_data.csv", "y")["records"] == 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 minutes"), (60, "1 minute"), (3_600, "1 hour"), (90_000, "25 hours"), (172_800, "2 days")],
)
def test_the_age_of_data_is_a_number_with_its_unit(seconds, words):
    at = datetime.now(UTC) - timedelta(seconds=seconds)
    assert age(at.isoformat()) == words
