"""A user's own features and metrics: what is refused, what is run again, and which code a release is scored with."""

import re
import subprocess

import numpy as np
import pandas as pd
import pytest
import yaml
from test_predict import assert_same_as_in_evaluation, batch, predicted
from test_release import current, error, flip_a_bit
from test_workflow import EVERYTHING, affected

import predict as script_predict
from conftest import ROOT, Project, make_project, program, rides
from feature_engineering import feature_engineering
from signoff.base.errors import TaskError
from signoff.config.settings import check_config
from signoff.features.custom_features import _ROWS_ALONE
from signoff.features.user_code import load_code
from signoff.review import batch_rows
from signoff.review.custom_metrics import call_metrics
from signoff.review.evaluation import Gate, by_part, evaluate_predictions

FEATURES = """
import numpy as np

COLUMNS = ["started", "km", "ride"]


def features(rows, built_in):
    print("this must not reach the predictions")
    return built_in.drop(columns="started_year").assign(
        log_km=np.log(rows["km"]), morning=rows["started"].dt.hour < 12, last=rows["ride"].str[-1].astype("category")
    )
"""
METRICS = """
import numpy as np


def metrics(actual, predicted, rows):
    # Arrays: the intervals call this a thousand times, and pandas would take most of what these tests take.
    error = np.abs(actual.to_numpy() - predicted.to_numpy())
    return {"within_2": (error <= 2).mean(), "long MAE": error[rows["km"].to_numpy() > 8].mean()}
"""
CONFIG = {
    "features": {"custom": "features.py"},
    "evaluation": {"baseline": "km", "metrics": "metrics.py"},
    "thresholds": {"mae_max": 10, "max_regression": 0.5, "custom": {"within_2": {"min": 0.1, "max": 1}}},
}


