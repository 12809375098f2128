"""The live record: which prediction belongs to which answer, and when a release is reported as worse than promised."""

import numpy as np
import pandas as pd
import pytest

from signoff.release.live_record import broken_words, newest_words, warnings
from signoff.review.live import Promise, Sums, broken_limits, lines_of, mark_alarms, merged, promise_of, slice_alarms
from signoff.review.live_join import Batch, Kinds, TrainingMeans, Unjoined

KINDS = Kinds({"when": "date", "shop": "text", "size": "number", "sold": "number"}, {"when": "ISO8601"})


def promise(mae: float = 1.0, **changes) -> Promise:
    """Return what a release with eight held-out weeks of about the same error promised."""
    weeks = [{"MAE": mae * (1 + 0.03 * (-1) ** n), "bias": 0.02 * (-1) ** n, "rows": 100} for n in range(8)]
    usual = {"mae": mae, "low": 0.95 * mae, "high": 1.05 * mae, "bias": 0.0, "bias_error": 0.02, "weeks": weeks}
    usual |= {"level": 0.9, "coverage": 0.9, "coverages": [0.9, 0.91, 0.89, 0.9]}
    usual |= {"baseline": "mean", "time": "when", "until": None}
    return Promise(**{**usual, **changes})


def record_of(
    tmp_path, batches: list[pd.DataFrame], answers: pd.DataFrame, key=("when", "shop"), **options
) -> Unjoined:
    """Return the record of some batches of predictions, in the order in which they were written."""
    answers.to_csv(tmp_path / "raw.csv", index=False)
    promises = {"r1": promise(), "r2": promise()}
    record = Unjoined(tmp_path, key, KINDS, "sold", "when")
    training = TrainingMeans(KINDS, "sold", {name: promise(time=None) for name in promises})
    for frame in KINDS.read(tmp_path / "raw.csv", [*key, "sold"]):
        record.add_answers(frame)
        training.add(frame)
    means = training.by_release()
    for n, batch in enumerate(batches):
        batch.to_csv(tmp_path / f"batch{n}.csv", index=False)
        record.add_predictions(Batch(tmp_path / f"batch{n}.csv", 19_000 + n, **options), promises, means)
    return record


def predictions(rows: list[tuple], release: str = "r1") -> pd.DataFrame:
    """Return predictions of (when, shop, prediction), with an interval of ± 2."""
    frame = pd.DataFrame(rows, columns=["when", "shop", "prediction"])
    frame["prediction_low"], frame["prediction_high"] = frame["prediction"] - 2, frame["prediction"] + 2
    return frame.assign(release=release)


def answers(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["when", "shop", "sold"])


def joined(record: Unjoined) -> pd.DataFrame:
    return pd.concat(list(record.joined())).sort_values("prediction", ignore_index=True)


@pytest.mark.parametrize("last", ["2024-01-01 22:30:00", "2024-01-02 00:30:00+02:00", "2024-01-01T22:30:00Z"])
def test_the_end_of_a_release_is_in_utc_whatever_its_zone(last):
    metrics = {"model": {"test": {"MAE": 1.0}}, "baselines": {"mean": {"test": {"MAE": 2.0}}}}
    metrics |= {"time_column": "when", "split": {"last_test": last}}
    diagnostics = {"intervals": {"model": {"MAE": [0.9, 1.1], "bias": [-0.1, 0.1]}}, "by_week": []}
    diagnostics |= {"prediction_interval": {"level": 0.9, "coverage": 0.9, "shipped_coverage": None, "over_time": []}}
    found = promise_of(metrics, diagnostics)
    assert found.until == pd.Timestamp("2024-01-01 22:30:00") and found.until.tz is None
    frame = pd.DataFrame({"when": pd.to_datetime(["2024-01-01 23:00:00"])})
    assert (frame["when"] > found.until).all()


