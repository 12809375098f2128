"""Runs to log to MLflow, kept on disk until the server has all of them: a folder for each run in logs/mlflow/."""

import contextlib
import fcntl
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from signoff.base.config import Config
from signoff.base.errors import TaskError
from signoff.base.files import (
    any_json,
    discard,
    hidden_name,
    open_lock,
    parsed_json,
    read_bytes,
    read_json,
    read_utf8,
    sha256,
    write_json,
)
from signoff.model.records import Metadata
from signoff.release.approval import METRICS, VALIDATION, canonical, code_state, released_as, reviewed_files
from signoff.release.form import CodeState, SignOff
from signoff.release.records import Metrics, Validation
from signoff.release.store import Releases
from signoff.release.verdict import verdict
from signoff.source.address import shown

OUTBOX = Path("logs/mlflow")
_SOURCE = Path("data/raw/raw_data.json")
_METADATA = "model/model.json"
# The tag by which a run is known.
DIGEST = "signoff.digest"
# The sections of the config that affect a model and its verdict.
_SHAPING = ("reader", "validation", "cleaning", "features", "split", "model", "evaluation", "thresholds")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let one process at a time log; the others wait. The lock ends with its process, even if it is killed."""
    OUTBOX.mkdir(parents=True, exist_ok=True)
    with open(open_lock(OUTBOX / ".lock"), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def waiting() -> list[Path]:
    """Return the folders of the runs that are not logged yet, the newest first."""
    folders = [path for path in OUTBOX.glob("*") if path.is_dir() and not path.name.startswith(".")]
    return sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)


def discard_damaged() -> None:
    """Delete the folders that a power cut has damaged, with a warning: the model on disk is staged again."""
    for folder in waiting():
        try:
            whole = isinstance(any_json(read_bytes(folder / "run.json")), dict)
        except (OSError, ValueError):
            whole = False
        if not whole:
            logging.warning("[track] %s is damaged and cannot be logged: deleted", folder / "run.json")
            discard(folder)


def stage_judged(config: Config, config_paths: list[str]) -> Path:
    """Put the model on disk and what it was judged by into the OUTBOX; return its folder there."""
    digests = {path: sha256(Path(path)) for path in reviewed_files(config, config_paths)}
    files = {path: Path(path) for path in digests if released_as(path)}
    more = [Path("reports/holdout_predictions.csv"), _SOURCE, *Path("reports/figures").glob("*.png")]
    files |= {str(path): path for path in more}
    source = read_json(_SOURCE)
    tags = {
        "signoff.source": source["source"],
        "signoff.source_version": source["source_version"],
        "signoff.ingested_at": source["ingested_at"],
    }
    params = {"raw_data_source_url": shown(config.raw_data_source_url)}
    params |= {key: _as_text(getattr(config, key)) for key in ("target", "time_column", "random_state")}
    for name in _SHAPING:
        params |= {f"{name}.{key}": _as_text(value) for key, value in vars(getattr(config, name)).items()}
    return _stage(files, digests, code_state(), params, tags, config.validation.on_failure)


def stage_release(name: str, document: SignOff) -> Path:
    """Put a release into the OUTBOX as the run that led to it, since that may never have been logged."""
    files = {path: Releases().releases / name / place for path in document["files"] if (place := released_as(path))}
    return _stage(files, document["files"], document["code"], {}, {})


def _stage(
    files: dict[str, Path],
    digests: dict[str, str],
    code: CodeState,
    params: dict[str, Any],
    tags: dict[str, str],
    on_failure: str = "fail",
) -> Path:
    """Copy a run's files to the OUTBOX, with what is logged to MLflow in run.json; return the folder.

    Parameters
    ----------
    files
        By their paths in the project, where they are now.
    digests
        The SHA-256 of every reviewed file, the data among them, by the same paths.
    code
        As `approval.code_state` returns it.
    params, tags
        Further parameters and tags that are not in the files.
    on_failure
        validation.on_failure.
    """
    # The rest may change (a comment in the config) without changing the model or its verdict.
    same = {path: each for path, each in digests.items() if path.startswith("model/") or path in (METRICS, VALIDATION)}
    digest = hashlib.sha256(canonical(same)).hexdigest()
    folder, part = OUTBOX / digest, OUTBOX / hidden_name(digest)
    if folder.is_dir():
        return folder
    for left in OUTBOX.glob(".*.part"):
        discard(left)
    read = _copy_files(files, digests, part)
    metadata = cast(Metadata, read[_METADATA])
    metrics, validation = cast(Metrics, read[METRICS]), cast(Validation, read[VALIDATION])
    failures = verdict(validation, metrics, on_failure)[1]
    commit = {"mlflow.source.git.commit": code["commit"]} if code["commit"] else {}
    run = {
        "at": int(files[METRICS].stat().st_mtime * 1000),
        "name": metadata["sha256"][:12],
        "params": {
            **params,
            "estimator": metadata["estimator"],
            **{f"estimator.{name}": value for name, value in metadata["parameters"].items()},
            "features": ", ".join(metadata["features"]),
        },
        "metrics": {**_scores(metrics), "contract_violations": len(validation["violations"])},
        "tags": {
            DIGEST: digest,
            "signoff.verdict": "failed" if failures else "passed",
            **({"signoff.failures": "; ".join(failures)} if failures else {}),
            **tags,
            **{f"signoff.sha256 {path}": each for path, each in digests.items() if path.startswith(("model", "data"))},
            "signoff.code_sha256": code["sha256"],
            "signoff.code_clean": _as_text(code["clean"]),
            **commit,
        },
    }
    write_json(part / "run.json", run)
    part.rename(folder)
    return folder


def _copy_files(files: dict[str, Path], digests: dict[str, str], part: Path) -> dict[str, dict[str, Any]]:
    """Copy a run's files, and return the three that are logged, parsed from the bytes that have the digests.

    Raises
    ------
    TaskError
        A file does not have its digest any more.
    """
    read = {}
    for path, file in files.items():
        inside = path.startswith(("model/", "reports/", "data/"))
        copy = part / "artifacts" / (path if inside else f"config/{file.name}")
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path in (_METADATA, METRICS, VALIDATION):
            content = read_bytes(file)
            read[path] = parsed_json(content, file)
            copy.write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
        else:
            shutil.copyfile(file, copy)
            digest = sha256(copy) if path in digests else ""
        if path in digests and digest != digests[path]:
            raise TaskError(f"{file} changed while it was copied to {OUTBOX}. The next run tries again.")
        if not inside and _without_passwords(text := read_utf8(copy)) != text:
            copy.write_text(_without_passwords(text), encoding="utf-8")
    return read


def _scores(metrics: Metrics) -> dict[str, float]:
    """Return each number of the metrics under the name that it has in MLflow, such as test/MAE."""
    groups = {"test": metrics["model"]["test"], "train": metrics["model"]["train"]}
    for name, each in metrics["baselines"].items():
        groups[f"baseline_{plain(name)}"] = each["test"]
    champion = metrics["champion"]
    groups |= {"champion": champion["test"]} if champion and "test" in champion else {}
    return {
        f"{name}/{key}": value for name, group in groups.items() for key, value in group.items() if value is not None
    }


def plain(name: str) -> str:
    """Return a name with only the characters that MLflow allows; a column or a folder may have any."""
    return re.sub(r"[^\w. -]", "_", name)


def _as_text(value: object) -> str:
    """Return a value of the config as text, as JSON if it is not a string."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _without_passwords(text: str) -> str:
    """Return a text without the passwords that the URLs in it carry."""
    return re.sub(r"://[^/\s'\"]*@", "://***@", text)
