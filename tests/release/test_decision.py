"""Review, sign-off, deploy and the history of releases, function by function, on files made up in their exact form.

What the real workflow makes of them is in test_release.py. These are fast, so that mutants of the code meet them all:
make mutants.
"""

import contextlib
import hashlib
import io
import json
import os
import pickle
import re
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

import deploy as deploying
import sign_off as signing
import verify as verifying
from conftest import in_process as run
from signoff.base.config import (
    DataConfig,
    EvaluationConfig,
    FeaturesConfig,
    ModelConfig,
    ReleaseConfig,
    ValidationConfig,
)
from signoff.base.errors import TaskError
from signoff.config.settings import read_config
from signoff.release import approval, signature
from signoff.release import store as releasing
from signoff.release import subject as reviewing
from signoff.release.approval import (
    _check_decisions,
    canonical,
    check_subject,
    read_sign_off,
    released_as,
    serialised,
    statement,
)
from signoff.release.decision import decide
from signoff.release.envelope import parts_of_payload, payload_of
from signoff.release.store import Releases, kept_releases, release_before
from signoff.release.subject import _changes, review, summary_lines
from signoff.release.verdict import verdict

AGAIN = "Read the report again (make report), then run make sign-off."
RULE = ReleaseConfig()
CONFIG = "raw_data_source_url: a.csv\ntarget: y\n"
MODEL, JSON = "model/model.pkl", "model/model.json"
METRICS, REPORT, PAGE = "reports/evaluation_metrics.json", "reports/final_report.md", "reports/final_report.html"
VALIDATION, DIAGNOSTICS = "reports/validation_report.json", "reports/diagnostics.json"
RAW, FEATURES = "data/raw/raw_data.csv", "data/features/features.csv"
CODE = "c0de" * 16
STORE = Releases()


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def write(path: str, content: object) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    Path(path).write_text(text, encoding="utf-8")


def change(path: str, **changes: object) -> None:
    """Change a JSON file of the project, and rebuild the report if it describes that file."""
    write(path, json.loads(Path(path).read_text("utf-8")) | changes)
    if path == METRICS:
        report(json.loads(Path(METRICS).read_text("utf-8"))["model_sha256"])


def train(number: int = 1, champion: str | None = None, **metrics: object) -> str:
    """Make all files of a model and its review; return the model's digest."""
    write(RAW, f"x,y\n1,{number}\n")
    write("data/raw/raw_data.json", {"source": "a.csv", "ingested_at": "2026-01-05T03:00:00+00:00"})
    write(FEATURES, f"x,y,split\n1,{number},train\n")
    write("data/features/features.json", {"kinds": {"x": "number"}, "raw_sha256": digest(RAW)})
    Path("model").mkdir(exist_ok=True)
    Path(MODEL).write_bytes(pickle.dumps({"model": number}))
    model = digest(MODEL)
    scores = {"test": {"MAE": 1.5 * number, "R2": 0.5}, "train": {"MAE": 1.0, "R2": 0.75}}
    write(
        JSON,
        {
            "sha256": model,
            "inputs": {"features.csv": digest(FEATURES)},
            "custom": None,
            "training_rows": 1000 * number,
            "features": {"x": "number"},
            "parameters": {"trees": 100},
            "versions": {"scikit-learn": "1.9"},
            "estimator": "Forest",
            "target": "y",
            "recipe": {"x": {"column": "x"}},
            "columns": {"x": "number"},
        },
    )
    write(VALIDATION, {"status": "pass", "contract": True, "rows": 2, "violations": [], "raw_sha256": digest(RAW)})
    found = {
        "model": scores,
        "baselines": {},
        "champion": champion and {"release": champion, **scores},
        "thresholds": [{"name": "mae_max", "metric": "MAE", "limit": 9, "value": 1.5 * number, "passed": True}],
        "split": {
            "rule": "the last",
            "rows": {"train": 1, "test": 1},
            "first": "2026-01-01",
            "last_test": "2026-01-04",
        },
        "cleaning": None,
        "custom_metrics": None,
        "time_column": "when",
        "target": "y",
        "estimator": "Forest",
        "model_sha256": model,
    }
    write(METRICS, found | metrics)
    write("reports/figures/residuals.png", f"a picture of {number}")
    report(model)
    return model


def report(model: str) -> None:
    """Write what was computed from the metrics: the diagnostics, and the report in both forms."""
    found = {"model_sha256": model, "metrics_sha256": digest(METRICS), "prediction_interval": {"half_width": 2.5}}
    write(DIAGNOSTICS, found)
    write(REPORT, f"# Report of {model} {digest(METRICS)} {digest(DIAGNOSTICS)}\n")
    write(PAGE, f"<p>{model} {digest(METRICS)} {digest(DIAGNOSTICS)}</p>")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a model that was reviewed, as the current folder; the code has one digest."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(approval, "code_state", code_state := lambda: {"commit": None, "clean": None, "sha256": CODE})
    monkeypatch.setattr(reviewing, "code_state", code_state)
    write("config.yaml", CONFIG)
    train()
    return SimpleNamespace(config=read_config()[0], paths=["config.yaml"])


def approve(
    project, reviewer: str = "Ada", rule: ReleaseConfig = RULE, key: Path | None = None, **changes: object
) -> dict:
    """Sign off, as the command line does; return the document."""
    decision = {"reviewer": reviewer, "decision": "approve", "comment": "fine", "override": None, **changes}
    document = decide(review(project.config, project.paths), decision, Path("reports/sign_off.json"), rule, key)
    Path("reports/sign_off.json").write_bytes(serialised(document))
    return read_sign_off(Path("reports/sign_off.json"))


def deploy(project, **rule: object) -> str:
    config = replace(project.config, release=replace(RULE, **rule))
    return deploying.deploy(Path("reports/sign_off.json"), config, project.paths)


def release(project, number: int, **rule: object) -> str:
    """Train, sign off and deploy; return the name of the release."""
    train(number, STORE.current())
    approve(project)
    return deploy(project, **rule)


def error(call, *arguments: object, **options: object) -> str:
    with pytest.raises(TaskError) as raised:
        call(*arguments, **options)
    return str(raised.value)


# What is reviewed


def test_a_review_holds_every_file_the_code_and_the_verdict(project):
    found = review(project.config, project.paths)
    paths = [MODEL, JSON, METRICS, VALIDATION, DIAGNOSTICS, REPORT, PAGE, FEATURES, "data/features/features.json", RAW]
    paths += ["config.yaml", "reports/figures/residuals.png"]
    assert found["files"] == {path: digest(path) for path in paths}
    assert found["code"] == {"commit": None, "clean": None, "sha256": CODE}
    assert (found["verdict"], found["failures"], found["predecessor"]) == ("passed", [], None)
    assert found["project"] == Path("deployed/project.id").read_text("ascii").strip()


def test_the_contract_and_ones_own_code_are_reviewed_once_each(project):
    config = replace(
        project.config,
        validation=ValidationConfig("s.yaml"),
        evaluation=EvaluationConfig(metrics="m.py"),
        features=FeaturesConfig(custom="m.py"),
        model=ModelConfig(format="skops"),
    )
    paths = approval.reviewed_files(config, ["a.yaml", "b.yaml"])
    assert {FEATURES, "data/features/features.json", RAW} <= {*paths}
    assert [path for path in paths if path.endswith((".yaml", ".py", ".skops"))] == [
        *("model/model.skops", "a.yaml", "b.yaml", "s.yaml", "m.py")
    ]
    # Of a sample, and of data in parts, what stands for all of it.
    config = replace(project.config, data=DataConfig("when"), model=ModelConfig(max_rows=9))
    paths = approval.reviewed_files(config, [])
    assert {"data/features/sample.csv", "data/features/sample.json", "data/raw/raw_data.json"} <= {*paths}
    assert not {FEATURES, RAW} & {*paths}


