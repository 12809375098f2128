"""Sign-off, release, rollback and verification: what is refused, what is noticed, what a kill leaves behind."""

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import CONFIG, Project, program, run
from signoff.base.config import ReleaseConfig
from verify import verify

RULE = ReleaseConfig()
KILLS = 8


def error(done: subprocess.CompletedProcess) -> str:
    """Return the one ERROR line of a command that failed with exit code 1."""
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if " - ERROR - " in line]
    return line


def flip_a_bit(path: Path, seed: int = 0) -> None:
    content = bytearray(path.read_bytes())
    chosen = random.Random(f"{path.name}{seed}")
    content[chosen.randrange(len(content))] ^= 1 << chosen.randrange(8)
    path.write_bytes(bytes(content))


def history(project: Project) -> list[dict]:
    return [json.loads(line) for line in (project.folder / "deployed/history.jsonl").read_text("utf-8").splitlines()]


def current(project: Project) -> Path:
    return (project.folder / "deployed/current").resolve(strict=True)


# Sign-off


def test_the_sign_off_shows_what_the_decision_needs_and_covers_all_that_was_reviewed(released):
    """The same model and the same rows, so nothing has changed since the last release but the champion."""
    shown = released.sign_off().stdout
    release = current(released).name
    for part in ("2024-01-01 00:00:00 … 2024-03-23", "660 in", "Contract    pass", "baseline: mean", "mae_max 10: MAE"):
        assert part in shown
    assert f"none: this very model is deployed as {release}" in shown
    assert "reports/final_report.md" in shown
    assert "unsigned" in shown
    document = released.json("reports/sign_off.json")
    (decision,) = document["decisions"]
    assert (decision["reviewer"], decision["decision"], decision["comment"]) == ("Ada", "approve", "read it")
    assert decision["signed_at"].endswith("Z")
    expected = {"model/model.pkl", "model/model.json", "reports/evaluation_metrics.json", "config.yaml"}
    expected |= {"reports/validation_report.json", "reports/final_report.md", "data/features/features.csv"}
    expected |= {"data/features/features.json", "data/raw/raw_data.csv", "reports/figures/residuals.png"}
    expected |= {"reports/diagnostics.json"}
    assert expected <= set(document["files"])
    assert set(document["code"]) == {"commit", "clean", "sha256"}


def test_the_sign_off_says_what_changed_since_the_last_release(released):
    released.configure(features={"drop": ["riders"]}, model={**CONFIG["model"], "params": {"max_iter": 21}})
    released.snakemake("--keep-going", "all", "reports/final_report.md", check=False)
    shown = released.sign_off().stdout
    for part in ("feature riders: number → none", "parameter max_iter: 20 → 21", "501 → 501 training rows", "MAE then"):
        assert part in shown
    assert "cannot be scored: its columns are gone from the features: riders." in shown


def test_the_code_is_named_by_its_commit_and_whether_it_is_clean(finished):
    def git(*words: str) -> None:
        environment = {
            **os.environ,
            **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        assert run(["git", "-C", str(finished.workflow), *words], env=environment).returncode == 0

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "all")
    finished.sign_off()
    code = finished.json("reports/sign_off.json")["code"]
    assert len(code["commit"]) == 40
    assert code["clean"] is True
    (finished.workflow / "scripts/extra.py").write_text("", encoding="utf-8")
    assert "the workflow's code has changed" in error(finished.script("deploy", check=False))
    finished.sign_off()
    assert finished.json("reports/sign_off.json")["code"]["clean"] is False
    git("commit", "-qm", "empty", "--allow-empty")
    # A commit alone changes no code: it is noted, and does not decide.
    finished.script("deploy")


def test_without_a_terminal_the_command_line_must_say_it_all(finished):
    done = finished.script("sign_off", "--reviewer", "Ada", check=False)
    assert done.returncode == 2
    assert "--decision, --comment" in done.stdout
    assert not (finished.folder / "reports/sign_off.json").exists()