def code(tmp_path, text: str, name: str = "features.py"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return load_code(tmp_path / name)[0]


def frame(rows: int = 40) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "when": pd.date_range("2024-01-01", periods=rows, freq="h", tz="Europe/Berlin"),
            "km": np.arange(rows),
            "city": pd.Series(["Köln", "Bonn"] * (rows // 2), dtype="str"),
            "wet": [True, False] * (rows // 2),
            "minutes": np.arange(rows) * 2.0,
        }
    )


def make(tmp_path, text: str, mode: str = "instead", table: pd.DataFrame | None = None):
    table = frame() if table is None else table
    return feature_engineering(table, "minutes", custom=code(tmp_path, text), custom_mode=mode)


def test_the_code_gets_cleaned_rows_of_fixed_types_without_the_target(tmp_path):
    text = """
calls = []
def features(rows, built_in):
    calls.append((dict(rows.dtypes.astype(str)), list(built_in), rows["when"].iloc[0]))
    rows["km"] = 0
    return built_in
"""
    module = code(tmp_path, text)
    table, description = feature_engineering(frame(), "minutes", custom=module)
    types, built_in, when = module.calls[0]
    expected = {"when": "datetime64[us]", "km": "float64", "city": "str", "wet": "boolean"}
    assert types == expected
    assert built_in == ["when_year", "when_month", "when_day_of_week", "when_hour", "km", "city", "wet"]
    assert when == pd.Timestamp("2023-12-31 23:00")
    assert table["km"].tolist() == list(range(40))
    assert description["custom"]["columns"] == {"when": "date", "km": "number", "city": "text", "wet": "boolean"}
    # What the built-in step gives is what a function gets that changes nothing.
    plain = feature_engineering(frame(), "minutes")[0]
    pd.testing.assert_frame_equal(table, plain, check_dtype=False)


def test_instead_leaves_the_built_in_features_out_and_columns_limits_what_is_given(tmp_path):
    text = 'COLUMNS = ["km"]\ndef features(rows):\n    assert list(rows) == ["km"]\n    return rows * 2'
    table, description = make(tmp_path, text)
    assert list(table) == ["when", "km", "minutes", "split"]
    assert table["km"].iloc[3] == 6
    assert (description["features"], description["recipe"]) == ({"km": "number"}, {})


def test_the_kind_of_a_feature_is_that_of_its_values(tmp_path):
    text = """
import pandas as pd
def features(rows):
    return pd.DataFrame({
        "flag": rows["km"] > 3,
        "maybe": (rows["km"] > 3).astype("object").where(rows["km"] > 1),
        "whole": rows["km"].astype("Int64").where(rows["km"] > 1),
        "number": rows["km"].astype(object),
        "level": pd.Categorical(rows["city"]),
        "text": rows["city"].where(rows["km"] > 3, "NA"),
    })
"""
    table, description = make(tmp_path, text)
    kinds = {"flag": "number", "maybe": "number", "whole": "number", "number": "number"}
    assert description["features"] == kinds | {"level": "category", "text": "category"}
    assert table["maybe"].iloc[:6].tolist()[2:] == [0, 0, 1, 1]
    # In a CSV file NA is a missing value, so it is one at once.
    assert table["text"].isna().sum() == 4


RETURNS = [
    ("rows['km']", "features returned Series, but must return a DataFrame"),
    ("None", "features returned NoneType, but must return a DataFrame"),
    ("rows[['km']].head(3)", "features returned 3 rows for 40"),
    ("rows[['km']].iloc[::-1]", "its rows in another order or under another index"),
    ("rows[['km']].set_axis(range(1, 41))", "its rows in another order or under another index"),
    ("rows[[]]", "features returned no column"),
    ("rows[['km', 'km']]", "the column 'km' more than once"),
    ("rows[['km']].rename(columns={'km': 7})", "a column named 7; a name is text"),
    ("rows[['km']].rename(columns={'km': ' '})", "a column named ' '; a name is text"),
    ("rows[['km']].rename(columns={'km': 'minutes'})", "features returned the target 'minutes'"),
    ("rows[['km']].rename(columns={'km': 'split'})", "a column 'split', but that name is taken"),
    ("rows[['km']].rename(columns={'km': 'when'})", "a column 'when', but that name is taken"),
    ("rows[['when']].rename(columns={'when': 'date'})", "the column 'date' of datetime64"),
    ("rows[['km']].astype(object).map(lambda each: [each])", "the column 'km' of mixed"),
    ("rows[['km']].astype(complex)", "the column 'km' of complex"),
    ("1 / rows[['km']]", "the feature 'km' is infinite in 1 rows, the first row 1 of the cleaned data"),
    ("rows[['mk']]", "features.py, line 2: KeyError"),
    ("rows['mk']", "features.py, line 2: KeyError: 'mk': did you mean km?"),
    ("rows[['km']] + rows['minutes']", "uses the target 'minutes', which is not known when a row is scored"),
    ("help_me(rows)", "features.py, line 2: NameError: name 'help_me' is not defined"),
]


@pytest.mark.parametrize(("returned", "message"), RETURNS)
def test_anything_but_a_table_of_features_is_refused(tmp_path, returned, message):
    with pytest.raises(TaskError, match=re.escape(message)):
        make(tmp_path, f"def features(rows):\n    return {returned}")


FILES = [
    ("def features(rows):\n    return rows +\n", "features.py, line 2: invalid syntax. It is not valid Python."),
    ("import no_such_thing\n", "features.py, line 1: ModuleNotFoundError: No module named 'no_such_thing'"),
    ("x = 1\n\nraise ValueError('no\\nway')\n", "features.py, line 3: ValueError: no way"),
    (
        "def feature(rows): pass",
        "features.py has no function 'features': did you mean feature? Write def features(rows",
    ),
    ("", "features.py has no function 'features': it has none. Write def features(rows)."),
    ("features = 7", "features.py has no function 'features'"),
    ("def features(rows, built_in): pass", "features(rows, built_in) does not fit (missing a required argument"),
    ("COLUMNS = ['mk']\ndef features(rows): return rows", "COLUMNS has 'mk': did you mean km?"),
    ("COLUMNS = 'km'\ndef features(rows): return rows", "COLUMNS is 'km', but must be a list"),
]


@pytest.mark.parametrize(("text", "message"), FILES)
def test_a_file_without_the_function_is_refused(tmp_path, text, message):
    with pytest.raises(TaskError, match=re.escape(message)):
        make(tmp_path, text)


def test_code_that_has_not_the_digest_is_not_run(tmp_path):
    path = tmp_path / "features.py"
    path.write_text("raise SystemExit('it ran')", encoding="utf-8")
    with pytest.raises(TaskError, match=r"features\.py is not the recorded file \(000000000000\)"):
        load_code(path, "0" * 64)


NOT_BY_ROW = [
    "rows[['km']] - rows[['km']].mean()",
    "rows[['km']].rank()",
    "rows[['km']].shift().fillna(-1)",
    "rows[['km']].assign(n=rows.index)",
    "rows[['km']].assign(r=__import__('numpy').random.rand(len(rows)))",
    "rows[['km']].assign(c=rows['city'].factorize()[0])",
    "rows[['km']].assign(c=rows['city'].mode()[0])",
    "__import__('pandas').get_dummies(rows[['city']])",
    "rows[['km']].assign(q=__import__('pandas').qcut(rows['km'], 4, labels=False))",
    "rows[['km']].fillna(rows['km'].median())",
]


@pytest.mark.parametrize("returned", NOT_BY_ROW)
def test_a_feature_that_depends_on_other_rows_is_refused(tmp_path, returned):
    table = frame()
    table.loc[39, "km"] = np.nan
    with pytest.raises(TaskError, match=r"features\.py: row \d+ of the cleaned data, given alone: ") as found:
        make(tmp_path, f"def features(rows):\n    return {returned}", table=table)
    assert "\n" not in str(found.value)


def test_a_table_shorter_than_the_rows_that_are_given_alone_is_fine(tmp_path):
    table, _ = make(tmp_path, "def features(rows):\n    return rows[['km']] / 3", table=frame(_ROWS_ALONE - 2))
    assert len(table) == _ROWS_ALONE - 2


def judge(tmp_path, returned: str, name: str = "model"):
    module = code(tmp_path, f"def metrics(actual, predicted, rows):\n    return {returned}", "metrics.py")
    actual = pd.Series([1, 2, 4])
    return call_metrics(module, name, actual, actual + 1.5, pd.DataFrame({"km": [1.0, 2.0, 3.0]}))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("0.5", "metrics returned 0.5, but must return names with numbers"),
        ("{1: 2}", "metrics returned {1: 2}, but must return names with numbers"),
        ("{'MAE': 2}", "metrics returned 'MAE', which is built in. Give it another name."),
        ("{'rows': 2}", "metrics returned 'rows', which is built in"),
        ("{'a': '2'}", "the metric 'a' is '2', but must be a number"),
        ("{'a': actual}", "the metric 'a' is 0"),
        ("{'a': float('nan')}", "the metric 'a' of the model is nan, but must be a finite number"),
        ("{'a': actual.sum() / (actual - actual).sum()}", "the metric 'a' of the model is inf, but must be a finite"),
        ("{'a': rows['mk'].sum()}", "metrics.py, line 2: KeyError: 'mk': did you mean km?"),
    ],
)
def test_anything_but_a_metric_is_refused(tmp_path, returned, message):
    with pytest.raises(TaskError, match=re.escape(message)):
        judge(tmp_path, returned)