@pytest.mark.parametrize(
    ("path", "command"),
    [(each, "make report") for each in (DIAGNOSTICS, REPORT, PAGE)]
    + [(each, "make run, then make report") for each in (MODEL, JSON, METRICS, VALIDATION, RAW, FEATURES)],
)
def test_what_is_missing_is_named_with_the_command_that_makes_it(project, path, command):
    Path(path).unlink()
    told = error(review, project.config, project.paths)
    assert told == f"{path} does not exist: there is nothing to sign off. Run {command}."


def test_times_of_files_are_no_evidence(project):
    for second, path in enumerate([PAGE, REPORT, DIAGNOSTICS, METRICS, JSON, MODEL, FEATURES, VALIDATION, RAW]):
        os.utime(path, (second, second))
    review(project.config, project.paths)


RUN_AND_REPORT = "Run make run, then make report."


@pytest.mark.parametrize(
    ("path", "changes", "told"),
    [
        (JSON, {"sha256": "0"}, f"{MODEL} is not the model that {JSON} describes. {RUN_AND_REPORT}"),
        (JSON, {"inputs": {"features.csv": "0"}}, f"{MODEL} is not the model that {JSON} describes. {RUN_AND_REPORT}"),
        (JSON, {"inputs": {}}, f"{MODEL} is not the model that {JSON} describes. {RUN_AND_REPORT}"),
        (
            JSON,
            {"custom": {"file": "f.py", "sha256": "0"}},
            f"f.py is not the code that {MODEL} was made with. {RUN_AND_REPORT}",
        ),
        (
            METRICS,
            {"custom_metrics": {"file": "m.py", "sha256": "0", "names": []}},
            f"m.py is not the code that {METRICS} was made with. {RUN_AND_REPORT}",
        ),
        (VALIDATION, {"raw_sha256": "0"}, f"{VALIDATION} was computed from other data than {RAW}. {RUN_AND_REPORT}"),
        (
            "data/features/features.json",
            {"raw_sha256": "0"},
            f"{FEATURES} was computed from other data than {RAW}. {RUN_AND_REPORT}",
        ),
        (
            DIAGNOSTICS,
            {"metrics_sha256": "0"},
            f"{DIAGNOSTICS} was computed for a different evaluation than {METRICS}. Run make report.",
        ),
        (DIAGNOSTICS, {"more": 1}, f"{REPORT} was computed for a different version of {DIAGNOSTICS}. Run make report."),
        (
            METRICS,
            {"model_sha256": "0"},
            f"{METRICS} was computed for a different model than {MODEL}. {RUN_AND_REPORT}",
        ),
        (
            DIAGNOSTICS,
            {"model_sha256": "0"},
            f"{DIAGNOSTICS} was computed for a different model than {MODEL}. Run make report.",
        ),
        (
            METRICS,
            {"champion": {"release": "r"}},
            f"{METRICS} compares the model with r, but none is deployed now. {RUN_AND_REPORT}",
        ),
    ],
)
def test_what_speaks_of_something_else_is_named(project, path, changes, told):
    change(path, **changes)
    assert error(review, project.config, project.paths) == told


@pytest.mark.parametrize("path", [REPORT, PAGE])
def test_a_report_of_another_model_is_named(project, path):
    write(path, "0" * 64)
    told = error(review, project.config, project.paths)
    assert told == f"{path} was computed for a different model than {MODEL}. Run make report."
    write(path, f"{digest(MODEL)} {digest(DIAGNOSTICS)}")
    told = error(review, project.config, project.paths)
    assert told == f"{path} was computed for a different version of {METRICS}. Run make report."


def test_the_code_that_a_model_was_made_with_is_the_one_that_is_there(project):
    write("f.py", "def features(rows): ...")
    config = replace(project.config, features=FeaturesConfig(custom="f.py"))
    change(JSON, custom={"file": "f.py", "sha256": digest("f.py")})
    assert review(config, project.paths)["files"]["f.py"] == digest("f.py")


def test_failures_are_those_of_the_thresholds_and_the_contract(project):
    failed = {"name": "mae_max", "metric": "MAE", "limit": 1, "value": 1.5, "passed": False}
    change(METRICS, thresholds=[failed])
    broken = {"column": "x", "check": "unique", "rows": 1, "examples": [{"row": 2, "value": 3}]}
    change(VALIDATION, status="fail", violations=[broken])
    found = review(project.config, project.paths)
    assert found["verdict"] == "failed"
    assert found["failures"] == [
        "threshold mae_max 1: MAE is 1.5000",
        "data contract: column x: violates 'unique' in 1 row (3 in row 2)",
    ]


def test_the_summary_says_what_is_decided_on(project):
    subject = review(project.config, project.paths)
    lines = summary_lines(subject)
    assert lines[:3] == [
        "Target      y",
        "Source      a.csv, ingested 2026-01-05T03:00:00+00:00",
        "Data window 2026-01-01 … 2026-01-04 (when)",
    ]
    assert lines[3:-5] == verdict(json.loads(Path(VALIDATION).read_text()), json.loads(Path(METRICS).read_text()))[0]
    change("data/raw/raw_data.json", sha256="0" * 64)
    edited = "Edited      data/raw/raw_data.csv was edited or cut since it was ingested"
    assert summary_lines(subject) == [*lines[:2], edited, *lines[2:]]
    change("data/raw/raw_data.json", sha256=digest(RAW))
    assert summary_lines(subject) == lines
    model = digest(MODEL)[:12]
    assert lines[-5:] == [
        "Verdict     passed",
        f"Model       Forest, {model}",
        f"Code        {CODE[:12]} (not in git)",
        "Changes     nothing is deployed yet: this would be the first release",
        f"Report      {PAGE}, {REPORT}",
    ]
    subject |= {"code": {"commit": "c0ffee", "clean": True, "sha256": CODE}, "failures": ["one", "two"]}
    assert "Code        c0ffee (clean)" in summary_lines(subject)
    place = summary_lines(subject).index("Verdict     passed")
    assert summary_lines(subject)[place + 1 : place + 3] == ["            one", "            two"]
    subject["code"]["clean"] = False
    assert "Code        c0ffee (with changes that are not committed)" in summary_lines(subject)
    change(METRICS, split={"rule": "hash", "rows": {"train": 1, "test": 1}})
    told = f"{METRICS} has changed while it was read. Wait for the run to end, and look again."
    assert error(summary_lines, subject) == told
    subject["files"] |= {path: digest(path) for path in (METRICS, DIAGNOSTICS)}
    assert summary_lines(subject)[2] == "Data window no dates"


