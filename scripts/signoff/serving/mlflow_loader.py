"""Loads a release that `mlflow_model` wrote as an MLflow model, and answers raw rows as `make predict` does.

MLflow calls `_load_pyfunc`, because the file MLmodel names this module. It runs from a copy of the code in the model's
folder.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from signoff.base.errors import TaskError
from signoff.base.files import read_bytes, read_json
from signoff.model.scoring import LOW_AND_HIGH
from signoff.release.approval import parse_sign_off
from signoff.release.mlflow_model import REJECTED, SCORING
from signoff.release.store import Releases
from signoff.review.batch_rows import named
from signoff.review.row_scores import Scorer, scorer_of
from signoff.serving.rows import RequestRows, answer, refusal
from signoff.tables.arrays import with_columns

# Integers up to this are exact as floating-point numbers, so a column with gaps has not changed them.
_EXACT = 2**53


@dataclass(frozen=True)
class _RawRows:
    """A release, as MLflow calls it.

    Parameters
    ----------
    scorer
        The release.
    scoring
        What the config says about rows and predictions, see `mlflow_model.Scoring`.
    """

    scorer: Scorer
    scoring: Mapping[str, Any]

    def predict(self, model_input: pd.DataFrame, params: object = None) -> pd.DataFrame:
        """Return the predictions of raw rows.

        Parameters
        ----------
        model_input
            n rows with the columns of the signature, as text or as numbers.
        params
            None are known; MLflow passes them to every model.

        Returns
        -------
        pandas.DataFrame
            n rows with the same index: the prediction, its interval, the reasons if there are any, and why a row was
            rejected. A rejected row has no prediction.

        Raises
        ------
        TaskError
            A column is missing, a feature cannot be computed, or the rows differ from the released data and
            scoring.on_drift is stop.
        """
        rows = RequestRows(_as_text(model_input, self.scoring["decimal"]), np.arange(1, len(model_input) + 1), [])
        found = answer(rows, self.scorer, self.scoring["missing"], self.scorer.needed[:1])
        if found.report["findings"] and self.scoring["on_drift"] == "stop":
            raise TaskError(str(refusal(found.report, "stop")))
        for each in found.report["findings"]:
            logging.warning("[mlflow] %s", each["sentence"])
        scored = found.scored.to_pandas().set_index("row_number")
        kept = [name for name in ("prediction", *LOW_AND_HIGH, *self.scorer.last) if name in scored]
        scored = scored[kept].reindex(rows.numbers)
        reasons = found.rejected.to_pandas().set_index("row_number")["reason"]
        scored[REJECTED] = reasons.reindex(rows.numbers)
        # MLflow would write a missing number as NaN, which is not JSON.
        gaps = {name: scored[name].astype("object").mask(scored[name].isna(), None) for name in _with_gaps(scored)}
        answered: pd.DataFrame = with_columns(scored, gaps).set_axis(model_input.index)
        return answered


def _with_gaps(frame: pd.DataFrame) -> list[str]:
    """Return the names of the columns with missing values."""
    return [str(name) for name in frame if frame[name].isna().any()]


def _load_pyfunc(data: str) -> _RawRows:
    """Return the release in the folder `data` of an MLflow model."""
    scoring = read_json(Path(data, SCORING))
    releases = Releases(Path(data))
    path = releases.releases / scoring["release"] / "sign_off.json"
    document = parse_sign_off(read_bytes(path), path)
    return _RawRows(scorer_of(releases, scoring["release"], document, scoring["reasons"]), scoring)


def _as_text(frame: pd.DataFrame, decimal: str) -> pa.Table:
    """Return n rows as the text that a CSV file would hold."""
    columns = [pa.array([_cell(each, decimal) for each in frame[name].tolist()], pa.string()) for name in frame]
    return named(pa.Table.from_arrays(columns, [str(name) for name in frame]), decimal)


def _cell(value: object, decimal: str) -> str:
    """Return a value as a cell of a CSV file; numbers keep all their digits."""
    if isinstance(value, str):
        return value
    if value is None or value is pd.NaT or value is pd.NA or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        value = int(value)
    return (repr(value) if isinstance(value, float) else str(value)).replace(".", decimal)
