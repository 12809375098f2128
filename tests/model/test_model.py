"""Training, evaluation and report, through their functions and command lines."""

import copy
import json
import re
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from threadpoolctl import threadpool_limits

import train_model as script_train
from conftest import ROOT, in_process, program, run, script
from signoff.base.errors import TaskError
from signoff.base.files import sha256
from signoff.config.settings import check_config
from signoff.model import presets
from signoff.model.encoding import fit, predictions, predictions_of_codes
from signoff.model.model_file import load_model, write_model
from signoff.model.passes import fit_in_passes
from signoff.model.pipeline import levels_of, make_pipeline
from signoff.model.regressor import DEFAULT_ESTIMATOR, make_regressor, use_threads
from signoff.model.scoring import BUILT_IN, metrics, predict
from signoff.model.thresholds import _THRESHOLDS, judge
from signoff.model.training import train_model
from signoff.model.trees import predictions_of_trees
from signoff.release.verdict import verdict
from signoff.review.evaluation import Gate, by_part, evaluate_predictions
from signoff.tables.arrow_copy import side_path
from signoff.tables.writer import write_frames

KINDS = {"town": "category", "km": "number", "age": "number"}


def table(rows: int = 500) -> tuple[pd.DataFrame, pd.Series]:
    random = np.random.default_rng(0)
    features = pd.DataFrame(
        {
            "town": pd.Series(random.choice(["a", "b", "c"], rows), dtype="str"),
            "km": random.uniform(0, 10, rows),
            "age": random.integers(0, 90, rows).astype("float64"),
        }
    )
    target = features["km"] * 3 + features["town"].map({"a": 0.0, "b": 10.0, "c": 20.0})
    return features, target + random.normal(0, 0.1, rows)


def few_trees(monkeypatch: pytest.MonkeyPatch, trees: int = 20, every: int = 1) -> None:
    """Have the presets compare models of so few trees, and not all of them: how they do it does not depend on that."""

    def fewer(each: object) -> object:
        if isinstance(each, list | tuple):
            return [fewer(part) for part in each]
        if not isinstance(each, dict):
            return each
        each = {name: fewer(part) for name, part in each.items()}
        if each.get("estimator") == DEFAULT_ESTIMATOR:
            each["params"] |= {"max_iter": trees}
        return each | {"n_estimators": trees} if "n_estimators" in each else each

    settings, drawn = presets.settings_of_good, presets.drawn
    monkeypatch.setattr(
        presets, "settings_of_good", lambda *given, **options: fewer(settings(*given, **options)[::every])
    )
    monkeypatch.setattr(presets, "drawn", lambda *given: map(fewer, drawn(*given)))


ESTIMATORS = [
    ("sklearn.ensemble.HistGradientBoostingRegressor", {"max_iter": 50}),
    ("sklearn.linear_model.LinearRegression", {}),
    ("sklearn.ensemble.RandomForestRegressor", {"n_estimators": 5}),
    ("sklearn.linear_model.BayesianRidge", {}),
    ("sklearn.neighbors.KNeighborsRegressor", {}),
    ("sklearn.linear_model.Ridge", {}),
    ("sklearn.ensemble.BaggingRegressor", {"n_estimators": 3}),
]


@pytest.mark.parametrize(("estimator", "params"), ESTIMATORS)
def test_any_regressor_takes_categories_missing_values_and_levels_it_never_saw(estimator, params):
    features, target = table()
    features.loc[::10, "km"] = np.nan
    features.loc[::15, "town"] = None
    model = train_model(features, KINDS, target, estimator, params)
    assert model.score(features, target) > 0.7
    new = pd.DataFrame({"town": pd.Series(["never seen", None], dtype="str"), "km": [5.0, np.nan], "age": [1.0, 2.0]})
    assert np.isfinite(model.predict(new)).all()