def test_on_a_terminal_it_asks(finished):
    code = "import pty, sys, os; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    command = [sys.executable, "-c", code, sys.executable, str(finished.workflow / "scripts/sign_off.py")]
    done = run(command, cwd=finished.folder, input="\nAda Lovelace\nperhaps\nr\ntoo many trees\n")
    assert done.returncode == 0, done.stdout
    (decision,) = finished.json("reports/sign_off.json")["decisions"]
    assert decision["reviewer"] == "Ada Lovelace"
    assert (decision["decision"], decision["comment"]) == ("reject", "too many trees")


@pytest.mark.parametrize(
    ("path", "command"),
    [("reports/final_report.md", "make report"), ("reports/validation_report.json", "make run, then make report")],
)
def test_what_is_missing_cannot_be_signed(finished, path, command):
    (finished.folder / path).unlink()
    line = error(finished.sign_off(check=False))
    assert f"{path} does not exist" in line
    assert line.endswith(f"Run {command}.")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ("reports/evaluation_metrics.json", "reports/diagnostics.json was computed for a different evaluation than"),
        (
            "reports/diagnostics.json",
            "reports/final_report.md was computed for a different version of reports/diagnostics.json",
        ),
        (
            "data/raw/raw_data.csv",
            "reports/validation_report.json was computed from other data than data/raw/raw_data.csv",
        ),
    ],
)
def test_a_report_of_another_state_of_a_file_cannot_be_signed(finished, changed, told):
    path = finished.folder / changed
    path.write_bytes(path.read_bytes() + b"\n")
    assert told in error(finished.sign_off(check=False))
    assert not (finished.folder / "reports/sign_off.json").exists()


def test_a_project_that_was_copied_or_restored_can_be_signed_whatever_the_times_of_its_files(finished, tmp_path):
    restored = tmp_path / "restored/project"
    shutil.copytree(finished.folder.parent, restored.parent, copy_function=shutil.copyfile)
    for second, path in enumerate(sorted(restored.rglob("*"), reverse=True)):
        os.utime(path, (second, second))
    copy = Project(restored, restored.parent / "signoff")
    copy.sign_off()
    copy.script("deploy")
    copy.script("verify")


def test_a_report_of_another_model_cannot_be_signed_though_it_is_newer(finished):
    report = (finished.folder / "reports/final_report.md").read_text(encoding="utf-8")
    finished.configure(random_state=5, model={**CONFIG["model"], "params": {"max_iter": 21}})
    finished.snakemake("all", "reports/diagnostics.json")
    (finished.folder / "reports/final_report.md").write_text(report, encoding="utf-8")
    (finished.folder / "reports/final_report.html").touch()
    assert "was computed for a different model" in error(finished.sign_off(check=False))


def test_a_model_that_was_judged_beside_another_release_cannot_be_signed(released):
    released.configure(random_state=4, model={**CONFIG["model"], "params": {"max_iter": 22}})
    released.snakemake("all", "reports/final_report.md")
    judged = current(released).name
    released.script("rollback", "--reason", "x")
    line = error(released.sign_off(check=False))
    assert f"compares the model with {judged}, but {current(released).name} is deployed now. Run make run" in line
    released.snakemake("all", "reports/final_report.md")
    released.sign_off()
    released.script("deploy")


@pytest.mark.parametrize("failure", ["threshold", "contract"])
def test_a_failed_model_is_approved_only_with_a_reason_that_stays(finished, failure):
    if failure == "threshold":
        finished.configure(thresholds={"mae_max": 0.1})
    else:
        (finished.folder / "schema.yaml").write_text(
            "columns: {km: {nullable: true, checks: {less_than: 10}}}", "utf-8"
        )
        finished.configure(validation={"schema": "schema.yaml", "on_failure": "warn"})
    finished.snakemake("--keep-going", "all", "reports/final_report.md", check=False)
    line = error(finished.sign_off(check=False))
    assert {"threshold": "mae_max 0.1: MAE is", "contract": "column km: violates 'less_than(10)'"}[failure] in line
    assert "--override REASON" in line
    finished.sign_off("--override", "the old one is worse")
    finished.snakemake("deploy")
    assert history(finished)[-1]["override"] == ["the old one is worse"]
    assert "override: the old one is worse" in finished.script("verify").stdout


