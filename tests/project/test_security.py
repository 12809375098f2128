"""What the data, the config and the files on disk cannot do: run code, reach a shell, leave the folder, write a table.

The threat model, docs/threat-model.md, names what each of these tests holds.
"""

import ast
import importlib
import logging
import os
import pickle
import shlex
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy
import yaml
from markdown_it import MarkdownIt
from test_sources import postgresql  # noqa: F401

from conftest import ROOT, rides, run
from schedule import _SCHEDULERS, schedule
from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.config.settings import SCHEMA, check_config
from signoff.source.database import _rows

# All that a shell, make, Snakemake or a pattern of files would read as something else than a name.
EVIL = "a b\"q'$(touch pwned)`touch pwned`;touch pwned;&|<>*?[x]\\n%$HOME"


def pwned(*folders: Path) -> list[Path]:
    """Return the files that a name that was run has left."""
    return [path for folder in folders for path in folder.rglob("pwned*")]


# Unpickled, run, imported

READS = {f"model_file.py: {each}" for each in ("joblib.load", "pickle.loads", "skops.io.loads")}
RUNS = {"user_code.py: compile", "user_code.py: exec", "regressor.py: importlib.import_module"}
# Of the workflow's own tasks, from a list.
RUNS |= {"one_process.py: importlib.import_module", "forks.py: importlib.import_module"}
# Of two names, LightGBM and CatBoost.
RUNS |= {"boosters.py: importlib.import_module"}
# Of a list, and of the workflow's own scripts.
RUNS |= {"warm_parent.py: importlib.import_module"}
NEVER = ["pickle", "marshal", "shelve", "dill", "cloudpickle", "ctypes", "runpy", "code", "pty"]
# A fork runs one of the workflow's own scripts, and asks Linux to end with its parent.
BUT = {"model_file.py": {"pickle"}, "forking.py": {"ctypes", "runpy"}}
SUSPECT = [
    "eval",
    "exec",
    "compile",
    "__import__",
    "import_module",
    "load",
    "loads",
    "read_pickle",
    "system",
    "popen",
    "spawn",
]


def dotted(node: ast.AST) -> str:
    """Return the name that is called."""
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else getattr(node, "id", "?")


