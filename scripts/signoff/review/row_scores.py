"""Score raw rows with a release: prepare the rows, predict, and add intervals, reasons and checks."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError
from signoff.features.columns import Features
from signoff.features.custom_features import infinite_values
from signoff.features.earlier_rows import Earlier, micros_of
from signoff.features.history_state import STATE, needs_state, read_earlier_rows
from signoff.features.recipe import features_again
from signoff.features.records import ColumnRecord
from signoff.model import scoring
from signoff.model.attribution import Attribution, reference_of
from signoff.model.records import Metadata
from signoff.model.scoring import LOW_AND_HIGH, has_bounds, interval_ends
from signoff.release.approval import released_as
from signoff.release.form import SignOff
from signoff.release.store import Releases
from signoff.review.batch_check import BatchCheck, Released
from signoff.tables.arrays import missing_in
from signoff.tables.cells import MISSING
from signoff.tables.cleaning import by_policy
from signoff.tables.table import parse_columns


@dataclass(frozen=True)
class _Model:
    """A model that scores rows, and what it needs for that.

    Parameters
    ----------
    pipeline, metadata
        As `Releases.model` returns them.
    code
        The custom code that made the features, if there is any, as `Releases.code` returns it.
    half_width
        Half the width of all intervals, if the model has no intervals for each row: `Releases.half_width`.
    earlier
        The rows that features of earlier rows are computed from, if the model has any.
    """

    pipeline: Any
    metadata: Metadata
    code: ModuleType | None = None
    half_width: float | None = None
    earlier: Earlier | None = None


@dataclass(frozen=True)
class Beside:
    """Optional work on the rows besides the predictions.

    Parameters
    ----------
    check
        Compares the rows with the data of the release.
    attribution
        Names the features that moved each prediction most.
    """

    check: BatchCheck | None = None
    attribution: Attribution | None = None


def score(
    text: pa.Table, model: _Model, threads: int = 1, missing: Sequence[str] = (), beside: Beside = Beside()
) -> tuple[dict[str, Any], np.ndarray]:
    """Return the prediction of each row with its interval, in the target's unit, and why a row has none.

    Parameters
    ----------
    text
        n rows × m columns as text, among them those that the features are made of.
    threads
        How many cores to use, at most.
    missing
        Spellings of a missing value, besides the usual ones.
    beside
        Optional work on the rows besides the predictions.

    Returns
    -------
    scored : dict
        n values by column, with numbers (float64) that are missing where the row was rejected: prediction and, if the
        release has intervals, prediction_low and prediction_high; then the columns of `Attribution.reasons`, if they
        are requested.
    reasons : numpy.ndarray
        n texts, empty where the row was scored.

    Raises
    ------
    TaskError
        A feature cannot be computed.
    """
    cleaned, reasons = cleaned_rows(text, model.metadata["columns"], missing, beside.check)
    features = _features(cleaned, model, reasons)
    if not len(features):
        return _nothing(model, beside.attribution, len(reasons)), reasons
    if beside.check and model.earlier:
        beside.check.add_moments(micros_of(cleaned[model.earlier.time].loc[features.index]), model.earlier)
    predicted = scoring.predict(model.pipeline, features, threads)
    found: dict[str, Any] = {"prediction": predicted}
    if beside.check:
        beside.check.add_scored(features, predicted)
    ends = interval_ends(model.pipeline, features, predicted, threads)
    if ends is None and model.half_width is not None:
        ends = predicted - model.half_width, predicted + model.half_width
    found |= dict(zip(LOW_AND_HIGH, ends or (), strict=False))
    if beside.attribution:
        reasons_found = beside.attribution.reasons(features.frame, predicted)
        found |= {str(name): reasons_found[name] for name in reasons_found}
    if len(features) < len(reasons):
        found = {name: values.reindex(range(len(reasons))) for name, values in found.items()}
    return {name: values.array for name, values in found.items()}, reasons


def _nothing(model: _Model, attribution: Attribution | None, rows: int) -> dict[str, Any]:
    """Return the columns of `score` for rows that were all rejected."""
    bounds = LOW_AND_HIGH if model.half_width is not None or has_bounds(model.pipeline) else ()
    names = ["prediction", *bounds, *(attribution.columns() if attribution else ())]
    is_text = {name: name.startswith("reason_") and not name.endswith("_by") for name in names}
    return {name: pd.array([None] * rows, dtype="str" if is_text[name] else "float64") for name in names}


def _features(cleaned: dict[str, pd.Series], model: _Model, reasons: np.ndarray) -> Features:
    """Return the features of the rows without a reason; a row with an infinite one is left out, and gets its reason."""
    kept = np.flatnonzero(reasons == "")
    if not len(kept):
        return Features({}, pd.RangeIndex(0))
    metadata: Any = model.metadata
    rows: pd.DataFrame | dict[str, pd.Series] = cleaned
    if model.code or model.earlier or len(kept) < len(reasons):
        # To make a table takes long if there are few rows.
        rows = pd.DataFrame(cleaned).iloc[kept].reset_index(drop=True)
    features = features_again(rows, metadata, model.code, model.earlier)
    if len(kept) < len(reasons):
        features = Features(features.columns, pd.Index(kept))
    if not model.code:
        return features
    for name, infinite in infinite_values(features.frame).items():
        reasons[features.index[infinite]] = f"the feature {name} is infinite"
    finite = reasons[kept] == ""
    return Features({name: values[finite] for name, values in features.columns.items()}, features.index[finite])


def cleaned_rows(
    text: pa.Table, columns: dict[str, ColumnRecord], missing: Sequence[str], check: BatchCheck | None
) -> tuple[dict[str, pd.Series], np.ndarray]:
    """Return n rows of text as the columns of the model, cleaned as in training, and why a row cannot be scored."""
    known, spellings = {}, pa.array([*MISSING, *missing])
    for name in columns:
        values = text[name]
        is_missing = pc.is_in(values, spellings)
        known[name] = pc.if_else(is_missing, None, values) if pc.any(is_missing).as_py() else values
    formats = {name: how["date_format"] for name, how in columns.items() if how["date_format"]}
    parsed = parse_columns(pa.table(known), {name: how["kind"] for name, how in columns.items()}, formats)
    reasons = np.full(text.num_rows, "", dtype="object")
    nothing = np.zeros(text.num_rows, dtype=bool)
    cleaned: dict[str, pd.Series] = {}
    for name, how in columns.items():
        wrong, values = nothing, parsed.values[name]
        if name in parsed.bad:
            places = parsed.bad[name].index.to_numpy()
            wrong = nothing.copy()
            wrong[places] = True
            for row, value in zip(places, parsed.bad[name], strict=True):
                reasons[row] += f"{name}: {value!r} is no {how['kind']}; "
        if check:
            check.add_column(name, values, wrong)
        cleaned[name], done = by_policy(values, how["policy"], wrong)
        if done == "dropped":
            dropped = missing_in(values) & ~wrong
            if dropped.any():
                reasons[dropped] += f"{name} is missing; "
    for row in np.flatnonzero(reasons != ""):
        reasons[row] = reasons[row].removesuffix("; ")
    return cleaned, reasons


@dataclass(frozen=True)
class Scorer:
    """A verified release, ready to score rows.

    Parameters
    ----------
    release
        Its name.
    model
        Its model.
    released
        The data that batches are compared with; None if an older version made the release, without a profile of its
        data.
    attribution
        Gives the reasons of predictions; None if none are requested.
    """

    release: str
    model: _Model
    released: Released | None
    attribution: Attribution | None

    @property
    def needed(self) -> list[str]:
        """The columns that rows must have."""
        return list(self.model.metadata["columns"])

    @property
    def last(self) -> list[str]:
        """The columns of predictions that follow all others: the reasons."""
        return self.attribution.columns() if self.attribution else []

    def check(self) -> BatchCheck | None:
        """Return a check that compares one batch with the data of the release; None without a profile."""
        return BatchCheck(self.released) if self.released else None


def load_scorer(
    releases: Releases, name: str | None, rule: ReleaseConfig, reasons: int = 0, threads: int = 1
) -> Scorer:
    """Verify a release and load it, each file from the bytes that were verified.

    Parameters
    ----------
    releases
        Where it is.
    name
        The release; None for the current one.
    rule
        The approvals that it must have.
    reasons
        How many reasons each prediction gets, at most.
    threads
        How many cores reasons may use, at most.

    Raises
    ------
    TaskError
        Nothing is deployed, the release does not verify, or it cannot give reasons.
    """
    folder, document = releases.approved(name or releases.in_use(releases.history()), rule)
    return scorer_of(releases, folder.name, document, reasons, threads)


def scorer_of(releases: Releases, release: str, document: SignOff, reasons: int = 0, threads: int = 1) -> Scorer:
    """Load a release. Each file is read once, and checked in memory against the digest in the sign-off.

    Parameters
    ----------
    releases, release
        Where it is, and its name.
    document
        Its sign-off, which the caller trusts.
    reasons, threads
        As for `load_scorer`.

    Raises
    ------
    TaskError
        A file was altered, or the release cannot give reasons.
    """
    pipeline, metadata = releases.model_of(release, document, refit=True)
    earlier = read_earlier_rows(releases.content(release, document, STATE), metadata) if needs_state(metadata) else None
    code, half_width = releases.code(release, metadata), releases.half_width(release, document)
    model = _Model(pipeline, metadata, code, half_width, earlier)
    diagnostics = _signed(releases, release, document, "diagnostics.json")
    validation = _signed(releases, release, document, "validation_report.json")
    released, attribution = None, None
    if "profile" in diagnostics and "profile" in validation:
        predictions = diagnostics.get("predictions_profile")
        released = Released(metadata, diagnostics["profile"], predictions, validation["profile"], validation["rows"])
    if reasons:
        profile = diagnostics.get("profile", {})
        unknown = [name for name in metadata["features"] if name not in profile]
        if unknown:
            raise TaskError(
                f"scoring.reasons: the release {release} holds no profile of the feature {unknown[0]}, which reasons "
                "need. Deploy a new release, or set scoring.reasons: 0."
            )
        attribution = Attribution(pipeline, reference_of(profile, metadata["features"]), reasons, threads)
    return Scorer(release, model, released, attribution)


def _signed(releases: Releases, release: str, document: SignOff, file: str) -> dict[str, Any]:
    """Return a JSON file of a release, of the bytes that were signed; an empty one if the release has no such file."""
    if file not in map(released_as, document["files"]):
        return {}
    return releases.json(release, document, file)
