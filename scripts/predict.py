"""Score a table of any size with the current release, row by row in order, in bounded memory.

    python scripts/predict.py --input data/batches/week.csv --output predictions/week.csv

Run in the project's folder. Rows are cleaned, and features made of them, as they were for training; a row that cannot
be scored goes to predictions/week.rejected.csv with its reason. The batch is compared with the data of the release, and
predictions/week.report.json says what differs. "-" reads standard input, and writes standard output.
"""

import argparse
import contextlib
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from signoff.base import command_line
from signoff.base.errors import TaskError, nearest
from signoff.base.files import replacing, write_json
from signoff.base.numbers import counted, rounded
from signoff.config.settings import USUAL, config_argument, read_config
from signoff.features.custom_features import infinite_values
from signoff.features.recipe import features_again
from signoff.model import scoring
from signoff.model.attribution import Attribution, reference_of
from signoff.model.scoring import LOW_AND_HIGH, bounds, has_bounds
from signoff.release.approval import Rule, released_as, utc_now
from signoff.release.form import SignOff
from signoff.release.store import Releases
from signoff.review.batch_check import SUFFIX, BatchCheck, BatchReport, Released
from signoff.source.compressed import COMPRESSED, SUFFIXES, open_text, packed_as, refusing_damage
from signoff.tables.cells import MISSING, with_point
from signoff.tables.cleaning import by_policy
from signoff.tables.csv_file import rendered, with_names
from signoff.tables.table import parse_table

# Bytes of text that are in memory at a time, several times over.
BLOCK = 8 << 20
# Findings in the line for the screen; the report has all.
MOST_SAID = 5
OURS = ["row_number", "prediction", "prediction_low", "prediction_high", "release", "reason"]


@dataclass(frozen=True)
class Model:
    """A model that scores rows, and what it needs for that.

    Parameters
    ----------
    pipeline, metadata
        As `Releases.model` returns them.
    code
        The custom code that made the features, if there is any, as `Releases.code` returns it.
    half_width
        Half the width of all intervals, if the model has no intervals for each row: `Releases.half_width`.
    """

    pipeline: Any
    metadata: dict[str, Any]
    code: ModuleType | None = None
    half_width: float | None = None


@dataclass(frozen=True)
class Beside:
    """What is done with the rows besides the predictions; nothing by default.

    Parameters
    ----------
    check
        Compares the rows with the data of the release.
    attribution
        Names the features that moved each prediction most.
    """

    check: BatchCheck | None = None
    attribution: Attribution | None = None


def score(
    text: pa.Table, model: Model, threads: int = 1, missing: Sequence[str] = (), beside: Beside = Beside()
) -> tuple[pd.DataFrame, pd.Series]:
    """Return the prediction of each row with its interval, in the target's unit, and why a row has none.

    Parameters
    ----------
    text
        n rows × m columns as text, among them those that the features are made of.
    threads
        How many cores to use, at most.
    missing
        Spellings of a missing value, besides the usual ones.
    beside
        What is done with the rows besides the predictions.

    Returns
    -------
    scored : pandas.DataFrame
        n rows, with numbers (float64) that are missing where the row was rejected: prediction and, if the release has
        intervals, prediction_low and prediction_high; then the columns of `Attribution.reasons`, if they are requested.
    reasons : pandas.Series
        n texts, empty where the row was scored.

    Raises
    ------
    TaskError
        A feature cannot be made.
    """
    frame, reasons = _cleaned(text, model.metadata["columns"], missing, beside.check)
    scored = pd.DataFrame({"prediction": pd.Series(np.nan, frame.index)})
    if model.half_width is not None or has_bounds(model.pipeline):
        scored[list(LOW_AND_HIGH)] = np.nan
    for name in beside.attribution.columns() if beside.attribution else ():
        scored[name] = pd.Series(None, frame.index, dtype="float64" if name.endswith("_by") else "str")
    features = _features(frame[reasons == ""], model, reasons)
    if not len(features):
        return scored, reasons
    predicted = scoring.predict(model.pipeline, features, threads)
    scored.loc[features.index, "prediction"] = predicted
    if beside.check:
        beside.check.add_scored(features, predicted)
    ends = bounds(model.pipeline, features, predicted, threads)
    if ends is None and model.half_width is not None:
        ends = predicted - model.half_width, predicted + model.half_width
    for name, each in zip(LOW_AND_HIGH, ends or (), strict=False):
        scored.loc[features.index, name] = each
    if beside.attribution:
        found = beside.attribution.reasons(features, predicted)
        scored.loc[features.index, list(found)] = found
    return scored, reasons


