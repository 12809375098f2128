"""A folder of programs like that of the environment, in which `python` and `snakemake` need no time to begin.

Else the imports of Snakemake, pandas and scikit-learn, some thousand times over, would be most of what the tests take.
`programs` makes the folder, and starts a few processes, each of which imports once what some of the programs need: a
process that had imported it all would take four times as long to fork. The two programs ask one of them for a fork of
it, as the tasks of a run do (scripts/signoff/ops/warm.py), which here has their account, too. What they cannot do so
(`python -c`, a variable that Python reads when it begins, such as PYTHONHASHSEED) they do as ever.

Memory and a process's place below its parent are not as ever: a test of these takes the environment's own programs.
"""

import contextlib
import ctypes
import dataclasses
import functools
import gc
import importlib
import io
import os
import re
import resource
import runpy
import socket
import struct
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from pathlib import Path

SCRIPTS = str(Path(__file__).resolve().parent.parent / "scripts")
sys.path.insert(0, SCRIPTS)

from signoff.ops.forking import Asked, end_after, fork_for_each, run_script, take_over  # noqa: E402
from signoff.ops.warm import _ASK  # noqa: E402

TABLES = [
    "pandas",
    "pyarrow.csv",
    "pyarrow.pandas_compat",
    "pyarrow.compute",
    "jsonschema",
    "requests",
    "tenacity",
    "yaml",
    "jinja2",
    "sqlite3",
    "xml.etree.ElementTree",
]
SNAKEMAKE = [
    "snakemake.cli",
    "smart_open",
    "snakemake.benchmark",
    "snakemake.storage",
    "packaging.version",
    "graphlib",
    "snakemake_executor_plugin_slurm",
    "snakemake_storage_plugin_s3",
]
FIGURES = ["matplotlib.pyplot", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "jinja2"]
FIGURES += ["PIL.PngImagePlugin", "PIL.JpegImagePlugin", "xml.etree.ElementTree"]
# The last one when scikit-learn meets the first table.
MODELS = ["sklearn.compose", "sklearn.ensemble", "sklearn.pipeline", "narwhals._pandas_like.dataframe"]
# What many tests import, for the processes that run them.
WORKERS = ["sklearn.inspection", "sklearn.compose", "sklearn.ensemble", "sklearn.pipeline", "scipy.stats"]
WORKERS += ["snakemake.api", "matplotlib.pyplot", "openpyxl", "securesystemslib.signer", "pyarrow.parquet"]
PRELOADED = {
    "snakemake": [*TABLES, *SNAKEMAKE, "snakemake_logger_plugin_rich", "yte"],
    "models": [*TABLES, *MODELS, "skops.io"],
    "figures": [*TABLES, *FIGURES],
    "reports of models": [*TABLES, *FIGURES, *MODELS],
    "tracking": ["mlflow", "mlflow.entities", "jsonschema", "yaml"],
    "tables": [*TABLES, "pandera.pandas", "pandera.backends.pandas.container", "pandera.strategies.pandas_strategies"],
    "workers": [*TABLES, *WORKERS],
}
# What most programs of each kind import of the workflow.
OURS = {
    "snakemake": ["signoff.rules.settings", "signoff.rules.code", "signoff.ops.snakemake_patches"],
    "models": ["train_model", "refit_model", "evaluate_model", "explain_model", "compare_model", "predict"],
    "figures": ["generate_report", "history", "sign_off", "deploy", "rollback"],
    "reports of models": ["explain_model", "compare_model", "generate_report"],
    "tracking": [],
    "workers": [],
    "tables": ["ingest_data", "validate_data", "clean_data", "feature_engineering", "diagnose", "verdict"],
}
OURS["tables"] += ["verify", "status", "weekly", "init_project"]
# The scripts that need more than tables.
NEEDS = {"generate_report": "figures", "history": "figures", "backtest": "figures"}
NEEDS |= {"train_model": "models", "evaluate_model": "models", "explain_model": "models", "row_budget": "models"}
NEEDS |= {"refit_model": "models"}
# After a scheduled run these write its page again.
NEEDS |= {"sign_off": "figures", "deploy": "figures", "rollback": "figures"}
NEEDS |= {"backtest_week": "models", "predict": "models", "compare_model": "models", "track": "tracking"}
NEEDS |= dict.fromkeys(["serve", "predict_models", "live_record", "tasks_chunk"], "models")
NEEDS["models_chunk"] = "reports of models"
NEEDS["run_snakemake"] = "snakemake"
# The benchmark's, each with a fit.
NEEDS |= {"fit": "models", "plain": "models", "floor": "models"}

