"""Columns that know the target are named, each kind with its words; strong features that cause it are not."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from feature_engineering import feature_engineering
from signoff.base.errors import TaskError
from signoff.review.arithmetic import combination, later_rows
from signoff.review.copied_rows import copies
from signoff.review.known import known_early
from signoff.review.leaks import leaks
from signoff.review.post_outcome import post_outcome
from signoff.review.rests_on import rests_on
from signoff.review.target_levels import are_bins, is_group_mean

ROWS = 3000


def trips(seed: int = 0) -> pd.DataFrame:
    """Return trips, of which the distance explains most of the time that they take; half of them pass a toll."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"distance": random.gamma(3, 4, ROWS).round(1) + 1, "stops": random.poisson(3, ROWS)})
    frame["vehicle"] = random.choice(["van", "bike", "truck"], ROWS)
    pace = frame["vehicle"].map({"van": 2.0, "bike": 3.2, "truck": 2.5})
    noise = random.normal(0, 2, ROWS)
    return frame.assign(minutes=(frame["distance"] * pace + 3 * frame["stops"] + noise).round(2))


def found_in(frame: pd.DataFrame, known_before: Sequence[str] = ()) -> dict[str, str]:
    table, description = feature_engineering(frame, "minutes", split_by="hash")
    return {each["feature"]: each["sentence"] for each in leaks(table, description, 0, known_before)}


@pytest.mark.parametrize("seed", range(3))
def test_a_strong_cause_is_no_leak(seed):
    assert found_in(trips(seed)) == {}


@pytest.mark.parametrize("seed", range(3))
def test_a_number_that_another_feature_determines_may_nearly_determine_the_target(seed):
    random = np.random.default_rng(seed)
    miles = random.gamma(4, 300, 60).round()
    place, wind = random.integers(0, 60, ROWS), random.normal(0, 1, ROWS).round(1)
    minutes = (miles[place] / 8 + 20 + 2 * wind + random.normal(0, 6, ROWS)).round()
    frame = pd.DataFrame(
        {"wind": wind, "place": [f"P{n}" for n in place], "distance": miles[place], "minutes": minutes}
    )
    assert found_in(frame) == {}
    # Without the place, nothing tells the distance from a copy with noise.
    assert "distance alone explains 9" in found_in(frame.drop(columns="place"))["distance"]
    copy = (minutes + random.normal(0, 2, ROWS)).round(1)
    assert "copy alone explains 99" in found_in(frame.assign(copy=copy))["copy"]
    hours = (minutes / 60).round()
    assert {"hours", "class"} <= set(found_in(frame.assign(hours=hours, **{"class": [f"C{n:.0f}" for n in hours]})))


@pytest.mark.parametrize("count", [2, 5, 15])
def test_bins_of_the_target_are_named_and_groups_that_differ_by_themselves_are_not(count):
    frame = trips()
    bins = pd.qcut(frame["minutes"], count, labels=False)
    names = np.random.default_rng(0).permutation([f"class {n}" for n in range(count)])
    assert "hold ranges of the target that do not overlap" in found_in(frame.assign(size=names[bins]))["size"]
    y = frame["minutes"].to_numpy()
    few_astray = pd.Series(np.where(np.arange(ROWS) % 1000 == 0, 0, bins))
    assert are_bins(few_astray, y) and not are_bins(pd.Series(np.random.default_rng(1).permutation(bins)), y)
    # Groups that are far from each other overlap as little, but nothing lies near their borders.
    apart = bins * 50.0 + np.random.default_rng(2).normal(0, 10, ROWS)
    assert not are_bins(bins, apart.to_numpy())


def test_bins_of_counts_with_many_zeros_are_named_and_a_closed_shop_is_not():
    random = np.random.default_rng(0)
    y = (random.poisson(6, ROWS) * (random.random(ROWS) < 0.4)).astype(float)
    assert are_bins(pd.Series(np.searchsorted([0.5, 4.5, 7.5], y)), y)
    is_open = random.random(ROWS) < 0.8
    assert not are_bins(pd.Series(is_open), np.where(is_open, random.normal(900, 150, ROWS), 0.0))


