"""Tables not seen before become projects that run with no file touched, and predict as well as a script by hand."""

import pytest
from benchmarks.tables import WORSE, measure


@pytest.mark.usefixtures("quick_make")
@pytest.mark.parametrize("name", ["mixed", "sales"])
def test_a_table_runs_untouched_and_is_predicted_as_well_as_by_hand(tmp_path, name):
    found = measure(name, tmp_path)
    assert found["outcome"] == "succeeded"
    assert found["beats"]
    assert found["ratios"]["MAE"] <= 1 + WORSE
