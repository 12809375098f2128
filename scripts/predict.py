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
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import pyarrow as pa

from signoff.base import command_line
from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError
from signoff.base.files import replacing, write_json
from signoff.base.numbers import counted, rounded
from signoff.config.settings import config_argument, config_here, read_config
from signoff.release.store import Releases, release_argument
from signoff.review.batch_check import BatchReport, batch_report, report_path
from signoff.review.batch_rows import OURS, blocks, columns_to_keep, divide, open_batch
from signoff.review.newer_rows import Newer, with_newer
from signoff.review.row_scores import Beside, load_scorer, score
from signoff.tables.csv_file import rendered

# Findings in the line for the screen; the report has all.
_MOST_SAID = 5


@contextlib.contextmanager
def _sink(path: str | None) -> Iterator[IO[bytes] | None]:
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


def _asked_for(args: argparse.Namespace) -> ReleaseConfig:
    """Return the approvals that a release must have: those of the project's config, or more by the command line."""
    rule = read_config(args.config)[0].release if args.config or config_here() else ReleaseConfig()
    return replace(
        rule,
        allowed_signers=args.allowed_signers or rule.allowed_signers,
        required_approvals=max(args.required_approvals, rule.required_approvals),
    )


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, help='a CSV file, plain or compressed, or "-"')
    parser.add_argument("--output", required=True, help='the CSV file to write, or "-"')
    parser.add_argument("--rejected", help="where rows go that cannot be scored; beside the output, or to the log")
    release_argument(parser)
    parser.add_argument("--columns", action="append", default=[], help="the columns to carry along; all if not given")
    parser.add_argument("--delimiter", default=",", help="what separates the input's fields")
    parser.add_argument("--encoding", default="utf-8", help="the input's text encoding")
    parser.add_argument("--decimal", choices=[".", ","], default=".", help="the decimal separator of numbers")
    parser.add_argument("--missing", action="append", default=[], help="a spelling of a missing value; may be repeated")
    parser.add_argument("--history", type=Path, help="newer rows with their values, for features of earlier rows")
    parser.add_argument("--allowed-signers", help="use the release only if it was signed by one of these keys")
    parser.add_argument("--required-approvals", type=int, default=1, help="use the release only if it has this many")
    parser.add_argument("--threads", type=int, default=1, help="the most cores to use")
    parser.add_argument(
        "--reasons", type=int, default=0, help="the features that moved a prediction most: how many, for each row"
    )
    parser.add_argument(
        "--on-drift", choices=["warn", "stop"], default="warn", help="if the batch differs from the data"
    )
    config_argument(parser)
    return parser


def _say(report: BatchReport, batch: str, on_drift: str) -> None:
    """Log in one line whether a batch is like the released data. Raises TaskError if it is not, and that stops."""
    found = report["findings"]
    if not found:
        like = "" if report["compared"].startswith("nothing") else "the batch is like the released data; "
        logging.info("[predict] %scompared: %s", like, report["compared"])
        return
    said = "; ".join(each["sentence"] for each in found[:_MOST_SAID])
    more = f"; and {len(found) - _MOST_SAID} more" if len(found) > _MOST_SAID else ""
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
        form = (args.delimiter, args.encoding, args.decimal, tuple(args.missing))
        newer = Newer(args.history, *form) if args.history else None
        loaded = load_scorer(Releases(), args.release, _asked_for(args), args.reasons, args.threads)
        scorer = with_newer(loaded, newer)
        release, last = scorer.release, scorer.last
        beside = Beside(scorer.check(), scorer.attribution)
        logging.info("[predict] release: %s", release)
        rejected = args.rejected
        if rejected is None and args.output != "-":
            rejected = f"{args.output.removesuffix('.csv')}.rejected.csv"
        stream = sys.stdin.buffer if args.input == "-" else open_batch(Path(args.input))
        rows, why = Counter(scored=0, rejected=0), Counter[str]()
        try:
            with _sink(rejected) as turned_down, _sink(args.output) as scored:
                assert scored is not None, "a path is given"
                for n, (text, numbers, uneven) in enumerate(
                    blocks(stream, args.input, args.delimiter, args.encoding, args.decimal)
                ):
                    if n == 0:
                        ours = [*OURS, *last]
                        carried = columns_to_keep(text.column_names, args.columns, scorer.needed, args.input, ours)
                    predicted, reasons = score(text, scorer.model, args.threads, args.missing, beside)
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
                report = batch_report(beside.check, release, rows)
                if rows["scored"] or not rows["rejected"]:
                    # Within the block, so that earlier predictions stay if this stops.
                    _say(report, args.input, args.on_drift)
        except BrokenPipeError as error:
            raise TaskError("standard output was closed before all rows were written.") from error
        if args.output != "-":
            write_json(report_path(Path(args.output)), rounded(report))
        _report(rows, why, args.input)
        logging.info("[predict] wrote predictions to %s", args.output)


if __name__ == "__main__":
    main()
