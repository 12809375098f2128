"""Many models in one run: each in a folder that is a project of its own, and a table of all."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from test_decision import CODE, CONFIG, train, write

import deploy
import sign_off
import sign_off_models
from conftest import ROOT, in_process, make_project, rides
from predict_models import _with_pool
from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError
from signoff.config.settings import check_config, read_config
from signoff.release import approval
from signoff.release import subject as reviewing
from signoff.release.approval import check_policy_owner
from signoff.rules import model_folder
from signoff.rules.model_folder import _Project, write_projects
from signoff.rules.models import config_of, groups
from signoff.rules.settings import checked
from signoff.source.pieces import pooled_names

SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
MODEL = {"params": {"max_iter": 10}}


def config(**changes) -> dict:
    """Return a checked config, with `changes`."""
    found = {"raw_data_source_url": "rides.csv", "target": "minutes", **changes}
    check_config(found, SCHEMA)
    return found


def test_each_value_gets_a_model_whose_folder_is_a_project_that_is_reviewed_and_released(project, tmp_path):
    ulm = rides(700, seed=3).iloc[600:612].assign(city="Ulm")
    table = pd.concat([rides(600), ulm])
    table.to_csv(project.folder / "rides.csv", index=False)
    own = {"Bonn": {"thresholds": {"mae_max": 0.001}}}
    pool = {"by": "city", "pool": True, "min_rows": 50}
    project.configure(model=MODEL, models={**pool, "each": own}, time_column="started")
    done = project.snakemake(check=False)
    assert done.returncode == 1
    assert "models_verdict failed: 1 of 4 models failed, such as Bonn: threshold mae_max 0.001" in done.stdout
    found = pd.read_csv(project.folder / "reports/models.csv").set_index("model")
    cities = ["Bonn", "K%C3%B6ln", "Trier%2C West"]
    # Ulm has too few rows: the pooled model learns from them, too.
    assert found.index.tolist() == ["@all", *cities]
    assert found["verdict"].tolist() == ["passed", "failed", "passed", "passed"]
    assert found["rows"].tolist() == [len(table), *table["city"].value_counts().sort_index()[:3]]

    # One process made them all, and recorded it as single jobs do: whoever asks for one finds it up to date.
    assert done.stdout.count("rule models_chunk:") == 1
    metrics = [f"models/{name}/reports/evaluation_metrics.json" for name in found.index]
    assert "Nothing to be done" in project.snakemake(*metrics).stdout

    # The model of a city is that of a project with its rows alone.
    alone = make_project(tmp_path / "alone")
    table[table["city"] == "Köln"].to_csv(alone.folder / "rides.csv", index=False)
    alone.configure(model=MODEL, features={"drop": ["city"]}, time_column="started")
    alone.snakemake("model/model.pkl", "reports/evaluation_metrics.json")
    koeln = project.folder / "models" / cities[1]
    for path in ("model/model.pkl", "reports/evaluation_metrics.json"):
        assert (koeln / path).read_bytes() == (alone.folder / path).read_bytes(), path

    # In its folder a person decides as in any project, and on all others that fit a rule at once.
    said = project.snakemake("reports/final_report.md").stdout
    assert said.count("rule models_reports_chunk:") == 1 and "rule each_" not in said
    assert "Nothing to be done" in project.snakemake(f"models/{cities[1]}/reports/final_report.md").stdout
    page = (project.folder / "reports/final_report.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[(.+?)\]", page, flags=re.M)[0] == "Bonn" and "4 models of 4 wait for a person." in page
    assert "1 value has too few rows for a model: a pooled model (@…) scores the rows. Ulm." in page
    here = type(project)(koeln, project.workflow)
    here.sign_off()
    by_rule = ["--rule=Verdict passed, no  alarm", "--reviewer=Eve", "--decision=approve", "--comment=read the page"]
    said = project.script("sign_off_models", *by_rule).stdout
    assert "Fit         2 models\n            @all, Trier%2C West\nWait        Bonn: threshold mae_max" in said
    (path,) = (project.folder / "reports/signed").iterdir()
    listed = json.loads(path.read_bytes())
    assert (listed["rule"], [*listed["models"]]) == (["verdict passed", "no alarm"], ["@all", cities[2]])
    signed = project.json(f"models/{cities[2]}/reports/sign_off.json")
    assert signed["decisions"][0]["comment"] == (
        f"read the page (one of 2 models by the rule: verdict passed, no alarm; list sha256:{path.stem})"
    )
    # The sign-off of one model releases no other one.
    bonn = project.folder / "models/Bonn"
    shutil.copy(project.folder / "models" / cities[2] / "reports/sign_off.json", bonn / "reports")
    refused = type(project)(bonn, project.workflow).script("deploy", check=False)
    assert refused.returncode == 1 and "has changed since it was signed" in refused.stdout
    assert "Models: 4, deployed: 3, not signed: 1" in project.script("deploy").stdout
    assert project.script("verify").stdout.count("every file as approved by") == 3

    # One batch is scored with the release of each row's model, as if it was given to each model by itself.
    later = rides(700, seed=2).iloc[600:]
    batch = pd.concat([table[:30], later[later["city"] == "Köln"][:8], ulm[:2], ulm[:1].assign(city="new")])
    batch.to_csv(project.folder / "batch.csv", index=False)
    stale = bonn / "predictions/shared/week.csv"
    stale.parent.mkdir(parents=True)
    stale.touch()
    options = ["--input=batch.csv", "--output=predictions/week.csv"]
    project.script("predict_models", "--by=city", *options)
    scored = pd.read_csv(project.folder / "predictions/week.csv")
    assert scored["row_number"].is_monotonic_increasing and set(scored["scored_by"]) == set(cities[1:])
    batch[batch["city"] == "Köln"].to_csv(koeln / "batch.csv", index=False)
    here.script("predict", "--input=batch.csv", "--output=scored/week.csv")
    own = pd.read_csv(koeln / "scored/week.csv").drop(columns="row_number")
    there = scored[scored["scored_by"] == cities[1]].drop(columns=["row_number", "scored_by"])
    pd.testing.assert_frame_equal(there.reset_index(drop=True), own)
    rejected = pd.read_csv(project.folder / "predictions/week.rejected.csv").set_index("row_number")
    assert set(rejected["reason"][rejected["city"] == "Bonn"]) == {"the model Bonn has no release"}
    assert "the model Ulm does not exist" in set(rejected["reason"])
    assert len(scored) + len(rejected) == len(batch)
    # With a pool, its model scores what no other one does, and nothing else.
    said = project.script("predict_models", "--by=city", "--pool=", *options).stdout
    assert re.search(r"a pooled model scores \d+ rows of 3 values without a release, such as Bonn, Ulm, new", said)
    both = pd.read_csv(project.folder / "predictions/week.csv").set_index("row_number")
    before = scored.set_index("row_number")
    assert both.loc[before.index].equals(before)
    assert set(both["scored_by"].drop(before.index)) == {"@all"} and both.index.max() == len(batch)
    assert set(pd.read_csv(project.folder / "predictions/week.rejected.csv")["city"]) <= set(table["city"][:30])
    # A model's own are in its folder, too, and none that an earlier run of the batch has left.
    shared = pd.read_csv(koeln / "predictions/shared/week.csv")
    assert shared.drop(columns=["row_number", "scored_by"]).equals(own) and not stale.exists()

    # The next run has the releases judged beside the new models, and says how right they were about the new rows.
    more = pd.concat([table, later[later["city"] == "Köln"]])
    more.to_csv(project.folder / "rides.csv", index=False)
    project.configure(model=MODEL, models=pool, time_column="started")
    done = project.snakemake("all", "reports/final_report.md")
    found = pd.read_csv(project.folder / "reports/models.csv").set_index("model")
    assert found["champion_MAE"].notna().tolist() == [True, False, True, True]
    assert found.loc[cities[1], "rows"] == (more["city"] == "Köln").sum()
    # Of the others, Bonn has another config, Trier a release, and neither has other rows.
    tasks = ("clean_data", "evaluate_model", "live_record")
    started = [sorted(re.findall(rf"\[{task}\] start: (?:models/)?([^/\n]+)/", done.stdout)) for task in tasks]
    assert started == [["@all", cities[1]], ["@all", *cities], ["@all", *cities[1:]]], done.stdout
    assert "rule each_" not in done.stdout
    assert not (bonn / "reports/live.json").exists()
    live = here.json("reports/live.json")
    assert live["release"] == Path(os.readlink(koeln / "deployed/current")).name
    new = later[(later["city"] == "Köln") & later["km"].notna()]
    answered = [sum(line["answered"] for line in live["weeks"] if line["as_if"] == as_if) for as_if in (False, True)]
    assert answered == [len(own), (~new.index.isin(batch.index)).sum()]

    # A model that cannot be trained stops no other one, whatever a profile says.
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile/config.yaml").write_text("keep-going: false\n", encoding="utf-8")
    own = {"Bonn": {"model": {"params": {"max_iter": -1}}}}
    project.configure(model=MODEL, models={**pool, "each": own}, time_column="started", random_state=7)
    before = [(project.folder / "models" / city / "reports/evaluation_metrics.json").stat() for city in cities]
    done = project.snakemake(check=False, SNAKEMAKE_PROFILE=str(tmp_path / "profile"))
    assert done.returncode == 1
    after = [(project.folder / "models" / city / "reports/evaluation_metrics.json").stat() for city in cities]
    changed = [old.st_mtime_ns != new.st_mtime_ns for old, new in zip(before, after, strict=True)]
    assert changed == [False, True, True], done.stdout
    found = pd.read_csv(project.folder / "reports/models.csv").set_index("model")
    assert found["verdict"].tolist() == ["passed", "failed", "passed", "passed"]
    assert found.loc["Bonn", "why"] == "train_model failed (models/Bonn/logs)"
    # The next run tries it again.
    said = project.snakemake(check=False).stdout
    assert said.count("[train_model] start:") == said.count("[models_chunk] Bonn failed: train_model") == 1, said


def test_each_model_has_the_rules_of_a_project_but_those_after_a_decision(project):
    project.configure(models={"by": "city", "each": {"Bonn": {"thresholds": {"mae_max": 3}}}})
    names = re.findall(r"^each\d*_(\w+)", project.snakemake("--list").stdout, flags=re.M)
    assert {"ingest_data", "train_model", "generate_report", "live_record", "verdict"} <= set(names)
    assert set(names) & {"all", "track", "deploy", "predict", "split_weeks", "backtest"} == set()
    # Before the run: what would be written twice, or is of one model.
    for target, message in {
        "backtest": "a backtest replays one model. Make that of one of them: make backtest DIR=models/NAME.",
        "./models/Bonn/reports/final_report.md": "models/Bonn/reports/final_report.md is of one model, and two jobs",
    }.items():
        done = project.snakemake("all", target, check=False)
        assert done.returncode == 1 and f"ERROR - {message}" in done.stdout, done.stdout
        assert not (project.folder / "data").exists() and "Traceback" not in done.stdout


def test_models_of_one_config_share_their_rules_and_what_is_their_own_goes_over_it():
    each = {"a b": {"thresholds": {"mae_max": 1}}, "c": {"thresholds": {"mae_max": 1}}, "d": {"model": {"max_rows": 9}}}
    found = groups(
        config(
            models={"by": "city", "each": each},
            thresholds={"r2_min": 0.5},
            model={"weight": "km"},
            scoring={"reasons": 3},
        )
    )
    assert [pattern for pattern, _ in found] == [r"a\ b|c", "d", r"(?!a\ b/)(?!c/)(?!d/)[^/]+"]
    assert [settings["thresholds"]["mae_max"] for _, settings in found] == [1, None, None]
    assert {settings["thresholds"]["r2_min"] for _, settings in found} == {0.5}
    assert [settings["model"]["max_rows"] for _, settings in found] == [None, 9, None]
    assert all(settings["features"]["drop"] == ["city"] and not settings["models"]["by"] for _, settings in found)
    assert {settings["scoring"]["reasons"] for _, settings in found} == {3}
    assert {settings["model"]["weight"] for _, settings in found} == {"km"}


def test_a_models_folder_refers_to_the_one_file_of_those_who_may_sign(tmp_path, monkeypatch):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/schema.yaml").write_text("columns: {}\n", encoding="utf-8")
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.chdir(root)
    signers = root / "signers"
    signers.write_text("ada ssh-ed25519 AAAA\n", encoding="utf-8")
    outside = {"allow_outside": ["../shared"], "validation": {"schema": "../shared/schema.yaml"}}
    for named in ("signers", str(signers)):
        _Project.of(config(release={"allowed_signers": named}, **outside)).write(Path("models/north"))
        monkeypatch.chdir(root / "models/north")
        found, _ = read_config()
        # It is the original: whoever is taken out of it is taken out everywhere.
        assert os.path.samefile(found.release.allowed_signers, signers)
        assert os.path.samefile(found.validation.schema, tmp_path / "shared/schema.yaml")
        assert [each.name for each in Path().iterdir()] == ["config.yaml"]
        monkeypatch.chdir(root)
    _Project.of(config(release={"allowed_signers": "signers"})).write(Path("models/south"))
    monkeypatch.chdir(root / "models/south")
    assert os.path.samefile(read_config()[0].release.allowed_signers, signers)


def test_what_models_of_one_config_have_in_common_is_written_once_and_an_unchanged_folder_is_left_alone(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("schema.yaml").write_text("columns: {}\n", encoding="utf-8")
    own = {"b": {"target": "km"}}
    found = config(models={"by": "city", "each": own}, validation={"schema": "schema.yaml"})
    folders = [Path("models", name) for name in "abc"]
    dumped = []
    dump = model_folder._yaml
    monkeypatch.setattr(model_folder, "_yaml", lambda values: dumped.append(len(values)) or dump(values))

    settings = write_projects(found, folders)
    # The lines before and after the source for each of two configs, and a line for each model.
    assert len(dumped) == 2 * 2 + 3
    assert settings[0] is settings[2]
    for folder, each in zip(folders, settings, strict=True):
        written = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        assert list(written.items()) == list(
            {**each, "raw_data_source_url": f"../../data/source/{folder.name}"}.items()
        )
        assert (folder / "schema.yaml").read_text(encoding="utf-8") == "columns: {}\n"
    times = {path: path.stat().st_mtime_ns for folder in folders for path in folder.iterdir()}
    write_projects(found, folders)
    assert times == {path: path.stat().st_mtime_ns for path in times} and len(times) == 6


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another account")
def test_a_deployer_releases_no_model_whose_config_the_scheduled_run_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    settings = config(release={"allowed_signers": None})
    _Project.of(settings).write(Path("models/north"))
    monkeypatch.chdir("models/north")
    check_policy_owner(["config.yaml"], ReleaseConfig())
    # As after a run of the scheduled account.
    os.chown("config.yaml", 1, 1)
    with pytest.raises(TaskError, match=r"config\.yaml belongs to another account \(uid 1\)"):
        check_policy_owner(["config.yaml"], ReleaseConfig())


@pytest.fixture
def two_models(tmp_path, monkeypatch) -> Path:
    """A project of two models that were trained and reviewed, each of which two people must approve."""
    monkeypatch.chdir(tmp_path)
    code_state = lambda: {"commit": None, "clean": None, "sha256": CODE}  # noqa: E731
    for module in (approval, reviewing, sign_off_models):
        monkeypatch.setattr(module, "code_state", code_state)
    two = "release: {required_approvals: 2}\n"
    write("config.yaml", f"{CONFIG}models: {{each: {{north: {{}}, south: {{}}}}}}\n{two}")
    for name in ("north", "south"):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        monkeypatch.chdir(folder)
        write("config.yaml", CONFIG + two)
        train(1 + (name == "south"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_of_many_models_is_approved_by_as_many_people_as_one_model(two_models):
    def sign(reviewer: str) -> tuple[int, str]:
        words = [
            "--rule=verdict passed, no alarm",
            f"--reviewer={reviewer}",
            "--decision=approve",
            "--comment=read the page",
        ]
        code, _, log = in_process(sign_off_models, *words)
        return code, log[-1]

    for reviewer in ("Ada", " ada "):
        code, told = sign(reviewer)
        assert code == 1 and "no model can be deployed yet" in told and "1 more must run make sign-off" in told
    code, _, log = in_process(deploy)
    assert code == 1 and "no model is signed and not deployed yet" in log[-1]
    assert not list(two_models.glob("models/*/deployed/current"))
    assert sign("Bob")[0] == 0
    assert in_process(deploy)[0] == 0
    assert len(list(two_models.glob("models/*/deployed/current/model.pkl"))) == 2


def test_what_is_decided_by_a_rule_may_be_signed_elsewhere(two_models):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "ada"], check=True)
    folders = [two_models / "models" / name for name in ("north", "south")]
    for folder, more in ((two_models, "models: {each: {north: {}, south: {}}}\n"), *((each, "") for each in folders)):
        (folder / "signers").write_text(f"ada {Path('ada.pub').read_text('utf-8')}", encoding="utf-8")
        (folder / "config.yaml").write_text(f"{CONFIG}{more}release: {{allowed_signers: signers}}\n", encoding="utf-8")
    given = ["--reviewer=ada", "--decision=approve", "--comment=read the page"]
    code, _, log = in_process(sign_off_models, "--statement", "--rule=verdict passed, no alarm", *given)
    assert code == 0 and log[-2].endswith(
        "next: make sign-off DIR=models/NAME SIGNATURE=reports/statement-ada.dsse.sig, for each"
    )
    assert not list(two_models.glob("models/*/reports/sign_off.json"))
    (path,) = (two_models / "reports/signed").iterdir()
    for folder in folders:
        os.chdir(folder)
        command = ["ssh-keygen", "-q", "-Y", "sign", "-f", "../../ada", "-n", "signoff", "reports/statement-ada.dsse"]
        subprocess.run(command, check=True, capture_output=True)
        assert in_process(sign_off, "--signature=reports/statement-ada.dsse.sig")[0] == 0
        (decision,) = json.loads(Path("reports/sign_off.json").read_bytes())["decisions"]
        assert decision["comment"].endswith(f"rule: verdict passed, no alarm; list sha256:{path.stem})")
    os.chdir(two_models)
    assert in_process(deploy)[0] == 0
    assert len(list(two_models.glob("models/*/deployed/current/model.pkl"))) == 2


def test_models_may_be_named_without_a_column_and_have_sources_of_their_own():
    found = groups(config(models={"each": {"north": {"raw_data_source_url": "north.csv"}, "south": None}}))
    assert {pattern: settings["raw_data_source_url"] for pattern, settings in found} == {
        "north": "north.csv",
        "south": "rides.csv",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"models": {"by": "city", "each": {"a": {"targt": "x"}}}},
            r"models\.each\.a: the key targt is unknown.*target",
        ),
        ({"models": {"by": "city", "each": {"a": {"raw_data_source_url": "b.csv"}}}}, "cannot be a model's own"),
        ({"models": {"by": "city"}, "data": {"partition_by": "km"}}, "models and data.partition_by do not go together"),
        ({"models": {"by": "city"}, "tracking": {"mlflow_uri": "x"}}, "models and tracking.mlflow_uri .*models.csv"),
    ],
)
def test_models_that_cannot_be_are_one_line(changes, message):
    with pytest.raises(TaskError, match=message):
        groups(config(**changes))


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"pool": True}, "models.pool needs models.by"),
        ({"by": "city", "pool": "city"}, "models.pool and models.by name the same column"),
        ({"by": "city", "min_rows": 9}, "models.min_rows needs models.pool"),
    ],
)
def test_keys_of_a_pooled_model_that_do_not_go_together_are_one_line(models, message):
    with pytest.raises(TaskError, match=message):
        checked({"raw_data_source_url": "rides.csv", "target": "minutes", "models": models}, [])


def test_a_row_falls_back_to_the_pooled_release_of_its_own_group(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "@x", "@y"):
        Path("models", name, "deployed").mkdir(parents=True)
    for name in ("a", "@x"):
        Path("models", name, "deployed/current").mkdir()
    table = pa.table({"town": ["x", "x", "y", "", "x"]})
    # Of b nothing is released, c is new, and of the pooled models only that of x is released.
    names = np.array(["a", "b", "b", "c", "c"], dtype="object")
    assert _with_pool(names, pooled_names(table, "town")).tolist() == ["a", "@x", "b", "c", "@x"]
    assert pooled_names(table, "town").tolist()[3] == "@missing"
    assert _with_pool(names, pooled_names(table, "")).tolist() == names.tolist()


def test_a_config_of_one_model_is_valid_by_itself():
    settings = config_of(config(models={"by": "city"}), None)
    again = yaml.safe_load(yaml.safe_dump(settings))
    check_config(again, SCHEMA)
    assert again == settings
