"""Tables that come row by row in another form than CSV: JSON lines, and a sheet of an Excel file."""

import datetime
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from signoff.base.config import ReaderConfig
from signoff.base.errors import TaskError, nearest
from signoff.tables.csv_file import LONGEST, write_rows

# Excel stores a text once for all cells that have it. All of these are held in memory; a sheet of a million rows has
# fewer.
_MOST_SHARED = 1 << 29
_MOST_COLUMNS = 100_000
# Of a sheet.
_MOST_ROWS = 1 << 20


def copy_json_lines(opened: Callable[[], IO[bytes]], table: Path, name: str, missing: list[str]) -> None:
    """Write JSON lines to `table` as CSV: a column for each key, in order of appearance, numbers as they are written.

    Raises
    ------
    TaskError
        A line is not a JSON object, or a value is a list or an object.
    """
    columns: dict[str, None] = {}
    with opened() as stream:
        for record in _objects(stream, name):
            columns |= dict.fromkeys(record)
            if len(columns) > _MOST_COLUMNS:
                raise TaskError(
                    f"{name} has more than {_MOST_COLUMNS:,} keys, each of which would be a column. Give all "
                    "lines the same keys."
                )
    with opened() as stream, open(table, "w", encoding="utf-8", newline="") as file:
        rows = ([record.get(key, "") for key in columns] for record in _objects(stream, name))
        write_rows(file, _with_header([*columns], rows, missing))


def copy_excel(arrived: Path, table: Path, name: str, reader: ReaderConfig) -> None:
    """Write a sheet of an Excel file to `table` as CSV: the first one, or the one that `reader` names.

    Raises
    ------
    TaskError
        The sheet does not exist, or it unpacks to more than `reader` allows.
    """
    import openpyxl

    with zipfile.ZipFile(arrived) as archive:
        sizes = {each.filename: each.file_size for each in archive.infolist()}
    if sum(sizes.values()) > reader.max_bytes or sizes.get("xl/sharedStrings.xml", 0) > _MOST_SHARED:
        raise TaskError(f"{name} is too large, unpacked, to be read as an Excel file. Save its sheet as CSV.")
    try:
        book = openpyxl.load_workbook(arrived, read_only=True, data_only=True)
    except (KeyError, ValueError, SyntaxError) as error:
        raise TaskError(f"{name} is damaged, or no Excel file ({error}). Save it again as .xlsx, or as CSV.") from error
    names = [each.title for each in book.worksheets]
    if not names:
        raise TaskError(f"{name} has no sheet of cells. Save it with one.")
    if reader.sheet is not None and reader.sheet not in names:
        raise TaskError(f"reader.sheet: {name} has no sheet {reader.sheet!r}: {nearest(reader.sheet, names)}")
    sheet = book[reader.sheet or names[0]]
    sheet.reset_dimensions()
    try:
        with open(table, "w", encoding="utf-8", newline="") as file:
            # A row may have any number, and all rows before it would be made up.
            rows = _filled(sheet.iter_rows(max_row=_MOST_ROWS + 1), name)
            write_rows(file, _with_header(next(rows, []), rows, reader.missing))
    except (KeyError, ValueError, SyntaxError) as error:
        raise TaskError(f"{name} is damaged ({error}). Save it again as .xlsx, or as CSV.") from error
    finally:
        book.close()


def _with_header(header: list[str], rows: Iterator[list[str]], missing: list[str]) -> Iterator[list[str]]:
    """Yield a header and rows, in which the spellings of missing are empty cells."""
    yield header
    for row in rows:
        yield ["" if each in missing else each for each in row] if missing else row


def _objects(stream: IO[bytes], name: str) -> Iterator[dict[str, str]]:
    """Yield the objects of JSON lines, each value as text."""
    number = 0
    while line := stream.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise TaskError(f"{name}: line {number} is longer than {LONGEST:,} bytes. Write one object a line.")
        if not line.strip():
            continue
        try:
            pairs = json.loads(
                line.decode("utf-8-sig"), object_pairs_hook=_Pairs, parse_float=str, parse_int=str, parse_constant=str
            )
        except (ValueError, RecursionError) as error:
            raise TaskError(
                f"{name}: line {number} is not JSON in UTF-8 ({error}). Write one object a line."
            ) from error
        if not isinstance(pairs, _Pairs):
            raise TaskError(f"{name}: line {number} is not a JSON object. Write one object a line.")
        found = {key: _json_text(value, f"{name}: line {number}: {key!r}") for key, value in pairs}
        if len(found) < len(pairs):
            raise TaskError(f"{name}: line {number} names a key more than once. Rename one of them.")
        yield found


class _Pairs(list[tuple[str, object]]):
    """The pairs of a JSON object, to distinguish them from a list."""


def _json_text(value: object, where: str) -> str:
    """Return a value of JSON as text: nothing for null and NaN."""
    if value is None or value == "NaN":
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        raise TaskError(f"{where} holds a list or an object, no single value. Leave it out of the file.")
    return str(value)


def _filled(rows: Iterator[tuple[Any, ...]], name: str) -> Iterator[list[str]]:
    """Yield the rows of a sheet that have any cell, without empty ones behind the header's last.

    Raises
    ------
    TaskError
        There are more rows than a sheet may have.
    """
    width = 0
    for number, row in enumerate(rows, 1):
        if number > _MOST_ROWS:
            raise TaskError(f"{name} has a row beyond {_MOST_ROWS:,}, the last of a sheet. Save it again, or as CSV.")
        cells = [_cell_text(each) for each in row]
        while cells and not cells[-1] and len(cells) > width:
            cells.pop()
        if not any(cells):
            continue
        width = width or len(cells)
        yield [*cells, *[""] * (width - len(cells))]


def _cell_text(cell: Any) -> str:
    """Return a cell as text: nothing for an error such as #N/A, ISO 8601 for times."""
    value = cell.value
    if value is None or cell.data_type == "e":
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    return str(value)
