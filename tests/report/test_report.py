"""The report that a person decides from: its words, its figures, its page."""

import contextlib
import json
import re
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from browser.chromium import accessible_light_and_dark
from conftest import ROOT, Project, script
from generate_report import _BESIDE
from history import history
from signoff.base.errors import TaskError
from signoff.base.files import sha256
from signoff.ops.overview import _overview
from signoff.report import inputs, results
from signoff.report.decision_box import decision, decision_box
from signoff.report.document import Items, Section, Table, number
from signoff.report.figures import figures
from signoff.report.markdown import cell, markdown
from signoff.report.page import page as as_page

# Those of the rule; a figure that the script does not draw fails the job, and one that it draws besides, a test.
FIGURES = re.findall(r"reports/figures/(\w+)\.png", (ROOT / "workflow/rules/report.smk").read_text(encoding="utf-8"))


def best(verdict: str, low: float = -5.5, high: float = -2.5) -> dict:
    """Return how the model and the best baseline compare."""
    return {"name": "mean", "metric": "MAE", "difference": -4.0, "interval": [low, high], "verdict": verdict}


def diagnostics() -> dict:
    """Return what diagnostics.json holds for the rides, nothing being deployed: made up, in its exact shape."""
    kinds = {"city": "category", "km": "number", "riders": "number", "started_hour": "number"}
    scores = {"MAE": 2.0, "RMSE": 2.5, "R2": 0.5, "median_absolute_error": 1.9}
    worse = {"mean": 6.0, "km": 9.0, "model": 1.0, "champion": 1.0}
    slices = [("city", "Köln"), ("city", "Trier, West"), ("riders", "4"), ("km", "15.2 … 20"), ("city", "Bonn")]
    drift = [
        {"feature": name, "kind": kind, "psi": psi, "statistic": "KS" if kind == "number" else "total variation"}
        | {"size": psi / 2, "p": 0.5 - psi, "new": [], "vanished": [], "missing": [0.05, 0.04], "flagged": psi > 0.25}
        for (name, kind), psi in zip(kinds.items(), (0.01, 0.31, 0.12, 0.0), strict=True)
    ]
    return {
        "validation": {"status": "pass", "contract": None, "rows": 600, "violations": []},
        "level": 0.95,
        "seed": 0,
        "bootstrap": {"resamples": 1000, "by": "days", "blocks": 15},
        "intervals": {
            name: {metric: [value * times * 0.9, value * times * 1.1] for metric, value in scores.items()}
            for name, times in worse.items()
        },
        "paired": None,
        "differences": None,
        "against_best": best("better"),
        "by_week": [
            {"time": f"2024-02-{day}", "rows": 56, "MAE": 2.0 + n, "bias": 0.1 - n}
            for n, day in enumerate((12, 19, 26))
        ],
        "slices": {
            "min_rows": 30,
            "looked_at": 14,
            "correction": "Holm",
            "rows": [
                {"feature": feature, "value": value, "rows": 40 - n, "MAE": 2.6 - n / 5, "bias": 0.1 - n / 20}
                | {"MAE_interval": [2.2 - n / 5, 3.0 - n / 5], "champion_MAE": None, "difference_interval": None}
                | {"worse": False}
                for n, (feature, value) in enumerate(slices)
            ],
        },
        "drift": {"training": drift, "release": None},
        "profile": {},
        "prediction_interval": {
            "level": 0.9,
            "half_width": 2.1,
            "method": "split conformal",
            "coverage": 0.885,
            "fitted_half_width": 2.0,
            "shipped_coverage": 0.892,
            "rows": 125,
            "by_slice": [
                {"feature": feature, "value": value, "rows": 40 - n, "coverage": 0.8 + n / 50}
                for n, (feature, value) in enumerate(slices)
            ],
            "over_time": [
                {"time": f"2024-02-{day:02}T00:00:00", "rows": 56, "coverage": 0.94 - n / 20}
                for n, day in enumerate((19, 26))
            ],
        },
        "importance": [
            {"feature": name, "mean": 9.0 / 3**n, "std": 0.4 / (n + 1)}
            for n, name in enumerate(("km", "riders", "city", "started_hour"))
        ],
        "importance_sample": {"rows": 250, "repeats": 5},
        "rests_on": {"features": ["km"], "MAE": 2.0, "MAE_without": 6.2, "rows": 80},
        "partial_dependence": {
            "riders": {"kind": "number", "values": [1, 2, 3, 4], "mean": [20.0, 22.0, 24.0, 26.0]},
            "km": {"kind": "number", "values": [1.0, 5.0, 10.0, 19.0], "mean": [6.0, 14.0, 25.0, 44.0]},
            "city": {"kind": "category", "values": ["Bonn", "Köln", "Trier, West"], "mean": [20.0, 30.0, 16.0]},
        },
        "alarms": [],
        "reasons": {
            "for": [{"about": "error", "sentence": f"For reason {n}, with {n}.5 in numbers."} for n in range(1, 5)],
            "against": [{"about": "drift", "sentence": "Against, the feature km has drifted (PSI 0.31)."}],
        },
    }


def write_diagnostics(project: Path, **changes: object) -> None:
    """Write diagnostics.json of a project."""
    (project / "reports").mkdir(exist_ok=True)
    text = json.dumps(diagnostics() | changes, indent=2, ensure_ascii=False)
    (project / "reports/diagnostics.json").write_text(text, encoding="utf-8")


