"""The subject of a decision: the digests of all reviewed files, and the summary that a reviewer sees."""

import os
from pathlib import Path
from typing import Any, cast

from signoff.base.config import Config
from signoff.base.errors import TaskError, explain
from signoff.base.files import parsed_json, read_json, sha256
from signoff.release.approval import (
    DIAGNOSTICS,
    METRICS,
    PAGE,
    REPORT,
    VALIDATION,
    alarms_of,
    check_names,
    code_state,
    features_path,
    model_path,
    no_commit,
    raw_path,
    refit_path,
    reviewed_bytes,
    reviewed_files,
)
from signoff.release.form import VERSION, CodeState, Subject
from signoff.release.live_record import read_live, warnings
from signoff.release.records import Metrics, Validation
from signoff.release.store import Releases
from signoff.release.verdict import verdict
from signoff.source.last_ingest import IngestRecord


def review(config: Config, config_paths: list[str], code: CodeState | None = None) -> Subject:
    """Return the subject of a decision: the digests of all files and of the code, the verdict, why, and the alarms.

    Parameters
    ----------
    config, config_paths
        As `read_config` returns them.
    code
        What `code_state` has just returned; if not given, it is called.

    Raises
    ------
    TaskError
        A file is missing, or was computed for a different version of another file.
    """
    model = model_path(config)
    for path in reviewed_files(config, config_paths):
        if not Path(path).is_file():
            command = "make report" if path in (DIAGNOSTICS, REPORT, PAGE) else "make run, then make report"
            raise TaskError(f"{path} does not exist: there is nothing to sign off. Run {command}.")
    raw, features = raw_path(config), features_path(config)
    figures = sorted(str(path) for path in Path("reports/figures").glob("*.png"))
    files = {path: sha256(Path(path)) for path in [*reviewed_files(config, config_paths), *figures]}
    check_names(files, reviewed_files(config, config_paths))
    metrics, validation = _judged(files)
    _check_agreement(model, raw, features, files)
    _check_refit(config, features, files)
    releases = Releases()
    release = releases.in_use(releases.history())
    judged_against = (metrics["champion"] or {}).get("release")
    if release != judged_against and not (release or "").endswith(f"-{files[model][:12]}"):
        raise TaskError(
            f"{METRICS} compares the model with {judged_against or 'no release'}, but {release or 'none'} is deployed "
            "now. Run make run, then make report."
        )
    _, failures = verdict(validation, metrics)
    return {
        "version": VERSION,
        "project": cast(str, releases.project(make=True)),
        "predecessor": release,
        "files": files,
        "code": code or code_state(),
        "verdict": "failed" if failures else "passed",
        "failures": failures,
        "alarms": alarms_of(reviewed_bytes(DIAGNOSTICS, files)),
    }


def _check_agreement(model: str, raw: str, features: str, files: dict[str, str]) -> None:
    """Raise TaskError if a reviewed file was written for a different state of another one.

    Parameters
    ----------
    model, raw, features
        Their paths.
    files
        The digests of the reviewed files by path.
    """
    described_in = features.removesuffix("csv") + "json"
    metrics, validation, metadata, diagnostics, described = (
        _as_reviewed(path, files) for path in (METRICS, VALIDATION, "model/model.json", DIAGNOSTICS, described_in)
    )
    for path, found in ((VALIDATION, validation), (features, described)):
        if found.get("raw_sha256") != files[raw]:
            raise TaskError(f"{path} was computed from other data than {raw}. Run make run, then make report.")
    trained_on = metadata["inputs"].get(Path(features).name)
    if metadata["sha256"] != files[model] or trained_on != files[features]:
        raise TaskError(f"{model} is not the model that model/model.json describes. Run make run, then make report.")
    for made, by in ((model, metadata.get("custom")), (METRICS, metrics.get("custom_metrics"))):
        if by and files.get(os.path.normpath(by["file"])) != by["sha256"]:
            raise TaskError(f"{by['file']} is not the code that {made} was made with. Run make run, then make report.")
    if metrics["model_sha256"] != files[model]:
        raise TaskError(f"{METRICS} was computed for a different model than {model}. Run make run, then make report.")
    if diagnostics.get("model_sha256") != files[model]:
        raise TaskError(f"{DIAGNOSTICS} was computed for a different model than {model}. Run make report.")
    if diagnostics.get("metrics_sha256") != files[METRICS]:
        raise TaskError(f"{DIAGNOSTICS} was computed for a different evaluation than {METRICS}. Run make report.")
    for path in (REPORT, PAGE):
        text = _text_as_reviewed(path, files)
        if files[model] not in text:
            raise TaskError(f"{path} was computed for a different model than {model}. Run make report.")
        for other in (METRICS, DIAGNOSTICS):
            if files[other] not in text:
                raise TaskError(f"{path} was computed for a different version of {other}. Run make report.")


def _check_refit(config: Config, features: str, files: dict[str, str]) -> None:
    """Raise TaskError if the refitted model does not belong to the evaluated model and its rows.

    The diagnostics and the report must speak of it; the parameters are as in `_check_agreement`.
    """
    path, told = refit_path(config), _as_reviewed(DIAGNOSTICS, files).get("refit")
    if path is None:
        if told:
            raise TaskError(f"{DIAGNOSTICS} describes a model for model.refit, which is not set. Run make report.")
        return
    refit = _as_reviewed("model/refit.json", files)
    found = (refit["sha256"], refit["model_sha256"], refit["inputs"].get(Path(features).name))
    if found != (files[path], files[model_path(config)], files[features]):
        raise TaskError(f"{path} is not {model_path(config)} trained again on {features}. Run make report.")
    pages = [_text_as_reviewed(page, files) for page in (REPORT, PAGE)]
    if (told or {}).get("sha256") != files[path] or not all(files[path] in page for page in pages):
        raise TaskError(f"{DIAGNOSTICS} or {REPORT} was computed for a different model than {path}. Run make report.")


