"""Make the features of each row, and split the rows into training and test rows.

    python scripts/feature_engineering.py --input data/processed/cleaned_data.csv --output data/features/features.csv

Nothing here is learnt from the data as a whole: each row's features depend on that row alone, or on rows that were
known before it (--history), so that no test row leaks into the training part. The columns are described in the output's
name with the suffix .json: with it the same features can be made of later rows.
"""

import argparse
import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pandas as pd

from signoff.base import command_line
from signoff.base.command_line import json_object
from signoff.base.errors import TaskError
from signoff.base.files import read_json, write_json
from signoff.features.custom_features import is_number, own_features, refuse_infinite
from signoff.features.earlier_rows import history_features, history_of, remembered
from signoff.features.evidence import ColumnFacts
from signoff.features.history_state import write_state
from signoff.features.holdout import (
    described,
    head_of,
    joint_facts,
    kinds_of,
    refuse_names,
    sides_of,
    test_rows,
    with_split,
)
from signoff.features.plan import FeatureOptions, make_plan
from signoff.features.recipe import (
    DATE_PARTS,
    columns_described,
    described_columns,
    features_again,
    make_features,
    warn_of_infinite,
)
from signoff.features.records import Description, Sides
from signoff.features.row_keys import keep_keys
from signoff.features.user_code import load_code
from signoff.tables.batches import scan, tables
from signoff.tables.records import ColumnsRead
from signoff.tables.table import read_table, write_table
from signoff.tables.writer import write_frames


def feature_engineering(
    frame: pd.DataFrame, target: str, custom: ModuleType | None = None, custom_mode: str = "after", **options: Any
) -> tuple[pd.DataFrame, Description]:
    """Return the features of a table in memory with target and split, and a description of them.

    Parameters
    ----------
    frame
        n rows × m columns as `clean_data` leaves them: numbers, booleans, datetime64 and str.
    target
        The column to predict.
    custom, custom_mode
        The custom code, as `load_code` returns it: its function `features` gets the rows and the built-in
        features, and returns those of the model ("after"), or gets the rows alone ("instead").
    options
        What becomes of the columns, and how the rows are split: time_column, drop, keep, text, not_before,
        date_parts, derived, history, split_by, test_weeks, test_share, split_key, split_groups and weight of
        `plan.FeatureOptions`.

    Returns
    -------
    features : pandas.DataFrame
        n rows; the time column if any, the column of groups if any, the features, the target, and `split` ("train" or
        "test").
    description : dict
        target, time_column, features (name → "number", "category" or "text"), recipe (name → what
        `make_features` makes it of), custom (None, or mode, and columns: name → kind of what the custom code gets),
        left_out (name → reason), not_before, kinds (of every column of `features`), split.

    Raises
    ------
    TaskError
        A name is unknown or taken, an expression cannot be computed, a part of the split is too small, or the
        custom code fails, returns no features, or computes them from more than one row.
    """
    made = _of_frame(frame, target, FeatureOptions(**options), custom, custom_mode)
    (table,) = made.tables()
    warn_of_infinite(made.infinite)
    return table, made.description()


def _of_frame(
    frame: pd.DataFrame, target: str, options: FeatureOptions, custom: ModuleType | None, custom_mode: str
) -> "_Features":
    """Return the features of a frame, which is one batch."""
    return _Features(lambda: iter([frame]), [str(name) for name in frame], target, options, custom, custom_mode)


