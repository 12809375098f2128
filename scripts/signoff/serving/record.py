"""The predictions of a server, in files below predictions/, where the live record reads them."""

import os
import secrets
import threading
import time
from pathlib import Path

import pyarrow as pa

from signoff.base.errors import TaskError
from signoff.base.files import only_file
from signoff.tables.csv_file import rendered

# The folder of the files, and how many of them a process writes in a day, at most.
_FOLDER = Path("predictions/served")
_MOST_FILES = 200


class Predicted:
    """Appends rows to a file for each day (UTC), release and set of columns; each process has files of its own."""

    def __init__(self, folder: Path = _FOLDER):
        self.folder = folder
        self._files: dict[tuple[str, ...], Path] = {}
        self._day = ""
        self._writing = threading.Lock()

    def add(self, release: str, scored: pa.Table) -> None:
        """Append n rows, which have the columns of a file of predictions. A file never ends in half a row.

        Raises
        ------
        TaskError
            There are too many sets of columns.
        OSError
            The file cannot be written.
        """
        if not len(scored):
            return
        with self._writing:
            day = time.strftime("%Y-%m-%d", time.gmtime())
            if day != self._day:
                self._files, self._day = {}, day
            key = (release, *scored.column_names)
            path = self._files.get(key)
            if path is None and len(self._files) >= _MOST_FILES:
                raise TaskError(
                    f"requests have had {_MOST_FILES} different sets of columns today, and a file for each. "
                    "Name the columns to keep in scoring.columns."
                )
            content = rendered(scored, header=path is None)
            if path is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                path = self.folder / f"{day}-{release}-{secrets.token_hex(4)}.csv"
            _append(path, memoryview(content))
            self._files[key] = path


def _append(path: Path, content: memoryview) -> None:
    """Append all of `content`, or nothing."""
    descriptor = only_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW)
    try:
        before = os.fstat(descriptor).st_size
        try:
            while content:
                content = content[os.write(descriptor, content) :]
        except OSError:
            os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)
