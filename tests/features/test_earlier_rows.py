"""Features of earlier rows: only what was known before a row's moment, and the same values in a prediction."""

import hashlib
import json
import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import feature_engineering as task
import train_model
from feature_engineering import _Features, feature_engineering
from signoff.base.errors import TaskError
from signoff.base.files import read_json, write_json
from signoff.config.settings import SCHEMA, check_config
from signoff.features.earlier_rows import _columns_remembered, history_features, micros_of, remembered, rows_needed_from
from signoff.features.history_plan import micros
from signoff.features.history_state import history_facts, read_earlier_rows
from signoff.features.plan import FeatureOptions
from signoff.features.recipe import columns_used, features_again, of_a_date
from signoff.model.model_file import load_model
from signoff.release.approval import released_as, reviewed_files
from signoff.release.mlflow_model import _copy_release
from signoff.release.store import Releases
from signoff.report import inputs
from signoff.review.batch_check import BatchCheck, Released
from signoff.review.champion import _champion_features
from signoff.review.leaks import leaks
from signoff.review.newer_rows import Newer, with_newer
from signoff.review.row_scores import Scorer, _Model, score, scorer_of
from signoff.serving.mlflow_loader import _RawRows

START = pd.Timestamp("2024-01-01")
EVERYTHING = {
    "by": "key",
    "values": {"y": "y", "twice": "2 * y + x"},
    "lags": [1, 3],
    "windows": ["5h", "2d"],
    "count": True,
    "since_last": True,
}


def table(hours: list[int], keys: list[str | None], y: list[float], x: list[float] | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "when": START + pd.to_timedelta(hours, "h"),
            "key": pd.Series(keys, dtype="str"),
            "x": x or [1.0] * len(hours),
            "y": y,
        }
    )


def made(frame: pd.DataFrame, *entries: dict, **options: object) -> _Features:
    return _Features(
        lambda: iter([frame]), list(frame), "y", FeatureOptions(history=entries, split_by="hash", **options)
    )


def recipe_of(frame: pd.DataFrame, *entries: dict) -> dict:
    return made(frame, *entries).plan["recipe"]


def test_only_rows_that_were_known_before_a_moment_count_and_equal_moments_do_not():
    frame = table([0, 1, 1, 2, 9, 10], ["a", "a", "a", "a", "b", None], [1, 2, 4, 8, 16, 32])
    entry = {"by": "key", "values": ["y"], "lags": [1], "windows": ["2h"], "count": True, "since_last": True}
    found = history_features(frame, recipe_of(frame, entry))
    nan = math.nan
    expected = {
        "y_lag_1_by_key": [nan, 1, 1, 4, nan, nan],
        "y_mean_2h_by_key": [nan, 1, 1, 7 / 3, nan, nan],
        # A missing key has no history; a new one has none yet.
        "count_2h_by_key": [0, 1, 1, 3, 0, nan],
        "hours_since_last_by_key": [nan, 1, 1, 1, nan, nan],
    }
    pd.testing.assert_frame_equal(pd.DataFrame(found), pd.DataFrame(expected, dtype="float64"))
    late = history_features(frame, recipe_of(frame, {**entry, "available_after": "1h"}))
    # At hour 2, the rows of hour 1 are known in that same moment, which is too late.
    assert late["y_lag_1_by_key"].tolist()[3] == 1
    # A window holds what became known in it, however late that was.
    by_row = history_features(frame, recipe_of(frame, {**entry, "available_after": "y / 4"}))
    assert by_row["y_mean_2h_by_key"].tolist()[3] == pytest.approx(1.5)


def test_without_a_key_all_rows_belong_together_and_two_columns_are_one_key():
    frame = table([0, 1, 2, 3], ["a", "b", "a", "b"], [1, 2, 4, 8], [0, 0, 0, 1])
    found = history_features(
        frame,
        recipe_of(
            frame,
            {"values": ["y"], "lags": [1]},
            {"by": ["key", "x"], "values": ["y"], "lags": [1]},
            {"since_last": True},
        ),
    )
    assert found["y_lag_1"].tolist()[1:] == [1, 2, 4]
    assert found["y_lag_1_by_key_x"].fillna(-1).tolist() == [-1, -1, 1, -1]
    assert found["hours_since_last"].tolist()[1:] == [1, 1, 1]


