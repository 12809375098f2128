"""The page of the project: what is deployed, how right it is, and what waits for whom."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_history import Page, a_run, lost

import deploy
import rollback
import sign_off
from conftest import in_process
from signoff.ops.overview import _overview, _waiting, read_state, update_index
from signoff.ops.status import NextStep
from signoff.release.approval import METRICS

AT = "2026-02-01T12:00:00Z"
HOSTILE = '<script>document.title = "run"</script>'


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty project as the current folder."""
    monkeypatch.chdir(tmp_path)
    write("config.yaml", "raw_data_source_url: a.csv\ntarget: y\n")
    return tmp_path


def write(path: str | Path, content: object) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def evaluated(folder: Path = Path(), mae: float = 2.0, verdict: str = "passed", **alarms: str) -> None:
    """Write what is read of an evaluated model."""
    scores = {"test": {"MAE": mae, "R2": 0.5}}
    found = {"model_sha256": "a" * 64, "model": scores, "baselines": {"mean": {"test": {"MAE": 4.0}}}}
    write(folder / METRICS, found | {"verdict": verdict})
    listed = [{"name": name, "feature": None, "sentence": words} for name, words in alarms.items()]
    write(folder / "reports/diagnostics.json", {"model_sha256": "a" * 64, "alarms": listed})


def live(release: str = "r", *sentences: str) -> dict:
    """Return a live record of two weeks."""
    week = {"release": release, "as_if": False, "rows": 9, "answered": 9, "bias": 0.1, "coverage": 0.9, "width": 2.0}
    week |= {"baseline": "mean", "baseline_MAE": 4.0, "promised_MAE": 2.0, "promised_low": 1.5, "promised_high": 2.5}
    weeks = [week | {"week": f"2026-01-{day}", "MAE": 2.0 + n, "alarms": []} for n, day in enumerate(("05", "12"))]
    weeks[1]["alarms"] = ["live_error"] if sentences else []
    alarms = [{"name": "live_error", "slice": None, "sentence": each} for each in sentences]
    return {"release": release, "rows": 18, "answered": 18, "alarms": alarms, "broken": [], "weeks": weeks}


def test_a_new_project_waits_for_its_first_run(folder):
    text = _overview("rides", [], [], AT)
    page = Page(text)
    assert "Project rides" in page.words and "⚠ Nothing has been trained yet" in page.words
    assert "As of 2026-02-01 12:00 UTC. " in text and "Nothing is deployed." in page.words
    assert page.tables[0][1] == ["Nothing has been trained yet", "the owner", "none (1 needed)", "", "make run"]


def test_a_model_that_waits_names_who_has_not_decided_and_its_alarms(folder):
    evaluated(slice_bias=HOSTILE)
    write("signers", f"ada,ada@work ssh-ed25519 A\n# nobody\n{HOSTILE.replace(' ', '')} ssh-ed25519 B\n")
    write("config.yaml", "raw_data_source_url: a.csv\ntarget: y\nrelease: {allowed_signers: signers}\n")
    runs = [a_run(0), lost(1, "error", HOSTILE)]
    text = _overview(HOSTILE, runs, [HOSTILE], AT)
    page = Page(text)
    waiting, ran = page.tables
    assert waiting[1][:4] == [
        "A model waits for its report",
        "the owner",
        "none (1 needed)",
        "slice_bias",
    ]
    assert ran[1][7] == HOSTILE and "✗ It needs a look" in page.words
    assert f"The last run came to no verdict: {HOSTILE}" in page.words
    # Names stay text, and nothing is loaded.
    assert text.count("<script") == 1 and not {"link", "img", "iframe"} & {*page.tags}
    write("reports/final_report.md", "a" * 64)
    assert Page(_overview("x", runs, [], AT)).tables[0][1][1] == f"ada, {HOSTILE.replace(' ', '')}"


def test_live_error_is_drawn_and_its_alarm_comes_first(folder):
    evaluated()
    write("reports/live.json", live("r", "It errs more."))
    (folder / "deployed/releases/r").mkdir(parents=True)
    (folder / "deployed/current").symlink_to("releases/r")
    page = Page(text := _overview("rides", [a_run(0)], [], AT))
    assert text.count("<svg") == 1 and "Live error by week" in text
    assert ["A live alarm", "the owner", "", "live", "It errs more."] in page.tables[0]
    assert [row[0] for row in page.tables[1][1:]] == ["2026-01-12", "2026-01-05"]


def test_a_damaged_file_is_named_and_the_page_is_written(folder):
    evaluated()
    write("deployed/history.jsonl", "{}\n")
    page = Page(_overview("rides", [], [], AT))
    assert any("line 1 was altered" in each for each in page.words)


