"""The preset best: what it draws, when it stops, and that the recorded number of trials gives the same model."""

import itertools
import json
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold
from test_model import KINDS, SCHEMA, few_trees, table
from test_presets import VOTING

import reproduce
from backtest_week import backtest_week
from signoff.base.errors import TaskError
from signoff.config.settings import check_config
from signoff.model.draws import Budget, batches, drawn
from signoff.model.model_file import pickled
from signoff.model.presets import _chosen, _Found, choose_good
from signoff.model.records import Setting
from signoff.model.regressor import Learning, TrainingRows, make_regressor
from signoff.model.training import train_model
from signoff.report.choice import candidates_blocks
from signoff.rules.trials import trials_of_last_model


def ticking(seconds: float) -> Callable[[], float]:
    """Return a clock that is so many seconds later each time that it is read."""
    return itertools.count(0, seconds).__next__


def drawn_in(budget: Budget, rows: int = 100) -> list[list[Setting]]:
    return list(batches(drawn([2, 4], transform="log"), rows, budget, budget.clock()))


def test_time_decides_how_many_settings_are_drawn_but_not_which():
    slow, fast = (drawn_in(Budget(1, clock=ticking(seconds))) for seconds in (9, 2))
    assert 1 < len(slow) < len(fast) and fast[: len(slow)] == slow
    assert drawn_in(Budget(trials=3 * len(slow), clock=ticking(10**6))) == slow
    assert [len(each) for each in drawn_in(Budget(trials=14), rows=6000)] == [9, 5] and not drawn_in(Budget(trials=0))
    assert list(itertools.islice(drawn([2, 4], random_state=1), 9)) != list(itertools.islice(drawn([2, 4]), 9))


def test_a_batch_that_may_end_too_late_does_not_begin_and_there_is_a_last_one():
    # Each batch takes 12 seconds, and so does the pause before it.
    assert len(drawn_in(Budget(1, clock=ticking(12)))) == 2
    assert sum(map(len, drawn_in(Budget(1, clock=ticking(0))))) == 999


def test_each_kind_of_model_takes_its_turn_and_accepts_its_parameters():
    found: Iterator[Setting] = drawn([2, 4], "poisson_deviance", "log")
    one, other = (list(itertools.islice(found, 12)) for _ in range(2))
    assert [each["estimator"] for each in one] == [each["estimator"] for each in other]
    assert len({each["estimator"] for each in one}) == 4 and len({str(each) for each in (*one, *other)}) == 24
    assert {"absolute_error", "poisson"} <= {each["params"].get("loss") for each in one}
    for each in (*one, *other):
        make_regressor(**each, random_state=0)


def test_the_recorded_number_of_trials_gives_the_same_model(monkeypatch):
    few_trees(monkeypatch, every=5)
    features, target = table(40)
    rows = TrainingRows(features, KINDS, target)
    found, again = (
        choose_good(rows, threads=threads, budget=budget)
        for threads, budget in ((1, Budget(1, clock=ticking(20))), (2, Budget(trials=3)))
    )
    assert found[1]["trials"] == {"count": 3, "minutes": 1} and again[1]["trials"] == {"count": 3}
    assert found[0] == again[0] and found[1]["settings"] == again[1]["settings"]
    # The drawn ones are trained, and cost; a mean is not.
    compared = [each for each in found[1]["settings"] if each["estimator"] != VOTING]
    assert sum("max_features" in each["params"] for each in compared) == 2 and "Nystroem" in str(compared)
    assert found[1]["cost"]["fits"] == 5 * len(compared) and not any(each["problem"] for each in compared)
    one, other = (pickled(train_model(features, KINDS, target, **each)) for each, _ in (found, again))
    assert one == other


def test_a_mean_that_is_better_at_all_is_preferred_as_good_does_beyond_one_standard_error():
    target, signs = pd.Series(np.zeros(500)), np.repeat([-1, -1, 1.5, 1.5, 1.5], 100)
    settings = [{"estimator": name, "params": {}} for name in ("a.A", "b.B")]
    compared = {n: {**each, "MAE": 1.0, "spread": 0.1, "rows": 500, "problem": None} for n, each in enumerate(settings)}
    found = _Found(settings, compared, {0: target + 1, 1: target + signs}, {"fits": 10, "rows": 80})
    # Better by 0.25 ± 0.31 than A.
    assert _chosen(found, target, KFold(5), "MAE", best=False)[0] == settings[0]
    setting, comparison = _chosen(found, target, KFold(5), "MAE", best=True)
    assert setting["estimator"] == VOTING and comparison["why"].endswith("by 0.25 ± 0.31")


def test_a_backtest_draws_as_many_as_the_last_model_and_records_them(tmp_path, monkeypatch):
    few_trees(monkeypatch, every=5)
    record = tmp_path / "model.json"
    flags = trials_of_last_model(record)
    assert flags(None, None) == ""
    for comparison, expected in (({"trials": {"count": 6, "minutes": 2}}, "--trials=6"), ({}, "")):
        record.write_text(json.dumps({"candidates": comparison}), encoding="utf-8")
        assert flags(None, None) == expected
    features, target = table(40)
    rows = features.assign(minutes=target)
    found = backtest_week(rows, {"2024-W09": rows}, KINDS, "minutes", Learning(preset="best", trials=0))
    assert found["trials"] == {"count": 0} and "chosen" in found


def test_a_release_is_reproduced_with_the_trials_that_were_made():
    model = {"preset": "best", "minutes": 3}
    config = check_config({"raw_data_source_url": "a.csv", "target": "y", "model": model}, SCHEMA)
    record = {"versions": {}, "candidates": {"trials": {"count": 6, "minutes": 3}}}
    options = reproduce._training(config, record)
    assert options["trials"] == 6 and options["minutes"] is None
    # With too few rows, nothing was compared.
    assert "trials" not in reproduce._training(config, {"versions": {}})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"preset": "best", "minutes": 0}, r"model\.minutes.*0"),
        ({"preset": "best", "minutes": -1}, r"model\.minutes.*-1"),
        ({"preset": "best", "trials": -1}, r"model\.trials.*-1"),
        ({"preset": "good", "minutes": 5}, r"model\.minutes is the budget of model\.preset: best\. Set that preset"),
        ({"trials": 5}, r"model\.trials is the budget of model\.preset: best"),
        ({"preset": "best", "trials": 5, "minutes": 5}, r"model\.trials replaces model\.minutes"),
        ({"preset": "best", "params": {"max_iter": 5}}, r"model\.preset: best chooses the model by itself"),
        ({"preset": "best", "passes": 2, "max_rows": 9}, r"model\.passes needs .* model\.preset: fast"),
    ],
)
def test_a_wrong_budget_is_one_clear_error(model, message):
    with pytest.raises(TaskError, match=message):
        check_config({"raw_data_source_url": "a.csv", "target": "y", "model": model}, SCHEMA)


def test_the_report_says_how_many_settings_were_drawn_in_which_time():
    setting = {"estimator": "a.B", "params": {}, "MAE": 1.0, "spread": 0.1, "rows": 40, "problem": None}
    comparison = {"folds": "5 folds by chance", "settings": [setting], "trials": {"count": 3, "minutes": 0.5}}
    assert "3 settings were drawn at random, in 0.5 minutes." in candidates_blocks(comparison, "y", 40)[0]
    comparison["trials"] = {"count": 1}
    assert "1 setting was drawn at random. " in candidates_blocks(comparison, "y", 40)[0]
