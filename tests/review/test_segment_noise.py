"""Noise in place of a segment's newest targets: how much of it the checks are said to see is about what they see."""

import math

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from signoff.review.newest_errors import error_alarms
from signoff.review.periods import Change
from signoff.review.segment_noise import Check, growth, least_share

_WEEKS = 30


def judged(
    seed: int,
    share: float = 0.0,
    rows: int = 3000,
    shops: tuple[float, ...] = (0.25,) * 4,
    spread=5.0,
    numbers: int = 0,
):
    """Return what is found if so large a share of the targets of the last shop is noise in the newest four weeks."""
    fixed, random = np.random.default_rng(0), np.random.default_rng([1, seed])
    day = np.sort(fixed.integers(0, 7 * _WEEKS, rows))
    shop = fixed.choice(len(shops), rows, p=shops)
    predicted = random.normal(40, spread, rows)
    actual = predicted + random.normal(0, 5, rows)
    late = np.flatnonzero((day >= 7 * (_WEEKS - 4)) & (shop == len(shops) - 1))
    noisy = late[random.random(len(late)) < share]
    actual[noisy] = random.permutation(actual[noisy])
    slices = {"shop": (shop, list("ABCD")[: len(shops)])}
    slices |= {f"x{k}": (fixed.integers(0, 5, rows), list("abcde")) for k in range(numbers)}
    time = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D"))
    with threadpool_limits(1):
        return error_alarms(time, predicted - actual, predicted, slices, "sold", ["shop"])


def test_errors_grow_by_as_much_as_targets_of_other_rows_are_farther_away():
    random = np.random.default_rng(0)
    error, predicted = random.normal(0, 1, 20_000), random.normal(50, 3, 20_000)
    # The difference of a prediction and another row's target has a variance of 9 + 9 + 1.
    assert growth(error, predicted, math.inf) == pytest.approx(math.sqrt(19), rel=0.03)
    assert growth(error, predicted, 1.0) < 2
    assert growth(0 * error, predicted, math.inf) == growth(error[:0], predicted[:0], 1.0) == 1


def test_the_share_that_is_seen_is_that_of_the_check_that_sees_most():
    step = Change(4, 0.9, 0.8, 0.5, 0.5, error=0.1, degrees=1e9, earlier=2.0)
    slope, size = (Check(kind, step, 0.1, [(1.5, 0.5)]) for kind in ("slope", "size"))
    # A step of three errors: a slope of 0.8 that falls to 0.5, or errors that are exp(0.3) times as large.
    assert least_share([slope], 1.0) == pytest.approx(0.3 / 0.8)
    assert least_share([size], 2.0) == pytest.approx(math.exp(0.3) - 1)
    assert least_share([slope, size], 3.0) == pytest.approx((math.exp(0.3) - 1) / 2)
    assert least_share([], 2.0) == least_share([size], 1.0) == math.inf


def test_noise_that_is_said_to_be_seen_is_seen_and_a_third_of_it_is_not():
    share = judged(0)[1]["noise"]["share"]
    assert 0.3 < share < 0.75
    for times, fewest, most in ((1.33, 5, 6), (0.33, 0, 2)):
        assert fewest <= sum(bool(judged(seed, times * share)[0]) for seed in range(6)) <= most


def test_the_segment_in_which_noise_is_hardest_to_see_is_named_and_few_rows_show_none():
    noise = judged(0, shops=(0.4, 0.3, 0.2, 0.1))[1]["noise"]
    assert (noise["feature"], noise["value"]) == ("shop", "D") and noise["share"] > judged(0)[1]["noise"]["share"]
    assert judged(0, rows=500, shops=(0.9, 0.1))[1]["noise"]["share"] > 1


def test_slices_of_numbers_do_not_hide_noise_in_a_segment():
    assert judged(0)[1]["noise"] == judged(0, numbers=8)[1]["noise"]


def test_noise_in_a_segment_with_a_few_rows_a_week_is_seen():
    # About four rows a week.
    few = {"rows": 1100, "shops": (0.6, 0.3, 0.1), "spread": 30.0}
    noise = judged(0, **few)[1]["noise"]
    assert noise["value"] == "C" and noise["share"] < 0.5
    found = [judged(seed, 1.0, **few)[0] for seed in range(6)]
    assert sum(bool(each) for each in found) >= 5
    assert all(alarm["feature"] == "shop" for each in found for alarm in each)