# Deploy


def test_snakemake_deploy_refuses_in_one_line_and_releases_nothing(finished):
    missing = finished.snakemake("deploy", check=False)
    assert missing.returncode == 1
    assert missing.stdout.strip().splitlines()[-2].startswith("deploy failed: reports/sign_off.json does not exist")
    finished.script("sign_off", "--reviewer", "Bob", "--decision", "reject", "--comment", "bias in May")
    rejected = finished.snakemake("deploy", check=False)
    assert rejected.returncode == 1
    assert "deploy failed: Bob has rejected this model: bias in May" in rejected.stdout
    finished.sign_off(reviewer="bob")
    finished.configure(model={**CONFIG["model"], "params": {"max_iter": 30}})
    finished.snakemake()
    stale = finished.snakemake("deploy", check=False)
    assert stale.returncode == 1
    assert "deploy failed: model/model.pkl has changed since it was signed" in stale.stdout
    assert not list((finished.folder / "deployed").glob("*/*"))


def test_snakemake_deploy_needs_the_sign_off_and_runs_each_time(released):
    assert "reports/sign_off.json" in released.inputs("deploy")["deploy"]
    before = history(released)
    again = released.snakemake("deploy").stdout
    assert "current already: nothing to do" in again
    assert history(released) == before


def test_one_bit_changed_in_anything_that_was_signed_is_noticed_and_named(finished):
    finished.sign_off()
    files = [*finished.json("reports/sign_off.json")["files"], "reports/sign_off.json"]
    assert len(files) >= 11
    for path in files:
        good = (finished.folder / path).read_bytes()
        for seed in range(5):
            flip_a_bit(finished.folder / path, seed)
            # A flipped config may be no config any more.
            assert path in error(finished.script("deploy", check=False)), path
            (finished.folder / path).write_bytes(good)
            if path != "reports/sign_off.json":
                break
    finished.rewrite("scripts/clean_data.py", "", "# changed\n")
    assert "the workflow's code has changed" in error(finished.script("deploy", check=False))
    assert not (finished.folder / "deployed/current").exists()


def test_the_config_is_covered_by_value_and_by_name(finished):
    finished.sign_off()
    text = (finished.folder / "config.yaml").read_text(encoding="utf-8")
    (finished.folder / "config.yaml").write_text(text + "# changed\n", encoding="utf-8")
    assert "config.yaml has changed since it was signed" in error(finished.script("deploy", check=False))
    (finished.folder / "other.yaml").write_text(text, encoding="utf-8")
    line = error(finished.script("deploy", "--config", "other.yaml", check=False))
    assert "the sign-off does not cover other.yaml" in line


def test_a_release_is_whole_and_the_same_model_is_one_release(released):
    release = current(released)
    first, second = history(released)
    assert release.name == second["release"]
    assert release.name.endswith(second["model_sha256"][:12])
    for name, source in {"model.pkl": "model/model.pkl", "final_report.md": "reports/final_report.md"}.items():
        assert (release / name).read_bytes() == (released.folder / source).read_bytes()
    reports = ("evaluation_metrics.json", "diagnostics.json", "validation_report.json")
    for name in ("model.json", *reports, "sign_off.json"):
        assert (release / name).is_file()
    assert not (release / "raw_data.csv").exists()
    # Back to the first model, and from there the second again: still two releases.
    released.script("rollback", "--reason", "try")
    released.script("deploy")
    assert current(released) == release
    assert {entry["release"] for entry in history(released)} == {first["release"], second["release"]}
    assert len(list((released.folder / "deployed/releases").iterdir())) == 2
    released.script("verify")


