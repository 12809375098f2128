"""Many models in one process: which share a job, what each task runs, and what a failure or a kill leaves."""

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.persistence import RECORD_FORMAT_VERSION
from snakemake.persistence.file import FilePersistence

from signoff.base.errors import TaskError
from signoff.ops.damaged import changed_files
from signoff.rules import one_process
from signoff.rules.chunks import Chunks, Group
from signoff.rules.flags import words
from signoff.rules.members import tasks_of
from signoff.rules.one_process import OneProcess
from signoff.rules.records import record
from signoff.rules.steps import CHAMPION, DIAGNOSED, LIVE, MODEL, PREDICTIONS, THREADS, Member, ModelTask, Steps
from signoff.rules.task_chunks import TaskChunks, chunked

# A task that copies its input; some models make it fail, or kill it.
TASK = """
import os, signal, sys, time
from pathlib import Path

def wait_for_another_one(log, name):
    for _ in range(1000):
        if len(list(Path("models").glob(name + "/logs/" + Path(log).name))) > (name == "*"):
            return
        time.sleep(0.01)
    sys.exit(1)

def main(arguments):
    given = dict(each[2:].split("=") for each in arguments)
    text = Path(given["input"]).read_text()
    Path(given["log"]).write_text("started")
    if "wait" in text:
        wait_for_another_one(given["log"], text.split()[2][0] if "wait for" in text else "*")
    if "fail" in text:
        sys.exit(1)
    if "kill" in text:
        os.kill(os.getpid(), signal.SIGKILL)
    Path(given["output"]).write_text(text + given["threads"])
"""


@pytest.mark.parametrize(
    ("rows", "per_job", "sizes"),
    [
        ([300] * 105, None, [50, 50, 5]),
        ([300] * 1000, None, [100] * 10),
        ([30] * 10_000, None, [200] * 50),
        ([150_000, 60_000, 300, 500_000, 300], None, [1, 2, 1, 1]),
        ([300] * 5, 2, [2, 2, 1]),
        ([500_000] * 3, 3, [3]),
        ([None] * 3, None, [1, 1, 1]),
    ],
)
def test_a_job_makes_as_many_models_as_their_rows_allow(rows, per_job, sizes):
    names = [f"m{number:04d}" for number in range(len(rows))]
    found = chunked(dict(zip(reversed(names), reversed(rows), strict=True)), per_job)
    assert [len(each) for each in found] == sizes
    assert [name for chunk in found for name in chunk] == names


def test_the_weeks_of_a_backtest_share_a_job_until_their_rows_are_worth_another_process():
    found = {}
    chunks = TaskChunks(
        SimpleNamespace(cores=2), None, "weeks", ("week",), "model", lambda: found, "{chunk}.json", 50_000
    )
    for rows, sizes in ((1000, [46]), (2000, [25, 21]), (20_000, [10] * 4 + [6]), (170_000, [1] * 46)):
        found.update({f"2024-W{week:02d}": rows for week in range(46)})
        assert [len(each) for each in chunks._chunks()] == sizes
    # A job for each core, and no third one for the rest.
    found.update({f"2024-W{week:02d}": 300 * (week + 8) for week in range(46)})
    assert [len(each) for each in chunks._chunks()] == [32, 14]


def test_a_step_of_a_model_has_the_words_and_the_params_that_its_rule_would_have():
    folder = f"models/{MODEL}"
    step = ModelTask(
        rule="each_evaluate_model",
        code="python {input.script:q}",
        params=sorted(map(repr, [CHAMPION, "--limit=1", words(source=f"data/source/{MODEL}", less="a < b")])),
        command=["/scripts/evaluate_model.py", f"--input={folder}/a b.csv", CHAMPION, f"--threads={THREADS}"],
        inputs=["/scripts/evaluate_model.py", f"{folder}/a b.csv"],
        outputs=[f"{folder}/metrics.json"],
    )
    found = step.of("New York", {CHAMPION: "--champion='1 2'"}, [])
    assert found.command == [
        "/scripts/evaluate_model.py",
        "--input=models/New York/a b.csv",
        "--champion=1 2",
        f"--threads={THREADS}",
    ]
    own = [words(source="data/source/New York", less="a < b"), "--champion='1 2'", "--limit=1"]
    assert sorted(found.params) == sorted(map(repr, own))
    assert (found.inputs[1], found.outputs) == ("models/New York/a b.csv", ["models/New York/metrics.json"])
    assert step.of("b", {CHAMPION: ""}, []).command == [
        "/scripts/evaluate_model.py",
        "--input=models/b/a b.csv",
        f"--threads={THREADS}",
    ]


