"""The diagnostics: intervals beside scipy's, drift beside a reference, alarms that fire on their fault alone."""

import json

import numpy as np
import pandas as pd
import pytest
from benchmarks.alarms import FAULTS, TABLES, diagnosed, flights, named, with_fault
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.inspection import permutation_importance
from sklearn.metrics import r2_score
from test_release import current, error

import diagnose
from conftest import Project, rides
from feature_engineering import feature_engineering
from signoff.features.user_code import load_code
from signoff.model.scoring import HIGHER_IS_BETTER, METRIC_NAMES
from signoff.review import (
    bias,
    copied_rows,
    custom_metrics,
    drift,
    empty_model,
    findings,
    importance,
    intervals,
    reasons,
    unseen,
)
from signoff.review.comparison import compare_predictors, comparison_alarms
from signoff.review.leaks import leaks

ROWS = 2400
CONSTANT = "sklearn.dummy.DummyRegressor"
READS = ["--features=data/features/features.csv", "--metrics=reports/evaluation_metrics.json"]
READS += ["--validation=reports/validation_report.json"]
WITHOUT_CHAMPION = {"paired": None, "slices": {"rows": []}}


# What is wrong with the rows does not depend on how many trees a model of them has.
FEW_TREES = {"max_iter": 30}


def found_in(
    frame: pd.DataFrame, estimator: str | None = None, target: str = "arr_delay", params: dict = FEW_TREES, **options
) -> dict:
    return diagnosed(frame, target, 0, estimator, params, **{"test_share": 0.2, **options})


def names(found: dict) -> set[tuple]:
    return {(each["name"], each["feature"]) for each in found["alarms"]}


# Intervals


def metric_intervals(actual: np.ndarray, predicted: np.ndarray, sampled: intervals.Resampling) -> dict:
    return intervals.metric_intervals(intervals.resampled_metrics(actual, predicted, sampled), sampled)


def made_of(blocks: np.ndarray, resamples: int, seed: int = 0, by: str = "rows") -> intervals.Resampling:
    return intervals.Resampling(blocks, intervals._draws(int(blocks.max()) + 1, resamples, seed), by)


def test_every_metric_of_the_report_has_an_interval_and_a_difference():
    numbers = np.arange(5.0)
    resampled = intervals.resampled_metrics(numbers, numbers + 1, made_of(np.arange(5), 10))
    assert {*resampled} == {*METRIC_NAMES, "bias"}
    assert {*METRIC_NAMES} > HIGHER_IS_BETTER


# Of arrays: it is called a thousand times, and pandas would take most of the time.
OWN = """
import numpy as np


def metrics(actual, predicted, rows):
    error = np.abs(predicted.to_numpy() - actual.to_numpy())
    if rows["first"].to_numpy().all():
        return {"own MAE": error.mean(), "rarely": None, "share": (error < 5).mean()}
    return {"own MAE": error.mean(), "rarely": 1.0, "share": (error < 5).mean()}
"""


def own(tmp_path, rows: int, better: dict[str, int], champion: float = 1.0, text: str = OWN) -> tuple:
    """Return what `own_intervals` says of a model and a champion whose errors are so many times as large, the values of
    the two, and what the built-in intervals are made of."""
    (tmp_path / "metrics.py").write_text(text, encoding="utf-8")
    code, _ = load_code(tmp_path / "metrics.py")
    random = np.random.default_rng(0)
    actual, error = random.gamma(2, 10, rows), random.normal(0, 5, rows)
    predictions = {"model": actual + error, "champion": actual + champion * error}
    features = pd.DataFrame({"first": np.arange(rows) == 0})
    sampled = intervals.resampling(None, rows, 1, 999)
    scores = {
        name: {
            "own MAE": float(np.abs(each - actual).mean()),
            "rarely": 1.0,
            "share": float((np.abs(each - actual) < 5).mean()),
        }
        for name, each in predictions.items()
    }
    rows = custom_metrics.HeldOut(features, actual, predictions, scores)
    found = custom_metrics.own_intervals(code, list(scores["model"]), rows, sampled, better, 1)
    return found, scores, (actual, predictions["model"], sampled)


def test_intervals_of_own_metrics_are_those_of_the_built_in_ones_and_the_same_each_time(tmp_path, monkeypatch):
    (found, differences, made_of), scores, known = own(tmp_path, 1500, {"own MAE": -1, "share": 1}, champion=1.5)
    assert made_of == {"resamples": 500, "rows": 1500}
    low, high = found["model"]["own MAE"]
    expected = metric_intervals(*known)["MAE"]
    assert [low, high] == pytest.approx(expected, abs=0.15 * (expected[1] - expected[0]))
    assert low < scores["model"]["own MAE"] < high
    # A fall of one metric and a rise of another are both for the better.
    assert differences["own MAE"]["difference"] < 0 < differences["share"]["difference"]
    assert differences["own MAE"]["verdict"] == differences["share"]["verdict"] == "better"
    assert differences["rarely"]["verdict"] == "cannot be told apart"
    monkeypatch.setattr(custom_metrics, "_MOST_RESAMPLES", 50)
    monkeypatch.setattr(custom_metrics, "_FEWEST_RESAMPLES", 50)
    again = own(tmp_path, 1500, {}, champion=1.5)[0]
    assert again == own(tmp_path, 1500, {}, champion=1.5)[0]
    turned = own(tmp_path, 1500, {"own MAE": 1, "share": -1}, champion=1.5)[0][1]
    assert turned["own MAE"]["verdict"] == turned["share"]["verdict"] == "worse"
    unknown = again[1]
    assert [unknown[name]["verdict"] for name in ("own MAE", "share")] == ["lower", "higher"]


