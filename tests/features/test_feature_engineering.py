"""Features: parts of dates, derived columns, what is left out, and a split that never leaks."""

import gc
import tracemalloc
import weakref

import numpy as np
import pandas as pd
import pytest

from feature_engineering import feature_engineering
from signoff.base.errors import TaskError
from signoff.features.evidence import facts_of, names_the_row
from signoff.features.expressions import evaluate
from signoff.features.recipe import make_features


def frame(rows: int = 100) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "when": pd.date_range("2024-01-01", periods=rows, freq="D"),
            "a": np.arange(rows, dtype="float64"),
            "b c": np.arange(rows) % 7,
            "kind": pd.Series(["x", "y"] * (rows // 2), dtype="str"),
            "id": pd.Series([f"id{n}" for n in range(rows)], dtype="str"),
            "yes": [True, False] * (rows // 2),
            "y": np.arange(rows) * 2.0,
        }
    )


def test_features_keep_the_target_and_the_time_and_say_what_they_are():
    features, description = feature_engineering(frame(), "y", drop=["a"])
    assert list(features) == [
        *("when", "when_year", "when_month", "when_day_of_week", "b c", "kind", "yes", "y", "split"),
    ]
    assert description["features"] == {
        **dict.fromkeys(["when_year", "when_month", "when_day_of_week", "b c"], "number"),
        "kind": "category",
        "yes": "number",
    }
    assert description["time_column"] == "when"
    assert description["left_out"] == {"a": "dropped in the config", "id": "text with 100 different values in 100 rows"}


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("house id", np.random.default_rng(0).permutation(100), True),
        ("customerId", np.arange(500, 600), True),
        ("unnamed_1", np.arange(100), True),
        ("Unnamed: 0", np.arange(100), True),
        ("No", np.arange(1, 101), True),
        ("No", np.delete(np.arange(1, 101), [0, 40, 41]), True),
        ("No", np.random.default_rng(0).permutation(100), False),
        ("trip", np.arange(1000), True),
        ("trip", np.arange(999), False),
        ("trip", np.arange(1000) * 3, False),
        ("year", np.arange(1000, 2000), False),
        ("rank", np.arange(1, 2001), False),
        ("num_visits", np.arange(1000, 1100), False),
        ("id", np.arange(100) / 2, False),
        ("id", np.arange(100) // 2, False),
        ("id", np.arange(19), False),
        ("humid", np.random.default_rng(0).permutation(100), False),
    ],
)
def test_whole_numbers_that_only_name_the_row_are_no_features(name, values, expected):
    table = pd.DataFrame({name: values, "x": np.arange(len(values)) % 7, "y": np.arange(len(values)) * 2.0})
    assert names_the_row(name, facts_of(table)[name]) == expected
    description = feature_engineering(table, "y")[1]
    assert (description["left_out"].get(name) == "whole numbers that only name the row") == expected
    assert name in feature_engineering(table, "y", keep=[name])[1]["features"]


@pytest.mark.parametrize(
    ("texts", "hours"),
    [
        ([f"{n // 60}:{n % 60:02d}" for n in range(0, 1440, 15)] + ["noon"] * 4, [0, 0.25, 0.5]),
        ([f"0{n % 3}:{n % 60:02d}:{30 + n % 7}" for n in range(100)], [30 / 3600, 1 + 1 / 60 + 31 / 3600]),
        ([f"{1 + n % 12}:{n % 60:02d} {'AP'[n % 2]}M" for n in range(100)], [1, 14 + 1 / 60, 3 + 2 / 60]),
        ([f"{n % 5} days 01:{n % 60:02d}:00" for n in range(100)], [1, 25 + 1 / 60]),
    ],
)
def test_times_of_day_and_durations_are_hours(texts, hours):
    features, description = feature_engineering(frame().assign(at=pd.Series(texts, dtype="str")), "y")
    assert description["recipe"]["at"] == {"column": "at", "unit": ":"}
    assert features["at"].head(len(hours)).tolist() == pytest.approx(hours)
    assert features["at"].isna().sum() == texts.count("noon")


def test_text_that_is_kept_is_a_category():
    assert feature_engineering(frame(), "y", keep=["id"])[1]["features"]["id"] == "category"


