"""Import once what most tasks need, and fork for each task of one run of Snakemake, which starts this program.

    python scripts/warm_parent.py FOLDER

FOLDER gets the socket at which a task asks for a fork (signoff/ops/warm.py). The forks do what `python SCRIPT` does. If
that cannot be promised, because a module has changed since or a variable differs that libraries read when they are
imported, the fork becomes Python itself.
"""

import contextlib
import importlib
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

from signoff.base.files import WORKFLOW, read_utf8
from signoff.ops.forking import Asked, become_python, end_after, fork_for_each, run_script, take_over

# What most runs need, in the order in which they need it. Those that take long are in pieces, between which a task that
# asks is served.
_FIRST = ["ingest_data", "pandas", "clean_data", "validate_data", "feature_engineering"]
_FIRST += ["scipy.sparse", "sklearn.base", "sklearn.ensemble", "train_model", "evaluate_model"]
_FIRST += ["compare_model", "explain_model", "refit_model", "models_chunk", "generate_report"]
_SCRIPTS = WORKFLOW / "scripts"
# How the variables begin that Python or a library reads when it is started or imported.
_READ_EARLY = (
    *(b"PYTHON", b"LD_", b"LC_", b"LANG", b"GLIBC_", b"MALLOC_", b"OMP_", b"GOMP_", b"OPENBLAS_", b"ARROW_", b"NPY_"),
    *(b"SCIPY_", b"SKLEARN_", b"JOBLIB_"),
)
# Snakemake sets them for each task: see `give_threads`.
_THREADS = (b"OMP_NUM_THREADS", b"OPENBLAS_NUM_THREADS")


class _Imports:
    """What this process has imported, and what it was then."""

    def __init__(self) -> None:
        self._environment = _read_early(dict(os.environb))
        # Of each module of the workflow, by its path.
        self._files: dict[str, tuple[int, int] | None] = {}
        # How many modules there were when libraries were looked for.
        self._modules = 0
        self._libraries: Any = None
        self._threads = False

    def add(self, name: str) -> None:
        """Import a module, or what a script imports. If that fails, the fork says so."""
        with contextlib.suppress(BaseException):
            importlib.import_module(name)
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None) or ""
            if path.startswith(f"{_SCRIPTS}/") and path not in self._files:
                self._files[path] = _state(path)

    def look_for_threads(self) -> None:
        """Find the libraries that have threads, and whether any has started one."""
        if len(sys.modules) == self._modules:
            return
        if "numpy" in sys.modules:
            from threadpoolctl import ThreadpoolController

            self._libraries = ThreadpoolController()
        self._modules = len(sys.modules)
        # Arrow's allocator has one, and mends it in a fork.
        names = (read_utf8(each / "comm").strip() for each in Path("/proc/self/task").iterdir())
        self._threads = len([each for each in names if each != "jemalloc_bg_thd"]) > 1

    def are_those_of(self, asked: Asked) -> bool:
        """Return whether a process that is started now would import the same."""
        script = Path(asked.cwd, asked.words[0]).resolve()
        return (
            script.parent == _SCRIPTS
            and not self._threads
            and _read_early(asked.environment) == self._environment
            and all(_state(path) == state for path, state in self._files.items())
        )

    def give_threads(self) -> None:
        """Let libraries use as many threads as they would if they were loaded now, and random numbers be others."""
        for library in self._libraries.lib_controllers if self._libraries else ():
            given = os.environ.get("OMP_NUM_THREADS" if library.user_api == "openmp" else "OPENBLAS_NUM_THREADS", "")
            if given.isdecimal():
                library.set_num_threads(int(given))
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()


def _read_early(environment: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {each: value for each, value in environment.items() if each.startswith(_READ_EARLY) and each not in _THREADS}


def _state(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size


def _fork_for_tasks() -> None:
    folder = Path(sys.argv[1])
    imports = _Imports()

    def prepare(words: list[str]) -> None:
        if (_SCRIPTS / Path(words[0]).name).is_file():
            imports.add(Path(words[0]).stem)
        imports.look_for_threads()

    def become(asked: Asked, connection: socket.socket) -> None:
        connection.close()
        take_over(asked)
        if not imports.are_those_of(asked):
            become_python(asked)
        imports.give_threads()
        end_after(lambda: run_script(asked.words))

    # With one core, Snakemake would wait.
    several = len(os.sched_getaffinity(0)) > 1
    fork_for_each(folder / "socket", prepare, become, map(imports.add, _FIRST if several else []))
    # Snakemake was killed.
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _fork_for_tasks()