def test_own_metrics_see_a_bounded_number_of_rows_and_their_intervals_lie_around_the_value_of_all(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(custom_metrics, "_MOST_VISITS", 200_000)
    (found, _, made_of), scores, _ = own(tmp_path, 5000, {})
    assert made_of == {"resamples": 200, "rows": 1000}
    low, high = found["model"]["own MAE"]
    assert low < scores["model"]["own MAE"] < high
    # As wide as a thousand rows allow, and not as five thousand would.
    spread = np.std(np.abs(np.random.default_rng(0).normal(0, 5, 5000)))
    assert high - low == pytest.approx(2 * 1.96 * spread / np.sqrt(1000), rel=0.25)


def test_an_own_metric_that_fails_on_a_resample_is_one_warning_and_has_no_interval(tmp_path, caplog):
    text = (
        OWN
        + """
whole = metrics
def metrics(actual, predicted, rows):
    if rows["first"].sum() != 1:
        raise ZeroDivisionError("no first row")
    return whole(actual, predicted, rows)
"""
    )
    found = own(tmp_path, 200, {}, text=text)[0][0]
    (line,) = caplog.messages
    assert "metrics.py failed on " in line and "no first row" in line
    # Two thirds of all resamples have another number of that row than one.
    assert found["model"]["own MAE"] == [None, None]


def test_the_p_of_two_rows_of_counts_is_that_of_scipy():
    random = np.random.default_rng(5)
    for levels in (2, 2, 3, 8):
        counts = random.integers(1, 60, (2, levels))
        assert drift._chi_squared(counts) == pytest.approx(stats.chi2_contingency(counts).pvalue, rel=1e-9)


def test_intervals_are_those_of_scipy():
    random = np.random.default_rng(3)
    actual = random.gamma(2, 10, 150)
    predicted = actual * 0.8 + random.normal(0, 5, 150)
    sampled = intervals.resampling(None, 150, 1, 9999)
    found = metric_intervals(actual, predicted, sampled)
    reference = {
        "MAE": lambda a, p, axis: np.abs(p - a).mean(axis),
        "RMSE": lambda a, p, axis: np.sqrt(((p - a) ** 2).mean(axis)),
        "R2": lambda a, p, axis: 1 - ((p - a) ** 2).mean(axis) / a.var(axis),
        "median_absolute_error": lambda a, p, axis: np.median(np.abs(p - a), axis),
        "bias": lambda a, p, axis: (p - a).mean(axis),
    }
    assert sampled.by == "rows" and sorted(sampled.blocks) == list(range(150))
    for name, statistic in reference.items():
        expected = stats.bootstrap(
            (actual, predicted), statistic, paired=True, vectorized=True, method="percentile", rng=2
        ).confidence_interval
        width = expected.high - expected.low
        assert found[name] == pytest.approx([expected.low, expected.high], abs=0.06 * width), name


def test_the_metrics_of_a_resample_are_those_of_its_rows():
    random = np.random.default_rng(5)
    actual, predicted = random.normal(0, 10, (2, 40))
    blocks = np.repeat(np.arange(10), 4)
    sampled = made_of(blocks, 1, seed=4)
    drawn = sampled.drawn
    rows = np.concatenate([np.flatnonzero(blocks == k) for k in range(10) for _ in range(int(drawn[0, k]))])
    found = metric_intervals(actual, predicted, sampled)
    error = np.abs(predicted - actual)[rows]
    assert found["MAE"] == pytest.approx([error.mean()] * 2)
    assert found["RMSE"] == pytest.approx([np.sqrt((error**2).mean())] * 2)
    assert found["median_absolute_error"] == pytest.approx([np.median(error)] * 2)
    assert found["R2"] == pytest.approx([r2_score(actual[rows], predicted[rows])] * 2)
    assert metric_intervals(np.ones(40), predicted, sampled)["R2"] == [None, None]


def test_days_are_drawn_as_a_whole_so_that_weather_makes_the_intervals_wider():
    random = np.random.default_rng(1)
    time = pd.Series(pd.date_range("2024-01-01", periods=4000, freq="15min"))
    blocks, by = intervals.blocks_of(time, 4000, 0)
    assert by == "days" and blocks.max() + 1 == 42
    weather = random.normal(0, 5, 42)[blocks]
    actual, predicted = np.zeros(4000), weather + random.normal(0, 1, 4000)
    wide = metric_intervals(actual, predicted, made_of(blocks, 500, by="days"))["MAE"]
    single, _ = intervals.blocks_of(None, 4000, 0)
    assert single.max() + 1 == intervals._MOST_BLOCKS
    narrow = metric_intervals(actual, predicted, made_of(single, 500))["MAE"]
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])
    # A reference that sees each day once.
    size = pd.Series(np.abs(predicted))
    error, degrees = intervals.serial_error((size - size.mean()).groupby(blocks).sum().to_numpy() / 4000)
    assert wide[1] - wide[0] == pytest.approx(2 * stats.t.ppf(0.975, degrees) * error, rel=0.05)
    assert intervals.blocks_of(time.head(300), 300, 0)[1] == "rows"


def test_groups_are_drawn_as_a_whole_even_if_rows_have_a_time():
    random, time = np.random.default_rng(1), pd.Series(pd.date_range("2024-01-01", periods=4000, freq="15min"))
    which = random.integers(0, 40, 4000)
    actual, predicted = np.zeros(4000), random.normal(0, 5, 40)[which] + random.normal(0, 1, 4000)
    by_group = intervals.resampling(time, 4000, 0, 500, which)
    by_row = intervals.resampling(None, 4000, 0, 500)
    assert by_group.by == "groups" and by_group.drawn.shape[1] == 40
    wide, narrow = (metric_intervals(actual, predicted, each)["MAE"] for each in (by_group, by_row))
    # About the square root of the hundred rows of a group.
    assert wide[1] - wide[0] > 5 * (narrow[1] - narrow[0])
    many = intervals.resampling(None, 9000, 0, 10, np.repeat(np.arange(3000), 3))
    assert (
        many.drawn.shape[1] == 2000 and pd.Series(many.blocks).groupby(np.repeat(range(3000), 3)).nunique().max() == 1
    )
    # One group says nothing about others.
    assert intervals.blocks_of(None, 50, 0, np.zeros(50))[1] == "rows"


def days_in_a_row(count: int, correlation: float, tables: int, seed: int) -> np.ndarray:
    """Return daily values (tables × count) of mean 0, each day correlated with the one before (an AR(1) process)."""
    values = np.random.default_rng(seed).normal(size=(tables, count))
    for day in range(1, count):
        values[:, day] *= np.sqrt(1 - correlation**2)
        values[:, day] += correlation * values[:, day - 1]
    return values


@pytest.mark.parametrize("days", [10, 16, 57])
@pytest.mark.parametrize("correlation", [0, 0.8])
def test_intervals_hold_what_they_promise_however_few_the_days_and_however_alike(days, correlation):
    values = days_in_a_row(days, correlation, 100_000, seed=days)
    error, degrees = intervals.serial_error((values - values.mean(axis=1, keepdims=True)) / days)
    held = np.abs(values.mean(axis=1)) <= stats.t.ppf(0.975, degrees) * error
    # Two points, and what 100,000 tables are uncertain by.
    assert held.mean() == pytest.approx(0.95, abs=0.021)


@pytest.mark.parametrize("days", [16, 57])
def test_equal_models_are_seldom_called_better_or_worse_though_days_are_alike(days):
    time, verdicts = pd.Series(pd.date_range("2024-01-01", periods=4 * days, freq="6h")), []
    sampled = intervals.resampling(time, len(time), 0)
    for gain in days_in_a_row(days, 0.8, 1000, seed=2):
        ours, theirs = np.full(4 * days, 10.0), 10 + np.repeat(gain, 4)
        found = intervals.paired(np.zeros(4 * days), ours, theirs, sampled)
        # The way through the resamples gives the width that the days themselves give.
        error, degrees = intervals.serial_error((gain - gain.mean()) / days)
        low, high = found["interval"]
        assert high - low == pytest.approx(2 * stats.t.ppf(0.975, degrees) * error, rel=0.15)
        verdicts.append(found["verdict"])
    assert np.mean([each != "cannot be told apart" for each in verdicts]) < 0.05 + 0.02 + 0.02


def test_two_predictors_are_compared_on_the_same_rows():
    random = np.random.default_rng(2)
    actual = random.normal(0, 30, 600)
    ours = actual + random.normal(0, 10, 600)
    sampled = intervals.resampling(None, 600, 0, 500)
    for theirs, verdict in (
        (ours + np.sign(ours - actual) * 0.5, "better"),
        (ours - np.sign(ours - actual) * 0.5, "worse"),
        (actual + random.permutation(ours - actual), "cannot be told apart"),
    ):
        found = intervals.paired(actual, ours, theirs, sampled)
        assert found["verdict"] == verdict
        assert found["interval"][0] <= found["difference"] <= found["interval"][1]


