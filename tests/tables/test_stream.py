"""Tables larger than memory: the same results in whatever batches they are read, in memory that does not grow."""

import itertools
import json
import resource

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

import clean_data
import evaluate_model
import feature_engineering
import train_model
import validate_data
from signoff.model import scoring
from signoff.review import copied_rows, sample
from signoff.review.evaluation import Gate, by_part, evaluate_predictions
from signoff.tables import batches, counting, spill
from signoff.tables.arrow_copy import open_side, side_chosen, side_frames, side_path
from signoff.tables.counting import Counts, row_hashes
from signoff.tables.spill import Spill, repeats
from signoff.tables.table import read_table, write_table
from signoff.tables.writer import _SideWriter, write_frames

DAYS = pd.date_range("2023-12-29", periods=240, freq="7h")
COLUMNS = {
    "whole": [str(n) for n in range(240)],
    "whole, one missing": ["", *map(str, range(239))],
    "whole until the last": [*["7"] * 239, "7.5"],
    "large": ["9007199254740993"] * 239 + ["1"],
    "large, one missing": ["9007199254740993"] * 239 + [""],
    "with units": [f"{n},000 €" if n % 5 else str(n) for n in range(1, 241)],
    "signs": ["-0", "+5", " 3 ", "1e3", ".5", "0.1"] * 40,
    "bad at the end": [*map(str, range(230)), *["x"] * 10],
    "mostly text": ["5", "x", "y"] * 80,
    "blank": ["?", "1", "-"] * 80,
    "boolean": ["true", "False"] * 120,
    "boolean, one missing": ["true"] * 239 + [" "],
    "iso": [str(day) for day in DAYS],
    "zones": [f"{day.isoformat()}+02:00" for day in DAYS],
    "a zone at the end": [*(str(day) for day in DAYS[:239]), "2024-03-01T00:00:00Z"],
    "german": list(DAYS.strftime("%d.%m.%Y")),
    "which first": list(DAYS.strftime("%d/%m/%Y")),
    "told by the last": ["01/02/2024"] * 239 + ["12/31/2024"],
    "nobody knows": ["01/02/2024", "03/04/2024"] * 120,
    "months": list(pd.date_range("2004-01-01", periods=240, freq="MS").strftime("%d/%m/%Y")),
    "every second": ["7", "-"] * 120,
    "text": [f"a{n % 7}" for n in range(240)],
    "quoted": ['a "word", or\ntwo', "b"] * 120,
    "empty": [""] * 240,
}


@pytest.fixture
def small_batches(monkeypatch):
    """A few rows at a time, few values counted in memory, and files read in small pieces.

    Here and below, a file has some ten blocks: each costs as much as a large one.
    """
    monkeypatch.setattr(batches, "_BLOCK", 5000)
    monkeypatch.setattr(counting, "_MOST_VALUES", 5)
    monkeypatch.setattr(spill, "PIECE", 10)


def test_columns_are_the_same_in_small_batches_as_at_once(tmp_path, small_batches):
    path = tmp_path / "a.csv"
    pd.DataFrame(COLUMNS).to_csv(path, index=False)
    whole, columns = read_table(path), batches.scan(path)
    tables = list(batches.tables(path, columns))
    assert len(tables) > 5
    assert (columns.kinds, columns.formats) == (whole.kinds, whole.formats)
    pd.testing.assert_frame_equal(pd.concat([each.frame for each in tables]), whole.frame)
    bad = {name: pd.concat([each.bad[name] for each in tables if name in each.bad]) for name in whole.bad}
    assert {name: values.to_dict() for name, values in bad.items()} == {
        name: values.to_dict() for name, values in whole.bad.items()
    }
    assert set(whole.bad) == {"bad at the end"}


