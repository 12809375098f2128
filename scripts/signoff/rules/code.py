"""The code that a task runs: a rule declares it as input, so that a change reruns exactly the tasks that import it."""

import functools
import re
from pathlib import Path

_PACKAGE = "signoff"
_IMPORT = re.compile(rf"^ *(?:from ({_PACKAGE}[\w.]*) import (\([^)]*\)|.*)|import ({_PACKAGE}[\w.]*))", re.M)


def modules_of(script: Path) -> list[Path]:
    """Return the modules of the package that a script imports, directly or through others, sorted by path.

    The `__init__.py` of each package on the way is among them, and so are the files beside a module that are no
    Python: templates, styles. Imports inside functions count too.
    """
    found: set[Path] = set()
    waiting = list(_imports(script, script.parent))
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += _imports(module, script.parent)
    beside = {file for folder in {module.parent for module in found} for file in folder.iterdir() if file.is_file()}
    return sorted(found | {file for file in beside if file.suffix not in (".py", ".pyc")})


@functools.cache
def _imports(path: Path, root: Path) -> tuple[Path, ...]:
    """Return the modules below `root` that one file imports."""
    found: set[Path] = set()
    # Matching the text takes a tenth of the time of parsing it, which a run with nothing to do would feel.
    for package, names, plain in _IMPORT.findall(path.read_text(encoding="utf-8")):
        dotted = package or plain
        candidates = [dotted, *(f"{dotted}.{name}" for name in re.findall(r"\w+", names))]
        for each in candidates:
            parts = each.split(".")
            module = Path(root, *parts).with_suffix(".py")
            packages = [Path(root, *parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
            found.update(file for file in (module, *packages) if file.is_file())
    return tuple(sorted(found))
