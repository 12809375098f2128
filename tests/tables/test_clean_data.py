"""Cleaning: what is dropped, filled or left, and that each value is accounted for."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import clean_data as cleaning
from clean_data import _MISSING_HASH, _hashed, _nulls_handled, clean_data
from conftest import in_process, script
from signoff.base.errors import TaskError
from signoff.base.files import sha256
from signoff.tables.cleaning import _filled, refuse_loss
from signoff.tables.counting import row_hashes
from signoff.tables.parts import summed_counts
from signoff.tables.spill import Spill

FRAME = pd.DataFrame(
    {
        "n": [1.0, np.nan, 3.0, 4.0, np.nan, 6.0],
        "t": pd.Series(["a", "b", None, "d", "e", "f"], dtype="str"),
        "y": [1.0, 2.0, 3.0, np.nan, 5.0, 6.0],
    }
)


def test_four_rows_of_which_two_hold_a_missing_value_give_two(tmp_path):
    """The example of the specification, by its command line."""
    (tmp_path / "in.csv").write_text("a,b\n1,2\n,3\n4,\n5,6\n", encoding="utf-8")
    done = script("clean_data", "--input", "in.csv", "--output", "new/folder/out.csv", cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "new/folder/out.csv").read_text(encoding="utf-8") == "a,b\n1,2\n5,6\n"
    lines = [line.partition(" - ")[2] for line in done.stdout.splitlines()]
    assert lines[0] == "INFO - [clean_data] start: in.csv"
    assert "INFO - [clean_data] completed. Rows before: 4, rows after: 2." in lines
    assert "INFO - [clean_data] wrote cleaned data to new/folder/out.csv" in lines
    counts = json.loads((tmp_path / "new/folder/out.json").read_text(encoding="utf-8"))
    assert counts["rows_dropped"] == {"unreadable": 0, "missing": 2, "duplicates": 0}
    assert counts["columns"]["a"] == {"missing": 1, "unreadable": 0, "dropped": 1, "filled": 0, "left": 0}


def test_by_default_rows_with_any_missing_value_go():
    clean, counts = clean_data(FRAME, max_rows_lost=0.9)
    assert clean["t"].tolist() == ["a", "f"] and list(clean) == list(FRAME)
    assert clean.index.tolist() == [0, 1]
    assert (counts["rows_in"], counts["rows_out"]) == (6, 2)


def test_policies_fill_and_leave():
    clean, counts = clean_data(FRAME, {"n": {"fill": 0}, "t": "leave"}, required=("y",))
    assert clean["n"].tolist() == [1.0, 0.0, 3.0, 0.0, 6.0]
    assert clean["t"].isna().tolist() == [False, False, True, False, False]
    actions = {name: (each["dropped"], each["filled"], each["left"]) for name, each in counts["columns"].items()}
    assert actions == {"n": (0, 2, 0), "t": (0, 0, 1), "y": (1, 0, 0)}


def test_a_row_without_the_target_goes_whatever_the_policy():
    clean, _ = clean_data(FRAME, {"y": "leave"}, default="leave", required=("y",))
    assert clean["y"].tolist() == [1.0, 2.0, 3.0, 5.0, 6.0]


def test_a_row_with_a_bad_value_goes_and_is_not_counted_as_missing():
    frame = pd.DataFrame({"n": [1.0, np.nan, np.nan, 4.0]})
    clean, counts = clean_data(frame, {"n": {"fill": 7}}, bad={"n": pd.Series({2: "3O"})})
    assert clean["n"].tolist() == [1.0, 7.0, 4.0]
    assert counts["rows_dropped"] == {"unreadable": 1, "missing": 0, "duplicates": 0}
    assert counts["columns"]["n"] == {"missing": 1, "unreadable": 1, "dropped": 0, "filled": 1, "left": 0}


def test_a_bad_value_in_a_number_column_is_named_with_its_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("a,b\n" + "1,2\n" * 40 + "1O,3\nl2,soon\n1,\n", encoding="utf-8")
    code, _, log = in_process(cleaning, "--input", "in.csv", "--output", "out.csv")
    assert code == 0 and log[:-1] == [
        "INFO - [clean_data] start: in.csv",
        "WARNING - [clean_data] column a: 2 values are not a number; their rows are dropped, such as '1O' in row 41",
        "WARNING - [clean_data] column b: 1 value is not a number; their rows are dropped, such as 'soon' in row 42",
        "INFO - [clean_data] completed. Rows before: 43, rows after: 40.",
        "INFO - [clean_data] nulls handled: b 1 dropped",
        "INFO - [clean_data] duplicate rows: 39, dropped: 0",
        "INFO - [clean_data] wrote cleaned data to out.csv",
    ]
    assert Path("out.csv").read_text("utf-8") == "a,b\n" + "1,2\n" * 40
    assert json.loads(Path("out.json").read_text("utf-8"))["rows_dropped"]["unreadable"] == 2


def test_the_command_line_takes_kinds_policies_and_limits_and_writes_them_down(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("zip,n,when,y\n01,,2024-01-01,1\n01,,2024-01-01,1\n02,3,,2\n03,4,,\n", encoding="utf-8")
    words = ["--input=in.csv", "--output=out.csv", '--kinds={"zip": "text"}', '--policies={"n": {"fill": 7}}']
    words += ["--default-policy=leave", "--required=y", "--required=zip", "--duplicates=drop"]
    code, _, log = in_process(cleaning, *words)
    assert code == 0 and log[1:4] == [
        "INFO - [clean_data] completed. Rows before: 4, rows after: 2.",
        "INFO - [clean_data] nulls handled: n 2 filled, when 2 left, y 1 dropped",
        "INFO - [clean_data] duplicate rows: 1, dropped: 1",
    ]
    assert Path("out.csv").read_text("utf-8") == "zip,n,when,y\n01,7,2024-01-01 00:00:00.000000,1\n02,3,,2\n"
    nothing = dict.fromkeys(("missing", "unreadable", "dropped", "filled", "left"), 0)
    assert json.loads(Path("out.json").read_text("utf-8")) == {
        "raw_sha256": sha256(Path("in.csv")),
        "rows_in": 4,
        "rows_out": 2,
        "rows_dropped": {"unreadable": 0, "missing": 1, "duplicates": 1},
        "duplicates": 1,
        "columns": {
            "zip": nothing,
            "n": {**nothing, "missing": 2, "filled": 2},
            "when": {**nothing, "missing": 2, "left": 2},
            "y": {**nothing, "missing": 1, "dropped": 1},
        },
        "kinds": {"zip": "text", "n": "number", "when": "date", "y": "number"},
        "date_formats": {"when": "ISO8601"},
        "policies": {"zip": "drop", "n": {"fill": 7}, "when": "leave", "y": "drop"},
    }
    # The same rows, but more may not be lost, and nothing takes the place of what was written.
    code, _, log = in_process(cleaning, *words, "--max-rows-lost=0.4")
    assert code == 1 and log[-1].startswith("ERROR - [clean_data] cleaning would lose 2 of 4 rows, more than ")
    assert "To blame: y (1 rows). " in log[-1]
    assert len(Path("out.csv").read_text("utf-8").splitlines()) == 3
    code, _, log = in_process(cleaning, *words[:2], "--required=x")
    assert log[-1] == "ERROR - [clean_data] cleaning: there is no column 'x': there are: zip, n, when, y."


def test_a_part_is_cleaned_as_was_decided_and_its_losses_are_judged_with_the_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    like = {"kinds": {"a": "text", "d": "date"}, "date_formats": {"d": "%d.%m.%Y"}}
    Path("like.json").write_text(json.dumps(like), encoding="utf-8")
    Path("in.csv").write_text("a,d\n1,\n2,NA\n3,01.02.2024\n", encoding="utf-8")
    assert in_process(cleaning, "--input=in.csv", "--output=out.csv", "--like=like.json")[0] == 0
    assert Path("out.csv").read_text("utf-8") == "a,d\n3,2024-02-01 00:00:00.000000\n"
    assert json.loads(Path("out.json").read_text("utf-8"))["kinds"] == like["kinds"]
    assert not Path(".out.arrow").exists()
    # Whole, most of the rows would be lost.
    words = ["--input=in.csv", "--output=whole.csv"]
    code, _, log = in_process(cleaning, *words)
    assert code == 1 and "would lose 2 of 3 rows" in log[-1] and not Path("whole.csv").exists()
    assert in_process(cleaning, *words, "--max-rows-lost=0.7")[0] == 0 and Path(".whole.arrow").exists()


def test_duplicates_are_counted_and_dropped_only_when_told():
    frame = pd.DataFrame({"n": [1, 2, 1, 1]})
    kept, counts = clean_data(frame)
    assert (len(kept), counts["duplicates"], counts["rows_dropped"]["duplicates"]) == (4, 2, 0)
    dropped, counts = clean_data(frame, duplicates="drop")
    assert dropped["n"].tolist() == [1, 2]
    assert counts["rows_dropped"]["duplicates"] == 2


def test_losing_more_than_the_allowed_share_names_the_columns_to_blame():
    with pytest.raises(TaskError, match=r"would lose 4 of 6 rows.*To blame: n \(2 rows\), t \(1 rows\), y \(1 rows\)"):
        clean_data(FRAME)
    assert len(clean_data(FRAME, max_rows_lost=4 / 6)[0]) == 2


def test_no_row_left_is_an_error_even_where_all_may_be_lost():
    frame = pd.DataFrame({"a": [1.0, 2.0], "empty": pd.Series([None, None], dtype="str")})
    with pytest.raises(TaskError, match=r"To blame: empty \(2 rows\)"):
        clean_data(frame, max_rows_lost=1)


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        ({"m": "drop"}, "there is no column 'm'"),
        ({"n": {"fill": "none"}}, "column 'n' holds numbers and cannot be filled with 'none'"),
        ({"t": {"fill": 3}}, "column 't' holds text and cannot be filled with 3"),
        ({"n": {"fill": True}}, "column 'n' holds numbers and cannot be filled with True"),
        ({"b": {"fill": 5}}, "column 'b' holds true and false and cannot be filled with 5"),
        ({"t": {"fill": "NA"}}, "column 't' cannot be filled with 'NA': it reads as missing"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(policies, message):
    frame = FRAME.assign(b=pd.Series([True, False, None, True, True, True], dtype="object"))
    with pytest.raises(TaskError, match=message):
        clean_data(frame, policies)


def test_the_given_frame_is_left_as_it_was():
    before = FRAME.copy(deep=True)
    clean_data(FRAME, {"n": {"fill": 0}, "t": "leave"}, default="leave")
    pd.testing.assert_frame_equal(FRAME, before)


@pytest.mark.parametrize("duplicates", ["keep", "drop"])
def test_a_missing_value_and_a_zero_are_no_duplicates(tmp_path, monkeypatch, duplicates):
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("n,y\n0,1\n,1\n0,1\n", encoding="utf-8")
    words = ["--input=in.csv", "--output=out.csv", "--default-policy=leave", f"--duplicates={duplicates}"]
    log = in_process(cleaning, *words)[2]
    assert f"INFO - [clean_data] duplicate rows: 1, dropped: {int(duplicates == 'drop')}" in log


def test_what_is_filled_is_of_the_columns_kind():
    dates = pd.Series(pd.to_datetime(["2024-01-01", None]), name="d")
    assert _filled(dates, "2024-02-03").tolist() == [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-02-03")]
    zoned = _filled(dates.dt.tz_localize("UTC"), "2024-02-03")
    assert zoned.tolist()[1] == pd.Timestamp("2024-02-03", tz="UTC") and str(zoned.dt.tz) == "UTC"
    flags = pd.Series([True, None], dtype="object", name="f")
    assert _filled(flags, False).tolist() == [True, False]
    assert _filled(pd.Series(["a", None], dtype="str"), "b").tolist() == ["a", "b"]
    for values, constant, told in (
        (dates, "soon", "cleaning: column 'd' cannot be filled with 'soon': "),
        (dates, 3, "cleaning: column 'd' holds dates and cannot be filled with 3."),
        (flags, "x", "cleaning: column 'f' holds true and false and cannot be filled with 'x'."),
        (pd.Series([True], name="f"), 1, "cleaning: column 'f' holds true and false and cannot be filled with 1."),
        (dates, " NA ", "cleaning: column 'd' cannot be filled with ' NA ': it reads as missing."),
    ):
        with pytest.raises(TaskError) as raised:
            _filled(values, constant)
        assert str(raised.value).startswith(told)
        assert told.endswith(": ") or str(raised.value) == told


def test_counts_of_some_rows_and_some_more_are_those_of_all():
    one, two = {"n": 1, "columns": {"a": {"x": 2}}}, {"n": 4, "columns": {"a": {"x": 5}, "b": {"x": 0}}}
    assert summed_counts({}, one) == one
    assert summed_counts(one, two) == {"n": 5, "columns": {"a": {"x": 7}, "b": {"x": 0}}}


def test_who_is_to_blame_for_lost_rows_is_said_the_worst_first():
    columns = {f"c{n}": {"dropped": n, "unreadable": 1000 * (n == 3)} for n in range(8)}
    counts = {"rows_in": 2000, "rows_out": 500, "columns": columns, "duplicates": 1200}
    refuse_loss(counts, 0.75)
    with pytest.raises(TaskError) as raised:
        refuse_loss(counts, 0.74)
    assert str(raised.value) == (
        "cleaning would lose 1,500 of 2,000 rows, more than cleaning.max_rows_lost allows (74%). To blame: "
        "c3 (1,003 rows), c7 (7 rows), c6 (6 rows), c5 (5 rows), c4 (4 rows). "
        "Leave or fill them in cleaning.columns, or correct the source."
    )
    counts["columns"] = {"c0": {"dropped": 0, "unreadable": 0}}
    with pytest.raises(TaskError, match=r"To blame: duplicates \(1,200 rows\)\. Leave"):
        refuse_loss(counts, 0)
    with pytest.raises(TaskError):
        refuse_loss({**counts, "rows_in": 0, "rows_out": 0}, 1)


def test_handled_nulls_are_counted_by_column_and_action():
    def column(dropped: int = 0, filled: int = 0, left: int = 0) -> dict:
        return {"missing": 9, "dropped": dropped, "filled": filled, "left": left}

    assert _nulls_handled({"columns": {"a": column(), "b": column()}}) == "none were missing"
    counts = {"columns": {"a": column(left=1), "b": column(dropped=2), "c": column(), "d": column(filled=3)}}
    assert _nulls_handled(counts) == "a 1 left, b 2 dropped, d 3 filled"


def test_hashes_of_rows_are_kept_in_order_and_no_further_behind_than_one_frame():
    frames, hashes = [FRAME.iloc[[n % 6]] for n in range(30)], Spill(None)
    for n, (found, frame) in enumerate(zip(_hashed(iter(frames), hashes), frames, strict=True)):
        assert found is frame
        assert n <= len(hashes) <= n + 1
    expected = np.concatenate([row_hashes(frame, _MISSING_HASH) for frame in frames])
    np.testing.assert_array_equal(hashes[:], expected)


@pytest.mark.parametrize("frames", [1, 3])
def test_rows_whose_hashes_cannot_be_kept_are_not_taken_for_clean(frames):
    hashes = Spill(None)
    hashes.file.close()
    with pytest.raises(ValueError, match="closed file"):
        list(_hashed(iter([FRAME] * frames), hashes))


def test_dates_that_may_be_months_are_refused_with_the_key_that_decides(tmp_path):
    days = "".join(f"{day}/2/2024,{day}\n" for day in range(1, 13))
    (tmp_path / "raw.csv").write_text("d,n\n" + days)
    arguments = ["--input", "raw.csv", "--output", "clean.csv", "--kinds", '{"d": "date"}']
    done = script("clean_data", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "column 'd': no date decides which number is the day and which the month" in done.stdout.splitlines()[-1]
    assert not (tmp_path / "clean.csv").exists()
    assert script("clean_data", *arguments, "--date-formats", '{"d": "%d/%m/%Y"}', cwd=tmp_path).returncode == 0
    assert (tmp_path / "clean.csv").read_text().splitlines()[1].startswith("2024-02-01")
