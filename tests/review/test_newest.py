"""What has just changed: each fault in the newest weeks is named with its column, and clean tables raise no alarm."""

import numpy as np
import pandas as pd
import pytest
from benchmarks.marks import BEGINS, ENDS, between_marks
from scipy import stats
from threadpoolctl import threadpool_limits

from feature_engineering import feature_engineering
from signoff.review import (
    clocks,
    delivery,
    drift,
    findings,
    gaps,
    joint,
    leaks,
    newest,
    newest_errors,
    periods,
    series,
    times,
)

WEEKS = 30


def shop(seed: int = 0, rows: int = 3000) -> pd.DataFrame:
    """Return sales of 30 weeks in the order of time: a season, days that are alike, and noise."""
    random = np.random.default_rng(seed)
    seconds = np.sort(random.integers(0, WEEKS * 7 * 86400, rows))
    day = seconds // 86400
    weather = 10 - 8 * np.cos(2 * np.pi * day / 365) + 2 * random.normal(size=WEEKS * 7)[day]
    frame = pd.DataFrame(
        {
            "time": pd.Timestamp("2023-01-02") + pd.to_timedelta(seconds, unit="s"),
            "store": random.choice(list("ABCD"), rows),
            "price": np.exp(random.normal(2, 0.5, rows)).round(2),
            "temperature": weather.round(1),
        }
    )
    frame["sold"] = (40 + 9 * (frame["store"] == "B") + frame["temperature"] + random.normal(0, 3, rows)).round(2)
    return frame


def late(frame: pd.DataFrame, weeks: int = 3) -> pd.Series:
    return frame["time"] >= frame["time"].max().floor("D") - pd.Timedelta(days=7 * weeks - 1)


def found_in(frame: pd.DataFrame) -> dict[str, tuple[str | None, str]]:
    table, description = feature_engineering(frame, "sold", time_column="time", test_share=0.2)
    return {each["name"]: (each["feature"], each["sentence"]) for each in newest.newest_alarms(table, description)}


@pytest.mark.parametrize("seed", range(4))
def test_clean_tables_raise_no_alarm(seed):
    assert found_in(shop(seed)) == {}
    assert found_in(shop(seed, 400)) == {}


def test_a_table_without_time_or_with_few_weeks_is_not_judged():
    table, description = feature_engineering(shop().head(300).drop(columns="time"), "sold", split_by="hash")
    assert newest.newest_alarms(table, description) == []
    assert periods.periods_of(shop()["time"].head(100)) is None


@pytest.mark.parametrize("weeks", [2, 3, 4])
def test_a_stuck_column_is_named_with_its_value(weeks):
    frame = shop()
    frame.loc[late(frame, weeks), "price"] = 7.5
    feature, sentence = found_in(frame)["stuck"]
    assert feature == "price"
    assert "price is 7.5 in" in sentence


@pytest.mark.parametrize("weeks", [2, 3, 4])
def test_rows_that_are_loaded_twice_are_named(weeks):
    frame = shop()
    found = found_in(pd.concat([frame, frame[late(frame, weeks)]], ignore_index=True))
    assert "100% of the rows of the last" in found["duplicates"][1]


@pytest.mark.parametrize("column", ["price", "temperature"])
def test_rows_that_are_loaded_twice_except_for_one_column_are_named_with_it(column):
    frame = shop()
    again = frame[late(frame, 2)].assign(**{column: lambda rows: rows[column] + 0.1})
    found = found_in(pd.concat([frame, again], ignore_index=True))
    feature, sentence = found["duplicates"]
    assert feature == column
    assert sentence.startswith("100% of the rows of the last 2 weeks") and f"but for {column}; before" in sentence
    # Another target is another row.
    again = frame[late(frame, 2)].assign(sold=lambda rows: rows["sold"] + 0.1)
    assert "duplicates" not in found_in(pd.concat([frame, again], ignore_index=True))


@pytest.mark.parametrize("weeks", [2, 6])
def test_weeks_that_repeat_earlier_ones_are_named(weeks):
    frame = shop()
    before = frame[late(frame, 2 * weeks) & ~late(frame, weeks)]
    copies = before.assign(time=before["time"] + pd.Timedelta(days=7 * weeks))
    found = found_in(pd.concat([frame[~late(frame, weeks)], copies], ignore_index=True))
    assert "repeat rows of an earlier period in their order" in found["stale"][1]