@pytest.mark.parametrize("seed", range(5))
def test_a_slice_is_worse_only_after_the_correction(seed):
    random = np.random.default_rng(seed)
    actual, n = np.zeros(4000), 4000
    frame = pd.DataFrame({f"x{k}": random.normal(size=n) for k in range(10)}).assign(
        town=random.choice(list("ABCD"), n)
    )
    frame.loc[:99, "x0"] = np.nan
    champion = random.normal(0, 10, n)
    ours = random.normal(0, 10, n) * np.where(frame["town"] == "C", 1.6, 0.8)
    slices = intervals.make_slices(frame, {"town": "category", **{f"x{k}": "number" for k in range(10)}})
    found = intervals.slice_table(slices, actual, ours, champion, intervals.resampling(None, n, 0, 500))
    assert [(row["feature"], row["value"]) for row in found["rows"] if row["worse"]] == [("town", "C")]
    assert found["rows"][0]["value"] == "C"
    assert found["looked_at"] == 4 + 10 * 5 + 1
    first = found["rows"][0]
    inside = (frame["town"] == "C").to_numpy()
    assert first["rows"] == inside.sum()
    assert first["MAE"] == pytest.approx(np.abs(ours[inside]).mean())
    assert first["champion_MAE"] == pytest.approx(np.abs(champion[inside]).mean())
    assert first["bias"] == pytest.approx(ours[inside].mean())
    assert first["difference_interval"][0] > 0
    assert list(intervals.holm([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])


def test_numbers_are_sliced_at_their_quantiles_and_rare_levels_are_in_no_slice():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.gamma(1, 10, 500), "town": (random.gamma(1, 20, 500)).astype(int).astype(str)})
    frame.loc[::10] = np.nan
    found = intervals.make_slices(frame, {"x": "number", "town": "category"})
    codes, labels = found["x"]
    edges = frame["x"].quantile(np.linspace(0, 1, 6))
    expected = pd.cut(frame["x"], edges, labels=False, include_lowest=True).fillna(5)
    assert codes.tolist() == expected.tolist() and labels[5] == "missing"
    codes, labels = found["town"]
    assert len(set(frame["town"])) > intervals._MOST_LEVELS == len(labels) - 1
    assert all(set(frame["town"][codes == k]) == {label} for k, label in enumerate(labels[:-1]))
    counts = np.bincount(codes[codes >= 0])[:-1]
    assert sorted(counts, reverse=True) == counts.tolist() and (codes == 50).sum() == 50
    assert counts[-1] >= frame["town"][codes < 0].value_counts().max()


# Prediction intervals


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_coverage_is_nominal_on_exchangeable_rows(level):
    random = np.random.default_rng(7)
    actual = random.gamma(2, 20, 21_000)
    predicted = actual + random.standard_t(3, 21_000) * 9
    held, later = slice(0, 1000), slice(1000, None)
    found = intervals.prediction_interval(
        actual[held], predicted[held], None, False, {}, made_of(np.arange(1000), 1), level, 0
    )
    covered = np.abs(predicted[later] - actual[later]) <= found["half_width"]
    assert abs(covered.mean() - level) < 0.02
    assert abs(found["coverage"] - level) < 0.05 and found["rows"] == 500
    # The quantile of the paper, by its definition.
    assert found["half_width"] == sorted(np.abs(predicted - actual)[held])[int(np.ceil(1001 * level)) - 1]
    assert intervals.half_width(np.arange(5.0), 0.9) is None


def test_coverage_is_nominal_over_many_tables_and_falling_short_by_chance_raises_no_alarm():
    covered, alarms = [], 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        error = random.standard_t(3, 1400) * 9
        nothing = np.zeros(400)
        found = intervals.prediction_interval(
            nothing, error[:400], None, False, {}, made_of(np.arange(400), 1), 0.9, seed
        )
        covered.append((np.abs(error[400:]) <= found["half_width"]).mean())
        alarms += len(comparison_alarms(WITHOUT_CHAMPION | {"prediction_interval": found}))
    assert abs(np.mean(covered) - 0.9) < 0.005
    assert alarms <= 2
    # A model whose errors grow falls short, and is told.
    error[:400] *= np.repeat([1.0, 2.5], 200)
    time = pd.Series(pd.date_range("2024-01-01", periods=400, freq="h"))
    found = intervals.prediction_interval(nothing, error[:400], time, True, {}, made_of(np.arange(400), 1), 0.9, 0)
    (alarm,) = comparison_alarms(WITHOUT_CHAMPION | {"prediction_interval": found})
    assert alarm["name"] == "coverage" and f"{found['coverage']:.1%}" in alarm["sentence"]


def test_a_coverage_with_an_unknown_error_is_not_a_reason():
    covered = {"level": 0.9, "coverage": 0.5, "rows": 500}
    assert "50.0% of rows" in reasons.short_of(covered | {"coverage_error": 0.02})
    # Of rows of one day each error is infinite, and JSON has no such number.
    for nobody in (np.inf, None):
        assert reasons.short_of(covered | {"coverage_error": nobody}) is None


def test_a_slice_that_the_width_that_ships_covers_far_too_little_is_named():
    noisy = np.arange(4000) % 10 == 0
    error = np.random.default_rng(0).normal(0, 1, 4000) * np.where(noisy, 6, 1)
    time = pd.Series(pd.date_range("2024-01-01", periods=4000, freq="h"))
    shops = {"shop": (noisy.astype("int64"), ["quiet", "noisy"])}
    found = intervals.prediction_interval(np.zeros(4000), error, time, True, shops, made_of(np.arange(4000), 1), 0.9, 0)
    # What ships is the width of all held-out rows, and so is what is said of it.
    covered = np.abs(error[2000:]) <= found["half_width"]
    assert found["shipped_coverage"] == pytest.approx(covered.mean())
    assert found["by_slice"][0]["coverage"] == pytest.approx(covered[noisy[2000:]].mean())
    assert found["fitted_half_width"] != found["half_width"]
    (alarm,) = comparison_alarms(WITHOUT_CHAMPION | {"prediction_interval": found})
    assert (alarm["name"], alarm["feature"]) == ("slice_coverage", "shop")
    assert "shop is noisy (200 held-out rows)" in alarm["sentence"]
    # Twice as many rows outside as promised are too many, unless they are few.
    for coverage, rows, alarms in ((0.78, 2000, 1), (0.82, 2000, 0), (0.78, 200, 0), (0.6, 120, 1), (0.6, 99, 0)):
        one = {"feature": "shop", "value": "noisy", "rows": rows, "coverage": coverage, "independent": float(rows)}
        found |= {"by_slice": [one], "slices": 40}
        assert len(comparison_alarms(WITHOUT_CHAMPION | {"prediction_interval": found})) == alarms


def test_slices_that_cover_too_little_by_chance_raise_no_alarm_though_there_are_many():
    slices = {"covered": [0, 0], "short": [0, 0]}
    for seed in range(300):
        random = np.random.default_rng(seed)
        for n, outside in enumerate((np.full(40, 0.1), np.where(np.arange(40), 0.1, 0.38))):
            rows = [
                {
                    "feature": "shop",
                    "value": str(k),
                    "rows": 110,
                    "independent": 110.0,
                    "coverage": 1 - random.binomial(110, each) / 110,
                }
                for k, each in enumerate(outside)
            ]
            found = intervals.row_intervals(
                *[np.zeros(110)] * 2, (np.zeros(110),) * 2, None, {}, made_of(np.arange(110), 1), 0.9
            )
            found |= {"coverage": 0.9, "by_slice": sorted(rows, key=lambda row: row["coverage"]), "slices": 40}
            named = comparison_alarms(WITHOUT_CHAMPION | {"prediction_interval": found})
            slices["short" if n else "covered"][0] += any(each["name"] == "slice_coverage" for each in named)
    assert slices["covered"][0] <= 2 and slices["short"][0] >= 285


