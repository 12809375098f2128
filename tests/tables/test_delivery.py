"""What the contract says of a delivery: enough rows, fresh, complete, not too much missing; each message says where."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from jsonschema import validate

import gather
import validate_data
from conftest import ROOT, in_process
from signoff.base.errors import TaskError
from signoff.tables import batches
from signoff.tables.contract import read_contract
from signoff.tables.delivery import Delivery, counts_by_day
from signoff.tables.times import Times, time_column_of
from signoff.tables.violations import describe

CONTRACT = {
    "rows": {"min": 0.7, "max": 1.9, "newest": 0.5},
    "freshness": "10 days",
    "complete": {"every": "week", "levels": ["shop"]},
    "columns": {
        "day": {"dtype": "datetime64[ns]"},
        "shop": {"dtype": "str"},
        "units": {"dtype": "float64", "nullable": True, "max_missing": {"all": 0.2, "newest": 0.3}},
    },
}


def panel(weeks: int = 20) -> pd.DataFrame:
    """Three shops with a row each day, from a Monday on, which end on Sunday, 2024-05-19 after 20 weeks."""
    days = pd.date_range("2024-01-01", periods=7 * weeks)
    frame = pd.MultiIndex.from_product([days, ["A", "B", "C"]], names=["day", "shop"]).to_frame(index=False)
    return frame.assign(units=np.arange(len(frame)) % 9 + 1.0)


@pytest.fixture
def delivered(tmp_path, monkeypatch):
    """Return a function that validates a delivery where others were validated before; it gives the report."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batches, "_BLOCK", 4000)
    schema = yaml.safe_load((ROOT / "workflow/schemas/validation_report.schema.yaml").read_text(encoding="utf-8"))

    def deliver(frame: pd.DataFrame, now: str = "2024-05-20", contract: dict | None = None) -> dict:
        frame.to_csv("raw.csv", index=False)
        (tmp_path / "raw.json").write_text(json.dumps({"ingested_at": f"{now}T06:00:00+00:00"}))
        (tmp_path / "schema.yaml").write_text(yaml.safe_dump(contract or CONTRACT))
        words = ["--input=raw.csv", "--output=report.json", "--schema=schema.yaml", "--time-column=day"]
        code, said, _ = in_process(validate_data, *words)
        assert code == 0, said
        report = json.loads((tmp_path / "report.json").read_text())
        validate(report, schema)
        return report

    return deliver


def found(report: dict) -> dict[tuple, str]:
    return {(each["column"], each["check"]): each.get("found", "") for each in report["violations"]}


