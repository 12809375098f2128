"""The folder deployed/: releases that never change, a chained history, and the link that says which one is current."""

import contextlib
import fcntl
import hashlib
import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from signoff.base.errors import TaskError, nearest
from signoff.base.files import (
    delete_leftovers,
    discard,
    hidden_name,
    open_lock,
    parsed_json,
    replacing,
    sha256,
)
from signoff.features.user_code import load_code
from signoff.model.model_file import load_model
from signoff.release.approval import canonical, check_approval, parse_sign_off, released_as, utc_now
from signoff.release.form import PROJECT, SHA256, is_line, strict_json

DEPLOYED = Path("deployed")
RELEASES = DEPLOYED / "releases"
HISTORY = DEPLOYED / "history.jsonl"
HEAD = DEPLOYED / "history.head"
CURRENT = DEPLOYED / "current"
# Holds, while the link is moved, the secret whose digest is in the history's line of the move.
MOVING = DEPLOYED / ".moving"
# What a sign-off names the project by.
IDENTITY = DEPLOYED / "project.id"
SET_ASIDE = DEPLOYED / "set-aside"
RESTORE = "Restore it from a backup, or deploy another release."
START = "0" * 64


def use(deployed: Path) -> None:
    """Read the releases of another folder than deployed/, for a task that runs outside of its project's folder."""
    global RELEASES, HISTORY, HEAD
    RELEASES, HISTORY, HEAD = (deployed / each.relative_to(DEPLOYED) for each in (RELEASES, HISTORY, HEAD))


@contextlib.contextmanager
def locked(task: str) -> Iterator[None]:
    """Let one process at a time change deployed/; the others wait. The lock goes with its process, killed or not."""
    DEPLOYED.mkdir(exist_ok=True)
    for folder in (DEPLOYED, RELEASES):
        if folder.is_symlink():
            raise TaskError(f"{folder} is a link, and must be a folder. Move the folder itself here.")
    with open(open_lock(DEPLOYED / ".lock"), "rb") as file:
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
            entries.append(strict_json(line))
            intact = is_line(entries[-1]) and canonical(entries[-1]) == line
        except ValueError:
            intact = False
        if not intact:
            raise broken(f"line {number} was altered")
    digests = [START, *(hashlib.sha256(line).hexdigest() for line in lines)]
    head = known_end()
    links = [*(entry["previous"] for entry in entries), head]
    wrong = [n for n, (digest, link) in enumerate(zip(digests, links, strict=True)) if digest != link]
    if wrong == [len(lines)] and lines and head == digests[-2]:
        wrong = []
    if wrong == [len(lines)] and not SHA256.fullmatch(head):
        raise broken(f"{HEAD} is damaged")
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
    secret = secrets.token_hex(32)
    if action != "prune":
        more["move"] = _digest_of(secret)
    line = canonical({"at": utc_now(), "action": action, "release": release, **more, "previous": previous})
    digest = hashlib.sha256(line).hexdigest().encode() + b"\n"
    steps = [(HISTORY, text + line + b"\n"), (HEAD, digest)]
    if known_end() != previous:
        # Of a kill between the two: after another one, the head would be two lines behind.
        steps.insert(0, (HEAD, previous.encode() + b"\n"))
    if action != "prune":
        # Whatever lies there, a folder too.
        discard(MOVING)
        steps.insert(0, (MOVING, f"{secret}\n".encode()))
    for path, content in steps:
        with replacing(path) as new:
            new.write_bytes(content)
        flush(DEPLOYED)


def current_release(folder: Path = Path()) -> str | None:
    """Return the name of the current release of the project in a folder; None where nothing is deployed."""
    link = folder / CURRENT
    return Path(os.readlink(link)).name if link.is_symlink() else None


def last_move(history: list[dict]) -> dict | None:
    """Return the last line of the history that made a release the current one."""
    return next((entry for entry in reversed(history) if entry["action"] != "prune"), None)


def is_moving(history: list[dict]) -> bool:
    """Return whether a process was killed between the history's last line and the link.

    The link then leads to where that line says that it led before, and the marker holds the secret of that line. The
    secret is deleted once the link has moved, so nobody can write such a marker afterwards.
    """
    if not history or "move" not in history[-1] or MOVING.is_symlink() or not MOVING.is_file():
        return False
    content = MOVING.read_bytes()
    secret = content.removesuffix(b"\n").decode("ascii", "replace")
    before = history[-1]["from"]
    link = os.readlink(CURRENT) if CURRENT.is_symlink() else None
    return (
        content == f"{secret}\n".encode()
        and _digest_of(secret) == history[-1]["move"]
        and link == (f"releases/{before}" if before else None)
    )