def test_bins_of_equal_size_that_split_the_rows_of_one_value_are_named_and_whether_a_shop_is_open_is_not():
    random = np.random.default_rng(0)
    y = (random.poisson(20, ROWS) * (random.random(ROWS) < 0.6)).astype(float)
    bins = pd.qcut(pd.Series(y).rank(method="first"), 10, labels=False)
    assert are_bins(bins, y)
    # Most of the borders are between other values.
    amounts = np.where(y > 0, y + random.random(ROWS), 0.0)
    assert are_bins(pd.qcut(pd.Series(amounts).rank(method="first"), 10, labels=False), amounts)
    # As soon as bins overlap by more than a value, they are categories that differ.
    assert not are_bins(pd.Series(np.where(random.random(ROWS) < 0.2, random.integers(0, 10, ROWS), bins)), y)
    assert not are_bins(pd.Series(np.where(y > 0, "open", np.where(random.random(ROWS) < 0.5, "shut", "away"))), y)


def test_a_column_that_is_computed_from_the_target_is_named_beside_many_causes_that_explain_it_better():
    random = np.random.default_rng(0)
    rows = trips()
    y = rows.pop("minutes") + random.normal(0, 6, ROWS)
    odometers = {f"odometer_{n}": rows["distance"] + random.normal(0, 1, ROWS) for n in range(3)}
    rows = rows.assign(**odometers, bill=y + random.normal(0, 17, ROWS))
    kinds = {name: "category" if name == "vehicle" else "number" for name in rows}
    assert [each.name for each in post_outcome(rows.assign(y=y), kinds, "y", 0)] == ["bill"]


@pytest.mark.parametrize("others", [[], ["stops"]])
def test_a_column_that_is_computed_from_the_target_is_named_with_what_else_it_is_made_of(others):
    frame = trips()
    noise = np.random.default_rng(1).normal(0, 0.5 * frame["minutes"].std(), ROWS)
    frame["bill"] = (frame["minutes"] + noise + sum(4 * frame[name] for name in others)).round(2)
    found = found_in(frame)
    words = " and ".join(["bill may be computed from the target", *others]) + ", or share a cause with it: it alone "
    assert list(found) == ["bill"] and found["bill"].startswith(words)


def test_a_cause_that_acts_otherwise_in_two_regimes_is_no_leak():
    random, high = np.random.default_rng(10), np.arange(ROWS) % 2 == 1
    price = np.where(high, random.normal(30, 5, ROWS), random.normal(22, 3, ROWS))
    stock, area = random.gamma(3, 10, ROWS), random.choice(list("NSEW"), ROWS)
    effect = pd.Series(area).map({"N": 3.0, "S": -5.0, "E": 1.0, "W": 5.0}).to_numpy()
    demand = 120 + effect + np.where(high, -1.5, -0.4) * price + 0.3 * stock + random.normal(0, 6, ROWS)
    rows = pd.DataFrame({"price": price, "stock": stock, "area": area, "regime": np.where(high, "b", "a")})
    kinds = {"price": "number", "stock": "number", "area": "category", "regime": "category"}
    assert post_outcome(rows.assign(demand=demand), kinds, "demand", 0) == []


@pytest.mark.parametrize("seed", range(2))
def test_a_cause_with_ups_and_downs_is_no_leak(seed):
    random = np.random.default_rng(seed)
    rows = pd.DataFrame({"hour": random.uniform(0, 10, 700).round(1), "load": random.normal(size=700).round(2)})
    rows["night"] = random.choice(["yes", "no"], 700)
    rows["y"] = 3 * np.sin(rows["hour"]) + rows["load"] + (rows["night"] == "yes") + random.normal(0, 1, 700)
    kinds = {"hour": "number", "load": "number", "night": "category"}
    assert post_outcome(rows, kinds, "y", 0) == []


def test_without_other_features_that_explain_the_target_nothing_follows():
    frame = trips().drop(columns=["distance", "stops", "vehicle"])
    random = np.random.default_rng(1)
    rows = frame.assign(bill=frame["minutes"] + random.normal(0, 15, ROWS), noise=random.normal(size=ROWS))
    assert post_outcome(rows, {"bill": "number", "noise": "number"}, "minutes", 0) == []
    assert post_outcome(rows, {"bill": "number"}, "minutes", 0) == []


def test_a_cause_that_is_named_in_place_of_an_effect_names_the_effect_too():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"before": random.normal(size=ROWS), "gauge": random.normal(size=ROWS)})
    frame["minutes"] = frame["before"] + random.normal(0, 0.4, ROWS)
    found = found_in(frame.assign(note=frame["minutes"] + random.normal(0, 0.5, ROWS)))
    words = "before the target is? If so, note may be computed from the target instead: only the two together show it."
    assert list(found) == ["before"]
    assert found["before"].endswith(f"{words} Add the one that is known to features.known_before.")
    assert found_in(frame) == {}


