"""Formats of sources besides CSV: each gives the rows that CSV gives, and none takes memory without bound."""

import bz2
import gzip
import json
import lzma
import re
import subprocess
import zipfile
from pathlib import Path

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet
import pytest

from conftest import ROOT, in_process, program, rides
from signoff.base.config import ReaderConfig
from signoff.base.errors import TaskError
from signoff.source.ingest import ingest_data

LINES = b'{"a":1.50,"b":"x, y","y":1}\n\n{"y":2e3,"c":true,"a":null}\n'


def raw(source: Path, tmp_path: Path, **reader) -> str:
    """Return the table that is ingested from a source."""
    ingest_data(str(source), tmp_path / "raw.csv", None, ReaderConfig(**reader))
    return (tmp_path / "raw.csv").read_text(encoding="utf-8")


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def zipped(data: bytes, path: Path, member: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, data)


PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}


@pytest.mark.parametrize("suffix", PACK)
def test_text_is_read_in_each_compression(tmp_path, suffix):
    text = rides(3000).to_csv(index=False).encode()
    (tmp_path / f"a.csv{suffix}").write_bytes(PACK[suffix](text))
    assert raw(tmp_path / f"a.csv{suffix}", tmp_path) == text.decode()
    (tmp_path / f"b.jsonl{suffix}").write_bytes(PACK[suffix](LINES))
    assert raw(tmp_path / f"b.jsonl{suffix}", tmp_path) == 'a,b,y,c\n1.50,"x, y",1,\n,,2e3,true\n'
    if suffix:
        (tmp_path / f"c.csv{suffix}").write_bytes(PACK[suffix](text)[:-20])
        with pytest.raises(TaskError, match="is damaged or incomplete"):
            raw(tmp_path / f"c.csv{suffix}", tmp_path)


def test_xz_of_several_streams_is_read_to_its_end(tmp_path):
    (tmp_path / "a.csv.xz").write_bytes(lzma.compress(b"a,y\n1,2\n") + bytes(4) + lzma.compress(b"3,4\n"))
    assert raw(tmp_path / "a.csv.xz", tmp_path) == "a,y\n1,2\n3,4\n"


def test_gzip_is_read_to_its_end_after_a_header_of_any_length(tmp_path):
    # Several pieces of output from a few bytes of input, and a header that is longer than a piece.
    text = b"a,y\n" + b"1,2\n" * 200_000
    named = gzip.compress(text, mtime=0)
    named = named[:3] + b"\x08" + named[4:10] + b"n" * (1 << 17) + b"\0" + named[10:]
    path = tmp_path / "a.csv.gz"
    path.write_bytes(named)
    assert raw(path, tmp_path).encode() == text
    # The digest and the length at its end are checked.
    for damaged in (named[:-1], named[:-8], named[:-8] + bytes(8), named[:-1] + b"\1"):
        path.write_bytes(damaged)
        with pytest.raises(TaskError, match="is damaged or incomplete"):
            raw(path, tmp_path)


@pytest.mark.parametrize("pack", [lzma.compress, bz2.compress, gzip.compress, lambda text: zstd(text)])
def test_no_row_of_a_later_stream_is_lost(tmp_path, pack):
    path, streams = tmp_path / "a.csv", [pack(b"a,y\n1,2\n"), pack(b"3,4\n")]
    # Padding longer than a piece that is read, in the formats that allow it.
    padding = bytes(1 << 18) if pack in (lzma.compress, gzip.compress) else b""
    path.write_bytes(padding.join(streams))
    assert raw(path, tmp_path) == "a,y\n1,2\n3,4\n"
    path.write_bytes(streams[0] + b"?" + streams[1])
    with pytest.raises(TaskError, match="is damaged or incomplete"):
        raw(path, tmp_path)


