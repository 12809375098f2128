"""What the catalog of Snakemake workflows shows and what its template expects is true here."""

import re
import shutil
import subprocess

import yaml

from conftest import ROOT, program, run

CATALOG = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))


def test_the_small_table_of_the_repository_runs_to_its_verdict_and_leaves_nothing_to_commit(tmp_path):
    (tmp_path / ".test/config").mkdir(parents=True)
    for path in (".test/config/config.yaml", ".test/rides.csv"):
        shutil.copy(ROOT / path, tmp_path / path)
    command = [
        program("snakemake"),
        "--snakefile",
        ROOT / "Snakefile",
        "--cores",
        "2",
        "--directory",
        tmp_path / ".test",
    ]
    done = run(command, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^Verdict +passed$", done.stdout, flags=re.M)
    made = [str(path.relative_to(tmp_path)) for path in (tmp_path / ".test").rglob("*") if path.is_file()]
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        cwd=ROOT,
        input="\n".join(made),
        capture_output=True,
        text=True,
    )
    assert set(made) - set(ignored.stdout.splitlines()) == {".test/config/config.yaml", ".test/rides.csv"}


def test_the_catalog_promises_conda_only_because_every_rule_names_the_environment():
    promised = CATALOG["usage"]["software-stack-deployment"]
    assert promised == {"conda": True, "apptainer": False, "apptainer+conda": False}
    rules = "".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("workflow/rules/*.smk")))
    for text in re.split(r"^(?=rule |checkpoint )", rules, flags=re.M)[1:]:
        starts_a_program = re.search(r"^    shell:", text, flags=re.M)
        assert not starts_a_program or "environment.yml" in text, text.splitlines()[0]
    assert "container" not in rules


def test_the_catalog_names_flags_that_run_and_promises_snakemakes_report():
    assert CATALOG["usage"]["mandatory-flags"]["flags"] == "--directory MYDIR --configfile MYDIR/config.yaml"
    rules = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("workflow/rules/*.smk"))
    assert CATALOG["usage"]["report"] is True and "report(" in rules
