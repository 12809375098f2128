"""The weights of training rows: where they come from, which models get them, and what the report says of their gain."""

import argparse
import io
import re
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.preprocessing import TargetEncoder
from test_model import KINDS, SCHEMA, table
from test_presets import COMPOSED, RIDGE

import backtest_week
import clean_data
import feature_engineering as script_features
import gather_features
import train_model as script_train
from conftest import in_process
from explain_model import out_of_sample
from feature_engineering import feature_engineering
from row_budget import row_budget
from signoff.base.errors import TaskError
from signoff.base.files import read_json, write_json
from signoff.config.settings import check_config
from signoff.features.user_code import load_code
from signoff.model.encoding import predictions
from signoff.model.gain import gain_of_weights
from signoff.model.model_file import _skops_bytes
from signoff.model.quantiles import fit_intervals
from signoff.model.records import words_of_gain
from signoff.model.regressor import Learning, TrainingRows, estimators
from signoff.model.training import train_again, train_model
from signoff.model.weights import given_weighting, weight_columns, weights_of
from split_weeks import split_weeks

HALF_LIFE = {"half_life_weeks": 2}


def changed(rows: int = 200) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """Return rows of which the newer half follows another rule, and when each happened."""
    features, target = table(rows)
    when = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(rows), unit="D"))
    return features, target.where(np.arange(rows) < rows / 2, 3 * target + 50), when


@pytest.mark.parametrize(("estimator", "params"), [(RIDGE, {}), *COMPOSED[:4], COMPOSED[-1]])
def test_weights_reach_each_regressor_within_a_model_and_a_refit(estimator, params):
    features, target, _ = changed()
    weights = np.repeat([0.001, 2], 100)
    written, found = [], []
    for given_weights in (weights, weights, None):
        model = train_model(features, KINDS, target, estimator, params, weights=given_weights)
        file = io.BytesIO()
        joblib.dump(model, file)
        written.append(file.getvalue())
        found.append(float((predictions(model, features) - target)[100:].abs().mean()))
    assert written[0] == written[1] and _skops_bytes(model)
    assert found[0] < 0.6 * found[2]
    again = train_again(model, features, KINDS, target, weights=weights)
    assert float((predictions(again, features) - target)[100:].abs().mean()) == pytest.approx(found[0])


@pytest.mark.parametrize(("estimator", "params"), [COMPOSED[0], COMPOSED[1], COMPOSED[2], COMPOSED[3]])
def test_weights_reach_each_regressor_beside_a_category_with_an_encoded_mean(estimator, params):
    features, target, _ = changed()
    # Boosting gets the mean target of so many levels.
    features["street"] = pd.Series(np.arange(200) % 40).astype("str")
    errors = []
    for weights in (np.repeat([0.001, 2], 100), np.ones(200)):
        model = train_model(features, KINDS | {"street": "category"}, target, estimator, params, weights=weights)
        errors.append(float((predictions(model, features) - target)[100:].abs().mean()))
    assert any(isinstance(each, TargetEncoder) for each in estimators(model)) and errors[0] < 0.8 * errors[1]


def test_stacking_with_weights_and_an_encoded_mean_is_one_clear_error():
    features, target, _ = changed(60)
    features["street"] = pd.Series(np.arange(60) % 20).astype("str")
    with pytest.raises(TaskError, match=r"StackingRegressor accepts no weights of rows .* Use VotingRegressor"):
        train_model(features, {"street": "category"}, target, *COMPOSED[4], weights=np.ones(60))


def test_a_regressor_without_weights_is_one_clear_error():
    features, target, _ = changed(40)
    message = "KNeighborsRegressor accepts no weights of rows \\(model.weight\\)"
    for estimator, params in (
        ("sklearn.neighbors.KNeighborsRegressor", {}),
        ("sklearn.ensemble.VotingRegressor", {"estimators": ["sklearn.neighbors.KNeighborsRegressor"]}),
    ):
        with pytest.raises(TaskError, match=message):
            train_model(features, KINDS, target, estimator, params, weights=np.ones(40))