def test_numbers_among_words_and_before_a_unit_are_numbers():
    weights = [f"{n + 0.5:,} kg" for n in range(985, 1035)] + ["on request"] * 30 + ["7", ""] * 10
    table = frame().assign(weight=pd.Series(weights, dtype="str").replace("", None))
    features, description = feature_engineering(table, "y")
    assert description["recipe"]["weight"] == {"column": "weight", "unit": "kg"}
    assert features["weight"].iloc[[0, 49, 50, 80]].tolist() == pytest.approx([985.5, 1034.5, np.nan, 7], nan_ok=True)
    # Each row alone gives the same, whatever the others hold.
    alone = make_features(table.iloc[[49]], {"weight": description["recipe"]["weight"]})
    assert alone["weight"].tolist() == [1034.5]
    few = frame().assign(rooms=pd.Series(["1", "2", "3", "4+"] * 25, dtype="str"))
    assert feature_engineering(few, "y")[1]["features"]["rooms"] == "category"


def test_a_last_time_with_many_rows_is_the_test_part():
    table = frame().assign(when=pd.to_datetime(["2024-01-01"] * 30 + ["2024-02-01"] * 40 + ["2024-03-01"] * 30))
    features, _ = feature_engineering(table, "y")
    assert (features["split"] == "test").tolist() == [False] * 70 + [True] * 30


def test_without_any_feature_left_the_error_gives_the_reasons():
    table = pd.DataFrame({"No": np.arange(100), "y": np.arange(100) * 2.0})
    with pytest.raises(TaskError, match=r"none is left \(No: whole numbers that only name the row\)"):
        feature_engineering(table, "y")


def test_the_last_rows_in_time_are_the_test_part():
    shuffled = frame().sample(frac=1, random_state=0).reset_index(drop=True)
    features, description = feature_engineering(shuffled, "y", test_weeks=2)
    test = features["split"] == "test"
    assert features["when"][test].min() == pd.Timestamp("2024-03-27")
    assert features["when"][~test].max() == pd.Timestamp("2024-03-26")
    assert description["split"]["rows"] == {"train": 86, "test": 14}
    assert feature_engineering(shuffled, "y", test_share=0.3)[1]["split"]["rows"] == {"train": 70, "test": 30}


def test_without_a_time_column_a_hash_decides_and_no_row_changes_sides():
    table = frame(2000).drop(columns="when")
    features, description = feature_engineering(table, "y", test_share=0.25)
    assert description["split"]["by"] == "hash"
    assert 0.2 < (features["split"] == "test").mean() < 0.3
    # New rows, in another order, with missing values that turn whole numbers into floats, and corrected targets
    more = pd.concat([table.tail(500), table.head(1500)], ignore_index=True)
    more["b c"] = more["b c"].astype("float64")
    more["y"] += 1
    more.loc[len(more)] = {**more.iloc[0].to_dict(), "b c": np.nan, "id": "new"}
    again, _ = feature_engineering(more, "y", test_share=0.25)
    side_by_id = dict(zip(table["id"], features["split"], strict=True))
    assert all(side_by_id.get(key, side) == side for key, side in zip(more["id"], again["split"], strict=True))


def test_no_row_changes_sides_when_a_column_gets_its_first_time_zone_or_value():
    table = frame(500).assign(note=pd.Series([None] * 500, dtype="str"))
    before = feature_engineering(table, "y", split_by="hash")[0]["split"].tolist()
    later = pd.concat([table["when"], pd.Series([pd.Timestamp("2030-01-01 10:30:00.5")])], ignore_index=True)
    more = pd.concat([table, table.head(1)], ignore_index=True)
    for changed in (
        more.assign(when=later),
        more.assign(when=later.dt.tz_localize("UTC")),
        more.assign(note=[np.nan] * 500 + [3.5]),
        more.assign(note=pd.Series([None] * 500 + [True], dtype="object")),
    ):
        assert feature_engineering(changed, "y", split_by="hash")[0]["split"].tolist()[:500] == before


def test_rows_without_a_time_cannot_be_split_by_time():
    table = frame()
    table.loc[3, "when"] = pd.NaT
    with pytest.raises(TaskError, match="1 rows have no when, by which"):
        feature_engineering(table, "y")