BOTH = ("reports/final_report.md", "reports/final_report.html")
SECTIONS = "Thresholds,Data,Validation,Model,Intended use and limitations,Results,Slices,Drift,Prediction intervals"
SECTIONS = [*SECTIONS.split(","), "Importance", "Reproducibility"]
HOSTILE = '<script>document.title = "run"</script>'
RELEASE = "20260101T000000Z-0123456789ab"


def write(project: Path, *words: str, **changes: object) -> tuple[str, str]:
    """Change the metrics and rewrite the report of a project; return its two forms."""
    path = project / "reports/evaluation_metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")
    done = script("generate_report", "--input", path, "--output", project / BOTH[0], *words, cwd=project)
    assert done.returncode == 0, done.stdout
    return tuple((project / name).read_text(encoding="utf-8") for name in BOTH)


def pair(verdict: str) -> dict:
    """Return how the model and the champion compare."""
    return {"metric": "MAE", "difference": 0.31, "interval": [0.2, 0.42], "verdict": verdict}


def with_champion() -> dict:
    """Return what changes in the diagnostics where a model is deployed."""
    found = diagnostics()
    for row in found["slices"]["rows"]:
        row |= {"champion_MAE": row["MAE"] - 0.3, "difference_interval": [0.1, 0.5], "worse": row["value"] == "Köln"}
    found["drift"]["release"] = [{**found["drift"]["training"][0], "new": [HOSTILE, "Aachen", "Hamm", "Unna"]}]
    found["paired"] = pair("worse")
    found["differences"] = {"MAE": pair("worse"), "R2": pair("cannot be told apart")}
    found["alarms"] = [
        {"name": "drift", "feature": "km", "sentence": f"km has drifted {HOSTILE}."},
        {"name": "champion", "feature": None, "sentence": "In one slice the model is worse than the champion."},
    ]
    return found


@pytest.fixture(scope="module")
def hostile(finished_run, tmp_path_factory) -> Path:
    """A project whose report has all sections, and a script in every name that comes from the data."""
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copytree(finished_run.folder / "reports", folder / "reports")
    found = with_champion()
    text = json.dumps(found, ensure_ascii=False).replace("Köln", HOSTILE.replace('"', '\\"'))
    write_diagnostics(folder, **json.loads(text))
    metrics = finished_run.json("reports/evaluation_metrics.json")
    champion = {"release": RELEASE, "test": metrics["model"]["test"]}
    features = {HOSTILE: "category", **metrics["features"]}
    write(folder, "--owner", HOSTILE, target=f"minutes $x$ | {HOSTILE}", champion=champion, features=features)
    return folder


@pytest.fixture(scope="module")
def compared(finished_run, tmp_path_factory) -> Project:
    """A finished project whose report compares the model with a champion; never to be changed."""
    project = finished_run.copy(tmp_path_factory.mktemp("compared") / "copy")
    metrics = project.json("reports/evaluation_metrics.json")
    write_diagnostics(project.folder, **with_champion())
    write(project.folder, champion={"release": RELEASE, "test": metrics["model"]["test"]})
    return project


@pytest.fixture(autouse=True)
def closed_figures():
    """Close the figures that a test has drawn."""
    yield
    plt.close("all")


# The words


def test_both_forms_hold_every_section_and_number(finished_run):
    metrics = finished_run.json("reports/evaluation_metrics.json")
    markdown, page = ((finished_run.folder / name).read_text(encoding="utf-8") for name in BOTH)
    assert re.findall(r"^## (.*)$", markdown, flags=re.M) == SECTIONS
    assert re.findall(r'<h2 id="(?!decision)[\w-]+">(.*?)</h2>', page) == SECTIONS
    digests = [sha256(finished_run.folder / "reports" / name) for name in _BESIDE]
    found = finished_run.json("reports/diagnostics.json")
    low, high = map(number, found["intervals"]["model"]["MAE"])
    covered = f"{found['prediction_interval']['coverage']:.1%}"
    for text in (markdown, page):
        for part in ("Deploy? Yes", "✓ PASSED", "All thresholds are met", "Köln", f"{low} to {high}", covered):
            assert part in text
        assert f"{metrics['model']['test']['MAE']:,.4g}" in text
        assert all(each in text for each in (metrics["model_sha256"], *digests))
    # Without a champion nothing is said of one, and no column is empty.
    assert "champion's MAE" not in markdown
    assert "There is no deployed release with diagnostics" in markdown
    links = re.findall(r"\]\(([^)]+)\)", markdown)
    assert sorted(path.stem for path in (finished_run.folder / "reports/figures").iterdir()) == sorted(FIGURES)
    assert sorted(Path(each).stem for each in links if each.endswith(".png")) == sorted(FIGURES)
    assert page.count("<svg ") == len(FIGURES)
    for link in links:
        assert (finished_run.folder / "reports" / link).stat().st_size > 500
    for name in re.findall(r"figures/(\w+)\.png", markdown):
        caption = (ROOT / "workflow/report" / f"{name}.rst").read_text(encoding="utf-8").strip()
        assert caption in markdown and caption in page


def an_alarm(feature: str | None = None) -> dict:
    return {"name": "unit_change", "feature": feature, "sentence": "It moved."}


def threshold(passed: bool = True) -> dict:
    return {"name": "mae_max", "metric": "MAE", "limit": 3 if passed else 1, "value": 2.0, "passed": passed}