def test_weeks_have_their_error_and_bias():
    time = pd.Series(pd.date_range("2024-01-01", periods=14, freq="D", tz="UTC"))
    weeks = intervals.by_week(time, np.repeat([1.0, -3.0], 7))
    assert [(week["time"], week["rows"], week["MAE"], week["bias"]) for week in weeks] == [
        ("2024-01-01", 7, 1.0, 1.0),
        ("2024-01-08", 7, 3.0, -3.0),
    ]
    assert intervals.by_week(None, np.zeros(3)) == []


def test_worse_than_the_champion_by_too_little_to_matter_raises_no_alarm():
    pair = {"metric": "MAE", "difference": 0.0003, "interval": [0.0001, 0.0005], "verdict": "worse"}
    covered = {"coverage": None, "rows": 0, "by_slice": []}
    for matters in (False, True):
        found = {"paired": pair | {"matters": matters}, "slices": {"rows": []}, "prediction_interval": covered}
        assert [each["name"] for each in comparison_alarms(found)] == ["worse_than_champion"] * matters
    holdout = pd.DataFrame({"actual": np.zeros(400), "predicted": np.tile([1.02, -1.06], 200), "champion": 1.0})
    scores = {"test": dict.fromkeys(METRIC_NAMES, 1.0)}
    metrics = {"model": scores, "champion": scores, "baselines": {}, "thresholds": []}
    sampled = intervals.resampling(None, 400, 0, 200)
    for least, expected in ((0.01, True), (0.03, True), (0.05, False)):
        found = compare_predictors(metrics, holdout, holdout, sampled, least_difference=least)[0]["paired"]
        assert (found["verdict"], found["matters"]) == ("worse", expected)


def test_an_alarm_about_the_champion_needs_more_than_a_95_percent_interval():
    noise = np.random.default_rng(0).normal(0, 0.3, 400)
    scores = {"test": dict.fromkeys(METRIC_NAMES, 1.0)}
    metrics = {"model": scores, "champion": scores, "baselines": {}, "thresholds": []}
    sampled = intervals.resampling(None, 400, 0, 1000)
    for far, expected in ((0.034, False), (0.06, True)):
        champion = 1 - far - 0.3 * (noise - noise.mean()) / noise.std()
        holdout = pd.DataFrame({"actual": np.zeros(400), "predicted": 1.0, "champion": champion})
        found = compare_predictors(metrics, holdout, holdout, sampled, least_difference=0.0)[0]["paired"]
        assert (found["verdict"], found["matters"]) == ("worse", expected)


def test_coverage_is_measured_later_than_it_was_fitted():
    time = pd.Series(pd.date_range("2024-01-01", periods=2000, freq="h"))
    error = np.random.default_rng(0).normal(0, 1, 2000) * np.where(np.arange(2000) < 1000, 1, 3)
    town = {"town": (np.arange(2000) % 2, ["A", "B"])}
    found = intervals.prediction_interval(np.zeros(2000), error, time, True, town, made_of(np.arange(2000), 1), 0.9, 0)
    assert found["coverage"] < 0.5
    assert {row["value"]: row["rows"] for row in found["by_slice"]} == {"A": 500, "B": 500}
    assert sum(row["rows"] for row in found["over_time"]) == 1000


# Drift


def test_psi_and_distances_are_those_of_a_reference():
    random = np.random.default_rng(4)
    before, after = random.normal(0, 1, 5000), random.normal(0.6, 1.2, 3000)
    row = drift.compare("x", drift.profile(pd.Series(before), "number"), pd.Series(after))
    edges = [-np.inf, *np.quantile(before, np.linspace(0.1, 0.9, 9)), np.inf]
    p, q = (np.histogram(each, edges)[0] / len(each) for each in (before, after))
    assert row["psi"] == pytest.approx(sum((q - p) * np.log(q / p)), rel=0.01)
    reference = stats.ks_2samp(before, after)
    assert row["size"] == pytest.approx(reference.statistic, abs=0.02)
    assert row["size"] <= reference.statistic + 1e-12
    assert row["flagged"] and row["unit"] is None
    towns = pd.Series(["A"] * 600 + ["B"] * 300 + ["C"] * 100), pd.Series(["A"] * 500 + ["B"] * 300 + ["D"] * 200)
    row = drift.compare("town", drift.profile(towns[0], "category"), towns[1])
    assert row["size"] == pytest.approx(0.2)
    assert (row["new"], row["vanished"], row["flagged"]) == (["D"], ["C"], True)
    assert row["p"] < 1e-9


def test_the_same_rows_again_are_no_drift_however_few_or_many():
    for n, m in ((60, 40), (20_000, 5000)):
        for seed in range(20):
            random = np.random.default_rng(seed)
            columns = {
                "number": (random.gamma(1, 5, n + m), random.poisson(1.5, n + m) / 2),
                "category": (random.choice(list("ABCDEFGH"), n + m),),
            }
            for kind, values in ((name, pd.Series(each)) for name in columns for each in columns[name]):
                row = drift.compare("x", drift.profile(values[:n], kind), values[n:])
                assert not row["flagged"] and not row["vanished"] and row["unit"] is None, (n, seed, row)


@pytest.mark.parametrize(
    ("factor", "shift", "words"),
    [
        (1.609344, 0, "miles to kilometres"),
        (1.8, 32, "Celsius to Fahrenheit"),
        (1.0, 273.15, "Celsius to kelvin"),
        (0.001, 0, "1,000 times larger"),
    ],
)
def test_a_conversion_is_named_and_a_mere_shift_is_not(factor, shift, words):
    random = np.random.default_rng(0)
    before, after = pd.Series(random.normal(20, 6, 3000)), pd.Series(random.normal(20, 6, 800))
    row = drift.compare("x", drift.profile(before, "number"), after * factor + shift)
    assert words in row["unit"]
    (alarm,) = findings.drift_alarms([row], "the held-out part")
    assert (alarm["name"], alarm["feature"]) == ("unit_change", "x") and words in alarm["sentence"]
    row = drift.compare("x", drift.profile(before, "number"), after * 0.6 + 16)
    assert row["unit"] is None and row["flagged"]
    # Prices that have fallen are no kelvins.
    row = drift.compare("x", drift.profile(before * 50, "number"), after * 50 - 273.15)
    assert row["unit"] is None and row["flagged"]


@pytest.mark.parametrize("rows", [100, 1000])
def test_a_conversion_of_few_values_rounded_or_of_few_rows_is_named(rows):
    random = np.random.default_rng(1)
    seats = [50, 90, 140, 180, 220]
    before, after = (pd.Series(random.choice(seats, n)) for n in (4 * rows, rows))
    for factor, words in ((1.609344, "miles to kilometres"), (0.453592, "pounds to kilograms")):
        row = drift.compare("x", drift.profile(before, "number"), (after * factor).round(1))
        assert words in row["unit"]
    assert drift.compare("x", drift.profile(before, "number"), after)["unit"] is None


def test_a_season_is_not_news_and_a_step_is():
    random = np.random.default_rng(0)
    place = np.arange(5000)
    warmth = pd.Series(12 + 8 * np.sin(2 * np.pi * place / 2500) + random.normal(0, 1, 5000))
    steady = pd.Series(random.normal(20, 6, 5000))

    def told(values: pd.Series, by_time: bool = True) -> dict:
        before, after = values.iloc[:4000], values.iloc[4000:]
        row = drift.compare("x", drift.profile(before, "number"), after)
        return drift._news(row, before, after) if by_time else row

    assert told(warmth, by_time=False)["flagged"] and not told(warmth)["flagged"]
    moved = steady.mask(place >= 4000, 60 - steady)
    assert told(moved)["flagged"] and told(moved)["unit"] is None
    assert "miles to kilometres" in told(steady.mask(place >= 4000, steady * 1.609344))["unit"]


