"""Tables not seen before become projects that run with no file touched, and predict as well as a script by hand."""

import pytest
from benchmarks.tables import WORSE, measure


@pytest.mark.usefixtures("quick_make")
# A report of German numbers is that of test_decimal_commas_… in tests/config/test_init_project.py.
@pytest.mark.parametrize(("name", "targets"), [("mixed", ("init", "run", "report")), ("sales", ("init", "run"))])
def test_a_table_runs_untouched_and_is_predicted_as_well_as_by_hand(tmp_path, name, targets):
    found = measure(name, tmp_path, targets)
    assert found["outcome"] == "succeeded"
    assert found["beats"]
    assert found["ratios"]["MAE"] <= 1 + WORSE
