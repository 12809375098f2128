"""The rows of a source by the part (a week, a month, a value) that each belongs to: files in a folder for each part."""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from signoff.base.errors import TaskError
from signoff.base.files import sha256
from signoff.source.last_ingest import FileRecord, PartRecord, SplitRecord
from signoff.source.names import folder_name
from signoff.tables.cells import is_blank
from signoff.tables.csv_file import header, parse_options, text_options

PERIOD_FORMATS = {"week": "%G-W%V", "month": "%Y-%m"}
# Rows that have no time, or no value in the column.
_NO_PART = "missing"
_BLOCK_BYTES = 16 << 20
# Before the name of a pooled part. No value has a folder that begins with it.
_POOLED = "@"
# The pooled part with all rows.
_ALL = f"{_POOLED}all"


def _blocks(
    table: Path, columns: list[str], block_bytes: int = _BLOCK_BYTES, start: int = 0
) -> pyarrow.csv.CSVStreamingReader:
    """Return a reader of a CSV file that yields its cells as text, block by block, from the byte `start` on."""
    file = pa.OSFile(str(table))
    file.seek(start)
    return pyarrow.csv.open_csv(
        file,
        read_options=pyarrow.csv.ReadOptions(block_size=block_bytes, column_names=header(table) if start else None),
        parse_options=parse_options(table),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()), include_columns=columns, strings_can_be_null=False
        ),
    )


def _writing(table: Path, header: bool) -> pyarrow.csv.WriteOptions:
    """Return how pieces of `table` are written: with quotes if it has any, whatever a single piece holds.

    So the bytes of a piece do not depend on where the blocks of the source end.
    """
    style = "needed" if parse_options(table).newlines_in_values else "none"
    return pyarrow.csv.WriteOptions(include_header=header, quoting_style=style, quoting_header=style)


def copy_rows(table: Path, head: Path, rows: int) -> int:
    """Add at most `rows` rows of a CSV file, its first ones, to `head`, and return how many these were."""
    copied = 0
    with open(head, "ab") as file, _blocks(table, header(table)) as reader:
        for batch in reader:
            some = pa.Table.from_batches([batch.slice(0, rows - copied)])
            pyarrow.csv.write_csv(some, file, _writing(table, header=file.tell() == 0))
            copied += some.num_rows
            if copied == rows:
                break
    return copied


@dataclass(frozen=True)
class RowsToSplit:
    """Rows of a CSV file that are split, and how.

    Attributes
    ----------
    table
        A file as `ingest_data` writes it.
    column, by
        The column whose values make the parts; "week" or "month" of its dates, or "value".
    date_format
        How the dates are written; None if `by` is "value".
    start
        The byte at which the rows begin, 0 for all rows of the file.
    pool
        The column whose values make the pooled parts, which hold the rows once more; empty for one with all rows, None
        for none.
    """

    table: Path
    column: str
    by: str
    date_format: str | None = None
    start: int = 0
    pool: str | None = None

    def parts_of(self, batch: pa.RecordBatch) -> list[np.ndarray]:
        """Return the part of each row, and its pooled part if there are any."""
        encoded = batch[self.column].dictionary_encode()
        own = part_names(encoded.dictionary, self.by, self.date_format)[np.from_dlpack(encoded.indices)]
        return [own] if self.pool is None else [own, pooled_names(batch, self.pool)]


def split_table(
    rows: RowsToSplit, folder: Path, name: str, before: Path | None = None, block_bytes: int = _BLOCK_BYTES
) -> dict[str, int]:
    """Write the rows of each part to `folder`/PART/`name`, and return how many each has.

    If the rows do not begin with the file, they are written behind a copy of `before`/PART/`name`.
    """
    table, counts = rows.table, dict[str, int]()
    options = {is_first: _writing(table, is_first) for is_first in (True, False)}
    with _blocks(table, header(table), block_bytes, rows.start) as reader:
        for batch in reader:
            for part, some in _grouped(batch, rows):
                path = folder / part / name
                path.parent.mkdir(exist_ok=True)
                if rows.start and before and part not in counts and (before / part / name).is_file():
                    shutil.copyfile(before / part / name, path)
                with open(path, "ab") as file:
                    pyarrow.csv.write_csv(some, file, options[file.tell() == 0])
                counts[part] = counts.get(part, 0) + len(some)
    return dict(sorted(counts.items()))


