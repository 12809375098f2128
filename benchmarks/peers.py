"""One model for each shop with another program, by the functions of loop.py: many models in one run are set beside it.

    python benchmarks/peers.py kedro shops.csv models

It runs in an environment with the program, on two cores: `mlflow` fits with joblib and logs each model, its metrics and
the file to MLflow; `kedro` has a node for each model; `dagster` has a partition for each, one after the other.
"""

import functools
import json
import os
import sys
import tempfile
from pathlib import Path

import joblib
import pandas as pd
from loop import fit


def logged(shop: str, rows: pd.DataFrame, folder: Path) -> None:
    """Fit a model, and log it as a run of MLflow."""
    import mlflow

    mlflow.set_tracking_uri((folder / "mlruns").absolute().as_uri())
    mlflow.set_experiment("shops")
    with mlflow.start_run(run_name=shop):
        fit(rows, folder / shop)
        mlflow.log_metrics(json.loads((folder / shop / "metrics.json").read_text()))
        mlflow.log_artifact(folder / shop / "model.pkl")


def made(folder: Path, rows: pd.DataFrame) -> str:
    """Fit a model, as a node of Kedro that returns its name."""
    fit(rows, folder)
    return folder.name


def with_mlflow(shops: dict[str, pd.DataFrame], folder: Path) -> None:
    # MLflow keeps files only if it is told to.
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    joblib.Parallel(n_jobs=2)(joblib.delayed(logged)(shop, rows, folder) for shop, rows in shops.items())


def with_kedro(shops: dict[str, pd.DataFrame], folder: Path) -> None:
    from kedro.io import MemoryDataset, SharedMemoryDataCatalog
    from kedro.pipeline import Node, Pipeline
    from kedro.runner import ParallelRunner

    works = {shop: functools.partial(made, folder / shop) for shop in shops}
    nodes = [Node(work, inputs=f"rows_{shop}", outputs=shop, name=f"fit_{shop}") for shop, work in works.items()]
    catalog = SharedMemoryDataCatalog({f"rows_{shop}": MemoryDataset(rows) for shop, rows in shops.items()})
    ParallelRunner(max_workers=2).run(Pipeline(nodes), catalog)


def with_dagster(shops: dict[str, pd.DataFrame], folder: Path) -> None:
    import dagster

    @dagster.asset(partitions_def=dagster.StaticPartitionsDefinition(list(shops)))
    def model(context: dagster.AssetExecutionContext) -> None:
        fit(shops[context.partition_key], folder / context.partition_key)

    with tempfile.TemporaryDirectory() as home, dagster.DagsterInstance.local_temp(home) as instance:
        for shop in shops:
            dagster.materialize([model], partition_key=shop, instance=instance)


def main() -> None:
    program, source, folder = sys.argv[1:]
    shops = dict(list(pd.read_csv(source, parse_dates=["started"]).groupby("shop")))
    {"mlflow": with_mlflow, "kedro": with_kedro, "dagster": with_dagster}[program](shops, Path(folder))


if __name__ == "__main__":
    main()
