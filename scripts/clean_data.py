"""Drop, fill or leave what is missing, column by column, and count what was done to how many values.

    python scripts/clean_data.py --input data/raw/raw_data.csv --output data/processed/cleaned_data.csv

The counts, and what each column is and what is done where it is missing, go to the output's name with the suffix .json.
"""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from signoff.base import command_line
from signoff.base.command_line import json_object
from signoff.base.errors import TaskError, nearest
from signoff.base.files import sha256, write_json
from signoff.tables.batches import Columns, judged, tables
from signoff.tables.cleaning import by_policy, in_future, ingest_time, refuse_loss
from signoff.tables.counting import row_hashes
from signoff.tables.csv_file import read_ahead
from signoff.tables.parts import columns_of_part
from signoff.tables.spill import Spill, distinct, repeats
from signoff.tables.writer import write_frames

# Of no value: 0 is that of the number 0.
MISSING_HASH = 1


def clean_data(
    frame: pd.DataFrame,
    policies: dict[str, object] | None = None,
    default: str = "drop",
    required: tuple[str, ...] = (),
    duplicates: str = "keep",
    max_rows_lost: float = 0.5,
    bad: dict[str, pd.Series] | None = None,
) -> tuple[pd.DataFrame, dict]:
    """Return the clean rows of `frame`, in their order, and the counts of what was done.

    Parameters
    ----------
    frame
        n rows × m columns, with a fresh RangeIndex.
    policies
        For a column: "drop" the rows where it is missing, "leave" them, or {"fill": constant}.
    default
        The policy of every other column: "drop" or "leave".
    required
        Columns without which a row is useless (the target, the time column): always dropped where missing.
    duplicates
        "keep" or "drop" rows that repeat an earlier one in every column.
    max_rows_lost
        The largest share of rows, 0 to 1, that may be dropped.
    bad
        Values that were no number or no date in such a column (missing in `frame`), by row: these rows are dropped,
        whatever the policy, since nobody knows what the value should have been.

    Raises
    ------
    TaskError
        A policy names an unknown column or does not fit it; no row is left, or too many are lost.
    """
    check_names(frame.columns, policies or {}, required)
    clean, counts = clean_rows(frame, policies or {}, default, required, bad or {})
    repeated = clean.duplicated()
    if duplicates == "drop":
        clean = clean[~repeated]
    counts = with_duplicates(counts, int(repeated.sum()), duplicates)
    refuse_loss(counts, max_rows_lost)
    return clean.reset_index(drop=True), counts


def check_names(names: Iterable[str], policies: dict, required: tuple[str, ...]) -> None:
    """Raise TaskError where a column is named that there is not."""
    for column in (*policies, *required):
        if column not in names:
            raise TaskError(f"cleaning: there is no column {column!r}: {nearest(column, names)}")


def clean_rows(
    frame: pd.DataFrame, policies: dict, default: str, required: tuple[str, ...], bad: dict[str, pd.Series]
) -> tuple[pd.DataFrame, dict]:
    """Return the clean rows of some of a table's rows, under their own index, and the counts; see `clean_data`."""
    clean = frame.copy(deep=False)
    nothing = np.zeros(len(frame), dtype=bool)
    missing, unreadable, columns = nothing.copy(), nothing.copy(), {}
    for column in frame.columns:
        policy = "drop" if column in required else policies.get(column, default)
        wrong = frame.index.isin(bad[column].index) if column in bad else nothing
        absent = frame[column].isna().to_numpy() & ~wrong
        unreadable |= wrong
        count = int(absent.sum())
        columns[column] = {"missing": count, "unreadable": int(wrong.sum()), "dropped": 0, "filled": 0, "left": 0}
        values = frame[column]
        cleaned, done = by_policy(values, policy, wrong)
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


def with_duplicates(counts: dict, duplicates: int, policy: str) -> dict:
    """Return the counts of `clean_rows` with what was done to rows that repeat another."""
    dropped = duplicates if policy == "drop" else 0
    return {
        "rows_in": counts["rows_in"],
        "rows_out": counts["rows_out"] - dropped,
        "rows_dropped": {**counts["rows_dropped"], "duplicates": dropped},
        "duplicates": duplicates,
        "columns": counts["columns"],
    }


def clean_file(
    path: Path,
    output: Path,
    columns: Columns,
    policies: dict,
    default: str,
    required: tuple[str, ...],
    duplicates: str,
    max_rows_lost: float | None,
    time_column: str | None = None,
) -> tuple[dict, dict[str, tuple[int, object]]]:
    """Clean the rows of a file, some at a time, as `clean_data` cleans them all at once.

    Rows that repeat another are told by a hash of 64 bits: among 30 million different rows it is one in 40,000 that two
    are taken for the same. Returns the counts, and by column the first value that is not of its kind, with its row.
    """
    check_names(columns.kinds, policies, required)
    counts, examples = {}, {}
    now = ingest_time(path) if columns.kinds.get(time_column) == "date" else None

    def cleaned() -> Iterator[pd.DataFrame]:
        counts.clear()
        for table in tables(path, columns):
            if now is not None and (late := in_future(table.frame[time_column], now)).any():
                wrong = [table.bad.get(time_column, pd.Series(dtype="object")), table.frame[time_column][late]]
                table.bad[time_column] = pd.concat([each.astype("object") for each in wrong]).sort_index()
            clean, more = clean_rows(table.frame, policies, default, required, table.bad)
            counts.update(added(counts, more))
            for name, values in table.bad.items():
                examples.setdefault(name, (values.index[0], values.iloc[0]))
            yield clean

    repeated = None
    if duplicates == "drop":
        hashes = Spill(output.parent)
        for _ in hashed(cleaned(), hashes):
            pass
        repeated = np.zeros(len(hashes), dtype=bool)
        for places in repeats(hashes):
            repeated[places] = True

    def kept() -> Iterator[pd.DataFrame]:
        if repeated is None:
            hashes = Spill(output.parent)
            yield from hashed(cleaned(), hashes)
            found = len(hashes) - distinct(hashes)
        else:
            row, found = 0, int(repeated.sum())
            for clean in cleaned():
                yield clean[~repeated[row : (row := row + len(clean))]]
        final = with_duplicates(counts, found, duplicates)
        counts.clear()
        counts.update(final)
        # Before the file is moved to its place; that of a part is judged with the others.
        if max_rows_lost is not None:
            refuse_loss(counts, max_rows_lost)

    # A part is small, and read once.
    write_frames(kept, output, columns.kinds if max_rows_lost is not None else None)
    return counts, examples


