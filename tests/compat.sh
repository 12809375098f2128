#!/usr/bin/env bash
# Run a part of the tests that meets every dependency with the oldest versions that requirements.in and requirements-dev.in
# allow on the oldest Python, and with the newest on the newest Python that is here.
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE
uv=.venv/audit/bin/uv
pythons=$(for each in python3 python3.1{1,2,3,4,5} ~/.pyenv/versions/3.*/bin/python; do
    "$each" -c 'import sys; print("%d.%d" % sys.version_info[:2], sys.executable)' 2> /dev/null || true
done | awk '{split($1, v, "."); if (v[2] >= 11) print}' | sort -V)
read -r _ oldest <<< "$(head -1 <<< "$pythons")"
read -r _ newest <<< "$(tail -1 <<< "$pythons")"
part=(tests/release/test_decision.py tests/base/test_retry.py tests/tables/test_table.py tests/tables/test_clean_data.py tests/tables/test_validate_data.py
    tests/features/test_feature_engineering.py tests/source/test_split.py tests/project/test_supply.py tests/source/test_ingest_data.py
    tests/source/test_sources.py tests/release/test_old.py tests/rules/test_workflow.py::test_two_keys_are_a_config)
mkdir -p .compat
# Without the pins of requirements.txt, which it is held to.
grep -v '^-c ' requirements-dev.in > .compat/dev.in
failed=0
for each in lowest-direct:"$oldest" highest:"$newest"; do
    resolution=${each%%:*} python=${each#*:}
    env=.compat/$resolution
    $uv pip compile requirements.in .compat/dev.in --quiet --no-header --no-annotate --resolution "$resolution" --python "$python" \
        --output-file "$env.txt" --upgrade
    $uv venv --quiet --clear --python "$python" "$env"
    $uv pip install --quiet --python "$env/bin/python" --requirement "$env.txt"
    echo "$resolution: $("$env/bin/python" --version), $(grep -E '^(snakemake|pandas|scikit-learn)==' "$env.txt" | tr '\n' ' ')"
    "$env/bin/python" -m pytest -p no:cacheprovider "${part[@]}" || failed=1
done
exit $failed
