"""Run a user's own code: a function in one file, which is the project's own or the copy of it that a release holds."""

import contextlib
import hashlib
import inspect
import sys
import traceback
from pathlib import Path
from types import CodeType, ModuleType

from signoff.base.errors import TaskError, nearest


def read_code(path: Path, digest: str | None = None) -> tuple[CodeType, str]:
    """Return the compiled code of a Python file, and the file's SHA-256. Nothing is run.

    Raises
    ------
    TaskError
        There is no such file, it is no Python, or it has not the SHA-256 `digest`, where one is given.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise TaskError(f"{path} does not exist, and the config names it. Write it, or correct the config.") from error
    found = hashlib.sha256(content).hexdigest()
    if digest not in (None, found):
        raise TaskError(f"{path} is not the file that was written down ({digest[:12]}). Restore it, or train again.")
    try:
        return compile(content, str(path), "exec", dont_inherit=True), found
    except (SyntaxError, ValueError) as error:
        where = f"{path}, line {error.lineno}" if getattr(error, "lineno", None) else path
        raise TaskError(f"{where}: {getattr(error, 'msg', error)}. It is no valid Python.") from error


def load_code(path: Path, digest: str | None = None) -> tuple[ModuleType, str]:
    """Return the module that a Python file makes, run after its SHA-256 was found to be `digest`, and its SHA-256.

    Raises
    ------
    TaskError
        As `read_code`, or the file raises something: the message names its line.
    """
    code, found = read_code(path, digest)
    module = ModuleType(f"custom_{found[:12]}")
    module.__file__ = str(path)
    # Some of the standard library, such as dataclasses, looks a class's module up by its name.
    sys.modules[module.__name__] = module
    with _told(module):
        exec(code, module.__dict__)
    return module, found


def call(module: ModuleType, name: str, **arguments: object) -> object:
    """Return what a function of the module returns for the arguments, which it may call as it likes.

    Raises
    ------
    TaskError
        There is no such function, it takes another number of arguments, or it raises something.
    """
    function = getattr(module, name, None)
    wanted = f"def {name}({', '.join(arguments)})"
    if not callable(function):
        others = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        hint = nearest(name, others) if others else "it has none."
        raise TaskError(f"{module.__file__} has no function {name!r}: {hint} Write {wanted}.")
    try:
        inspect.signature(function).bind(*arguments.values())
    except TypeError as error:
        taken = f"{name}{inspect.signature(function)}"
        raise TaskError(f"{module.__file__}: {taken} does not fit ({error}). Write {wanted}.") from error
    with _told(module, *arguments.values()):
        return function(*arguments.values())


@contextlib.contextmanager
def _told(module: ModuleType, *arguments: object):
    """Turn what the user's code raises into a TaskError with the file, the line and, for a column, the nearest one."""
    try:
        # Standard output may be where the predictions go.
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except MemoryError:
        raise
    except Exception as error:
        path = module.__file__
        lines = [each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == path]
        where = f"{path}, line {lines[-1]}" if lines else path
        columns = [name for each in arguments for name in getattr(each, "columns", [])]
        hint = ""
        if isinstance(error, KeyError) and columns:
            hint = f": {nearest(str(error.args[0]), dict.fromkeys(columns))}"
        raise TaskError(f"{where}: {type(error).__name__}: {' '.join(str(error).split())}{hint}") from error
