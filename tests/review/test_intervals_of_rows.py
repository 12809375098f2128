"""What is said of prediction intervals with a width for each row."""

import numpy as np
import pandas as pd
import pytest

from signoff.report import results
from signoff.review import intervals, reasons
from signoff.review.comparison import comparison_alarms


def found_in(width: np.ndarray, noisy: np.ndarray) -> dict:
    """Return what is found of intervals of such widths, of 4000 hours in a quiet and a noisy shop."""
    error = np.random.default_rng(0).normal(0, 1, 4000) * np.where(noisy, 6, 1)
    time = pd.Series(pd.date_range("2024-01-01", periods=4000, freq="h"))
    sampled = intervals.resampling(time, 4000, 0)
    shops = {"shop": (noisy.astype("int64"), ["quiet", "noisy"])}
    return intervals.row_intervals(error, np.zeros(4000), (-width / 2, width / 2), time, shops, sampled, 0.9)


def test_coverage_by_slice_is_that_of_each_rows_own_interval():
    noisy = np.arange(4000) % 10 == 0
    nothing = {"paired": None, "slices": {"rows": []}}
    own, constant = found_in(np.where(noisy, 19.7, 3.3), noisy), found_in(np.full(4000, 4.0), noisy)
    assert own["rows"] == 4000 and own["coverage"] == own["shipped_coverage"] == pytest.approx(0.9, abs=0.02)
    assert all(abs(row["coverage"] - 0.9) < 0.03 for row in own["by_slice"])
    assert sum(row["rows"] for row in own["over_time"]) == 4000
    assert own["mean_width"] == pytest.approx(0.1 * 19.7 + 0.9 * 3.3)
    assert own["coverage_interval"][0] < own["coverage"] < own["coverage_interval"][1]
    assert comparison_alarms(nothing | {"prediction_interval": own}) == []
    assert constant["by_slice"][0]["coverage"] < 0.4
    (alarm,) = comparison_alarms(nothing | {"prediction_interval": constant})
    assert alarm["name"] == "slice_coverage" and "shop is noisy (400 held-out rows)" in alarm["sentence"]


def test_report_and_reasons_speak_of_an_interval_for_each_row():
    noisy = np.arange(4000) % 10 == 0
    held, short = (found_in(np.where(noisy, 19.7, 3.3) * factor, noisy) for factor in (1, 0.5))
    text, table = results.intervals(held)
    assert "Each prediction has its own interval, 4.94 wide on average" in text
    assert f"{held['coverage']:.1%}" in text and table.rows[0][2] == 400
    assert reasons.short_of(held) is None
    assert reasons.short_of(short).startswith(f"Prediction intervals covered {short['coverage']:.1%} of rows")
    assert "±" not in reasons.short_of(short)


def test_too_little_coverage_is_an_alarm_by_its_level_and_its_statistics_not_at_a_fixed_share():
    nothing, quiet = {"paired": None, "slices": {"rows": []}}, np.zeros(4000, dtype=bool)
    for width in (2.9, 3.3):
        found = found_in(np.full(4000, width), quiet)
        alarms = comparison_alarms(nothing | {"prediction_interval": found})
        assert [each["name"] for each in alarms] == ["coverage"] * (width == 2.9)
        assert 0.8 < found["coverage"] < 0.86 or width == 3.3
    # As few are covered, but all of them in ten days that are alike.
    away = np.where((np.arange(4000) > 2000) & (np.arange(4000) < 2240), 0.0, 3.3)
    found = found_in(away, quiet)
    assert found["coverage"] < 0.86 and comparison_alarms(nothing | {"prediction_interval": found}) == []


def test_a_slice_of_few_rows_a_day_counts_as_nearly_as_many_though_days_are_alike():
    random, day = np.random.default_rng(0), np.arange(4000) // 24
    at_noon = np.arange(4000) % 24 == 12
    error = random.normal(0, 1, 4000) * np.exp(random.normal(0, 0.8, 167))[day] * np.where(at_noon, 3, 1)
    width = np.full(4000, np.quantile(np.abs(error), 0.9))
    time = pd.Series(pd.date_range("2024-01-01", periods=4000, freq="h"))
    slices = {"noon": (at_noon.astype("int64"), ["no", "yes"]), "early": ((day < 12).astype("int64"), ["no", "yes"])}
    sampled = intervals.resampling(time, 4000, 0)
    found = intervals.row_intervals(error, np.zeros(4000), (-width, width), time, slices, sampled, 0.9)
    rows = {(each["feature"], each["value"]): each for each in found["by_slice"]}
    noon, early = rows["noon", "yes"], rows["early", "yes"]
    assert noon["rows"] == 167 and noon["independent"] == pytest.approx(167, rel=0.01)
    # Whole days are as few independent rows as all rows are.
    alike = found["coverage_error"] ** 2 / (0.9 * 0.1 / 4000)
    assert early["rows"] == 288 and early["independent"] == pytest.approx(288 / alike, rel=0.05) and alike > 2
    (alarm,) = comparison_alarms({"paired": None, "slices": {"rows": []}, "prediction_interval": found})
    assert (alarm["name"], alarm["feature"]) == ("slice_coverage", "noon")


@pytest.mark.parametrize("stays", [0.0, 0.9])
def test_rows_of_a_slice_whose_bad_days_follow_bad_days_count_as_fewer(stays):
    random, days = np.random.default_rng(1), 200
    shops = random.normal(size=(days, 10))
    for day in range(1, days):
        shops[day] = stays * shops[day - 1] + np.sqrt(1 - stays**2) * shops[day]
    error, width = shops.ravel(), np.full(10 * days, 1.645)
    time = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(np.repeat(np.arange(days), 10), unit="D"))
    slices = {"shop": (np.tile(np.arange(10), days), [f"S{n}" for n in range(10)])}
    sampled = intervals.resampling(time, 10 * days, 0)
    found = intervals.row_intervals(error, np.zeros(10 * days), (-width, width), time, slices, sampled, 0.9)
    independent = {row["independent"] / row["rows"] for row in found["by_slice"]}
    assert max(independent) < 0.5 if stays else min(independent) > 0.7
