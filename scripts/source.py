"""The data source: a file, a folder or pattern of files, a URL, or a query; what version it is in, and its bytes."""

import datetime
import glob
import hashlib
import json
import logging
import re
from pathlib import Path
from urllib.parse import unquote

import database
import store
import web
from address import LIMITS, Limits, Unreachable, expand, shown, split_url
from retry import retry
from task import TaskError, redact, sha256

PATTERN = re.compile(r"[*?\[]")
# What is taken from a folder; a pattern takes what it names.
TABLE = re.compile(r"\.(csv|tsv|txt|parquet|pq)(\.(gz|xz|zip))?$", re.IGNORECASE)
# What tells in a log that the last data were used.
GOING_ON = "going on with"
logger = logging.getLogger(__name__)


def kind(source: str, query: str | None = None) -> str:
    """Return who reads an expanded source: "database", "web", "store" or "disk".

    Raises
    ------
    TaskError
        None does.
    """
    scheme = split_url(source).scheme if "://" in source else ""
    if query:
        return "database"
    if scheme in ("http", "https"):
        return "web"
    if scheme in ("", "file"):
        return "disk"
    if scheme.partition("+")[0] in database.SCHEMES:
        raise TaskError(
            f"{shown(source)} is a database: name the rows to read, one SQL statement, with reader.query (for make "
            "init, QUERY=)."
        )
    import fsspec

    if scheme in fsspec.available_protocols():
        return "store"
    raise TaskError(
        f"{shown(source)}: cannot read {scheme}://. Give a path, or a file://, http://, https:// or s3:// URL, or with "
        "reader.query that of a database."
    )


def parts(source: str, query: str | None = None, limits: Limits = LIMITS) -> list[str]:
    """Return what an expanded source is made of, in order of name: the files of a folder or pattern, else itself.

    Of a folder, only files of tables count, and none that is hidden or begins with "_". Its own folders do not.

    Raises
    ------
    TaskError
        Nothing is there.
    """
    who = kind(source, query)
    if who in ("database", "web"):
        return [source]
    if who == "store":
        found = retry(on=Unreachable)(store.parts)(source, limits.timeout_s)
        if not found and not PATTERN.search(source):
            return [source]
        is_folder = not PATTERN.search(source)
    else:
        path = Path(unquote(split_url(source).path) if "://" in source else source)
        if path.is_file():
            return [str(path)]
        is_folder = path.is_dir()
        if not is_folder and not PATTERN.search(str(path)):
            raise TaskError(f"the source {source} does not exist. Correct raw_data_source_url in the config.")
        names = path.iterdir() if is_folder else map(Path, glob.glob(str(path), recursive=True))
        found = [str(each) for each in names if each.is_file()]
    visible = sorted(each for each in found if not each.rpartition("/")[2].startswith((".", "_")))
    tables = [each for each in visible if TABLE.search(each)] if is_folder else visible
    if not tables:
        what = "holds no file of a table (.csv, .csv.gz, .parquet, …)" if is_folder else "matches no file"
        raise TaskError(f"the source {source} {what}. Correct raw_data_source_url in the config.")
    return tables


def label(part: str) -> str:
    """Return what records and errors call a part: its path or URL, without secrets."""
    return redact(shown(part))


def fetch(part: str, query: str | None, download: Path, limits: Limits) -> tuple[Path, dict]:
    """Return where the bytes of a part are on this machine, and their version; a remote one goes to `download`."""
    who = kind(part, query)
    if who == "disk":
        return Path(part), disk_version(Path(part))
    if who == "database":
        return download, retry(on=Unreachable)(database.version)(part, query, limits.timeout_s, download)
    if who == "web":
        return download, retry(on=Unreachable)(web.download)(part, download, limits)
    return download, retry(on=Unreachable)(store.download)(part, download, limits.timeout_s)


def disk_version(path: Path) -> dict[str, int]:
    """Return the modification time (nanoseconds since 1970) and size (bytes) of a local file."""
    status = path.stat()
    return {"mtime_ns": status.st_mtime_ns, "size": status.st_size}


def as_text(version: dict) -> str:
    """Return a remote version as text: the ETag is enough, and the length may be missing in one of two answers."""
    return json.dumps({"etag": version["etag"]} if "etag" in version else version, sort_keys=True)


def together(versions: dict[str, str]) -> str:
    """Return one text for the versions of a source's parts: that of the only one, else a digest of names and all."""
    if len(versions) == 1:
        return next(iter(versions.values()))
    return "sha256:" + hashlib.sha256(json.dumps(versions, sort_keys=True).encode()).hexdigest()


def read_record(source: str, query: str | None, record: Path) -> dict | None:
    """Return what the last ingest wrote down, or None where there is none, or one of another source."""
    try:
        last = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = (last.get("source"), last.get("query")) == (shown(source), query) and "source_version" in last
    return last if same else None


def age(record: dict) -> str:
    """Return how long ago a record's data were ingested, in words."""
    then = datetime.datetime.fromisoformat(record["ingested_at"])
    hours = (datetime.datetime.now(datetime.UTC) - then).total_seconds() / 3600
    if hours < 1:
        return f"{max(hours, 0) * 60:.0f} minutes"
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def use_last(error: Exception, record: dict, data: Path) -> str:
    """Return the one line that a run says when it goes on with the last good file."""
    return redact(f"{error}; {GOING_ON} {data}, ingested {age(record)} ago ({record['ingested_at']})")


def source_version(
    source: str,
    data: Path,
    on_unreachable: str = "use_last",
    limits: Limits = LIMITS,
    query: str | None = None,
) -> str:
    """Return a text that changes when the content of `source` does, and only then, as far as can be told.

    A local file is told by its SHA-256, which is taken from the record of the last ingest as long as modification
    time and size are the same. A remote one is told by its ETag, Last-Modified and length; by the SHA-256 of its
    content where the server sends neither of the first two. A query is told by the SHA-256 of its rows, and a folder
    by its files. A source that cannot be reached now counts as unchanged, with a warning, when `data` was ingested
    from it, and `on_unreachable` allows it. A source that is wrong (missing, 404) gives a version of its own, so that
    the ingest runs and says what is wrong.
    """
    last = None
    try:
        last = read_record(source, query, data.with_suffix(".json"))
        found = parts(expand(source), query, limits)
        on_disk = kind(found[0], query) == "disk"
        if last and on_disk and last["version"] == {label(part): disk_version(Path(part)) for part in found}:
            return last["source_version"]
        return together({label(part): part_version(part, query, limits) for part in found})
    except TaskError as error:
        return redact(f"error: {error}")
    except Unreachable as error:
        if last and data.is_file() and on_unreachable == "use_last":
            logger.warning(use_last(error, last, data))
            return last["source_version"]
        return redact(f"unreachable: {error}")


def part_version(part: str, query: str | None, limits: Limits) -> str:
    """Return the version of one part as text, read no further than it takes to tell."""
    who = kind(part, query)
    if who == "disk":
        return "sha256:" + sha256(Path(part))
    if who == "database":
        return as_text(retry(on=Unreachable)(database.version)(part, query, limits.timeout_s))
    if who == "store":
        return as_text(retry(on=Unreachable)(store.version)(part, limits.timeout_s))
    version = retry(on=Unreachable)(web.version)(part, limits)
    return as_text(version) if version else "sha256:" + retry(on=Unreachable)(web.digest)(part, limits)
