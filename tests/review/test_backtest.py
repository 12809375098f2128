"""The backtest: what it trains on, what runs again, what it says; on the workflow's own files and by its functions."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from backtest import _backtest_report, _draw_backtest, _weeks_between, backtest
from conftest import Project, rides, script
from signoff.base.errors import TaskError
from signoff.base.files import sha256
from signoff.tables.table import write_table
from split_weeks import _plan_weeks

WEEKS = ["2024-W09", "2024-W10", "2024-W11"]
MODELS = {"never_retrained", *WEEKS}


@pytest.fixture
def replayed(replayed_run, tmp_path) -> Project:
    """A copy of that project that a test may change."""
    return replayed_run.copy(tmp_path / "copy")


def times(project: Project) -> dict[str, int]:
    """Return by model of the backtest when its scores were written."""
    return {path.stem: path.stat().st_mtime_ns for path in (project.folder / "reports/backtest").glob("*.json")}


def replay(project: Project) -> set[str]:
    """Make the backtest; return the models whose scores were written."""
    before = times(project)
    project.snakemake("backtest")
    return {model for model, time in times(project).items() if before.get(model) != time}


def results(project: Project) -> dict[str, bytes]:
    """Return the bytes of all that the backtest has written."""
    return {name: content for name, content in project.contents().items() if name.startswith("reports/backtest")}


def test_each_week_is_a_job_whose_training_files_are_the_weeks_before_it(replayed_run):
    files = [f"reports/backtest/{model}.json" for model in MODELS]
    text = replayed_run.snakemake("--dry-run", "--forcerun", "backtest_week", "--", *files).stdout
    jobs = re.findall(r"rule backtest_week:\n    input: (.*)\n    output: reports/backtest/(\S+)\.json", text)
    assert {model for _, model in jobs} == MODELS
    for files, model in jobs:
        weeks = re.findall(r"data/weeks/(\S+?)\.parquet", files)
        if model == "never_retrained":
            assert weeks == [f"2024-W{n:02d}" for n in range(1, 9)] + WEEKS
        else:
            assert weeks == [f"2024-W{n:02d}" for n in range(1, int(model[-2:]) + 1)]
        said = replayed_run.json(f"reports/backtest/{model}.json")
        assert said["trained_on"] == [week for week in weeks if week < min(said["scores"])]


def test_the_table_has_every_metric_of_every_predictor_by_week_and_the_summary_weighs_by_rows(replayed_run):
    table = pd.read_csv(replayed_run.folder / "reports/backtest.csv", keep_default_na=False)
    assert list(table["week"]) == WEEKS
    features = pd.read_csv(replayed_run.folder / "data/features/features.csv", parse_dates=["started"])
    iso = features["started"].dt.strftime("%G-W%V")
    assert list(table["rows"]) == [(iso == week).sum() for week in WEEKS]
    assert list(table["training_rows"]) == [(iso < week).sum() for week in WEEKS]
    for _, row in table.iterrows():
        actual = features.loc[iso == row["week"], "minutes"]
        known = features.loc[iso < row["week"], "minutes"]
        km = features.loc[iso == row["week"], "km"]
        assert row["baseline_mean_MAE"] == pytest.approx((actual - known.mean()).abs().mean())
        assert row["baseline_mean_bias"] == pytest.approx(known.mean() - actual.mean())
        assert row["baseline_km_RMSE"] == pytest.approx(((km - actual) ** 2).mean() ** 0.5)
        assert row["retrained_MAE"] < row["baseline_mean_MAE"]
        assert row["retrained_R2"] > 0.5
    # In the first week both are the same model.
    assert table.loc[0, "retrained_MAE"] == table.loc[0, "never_retrained_MAE"]
    assert table.loc[1, "retrained_MAE"] != table.loc[1, "never_retrained_MAE"]
    summary = replayed_run.json("reports/backtest.json")
    worth = ((table["never_retrained_MAE"] - table["retrained_MAE"]) * table["rows"]).sum() / table["rows"].sum()
    assert summary["retraining_is_worth"] == pytest.approx(worth)
    assert summary["weeks_better"] == (table["retrained_MAE"] < table["never_retrained_MAE"]).sum()
    worse = table["retrained_MAE"] > table["never_retrained_MAE"]
    assert list(table["gate"] == "stopped") == list(worse)
    assert summary["stopped"] == {week: ["max_regression"] for week in table["week"][worse]}


def test_the_model_of_a_week_is_the_one_that_train_model_trains_on_what_was_known(replayed_run, tmp_path):
    features = pd.read_csv(replayed_run.folder / "data/features/features.csv")
    known = pd.to_datetime(features["started"]).dt.strftime("%G-W%V") < "2024-W10"
    features[known].assign(split="train").to_csv(tmp_path / "features.csv", index=False)
    description = replayed_run.json("data/features/features.json")
    description["split"]["rows"] = {"train": int(known.sum()), "test": 0}
    (tmp_path / "features.json").write_text(json.dumps(description), encoding="utf-8")
    # The backtest needs no intervals.
    words = ["--input=features.csv", "--output=model.pkl", '--params={"max_iter": 20}', "--intervals=constant"]
    script("train_model", *words, cwd=tmp_path)
    assert sha256(tmp_path / "model.pkl") == replayed_run.json("reports/backtest/2024-W10.json")["model_sha256"]


def test_a_changed_week_runs_itself_and_the_later_ones_and_changes_no_model_before(replayed):
    before = {model: replayed.json(f"reports/backtest/{model}.json") for model in MODELS}
    source = replayed.folder / "rides.csv"
    frame = pd.read_csv(source)
    frame.loc[frame["started"].between("2024-03-06", "2024-03-07"), "minutes"] += 1000
    frame.to_csv(source, index=False)
    # Only the data's weeks say which of the models it concerns.
    assert replay(replayed) == {"never_retrained", "2024-W10", "2024-W11"}
    after = {model: replayed.json(f"reports/backtest/{model}.json") for model in MODELS}
    assert after["2024-W09"] == before["2024-W09"]
    for model in ("never_retrained", "2024-W10"):
        assert after[model]["model_sha256"] == before[model]["model_sha256"]
        assert after[model]["scores"]["2024-W10"] != before[model]["scores"]["2024-W10"]
    assert after["2024-W11"]["model_sha256"] != before["2024-W11"]["model_sha256"]


def test_a_new_week_runs_only_its_own_job(replayed):
    before = replayed.contents()
    rides(8 * 84).to_csv(replayed.folder / "more.csv", index=False)
    old, new = (pd.read_csv(replayed.folder / name) for name in ("rides.csv", "more.csv"))
    pd.concat([old, new[len(old) :]]).to_csv(replayed.folder / "rides.csv", index=False)
    assert replay(replayed) == {"never_retrained", "2024-W12"}
    after = replayed.contents()
    for name in [f"reports/backtest/{week}.json" for week in WEEKS]:
        assert after[name] == before[name]
    assert list(pd.read_csv(replayed.folder / "reports/backtest.csv")["week"]) == [*WEEKS, "2024-W12"]
    assert "Nothing to be done" in replayed.snakemake("backtest").stdout


def test_a_changed_threshold_judges_again_and_trains_nothing(replayed):
    replayed.configure(thresholds={"mae_max": 0.001})
    assert replayed.jobs("backtest") == {"backtest"}
    # Scores that were deleted or changed are made again, and no others.
    (replayed.folder / "reports/backtest/2024-W09.json").unlink()
    (replayed.folder / "reports/backtest/2024-W10.json").write_text("{}", encoding="utf-8")
    assert replay(replayed) == {"2024-W09", "2024-W10"}
    assert replayed.json("reports/backtest.json")["stopped"] == {week: ["mae_max"] for week in WEEKS}
    assert "**3 of 3** releases (mae_max 3)" in (replayed.folder / "reports/backtest.md").read_text(encoding="utf-8")


def test_killed_in_the_middle_it_goes_on_where_it_stopped_and_any_number_of_cores_gives_the_same_bytes(replayed):
    before = results(replayed)
    for name in before:
        (replayed.folder / name).unlink()
    command = [Path(sys.executable).with_name("snakemake"), "--snakefile", replayed.workflow / "Snakefile", "backtest"]
    command += ["--directory", replayed.folder, "--configfile", replayed.folder / "config.yaml", "--cores", "1"]
    logs = replayed.folder / "logs/backtest_week"
    subprocess.run(["rm", "-r", logs], check=True)
    started = subprocess.Popen(list(map(str, command)), start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    # Once the second model has begun, the first is written down as done.
    while len(list(logs.glob("*.log"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    done = times(replayed)
    assert 1 <= len(done) < len(MODELS)
    replayed.snakemake("--unlock")
    assert replay(replayed) == MODELS - set(done)
    assert results(replayed) == before


def test_a_week_that_fails_is_named_and_the_others_are_scored(replayed_run, tmp_path):
    weeks, plan = replayed_run.folder / "data/weeks", {}
    for week, source in (("2024-W09", "nowhere"), ("2024-W10", "2024-W10")):
        words = [f"--train={weeks}/2024-W01.parquet", f"--score={weeks}/{source}.parquet", f"--output={week}.json"]
        command = ["backtest_week.py", *words, '--params={"max_iter": 1}', f"--log={week}.log"]
        step = {"rule": "backtest_week", "code": "", "params": [], "command": command, "inputs": []}
        plan[week] = [step | {"outputs": [f"{week}.json"]}]
    (tmp_path / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    done = script("tasks_chunk", "--plan=plan.json", "--output=done.json", cwd=tmp_path)
    assert done.returncode == 1
    assert "2024-W09 (backtest_week) failed, each with its own log. All others are up to date." in done.stdout
    assert "does not exist" in (tmp_path / "2024-W09.log").read_text(encoding="utf-8")
    assert list(json.loads((tmp_path / "2024-W10.json").read_text(encoding="utf-8"))["scores"]) == ["2024-W10"]
    assert not (tmp_path / "done.json").exists()


def test_too_few_weeks_stop_the_run_with_one_line_and_the_last_backtest_stays(replayed):
    before = results(replayed)
    replayed.configure(backtest={"min_train_weeks": 11})
    done = replayed.snakemake("backtest", check=False)
    assert done.returncode == 1
    cause, log = done.stdout.strip().splitlines()[-2:]
    assert cause.startswith("split_weeks failed: backtest.min_train_weeks: 11 weeks to train on and one to score")
    assert log == "Its log: logs/split_weeks.log"
    assert "Traceback" not in done.stdout
    assert results(replayed) == before


def test_a_baseline_that_is_none_is_said_in_one_line(replayed_run, tmp_path):
    week = replayed_run.folder / "data/weeks/2024-W01.parquet"
    words = [f"--train={week}", f"--score={week}", "--output=scores.json", "--baseline=kilometre"]
    done = script("backtest_week", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert "evaluation.baseline: 'kilometre' is not a numeric feature" in done.stdout.strip().splitlines()[-1]


FEATURES = pd.DataFrame(
    {
        "day": pd.date_range("2024-01-01", periods=70, freq="D").strftime("%Y-%m-%d"),
        "km": range(70),
        "minutes": [2.0 * n for n in range(70)],
    }
)


def split(folder: Path, frame: pd.DataFrame, *arguments: str, **description: object) -> subprocess.CompletedProcess:
    """Write features as feature_engineering does, and split them into weeks."""
    kinds = {"day": "date", "km": "number", "minutes": "number"}
    said = {"time_column": "day", "target": "minutes", "features": {"km": "number"}, "kinds": kinds, **description}
    frame.to_csv(folder / "features.csv", index=False)
    (folder / "features.json").write_text(json.dumps(said), encoding="utf-8")
    return script("split_weeks", "--input=features.csv", "--output=weeks/plan.json", *arguments, cwd=folder)


@pytest.mark.parametrize(
    ("frame", "description", "message"),
    [
        (FEATURES, {"time_column": None}, "a week needs a column of dates. Name it as time_column in the config."),
        (FEATURES.assign(minutes=None), {}, "minutes is missing in 70 rows"),
        (FEATURES.assign(day=FEATURES["day"].where(FEATURES["km"] > 2)), {}, "day is missing in 3 rows"),
    ],
    ids=["no time", "no targets", "rows without time"],
)
def test_rows_that_make_no_weeks_are_said_in_one_line(tmp_path, frame, description, message):
    done = split(tmp_path, frame, **description)
    assert done.returncode == 1
    assert message in done.stdout.strip().splitlines()[-1]
    assert "Traceback" not in done.stdout
    assert not (tmp_path / "weeks").exists()


def test_of_a_long_gap_between_weeks_a_year_is_named():
    assert _weeks_between(["2024-W50", "2024-W52", "2025-W01", "2025-W03"]) == ["2024-W51", "2025-W02"]
    found = _weeks_between(["2024-W50", "9999-W52"])
    assert (len(found), found[0], found[-1]) == (53, "2024-W51", "2025-W51")


def test_a_week_goes_from_monday_to_sunday_and_one_without_rows_has_no_file(tmp_path):
    frame = FEATURES[~FEATURES["day"].between("2024-01-15", "2024-01-21")]
    done = split(tmp_path, frame, "--min-train-weeks=2")
    assert done.returncode == 0 and "groups" not in done.stdout
    files = sorted((tmp_path / "weeks").glob("*.parquet"))
    assert [path.stem for path in files] == [f"2024-W{n:02d}" for n in (1, 2, 4, 5, 6, 7, 8, 9, 10)]
    assert list(pd.read_parquet(files[2])["km"]) == list(range(21, 28))
    times = {path: path.stat().st_mtime_ns for path in files}
    # One whole number that is none any more, one week more, one less.
    changed = FEATURES.astype({"km": float})
    changed.loc[30, "km"] += 0.5
    done = split(tmp_path, changed[7:], split={"groups": "town"})
    assert done.returncode == 0 and "the backtest ignores split.groups" in done.stdout and "same town" in done.stdout
    kept = {path for path, written in times.items() if path.exists() and path.stat().st_mtime_ns == written}
    assert set(files) - kept == {files[0], files[3]}
    assert not files[0].exists()
    assert (tmp_path / "weeks/2024-W03.parquet").exists()


def test_the_window_and_the_number_of_weeks_choose_what_trains():
    weeks = ["a", "b", "c", "d", "e", "f"]
    assert _plan_weeks(weeks, min_train_weeks=4) == {
        "never_retrained": {"train": ["a", "b", "c", "d"], "score": ["e", "f"]},
        "e": {"train": ["a", "b", "c", "d"], "score": ["e"]},
        "f": {"train": ["a", "b", "c", "d", "e"], "score": ["f"]},
    }
    windowed = _plan_weeks(weeks, window=2, last_weeks=3, min_train_weeks=1)
    assert {name: each["train"] for name, each in windowed.items()} == {
        "never_retrained": ["b", "c"],
        "d": ["b", "c"],
        "e": ["c", "d"],
        "f": ["d", "e"],
    }
    assert set(_plan_weeks(weeks, last_weeks=100, min_train_weeks=5)) == {"never_retrained", "f"}
    with pytest.raises(TaskError, match="only 6 weeks have rows"):
        _plan_weeks(weeks, min_train_weeks=6)


def scored(mae: float, r2: float | None, rows: int = 10) -> dict:
    return {"rows": rows, "MAE": mae, "RMSE": mae, "median_absolute_error": mae, "R2": r2, "bias": 0.5}


def test_the_gate_the_gaps_and_what_retraining_costs_are_told(tmp_path):
    maes = {"2024-W52": (5.0, 5.0, 10), "2025-W01": (8.0, 6.0, 30), "2025-W03": (7.0, 9.0, 10)}
    models = {
        week: {
            "training_rows": 1,
            "scores": {week: {"model": scored(mae, None, rows), "mean": scored(20.0, 0.0, rows)}},
        }
        for week, (mae, _, rows) in maes.items()
    }
    never = {week: {"model": scored(mae, 0.5, rows)} for week, (_, mae, rows) in maes.items()}
    models["never_retrained"] = {"training_rows": 1, "target": "cost_of | all", "scores": never}
    table, summary = backtest(models, {"mae_max": 7.5, "max_regression": 0.1})
    assert list(table["failed"]) == ["", "mae_max max_regression", ""]
    assert summary["stopped"] == {"2025-W01": ["mae_max", "max_regression"]}
    assert summary["without_rows"] == ["2025-W02"]
    assert summary["retraining_is_worth"] == pytest.approx((5 * 10 + 6 * 30 + 9 * 10 - 5 * 10 - 8 * 30 - 7 * 10) / 50)
    report = _backtest_report(table, summary, "backtest.png")
    assert "Retraining every week adds 0.8 (12.5%) to the mean absolute error of cost\\_of \\| all" in report
    assert "Of 3 weeks it is better in 1 and worse in 1" in report
    assert "**1 of 3** releases (mae_max 1, max_regression 1)" in report
    assert "Without rows: 2025-W02." in report
    write_table(table, tmp_path / "backtest.csv")
    assert pd.read_csv(tmp_path / "backtest.csv")["retrained_R2"].isna().all()
    _draw_backtest(table, summary, tmp_path / "backtest.png")
    assert (tmp_path / "backtest.png").read_bytes().startswith(b"\x89PNG")
    _, free = backtest(models)
    assert "No threshold is set" in _backtest_report(table, free, "backtest.png")
    # An R2 that is not defined keeps no threshold.
    assert set(backtest(models, {"r2_min": 0.1})[1]["stopped"]) == set(maes)
