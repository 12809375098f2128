"""The earlier rows that predictions need, in a file that is released with the model."""

import hashlib
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa

from signoff.base.errors import TaskError
from signoff.base.files import replacing
from signoff.features.custom_features import as_given, kind_of
from signoff.features.earlier_rows import Earlier, history_of, micros_of, rows_needed_from
from signoff.features.records import FeatureRecord, HistoryFacts, HistoryState, Plan

# The name of the file in a release.
STATE = "history.arrow"


def write_state(past: pd.DataFrame, plan: Plan, path: Path) -> HistoryState:
    """Write those of all rows that later rows and, if time decides the split, the held-out rows need; describe them.

    Parameters
    ----------
    past
        All rows, as `history.remembered` returns them.
    plan
        recipe, time_column and split, as `make_plan` returns them.
    path
        The file to write, in Arrow's format.
    """
    moments = micros_of(past[plan["time_column"]])
    known = moments[moments < np.iinfo("int64").max]
    end = int(known.max(initial=0))
    since = int(micros_of(pd.Series([plan["split"]["after"]]))[0]) if plan["split"]["by"] == "time" else end
    rows = rows_needed_from(past, plan["recipe"], since).rows
    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    content = sink.getvalue().to_pybytes()
    with replacing(path) as new:
        new.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return {"sha256": digest, "rows": len(rows), "since": since, "end": end, "columns": {}}


def read_earlier_rows(content: bytes, metadata: FeatureRecord) -> Earlier:
    """Return the earlier rows of a release.

    Parameters
    ----------
    content
        The bytes of the file that `write_state` wrote.
    metadata
        The metadata of the model, with the key `history`.

    Raises
    ------
    TaskError
        The file is not the one that the model was trained with.
    """
    if hashlib.sha256(content).hexdigest() != metadata["history"]["sha256"]:
        raise TaskError(f"{STATE} does not belong to this model. Train again: make run.")
    frame = pa.ipc.open_file(pa.BufferReader(content)).read_all().to_pandas()
    return Earlier(
        pd.DataFrame({name: as_given(frame[name], kind_of(frame[name])) for name in frame}),
        metadata["history"]["since"],
        cast(str, metadata["time_column"]),
    )


def history_facts(metadata: FeatureRecord) -> HistoryFacts:
    """Return what the report says of the features of earlier rows of a model that has some."""
    history, state = history_of(metadata["recipe"]), metadata["history"]
    return {
        "features": [name for name in history if name in metadata["features"]],
        "after": list(dict.fromkeys(how["after"] for how in history.values())),
        "rows": state["rows"],
        "end": str(pd.Timestamp(state["end"], unit="us")),
    }


def needs_state(metadata: FeatureRecord) -> bool:
    """Return whether a model has features of earlier rows."""
    return bool(history_of(metadata["recipe"]))
