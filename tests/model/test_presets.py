"""The preset good, and regressors made of others: what is chosen, and that models keep their bytes."""

import io
import re

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold
from test_model import KINDS, SCHEMA, few_trees, table

from backtest_week import backtest_week
from conftest import CONFIG, Project, rides
from signoff.base.errors import TaskError
from signoff.config.settings import check_config
from signoff.model.model_file import _skops_bytes
from signoff.model.presets import _chosen, _Found, _selected, _simplest, choose_good, rows_to_compare, settings_of_good
from signoff.model.quantiles import fit_intervals
from signoff.model.records import words_of, words_of_gain, words_of_text
from signoff.model.regressor import Learning, TrainingRows, make_regressor
from signoff.model.search import cost_of
from signoff.model.training import train_model

BOOSTING, RIDGE = "sklearn.ensemble.HistGradientBoostingRegressor", "sklearn.linear_model.Ridge"
RESIDUALS = "signoff.model.residuals.ResidualRegressor"
VOTING, LOGARITHM = "sklearn.ensemble.VotingRegressor", "sklearn.compose.TransformedTargetRegressor"
FEW = {"estimator": BOOSTING, "params": {"max_iter": 2}}
TREES = {"estimator": "sklearn.ensemble.ExtraTreesRegressor", "params": {"n_estimators": 2}}
WITHIN = {"regressor": FEW, "func": "numpy.log1p", "inverse_func": "numpy.expm1", "check_inverse": False}
KERNEL = [["kernel", "sklearn.kernel_approximation.Nystroem"], ["ridge", "sklearn.linear_model.RidgeCV"]]
COMPOSED = [
    (VOTING, {"estimators": [["boosting", FEW], ["ridge", RIDGE], ["trees", TREES]], "weights": [0.5, 0.2, 0.3]}),
    (VOTING, {"estimators": [RIDGE, {"estimator": LOGARITHM, "params": WITHIN}]}),
    (LOGARITHM, WITHIN),
    (RESIDUALS, {"estimators": [["linear", RIDGE], ["boosting", FEW]]}),
    ("sklearn.ensemble.StackingRegressor", {"estimators": {"a": FEW, "b": RIDGE}, "final_estimator": RIDGE}),
    ("sklearn.ensemble.BaggingRegressor", {"estimator": RIDGE, "n_estimators": 3}),
    (VOTING, {"estimators": [{"estimator": "sklearn.pipeline.Pipeline", "params": {"steps": KERNEL}}, RIDGE]}),
]


def heavy_tails(rows: int = 200) -> tuple[pd.DataFrame, pd.Series]:
    random = np.random.default_rng(1)
    features, _ = table(rows)
    return features, np.sin(features["km"]) * features["age"] + 5 * random.standard_t(1.5, rows)


def test_a_linear_table_gets_ridge_also_in_the_backtest_and_heavy_tails_the_absolute_loss(monkeypatch):
    few_trees(monkeypatch)
    features, target = table(100)
    linear, found = choose_good(TrainingRows(features, KINDS, target))
    assert linear["estimator"] == "sklearn.linear_model.RidgeCV"
    assert len(found["settings"]) >= 5 and found["settings"][0]["params"] == linear["params"]
    assert all(each["spread"] > 0 for each in found["settings"]) and "standard error" in found["why"]
    # Rows without a time have no trend.
    assert RESIDUALS not in {each["estimator"] for each in found["settings"]}
    heavy, _ = choose_good(TrainingRows(heavy_tails()[0], KINDS, heavy_tails()[1]))
    assert "absolute_error" in words_of(heavy)
    # The backtest chooses as the preset does.
    few_trees(monkeypatch, every=5)
    rows = features.assign(minutes=target)
    replayed = backtest_week(rows, {"2024-W09": rows}, KINDS, "minutes", Learning(preset="good"))
    assert replayed["chosen"] == linear


def test_the_simplest_within_one_paired_standard_error_wins():
    settings = [{"estimator": name, "params": {}} for name in "abc"]
    errors = {0: np.array([1.0, 2, 3, 4, 5.2]), 1: np.array([1.0, 2, 3, 4, 5]), 2: np.array([1.1, 2.1, 3.1, 4.1, 5.1])}
    chosen, why = _simplest(errors, settings)
    assert chosen == 0 and "the simplest within one standard error of the best, b()" in why
    # Worse in each fold by the same: no spread hides it, however much the folds differ.
    assert _simplest({0: errors[1] + 0.1, 1: errors[1]}, settings)[0] == 1


