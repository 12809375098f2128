"""The delivery before cleaning: the number of rows, and the missing values by day."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from signoff.features.records import Description
from signoff.release.records import AlarmRecord
from signoff.review.newest import rows_by_day
from signoff.review.reasons import alarm
from signoff.tables.batches import text_batches
from signoff.tables.csv_file import header_of_table
from signoff.tables.records import ColumnProfile
from signoff.tables.table import parse_column

# A source has lost rows if it has fewer than this share of the rows at the last release.
_KEPT = 0.8


def lacking(path: Path, description: Description, profile: dict[str, ColumnProfile]) -> Iterator[pd.DataFrame]:
    """Yield the missing values by day of each column with any, some raw rows at a time; see `newest.days_of`.

    Parameters
    ----------
    path
        The raw data.
    description
        The description that `feature_engineering` writes: the name and the notation of the time column are used.
    profile
        The profile of each column of the raw data, as `validate_data` writes it.
    """
    time, header = cast(str, description["time_column"]), header_of_table(path)
    names = [name for name, each in profile.items() if each["missing"] and name in header and name != time]
    about = description.get("columns", {}).get(time)
    if not names or not about or about["kind"] != "date" or time not in header:
        return
    for batch in text_batches(path, [time, *names]):
        moments, _ = parse_column(batch[time], "date", about["date_format"])
        if not pd.api.types.is_datetime64_any_dtype(moments):
            logging.info("[compare_model] missing values are not looked at by day: %s is not read as dates", time)
            return
        rows = pd.DataFrame({name: np.where(batch[name].is_null().to_numpy(), np.nan, 0.0) for name in names})
        rows[time] = moments
        yield rows_by_day(rows, time)


def history_alarms(now: int, before: int | None) -> list[AlarmRecord]:
    """Return an alarm if the source has far fewer rows than at the last release."""
    if before is None or now >= _KEPT * before:
        return []
    sentence = (
        f"The source has {now:,} rows; for the deployed release it had {before:,}. Part of its history is missing."
    )
    return [alarm("history", None, sentence)]