BEATEN = "its MAE is 4 below that of mean (95% interval of the difference: -5.5 to {})."


@pytest.mark.parametrize(
    ("changes", "metrics", "deploy", "why"),
    [
        (
            {},
            {},
            "yes",
            [
                "All thresholds are met, the data contract holds, no alarm was raised, at least 100 rows are held out, "
                f"and the best baseline is beaten: {BEATEN.format(-2.5)}"
            ],
        ),
        ({}, {"thresholds": []}, "look closer", ["No threshold is set, so nothing says what is good enough."]),
        (
            {"against_best": best("cannot be told apart", -5.5, 0.5)},
            {},
            "look closer",
            [f"It is not established that it beats the best baseline: {BEATEN.format(0.5)}"],
        ),
        (
            {"against_best": best("cannot be told apart") | {"interval": [None, None]}},
            {},
            "look closer",
            ["It is not established that it beats the best baseline: its MAE is 4 below that of mean."],
        ),
        (
            {"against_best": best("worse", 0.5, 2) | {"difference": 1.2}},
            {},
            "no",
            [
                "It is worse than the best baseline: its MAE is 1.2 above that of mean (95% interval of the "
                "difference: 0.5 to 2)."
            ],
        ),
        ({"alarms": [an_alarm()]}, {}, "look closer", ["1 alarm asks for a closer look: unit change."]),
        (
            {"alarms": [an_alarm("a")] * 2},
            {},
            "look closer",
            ["2 alarms ask for a closer look: unit change (a), unit change (a)."],
        ),
        # A difference from the champion that is too small to matter is no alarm.
        ({"paired": pair("worse")}, {}, "yes", None),
        ({"paired": pair("cannot be told apart")}, {}, "yes", None),
        ({"paired": pair("better")}, {}, "yes", None),
    ],
)
def test_the_box_says_yes_only_without_any_doubt_and_the_reason_comes_first(
    finished_run, changes, metrics, deploy, why
):
    found = finished_run.json("reports/evaluation_metrics.json") | metrics
    said = decision(found, diagnostics() | changes)
    assert said.deploy == deploy
    assert why is None or said.why == why
    block = decision_box(said).blocks[0]
    assert said.why == (block.items if isinstance(block, Items) else [block])


def test_a_model_that_loses_to_a_baseline_by_r2_needs_a_closer_look(finished_run):
    found = finished_run.json("reports/evaluation_metrics.json")
    found["model"]["test"]["R2"] = -0.04
    said = decision(found, diagnostics())
    assert said.deploy == "look closer"
    assert said.why[0].startswith("By R2 the baseline mean is better (") and said.why[0].endswith(" against -0.04).")


def test_few_held_out_rows_are_no_yes(finished_run):
    found = finished_run.json("reports/evaluation_metrics.json")
    for rows, words in ((99, "99 rows are"), (1, "1 row is")):
        found["model"]["test"]["rows"] = rows
        said = decision(found, diagnostics())
        assert (said.deploy, said.why) == ("look closer", [f"Only {words} held out; fewer than 100 say too little."])


def test_a_change_that_could_go_unseen_is_no_yes_and_what_would_be_seen_is_said(finished_run):
    found = finished_run.json("reports/evaluation_metrics.json")
    segment = {"feature": "city", "value": "Ulm", "share": 0.33}
    visible = {"days": 28, "share": 0.12, "segment": segment}
    said = decision(found, diagnostics() | {"visible": visible})
    assert said.deploy == "yes"
    words = (
        "A change of ± 12% in all targets of the newest 4 weeks would have been seen, and one of ± 33% where city is "
    )
    assert said.where[-1] == f"{words}Ulm (the least visible segment)."
    helps = " More rows a week, or more weeks, would show smaller changes."
    few = visible | {"segment": segment | {"share": 0.34}}
    said = decision(found, diagnostics() | {"visible": few})
    assert said.deploy == "look closer"
    assert said.why[0].endswith(f"less than ± 34% of the newest targets where city is Ulm could go unseen.{helps}")
    for share, size in ((0.34, "of less than ± 34%"), (None, "of any size")):
        said = decision(found, diagnostics() | {"visible": visible | {"share": share}})
        why = f"The new rows are too few, or vary too much: a change {size} of all targets of the newest 4 weeks could "
        assert (said.deploy, said.why) == ("look closer", [f"{why}go unseen.{helps}"])


def test_noise_in_a_segment_that_would_probably_go_unseen_is_no_yes(finished_run):
    found = finished_run.json("reports/evaluation_metrics.json")
    segment = {"feature": "city", "value": "Ulm", "share": 0.2}
    visible = {"days": 28, "share": 0.12, "segment": segment, "noise": segment | {"share": 1.0}}
    said = decision(found, diagnostics() | {"visible": visible})
    assert said.deploy == "yes"
    seen = "Noise in 100% of the newest targets where city is Ulm (the least visible segment) would probably have been "
    assert said.where[-1] == f"{seen}seen."
    sentence = (
        "If the newest targets where city is Ulm had nothing to do with the features, that would probably go unseen: "
        "the new rows are too few, or the model explains too little of them."
    )
    for share in (1.01, None):
        said = decision(found, diagnostics() | {"visible": visible | {"noise": segment | {"share": share}}})
        assert (said.deploy, said.why) == ("look closer", [sentence])
        assert not any("Noise in" in each for each in said.where)
    # A change of the mean that could go unseen is named first.
    both = visible | {"share": 0.4, "noise": segment | {"share": None}}
    assert decision(found, diagnostics() | {"visible": both}).why[1] == sentence
    for noise in ({"noise": None}, {}):
        kept = {name: each for name, each in visible.items() if name != "noise"}
        assert decision(found, diagnostics() | {"visible": kept | noise}).deploy == "yes"


