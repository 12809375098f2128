"""The start of Snakemake that imports less: it does what Snakemake does, and leaves out what it promises to."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from conftest import ROOT, program, run
from run_snakemake import _any_option

START = [sys.executable, "-X", "importtime", ROOT / "scripts/run_snakemake.py"]
SNAKEFILE = """
rule one:
    output: "one.txt"
    log: "one.log"
    params: number=3, names=["a", "b"]
    shell: "echo {params.number} > {output}; touch {log}"
"""


def imported(text: str) -> set[str]:
    """Return the modules that Python says it has imported."""
    return set(re.findall(r"^import time:.*\| +(\S+)$", text, flags=re.M))


def records(folder: Path) -> dict[str, dict]:
    """Return what Snakemake has recorded of its outputs, without times and hashes of objects."""
    found = {path.name: json.loads(path.read_text("utf-8")) for path in (folder / ".snakemake/metadata").iterdir()}
    for record in found.values():
        for key in ("starttime", "endtime", "job_hash"):
            assert record.pop(key)
    return found


def test_a_start_imports_no_library_for_tables_databases_or_stores(project):
    words = ["--snakefile", project.workflow / "Snakefile", "--directory", project.folder, "--cores", "1"]
    done = run([*START, *words, "--configfile", project.folder / "config.yaml", "--dry-run"])
    assert done.returncode == 0 and "rule train_model:" in done.stdout
    needless = {"numpy._core", "pandas.core.frame", "pyarrow", "boto3.session", "botocore.session", "docutils.nodes"}
    needless |= {"sqlalchemy", "sqlmodel", "sqlalchemy.orm", "jinja2", "skops", "joblib", "mlflow"}
    needless |= {"requests.sessions", "markdown_it"}
    assert imported(done.stdout) & needless == set()
    # Which shows that such names would be there.
    assert {"pydantic", "snakemake.persistence.file", "signoff.rules.settings"} <= imported(done.stdout)


def test_what_it_records_of_a_job_is_what_snakemake_records(tmp_path):
    found = []
    for name, start in {"own": START, "snakemake": [program("snakemake")]}.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
        assert run([*start, "--cores", "1"], cwd=folder).returncode == 0
        found.append(records(folder))
    assert found[0] == found[1]
    # Each reads what the other has written.
    for name, start in {"snakemake": START, "own": [program("snakemake")]}.items():
        assert "Nothing to be done" in run([*start, "--cores", "1"], cwd=tmp_path / name).stdout


def test_late_libraries_work_when_they_are_needed():
    code = (
        "import run_snakemake, sys\nfrom signoff.base.late_import import import_late\n"
        "for name, names in run_snakemake._LATE.items(): import_late(name, names)\n"
        "import boto3, botocore.exceptions, pandas, numpy\nfrom snakemake_storage_plugin_s3 import StorageProvider\n"
        "assert 'boto3.session' not in sys.modules\n"
        "client = boto3.resource('s3', region_name='x', aws_access_key_id='a', aws_secret_access_key='b').meta.client\n"
        "try: raise client.exceptions.NoSuchKey({}, 'x')\n"
        "except botocore.exceptions.ClientError: pass\n"
        "assert isinstance(pandas.DataFrame({'a': [1]})['a'].to_numpy(), numpy.ndarray)\n"
        "import requests\nassert issubclass(requests.ConnectionError, requests.RequestException)\n"
        "from rich.markdown import Markdown\nassert Markdown('*a*').markup == '*a*'\n"
        "import snakemake.cli\nfrom snakemake.workflow import DbPersistence\n"
        "assert DbPersistence.mro()[1].__name__ == 'PersistenceBase'\n"
    )
    done = run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")})
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--cores", "2", "reports/final_report.md"], False),
        (["--report", "x.html"], True),
        (["--report=x.html"], True),
        (["--report-html-path", "x.html"], True),
        (["--rep", "x.html"], True),
        (["--rerun-incomplete", "--", "x"], False),
    ],
)
def test_a_report_of_snakemake_is_found_among_the_options(words, found):
    assert _any_option(words, "--report") == found
