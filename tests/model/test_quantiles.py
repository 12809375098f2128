"""Prediction intervals with a width for each row, through their functions."""

import json

import joblib
import numpy as np
import pandas as pd
import pytest

import train_model as script_train
from conftest import in_process
from signoff.base.errors import TaskError
from signoff.model import quantiles
from signoff.model.model_file import load_model, write_model
from signoff.model.quantiles import _weighted_quantile, fit_intervals
from signoff.model.regressor import DEFAULT_ESTIMATOR, TrainingRows
from signoff.model.scoring import has_bounds, interval_ends, predict
from signoff.model.training import train_model

KINDS = {"shop": "category", "km": "number", "age": "number"}
SETTING = {"estimator": DEFAULT_ESTIMATOR, "params": {"max_iter": 20}}


def table(rows: int, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    """Return rows with skewed errors, which grow with the kilometres; those of one shop are large."""
    random = np.random.default_rng(seed)
    shop, km = random.choice(["A", "B", "C"], rows), random.uniform(0, 10, rows)
    error = random.gamma(1.5, 1, rows) * (0.2 + km / 4) * np.where(shop == "C", 4, 1)
    features = pd.DataFrame({"shop": pd.Series(shop, dtype="str"), "km": km, "age": random.normal(40, 9, rows)})
    return features, 3 * features["km"] + error


def trained(features: pd.DataFrame, target: pd.Series, time: pd.Series | None = None, setting: dict = SETTING):
    """Return a model with its intervals."""
    model = train_model(features, KINDS, target, **setting)
    model.intervals_ = fit_intervals(TrainingRows(features, KINDS, target, time), setting, 0.9)
    return model


@pytest.fixture(scope="module")
def model():
    return trained(*table(8000))


def ends(model, features: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    predicted = predict(model, features, 1)
    low, high = interval_ends(model, features, predicted, 1)
    return predicted.to_numpy(), low.to_numpy(), high.to_numpy()


def test_each_group_and_fifth_is_covered_as_promised_and_errors_to_one_side_widen_that_side(model):
    features, target = table(20_000, seed=1)
    predicted, low, high = ends(model, features)
    covered = pd.Series((low <= target) & (target <= high))
    assert abs(covered.mean() - 0.9) < 0.03
    fifths = [pd.qcut(each, 5, labels=False) for each in (features["km"], features["age"], predicted)]
    for group in (features["shop"], *fifths):
        assert (covered.groupby(np.asarray(group)).mean() - 0.9).abs().max() < 0.1
    noisy = (features["shop"] == "C").to_numpy()
    assert (high - low)[noisy].mean() > 2.5 * (high - low)[~noisy].mean()
    # One width for all rows that covers as much is wider, and fails the noisy shop.
    sizes = np.abs(target - predicted)
    constant = np.quantile(sizes, 0.9)
    assert (high - low).mean() < 2 * constant and (sizes[noisy] <= constant).mean() < 0.75
    assert (high - predicted).mean() > 1.2 * (predicted - low).mean()


def test_the_prediction_is_between_the_ends_whatever_the_row_holds(model):
    features = pd.DataFrame({"shop": pd.Series(["new", None, "A"], dtype="str"), "km": [np.nan, 1e9, -1e9]})
    features["age"] = [np.nan, np.nan, 0.0]
    predicted, low, high = ends(model, features)
    assert np.isfinite([low, high]).all() and (low <= predicted).all() and (predicted <= high).all()
    one = ends(model, features.tail(1))
    assert [each[0] for each in one] == [predicted[2], low[2], high[2]]
    nothing = interval_ends(model, features.head(0), pd.Series(dtype="float64"), 1)
    assert [len(each) for each in nothing] == [0, 0]


def test_a_model_without_intervals_predicts_without_them(model):
    features, target = table(200)
    older = train_model(features, KINDS, target, **SETTING)
    assert interval_ends(older, features, predict(older, features, 1), 1) is None


def test_the_files_of_a_model_hold_its_intervals_in_the_same_bytes_and_are_refused_when_they_change(tmp_path):
    features, target = table(300)
    time = pd.Series(pd.date_range("2024-01-01", periods=300, freq="h"))
    one, two = (trained(features, target, time) for _ in range(2))
    for name in ("model.pkl", "model.skops"):
        digest = write_model(one, tmp_path / name)
        assert write_model(two, tmp_path / f"again.{name}") == digest
        again = load_model(tmp_path / name, digest)
        np.testing.assert_array_equal(ends(again, features), ends(one, features))
        again.intervals_["above"] = 0.0
        write_model(again, tmp_path / name)
        with pytest.raises(TaskError, match="is not the file that was written down"):
            load_model(tmp_path / name, digest)


def test_a_pickle_is_read_without_this_project(model):
    import io
    import pickletools

    written = io.BytesIO()
    joblib.dump(model, written)
    named = [value for _, value, _ in pickletools.genops(written.getvalue()) if isinstance(value, str)]
    assert not [each for each in named if each.startswith("signoff")]


def test_the_quantile_is_that_of_split_conformal_prediction_and_heavier_scores_move_it():
    scores = np.random.default_rng(0).normal(size=200)
    rank = int(np.ceil(201 * 0.95))
    assert _weighted_quantile(scores, np.ones(200), 0.95) == np.sort(scores)[rank - 1]
    assert _weighted_quantile(scores[:10], np.ones(10), 0.95) == np.inf
    newest = np.where(np.arange(200) >= 150, 1.0, 0.01)
    scores[150:] += 5
    assert _weighted_quantile(scores, newest, 0.5) > 4 > _weighted_quantile(scores, np.ones(200), 0.5)


@pytest.mark.parametrize("rows", [7, 1000, quantiles._ENOUGH_ROWS])
def test_errors_are_of_rows_that_the_model_has_not_seen_and_of_later_ones_if_rows_have_a_time(rows):
    for by_time in (False, True):
        parts = list(quantiles._parts(np.arange(rows), by_time))
        for seen, unseen in parts:
            assert len(unseen) and not set(seen) & set(unseen)
            assert not by_time or seen.max() < unseen.min()
        unseen = np.concatenate([each for _, each in parts])
        assert len(set(unseen)) == len(unseen) >= rows // 4


def test_the_command_line_says_which_intervals_a_model_has(finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, by in (([], "quantile"), (["--intervals=constant"], "constant")):
        features = finished_run.folder / "data/features/features.csv"
        words = [
            *words,
            f"--input={features}",
            "--output=model.pkl",
            "--interval-level=0.8",
            '--params={"max_iter": 5}',
        ]
        code, said, _ = in_process(script_train, *words)
        assert code == 0, said
        about = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
        assert about["intervals"] == {"by": by, "level": 0.8}
        assert has_bounds(load_model(tmp_path / "model.pkl", about["sha256"])) == (by == "quantile")


def test_newer_errors_weigh_more():
    features, target = table(1200)
    random = np.random.default_rng(5)
    target = 3 * features["km"] + random.normal(0, 1, 1200) * np.where(np.arange(1200) < 1000, 1, 4)
    time = pd.Series(pd.date_range("2024-01-01", periods=1200, freq="h"))
    found = fit_intervals(TrainingRows(features, KINDS, target, time), SETTING, 0.9)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(quantiles, "_HALF_LIFE", 1e9)
        same = fit_intervals(TrainingRows(features, KINDS, target, time), SETTING, 0.9)
    assert found["above"] > same["above"] and found["below"] > same["below"]


def test_growing_errors_widen_intervals_and_steady_ones_do_not():
    random, tail = np.random.default_rng(3), 0.05
    steady = random.normal(0, 1, (2, 4000))
    growing = steady * np.linspace(0.5, 2, 4000)
    assert quantiles._drifting(steady, tail) > 0.9 > 0.8 > quantiles._drifting(growing, tail)
    assert quantiles._drifting(growing[:, ::-1], tail) == 1
    assert quantiles._drifting(growing[:, :300], tail) == 1


def test_without_enough_errors_no_interval_is_fitted_and_the_log_says_so(caplog):
    features, target = table(30)
    assert fit_intervals(TrainingRows(features.head(18), KINDS, target.head(18)), SETTING, 0.9) is None
    assert "no interval for each row: 18 errors of unseen rows are too few" in caplog.text
    setting = {"estimator": "sklearn.neighbors.KNeighborsRegressor", "params": {"n_neighbors": 25}}
    assert fit_intervals(TrainingRows(features, KINDS, target), setting, 0.9) is None
    assert "the errors of unseen rows are unknown" in caplog.text
