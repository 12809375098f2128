"""Cleaning: what is dropped, filled or left, and that each value is accounted for."""

import json

import numpy as np
import pandas as pd
import pytest

from clean_data import clean_data
from conftest import script
from task import TaskError

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
    assert clean["t"].tolist() == ["a", "f"]
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


def test_a_bad_value_in_a_number_column_is_named_with_its_row(tmp_path):
    (tmp_path / "in.csv").write_text("a\n" + "1\n" * 20 + "1O\n", encoding="utf-8")
    done = script("clean_data", "--input", "in.csv", "--output", "out.csv", cwd=tmp_path)
    assert "column a: 1 values are no number, their rows are dropped, such as '1O' in row 21" in done.stdout
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "a\n" + "1\n" * 20


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