def test_changes_since_the_release_are_listed_one_by_one(project):
    name = release(project, 2)
    assert changes_since(name) == [f"none: this very model is deployed as {name}"]
    train(3)
    assert changes_since(name) == [
        f"since {name}: 2,000 → 3,000 training rows",
        "MAE then 3.0000, on the rows held out then; now 4.5000",
    ]
    change(
        JSON,
        features={"z": "number"},
        parameters={"trees": 200},
        versions={},
        custom={"file": "f.py", "sha256": "1"},
        estimator="Ridge",
        recipe={"z": {"column": "z"}},
        columns={"z": "number"},
    )
    assert changes_since(name)[2:] == [
        "feature x: number → none",
        "feature z: none → number",
        "parameter trees: 100 → 200",
        "version scikit-learn: 1.9 → none",
        "code of the features: none → f.py",
        "estimator: Forest → Ridge",
        "recipe of the features: changed",
        "columns of the features: changed",
    ]
    lines = summary_lines(review_of(name))
    place = next(n for n, line in enumerate(lines) if line.startswith("Changes     since"))
    assert lines[place + 1] == "            MAE then 3.0000, on the rows held out then; now 4.5000"
    released = Path("deployed/releases", name, "model.json")
    released.write_text("{}", encoding="utf-8")
    assert changes_since(name) == [f"unknown: {released} was altered. {RESTORE} See make verify"]
    released.unlink()
    (told,) = changes_since(name)
    assert told.startswith(f"unknown: {released} does not exist.") and told.endswith("See make verify")


def changes_since(name: str) -> list[str]:
    return _changes(name, {path: digest(path) for path in (JSON, METRICS)})


def review_of(name: str) -> dict:
    code = {"commit": None, "clean": None, "sha256": CODE}
    files = {path: digest(path) for path in (METRICS, VALIDATION, DIAGNOSTICS, JSON)}
    return {"code": code, "verdict": "passed", "failures": [], "alarms": [], "predecessor": name, "files": files}


def test_another_version_of_the_same_code_file_is_a_change(project):
    write("f.py", "ONE = 1\n")
    project.config = replace(project.config, features=FeaturesConfig(custom="f.py"))
    train(2)
    change(JSON, custom={"file": "f.py", "sha256": digest("f.py")})
    approve(project)
    name = deploy(project)
    train(3)
    change(JSON, custom={"file": "f.py", "sha256": "1"})
    assert changes_since(name)[2:] == ["f.py: changed"]
    change(JSON, custom={"file": "g.py", "sha256": "1"})
    assert changes_since(name)[2:] == ["code of the features: f.py → g.py"]
    change(JSON, custom=None)
    assert changes_since(name)[2:] == ["code of the features: f.py → none"]


def test_a_model_is_judged_beside_the_release_that_is_deployed_now(project):
    first = release(project, 2)
    train(3)
    told = f"{METRICS} compares the model with no release, but {first} is deployed now. {RUN_AND_REPORT}"
    assert error(review, project.config, project.paths) == told
    train(3, first)
    assert review(project.config, project.paths)["predecessor"] == first
    # The deployed model itself, judged before it was deployed.
    train(2)
    assert review(project.config, project.paths)["predecessor"] == first


# What a decision is


def test_a_sign_off_holds_the_decision_and_its_own_digest(project):
    document = approve(project, "  Ada ", comment=" fine ", override="not needed")
    decision = dict(document["decisions"][0])
    assert datetime.fromisoformat(decision.pop("signed_at")).tzinfo is not None
    assert decision == {
        "reviewer": "Ada",
        "decision": "approve",
        "comment": "fine",
        "override": None,
        "valid_until": None,
        "signature": None,
    }
    assert document["version"] == 3 and document["alarms"] == []
    body = {key: value for key, value in document.items() if key != "sha256"}
    assert document["sha256"] == hashlib.sha256(canonical(body)).hexdigest()
    assert Path("reports/sign_off.json").read_text("utf-8").startswith('{\n  "version": 3,')


def test_canonical_json_is_one_text_for_one_value():
    assert canonical({"b": [1, "ö"], "a": None}) == '{"a":null,"b":[1,"ö"]}'.encode()
    for each in (float("nan"), float("inf")):
        with pytest.raises(ValueError):
            canonical(each)
        with pytest.raises(ValueError):
            serialised({"a": each})
    assert serialised({"a": "ö"}).decode().endswith('"\n}\n') and "ö" in serialised({"a": "ö"}).decode()


def test_what_is_signed_is_the_subject_and_the_decision_without_its_signature(project):
    document = approve(project)
    (decision,) = document["decisions"]
    said = json.loads(payload_of(statement(document, {**decision, "signature": "s"})))
    assert parts_of_payload(said) == (
        {key: value for key, value in document.items() if key not in ("decisions", "sha256")},
        {key: value for key, value in decision.items() if key != "signature"},
    )
    # Files are called as in a release, and data, which it does not hold, are named beside them.
    assert {"name": "model.pkl", "digest": {"sha256": document["files"]["model/model.pkl"]}} in [
        {key: each[key] for key in ("name", "digest")} for each in said["subject"]
    ]
    assert [each["name"] for each in said["predicate"]["data"]] == sorted(
        path for path in document["files"] if path.startswith("data/")
    )


@pytest.mark.parametrize("name", ["reviewer", "comment"])
def test_an_empty_name_or_comment_is_refused(project, name):
    told = error(approve, project, **{name: " \t"})
    assert told == f"the {name} is empty. A sign-off needs a name, a decision and a comment."


def test_a_failed_model_needs_a_reason_to_be_approved_and_none_to_be_rejected(project):
    change(METRICS, thresholds=[{"name": "mae_max", "metric": "MAE", "limit": 1, "value": 1.5, "passed": False}])
    for override in (None, "", "  "):
        told = error(approve, project, override=override)
        assert told == (
            "this model has failed (threshold mae_max 1: MAE is 1.5000). To approve it all the same, give the reason: "
            "--override REASON (make sign-off OVERRIDE=…). The reason is kept, and is shown from then on."
        )
    assert approve(project, decision="reject")["decisions"][0]["override"] is None
    assert approve(project, override=" late ")["decisions"][0]["override"] == "late"
    document = approve(project, override="late")
    _check_decisions(document, RULE)
    document["decisions"][0]["override"] = None
    told = "Ada has approved a failed model without an override: threshold mae_max 1: MAE is 1.5000"
    assert error(_check_decisions, document, RULE) == told


def test_decisions_on_the_same_files_stand_side_by_side_and_the_last_of_a_person_counts(project):
    approve(project, "Ada", comment="first")
    approve(project, "Bob")
    names = [each["reviewer"] for each in approve(project, "ADA", comment="second")["decisions"]]
    assert names == ["Bob", "ADA"]
    document = read_sign_off(Path("reports/sign_off.json"))
    _check_decisions(document, replace(RULE, required_approvals=2))
    assert error(_check_decisions, document, replace(RULE, required_approvals=3)) == (
        "3 different people must approve (release.required_approvals); so far Bob, ADA. 1 more must run make sign-off."
    )
    # Of other files, nobody's decision counts any more.
    train(2)
    assert [each["reviewer"] for each in approve(project, "Eve")["decisions"]] == ["Eve"]


