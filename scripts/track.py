"""Log to MLflow what is on disk: the model that was judged, what waits from earlier runs, and the releases.

    python scripts/track.py [--config config.yaml]

Run in the project's folder. A model with its verdict is one MLflow run, known by a digest, so that nothing is logged
twice. It waits in logs/mlflow/ until the server has all of it: a server that is down is a warning, never a failure, and
the next run logs what waits.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import task
from address import shown
from approval import METRICS, VALIDATION, canonical, code_state, released_as, reviewed_files
from release import RELEASES, current_release, read_history, releases, verify_release
from settings import config_argument, read_config
from task import TaskError, explain, read_json, sha256, write_json
from verdict import verdict
from web import reason

OUTBOX = Path("logs/mlflow")
RECORD = Path("reports/tracking.json")
SOURCE = Path("data/raw/raw_data.json")
DIGEST, RELEASE, ALIAS = "signoff.digest", "signoff.release", "champion"
# What of the config shapes a model and its verdict.
SHAPING = ("reader", "validation", "cleaning", "features", "split", "model", "evaluation", "thresholds")
# MLflow's own defaults would let a dead server hold up a run for many minutes.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def track(config: dict, config_paths: list[str] | None = None) -> dict:
    """Log what waits, and the releases; with `config_paths` also the model on disk. Return what RECORD tells.

    Whatever goes wrong becomes a warning and the record's `problem`: nothing that a tracking server does may stop a
    run or a release.

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
    before = read_record()
    uri, url, problems = config["tracking"]["mlflow_uri"], before.get("run"), []
    try:
        with alone():
            judged = stage_judged(config, config_paths) if config_paths is not None else None
            url = None if judged else url
            client, experiment = connect(config)
            for folder in waiting():
                try:
                    run = log_run(client, experiment, folder)
                except Exception as error:
                    # What the server does not take must not keep the others waiting.
                    if away(error):
                        raise
                    problems.append(in_words(error, uri))
                    continue
                if folder == judged:
                    url = f"{uri.rstrip('/')}/#/experiments/{experiment}/runs/{run}"
            log_releases(client, experiment, plain(experiment_name(config)))
    except Exception as error:
        problems.append(in_words(error, uri))
    problem = None
    if problems:
        runs = f"runs that wait in {OUTBOX}: {len(waiting())}; " if waiting() else ""
        problem = f"not all is in MLflow: {problems[0]}; {runs}the next run tries again"
        logging.warning("[track] %s", problem)
    record = {"run": url, "problem": problem, "failures": before.get("failures", 0) + bool(problems)}
    # After a release the record, if it is new, would look to Snakemake as if the model on disk had been logged.
    if record != before and (config_paths is not None or before):
        write_json(RECORD, record)
    return record


def check_tracking(config: dict) -> None:
    """Raise TaskError where tracking.mlflow_uri is no server's URL, holds a password, or MLflow is not installed."""
    uri = config["tracking"]["mlflow_uri"]
    if uri is None:
        return
    try:
        parts = urlsplit(uri)
        secret = "@" in parts.netloc or parts.query or parts.fragment
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        secret, good = "@" in uri, False
    if secret:
        # It would be in the config, which is signed, released and logged.
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