def test_a_report_reads_the_live_record_once_there_is_a_release(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, log = f"models/{MODEL}", f"--log=models/{MODEL}/logs/x.log"
    live = ModelTask("live", "", [repr(PREDICTIONS)], ["live_record.py", log], [], [f"{folder}/reports/live.json"])
    report = ModelTask("report", "", [repr(LIVE)], ["generate_report.py", LIVE, DIAGNOSED, log], [], [])
    Steps([live, report], None, 1).write(Path("steps.json"))
    member = Member(steps="steps.json", pieces=[])
    assert [(each.task, each.inputs, each.params) for each in tasks_of("a b", member)] == [
        ("generate_report", [], ["''"])
    ]
    release = Path("models/a b/deployed/releases/20260101T000000Z-aaaaaaaaaaaa")
    release.mkdir(parents=True)
    (release / "diagnostics.json").touch()
    Path("models/a b/deployed/current").symlink_to(f"releases/{release.name}")
    first, second = tasks_of("a b", member)
    assert second.inputs == first.outputs == ["models/a b/reports/live.json"]
    assert second.command[1:3] == ["--live=models/a b/reports/live.json", f"--release={release}/diagnostics.json"]
    # The digest of the predictions is a param: new ones are compared, too.
    Path("models/a b/predictions").mkdir()
    Path("models/a b/predictions/week.csv").touch()
    assert tasks_of("a b", member)[0].params != first.params
    assert str(first.benchmark) == "models/a b/logs/benchmarks/x.tsv"


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """Return the steps of models: two tasks, of which each copies a file. The working folder is new."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.setattr(one_process, "_TASKS", {"chunk_first", "chunk_second"})
    folder, found = f"models/{MODEL}", []
    for name, source, target in (("chunk_first", "a", "b"), ("chunk_second", "b", "c")):
        script = tmp_path / f"code/{name}.py"
        script.write_text(TASK, encoding="utf-8")
        files = [f"--input={folder}/{source}", f"--output={folder}/{target}", f"--log={folder}/logs/{name}.log"]
        command = [str(script), *files, f"--threads={THREADS}"]
        found.append(
            ModelTask(f"each_{name}", "", [], command, [str(script), f"{folder}/{source}"], [f"{folder}/{target}"])
        )
    Steps(found, None, 1).write(Path("steps.json"))
    return Member(steps="steps.json", pieces=[])


def brought_up_to_date(models, member, threads=1, force=False):
    """Run the outdated tasks of models; return each model with what went wrong."""
    process = OneProcess(threads, force, Path("done"))
    return list(process.bring_up_to_date({model: tasks_of(model, member) for model in models}))


def test_a_model_that_fails_or_is_killed_leaves_the_others_alone(steps):
    for model, text in {"a": "good", "b": "kill", "c": "fail", "d": "good"}.items():
        Path("models", model).mkdir(parents=True)
        Path("models", model, "a").write_text(text, encoding="utf-8")
    said = brought_up_to_date("abcd", steps)
    assert said == [("a", None), ("b", "killed by SIGKILL"), ("c", "chunk_first"), ("d", None)]
    assert Path("models/a/c").read_text(encoding="utf-8") == Path("models/d/c").read_text(encoding="utf-8") == "good11"
    # What needs the failed task's output did not begin.
    assert not Path("models/c/logs/chunk_second.log").exists()


def test_models_run_side_by_side_on_several_cores_and_each_task_on_one(steps):
    for model in "abcdefg":
        Path("models", model).mkdir(parents=True)
        Path("models", model, "a").write_text("kill" if model == "c" else f"wait {model}", encoding="utf-8")
    said = dict(brought_up_to_date("abcdefg", steps, threads=3))
    assert said.pop("c") == "killed by SIGKILL" and set(said.values()) == {None} and len(said) == 6
    # Each of two waits until the other one has begun.
    assert all(Path("models", model, "c").read_text(encoding="utf-8") == f"wait {model}11" for model in said)
    # The only model has all cores.
    Path("models/a/a").write_text("good", encoding="utf-8")
    assert brought_up_to_date("a", steps, threads=3) == [("a", None)]
    assert Path("models/a/c").read_text(encoding="utf-8") == "good33"


def test_models_begin_while_others_are_looked_at_and_a_core_that_is_free_takes_the_next_one(steps, monkeypatch):
    for model in "abcd":
        Path("models", model).mkdir(parents=True)
        # The other core goes on with b, c and d meanwhile.
        Path("models", model, "a").write_text("wait for d" if model == "a" else "good", encoding="utf-8")
    begun = []

    def look(self, model, steps):
        for _ in range(1000 if model == "c" else 0):
            if Path("models/a/logs/chunk_first.log").exists():
                begun.append(model)
                break
            time.sleep(0.01)
        return False

    monkeypatch.setattr(OneProcess, "_is_up_to_date", look)
    said = brought_up_to_date("abcd", steps, threads=2)
    assert begun and [each for each, _ in said][:2] == ["b", "c"]
    assert dict(said) == dict.fromkeys("abcd")


def test_a_job_has_the_cores_that_jobs_with_new_rows_do_not_need(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pieces = {name: Path("data/source", name, "rows.csv") for name in "abcd"}
    for path in (*pieces.values(), Path("models/.chunks/0.json"), Path("models/.chunks/1.json")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, ns=(0, 10))

    def threads(chunk: int, per_job: int = 2) -> int:
        parts = {name: {"rows": 300, "pieces": ["rows.csv"]} for name in pieces}
        return Chunks(SimpleNamespace(cores=8), None, [], lambda: parts, per_job).threads(SimpleNamespace(chunk=chunk))

    os.utime(pieces["c"], ns=(0, 20))
    assert threads(1) == 8
    os.utime(pieces["a"], ns=(0, 20))
    assert threads(0) == threads(1) == 4
    os.utime(pieces["a"], ns=(0, 10))
    Path("models/.chunks/0.json").unlink()
    assert threads(1) == 4
    # The only model of a job has them all, one job after the other.
    assert threads(0, per_job=1) == 8


def test_the_jobs_of_thousands_of_models_ask_once_for_the_record_and_share_the_chunks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = {f"m{number:04d}": {"rows": 3, "pieces": ["rows.csv"]} for number in range(1000)}
    asked = []
    group = Group("each_", "m.*", {})
    chunks = Chunks(SimpleNamespace(cores=2), None, [group], lambda: asked.append(1) or parts, None)
    first = chunks.models(SimpleNamespace(chunk=0))
    assert chunks.models(SimpleNamespace(chunk=0)) is first and len(first) == 100
    asked.clear()
    chunks.plan(SimpleNamespace(chunk=3))
    # Once for the names and once for the pieces, not for each model.
    assert len(asked) == 2
    assert json.loads(Path(chunks.plan(SimpleNamespace(chunk=3))).read_text())["m0300"]["pieces"] == [
        "data/source/m0300/rows.csv"
    ]
    # Another record is another plan.
    parts = {"m0000": {"rows": 3, "pieces": []}}
    assert chunks.number() == 1 and chunks.models(SimpleNamespace(chunk=0)) == ["m0000"]


def test_no_other_code_runs_than_the_tasks_of_a_model(steps, monkeypatch):
    Path("models/a").mkdir(parents=True)
    monkeypatch.setattr(one_process, "_TASKS", {"chunk_first"})
    with pytest.raises(TaskError, match="chunk_second is not a task of a model"):
        brought_up_to_date("a", steps)


def test_a_task_runs_again_only_if_its_command_code_inputs_or_outputs_have_changed(steps, tmp_path, monkeypatch):
    Path("models/a/logs").mkdir(parents=True)
    Path("models/a/a").write_text("one", encoding="utf-8")
    logs = [Path("models/a/logs", f"chunk_{name}.log") for name in ("first", "second")]

    def run(force=False) -> list[bool]:
        """Return of which of the tasks the next run is."""
        for log in logs:
            log.unlink(missing_ok=True)
        ((_, why),) = brought_up_to_date("a", steps, force=force)
        assert why is None
        return [log.exists() for log in logs]

    assert run() == [True, True]
    assert run() == [False, False]
    os.utime("models/a/a")
    assert run() == [False, False]
    Path("models/a/c").write_text("edited", encoding="utf-8")
    assert run() == [False, True]
    Path("models/a/b").unlink()
    assert run() == [True, True]
    assert run(force=True) == [True, True]
    with open("code/chunk_second.py", "a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert run() == [False, True]
    content = json.loads(Path("steps.json").read_text(encoding="utf-8"))
    content["steps"][0]["params"] = ["'--new'"]
    Path("steps.json").write_text(json.dumps(content), encoding="utf-8")
    assert run() == [True, True]
    # Of a project that was moved, only the paths are others.
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    monkeypatch.chdir(moved)
    content = Path("steps.json").read_text(encoding="utf-8").replace(str(tmp_path), str(moved))
    Path("steps.json").write_text(content, encoding="utf-8")
    assert run() == [False, False]


def test_snakemake_reads_the_records_of_tasks_as_those_of_its_own_jobs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs = ["models/a/b.json", f"models/{'é' * 120}/b.json"]
    record(ModelTask("rule", "code", ["'--new'"], [], [], outputs))
    snakemake = FilePersistence(nolock=True, path=Path(".snakemake"))
    for path in outputs:
        found = snakemake._read_record(path)
        assert (found.rule, found.code, found.params) == ("rule", "code", ["'--new'"])
        assert found.record_format_version == RECORD_FORMAT_VERSION


def test_files_of_models_that_were_changed_or_deleted_and_models_that_failed_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        Path(name).write_text(name, encoding="utf-8")
    files = {name: [Path(name).stat().st_size, Path(name).stat().st_mtime_ns] for name in "abc"}
    Path("0.json").write_text(json.dumps({"failed": {"d": "train_model"}, "files": files}), encoding="utf-8")
    assert changed_files(Path("0.json")) == ["d"]
    Path("a").write_text("longer", encoding="utf-8")
    Path("b").unlink()
    assert changed_files(Path("0.json")) == ["d", "a", "b"]
    assert changed_files(Path("nowhere.json")) == []
