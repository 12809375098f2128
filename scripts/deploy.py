"""Release the model that was signed off, and make it the current one.

    python scripts/deploy.py --sign-off reports/sign_off.json

Everything that was signed is copied to a folder of its own under deployed/releases/, checked there, and flushed to
disk; then the link deployed/current is moved. A model that is a release already becomes current again.
"""

import logging
import shutil
import time
from pathlib import Path

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import sha256
from signoff.config.settings import config_argument, read_config
from signoff.release.approval import (
    SIGN_OFF,
    check_decisions,
    check_subject,
    model_path,
    read_sign_off,
    released_as,
    utc_now,
)
from signoff.release.store import (
    DEPLOYED,
    RELEASES,
    append_history,
    approved_release,
    current_release,
    flush,
    locked,
    move_current,
    read_history,
    release_before,
    releases,
    remove,
    sweep,
)
from signoff.release.tracking import track


def deploy(sign_off: Path, config: dict, config_paths: list[str]) -> str:
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
    rule = config["release"]
    document = read_sign_off(sign_off)
    check_subject(document, config, config_paths)
    check_decisions(document, rule)
    digest = document["files"][model_path(config)]
    RELEASES.mkdir(parents=True, exist_ok=True)
    with locked("deploy"):
        history = read_history()
        sweep(history)
        current = current_release()
        name = same_model(digest, rule, history)
        last = next((entry["release"] for entry in reversed(history) if entry["action"] != "prune"), None)
        if name is not None and name == current == last:
            logging.info("[deploy] %s is this model, and current already: nothing to do", name)
            return name
        if name is None:
            name = new_name(digest)
            copy_release(sign_off, document, name)
        decisions = document["decisions"]
        append_history(
            "deploy",
            name,
            by=[each["reviewer"] for each in decisions],
            reason=[each["comment"] for each in decisions],
            override=[each["override"] for each in decisions if each["override"]],
            model_sha256=digest,
            sign_off_sha256=sha256(RELEASES / name / "sign_off.json"),
            **{"from": current},
        )
        move_current(name)
        prune(rule["keep"])
    return name


def new_name(digest: str) -> str:
    """Return the name of a new release: the time to the second, and the first digits of the model's digest."""
    while True:
        name = f"{utc_now().replace('-', '').replace(':', '')}-{digest[:12]}"
        if not (RELEASES / name).exists():
            return name
        time.sleep(0.1)


def same_model(digest: str, rule: dict, history: list[dict]) -> str | None:
    """Return the release of that model, where there is one that is whole and approved under today's rule."""
    for name in reversed(releases(history)):
        if name.endswith(f"-{digest[:12]}"):
            try:
                approved_release(name, rule)
                return name
            except TaskError as error:
                logging.warning("[deploy] %s has this model, but cannot be used again: %s", name, error)
    return None


def copy_release(sign_off: Path, document: dict, name: str) -> None:
    """Copy what was signed to a new release, which is seen when all of it is there, checked, and on disk."""
    hidden = RELEASES / f".{name}.part"
    hidden.mkdir()
    try:
        for path, digest in document["files"].items():
            if released_as(path) is None:
                continue
            copy = hidden / released_as(path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            if sha256(copy) != digest:
                raise TaskError(
                    f"{path} changed while it was copied: does a run go on? Wait for it, and sign off again."
                )
        shutil.copyfile(sign_off, hidden / "sign_off.json")
        if read_sign_off(hidden / "sign_off.json") != document:
            raise TaskError(f"{sign_off} changed while it was copied. Run make deploy again.")
    except BaseException:
        # Such as a full disk, which half a release would help to stay full.
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    for path in (*hidden.rglob("*"), hidden):
        flush(path)
    hidden.rename(RELEASES / name)
    flush(RELEASES)


def prune(keep: int | None) -> None:
    """Delete the oldest releases but for `keep`, never the current one and never the one before."""
    if keep is None:
        return
    history, current = read_history(), current_release()
    names = releases(history)
    for name in names[: max(0, len(names) - keep)]:
        if name not in (current, release_before(current, history)):
            append_history("prune", name, reason=f"release.keep: {keep}")
            remove(RELEASES / name)
            logging.info("[deploy] pruned the release %s (release.keep: %d)", name, keep)


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--sign-off", type=Path, default=SIGN_OFF, help="what make sign-off wrote")
    config_argument(parser)
    args = parser.parse_args(argv)
    with command_line.logged("deploy", args, args.sign_off):
        config, paths = read_config(args.config)
        name = deploy(args.sign_off, config, paths)
        logging.info("[deploy] completed. Current release: %s", RELEASES / name)
        before = release_before(name, read_history())
        back = f"make rollback goes back to {before}" if before else "it is the first: there is none to go back to"
        logging.info("[deploy] %s/current points to it; %s", DEPLOYED, back)
        if config["tracking"]["mlflow_uri"]:
            track(config)


if __name__ == "__main__":
    main()