def chosen_of(rows: int, ridge: float, boosting: float) -> tuple[dict, dict]:
    """Return what is chosen of ridge regression and gradient boosting that miss n targets by so much, and why."""
    random = np.random.default_rng(1)
    target = pd.Series(random.normal(size=rows))
    settings = [{"estimator": RIDGE, "params": {}}, {"estimator": BOOSTING, "params": {}}]
    # All are too large, so that no weighted mean is better than the better one.
    predicted = {n: target + np.abs(random.normal(0, error, rows)) for n, error in enumerate([ridge, boosting])}
    known = {"rows": rows, "MAE": 1.0, "spread": 1.0, "problem": None}
    compared = {n: {**each, **known} for n, each in enumerate(settings)}
    found = _Found(settings, compared, predicted, {"fits": 10, "rows": 10})
    return _chosen(found, target, KFold(5), "MAE", best=False)


def test_with_few_rows_half_of_a_choice_that_may_be_chance_is_boosting():
    chosen, found = chosen_of(200, 1.0, 1.02)
    assert [each["estimator"] for _, each in chosen["params"]["estimators"]] == [RIDGE, BOOSTING]
    assert chosen["params"]["weights"] == [0.5, 0.5] and "may be chance" in found["why"]
    assert found["settings"][0]["params"] == chosen["params"] and found["settings"][0]["MAE"] > 0
    # Better beyond doubt, or on more rows.
    assert chosen_of(200, 0.1, 1.0)[0]["estimator"] == chosen_of(401, 1.0, 1.02)[0]["estimator"] == RIDGE
    # Gradient boosting itself.
    assert chosen_of(200, 1.0, 0.1)[0] == {"estimator": BOOSTING, "params": {}}


def test_the_weights_of_a_mean_are_those_of_the_errors_that_cancel():
    actual = np.arange(10.0)
    matrix = np.column_stack([actual + 1, actual - 1, actual + 50])
    assert _selected(matrix, actual) == pytest.approx([0.5, 0.5, 0])


def test_few_rows_are_not_compared():
    features, target = table(120)
    assert choose_good(TrainingRows(features.head(19), KINDS, target.head(19))) == (
        {"estimator": BOOSTING, "params": {}},
        None,
    )


def test_a_trend_goes_on_after_the_last_training_row():
    when = pd.Series(pd.date_range("2021-01-01", periods=400))
    random = np.random.default_rng(0)
    features = pd.DataFrame(
        {"days": np.arange(400.0), "a": random.uniform(-1, 1, 400), "b": random.uniform(-1, 1, 400)}
    )
    # What a linear model does not see.
    target = features["days"] / 5 + 15 * (features["a"] * features["b"] > 0) + random.normal(size=400)
    kinds, seen = dict.fromkeys(features, "number"), slice(0, 320)
    # Rows are compared in the order of their time, in whichever they come.
    rows = TrainingRows(features[seen], kinds, target[seen], when[seen])
    setting, found = choose_good(rows.at(random.permutation(320)))
    assert "in the order of time" in found["folds"]
    assert setting["estimator"] == RESIDUALS and RESIDUALS in {each["estimator"] for each in found["settings"]}
    model = train_model(features[seen], kinds, target[seen], **setting)
    linear = model[-1].estimators_[0].predict(features)
    assert np.abs(model.predict(features) - target)[320:].mean() < 0.5 * np.abs(linear - target)[320:].mean()


def test_a_smooth_curve_gets_a_kernel(monkeypatch):
    few_trees(monkeypatch)
    random = np.random.default_rng(0)
    features = pd.DataFrame({name: random.uniform(-1, 1, 80) for name in "abc"})
    target = features["a"] * features["b"] + features["c"] ** 2
    setting, found = choose_good(TrainingRows(features, dict.fromkeys("abc", "number"), target))
    assert "Nystroem" in str(setting) and not any(each["problem"] for each in found["settings"])


@pytest.mark.parametrize(("estimator", "params"), COMPOSED)
def test_regressors_made_of_others_by_name_train_and_keep_their_bytes(estimator, params):
    features, target = table(150)
    features.loc[::10, "km"] = np.nan
    features.loc[::15, "town"] = None
    written = []
    for threads in (1, 1, 2):
        file = io.BytesIO()
        model = train_model(features, KINDS, target + 1, estimator, params, threads=threads)
        joblib.dump(model, file)
        written.append(file.getvalue())
    assert written[1] == written[2] and _skops_bytes(model)
    new = pd.DataFrame({"town": pd.Series(["never seen", None], dtype="str"), "km": [5.0, np.nan], "age": [1.0, 2.0]})
    assert np.isfinite(model.predict(new)).all()


