"""The choice of a model: candidates compared by cross-validation on the training part alone."""

import itertools
import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import numpy as np
import pandas as pd
from joblib import cpu_count, parallel_config
from scipy import stats
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import (
    HalvingGridSearchCV,
    KFold,
    ParameterGrid,
    ParameterSampler,
    PredefinedSplit,
    TimeSeriesSplit,
)
from threadpoolctl import threadpool_limits

from signoff.base.errors import TaskError
from signoff.model.encoding import fit, predictions
from signoff.model.group_folds import by_group
from signoff.model.metric import error_of
from signoff.model.records import Candidate, ComparedSetting, Comparison, Cost, Metric, Setting, words_of
from signoff.model.regressor import TrainingRows, make_regressor, use_threads
from signoff.model.transform import Transform, transformed

_FOLDS = 5
FEWEST_ROWS_TO_FOLD = 4 * _FOLDS
# With fewer rows in the first round, the selection of candidates would be mostly chance.
FIRST_ROUND_ROWS = 2000
# Each round keeps one in this many candidates, with this many times the rows.
_FACTOR = 3
_DRAWS = 10
# Both ends are included.
_DISTRIBUTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "uniform": lambda low, high: stats.uniform(low, high - low),
    "loguniform": lambda low, high: stats.loguniform(low, high),
    "randint": lambda low, high: stats.randint(low, high + 1),
}


def choose_model(
    candidates: list[Candidate],
    rows: TrainingRows,
    random_state: int = 0,
    threads: int = 1,
    metric: Metric = "MAE",
    transform: Transform | None = None,
) -> tuple[Setting, Comparison]:
    """Return the best setting of the candidates, and the comparison.

    Successive halving (Jamieson, Talwalkar 2016, Non-stochastic Best Arm Identification and Hyperparameter
    Optimization): each round keeps the best third, and gives them three times the rows, up to all.

    Parameters
    ----------
    candidates
        model.candidates of the config: estimator, params and draws of each.
    rows
        n rows. With groups, each of them is in one fold. Otherwise, with a time for each row, every fold is scored on
        rows later than its training rows; without one, folds are random.
    random_state, threads
        As for `train_model`.
    metric
        What decides; the smaller, the better.
    transform
        What each candidate learns of the target, if not the target itself.

    Returns
    -------
    chosen : dict
        estimator and params for `train_model`.
    comparison : dict
        folds (in words), metric (if it is not the MAE) and settings, the chosen one first: estimator, params, the value
        of the metric (mean over the folds), spread (its standard deviation), rows (of the last round), and problem
        (None, or what prevents training: the metric and spread are then None).

    Raises
    ------
    TaskError
        A regressor or parameter is unknown, there are too few rows, or no candidate can be trained.
    """
    settings = [each for n, candidate in enumerate(candidates) for each in _settings_of(candidate, n, random_state)]
    settings = [transformed(each, transform) if transform else each for each in settings]
    if len(rows) < FEWEST_ROWS_TO_FOLD:
        raise TaskError(
            f"model.candidates: {len(rows)} training rows are too few to compare on; at least {FEWEST_ROWS_TO_FOLD} "
            "are needed. Bring more rows, or name one model.estimator instead."
        )
    order, folds, said = folds_of(rows, random_state)
    found = list(halved(settings, rows.at(order), folds, said, random_state, threads, metric=metric).values())
    if all(each["problem"] for each in found):
        raise TaskError(f"model.candidates: none can be trained. {words_of(found[0])}: {found[0]['problem']}")
    ordered = ranked(found, metric)
    logging.info("[train_model] chosen: %s, cross-validated %s %.4f", words_of(ordered[0]), metric, ordered[0][metric])
    chosen: Setting = {"estimator": ordered[0]["estimator"], "params": ordered[0]["params"]}
    return chosen, naming({"folds": said, "settings": ordered}, metric)


def ranked(found: Iterable[ComparedSetting], metric: Metric) -> list[ComparedSetting]:
    """Return settings, the best first: those of the last round, and those that cannot be trained at the end."""
    return sorted(found, key=lambda each: (each[metric] is None, -each["rows"], each[metric] or 0))


def naming(found: Comparison, metric: Metric) -> Comparison:
    """Return a comparison that names its metric if it is not the MAE."""
    return found if metric == "MAE" else {**found, "metric": metric}


