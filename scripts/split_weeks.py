"""Write each week's rows to a file of its own, and plan which weeks train and which score in the backtest.

    python scripts/split_weeks.py --input data/features/features.csv --output data/weeks/plan.json

A week goes from Monday to Sunday, is named as ISO 8601 does (2013-W09), and becomes WEEK.parquet beside the output. The
file of a week whose rows are the same as before is left as it is, so that what was made of it need not be made again.
"""

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import read_bytes, read_json, replacing, write_json
from signoff.review.backtest import NEVER
from signoff.tables.table import read_table


def split_weeks(
    frame: pd.DataFrame, time_column: str, kinds: dict[str, str], target: str, weight: str | None = None
) -> dict[str, pa.Table]:
    """Return the rows of each week that has any, the first week first.

    Parameters
    ----------
    frame
        n rows as `feature_engineering` writes them: the time column (datetime64), the features and the target.
    kinds
        "number", "category" or "text" for each feature.
    weight
        The column with the weight of each row, if there is one.

    Returns
    -------
    dict
        ISO week → its rows in their order: the weight, the features and, last, the target. Numbers are float64 and
        others text whatever the other weeks hold, so that a new week changes no earlier one. The metadata of a column
        say if it is free text.

    Raises
    ------
    TaskError
        A row has no time or no target.
    """
    for column in (time_column, target):
        if missing := int(frame[column].isna().sum()):
            raise TaskError(
                f"backtest: {column} is missing in {missing:,} rows. Name it as time_column or target in the config, "
                "and cleaning drops them."
            )
    days = frame[time_column].dt.normalize()
    weeks = days.map({day: day.strftime("%G-W%V") for day in days.unique()})
    own = [(weight, pa.float64())] if weight else []
    fields = [
        pa.field(
            name, pa.float64() if kind == "number" else pa.string(), metadata={"kind": kind} if kind == "text" else None
        )
        for name, kind in kinds.items()
    ]
    schema = pa.schema([*own, *fields, (target, pa.float64())])
    table = pa.table(
        [pa.array(frame[name], type, from_pandas=True) for name, type in zip(schema.names, schema.types, strict=True)],
        schema,
    )
    return {week: table.take(pa.array(rows)) for week, rows in sorted(weeks.groupby(weeks).indices.items())}


def _plan_weeks(
    weeks: list[str], window: int | None = None, last_weeks: int | None = None, min_train_weeks: int = 8
) -> dict[str, dict[str, list[str]]]:
    """Return for each model of the backtest the weeks that train it and the weeks that it is scored on.

    Parameters
    ----------
    weeks
        The weeks that have rows, the first one first.
    window
        The number of weeks to train on before the scored one; None for all.
    last_weeks
        The number of the last weeks to score; None for all possible.
    min_train_weeks
        How many weeks come before the first one that is scored, at least.

    Returns
    -------
    dict
        By week the model that is retrained before it, and under "never_retrained" the one that is trained before the
        first of them and kept; each with the lists train and score.

    Raises
    ------
    TaskError
        There are too few weeks.
    """
    first = max(min_train_weeks, len(weeks) - (last_weeks or len(weeks)))
    if first >= len(weeks):
        raise TaskError(
            f"backtest.min_train_weeks: {min_train_weeks} weeks to train on and one to score are needed, but only "
            f"{len(weeks)} weeks have rows. Lower it, or bring more rows."
        )
    places = range(first, len(weeks))
    train = {weeks[n]: weeks[max(0, n - window) if window else 0 : n] for n in places}
    plan = {NEVER: {"train": train[weeks[first]], "score": weeks[first:]}}
    return plan | {week: {"train": before, "score": [week]} for week, before in train.items()}


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="the features; their .json beside them")
    parser.add_argument("--output", required=True, type=Path, help="the JSON plan to write; the weeks' files beside it")
    parser.add_argument("--window", type=int, help="train on this many weeks before each; on all if not given")
    parser.add_argument("--weeks", type=int, help="score only this many of the last weeks; all if not given")
    parser.add_argument("--min-train-weeks", type=int, default=8, help="weeks before the first one that is scored")
    args = parser.parse_args(argv)
    with command_line.logged("split_weeks", args, args.input):
        description = read_json(args.input.with_suffix(".json"))
        time_column, target = description["time_column"], description["target"]
        if time_column is None:
            raise TaskError("backtest: a week needs a column of dates. Name it as time_column in the config.")
        frame = read_table(args.input, description["kinds"]).frame
        weeks = split_weeks(frame, time_column, description["features"], target, description.get("weight"))
        plan: dict[str, dict[str, Any]] = {
            model: {**each, "rows": sum(weeks[week].num_rows for week in each["train"] + each["score"])}
            for model, each in _plan_weeks(list(weeks), args.window, args.weeks, args.min_train_weeks).items()
        }
        written = [week for week, rows in weeks.items() if _write_week(rows, args.output.with_name(f"{week}.parquet"))]
        for path in args.output.parent.glob("*.parquet"):
            if path.stem not in weeks:
                path.unlink()
        write_json(args.output, plan)
        if group := description.get("split", {}).get("groups"):
            logging.warning(
                "[split_weeks] the backtest ignores split.groups: a week is scored by models of earlier rows, and some "
                "of these may have the same %s",
                group,
            )
        logging.info(
            "[split_weeks] completed. Weeks: %d (%s to %s), new or changed: %d, to be scored: %d (from %s)",
            *(len(weeks), min(weeks), max(weeks), len(written), len(plan[NEVER]["score"]), plan[NEVER]["score"][0]),
        )
        logging.info("[split_weeks] wrote the plan to %s", args.output)


def _write_week(rows: pa.Table, path: Path) -> bool:
    """Write a week's rows, atomically, unless the file holds them already; return whether it was written."""
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(rows, sink)
    content = sink.getvalue().to_pybytes()
    if path.is_file() and read_bytes(path) == content:
        return False
    with replacing(path) as new:
        new.write_bytes(content)
    return True


if __name__ == "__main__":
    main()
