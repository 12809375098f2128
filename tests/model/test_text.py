"""Features of free text: the encoder, which columns are text, and whether the preset good uses them."""

import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_model import few_trees
from threadpoolctl import threadpool_limits

from feature_engineering import feature_engineering
from signoff.base.errors import TaskError
from signoff.features.prose import is_prose
from signoff.model.attribution import Attribution, reference_of
from signoff.model.encoding import predictions
from signoff.model.model_file import _skops_bytes, _trusted_types, load_model, pickled, write_model
from signoff.model.presets import choose_good
from signoff.model.quantiles import ends, fit_intervals
from signoff.model.records import words_of
from signoff.model.regressor import DEFAULT_ESTIMATOR, TrainingRows
from signoff.model.search import folds_of
from signoff.model.text import TextEncoder, ignoring, text_features
from signoff.model.text_gain import gains_of_text
from signoff.model.training import train_again, train_model, train_setting
from signoff.review import drift
from signoff.review.findings import drift_alarms
from signoff.review.importance import dependence, importance

KINDS = {"rooms": "number", "title": "text"}
RIDGE = "sklearn.linear_model.Ridge"
ADJECTIVES = ["tiny", "quiet", "bright", "large", "grand"]
PLACES = ["river", "park", "station", "market", "harbour", "museum", "garden", "library"]


def flats(rows: int = 400, seed: int = 0, informative: bool = True) -> tuple[pd.DataFrame, pd.Series]:
    """Return rows whose title says something about the target, or nothing, and is different in each row."""
    random = np.random.default_rng(seed)
    size = random.integers(0, len(ADJECTIVES), rows)
    title = [
        f"{ADJECTIVES[k]} flat near the {random.choice(PLACES)} and the {random.choice(PLACES)} no {n}"
        for n, k in enumerate(size)
    ]
    rooms = random.integers(1, 6, rows).astype("float64")
    target = 10 * rooms + (30.0 * size if informative else 0) + random.normal(0, 5, rows)
    return pd.DataFrame({"rooms": rooms, "title": pd.Series(title, dtype="str")}), pd.Series(target)


def only(texts: list[str | None]) -> pd.DataFrame:
    return pd.DataFrame({"title": pd.Series(texts, dtype="str")})


def test_the_encoder_gives_the_same_bytes_with_any_number_of_threads():
    # Enough rows and words that the linear algebra would be shared.
    random = np.random.default_rng(0)
    words = [f"w{n}" for n in range(3000)]
    many = only([" ".join(random.choice(words, 12)) for _ in range(2000)])
    written = []
    for threads in (1, 2, 4):
        with threadpool_limits({"blas": threads}):
            encoder = TextEncoder().fit(many)
            written.append((pickled(encoder), encoder.transform(many).tobytes()))
    assert written[0] == written[1] == written[2]


