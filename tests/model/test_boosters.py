"""LightGBM and CatBoost: equal bytes, what is said where they are missing, and that they take part in the preset."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from test_model import KINDS, SCHEMA, table
from test_text import KINDS as TEXT
from test_text import flats

import reproduce
import train_model as script_train
from conftest import ROOT, in_process
from signoff.base.errors import TaskError
from signoff.base.files import sha256
from signoff.config.settings import check_config
from signoff.model.boosters import BOOSTERS, named_in, usable
from signoff.model.encoding import predictions
from signoff.model.model_file import load_model, pickled, write_model
from signoff.model.presets import settings_of_good
from signoff.model.quantiles import fit_intervals
from signoff.model.regressor import TrainingRows, make_regressor
from signoff.model.text import text_features
from signoff.model.training import train_again, train_model
from signoff.release.mlflow_model import _requirements

INSTALLED = [each for each in BOOSTERS if find_spec(each)]
needs_both = pytest.mark.skipif(len(INSTALLED) < 2, reason="LightGBM or CatBoost is not installed: make boosters")
LIGHTGBM = ("lightgbm.LGBMRegressor", {"n_estimators": 20})
CATBOOST = ("catboost.CatBoostRegressor", {"iterations": 20})
BOTH = [{"estimator": name, "params": params} for name, params in (LIGHTGBM, CATBOOST)]
MEAN = ("sklearn.ensemble.VotingRegressor", {"estimators": BOTH})


@pytest.fixture
def hidden(monkeypatch):
    """Make both packages missing, whether they are installed or not."""
    for each in BOOSTERS:
        monkeypatch.setitem(sys.modules, each, None)


def gaps(rows: int = 300) -> tuple[pd.DataFrame, pd.Series]:
    features, target = table(rows)
    features.loc[::10, "km"] = np.nan
    features.loc[::15, "town"] = None
    return features, target + 1


def test_without_them_the_preset_is_as_before(hidden):
    assert usable(None) == [] and named_in(settings_of_good(table(60)[1], boosters=usable(None))) == []


def test_what_is_missing_is_named_with_how_to_install_it(hidden):
    with pytest.raises(TaskError, match=r"lightgbm is not installed \(.*\)\. Run make boosters, or pip install"):
        usable(["catboost", "lightgbm"])
    for estimator, _ in (LIGHTGBM, CATBOOST):
        with pytest.raises(TaskError, match=r"model\.estimator: cannot import .*\. Run make boosters, or pip install"):
            make_regressor(estimator, {}, 0)


def test_one_whose_library_is_missing_takes_no_part(monkeypatch, tmp_path, caplog):
    (tmp_path / "lightgbm.py").write_text("raise OSError('libgomp.so.1: cannot open')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lightgbm", raising=False)
    assert "lightgbm" not in usable(None)
    assert "lightgbm takes no part, because it cannot be loaded: libgomp.so.1" in caplog.text
    with pytest.raises(TaskError, match="lightgbm cannot be loaded: libgomp"):
        usable(["lightgbm"])


@pytest.mark.parametrize(
    "option", [{"estimator": "lightgbm.LGBMRegressor"}, {"candidates": json.dumps(BOTH[0])}, {"params": MEAN[1]}]
)
def test_skops_refuses_them_before_rows_are_read(tmp_path, option):
    (name, value), *_ = option.items()
    words = [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    code, _, log = in_process(script_train, f"--input={tmp_path}/no.csv", f"--output={tmp_path}/m.skops", *words)
    assert code == 1 and "model.format: skops cannot hold models of lightgbm" in log[-1]


def test_a_release_is_reproduced_with_the_boosters_that_took_part():
    good, fast = (
        check_config({"raw_data_source_url": "a.csv", "target": "y", "model": {"preset": preset}}, SCHEMA)
        for preset in ("good", "fast")
    )
    assert reproduce._training(good, {"versions": {"python": "3.11", "lightgbm": "4"}})["boosters"] == ["lightgbm"]
    assert reproduce._training(good, {"versions": {"python": "3.11"}})["boosters"] == "none"
    assert "boosters" not in reproduce._training(fast, {"versions": {}})


def test_the_requirements_of_a_released_model_have_the_booster():
    assert not named_in([f"'{each.partition('==')[0]}.'" for each in _requirements({"python": "3.11"})])
    assert any(each.startswith("catboost==") for each in _requirements({"python": "3.11", "catboost": "1.2.10"}))


def model_bytes(estimator: str, params: dict, threads: int = 1) -> bytes:
    features, target = gaps()
    return pickled(train_model(features, KINDS, target, estimator, params, 3, threads))


@needs_both
def test_models_have_the_same_bytes_in_another_process_and_on_more_threads_and_leave_no_files(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    every = (LIGHTGBM, CATBOOST, MEAN)
    code = (
        f"import sys\nsys.path[:0] = {[str(ROOT / each) for each in ('scripts', 'tests', 'tests/model')]}\n"
        f"from test_boosters import model_bytes\n"
        f"for each in {every}: print(model_bytes(*each, threads=2).hex())\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    there = [bytes.fromhex(line) for line in done.stdout.split()]
    assert [model_bytes(*each) for each in every] == there
    assert list(tmp_path.iterdir()) == []
    # The seed is the config's.
    features, target = gaps()
    assert there[1] != pickled(train_model(features, KINDS, target, *CATBOOST, 4))


@needs_both
@pytest.mark.parametrize(("estimator", "params"), [LIGHTGBM, CATBOOST, MEAN])
def test_they_predict_missing_values_and_unknown_levels_and_get_weights_and_intervals(estimator, params):
    features, target = gaps()
    model = train_model(features, KINDS, target, estimator, params, weights=np.linspace(0.1, 1, len(target)))
    assert np.abs(model.predict(features) - target).mean() < 0.5 * np.abs(target - target.mean()).mean()
    new = pd.DataFrame({"town": pd.Series(["never seen", None], dtype="str"), "km": [5.0, np.nan], "age": [1.0, 2.0]})
    assert np.isfinite(model.predict(new)).all()
    numbers = {"km": "number", "age": "number"}
    assert np.isfinite(train_model(features, numbers, target, estimator, params).predict(features[list(numbers)])).all()
    assert pickled(train_again(model, features, KINDS, target)) == pickled(train_again(model, features, KINDS, target))
    setting = {"estimator": estimator, "params": params}
    assert fit_intervals(TrainingRows(features, KINDS, target), setting, 0.9) is not None


@needs_both
@pytest.mark.parametrize(("estimator", "params"), [LIGHTGBM, CATBOOST])
def test_they_learn_from_text(tmp_path, estimator, params):
    features, target = flats()
    model = train_model(features, TEXT, target, estimator, params)
    later, actual = flats(seed=1)
    without = train_model(features, {"rooms": "number"}, target, estimator, params)
    errors = [np.abs(predictions(each, later) - actual).mean() for each in (model, without)]
    assert errors[0] < 0.7 * errors[1] and text_features(model, TEXT)["title"] > 25
    assert pickled(model) == pickled(train_model(features, TEXT, target, estimator, params))
    read = load_model(tmp_path / "model.pkl", write_model(model, tmp_path / "model.pkl"))
    assert np.array_equal(predictions(read, later), predictions(model, later))


@needs_both
def test_what_the_config_says_of_threads_and_messages_counts():
    assert make_regressor("lightgbm.LGBMRegressor", {"n_jobs": 2, "verbosity": 0}, 0).n_jobs == 2
    given = make_regressor("catboost.CatBoostRegressor", {"silent": True, "random_seed": 5}, 0).get_params()
    assert given["random_seed"] == 5 and "verbose" not in given


@needs_both
def test_they_take_part_in_the_preset_and_their_versions_are_recorded(tmp_path):
    features, target = table(100)
    features.assign(y=target, split=["train"] * 80 + ["test"] * 20).to_csv(tmp_path / "features.csv", index=False)
    split = {"by": "hash", "rule": "", "rows": {"train": 80, "test": 20}}
    empty = {"recipe": {}, "columns": {}, "left_out": {}, "cleaning": {}, "custom": None, "time_column": None}
    kinds = {each: "text" if kind == "category" else "number" for each, kind in KINDS.items()}
    kinds |= {"y": "number", "split": "text"}
    description = {"features": KINDS, "kinds": kinds, "target": "y", "split": split, **empty}
    (tmp_path / "features.json").write_text(json.dumps(description), encoding="utf-8")
    made = []
    for n, words in enumerate([[], ["--boosters", "none"]]):
        output = tmp_path / f"{n}.pkl"
        words += [f"--input={tmp_path}/features.csv", f"--output={output}", "--preset=good", "--intervals=constant"]
        script_train.main(words)
        made.append(json.loads(output.with_suffix(".json").read_text("utf-8")))
    names = [[each["estimator"] for each in found["candidates"]["settings"]] for found in made]
    assert {"lightgbm.LGBMRegressor", "catboost.CatBoostRegressor"} <= set(names[0])
    assert {each: made[0]["versions"][each] for each in BOOSTERS} == {each: version(each) for each in BOOSTERS}
    assert not named_in(names[1]) and not set(BOOSTERS) & set(made[1]["versions"])


@needs_both
@pytest.mark.parametrize(("estimator", "params"), [LIGHTGBM, CATBOOST])
def test_a_model_whose_booster_is_missing_says_what_to_install(tmp_path, estimator, params, monkeypatch):
    path = tmp_path / "model.pkl"
    features, target = gaps(60)
    digest = write_model(train_model(features, KINDS, target, estimator, params), path)
    assert load_model(path, digest) and digest == sha256(path)
    name = estimator.partition(".")[0]
    for each in [module for module in sys.modules if module.partition(".")[0] == name]:
        monkeypatch.setitem(sys.modules, each, None)
    with pytest.raises(TaskError, match=re.escape(f"{path} needs {name}, which is not installed. Run make boosters")):
        load_model(path, digest)
