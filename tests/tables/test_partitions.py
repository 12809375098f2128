"""The data in parts: the split of the source, one job a part, what is gathered, and the sample of a budget."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import tenacity
from sklearn.linear_model import SGDRegressor

import split_source as split_source_module
from conftest import ROOT, in_process, rides, script
from gather import _gather_reports, _gather_tables
from signoff.base.errors import TaskError
from signoff.base.files import read_json, write_json
from signoff.features import row_keys
from signoff.features.gathering import _choose, _quotas_of, gather_features
from signoff.features.row_keys import _kept_keys, _kept_path, keep_keys, read_keys
from signoff.source import split as splitting
from signoff.source.names import folder_name
from signoff.source.pieces import RowsToSplit, split_table
from signoff.source.split import SplitSource, split_source
from signoff.tables.counting import row_hashes
from signoff.tables.parts import gather_counts, read_part
from validate_data import validate_data


def later(rows: pd.DataFrame, more: int) -> pd.DataFrame:
    """Return a table with so many rides after those that it has."""
    return pd.concat([rows, rides(len(rows) + more, seed=2).iloc[len(rows) :]])


def executed(text: str) -> Counter:
    """Return how often each rule has run, by what Snakemake has said."""
    return Counter(re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):$", text, flags=re.M))


def test_parts_give_the_bytes_of_one_table_and_a_new_part_runs_only_its_own_tasks(project, finished_run):
    project.configure(time_column="started", data={"partition_by": "month"})
    project.snakemake()
    for path in ("model/model.pkl", "reports/evaluation_metrics.json", "reports/holdout_predictions.csv"):
        assert (project.folder / path).read_bytes() == (finished_run.folder / path).read_bytes(), path
    assert not (project.folder / "data/raw/raw_data.csv").exists()
    gathered = ["data/processed/cleaned_data.csv", "data/processed/cleaned_data.json", "data/features/features.json"]
    project.snakemake("data/raw/raw_data.csv", "data/features/features.csv", *gathered)
    # What they speak of is the record that names the parts, and not one table.
    record = hashlib.sha256((project.folder / "data/raw/raw_data.json").read_bytes()).hexdigest()
    for path in (*gathered, "data/features/features.csv"):
        found, expected = ((each.folder / path).read_text("utf-8") for each in (project, finished_run))
        if path.endswith(".json"):
            expected = expected.replace(finished_run.json(path)["raw_sha256"], record)
        assert found == expected, path
    # Where the source has a quote, every cell of a part is in quotes.
    frames = [pd.read_csv(each.folder / "data/raw/raw_data.csv", dtype=str) for each in (project, finished_run)]
    pd.testing.assert_frame_equal(*frames)
    ours, theirs = (each.json("reports/validation_report.json") for each in (project, finished_run))
    assert [ours[key] for key in ("status", "contract", "rows", "violations")] == [
        theirs[key] for key in ("status", "contract", "rows", "violations")
    ]
    assert ours["profile"]["km"]["missing"] == theirs["profile"]["km"]["missing"] > 0
    assert "Nothing to be done" in project.snakemake().stdout

    def each_file() -> dict[str, int]:
        parts = [*project.folder.glob("data/*/parts/*"), *project.folder.glob("reports/validation/*")]
        return {str(path): path.stat().st_mtime_ns for path in parts}

    before = each_file()
    table = later(pd.read_csv(project.folder / "rides.csv"), 8 * 30)
    table.to_csv(project.folder / "rides.csv", index=False)
    # The last part has more rows now, and one part is new.
    others = (
        "split_source",
        "parts_chunk",
        "gather_validation",
        "gather_features",
        "train_model",
        "evaluate_model",
        "verdict",
        "all",
    )
    assert executed(project.snakemake().stdout) == dict.fromkeys(others, 1)
    unchanged = [path for path, changed in each_file().items() if before.get(path) == changed]
    assert len(unchanged) == 2 * 8 and all("2024-01" in path or "2024-02" in path for path in unchanged)

    # A part in which a column is something else is named with it, and everything else stays.
    model = (project.folder / "model/model.pkl").read_bytes()
    strange = later(table, 8 * 30)
    strange["riders"] = strange["riders"].astype(object)
    strange.loc[strange["started"] >= "2024-05", "riders"] = "several"
    strange.to_csv(project.folder / "rides.csv", index=False)
    done = project.snakemake(check=False)
    assert done.returncode == 1
    # Whichever of the two reads it first.
    assert re.search(r"(clean|validate)_part failed: part 2024-05: column 'riders' holds numbers by", done.stdout)
    assert (project.folder / "model/model.pkl").read_bytes() == model


def test_a_budget_draws_from_the_parts_and_is_signed_off(project):
    project.configure(
        time_column="started",
        data={"partition_by": "month"},
        model={"params": {"max_iter": 20}, "max_rows": 200, "intervals": "constant"},
    )
    project.snakemake("all", "reports/final_report.md")
    assert not (project.folder / "data/features/features.csv").exists()
    parts = list((project.folder / "data/features/parts").glob("*.csv"))
    like = project.json("data/features/first_rows.json")
    assert len(parts) > 2 and all(_kept_keys(each, like) for each in parts)
    sample = pd.read_csv(project.folder / "data/features/sample.csv")
    split = project.json("reports/evaluation_metrics.json")["split"]
    trained = project.json("model/model.json")["training_rows"]
    assert (sample["split"] == "train").sum() == split["rows"]["train"] == trained
    assert 180 < split["rows"]["train"] <= split["max_rows"] == 200 < split["available"]
    assert (sample["split"] == "test").sum() == split["rows"]["test"] == 114
    curve = project.json("reports/row_budget.json")["curve"]
    # A quarter is too few rows to tell anything.
    assert [each["MAE"] > 0 for each in curve] == [True, True]
    assert curve[0]["rows"] <= trained // 2 < curve[1]["rows"] == trained
    assert curve[1]["gain"] == pytest.approx(curve[0]["MAE"] - curve[1]["MAE"], abs=1e-4)
    report = (project.folder / "reports/final_report.md").read_text(encoding="utf-8")
    assert f"Trained on a sample of {trained} of {split['available']} training rows (model.max" in report
    files = project.sign_off() and project.json("reports/sign_off.json")["files"]
    assert {"data/features/sample.csv", "data/features/sample.json", "data/raw/raw_data.json"} <= set(files)
    project.script("deploy")


def split(folder, source: str = "rides.csv", by: str = "week", column: str = "started", **more) -> dict:
    """Split the source of a folder as the command line does, and return the record."""
    how = SplitSource(folder / "pieces", by, column, **{key: more.pop(key) for key in ("first_rows",) if key in more})
    record = split_source(str(folder / source), folder / "record.json", how, **more)
    write_json(folder / "record.json", record)
    return record


@pytest.mark.parametrize("changes", [{"data": {"partition_by": "month"}}, {"models": {"by": "city"}}])
@pytest.mark.parametrize("before", ["../", "./"])
def test_a_source_may_lie_anywhere_also_where_its_path_begins_with_a_dot(project, changes, before):
    (project.folder / f"{before}m.csv").write_bytes((project.folder / "rides.csv").read_bytes())
    project.configure(raw_data_source_url=f"{before}m.csv", time_column="started", **changes)
    project.snakemake("data/raw/raw_data.json")
    pieces = list((project.folder / "data/source").glob("*/*.csv"))
    assert pieces and not [path for path in pieces if path.name.startswith((".", "_"))]
    part = pieces[0].parent.name
    wanted = f"models/{part}/data/raw/raw_data.csv" if "models" in changes else f"data/raw/parts/{part}.csv"
    project.snakemake(wanted)
    assert len(pd.read_csv(project.folder / wanted)) == len(pd.read_csv(pieces[0])) > 0


def test_pieces_that_an_older_version_has_hidden_are_made_again(tmp_path):
    rides(60).to_csv(tmp_path / "rides.csv", index=False)
    record = split(tmp_path)
    (file,) = record["files"].values()
    hidden = f".{file['id']}"
    for path in list(tmp_path.glob("pieces/*/*.csv")):
        path.rename(path.with_name(hidden))
    text = (tmp_path / "record.json").read_text(encoding="utf-8")
    (tmp_path / "record.json").write_text(text.replace(file["id"], hidden), encoding="utf-8")
    assert split(tmp_path)["parts"] == record["parts"]
    assert {path.name for path in tmp_path.glob("pieces/*/*.csv")} == {file["id"]}


def test_every_row_goes_to_the_part_of_its_week_in_its_order(tmp_path):
    table = rides(200).sample(frac=1, random_state=0)
    table.to_csv(tmp_path / "rides.csv", index=False)
    record = split(tmp_path, target="minutes")
    weeks = pd.to_datetime(table["started"]).dt.strftime("%G-W%V")
    assert list(record["parts"]) == sorted(weeks.unique())
    assert record["records"] == 200
    for part, about in record["parts"].items():
        (piece,) = (tmp_path / "pieces" / part).iterdir()
        assert about["pieces"] == [piece.name]
        pd.testing.assert_frame_equal(pd.read_csv(piece), table[weeks == part].reset_index(drop=True))
        assert about["rows"] == (weeks == part).sum()


def test_the_bytes_of_a_piece_do_not_depend_on_the_size_of_blocks(tmp_path):
    rides(300).to_csv(tmp_path / "rides.csv", index=False)
    found = []
    for block_bytes in (1000, 1 << 20):
        folder = tmp_path / str(block_bytes)
        folder.mkdir()
        counts = split_table(
            RowsToSplit(tmp_path / "rides.csv", "city", "value"), folder, "rows.csv", block_bytes=block_bytes
        )
        assert sum(counts.values()) == 300
        found.append({path.parent.name: path.read_bytes() for path in folder.glob("*/*.csv")})
    assert found[0] == found[1]
    assert sorted(found[0]) == ["Bonn", "K%C3%B6ln", "Trier%2C West"]


def test_only_new_files_of_a_folder_are_read_and_only_their_parts_change(tmp_path, monkeypatch):
    folder = tmp_path / "exports"
    folder.mkdir()
    table = rides(8 * 21)
    for n in range(3):
        table[n * 56 : (n + 1) * 56].to_csv(folder / f"{n}.csv", index=False)
    split(tmp_path, "exports", target="minutes")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("pieces/*/*.csv")}
    read = []
    arrive = splitting.arrive
    monkeypatch.setattr(splitting, "arrive", lambda part, *rest: read.append(Path(part).name) or arrive(part, *rest))
    late = rides(300, seed=3)[8 * 20 : 8 * 28]
    late.to_csv(folder / "3.csv", index=False)
    record = split(tmp_path, "exports", target="minutes")
    assert read == ["3.csv"]
    assert list(record["parts"]) == ["2024-W01", "2024-W02", "2024-W03", "2024-W04"]
    assert [len(each["pieces"]) for each in record["parts"].values()] == [1, 1, 2, 1]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert record["records"] == 8 * 29
    # A file that is gone takes its rows with it.
    (folder / "3.csv").unlink()
    assert list(split(tmp_path, "exports")["parts"]) == ["2024-W01", "2024-W02", "2024-W03"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("pieces/*/*.csv")} == before


def test_an_unreachable_source_leaves_its_parts_as_they_are_and_a_cut_one_stops(tmp_path, server, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tenacity.nap, "sleep", lambda seconds: None)
    body = rides(100).to_csv(index=False).encode()
    words = ["--input", f"{server.url}/rides.csv", "--output", "record.json", "--by", "week", "--column", "started"]
    server.answers = [(200, {}, body)]
    assert in_process(split_source_module, *words)[0] == 0
    before = {path: path.read_bytes() for path in [Path("record.json"), *Path().glob("data/source/*/*.csv")]}
    assert len(before) == 3
    server.answers = [(503, {}, b"")]
    code, _, log = in_process(split_source_module, *words)
    assert code == 0
    assert re.search(
        "WARNING - .split_source. .*503.*; going on with data/source, ingested 0 minutes ago", "\n".join(log)
    )
    server.answers = [(200, {"Content-Length": str(len(body))}, body[:-20])]
    code, _, log = in_process(split_source_module, *words)
    assert code == 1
    assert re.search("ERROR - .split_source. the transfer of .* was cut after", log[-1])
    assert {path: path.read_bytes() for path in [Path("record.json"), *Path().glob("data/source/*/*.csv")]} == before


def test_the_first_rows_stay_what_they_were_until_they_are_deleted(tmp_path):
    rides(100).to_csv(tmp_path / "rides.csv", index=False)
    split(tmp_path, first_rows=40)
    first = (tmp_path / "pieces/first_rows.csv").read_bytes()
    assert len(pd.read_csv(tmp_path / "pieces/first_rows.csv")) == 40
    later(rides(100), 100).to_csv(tmp_path / "rides.csv", index=False)
    split(tmp_path, first_rows=80)
    assert (tmp_path / "pieces/first_rows.csv").read_bytes() == first
    (tmp_path / "pieces/first_rows.csv").unlink()
    (tmp_path / "record.json").unlink()
    split(tmp_path, first_rows=80)
    assert len(pd.read_csv(tmp_path / "pieces/first_rows.csv")) == 80


def test_rows_without_a_time_or_a_value_are_a_part_of_their_own(tmp_path):
    table = rides(100)
    table.loc[[3, 50], "started"] = [None, "soon"]
    table.loc[[7, 8, 9], "city"] = [None, "n.a.", " "]
    table.to_csv(tmp_path / "rides.csv", index=False)
    assert split(tmp_path)["parts"]["missing"]["rows"] == 2
    assert split(tmp_path, by="value", column="city")["parts"]["missing"]["rows"] == 3


@pytest.mark.parametrize(
    ("value", "name"),
    [("EWR", "EWR"), ("Köln", "K%C3%B6ln"), ("a/b", "a%2Fb"), ("..", "%2E."), ("{x}", "%7Bx%7D"), ("1 2", "1 2")],
)
def test_a_value_becomes_a_name_that_a_folder_can_have(value, name):
    assert folder_name(value) == name
    assert folder_name("x" * 300) != folder_name("x" * 299)
    assert len(folder_name("ü" * 300)) < 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "week", "--column", "city"], "week needs dates, but time_column 'city' holds none"),
        (["--by", "value", "--column", "citi"], "has no column 'citi': did you mean city?"),
        (["--by", "week", "--column", "started", "--target", "city"], "the target 'city' is not a number"),
    ],
)
def test_a_source_that_cannot_be_split_is_one_line_and_leaves_no_piece(tmp_path, options, message):
    rides(50).to_csv(tmp_path / "rides.csv", index=False)
    done = script("split_source", "--input", "rides.csv", "--output", "record.json", *options, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stdout and "Traceback" not in done.stdout
    assert not (tmp_path / "record.json").exists()
    assert not list(tmp_path.glob("data/source/*/*.csv"))


def test_weeks_need_a_time_column_in_the_config(project):
    project.configure(data={"partition_by": "week"})
    done = project.snakemake("--dry-run", check=False)
    assert "ERROR - config: data.partition_by: week needs time_column. Name it." in done.stdout


def test_tables_are_gathered_byte_by_byte_and_need_the_same_columns(tmp_path):
    paths = []
    for n, text in enumerate(['a,"b"\n1,2\n', "a,b\n", "a,b\n3,4"]):
        paths.append(tmp_path / f"{n}.csv")
        paths[-1].write_text(text, encoding="utf-8")
    _gather_tables(paths, tmp_path / "all.csv")
    assert (tmp_path / "all.csv").read_text(encoding="utf-8") == 'a,"b"\n1,2\n3,4\n'
    paths[1].write_text("b,a\n", encoding="utf-8")
    with pytest.raises(TaskError, match=r"1\.csv has other columns than"):
        _gather_tables(paths, tmp_path / "all.csv")


WAITING = """
import time
from pathlib import Path

