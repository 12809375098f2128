"""The number of rows: weeks and days that lost theirs are named, and weekends, quiet days and growth are not."""

import re

import numpy as np
import pandas as pd
import pytest

from signoff.review.periods import periods_of
from signoff.review.volume import level_alarms, volume_alarms

DAYS = 7 * 60
FIRST = pd.Timestamp("2023-01-02")


def times(seed: int = 0, a_day: float = 8.0, weekend: float = 1.0, growth: float = 0.0) -> pd.Series:
    """Return the times of rows of 60 weeks, in order: a Poisson number on each day."""
    random = np.random.default_rng(seed)
    day = np.arange(DAYS)
    rows = random.poisson(a_day * (1 + growth * day / DAYS) * np.where(day % 7 >= 5, weekend, 1.0))
    day = np.repeat(day, rows)
    seconds = random.integers(8 * 3600, 18 * 3600, len(day))
    return pd.Series(FIRST + pd.to_timedelta(day * 86400 + seconds, unit="s")).sort_values(ignore_index=True)


def said(time: pd.Series) -> list[str]:
    periods = periods_of(time)
    assert periods is not None
    return [each["sentence"] for each in volume_alarms(time, periods)]


def ago(time: pd.Series) -> np.ndarray:
    """Return how many days before the newest row each row is."""
    return (time.max().floor("D") - time.dt.floor("D")).dt.days.to_numpy()


@pytest.mark.parametrize("shape", [{}, {"weekend": 0.0}, {"a_day": 2}, {"growth": 1.5}, {"a_day": 30, "weekend": 0.3}])
def test_weekends_quiet_days_and_growth_raise_no_alarm(shape):
    assert [said(times(seed, **shape)) for seed in range(6)] == [[]] * 6


def test_a_week_that_lost_half_of_its_rows_is_named_though_it_is_no_whole_period():
    for seed in range(5):
        time = times(seed)
        lost = (ago(time) >= 4) & (ago(time) < 11) & (np.arange(len(time)) % 2 == 0)
        (sentence,) = said(time[~lost].reset_index(drop=True))
        assert sentence.startswith(("The seven days from 2024-02-1", "The last 2 weeks (from 2024-02-12): "))
        now, before = (
            int(word) for word in re.findall(r"\d+", sentence.partition("have" if "have" in sentence else ":")[2])
        )
        assert now < 0.8 * before


def test_days_without_rows_are_named_with_the_first_one():
    for weekend in (1.0, 0.0):
        time = times(1, weekend=weekend)
        lost = (time >= "2024-02-14") & (time < "2024-02-17")
        (sentence,) = said(time[~lost].reset_index(drop=True))
        assert "3 of the days of the last " in sentence
        assert "have no rows, 2024-02-14 the first; before, at most 0 of as many days had none." in sentence
        assert "swapped" not in sentence


def test_days_without_rows_that_are_also_months_may_be_swapped():
    time = times(2)
    time = time[time < "2024-02-15"]
    # From 1 February on, the third of the month became a day of March, which is not over.
    swapped = (time >= "2024-02-01") & (time.dt.day <= 12) & (time.dt.day != 2)
    (sentence,) = said(time[~swapped].reset_index(drop=True))
    assert "have no rows, 2024-02-01 the first" in sentence
    assert "These are the days that are also months: day and month may be swapped." in sentence


def test_twice_as_many_rows_are_named():
    time = times(3)
    again = pd.concat([time, time[ago(time) < 14]]).sort_values(ignore_index=True)
    (sentence,) = said(again)
    assert sentence.startswith("The last 2 weeks (from 2024-02-12): ")


def test_a_level_of_a_few_rows_a_week_that_is_not_delivered_is_named_and_one_that_was_away_before_is_not():
    named = {"delivered": 0, "lost": 0, "away before": 0}
    for seed in range(10):
        time = times(seed, a_day=4)
        periods = periods_of(time)
        assert periods is not None
        kind = np.random.default_rng(seed).choice(list("ABCD"), len(time), p=[0.4, 0.3, 0.2, 0.1])
        for what, gone in (("delivered", []), ("lost", [0, 1, 2]), ("away before", [0, 1, 2, 20, 21, 22])):
            kept = np.where(np.isin(periods.codes, gone) & (kind == "C"), "A", kind)
            alarms = level_alarms(pd.DataFrame({"kind": kept}), {"kind": "category"}, periods)
            named[what] += any("kind is “C” in 0 rows of the last " in each["sentence"] for each in alarms)
    assert named == {"delivered": 0, "lost": 10, "away before": 0}


def test_a_level_that_has_lost_half_of_many_rows_is_not_gone():
    time = times(0, a_day=60)
    periods = periods_of(time)
    assert periods is not None
    random = np.random.default_rng(0)
    kind = random.choice(list("ABCD"), len(time), p=[0.4, 0.3, 0.2, 0.1])
    fewer = np.where((periods.codes < 3) & (kind == "C") & (random.random(len(time)) < 0.5), "A", kind)
    assert level_alarms(pd.DataFrame({"kind": fewer}), {"kind": "category"}, periods) == []
