"""The layout of docs/threat-model.md with real accounts: one deploys, another one runs the schedule."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Project, copy_all, program, rides

# ssh-keygen runs only for accounts that have a name: two that every machine has. The group is one that no account has.
DEPLOYER, SCHEDULED, GROUP = 1, 65534, 64003
# As root's Python may be where root alone may read. It writes only what is its own.
READS_ALL = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
OWN = ["data", "model", "reports", "logs", ".snakemake"]


def run(project: Project, who: int, *words: object) -> subprocess.CompletedProcess:
    """Run a command in the project's folder as one of the accounts; its two streams come back as one text."""
    groups = f"--groups={GROUP}" if who == DEPLOYER else "--clear-groups"
    group = GROUP if who == SCHEDULED else who
    command = ["setpriv", f"--reuid={who}", f"--regid={group}", groups, *READS_ALL, *map(str, words)]
    home = project.folder.parent / f"home-{who}"
    return subprocess.run(
        command,
        cwd=project.folder,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )


def script(project: Project, who: int, name: str, *words: object, code: int = 0) -> str:
    """Run a command line of the workflow as one of the accounts, as make does; return what it says."""
    done = run(project, who, program("python"), project.workflow / f"scripts/{name}.py", *words)
    assert done.returncode == code, done.stdout
    return done.stdout


def sign_off(project: Project, **changes: str) -> str:
    said = {"reviewer": "ada", "decision": "approve", "comment": "read it", "key": f"../home-{DEPLOYER}/key", **changes}
    return script(project, DEPLOYER, "sign_off", *(f"--{name}={value}" for name, value in said.items()))


def signed_elsewhere(signature: Path, key: Path) -> None:
    """Sign the statement beside a signature with a key in another folder, and bring the signature back."""
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with tempfile.TemporaryDirectory() as elsewhere:
        copy = Path(shutil.copy(signature.with_suffix(""), elsewhere))
        subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", "signoff", copy], check=True)
        shutil.copy(f"{copy}.sig", signature)
    os.chown(signature, SCHEDULED, GROUP)


def owned(path: Path, who: int, group: int | None = None) -> None:
    for each in (path, *path.rglob("*")):
        os.chown(each, who, who if group is None else group, follow_symlinks=False)


@pytest.fixture
def two_accounts(finished_run) -> Iterator[Project]:
    """A reviewed project in the layout of the threat model; nothing is deployed."""
    if os.geteuid() != 0:
        pytest.skip("needs root: other accounts")
    with tempfile.TemporaryDirectory(prefix="signoff-accounts-") as folder:
        Path(folder).chmod(0o755)
        project = finished_run.copy(Path(folder, "copy"))
        # Its own files, not links to those that all projects share.
        shutil.rmtree(project.workflow)
        copy_all(finished_run.workflow, project.workflow)
        for each in (project.folder.parent, project.folder, project.workflow):
            each.chmod(0o755)
        for who in (DEPLOYER, SCHEDULED):
            (project.folder.parent / f"home-{who}").mkdir()
            os.chown(project.folder.parent / f"home-{who}", who, who)
        named = "import pandas, pwd; [pwd.getpwuid(each) for each in (1, 65534)]"
        if run(project, SCHEDULED, sys.executable, "-c", named).returncode:
            pytest.skip("the accounts 1 and 65534 have no names here, or cannot run this Python")
        project.configure(release={"allowed_signers": "signers"})
        key = project.folder.parent / f"home-{DEPLOYER}/key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        (project.folder / "signers").write_text(f"ada {key.with_suffix('.pub').read_text('utf-8')}", encoding="utf-8")
        (project.folder / "deployed").mkdir()
        for path in (project.folder, project.workflow, key.parent):
            owned(path, DEPLOYER)
        for name in OWN:
            owned(project.folder / name, SCHEDULED, GROUP)
            (project.folder / name).chmod(0o755)
        # Sign-offs are put there.
        (project.folder / "reports").chmod(0o2775)
        yield project