def hashed(frames: Iterator[pd.DataFrame], hashes: Spill) -> Iterator[pd.DataFrame]:
    """Yield `frames`, and add a hash of each row to `hashes` while the next frame is made."""
    for frame in read_ahead(frames):
        hashes.add(row_hashes(frame, MISSING_HASH))
        yield frame


def added(total: dict, more: dict) -> dict:
    """Return counts with further ones added to them."""
    return {
        key: added(total.get(key, {}), each) if isinstance(each, dict) else total.get(key, 0) + each
        for key, each in more.items()
    }


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="the raw data, as ingest_data writes them")
    parser.add_argument("--output", required=True, type=Path, help="the CSV file to write")
    parser.add_argument(
        "--kinds", type=json_object, default={}, help='what columns are: {"zip": "text"}; else found out'
    )
    parser.add_argument(
        "--date-formats",
        type=json_object,
        default={},
        help='how dates are written: {"day": "%%d/%%m/%%Y"}; else found out',
    )
    parser.add_argument("--policies", type=json_object, default={}, help='by column: "drop", "leave" or {"fill": 0}')
    parser.add_argument("--default-policy", choices=["drop", "leave"], default="drop", help="for the other columns")
    parser.add_argument(
        "--required", action="append", default=[], help="columns that no row may lack, such as the target"
    )
    parser.add_argument("--time-column", help="when each row happened: rows dated after the ingest are dropped")
    parser.add_argument("--duplicates", choices=["keep", "drop"], default="keep", help="rows that repeat another")
    parser.add_argument("--max-rows-lost", type=float, default=0.5, help="largest share of rows to drop")
    parser.add_argument(
        "--like", type=Path, metavar="JSON", help="of clean_data: the input is a part, of the same kinds of columns"
    )
    args = parser.parse_args(argv)
    with command_line.logged("clean_data", args, args.input):
        policy = (args.policies, args.default_policy, tuple(args.required), args.duplicates)

        def cleaned(columns: Columns) -> tuple[Columns, dict, dict]:
            refuse_ambiguous(columns.formats)
            return columns, *clean_file(
                args.input, args.output, columns, *policy, None if args.like else args.max_rows_lost, args.time_column
            )

        if args.like:
            columns, counts, examples = cleaned(columns_of_part(args.input, args.like))
        else:
            columns, counts, examples = judged(args.input, args.kinds, cleaned, args.date_formats)
        for column, (row, value) in examples.items():
            logging.warning(
                "[clean_data] column %s: %d values are no %s%s, their rows are dropped, such as %r in row %d",
                *(column, counts["columns"][column]["unreadable"], columns.kinds[column]),
                *(" or in the future" if column == args.time_column else "", str(value), row + 1),
            )
        logging.info("[clean_data] completed. Rows before: %d, rows after: %d.", counts["rows_in"], counts["rows_out"])
        logging.info("[clean_data] nulls handled: %s", nulls_handled(counts))
        logging.info(
            "[clean_data] duplicate rows: %d, dropped: %d", counts["duplicates"], counts["rows_dropped"]["duplicates"]
        )
        policies = {name: args.policies.get(name, args.default_policy) for name in columns.kinds}
        policies |= dict.fromkeys(args.required, "drop")
        found = {"kinds": columns.kinds, "date_formats": columns.formats, "policies": policies}
        write_json(args.output.with_suffix(".json"), {**counts, **found, "raw_sha256": sha256(args.input)})
        logging.info("[clean_data] wrote cleaned data to %s", args.output)


def refuse_ambiguous(formats: dict[str, str]) -> None:
    """Raise TaskError where a column holds dates, and no value decides what is the day and what the month."""
    for column, notation in formats.items():
        if notation == "ambiguous":
            raise TaskError(
                f"column {column!r}: no date decides which number is the day and which the month. Say it in the data "
                f"contract: a date_format for this column, such as '%d/%m/%Y' or '%m/%d/%Y %H:%M'."
            )


def nulls_handled(counts: dict) -> str:
    """Return what was done to the missing values of each column that has any, in words."""
    done = [
        f"{name} {each[action]} {action}"
        for name, each in counts["columns"].items()
        for action in ("dropped", "filled", "left")
        if each[action]
    ]
    return ", ".join(done) or "none were missing"


if __name__ == "__main__":
    main()