WHOLE, EACH_DAY = [str(n) for n in range(300)], list(pd.date_range("2024-01-01", periods=300).strftime("%Y-%m-%d"))
YES = ["true", "false"] * 150
# A kind, values, and what work is begun with: a guess by the first rows, what all rows say.
GUESSES = {
    "whole numbers": ("number", WHOLE, [True]),
    "whole, one missing": ("number", [*WHOLE, ""], [True, False]),
    "whole, one with a fraction": ("number", [*WHOLE, "0.5"], [True, False]),
    "whole, one a word": ("number", [*WHOLE, "x"], [True, False]),
    "whole, one blank": ("number", [*WHOLE, "-"], [True, False]),
    "whole, one hexadecimal": ("number", [*WHOLE, "0x10"], [True, False]),
    "large, one missing": ("number", [*(str(10**17 + n) for n in range(300)), ""], [True, False]),
    "a fraction at first": ("number", ["0.5", *WHOLE], [True]),
    "one missing at first": ("number", ["", *WHOLE], [True]),
    "booleans": ("boolean", YES, [True]),
    "booleans, one missing": ("boolean", [*YES, ""], [True, False]),
    "booleans, one missing at first": ("boolean", ["", *YES], [True]),
    "days": ("date", EACH_DAY, [True]),
    "days, one missing": ("date", [*EACH_DAY, ""], [True]),
    "days, one with a zone": ("date", [*EACH_DAY, "2024-01-01T00:00:00Z"], [True, False]),
    "days, one in another notation": ("date", [*EACH_DAY, "31/12/2024"], [True, False]),
    "days, one a word": ("date", [*EACH_DAY, "soon"], [True, False]),
    "in UTC": ("date", [f"{each}T00:00:00Z" for each in EACH_DAY], [True]),
    "in UTC, one without": ("date", [*(f"{each}T00:00:00Z" for each in EACH_DAY), "2024-01-01"], [True, False]),
    "day first": ("date", [f"{each[8:]}/{each[5:7]}/{each[:4]}" for each in EACH_DAY], [False]),
    "text": ("text", [*WHOLE, "x", ""], [True]),
    "unknown": (None, WHOLE, [False]),
}


@pytest.mark.parametrize("case", GUESSES)
def test_a_guess_by_the_first_rows_is_given_up_where_later_ones_are_otherwise(tmp_path, small_batches, case):
    kind, values, begun = GUESSES[case]
    path, kinds, guessed = tmp_path / "a.csv", {"v": kind} if kind else {}, []
    path.write_text("\n".join(["v,w", *(f"{each},{'long ' * 20}" for each in values), ""]), encoding="utf-8")
    kinds["w"] = "text"

    def work(columns):
        guessed.append(columns.guessed)
        tables = list(batches.tables(path, columns))
        assert len(tables) > 5
        bad = [each.bad["v"].to_dict() for each in tables if "v" in each.bad]
        return columns, pd.concat([each.frame for each in tables]), {k: v for each in bad for k, v in each.items()}

    columns, frame, bad = batches.judged(path, kinds, work)
    whole = read_table(path, kinds)
    assert guessed == begun
    assert (columns.kinds, columns.formats) == (whole.kinds, whole.formats)
    pd.testing.assert_frame_equal(frame, whole.frame)
    assert bad == whole.bad.get("v", pd.Series(dtype="object")).to_dict()


def test_a_file_whose_columns_are_known_is_read_once(tmp_path, small_batches, monkeypatch):
    frame = pd.DataFrame({"n": range(300), "d": EACH_DAY, "t": ["long " * 20] * 300})
    frame.to_csv(tmp_path / "raw.csv", index=False)
    kinds, read, read_all = {"n": "number", "d": "date", "t": "text"}, [], batches.text_batches

    def counted(path, columns):
        for batch in read_all(path, columns):
            read.append(len(batch))
            yield batch

    monkeypatch.setattr(batches, "text_batches", counted)
    clean_data.main(
        [f"--input={tmp_path / 'raw.csv'}", f"--output={tmp_path / 'a.csv'}", f"--kinds={json.dumps(kinds)}"]
    )
    _head, *others = read
    assert sum(others) == 300
    assert len(others) > 5
    columns = {"n": {"dtype": "int64"}, "d": {"dtype": "datetime64[ns]"}, "t": {"dtype": "str"}}
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump({"columns": columns}), encoding="utf-8")
    read.clear()
    validate_data.main(
        [f"--input={tmp_path / 'raw.csv'}", f"--output={tmp_path / 'a.json'}", f"--schema={tmp_path / 'schema.yaml'}"]
    )
    # Its columns are known in this process, so its head is not read again.
    assert read == others


