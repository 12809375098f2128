"""Generated tables: what ingest writes, read again, is the source value by value, or it is refused in one line."""

import codecs
import csv
import gzip
import io
import lzma
import math
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from conftest import ROOT, script
from signoff.base.config import ReaderConfig
from signoff.base.errors import TaskError
from signoff.source.ingest import ingest_data
from signoff.tables.cells import MISSING
from signoff.tables.csv_file import with_names
from signoff.tables.table import read_table, write_table

LONG = os.environ.get("SIGNOFF_FAULTS") == "long"
# The same tables each time in the short form; others each time, and more, in `make faults`.
settings.register_profile(
    "faults",
    max_examples=1500 if LONG else 40,
    derandomize=not LONG,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("faults")

HARD = [
    ",",
    ";",
    "|",
    "\t",
    '"',
    '""',
    "'",
    "\n",
    "\r",
    "\r\n",
    " ",
    "\0",
    "\ufeff",
    "\u2028",
    "\x1a",
    "\\",
    "=",
    "+",
    "-",
]
HARD += ["@", "#", "<", "é", "ß", "日本", "😀", "a", "b", "0", "1", "e", "."]
NUMBERS = [
    "0",
    "-0",
    "1e308",
    "1e309",
    "-1e400",
    "1e-400",
    "5e-324",
    "9007199254740993",
    "123456789012345678901234567890",
]
NUMBERS += ["0x10", "1_000", "١٢", "1.", ".5", "+7", "00012", "1e5", "nan", "inf", "-Infinity", "NA", "12.50", "1,5"]
DATES = [
    "2024-02-29",
    "2023-02-29",
    "0001-01-01",
    "9999-12-31",
    "10000-01-01",
    "-0001-01-01",
    "2024-13-01",
    "0000-00-00",
]
DATES += [
    "2024-03-31 02:30",
    "2024-01-01T00:00:00Z",
    "2024-01-01T00:00:00+14:00",
    "1582-10-10",
    "31.12.2024",
    "12/31/2024",
]
FORMULAS = ["=1+1", "=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(1)", '=HYPERLINK("http://a","b")', "\t=1"]
# Hypothesis' own alphabet takes seconds to begin: it looks up each character's category, and whether UTF-8 has it. Lone
# surrogates are in no file.
CHARACTERS = st.integers(0, 127).map(chr) | st.integers(0, 0xD7FF).map(chr) | st.integers(0xE000, 0x10FFFF).map(chr)
text = st.lists(st.sampled_from(HARD), max_size=5).map("".join) | st.text(CHARACTERS, max_size=6)
cells = st.one_of(
    text, st.sampled_from(NUMBERS), st.sampled_from(DATES), st.sampled_from(FORMULAS), st.floats().map(str)
)


@st.composite
def tables(draw, cells=cells, least: int = 0) -> tuple[list[str], list[list[str]]]:
    """Return names and rows of text."""
    width = draw(st.integers(max(1, least), 5))
    names = draw(st.lists(cells, min_size=width, max_size=width, unique=bool(least)))
    rows = draw(st.lists(st.lists(cells, min_size=width, max_size=width), min_size=least, max_size=6))
    return names, rows


PACKED = {
    "a.csv": lambda data: data,
    "a.csv.gz": gzip.compress,
    "a.csv.xz": lzma.compress,
    "a.csv.zip": lambda data: zipped(data),
}


def zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", data)
    return file.getvalue()


ENCODINGS = [
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-32",
    "cp1252",
    "latin-1",
    "shift_jis",
    "gb18030",
    "cp437",
]
dialects = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from([",", ";", "\t", "|"]),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
    }
)


def ingested(data: bytes, name: str = "a.csv", **reader) -> tuple[dict, list[list[str]], Path] | str:
    """Return the record, the rows as Python's own reader finds them, and the file; or the line that refused it."""
    folder = Path(tempfile.mkdtemp(dir=os.environ["PYTEST_TABLES"]))
    (folder / name).write_bytes(data)
    try:
        record = ingest_data(str(folder / name), folder / "raw.csv", reader=ReaderConfig(**reader))
    except TaskError as error:
        assert {each.name for each in folder.iterdir()} == {name}
        assert str(error).strip(), "a refusal says why"
        return str(error)
    with open(folder / "raw.csv", encoding="utf-8-sig", newline="") as file:
        return record, [row for row in csv.reader(file) if row], folder / "raw.csv"


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory):
    os.environ["PYTEST_TABLES"] = str(tmp_path_factory.mktemp("tables"))