def test_a_source_that_holds_half_of_its_rows_is_a_violation_until_they_are_back(delivered):
    frame = panel()
    assert delivered(frame)["violations"] == []
    half = delivered(frame[len(frame) // 2 :])
    assert found(half) == {
        (
            None,
            "rows",
        ): "210 rows, 50% of the 420 in the last run; the contract allows at least 70% (rows.min). Check at "
        "the source whether part of the history is missing. If the delivery is right, change rows in the contract"
    }
    assert describe(half["violations"])[0].startswith("210 rows, 50% of the 420")
    # The same data again, and then others that are as few, are no standard for themselves.
    assert delivered(frame[len(frame) // 2 :]) == half
    assert list(found(delivered(frame[len(frame) // 2 - 3 :]))) == [(None, "rows")]
    assert delivered(frame)["violations"] == []
    assert list(found(delivered(pd.concat([frame, frame])))) == [(None, "rows")]


def test_a_delivery_that_is_right_is_the_standard_once_the_contract_allows_it(delivered):
    frame = panel()
    delivered(frame)
    allowed = CONTRACT | {"rows": {"min": 0.4}}
    assert delivered(frame[210:], contract=allowed)["violations"] == []
    assert delivered(frame[207:])["violations"] == []


def test_what_is_wrong_with_a_delivery_is_named_with_column_level_period_and_count(delivered):
    frame = panel()
    delivered(frame)
    newest = frame["day"] >= "2024-05-13"
    assert found(delivered(frame[~(newest & (frame["shop"] == "C"))])) == {
        (
            "shop",
            "newest levels",
        ): "no rows of 'C' (usually 7) in the newest 7 days (2024-05-13 to 2024-05-19). Check at "
        "the source whether they were delivered. If they have ended, list those that remain in complete.levels.shop in "
        "the contract"
    }
    assert found(delivered(frame[frame["shop"] != "C"]))["shop", "complete"].startswith(
        "no rows of 'C' (133 in the last run). Check"
    )
    stale = delivered(frame, now="2024-06-20")
    assert found(stale)["day", "freshness"].startswith(
        "the newest row is dated 2024-05-19 00:00, 32 days before the ingest; the contract allows 10 days. Check"
    )
    gap = frame[~frame["day"].between("2024-03-04", "2024-03-17")]
    assert found(delivered(gap))["day", "complete"].startswith(
        "2 weeks without rows: 2024-W10 (from 2024-03-04), 2024-W11 (from 2024-03-11). Check"
    )
    few = frame[~(newest & (frame.index % 3 > 0))]
    assert found(delivered(few))[None, "newest rows"].startswith(
        "7 rows in the newest 7 days (2024-05-13 to 2024-05-19), 33% of the usual 21; the contract asks for"
    )
    empty = delivered(frame.assign(units=frame["units"].mask(newest)))
    assert found(empty)["units", "max_missing.newest"].startswith(
        "21 of 21 values are missing in the newest 7 days (2024-05-13 to 2024-05-19) (100%); the contract allows 30%"
    )
    assert empty["violations"][0]["rows"] == 21
    assert ("units", "max_missing.all") in found(
        delivered(frame.assign(units=frame["units"].mask(frame.index % 4 == 0)))
    )


def test_another_table_is_compared_with_nothing(delivered):
    delivered(panel().assign(a=1, b=2, c=3, d=4))
    short = panel().tail(100)
    assert delivered(short)["violations"] == []
    Path("report.json").write_text("{")
    assert "last_delivery" not in delivered(short.head(50), now="2024-05-01")


def test_levels_that_have_ended_are_left_out_by_a_list_of_those_that_remain(delivered):
    frame = panel()
    delivered(frame)
    contract = CONTRACT | {"complete": {"levels": {"shop": ["A", "B"]}}, "rows": {}}
    assert delivered(frame[frame["shop"] != "C"], contract=contract)["violations"] == []
    assert ("shop", "complete") in found(delivered(frame[frame["shop"] != "A"], contract=contract))


def test_months_and_days_without_rows_and_bounds_of_rows(delivered):
    frame = panel()
    for every, words in (("day", "1 day without rows: 2024-03-06"), ("month", "")):
        contract = CONTRACT | {"complete": {"every": every}, "rows": {"at_least": 418, "at_most": 500}}
        report = found(delivered(frame[frame["day"] != "2024-03-06"], contract=contract))
        assert report.get(("day", "complete"), "").partition(". Check")[0] == words
        assert report[None, "rows"].startswith("417 rows, but the contract asks for at least 418 (rows.at_least)")
    april = frame[frame["day"].dt.month != 4]
    contract = CONTRACT | {"complete": {"every": "month"}, "rows": {"at_most": 300}}
    report = found(delivered(april, contract=contract))
    assert report["day", "complete"].startswith("1 month without rows: 2024-04. Check")
    assert report[None, "rows"].startswith("330 rows, but the contract asks for at most 300 (rows.at_most)")


def test_a_few_rows_in_the_newest_period_and_a_rare_level_are_left_to_chance(delivered):
    frame = panel()
    frame.loc[frame.index[:6], "shop"] = "closed"
    delivered(frame)
    assert delivered(frame[6:])["violations"] == []
    sparse = frame[frame["day"].dt.day_of_week == 6].assign(
        units=lambda rows: rows["units"].mask(rows["day"] > "2024-05-13")
    )
    contract = CONTRACT | {"complete": {}, "rows": {}}
    assert delivered(sparse, contract=contract)["violations"] == []


@pytest.mark.parametrize("when", [["1900-01-01"], ["1970-01-01"] * 9, ["0001-01-01"], ["2013-05-06"]])
def test_times_far_outside_of_the_others_are_violations_and_no_period_is_judged_by_them(delivered, when):
    frame = pd.concat([panel().astype({"day": "str"}), panel().head(len(when)).assign(day=when)])
    report = delivered(frame)
    assert [(each["check"], each["rows"]) for each in report["violations"]] == [
        ("is not far before all other times", len(when))
    ]
    assert report["violations"][0]["examples"][0]["row"] == 421
    allowed = CONTRACT | {"columns": CONTRACT["columns"] | {"day": {"dtype": "datetime64[ns]", "past": True}}}
    assert "is not far before all other times" not in str(delivered(frame, contract=allowed))


def test_times_are_far_outside_only_where_a_gap_says_so():
    now = pd.Timestamp("2030-01-01")
    long = pd.Series(pd.date_range("1950-01-01", "2024-01-01", freq="MS"))
    grown = pd.Series(
        pd.date_range("1990-01-01", "2020-01-01", freq="YS").append(pd.date_range("2020-01-01", periods=900))
    )
    for times in (long, grown, pd.Series(pd.to_datetime(["1900-01-01"] + ["2024-01-01"] * 5))):
        assert Times("t", now).narrowed(counts_by_day(times)) == Times("t", now)
    days = pd.Series(pd.date_range("2013-01-01", periods=300).append(pd.DatetimeIndex(["2020-02-02"])))
    narrowed = Times("t", now).narrowed(counts_by_day(days))
    assert {check: int(each.sum()) for check, each in narrowed.wrong(days).items()} == {
        "is not far after all other times": 1
    }
    assert Times("t", now, future=True).narrowed(counts_by_day(days)).wrong(days) == {}


def test_the_only_column_of_dates_is_found_if_none_is_named():
    kinds = {"n": "number", "d": "date"}
    assert [time_column_of(kinds, *each) for each in ((None, True), (None, False), ("d", False), ("n", True))] == [
        *("d", None, "d", None)
    ]
    assert time_column_of(kinds | {"e": "date"}, None, True) is None


def test_rows_by_level_of_old_days_are_forgotten_and_the_newest_stay():
    frame, delivery, whole = panel(), Delivery(["shop"], [], keep=14), Delivery(["shop"], [])
    for n in range(0, len(frame), 50):
        delivery.look(frame[n : n + 50], frame["day"][n : n + 50])
        whole.look(frame[n : n + 50], frame["day"][n : n + 50])
    kept, full = (each.by_level("shop", 7) for each in (delivery, whole))
    assert {level: counts[:2].tolist() for level, counts in kept.items()} == {level: [7, 7] for level in "ABC"}
    assert kept["A"][2:].sum() == 0 and full["A"].tolist() == [7] * 20
    assert delivery.record() == whole.record() == {"rows": 420, "levels": {"shop": {"A": 140, "B": 140, "C": 140}}}


def test_parts_are_judged_as_one_delivery(delivered):
    frame = panel()
    gone = frame[~((frame["day"] >= "2024-05-13") & (frame["shop"] == "C"))].assign(units=1.0)
    gone.loc[gone["day"] >= "2024-05-13", "units"] = None
    (Path("first.json")).write_text(
        json.dumps({"kinds": {"day": "date", "shop": "text", "units": "number"}, "date_formats": {"day": "ISO8601"}})
    )
    for number, rows in (("1", frame), ("2", gone)):
        whole = found(delivered(rows))
        names = []
        for name, part in rows.groupby(rows["day"].dt.strftime("%Y-%m")):
            Path("parts").mkdir(exist_ok=True)
            part.to_csv(f"{name}.csv", index=False)
            names.append(name)
            words = [f"--input={name}.csv", f"--output=parts/{name}.json", "--like=first.json"]
            code, said, _ = in_process(validate_data, *words, "--schema=schema.yaml", "--time-column=day")
            assert code == 0, said
        record = {"parts": dict.fromkeys(names), "number": number, "ingested_at": "2024-05-20T06:00:00+00:00"}
        Path("plan.json").write_text(json.dumps(record))
        words = ["--plan=plan.json", "--input=parts", "--output=gathered.json", "--schema=schema.yaml"]
        code, said, _ = in_process(gather, *words, "--time-column=day")
        assert code == 0, said
        gathered = json.loads(Path("gathered.json").read_text())
        assert found(gathered) == whole
        assert gathered["delivery"]["rows"] == len(rows)
    assert set(whole) == {("shop", "newest levels"), ("units", "max_missing.newest")}
    assert gathered["last_delivery"]["rows"] == 420


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": {"km": {"unit": 5}}}, "column 'km': unit is 5, but must be text in quotes, such as 'kg'."),
        ({"columns": {"d": {"date_format": 5}}}, "column 'd': date_format is 5, but must be text in quotes"),
        ({"columns": {"d": {"future": "yes"}}}, "column 'd': future is 'yes', but must be true or false."),
        ({"columns": {"d": {"dtype": 5}}}, "column 'd': dtype is 5, but must be text"),
        ({"columns": {"d": {"max_missing": 5}}}, "column 'd': max_missing is 5, but must be a share from 0 to 1."),
        ({"columns": {"d": {"max_missing": "few"}}}, "column 'd': max_missing is 'few', but must be a number"),
        ({"columns": {"d": {"max_missing": {"new": 0.5}}}}, "max_missing.new is unknown: did you mean newest?"),
        ({"rows": 5}, "rows is 5, but must be a mapping with min, max, newest, at_least, at_most."),
        ({"rows": {"mim": 5}}, "the key rows.mim is unknown: did you mean min"),
        ({"rows": {"min": True}}, "rows.min is True, but must be a number that is not negative."),
        ({"freshness": 5}, "freshness is 5, but must be a duration, such as 10 days or 36 hours."),
        ({"newest": "36 hours"}, "newest is '36 hours', but must be whole days, such as 7 days."),
        ({"complete": {"every": "fortnight"}}, "complete.every is 'fortnight', but must be day or week or month."),
        ({"complete": {"levels": ["shp"]}}, "complete.levels names 'shp': did you mean shop?"),
        ({"complete": {"levels": {"shop": "A"}}}, "complete.levels.shop is 'A', but must be a list of levels."),
        ({"complete": {"levels": "shop"}}, "complete.levels is 'shop', but must be a list of columns"),
    ],
)
def test_a_key_of_the_wrong_type_is_one_error_that_names_it(tmp_path, changes, message):
    path = tmp_path / "schema.yaml"
    path.write_text(yaml.safe_dump({"columns": {"shop": {}}} | changes))
    with pytest.raises(TaskError) as raised:
        read_contract(path)
    assert message in str(raised.value) and str(path) in str(raised.value)


def test_keys_that_need_a_time_column_say_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    panel().drop(columns="day").to_csv("raw.csv", index=False)
    contract = {"freshness": "5 days", "complete": {"every": "day"}, "columns": {"shop": {"dtype": "str"}}}
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(contract))
    code, said, _ = in_process(validate_data, "--input=raw.csv", "--output=report.json", "--schema=schema.yaml")
    assert code == 1
    assert "freshness and complete.every cannot be judged without a time column. Set time_column in the config." in said