@pytest.mark.parametrize(("estimator", "params"), ESTIMATORS)
def test_any_number_of_threads_gives_the_same_bytes(tmp_path, estimator, params):
    # More values than one thread would get; of fewer rows, sums in linear algebra would not be shared.
    rows = 3_000 if ".ensemble." in estimator else 20_000
    features, target = table(rows)
    wide = pd.DataFrame(np.random.default_rng(1).normal(size=(rows, 40))).add_prefix("n")
    features, kinds = features.join(wide), KINDS | dict.fromkeys(wide, "number")
    # Each tree is grown in the same way: the first ones tell.
    params = {name: min(value, 3) for name, value in params.items()}
    # Once for nothing: the first model that is fitted in a process that has loaded one, as other tests do, may differ.
    for threads, some in ((1, slice(0, 60)), (1, slice(None)), (2, slice(None))):
        # As the environment may have it.
        with threadpool_limits(threads, "blas"):
            model = train_model(features[some], kinds, target[some], estimator, params, threads=threads)
        joblib.dump(model, tmp_path / str(threads))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def table_of_many_kinds() -> tuple[pd.DataFrame, pd.Series]:
    features, target = table()
    features = features.assign(
        one=pd.Series(["x"] * len(features), dtype="str"),
        late=pd.Series([None, *features["town"][2:], "once"], dtype="str"),
        gone=np.nan,
        whole=features["age"].astype("int16"),
    )
    features.loc[::15, "town"], features.loc[::7, "km"] = None, np.nan
    return features, target


def fit_both(folder: str, estimator: str, of_kind: str) -> None:
    """Write a model that we have fitted, and one that scikit-learn has, on all features or on those of a kind."""
    features, target = table_of_many_kinds()
    kinds = KINDS | {"one": "category", "late": "category"}
    kinds |= {"gone": "number", "whole": "number"}
    kinds = {name: kind for name, kind in kinds.items() if of_kind in ("any", kind)}
    params = {"max_iter": 20}
    ours = fit(make_regressor(estimator, params, 0), kinds, features, target, 0)
    theirs = make_pipeline(make_regressor(estimator, params, 0), kinds, features, levels_of(features, kinds), 0)
    theirs.fit(features[list(kinds)], target)
    for name, model in {"ours": ours, "theirs": theirs}.items():
        use_threads(model[-1], None)
        joblib.dump(model, f"{folder}/{name}")


@pytest.mark.parametrize("of_kind", ["any", "number", "category"])
@pytest.mark.parametrize("estimator", [ESTIMATORS[0][0], "sklearn.linear_model.Ridge"])
def test_levels_that_are_looked_up_by_column_give_the_bytes_and_predictions_of_scikit_learn(
    tmp_path, estimator, of_kind
):
    # By a process that has loaded no model, as other tests here do: it leaves its classes with copies of attributes'
    # names, which the models that are fitted afterwards hold or do not. A task that trains loads none. It has the name
    # of one, so that it begins as a fork that has imported scikit-learn.
    both = tmp_path / "train_model.py"
    both.write_text(f"import sys; sys.path = {sys.path}; import test_model; test_model.fit_both(*sys.argv[1:])")
    done = run([program("python"), both, tmp_path, estimator, of_kind])
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    ours, theirs = (joblib.load(tmp_path / name) for name in ("ours", "theirs"))
    features, _ = table_of_many_kinds()
    new = features.assign(
        town=["never seen", *features["town"][1:]], one=pd.Series([None] * len(features), dtype="str")
    )
    assert predictions(ours, new).tolist() == theirs.predict(new).tolist()


@pytest.mark.parametrize(("place", "first"), [(0, 0), (0, 1), (1, 0)], ids=["codes", "not from 0", "not in front"])
def test_codes_that_boosting_would_encode_again_get_its_own_predictions(place, first):
    from sklearn.ensemble import HistGradientBoostingRegressor

    generator = np.random.default_rng(0)
    codes, numbers = generator.integers(first, 4, 400) * 1.0, generator.normal(size=400)
    codes[::9] = np.nan

    def matrix(codes: np.ndarray) -> np.ndarray:
        return np.column_stack([codes, numbers] if place == 0 else [numbers, codes])

    boosting = HistGradientBoostingRegressor(categorical_features=[place], max_iter=10)
    boosting.fit(matrix(codes), np.nan_to_num(codes, nan=-3) ** 2 + numbers)
    codes[::7] = 9
    for new in (codes, np.where(codes == 9, np.nan, codes)):
        assert predictions_of_codes(boosting, matrix(new)).tolist() == boosting.predict(matrix(new)).tolist()


