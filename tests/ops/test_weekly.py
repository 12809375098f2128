"""The unattended run: one at a time, whatever was killed before, and a status that tells the truth."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from conftest import ROOT, Project, program, rides, run, script
from schedule import _SCHEDULERS, schedule
from signoff.base.errors import TaskError
from signoff.base.files import time_of_files, write_json
from signoff.ops.runs import INGEST_RECORD
from signoff.ops.status import described_run
from signoff.rules.ending import Ending
from status import _lock_holder
from weekly import LIVE_RECORD, METRICS, _live_outcome, _only_one, _outcome


def runs(project: Project) -> list[dict]:
    return [json.loads(line) for line in (project.folder / "logs/runs.jsonl").read_text("utf-8").splitlines()]


def start(project: Project, python: str = sys.executable) -> subprocess.Popen:
    command = [python, str(project.workflow / "scripts/weekly.py"), "--cores", "2"]
    return subprocess.Popen(
        command, cwd=project.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def kill_all(process: subprocess.Popen, project: Project) -> None:
    """Kill a run and all that it has started, and wait until nothing of it is left."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)
    process.stdout.close()
    # What begins at once ends a moment after the program that it stands for.
    while any(each.info["cwd"] == str(project.folder) for each in psutil.process_iter(["cwd"])):
        time.sleep(0.05)


def wait_until_it_trains(project: Project) -> None:
    """Wait until the training has begun; it is made to last."""
    for _ in range(6000):
        log = project.folder / "logs/train_model.log"
        if log.is_file() and "estimator:" in log.read_text(encoding="utf-8"):
            return
        time.sleep(0.1)
    raise AssertionError("no training")


@pytest.fixture
def slow(finished) -> Project:
    """A project whose next training lasts until it is stopped."""
    finished.configure(model={"params": {"max_iter": 1_000_000}})
    (finished.folder / "logs/train_model.log").unlink()
    return finished


def test_new_data_are_run_and_the_status_says_what_waits(released):
    def following() -> str:
        return released.script("status").stdout.splitlines()[-1]

    assert following() == "Next        nothing: the last model is deployed"
    rides(720).to_csv(released.folder / "rides.csv", index=False)
    released.script("weekly")
    assert runs(released)[-1]["rows"] == 720
    assert following() == "Next        a model whose verdict is passed waits for review: make report"
    released.snakemake("reports/final_report.md")
    assert "then make sign-off" in following()
    released.sign_off()
    assert following() == "Next        make deploy (Ada: approve)"
    released.snakemake("deploy")
    assert "nothing" in following()
    assert "720 rows of rides.csv" in released.script("status").stdout
    released.script("rollback", "--reason", "x")
    assert "(rollback)" in released.script("status").stdout
    assert following() == "Next        nothing: the last model was deployed, and taken back"


def test_the_status_knows_a_rejected_model_and_a_broken_contract(finished):
    finished.script("sign_off", "--reviewer", "Ada", "--decision", "reject", "--comment", "too few rows")
    assert "Ada has rejected this model: too few rows" in finished.script("status").stdout.splitlines()[-1]
    (finished.folder / "reports/sign_off.json").unlink()
    contract = {"schema_type": "dataframe", "version": "0.35.0", "columns": {"km": {"checks": {"less_than": 3}}}}
    (finished.folder / "schema.yaml").write_text(json.dumps(contract), encoding="utf-8")
    finished.configure(validation={"schema": "schema.yaml"})
    assert finished.script("weekly", check=False).returncode == 1
    assert runs(finished)[-1]["verdict"] == "failed"
    assert "a model whose verdict is failed waits" in finished.script("status").stdout.splitlines()[-1]