def test_columns_that_are_known_before_the_target_are_no_leaks_and_stay_evidence():
    random = np.random.default_rng(1)
    frame = trips()
    noise = random.normal(0, 0.5 * frame["minutes"].std(), ROWS)
    frame = frame.assign(
        booked=(frame["minutes"] + noise).round(2), copy=frame["minutes"] + random.normal(0, 0.1, ROWS)
    )
    assert {"booked", "copy"} == set(found_in(frame))
    assert all(each.endswith("If so, add it to features.known_before.") for each in found_in(frame).values())
    assert list(found_in(frame, ["booked"])) == ["copy"]
    assert list(found_in(frame, ["copy"])) == ["booked"]
    part = (frame["minutes"] * random.uniform(0.2, 0.8, ROWS)).round(2)
    parts = trips().assign(one=part, two=frame["minutes"] - part)
    assert list(found_in(parts)) == ["one"] and list(found_in(parts, ["one"])) == ["two"]
    assert found_in(parts, ["one", "two"]) == {}


def test_a_feature_is_known_before_the_target_if_all_columns_that_it_is_made_of_are():
    derived = {"per_stop": "distance / (stops + 1)"}
    _, description = feature_engineering(trips(), "minutes", split_by="hash", derived=derived)
    assert known_early(["distance"], description) == ["distance"]
    assert set(known_early(["distance", "stops"], description)) == {"distance", "stops", "per_stop"}
    with pytest.raises(TaskError, match="no feature is made of 'distanse': did you mean distance"):
        known_early(["distanse"], description)


@pytest.mark.parametrize("seed", range(1, 3))
def test_beside_features_that_explain_a_twentieth_an_effect_is_named_and_a_cause_is_not(seed):
    random = np.random.default_rng(seed)
    rows = pd.DataFrame(random.normal(size=(ROWS, 4)), columns=list("abcd")).assign(x=random.normal(size=ROWS))
    weak, noise = 0.23 * rows["a"], random.normal(size=ROWS)
    kinds = dict.fromkeys(rows, "number")
    afterwards = rows.assign(y=weak + noise)
    afterwards["x"] += 4 * afterwards["y"]
    assert [each.name for each in post_outcome(afterwards, kinds, "y", 0)] == ["x"]
    assert post_outcome(rows.assign(y=4 * rows["x"] + weak + noise), kinds, "y", 0) == []


def test_a_mean_by_group_with_its_own_row_is_named_and_one_of_earlier_rows_is_not():
    frame, random = trips(), np.random.default_rng(0)
    groups = random.integers(0, 400, ROWS)
    frame["usual"] = frame["minutes"].groupby(groups).transform("mean")
    assert "each row's own target included" in found_in(frame)["usual"]
    y, level = frame["minutes"].to_numpy(), random.normal(0, 20, 400)
    earlier = level + random.normal(0, y.std() / np.sqrt(8), 400)
    assert not is_group_mean(earlier[groups], level[groups] + y)
    assert not is_group_mean(frame["distance"].round().to_numpy(), y)


def test_columns_that_give_the_target_by_a_sum_or_a_quotient_are_named_together():
    frame, random = trips(), np.random.default_rng(0)
    frame["toll"] = random.gamma(3, 10, ROWS).round(2) + 1
    kinds = {"distance": "number", "stops": "number", "toll": "number", "gross": "number"}
    rows = frame.assign(gross=frame["minutes"] + frame["toll"])
    assert combination(rows, kinds, "minutes") == (["toll", "gross"], True)
    rows = frame.assign(gross=-(frame["minutes"] - 30) * frame["toll"], minutes=frame["minutes"] - 30)
    assert combination(rows, kinds, "minutes") == (["toll", "gross"], False)
    assert combination(frame.assign(gross=random.normal(size=ROWS)), kinds, "minutes") is None
    assert "A product of toll and gross, each to a constant power, gives" in found_in(rows)["toll"]


