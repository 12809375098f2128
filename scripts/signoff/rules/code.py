"""The code that a task runs. A rule declares it as input, so that a change reruns exactly the tasks that import it."""

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from snakemake.io import sourcecache_entry

from signoff.base.files import read_bytes, replacing, sha256
from signoff.base.modules import modules_of


@dataclass(frozen=True)
class CodeInputs:
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
        path = Path(".snakemake/signoff_code", f"{name}.sha256")
        # One for all models.
        path = path.absolute() if self.many_models else path
        modules = modules_of(self.scripts / f"{name}.py")
        lines = "".join(f"{sha256(each)}  {os.path.relpath(each, self.scripts)}\n" for each in modules)
        if not path.is_file() or read_bytes(path) != lines.encode():
            with replacing(path, small=True) as new:
                new.write_text(lines, encoding="utf-8")
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
