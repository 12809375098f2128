"""The choice among candidates: what is compared, on which rows, and what is made of it."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from test_model import KINDS, SCHEMA, table

from backtest_week import backtest_week
from conftest import Project, script
from signoff.base.errors import TaskError
from signoff.base.files import sha256
from signoff.config.settings import check_config
from signoff.model import search
from signoff.model.regressor import Learning, TrainingRows
from signoff.model.search import _settings_of, choose_model

LINEAR, DUMMY = "sklearn.linear_model.LinearRegression", "sklearn.dummy.DummyRegressor"
RIDGE, BOOSTING = "sklearn.linear_model.Ridge", "sklearn.ensemble.HistGradientBoostingRegressor"
SEEN: list[tuple[np.ndarray, np.ndarray]] = []


class Spy(RegressorMixin, BaseEstimator):
    """A regressor that notes the hours of the rows that it is trained on and scored on."""

    def fit(self, features, target):
        self.hours_ = np.asarray(features)[:, 0]
        return self

    def predict(self, features):
        SEEN.append((self.hours_, np.asarray(features)[:, 0]))
        return np.zeros(len(features))


class Broken(RegressorMixin, BaseEstimator):
    """A regressor that fails in a way of its own."""

    def fit(self, features, target):
        raise ZeroDivisionError("out of order")

    def predict(self, features):
        return np.zeros(len(features))


def choose(candidates: list[dict], rows: int = 500, time: pd.Series | None = None, **options) -> tuple[dict, dict]:
    features, target = table(rows)
    return choose_model(candidates, TrainingRows(features, KINDS, target, time), **options)


def test_the_best_wins_and_every_candidate_has_its_score_its_spread_and_its_rows():
    chosen, found = choose(
        [
            {"estimator": DUMMY, "params": {"strategy": ["mean", "median"]}},
            {"estimator": LINEAR},
            {"estimator": BOOSTING, "params": {"max_iter": 5}},
        ]
    )
    assert chosen == {"estimator": LINEAR, "params": {}} == {key: found["settings"][0][key] for key in chosen}
    tried = [(each["estimator"], each["params"]) for each in found["settings"]]
    assert sorted(tried, key=str) == sorted(
        [(DUMMY, {"strategy": "mean"}), (DUMMY, {"strategy": "median"}), (LINEAR, {}), (BOOSTING, {"max_iter": 5})],
        key=str,
    )
    assert all(each["spread"] > 0 and each["rows"] == 500 and not each["problem"] for each in found["settings"])
    # The noise has a standard deviation of 0.1.
    assert found["settings"][0]["MAE"] == pytest.approx(0.1 * np.sqrt(2 / np.pi), rel=0.1)
    scores = [each["MAE"] for each in found["settings"]]
    assert scores == sorted(scores)


def test_each_round_keeps_the_best_third_on_three_times_the_rows(monkeypatch):
    monkeypatch.setattr(search, "FIRST_ROUND_ROWS", 200)
    _, found = choose([{"estimator": RIDGE, "params": {"alpha": [0.1, 1, 10, 1e3, 1e4, 1e5]}}], rows=600)
    by_rows = pd.Series([each["rows"] for each in found["settings"]]).value_counts().to_dict()
    assert by_rows == {200: 4, 600: 2}
    assert {each["params"]["alpha"] for each in found["settings"][:2]} == {0.1, 1}


def test_with_times_each_fold_is_later_than_what_it_is_scored_after_and_without_they_are_mixed():
    random = np.random.default_rng(0)
    hours = random.permutation(120)
    features, target = pd.DataFrame({"hour": hours.astype(float)}), pd.Series(random.normal(size=120))
    time = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(hours, unit="h"))
    for moments, in_order in ((time, True), (None, False), (time.mask(time.index == 3), False)):
        SEEN.clear()
        rows = TrainingRows(features, {"hour": "number"}, target, moments)
        _, found = choose_model([{"estimator": "test_candidates.Spy"}], rows)
        assert len(SEEN) == 5
        assert all(trained.max() < scored.min() for trained, scored in SEEN) == in_order
        assert ("in the order of time" in found["folds"]) == in_order


def test_any_number_of_cores_gives_the_same_comparison():
    candidates = [
        {"estimator": BOOSTING, "params": {"max_iter": 3}},
        {"estimator": "sklearn.ensemble.RandomForestRegressor", "params": {"n_estimators": 3}},
        {"estimator": "sklearn.ensemble.BaggingRegressor", "params": {"n_estimators": 3}},
        {"estimator": RIDGE, "params": {"alpha": {"loguniform": [0.01, 10]}}, "draws": 1},
    ]
    one, two = (choose(candidates, rows=150, threads=threads) for threads in (1, 2))
    assert one == two


def test_a_grid_is_tried_whole_and_distributions_are_drawn_between_their_ends_by_the_seed():
    def tried(seed: int, draws: int | None = None, **params: object) -> list[dict]:
        candidate = {"estimator": BOOSTING, "params": params} | ({"draws": draws} if draws else {})
        return [each["params"] for each in _settings_of(candidate, 0, seed)]

    grid = tried(0, max_iter=[10, 20], max_depth=[2, None], loss="absolute_error")
    assert len(grid) == 4 and all(each["loss"] == "absolute_error" for each in grid)
    ranges = {"learning_rate": {"loguniform": [0.01, 1]}, "l2_regularization": {"uniform": [2, 3]}}
    drawn = tried(0, 60, max_leaf_nodes={"randint": [2, 4]}, max_iter=[5, 7], **ranges)
    assert drawn == tried(0, 60, max_leaf_nodes={"randint": [2, 4]}, max_iter=[5, 7], **ranges)
    assert drawn != tried(1, 60, max_leaf_nodes={"randint": [2, 4]}, max_iter=[5, 7], **ranges)
    assert len(drawn) == 60
    assert {each["max_leaf_nodes"] for each in drawn} == {2, 3, 4} and {each["max_iter"] for each in drawn} == {5, 7}
    assert all(0.01 <= each["learning_rate"] <= 1 and 2 <= each["l2_regularization"] <= 3 for each in drawn)
    assert sum(each["learning_rate"] < 0.1 for each in drawn) > 15
    assert json.loads(json.dumps(drawn)) == drawn
    # Drawn twice, tried once.
    assert len(tried(0, 20, max_leaf_nodes={"randint": [2, 4]})) == 3
    assert len(tried(0, learning_rate={"uniform": [0, 1]})) == 10


def test_a_candidate_that_always_fails_is_reported_and_the_others_are_compared(caplog):
    bad = [{"estimator": "test_candidates.Broken"}, {"estimator": RIDGE, "params": {"alpha": ["much"]}}]
    bad += [{"estimator": "sklearn.neighbors.KNeighborsRegressor", "params": {"n_neighbors": 450}}]
    chosen, found = choose([*bad, {"estimator": LINEAR}])
    assert chosen["estimator"] == LINEAR
    failed = {each["estimator"].rpartition(".")[2]: each for each in found["settings"][1:]}
    assert "out of order" in failed["Broken"]["problem"]
    assert "The 'alpha' parameter" in failed["Ridge"]["problem"]
    assert "n_neighbors" in failed["KNeighborsRegressor"]["problem"]
    assert all(each["MAE"] is None and each["spread"] is None for each in failed.values())
    assert "Broken() cannot be trained: out of order" in caplog.text
    with pytest.raises(TaskError, match=re.escape("model.candidates: none can be trained. Broken(): out of order")):
        choose(bad)


@pytest.mark.parametrize(
    ("candidates", "rows", "message"),
    [
        (
            [{"estimator": LINEAR}, {"estimator": "sklearn.linear_model.Rigde"}],
            500,
            "model.candidates.1.estimator: skl",
        ),
        ([{"estimator": RIDGE, "params": {"alfa": [1, 2]}}], 500, "model.candidates.0.params: Ridge does not accept"),
        ([{"estimator": LINEAR}], 19, "model.candidates: 19 training rows are too few to compare on; at least 20 are"),
    ],
)
def test_an_unknown_name_and_too_few_rows_are_said_before_anything_is_compared(candidates, rows, message):
    with pytest.raises(TaskError, match=re.escape(message)):
        choose(candidates, rows)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"candidates": [{}]}, "the key model.candidates.0.estimator is missing."),
        ({"candidates": [{"estimator": LINEAR, "parms": {}}]}, "candidates.0.parms is unknown: did you mean params?"),
        ({"candidates": LINEAR}, f"model.candidates is '{LINEAR}', but must be a list."),
        ({"candidates": [{"estimator": LINEAR, "draws": 0}]}, "model.candidates.0.draws is 0, but must be at least 1."),
        ({"alpha": []}, "model.candidates.0.params.alpha: [] should be non-empty."),
        ({"alpha": {}}, "model.candidates.0.params.alpha: {} should be non-empty."),
        (
            {"alpha": {"normal": [0, 1]}},
            "the key model.candidates.0.params.alpha.normal is unknown: did you mean uniform",
        ),
        ({"alpha": {"uniform": [0]}}, "model.candidates.0.params.alpha.uniform: [0] is too short."),
        ({"alpha": {"uniform": [0, "1"]}}, "params.alpha.uniform.1 is '1', but must be a number."),
        ({"alpha": {"loguniform": [0, 1]}}, "params.alpha.loguniform.0 is 0, but must be above 0."),
        ({"alpha": {"randint": [1, 2.5]}}, "params.alpha.randint.1 is 2.5, but must be a whole number."),
        ({"alpha": {"uniform": [5, 1]}}, "model.candidates.0.params.alpha.uniform: 5 must be below 1."),
        (
            {"candidates": [{"estimator": LINEAR}], "params": {"alpha": 1}},
            "model.candidates replaces model.estimator and model.params. Remove these two.",
        ),
    ],
)
def test_a_wrong_candidate_in_the_config_is_named_by_its_key(model, message):
    model = model if "candidates" in model else {"candidates": [{"estimator": RIDGE, "params": model}]}
    with pytest.raises(TaskError, match=re.escape(message)):
        check_config({"raw_data_source_url": "a.csv", "target": "y", "model": model}, SCHEMA)


def test_no_candidates_are_none():
    for none in ([], None):
        config = {"raw_data_source_url": "a.csv", "target": "y", "model": {"candidates": none}}
        check_config(config, SCHEMA)
        assert config["model"]["candidates"] == [] and config["model"]["estimator"] == BOOSTING


CANDIDATES = [
    {"estimator": DUMMY},
    {"estimator": BOOSTING, "params": {"max_iter": [5, 12], "learning_rate": {"loguniform": [0.1, 0.5]}}, "draws": 2},
]


def test_the_workflow_chooses_on_the_training_part_alone_and_tells_what_it_chose_among(finished: Project):
    finished.configure(model={"candidates": CANDIDATES, "intervals": "constant"})
    finished.snakemake("reports/final_report.md")
    metadata, metrics = finished.json("model/model.json"), finished.json("reports/evaluation_metrics.json")
    found = metrics["candidates"]
    assert found == metadata["candidates"] and "in the order of time" in found["folds"]
    first = found["settings"][0]
    assert first["estimator"] == BOOSTING == metrics["estimator"]
    assert metadata["parameters"]["learning_rate"] == repr(first["params"]["learning_rate"])
    assert len(found["settings"]) == 3
    markdown, page = ((finished.folder / f"reports/final_report.{x}").read_text("utf-8") for x in ("md", "html"))
    for text in (markdown, page):
        assert "Chosen from 3 candidates by 5 folds in the order of time" in text
        assert all(f"{each['MAE']:.4g}" in text and f"{each['spread']:.4g}" in text for each in found["settings"])
    assert 'aria-label="Candidates"' in page and "| **chosen** |" in markdown
    # The model is the one that its estimator and parameters give by themselves.
    words = ["--input=data/features/features.csv", "--output=alone.pkl", f"--estimator={BOOSTING}"]
    words += [f"--params={json.dumps(first['params'])}", "--intervals=constant"]
    script("train_model", *words, cwd=finished.folder)
    assert sha256(finished.folder / "alone.pkl") == metadata["sha256"]
    assert "candidates" not in finished.json("alone.json")
    # Other rows in the test part, another number of cores, the same choice.
    features = pd.read_csv(finished.folder / "data/features/features.csv")
    test = features["split"] == "test"
    features.loc[test, "minutes"] = -1000.0
    features.loc[test, "km"] = 7.0
    features.to_csv(finished.folder / "features.csv", index=False)
    (finished.folder / "features.json").write_bytes((finished.folder / "data/features/features.json").read_bytes())
    words = ["--input=features.csv", "--output=other.pkl", "--threads=2", "--intervals=constant"]
    words += [f"--candidates={json.dumps(each)}" for each in CANDIDATES]
    script("train_model", *words, cwd=finished.folder)
    assert finished.json("other.json")["candidates"] == found
    assert sha256(finished.folder / "other.pkl") == metadata["sha256"]


def test_the_backtest_chooses_a_model_for_each_week_on_the_weeks_before_it(replayed_run, tmp_path):
    features, target = table(300)
    train = features.assign(minutes=target)
    candidates = [{"estimator": DUMMY}, {"estimator": LINEAR}]
    found = backtest_week(train, {"2024-W09": train}, KINDS, "minutes", Learning(candidates=candidates))
    assert found["chosen"] == {"estimator": LINEAR, "params": {}}
    alone = backtest_week(train, {"2024-W09": train}, KINDS, "minutes", Learning(LINEAR))
    assert "chosen" not in alone and alone["model_sha256"] == found["model_sha256"]
    project = replayed_run.copy(tmp_path / "copy")
    project.configure(model={"candidates": candidates})
    shown = project.snakemake("--dry-run", "--printshellcmds", "--", "backtest").stdout
    assert f'--candidates={{"estimator": "{LINEAR}"}}' in shown.replace("{{", "{").replace("}}", "}")
