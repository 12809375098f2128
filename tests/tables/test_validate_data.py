"""The data contract: every violation at once, by row and value; the profile; the report's own schema."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from jsonschema import validate

import validate_data
from conftest import ROOT, in_process, rides, script
from signoff.tables import batches
from signoff.tables.times import in_future

TABLE = "a,b,d,i\n1,x,2020-01-02,1\n,x,2020-01-02,\n4,y,soon,4.5\nfoo,z,2019-12-31,7\n"
CONTRACT = {
    "columns": {
        "a": {"dtype": "float64", "nullable": False, "checks": {"in_range": {"min_value": 0, "max_value": 3}}},
        "b": {"dtype": "str", "unique": True, "checks": {"isin": ["x", "y"]}},
        "d": {"dtype": "datetime64[ns]", "checks": {"greater_than": "2020-01-01"}},
        "i": {"dtype": "int64", "nullable": True},
        "z": {"dtype": "int64"},
    }
}


def report_of(tmp_path, table: str, contract: dict | None):
    (tmp_path / "raw.csv").write_text(table, encoding="utf-8")
    arguments = ["--input", "raw.csv", "--output", "reports/report.json"]
    if contract:
        (tmp_path / "schema.yaml").write_text(yaml.safe_dump(contract), encoding="utf-8")
        arguments += ["--schema", "schema.yaml"]
    done = script("validate_data", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    report = json.loads((tmp_path / "reports/report.json").read_text(encoding="utf-8"))
    validate(
        report, yaml.safe_load((ROOT / "workflow/schemas/validation_report.schema.yaml").read_text(encoding="utf-8"))
    )
    return report, done.stdout


def test_every_violation_is_reported_at_once_with_its_rows(tmp_path):
    report, log = report_of(tmp_path, TABLE, CONTRACT)
    assert report["status"] == "fail"
    found = {(each["column"], each["check"]): each for each in report["violations"]}
    expected = {
        ("a", "is a number"): [(4, "foo")],
        ("a", "not_nullable"): [(2, None)],
        ("a", "in_range(0, 3)"): [(3, 4.0)],
        ("b", "field_uniqueness"): [(1, "x"), (2, "x")],
        ("b", "isin(['x', 'y'])"): [(4, "z")],
        ("d", "is a date"): [(3, "soon")],
        ("d", "greater_than(2020-01-01)"): [(4, "2019-12-31 00:00:00")],
        ("i", "is a whole number"): [(3, 4.5)],
        ("z", "column_in_dataframe"): [],
    }
    assert {key: [(row["row"], row["value"]) for row in each["examples"]] for key, each in found.items()} == expected
    assert "status: fail, violations: 9" in log.lower()
    assert log.count(" - WARNING - ") == 9


def test_dates_in_another_notation_than_the_recorded_one_are_violations_by_row(tmp_path):
    contract = {"columns": {"d": {"dtype": "datetime64[ns]", "date_format": "%m/%d/%Y"}}}
    report, _ = report_of(tmp_path, "d\n" + "".join(f"{day}/2/2024\n" for day in range(1, 15)), contract)
    (found,) = report["violations"]
    assert (found["column"], found["check"]) == ("d", "is a date, written as %m/%d/%Y")
    assert found["examples"] == [{"row": 13, "value": "13/2/2024"}, {"row": 14, "value": "14/2/2024"}]
    assert report["profile"]["d"]["max"] == "2024-12-02 00:00:00"


@pytest.mark.parametrize("may_be_future", [False, True])
def test_rows_dated_after_the_ingest_are_violations_by_row_unless_the_contract_allows_them(project, may_be_future):
    frame = rides(300).assign(started=pd.date_range("2024-01-01", periods=300, freq="6h").astype("str"))
    frame.loc[[17, 250], "started"] = ["2204-01-01 06:00:00", "9999-12-31"]
    frame.to_csv(project.folder / "rides.csv", index=False)
    contract = {"columns": {"started": {"dtype": "datetime64[ns]", "future": may_be_future}}}
    (project.folder / "schema.yaml").write_text(yaml.safe_dump(contract))
    validation = {"schema": "schema.yaml", "on_failure": "warn"}
    project.configure(
        split={"test_weeks": 4},
        time_column="started",
        validation=validation,
        cleaning={"columns": {"km": "leave"}},
        evaluation={"baseline": "riders"},
        features={"drop": ["ride"]},
    )
    if may_be_future:
        project.snakemake("data/processed/cleaned_data.csv", "reports/validation_report.json")
        assert project.json("reports/validation_report.json")["violations"] == []
        assert project.json("data/processed/cleaned_data.json")["rows_out"] == 300
        return
    done = project.snakemake("data/features/features.csv", "reports/validation_report.json")
    examples = [{"row": 18, "value": "2204-01-01 06:00:00"}, {"row": 251, "value": "9999-12-31 00:00:00"}]
    assert project.json("reports/validation_report.json")["violations"] == [
        {"column": "started", "check": "is not in the future", "rows": 2, "examples": examples}
    ]
    assert "column started: 2 values are not a date, or in the future, or far outside of the other" in done.stdout
    split = project.json("data/features/features.json")["split"]
    assert split["last_test"] == str(frame["started"][299])
    assert split["rows"] == {"train": 187, "test": 111}
    before = project.contents()
    project.snakemake("--forceall", "data/features/features.csv", "reports/validation_report.json")
    assert project.contents() == before


@pytest.mark.parametrize("by", ["time", "hash"])
def test_times_far_outside_take_no_part_in_the_split_if_no_time_column_is_named(project, by):
    frame = rides(300).assign(started=pd.date_range("2024-01-01", periods=300, freq="6h").astype("str"), riders=1)
    frame.loc[[3, 17, 250], "started"] = ["1900-01-01", "2204-01-01 06:00:00", "0001-01-01"]
    frame.to_csv(project.folder / "rides.csv", index=False)
    project.configure(
        split={"by": by},
        evaluation={"baseline": "riders"},
        validation={"on_failure": "warn"},
        cleaning={"columns": {"km": "leave"}},
        features={"drop": ["ride"]},
    )
    project.snakemake("data/features/features.csv", "reports/validation_report.json")
    found = project.json("reports/validation_report.json")["violations"]
    rows = {each["check"]: [example["row"] for example in each["examples"]] for each in found}
    if by == "hash":
        # The only column of dates need not be the time of a row.
        assert rows == {} and project.json("data/processed/cleaned_data.json")["rows_out"] == 300
        return
    assert rows == {"is not far before all other times": [4, 251], "is not far after all other times": [18]}
    features = pd.read_csv(project.folder / "data/features/features.csv", parse_dates=["started"])
    assert len(features) == 297 and set(features["started"].dt.year) == {2024}
    assert project.json("data/features/features.json")["split"]["last_test"] == str(frame["started"][299])


def test_a_bare_date_may_name_the_end_of_its_month_and_a_clock_may_be_ahead():
    times = ["2024-06-20 00:00", "2024-06-11 00:00", "2024-06-10 23:00", "2024-06-12 01:00", "2024-07-20 00:00", None]
    now = pd.Timestamp("2024-06-10 12:00")
    for zone in (None, "UTC"):
        found = in_future(pd.Series(pd.to_datetime(times)).dt.tz_localize(zone), now)
        assert found.tolist() == [False, False, False, True, True, False]


def test_words_among_numbers_with_a_unit_are_violations_and_blanks_are_not(tmp_path):
    table = "a,b\n1 kg,1:30\n2,?\nheavy,late\n-,\n3- kg,2:00\n"
    contract = {"columns": {"a": {"dtype": "str", "unit": "kg"}, "b": {"dtype": "str", "unit": ":", "nullable": True}}}
    report, _ = report_of(tmp_path, table, contract)
    found = {(each["column"], each["check"]): each["examples"] for each in report["violations"]}
    assert found == {
        ("a", "is a number before 'kg'"): [{"row": 3, "value": "heavy"}],
        ("b", "is a time of day or a duration"): [{"row": 3, "value": "late"}],
    }


def test_words_among_numbers_count_in_whatever_rows_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batches, "_BLOCK", 500)
    rows = [f"{n} kg,{n}" for n in range(1, 400)] + ["heavy,1", "light,2"]
    rows[3] = "heavy,4"
    Path("raw.csv").write_text("a,b\n" + "\n".join(rows) + "\n")
    Path("schema.yaml").write_text(yaml.safe_dump({"columns": {"a": {"dtype": "str", "unit": "kg"}}}))
    assert in_process(validate_data, "--input=raw.csv", "--output=r.json", "--schema=schema.yaml")[0] == 0
    (found,) = json.loads(Path("r.json").read_text())["violations"]
    assert (found["column"], found["check"], found["rows"]) == ("a", "is a number before 'kg'", 3)
    assert [(each["row"], each["value"]) for each in found["examples"]] == [
        (4, "heavy"),
        (400, "heavy"),
        (401, "light"),
    ]


def test_examples_are_few_and_counts_are_whole(tmp_path):
    report, _ = report_of(tmp_path, "a\n" + "9\n" * 50, {"columns": {"a": {"checks": {"less_than": 3}}}})
    assert report["violations"][0]["rows"] == 50
    assert [each["row"] for each in report["violations"][0]["examples"]] == [1, 2, 3, 4, 5]


def test_a_table_that_keeps_the_contract_passes(tmp_path):
    contract = {"columns": {"a": {"dtype": "int64"}, "b": {"dtype": "str"}}, "strict": True}
    report, log = report_of(tmp_path, "a,b\n1,x\n2,y\n", contract)
    assert (report["status"], report["violations"], report["contract"]) == ("pass", [], True)
    assert "Status: pass, violations: 0" in log


def test_a_column_too_many_violates_a_strict_contract(tmp_path):
    report, _ = report_of(tmp_path, "a,b\n1,x\n2,y\n", {"columns": {"a": {"dtype": "int64"}}, "strict": True})
    assert [(each["column"], each["check"]) for each in report["violations"]] == [("b", "column_in_schema")]


def test_without_a_contract_bad_values_are_still_violations(tmp_path):
    report, log = report_of(tmp_path, "a\n" + "1\n" * 19 + "l\n", None)
    assert report["contract"] is False
    assert [(each["column"], each["check"]) for each in report["violations"]] == [("a", "is a number")]
    assert report["violations"][0]["examples"] == [{"row": 20, "value": "l"}]
    assert "no data contract" in log


def test_the_profile_tells_each_column(tmp_path):
    table = "n,t,d,e\n1,x,2020-01-01,\n2,x,2020-01-03,\n3,,2020-01-05,\n4,y,,\n"
    profile = report_of(tmp_path, table, None)[0]["profile"]
    assert profile["n"] == {
        "type": "number",
        "unreadable": 0,
        "missing": 0,
        "distinct": 4,
        "min": 1.0,
        "q25": 1.75,
        "median": 2.5,
        "q75": 3.25,
        "max": 4.0,
    }
    assert profile["t"] == {
        "type": "text",
        "unreadable": 0,
        "missing": 1,
        "distinct": 2,
        "most_frequent": {"x": 2, "y": 1},
    }
    assert profile["d"]["median"] == str(pd.Timestamp("2020-01-03"))
    assert profile["e"]["type"] == "empty"
    assert profile["e"]["missing"] == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns: [", "is not valid YAML"),
        ("rows: {}", "needs a key 'columns'"),
        ("columns: {a: {dtype: complex128}}", "column 'a' has the dtype 'complex128'"),
        ("columns: {a: float64}", "column 'a' needs keys such as dtype"),
        ("columns: {a: {checks: [greater_than]}}", "column 'a' needs keys such as dtype"),
        ("columns: {a: {checks: {is_nice: 1}}}", "is not a pandera schema"),
        ("columns: {d: {date_format: '%Q'}}", "column 'd' has the date_format '%Q', which is not a notation of dates"),
        ("columns: {d: {dtype: str, date_format: '%Y-%m-%d'}}", "column 'd' has a date_format, but the dtype 'str'"),
    ],
)
def test_a_wrong_contract_is_one_error_line(tmp_path, text, message):
    (tmp_path / "raw.csv").write_text(TABLE, encoding="utf-8")
    (tmp_path / "schema.yaml").write_text(text, encoding="utf-8")
    arguments = ["--input", "raw.csv", "--output", "report.json", "--schema", "schema.yaml"]
    done = script("validate_data", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stdout
