"""The rows of a request, JSON or CSV, and the response: the same values as `make predict` writes."""

import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from signoff.base.errors import TaskError
from signoff.base.numbers import counted, rounded
from signoff.review.batch_check import BatchReport, batch_report
from signoff.review.batch_rows import OURS, blocks, columns_to_keep, divide, named
from signoff.review.row_scores import Beside, Scorer, score
from signoff.serving.options import CellForm

# How errors name what a client has sent.
_BODY = "the body"
# The columns of a response besides the reasons of predictions.
_ANSWERED = ("row_number", "prediction", "prediction_low", "prediction_high")


@dataclass(frozen=True)
class RequestRows:
    """n rows as text, their numbers (from 1), and for other rows, which are no row of the table, the reason by number.

    The columns of `text` have the names, and its cells the values, that `ingest_data` would write.
    """

    text: pa.Table
    numbers: np.ndarray
    uneven: list[tuple[int, str]]


@dataclass(frozen=True)
class _Answer:
    """The response: the differences from the released data, and the rows with predictions or reasons.

    `scored` has the columns of a file of predictions, for the live record.
    """

    report: BatchReport
    scored: pa.Table
    rejected: pa.Table
    last: Sequence[str]

    @property
    def content(self) -> dict[str, Any]:
        """The answer as JSON holds it."""
        return {**self._about, "predictions": self._predictions.to_pylist(), "rejected_rows": self._rejected}

    @property
    def text(self) -> str:
        """The same as JSON. Raises TaskError if a number is not finite."""
        about, rejected = (json.dumps(each, ensure_ascii=False) for each in (self._about, self._rejected))
        return f'{about[:-1]}, "predictions": {_json_of(self._predictions)}, "rejected_rows": {rejected}}}'

    @property
    def _about(self) -> dict[str, Any]:
        return cast(dict[str, Any], rounded(cast(dict[str, Any], self.report)))

    @property
    def _predictions(self) -> pa.Table:
        return self.scored.select([name for name in (*_ANSWERED, *self.last) if name in self.scored.column_names])

    @property
    def _rejected(self) -> list[dict[str, Any]]:
        return cast(list[dict[str, Any]], self.rejected.select(["row_number", "reason"]).to_pylist())


def _json_of(table: pa.Table) -> str:
    """Return n rows as a list of objects, with the numbers as a CSV file has them: Python takes four times as long."""
    pieces: list[Any] = []
    for name, values in zip(table.column_names, table.columns, strict=True):
        pieces += [f"{', ' if pieces else '{'}{json.dumps(name)}: ", _json_values(name, values)]
    return f"[{', '.join(pc.binary_join_element_wise(*pieces, '}', '').to_pylist())}]"