@pytest.mark.parametrize("trees", [1, 2, 7, 100])
@pytest.mark.parametrize("loss", ["squared_error", "quantile", "poisson"])
def test_trees_walked_as_one_give_the_predictions_of_scikit_learn(trees, loss):
    from sklearn.ensemble import HistGradientBoostingRegressor

    generator = np.random.default_rng(trees)
    matrix = np.column_stack([generator.integers(0, 60, 500) * 1.0, generator.normal(size=(500, 3))])
    matrix[generator.random(matrix.shape) < 0.1] = np.nan
    target = np.nan_to_num(matrix[:, 0] % 7 + matrix[:, 1] ** 2) + generator.random(500)
    boosting = HistGradientBoostingRegressor(
        loss=loss, quantile=0.9, max_iter=trees, categorical_features=[0], min_samples_leaf=5
    )
    for shift in (0, 5):
        # A second fit makes other trees.
        boosting.fit(matrix, target + shift)
        new = np.vstack([matrix, [[77, np.inf, -np.inf, 0], [-1, 0, 0, 1e300], [np.nan] * 4]])
        # It would encode its categories again.
        bare = copy.copy(boosting)
        bare._preprocessor = None
        for rows in (new[:1], new[-3:], new):
            found = predictions_of_trees(boosting, rows)
            assert found.tobytes() == bare.predict(rows).tobytes()


@pytest.mark.parametrize(
    ("estimator", "levels", "kinds"),
    [
        (ESTIMATORS[0][0], 3, KINDS | {"few": "number", "more": "number", "gap": "number"}),
        (ESTIMATORS[0][0], 200, {"town": "category", "few": "number", "more": "number"}),
        ("sklearn.linear_model.Ridge", 3, {"few": "number", "more": "number"}),
    ],
    ids=["few levels", "many levels", "another regressor"],
)
def test_a_model_is_the_same_bytes_whether_its_numbers_were_kept_narrow_or_read_from_the_csv(
    finished_run, tmp_path, estimator, levels, kinds
):
    features, target = table()
    features["town"] = (pd.Series(range(len(features))) * 7 % levels).astype("str")
    whole = {"few": features["age"].astype("int64"), "more": features["km"].mul(1e4).astype("int64")}
    whole |= {"gap": features["age"].where(features["age"] > 9), "minutes": target.round().astype("int64")}
    frame = features.assign(**whole, split=["train", "train", "test", "train", "train"] * 100)
    described = json.loads((finished_run.folder / "data/features/features.json").read_text(encoding="utf-8"))
    described["split"] |= {"by": "hash", "rows": frame["split"].value_counts().to_dict()}
    described |= {"features": kinds, "kinds": dict.fromkeys(frame, "number") | {"town": "text", "split": "text"}}
    path = tmp_path / "features.csv"
    write_frames(lambda: iter([frame]), path, described["kinds"])
    assert pa.ipc.open_file(side_path(path)).schema.field("few").type == pa.int16()
    path.with_suffix(".json").write_text(json.dumps(described), encoding="utf-8")
    for name in ("narrow", "csv"):
        words = [f"--input={path}", f"--output={tmp_path / name}.pkl", f"--estimator={estimator}"]
        words += ["--intervals=constant", *(['--params={"max_iter": 20}'] if estimator == ESTIMATORS[0][0] else [])]
        assert script("train_model", *words, cwd=tmp_path).returncode == 0
        side_path(path).unlink(missing_ok=True)
    assert (tmp_path / "narrow.pkl").read_bytes() == (tmp_path / "csv.pkl").read_bytes()


