"""Training beside the bare fit: of the same rows, and by scikit-learn alone on one matrix of their codes and numbers.

    python benchmarks/fit.py data/features/features.csv 60

Both train in turns, in one process: neither pays for imports, for looking up libraries, or for memory that the other
finds ready. Its last line of output is the seconds of each, and the MAE of the held-out rows, as JSON.
"""

import gc
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from measure import CORES, ROOT
from sklearn.ensemble import HistGradientBoostingRegressor

sys.path.append(str(ROOT / "scripts"))

from signoff.model.training import train_model
from signoff.tables.batches import read_rows

# One fit differs from the next by far more than is to be told: so many turns at least, and at most; in between, for as
# many seconds as are given. The median of 25 turns' ratios differed by 0.01 from one series to the next, that of 8 by
# 0.03.
LEAST_TURNS, MOST_TURNS = 5, 40


def main(path: Path, at_least: float) -> None:
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    target, names = about["target"], [*about["features"], about["target"]]
    rows = read_rows(path, about["kinds"], names, "split", lambda split: split == "train", about["features"])

    frame = pd.read_csv(path, usecols=[*names, "split"])
    # Categories first and coded in their order, as the pipeline encodes them: the trees are the same.
    kinds = dict(sorted(about["features"].items(), key=lambda each: each[1] != "category"))
    matrix = np.empty((len(frame), len(kinds)))
    for n, (name, kind) in enumerate(kinds.items()):
        matrix[:, n] = frame[name].astype("category").cat.codes if kind == "category" else frame[name]
    actual, known = frame[target].to_numpy("float64"), (frame["split"] == "train").to_numpy()
    x, y = matrix[known], actual[known]
    categories = [n for n, kind in enumerate(kinds.values()) if kind == "category"]

    def ours() -> None:
        train_model(rows, about["features"], rows[target], threads=CORES)

    def bare() -> None:
        model.fit(x, y)

    model = HistGradientBoostingRegressor(categorical_features=categories, random_state=0)
    seconds = {"ours": [], "bare": []}
    # As timeit does: a search for garbage would be one side's by chance.
    gc.disable()
    turn, end = 0, time.perf_counter() + at_least
    # A test gives it no time at all.
    least = LEAST_TURNS if at_least else 1
    while turn <= least or (turn <= MOST_TURNS and time.perf_counter() < end):
        # Each comes first as often as last, and the first turn, which makes everything ready, does not count.
        for train in (ours, bare) if turn % 2 else (bare, ours):
            started = time.perf_counter()
            train()
            if turn:
                seconds[train.__name__].append(time.perf_counter() - started)
        turn += 1
    errors = np.abs(model.predict(matrix[~known]) - actual[~known])
    print(json.dumps({**seconds, "MAE": errors.mean()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
