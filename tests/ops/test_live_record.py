"""The live record of a real project: predictions, the weekly run, what people are shown, and the fallback."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from conftest import Project, rides
from signoff.base.files import write_json
from signoff.release.live_record import LIVE_RECORD
from signoff.release.store import Releases
from weekly import _live_outcome

# Read by every Python that starts: the live record is killed once one of its two files is in place, and the other is
# not. "table" is the order in which they are written. In "record" the table is held back, as by a disk that has
# forgotten it.
SABOTAGE = """
import os, sys
fault, replace = os.environ.get("FAULT"), os.replace
def killed(old, new, **options):
    if str(new).endswith("live.csv") and fault == "record":
        return
    if not str(new).endswith("live.json") or fault == "record":
        replace(old, new, **options)
    if str(new).endswith("live.json"):
        os.kill(os.getpid(), 9)
if fault and "live_record.py" in " ".join(sys.orig_argv):
    os.replace = killed
"""


def later_rides(weeks: int, shift_after: int, shift: float) -> pd.DataFrame:
    """Return rides that begin after those of the releases; the target rises by `shift` after some weeks."""
    frame = rides(56 * weeks, seed=8)
    start = pd.Timestamp("2024-03-25")
    times = pd.date_range(start, periods=len(frame), freq="3h")
    frame["started"] = times.strftime("%Y-%m-%d %H:%M:%S")
    frame["ride"] = [f"later-{n:05d}" for n in range(len(frame))]
    late = times >= start + pd.Timedelta(weeks=shift_after)
    frame.loc[late, "minutes"] = (frame.loc[late, "minutes"] + shift).round(2)
    return frame


def add_rows(project: Project, frame: pd.DataFrame) -> None:
    known = pd.read_csv(project.folder / "rides.csv", dtype=str, keep_default_na=False)
    new = frame.astype(object).where(frame.notna(), "").astype(str)
    pd.concat([known, new]).to_csv(project.folder / "rides.csv", index=False)


@pytest.mark.workflow
def test_a_release_that_goes_wrong_is_reported_to_people_and_replaced_by_rule(released):
    project = released
    config = yaml.safe_load((project.folder / "config.yaml").read_text("utf-8"))
    notify = {"command": "cat > told.txt"}
    rule = {"mae_max": 6, "on_failure": "rollback"}
    project.configure(**{**config, "live": rule, "notify": notify, "scoring": {"key": ["ride"]}})
    later = later_rides(weeks=5, shift_after=2, shift=9)
    (project.folder / "data/batches").mkdir(parents=True)
    later.iloc[:140].drop(columns="minutes").to_csv(project.folder / "data/batches/first.csv", index=False)
    project.snakemake("predictions/first.csv")
    current = project.json("reports/../deployed/current/evaluation_metrics.json")["model_sha256"][:12]
    add_rows(project, later.iloc[:-56])
    done = project.script("weekly", check=False)

    live = project.json("reports/live.json")
    lines = {(each["week"], each["as_if"]): each for each in live["weeks"] if each["release"] == live["release"]}
    assert live["release"].endswith(current)
    # Two weeks and a half were predicted; what came after them is scored as if it had been.
    assert sorted(week for week, as_if in lines if not as_if) == ["2024-03-25", "2024-04-01", "2024-04-08"]
    assert sorted(week for week, as_if in lines if as_if) == ["2024-04-08", "2024-04-15"]
    # Rows without km were rejected, so they were never predicted, and are not scored either.
    assert sum(each["rows"] for each in lines.values()) == later.iloc[:-56]["km"].notna().sum()
    assert live["unanswered"] == 0
    assert lines["2024-03-25", False]["alarms"] == [] and lines["2024-03-25", False]["MAE"] < 4
    assert {"live_error", "live_bias"} <= set(lines["2024-04-15", True]["alarms"])
    assert lines["2024-04-15", True]["bias"] == pytest.approx(-9, abs=1.5)
    with open(project.folder / "reports/live.csv", encoding="utf-8") as file:
        assert [row["week"] for row in csv.DictReader(file)] == [each["week"] for each in live["weeks"]]

    run = json.loads((project.folder / "logs/runs.jsonl").read_text("utf-8").splitlines()[-1])
    assert {"live.mae_max", "live_bias", "live_error"} <= set(run["live"])
    assert run["rolled_back"] == live["release"] and run["release"] != live["release"]
    assert "live.mae_max is 6" in done.stdout
    move = json.loads((project.folder / "deployed/history.jsonl").read_text("utf-8").splitlines()[-1])
    assert move["action"] == "rollback" and move["reason"][0].startswith("by the rule live.on_failure:")
    assert {"live", "rolled_back"} <= set(run["events"])
    assert "less accurate than promised" in (project.folder / "told.txt").read_text("utf-8") or run["notified"]
    project.script("verify")


@pytest.mark.workflow
def test_the_newest_week_is_shown_before_a_decision(released):
    project = released
    later = later_rides(weeks=3, shift_after=1, shift=9)
    add_rows(project, later)
    project.snakemake("--keep-going", "all", "reports/live.json", "reports/final_report.md", check=False)
    status = project.script("status").stdout
    assert "Live        MAE" in status and "as if predicted" in status
    assert "Live alarm  The deployed release has been off by -" in status
    signed = project.sign_off("--override", "the level has changed", check=False).stdout
    assert "Live        The deployed release has been off by -" in signed
    report = (project.folder / "reports/final_report.md").read_text("utf-8")
    box, _, rest = report.partition("## ")
    assert "The deployed release has been off by -" in box
    assert "## Live record" in rest and "(as if predicted)" in rest
    assert "The deployed release has been off by -" in project.script("summary").stdout
    project.script("history")
    assert "Live error by week" in (project.folder / "reports/history.html").read_text("utf-8")
    # Predictions of an earlier release are never replaced by the record.
    assert "predict" not in project.jobs("reports/live.json")


@pytest.mark.workflow
def test_a_rule_returns_only_to_a_release_with_the_approvals_that_are_asked_for(released, monkeypatch):
    monkeypatch.chdir(released.folder)
    first, second = (line["release"] for line in Releases().history())
    broken = {"name": "mae_max", "limit": 1, "value": 2.5, "week": "2026-01-05"}
    write_json(
        LIVE_RECORD, {"release": second, "rows": 1, "answered": 1, "weeks": [], "alarms": [], "broken": [broken]}
    )
    rule = {"mae_max": 1, "on_failure": "rollback"}
    # Each of the releases has one approval.
    released.configure(live=rule, release={"required_approvals": 2})
    found = _live_outcome()
    assert "rolled_back" not in found and "approval" in found["rollback_failed"]
    assert Releases().current() == second
    released.configure(live=rule)
    assert _live_outcome()["rolled_back"] == second
    assert Releases().current() == first


@pytest.mark.workflow
def test_a_kill_between_the_record_and_its_table_leaves_both_in_agreement_after_the_next_run(
    released, tmp_path, monkeypatch
):
    (tmp_path / "fault").mkdir()
    (tmp_path / "fault/sitecustomize.py").write_text(SABOTAGE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fault"))
    monkeypatch.chdir(released.folder)
    # The newest first, so that no row is left that the record would score as if it had been predicted.
    files, batch = [LIVE_RECORD, LIVE_RECORD.with_suffix(".csv")], rides(660).dropna()[::-1]
    batch["prediction"], batch["release"] = batch.pop("minutes") + 1, Releases().current()

    def rows() -> list[int]:
        """Return how many predictions of the current release each file has."""
        lines = [pd.DataFrame(released.json(str(files[0]))["weeks"]), pd.read_csv(files[1])]
        return [int(each.loc[each["release"] == Releases().current(), "rows"].sum()) for each in lines]

    def predict(part: pd.DataFrame, name: str) -> None:
        Path("predictions").mkdir(exist_ok=True)
        part.to_csv(f"predictions/{name}.csv", index=False)

    predict(batch[:100], "first")
    released.snakemake(str(files[0]))
    assert rows() == [100, 100]
    for n, (fault, left) in enumerate([("table", [100, 200]), ("record", [300, 200])], 2):
        predict(batch[100 * (n - 1) : 100 * n], f"batch{n}")
        # Without a Snakemake, which would put both files back: it was killed, too.
        monkeypatch.setenv("FAULT", fault)
        words = ["--raw=data/raw/raw_data.csv", "--cleaned=data/processed/cleaned_data.json", "--target=minutes"]
        killed = released.script("live_record", *words, f"--output={files[0]}", check=False)
        monkeypatch.delenv("FAULT")
        assert killed.returncode in (-9, 137), killed.stdout
        assert rows() == left
        released.snakemake(str(files[0]))
        assert rows() == [100 * n, 100 * n]
    assert not list(Path("reports").glob(".live*"))