def test_one_function_reads_models_one_module_runs_code_and_no_call_goes_through_a_shell():
    found = set()
    for path in sorted(ROOT.glob("scripts/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [each.name for each in node.names]
                modules = names if isinstance(node, ast.Import) else [node.module]
                never = set(NEVER) - BUT.get(path.name, set())
                assert not {each.split(".")[0] for each in modules} & never, path
                # Else a name below would not tell what it is.
                assert isinstance(node, ast.Import) or not set(names) & {"load", "loads", "read_pickle"}, path
            if not isinstance(node, ast.Call):
                continue
            assert not any(each.arg in ("shell", "allow_pickle") for each in node.keywords), (path, node.lineno)
            name = dotted(node.func)
            if name.rpartition(".")[2] in SUSPECT and name not in ("json.load", "json.loads", "re.compile"):
                found.add(f"{path.name}: {name}")
    assert found == READS | RUNS


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self):
        return Path.touch, (Path("pwned"),)


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a script's command line in this process, with its imports once for all; return its code and what it said."""
    handlers = logging.getLogger().handlers[:]

    def call(name: str, *arguments: object) -> tuple[int, str]:
        code = 0
        try:
            importlib.import_module(name).main([str(each) for each in arguments])
        except SystemExit as stop:
            code = stop.code
        return code, "".join(capsys.readouterr())

    yield call
    logging.getLogger().handlers[:] = handlers


def test_no_entry_point_unpickles_a_model_that_is_not_the_one_written_down(released, command, monkeypatch):
    monkeypatch.chdir(released.folder)
    bomb, release = pickle.dumps(Bomb()), Path("deployed/current").readlink().name
    whole = {path: path.read_bytes() for path in (Path("model/model.pkl"), Path("deployed/current/model.pkl"))}
    model = ["--model", "model/model.pkl", "--features", "data/features/features.csv"]
    batch = ["--input", "rides.csv", "--output", "scored.csv"]
    (path,) = [each for each in whole if str(each) == "model/model.pkl"]
    path.write_bytes(bomb)
    other = "model/model.pkl is not the file that was written down"
    for name, words, said in (
        ("evaluate_model", [*model, "--output", "x.json"], other),
        ("explain_model", [*model, "--output", "x.json"], other),
        (
            "sign_off",
            ["--reviewer", "Eve", "--decision", "approve", "--comment", "c"],
            "model/model.pkl is not the model that",
        ),
        ("deploy", [], "model/model.pkl has changed since it was signed"),
    ):
        code, text = command(name, *words)
        assert code == 1 and said in text, text
    for path, content in whole.items():
        path.write_bytes(bomb if path.parent.name == "current" else content)
    altered = f"deployed/releases/{release}/model.pkl was altered"
    code, text = command("evaluate_model", *model, "--champion", release, "--output", "x.json")
    assert code == 0 and f"champion {release} cannot be scored: {altered}" in text
    for name, words, said in (
        ("predict", batch, altered),
        ("verify", [], altered),
        ("rollback", ["--reason", "r", "--release", release], "is the current release already"),
        ("track", [], "tracking.mlflow_uri is not set"),
        ("generate_report", ["--input", "reports/evaluation_metrics.json", "--output", "x/report.md"], "completed"),
        ("summary", [], "deploy?"),
        ("status", [], "Release"),
        ("history", [], "completed"),
    ):
        code, text = command(name, *words)
        assert said in text, text
    # A backtest trains models of its own, and reads none.
    assert "load" not in (ROOT / "scripts/backtest_week.py").read_text(encoding="utf-8")
    assert not pwned(released.folder)
    pickle.loads(bomb)
    assert pwned(released.folder), "the bomb is one"


# Names


@pytest.mark.usefixtures("quick_make")
def test_names_that_a_shell_would_read_are_names_from_make_init_to_the_predictions(tmp_path):
    name, folder = "-" + EVIL, tmp_path / EVIL
    # pandas has arguments by the last of these names.
    columns = {"minutes": EVIL, "city": name, "km": "k\n m", "riders": "self"}
    source = tmp_path / f"{name}.csv"
    rides().rename(columns=columns).to_csv(source, index=False)

    def make(target: str, code: int = 0, **variables: str) -> str:
        words = [f"{key}={value}" for key, value in {**variables, "DIR": str(folder)}.items()]
        done = run(["make", "--silent", target, *words], cwd=ROOT)
        assert done.returncode == code, done.stdout
        return done.stdout

    said = make("init", SOURCE=str(source), TARGET=EVIL)
    assert shlex.split(said.partition("make run ")[2].splitlines()[0]) == [f"DIR={folder}"]
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    (folder / "schema.yaml").rename(folder / f"{name}\n.yaml")
    # The second may not begin with a dot, nor hold a line break.
    (folder / f"{name}.py").write_text("def features(rows, built_in):\n    return built_in\n", encoding="utf-8")
    (folder / f"m{name}.py").write_text(
        "def metrics(actual, predicted, rows):\n    return {'x': 1}\n", encoding="utf-8"
    )
    config["validation"] = {"schema": f"{name}\n.yaml"}
    config["features"] = {"custom": f"{name}.py", "derived": {f"d{EVIL}": "self * 2", "k": "`k\n m` / 2"}}
    config["evaluation"] = {"metrics": f"m{name}.py"}
    config["report"] = {"owner": name, "limitations": EVIL}
    config["model"] = {"params": {"max_iter": 5}, "intervals": "constant"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    said = make("run")
    following = shlex.split(next(line for line in said.splitlines() if line.startswith("Next ")))
    assert following == ["Next", "make", "report", f"DIR={folder}"]
    make("report")
    make("sign-off", REVIEWER=EVIL, DECISION="approve", COMMENT=name)
    make("deploy")
    batches = folder / "data/batches"
    batches.mkdir()
    rides(20).rename(columns=columns).to_csv(batches / f"{name}.csv", index=False)
    make("predict", BATCH=name)
    assert (folder / f"predictions/{name}.csv").read_text(encoding="utf-8").count("\n") > 15
    # A line break in the name of a batch is the one thing that is refused.
    assert "No rule to produce" in make("predict", code=2, BATCH="a\nb")
    assert "there is no release before" in make("rollback", code=2, REASON=EVIL)
    assert not pwned(tmp_path) and not (ROOT / "pwned").exists()


def test_names_that_the_config_may_not_hold_are_refused_in_one_line():
    for path, said in (("s{y}.yaml", "may hold no {…}"), ("s\0.yaml", "is not a path")):
        with pytest.raises(TaskError, match=said):
            check_config({"raw_data_source_url": "a.csv", "target": "y", "validation": {"schema": path}}, SCHEMA)


def test_a_schedule_runs_this_folder_and_nothing_that_its_name_says(tmp_path):
    """cron hands its line to a shell, up to the first percent sign that is not escaped."""
    folder, workflow, python = (tmp_path / f"{each}{EVIL}" for each in ("project", "workflow", "python"))
    (folder / "logs").mkdir(parents=True)
    (workflow / "scripts").mkdir(parents=True)
    python.write_text('#!/bin/sh\npwd > "$1.told"\n', encoding="utf-8")
    python.chmod(0o755)
    # A shell reads the last line of the others.
    for kind in set(_SCHEDULERS) - {"systemd", "github", "gitlab"}:
        line = schedule(kind, folder, workflow, str(python)).splitlines()[-1].removeprefix("0 3 * * 1 ")
        if kind == "cron":
            assert line.count("%") == line.count(r"\%")
            line = line.replace(r"\%", "%")
        assert run(["/bin/sh", "-c", line], cwd=folder).returncode == 0
        told = workflow / "scripts/weekly.py.told"
        assert told.read_text(encoding="utf-8") == f"{folder}\n"
        told.unlink()
    unit = schedule("systemd", Path("/a %b"), Path('/w "$x" \\'), "/p%")
    assert "WorkingDirectory=/a %%b\n" in unit
    assert 'ExecStart="/p%%" "/w \\"$$x\\" \\\\/scripts/weekly.py"\n' in unit
    with pytest.raises(TaskError, match="Rename the folder"):
        schedule("cron", Path("/a\nb"))
    assert not pwned(tmp_path)


# Paths


def config(**changes: object) -> dict:
    return {"raw_data_source_url": "/elsewhere/a.csv", "target": "y", **changes}


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("validation.schema", "../outside/s.yaml"),
        ("validation.schema", "/etc/passwd"),
        ("validation.schema", "link.yaml"),
        ("validation.schema", "folder/../../outside/s.yaml"),
        ("validation.schema", "linked/s.yaml"),
        ("features.custom", "link.py"),
        ("evaluation.metrics", "linked/m.py"),
        ("release.allowed_signers", "../outside/signers"),
    ],
)
def test_a_path_in_the_config_stays_in_the_projects_folder_unless_it_is_allowed(tmp_path, monkeypatch, key, path):
    project, outside = tmp_path / "project", tmp_path / "outside"
    for each in (project / "folder", outside):
        each.mkdir(parents=True)
    for link, to in (("link.yaml", "s.yaml"), ("link.py", "m.py"), ("linked", ".")):
        (project / link).symlink_to(outside / to)
    monkeypatch.chdir(project)
    section, _, name = key.partition(".")
    with pytest.raises(TaskError, match=rf"config: {key} is .*outside of the project's folder .*allow_outside") as told:
        check_config(config(**{section: {name: path}}), SCHEMA)
    assert "\n" not in str(told.value)
    check_config(config(**{section: {name: path}}, allow_outside=["../outside", "/etc"]), SCHEMA)
    # A neighbour whose name begins alike is not inside.
    monkeypatch.chdir(outside)
    with pytest.raises(TaskError, match="outside of the project's folder"):
        check_config(config(validation={"schema": "../outside2/s.yaml"}), SCHEMA)


