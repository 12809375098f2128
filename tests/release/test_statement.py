"""A statement that is signed in another folder with ssh-keygen alone, and what is refused when it comes back."""

import json
import os
import re
import shutil
import subprocess
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from test_decision import CONFIG, PAGE, change, project, train, write  # noqa: F401

import deploy as deploying
import sign_off as signing
import statement as stating
import verify as verifying
from conftest import in_process as run
from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError
from signoff.config.settings import read_config
from signoff.release import approval, decision
from signoff.release.approval import check_age, read_sign_off
from signoff.release.envelope import pae, payload_of
from signoff.release.store import Releases

SIGN_OFF = Path("reports/sign_off.json")
STATEMENT = Path("reports/statement-ada.dsse")
SIGNATURE = Path("reports/statement-ada.dsse.sig")
WORDS = ["--reviewer", "ada", "--decision", "approve", "--comment", "Read it."]
RELEASE = "release: {allowed_signers: signers, valid_days: 30}\n"


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    """Keys of Ada, Bob and Eve, and the file that lists those of Ada and Bob."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ada", "bob", "eve"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    lines = [f"{name} {(folder / f'{name}.pub').read_text('utf-8')}" for name in ("ada", "bob")]
    (folder / "signers").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def stated(project, keys, tmp_path) -> Path:  # noqa: F811
    """A project with a statement of Ada; returns the folder of the reviewer, who has nothing but that file."""
    shutil.copy(keys / "signers", "signers")
    write("config.yaml", CONFIG + RELEASE)
    assert run(stating, *WORDS)[0] == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(STATEMENT, elsewhere)
    return elsewhere


def sign(elsewhere: Path, key: Path, namespace: str = "signoff") -> None:
    """Sign the reviewer's copy in the reviewer's folder, and bring both files back."""
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", namespace, STATEMENT.name]
    subprocess.run(command, cwd=elsewhere, check=True, capture_output=True)
    for path in (STATEMENT, SIGNATURE):
        shutil.copy(elsewhere / path.name, path)


def refused(*words: str) -> str:
    """Return why the signature that came back is refused; nothing is written then."""
    before = SIGN_OFF.read_bytes() if SIGN_OFF.exists() else None
    code, _, log = run(signing, "--signature", str(SIGNATURE), *words)
    assert code == 1
    assert (SIGN_OFF.read_bytes() if SIGN_OFF.exists() else None) == before
    return log[-1].removeprefix("ERROR - [sign_off] ")


def stated_value() -> dict:
    """Return the in-toto Statement in the statement's file."""
    return json.loads(payload_of(STATEMENT.read_bytes()))


def rewritten(elsewhere: Path, change) -> None:
    """Change the statement's value in the reviewer's folder, as canonical JSON, before it is signed."""
    value = stated_value()
    change(value)
    content = json.dumps(value, indent=2, ensure_ascii=False).encode()
    (elsewhere / STATEMENT.name).write_bytes(pae(content))


def test_a_reviewer_signs_elsewhere_and_the_model_is_deployed(stated, keys, monkeypatch):
    shutil.copy(PAGE, stated)
    text = STATEMENT.with_suffix(".txt").read_text("utf-8")
    for part in ("Reviewer    ada", "Decision    approve", "Verdict     passed", "Changes     nothing is deployed yet"):
        assert part in text
    made = datetime.fromisoformat(stated_value()["predicate"]["decision"]["signed_at"])
    assert f"Expires     {made + timedelta(days=30):%Y-%m-%dT%H:%M:%SZ}" in text
    check, beginning, command = re.findall(r"^    (\S.+)$", text, flags=re.M)
    assert subprocess.run(["sh", "-c", check], cwd=stated, check=True, capture_output=True).stdout == (
        b"final_report.html: OK\n"
    )
    shown = subprocess.run(["sh", "-c", beginning], cwd=stated, check=True, capture_output=True).stdout
    for part in (b'"reviewer": "ada"', b'"decision": "approve"', b'"comment": "Read it."', b'"verdict": "passed"'):
        assert part in shown
    command = command.replace(" KEY ", f" {keys / 'ada'} ")
    subprocess.run(["sh", "-c", command], cwd=stated, check=True, capture_output=True)
    shutil.copy(stated / SIGNATURE.name, SIGNATURE)
    # What was signed is a fixed text, however late it comes back.
    monkeypatch.setattr(decision, "utc_now", lambda: "2099-01-01T00:00:00Z")
    code, _, log = run(signing, "--signature", str(SIGNATURE))
    assert code == 0 and "INFO - [sign_off] ada: approve" in log and "INFO - [sign_off] next: make deploy" in log
    assert datetime.fromisoformat(read_sign_off(SIGN_OFF)["decisions"][0]["signed_at"]) == made
    assert run(deploying)[0] == 0
    assert any("every file as approved by ada (signed)" in line for line in run(verifying)[2])
    # Another report than the one that the statement is about.
    (stated / "final_report.html").write_text("another", encoding="utf-8")
    assert subprocess.run(["sh", "-c", check], cwd=stated, check=False, capture_output=True).returncode != 0


