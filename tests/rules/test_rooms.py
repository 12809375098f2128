"""The folders of the code: what imports what."""

import ast
import os
import sys
from pathlib import Path

import pytest

from conftest import ROOT, run

COMMANDS = sorted((ROOT / "scripts").glob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the first names of all modules that a file imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found.update(name.partition(".")[0] for name in names)
    return found


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_no_command_line_imports_another(path):
    assert imported(path) & {each.stem for each in COMMANDS} == set()


def test_a_room_imports_only_rooms_below_it():
    done = run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "scripts"},
    )
    assert done.returncode == 0, done.stdout
