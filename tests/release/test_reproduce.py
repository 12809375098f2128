"""A release keeps its training data, and can be trained again from them."""

import gzip
import hashlib
import json
import shutil
import signal
from pathlib import Path

import pytest

import reproduce
import verify
from conftest import in_process, program, run
from signoff.base.errors import TaskError
from signoff.release import kept_data
from signoff.release.form import is_line
from signoff.release.store import Releases

STORE = Releases()
PATHS = ["data/features/features.csv", "data/features/features.json"]


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def signed(*contents: bytes) -> dict:
    """Write the features and their description; return what a sign-off says of them."""
    files = {}
    for path, content in zip(PATHS, contents, strict=True):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)
        files[path] = sha(content)
    return {"files": {"model/model.pkl": "0" * 64, **files}}


def deployed(release: str, data: list[str]) -> dict:
    return {"action": "deploy", "release": release, "data": data}


def state(folder: Path) -> dict[str, bytes]:
    """Return each file of a folder but for logs."""
    found = [path for path in folder.rglob("*") if path.is_file() and "logs" not in path.parts]
    return {str(path): path.read_bytes() for path in found}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    STORE.folder.mkdir()
    return tmp_path


def test_a_release_is_trained_again_and_has_the_same_bytes_or_what_differs_is_named(released, monkeypatch):
    monkeypatch.chdir(released.folder)
    first, second = (line["release"] for line in STORE.history())
    before = state(released.folder)
    code, _, log = in_process(reproduce)
    assert code == 0, log
    assert f"{second}: trained again, the model has the same bytes" in log[-2]
    assert state(released.folder) == before

    def train_other(config, features, model, threads):
        shutil.copy(f"deployed/releases/{first}/model.pkl", model)
        metadata = released.json(f"deployed/releases/{first}/model.json")
        metadata["versions"]["pandas"] = "99.0"
        model.with_suffix(".json").write_text(json.dumps(metadata), "utf-8")

    monkeypatch.setattr(reproduce, "_train_again", train_other)
    code, _, log = in_process(reproduce, "--release", f"deployed/releases/{second}/")
    then = released.json("deployed/current/model.json")["versions"]["pandas"]
    assert code == 1
    assert f"{second}: trained again, the model has other bytes" in log[-1]
    assert f"pandas {then} → 99.0." in log[-1].replace(", the workflow's code", "")
    assert "numpy" not in log[-1]
    most = float(log[-1].partition("held-out rows differ by ")[2].split()[0])
    assert 0 < most < 100
    assert state(released.folder) == before
    # The rest is of the kept files: one bit, then no file.
    (place,) = Path("deployed/data").glob(f"{STORE.sign_off(second, STORE.history())['files'][PATHS[0]]}*")
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 4
    place.write_bytes(content)
    for expected in ("damaged|altered", "gone"):
        for module in (reproduce, verify):
            code, _, log = in_process(module)
            assert code == 1
            assert str(place) in log[-1]
            assert any(each in log[-1] for each in expected.split("|")), log[-1]
        place.unlink(missing_ok=True)


def test_a_release_without_its_data_says_so_and_verifies(finished, monkeypatch):
    finished.configure(release={"keep_data": False})
    finished.sign_off()
    finished.script("deploy")
    monkeypatch.chdir(finished.folder)
    assert not STORE.data.exists()
    code, _, log = in_process(reproduce)
    assert code == 1
    assert log[-1].endswith("keeps no training data (release.keep_data), so it cannot be reproduced.")
    assert in_process(verify)[0] == 0


def test_a_kill_between_the_data_and_the_release_leaves_nothing_wrong(finished, monkeypatch):
    finished.sign_off()
    monkeypatch.chdir(finished.folder)
    code = f"import os, sys; sys.path.insert(0, {str(finished.workflow / 'scripts')!r})\nimport deploy\n"
    code += "deploy._copy_release = lambda *_: os.kill(os.getpid(), 9)\ndeploy.main([])"
    dying = finished.folder.parent / "dying.py"
    dying.write_text(code, encoding="utf-8")
    for _ in range(2):
        assert run([program("python"), dying]).returncode == -signal.SIGKILL
        assert len(list(STORE.data.iterdir())) == 2
        assert in_process(verify)[0] == 0
    finished.script("deploy")
    (line,) = STORE.history()
    assert sorted(line["data"]) == sorted(path.name for path in STORE.data.iterdir())
    assert not STORE.set_aside.exists()
    code, _, log = in_process(verify)
    assert code == 0
    assert any("training data: 2 files" in each for each in log)