@pytest.mark.parametrize(("estimator", "params"), [COMPOSED[0], COMPOSED[3]])
def test_regressors_made_of_others_get_intervals(estimator, params):
    rows = TrainingRows(table(150)[0], KINDS, table(150)[1])
    assert fit_intervals(rows, {"estimator": estimator, "params": params}, 0.9) is not None


@pytest.mark.parametrize(
    ("estimator", "params", "message"),
    [
        (VOTING, {"estimators": "much"}, "model.params.estimators is 'much', but must be a list of estimators."),
        (VOTING, {"estimators": [["a", 5]]}, "model.params.estimators.0 is 5, but must be an estimator"),
        (VOTING, {"estimators": ["sklearn.linear_model.Rigde"]}, "model.params.estimators.0.estimator: sklearn"),
        (LOGARITHM, {"regressor": {"estimater": RIDGE}}, "model.params.regressor is {'estimater'"),
        (LOGARITHM, {"regressor": RIDGE, "func": "numpy.lug"}, "model.params.func: cannot find 'numpy.lug'"),
    ],
)
def test_a_wrong_estimator_within_another_is_one_clear_error(estimator, params, message):
    with pytest.raises(TaskError, match=re.escape(message)):
        make_regressor(estimator, params, 0)


def test_a_preset_goes_with_no_other_choice_of_a_model():
    for other in ({"params": {"max_iter": 5}}, {"estimator": RIDGE}, {"candidates": [{"estimator": RIDGE}]}):
        config = {"raw_data_source_url": "a.csv", "target": "y", "model": {"preset": "good", **other}}
        with pytest.raises(TaskError, match=r"model\.preset: good chooses the model by itself"):
            check_config(config, SCHEMA)


def with_notes(count: int, seed: int = 1) -> pd.DataFrame:
    """Return so many rides with a column of text, of which some are missing.

    Their minutes are linear in their features: a ridge regression is chosen, which takes less time than trees to judge
    the weights by, to get its intervals, and to train again.
    """
    rows = rides(count, seed)
    city = rows["city"].map({"Köln": 0.0, "Bonn": 9.0, "Trier, West": 5.0})
    rows["minutes"] = (3 * rows["km"].fillna(10) + city + np.random.default_rng(seed).normal(0, 2, count)).round(2)
    notes = [
        f"a {('wet', 'dry', 'cold')[n % 3]} ride over the {('old', 'new')[n % 2]} bridge {n}" for n in range(count)
    ]
    return rows.assign(note=pd.Series(notes, rows.index).where(np.arange(len(rows)) % 9 > 0))


def test_the_preset_goes_through_the_whole_workflow_and_the_report_shows_the_choice(finished: Project):
    with_notes(150).to_csv(finished.folder / "rides.csv", index=False)
    # The number of riders is then not a feature.
    history = [{"by": "city", "values": ["minutes"], "lags": [1], "windows": ["3d"], "available_after": "1h"}]
    # So short a time draws no settings, as the record says.
    model = {"preset": "best", "minutes": 0.001, "metric": "RMSE", "weight": "riders", "refit": "all"}
    model["intervals"] = "constant"
    cleaning = {"columns": {"note": "leave"}}
    finished.configure(model=model, features={"history": history, "text": ["note"]}, cleaning=cleaning)
    finished.snakemake("reports/final_report.md", "all")
    found = finished.json("model/model.json")["candidates"]
    alarms = finished.json("reports/diagnostics.json")["alarms"]
    metrics = finished.json("reports/evaluation_metrics.json")
    assert found == metrics["candidates"] and found["settings"][0]["estimator"] == metrics["estimator"]
    assert {each["rows"] for each in found["settings"]} == {metrics["split"]["rows"]["train"]}
    markdown, page = ((finished.folder / f"reports/final_report.{x}").read_text("utf-8") for x in ("md", "html"))
    for text in (markdown, page):
        assert f"Chosen from {len(found['settings'])} candidates by 5 folds in the order of time" in text
        assert all(f"{each['RMSE']:.4g}" in text and f"{each['spread']:.4g}" in text for each in found["settings"])
        assert "RMSE is on the scale of minutes" in text and found["metric"] == "RMSE"
        assert "simpler one is preferred if it is within one standard error" in text
        assert "0 settings were drawn at random, in 0.001 minutes" in text
        assert f"The choice cost {found['cost']['fits']} fits, which learnt from" in text
        gain = words_of_gain(metrics["weight"]["gain"], "model.weight")
        assert f"Training rows are weighted by riders: {gain}" in text
    assert "riders" not in metrics["features"]
    # So does a column of text, which says nothing here.
    (gain,) = found["text"]
    assert metrics["features"]["note"] == "text" and metrics["text"] == {"note": 31 if gain["used"] else 0}
    assert words_of_text(gain, "RMSE")[1:] in markdown and not any(each["feature"] == "note" for each in alarms)
    # Features of earlier rows go through every step too.
    earlier = {"minutes_lag_1_by_city", "minutes_mean_3d_by_city"}
    assert earlier <= set(metrics["features"]) and "minutes_lag_1_by_city" in page
    finished.sign_off()
    finished.script("deploy")
    (finished.folder / "data/batches").mkdir()
    batch = with_notes(20, seed=2).drop(columns=["minutes", "riders"])
    batch.to_csv(finished.folder / "data/batches/new.csv", index=False)
    finished.snakemake("predictions/new.csv")
    scored = pd.read_csv(finished.folder / "predictions/new.csv")
    # A missing note is no reason to reject a row.
    assert scored["prediction"].notna().all() and len(scored) == len(batch.drop(columns="note").dropna()) < 20
    # The week after, the release is the champion.
    with_notes(170).to_csv(finished.folder / "rides.csv", index=False)
    options = {"features": {"history": history, "text": ["note"]}, "cleaning": cleaning}
    finished.configure(model={**CONFIG["model"], "weight": "riders"}, **options)
    finished.snakemake("reports/evaluation_metrics.json")
    assert finished.json("reports/evaluation_metrics.json")["champion"]["test"]["MAE"] > 0


