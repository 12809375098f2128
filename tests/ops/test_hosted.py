"""The weekly job on a host of repositories: the steps of schedule/github and schedule/gitlab, as the host runs them.

A bare repository stands for the host, and programs that note what they are asked for stand for its command line. Git,
its push options, ssh-keygen, make and the scripts are real.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, Project, quick_environment

RUN = "41"
GH = """#!/bin/sh
case "$1 $2" in
"auth setup-git") ;;
"run download") cp "$ARTEFACTS/$3.tar.gz" project.tar.gz ;;
"pr create") { echo "$@"; cat "$DIR/reports/proposal.md"; } > "$ASKED" ;;
*) exit 1 ;;
esac
"""
CURL = """#!/bin/sh
for each in "$@"; do case "$each" in http*) address=$each ;; esac; done
job=${address%/artifacts/project.tar.gz}
cp "$ARTEFACTS/${job##*/}.tar.gz" project.tar.gz
"""
HOOK = """#!/bin/sh
[ "${GIT_PUSH_OPTION_COUNT:-0}" = 0 ] || env | grep '^GIT_PUSH_OPTION_[0-9]' > "$ASKED"
"""


class Host:
    """A host with a repository, its people's keys, and the artefact of one run."""

    def __init__(self, base: Path, kind: str):
        self.base, self.kind, self.asked = base, kind, base / "asked"
        self.origin = base / "origin.git"
        self.jobs = yaml.safe_load((ROOT / "schedule" / kind).read_text("utf-8"))
        (base / "bin").mkdir()
        for name, text in (("gh", GH), ("curl", CURL)):
            (base / "bin" / name).write_text(text, encoding="utf-8")
            (base / "bin" / name).chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            "PATH": f"{base / 'bin'}:{os.environ['PATH']}",
            "HOME": str(base),
            "ARTEFACTS": str(base),
            "ASKED": str(self.asked),
            "DIR": "project",
            "REVIEWERS": "ada bob",
            "GITHUB_RUN_ID": RUN,
            "GITHUB_REF_NAME": "main",
            "CI_JOB_ID": RUN,
            "CI_DEFAULT_BRANCH": "main",
            "CI_PROJECT_URL": str(base / "origin"),
            "CI_API_V4_URL": "http://host/api/v4",
            "CI_PROJECT_ID": "7",
            "CI_JOB_TOKEN": "x",
            **{f"GIT_{who}_{what}": "x@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }

    def shell(self, folder: Path, command: str, **more: str) -> subprocess.CompletedProcess:
        """Run a command as the hosts do, in a shell that stops at the first failure."""
        environment = self.environment | more
        words = ["bash", "-e", "-o", "pipefail", "-c", command]
        return subprocess.run(words, cwd=folder, env=environment, check=False, capture_output=True, text=True)

    def git(self, folder: Path, *words: object) -> str:
        done = subprocess.run(
            ["git", *map(str, words)], cwd=folder, env=self.environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def clone(self, name: str, *options: str) -> Path:
        """Return a new clone, as each job gets one, with the environment that make has made before."""
        folder = self.base / name
        self.git(self.base, "clone", "-q", *options, f"file://{self.origin}", folder)
        quick_environment(folder)
        return folder

    def steps(self, job: str) -> list[str]:
        """Return the commands of a job in their order, but for those that train a model."""
        if self.kind == "github":
            lines = [step["run"] for step in self.jobs["jobs"][job]["steps"] if "run" in step]
        else:
            here = self.jobs[job]
            nested = [*here["script"], *here.get("after_script", [])]
            lines = [line for each in nested for line in (each if isinstance(each, list) else [each])]
        lines = [line.removeprefix('make report DIR="$DIR" && ') for line in lines]
        assert ('make weekly DIR="$DIR"' in lines) == (job == "retrain")
        return [line for line in lines if line != 'make weekly DIR="$DIR"']

    def job(self, job: str, folder: Path, fails: bool = False, **more: str) -> str:
        """Run the steps of a job in one folder; return what they said."""
        if self.kind == "gitlab" and job == "propose":
            # A job has the artefacts of those before it.
            shutil.copy(self.base / f"{RUN}.tar.gz", folder / "project.tar.gz")
        said = ""
        # GitLab runs the lines of a script in one shell, GitHub each step in a new one.
        scripts = self.steps(job) if self.kind == "github" else ["\n".join(self.steps(job))]
        for each in scripts:
            done = self.shell(folder, each, **more)
            said += done.stdout + done.stderr
            if done.returncode:
                assert fails, said
                return said
        assert not fails, said
        return said

    def retrained(self, name: str, project: Project) -> Path:
        """Return the folder of a job in which the model of `project` was trained; its artefact is kept."""
        folder = self.clone(name)
        for each in ("data", "model", "reports", "logs"):
            shutil.copytree(project.folder / each, folder / "project" / each, symlinks=True, dirs_exist_ok=True)
        self.job("retrain", folder)
        shutil.copy(folder / "project.tar.gz", self.base / f"{RUN}.tar.gz")
        return folder

    def merged(self, name: str, key: str | None) -> str:
        """Sign Ada's statement, merge the branch with somebody's key or without one, and push; return the commit."""
        folder = self.base / name
        if not folder.exists():
            self.clone(name)
            self.git(folder, "checkout", "-q", f"signoff/{RUN}")
            statement = "project/reports/statement-ada.dsse"
            self.shell(folder, f"ssh-keygen -q -Y sign -f ../ada -n signoff {statement}").check_returncode()
            self.git(folder, "add", f"{statement}.sig")
            self.git(folder, "commit", "-q", "-m", "Signed by Ada")
        self.git(folder, "checkout", "-q", "-B", "main", "origin/main")
        signed = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={self.base / key}"] if key else []
        self.git(folder, *signed, "merge", "-q", "--no-ff", "-m", "M", *(["-S"] if key else []), f"signoff/{RUN}")
        return self.git(folder, "rev-parse", "HEAD")


@pytest.fixture(params=["github", "gitlab"])
def host(request, finished, tmp_path) -> Host:
    """A host whose main branch holds the workflow, and the config and the signers of the finished project."""
    base = tmp_path / "host"
    base.mkdir()
    host = Host(base, request.param)
    seed = shutil.copytree(finished.workflow, base / "seed")
    for each in ("Makefile", "requirements-uv.txt"):
        shutil.copy(ROOT / each, seed)
    (seed / "project").mkdir()
    for name in ("ada", "bob", "eve"):
        host.shell(base, f"ssh-keygen -q -t ed25519 -N '' -C '' -f {name}").check_returncode()
    lines = [f"{name} {(base / f'{name}.pub').read_text('utf-8')}" for name in ("ada", "bob")]
    (seed / "project/signers").write_text("".join(lines), encoding="utf-8")
    finished.configure(release={"allowed_signers": "signers"})
    for each in ("config.yaml", "rides.csv"):
        shutil.copy(finished.folder / each, seed / "project")
    host.git(base, "init", "-q", "--bare", "-b", "main", host.origin)
    host.git(host.origin, "config", "receive.advertisePushOptions", "true")
    (host.origin / "hooks/post-receive").write_text(HOOK, encoding="utf-8")
    (host.origin / "hooks/post-receive").chmod(0o755)
    host.git(seed, "init", "-q", "-b", "main")
    host.git(seed, "add", "--force", ".")
    host.git(seed, "commit", "-q", "-m", "The workflow and a project")
    host.git(seed, "push", "-q", host.origin, "main")
    return host


def test_a_model_is_proposed_signed_merged_and_deployed(host, finished):
    trained = host.retrained("retrain", finished)
    host.job("propose", host.clone("propose"))
    asked = host.asked.read_text("utf-8")
    for part in ("minutes: deploy? ", "Reviewer    ada", "ssh-keygen -Y sign -f KEY -n signoff", f"run {RUN}"):
        assert part in asked
    assert f"signoff/{RUN}" in asked if host.kind == "github" else "merge_request.create" in asked
    changed = host.git(host.origin, "diff", "--name-only", "main", f"signoff/{RUN}").splitlines()
    files = ["proposal.md", "run_id", *(f"statement-{who}.{end}" for who in ("ada", "bob") for end in ("dsse", "txt"))]
    assert changed == [f"project/reports/{each}" for each in files]
    if host.kind == "github":
        refuses_what_nobody_signed(host, trained)
    # GitHub: Bob merges with his key. GitLab: the host's button does, without one.
    commit = host.merged("review", "bob" if host.kind == "github" else None)
    host.git(host.base / "review", "push", "-q", "origin", "main")
    deployed = host.clone("deploy", "--depth=2")
    assert "ada: approve" in host.job("deploy", deployed, **of(commit))
    assert (deployed / "project/deployed/current").is_symlink()
    # The next job finds the release as it was, and nothing waits.
    again = host.retrained("again", finished)
    done = host.shell(again, 'make -s verify DIR="$DIR"')
    assert done.returncode == 0 and "every file as approved by ada (signed)" in done.stdout + done.stderr
    assert "No model waits for review" in host.job("propose", host.clone("nothing"))
    assert host.git(host.origin, "log", "--oneline", "deployed").count("\n") == 0


def refuses_what_nobody_signed(host: Host, trained: Path) -> None:
    """Check that neither a stranger's merge nor an altered artefact is deployed; what a project without keys says."""
    # Why there is nothing to sign is in the text, and the box is there all the same.
    with open(trained / "project/config.yaml", "a", encoding="utf-8") as file:
        file.write("release: {}\n")
    host.shell(trained, f"schedule/hosted.sh prepare {RUN}-2", REVIEWERS="ada").check_returncode()
    text = (trained / "project/reports/proposal.md").read_text("utf-8")
    assert "minutes: deploy? " in text and "There is no statement to sign:\n\n    " in text
    assert "release.allowed_signers is not set" in text
    # The file of signers knows nobody with Eve's key, whoever has signed the statement in the merge.
    commit = host.merged("review", "eve")
    host.git(host.base / "review", "push", "-q", "origin", "main:eve")
    said = host.job("deploy", host.clone("eve-deploys", "-b", "eve", "--depth=2"), True, **of(commit))
    assert "is not signed with a key in signers" in said
    # The artefact holds another report than the one that Ada has signed.
    commit = host.merged("review", "bob")
    host.git(host.base / "review", "push", "-q", "--force", "origin", "main:eve")
    artefact = host.base / f"{RUN}.tar.gz"
    shutil.copy(artefact, host.base / "whole.tar.gz")
    altered(trained, artefact)
    said = host.job("deploy", host.clone("altered", "-b", "eve", "--depth=2"), True, **of(commit))
    assert "reports/final_report.html is not the one that reports/statement-ada.dsse is about" in said
    shutil.copy(host.base / "whole.tar.gz", artefact)


def altered(trained: Path, artefact: Path) -> None:
    """Write the artefact of a run with another byte in its report."""
    folder = shutil.copytree(trained / "project", artefact.parent / "elsewhere", symlinks=True)
    with open(folder / "reports/final_report.html", "ab") as file:
        file.write(b"x")
    subprocess.run(["tar", "-czf", artefact, "-C", folder, "data", "model", "reports", "deployed"], check=True)


def of(commit: str) -> dict[str, str]:
    """Return the variables in which the hosts name a commit."""
    return {"GITHUB_SHA": commit, "CI_COMMIT_SHA": commit}