def test_rows_that_occur_twice_at_any_time_are_not_stale_and_copies_in_another_order_are():
    for seed in range(5):
        frame = shop(seed, 400)
        # Newer rows have more rows before them, so most of them repeat one, and few of the oldest do.
        twice = pd.concat([frame, frame]).sample(frac=1, random_state=seed, ignore_index=True)
        twice["time"] = pd.date_range("2023-01-02", periods=len(twice), freq="3h")
        assert "stale" not in found_in(twice)
        copies = frame[late(frame, 10) & ~late(frame, 5)].sample(frac=1, random_state=seed)
        copies = copies.assign(time=np.sort(copies["time"]) + np.timedelta64(35, "D"))
        found = found_in(pd.concat([frame[~late(frame, 5)], copies], ignore_index=True))
        assert "are copies of rows of another period" in found["stale"][1]


@pytest.mark.parametrize("factor", [2.54, 1000])
def test_another_unit_in_the_newest_weeks_is_named(factor):
    frame = shop()
    frame.loc[late(frame), "price"] *= factor
    found = found_in(frame)
    assert {name: feature for name, (feature, _) in found.items()} in ({"unit_change": "price"}, {"drift": "price"})
    assert "its median is" in next(iter(found.values()))[1]


def test_what_has_changed_since_a_release_of_many_weeks_ago_is_named_beside_the_rows_before_it():
    random = np.random.default_rng(5)
    days = np.repeat(np.arange(7 * 80), 4)
    frame = pd.DataFrame({"time": pd.Timestamp("2023-01-02") + pd.to_timedelta(days, unit="D")})
    # Months are alike.
    wandering_ = np.repeat(random.normal(0, 0.4, 20), 28 * 4)
    since = days >= 7 * 70
    frame["sold"] = (40 + random.normal(0, 4, len(frame))).round(1)
    frame["price"] = (20 + wandering_ + random.normal(0, 3, len(frame)) + 3.5 * since).round(1)
    table, description = feature_engineering(frame, "sold", time_column="time", test_share=0.2)
    assert newest.newest_alarms(table, description) == []
    released = pd.Timestamp("2023-01-02") + pd.Timedelta(days=7 * 70 - 1)
    (alarm,) = newest.newest_alarms(table, description, released)
    assert (alarm["name"], alarm["feature"]) == ("drift", "price")
    assert "in the 10 weeks since the deployed release (from 2024-05-06)" in alarm["sentence"]
    assert newest.newest_alarms(table.assign(price=table["price"] - 3.5 * since), description, released) == []


def test_a_segment_that_is_not_delivered_is_named():
    frame = shop()
    feature, sentence = found_in(frame[~(late(frame, 2) & (frame["store"] == "C"))])["vanished_category"]
    assert feature == "store"
    assert "store is “C” in 0 rows of the last" in sentence


def test_weeks_with_few_rows_are_named():
    frame = shop()
    keep = np.random.default_rng(0).random(len(frame)) < 0.4
    assert found_in(frame[~late(frame) | keep])["volume"][0] is None


def test_missing_values_of_the_raw_data_are_named_by_column_before_they_are_dropped(tmp_path):
    frame = shop()
    _, description = feature_engineering(frame, "sold", time_column="time", test_share=0.2)
    description["columns"] = {"time": {"kind": "date", "date_format": "ISO8601", "policy": "drop"}}
    random = np.random.default_rng(0)
    frame.loc[random.random(len(frame)) < 0.1, "temperature"] = np.nan
    frame.loc[late(frame) & (random.random(len(frame)) < 0.6), "price"] = np.nan
    frame.to_csv(tmp_path / "raw.csv", index=False)
    profile = {name: {"missing": int(frame[name].isna().sum())} for name in frame}
    (alarm,) = newest.missing_alarms(delivery.lacking(tmp_path / "raw.csv", description, profile))
    assert (alarm["name"], alarm["feature"]) == ("missing", "price")
    assert "before it was 0.0%" in alarm["sentence"]


def test_raw_data_without_missing_values_or_time_raise_no_alarm(tmp_path):
    shop().to_csv(tmp_path / "raw.csv", index=False)
    _, description = feature_engineering(shop(), "sold", time_column="time", test_share=0.2)
    assert newest.missing_alarms(delivery.lacking(tmp_path / "raw.csv", description, {"price": {"missing": 0}})) == []
    none = description | {"time_column": None}
    assert newest.missing_alarms(delivery.lacking(tmp_path / "raw.csv", none, {"price": {"missing": 9}})) == []