def _features(frame: pd.DataFrame, model: Model, reasons: pd.Series) -> pd.DataFrame:
    """Return the features of cleaned rows; a row with an infinite one is left out, and gets its reason."""
    if not len(frame):
        return frame
    metadata: Any = model.metadata
    features = features_again(frame.reset_index(drop=True), metadata, model.code).set_axis(frame.index)
    for name, infinite in infinite_values(features).items() if model.code else ():
        reasons[features.index[infinite]] = f"the feature {name} is infinite"
    return features[reasons[features.index] == ""]


def _cleaned(
    text: pa.Table, columns: dict[str, dict[str, Any]], missing: Sequence[str], check: BatchCheck | None
) -> tuple[pd.DataFrame, pd.Series]:
    """Return n rows of text as the columns of the model, cleaned as in training, and why a row cannot be scored."""
    known = {}
    for name in columns:
        is_missing = pc.is_in(text[name], pa.array([*MISSING, *missing]))
        known[name] = pc.if_else(is_missing, None, text[name])
    formats = {name: how["date_format"] for name, how in columns.items() if how["date_format"]}
    table = parse_table(pa.table(known), {name: how["kind"] for name, how in columns.items()}, formats)
    frame = table.frame
    reasons: Any = pd.Series("", index=frame.index, dtype="object")
    nothing = np.zeros(len(frame), dtype=bool)
    for name, how in columns.items():
        bad = table.bad.get(name, pd.Series(dtype="object"))
        for row, value in bad.items():
            reasons[row] += f"{name}: {value!r} is no {how['kind']}; "
        wrong = frame.index.isin(bad.index) if len(bad) else nothing
        values = frame[name]
        if check:
            check.add_column(name, values, wrong)
        cleaned, done = by_policy(values, how["policy"], wrong)
        if done == "dropped":
            reasons[values.isna() & ~wrong] += f"{name} is missing; "
        if cleaned is not values:
            frame[name] = cleaned
    return frame, reasons.str.removesuffix("; ")


def named(text: pa.Table, decimal: str) -> pa.Table:
    """Return text with the names of columns and the numbers as `ingest_data` writes them."""
    columns = text.columns
    if decimal == ",":
        columns = [pa.array([with_point(each) for each in column.to_pylist()], pa.string()) for column in columns]
    return pa.Table.from_arrays(columns, with_names(text.column_names))


def blocks(
    stream: IO[bytes], name: str, delimiter: str = ",", encoding: str = "utf-8", decimal: str = "."
) -> Iterator[tuple[pa.Table, np.ndarray, list[tuple[int, str]]]]:
    """Yield the rows of a CSV stream as text, block by block, with their numbers (from 1), and the uneven rows.

    Uneven rows have more or fewer fields than the header. They are given as (number, reason), possibly one block early,
    and are in no block. The first and the last block are empty.

    Raises
    ------
    TaskError
        The stream is not a table, or not in that encoding.
    """
    uneven: list[tuple[int, str]] = []
    skipped: set[int] = set()

    def skip(row: Any) -> str:
        reason = f"{row.actual_columns} fields, the header has {row.expected_columns}: {row.text[:200]!r}"
        # The header is row 1 to Arrow.
        uneven.append((row.number - 1, reason))
        skipped.add(row.number - 1)
        return "skip"

    def told() -> list[tuple[int, str]]:
        new, uneven[:] = list(uneven), []
        return new

    options = {
        "read_options": pyarrow.csv.ReadOptions(use_threads=False, block_size=BLOCK, encoding=encoding),
        "parse_options": pyarrow.csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip
        ),
        "convert_options": pyarrow.csv.ConvertOptions(default_column_type=pa.string(), strings_can_be_null=False),
    }
    try:
        with refusing_damage(name), pyarrow.csv.open_csv(stream, **options) as reader:
            yield named(reader.schema.empty_table(), decimal), np.array([], dtype="int64"), []
            row = 1
            for batch in reader:
                numbers: list[int] = []
                while len(numbers) < batch.num_rows:
                    if row not in skipped:
                        numbers.append(row)
                    row += 1
                yield named(pa.Table.from_batches([batch]), decimal), np.array(numbers, dtype="int64"), told()
            yield named(reader.schema.empty_table(), decimal), np.array([], dtype="int64"), told()
    except (pa.ArrowInvalid, UnicodeError) as error:
        hint = "Is it CSV, and reader.encoding right?"
        raise TaskError(f"{name} cannot be read as {encoding} text: {error}. {hint}") from error
    except LookupError as error:
        raise TaskError(f"Python knows no encoding {encoding!r}. Try cp1252 or latin-1.") from error