def test_the_box_says_where_to_look_with_figures(finished_run):
    found = finished_run.json("reports/evaluation_metrics.json")
    slice_, worst, newest, rests = decision(found, diagnostics()).where
    assert slice_ == ("Worst slice: city = Köln (40 rows), with MAE 2.6 (95% interval 2.2 to 3) and bias 0.1.")
    assert worst == "Worst week: from 2024-02-26 (56 rows), with MAE 4 and bias -1.9."
    assert newest == (
        "Newest weeks: from 2024-02-19 (56 rows), with MAE 3 and bias -0.9; from 2024-02-26 (56 rows), with MAE 4 and "
        "bias -1.9."
    )
    assert rests == "It rests on km: without it the error is 3.1 times as large. Is km known when predictions are made?"
    known = {"rests_on": {"features": ["km"], "MAE": 2.0, "MAE_without": 6.2, "rows": 80, "known_before": True}}
    assert decision(found, diagnostics() | known).where[-1] == rests.partition(" Is km")[0]
    pair = diagnostics() | {"rests_on": {"features": ["km", "riders"], "MAE": 2.0, "MAE_without": 6.2, "rows": 80}}
    assert "It rests on km and riders: without them the error " in decision(found, pair).where[-1]
    assert len(decision(found, diagnostics() | {"rests_on": None}).where) == 3
    # The largest error of a few rows is not the worst slice, whatever the MAE of all rows is.
    few = {"feature": "city", "value": "Ulm", "rows": 1, "MAE": 9.0, "MAE_interval": [0.1, 20.0], "bias": -9.0}
    changed = diagnostics()
    changed["slices"]["rows"].append(few)
    found["model"]["test"]["MAE"] = 2.1
    assert "city = Köln" in decision(found, changed).where[0]
    found["model"]["test"]["MAE"] = 4.0
    assert "city = Köln" in decision(found, changed).where[0]
    changed["slices"]["rows"][-1]["MAE_interval"] = [5.0, 20.0]
    assert "city = Ulm (1 row), with MAE 9 " in decision(found, changed).where[0]


def test_the_reasons_beside_the_verdict_do_not_repeat_it(finished_run):
    found = finished_run.json("reports/evaluation_metrics.json")
    given = {
        "for": ["thresholds", "error"],
        "against": ["thresholds", "contract", "baselines", "bias", "drift", "times"],
    }
    reasons = {side: [{"about": about, "sentence": f"On {about}."} for about in each] for side, each in given.items()}
    sides = decision(found, diagnostics() | {"reasons": reasons}).sides
    assert sides == {"for": ["On error."], "against": ["On bias.", "On drift.", "On times."]}
    # A side is never said to be empty because the box gives its reasons above.
    given = {"for": [], "against": reasons["against"][:1]}
    sides = decision(found, diagnostics() | {"reasons": given}).sides
    assert sides == {"for": ["Nothing was found."], "against": ["Nothing besides what is said above."]}
    for threshold_set, said in (([threshold()], "Nothing was found."), ([], "Nothing besides what is said above.")):
        box = decision(found | {"thresholds": threshold_set}, diagnostics() | {"reasons": {"for": [], "against": []}})
        assert (box.deploy == "yes", box.sides["against"]) == (bool(threshold_set), [said])
    # Older versions wrote sentences alone.
    with pytest.raises(TaskError, match="written by another version of the workflow"):
        decision(found, diagnostics() | {"reasons": {"for": ["A sentence."], "against": []}})


@pytest.mark.parametrize(
    ("thresholds", "words"),
    [
        ([], "No threshold is set. On"),
        ([threshold()], "✓ PASSED: the threshold is met. On"),
        ([threshold()] * 2, "✓ PASSED: both thresholds are met. On"),
        ([threshold()] * 3, "✓ PASSED: all 3 thresholds are met. On"),
        ([threshold(), threshold(passed=False)], "✗ FAILED: MAE 2 misses mae_max 1. On"),
    ],
)
def test_the_verdict_counts_thresholds_as_a_person_does(finished_run, thresholds, words):
    found = finished_run.json("reports/evaluation_metrics.json") | {"thresholds": thresholds}
    assert decision(found, diagnostics()).verdict.startswith(words)


def test_a_missed_threshold_and_a_broken_contract_say_no_whatever_else_is_found(finished_run):
    found = finished_run.json("reports/evaluation_metrics.json")
    alarmed = diagnostics() | {"alarms": [an_alarm()]}
    said = decision(found | {"thresholds": [threshold(passed=False)]}, alarmed)
    assert (said.deploy, said.why) == ("no", ["Threshold mae_max 1: MAE is 2.0000."])
    broken = {"column": "a", "check": "unique", "rows": 3, "examples": [{"row": 1, "value": 7}]}
    alarmed["validation"] |= {"status": "fail", "violations": [broken] * 5}
    said = decision(found, alarmed)
    assert said.deploy == "no"
    assert said.why[0] == "Data contract: column a: violates 'unique' in 3 rows (7 in row 1)."
    assert said.why[3:] == ["… and 2 more."]


