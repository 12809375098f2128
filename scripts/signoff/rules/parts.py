"""The parts of the data and the weeks of the backtest: Snakemake asks again once a checkpoint has found them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from snakemake.io import expand

from signoff.base.files import read_json
from signoff.source.last_ingest import SplitRecord, parts_with_model


@dataclass(frozen=True)
class Parts:
    """The parts of the source, as functions of wildcards for the inputs of rules.

    Parameters
    ----------
    checkpoints
        Snakemake's, with `split_source`.
    """

    checkpoints: Any

    def plan(self) -> dict[str, Any]:
        """Return the record of `split_source`: the parts, each with its rows and pieces."""
        return _read_plan(self.checkpoints.split_source.get().output.record)

    def with_model(self) -> dict[str, Any]:
        """Return the parts that get a model each; one object for all jobs, since each of many models asks."""
        record = Path(self.checkpoints.split_source.get().output.record)
        return _read_with_model(record, record.stat().st_mtime_ns)

    def once_split(self, path: str) -> Callable[[Any], str]:
        """Return a file that Snakemake looks at only when `split_source` has run: before, it would seem outdated."""

        def found(wildcards: Any) -> str:
            self.plan()
            return path

        return found

    def rows(self) -> dict[str, int]:
        """Return the rows of each part."""
        return {part: about["rows"] for part, about in self.plan()["parts"].items()}

    def raw(self) -> list[str]:
        """Return the raw data of all parts."""
        return list(expand("data/raw/parts/{part}.csv", part=self.plan()["parts"]))

    def pieces(self, wildcards: Any) -> list[str]:
        """Return the files in which `split_source` has put the rows of the part {part}."""
        found = self.plan()["parts"][wildcards.part]["pieces"]
        return [f"data/source/{wildcards.part}/{piece}" for piece in found]


def plan_of_weeks(checkpoints: Any) -> dict[str, Any]:
    """Return for each model of the backtest the weeks that train it and those that it scores, from `split_weeks`."""
    return _read_plan(checkpoints.split_weeks.get().output.plan)


def _read_plan(path: str) -> dict[str, Any]:
    """Return the JSON file of a checkpoint; it is read once for all jobs, and again if it has changed."""
    return _read(Path(path), Path(path).stat().st_mtime_ns)


@functools.cache
def _read(path: Path, _changed: int) -> dict[str, Any]:
    return read_json(path)


@functools.cache
def _read_with_model(path: Path, changed: int) -> dict[str, Any]:
    return dict(parts_with_model(cast(SplitRecord, _read(path, changed))))