def test_metrics_are_numbers_of_any_type_and_a_baseline_may_be_without(tmp_path):
    assert judge(tmp_path, "{'a': (predicted - actual).max(), 'b': len(rows), 'c': None}") == {
        "a": 1.5,
        "b": 3,
        "c": None,
    }
    assert judge(tmp_path, "{'a': float('nan')}", "mean") == {"a": None}


def test_metrics_that_change_what_they_are_given_change_only_their_own_copy(tmp_path):
    text = """
def metrics(actual, predicted, rows):
    actual[:], rows["other"] = 0.0, 1
    predicted.iloc[0], rows.loc[0, "km"] = -5.0, -5.0
    return {"a": predicted.sum() - actual.sum()}
"""
    actual, predicted, rows = pd.Series([1, 2]), pd.Series([1.5, 2.5]), pd.DataFrame({"km": [1.0, 2.0]})
    assert call_metrics(code(tmp_path, text, "metrics.py"), "model", actual, predicted, rows) == {"a": -2.5}
    assert (actual.tolist(), predicted.tolist()) == ([1, 2], [1.5, 2.5])
    assert rows.to_dict("list") == {"km": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("limits", "passed"),
    [
        ({"own": {"max": 2}}, [True]),
        ({"own": {"max": 1.9, "min": 2}}, [False, True]),
        ({"RMSE": {"max": 0.1}}, [False]),
    ],
)
def test_own_metrics_can_be_thresholds_on_the_test_part(limits, passed):
    target, split = pd.Series([0.0, 10.0, 20.0, 30.0]), pd.Series(["train", "train", "test", "test"])
    predictions = {"model": by_part(target + 1, split), "mean": by_part(target * 0, split)}
    actual = by_part(target, split)

    def own(name, actual, predicted):
        return {"own": float(len(actual)) if name == "model" else None}

    found = evaluate_predictions(predictions, actual, Gate({}, limits, own))
    assert [each["passed"] for each in found["thresholds"]] == passed
    assert found["verdict"] == ("passed" if all(passed) else "failed")
    with pytest.raises(TaskError, match=r"thresholds.custom: there is no metric 'owm': did you mean own"):
        evaluate_predictions(predictions, actual, Gate({}, {"owm": {"max": 1}}, own))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"features": {"custom": "/tmp/features.py"}},
            "features.custom is '/tmp/features.py', but must be a .py file in",
        ),
        ({"features": {"custom": "../features.py"}}, "features.custom is '../features.py', but must be a .py file in"),
        ({"features": {"custom": "a/../../f.py"}}, "features.custom is 'a/../../f.py', but must be"),
        ({"evaluation": {"metrics": "./metrics.py"}}, "evaluation.metrics is './metrics.py', but must be"),
        ({"evaluation": {"metrics": "metrics"}}, "evaluation.metrics is 'metrics', but must be a .py file in"),
        ({"features": {"custom_mode": "before"}}, "features.custom_mode is 'before': "),
        (
            {"thresholds": {"custom": {"a": {"maks": 1}}}},
            "the key thresholds.custom.a.maks is unknown: did you mean max?",
        ),
        ({"thresholds": {"custom": {"a": {"max": "1"}}}}, "thresholds.custom.a.max is '1', but must be a number."),
    ],
)
def test_a_wrong_config_is_refused(changes, message):
    schema = ROOT / "workflow/schemas/config.schema.yaml"
    with pytest.raises(TaskError, match=re.escape(message)):
        check_config({"raw_data_source_url": "a.csv", "target": "y", **changes}, schema)


