"""What a column is, and that what is written is what is read."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest

from signoff.base.errors import TaskError
from signoff.tables.batches import scan, tables
from signoff.tables.dates import _DATE_FORMATS, _dates_of_each, _possible, dates_of, hides_dates, undecided
from signoff.tables.table import read_table, write_table


def read(tmp_path, column: list[str], kinds=None):
    """Read a table of one column, as text, beside a column that fills every row."""
    (tmp_path / "a.csv").write_text("c,n\n" + "".join(f'"{value}",1\n' for value in column), encoding="utf-8")
    return read_table(tmp_path / "a.csv", kinds)


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        (["1", "2", ""], "number", [1, 2, None]),
        (["1", "2"], "number", [1, 2]),
        (["1.5", " 2 ", "+3e2", "nan"], "number", [1.5, 2.0, 300.0, None]),
        (["9007199254740993", "1"], "number", [9007199254740993, 1]),
        (["true", "False", ""], "boolean", [True, False, None]),
        (["2024-02-29", "2024-03-01"], "date", ["2024-02-29", "2024-03-01"]),
        (["2024-02-29 12:30", "2024-03-01 00:00"], "date", ["2024-02-29 12:30", "2024-03-01"]),
        (["2024-02-29T12:30:00+02:00", "NA"], "date", ["2024-02-29 10:30+00:00", None]),
        (["31.12.2024", "01.02.2024"], "date", ["2024-12-31", "2024-02-01"]),
        (["12/31/2024", "01/02/2024"], "date", ["2024-12-31", "2024-01-02"]),
        (["31/12/2024", "01/02/2024"], "date", ["2024-12-31", "2024-02-01"]),
        (["01/02/2024", "03/04/2024"], "text", ["01/02/2024", "03/04/2024"]),
        (["", ""], "empty", [None, None]),
        (["a", "NULL"], "text", ["a", None]),
        (["0x10", "0x11"], "text", ["0x10", "0x11"]),
        (["1", " ", "2"], "number", [1, None, 2]),
        (["true", "\t"], "boolean", [True, None]),
        (["2010-12", "2011-01"], "text", ["2010-12", "2011-01"]),
        (["1_000", "2_000"], "text", ["1_000", "2_000"]),
        (["$1,234.50", "-$5", "$0.99"], "number", [1234.5, -5, 0.99]),
        (["1'234.50 CHF", "12 CHF"], "number", [1234.5, 12]),
        (["USD 1,234,567", "Rs. 12,34,567"], "number", [1234567, 1234567]),
        (["1 234", "1\u202f234 €", "−5"], "number", [1234, 1234, -5]),
        (["(1,234.5)", "12.5 %"], "number", [-1234.5, 12.5]),
        (["42.07-", "12.50 -", "9.45"], "number", [-42.07, -12.5, 9.45]),
        (["12.5\u2212", "\u22127", "5\u2013", "\uff0d5", "- 5"], "number", [-12.5, -7, -5, -5, -5]),
        (["$(12.50)", "(12.50) €", "$(1,234)", "(5 %)"], "number", [-12.5, -12.5, -1234, -5]),
        (["$12.50-", "12.50- USD", "5%-", "5-%", "1.2M-", "1,234-"], "number", [-12.5, -12.5, -5, -5, -1.2e6, -1234]),
        (["12.50 DR", "12.50 CR"], "text", ["12.50 DR", "12.50 CR"]),
        (
            ["-12-", "+5-", "(-5)", "(5)-", "5 - 3", "--5", "-$-5"],
            "text",
            ["-12-", "+5-", "(-5)", "(5)-", "5 - 3", "--5", "-$-5"],
        ),
        (["1,23", "4,56"], "text", ["1,23", "4,56"]),
        (["?", "3", "-", "N.A.", "unknown", "#DIV/0!"], "number", [None, 3, None, None, None, None]),
        (["2024-02-29", "0000-00-00"], "date", ["2024-02-29", None]),
        (["true", "?"], "boolean", [True, None]),
        (["+", "-", "?"], "text", ["+", "-", "?"]),
        (["2024-2-9", "2024-11-30"], "date", ["2024-02-09", "2024-11-30"]),
        (["Sat, 3 Feb 2024", "Sunday, 4 Feb 2024"], "date", ["2024-02-03", "2024-02-04"]),
        (["2024-02-29 12:30:00 UTC"], "date", ["2024-02-29 12:30"]),
        (["31.12.2024, 12:30", "01.02.2024, 00:00"], "date", ["2024-12-31 12:30", "2024-02-01"]),
        (["10/Oct/2024:13:55:36 -0700"], "date", ["2024-10-10 20:55:36+00:00"]),
        (["Sat Feb 03 12:30:00 2024"], "date", ["2024-02-03 12:30"]),
        (["02/13/2024 1:30PM"], "date", ["2024-02-13 13:30"]),
        (["1. März 2024", "13. Dez. 2024"], "date", ["2024-03-01", "2024-12-13"]),
        (["3 de enero de 2024", "14 août 2024"], "date", ["2024-01-03", "2024-08-14"]),
        (["3-Mar-2024"], "date", ["2024-03-03"]),
        (["1.5K", "2M", "0.5B", "$12k"], "number", [1500, 2e6, 5e8, 12000]),
        (["20240229", "20240301"], "number", [20240229, 20240301]),
    ],
)
def test_the_kind_of_a_column_is_found_from_all_of_its_values(tmp_path, column, kind, values):
    table = read(tmp_path, column)
    assert table.kinds["c"] == kind
    assert table.bad == {}
    found = table.frame["c"]
    expected = [pd.Timestamp(each) if kind == "date" and each else each for each in values]
    assert [None if pd.isna(each) else each for each in found] == expected


def test_a_few_values_of_another_kind_are_bad_and_named_by_row(tmp_path):
    table = read(tmp_path, [*map(str, range(19)), "12O"])
    assert table.kinds["c"] == "number"
    assert table.bad["c"].to_dict() == {19: "12O"}
    assert np.isnan(table.frame["c"][19])
    table = read(tmp_path, ["2024-01-01"] * 19 + ["2024-02-30"])
    assert table.kinds["c"] == "date"
    assert table.bad["c"].to_dict() == {19: "2024-02-30"}


DAYS = pd.Series(pd.date_range("2023-01-01 06:00", periods=300, freq="37h"))


@pytest.mark.parametrize(
    ("name", "column", "notation"),
    [
        ("day", DAYS.dt.strftime("%Y%m%d").astype("int64"), "%Y%m%d"),
        ("day", DAYS.dt.strftime("%Y%m%d%H").astype("int64"), "%Y%m%d%H"),
        ("day", DAYS.dt.strftime("%Y%m").astype("int64"), "%Y%m"),
        ("month", DAYS.dt.strftime("%Y-%m"), "%Y-%m"),
        ("month", DAYS.dt.strftime("%b-%y"), "%b-%y"),
        ("month", DAYS.dt.strftime("%Y %b"), "%Y %b"),
        ("week", DAYS.dt.strftime("%G-W%V"), "week"),
        ("week", DAYS.dt.strftime("%G W%V"), "week"),
        ("created_at", DAYS.astype("datetime64[s]").astype("int64"), "epoch s"),
        ("time", DAYS.astype("datetime64[ms]").astype("int64"), "epoch ms"),
        ("price", DAYS.astype("datetime64[s]").astype("int64"), None),
        ("code", pd.Series(["2010-12", "2011-01"] * 50, dtype="str"), None),
        ("year", DAYS.dt.year, None),
        ("price", pd.Series(range(199990, 200290)), None),
        ("flag", DAYS.dt.hour > 12, None),
    ],
)
def test_numbers_and_months_that_are_dates_without_exception_are_found(tmp_path, name, column, notation):
    assert hides_dates(name, column) == (notation is not None)
    if notation:
        table = read(tmp_path, [*column.astype("str"), ""], {"c": "date"})
        assert table.formats["c"] == notation
        expected = (
            DAYS if notation.startswith("epoch") else dates_of(column.astype("str"), notation).dt.tz_localize(None)
        )
        assert (table.frame["c"][:-1] == expected).all()
        assert table.bad == {}


def test_no_notation_is_left_out_that_a_text_is_in_and_most_others_are():
    moments = [pd.Timestamp("2024-12-09 04:05:06.789", tz=zone) for zone in (None, "Europe/Berlin")]
    texts = [moment.strftime(each) for moment in moments for each in _DATE_FORMATS if "%" in each]
    changes = ["{}Z", "{} +0100", "{}+01:00", "{} UTC", "Mon, {}", " {} ", "{}.0"]
    texts += [change.format(text) for text in texts[::17] for change in changes]
    texts += [text.replace("Dec ", "Dez. ").replace(" 09 ", " 9 de ") for text in texts[::7]]
    texts += [
        "2024Q1",
        "2024-W05",
        "2024 W05",
        "1700000000",
        "1700000000000",
        "20241209.0",
        "31/Jan/2024:12:00:00 +0100",
        "31.01.2024, 12:00",
    ]
    texts = pd.Series(sorted(set(texts)), dtype="object")
    fit = pd.DataFrame({each: dates.notna() for each, dates in _dates_of_each(texts, _DATE_FORMATS).items()})
    assert fit.any().all()
    tried = pd.DataFrame([dict.fromkeys(_possible(texts[[n]]), True) for n in texts.index], columns=_DATE_FORMATS)
    assert not (fit & tried.isna()).any(axis=None)
    assert tried.notna().mean(axis=None) < 0.1


def test_quarters_are_dates():
    quarters = pd.Series(["2023Q1", "2023 Q2", "Q3 2023", "2023-Q4", "2023Q5", None], dtype="str")
    found = dates_of(quarters, "quarter").dt.strftime("%Y-%m-%d")
    assert found[:4].tolist() == ["2023-01-01", "2023-04-01", "2023-07-01", "2023-10-01"]
    assert found[4:].isna().all()


def test_weeks_are_dates():
    weeks = pd.Series(
        ["2023-W01", "2023 W02", "2023W3", "2020-W53", "2021-W53", "2023-W54", "W01 2023", None], dtype="str"
    )
    found = dates_of(weeks, "week").dt.strftime("%Y-%m-%d")
    assert found[:4].tolist() == ["2023-01-02", "2023-01-09", "2023-01-16", "2020-12-28"]
    assert found[4:].isna().all()


@pytest.mark.parametrize("notation", ["%d/%m/%Y", "%m/%d/%Y"])
def test_first_days_of_months_show_which_number_is_the_month(tmp_path, notation):
    months = pd.date_range("2023-01-01", periods=13, freq="MS")
    assert read(tmp_path, list(months.strftime(notation))).frame["c"].tolist() == list(months)
    assert read(tmp_path, list(months[:12].strftime(notation))).kinds["c"] == "text"


@pytest.mark.parametrize(
    "notation",
    ["%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%d-%m-%Y", "%d/%m/%y", "%m/%d/%y %I:%M %p", "%m-%d-%Y %H:%M:%S"],
)
def test_the_first_days_of_a_month_are_no_months_however_many_times_they_have(tmp_path, notation):
    times = pd.date_range("2024-02-01", "2024-02-12 23:00", freq="40min")
    column = times.strftime(notation).tolist()
    table = read(tmp_path, column)
    assert table.kinds["c"] == "text"
    text = pa.chunked_array([table.frame["c"].tolist()])
    assert notation in undecided(text) and len(undecided(text)) > 1
    # The rest of the month decides, and so does what is known.
    more = times.append(pd.date_range("2024-02-13", "2024-02-20")).strftime(notation).tolist()
    assert read(tmp_path, more).formats["c"] == notation
    assert undecided(pa.chunked_array([more])) == []
    found = read_table(tmp_path / "a.csv", {"c": "date"}, {"c": notation})
    assert found.frame["c"].dt.day.tolist()[: len(times)] == times.day.tolist()
    assert found.bad == {}


def test_a_known_notation_is_kept_whatever_the_values_are(tmp_path):
    (tmp_path / "a.csv").write_text("c,n\n" + "".join(f"{day}/3/2024,1\n" for day in range(1, 32)))
    for columns in (scan(tmp_path / "a.csv", {"c": "date"}, {"c": "%m/%d/%Y"}), None):
        if columns:
            (table,) = tables(tmp_path / "a.csv", columns)
        else:
            table = read_table(tmp_path / "a.csv", {"c": "date"}, {"c": "%m/%d/%Y"})
        assert table.formats == {"c": "%m/%d/%Y"}
        assert table.frame["c"].count() == 12
        assert table.bad["c"].iloc[0] == "13/3/2024"
    iso = scan(tmp_path / "a.csv", {"c": "date"}, {"c": "ISO8601"})
    assert iso.formats == {"c": "ISO8601"}
    (table,) = tables(tmp_path / "a.csv", iso)
    assert len(table.bad["c"]) == 31


def test_junk_at_the_start_is_judged_with_all_of_the_values(tmp_path):
    table = read(tmp_path, ["junk"] * 60 + ["7"] * 2000)
    assert table.kinds["c"] == "number"
    assert len(table.bad["c"]) == 60


def test_infinite_and_overflowing_numbers_are_bad(tmp_path):
    table = read(tmp_path, [*map(str, range(30)), "inf", "1e999"])
    assert table.bad["c"].to_dict() == {30: "inf", 31: "1e999"}


def test_a_declared_kind_holds_whatever_the_values(tmp_path):
    assert read(tmp_path, ["00123", "00456"], {"c": "text"}).frame["c"].tolist() == ["00123", "00456"]
    table = read(tmp_path, ["1", "x", "y"], {"c": "number"})
    assert table.bad["c"].to_dict() == {1: "x", 2: "y"}


def test_what_is_written_is_what_is_read(tmp_path):
    frame = pd.DataFrame(
        {
            "n": [1, 2, 3],
            "x": [0.1, np.nan, 1 / 3],
            "t": pd.Series(['a, "b"', None, "line\nbreak"], dtype="str"),
            "d": pd.to_datetime(["2024-01-01 00:00:00.000001", None, "1969-07-20"], format="ISO8601"),
            "b": [True, False, True],
        }
    )
    write_table(frame, tmp_path / "deep/a.csv")
    pd.testing.assert_frame_equal(read_table(tmp_path / "deep/a.csv").frame, frame, check_dtype=False)


def test_plain_text_is_written_without_quotes(tmp_path):
    write_table(pd.DataFrame({"a b": ["x", None], "n": [1.0, 2.5]}), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == b"a b,n\nx,1\n,2.5\n"


@pytest.mark.parametrize("rows", [0, 1, 7, 40_000])
def test_numbers_and_times_are_written_as_arrow_writes_them(tmp_path, rows):
    few, at = np.resize(np.arange(-3, 7), rows), pd.Timestamp("1969-12-31 23:59:59.5")
    columns = {
        "few": few,
        "narrow": few.astype("int8"),
        "unsigned": np.resize(np.array([0, 2**64 - 1], dtype="uint64"), rows),
        "largest": np.resize([2**63 - 1 - n for n in range(5)], rows),
        "least": np.resize([n - 2**63 for n in range(5)], rows),
        "from end to end": np.resize([-(2**63), 2**63 - 1], rows),
        "different": np.arange(rows) * 10**9,
        "one missing": pd.array(few, "Int64"),
        "whole": few * 1.0,
        "minus zero": np.resize([0.0, -0.0, 1e10, 1e-7, 1e300, np.inf, -np.inf], rows),
        "some missing": np.resize([np.nan, 0.1, -2.5], rows),
        "all missing": np.resize([np.nan], rows),
        "fractions": np.sqrt(np.arange(rows)),
        "times": at + pd.to_timedelta(few, unit="h"),
        "zone": pd.Series(at + pd.to_timedelta(few, unit="D")).dt.tz_localize("UTC"),
        "text": np.resize(np.array(["a", "b"], dtype=object), rows),
        "truth": few > 0,
    }
    frame = pd.DataFrame(columns)
    if rows:
        frame.loc[rows // 2, "one missing"] = pd.NA
    write_table(frame, tmp_path / "ours.csv")
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for name in ("times", "zone"):
        # In these it would quote times.
        table = table.set_column(list(frame).index(name), name, table[name].cast(pa.string()))
    options = pyarrow.csv.WriteOptions(quoting_style="none", quoting_header="none")
    pyarrow.csv.write_csv(table, tmp_path / "arrow.csv", options)
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "arrow.csv").read_bytes()


def test_an_empty_file_is_not_a_table(tmp_path):
    (tmp_path / "a.csv").write_text("", encoding="utf-8")
    with pytest.raises(TaskError, match="is empty"):
        read_table(tmp_path / "a.csv")