def test_releases_of_the_same_data_share_them_until_the_last_one_is_pruned(folder):
    document = signed(b"x,y\n1,2\n", b"{}")
    names = kept_data.keep(document, None, STORE)
    before = {path: path.stat().st_ino for path in STORE.data.iterdir()}
    assert kept_data.keep(document, True, STORE) == names
    assert {path: path.stat().st_ino for path in STORE.data.iterdir()} == before
    assert names == [f"{sha(b'x,y' + bytes([10]) + b'1,2' + bytes([10]))}.csv.gz", f"{sha(b'{}')}.json.gz"]
    assert gzip.decompress((STORE.data / names[0]).read_bytes()) == b"x,y\n1,2\n"
    others = kept_data.keep(signed(b"x,y\n3,4\n", b"{}"), None, STORE)
    history = [deployed("a", names), deployed("b", names), deployed("c", others)]
    assert kept_data.needed(history)[names[0]] == ["a", "b"]
    for pruned, left in (("a", {*names, *others}), ("b", {*others})):
        history.append({"action": "prune", "release": pruned})
        kept_data.tidy(STORE, history)
        assert {path.name for path in STORE.data.iterdir()} == left
    # What no line names may belong to a newer history.
    kept_data.tidy(STORE, [])
    assert {path.name for path in STORE.set_aside.iterdir()} == {*others}


def test_a_damaged_file_is_written_again_and_what_killed_processes_left_is_deleted(folder):
    document = signed(b"x,y\n1,2\n", b"{}")
    names = kept_data.keep(document, None, STORE)
    place = STORE.data / names[0]
    good = place.read_bytes()
    for bad in (good[:-9], b"", gzip.compress(b"other")):
        place.write_bytes(bad)
        with pytest.raises(TaskError, match=r"damaged|altered"):
            kept_data.unpack_kept(place)
        kept_data.keep(document, None, STORE)
        assert place.read_bytes() == good
    place.unlink()
    place.symlink_to(folder / PATHS[0])
    with pytest.raises(TaskError, match="is a link"):
        kept_data.unpack_kept(place)


def test_large_data_are_kept_only_if_asked_for_and_a_changed_file_is_refused(folder, monkeypatch):
    document = signed(bytes(range(256)) * 40, b"{}")
    monkeypatch.setattr(kept_data, "_MOST_BYTES", 100)
    assert kept_data.keep(document, None, STORE) == []
    assert list(STORE.data.iterdir()) == []
    assert kept_data.keep(document, False, STORE) == []
    assert len(kept_data.keep(document, True, STORE)) == 2
    Path(PATHS[1]).write_bytes(b"{} ")
    shutil.rmtree(STORE.data)
    with pytest.raises(TaskError, match=r"features.json changed while it was copied"):
        kept_data.keep(document, True, STORE)
    assert [path.suffixes for path in STORE.data.iterdir()] == [[".csv", ".gz"]]


def test_only_names_of_kept_files_stand_in_the_history():
    line = {
        "at": "2026-01-05T03:00:00Z",
        "release": f"20260105T030000Z-{'0' * 12}",
        "previous": "0" * 64,
        "by": ["Ada"],
    }
    line |= {"reason": ["x"], "from": None, "action": "deploy", "override": [], "model_sha256": "0" * 64}
    line |= {"sign_off_sha256": "0" * 64}
    assert is_line(line)
    assert is_line({**line, "data": [f"{'0' * 64}.csv.gz"]})
    for wrong in ("../x", f"{'0' * 64}.csv", f"{'0' * 63}.csv.gz"):
        assert not is_line({**line, "data": [wrong]})


def test_differences_of_versions_are_named_both_ways():
    then, now = {"python": "3.11.7", "numpy": "2", "joblib": "1"}, {"python": "3.13.0", "numpy": "2", "scipy": "1"}
    found = reproduce._differences(then, now)
    assert found == ["python 3.11.7 → 3.13.0", "joblib 1 → none", "scipy none → 1"]
