"""Combine the features for training and testing: all rows, or a budget of the training rows.

    python scripts/gather_features.py --input data/features/features.csv --max-rows 100000 \\
        --output data/features/sample.csv
    python scripts/gather_features.py --input data/features/parts --plan data/raw/raw_data.json \\
        --like data/features/first_rows.json --cleaned data/processed/parts --output data/features/features.csv

The budget is a sample by a hash of each row's values, stratified by week (without a time column, by the target's power
of two), so every run has the same rows. A larger budget only adds rows. When new rows arrive, others may leave the
sample, but none returns. All test rows stay. The rows are streamed in bounded memory, part by part or block by block.
"""

import argparse
import logging
from pathlib import Path
from typing import cast

import pandas as pd

from signoff.base import command_line
from signoff.base.files import read_json, sha256, write_json
from signoff.features.evidence import ColumnFacts
from signoff.features.gathering import gather_features
from signoff.features.holdout import rule_by_time
from signoff.features.records import Description, Split
from signoff.features.row_keys import read_keys
from signoff.tables.parts import gather_counts
from signoff.tables.records import Cleaned


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="the features, or with --plan the folder of parts")
    parser.add_argument("--output", required=True, type=Path, help="the CSV file to write; its .json beside it")
    parser.add_argument("--max-rows", type=int, help="how many training rows, at most")
    parser.add_argument("--plan", type=Path, help="the record of split_source, which names the parts")
    parser.add_argument("--like", type=Path, help="the description of the parts' features")
    parser.add_argument("--cleaned", type=Path, help="the folder of the cleaned parts, for their counts")
    parser.add_argument("--max-rows-lost", type=float, default=0.5, help="largest share of rows that cleaning dropped")
    parser.add_argument("--test-weeks", type=float, help="of a split by time, the last weeks that are held out")
    parser.add_argument("--test-share", type=float, default=0.2, help="else this share of the rows")
    args = parser.parse_args(argv)
    with command_line.logged("gather_features", args, args.input):
        if args.plan:
            description, paths, cut = _of_parts(args)
        else:
            description = cast(Description, read_json(args.input.with_suffix(".json")))
            paths, cut = [args.input], None
        found = gather_features(paths, args.output, description, cut, args.max_rows)
        split = {**description["split"], "rows": found["rows"]}
        if args.max_rows:
            split |= {"max_rows": args.max_rows, "available": found["available"]}
        if cut is not None:
            split["last_train"] = found["last_train"]
        write_json(args.output.with_suffix(".json"), {**description, "split": split})
        logging.info(
            "[gather_features] completed. Training rows: %d of %d, test rows: %d, files: %d",
            *(found["rows"]["train"], found["available"], found["rows"]["test"], len(paths)),
        )
        logging.info("[gather_features] wrote features to %s", args.output)


def _of_parts(args: argparse.Namespace) -> tuple[Description, list[Path], pd.Timestamp | None]:
    """Return the description of all parts' features, their files, and the last time that trains."""
    names = list(read_json(args.plan)["parts"])
    like = cast(Description, read_json(args.like))
    counts = gather_counts(
        [cast(Cleaned, read_json(args.cleaned / f"{name}.json")) for name in names], args.max_rows_lost
    )
    rows = {name: read_json(args.input / f"{name}.json") for name in names}
    names = [name for name in names if rows[name]["rows"]]
    paths = [args.input / f"{name}.csv" for name in names]
    cleaning = {"rows_in": counts["rows_in"], "rows_out": counts["rows_out"], "rows_dropped": counts["rows_dropped"]}
    split, cut = like["split"], None
    if split["by"] == "time":
        time = like["time_column"]
        assert time is not None
        ends = pd.to_datetime([rows[name][end] for name in names for end in ("first", "last")], format="ISO8601")
        times = ColumnFacts(args.output.parent, times=not args.test_weeks)
        if args.test_weeks:
            times.look(pd.Series(ends))
        for keys in () if args.test_weeks else read_keys(paths, like, hashed=False):
            times.look(keys["time"].to_pandas())
        rule = rule_by_time(times, time, args.test_weeks, args.test_share)
        cut = rule.pop("after")
        ends_of_split = {"first": str(ends.min()), "last_train": None, "last_test": str(ends.max())}
        split = cast(Split, {**rule, **ends_of_split})
    described: Description = {**like, "split": split, "cleaning": cleaning, "raw_sha256": sha256(args.plan)}
    return described, paths, cut


if __name__ == "__main__":
    main()