def test_a_source_that_has_lost_its_history_is_named():
    (alarm,) = delivery.history_alarms(5_200, 10_000)
    assert alarm["sentence"].startswith("The source has 5,200 rows; for the deployed release it had 10,000.")
    assert delivery.history_alarms(9_900, 10_000) == delivery.history_alarms(5, None) == []


def errors(frame: pd.DataFrame, change: np.ndarray) -> list[dict]:
    random = np.random.default_rng(1)
    codes, labels = pd.factorize(frame["store"])
    error = random.normal(0, 3, len(frame)) + change
    predicted = random.normal(40, 6, len(frame))
    with threadpool_limits(1):
        return newest_errors.error_alarms(frame["time"], error, predicted, {"store": (codes, list(labels))}, "sold")[0]


def test_errors_that_have_just_moved_are_named_of_all_rows_or_of_one_segment():
    frame = shop()
    assert errors(frame, np.zeros(len(frame))) == []
    (alarm,) = errors(frame, np.where(late(frame), -7.0, 0.0))
    assert (alarm["name"], alarm["feature"]) == ("newest_errors", None)
    assert "Predictions of sold are off by -" in alarm["sentence"]
    (alarm,) = errors(frame, np.where(late(frame) & (frame["store"] == "B"), -9.0, 0.0))
    assert alarm["feature"] == "store"
    assert "Where store is B, " in alarm["sentence"]


def test_a_segment_is_compared_with_all_other_rows_so_that_what_moves_every_row_hides_nothing():
    frame = shop()
    day = (frame["time"] - frame["time"].min()).dt.days.to_numpy()
    shocks = 8 * np.sin(day / 9) + np.random.default_rng(2).normal(0, 3, 7 * WEEKS)[day]
    assert errors(frame, shocks) == []
    (alarm,) = errors(frame, shocks - np.where(late(frame) & (frame["store"] == "B"), 6.0, 0.0))
    assert "Where store is B, predictions of sold are off by" in alarm["sentence"]


def test_a_target_of_another_scale_is_named_though_days_are_alike():
    random, frame = np.random.default_rng(3), shop()
    day = (frame["time"] - frame["time"].min()).dt.days.to_numpy()
    shocks = 9 * wandering(random, 7 * WEEKS, 0.9)[day]
    predicted = random.normal(40, 6, len(frame))
    actual = predicted + random.normal(0, 4, len(frame)) + shocks
    with threadpool_limits(1):
        assert newest_errors.error_alarms(frame["time"], predicted - actual, predicted, {}, "sold")[0] == []
        actual += np.where(late(frame), 0.3, 0) * (predicted - 40)
        (alarm,) = newest_errors.error_alarms(frame["time"], predicted - actual, predicted, {}, "sold")[0]
    assert "predictions of sold within one day differ by 1, targets differ by 1." in alarm["sentence"]


def wandering(random: np.random.Generator, count: int, stays: float) -> np.ndarray:
    """Return numbers of which each keeps so much of the one before."""
    found = random.normal(size=count)
    for n in range(1, count):
        found[n] = stays * found[n - 1] + np.sqrt(1 - stays**2) * found[n]
    return found


@pytest.mark.parametrize("stays", [0.0, 0.8, 0.95])
def test_a_step_is_news_and_what_lasts_beneath_much_noise_is_none(stays):
    random = np.random.default_rng(4)
    noise = np.array([wandering(random, 60, stays) + 1.5 * random.normal(size=60) for _ in range(40)])
    for step, least, most in ((0.0, 0, 2), (6.0, 36, 40)):
        values = noise + step * (np.arange(60) >= 54)
        found = list(series.newest_steps(values, np.ones((40, 60)), [1, 2], 3))
        named = {k for k, _, each in found if each.p < 0.005 and each.larger > 1.2}
        assert least <= len(named) <= most
    assert list(series.newest_steps(np.full((1, 60), np.nan), np.ones((1, 60)), [1], 3)) == []


def test_more_decimals_than_ever_before_are_named_with_the_segment_that_has_them():
    frame = shop()
    frame.loc[late(frame) & (frame["store"] == "C"), "sold"] *= 1.2
    feature, sentence = found_in(frame)["unit_change"]
    assert feature == "sold"
    assert "sold has more than 2 decimals in" in sentence and "In all of them store is C." in sentence
    computed = shop().assign(price=lambda rows: rows["price"] / 3)
    assert found_in(computed) == {}