def test_rows_of_one_key_stay_together():
    table = frame(2000).assign(person=np.arange(2000) // 10)
    features, description = feature_engineering(table, "y", split_key=["person"])
    assert description["split"]["by"] == "hash"
    assert features.groupby(table["person"])["split"].nunique().max() == 1
    assert set(features["split"]) == {"train", "test"}


def test_parts_of_dates_and_circles():
    table = frame().assign(when=pd.date_range("2024-01-01 06:00", periods=100, freq="D"))
    features, _ = feature_engineering(table, "y", date_parts=("month", "hour", "hour_cyclical"))
    assert features["when_hour"].unique().tolist() == [6]
    assert np.allclose(features["when_hour_sin"], 1)
    assert np.allclose(features["when_hour_cos"], 0)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a // 2 * 10 + a % 2", [0, 1, 10, 11]),
        ("-`b c` ** 2", [0, -1, -4, -9]),
        ("a / `b c`", [np.nan, 1, 1, 1]),
        ("1 / a", [np.nan, 1, 1 / 2, 1 / 3]),
        ("(a > 1) & (kind == 'x')", [0, 0, 1, 0]),
        ("when - when", [0, 0, 0, 0]),
        ("(a > 0) + (a > 1)", [0, 1, 2, 2]),
        ("yes + yes", [2, 0, 2, 0]),
        ("1 / a > 0.5", [1, 1, 0, 0]),
        ("a / `b c` > 0", [np.nan, 1, 1, 1]),
        ("~(a / `b c` > 0)", [np.nan, 0, 0, 0]),
        ("(a + 7285712) ** 3", [(7285712.0 + n) ** 3 for n in range(4)]),
        ("`b c` ** -1", [np.nan, 1, 1 / 2, 1 / 3]),
    ],
)
def test_derived_features_are_arithmetic_over_columns(expression, expected):
    assert np.allclose(evaluate("d", expression, frame(4), "y"), expected, equal_nan=True)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("y * 2", "uses the target"),
        ("aa + 1", "there is no column 'aa': did you mean a"),
        ("__import__('os').system('true')", "only column names"),
        ("a.max()", "only column names"),
        ("a[0]", "only column names"),
        ("(lambda: 1)()", "only column names"),
        ("a +", "cannot be computed"),
        ("kind * 2.5", "cannot be computed"),
        ("kind", "cannot be computed"),
        ("1 + 1", "uses no column"),
        ("9**9**9**9 * a", "cannot be computed"),
    ],
)
def test_a_derived_feature_that_cannot_be_is_refused(expression, message):
    with pytest.raises(TaskError, match=message):
        evaluate("d", expression, frame(4), "y")


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('touch pwned')",
        "().__class__.__base__.__subclasses__()",
        "a.__class__.__init__.__globals__",
        "a.to_pickle('pwned')",
        "a.values.tofile('pwned')",
        "(lambda: a)()",
        "[open('pwned', 'w') for n in a]",
        "{n: n for n in a}",
        "(x for x in a)",
        "(a := a)",
        "f'{open(1)}' > a",
        "`a`.`b c`",
        "a if a else a",
        "a and a",
        "a in a",
        "a @ a",
        "a << 99999999",
        "*a",
        "await a",
        "yield a",
        "a; import os",
        "a\nimport os",
        "import os",
        "exec('x')",
        "__builtins__",
        "@a",
        "a\0",
        "a[:]",
        "...",
        "b'x' + a",
        # What takes all memory or all time, if it is let.
        "9**9**9 * a",
        "a ** 9**9**9**9",
        "'%999999999d' % 1",
        "'%999999999d' % a",
        "'x' * 999999999",
        "kind * 999999999",
        "('x' * 99999) * 99999",
        "9" * 99_999 + " * a",
        "-" * 99_999 + "a",
        "~" * 99_999 + "a",
        "(" * 9_999 + "a" + ")" * 9_999,
        "a" + " + a" * 99_999,
        "a" + " ** a" * 99_999,
        # Not wrong in silence either.
        "(-8) ** 0.5 * a",
    ],
    ids=lambda expression: expression[:40],
)
def test_an_expression_can_call_and_import_nothing_and_take_no_more_than_its_columns(expression, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracemalloc.start()
    with pytest.raises(TaskError, match=r"features\.derived\.d: .*") as told:
        evaluate("d", expression, frame(4), "y")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 300e6 and len(str(told.value)) < 1000
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "z"}, "there is no column 'z'"),
        ({"time_column": "a"}, "'a' holds no dates; "),
        ({"drop": ["kin"]}, "there is no column 'kin': did you mean kind"),
        ({"derived": {"a": "a + 1"}}, "the name 'a' is taken"),
        ({"derived": {"split": "a + 1"}}, "the name 'split' is taken"),
        ({"date_parts": ("hours",)}, "'hours' is unknown; did you mean hour"),
        ({"test_weeks": 99}, "gives 0 rows to train and 100 to test"),
        ({"test_share": 0.001}, "each part needs at least 2"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(TaskError, match=message):
        feature_engineering(frame(), **{"target": "y", **options})


def test_a_table_without_dates_cannot_be_split_by_time():
    with pytest.raises(TaskError, match="needs a column of dates"):
        feature_engineering(frame().drop(columns="when"), "y", split_by="time")


def test_a_column_that_has_the_name_of_the_split_is_a_feature_all_the_same():
    features, description = feature_engineering(frame().rename(columns={"a": "split"}), "y")
    assert description["recipe"]["split_"] == {"column": "split"}
    pd.testing.assert_series_equal(features["split_"], frame()["a"], check_names=False)
    assert set(features["split"]) == {"train", "test"}


@pytest.mark.parametrize("column", ["y", "when"])
def test_a_target_or_time_that_has_the_name_of_the_split_is_refused(column):
    table = frame().rename(columns={column: "split"})
    with pytest.raises(TaskError, match="the name 'split' is taken"):
        feature_engineering(table, "split" if column == "y" else "y")


def test_several_columns_of_dates_are_said_and_split_by_hash(caplog):
    table = frame().assign(birth=pd.Timestamp("1990-01-01"))
    assert feature_engineering(table, "y")[1]["split"]["by"] == "hash"
    assert "several columns hold dates (when, birth): name one as time_column" in caplog.text


def test_dates_may_have_no_part():
    assert "when_year" not in feature_engineering(frame(), "y", date_parts=())[0]


def test_a_rows_features_depend_on_that_row_alone():
    whole, _ = feature_engineering(frame(), "y", derived={"d": "a * 2"})
    half, _ = feature_engineering(frame().head(50), "y", derived={"d": "a * 2"})
    pd.testing.assert_frame_equal(whole.head(50).drop(columns="split"), half.drop(columns="split"))


@pytest.mark.parametrize("operator", ["+", "-", "*", "/", "//", "%", "**"])
def test_numbers_are_computed_as_pandas_does_even_by_zero_infinity_and_missing_values(operator):
    special = [0.0, -0.0, 1.0, -2.5, 7.0, 1e308, np.inf, -np.inf, np.nan]
    rows = pd.DataFrame([(a, b) for a in special for b in special], columns=["a", "b"]).set_index(np.arange(81) * 2)
    found = evaluate("d", f"a {operator} b", rows)
    expected = pd.eval(f"rows.a {operator} rows.b", engine="python")
    pd.testing.assert_series_equal(found, expected.where(~np.isinf(expected)), check_names=False, check_exact=True)


def test_rows_are_let_go_once_an_expression_is_evaluated_not_when_garbage_is_looked_for():
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    rows = weakref.ref(frame)
    gc.disable()
    try:
        assert evaluate("c", "(a + b) // 2 - (a > 1)", frame).tolist() == [2.0, 2.0]
        del frame
        assert rows() is None
    finally:
        gc.enable()


def test_a_date_part_gives_way_to_a_column_of_its_name():
    when = pd.date_range("2024-01-01", periods=300, freq="D")
    table = pd.DataFrame({"when": when, "when_month": range(300), "when_day": 1.5, "y": np.arange(300) % 7})
    features, description = feature_engineering(table, "y")
    recipe = description["recipe"]
    assert recipe["when_month"] == {"column": "when_month"}
    assert recipe["when_month_"] == {"column": "when", "part": "month"}
    assert features["when_month"].tolist() == list(range(300))
    assert features["when_month_"].tolist() == when.month.tolist()
