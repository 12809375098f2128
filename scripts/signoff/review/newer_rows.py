"""Rows newer than a release, with their values: its features of earlier rows then do not end with its own data."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from signoff.base.errors import TaskError, nearest
from signoff.features.earlier_rows import Earlier, micros_of, remembered
from signoff.model.records import Metadata
from signoff.review.batch_rows import blocks, open_batch
from signoff.review.row_scores import Scorer, cleaned_rows


@dataclass(frozen=True)
class Newer:
    """A CSV file of rows in the form of the source, plain or compressed, and how its cells are read.

    `missing` has spellings of a missing value, besides the usual ones.
    """

    path: Path
    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    missing: tuple[str, ...] = ()


def with_newer(scorer: Scorer, newer: Newer | None) -> Scorer:
    """Return a scorer whose features of earlier rows also count the rows of a file that are newer than its own.

    Rows are cleaned as in training. Those that are not newer than the release's data, or cannot be used, are left out.

    Raises
    ------
    TaskError
        The file is missing, is not a table, or lacks a column.
    """
    earlier, metadata = scorer.model.earlier, scorer.model.metadata
    if newer is None:
        return scorer
    if not newer.path.is_file():
        raise TaskError(f"scoring.history: {newer.path} does not exist. Correct the path, or remove the key.")
    if earlier is None:
        logging.warning("%s is not read: %s has no features of earlier rows", newer.path, scorer.release)
        return scorer
    found = pd.concat([earlier.rows, *_rows(newer, metadata, earlier)], ignore_index=True)
    added = len(found) - len(earlier.rows)
    logging.info("%d rows of %s are newer than the data of the release", added, newer.path)
    model = dataclasses.replace(scorer.model, earlier=Earlier(found, earlier.since, earlier.time))
    return dataclasses.replace(scorer, model=model)


def _rows(newer: Newer, metadata: Metadata, earlier: Earlier) -> list[pd.DataFrame]:
    """Return the rows that are newer, with the columns that the features need."""
    columns, end = metadata["history"]["columns"], metadata["history"]["end"]
    found = []
    with open_batch(newer.path) as stream:
        for text, _, _ in blocks(stream, str(newer.path), newer.delimiter, newer.encoding, newer.decimal):
            for name in columns:
                if name not in text.column_names:
                    raise TaskError(f"{newer.path} has no column {name!r}: {nearest(name, text.column_names)}")
            cleaned, reasons = cleaned_rows(text, columns, newer.missing, None)
            usable = pd.DataFrame(cleaned)[(reasons == "") & cleaned[earlier.time].notna()]
            usable = usable[micros_of(usable[earlier.time]) > end]
            if len(usable):
                found.append(remembered(usable, metadata["recipe"]))
    return found
