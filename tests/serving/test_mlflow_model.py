"""A release as an MLflow model, which MLflow's own client loads; tests/release/test_track.py has MLflow serve one."""

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

import attest
import predict as script_predict
from conftest import in_process, rides
from signoff.base.errors import TaskError
from signoff.base.modules import modules_of
from signoff.release.mlflow_model import REJECTED
from signoff.serving.mlflow_loader import _load_pyfunc

needs_client = pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow's client is not installed: make tracking")
# The names under which the packages in requirements.txt are imported, where they differ.
IMPORTED = {"pyyaml": "yaml", "scikit-learn": "sklearn"}


@pytest.fixture
def folder(released, monkeypatch) -> Path:
    """The MLflow model of the current release, with two reasons for each prediction."""
    monkeypatch.chdir(released.folder)
    released.configure(scoring={"reasons": 2}, reader={"missing": ["?"]})
    code, said, _ = in_process(attest)
    assert code == 0, said
    [attested] = Path("attestations").iterdir()
    return attested / "mlflow_model"


@needs_client
def test_mlflow_loads_a_release_that_answers_raw_rows_as_make_predict_does_to_the_last_digit(folder, monkeypatch):
    from mlflow import pyfunc
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    frame = rides(660).drop(columns="minutes")
    frame.loc[5, "started"], frame.loc[6, "city"] = "yesterday", "?"
    frame.to_csv("rows.csv", index=False)
    in_process(script_predict, "--input=rows.csv", "--output=out/rows.csv", "--reasons=2", "--missing=?")
    expected = pd.read_csv("out/rows.csv", dtype=str, keep_default_na=False)
    expected = expected.set_index(expected["row_number"].astype(int))
    rejected = pd.read_csv("out/rows.rejected.csv").set_index("row_number")["reason"]
    assert len(rejected) > 10

    described = Model.load(str(folder))
    # MLflow puts the folder's code in front of the path for good.
    monkeypatch.setattr(sys, "path", sys.path[:])
    model = pyfunc.load_model(str(folder))
    names = [each.name for each in described.signature.outputs]
    assert described.signature.inputs.input_names() == ["started", "city", "km", "riders"]
    text = pd.read_csv("rows.csv", dtype=str, keep_default_na=False)
    # Other columns are left out. JSON gives numbers as objects beside missing values.
    for rows in (text.iloc[::-1], pd.DataFrame(json.loads(frame.to_json(orient="records"))).astype("object")):
        rows.index = rows.index + 1
        answered = model.predict(rows)
        assert list(answered) == names
        good = answered[answered[REJECTED].isna()].sort_index()[names[:-1]].map(lambda each: str(each or ""))
        assert good.to_dict("index") == expected[names[:-1]].to_dict("index")
        assert answered[REJECTED].dropna().sort_index().to_dict() == rejected.to_dict()
    # A missing value in the answer is null in JSON.
    assert answered["prediction"].loc[6] is None

    [typical] = model.predict(model.input_example).to_dict("records")
    assert typical[REJECTED] is None and typical["prediction_low"] < typical["prediction"]
    with pytest.raises(MlflowException, match=r"missing inputs \['km'\]"):
        model.predict(text.drop(columns="km"))


@needs_client
def test_mlflow_loads_no_folder_with_an_altered_byte(folder, monkeypatch):
    from mlflow import pyfunc
    from mlflow.exceptions import MlflowException

    monkeypatch.setattr(sys, "path", sys.path[:])
    # The sign-off has the digests of the release's files. MLflow itself checks only the format of its own file.
    described = folder / "MLmodel"
    content = described.read_bytes()
    for old, new in ((b"python_function", b"python_functioo"), (b"loader_module", b"loader_modulf")):
        described.write_bytes(content.replace(old, new, 1))
        with pytest.raises((MlflowException, KeyError)):
            pyfunc.load_model(str(folder))
    described.write_bytes(content)
    [release] = folder.glob("data/releases/*")
    for path in [*release.glob("*.pkl"), release / "model.json"]:
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(TaskError, match=rf"{path.name} (is not the file|was altered)"):
            pyfunc.load_model(str(folder))
        path.write_bytes(content)


def test_rows_unlike_the_released_data_are_refused_if_the_config_says_so(folder, caplog):
    far = pd.DataFrame([{"started": "2024-05-01 03:00:00", "city": "Bonn", "km": 500.0, "riders": True}] * 3)
    model = _load_pyfunc(str(folder / "data"))
    assert model.predict(far.head(0)).empty
    model.predict(far.assign(riders=2))
    assert "outside the released range" in caplog.text
    scoring = json.loads((folder / "data/scoring.json").read_text("utf-8"))
    (folder / "data/scoring.json").write_text(json.dumps(scoring | {"on_drift": "stop"}), encoding="utf-8")
    with pytest.raises(TaskError, match=r"scoring\.on_drift is stop"):
        _load_pyfunc(str(folder / "data")).predict(far.assign(riders=2))


def test_the_folder_has_all_code_and_names_each_package_that_the_code_imports(folder):
    pins = re.findall(r"^([\w-]+)==", (folder / "requirements.txt").read_text("utf-8"), flags=re.M)
    loader = folder / "code/signoff/serving/mlflow_loader.py"
    files = list((folder / "code").rglob("*.py"))
    # What is imported is there.
    assert {path for path in modules_of(loader, folder / "code") if path.suffix == ".py"} <= set(files)
    imports = re.findall(r"^ *(?:from|import) (\w+)", "\n".join(path.read_text("utf-8") for path in files), flags=re.M)
    ours = {*sys.stdlib_module_names, "signoff"}
    assert {*imports} - ours <= {IMPORTED.get(each, each) for each in pins}
    assert "mlflow-skinny" in pins and len(files) < 100
