"""The code that a task runs. A rule declares it as input, so that a change reruns exactly the tasks that import it."""

import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path

from snakemake.io import sourcecache_entry

from signoff.base.files import sha256

_PACKAGE = "signoff"
_IMPORT = re.compile(rf"^ *(?:from ({_PACKAGE}[\w.]*) import (\([^)]*\)|.*)|import ({_PACKAGE}[\w.]*))", re.M)


@dataclass(frozen=True)
class Code:
    """The scripts of the workflow, as rules declare them.

    Parameters
    ----------
    scripts
        The folder `scripts` of the workflow, absolute.
    in_store
        Whether all other files are in an object store.
    many_models
        Whether the rules are read for many models, each in its own folder.
    """

    scripts: Path
    in_store: bool
    many_models: bool

    def on_disk(self, path: str | None) -> str | list[str]:
        """Return a path as an input that stays on disk even if all other files are in an object store; [] for None.

        Snakemake's `local()` would also keep the job from being sent to a cluster.
        """
        if path is None:
            return []
        # An absolute path is the same for all models.
        path = os.path.abspath(path) if self.many_models else path
        return sourcecache_entry(path, path) if self.in_store else path

    @functools.cache  # noqa: B019, there is one object in a process
    def script(self, name: str) -> str | list[str]:
        """Return the path of a script, relative to the working folder: the command shown is one that can be typed."""
        return self.on_disk(os.path.relpath(self.scripts / f"{name}.py"))

    def helpers(self, name: str) -> list[str | list[str]]:
        """Return the paths of the modules that a script imports, directly or through others."""
        return [self.digests(name)] if self.many_models else self._modules(name)

    @functools.cache  # noqa: B019
    def digests(self, name: str) -> str:
        """Return the path of a file that lists the digests of these modules: one input, for rules with many jobs.

        The file is rewritten only if a module has changed.
        """
        path = Path(".snakemake/signoff_code", f"{name}.sha256").absolute()
        modules = modules_of(self.scripts / f"{name}.py")
        lines = "".join(f"{sha256(each)}  {os.path.relpath(each, self.scripts)}\n" for each in modules)
        if not path.is_file() or path.read_bytes() != lines.encode():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(lines, encoding="utf-8")
        return str(path)

    @functools.cache  # noqa: B019
    def _modules(self, name: str) -> list[str | list[str]]:
        return [self.on_disk(_from_here(path, os.getcwd())) for path in modules_of(self.scripts / f"{name}.py")]

    def captions(self) -> list[str | list[str]]:
        """Return the paths of the captions, which the report and Snakemake's own report share."""
        found = sorted(self.scripts.parent.glob("workflow/report/*.rst"))
        return [self.on_disk(os.path.relpath(path)) for path in found]


@functools.cache
def _from_here(path: Path, here: str) -> str:
    """Return a path relative to the working folder."""
    return os.path.relpath(path, here)


def modules_of(script: Path) -> list[Path]:
    """Return the modules of the package that a script imports, directly or through others, sorted by path.

    The `__init__.py` of each package on the way is among them, and so are files next to a module that are not Python
    (templates, styles). Imports inside functions count too.
    """
    root = str(script.parent)
    modules, others = _files(root)
    found: set[str] = set()
    waiting = list(_imports(str(script), root))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _imports(modules[name], root)
    paths = {modules[name] for name in found}
    beside = [file for folder in {os.path.dirname(path) for path in paths} for file in others[folder]]
    return [Path(path) for path in sorted([*paths, *beside], key=lambda path: path.split(os.sep))]


# Names are texts, and the disk is listed once: a run with nothing to do spent a third of its time here.
@functools.cache
def _files(root: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the path of each module and package below `root`, by dotted name, and by folder all files but Python's."""
    modules: dict[str, str] = {}
    others: dict[str, list[str]] = {}
    for folder, _, names in os.walk(os.path.join(root, _PACKAGE)):
        dotted = os.path.relpath(folder, root).replace(os.sep, ".")
        others[folder] = [os.path.join(folder, name) for name in names if not name.endswith((".py", ".pyc"))]
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix == ".py":
                modules[dotted if stem == "__init__" else f"{dotted}.{stem}"] = os.path.join(folder, name)
    return modules, others


@functools.cache
def _imports(path: str, root: str) -> frozenset[str]:
    """Return the dotted names of the modules and packages below `root` that one file imports."""
    modules, _ = _files(root)
    found: set[str] = set()
    # Matching the text takes a tenth of the time of parsing it.
    for package, names, plain in _IMPORT.findall(Path(path).read_text(encoding="utf-8")):
        parts = (package or plain).split(".")
        found.update(".".join(parts[:n]) for n in range(1, len(parts) + 1))
        found.update(f"{package}.{name}" for name in re.findall(r"\w+", names))
    return frozenset(found & modules.keys())