def _as_reviewed(path: str, files: dict[str, str]) -> dict[str, Any]:
    """Return the content of a reviewed JSON file; raises as `reviewed_bytes`."""
    return parsed_json(reviewed_bytes(path, files), Path(path))


def _judged(files: dict[str, str]) -> tuple[Metrics, Validation]:
    """Return what the verdict is made from; raises as `reviewed_bytes`."""
    return cast(Metrics, _as_reviewed(METRICS, files)), cast(Validation, _as_reviewed(VALIDATION, files))


def _text_as_reviewed(path: str, files: dict[str, str]) -> str:
    """Return the text of a reviewed page. Raises as `reviewed_bytes`, and TaskError if it is not text."""
    try:
        return reviewed_bytes(path, files).decode()
    except UnicodeDecodeError as error:
        raise TaskError(f"{path} is damaged: it is not UTF-8 ({error}). Run make report to rebuild it.") from error


def summary_lines(subject: Subject) -> list[str]:
    """Return the lines that a reviewer sees before deciding."""
    metrics, validation = _judged(subject["files"])
    source = cast(IngestRecord, read_json(Path("data/raw/raw_data.json")))
    split = metrics["split"]
    window = f"{split['first']} … {split['last_test']} ({metrics['time_column']})" if "first" in split else "no dates"
    code = subject["code"]
    state = {True: "clean", False: "with changes that are not committed", None: no_commit()}[code["clean"]]
    lines = [
        f"Target      {metrics['target']}",
        f"Source      {source['source']}, ingested {source['ingested_at']}",
        *_edited(source, subject["files"]),
        f"Data window {window}",
        *verdict(validation, metrics)[0],
        f"Verdict     {subject['verdict']}",
        *(f"            {each}" for each in subject["failures"]),
        *(f"Alarm       {each['name']}: {each['sentence']}" for each in subject["alarms"]),
        *(f"Live        {each}" for each in warnings(read_live(), subject["predecessor"])),
        f"Model       {metrics['estimator']}, {metrics['model_sha256'][:12]}",
        f"Code        {code['commit'] or code['sha256'][:12]} ({state})",
    ]
    lines += [
        f"{'Changes' if n == 0 else '':<12}{each}"
        for n, each in enumerate(_changes(subject["predecessor"], subject["files"]))
    ]
    return [*lines, f"Report      {PAGE}, {REPORT}"]


def _edited(source: IngestRecord, files: dict[str, str]) -> list[str]:
    """Return a line if the raw data are not those that were ingested: somebody has edited them, or they were cut."""
    found = files.get("data/raw/raw_data.csv")
    if found is None or source.get("sha256", found) == found:
        return []
    return ["Edited      data/raw/raw_data.csv was edited or cut since it was ingested"]


def _changes(release: str | None, files: dict[str, str]) -> list[str]:
    """Return the differences from the current release in words.

    Parameters
    ----------
    release
        The current release; None if nothing is deployed.
    files
        The digests of the reviewed files.
    """
    if release is None:
        return ["nothing is deployed yet: this would be the first release"]
    now, scored_now = _as_reviewed("model/model.json", files), _as_reviewed(METRICS, files)
    releases = Releases()
    try:
        document = releases.sign_off(release, releases.history())
        then = releases.json(release, document, "model.json")
        scored_then = releases.json(release, document, "evaluation_metrics.json")
    except (TaskError, OSError) as error:
        return [f"unknown: {explain(error)} See make verify"]
    refits = [each.get("model/refit.json") for each in (document["files"], files)]
    if then["sha256"] == now["sha256"] and refits[0] == refits[1]:
        return [f"none: this very model is deployed as {release}"]
    mae = [each["model"]["test"]["MAE"] for each in (scored_then, scored_now)]
    found = [
        f"since {release}: {then['training_rows']:,} → {now['training_rows']:,} training rows",
        f"MAE then {mae[0]:.4f}, on the rows held out then; now {mae[1]:.4f}",
    ]
    by = ["the one trained again on all rows" if each else "the evaluated model" for each in refits]
    if by[0] != by[1]:
        found.append(f"predictions: by {by[0]} → by {by[1]}")
    for what, word in (("features", "feature"), ("parameters", "parameter"), ("versions", "version")):
        for name in sorted({*then[what], *now[what]}):
            old, new = then[what].get(name), now[what].get(name)
            if old != new:
                found.append(f"{word} {name}: {'none' if old is None else old} → {'none' if new is None else new}")
    if (then.get("custom") or {}) != (now.get("custom") or {}):
        named = [each["file"] if each else "none" for each in (then.get("custom"), now.get("custom"))]
        found.append(f"code of the features: {' → '.join(named)}" if named[0] != named[1] else f"{named[0]}: changed")
    for what in ("estimator", "target", "recipe", "columns"):
        if then[what] != now[what]:
            simple = isinstance(now[what], str)
            found.append(f"{what}: {then[what]} → {now[what]}" if simple else f"{what} of the features: changed")
    return found
