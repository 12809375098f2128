"""Which modules of the package a file imports, directly or through others."""

import functools
import os
import re
from pathlib import Path

from signoff.base.files import read_utf8

_PACKAGE = "signoff"
_IMPORT = re.compile(rf"^ *(?:from ({_PACKAGE}[\w.]*) import (\([^)]*\)|.*)|import ({_PACKAGE}[\w.]*))", re.M)


def modules_of(script: Path, folder: Path | None = None) -> list[Path]:
    """Return the modules of the package that a file imports, directly or through others, sorted by path.

    The package is in `folder`, which is by default that of the file.

    The `__init__.py` of each package on the way is among them, and so are files next to a module that are not Python
    (templates, styles). Imports inside functions count too.
    """
    root = str(folder or script.parent)
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
    for package, names, plain in _IMPORT.findall(read_utf8(Path(path))):
        parts = (package or plain).split(".")
        found.update(".".join(parts[:n]) for n in range(1, len(parts) + 1))
        found.update(f"{package}.{name}" for name in re.findall(r"\w+", names))
    return frozenset(found & modules.keys())
