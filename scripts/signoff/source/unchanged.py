"""What of a source is as it was: a file, the rows that it began with, the pieces that were made of it."""

import hashlib
import os
from pathlib import Path

from signoff.base.files import sha256
from signoff.source.fetch import part_version, state_of
from signoff.source.options import Reader
from signoff.tables.csv_file import parse_options


def whole(pieces: Path, file: dict) -> bool:
    """Tell whether all pieces of a file of the source are there."""
    return all((pieces / part / file["id"]).is_file() for part in file["parts"])


def summed(pieces: Path, files: dict[str, dict]) -> dict[str, dict]:
    """Return for each part its pieces, how many rows they have, and the SHA-256 of what they hold together."""
    found: dict[str, dict] = {}
    for file in files.values():
        for part, rows in file["parts"].items():
            each = found.setdefault(part, {"rows": 0, "pieces": []})
            each["rows"] += rows
            each["pieces"].append(file["id"])
    for part, each in found.items():
        each["pieces"].sort()
        digests = "".join(sha256(pieces / part / name) for name in each["pieces"])
        each["sha256"] = hashlib.sha256(digests.encode()).hexdigest()
    return dict(sorted(found.items()))


def intact(pieces: Path, record: dict) -> bool:
    """Tell whether the pieces are those of a record: whoever was killed before it wrote one has left others."""
    files = record["files"]
    return all(whole(pieces, each) for each in files.values()) and summed(pieces, files) == record["parts"]


def grown(table: Path, before: dict | None) -> tuple[dict, int]:
    """Return what tells a table later (bytes, sha256, quoted, ended), and from which byte on its rows are new.

    That is 0 where it does not begin with the whole rows of the table that `before` tells of, or is quoted where that
    was not.
    """
    before = before or {"bytes": 0}
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
    return {"bytes": size, "sha256": found[1], "quoted": quoted, "ended": ended}, start if as_before else 0


def same(part: str, reader: Reader, version: dict, text: str) -> bool:
    """Tell whether a part of the source is still in a version, which `text` says as text."""
    state = state_of(part, reader)
    return state == version if state else part_version(part, reader) == text