def test_a_level_that_has_been_away_for_as_long_before_has_not_vanished():
    place = np.arange(5000)
    # Each for a tenth of the time, one after the other, in two rounds; then “A” alone.
    town = pd.Series(np.array(list("ABCDE"))[place // 500 % 5])
    before, after = town.iloc[:4500], pd.Series(["A"] * 500)
    row = drift.compare("town", drift.profile(before, "category"), after)
    assert sorted(row["vanished"]) == ["B", "C", "D", "E"]
    assert drift._news(row, before, after)["vanished"] == []
    mixed = pd.Series(np.random.default_rng(0).choice(list("ABCDE"), 4500))
    row = drift.compare("town", drift.profile(mixed, "category"), after)
    assert sorted(drift._news(row, mixed, after)["vanished"]) == ["B", "C", "D", "E"]


def test_a_level_that_has_vanished_is_named_once():
    # A level may have the marks that are around it in the sentence.
    alarm, vanished = reasons.alarm, reasons.vanished
    first, again = (vanished("shop", ["B”"], f"shop is “B””, {when}.") for when in ("at the end", "in the last week"))
    other, another = vanished("shop", ["C"], "shop is “C”."), vanished("city", ["B”"], "city is “B””.")
    found = findings.each_level_once([first, again, other, another, alarm("drift", "shop", "It moved.")])
    assert [each["sentence"] for each in found] == [
        "shop is “B””, at the end.",
        "shop is “C”.",
        "city is “B””.",
        "It moved.",
    ]
    assert all("levels" not in each for each in found)


def test_a_level_that_is_new_by_chance_is_not_news():
    """Five rows of a level of which the training part would have had six: it may just have had none."""
    before = pd.Series(["A"] * 50 + ["B"] * 50)
    after = pd.Series(["A"] * 40 + ["B"] * 40 + ["C"] * 5)
    assert drift.compare("x", drift.profile(before, "category"), after)["new"] == []
    after = pd.Series(["A"] * 40 + ["B"] * 40 + ["C"] * 30)
    assert drift.compare("x", drift.profile(before, "category"), after)["new"] == ["C"]


def test_a_level_that_vanishes_while_rows_are_held_out_is_named_and_one_that_comes_and_goes_is_not():
    time = pd.Series(pd.date_range("2024-01-04", periods=2000, freq="h"))
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"time": time, "town": random.choice(["A", "B", "C"], 2000)})
    frame["day"] = np.where(time.dt.day_of_week >= 5, "weekend", "week")
    # A Wednesday: so many rows without a weekend would be no chance.
    assert time.iloc[-1].day_of_week < 5
    kinds = {"town": "category", "day": "category"}
    parts = frame.iloc[:1600], frame.iloc[1600:].copy()
    assert findings.last_seen(*parts, kinds, "time") == []
    late = parts[1]["time"] > "2024-03-15"
    parts[1].loc[late & (parts[1]["town"] == "B"), "town"] = "A"
    (alarm,) = findings.last_seen(*parts, kinds, "time")
    assert (alarm["name"], alarm["feature"]) == ("vanished_category", "town")
    assert alarm["sentence"].startswith("town is “B” for the last time at 2024-03-1")


def test_missing_values_that_come_or_go_are_named():
    values = pd.Series(np.random.default_rng(0).normal(size=1000))
    row = drift.compare("x", drift.profile(values, "number"), values.mask(values.index < 300))
    assert row["missing"] == [0, 0.3]
    assert [each["name"] for each in findings.drift_alarms([row], "x")] == ["missing"]
    assert drift.compare("x", drift.profile(values * np.nan, "number"), values)["flagged"]


# Alarms


def test_clean_data_raise_no_alarm():
    found = found_in(flights(0, rows=ROWS))
    assert found["alarms"] == []
    assert any("No alarm" in each["sentence"] for each in found["reasons"]["for"])
    assert found["importance"][0]["feature"] == "dep_delay"
    first, second, *_ = found["importance"]
    assert first["mean"] > 5 * second["mean"] and 0 < first["std"] < 0.2 * first["mean"]
    # The year and the month change by construction.
    shifted = {row["feature"]: row for row in found["drift"]["training"]}
    assert shifted["time_month"]["psi"] > 1 and not shifted["time_month"]["flagged"]
    values = found["partial_dependence"]["dep_delay"]
    assert values["mean"][-1] - values["mean"][0] == pytest.approx(
        0.95 * (values["values"][-1] - values["values"][0]), rel=0.2
    )
    assert json.loads(json.dumps(found, allow_nan=False)) == found


# Two faults in columns of their own share a model: both are among the first three reasons.
PAIRS = {"real flights": ("leaked target", "vanished category"), "sales": ("shifted slice", "changed unit")}


@pytest.mark.parametrize(
    ("table", "faults"),
    [*PAIRS.items()]
    + [("sales", (each,)) for each in FAULTS if each not in sum(PAIRS.values(), ())]
    + [("load", ("changed unit",)), ("claims", ("shifted slice",)), ("houses", ("vanished category",))],
    ids=lambda each: each if isinstance(each, str) else " and ".join(each),
)
def test_each_fault_is_named_among_the_first_reasons_against(table, faults, monkeypatch):
    # What no alarm depends on.
    monkeypatch.setattr(importance, "importance", lambda *_: ([], {}))
    monkeypatch.setattr(importance, "dependence", lambda *_: {})
    make, target, _, _, split = TABLES[table]
    frame = make(1, **({} if table in ("load", "claims", "houses") else {"rows": ROWS}))
    for fault in faults:
        frame = with_fault(frame, table, fault, 1)
    constant = (CONSTANT, {}) if "constant prediction" in faults else (None, FEW_TREES)
    found = diagnosed(frame, target, 0, *constant, **split)
    for fault in faults:
        assert named(found, fault, table), found["alarms"]


def test_a_new_category_and_copied_rows_are_named():
    frame = flights(2, rows=ROWS)
    late = np.arange(ROWS) >= 0.8 * ROWS
    new = frame.copy()
    columns = [name for name in frame if name != "time"]
    new.loc[ROWS - 300 :, columns] = frame.loc[:299, columns].to_numpy()
    new = new.astype(frame.dtypes)
    new.loc[late & (new["carrier"] == "AA"), "carrier"] = "ZZ"
    new.loc[late & (new["origin"] == "LGA") & (np.arange(ROWS) % 2 == 0), "origin"] = "SWF"
    told = found_in(new)
    # Most of the rows that were copied are so still.
    assert names(told) >= {("vanished_category", "carrier"), ("new_category", "origin"), ("duplicates", None)}
    (row,) = [each for each in told["drift"]["training"] if each["feature"] == "carrier"]
    assert (row["vanished"], row["new"]) == (["AA"], ["ZZ"])
    # Few different rows repeat by themselves.
    coarse = frame[["carrier", "seats"]].assign(late=(frame["arr_delay"] > 0).astype(int))
    assert copied_rows.copies([coarse[~late]], coarse[late], ["carrier", "seats"], "late", 0) == []


