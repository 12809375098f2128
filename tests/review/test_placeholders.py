"""A value that became frequent in a column of numbers is named, one that a day shares or that always was is not."""

import numpy as np
import pandas as pd
import pytest

from signoff.review.periods import Periods, periods_of
from signoff.review.placeholders import placeholder_alarms

KINDS = {"fine": "number", "of_a_day": "number", "grade": "number", "often_zero": "number"}


def table(seed: int) -> tuple[pd.DataFrame, Periods]:
    """Return 40 weeks of columns that are fine, shared by a day, of five values, and mostly zero."""
    random, rows = np.random.default_rng(seed), 40 * 7 * 10
    day = np.arange(rows) // 10
    frame = pd.DataFrame(
        {
            "time": pd.Timestamp("2023-01-02") + pd.to_timedelta(day, unit="D"),
            "fine": random.normal(50, 9, rows).round(1),
            "of_a_day": random.normal(12, 5, 280).round(1)[day],
            "grade": random.integers(1, 6, rows).astype("float64"),
            "often_zero": np.where(random.random(rows) < 0.7, 0.0, random.gamma(2, 3, rows)).round(1),
        }
    )
    periods = periods_of(frame["time"])
    assert periods is not None
    return frame, periods


@pytest.mark.parametrize("seed", range(6))
def test_without_a_new_frequent_value_there_is_no_alarm(seed):
    assert placeholder_alarms(table(seed)[0], KINDS, "time", table(seed)[1]) == []


@pytest.mark.parametrize(("column", "value"), [("fine", 0.0), ("fine", 51.0), ("of_a_day", -999.0), ("grade", 3.0)])
@pytest.mark.parametrize("weeks", [2, 3])
def test_a_value_that_became_frequent_is_named_with_both_shares(column, value, weeks):
    frame, periods = table(7)
    filled = (periods.codes < weeks) & (
        np.random.default_rng(1).random(len(frame)) < (0.6 if column == "of_a_day" else 0.35)
    )
    frame.loc[filled, column] = value
    (alarm,) = placeholder_alarms(frame, KINDS, "time", periods)
    assert (alarm["name"], alarm["feature"]) == ("drift", column)
    assert alarm["sentence"].startswith(f"{column} is {value:.6g} in ")
    assert alarm["sentence"].endswith(" before: it may stand for a missing value.")
    assert " of the rows of the last " in alarm["sentence"]


def test_a_value_that_is_as_frequent_at_times_is_no_news():
    frame, periods = table(8)
    filled = np.isin(periods.codes, [0, 1, 11, 12, 30]) & (np.random.default_rng(1).random(len(frame)) < 0.35)
    frame.loc[filled, "fine"] = 0.0
    assert placeholder_alarms(frame, KINDS, "time", periods) == []


def test_a_constant_column_and_one_without_newest_values_are_left_out():
    frame, periods = table(9)
    frame["grade"] = 1.0
    frame.loc[periods.codes == 0, "fine"] = np.nan
    assert placeholder_alarms(frame, KINDS, "time", periods) == []


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("weeks", "share"), [(2, 0.2), (3, 0.1), (4, 0.3)])
def test_newest_values_that_are_cut_off_are_named_with_their_limit(sign, weeks, share):
    frame, periods = table(10)
    frame["fine"] *= sign
    limit = round((sign * frame["fine"]).quantile(1 - share), 1)
    late = periods.codes < weeks
    frame["fine"] = frame["fine"].mask(late & (sign * frame["fine"] > limit), sign * limit)
    (alarm,) = placeholder_alarms(frame, KINDS, "time", periods)
    assert alarm["sentence"].startswith(f"fine is {'at most' if sign > 0 else 'at least'} {sign * limit:.6g} in ")
    assert alarm["sentence"].endswith("of the earlier rows are beyond it: the values may be cut off.")
    assert (alarm["name"], alarm["feature"]) == ("drift", "fine")


def test_a_level_that_falls_is_not_cut_off():
    frame, periods = table(11)
    week = frame.index.to_numpy() // 70
    # Rounded, and lower each week, so that the newest values are below nearly all before.
    frame["fine"] = (90 - 2 * week + np.random.default_rng(2).integers(0, 4, len(frame))).astype("float64")
    # Two that have no values but the limit in the newest weeks, or one more: holidays of these weeks.
    frame["of_a_day"] = np.where(week % 9 < 4, 1.0, 0.0)
    frame["of_a_day"] = frame["of_a_day"].mask((frame["of_a_day"] == 1) & (frame.index % 2 == 0), 2.0)
    # And one that was cut off for as long before.
    at_times = np.isin(periods.codes, [0, 1, 20, 21])
    frame["often_zero"] = frame["often_zero"].mask(at_times & (frame["often_zero"] > 5), 5.0)
    assert placeholder_alarms(frame, KINDS, "time", periods) == []