class _Features:
    """The features of rows that are read batch by batch, possibly several times; custom code gets all as one batch.

    `plan` says how they are computed, and `infinite` counts the values that were infinite. `folder` is for temporary
    files.
    """

    def __init__(
        self,
        batches: Callable[[], Iterator[pd.DataFrame]],
        names: list[str],
        target: str,
        options: FeatureOptions,
        custom: ModuleType | None = None,
        custom_mode: str = "after",
        folder: Path | None = None,
    ):
        self._batches, self._custom, self._custom_mode = batches, custom, custom_mode
        facts = {name: ColumnFacts(folder, times=not options.test_weeks) for name in names}
        for frame in batches():
            for name, each in facts.items():
                each.look(frame[name])
        self.plan = make_plan(facts, target, options, built_in=custom is None or custom_mode == "after")
        self.infinite: Counter[str] = Counter()
        self._sides: list[Sides] = []
        # What other rows need of all rows, and what each row has of earlier ones.
        self.past: pd.DataFrame | None = None
        self._history: dict[str, pd.Series] = {}
        if history_of(self.plan["recipe"]):
            parts = [remembered(frame, self.plan["recipe"]) for frame in batches()]
            self.past = pd.concat(parts, ignore_index=True)
            self._history = history_features(self.past, self.plan["recipe"])

    def tables(self) -> Iterator[pd.DataFrame]:
        """Yield the features of each batch with target and split. Raises TaskError if a part of the split is small."""
        self._sides.clear()
        self.infinite.clear()
        plan, first = self.plan, 0
        for frame in self._batches():
            history = {
                name: values.iloc[first : first + len(frame)].set_axis(frame.index)
                for name, values in self._history.items()
            }
            first += len(frame)
            features = make_features(frame, plan["recipe"], plan["target"], self.infinite, history)
            if self._custom is not None:
                own, plan["custom"] = own_features(frame, features, plan, self._custom, self._custom_mode)
                words = {name for name, kind in plan["features"].items() if kind == "text"}
                plan["features"] = {str(name): _kind_of(name, own[name], words) for name in own}
                features = {str(name): own[name] for name in own}
                refuse_names(features, frame, plan)
            table, side = with_split(frame, features, plan)
            self._sides.append(side)
            yield table
        # Before `write_frames` moves the file to its place.
        self.description()

    def description(self) -> Description:
        """Return the description of the features, after `tables` has yielded all of them."""
        return described(self.plan, joint_facts(self._sides))


def _kind_of(name: Hashable, values: pd.Series, words: set[str]) -> str:
    """Return the kind of a feature that custom code returns; `words` names the columns of text."""
    return "number" if is_number(values) else "text" if name in words else "category"