def test_statements_and_keys_approve_side_by_side(stated, keys):
    sign(stated, keys / "ada")
    words = ["--reviewer", "bob", "--decision", "approve", "--comment", "I, too."]
    assert run(signing, *words, "--key", str(keys / "bob"))[0] == 0
    assert run(signing, "--signature", str(SIGNATURE))[0] == 0
    assert [each["reviewer"] for each in read_sign_off(SIGN_OFF)["decisions"]] == ["bob", "ada"]
    # The same one again changes nothing.
    before = SIGN_OFF.read_bytes()
    assert run(signing, "--signature", str(SIGNATURE))[0] == 0
    assert {*json.loads(before)} == {*json.loads(SIGN_OFF.read_bytes())}
    assert len(read_sign_off(SIGN_OFF)["decisions"]) == 2


def test_an_earlier_statement_does_not_replace_a_later_decision(stated, keys, monkeypatch):
    sign(stated, keys / "ada")
    later = f"{datetime.now(UTC) + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    monkeypatch.setattr(decision, "utc_now", lambda: later)
    words = [*WORDS[:2], "--decision", "reject", "--comment", "I was wrong."]
    assert run(signing, *words, "--key", str(keys / "ada"))[0] == 0
    assert refused() == f"ada has decided again at {later}, after {STATEMENT}. Write another statement: make statement."


@pytest.mark.parametrize("place", range(0, 1200, 97))
def test_no_changed_byte_of_a_statement_is_taken(stated, keys, place):
    sign(stated, keys / "ada")
    content = bytearray(STATEMENT.read_bytes())
    content[place % len(content)] ^= 1
    STATEMENT.write_bytes(content)
    assert refused()


@pytest.mark.parametrize(
    ("part", "changes", "told"),
    [
        ("predicate", {"project": "0" * 32}, "was written for another project than this one"),
        (
            "predicate",
            {"predecessor": "20260101T000000Z-0123456789ab"},
            "was written when 20260101T000000Z-0123456789ab was deployed, but now nothing is: it was superseded",
        ),
        (
            "predicate",
            {"code": {"commit": None, "clean": None, "sha256": "0" * 64}},
            "the workflow's code is not",
        ),
        ("predicate", {"failures": ["x"], "verdict": "failed"}, "is not the one of these files"),
        ("predicate", {"version": 4}, "is not a statement: it has the version 4"),
        ("predicate", {"alarms": [{"name": "a", "feature": None, "sentence": "x"}]}, "is not the one of these files"),
        ("predicate", {"more": 1}, "it is not the text that make statement has written"),
        ("predicate", {"decision": {}}, "is not a statement: a key is missing"),
        ("subject", [], "model/model.pkl is not the one that reports/statement-ada.dsse is about"),
        ("decision", {"reviewer": "bob"}, "bob may not sign with this key: it is not listed in signers"),
        ("decision", {"more": 1}, "it is not the text that make statement has written"),
        ("decision", {"signed_at": "2099-01-01T00:00:00Z"}, "which is in the future"),
        (
            "decision",
            {"signed_at": "2026-01-05T03:00:00Z"},
            "ada's approval of 2026-01-05T03:00:00Z expired on 2026-02-04T03:00:00Z (release.valid_days: 30). Sign off "
            "again: make sign-off.",
        ),
        ("decision", {"valid_until": "2026-02-04T03:00:00Z"}, "expired on 2026-02-04T03:00:00Z"),
        ("_type", "https://in-toto.io/Statement/v0.1", "it is not the text that make statement has written"),
    ],
)
def test_what_ada_has_signed_about_something_else_is_refused(stated, keys, part, changes, told):
    def alter(value: dict) -> None:
        inner = value["predicate"] if part == "decision" else value
        inner[part] = inner[part] | changes if isinstance(changes, dict) else changes

    rewritten(stated, alter)
    sign(stated, keys / "ada")
    assert told in refused()


