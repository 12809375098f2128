"""The code as a whole: what imports what, and how long functions are."""

import ast
import os
import sys
from pathlib import Path

import pytest

from conftest import ROOT, run

# Functions of more than 60 lines or 8 parameters, each with the reason.
LONG: dict[str, str] = {}
COMMANDS = sorted((ROOT / "scripts").glob("*.py"))
# The commands that train, score or compare models. All others begin without scikit-learn and SciPy, whose import takes
# longer than most commands work.
WITH_MODELS = {"train_model", "refit_model", "evaluate_model", "explain_model", "compare_model", "row_budget"}
WITH_MODELS |= {"backtest_week", "predict", "predict_models", "live_record"}


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


def test_only_commands_that_need_a_model_import_scikit_learn():
    others = [path.stem for path in COMMANDS if path.stem not in WITH_MODELS]
    code = "import sys\n" + "".join(
        f"import {name}\nassert not {{'sklearn', 'scipy'}} & set(sys.modules), '{name}'\n" for name in others
    )
    done = run([sys.executable, "-c", code], cwd=ROOT / "scripts")
    assert done.returncode == 0, done.stdout


def test_a_room_imports_only_rooms_below_it():
    done = run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "scripts"},
    )
    assert done.returncode == 0, done.stdout


def test_functions_have_at_most_60_lines_and_8_parameters_but_for_those_with_a_reason():
    found = set()
    for path in ROOT.glob("scripts/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                given = [each.arg for each in parameters if each.arg not in ("self", "cls")]
                if node.end_lineno - node.lineno + 1 > 60 or len(given) > 8:
                    found.add(f"{path.stem}.{node.name}")
    assert found == set(LONG)
