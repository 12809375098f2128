"""The folder deployed/: immutable releases, a hash-chained history, and the link to the current release."""

import argparse
import contextlib
import fcntl
import hashlib
import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError, nearest
from signoff.base.files import (
    delete_leftovers,
    discard,
    hidden_name,
    open_lock,
    parsed_json,
    read_bytes,
    replacing,
    sha256,
)
from signoff.features.user_code import load_code
from signoff.model.model_file import load_model
from signoff.model.records import Metadata
from signoff.release.approval import canonical, check_approval, parse_sign_off, released_as, utc_now
from signoff.release.form import PROJECT, SHA256, Move, SignOff, is_line, strict_json

_RESTORE = "Restore it from a backup, or deploy another release."
_START = "0" * 64


def release_argument(parser: argparse.ArgumentParser, default: str = "the current one") -> None:
    """Add the option that names a release, also by its folder, as a shell completes it."""
    parser.add_argument("--release", type=lambda text: Path(text).name, help=f"its name; {default} if not given")


@dataclass(frozen=True)
class Releases:
    """The releases in a folder: by default those of the project in the current folder."""

    folder: Path = Path("deployed")

    @property
    def releases(self) -> Path:
        """The folder with a folder for each release."""
        return self.folder / "releases"

    @property
    def data(self) -> Path:
        """The folder of the training data that releases keep."""
        return self.folder / "data"

    @property
    def history_file(self) -> Path:
        """One line for each deploy, rollback and pruning."""
        return self.folder / "history.jsonl"

    @property
    def head_file(self) -> Path:
        """The SHA-256 of the history's last line."""
        return self.folder / "history.head"

    @property
    def link(self) -> Path:
        """Leads to the current release."""
        return self.folder / "current"

    @property
    def marker(self) -> Path:
        """Holds, while the link is moved, the secret whose digest is in the history's line of the move."""
        return self.folder / ".moving"

    @property
    def identity_file(self) -> Path:
        """Names the project in sign-offs."""
        return self.folder / "project.id"

    @property
    def set_aside(self) -> Path:
        """The folder for releases that the history does not name."""
        return self.folder / "set-aside"

    @contextlib.contextmanager
    def locked(self, task: str) -> Iterator[None]:
        """Let one process at a time change the folder. The lock ends with its process, even if it is killed."""
        self.folder.mkdir(exist_ok=True)
        for folder in (self.folder, self.releases, self.data):
            if folder.is_symlink():
                raise TaskError(f"{folder} is a link, and must be a folder. Move the folder itself here.")
        with open(open_lock(self.folder / ".lock"), "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logging.info("[%s] another process changes %s: waiting for it", task, self.folder)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # The history

    def history(self) -> list[Move]:
        """Return the lines of the history, the oldest first.

        Each line holds the SHA-256 of the previous line, and history.head that of the last one. After a kill between
        writing the two, the head is one line behind. No other difference is accepted.

        Raises
        ------
        TaskError
            A line was altered or removed: the message names it.
        """
        lines = read_bytes(self.history_file).splitlines() if self.history_file.is_file() else []
        entries = [self._line(number, line) for number, line in enumerate(lines, 1)]
        digests = [_START, *(hashlib.sha256(line).hexdigest() for line in lines)]
        head = self._head()
        links = [*(entry["previous"] for entry in entries), head]
        wrong = [n for n, (digest, link) in enumerate(zip(digests, links, strict=True)) if digest != link]
        if wrong == [len(lines)] and lines and head == digests[-2]:
            wrong = []
        if wrong == [len(lines)] and not SHA256.fullmatch(head):
            raise self._broken(f"{self.head_file} is damaged")
        if wrong == [len(lines)]:
            raise self._broken(
                f"{self.head_file} does not know its end: line {len(lines)}, the last, was altered, or lines after it "
                "were removed"
            )
        if wrong:
            altered = wrong[0] + 1 if (len(wrong) > 1 and wrong[1] == wrong[0] + 1) or wrong[0] == 0 else wrong[0]
            raise self._broken(f"line {altered} was altered, or lines next to it were removed")
        return entries

    def _line(self, number: int, line: bytes) -> Move:
        """Return the content of a line of the history. Raises TaskError if it was altered."""
        try:
            entry = strict_json(line)
            if is_line(entry) and canonical(entry) == line:
                return cast(Move, entry)
        except ValueError:
            pass
        raise self._broken(f"line {number} was altered")

    def _head(self) -> str:
        """Return the SHA-256 in history.head."""
        if not self.head_file.is_file():
            return _START
        return read_bytes(self.head_file).decode("ascii", "replace").strip()

    def _broken(self, what: str) -> TaskError:
        """Return the error of a history that cannot be trusted."""
        return TaskError(
            f"{self.history_file}: {what}. Restore it, and {self.head_file.name}, from a backup; nothing is released "
            "until then."
        )

    def append(self, action: str, release: str, **more: object) -> None:
        """Append a line to the history and flush it to disk; call it with the lock held and a checked history.

        Parameters
        ----------
        action
            "deploy", "rollback" or "prune".
        release
            The name of the release.
        more
            The other keys of the line, see `form._LINE`.
        """
        text = read_bytes(self.history_file) if self.history_file.is_file() else b""
        lines = text.splitlines()
        previous = hashlib.sha256(lines[-1]).hexdigest() if lines else _START
        secret = secrets.token_hex(32)
        if action != "prune":
            more["move"] = _digest_of(secret)
        line = canonical({"at": utc_now(), "action": action, "release": release, **more, "previous": previous})
        # The last line may have lost its line break.
        steps = [(self.history_file, b"".join(each + b"\n" for each in [*lines, line]))]
        steps.append((self.head_file, hashlib.sha256(line).hexdigest().encode() + b"\n"))
        if self._head() != previous:
            # The head is behind after a kill between the two writes. A second kill would leave it two lines behind.
            steps.insert(0, (self.head_file, previous.encode() + b"\n"))
        if action != "prune":
            steps.insert(0, (self.marker, "".join(f"{each}\n" for each in [*self._unfinished(lines), secret]).encode()))
            if not self.marker.is_file() or self.marker.is_symlink():
                # Anything else, even a folder.
                discard(self.marker)
        for path, content in steps:
            with replacing(path) as new:
                new.write_bytes(content)
            flush(self.folder)

    # The current release

    def current(self) -> str | None:
        """Return the name of the release that the link leads to; None if nothing is deployed."""
        return Path(os.readlink(self.link)).name if self.link.is_symlink() else None

    def is_moving(self, history: Sequence[Move]) -> bool:
        """Return whether a process was killed between the history's last line and the link.

        The link then still leads to the release before, and the marker holds the secret of that line. The secret is
        deleted once the link has moved, so nobody can write such a marker afterwards.
        """
        if not history or "move" not in history[-1]:
            return False
        before = history[-1]["from"]
        link = os.readlink(self.link) if self.link.is_symlink() else None
        return link == (f"releases/{before}" if before else None) and bool(self._secrets_of(history[-1]))

    def _secrets_of(self, line: Move) -> list[str]:
        """Return the secrets in the marker that belong to a line of the history: one, or none."""
        if "move" not in line or self.marker.is_symlink() or not self.marker.is_file():
            return []
        secrets_there = read_bytes(self.marker).decode("ascii", "replace").split("\n")
        return [each for each in secrets_there if _digest_of(each) == line["move"]]

    def _unfinished(self, lines: Sequence[bytes]) -> list[str]:
        """Return the secret of the last line if its move was interrupted.

        It is kept until the next line is written: a second process that is killed before then leaves the first one's
        line as the last.
        """
        return self._secrets_of(self._line(len(lines), lines[-1])) if lines else []

    def in_use(self, history: Sequence[Move]) -> str | None:
        """Return the release that the history's last move made the current one; None if nothing is deployed.

        Raises
        ------
        TaskError
            The link leads elsewhere, and no process was killed while it moved the link.
        """
        move = last_move(history)
        expected = move["release"] if move else None
        link = os.readlink(self.link) if self.link.is_symlink() else None
        if link != (f"releases/{expected}" if expected else None) and not self.is_moving(history):
            raise TaskError(
                f"{self.link} points to {Path(link).name if link else 'nothing'}, but the last move in "
                f"{self.history_file} is to {expected or 'none'}. Run make rollback"
                + (f" RELEASE={expected}, which moves the link back." if expected else ", or delete the link.")
            )
        return expected

    def move_to(self, name: str) -> None:
        """Make a release the current one, atomically: a reader always sees either the earlier one or this one."""
        link = self.folder / hidden_name(self.link.name)
        link.symlink_to(Path("releases", name))
        try:
            os.replace(link, self.link)
        except IsADirectoryError as error:
            link.unlink()
            raise TaskError(
                f"{self.link} is a folder, and must be a link. Move it elsewhere, and run again."
            ) from error
        flush(self.folder)
        self.marker.unlink(missing_ok=True)

    def project(self, make: bool = False) -> str | None:
        """Return the random identity of this project, stored with its releases; None if it has none yet.

        With `make`, a missing or damaged one is replaced, so that earlier sign-offs no longer hold.

        Raises
        ------
        TaskError
            The file is damaged.
        """
        path = self.identity_file
        if make and not path.exists():
            self.folder.mkdir(exist_ok=True)
            part = self.folder / hidden_name(path.name)
            part.write_text(f"{secrets.token_hex(16)}\n", encoding="ascii")
            flush(part)
            # If two processes do this at once, one of them succeeds.
            with contextlib.suppress(FileExistsError):
                os.link(part, path)
            part.unlink()
        if not path.exists():
            return None
        found = read_bytes(path).decode("ascii", "replace").removesuffix("\n")
        if PROJECT.fullmatch(found):
            return found
        if not make:
            raise TaskError(f"{path} is damaged. Restore it from a backup, or sign off again: make sign-off.")
        logging.warning("[release] %s is damaged: it is replaced, and earlier sign-offs no longer hold", path)
        discard(path)
        return self.project(make)

    # What a release holds

    def sign_off(self, name: str, history: Sequence[Move]) -> SignOff:
        """Return the sign-off of a release, whose digest the history holds; the file is read once.

        Raises
        ------
        TaskError
            No line of the history names the release, or the sign-off is a different one.
        """
        kept = kept_releases(history)
        if name not in kept:
            known = nearest(name, kept) if history else "none is deployed."
            raise TaskError(f"{self.releases / name}: no line of {self.history_file} names this release; {known}")
        digest = signed_by(name, history)
        path = self.releases / name / "sign_off.json"
        content = read_bytes(path) if path.is_file() else None
        if content is None or hashlib.sha256(content).hexdigest() != digest:
            raise TaskError(f"{path} is gone or was altered. {_RESTORE}")
        return parse_sign_off(content, path)

    def verify(self, name: str, history: Sequence[Move]) -> SignOff:
        """Return the sign-off of a release if every file of the release is as it was signed.

        Raises
        ------
        TaskError
            A file was altered, is missing or unexpected, or no line of the history names the release.
        """
        document = self.sign_off(name, history)
        folder = self.releases / name
        places = {released_as(path): digest for path, digest in document["files"].items()}
        expected = {place: digest for place, digest in places.items() if place}
        for file, digest in expected.items():
            if not (folder / file).is_file():
                raise TaskError(f"{folder / file} is gone. {_RESTORE}")
            if sha256(folder / file) != digest:
                raise TaskError(f"{folder / file} was altered. {_RESTORE}")
        found = [folder, *folder.rglob("*")]
        for path in found:
            if path.is_symlink():
                raise TaskError(f"{path} is a link, and does not belong to the release. {_RESTORE}")
        files = {str(path.relative_to(folder)) for path in found if not path.is_dir()}
        for file in sorted(files - {"sign_off.json", *expected}):
            raise TaskError(f"{folder / file} does not belong to the release. Move it elsewhere.")
        return document

    def content(self, name: str, document: SignOff, file: str) -> bytes:
        """Return the bytes of a release's file, checked in memory against the signed digest.

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
        path = self.releases / name / file
        digest = next(digest for signed, digest in document["files"].items() if released_as(signed) == file)
        content = read_bytes(path)
        if hashlib.sha256(content).hexdigest() != digest:
            raise TaskError(f"{path} was altered. {_RESTORE}")
        return content

    def json(self, name: str, document: SignOff, file: str) -> dict[str, Any]:
        """Return the content of a release's JSON file, of the bytes that were signed; raises as `content`."""
        return parsed_json(self.content(name, document, file), self.releases / name / file)

    def approved(self, name: str | None, rule: ReleaseConfig) -> tuple[Path, SignOff]:
        """Return the folder and the sign-off of a release that may be used: intact, and approved under `rule`.

        Raises
        ------
        TaskError
            Nothing is deployed, or the release does not verify.
        """
        if name is None:
            raise TaskError("nothing is deployed yet. Read the report, then make sign-off and make deploy.")
        history = self.history()
        document = self.verify(name, history)
        diagnostics = self.content(name, document, "diagnostics.json") if _has_diagnostics(document) else None
        # The keys must have been valid when it was released: they may expire later.
        check_approval(document, rule, diagnostics, _deploy_of(name, history)["at"])
        return self.releases / name, document

    def model(self, name: str | None, rule: ReleaseConfig) -> tuple[Any, Metadata]:
        """Return the model that a release predicts with and its metadata, from bytes with the signed digests.

        Raises
        ------
        TaskError
            As `approved`.
        """
        folder, document = self.approved(name, rule)
        return self.model_of(folder.name, document, refit=True)

    def model_of(self, name: str, document: SignOff, refit: bool = False) -> tuple[Any, Metadata]:
        """Return the evaluated model and the metadata of a release whose sign-off `approved` has returned.

        With `refit`, the model is the one that the release predicts with: trained again on all rows, if the release
        has such a model. The metadata describe both.
        """
        files = {released_as(path): path for path in document["files"]}
        signed = files[predicts_with(files) if refit else evaluated(files)]
        model = load_model(self.releases / name / str(released_as(signed)), document["files"][signed])
        return model, cast(Metadata, self.json(name, document, "model.json"))

    def code(self, name: str, metadata: Metadata) -> ModuleType | None:
        """Return the custom code that computes a release's features, from its copy in the release; None without any.

        `metadata` is what `model` has returned. Raises TaskError if the copy is not the file that was signed.
        """
        custom = metadata.get("custom")
        if not custom:
            return None
        return load_code(self.releases / name / str(released_as(custom["file"])), custom["sha256"])[0]

    def half_width(self, name: str, document: SignOff) -> float | None:
        """Return half the width of a release's prediction intervals, in the target's unit; None if it has none.

        `document` is the sign-off that `approved` has returned.
        """
        if not _has_diagnostics(document):
            return None
        found: float | None = self.json(name, document, "diagnostics.json")["prediction_interval"]["half_width"]
        return found

    # Order

    def sweep(self, history: Sequence[Move]) -> None:
        """Delete what killed processes left, and set aside releases that the history does not name.

        A release that the history says is pruned is deleted. A release that no line names may be signed, if the history
        was restored from an older backup, so it is kept elsewhere.
        """
        delete_leftovers(self.folder)
        if self.data.is_dir():
            delete_leftovers(self.data)
        kept = kept_releases(history)
        pruned = {entry["release"] for entry in history if entry["action"] == "prune"}
        for folder in self.releases.iterdir():
            if folder.name.startswith(".") and folder.name.endswith(".part"):
                discard(folder)
            elif folder.is_symlink() or not folder.is_dir() or folder.name in (*kept, self.current()):
                continue
            elif folder.name in pruned:
                logging.warning("[release] %s is pruned, as %s says: deleted", folder, self.history_file)
                self.remove(folder.name)
            else:
                self.put_aside(folder)

    def put_aside(self, folder: Path) -> None:
        """Move a release, or kept data, that the history does not name to a folder beside the releases."""
        if self.set_aside.is_symlink():
            raise TaskError(f"{self.set_aside} is a link, and must be a folder. Delete the link, and run again.")
        self.set_aside.mkdir(exist_ok=True)
        place = self.set_aside / folder.name
        if os.path.lexists(place):
            place = self.set_aside / f"{folder.name}.{secrets.token_hex(4)}"
        os.rename(folder, place)
        flush(self.set_aside)
        logging.warning("[release] no line of %s names %s: set aside in %s", self.history_file, folder, self.set_aside)

    def remove(self, name: str) -> None:
        """Delete a release: rename it first, so that it disappears at once, and then delete its files."""
        hidden = self.releases / hidden_name(name)
        os.replace(self.releases / name, hidden)
        flush(self.releases)
        discard(hidden)


def evaluated(files: Iterable[str | None]) -> str:
    """Return the name of the model that was evaluated, among those of a release's files."""
    return next(name for name in files if name in ("model.pkl", "model.skops"))


def predicts_with(files: Iterable[str | None]) -> str:
    """Return the name of the model that a release predicts with, among those of its files."""
    return next((name for name in files if name in ("refit.pkl", "refit.skops")), None) or evaluated(files)


def last_move(history: Sequence[Move]) -> Move | None:
    """Return the last line of the history that made a release the current one."""
    return next((entry for entry in reversed(history) if entry["action"] != "prune"), None)


def kept_releases(history: Sequence[Move]) -> list[str]:
    """Return the releases that are kept, in the order of their last deploy."""
    names: list[str] = []
    for entry in history:
        names = [name for name in names if name != entry["release"] or entry["action"] == "rollback"]
        if entry["action"] == "deploy":
            names.append(entry["release"])
    return names


def release_before(name: str | None, history: Sequence[Move]) -> str | None:
    """Return the release that was deployed before `name`, among those that are kept."""
    names = kept_releases(history)
    place = names.index(name) if name in names else len(names)
    return names[place - 1] if place > 0 else None


def flush(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _deploy_of(name: str, history: Sequence[Move]) -> Move:
    """Return the first line of the history that deployed a release."""
    return next(entry for entry in history if entry["action"] == "deploy" and entry["release"] == name)


def signed_by(name: str, history: Sequence[Move]) -> str:
    """Return the SHA-256 of the sign-off that a release holds, as the history has it."""
    return _deploy_of(name, history)["sign_off_sha256"]


def _has_diagnostics(document: SignOff) -> bool:
    return any(released_as(path) == "diagnostics.json" for path in document["files"])


def _digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