def read_record() -> dict:
    """Return what RECORD holds; nothing where there is none, or a damaged one."""
    try:
        return json.loads(RECORD.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def in_words(error: Exception, uri: str) -> str:
    """Return one sentence for what MLflow's client, or the server, raised."""
    if isinstance(error, TaskError):
        return str(error)
    text = " ".join(str(error).split())
    if away(error):
        return f"{uri} cannot be reached ({'no answer in time' if 'timed out' in text else reason(error)})"
    if type(error).__module__.startswith("mlflow"):
        return f"{uri}: {text[:300]}"
    return explain(error)[:500]


def away(error: Exception) -> bool:
    """Tell whether the server could not be reached, so that asking it for more would only take time."""
    return "Max retries exceeded" in str(error) or "timed out" in str(error)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let one process at a time log; the others wait. The lock goes with its process, killed or not."""
    OUTBOX.mkdir(parents=True, exist_ok=True)
    with open(OUTBOX / ".lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def waiting() -> list[Path]:
    """Return the folders of the runs that are not logged yet, the newest first."""
    folders = [path for path in OUTBOX.glob("*") if path.is_dir() and not path.name.startswith(".")]
    return sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)


def stage_judged(config: dict, config_paths: list[str]) -> Path:
    """Put the model on disk and what it was judged by into the OUTBOX; return its folder there."""
    digests = {path: sha256(Path(path)) for path in reviewed_files(config, config_paths)}
    files = {path: Path(path) for path in digests if released_as(path)}
    more = [Path("reports/holdout_predictions.csv"), SOURCE, *Path("reports/figures").glob("*.png")]
    files |= {str(path): path for path in more}
    source = read_json(SOURCE)
    tags = {
        "signoff.source": source["source"],
        "signoff.source_version": source["source_version"],
        "signoff.ingested_at": source["ingested_at"],
    }
    params = {"raw_data_source_url": shown(config["raw_data_source_url"])}
    params |= {key: as_text(config[key]) for key in ("target", "time_column", "random_state")}
    params |= {f"{name}.{key}": as_text(value) for name in SHAPING for key, value in config[name].items()}
    return stage(files, digests, code_state(), params, tags, config["validation"]["on_failure"])


def stage_release(name: str, document: dict) -> Path:
    """Put a release into the OUTBOX as the run that led to it, since that may never have been logged."""
    files = {path: RELEASES / name / released_as(path) for path in document["files"] if released_as(path)}
    return stage(files, document["files"], document["code"], {}, {})


def stage(
    files: dict[str, Path], digests: dict[str, str], code: dict, params: dict, tags: dict, on_failure: str = "fail"
) -> Path:
    """Copy a run's files to the OUTBOX, with what MLflow is told of it in run.json; return the folder.

    Parameters
    ----------
    files
        By their paths in the project, where they are now.
    digests
        The SHA-256 of every reviewed file, the data among them, by the same paths.
    code
        As approval.code_state gives it.
    params, tags
        What is known beside what the files tell.
    on_failure
        validation.on_failure.
    """
    # The rest may change (a comment in the config) and it is still the same model with the same verdict.
    same = {path: each for path, each in digests.items() if path.startswith("model/") or path in (METRICS, VALIDATION)}
    digest = hashlib.sha256(canonical(same)).hexdigest()
    folder, part = OUTBOX / digest, OUTBOX / f".{digest}.part"
    if folder.is_dir():
        return folder
    shutil.rmtree(part, ignore_errors=True)
    for path, file in files.items():
        inside = path.startswith(("model/", "reports/", "data/"))
        copy = part / "artifacts" / (path if inside else f"config/{file.name}")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        if not inside and without_passwords(text := copy.read_text(encoding="utf-8")) != text:
            copy.write_text(without_passwords(text), encoding="utf-8")
    metadata, metrics = read_json(files["model/model.json"]), read_json(files[METRICS])
    validation = read_json(files[VALIDATION])
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
        "metrics": {**scores(metrics), "contract_violations": len(validation["violations"])},
        "tags": {
            DIGEST: digest,
            "signoff.verdict": "failed" if failures else "passed",
            **({"signoff.failures": "; ".join(failures)} if failures else {}),
            **tags,
            **{f"signoff.sha256 {path}": each for path, each in digests.items() if path.startswith(("model", "data"))},
            "signoff.code_sha256": code["sha256"],
            "signoff.code_clean": as_text(code["clean"]),
            **commit,
        },
    }
    write_json(part / "run.json", run)
    part.rename(folder)
    return folder


def scores(metrics: dict) -> dict[str, float]:
    """Return each number of the metrics under the name that it has in MLflow, such as test/MAE."""
    groups = {"test": metrics["model"]["test"], "train": metrics["model"]["train"]}
    for name, each in metrics["baselines"].items():
        groups[f"baseline_{plain(name)}"] = each["test"]
    groups |= {"champion": metrics["champion"]["test"]} if "test" in (metrics["champion"] or {}) else {}
    return {
        f"{name}/{key}": value for name, group in groups.items() for key, value in group.items() if value is not None
    }


def plain(name: str) -> str:
    """Return a name with the few signs that MLflow takes in one; a column, or a folder, may have any."""
    return re.sub(r"[^\w. -]", "_", name)


def as_text(value: object) -> str:
    """Return a value of the config as text, JSON where it is none."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def without_passwords(text: str) -> str:
    """Return a text without the passwords that the URLs in it carry."""
    return re.sub(r"://[^/\s'\"]*@", "://***@", text)


def experiment_name(config: dict) -> str:
    """Return the name of the experiment: the folder's, where the config gives none."""
    return config["tracking"]["experiment"] or Path.cwd().name


def connect(config: dict) -> tuple[object, str]:
    """Return MLflow's client and the identifier of the experiment, which is made where it is missing.

    Raises
    ------
    TaskError
        As check_tracking.
    Exception
        Whatever MLflow's client raises where the server is away, or says no.
    """
    check_tracking(config)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Here and nowhere else, so that nothing of it is imported where it is not asked for.
    from mlflow import MlflowClient

    client = MlflowClient(config["tracking"]["mlflow_uri"], config["tracking"]["mlflow_uri"])
    found = client.get_experiment_by_name(experiment_name(config))
    if found and found.lifecycle_stage == "deleted":
        raise TaskError(
            f"the experiment {experiment_name(config)!r} was deleted in MLflow. Restore it there, or name another one: "
            "tracking.experiment"
        )
    return client, found.experiment_id if found else client.create_experiment(experiment_name(config))


def log_run(client, experiment: str, folder: Path) -> str:
    """Log the run in `folder`, unless MLflow has all of it, and return its identifier; the folder is gone then."""
    from mlflow.entities import Metric, Param, RunTag

    run = read_json(folder / "run.json")
    found = client.search_runs([experiment], f"tags.`{DIGEST}` = '{run['tags'][DIGEST]}'", max_results=1)
    logged = found[0] if found else client.create_run(experiment, run["at"], run["tags"], run["name"])
    identifier = logged.info.run_id
    if logged.info.status == "FINISHED":
        logging.info("[track] the run %s is in MLflow already", identifier)
    else:
        # A run that a kill has left half logged is logged again, to the same values.
        client.log_batch(identifier, tags=[RunTag(*each) for each in run["tags"].items()])
        client.log_batch(identifier, metrics=[Metric(*each, run["at"], 0) for each in run["metrics"].items()])
        params = [Param(*each) for each in run["params"].items()]
        for start in range(0, len(params), 100):
            client.log_batch(identifier, params=params[start : start + 100])
        client.log_artifacts(identifier, str(folder / "artifacts"))
        client.set_terminated(identifier, "FINISHED", run["at"])
        logging.info("[track] logged the run %s", identifier)
    shutil.rmtree(folder)
    return identifier


def log_releases(client, experiment: str, model: str) -> None:
    """Register each release that MLflow does not know as a version of `model`; point ALIAS to the current one.

    Raises
    ------
    TaskError
        The history, or a release that is to be logged, was altered.
    """
    history = read_history()
    names, current = releases(history), current_release()
    if not names:
        return
    found = client.search_registered_models(f"name = '{model}'")
    registered = found[0] if found else client.create_registered_model(model)
    known = client.search_model_versions(f"name = '{model}'")
    versions = {each.tags.get(RELEASE): each.version for each in known}
    for name in names:
        if name not in versions:
            versions[name] = log_release(client, experiment, model, name, history)
    if current in versions and str(registered.aliases.get(ALIAS)) != str(versions[current]):
        client.set_registered_model_alias(model, ALIAS, versions[current])
        logging.info("[track] %s@%s is version %s now, the release %s", model, ALIAS, versions[current], current)


def log_release(client, experiment: str, model: str, name: str, history: list[dict]) -> str:
    """Tag the run of a release, add the sign-off to it, and return the version of `model` that it becomes."""
    document = verify_release(name, history)
    entry = next(each for each in history if each["action"] == "deploy" and each["release"] == name)
    run = log_run(client, experiment, stage_release(name, document))
    tags = {
        RELEASE: name,
        "signoff.released_at": entry["at"],
        "signoff.reviewers": ", ".join(entry["by"]),
        "signoff.comments": "; ".join(entry["reason"]),
        **({"signoff.overrides": "; ".join(entry["override"])} if entry["override"] else {}),
    }
    for each in tags.items():
        client.set_tag(run, *each)
    client.log_artifact(run, str(RELEASES / name / "sign_off.json"), "reports")
    # Its files are there: nothing to wait for.
    version = client.create_model_version(model, f"runs:/{run}/model", run, tags, await_creation_for=0).version
    logging.info("[track] logged the release %s: %s, version %s", name, model, version)
    return version


def main(argv: list[str] | None = None) -> None:
    parser = task.arguments(__doc__)
    config_argument(parser)
    args = parser.parse_args(argv)
    with task.logged("track", args, METRICS):
        config, paths = read_config(args.config)
        if config["tracking"]["mlflow_uri"] is None:
            raise TaskError(f"tracking.mlflow_uri is not set in {' or '.join(paths)}: there is nowhere to log to.")
        record = track(config, paths)
        if record["run"]:
            logging.info("[track] completed. Run: %s", record["run"])


if __name__ == "__main__":
    main()