def text_of(blocks: list) -> str:
    """Return the text of some blocks as Markdown."""
    return markdown("x", [Section("y", blocks)])


def test_words_agree_with_their_numbers_in_every_section(finished_run):
    metrics = finished_run.json("reports/evaluation_metrics.json")
    found = diagnostics()
    violation = {"column": "a", "check": "unique", "rows": 3, "examples": []}
    broken = {"status": "fail", "contract": True, "rows": 1, "violations": [violation]}
    assert "fail**, 1 violation in 1 row." in text_of(inputs.validation_blocks(broken))
    assert "pass, 0 violations in 600 rows." in text_of(
        inputs.validation_blocks(broken | {"status": "pass", "rows": 600, "violations": []})
    )
    one = {"training": [found["drift"]["training"][0] | {"flagged": True}], "release": None}
    assert "1 of 1 column has drifted." in text_of(results.drift(one))
    assert "1 of 4 columns has drifted." in text_of(results.drift(found["drift"]))
    slices = found["slices"] | {"looked_at": 1, "rows": []}
    assert "1 part of the held-out rows was looked at" in text_of(results.slices(slices, 0.95, "y"))
    sample = {"rows": 1, "repeats": 1}
    assert "shuffled once among 1 held-out row." in text_of(
        results.importance_section(found["importance"], sample, "y")
    )
    assert "shuffled 5 times among 2,500 held-out rows." in text_of(
        results.importance_section(found["importance"], {"rows": 2500, "repeats": 5}, "y")
    )
    # The target may be called units.
    sections = [results.results(metrics | {"target": "units"}, found), results.slices(found["slices"], 0.95, "units")]
    budget = {"available": 1000, "max_rows": 500, "level": 0.95, "model_sha256": ""}
    budget |= {"curve": [{"rows": n, "MAE": 2.0, "R2": 0.5, "gain": 0.1, "interval": [0.0, 0.2]} for n in (250, 500)]}
    settings = [{"estimator": "a.B", "params": {}, "MAE": 2.0, "spread": 0.1, "rows": 9, "problem": None}]
    chosen = metrics | {"target": "units", "candidates": {"folds": "3 folds", "settings": settings}}
    sections += [inputs.row_budget_section(budget, "units"), inputs.model(chosen)]
    assert "Chosen from 1 candidate by" in text_of(sections[-1])
    assert not re.search("units? of units", " ".join(map(text_of, sections)))


def test_a_training_score_of_a_sample_says_so(finished_run):
    metrics = finished_run.json("reports/evaluation_metrics.json")
    assert "training score is that of" not in text_of(results.results(metrics, diagnostics()))
    metrics["split"]["rows"]["train"], metrics["model"]["train"]["rows"] = 277_801, 100_000
    words = "trained on all 277,801 training rows; its training score is that of a sample of 100,000 of the 277,801"
    assert words in text_of(results.results(metrics, diagnostics()))


def test_intervals_have_the_coverage_of_what_ships():
    found = diagnostics()["prediction_interval"]
    text = text_of(results.intervals(found))
    assert "A prediction ± 2.1 should contain 90% of the actual values" in text
    assert "Of 125 held-out rows on which it was not fitted, ± 2 contained 88.5%" in text
    assert "the interval that ships contains 89.2% of the same rows." in text
    text = text_of(results.intervals(found | {"mean_width": 4.5, "constant_width": 5.5, "half_width": None}))
    assert "Each prediction has its own interval, 4.5 wide on average" in text
    assert "It contains 88.5% of the 125 held-out rows, on which it was not fitted." in text
    assert "One width for all rows, chosen afterwards, would have to be 5.5." in text
    few = found | {"half_width": None, "by_slice": []}
    assert "There are too few held-out rows for intervals that contain 90%" in text_of(results.intervals(few))


def test_a_large_psi_without_a_verdict_and_a_small_p_are_explained():
    rows = [each | {"flagged": False} for each in diagnostics()["drift"]["training"]]
    assert "no alarm" not in text_of(results.drift({"training": rows[:1], "release": None}))
    text = text_of(results.drift({"training": [rows[0] | {"psi": 4.12}], "release": None}))
    assert "0 of 1 column has drifted." in text
    assert "The large PSI of city is no alarm: it is the calendar, or a season" in text
    assert "p assumes independent rows. Rows of one day are alike, so a small p alone says little." in text


def test_weekdays_and_months_have_their_names_in_the_figure(finished_run):
    holdout = pd.read_csv(finished_run.folder / "reports/holdout_predictions.csv", parse_dates=["time"])
    found = diagnostics() | {"date_parts": {"started_day": "day_of_week", "km": "hour"}}
    found["importance"].append({"feature": "started_day", "mean": 0.0, "std": 0.0})
    week = {"kind": "number", "values": [0, 1, 6], "mean": [1.0, 2.0, 3.0]}
    found["partial_dependence"] = {"km": found["partial_dependence"]["km"], "started_day": week}
    drawn = {
        name: figure
        for _, name, figure in figures(finished_run.json("reports/evaluation_metrics.json"), found, holdout)
    }
    km, days = drawn["partial_dependence"].axes
    assert [each.get_text() for each in days.get_xticklabels()] == ["Mon", "Tue", "Sun"]
    assert "Mon" not in [each.get_text() for each in km.get_xticklabels()]