RECIPE = {
    "lag": {"history": "lag", "of": "2 * y + x", "lag": 2},
    "mean": {"history": "mean", "of": "y", "window": "5h"},
    "count": {"history": "count", "window": "8h"},
    "last": {"history": "since_last"},
}
RECIPE = {name: {**how, "by": ["key"], "time": "when"} for name, how in RECIPE.items()}
ROWS = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.sampled_from(["a", "b", None]),
        st.one_of(st.floats(-1e6, 1e6), st.sampled_from([1e300, -1e-300, math.nan])),
        st.integers(-1, 40),
    ),
    min_size=2,
    max_size=25,
)


def values(found: dict[str, pd.Series], rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    return np.array([each.to_numpy()[rows] for each in found.values()])


@pytest.mark.parametrize("after", ["0h", "3h", "x"])
def test_every_value_is_that_of_a_loop_over_the_rows_and_a_state_has_all_that_it_needs(after):
    rng = np.random.default_rng(1)
    hours, x, y = rng.integers(0, 60, 80), rng.integers(-2, 9, 80), rng.integers(-9, 9, 80)
    frame = table(hours.tolist(), rng.choice(["a", "b"], 80).tolist(), y.tolist(), x.tolist())
    recipe = {name: {**how, "after": after} for name, how in RECIPE.items()}
    known = hours + {"0h": 0, "3h": 3, "x": np.maximum(x, 0)}[after]
    expected = np.full((4, 80), math.nan)
    for row in range(80):
        same = [each for each in range(80) if frame["key"][each] == frame["key"][row] and known[each] < hours[row]]
        last = sorted(same, key=lambda each: (known[each], hours[each], each))
        window = [y[each] for each in last if known[each] >= hours[row] - 5]
        expected[0, row] = 2 * y[last[-2]] + x[last[-2]] if len(last) > 1 else math.nan
        expected[1, row] = np.mean(window) if window else math.nan
        expected[2, row] = sum(known[each] >= hours[row] - 8 for each in last)
        expected[3, row] = hours[row] - hours[last[-1]] if last else math.nan
    np.testing.assert_allclose(values(history_features(frame, recipe)), expected, rtol=1e-15)
    for since in (25, 40, 55):
        at = int(micros_of(pd.Series([START + pd.Timedelta(since, "h")]))[0])
        state = rows_needed_from(remembered(frame, recipe), recipe, at)
        found = values(history_features(frame[["when", "key"]], recipe, state), hours >= since)
        np.testing.assert_allclose(found, expected[:, hours >= since], rtol=1e-15)
        assert len(state.rows) < 80


@settings(max_examples=15, deadline=None)
@given(ROWS, st.integers(0, 24), st.sampled_from(["0h", "3h", "x"]), st.floats(-1e9, 1e9))
def test_no_value_of_a_later_or_equal_moment_enters_and_a_state_gives_the_same_values(rows, place, after, other):
    hours, keys, y, x = map(list, zip(*rows, strict=True))
    frame = table(hours, keys, y, [float(each) for each in x])
    recipe = {name: {**how, "after": after} for name, how in RECIPE.items()}
    found = history_features(frame, recipe)
    moment = hours[place % len(rows)]
    # What was not known before the moment may have any value, or not exist at all.
    delay = {"0h": 0, "3h": 3, "x": np.maximum(x, 0)}[after]
    late, now = np.array(hours) + delay >= moment, np.array(hours) == moment
    changed = frame.assign(y=frame["y"].mask(late, other))
    np.testing.assert_array_equal(values(history_features(changed, recipe), now), values(found, now))
    fewer = history_features(frame[~late | now], recipe)
    np.testing.assert_array_equal(values(fewer, now[~late | now]), values(found, now))
    # From the few rows that a state holds, each later row has the values of training.
    at = int(micros_of(pd.Series([START + pd.Timedelta(moment, "h")]))[0])
    state = rows_needed_from(remembered(frame, recipe), recipe, at)
    given_rows = frame[["when", "key"]]
    after_it = np.array(hours) >= moment
    again = history_features(given_rows, recipe, state)
    expected = values(found, after_it)
    # Without any row in or after the window, a state does not know the count.
    stale = np.isnan(values(again, after_it)) & np.array([[how["history"] == "count"] for how in recipe.values()])
    np.testing.assert_array_equal(values(again, after_it)[~stale], expected[~stale])
    assert np.isnan(values(again, ~after_it)).all()


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(-1e250, 1e250), min_size=2, max_size=12))
def test_a_mean_is_exact_and_the_rows_outside_of_its_window_do_not_change_its_last_digit(y):
    frame = table(list(range(len(y))), ["a"] * len(y), y)
    recipe = {"mean": {"history": "mean", "of": "y", "window": "3h", "by": [], "time": "when", "after": "0h"}}
    found = history_features(frame, recipe)["mean"]
    for row in range(1, len(y)):
        window = y[max(0, row - 3) : row]
        scale = max(map(abs, window))
        exact = float(sum(map(Fraction, window)) / len(window))
        assert abs(found[row] - exact) <= 1e-15 * scale
        alone = history_features(frame[max(0, row - 3) : row + 1].reset_index(drop=True), recipe)["mean"]
        assert alone.iloc[-1] == found[row]