def test_a_superseded_statement_is_refused(stated, keys):
    sign(stated, keys / "ada")
    train(2)
    told = refused()
    assert told.startswith("model/model.pkl is not the one that reports/statement-ada.dsse is about.")
    assert told.endswith("Read the report again. Write another statement: make statement.")


def test_a_key_that_is_repeated_is_refused_although_it_was_signed(stated, keys):
    content = payload_of(STATEMENT.read_bytes())
    twice = content.replace(b'"comment":', b'"comment":"No.","comment":', 1)
    (stated / STATEMENT.name).write_bytes(pae(twice))
    sign(stated, keys / "ada")
    assert "is not a statement: a key is repeated" in refused()


def test_a_failed_model_needs_a_reason_in_its_statement_too(stated, keys):
    failed = {"name": "mae_max", "metric": "MAE", "limit": 1, "value": 1.5, "passed": False}
    change("reports/evaluation_metrics.json", thresholds=[failed])
    assert "this model has failed" in run(stating, *WORDS)[2][-1]
    assert run(stating, *WORDS, "--override", "late")[0] == 0
    shutil.copy(STATEMENT, stated)
    assert "Override    late" in STATEMENT.with_suffix(".txt").read_text("utf-8")
    rewritten(stated, lambda value: value["predicate"]["decision"].update(override=None))
    sign(stated, keys / "ada")
    assert "this model has failed" in refused()


@pytest.mark.parametrize(
    ("key", "namespace", "told"),
    [
        ("ada", "git", "the signature of ada is not one of this sign-off in the namespace 'signoff'"),
        ("bob", "signoff", "ada may not sign with this key: it is not listed in signers"),
        ("eve", "signoff", "ada may not sign with this key: it is not listed in signers"),
    ],
)
def test_a_signature_is_by_an_allowed_key_of_the_reviewer_for_sign_offs(stated, keys, key, namespace, told):
    sign(stated, keys / key, namespace)
    assert told in refused()


@pytest.mark.parametrize("path", [STATEMENT, SIGNATURE], ids=["statement", "signature"])
def test_what_comes_back_is_a_small_file_and_no_link(stated, keys, path):
    sign(stated, keys / "ada")
    path.rename("elsewhere.bin")
    assert f"{path} does not exist" in refused()
    path.symlink_to(Path("elsewhere.bin").resolve())
    assert refused() == f"{path} is a link. Replace it with what it points to."
    path.unlink()
    os.mkfifo(path)
    assert f"{path} is not a file" in refused()
    path.unlink()
    path.write_bytes(b" " * (1 << 20) + b" ")
    assert f"{path} has more than 1,048,576 bytes" in refused()


