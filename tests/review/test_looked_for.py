"""The sentence on what was looked for and not found, and the names of weekdays and months in slices."""

import pandas as pd
import pytest

from signoff.base.numbers import counted, listed
from signoff.features.recipe import date_parts
from signoff.review import intervals, reasons
from signoff.review.looked_for import _NEWEST, _ROWS, _SINCE_RELEASE, nothing_found

# Alarms about scores and intervals, which have reasons of their own.
JUDGED = {"not_before", "constant_prediction", "no_signal", "overfit_gap", "degraded", "worse_than_champion"}
JUDGED |= {"slice_worse", "coverage", "slice_coverage", "refit_differs"}
WEEKS = {"days": 7, "count": 52}
METRICS = {"time_column": "day"}


def moved(**changes: object) -> dict:
    row = {"psi": 0.01, "flagged": False, "unit": None, "new": [], "vanished": [], "missing": [0.0, 0.0]}
    return {"drift": {"training": [row | changes], "release": None}}


def said(metrics: dict = METRICS, biased: bool = False, **found: object) -> str:
    return nothing_found(metrics, {"alarms": [], "newest": WEEKS} | moved() | found, biased)


def test_the_sentence_names_everything_that_was_looked_for():
    assert said() == (
        "No alarm: nothing was found of leaks, copied rows, changed units, vanished categories, new categories, drift "
        "or slices whose bias has moved; nor in the newest weeks of stuck columns, rows loaded twice, rows copied from "
        "earlier ones, more missing values, missing deliveries, larger errors, shifted clocks or columns that "
        "are correlated differently."
    )
    since = moved()["drift"] | {"release": moved()["drift"]["training"]}
    assert "a shorter history" in said(drift=since) and "a shorter history" not in said()
    sampled = said(newest=WEEKS | {"sampled": True})
    assert "loaded twice" not in sampled and sampled.endswith("in which copies are not seen.")
    assert "in the newest days of" in said(newest=WEEKS | {"days": 1})


def test_every_alarm_is_named_in_the_sentence_or_judged_elsewhere():
    assert {*_ROWS, *_NEWEST, *_SINCE_RELEASE} | JUDGED == set(reasons.WEIGHTS)


def test_newest_rows_that_were_not_compared_are_not_said_to_be_without_faults():
    assert said(newest=None).endswith("since there are too few rows or too short a time.")
    assert said({"time_column": None}, newest=None).endswith("since there is no time column.")
    assert "stuck" not in said(newest=None)


@pytest.mark.parametrize(
    ("found", "absent"),
    [
        (moved(flagged=True), ["drift"]),
        (moved(unit="km to miles"), ["changed units"]),
        (moved(vanished=["A"]), ["vanished categories"]),
        (moved(new=["A"]), ["new categories"]),
        (moved(missing=[0.1, 0.3]), ["more missing values"]),
        ({"biased": True}, ["bias"]),
        (moved(flagged=True) | {"biased": True}, ["drift", "bias"]),
        ({"metrics": METRICS | {"cleaning": {"rows_dropped": {"duplicates": 3}}}}, ["copied rows", "loaded twice"]),
        ({"validation": {"violations": [{"check": "is a number before 'km'"}]}}, ["changed units"]),
        ({"validation": {"violations": [{"check": "in_range(0, 9)"}]}}, ["changed units"]),
        ({"validation": {"violations": [{"check": "field_uniqueness"}]}}, ["loaded twice"]),
        ({"alarms": [reasons.alarm("stuck", "a", "a is stuck.")]}, ["stuck columns"]),
    ],
)
def test_what_was_found_is_left_out(found, absent):
    assert all(each in said() for each in absent)
    assert not [each for each in absent if each in said(**found).replace("drift beyond the season's", "")]


def test_a_large_index_without_a_verdict_is_the_season():
    assert "drift beyond the season's or slices" in said(**moved(psi=4.12))


def test_weekdays_and_months_have_their_names_and_slices_of_their_own():
    day = pd.Series(pd.date_range("2024-01-01", periods=366))
    table = pd.DataFrame({"weekday": day.dt.day_of_week, "month": day.dt.month, "hour": day.dt.day % 3})
    recipe = {name: {"column": "day", "part": name} for name in ("month", "hour")}
    parts = date_parts({**recipe, "weekday": {"column": "day", "part": "day_of_week"}, "other": {"column": "day"}})
    assert parts == {"month": "month", "hour": "hour", "weekday": "day_of_week"}
    slices = intervals.make_slices(table.astype("float64"), dict.fromkeys(table, "number"), parts)
    codes, labels = slices["weekday"]
    assert [labels[code] for code in codes[:3]] == ["Monday", "Tuesday", "Wednesday"]
    codes, labels = slices["month"]
    assert len(labels) == 12 and labels[codes[31]] == "February"
    assert sorted(slices["hour"][1]) == ["0", "1", "2"]
    without = intervals.make_slices(table.astype("float64"), {"weekday": "number"})
    assert sorted(without["weekday"][1]) == ["0", "1", "2", "3", "4", "5", "6"]


def test_numbers_agree_with_their_nouns():
    assert [counted(n, "row") for n in (0, 1, 2000)] == ["0 rows", "1 row", "2,000 rows"]
    assert counted(2, "entry", "entries") == "2 entries"
    assert [listed(["a", "b", "c"][:n], "or") for n in range(4)] == ["", "a", "a or b", "a, b or c"]