def features(rows, built_in):
    while Path("wait").exists():
        Path("waiting").touch()
        time.sleep(0.01)
    return built_in
"""


def job_of_parts(folder, parts: str) -> list[str]:
    """Write parts of the data, and the plan of a job that cleans them and makes features; return its command line.

    The code for the features of the second part waits while there is a file `wait`.
    """
    folder.mkdir()
    (folder / "waiting.py").write_text(WAITING, encoding="utf-8")
    plan = {}
    for number, part in enumerate(parts):
        rides(60, seed=number).to_csv(folder / f"{part}.csv", index=False)
        step = {"rule": "of_part", "code": "", "params": []}
        clean = ["clean_data.py", f"--input={part}.csv", f"--output={part}/clean.csv", f"--log={part}/clean.log"]
        make = ["feature_engineering.py", f"--input={part}/clean.csv", f"--output={part}/features.csv"]
        make += ["--target=minutes", f"--log={part}/features.log", *(["--custom=waiting.py"] if number == 1 else [])]
        cleaned, made = [f"{part}/clean.csv", f"{part}/clean.json"], [f"{part}/features.csv", f"{part}/features.json"]
        plan[part] = [step | {"command": clean, "inputs": [f"{part}.csv"], "outputs": cleaned}]
        plan[part] += [step | {"command": make, "inputs": cleaned, "outputs": made}]
    write_json(folder / "plan.json", plan)
    return ["--plan=plan.json", "--output=done.json"]


def test_after_a_kill_in_the_middle_of_a_job_of_parts_the_next_run_goes_on_with_the_same_bytes(tmp_path):
    def contents(folder) -> dict[str, bytes]:
        files = [path for part in "abc" for path in sorted((folder / part).glob("[a-z]*.*")) if path.suffix != ".log"]
        return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}

    expected, killed = tmp_path / "expected", tmp_path / "killed"
    words = job_of_parts(expected, "abc")
    assert job_of_parts(killed, "abc") == words
    assert script("tasks_chunk", *words, cwd=expected).returncode == 0
    (killed / "wait").touch()
    job = subprocess.Popen(
        [sys.executable, ROOT / "scripts/tasks_chunk.py", *words], cwd=killed, start_new_session=True
    )
    while not (killed / "waiting").exists():
        assert job.poll() is None
        time.sleep(0.01)
    os.killpg(job.pid, signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    (killed / "wait").unlink()
    assert set(contents(killed)) == {
        *(name for name in contents(expected) if name[0] == "a"),
        "b/clean.csv",
        "b/clean.json",
    }
    logs = {path: path.stat().st_mtime_ns for path in killed.glob("a/*.log")}
    assert len(logs) == 2
    assert script("tasks_chunk", *words, cwd=killed).returncode == 0
    assert contents(killed) == contents(expected) and len(contents(expected)) == 12
    # The first part was complete, and none of its tasks ran again.
    assert {path: path.stat().st_mtime_ns for path in logs} == logs
    assert set(read_json(killed / "done.json")["files"]) == set(contents(expected))


def test_gathered_reports_number_rows_through_and_keep_five_examples(tmp_path):
    from signoff.tables.table import read_table

    parts = []
    for _ in range(3):
        rows = ["7"] * 30 + ["x"] * 2
        (tmp_path / "part.csv").write_text("a\n" + "\n".join(rows) + "\n", encoding="utf-8")
        parts.append(validate_data(read_table(tmp_path / "part.csv")))
    found = _gather_reports(parts)
    assert (found["status"], found["rows"]) == ("fail", 96)
    (violation,) = found["violations"]
    assert violation["rows"] == 6
    assert [each["row"] for each in violation["examples"]] == [31, 32, 63, 64, 95]
    assert found["profile"]["a"] == {"type": "number", "unreadable": 6, "missing": 6, "min": 7, "max": 7}


def test_too_many_lost_rows_are_judged_over_all_parts():
    columns = {"a": {"missing": 2, "unreadable": 0, "dropped": 2, "filled": 0, "left": 0}}
    decided = {"kinds": {"a": "number"}, "date_formats": {}, "policies": {"a": "drop"}}
    dropped = {"unreadable": 0, "missing": 2, "duplicates": 0}
    empty = {"rows_in": 2, "rows_out": 0, "rows_dropped": dropped, "duplicates": 0, "columns": columns, **decided}
    whole = {**empty, "rows_in": 8, "rows_out": 6}
    total = gather_counts([empty, whole], 0.5)
    assert (total["rows_in"], total["rows_out"], total["columns"]["a"]["dropped"]) == (10, 6, 4)
    with pytest.raises(TaskError, match=r"would lose 4 of 10 rows.*To blame: a \(4 rows\)"):
        gather_counts([empty, whole], 0.3)


def test_a_part_is_read_as_was_decided_and_one_that_disagrees_is_named(tmp_path):
    like = tmp_path / "first_rows.json"
    kinds = {"a": "number", "b": "text", "c": "empty", "d": "date"}
    write_json(like, {"kinds": kinds, "date_formats": {"d": "%d.%m.%Y"}})
    part = tmp_path / "2024-W05.csv"

    def write(a: str = "1", b: str = "2", c: str = "", d: str = "03.04.2024") -> None:
        part.write_text("a,b,c,d\n" + f"{a},{b},{c},{d}\n" * 30, encoding="utf-8")

    write()
    table = read_part(part, like)
    assert table.kinds == kinds
    assert table.frame["b"].tolist() == ["2"] * 30
    assert table.frame["d"][0] == pd.Timestamp("2024-04-03")
    for column, value in (("a", "one"), ("c", "5"), ("d", "2024-04-03")):
        write(**{column: value})
        with pytest.raises(TaskError, match=f"part 2024-W05: column '{column}' holds .* such as '{value}'"):
            read_part(part, like)
    part.write_text("a,b,c\n1,2,\n", encoding="utf-8")
    with pytest.raises(TaskError, match="cannot be read as a table with the columns"):
        read_part(part, like)
    # One cell says nothing about what a column is.
    part.write_text("a,b,c,d\n1O,2,,03.04.2024\n", encoding="utf-8")
    assert read_part(part, like).bad["a"].tolist() == ["1O"]


# --- the sample of a budget


def features_table(rows: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    times = pd.date_range("2024-01-01", periods=rows, freq="1h")
    table = pd.DataFrame({"t": times, "x": random.normal(size=rows).round(3), "c": random.choice(list("ab"), rows)})
    table["y"] = (table["x"] * 10 + random.normal(size=rows)).round(3)
    table["split"] = np.where(np.arange(rows) < rows * 0.8, "train", "test")
    return table


LIKE = {
    "time_column": "t",
    "target": "y",
    "kinds": {"t": "date", "x": "number", "c": "text", "y": "number", "split": "text"},
}


def drawn(table: pd.DataFrame, folder, max_rows: int, like: dict = LIKE) -> pd.DataFrame:
    """Return the training rows of the sample of a table."""
    table.to_csv(folder / "in.csv", index=False)
    found = gather_features([folder / "in.csv"], folder / "out.csv", like, max_rows=max_rows)
    out = pd.read_csv(folder / "out.csv")
    assert (out["split"] == "test").sum() == (table["split"] == "test").sum() == found["rows"]["test"]
    assert (out["split"] == "train").sum() == found["rows"]["train"] <= max_rows
    return out[out["split"] == "train"]


def test_a_larger_budget_only_adds_rows_and_a_week_has_its_share(tmp_path):
    table = features_table(3000)
    few, many = drawn(table, tmp_path, 300), drawn(table, tmp_path, 700)
    key = ["x", "c", "y"]
    assert len(few.merge(many, on=["t", *key])) == len(few) > 280
    weeks = pd.to_datetime(few["t"]).dt.strftime("%G-W%V").value_counts()
    shares = pd.to_datetime(table["t"][table["split"] == "train"]).dt.strftime("%G-W%V").value_counts() * 300 / 2400
    assert (weeks == shares.reindex(weeks.index).astype(int)).all()
    assert few["t"].is_monotonic_increasing
    pd.testing.assert_frame_equal(few, drawn(table, tmp_path, 300))


def test_with_more_data_rows_leave_the_sample_and_none_comes_back(tmp_path):
    before = features_table(2000)
    more = features_table(3000, seed=5).iloc[2000:].assign(split="train")
    old = drawn(before, tmp_path, 400)
    new = drawn(pd.concat([before, more]), tmp_path, 400)
    known = new[new["t"] < str(more["t"].iloc[0])]
    assert len(known.merge(old, on=["t", "x", "c", "y"])) == len(known) > 100


def test_the_order_of_the_rows_and_a_new_column_of_integers_with_gaps_change_no_choice(tmp_path):
    table = features_table(1500)
    one = drawn(table, tmp_path, 200)
    other = drawn(table.sample(frac=1, random_state=1), tmp_path, 200)
    pd.testing.assert_frame_equal(one, other.sort_values("t").reset_index(drop=True).set_index(one.index))


def test_without_times_all_sizes_of_the_target_are_there_and_repeated_rows_make_no_clumps(tmp_path):
    rows = 6000
    table = pd.DataFrame({"c": list("abcd") * (rows // 4), "y": [0, 1, -40, 1000] * (rows // 4), "split": "train"})
    table.loc[table.index[-100:], "split"] = "test"
    like = {"time_column": None, "target": "y", "kinds": {"c": "text", "y": "number", "split": "text"}}
    counts = drawn(table, tmp_path, 400, like)["c"].value_counts()
    assert counts.to_dict() == dict.fromkeys("abcd", 100)


def test_no_more_than_twice_the_budget_is_kept_in_mind():
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**63, 10_000).astype("uint64")
    strata = np.arange(10_000) % 3
    numbers = np.arange(10_000)
    blocks = ((numbers[n : n + 50], strata[n : n + 50], hashes[n : n + 50]) for n in range(0, 10_000, 50))
    quotas = _quotas_of({0: 3334, 1: 3333, 2: 3333}, 99)
    assert quotas == {0: 33, 1: 32, 2: 32}
    found = _choose(blocks, quotas, 99)
    for stratum, quota in quotas.items():
        own = hashes[strata == stratum]
        assert sorted(hashes[found[strata[found] == stratum]]) == sorted(np.sort(own)[:quota])


def test_parts_and_the_whole_give_the_same_sample(tmp_path):
    table = features_table(2000).drop(columns="split")
    cut = table["t"].iloc[1500]
    table.assign(split=np.where(table["t"] <= cut, "train", "test")).to_csv(tmp_path / "whole.csv", index=False)
    weeks = table["t"].dt.strftime("%G-W%V")
    for week, rows in table.groupby(weeks):
        rows.to_csv(tmp_path / f"{week}.csv", index=False)
    paths = [tmp_path / f"{week}.csv" for week in sorted(weeks.unique())]
    gather_features([tmp_path / "whole.csv"], tmp_path / "a.csv", LIKE, max_rows=250)
    gather_features(paths, tmp_path / "b.csv", LIKE, cut, max_rows=250)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def odd_part(folder) -> Path:
    """Write features of which one block has no times, others have zones, and texts are quoted, blank and missing."""
    table = features_table(900)
    table["t"] = table["t"].dt.tz_localize("UTC").where(table.index >= 600)
    table["c"] = table["c"].where(table.index % 7 > 0).replace("b", 'x, "y"')
    table["x"] = table["x"].where(table.index % 5 > 0)
    table.to_csv(folder / "part.csv", index=False)
    return folder / "part.csv"


@pytest.mark.parametrize("time", ["t", None])
def test_the_keys_that_are_kept_beside_a_part_are_those_of_its_rows(tmp_path, monkeypatch, time):
    monkeypatch.setattr(row_keys, "_BLOCK_BYTES", 8_000)
    path, like = odd_part(tmp_path), {**LIKE, "time_column": time}
    frames = [each.to_pandas() for each in read_keys([path], like)]
    assert len(frames) > 1
    read = pd.concat([each.assign(time=pd.to_datetime(each["time"], utc=True)) if time else each for each in frames])
    keep_keys(path, like)
    pd.testing.assert_frame_equal(_kept_keys(path, like).to_pandas(), read.reset_index(drop=True))
    assert read["hash"].nunique() == 900 and read["stratum"].nunique() > 2


def test_a_sample_reads_the_kept_keys_of_a_part_and_the_rows_of_one_that_was_changed(tmp_path, monkeypatch):
    path, read = tmp_path / "part.csv", []
    features_table(2000).to_csv(path, index=False)
    monkeypatch.setattr(row_keys, "row_hashes", lambda rows: read.append(len(rows)) or row_hashes(rows))

    def sampled(name: str) -> bytes:
        gather_features([path], tmp_path / name, LIKE, max_rows=250)
        return (tmp_path / name).read_bytes()

    without = sampled("a.csv")
    keep_keys(path, LIKE)
    read.clear()
    assert sampled("b.csv") == without
    assert read == []
    kept = _kept_path(path).read_bytes()
    flips = np.random.default_rng(1).integers(0, len(kept), 50)
    for damaged in (kept[:n] + bytes([kept[n] ^ 1]) + kept[n + 1 :] for n in flips):
        _kept_path(path).write_bytes(damaged)
        assert _kept_keys(path, LIKE) is None
    for damaged in (kept[:-100], b"", b"other", kept[:-30] + b"\xff" * 20 + kept[-10:]):
        _kept_path(path).write_bytes(damaged)
        assert sampled("c.csv") == without
    assert sum(read) == 4 * 2000
    _kept_path(path).write_bytes(kept)
    assert _kept_keys(path, LIKE) and not _kept_keys(path, {**LIKE, "time_column": None})
    features_table(2000, seed=1).to_csv(path, index=False)
    changed = sampled("d.csv")
    _kept_path(path).unlink()
    assert changed == sampled("e.csv") != without


def test_a_budget_of_too_few_rows_is_one_line(tmp_path):
    table = features_table(200)
    table.to_csv(tmp_path / "features.csv", index=False)
    write_json(tmp_path / "features.json", {**LIKE, "split": {"by": "time", "rule": ""}})
    options = ["--input", "features.csv", "--output", "sample.csv", "--max-rows", 1]
    done = script("gather_features", *options, cwd=tmp_path)
    assert done.returncode == 1
    assert "gives 1 rows to train and 40 to test" in done.stdout
    done = script("gather_features", *options[:-1], 50, cwd=tmp_path)
    assert "Training rows: 50 of 160, test rows: 40" in done.stdout
    split = read_json(tmp_path / "sample.json")["split"]
    assert (split["max_rows"], split["available"], split["rows"]) == (50, 160, {"train": 50, "test": 40})


def write_parts(table: pd.DataFrame, folder) -> list:
    """Write a week a file, as feature_engineering does with parts, and the plan; return the weeks' rows."""
    weeks = table["t"].dt.strftime("%G-W%V")
    (folder / "parts").mkdir()
    for week, rows in table.groupby(weeks):
        rows.to_csv(folder / f"parts/{week}.csv", index=False)
    write_json(folder / "plan.json", {"parts": {key: {} for key in sorted(weeks.unique())}})
    return [rows for _, rows in table.groupby(weeks)]