def test_a_decision_that_has_expired_is_not_deployed_and_a_release_stays_approved(stated, keys, monkeypatch):
    sign(stated, keys / "ada")
    assert run(signing, "--signature", str(SIGNATURE))[0] == 0
    later = datetime.now(UTC) + timedelta(days=31)
    monkeypatch.setattr(approval, "utc_now", lambda: f"{later:%Y-%m-%dT%H:%M:%SZ}")
    code, _, log = run(deploying)
    assert code == 1 and re.search(r"ada's approval of \S+Z expired on \S+Z \(release.valid_days: 30\)", log[-1])
    assert Releases().current() is None
    with monkeypatch.context() as today:
        today.setattr(approval, "utc_now", lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
        assert run(deploying)[0] == 0
    # The same again is nothing to do, and a release does not expire.
    assert run(deploying)[0] == 0 and run(verifying)[0] == 0
    Releases().approved(Releases().current(), read_config()[0].release)


def test_who_trains_the_model_may_reject_it_but_not_approve_it(stated, keys):
    Path("signers").write_text(Path("signers").read_text("utf-8").replace("ada ", "ada,ada@work ", 1), encoding="utf-8")
    write("config.yaml", CONFIG + RELEASE.replace("}", ", separate_trainer: [Ada@work]}"))
    told = "ada trains the model, and may not approve it (release.separate_trainer)."
    assert told in run(stating, *WORDS)[2][-1]
    assert told in run(signing, *WORDS, "--key", str(keys / "ada"))[2][-1]
    words = ["--reviewer", "bob", *WORDS[2:]]
    assert run(stating, *words)[0] == 0
    assert "Trained by  Ada@work, who may not approve" in Path("reports/statement-bob.txt").read_text("utf-8")
    assert run(signing, *words, "--key", str(keys / "bob"))[0] == 0
    assert run(deploying)[0] == 0
    # What was approved before the rule is checked, too.
    rule = read_config()[0].release
    Releases().approved(Releases().current(), rule)
    with pytest.raises(TaskError, match="bob trains the model, and may not approve it"):
        Releases().approved(Releases().current(), replace(rule, separate_trainer=["BOB"]))
    words = ["--reviewer", "ada", "--decision", "reject", "--comment", "Not yet."]
    assert run(signing, *words, "--key", str(keys / "ada"))[0] == 0


def test_age_ends_with_the_last_second_of_the_last_day():
    one = {"reviewer": "Ada", "decision": "reject", "signed_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    check_age([one], ReleaseConfig(valid_days=1))
    old = one | {"signed_at": "2026-01-05T03:00:00Z"}
    check_age([old], ReleaseConfig())
    with pytest.raises(TaskError, match="Ada's rejection of 2026-01-05T03:00:00Z expired on 2026-01-06T03:00:00Z"):
        check_age([old], ReleaseConfig(valid_days=1))


def test_signatures_need_a_list_and_bring_their_decision(stated, keys):
    sign(stated, keys / "ada")
    code, said, _ = run(signing, "--signature", str(SIGNATURE), "--reviewer", "bob")
    assert code == 2 and "give --signature without --reviewer" in said
    code, _, log = run(signing, "--signature", str(STATEMENT))
    assert code == 1 and "its name must be the statement's name and .sig" in log[-1]
    write("config.yaml", CONFIG)
    assert "release.allowed_signers is not set" in refused()
    assert "release.allowed_signers is not set" in run(stating, *WORDS)[2][-1]


# In a merge


def git(*words: object) -> str:
    """Run git with fixed names, and without the settings of whoever runs the tests; return what it says."""
    quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    names = {f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | quiet | names).stdout


def merge(keys: Path, key: str | None, *more: object) -> None:
    """Merge the branch into main as someone with this key does, or with none."""
    signed = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={keys / key}"] if key else []
    git("checkout", "-q", "main")
    git(*signed, "merge", "-q", "--no-ff", "-m", "Merge", *(["-S"] if key else []), "branch", *more)


@pytest.fixture
def proposed(stated, keys, tmp_path) -> Path:
    """A clone of a bare repository with a branch that holds the statement of Ada and her signature."""
    sign(stated, keys / "ada")
    bare = tmp_path / "origin.git"
    git("init", "-q", "--bare", "-b", "main", bare)
    git("init", "-q", "-b", "main", ".")
    git("add", "config.yaml")
    git("commit", "-q", "-m", "Config")
    git("checkout", "-q", "-b", "branch")
    git("add", "-f", STATEMENT, SIGNATURE)
    git("commit", "-q", "-m", "A decision")
    git("push", "-q", bare, "main", "branch")
    return bare


def of_commit(commit: str = "HEAD") -> tuple[int, str]:
    """Take the decisions of a commit; return the exit code and the last line."""
    code, _, log = run(signing, "--commit", commit)
    return code, log[-1].removeprefix("ERROR - [sign_off] ")


def test_a_merge_signed_by_an_allowed_person_brings_the_decision(proposed, keys):
    merge(keys, "bob")
    git("push", "-q", proposed, "main")
    git("reset", "-q", "--hard", "HEAD^1")
    # What lies in the folder does not count.
    for path in (STATEMENT, SIGNATURE):
        path.unlink(missing_ok=True)
    git("fetch", "-q", proposed, "main")
    assert of_commit("FETCH_HEAD")[0] == 0
    (decision,) = read_sign_off(SIGN_OFF)["decisions"]
    assert (decision["reviewer"], decision["comment"]) == ("ada", "Read it.")
    assert run(deploying)[0] == 0


@pytest.mark.parametrize(("key", "told"), [(None, "no signature"), ("eve", "eve|principal|Good")])
def test_a_merge_by_anybody_else_brings_nothing(proposed, keys, key, told):
    merge(keys, key)
    code, line = of_commit()
    assert code == 1 and re.match(f"the commit HEAD is not signed with a key in signers .*({told})", line), line
    assert not SIGN_OFF.exists()


def test_a_merge_brings_signed_statements_as_files_and_nothing_else(proposed, keys):
    assert "git knows no commit -x in this folder" in run(signing, "--commit=-x")[2][-1]
    # A merge that someone has changed while they made it: the statement, or a link in its place.
    for alter, told in (
        (
            lambda: STATEMENT.write_bytes(STATEMENT.read_bytes().replace(b"Read it.", b"Read on.")),
            "the signature of ada",
        ),
        (lambda: (STATEMENT.unlink(), STATEMENT.symlink_to("other")), f"{STATEMENT} is not a file in the commit HEAD"),
        (lambda: STATEMENT.unlink(), f"{STATEMENT} is not a file in the commit HEAD"),
        (lambda: SIGNATURE.unlink(), "the commit HEAD brings no signature of a statement"),
    ):
        merge(keys, "bob", "--no-commit")
        alter()
        git("add", "-u")
        git("-c", "gpg.format=ssh", "-c", f"user.signingKey={keys / 'bob'}", "commit", "-q", "-S", "-m", "Merge")
        code, line = of_commit()
        assert code == 1 and told in line, line
        git("reset", "-q", "--hard", "HEAD^1")
    code, said, _ = run(signing, "--commit", "HEAD", "--reviewer", "bob")
    assert code == 2 and "give --commit without --reviewer" in said
    assert not SIGN_OFF.exists()


def planted(name: str, kind: str, content: bytes) -> None:
    """Put an object with another content in the place of one in the repository, as whoever owns its files can."""
    path = Path(".git/objects", name[:2], name[2:])
    path.chmod(0o600)
    path.write_bytes(zlib.compress(f"{kind} {len(content)}\0".encode() + content))


def test_what_a_repository_says_of_itself_does_not_count(proposed, keys, monkeypatch):
    merge(keys, "bob")
    signed = git("rev-parse", "HEAD").strip()
    merged = {path: git("rev-parse", f"HEAD:{path}").strip() for path in (STATEMENT, SIGNATURE)}
    # Someone else's commit without a signature, in whose place git shows the one that bob has signed.
    git("commit", "-q", "--allow-empty", "-m", "Nothing")
    git("replace", "HEAD", signed)
    assert "is not signed with a key in signers" in of_commit()[1]
    git("replace", "-d", "HEAD")
    # Settings of the repository that would take any signature for a good one.
    yes = Path("yes").absolute()
    yes.write_text("#!/bin/sh\necho 'Good \"signoff\" signature for bob with ED25519 key SHA256:x'\n", encoding="utf-8")
    yes.chmod(0o700)
    merge_of_eve = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={keys / 'eve'}", "commit", "-q", "-S", "--amend"]
    git(*merge_of_eve, "--allow-empty", "-m", "Nothing")
    for key in ("gpg.program", "gpg.ssh.program", "gpg.openpgp.program"):
        git("config", key, yes)
    everybody = Path("everybody").absolute()
    everybody.write_text("bob " + (keys / "eve.pub").read_text("utf-8"), encoding="utf-8")
    git("config", "gpg.ssh.allowedSignersFile", everybody)
    assert "is not signed with a key in signers" in of_commit()[1]
    # A graft, which names other parents, and a variable that names another repository.
    git("reset", "-q", "--hard", signed)
    Path(".git/info/grafts").write_text(f"{signed} {signed}\n", encoding="utf-8")
    monkeypatch.setenv("GIT_DIR", str(proposed))
    assert of_commit(signed)[0] == 0
    monkeypatch.delenv("GIT_DIR")
    # An object with another content in the place of the one that the commit names.
    planted(merged[SIGNATURE], "blob", b"other")
    assert f"the object {merged[SIGNATURE]} of the repository is missing or damaged" in of_commit(signed)[1]


def test_a_statement_has_a_name_of_plain_letters(stated):
    words = ["--reviewer", "../ada b", *WORDS[2:]]
    assert run(stating, *words)[0] == 0
    assert Path("reports/statement-..-ada-b.dsse").is_file() and Path("reports/statement-..-ada-b.txt").is_file()