def _features_of_part(cleaned: Path, output: Path, like: Description, code: ModuleType | None) -> None:
    """Write the features of one part of the rows, and beside them how many rows and which times it has.

    `like` describes them: it was written for the rows that decided which features there are. `code` is the custom code,
    if any. If a hash decides the split, the part has it too; a split by time needs all rows.
    """
    frame = read_table(cleaned, read_json(cleaned.with_suffix(".json"))["kinds"]).frame
    features = features_again(frame, like, code).frame
    if code:
        refuse_infinite(features, code, "this part")
    time, target = like["time_column"], like["target"]
    table = pd.DataFrame({**head_of(frame, like), **features, target: frame[target]}, frame.index)
    if like["split"]["by"] == "hash":
        table["split"] = sides_of(test_rows(frame, like))
    write_table(table, output)
    if len(table):
        keep_keys(output, like)
    ends = {"first": str(frame[time].min()), "last": str(frame[time].max())} if time and len(frame) else {}
    write_json(output.with_suffix(".json"), {"rows": len(table), **ends})
    logging.info("[feature_engineering] completed. Output shape: %d rows × %d columns", *table.shape)
    logging.info("[feature_engineering] wrote features to %s", output)


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="the cleaned data; its .json beside it, if it exists")
    parser.add_argument("--output", required=True, type=Path, help="the CSV file to write")
    parser.add_argument("--target", help="the column to predict; the last one if not given")
    parser.add_argument("--time-column", help="when each row happened; found if only one column holds dates")
    parser.add_argument("--drop", action="append", default=[], help="columns that are no features")
    parser.add_argument("--date-parts", action="append", choices=["", *DATE_PARTS], help="of each date")
    parser.add_argument("--derived", type=json_object, default={}, help='named expressions: {"speed": "km / hours"}')
    parser.add_argument("--history", action="append", type=json_object, default=[], help="features of earlier rows")
    parser.add_argument("--state", type=Path, help="with --history, the file of earlier rows that predictions need")
    parser.add_argument("--split-by", choices=["auto", "time", "hash"], default="auto", help="what decides the part")
    parser.add_argument("--test-weeks", type=float, help="the last weeks that are held out")
    parser.add_argument("--test-share", type=float, default=0.2, help="else this share of the rows")
    parser.add_argument(
        "--split-key", action="append", default=[], help="the columns to hash; all but the target if not given"
    )
    parser.add_argument("--split-groups", metavar="COLUMN", help="rows with the same value are on the same side")
    parser.add_argument("--weight", metavar="COLUMN", help="the weight of each row in training; it is not a feature")
    parser.add_argument("--custom", type=Path, help="a Python file with a function `features` of yours")
    parser.add_argument(
        "--custom-mode",
        choices=["after", "instead"],
        default="after",
        help="call it after the built-in ones, or instead",
    )
    parser.add_argument("--keep", action="append", default=[], help="features although they look like ids or prose")
    parser.add_argument("--text", action="append", default=[], help="columns of text whose words become features")
    parser.add_argument("--not-before", action="append", default=[], help="known only after the target is")
    parser.add_argument(
        "--like", type=Path, metavar="JSON", help="of this script: the input is a part, and gets the same features"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    args = _parser().parse_args(argv)
    with command_line.logged("feature_engineering", args, args.input):
        custom, digest = load_code(args.custom) if args.custom else (None, None)
        if args.like:
            _features_of_part(args.input, args.output, cast(Description, read_json(args.like)), custom)
            return
        if args.history and not args.state:
            raise TaskError("--history needs --state: the file of earlier rows that predictions need.")
        if custom and args.custom_mode == "instead" and (args.drop or args.derived):
            logging.warning(
                "[feature_engineering] features.drop and derived do nothing (features.custom_mode: instead)"
            )
        cleaning = args.input.with_suffix(".json")
        counts = read_json(cleaning) if cleaning.is_file() else {}
        columns = scan(args.input, counts.get("kinds"))
        target = args.target or list(columns.kinds)[-1]
        names = ["time_column", "drop", "keep", "text", "not_before", "derived", "history"]
        names += ["split_by", "test_weeks", "test_share", "split_key", "split_groups", "weight"]
        options = {name: getattr(args, name) for name in names}
        if args.date_parts is not None:
            options["date_parts"] = tuple(each for each in args.date_parts if each)
        known = FeatureOptions(**options)
        if custom:
            # The custom code gets all rows at once.
            frame = read_table(args.input, columns.kinds).frame
            made = _of_frame(frame, target, known, custom, args.custom_mode)
            (table,) = made.tables()
            write_table(table, args.output)
        else:
            made = _Features(
                lambda: (rows.frame for rows in tables(args.input, columns)),
                *(list(columns.kinds), target, known),
                folder=args.output.parent,
            )
            write_frames(made.tables, args.output, kinds_of(made.plan))
        warn_of_infinite(made.infinite)
        description = made.description()
        if description["custom"] is not None:
            description["custom"] |= {"file": str(args.custom), "sha256": digest}
        _log(description)
        about = cast(ColumnsRead, {"kinds": columns.kinds, "date_formats": columns.formats, **counts})
        used = columns_described(description, about)
        if made.past is not None:
            state = write_state(made.past, made.plan, args.state)
            description["history"] = {**state, "columns": described_columns([*map(str, made.past)], about)}
            logging.info("[feature_engineering] wrote %d earlier rows to %s", state["rows"], args.state)
        cleaned = {key: counts[key] for key in ("rows_in", "rows_out", "rows_dropped") if key in counts}
        # The digest of the raw data, if the cleaned data have it.
        raw = {key: counts[key] for key in ("raw_sha256",) if key in counts}
        write_json(args.output.with_suffix(".json"), {**description, "columns": used, "cleaning": cleaned, **raw})
        logging.info("[feature_engineering] wrote features to %s", args.output)


def _log(description: Description) -> None:
    """Log the features, the columns left out, and the split."""
    if own := description["custom"]:
        given = "built-in features and the columns" if own["mode"] == "after" else "columns"
        logging.info("[feature_engineering] %s gets the %s %s", own["file"], given, ", ".join(own["columns"]))
    for name, reason in description["left_out"].items():
        logging.info("[feature_engineering] left out %s: %s", name, reason)
    logging.info("[feature_engineering] features created: %s", ", ".join(description["features"]))
    split = description["split"]
    logging.info(
        "[feature_engineering] completed. Output shape: %d rows × %d columns; train %d, test %d (%s)",
        *(split["rows"]["train"] + split["rows"]["test"], len(description["kinds"])),
        *(split["rows"]["train"], split["rows"]["test"], split["rule"]),
    )


if __name__ == "__main__":
    main()
