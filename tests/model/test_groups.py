"""split.groups: rows of one group are on one side of the split, in one fold, and in one part of the calibration."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.model_selection import PredefinedSplit
from sklearn.preprocessing import TargetEncoder
from test_model import KINDS, SCHEMA, table

import explain_model
import feature_engineering as script_features
import train_model as script_train
from signoff.base.errors import TaskError
from signoff.config.settings import check_config
from signoff.features.holdout import described, kinds_of
from signoff.model import quantiles
from signoff.model.model_file import _skops_bytes
from signoff.model.pipeline import levels_of, make_pipeline
from signoff.model.quantiles import fit_intervals
from signoff.model.regressor import TrainingRows, estimators, make_regressor
from signoff.model.search import folds_of
from signoff.model.training import train_again, train_model, train_setting

BOOSTING, STACKING = "sklearn.ensemble.HistGradientBoostingRegressor", "sklearn.ensemble.StackingRegressor"
FEW = {"estimator": BOOSTING, "params": {"max_iter": 2}}
RIDGE = {"estimator": "sklearn.linear_model.Ridge", "params": {}}


def rows_of(count: int, groups: int) -> TrainingRows:
    features, target = table(count)
    which = np.random.default_rng(3).integers(0, groups, count)
    return TrainingRows(features, KINDS, target, pd.Series(pd.date_range("2024-01-01", periods=count)), which)


def test_each_group_is_in_one_fold_and_a_single_group_is_one_clear_error():
    for groups, count in ((40, 5), (3, 3)):
        rows = rows_of(300, groups)
        order, folds, said = folds_of(rows, 0)
        assert list(order) == list(range(300)) and said == f"{count} folds, all rows of a group in the same one"
        splits = list(folds.split(rows.features))
        assert len(splits) == count and sorted(np.concatenate([unseen for _, unseen in splits])) == list(range(300))
        assert all(not set(rows.groups[seen]) & set(rows.groups[unseen]) for seen, unseen in splits)
    with pytest.raises(TaskError, match=re.escape("split.groups: all training rows have the same value")):
        folds_of(rows_of(30, 1), 0)


@pytest.mark.parametrize("count", [600, 6000])
def test_intervals_are_fitted_and_calibrated_on_different_groups(count, monkeypatch):
    rows = rows_of(count, 50)
    rows = TrainingRows(rows.features, rows.kinds, rows.target, None, rows.groups)
    seen, errors, quantiles_of = [], quantiles._errors, quantiles._quantiles

    def spy(all_rows, before, after, *others):
        seen.append((set(all_rows.groups[before]), set(all_rows.groups[after])))
        return errors(all_rows, before, after, *others)

    fitted = []

    def watched(matrix, *others):
        # The first number of each row is in no two rows.
        fitted.append(set(matrix[:, 1]))
        return quantiles_of(matrix, *others)

    monkeypatch.setattr(quantiles, "_errors", spy)
    monkeypatch.setattr(quantiles, "_quantiles", watched)
    rows.features["km"] = np.arange(count, dtype="float64")
    assert fit_intervals(rows, RIDGE, 0.9) is not None
    assert seen and all(not before & after and before and after for before, after in seen)
    group = dict(zip(rows.features["km"], rows.groups, strict=True))
    *folds, whole = fitted
    for part in folds:
        others = whole - part
        assert others and not {group[each] for each in part} & {group[each] for each in others}


def one_level_per_group() -> TrainingRows:
    random, which = np.random.default_rng(4), np.repeat(np.arange(100), 4)
    target = pd.Series(random.normal(size=100)[which] + 0.1 * random.normal(size=400))
    features = pd.DataFrame({"town": pd.Series([f"town {n:03d}" for n in which], dtype="str"), "km": np.arange(400.0)})
    return TrainingRows(features, {"town": "category", "km": "number"}, target, groups=which)


@pytest.mark.parametrize("estimator", [BOOSTING, "sklearn.linear_model.Ridge"])
def test_the_mean_that_encodes_a_level_is_not_learnt_from_the_rows_own_group(estimator):
    rows, found = one_level_per_group(), {}
    levels = levels_of(rows.features, rows.kinds)
    for groups in (None, rows.groups):
        pipeline = make_pipeline(make_regressor(estimator, {}, 0), rows.kinds, rows.features, levels, 0, groups)
        pipeline[0].set_params(verbose_feature_names_out=True)
        made, names = pipeline[0].fit_transform(rows.features, rows.target), pipeline[0].get_feature_names_out()
        column = csr_array(made)[:, [list(names).index("means__town")]]
        found[groups is None] = pd.Series(column.toarray()[:, 0]).round(9)
    assert np.corrcoef(found[True], rows.target)[0, 1] > 0.8
    # No other group has that level, so the mean of all others stands for it.
    assert found[False].nunique() == 5 and np.corrcoef(found[False], rows.target)[0, 1] < 0


@pytest.mark.parametrize(
    ("estimator", "params"),
    [
        (BOOSTING, {"max_iter": 5}),
        ("sklearn.ensemble.VotingRegressor", {"estimators": [FEW, RIDGE]}),
        (STACKING, {"estimators": [FEW, RIDGE], "final_estimator": RIDGE}),
    ],
)
def test_a_model_of_groups_does_not_hold_the_group_of_each_row(estimator, params):
    rows, setting = one_level_per_group(), {"estimator": estimator, "params": params}
    model = train_setting(rows, setting)
    encoders = [each for each in estimators(model) if isinstance(each, TargetEncoder)]
    assert encoders and not any(isinstance(each.cv, PredefinedSplit) for each in encoders) and _skops_bytes(model)
    other = train_model(rows.features, rows.kinds, rows.target, **setting)
    differs = not np.array_equal(model.predict(rows.features), other.predict(rows.features))
    # Stacking fits its members on parts of the rows as well.
    assert differs == (estimator != STACKING)
    again = train_again(model, rows.features, rows.kinds, rows.target, groups=rows.groups)
    assert np.array_equal(again.predict(rows.features), model.predict(rows.features))


def test_a_column_that_is_no_feature_still_groups_the_rows_of_every_task(tmp_path):
    random = np.random.default_rng(0)
    who = random.integers(0, 60, 600)
    frame = pd.DataFrame({"km": random.uniform(0, 9, 600).round(3), "who": [f"rider {n:03d}" for n in who]})
    frame["y"] = frame["km"] + 5 * random.normal(size=60)[who]
    frame.to_csv(tmp_path / "cleaned.csv", index=False)
    files = [f"--input={tmp_path}/cleaned.csv", f"--output={tmp_path}/features.csv", "--drop=who", "--target=y"]
    script_features.main([*files, "--split-groups=who", f"--log={tmp_path}/log"])
    made = pd.read_csv(tmp_path / "features.csv")
    assert list(made) == ["who", "km", "y", "split"] and set(made["split"]) == {"train", "test"}
    assert made.groupby("who")["split"].nunique().max() == 1
    split = json.loads((tmp_path / "features.json").read_text())["split"]
    assert split["groups"] == "who" and "all rows of one who on the same side" in split["rule"]
    # A part of the rows gets the same columns and sides.
    words = [f"--input={tmp_path}/part.csv", f"--output={tmp_path}/part_features.csv"]
    words += [f"--like={tmp_path}/features.json"]
    frame.tail(50).to_csv(tmp_path / "part.csv", index=False)
    (tmp_path / "part.json").write_text(json.dumps({"kinds": {"km": "number", "who": "text", "y": "number"}}))
    script_features.main([*words, f"--log={tmp_path}/log"])
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "part_features.csv"), made.tail(50).reset_index(drop=True))
    files = [f"--input={tmp_path}/features.csv", f"--output={tmp_path}/model.pkl", f"--log={tmp_path}/log"]
    candidates = [f"--candidates={json.dumps(RIDGE)}", '--candidates={"estimator": "sklearn.dummy.DummyRegressor"}']
    script_train.main([*files, *candidates])
    found = json.loads((tmp_path / "model.json").read_text())
    assert list(found["features"]) == ["km"] and "all rows of a group in the same one" in found["candidates"]["folds"]


def test_training_rows_are_explained_by_models_of_other_groups(monkeypatch):
    rows = rows_of(400, 30)
    train = rows.features.assign(y=rows.target, who=rows.groups)
    model = train_model(rows.features, KINDS, rows.target, **RIDGE)
    fitted, fit = [], explain_model.fit

    def spy(regressor, kinds, before, *others):
        fitted.append(set(before["who"]))
        return fit(regressor, kinds, before, *others)

    monkeypatch.setattr(explain_model, "fit", spy)
    unseen, folds = explain_model.out_of_sample(model, train, KINDS, "y", None, "who", 0)
    assert sorted(unseen.index) == list(range(400))
    predicted = [set(train.loc[unseen.index[folds == n], "who"]) for n in range(explain_model._FOLDS)]
    assert all(not before & after and after for before, after in zip(fitted, predicted, strict=True))
    few = train.assign(who=train["who"] % 2)
    assert explain_model.out_of_sample(model, few, KINDS, "y", None, "who", 0)[0].empty


def test_a_number_or_a_date_that_groups_rows_keeps_its_kind():
    plan = {"target": "y", "time_column": None, "features": {"km": "number"}, "split": {"groups": "g", "by": "hash"}}
    for kind in ("number", "date", "text"):
        plan["split"] |= {"groups_kind": kind, "rule": ""}
        assert kinds_of(plan) == {"g": kind, "km": "number", "y": "number", "split": "text"}
    assert "groups_kind" not in described(plan, {"rows": {"train": 9, "test": 9}})["split"]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"by": "time"}, "split.groups: who already decides which rows are held out. Remove split.by: time, or split."),
        ({"test_weeks": 2}, "Remove split.test_weeks, or split.groups."),
        ({"key": ["km"]}, "Remove split.key, or split.groups."),
        ({"groups": "y"}, "split.groups is 'y', but must be another column"),
    ],
)
def test_groups_go_with_no_other_rule(split, message):
    config = {"raw_data_source_url": "a.csv", "target": "y", "split": {"groups": "who", **split}}
    with pytest.raises(TaskError, match=re.escape(message)):
        check_config(config, SCHEMA)