@pytest.mark.parametrize("kind", ["delays", "counts"])
def test_whole_numbers_that_were_multiplied_and_rounded_leave_gaps_that_are_named_and_a_season_leaves_none(kind):
    random, frame = np.random.default_rng(4), shop(rows=6000)
    numbers = random.poisson(4, len(frame)) if kind == "counts" else random.gamma(2, 25, len(frame)).round()
    season = (frame["temperature"] + numbers).round()
    # All rows of a day share their number.
    by_day = random.poisson(9, 7 * WEEKS)[(frame["time"] - frame["time"].min()).dt.days]
    columns = frame.assign(price=numbers, temperature=season, sold=by_day)
    kinds = {"price": "number", "temperature": "number", "sold": "number"}
    periods_ = periods.periods_of(frame["time"])
    assert gaps.gap_alarms(columns, kinds, periods_) == []
    columns["price"] = np.where(late(frame), (numbers * 1.19).round(), numbers)
    (alarm,) = gaps.gap_alarms(columns, kinds, periods_)
    assert (alarm["name"], alarm["feature"]) == ("unit_change", "price")
    assert "price is never 3" in alarm["sentence"] or kind == "delays"


def test_values_that_no_factor_explains_may_disappear():
    random, frame = np.random.default_rng(6), shop(rows=6000)
    humidity = random.normal(60, 10, len(frame)).round()
    # The sensor was serviced four weeks ago, and has not shown these values since.
    kinds, periods_ = {"humidity": "number"}, periods.periods_of(frame["time"])
    gone = late(frame, 4) & np.isin(humidity, (48, 53, 54, 58, 59, 61, 66, 67, 70))
    assert gaps.gap_alarms(frame.assign(humidity=np.where(gone, humidity - 1, humidity)), kinds, periods_) == []
    (alarm,) = gaps.gap_alarms(
        frame.assign(humidity=np.where(late(frame, 4), (humidity * 1.2).round(), humidity)), kinds, periods_
    )
    assert alarm["feature"] == "humidity"


def test_what_is_said_to_be_visible_is_seen_and_half_of_it_is_not():
    frame = shop()
    codes, labels = pd.factorize(frame["store"])
    slices = {"store": (codes, list(labels))}
    segment = (late(frame, 4) & (frame["store"] == "B")).to_numpy()

    def tried(seed: int, change: np.ndarray | float) -> tuple[list, dict]:
        random = np.random.default_rng(seed)
        error, predicted = random.normal(0, 6, len(frame)) - change, random.normal(40, 1, len(frame))
        with threadpool_limits(1):
            return newest_errors.error_alarms(frame["time"], error, predicted, slices, "sold", ["store"])

    _, visible = tried(0, 0.0)
    assert visible["days"] == 28 and visible["segment"]["feature"] == "store"
    assert 0.02 < visible["share"] < visible["segment"]["share"] < 0.3
    for share, rows in ((visible["share"], late(frame, 4).to_numpy()), (visible["segment"]["share"], segment)):
        seen = [sum(bool(tried(seed, 40 * share * size * rows)[0]) for seed in range(2)) for size in (1.3, 0.3)]
        assert seen == [2, 0]


def test_what_is_said_to_be_visible_allows_for_huge_errors_and_for_a_bias():
    frame, random = shop(), np.random.default_rng(0)
    actual = random.lognormal(3, 0.5, len(frame))

    def visible(predicted: np.ndarray, actual: np.ndarray) -> dict:
        with threadpool_limits(1):
            return newest_errors.error_alarms(frame["time"], predicted - actual, predicted, {}, "sold")[1]

    usual = visible(22.8 + random.normal(0, 1, len(frame)), actual)
    # If a quarter of the targets is a hundred times as large, a change of these is that of huge errors.
    tail = visible(22.8 + random.normal(0, 1, len(frame)), actual * np.where(random.random(len(frame)) < 0.25, 100, 1))
    assert tail["share"] > 3 * usual["share"]
    # Larger targets would make the errors of a model smaller that predicts too much.
    assert visible(32 + random.normal(0, 1, len(frame)), actual)["share"] > 2 * usual["share"]


