"""The workflow on a real Slurm: jobs with the CPUs, memory and time asked for, and what ends them early."""

import csv
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_object_store import SHARED, STORE, stored

from cluster import NoCluster, cluster
from conftest import Project, make_project, program, several_weeks

FIELDS = ["JobID", "Comment", "Partition", "Account", "AllocCPUS", "ReqMem", "Timelimit", "State", "WorkDir"]
EVERYTHING = ["all", "reports/final_report.md", "backtest"]
PLACE = ["--default-resources", "slurm_partition=weekly", "slurm_account=delays"]
# What a faulty ingest_data does first, by the name of its run.
FAULTS = {
    # Its first job is cancelled, and its second one runs out of time.
    "ended early": (
        "import time; n = len(list(Path().glob('tried*'))); n < 2 and (Path(f'tried{n}').touch(), time.sleep(600))"
    ),
    "too large": "import time; hog = bytearray(3 * 10**9); time.sleep(600)",
}


@dataclass
class Run:
    """A run in its own project that has been started; `done` gives what the command gave."""

    project: Project
    done: Future


@dataclass
class Slurm:
    """The cluster, in the environment that its commands need."""

    environment: dict[str, str]

    def command(self, *words: str) -> str:
        """Return what a command of Slurm prints."""
        return subprocess.run(words, env=self.environment, check=True, capture_output=True, text=True).stdout

    def jobs(self, project: Project) -> list[dict[str, str]]:
        """Return Slurm's own accounts of the jobs of a project, in the order of their submission."""
        text = self.command("sacct", "-X", "--parsable2", f"--format={','.join(FIELDS)}")
        rows = csv.DictReader(text.splitlines(), delimiter="|")
        return [row for row in rows if Path(row["WorkDir"]) == project.folder]

    def ended(self, project: Project) -> list[dict[str, str]]:
        """Return the same when all of them are told to have ended, which comes a little after Snakemake's end."""
        deadline = time.monotonic() + 60
        while {"PENDING", "RUNNING", "COMPLETING"} & {job["State"] for job in self.jobs(project)}:
            assert time.monotonic() < deadline, self.jobs(project)
            time.sleep(0.5)
        return self.jobs(project)

    def when_running(self, project: Project, number: int, act: Callable[[str], object]) -> None:
        """Wait until a project's job of that number, from 0, has begun its work, and call `act` with its JobID."""
        deadline = time.monotonic() + 600
        while not (project.folder / f"tried{number}").exists() or len(self.jobs(project)) <= number:
            assert time.monotonic() < deadline, self.jobs(project)
            time.sleep(0.2)
        act(self.jobs(project)[number]["JobID"])