def test_a_wrong_regressor_is_reported_before_the_rows_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Which are not there.
    words = ["--input", "features.csv", "--output", "model.pkl", "--params", '{"depth": 3}']
    code, _, log = in_process(script_train, *words)
    assert code == 1
    assert log[-1].startswith("ERROR - [train_model] model.params: HistGradientBoostingRegressor does not accept")


def test_more_levels_than_bins_are_taken():
    features = pd.DataFrame({"town": pd.Series([f"t{n % 400}" for n in range(12_000)], dtype="str")})
    target = pd.Series(np.arange(12_000) % 400, dtype="float64")
    assert train_model(features, {"town": "category"}, target, params={"max_iter": 20}).score(features, target) > 0.1


@pytest.mark.parametrize(
    ("rows", "levels", "estimator"),
    [(12_000, 2000, DEFAULT_ESTIMATOR), (300, 50, DEFAULT_ESTIMATOR), (3000, 500, "sklearn.linear_model.Ridge")],
)
def test_rare_levels_are_learnt_from(rows, levels, estimator):
    random = np.random.default_rng(0)
    codes = random.integers(0, levels, rows)
    features = pd.DataFrame({"town": pd.Series([f"t{each}" for each in codes], dtype="str")})
    target = pd.Series(random.normal(0, 10, levels)[codes] + random.normal(0, 1, rows))
    train = np.arange(rows) < 0.8 * rows
    model = train_model(features[train], {"town": "category"}, target[train], estimator)
    assert model.score(features[~train], target[~train]) > 0.5
    features.loc[0, "town"] = "never seen"
    assert np.isfinite(model.predict(features)).all()


def test_passes_take_more_levels_than_there_are_columns_for():
    rows = pd.DataFrame({"town": pd.Series([f"t{n % 90}" for n in range(900)], dtype="str")})
    rows["minutes"] = np.arange(900) % 90 / 10.0
    model, seen = fit_in_passes(
        rows, {"town": "category"}, "minutes", iter([rows, rows]), "sklearn.linear_model.SGDRegressor", {}, 0
    )
    assert seen == 1800 and np.isfinite(model.predict(rows[["town"]])).all()


def test_a_mark_or_nothing_is_learnt_from():
    marks = pd.Series(["x", None] * 100, dtype="str")
    target = marks.notna() * 10.0
    model = train_model(pd.DataFrame({"mark": marks, "n": 1.0}), {"mark": "category", "n": "number"}, target)
    assert model.predict(pd.DataFrame({"mark": ["x", None, "x"], "n": 1.0})).round().tolist() == [10, 0, 10]


def test_a_feature_that_the_training_part_lacks_is_left_aside(caplog):
    features, target = table()
    lacking = features.assign(late=np.nan, word=pd.Series([None] * len(features), dtype="str"))
    kinds = KINDS | {"late": "number", "word": "category"}
    for estimator in ("sklearn.ensemble.HistGradientBoostingRegressor", "sklearn.linear_model.Ridge"):
        model = train_model(lacking, kinds, target, estimator)
        assert np.isfinite(model.predict(lacking.assign(late=1.0, word="x"))).all()
    assert "missing in the whole training part: late, word" in caplog.text
    with pytest.raises(TaskError, match="no feature has values"):
        train_model(lacking, {"late": "number"}, target)


def test_nothing_is_learnt_from_the_rows_that_test():
    """A test row that changes, or goes, leaves the model's bytes as they were."""
    features, target = table()
    one = train_model(features.head(400), KINDS, target.head(400))
    two = train_model(pd.concat([features.head(400)]), KINDS, target.head(400))
    assert one.predict(features).tolist() == two.predict(features).tolist()


