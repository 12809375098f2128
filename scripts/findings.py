"""What a reviewer must not overlook: leaks, shifts and empty models, each judged by its size."""

import logging
import math

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, TimeSeriesSplit
from sklearn.tree import DecisionTreeRegressor

from drift import SHARE, never_by_chance
from feature_engineering import columns_used
from intervals import MIN_ROWS, cluster_mean, holm
from pipeline import DEFAULT_ESTIMATOR, make_pipeline, make_regressor, use_threads

# Rows of the training part that are enough to know the errors to a percent.
CV_ROWS = 40_000
LEAK_ROWS = 10_000
FOLDS = 3
# One feature that explains so much, and leaves so much less than all others together, is likely to be the target.
LEAK_R2 = 0.97
LEAK_RATIO = 5
# In shares of the error that the model makes anyway.
BIAS_SHARE = 0.5
TOO_GOOD = 0.6
TOO_BAD = 1.5
COPIES = 0.01
# In standard errors: by chance once in two hundred times.
SURE = 2.6
# Less of a slice is not looked at for a bias of its own.
FEWEST = 10
# So many shifted columns have a sentence of their own.
MOST_SHIFTED = 3
# How much each kind of alarm weighs in the reasons against: a cause more than what follows from it.
WEIGHTS = {
    "leak": 98,
    "not_before": 97,
    "constant_prediction": 96,
    "unit_change": 94,
    "vanished_category": 92,
    "slice_bias": 90,
    "duplicates": 88,
    "no_signal": 86,
    "overfit_gap": 82,
    "worse_than_champion": 80,
    "slice_worse": 70,
    "new_category": 62,
    "degraded": 60,
    "drift": 56,
    "missing": 54,
    "coverage": 52,
}


def alarm(name: str, feature: str | None, sentence: str) -> dict:
    return {"name": name, "feature": feature, "sentence": sentence}


def out_of_sample(
    model: object, train: pd.DataFrame, kinds: dict, target: str, time: str | None, by_time: bool, seed: int
) -> tuple[pd.Series, np.ndarray]:
    """Return predictions for rows of the training part, by its index, by models that have not seen them.

    The regressor is fitted anew FOLDS times: under a split by time on the rows before those that it predicts, else on
    the other folds. The second array tells which rows come closest to the held-out part: those of the last fold in
    time, else all. Both are empty where there are too few rows, or where the regressor cannot be trained on a part.
    """
    nothing = pd.Series(dtype="float64"), np.array([], dtype=bool)
    rows = train.sample(min(len(train), CV_ROWS), random_state=seed)
    rows = rows.sort_values(time, kind="stable") if by_time else rows
    if len(rows) < FOLDS * MIN_ROWS:
        return nothing
    folds = TimeSeriesSplit(FOLDS) if by_time else KFold(FOLDS, shuffle=True, random_state=seed)
    found = []
    for seen, unseen in folds.split(rows):
        before, after = rows.iloc[seen], rows.iloc[unseen]
        usable = [name for name in kinds if before[name].notna().any()]
        regressor = clone(model[-1])
        use_threads(regressor, 1)
        if "categorical_features" in regressor.get_params():
            # Set for the columns of the whole training part.
            regressor.set_params(categorical_features=None)
        try:
            fold = make_pipeline(regressor, {name: kinds[name] for name in usable}, before, seed)
            predicted = fold.fit(before[usable], before[target]).predict(after[usable])
        except (ValueError, TypeError) as error:
            # What can be trained on all rows need not be on a part of them.
            logging.warning("[diagnose] not judged on training rows that it had not seen: %s", error)
            return nothing
        found.append(pd.Series(predicted, after.index, dtype="float64"))
    last = [np.full(len(each), not by_time or k == FOLDS - 1) for k, each in enumerate(found)]
    return pd.concat(found), np.concatenate(last)


