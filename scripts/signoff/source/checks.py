"""Checks of what has arrived: whether it is a whole table, from which a model of the target can learn."""

import collections
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from signoff.base.errors import TaskError, nearest
from signoff.base.files import only_file
from signoff.tables.cells import MOSTLY, is_blank, parse_number, texts
from signoff.tables.csv_file import csv_rows, header, parse_options, read_ahead, text_options

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
_INFINITIES = texts(
    [sign + word for sign in ("", "+", "-") for word in ("inf", "Inf", "INF", "infinity", "Infinity", "INFINITY")]
)


@dataclass
class Goal:
    """What is known of the target: how many values and numbers it has, their range, and an example of other values."""

    values: int = 0
    numbers: int = 0
    least: float = float("inf")
    most: float = float("-inf")
    word: str | None = None


def check_columns(table: Path, name: str, target: str | None, delimiter: str) -> None:
    """Check the header of a CSV file.

    Raises
    ------
    TaskError
        It is empty, a column name is a duplicate, or `target` is missing or the only column.
    """
    columns = header(table)
    if not "".join(columns).strip():
        raise TaskError(f"{name} is empty. Check what writes it.")
    others = [(mark, word) for mark, word in SEPARATORS.items() if mark in columns[0] and mark != delimiter]
    if len(columns) == 1 and others:
        mark, word = others[0]
        raise TaskError(
            f"{name} seems to be separated by {word}. Set reader.delimiter: {json.dumps(mark)} in the config."
        )
    twice = sorted(each for each, count in collections.Counter(columns).items() if count > 1)
    if twice:
        raise TaskError(f"{name}: duplicate column name {', '.join(map(repr, twice))}. Rename one of them.")
    if target is not None and target not in columns:
        with open(table, encoding="utf-8", newline="", opener=only_file) as file:
            for line, row in itertools.islice(csv_rows(file, name), 1, 50):
                if target in row:
                    raise TaskError(
                        f"{name}: {target!r} (the target) is in line {line}, which seems to be the header. "
                        "Delete the lines above it."
                    )
        raise TaskError(f"{name} has no column {target!r} (the target): {nearest(target, columns)}")
    if target is not None and len(columns) == 1:
        raise TaskError(f"{name} has only the target {target!r}, and nothing to predict it from.")


def check_rows(table: Path, name: str, target: str | None, goal: Goal) -> int:
    """Return the number of records of a CSV file, read batch by batch, and add its target to `goal`.

    Raises
    ------
    TaskError
        It has rows of different lengths, or infinities among numbers.
    """
    columns, records = header(table), 0
    # Reading a column takes longer than searching the bytes for the word.
    suspects = columns if _mentions_infinity(table) else []
    wanted = dict.fromkeys([*suspects, target or columns[0]])
    try:
        options = {"parse_options": parse_options(table), "convert_options": text_options([*wanted])}
        with pyarrow.csv.open_csv(table, **options) as reader:
            for batch in read_ahead(reader):
                for column in suspects:
                    _refuse_infinities(batch[column], f"{name}: column {column!r}", records, column == target)
                if target is not None:
                    _add_target(goal, batch[target])
                records += batch.num_rows
    except pa.ArrowInvalid as error:
        raise TaskError(f"{name}: {_uneven_row(table, name, len(columns)) or error}") from error
    return records


def _mentions_infinity(table: Path) -> bool:
    """Return whether a file contains the letters with which an infinity begins, even inside another word."""
    with open(table, "rb", opener=only_file) as file:
        end = b""
        while piece := file.read(1 << 20):
            # In lower case. Searching bytes in bytes takes three times as long.
            text = np.frombuffer(end + piece, "uint8") | 0x20
            if ((text[:-2] == ord("i")) & (text[1:-1] == ord("n")) & (text[2:] == ord("f"))).any():
                return True
            end = piece[-2:]
    return False


def _uneven_row(table: Path, name: str, expected: int) -> str | None:
    """Return what is wrong with the first row that has more or fewer fields than the header."""
    with open(table, encoding="utf-8", newline="", opener=only_file) as file:
        for line, fields in csv_rows(file, name):
            if fields and len(fields) != expected:
                return (
                    f"line {line} has {len(fields)} fields, the header has {expected}. "
                    "Correct it, or quote the text that holds the delimiter."
                )
    return None


def check_enough(records: int, name: str) -> None:
    """Raise TaskError if a table has too few rows to hold any out."""
    if records < 2:
        found = "only a header and no row" if records == 0 else "only one row"
        raise TaskError(f"{name} has {found}. A model needs many; check what writes it.")


def _refuse_infinities(text: pa.Array, where: str, rows_before: int, is_target: bool) -> None:
    """Raise TaskError if a column of numbers contains an infinity."""
    infinite = pc.is_in(text, _INFINITIES)
    if not pc.any(infinite).as_py():
        return
    others = pc.filter(text, pc.and_(pc.invert(infinite), pc.is_valid(text)))
    numbers = len(pc.drop_null(parse_number(pa.chunked_array([others]))))
    if is_target or (numbers and numbers >= MOSTLY * len(others)):
        row = rows_before + infinite.index(True).as_py() + 1
        raise TaskError(
            f"{where} holds an infinity ({text[row - rows_before - 1]} in row {row}). "
            "Write such values as missing (an empty cell), or leave the column out."
        )


def _add_target(goal: Goal, text: pa.Array) -> None:
    """Add one batch of the target to what is known of it."""
    numbers = parse_number(pa.chunked_array([text]))
    goal.values += len(text) - text.null_count
    goal.numbers += len(numbers) - numbers.null_count
    bounds = pc.min_max(numbers).as_py()
    if bounds["min"] is not None:
        goal.least, goal.most = min(goal.least, bounds["min"]), max(goal.most, bounds["max"])
    words = pc.filter(text, pc.and_(pc.is_valid(text), pc.is_null(numbers)))
    blanks = is_blank(words)
    goal.values -= pc.sum(blanks).as_py() or 0
    words = pc.filter(words, pc.invert(blanks))
    if goal.word is None and len(words):
        goal.word = words[0].as_py()


def check_target(goal: Goal, where: str) -> None:
    """Raise TaskError if a model cannot learn from the target."""
    if goal.values == 0:
        raise TaskError(f"{where} has no value. Choose another column.")
    if goal.numbers < MOSTLY * goal.values:
        raise TaskError(
            f"{where} is not a number: {goal.values - goal.numbers:,} of {goal.values:,} values are like "
            f"{goal.word!r}. This workflow is for regression; choose a column of numbers."
        )
    if goal.least == goal.most:
        raise TaskError(
            f"{where} is constant: every value is {goal.least:g}. There is nothing to learn. Choose another column."
        )