# Through the workflow


@pytest.fixture(scope="module")
def own_run(tmp_path_factory) -> Project:
    """A project with features and metrics of its own, released; shared, so never to be changed."""
    project = make_project(tmp_path_factory.mktemp("own"))
    (project.folder / "features.py").write_text(FEATURES, encoding="utf-8")
    (project.folder / "metrics.py").write_text(METRICS, encoding="utf-8")
    project.configure(**CONFIG)
    project.snakemake("all", "reports/final_report.md", SIGNOFF_ONE_FIGURE="1")
    project.sign_off()
    project.script("deploy")
    return project


@pytest.fixture
def own(own_run, tmp_path) -> Project:
    """A copy of that project that a test may change."""
    return own_run.copy(tmp_path / "copy")


@pytest.fixture(scope="module")
def own_run_again(own_run, tmp_path_factory) -> Project:
    """That project, run again beside its release up to the report; shared, so to be left as it is."""
    project = own_run.copy(tmp_path_factory.mktemp("again") / "copy")
    project.snakemake(*EVERYTHING, SIGNOFF_ONE_FIGURE="1")
    return project


def edit(path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def test_own_metrics_stand_beside_the_built_in_ones_everywhere(own_run):
    found = own_run.json("reports/evaluation_metrics.json")
    for predictor in (found["model"], *found["baselines"].values()):
        assert {"MAE", "within_2", "long MAE"} <= set(predictor["test"]) & set(predictor["train"])
    names = [each["name"] for each in found["thresholds"]]
    assert names == ["mae_max", "within_2_max", "within_2_min"]
    log = (own_run.folder / "logs/verdict.log").read_text(encoding="utf-8")
    value = found["model"]["test"]["within_2"]
    assert re.search(r"Held out +MAE +R2 +within_2 +long MAE\n", log)
    assert f"Threshold   within_2_min 0.1: within_2 is {value:.4f}, passed" in log
    assert f"   {value:.4f}  {found['model']['test']['long MAE']:>9.4f}   model" in log
    report = (own_run.folder / "reports/final_report.md").read_text(encoding="utf-8")
    assert report.count("| within\\_2 | long MAE |") == 2
    known = own_run.json("reports/diagnostics.json")
    assert known["bootstrap"]["own_metrics"] == {"resamples": 500, "rows": found["split"]["rows"]["test"]}
    for name, score in {"model": found["model"], **found["baselines"]}.items():
        for metric in ("within_2", "long MAE"):
            low, high = known["intervals"][name][metric]
            assert low <= score["test"][metric] <= high
            assert low < high or score["test"][metric] == 0
    assert "for your own metrics 500 resamples" in report
    for name in ("features", "metrics"):
        assert f"{name.title()} from `{name}.py`, SHA-256 `" in report


def test_own_features_are_those_of_the_model_and_told(own_run):
    metadata = own_run.json("model/model.json")
    assert list(metadata["features"])[-3:] == ["log_km", "morning", "last"]
    assert "started_year" not in metadata["features"]
    assert metadata["features"]["last"] == "category"
    # The city is what a built-in feature is made of, the ride what only the user's code asks for.
    assert {"city", "ride"} <= set(metadata["columns"])
    log = (own_run.folder / "logs/feature_engineering.log").read_text(encoding="utf-8")
    assert "features.py gets the built-in features and the columns started, km, ride" in log


def test_editing_the_code_reruns_what_depends_on_it_and_nothing_else(own_run, own_run_again):
    # Beside the release that is new.
    assert own_run.jobs(*EVERYTHING) == affected("evaluate_model") | {"live_record"}
    # No copy: the live record names the path of the config, and would be made again.
    own, paths = own_run_again, [own_run_again.folder / name for name in ("features.py", "metrics.py")]
    assert own.jobs(*EVERYTHING) == set()
    before = {path: path.read_bytes() for path in paths}
    try:
        for path in paths:
            path.touch()
        assert own.jobs(*EVERYTHING) == set()
        edit(own.folder / "metrics.py", "<= 2", "<= 3")
        assert own.jobs(*EVERYTHING) == affected("evaluate_model")
        edit(own.folder / "features.py", "< 12", "< 11")
        assert own.jobs(*EVERYTHING) == affected("feature_engineering")
    finally:
        for path, content in before.items():
            path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("features.py", None, "features.py does not exist, and the config names it"),
        ("features.py", "def features(rows:\n", r"features.py, line 1: '\(' was never closed"),
        ("metrics.py", "\0", "metrics.py: source code string cannot contain null bytes|metrics.py, line"),
    ],
)
def test_a_missing_or_broken_file_stops_the_run_before_any_job_with_one_line(own, file, text, message):
    (own.folder / file).unlink()
    if text is not None:
        (own.folder / file).write_text(text, encoding="utf-8")
    done = own.snakemake(check=False)
    assert done.returncode == 1
    # The first line is Snakemake's own, on the profile.
    _, line = done.stdout.strip().splitlines()
    assert re.match(f"ERROR - (?:{message})", line)


