"""What somebody can try who may write the project's folder, but holds no key: links, swaps, foreign sign-offs."""

import gzip
import hashlib
import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_decision import (
    RULE,
    approve,
    deploy,
    error,
    keys,  # noqa: F401
    project,  # noqa: F401
    release,
    train,
    write,
)

import deploy as deploying
import predict as predicting
import rollback as rolling
import verify as verifying
from conftest import in_process
from signoff.base.files import beside, open_lock, replacing
from signoff.release import kept_data, outbox
from signoff.release.approval import canonical, serialised
from signoff.release.store import Releases, kept_releases
from signoff.release.subject import review
from weekly import _live_outcome

STORE = Releases()


def point(name: str) -> None:
    Path("deployed/current").unlink()
    Path("deployed/current").symlink_to(f"releases/{name}")


# The history


@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_a_history_whose_last_line_break_was_changed_is_continued(project, end):  # noqa: F811
    release(project, 2)
    path = Path("deployed/history.jsonl")
    path.write_bytes(path.read_bytes().removesuffix(b"\n") + end)
    release(project, 3)
    assert verifying.verify(RULE)[1] == [] and len(STORE.history()) == path.read_bytes().count(b"\n") == 2
    assert b"\r" not in path.read_bytes()


# The link


def test_a_link_that_was_set_back_is_refused_by_verify_and_by_predict(project):  # noqa: F811
    first, second = release(project, 2), release(project, 3)
    rolling.rollback("late", RULE)
    for name in (second, "elsewhere"):
        point(name)
        (problem,) = verifying.verify(RULE)[1]
        told = f"deployed/current points to {name}, but the last move in deployed/history.jsonl is to {first}. "
        assert problem == f"{told}Run make rollback RELEASE={first}, which moves the link back."
        assert error(STORE.in_use, STORE.history()) == problem
    # The way on that the message names.
    assert rolling.rollback("set back", RULE, first) == first
    assert verifying.verify(RULE)[1] == [] and STORE.in_use(STORE.history()) == first
    # A link whose name is right, and whose folder is not.
    Path("deployed/current").unlink()
    Path("deployed/current").symlink_to(f"/tmp/{first}")
    assert "points to" in error(STORE.in_use, STORE.history())


def test_the_command_line_of_predict_refuses_a_link_that_was_set_back(project):  # noqa: F811
    release(project, 2)
    second = release(project, 3)
    rolling.rollback("late", RULE)
    point(second)
    write("week.csv", "x\n1\n")

    code, _, log = in_process(predicting, "--input", "week.csv", "--output", "out.csv")
    assert code == 1 and f"deployed/current points to {second}" in log[-1] and not Path("out.csv").exists()