def test_names_are_shown_as_they_are(hostile):
    markdown, page = ((hostile / name).read_text(encoding="utf-8") for name in BOTH)
    assert "<script>" not in markdown
    title = '# Report: minutes \\$x\\$ \\| &lt;script>document.title = "run"&lt;/script>'
    assert markdown.splitlines()[0] == title
    assert page.count("<script>") == 1
    assert cell("[a](b) *c* `d` <e> f|g") == "\\[a\\](b) \\*c\\* \\`d\\` &lt;e> f\\|g"


def test_the_champion_is_in_every_section(hostile):
    markdown = (hostile / BOTH[0]).read_text(encoding="utf-8")
    assert "## Alarms" in markdown
    assert f"champion: {RELEASE}" in markdown
    assert "MAE of the champion = 0.31, 95% interval 0.2 to 0.42: the model is worse" in markdown
    assert "| champion's MAE | model − champion | worse |" in markdown
    assert "These data against those of the deployed release: 0 of 1 column has drifted." in markdown
    assert "Aachen, Hamm and 1 more" in markdown
    assert "Deploy? Look closer" in markdown


def test_every_axis_of_every_figure_says_what_it_shows(finished_run):
    holdout = pd.read_csv(finished_run.folder / "reports/holdout_predictions.csv", parse_dates=["time"])
    metrics = finished_run.json("reports/evaluation_metrics.json")
    drawn = {name: figure for _, name, figure in figures(metrics, with_champion(), holdout)}
    assert sorted(drawn) == sorted(FIGURES)
    for name, figure in drawn.items():
        for axes in [each for each in figure.axes if each.get_visible()]:
            assert axes.get_xlabel() or axes.get_ylabel(), name
            labels = [each.get_text() for each in axes.get_yticklabels()]
            named = [each for each in labels if re.search("[A-Za-zö]", each)]
            assert axes.get_ylabel() or figure.get_supylabel() or named, name


def test_a_long_feature_is_cut_in_a_figure_before_its_value_is(finished_run):
    holdout = pd.read_csv(finished_run.folder / "reports/holdout_predictions.csv", parse_dates=["time"])
    found = diagnostics()
    found["slices"]["rows"][0] |= {"feature": "time_of_scheduled_departure_day_of_week", "value": "Wednesday"}
    drawn = figures(finished_run.json("reports/evaluation_metrics.json"), found, holdout)
    (axes,) = next(figure for _, name, figure in drawn if name == "slices").axes
    first, second, *_ = [each.get_text() for each in axes.get_yticklabels()]
    assert first == "time_of_scheduled_de… = Wednesday" and second == "city = Trier, West"


def test_without_times_and_slices_nothing_is_empty(finished):
    found = diagnostics()
    found["prediction_interval"] |= {"over_time": None, "coverage": None}
    found["drift"]["training"][0] |= {"psi": None, "size": None, "p": None}
    found["slices"]["rows"] = []
    write_diagnostics(finished.folder, **found)
    holdout = finished.folder / "reports/holdout_predictions.csv"
    pd.read_csv(holdout).drop(columns="time").to_csv(holdout, index=False)
    markdown, page = write(finished.folder)
    assert "14 parts of the held-out rows were looked at, each of 30 rows or more." in markdown
    assert "figures/slices.png" not in markdown
    assert "| no values |" in markdown
    assert "too few held-out rows to measure" in markdown
    assert page.count("<svg ") == len(FIGURES) - 1
    assert "riders = 4" in page


def test_the_same_input_gives_the_same_bytes(finished):
    before = finished.contents()
    script("generate_report", "--input", "reports/evaluation_metrics.json", "--output", BOTH[0], cwd=finished.folder)
    assert finished.contents() == before


def test_without_diagnostics_one_line_says_so_and_the_report_stays(finished):
    (finished.folder / "reports/diagnostics.json").unlink()
    before = finished.contents()
    words = ["--input", "reports/evaluation_metrics.json", "--output", BOTH[0]]
    done = script("generate_report", *words, cwd=finished.folder)
    assert done.returncode == 1
    assert "reports/diagnostics.json does not exist. Check the path, or run the task that writes it." in done.stdout
    assert finished.contents() == before


# In the workflow


def test_the_words_of_the_config_are_in_the_report_and_the_page_is_signed_and_released(finished):
    words = {"owner": "Ada {x} 'y'", "intended_use": "Tell riders\nwhen.", "limitations": "Not for <b>bikes</b>."}
    finished.configure(report=words)
    assert finished.jobs(BOTH[0]) == {"generate_report"}
    # A changed config also rebuilds the whole report if a page is gone.
    (finished.folder / BOTH[1]).unlink()
    finished.snakemake(BOTH[1])
    markdown, page = ((finished.folder / name).read_text(encoding="utf-8") for name in BOTH)
    assert "**Owner:** Ada {x} 'y'" in markdown
    assert "**Limitations:** Not for &lt;b>bikes" in markdown
    assert "<strong>Limitations: </strong>Not for &lt;b&gt;bikes" in page
    assert "Not set in the config" not in markdown
    finished.sign_off()
    files = finished.json("reports/sign_off.json")["files"]
    assert set(BOTH) <= set(files)
    assert len([each for each in files if each.startswith("reports/figures/")]) == len(FIGURES)
    whole = (finished.folder / BOTH[1]).read_bytes()
    (finished.folder / BOTH[1]).write_bytes(whole.replace(b"Deploy? Yes", b"Deploy? YES"))
    refused = finished.script("deploy", check=False)
    assert "reports/final_report.html has changed since it was signed" in refused.stdout
    (finished.folder / BOTH[1]).write_bytes(whole)
    finished.script("deploy")
    released = finished.folder / "deployed/current"
    assert (released / "final_report.html").read_bytes() == whole
    assert len(list((released / "figures").glob("*.png"))) == len(FIGURES)
    finished.script("verify")


