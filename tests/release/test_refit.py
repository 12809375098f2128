"""With model.refit: all, a release predicts with the model that was trained again on all rows."""

import hashlib
import json
import re
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest

import attest
import deploy
import predict as script_predict
import reproduce
import rollback
import sign_off
import verify
from conftest import CONFIG, Project, in_process, rides
from diagnose import diagnose
from signoff.base.config import Config, ReleaseConfig
from signoff.base.errors import TaskError
from signoff.config.settings import SCHEMA, check_config, read_config, section
from signoff.model.model_file import load_model, write_model
from signoff.model.scoring import predict
from signoff.model.training import train_again, train_model
from signoff.release.approval import refit_path, reviewed_files
from signoff.release.mlflow_model import REJECTED
from signoff.release.records import Agreement
from signoff.release.store import Releases
from signoff.release.subject import _changes, review
from signoff.report.decision_box import decision
from signoff.report.refit import refit_section
from signoff.review.champion import Champion, open_champion
from signoff.review.refit import agreement, newest_rows, refit_alarms
from signoff.rules.models import groups
from signoff.serving.mlflow_loader import _load_pyfunc
from signoff.tables.table import read_table

REFIT = {"model": {**CONFIG["model"], "refit": "all"}}
RULE = ReleaseConfig()
MODEL = Path("model/refit.pkl")
TWO = ("model", "refit")


@pytest.fixture(scope="module")
def refitted_run(finished_run, tmp_path_factory) -> Project:
    """The finished project with a second model, trained on all rows; signed, deployed; never to be changed."""
    project = finished_run.copy(tmp_path_factory.mktemp("refitted") / "copy")
    project.configure(**REFIT)
    project.snakemake("reports/final_report.md", "all", SIGNOFF_ONE_FIGURE="1")
    project.sign_off()
    project.script("deploy")
    return project


@pytest.fixture
def refitted(refitted_run, tmp_path, monkeypatch) -> Project:
    """A copy of it that a test may change, in whose folder the test runs."""
    copy = refitted_run.copy(tmp_path / "copy")
    monkeypatch.chdir(copy.folder)
    return copy