def test_one_in_twenty_clean_runs_at_most_is_to_have_an_alarm_about_its_newest_errors():
    of_segments = max(rare for _, rare in newest_errors._NEWS_OF_A_SEGMENT)
    assert newest_errors._RARE_OF_ALL + of_segments <= 0.05


def test_slices_of_numbers_do_not_hide_what_is_seen_of_a_segment():
    frame, random = shop(), np.random.default_rng(0)
    codes, labels = pd.factorize(frame["store"])
    slices = {"store": (codes, list(labels))}
    numbers = {f"x{k}": (random.integers(0, 5, len(frame)), list("abcde")) for k in range(8)}
    error, predicted = random.normal(0, 6, len(frame)), random.normal(40, 1, len(frame))
    with threadpool_limits(1):
        few, many = (
            newest_errors.error_alarms(frame["time"], error, predicted, each, "sold", ["store"])[1]["segment"]
            for each in (slices, slices | numbers)
        )
    assert many == few and few["share"] < 0.3


def test_many_small_levels_do_not_hide_what_is_seen_of_large_ones():
    frame, random = shop(), np.random.default_rng(0)
    codes, labels = pd.factorize(frame["store"])
    error, predicted = random.normal(0, 6, len(frame)), random.normal(40, 1, len(frame))
    seen = []
    for levels in (30, 120):
        item = (random.integers(0, levels, len(frame)), [f"i{n}" for n in range(levels)])
        slices = {"store": (codes, list(labels)), "item": item}
        with threadpool_limits(1):
            alarms = newest_errors.error_alarms(frame["time"], error, predicted, slices, "sold", [*slices])
        seen.append(alarms[1]["segment"])
    assert seen[0] == seen[1] and seen[0]["feature"] == "store"


