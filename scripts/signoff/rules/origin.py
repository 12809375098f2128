"""The source of a project's data, as a parameter of the rules that read it."""

import functools
from dataclasses import dataclass
from pathlib import Path

from signoff.rules.settings import Settings
from signoff.source import fetch


@dataclass(frozen=True)
class Origin:
    """The source of a project.

    Parameters
    ----------
    settings
        The checked config.
    raw
        The file that represents all raw data; the record of the last ingest is beside it.
    """

    settings: Settings
    raw: Path

    @functools.cached_property
    def version(self) -> str:
        """A text that changes when the source does, found once in a run."""
        return fetch.source_version(self.settings.raw_data_source_url, self.raw, self.settings.reader)