def test_late_repeated_corrected_and_missing_answers_each_count_once(tmp_path):
    first = predictions([("2024-01-01", "a", 1.0), ("2024-01-02", "a", 2.0), ("2024-01-03", "a", 3.0)])
    again = predictions([("2024-01-02", "a", 20.0)], "r2")
    raw = answers([("2024-01-02", "a", 7), ("2024-01-01", "a", 5), ("2024-01-01", "a", 6), ("2024-01-09", "b", 1)])
    found = joined(record_of(tmp_path, [first, again], raw))
    # The later prediction of a row counts, and the later answer; the third row has no answer yet.
    assert found["prediction"].tolist() == [1.0, 3.0, 20.0]
    assert found["target"].tolist()[0] == 6 and np.isnan(found["target"][1]) and found["target"][2] == 7


def test_rows_that_look_alike_are_matched_one_to_one(tmp_path):
    batch = predictions([("2024-01-01", "a", 1.0), ("2024-01-01", "a", 2.0), ("2024-01-01", "a", 3.0)])
    raw = answers([("2024-01-01", "a", 10), ("2024-01-01", "a", 20), ("2024-01-01", "a", 30)])
    found = joined(record_of(tmp_path, [batch], raw))
    assert found["target"].tolist() == [10, 20, 30]
    assert found["place"].is_unique


def test_a_key_matches_however_its_values_are_written(tmp_path):
    batch = predictions([("2024-01-01 00:00:00", "a", 1.0)]).assign(size="1.50")
    raw = answers([("2024-01-01", "a", 10)]).assign(size="1.5")
    assert joined(record_of(tmp_path, [batch], raw, ("when", "shop", "size")))["target"].tolist() == [10]


def test_many_rows_are_joined_in_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("signoff.review.live_join._MOST_ROWS", 64)
    monkeypatch.setattr("signoff.tables.batches._BLOCK", 5_000)
    days = pd.date_range("2024-01-01", periods=2000, freq="h").strftime("%Y-%m-%d %H:%M:%S")
    batch = predictions([(day, "a", float(n)) for n, day in enumerate(days)])
    raw = answers([(day, "a", 3 * n) for n, day in enumerate(days)]).sample(frac=1, random_state=0)
    found = joined(record_of(tmp_path, [batch], raw))
    assert found["target"].tolist() == [3 * n for n in range(2000)]


def test_a_line_has_the_figures_of_its_week(tmp_path):
    batch = predictions([("2024-01-01", "a", 1.0), ("2024-01-07", "a", 2.0), ("2024-01-08", "a", 3.0)])
    raw = answers([("2024-01-01", "a", 2), ("2024-01-07", "a", 7)])
    record, sums = record_of(tmp_path, [batch], raw), Sums()
    for rows in record.joined():
        sums.add(rows)
    first, second = lines_of(record, sums, {"r1": promise()})
    assert (first["week"], first["rows"], first["answered"]) == ("2024-01-01", 2, 2)
    assert first["MAE"] == pytest.approx(3.0) and first["bias"] == pytest.approx(-3.0)
    assert first["coverage"] == 0.5 and first["width"] == pytest.approx(4.0)
    # The mean of the two targets is 4.5.
    assert first["baseline_MAE"] == pytest.approx(2.5)
    assert (second["week"], second["rows"], second["answered"], second["MAE"]) == ("2024-01-08", 1, 0, None)


def test_weeks_that_the_source_no_longer_has_are_kept(tmp_path):
    old = live_line("2024-01-01", 1.0, rows=50)
    fewer = {**live_line("2024-01-01", 9.0), "answered": 3}
    assert merged([old], [], ["r1"]) == [old]
    assert merged([old], [fewer], ["r1"]) == [old]
    assert merged([old], [], ["another"]) == []
    more = live_line("2024-01-01", 2.0, rows=60)
    assert merged([old], [more], ["r1"]) == [more]