def test_a_page_of_another_model_cannot_be_signed(finished):
    page = finished.folder / BOTH[1]
    digest = finished.json("model/model.json")["sha256"]
    page.write_text(page.read_text("utf-8").replace(digest, "0" * 64), encoding="utf-8")
    assert "reports/final_report.html was computed for a different model" in finished.sign_off(check=False).stdout
    page.unlink()
    shown = finished.sign_off(check=False).stdout
    assert "reports/final_report.html does not exist" in shown and "Run make report." in shown


# The captions that have another name than their file.
CAPTIONS = {"final_report": "page", "validation_report": "validation", "evaluation_metrics": "metrics"}


def test_snakemakes_own_report_has_every_figure_and_table_under_its_category_with_its_caption(finished, browser):
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    finished.snakemake("--report", "all.html", "all", BOTH[0], **nowhere)
    listed = {"Report": ["final_report.html"], "Data": ["validation_report.json"]}
    listed["Model"] = ["evaluation_metrics.json", "tables/model.html"]
    listed["Results"] = ["figures/predicted_against_actual.png", "figures/residuals.png", "figures/error_over_time.png"]
    listed["Results"] += ["tables/scores.html"]
    listed |= {name: [f"figures/{name.lower()}.png", f"tables/{name.lower()}.html"] for name in ("Slices", "Drift")}
    listed["Intervals"] = ["figures/coverage.png", "tables/coverage.html"]
    listed["Importance"] = ["figures/importance.png", "figures/partial_dependence.png", "tables/importance.html"]
    assert sum(path.startswith("figures/") for paths in listed.values() for path in paths) == len(FIGURES)
    browser.open(finished.folder / "all.html")
    assert [each for each in browser.told("Network.requestWillBeSent") if each["request"]["url"][:4] == "http"] == []
    assert browser.told("Runtime.exceptionThrown") == []
    for category, paths in listed.items():
        for path in paths:
            shown = browser(f"results['reports/{path}'] ?? null")
            assert shown, path
            assert browser(f"Object.values(categories['{category}']).flat().includes('reports/{path}')"), path
            name = Path(path).stem + ("_table" if path.startswith("tables/") else "")
            name = CAPTIONS.get(name, name)
            caption = (ROOT / "workflow/report" / f"{name}.rst").read_text("utf-8").split(".")[0]
            assert re.sub(r"\W+", " ", caption) in re.sub(r"\W+", " ", shown["caption"]), path
    # A table is shown as the page that it is.
    table = (finished.folder / "reports/tables/slices.html").read_text(encoding="utf-8")
    assert 'aria-label="Slices"' in table and "<svg" not in table and "<nav" not in table


# On the terminal


def test_the_summary_shows_the_decision_the_scores_and_the_alarms(finished, compared):
    shown = finished.script("summary").stdout
    low, high = map(number, finished.json("reports/diagnostics.json")["intervals"]["km"]["MAE"])
    for part in ("minutes: deploy? yes", "All thresholds are met", "baseline: km", f"{low} … {high}", BOTH[1]):
        assert part in shown
    assert "Alarms" not in shown
    shown = compared.script("summary").stdout
    assert "deploy? look closer" in shown and f"champion: {RELEASE}" in shown
    lines = [line.strip("│ ") for line in shown.splitlines()]
    place = lines.index("Alarms")
    assert lines[place + 1].startswith("• drift: km has drifted <script>")
    assert lines[place + 2] == "• champion: In one slice the model is worse than the champion."
    report = finished.folder / BOTH[0]
    report.write_text("# Report", encoding="utf-8")
    assert "was written for a different model" in finished.script("summary", check=False).stdout
    report.unlink()
    done = finished.script("summary", check=False)
    assert done.returncode == 1
    assert "there is no report yet. Run make run, then make report." in done.stdout.splitlines()[-1]


# In a browser


def pages(finished_run, hostile, tmp_path) -> list[Path]:
    """Return the pages that are looked at: a report with all sections and hostile names, the runs, and the index."""
    runs = tmp_path / "history.html"
    line = {"at": "2026-01-05T03:00:00Z", "verdict": "failed", "cause": HOSTILE, "MAE": 2.0, "R2": None, "rows": 5}
    several = [line | {"thresholds": {}}, line | {"at": "2026-01-12T03:00:00Z", "verdict": "passed"}]
    runs.write_text(history(several, [], HOSTILE, [HOSTILE]), encoding="utf-8")
    index = tmp_path / "index.html"
    with contextlib.chdir(finished_run.folder):
        index.write_text(_overview(HOSTILE, several * 8, [HOSTILE], "2026-01-12T03:00:00Z"), encoding="utf-8")
    return [hostile / BOTH[1], runs, index]


