"""Parts of a table: what is decided once holds in all of them, and what belongs together is read one by one."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from signoff.base.errors import TaskError
from signoff.base.files import read_json
from signoff.tables.batches import Columns
from signoff.tables.cells import MOSTLY
from signoff.tables.cleaning import refuse_loss
from signoff.tables.csv_file import parse_options, text_options
from signoff.tables.table import Table, parse_table

# Of fewer values nobody can say what they are.
FEWEST_VALUES = 20
KINDS = {"number": "numbers", "boolean": "true and false", "date": "dates", "empty": "nothing at all"}


def read_part(path: Path, like: Path) -> Table:
    """Return a part of a table, its columns of the kinds, and its dates in the notation, that others of it have.

    Parameters
    ----------
    path
        A file as `ingest_data` writes it.
    like
        The counts of `clean_data`, which hold kinds and date_formats.

    Raises
    ------
    TaskError
        The part has other columns, or one of them is of another kind here.
    """
    decided = read_json(like)
    kinds = decided["kinds"]
    columns = list(kinds)
    try:
        options = text_options(columns)
        text = pyarrow.csv.read_csv(path, parse_options=parse_options(path), convert_options=options)
    except (pa.ArrowInvalid, KeyError) as error:
        raise TaskError(f"{path} cannot be read as a table with the columns of {like}: {error}.") from error
    table = parse_table(text, kinds, decided["date_formats"])
    for name, kind in kinds.items():
        column = pc.drop_null(text[name])
        bad = len(column) if kind == "empty" else len(table.bad.get(name, ()))
        if bad > (1 - MOSTLY) * len(column) and (len(column) >= FEWEST_VALUES or kind == "empty"):
            example = table.bad[name].iloc[0] if name in table.bad else column[0].as_py()
            raise TaskError(
                f"part {path.stem}: column {name!r} holds {KINDS.get(kind, kind)} by the rows that decided what the "
                f"columns are, and other values here: {bad:,} of {len(column):,}, such as {example!r}. Correct the "
                f"source, or say what it is with a dtype in the data contract, or delete {like.stem}.csv in "
                "data/source, which decides anew."
            )
    return table


def columns_of_part(path: Path, like: Path) -> Columns:
    """Return what the columns of a part are; see `read_part`."""
    table = read_part(path, like)
    return Columns(table.kinds, table.formats, {name: str(table.frame[name].dtype) for name in table.kinds})


def gather_counts(counts: list[dict[str, Any]], max_rows_lost: float) -> dict[str, Any]:
    """Return the sums of `clean_data`'s counts over all parts. Raises TaskError if too many rows are lost."""
    decided = ("kinds", "date_formats", "policies")
    # Each part's digest is of that part alone.
    others = (*decided, "raw_sha256")
    total = _added([{name: value for name, value in each.items() if name not in others} for each in counts])
    refuse_loss(total, max_rows_lost)
    return total | {name: counts[0][name] for name in decided}


def _added(counts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums of nested counts, all with the same keys."""
    found: dict[str, Any] = {}
    for name, first in counts[0].items():
        values = [each[name] for each in counts]
        found[name] = _added(values) if isinstance(first, dict) else sum(values)
    return found