# {python} is the environment's own, whose start this spares: it imports next to nothing. For os and signal it would
# need as long again as for all the rest.
PROGRAM = """#!{python} -IS
import _signal, _socket, posix, sys
words = sys.argv[1:]
name = sys.argv[0].rpartition("/")[2]
if name == "snakemake":
    words.insert(0, {snakemake!r})
known = (b"PYTHONUNBUFFERED", b"PYTHONDONTWRITEBYTECODE", b"PYTHONPATH")
same = {{b"PYTHONUTF8": b"1", b"PYTHONIOENCODING": b"utf-8"}}
early = [each for each in posix.environ if each.startswith((b"PYTHON", b"LD_")) and each not in known]
early = [each for each in early if posix.environ[each] != same.get(each)]
# In a job of Slurm: a fork of a process outside of it would not be Slurm's to limit and to kill. Some tests do neither.
early += [each for each in posix.environ if each == b"SLURM_JOB_ID" and b"SIGNOFF_QUICK_JOBS" not in posix.environ]
ours = words and words[0].endswith((".py", "/snakemake")) or words[:2] == ["-m", "snakemake"] or name == "worker"
if early or not ours:
    posix.execv({python!r}, [{python!r}, *words])
script = words[0].rpartition("/")[2].removesuffix(".py")
kind = "workers" if name == "worker" else "snakemake" if script in ("snakemake", "-m") else "tables"
python, address = {python!r}, {base!r} + "/" + {needs!r}.get(script, kind)
"""

# A figure, as PNG and as SVG, in the process that imports matplotlib.
drawn: dict[str, bytes] = {}


@contextlib.contextmanager
def programs() -> Iterator[Path]:
    """Yield the folder of the programs; whom they ask ends with the process that calls this, or before."""
    own = Path(sys.executable).parent
    with tempfile.TemporaryDirectory(prefix="signoff-") as base:
        # Other accounts, which some tests take, find the programs and ask, too.
        Path(base).chmod(0o711)
        folder = Path(base, "bin")
        folder.mkdir()
        text = PROGRAM.format(python=sys.executable, snakemake=str(own / "snakemake"), base=base, needs=NEEDS) + _ASK
        for each in own.iterdir():
            program = folder / each.name
            if each.name not in ("python", "python3", "snakemake"):
                program.symlink_to(each)
        for name in ("python", "python3", "snakemake", "worker"):
            (folder / name).write_text(text, encoding="utf-8")
            (folder / name).chmod(0o755)
        options = {"stdin": subprocess.PIPE, "start_new_session": True}
        with contextlib.ExitStack() as stack:
            for kind in PRELOADED:
                # Beside other tests, the threads of a fit of all flights would wait for each other longer than they
                # work. Tests of threads in their own process have them.
                options["env"] = os.environ | ({} if kind == "workers" else {"OMP_THREAD_LIMIT": "1"})
                server = stack.enter_context(subprocess.Popen([sys.executable, __file__, base, kind], **options))
                # What it has started ends with it.
                stack.callback(server.kill)
                while not Path(base, kind).exists():
                    assert server.poll() is None
                    time.sleep(0.01)
            yield folder


def fork_for(folder: Path, kind: str) -> None:
    """Fork for each who asks, until the standard input is closed."""
    # A fork is short-lived, and would look for garbage among what it imports.
    gc.set_threshold(100_000)

    @functools.cache
    def prepare() -> None:
        for name in PRELOADED[kind]:
            importlib.import_module(name)
        import_and_forget(OURS[kind])
        if kind == "snakemake":
            # Looks for all plugins, and keeps what it has found.
            sys.modules["snakemake.cli"].get_argument_parser()
            keep_parsed(Path(__file__).parent.parent)
        if set(FIGURES) <= set(PRELOADED[kind]):
            drawn.update(draw_once())

    # Not before: most who test one script need none of it.
    fork_for_each(folder / kind, lambda words: prepare(), lambda asked, connection: become(asked, connection, folder))


def import_and_forget(names: list[str]) -> None:
    """Import modules of the workflow, and forget them, since a fork imports those of its own copy.

    What is remembered are the regular expressions and the methods of dataclasses that they compile.
    """
    re._MAXCACHE = 10_000
    compiled = functools.cache(lambda text: compile(text, "<string>", "exec"))
    dataclasses.exec = lambda text, *scopes: exec(compiled(text), *scopes)
    finders, path = sys.meta_path[:], [each for each in sys.path if each != SCRIPTS]
    sys.path.insert(0, SCRIPTS)
    for name in names:
        importlib.import_module(name)
    sys.meta_path[:], sys.path[:] = finders, path
    for name, module in list(sys.modules.items()):
        # What waits for its first use is of a class of the workflow.
        late = type(module).__module__.startswith("signoff.")
        if late or (getattr(module, "__file__", None) or "").startswith(SCRIPTS):
            del sys.modules[name]


