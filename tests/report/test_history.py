"""The page that shows all runs and releases over time."""

import json
import os
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

import history as command
from conftest import Project, in_process
from history import history
from signoff.ops.runs import RUNS, read_runs
from signoff.release.approval import DIAGNOSTICS, METRICS, SIGN_OFF
from signoff.report.page import _SCRIPT

MAE_MAX = {"mae_max": 12.5, "r2_min": 0.8}


class Page(HTMLParser):
    """The words and tags of a page, and its tables as lists of rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.tables, self.words, self.inside = [], [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *each) for each in attrs]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside &= tag not in ("td", "th")

    def handle_data(self, data):
        self.words.append(data)
        if self.inside:
            self.tables[-1][-1][-1] += data


def a_run(week: int, **more: object) -> dict:
    at = datetime(2026, 1, 5, 3, tzinfo=UTC) + timedelta(weeks=week)
    run = {"at": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "seconds": 61.0, "exit_code": 0, "verdict": "passed", "cause": None}
    scores = {"MAE": 12.1, "R2": 0.82, "rows": 1000 + week, "model_sha256": f"{week:064}", "thresholds": MAE_MAX}
    return run | scores | {"release": None} | more


def lost(week: int, verdict: str, cause: str) -> dict:
    return {"at": a_run(week)["at"], "exit_code": 1, "verdict": verdict, "cause": cause}


def test_pipes_in_the_place_of_files_are_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config").mkdir()
    for path in (METRICS, DIAGNOSTICS, RUNS, SIGN_OFF, "config/config.yaml", "deployed/history.jsonl", "logs/x.log"):
        Path(path).parent.mkdir(exist_ok=True)
        os.mkfifo(path)
    assert in_process(command)[0] == 0
    assert "Scheduled runs: 0" in Path("reports/history.html").read_text("utf-8")


@pytest.mark.parametrize("runs", [[], [a_run(0)], [lost(0, "error", "no source")], [a_run(0, R2=None, thresholds={})]])
def test_few_runs_and_no_release_are_a_page(runs):
    text = history(runs, [], "minutes", [])
    assert f"Scheduled runs: {len(runs)}" in text
    assert "Nothing has been released yet" in text
    assert text.count("<svg") == len(runs)
    assert len(Page(text).tables) == len(runs)


def test_a_year_with_faults():
    cause = '<script>alert("1")</script> & more'
    runs = [a_run(week) for week in range(52)]
    runs[5], runs[9] = lost(5, "error", cause), lost(9, "killed", "it was killed")
    runs[7] = a_run(7, verdict="failed", exit_code=1, MAE=13.0, cause="threshold mae_max")
    runs[30] = a_run(30, stale="answered 503; going on with data/raw/raw_data.csv")
    moves = [
        {
            "action": "deploy",
            "release": "first",
            "by": ["<b>Ada</b>"],
            "reason": ["$good$"],
            "model_sha256": f"{3:064}",
        },
        {"action": "deploy", "release": "second", "by": ["Bob"], "reason": ["better"], "model_sha256": f"{20:064}"},
        {"action": "rollback", "release": "first", "by": ["ada"], "reason": ["late"]},
        {"action": "prune", "release": "second", "reason": "release.keep: 1"},
    ]
    for move, week in zip(moves, (3, 20, 33, 33), strict=True):
        move["at"] = a_run(week)["at"]
    text = history(runs, moves, "<target>", ["line 53 is damaged"])
    assert text == history(runs, moves, "<target>", ["line 53 is damaged"])
    page = Page(text)
    assert "Scheduled runs: 52 (the last on 2026-12-28); 49 passed, 1 missed" in text
    assert "line 53 is damaged" in text
    # Nothing from outside, and nothing that is run but what sorts the tables.
    assert not {"link", "img", "iframe", "b"} & {*page.tags}
    assert text.count("<script") == 1
    assert f"<script>{_SCRIPT}</script>" in text
    assert all(value.startswith("#") for _, name, value in page.attributes if name in ("href", "xlink:href", "src"))
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    releases, table = page.tables
    assert table[0] == ["time", "verdict", "MAE", "R2", "rows", "seconds", "release", "why"]
    assert len(table) == 53
    assert table[1][0] == "2026-12-28 03:00"
    assert table[52 - 5][1:] == ["error", "", "", "", "", "", cause]
    assert table[52 - 9][1] == "killed"
    assert table[52 - 7][1:3] == ["failed", "13.0000"]
    assert "going on with" in table[52 - 30][7]
    assert [row[:2] for row in releases[1:]] == [["2", "second"], ["1", "first"]]
    assert releases[1][2] == "12.1000"
    assert releases[2][4] == "2026-01-26 – 2026-05-25\n2026-08-24 – now"
    assert releases[2][5] == "<b>Ada</b>: $good$\n2026-08-24 rolled back to: late"
    svg = text[text.index("<svg") : text.index("</svg>") + 6]
    labels = [each.text.strip() for each in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    for label in ("MAE", "R2", "rows", "release", "threshold", "verdict failed", "came to no verdict", "1", "2"):
        assert label in labels


def test_the_page_of_a_real_project(released: Project):
    released.script("weekly")
    lines = (released.folder / "logs/runs.jsonl").read_text("utf-8")
    page = Page((released.folder / "reports/history.html").read_text("utf-8"))
    assert "Runs and releases: minutes" in page.words
    # Releases, live error by week, runs.
    assert [len(table) for table in page.tables] == [3, 3, 2]
    metrics = released.json("deployed/current/evaluation_metrics.json")["model"]["test"]
    assert page.tables[0][1][2:4] == [f"{metrics['MAE']:.4f}", f"{metrics['R2']:.4f}"]
    assert page.tables[0][1][5] == "Ada: read it"
    assert page.tables[2][1][6] == "2"

    # A line that was half written is told, and neither lost nor in the way of the next.
    with open(released.folder / "logs/runs.jsonl", "a", encoding="utf-8") as file:
        file.write('{"at": "2026-0')
    done = released.script("history")
    assert "line 2 of logs/runs.jsonl is damaged" in done.stdout
    assert "line 2 of logs/runs.jsonl is damaged" in (released.folder / "reports/history.html").read_text("utf-8")
    assert "line 2 of logs/runs.jsonl is damaged" in released.script("status").stdout
    released.script("weekly")
    after = (released.folder / "logs/runs.jsonl").read_text("utf-8").splitlines()
    assert after[:2] == [lines.rstrip("\n"), '{"at": "2026-0']
    assert json.loads(after[2])["verdict"] == "passed"


def test_lines_that_are_no_runs_are_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_runs() == ([], [])
    (tmp_path / "logs").mkdir()
    good = json.dumps(a_run(0)).encode()
    lines = [good, b'{"at": 3', b"[1]", b'{"at": "soon", "verdict": "x"}', b"{}", b"\xff\xfe", good]
    (tmp_path / "logs/runs.jsonl").write_bytes(b"\n".join(lines))
    found, warnings = read_runs()
    assert len(found) == 2
    assert [each.split()[1] for each in warnings] == ["2", "3", "4", "5", "6"]
