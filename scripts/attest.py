"""Describe a release in forms that other tools read: a model card, a CycloneDX BOM and an in-toto Statement.

    python scripts/attest.py [--release NAME]

Run in the project's folder. The files are in attestations/<release>/. The same release gives the same bytes.
"""

import logging
from pathlib import Path

from signoff.base import command_line
from signoff.base.files import replacing
from signoff.config.settings import config_argument, read_config
from signoff.release.approval import Rule
from signoff.release.facts import read_facts
from signoff.release.store import Releases
from signoff.report.standard_forms import standard_forms

FOLDER = Path("attestations")


def attest(rule: Rule, name: str | None = None) -> Path:
    """Write the three files of a release; return their folder.

    Parameters
    ----------
    rule
        The section `release` of the config.
    name
        A release; by default the current one.

    Raises
    ------
    TaskError
        The release does not verify, or is not approved under `rule`. Nothing is written then.
    """
    facts = read_facts(name or Releases().current(), rule)
    forms = standard_forms(facts)
    texts = {"README.md": forms.model_card, "bom.cdx.json": forms.bom, "statement.intoto.json": forms.statement}
    folder = FOLDER / facts.name
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        with replacing(folder / file) as new:
            new.write_text(text, encoding="utf-8")
    return folder


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--release", help="its name; the current one if not given")
    config_argument(parser)
    args = parser.parse_args(argv)
    with command_line.logged("attest", args, args.release or "the current release"):
        config, _ = read_config(args.config)
        folder = attest(config["release"], args.release and Path(args.release).name)
        logging.info("[attest] completed. The files are not signed: %s", folder)


if __name__ == "__main__":
    main()
