"""Columns of few rows: the same values as pandas and Arrow give."""

import pandas as pd
import pyarrow as pa
import pytest

from signoff.tables.arrays import as_series, missing_in, numbers_in, text_in

ZONED = pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    "kind", [ZONED, pa.timestamp("us"), pa.int64(), pa.float64(), pa.bool_(), pa.string()], ids=str
)
@pytest.mark.parametrize("values", [[], [None], [1, 0], [1, None, 0]], ids=str)
def test_a_column_is_what_to_pandas_returns(kind, values):
    column = pa.chunked_array([pa.array(values, pa.int64()).cast(kind)] * 2)
    found, expected = as_series(column), column.to_pandas()
    pd.testing.assert_series_equal(found, expected, check_exact=True)
    assert type(getattr(found.dtype, "tz", None)) is type(getattr(expected.dtype, "tz", None))
    assert missing_in(found).tolist() == expected.isna().tolist()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        assert numbers_in(found).tolist() == pytest.approx(expected.astype("float64").tolist(), nan_ok=True)
    pd.testing.assert_series_equal(text_in(found), expected.astype("str"))
