"""The rows of a request, JSON or CSV, and the response: the same values as `make predict` writes."""

import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import numpy as np
import pyarrow as pa

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
        names = [name for name in (*_ANSWERED, *self.last) if name in self.scored.column_names]
        predictions = self.scored.select(names).to_pylist()
        rejected = self.rejected.select(["row_number", "reason"]).to_pylist()
        return {**rounded(cast(dict[str, Any], self.report)), "predictions": predictions, "rejected_rows": rejected}


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
    try:
        found = json.loads(body, parse_float=cell, parse_int=cell, parse_constant=cell, object_pairs_hook=_once)
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
    names = list(dict.fromkeys(chain.from_iterable(records)))
    columns = [_column(records, name) for name in names]
    return None if any(column is None for column in columns) else pa.Table.from_arrays(columns, names)


def _column(records: Sequence[dict[str, Any]], name: str) -> pa.Array | None:
    """Return the values of a column as text; None if there is a list or an object among them."""
    try:
        values = [record[name] for record in records]
    except KeyError:
        values = [record.get(name) for record in records]
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
