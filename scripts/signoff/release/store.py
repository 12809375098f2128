"""The folder deployed/: releases that never change, a chained history, and the link that says which one is current."""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from signoff.base.errors import TaskError, nearest
from signoff.base.files import delete_leftovers, read_json, replacing, sha256
from signoff.features.user_code import load_code
from signoff.model.model_file import load_model
from signoff.release.approval import canonical, check_decisions, read_sign_off, released_as, utc_now

DEPLOYED = Path("deployed")
RELEASES = DEPLOYED / "releases"
HISTORY = DEPLOYED / "history.jsonl"
HEAD = DEPLOYED / "history.head"
CURRENT = DEPLOYED / "current"
START = "0" * 64


def use(deployed: Path) -> None:
    """Read the releases of another folder than deployed/, for a task that runs outside of its project's folder."""
    global RELEASES, HISTORY, HEAD
    RELEASES, HISTORY, HEAD = (deployed / each.relative_to(DEPLOYED) for each in (RELEASES, HISTORY, HEAD))


@contextlib.contextmanager
def locked(task: str) -> Iterator[None]:
    """Let one process at a time change deployed/; the others wait. The lock goes with its process, killed or not."""
    DEPLOYED.mkdir(exist_ok=True)
    with open(DEPLOYED / ".lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.info("[%s] another process changes %s: waiting for it", task, DEPLOYED)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_history() -> list[dict]:
    """Return the lines of the history, the oldest first.

    Each line carries the SHA-256 of the line before, and history.head that of the last one. A kill between writing
    the two leaves the head one line behind, which is the only difference that is let pass.

    Raises
    ------
    TaskError
        A line was altered or removed: the message names it.
    """
    lines = HISTORY.read_bytes().splitlines() if HISTORY.is_file() else []
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entries.append(json.loads(line))
            intact = canonical(entries[-1]) == line and "previous" in entries[-1]
        except (ValueError, TypeError):
            intact = False
        if not intact:
            raise broken(f"line {number} was altered")
    digests = [START, *(hashlib.sha256(line).hexdigest() for line in lines)]
    head = known_end()
    links = [*(entry["previous"] for entry in entries), head]
    wrong = [n for n, (digest, link) in enumerate(zip(digests, links, strict=True)) if digest != link]
    if wrong == [len(lines)] and lines and head == digests[-2]:
        wrong = []
    if wrong == [len(lines)]:
        raise broken(
            f"{HEAD} does not know its end: line {len(lines)}, the last, was altered, or lines after it were removed"
        )
    if wrong:
        altered = wrong[0] + 1 if (len(wrong) > 1 and wrong[1] == wrong[0] + 1) or wrong[0] == 0 else wrong[0]
        raise broken(f"line {altered} was altered, or lines next to it were removed")
    return entries


def known_end() -> str:
    """Return the SHA-256 of the last line that history.head knows of."""
    return HEAD.read_text(encoding="ascii", errors="replace").strip() if HEAD.is_file() else START


def broken(what: str) -> TaskError:
    """Return the error of a history that cannot be trusted."""
    return TaskError(f"{HISTORY}: {what}. Restore it, and {HEAD.name}, from a backup; nothing is released until then.")


def append_history(action: str, release: str, **more: object) -> None:
    """Add one line to the history, on disk when this returns; call it with the lock held and a checked history."""
    text = HISTORY.read_bytes() if HISTORY.is_file() else b""
    lines = text.splitlines()
    previous = hashlib.sha256(lines[-1]).hexdigest() if lines else START
    line = canonical({"at": utc_now(), "action": action, "release": release, **more, "previous": previous})
    steps = [(HISTORY, text + line + b"\n"), (HEAD, hashlib.sha256(line).hexdigest().encode() + b"\n")]
    if known_end() != previous:
        # Of a kill between the two: after another one, the head would be two lines behind.
        steps.insert(0, (HEAD, previous.encode() + b"\n"))
    for path, content in steps:
        with replacing(path) as new:
            new.write_bytes(content)
        flush(DEPLOYED)


def current_release(folder: Path = Path()) -> str | None:
    """Return the name of the current release of the project in a folder; None where nothing is deployed."""
    link = folder / CURRENT
    return Path(os.readlink(link)).name if link.is_symlink() else None


def move_current(name: str) -> None:
    """Make a release the current one: a reader sees the one before or this one, never neither."""
    link = DEPLOYED / ".current.part"
    link.unlink(missing_ok=True)
    link.symlink_to(Path("releases", name))
    os.replace(link, CURRENT)
    flush(DEPLOYED)


def flush(path: Path) -> None:
    """Have a file, or a folder's list of names, written to the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def releases(history: list[dict]) -> list[str]:
    """Return the releases that are kept, in the order in which they were deployed, each where it was so last."""
    names = []
    for entry in history:
        names = [name for name in names if name != entry["release"] or entry["action"] == "rollback"]
        if entry["action"] == "deploy":
            names.append(entry["release"])
    return names


def release_before(name: str | None, history: list[dict]) -> str | None:
    """Return the release that was deployed before `name`, among those that are kept."""
    names = releases(history)
    place = names.index(name) if name in names else len(names)
    return names[place - 1] if place > 0 else None


def verify_release(name: str, history: list[dict]) -> dict:
    """Return the sign-off of a release of which every file is as it was signed.

    Raises
    ------
    TaskError
        A file was altered, is gone, or does not belong there; or no line of the history tells of the release.
    """
    folder = RELEASES / name
    lines = [entry for entry in history if entry["action"] == "deploy" and entry["release"] == name]
    if name not in releases(history):
        raise TaskError(f"{folder}: no line of {HISTORY} tells of this release; {nearest(name, releases(history))}")
    restore = "Restore it from a backup, or deploy another release."
    sign_off = folder / "sign_off.json"
    if not sign_off.is_file() or sha256(sign_off) != lines[0]["sign_off_sha256"]:
        raise TaskError(f"{sign_off} is gone or was altered. {restore}")
    document = read_sign_off(sign_off)
    expected = {released_as(path): digest for path, digest in document["files"].items() if released_as(path)}
    for file, digest in expected.items():
        if not (folder / file).is_file():
            raise TaskError(f"{folder / file} is gone. {restore}")
        if sha256(folder / file) != digest:
            raise TaskError(f"{folder / file} was altered. {restore}")
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    for file in sorted(found - {"sign_off.json", *expected}):
        raise TaskError(f"{folder / file} does not belong to the release. Move it elsewhere.")
    return document


def approved_release(name: str | None, rule: dict) -> tuple[Path, dict]:
    """Return the folder and the sign-off of a release that may be used: whole, and approved under `rule`.

    Raises
    ------
    TaskError
        Nothing is deployed, or the release does not verify.
    """
    if name is None:
        raise TaskError("nothing is deployed yet. Read the report, then make sign-off and make deploy.")
    history = read_history()
    document = verify_release(name, history)
    # The keys must have been valid when it was released: they may expire later.
    at = next(entry["at"] for entry in history if entry["action"] == "deploy" and entry["release"] == name)
    check_decisions(document, rule, at)
    return RELEASES / name, document


def released_model(name: str | None, rule: dict) -> tuple[object, dict]:
    """Return the model of a release and its metadata; what is unpickled has the digest that was signed.

    Raises
    ------
    TaskError
        As `approved_release`.
    """
    folder, document = approved_release(name, rule)
    signed = next(path for path in document["files"] if released_as(path) in ("model.pkl", "model.skops"))
    return load_model(folder / released_as(signed), document["files"][signed]), read_json(folder / "model.json")


def released_code(name: str, metadata: dict) -> ModuleType | None:
    """Return the user's own code that makes a release's features, from its copy there; None where there is none.

    `metadata` is what `released_model` has returned. Raises TaskError where the copy is not the file that was signed.
    """
    custom = metadata.get("custom")
    return load_code(RELEASES / name / released_as(custom["file"]), custom["sha256"])[0] if custom else None


def released_half_width(name: str) -> float | None:
    """Return half the width of a release's prediction intervals, in the target's unit; None where it holds none.

    To be called after `released_model`, which has found every file of the release to be as it was signed.
    """
    path = RELEASES / name / "diagnostics.json"
    return read_json(path)["prediction_interval"]["half_width"] if path.is_file() else None


def sweep(history: list[dict]) -> None:
    """Delete what killed processes left, and releases of which the history says that they are pruned, or nothing."""
    delete_leftovers(DEPLOYED)
    kept = releases(history)
    for folder in RELEASES.iterdir():
        if folder.name.startswith(".") and folder.name.endswith(".part"):
            shutil.rmtree(folder)
        elif folder.is_dir() and folder.name not in kept and folder.name != current_release():
            logging.warning("[release] %s is in no line of %s: deleted", folder, HISTORY)
            remove(folder)


def remove(folder: Path) -> None:
    """Delete a release, which is out of sight at once and for ever, and then file by file."""
    hidden = folder.with_name(f".{folder.name}.part")
    os.replace(folder, hidden)
    flush(RELEASES)
    shutil.rmtree(hidden)