def test_a_commit_between_two_approvals_keeps_the_first(project, monkeypatch, caplog):
    """Such as one of the sign-off itself."""
    caplog.set_level("INFO")
    approve(project, "Ada")
    monkeypatch.setattr(reviewing, "code_state", lambda: {"commit": "c" * 40, "clean": True, "sha256": CODE})
    document = approve(project, "Bob")
    assert [each["reviewer"] for each in document["decisions"]] == ["Ada", "Bob"] and not caplog.text
    assert document["code"]["commit"] is None
    monkeypatch.setattr(reviewing, "code_state", lambda: {"commit": "c" * 40, "clean": True, "sha256": "0" * 64})
    assert [each["reviewer"] for each in approve(project, "Eve")["decisions"]] == ["Eve"]
    assert "reports/sign_off.json was about other files or other code: it is replaced" in caplog.text


def test_one_person_counts_once_and_nobody_is_named(project):
    document = approve(project, "Ada")
    document["decisions"].append({**document["decisions"][0], "reviewer": "ada"})
    told = error(_check_decisions, document, replace(RULE, required_approvals=2))
    assert told.startswith("2 different people must approve (release.required_approvals); so far Ada, ada. 1 more")
    document["decisions"] = []
    assert "so far nobody. 1 more must run make sign-off." in error(_check_decisions, document, RULE)


def test_a_rejection_is_final(project):
    document = approve(project, decision="reject", comment="too late")
    assert error(_check_decisions, document, RULE) == "Ada has rejected this model: too late. Train another one."
    approve(project, "Bob")
    assert "Ada has rejected" in error(deploy, project)


def test_a_damaged_sign_off_is_set_aside_with_a_warning_and_never_read(project, caplog):
    approve(project)
    path = Path("reports/sign_off.json")
    for content in (path.read_bytes().replace(b"Ada", b"Eve"), b"{", b"[1]", b"7", path.read_bytes() + b"\n"):
        path.write_bytes(content)
        told = f"{path} was altered after it was signed. Sign off again: make sign-off."
        assert error(read_sign_off, path) == told
    assert [each["reviewer"] for each in approve(project, "Bob")["decisions"]] == ["Bob"]
    assert told.split(".")[0] in caplog.text
    path.unlink()
    assert error(read_sign_off, path) == (
        f"{path} does not exist: nobody has signed off this model. Read {REPORT}, then run make sign-off."
    )


def test_what_has_changed_since_the_sign_off_is_named(project, monkeypatch):
    document = approve(project)
    check_subject(document, project.config, project.paths)
    for path in (MODEL, REPORT, RAW, "config.yaml", "reports/figures/residuals.png"):
        content = Path(path).read_bytes()
        Path(path).write_bytes(content + b" ")
        told = error(check_subject, document, project.config, project.paths)
        assert told == f"{path} has changed since it was signed. {AGAIN}"
        Path(path).unlink()
        told = error(check_subject, document, project.config, project.paths)
        assert told == f"{path} was signed, and is gone. {AGAIN}"
        Path(path).write_bytes(content)
    told = error(check_subject, document, project.config, ["config.yaml", "more.yaml"])
    assert told == f"the sign-off does not cover more.yaml. {AGAIN}"
    monkeypatch.setattr(approval, "code_state", lambda: {"commit": "c", "clean": None, "sha256": CODE})
    check_subject(document, project.config, project.paths)
    monkeypatch.setattr(approval, "code_state", lambda: {"commit": None, "clean": None, "sha256": "x"})
    told = error(check_subject, document, project.config, project.paths)
    assert told == f"the workflow's code has changed since the sign-off. {AGAIN}"


def test_where_a_reviewed_file_lies_in_a_release():
    paths = [MODEL, METRICS, "reports/figures/a.png", RAW, "a/b.py", "config/config.yaml", "config.yaml", "/x/s.yaml"]
    places = ["model.pkl", "evaluation_metrics.json", "figures/a.png", None, "code/a/b.py", *["config/config.yaml"] * 2]
    assert [released_as(each) for each in paths] == [*places, "config/s.yaml"]


def test_the_code_is_known_by_commit_and_content(monkeypatch, tmp_path):
    for path in (
        "Snakefile",
        "workflow/rules/a.smk",
        "scripts/a.py",
        "scripts/signoff/c.html",
        "scripts/__pycache__/a.pyc",
        "README.md",
    ):
        write(str(tmp_path / path), path)
    monkeypatch.setattr(approval, "WORKFLOW", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    lines = "".join(
        f"{digest(str(tmp_path / each))}  {each}\n"
        for each in ("Snakefile", "scripts/a.py", "scripts/signoff/c.html", "workflow/rules/a.smk")
    )
    found = approval.code_state()
    assert found == {"commit": None, "clean": None, "sha256": hashlib.sha256(lines.encode()).hexdigest()}

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "all")
    (tmp_path / "README.md").write_text("other", encoding="utf-8")
    assert approval.code_state() == found | {"commit": git("rev-parse", "HEAD").strip(), "clean": True}
    (tmp_path / "scripts/a.py").write_text("other", encoding="utf-8")
    assert approval.code_state()["clean"] is False
    git("checkout", "-q", ".")
    for path in ("Snakefile", "workflow/rules/a.smk", "-- a"):
        (tmp_path / path).write_text("other", encoding="utf-8")
        assert approval.code_state()["clean"] is (path == "-- a")
        (tmp_path / path).unlink()
        git("checkout", "-q", ".")
    assert approval._git("no-such-command") is None
    if os.geteuid() == 0:
        # A checkout of another account: git reads no commit of it, and the digest alone decides.
        os.chown(tmp_path, 65534, 65534)
        os.chown(tmp_path / ".git", 65534, 65534)
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        assert approval.code_state() == found and "of another account" in approval.no_commit()
    monkeypatch.setenv("PATH", "")
    assert approval._git("status") is None


# Keys


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    """Keys of Ada, Bob and Old, whose has expired, and the file that lists them."""
    folder = tmp_path_factory.mktemp("keys")
    lines = []
    for name in ("ada", "bob", "old", "eve"):
        # Bob's is a key on an elliptic curve of NIST's.
        kind = "ecdsa" if name == "bob" else "ed25519"
        command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
        public = (folder / f"{name}.pub").read_text("utf-8")
        until = 'valid-before="20250101Z" ' if name == "old" else ""
        lines += [f"{name} {until}{public}"] * (name != "eve")
    (folder / "signers").write_text("".join(lines), encoding="utf-8")
    return folder


def test_a_signature_counts_for_its_person_and_its_words_alone(project, keys):
    rule = replace(RULE, allowed_signers=str(keys / "signers"))
    approve(project, "ada", rule, keys / "ada")
    document = approve(project, "bob", rule, keys / "bob")
    _check_decisions(document, replace(rule, required_approvals=2))
    ada, bob = document["decisions"]
    altered = (
        "the signature of {} is not one of this sign-off in the namespace 'signoff': it, or what it signs, was "
        "altered, or it was made for something else. Sign off again: make sign-off KEY=…"
    )
    unsigned = (
        "the sign-off of ada carries no signature, and release.allowed_signers asks for one. Sign off again with --key "
        "(make sign-off KEY=…)."
    )
    for decision, told in (
        (ada | {"comment": "other"}, altered.format("ada")),
        (ada | {"signature": bob["signature"]}, altered.format("ada")),
        (ada | {"signature": "x"}, altered.format("ada")),
        (ada | {"signature": None}, unsigned),
        (ada | {"signature": ""}, unsigned),
    ):
        assert told == error(_check_decisions, document | {"decisions": [decision]}, rule)
    for subject in (
        {"files": {}},
        {"failures": ["x"], "verdict": "failed", "decisions": [ada | {"override": "y"}]},
        {"project": "0" * 32},
        {"predecessor": "20260101T000000Z-0123456789ab"},
    ):
        told = error(_check_decisions, {**document, "decisions": [ada], **subject}, rule)
        assert altered.format("ada") in told
    # Twice the same key is one person, whatever is written.
    told = error(_check_decisions, document | {"decisions": [ada, ada]}, replace(rule, required_approvals=2))
    assert "so far ada, ada. 1 more" in told