def test_json_lines_in_a_zip_are_read(tmp_path):
    zipped(LINES, tmp_path / "a.zip", "a.jsonl")
    assert raw(tmp_path / "a.zip", tmp_path).startswith("a,b,y,c\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a":1}\n{"a":', "line 2 is not JSON"),
        ('{"a":1}\n[1]\n', "line 2 is not a JSON object"),
        ('[\n{"a":1},\n{"a":2}]\n', "line 1 is not JSON"),
        ('{"a":1}\n{"a":[1]}\n', "line 2: 'a' holds a list or an object"),
        ('{"a":{"b":1}}\n', "line 1: 'a' holds a list or an object"),
        ('{"a":1,"a":2}\n', "line 1 names a key more than once"),
        ('{"a":1}\n{"a":"' + "x" * (1 << 20) + '"}\n', "line 2 is longer than 1,048,576 bytes"),
        ('{"a":' + "[" * 100_000 + "\n", "line 1 is not JSON"),
    ],
)
def test_what_is_wrong_with_json_lines_is_one_line(tmp_path, text, said):
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(TaskError, match=said):
        raw(tmp_path / "a.jsonl", tmp_path)


def write_feather(frame: pd.DataFrame, path: Path) -> None:
    pyarrow.feather.write_feather(frame, path, compression="zstd")


def write_orc(frame: pd.DataFrame, path: Path) -> None:
    pyarrow.orc.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)


def write_excel(frame: pd.DataFrame, path: Path) -> None:
    frame.to_excel(path, index=False)


COLUMNS = {"a.feather": write_feather, "a.arrow": write_feather, "a.orc": write_orc, "a.xlsx": write_excel}


@pytest.mark.parametrize("name", COLUMNS)
def test_tables_of_other_programs_keep_every_value(tmp_path, name):
    frame = rides(2500).assign(started=pd.to_datetime(rides(2500)["started"]), fast=lambda table: table["km"] > 10)
    COLUMNS[name](frame, tmp_path / name)
    raw(tmp_path / name, tmp_path)
    found = pd.read_csv(tmp_path / "raw.csv", parse_dates=["started"])
    pd.testing.assert_frame_equal(found, frame, check_dtype=False)


def test_the_first_sheet_of_an_excel_file_is_read_or_the_one_that_is_named(tmp_path):
    book = openpyxl.Workbook()
    book.active.title = "first"
    for row in (["a", "y", None], [1, "x,\ny"], [None, None], [True, "#N/A"], [0.1, None, None]):
        book.active.append(row)
    book.create_sheet("2024").append(["b", "y"])
    book["2024"].append([1, 2])
    book.save(tmp_path / "a.xlsx")
    assert raw(tmp_path / "a.xlsx", tmp_path) == 'a,y\n1,"x,\ny"\ntrue,\n0.1,\n'
    assert raw(tmp_path / "a.xlsx", tmp_path, sheet="2024") == "b,y\n1,2\n"
    with pytest.raises(TaskError, match=r"reader\.sheet: .* has no sheet '2025': did you mean 2024\?"):
        raw(tmp_path / "a.xlsx", tmp_path, sheet="2025")
    (tmp_path / "a.csv").write_text("a,y\n1,2\n", encoding="utf-8")
    with pytest.raises(TaskError, match=r"reader\.sheet: .* is not an Excel file"):
        raw(tmp_path / "a.csv", tmp_path, sheet="2025")


@pytest.mark.parametrize(
    ("name", "head", "form"),
    [
        ("a.xls", b"\xd0\xcf\x11\xe0", "old Excel"),
        ("a.feather", b"FEA1", "old Feather"),
        ("a.db", b"SQLite format", "SQL"),
    ],
)
def test_what_is_not_read_is_said_with_what_is(tmp_path, name, head, form):
    (tmp_path / name).write_bytes(head + bytes(100))
    with pytest.raises(TaskError, match=f"of the format {form}.* is not read. CSV or JSON lines .* are read"):
        raw(tmp_path / name, tmp_path)