def test_old_releases_are_pruned_but_never_the_current_one_nor_the_one_before(released):
    first, second = (entry["release"] for entry in history(released))
    released.configure(release={"keep": 1}, random_state=3, model={**CONFIG["model"], "params": {"max_iter": 25}})
    released.snakemake("all", "reports/final_report.md")
    released.sign_off()
    released.script("deploy")
    kept = {path.name for path in (released.folder / "deployed/releases").iterdir()}
    assert kept == {second, current(released).name}
    assert history(released)[-1]["action"] == "prune"
    assert history(released)[-1]["release"] == first
    released.script("verify")
    line = error(released.script("rollback", "--release", first, "--reason", "x", check=False))
    assert "there is no release" in line
    released.script("rollback", "--reason", "x")
    assert current(released).name == second


# Rollback and verify


def test_rollback_goes_back_with_a_reason_that_stays(released):
    first, second = (entry["release"] for entry in history(released))
    assert "needs a reason" in error(released.script("rollback", check=False))
    released.script("rollback", "--reason", "late at night")
    assert current(released).name == first
    line = history(released)[-1]
    assert (line["action"], line["release"], line["from"]) == ("rollback", first, second)
    assert line["reason"] == ["late at night"]
    assert "no release before" in error(released.script("rollback", "--reason", "more", check=False))
    released.script("rollback", "--reason", "forth", "--release", f"deployed/releases/{second}/")
    assert current(released).name == second
    assert "current release already" in error(
        released.script("rollback", "--reason", "again", "--release", second, check=False)
    )
    assert "there is no release 'nonsense'" in error(
        released.script("rollback", "--reason", "x", "--release", "nonsense", check=False)
    )
    released.script("verify")


def test_a_release_that_was_altered_is_not_gone_back_to(released):
    first = history(released)[0]["release"]
    flip_a_bit(released.folder / f"deployed/releases/{first}/model.pkl")
    before = current(released)
    line = error(released.script("rollback", "--reason", "x", check=False))
    assert f"deployed/releases/{first}/model.pkl was altered" in line
    assert current(released) == before


def test_one_bit_changed_in_anything_deployed_is_noticed_and_named(released):
    deployed = released.folder / "deployed"
    released.script("rollback", "--reason", "x")
    files = [path for path in deployed.glob("releases/**/*") if path.is_file()]
    assert len(files) > 15
    cwd = Path.cwd()
    os.chdir(released.folder)
    try:
        assert verify(RULE)[1] == []
        for path in [*files, deployed / "history.head"]:
            good = path.read_bytes()
            flip_a_bit(path)
            problems = " ".join(verify(RULE)[1])
            assert str(path.relative_to(released.folder)) in problems
            path.write_bytes(good)
        path = deployed / "history.jsonl"
        good = path.read_bytes()
        lines = good.splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            for position in range(len(line) - 1):
                altered = bytearray(line)
                altered[position] ^= 1 << position % 8
                path.write_bytes(b"".join([*lines[: number - 1], bytes(altered), *lines[number:]]))
                (problem,) = verify(RULE)[1]
                # A line break in the middle of a line makes two of it.
                assert f"line {number}" in problem
        for number in range(1, len(lines) + 1):
            path.write_bytes(b"".join([*lines[: number - 1], *lines[number:]]))
            assert "history.jsonl" in verify(RULE)[1][0]
        path.write_bytes(good)
        (files[0].parent / "more.txt").write_text("", encoding="utf-8")
        assert "more.txt does not belong to the release" in verify(RULE)[1][0]
    finally:
        os.chdir(cwd)
    assert "more.txt" in error(released.script("verify", check=False))


def test_a_current_link_that_the_history_does_not_explain_is_noticed(released):
    link = released.folder / "deployed/current"
    first, second = (entry["release"] for entry in history(released))
    released.script("rollback", "--reason", "x")
    released.script("rollback", "--reason", "y", "--release", second)
    link.unlink()
    assert "points to nothing" in error(released.script("verify", check=False))
    link.symlink_to("releases/elsewhere")
    assert "points to elsewhere" in error(released.script("verify", check=False))
    # A release that nobody has approved, made by hand.
    shutil.copytree(released.folder / f"deployed/releases/{first}", released.folder / "deployed/releases/forged")
    link.unlink()
    link.symlink_to("releases/forged")
    assert "points to forged" in error(released.script("verify", check=False))


