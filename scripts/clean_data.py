"""Drop, fill or leave missing values by column, and count the values changed.

    python scripts/clean_data.py --input data/raw/raw_data.csv --output data/processed/cleaned_data.csv

The counts, the type of each column and its policy are written to the output's name with the suffix .json.
"""

import argparse
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from signoff.base import command_line
from signoff.base.command_line import json_object
from signoff.base.errors import TaskError, nearest
from signoff.base.files import read_json, sha256, write_json
from signoff.tables.batches import Columns, judged, tables
from signoff.tables.cleaning import by_policy, refuse_loss
from signoff.tables.counting import row_hashes
from signoff.tables.csv_file import read_ahead
from signoff.tables.delivery import counts_by_day
from signoff.tables.parts import columns_of_part, summed_counts
from signoff.tables.records import CleaningCounts
from signoff.tables.spill import Spill, distinct, repeats
from signoff.tables.table import ParsedTable
from signoff.tables.times import Times, ingest_time, time_column_of
from signoff.tables.writer import write_frames

# The hash of a missing value: 0 is that of the number 0.
_MISSING_HASH = 1


class _FarTimes(Exception):
    """Some times are far outside of the others, which is known only when all rows were read."""


@dataclass(frozen=True)
class _Policies:
    """What to do with missing values and duplicate rows.

    `columns` has a policy by column: "drop" the rows where it is missing, "leave" them, or {"fill": constant};
    `default` is that of every other column. A row without a value in a `required` column (the target, the time) is
    always dropped. `duplicates` "keep" or "drop" rows that equal an earlier row in every column. `max_rows_lost` is the
    largest share of rows that may be dropped, from 0 to 1; None: any.
    """

    columns: Mapping[str, object] = field(default_factory=dict)
    default: str = "drop"
    required: tuple[str, ...] = ()
    duplicates: str = "keep"
    max_rows_lost: float | None = 0.5

    def check_names(self, names: Iterable[str]) -> None:
        """Raise TaskError if a policy names an unknown column."""
        for column in (*self.columns, *self.required):
            if column not in names:
                raise TaskError(f"cleaning: there is no column {column!r}: {nearest(column, names)}")

    def of(self, column: str) -> object:
        """Return the policy of a column."""
        return "drop" if column in self.required else self.columns.get(column, self.default)


def clean_data(
    frame: pd.DataFrame,
    policies: Mapping[str, object] | None = None,
    default: str = "drop",
    required: tuple[str, ...] = (),
    duplicates: str = "keep",
    max_rows_lost: float = 0.5,
    bad: dict[str, pd.Series] | None = None,
) -> tuple[pd.DataFrame, CleaningCounts]:
    """Return the clean rows of `frame`, in their order, and counts of the values changed.

    Parameters
    ----------
    frame
        n rows × m columns, with a fresh RangeIndex.
    policies, default, required, duplicates, max_rows_lost
        See `_Policies`.
    bad
        By column the values that were not numbers or dates (missing in `frame`), by row: these rows are dropped
        whatever the policy, since nobody knows what the value should have been.

    Raises
    ------
    TaskError
        A policy names an unknown column or does not fit it; no row is left, or too many are lost.
    """
    table = ParsedTable(frame, {}, {}, bad or {})
    cleaning = _Cleaning(
        lambda: iter([table]),
        _Policies(policies or {}, default, required, duplicates, max_rows_lost),
        list(map(str, frame)),
    )
    clean = pd.concat(list(cleaning.frames()))
    return clean.reset_index(drop=True), cleaning.counts


