"""The metric that decides between models."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn import metrics
from test_model import KINDS, SCHEMA, few_trees, table

import clean_data
import feature_engineering as script_features
import train_model as script_train
from conftest import in_process
from signoff.base.errors import TaskError
from signoff.base.files import read_json
from signoff.config.settings import check_config
from signoff.model.gain import gain_of_transform
from signoff.model.metric import TO_MINIMISE, error_of, refuse_target
from signoff.model.model_file import _skops_bytes
from signoff.model.presets import choose_good, settings_of_good
from signoff.model.records import words_of_gain
from signoff.model.regressor import Learning, TrainingRows
from signoff.model.training import choose, train_setting
from signoff.model.transform import transformed
from signoff.report.inputs import _transform, model

DUMMY, LOGARITHM = "sklearn.dummy.DummyRegressor", "sklearn.compose.TransformedTargetRegressor"
LINEAR = "sklearn.linear_model.LinearRegression"
CONSTANTS = [{"estimator": DUMMY, "params": {"strategy": ["mean", "median"]}}]


def test_errors_are_those_of_scikit_learn():
    actual, predicted = np.array([1.0, 2, 5]), np.array([2.0, 2, 4.5])
    assert error_of("MAE", actual, predicted) == pytest.approx(metrics.mean_absolute_error(actual, predicted))
    assert error_of("RMSE", actual, predicted) == pytest.approx(metrics.root_mean_squared_error(actual, predicted))
    for name, theirs in (
        ("poisson_deviance", metrics.mean_poisson_deviance),
        ("gamma_deviance", metrics.mean_gamma_deviance),
        ("tweedie_deviance", lambda *both: metrics.mean_tweedie_deviance(*both, power=1.5)),
    ):
        assert error_of(name, actual, predicted) == pytest.approx(theirs(actual, predicted))
        assert error_of(name, actual, predicted - 2) == np.inf
    assert error_of("poisson_deviance", np.array([0.0]), np.array([2.0])) == 4
    assert error_of("quantile_loss_90", actual, predicted) == pytest.approx(
        metrics.mean_pinball_loss(actual, predicted, alpha=0.9)
    )


def test_candidates_are_ranked_by_the_metric():
    features = table(200)[0][["km"]]
    target = pd.Series(np.exp(np.random.default_rng(0).normal(0, 1.5, 200)))
    best_by = {"MAE": "median", "RMSE": "mean", "poisson_deviance": "mean", "tweedie_deviance": "mean"}
    for metric, best in (best_by | {"quantile_loss_25": "median", "quantile_loss_90": "mean"}).items():
        learning = Learning(candidates=CONSTANTS, metric=metric)
        setting, found = choose(learning, TrainingRows(features, {"km": "number"}, target))
        assert setting["params"] == {"strategy": best}
        assert found.get("metric", "MAE") == metric and found["settings"][0][metric] < found["settings"][1][metric]
        assert set(found["settings"][0]) == {"estimator", "params", metric, "spread", "rows", "problem"}


def test_the_preset_compares_by_the_metric_adds_the_loss_of_a_deviance_and_takes_any_number_of_threads(monkeypatch):
    few_trees(monkeypatch, 10)
    features, _ = table(60)
    random = np.random.default_rng(0)
    target = pd.Series(random.poisson(np.exp(features["age"] / 15)).astype("float64"))
    rows = TrainingRows(features, KINDS, target)
    one, two = (choose_good(rows, metric="poisson_deviance", threads=threads) for threads in (1, 2))
    setting, found = one
    # The target is skewed, so that its logarithm is learnt too.
    assert one == two and any(LOGARITHM in str(each) for each in found["settings"])
    assert found["metric"] == "poisson_deviance" and found["settings"][0]["params"] == setting["params"]
    tried = [each["params"].get("loss") for each in found["settings"]]
    assert "poisson" in tried and "gamma" not in str(tried)
    assert all(each["poisson_deviance"] is not None or "not above 0" in each["problem"] for each in found["settings"])
    assert not any("poisson" in str(each) for each in settings_of_good(target))


def test_the_preset_adds_the_loss_of_a_quantile_or_the_one_nearest_to_tweedie():
    target = pd.Series(np.arange(300.0))
    for metric, loss in (
        ("quantile_loss_95", {"loss": "quantile", "quantile": 0.95}),
        ("tweedie_deviance", {"loss": "poisson"}),
    ):
        assert loss in [each["params"] for each in settings_of_good(target, metric)]


def test_the_config_names_the_metrics_of_the_command_line():
    metric = yaml.safe_load(SCHEMA.read_text("utf-8"))["properties"]["model"]["properties"]["metric"]
    assert [each for each in metric["enum"] if each] == list(TO_MINIMISE)


@pytest.mark.parametrize(
    ("metric", "least"), [("poisson_deviance", -1.0), ("gamma_deviance", 0.0), ("tweedie_deviance", -1.0)]
)
def test_a_target_outside_of_the_metric_is_one_clear_error(metric, least):
    with pytest.raises(TaskError, match=rf"{metric} needs a target .* 1 of 2 training rows .* such as {least:g}\."):
        refuse_target(metric, pd.Series([least, 3.0]))
    assert refuse_target("RMSE", pd.Series([-1.0])) == "RMSE"


@pytest.mark.parametrize(("transform", "function"), [("log", np.log), ("log1p", np.log1p), ("sqrt", np.sqrt)])
def test_a_transformed_target_is_learnt_and_predictions_are_in_its_unit(transform, function):
    features, target = table(60)
    target = np.exp(target / 20)
    rows = TrainingRows(features, KINDS, target)
    upper = {"estimator": DUMMY, "params": {"strategy": "quantile", "quantile": 0.9}}
    several = Learning(candidates=[upper, {"estimator": DUMMY}], target_transform=transform)
    for learning in (Learning(DUMMY, target_transform=transform), several):
        model = train_setting(rows, choose(learning, rows)[0])
        assert function(model.predict(features)) == pytest.approx(function(target).mean()) and _skops_bytes(model)


def test_what_a_transformed_target_gains_is_measured_recorded_and_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    features, target = table(200)
    when = pd.Series(pd.date_range("2024-01-01", periods=200))
    frame = features.assign(when=when, minutes=np.exp(target / 20))
    frame.to_csv("raw.csv", index=False)
    training = [f"--estimator={LINEAR}", "--target-transform=log", "--intervals=constant"]
    for script, source, output, words in (
        (clean_data, "raw.csv", "cleaned.csv", ["--time-column=when"]),
        (script_features, "cleaned.csv", "features.csv", ["--time-column=when", "--target=minutes"]),
        (script_train, "features.csv", "model.pkl", training),
    ):
        code, said, _ = in_process(script, f"--input={source}", f"--output={output}", *words)
        assert code == 0, said
    found = read_json(Path("model.json"))["target_transform"]
    gain = found["gain"]
    # The target is the exponential of what is linear.
    assert found["function"] == "log" and gain["difference"] > gain["standard_error"] > 0
    assert "in the order of time" in gain["folds"]
    assert gain["difference"] == pytest.approx(gain["MAE_without"] - gain["MAE_with"])
    assert "so the transformation lowers it (5 folds in the order of time" in _transform(found)
    harm = gain | {"difference": -5.0, "standard_error": 1.0}
    assert "raises it: remove model.target_transform" in words_of_gain(harm, "model.target_transform")
    few = TrainingRows(features.head(19), KINDS, frame["minutes"].head(19))
    assert gain_of_transform(few, transformed({"estimator": LINEAR, "params": {}}, "log"), 0, 1) is None
    assert "too few rows" in _transform({"function": "log", "gain": None})


ABSOLUTE = {"estimator": "a.Boosting", "params": {"loss": "absolute_error"}}


@pytest.mark.parametrize(
    ("chosen", "more", "who"),
    [
        ({"estimator": LINEAR, "params": {}}, {}, None),
        ({"estimator": LINEAR, "params": {}}, {"target_transform": {"function": "sqrt", "gain": None}}, "Predictions"),
        (ABSOLUTE, {}, "Predictions"),
        (transformed({"estimator": LINEAR, "params": {}}, "log1p"), {}, "Predictions"),
        (
            {"estimator": "a.VotingRegressor", "params": {"estimators": [["b", transformed(ABSOLUTE, "log1p")]]}},
            {},
            "Some models of the weighted mean",
        ),
    ],
)
def test_the_report_says_if_predictions_estimate_the_median(chosen, more, who):
    setting = {**chosen, "MAE": 1.0, "spread": 0.1, "rows": 40, "problem": None}
    metrics = {"estimator": chosen["estimator"], "target": "y", "features": {}, "left_out": {}, "custom": None, **more}
    metrics |= {"custom_metrics": None, "split": {"rows": {"train": 40}}}
    metrics["candidates"] = {"folds": "5 folds by chance", "settings": [setting]}
    said = str(model(metrics))
    assert f"{who} estimate the median" in said if who else "estimate the median" not in said


@pytest.mark.parametrize(
    ("transform", "least", "message"),
    [("log", 0.0, "above 0, .* such as 0. Set log1p"), ("log1p", -1.0, "at least 0, .* such as -1. Remove it")],
)
def test_a_target_that_cannot_be_transformed_is_one_clear_error(transform, least, message):
    rows = TrainingRows(table(2)[0], KINDS, pd.Series([least, 3.0]))
    with pytest.raises(TaskError, match=rf"model\.target_transform: {transform} needs a target {message}"):
        choose(Learning(target_transform=transform), rows)


@pytest.mark.parametrize("other", [{"preset": "good"}, {"passes": 2, "max_rows": 9}])
def test_a_transformed_target_goes_with_no_preset_and_no_passes(other):
    config = {"raw_data_source_url": "a.csv", "target": "y", "model": {"target_transform": "log", **other}}
    with pytest.raises(TaskError, match=r"model\.target_transform"):
        check_config(config, SCHEMA)


def test_a_metric_without_a_choice_is_one_clear_error():
    config = {"raw_data_source_url": "a.csv", "target": "y", "model": {"metric": "RMSE"}}
    with pytest.raises(TaskError, match=re.escape("model.metric: RMSE decides between several models, but only one")):
        check_config(config, SCHEMA)
