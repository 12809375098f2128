"""A batch beside the data of its release: what differs is found, and a clean batch of any size has no findings."""

import json
import logging

import numpy as np
import pandas as pd
import pytest

import live_record
import predict as script_predict
from conftest import Project, in_process, rides
from signoff.release.store import Releases
from signoff.review import batch_check, drift, row_scores
from signoff.review.batch_check import BatchCheck, Released


def clean(rows: int = 400) -> pd.DataFrame:
    """Return rides of the same distribution as the released ones, which the release has not seen."""
    return rides(rows, seed=7).drop(columns="minutes").fillna({"km": 7.5})


def score(frame: pd.DataFrame, *words: str) -> tuple[int, str, list[str]]:
    """Score a batch with the release of the project in the current folder; return code, output and log."""
    frame.to_csv("week.csv", index=False)
    return in_process(script_predict, "--input=week.csv", "--output=predictions/week.csv", *words)


def report() -> dict:
    with open("predictions/week.report.json", encoding="utf-8") as file:
        return json.load(file)


def planted() -> dict[str, tuple[pd.DataFrame, set[tuple[str | None, str]], str]]:
    """Return batches with one change each, what is found of it, and a part of its sentence."""
    frame = clean()
    random = np.random.default_rng(3)
    few = random.random(len(frame)) < 0.12
    fahrenheit = frame.assign(km=frame["km"] * 1.8 + 32)
    return {
        "thousand": (
            frame.assign(km=frame["km"] * 1000),
            {("km", "unit")},
            "km: all values may have been converted (a unit",
        ),
        "inches": (frame.assign(km=frame["km"] * 2.54), {("km", "unit")}, "km: all values may have been converted ("),
        "degrees": (fahrenheit, {("km", "unit")}, "km: all values may have been converted ("),
        "range": (frame.assign(km=frame["km"].mask(few & (frame.index < 90), 25.0)), {("km", "range")}, "up to 25"),
        "level": (frame.assign(city=frame["city"].mask(few, "Aachen")), {("city", "new_category")}, "'Aachen'"),
        "missing": (
            frame.assign(km=frame["km"].mask(random.random(len(frame)) < 0.3)),
            {("km", "missing"), (None, "rejected")},
            "of its values are missing, and 5.0% in the released data",
        ),
        "kind": (
            frame.assign(riders=frame["riders"].astype(str).mask(few, "two")),
            {("riders", "kind"), (None, "rejected")},
            "cannot be read as a number",
        ),
        "shift": (
            frame.assign(riders=random.choice([1, 2, 3, 4], len(frame), p=[0.7, 0.1, 0.1, 0.1])),
            {("riders", "shift")},
            "riders: the distribution has shifted (PSI",
        ),
    }


def test_each_change_is_found_alone_and_a_clean_batch_has_none(released, monkeypatch):
    monkeypatch.chdir(released.folder)
    code, _, log = score(clean())
    assert code == 0 and report()["findings"] == [] and report()["compared"] == "all"
    assert "[predict] the batch is like the released data; compared: all" in "\n".join(log)
    said = report()
    assert (said["release"], said["rows"], said["scored"], said["rejected"]) == (Releases().current(), 400, 400, 0)
    for name, (frame, expected, words) in planted().items():
        code, _, log = score(frame)
        found = report()["findings"]
        assert code == 0, name
        assert {(each["column"], each["what"]) for each in found if each["what"] != "predictions"} == expected, name
        assert words in " ".join(each["sentence"] for each in found), (name, found)
        (line,) = [line for line in log if "batch week.csv" in line]
        assert line.startswith(f"WARNING - [predict] batch week.csv: {len(found)} finding"), line
    # The predictions follow a feature that matters.
    score(clean().assign(km=1.5))
    assert (None, "predictions") in {(each["column"], each["what"]) for each in report()["findings"]}


def test_a_batch_that_is_stopped_leaves_earlier_predictions_as_they_were(released, monkeypatch):
    monkeypatch.chdir(released.folder)
    assert score(clean(), "--on-drift=stop")[0] == 0
    folder = released.folder / "predictions"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {"week.csv", "week.rejected.csv", "week.report.json"}
    code, text, _ = score(clean().assign(km=lambda frame: frame["km"] * 1000), "--on-drift=stop")
    assert code == 1 and len(text.strip().splitlines()) <= 3
    assert "batch week.csv: " in text and "Nothing was predicted" in text and "Traceback" not in text
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_release_without_a_profile_says_so_and_a_tampered_one_is_refused(released, monkeypatch):
    monkeypatch.chdir(released.folder)
    with monkeypatch.context() as patched:
        patched.setattr(row_scores, "_signed", lambda *_: {})
        code, _, log = score(clean().assign(km=lambda frame: frame["km"] * 1000), "--on-drift=stop")
    assert code == 0
    assert report()["findings"] == [] and report()["compared"].startswith("nothing: an older version")
    assert any("compared: nothing: an older version" in line and "is like" not in line for line in log)
    path = released.folder / "deployed/releases" / Releases().current() / "diagnostics.json"
    path.write_text(path.read_text("utf-8").replace('"edges": [', '"edges": [0, ', 1), encoding="utf-8")
    code, text, _ = score(clean())
    assert code == 1 and "diagnostics.json was altered" in text