def test_many_rows_are_compared_on_a_sample_that_covers_all_of_the_time():
    when = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(60_000)[::-1], unit="h"))
    features, target = pd.DataFrame(index=when.index), pd.Series(0.0, when.index)
    places = rows_to_compare(TrainingRows(features, dict.fromkeys("abc", "number"), target, when), 0)
    assert len(places) == 20_000 and {0, 59_999} <= set(places) and np.diff(np.sort(places)).max() <= 4
    wide = dict.fromkeys(map(str, range(100)), "number")
    assert len(set(rows_to_compare(TrainingRows(features, wide, target), 0))) == 3000
    assert list(rows_to_compare(TrainingRows(features.head(50), wide, target.head(50)), 0)) == list(range(50))


def test_details_of_few_rows_are_compared_only_where_rows_are_few():
    for rows, leaf, smaller in ((5000, 1, [8]), (5001, 1 / 2500, [])):
        settings = settings_of_good(pd.Series(np.arange(float(rows))))
        (trees,) = (each["params"] for each in settings if each["estimator"] == TREES["estimator"])
        assert trees["min_samples_leaf"] == leaf
        leaves = [each["params"]["max_leaf_nodes"] for each in settings if "max_leaf_nodes" in each["params"]]
        assert leaves == smaller
    # If the errors are about the same, a model that continues a trend is preferred to more details.
    names = [
        f"{each['estimator']} {each['params']}" for each in settings_of_good(pd.Series(np.arange(99.0)), trend=True)
    ]
    (residuals,), (small,) = ([n for n, name in enumerate(names) if part in name] for part in (RESIDUALS, "leaf_nodes"))
    assert residuals < small


def test_what_a_few_rows_have_in_common_is_learnt():
    random = np.random.default_rng(0)
    # Forty people with eight rows each: leaves of twenty rows mix them.
    features = pd.DataFrame({"person": np.repeat(np.arange(40.0), 8), "day": np.tile(np.arange(8.0), 40)})
    target = random.normal(0, 10, 40)[features["person"].astype("int64")] + features["day"]
    target = pd.Series(target + random.normal(0, 0.5, 320))
    seen = np.sort(random.permutation(320)[:250])
    kinds, unseen = dict.fromkeys(features, "number"), np.setdiff1d(np.arange(320), seen)
    rows = TrainingRows(features, kinds, target).at(seen)
    chosen, _ = choose_good(rows)
    errors = [
        np.abs(train_model(rows.features, kinds, rows.target, **each).predict(features) - target)[unseen].mean()
        for each in (chosen, {"estimator": BOOSTING, "params": {}})
    ]
    assert errors[0] < 0.5 * errors[1]


def test_of_many_values_randomised_trees_try_some_features_only():
    target = pd.Series(np.arange(3000.0))
    trees = [
        each["params"].get("max_features")
        for features in (30, 40)
        for each in settings_of_good(target, features=features)
        if each["estimator"] == TREES["estimator"]
    ]
    assert trees == [None, 0.5]


def test_the_cost_of_a_comparison_counts_each_round_of_each_setting():
    compared = [{"rows": 6000}, {"rows": 6000}, {"rows": 2000}]
    assert cost_of(compared, KFold(5)) == {"fits": 25, "rows": 4 * (2 * 6000 + 3 * 2000)}