def divide(
    text: pa.Table,
    numbers: np.ndarray,
    uneven: list[tuple[int, str]],
    predicted: pd.DataFrame,
    reasons: pd.Series,
) -> tuple[pa.Table, pa.Table]:
    """Return the rows that were scored, with predictions and their intervals, and the others, with the reasons."""
    good = pa.array(reasons == "", type=pa.bool_())
    carried = dict(zip(text.column_names, text.columns, strict=True))
    made = {name: pa.array(values) for name, values in predicted.items()}
    scored = pa.table({"row_number": numbers, **carried, **made}).filter(good)
    bad = pa.table({"row_number": numbers, "reason": pa.array(reasons, pa.string()), **carried}).filter(pc.invert(good))
    if uneven:
        lines = {"row_number": [number for number, _ in uneven], "reason": [reason for _, reason in uneven]}
        lines |= {name: pa.nulls(len(uneven), pa.string()) for name in carried}
        bad = pa.concat_tables([bad, pa.table(lines)]).sort_by("row_number")
    return scored, bad


def check_columns(
    names: list[str], carried: list[str], needed: list[str], batch: str, ours: Sequence[str] = OURS
) -> list[str]:
    """Return the columns to carry along. Raises TaskError if a column is missing, a duplicate, or one of ours."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TaskError(f"{batch}: duplicate column name {', '.join(map(repr, twice))}. Rename one of them.")
    for name in (*needed, *carried):
        if name not in names:
            raise TaskError(f"{batch} has no column {name!r}: {nearest(name, names)}")
    carried = carried or names
    taken = [name for name in carried if name in ours]
    if taken:
        raise TaskError(
            f"{batch}: the predictions have a column {taken[0]} of their own. Rename it, or name the columns to carry "
            "along in scoring.columns (--columns)."
        )
    return carried


@contextlib.contextmanager
def sink(path: str | None) -> Iterator[IO[bytes] | None]:
    """Yield a binary file to write to: standard output for "-", None for None, else a file that is moved when whole."""
    if path is None:
        yield None
    elif path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with replacing(Path(path)) as new, open(new, "wb") as file:
            yield file
            file.flush()


def opened(batch: Path) -> IO[bytes]:
    """Open a batch, plain or compressed, for reading its text. Raises TaskError if it is in another format."""
    form = packed_as(batch)
    if form not in (None, *COMPRESSED):
        raise TaskError(
            f"{batch} is a file of the format {form}. A batch is CSV, plain or compressed ({', '.join(SUFFIXES)})."
        )
    return open_text(batch, form, str(batch))


def asked_for(args: argparse.Namespace) -> Rule:
    """Return the approvals that a release must have: those of the project's config, or more by the command line."""
    rule: Rule = {"allowed_signers": None, "required_approvals": 1}
    if args.config or any(Path(each).is_file() for each in USUAL):
        rule |= read_config(args.config)[0]["release"]
    rule["allowed_signers"] = args.allowed_signers or rule["allowed_signers"]
    rule["required_approvals"] = max(args.required_approvals, rule["required_approvals"])
    return rule


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, help='a CSV file, plain or compressed, or "-"')
    parser.add_argument("--output", required=True, help='the CSV file to write, or "-"')
    parser.add_argument("--rejected", help="where rows go that cannot be scored; beside the output, or to the log")
    parser.add_argument("--release", help="its name; the current one if not given")
    parser.add_argument("--columns", action="append", default=[], help="the columns to carry along; all if not given")
    parser.add_argument("--delimiter", default=",", help="what separates the input's fields")
    parser.add_argument("--encoding", default="utf-8", help="the input's text encoding")
    parser.add_argument("--decimal", choices=[".", ","], default=".", help="what stands before a number's fraction")
    parser.add_argument("--missing", action="append", default=[], help="a spelling of a missing value; may be repeated")
    parser.add_argument("--allowed-signers", help="use the release only if it was signed by one of these keys")
    parser.add_argument("--required-approvals", type=int, default=1, help="use the release only with so many")
    parser.add_argument("--threads", type=int, default=1, help="cores to use, at most")
    parser.add_argument(
        "--reasons", type=int, default=0, help="the features that moved a prediction most: how many, for each row"
    )
    parser.add_argument(
        "--on-drift", choices=["warn", "stop"], default="warn", help="if the batch differs from the data"
    )
    config_argument(parser)
    return parser


