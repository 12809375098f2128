"""What of a source is as it was: a file, the pieces that were made of it, the rows that a file began with."""

import hashlib
import os
from pathlib import Path

from csv_file import parse_options
from reader import Reader
from source import part_version, state_of
from task import sha256


def whole(pieces: Path, file: dict) -> bool:
    """Tell whether all pieces of a file of the source are there."""
    return all((pieces / part / file["id"]).is_file() for part in file["parts"])


def digest_of(pieces: Path, file: dict) -> str:
    """Return one digest of all pieces of a file of the source."""
    digests = "".join(sha256(pieces / part / file["id"]) for part in file["parts"])
    return hashlib.sha256(digests.encode()).hexdigest()


def grown(table: Path, known: dict | None, pieces: Path) -> tuple[dict, int]:
    """Return what tells a table later (bytes, sha256, quoted, ended), and from which byte on its rows are new.

    That is 0 where it does not begin with the whole rows of the `known` file, is quoted where those were not, or where
    the pieces are not those of these rows: whoever was killed may have left later ones.
    """
    # A record of before there was such a thing tells no table.
    before = (known or {}).get("table") or {"bytes": 0}
    size, quoted = table.stat().st_size, parse_options(table).newlines_in_values
    start, digest, found = min(before["bytes"], size), hashlib.sha256(), []
    with open(table, "rb") as file:
        for end in (start, size):
            while left := end - file.tell():
                digest.update(file.read(min(left, 1 << 20)))
            found.append(digest.hexdigest())
        file.seek(-1, os.SEEK_END)
        ended = file.read() == b"\n"
    as_before = before == {"bytes": start, "sha256": found[0], "quoted": quoted, "ended": True}
    as_before = as_before and digest_of(pieces, known) == known["pieces_sha256"]
    return {"bytes": size, "sha256": found[1], "quoted": quoted, "ended": ended}, start if as_before else 0


def same(part: str, reader: Reader, version: dict, text: str) -> bool:
    """Tell whether a part of the source is still in a version, which `text` says as text."""
    state = state_of(part, reader)
    return state == version if state else part_version(part, reader) == text
