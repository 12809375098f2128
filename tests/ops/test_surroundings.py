"""Accounts without a name or a home, as in a container, and another Python's packages on the path."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, Project, quick_environment, rides, run
from signoff.base.errors import explain
from signoff.base.surroundings import run_environment, user_name

NOBODY = 12345
# It may read all, as root's Python may be where it is, and writes only what is its own.
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
AS_NOBODY += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root starts processes of another account")


def make(project: Project, *targets: str, home: str | None, nobody: bool = True, root: Path = ROOT, **more: str):
    """Run make on a project, with nothing in the environment but what is given; `root` is where the Makefile is."""
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "CORES": "2", **more}
    if home is not None:
        environment["HOME"] = home
    words = ["make", "-s", "-o", ".venv/.made", f"BIN={Path(sys.executable).parent}", f"DIR={project.folder}", *targets]
    return run([*(AS_NOBODY if nobody else []), *words], cwd=root, env=environment)


@pytest.fixture
def unnamed(released) -> Project:
    """A project with releases that belongs to an account without a name."""
    for path in (released.folder, *released.folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    shutil.copy(ROOT / "Makefile", released.workflow)
    quick_environment(released.workflow)
    return released


@as_root
def test_an_account_without_a_name_or_a_usable_home_does_all_from_new_data_to_predictions(unnamed, tmp_path):
    read_only = tmp_path / "home"
    read_only.mkdir(mode=0o555)
    (unnamed.folder / "data/batches").mkdir()
    for path, rows in (("rides.csv", 720), ("data/batches/week.csv", 60)):
        rides(rows).to_csv(unnamed.folder / path, index=False)
        os.chown(unnamed.folder / path, NOBODY, NOBODY)
    os.chown(unnamed.folder / "data/batches", NOBODY, NOBODY)
    decision = ["REVIEWER=Ada", "DECISION=approve", "COMMENT=read it"]
    # Each command starts in the same way, so each home is tried with one of them. What make itself starts of Snakemake,
    # with a report and predictions below it, imports all that it needs in such a home; the rest begins at once.
    for home, *targets in (
        (str(read_only), "weekly"),
        (None, "report"),
        ("/", "sign-off", *decision),
        ("/nowhere", "deploy", "verify"),
        ("", "predict", "BATCH=week"),
        (str(read_only), "rollback", "REASON=late"),
    ):
        done = make(unnamed, *targets, home=home, root=unnamed.workflow)
        assert done.returncode == 0, done.stdout
        assert "Traceback" not in done.stdout
    assert (unnamed.folder / "predictions/week.csv").is_file()
    assert f"uid {NOBODY}" in (unnamed.folder / "deployed/history.jsonl").read_text(encoding="utf-8")


@as_root
def test_make_and_weekly_name_the_account_alike():
    code = "from signoff.base.surroundings import user_name; print(user_name())"
    words = [*AS_NOBODY, sys.executable, "-c", code]
    named = subprocess.run(
        words, cwd=ROOT / "scripts", env={"PATH": os.environ["PATH"]}, capture_output=True, text=True
    )
    assert named.stdout == f"uid {NOBODY}\n"


def test_caches_go_to_a_home_that_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert "XDG_CACHE_HOME" not in run_environment(tmp_path / "project")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    found = run_environment(tmp_path / "project")
    assert found["XDG_CACHE_HOME"] == str(tmp_path / "project/.snakemake/cache")
    assert found["HOME"] == str(tmp_path)
    assert user_name()


def test_a_broken_package_of_another_python_is_not_imported(finished, tmp_path, monkeypatch):
    (tmp_path / "other/numpy").mkdir(parents=True)
    (tmp_path / "other/numpy/__init__.py").write_text("raise ImportError('built for another Python')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "other"))
    # The tasks of a scheduled run, and a command of make.
    assert "PYTHONPATH" not in run_environment(finished.folder)
    done = make(finished, "summary", home=str(tmp_path), nobody=False, PYTHONPATH=str(tmp_path / "other"))
    assert done.returncode == 0, done.stdout


def test_the_weekly_job_without_make_imports_no_broken_package_either(tmp_path):
    for name in ("numpy", "pandas", "psutil", "yaml"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('built for another Python')", encoding="utf-8")
    words = [sys.executable, ROOT / "scripts/weekly.py"]
    done = run(words, cwd=tmp_path, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert "no config.yaml here. Go to the project's folder." in done.stdout
    assert "Traceback" not in done.stdout


# Locales


@pytest.fixture(scope="session", params=["latin-1 locale", "latin-1 terminal", "C"])
def foreign(request, tmp_path_factory) -> dict[str, str]:
    """The environment variables of a person whose locale or terminal is not UTF-8."""
    common = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    if request.param == "latin-1 terminal":
        return common | {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "latin-1"}
    if request.param == "C":
        return common | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}
    folder = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef") is None:
        pytest.skip("there is no localedef to build a locale with")
    subprocess.run(["localedef", "-i", "de_DE", "-f", "ISO-8859-1", folder / "de_DE.ISO-8859-1"], check=True)
    return common | {"LC_ALL": "de_DE.ISO-8859-1", "LOCPATH": str(folder)}


def test_commands_print_and_sign_whatever_the_locale(finished, foreign):
    for words in (["summary"], ["sign_off", "--reviewer=Зоя", "--decision=approve", "--comment=“gut”"]):
        if words[0] == "sign_off" and finished.json("reports/diagnostics.json")["alarms"]:
            words = [*words, "--override=Köln"]
        command = [sys.executable, finished.workflow / f"scripts/{words[0]}.py", *words[1:]]
        done = subprocess.run(command, cwd=finished.folder, env=foreign, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
        if words[0] == "summary":
            # What the terminal cannot show, such as the sign between the ends of an interval, is an escape.
            assert rb"\u2026" in done.stdout
    assert finished.json("reports/sign_off.json")["decisions"][0]["reviewer"] == "Зоя"


def test_a_cyrillic_column_is_cleaned_whatever_the_locale(tmp_path, foreign):
    (tmp_path / "raw.csv").write_text("Имя,y\nа,1\n,2\nб,3\n", encoding="utf-8")
    words = ["--input=raw.csv", "--output=clean.csv", '--policies={"Имя": "leave"}', "--log=clean.log"]
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/clean_data.py", *words],
        cwd=tmp_path,
        env=foreign,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clean.csv").read_text(encoding="utf-8") == "Имя,y\nа,1\n,2\nб,3\n"


def test_snakemake_without_make_says_in_one_line_how_to_start_it_in_another_locale(project):
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONUTF8": "0"}
    command = [Path(sys.executable).with_name("snakemake"), "--snakefile", project.workflow / "Snakefile"]
    done = run([*command, "--configfile", "config.yaml", "--dry-run"], cwd=project.folder, env=environment)
    assert done.returncode == 1
    assert "ERROR - names and commands are not UTF-8 in this locale. Set PYTHONUTF8=1" in done.stdout
    assert "Traceback" not in done.stdout


def test_text_that_is_not_utf8_is_one_line():
    with pytest.raises(UnicodeEncodeError) as found:
        "Zo\udceb".encode()
    assert explain(found.value) == (
        r"'Zo\udceb' holds bytes that are not text in UTF-8. Write it in UTF-8, and run again."
    )
