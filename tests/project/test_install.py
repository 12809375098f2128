"""How make installs the pins: with uv, or else with pip."""

import os
import shutil

import pytest

from conftest import ROOT, run


@pytest.mark.parametrize("uv", ["installs", "fails", "is missing"])
def test_uv_installs_the_pins_and_pip_where_uv_cannot(tmp_path, uv):
    bin = tmp_path / ".venv/bin"
    bin.mkdir(parents=True)
    for name in ("Makefile", "requirements.txt", "requirements-uv.txt"):
        shutil.copy(ROOT / name, tmp_path)
    # Each writes down what it was asked for.
    for name, code in (("python", 0), ("uv", int(uv == "fails"))):
        (bin / name).write_text(f'#!/bin/sh\necho {name} "$@" >> asked\nexit {code}\n', encoding="utf-8")
        (bin / name).chmod(0o755)
    if uv == "is missing":
        (bin / "uv").unlink()
    done = run(["make", "-s", ".venv/.made"], cwd=tmp_path, env={**os.environ, "MAKEFLAGS": ""})
    assert done.returncode == 0, done.stdout
    first, *asked = (tmp_path / "asked").read_text("utf-8").splitlines()
    assert first.startswith("python -m pip install ") and first.endswith("--require-hashes -r requirements-uv.txt")
    by_uv = "uv pip install --quiet --python .venv/bin/python --require-hashes -r requirements.txt"
    by_pip = "python -m pip install --quiet --no-deps --no-compile --disable-pip-version-check --require-hashes"
    by_pip += " -r requirements.txt"
    assert asked == {"installs": [by_uv], "fails": [by_uv, by_pip], "is missing": [by_pip]}[uv]
    # Once installed, nothing is installed again.
    assert run(["make", "-s", ".venv/.made"], cwd=tmp_path).returncode == 0
    assert len((tmp_path / "asked").read_text("utf-8").splitlines()) == 1 + len(asked)


def test_pins_that_cannot_be_installed_stop_make(tmp_path):
    bin = tmp_path / ".venv/bin"
    bin.mkdir(parents=True)
    for name in ("Makefile", "requirements.txt", "requirements-uv.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("python", "uv"):
        (bin / name).write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        (bin / name).chmod(0o755)
    done = run(["make", "-s", ".venv/.made"], cwd=tmp_path)
    assert done.returncode != 0 and not (tmp_path / ".venv/.made").exists()
    assert "uv cannot be installed here: pip will install the packages, which takes longer" in done.stdout
