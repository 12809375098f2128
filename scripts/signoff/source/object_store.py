"""Files in an object store, or on any other file system that fsspec knows: s3://, gs://, abfs://, sftp://, …"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from signoff.base.config import ReaderConfig
from signoff.base.errors import TaskError
from signoff.source.address import PATTERN, Cut, Unreachable, shown, split_url
from signoff.source.last_ingest import Version


@contextmanager
def _opened(url: str, reader: ReaderConfig) -> Iterator[tuple[Any, str]]:
    """Yield the fsspec file system of `url`, and the path on it; credentials are found as its library finds them.

    Raises
    ------
    TaskError
        The scheme is unknown, its package is missing, the file does not exist, or access is refused.
    Unreachable
        No connection, or a timeout.
    """
    import fsspec

    scheme = split_url(url).scheme
    # By itself s3fs waits for minutes. `retry` repeats a request, and logs it.
    limits = {
        "connect_timeout": min(10.0, reader.timeout_s),
        "read_timeout": reader.timeout_s,
        "retries": {"max_attempts": 1},
    }
    options = {"config_kwargs": limits} if scheme in ("s3", "s3a") else {}
    try:
        # Without its caches, so that each answer is the store's.
        yield fsspec.core.url_to_fs(url, skip_instance_cache=True, use_listings_cache=False, **options)
    except (TaskError, Unreachable):
        raise
    except ImportError as error:
        raise TaskError(f"{shown(url)}: {error}. Install it into .venv, or give a path or another URL.") from error
    except FileNotFoundError as error:
        raise TaskError(
            f"the source {shown(url)} does not exist. Correct raw_data_source_url in the config."
        ) from error
    except Exception as error:
        # Each store's library has its own errors. Only their names are alike.
        names = " ".join(each.__name__ for each in type(error).__mro__)
        if not isinstance(error, PermissionError) and any(word in names for word in ("Connect", "Timeout", "OSError")):
            raise Unreachable(f"{shown(url)} cannot be reached ({error})") from error
        raise TaskError(f"{shown(url)} cannot be read ({error}). Check its name and the credentials.") from error


def listing(url: str, reader: ReaderConfig) -> tuple[list[str], bool] | None:
    """Return the URLs of the files in a folder, or that a pattern matches, and whether it is a folder; None for one."""
    is_pattern = bool(PATTERN.search(url))
    with _opened(url, reader) as (system, path):
        if is_pattern:
            found = system.glob(path)
        elif not system.isfile(path) and system.isdir(path):
            found = system.ls(path, detail=False)
        else:
            return None
        files = [system.unstrip_protocol(each) for each in found if system.isfile(each)]
    return (files, not is_pattern) if files or is_pattern else None


def version(url: str, reader: ReaderConfig) -> Version:
    """Return what identifies the state of a file: its ETag and size (bytes), or what fsspec knows."""
    with _opened(url, reader) as (system, path):
        known = system.info(path)
        if known["type"] != "file":
            raise TaskError(f"the source {shown(url)} is not a file. Correct raw_data_source_url in the config.")
        return {"etag": known["ETag"], "size": known["size"]} if "ETag" in known else {"key": system.ukey(path)}


def download(url: str, path: Path, reader: ReaderConfig) -> Version:
    """Copy a file of the store to `path`, and return its version.

    Raises
    ------
    Cut
        Fewer bytes arrived than the store had announced, or the file was replaced meanwhile.
    """
    before = version(url, reader)
    with _opened(url, reader) as (system, remote):
        system.get_file(remote, str(path))
    if path.stat().st_size != before.get("size", path.stat().st_size) or version(url, reader) != before:
        raise Cut(f"{shown(url)} changed, or was cut, while it was read")
    return before
