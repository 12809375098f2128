"""Runs and releases in MLflow."""

import importlib.util
import logging
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from signoff.base.config import Config
from signoff.base.errors import TaskError, explain
from signoff.base.files import any_json, read_bytes, write_json
from signoff.release.outbox import OUTBOX, alone, discard_damaged, plain, stage_judged, waiting
from signoff.source.web import reason

_RECORD = Path("reports/tracking.json")


def track(config: Config, config_paths: list[str] | None = None) -> dict[str, Any]:
    """Log waiting runs and the releases, and with `config_paths` the model on disk. Return the content of RECORD.

    Any error becomes a warning and the record's `problem`, because a tracking server must not stop a run or a release.

    Parameters
    ----------
    config
        The config, in which tracking.mlflow_uri is set.
    config_paths
        The files that it was read from.

    Returns
    -------
    dict
        run (URL of the MLflow run of the model on disk, or None), problem (text, or None) and failures (how often there
        was one so far).
    """
    # Each start of a run reads this module, and has no use for what the client imports: pandas and NumPy.
    from signoff.release.mlflow_client import connect, experiment_name, log_releases, log_run

    before = read_tracking()
    uri, url, problems = config.tracking.mlflow_uri or "", before.get("run"), []
    try:
        with alone():
            discard_damaged()
            judged = stage_judged(config, config_paths) if config_paths is not None else None
            url = None if judged else url
            check_tracking(config)
            client, experiment = connect(config)
            for folder in waiting():
                try:
                    run = log_run(client, experiment, folder)
                except Exception as error:
                    # A run that the server rejects must not block the others.
                    if _away(error):
                        raise
                    problems.append(_in_words(error, uri))
                    continue
                if folder == judged:
                    url = f"{uri.rstrip('/')}/#/experiments/{experiment}/runs/{run}"
            log_releases(client, experiment, plain(experiment_name(config)), config)
    except Exception as error:
        problems.append(_in_words(error, uri))
    problem = None
    if problems:
        runs = f"runs that wait in {OUTBOX}: {len(waiting())}; " if waiting() else ""
        problem = f"not all is in MLflow: {problems[0]}; {runs}the next run tries again"
        logging.warning("[track] %s", problem)
    record = {"run": url, "problem": problem, "failures": before.get("failures", 0) + bool(problems)}
    # After a release the record, if it is new, would look to Snakemake as if the model on disk had been logged.
    if record != before and (config_paths is not None or before):
        write_json(_RECORD, record)
    return record


def check_tracking(config: Config) -> None:
    """Raise TaskError if tracking.mlflow_uri is not a server's URL or holds a password, or MLflow is not installed."""
    uri = config.tracking.mlflow_uri
    if uri is None:
        return
    try:
        parts = urlsplit(uri)
        secret = bool("@" in parts.netloc or parts.query or parts.fragment)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        secret, good = "@" in uri, False
    if secret:
        # A password would be in the config, which is signed, released and logged.
        raise TaskError(
            "config: tracking.mlflow_uri carries a user name, a password or a query. Take it out, and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in the environment."
        )
    if not good:
        raise TaskError(f"config: tracking.mlflow_uri is {uri!r}, but must be a server's URL: http://localhost:5000")
    if importlib.util.find_spec("mlflow") is None:
        raise TaskError(
            "tracking.mlflow_uri is set, but MLflow's client is not installed. "
            "Run make tracking, or pip install -r requirements-mlflow.txt."
        )


def read_tracking() -> dict[str, Any]:
    """Return the content of RECORD; an empty dict if it does not exist or is damaged."""
    try:
        found = any_json(read_bytes(_RECORD))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _in_words(error: Exception, uri: str) -> str:
    """Return one sentence for an error of MLflow's client or of the server."""
    if isinstance(error, TaskError):
        return str(error)
    text = " ".join(str(error).split())
    if _away(error):
        return f"{uri} cannot be reached ({'no answer in time' if 'timed out' in text else reason(error)})"
    if type(error).__module__.startswith("mlflow"):
        return f"{uri}: {text[:300]}"
    return explain(error)[:500]


def _away(error: Exception) -> bool:
    """Return whether the server could not be reached, so that further requests would only take time."""
    return "Max retries exceeded" in str(error) or "timed out" in str(error)