def leaks(train: pd.DataFrame, kinds: dict[str, str], target: str, seed: int) -> list[dict]:
    """Return an alarm for each feature that tells the target nearly by itself, and far better than the others together.

    A feature is judged by what a tree of it alone (of a category: the mean of each level) explains of other rows. The
    target's tails are cut off, which no tree can reach.
    """
    rows = train.sample(min(len(train), LEAK_ROWS), random_state=seed).reset_index(drop=True)
    y = rows[target].astype("float64")
    y = y.clip(*y.quantile([0.01, 0.99]))
    if len(rows) < 2 * MIN_ROWS or y.nunique() < 3:
        return []
    half = np.arange(len(rows)) < len(rows) // 2
    alone = {name: explained(rows[name], kind, y, half) for name, kind in kinds.items()}
    suspects = [name for name, r2 in alone.items() if r2 >= LEAK_R2]
    if not suspects:
        return []
    others = {name: kind for name, kind in kinds.items() if name not in suspects and rows.loc[half, name].notna().any()}
    r2 = 0.0
    if others:
        model = make_pipeline(make_regressor(DEFAULT_ESTIMATOR, {}, seed), others, rows[half], seed)
        r2 = max(
            0.0, r2_score(y[~half], model.fit(rows[half][list(others)], y[half]).predict(rows[~half][list(others)]))
        )
    return [
        alarm(
            "leak",
            name,
            f"{name} alone explains {alone[name]:.1%} of the target's variance, all other features together {r2:.1%}: "
            "is it known before the target is?",
        )
        for name in sorted(suspects, key=alone.get, reverse=True)
        if 1 - r2 >= LEAK_RATIO * (1 - alone[name])
    ]


def explained(values: pd.Series, kind: str, y: pd.Series, half: np.ndarray) -> float:
    """Return the R2 on one half of the rows of what one feature tells on the other half."""
    if kind == "category":
        means = y[half].groupby(values[half]).mean()
        return r2_score(y[~half], values[~half].map(means).astype("float64").fillna(y[half].mean()))
    if values[half].isna().all():
        return 0.0
    tree = DecisionTreeRegressor(min_samples_leaf=3, random_state=0)
    column = values.astype("float64").to_frame()
    return r2_score(y[~half], tree.fit(column[half], y[half]).predict(column[~half]))


def known_late(not_before: list[str], description: dict) -> list[dict]:
    """Return an alarm for each feature that is made of a column which is known only after the target's moment."""
    found = []
    for name in description["features"]:
        how = description["recipe"].get(name)
        made_of = columns_used({name: how}) if how else [name]
        for column in set(not_before) & {name, *made_of}:
            which = f"The feature {name}" + ("" if column == name else f" is made of {column}, which")
            found.append(alarm("not_before", name, f"{which} is known only after the target (features.not_before)."))
    for column in set(not_before) & set((description.get("custom") or {}).get("columns", {})):
        sentence = f"Your own code gets {column}, which is known only after the target (features.not_before)."
        found.append(alarm("not_before", column, sentence))
    return sorted(found, key=lambda each: each["feature"])


def copies(train: pd.DataFrame, test: pd.DataFrame, columns: list[str], target: str, seed: int) -> list[dict]:
    """Return an alarm where held-out rows repeat training rows, target included, more often than chance would have it.

    Chance is what is left of it with the held-out targets shuffled. `columns` are the features but those of the
    calendar, which no two parts in time share.
    """
    if not columns:
        return []
    seen = pd.util.hash_pandas_object(train[[*columns, target]], index=False)
    shuffled = test[[*columns, target]].copy()
    shuffled[target] = np.random.default_rng(seed).permutation(shuffled[target].to_numpy())
    share, chance = (
        float(pd.util.hash_pandas_object(rows, index=False).isin(seen).mean())
        for rows in (test[[*columns, target]], shuffled)
    )
    if share < COPIES or share * len(test) < 10 or share < 3 * chance:
        return []
    sentence = f"{share:.1%} of the held-out rows are copies of training rows, target included; "
    return [alarm("duplicates", None, sentence + f"by chance it would be {chance:.1%}.")]


def empty_model(
    actual: np.ndarray,
    predicted: np.ndarray,
    intervals: dict,
    against_mean: dict,
    unseen: pd.Series,
    unseen_actual: pd.Series,
) -> list[dict]:
    """Return an alarm where the model predicts one value, or what has nothing to do with the target.

    A model that is worse than the mean may know something all the same: it then orders the rows better than chance,
    on the held-out ones or on training rows that it had not seen (`unseen`).
    """
    spread, own = float(np.std(actual)), float(np.std(predicted))
    if own <= 0.01 * spread:
        sentence = f"The model predicts nearly the same for every row: its predictions vary by {own:.3g}, "
        return [alarm("constant_prediction", None, sentence + f"the target by {spread:.4g} (standard deviations).")]
    r2 = 1 - float(((actual - predicted) ** 2).sum()) / max(float(((actual - actual.mean()) ** 2).sum()), 1e-300)
    low = intervals["R2"][0]
    if (low is None or low <= 0.01) and r2 < 0.1 and against_mean["verdict"] != "better":
        parts = [(actual, predicted), (unseen_actual.to_numpy("float64"), unseen.to_numpy("float64"))]
        if max(rank_correlation(*each) for each in parts) < SURE:
            low, high = against_mean["interval"]
            sentence = f"The model knows nothing that the mean does not: R2 is {r2:.3f}, and its MAE less that of the "
            return [alarm("no_signal", None, f"{sentence}mean lies between {low:.3g} and {high:.3g}.")]
    return []