def _signed(releases: Releases, release: str, document: SignOff, file: str) -> dict[str, Any]:
    """Return a JSON file of a release, of the bytes that were signed; an empty one if the release has no such file."""
    if file not in map(released_as, document["files"]):
        return {}
    return releases.json(release, document, file)


def check_of(releases: Releases, release: str, document: SignOff, metadata: dict[str, Any]) -> BatchCheck | None:
    """Return what compares a batch with the data of a release; None if an older version made it, without a profile."""
    diagnostics = _signed(releases, release, document, "diagnostics.json")
    validation = _signed(releases, release, document, "validation_report.json")
    if "profile" not in diagnostics or "profile" not in validation:
        return None
    predictions = diagnostics.get("predictions_profile")
    columns = validation["profile"]
    return BatchCheck(Released(metadata, diagnostics["profile"], predictions, columns, validation["rows"]))


def attribution_of(
    releases: Releases, release: str, document: SignOff, model: Model, args: argparse.Namespace
) -> Attribution | None:
    """Return what gives the reasons of predictions; None if none are requested. Raises TaskError without a profile."""
    if not args.reasons:
        return None
    profile = _signed(releases, release, document, "diagnostics.json").get("profile", {})
    features = model.metadata["features"]
    unknown = [name for name in features if name not in profile]
    if unknown:
        raise TaskError(
            f"scoring.reasons: the release {release} holds no profile of the feature {unknown[0]}, which reasons need. "
            "Deploy a new release, or set scoring.reasons: 0."
        )
    return Attribution(model.pipeline, reference_of(profile, features), args.reasons, args.threads)


def compared(check: BatchCheck | None, release: str, rows: Counter[str]) -> BatchReport:
    """Return the report of a batch; `rows` counts the rows scored and rejected."""
    report: BatchReport = {
        "release": release,
        "rows": rows["scored"] + rows["rejected"],
        "scored": rows["scored"],
        "rejected": rows["rejected"],
        "predicted_at": utc_now(),
        "compared": "nothing: an older version made the release, without a profile of its data",
        "findings": [],
    }
    if check:
        report |= {"compared": check.compared(rows["rejected"]), "findings": check.findings(rows["rejected"])}
    return report


def _say(report: BatchReport, batch: str, on_drift: str) -> None:
    """Log in one line whether a batch is like the released data. Raises TaskError if it is not, and that stops."""
    found = report["findings"]
    if not found:
        like = "" if report["compared"].startswith("nothing") else "the batch is like the released data; "
        logging.info("[predict] %scompared: %s", like, report["compared"])
        return
    said = "; ".join(each["sentence"] for each in found[:MOST_SAID])
    more = f"; and {len(found) - MOST_SAID} more" if len(found) > MOST_SAID else ""
    line = f"batch {batch}: {counted(len(found), 'finding')}: {said}{more}"
    if on_drift == "stop":
        raise TaskError(f"{line}. Nothing was predicted. Correct the batch, or set scoring.on_drift: warn.")
    logging.warning("[predict] %s", line)