def test_a_link_that_leads_out_stops_the_run_before_any_job(project, tmp_path):
    (tmp_path / "contract.yaml").write_text("columns: {}\n", encoding="utf-8")
    (project.folder / "contract.yaml").symlink_to(tmp_path / "contract.yaml")
    project.configure(validation={"schema": "contract.yaml"})
    done = project.snakemake(check=False)
    assert done.returncode == 1
    assert "ERROR - config: validation.schema is 'contract.yaml', which is outside" in done.stdout
    assert not (project.folder / "logs").exists() and "Traceback" not in done.stdout
    project.configure(validation={"schema": "contract.yaml"}, allow_outside=[".."])
    assert project.snakemake("--dry-run").returncode == 0


def test_a_config_that_is_a_program_is_refused_and_by_a_scheduled_run_before_it_is_read(project):
    path = project.folder / "config.yaml"
    path.write_text(
        path.read_text("utf-8")
        + f"__use_yte__: true\nmodel:\n  format: ?open('{project.folder / 'pwned'}', 'w').name\n",
        "utf-8",
    )
    done = project.script("weekly", check=False)
    told = "config.yaml: with __use_yte__ a config is a program. Take it out, and write what it would give."
    assert done.returncode == 1 and told in done.stdout
    assert not pwned(project.folder)
    done = project.snakemake(check=False)
    assert done.returncode == 1 and told in done.stdout and "Traceback" not in done.stdout
    # A key that is written with an escape is the same key.
    path.write_text(
        path.read_text("utf-8").replace("__use_yte__", '"\\x5f_use_yte__"') + "a: !!python/tuple [1]\n", "utf-8"
    )
    for done in (project.script("weekly", check=False), project.snakemake(check=False)):
        assert done.returncode == 1 and told in done.stdout
    # YAML's own way to run something is none.
    path.write_text("target: !!python/object/apply:os.system ['touch pwned2']\n", encoding="utf-8")
    assert project.script("weekly", check=False).returncode == project.script("verify", check=False).returncode == 1
    assert not (project.folder / "pwned2").exists()