def rank_correlation(actual: np.ndarray, predicted: np.ndarray) -> float:
    """Return Spearman's rank correlation in standard errors; 0 where it is not defined."""
    if len(actual) < MIN_ROWS or np.ptp(actual) == 0 or np.ptp(predicted) == 0:
        return 0.0
    return float(stats.spearmanr(actual, predicted).statistic) * math.sqrt(len(actual) - 1)


def gap(metrics: dict, mean: dict, unseen: dict) -> list[dict]:
    """Return an alarm where the held-out score is far from that on training rows that the model had not seen.

    Parameters
    ----------
    metrics, mean
        MAE and R2 of the model and of the mean on the held-out rows.
    unseen
        MAE of models on training rows that they had not seen, mean_MAE of the mean there, R2.
    """
    if not unseen or not unseen["MAE"] or not mean["MAE"]:
        return []
    ratio = metrics["MAE"] / unseen["MAE"]
    easier = (metrics["MAE"] / mean["MAE"]) / (unseen["MAE"] / unseen["mean_MAE"]) if unseen["mean_MAE"] else ratio
    words = (
        f"MAE is {metrics['MAE']:.4g} on the held-out rows, and {unseen['MAE']:.4g} on training rows that the model "
    )
    if max(ratio, easier) < TOO_GOOD:
        return [alarm("overfit_gap", None, f"{words}had not seen: too good, as if held-out rows were known to it.")]
    if min(ratio, easier) > TOO_BAD:
        return [alarm("degraded", None, f"{words}had not seen: {ratio:.1f} times as much.")]
    return []


def slice_bias(
    slices: dict, then: dict, error: np.ndarray, blocks: np.ndarray, error_then: np.ndarray, blocks_then: np.ndarray
) -> list[dict]:
    """Return an alarm for slices whose bias has moved away from that of all other rows since the training part.

    Parameters
    ----------
    slices, then
        As `intervals.make_slices` gives them, for the n held-out and the m training rows; the same slices.
    error, error_then
        Prediction less target, by a model that had not seen the row.
    blocks, blocks_then
        Rows of one block are alike, so that few blocks say little.
    """
    usual = float(np.abs(error_then).mean()) if len(error_then) else 0.0
    looked, p = [], []
    for feature, (codes, labels) in slices.items():
        codes_then = then[feature][0]
        for k, label in enumerate(labels):
            parts = [(error, blocks, codes == k), (error_then, blocks_then, codes_then == k)]
            if any(inside.sum() < FEWEST or (~inside).sum() < MIN_ROWS for _, _, inside in parts):
                continue
            means = [[mean_of(e, b, side) for side in (inside, ~inside)] for e, b, inside in parts]
            (now, rest), (before, rest_before) = [[mean for mean, _, _ in each] for each in means]
            moved = (now - before) - (rest - rest_before)
            variances = [(variance, degrees) for pair in means for _, variance, degrees in pair]
            variance = sum(each for each, _ in variances)
            # Welch's degrees of freedom.
            degrees = variance**2 / max(sum(each**2 / degrees for each, degrees in variances), 1e-300)
            z = abs(moved) / math.sqrt(variance) if variance > 0 else (math.inf if moved else 0.0)
            # A bias that has shrunk is no harm: the models of the training part saw fewer rows than this one.
            grown = abs(now - rest) > abs(before - rest_before)
            looked.append((feature, label, int(parts[0][2].sum()), now, before, moved if grown else 0.0, z))
            p.append(float(2 * stats.t.sf(z, max(degrees, 1))))
    found = [row for row, corrected in zip(looked, holm(p), strict=True) if corrected < 0.01]
    found = sorted((row for row in found if abs(row[5]) >= BIAS_SHARE * usual), key=lambda row: -row[6])
    # The strongest of each feature: where one level moves up, the others move down beside it.
    firsts = {feature: row for feature, *_ in reversed(found) for row in found[::-1] if row[0] == feature}
    return [
        alarm(
            "slice_bias",
            feature,
            f"Where {feature} is {label} ({rows:,} held-out rows), predictions are off by {now:+.4g} on average, and "
            f"were by {before:+.4g} in the training part: they moved by {moved:+.4g} against all other rows.",
        )
        for feature, label, rows, now, before, moved, _ in sorted(firsts.values(), key=lambda row: -row[6])[:3]
    ]