def start(pool: ThreadPoolExecutor, environment: dict[str, str], project: Project, *arguments: str) -> Run:
    """Run the workflow with the profile for Slurm in the background; jobs are asked after more often than usual."""
    profile = ["--workflow-profile", str(project.workflow / "profiles/slurm")]
    often = ["--slurm-init-seconds-before-status-checks", "6", "--latency-wait", "10"]
    words = [*profile, *often, *PLACE, *arguments]
    return Run(project, pool.submit(project.snakemake, *words, check=False, **environment))


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A cluster of one node on this machine."""
    try:
        with cluster(tmp_path_factory.mktemp("slurm")) as environment:
            # Each of some hundred processes imports all that it needs, and would look for garbage among it.
            site = tmp_path_factory.mktemp("site")
            (site / "sitecustomize.py").write_text("import gc\n\ngc.set_threshold(100_000)\n", encoding="utf-8")
            yield Slurm(environment | {"PYTHONPATH": str(site)})
    except NoCluster as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def runs(slurm, s3_server, tmp_path_factory):
    """A whole run, a run through an object store, and one for each fault; all at once, since they mostly wait."""
    started = {}
    # What Slurm limits and kills are the jobs of the runs with a fault, whose processes are all its own.
    quick = {"SIGNOFF_QUICK_JOBS": "1"}
    with ThreadPoolExecutor() as pool:
        project = several_weeks(make_project(tmp_path_factory.mktemp("whole")))
        started["whole"] = start(pool, slurm.environment | quick, project, "--", *EVERYTHING)
        project = several_weeks(make_project(tmp_path_factory.mktemp("parts")))
        project.configure(time_column="started", data={"partition_by": "month"})
        words = ["--", "data/features/features.csv"]
        started["parts"] = start(pool, slurm.environment | quick, project, *words)
        project = make_project(tmp_path_factory.mktemp("store"))
        for name, value in {"ENDPOINT_URL": s3_server, "ACCESS_KEY": "signoff", "SECRET_KEY": "signoff"}.items():
            slurm.environment[f"SNAKEMAKE_STORAGE_S3_{name}"] = value
        words = [*STORE, "s3://rides/slurm", *SHARED, "--", "data/features/features.csv"]
        started["store"] = start(pool, slurm.environment | quick, project, *words)
        for name, fault in FAULTS.items():
            project = make_project(tmp_path_factory.mktemp("faulty"))
            begin = '    with command_line.logged("ingest_data", args, shown(args.input)):\n'
            project.rewrite("scripts/ingest_data.py", begin, f"{begin}        {fault}\n")
            # The profile tries three times: what never fits is given up a little sooner here.
            words = ["--retries", "1"] if name == "too large" else []
            started[name] = start(pool, slurm.environment, project, *words, "--", "data/raw/raw_data.csv")
        project = started["ended early"].project
        slurm.when_running(project, 0, lambda job: slurm.command("scancel", job))
        # As if its minutes were over: a limit of less than one minute cannot be asked for.
        over = lambda job: slurm.command("scontrol", "update", f"JobId={job}", "EndTime=now+1")  # noqa: E731
        slurm.when_running(project, 1, over)
        yield started


def test_the_whole_workflow_and_the_backtest_run_in_slurm_with_what_its_rules_ask_for(slurm, runs, replayed_run):
    project, done = runs["whole"].project, runs["whole"].done.result()
    assert done.returncode == 0, done.stdout
    jobs = {job["Comment"]: job for job in slurm.ended(project)}
    shapes = {name: (job["AllocCPUS"], job["ReqMem"], job["Timelimit"]) for name, job in jobs.items()}
    # The last of the group, train_model, has no room in the name that Snakemake gives it.
    model = ["compare_model", "diagnose", "evaluate_model", "explain_model", "generate_report", "..."]
    # Snakemake has two cores here; the verdict is a local rule, and small neighbours share one job.
    assert shapes == {
        "rule_ingest_data": ("1", "1000M", "01:00:00"),
        "rule_validate_data": ("1", "1000M", "01:00:00"),
        "rule_data_clean_data_feature_engineering": ("1", "1000M", "02:00:00"),
        f"rule_model_{'_'.join(model)}": ("2", "2000M", "05:00:00"),
        "rule_split_weeks": ("1", "1000M", "01:00:00"),
        "rule_backtest_weeks_wildcards_0": ("1", "1000M", "01:00:00"),
    }
    for job in jobs.values():
        assert (job["State"], job["Partition"], job["Account"]) == ("COMPLETED", "weekly", "delays")
    assert "localrule verdict:" in done.stdout
    assert "Verdict     passed" in done.stdout
    there, here = project.contents(), replayed_run.contents()
    # The path of the source and the file's own time.
    assert there.pop("data/raw/raw_data.json") != here.pop("data/raw/raw_data.json")
    assert there == here
    (report,) = (project.folder / "logs/slurm").glob("*.csv")
    used = list(csv.DictReader(report.open(encoding="utf-8")))
    assert {row["RuleName"] for row in used} == set(jobs)
    assert all(float(row["MaxRSS_MB"]) > 0 for row in used)
    logs = {path.stem: path.read_text("utf-8") for path in (project.folder / ".snakemake/slurm_logs").rglob("*.log")}
    assert set(logs) == {job["JobID"] for job in jobs.values()}
    # Jobs start Snakemake with scripts/run_snakemake.py, which gives it this name.
    assert all(f"Command: {program('snakemake')} " in each for each in logs.values())
    assert project.jobs(*EVERYTHING) == set()


def test_jobs_share_nothing_but_an_object_store(slurm, runs, s3_server, finished_run):
    project, done = runs["store"].project, runs["store"].done.result()
    assert done.returncode == 0, done.stdout
    jobs = {job["Comment"]: job["State"] for job in slurm.ended(project)}
    assert jobs == {"rule_ingest_data": "COMPLETED", "rule_data_clean_data_feature_engineering": "COMPLETED"}
    assert not project.contents()
    there, here = stored(s3_server, "slurm/"), finished_run.contents()
    there.pop("data/raw/raw_data.json")
    assert there.items() <= here.items()
    assert "data/features/features.csv" in there


def test_parts_share_jobs_and_give_the_bytes_of_one_table(slurm, runs, replayed_run):
    project, done = runs["parts"].project, runs["parts"].done.result()
    assert done.returncode == 0, done.stdout
    shapes = [(job["Comment"], job["State"], job["AllocCPUS"], job["Timelimit"]) for job in slurm.ended(project)]
    # Three months in one job.
    assert sorted(shapes) == [
        ("rule_choose_features", "COMPLETED", "1", "01:00:00"),
        ("rule_clean_first_rows", "COMPLETED", "1", "01:00:00"),
        ("rule_gather_features", "COMPLETED", "1", "01:00:00"),
        ("rule_parts_chunk_wildcards_0", "COMPLETED", "1", "01:00:00"),
        ("rule_split_source", "COMPLETED", "1", "01:00:00"),
    ]
    assert len(list((project.folder / "data/features/parts").glob("*.csv"))) == 3
    here = (replayed_run.folder / "data/features/features.csv").read_bytes()
    assert (project.folder / "data/features/features.csv").read_bytes() == here


def test_a_job_that_was_cancelled_or_ran_out_of_time_is_tried_again_with_more_time(slurm, runs):
    project, done = runs["ended early"].project, runs["ended early"].done.result()
    assert done.returncode == 0, done.stdout
    first, second, third = slurm.ended(project)
    assert first["State"].startswith("CANCELLED by ")
    assert (second["State"], third["State"]) == ("TIMEOUT", "COMPLETED")
    # Each rule asks for 60 minutes first; Slurm shortened what the second asked for.
    assert [first["Timelimit"], third["Timelimit"]] == ["01:00:00", "03:00:00"]
    for job, state in ((first, "CANCELLED"), (second, "TIMEOUT")):
        assert f"SLURM-job '{job['JobID']}' failed, SLURM status is: '{state}'" in done.stdout
    assert (project.folder / "data/raw/raw_data.csv").read_bytes() == (project.folder / "rides.csv").read_bytes()


def test_a_job_that_runs_out_of_memory_is_tried_again_with_more_and_then_says_so(slurm, runs):
    project, done = runs["too large"].project, runs["too large"].done.result()
    assert done.returncode == 1
    jobs = slurm.ended(project)
    assert [job["ReqMem"] for job in jobs] == ["1000M", "2000M"]
    assert not any(job["State"] == "COMPLETED" for job in jobs)
    cause, log = done.stdout.strip().splitlines()[-2:]
    assert cause.startswith("ingest_data failed: it stopped without a word; was it killed, or out of memory? Slurm: ")
    assert f"StepId={jobs[-1]['JobID']}.0 exceeded memory limit" in cause
    assert log == "Its log: logs/ingest_data.log"
    assert not (project.folder / "data").exists() or not list((project.folder / "data").rglob("*.csv"))
