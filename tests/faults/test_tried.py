"""The table that `make faults` prints counts what was tried and what was lost."""

import subprocess
import sys
from pathlib import Path

CASES = """
import pytest

@pytest.mark.parametrize("n", range(3))
def test_a_disk_is_full(n):
    assert n < 2

def test_no_quota():
    pytest.skip("none here")

def test_it_breaks(nothing): ...
"""


def test_each_case_is_held_lost_or_not_tried(tmp_path):
    (tmp_path / "test_machine.py").write_text(CASES, encoding="utf-8")
    (tmp_path / "faults.md").write_text("# Kills\n\nNothing was lost.\n", encoding="utf-8")
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--junit-xml=report.xml", "test_machine.py"]
    subprocess.run([sys.executable, *words], cwd=tmp_path, check=False, stdout=subprocess.DEVNULL)
    command = [sys.executable, Path(__file__).with_name("tried.py"), "report.xml", "--output", "faults.md"]
    # Once more, it takes the place of what it has said.
    for _ in range(2):
        said = subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = said.splitlines()
    assert "| a disk is full | 3 | 1 | 0 |" in lines
    assert "| no quota | 0 | 0 | 1 |" in lines
    assert "| it breaks | 1 | 1 | 0 |" in lines
    assert lines[-2] == "In all: 4 cases, 2 lost, 1 not tried."
    text = (tmp_path / "faults.md").read_text("utf-8")
    assert text.startswith("# Kills\n\nNothing was lost.\n\n## Recovery from other faults")
    assert text.count("| no quota |") == 1