def mean_of(error: np.ndarray, blocks: np.ndarray, inside: np.ndarray) -> tuple[float, float, int]:
    """Return the mean error inside a slice, its variance, and the degrees of freedom of that.

    A few rows may be alike by chance: the variance is at least that of as many rows from anywhere.
    """
    mean, variance, count = cluster_mean(error[inside], blocks[inside])
    usual = float(error.var()) / int(inside.sum())
    return (mean, variance, count - 1) if variance > usual and count > 1 else (mean, usual, len(error) - 1)


def last_seen(train: pd.DataFrame, test: pd.DataFrame, kinds: dict[str, str], time: str) -> list[dict]:
    """Return an alarm for each level that vanishes within the held-out part, rows being in the order of time.

    What comes and goes, as weekends do, has been away for as long in the training part.
    """
    found = []
    before, after = (part.sort_values(time, kind="stable") for part in (train, test))
    for name in [each for each, kind in kinds.items() if kind == "category"]:
        counts = before[name].value_counts()
        for level, n in counts[counts >= SHARE * len(before)].items():
            places = np.flatnonzero(after[name] == level)
            if not len(places):
                continue
            silent = len(after) - 1 - places[-1]
            away = np.diff(np.flatnonzero(before[name] == level), prepend=-1, append=len(before)).max() - 1
            if never_by_chance(n / len(before), silent, len(counts)) and silent > 2 * away:
                moment = after[time].iloc[places[-1]]
                sentence = (
                    f"{name} is “{level}” for the last time at {moment}, {silent:,} held-out rows before the end."
                )
                found.append(alarm("vanished_category", name, sentence))
    return found


def drift_alarms(rows: list[dict], where: str) -> list[dict]:
    """Return the alarms of what `drift.compare` has found; `where` says what the later rows are."""
    found, shifted = [], []
    for row in rows:
        name, quoted = row["feature"], [f"“{each}”" for each in (*row["vanished"], *row["new"])]
        gone, new = quoted[: len(row["vanished"])], quoted[len(row["vanished"]) :]
        if row["unit"]:
            sentence = f"{name} seems to be in another unit in {where} ({row['unit']})."
            found.append(alarm("unit_change", name, sentence))
        elif gone:
            found.append(alarm("vanished_category", name, f"{name} is never {' or '.join(gone[:3])} in {where}."))
        elif new:
            found.append(
                alarm("new_category", name, f"{name} is {' or '.join(new[:3])} for the first time in {where}.")
            )
        if abs(row["missing"][1] - row["missing"][0]) > 0.1 and row["flagged"]:
            before, after = row["missing"]
            found.append(
                alarm("missing", name, f"{name} is missing in {after:.1%} of {where}, before in {before:.1%}.")
            )
        elif row["flagged"] and not row["unit"] and not gone and not new:
            shifted.append((name, f"PSI {row['psi']:.2f}, {row['statistic']} distance {row['size']:.2f}"))
    for name, sizes in shifted[:MOST_SHIFTED]:
        found.append(alarm("drift", name, f"{name} is distributed otherwise in {where}: {sizes}."))
    if others := [name for name, _ in shifted[MOST_SHIFTED:]]:
        listed = f"{', '.join(others[:10])}{', …' if len(others) > 10 else ''}"
        found.append(alarm("drift", None, f"{len(others)} more are distributed otherwise in {where}: {listed}."))
    return found