@pytest.mark.parametrize(
    ("reviewer", "key", "told"),
    [
        ("ada", None, "release.allowed_signers asks for a signature: name your key, --key PATH (make sign-off KEY=…)"),
        ("ada", "bob", "ada may not sign with this key: it is not listed in "),
        ("eve", "eve", "eve may not sign with this key: it is not listed in "),
        ("old", "old", "or not valid at that time ("),
        ("ada", "none", "/none does not exist. Name a private key of OpenSSH: --key ~/.ssh/id_ed25519"),
        ("ada", "signers", "ssh-keygen cannot sign with "),
    ],
)
def test_a_key_that_may_not_sign_signs_nothing(project, keys, reviewer, key, told):
    rule = replace(RULE, allowed_signers=str(keys / "signers"))
    assert told in error(approve, project, reviewer, rule, key and keys / key)
    assert not Path("reports/sign_off.json").exists()


def test_a_key_that_has_expired_since_the_release_still_counts_for_it(project, keys):
    document = approve(project, "old", RULE, keys / "old")
    rule = replace(RULE, allowed_signers=str(keys / "signers"))
    _check_decisions(document, rule, "2024-12-31T23:00:00Z")
    assert "or not valid at that time" in error(_check_decisions, document, rule, "2025-01-01T01:00:00Z")
    assert "or not valid at that time" in error(_check_decisions, document, rule)


def test_a_release_counts_by_the_time_of_its_own_deploy(project, keys, monkeypatch):
    def at(when: str) -> None:
        for module in (releasing, deploying):
            monkeypatch.setattr(module, "utc_now", lambda: when)

    rule = replace(RULE, allowed_signers=str(keys / "signers"))
    names = []
    for number, when in ((2, "2024-12-30T00:00:00Z"), (3, "2025-06-30T00:00:00Z")):
        train(number, STORE.current())
        at(when)
        approve(project, "old", RULE, keys / "old")
        names.append(deploy(project))
    assert STORE.approved(names[0], rule)[0] == Path("deployed/releases") / names[0]
    assert "or not valid at that time" in error(STORE.approved, names[1], rule)


def test_without_the_file_of_signers_or_openssh_nothing_is_accepted(project, keys, monkeypatch):
    rule = replace(RULE, allowed_signers="nowhere")
    told = "release.allowed_signers: nowhere does not exist. Write it, or correct the config."
    assert error(_check_decisions, approve(project, "ada", RULE, keys / "ada"), rule) == told
    monkeypatch.setenv("PATH", "")
    told = "ssh-keygen is not installed: signatures need OpenSSH 8.2 or newer."
    assert error(approve, project, "ada", RULE, keys / "ada") == told


def test_openssh_is_asked_in_utc_and_in_english_with_all_else_of_the_environment(tmp_path, monkeypatch):
    program = tmp_path / "ssh-keygen"
    program.write_text('#!/bin/sh\necho "$TZ $LC_ALL $MARK $* $(cat)"; echo said >&2; exit 3\n', encoding="utf-8")
    program.chmod(0o755)
    for name, value in {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "TZ": "Asia/Tokyo",
        "LC_ALL": "de_DE",
        "MARK": "m",
    }.items():
        monkeypatch.setenv(name, value)
    done = signature._ssh_keygen("-Y", "x", content=b"given")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"UTC C m -Y x given\n", b"said\n")


def test_last_words_of_a_command():
    done = subprocess.CompletedProcess
    assert signature._last_line(done([], 3, b"out\n", b"a\n b \n")) == "out"
    assert signature._last_line(done([], 3, b"", b"a\n b\xff \n")) == "b�"
    assert signature._last_line(done([], 3, b" \n", b"")) == "exit code 3"


# Releases


def test_a_release_holds_what_was_signed_and_the_history_tells_of_it(project):
    name = release(project, 2)
    folder = Path("deployed/releases") / name
    assert name.endswith(f"-{digest(MODEL)[:12]}") and os.readlink("deployed/current") == f"releases/{name}"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    expected = {"model.pkl", "model.json", "evaluation_metrics.json", "validation_report.json", "diagnostics.json"}
    expected |= {"final_report.md", "final_report.html", "figures/residuals.png", "config/config.yaml", "sign_off.json"}
    assert found == expected
    (line,) = STORE.history()
    assert line.pop("at").endswith("Z") and len(line.pop("move")) == 64
    assert line == {
        "action": "deploy",
        "release": name,
        "data": [f"{digest(FEATURES)}.csv.gz", f"{digest('data/features/features.json')}.json.gz"],
        "by": ["Ada"],
        "reason": ["fine"],
        "override": [],
        "model_sha256": digest(MODEL),
        "sign_off_sha256": digest("reports/sign_off.json"),
        "from": None,
        "previous": "0" * 64,
    }
    document = STORE.verify(name, STORE.history())
    assert document["decisions"][0]["reviewer"] == "Ada"
    model, metadata = STORE.model(name, RULE)
    assert model == {"model": 2} and metadata["training_rows"] == 2000
    assert STORE.code(name, metadata) is None and STORE.half_width(name, document) == 2.5
    without = {path: each for path, each in document["files"].items() if path != DIAGNOSTICS}
    assert STORE.half_width(name, document | {"files": without}) is None


def deploy_again(project) -> str:
    approve(project)
    return deploy(project)


def test_the_code_of_a_release_is_its_own_copy_and_its_model_may_be_skops(project):
    # Slow to import, and no other test here needs it.
    import skops.io

    write("f.py", "ONE = 1\n")
    project.config = replace(project.config, features=FeaturesConfig(custom="f.py"))
    train(2)
    change(JSON, custom={"file": "f.py", "sha256": digest("f.py")})
    approve(project)
    name = deploy(project)
    write("f.py", "ONE = 2\n")
    metadata = STORE.model(name, RULE)[1]
    assert STORE.code(name, metadata).ONE == 1
    train(2)
    project.config = replace(project.config, features=FeaturesConfig(), model=ModelConfig(format="skops"))
    Path("model/model.skops").write_bytes(skops.io.dumps([1, 2]))
    model = digest("model/model.skops")
    change(JSON, sha256=model, custom=None)
    change(METRICS, model_sha256=model, champion={"release": name, "test": {"MAE": 1, "R2": 0}})
    again = STORE.model(deploy_again(project), RULE)[0]
    assert again == [1, 2]
    write(f"deployed/releases/{name}/code/f.py", "ONE = 3\n")
    assert "is not the recorded file" in error(STORE.code, name, metadata)


