"""Score one table with the current releases of many models, each row with the model of its value.

    python scripts/predict_models.py --by shop --input data/batches/week.csv --output predictions/week.csv

Run in the folder of the config. The column `scored_by` names the model of each prediction. A row goes to
predictions/week.rejected.csv with its reason if its value has no model, or its model no release, or if it cannot be
scored. With --pool, the pooled model scores the rows whose value has no release. Each model's rows are compared with
the data of its release; predictions/week.report.json says what differs. A model's live record needs its own
predictions, so models/NAME/predictions/shared/week.csv holds them once more.
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from signoff.base import command_line
from signoff.base.config import Config, ReaderConfig
from signoff.base.errors import TaskError, explain, nearest
from signoff.base.files import replacing, write_json
from signoff.base.numbers import counted, rounded
from signoff.config.settings import read_config
from signoff.ops.many import MODELS
from signoff.release.store import Releases
from signoff.review.batch_check import BatchReport, batch_report, report_path
from signoff.review.batch_rows import OURS, blocks, columns_to_keep, divide, open_batch
from signoff.review.row_scores import Beside, load_scorer, score
from signoff.source.pieces import part_names, pooled_names
from signoff.tables.csv_file import rendered

_SCORED_BY = "scored_by"
_MOST = 10
# The folders of predictions: of all models, and in a model's folder.
_FOLDER, _OWN = Path("predictions"), Path("predictions/shared")


@dataclass(frozen=True)
class _Batch:
    """The rows of a batch as text, with their numbers (from 1), and why rows were not read: (number, reason)."""

    text: pa.Table
    numbers: np.ndarray
    uneven: list[tuple[int, str]]


@dataclass(frozen=True)
class _Scored:
    """The rows of a batch that were scored, by model, those that were not, and the report of each model."""

    good: dict[str, pa.Table]
    bad: list[pa.Table]
    reports: dict[str, BatchReport]


def _read_batch(path: Path, reader: ReaderConfig) -> _Batch:
    """Return all rows of a batch."""
    tables, numbers, uneven = [], [], []
    with open_batch(path) as stream:
        for text, some, wrong in blocks(stream, str(path), reader.delimiter, reader.encoding, reader.decimal):
            tables.append(text)
            numbers.append(some)
            uneven += wrong
    return _Batch(pa.concat_tables(tables), np.concatenate(numbers), uneven)


def _score_all(batch: _Batch, names: np.ndarray, config: Config, path: str, threads: int) -> _Scored:
    """Return the rows of a batch, scored by the models in `names`, one folder for each row.

    Raises
    ------
    TaskError
        The batch lacks a column that a model needs, or has one that the predictions have.
    """
    found = _Scored({}, [], {})
    columns, missing = config.scoring.columns, config.reader.missing
    for name in sorted(set(names)):
        mine = np.flatnonzero(names == name)
        text, numbers = batch.text.take(mine), batch.numbers[mine]
        folder = MODELS / name
        if not _is_released(name):
            why = "has no release" if folder.is_dir() else "does not exist"
            found.bad.append(_rejected(text, numbers, f"the model {name} {why}", columns))
            continue
        try:
            with contextlib.chdir(folder):
                rule = read_config()[0].release
                scorer = load_scorer(Releases(), None, rule, config.scoring.reasons, threads)
                beside = Beside(scorer.check(), scorer.attribution)
        except (TaskError, OSError) as error:
            found.bad.append(
                _rejected(text, numbers, f"the release of {name} cannot be used: {explain(error)}", columns)
            )
            continue
        ours = [*OURS, _SCORED_BY, *scorer.last]
        carried = columns_to_keep(text.column_names, columns, scorer.needed, path, ours)
        predicted, reasons = score(text, scorer.model, threads, missing, beside)
        good, bad = divide(text.select(carried), numbers, [], predicted, reasons)
        for title, value in ((_SCORED_BY, name), ("release", scorer.release)):
            good = good.append_column(title, pa.array([value] * len(good), pa.string()))
        found.good[name] = good.select([*(each for each in good.column_names if each not in scorer.last), *scorer.last])
        found.bad.append(bad)
        rows = Counter(scored=len(good), rejected=len(bad))
        found.reports[name] = batch_report(beside.check, scorer.release, rows)
    return found


def _is_released(name: str) -> bool:
    """Return whether a model has a current release."""
    return (MODELS / name / "deployed/current").exists()


def _with_pool(names: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    """Return the model of each row: that of its value, or without a release the pooled one if that has a release."""
    released = {name: _is_released(name) for name in {*names, *pooled}}
    falls_back = np.array([not released[own] and released[pool] for own, pool in zip(names, pooled, strict=True)])
    values = sorted(set(names[falls_back]))
    if values:
        logging.info(
            "[predict_models] a pooled model scores %s of %s without a release, such as %s",
            *(counted(int(falls_back.sum()), "row"), counted(len(values), "value"), ", ".join(values[:_MOST])),
        )
    return np.where(falls_back, pooled, names)


def _rejected(text: pa.Table, numbers: np.ndarray, reason: str, columns: Sequence[str]) -> pa.Table:
    """Return rows that were not scored, all for the same reason."""
    carried = text.select(columns or text.column_names)
    return divide(carried, numbers, [], {}, np.full(len(numbers), reason, dtype="object"))[1]


def _joined(tables: list[pa.Table]) -> pa.Table:
    """Return rows of all models in the order of the batch; a column that a model lacks is empty."""
    whole = pa.concat_tables(tables, promote_options="default")
    return whole.take(pc.sort_indices(whole, [("row_number", "ascending")]))


def _write_own(found: _Scored, output: Path) -> None:
    """Write each model's predictions to its folder, where its live record reads them.

    Files of an earlier run of the batch are replaced, and deleted if the model has no rows any more.
    """
    if not output.is_relative_to(_FOLDER):
        # The live record reads no other folder.
        return
    name = _OWN / output.relative_to(_FOLDER)
    for folder in filter(Path.is_dir, MODELS.iterdir()):
        path = folder / name
        report = report_path(path)
        if folder.name in found.good:
            with replacing(path) as new:
                new.write_bytes(rendered(found.good[folder.name], header=True))
            write_json(report, rounded(found.reports[folder.name]))
        else:
            path.unlink(missing_ok=True)
            report.unlink(missing_ok=True)


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="a CSV file, plain or compressed")
    parser.add_argument("--output", required=True, type=Path, help="the CSV file to write")
    parser.add_argument("--by", required=True, help="the column whose values name the models")
    parser.add_argument("--pool", help="the column whose values name the pooled models; empty: one for all rows")
    parser.add_argument("--threads", type=int, default=1, help="the most cores to use")
    parser.add_argument("--config", action="append", help="the config; by default the one in this folder")
    args = parser.parse_args(argv)
    with command_line.logged("predict_models", args, args.input):
        args.input.stat()
        config = read_config(args.config)[0]
        batch = _read_batch(args.input, config.reader)
        for column in filter(None, (args.by, args.pool)):
            if column not in batch.text.column_names:
                raise TaskError(f"{args.input} has no column {column!r}: {nearest(column, batch.text.column_names)}")
        names = part_names(batch.text[args.by].combine_chunks(), "value", None)
        if args.pool is not None:
            names = _with_pool(names, pooled_names(batch.text, args.pool))
        found = _score_all(batch, names, config, str(args.input), args.threads)
        empty = batch.text.slice(0, 0)
        found.bad.append(divide(empty, batch.numbers[:0], batch.uneven, {}, np.array([], dtype="object"))[1])
        if not found.good:
            why = found.bad[0]["reason"][0].as_py() if len(found.bad[0]) else "it has no rows"
            raise TaskError(f"{args.input}: no row was scored, such as: {why}. Deploy the models, and predict again.")
        good, bad = _joined([*found.good.values()]), _joined(found.bad)
        findings = {name: each["findings"] for name, each in found.reports.items() if each["findings"]}
        said = [f"{name}: {each[0]['sentence']}" for name, each in list(findings.items())[:_MOST]]
        if findings and config.scoring.on_drift == "stop":
            raise TaskError(
                f"batch {args.input}: {counted(len(findings), 'model')} with findings, such as {said[0]}. Nothing was "
                "predicted. Correct the batch, or set scoring.on_drift: warn."
            )
        _write_own(found, args.output)
        stem = str(args.output).removesuffix(".csv")
        for path, table in ((args.output, good), (Path(f"{stem}.rejected.csv"), bad)):
            with replacing(path) as new:
                new.write_bytes(rendered(table, header=True))
        write_json(report_path(args.output), rounded({"models": found.reports}))
        for line in said:
            logging.warning("[predict_models] %s", line)
        for reason, count in Counter(bad["reason"].to_pylist()).most_common(_MOST):
            logging.info("[predict_models] rejected %d rows: %s", count, reason)
        logging.info("[predict_models] models: %d, with findings: %d", len(found.reports), len(findings))
        total = len(good) + len(bad)
        logging.info("[predict_models] completed. Rows: %d, scored: %d, rejected: %d", total, len(good), len(bad))
        logging.info("[predict_models] wrote predictions to %s", args.output)


if __name__ == "__main__":
    main()