def is_plain(names: list[str], rows: list[list[str]]) -> bool:
    """Tell whether there is nothing about a table that ingest may refuse."""
    infinite = any(re.fullmatch("[+-]?inf(inity)?", cell.strip(), re.I) for row in rows for cell in row)
    blank = not "".join(names).strip() or "".join(names)[:1] == "\ufeff"
    markup = (names[0].lstrip("\ufeff \t\r\n\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029\u3000\xa0") or " ")[0] in '<"'
    named = with_names(names)
    return len(set(named)) == len(named) and not infinite and not blank and not markup


@given(tables(least=2), dialects, st.sampled_from(ENCODINGS), st.sampled_from(sorted(PACKED)))
@example(
    (["a", "b"], [["\r", "\n"], ["", ""]]), {"delimiter": ",", "quoting": 0, "lineterminator": "\r"}, "utf-8", "a.csv"
)
@example(
    (["a", "b"], [["x\0y", "1"], ["", ""]]), {"delimiter": ";", "quoting": 0, "lineterminator": "\n"}, "utf-8", "a.csv"
)
@example(
    (["\ufeff", ","], [["1", "2"], ["3", "4"]]),
    {"delimiter": ";", "quoting": 0, "lineterminator": "\n"},
    "utf-8",
    "a.csv",
)
@example((["\ufeff", ""], [["1", "2"]]), {"delimiter": ",", "quoting": 1, "lineterminator": "\n"}, "utf-8", "a.csv")
@example(
    (["\ufeffa", "b"], [["1", "2"], ["3", "4"]]),
    {"delimiter": ";", "quoting": 0, "lineterminator": "\n"},
    "utf-8",
    "a.csv",
)
def test_a_table_arrives_value_by_value_whatever_its_encoding_quotes_delimiter_and_line_ends(
    table, dialect, encoding, name
):
    names, rows = table
    file = io.StringIO(newline="")
    if any(set(cell) & {"\r", "\n"} for line in (names, *rows) for cell in line):
        # Python's writer looks only for its own line end.
        dialect |= {"quoting": csv.QUOTE_ALL}
    csv.writer(file, **dialect).writerows([names, *rows])
    try:
        data = file.getvalue().encode(encoding)
    except UnicodeEncodeError:
        return
    got = ingested(PACKED[name](data), name, delimiter=dialect["delimiter"], encoding=encoding)
    if isinstance(got, str):
        event("refused")
        assert not is_plain(names, rows), got
        return
    record, written, path = got
    if file.getvalue().startswith("\ufeff"):
        # A mark, in whatever encoding.
        names = [names[0].removeprefix("\ufeff"), *names[1:]]
    expected = [with_names(names), *rows]
    assert written == expected
    assert record["records"] == len(rows)
    assert record["columns"] == expected[0]
    values_are_those_of_the_source(path, expected)


def values_are_those_of_the_source(path: Path, source: list[list[str]]) -> None:
    """Check each value that the next task will see against the cell that it was made of."""
    table = read_table(path)
    assert list(table.frame.columns) == source[0]
    assert len(table.frame) == len(source) - 1
    for n, name in enumerate(source[0]):
        kind, values = table.kinds[name], table.frame[name]
        bad = table.bad.get(name, pd.Series(dtype="object")).to_dict()
        for row, cell in enumerate(line[n] for line in source[1:]):
            value = values.iloc[row]
            if row in bad:
                assert bad[row] == cell
                assert pd.isna(value)
            elif kind == "text":
                assert (pd.isna(value) and (cell in MISSING or not cell.strip())) or value == cell
            elif pd.isna(value):
                assert not re.fullmatch(r"[+-]?\d+(\.\d*)?", cell) or abs(float(cell)) == math.inf, (kind, cell)
            elif kind == "number" and re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", cell, re.A | re.I):
                assert float(value) == float(cell), (value, cell)
            elif kind == "boolean":
                assert str(value).lower() == cell.strip().lower()
            elif kind == "date" and re.fullmatch(r"\d{4}-\d\d-\d\d( \d\d:\d\d)?", cell):
                assert value.to_pydatetime().replace(tzinfo=None) == datetime.fromisoformat(cell)