@pytest.mark.parametrize(
    ("estimator", "params", "message"),
    [
        ("sklearn.linear_model.Rigde", {}, "has no 'Rigde': did you mean Ridge"),
        ("sklearn.linaer_model.Ridge", {}, "cannot import 'sklearn.linaer_model'"),
        ("Ridge", {}, "cannot import ''"),
        ("sklearn.linear_model.LogisticRegression", {}, "is not a regressor"),
        ("sklearn.linear_model.Ridge", {"alfa": 1}, "does not accept {'alfa': 1}"),
        ("sklearn.linear_model.Ridge", {"alpha": "much"}, "cannot be trained: The 'alpha' parameter"),
        ("os.path.join", {}, "is not a regressor"),
        ("sys.exit", {}, "is not a regressor"),
        ("sklearn.neighbors.KNeighborsRegressor", {"n_neighbors": 999}, "cannot be trained: Expected n_neighbors"),
    ],
)
def test_a_wrong_estimator_or_parameter_is_refused(estimator, params, message):
    with pytest.raises(TaskError, match=re.escape(message)):
        train_model(*table()[:1], KINDS, table()[1], estimator, params)


def test_the_seed_reaches_the_regressor_unless_the_parameters_hold_one():
    features, target = table(50)
    model = train_model(features, KINDS, target, "sklearn.ensemble.RandomForestRegressor", {"n_estimators": 2}, 7)
    assert model[-1].random_state == 7
    params = {"n_estimators": 2, "random_state": 3}
    assert train_model(features, KINDS, target, "sklearn.ensemble.RandomForestRegressor", params)[-1].random_state == 3


def test_the_model_loads_without_any_code_of_ours(finished_run, tmp_path):
    """Whoever scores with it needs scikit-learn, and nothing else."""
    code = "import sys, joblib; m = joblib.load(sys.argv[1]); print(type(m).__name__, m.feature_names_in_[0])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(finished_run.folder / "model/model.pkl")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("Pipeline started_year")


def test_a_model_that_joblib_wrote_for_an_earlier_release_is_read(tmp_path):
    features, target = table(50)
    model = train_model(features, KINDS, target, "sklearn.ensemble.RandomForestRegressor", {"n_estimators": 2}, 7)
    joblib.dump(model, tmp_path / "earlier.pkl")
    write_model(model, tmp_path / "now.pkl")
    earlier, now = (load_model(path, sha256(path)) for path in sorted(tmp_path.iterdir()))
    assert (predict(earlier, features, 1) == predict(now, features, 1)).all()


def test_metadata_describe_the_model(finished_run):
    metadata = json.loads((finished_run.folder / "model/model.json").read_text(encoding="utf-8"))
    assert metadata["parameters"]["max_iter"] == "20"
    assert metadata["features"]["city"] == "category"
    assert set(metadata["versions"]) == {"python", "joblib", "numpy", "pandas", "sklearn"}
    assert 0.5 < metadata["training_score"]["R2"] < 1
    assert len(metadata["inputs"]["features.csv"]) == 64


def test_of_many_training_rows_some_are_scored_the_same_ones_each_time(finished_run, tmp_path, monkeypatch):
    monkeypatch.setattr(script_train, "_MOST_ROWS_TO_SCORE", 100)
    features = finished_run.folder / "data/features/features.csv"
    scores = []
    for n in range(2):
        output = tmp_path / f"{n}.pkl"
        words = ["--input", str(features), "--output", str(output), "--random-state", "1"]
        script_train.main([*words, '--params={"max_iter": 20}', "--intervals=constant"])
        scores.append(json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))["training_score"])
    assert scores[0] == scores[1]
    assert scores[0]["rows"] == 100
    # The whole model, scored on some rows: not one that has learnt from these alone.
    whole = joblib.load(tmp_path / "0.pkl")
    rows = pd.read_csv(features).query("split == 'train'")
    error = (whole.predict(rows[list(whole.feature_names_in_)]) - rows["minutes"]).abs().mean()
    assert scores[0]["MAE"] == pytest.approx(error, rel=0.3)