def test_no_profile_of_the_user_hides_new_data_or_a_changed_threshold(finished, tmp_path, monkeypatch):
    # Each of these alone would hide them.
    hiding = {"rerun-triggers": ["mtime"], "touch": True, "until": ["ingest_data"]}
    for folder in (tmp_path / "mine", finished.folder / "profiles/default", finished.folder / "default"):
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump({"cores": 1, **hiding}), encoding="utf-8")
    monkeypatch.setenv("SNAKEMAKE_PROFILE", str(tmp_path / "mine"))
    rides(720).to_csv(finished.folder / "rides.csv", index=False)
    os.utime(finished.folder / "rides.csv", (1e9, 1e9))
    monkeypatch.setenv("SIGNOFF_NEXT", "make report DIR=rides")
    assert "Next        make report DIR=rides\n" in finished.script("weekly").stdout
    finished.configure(thresholds={"mae_max": 0.1})
    assert finished.script("weekly", check=False).returncode == 1
    first, second = runs(finished)
    assert (first["verdict"], first["rows"]) == ("passed", 720)
    assert (second["verdict"], second["thresholds"]) == ("failed", {"mae_max": 0.1})


def test_make_reads_no_profile_but_that_of_the_workflow(tmp_path, quick_make):
    (tmp_path / "config.yaml").write_text("rerun-triggers: [mtime]\ndry-run: true\n", encoding="utf-8")
    done = run(["make", "-n", "run", "report"], cwd=ROOT, env={**os.environ, "SNAKEMAKE_PROFILE": str(tmp_path)})
    commands = [line for line in done.stdout.splitlines() if "/run_snakemake.py " in line]
    assert len(commands) == 2
    assert all(" --profile none --workflow-profile profiles/default " in each for each in commands)
    # With make, what comes next is make, too.
    done = run(["make", "-n", "run", "weekly", "DIR=/a project"], cwd=ROOT)
    assert done.stdout.count('SIGNOFF_NEXT="make report DIR=${DIR@Q}"') == 2


