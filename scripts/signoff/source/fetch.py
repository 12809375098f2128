"""The data source: a file, a folder or pattern of files, a URL, or a query; what version it is in, and its bytes."""

import hashlib
import json
import logging
import re
from pathlib import Path
from types import ModuleType

from signoff.base.errors import TaskError
from signoff.base.files import sha256
from signoff.base.redaction import redact
from signoff.base.retry import retry
from signoff.source import database, disk, object_store, web
from signoff.source.address import Unreachable, expand, refuse_chain, shown, split_url
from signoff.source.last_ingest import read_record, use_last
from signoff.source.options import READER, Reader

# What is taken from a folder; a pattern takes what it names.
TABLE = re.compile(
    r"\.((csv|tsv|txt|jsonl|ndjson)(\.(gz|xz|bz2|zst|zip))?|parquet|pq|feather|arrow|orc|xlsx|xlsm)$", re.IGNORECASE
)
# The kinds of sources that have schemes of their own; what else there is, fsspec may know.
KINDS = (disk, web)
logger = logging.getLogger(__name__)


def kind(source: str, query: str | None = None) -> ModuleType:
    """Return the module that reads an expanded source.

    Each has `version` (what tells one state of it from another) and, but for the disk, `download`, and `digest` where
    there may be no version; those that know folders and patterns have `listing`. All take what `reader` of the config
    says.

    Raises
    ------
    TaskError
        None does.
    """
    refuse_chain(source)
    scheme = split_url(source).scheme if "://" in source else ""
    if query:
        return database
    for each in KINDS:
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
    known = ", ".join(f"{scheme}://" for each in KINDS for scheme in each.SCHEMES if scheme)
    raise TaskError(
        f"{shown(source)}: cannot read {scheme}://. Give a path, or a {known} or s3:// URL, or with reader.query that "
        "of a database."
    )


def parts(source: str, reader: Reader = READER) -> list[str]:
    """Return what an expanded source is made of, in order of name: the files of a folder or pattern, else itself.

    Of a folder, only files of tables count, and none that is hidden or begins with "_". Its own folders do not.

    Raises
    ------
    TaskError
        Nothing is there.
    """
    who = kind(source, reader.query)
    found = retry(on=Unreachable)(who.listing)(source, reader) if hasattr(who, "listing") else None
    if found is None:
        return [disk.path_of(source) if who is disk else source]
    names, is_folder = found
    visible = sorted(each for each in names if not each.rpartition("/")[2].startswith((".", "_")))
    tables = [each for each in visible if TABLE.search(each)] if is_folder else visible
    if not tables:
        what = "holds no file of a table (.csv, .csv.gz, .parquet, …)" if is_folder else "matches no file"
        raise TaskError(f"the source {source} {what}. Correct raw_data_source_url in the config.")
    return tables


def label(part: str) -> str:
    """Return what records and errors call a part: its path or URL, without secrets."""
    return redact(shown(part))


def fetch(part: str, download: Path, reader: Reader) -> tuple[Path, dict]:
    """Return where the bytes of a part are on this machine, and their version; a remote one goes to `download`."""
    who = kind(part, reader.query)
    if who is disk:
        return Path(part), disk.version(Path(part))
    return download, retry(on=Unreachable)(who.download)(part, download, reader)


def state_of(part: str, reader: Reader) -> dict | None:
    """Return what tells without reading it that a part is as it was; None where only its `part_version` does."""
    return disk.version(Path(part)) if kind(part, reader.query) is disk else None


def part_version(part: str, reader: Reader) -> str:
    """Return the version of one part as text, read no further than it takes to tell."""
    who = kind(part, reader.query)
    if who is disk:
        return "sha256:" + sha256(Path(part))
    version = retry(on=Unreachable)(who.version)(part, reader)
    return as_text(version) if version else "sha256:" + retry(on=Unreachable)(who.digest)(part, reader)


def as_text(version: dict) -> str:
    """Return a remote version as text: the ETag is enough, and the length may be missing in one of two answers."""
    return json.dumps({"etag": version["etag"]} if "etag" in version else version, sort_keys=True)


def together(versions: dict[str, str]) -> str:
    """Return one text for the versions of a source's parts: that of the only one, else a digest of names and all."""
    if len(versions) == 1:
        return next(iter(versions.values()))
    return "sha256:" + hashlib.sha256(json.dumps(versions, sort_keys=True).encode()).hexdigest()


def source_version(source: str, data: Path, reader: Reader = READER) -> str:
    """Return a text that changes when the content of `source` does, and only then, as far as can be told.

    A local file is told by its SHA-256, which is taken from the record of the last ingest as long as its times, inode
    and size are the same. A remote one is told by its ETag, Last-Modified and length; by the SHA-256 of its content
    where the server sends neither of the first two. A query is told by the SHA-256 of its rows, and a folder
    by its files. A source that cannot be reached now counts as unchanged, with a warning, when `data` was ingested
    from it, and `reader` allows it. A source that is wrong (missing, 404) gives a version of its own, so that
    the ingest runs and says what is wrong.
    """
    last = None
    try:
        last = read_record(source, reader.query, data.with_suffix(".json"))
        found = parts(expand(source), reader)
        on_disk = kind(found[0], reader.query) is disk
        if last and on_disk and last["version"] == {label(part): disk.version(Path(part)) for part in found}:
            return last["source_version"]
        return together({label(part): part_version(part, reader) for part in found})
    except TaskError as error:
        return redact(f"error: {error}")
    except Unreachable as error:
        if last and data.is_file() and reader.on_unreachable == "use_last":
            logger.warning(use_last(error, last, data))
            return last["source_version"]
        return redact(f"unreachable: {error}")