def _digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def release_in_use(history: list[dict]) -> str | None:
    """Return the release that the history's last move made the current one; None where nothing is deployed.

    Raises
    ------
    TaskError
        The link deployed/current leads elsewhere, and no process was killed while it moved the link.
    """
    move = last_move(history)
    expected = move["release"] if move else None
    link = os.readlink(CURRENT) if CURRENT.is_symlink() else None
    if link != (f"releases/{expected}" if expected else None) and not is_moving(history):
        raise TaskError(
            f"{CURRENT} points to {Path(link).name if link else 'nothing'}, but the last move in {HISTORY} is to "
            f"{expected or 'none'}. Run make rollback"
            + (f" RELEASE={expected}, which moves the link back." if expected else ", or delete the link.")
        )
    return expected


def move_current(name: str) -> None:
    """Make a release the current one: a reader sees the one before or this one, never neither."""
    link = DEPLOYED / hidden_name(CURRENT.name)
    link.symlink_to(Path("releases", name))
    try:
        os.replace(link, CURRENT)
    except IsADirectoryError as error:
        link.unlink()
        raise TaskError(f"{CURRENT} is a folder, and must be a link. Move it elsewhere, and run again.") from error
    flush(DEPLOYED)
    MOVING.unlink(missing_ok=True)


def project_identity(make: bool = False) -> str | None:
    """Return the random identity of this project, which lies with its releases; None where there is none yet.

    With `make`, a missing or damaged one is replaced, so that earlier sign-offs no longer hold.

    Raises
    ------
    TaskError
        The file is damaged.
    """
    if make and not IDENTITY.exists():
        DEPLOYED.mkdir(exist_ok=True)
        part = DEPLOYED / hidden_name(IDENTITY.name)
        part.write_text(f"{secrets.token_hex(16)}\n", encoding="ascii")
        flush(part)
        # Of two processes, one makes it.
        with contextlib.suppress(FileExistsError):
            os.link(part, IDENTITY)
        part.unlink()
    if not IDENTITY.exists():
        return None
    found = IDENTITY.read_text(encoding="ascii", errors="replace").removesuffix("\n")
    if PROJECT.fullmatch(found):
        return found
    if not make:
        raise TaskError(f"{IDENTITY} is damaged. Restore it from a backup, or sign off again: make sign-off.")
    logging.warning("[release] %s is damaged: it is replaced, and sign-offs of before hold no longer", IDENTITY)
    discard(IDENTITY)
    return project_identity(make)


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


def signed_document(name: str, history: list[dict]) -> dict:
    """Return the sign-off of a release, of which the history has the digest; it is read once.

    Raises
    ------
    TaskError
        No line of the history tells of the release, or the sign-off is another one.
    """
    if name not in releases(history):
        told = nearest(name, releases(history)) if history else "none is deployed."
        raise TaskError(f"{RELEASES / name}: no line of {HISTORY} tells of this release; {told}")
    digest = next(
        entry["sign_off_sha256"] for entry in history if entry["action"] == "deploy" and entry["release"] == name
    )
    path = RELEASES / name / "sign_off.json"
    content = path.read_bytes() if path.is_file() else None
    if content is None or hashlib.sha256(content).hexdigest() != digest:
        raise TaskError(f"{path} is gone or was altered. {RESTORE}")
    return parse_sign_off(content, path)


def verify_release(name: str, history: list[dict]) -> dict:
    """Return the sign-off of a release of which every file is as it was signed.

    Raises
    ------
    TaskError
        A file was altered, is gone, or does not belong there; or no line of the history tells of the release.
    """
    document = signed_document(name, history)
    folder = RELEASES / name
    expected = {released_as(path): digest for path, digest in document["files"].items() if released_as(path)}
    for file, digest in expected.items():
        if not (folder / file).is_file():
            raise TaskError(f"{folder / file} is gone. {RESTORE}")
        if sha256(folder / file) != digest:
            raise TaskError(f"{folder / file} was altered. {RESTORE}")
    found = [folder, *folder.rglob("*")]
    for path in found:
        if path.is_symlink():
            raise TaskError(f"{path} is a link, and does not belong to the release. {RESTORE}")
    files = {str(path.relative_to(folder)) for path in found if not path.is_dir()}
    for file in sorted(files - {"sign_off.json", *expected}):
        raise TaskError(f"{folder / file} does not belong to the release. Move it elsewhere.")
    return document


