"""Tables that are kept by column: Parquet, Arrow (Feather) and ORC, in bounded memory whatever they unpack to."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from signoff.base.config import ReaderConfig
from signoff.base.errors import TaskError
from signoff.tables.csv_file import LONGEST

# Rows that are text at a time, and bytes of them: one long text, kept once, may be in all rows.
_ROWS = 1024
_TEXT_BYTES = 16 << 20


def copy_columns(arrived: Path, form: str, table: Path, name: str, reader: ReaderConfig) -> None:
    """Write a Parquet, Arrow or ORC file to `table` as CSV, batch by batch.

    Raises
    ------
    TaskError
        A column holds no single values, or it unpacks to more than `reader` allows.
    """
    batches = {"Parquet": _parquet, "Arrow": _arrow, "ORC": _orc}[form](arrived, name, reader)
    schema = next(batches)
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    with pyarrow.csv.CSVWriter(table, schema, write_options=options) as writer:
        for batch in batches:
            for some in _pieces(batch, name):
                columns = [
                    _as_written(column, field.type, reader.missing)
                    for column, field in zip(some.columns, schema, strict=True)
                ]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def _written(schema: pa.Schema, name: str) -> pa.Schema:
    """Return the kinds in which columns are written: as text, where CSV has no form for them."""
    simple = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_timestamp, pa.types.is_date)
    bytes_ = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    kinds = [each.type.value_type if pa.types.is_dictionary(each.type) else each.type for each in schema]
    nested = [
        each.name
        for each, kind in zip(schema, kinds, strict=True)
        if pa.types.is_nested(kind) or any(is_(kind) for is_ in bytes_)
    ]
    if nested:
        raise TaskError(f"{name}: column {', '.join(nested)} holds no single value a row. Leave it out of the file.")
    return pa.schema(
        [pa.field(each.name, each.type if any(is_(each.type) for is_ in simple) else pa.string()) for each in schema]
    )


def _parquet(arrived: Path, name: str, reader: ReaderConfig) -> Iterator[Any]:
    """Yield the schema to write, and the batches of a Parquet file."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(arrived) as file:
        schema = file.schema_arrow
        groups = (file.metadata.row_group(n) for n in range(file.metadata.num_row_groups))
        if sum(each.total_byte_size for each in groups) > reader.max_bytes:
            raise TaskError(
                f"{name} is larger than {reader.max_bytes:,} bytes unpacked. Correct raw_data_source_url in the "
                "config, or allow more with reader.max_bytes."
            )
        yield _written(schema, name)
        texts = [each.name for each in schema if pa.types.is_string(each.type)]
    # A text that is kept once is held once.
    with ParquetFile(arrived, read_dictionary=texts) as file:
        yield from file.iter_batches(batch_size=_ROWS)


def _arrow(arrived: Path, name: str, _reader: ReaderConfig) -> Iterator[Any]:
    """Yield the schema to write, and the batches of a file in Arrow's format."""
    with pa.memory_map(str(arrived)) as source, pa.ipc.open_file(source) as file:
        yield _written(file.schema, name)
        for n in range(file.num_record_batches):
            yield file.get_batch(n)


def _orc(arrived: Path, name: str, _reader: ReaderConfig) -> Iterator[Any]:
    """Yield the schema to write, and the stripes of an ORC file."""
    from pyarrow.orc import ORCFile

    file = ORCFile(arrived)
    yield _written(file.schema, name)
    for n in range(file.nstripes):
        yield file.read_stripe(n)


def _pieces(batch: pa.RecordBatch, name: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a batch, few enough at a time that their text fits into memory."""
    longest = 0
    for field, column in zip(batch.schema, batch.columns, strict=True):
        values = column.dictionary if isinstance(column, pa.DictionaryArray) else column
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            length = pc.max(pc.binary_length(values)).as_py() or 0
            if length > LONGEST:
                raise TaskError(
                    f"{name}: column {field.name} holds a text of {length:,} bytes; {LONGEST:,} are read at most. "
                    "Leave it out of the file."
                )
            longest += length
    step = max(1, min(_ROWS, _TEXT_BYTES // max(longest, 1)))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def _as_written(column: pa.Array, kind: pa.DataType, missing: list[str]) -> pa.Array:
    """Return a column in the kind in which it is written, without the spellings of missing."""
    found = column.cast(kind)
    if missing and pa.types.is_string(kind):
        found = pc.if_else(pc.is_in(found, pa.array(missing, pa.string())), None, found)
    return found