def test_one_account_runs_the_schedule_and_another_one_deploys(two_accounts):
    project, deployed = two_accounts, two_accounts.folder / "deployed"
    # Ada's key is on another machine: a statement goes there, and its signature comes back through a folder that the
    # other account may write. It signs in her name, too.
    decision = ["--reviewer=ada", "--decision=approve", "--comment=read it"]
    assert "Permission denied" in script(project, SCHEDULED, "statement", *decision, code=1)
    script(project, DEPLOYER, "statement", *decision)
    signature = project.folder / "reports/statement-ada.dsse.sig"
    for who, code, told in ((SCHEDULED, 1, "ada may not sign with this key"), (DEPLOYER, 0, "next: make deploy")):
        signed_elsewhere(signature, project.folder.parent / f"home-{who}/key")
        assert told in script(project, DEPLOYER, "sign_off", f"--signature={signature}", code=code)
    script(project, DEPLOYER, "deploy")
    assert "(signed)" in script(project, DEPLOYER, "verify")
    first = os.readlink(deployed / "current")

    # New data: every task runs as the scheduled account, and the model is judged beside the release.
    rides(660).to_csv(project.folder / "rides.csv", index=False)
    script(project, SCHEDULED, "weekly", "--cores=2")
    metrics = project.json("reports/evaluation_metrics.json")
    assert metrics["champion"]["release"] == Path(first).name and "test" in metrics["champion"]
    owners = {path.stat().st_uid for name in OWN for path in (project.folder / name).rglob("*") if path.is_file()}
    assert owners == {SCHEDULED, DEPLOYER}
    assert json.loads((project.folder / "logs/runs.jsonl").read_text("utf-8"))["verdict"] == "passed"
    for who in (SCHEDULED, DEPLOYER):
        assert "All is well" in script(project, who, "verify") and "Release" in script(project, who, "status")
    words = ["--input=rides.csv", "--output=reports/scored.csv"]
    assert "wrote predictions" in script(project, SCHEDULED, "predict", *words)
    assert "has changed since it was signed" in script(project, DEPLOYER, "deploy", code=1)
    assert os.readlink(deployed / "current") == first
    assert {path.stat().st_uid for path in deployed.rglob("*")} == {DEPLOYER}


def test_the_scheduled_account_releases_nothing(two_accounts):
    project, folder = two_accounts, two_accounts.folder
    sign_off(project)
    script(project, DEPLOYER, "deploy")
    history = (folder / "deployed/history.jsonl").read_bytes()
    config = (folder / "config.yaml").read_bytes()
    # It changes nothing that says who may release, and nothing that is deployed.
    for words in (
        ["mv", "config.yaml", "other.yaml"],
        ["cp", "rides.csv", "config.yaml"],
        ["cp", "rides.csv", "signers"],
        ["mv", "deployed", "elsewhere"],
        ["ln", "-sfn", "/tmp", "deployed/current"],
        ["cp", "rides.csv", "deployed/history.jsonl"],
        ["cp", "rides.csv", "../signoff/Snakefile"],
        ["touch", "config.yml"],
        ["mv", "../project", "../elsewhere"],
    ):
        assert run(project, SCHEDULED, *words).returncode != 0, words
    told = f"{folder}/config.yaml belongs to another account (uid {DEPLOYER}), which could change who may release."
    assert told in script(project, SCHEDULED, "deploy", code=1)
    assert told in script(project, SCHEDULED, "rollback", "--reason=mine", code=1)

    # What it may write is not released without a signature, and leads the deployer to no other file.
    victim = folder.parent / f"home-{DEPLOYER}/precious"
    victim.write_text("precious", encoding="utf-8")
    forged = project.json("reports/sign_off.json") | {"verdict": "failed", "failures": ["x"]}
    run(project, SCHEDULED, sys.executable, "-c", "open('model/model.pkl', 'ab').write(b'x')")
    (folder / "reports/sign_off.json").write_text(json.dumps(forged), encoding="utf-8")
    assert "was altered after it was signed" in script(project, DEPLOYER, "deploy", code=1)
    for name in ("logs/deploy.log", "logs", ".snakemake", "reports/sign_off.json"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(victim if path.suffix else victim.parent)
        os.chown(path, SCHEDULED, GROUP, follow_symlinks=False)
        script(project, DEPLOYER, "deploy", code=1)
    run(project, SCHEDULED, "sh", "-c", "mkdir x; cp signers reports/x")
    assert victim.read_text("utf-8") == "precious" and sorted(each.name for each in victim.parent.iterdir()) == [
        *("key", "key.pub", "precious"),
    ]
    assert (folder / "deployed/history.jsonl").read_bytes() == history
    assert (folder / "config.yaml").read_bytes() == config
    assert "All is well" in script(project, DEPLOYER, "verify")


def test_a_deployer_reads_no_policy_that_somebody_else_owns(two_accounts):
    project = two_accounts
    sign_off(project)
    for path in (project.folder, project.folder / "config.yaml", project.folder / "signers"):
        os.chown(path, SCHEDULED, SCHEDULED)
        told = f"{path} belongs to another account (uid {SCHEDULED}), which could change who may release."
        assert told in script(project, DEPLOYER, "deploy", code=1)
        os.chown(path, DEPLOYER, DEPLOYER)
    script(project, DEPLOYER, "deploy")
