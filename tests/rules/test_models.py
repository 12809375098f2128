"""Many models in one run: each in a folder that is a project of its own, and a table of all."""

import os
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from conftest import ROOT, make_project, rides
from models import write_project
from signoff.base.errors import TaskError
from signoff.config.settings import check_config, read_config
from signoff.rules.models import config_of, groups

SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
MODEL = {"params": {"max_iter": 10}}


def config(**changes) -> dict:
    """Return a checked config, with `changes`."""
    found = {"raw_data_source_url": "rides.csv", "target": "minutes", **changes}
    check_config(found, SCHEMA)
    return found


def test_each_value_gets_a_model_whose_folder_is_a_project_that_is_reviewed_and_released(project, tmp_path):
    table = rides(600)
    table.to_csv(project.folder / "rides.csv", index=False)
    own = {"Bonn": {"thresholds": {"mae_max": 0.001}}}
    project.configure(model=MODEL, models={"by": "city", "each": own}, time_column="started")
    done = project.snakemake(check=False)
    assert done.returncode == 1
    assert "models_verdict failed: 1 of 3 models failed, such as Bonn: threshold mae_max 0.001" in done.stdout
    found = pd.read_csv(project.folder / "reports/models.csv").set_index("model")
    cities = ["Bonn", "K%C3%B6ln", "Trier%2C West"]
    assert found.index.tolist() == cities
    assert found["verdict"].tolist() == ["failed", "passed", "passed"]
    assert found["rows"].tolist() == table["city"].value_counts().sort_index().tolist()

    # One process made them all, and recorded it as single jobs do: whoever asks for one finds it up to date.
    assert done.stdout.count("rule models_chunk:") == 1
    metrics = [f"models/{city}/reports/evaluation_metrics.json" for city in cities]
    assert "Nothing to be done" in project.snakemake(*metrics).stdout

    # The model of a city is that of a project with its rows alone.
    alone = make_project(tmp_path / "alone")
    table[table["city"] == "Köln"].to_csv(alone.folder / "rides.csv", index=False)
    alone.configure(model=MODEL, features={"drop": ["city"]}, time_column="started")
    alone.snakemake("model/model.pkl", "reports/evaluation_metrics.json")
    koeln = project.folder / "models" / cities[1]
    for path in ("model/model.pkl", "reports/evaluation_metrics.json"):
        assert (koeln / path).read_bytes() == (alone.folder / path).read_bytes(), path

    # In its folder a person decides as in any project; the next run has the release judged beside the new model.
    project.snakemake(f"models/{cities[1]}/reports/final_report.md")
    here = type(project)(koeln, project.workflow)
    here.sign_off()
    here.snakemake("deploy")
    later = rides(700, seed=2).iloc[600:]
    more = pd.concat([table, later[later["city"] == "Köln"]])
    more.to_csv(project.folder / "rides.csv", index=False)
    project.configure(model=MODEL, models={"by": "city"}, time_column="started")
    done = project.snakemake()
    found = pd.read_csv(project.folder / "reports/models.csv").set_index("model")
    assert found["champion_MAE"].notna().tolist() == [False, True, False]
    assert found.loc[cities[1], "rows"] == (more["city"] == "Köln").sum()
    # Of the others, Bonn alone has another config, and neither has other rows.
    started = [
        re.findall(rf"\[{task}\] start: (?:models/)?(\S+?)/", done.stdout) for task in ("clean_data", "evaluate_model")
    ]
    assert started == [cities[1:2], cities[:2]], done.stdout
    # Nothing is left to do but to see how right the released model was about the new rows.
    done = project.snakemake("all", *metrics, "models_live")
    assert re.findall(r"^(?:local)?rule (\w+):$", done.stdout, flags=re.M)[1:] == ["models_live"], done.stdout
    assert [*project.folder.glob("models/*/reports/live.json")] == [koeln / "reports/live.json"]
    live = here.json("reports/live.json")
    assert live["release"] == Path(os.readlink(koeln / "deployed/current")).name
    new = later[(later["city"] == "Köln") & later["km"].notna()]
    assert (live["answered"], {each["as_if"] for each in live["weeks"]}) == (len(new), {True})

    # A model that cannot be trained stops no other one, whatever a profile says.
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile/config.yaml").write_text("keep-going: false\n", encoding="utf-8")
    own = {"Bonn": {"model": {"params": {"max_iter": -1}}}}
    project.configure(model=MODEL, models={"by": "city", "each": own}, time_column="started", random_state=7)
    before = [(project.folder / "models" / city / "reports/evaluation_metrics.json").stat() for city in cities]
    done = project.snakemake(check=False, SNAKEMAKE_PROFILE=str(tmp_path / "profile"))
    assert done.returncode == 1
    after = [(project.folder / "models" / city / "reports/evaluation_metrics.json").stat() for city in cities]
    changed = [old.st_mtime_ns != new.st_mtime_ns for old, new in zip(before, after, strict=True)]
    assert changed == [False, True, True], done.stdout


def test_each_model_has_the_rules_of_a_project_but_those_after_a_decision(project):
    project.configure(models={"by": "city", "each": {"Bonn": {"thresholds": {"mae_max": 3}}}})
    names = re.findall(r"^each\d*_(\w+)", project.snakemake("--list").stdout, flags=re.M)
    assert {"ingest_data", "train_model", "generate_report", "live_record", "verdict"} <= set(names)
    assert set(names) & {"all", "track", "deploy", "predict", "split_weeks", "backtest"} == set()


def test_models_of_one_config_share_their_rules_and_what_is_their_own_goes_over_it():
    each = {"a b": {"thresholds": {"mae_max": 1}}, "c": {"thresholds": {"mae_max": 1}}, "d": {"model": {"max_rows": 9}}}
    found = groups(config(models={"by": "city", "each": each}, thresholds={"r2_min": 0.5}, scoring={"reasons": 3}))
    assert [pattern for pattern, _ in found] == [r"a\ b|c", "d", r"(?!a\ b/)(?!c/)(?!d/)[^/]+"]
    assert [settings["thresholds"]["mae_max"] for _, settings in found] == [1, None, None]
    assert {settings["thresholds"]["r2_min"] for _, settings in found} == {0.5}
    assert [settings["model"]["max_rows"] for _, settings in found] == [None, 9, None]
    assert all(settings["features"]["drop"] == ["city"] and not settings["models"]["by"] for _, settings in found)
    assert {settings["scoring"]["reasons"] for _, settings in found} == {3}


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
        write_project(Path("models/north"), config(release={"allowed_signers": named}, **outside))
        monkeypatch.chdir(root / "models/north")
        found, _ = read_config()
        # It is the original: whoever is taken out of it is taken out everywhere.
        assert os.path.samefile(found["release"]["allowed_signers"], signers)
        assert os.path.samefile(found["validation"]["schema"], tmp_path / "shared/schema.yaml")
        assert [each.name for each in Path().iterdir()] == ["config.yaml"]
        monkeypatch.chdir(root)
    write_project(Path("models/south"), config(release={"allowed_signers": "signers"}))
    monkeypatch.chdir(root / "models/south")
    assert os.path.samefile(read_config()[0]["release"]["allowed_signers"], signers)


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
    ],
)
def test_models_that_cannot_be_are_one_line(changes, message):
    with pytest.raises(TaskError, match=message):
        groups(config(**changes))


def test_a_config_of_one_model_is_valid_by_itself():
    settings = config_of(config(models={"by": "city"}), None)
    again = yaml.safe_load(yaml.safe_dump(settings))
    check_config(again, SCHEMA)
    assert again == settings