def test_own_spellings_of_missing_are_empty_cells_in_each_format(tmp_path):
    frame = pd.DataFrame({"a": ["\\N", "x"], "y": ["-999", "1"]})
    (tmp_path / "a.csv").write_text(frame.to_csv(index=False), encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('{"a":"\\\\N","y":-999}\n{"a":"x","y":1}\n', encoding="utf-8")
    write_feather(frame, tmp_path / "a.feather")
    write_excel(frame, tmp_path / "a.xlsx")
    for name in ("a.csv", "a.jsonl", "a.feather", "a.xlsx"):
        found = raw(tmp_path / name, tmp_path, missing=("\\N", "-999")).replace('"', "")
        assert found == "a,y\n,\nx,1\n", name


def test_make_init_reads_json_lines(tmp_path, monkeypatch):
    import init_project

    monkeypatch.chdir(tmp_path)
    records = rides(200).to_dict("records")
    Path("rides.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    code, said, _ = in_process(init_project, "--source=rides.jsonl", "--target=minutes")
    assert code == 0, said
    assert "200 rows, 6 columns" in said


# Bombs


def long_text_bomb(path: Path) -> None:
    """A text that is kept once, and is in every row: 15 GiB of 8 KB."""
    values = pa.array(["x" * (15 << 20)])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 1024, pa.int32()), values)
    pyarrow.parquet.write_table(pa.table({"a": column, "y": range(1024)}), path, compression="zstd")


def long_texts_bomb(path: Path) -> None:
    """A text just short enough to be read, in every row of many: 300 GB."""
    values = pa.array(["x" * (1 << 20)])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 300_000, pa.int32()), values)
    pyarrow.parquet.write_table(pa.table({"a": column, "y": range(300_000)}), path, compression="zstd")


def page_bomb(path: Path) -> None:
    """Half a gigabyte of zeros."""
    column = pa.Array.from_buffers(pa.float64(), 1 << 26, [None, pa.py_buffer(bytes(1 << 29))])
    pyarrow.parquet.write_table(pa.table({"y": column}), path, compression="zstd", use_dictionary=False)


def batch_bomb(path: Path) -> None:
    """One batch of 3 GB of zeros."""
    zeros = pa.py_buffer(bytes(3 << 30))
    column = pa.Array.from_buffers(pa.float64(), (3 << 30) // 8, [None, zeros])
    table = pa.table({"y": column})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(path, table.schema, options=options) as file:
        file.write_table(table)


def sheet_bomb(path: Path) -> None:
    """A file of Excel whose texts unpack to 64 MB."""
    openpyxl.Workbook().save(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("xl/sharedStrings.xml", "w") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))


def text_bomb(path: Path) -> None:
    path.write_bytes(zstd(b"a,y\n" + b"1,2\n" * (1 << 24)))


BOMBS = {
    "a.parquet": (long_text_bomb, "holds a text of 15,728,640 bytes"),
    "b.parquet": (long_texts_bomb, "is larger than 50,000,000 bytes"),
    "c.parquet": (page_bomb, "is larger than 50,000,000 bytes"),
    "a.feather": (batch_bomb, "to unpack|is larger than 50,000,000 bytes"),
    "a.xlsx": (sheet_bomb, "too large, unpacked"),
    "a.csv.zst": (text_bomb, "is larger than 50,000,000 bytes"),
}