def test_a_move_that_was_killed_is_reported_and_the_new_release_is_in_use(project, monkeypatch):  # noqa: F811
    first = release(project, 2)
    train(3, first)
    approve(project)
    with monkeypatch.context() as patched:
        patched.setattr(Releases, "move_to", lambda self, name: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            deploy(project)
    second = STORE.history()[-1]["release"]
    good, problems = verifying.verify(RULE)
    assert problems == [] and good[-1] == f"current: {first}; a move to {second} was interrupted: run it again"
    assert STORE.in_use(STORE.history()) == second
    # The link leads neither to where the move began, nor to where it ends.
    third = f"20260101T000000Z-{'0' * 12}"
    point(third)
    assert f"deployed/current points to {third}" in verifying.verify(RULE)[1][0]
    point(first)
    marker = Path("deployed/.moving").read_bytes()
    assert deploy(project) == second and "interrupted" not in verifying.verify(RULE)[0][-1]
    # A marker of an earlier move, which somebody has kept.
    rolling.rollback("late", RULE)
    Path("deployed/.moving").write_bytes(marker)
    point(second)
    assert f"deployed/current points to {second}" in verifying.verify(RULE)[1][0]


@pytest.mark.parametrize("forged", ["line", "digest", "secret", "link", "folder"])
def test_a_forged_marker_of_a_move_hides_no_link_that_was_set_back(project, forged, tmp_path):  # noqa: F811
    first, second = release(project, 2), release(project, 3)
    rolling.rollback("late", RULE)
    history = STORE.history()
    marker = Path("deployed/.moving")
    secret = hashlib.sha256(canonical(history[-1])).hexdigest() if forged == "line" else history[-1]["move"]
    if forged == "folder":
        marker.mkdir()
    else:
        write("elsewhere", "0" * 64 if forged == "secret" else f"{secret}\n")
        marker.symlink_to("../elsewhere") if forged == "link" else shutil.copy("elsewhere", marker)
    # Beside a right link it is ignored, and said.
    good, problems = verifying.verify(RULE)
    assert problems == [] and good[-2:] == [
        f"current: {first}",
        "deployed/.moving belongs to no move that was interrupted: it is ignored",
    ]
    point(second)
    told = f"deployed/current points to {second}, but the last move in deployed/history.jsonl is to {first}."
    assert verifying.verify(RULE)[1][0].startswith(told)
    assert error(STORE.in_use, STORE.history()).startswith(told)
    # Nor is it in the way of the next move.
    rolling.rollback("set back", RULE, first)
    assert verifying.verify(RULE)[0][-1] == f"current: {first}" and verifying.verify(RULE)[1] == []


# Foreign and superseded sign-offs


def test_a_sign_off_of_another_project_releases_nothing(project, tmp_path, monkeypatch):  # noqa: F811
    approve(project)
    other = tmp_path.with_name(f"{tmp_path.name}-other")
    shutil.copytree(tmp_path, other, ignore=shutil.ignore_patterns("deployed"))
    monkeypatch.chdir(other)
    told = "the sign-off was made for another project than this one (deployed/project.id). "
    assert error(deploy, project).startswith(told)
    assert not Path("deployed/current").exists()
    # Signed here, it is released here.
    approve(project)
    deploy(project)
    monkeypatch.chdir(tmp_path)
    deploy(project)


def test_a_superseded_sign_off_releases_nothing(project):  # noqa: F811
    train(2)
    approve(project)
    old = Path("reports/sign_off.json").read_bytes()
    first = deploy(project)
    second = release(project, 3)
    train(2)
    Path("reports/sign_off.json").write_bytes(old)
    told = f"the sign-off was made when nothing was deployed, but now {second} is: it was superseded. "
    assert error(deploy, project).startswith(told)
    assert STORE.current() == second
    # Reviewed again, beside the release of today, it may come back.
    train(2, second)
    approve(project)
    assert deploy(project) == first


def both_sign_offs(of: SimpleNamespace, number: int) -> tuple[bytes, bytes]:
    """Train a model, and return two sign-offs of it with the same predecessor, which differ in a figure."""
    model = train(number, STORE.current())
    path, found = Path("reports/sign_off.json"), []
    for figure in ("one", "other"):
        write("reports/figures/residuals.png", figure)
        approve(of)
        found.append(path.read_bytes())
    assert {json.loads(each)["files"]["model/model.pkl"] for each in found} == {model}
    return found[0], found[1]


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_sign_offs_with_the_same_predecessor_one_alone_is_released(project, is_first, monkeypatch):  # noqa: F811
    before = None if is_first else release(project, 2)

    def use(sign_off: bytes, figure: str) -> str:
        Path("reports/sign_off.json").write_bytes(sign_off)
        write("reports/figures/residuals.png", figure)
        return deploy(project)

    def damage(name: str) -> None:
        write(f"deployed/releases/{name}/final_report.md", "damaged")

    one, other = both_sign_offs(project, 3)
    # The first one is killed before the link moves, and its release is damaged.
    with monkeypatch.context() as patched:
        patched.setattr(Releases, "move_to", lambda self, name: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            use(one, "one")
    name = STORE.history()[-1]["release"]
    damage(name)
    assert "it was superseded" in error(use, other, "other")
    again = use(one, "one")
    assert again != name and STORE.current() == again
    if is_first:
        return
    # After a later release and a rollback, the same holds for the rebuilt release.
    release(project, 4)
    train(3, before)
    assert "it was superseded" in error(use, one, "one")
    rolling.rollback("late", RULE, again)
    damage(again)
    assert "it was superseded" in error(use, other, "other")
    third = use(one, "one")
    assert third not in (name, again) and STORE.verify(third, STORE.history())


@pytest.mark.parametrize("content", [b"x", b"", b"\0" * 33, b"\xff" * 32])
def test_a_damaged_identity_is_said_and_replaced_by_the_next_sign_off(project, caplog, content):  # noqa: F811
    approve(project)
    Path("deployed/project.id").write_bytes(content)
    assert "deployed/project.id is damaged. Restore it from a backup, or sign off again" in error(deploy, project)
    Path("deployed/project.id").unlink()
    assert "another project" in error(deploy, project)
    Path("deployed/project.id").write_bytes(content)
    approve(project)
    assert "deployed/project.id is damaged: it is replaced" in caplog.text
    assert deploy(project)


# Read once


@pytest.mark.parametrize("file", ["model.json", "diagnostics.json", "model.pkl"])
def test_what_is_swapped_after_it_was_verified_is_not_used(project, file, monkeypatch):  # noqa: F811
    name = release(project, 2)
    path = Path("deployed/releases", name, file)
    verify = Releases.verify

    def meanwhile(*arguments: object) -> dict:
        document = verify(*arguments)
        path.write_bytes(pickle.dumps("other"))
        return document

    monkeypatch.setattr(Releases, "verify", meanwhile)

    def use() -> None:
        _, document = STORE.approved(name, RULE)
        STORE.model_of(name, document)
        STORE.half_width(name, document)

    told = error(use)
    assert f"{path} was altered" in told or f"{path} is not the file that was written down" in told


# Planted links and folders


def test_a_planted_lock_changes_no_other_file(project, tmp_path):  # noqa: F811
    victim = tmp_path / "victim"
    victim.write_text("precious", encoding="utf-8")
    approve(project)
    Path("deployed").mkdir(exist_ok=True)
    Path("deployed/.lock").unlink(missing_ok=True)
    Path("deployed/.lock").symlink_to(victim)
    assert error(deploy, project) == "deployed/.lock is a link, and must be a file. Delete the link, and run again."
    Path("logs/mlflow").mkdir(parents=True)
    Path("logs/mlflow/.lock").symlink_to(victim)
    assert "is a link" in error(outbox.alone().__enter__)
    assert victim.read_text("utf-8") == "precious"
    # A lock that is held, or holds something, is left as it is.
    os.close(open_lock(victim))
    assert victim.read_text("utf-8") == "precious"


@pytest.mark.parametrize("kind", ["link", "pipe", "large", "folder"])
def test_a_sign_off_is_a_small_file_and_no_link(project, kind, tmp_path):  # noqa: F811
    approve(project)
    path = Path("reports/sign_off.json")
    path.rename("elsewhere")
    make = {
        "link": lambda: path.symlink_to(tmp_path / "elsewhere"),
        "pipe": lambda: os.mkfifo(path),
        "large": lambda: path.write_bytes(b" " * ((1 << 24) + 1)),
        "folder": path.mkdir,
    }
    make[kind]()
    told = {"link": "is a link", "large": "has more than 16,777,216 bytes"}.get(kind, "is not a file")
    assert error(deploy, project).startswith(f"{path} {told}")


def test_nobody_else_reads_a_copy_before_its_digest_was_checked(project, monkeypatch):  # noqa: F811
    modes, copied, packed = [], deploying._copied, gzip.GzipFile
    report = Path("reports/final_report.md")

    def copy(path: Path, place: Path) -> str:
        modes.append(next(each for each in place.parents if each.suffix == ".part").stat().st_mode & 0o777)
        if path == report:
            # As a link to a private file would, which was put there after the digest was checked.
            report.write_text("private", encoding="utf-8")
        return copied(path, place)

    def pack(name: str, mode: str, level: int, file, mtime: int):
        modes.append(os.fstat(file.fileno()).st_mode & 0o777)
        return packed(name, mode, level, file, mtime=mtime)

    approve(project)
    with monkeypatch.context() as patched:
        patched.setattr(deploying, "_copied", copy)
        patched.setattr(kept_data.gzip, "GzipFile", pack)
        assert "changed while it was copied" in error(deploy, project)
    assert modes[:2] == [0o600, 0o600] and set(modes[2:]) == {0o700} and not list(STORE.releases.iterdir())
    folder = STORE.releases / release(project, 2)
    usual = STORE.folder.stat().st_mode
    assert folder.stat().st_mode == usual
    assert {path.stat().st_mode & 0o777 for path in STORE.data.iterdir()} == {usual & 0o666}


def test_the_name_of_a_part_cannot_be_guessed(tmp_path):
    with beside(tmp_path / "file") as one, beside(tmp_path / "file") as other:
        assert one != other and len(one.name) > len(other.name.replace(other.suffixes[-2], ""))
    # Names that were used before are deleted, whatever lies there, and nothing is written through them.
    victim = tmp_path / "victim"
    victim.write_text("precious", encoding="utf-8")
    for name in one.name, one.name.replace(one.suffixes[-2], ""):
        (tmp_path / name).symlink_to(victim)
    with replacing(tmp_path / "file") as new:
        new.write_text("new", encoding="utf-8")
    assert victim.read_text("utf-8") == "precious"


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_lies_in_the_way_of_a_deploy_is_swept_away(project, kind, tmp_path):  # noqa: F811
    approve(project)
    victim = tmp_path / "victim"
    write(str(victim / "precious"), "precious")
    STORE.releases.mkdir(parents=True)
    for left in (STORE.releases / ".x.part", STORE.folder / ".current.part"):
        if kind == "file":
            left.touch()
        elif kind == "folder":
            write(str(left / "deep/file"), "x")
        else:
            left.symlink_to(victim)
    name = deploy(project)
    assert [each.name for each in STORE.releases.iterdir()] == [name]
    assert (victim / "precious").is_file() and verifying.verify(RULE)[1] == []


def test_releases_are_not_written_through_a_link(project, tmp_path):  # noqa: F811
    approve(project)
    (tmp_path / "elsewhere").mkdir()
    Path("deployed").rename("moved")
    Path("deployed").symlink_to("elsewhere")
    assert error(deploy, project).startswith("deployed is a link, and must be a folder.")
    Path("deployed").unlink()
    Path("moved").rename("deployed")
    Path("deployed/current").mkdir()
    assert "deployed/current is a folder, and must be a link." in error(deploy, project)


def test_a_link_in_a_release_does_not_belong_there(project, tmp_path):  # noqa: F811
    name = release(project, 2)
    path = Path("deployed/releases", name, "model.pkl")
    path.rename(tmp_path / "model.pkl")
    path.symlink_to(tmp_path / "model.pkl")
    assert f"{path} is a link, and does not belong to the release" in verifying.verify(RULE)[1][0]


@pytest.mark.parametrize("path", ["../victim", "reports/../victim", "/tmp/victim", "reports/x.html", "data/raw/x"])
def test_a_sign_off_that_names_other_files_copies_nothing(project, path):  # noqa: F811
    document = approve(project)
    document["files"][path] = "0" * 64
    Path("reports/sign_off.json").write_bytes(serialised(document))
    told = error(deploy, project)
    assert "not a file that is reviewed" in told or "files has a wrong value" in told
    assert not STORE.releases.exists()


def test_reports_that_are_a_link_are_not_released(project):  # noqa: F811
    approve(project)
    Path("reports").rename("elsewhere")
    Path("reports").symlink_to("elsewhere")
    assert error(deploy, project).startswith("reports is a link.")


# What a history does not name


def test_a_release_that_an_older_history_does_not_name_is_kept(project, caplog):  # noqa: F811
    release(project, 2)
    backup = {name: Path("deployed", name).read_bytes() for name in ("history.jsonl", "history.head")}
    second = release(project, 3)
    for name, content in backup.items():
        Path("deployed", name).write_bytes(content)
    # A release of the same name is there already.
    write(f"deployed/set-aside/{second}/x", "x")
    first = STORE.history()[-1]["release"]
    rolling.rollback("restored", RULE, first)
    third = release(project, 4)
    kept = sorted(each for each in Path("deployed/set-aside").iterdir() if each.is_dir())
    assert len(kept) == 2 and kept[0].name == second and (kept[1] / "sign_off.json").is_file()
    assert f"no line of deployed/history.jsonl names deployed/releases/{second}: set aside" in caplog.text
    assert kept_releases(STORE.history()) == [first, third]


def test_a_release_that_was_pruned_and_is_still_there_is_deleted(project):  # noqa: F811
    names = [release(project, number, keep=1) for number in (2, 3, 4)]
    write(f"deployed/releases/{names[0]}/model.pkl", "x")
    release(project, 5)
    assert not Path("deployed/releases", names[0]).exists() and not Path("deployed/set-aside").exists()


# Keys


def test_signed_is_said_of_verified_signatures_alone(project, keys):  # noqa: F811
    rule = replace(RULE, allowed_signers=str(keys / "signers"))
    approve(project, "ada", RULE)
    document = json.loads(Path("reports/sign_off.json").read_bytes())
    document["decisions"][0]["signature"] = "x"
    Path("reports/sign_off.json").write_bytes(serialised(document))
    name = deploy(project)
    line = f"release {name}: every file as approved by ada "
    assert (
        f"{line}(unsigned: its signatures are not verified under release.allowed_signers)" in verifying.verify(RULE)[0]
    )
    train(3, name)
    approve(project, "ada", rule, keys / "ada")
    second = deploy(project, **vars(rule))
    assert f"release {second}: every file as approved by ada (signed)" in verifying.verify(rule)[0]
    assert f"{line}(unsigned: its" in " ".join(verifying.verify(rule)[0])


def test_a_release_is_verified_under_the_config_of_whoever_verifies(project, keys, tmp_path):  # noqa: F811
    # Whoever owns the folder has taken release.allowed_signers out of the config: the signature stays in the release.
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(keys / "signers", own)
    release_of_signers = "release: {allowed_signers: own/signers}\n"
    write("own/config.yaml", f"raw_data_source_url: a.csv\ntarget: y\n{release_of_signers}")
    signed = approve(project, "ada", RULE, keys / "ada") and deploy(project)
    words = ["--config", "own/config.yaml"]
    assert "(unsigned: its" in " ".join(in_process(verifying)[2])
    code, _, log = in_process(verifying, *words)
    assert code == 0 and f"[verify] release {signed}: every file as approved by ada (signed)" in " ".join(log)
    unsigned = release(project, 3)
    assert in_process(verifying)[0] == 0
    code, _, log = in_process(verifying, *words)
    assert code == 1 and f"{unsigned} is current, but not approved under the config" in log[-1]


def test_what_messages_and_records_say_decides_nothing(project):  # noqa: F811
    first = release(project, 2)
    failed = {"name": "mae_max", "metric": "MAE", "limit": 1, "value": 1.5, "passed": False}
    train(3, first, thresholds=[failed])
    run = {"at": "2026-01-05T03:00:00Z", "verdict": "passed", "exit_code": 0, "cause": None, "release": "another"}
    broken = {"name": "mae_max", "limit": 1, "value": 2.5, "week": "2026-01-05"}
    live = {"release": first, "rows": 1, "answered": 1, "weeks": [], "alarms": [], "broken": [broken]}
    message = {**run, "events": ["review"], "notified": ["Ada"], "model_sha256": "0" * 64}
    write("logs/runs.jsonl", f"{json.dumps(message)}\n")
    write("reports/verdict.json", {"verdict": "passed"})
    write("reports/live.json", live)
    # Nothing of it passes a model that has failed, or moves a release.
    assert "this model has failed (threshold mae_max" in error(approve, project)
    assert _live_outcome() == {"live": ["live.mae_max"]} and STORE.current() == first
    # A report that was changed on its way to a reader, or in its place, is not the one that is decided on.
    approve(project, override="it must be")
    page = Path("reports/final_report.html")
    page.write_text(page.read_text("utf-8") + "All is well.", encoding="utf-8")
    assert f"{page} has changed since it was signed" in error(deploy, project)
    assert STORE.current() == first and verifying.verify(RULE)[1] == []


def test_predict_as_a_filter_asks_for_what_the_project_asks_for(project, keys):  # noqa: F811

    release(project, 2)
    shutil.copy(keys / "signers", "signers")
    write("config.yaml", "raw_data_source_url: a.csv\ntarget: y\nrelease: {allowed_signers: signers}\n")
    write("week.csv", "x\n1\n")
    for words in ([], ["--required-approvals", "1"]):
        code, _, log = in_process(predicting, "--input", "week.csv", "--output", "-", *words)
        assert code == 1 and "the sign-off of Ada carries no signature, and release.allowed_signers asks" in log[-1]
    Path("config.yaml").rename("other.yaml")
    code, _, log = in_process(predicting, "--input", "week.csv", "--output", "-", "--config", "other.yaml")
    assert code == 1 and "carries no signature" in log[-1]


def test_a_rewritten_history_reaches_no_other_folder(project):  # noqa: F811
    release(project, 2)
    line = STORE.history()[0] | {"release": "../../victim"}
    Path("deployed/history.jsonl").write_bytes(canonical(line) + b"\n")
    Path("deployed/history.head").write_text(hashlib.sha256(canonical(line)).hexdigest() + "\n", encoding="ascii")
    assert "line 1 was altered" in error(STORE.history)


@pytest.mark.parametrize(
    ("path", "content", "told"),
    [
        ("reports/final_report.html", b"\xff\xfe", "it is not UTF-8"),
        ("reports/validation_report.json", b"[" * 100_000, "it is not valid JSON (maximum recursion depth"),
    ],
    ids=["page", "JSON"],
)
def test_a_damaged_file_that_is_reviewed_is_named_in_one_line(project, path, content, told):  # noqa: F811
    Path(path).write_bytes(content)
    assert f"{path} is damaged: {told}" in error(review, project.config, project.paths)
