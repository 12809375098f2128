"""Release the model that was signed off, and make it the current one.

    python scripts/deploy.py --sign-off reports/sign_off.json

Everything that was signed is copied to a folder of its own under deployed/releases/, checked there, and flushed to
disk; then the link deployed/current is moved. A model that is a release already becomes current again. In a project
with many models, all that are signed are released, each in its own folder.
"""

import contextlib
import hashlib
import logging
import shutil
import stat
import time
from collections import Counter
from pathlib import Path

from signoff.base import command_line
from signoff.base.config import Config, ReleaseConfig
from signoff.base.errors import TaskError, explain
from signoff.base.files import hidden_name, only_file
from signoff.config.settings import config_argument, read_config
from signoff.ops.many import has_many_models, model_folders
from signoff.ops.overview import update_index
from signoff.ops.status import next_step
from signoff.release import kept_data
from signoff.release.approval import (
    DIAGNOSTICS,
    READ_AGAIN,
    REPORT,
    SIGN_OFF,
    check_age,
    check_approval,
    check_new,
    check_policy_owner,
    check_subject,
    model_path,
    read_sign_off,
    refit_path,
    released_as,
    reviewed_bytes,
    serialised,
    utc_now,
)
from signoff.release.form import Move, SignOff
from signoff.release.store import (
    Releases,
    evaluated,
    flush,
    kept_releases,
    last_move,
    predicts_with,
    release_before,
    signed_by,
)
from signoff.release.tracking import track


def deploy(sign_off: Path, config: Config, config_paths: list[str]) -> str:
    """Return the name of the release that is current afterwards.

    Parameters
    ----------
    sign_off
        What make sign-off wrote.
    config, config_paths
        The config, and the files that it was read from.

    Raises
    ------
    TaskError
        The sign-off is missing, rejected, altered, not of these files, or not by those who must sign; or the history
        was altered. Nothing has changed then.
    """
    rule = config.release
    document = read_sign_off(sign_off)
    check_new(document, sign_off)
    check_policy_owner(config_paths, rule)
    check_subject(document, config, config_paths)
    check_approval(document, rule, reviewed_bytes(DIAGNOSTICS, document["files"]))
    digest, refit = document["files"][model_path(config)], refit_path(config)
    served = document["files"][refit] if refit else digest
    releases = Releases()
    with releases.locked("deploy"):
        releases.releases.mkdir(parents=True, exist_ok=True)
        history = releases.history()
        releases.sweep(history)
        current, move = releases.current(), last_move(history)
        name, released = _same_model(digest, served, rule, history, releases) or (None, document)
        if name is not None and move is not None and name == current == move["release"]:
            logging.info("[deploy] %s is this model, and current already: nothing to do", name)
            return name
        if rule.valid_days:
            # Without it, a clock that is set back stops nothing.
            check_age(document["decisions"], rule)
        _check_place(document, name, history, releases)
        data: list[str] = []
        if name is None:
            name = _new_name(digest, releases)
            # First, so that a release that the history names has its data.
            data = _keep_data(document, config, releases)
            _copy_release(document, releases.releases / name)
        decisions = document["decisions"]
        releases.append(
            "deploy",
            name,
            by=[each["reviewer"] for each in decisions],
            reason=[each["comment"] for each in decisions],
            override=[each["override"] for each in decisions if each["override"]],
            model_sha256=digest,
            sign_off_sha256=_digest_of(released),
            **{"from": current, **({"data": data} if data else {})},
        )
        releases.move_to(name)
        _prune(rule.keep, releases)
        kept_data.tidy(releases, releases.history())
    return name


def _check_place(document: SignOff, name: str | None, history: list[Move], releases: Releases) -> None:
    """Raise TaskError if a sign-off is of another project, or was made before another release than the last one.

    Parameters
    ----------
    document
        The sign-off.
    name
        The intact release of this very model, as `same_model` returns it; None if there is none.
    history, releases
        The history, and where the release goes.
    """
    if document["project"] != releases.project():
        raise TaskError(
            f"the sign-off was made for another project than this one ({releases.identity_file}). {READ_AGAIN}"
        )
    before, move = document["predecessor"], last_move(history)
    last = move["release"] if move else None
    # A deploy that was killed before the link was moved is finished, and a damaged release is rebuilt, by the sign-off
    # that has released it. Another sign-off of the same evaluated model, with another refit for example, is not enough.
    again = last is not None and (name == last or signed_by(last, history) == _digest_of(document))
    if before != last and not again:
        raise TaskError(
            f"the sign-off was made when {before or 'nothing'} was deployed, but now {last or 'nothing'} is: it was "
            f"superseded. {READ_AGAIN}"
        )


def _digest_of(document: SignOff) -> str:
    """Return the SHA-256 of a sign-off's file."""
    return hashlib.sha256(serialised(document)).hexdigest()


def _new_name(digest: str, releases: Releases) -> str:
    """Return the name of a new release: the time to the second, and the first digits of the model's digest."""
    while True:
        name = f"{utc_now().replace('-', '').replace(':', '')}-{digest[:12]}"
        if not (releases.releases / name).exists():
            return name
        time.sleep(0.1)