def features(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    described = json.loads((folder / "data/features/features.json").read_text("utf-8"))
    return read_table(folder / "data/features/features.csv", described["kinds"]).frame, list(described["features"])


def test_the_second_model_learns_from_all_rows_and_the_release_predicts_with_it(refitted):
    rows, names = features(refitted.folder)
    evaluated, refit = (joblib.load(Path("model", f"{name}.pkl")) for name in ("model", "refit"))
    # A gradient boosting predicts the mean of what it has learnt from, if it begins there.
    for model, learnt in ((evaluated, rows[rows["split"] == "train"]), (refit, rows)):
        assert model[-1]._baseline_prediction.item() == pytest.approx(learnt["minutes"].mean())
    assert {**refit[-1].get_params()} == evaluated[-1].get_params()
    described = refitted.json("model/refit.json")
    assert described["training_rows"] == len(rows)
    assert described["model_sha256"] == refitted.json("model/model.json")["sha256"]
    # The rows of the data, whose features are known, to the last digit.
    rides().drop(columns="minutes").to_csv("data.csv", index=False)
    refitted.script("predict", "--input=data.csv", "--output=out.csv")
    out = pd.read_csv("out.csv")
    assert out["prediction"].tolist() == predict(refit, rows[names], 1).tolist()
    assert out["prediction"].tolist() != predict(evaluated, rows[names], 1).tolist()
    # The intervals are those of the evaluated model.
    half = refitted.json("reports/diagnostics.json")["prediction_interval"]["half_width"]
    assert np.allclose(out["prediction_high"] - out["prediction"], half)


def test_the_report_and_the_forms_of_a_release_say_what_was_measured_on_which_model(refitted):
    digests = {name: refitted.json(f"model/{name}.json")["sha256"] for name in ("model", "refit")}
    text = Path("reports/final_report.md").read_text("utf-8")
    section = text.partition("## The released model\n")[2].partition("\n## ")[0]
    assert "trained again on all 570 rows, until 2024-03-15" in section
    assert "differ by" in section
    assert "make backtest" in section
    assert digests["refit"] in text
    assert in_process(attest)[0] == 0
    (folder,) = Path("attestations").iterdir()
    card = (folder / "README.md").read_text("utf-8")
    bom = json.loads((folder / "bom.cdx.json").read_text("utf-8"))["metadata"]["component"]
    assert "are those of model.pkl" in card
    assert "The release predicts with refit.pkl" in card
    assert bom["hashes"][0]["content"] == digests["refit"]
    assert any("refit.pkl" in each for each in bom["modelCard"]["considerations"]["technicalLimitations"])
    subjects = json.loads((folder / "statement.intoto.json").read_text("utf-8"))["subject"]
    assert {each["digest"]["sha256"] for each in subjects} >= {*digests.values()}
    # The MLflow model predicts with the second model, too.
    rides().drop(columns="minutes").to_csv("data.csv", index=False)
    assert in_process(script_predict, "--input=data.csv", "--output=out.csv")[0] == 0
    rows = pd.read_csv("data.csv", dtype=str, keep_default_na=False)
    answered = _load_pyfunc(str(folder / "mlflow_model/data")).predict(rows)
    answered = answered[answered[REJECTED].isna()]
    assert answered["prediction"].astype(str).tolist() == pd.read_csv("out.csv", dtype=str)["prediction"].tolist()


def test_an_alarm_about_the_second_model_makes_the_box_look_closer(refitted_run):
    names = ("evaluation_metrics", "explanation", "comparison")
    parts = [refitted_run.json(f"reports/{name}.json") for name in names]
    refit = refitted_run.json("model/refit.json")
    assert decision(parts[0], diagnose(*parts, refit)).deploy == "yes"
    refit["alarms"] = [{"name": "refit_differs", "feature": None, "sentence": "It differs."}]
    found = diagnose(*parts, refit)
    assert {"about": "refit_differs", "sentence": "It differs."} in found["reasons"]["against"]
    box = decision(parts[0], found)
    assert box.deploy == "look closer"
    assert "refit differs" in box.why[0]


def test_one_changed_byte_of_the_second_model_is_noticed(refitted):
    content = bytearray(MODEL.read_bytes())
    content[len(content) // 2] ^= 1
    assert in_process(verify)[0] == 0
    deployed = next(Path("deployed/releases").glob("*/refit.pkl"))
    whole = deployed.read_bytes()
    deployed.chmod(0o644)
    deployed.write_bytes(content)
    code, _, log = in_process(verify)
    assert code == 1
    assert f"{deployed} was altered" in log[-1]
    assert "was altered" in refitted.script("predict", "--input=rides.csv", "--output=o.csv", check=False).stdout
    deployed.write_bytes(whole)
    MODEL.write_bytes(content)
    code, _, log = in_process(deploy)
    assert code == 1
    assert f"{MODEL} has changed since it was signed" in log[-1]
    config, paths = read_config(None)
    with pytest.raises(TaskError, match=r"model/refit\.pkl is not model/model\.pkl trained again"):
        review(config, paths)


def test_the_same_evaluated_model_without_the_second_one_is_another_release(refitted):
    refitted.configure()
    with pytest.raises(TaskError, match=r"describes a model for model\.refit, which is not set"):
        review(*read_config(None))
    releases = Releases()
    name, history = releases.current(), releases.history()
    both = releases.sign_off(name, history)["files"]
    alone = {path: digest for path, digest in both.items() if "refit" not in path}
    digests = both["model/model.pkl"], both["model/refit.pkl"]
    assert deploy._same_model(*digests, RULE, history, releases)[0] == name
    assert deploy._same_model(digests[0], digests[0], RULE, history, releases) is None
    assert _changes(name, both) == [f"none: this very model is deployed as {name}"]
    assert "predictions: by the one trained again on all rows → by the evaluated model" in _changes(name, alone)


def test_the_next_week_judges_such_a_release_by_its_evaluated_model_and_a_rollback_returns_to_it(refitted, monkeypatch):
    first = Releases().current()
    rides(660).to_csv("rides.csv", index=False)
    refitted.snakemake("reports/final_report.md")
    # What was held out this week, the released model has learnt from; its evaluated model has not.
    champion = refitted.json("reports/evaluation_metrics.json")["champion"]
    rows, names = features(refitted.folder)
    test = rows[rows["split"] == "test"]
    errors = [
        (predict(joblib.load(f"deployed/current/{name}.pkl"), test[names], 1) - test["minutes"]).abs().mean()
        for name in TWO
    ]
    assert champion["test"]["MAE"] == pytest.approx(errors[0])
    assert errors[1] < errors[0]
    assert "its evaluated twin is scored" in Path("reports/final_report.md").read_text("utf-8")
    # The new week shows how right the model is that predicts.
    new = rides(660)[600:].dropna()
    new.to_csv("new.csv", index=False)
    assert in_process(script_predict, "--input=new.csv", "--output=before.csv")[0] == 0
    before = pd.read_csv("before.csv")
    live = refitted.json("reports/live.json")
    assert (live["release"], live["answered"]) == (first, len(new))
    mae = sum(each["MAE"] * each["answered"] for each in live["weeks"]) / len(new)
    assert mae == pytest.approx((before["prediction"] - before["minutes"]).abs().mean())
    # The second release of two models: each of both is trained again with the same bytes, from its own rows.
    assert in_process(sign_off, "--reviewer=Ada", "--decision=approve", "--comment=x", "--override=x")[0] == 0
    assert in_process(deploy)[0] == 0
    second = Releases().current()
    assert second != first
    for name in (first, second):
        models = [Path(f"deployed/releases/{name}/{each}.pkl") for each in TWO]
        digests = [hashlib.sha256(model.read_bytes()).hexdigest() for model in models]
        assert len({*digests}) == 2
        code, _, log = in_process(reproduce, f"--release={name}")
        assert code == 0, log
        assert f"{name}: trained again, both models have the same bytes (SHA-256 {' and '.join(digests)})" in log[-2]
    # A release without a second model follows, and is replaced again.
    refitted.configure()
    refitted.snakemake("reports/final_report.md")
    code, said, _ = in_process(sign_off, "--reviewer=Ada", "--decision=approve", "--comment=x", "--override=x")
    assert code == 0 and "predictions: by the one trained again on all rows → by the evaluated model" in said
    assert in_process(deploy)[0] == 0
    assert not Path("deployed/current/refit.pkl").exists()
    assert in_process(script_predict, "--input=new.csv", "--output=between.csv")[0] == 0
    assert pd.read_csv("between.csv")["prediction"].tolist() != before["prediction"].tolist()
    assert in_process(rollback, "--reason=it is worse")[0] == 0
    assert Releases().current() == second
    assert in_process(rollback, "--reason=so is this", f"--release={first}")[0] == 0
    assert Releases().current() == first
    assert in_process(verify)[0] == 0
    assert in_process(script_predict, "--input=new.csv", "--output=after.csv")[0] == 0
    assert Path("after.csv").read_bytes() == Path("before.csv").read_bytes()


@pytest.mark.parametrize("later", [False, True])
def test_a_champion_is_scored_by_its_evaluated_twin_if_it_has_seen_the_held_out_rows(refitted_run, monkeypatch, later):
    monkeypatch.chdir(refitted_run.folder)
    metadata = refitted_run.json("model/model.json")
    if later:
        metadata["split"]["last_train"] = metadata["split"]["last_test"]
    name = Releases().current()
    found = open_champion(name, [*metadata["features"]], metadata, RULE)
    assert isinstance(found, Champion)
    rows, names = features(refitted_run.folder)
    scored = joblib.load(f"model/{'refit' if later else 'model'}.pkl")
    assert predict(found.model, rows[names], 1).tolist() == predict(scored, rows[names], 1).tolist()
    assert bool(found.note) != later
    assert later or "its evaluated twin is scored" in found.note


@pytest.mark.parametrize(
    ("estimator", "params"),
    [
        ("sklearn.ensemble.HistGradientBoostingRegressor", {"max_iter": 5}),
        ("sklearn.compose.TransformedTargetRegressor", {"regressor": "sklearn.linear_model.Ridge"}),
        ("sklearn.ensemble.VotingRegressor", {"estimators": ["sklearn.linear_model.Ridge", "sklearn.svm.LinearSVR"]}),
    ],
)
def test_training_again_gives_the_model_that_training_on_all_rows_would(tmp_path, estimator, params):
    rows = rides(400).assign(line=[f"line {n % 90}" for n in range(400)])
    rows.loc[:250, "city"] = "Köln"
    kinds = {"city": "category", "line": "category", "km": "number", "riders": "number"}
    model = train_model(rows[:300], kinds, rows["minutes"][:300], estimator, params)
    path = tmp_path / "model.pkl"
    model = load_model(path, write_model(model, path))
    model.intervals_ = {"level": 0.9}
    found = train_again(model, rows, kinds, rows["minutes"])
    whole = train_model(rows, kinds, rows["minutes"], estimator, params)
    assert predict(found, rows[[*kinds]], 1).tolist() == predict(whole, rows[[*kinds]], 1).tolist()
    assert found.intervals_ == {"level": 0.9}


def test_models_that_differ_by_more_than_the_error_raise_an_alarm():
    random = np.random.default_rng(5)
    actual = random.normal(50, 9, 400)
    evaluated = actual + random.normal(0, 2, 400)
    error, typical = float(np.abs(evaluated - actual).mean()), float(np.median(np.abs(evaluated - actual)))
    # One that knows every row by heart differs by exactly the error, and is usual for some estimators.
    for refit in (evaluated, evaluated + 0.5, actual, (evaluated + actual) / 2):
        assert refit_alarms(agreement(actual, evaluated, refit, typical)) == []
    found = agreement(actual, evaluated, evaluated - 3, typical)
    assert found["bias"] == pytest.approx(-3)
    assert found["share"] == pytest.approx(3 / error)
    for refit in (evaluated - 3, evaluated * 60, np.full(400, np.inf), np.full(400, np.nan)):
        (alarm,) = refit_alarms(agreement(actual, evaluated, refit, typical))
        assert alarm["name"] == "refit_differs"
    # In a week without noise, the error on all held-out rows is what counts.
    assert refit_alarms(agreement(actual, actual + 0.01, actual + 1, typical)) == []
    # A model without errors: digits that rounding has changed are no difference.
    assert refit_alarms(agreement(actual, actual, actual * (1 + 1e-9), 0.0)) == []
    assert refit_alarms(agreement(actual, actual, actual + 0.1, 0.0))


def test_the_newest_week_is_compared_and_enough_rows():
    hours = pd.Series(pd.date_range("2024-01-01", periods=800, freq="h"))[::-1].reset_index(drop=True)
    assert sorted(newest_rows(hours, 800)) == list(range(200))
    minutes = pd.Series(pd.date_range("2024-01-01", periods=30_000, freq="min"))
    assert sorted(newest_rows(minutes, 30_000)) == list(range(30_000 - 7 * 24 * 60, 30_000))
    assert len(newest_rows(hours[:50], 50)) == 50
    assert len(newest_rows(None, 70)) == 70


def test_the_report_names_the_error_of_the_backtest_if_there_is_one():
    compared: Agreement = {"rows": 9, "difference": 1.25, "bias": -0.5, "MAE": 2.5, "share": 0.5, "limit": 1.1}
    found = {"sha256": "0" * 64, "training_rows": 90, "last_time": None, "agreement": compared}
    backtest = {"overall": {"retrained": {"MAE": 1.75}}, "weeks": 5, "rows": 77}
    backtest |= {"first_week": "2024-W01", "last_week": "2024-W05"}
    metrics = {"split": {"rows": {"train": 80, "test": 10}}}
    words = str(refit_section(found, metrics, backtest).blocks)
    assert re.search(r"absolute error of 1\.75 in the backtest of 5 weeks \(2024-W01 to 2024-W05, 77 rows\)", words)
    assert "make backtest" not in words


@pytest.mark.parametrize(
    ("changes", "second"),
    [
        ({"time_column": "started"}, True),
        ({"split": {"by": "time"}}, True),
        ({"time_column": "started", "split": {"test_weeks": 8}}, True),
        ({}, False),
        ({"time_column": "started", "split": {"by": "hash"}}, False),
        ({"time_column": "started", "split": {"key": ["ride"]}}, False),
        ({"time_column": "started", "split": {"groups": "city"}}, False),
        ({"time_column": "started", "model": {"max_rows": 100}}, False),
        ({"time_column": "started", "model": {"max_rows": 100, "refit": "all"}}, True),
        ({"time_column": "started", "model": {"refit": "none"}}, False),
        ({"model": {"refit": "all"}}, True),
    ],
)
def test_rows_that_are_split_by_time_are_learnt_again_unless_the_config_says_otherwise(changes, second):
    config: dict = {"raw_data_source_url": "rides.csv", "target": "minutes", **changes}
    found = check_config(config, SCHEMA)
    assert refit_path(found) == ("model/refit.pkl" if second else None)
    assert {"model/refit.pkl", "model/refit.json"} & {*reviewed_files(found, [])} == (
        {"model/refit.pkl", "model/refit.json"} if second else set()
    )


def test_each_of_many_models_learns_again_as_its_own_keys_say():
    config: dict = {"raw_data_source_url": "rides.csv", "target": "minutes", "time_column": "started"}
    config["models"] = {"by": "city", "each": {"Bonn": {"model": {"max_rows": 9, "passes": 2}}}}
    check_config(config, SCHEMA)
    assert [refit_path(section(Config, each)) for _, each in groups(config)] == [None, "model/refit.pkl"]


def test_passes_over_the_rows_and_a_second_model_exclude_each_other(project):
    project.configure(model={"refit": "all", "passes": 2, "max_rows": 100})
    with pytest.raises(TaskError, match=r"model\.refit: all cannot be combined with model\.passes"):
        read_config([str(project.folder / "config.yaml")])
