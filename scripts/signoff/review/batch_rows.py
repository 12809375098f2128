"""The rows of a batch: read as text some at a time, and divided into those that were scored and the others."""

import codecs
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from signoff.base.errors import TaskError, nearest
from signoff.source.compressed import COMPRESSED, SUFFIXES, open_text, packed_as, refusing_damage
from signoff.tables.cells import with_point
from signoff.tables.csv_file import with_names

# Bytes of text that are in memory at a time, several times over.
_BLOCK = 8 << 20
OURS = ["row_number", "prediction", "prediction_low", "prediction_high", "release", "reason"]


def open_batch(batch: Path) -> IO[bytes]:
    """Open a batch, plain or compressed, for reading its text. Raises TaskError if it is in another format."""
    form = packed_as(batch)
    if form not in (None, *COMPRESSED):
        raise TaskError(
            f"{batch} is a file of the format {form}. A batch is CSV, plain or compressed ({', '.join(SUFFIXES)})."
        )
    return open_text(batch, form, str(batch))


def named(text: pa.Table, decimal: str) -> pa.Table:
    """Return the text with column names and numbers in the notation of `ingest_data`."""
    columns = text.columns
    if decimal == ",":
        columns = [pa.array([with_point(each) for each in column.to_pylist()], pa.string()) for column in columns]
    return pa.Table.from_arrays(columns, with_names(text.column_names))


def blocks(
    stream: IO[bytes], name: str, delimiter: str = ",", encoding: str = "utf-8", decimal: str = "."
) -> Iterator[tuple[pa.Table, np.ndarray, list[tuple[int, str]]]]:
    """Yield the rows of a CSV stream as text, block by block, with their numbers (from 1), and the uneven rows.

    Uneven rows have more or fewer fields than the header. They are given as (number, reason), possibly one block early,
    and are in no block. The first and the last block are empty.

    Raises
    ------
    TaskError
        The stream is not a table, or not in that encoding.
    """
    uneven: list[tuple[int, str]] = []
    skipped: set[int] = set()

    def skip(row: Any) -> str:
        reason = f"{row.actual_columns} fields, the header has {row.expected_columns}: {row.text[:200]!r}"
        # Arrow counts the header as row 1.
        uneven.append((row.number - 1, reason))
        skipped.add(row.number - 1)
        return "skip"

    def told() -> list[tuple[int, str]]:
        new, uneven[:] = list(uneven), []
        return new

    _check_encoding(encoding)
    options = {
        "read_options": pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK, encoding=encoding),
        "parse_options": pyarrow.csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip
        ),
        "convert_options": pyarrow.csv.ConvertOptions(default_column_type=pa.string(), strings_can_be_null=False),
    }
    try:
        with refusing_damage(name), pyarrow.csv.open_csv(stream, **options) as reader:
            yield named(reader.schema.empty_table(), decimal), np.array([], dtype="int64"), []
            row = 1
            for batch in reader:
                numbers: list[int] = []
                while len(numbers) < batch.num_rows:
                    if row not in skipped:
                        numbers.append(row)
                    row += 1
                yield named(pa.Table.from_batches([batch]), decimal), np.array(numbers, dtype="int64"), told()
            yield named(reader.schema.empty_table(), decimal), np.array([], dtype="int64"), told()
    except (pa.ArrowInvalid, UnicodeError) as error:
        hint = "Is it CSV, and reader.encoding right?"
        raise TaskError(f"{name} cannot be read as {encoding} text: {error}. {hint}") from error


def _check_encoding(encoding: str) -> None:
    """Raise TaskError if Python knows no encoding of that name, or one that is not of text: a client may name any."""
    try:
        "".encode(encoding)
        # As Arrow does.
        codecs.getincrementaldecoder(encoding)().decode(pa.py_buffer(b"a,b"))
    except UnicodeError:
        # What is read tells more.
        return
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise TaskError(f"Python knows no encoding {encoding!r} of text. Try cp1252 or latin-1.") from error


def divide(
    text: pa.Table,
    numbers: np.ndarray,
    uneven: list[tuple[int, str]],
    predicted: Mapping[str, Any],
    reasons: np.ndarray,
) -> tuple[pa.Table, pa.Table]:
    """Return the rows that were scored, with predictions and their intervals, and the others, with the reasons."""
    is_good = reasons == ""
    carried = dict(zip(text.column_names, text.columns, strict=True))
    made = {name: pa.array(values, from_pandas=True) for name, values in predicted.items()}
    scored = pa.table({"row_number": numbers, **carried, **made})
    bad = pa.table({"row_number": numbers, "reason": pa.array(reasons, pa.string()), **carried})
    if is_good.all():
        # Filters take longer than all else, if there are few rows.
        bad = bad.slice(0, 0)
    else:
        scored, bad = scored.filter(pa.array(is_good, pa.bool_())), bad.filter(pa.array(~is_good, pa.bool_()))
    if uneven:
        lines = {"row_number": [number for number, _ in uneven], "reason": [reason for _, reason in uneven]}
        lines |= {name: pa.nulls(len(uneven), pa.string()) for name in carried}
        bad = pa.concat_tables([bad, pa.table(lines)]).sort_by("row_number")
    return scored, bad


def columns_to_keep(
    names: list[str], carried: list[str], needed: list[str], batch: str, ours: Sequence[str] = OURS
) -> list[str]:
    """Return the columns to carry along. Raises TaskError if a column is missing, a duplicate, or one of ours."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TaskError(f"{batch}: duplicate column name {', '.join(map(repr, twice))}. Rename one of them.")
    for name in (*needed, *carried):
        if name not in names:
            raise TaskError(f"{batch} has no column {name!r}: {nearest(name, names)}")
    carried = carried or names
    taken = [name for name in carried if name in ours]
    if taken:
        raise TaskError(
            f"{batch}: the predictions have a column {taken[0]} of their own. Rename it, or name the columns to carry "
            "along in scoring.columns (--columns)."
        )
    return carried
