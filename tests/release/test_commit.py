"""The git commit that a sign-off notes is that of the workflow's own files, or none."""

import subprocess
from pathlib import Path

import pytest

from signoff.release import approval


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True, encoding="utf-8")
    return done.stdout.strip()


@pytest.fixture
def code(tmp_path, monkeypatch) -> Path:
    """The folder of a workflow, inside of a repository that has another file."""
    outer = tmp_path / "outer"
    for path in ("Snakefile", "workflow/a.smk", "scripts/a.py", "scripts/signoff/b.py"):
        (outer / "signoff" / path).parent.mkdir(parents=True, exist_ok=True)
        (outer / "signoff" / path).write_text(path, encoding="utf-8")
    (outer / "README").write_text("another project", encoding="utf-8")
    git(outer, "init", "-q")
    git(outer, "add", "README")
    git(outer, "commit", "-qm", "another project")
    monkeypatch.setattr(approval, "WORKFLOW", outer / "signoff")
    return outer / "signoff"


def commit(folder: Path) -> str:
    """Make a repository of the workflow's folder, and return its commit."""
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "the workflow")
    return git(folder, "rev-parse", "HEAD")


def test_a_copy_inside_of_another_repository_has_no_commit(code):
    found = approval.code_state()
    assert (found["commit"], found["clean"]) == (None, None)
    assert approval.no_commit() == "not in git"


@pytest.mark.parametrize("variable", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"])
def test_variables_that_name_another_repository_do_not_count(code, monkeypatch, variable):
    own = commit(code)
    place = {"GIT_DIR": ".git", "GIT_WORK_TREE": "", "GIT_INDEX_FILE": ".git/index"}[variable]
    monkeypatch.setenv(variable, str(code.parent / place))
    found = approval.code_state()
    assert (found["commit"], found["clean"]) == (own, True)


def test_code_that_git_is_told_to_ignore_is_not_clean(code):
    own = commit(code)
    (code / "scripts/signoff/__pycache__").mkdir()
    (code / "scripts/signoff/__pycache__/b.pyc").touch()
    (code / ".git/info/exclude").write_text("__pycache__\nscripts/more.py\n", encoding="utf-8")
    assert approval.code_state()["clean"] is True
    (code / "scripts/more.py").write_text("ignored", encoding="utf-8")
    assert approval.code_state()["clean"] is False
    (code / "scripts/more.py").unlink()
    for mark in ("assume-unchanged", "skip-worktree"):
        git(code, "update-index", f"--{mark}", "scripts/a.py")
        (code / "scripts/a.py").write_text("changed", encoding="utf-8")
        found = approval.code_state()
        assert (found["commit"], found["clean"]) == (own, False), mark
        git(code, "update-index", f"--no-{mark}", "scripts/a.py")
        git(code, "checkout", "-q", "scripts/a.py")
    assert approval.code_state()["clean"] is True