def reasons(metrics: dict, found: dict) -> dict[str, list[str]]:
    """Return what speaks for the model and what against it, one sentence each, the weightiest first.

    Parameters
    ----------
    metrics
        As `evaluate_model` gives them.
    found
        intervals, paired, against_best (None, or as `intervals.paired` gives it, for the best baseline with its name),
        slices, prediction_interval and alarms.
    """
    reasons_for, against = [], []
    model, champion, unit = metrics["model"]["test"], metrics["champion"] or {}, f"in the unit of {metrics['target']}"
    thresholds = metrics["thresholds"]
    missed = [
        f"{each['name']} {each['limit']:g}: {each['metric']} is "
        + ("undefined" if each["value"] is None else f"{each['value']:.4g}")
        for each in thresholds
        if not each["passed"]
    ]
    if missed:
        # In one sentence, so that they leave room for what may be their cause.
        against.append((100, f"Of {len(thresholds)} thresholds {len(missed)} are missed ({'; '.join(missed)})."))
    elif thresholds:
        kept = ", ".join(
            f"{each['metric']} {each['value']:.4g} ({each['name']} {each['limit']:g})" for each in thresholds
        )
        reasons_for.append((90, f"Every threshold is kept: {kept}."))
    against += [(WEIGHTS[each["name"]], each["sentence"]) for each in found["alarms"]]
    spans = found["intervals"]["model"]
    for each in thresholds:
        low, high = spans.get(each["metric"], (None, None))
        if each["passed"] and None not in (low, high) and low < each["limit"] < high:
            words = f"The threshold {each['name']} {each['limit']:g} is kept narrowly: the 95 % interval of "
            against.append((50, f"{words}{each['metric']} goes from {low:.4g} to {high:.4g}."))
    low, high = spans["bias"]
    if low * high > 0 and min(abs(low), abs(high)) >= 0.05 * model["MAE"]:
        words = f"Its predictions are off to one side: by {low:+.3g} to {high:+.3g} on average"
        against.append((48, f"{words} {unit} (95 % interval)."))
    low, high = spans["MAE"]
    if found["paired"]:
        ours, (lower, upper) = found["paired"], found["paired"]["interval"]
        span = f"{ours['difference']:+.3g} (95 % interval {lower:+.3g} to {upper:+.3g}) {unit}"
        if ours["verdict"] == "better":
            reasons_for.append((95, f"It is better than the deployed release: MAE differs by {span}."))
        elif ours["verdict"] == "cannot be told apart":
            against.append((30, f"It cannot be told apart from the deployed release: MAE differs by {span}."))
    elif "problem" in champion:
        against.append((66, f"The deployed release could not be scored beside it: {champion['problem']}"))
    best = found["against_best"]
    theirs = metrics["baselines"][best["name"]]["test"]
    share = 1 - model["MAE"] / theirs["MAE"] if theirs["MAE"] else 0.0
    words = f"of the best baseline ({best['name']}), {model['MAE']:.4g} against {theirs['MAE']:.4g} {unit}"
    if best["verdict"] == "better":
        reasons_for.append((80, f"Its MAE is {share:.1%} below that {words}."))
    elif best["verdict"] == "worse":
        against.append((84, f"Its MAE is {-share:.1%} above that {words}."))
    else:
        against.append((68, f"Its MAE cannot be told apart from that {words}."))
    for name, scores in metrics["baselines"].items():
        r2 = scores["test"]["R2"]
        if None not in (r2, model["R2"]) and r2 > model["R2"]:
            against.append((35, f"By R2 the baseline {name} is better: {r2:.4g} against {model['R2']:.4g}."))
    violations = (metrics.get("validation") or {}).get("violations")
    if violations:
        against.append((58, f"The data contract is violated {len(violations):,} times."))
    slices, covered = found["slices"], found["prediction_interval"]
    if found["paired"] and slices["looked_at"] and not any(each["worse"] for each in slices["rows"]):
        sentence = f"In none of {slices['looked_at']:,} slices is it significantly worse than the deployed release."
        reasons_for.append((60, sentence))
    if not found["alarms"]:
        sentence = (
            "No alarm: nothing was found of leaks, copied rows, changed units, vanished categories, drift or bias."
        )
        reasons_for.append((70, sentence))
    if covered["coverage"] is not None and abs(covered["coverage"] - covered["level"]) <= 0.03:
        sentence = f"Its prediction intervals hold: ± {covered['half_width']:.4g} covered {covered['coverage']:.1%} of "
        reasons_for.append((40, f"{sentence}rows that it was not fitted on ({covered['level']:.0%} were promised)."))
    sentence = f"Its MAE on rows like these lies between {low:.4g} and {high:.4g} {unit} (95 % interval)."
    reasons_for.append((20, sentence))
    ordered = [sorted(each, key=lambda pair: -pair[0]) for each in (reasons_for, against)]
    return {"for": [words for _, words in ordered[0]], "against": [words for _, words in ordered[1]]}