def test_before_the_first_release_all_is_well_and_there_is_nothing_to_go_back_to(finished):
    assert "nothing is released yet" in finished.script("verify").stdout
    assert "no release before" in error(finished.script("rollback", "--reason", "x", check=False))


def start(project: Project, name: str, *arguments: str) -> subprocess.Popen:
    command = [program("python"), str(project.workflow / f"scripts/{name}.py"), *arguments]
    return subprocess.Popen(command, cwd=project.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_two_deploys_at_once_are_one_release(finished):
    finished.sign_off()
    both = [start(finished, "deploy") for _ in range(4)]
    assert [each.wait(60) for each in both] == [0] * 4, [each.stdout.read() for each in both]
    assert len(list((finished.folder / "deployed/releases").iterdir())) == 1
    assert len(history(finished)) == 1
    finished.script("verify")


def test_kills_of_deploy_and_rollback_leave_a_whole_release_that_verifies(released, monkeypatch):
    monkeypatch.chdir(released.folder)
    chosen, killed = random.Random(4), 0
    # As it was after the first release, so that the second has to be copied each time anew.
    first, second = (entry["release"] for entry in history(released))
    line = Path("deployed/history.jsonl").read_bytes().splitlines()[0]
    Path("deployed/history.jsonl").write_bytes(line + b"\n")
    Path("deployed/history.head").write_text(hashlib.sha256(line).hexdigest() + "\n", encoding="ascii")
    shutil.rmtree(f"deployed/releases/{second}")
    Path("deployed/current").unlink()
    Path("deployed/current").symlink_to(f"releases/{first}")
    shutil.copytree("deployed", "one", symlinks=True)
    # Seconds, changed below so that about every second kill is felt, however busy the machine is by now.
    lasts = 0.1
    for n in range(KILLS):
        if n % 4 == 0:
            shutil.rmtree("deployed")
            shutil.copytree("one", "deployed", symlinks=True)
        with start(released, *(["deploy"] if n % 2 == 0 else ["rollback", "--reason", "x"])) as process:
            process.stdout.readline()
            time.sleep(chosen.uniform(0, lasts))
            process.send_signal(signal.SIGKILL)
            # To its end: then nobody has the stream any more.
            process.stdout.read()
        felt = process.returncode == -signal.SIGKILL
        killed += felt
        lasts *= 1.1 if felt else 0.9
        assert verify(RULE)[1] == [], n
        assert (current(released) / "model.pkl").is_file()
    # Not all of them had ended by then.
    assert killed > KILLS / 5
    released.script("deploy")
    assert current(released).name.endswith(released.json("model/model.json")["sha256"][:12])
    # A process that was killed while it wrote, whatever it was: the next one need not write the same.
    left = Path(f"deployed/.history.jsonl.{socket.gethostname()}-{process.pid}.part")
    left.touch()
    released.script("deploy")
    assert "interrupted" not in released.script("verify").stdout
    assert not list(Path("deployed").rglob("*.part"))


DIE_BEFORE_A_FILE = """
replacing, written = store.replacing, []
def written_so_far(path):
    if path.name == {name!r} and path.with_name({after!r}) in written:
        os.kill(os.getpid(), 9)
    written.append(path)
    return replacing(path)
store.replacing = written_so_far
"""


# The function or the file before which a process dies; of a file, the one that it has written by then.
STEPS = {
    "append": "",
    "history.jsonl": DIE_BEFORE_A_FILE.format(name="history.jsonl", after=".moving"),
    "history.head": DIE_BEFORE_A_FILE.format(name="history.head", after="history.jsonl"),
    "move_to": "",
}


@pytest.mark.parametrize("steps", [[step] * 3 for step in STEPS] + [["move_to", "history.jsonl", "append"]])
def test_a_kill_between_any_two_steps_is_reported_and_repaired(released, steps):
    released.script("rollback", "--reason", "x")
    first = current(released).name
    code = f"import os, sys; sys.path.insert(0, {str(released.workflow / 'scripts')!r})\n"
    code += "import deploy\nfrom signoff.release import store\n"
    dying = released.folder.parent / "dying.py"
    for number, before in enumerate(steps):
        die = STEPS[before] or f"store.Releases.{before} = lambda *_, **__: os.kill(os.getpid(), 9)"
        dying.write_text(f"{code}{die}\ndeploy.main([])", encoding="utf-8")
        done = run([program("python"), dying], cwd=released.folder)
        assert done.returncode == -signal.SIGKILL, done.stdout
        assert current(released).name == first
        interrupted = {"history.head", "move_to"} & {*steps[: number + 1]}
        assert ("was interrupted: run it again" in released.script("verify").stdout) == bool(interrupted)
    released.script("deploy")
    assert current(released).name != first
    assert "interrupted" not in released.script("verify").stdout


# Signatures


@pytest.fixture
def keys(finished) -> dict[str, Path]:
    """Keys made on the spot: Ada's and Bob's stand in allowed_signers, Eve's does not, and Old's has expired."""
    found = {}
    for name in ("ada", "bob", "eve", "old"):
        path = finished.folder / name
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)])
        found[name] = path
    public = {name: path.with_suffix(".pub").read_text(encoding="utf-8") for name, path in found.items()}
    lines = [
        f"ada {public['ada']}",
        f'bob namespaces="signoff" {public["bob"]}',
        f'old valid-before="20200101" {public["old"]}',
        f"ada2 {public['ada']}",
    ]
    (finished.folder / "signers").write_text("".join(lines), encoding="utf-8")
    finished.configure(release={"allowed_signers": "signers"})
    return found


