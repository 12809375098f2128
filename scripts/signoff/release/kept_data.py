"""The training data that releases keep: deployed/data/<SHA-256>.csv.gz, and the description of their columns beside it.

A file is named after the digest of its unpacked bytes, so releases that learnt from the same bytes share it. The line
of the history that deploys a release names its files.
"""

import gzip
import hashlib
import logging
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from signoff.base.errors import TaskError
from signoff.base.files import delete_leftovers, only_file, replacing
from signoff.release.form import Move, SignOff
from signoff.release.store import Releases, flush, kept_releases

# Bytes of a compressed file; release.keep_data: true keeps larger ones too.
_MOST_BYTES = 100_000_000
_PIECE = 1 << 20


class _TooLarge(Exception):
    """A compressed file has more bytes than it may have."""


def file_of(path: str, digest: str) -> str:
    """Return the name of the kept file of a signed file, by its path and its SHA-256."""
    return f"{digest}{Path(path).suffix}.gz"


def signed_data(document: SignOff) -> dict[str, str]:
    """Return the signed SHA-256, by path, of the inputs of training: the features and their description."""
    return {path: digest for path, digest in document["files"].items() if path.startswith("data/features/")}


def keep(document: SignOff, wish: bool | None, releases: Releases) -> list[str]:
    """Keep the training data of a signed model; return the names of the files in `releases.data`, if any.

    Parameters
    ----------
    document
        The sign-off. The files that it names are in the current folder.
    wish
        `release.keep_data`: None keeps a table that has at most `_MOST_BYTES` compressed.
    releases
        Where the data are kept; its lock must be held.

    Raises
    ------
    TaskError
        A file is not the one that was signed.
    """
    if wish is False:
        return []
    names = []
    releases.data.mkdir(exist_ok=True)
    # The features come before their description, so that nothing is left behind if they are too large.
    for path, digest in sorted(signed_data(document).items()):
        place = releases.data / file_of(path, digest)
        if not _is_whole(place):
            try:
                _pack(Path(path), place, digest, None if wish else _MOST_BYTES)
            except _TooLarge:
                logging.info(
                    "[deploy] the training data are not kept: compressed, %s has more than %d MB "
                    "(release.keep_data: true keeps it)",
                    *(path, _MOST_BYTES // 1_000_000),
                )
                return []
        names.append(place.name)
    flush(releases.data)
    flush(releases.folder)
    return names


def _pack(path: Path, place: Path, digest: str, most: int | None) -> None:
    """Compress a file to `place` in one step. Raises _TooLarge, and TaskError if it has another digest."""
    found = hashlib.sha256()
    with replacing(place) as hidden:
        # Nobody else reads what has not the digest that was signed, see deploy.
        hidden.touch(0o600)
        # Without a name and a time in the header, compression is reproducible.
        with (
            open(path, "rb", opener=only_file) as source,
            open(hidden, "wb") as file,
            gzip.GzipFile("", "wb", 6, file, mtime=0) as target,
        ):
            while piece := source.read(_PIECE):
                found.update(piece)
                target.write(piece)
                if most is not None and file.tell() > most:
                    raise _TooLarge
        if most is not None and hidden.stat().st_size > most:
            raise _TooLarge
        if found.hexdigest() != digest:
            raise TaskError(f"{path} changed while it was copied: does a run go on? Wait for it, and sign off again.")
        hidden.chmod(place.parent.stat().st_mode & 0o666)


def _is_whole(place: Path) -> bool:
    """Return whether a kept file exists and has the digest in its name."""
    try:
        unpack_kept(place)
    except TaskError:
        return False
    return True


def unpack_kept(place: Path, target: IO[bytes] | None = None) -> None:
    """Write the unpacked bytes of a kept file to `target`, or only check them.

    Raises
    ------
    TaskError
        The file is missing, a link, or damaged, or its digest is not the one in its name.
    """
    restore = "Restore it from a backup."
    if place.is_symlink() or not place.is_file():
        raise TaskError(f"{place} is {'a link' if place.is_symlink() else 'gone'}. {restore}")
    digest = hashlib.sha256()
    try:
        with open(place, "rb", opener=only_file) as packed, gzip.open(packed) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
                if target:
                    target.write(piece)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TaskError(f"{place} is damaged ({error}). {restore}") from error
    if digest.hexdigest() != place.name.partition(".")[0]:
        raise TaskError(f"{place} was altered. {restore}")


def needed(history: Sequence[Move]) -> dict[str, list[str]]:
    """Return the files that the kept releases need, each with the names of these releases."""
    kept, found = kept_releases(history), dict[str, list[str]]()
    for entry in history:
        if entry["action"] == "deploy" and entry["release"] in kept:
            for name in entry.get("data", []):
                found.setdefault(name, []).append(entry["release"])
    return found


def check(releases: Releases, history: Sequence[Move]) -> tuple[list[str], list[str]]:
    """Return the successful checks of the kept data, and the problems, one line each."""
    files = needed(history)
    problems = []
    for name, users in files.items():
        try:
            unpack_kept(releases.data / name)
        except TaskError as error:
            problems.append(f"training data of {' and '.join(users)}: {error}")
    good = len(files) - len(problems)
    return [f"training data: {good} files in {releases.data}, each as it was signed"] if good else [], problems


def tidy(releases: Releases, history: Sequence[Move]) -> None:
    """Delete the data that only pruned releases needed, and set aside files that no line of the history names.

    The latter may be left by a killed process, or belong to lines that a restored older history lacks.
    """
    if not releases.data.is_dir():
        return
    delete_leftovers(releases.data)
    used, named = needed(history), {name for entry in history for name in entry.get("data", [])}
    for path in releases.data.iterdir():
        if path.name in used or path.name.startswith("."):
            continue
        if path.name in named:
            path.unlink()
            logging.info("[deploy] deleted %s, which no release needs any more", path)
        else:
            releases.put_aside(path)
    flush(releases.data)