def test_the_target_of_a_later_row_is_named_and_that_of_an_earlier_one_is_not():
    frame = trips().drop(columns="distance")
    kinds = {"vehicle": "category", "stops": "number", "moved": "number"}
    later = frame.assign(moved=frame["minutes"].shift(-2))
    assert later_rows(later, kinds, "minutes") == {"moved": "of 2 rows later"}
    of_group = frame.assign(moved=frame.groupby("vehicle")["minutes"].shift(-1))
    assert later_rows(of_group, kinds, "minutes") == {"moved": "of the next row of the same vehicle"}
    assert later_rows(frame.assign(moved=frame["minutes"].shift(1)), kinds, "minutes") == {}
    # In the order of time, which need not be that of the rows.
    timed = later.assign(time=pd.date_range("2024-01-01", periods=ROWS, freq="h")).sample(frac=1, random_state=0)
    assert "is the target of 2 rows later" in found_in(timed)["moved"]


def test_a_column_that_is_nearly_always_zero_is_not_a_target_that_is_so_too_and_its_later_row_is():
    random, kinds = np.random.default_rng(0), {"member": "number", "moved": "number"}
    frame = pd.DataFrame({"member": random.random(2000) < 0.1, "claims": random.poisson(0.05, 2000)})
    assert later_rows(frame.assign(moved=0.0), kinds, "claims") == {}
    assert later_rows(frame.assign(moved=frame["claims"].shift(-1)), kinds, "claims") == {"moved": "of 1 row later"}


def test_the_feature_that_a_model_rests_on_is_left_out_and_so_are_two_that_stand_for_each_other():
    frame = trips().assign(tens=lambda rows: rows["distance"] // 2)
    kinds = {"distance": "number", "stops": "number", "vehicle": "category", "tens": "number"}
    important = [{"feature": "distance", "mean": 9.0}, {"feature": "stops", "mean": 2.0}]

    def found(left_out: str, mae: float = 2.0) -> dict | None:
        used = {name: kind for name, kind in kinds.items() if name != left_out}
        return rests_on(LinearRegression(), frame, used, "minutes", important, mae, 0)

    one = found("tens")
    assert one["features"] == ["distance"] and one["rows"] == 1000
    # The errors are those of linear models with and without it.
    assert 2 < one["MAE"] < 5 and 8 < one["MAE_without"] < 16
    assert found("")["features"] == ["distance", "tens"]
    # Nobody needs to ask where shuffling hardly matters.
    assert found("tens", mae=40.0) is None


def of_two_parts(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training and held-out rows, of which seven of ten targets are zero."""
    random = np.random.default_rng(seed)
    rows = pd.DataFrame({"price": random.normal(20, 4, 4000).round(2), "shop": random.choice(list("ABC"), 4000)})
    rows["weight"] = random.gamma(2, 3, 4000).round(3)
    rows["sold"] = np.where(random.random(4000) < 0.7, 0, random.gamma(2, 20, 4000).round(2))
    return rows.head(3000), rows.tail(1000).reset_index(drop=True)


@pytest.mark.parametrize("seed", range(3))
def test_copies_are_named_beside_many_zeros_but_for_one_column_and_within_the_held_out_part(seed):
    train, test = of_two_parts(seed)
    columns = ["price", "shop", "weight"]
    assert copies([train], test, columns, "sold", 0) == []
    copied = pd.concat([test.iloc[200:], train.sample(200, random_state=seed)], ignore_index=True)
    (alarm,) = copies([train.head(1000), train.iloc[1000:]], copied, columns, "sold", 0)
    assert "are copies of training rows, target included" in alarm["sentence"]
    changed = copied.assign(weight=copied["weight"] + np.where(np.arange(1000) >= 800, 0.5, 0))
    (alarm,) = copies([train], changed, columns, "sold", 0)
    assert alarm["feature"] == "weight" and "copies of training rows but for weight" in alarm["sentence"]
    twice = pd.concat([test.iloc[200:], test.tail(200)], ignore_index=True)
    (alarm,) = copies([train], twice, columns, "sold", 0)
    assert "repeat other held-out rows" in alarm["sentence"]


@pytest.mark.parametrize("seed", range(3))
def test_rows_with_equal_features_are_no_copies_if_the_features_nearly_determine_the_target(seed):
    random = np.random.default_rng(seed)
    before = (12 + 5 * random.normal(size=6000)).round(1)
    temps = pd.DataFrame({"before": before, "city": random.choice(["north", "south"], 6000)})
    temps = temps.assign(gauge=random.gamma(3, 2, 6000).round(4), temp=(before + random.normal(0, 0.7, 6000)).round(1))
    train, test = temps.head(4800), temps.tail(1200).reset_index(drop=True)
    columns = ["before", "city", "gauge"]
    assert copies([train], test, columns, "temp", 0) == []
    assert copies([train[["before", "city", "temp"]]], test, columns[:2], "temp", 0) == []