def test_metrics_are_those_of_scikit_learn():
    from sklearn import metrics as known

    random = np.random.default_rng(0)
    actual, predicted = pd.Series(random.normal(size=99)), pd.Series(random.normal(size=99))
    found = metrics(actual, predicted)
    assert found["rows"] == 99
    assert found["MAE"] == pytest.approx(known.mean_absolute_error(actual, predicted))
    assert found["RMSE"] == pytest.approx(known.root_mean_squared_error(actual, predicted))
    assert found["median_absolute_error"] == pytest.approx(known.median_absolute_error(actual, predicted))
    assert found["R2"] == pytest.approx(known.r2_score(actual, predicted))
    assert metrics(pd.Series([1.0, 1.0]), pd.Series([1.0, 2.0]))["R2"] is None


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        ({"mae_max": 1.0}, "passed"),
        ({"mae_max": 0.99}, "failed"),
        ({"r2_min": 0.9}, "failed"),
        ({}, "passed"),
        ({"mae_max": 1.0, "r2_min": 0.9}, "failed"),
    ],
)
def test_thresholds_are_judged_on_the_test_part_alone(thresholds, expected):
    target = pd.Series([0.0, 10.0, 20.0, 5.0, 7.0])
    split = pd.Series(["train", "train", "train", "test", "test"])
    predictions = {"model": by_part(target.add([50, 50, 50, 1, 1]), split)}
    found = evaluate_predictions(predictions, by_part(target, split), Gate(thresholds, {}))
    assert found["verdict"] == expected
    assert found["model"]["test"]["MAE"] == 1
    assert found["model"]["train"]["MAE"] == 50


def evaluate(folder, *arguments):
    paths = ["--model", "model/model.pkl", "--features", "data/features/features.csv", "--output", "reports/again.json"]
    return script("evaluate_model", *paths, *arguments, cwd=folder)


def test_a_model_file_that_was_changed_is_never_unpickled(finished):
    class Bomb:
        def __reduce__(self):
            return open, ("exploded", "w")

    joblib.dump(Bomb(), finished.folder / "model/model.pkl")
    done = evaluate(finished.folder)
    assert done.returncode == 1
    assert "model/model.pkl is not the file that was written down" in done.stdout
    assert not (finished.folder / "exploded").exists()


def test_a_baseline_that_is_not_a_feature_is_refused(finished):
    done = evaluate(finished.folder, "--baseline", "kmm")
    assert done.returncode == 1
    assert "evaluation.baseline: 'kmm' is not a numeric feature; did you mean km?" in done.stdout


def test_the_metrics_hold_baselines_and_both_parts(finished_run):
    found = json.loads((finished_run.folder / "reports/evaluation_metrics.json").read_text(encoding="utf-8"))
    assert set(found["baselines"]) == {"mean", "km"}
    features = pd.read_csv(finished_run.folder / "data/features/features.csv")
    train, test = (features[features["split"] == part]["minutes"] for part in ("train", "test"))
    assert found["baselines"]["mean"]["test"]["MAE"] == pytest.approx((test - train.mean()).abs().mean())
    assert found["model"]["train"]["rows"] == len(train)
    assert found["thresholds"][0] == {
        "name": "mae_max",
        "metric": "MAE",
        "limit": 10.0,
        "passed": True,
        "value": found["model"]["test"]["MAE"],
    }


def test_the_verdict_counts_thresholds_and_contract():
    metrics_ = {
        "cleaning": {},
        "split": {"rows": {"train": 8, "test": 2}},
        "baselines": {},
        "champion": None,
        "model": {"test": {"MAE": 2.0, "R2": None}},
        "thresholds": [{"name": "mae_max", "metric": "MAE", "limit": 1, "value": 2.0, "passed": False}],
    }
    broken = {"column": "a", "check": "unique", "rows": 3, "examples": [{"row": 1, "value": 7}]}
    validation = {"status": "fail", "contract": True, "violations": [broken]}
    assert verdict(validation, metrics_)[1] == [
        "threshold mae_max 1: MAE is 2.0000",
        "data contract: column a: violates 'unique' in 3 rows (7 in row 1)",
    ]
    assert verdict(validation, metrics_, "warn")[1] == ["threshold mae_max 1: MAE is 2.0000"]


SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"


def test_a_minimal_config_gets_every_default():
    config = {"raw_data_source_url": "a.csv", "target": "y", "thresholds": None}
    check_config(config, SCHEMA)
    assert config["cleaning"] == {"default": "drop", "columns": {}, "duplicates": "keep", "max_rows_lost": 0.5}
    assert config["thresholds"] == {"mae_max": None, "r2_min": None, "max_regression": None, "custom": {}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targett": "y"}, "the key targett is unknown: did you mean target?"),
        ({"cleaning": {"columns": {"a": "remove"}}}, "cleaning.columns.a is 'remove', but must be drop, leave"),
        ({"split": {"test_share": 1.5}}, "split.test_share is 1.5, but must be below 1."),
        ({"validation": {"on_failure": "warm"}}, "validation.on_failure is 'warm': did you mean warn?"),
        ({"features": ["a"]}, "features is ['a'], but must be a mapping."),
        ({"thresholds": {"r2_min": "high"}}, "thresholds.r2_min is 'high', but must be a number or null."),
        ({"thresholds": {"mae_max": float("nan")}}, "thresholds.mae_max is nan, but must be a finite number."),
        ({"model": {"params": {"alpha": [float("inf")]}}}, "model.params.alpha.0 is inf, but must be a finite number."),
        ({"raw_data_source_url": 7}, "raw_data_source_url is 7, but must be text."),
    ],
)
def test_a_wrong_key_is_named_with_the_nearest_valid_one(changes, message):
    with pytest.raises(TaskError, match=re.escape(message)):
        check_config({"raw_data_source_url": "a.csv", "target": "y", **changes}, SCHEMA)


def test_the_command_lines_defaults_are_the_schemas(tmp_path):
    """A script run by hand does what a config with two keys does."""
    config = {"raw_data_source_url": "a.csv", "target": "y"}
    check_config(config, SCHEMA)
    expected = {
        "ingest_data": {**config["reader"]},
        "clean_data": {"default-policy": config["cleaning"]["default"], "max-rows-lost": 0.5, "duplicates": "keep"},
        "feature_engineering": {"split-by": config["split"]["by"], "test-share": config["split"]["test_share"]},
        "train_model": {"estimator": config["model"]["estimator"], "random-state": config["random_state"]},
        "verdict": {"on-failure": config["validation"]["on_failure"]},
    }
    for name, options in expected.items():
        text = " ".join(script(name, "--help", cwd=tmp_path).stdout.split())
        for option, default in options.items():
            pattern = rf"--{option.replace('_', '-')} .*?\(default: ([^)]*)\)"
            shown = re.search(pattern, text.partition("options:")[2])[1]
            assert shown in (str(default), f"{default:.1f}" if isinstance(default, int | float) else ""), (name, option)


def test_every_key_of_the_schema_is_in_the_guide():
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    guide = (ROOT / "config/README.md").read_text(encoding="utf-8")
    for key, rules in schema["properties"].items():
        keys = [f"{key}.{name}" for name in rules["properties"]] if rules.get("type") == "object" else [key]
        for each in keys:
            assert f"`{each}`" in guide


def test_each_threshold_of_the_config_is_one_of_a_metric():
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text("utf-8"))
    assert {*schema["properties"]["thresholds"]["properties"]} == {*_THRESHOLDS, "custom"}
    scores = metrics(pd.Series([1.0, 2.0]), pd.Series([1.0, 2.0]))
    assert list(scores) == ["rows", "MAE", "RMSE", "median_absolute_error", "R2"]
    assert set(scores) == BUILT_IN
    found = judge(scores, {"test": scores}, dict.fromkeys(_THRESHOLDS, 0.5))
    assert [(each["name"], each["passed"]) for each in found] == [(name, True) for name in _THRESHOLDS]
