"""The source: a file, a folder or pattern of files, a URL, or a query; its version, and its bytes."""

import hashlib
import json
import logging
import re
from pathlib import Path
from types import ModuleType

from signoff.base.config import ReaderConfig
from signoff.base.errors import TaskError
from signoff.base.files import sha256
from signoff.base.redaction import redact
from signoff.base.retry import retry
from signoff.source import database, disk, object_store, web
from signoff.source.address import Unreachable, expand, refuse_chain, shown, split_url
from signoff.source.last_ingest import Version, read_record, use_last
from signoff.source.options import READER

# What is read from a folder. A pattern reads what it matches.
_TABLE = re.compile(
    r"\.((csv|tsv|txt|jsonl|ndjson)(\.(gz|xz|bz2|zst|zip))?|parquet|pq|feather|arrow|orc|xlsx|xlsm)$", re.IGNORECASE
)
# The kinds of sources with their own schemes. fsspec may know others.
_SOURCES = (disk, web)
_logger = logging.getLogger(__name__)


def _kind(source: str, query: str | None = None) -> ModuleType:
    """Return the module that reads an expanded source.

    Each has `version` (what identifies the state of a part) and, except for the disk, `download`; `digest` if there may
    be no version; and `listing` if it knows folders and patterns. All take `reader` of the config.

    Raises
    ------
    TaskError
        No module reads it.
    """
    refuse_chain(source)
    scheme = split_url(source).scheme if "://" in source else ""
    if query:
        return database
    for each in _SOURCES:
        if scheme in each.SCHEMES:
            return each
    if scheme.partition("+")[0] in database.SCHEMES:
        raise TaskError(
            f"{shown(source)} is a database: name the rows to read, one SQL statement, with reader.query (for make "
            "init, QUERY=)."
        )
    import fsspec

    if scheme in fsspec.available_protocols():
        return object_store
    known = ", ".join(f"{scheme}://" for each in _SOURCES for scheme in each.SCHEMES if scheme)
    raise TaskError(
        f"{shown(source)}: cannot read {scheme}://. Give a path, or a {known} or s3:// URL, or with reader.query that "
        "of a database."
    )


def parts_of_source(source: str, reader: ReaderConfig = READER) -> list[str]:
    """Return the parts of an expanded source, sorted by name: the files of a folder or pattern, or the source itself.

    Of a folder, only files of tables count, but not those that are hidden or begin with "_", and no subfolders.

    Raises
    ------
    TaskError
        There are none.
    """
    who = _kind(source, reader.query)
    found = retry(on=Unreachable)(who.listing)(source, reader) if hasattr(who, "listing") else None
    if found is None:
        return [disk.path_of(source) if who is disk else source]
    names, is_folder = found
    visible = sorted(each for each in names if not each.rpartition("/")[2].startswith((".", "_")))
    tables = [each for each in visible if _TABLE.search(each)] if is_folder else visible
    if not tables:
        what = "holds no file of a table (.csv, .csv.gz, .parquet, …)" if is_folder else "matches no file"
        raise TaskError(f"the source {source} {what}. Correct raw_data_source_url in the config.")
    return tables


def label(part: str) -> str:
    """Return what records and errors call a part: its path or URL, without secrets."""
    return redact(shown(part))


def fetch(part: str, download: Path, reader: ReaderConfig) -> tuple[Path, Version]:
    """Return where the bytes of a part are on this machine, and their version; a remote one goes to `download`."""
    who = _kind(part, reader.query)
    if who is disk:
        return Path(part), disk.version(Path(part))
    return download, retry(on=Unreachable)(who.download)(part, download, reader)


def state_of_part(part: str, reader: ReaderConfig) -> Version | None:
    """Return what identifies the state of a part without reading it; None if only `part_version` does."""
    return disk.version(Path(part)) if _kind(part, reader.query) is disk else None


def part_version(part: str, reader: ReaderConfig) -> str:
    """Return the version of one part as text; the part is read only if nothing else identifies its state."""
    who = _kind(part, reader.query)
    if who is disk:
        return "sha256:" + sha256(Path(part))
    version: Version = retry(on=Unreachable)(who.version)(part, reader)
    return as_text(version) if version else "sha256:" + retry(on=Unreachable)(who.digest)(part, reader)


def as_text(version: Version) -> str:
    """Return a remote version as text. An ETag is enough, since another answer may lack the length."""
    return json.dumps({"etag": version["etag"]} if "etag" in version else version, sort_keys=True)


def joint_version(versions: dict[str, str]) -> str:
    """Return one text for the versions of a source's parts: that of a single part, or a digest of all."""
    if len(versions) == 1:
        return next(iter(versions.values()))
    return "sha256:" + hashlib.sha256(json.dumps(versions, sort_keys=True).encode()).hexdigest()


def source_version(source: str, data: Path, reader: ReaderConfig = READER) -> str:
    """Return a text that changes if and only if the content of `source` does, as far as can be known.

    A local file is identified by its SHA-256, which is taken from the record of the last ingest as long as its times,
    inode and size are the same. A remote file is identified by its ETag, Last-Modified and length, or by the SHA-256 of
    its content if the server sends neither of the first two; a query by the SHA-256 of its rows; a folder by its files.
    A source that cannot be reached counts as unchanged, with a warning, if `data` was ingested from it and `reader`
    allows it. A wrong source (missing, 404) has a version too, so that the ingest runs and says what is wrong.
    """
    last = None
    try:
        last = read_record(source, reader.query, data.with_suffix(".json"))
        found = parts_of_source(expand(source), reader)
        on_disk = _kind(found[0], reader.query) is disk
        if last and on_disk and last["version"] == {label(part): disk.version(Path(part)) for part in found}:
            return last["source_version"]
        return joint_version({label(part): part_version(part, reader) for part in found})
    except TaskError as error:
        return redact(f"error: {error}")
    except Unreachable as error:
        if last and data.is_file() and reader.on_unreachable == "use_last":
            _logger.warning(use_last(error, last, data))
            return last["source_version"]
        return redact(f"unreachable: {error}")
