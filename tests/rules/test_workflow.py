"""The whole workflow through the snakemake command: outputs, edges, what re-runs when, and how it ends."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from conftest import OUTPUTS, PARTS, ROOT, Project, make_project, program, rides, run

EDGES = {
    ("ingest_data", "validate_data"),
    ("ingest_data", "clean_data"),
    ("clean_data", "feature_engineering"),
    ("feature_engineering", "train_model"),
    ("feature_engineering", "evaluate_model"),
    ("train_model", "evaluate_model"),
    ("evaluate_model", "generate_report"),
}
# What the verdict waits for: it stands beside the seven tasks.
ALL_EDGES = EDGES | {("validate_data", "verdict"), ("evaluate_model", "verdict"), ("diagnose", "generate_report")}
# Only a person who reviews waits for these three.
ALL_EDGES |= {(task, "explain_model") for task in ("feature_engineering", "train_model")}
ALL_EDGES |= {
    (task, "compare_model") for task in ("ingest_data", "validate_data", "feature_engineering", "evaluate_model")
}
ALL_EDGES |= {(task, "diagnose") for task in ("evaluate_model", "explain_model", "compare_model")}
REVIEW = ["explain_model", "compare_model", "diagnose"]
EVERYTHING = ["all", "reports/final_report.md"]


def affected(*tasks: str) -> set[str]:
    """Return the tasks, and all that depend on them."""
    found = set(tasks)
    while more := {after for before, after in ALL_EDGES if before in found} - found:
        found |= more
    return found


def edges(project: Project) -> set[tuple[str, str]]:
    """Return the edges between the seven tasks as Snakemake itself draws them."""
    dot = project.snakemake(*EVERYTHING, "--forceall", "--rulegraph").stdout
    names = dict(re.findall(r'(\d+)\[label = "(\w+)', dot))
    found = {(names[a], names[b]) for a, b in re.findall(r"(\d+) -> (\d+)", dot)}
    return {edge for edge in found if set(edge) <= set(OUTPUTS)}


def test_only_a_task_that_holds_all_rows_asks_for_more_memory_with_them(finished):
    """Files of a gigabyte, mostly holes: a dry run looks at their size alone."""
    for path in ("data/raw/raw_data.csv", "data/processed/cleaned_data.csv", "data/features/features.csv"):
        os.truncate(finished.folder / path, 10**9)

    def memory() -> dict[str, int]:
        text = finished.snakemake("--dry-run", "--forceall", *EVERYTHING).stdout
        found = re.findall(r"^rule (\w+):\n(?:    .*\n)*?.* mem_mb=(\d+)", text, re.MULTILINE)
        return {name: int(asked) for name, asked in found}

    bounded = dict.fromkeys([*OUTPUTS, *REVIEW], 1000)
    # Twelve times as many MiB; the code of a task is an input too.
    much = pytest.approx(12e9 / 2**20, abs=10)
    assert memory() == bounded | {"train_model": much}
    contract = {"columns": {"minutes": {"dtype": "float64", "unique": True}}}
    (finished.folder / "contract.yaml").write_text(yaml.safe_dump(contract), encoding="utf-8")
    finished.configure(validation={"schema": "contract.yaml"})
    assert memory() == bounded | {"train_model": much, "validate_data": much}


def test_the_architecture_shows_the_graph_that_snakemake_draws(project):
    drawn = project.snakemake(*EVERYTHING, "--forceall", "--rulegraph", "mermaid-js").stdout.partition("flowchart")[2]
    shown = (ROOT / "ARCHITECTURE.md").read_text("utf-8").partition("flowchart")[2].partition("```")[0]

    def arrows(text: str) -> set[tuple[str, str]]:
        names = dict(re.findall(r"(id\d+)\[(\w+)\]", text))
        return {(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", text)}

    assert arrows(shown) == arrows(drawn) >= EDGES


def test_the_architecture_names_every_module_that_no_command_is():
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    modules = [path for path in (ROOT / "scripts/signoff").rglob("*.py") if path.name != "__init__.py"]
    assert [path.stem for path in modules if f"`{path.stem}`" not in text] == []


@pytest.mark.parametrize(
    ("on_failure", "extra"),
    [
        ("fail", set()),
        ("halt", {("validate_data", "train_model")}),
        ("warn", {("validate_data", "evaluate_model")}),
    ],
)
def test_edges_are_those_of_the_specification_and_only_an_option_of_the_user_adds_one(project, on_failure, extra):
    project.configure(validation={"on_failure": on_failure})
    assert edges(project) == EDGES | extra


def test_second_run_does_nothing(finished):
    before = finished.contents()
    assert "Nothing to be done" in finished.snakemake().stdout
    assert "Nothing to be done" in finished.snakemake("reports/final_report.md").stdout
    # As the summary says it: no number of cores.
    command = [program("snakemake"), "--snakefile", finished.workflow / "Snakefile"]
    command += ["reports/final_report.md", "--configfile", "config.yaml"]
    assert "Nothing to be done" in run(command, cwd=finished.folder).stdout
    assert finished.contents() == before


@pytest.mark.parametrize("task", ["ingest_data", "validate_data", "train_model"])
def test_a_deleted_output_is_made_again_with_what_depends_on_it(finished, task):
    (finished.folder / OUTPUTS[task]).unlink()
    assert finished.jobs(*EVERYTHING) == affected(task)


def test_deleted_outputs_are_rebuilt_to_the_same_bytes_the_report_by_the_last_line_of_the_summary(finished):
    before = finished.contents()
    for task in ("clean_data", "train_model", "generate_report"):
        (finished.folder / OUTPUTS[task]).unlink()
    summary = finished.snakemake().stdout.partition("\nRows  ")[2]
    assert not (finished.folder / OUTPUTS["generate_report"]).exists()
    next_command = summary.rstrip().splitlines()[-1].removeprefix("Next        ")
    elsewhere = finished.folder.parent
    run(["bash", "-c", f"PATH={Path(program('python')).parent}:$PATH; {next_command}"], cwd=elsewhere)
    assert finished.contents() == before


# Of each task, test_each_rule_declares_every_module_… says that its script and all that it imports are inputs.
@pytest.mark.parametrize("task", ["ingest_data", "compare_model"])
def test_a_changed_script_reruns_its_task_and_what_depends_on_it(finished, task):
    finished.rewrite(f"scripts/{task}.py", "", "# changed\n")
    assert finished.jobs(*EVERYTHING) == affected(task)


@pytest.mark.parametrize(
    ("helper", "tasks"),
    [
        ("base/command_line", [*OUTPUTS, "verdict"]),
        ("model/model_file", ["train_model", "evaluate_model"]),
        ("report/page.css", ["generate_report"]),
        ("report/page.html.jinja", ["generate_report"]),
    ],
)
def test_a_changed_helper_reruns_the_tasks_that_import_it(finished, helper, tasks):
    name = helper if "." in helper else f"{helper}.py"
    finished.rewrite(f"scripts/signoff/{name}", "", "# changed\n")
    assert finished.jobs(*EVERYTHING) == affected(*tasks)


def test_each_rule_declares_every_module_of_ours_that_its_script_imports(project, tmp_path):
    declared = project.inputs(*EVERYTHING)
    for task in [*OUTPUTS, "verdict", *REVIEW]:
        # Named after the task, so that it begins as a fork that has the task's libraries, and none of our modules.
        loading = tmp_path / f"{task}.py"
        loading.write_text(
            f"import sys; sys.path.insert(0, '.'); import {task}; "
            "print(*(getattr(each, '__file__', None) for each in sys.modules.values()), sep='\\n')"
        )
        loaded = run([program("python"), loading], cwd=ROOT / "scripts").stdout.splitlines()
        paths = [Path(path) for path in loaded if path.startswith(str(ROOT / "scripts"))]
        imported = {f"../signoff/{path.relative_to(ROOT)}" for path in paths}
        assert imported >= {f"../signoff/scripts/{each}.py" for each in (task, "signoff/base/command_line")}
        assert imported <= declared[task]


def test_a_column_is_known_either_before_the_target_or_after_it_and_is_one_of_the_table(finished):
    for features, words in (
        ({"not_before": ["km", "city"], "known_before": ["city"]}, "and features.known_before both name city. Remove"),
        ({"known_before": ["kms"]}, "features.known_before: no feature is made of 'kms': did you mean km"),
    ):
        finished.configure(features=features)
        done = finished.snakemake("reports/final_report.md", check=False)
        assert done.returncode == 1 and words in done.stdout
        assert "Traceback" not in done.stdout
    finished.configure(features={"known_before": ["km"]})
    finished.snakemake("reports/final_report.md")
    rests = finished.json("reports/diagnostics.json")["rests_on"]
    assert rests["features"] == ["km"] and rests["known_before"]


@pytest.mark.parametrize(
    ("change", "tasks"),
    [
        ({"raw_data_source_url": "./rides.csv"}, ["ingest_data"]),
        ({"target": "km", "evaluation": {}}, ["ingest_data"]),
        ({"time_column": "started"}, ["validate_data", "clean_data", "refit_model"]),
        ({"random_state": 7}, ["train_model"]),
        ({"reader": {"timeout_s": 5}}, ["ingest_data"]),
        ({"validation": {"schema": "schema.yaml"}}, ["validate_data", "clean_data"]),
        ({"cleaning": {"duplicates": "drop"}}, ["clean_data"]),
        ({"features": {"drop": ["riders"]}}, ["feature_engineering"]),
        ({"split": {"test_share": 0.3}}, ["feature_engineering"]),
        ({"model": {"params": {"max_iter": 21}}}, ["train_model"]),
        ({"evaluation": {}}, ["evaluate_model"]),
        ({"evaluation": {"baseline": "km", "interval_level": 0.8}}, ["train_model"]),
        ({"features": {"not_before": ["km"]}}, ["feature_engineering"]),
        ({"features": {"known_before": ["km"]}}, ["explain_model"]),
        ({"thresholds": {"mae_max": 11}}, ["evaluate_model"]),
        ({"thresholds": {"mae_max": 10, "r2_min": 0.5, "max_regression": 1}}, ["evaluate_model"]),
        ({"model": {"params": {"max_iter": 20}, "format": "skops"}}, ["train_model"]),
        ({"release": {"keep": 3}}, []),
        ({"scoring": {"columns": ["ride"]}}, []),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else None,
)
def test_a_changed_config_key_reruns_what_it_concerns(finished, change, tasks):
    (finished.folder / "schema.yaml").write_text("columns: {km: {dtype: float64, nullable: true}}", encoding="utf-8")
    finished.configure(**change)
    assert finished.jobs(*EVERYTHING) == affected(*tasks)


def test_a_touched_source_reruns_nothing_and_a_changed_one_everything(finished):
    source = finished.folder / "rides.csv"
    os.utime(source, (time.time() + 60, time.time() + 60))
    assert finished.jobs(*EVERYTHING) == set()
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("Bonn", "Mainz"), encoding="utf-8")
    assert finished.jobs(*EVERYTHING) == affected("ingest_data")
    finished.snakemake()
    assert "Mainz" in (finished.folder / OUTPUTS["ingest_data"]).read_text(encoding="utf-8")
    assert finished.jobs() == set()


def test_a_folder_with_spaces_and_quotes_and_any_number_of_cores_give_the_same_bytes(finished_run, tmp_path):
    project = make_project(tmp_path / 'it\'s a "folder"')
    project.snakemake("--cores", "1", *EVERYTHING)
    ours, theirs = project.contents(), finished_run.contents()
    # The record of the source holds when it was read, and the file's own time.
    for contents in (ours, theirs):
        contents.pop("data/raw/raw_data.json")
    assert ours == theirs


def test_each_task_logs_start_and_end_and_what_the_specification_asks(finished_run):
    expected = {
        "ingest_data": ["rides.csv", "Records ingested: 600"],
        "validate_data": ["Status: pass", "violations: 0"],
        "clean_data": ["Rows before: 600, rows after: 570.", "nulls handled: km 30 dropped"],
        "feature_engineering": ["features created: started_year", "Output shape: 570 rows × 10 columns"],
        "train_model": ["parameters: {'max_iter': 20}", "Training duration:", "final training score: R2"],
        "evaluate_model": ["MAE:", "R2:", "threshold mae_max: passed", "threshold r2_min: passed"],
        "generate_report": ["Report: reports/final_report.md"],
    }
    for task, parts in expected.items():
        log = (finished_run.folder / f"logs/{task}.log").read_text(encoding="utf-8")
        for line in log.splitlines():
            assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - (INFO|WARNING) - ", line)
        for part in [f"[{task}] start: ", f"[{task}] end after ", *parts]:
            assert part in log
        assert (finished_run.folder / f"logs/benchmarks/{task}.tsv").is_file()


@pytest.mark.one_figure
def test_a_failed_threshold_is_a_verdict_and_the_run_exits_1(finished):
    project = finished
    project.configure(thresholds={"mae_max": 0.01, "r2_min": 0.5})
    done = project.snakemake(check=False)
    assert done.returncode == 1
    metrics = json.loads((project.folder / "reports/evaluation_metrics.json").read_text(encoding="utf-8"))
    assert [each["passed"] for each in metrics["thresholds"]] == [False, True]
    assert metrics["verdict"] == "failed"
    last = done.stdout.strip().splitlines()[-3:]
    assert last[1].startswith("verdict failed: ")
    assert "mae_max 0.01: MAE is" in last[1]
    assert last[2] == "Its log: logs/verdict.log"
    assert "Traceback" not in done.stdout
    # Again, and again 1: a scheduler must notice that the verdict still stands.
    assert project.snakemake(check=False).returncode == 1
    # The person who reviews gets the report of a failed model too.
    project.snakemake("reports/final_report.md")
    assert "FAILED" in (project.folder / "reports/final_report.md").read_text(encoding="utf-8")


CONTRACT = {"columns": {"km": {"dtype": "float64", "nullable": True, "checks": {"less_than": 10}}}}


def test_a_violated_contract_halts_or_fails_at_the_end_or_warns(project):
    (project.folder / "schema.yaml").write_text(yaml.safe_dump(CONTRACT), encoding="utf-8")
    # Each goes on where the one before has stopped.
    for on_failure in ("halt", "fail", "warn"):
        project.configure(validation={"schema": "schema.yaml", "on_failure": on_failure})
        done = project.snakemake(check=False)
        assert done.returncode == (0 if on_failure == "warn" else 1)
        assert project.json("reports/validation_report.json")["status"] == "fail"
        assert "column km: violates 'less_than(10)'" in done.stdout
        assert (project.folder / "model/model.pkl").exists() == (on_failure != "halt")
        if on_failure == "warn":
            assert project.json("reports/evaluation_metrics.json")["validation"]["status"] == "fail"
            assert "Warning     the data contract is violated 1 time (" in done.stdout
        else:
            failing = {"fail": "verdict", "halt": "train_model"}[on_failure]
            assert done.stdout.strip().splitlines()[-1] == f"Its log: logs/{failing}.log"


def test_a_failure_names_task_cause_and_log_last_and_verbose_shows_the_traceback(finished):
    project = finished
    project.configure(model={"estimator": "sklearn.linear_model.Rigde"})
    done = project.snakemake(check=False)
    assert done.returncode == 1
    cause, log = done.stdout.strip().splitlines()[-2:]
    assert cause.startswith("train_model failed: model.estimator: sklearn.linear_model has no 'Rigde'")
    assert "did you mean Ridge" in cause
    assert log == "Its log: logs/train_model.log"
    assert "Traceback" not in done.stdout
    assert "modules and captions of the workflow" in done.stdout[done.stdout.index("Error in rule train_model") :]
    assert "Traceback" in project.snakemake(check=False, SIGNOFF_VERBOSE="1").stdout
    assert "in make_regressor" in project.snakemake("--verbose", check=False).stdout


def test_a_killed_task_is_named(finished):
    project = finished
    project.rewrite(
        "scripts/train_model.py", "    started = time.monotonic()\n", "    import os; os.kill(os.getpid(), 9)\n"
    )
    done = project.snakemake(check=False)
    assert done.returncode == 1
    assert "train_model failed: it stopped without a word; was it killed, or out of memory?" in done.stdout


def test_a_wrong_config_stops_before_any_job_with_one_line(finished):
    before = finished.contents()
    finished.configure(treshholds={})
    done = finished.snakemake(check=False)
    assert done.returncode == 1
    assert "the key treshholds is unknown: did you mean thresholds?" in done.stdout.strip().splitlines()[-1]
    assert "rule " not in done.stdout
    assert finished.contents() == before


def diabetes(folder):
    from sklearn.datasets import load_diabetes

    frame = load_diabetes(as_frame=True, scaled=False).frame
    frame.to_parquet(folder / "diabetes.parquet")
    return {
        "raw_data_source_url": "diabetes.parquet",
        "target": "target",
        "evaluation": None,
        "thresholds": {"r2_min": 0.2},
    }


def energy(folder):
    """Names with spaces, braces and umlauts, those that the workflow itself uses among them."""
    names = {"started": "date of use", "city": "model", "minutes": "Verbrauch {kWh}"}
    frame = rides(400).rename(columns=names | {"km": "mean", "riders": "predicted"})
    frame["actual"], frame["Straße"] = frame["date of use"], frame["model"]
    frame["urgent"] = frame["predicted"] > 2
    frame["nothing"] = None
    frame.to_csv(folder / "energy use.csv", index=False, sep=";", encoding="cp1252")
    return {
        "raw_data_source_url": (folder / "energy use.csv").as_uri(),
        "target": "Verbrauch {kWh}",
        "reader": {"delimiter": ";", "encoding": "cp1252"},
        "evaluation": {"baseline": "mean"},
        "cleaning": {"default": "leave", "columns": {"mean": {"fill": 7.5}}},
        "features": {"derived": {"km per rider": "mean / predicted"}, "date_parts": ["month", "hour_cyclical"]},
        "model": {"estimator": "sklearn.ensemble.RandomForestRegressor", "params": {"n_estimators": 20}},
    }


@pytest.mark.one_figure
@pytest.mark.parametrize("data_set", [diabetes, energy])
def test_other_tables_run_from_a_config_alone(project, data_set):
    project.configure(**data_set(project.folder))
    project.snakemake(*EVERYTHING)
    assert all((project.folder / path).is_file() for path in OUTPUTS.values())
    metrics = json.loads((project.folder / "reports/evaluation_metrics.json").read_text(encoding="utf-8"))
    assert metrics["model"]["test"]["MAE"] < metrics["baselines"]["mean"]["test"]["MAE"]
    assert metrics["verdict"] == "passed"
    assert project.jobs(*EVERYTHING) == set()


def test_two_keys_are_a_config(project):
    (project.folder / "config.yaml").write_text("raw_data_source_url: rides.csv\ntarget: minutes\n", encoding="utf-8")
    project.snakemake()
    assert pd.read_csv(project.folder / OUTPUTS["feature_engineering"])["split"].value_counts()["test"] == 114


def test_every_output_lies_in_the_project_and_the_workflow_stays_untouched(finished_run):
    names = {path.name for path in finished_run.workflow.iterdir()}
    assert names - {"scripts"} == set(PARTS) - {"scripts"}
    assert {"data", "model", "reports", "logs"} <= {path.name for path in finished_run.folder.iterdir()}


def test_list_describes_every_rule(project):
    lines = project.snakemake("--list").stdout.splitlines()
    described = {line.partition(" (")[0] for line in lines if line.endswith(")")}
    assert {*OUTPUTS, "verdict", "deploy", "predict", "all"} <= described


def test_make_help_names_every_target():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    # These tests themselves may have been started by make.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    helped = {line.split()[0] for line in run(["make", "help"], cwd=ROOT, env=environment).stdout.splitlines()}
    assert helped == targets


def test_a_bad_source_stops_with_one_line_and_the_next_good_run_needs_no_cleaning_up(finished, server):
    before = finished.contents()
    good = (finished.folder / "rides.csv").read_bytes()
    url = f"{server.url}/rides.csv"
    bad = [
        ("nowhere.csv", [], "does not exist"),
        (url, [(404, {}, b"")], "answered 404"),
        (url, [(200, {"ETag": '"0"'}, b"")], "is empty"),
        (url, [(200, {"ETag": '"1"', "Content-Length": str(len(good))}, good[:-9])], "was cut"),
    ]
    for source, server.answers, message in bad:
        finished.configure(raw_data_source_url=source)
        done = finished.snakemake(check=False)
        assert done.returncode == 1
        cause, log = done.stdout.strip().splitlines()[-2:]
        assert cause.startswith("ingest_data failed: ")
        assert message in cause
        assert log == "Its log: logs/ingest_data.log"
        assert "Traceback" not in done.stdout
        assert finished.contents() == before
    server.answers = [(200, {"ETag": '"2"'}, good)]
    finished.configure(raw_data_source_url=url)
    finished.snakemake("model/model.pkl")
    assert finished.contents()["model/model.pkl"] == before["model/model.pkl"]


def test_a_server_runs_new_data_and_only_new_data_and_may_be_away(project, server):
    first, second = rides(600, seed=1).to_csv(index=False).encode(), rides(660, seed=2).to_csv(index=False).encode()
    project.configure(raw_data_source_url=f"{server.url}/rides.csv")
    raw = OUTPUTS["ingest_data"]
    # Twice it fails, then it works.
    server.answers = [(503, {}, b""), (503, {}, b""), (200, {"ETag": '"1"'}, first)]
    project.snakemake(raw)
    assert (project.folder / raw).read_bytes() == first
    assert "Nothing to be done" in project.snakemake(raw).stdout
    server.answers = [(200, {"ETag": '"2"'}, second)]
    project.snakemake(raw)
    assert (project.folder / raw).read_bytes() == second
    before = project.contents()
    server.stop()
    away = project.snakemake().stdout
    said = [
        line
        for line in away.splitlines()
        if re.search("going on with data/raw/raw_data.csv, ingested [0-5] minutes? ago", line)
    ]
    assert len(said) == 1
    after = project.contents()
    assert before.items() <= after.items() and "reports/verdict.json" in after
    project.configure(raw_data_source_url=f"{server.url}/rides.csv", reader={"on_unreachable": "stop"})
    stopped = project.snakemake(check=False)
    assert stopped.returncode == 1
    assert "ingest_data failed: " in stopped.stdout.strip().splitlines()[-2]
    assert project.contents() == after


def test_a_terminal_shows_progress_and_colours_and_a_pipe_plain_lines(finished):
    project = finished
    (project.folder / OUTPUTS["clean_data"]).unlink()
    words = [program("snakemake"), "--snakefile", project.workflow / "Snakefile", "--directory", project.folder]
    words += ["--configfile", project.folder / "config.yaml", "--cores", "2"]
    code = "import pty, sys, os; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    shown = run([sys.executable, "-c", code, *map(str, words)], env=environment, stdin=subprocess.DEVNULL)
    assert shown.returncode == 0
    assert "Workflow Progress" in shown.stdout
    assert "\033[32mVerdict     passed" in shown.stdout
    # A long line is wrapped where the terminal ends.
    assert "[clean_data] completed. Rows before: 600, rows after: 570." in " ".join(shown.stdout.split())
    (project.folder / OUTPUTS["clean_data"]).unlink()
    piped = project.snakemake().stdout
    assert "\033" not in piped
    assert "Workflow Progress" not in piped
    assert "[clean_data] completed. Rows before: 600, rows after: 570." in piped
    # A line of inputs shows the data, not the many modules of each task.
    assert re.search(r"input: \S*clean_data.py, data/raw/raw_data.csv, \d+ modules and captions of the workflow", piped)
    assert "signoff/base" not in piped


OTHER = """
module signoff:
    snakefile: {snakefile!r}
    config: config

use rule * from signoff as signoff_*

rule mine:
    input: "reports/verdict.json"
    output: "mine.json"
    shell: "cp {{input}} {{output}}"
"""


@pytest.mark.parametrize("changes", [{}, {"models": {"by": "city"}}])
def test_another_workflow_uses_this_one_as_a_module(project, tmp_path, changes):
    other = tmp_path / "other/Snakefile"
    other.parent.mkdir()
    other.write_text(OTHER.format(snakefile=str(project.workflow / "Snakefile")), encoding="utf-8")
    project.configure(**changes)
    words = [program("snakemake"), "mine.json", "--snakefile", other, "--directory", project.folder, "--cores", "2"]
    words += ["--configfile", project.folder / "config.yaml"]
    done = run(words)
    assert done.returncode == 0, done.stdout
    assert project.json("mine.json")["verdict"] == "passed"
    assert "Nothing to be done" in run(words).stdout