@pytest.mark.parametrize("options", [[], ["--duplicates=drop"], ["--default-policy=leave"]])
def test_cleaning_gives_the_same_bytes_in_small_batches(tmp_path, monkeypatch, options):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "n": random.choice([1, 2, np.nan], 300, p=[0.5, 0.4, 0.1]),
            "t": random.choice(["a", 'b "c"', None], 300),
            "d": random.choice(["2024-01-01", "2024-01-02", "soon"], 300, p=[0.5, 0.48, 0.02]),
            "b": random.choice(["true", "false", ""], 300, p=[0.5, 0.4, 0.1]),
        }
    )
    frame.to_csv(tmp_path / "raw.csv", index=False)
    found = []
    for name, block in (("whole", 1 << 20), ("small", 800)):
        monkeypatch.setattr(batches, "_BLOCK", block)
        monkeypatch.setattr(spill, "PIECE", 2 * block)
        output = tmp_path / name / "clean.csv"
        clean_data.main([f"--input={tmp_path / 'raw.csv'}", f"--output={output}", "--max-rows-lost=1", *options])
        found.append((output.read_bytes(), output.with_suffix(".json").read_bytes()))
        assert sorted(each.name for each in output.parent.iterdir()) == [".clean.arrow", "clean.csv", "clean.json"]
    assert found[0] == found[1]
    counts, kept = json.loads(found[0][1]), len(found[0][0].splitlines()) - 1
    assert counts["rows_out"] == kept
    read = read_table(tmp_path / "raw.csv")
    clean, expected = clean_data.clean_data(
        read.frame,
        default="leave" if "leave" in str(options) else "drop",
        max_rows_lost=1,
        bad=read.bad,
        duplicates="drop" if "duplicates" in str(options) else "keep",
    )
    assert {key: counts[key] for key in expected} == expected
    assert expected["duplicates"] > 100
    pd.testing.assert_frame_equal(read_table(tmp_path / "small/clean.csv").frame, clean, check_dtype=False)


