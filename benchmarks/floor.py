"""The bare floor: the seven files of one process that reads once and keeps everything in memory.

    python benchmarks/floor.py config.yaml

No step can be run by itself, nothing is checked on the way, nothing is logged.
"""

import io
import json
import lzma
import shutil
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import yaml
from pandera.errors import SchemaErrors
from sklearn.ensemble import HistGradientBoostingRegressor

FILES = {
    "raw": "data/raw/raw_data.csv",
    "validation": "reports/validation_report.json",
    "cleaned": "data/processed/cleaned_data.csv",
    "features": "data/features/features.csv",
    "model": "model/model.pkl",
    "metrics": "reports/evaluation_metrics.json",
    "report": "reports/final_report.md",
}


def bring(source: str, raw: str) -> None:
    """Write the source to `raw`, unpacked."""
    if source.endswith(".xz"):
        Path(raw).write_bytes(lzma.decompress(Path(source).read_bytes()))
    else:
        shutil.copyfile(source, raw)


def write(table: pa.Table, path: str) -> None:
    """Write a table with Arrow, the fastest writer at hand; its text columns are dictionaries in memory."""
    for n, column in enumerate(table.columns):
        if pa.types.is_dictionary(column.type):
            table = table.set_column(n, table.column_names[n], column.cast(pa.string()))
    pyarrow.csv.write_csv(table, path, pyarrow.csv.WriteOptions(quoting_style="none"))


def violations(frame: pd.DataFrame, schema: str) -> list[dict]:
    """Return what pandera finds."""
    try:
        pandera.DataFrameSchema.from_yaml(schema).validate(frame, lazy=True)
    except SchemaErrors as found:
        return found.failure_cases[["column", "check", "failure_case"]].astype(str).to_dict("records")
    return []


def scores(actual: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return MAE and R2."""
    error = predicted - actual
    return {"MAE": np.abs(error).mean(), "R2": 1 - (error**2).sum() / ((actual - actual.mean()) ** 2).sum()}


def main(path: str) -> None:
    config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    time_column, target, wanted = config["time_column"], config["target"], config["features"]
    for each in FILES.values():
        Path(each).parent.mkdir(parents=True, exist_ok=True)
    bring(config["raw_data_source_url"], FILES["raw"])

    with open(FILES["raw"], "rb") as file:
        first = pyarrow.csv.read_csv(io.BytesIO(file.readline() + file.readline()))
    text = [each.name for each in first.schema if not pa.types.is_integer(each.type)]
    types = dict.fromkeys(text, pa.dictionary(pa.int32(), pa.string()))
    table = pyarrow.csv.read_csv(
        FILES["raw"], convert_options=pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True)
    ).unify_dictionaries()
    frame = table.to_pandas()
    words = pd.to_datetime(frame[time_column].cat.categories.to_series()).dt.tz_localize(None).dt.as_unit("ns")
    times = pd.Series(words.to_numpy()[frame[time_column].cat.codes], frame.index)

    plain = {name: frame[name].astype("str") for name in text} | {time_column: times}
    errors = violations(frame.assign(**plain), config["validation"]["schema"])
    report = {"status": "fail" if errors else "pass", "rows": len(frame), "errors": errors}
    Path(FILES["validation"]).write_text(json.dumps(report), encoding="utf-8")

    good = frame.notna().all(axis=1).to_numpy()
    table = table.filter(pa.array(good))
    write(table, FILES["cleaned"])

    frame, times = frame[good], times[good]
    for part in wanted["date_parts"]:
        frame[f"{time_column}_{part}"] = getattr(times.dt, part)
    for name, expression in wanted["derived"].items():
        frame[name] = frame.eval(expression)
    is_test = (times > times.max() - pd.Timedelta(weeks=config["split"]["test_weeks"])).to_numpy()
    names = [name for name in frame if name not in (*wanted["drop"], time_column, target)]
    made = {name: table[name] if name in table.column_names else pa.array(frame[name]) for name in names}
    split = pc.if_else(pa.array(is_test), "test", "train")
    write(pa.table({time_column: table[time_column], **made, target: table[target], "split": split}), FILES["features"])

    # Categories first and coded in their order, as the encoder of the others does it: the trees are the same.
    categories = [name for name in names if name in text]
    matrix = np.empty((len(frame), len(names)))
    for n, name in enumerate(sorted(names, key=lambda name: name not in categories)):
        values = frame[name]
        matrix[:, n] = np.argsort(np.argsort(values.cat.categories))[values.cat.codes] if name in text else values
    actual = frame[target].to_numpy("float64")
    model = HistGradientBoostingRegressor(
        categorical_features=range(len(categories)), random_state=config["random_state"]
    )
    x, y = matrix[~is_test], actual[~is_test]
    model.fit(x, y)
    joblib.dump(model, FILES["model"])

    baseline = config["evaluation"]["baseline"]
    predictions = {"predicted": model.predict(matrix), "mean": np.full(len(actual), y.mean())}
    predictions[baseline] = frame[baseline].to_numpy()
    metrics = {
        part: {name: scores(actual[rows], values[rows]) for name, values in predictions.items()}
        for part, rows in (("test", is_test), ("train", ~is_test))
    }
    Path(FILES["metrics"]).write_text(json.dumps(metrics), encoding="utf-8")
    lines = [
        f"| {part} | {name} | {each['MAE']:.4f} | {each['R2']:.4f} |"
        for part, both in metrics.items()
        for name, each in both.items()
    ]
    table_head = ["| part | name | MAE | R2 |", "| --- | --- | --- | --- |"]
    Path(FILES["report"]).write_text("\n".join([*table_head, *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
