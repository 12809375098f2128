"""Scoring with the current release, the champion in the evaluation, and models that are read only when trusted."""

import gzip
import hashlib
import io
import json
import os
import pickle
import resource
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_release import current, error, history

import predict as script_predict
from conftest import CONFIG, ROOT, Project, in_process, program, rides, run
from signoff.base.errors import TaskError
from signoff.review import batch_rows, row_scores
from signoff.rules.batches import _find_batch


def batch(project: Project, frame: pd.DataFrame | str, name: str = "week") -> Path:
    """Write a batch of rows to score."""
    path = project.folder / f"data/batches/{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = frame if isinstance(frame, str) else frame.to_csv(index=False)
    path.write_text(text, encoding="utf-8")
    return path


def predicted(project: Project, name: str = "week") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the scored and the rejected rows, all as text."""
    read = [project.folder / f"predictions/{name}{suffix}.csv" for suffix in ("", ".rejected")]
    return tuple(pd.read_csv(path, dtype=str, keep_default_na=False) for path in read)


def assert_same_as_in_evaluation(project: Project, scored: pd.DataFrame) -> None:
    holdout = pd.read_csv(project.folder / "reports/holdout_predictions.csv", parse_dates=["time"])
    scored = scored.assign(time=pd.to_datetime(scored["started"]).astype(holdout["time"].dtype))
    both = holdout.merge(scored, on="time")
    assert len(both) == len(holdout) > 100
    assert (both["predicted"] == both["prediction"].astype(float)).all()


def test_batches_are_scored_as_in_the_evaluation_to_the_last_digit(released):
    raw = rides(660)
    batch(released, raw.drop(columns="minutes"), "one")
    batch(released, raw.head(50), "two and a half")
    released.configure(scoring={"reasons": 2})
    released.snakemake("predictions/one.csv", "predictions/two and a half.csv")
    scored, rejected = predicted(released, "one")
    assert set(scored["release"]) == {current(released).name}
    assert len(scored) + len(rejected) == 660
    assert sorted(map(int, [*scored["row_number"], *rejected["row_number"]])) == list(range(1, 661))
    assert set(rejected["reason"]) == {"km is missing"}
    assert_same_as_in_evaluation(released, scored)
    assert scored.columns[-5:].tolist() == ["release", "reason_1", "reason_1_by", "reason_2", "reason_2_by"]
    # Everything that came along is as it was written.
    kept = scored["row_number"].astype(int) - 1
    expected = pd.read_csv(io.StringIO(raw.to_csv(index=False)), dtype=str, keep_default_na=False)
    for name in ("started", "city", "km", "ride"):
        assert scored[name].tolist() == expected[name].iloc[kept].tolist()
    assert len(predicted(released, "two and a half")[0]) == len(scored[kept < 50])
    assert "Nothing to be done" in released.snakemake("predictions/one.csv").stdout
    released.script("rollback", "--reason", "x")
    released.snakemake("predictions/one.rejected.csv")
    assert set(predicted(released, "one")[0]["release"]) == {current(released).name}


def test_every_row_that_cannot_be_scored_is_kept_with_its_reason(released):
    batch(
        released,
        "started,city,km,riders,ride\n"
        "2024-05-01 03:00:00,Bonn,3.5,2,a\n"
        "2024-05-01 06:00:00,Bonn,,2,b\n"
        "yesterday,Bonn,much,2,c\n"
        "2024-05-01 09:00:00,Bonn\n"
        '2024-05-01 09:00:00,"Nowhere, or\nelsewhere",NA,2,e\n'
        "2024-05-01 12:00:00,Nowhere,4,inf,f\n"
        "2024-05-01 12:00:00,Nowhere,4,1,g,h\n"
        " 2024-05-01 15:00:00 ,Nowhere,4e0,1,i\n",
    )
    released.snakemake("predictions/week.csv")
    scored, rejected = predicted(released)
    assert scored["row_number"].tolist() == ["1", "8"]
    assert dict(zip(rejected["row_number"], rejected["reason"], strict=True)) == {
        "2": "km is missing",
        "3": "started: 'yesterday' is no date; km: 'much' is no number",
        "4": "2 fields, the header has 5: '2024-05-01 09:00:00,Bonn'",
        "5": "km is missing",
        "6": "riders: 'inf' is no number",
        "7": "6 fields, the header has 5: '2024-05-01 12:00:00,Nowhere,4,1,g,h'",
    }
    assert rejected["ride"].tolist() == ["b", "c", "", "e", "f", ""]


def test_a_batch_of_which_no_row_can_be_scored_fails(released):
    path = batch(released, rides(5).assign(km="far"))
    done = released.script("predict", "--input", path, "--output", "predictions/week.csv", check=False)
    assert done.returncode == 1
    assert "all 5 rows were rejected, mostly because km is " in done.stdout


def test_the_rows_of_a_compressed_batch_are_scored_and_own_spellings_of_missing_are_missing(released, monkeypatch):
    text = "started,city,km,riders\n2024-05-01 03:00:00,Bonn,3.5,2\n2024-05-01 06:00:00,Bonn,-999,2\n"
    plain = batch(released, text)
    packed = plain.with_name("week.csv.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    released.configure(reader={"missing": ["-999"]})
    released.snakemake("predictions/week.csv")
    scored, rejected = predicted(released)
    assert scored["row_number"].tolist() == ["1"]
    assert rejected["reason"].tolist() == ["km is missing"]
    done = released.snakemake("predictions/wek.csv", "--dry-run", check=False)
    assert done.returncode == 1
    *_, line = done.stdout.strip().splitlines()
    assert line.startswith("ERROR - data/batches/wek.csv does not exist, and neither does a compressed one (.gz, .xz,")
    assert line.endswith("did you mean week?")
    monkeypatch.chdir(released.folder)
    packed.write_bytes(packed.read_bytes()[:-10])
    words = [f"--input={packed}", "--output=out.csv"]
    assert "week.csv.gz is damaged or incomplete" in in_process(script_predict, *words)[1]
    packed.write_bytes(b"PAR1" + bytes(100))
    assert "is a file of the format Parquet. A batch is CSV" in in_process(script_predict, *words)[1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "a batch needs a name: BATCH=week"),
        ("/tmp/week", "is not in data/batches. Copy the file there"),
        ("../week", "is not in data/batches. Copy the file there"),
        ("one", "has several files: data/batches/one.csv, data/batches/one.csv.xz. Keep one"),
        ("2024/tow", "data/batches/2024/tow.csv does not exist, .*did you mean 2024/two?"),
        ("xyz", "does not exist, .*there are: 2024/two, one."),
    ],
)
def test_a_batch_that_cannot_be_found_is_refused_in_one_line(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    for path in ("one.csv", "one.csv.xz", "2024/two.csv.zst"):
        (tmp_path / "data/batches" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/batches" / path).touch()
    assert str(_find_batch("2024/two")) == "data/batches/2024/two.csv.zst"
    with pytest.raises(TaskError, match=message):
        _find_batch(name)


@pytest.mark.parametrize("name", ["week", "week.csv", "week.csv.gz", "data/batches/week.csv.zst"])
def test_make_takes_a_batch_by_its_name_or_its_file_and_a_folder_in_the_home(tmp_path, name):
    (tmp_path / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    words = ["make", "-s", "-o", ".venv/.made", f"BIN={tmp_path}", "predict", f"BATCH={name}", "DIR=~/my  rides"]
    done = run(words, cwd=ROOT, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    said = done.stdout.splitlines()
    assert said[-1] == "predictions/week.csv"
    assert f"--directory={tmp_path}/my  rides" in said


def test_standard_streams_and_small_blocks_give_the_same_rows(released, monkeypatch):
    path = batch(released, rides(660).assign(note='a "quoted"\nline'))
    released.script("predict", "--input", path, "--output", "predictions/week.csv")
    expected, _ = predicted(released)
    assert len(expected) == 627
    command = [program("python"), str(released.workflow / "scripts/predict.py"), "--input", "-", "--output", "-"]
    with open(path, "rb") as file:
        done = subprocess.run(command, cwd=released.folder, stdin=file, capture_output=True, check=True)
    assert done.stdout == (released.folder / "predictions/week.csv").read_bytes()
    assert done.stderr.count(b"rejected: km is missing") == 33
    monkeypatch.chdir(released.folder)
    monkeypatch.setattr(batch_rows, "_BLOCK", 3_000)
    script_predict.main(["--input", str(path), "--output", "predictions/small.csv"])
    pd.testing.assert_frame_equal(predicted(released, "small")[0], expected)
    for pipe in (None, "head -c 10"):
        words = [program("python"), f"{released.workflow}/scripts/predict.py", f"--input={path}", "--output=-"]
        shell = f"set -o pipefail; {shlex.join(words)}"
        done = run(["bash", "-c", f"{shell} {'| ' + pipe if pipe else ''}"], cwd=released.folder)
        assert "Traceback" not in done.stdout


def test_the_features_that_moved_a_prediction_most_come_after_what_is_written_without_them(released, monkeypatch):
    monkeypatch.chdir(released.folder)
    monkeypatch.setattr(batch_rows, "_BLOCK", 3_000)
    week = str(batch(released, rides(200).assign(city=lambda frame: frame["city"].replace("Bonn", "Nowhere"))))
    plain, more = Path("plain.csv"), Path("more.csv")
    words = [f"--input={week}", "--columns=ride"]
    assert in_process(script_predict, *words, f"--output={plain}")[0] == 0
    assert in_process(script_predict, *words, f"--output={more}", "--reasons=9")[0] == 0
    with open(week, "rb") as stream, monkeypatch.context() as patched:
        patched.setattr("sys.stdin", SimpleNamespace(buffer=stream))
        script_predict.main([*words, "--input=-", "--output=stream.csv", "--reasons=9"])
    assert Path("stream.csv").read_bytes() == more.read_bytes()
    taken = str(batch(released, rides(5).assign(reason_2="x"), "taken"))
    code, said, _ = in_process(script_predict, f"--input={taken}", "--output=taken.csv", "--reasons=2")
    assert code == 1 and "the predictions have a column reason_2 of their own" in said
    with monkeypatch.context() as patched:
        patched.setattr(row_scores, "_signed", lambda *_: {})
        code, said, _ = in_process(script_predict, *words, "--output=old.csv", "--reasons=2")
    assert code == 1 and "holds no profile of the feature" in said and "scoring.reasons: 0" in said
    before, after = [path.read_text("utf-8").splitlines() for path in (plain, more)]
    assert len(before) == len(after) > 180
    assert all(line.startswith(f"{start},") for start, line in zip(before, after, strict=True))
    found = pd.read_csv(more)
    moved = found[[f"reason_{n}_by" for n in range(1, 10)]]
    assert set(found["reason_1"].dropna()) == {"km", "riders", "city"} and found["reason_9"].isna().all()
    # All reasons together lead from one row, the same for all, to the prediction.
    assert (found["prediction"] - moved.sum(axis=1)).std() < 1e-9
    sizes = moved.abs().fillna(0).to_numpy()
    assert (np.diff(sizes, axis=1) <= 0).all()
    long = found["reason_1"].eq("km") & found["reason_1_by"].gt(0)
    assert found.loc[long, "prediction"].mean() > found["prediction"].mean()


def test_uneven_rows_keep_their_numbers_in_any_block(released, monkeypatch):
    monkeypatch.chdir(released.folder)
    monkeypatch.setattr(batch_rows, "_BLOCK", 2_000)
    lines = rides(660).fillna({"km": 5.0}).to_csv(index=False).splitlines()
    short = [7, 8, 90, 91, 400, 401, 402, 659, 660]
    for number in short:
        lines[number] = lines[number].rpartition(",")[0]
    path = batch(released, "\n".join([*lines[:50], "", "", *lines[50:]]) + "\n")
    script_predict.main(["--input", str(path), "--output", "predictions/week.csv"])
    scored, rejected = predicted(released)
    assert sorted(map(int, rejected["row_number"])) == short
    assert list(map(int, scored["row_number"])) == [n for n in range(1, 661) if n not in short]
    rides_by_row = dict(zip(map(int, scored["row_number"]), scored["ride"], strict=True))
    assert all(ride == f"ride-{number - 1:05d}" for number, ride in rides_by_row.items())


def test_memory_does_not_grow_with_the_batch(released, monkeypatch):
    """The highest memory of one process that scores a small batch and then one eight times as large."""
    monkeypatch.chdir(released.folder)
    monkeypatch.setattr(batch_rows, "_BLOCK", 1 << 19)
    frame = pd.concat([rides(660)] * 75, ignore_index=True)
    small, large = batch(released, frame, "small"), batch(released, pd.concat([frame] * 8), "large")
    peaks = []
    for path in (small, large):
        script_predict.main(["--input", str(path), "--output", f"predictions/{path.name}"])
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    assert large.stat().st_size > 20e6
    # A batch that is read as a whole takes fifteen times its size, and other blocks of memory about its size.
    assert (peaks[1] - peaks[0]) * 2**20 < 4 * large.stat().st_size, peaks


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("started,city,kms,riders\n2024-05-01,Bonn,1,2\n", "has no column 'km': did you mean kms?"),
        ("started,city,km,riders,km\n2024-05-01,Bonn,1,2,1\n", "duplicate column name 'km'"),
        ("started,city,km,riders,release\n2024-05-01,Bonn,1,2,1\n", "have a column release of their own"),
        ("", "cannot be read as utf-8 text: Empty CSV file"),
    ],
)
def test_a_batch_that_is_not_such_a_table_is_refused_in_one_line(released, text, message):
    batch(released, text)
    done = released.snakemake("predictions/week.csv", check=False)
    assert done.returncode == 1
    cause, log = done.stdout.strip().splitlines()[-2:]
    assert cause.startswith("predict failed: data/batches/week.csv")
    assert message in cause
    assert log == "Its log: logs/predict/week.log"
    assert not (released.folder / "predictions/week.csv").exists()


def test_a_batch_without_rows_gives_predictions_without_rows(released):
    batch(released, "started,city,km,riders\n")
    released.snakemake("predictions/week.csv")
    ours = ["prediction", "prediction_low", "prediction_high", "release"]
    assert list(predicted(released)[0]) == ["row_number", "started", "city", "km", "riders", *ours]


def test_a_batch_in_another_encoding_or_that_is_none_is_told(released):
    path = batch(released, "")
    path.write_bytes("started;city;km;riders\n2024-05-01;Köln;1;2\n".encode("cp1252"))
    arguments = ["--input", path, "--output", "out.csv", "--delimiter", ";"]
    assert "reader.encoding" in error(released.script("predict", *arguments, check=False))
    released.script("predict", *arguments, "--encoding", "cp1252", "--columns", "city")
    assert pd.read_csv(released.folder / "out.csv")["city"].tolist() == ["Köln"]
    assert "knows no encoding" in error(released.script("predict", *arguments, "--encoding", "nope", check=False))
    assert "does not exist" in error(released.script("predict", "--input", "no.csv", "--output", "x.csv", check=False))


def test_nothing_deployed_scores_nothing(finished):
    batch(finished, rides(10))
    done = finished.snakemake("predictions/week.csv", check=False)
    assert "predict failed: nothing is deployed yet." in done.stdout


def test_the_same_cleaning_and_features_as_in_training(project):
    """Fills, columns left missing, booleans, derived features, dates whose notation a batch alone cannot tell."""
    frame = rides(400)
    frame["started"] = pd.to_datetime(frame["started"]).dt.strftime("%d/%m/%Y %H:%M")
    frame["in a hurry"] = (frame["riders"] > 2).map({True: "true", False: "false"})
    frame.loc[::7, "in a hurry"] = None
    frame["unused"] = None
    frame.to_csv(project.folder / "rides.csv", index=False)
    project.configure(
        evaluation={},
        cleaning={"default": "leave", "columns": {"km": {"fill": 7.5}}},
        features={
            "derived": {"km each": "km / riders", "late": "`in a hurry` & (km > 5)"},
            "date_parts": ["month", "day", "hour_cyclical"],
        },
    )
    project.snakemake("all", "reports/final_report.md")
    project.sign_off()
    project.script("deploy")
    columns = project.json("model/model.json")["columns"]
    assert columns["started"]["date_format"] == "%d/%m/%Y %H:%M"
    assert set(columns) == {"started", "city", "km", "riders", "in a hurry"}
    # In the last week every day of the month is at most 12, in the first not one value is told.
    batch(project, frame.iloc[-100:].drop(columns=["unused", "minutes"]))
    project.snakemake("predictions/week.csv")
    scored, rejected = predicted(project)
    assert len(rejected) == 0
    holdout = pd.read_csv(project.folder / "reports/holdout_predictions.csv")
    common = min(len(holdout), 100)
    np.testing.assert_array_equal(
        scored["prediction"].astype(float).to_numpy()[-common:], holdout["predicted"].to_numpy()[-common:]
    )
    batch(project, frame.head(8), "early")
    project.snakemake("predictions/early.csv")
    assert len(predicted(project, "early")[0]) == 8


class Payload:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self):
        return (Path.touch, (Path("was_run"),))


def test_a_model_that_is_not_the_signed_one_is_never_unpickled(released):
    batch(released, rides(20))
    (current(released) / "model.pkl").write_bytes(pickle.dumps(Payload()))
    line = error(released.script("predict", "--input", "data/batches/week.csv", "--output", "x.csv", check=False))
    assert "model.pkl was altered" in line
    # With metadata that fit it, too: what counts is what was signed.
    released.snakemake("--forcerun", "evaluate_model")
    champion = released.json("reports/evaluation_metrics.json")["champion"]
    assert "model.pkl was altered" in champion["problem"]
    (released.folder / "model/model.pkl").write_bytes(pickle.dumps(Payload()))
    released.script("evaluate_model", "--model", "model/model.pkl", "--features", "data/features/features.csv",
                    "--output", "x.json", check=False)  # fmt: skip
    assert not list(released.folder.rglob("was_run"))


# The champion


def test_the_champion_is_scored_on_the_same_rows_and_is_one_more_verdict(released):
    small = {**CONFIG["model"], "params": {"max_iter": 2}}
    released.configure(thresholds={"max_regression": 0.02}, model=small)
    done = released.snakemake(check=False)
    assert done.returncode == 1
    metrics = released.json("reports/evaluation_metrics.json")
    champion = metrics["champion"]
    assert champion["release"] == current(released).name
    assert champion["test"]["rows"] == metrics["model"]["test"]["rows"]
    holdout = pd.read_csv(released.folder / "reports/holdout_predictions.csv")
    assert champion["test"]["MAE"] == pytest.approx((holdout["champion"] - holdout["actual"]).abs().mean())
    (threshold,) = metrics["thresholds"]
    assert threshold["value"] == pytest.approx(metrics["model"]["test"]["MAE"] / champion["test"]["MAE"] - 1)
    assert threshold["value"] > 1
    assert not threshold["passed"]
    assert "max_regression 0.02: MAE above the champion's is" in done.stdout
    assert f"champion: {champion['release']}" in done.stdout
    released.snakemake("reports/final_report.md")
    assert champion["release"] in (released.folder / "reports/final_report.md").read_text(encoding="utf-8")
    released.configure(thresholds={"max_regression": 100}, model=small)
    released.snakemake()
    assert released.json("reports/evaluation_metrics.json")["thresholds"][0]["passed"]
    # Another champion: it is judged anew, and nothing is trained.
    released.script("rollback", "--reason", "x")
    judged = {"evaluate_model", "compare_model", "diagnose", "live_record", "generate_report"}
    assert released.jobs("reports/final_report.md") == judged


def test_without_a_release_neither_a_champion_nor_its_threshold_exists(finished):
    finished.configure(thresholds={"max_regression": 0})
    finished.snakemake()
    metrics = finished.json("reports/evaluation_metrics.json")
    assert metrics["champion"] is None
    assert metrics["thresholds"] == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"features": {"drop": ["riders"]}}, "its columns are gone from the features: riders."),
        ({"target": "km", "evaluation": {}}, "it predicts 'minutes', and not 'km'."),
        ({"features": {"derived": {"each": "km / 2"}}}, "these of its columns are computed differently now: each."),
    ],
    ids=["column", "target", "recipe"],
)
def test_a_champion_that_cannot_be_scored_is_reported_and_fails_only_its_own_threshold(released, changes, problem):
    if "derived" in changes.get("features", {}):
        released.configure(features={"derived": {"each": "km / riders"}})
        released.snakemake("all", "reports/final_report.md")
        released.sign_off()
        released.script("deploy")
    released.configure(thresholds={}, **changes)
    screen = released.snakemake().stdout
    assert problem in screen
    champion = released.json("reports/evaluation_metrics.json")["champion"]
    assert champion["problem"] == problem
    if "drop" not in changes.get("features", {}):
        return
    released.snakemake("reports/final_report.md")
    assert "cannot be scored" in (released.folder / "reports/final_report.md").read_text(encoding="utf-8")
    released.configure(thresholds={"max_regression": 1}, **changes)
    done = released.snakemake(check=False)
    assert done.returncode == 1
    assert "max_regression 1: MAE above the champion's is undefined, FAILED" in done.stdout


# skops


def test_a_model_in_a_format_that_runs_no_code_is_trained_judged_released_and_used(project, monkeypatch):
    project.configure(model={**CONFIG["model"], "format": "skops"})
    project.snakemake("all", "reports/final_report.md")
    project.sign_off()
    project.script("deploy")
    assert not list(project.folder.rglob("*.pkl"))
    assert (current(project) / "model.skops").is_file()
    batch(project, rides(600))
    project.snakemake("predictions/week.csv")
    scored, _ = predicted(project)
    assert_same_as_in_evaluation(project, scored)
    # The task alone, since nothing that has a seed of its own begins at once.
    words = ["--input=data/features/features.csv", "--output=again/model.skops", '--params={"max_iter": 20}']
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    project.script("train_model", *words, "--intervals=constant")
    again, before = (project.folder / each / "model.skops" for each in ("again", "model"))
    assert again.read_bytes() == before.read_bytes()
    assert len(history(project)) == 1


def test_what_skops_does_not_cover_is_refused(project):
    (project.folder / "own.py").write_text(
        "from sklearn.linear_model import Ridge\nclass Mine(Ridge):\n    pass\n", encoding="utf-8"
    )
    project.configure(model={"estimator": "own.Mine", "format": "skops"})
    done = project.snakemake(check=False, PYTHONPATH=str(project.folder))
    assert "train_model failed: model.format: skops does not cover own.Mine. Use model.format: pickle." in done.stdout


def test_estimators_of_other_kinds_can_be_written_as_skops(tmp_path):
    from signoff.model.model_file import load_model, write_model
    from signoff.model.training import train_model

    random = np.random.default_rng(0)
    features = pd.DataFrame({"a": random.normal(size=300), "b": random.choice(["x", "y"], 300)}).astype({"b": "str"})
    for name in ("linear_model.Ridge", "ensemble.RandomForestRegressor", "neighbors.KNeighborsRegressor", "svm.SVR"):
        model = train_model(features, {"a": "number", "b": "category"}, features["a"] * 2, f"sklearn.{name}")
        digest = write_model(model, tmp_path / "model.skops")
        again = load_model(tmp_path / "model.skops", digest)
        np.testing.assert_array_equal(again.predict(features), model.predict(features))


def test_a_skops_file_that_could_run_code_is_not_read(tmp_path):
    import functools
    import os

    import numpy.testing
    import skops.io
    from sklearn.preprocessing import FunctionTransformer
    from sklearn.utils.validation import check_array

    from signoff.base.errors import TaskError
    from signoff.model.model_file import load_model

    path = tmp_path / "model.skops"
    for function in (
        functools.partial(os.system, "true"),
        functools.partial(check_array, dtype=numpy.testing.rundocs),
        functools.partial(functools.partial, check_array),
        functools.partial(np.add),
        numpy.testing.rundocs,
        np.load,
        np.fromfile,
        functools.partial,
    ):
        path.write_bytes(skops.io.dumps(FunctionTransformer(function)))
        with pytest.raises(TaskError, match="skops does not cover"):
            load_model(path, hashlib.sha256(path.read_bytes()).hexdigest())
    path.write_bytes(skops.io.dumps(FunctionTransformer(functools.partial(check_array, dtype=None))))
    load_model(path, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.parametrize("name", ["model.pkl", "model.skops"])
def test_a_model_of_an_older_scikit_learn_is_read_and_said_and_one_of_a_newer_is_refused(tmp_path, caplog, name):
    import sklearn.base
    from sklearn.linear_model import Ridge

    from signoff.base.errors import TaskError
    from signoff.model.model_file import load_model, write_model

    model, here = Ridge().fit([[1.0], [2.0]], [1.0, 2.0]), sklearn.base.__version__
    for made in ("0.1", "99.0"):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sklearn.base, "__version__", made)
            digest = write_model(model, tmp_path / name)
        if made == "0.1":
            assert load_model(tmp_path / name, digest).predict([[1.0]]) == model.predict([[1.0]])
            told = f"{tmp_path / name} was made by scikit-learn 0.1, and {here} is here: train again soon"
            assert caplog.messages == [told]
        else:
            with pytest.raises(TaskError, match=rf"\(it was made by 99.0, and {here} is here\)\. Install the versions"):
                load_model(tmp_path / name, digest)


def test_the_metadata_say_what_a_later_row_must_bring(released_run):
    metadata = json.loads((released_run.folder / "model/model.json").read_text(encoding="utf-8"))
    assert metadata["recipe"]["started_hour"] == {"column": "started", "part": "hour"}
    assert metadata["columns"]["km"] == {"kind": "number", "date_format": None, "policy": "drop"}