# SQL

WRITES = [
    "INSERT INTO kept VALUES (2)",
    "UPDATE kept SET a = 2",
    "DELETE FROM kept",
    "DROP TABLE kept",
    "CREATE TABLE more (a int)",
    "SELECT a FROM kept; DROP TABLE kept",
    "SELECT a FROM kept; COMMIT; DROP TABLE kept",
    "INSERT INTO kept VALUES (2) RETURNING a",
    "WITH x AS (SELECT 2 AS a) INSERT INTO kept SELECT a FROM x",
    "WITH x AS (SELECT 2 AS a) DELETE FROM kept RETURNING a",
]
SQLITE = [
    "ATTACH 'more.db' AS more",
    "VACUUM INTO 'more.db'",
    "VACUUM",
    "REINDEX",
    "PRAGMA query_only = 0",
    "PRAGMA user_version = 7",
    "PRAGMA journal_mode = WAL",
    "SELECT load_extension('more.so')",
    "CREATE TEMP TABLE more (a)",
]
POSTGRESQL = [
    "WITH x AS (DELETE FROM kept RETURNING a) SELECT a FROM x",
    "SET TRANSACTION READ WRITE; DELETE FROM kept",
    "COMMIT; DELETE FROM kept",
    "SELECT set_config('transaction_read_only', 'off', false), purge()",
    "SELECT purge()",
    "SELECT nextval('counter')",
    "SELECT lo_create(4711)",
    "SELECT a INTO more FROM kept",
    "COPY kept TO '/tmp/signoff-copied'",
    "COPY (SELECT 1) TO PROGRAM 'touch pwned'",
    "DO $$ BEGIN DELETE FROM kept; END $$",
]
READS_ONLY = [
    "SELECT a FROM kept",
    "VALUES (1)",
    "WITH RECURSIVE n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n WHERE a < 3) SELECT a FROM n",
    "SELECT a FROM kept -- ; DROP TABLE kept",
    "SELECT ';' AS a FROM kept;",
]


def result(url: str, query: str) -> list | str:
    try:
        return list(_rows(url, query, 10))
    except TaskError as error:
        return str(error)


def test_a_query_of_sqlite_changes_nothing_and_writes_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("some.db") as connection:
        connection.execute("CREATE TABLE kept (a int)")
        connection.execute("CREATE INDEX i ON kept (a)")
        connection.execute("INSERT INTO kept VALUES (1)")
    connection.close()
    before = Path("some.db").read_bytes()
    for query in [*WRITES, *SQLITE]:
        said = result("sqlite:///some.db", query)
        assert isinstance(said, str) and "reader.query" in said and "\n" not in said, (query, said)
        assert Path("some.db").read_bytes() == before, query
        assert os.listdir() == ["some.db"], query
    for query in [*READS_ONLY, "SELECT value FROM json_each('[1]')", "SELECT row_number() OVER () AS a FROM kept"]:
        assert len(result("sqlite:///some.db", query)) > 1, query


