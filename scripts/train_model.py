"""Train a scikit-learn regressor on the training part of the features.

    python scripts/train_model.py --input data/features/features.csv --output model/model.pkl

The model is one Pipeline that takes the features as a frame, encodes what it must, and predicts: what is learnt from
data is learnt from the training part alone. The same features, parameters and versions give the same bytes, on any
number of cores. What the model is made of goes to the output's name with the suffix .json.
"""

import importlib
import logging
import platform
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import sklearn
from sklearn.base import is_regressor
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder
from threadpoolctl import threadpool_limits

import task
from contract import describe
from model_file import write_model
from scoring import metrics, predict
from table import read_table
from task import TaskError, decimals, json_object, nearest, read_json, sha256, write_json

DEFAULT_ESTIMATOR = "sklearn.ensemble.HistGradientBoostingRegressor"
# Gradient boosting puts each feature's values into at most 255 bins.
MOST_LEVELS = 254
# It looks at no level that fewer than ten rows have: with so few rows a level, on average, it would miss most of them.
FEWEST_ROWS_A_LEVEL = 12
MOST_DUMMIES = 50
# On fewer values, threads wait for each other longer than they work; on a busy machine, hundreds of times so.
FEWEST_VALUES_TO_SHARE = 100_000


def train_model(
    features: pd.DataFrame,
    kinds: dict[str, str],
    target: pd.Series,
    estimator: str = DEFAULT_ESTIMATOR,
    params: dict | None = None,
    random_state: int = 0,
    threads: int = 1,
) -> Pipeline:
    """Return a pipeline fitted on `features`.

    Parameters
    ----------
    features
        n rows × m columns: float64 for numbers, str for categories; missing values are allowed.
    kinds
        "number" or "category" for each of the m columns.
    target
        n finite numbers.
    estimator, params
        The dotted name of a regressor that follows scikit-learn's interface, and its parameters.
    random_state
        The seed, where the regressor takes one.
    threads
        How many cores to use, at most.

    Raises
    ------
    TaskError
        There is no such regressor, or it does not take these parameters or data.
    """
    regressor = make_regressor(estimator, params or {}, random_state)
    pipeline = make_pipeline(regressor, kinds, features, random_state)
    # Sums in linear algebra depend on how many threads share them, so BLAS gets one.
    # More threads than cores, as on a laptop told to use four of its two, would only be slower.
    threads = min(threads, joblib.cpu_count())
    use_threads(regressor, threads)
    try:
        shared = 1 if features.size < FEWEST_VALUES_TO_SHARE else threads
        with threadpool_limits({"openmp": shared, "blas": 1}):
            pipeline.fit(features[list(kinds)], target)
            # Some regressors find out only here that their parameters do not fit the data.
            pipeline.predict(features[list(kinds)].head(1))
    except (ValueError, TypeError) as error:
        raise TaskError(f"model: {estimator} with {params or {}} cannot be trained: {error}") from error
    use_threads(regressor, None)
    return pipeline


def make_regressor(estimator: str, params: dict, random_state: int):
    """Return an unfitted regressor, from its dotted name. Raises TaskError where there is none."""
    module_name, _, class_name = estimator.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise TaskError(
            f"model.estimator: cannot import {module_name!r} ({error}). Example: {DEFAULT_ESTIMATOR}"
        ) from error
    if not hasattr(module, class_name):
        names = [name for name in dir(module) if name.endswith("Regressor") or not name.startswith("_")]
        raise TaskError(f"model.estimator: {module_name} has no {class_name!r}: {nearest(class_name, names)}")
    if not hasattr(getattr(module, class_name), "fit"):
        raise TaskError(f"model.estimator: {estimator} is no regressor. Example: {DEFAULT_ESTIMATOR}")
    try:
        regressor = getattr(module, class_name)(**params)
        known = regressor.get_params()
    except (TypeError, AttributeError) as error:
        raise TaskError(f"model.params: {class_name} does not take {params}: {error}") from error
    if not is_regressor(regressor):
        raise TaskError(f"model.estimator: {estimator} is no regressor. Example: {DEFAULT_ESTIMATOR}")
    if "random_state" in known and "random_state" not in params:
        regressor.set_params(random_state=random_state)
    return regressor