class _Cleaning:
    """The cleaning of a table in batches, in bounded memory; a table in memory is one batch.

    `counts` and, by column, the first value that is not of its kind with its row (`examples`) are complete after
    `frames` has yielded all clean rows. `make` yields the batches, from the first one at each call. Hashes of rows that
    memory should not hold are kept in `folder`.
    """

    def __init__(
        self,
        make: Callable[[], Iterator[ParsedTable]],
        policies: _Policies,
        columns: list[str],
        folder: Path | None = None,
        times: Times | None = None,
    ):
        policies.check_names(columns)
        self.make, self.policies, self.folder, self.times = make, policies, folder, times
        self.narrowed = times is None
        self.counts: CleaningCounts
        self._sums: dict[str, Any] = {}
        self.examples: dict[str, tuple[int, object]] = {}

    def frames(self) -> Iterator[pd.DataFrame]:
        """Yield the clean rows. Raises TaskError if too many rows are lost, _FarTimes to be called again.

        Duplicate rows are detected with a 64-bit hash: among 30 million different rows the chance that two are taken
        for duplicates is one in 40,000.
        """
        if self.policies.duplicates == "drop":
            hashes = Spill(self.folder)
            for _ in _hashed(self._without_missing(), hashes):
                pass
            repeated = np.zeros(len(hashes), dtype=bool)
            for places in repeats(hashes):
                repeated[places] = True
            row, found = 0, int(repeated.sum())
            for clean in self._without_missing():
                yield clean[~repeated[row : (row := row + len(clean))]]
        else:
            hashes = Spill(self.folder)
            yield from _hashed(self._without_missing(), hashes)
            found = len(hashes) - distinct(hashes)
        self.counts = _with_duplicates(cast(CleaningCounts, self._sums), found, self.policies.duplicates)
        # Before the file is moved to its place; that of a part is judged with the others.
        if self.policies.max_rows_lost is not None:
            refuse_loss(self.counts, self.policies.max_rows_lost)

    def _without_missing(self) -> Iterator[pd.DataFrame]:
        """Yield the rows, duplicates included, and count."""
        self._sums, self.examples = {}, {}
        days: Counter[int] = Counter()
        for table in self.make():
            bad = dict(table.bad)
            if self.times:
                values = table.frame[self.times.column]
                wrong = np.logical_or.reduce([np.zeros(len(values), bool), *self.times.wrong(values).values()])
                if not self.narrowed:
                    days.update(counts_by_day(values[~wrong]))
                if wrong.any():
                    both = [bad.get(self.times.column, pd.Series(dtype="object")), values[wrong]]
                    bad[self.times.column] = pd.concat([each.astype("object") for each in both]).sort_index()
            clean, more = _clean_rows(table.frame, self.policies, bad)
            self._sums = summed_counts(self._sums, more)
            for name, values in bad.items():
                self.examples.setdefault(name, (values.index[0], values.iloc[0]))
            yield clean
        if self.times and not self.narrowed:
            self.narrowed, before = True, self.times
            self.times = before.narrowed(days)
            if self.times != before:
                raise _FarTimes


