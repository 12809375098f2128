"""One model for each shop in a plain loop: what many models in one run are measured beside.

    python benchmarks/loop.py shops.csv models

It cleans, makes features, fits the same regressor, scores it, and writes the model and its metrics.
"""

import json
import sys
from pathlib import Path

import joblib
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder


def fit(rows: pd.DataFrame, folder: Path) -> None:
    rows = rows.dropna().sort_values("started", kind="stable")
    for part in ("year", "month", "dayofweek", "hour"):
        rows[part] = getattr(rows["started"].dt, part)
    features, target = rows.drop(columns=["shop", "started", "minutes"]), rows["minutes"]
    first = len(rows) * 4 // 5
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = make_column_transformer((encoder, ["weather"]), remainder="passthrough")
    model = make_pipeline(columns, HistGradientBoostingRegressor(random_state=0))
    model.fit(features[:first], target[:first])
    actual, predicted = target[first:], model.predict(features[first:])
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, folder / "model.pkl")
    metrics = {"MAE": mean_absolute_error(actual, predicted), "R2": r2_score(actual, predicted), "rows": len(rows)}
    (folder / "metrics.json").write_text(json.dumps(metrics))


def main() -> None:
    table = pd.read_csv(sys.argv[1], parse_dates=["started"])
    for shop, rows in table.groupby("shop"):
        fit(rows, Path(sys.argv[2], str(shop)))


if __name__ == "__main__":
    main()