@given(
    st.lists(st.sampled_from([*HARD, "a,b\n", "1,2\n", '"', "<!", "\xff"]), max_size=25).map("".join)
    | st.text(CHARACTERS, max_size=40)
)
@example("\t\ufeff,")
def test_any_text_is_a_table_as_pythons_reader_sees_it_or_is_refused(text):
    got = ingested(text.encode())
    if isinstance(got, str):
        return
    record, written, path = got
    rows = [row for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")) if row]
    assert written == [with_names(rows[0]), *rows[1:]]
    assert record["records"] == len(rows) - 1
    values_are_those_of_the_source(path, written)


@given(st.binary(max_size=300), st.sampled_from(["utf-8", "utf-16", "cp1252", "utf-7", "idna", "rot13", "mbcs", "no"]))
def test_any_bytes_are_refused_in_one_line_or_are_text(data, encoding):
    got = ingested(b"a,b\n1,2\n3,4\n" + data, encoding=encoding)
    if not isinstance(got, str):
        rows = [row for row in csv.reader(io.StringIO((b"a,b\n1,2\n3,4\n" + data).decode(encoding), newline="")) if row]
        assert got[1][1:] == rows[1:]


@given(tables(least=2), st.data())
def test_a_ragged_row_is_refused_by_its_line(table, data):
    names, rows = table
    if not is_plain(names, rows) or len(names) < 2:
        return
    file = io.StringIO(newline="")
    uneven = data.draw(st.integers(0, len(rows) - 1))
    longer = data.draw(st.booleans())
    rows[uneven] = [*rows[uneven], "x"] if longer else rows[uneven][:-1]
    csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([names, *rows])
    got = ingested(file.getvalue().encode())
    assert isinstance(got, str)
    assert f"has {len(rows[uneven])} fields, the header has {len(names)}" in got


@given(st.lists(cells.filter(lambda cell: "\0" not in cell), min_size=1, max_size=8))
def test_text_that_a_task_writes_is_what_the_next_one_reads(values):
    """Formulas, quotes and line breaks too: raw and processed data hold what the source holds, and no more."""
    path = Path(tempfile.mkdtemp(dir=os.environ["PYTEST_TABLES"]), "a.csv")
    frame = pd.DataFrame({"n": range(len(values)), "t": pd.Series(values, dtype="str")})
    write_table(frame, path)
    got = read_table(path, {"t": "text"}).frame["t"]
    assert [None if pd.isna(each) else each for each in got] == [
        None if each in MISSING or not each.strip() else each for each in values
    ]


# What is large


def limited(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Ingest a.csv of a folder in a process that prints how many kB of memory it has used."""
    code = "import sys, ingest_data\ntry:\n    ingest_data.main(sys.argv[1:])\nfinally:\n"
    code += "    print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    command = [sys.executable, "-c", code, "--input", str(folder / "a.csv"), "--output", str(folder / "raw.csv")]
    return subprocess.run(
        [*command, *arguments], cwd=ROOT / "scripts", capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("quoted", [False, True])
def test_a_field_of_a_hundred_megabytes_is_refused_by_its_line_in_bounded_memory(tmp_path, quoted):
    field = b"x" * 100_000_000
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n3," + (b'"%s"' % field if quoted else field) + b"\n5,6\n")
    done = limited(tmp_path)
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert "the row that begins in line 3 is longer than 1,048,576 characters" in error
    assert int(done.stdout) < 400_000


def test_ten_thousand_columns_arrive(tmp_path):
    names = [f"column {n}" for n in range(10_000)]
    rows = [[f"{n * m}.5" for n in range(10_000)] for m in range(5)]
    with open(tmp_path / "a.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    done = limited(tmp_path, "--target=column 1")
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "raw.csv", encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [names, *rows]
    if not LONG:
        return
    table = read_table(tmp_path / "raw.csv")
    assert table.frame.shape == (5, 10_000)
    assert set(table.kinds.values()) == {"number"}
    assert table.frame["column 9999"].tolist() == [0.5, 9999.5, 19998.5, 29997.5, 39996.5]


@pytest.mark.parametrize("delimiter", ['"', "\n", "\r", " ", "é", "a"])
def test_a_strange_delimiter_is_used_or_refused_in_one_line(tmp_path, delimiter):
    (tmp_path / "a.csv").write_text(f"x{delimiter}y\n1{delimiter}2\n3{delimiter}4\n", encoding="utf-8")
    done = script("ingest_data", "--input=a.csv", "--output=raw.csv", f"--delimiter={delimiter}", cwd=tmp_path)
    assert "Traceback" not in done.stdout
    if done.returncode:
        assert "delimiter" in done.stdout.splitlines()[-1], done.stdout
        assert "unexpected failure" not in done.stdout
    else:
        assert (tmp_path / "raw.csv").read_text() == "x,y\n1,2\n3,4\n"


def test_every_encoding_of_text_that_python_knows_is_read_or_refused_in_one_line():
    import encodings.aliases

    for encoding in sorted({*encodings.aliases.aliases.values()}):
        try:
            data = "a,b\nx,1\ny,2\n".encode(encoding)
            known = codecs.lookup(encoding)._is_text_encoding
        except (LookupError, UnicodeError, TypeError, AssertionError):
            continue
        got = ingested(data, encoding=encoding)
        assert isinstance(got, str) or got[1] == [["a", "b"], ["x", "1"], ["y", "2"]], encoding
        assert known or isinstance(got, str), encoding