def released_bytes(name: str, document: dict, file: str) -> bytes:
    """Return the bytes of a release's file, which were found, in memory, to be the signed ones.

    Parameters
    ----------
    name
        The release.
    document
        Its sign-off.
    file
        The file's name in the release.

    Raises
    ------
    TaskError
        The file has changed since the release was verified.
    """
    path = RELEASES / name / file
    digest = next(digest for signed, digest in document["files"].items() if released_as(signed) == file)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise TaskError(f"{path} was altered. {RESTORE}")
    return content


def released_json(name: str, document: dict, file: str) -> dict:
    """Return the content of a release's JSON file, of the bytes that were signed; raises as `released_bytes`."""
    return parsed_json(released_bytes(name, document, file), RELEASES / name / file)


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
    has_diagnostics = any(released_as(path) == "diagnostics.json" for path in document["files"])
    diagnostics = released_bytes(name, document, "diagnostics.json") if has_diagnostics else None
    check_approval(document, rule, diagnostics, at)
    return RELEASES / name, document


def released_model(name: str | None, rule: dict) -> tuple[object, dict]:
    """Return the model of a release and its metadata; what is read has, in memory, the digest that was signed.

    Raises
    ------
    TaskError
        As `approved_release`.
    """
    folder, document = approved_release(name, rule)
    return model_of(folder.name, document)


def model_of(name: str, document: dict) -> tuple[object, dict]:
    """Return the model and the metadata of a release whose sign-off `approved_release` has returned."""
    signed = next(path for path in document["files"] if released_as(path) in ("model.pkl", "model.skops"))
    model = load_model(RELEASES / name / released_as(signed), document["files"][signed])
    return model, released_json(name, document, "model.json")


def released_code(name: str, metadata: dict) -> ModuleType | None:
    """Return the user's own code that makes a release's features, from its copy there; None where there is none.

    `metadata` is what `released_model` has returned. Raises TaskError where the copy is not the file that was signed.
    """
    custom = metadata.get("custom")
    return load_code(RELEASES / name / released_as(custom["file"]), custom["sha256"])[0] if custom else None


def released_half_width(name: str, document: dict) -> float | None:
    """Return half the width of a release's prediction intervals, in the target's unit; None where it has none.

    `document` is the sign-off that `approved_release` has returned.
    """
    if not any(released_as(path) == "diagnostics.json" for path in document["files"]):
        return None
    return released_json(name, document, "diagnostics.json")["prediction_interval"]["half_width"]


def sweep(history: list[dict]) -> None:
    """Delete what killed processes left, and set aside releases of which the history knows nothing.

    A release that the history says is pruned is deleted. One that no line tells of may be signed, and the history
    restored from an older backup: it is kept elsewhere.
    """
    delete_leftovers(DEPLOYED)
    kept = releases(history)
    pruned = {entry["release"] for entry in history if entry["action"] == "prune"}
    for folder in RELEASES.iterdir():
        if folder.name.startswith(".") and folder.name.endswith(".part"):
            discard(folder)
        elif folder.is_symlink() or not folder.is_dir() or folder.name in (*kept, current_release()):
            continue
        elif folder.name in pruned:
            logging.warning("[release] %s is pruned, as %s says: deleted", folder, HISTORY)
            remove(folder)
        else:
            if SET_ASIDE.is_symlink():
                raise TaskError(f"{SET_ASIDE} is a link, and must be a folder. Delete the link, and run again.")
            SET_ASIDE.mkdir(exist_ok=True)
            place = SET_ASIDE / folder.name
            if os.path.lexists(place):
                place = SET_ASIDE / f"{folder.name}.{secrets.token_hex(4)}"
            os.rename(folder, place)
            flush(SET_ASIDE)
            logging.warning("[release] %s is in no line of %s: set aside in %s", folder, HISTORY, SET_ASIDE)


def remove(folder: Path) -> None:
    """Delete a release, which is out of sight at once and for ever, and then file by file."""
    hidden = folder.with_name(hidden_name(folder.name))
    os.replace(folder, hidden)
    flush(RELEASES)
    discard(hidden)