SGD = ["--estimator", "sklearn.linear_model.SGDRegressor", "--passes", 3, "--all-rows", "parts", "--plan", "plan.json"]
SGD += ["--intervals", "constant"]


def test_passes_learn_from_all_parts_in_order_and_from_no_test_row(tmp_path):
    table = features_table(1500)
    weeks = write_parts(table.drop(columns="split"), tmp_path)
    table.iloc[::5].to_csv(tmp_path / "sample.csv", index=False)
    last = str(table["t"][table["split"] == "train"].max())
    split = {"by": "time", "last_train": last, "rows": table.iloc[::5]["split"].value_counts().to_dict()}
    rest = {"features": {"x": "number", "c": "category"}, "recipe": {}, "custom": None, "columns": {}, "left_out": {}}
    write_json(tmp_path / "sample.json", {**LIKE, **rest, "split": split, "cleaning": {}})
    for name in ("model.pkl", "again.pkl"):
        done = script("train_model", "--input", "sample.csv", "--output", name, *SGD, cwd=tmp_path)
        assert done.returncode == 0, done.stdout
    assert (tmp_path / "model.pkl").read_bytes() == (tmp_path / "again.pkl").read_bytes()
    model = joblib.load(tmp_path / "model.pkl")
    assert read_json(tmp_path / "model.json")["training_rows"] == 1200
    by_hand = SGDRegressor(random_state=0)
    for _ in range(3):
        for week in weeks:
            rows = week[week["t"] <= last]
            if len(rows):
                by_hand.partial_fit(model[:-1].transform(rows[["x", "c"]]), rows["y"])
    np.testing.assert_allclose(model[-1].coef_, by_hand.coef_, rtol=1e-12)
    test = table[table["split"] == "test"]
    assert np.corrcoef(model.predict(test[["x", "c"]]), test["y"])[0, 1] > 0.95
    done = script("train_model", "--input", "sample.csv", "--output", "m.pkl", *SGD[2:], cwd=tmp_path)
    assert done.returncode == 1
    assert "model.passes: sklearn.ensemble.HistGradientBoostingRegressor has no partial_fit" in done.stdout


def test_passes_need_a_sample_for_the_encoding(project):
    project.configure(model={"passes": 2})
    done = project.snakemake("--dry-run", check=False)
    assert "ERROR - config: model.passes needs model.max_rows" in done.stdout