def make_pipeline(regressor, kinds: dict[str, str], features: pd.DataFrame, random_state: int) -> Pipeline:
    """Return the regressor behind the encoding that suits it and the n rows of features to train on.

    Histogram gradient boosting takes missing values as they are and splits on sets of categories, so it gets ordinal
    codes; a level that the training part lacks counts as missing. Of a category with too many levels for that it gets
    two numbers: the code, in alphabetical order, and the target's mean, cross-fitted as in scikit-learn's
    TargetEncoder. Any other regressor gets scaled numbers, the median where one is missing, and one column for each of
    the most frequent levels.
    """
    # Imported here: only some regressors need it.
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.impute import SimpleImputer

    # Nothing can be learnt of a feature that the training part lacks, and no encoder takes it.
    unknown = [name for name in kinds if features[name].isna().all()]
    if unknown:
        logging.warning("[train_model] not used, being missing in the whole training part: %s", ", ".join(unknown))
    categories = [name for name, kind in kinds.items() if kind == "category" and name not in unknown]
    numbers = [name for name, kind in kinds.items() if kind == "number" and name not in unknown]
    if not categories and not numbers:
        raise TaskError("every feature is missing in the whole training part. Bring other columns, or more rows.")
    if isinstance(regressor, HistGradientBoostingRegressor):
        encoder = OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=np.nan,
            encoded_missing_value=np.nan,
        )
        most = min(MOST_LEVELS, len(features) / FEWEST_ROWS_A_LEVEL)
        many = [name for name in categories if features[name].nunique() > most]
        categories = [name for name in categories if name not in many]
        if categories and "categorical_features" in regressor.get_params():
            regressor.set_params(categorical_features=list(range(len(categories))))
        folds = KFold(min(5, len(features)), shuffle=True, random_state=random_state)
        means = TargetEncoder(target_type="continuous", cv=folds)
        columns = [("categories", encoder, categories), ("codes", encoder, many), ("means", means, many)]
        columns += [("numbers", "passthrough", numbers)]
    else:
        encoder = OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            max_categories=MOST_DUMMIES,
            sparse_output=regressor.__sklearn_tags__().input_tags.sparse,
        )
        imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
        columns = [
            ("categories", encoder, categories),
            ("numbers", Pipeline([("impute", imputer), ("scale", StandardScaler())]), numbers),
        ]
    encode = ColumnTransformer([each for each in columns if each[2]], verbose_feature_names_out=False)
    return Pipeline([("encode", encode), ("regress", regressor)])


def use_threads(regressor, threads: int | None) -> None:
    """Let a regressor use so many cores; None, once it is fitted, takes the number out again.

    The bytes of a model must not depend on it. In gradient boosting the binning remembers it, and nothing else differs.
    """
    # Bagging splits its work by the number of jobs, and remembers how.
    if "n_jobs" in regressor.get_params() and not type(regressor).__name__.startswith("Bagging"):
        regressor.set_params(n_jobs=threads)
    if threads is None and hasattr(regressor, "_bin_mapper"):
        regressor._bin_mapper.n_threads = None


def main(argv: list[str] | None = None) -> None:
    parser = task.arguments(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="the features; their .json beside them")
    parser.add_argument("--output", required=True, type=Path, help="the model: a .pkl (joblib) or .skops file")
    parser.add_argument("--estimator", default=DEFAULT_ESTIMATOR, help="dotted name of a scikit-learn regressor")
    parser.add_argument("--params", type=json_object, default={}, help="its parameters as JSON")
    parser.add_argument("--random-state", type=int, default=0, help="the seed")
    parser.add_argument("--threads", type=int, default=1, help="cores to use, at most")
    parser.add_argument("--halt-on", type=Path, help="a validation report: if its status is fail, train nothing")
    args = parser.parse_args(argv)
    with task.logged("train_model", args, args.input):
        if args.halt_on and (violations := read_json(args.halt_on)["violations"]):
            raise TaskError(
                f"the raw data violate the contract (validation.on_failure: halt): {'; '.join(describe(violations))}. "
                f"Correct the source or the contract; all of it is in {args.halt_on}."
            )
        description = read_json(args.input.with_suffix(".json"))
        kinds, target = description["features"], description["target"]
        table = read_table(args.input, description["kinds"]).frame
        train = table[table["split"] == "train"]
        logging.info("[train_model] estimator: %s, parameters: %s", args.estimator, args.params or "defaults")
        started = time.monotonic()
        model = train_model(train, kinds, train[target], args.estimator, args.params, args.random_state, args.threads)
        duration = time.monotonic() - started
        score = metrics(train[target], predict(model, train[list(kinds)], args.threads))
        logging.info(
            "[train_model] completed. Training duration: %.2f s on %d threads, final training score: R2 %s",
            *(duration, args.threads, decimals(score["R2"])),
        )
        if description["custom"]:
            # The same regressor behind other code is another model, with a digest of its own.
            model.custom_code_sha256 = description["custom"]["sha256"]
        digest = write_model(model, args.output)
        write_json(
            args.output.with_suffix(".json"),
            {
                "sha256": digest,
                "estimator": args.estimator,
                "parameters": {name: repr(value) for name, value in sorted(model[-1].get_params().items())},
                "target": target,
                "features": kinds,
                "recipe": description["recipe"],
                "custom": description["custom"],
                "columns": description["columns"],
                "training_rows": len(train),
                "training_score": score,
                "inputs": {args.input.name: sha256(args.input)},
                "versions": {
                    "python": platform.python_version(),
                    **{each.__name__: each.__version__ for each in (joblib, np, pd, sklearn)},
                },
                "split": description["split"],
                "time_column": description["time_column"],
                "left_out": description["left_out"],
                "cleaning": description["cleaning"],
            },
        )
        logging.info("[train_model] wrote model to %s", args.output)


if __name__ == "__main__":
    main()