def test_the_same_model_is_one_release_and_nothing_is_done_where_it_is_current(project, caplog):
    caplog.set_level("INFO")
    first = release(project, 2)
    assert deploy(project) == first and len(STORE.history()) == 1
    assert f"{first} is this model, and current already: nothing to do" in caplog.text
    second = release(project, 3)
    train(2, second)
    approve(project)
    assert deploy(project) == first and STORE.current() == first
    lines = STORE.history()
    assert [(each["action"], each["release"], each["from"]) for each in lines] == [
        ("deploy", first, None),
        ("deploy", second, first),
        ("deploy", first, second),
    ]
    assert lines[2]["sign_off_sha256"] == lines[0]["sign_off_sha256"]
    assert kept_releases(lines) == [second, first]


def test_a_release_that_cannot_be_used_again_is_rebuilt(project, caplog):
    first = release(project, 2)
    (Path("deployed/releases") / first / "model.pkl").write_bytes(b"other")
    again = deploy(project)
    assert again != first and STORE.verify(again, STORE.history())
    assert f"{first} has this model, but cannot be used again: " in caplog.text


def test_a_link_that_moved_without_the_history_is_moved_again(project):
    release(project, 2)
    second = release(project, 3)
    first = kept_releases(STORE.history())[0]
    STORE.move_to(first)
    assert deploy(project) == second and STORE.current() == second


def test_old_releases_go_but_never_the_current_one_nor_the_one_before(project, caplog):
    caplog.set_level("INFO")
    names = [release(project, number, keep=1) for number in (2, 3, 4)]
    kept = sorted(each.name for each in Path("deployed/releases").iterdir())
    assert kept == sorted(names[1:]) == sorted(kept_releases(STORE.history()))
    last = STORE.history()[-1]
    assert (last["action"], last["release"], last["reason"]) == ("prune", names[0], "release.keep: 1")
    assert f"pruned the release {names[0]} (release.keep: 1)" in caplog.text
    five = [release(project, number, keep=3) for number in (5, 6)]
    assert kept_releases(STORE.history()) == [names[2], *five]
    assert release_before(five[1], STORE.history()) == five[0]
    assert release_before(names[2], STORE.history()) is None
    assert release_before("gone", STORE.history()) == five[1]


def test_a_file_that_changes_while_it_is_copied_is_not_released(project, monkeypatch):
    train(2)
    approve(project)
    check = deploying._check_place

    def meanwhile(*arguments):
        check(*arguments)
        Path(MODEL).write_bytes(b"other")

    monkeypatch.setattr(deploying, "_check_place", meanwhile)
    assert error(deploy, project) == (
        f"{MODEL} changed while it was copied: does a run go on? Wait for it, and sign off again."
    )
    assert list(STORE.releases.iterdir()) == [] and STORE.history() == []


def test_a_sign_off_that_is_swapped_after_it_was_read_changes_nothing(project, monkeypatch):
    train(2)
    good = serialised(approve(project))
    check = deploying._check_place

    def meanwhile(*arguments):
        check(*arguments)
        Path("reports/sign_off.json").write_bytes(b"{}")

    monkeypatch.setattr(deploying, "_check_place", meanwhile)
    name = deploy(project)
    assert Path(f"deployed/releases/{name}/sign_off.json").read_bytes() == good
    assert STORE.history()[-1]["sign_off_sha256"] == hashlib.sha256(good).hexdigest()


def test_a_release_that_no_line_tells_of_is_set_aside_unless_it_is_current(project, caplog):
    first = release(project, 2)
    Path("deployed/releases/stray").mkdir()
    Path("deployed/releases/file").touch()
    second = release(project, 3)
    assert not Path("deployed/releases/stray").exists() and Path("deployed/releases/file").exists()
    assert Path("deployed/set-aside/stray").is_dir()
    told = "no line of deployed/history.jsonl names deployed/releases/stray: set aside in deployed/set-aside"
    assert told in caplog.text
    assert sorted(kept_releases(STORE.history())) == sorted([first, second])
    Path("deployed/releases/stray").mkdir()
    STORE.move_to("stray")
    STORE.sweep(STORE.history())
    assert Path("deployed/releases/stray").exists()


RESTORE = "Restore it from a backup, or deploy another release."


def test_each_way_to_alter_a_release_is_named(project):
    name = release(project, 2)
    history, folder = STORE.history(), Path("deployed/releases") / name
    for file in ("model.pkl", "config/config.yaml", "figures/residuals.png"):
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content + b" ")
        assert error(STORE.verify, name, history) == f"{folder / file} was altered. {RESTORE}"
        (folder / file).unlink()
        assert error(STORE.verify, name, history) == f"{folder / file} is gone. {RESTORE}"
        (folder / file).write_bytes(content)
    (folder / "more.py").touch()
    told = f"{folder / 'more.py'} does not belong to the release. Move it elsewhere."
    assert error(STORE.verify, name, history) == told
    (folder / "more.py").unlink()
    sign_off = folder / "sign_off.json"
    content = sign_off.read_bytes()
    sign_off.write_bytes(serialised(json.loads(content) | {"failures": ["x"]}))
    assert error(STORE.verify, name, history) == f"{sign_off} is gone or was altered. {RESTORE}"
    sign_off.unlink()
    assert error(STORE.verify, name, history) == f"{sign_off} is gone or was altered. {RESTORE}"
    sign_off.write_bytes(content)
    STORE.verify(name, history)
    told = error(STORE.verify, "x", history)
    assert told.startswith("deployed/releases/x: no line of deployed/history.jsonl names this release; ")
    nothing = "nothing is deployed yet. Read the report, then make sign-off and make deploy."
    assert error(STORE.approved, None, RULE) == nothing


def test_each_way_to_alter_the_history_is_named(project):
    for number in (2, 3, 4):
        release(project, number)
    path, head = Path("deployed/history.jsonl"), Path("deployed/history.head")
    lines, end = path.read_bytes().splitlines(keepends=True), head.read_bytes()
    restore = "Restore it, and history.head, from a backup; nothing is released until then."
    entry = json.loads(lines[1])
    renamed = canonical(entry | {"by": ["Eve"]}) + b"\n"
    spaced = json.dumps(entry).encode() + b"\n"
    for content, told in (
        ([lines[0], renamed, lines[2]], "line 2 was altered, or lines next to it were removed"),
        ([lines[0], spaced, lines[2]], "line 2 was altered"),
        ([lines[0], b"{\n", lines[2]], "line 2 was altered"),
        ([lines[0], b'{"a":1}\n', lines[2]], "line 2 was altered"),
        ([lines[0], b"7\n", lines[2]], "line 2 was altered"),
        (
            [lines[0], canonical(entry | {"previous": "0" * 64}) + b"\n", lines[2]],
            "line 2 was altered, or lines next to it were removed",
        ),
        ([lines[0], lines[2]], "line 1 was altered, or lines next to it were removed"),
        ([lines[1], lines[2]], "line 1 was altered, or lines next to it were removed"),
        (
            [canonical(json.loads(lines[0]) | {"at": "2020-01-01T00:00:00Z"}) + b"\n", *lines[1:]],
            "line 1 was altered, or lines next",
        ),
        (lines[:2], "deployed/history.head does not know its end: line 2, the last, was altered, or lines after it"),
        (
            [*lines[:2], canonical(json.loads(lines[2]) | {"at": "2020-01-01T00:00:00Z"})],
            "does not know its end: line 3, the last, was alt",
        ),
        ([], "does not know its end: line 0"),
    ):
        path.write_bytes(b"".join(content))
        said = error(STORE.history)
        assert told in said and said.startswith("deployed/history.jsonl: ") and said.endswith(restore), said
    path.write_bytes(b"".join(lines))
    # Killed between the two files: the head is one line behind.
    head.write_text(hashlib.sha256(lines[1].rstrip(b"\n")).hexdigest() + "\n", encoding="ascii")
    assert len(STORE.history()) == 3
    head.write_text(hashlib.sha256(lines[0].rstrip(b"\n")).hexdigest(), encoding="ascii")
    assert "does not know its end: line 3" in error(STORE.history)
    head.unlink()
    assert "does not know its end" in error(STORE.history)
    for damage in (b"\xff", b"", b"\0" * 65, end[:30]):
        head.write_bytes(damage)
        assert error(STORE.history) == f"deployed/history.jsonl: deployed/history.head is damaged. {restore}"
    head.write_bytes(end)
    assert [each["previous"] for each in STORE.history()][1:] == [
        hashlib.sha256(each.rstrip(b"\n")).hexdigest() for each in lines[:2]
    ]
    path.unlink()
    head.unlink()
    assert STORE.history() == [] and kept_releases([]) == []


