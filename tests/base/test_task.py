"""What all command lines share: logs, errors, exit codes, files that are never half written."""

import argparse
import errno
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from conftest import ROOT, script
from signoff.base import command_line, errors, files

TASKS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py") if "def main(" in path.read_text(encoding="utf-8"))
# What a person runs in the project's folder: they read the config, and no table.
DECISIONS = {"sign_off": ["--reviewer=A", "--decision=approve", "--comment=B"], "deploy": [], "verify": []}
DECISIONS["rollback"] = ["--reason=C"]
DECISIONS["track"] = []
NO_TABLE = {"evaluate_model", "verdict", "init_project", "weekly", "status", "schedule", "history", "notify"}
NO_TABLE |= {"explain_model", "compare_model", "diagnose", "summary", "backtest_week", "tasks_chunk", "models"}
NO_TABLE |= {"models_chunk", "row_budget", "models_page", "sign_off_models"}
NO_TABLE |= {"live_record", "attest", "dossier", "reproduce", "refit_model", "review", "serve", "statement", *DECISIONS}
# What a task cannot do without, beside an input and an output.
MORE = {
    "predict_models": ["--by=city"],
    "split_source": ["--by=week", "--column=day"],
    "gather": ["--plan=nowhere.json"],
}


@pytest.mark.parametrize("name", TASKS)
def test_help_and_wrong_command_line(name, capsys):
    main = importlib.import_module(name).main
    for words, code, part in ((["--help"], 0, "--verbose"), (["--colour", "red"], 2, "usage: ")):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == code and part in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", sorted({*TASKS} - NO_TABLE))
def test_a_missing_input_is_one_error_line(name, tmp_path):
    usual = ["--input", "nowhere.csv", "--output", "deep/out.csv", "--log", "logs/it.log"]
    done = script(name, *usual, *MORE.get(name, []), cwd=tmp_path)
    assert done.returncode == 1
    errors = [line for line in done.stdout.splitlines() if " - ERROR - " in line]
    assert len(errors) == 1
    assert "nowhere" in errors[0]
    assert "does not exist" in errors[0]
    assert "Traceback" not in done.stdout
    assert (tmp_path / "logs/it.log").read_text(encoding="utf-8") == done.stdout


@pytest.mark.parametrize("name", DECISIONS)
def test_a_folder_without_a_config_is_one_error_line(name, tmp_path):
    done = script(name, *DECISIONS[name], cwd=tmp_path)
    assert done.returncode == 1
    (error,) = [line for line in done.stdout.splitlines() if " - ERROR - " in line]
    assert "there is no config/config.yaml and no config.yaml here" in error
    assert "does not exist" in script(name, *DECISIONS[name], "--config=a.yaml", cwd=tmp_path).stdout


def arguments(**values) -> argparse.Namespace:
    return argparse.Namespace(**{"log": None, "verbose": False, **values})


def test_an_unexpected_failure_is_one_line_with_the_way_to_the_traceback(capsys):
    with pytest.raises(SystemExit) as stop, command_line.logged("it", arguments(), "x"):
        raise KeyError("surprise")
    assert stop.value.code == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(r" - ERROR - \[it\] unexpected failure \(KeyError: 'surprise'\).*--verbose", error)
    with pytest.raises(SystemExit), command_line.logged("it", arguments(verbose=True), "x"):
        raise KeyError("surprise")
    assert "Traceback" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_one_error_line(tmp_path):
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    (tmp_path / "in.csv").write_text("a,b\n1,2\n3,4\n", encoding="utf-8")
    done = script("clean_data", "--input", "in.csv", "--output", "taken/out.csv", cwd=tmp_path)
    assert done.returncode == 1
    assert "taken" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_log_that_cannot_be_written_is_one_error_line(tmp_path):
    (tmp_path / "in.csv").write_text("a,b\n1,2\n3,4\n", encoding="utf-8")
    done = script("clean_data", "--input", "in.csv", "--output", "out.csv", "--log", "in.csv/log", cwd=tmp_path)
    assert done.returncode == 1 and "in.csv" in done.stdout and "Traceback" not in done.stdout
    assert not (tmp_path / "out.csv").exists()


def test_a_folder_where_a_file_belongs_is_set_aside(tmp_path, caplog):
    for name in ("file", "lock"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "inside").touch()
    files.write_json(tmp_path / "file", {"a": 1})
    os.close(files.open_lock(tmp_path / "lock"))
    assert files.read_json(tmp_path / "file") == {"a": 1} and (tmp_path / "lock").is_file()
    assert len(list(tmp_path.glob("*.set-aside-*/inside"))) == 2
    assert f"{tmp_path / 'file'} is a folder, and must be a file: set aside as file.set-aside-" in caplog.text


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    for read in (
        files.read_bytes,
        files.read_utf8,
        files.read_json,
        files.sha256,
        lambda path: files.read_plain(path, 9),
    ):
        with pytest.raises(errors.NotAFile, match=r"pipe.json is not a file\. Put a file there\."):
            read(pipe)
    # Most readers take it for a file that cannot be read.
    assert issubclass(errors.NotAFile, OSError)
    os.close(files.open_lock(pipe))
    pipe.unlink()
    os.mkfifo(pipe)
    files.write_json(pipe, {"a": 1})
    assert files.read_json(pipe) == {"a": 1}
    assert len(list(tmp_path.glob("pipe.json.set-aside-*"))) == 2


def test_a_log_is_not_written_through_a_link(tmp_path, capsys):
    victim, log = tmp_path / "victim", tmp_path / "it.log"
    victim.write_text("precious", encoding="utf-8")
    log.symlink_to(victim)
    with pytest.raises(SystemExit), command_line.logged("it", arguments(log=log), "x"):
        pass
    assert "it.log is a link, and must be a file. Delete the link, and run again." in capsys.readouterr().err
    assert victim.read_text(encoding="utf-8") == "precious"
    log.unlink()
    os.mkfifo(log)
    with command_line.logged("it", arguments(log=log), "x"):
        pass
    assert "[it] start: x" in log.read_text(encoding="utf-8")


def test_replacing_shows_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "deep" / "file"
    with files.replacing(path) as new:
        new.write_text("old", encoding="utf-8")
    with open(path, encoding="utf-8") as reader:
        with files.replacing(path) as new:
            new.write_text("new", encoding="utf-8")
            assert path.read_text(encoding="utf-8") == "old"
        # Who has the old file open goes on reading the old file.
        assert reader.read() == "old"
    assert path.read_text(encoding="utf-8") == "new"
    with pytest.raises(RuntimeError), files.replacing(path) as new:
        new.write_text("half", encoding="utf-8")
        raise RuntimeError
    assert [each.name for each in path.parent.iterdir()] == ["file"]
    assert path.read_text(encoding="utf-8") == "new"


def syncs(monkeypatch, *errors: OSError) -> list[int]:
    """Let files be synced all the time, the first that holds something with these errors; return a list of sizes."""
    sizes, errors, real = [], list(errors), os.fsync

    def fsync(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        # Between its opening and its first bytes, a file is empty.
        if errors and sizes[-1]:
            raise errors.pop()
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(files, "_SYNC_SECONDS", 0.01)
    return sizes


def wait_for(size: int, sizes: list[int]) -> None:
    """Wait until a file of so many bytes was synced."""
    end = time.monotonic() + 20
    while size not in sizes:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_is_written_comes_to_the_disk_while_the_rest_is_made(tmp_path, monkeypatch):
    sizes = syncs(monkeypatch)
    with files.replacing(tmp_path / "file") as new:
        # There is no file yet.
        time.sleep(0.05)
        new.write_bytes(b"half")
        wait_for(4, sizes)
        with new.open("ab") as file:
            file.write(b" and half")
    assert sizes[-1] == 13
    assert (tmp_path / "file").read_bytes() == b"half and half"


def test_an_error_of_the_disk_is_reported_although_the_system_reports_it_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"old")
    sizes = syncs(monkeypatch, OSError(errno.EIO, "it broke"))
    with pytest.raises(OSError, match="it broke"), files.replacing(tmp_path / "file") as new:
        new.write_bytes(b"new")
        wait_for(3, sizes)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


WRITER = """
import sys, time
sys.path.insert(0, {scripts!r})
import argparse
from signoff.base import command_line, files
from pathlib import Path
with (
    command_line.logged("writer", argparse.Namespace(log=None, verbose=False), "x"),
    files.replacing(Path("file")) as new,
    files.beside(new.with_suffix(".source")) as source,
):
    new.write_text("half")
    source.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_stopped_writer_leaves_the_old_file_and_nothing_that_the_next_one_minds(tmp_path, number):
    (tmp_path / "file").write_text("old", encoding="utf-8")
    code = WRITER.format(scripts=str(ROOT / "scripts"))
    writer = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    writer.stdout.readline()
    writer.send_signal(number)
    _, errors = writer.communicate(timeout=20)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"
    if number != signal.SIGKILL:
        assert writer.returncode == 128 + number
        assert b" - ERROR - [writer] " in errors
        assert b"Traceback" not in errors
        assert [each.name for each in tmp_path.iterdir()] == ["file"]
    with files.replacing(tmp_path / "file") as new:
        new.write_text("new", encoding="utf-8")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_living_neighbour_keeps_its_part(tmp_path):
    with files.beside(tmp_path / "file") as mine:
        mine.write_text("mine", encoding="utf-8")
        child = os.fork()
        if child == 0:
            with files.beside(tmp_path / "file") as other:
                other.write_text("other", encoding="utf-8")
            os._exit(0)
        os.waitpid(child, 0)
        assert mine.read_text(encoding="utf-8") == "mine"


def test_json_that_is_damaged_or_not_json_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(errors.TaskError, match=r"a\.json is damaged: it is not valid JSON"):
        files.read_json(path)
    with pytest.raises(ValueError):
        files.write_json(path, {"nan": float("nan")})
    assert path.read_text(encoding="utf-8") == "{"


def test_nearest_points_to_what_was_meant():
    assert errors.nearest("Prise", ["price", "colour"]) == "did you mean price?"
    assert errors.nearest("x", ["price", "size"]) == "there are: price, size."


def test_logs_carry_the_format_of_the_specification(tmp_path, capsys):
    before = time.strftime("%Y-%m-%d")
    with command_line.logged("it", arguments(log=Path(tmp_path, "it.log")), "in.csv"):
        pass
    lines = Path(tmp_path, "it.log").read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(rf"{before} \d\d:\d\d:\d\d,\d{{3}} - INFO - \[it\] start: in\.csv", lines[0])
    assert re.search(r" - INFO - \[it\] end after \d+\.\d s$", lines[-1])
    assert capsys.readouterr().err.splitlines() == lines


def test_a_process_that_ends_has_nothing_left_to_look_for_garbage_in():
    # What is registered first is called last.
    code = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count(), len(gc.get_objects())))"
    words = [sys.executable, "-c", f"{code}; import signoff.base.command_line"]
    done = subprocess.run(words, cwd=ROOT / "scripts", capture_output=True, text=True, check=True)
    frozen, left = map(int, done.stdout.split())
    assert left < 100 < frozen


def test_a_process_hardly_looks_for_garbage_while_it_imports_and_later_not_among_what_it_has_imported():
    code = (
        "import gc; from signoff.base import command_line\n"
        "def looked():\n return sum(each['collections'] for each in gc.get_stats())\n"
        "before = looked(); imported = [[] for _ in range(500_000)]; print(looked() - before)\n"
        "command_line.arguments('A task'); print(gc.get_freeze_count() > 500_000, gc.get_threshold()[0])"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT / "scripts", capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True", "100000"]


def test_what_a_process_has_left_that_nobody_has_waited_for_is_deleted(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        left = tmp_path / f".a.csv.{socket.gethostname()}-{process.pid}.part"
        left.touch()
        files.delete_leftovers(tmp_path)
        assert left.exists()
        process.kill()
        # Ended, and still there: a zombie.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert Path("/proc", str(process.pid)).exists()
        files.delete_leftovers(tmp_path)
        assert not left.exists()


def test_a_signal_while_a_writer_begins_leaves_no_thread_that_keeps_the_process_alive(tmp_path, monkeypatch):
    """SIGTERM raises SystemExit at any moment, such as within the start of the thread that syncs."""
    begun = []

    class Interrupted(threading.Thread):
        def start(self) -> None:
            super().start()
            begun.append(self)
            raise SystemExit(143)

    monkeypatch.setattr(files.threading, "Thread", Interrupted)
    with pytest.raises(SystemExit), files.replacing(tmp_path / "file") as new:
        new.write_text("new", encoding="utf-8")
    (thread,) = begun
    thread.join(60)
    assert not thread.is_alive() and thread.daemon
    assert list(tmp_path.iterdir()) == []
