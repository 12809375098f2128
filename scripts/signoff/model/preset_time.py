"""How long the preset `good` would take for a table on this machine."""

import time
from collections.abc import Container

import numpy as np
import pandas as pd
from joblib import cpu_count

from signoff.base.errors import TaskError
from signoff.model.boosters import usable
from signoff.model.presets import rows_to_compare, settings_of_good
from signoff.model.records import Setting
from signoff.model.regressor import TrainingRows
from signoff.model.training import train_model

# Times of this many rows are extrapolated; the difference between both gives the time of each further row.
_ROWS_TIMED = (4000, 16_000)
# Five folds of four fifths of the rows.
_FITS = 4
# A weighted mean has up to three models, and intervals take up to 1.2 times as long as those.
_MOST_MODELS, _WITH_INTERVALS = 3, 2.2


def seconds_of_good(rows: TrainingRows, random_state: int = 0) -> float:
    """Return the estimated seconds of choosing and training with the preset good on n rows with all cores.

    Each setting is trained on two samples of the rows, whose CPU times are extrapolated.
    """
    count = len(rows)
    drawn = np.random.default_rng(random_state).permutation(count)
    few, more = (rows.at(drawn[:size]) for size in _ROWS_TIMED)
    compared = len(rows_to_compare(rows, random_state))
    choosing, training = 0.0, []
    # Gradient boosting is also trained without text, and with each column of text.
    columns = list(rows.kinds.values()).count("text")
    settings = settings_of_good(
        rows.target, trend=rows.time is not None, boosters=usable(None), features=len(rows.kinds)
    )
    for number, setting in enumerate(settings):
        short, long = (_seconds(each, setting) for each in (few, more))
        a_row = max(long - short, 0) / max(len(more) - len(few), 1)
        fits = _FITS * (2 + columns if columns and number == 1 else 1)
        choosing += fits * (long + a_row * max(compared - len(more), 0))
        training.append(long + a_row * max(count - len(more), 0))
    longest = sorted(training)[-_MOST_MODELS:]
    return (choosing + _WITH_INTERVALS * sum(longest)) / int(cpu_count())


def _seconds(rows: TrainingRows, setting: Setting) -> float:
    """Return the CPU seconds of training a setting on these rows; 0 if it cannot be trained, which takes no time."""
    known = {name: kind for name, kind in rows.kinds.items() if rows.features[name].notna().any()}
    started = time.process_time()
    try:
        train_model(rows.features, known, rows.target, **setting)
    except TaskError:
        return 0.0
    return time.process_time() - started


def raw_rows(
    frame: pd.DataFrame, kinds: dict[str, str], names: list[str], target: str, prose: Container[str] = ()
) -> TrainingRows:
    """Return n rows of a table as training rows, roughly as they will be once their features are made.

    Numbers, booleans and dates become numbers, and text becomes categories, except in the columns of `prose`. `kinds`
    has the kind of each column, and `names` the columns to use.
    """
    found: dict[str, pd.Series] = {}
    for name in names:
        values = frame[name]
        if kinds[name] == "text":
            found[name] = values.astype("str")
        elif kinds[name] == "date":
            found[name] = (values - pd.Timestamp(0)).dt.total_seconds()
        else:
            found[name] = values.astype("float64")
    texts = {name: "text" if name in prose else "category" for name in names if kinds[name] == "text"}
    used = {name: texts.get(name, "number") for name in names}
    return TrainingRows(pd.DataFrame(found, index=frame.index), used, frame[target].astype("float64"))