def live_line(week: str, mae: float, bias: float = 0.0, coverage: float = 0.9, rows: int = 100) -> dict:
    line = {"release": "r1", "week": week, "as_if": False, "rows": rows, "answered": rows, "MAE": mae, "bias": bias}
    line |= {"coverage": coverage, "width": 4.0, "baseline": "mean", "baseline_MAE": 3.0, "promised_MAE": 1.0}
    return line | {"promised_low": 0.95, "promised_high": 1.05, "alarms": []}


def weeks(*figures: dict) -> list[dict]:
    days = pd.date_range("2024-01-01", periods=len(figures), freq="7D").strftime("%Y-%m-%d")
    return [live_line(day, **each) for day, each in zip(days, figures, strict=True)]


def test_weeks_as_promised_raise_no_alarm():
    assert mark_alarms(weeks({"mae": 1.02}, {"mae": 0.97}, {"mae": 1.1, "bias": 0.05}), "r1", promise()) == []


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("live_error", {"mae": 2.0}),
        ("live_bias", {"mae": 1.1, "bias": 0.9}),
        ("live_coverage", {"mae": 1.1, "coverage": 0.6}),
    ],
)
def test_the_second_bad_week_raises_an_alarm_at_the_latest(name, bad):
    lines = weeks({"mae": 1.0}, {"mae": 1.0}, bad, bad)
    found = mark_alarms(lines, "r1", promise())
    assert name in [each["name"] for each in found]
    sentence = next(each["sentence"] for each in found if each["name"] == name)
    assert "for 2 weeks (from 2024-01-15, 200 rows)" in sentence
    assert lines[0]["alarms"] == lines[1]["alarms"] == [] and name in lines[3]["alarms"]


def test_an_alarm_ends_when_the_weeks_are_good_again():
    lines = weeks({"mae": 2.0}, {"mae": 2.0}, {"mae": 1.0})
    assert mark_alarms(lines, "r1", promise()) == []
    assert lines[1]["alarms"] == ["live_error"]


def test_a_few_rows_raise_no_alarm():
    assert mark_alarms(weeks({"mae": 3.0, "rows": 9}, {"mae": 3.0, "rows": 9}), "r1", promise()) == []


def test_clean_replays_rarely_raise_an_alarm_and_doubled_noise_always_does():
    random = np.random.default_rng(20)

    def replay(noise: float, last: int) -> bool:
        errors = [random.laplace(0, 1 if n < 10 else noise, 150) for n in range(8 + last)]
        names = ("mae", "bias", "coverage")
        figures = [(np.abs(each).mean(), each.mean(), (np.abs(each) < 2.3).mean()) for each in errors]
        held = [{"MAE": mae, "bias": bias, "rows": 150} for mae, bias, _ in figures[:8]]
        own = promise(1.0, weeks=held, coverages=[each[2] for each in figures[:8]])
        lines = weeks(*(dict(zip(names, map(float, each), strict=True)) for each in figures[8:]))
        return any(mark_alarms(lines[:n], "r1", own) for n in range(1, last + 1))

    assert sum(replay(1.0, 12) for _ in range(40)) <= 2
    assert all(replay(2.0, 4) for _ in range(20))


def test_doubled_noise_is_found_in_its_second_week_by_few_held_out_weeks_of_few_rows():
    random = np.random.default_rng(4)

    def replay() -> bool:
        errors = [random.normal(0, 1 if n < 7 else 2, 60) for n in range(9)]
        held = [{"MAE": float(np.abs(each).mean()), "bias": float(each.mean()), "rows": 60} for each in errors[:3]]
        # With three weeks, the report's interval is wide.
        own = promise(0.8, low=0.64, high=0.96, bias_error=0.15, weeks=held, coverages=[0.9])
        figures = [
            {
                "mae": float(np.abs(each).mean()),
                "bias": float(each.mean()),
                "coverage": float((abs(each) < 1.65).mean()),
            }
            for each in errors[3:]
        ]
        return bool(mark_alarms(weeks(*(each | {"rows": 60} for each in figures)), "r1", own))

    assert all(replay() for _ in range(20))


