"""The code as a whole: what imports what, and how long functions are."""

import ast
import io
import keyword
import re
import sys
import tokenize
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


def test_the_verdict_and_the_table_of_all_models_import_no_library():
    code = "import sys, models, verdict; assert not {'numpy', 'pandas', 'pyarrow'} & set(sys.modules)"
    done = run([sys.executable, "-c", code], cwd=ROOT / "scripts")
    assert done.returncode == 0, done.stdout


def test_a_job_of_many_models_or_parts_imports_no_snakemake():
    code = "import sys, models_chunk, tasks_chunk; assert 'snakemake' not in sys.modules"
    done = run([sys.executable, "-c", code], cwd=ROOT / "scripts")
    assert done.returncode == 0, done.stdout


def test_parts_of_libraries_are_imported_only_if_they_are_used():
    code = """
import sys
import explain_model, sklearn.ensemble, sklearn.compose, sklearn.linear_model
names = ("integrate._ivp", "interpolate._bsplines", "optimize._optimize", "stats._stats_py")
assert not {f"scipy.{name}" for name in names} & set(sys.modules)
assert not {"numpy.f2py.f2py2e", "rich.progress"} & set(sys.modules)
import numpy, sklearn.callback
assert callable(numpy.f2py.run_main) and type(sklearn.callback.ProgressBar()).__name__ == "ProgressBar"
from scipy import stats
from scipy.stats import chi2, rankdata
assert list(rankdata([3, 1, 2])) == [3, 1, 2]
assert rankdata is not stats.rankdata is sys.modules["scipy.stats"].rankdata
assert stats.norm.cdf(0) == 0.5 and chi2(2).mean() == 2 and chi2.name == "chi2"
assert not hasattr(stats, "no_such_name")
from scipy.stats.mstats import mquantiles
rows = [[0.0], [1.0], [2.0], [3.0]]
assert sklearn.preprocessing.SplineTransformer(n_knots=2, degree=1).fit_transform(rows)[-1].tolist() == [0, 1]
assert abs(sklearn.linear_model.QuantileRegressor(alpha=0).fit(rows, [1, 3, 5, 7]).coef_[0] - 2) < 1e-6
assert sklearn.metrics.auc([0, 1], [0, 1]) == 0.5
"""
    done = run([sys.executable, "-c", code], cwd=ROOT / "scripts")
    assert done.returncode == 0, done.stdout
    for path in COMMANDS:
        text = path.read_text(encoding="utf-8")
        if "\nfrom sklearn" in text:
            assert 0 < text.find("\nfrom signoff.base import command_line") < text.find("\nfrom sklearn"), path.name


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


def reads_whatever_is_there(node: ast.AST) -> bool:
    """Return whether a call reads a path even if it is a pipe, which would be waited for."""
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute):
        return node.func.attr in ("read_bytes", "read_text")
    mode = node.args[1].value if len(node.args) > 1 and isinstance(node.args[1], ast.Constant) else "r"
    opened = isinstance(node.func, ast.Name) and node.func.id == "open" and mode.startswith("r")
    locked = opened and isinstance(node.args[0], ast.Call)
    return opened and not locked and all(each.arg != "opener" for each in node.keywords)


def test_files_are_read_with_an_opener_that_waits_for_no_pipe():
    # Files of the system.
    others = {"files", "limits"}
    assert [
        f"{path.name}:{node.lineno}"
        for path in ROOT.glob("scripts/**/*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if reads_whatever_is_there(node) and path.stem not in others
    ] == []


def names_in(rules: Path) -> tuple[set[str], set[str]]:
    """Return the names that a file of rules assigns or imports, and those that it uses."""
    text = rules.read_text(encoding="utf-8")
    words = [each for each in tokenize.generate_tokens(io.StringIO(text).readline) if each.type != tokenize.COMMENT]
    defined = {name for line in re.findall(r"^from \S+ import (.+)$", text, re.M) for name in line.split(", ")}
    used = set()
    for before, word, after in zip(words, words[1:], words[2:], strict=False):
        if word.type != tokenize.NAME or keyword.iskeyword(word.string) or before.string == ".":
            continue
        # Around the sign of a parameter there are no spaces.
        if before.string == "def" or (after.string == "=" and after.start > word.end):
            defined.add(word.string)
        elif after.string not in ("=", ":"):
            used.add(word.string)
    return defined, used


def test_the_rules_are_in_at_most_11_files():
    assert len(list(ROOT.glob("workflow/rules/*"))) <= 11


def test_a_rule_uses_only_names_of_its_own_file_and_of_common():
    found = {path.name: names_in(path) for path in ROOT.glob("workflow/rules/*.smk")}
    assert "settings" in found["data.smk"][1] and "FEATURES" in found["model.smk"][0]
    for name, (_, used) in found.items():
        own = {*found[name][0], *found["common.smk"][0]}
        for other, (defined, _) in found.items():
            assert used & defined <= own, (name, other)


# Names that `source/fetch.py` asks of the module of each kind of source.
OF_A_SOURCE = {"SCHEMES", "version", "download", "listing", "digest"}


def defined_in(tree: ast.Module) -> set[str]:
    """Return the names of a module's functions, classes and constants."""
    found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    targets = [each for node in tree.body if isinstance(node, ast.Assign) for each in node.targets]
    targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    return found | {name.id for each in targets for name in ast.walk(each) if isinstance(name, ast.Name)}


def test_a_public_name_means_one_thing():
    places: dict[str, list[str]] = {}
    for path in sorted(ROOT.glob("scripts/**/*.py")):
        for name in defined_in(ast.parse(path.read_text("utf-8"))):
            if (
                not name.startswith("_")
                and name != "main"
                and not (path.parent.name == "source" and name in OF_A_SOURCE)
            ):
                places.setdefault(name, []).append(str(path.relative_to(ROOT / "scripts")))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def asked_of_others(tree: ast.Module) -> set[tuple[str, str]]:
    """Return the names that a module takes from others, each with the last part of the other's name."""
    found, modules = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {each.asname or each.name: each.name for each in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {(node.module.rpartition(".")[2], each.name) for each in node.names}
            modules |= {each.asname or each.name: each.name for each in node.names}
    attributes = [
        node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]
    return found | {(modules[each.value.id], each.attr) for each in attributes if each.value.id in modules}


def test_what_only_its_own_module_uses_begins_with_an_underscore():
    trees = {path: ast.parse(path.read_text("utf-8")) for path in (ROOT / "scripts").rglob("*.py")}
    benchmarks = [ast.parse(path.read_text("utf-8")) for path in ROOT.glob("benchmarks/*.py")]
    used = {each for tree in [*trees.values(), *benchmarks] for each in asked_of_others(tree)}
    rules = "".join(path.read_text("utf-8") for path in ROOT.glob("workflow/rules/*.smk"))
    found = {
        f"{path.stem}.{name}"
        for path, tree in trees.items()
        for name in defined_in(tree)
        if not name.startswith("_")
        and (path.stem, name) not in used
        # Generated, with a class for each section.
        and path != ROOT / "scripts/signoff/base/config.py"
        and name not in {"main", path.stem}
        and not re.search(rf"\b{name}\b", rules)
        and not (path.parent.name == "source" and name in OF_A_SOURCE)
    }
    assert found == set()