def test_a_signed_release_verifies_and_openssh_itself_agrees(finished, keys):
    from signoff.release.approval import statement

    finished.sign_off("--key", keys["ada"], reviewer="ada")
    finished.snakemake("deploy")
    assert "(signed)" in finished.script("verify").stdout
    document = finished.json("reports/sign_off.json")
    (decision,) = document.pop("decisions")
    del document["sha256"]
    (finished.folder / "ada.sig").write_text(decision.pop("signature"), encoding="utf-8")
    content = statement(document, decision).decode()
    command = ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", "ada", "-n", "signoff", "-s", "ada.sig"]
    assert run(command, cwd=finished.folder, input=content).returncode == 0
    assert run(command, cwd=finished.folder, input=content + " ").returncode != 0
    # A key that is not valid any more: what was released with it before then stays approved.
    signers = (finished.folder / "signers").read_text(encoding="utf-8")
    later = signers.replace("ada ssh", 'ada valid-before="29991231" ssh')
    (finished.folder / "signers").write_text(later, encoding="utf-8")
    finished.script("verify")
    (finished.folder / "signers").write_text(signers.replace("ada ssh", 'ada valid-before="20200101" ssh'), "utf-8")
    assert "not approved under the config" in error(finished.script("verify", check=False))


@pytest.mark.parametrize(
    ("reviewer", "key", "message"),
    [
        ("ada", None, "name your key, --key PATH"),
        ("ada", "eve", "ada may not sign with this key: it is not listed in signers"),
        ("ada", "bob", "ada may not sign with this key"),
        ("eve", "eve", "eve may not sign with this key"),
        ("old", "old", "old may not sign with this key: it is not listed in signers, or not valid at that time"),
        ("ada", "nowhere", "the key nowhere does not exist"),
    ],
)
def test_only_a_key_of_this_reviewer_that_is_valid_may_sign(finished, keys, reviewer, key, message):
    arguments = ["--key", keys.get(key, key)] if key else []
    assert message in error(finished.sign_off(*arguments, reviewer=reviewer, check=False))
    assert not (finished.folder / "reports/sign_off.json").exists()


