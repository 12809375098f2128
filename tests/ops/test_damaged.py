"""Files of our own making that a power cut has damaged: the next run rebuilds them, and nobody deletes anything."""

import json
from pathlib import Path

import pytest

import clean_data
import evaluate_model
import feature_engineering
import generate_report
import train_model
from conftest import in_process
from signoff.base.files import read_json
from signoff.ops.damaged import changed_files, damaged
from signoff.ops.runs import lock_entry, read_runs, write_runs
from signoff.release import live_record as live
from signoff.release import outbox
from signoff.release.tracking import read_tracking
from signoff.release.verdict import logged_summary
from signoff.source.last_ingest import read_record as last_ingest

DAMAGES = {
    "empty": lambda content: b"",
    "NUL bytes": lambda content: b"\0" * len(content),
    "not UTF-8": lambda content: b"\xff\xfe" + content,
    "half": lambda content: content[: len(content) // 2],
}
TABLE = "name,size\nKöln,10\nBonn,20\n".encode()
WHOLE = {
    "a.json": b'{"a": {"b": 1}}\n',
    "a.csv": TABLE,
    "a.md": "# Köln\nA long report.\n".encode(),
    "final_report.md": b"# A report\n\n| file | SHA-256 |\n\n| a | `" + b"0123456789abcdef" * 4 + b"` |\n",
    "a.html": "<html>Köln</html>\n".encode(),
    "a.png": b"\x89PNG\r\n\x1a\n" + b"x" * 99 + b"IEND\xaeB`\x82",
    "a.txt": b"anything",
    "long.csv": TABLE + "Köln,1\n".encode() * 40_000,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", WHOLE)
def test_a_damaged_file_is_noticed_by_its_kind(tmp_path, name, damage):
    path = tmp_path / name
    path.write_bytes(WHOLE[name])
    assert list(damaged([str(path)])) == []
    path.write_bytes(DAMAGES[damage](WHOLE[name]))
    assert [each for each, _ in damaged([str(path)])] == [path] * (name != "a.txt")
    assert list(damaged([str(tmp_path / "gone.json")])) == []
    path.unlink()
    path.mkdir()
    assert list(damaged([str(path)])) == [(path, "not a file")] * (name != "a.txt")


def test_a_table_that_somebody_has_edited_is_whole(tmp_path):
    path = tmp_path / "a.csv"
    for text in (TABLE.rstrip(b"\n"), TABLE + b"\n", b"name,size", TABLE + b'"a\nb",2', TABLE.replace(b"\n", b"\r\n")):
        path.write_bytes(text)
        assert list(damaged([str(path)])) == [], text


def test_a_model_is_whole_if_it_is_the_one_that_its_json_describes(tmp_path):
    model, metadata = tmp_path / "model.pkl", tmp_path / "model.json"
    model.write_bytes(b"a model")
    assert list(damaged([str(model)])) == []
    metadata.write_text('{"sha256": "0"}', encoding="utf-8")
    assert list(damaged([str(model), str(metadata)])) == [(model, "not the model that model.json describes")]
    weeks = tmp_path / "weeks"
    weeks.mkdir()
    (weeks / "plan.json").write_text("{}", encoding="utf-8")
    broken = [weeks / "a.parquet"]
    for content, found in ((b"PAR1xxPAR1", []), (b"", broken), (b"PAR1xx", broken), (b"\0" * 20, broken)):
        (weeks / "a.parquet").write_bytes(content)
        assert [path for path, _ in damaged([str(weeks / "plan.json")])] == found


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 50, b"\xff\xfe{", b"[]", b'{"a": ', b"[" * 100_000], ids=lambda each: each[:9]
)
def test_damaged_records_and_logs_stop_nothing(tmp_path, monkeypatch, content, caplog):
    monkeypatch.chdir(tmp_path)
    files = ["reports/tracking.json", "logs/runs.jsonl", "logs/verdict.log", "logs/mlflow/0/run.json", "raw_data.json"]
    for path in files:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)
    assert read_tracking() == {} and last_ingest("x", None, Path("raw_data.json")) is None
    assert read_runs() == ([], ["line 1 of logs/runs.jsonl is damaged, and left out"] if content else [])
    assert logged_summary(Path("logs/verdict.log")) == []
    for path in ("model/model.pkl", "reports/holdout_predictions.csv"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(b"a\n")
    Path("model/model.json").write_bytes(content)
    Path("reports/evaluation_metrics.json").write_bytes(content)
    assert list(damaged(["model/model.pkl", "reports/holdout_predictions.csv"])) == []
    Path(live.LIVE_RECORD).write_bytes(content)
    assert live.read_live() is None and lock_entry(content) is None and changed_files(live.LIVE_RECORD) == []
    outbox.discard_damaged()
    assert outbox.waiting() == []
    assert "logs/mlflow/0/run.json is damaged and cannot be logged: deleted" in caplog.text


@pytest.mark.parametrize("key", [None, "release", "rows", "weeks", "alarms", "broken"])
def test_a_live_record_with_a_wrong_key_is_none(tmp_path, key):
    path, week = tmp_path / "live.json", dict.fromkeys(live.LiveWeek.__annotations__, 1)
    week |= {"release": "r", "baseline": "mean", "week": "2026-01-05", "as_if": False, "alarms": []}
    broken = {"name": "mae_max", "limit": 1, "value": 2.5, "week": "2026-01-05"}
    whole = {"release": "r", "rows": 1, "answered": 1, "weeks": [week], "broken": [broken]}
    whole["alarms"] = [{"name": "live_error", "slice": None, "sentence": "It was off."}]
    path.write_text(json.dumps(whole | ({key: [{"name": "x"}]} if key else {})), encoding="utf-8")
    assert (live.read_live(path) == whole) == (key is None)
    if key:
        assert live.read_live(path) is None
        del whole[key]
        path.write_text(json.dumps(whole), encoding="utf-8")
        assert live.read_live(path) is None


@pytest.mark.parametrize("changes", [{"verdict": 1}, {"alarms": "x"}, {"MAE": "1"}, {"thresholds": []}])
def test_a_line_of_a_run_with_a_value_of_a_wrong_type_is_left_out(tmp_path, monkeypatch, changes):
    monkeypatch.chdir(tmp_path)
    run = {"at": "2026-01-05T03:00:00Z", "verdict": "passed", "exit_code": 0, "cause": None, "MAE": 1.5, "alarms": []}
    write_runs([], run, run | changes)
    assert read_runs() == ([run], ["line 2 of logs/runs.jsonl is damaged, and left out"])


FILES = {
    "data/raw/raw_data.json": "ingest_data",
    "data/processed/cleaned_data.json": "clean_data",
    "data/features/features.json": "feature_engineering",
    "model/model.json": "train_model",
    "model/model.pkl": "train_model",
    "reports/validation_report.json": "validate_data",
    "reports/evaluation_metrics.json": "evaluate_model",
    "reports/explanation.json": "explain_model",
    "reports/comparison.json": "compare_model",
    "reports/diagnostics.json": "diagnose",
    "reports/final_report.md": "generate_report",
    "reports/final_report.html": "generate_report",
    "reports/figures/residuals.png": "generate_report",
}


def test_the_next_run_rebuilds_whatever_is_damaged(finished, monkeypatch):
    # The figures, too.
    monkeypatch.delenv("SIGNOFF_ONE_FIGURE")
    before = finished.contents()
    # Each by itself is noticed, and changed by no dry run.
    for number, (path, rule) in enumerate(FILES.items()):
        damage = list(DAMAGES)[number % len(DAMAGES)]
        content = DAMAGES[damage](before[path])
        (finished.folder / path).write_bytes(content)
        if number % 3 == 0:
            assert rule in finished.jobs("reports/final_report.md", "all"), (path, damage)
            assert (finished.folder / path).read_bytes() == content
            (finished.folder / path).write_bytes(before[path])
    # All of them at once.
    for number, path in enumerate(FILES):
        (finished.folder / path).write_bytes(list(DAMAGES.values())[number % len(DAMAGES)](before[path]))
    for each in (*finished.folder.rglob("logs/*.log"), *finished.folder.rglob(".*.arrow")):
        each.write_bytes(b"\0" * 100)
    shown = finished.snakemake("reports/final_report.md", "all").stdout
    assert "data/processed/cleaned_data.json is damaged (NUL bytes)" not in shown
    for path in FILES:
        assert f"{path} is damaged (" in shown
    record = "data/raw/raw_data.json"
    after = finished.contents()
    assert {**after, record: None} == {**before, record: None}
    assert json.loads(after[record])["source_sha256"] == json.loads(before[record])["source_sha256"]
    assert "Nothing to be done" in finished.snakemake("reports/final_report.md").stdout


def test_a_file_that_is_cut_between_two_rows_is_noticed(finished, monkeypatch):
    monkeypatch.chdir(finished.folder)

    def cut(path: str, lines: int = 1) -> None:
        whole = Path(path).read_bytes().splitlines(keepends=True)
        Path(path).write_bytes(b"".join(whole[:-lines]))

    # The next run rebuilds what nobody edits.
    holdout, report = Path("reports/holdout_predictions.csv"), Path("reports/final_report.md")
    rows = len(holdout.read_bytes().splitlines()) - 1
    assert list(damaged([str(holdout), str(report)])) == []
    cut(str(holdout))
    cut(str(report))
    assert list(damaged([str(holdout), str(report)])) == [
        (holdout, f"it has {rows - 1} rows instead of {rows}"),
        (report, "its end is missing"),
    ]
    code, _, log = in_process(generate_report, "--input=reports/evaluation_metrics.json", "--output=out.md")
    assert (code, Path("out.md").exists()) == (1, False)
    assert f"{holdout} has {rows - 1} rows instead of {rows}. Delete it" in log[-1]
    # What somebody may have edited is used as it is, and one line says so.
    features, cleaned, raw = "data/features/features.csv", "data/processed/cleaned_data.csv", "data/raw/raw_data.csv"
    for path, task, words in (
        (raw, clean_data, [f"--input={raw}", "--output=cleaned.csv"]),
        (cleaned, feature_engineering, [f"--input={cleaned}", "--output=made.csv", "--target=minutes"]),
    ):
        cut(path)
        code, _, log = in_process(task, *words)
        assert code == 0 and any(f"{path} was edited or cut since it was " in line for line in log), log
    before = read_json(Path("data/features/features.json"))["split"]["rows"]
    assert sum(read_json(Path("made.json"))["split"]["rows"].values()) == sum(before.values()) - 1
    # The number of the features' rows is known.
    for lines, task, words, kind in (
        (1, evaluate_model, ["--model=model/model.pkl", f"--features={features}", "--output=new.json"], "held-out"),
        (before["test"], train_model, [f"--input={features}", "--output=new.pkl"], "training"),
    ):
        cut(features, lines)
        code, _, log = in_process(task, *words)
        assert code == 1 and not Path("new.json").exists()
        assert f"{features} has" in log[-1] and f"{kind} rows, but data/features/features.json counts" in log[-1]