def test_a_long_table_is_searched(browser, tmp_path):
    rows = [[f"row {n}", HOSTILE if n == 5 else "Köln", n] for n in range(15)]
    page = tmp_path / "table.html"
    page.write_text(as_page("Rows", [Table("Rows", ["name", "city", "n"], rows)]), encoding="utf-8")
    browser.open(page)
    search = "Object.assign(document.querySelector('input'), {value: %r}).dispatchEvent(new Event('input'))"
    seen = "[...document.querySelectorAll('tbody tr')].filter((row) => row.offsetHeight).length"
    for words, count in (("köln ROW", 14), ("<script>", 1), ("", 15), ("row 11", 1)):
        browser(search % words)
        assert browser(seen) == count
        assert browser("document.querySelector('output').textContent") == f"{count} of 15 rows"
    assert browser("document.querySelector('input').getAttribute('aria-label')") == "Search: Rows"


def test_the_pages_are_quiet_fit_a_phone_and_print(browser, finished_run, hostile, tmp_path):
    for page in pages(finished_run, hostile, tmp_path):
        browser.look(1200)
        browser.open(page)
        asked = [each["request"]["url"] for each in browser.told("Network.requestWillBeSent")]
        assert [each for each in asked if not each.startswith("data:")] == [page.resolve().as_uri()]
        assert browser.told("Runtime.exceptionThrown") == []
        assert browser.told("Runtime.consoleAPICalled") == []
        assert browser.told("Log.entryAdded") == []
        assert browser("document.title") != "run"
        assert page.stat().st_size < 3e6
        for width in (1200, 768, 390, 320):
            browser.look(width)
            assert browser("document.documentElement.scrollWidth") <= width, (page, width)
        assert browser.printed().startswith(b"%PDF")
        browser.look(700, media="print", dark=True)
        assert browser("getComputedStyle(document.body).color") == "rgb(34, 34, 34)"


# The words of headings that a line break splits.
SPLIT = """[...document.querySelectorAll('h1, h2, h3, th')].flatMap((heading) => {
  const found = [], texts = document.createTreeWalker(heading, NodeFilter.SHOW_TEXT);
  for (let text; (text = texts.nextNode()); )
    for (const word of text.data.matchAll(/[^\\s-]+/g)) {
      const range = document.createRange();
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map((each) => each.top)).size > 1) found.push(word[0]);
    }
  return found;
})"""


@pytest.mark.parametrize("width", [390, 320])
def test_on_a_phone_tables_scroll_within_themselves_and_no_heading_breaks_within_a_word(browser, compared, width):
    browser.look(width)
    browser.open(compared.folder / BOTH[1])
    assert browser("document.documentElement.scrollWidth") <= width
    assert browser(SPLIT) == []
    wide = "[...document.querySelectorAll('.wide')].filter((each) => each.scrollWidth > each.clientWidth)"
    names = browser(f"{wide}.map((each) => each.getAttribute('aria-label'))")
    assert {"Scores", "Slices", "Held-out rows against training rows"} <= set(names)
    # No line break comes between the arrow and the heading.
    arrow = browser("getComputedStyle(document.querySelector('th button'), '::after').content")
    assert arrow == '"\u00a0↕"'
    # The test sees a word that is split.
    browser("document.querySelector('h2').append('x'.repeat(300))")
    browser("document.querySelector('h2').style.overflowWrap = 'anywhere'")
    assert browser(SPLIT) != []


def test_a_script_in_the_data_stays_text(browser, hostile):
    browser.open(hostile / BOTH[1])
    assert browser("document.querySelectorAll('script').length") == 1
    assert HOSTILE in browser("document.querySelector('h1').textContent")
    assert HOSTILE in browser("document.querySelector('[aria-label=Slices]').textContent")
    assert browser("document.querySelectorAll('svg script').length") == 0
    # What finds its way in all the same is not run.
    browser("document.body.append(Object.assign(document.createElement('script'), {text: 'document.title = \"run\"'}))")
    assert browser("document.title") != "run"


def test_the_tables_are_sorted_by_their_headings(browser, finished_run):
    browser.open(finished_run.folder / BOTH[1])
    column = "[...document.querySelectorAll('[aria-label={}] tbody tr')].map((row) => row.cells[{}].textContent)"
    click = "document.querySelectorAll('[aria-label={}] th button')[{}].click()"
    psi, features = column.format('"Held-out rows against training rows"', 2), column.format("Slices", 0)
    wanted = sorted(f"{row['psi']:.3f}" for row in finished_run.json("reports/diagnostics.json")["drift"]["training"])
    for each in (wanted, wanted[::-1]):
        browser(click.format('"Held-out rows against training rows"', 2))
        assert browser(psi) == each
    assert browser("document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == "descending"
    browser(click.format("Slices", 0))
    assert browser(features) == sorted(browser(features))
    # By the number, and not by its digits: 11.84, 18.02, 2.091 would be another order.
    browser(click.format("Scores", 3))
    shown = browser(column.format("Scores", 3))
    assert [float(each) for each in shown] == sorted(float(each) for each in shown)


def test_the_pages_are_accessible(browser, finished_run, hostile, tmp_path):
    paper = "getComputedStyle(document.body).backgroundColor"
    for page in pages(finished_run, hostile, tmp_path):
        browser.look(1200)
        browser.open(page)
        assert browser(paper) != "rgb(21, 24, 29)"
        assert accessible_light_and_dark(browser) == [], page
        assert browser(paper) == "rgb(21, 24, 29)"