def test_weights_halve_with_age_and_are_one_on_average():
    when = pd.Series(pd.to_datetime(["2024-01-01", "2024-01-29", "2024-01-15"]))
    found = weights_of(when.to_frame("when"), HALF_LIFE, "when")
    assert found / found[1] == pytest.approx([0.25, 1, 0.5]) and found.mean() == pytest.approx(1)
    assert weights_of(when.to_frame("when"), None, "when") is None
    found = weights_of(pd.DataFrame({"w": [0, 30, 90]}), {"column": "w"}, None)
    assert found == pytest.approx([0, 0.75, 2.25])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, -2.0], "1 of 2 training rows have a weight in w that is missing, negative or infinite, such as -2.0"),
        ([1.0, np.nan], "such as nan"),
        ([np.inf, 1.0], "such as inf"),
        ([0.0, 0.0], "the weight of each training row is 0 in w"),
        (["a", "b"], "column w is not numeric"),
    ],
)
def test_wrong_weights_are_one_clear_error(values, message):
    with pytest.raises(TaskError, match=re.escape(message)):
        weights_of(pd.DataFrame({"w": values}), {"column": "w"}, None)


def test_a_half_life_needs_a_time():
    assert given_weighting(argparse.Namespace(weight=None, half_life_weeks=3)) == {"half_life_weeks": 3}
    with pytest.raises(TaskError, match=r"model\.weight\.half_life_weeks needs the age of each row"):
        weight_columns(HALF_LIFE, None)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"weight": "y"}, "model.weight is 'y', which is the target"),
        ({"weight": {"half_life_weeks": 0}}, "model.weight"),
        ({"weight": {"half_life": 3}}, "model.weight"),
        ({"weight": "w", "passes": 2, "max_rows": 9}, "model.weight cannot be combined with model.passes"),
    ],
)
def test_a_wrong_weight_in_the_config_is_one_clear_error(model, message):
    with pytest.raises(TaskError, match=re.escape(message)):
        check_config({"raw_data_source_url": "a.csv", "target": "y", "model": model}, SCHEMA)


def test_the_gain_is_measured_and_its_sentence_says_when_weights_do_harm():
    features, target, when = changed()
    weights = weights_of(when.to_frame("when"), HALF_LIFE, "when")
    rows = TrainingRows(features, KINDS, target, when, weights=weights)
    gain = gain_of_weights(rows, {"estimator": RIDGE, "params": {}}, 0, 1)
    assert gain["difference"] == pytest.approx(gain["MAE_without"] - gain["MAE_with"])
    assert gain["difference"] > gain["standard_error"] > 0 and "in the order of time" in gain["folds"]
    assert words_of_gain(gain, "model.weight").endswith("so the weights lower it")
    for error, words in ((1.0, "remove model.weight"), (6.0, "no established difference")):
        assert words in words_of_gain(gain | {"difference": -5.0, "standard_error": error}, "model.weight")
    unweighted = fit_intervals(TrainingRows(features, KINDS, target, when), {"estimator": RIDGE, "params": {}}, 0.9)
    weighted = fit_intervals(rows, {"estimator": RIDGE, "params": {}}, 0.9)
    assert weighted["below"] != unweighted["below"]


def test_the_diagnostics_fit_their_models_with_weights():
    features, target, when = changed(400)
    rows = features.assign(minutes=target, when=when, w=np.repeat([0.001, 2], 200), split="train")
    model = train_model(features, KINDS, target, RIDGE, weights=rows["w"].to_numpy())
    errors = []
    for weights in (rows["w"].to_numpy(), None):
        found, _ = out_of_sample(model, rows, KINDS, "minutes", None, None, 0, weights)
        errors.append((found - rows["minutes"])[200:].abs().mean())
    assert errors[0] < 0.6 * errors[1]
    rows.loc[::5, "split"] = "test"
    description = {"features": KINDS, "target": "minutes", "time_column": "when", "split": {"by": "time"}}
    samples = [rows, rows[200:]]
    (plain, _), (weighted, _) = (
        row_budget(model, samples, description, 1, 0, each) for each in (None, {"column": "w"})
    )
    assert weighted["MAE"] != plain["MAE"]


