"""One model for each shop in a plain loop: what many models in one run are measured beside.

    python benchmarks/loop.py shops.csv models
    python benchmarks/loop.py weeks.csv models --weeks 45

It cleans, makes features, fits the same regressor, scores it, and writes the model and its metrics. With a number of
weeks, it makes a model for each of the last ones instead, of all rows before that week, as a backtest does.
"""

import argparse
import json
from pathlib import Path

import joblib
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder


def fit(rows: pd.DataFrame, folder: Path, test_rows: int | None = None, trees: int = 100) -> None:
    """Make a model that is scored on its last rows: a fifth, or as many as `test_rows`."""
    rows = rows.dropna().sort_values("started", kind="stable")
    for part in ("year", "month", "day_of_week", "hour"):
        rows[part] = getattr(rows["started"].dt, part)
    features, target = rows.drop(columns=["shop", "started", "minutes"], errors="ignore"), rows["minutes"]
    first = len(rows) - test_rows if test_rows else len(rows) * 4 // 5
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = make_column_transformer((encoder, ["weather"]), remainder="passthrough")
    model = make_pipeline(columns, HistGradientBoostingRegressor(max_iter=trees, random_state=0))
    model.fit(features[:first], target[:first])
    actual, predicted = target[first:], model.predict(features[first:])
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, folder / "model.pkl")
    metrics = {"MAE": mean_absolute_error(actual, predicted), "R2": r2_score(actual, predicted), "rows": len(rows)}
    (folder / "metrics.json").write_text(json.dumps(metrics))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weeks", type=int)
    parser.add_argument("--trees", type=int, default=100)
    args = parser.parse_args()
    table = pd.read_csv(args.source, parse_dates=["started"])
    if args.weeks:
        week = table["started"].dt.strftime("%G-W%V")
        for each in sorted(week.unique())[-args.weeks :]:
            fit(table[week <= each], args.folder / each, int((week == each).sum()), args.trees)
        return
    for shop, rows in table.groupby("shop"):
        fit(rows, args.folder / str(shop), trees=args.trees)


if __name__ == "__main__":
    main()