def _clean_rows(
    frame: pd.DataFrame, policies: _Policies, bad: dict[str, pd.Series]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the clean rows of one batch under their own index, and the counts; see `clean_data`."""
    clean = frame.copy(deep=False)
    nothing = np.zeros(len(frame), dtype=bool)
    missing, unreadable, columns = nothing.copy(), nothing.copy(), {}
    for column in frame.columns:
        wrong = frame.index.isin(bad[column].index) if column in bad else nothing
        absent = frame[column].isna().to_numpy() & ~wrong
        unreadable |= wrong
        count = int(absent.sum())
        columns[column] = {"missing": count, "unreadable": int(wrong.sum()), "dropped": 0, "filled": 0, "left": 0}
        values = frame[column]
        cleaned, done = by_policy(values, policies.of(column), wrong)
        columns[column][done] = count
        if done == "dropped":
            missing |= absent
        if cleaned is not values:
            clean[column] = cleaned
    drop = missing | unreadable
    if drop.any():
        clean = clean[~drop]
    dropped = {"unreadable": int(unreadable.sum()), "missing": int((missing & ~unreadable).sum())}
    return clean, {"rows_in": len(frame), "rows_out": len(clean), "rows_dropped": dropped, "columns": columns}


def _with_duplicates(counts: CleaningCounts, duplicates: int, policy: str) -> CleaningCounts:
    """Return the counts of `_clean_rows` with the number of duplicate rows and of those dropped."""
    dropped = duplicates if policy == "drop" else 0
    return {
        "rows_in": counts["rows_in"],
        "rows_out": counts["rows_out"] - dropped,
        "rows_dropped": {**counts["rows_dropped"], "duplicates": dropped},
        "duplicates": duplicates,
        "columns": counts["columns"],
    }


def _clean_file(
    path: Path, output: Path, columns: Columns, policies: _Policies, times: Times | None = None, side: bool = True
) -> _Cleaning:
    """Write the clean rows of a file to `output`, in batches; with `side`, its Arrow file too. See `clean_data`."""
    cleaning = _Cleaning(lambda: tables(path, columns), policies, list(columns.kinds), output.parent, times)
    kinds = columns.kinds if side else None
    try:
        write_frames(cleaning.frames, output, kinds)
    except _FarTimes:
        write_frames(cleaning.frames, output, kinds)
    return cleaning


def _hashed(frames: Iterator[pd.DataFrame], hashes: Spill) -> Iterator[pd.DataFrame]:
    """Yield `frames`, and add a hash of each row to `hashes` while the next frame is computed."""
    for frame in read_ahead(frames):
        hashes.add(row_hashes(frame, _MISSING_HASH))
        yield frame


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="the raw data, as ingest_data writes them")
    parser.add_argument("--output", required=True, type=Path, help="the CSV file to write")
    parser.add_argument(
        "--kinds", type=json_object, default={}, help='known types of columns: {"zip": "text"}; others are inferred'
    )
    parser.add_argument(
        "--date-formats",
        type=json_object,
        default={},
        help='known formats of dates: {"day": "%%d/%%m/%%Y"}; others are inferred',
    )
    parser.add_argument("--policies", type=json_object, default={}, help='by column: "drop", "leave" or {"fill": 0}')
    parser.add_argument("--default-policy", choices=["drop", "leave"], default="drop", help="for the other columns")
    parser.add_argument(
        "--required", action="append", default=[], help="columns that no row may lack, such as the target"
    )
    parser.add_argument("--time-column", help="the time of each row: rows with a time after the ingest are dropped")
    parser.add_argument("--find-time", choices=["yes"], help="else, the only column of dates is the time column")
    parser.add_argument("--past", action="append", default=[], help="columns whose times may lie far before the others")
    parser.add_argument("--future", action="append", default=[], help="columns whose times may be in the future")
    parser.add_argument("--duplicates", choices=["keep", "drop"], default="keep", help="what to do with duplicate rows")
    parser.add_argument("--max-rows-lost", type=float, default=0.5, help="the largest share of rows to drop")
    parser.add_argument(
        "--like", type=Path, metavar="JSON", help="of clean_data: the input is a part, of the same kinds of columns"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    args = _parser().parse_args(argv)
    with command_line.logged("clean_data", args, args.input):
        policies = _Policies(
            args.policies,
            args.default_policy,
            tuple(args.required),
            args.duplicates,
            None if args.like else args.max_rows_lost,
        )

        def cleaned(columns: Columns) -> tuple[Columns, _Cleaning]:
            _refuse_ambiguous(columns.formats)
            # A part is small, and read once.
            times = _times_of(args, columns.kinds)
            return columns, _clean_file(args.input, args.output, columns, policies, times, side=not args.like)

        if args.like:
            columns, cleaning = cleaned(columns_of_part(args.input, args.like))
        else:
            columns, cleaning = judged(args.input, args.kinds, cleaned, args.date_formats)
        counts = cleaning.counts
        for line in _lines_of(cleaning, columns.kinds):
            logging.warning("[clean_data] %s", line)
        logging.info("[clean_data] completed. Rows before: %d, rows after: %d.", counts["rows_in"], counts["rows_out"])
        logging.info("[clean_data] nulls handled: %s", _nulls_handled(counts))
        logging.info(
            "[clean_data] duplicate rows: %d, dropped: %d", counts["duplicates"], counts["rows_dropped"]["duplicates"]
        )
        found = {
            "kinds": columns.kinds,
            "date_formats": columns.formats,
            "policies": {name: policies.of(name) for name in columns.kinds},
        }
        digest = sha256(args.input)
        if not args.like and digest != _ingested_digest(args.input, digest):
            logging.warning("[clean_data] %s was edited or cut since it was ingested; it is used as it is", args.input)
        write_json(args.output.with_suffix(".json"), {**counts, **found, "raw_sha256": digest})
        logging.info("[clean_data] wrote cleaned data to %s", args.output)


def _ingested_digest(raw: Path, default: str) -> str:
    """Return the SHA-256 that raw data had when they were ingested; `default` without a record beside them."""
    record = raw.with_suffix(".json")
    found: str = read_json(record).get("sha256", default) if record.is_file() else default
    return found


def _times_of(args: argparse.Namespace, kinds: dict[str, str]) -> Times | None:
    """Return the time column and which of its times are wrong; None without such a column."""
    name = time_column_of(kinds, args.time_column, bool(args.find_time))
    if name is None:
        return None
    future = name in args.future
    # A column that was only found may hold dates to come.
    now = ingest_time(args.input) if args.time_column and not future else None
    return Times(name, now, name in args.past, future)


def _lines_of(cleaning: _Cleaning, kinds: dict[str, str]) -> Iterator[str]:
    """Yield one line for each column with values that are not of its kind, or times that are wrong."""
    for column, (row, value) in cleaning.examples.items():
        wrong = ""
        if cleaning.times and column == cleaning.times.column:
            wrong = ", or in the future, or far outside of the other times"
        number = cleaning.counts["columns"][column]["unreadable"]
        count = f"{number} values are" if number > 1 else "1 value is"
        yield (
            f"column {column}: {count} not a {kinds[column]}{wrong}; their rows are dropped, such as {str(value)!r} in "
            f"row {row + 1}"
        )


def _refuse_ambiguous(formats: dict[str, str]) -> None:
    """Raise TaskError if no value of a column of dates decides which number is the day and which the month."""
    for column, notation in formats.items():
        if notation == "ambiguous":
            raise TaskError(
                f"column {column!r}: no date decides which number is the day and which the month. Say it in the data "
                f"contract: a date_format for this column, such as '%d/%m/%Y' or '%m/%d/%Y %H:%M'."
            )


def _nulls_handled(counts: CleaningCounts) -> str:
    """Return in words what was done with the missing values of each column that has any."""
    done = [
        f"{name} {each[action]} {action}"
        for name, each in counts["columns"].items()
        for action in ("dropped", "filled", "left")
        if each[action]
    ]
    return ", ".join(done) or "none were missing"


if __name__ == "__main__":
    main()
