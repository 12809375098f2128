"""What decides which rows train and which test, which week is whose, and which part a row belongs to, exactly.

These are fast, so that mutants of the code meet them all: make mutants.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

import split_weeks
from conftest import ROOT, in_process, rides
from signoff.base.errors import TaskError
from signoff.features.evidence import ColumnFacts, facts_of
from signoff.features.holdout import described, joint_facts, rule_by_time, split_rule, with_split
from signoff.features.holdout import test_rows as held_out
from signoff.source import pieces
from signoff.source import split as splitting
from signoff.source.last_ingest import parts_with_model
from signoff.source.names import folder_name
from signoff.source.pieces import (
    RowsToSplit,
    _blocks,
    _writing,
    copy_rows,
    format_of_dates,
    part_names,
    split_table,
    summed,
    whole,
)
from signoff.source.split import SplitSource, _replace_pieces, split_source
from signoff.tables.counting import row_hashes
from split_weeks import _plan_weeks, _write_week

DAYS = pd.date_range("2024-01-01", periods=10, freq="D")
TABLE = pd.DataFrame({"when": DAYS, "a": np.arange(10.0), "b": list("xyxyxyxyxy"), "y": np.arange(10.0)})
# Which numbers are held out must not change with a version.
SIDES = [n in (0, 1, 2, 4) for n in range(10)]


def facts(table: pd.DataFrame = TABLE) -> dict:
    return facts_of(table, times=True)


def rule(table: pd.DataFrame = TABLE, by: str = "auto", time="when", weeks=None, share=0.2, key=None) -> dict:
    return split_rule(facts(table), "y", time, by, weeks, share, key)


# The training part and the test part


def test_by_time_the_last_share_or_the_last_weeks_are_held_out_and_the_rule_says_so():
    said = {"by": "time", "rule": "the last 20% of the rows by when"}
    for by in ("auto", "time"):
        assert rule(by=by) == {**said, "after": pd.Timestamp("2024-01-08 04:48")}
    assert rule(share=0.3)["after"] == pd.Timestamp("2024-01-07 07:12")
    assert rule(weeks=1) == {**said, "rule": "the last 1 weeks by when", "after": pd.Timestamp("2024-01-03")}
    assert rule(weeks=0.5)["rule"] == "the last 0.5 weeks by when"
    # Where the last time alone is more than the share, it is the test part.
    late = TABLE.assign(when=[*DAYS[:4], *[DAYS[9]] * 6])
    assert rule(late)["after"] == DAYS[3]
    assert rule(TABLE[:0]) | {"after": None} == {"by": "time", "rule": "the last rows by when", "after": None}
    assert pd.isna(rule(TABLE[:0])["after"])


def test_by_hash_all_columns_but_the_target_or_the_key_decide_and_the_rule_says_so():
    said = {"by": "hash", "rule": "20% of the rows by a hash of a, b, when", "key": ["a", "b", "when"], "share": 0.2}
    assert rule(by="hash") == rule(time=None) == said
    keyed = {"by": "hash", "rule": "25% of the rows by a hash of b, a", "key": ["b", "a"], "share": 0.25}
    assert rule(key=["b", "a"], share=0.25) == rule(by="hash", key=["b", "a"], share=0.25) == keyed
    # The order of the columns is none of the rows'.
    assert rule(TABLE[["y", "b", "when", "a"]], by="hash") == said


def test_a_split_that_cannot_be_made_says_what_to_name():
    with pytest.raises(TaskError) as raised:
        rule(by="time", time=None)
    told = "split.by: time needs a column of dates. Name it as time_column, or set split.by: hash."
    assert str(raised.value) == told
    with pytest.raises(TaskError) as raised:
        rule(TABLE.assign(when=TABLE["when"].where(TABLE["a"] > 1)))
    assert str(raised.value) == (
        "2 rows have no when, by which the rows are split. Name it as time_column in the config, and cleaning drops "
        "them; or set split.by: hash."
    )


def test_a_row_is_held_out_that_is_later_than_the_cut_or_whose_hash_is_below_the_share():
    plan = {"time_column": "when", "split": {"by": "time", "after": DAYS[6]}}
    assert held_out(TABLE, plan).tolist() == [False] * 7 + [True] * 3
    plan = {"time_column": "when", "split": {"by": "hash", "key": ["a"], "share": 0.2}}
    assert held_out(TABLE, plan).tolist() == (row_hashes(TABLE[["a"]]) < 2**64 // 5).tolist() == SIDES
    assert held_out(TABLE, {**plan, "split": plan["split"] | {"share": 0}}).sum() == 0
    assert (
        held_out(TABLE, {**plan, "split": plan["split"] | {"key": ["b"], "share": 0.5}}).tolist() == [True, False] * 5
    )


def test_the_table_has_time_features_target_and_side_and_its_sides_are_told():
    plan = {"target": "y", "time_column": "when", "split": {"by": "time", "after": DAYS[6]}}
    table, sides = with_split(TABLE[3:], {"double": TABLE["a"][3:] * 2}, plan)
    assert list(table) == ["when", "double", "y", "split"]
    assert table.index.tolist() == list(range(3, 10))
    assert table["split"].tolist() == ["train"] * 4 + ["test"] * 3
    assert table["double"].tolist() == [2.0 * n for n in range(3, 10)]
    assert table["y"].tolist() == [*range(3, 10)] and table["when"].tolist() == list(DAYS[3:])
    ends = {"first": DAYS[3], "last_train": DAYS[6], "last_test": DAYS[9]}
    assert sides == {"rows": {"train": 4, "test": 3}, **ends}
    plan = {"target": "y", "time_column": None, "split": {"by": "hash", "key": ["a"], "share": 0.2}}
    table, sides = with_split(TABLE, {"a": TABLE["a"]}, plan)
    assert list(table) == ["a", "y", "split"] and (table["split"] == "test").tolist() == SIDES
    assert sides == {"rows": {"train": 6, "test": 4}}
    plan["time_column"] = "when"
    assert list(with_split(TABLE, {}, plan)[0]) == ["when", "y", "split"]


def test_the_sides_of_some_rows_and_some_more_are_those_of_all():
    one = {"rows": {"train": 2, "test": 1}, "first": DAYS[1], "last_train": DAYS[2], "last_test": DAYS[5]}
    two = {"rows": {"train": 0, "test": 4}, "first": DAYS[0], "last_train": pd.NaT, "last_test": DAYS[4]}
    ends = {"first": DAYS[0], "last_train": DAYS[2], "last_test": DAYS[5]}
    for sides in ([one, two], [two, one]):
        assert joint_facts(sides) == {"rows": {"train": 2, "test": 5}, **ends}
    assert joint_facts([one]) == one
    assert joint_facts([{"rows": {"train": 1, "test": 2}}] * 3) == {"rows": {"train": 3, "test": 6}}


def test_the_description_tells_the_rule_and_the_sides_and_each_side_needs_two_rows():
    rule = {"by": "time", "rule": "the last 2 weeks by when", "after": DAYS[6]}
    plan = {"target": "y", "time_column": "when", "features": {"a": "number", "b": "category"}, "split": rule}
    ends = {"first": DAYS[0], "last_train": DAYS[6], "last_test": DAYS[9]}
    assert described(plan, {"rows": {"train": 2, "test": 2}, **ends}) == {
        "target": "y",
        "time_column": "when",
        "features": {"a": "number", "b": "category"},
        "kinds": {"when": "date", "a": "number", "b": "text", "y": "number", "split": "text"},
        "split": {
            "by": "time",
            "rule": "the last 2 weeks by when",
            **{name: str(time) for name, time in ends.items()},
            "rows": {"train": 2, "test": 2},
        },
    }
    rule = {"by": "hash", "rule": "20% of the rows by a hash of a", "key": ["a"], "share": 0.2}
    plan |= {"time_column": None, "split": rule}
    found = described(plan, {"rows": {"train": 3, "test": 2}})
    assert found["split"] == {**rule, "rows": {"train": 3, "test": 2}}
    assert list(found["kinds"]) == ["a", "b", "y", "split"]
    for rows in ({"train": 1, "test": 2}, {"train": 9, "test": 1}):
        with pytest.raises(TaskError) as raised:
            described(plan, {"rows": rows})
        assert str(raised.value) == (
            f"the split (20% of the rows by a hash of a) gives {rows['train']} rows to train and {rows['test']} to "
            "test; each part needs at least 2. Change split.test_weeks or split.test_share, or bring more rows."
        )


def test_by_weeks_the_latest_time_is_enough_in_whatever_batches_the_rows_come():
    times = ColumnFacts()
    for rows in (TABLE[6:], TABLE[:6]):
        times.look(rows["when"])
    assert rule_by_time(times, "when", 1, 0.2) == rule(weeks=1)


def test_by_weeks_one_time_is_enough():
    times = ColumnFacts()
    times.look(pd.Series([pd.Timestamp("2024-01-08")] * 2))
    assert rule_by_time(times, "when", 1, 0.2)["after"] == pd.Timestamp("2024-01-01")


# The weeks of the backtest


FEATURES = pd.DataFrame(
    {
        "day": pd.to_datetime(
            ["2024-01-08", "2024-01-07 23:59", "2024-01-01", "2023-01-01", "2024-01-14 12:00"], format="ISO8601"
        ),
        "km": [1, 2, 3, 4, None],
        "city": ["a", "b", None, "d", "e"],
        "y": [1, 2, 3, 4, 5],
    }
)
KINDS = {"km": "number", "city": "category"}


def test_a_week_holds_its_rows_in_their_order_as_numbers_and_text_and_the_target_last():
    weeks = split_weeks.split_weeks(FEATURES, "day", KINDS, "y")
    # The first of January 2023 is a Sunday: of the last week of the year before.
    assert list(weeks) == ["2022-W52", "2024-W01", "2024-W02"]
    assert [table.to_pydict() for table in weeks.values()] == [
        {"km": [4.0], "city": ["d"], "y": [4.0]},
        {"km": [2.0, 3.0], "city": ["b", None], "y": [2.0, 3.0]},
        {"km": [1.0, None], "city": ["a", "e"], "y": [1.0, 5.0]},
    ]
    schema = pa.schema([("km", pa.float64()), ("city", pa.string()), ("y", pa.float64())])
    assert all(table.schema == schema for table in weeks.values())


@pytest.mark.parametrize(("column", "rows"), [("day", "2"), ("y", "1,005")])
def test_a_row_without_a_time_or_a_target_makes_no_week(column, rows):
    table = pd.concat([FEATURES] * 250, ignore_index=True)
    table[column] = table[column].where(table.index >= int(rows.replace(",", "")))
    with pytest.raises(TaskError) as raised:
        split_weeks.split_weeks(table, "day", KINDS, "y")
    assert str(raised.value) == (
        f"backtest: {column} is missing in {rows} rows. Name it as time_column or target in the config, and cleaning "
        "drops them."
    )


def test_which_weeks_train_and_score():
    weeks = [f"w{n}" for n in range(12)]
    plan = _plan_weeks(weeks)
    assert list(plan) == ["never_retrained", "w8", "w9", "w10", "w11"]
    assert plan["never_retrained"] == {"train": weeks[:8], "score": weeks[8:]}
    assert plan["w10"] == {"train": weeks[:10], "score": ["w10"]}
    assert list(_plan_weeks(weeks, last_weeks=2)) == ["never_retrained", "w10", "w11"]
    windowed = _plan_weeks(weeks, window=9)
    assert (windowed["w8"]["train"], windowed["w11"]["train"]) == (weeks[:8], weeks[2:11])
    for fewest, few in ((8, weeks[:8]), (12, weeks)):
        with pytest.raises(TaskError) as raised:
            _plan_weeks(few, min_train_weeks=fewest)
        assert str(raised.value) == (
            f"backtest.min_train_weeks: {fewest} weeks to train on and one to score are needed, but only {fewest} "
            "weeks have rows. Lower it, or bring more rows."
        )


def test_a_week_is_written_only_where_its_file_holds_something_else(tmp_path):
    rows, path = pa.table({"y": [1.0, 2.0]}), tmp_path / "weeks/2024-W01.parquet"
    assert _write_week(rows, path) is True
    assert pa.parquet.read_table(path) == rows
    before = path.stat()
    assert _write_week(rows, path) is False
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert _write_week(rows[:1], path) is True and pa.parquet.read_table(path) == rows[:1]
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_the_command_line_of_weeks_writes_plan_and_weeks_and_deletes_what_is_none_any_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    days = pd.date_range("2024-01-01", periods=70, freq="D")
    pd.DataFrame({"day": days, "km": range(70), "y": range(70)}).to_csv("features.csv", index=False)
    about = {"time_column": "day", "target": "y", "features": {"km": "number"}}
    about["kinds"] = {"day": "date", "km": "number", "y": "number"}
    Path("features.json").write_text(json.dumps(about), encoding="utf-8")
    Path("weeks").mkdir()
    for name in ("2023-W52.parquet", "notes.txt"):
        Path("weeks", name).touch()
    words = ["--input", "features.csv", "--output", "weeks/plan.json"]
    code, _, log = in_process(split_weeks, *words)
    said = "INFO - [split_weeks] completed. Weeks: 10 (2024-W01 to 2024-W10), new or changed: {}, to be scored: {}"
    assert (code, log[0]) == (0, "INFO - [split_weeks] start: features.csv")
    assert log[1:3] == [
        said.format(10, "2 (from 2024-W09)"),
        "INFO - [split_weeks] wrote the plan to weeks/plan.json",
    ]
    weeks = [f"2024-W{n:02d}" for n in range(1, 11)]
    assert sorted(each.name for each in Path("weeks").iterdir()) == [
        *(f"{week}.parquet" for week in weeks),
        *("notes.txt", "plan.json"),
    ]

    def planned(*options: int) -> dict:
        plan = _plan_weeks(weeks, *options)
        return {model: {**each, "rows": 7 * len(each["train"] + each["score"])} for model, each in plan.items()}

    assert json.loads(Path("weeks/plan.json").read_text("utf-8")) == planned()
    code, _, log = in_process(split_weeks, *words, "--window=3", "--weeks=4", "--min-train-weeks=2")
    assert log[1] == said.format(0, "4 (from 2024-W07)")
    assert json.loads(Path("weeks/plan.json").read_text("utf-8")) == planned(3, 4, 2)
    Path("features.json").write_text(json.dumps(about | {"time_column": None}), encoding="utf-8")
    code, _, log = in_process(split_weeks, *words)
    told = "backtest: a week needs a column of dates. Name it as time_column in the config."
    assert (code, log[-1]) == (1, f"ERROR - [split_weeks] {told}")


# The parts of the source


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_split_by_value_imports_no_pandas_which_takes_longer_than_a_small_split(tmp_path):
    rows = write(tmp_path / "rows.csv", "shop,km\n" + "".join(f"s{number % 3},{number}\n" for number in range(30)))
    words = ["--input", str(rows), "--output", "raw.json", "--pieces", "pieces", "--by", "value", "--column", "shop"]
    code = f"import sys, split_source; split_source.main({words}); print('pandas' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
    assert [len(list(Path(tmp_path, "pieces", part).iterdir())) for part in ("s0", "s1", "s2")] == [1, 1, 1]


def test_the_part_of_a_row_is_the_week_or_month_of_its_date_or_its_value():
    texts = pa.array(["2024-01-07", " 2024-01-08 ", "2023-01-01", "", "NA", "soon", " nan "])
    missing = ["missing"] * 4
    assert part_names(texts, "week", "ISO8601").tolist() == ["2024-W01", "2024-W02", "2022-W52", *missing]
    assert part_names(texts, "month", "ISO8601").tolist() == ["2024-01", "2024-01", "2023-01", *missing]
    texts = pa.array(["EWR", " EWR ", "a/b", "", "NA", "  ", " n/a", "\u00a0"])
    assert part_names(texts, "value", None).tolist() == ["EWR", "EWR", "a%2Fb", *["missing"] * 5]
    assert part_names(pa.array(["01.02.2024"]), "month", "%d.%m.%Y").tolist() == ["2024-02"]


def test_the_name_of_a_folder_leads_nowhere_else_and_is_short():
    names = [folder_name(each) for each in ("a b", ".hidden", "..", "a.b", "~", "a/../b", "100 %", "\n")]
    assert names == ["a b", "%2Ehidden", "%2E.", "a.b", "~", "a%2F..%2Fb", "100 %25", "%0A"]
    assert folder_name("x" * 100) == "x" * 100
    long = "y" * 101
    assert folder_name(long) == f"{'y' * 100}-{hashlib.sha256(long.encode()).hexdigest()[:8]}"


def test_dates_are_known_by_the_first_rows_or_refused(tmp_path):
    dates = write(tmp_path / "a.csv", "n,d\n1,31.12.2024\n2,\n3,01.02.2024\n4,NA\n5,soon\n")
    assert format_of_dates(dates, "d", "week") == "%d.%m.%Y"
    half = write(tmp_path / "a.csv", "d\n2024-12-31\nsoon\n")
    assert format_of_dates(half, "d", "week") == "ISO8601"
    quoted = write(tmp_path / "a.csv", 't,d\n"a\nb",2024-12-31\n')
    assert format_of_dates(quoted, "d", "week") == "ISO8601"
    advice = "Write them as 2024-12-31, or partition by another column."
    for text, by, example in (
        ("d\nred\nblue\n2024-12-31\n", "week", ", such as 'red'"),
        ("d\nNA\nblue\n", "month", ", such as 'blue'"),
        ("d,e\n,1\nNA,2\n", "week", ""),
    ):
        with pytest.raises(TaskError) as raised:
            format_of_dates(write(tmp_path / "a.csv", text), "d", by)
        none = f"{by} needs dates, but time_column 'd' holds none that can be read{example}. {advice}"
        assert str(raised.value) == f"data.partition_by: {none}"


def test_cells_are_read_as_text_as_they_are(tmp_path):
    path = write(tmp_path / "a.csv", 'a,b\n01,NA\n,"x\ny"\n')
    table = _blocks(path, ["a", "b"]).read_all()
    assert table.to_pydict() == {"a": ["01", ""], "b": ["NA", "x\ny"]}
    assert _blocks(path, ["b"]).read_all().column_names == ["b"]
    long = write(tmp_path / "b.csv", "a\n" + "1\n" * 1000)
    assert len([*_blocks(long, ["a"], 500)]) > 3 and len([*_blocks(long, ["a"])]) == 1


def test_pieces_have_quotes_where_their_source_has_any(tmp_path):
    plain, quoted = write(tmp_path / "a.csv", "a\n1\n"), write(tmp_path / "b.csv", 'a\n"1"\n')
    found = [(each.include_header, each.quoting_style) for each in (_writing(plain, True), _writing(quoted, False))]
    assert found == [(True, "none"), (False, "needed")]
    for table, expected in ((plain, b"a\n1\n"), (quoted, b'"a"\n"1"\n')):
        folder = tmp_path / table.stem
        folder.mkdir()
        split_table(RowsToSplit(table, "a", "value"), folder, "rows.csv")
        assert (folder / "1/rows.csv").read_bytes() == expected


def test_at_most_some_first_rows_are_copied(tmp_path):
    table, head = write(tmp_path / "a.csv", "a,b\n1,x\n2,y\n3,z\n"), tmp_path / "head.csv"
    assert copy_rows(table, head, 2) == 2
    assert head.read_text("utf-8") == "a,b\n1,x\n2,y\n"
    # Those of the next file of the source stand below, without a header.
    assert copy_rows(table, head, 5) == 3
    assert head.read_text("utf-8") == "a,b\n1,x\n2,y\n1,x\n2,y\n3,z\n"
    long = write(tmp_path / "b.csv", "a\n" + "".join(f"{n:0>99}\n" for n in range(400_000)))
    for rows in (200_000, 399_999):
        head.unlink()
        assert copy_rows(long, head, rows) == rows
        assert head.stat().st_size == 2 + 100 * rows


def test_rows_of_a_part_keep_their_order_over_all_blocks(tmp_path):
    rows = [f"{n},{'abc'[n % 3]}\n" for n in range(300)]
    table = write(tmp_path / "a.csv", "n,part\n" + "".join(rows))
    for block_bytes in (1 << 20, 200):
        folder = tmp_path / str(block_bytes)
        (folder / "b").mkdir(parents=True)
        counts = split_table(RowsToSplit(table, "part", "value"), folder, "rows.csv", block_bytes=block_bytes)
        assert list(counts.items()) == [("a", 100), ("b", 100), ("c", 100)]
        for n, part in enumerate("abc"):
            assert (folder / part / "rows.csv").read_text("utf-8") == "n,part\n" + "".join(rows[n::3])
    dates = write(tmp_path / "d.csv", "d\n08.01.2024\n07.01.2024\n01.01.2024\n")
    counts = split_table(RowsToSplit(dates, "d", "week", "%d.%m.%Y"), tmp_path, "rows.csv")
    assert list(counts.items()) == [("2024-W01", 2), ("2024-W02", 1)]


def test_rows_from_a_byte_on_stand_behind_what_a_part_had(tmp_path):
    for quote in ("", '"'):
        rows = [f"{n},{quote}{'abc'[n % 3]}{quote}\n" for n in range(300)]
        text, folder = "n,part\n" + "".join(rows[:200]), tmp_path / f"folder{quote}"
        table = write(folder / "a.csv", text)
        before, new, whole = folder / "before", folder / "new", folder / "whole"
        for each in (before, new, whole):
            each.mkdir()
        split_table(RowsToSplit(table, "part", "value"), before, "rows.csv")
        write(table, "n,part\n" + "".join(rows) + f"300,{quote}d{quote}\n")
        (before / "c/rows.csv").unlink()
        new_rows = RowsToSplit(table, "part", "value", start=len(text.encode()))
        counts = split_table(new_rows, new, "rows.csv", before, block_bytes=100)
        assert list(counts.items()) == [("a", 33), ("b", 33), ("c", 34), ("d", 1)]
        split_table(RowsToSplit(table, "part", "value"), whole, "rows.csv")
        for part in "abd":
            assert (new / part / "rows.csv").read_bytes() == (whole / part / "rows.csv").read_bytes()
        # Of a part that had none, only the new ones, with a header of their own.
        assert len((new / "c/rows.csv").read_text("utf-8").splitlines()) == 35


def test_a_pooled_part_has_the_rows_of_others_once_more_and_a_value_with_few_rows_no_model(tmp_path):
    def split(pool: str | None, min_rows: int = 0) -> dict:
        found = split_source(
            str(table), record, SplitSource(tmp_path / "pieces", "value", "shop", pool=pool, min_rows=min_rows)
        )
        record.write_text(json.dumps(found), encoding="utf-8")
        return found

    def rows_of(part: str) -> list[str]:
        (piece,) = (tmp_path / "pieces" / part).iterdir()
        return piece.read_text("utf-8").split()[1:]

    text = "shop,town,y\na,x,1\nb,x,2\na,z,3\n@all,z,4\nb,x,5\n"
    table, record = write(tmp_path / "a.csv", text), tmp_path / "record.json"
    plain = split(None)
    assert [*plain["parts"]] == ["%40all", "a", "b"] and plain["without_model"] == []
    whole = split("", 2)
    assert rows_of("@all") == text.split()[1:]
    assert (whole["records"], whole["bytes"]) == (plain["records"], plain["bytes"]) == (5, plain["bytes"])
    assert whole["without_model"] == ["%40all"] and [*parts_with_model(whole)] == ["@all", "a", "b"]
    # Only its new rows are read, and the value that has enough of them by now gets a model.
    write(table, text + "@all,z,6\n")
    os.utime(table, (0, 0))
    before = (tmp_path / "pieces/a").stat().st_mtime_ns
    grown = split("", 2)
    assert rows_of("@all")[-1] == "@all,z,6" and rows_of("%40all") == ["@all,z,4", "@all,z,6"]
    assert grown["without_model"] == [] and (tmp_path / "pieces/a").stat().st_mtime_ns == before
    assert split("", 3)["without_model"] == ["%40all", "a", "b"]
    by_town = split("town", 9)
    assert rows_of("@z") == ["a,z,3", "@all,z,4", "@all,z,6"]
    assert [*parts_with_model(by_town)] == ["@x", "@z"] and not (tmp_path / "pieces/@all").exists()
    with pytest.raises(TaskError, match=r"models\.pool: .*a\.csv has no column 'tow': did you mean town"):
        split("tow")


LATE = rides(240).to_csv(index=False)
EARLY = "".join(LATE.splitlines(keepends=True)[:201])
NO_QUOTES = EARLY.replace('"Trier, West"', "Trier")


@pytest.mark.parametrize(
    ("before", "now", "rows"),
    [
        (EARLY, LATE, 40),
        (NO_QUOTES, NO_QUOTES + LATE[len(EARLY) :].replace('"Trier, West"', "Trier"), 40),
        (EARLY, EARLY, 0),
        (EARLY.replace("Bonn", "Rome", 1), LATE, 240),
        (EARLY.rstrip("\n"), LATE, 240),
        # With the first quotes of a file, all of its pieces get some.
        (NO_QUOTES, NO_QUOTES + LATE[len(EARLY) :], 240),
        (LATE, EARLY, 200),
    ],
    ids=["more", "more without quotes", "the same", "changed", "a line that was not ended", "first quotes", "fewer"],
)
def test_of_a_file_that_has_only_grown_the_new_rows_alone_are_split(tmp_path, monkeypatch, before, now, rows):
    def split_table(*arguments, **more) -> dict[str, int]:
        counts = pieces.split_table(*arguments, **more)
        found.append(sum(counts.values()))
        return counts

    def split(name: str, folder: str) -> dict:
        record = split_source(str(table), tmp_path / name, SplitSource(tmp_path / folder, "week", "started"))
        (tmp_path / name).write_text(json.dumps(record), encoding="utf-8")
        return record["parts"]

    def results(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*.csv")}

    monkeypatch.setattr(splitting, "split_table", split_table)
    table, record, found = write(tmp_path / "rides.csv", before), tmp_path / "record.json", []
    split("record.json", "pieces")
    first = record.read_bytes()
    write(table, now)
    os.utime(table, (0, 0))
    found.clear()
    parts = split("record.json", "pieces")
    assert sum(found) == rows
    assert parts == split("another.json", "anew")
    assert results(tmp_path / "pieces") == results(tmp_path / "anew")
    # Killed before it has written its record down, it has left later pieces than the record tells of.
    record.write_bytes(first)
    assert split("record.json", "pieces") == parts
    assert results(tmp_path / "pieces") == results(tmp_path / "anew")


def test_pieces_that_changed_take_their_place_and_those_of_no_file_go(tmp_path):
    pieces, fresh = tmp_path / "pieces", tmp_path / "pieces/.new"
    old = {name: write(pieces / name, f"old {name}") for name in ("a/1.csv", "b/1.csv", "c/1.csv", "a/gone.csv")}
    other = [write(pieces / "first_rows.csv", "x"), write(pieces / "d/notes.txt", "x")]
    before = old["a/1.csv"].stat()
    write(fresh / "a/1.csv", "old a/1.csv")
    write(fresh / "b/1.csv", "new")
    write(fresh / "e/2.csv", "new")
    _replace_pieces(
        fresh, pieces, {"x": {"id": "1.csv", "parts": {"a": 1, "b": 1}}, "y": {"id": "2.csv", "parts": {"e": 1}}}
    )
    found = {str(each.relative_to(pieces)): each.read_text("utf-8") for each in pieces.rglob("*") if each.is_file()}
    kept = {"first_rows.csv": "x", "d/notes.txt": "x"}
    assert found == {"a/1.csv": "old a/1.csv", "b/1.csv": "new", "e/2.csv": "new", **kept}
    assert old["a/1.csv"].stat().st_ino == before.st_ino and all(each.is_file() for each in other)
    # A part that has no rows any more has no folder.
    assert sorted(each.name for each in pieces.iterdir()) == ["a", "b", "d", "e", "first_rows.csv"]


def test_a_part_sums_up_its_pieces_of_all_files(tmp_path):
    files = {
        "two": {"id": "2.csv", "parts": {"b": 3, "a": 4}},
        "one": {"id": "1.csv", "parts": {"b": 5}},
    }
    for name, text in (("b/2.csv", "two"), ("a/2.csv", "alone"), ("b/1.csv", "one")):
        write(tmp_path / name, text)

    def digest(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    found = summed(tmp_path, files)
    assert found == {
        "a": {"rows": 4, "pieces": ["2.csv"], "sha256": digest(digest("alone"))},
        "b": {"rows": 8, "pieces": ["1.csv", "2.csv"], "sha256": digest(digest("one") + digest("two"))},
    }
    assert list(found) == ["a", "b"]
    assert whole(tmp_path, files["two"]) and whole(tmp_path, files["one"])
    (tmp_path / "a/2.csv").unlink()
    assert not whole(tmp_path, files["two"]) and whole(tmp_path, files["one"])