def test_a_text_is_encoded_alike_alone_and_among_others():
    features, _ = flats()
    encoder = TextEncoder().fit(features[["title"]])
    whole = encoder.transform(features[["title"]])
    assert whole.shape == (400, 1 + encoder.size_) == (400, len(encoder.get_feature_names_out(["title"])))
    parts = [encoder.transform(features[["title"]].iloc[first : first + 7]) for first in range(0, 400, 7)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert np.array_equal(encoder.transform(features[["title"]][::-1]), whole[::-1])


def test_unknown_missing_foreign_and_very_long_texts_are_encoded():
    features, _ = flats()
    encoder = TextEncoder().fit(features[["title"]])
    odd = encoder.transform(only(["xyzzy plugh", None, "", "квартира у реки", "tiny " * 10_000, "TINY flat"]))
    assert np.isfinite(odd).all()
    # A missing text is an empty one, and unknown words count for nothing but their length.
    assert not odd[1].any() and not odd[2].any()
    assert odd[0, 0] == 11 and not odd[0, 1:].any() and not odd[3, 1:].any()
    assert odd[4, 0] == 2000 and odd[4, 1:].any()
    assert np.array_equal(odd[5], encoder.transform(only(["tiny flat"]))[0])


@pytest.mark.parametrize(
    "texts", [["鉄道の駅", "鉄道の町", "海の町", "海の駅"], ["บ้านใกล้แม่น้ำ", "บ้านใกล้ตลาด", "ตลาดใกล้บ้าน"]]
)
def test_scripts_without_spaces_have_words(texts):
    encoder = TextEncoder().fit(only(texts))
    assert encoder.size_ > 1 and encoder.transform(only(texts))[:, 1:].any(axis=1).all()
    assert is_prose(texts)


@pytest.mark.parametrize("texts", [[None, None], [""], ["one"], ["no two", "of these", "share words"]])
def test_with_no_repeated_word_only_the_length_is_left(texts):
    encoder = TextEncoder().fit(only(texts))
    assert encoder.transform(only(["some words"])).tolist() == [[10.0]]


@pytest.mark.parametrize(
    ("estimator", "params"),
    [
        (DEFAULT_ESTIMATOR, {"max_iter": 30}),
        (RIDGE, {}),
        ("sklearn.ensemble.VotingRegressor", {"estimators": [["a", RIDGE], ["b", RIDGE]]}),
        ("sklearn.compose.TransformedTargetRegressor", {"regressor": RIDGE}),
        ("sklearn.ensemble.StackingRegressor", {"estimators": [RIDGE], "final_estimator": RIDGE}),
    ],
)
def test_models_learn_from_text_and_are_read_again_in_both_formats(tmp_path, estimator, params):
    features, target = flats(200)
    model = train_model(features, KINDS, target, estimator, params, threads=2)
    assert pickled(model) == pickled(train_model(features, KINDS, target, estimator, params, threads=1))
    without = train_model(features, {"rooms": "number"}, target, estimator, params)
    later, actual = flats(seed=1)
    error = np.abs(predictions(model, later) - actual).mean()
    assert error < 0.5 * np.abs(predictions(without, later[["rooms"]]) - actual).mean()
    assert text_features(model, KINDS)["title"] > 25
    for suffix in (".pkl", ".skops"):
        path = tmp_path / f"model{suffix}"
        read = load_model(path, write_model(model, path))
        assert np.array_equal(predictions(read, later), predictions(model, later))
    again = train_again(model, features, KINDS, target)
    assert np.array_equal(predictions(again, later), predictions(model, later))


def test_components_of_rounding_error_are_left_out():
    features, _ = flats(200)
    # These titles have fewer independent words than there are components.
    seen, others = features[["title"]].drop(range(120, 160)), features[["title"]][120:160]
    encoder = TextEncoder().fit(seen)
    found = encoder.transform(seen)
    assert encoder.size_ < 30 and found.shape == (160, 1 + encoder.size_)
    assert (np.abs(encoder.transform(others)[:, 1:]).max(axis=0) < 100 * found[:, 1:].std(axis=0)).all()


def test_a_regressor_that_ignores_text_predicts_as_without_it():
    features, target = flats()
    setting = ignoring({"estimator": RIDGE, "params": {}}, ["title"])
    model = train_setting(TrainingRows(features, KINDS, target, weights=np.ones(400)), setting)
    plain = train_model(features[["rooms"]], {"rooms": "number"}, target, RIDGE, {})
    assert np.array_equal(predictions(model, features), predictions(plain, features[["rooms"]]))
    assert text_features(model, KINDS) == {"title": 0}
    assert _trusted_types(_skops_bytes(model))
    assert pickled(train_again(model, features, KINDS, target)) == pickled(
        train_setting(TrainingRows(features, KINDS, target), setting)
    )


@pytest.mark.parametrize("informative", [True, False])
def test_text_counts_as_a_gain_only_where_it_lowers_the_error(informative):
    features, target = flats(300, informative=informative)
    rows = TrainingRows(features, KINDS, target)
    _, folds, said = folds_of(rows, 0)
    (gain,), cost = gains_of_text(rows, {"estimator": RIDGE, "params": {}}, folds, said, 0, 1, "MAE")
    assert gain["column"] == "title" and gain["used"] == informative
    assert (gain["difference"] > gain["standard_error"]) == informative
    assert cost == {"fits": 10, "rows": 2400}
    assert (
        gains_of_text(
            replace(rows, kinds={"title": "text"}), {"estimator": RIDGE, "params": {}}, folds, said, 0, 1, "MAE"
        )[0]
        == []
    )


def test_good_ignores_text_that_does_not_help(monkeypatch):
    few_trees(monkeypatch, every=2)
    features, target = flats(40, informative=False)
    setting, comparison = choose_good(TrainingRows(features, KINDS, target))
    assert comparison and not comparison["text"][0]["used"]
    assert all("columns=['title']" in words_of(each) for each in comparison["settings"])
    assert text_features(train_setting(TrainingRows(features, KINDS, target), setting), KINDS) == {"title": 0}


def test_no_text_of_unseen_rows_reaches_the_model():
    features, target = flats()
    model = train_model(features.iloc[:300], KINDS, target.iloc[:300])
    changed = features.copy()
    changed.loc[300:, "title"] = "something else entirely"
    assert pickled(train_model(changed.iloc[:300], KINDS, target.iloc[:300])) == pickled(model)
    # Nor do the folds of a comparison see each other's: an encoder knows the words of its own rows alone.
    late = features["title"].where(features.index < 300, "zebra zebra crossing crossing")
    encoder = TextEncoder().fit(late.iloc[:300].to_frame())
    assert not encoder.transform(only(["zebra crossing"]))[0, 1:].any()


def test_intervals_need_no_feature_but_text():
    features, target = flats(200)
    rows = TrainingRows(features[["title"]], {"title": "text"}, target)
    found = fit_intervals(rows, {"estimator": RIDGE, "params": {}}, 0.9)
    assert found
    model = train_model(features[["title"]], {"title": "text"}, target, RIDGE)
    low, high = ends(found, features[["title"]], predictions(model, features[["title"]]))
    assert ((low <= target) & (target <= high)).mean() > 0.8


def test_importance_and_reasons_name_the_column_of_text():
    features, target = flats()
    model = train_model(features, KINDS, target)
    important, _ = importance(model, features, list(KINDS), target, 0)
    assert important[0]["feature"] == "title"
    assert list(dependence(model, features, KINDS, important, 0)) == ["rooms"]
    profiles = {name: drift.profile(features[name], kind) for name, kind in KINDS.items()}
    reference = reference_of(profiles, KINDS)
    assert reference["title"] is None
    predicted = pd.Series(predictions(model, features))
    moved = Attribution(model, reference, 2).contributions(features, predicted)
    base = predictions(model, features.head(1).assign(rooms=reference["rooms"], title=pd.Series([None], dtype="str")))
    assert np.allclose(moved.sum(axis=1), predicted - base[0])


def test_new_texts_are_no_drift_but_longer_ones_are():
    before, _ = flats()
    other, _ = flats(seed=1)
    profile = drift.profile(before["title"], "text")
    assert not drift.compare("title", profile, other["title"] + " indeed" * 0)["flagged"]
    row = drift.compare("title", profile, other["title"] + " indeed" * 5)
    assert row["flagged"] and not row["unit"] and not row["new"]
    assert "title (its length) has a different" in drift_alarms([row], "the held-out rows")[0]["sentence"]
    missing = other["title"].where(other.index % 2 == 0)
    assert "missing in 50.0%" in drift_alarms([drift.compare("title", profile, missing)], "x")[0]["sentence"]


@pytest.mark.parametrize(
    ("texts", "prose"),
    [
        ([f"ride-{n:05}" for n in range(100)], False),
        ([f"ride {n:05}" for n in range(100)], False),
        ([f"{n:032x}" for n in range(100)], False),
        ([f"person.{n}@example.com" for n in range(100)], False),
        ([f"{n} {n + 1} {n + 2}" for n in range(100)], False),
        # Each word occurs once.
        ([f"{chr(97 + n % 26)}{chr(97 + n // 26)}q {chr(97 + n % 26)}{chr(97 + n // 26)}z" for n in range(100)], False),
        (list(flats(100)[0]["title"]), True),
        ([f"Nissin {each}, “spicy” cup (no. {n})" for n, each in enumerate(PLACES * 5)], True),
        ([], False),
    ],
)
def test_text_is_told_from_ids(texts, prose):
    assert is_prose(texts) == prose


def test_a_column_named_in_features_text_is_a_feature_and_a_wrong_one_is_refused():
    features, target = flats(60)
    frame = features.assign(
        empty=pd.Series([None] * 60, dtype="str"), when=pd.Timestamp("2024-01-01"), price=target, big=target > 50
    )
    table, description = feature_engineering(frame, "price", text=["title", "empty"], split_by="hash")
    assert description["features"]["title"] == "text" and description["kinds"]["title"] == "text"
    assert description["left_out"] == {"empty": "empty"}
    assert table["title"].equals(frame["title"])
    assert "title" in feature_engineering(frame, "price", split_by="hash")[1]["left_out"]
    for name, said, more in (
        ("titel", "there is no column 'titel': did you mean title", {}),
        ("price", "which is the target", {}),
        ("rooms", "column rooms holds numbers, not text", {}),
        ("big", "column big holds booleans, not text", {}),
        ("when", "column when holds dates, not text", {}),
        ("title", " and features.drop both name title", {"drop": ["title"]}),
    ):
        with pytest.raises(TaskError, match=f"features.text.*{re.escape(said)}"):
            feature_engineering(frame, "price", text=[name], split_by="hash", **more)


def test_text_survives_the_weeks_of_a_backtest(tmp_path):
    import pyarrow as pa

    import backtest_week
    from split_weeks import split_weeks

    features, target = flats(140)
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(140), unit="D")
    weeks = split_weeks(features.assign(price=target, when=when), "when", KINDS, "price")
    paths = []
    for week, rows in weeks.items():
        paths.append(tmp_path / f"{week}.parquet")
        file = io.BytesIO()
        pa.parquet.write_table(rows, file)
        paths[-1].write_bytes(file.getvalue())
    _, kinds = backtest_week._read_weeks(paths)
    assert kinds == {**KINDS, "price": "number"}