def folds_of(rows: TrainingRows, random_state: int) -> tuple[np.ndarray, Any, str]:
    """Return the order to put n rows in, scikit-learn's splitter into folds of them, and the folds in words.

    See `choose_model`. Raises TaskError if all rows are of one group.
    """
    time = rows.time
    if rows.groups is not None:
        return np.arange(len(rows)), *_folds_by_group(rows.groups)
    if time is not None and not time.isna().any():
        order = time.argsort(kind="stable").to_numpy()
        said = f"{_FOLDS} folds in the order of time, each scored by models of the rows before it"
        return order, TimeSeriesSplit(_FOLDS), said
    return np.arange(len(rows)), KFold(_FOLDS, shuffle=True, random_state=random_state), f"{_FOLDS} folds by chance"


def _folds_by_group(groups: np.ndarray) -> tuple[PredefinedSplit, str]:
    """Return a splitter that has each group in one fold, for the group's number of each row; and the folds in words."""
    folds = by_group(groups, _FOLDS)
    if folds is None:
        raise TaskError(
            "split.groups: all training rows have the same value, so no model can be judged on another one. Bring rows "
            "of other groups, or remove split.groups."
        )
    return folds, f"{folds.get_n_splits()} folds, all rows of a group in the same one"


def cost_of(found: Iterable[ComparedSetting], folds: Any, before: Cost | None = None) -> Cost:
    """Return the cost of comparing settings, and of what was compared before.

    It is counted, not timed, so that outputs are reproducible.
    """
    compared = list(found)
    rounds = sorted({each["rows"] for each in compared})
    # Each setting took part in all rounds up to its last one.
    rows = [size for each in compared for size in rounds if size <= each["rows"]]
    places = np.zeros(max(rounds))
    share = sum(len(train) for train, _ in folds.split(places)) / len(places)
    fits, learnt = len(rows) * int(folds.get_n_splits()), round(sum(rows) * share)
    return (
        {"fits": fits + before["fits"], "rows": learnt + before["rows"]} if before else {"fits": fits, "rows": learnt}
    )


