"""Parts of a table that are cleaned one by one: all have the kinds of columns and the policies of the first rows."""

from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from signoff.base.errors import TaskError
from signoff.base.files import read_json
from signoff.tables.batches import Columns
from signoff.tables.cells import MOSTLY
from signoff.tables.cleaning import refuse_loss
from signoff.tables.csv_file import read_text
from signoff.tables.records import Cleaned, CleaningCounts
from signoff.tables.table import ParsedTable, parse_table

# With fewer values, their kind cannot be judged.
_FEWEST_VALUES = 20
_WORDS = {"number": "numbers", "boolean": "true and false", "date": "dates", "empty": "nothing at all"}


def read_part(path: Path, like: Path) -> ParsedTable:
    """Return a part of a table, with the kinds of columns and the notations of dates of the other parts.

    Parameters
    ----------
    path
        A file as `ingest_data` writes it.
    like
        The counts of `clean_data`, with kinds and date_formats.

    Raises
    ------
    TaskError
        A column is missing, or has values of another kind here.
    """
    decided = read_json(like)
    kinds = decided["kinds"]
    try:
        text = read_text(path, list(kinds))
    except (pa.ArrowInvalid, KeyError) as error:
        raise TaskError(f"{path} cannot be read as a table with the columns of {like}: {error}.") from error
    table = parse_table(text, kinds, decided["date_formats"])
    for name, kind in kinds.items():
        column = pc.drop_null(text[name])
        bad = len(column) if kind == "empty" else len(table.bad.get(name, ()))
        if bad > (1 - MOSTLY) * len(column) and (len(column) >= _FEWEST_VALUES or kind == "empty"):
            example = table.bad[name].iloc[0] if name in table.bad else column[0].as_py()
            raise TaskError(
                f"part {path.stem}: column {name!r} holds {_WORDS.get(kind, kind)} by the rows that decided what the "
                f"columns are, and other values here: {bad:,} of {len(column):,}, such as {example!r}. Correct the "
                f"source, or give its dtype in the data contract, or delete {like.stem}.csv in data/source to decide "
                "again."
            )
    return table


def columns_of_part(path: Path, like: Path) -> Columns:
    """Return the kinds and dtypes of the columns of a part; raises as `read_part`."""
    table = read_part(path, like)
    return Columns(table.kinds, table.formats, {name: str(table.frame[name].dtype) for name in table.kinds})


def gather_counts(counts: list[Cleaned], max_rows_lost: float) -> Cleaned:
    """Return the sums of `clean_data`'s counts over all parts. Raises TaskError if too many rows are lost."""
    # Each part's digest is of that part alone.
    others = ("kinds", "date_formats", "policies", "raw_sha256")
    total: dict[str, Any] = {}
    for each in counts:
        total = summed_counts(total, {name: value for name, value in each.items() if name not in others})
    refuse_loss(cast(CleaningCounts, total), max_rows_lost)
    first = counts[0]
    decided = {"kinds": first["kinds"], "date_formats": first["date_formats"], "policies": first["policies"]}
    return cast(Cleaned, total | decided)


def summed_counts(total: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return the sums of nested counts."""
    return {
        key: summed_counts(total.get(key, {}), each) if isinstance(each, dict) else total.get(key, 0) + each
        for key, each in more.items()
    }