def _same_model(
    digest: str, served: str, rule: ReleaseConfig, history: list[Move], releases: Releases
) -> tuple[str, SignOff] | None:
    """Return the release of that model, and its sign-off, if one is whole and approved under today's rule.

    `digest` is that of the evaluated model, and `served` that of the one that the release predicts with.
    """
    for name in reversed(kept_releases(history)):
        if name.endswith(f"-{digest[:12]}"):
            try:
                document = releases.approved(name, rule)[1]
                files = {released_as(path): digest for path, digest in document["files"].items()}
                if (files[evaluated(files)], files[predicts_with(files)]) == (digest, served):
                    return name, document
            except TaskError as error:
                logging.warning("[deploy] %s has this model, but cannot be used again: %s", name, error)
    return None


def _keep_data(document: SignOff, config: Config, releases: Releases) -> list[str]:
    """Keep the training data of a new release, if it shall; return the names of the files in deployed/data."""
    wish = config.release.keep_data
    if config.model.passes:
        if wish:
            logging.warning("[deploy] the training data are not kept: with model.passes, the sample alone is signed")
        return []
    return kept_data.keep(document, wish, releases)


def _copy_release(document: SignOff, folder: Path) -> None:
    """Copy what was signed to a new release, which is seen when all of it is there, checked, and on disk."""
    hidden = folder.with_name(hidden_name(folder.name))
    # A file may have been replaced by a link to another one since it was checked: nobody else reads what has not the
    # digest that was signed.
    hidden.mkdir(0o700)
    try:
        for path, digest in document["files"].items():
            place = released_as(path)
            if place is None:
                continue
            copy = hidden / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            if _copied(Path(path), copy) != digest:
                raise TaskError(
                    f"{path} changed while it was copied: does a run go on? Wait for it, and sign off again."
                )
        with open(hidden / "sign_off.json", "xb") as file:
            file.write(serialised(document))
    except BaseException:
        # For example, the disk is full, and half a release would help to keep it full.
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    hidden.chmod(stat.S_IMODE(folder.parent.stat().st_mode))
    for each in (*hidden.rglob("*"), hidden):
        flush(each)
    hidden.rename(folder)
    flush(folder.parent)


def _copied(path: Path, copy: Path) -> str:
    """Copy a file to one that does not exist yet; return the SHA-256 of the bytes that were copied."""
    digest = hashlib.sha256()
    with open(path, "rb", opener=only_file) as source, open(copy, "xb") as target:
        while piece := source.read(1 << 20):
            digest.update(piece)
            target.write(piece)
    return digest.hexdigest()


def _prune(keep: int | None, releases: Releases) -> None:
    """Delete the oldest releases but for `keep`, never the current one and never the one before."""
    if keep is None:
        return
    history, current = releases.history(), releases.current()
    names = kept_releases(history)
    for name in names[: max(0, len(names) - keep)]:
        if name not in (current, release_before(current, history)):
            releases.append("prune", name, reason=f"release.keep: {keep}")
            releases.remove(name)
            logging.info("[deploy] pruned the release %s (release.keep: %d)", name, keep)


def _deploy_all(config: Config) -> None:
    """Release every model that is signed and not deployed yet, each in its own folder.

    Raises
    ------
    TaskError
        A model could not be deployed, or no sign-off waits for its deployment; the others are deployed.
    """
    folders, waiting = model_folders(config), Counter[str]()
    failed: dict[str, str] = {}
    for folder in folders:
        with contextlib.chdir(folder):
            try:
                releases = Releases()
                step = next_step(releases.current(), releases.history())
                waiting[step.waits] += 1
                if step.waits == "deploy":
                    own, paths = read_config()
                    logging.info("[deploy] %s: current release: %s", folder.name, deploy(SIGN_OFF, own, paths))
            except (TaskError, OSError) as error:
                failed[folder.name] = explain(error)
                logging.warning("[deploy] %s: %s", folder.name, failed[folder.name])
    update_index()
    signed = waiting["deploy"]
    if failed:
        first = next(iter(failed))
        raise TaskError(f"{len(failed)} of {len(folders)} models were not deployed, such as {first}: {failed[first]}")
    if not signed and waiting.keys() - {"nothing"}:
        raise TaskError(f"no model is signed and not deployed yet. Read {REPORT}, then run make sign-off.")
    others = sum(waiting.values()) - signed - waiting["nothing"]
    logging.info("[deploy] completed. Models: %d, deployed: %d, not signed: %d", len(folders), signed, others)


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--sign-off", type=Path, default=SIGN_OFF, help="what make sign-off wrote")
    config_argument(parser)
    args = parser.parse_args(argv)
    with command_line.logged("deploy", args, args.sign_off):
        config, paths = read_config(args.config)
        if has_many_models(config):
            _deploy_all(config)
            return
        releases = Releases()
        name = deploy(args.sign_off, config, paths)
        logging.info("[deploy] completed. Current release: %s", releases.releases / name)
        before = release_before(name, releases.history())
        back = f"make rollback goes back to {before}" if before else "it is the first: there is none to go back to"
        logging.info("[deploy] %s/current points to it; %s", releases.folder, back)
        update_index()
        if config.tracking.mlflow_uri:
            track(config)


if __name__ == "__main__":
    main()