def test_code_that_fails_leaves_the_last_good_features(own):
    before = (own.folder / "data/features/features.csv").read_bytes()
    edit(own.folder / "features.py", 'rows["km"]', 'rows["kn"]')
    done = own.snakemake(check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert "feature_engineering failed: features.py, line 10: KeyError: 'kn': did you mean km?" in done.stdout
    assert (own.folder / "data/features/features.csv").read_bytes() == before


def test_the_release_scores_with_its_own_copy_to_the_last_digit(own):
    # Whatever the project's file has become.
    (own.folder / "features.py").write_text("def features(rows, built_in):\n    raise OSError", encoding="utf-8")
    batch(own, rides(600).drop(columns=["minutes"]))
    own.snakemake("predictions/week.csv")
    scored, rejected = predicted(own)
    assert len(scored) + len(rejected) == 600
    assert_same_as_in_evaluation(own, scored)
    own.script("verify")


def test_blocks_rows_and_standard_output_change_no_prediction(own, monkeypatch):
    path = batch(own, rides(600))
    own.snakemake("predictions/week.csv")
    command = [program("python"), own.workflow / "scripts/predict.py", "--input", path, "--output", "-"]
    done = subprocess.run(command, cwd=own.folder, capture_output=True, check=True)
    assert done.stdout == (own.folder / "predictions/week.csv").read_bytes()
    assert b"this must not reach the predictions" in done.stderr
    monkeypatch.chdir(own.folder)
    # Some twenty blocks.
    monkeypatch.setattr(batch_rows, "_BLOCK", 2000)
    script_predict.main(["--input", str(path), "--output", "predictions/small.csv"])
    pd.testing.assert_frame_equal(predicted(own, "small")[0], predicted(own)[0])


def test_what_a_batch_lacks_or_holds_is_told(own):
    rows = rides(20).fillna({"km": 1.0})
    batch(own, rows.drop(columns="ride"))
    assert "week.csv has no column 'ride'" in error(own.script("predict", *PREDICT, check=False))
    rows.loc[3, "km"] = 0.0
    batch(own, rows)
    own.script("predict", *PREDICT)
    scored, rejected = predicted(own)
    assert (len(scored), rejected["row_number"].tolist()) == (19, ["4"])
    assert rejected["reason"].tolist() == ["the feature log_km is infinite"]
    before = (own.folder / "predictions/week.csv").read_bytes()
    batch(own, rows.assign(km=0.0))
    assert own.script("predict", *PREDICT, check=False).returncode == 1
    assert len(predicted(own)[0]) == 0
    assert before != (own.folder / "predictions/week.csv").read_bytes()


PREDICT = ["--input", "data/batches/week.csv", "--output", "predictions/week.csv"]


def test_a_copy_that_was_altered_is_never_run(own):
    copy = current(own) / "code/features.py"
    copy.write_text(copy.read_text(encoding="utf-8") + "\nopen('exploded', 'w')\n", encoding="utf-8")
    batch(own, rides(20))
    for name, arguments in (("predict", PREDICT), ("verify", [])):
        assert "code/features.py was altered" in error(own.script(name, *arguments, check=False))
    assert not (own.folder / "exploded").exists()
    copy.unlink()
    assert "code/features.py is gone" in error(own.script("verify", check=False))


@pytest.mark.parametrize("file", ["features.py", "metrics.py"])
def test_a_sign_off_covers_the_code(own_run_again, tmp_path, file):
    own = own_run_again.copy(tmp_path / "copy")
    path = own.folder / file
    intact = path.read_bytes()
    path.write_bytes(intact + b"# changed\n")
    assert f"{file} is not the code that " in error(own.sign_off(check=False))
    path.write_bytes(intact)
    own.sign_off()
    assert file in own.json("reports/sign_off.json")["files"]
    flip_a_bit(path)
    assert f"{file} has changed since it was signed" in error(own.script("deploy", check=False))


def test_the_champion_makes_its_own_features_by_its_own_code(own):
    """After an edit, the champion's score is the one it had; and the same trees behind other code are another model."""
    first = own.json("reports/evaluation_metrics.json")
    edit(own.folder / "features.py", 'columns="started_year"', 'columns=["started_year", "riders"]')
    own.snakemake(*EVERYTHING)
    found = own.json("reports/evaluation_metrics.json")
    assert found["champion"]["release"] == current(own).name
    assert found["champion"]["test"] == first["model"]["test"]
    assert found["model"]["test"]["MAE"] > found["champion"]["test"]["MAE"]
    assert "max_regression" in [each["name"] for each in found["thresholds"]]
    assert "features.py: changed" in own.sign_off().stdout
    own.script("deploy")
    # Back to what the first release had, but for a comment: each feature, each tree is the same.
    (own.folder / "features.py").write_text(FEATURES + "# as before\n", encoding="utf-8")
    own.snakemake()
    again = own.json("reports/evaluation_metrics.json")
    assert again["model"] == first["model"]
    assert again["model_sha256"] != first["model_sha256"]
    # Without code of one's own, what stands in the way is told.
    own.configure(features={}, evaluation={"baseline": "km"}, thresholds={"mae_max": 10})
    own.snakemake()
    champion = own.json("reports/evaluation_metrics.json")["champion"]
    assert "its columns are gone from the features: log_km, morning, last" in champion["problem"]


def test_a_skops_model_is_released_with_code_in_place_of_built_in_features(project):
    text = "def features(rows):\n    return rows[['km', 'riders', 'city']].assign(tens=rows['km'] // 10)\n"
    (project.folder / "data").mkdir()
    # Not even a folder of data keeps it out of the release.
    (project.folder / "data/features.py").write_text(text, encoding="utf-8")
    features = {"custom": "data/features.py", "custom_mode": "instead", "derived": {"a": "km / 2"}}
    model = {"params": {"max_iter": 5}, "format": "skops", "intervals": "constant"}
    project.configure(features=features, model=model, thresholds={})
    project.snakemake()
    assert "features.drop and derived do nothing" in (project.folder / "logs/feature_engineering.log").read_text(
        "utf-8"
    )
    project.snakemake("reports/final_report.md")
    project.sign_off()
    project.script("deploy")
    batch(project, rides(600))
    project.script("predict", *PREDICT)
    assert_same_as_in_evaluation(project, predicted(project)[0])
    assert (current(project) / "code/data/features.py").read_text(encoding="utf-8") == text
    project.script("verify")


def test_the_guide_works_on_the_flights_as_it_stands(project):
    guide = (ROOT / "docs/custom-features.md").read_text(encoding="utf-8")
    features, metrics = re.findall(r"```{code-block} python\n:caption: .*?\n\n(.*?)```", guide, flags=re.S)
    (project.folder / "features.py").write_text(features, encoding="utf-8")
    (project.folder / "metrics.py").write_text(metrics, encoding="utf-8")
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    for text in re.findall(r"```yaml\n(.*?)```", guide, flags=re.S):
        for section, keys in yaml.safe_load(text).items():
            config[section] = {**config[section], **keys}
    # A sample of the rows, for speed: no thresholds on the built-in metrics then.
    pd.read_csv(ROOT / "resources/flights.csv.xz").iloc[::60].to_csv(project.folder / "flights.csv", index=False)
    config |= {"raw_data_source_url": "flights.csv", "validation": {}, "model": {"params": {"max_iter": 20}}}
    config["thresholds"] = {"custom": config["thresholds"]["custom"]}
    (project.folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    project.snakemake(check=False)
    found = project.json("reports/evaluation_metrics.json")
    assert {"scheduled_speed", "left_early", "route"} < set(found["features"])
    assert {"within_10", "late_found"} < set(found["model"]["test"])
    assert found["thresholds"][0]["name"] == "within_10_min"