def test_columns_that_are_known_late_are_named_and_unknown_ones_refused():
    frame = flights(3, rows=600)
    found = found_in(frame, not_before=["seats", "time"], derived={"room": "seats / distance"})
    late = [each for each in found["alarms"] if each["name"] == "not_before"]
    assert {"seats", "room", "time_month"} <= {each["feature"] for each in late}
    assert "room is made of seats" in " ".join(each["sentence"] for each in late)
    with pytest.raises(Exception, match="there is no column 'seat': did you mean seats"):
        found_in(frame, not_before=["seat"])


def test_held_out_scores_too_good_beside_unseen_training_rows_are_named():
    mean, seen_not = (
        {"MAE": 25.0},
        {"MAE": 12.0, "best_MAE": 11.0, "mean_MAE": 24.0, "R2": 0.7, "fall": 0.9, "p": 0.001},
    )
    for mae, expected in ((12.5, []), (5.0, ["overfit_gap"]), (30.0, ["degraded"])):
        assert [each["name"] for each in diagnose._gap({"MAE": mae}, mean, seen_not)] == expected
    # Rows that are easier for the mean, too, are no sign of it.
    assert diagnose._gap({"MAE": 5.0}, {"MAE": 10.0}, seen_not) == []
    # Nor is an error that some span of the training rows has had, too.
    assert diagnose._gap({"MAE": 5.0}, mean, seen_not | {"best_MAE": 6.0}) == []
    # Nor is an error that has fallen as much before, when the model had seen more rows.
    assert diagnose._gap({"MAE": 5.0}, mean, seen_not | {"fall": 0.6}) == []
    # Chance is neither good nor bad.
    assert [diagnose._gap({"MAE": mae}, mean, seen_not | {"p": 0.02}) for mae in (5.0, 30.0)] == [[], []]


def gap_between(error: np.ndarray, held_out: np.ndarray, folds: np.ndarray) -> list[str]:
    """Return the names of the alarms on the errors of training rows, and of held-out rows, eight a day."""
    days, later = np.arange(len(error)) // 8, np.arange(len(held_out)) // 8
    actual = np.random.default_rng(0).normal(0, 3 * np.abs(error).mean(), len(error))
    found = unseen.unseen_scores(actual, error, folds, days, (held_out, later))
    scores = {"MAE": float(np.abs(held_out).mean())}, {"MAE": found["mean_MAE"]}
    return [each["name"] for each in diagnose._gap(*scores, found)]


def test_a_few_huge_errors_by_chance_are_no_degradation_and_errors_twice_as_large_are():
    larger, alarms = 0, []
    for seed in range(100):
        error = np.random.default_rng(seed).pareto(1.2, 480)
        larger += np.abs(error[240:]).mean() > 1.5 * np.abs(error[:240]).mean()
        alarms += gap_between(error[:240], error[240:], np.zeros(240, dtype="int64"))
    # By chance, the mean error is half as large again in many of these tables.
    assert larger >= 15 and len(alarms) <= 1
    found = []
    for seed in range(20):
        error = np.random.default_rng(seed).standard_t(4, 480)
        found += gap_between(error[:240], 2 * error[240:], np.zeros(240, dtype="int64"))
    assert found == ["degraded"] * 20


def test_an_error_that_falls_with_more_rows_is_not_too_good_and_one_that_no_fold_explains_is():
    error, folds = np.random.default_rng(0).normal(0, 1, 960), np.repeat([0, 1, 2], 240)
    learning = error[:720] * np.repeat([9.0, 5.0, 2.6], 240)
    assert gap_between(learning, error[720:] * 1.4, folds) == []
    assert gap_between(learning, error[720:] * 0.5, folds) == ["overfit_gap"]
    assert gap_between(error[:720], error[720:] * 0.5, folds) == ["overfit_gap"]


def test_a_slice_of_few_weeks_is_not_called_worse_since_its_days_follow_each_other():
    random, day = np.random.default_rng(0), np.repeat(np.arange(70), 20)
    time = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D"))
    sampled, unknown = intervals.resampling(time, len(day), 0, 300), {"coverage": None, "rows": 0}
    actual, champion = np.zeros(len(day)), random.normal(0, 1, len(day))
    for warm, alarms in ((day % 35 < 7, []), (day % 5 == 0, ["slice_worse"])):
        slices = {"group": (np.arange(len(day)) % 7, list("abcdefg")), "heat": (1 - warm, ["warm", "cold"])}
        worse = np.copysign(np.where(day < 35, 0.4, 1.2), champion)
        ours = champion + np.where(warm, worse, random.normal(0, 0.01, len(day)))
        table = intervals.slice_table(slices, actual, ours, champion, sampled)
        found = comparison_alarms(WITHOUT_CHAMPION | {"slices": table, "prediction_interval": unknown})
        assert [each["name"] for each in found] == alarms
        p = next(row["p"] for row in table["rows"] if row["value"] == "warm")
        assert (p < 0.005) == bool(alarms)


def test_a_weak_model_is_not_said_to_know_nothing_and_one_on_noise_is():
    random = np.random.default_rng(0)
    actual = random.normal(0, 10, 500)
    worse = {"verdict": "cannot be told apart", "interval": [-1.0, 1.0]}
    scores, intervals = {"R2": -0.2}, {"R2": [-0.5, 0.0]}
    for share, expected in ((0.25, []), (0.0, ["no_signal"])):
        predicted = share * actual + random.normal(0, 5, 500)
        unseen = share * actual + random.normal(0, 5, 500)
        # Held out, there are too few rows to see it.
        explanation = {"order": empty_model.order((actual[:40], predicted[:40]), (actual, unseen)), "alarms": []}
        assert [each["name"] for each in diagnose._no_signal(scores, intervals, worse, explanation)] == expected
    nothing = np.array([])
    explanation["order"] = empty_model.order((actual, predicted), (nothing, nothing))
    assert diagnose._no_signal(scores, intervals, worse, explanation) != []
    # What is surely better than the mean, by its scores, knows something; what is undefined says nothing.
    for scores_now, intervals_now, against in (
        ({"R2": 0.1}, intervals, worse),
        (scores, {"R2": [0.02, 0.3]}, worse),
        (scores, intervals, worse | {"verdict": "better"}),
    ):
        assert diagnose._no_signal(scores_now, intervals_now, against, explanation) == []
    (told,) = diagnose._no_signal({"R2": None}, {"R2": [None, None]}, worse, explanation)
    assert "R2 is undefined, and its MAE less that of the mean lies between -1 and 1." in told["sentence"]
    constant = {"order": 0.0, "alarms": empty_model.one_value(actual, np.full(500, 3.0))}
    assert [each["name"] for each in constant["alarms"]] == ["constant_prediction"]
    assert diagnose._no_signal(scores, intervals, worse, constant) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_bias_of_a_few_rows_is_named_and_a_few_rows_alike_by_chance_are_not(seed):
    random = np.random.default_rng(seed)
    now, then = random.normal(0, 10, 400), random.normal(0, 10, 1600)
    codes = np.where(np.arange(400) < 10, 0, 1)
    slices = {"town": (codes, ["A", "B"])}
    before = {"town": (np.where(np.arange(1600) % 20 == 0, 0, 1), ["A", "B"])}
    blocks = np.arange(400), np.arange(1600), np.arange(1600) // 534
    shifted = now - 30 * (codes == 0)
    (alarm,) = bias.slice_bias(slices, before, shifted, blocks[0], then, *blocks[1:])
    assert alarm["feature"] == "town" and "Where town is A (10 held-out rows)" in alarm["sentence"]
    alike = np.where(codes == 0, 5 + now / 100, now)
    assert bias.slice_bias(slices, before, alike, blocks[0], then, *blocks[1:]) == []