def test_the_column_of_weights_is_not_a_feature_and_custom_features_may_not_replace_it(tmp_path):
    features, target = table(60)
    frame = features.assign(w=np.arange(60) + 1.0, minutes=target)
    made, description = feature_engineering(frame, "minutes", weight="w")
    assert set(description["features"]) == set(KINDS) and description["weight"] == "w"
    assert list(made["w"]) == list(frame["w"]) and description["left_out"]["w"] == "the weight of each row"
    with pytest.raises(TaskError, match="column town is not numeric"):
        feature_engineering(frame, "minutes", weight="town")
    with pytest.raises(TaskError, match=r"features\.keep names w, which is model\.weight"):
        feature_engineering(frame, "minutes", weight="w", keep=["w"])
    (tmp_path / "features.py").write_text(
        "def features(rows, built_in):\n    return built_in.assign(w=0.0, town='x')\n", encoding="utf-8"
    )
    code, _ = load_code(tmp_path / "features.py")
    for options, key in (({"weight": "w"}, "model.weight"), ({"split_groups": "town"}, "split.groups")):
        with pytest.raises(TaskError, match=f"other values than the column of that name, which is {re.escape(key)}"):
            feature_engineering(frame, "minutes", code, **options)


def test_the_weights_are_those_of_the_rows_also_with_parts_and_a_budget(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    features, target, when = changed(160)
    raw = features.assign(when=when, w=features["km"] + 1, minutes=target.round(3))
    made = ["--time-column=when", "--target=minutes", "--weight=w"]
    for name, rows in (("whole", raw), ("parts/a", raw[:90]), ("parts/b", raw[90:])):
        Path("raw/parts").mkdir(parents=True, exist_ok=True)
        rows.to_csv(f"raw/{name}.csv", index=False)
        words = [f"--input=raw/{name}.csv", f"--output=cleaned/{name}.csv", "--time-column=when"]
        assert in_process(clean_data, *words)[0] == 0
        like = [] if name == "whole" else ["--like=features/whole.json"]
        words = [f"--input=cleaned/{name}.csv", f"--output=features/{name}.csv", *(like or made)]
        code, said, _ = in_process(script_features, *words)
        assert code == 0, said
    write_json(Path("plan.json"), {"parts": {"a": {}, "b": {}}})
    parts = ["--input=features/parts", "--plan=plan.json", "--like=features/whole.json", "--cleaned=cleaned/parts"]
    for name, more in (("gathered", []), ("sample", ["--max-rows=70"])):
        code, said, _ = in_process(gather_features, *parts, f"--output={name}.csv", *more)
        assert code == 0, said
    assert Path("gathered.csv").read_bytes() == Path("features/whole.csv").read_bytes()
    words = ["--input=sample.csv", "--output=model.pkl", f"--estimator={RIDGE}", "--weight=w", "--intervals=constant"]
    code, said, _ = in_process(script_train, *words)
    assert code == 0, said
    rows = pd.read_csv("sample.csv", dtype={"town": "str"}, parse_dates=["when"])
    rows, kinds = rows[rows["split"] == "train"], read_json(Path("sample.json"))["features"]
    assert 50 < len(rows) <= 70 and np.allclose(rows["w"], rows["km"] + 1) and "w" not in kinds
    by_hand = train_model(rows, kinds, rows["minutes"], RIDGE, {}, weights=(rows["w"] / rows["w"].mean()).to_numpy())
    assert predictions(joblib.load("model.pkl"), rows) == pytest.approx(predictions(by_hand, rows))
    assert read_json(Path("model.json"))["weight"]["column"] == "w"


def test_the_backtest_weights_the_rows_of_each_week(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    features, target, when = changed(80)
    frame = features.assign(minutes=target.astype("float64"), when=when, w=np.repeat([0.001, 1.0], 40))
    weeks = split_weeks(frame, "when", KINDS, "minutes", weight="w")
    for week, rows in weeks.items():
        pa.parquet.write_table(rows, f"{week}.parquet")
    errors = []
    for options in (["--weight=w"], ["--half-life-weeks=1"]):
        paths = [f"{week}.parquet" for week in weeks]
        arguments = ["--train", *paths, "--score", paths[-1], "--output=found.json", f"--estimator={RIDGE}", *options]
        code, said, _ = in_process(backtest_week, *arguments)
        assert code == 0, said
        errors.append(read_json(Path("found.json"))["scores"][list(weeks)[-1]]["model"]["MAE"])
    rows, last = (
        each.to_pandas().drop(columns="w") for each in (pa.concat_tables(weeks.values()), weeks[list(weeks)[-1]])
    )
    plain = backtest_week.backtest_week(rows, {"last": last}, KINDS, "minutes", Learning(RIDGE))
    assert max(errors) < 0.6 * plain["scores"]["last"]["model"]["MAE"]
