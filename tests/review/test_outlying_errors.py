"""A few newest targets with a misplaced decimal point are named, and heavy tails, stormy days and weeks are not."""

import numpy as np
import pandas as pd
import pytest

from signoff.review.outlying_errors import outlying_alarms
from signoff.review.periods import Periods, periods_of

WEEKS, A_DAY = 40, 8


def rows(seed: int, tails: float | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, Periods]:
    """Return the age in days, the target and the prediction of the rows of 40 weeks, and their periods."""
    random = np.random.default_rng(seed)
    day = np.arange(WEEKS * 7 * A_DAY) // A_DAY
    predicted = random.normal(60, 12, len(day))
    actual = predicted + 5 * (random.normal(size=len(day)) if tails is None else random.standard_t(tails, len(day)))
    periods = periods_of(pd.Series(pd.Timestamp("2023-01-02") + pd.to_timedelta(day, unit="D")))
    assert periods is not None
    return day.max() - day, actual, predicted, periods


def said(age: np.ndarray, actual: np.ndarray, predicted: np.ndarray, periods: Periods) -> list[str]:
    return [each["sentence"] for each in outlying_alarms(age, predicted - actual, predicted, periods, "sold", {})]


@pytest.mark.parametrize("tails", [None, 2.5])
def test_the_largest_errors_of_clean_rows_raise_no_alarm(tails):
    assert [said(*rows(seed, tails)) for seed in range(20)] == [[]] * 20


@pytest.mark.parametrize(("factor", "side", "times"), [(10, "below", "9.7 times"), (0.1, "above", "0.097 times")])
def test_a_few_targets_with_a_misplaced_decimal_point_are_named_with_the_factor(factor, side, times):
    age, actual, predicted, periods = rows(3)
    wrong = (age < 21) & (np.random.default_rng(1).random(len(age)) < 0.05)
    (sentence,) = said(age, np.where(wrong, factor * actual, actual), predicted, periods)
    assert f"predictions of sold that are furthest {side} their targets" in sentence
    assert "are in the last 3 weeks (from 2023-09-18), where " in sentence
    assert f"these targets are {times} the predictions (median)" in sentence


def test_one_stormy_day_and_weeks_that_are_stormy_at_times_are_no_news():
    age, actual, predicted, periods = rows(4)
    noise = np.random.default_rng(2).normal(0, 60, len(age))
    assert said(age, np.where(age == 3, actual + noise, actual), predicted, periods) == []
    stormy = np.isin(age // 7, [0, 1, 12, 13])
    assert said(age, np.where(stormy, actual + noise, actual), predicted, periods) == []
    assert said(age, np.where(age < 14, actual + noise, actual), predicted, periods)


def test_days_whose_level_has_moved_have_no_outlying_errors():
    age, actual, predicted, periods = rows(6)
    assert said(age, np.where(age < 14, actual + 40, actual), predicted, periods) == []
    days = 30 * np.random.default_rng(4).normal(size=WEEKS * 7)[age]
    assert said(age, actual + np.where(age < 21, days, 0), predicted, periods) == []


def test_days_with_one_row_are_compared_with_their_week():
    age, actual, predicted, _ = rows(6)
    one = np.arange(len(age)) % A_DAY == 0
    wrong = np.where(np.isin(age, [2, 7, 11, 16]), 10 * actual, actual)
    weeks = periods_of(pd.Series(pd.Timestamp("2023-01-02") + pd.to_timedelta(age.max() - age[one], unit="D")))
    assert weeks is not None
    assert said(age[one], actual[one], predicted[one], weeks) == []
    assert "4 are in the last 3 weeks" in said(age[one], wrong[one], predicted[one], weeks)[0]


@pytest.mark.parametrize(("rows_of_shop", "feature"), [(0.3, "shop"), (0.0, None)])
def test_the_level_that_most_of_these_rows_have_is_named(rows_of_shop, feature):
    age, actual, predicted, periods = rows(5)
    random = np.random.default_rng(3)
    shop = random.integers(0, 4, len(age))
    wrong = (age < 14) & (random.random(len(age)) < (np.where(shop == 2, rows_of_shop, 0) if feature else 0.15))
    error = predicted - np.where(wrong, 10 * actual, actual)
    segments = {"shop": (shop, list("ABCD")), "kind": (random.integers(0, 3, len(age)), list("xyz"))}
    (alarm,) = outlying_alarms(age, error, predicted, periods, "sold", segments)
    assert alarm["feature"] == feature
    assert ("have shop C. A few targets may be wrong" in alarm["sentence"]) == bool(feature)