@pytest.mark.parametrize("unique", [False, True])
def test_validation_gives_the_same_report_in_small_batches(tmp_path, monkeypatch, unique):
    rows = 500
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "n": [*map(str, range(rows - 7)), *["x"] * 7],
            "city": random.choice(["Köln", "Bonn", ""], rows),
            "km": random.uniform(0, 9, rows).round(2),
            "whole": [*range(rows - 1), 0.5],
            "when": pd.date_range("2024-01-01", periods=rows, freq="h", tz="UTC"),
        }
    )
    frame.to_csv(tmp_path / "raw.csv", index=False)
    contract = {
        "columns": {
            "absent": {"dtype": "str"},
            "when": {"dtype": "datetime64[ns]", "checks": {"less_than": "2024-01-15"}},
            "km": {"checks": {"in_range": {"min_value": 1, "max_value": 8}, "less_than": 5}, "unique": unique},
            "whole": {"dtype": "int64"},
            "n": {"dtype": "float64", "nullable": False},
            "city": {"dtype": "str", "nullable": False, "checks": {"isin": ["Köln"]}},
        },
        "strict": True,
    }
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(contract, sort_keys=False), encoding="utf-8")
    found = []
    for block in (1 << 20, 3000):
        monkeypatch.setattr(batches, "_BLOCK", block)
        monkeypatch.setattr(counting, "_MOST_VALUES", block // 300)
        report = tmp_path / f"{block}.json"
        validate_data.main(
            [f"--input={tmp_path / 'raw.csv'}", f"--output={report}", f"--schema={tmp_path / 'schema.yaml'}"]
        )
        found.append(report.read_bytes())
    assert found[0] == found[1]
    said = [(each["column"], each["check"].split("(")[0]) for each in json.loads(found[0])["violations"]]
    several = [("km", "field_uniqueness")] if unique else []
    assert said == [
        *(("n", "is a number"), ("whole", "is a whole number"), ("absent", "column_in_dataframe")),
        *(("when", "less_than"), *several, ("km", "in_range"), ("km", "less_than")),
        *(("city", "not_nullable"), ("city", "isin")),
    ]


@pytest.mark.parametrize(
    "options",
    [{}, {"test_weeks": 1.5}, {"split_by": "hash", "drop": ["No"]}, {"split_key": ["weight"], "keep": ["prose"]}],
)
def test_features_are_the_same_bytes_in_small_batches(tmp_path, monkeypatch, options):
    rows = 350
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "when": pd.date_range("2024-01-01", periods=rows, freq="74min")[random.permutation(rows)],
            "No": np.arange(rows),
            "id": random.permutation(rows),
            "city": random.choice(["Köln", "Bonn", "Trier"], rows),
            "prose": [f"text {n}, and more" for n in range(rows)],
            "weight": [f"{n} kg" for n in random.integers(1, 300, rows)],
            "km": random.uniform(-1, 9, rows).round(),
            "y": random.normal(size=rows).round(3),
        }
    )
    if "test_weeks" in options:
        # The first rows are all of the test part.
        frame = frame.sort_values("when", ascending=False).assign(No=range(rows))
    frame.to_csv(tmp_path / "clean.csv", index=False)
    options = {"derived": {"inverse": "1 / km"}, **options}
    flags = [
        f"--{name.replace('_', '-')}={json.dumps(value) if isinstance(value, dict) else value}"
        for name, values in options.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    found = []
    for name, block in (("whole", 1 << 20), ("small", 2000)):
        monkeypatch.setattr(batches, "_BLOCK", block)
        monkeypatch.setattr(counting, "_MOST_VALUES", block // 40)
        monkeypatch.setattr(spill, "PIECE", block // 4)
        output = tmp_path / name / "features.csv"
        feature_engineering.main([f"--input={tmp_path / 'clean.csv'}", f"--output={output}", "--target=y", *flags])
        found.append((output.read_bytes(), output.with_suffix(".json").read_bytes()))
    assert found[0] == found[1]
    table, description = feature_engineering.feature_engineering(
        read_table(tmp_path / "clean.csv").frame, "y", **options
    )
    written = json.loads(found[0][1])
    assert {name: written[name] for name in description} == description
    assert set(description["left_out"]) == {"No", "id", *(() if "keep" in options else ("prose",))}
    assert description["recipe"]["weight"] == {"column": "weight", "unit": "kg"}
    again = read_table(tmp_path / "small/features.csv", description["kinds"]).frame
    pd.testing.assert_frame_equal(again, table, check_dtype=False)


def test_a_side_file_gives_what_its_csv_gives_and_a_csv_that_was_changed_wins(tmp_path, caplog):
    path, rows = tmp_path / "a.csv", 300
    frame = pd.DataFrame(
        {
            "whole": range(rows),
            "whole as floats": np.arange(rows) / 1.0,
            "one missing": [None, *range(rows - 1)],
            "large": [9_999_999_999.0, *[1.0] * (rows - 1)],
            "too large": [1e10, *[1.0] * (rows - 1)],
            "fractions": np.random.default_rng(0).normal(size=rows),
            "yes": pd.Series([True, False] * (rows // 2)).astype("object"),
            "yes or nothing": pd.Series([True, None] * (rows // 2), dtype="object"),
            "when": pd.Series(pd.date_range("2024-01-01", periods=rows, freq="h", unit="us")),
            "zone": pd.Series(pd.date_range("2024-01-01", periods=rows, freq="h", unit="us", tz="UTC")),
            "never": pd.Series([pd.NaT] * rows, dtype="datetime64[us, UTC]"),
            "text": pd.Series([" a ", "ä, b", None] * (rows // 3), dtype="str"),
            "empty": pd.Series([None] * rows, dtype="str"),
        }
    )
    kinds = dict.fromkeys(list(frame)[:6], "number") | dict.fromkeys(("yes", "yes or nothing"), "boolean")
    kinds |= dict.fromkeys(("when", "zone", "never"), "date") | {"text": "text", "empty": "empty"}
    write_frames(lambda: (frame.iloc[n : n + 77] for n in range(0, rows, 77)), path, kinds)
    assert sorted(each.name for each in tmp_path.iterdir()) == [".a.arrow", "a.csv"]
    columns = batches.scan(path, kinds)
    assert columns.side is not None
    assert batches.scan(path).side is None
    side = pd.concat([each.frame for each in batches.tables(path, columns)])
    few = pd.concat([each.frame for each in batches.tables(path, columns, ["text", "large"])])
    some = batches.read_rows(path, kinds, ["text", "large"], "text", lambda text: text == "ä, b")
    side_path(path).rename(tmp_path / "away")
    plain = batches.scan(path, kinds)
    assert (columns.kinds, columns.formats, columns.dtypes) == (plain.kinds, plain.formats, plain.dtypes)
    expected = read_table(path, kinds).frame
    for found in (side, pd.concat([each.frame for each in batches.tables(path, plain)])):
        pd.testing.assert_frame_equal(found, expected)
    pd.testing.assert_frame_equal(few, expected[["text", "large"]])
    chosen = expected.loc[expected["text"] == "ä, b", ["text", "large"]].reset_index(drop=True)
    for found in (some, batches.read_rows(path, kinds, ["text", "large"], "text", lambda text: text == "ä, b")):
        pd.testing.assert_frame_equal(found, chosen)
    whole = (tmp_path / "away").read_bytes()
    for damaged in (whole[:-100], whole[:-30] + b"\xff" * 20 + whole[-10:], b""):
        side_path(path).write_bytes(damaged)
        assert batches.scan(path, kinds).side is None
    for bit in np.random.default_rng(1).integers(0, 8 * len(whole), 200):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        side_path(path).write_bytes(flipped)
        assert batches.scan(path, kinds).side is None, bit
    # Once, however often it is read.
    assert caplog.text.count("is damaged, or of another version") == 1
    side_path(path).write_bytes(whole)
    assert batches.scan(path, kinds).side is not None
    path.write_text(path.read_text(encoding="utf-8").replace("ä", "ö"), encoding="utf-8")
    assert batches.scan(path, kinds).side is None
    assert len(batches.read_rows(path, kinds, ["text"], "text", lambda text: text == "ö, b")) == len(chosen)
    told = f"{path} was edited or cut since it was written with {side_path(path)}; it is read as it is"
    assert caplog.text.count(told) == 1
    # A CSV file that is written without a side file has none of an earlier one.
    write_table(frame, path)
    assert not side_path(path).exists()


def test_numbers_are_kept_as_narrow_as_the_first_rows_allow_until_others_do_not_fit(tmp_path):
    path, rows = tmp_path / "a.csv", 400
    first = np.arange(rows) < rows / 2
    columns = {
        "small": (np.arange(rows), pa.int16()),
        "small with a gap": (np.where(first, np.arange(rows), np.nan), pa.int16()),
        "nothing at first": (np.where(first, np.nan, 7.0), pa.int16()),
        "large": (np.arange(rows) + 40_000, pa.int32()),
        "long": (np.arange(rows) + (1 << 60) + 1, pa.int64()),
        "small, then large": (np.where(first, -1, 40_000), pa.int64()),
        "small, then large floats": (np.where(first, -1.0, 40_000.0), pa.float64()),
        "large, then long": (np.where(first, 40_000, (1 << 60) + 1), pa.int64()),
        "small, then fractions": (np.where(first, 2.0, 0.5), pa.float64()),
        "large, then exponents": (np.where(first, 40_000.0, 1e12), pa.float64()),
        "minus zero": (np.where(first, -0.0, np.nan), pa.float64()),
        "minus zero at last": (np.where(np.arange(rows) == rows - 1, -0.0, np.nan), pa.float64()),
        "fractions": (np.arange(rows) / 8, pa.float64()),
    }
    frame = pd.DataFrame({name: values for name, (values, _) in columns.items()})
    kinds = dict.fromkeys(columns, "number")
    write_frames(lambda: (frame.iloc[n : n + 50] for n in range(0, rows, 50)), path, kinds)
    assert pa.ipc.open_file(side_path(path)).schema == pa.schema([(name, kept) for name, (_, kept) in columns.items()])
    found = pd.concat(side_frames(open_side(path, kinds), list(columns)), ignore_index=True)
    taken = batches.read_rows(path, kinds, list(columns), "small", lambda small: small >= 0)
    assert sorted(each.name for each in tmp_path.iterdir()) == [".a.arrow", "a.csv"]
    side_path(path).unlink()
    (rows_of_csv,) = batches.tables(path, batches.scan(path, kinds))
    for each in (found, taken):
        pd.testing.assert_frame_equal(each, rows_of_csv.frame)
        for name in columns:
            np.testing.assert_array_equal(np.signbit(each[name]), np.signbit(rows_of_csv.frame[name]))
    assert np.signbit(found["minus zero"][0]) and np.signbit(found["minus zero at last"][rows - 1])


def test_a_side_file_whose_columns_outgrow_theirs_one_after_the_other_is_copied_three_times(tmp_path, monkeypatch):
    path, begun, begin = tmp_path / "a.csv", [], _SideWriter.begin
    monkeypatch.setattr(_SideWriter, "begin", lambda writer, schema: begun.append(schema) or begin(writer, schema))
    frame = pd.DataFrame({f"x{n}": np.where(np.arange(100) < 10 * (n + 1), n, 1e5 + n) for n in range(8)})
    frame = frame.astype({name: "int64" for name in frame if int(name[1:]) % 2})
    kinds = dict.fromkeys(frame, "number")
    write_frames(lambda: (frame.iloc[n : n + 10] for n in range(0, 100, 10)), path, kinds)
    assert len(begun) == 4
    wide = [pa.int64() if int(name[1:]) % 2 else pa.float64() for name in frame]
    assert begun[2].types == [*wide[:2], *[pa.int16()] * 6] and begun[3].types == wide
    found = pd.concat(side_frames(open_side(path, kinds), list(frame)), ignore_index=True)
    pd.testing.assert_frame_equal(found, read_table(path, kinds).frame)
    pd.testing.assert_frame_equal(found, frame, check_dtype=False)


@pytest.mark.parametrize("value", ["a", "b", "c", "none has it"])
def test_chosen_rows_are_those_of_the_csv_whether_blocks_hold_all_some_or_none_of_them(tmp_path, value):
    path, kinds = tmp_path / "a.csv", {"n": "number", "x": "number", "text": "text"}
    blocks = (["a"] * 5, ["a", "b", None, "b", "a"], ["b"] * 5, [None] * 5, ["b", None, "b", "b", "b"], ["c"] * 5)
    text = pd.Series([*itertools.chain(*blocks)], dtype="str")
    frame = pd.DataFrame({"n": range(30), "x": [*range(29), None], "text": text})

    def pieces():
        # A block by itself may hold whole numbers where the column does not.
        for n in range(0, 30, 5):
            yield frame.iloc[n : n + 5].astype({"x": "int64" if n < 25 else "float64"})

    write_frames(pieces, path, kinds)
    expected = frame.loc[frame["text"] == value, ["x", "n"]].reset_index(drop=True)
    for _ in range(2):
        columns = batches.scan(path, kinds)
        some = batches.chosen(path, columns, "text", lambda text: text == value, ["x", "n"])
        pd.testing.assert_frame_equal(pd.concat(some, ignore_index=True), expected)
        found = batches.read_rows(path, kinds, ["x", "n"], "text", lambda text: text == value)
        pd.testing.assert_frame_equal(found, expected)
        # Then from the CSV file.
        side_path(path).unlink(missing_ok=True)


def test_blocks_of_a_mapped_side_file_are_taken_as_they_lie_there(tmp_path):
    path, kinds, rows = tmp_path / "a.csv", {"x": "number", "text": "text", "y": "number"}, 30_000
    frame = pd.DataFrame({"x": np.arange(rows) / 2, "text": "a", "y": np.arange(rows) / 4})
    write_frames(lambda: iter([frame]), path, kinds)
    before = pa.total_allocated_bytes()
    (table,) = side_chosen(open_side(path, kinds), ["y"], "text", lambda text: text == "a", mapped=True)
    assert pa.total_allocated_bytes() - before < table.nbytes / 10
    assert table["y"].to_pylist() == frame["y"].tolist()


@pytest.mark.parametrize("baseline", ["km", "mean"])
def test_evaluation_gives_the_same_bytes_in_small_batches_as_at_once(tmp_path, monkeypatch, baseline):
    rows = 900
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "when": pd.date_range("2024-01-01", periods=rows, freq="h")[::-1],
            "city": random.choice(["Köln", "Bonn", "Trier"], rows),
            baseline: random.uniform(1, 9, rows).round(2),
        }
    )
    frame["y"] = 3 * frame[baseline] + random.normal(size=rows)
    frame.to_csv(tmp_path / "clean.csv", index=False)
    features, model = tmp_path / "features.csv", tmp_path / "model.pkl"
    feature_engineering.main([f"--input={tmp_path / 'clean.csv'}", f"--output={features}"])
    train_model.main([f"--input={features}", f"--output={model}", '--params={"max_iter": 5}'])
    found = []
    for block in (1 << 20, 500):
        monkeypatch.setattr(batches, "_BLOCK", block)
        monkeypatch.setattr(scoring, "PIECE", max(block // 5, 128))
        metrics = tmp_path / str(block) / "metrics.json"
        evaluate_model.main(
            [f"--model={model}", f"--features={features}", f"--output={metrics}", f"--baseline={baseline}"]
        )
        holdout = metrics.with_name("holdout_predictions.csv")
        found.append((json.loads(metrics.read_text(encoding="utf-8")), holdout.read_bytes()))
    assert found[0] == found[1]
    table = read_table(features).frame
    name = "column mean" if baseline == "mean" else baseline
    mean = pd.Series(table["y"][table["split"] == "train"].mean(), table.index)
    predicted = joblib.load(model).predict(table)
    values = {"model": pd.Series(predicted, table.index), "mean": mean, name: table[baseline]}
    predictions = {each: by_part(numbers, table["split"]) for each, numbers in values.items()}
    expected = evaluate_predictions(predictions, by_part(table["y"], table["split"]), Gate({}, {}))
    assert {key: found[0][0][key] for key in expected} == expected
    held_out = read_table(tmp_path / "500/holdout_predictions.csv").frame
    assert held_out["predicted"].tolist() == predicted[table["split"] == "test"].tolist()


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(np.random.default_rng(0).normal(size=500)),
        pd.Series(np.random.default_rng(1).integers(-20, 20, 500)),
        pd.Series(np.random.default_rng(2).integers(-(2**60), 2**60, 500)),
        pd.Series([None, 1.5, -0.0, 0.0, 1.5, 2.5] * 80),
        pd.Series([True, False, True]),
        pd.Series(DAYS).astype("datetime64[us]"),
        pd.Series(DAYS[::-1].tz_localize("UTC")).dt.as_unit("us"),
        pd.Series([f"t{n % 90}" for n in range(500)] + [None], dtype="str"),
    ],
)
def test_counts_and_quantiles_are_exact_in_memory_and_on_disk(tmp_path, monkeypatch, values):
    monkeypatch.setattr(spill, "PIECE", 64)
    shares = [0, 0.07, 0.25, 0.5, 0.8, 1]
    for most in (10_000, 5):
        monkeypatch.setattr(counting, "_MOST_VALUES", most)
        counts = Counts(tmp_path)
        for n in range(0, len(values), 37):
            counts.add(values.iloc[n : n + 37])
        assert counts.distinct() == values.nunique()
        if values.dtype not in ("str", "bool"):
            assert counts.quantiles(shares) == values.quantile(shares).tolist()
        if most > 5:
            expected = values.value_counts().head(3)
            assert list(counts.most_frequent(3).values()) == expected.tolist()
    assert list(tmp_path.iterdir()) == []


def test_rows_that_repeat_an_earlier_one_are_found_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "PIECE", 50)
    frame = pd.DataFrame({"a": np.random.default_rng(0).integers(0, 30, 3000), "b": ["x", "y", None] * 1000})
    hashes = Spill(tmp_path)
    for n in range(0, 3000, 700):
        hashes.add(row_hashes(frame.iloc[n : n + 700]))
    found = sorted(place for places in repeats(hashes) for place in places)
    assert found == np.flatnonzero(frame.duplicated()).tolist()


def test_a_sample_is_the_same_in_small_batches_and_represents_all_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "_MOST_ROWS", 300)
    frame = pd.DataFrame({"n": range(4000), "split": ["train"] * 3400 + ["test"] * 600})
    frame.to_csv(tmp_path / "a.csv", index=False)
    columns, sizes = batches.scan(tmp_path / "a.csv"), {"train": 3400, "test": 600}
    found = []
    for block in (1 << 20, 500):
        monkeypatch.setattr(batches, "_BLOCK", block)
        found.append(sample.sample(tmp_path / "a.csv", columns, sizes))
    rows, alike, counted = found[0]
    pd.testing.assert_frame_equal(rows, found[1][0])
    pd.testing.assert_frame_equal(alike, found[1][1])
    assert counted == sizes == found[1][2]
    assert rows["split"].value_counts().to_dict() == pytest.approx({"train": 300, "test": 300}, rel=0.05)
    assert alike["split"].value_counts().to_dict() == pytest.approx({"train": 300, "test": 53}, rel=0.1)
    assert rows["n"].iloc[:300].mean() == pytest.approx(1700, rel=0.05)
    monkeypatch.setattr(sample, "_MOST_ROWS", 3400)
    rows, alike, _ = sample.sample(tmp_path / "a.csv", columns, sizes)
    pd.testing.assert_frame_equal(rows, frame, check_dtype=False)
    assert len(alike) == 4000


def test_copies_among_held_out_rows_are_found_in_training_rows_some_at_a_time():
    random = np.random.default_rng(0)
    train = pd.DataFrame({"a": random.normal(size=1000), "y": random.normal(size=1000)})
    test = pd.concat([train.iloc[100:130], pd.DataFrame({"a": random.normal(size=170), "y": 0.0})])
    pieces = [train.iloc[n : n + 7] for n in range(0, 1000, 7)]
    found = copied_rows.copies(pieces, test, ["a"], "y", 0)
    assert found == copied_rows.copies([train], test, ["a"], "y", 0)
    assert "15.0% of the held-out rows are copies" in found[0]["sentence"]
    assert copied_rows.copies(pieces, test.iloc[30:], ["a"], "y", 0) == []


def test_memory_does_not_grow_with_the_rows(tmp_path, monkeypatch):
    """The highest memory of one process that reads a table and then one eight times as long."""
    monkeypatch.setattr(batches, "_BLOCK", 1 << 17)
    random = np.random.default_rng(0)
    rows = 15_000
    frame = pd.DataFrame(
        {
            "started": pd.date_range("2020-01-01", periods=rows, freq="min").strftime("%Y-%m-%dT%H:%M:%SZ"),
            "city": random.choice(["Köln", "Bonn", "Trier"], rows),
            "km": random.uniform(1, 20, rows).round(3),
            "minutes": random.normal(30, 9, rows).round(3),
            "ride": [f"ride-{n}" for n in range(rows)],
        }
    )
    peaks = []
    for name, times in (("small", 1), ("large", 8)):
        pd.concat([frame] * times).to_csv(tmp_path / f"{name}.csv", index=False)
    del frame
    for name in ("small", "large"):
        cleaned = tmp_path / name / "clean.csv"
        validate_data.main([f"--input={tmp_path / name}.csv", f"--output={tmp_path / name}.json"])
        clean_data.main([f"--input={tmp_path / name}.csv", f"--output={cleaned}"])
        feature_engineering.main([f"--input={cleaned}", f"--output={tmp_path / name}/f.csv", "--target=minutes"])
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    # Read at once, the larger one takes 40 MB more.
    assert peaks[1] - peaks[0] < 25, peaks


def test_a_file_is_scanned_again_in_the_same_process_only_once_it_has_changed(tmp_path, monkeypatch):
    path = tmp_path / "raw.csv"
    path.write_text("a,b\n1,x\n2,y\n", encoding="utf-8")
    first = batches.scan(path)
    read = []
    text_batches = batches.text_batches
    monkeypatch.setattr(batches, "text_batches", lambda *given: read.append(1) or text_batches(*given))
    assert batches.scan(path, {}, {}) == first and not read
    path.write_text("a,b\n1,x\nu,y\n", encoding="utf-8")
    assert batches.scan(path).kinds == {"a": "text", "b": "text"} and read