def test_a_query_of_postgresql_changes_nothing(postgresql):  # noqa: F811
    """As the owner of the tables, whom no privilege keeps from changing them."""
    postgresql.psql("CREATE ROLE owner LOGIN; GRANT ALL ON SCHEMA public TO owner;")
    postgresql.psql("DROP TABLE IF EXISTS kept; CREATE TABLE kept (a int); INSERT INTO kept VALUES (1);")
    postgresql.psql("DROP SEQUENCE IF EXISTS counter; CREATE SEQUENCE counter;")
    postgresql.psql("CREATE OR REPLACE FUNCTION purge() RETURNS int LANGUAGE sql AS 'DELETE FROM kept; SELECT 1';")
    postgresql.psql("ALTER TABLE kept OWNER TO owner; ALTER SEQUENCE counter OWNER TO owner;")
    url = f"postgresql://owner@/postgres?host={postgresql.pgdata}"
    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    names = "SELECT count(*) FROM pg_class WHERE relname IN ('kept', 'more')"
    state = f"SELECT (SELECT sum(a) FROM kept), (SELECT count(*) FROM kept), ({names}), (SELECT is_called FROM counter)"

    def now() -> tuple:
        with engine.connect() as connection:
            objects = connection.exec_driver_sql("SELECT count(*) FROM pg_largeobject_metadata").scalar()
            return (*connection.exec_driver_sql(state).one(), objects)

    before = now()
    for query in [*WRITES, *POSTGRESQL]:
        said = result(url, query)
        assert isinstance(said, str) and "reader.query" in said and "\n" not in said, (query, said)
        assert now() == before, query
    assert not Path("/tmp/signoff-copied").exists() and not pwned(Path(postgresql.pgdata))
    for query in READS_ONLY:
        assert len(result(url, query)) > 1, query


# What a person reads


def test_a_message_is_one_line_and_steers_no_terminal(tmp_path, capsys):
    args = command_line.arguments("x").parse_args(["--log", str(tmp_path / "x.log")])
    handlers = logging.getLogger().handlers[:]
    with command_line.logged("x", args, "a\x1b[2J\x07b\n2026-01-01 - INFO - | Verdict     passed\u202e"):
        pass
    logging.getLogger().handlers[:] = handlers
    text = (tmp_path / "x.log").read_text(encoding="utf-8")
    assert text.count("\n") == 2 and capsys.readouterr().err == text
    assert r"a\x1b[2J\x07b\n2026-01-01 - INFO - | Verdict     passed\u202e" in text


ELEMENT = "<script>alert(1)</script><signoff-evil onclick=alert(1)><img src=x onerror=alert(1)>"
HOSTILE = f"a|b{ELEMENT}[c](javascript:alert(1)) <a href='javascript:alert(1)'>`d` {{{{ 7 * 7 }}}} &lt;\n\n# e"


def test_html_and_markdown_in_the_data_are_text_in_every_page(project, browser, tmp_path):
    """In the names of columns, in categories, in the target, in the config's words, in the cause of a failed run."""
    columns = {"minutes": f"t{HOSTILE}", "city": f"c{HOSTILE}", "km": f"k{HOSTILE}"}
    frame = rides().replace({"city": {"Köln": f"K{HOSTILE}", "Bonn": f"B{HOSTILE}"}}).rename(columns=columns)
    frame.to_csv(project.folder / "rides.csv", index=False)
    rules = {columns["km"]: {"checks": {"less_than": 10}}, columns["city"]: {"checks": {"isin": ["Trier, West"]}}}
    (project.folder / "schema.yaml").write_text(yaml.safe_dump({"columns": rules}), encoding="utf-8")
    project.configure(
        target=columns["minutes"],
        evaluation={},
        validation={"schema": "schema.yaml"},
        report=dict.fromkeys(("owner", "intended_use", "limitations"), HOSTILE),
    )
    assert "data contract: column k" in project.script("weekly", check=False).stdout
    project.snakemake("reports/final_report.md")
    project.snakemake("--report", "all.html", "reports/final_report.md")
    markdown = (project.folder / "reports/final_report.md").read_text(encoding="utf-8")
    # As a site would show it that lets HTML pass.
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)
    (tmp_path / "rendered.html").write_text(f'<meta charset="utf-8">{rendered}', encoding="utf-8")
    browser.send("Page.addScriptToEvaluateOnNewDocument", source="window.alert = () => { window.alerted = true };")
    shown = "document.body.textContent"
    for page in ("reports/final_report.html", "reports/history.html", "all.html", tmp_path / "rendered.html"):
        browser.open(project.folder / page)
        assert browser("window.alerted") is None, page
        for element in ("signoff-evil", "img[src=x]", "[onerror]", "[onclick]", "[href^=javascript]", "main script"):
            assert browser(f"document.querySelectorAll('{element}').length") == 0, (page, element)
        if page != "all.html":
            assert ELEMENT in browser(shown) and "{{ 7 * 7 }}" in browser(shown), page
    # One heading for each section, and none of the data's.
    assert rendered.count("<h1>") == 1 and "<h1>e" not in rendered
    summary = project.script("summary").stdout
    assert "alert(1)" in summary