def hourly(seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    hour = np.clip(random.normal(13, 3, 4000), 0, 23).astype(int)
    day = np.sort(random.integers(0, 200, 4000))
    time = pd.Timestamp("2023-04-03") + pd.to_timedelta(day * 24 + hour, unit="h")
    frame = pd.DataFrame({"time": time, "size": random.normal(50, 9, 4000).round(1)})
    return frame.assign(sold=(20 + 6 * np.sin(hour / 4) + random.normal(0, 3, 4000)).round(1)).sort_values("time")


@pytest.mark.parametrize("seed", range(3))
def test_a_clock_that_was_set_to_another_hour_is_named(seed):
    frame = hourly(seed)
    assert found_in(frame) == {}
    frame["time"] += pd.to_timedelta(np.where(late(frame), 1, 0), unit="h")
    assert "look 1 hour later than before" in found_in(frame)["times"][1]


def test_a_clock_near_a_change_to_summer_time_is_named_only_if_an_earlier_change_did_not_move_the_times():
    frame = hourly()
    # The newest three weeks begin at the end of March.
    frame["time"] += pd.Timestamp("2024-04-14") - frame["time"].max().floor("D")
    moved = frame["time"] + pd.to_timedelta(np.where(late(frame), 1, 0), unit="h")
    for since, alarms in (("2023-10-01", 1), ("2023-12-01", 0)):
        use = moved >= since
        # With times without hours, too.
        for each in (moved[use], moved[use].dt.floor("D") + pd.to_timedelta(1 * late(frame)[use], unit="h")):
            found = clocks.clock_alarms(each, frame["sold"][use].to_numpy(), periods.periods_of(each))
            assert len(found) == alarms


def test_times_of_the_day_that_were_never_used_before_are_named():
    frame = shop()
    days = frame["time"].dt.floor("D")
    moved = days + pd.to_timedelta(1 * late(frame), unit="h")
    assert found_in(frame.assign(time=days)) == {}
    feature, sentence = found_in(frame.assign(time=moved))["times"]
    count = int(late(frame).sum())
    first = f"{moved[late(frame)].min():%Y-%m-%d} 01:00"
    assert feature is None and f"{count} of {count} rows of the last 3 weeks" in sentence and first in sentence
    hours = frame["time"].dt.floor("h")
    halves = hours + pd.to_timedelta(30 * late(frame), unit="min")
    assert found_in(frame.assign(time=hours)) == {}
    assert "at minutes of the hour at which there were hardly any" in found_in(frame.assign(time=halves))["times"][1]
    # A few rows at new hours: the shop is open for longer.
    longer = days.mask(late(frame) & (frame.index % 10 == 0), moved)
    assert found_in(frame.assign(time=longer)) == {}


def test_days_and_months_that_are_swapped_in_the_newest_weeks_are_named_without_a_release_too():
    frame = shop()
    time, newest_rows = frame["time"], late(frame, 8)
    assert times.swap_alarms(time) == times.swap_alarms(time[time.dt.day_of_week == 0]) == []
    swapped = [each.replace(day=each.month, month=each.day) if each.day <= 12 else each for each in time[newest_rows]]
    time = time.mask(newest_rows, pd.Series(swapped, time.index[newest_rows]))
    (alarm,) = times.swap_alarms(time[time < frame["time"].max()])
    assert alarm["name"] == "times" and "days 1 to 12 of the months have " in alarm["sentence"]


def test_rows_that_have_come_to_or_gone_from_weeks_long_before_the_release_are_named():
    frame = shop()
    before = times.rows_by_week(frame["time"][~late(frame)])
    assert before["first"] == "2023-01-02" and sum(before["counts"]) == (~late(frame)).sum()
    assert times.past_alarms(times.rows_by_week(frame["time"]), before) == []
    swap = late(frame, 8) & (frame["time"].dt.day <= 12)
    moved = frame["time"].mask(swap, [each.replace(day=each.month, month=min(each.day, 6)) for each in frame["time"]])
    (alarm,) = times.past_alarms(times.rows_by_week(moved), before)
    assert alarm["name"] == "history" and "have come since the deployed release" in alarm["sentence"]
    # A source that delivers the newest half year alone has lost nothing.
    assert times.past_alarms(times.rows_by_week(frame["time"][frame["time"] > "2023-03-01"]), before) == []
    lost = frame["time"][~frame["time"].between("2023-03-01", "2023-03-20")]
    (alarm,) = times.past_alarms(times.rows_by_week(lost), before)
    assert "have gone since the deployed release: part of the history is missing" in alarm["sentence"]
    assert times.past_alarms(None, before) == times.past_alarms(before, None) == []
    assert times.rows_by_week(None) is None


def test_columns_that_go_together_in_another_way_are_named_though_each_alone_is_as_before():
    random = np.random.default_rng(0)
    frame = shop(1, 4000)
    frame["weight"] = (frame["price"] * 2 + random.normal(0, 1, 4000)).round(2)
    assert found_in(frame) == {}
    rows = np.flatnonzero(late(frame))
    frame.loc[rows, "weight"] = random.permutation(frame.loc[rows, "weight"].to_numpy())
    ((name, (feature, sentence)),) = found_in(frame).items()
    assert name == "joint_change" and feature in ("price", "weight")
    assert "price" in sentence and "weight" in sentence


def test_two_columns_whose_correlation_wanders_by_itself_raise_no_alarm_though_others_are_calm():
    named = {"wandering": 0, "changed": 0}
    for seed in range(20):
        random = np.random.default_rng(seed)
        week = np.repeat(np.arange(12), 100)
        table = pd.DataFrame(random.normal(size=(1200, 6)), columns=list("abcdef"))
        slope = random.normal(0, 0.2, 12)
        # Further than in the weeks before, of which there are few.
        slope[-1] = 1.0
        table["b"] += slope[week] * table["a"]
        kinds = dict.fromkeys(table, "number")
        weeks = periods.Periods(11 - week, 12, 7, pd.Timestamp("2023-07-30"))
        named["wandering"] += bool(joint.joint_alarms(table, kinds, weeks))
        table["d"] += np.where(week == 11, 4, 0) * table["c"]
        found = joint.joint_alarms(table, kinds, weeks)
        named["changed"] += any("c and d are correlated differently" in each["sentence"] for each in found)
    assert named["wandering"] <= 1 and named["changed"] >= 18


def test_two_columns_that_are_nearly_always_zero_are_not_correlated_by_a_few_rows_of_one_week():
    random = np.random.default_rng(0)
    moments = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(2000) * 3, unit="h"))
    table = pd.DataFrame({"first": random.random(2000) < 0.03, "second": random.random(2000) < 0.03}).astype("float64")
    table["wide"] = random.normal(size=2000)
    table.loc[1997:, ["first", "second"]] = 1.0
    weeks = periods.periods_of(moments)
    assert joint.joint_alarms(table, {"first": "number", "second": "number", "wide": "number"}, weeks) == []