def refused(folder: Path, name: str, before: str = "pass", max_bytes: int = 50_000_000) -> tuple[str, float]:
    """Return what is said of a file that is refused, and the peak of memory in MB; Python code may run `before`."""
    assert (folder / name).stat().st_size < 5_000_000
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30)); "
        f"import ingest_data; {before}; "
        f"sys.argv[1:] = ['--input', {name!r}, '--output', 'raw.csv', '--max-bytes', '{max_bytes}']; "
        # Not that of getrusage, which begins with the memory of the process that starts this one.
        "import atexit; atexit.register(lambda: print(open('/proc/self/status').read())); "
        "ingest_data.main()"
    )
    done = subprocess.run(
        [program("python"), "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT / "scripts"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "raw.csv").exists()
    return done.stderr, int(re.search(r"VmHWM:\s*(\d+) kB", done.stdout)[1]) / 1024


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_unpacks_to_much_is_refused_in_bounded_memory(tmp_path, name):
    make, said = BOMBS[name]
    make(tmp_path / name)
    told, peak = refused(tmp_path, name)
    assert re.search(said, told), told
    assert peak < 1500, f"{peak} MB"


def stripe_bomb(path: Path) -> None:
    """A stripe in which a text of a megabyte, kept once, is in 300 rows."""
    column = pa.array(["x" * (1 << 20)] * 300)
    options = {"compression": "zstd", "dictionary_key_size_threshold": 1.0, "stripe_size": 4 << 30}
    pyarrow.orc.write_table(pa.table({"a": column, "y": range(300)}), path, **options)


def cell_bomb(path: Path) -> None:
    """A sheet with one cell of 100 MB."""
    openpyxl.Workbook().save(path.with_suffix(".zip"))
    cell = b'<row r="1"><c r="A1" t="inlineStr"><is><t>%s</t></is></c></row>'
    with zipfile.ZipFile(path.with_suffix(".zip")) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for each in old.namelist():
            content = old.read(each)
            if each == "xl/worksheets/sheet1.xml":
                assert b"<sheetData></sheetData>" in content
                rows = b"<sheetData>" + cell % (b"x" * (100 << 20)) + b"</sheetData>"
                content = content.replace(b"<sheetData></sheetData>", rows)
            new.writestr(each, content)


@pytest.mark.parametrize(("name", "make"), [("a.orc", stripe_bomb), ("a.xlsx", cell_bomb)])
def test_a_stripe_or_a_cell_that_needs_more_memory_than_is_allowed_is_refused(tmp_path, name, make):
    make(tmp_path / name)
    less = "import signoff.source.unpacking; signoff.source.unpacking._MEMORY = 100 << 20"
    told, peak = refused(tmp_path, name, less, max_bytes=5_000_000_000)
    assert f"{name} takes more than 100 MiB of memory to unpack" in told
    assert peak < 500, f"{peak} MB"


def varint(number: int, width: int = 0) -> bytes:
    """Return a number as Thrift's compact protocol writes it, padded to `width` bytes."""
    bits, found = number << 1, []
    while bits > 127 or len(found) < width - 1:
        found.append(bits & 127 | 128)
        bits >>= 7
    return bytes([*found, bits])


def test_a_parquet_file_that_lies_about_its_sizes_is_refused_all_the_same(tmp_path):
    page_bomb(tmp_path / "a.parquet")
    before = pyarrow.parquet.read_metadata(tmp_path / "a.parquet")
    size, content = varint(before.row_group(0).total_byte_size), (tmp_path / "a.parquet").read_bytes()
    end = len(content) - before.serialized_size - 8
    (tmp_path / "a.parquet").write_bytes(content[:end] + content[end:].replace(size, varint(9, len(size))))
    lie = pyarrow.parquet.read_metadata(tmp_path / "a.parquet")
    assert {lie.row_group(n).total_byte_size for n in range(lie.num_row_groups)} == {9}
    told, peak = refused(tmp_path, "a.parquet", max_bytes=10_000_000)
    assert "is larger than 10,000,000 bytes, as it is or unpacked" in told
    assert peak < 500, f"{peak} MB"


@pytest.mark.parametrize("number", [b"1048577", b"99999999999"])
def test_a_sheet_whose_last_row_is_far_away_is_refused(tmp_path, number):
    book = openpyxl.Workbook()
    book.active.append(["a", "y"])
    book.active.append([1, 2])
    book.save(tmp_path / "old.zip")
    with zipfile.ZipFile(tmp_path / "old.zip") as old, zipfile.ZipFile(tmp_path / "a.xlsx", "w") as new:
        for each in old.namelist():
            new.writestr(each, re.sub(rb'(r="[A-Z]?)2"', rb'\g<1>%s"' % number, old.read(each)))
    with pytest.raises(TaskError, match="has a row beyond 1,048,576"):
        raw(tmp_path / "a.xlsx", tmp_path)


def test_json_lines_of_ever_new_keys_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("signoff.source.records._MOST_COLUMNS", 1000)
    (tmp_path / "a.jsonl").write_text("".join(f'{{"k{n}":1}}\n' for n in range(1001)), encoding="utf-8")
    with pytest.raises(TaskError, match="has more than 1,000 keys"):
        raw(tmp_path / "a.jsonl", tmp_path)


def test_an_xz_file_that_asks_for_a_dictionary_of_gigabytes_is_refused(tmp_path):
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3}]
    (tmp_path / "a.csv.xz").write_bytes(lzma.compress(b"a,y\n1,2\n", filters=filters))
    with pytest.raises(TaskError, match=r"is damaged or incomplete .*[Mm]emory"):
        raw(tmp_path / "a.csv.xz", tmp_path)