def keep_parsed(root: Path) -> None:
    """Translate the workflow's rules to Python once; a fork that reads the same text takes what was made of it."""
    from snakemake import workflow
    from snakemake.sourcecache import infer_source_file

    parse, kept = workflow.parse, {}
    read = lambda path: io.StringIO(Path(path.get_path_or_uri(secret_free=True)).read_text("utf-8"))  # noqa: E731
    asking = types.SimpleNamespace(sourcecache=types.SimpleNamespace(open=read))

    def kept_or_parsed(path, asking, linemap, overwrite_shellcmd=None, rulecount=0):
        name = path.get_path_or_uri(secret_free=True)
        text = Path(name).read_bytes() if Path(name).is_file() else None
        if text not in kept or overwrite_shellcmd:
            return parse(path, asking, linemap, overwrite_shellcmd, rulecount)
        first, code, lines, rules = kept[text]
        linemap |= lines
        return code.replace(repr(first), repr(name)), rulecount + rules

    for each in (root / "Snakefile", *root.glob("workflow/rules/*.smk")):
        lines: dict[int, int] = {}
        # Each rule has a name, so what is made of it does not depend on how many come before.
        code, rules = parse(infer_source_file(str(each)), asking, lines)
        kept[each.read_bytes()] = str(each), code, lines, rules
    workflow.parse = kept_or_parsed


def draw_once() -> dict[str, bytes]:
    """Draw any figure, so that a fork finds the fonts, and what else matplotlib keeps; return it in both formats."""
    from matplotlib import pyplot
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure, axes = pyplot.subplots(layout="constrained")
    axes.plot([1, 2], label="x")
    figure.legend()
    png, svg = io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    FigureCanvasSVG(figure).print_svg(svg)
    pyplot.close(figure)
    return {"png": png.getvalue(), "svg": svg.getvalue()}


class Nothing(float):
    """A figure, its axes, and whatever they have, give and hold: nothing is drawn on them, which takes no time."""

    def __getattr__(self, name: str) -> "Nothing":
        return self

    def __call__(self, *_: object, **__: object) -> "Nothing":
        return self

    def __getitem__(self, _: object) -> "Nothing":
        return self

    def __iter__(self) -> Iterator:
        return iter(())


def draw_the_same() -> None:
    """Have matplotlib write the figure that was drawn once in place of each other one, which takes most of a report."""
    import numpy
    from matplotlib import pyplot
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    nothing = Nothing()

    def subplots(rows: int = 1, columns: int = 1, **_: object) -> tuple:
        axes = numpy.array([[nothing] * columns] * rows, dtype=object)
        return nothing, axes if columns > 1 else list(axes[:, 0]) if rows > 1 else nothing

    pyplot.subplots, pyplot.close = subplots, nothing
    FigureCanvasAgg.print_png = lambda self, path, **_: Path(path).write_bytes(drawn["png"])
    FigureCanvasSVG.print_svg = lambda self, file, **_: file.write(drawn["svg"])


def take_account(connection: socket.socket) -> None:
    """Be of the account that asks, in its groups and with its ambient capabilities; only root's fork can change it.

    Of the same account, its files are limited as those of who asks: another one's limits cannot be read.
    """
    process, account, group = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if account == os.getuid():
        resource.setrlimit(resource.RLIMIT_FSIZE, resource.prlimit(process, resource.RLIMIT_FSIZE))
        return
    capabilities = int(re.search(r"CapAmb:\s*(\w+)", Path(f"/proc/{process}/status").read_text("utf-8"))[1], 16)
    SO_PEERGROUPS, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 59, 4, 8, 47, 2
    groups = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * 64)
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([each for (each,) in struct.iter_unpack("I", groups)])
    os.setresgid(group, group, group)
    os.setresuid(account, account, account)
    # Version 3 of the call, and this process: effective, permitted and inherited, the lower and the upper 32.
    sets = [*[capabilities & 0xFFFFFFFF] * 3, *[capabilities >> 32] * 3]
    libc.capset(struct.pack("Ii", 0x20080522, 0), struct.pack("6I", *sets))
    for each in range(64):
        if capabilities >> each & 1:
            libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, each, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 1)


def become(asked: Asked, connection: socket.socket, folder: Path) -> None:
    """Be the command that is asked for, and end with it."""
    take_account(connection)
    connection.close()
    words = asked.words
    if words[0] != "-u":
        sys.executable = str(folder / "bin/python")
    take_over(asked)
    if drawn and "SIGNOFF_ONE_FIGURE" in os.environ:
        draw_the_same()
    if "PYTHONPATH" in os.environ:
        sys.path[1:1] = os.environ["PYTHONPATH"].split(os.pathsep)
        with contextlib.suppress(ImportError):
            importlib.import_module("sitecustomize")

    def work() -> None:
        if words[0] == "-u":
            # A process of pytest-xdist, which reads from its standard input what to do.
            sys.argv, sys.path[0] = ["-c"], ""
            sys.modules["__main__"] = types.ModuleType("__main__")
            exec(words[2], vars(sys.modules["__main__"]))
        elif words[0] == "-m":
            sys.argv, sys.path[0] = words[1:], asked.cwd
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            run_script(words)

    end_after(work)


if __name__ == "__main__":
    fork_for(Path(sys.argv[1]), sys.argv[2])
