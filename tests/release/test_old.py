"""Projects that older versions have left: what they hold is read, or refused in one line that says how to go on.

tests/old holds one for each older form, as the version of that commit made it: `first` (4b83c0f) has the first
sign-off, `notified` (f8e7b16) has the list of scheduled runs, `diagnosed` (2a79301) has diagnostics. `kept` (ec384db)
has nothing but a release with its training data.
"""

import json
import os
import re
import tarfile
from pathlib import Path

import pandas as pd
import pytest
import sklearn
from test_security import command  # noqa: F401

from conftest import ROOT, make_project
from signoff.model.model_file import _numbers
from signoff.release.approval import serialised

OLD = sorted({each.name.partition(".")[0] for each in (ROOT / "tests/old").iterdir()} - {"kept"})
MODEL = ["--model", "model/model.pkl", "--features", "data/features/features.csv"]
JUDGED = ["--metrics", "reports/evaluation_metrics.json", "--validation", "reports/validation_report.json"]
# An older scikit-learn than that of the models in them, which requirements.in allows, refuses these, and makes no
# explanation of them: make compat.
REFUSED = "|the installed scikit-learn .it was made by 1.9.1|x/explanation.json does not exist"
REFUSED = REFUSED if _numbers(sklearn.__version__) < [1, 9, 1] else ""
# What is asked of each: it succeeds, or it says how to go on.
COMMANDS = [
    ("verify", [], "All is well"),
    ("status", [], "the last model is deployed"),
    ("history", [], "completed"),
    ("reproduce", [], "keeps no training data"),
    ("predict", ["--input", "rides.csv", "--output", "scored.csv"], "scored: 1\\d\\d, rejected: \\d+\\n"),
    ("verdict", ["--output", "x/v.json", *JUDGED], "Verdict     passed"),
    ("explain_model", [*MODEL, "--output", "x/explanation.json"], "completed"),
    ("compare_model", [*MODEL[2:], *JUDGED, "--output", "x/comparison.json"], "completed"),
    (
        "diagnose",
        [*JUDGED[:2], "--explanation=x/explanation.json", "--comparison=x/comparison.json", "--output=x/d.json"],
        "completed",
    ),
    ("evaluate_model", [*MODEL, "--output", "x/e.json"], "completed|has no key 'custom'.*Recreate it .make"),
    (
        "train_model",
        ["--input", MODEL[3], "--output", "x/m.pkl"],
        "wrote|has no key 'custom'.*Recreate it .make",
    ),
    (
        "summary",
        [],
        "Run make report|diagnostics.json (has no key .*Recreate it .make run|does not exist.*run the task)",
    ),
    (
        "generate_report",
        ["--input", JUDGED[1], "--output", "x/r.md"],
        "diagnostics.json (has no key|does not exist)",
    ),
    (
        "sign_off",
        ["--reviewer", "B", "--decision", "approve", "--comment", "c"],
        "next: make deploy|Run make (run, then make )?report",
    ),
    ("deploy", [], "Read the report again .make report., then run make sign-off"),
    ("rollback", ["--reason", "r"], "there is no release before"),
    ("ingest_data", ["--input", "rides.csv", "--output", "data/raw/raw_data.csv"], "completed"),
]


def unpack(name: str, folder: Path) -> None:
    """Put an old project into a folder, with the times of its files, so that outputs are newer than inputs."""
    with tarfile.open(ROOT / f"tests/old/{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")


@pytest.mark.parametrize("name", OLD)
def test_files_of_an_older_version_are_read_or_refused_with_the_way_on(name, tmp_path, command, monkeypatch):  # noqa: F811
    unpack(name, tmp_path)
    monkeypatch.chdir(tmp_path)
    for script, words, expected in COMMANDS:
        code, said = command(script, *words)
        assert re.search(expected + REFUSED, said), (script, said)
        assert code in (0, 1) and "unexpected failure" not in said, (script, said)


@pytest.mark.skipif(REFUSED != "", reason="its release is of a newer scikit-learn")
def test_a_release_with_one_width_for_all_intervals_keeps_it(tmp_path, command, monkeypatch):  # noqa: F811
    unpack("diagnosed", tmp_path)
    monkeypatch.chdir(tmp_path)
    code, said = command("predict", "--input", "rides.csv", "--output", "scored.csv")
    assert code == 0, said
    scored = pd.read_csv("scored.csv")
    found = json.loads(Path("deployed/current/diagnostics.json").read_text(encoding="utf-8"))
    half = found["prediction_interval"]["half_width"]
    for width in (scored["prediction_high"] - scored["prediction"], scored["prediction"] - scored["prediction_low"]):
        assert width.tolist() == pytest.approx([half] * len(scored))


@pytest.mark.skipif(REFUSED != "", reason="its release is of a newer scikit-learn")
def test_a_release_of_older_code_is_trained_again_and_what_differs_is_named(tmp_path, command, monkeypatch):  # noqa: F811
    unpack("kept", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "All is well" in command("verify")[1]
    code, said = command("reproduce")
    # The same model in other bytes, since its classes have changed.
    assert code == 1 and "trained again, the model has other bytes (" in said
    pattern = r"What differs: (.*, )?the workflow's code\. Predictions of 38 held-out rows differ by (\S+) at most\."
    found = re.search(pattern, said)
    assert found and float(found[2]) < 0.01, said


@pytest.mark.skipif(REFUSED != "", reason="its release is of a newer scikit-learn")
def test_a_run_on_the_oldest_project_rebuilds_all_and_compares_with_its_release(tmp_path):
    project = make_project(tmp_path)
    unpack("first", project.folder)
    release = os.path.basename(os.readlink(project.folder / "deployed/current"))
    project.snakemake("all", "reports/final_report.md")
    champion = project.json("reports/evaluation_metrics.json")["champion"]
    assert champion["release"] == release and "test" in champion
    project.sign_off()
    project.snakemake("deploy")
    assert "All is well" in project.script("verify").stdout
    assert release in project.script("rollback", "--reason", "r").stdout


def test_a_sign_off_of_a_later_form_is_refused(tmp_path, command, monkeypatch):  # noqa: F811
    unpack("diagnosed", tmp_path)
    monkeypatch.chdir(tmp_path)
    path = Path("reports/sign_off.json")
    path.write_bytes(serialised(json.loads(path.read_bytes()) | {"version": 4}))
    code, said = command("deploy")
    assert code == 1 and "has the version 4, and this workflow reads 3. Use the workflow that has written it" in said