def _json_values(name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return values, text or numbers, as they are in JSON."""
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return pa.chunked_array([[json.dumps(value, ensure_ascii=False) for value in values.to_pylist()]], pa.string())
    if pa.types.is_floating(values.type) and not pc.all(pc.is_finite(values), min_count=0).as_py():
        raise TaskError(f"the {name} of a row is not a finite number, as JSON needs. Look for extreme values in it.")
    return pc.cast(values, pa.string()).fill_null("null")


def rows_of_csv(body: bytes, form: CellForm) -> RequestRows:
    """Return the rows of a CSV text with a header. Raises TaskError if it is not a table, or not in that encoding."""
    tables, numbers, uneven = [], [], []
    for text, count, others in blocks(io.BytesIO(body), _BODY, form.delimiter, form.encoding, form.decimal):
        tables.append(text)
        numbers.append(count)
        uneven += others
    return RequestRows(pa.concat_tables(tables), np.concatenate(numbers), sorted(uneven))


def rows_of_json(body: bytes, form: CellForm) -> RequestRows:
    """Return the rows of a JSON list of objects; a number keeps its digits, null is a missing value.

    Raises
    ------
    TaskError
        It is not JSON, or not a list of objects.
    """
    # A number keeps its digits; `str` returns the same text, without a call of Python for each of them.
    cell: Any = str if form.decimal == "." else lambda digits: digits.replace(".", form.decimal)
    read = partial(json.loads, parse_float=cell, parse_int=cell, parse_constant=cell)
    try:
        content = body.decode(json.detect_encoding(body), "surrogatepass")
        found = read(content)
        if not _names_are_distinct(content, found):
            # Takes twice as long.
            found = read(content, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise TaskError(f"{_BODY} is not JSON: it is not UTF-8 text.") from error
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{_BODY} is not JSON: {error}.") from error
    if not isinstance(found, list) or not found:
        raise TaskError(f'{_BODY} must be a list of rows: [{{"column": value, …}}, …].')
    numbers = list(range(1, len(found) + 1))
    try:
        text, uneven = _table(found) if {*map(type, found)} == {dict} else None, []
        if text is None:
            uneven = [(n, reason) for n, record in enumerate(found, 1) if (reason := _unusable(record))]
            left_out = {number for number, _ in uneven}
            numbers = [number for number in numbers if number not in left_out]
            text = _table([found[number - 1] for number in numbers])
    except UnicodeError as error:
        raise TaskError(f"{_BODY} holds text that is not Unicode, such as half of a surrogate pair.") from error
    assert text is not None, "rows with a list or an object were left out"
    return RequestRows(named(text, form.decimal), np.array(numbers, dtype="int64"), uneven)


def _names_are_distinct(content: str, found: Any) -> bool:
    """Return whether JSON is a list of objects, none of which has a name twice. False may mean that nobody knows.

    A colon that follows a name has a quote or white space before it. There are as many of them as names, if no text
    has such a colon, too.
    """
    if not isinstance(found, list) or {*map(type, found)} != {dict}:
        return False
    colons = content.count('":') + sum(content.count(f"{space}:") for space in " \t\n\r" if space in content)
    return colons == sum(map(len, found))


class _Repeated(dict[str, Any]):
    """An object of which a name is there more than once: which of the values is meant is unknown."""


_NESTS: dict[type, str] = {list: "a list", dict: "an object", _Repeated: "an object"}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Repeated(found)


def _unusable(record: Any) -> str | None:
    """Return why an element of the list is not a row; None if it is one."""
    if type(record) is dict and _NESTS.keys().isdisjoint(map(type, record.values())):
        return None
    if isinstance(record, _Repeated):
        return "a column is there more than once"
    if not isinstance(record, dict):
        return "not an object with a value for each column"
    nested = [f"{name}: {_NESTS[type(value)]}, not a value" for name, value in record.items() if type(value) in _NESTS]
    return "; ".join(nested) or None


def _table(records: Sequence[dict[str, Any]]) -> pa.Table | None:
    """Return the values of rows as text; None if there is a list or an object among them."""
    orders = dict.fromkeys(map(tuple, records))
    names = list(dict.fromkeys(chain.from_iterable(orders)))
    if len(orders) == 1:
        values: Iterable[Sequence[Any]] = zip(*map(dict.values, records), strict=True)
    else:
        values = ([record.get(name) for record in records] for name in names)
    columns = list(map(_column, values))
    return None if any(column is None for column in columns) else pa.Table.from_arrays(columns, names)


def _column(values: Sequence[Any]) -> pa.Array | None:
    """Return the values of a column as text; None if there is a list or an object among them."""
    try:
        column = pa.array(values, pa.string())
    except pa.ArrowTypeError:
        if not {*map(type, values)} <= {str, bool, type(None)}:
            return None
        column = pa.array([_text(value) for value in values], pa.string())
    return column.fill_null("") if column.null_count else column


def _text(value: str | bool | None) -> str | None:
    """Return a value as a cell of a CSV file."""
    return str(value).lower() if isinstance(value, bool) else value


def answer(rows: RequestRows, scorer: Scorer, missing: Sequence[str], columns: Sequence[str]) -> _Answer:
    """Score rows as `make predict` does.

    Parameters
    ----------
    rows, scorer
        The rows, and the release.
    missing
        Spellings of a missing value, besides the usual ones.
    columns
        The columns to carry along to the live record; all if empty.

    Raises
    ------
    TaskError
        A column is missing, a duplicate, or one of those that are added; or a feature cannot be computed.
    """
    last = scorer.last
    if not len(rows.numbers) and rows.uneven and not rows.text.num_columns:
        # No element of the JSON list was a row.
        rows = RequestRows(_without_rows(scorer.needed), rows.numbers, rows.uneven)
    carried = columns_to_keep(rows.text.column_names, list(columns), scorer.needed, _BODY, [*OURS, *last])
    if not columns and scorer.released:
        # Others could not be matched with the data.
        carried = [name for name in carried if name in scorer.released.columns]
    check = scorer.check()
    predicted, reasons = score(rows.text, scorer.model, 1, missing, Beside(check, scorer.attribution))
    good, bad = divide(rows.text.select(carried), rows.numbers, rows.uneven, predicted, reasons)
    good = good.append_column("release", pa.array([scorer.release] * len(good), pa.string()))
    good = good.select([*(name for name in good.column_names if name not in last), *last])
    report = batch_report(check, scorer.release, Counter(scored=len(good), rejected=len(bad)))
    return _Answer(report, good, bad, last)


def refusal(report: BatchReport, on_drift: str) -> str | None:
    """Return why nothing is answered: all rows were rejected, or the rows differ and `scoring.on_drift` is stop."""
    if report["rejected"] and not report["scored"]:
        return f"{counted(report['rejected'], 'row')} rejected, none scored: see rejected_rows."
    if on_drift == "stop" and report["findings"]:
        said = "; ".join(each["sentence"] for each in report["findings"])
        return f"{said}. Nothing was predicted, because scoring.on_drift is stop."
    return None


def _without_rows(names: Sequence[str]) -> pa.Table:
    """Return a table of text without rows."""
    return pa.table({name: pa.array([], pa.string()) for name in names})
