"""Train a release again from the data that it keeps, and say whether the model has the same bytes.

    python scripts/reproduce.py [--release NAME]

Run in the project's folder, in which nothing is changed. Exit code 1: the bytes differ, or the data are not there.
"""

import logging
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from signoff.base import command_line
from signoff.base.config import Config, ReleaseConfig
from signoff.base.errors import TaskError
from signoff.base.files import WORKFLOW, read_json, sha256
from signoff.config.settings import config_argument, read_config
from signoff.model.boosters import BOOSTERS
from signoff.model.model_file import load_model
from signoff.model.records import trials_again
from signoff.model.scoring import predict
from signoff.release import kept_data
from signoff.release.approval import code_state, model_path, released_as
from signoff.release.form import SignOff
from signoff.release.store import Releases, release_argument
from signoff.rules.flags import words
from signoff.rules.settings import Settings
from signoff.tables.batches import read_rows


def _config_of(folder: Path, document: SignOff) -> Config:
    """Return the config of a release, checked, with the defaults of today for keys that it lacks.

    Raises
    ------
    TaskError
        This version of the workflow does not accept the config.
    """
    paths = [path for path in document["files"] if str(released_as(path)).startswith("config/")]
    problem = ""
    # The data contract is in the same folder: it is the file that the others name.
    for contract in (None, *paths):
        others = [str(folder / str(released_as(path))) for path in paths if path != contract]
        try:
            config = read_config(others)[0] if others else None
        except TaskError as error:
            problem = problem or str(error)
            continue
        if config and (os.path.normpath(config.validation.schema or ".") == (contract or ".")):
            return config
    raise TaskError(f"the config of {folder} cannot be read by this version of the workflow: {problem}")


def _unpack_data(name: str, document: SignOff, releases: Releases, folder: Path) -> Path:
    """Write the kept training data of a release to `folder`; return the path of the features.

    Raises
    ------
    TaskError
        The release keeps no data, or they are gone or damaged.
    """
    files = kept_data.needed(releases.history())
    places = [kept_data.file_of(*each) for each in kept_data.signed_data(document).items()]
    if not places or not set(places) <= {file for file, users in files.items() if name in users}:
        raise TaskError(f"{name} keeps no training data (release.keep_data), so it cannot be reproduced.")
    for place in places:
        with open(folder / f"features.{place.split('.')[1]}", "xb") as target:
            kept_data.unpack_kept(releases.data / place, target)
    return folder / "features.csv"


def _training(config: Config, record: Mapping[str, Any]) -> dict[str, object]:
    """Return the options to train what a config asks for, with the boosters and the number of trials of model.json."""
    options = Settings(**vars(config)).training
    if config.model.preset == "fast":
        return options
    options["boosters"] = [each for each in BOOSTERS if each in record["versions"]] or "none"
    return options | trials_again(record.get("candidates"))


def _train_again(options: Mapping[str, object], features: Path, model: Path, threads: int) -> None:
    """Train with these options of the command line of the rule train_model.

    Raises
    ------
    TaskError
        The training has failed.
    """
    _run("train_model", words(**options), input=features, output=model, threads=threads)


def _refit_again(config: Config, features: Path, model: Path, metrics: Path, refit: Path, threads: int) -> None:
    """Train a model again on all rows with the command line of the rule refit_model; raises as `_train_again`."""
    paths = {"model": model, "input": features, "metrics": metrics, "output": refit}
    _run("refit_model", words(random_state=config.random_state), **paths, threads=threads)


