#!/usr/bin/env bash
# Change the code that decides what is released, what is dropped, and what trains and what tests, in every small way, and
# say which changes no unit test notices.
set -euo pipefail
cd "$(dirname "$0")/.."
# mutmut looks for code in src/.
rm -rf .mutants && mkdir -p .mutants/tests
cp -r scripts .mutants/src
cp -r Snakefile workflow .mutants/
cp tests/conftest.py tests/warm.py tests/{release/test_decision,release/test_statement,base/test_retry,tables/test_clean_data,source/test_split}.py .mutants/tests/
cat > .mutants/pyproject.toml << 'END'
[tool.mutmut]
source_paths = ["src"]
only_mutate = [
    "src/signoff/release/approval.py",
    "src/signoff/release/decision.py",
    "src/signoff/release/detached.py",
    "src/signoff/release/signature.py",
    "src/signoff/release/subject.py",
    "src/signoff/release/store.py",
    "src/deploy.py",
    "src/sign_off.py",
    "src/signoff/base/retry.py",
    "src/signoff/tables/cleaning.py",
    "src/clean_data.py",
    "src/signoff/features/holdout.py",
    "src/split_weeks.py",
    "src/signoff/source/pieces.py",
    "src/signoff/source/split.py",
]
also_copy = ["Snakefile", "workflow", "tests", "pyproject.toml"]
# What starts a process of its own starts it without the change.
pytest_add_cli_args = ["-p", "no:cacheprovider", "-p", "no:xdist", "-k", "not four_rows"]
pytest_add_cli_args_test_selection = ["tests"]
# What a person reads in --help is no behaviour.
do_not_mutate_patterns = ["add_argument\\("]
# By the clock: on a machine that is busy, what is slow is not endless.
timeout_multiplier = 60.0
use_git_change_detection = false
[tool.pytest.ini_options]
pythonpath = ["src", "tests"]
addopts = "-q"
END
# Of the source what gives its parts their rows; the other modules as a whole.
parts=(signoff.release.{approval,decision,detached,signature,store,subject}.\* signoff.base.retry.\* signoff.tables.cleaning.\*
    signoff.features.holdout.\* signoff.source.pieces.\* {deploy,sign_off,clean_data,split_weeks}.\*
    signoff.source.split.x__{replace_pieces,grown}__\*)
cd .mutants
"${PYTHON:-python}" -m mutmut run "${@:-"${parts[@]}"}" > run.log 2>&1 || { tail -30 run.log; exit 1; }
"${PYTHON:-python}" -m mutmut results