def halved(
    settings: list[Setting],
    rows: TrainingRows,
    folds: Any,
    said: str,
    random_state: int,
    threads: int,
    kept: dict[int, pd.Series] | None = None,
    metric: Metric = "MAE",
) -> dict[int, ComparedSetting]:
    """Return the settings, by number, with their scores in the last round that each reached.

    `said` describes the folds. `kept` gets the predictions of unseen rows, by the setting's number; the index of the
    rows must then be unique.
    """
    further_rounds = 0
    while _FACTOR ** (further_rounds + 1) <= min(len(settings), len(rows) // FIRST_ROUND_ROWS):
        further_rounds += 1
    logging.info("[train_model] candidates: %d, in %d rounds, %s", len(settings), further_rounds + 1, said)
    scorer = _Scorer(metric, keep=kept is not None)
    search = HalvingGridSearchCV(
        _Candidate(settings, rows.kinds, random_state),
        {"setting": list(range(len(settings)))},
        scoring=scorer,
        cv=folds,
        factor=_FACTOR,
        min_resources=len(rows) // _FACTOR**further_rounds,
        random_state=random_state,
        return_train_score=False,
        refit=False,
    )
    # Sums in linear algebra depend on how many threads share them, so BLAS gets one.
    cores = min(threads, cpu_count())
    with threadpool_limits({"blas": 1}), parallel_config("threading", n_jobs=cores), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One or more of the test scores are non-finite")
        warnings.filterwarnings("ignore", message="n_components > n_samples")
        # Named otherwise than for scikit-learn, which would also weight the scores, and split by the groups itself.
        by_row = {"weights": rows.weights, "together": rows.groups}
        search.fit(rows.features, rows.target, **{name: each for name, each in by_row.items() if each is not None})
    columns = ("params", "mean_test_score", "std_test_score", "n_resources")
    found: dict[int, ComparedSetting] = {}
    for chosen, mean, spread, resources in zip(*(search.cv_results_[name] for name in columns), strict=True):
        n, failed = chosen["setting"], np.isnan(mean)
        # A later round replaces the ones before it.
        problem = scorer.problems[n] if failed else None
        error = (None, None) if failed else (-float(mean), float(spread))
        found[n] = with_error(settings[n], metric, error, int(resources), problem)
    for number, each in found.items():
        if each["problem"]:
            logging.warning("[train_model] %s cannot be trained: %s", words_of(each), each["problem"])
        elif kept is not None:
            kept[number] = scorer.predictions_of(number)
    return found


def with_error(
    setting: Setting, metric: Metric, error: tuple[float | None, float | None], rows: int, problem: str | None = None
) -> ComparedSetting:
    """Return a setting with its error and the spread of that."""
    found = {**setting, metric: error[0], "spread": error[1], "rows": rows, "problem": problem}
    return cast(ComparedSetting, found)


class _Scorer:
    """Scores candidates on rows that they have not seen, for scikit-learn's search; keeps the predictions if asked."""

    def __init__(self, metric: Metric, keep: bool):
        self._metric = metric
        self.problems: dict[int, str] = {}
        self._keep = keep
        self._made: list[tuple[int, pd.Series]] = []

    def __call__(self, model: "_Candidate", rows: pd.DataFrame, actual: pd.Series) -> float:
        try:
            predicted = model.predict(rows)
            if self._metric == "MAE":
                error = float(mean_absolute_error(actual, predicted))
            else:
                error = error_of(self._metric, actual.to_numpy("float64"), predicted)
            if not np.isfinite(error):
                raise ValueError(f"a prediction is not above 0, so the {self._metric} is infinite")
            if self._keep:
                self._made.append((model.setting, pd.Series(predicted, rows.index)))
            return -error
        # If one candidate fails, the others can still be compared.
        except Exception as failure:
            self.problems[model.setting] = " ".join(str(failure).split()) or type(failure).__name__
            return np.nan

    def predictions_of(self, setting: int) -> pd.Series:
        """Return the prediction of each row by a setting that had not seen it, in the last round that it reached."""
        # A row is predicted again in each round: the fold of the last one has the most rows.
        parts: pd.Series = pd.concat([predicted for n, predicted in self._made if n == setting])
        return parts[~parts.index.duplicated(keep="last")].sort_index()


def _settings_of(candidate: Candidate, number: int, random_state: int) -> list[Setting]:
    """Return the settings of one candidate: its whole grid, or draws if it has a distribution.

    Raises TaskError if the estimator or one of its parameters is unknown.
    """
    key, params = f"model.candidates.{number}", candidate.get("params") or {}
    if any(isinstance(value, dict) for value in params.values()):
        found = list(itertools.islice(draws_of(candidate, random_state), candidate.get("draws", _DRAWS)))
    else:
        grid = ParameterGrid({name: value if isinstance(value, list) else [value] for name, value in params.items()})
        found = [{"estimator": candidate["estimator"], "params": dict(sorted(each.items()))} for each in grid]
    for each in found:
        make_regressor(**each, random_state=random_state, key=key)
    return [each for n, each in enumerate(found) if each not in found[:n]]


def draws_of(candidate: Candidate, random_state: int) -> Iterator[Setting]:
    """Yield settings without end, drawn from a candidate of which at least one parameter has a distribution.

    The first ones are the same, however many are drawn.
    """
    params = candidate.get("params") or {}
    space = {name: value if isinstance(value, list) else [value] for name, value in params.items()}
    drawn = {name: value for name, value in params.items() if isinstance(value, dict)}
    for name, value in drawn.items():
        ((kind, ends),) = value.items()
        space[name] = _DISTRIBUTIONS[kind](*ends)
    for each in ParameterSampler(space, sys.maxsize, random_state=random_state):
        # Four digits, as a person would write.
        plain = {name: _plain(value) if name in drawn else value for name, value in sorted(each.items())}
        yield {"estimator": candidate["estimator"], "params": plain}


def _plain(value: float) -> float | int:
    """Return a drawn number with four significant digits, a whole one as it is."""
    return int(value) if isinstance(value, int | np.integer) else float(f"{value:.4g}")


class _Candidate(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no type hints
    """One of several settings, for scikit-learn's search. If fitting failed, `predict` raises the error."""

    def __init__(self, settings: list[Setting], kinds: dict[str, str], random_state: int, setting: int = 0):
        self.settings = settings
        self.kinds = kinds
        self.random_state = random_state
        self.setting = setting

    def fit(
        self,
        features: pd.DataFrame,
        target: pd.Series,
        weights: np.ndarray | None = None,
        together: np.ndarray | None = None,
    ) -> "_Candidate":
        # An early fold may have no values of a feature that the whole training part has.
        self.names_ = [name for name in self.kinds if features[name].notna().any()]
        self.problem_: Exception | None = None
        regressor = make_regressor(**self.settings[self.setting], random_state=self.random_state)
        use_threads(regressor, 1)
        try:
            kinds = {name: self.kinds[name] for name in self.names_}
            # The folds share the cores; OpenMP's limit holds for the thread that sets it.
            with threadpool_limits({"openmp": 1}):
                self.pipeline_ = fit(regressor, kinds, features, target, self.random_state, weights, together)
        except Exception as error:
            self.problem_ = error
        return self

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        if self.problem_:
            raise self.problem_
        with threadpool_limits({"openmp": 1}):
            return predictions(self.pipeline_, features[self.names_])
