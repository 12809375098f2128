#!/usr/bin/env bash
# Change the code that decides what is released, and the like, in every small way, and say which changes no unit test notices.
set -euo pipefail
cd "$(dirname "$0")/.."
# mutmut knows a package, or modules in src/; ours are in scripts/.
rm -rf .mutants && mkdir -p .mutants/tests
cp -r scripts .mutants/src
cp -r Snakefile workflow .mutants/
cp tests/test_decision.py tests/test_retry.py .mutants/tests/
cat > .mutants/pyproject.toml << 'END'
[tool.mutmut]
source_paths = ["src"]
only_mutate = ["src/approval.py", "src/release.py", "src/deploy.py", "src/sign_off.py", "src/retry.py"]
also_copy = ["Snakefile", "workflow", "tests", "pyproject.toml"]
pytest_add_cli_args = ["-p", "no:cacheprovider", "-p", "no:xdist"]
pytest_add_cli_args_test_selection = ["tests"]
# What a person reads in --help is no behaviour.
do_not_mutate_patterns = ["add_argument\\("]
use_git_change_detection = false
[tool.pytest.ini_options]
pythonpath = ["src", "tests"]
addopts = "-q"
END
cd .mutants
"${PYTHON:-python}" -m mutmut run "$@" > run.log 2>&1 || { tail -30 run.log; exit 1; }
"${PYTHON:-python}" -m mutmut results
