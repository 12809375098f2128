"""Write a release in forms that other tools read: a model card, a CycloneDX BOM, in-toto Statements, an MLflow model.

    python scripts/attest.py [--release NAME] [--key PATH]

Run in the project's folder. The files are in attestations/<release>/. The same release gives the same bytes, except for
model_signing.sig, which is written only with a key.
"""

import logging
from pathlib import Path

from signoff.base import command_line
from signoff.base.config import Config
from signoff.base.files import delete_leftovers, discard, hidden_name, replacing
from signoff.config.settings import config_argument, read_config
from signoff.release.facts import ReleaseFacts, read_facts
from signoff.release.mlflow_model import write_mlflow_model
from signoff.release.model_signature import write_model_signature
from signoff.release.store import Releases, release_argument
from signoff.report.standard_forms import standard_forms

_FOLDER = Path("attestations")
_ENVELOPES = "sign_off.intoto.jsonl"
_SIGNATURE = "model_signing.sig"


def attest(config: Config, name: str | None = None, key: Path | None = None) -> Path:
    """Write the files and the MLflow model of a release, and envelopes of its signed decisions; return their folder.

    Parameters
    ----------
    config
        The config, of which `release` says who must have approved.
    name
        A release; by default the current one.
    key
        Sign the release's folder with this private key, for OpenSSF's model_signing.

    Raises
    ------
    TaskError
        The release does not verify, or is not approved, or cannot be signed with the key. Nothing is written then.
    """
    facts = read_facts(name or Releases().current(), config.release)
    forms = standard_forms(facts)
    texts = {"README.md": forms.model_card, "bom.cdx.json": forms.bom, "statement.intoto.json": forms.statement}
    if forms.envelopes:
        texts[_ENVELOPES] = forms.envelopes
    folder = _FOLDER / facts.name
    folder.mkdir(parents=True, exist_ok=True)
    delete_leftovers(folder)
    if key:
        write_model_signature(Releases().releases / facts.name, facts.files, key, folder / _SIGNATURE)
    for file, text in texts.items():
        with replacing(folder / file) as new:
            new.write_text(text, encoding="utf-8")
    _write_model(facts, config, folder / "mlflow_model")
    return folder


def _write_model(facts: ReleaseFacts, config: Config, folder: Path) -> None:
    """Write a release as an MLflow model, in place of an earlier one. A reader never sees half of it."""
    hidden = folder.with_name(hidden_name(folder.name))
    try:
        write_mlflow_model(hidden, facts.name, facts.document, facts.deploy["at"], config, Releases())
        discard(folder)
        hidden.rename(folder)
    finally:
        discard(hidden)


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    release_argument(parser)
    parser.add_argument("--key", type=Path, help="sign its folder for model_signing with this private key (PEM)")
    config_argument(parser)
    args = parser.parse_args(argv)
    with command_line.logged("attest", args, args.release or "the current release"):
        config, _ = read_config(args.config)
        folder = attest(config, args.release, args.key and args.key.expanduser())
        logging.info("[attest] completed: %s", folder)
        if not (folder / _ENVELOPES).is_file():
            logging.info("[attest] nothing of it is signed: the decisions are not, or are of an older version")


if __name__ == "__main__":
    main()