@pytest.mark.parametrize(
    "damage",
    [b"\0" * 44, b"\xff\xfe{", b"[]", b'{"pid": 1, "since"', b'{"pid": 1, "since": null}', b"[" * 100_000],
    ids=lambda each: str(len(each)),
)
def test_a_lock_that_a_crash_has_damaged_stops_nothing(tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/weekly.lock").write_bytes(damage)
    assert _lock_holder() == (None, False)
    with _only_one("2026-01-05T03:00:00Z") as killed:
        assert killed is None
        assert _lock_holder() == ({"pid": os.getpid(), "since": "2026-01-05T03:00:00Z"}, True)
    assert (tmp_path / "logs/weekly.lock").read_bytes() == b""


def test_a_lock_that_is_a_link_changes_no_other_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("logs").mkdir()
    Path("precious").write_text("precious", encoding="utf-8")
    Path("logs/weekly.lock").symlink_to("../precious")
    with pytest.raises(TaskError, match="is a link, and must be a file"), _only_one("2026-01-05T03:00:00Z"):
        pass
    assert Path("precious").read_text(encoding="utf-8") == "precious"


def test_the_error_of_the_run_before_is_not_this_one_s_however_soon_it_follows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_log = Path("logs/clean_data.log").write_text
    Path("logs").mkdir()
    write_log("2026-01-05 03:00:00,000 - ERROR - [clean_data] no rows are left\n", encoding="utf-8")
    # More than the file system's clock may be behind.
    time.sleep(0.1)
    began = time_of_files(Path())
    assert "no rows are left" not in _outcome(began, 1)["cause"]
    ending = Ending(tmp_path, began, False, "make report")
    assert ending._of_this_run([Path("logs/clean_data.log")]) == []
    write_log("2026-01-05 03:00:01,000 - ERROR - [clean_data] no rows are left\n", encoding="utf-8")
    assert _outcome(began, 1)["cause"] == "[clean_data] no rows are left"
    assert ending._of_this_run([Path("logs/clean_data.log")]) == [Path("logs/clean_data.log")]


def test_a_run_has_its_line_whatever_state_the_files_are_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_json(Path(METRICS), {"model": []})
    write_json(INGEST_RECORD, {"source_version": "x", "records": 1})
    Path("config.yaml").write_text("target: [", encoding="utf-8")
    assert _outcome(0, 1)["cause"]
    Path("config.yaml").write_text("raw_data_source_url: a.csv\ntarget: y\n", encoding="utf-8")
    found = _outcome(0, 0)
    assert found["verdict"] == "error" and "unexpected failure (TypeError" in found["cause"]
    Path("deployed").mkdir()
    Path("deployed/current").symlink_to("releases/r")
    broken = {"name": "mae_max", "limit": 1, "value": 2.5, "week": "2026-01-05"}
    live = {"release": "r", "rows": 1, "answered": 1, "weeks": [], "alarms": [], "broken": [broken]}
    write_json(LIVE_RECORD, live)
    rule = "live: {mae_max: 1, on_failure: rollback}"
    Path("config.yaml").write_text(f"raw_data_source_url: a.csv\ntarget: y\n{rule}\n", encoding="utf-8")
    # As for the account of the schedule, if another one deploys.
    found = _live_outcome()
    assert found["live"] == ["live.mae_max"] and found["rollback_failed"]
    assert f": the rollback failed: {found['rollback_failed']}" in described_run({"verdict": "passed", **found})
    # A config that is wrong asks for no rollback.
    Path("config.yaml").write_text("target: [", encoding="utf-8")
    assert _live_outcome() == {"live": ["live.mae_max"]}


def test_a_second_run_says_who_runs_and_exits_75(slow):
    first = start(slow)
    try:
        wait_until_it_trains(slow)
        second = slow.script("weekly", check=False)
        assert second.returncode == 75
        assert re.search(rf"process {first.pid} runs since 20\S+Z in .*Try again later", second.stdout)
        assert f"process {first.pid}" in slow.script("status").stdout
    finally:
        # It alone, as by a person: what it has started ends with it.
        os.kill(first.pid, signal.SIGTERM)
        first.wait(60)
        first.stdout.close()
    (line,) = runs(slow)
    assert line["verdict"] == "error"
    assert line["exit_code"] not in (0, None)
    slow.configure()
    slow.script("weekly")
    # Stopped is not killed: it has said so itself.
    assert [each["verdict"] for each in runs(slow)] == ["error", "passed"]


def test_what_a_killed_run_has_left_is_cleared(slow):
    before = slow.contents()
    killed = start(slow, program("python"))
    wait_until_it_trains(slow)
    kill_all(killed, slow)
    assert list((slow.folder / ".snakemake/locks").glob("*"))
    assert slow.contents() == before
    assert "Killed      the run that began at" in slow.script("status").stdout
    slow.configure()
    done = slow.script("weekly")
    assert "clearing the lock that a killed Snakemake has left" in done.stdout
    assert [line["verdict"] for line in runs(slow)] == ["killed", "passed"]
    assert slow.contents() == before


def test_a_killed_run_whose_snakemake_goes_on_keeps_its_line_and_its_snakemake(slow):
    killed = start(slow)
    wait_until_it_trains(slow)
    children = psutil.Process(killed.pid).children(recursive=True)
    killed.kill()
    killed.wait(60)
    killed.stdout.close()
    try:
        done = slow.script("weekly", check=False)
        assert done.returncode == 75
        (number,) = re.findall(r"Snakemake \(process (\d+)\) runs since", done.stdout)
        assert int(number) in [each.pid for each in children]
        # Its lock is not cleared.
        assert list((slow.folder / ".snakemake/locks").glob("*"))
        assert "Killed" not in slow.script("status").stdout
        assert slow.script("weekly", check=False).returncode == 75
        (line,) = runs(slow)
        assert line["verdict"] == "killed"
    finally:
        for each in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def test_a_folder_without_a_config_is_one_error_line(tmp_path):
    done = script("weekly", cwd=tmp_path)
    assert done.returncode == 1
    assert "there is no config/config.yaml and no config.yaml here" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_folder_that_ends_in_a_backslash_keeps_its_line_of_the_unit():
    lines = schedule("systemd", Path("/data/rides\\")).splitlines()
    assert "WorkingDirectory=/data/rides\\/" in lines
    assert not [line for line in lines if line.endswith("\\")]


@pytest.mark.parametrize("kind", _SCHEDULERS)
def test_a_schedule_is_printed_for_this_folder(finished, kind):
    assert {*_SCHEDULERS} == {"cron", "systemd", "slurm", "github", "gitlab"}
    text = finished.script("schedule", "--kind", kind).stdout
    if kind in ("github", "gitlab"):
        assert text == (finished.workflow / "schedule" / kind).read_text("utf-8")
    else:
        assert "$" not in text
        assert str(finished.folder) in text
        assert f"{finished.workflow}/scripts/weekly.py" in text
    assert finished.script("schedule", "--kind", "at", check=False).returncode == 2
