"""Shared by all tests: a small project of its own folder, real Snakemake runs, a real HTTP server."""

import compileall
import contextlib
import fcntl
import gc
import http.server
import io
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import warm
from browser.chromium import chromium, found

ROOT = Path(__file__).resolve().parent.parent
PARTS = ["Snakefile", "workflow", "scripts", "profiles", "schedule", "environment.yml"]
PARTS += ["requirements.txt", "requirements-mlflow.txt"]
# The tasks of the contract, each with the file that it makes.
OUTPUTS = {
    "ingest_data": "data/raw/raw_data.csv",
    "validate_data": "reports/validation_report.json",
    "clean_data": "data/processed/cleaned_data.csv",
    "feature_engineering": "data/features/features.csv",
    "train_model": "model/model.pkl",
    "evaluate_model": "reports/evaluation_metrics.json",
    "generate_report": "reports/final_report.md",
}


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts the tests in the background has told them, and all that they start, to ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Where it is set, each of the many processes would compile all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# As in the workflow, and as Snakemake gives a task of one core: else threads that wait would take what the tests beside
# them could use.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What a worker has imported is no garbage, and to look through it time and again took one of them a tenth of its time.
gc.set_threshold(100_000, 50, 100)

# What takes long to make, and few tests need.
COSTLY = ["slurm", "own_run", "replayed_run", "mlflow_installed", "postgresql", "s3_server", "browser"]
COSTLY += ["states", "refitted_run", "running", "hostile", "compared"]
# Files with tests that take a minute each.
LONG = ["test_slurm.py", "test_docs.py", "test_year.py"]
# The files whose tests look at figures, or compare them. In the others, and in tests with the mark `one_figure`, each
# figure of a report is one that warm.py has drawn before.
LOOK = {"test_backtest.py", "test_history.py", "test_kills.py", "test_object_store.py", "test_report.py"}
LOOK |= {"test_slurm.py", "test_together.py", "test_workflow.py"}
# The tests in two halves that import little in common, for two processes.
HALVES = [["features", "model", "report", "review", "tables"]]
HALVES.append(sorted({path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")} - {*HALVES[0]}))
# What tells a test that runs the workflow from one of a function or a script: its fixtures, or its file.
RUNS = {"project", "finished_run", *COSTLY}
RUN_BY = {*LONG, "test_workflow.py", "test_init_project.py", "test_bench.py", "test_tables.py", "test_kills.py"}
RUN_BY |= {"test_old.py", "test_security.py"}


def pytest_configure(config):
    """Have programs that begin at once; the workers share them."""
    if "SIGNOFF_PROGRAMS" not in os.environ:
        # Else each worker, and each copy of a project, would compile what nobody has imported before.
        compileall.compile_dir(ROOT / "scripts", quiet=1)
        programs = contextlib.ExitStack()
        os.environ["SIGNOFF_PROGRAMS"] = str(programs.enter_context(warm.programs()))
        config.add_cleanup(programs.close)
        shared_workflow().mkdir()
        copy_all(*(ROOT / part for part in PARTS), shared_workflow())
        workers = config.getoption("numprocesses", None) or 0
        if workers > 2:
            compile_tests()
        # Half of what a worker does before its first test is to import what all of them do.
        if workers:
            config.option.tx = [f"popen//python={program('worker')}"] * workers


def compile_tests() -> None:
    """Compile the tests and what they import, unless that was done before: else each worker would, at the same time."""
    tests = [path for each in HALVES for name in each for path in (ROOT / "tests" / name).glob("test_*.py")]
    if all(any(path.parent.glob(f"__pycache__/{path.stem}.*pytest*.pyc")) for path in tests):
        return
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-n", "0"]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # The workers have the same errors, and tell them.
    for each in [subprocess.Popen([*command, *(ROOT / "tests" / name for name in half)], **streams) for half in HALVES]:
        each.wait()


def program(name: str) -> str:
    """Return the path of a program of the environment, one that begins at once where tests/warm.py has it."""
    return str(Path(os.environ.get("SIGNOFF_PROGRAMS", Path(sys.executable).parent), name))


def shared_workflow() -> Path:
    """Return the copy of the workflow to whose files each project has links: copies would take eight times as long."""
    return Path(program("python")).parent.parent / "workflow"


@pytest.fixture(scope="session", autouse=True)
def unchanged_workflow():
    """Notice a test that writes into a file of the workflow, which all projects share, in place of rewriting it."""
    before = {path: path.stat() for path in shared_workflow().rglob("*") if path.is_file()}
    yield
    for path, stat in before.items():
        assert path.stat().st_mtime_ns == stat.st_mtime_ns, f"{path} was changed: see Project.rewrite"


@pytest.fixture(autouse=True)
def own_handlers():
    """Have no test leave a handler behind, whose stream ends with the test."""
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers


@pytest.fixture(autouse=True)
def one_figure(request, monkeypatch):
    """Spare the drawing of figures that nobody looks at."""
    nobody_looks = request.path.name not in LOOK or request.node.get_closest_marker("one_figure")
    if nobody_looks and "browser" not in request.fixturenames:
        monkeypatch.setenv("SIGNOFF_ONE_FIGURE", "1")


def quick_environment(folder: Path) -> None:
    """Give a copy of the repository an environment whose programs begin at once; make takes it for a complete one."""
    (folder / ".venv").mkdir()
    (folder / ".venv/bin").symlink_to(Path(program("python")).parent)
    for each in (".uv", ".made"):
        (folder / ".venv" / each).touch()


@pytest.fixture
def quick_make(monkeypatch):
    """Have make run the programs of the environment that begin at once."""
    monkeypatch.setenv("MAKEFLAGS", f"-- BIN={Path(program('python')).parent}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Keep the tests that share a costly fixture on one worker, so that it is made once; begin with the longest.

    Those that run no workflow come last: the workers end at nearly the same time.
    """
    for item in items:
        for name in [each for each in COSTLY if each in item.fixturenames][:1]:
            item.add_marker(pytest.mark.xdist_group(name))
        if RUNS & set(item.fixturenames) or item.path.name in RUN_BY:
            item.add_marker("workflow")
    items.sort(key=lambda item: (item.path.name not in LONG, item.get_closest_marker("workflow") is None))


def rides(rows: int = 600, seed: int = 1) -> pd.DataFrame:
    """Return a table that a model can learn from: dates, categories, numbers with gaps, an id."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "started": pd.date_range("2024-01-01", periods=rows, freq="3h").strftime("%Y-%m-%d %H:%M:%S"),
            "city": random.choice(["Köln", "Bonn", "Trier, West"], rows),
            "km": random.uniform(1, 20, rows).round(2),
            "riders": random.integers(1, 5, rows),
            "ride": [f"ride-{n:05d}" for n in range(rows)],
        }
    )
    slow = frame["city"].map({"Köln": 3.0, "Bonn": 2.0, "Trier, West": 1.5})
    frame["minutes"] = (frame["km"] * slow + 2 * frame["riders"] + random.normal(0, 1, rows)).round(2)
    frame.loc[random.choice(rows, rows // 20, replace=False), "km"] = np.nan
    return frame


CONFIG = {
    "raw_data_source_url": "rides.csv",
    "target": "minutes",
    "thresholds": {"mae_max": 10, "r2_min": 0.5},
    "evaluation": {"baseline": "km"},
    # Small, so that the tests spend their time on the workflow and not on trees.
    "model": {"params": {"max_iter": 20}, "intervals": "constant"},
}


@dataclass
class Project:
    """A user's folder beside a copy of the workflow."""

    folder: Path
    workflow: Path

    def copy(self, base: Path) -> "Project":
        """Return a copy of both folders in `base`; their relative place, which Snakemake notes, stays the same."""
        base.mkdir(parents=True)
        copy_all(self.folder, base / "project")
        link_all(self.workflow, base / "signoff")
        return Project(base / "project", base / "signoff")

    def rewrite(self, path: str, old: str, new: str) -> None:
        """Replace text in a file of the workflow once; the other projects, which have links to it, keep theirs."""
        text = (self.workflow / path).read_text(encoding="utf-8")
        assert old in text
        (self.workflow / path).unlink()
        (self.workflow / path).write_text(text.replace(old, new, 1), encoding="utf-8")

    def configure(self, **changes: object) -> None:
        """Write config.yaml, the CONFIG above with `changes`; a key given as None is left out."""
        config = {**CONFIG, **changes}
        config = {key: value for key, value in config.items() if value is not None}
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def snakemake(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess:
        """Run the real command; its two streams come back as one text."""
        command = [program("snakemake"), "--snakefile", self.workflow / "Snakefile", "--directory", self.folder]
        command += ["--configfile", self.folder / "config.yaml", "--cores", "2"]
        done = run([*command, *arguments], env={**os.environ, **environment})
        assert not check or done.returncode == 0, done.stdout
        return done

    def script(self, name: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess:
        """Run a script of the project's workflow in its folder, as make does; its two streams come back as one text."""
        done = run([program("python"), self.workflow / f"scripts/{name}.py", *arguments], cwd=self.folder)
        assert not check or done.returncode == 0, done.stdout
        return done

    def sign_off(
        self, *arguments: object, reviewer: str = "Ada", alarms: tuple[str, ...] = (), check: bool = True
    ) -> subprocess.CompletedProcess:
        """Approve the current model; if it raises these alarms, and no others, with a reason."""
        decision = ["--reviewer", reviewer, "--decision", "approve", "--comment", "read it"]
        if alarms:
            found = [each["name"] for each in self.json("reports/diagnostics.json")["alarms"]]
            assert set(found) == set(alarms), found
            decision += ["--override", "the alarms were read"]
        return self.script("sign_off", *decision, *arguments, check=check)

    def json(self, path: str) -> dict:
        """Return what a JSON file of the project holds."""
        return json.loads((self.folder / path).read_text(encoding="utf-8"))

    def jobs(self, *arguments: str) -> set[str]:
        """Return the rules that a run would execute, but for the default target."""
        text = self.snakemake("--dry-run", *arguments).stdout
        return set(re.findall(r"^(?:local)?rule (\w+):$", text, flags=re.M)) - {"all"}

    def inputs(self, *arguments: str) -> dict[str, set[str]]:
        """Return for each rule the paths that it declares as inputs."""
        text = self.snakemake("--dry-run", "--forceall", "--verbose", *arguments).stdout
        found = re.findall(r"^(?:local)?rule (\w+):\n    input: (.*)$", text, flags=re.M)
        return {name: set(paths.split(", ")) for name, paths in found}

    def contents(self) -> dict[str, bytes]:
        """Return every output's bytes, but for logs and the history, which hold times."""
        folders = ("data", "model", "reports")
        files = [path for name in folders for path in (self.folder / name).rglob("*") if path.is_file()]
        # What a kill has left of a new file is hidden, and gone with the next one.
        files = [path for path in files if path.name not in ("history.html", "index.html") and path.suffix != ".part"]
        # The output of a job for many weeks or parts lists the times of their files.
        files = [path for path in files if path.parent.name != ".chunks"]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


def run(command: list[str], **options) -> subprocess.CompletedProcess:
    """Run a command; its two streams come back as one text."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    words = list(map(str, command))
    return subprocess.run(words, text=True, encoding="utf-8", timeout=1800, check=False, **streams, **options)


def script(name: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    """Run a task's own command line."""
    return run([program("python"), ROOT / f"scripts/{name}.py", *arguments], cwd=cwd)


def in_process(module, *words: str, said: str | None = None) -> tuple[int, str, list[str]]:
    """Run a command line in this process, on a terminal where something is `said`; return code, output and log."""
    terminal = io.StringIO(said or "")
    terminal.isatty = lambda: said is not None
    handlers = logging.getLogger().handlers[:]
    # The working folder may be that of the other workers, too.
    path, code = Path("logs", f"{os.getpid()}.log"), 0
    path.unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdin", terminal)
        streams = io.StringIO()
        with contextlib.redirect_stdout(streams), contextlib.redirect_stderr(streams):
            try:
                module.main([*words, "--log", str(path)])
            except SystemExit as stop:
                code = stop.code
    logging.getLogger().handlers[:] = handlers
    log = path.read_text("utf-8").splitlines() if path.exists() else []
    return code, streams.getvalue(), [line.partition(" - ")[2] for line in log]


def copy_all(*paths: Path) -> None:
    """Copy files and folders, as cp does; shutil takes more than twice as long for hundreds of files."""
    subprocess.run(["cp", "-a", *paths], check=True)


def link_all(folder: Path, new: Path) -> None:
    """Make a folder with links to the files of another one, or with copies on another file system."""
    command = ["cp", "-al", folder, new]
    if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode:
        shutil.rmtree(new, ignore_errors=True)
        copy_all(folder, new)


def make_project(folder: Path) -> Project:
    """Return a new project in `folder`/project, with the workflow in `folder`/signoff."""
    project = Project(folder / "project", folder / "signoff")
    project.folder.mkdir(parents=True)
    if shared_workflow().is_dir():
        link_all(shared_workflow(), project.workflow)
    else:
        # In a program that is no test.
        project.workflow.mkdir()
        copy_all(*(ROOT / part for part in PARTS), project.workflow)
    rides().to_csv(project.folder / "rides.csv", index=False)
    project.configure()
    return project


@pytest.fixture
def project(tmp_path) -> Project:
    """A project that has not run yet."""
    return make_project(tmp_path)


def made_once(tmp_path_factory, name: str, make: Callable[[Path], object]) -> Project:
    """Return the project in the folder that `make` has filled: the first worker makes it, the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with open(folder.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.with_suffix(".made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            folder.with_suffix(".made").touch()
    return Project(folder / "project", folder / "signoff")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Project:
    """A project that has run to its end, report included; shared, so never to be changed."""

    def make(folder: Path) -> None:
        project = make_project(folder)
        project.snakemake("all", "reports/final_report.md")

    return made_once(tmp_path_factory, "finished", make)


@pytest.fixture
def finished(finished_run, tmp_path) -> Project:
    """A copy of the finished project that a test may change."""
    return finished_run.copy(tmp_path / "copy")


@pytest.fixture(scope="session")
def released_run(finished_run, tmp_path_factory) -> Project:
    """A project with two releases, of 600 and of 660 rides; shared, so never to be changed."""

    def make(folder: Path) -> None:
        project = finished_run.copy(folder)
        for rows in (600, 660):
            rides(rows).to_csv(project.folder / "rides.csv", index=False)
            project.snakemake("reports/final_report.md", "all", SIGNOFF_ONE_FIGURE="1")
            project.sign_off()
            project.snakemake("deploy")

    return made_once(tmp_path_factory, "released", make)


@pytest.fixture
def released(released_run, tmp_path) -> Project:
    """A copy of the project with two releases that a test may change."""
    return released_run.copy(tmp_path / "copy")


@pytest.fixture(scope="session")
def replayed_run(tmp_path_factory) -> Project:
    """A project that has run, and whose last three weeks were replayed; shared, so never to be changed."""

    def make(folder: Path) -> None:
        several_weeks(make_project(folder)).snakemake("all", "reports/final_report.md", "backtest")

    return made_once(tmp_path_factory, "replayed", make)


def several_weeks(project: Project) -> Project:
    """Give a project eleven whole weeks: with the default of eight to train on first, three are scored."""
    rides(8 * 77).to_csv(project.folder / "rides.csv", index=False)
    project.configure(thresholds={"mae_max": 10, "r2_min": 0.5, "max_regression": 0.0})
    return project


@contextlib.contextmanager
def listen(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on the loopback address, in silence; yields host and port."""
    quiet = type("Quiet", (handler,), {"log_message": lambda *arguments: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), quiet) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{listening.server_address[1]}"
        finally:
            listening.shutdown()


@dataclass
class Server:
    """A real server on the loopback address. `answers` are used up one a request, the last one for ever; each is a
    status, headers, and a body; a shorter body than its Content-Length is a transfer that was cut."""

    url: str
    answers: list[tuple[int, dict[str, str], bytes]]
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def server():
    """Start a Server; stop it after the test."""
    started = Server("", [])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            started.requests.append(self.command)
            status, headers, body = started.answers[0] if len(started.answers) == 1 else started.answers.pop(0)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

    with contextlib.ExitStack() as stack:
        started.url = f"http://{stack.enter_context(listen(Handler))}"
        started.stop = stack.close
        yield started


@pytest.fixture(scope="session")
def s3_server():
    """The address of a server that speaks S3."""
    # Slow to import, and few tests need it.
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A real Chromium."""
    if not found():
        pytest.skip("there is no Chromium: tests/browser/install.sh")
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started