def test_features_of_batches_are_those_of_the_whole_table():
    rng = np.random.default_rng(0)
    frame = table(
        rng.integers(0, 500, 200).tolist(), rng.choice(["a", "b"], 200).tolist(), rng.normal(size=200).tolist()
    )
    whole, description = feature_engineering(frame, "y", history=[EVERYTHING], test_share=0.3)
    batches = [frame[:70], frame[70:71], frame[71:]]
    parts = _Features(
        lambda: iter([each.reset_index(drop=True) for each in batches]),
        *(list(frame), "y", FeatureOptions(history=[EVERYTHING], test_share=0.3)),
    )
    pd.testing.assert_frame_equal(pd.concat(parts.tables(), ignore_index=True), whole, check_exact=True)
    names = [name for name in description["features"] if name.endswith("_by_key")]
    assert len(names) == 11
    # Another row needs its key and its moment, and no target.
    assert columns_used({name: description["recipe"][name] for name in names}) == ["key", "when"]
    assert _columns_remembered(description["recipe"]) == ["key", "when", "y", "x"]
    # The rows of a table that is whole need no state.
    again = features_again(frame, description).frame
    pd.testing.assert_frame_equal(again[names], whole[names], check_exact=True)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"by": "kex", "since_last": True}, "by: there is no column 'kex': did you mean key"),
        ({"by": "y", "since_last": True}, "by: 'y' is the target"),
        ({"by": "when", "since_last": True}, "by: 'when' is the time column"),
        ({"values": ["z"], "lags": [1]}, "values.z: there is no column 'z'"),
        ({"values": ["key"], "lags": [1]}, "values.key: key holds text"),
        ({"values": ["when"], "lags": [1]}, "values.when: when holds dates"),
        ({"values": {"v": "y +"}, "lags": [1]}, "values.v: 'y +' cannot be read"),
        ({"values": ["y"], "windows": ["3 moons"]}, "windows: '3 moons' is not a duration such as"),
        ({"values": ["y"], "windows": ["0h"]}, "windows: '0h' is not a duration such as"),
        ({"values": ["y"], "lags": [1], "available_after": "soon"}, "available_after: there is no column 'soon'"),
        ({"values": ["y"], "lags": [1], "available_after": "2 3"}, "a duration is 90min, 3h, 7d or 2w"),
        ({"windows": ["3h"]}, "lags and windows need values"),
        ({"values": ["y"]}, "values need lags or windows"),
        ({"values": ["y"], "lags": [1], "count": True}, "count needs windows"),
        ({"by": "key"}, "gives no feature"),
    ],
)
def test_a_mistake_in_an_entry_is_one_clear_error(entry, said):
    frame = table([0, 1, 2], ["a", "a", "b"], [1.0, 2.0, 3.0])
    with pytest.raises(TaskError, match=r"^features\.history\.0") as error:
        made(frame, entry)
    assert said in str(error.value).replace("Did", "did")


def test_entries_that_clash_or_lack_a_time_are_refused():
    frame = table([0, 1, 2], ["a", "a", "b"], [1.0, 2.0, 3.0])
    late = {"by": "key", "since_last": True, "available_after": "1h"}
    with pytest.raises(
        TaskError, match=r"features\.history\.1: another entry gives a different feature 'hours_since_las"
    ):
        made(frame, {"by": "key", "since_last": True}, late)
    assert made(frame, late, late).plan["features"]["hours_since_last_by_key"] == "number"
    with pytest.raises(TaskError, match=r"features\.history\.0: earlier rows need a time column"):
        made(frame.drop(columns="when"), late)