def resign(project: Project, change) -> None:
    """Rewrite the sign-off as someone would who knows how its digest is made."""
    from signoff.release.approval import serialised

    document = project.json("reports/sign_off.json")
    change(document)
    (project.folder / "reports/sign_off.json").write_bytes(serialised(document))


def other_namespace(project: Project, document: dict) -> None:
    from signoff.release.approval import statement

    (decision,) = document["decisions"]
    command = ["ssh-keygen", "-Y", "sign", "-f", "ada", "-n", "git"]
    content = statement(document, decision).decode()
    done = subprocess.run(command, cwd=project.folder, input=content, capture_output=True, text=True, check=True)
    decision["signature"] = done.stdout


@pytest.mark.parametrize("forgery", ["none", "bit", "comment", "decision", "file", "namespace", "stranger"])
def test_a_forged_sign_off_releases_nothing(finished, keys, forgery):
    finished.sign_off("--key", keys["ada"], reviewer="ada")

    def change(document: dict) -> None:
        (decision,) = document["decisions"]
        if forgery == "none":
            decision["signature"] = None
        elif forgery == "bit":
            lines = decision["signature"].splitlines()
            lines[4] = lines[4][:10] + ("A" if lines[4][10] != "A" else "B") + lines[4][11:]
            decision["signature"] = "\n".join(lines) + "\n"
        elif forgery == "comment":
            decision["comment"] = "another"
        elif forgery == "decision":
            decision["override"] = "because"
        elif forgery == "file":
            (finished.folder / "reports/final_report.md").write_text("all is well", encoding="utf-8")
            document["files"]["reports/final_report.md"] = hashlib.sha256(b"all is well").hexdigest()
        elif forgery == "namespace":
            other_namespace(finished, document)
        else:
            (finished.folder / "signers").write_text("", encoding="utf-8")

    resign(finished, change)
    line = error(finished.script("deploy", check=False))
    expected = {"none": "the sign-off of ada carries no signature", "stranger": "ada may not sign with this key"}
    assert expected.get(forgery, "the signature of ada is not one of this sign-off in the namespace 'signoff'") in line
    assert not (finished.folder / "deployed/current").exists()


def test_two_different_people_must_sign_where_two_are_required(finished, keys):
    finished.configure(release={"allowed_signers": "signers", "required_approvals": 2})
    finished.sign_off("--key", keys["ada"], reviewer="ada")
    assert "so far ada. 1 more must run make sign-off" in error(finished.script("deploy", check=False))
    finished.sign_off("--key", keys["ada"], reviewer="ada")
    assert "so far ada. 1 more" in error(finished.script("deploy", check=False))
    # Under a second name, with the same key.
    finished.sign_off("--key", keys["ada"], reviewer="ada2")
    assert "so far ada, ada2. 1 more" in error(finished.script("deploy", check=False))
    finished.sign_off("--key", keys["bob"], reviewer="bob")
    finished.script("deploy")
    assert history(finished)[-1]["by"] == ["ada", "ada2", "bob"]


def test_unsigned_approvals_of_one_name_count_once(finished):
    finished.configure(release={"required_approvals": 2})
    finished.sign_off()
    finished.sign_off(reviewer=" ada ")
    assert "1 more must run make sign-off" in error(finished.script("deploy", check=False))
    finished.script("sign_off", "--reviewer", "Bob", "--decision", "reject", "--comment", "no")
    assert "Bob has rejected" in error(finished.script("deploy", check=False))
    finished.sign_off(reviewer="Bob")
    finished.script("deploy")


def test_if_signatures_are_required_later_the_same_model_is_released_again(finished, keys):
    finished.configure()
    finished.sign_off()
    finished.script("deploy")
    unsigned = current(finished)
    finished.configure(release={"allowed_signers": "signers"})
    assert "carries no signature" in error(finished.script("verify", check=False))
    finished.sign_off("--key", keys["ada"], reviewer="ada")
    finished.script("deploy")
    assert current(finished) != unsigned
    finished.script("verify")
    assert "carries no signature" in error(finished.script("rollback", "--reason", "x", check=False))
