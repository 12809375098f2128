"""Files on this machine: a file, a folder, or a pattern of files."""

import glob
from pathlib import Path
from urllib.parse import unquote

from signoff.base.config import ReaderConfig
from signoff.base.errors import TaskError
from signoff.source.address import PATTERN, split_url
from signoff.source.last_ingest import Version

SCHEMES = ("", "file")


def path_of(source: str) -> str:
    """Return the path of a source, which may be a file:// URL."""
    return unquote(split_url(source).path) if "://" in source else source


def listing(source: str, _reader: ReaderConfig) -> tuple[list[str], bool] | None:
    """Return the files of a folder or pattern, and whether it is a folder; None if `source` is one file.

    Raises
    ------
    TaskError
        The path does not exist.
    """
    path = Path(path_of(source))
    if path.is_file():
        return None
    if not path.is_dir() and not PATTERN.search(str(path)):
        raise TaskError(f"the source {source} does not exist. Correct raw_data_source_url in the config.")
    names = path.iterdir() if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))
    return [str(each) for each in names if each.is_file()], path.is_dir()


def version(path: Path) -> Version:
    """Return what identifies the state of a file: its times (nanoseconds since 1970), inode and size (bytes).

    A copy may keep an old modification time (`cp -p`, `tar`), but the system sets the time of the last change.
    """
    status = path.stat()
    return {
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
        "size": status.st_size,
    }