def test_a_duration_is_a_whole_number_with_a_unit():
    assert [micros(each) for each in ("90min", "3h", "7 d", "2w")] == [
        5_400_000_000,
        10_800_000_000,
        604_800_000_000,
        2 * 604_800_000_000,
    ]
    assert [micros(each) for each in ("3", "h", "1.5h", "-3h", "3m", "")] == [None] * 6


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with 120 rows, and a scorer whose model was trained on the first 100 of them."""
    folder = tmp_path_factory.mktemp("history")
    rng = np.random.default_rng(0)
    frame = table(
        list(range(120)), rng.choice(["a", "b"], 120).tolist(), rng.normal(size=120).cumsum().round(3).tolist()
    )
    frame.to_csv(folder / "newer.csv", index=False)
    frame[:100].to_csv(folder / "cleaned.csv", index=False)
    entry = {"by": "key", "values": ["y"], "windows": ["6h"], "lags": [1], "count": True, "available_after": "1h"}
    arguments = ["--input", f"{folder}/cleaned.csv", "--output", f"{folder}/features.csv", "--target", "y"]
    task.main([*arguments, "--history", json.dumps(entry), "--state", f"{folder}/history.arrow"])
    train_model.main(
        ["--input", f"{folder}/features.csv", "--output", f"{folder}/model.pkl", "--intervals", "constant"]
    )
    metadata = read_json(folder / "model.json")
    earlier = read_earlier_rows((folder / "history.arrow").read_bytes(), metadata)
    model = _Model(load_model(folder / "model.pkl", metadata["sha256"]), metadata, earlier=earlier)
    return folder, frame, Scorer("release", model, None, None)


def text(frame: pd.DataFrame) -> pa.Table:
    columns = frame.drop(columns="y").astype(str)
    return pa.table({name: pa.array(values.tolist()) for name, values in columns.items()})


def test_a_prediction_has_the_history_of_training_and_needs_few_rows_for_it(trained):
    folder, frame, scorer = trained
    features = pd.read_csv(folder / "features.csv")
    held_out = features[features["split"] == "test"]
    scored, reasons = score(text(frame[:100].iloc[held_out.index]), scorer.model)
    assert not reasons.any()
    expected = scorer.model.pipeline.predict(held_out[list(scorer.model.metadata["features"])])
    np.testing.assert_array_equal(scored["prediction"], expected)
    assert len(held_out) < len(scorer.model.earlier.rows) < 60
    # A release with the same regressor and other earlier rows is another one.
    assert scorer.model.pipeline.history_sha256 == scorer.model.metadata["history"]["sha256"]
    content = (folder / "history.arrow").read_bytes()
    with pytest.raises(TaskError, match="does not belong to this model"):
        read_earlier_rows(content[:-1] + b"x", scorer.model.metadata)


def test_an_mlflow_model_has_the_earlier_rows_and_answers_as_the_release_does(trained, tmp_path):
    folder, frame, scorer = trained
    releases, files = Releases(tmp_path / "deployed"), {}
    (releases.releases / "r").mkdir(parents=True)
    for name in ("model.pkl", "model.json", "history.arrow"):
        content = (folder / name).read_bytes()
        (releases.releases / "r" / name).write_bytes(content)
        files[f"model/{name}"] = hashlib.sha256(content).hexdigest()
    _copy_release(tmp_path / "data/releases/r", "r", {"files": files}, releases)
    copied = scorer_of(Releases(tmp_path / "data"), "r", {"files": files})
    rows = frame[90:100].drop(columns="y").astype(str)
    answered = _RawRows(copied, {"missing": [], "decimal": "."}).predict(rows)
    expected, _ = score(text(frame[90:100]), scorer.model)
    assert answered["prediction"].tolist() == expected["prediction"].tolist()
    (tmp_path / "data/releases/r/history.arrow").write_bytes(content + b"x")
    with pytest.raises(TaskError, match=r"history\.arrow was altered"):
        scorer_of(Releases(tmp_path / "data"), "r", {"files": files})


def test_the_features_of_a_champion_are_made_again_of_all_rows(trained):
    folder, _, scorer = trained
    metadata = scorer.model.metadata
    write_json(folder / "cleaned.json", {"kinds": {"when": "date", "key": "text", "x": "number", "y": "number"}})
    found = _champion_features(folder / "cleaned.csv", metadata, None)
    features = pd.read_csv(folder / "features.csv")
    pd.testing.assert_frame_equal(found[list(found)[4:]], features[list(found)[4:]], check_dtype=False)
    # A value is needed as much as a key is.
    write_json(folder / "cleaned.json", {"kinds": {"when": "date", "key": "text", "x": "number"}})
    with pytest.raises(TaskError, match=r"its features need the column 'y' \(number\), which is gone"):
        _champion_features(folder / "cleaned.csv", metadata, None)


def test_the_report_names_the_features_of_earlier_rows_and_asks_when_these_are_known(trained):
    metadata = trained[2].model.metadata
    metrics = {**metadata, "custom": None, "custom_metrics": None, "history": history_facts(metadata)}
    said = "\n".join(map(str, inputs.model(metrics)))
    assert "Features of earlier rows: y_lag_1_by_key, y_mean_6h_by_key, count_6h_by_key. A row counts for those" in said
    assert "later than 1h after it: is all of it known by then? A release predicts with" in said
    assert "the last of 2024-01-05 03:00:00." in said


def test_newer_rows_continue_the_history_and_older_ones_are_not_counted_twice(trained):
    folder, frame, scorer = trained
    names = [name for name in scorer.model.metadata["features"] if "_by_" in name]
    later = frame[100:].reset_index(drop=True)
    fresh = with_newer(scorer, Newer(folder / "newer.csv"))
    # The file has all rows; those that the release knows are left out.
    assert len(fresh.model.earlier.rows) == len(scorer.model.earlier.rows) + 20
    found = features_again(later.drop(columns="y"), fresh.model.metadata, earlier=fresh.model.earlier).frame
    expected = pd.DataFrame(history_features(frame, fresh.model.metadata["recipe"]))[100:].reset_index(drop=True)
    pd.testing.assert_frame_equal(found[names], expected[names], check_exact=True)
    # Without them, what lies behind the release's data by more than the window is unknown.
    stale = features_again(later.drop(columns="y"), scorer.model.metadata, earlier=scorer.model.earlier).frame
    assert stale[["y_mean_6h_by_key", "count_6h_by_key"]][8:].isna().all(axis=None)
    with pytest.raises(TaskError, match=r"scoring\.history: .*none.csv does not exist"):
        with_newer(scorer, Newer(folder / "none.csv"))
    frame.drop(columns="y").to_csv(folder / "without.csv", index=False)
    with pytest.raises(TaskError, match="has no column 'y'"):
        with_newer(scorer, Newer(folder / "without.csv"))


def test_the_report_of_a_batch_counts_rows_that_lack_history(trained):
    _, frame, scorer = trained
    check = BatchCheck(Released(scorer.model.metadata, {}, None, {}, 0))
    check.add_moments(micros_of(frame["when"][70:119]), scorer.model.earlier)
    check.scored = 49
    found = check.findings(0)
    assert {each["what"] for each in found} == {"history"}
    # Held-out rows begin at hour 80, and the data end at hour 99: at hour 107, nothing was known of the last 6 hours.
    assert [each["now"] * 49 for each in found] == [pytest.approx(10), pytest.approx(12)]
    assert "come after the last earlier row, 2024-01-05 03:00:00, by more than a window" in found[1]["sentence"]


def test_the_target_of_earlier_rows_is_no_leak_and_no_part_of_a_date():
    y = np.random.default_rng(0).normal(size=400).cumsum()
    frame = pd.DataFrame({"when": pd.date_range("2024", periods=400), "last": y + 1e-3, "y": y, "split": "train"})
    description = {"features": {"last": "number"}, "target": "y", "time_column": "when"}
    description |= {"columns": {"when": {"kind": "date"}}}
    how = {"history": "lag", "of": "y", "lag": 1, "by": [], "time": "when", "after": "0h"}
    assert leaks(frame, {**description, "recipe": {"last": {"column": "last"}}}, 0)
    assert not leaks(frame, {**description, "recipe": {"last": how}}, 0)
    # So drift is looked for in it.
    assert not of_a_date("last", {**description, "recipe": {"last": how}})


def test_a_sign_off_covers_the_earlier_rows_and_keys_that_cannot_be_combined_are_refused():
    config = {"raw_data_source_url": "x.csv", "target": "y", "time_column": "when"}
    history = {"features": {"history": [{"since_last": True}]}}
    with_history = {**config, **history}
    found = check_config(with_history, SCHEMA)
    assert "model/history.arrow" in reviewed_files(found, ["config.yaml"])
    assert released_as("model/history.arrow") == "history.arrow"
    with pytest.raises(TaskError, match=r"data\.partition_by computes the features of each part by itself"):
        check_config({**config, **history, "data": {"partition_by": "week"}}, SCHEMA)
    instead = {"features": {**history["features"], "custom": "f.py", "custom_mode": "instead"}}
    with pytest.raises(TaskError, match=r"features\.history is built in"):
        check_config({**config, **instead}, SCHEMA)
