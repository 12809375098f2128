"""The functions behind the rules: flags, settings, resources, the code of a task, a model's folder, how a run ends."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from conftest import ROOT
from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError
from signoff.base.modules import modules_of
from signoff.rules.beginning import task_prefix
from signoff.rules.code import CodeInputs
from signoff.rules.ending import Ending, next_command
from signoff.rules.flags import flags, more_flags, words
from signoff.rules.needs import memory, minutes
from signoff.rules.origin import Origin
from signoff.rules.parts import Parts
from signoff.rules.place import Place
from signoff.rules.settings import checked

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text("utf-8"))
LINE = "2026-01-05 06:00:00,000 - {} - {}\n"


def settings(**changes):
    """Return the settings of a config with `changes`, and its contract."""
    return checked({"raw_data_source_url": "rides.csv", "target": "minutes", **changes}, [])


@pytest.mark.parametrize(
    "text",
    ["plain", "with space", "it's", '"', "$HOME", "a\\b", "ä€", "</script>", "<", "a\nb", "*", "{x}", "-- a", ""],
)
def test_a_shell_gives_a_flag_back_as_it_was(text):
    command = f"printf '%s\\0' {words(some_name=text)}"
    assert "</script>" not in command
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    assert done.stdout.decode() == f"--some-name={text}\0"


def test_lists_give_several_flags_mappings_json_and_none_nothing():
    assert words(a=None, b=[1, None, "x"], c={"k": "ü", "a": [1]}, d=0, e=False, f=[]) == (
        '--b=1 --b=x \'--c={"a": [1], "k": "ü"}\' --d=0 --e=False'
    )


def test_a_brace_in_a_flag_is_not_a_wildcard_and_more_flags_come_last():
    assert flags(a=1) == "--a=1"
    braces = flags(a="{city}")
    assert braces(None) == "'--a={city}'"
    for own in ("--a=1", lambda wildcards: f"--a={wildcards}"):
        rule = SimpleNamespace(params=SimpleNamespace(options=own))
        assert more_flags(rule, a=2)(1) == "--a=1 --a=2"


def test_each_attempt_asks_for_more_and_a_task_with_all_rows_for_twelve_times_its_input():
    assert [memory(1000)(None, n) for n in (1, 2)] == [1000, 2000]
    large = SimpleNamespace(size_mb=500.5)
    assert [memory(1000, all_rows=True)(None, large, n) for n in (1, 2)] == [6006, 12012]
    assert memory(1000, all_rows=True)(None, SimpleNamespace(size_mb=1), 1) == 1000
    assert [minutes(60)(None, n) for n in (1, 3)] == [60, 180]


def test_the_config_has_the_keys_types_and_defaults_of_the_schema():
    generated = subprocess.run([sys.executable, ROOT / "workflow/schemas/generate.py"], capture_output=True, check=True)
    assert (ROOT / "scripts/signoff/base/config.py").read_text("utf-8") == generated.stdout.decode(), (
        "run .venv/bin/python workflow/schemas/generate.py > scripts/signoff/base/config.py"
    )


def test_settings_come_with_the_defaults_of_the_schema():
    found, contract = settings(time_column="started")
    assert found.cleaning.max_rows_lost == SCHEMA["properties"]["cleaning"]["properties"]["max_rows_lost"]["default"]
    assert found.required_columns == ["minutes", "started"]
    assert (contract.kinds, contract.past, contract.future, contract.looks_at_all_rows) == ({}, [], [], False)
    assert not found.has_many_models
    assert settings(models={"by": "city"})[0].has_many_models
    assert settings(models={"each": {"a": None}})[0].has_many_models


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"treshholds": {}}, "the key treshholds is unknown: did you mean thresholds?"),
        ({"target": None}, "target"),
        ({"random_state": "zero"}, "random_state is 'zero', but must be a whole number."),
        ({"thresholds": {"mae_max": -1}}, "thresholds.mae_max is -1, but must be above 0."),
        ({"thresholds": {"mae_mx": 1}}, "the key thresholds.mae_mx is unknown: did you mean mae_max?"),
        ({"validation": {"schema": "nowhere.yaml"}}, "the data contract nowhere.yaml does not exist."),
        ({"tracking": {"mlflow_uri": "nowhere"}}, "tracking.mlflow_uri is 'nowhere', but must be a server's URL"),
        ({"features": {"custom": "nowhere.py"}}, "nowhere.py"),
    ],
)
def test_a_wrong_config_is_one_line(config, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TaskError, match=re.escape(message)) as error:
        settings(**config)
    assert "\n" not in str(error.value)


def test_settings_say_what_is_trained_and_what_is_checked():
    assert set(settings()[0].trained) == {"estimator", "params"}
    candidates = [{"estimator": "sklearn.linear_model.Ridge"}]
    assert settings(model={"candidates": candidates})[0].trained == {"candidates": candidates}
    assert settings(model={"preset": "good", "weight": "w"})[0].trained == {"preset": "good", "weight": "w"}
    weighted = settings(model={"weight": {"half_life_weeks": 4}})[0]
    assert settings(model={"target_transform": "log"})[0].training["target_transform"] == "log"
    assert weighted.trained["half_life_weeks"] == 4 and weighted.weight_column is None
    by_r2 = {"model": {"candidates": candidates}, "thresholds": {"r2_min": 0.5}}
    assert settings(**by_r2)[0].trained == {"candidates": candidates, "metric": "RMSE"}
    assert "metric" not in settings(**by_r2 | {"thresholds": {"r2_min": 0.5, "mae_max": 1}})[0].trained
    assert "metric" not in settings(thresholds={"r2_min": 0.5})[0].training
    assert settings(model={"preset": "good", "metric": "RMSE"})[0].training["metric"] == "RMSE"
    assert settings(model={"preset": "best"})[0].training.keys().isdisjoint({"minutes", "trials"})
    best = settings(model={"preset": "best", "minutes": 0.5})[0]
    assert best.training["minutes"] == 0.5 and best.draws == 1
    best = settings(model={"preset": "best", "trials": 4})[0]
    assert best.training["trials"] == 4 and best.draws == 0
    assert settings(model={"max_rows": 9})[0].measures_budget
    assert not settings(model={"max_rows": 9, "passes": 2})[0].measures_budget
    own = {"mae_max": 3, "custom": {"bias": {"max": 1}}}
    assert settings(thresholds=own)[0].limits == {"mae_max": 3, "max_regression": None, "r2_min": None}


def test_settings_read_the_contract(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    columns = {
        "started": {"dtype": "datetime64[ns]", "date_format": "%d.%m.%Y"},
        "id": {"dtype": "int64", "unique": True},
    }
    Path("contract.yaml").write_text(yaml.safe_dump({"columns": columns}), encoding="utf-8")
    _, contract = settings(validation={"schema": "contract.yaml"})
    assert contract.kinds == {"started": "date", "id": "number"}
    assert contract.date_formats == {"started": "%d.%m.%Y"}
    assert contract.looks_at_all_rows


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """A folder of scripts with a package, seen from a project beside it."""
    files = {
        "scripts/a.py": "from signoff.one.x import f\n",
        "scripts/b.py": "def g():\n    import signoff.two.y\n",
        "scripts/signoff/__init__.py": "",
        "scripts/signoff/one/__init__.py": "",
        "scripts/signoff/one/x.py": "from signoff.two import (\n    y,\n)\n",
        "scripts/signoff/one/page.html": "<p>",
        "scripts/signoff/two/__init__.py": "",
        "scripts/signoff/two/y.py": "",
        "scripts/signoff/two/z.py": "",
        "workflow/report/b.rst": "",
        "workflow/report/a.rst": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "scripts"


def test_a_rule_declares_every_module_that_its_script_imports(scripts):
    code = CodeInputs(scripts, in_store=False, many_models=False)
    assert code.script("a") == "../scripts/a.py"
    package = "../scripts/signoff"
    two = [f"{package}/two/__init__.py", f"{package}/two/y.py"]
    assert code.helpers("b") == [f"{package}/__init__.py", *two]
    one = [f"{package}/one/{name}" for name in ("__init__.py", "page.html", "x.py")]
    assert code.helpers("a") == [f"{package}/__init__.py", *one, *two]
    assert code.captions() == ["../workflow/report/a.rst", "../workflow/report/b.rst"]
    assert code.on_disk(None) == [] and code.on_disk("own.py") == "own.py"


def test_for_many_models_one_file_changes_when_a_module_does(scripts):
    code = CodeInputs(scripts, in_store=False, many_models=True)
    [path] = code.helpers("b")
    before = Path(path).stat().st_mtime_ns, Path(path).read_text("utf-8")
    assert before[1].count("signoff/") == 3
    for module, changes in (("z", False), ("y", True)):
        (scripts / f"signoff/two/{module}.py").write_text("1\n", encoding="utf-8")
        CodeInputs.digests.cache_clear()
        assert code.helpers("b") == [path]
        after = Path(path).stat().st_mtime_ns, Path(path).read_text("utf-8")
        assert (after != before) == changes
    assert Path(code.on_disk("own.py")) == Path("own.py").absolute()


def test_code_stays_on_disk_if_outputs_are_in_an_object_store(scripts):
    code = CodeInputs(scripts, in_store=True, many_models=False)
    assert all(each.flags["sourcecache_entry"] == str(each) for each in [code.script("a"), *code.helpers("a")])


def test_every_script_of_the_workflow_has_its_modules():
    assert ROOT / "scripts/signoff/base/errors.py" in modules_of(ROOT / "scripts/train_model.py")


def release(folder: Path, name: str, *files: str) -> None:
    """Make a release the current one of the project in a folder."""
    path = folder / "deployed/releases" / name
    path.mkdir(parents=True)
    for each in files:
        (path / each).touch()
    (folder / "deployed/current").unlink(missing_ok=True)
    (folder / "deployed/current").symlink_to(f"releases/{name}")


@pytest.mark.parametrize(("folder", "prefix"), [("", ""), ("models/{model}/", "models/north/")])
def test_a_place_finds_the_release_of_the_project_or_of_the_model(folder, prefix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place, wildcards = Place(folder), SimpleNamespace(model="north")
    options = place.champion_flags(ReleaseConfig(allowed_signers="signers", required_approvals=2))
    assert (place.champion(wildcards), options(wildcards), place.released("a.json")(wildcards)) == (None, "", [])
    release(Path(prefix), "2026-01-05", "a.json")
    deployed = f" --deployed={prefix}deployed" if prefix else ""
    assert options(wildcards) == (f"--champion=2026-01-05{deployed} --allowed-signers=signers --required-approvals=2")
    assert place.released("a.json")(wildcards) == f"{prefix}deployed/releases/2026-01-05/a.json"
    assert place.released("b.json")(wildcards) == []


def test_the_pieces_of_a_part_and_of_a_model_are_what_the_split_recorded(tmp_path):
    record = tmp_path / "raw_data.json"
    record.write_text(
        '{"parts": {"north": {"rows": 5, "pieces": ["a.csv", "b.csv"]}, "south": {"rows": 0, "pieces": []}}}',
        encoding="utf-8",
    )
    run = SimpleNamespace(get=lambda: SimpleNamespace(output=SimpleNamespace(record=str(record))))
    parts = Parts(SimpleNamespace(split_source=run))
    both = ["data/source/north/a.csv", "data/source/north/b.csv"]
    assert parts.pieces(SimpleNamespace(part="north")) == both
    assert Place("models/{model}/", plan=parts.plan).pieces(SimpleNamespace(model="north")) == both
    assert Place().pieces(SimpleNamespace()) == []
    assert parts.once_split("x.csv")(None) == "x.csv"
    assert parts.raw() == ["data/raw/parts/north.csv", "data/raw/parts/south.csv"]
    assert parts.rows() == {"north": 5, "south": 0}
    # Ten thousand models ask for theirs, so the object is the same.
    assert [*parts.with_model()] == ["north", "south"] and parts.with_model() is parts.with_model()
    record.write_text('{"parts": {"west": {"pieces": []}, "x": {}}, "without_model": ["x"]}', encoding="utf-8")
    os.utime(record, ns=(1, 1))
    assert parts.raw() == ["data/raw/parts/west.csv", "data/raw/parts/x.csv"]
    assert [*parts.with_model()] == ["west"]


def test_the_version_of_the_source_is_found_once_in_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rides.csv").write_text("a\n1\n", encoding="utf-8")
    origin = Origin(settings()[0], Path("data/raw/raw_data.csv"))
    first = origin.version
    Path("rides.csv").write_text("a\n2\n", encoding="utf-8")
    assert origin.version == first
    assert Origin(settings()[0], Path("data/raw/raw_data.csv")).version != first


def test_tasks_run_under_the_python_of_the_run(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setattr("sys.executable", "/a folder/bin/python")
    assert task_prefix(verbose=False) == "export PATH='/a folder/bin':$PATH; "
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
    assert task_prefix(verbose=True).endswith("export SIGNOFF_VERBOSE=1; ")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    task_prefix(verbose=False)
    assert "GOMP_SPINCOUNT" not in os.environ


def test_a_run_names_for_each_failed_task_its_cause_and_its_log(tmp_path, capsys):
    texts = {
        "logs/old.log": LINE.format("ERROR", "[old] from the run before"),
        "logs/ingest_data.log": LINE.format("INFO", "[ingest_data] end after 1.0 s"),
        "logs/clean_part/w1.log": LINE.format("ERROR", "[clean_data] a") + LINE.format("ERROR", "[clean_data] b"),
        "logs/train_model.log": LINE.format("INFO", "[train_model] start: x"),
        ".snakemake/slurm_logs/rule_train_model/7.log": "slurmstepd: error: b\nslurmstepd: error: memory limit (1K)\n",
    }
    for number, (name, text) in enumerate(texts.items()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
        os.utime(tmp_path / name, (1000 + 10 * number, 1000 + 10 * number))
    Ending(tmp_path, 1010.5, False, "make report").say()
    assert capsys.readouterr().err == (
        "\nclean_part failed: b\nIts log: logs/clean_part/w1.log\n"
        "\ntrain_model failed: it stopped without a word; was it killed, or out of memory? Slurm: memory limit (1K)\n"
        "Its log: logs/train_model.log\n"
    )


def test_the_summary_comes_with_the_next_command_but_not_that_of_each_model(tmp_path, capsys):
    log = tmp_path / "logs/verdict.log"
    log.parent.mkdir()
    log.write_text(
        LINE.format("INFO", "| Verdict     passed") + LINE.format("INFO", "[verdict] end after 1 s"), "utf-8"
    )
    Ending(tmp_path, 0, False, "make report").say()
    assert capsys.readouterr().err == "\nVerdict     passed\nNext        make report\n"
    log.rename(tmp_path / "logs/other.log")
    model = tmp_path / "models/a/logs/verdict.log"
    model.parent.mkdir(parents=True)
    model.write_text(LINE.format("ERROR", "[verdict] mae_max 1"), encoding="utf-8")
    Ending(tmp_path, 0, True, "make report").say()
    assert capsys.readouterr().err == "\nverdict failed: mae_max 1\nIts log: models/a/logs/verdict.log\n"


def test_the_next_command_can_be_typed_anywhere(tmp_path, monkeypatch):
    monkeypatch.delenv("SIGNOFF_NEXT", raising=False)
    workflow = SimpleNamespace(basedir=str(tmp_path), main_snakefile="/w f/Snakefile", overwrite_configfiles=["c.yaml"])
    assert next_command(workflow, tmp_path) == "snakemake reports/final_report.md"
    assert shlex.split(next_command(workflow, tmp_path / "p")) == [
        *("snakemake", "-s", "/w f/Snakefile", "--directory", str(tmp_path / "p")),
        *("reports/final_report.md", "--configfile", "c.yaml"),
    ]
    monkeypatch.setenv("SIGNOFF_NEXT", "make report")
    assert next_command(workflow, tmp_path) == "make report"
