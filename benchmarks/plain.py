"""The seven steps as one plain script, with pandas alone between them: what the workflow is measured beside.

    python benchmarks/plain.py config.yaml [--report]

It reads the config that the workflow reads, and writes into the working folder. Its last line of output is how many
seconds each step took, as JSON.
"""

import json
import sys
import time
from pathlib import Path

import joblib
import pandas as pd
import pandera.pandas as pandera
import yaml
from pandera.errors import SchemaErrors
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

RAW, CLEANED, FEATURES = "data/raw/raw_data.csv", "data/processed/cleaned_data.csv", "data/features/features.csv"
VALIDATION, METRICS, REPORT = (
    "reports/validation_report.json",
    "reports/evaluation_metrics.json",
    "reports/final_report.md",
)
MODEL = "model/model.pkl"


def ingest(config):
    pd.read_csv(config["raw_data_source_url"]).to_csv(RAW, index=False)


def validate(config):
    frame = pd.read_csv(RAW, parse_dates=[config["time_column"]])
    frame[config["time_column"]] = frame[config["time_column"]].dt.tz_localize(None).astype("datetime64[ns]")
    errors = []
    try:
        pandera.DataFrameSchema.from_yaml(config["validation"]["schema"]).validate(frame, lazy=True)
    except SchemaErrors as found:
        errors = found.failure_cases[["column", "check", "failure_case"]].astype(str).to_dict("records")
    profile = {}
    for name, values in frame.items():
        profile[name] = {"missing": int(values.isna().sum()), "distinct": values.nunique()}
        if pd.api.types.is_string_dtype(values):
            profile[name] |= values.value_counts().head(5).to_dict()
        else:
            profile[name] |= values.quantile([0, 0.25, 0.5, 0.75, 1]).to_dict()
    report = {"status": "fail" if errors else "pass", "rows": len(frame), "errors": errors, "profile": profile}
    Path(VALIDATION).write_text(json.dumps(report, indent=2, default=str))


def clean(config):
    pd.read_csv(RAW).dropna().to_csv(CLEANED, index=False)


def make_features(config):
    time, target, wanted = config["time_column"], config["target"], config["features"]
    frame = pd.read_csv(CLEANED, parse_dates=[time])
    for part in wanted["date_parts"]:
        frame[part] = getattr(frame[time].dt, part)
    for name, expression in wanted["derived"].items():
        frame[name] = frame.eval(expression)
    frame = frame.drop(columns=wanted["drop"])
    is_test = frame[time] > frame[time].max() - pd.Timedelta(weeks=config["split"]["test_weeks"])
    frame["split"] = is_test.map({True: "test", False: "train"})
    frame[[*frame.columns.drop([target, "split"]), target, "split"]].to_csv(FEATURES, index=False)


def train(config):
    frame = pd.read_csv(FEATURES)
    frame = frame[frame["split"] == "train"].drop(columns=["split", config["time_column"]])
    x, y = frame.drop(columns=config["target"]), frame[config["target"]]
    categories = list(x.select_dtypes("str"))
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=float("nan"))
    model = make_pipeline(
        make_column_transformer((encoder, categories), remainder="passthrough"),
        HistGradientBoostingRegressor(categorical_features=range(len(categories)), random_state=config["random_state"]),
    )
    model.fit(x, y)
    print(f"R2 on the training part: {model.score(x, y):.4f}")
    joblib.dump(model, MODEL)


def evaluate(config):
    frame, model = pd.read_csv(FEATURES, parse_dates=[config["time_column"]]), joblib.load(MODEL)
    frame["predicted"] = model.predict(frame[list(model.feature_names_in_)])
    frame["mean"] = frame.loc[frame["split"] == "train", config["target"]].mean()
    metrics = {}
    for part, rows in frame.groupby("split"):
        for name in ("predicted", "mean", config["evaluation"]["baseline"]):
            actual = rows[config["target"]]
            scores = {"MAE": mean_absolute_error(actual, rows[name]), "R2": r2_score(actual, rows[name])}
            metrics.setdefault(part, {})[name] = scores
    model, limits = metrics["test"]["predicted"], config["thresholds"]
    metrics["passed"] = bool(model["MAE"] <= limits["mae_max"] and model["R2"] >= limits["r2_min"])
    Path(METRICS).write_text(json.dumps(metrics, indent=2))
    return frame[frame["split"] == "test"]


def write_report(config, holdout):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder, target = Path(REPORT).with_name("figures"), config["target"]
    folder.mkdir(exist_ok=True)
    residuals = holdout["predicted"] - holdout[target]
    figure, axes = plt.subplots(figsize=(6, 5), constrained_layout=True)
    figure.colorbar(axes.hexbin(holdout[target], holdout["predicted"], gridsize=60, bins="log", mincnt=1))
    axes.axline((0, 0), slope=1, color="black", linestyle="--")
    axes.set(xlabel=f"actual {target}", ylabel=f"predicted {target}")
    figure.savefig(folder / "predicted_against_actual.png", dpi=110)
    figure, axes = plt.subplots(figsize=(6, 3.5), constrained_layout=True)
    axes.hist(residuals.clip(*residuals.quantile([0.005, 0.995])), bins=60)
    axes.set(xlabel=f"predicted − actual {target}", ylabel="rows")
    figure.savefig(folder / "residuals.png", dpi=110)
    figure, axes = plt.subplots(figsize=(6, 3.5), constrained_layout=True)
    weeks = holdout[config["time_column"]].dt.tz_localize(None).dt.to_period("W").dt.start_time
    axes.plot(residuals.abs().groupby(weeks).mean(), marker="o")
    axes.set(xlabel="week beginning", ylabel=f"mean absolute error of {target}")
    figure.autofmt_xdate()
    figure.savefig(folder / "error_over_time.png", dpi=110)
    metrics = json.loads(Path(METRICS).read_text())
    lines = [f"# Report: {target}", "", "Passed" if metrics["passed"] else "Failed", "", "| part | name | MAE | R2 |"]
    lines += ["| --- | --- | --- | --- |"]
    for part in ("test", "train"):
        lines += [f"| {part} | {name} | {each['MAE']:.4f} | {each['R2']:.4f} |" for name, each in metrics[part].items()]
    lines += [f"\n![{path.stem}](figures/{path.name})" for path in sorted(folder.glob("*.png"))]
    Path(REPORT).write_text("\n".join(lines) + "\n")


def main(path, *options):
    config = yaml.safe_load(Path(path).read_text())
    for each in (RAW, CLEANED, FEATURES, MODEL, REPORT):
        Path(each).parent.mkdir(parents=True, exist_ok=True)
    seconds = {}
    for step in (ingest, validate, clean, make_features, train, evaluate):
        started = time.perf_counter()
        holdout = step(config)
        seconds[step.__name__] = time.perf_counter() - started
    if "--report" in options:
        started = time.perf_counter()
        write_report(config, holdout)
        seconds["write_report"] = time.perf_counter() - started
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
