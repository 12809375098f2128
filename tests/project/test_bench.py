"""The benchmarks run, and what they compare does the same work. No time is judged."""

import csv
import os
import re
import sys
from pathlib import Path

import pytest
from test_model import few_trees

from conftest import ROOT, program, run

BENCHMARKS = ROOT / "benchmarks"
sys.path.append(str(BENCHMARKS))

import measure  # noqa: E402
import presets  # noqa: E402
import scaling  # noqa: E402
from measure import Run  # noqa: E402


def bench(name: str, *arguments: object, python: str = sys.executable) -> str:
    """Run a script of benchmarks/ and return what it prints."""
    done = run([python, str(BENCHMARKS / f"{name}.py"), *map(str, arguments)])
    assert done.returncode == 0, done.stdout
    return done.stdout


def table(path) -> list[dict]:
    """Return the rows of a CSV file."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_all_sides_train_the_same_model_and_the_table_comes_out(tmp_path):
    words = ["--rows", 1_000, "--runs", 1, "--fit-seconds", 0, "--only", "--tools", "--output", tmp_path]
    said = bench("bench", *words, python=program("python"))
    rows = table(tmp_path / "bench.csv")
    whole = {row["name"]: row for row in rows if row["part"].startswith("All seven tasks")}
    assert list(whole) == ["Signoff", "plain script", "bare floor", "our processes, only started"]
    assert whole.pop("our processes, only started")["mae"] == ""
    fits = {row["name"]: row for row in rows if row["part"].startswith("The fit alone")}
    assert list(fits) == ["Signoff", "the same matrix, bare", "Signoff, once in a process"]
    assert all(float(row["seconds"]) > 0 for row in fits.values())
    assert len({f"{float(row['mae']):.6f}" for row in [*whole.values(), fits["the same matrix, bare"]]}) == 1
    for row in rows:
        assert row["flights"] == "1,000" and "scikit-learn" in row["versions"] and row["machine"]
        assert row["name"] in said
    # How large they are tells the next test: these begin as forks.
    assert all(float(row["peak_mb"]) > 0 and float(row["cpu_seconds"]) > 0 for row in whole.values())
    assert float(whole["plain script"]["ratio"]) == pytest.approx(
        float(whole["Signoff"]["seconds"]) / float(whole["plain script"]["seconds"])
    )
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_a_command_is_measured_with_what_it_starts(tmp_path):
    work = "held = bytearray(300_000_000)\nimport time\nwhile time.process_time() < 0.3: pass"
    words = ["sh", "-c", '"$0" -c "$1"; echo done', sys.executable, work]
    # By a process that is small: what this one holds would be the peak.
    code = f"import measure; from pathlib import Path; print(*measure.run(Path(), {words}, expect='done')[1:])"
    done = run([sys.executable, "-c", code], cwd=BENCHMARKS)
    cpu, megabytes, said = done.stdout.split()
    assert said == "done" and float(cpu) >= 0.3
    assert 286 <= float(megabytes) < 386
    with pytest.raises(SystemExit, match="exit code 3"):
        measure.run(tmp_path, ["sh", "-c", "exit 3"])


def test_planning_is_measured_and_written(tmp_path):
    said = bench("scaling", "--rows", "--models", 3, "--output", tmp_path, python=program("python"))
    graph, dry_run = (["3 models, 3 jobs", "3 parts, 9 jobs"] for _ in range(2))
    rows = table(tmp_path / "scaling.csv")
    assert [row["name"] for row in rows] == [*graph, *dry_run]
    assert [row["target"] for row in rows] == ["1"] * 2 + [""] * 2
    assert "3 models, 3 jobs" in said and (tmp_path / "scaling.png").exists()


def test_growth_is_an_exponent_and_memory_has_two_limits():
    """Ten times the rows in ten times the time is 1; memory may grow by 1.3, and to 700 MB."""
    found = {
        300: {"clean_data": [Run(1, 1, 300)], "train_model": [Run(1, 1, 300)]},
        3000: {"clean_data": [Run(10, 10, 380)], "train_model": [Run(20, 10, 3000)]},
    }
    rows = {(row["part"].split(" (")[0], row["name"]): row for row in scaling.growth(found)}
    assert rows["clean_data", "3,000 rows"]["ratio"] == pytest.approx(1)
    assert rows["clean_data", "3,000 rows"]["kept"] == "yes"
    assert rows["train_model", "3,000 rows"]["ratio"] == pytest.approx(1.301, abs=0.001)
    assert rows["train_model", "3,000 rows"]["kept"] == "NO"
    assert rows["Peak memory", "clean_data"]["kept"] == "yes"
    assert ("Peak memory", "train_model") not in rows
    found[3000]["clean_data"] = [Run(10, 10, 390.1)]
    # What had no room at one size is left out there.
    del found[3000]["train_model"]
    assert [row["name"] for row in scaling.growth(found) if row["part"].startswith("train")] == ["300 rows"]
    assert scaling.growth(found)[-1]["kept"] == "NO"
    found[300]["clean_data"], found[3000]["clean_data"] = [Run(1, 1, 700)], [Run(10, 10, 701)]
    assert scaling.growth(found)[-1]["kept"] == "NO"


def test_memory_that_was_used_a_moment_ago_is_held_while_a_task_is_measured(monkeypatch):
    monkeypatch.setattr(scaling, "RETURNED_SECONDS", 0)
    monkeypatch.setattr(scaling, "WARM_BYTES", 200 << 20)

    def held() -> list[int]:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return [int(Path(f"/proc/{each}/statm").read_text().split()[1]) * 4096 for each in children]

    before = len(held())
    with scaling.cold_memory():
        assert max(held()) > 200 << 20
    assert len(held()) == before
    with pytest.raises(SystemExit), scaling.cold_memory():
        sys.exit(1)
    assert len(held()) == before


def test_a_size_is_left_out_that_memory_or_disk_do_not_allow(tmp_path):
    assert scaling.no_room(tmp_path, 1000, 100, 1) is None
    assert "disk" in scaling.no_room(tmp_path, 10**14, 0, 0)
    assert "memory" in scaling.no_room(tmp_path, 1000, 10, 10**7)


def test_flights_are_repeated_with_later_dates_and_noise(tmp_path):
    bench("data", "--rows", 340_000, "--output", tmp_path / "flights.csv")
    header, *lines = (tmp_path / "flights.csv").read_text("utf-8").splitlines()
    assert len(lines) == 340_000
    first, again = (list(csv.DictReader([header, *lines[n : n + 100]])) for n in (0, 336_776))
    assert (first[0]["time_hour"], again[0]["time_hour"]) == ("2013-01-01T10:00:00Z", "2013-12-31T10:00:00Z")
    assert (first[0]["carrier"], first[0]["flight"]) == (again[0]["carrier"], again[0]["flight"])
    assert [each["arr_delay"] for each in first] != [each["arr_delay"] for each in again]


def test_a_new_measurement_keeps_what_was_written_around_it(tmp_path, monkeypatch):
    few_trees(monkeypatch, every=5)
    page = tmp_path / "presets.md"
    page.write_text(
        "# By hand\n<!-- measured -->\n\n| old |\n\n<!-- /measured -->\n\n## Also by hand\n", encoding="utf-8"
    )
    monkeypatch.setattr(sys, "argv", ["presets.py", "tiny", "--output", str(page)])
    presets.main()
    begins, measured, ends = re.split("<!-- /?measured -->", page.read_text("utf-8"))
    assert begins == "# By hand\n" and ends == "\n\n## Also by hand\n"
    assert "| tiny | 72 |" in measured and "old" not in measured
    # Beside learners that choose nothing, with the reason of the choice.
    assert re.search(r"Its error is \d\.\d+ of ridge, \d\.\d+ of randomised trees.*, and \d\.\d+ of the best", measured)
    assert re.search(r"\| (ridge|randomised trees|lightgbm|catboost) \| \d\.\d+ \|", measured)
    assert "- tiny: it " in measured or "- tiny: the weighted mean is better" in measured
