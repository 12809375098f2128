"""Log runs and releases with MLflow's client, which nothing else imports."""

import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from signoff.base.config import Config
from signoff.base.errors import TaskError
from signoff.base.files import read_json
from signoff.release.approval import serialised
from signoff.release.form import Move
from signoff.release.mlflow_model import write_mlflow_model
from signoff.release.outbox import DIGEST, stage_release
from signoff.release.store import Releases, kept_releases

_RELEASE, _ALIAS = "signoff.release", "champion"
# The artefacts of a release that MLflow can load.
_MODEL = "mlflow_model"
# MLflow's own defaults would let a dead server hold up a run for many minutes.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def experiment_name(config: Config) -> str:
    """Return the name of the experiment, which is the folder's if the config gives none."""
    return config.tracking.experiment or Path.cwd().name


def connect(config: Config) -> tuple[Any, str]:
    """Return MLflow's client and the identifier of the experiment, which is created if it is missing.

    Raises
    ------
    TaskError
        The experiment was deleted.
    Exception
        Whatever MLflow's client raises if the server cannot be reached or refuses.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Imported only here, so that a project without MLflow does not import it.
    from mlflow import MlflowClient

    client = MlflowClient(config.tracking.mlflow_uri, config.tracking.mlflow_uri)
    found = client.get_experiment_by_name(experiment_name(config))
    if found and found.lifecycle_stage == "deleted":
        raise TaskError(
            f"the experiment {experiment_name(config)!r} was deleted in MLflow. Restore it there, or name another one: "
            "tracking.experiment"
        )
    return client, found.experiment_id if found else client.create_experiment(experiment_name(config))


def log_run(client: Any, experiment: str, folder: Path) -> str:
    """Log the run in `folder`, unless MLflow has all of it; delete the folder, and return the run's identifier."""
    from mlflow.entities import Metric, Param, RunTag

    run = read_json(folder / "run.json")
    found = client.search_runs([experiment], f"tags.`{DIGEST}` = '{run['tags'][DIGEST]}'", max_results=1)
    logged = found[0] if found else client.create_run(experiment, run["at"], run["tags"], run["name"])
    identifier: str = logged.info.run_id
    if logged.info.status == "FINISHED":
        logging.info("[track] the run %s is in MLflow already", identifier)
    else:
        # A run that a kill left half logged is logged again, with the same values.
        client.log_batch(identifier, tags=[RunTag(*each) for each in run["tags"].items()])
        client.log_batch(
            identifier, metrics=[Metric(name, value, run["at"], 0) for name, value in run["metrics"].items()]
        )
        params = [Param(*each) for each in run["params"].items()]
        for start in range(0, len(params), 100):
            client.log_batch(identifier, params=params[start : start + 100])
        client.log_artifacts(identifier, str(folder / "artifacts"))
        client.set_terminated(identifier, "FINISHED", run["at"])
        logging.info("[track] logged the run %s", identifier)
    shutil.rmtree(folder)
    return identifier


def log_releases(client: Any, experiment: str, model: str, config: Config) -> None:
    """Register each release that MLflow does not know as a version of `model`; point _ALIAS to the current one.

    A version that an older version of the workflow registered, which MLflow cannot load, is replaced by a new one.

    Raises
    ------
    TaskError
        The history, or a release that is to be logged, was altered.
    """
    stored = Releases()
    history = stored.history()
    names, current = kept_releases(history), stored.current()
    if not names:
        return
    found = client.search_registered_models(f"name = '{model}'")
    registered = found[0] if found else client.create_registered_model(model)
    known = client.search_model_versions(f"name = '{model}'")
    versions = {each.tags.get(_RELEASE): each.version for each in known if each.source.endswith(f"/{_MODEL}")}
    for name in names:
        if name not in versions:
            versions[name] = _log_release(client, experiment, model, name, history, config)
    if current in versions and str(registered.aliases.get(_ALIAS)) != str(versions[current]):
        client.set_registered_model_alias(model, _ALIAS, versions[current])
        logging.info("[track] %s@%s is version %s now, the release %s", model, _ALIAS, versions[current], current)


def _log_release(client: Any, experiment: str, model: str, name: str, history: list[Move], config: Config) -> str:
    """Tag the run of a release, add sign-off and MLflow model, and return the version of `model` that it becomes."""
    document = Releases().verify(name, history)
    entry = next(each for each in history if each["action"] == "deploy" and each["release"] == name)
    run = log_run(client, experiment, stage_release(name, document))
    tags = {
        _RELEASE: name,
        "signoff.released_at": entry["at"],
        "signoff.reviewers": ", ".join(entry["by"]),
        "signoff.comments": "; ".join(entry["reason"]),
        **({"signoff.overrides": "; ".join(entry["override"])} if entry["override"] else {}),
    }
    for each in tags.items():
        client.set_tag(run, *each)
    with tempfile.TemporaryDirectory() as folder:
        # The verified bytes, even if the file has changed since.
        copy = Path(folder, "sign_off.json")
        copy.write_bytes(serialised(document))
        client.log_artifact(run, str(copy), "reports")
        made = Path(folder, _MODEL)
        write_mlflow_model(made, name, document, entry["at"], config, Releases())
        client.log_artifacts(run, str(made), _MODEL)
    # Its files are already there, so there is no need to wait.
    version: str = client.create_model_version(model, f"runs:/{run}/{_MODEL}", run, tags, await_creation_for=0).version
    logging.info("[track] logged the release %s: %s, version %s", name, model, version)
    return version
