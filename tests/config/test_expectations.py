"""What init expects of later deliveries: its own table and an ordinary next week keep it, a broken one does not.

The bounds were chosen on business days, rare rows and panels. Hours with a trend were kept apart.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from signoff.config.expectations import expectations
from signoff.tables.delivery import Delivery
from signoff.tables.delivery_checks import _check_delivery
from signoff.tables.own_keys import DeliveryRules, delivery_rules
from signoff.tables.records import EarlierDelivery, Violation

KINDS = {"day": "date", "kind": "text", "open": "boolean", "x": "number", "y": "number"}


def business_days(random: np.random.Generator) -> pd.DataFrame:
    days = pd.bdate_range("2025-01-06", periods=5 * random.integers(12, 80))
    return with_columns(random, np.repeat(days, random.poisson(random.choice([3, 8, 40]), len(days))))


def few_rows_a_week(random: np.random.Generator) -> pd.DataFrame:
    weeks = pd.date_range("2024-01-01", periods=random.integers(40, 150), freq="7D")
    times = np.repeat(weeks, random.poisson(random.choice([2, 3, 5]), len(weeks)))
    return with_columns(random, (times + pd.to_timedelta(random.integers(0, 7, len(times)), unit="D")).sort_values())


def panel(random: np.random.Generator) -> pd.DataFrame:
    days, shops = pd.date_range("2024-06-03", periods=7 * random.integers(12, 100)), random.integers(3, 20)
    frame = with_columns(random, np.repeat(days, shops))
    frame["kind"] = np.tile([f"shop {n}" for n in range(shops)], len(days))
    return frame[random.random(len(frame)) > random.choice([0, 0.05])].reset_index(drop=True)


def hours_with_a_trend(random: np.random.Generator) -> pd.DataFrame:
    hours = pd.date_range("2025-01-06", periods=24 * 7 * random.integers(8, 30), freq="h")
    rate = np.where((hours.hour > 5) & (hours.hour < 23), 2.0, 0.1) * np.linspace(1, 2, len(hours))
    return with_columns(random, np.repeat(hours, random.poisson(rate)))


def with_columns(random: np.random.Generator, times: pd.DatetimeIndex) -> pd.DataFrame:
    rows = len(times)
    lacking = random.random(rows) < random.choice([0, 0.02, 0.3])
    return pd.DataFrame(
        {
            "day": times,
            "kind": random.choice(["a", "b", "c"], rows, p=[0.6, 0.3, 0.1]),
            "open": random.random(rows) < 0.5,
            "x": np.where(lacking, np.nan, random.normal(size=rows)),
            "y": random.normal(size=rows),
        }
    )


def inferred(frame: pd.DataFrame, now: pd.Timestamp) -> DeliveryRules:
    table, columns = expectations(frame, KINDS, "y", "day", now)
    return delivery_rules(table | {"columns": {name: columns.get(name, {}) for name in frame}})


def judged(
    rules: DeliveryRules, frame: pd.DataFrame, last: EarlierDelivery | None, now: pd.Timestamp
) -> list[Violation]:
    delivery = Delivery(rules.levels, rules.max_missing)
    delivery.look(frame, frame["day"])
    return _check_delivery(rules, delivery, last, "day", now)


SHAPES = [business_days, few_rows_a_week, panel, hours_with_a_trend]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_table_and_its_ordinary_next_week_keep_what_was_inferred_and_broken_ones_do_not(
    shape: Callable[[np.random.Generator], pd.DataFrame],
):
    for seed in range(8):
        whole = shape(np.random.default_rng(seed))
        monday = whole["day"].max().to_period("W").start_time
        frame = whole[whole["day"] < monday].reset_index(drop=True)
        now, week = monday + pd.Timedelta(hours=9), pd.Timedelta(days=7)
        rules, last = inferred(frame, now), Delivery()
        last.look(frame, frame["day"])
        assert judged(rules, frame, None, now) == [], seed
        assert judged(rules, whole, last.record(), now + week) == [], seed
        half = judged(rules, whole[len(whole) // 2 :], last.record(), now + week)
        assert "rows" in [each["check"] for each in half], seed
        stale = judged(rules, frame, last.record(), now + 5 * week)
        assert [each["check"] for each in stale] == ["freshness"], seed
        empty = whole.assign(x=whole["x"].mask(whole["day"] >= monday - 4 * week))
        checks = {each["check"] for each in judged(rules, empty, last.record(), now + week)}
        assert "max_missing.newest" in checks or shape is few_rows_a_week, seed


def test_a_panel_has_complete_levels_and_days_and_an_undelivered_shop_is_named():
    frame = panel(np.random.default_rng(0))
    now = frame["day"].max() + pd.Timedelta(days=1)
    table, columns = expectations(frame, KINDS, "y", "day", now)
    assert table["complete"] == {"every": "day", "levels": ["kind", "open"]}
    assert table["freshness"] == "22 days"
    assert set(table["rows"]) == {"min", "newest"} and table["rows"]["newest"] > 0.5
    assert columns["y"] == {"max_missing": 0.25}
    late = frame["day"] > frame["day"].max() - pd.Timedelta(days=7)
    (found,) = judged(inferred(frame, now), frame[~late | (frame["kind"] != "shop 1")], None, now)
    assert found["check"] == "newest levels" and "no rows of 'shop 1'" in found["found"]


def test_old_tables_have_no_freshness_and_tables_without_times_keep_their_rows_alone():
    frame = panel(np.random.default_rng(1))
    table, _ = expectations(frame, KINDS, "y", "day", frame["day"].max() + pd.Timedelta(days=60))
    assert "freshness" not in table
    table, columns = expectations(frame, KINDS, "y", None, None)
    assert table == {"rows": {"min": 0.7}}
    assert columns["kind"] == {"max_missing": 0.25}


def test_days_are_expected_only_after_more_than_a_year():
    frame = pd.DataFrame({"day": np.repeat(pd.date_range("2024-01-01", periods=500), 5), "y": 1.0})
    for rows, every in ((len(frame), "day"), (5 * 300, "week"), (5 * 40, None)):
        table, _ = expectations(frame.head(rows), {"day": "date", "y": "number"}, "y", "day", None)
        assert table.get("complete", {}).get("every") == every