def test_a_bias_is_named_though_a_few_errors_are_huge():
    for seed in range(10):
        random = np.random.default_rng(seed)
        error = random.normal(0, 10, 10_000) * np.where(random.random(10_000) < 0.01, 300, 1)
        codes, rows, now = random.integers(0, 10, 10_000), np.arange(10_000), np.arange(10_000) >= 8000
        labels = [f"town {n}" for n in range(10)]
        parts = {"town": (codes[now], labels)}, {"town": (codes[~now], labels)}
        shifted = error[now] - 15 * (codes[now] == 7)
        found = bias.slice_bias(*parts, shifted, rows[now], error[~now], rows[~now], rows[~now] // 2000)
        assert [each["feature"] for each in found] == ["town"] and "Where town is town 7" in found[0]["sentence"]
        assert bias.slice_bias(*parts, error[now], rows[now], error[~now], rows[~now], rows[~now] // 2000) == []


def test_a_bias_that_moves_from_period_to_period_anyway_raises_no_alarm():
    named = {"shifted": 0, "not": 0, "without the periods": 0}
    for seed in range(10):
        random = np.random.default_rng(seed)
        moves = random.normal(0, 4, (4, 20))
        codes, periods = random.integers(0, 20, 8000), np.arange(8000) // 2000
        error = random.normal(0, 10, 8000) + moves[periods, codes]
        labels = [f"town {n}" for n in range(20)]
        now, rows = periods == 3, np.arange(8000)
        parts = {"town": (codes[now], labels)}, {"town": (codes[~now], labels)}
        shifted = error[now] - 30 * (codes[now] == 7)
        before = error[~now], rows[~now], periods[~now]
        found = bias.slice_bias(*parts, shifted, rows[now], *before)
        named["shifted"] += any("town 7" in each["sentence"] for each in found)
        named["not"] += bool(bias.slice_bias(*parts, error[now], rows[now], *before))
        found = bias.slice_bias(*parts, error[now], rows[now], *before[:2], 0 * before[2])
        named["without the periods"] += bool(found)
    assert named["shifted"] == 10 and named["not"] <= 1 and named["without the periods"] >= 8


def test_a_slice_whose_bias_wanders_for_weeks_by_itself_has_no_new_bias_and_a_step_of_a_calm_one_is_named():
    named = {"wandering": 0, "stepped": 0}
    for seed in range(20):
        random = np.random.default_rng(seed)
        day, codes = np.repeat(np.arange(200), 30), random.integers(0, 8, 6000)
        noise, wander = random.normal(0, 2, 200), np.zeros(200)
        for n in range(1, 200):
            wander[n] = 0.95 * wander[n - 1] + noise[n]
        error, now = random.normal(0, 10, 6000) + np.where(codes == 3, wander[day], 0), day >= 160
        parts = {"town": (codes[now], list("ABCDEFGH"))}, {"town": (codes[~now], list("ABCDEFGH"))}
        before = error[~now], day[~now], day[~now] // 54, True
        named["wandering"] += bool(bias.slice_bias(*parts, error[now], day[now] - 160, *before))
        found = bias.slice_bias(*parts, error[now] - 12 * (codes[now] == 5), day[now] - 160, *before)
        named["stepped"] += any("Where town is F" in each["sentence"] for each in found)
    assert named["wandering"] <= 1 and named["stepped"] == 20


def test_a_step_of_a_slice_among_many_is_named_though_its_few_spans_alone_are_not_rare_enough_for_all_slices():
    named = {"calm": 0, "stepped": 0}
    for seed in range(20):
        random = np.random.default_rng(seed)
        # Four held-out spans and sixteen earlier ones, with about eight rows of each of 50 towns.
        day, codes = np.repeat(np.arange(160), 48), random.integers(0, 50, 160 * 48)
        error, now = random.normal(0, 10, len(day)), day >= 128
        labels = [f"T{n}" for n in range(50)]
        parts = {"town": (codes[now], labels)}, {"town": (codes[~now], labels)}
        before = error[~now], day[~now], day[~now] // 43, True
        named["calm"] += bool(bias.slice_bias(*parts, error[now], day[now] - 128, *before))
        found = bias.slice_bias(*parts, error[now] - 12 * (codes[now] == 5), day[now] - 128, *before)
        named["stepped"] += any("Where town is T5 " in each["sentence"] for each in found)
    assert named["calm"] <= 1 and named["stepped"] >= 18


def said_of(metrics: dict, found: dict) -> dict[str, list[str]]:
    """Return the sentences of the reasons of each side."""
    return {side: [each["sentence"] for each in given] for side, given in reasons.reasons(metrics, found).items()}


def test_what_is_missed_leaves_room_for_its_causes():
    scores = {"MAE": 3.0, "R2": None, "rows": 9}
    limits = [("mae_max", "MAE", 1.0, 3.0), ("r2_min", "R2", 0.5, None), ("max_regression", "MAE", 0.1, 0.05)]
    thresholds = [
        {"name": name, "metric": metric, "limit": limit, "value": value, "passed": name == "max_regression"}
        for name, metric, limit, value in limits
    ]
    metrics = {"target": "y", "model": {"test": scores}, "champion": None, "thresholds": thresholds}
    metrics["baselines"] = {"mean": {"test": {"MAE": 2.0, "R2": 0.0}}}
    found = {"paired": None, "alarms": [reasons.alarm("unit_change", "km", "km is in miles.")]}
    found |= {"intervals": {"model": {"MAE": [2.5, 3.5], "bias": [-0.1, 0.1]}}, "slices": {"looked_at": 0, "rows": []}}
    found |= {"against_best": {"name": "mean", "verdict": "worse"}, "prediction_interval": {"coverage": None}}
    against = said_of(metrics, found)["against"]
    assert against[0] == "2 of 3 thresholds are missed (mae_max 1: MAE is 3; r2_min 0.5: R2 is undefined)."
    assert against[1] == "km is in miles." and "50.0% above that of the best baseline" in against[2]
    metrics["validation"] = {"violations": [{}]}
    about = [each["about"] for each in reasons.reasons(metrics, found)["against"]]
    assert about == ["thresholds", "unit_change", "baselines", "contract"]
    del metrics["validation"]
    # A threshold that is met narrowly, and a bias, weigh less than any alarm.
    thresholds[0] |= {"limit": 3.2, "passed": True}
    found["intervals"]["model"]["bias"] = [0.5, 1.5]
    against = said_of(metrics, found)["against"]
    assert "mae_max 3.2 is met narrowly: the 95% interval of MAE goes from 2.5 to 3.5." in against[3]
    assert "off to one side: by +0.5 to +1.5 on average on the target's scale" in against[4]
    # What is among the reasons against is not said to be absent.
    metrics["thresholds"] = []
    said = said_of(metrics, found | {"alarms": []})["for"]
    assert any("nothing was found of" in each and "bias" not in each for each in said)


def test_a_strong_feature_is_not_a_leak():
    frame = flights(4, rows=ROWS)
    # Twice as long, so that they explain 93 % of the target.
    frame["arr_delay"] += frame["dep_delay"] * 0.95
    frame["dep_delay"] *= 2
    table, description = feature_engineering(frame, "arr_delay", test_share=0.2)
    assert leaks(table, description, 0) == []


# What the model makes of each feature


class Counting(BaseEstimator):
    """A model that counts the predictions that it is asked for: the sum of x and of the length of word."""

    def __init__(self):
        self.rows, self.calls = 0, 0

    def fit(self, *_):
        return self

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        self.rows, self.calls = self.rows + len(frame), self.calls + 1
        return 3 * frame["x"].to_numpy() + frame["word"].str.len().to_numpy()


def features(rows: int, others: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=rows), "word": random.choice(["a", "bb", "cccc"], rows)})
    return pd.concat([frame, pd.DataFrame(0.0, frame.index, [f"other_{n}" for n in range(others)])], axis=1)