def test_many_models_are_a_table_with_the_worst_first(folder):
    names = ["good", "bad one", "failed", "damaged", "new"]
    write(
        "config.yaml",
        f"raw_data_source_url: a.csv\ntarget: y\nmodels: {{each: {json.dumps({name: {} for name in names})}}}\n",
    )
    for name, mae in {"good": 1.0, "bad one": 3.9, "failed": 2.0, "damaged": 1.0}.items():
        evaluated(Path("models", name), mae, "failed" if name == "failed" else "passed")
        write(Path("models", name, "config.yaml"), "raw_data_source_url: a.csv\ntarget: y\n")
    write("models/damaged/deployed/history.jsonl", "{}\n")
    write("models/bad one/reports/final_report.html", "a report")
    page = Page(_overview("cities", [a_run(0)], [], AT))
    assert [row[0] for row in page.tables[0][1:]] == ["damaged", "failed", "bad one", "good"]
    assert ("a", "href", "../models/bad%20one/reports/final_report.html") in page.attributes
    assert "✗ Some need a look" in page.words
    assert page.tables[0][4][3:5] == ["1", "4"]


def test_the_table_of_many_models_is_searched_and_sorted_in_a_browser(folder, browser):
    names = [f"city{n}" for n in range(15)]
    each = json.dumps({name: {} for name in names})
    write("config.yaml", f"raw_data_source_url: a.csv\ntarget: y\nmodels: {{each: {each}}}\n")
    for n, name in enumerate(names):
        evaluated(Path("models", name), 2.0, "failed" if n == 7 else "passed")
        write(Path("models", name, "config.yaml"), "raw_data_source_url: a.csv\ntarget: y\n")
    write("index.html", _overview("cities", [a_run(0)], [], AT))
    browser.open(Path("index.html").resolve())
    table = "document.querySelector('table')"
    seen = f"[...{table}.tBodies[0].rows].filter((row) => row.offsetHeight).map((row) => row.cells[0].textContent)"
    assert browser(seen)[0] == "city7" and len(browser(seen)) == 15
    browser(f"{table}.querySelector('th button').click()")
    assert browser(seen) == sorted(names)
    search = "Object.assign(document.querySelector('input'), {value: 'CITY1'}).dispatchEvent(new Event('input'))"
    browser(search)
    assert browser(seen) == ["city1", "city10", "city11", "city12", "city13", "city14"]


def test_the_state_is_that_of_its_folder(folder):
    evaluated(Path("models/a"))
    assert read_state().metrics is None
    found = read_state(Path("models/a"))
    assert found.metrics["model"]["test"]["MAE"] == 2.0 and found.step.waits == "report"
    assert Path.cwd() == folder


def test_who_has_decided_is_not_waited_for(folder):
    evaluated()
    write("signers", "ada ssh-ed25519 A\nbob ssh-ed25519 B\n")
    write("config.yaml", "raw_data_source_url: a.csv\ntarget: y\nrelease: {allowed_signers: signers}\n")
    ada = {
        "reviewer": "Ada",
        "decision": "approve",
        "comment": "c",
        "override": None,
        "signed_at": AT,
        "signature": "s",
    }
    state = replace(read_state(), decisions=[ada], step=NextStep("approval", "one more"))
    (row,) = _waiting(state).rows
    assert row[1:3] == ["bob", "Ada: approve (1 needed)"]


def test_a_decision_a_deployment_and_a_rollback_rewrite_the_page_if_it_exists(released, monkeypatch):
    monkeypatch.chdir(released.folder)
    one, two = sorted(path.name for path in Path("deployed/releases").iterdir())
    index = Path("reports/index.html")
    back, forth = (rollback, "--reason=late"), (rollback, "--reason=x", f"--release={two}")
    assert in_process(*back)[0] == 0 and in_process(*forth)[0] == 0
    assert not index.exists()
    decision = (sign_off, "--reviewer=Ada", "--decision=approve", "--comment=read it")
    for command, release in ((decision, two), ((deploy,), two), (back, one)):
        index.write_text("old", encoding="utf-8")
        code, said, _ = in_process(*command)
        assert code == 0, said
        deployed = index.read_text(encoding="utf-8").partition('id="deployed"')[2]
        assert release in deployed.partition('id="releases"')[0]


def test_the_page_of_many_models_is_rewritten_after_a_decision_about_one(folder, monkeypatch, caplog):
    write("config.yaml", "raw_data_source_url: a.csv\ntarget: y\nmodels: {each: {a: {}}}\n")
    write("reports/index.html", "old")
    evaluated(Path("models/a"))
    monkeypatch.chdir("models/a")
    update_index()
    assert not Path("reports/index.html").exists()
    assert Page((folder / "reports/index.html").read_text("utf-8")).tables[0][1][0] == "a"
    # The decision has taken effect, whatever happens to the page.
    monkeypatch.setattr("signoff.ops.overview.read_runs", lost)
    update_index()
    assert "reports/index.html could not be rewritten" in caplog.text