def _kind_of_reason(reason: str) -> str:
    """Return the first reason why a row was rejected, without its value, so that equal ones can be counted."""
    unreadable = re.match(r"(?s)(.*?): .* is no (number|boolean|date|text)(; |$)", reason)
    return f"{unreadable[1]} is no {unreadable[2]}" if unreadable else reason.split(": ")[0].split("; ")[0]


def _report(rows: Counter[str], why: Counter[str], batch: str) -> None:
    """Log how many rows were scored, and why others were not. Raises TaskError if all were rejected."""
    for reason, count in why.most_common(10):
        logging.info("[predict] rejected %d rows: %s", count, reason)
    total = rows["scored"] + rows["rejected"]
    logging.info("[predict] completed. Rows: %d, scored: %d, rejected: %d", total, rows["scored"], rows["rejected"])
    if rows["rejected"] and not rows["scored"]:
        raise TaskError(
            f"{batch}: all {rows['rejected']:,} rows were rejected, mostly because {why.most_common(1)[0][0]}. "
            "Correct the batch and predict again."
        )


def main(argv: list[str] | None = None) -> None:
    args = _parser().parse_args(argv)
    with command_line.logged("predict", args, args.input):
        if args.input != "-":
            # Before anything else, so that a wrong path is reported at once.
            Path(args.input).stat()
        releases = Releases()
        folder, document = releases.approved(args.release or releases.in_use(releases.history()), asked_for(args))
        release = folder.name
        pipeline, metadata = releases.model_of(release, document)
        model = Model(pipeline, metadata, releases.code(release, metadata), releases.half_width(release, document))
        check = check_of(releases, release, document, metadata)
        attribution = attribution_of(releases, release, document, model, args)
        last = attribution.columns() if attribution else []
        logging.info("[predict] release: %s", release)
        rejected = args.rejected
        if rejected is None and args.output != "-":
            rejected = f"{args.output.removesuffix('.csv')}.rejected.csv"
        stream = sys.stdin.buffer if args.input == "-" else opened(Path(args.input))
        rows, why = Counter(scored=0, rejected=0), Counter[str]()
        try:
            with sink(rejected) as turned_down, sink(args.output) as scored:
                assert scored is not None, "a path is given"
                for n, (text, numbers, uneven) in enumerate(
                    blocks(stream, args.input, args.delimiter, args.encoding, args.decimal)
                ):
                    if n == 0:
                        needed = list(metadata["columns"])
                        carried = check_columns(text.column_names, args.columns, needed, args.input, [*OURS, *last])
                    predicted, reasons = score(text, model, args.threads, args.missing, Beside(check, attribution))
                    good, bad = divide(text.select(carried), numbers, uneven, predicted, reasons)
                    good = good.append_column("release", pa.array([release] * len(good), pa.string()))
                    good = good.select([*(name for name in good.column_names if name not in last), *last])
                    scored.write(rendered(good, header=n == 0))
                    if turned_down:
                        turned_down.write(rendered(bad, header=n == 0))
                    else:
                        for row in bad.select(["row_number", "reason"]).to_pylist():
                            logging.warning("[predict] row %d rejected: %s", row["row_number"], row["reason"])
                    why.update(map(_kind_of_reason, bad["reason"].to_pylist()))
                    rows.update(scored=len(good), rejected=len(bad))
                report = compared(check, release, rows)
                if rows["scored"] or not rows["rejected"]:
                    # Within the block, so that earlier predictions stay if this stops.
                    _say(report, args.input, args.on_drift)
        except BrokenPipeError as error:
            raise TaskError("standard output was closed before all rows were written.") from error
        if args.output != "-":
            write_json(Path(f"{args.output.removesuffix('.csv')}{SUFFIX}"), rounded(report))
        _report(rows, why, args.input)
        logging.info("[predict] wrote predictions to %s", args.output)


if __name__ == "__main__":
    main()
