"""Run custom code: a function in one file of the project, or the copy of it in a release."""

import contextlib
import hashlib
import inspect
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType

from signoff.base.errors import TaskError, nearest
from signoff.base.files import read_bytes


def read_code(path: Path, digest: str | None = None) -> tuple[CodeType, str]:
    """Return the compiled code of a Python file, and the file's SHA-256. Nothing is run.

    Raises
    ------
    TaskError
        The file does not exist, is not Python, or does not have the SHA-256 `digest`, if one is given.
    """
    try:
        content = read_bytes(Path(path))
    except FileNotFoundError as error:
        raise TaskError(f"{path} does not exist, and the config names it. Write it, or correct the config.") from error
    found = hashlib.sha256(content).hexdigest()
    if digest is not None and digest != found:
        raise TaskError(f"{path} is not the recorded file ({digest[:12]}). Restore it, or train again.")
    try:
        return compile(content, str(path), "exec", dont_inherit=True), found
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f"{path}, line {line}" if line else path
        raise TaskError(f"{where}: {getattr(error, 'msg', error)}. It is not valid Python.") from error


def load_code(path: Path, digest: str | None = None) -> tuple[ModuleType, str]:
    """Return the module of a Python file, run only if its SHA-256 is `digest`, and its SHA-256.

    Raises
    ------
    TaskError
        As `read_code`, or the file raises an exception: the message names its line.
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
    """Return the result of a function of the module; it may name its parameters freely.

    Raises
    ------
    TaskError
        The function is missing, takes another number of arguments, or raises an exception.
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
def _told(module: ModuleType, *arguments: object) -> Iterator[None]:
    """Turn an exception of the custom code into a TaskError with file, line and, for a column, similar names."""
    try:
        # The predictions may go to standard output.
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