def test_after_the_first_line_alone_a_kill_leaves_no_head(project):
    release(project, 2)
    Path("deployed/history.head").unlink()
    assert len(STORE.history()) == 1


def test_times_are_in_utc_wherever_the_machine_is(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    now = datetime.now(UTC)
    at = datetime.fromisoformat(approval.utc_now())
    monkeypatch.undo()
    time.tzset()
    assert abs((at - now).total_seconds()) < 60


def test_an_override_is_in_the_history_and_the_name_tells_time_and_model(project):
    change(METRICS, thresholds=[{"name": "mae_max", "metric": "MAE", "limit": 1, "value": 1.5, "passed": False}])
    approve(project, override="late")
    name = deploy(project)
    assert STORE.history()[-1]["override"] == ["late"]
    assert re.fullmatch(rf"\d{{8}}T\d{{6}}Z-{digest(MODEL)[:12]}", name)


def test_a_copy_that_fails_leaves_no_half_release(project, monkeypatch):
    approve(project)
    monkeypatch.setattr(deploying, "_copied", lambda path, copy: "0")
    assert "changed while it was copied: does a run go on?" in error(deploy, project)
    assert list(STORE.releases.iterdir()) == []


def test_what_a_killed_deploy_has_left_is_gone_with_the_next_and_not_worth_a_word(project, caplog):
    left = STORE.releases / ".20260101T000000Z-0.part"
    write(str(left / "model.pkl"), "half")
    approve(project)
    assert [each.name for each in STORE.releases.iterdir()] == [left.name]
    name = deploy(project)
    assert [each.name for each in STORE.releases.iterdir()] == [name]
    assert caplog.messages == []


def test_a_sign_off_of_another_form_is_refused(project):
    path = Path("reports/sign_off.json")
    path.write_bytes(serialised(approve(project) | {"version": 4}))
    assert error(read_sign_off, path) == (
        f"{path} has the version 4, and this workflow reads 3. Use the workflow that has written it, or sign off "
        "again: make sign-off."
    )


def test_the_releases_of_another_folder_are_read_where_it_is(project):
    name = release(project, 2)
    history = STORE.history()
    Path("deployed").rename("elsewhere")
    assert STORE.history() == []
    elsewhere = Releases(Path("elsewhere"))
    assert elsewhere.history() == history
    assert elsewhere.verify(name, history) == read_sign_off(Path("elsewhere/releases", name, "sign_off.json"))


def test_a_rollback_keeps_the_order_in_which_releases_were_deployed():
    def line(action: str, name: str) -> dict:
        return {"action": action, "release": name}

    history = [line("deploy", "a"), line("deploy", "b"), line("rollback", "a"), line("deploy", "c")]
    assert kept_releases(history) == ["a", "b", "c"]
    assert kept_releases([*history, line("prune", "a")]) == ["b", "c"]
    assert kept_releases([*history, line("deploy", "a")]) == ["b", "c", "a"]


def test_the_lock_is_waited_for_and_said(project, caplog):
    caplog.set_level("INFO")
    code = (
        "import fcntl, sys; f = open('deployed/.lock', 'w'); fcntl.flock(f, 2); print(1, flush=True); sys.stdin.read(1)"
    )
    Path("deployed").mkdir()
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    holder.stdout.readline()
    with pytest.MonkeyPatch.context() as patched:
        flock = releasing.fcntl.flock

        def wait(file, how):
            if how == releasing.fcntl.LOCK_EX:
                holder.communicate("\n")
            flock(file, how)

        patched.setattr(releasing.fcntl, "flock", wait)
        with STORE.locked("here"):
            assert holder.returncode == 0
    assert "[here] another process changes deployed: waiting for it" in caplog.text


# On the terminal


def asked(answers: str, failures: list[str], **given: object) -> SimpleNamespace:
    args = SimpleNamespace(**{"reviewer": None, "decision": None, "override": None, "comment": None, **given})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdin", io.StringIO(answers))
        with contextlib.redirect_stdout(said := io.StringIO()):
            signing._ask(args, failures)
    args.said = said.getvalue()
    return args


def test_alarms_are_shown_and_approved_with_a_reason_alone(project):
    found = json.loads(Path(DIAGNOSTICS).read_text("utf-8"))
    found["alarms"] = [{"name": "drift", "feature": "km", "sentence": "km has moved."}]
    Path(DIAGNOSTICS).write_text(json.dumps(found), encoding="utf-8")
    for page in (REPORT, PAGE):
        with open(page, "a", encoding="utf-8") as file:
            file.write(digest(DIAGNOSTICS))
    assert "Alarm       drift: km has moved." in summary_lines(review(project.config, project.paths))
    assert "this model raises alarms (drift). To approve it all the same" in error(approve, project)
    code, said, log = run(signing, *DECISION)
    assert code == 1 and "\nAlarm       drift: km has moved.\n" in said
    assert "alarms (drift)" in log[-1] and "--override REASON" in log[-1]
    code, said, _ = run(signing, *DECISION, "--override", "a season")
    assert code == 0 and "\nAlarm       drift: km has moved.\n" in said
    assert approve(project, decision="reject")["decisions"][0]["override"] is None
    document = approve(project, override=" a season ")
    assert document["decisions"][0]["override"] == "a season"
    # Whoever writes the sign-off by hand gets no further than the command does, neither at deploy nor afterwards.
    Path("reports/sign_off.json").write_bytes(serialised({**document, "alarms": []}))
    assert error(deploy, project).startswith("the sign-off names other alarms than reports/diagnostics.json.")
    document["decisions"][0]["override"] = None
    Path("reports/sign_off.json").write_bytes(serialised(document))
    told = (
        "Ada has approved a model that raises alarms (drift) without an override. Sign off again with a reason: "
        "make sign-off OVERRIDE=…"
    )
    assert error(deploy, project) == told
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(deploying, "check_approval", lambda *_: None)
        name = deploy(project)
    assert error(STORE.approved, name, RULE) == told
    assert verifying.verify(RULE)[1] == [
        f"deployed/releases/{name} is current, but not approved under the config: {told}"
    ]
    assert error(deploy, project) == told
    approve(project, override="a season")
    assert deploy(project) != name and verifying.verify(RULE)[1] == []


def test_a_sign_off_without_the_diagnostics_is_not_enough(project):
    document = approve(project)
    told = f"the sign-off does not cover {DIAGNOSTICS}. {AGAIN}"
    assert error(approval.check_approval, document, RULE, None) == told
    # The form before knew no alarms that need a reason.
    approval.check_approval({**document, "version": 1}, RULE, None)


def test_what_is_swapped_after_its_digest_was_taken_is_not_shown(project):
    subject = review(project.config, project.paths)
    for path in (METRICS, VALIDATION, DIAGNOSTICS, JSON):
        content = Path(path).read_bytes()
        Path(path).write_bytes(content + b" ")
        told = f"{path} has changed while it was read. Wait for the run to end, and look again."
        assert error(approval.reviewed_bytes, path, subject["files"]) == told
        # The alarms are in the subject.
        if path not in (JSON, DIAGNOSTICS):
            assert error(summary_lines, subject) == told
        Path(path).write_bytes(content)
    name = release(project, 2)
    subject = review_of(name)
    write(JSON, {})
    assert f"{JSON} has changed while it was read" in error(summary_lines, subject)


def test_what_is_not_given_is_asked_until_it_is_said():
    args = asked("\n \nAda\nmaybe\n\nA\n \nlate\n\nfine\n", ["x"])
    assert (args.reviewer, args.decision, args.override, args.comment) == ("Ada", "approve", "late", "fine")
    questions = ["Your name: "] * 3 + ["Approve or reject? [a/r] "] * 3
    questions += ["It has failed. Why is it approved all the same? "] * 2 + ["Comment: "] * 2
    assert args.said == "".join(questions)
    args = asked("rej\nno\n", ["x"], reviewer="Ada")
    assert (args.decision, args.override, args.comment) == ("reject", None, "no")
    assert asked("", [], reviewer="Ada", decision="approve", comment="c").said == ""
    assert asked("why\n", ["x"], reviewer="Ada", decision="approve", comment="c").override == "why"
    with pytest.raises(EOFError):
        asked("", [])


DECISION = ["--reviewer", "Ada", "--decision", "approve", "--comment", "fine"]
UNSIGNED = "INFO - [sign_off] unsigned: it is as trustworthy as this folder (release.allowed_signers)"


def test_the_command_line_of_the_sign_off_shows_asks_and_writes(project, keys, monkeypatch):
    code, said, log = run(signing, "--reviewer", "Ada")
    assert code == 2 and "there is no terminal to ask on: give --decision, --comment" in said and not log
    code, said, log = run(signing, *DECISION)
    assert code == 0 and "\n\nTarget      y\n" in said
    assert f"\nReport      {PAGE}, {REPORT}\n\n" in said
    assert log[0] == f"INFO - [sign_off] start: {REPORT}"
    assert log[1:-1] == [
        "INFO - [sign_off] Ada: approve",
        UNSIGNED,
        "INFO - [sign_off] wrote reports/sign_off.json",
        "INFO - [sign_off] next: make deploy",
    ]
    (decision,) = read_sign_off(Path("reports/sign_off.json"))["decisions"]
    assert (decision["reviewer"], decision["comment"], decision["override"]) == ("Ada", "fine", None)
    write("config.yaml", f"{CONFIG}release: {{required_approvals: 2}}\n")
    code, _, log = run(signing, *DECISION, "--output", "x/sign_off.json")
    assert log[-3] == "INFO - [sign_off] wrote x/sign_off.json" and Path("x/sign_off.json").is_file()
    assert log[-2].startswith("INFO - [sign_off] not to be deployed: 2 different people must approve")
    monkeypatch.setenv("HOME", str(keys))
    code, _, log = run(signing, *DECISION[:1], "ada", *DECISION[2:], "--key", "~/ada")
    assert code == 0 and UNSIGNED not in log and log[-1].startswith("INFO - [sign_off] end after")
    assert read_sign_off(Path("reports/sign_off.json"))["decisions"][-1]["signature"].startswith("-----BEGIN SSH SIG")
    change(METRICS, thresholds=[{"name": "mae_max", "metric": "MAE", "limit": 1, "value": 1.5, "passed": False}])
    assert "this model has failed" in run(signing, *DECISION)[2][-1]
    assert run(signing, *DECISION, "--override", "late")[0] == 0
    assert run(signing, *DECISION, said="why\n")[0] == 0
    assert read_sign_off(Path("reports/sign_off.json"))["decisions"][-1]["override"] == "why"
    Path("config.yaml").rename("other.yaml")
    assert run(signing, *DECISION, "--override", "late", "--config", "other.yaml")[0] == 0
    assert "other.yaml" in read_sign_off(Path("reports/sign_off.json"))["files"]
    Path("other.yaml").rename("config.yaml")
    assert run(signing, said="Eve\nr\nno\n")[2][2] == "INFO - [sign_off] Eve: reject"


def test_two_who_sign_at_once_sign_one_after_the_other(project, monkeypatch):
    locks = []
    monkeypatch.setattr(Releases, "locked", lambda self, name: (locks.append(name), contextlib.nullcontext())[1])
    run(signing, *DECISION)
    assert locks == ["sign_off"]


def test_nothing_is_signed_without_an_answer_or_where_a_file_changes_meanwhile(project, monkeypatch):
    code, _, log = run(signing, said="Ada\n")
    assert (code, log[-1]) == (1, "ERROR - [sign_off] no answer: nothing was signed.")
    decide = signing.decide

    def meanwhile(*arguments):
        write("reports/figures/residuals.png", "other")
        return decide(*arguments)

    monkeypatch.setattr(signing, "decide", meanwhile)
    code, _, log = run(signing, *DECISION)
    told = "a file has changed while you were deciding. Wait for the run to end, and look again."
    assert (code, log[-1]) == (1, f"ERROR - [sign_off] {told}")
    assert not Path("reports/sign_off.json").exists()


def test_the_command_line_of_deploy_says_what_is_current_and_how_to_go_back(project, monkeypatch):
    code, _, log = run(deploying)
    assert code == 1 and log[0] == "INFO - [deploy] start: reports/sign_off.json"
    assert log[-1].startswith("ERROR - [deploy] reports/sign_off.json does not exist: nobody has signed off")
    run(signing, *DECISION, "--output", "other.json")
    code, _, log = run(deploying, "--sign-off", "other.json")
    first = STORE.current()
    assert code == 0 and log[1:-1] == [
        f"INFO - [deploy] completed. Current release: deployed/releases/{first}",
        "INFO - [deploy] deployed/current points to it; it is the first: there is none to go back to",
    ]
    train(2, first)
    tracked = []
    monkeypatch.setattr(deploying, "track", tracked.append)
    write("config.yaml", f"{CONFIG}tracking: {{mlflow_uri: 'http://127.0.0.1:9'}}\n")
    Path("config.yaml").rename("other.yaml")
    assert run(signing, *DECISION, "--config", "other.yaml")[0] == 0
    code, _, log = run(deploying, "--config", "other.yaml")
    assert code == 0
    assert log[-2] == f"INFO - [deploy] deployed/current points to it; make rollback goes back to {first}"
    assert [each.tracking.mlflow_uri for each in tracked] == ["http://127.0.0.1:9"]
    assert STORE.history()[-1]["release"] == STORE.current()
    monkeypatch.setattr(deploying, "track", None)
    write("config.yaml", CONFIG)
    os.utime("config.yaml", (0, 0))
    assert run(signing, *DECISION)[0] == 0 and run(deploying)[0] == 0
