"""Programs that begin and end sooner: modules are imported when they are first used, and less garbage is looked for."""

import atexit
import functools
import gc
import sys
import threading
from collections.abc import Iterable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_loading = threading.RLock()


def collect_less() -> None:
    """Let this process look for garbage less often, hardly while it imports, and not at its exit.

    By default, Python looks for it time and again among all that is imported, which takes a tenth to a fifth of the
    time of the imports. At exit, it does so several times, which takes 0.2 s; freezing skips that.
    """
    gc.set_threshold(1_000_000, 50, 100)
    atexit.register(gc.freeze)


@functools.cache
def imported() -> None:
    """Let this process look for garbage from now on, except among what it has imported. Only the first call counts."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def import_late(name: str, names: Iterable[str]) -> None:
    """Import a module at the first use of one of its attributes; not if it has been imported already.

    The loader of the standard library does not do for this: in Python 3.11, the second import of a module is a use.

    Parameters
    ----------
    name
        The module's dotted name.
    names
        What libraries import from it by name. Such an import is no use of the module, but a call is.
    """
    if not any(isinstance(each, _Finder) and each.name == name for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder(name, frozenset(names)))


class _LateModule(ModuleType):
    """A module that is executed when it is first asked for an attribute that it lacks."""

    def __init__(self, name: str, names: frozenset[str], loader: Loader) -> None:
        super().__init__(name)
        # The import system sets some attributes before the module waits for its first use.
        vars(self).update({"_names": names, "_loader": loader, "_waits": False})

    def __getattr__(self, name: str) -> Any:
        own = vars(self)
        if name in own["_names"]:
            return _LateAttribute(self, name)
        # The import system asks whether it is a package, which would have this attribute by now.
        if name == "__path__" and own["_waits"]:
            raise AttributeError(name)
        # Another thread may execute it now. While it is executed, it is a module like others.
        with _loading:
            if own["_waits"]:
                own["_waits"] = False
                own["_loader"].exec_module(self)
                self.__class__ = ModuleType  # type: ignore[assignment]
        try:
            return own[name]
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None


class _Finder(MetaPathFinder, Loader):
    """Finds one module, and leaves its execution for later."""

    def __init__(self, name: str, names: frozenset[str]) -> None:
        self.name, self.names = name, names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == self.name else None
        if spec is None or spec.loader is None:
            return None
        self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _LateModule(spec.name, self.names, self._loader)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["_waits"] = True


class _LateAttribute:
    """Stands for an attribute of a late module, until it is called or asked for an attribute of its own."""

    def __init__(self, module: ModuleType, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._found()(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found(), name)

    def __instancecheck__(self, instance: Any) -> bool:
        # Before its module is executed, a class has no instances.
        return not vars(self._module).get("_waits") and isinstance(instance, self._found())

    def __or__(self, other: Any) -> Any:
        return self

    __ror__ = __or__

    def _found(self) -> Any:
        # Any other attribute that it lacks makes the module execute.
        getattr(self._module, "__all__", None)
        return getattr(self._module, self._name)