def _grouped(batch: pa.RecordBatch, rows: RowsToSplit) -> Iterator[tuple[str, pa.Table]]:
    """Yield the parts that the rows of a block belong to, each with its rows in the order that they had."""
    for names in rows.parts_of(batch):
        labels = list(dict.fromkeys(names))
        number = {label: at for at, label in enumerate(labels)}
        codes = np.fromiter((number[name] for name in names), "int64", len(names))
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes))
        sorted_rows = pa.Table.from_batches([batch]).take(
            pa.Int64Array.from_buffers(pa.int64(), len(order), [None, pa.py_buffer(order)])
        )
        for part, first, end in zip(labels, [0, *ends[:-1]], ends, strict=True):
            yield part, sorted_rows.slice(first, end - first)


def pooled_names(rows: pa.RecordBatch | pa.Table, pool: str) -> np.ndarray:
    """Return the pooled part of each row: that of its value in the column `pool`, or of all rows if it is empty."""
    if not pool:
        return np.full(len(rows), _ALL, dtype="object")
    values = rows[pool].combine_chunks() if isinstance(rows, pa.Table) else rows[pool]
    return np.array([f"{_POOLED}{each}" for each in part_names(values, "value", None)], dtype="object")


def is_pooled(part: str) -> bool:
    """Return whether a part is pooled: whether other parts hold its rows, too."""
    return part.startswith(_POOLED)


def part_names(values: pa.Array, by: str, date_format: str | None) -> np.ndarray:
    """Return the part that each of n texts belongs to: names that a folder can have."""
    if by in PERIOD_FORMATS:
        assert date_format is not None
        # It imports pandas, which takes longer than splitting a small table by value does.
        from signoff.tables.dates import dates_of

        dates = dates_of(values.to_pandas().astype("object").str.strip(), date_format)
        names, missing = dates.dt.strftime(PERIOD_FORMATS[by]).to_numpy(), dates.isna().to_numpy()
    else:
        names = np.array([folder_name(each.strip()) for each in values.to_pylist()], dtype="object")
        missing = np.array(is_blank(values).to_pylist(), dtype="bool")
    return np.where(missing, _NO_PART, names)


def format_of_dates(rows: Path, column: str, by: str) -> str:
    """Return how the dates of a column are written, judged by the first rows.

    Raises
    ------
    TaskError
        They are not dates, or their notation cannot be determined.
    """
    from signoff.tables.table import parse_table

    text = pyarrow.csv.read_csv(rows, parse_options=parse_options(rows), convert_options=text_options([column]))
    table = parse_table(text, {column: "date"})
    known = text[column].drop_null()
    if len(known) == 0 or table.frame[column].count() < len(known) / 2:
        example = f", such as {known[0].as_py()!r}" if len(known) else ""
        raise TaskError(
            f"data.partition_by: {by} needs dates, but time_column {column!r} holds none that can be read{example}. "
            "Write them as 2024-12-31, or partition by another column."
        )
    return table.formats[column]


def whole(pieces: Path, file: FileRecord) -> bool:
    """Return whether all pieces of a file of the source exist."""
    return all((pieces / part / file["id"]).is_file() for part in file["parts"])


def summed(pieces: Path, files: dict[str, FileRecord]) -> dict[str, PartRecord]:
    """Return for each part its pieces, how many rows they have, and the SHA-256 of their digests."""
    found: dict[str, PartRecord] = {}
    for file in files.values():
        for part, rows in file["parts"].items():
            each = found.setdefault(part, {"rows": 0, "pieces": [], "sha256": ""})
            each["rows"] += rows
            each["pieces"].append(file["id"])
    for part, each in found.items():
        each["pieces"].sort()
        digests = "".join(sha256(pieces / part / name) for name in each["pieces"])
        each["sha256"] = hashlib.sha256(digests.encode()).hexdigest()
    return dict(sorted(found.items()))


def intact(pieces: Path, record: SplitRecord) -> bool:
    """Return whether the pieces are those of a record. A run that was killed before it wrote one has left others."""
    files = record["files"]
    return all(whole(pieces, each) for each in files.values()) and summed(pieces, files) == record["parts"]