def of_profile(levels: int = 12, rows: int = 2_000, seed: int = 1) -> tuple[Released, pd.DataFrame]:
    """Return a release of skewed numbers, counts and a category, and a large table of the same distribution."""
    random = np.random.default_rng(seed)
    size = rows + 60_000
    weights = 1 / np.arange(1, levels + 1)
    frame = pd.DataFrame(
        {
            "price": random.lognormal(3, 1, size),
            "count": random.poisson(2, size).astype(float),
            "shop": random.choice([f"s{n}" for n in range(levels)], size, p=weights / weights.sum()),
        }
    )
    kinds = {"price": "number", "count": "number", "shop": "category"}
    known, later = frame[:rows], frame[rows:].reset_index(drop=True)
    columns = {
        name: {"type": "number", "missing": 0, "unreadable": 0, "min": known[name].min(), "max": known[name].max()}
        for name in ("price", "count")
    }
    columns["shop"] = {"type": "text", "missing": 0, "unreadable": 0}
    metadata = {
        "features": kinds,
        "recipe": {name: {"column": name} for name in kinds},
        "columns": {name: {"kind": columns[name]["type"]} for name in kinds},
        "cleaning": {"rows_in": rows, "rows_dropped": {"unreadable": 0, "missing": 0}},
    }
    profiles = {name: drift.profile(known[name], kind) for name, kind in kinds.items()}
    predictions = drift.profile(known["price"] * 2 + known["count"], "number")
    return Released(metadata, profiles, predictions, columns, rows), later


def checked(released: Released, frame: pd.DataFrame, block: int = 10**9) -> list[dict]:
    check = BatchCheck(released)
    for start in range(0, len(frame), block):
        part = frame[start : start + block]
        for name in part:
            check.add_column(name, part[name], np.zeros(len(part), dtype=bool))
        check.add_scored(part, (part["price"] * 2 + part["count"]).to_numpy())
    return check.findings(rejected=0)


def test_predictions_belong_to_their_rows_when_other_rows_were_rejected():
    released, later = of_profile(levels=5)
    part = later.iloc[:3000].iloc[1500:]
    check = BatchCheck(released)
    for name in part:
        check.add_column(name, part[name], np.zeros(len(part), dtype=bool))
    # As the model returns them: with the index of the rows that were not rejected.
    check.add_scored(part, part["price"] * 2 + part["count"])
    assert check._sample[0][1].tolist() == (part["price"] * 2 + part["count"]).tolist()


@pytest.mark.parametrize("rows", [1, 5, 20, 50, 200, 2_000])
def test_clean_batches_of_any_size_rarely_have_findings(rows):
    released, later = of_profile(levels=60)
    batches = [later.iloc[n * rows : (n + 1) * rows] for n in range(min(150, len(later) // rows))]
    assert sum(bool(checked(released, each)) for each in batches) <= 1


def test_blocks_make_no_difference_and_the_sample_is_bounded(monkeypatch):
    monkeypatch.setattr(batch_check, "_MOST_ROWS", 3_000)
    released, later = of_profile()
    later["price"] *= 2.54
    whole, parts = checked(released, later), checked(released, later, 7_001)
    assert whole == parts and whole[0]["what"] == "unit"
    check = BatchCheck(released)
    for start in range(0, 60_000, 5_000):
        check.add_scored(later[start : start + 5_000], np.zeros(5_000))
        assert check._sampled <= 3_000
    assert check._sampled > 1_000


def test_the_live_record_takes_the_day_of_a_report(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "predictions").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / f"predictions/{name}.csv").touch()
        (tmp_path / f"predictions/{name}.rejected.csv").touch()
    for name, moment in (("a", "2024-03-05T00:00:01Z"), ("b", "2024-03-04T23:59:59Z")):
        (tmp_path / f"predictions/{name}.report.json").write_text(json.dumps({"predicted_at": moment}))
    (tmp_path / "predictions/c.report.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        found = [(each.path.stem, str(np.datetime64(each.day, "D"))) for each in live_record._batches()]
    today = str(pd.Timestamp.now("UTC").date())
    assert found == [("b", "2024-03-04"), ("a", "2024-03-05"), ("c", today)]
    assert "c.report.json is damaged" in caplog.text


def test_predictions_to_standard_output_have_no_report(released: Project):
    clean(60).to_csv(released.folder / "week.csv", index=False)
    done = released.script("predict", "--input", "week.csv", "--output", "-")
    assert "is like the released data" in done.stdout
    assert not list(released.folder.rglob("*.report.json"))
