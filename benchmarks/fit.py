"""The bare fit: of the training rows in features.csv as one matrix of codes and numbers, by scikit-learn alone.

    python benchmarks/fit.py data/features/features.csv

Its last line of output is how many seconds the fit took, and the MAE of the held-out rows, as JSON.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor


def main(path: str) -> None:
    about = json.loads(Path(path).with_suffix(".json").read_text(encoding="utf-8"))
    frame = pd.read_csv(path, usecols=[*about["features"], about["target"], "split"])
    # Categories first and coded in their order, as the pipeline encodes them: the trees are the same.
    kinds = dict(sorted(about["features"].items(), key=lambda each: each[1] != "category"))
    matrix = np.empty((len(frame), len(kinds)))
    for n, (name, kind) in enumerate(kinds.items()):
        matrix[:, n] = frame[name].astype("category").cat.codes if kind == "category" else frame[name]
    target, train = frame[about["target"]].to_numpy("float64"), (frame["split"] == "train").to_numpy()
    x, y = matrix[train], target[train]
    categories = [n for n, kind in enumerate(kinds.values()) if kind == "category"]
    model = HistGradientBoostingRegressor(categorical_features=categories, random_state=0)
    started = time.perf_counter()
    model.fit(x, y)
    seconds = time.perf_counter() - started
    errors = np.abs(model.predict(matrix[~train]) - target[~train])
    print(json.dumps({"fit": seconds, "MAE": errors.mean()}))


if __name__ == "__main__":
    main(sys.argv[1])