def test_importances_are_those_of_scikit_learn():
    table = features(2000, 1)
    target = 3 * table["x"] + table["word"].str.len() + np.random.default_rng(1).normal(size=2000)
    found, made_of = importance.importance(Counting(), table, list(table), target, 0)
    assert made_of == {"rows": 2000, "repeats": 5}
    reference = permutation_importance(
        Counting(), table, target, scoring="neg_mean_absolute_error", n_repeats=5, random_state=1
    )
    means = dict(zip(table, reference.importances_mean, strict=True))
    assert [each["feature"] for each in found] == ["x", "word", "other_0"]
    for each in found:
        assert abs(each["mean"] - means[each["feature"]]) <= 4 * each["std"]
    assert found[0]["std"] < 0.05 * found[0]["mean"]
    assert found[2]["mean"] == found[2]["std"] == 0
    assert importance.importance(Counting(), table, list(table), target, 0)[0] == found


@pytest.mark.parametrize(
    ("rows", "columns", "made_of"),
    [(50_000, 8, {"rows": 2500, "repeats": 5}), (50_000, 150, {"rows": 666, "repeats": 1}), (90, 3, None)],
)
def test_importances_cost_no_more_predictions_and_calls_with_more_rows_or_features(rows, columns, made_of):
    table, model = features(rows, columns - 2), Counting()
    _, found = importance.importance(model, table, list(table), pd.Series(np.zeros(rows)), 0)
    assert found == (made_of or {"rows": rows, "repeats": 5})
    # Beside those of the rows as they are.
    assert model.rows <= importance._MOST_PREDICTIONS + found["rows"] and model.calls <= 10


# In the workflow


def test_a_release_brings_its_profile_and_its_intervals(released: Project):
    # With intervals of a width of their own, which most tests do without, for speed.
    released.configure(model={"params": {"max_iter": 20}})
    released.snakemake("reports/final_report.md", "all")
    released.sign_off()
    released.snakemake("deploy")
    first = released.json("deployed/current/diagnostics.json")
    assert first["drift"]["release"] is not None  # beside the release before
    assert first["model_sha256"] == released.json("deployed/current/model.json")["sha256"]
    # From miles to kilometres in all rows, and a town gone: seen beside the release, and nowhere else.
    frame = rides(660)
    frame["km"] = (frame["km"] * 1.609344).round(2)
    frame["city"] = frame["city"].replace("Bonn", "Köln")
    frame.to_csv(released.folder / "rides.csv", index=False)
    released.snakemake("reports/diagnostics.json")
    found = released.json("reports/diagnostics.json")
    where = "set beside those of the deployed release"
    told = {(each["name"], each["feature"]) for each in found["alarms"] if where in each["sentence"]}
    assert {("unit_change", "km"), ("vanished_category", "city")} <= told
    assert not any(row["unit"] or row["vanished"] for row in found["drift"]["training"])
    assert set(found["intervals"]) == {"model", "champion", "mean", "km"}
    holdout = pd.read_csv(released.folder / "reports/holdout_predictions.csv")
    ours, theirs = ((holdout[name] - holdout["actual"]).abs().mean() for name in ("predicted", "champion"))
    assert found["paired"]["difference"] == pytest.approx(ours - theirs, rel=1e-4)
    # What is released is what its predictions carry.
    batch = released.folder / "data/batches/week.csv"
    batch.parent.mkdir(parents=True)
    rides(60).to_csv(batch, index=False)
    released.script("predict", "--input", batch, "--output", "week.csv")
    scored = pd.read_csv(released.folder / "week.csv")
    assert first["prediction_interval"]["half_width"] is None and first["prediction_interval"]["coverage"] > 0.8
    above, below = scored["prediction_high"] - scored["prediction"], scored["prediction"] - scored["prediction_low"]
    assert (above >= 0).all() and (below >= 0).all() and (above + below).mean() < 4 * first["by_week"][0]["MAE"]
    # What was measured is what ships.
    assert set(holdout) >= {"prediction_low", "prediction_high"}
    # A file that was altered is told by its name.
    path = current(released) / "diagnostics.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"half_width": ', '"half_width": 1'), encoding="utf-8")
    done = released.script("predict", "--input", batch, "--output", "week.csv", check=False)
    assert "diagnostics.json was altered" in error(done)
    arguments = [*READS, f"--release={path}", "--output=reports/comparison.json"]
    before = (released.folder / "reports/comparison.json").read_bytes()
    for text in (path.read_text(encoding="utf-8"), "{"):
        path.write_text(text, encoding="utf-8")
        done = released.script("compare_model", *arguments, check=False)
        assert "diagnostics.json is damaged. make verify" in error(done)
    assert (released.folder / "reports/comparison.json").read_bytes() == before


def test_bad_inputs_give_one_line(finished: Project):
    reads = [READS[1], "--explanation=reports/explanation.json", "--comparison=reports/comparison.json"]
    for each in ("explanation", "comparison"):
        path = finished.folder / f"reports/{each}.json"
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace('"model_sha256": "', '"model_sha256": "0'), encoding="utf-8")
        done = finished.script("diagnose", *reads, "--output=reports/new.json", check=False)
        assert (
            f"evaluation_metrics.json was computed for a different model than reports/{each}.json. Run make run"
            in error(done)
        )
        path.write_text(text, encoding="utf-8")
    arguments = [*READS, "--output=reports/new.json"]
    rows = finished.folder / "reports/holdout_predictions.csv"
    text = rows.read_text(encoding="utf-8")
    for content, message in (
        (text.rsplit("\n", 2)[0] + "\n", "are not those of these features"),
        (text.replace("baseline_km", "other"), "have no column baseline_km"),
        ("", "is empty"),
    ):
        rows.write_text(content, encoding="utf-8")
        assert message in error(finished.script("compare_model", *arguments, check=False))
    rows.unlink()
    assert "holdout_predictions.csv does not exist" in error(finished.script("compare_model", *arguments, check=False))
    assert not (finished.folder / "reports/new.json").exists()
    path = finished.folder / "reports/diagnostics.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"model_sha256": "', '"model_sha256": "0'), encoding="utf-8"
    )
    for name in ("final_report.md", "final_report.html"):
        (finished.folder / "reports" / name).touch()
    assert "diagnostics.json was computed for a different model" in error(finished.sign_off(check=False))
    path.unlink()
    assert "reports/diagnostics.json does not exist" in error(finished.sign_off(check=False))


def test_a_regressor_that_needs_all_rows_is_diagnosed_without_the_folds(caplog):
    found = found_in(
        flights(0, rows=300), "sklearn.neighbors.KNeighborsRegressor", target="arr_delay", params={"n_neighbors": 200}
    )
    assert found["out_of_sample"] is None and found["intervals"]["model"]["MAE"][0] > 0
    assert "not judged on training rows that it had not seen" in caplog.text
