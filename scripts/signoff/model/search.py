"""The choice of a model: candidates compared by cross-validation on the training part alone."""

import logging
import warnings

import numpy as np
import pandas as pd
from joblib import cpu_count, parallel_config
from scipy import stats
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import HalvingGridSearchCV, KFold, ParameterGrid, ParameterSampler, TimeSeriesSplit
from threadpoolctl import threadpool_limits

from signoff.base.errors import TaskError
from signoff.model.encoding import fit, predictions
from signoff.model.pipeline import make_regressor, use_threads

FOLDS = 5
FEWEST_ROWS = 4 * FOLDS
# With fewer rows in the first round, chance would decide which candidates come to the next.
FIRST_ROUND_ROWS = 2000
# The best of so many go on, with so many times the rows.
FACTOR = 3
DRAWS = 10
# Both ends are part of each.
DISTRIBUTIONS = {
    "uniform": lambda low, high: stats.uniform(low, high - low),
    "loguniform": stats.loguniform,
    "randint": lambda low, high: stats.randint(low, high + 1),
}


def choose_model(
    candidates: list[dict],
    features: pd.DataFrame,
    kinds: dict[str, str],
    target: pd.Series,
    time: pd.Series | None,
    random_state: int = 0,
    threads: int = 1,
) -> tuple[dict, dict]:
    """Return the best setting of the candidates, and the comparison.

    The search is scikit-learn's successive halving (Jamieson, Talwalkar 2016, Non-stochastic Best Arm Identification
    and Hyperparameter Optimization): each round keeps the best third, and gives them three times the rows, up to all.

    Parameters
    ----------
    candidates
        model.candidates of the config: estimator, params and draws of each.
    features, kinds, target, random_state, threads
        As for `train_model`, n rows.
    time
        When each of the n rows happened: every fold is scored on rows later than those that it is trained on. None, or
        a value missing: the folds are made by chance.

    Returns
    -------
    chosen : dict
        estimator and params, as `train_model` takes them.
    comparison : dict
        folds (in words) and settings, the chosen one first: of each estimator, params, MAE (its mean over the folds,
        in the target's unit) and spread (its standard deviation), rows (of the last round that it came to), and
        problem: None, or what keeps it from being trained; MAE and spread are then None.

    Raises
    ------
    TaskError
        There is no such regressor or parameter, there are too few rows, or no candidate can be trained.
    """
    settings = [each for n, candidate in enumerate(candidates) for each in settings_of(candidate, n, random_state)]
    if len(target) < FEWEST_ROWS:
        raise TaskError(
            f"model.candidates: {len(target)} training rows are too few to compare on, {FEWEST_ROWS} are the least. "
            "Bring more rows, or name one model.estimator instead."
        )
    if time is not None and not time.isna().any():
        order = time.argsort(kind="stable").to_numpy()
        features, target = features.iloc[order], target.iloc[order]
        folds, said = (
            TimeSeriesSplit(FOLDS),
            f"{FOLDS} folds in the order of time, each scored by models of the rows before it",
        )
    else:
        folds, said = KFold(FOLDS, shuffle=True, random_state=random_state), f"{FOLDS} folds by chance"
    further_rounds = 0
    while FACTOR ** (further_rounds + 1) <= min(len(settings), len(target) // FIRST_ROUND_ROWS):
        further_rounds += 1
    logging.info("[train_model] candidates: %d, in %d rounds, %s", len(settings), further_rounds + 1, said)
    problems: dict[int, str] = {}

    def score(model: Candidate, rows: pd.DataFrame, actual: pd.Series) -> float:
        try:
            return -mean_absolute_error(actual, model.predict(rows))
        # Whatever ails one candidate, the others can be compared.
        except Exception as error:
            problems[model.setting] = " ".join(str(error).split()) or type(error).__name__
            return np.nan

    search = HalvingGridSearchCV(
        Candidate(settings, kinds, random_state),
        {"setting": list(range(len(settings)))},
        scoring=score,
        cv=folds,
        factor=FACTOR,
        min_resources=len(target) // FACTOR**further_rounds,
        random_state=random_state,
        return_train_score=False,
        refit=False,
    )
    # Sums in linear algebra depend on how many threads share them, so BLAS gets one.
    cores = min(threads, cpu_count())
    with threadpool_limits({"blas": 1}), parallel_config("threading", n_jobs=cores), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One or more of the test scores are non-finite")
        search.fit(features, target)
    columns = ("params", "mean_test_score", "std_test_score", "n_resources")
    found = {}
    for chosen, mean, spread, rows in zip(*(search.cv_results_[name] for name in columns), strict=True):
        n = chosen["setting"]
        failed = np.isnan(mean)
        scores = {"MAE": None if failed else -float(mean), "spread": None if failed else float(spread)}
        # A later round stands for the ones before.
        found[n] = {**settings[n], **scores, "rows": int(rows), "problem": problems[n] if failed else None}
    for each in found.values():
        if each["problem"]:
            logging.warning("[train_model] %s cannot be trained: %s", name_of(each), each["problem"])
    if all(each["problem"] for each in found.values()):
        first = found[0]
        raise TaskError(f"model.candidates: none can be trained. {name_of(first)}: {first['problem']}")
    ordered = sorted(found.values(), key=lambda each: (each["MAE"] is None, -each["rows"], each["MAE"]))
    logging.info("[train_model] chosen: %s, cross-validated MAE %.4f", name_of(ordered[0]), ordered[0]["MAE"])
    return {name: ordered[0][name] for name in ("estimator", "params")}, {"folds": said, "settings": ordered}


def settings_of(candidate: dict, number: int, random_state: int) -> list[dict]:
    """Return the settings to try of one candidate: its whole grid, or draws where it has a distribution.

    Each is an estimator with params. Raises TaskError where there is no such estimator, or it has no such parameter.
    """
    key, params = f"model.candidates.{number}", candidate.get("params") or {}
    space = {name: value if isinstance(value, list) else [value] for name, value in params.items()}
    drawn = {name: value for name, value in params.items() if isinstance(value, dict)}
    for name, value in drawn.items():
        ((kind, ends),) = value.items()
        space[name] = DISTRIBUTIONS[kind](*ends)
    if drawn:
        found = ParameterSampler(space, candidate.get("draws", DRAWS), random_state=random_state)
        # Four digits are what a person would write.
        found = [{name: plain(value) if name in drawn else value for name, value in each.items()} for each in found]
    else:
        found = list(ParameterGrid(space))
    found = [{"estimator": candidate["estimator"], "params": dict(sorted(each.items()))} for each in found]
    for each in found:
        make_regressor(**each, random_state=random_state, key=key)
    return [each for n, each in enumerate(found) if each not in found[:n]]


def plain(value: float) -> float | int:
    """Return a drawn number with four significant digits, a whole one as it is."""
    return int(value) if isinstance(value, int | np.integer) else float(f"{value:.4g}")


def name_of(setting: dict) -> str:
    """Return what a setting is called: Ridge(alpha=0.1)."""
    params = ", ".join(f"{name}={value!r}" for name, value in setting["params"].items())
    return f"{setting['estimator'].rpartition('.')[2]}({params})"


class Candidate(RegressorMixin, BaseEstimator):
    """One of several settings, as scikit-learn's search wants it; where it cannot be fitted, predicting says why."""

    def __init__(self, settings: list[dict], kinds: dict[str, str], random_state: int, setting: int = 0):
        self.settings = settings
        self.kinds = kinds
        self.random_state = random_state
        self.setting = setting

    def fit(self, features: pd.DataFrame, target: pd.Series) -> "Candidate":
        # An early fold may lack what the whole training part has.
        self.names_ = [name for name in self.kinds if features[name].notna().any()]
        self.problem_ = None
        regressor = make_regressor(**self.settings[self.setting], random_state=self.random_state)
        use_threads(regressor, 1)
        try:
            kinds = {name: self.kinds[name] for name in self.names_}
            # The folds share the cores; OpenMP's limit holds for the thread that sets it.
            with threadpool_limits({"openmp": 1}):
                self.pipeline_ = fit(regressor, kinds, features, target, self.random_state)
        except Exception as error:
            self.problem_ = error
        return self

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        if self.problem_:
            raise self.problem_
        with threadpool_limits({"openmp": 1}):
            return predictions(self.pipeline_, features[self.names_])