def _run(task: str, options: str, **paths: object) -> None:
    """Run the command line of a task. Raises TaskError if it fails."""
    script = shlex.quote(str(WORKFLOW / f"scripts/{task}.py"))
    done = subprocess.run(
        ["/bin/bash", "-c", f"{shlex.quote(sys.executable)} {script} {words(**paths)} {options}"],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise TaskError(f"the training has failed: {said[-1].rpartition(f'[{task}] ')[2]}")


def _differences(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return which recorded versions differ, as `pandas 3.0.0 → 3.1.1`."""
    names = dict.fromkeys([*then, *now])
    return [
        f"{name} {then.get(name, 'none')} → {now.get(name, 'none')}"
        for name in names
        if then.get(name) != now.get(name)
    ]


def _largest_difference(old: object, new: object, features: Path, threads: int) -> tuple[float, int]:
    """Return how far two models' predictions of a held-out row differ at most, in the target's unit, and n rows."""
    description = read_json(features.with_suffix(".json"))
    kinds = description["features"]
    rows = read_rows(features, description["kinds"], list(kinds), "split", lambda split: split == "test", kinds)
    return float((predict(old, rows, threads) - predict(new, rows, threads)).abs().max()), len(rows)


def _why(name: str, document: SignOff, releases: Releases, features: Path, model: Path, threads: int) -> str:
    """Return the differences between a release and the retrained model, in words."""
    then = releases.json(name, document, "model.json")["versions"]
    now = read_json(model.with_suffix(".json"))["versions"]
    changed = _differences(then, now)
    if document["code"]["sha256"] != code_state()["sha256"]:
        commit = document["code"]["commit"]
        changed.append(f"the workflow's code{f' (then commit {commit})' if commit else ''}")
    found = f"What differs: {', '.join(changed)}." if changed else "No recorded version differs, so the machine may."
    try:
        old = releases.model_of(name, document, refit=model.stem == "refit")[0]
        new = load_model(model, sha256(model))
        most, rows = _largest_difference(old, new, features, threads)
    except TaskError as error:
        return f"{found} The predictions cannot be compared: {error}"
    return f"{found} Predictions of {rows} held-out rows differ by {most:.6g} at most."


def reproduce(name: str | None, rule: ReleaseConfig, threads: int) -> str:
    """Return one line that says that a release was reproduced with the same bytes.

    Parameters
    ----------
    name
        The release; by default the current one.
    rule
        The section `release` of the config: the release must be approved under it.
    threads
        How many cores to use, at most.

    Raises
    ------
    TaskError
        The bytes differ, the release keeps no data, or it is not whole.
    """
    releases = Releases()
    folder, document = releases.approved(name or releases.current(), rule)
    config = _config_of(folder, document)
    with tempfile.TemporaryDirectory(prefix="reproduce-") as scratch:
        features = _unpack_data(folder.name, document, releases, Path(scratch))
        model = Path(scratch, Path(model_path(config)).name)
        record = releases.json(folder.name, document, "model.json")
        _train_again(_training(config, record), features, model, threads)
        made = {model_path(config): model}
        # What the release holds: today's default may be another one.
        path = str(Path(model_path(config)).with_stem("refit"))
        if path in document["files"] and sha256(model) == document["files"][model_path(config)]:
            made[path] = Path(scratch, Path(path).name)
            _refit_again(config, features, model, folder / "evaluation_metrics.json", made[path], threads)
        for path, file in made.items():
            signed, found = document["files"][path], sha256(file)
            if found != signed:
                reasons = _why(folder.name, document, releases, features, file, threads)
                which = "the model" if file == model else "the model of all rows"
                other = f"{which} has other bytes ({found[:12]}, not {signed[:12]})"
                raise TaskError(f"{folder.name}: trained again, {other}. {reasons}")
    digests = " and ".join(document["files"][path] for path in made)
    have = "both models have" if len(made) > 1 else "the model has"
    return f"{folder.name}: trained again, {have} the same bytes (SHA-256 {digests})"


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    release_argument(parser)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="the most cores to use")
    config_argument(parser)
    args = parser.parse_args(argv)
    with command_line.logged("reproduce", args, args.release or "the current release"):
        config, _ = read_config(args.config)
        line = reproduce(args.release, config.release, args.threads)
        logging.info("[reproduce] %s", line)


if __name__ == "__main__":
    main()