def test_a_wide_interval_of_the_report_hides_no_larger_error():
    wide = promise(low=0.5, high=1.5)
    assert mark_alarms(weeks({"mae": 1.0}, {"mae": 1.7}, {"mae": 1.7}), "r1", wide)[0]["name"] == "live_error"
    # What the report itself says to be possible is no alarm.
    assert mark_alarms(weeks({"mae": 1.0}, {"mae": 1.45}, {"mae": 1.45}), "r1", wide) == []


def test_two_weeks_that_are_unlikely_together_raise_an_alarm():
    assert mark_alarms(weeks({"mae": 1.0}, {"mae": 1.5}), "r1", promise()) == []
    (found,) = mark_alarms(weeks({"mae": 1.0}, {"mae": 1.5}, {"mae": 1.5}), "r1", promise())
    assert found["name"] == "live_error" and "for 2 weeks (from 2024-01-08, 200 rows)" in found["sentence"]


def test_a_bias_is_also_compared_with_the_earlier_weeks_of_the_release():
    # The report could not say how much weeks differ, but the weeks since then do.
    unsure = promise(bias=-0.2, bias_error=0.3)
    before = [{"mae": 1.0, "bias": 0.05 * (-1) ** n} for n in range(5)]
    assert mark_alarms(weeks(*before), "r1", unsure) == []
    off = [{"mae": 1.1, "bias": -0.9}] * 2
    assert mark_alarms(weeks(*before, *off), "r1", unsure)[0]["name"] == "live_bias"
    # A few weeks do not say what is usual.
    assert mark_alarms(weeks(*before[:3], *off), "r1", unsure) == []


def test_a_slice_whose_intervals_fail_is_named(tmp_path):
    random = np.random.default_rng(3)
    days = pd.date_range("2024-01-01", periods=1200, freq="30min").strftime("%Y-%m-%d %H:%M:%S")
    shops = random.choice(["a", "b", "c"], 1200)
    batch = predictions([(day, shop, 10.0) for day, shop in zip(days, shops, strict=True)])
    noise = random.normal(0, np.where(shops == "b", 4.0, 1.2))
    raw = answers(list(zip(days, shops, 10 + noise, strict=True)))
    record, sums = record_of(tmp_path, [batch], raw), Sums()
    for rows in record.joined():
        sums.add(rows)
    (found,) = slice_alarms(record, sums, "r1", promise())
    assert found["slice"] == "shop b" and found["sentence"].startswith("Where shop is b, the intervals")


def test_a_limit_is_judged_by_the_newest_week():
    lines = weeks({"mae": 9.0}, {"mae": 2.0, "coverage": 0.7})
    (mae,) = broken_limits(lines, "r1", 1.5, None)
    assert (mae["name"], mae["value"], mae["week"]) == ("mae_max", 2.0, "2024-01-08")
    assert broken_words(mae) == (
        "The deployed release had an MAE of 2 in the week from 2024-01-08; live.mae_max is 1.5."
    )
    assert [each["name"] for each in broken_limits(lines, "r1", 2.5, 0.8)] == ["coverage_min"]
    assert broken_limits(lines, "r1", None, None) == broken_limits(lines, "r1", 2.5, 0.5) == []


def test_the_record_of_another_release_raises_no_warning():
    live = {"release": "r1", "alarms": [{"sentence": "It is off."}], "broken": []}
    assert warnings(live, "r1") == ["It is off."]
    assert warnings(live, "r2") == warnings(None, "r1") == warnings(live, None) == []
    assert newest_words(weeks({"mae": 2.0}), "r1") == (
        "MAE 2, bias +0 in the week from 2024-01-01 (100 rows); the report promised an MAE of 1"
    )