def test_a_level_that_has_been_away_for_as_long_before_is_not_missing_whenever_that_began():
    frame = shop()
    day = (frame["time"] - frame["time"].min().floor("D")).dt.days
    frame["regime"] = np.where((day - WEEKS * 7) // 30 % 2 == 0, "low", "high")
    assert "vanished_category" not in found_in(frame)
    assert "vanished_category" in found_in(frame.assign(regime=np.where(day < 180, frame["store"], "A")))


def test_another_unit_is_named_beside_wrong_values_of_long_ago_and_a_column_that_was_stuck():
    frame = shop()
    frame.loc[[100, 200], "temperature"] = [-273.2, 320.0]
    assert found_in(frame) == {}
    changed = frame["temperature"].mask(late(frame, 2), (frame["temperature"] * 1.8 + 32).round(1))
    stuck = changed.copy()
    stuck.iloc[-180:-60] = stuck.iloc[-180]
    for column, names in ((changed, {"drift"}), (stuck, {"stuck", "drift"}), (stuck.iloc[:-60], {"stuck"})):
        found = found_in(frame.assign(temperature=column).iloc[: len(column)])
        assert set(found) == names and {feature for feature, _ in found.values()} == {"temperature"}


def test_faults_of_two_weeks_are_named_in_a_table_with_one_row_a_day():
    random, days = np.random.default_rng(4), 500
    warmth = 10 - 9 * np.cos(2 * np.pi * np.arange(days) / 365) + 2 * random.normal(size=days)
    frame = pd.DataFrame({"time": pd.date_range("2022-01-03", periods=days), "warmth": warmth.round(1)})
    frame["price"] = np.exp(random.normal(2, 0.5, days)).round(2)
    frame["sold"] = (40 + frame["warmth"] + random.normal(0, 3, days)).round(2)
    newest_days = late(frame, 2)
    assert newest_days.sum() == 14 and found_in(frame) == {}
    fahrenheit = frame["warmth"].mask(newest_days, (frame["warmth"] * 1.8 + 32).round(1))
    (said,) = found_in(frame.assign(warmth=fahrenheit)).values()
    assert said[0] == "warmth" and "the last 2 weeks" in said[1]
    feature, sentence = found_in(frame.assign(price=frame["price"].mask(newest_days, 7.5)))["stuck"]
    assert feature == "price" and "in 14 consecutive rows" in sentence


def test_a_unit_is_named_in_a_column_of_many_zeros():
    frame, random = shop(), np.random.default_rng(3)
    frame["rain"] = np.where(random.random(len(frame)) < 0.6, 0.0, random.gamma(2, 3, len(frame))).round(1)
    assert found_in(frame) == {}
    changed = frame["rain"].mask(late(frame, 2), (frame["rain"] * 2.54).round(1))
    feature, sentence = found_in(frame.assign(rain=changed))["unit_change"]
    assert feature == "rain" and "its median, without the most frequent value, is 1" in sentence


def test_levels_that_come_or_go_regularly_are_no_news_but_frequent_ones_and_rare_events_are():
    frame, random = shop(), np.random.default_rng(0)
    rows = len(frame)
    place, some = np.arange(rows), random.random(rows)
    # Each seller is there for half a year, and every other week one comes and one leaves.
    seller = "s" + pd.Series(place // 200 - random.integers(0, 8, rows)).astype("str")
    opened = frame["store"].mask((place > 0.5 * rows) & (some < 0.1), "E")
    closed = frame["store"].mask((place < 0.5 * rows) & (some < 0.1), "E")
    # Of twenty who were there from the beginning, one leaves at a time.
    left = place // 230
    fewer = "s" + pd.Series(left + random.integers(0, 20 - left)).astype("str")
    # The last one leaves within the held-out part.
    busy, long = ((place < share * rows) & (some < 0.2) for share in (0.85, 0.9))
    for column, new, gone in (
        (seller, [], []),
        (seller.mask((place > 0.9 * rows) & (some < 0.8), "unknown"), ["unknown"], []),
        (seller.mask((place < 0.8 * rows) & (some < 0.2), "early"), [], ["early"]),
        (seller.mask(busy, "busy"), [], ["busy"]),
        (fewer, [], []),
        (fewer.mask(long, "long"), [], ["long"]),
        (opened, [], []),
        (opened.mask((place > 0.9 * rows) & (some > 0.9), "F"), ["F"], []),
        (closed.mask((place < 0.8 * rows) & (some > 0.9), "F"), [], ["F"]),
    ):
        table, description = feature_engineering(
            frame.assign(seller=column), "sold", time_column="time", test_share=0.2
        )
        before, after = table[table["split"] == "train"], table[table["split"] == "test"]
        kinds = {"seller": description["features"]["seller"]}
        profiles = {"seller": drift.profile(before["seller"], kinds["seller"])}
        (row,) = drift.compared(profiles, after, description, before)
        last = findings.last_seen(before, after, kinds, "time")
        assert (row["kind"], row["new"]) == ("category", new)
        assert row["vanished"] + [level for each in last for level in each["levels"]] == gone
        if gone != ["early"]:
            assert ("vanished_category" in found_in(frame.assign(seller=column))) == bool(gone)


def test_distances_and_indices_are_those_of_references_with_ties():
    for seed in range(10):
        random = np.random.default_rng(seed)
        before, after = pd.Series(random.poisson(1.3, 500)), pd.Series(random.poisson(1.6, 300))
        row = drift.compare("x", drift.profile(before, "number"), after)
        assert row["size"] == pytest.approx(stats.ks_2samp(before, after).statistic, abs=1e-12)
        # One bin for each value up to a decile, closed on the right.
        edges = [-np.inf, *np.unique(np.quantile(before, np.linspace(0.1, 0.9, 9), method="inverted_cdf")), np.inf]
        p, q = (np.maximum(pd.cut(each, edges).value_counts(sort=False), 0.5) for each in (before, after))
        p, q = p / p.sum(), q / q.sum()
        assert row["psi"] == pytest.approx(float(((q - p) * np.log(q / p)).sum()), abs=0.01)


def test_a_step_that_is_plain_by_week_is_named_where_its_span_has_few_of_its_length_before():
    """A season moves the level of four weeks a lot, but never as fast."""
    frame = shop()
    random, day = np.random.default_rng(5), (frame["time"] - frame["time"].min()).dt.days
    sea = 8 - 7 * np.cos(2 * np.pi * (day - WEEKS * 7) / 365 + 0.5) + random.normal(0, 0.6, len(frame))
    frame["sea"] = sea.round(1)
    # Two wrong values of long ago are further out than the new unit.
    frame.loc[[100, 200], "sea"] = [-200.0, 200.0]
    assert found_in(frame) == {}
    changed = frame["sea"].mask(late(frame, 4), (frame["sea"] * 1.8 + 32).round(1))
    table, description = feature_engineering(frame.assign(sea=changed), "sold", time_column="time", test_share=0.2)
    (said,) = [each for each in newest.newest_alarms(table, description) if each["feature"] == "sea"]
    assert said["name"] in ("unit_change", "drift") and "the last 4 weeks" in said["sentence"]


def test_numbers_that_move_with_the_season_are_in_no_other_unit():
    days = pd.Series(np.arange(3000) / 10)
    random = np.random.default_rng(1)
    season = 20 + 16 * np.cos(2 * np.pi * days / 365) + random.normal(0, 1, 3000)
    before, after = season[:2400], season[2400:]
    row = drift.compare("x", drift.profile(before, "number"), after)
    assert not drift._jumped(before, after) and drift._news(row | {"unit": "feet"}, before, after)["unit"] is None
    assert drift._jumped(before, after * 1.8 + 32)


def test_numbers_whose_sum_is_the_target_are_named_and_no_others():
    frame = shop()
    frame["part"] = frame["sold"] * np.random.default_rng(0).uniform(0.2, 0.8, len(frame))
    frame["rest"] = frame["sold"] - frame["part"]
    (alarm,) = leaks.leaks(*feature_engineering(frame, "sold", split_by="time", time_column="time"), 0)
    assert alarm["sentence"].startswith("A sum of part and rest, each times a constant, gives the target")


def test_the_benchmark_rewrites_what_it_measures_and_keeps_what_people_wrote():
    page = f"# Title\n\nBy hand.\n\n{BEGINS}\nold\n{ENDS}\n\nAlso by hand.\n"
    assert between_marks(page, ["new"]) == f"# Title\n\nBy hand.\n\n{BEGINS}\nnew\n\n{ENDS}\n\nAlso by hand.\n"
    with pytest.raises(SystemExit, match="to write the results between"):
        between_marks("# Title\n", ["new"])
