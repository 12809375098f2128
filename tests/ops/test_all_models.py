"""What a scheduled run says of many models: one line, one message, the worst model first."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from test_overview import evaluated, write

from signoff.ops.all_models import outcome_of_all, standing_of_all
from signoff.ops.many import failed_models, forget_chunks
from signoff.ops.notify import _find_events, _message


@pytest.fixture
def models(tmp_path, monkeypatch) -> None:
    """Have a project with three models, of which one could not be trained, as the current folder."""
    monkeypatch.chdir(tmp_path)
    write("config.yaml", "raw_data_source_url: a.csv\ntarget: y\nmodels: {each: {a: {}, b: {}, c: {}}}\n")
    for name in "abc":
        write(f"models/{name}/config.yaml", "raw_data_source_url: a.csv\ntarget: y\n")
    evaluated(Path("models/a"), mae=1.0)
    evaluated(Path("models/b"), mae=3.0, slice_bias="North is too low.")
    write("models/.chunks/0.json", {"failed": {"c": "train_model"}, "files": {}})


def test_the_outcome_of_many_models_has_numbers_and_one_alarm_of_each_kind(models):
    found = outcome_of_all()
    assert (found["models"], found["models_failed"], found["models_waiting"]) == (3, 1, 3)
    assert found["alarms"] == [{"name": "slice_bias", "sentence": "1 model, such as b: North is too low."}]
    # Another model that waits is news, even if as many wait.
    evaluated(Path("models/a"), verdict="failed")
    metrics = Path("models/a/reports/evaluation_metrics.json")
    metrics.write_text(metrics.read_text(encoding="utf-8").replace("aaaa", "bbbb"), encoding="utf-8")
    again = outcome_of_all()
    assert (again["models_failed"], again["models_waiting"]) == (2, 3) and again["waiting"] != found["waiting"]


def test_one_message_tells_what_waits_the_worst_first(models):
    run = {"at": "2026-02-01T12:00:00Z", "exit_code": 0, "verdict": "passed", **outcome_of_all()}
    title, text = _message(run, ["review"])
    assert title.endswith("new models wait for a person")
    lines = text.splitlines()
    assert "3 models (1 failed, 3 wait)" in lines[1]
    assert "Failed      c: train_model failed (models/c/logs)" in lines
    order = [line.split(":")[0].strip() for line in lines if line.startswith(" " * 12)]
    assert order == ["c", "b", "a"]
    assert "(alarms: slice_bias)" in text and standing_of_all()[-1] == "Next        make report"


def test_models_that_wait_are_reported_once(models):
    run = {"at": "2026-02-01T12:00:00Z", "exit_code": 0, "verdict": "passed", **outcome_of_all()}
    now = datetime(2026, 2, 1, tzinfo=UTC)
    assert _find_events(run, [], 0, now) == ["review"]
    told = run | {"events": ["review"], "notified": ["x"]}
    assert _find_events(run, [told], 0, now) == []
    assert _find_events(run | {"waiting": "other"}, [told], 0, now) == ["review"]
    assert _find_events(run | {"models_waiting": 0, "waiting": "none"}, [told], 0, now) == []


def test_a_chunk_that_no_longer_exists_is_forgotten(models):
    write("models/.chunks/1.json", {"failed": {"gone": "train_model"}, "files": {}})
    write("models/.chunks/1.reports.json", {"failed": {"gone": "diagnose"}, "files": {}})
    assert failed_models()["gone"] == "train_model, diagnose failed (models/gone/logs)"
    forget_chunks(1)
    assert [*failed_models()] == ["c"]
