"""A decision on many models by a rule: which fit, and what is signed for each."""

import hashlib
import json
from pathlib import Path

import pytest

from signoff.base.errors import TaskError
from signoff.release import rule_decision
from signoff.release.approval import METRICS
from signoff.release.rule_decision import comment_of, list_of_models, parse_rule, problems

ALL = ["verdict passed", "no alarm", "better than the champion", "no champion", "better than every baseline"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("verdict passed", "lacks the clause 'no alarm'.*needs a decision of its own"),
        ("no alarm, no champion", "lacks the clause 'verdict passed'"),
        ("verdict passed, no alarm, better than champion", "unknown clause.*did you mean better than the champion"),
        ("verdict passed, no alarm,", "unknown clause ''"),
        ("no alarm, verdict passed, no alarm", "'no alarm' twice"),
    ],
)
def test_a_rule_has_known_clauses_and_never_covers_a_model_that_failed_or_raises_alarms(text, message):
    with pytest.raises(TaskError, match=message):
        parse_rule(text)


def test_a_rule_is_read_whatever_its_spaces_and_capitals():
    assert parse_rule(" No  alarm,VERDICT passed ") == ["no alarm", "verdict passed"]


@pytest.mark.parametrize(
    ("mae", "champion", "baseline", "alarms", "failures", "why"),
    [
        (2.0, 2.5, 3.0, [], [], {"no champion"}),
        (2.0, 2.0, 3.0, [], [], {"no champion", "better than the champion"}),
        (2.0, None, 2.0, [], [], {"better than the champion", "better than every baseline"}),
        (2.0, 2.5, 3.0, ["slice_bias"], ["mae_max"], {"no champion", "no alarm", "verdict passed"}),
    ],
)
def test_a_model_fits_only_if_each_clause_holds(tmp_path, monkeypatch, mae, champion, baseline, alarms, failures, why):
    monkeypatch.chdir(tmp_path)
    Path("reports").mkdir()
    scored = {"champion": champion and {"test": {"MAE": champion}}, "model": {"test": {"MAE": mae}}}
    scored["baselines"] = {"mean": {"test": {"MAE": 9.0}}, "km": {"test": {"MAE": baseline}}}
    found = {METRICS: scored}
    for path, content in found.items():
        Path(path).write_text(json.dumps(content), encoding="utf-8")
    files = {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in found}
    subject = {"files": files, "failures": failures, "predecessor": "r" if champion else None}
    subject["alarms"] = [{"name": each, "feature": None, "sentence": "x"} for each in alarms]
    assert {each for each in ALL if problems(subject, [each])} == why


def test_the_list_changes_with_the_rule_and_with_each_subject_and_the_comment_names_it():
    subjects = {"a": {"files": {"x": "1"}}, "b": {"files": {"x": "2"}}}
    content = list_of_models(["no alarm"], subjects)
    others = [list_of_models(["verdict passed"], subjects), list_of_models(["no alarm"], {**subjects, "b": {}})]
    assert len({content, *others}) == 3
    swapped = {"a": subjects["b"], "b": subjects["a"]}
    assert list_of_models(["no alarm"], swapped) != content
    digest = hashlib.sha256(content).hexdigest()
    words = comment_of(" fine ", ["no alarm"], content, 2)
    assert words == f"fine (one of 2 models by the rule: no alarm; list sha256:{digest})"


def test_a_model_that_somebody_has_rejected_does_not_fit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subject = {"files": {"x": "1"}, "failures": [], "alarms": [], "code": {"commit": "a", "sha256": "c"}}
    said = [{"reviewer": "Ada", "decision": "approve"}, {"reviewer": "Bob", "decision": "reject"}]
    found = {"then": {**subject, "code": {"commit": "b", "sha256": "c"}, "decisions": said, "sha256": "d"}}
    monkeypatch.setattr(rule_decision, "read_sign_off", lambda path: found["then"])
    assert problems(subject, ["no alarm"]) == []
    Path("reports").mkdir()
    Path("reports/sign_off.json").touch()
    assert problems(subject, ["no alarm"]) == ["Bob has rejected it"]
    # A rejection of an earlier model says nothing about this one.
    found["then"]["files"] = {"x": "0"}
    assert problems(subject, ["no alarm"]) == []
