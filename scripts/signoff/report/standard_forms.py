"""What other tools read about a release: a model card, a CycloneDX bill of materials and in-toto Statements."""

from dataclasses import dataclass

from signoff.base.files import WORKFLOW, json_text, read_utf8
from signoff.release.bom import bill_of_materials
from signoff.release.facts import ReleaseFacts
from signoff.release.in_toto import envelopes, in_toto_statement
from signoff.report.model_card import model_card


@dataclass(frozen=True)
class _StandardForms:
    """The texts of the files: Markdown, JSON, and JSON lines for the envelopes, which are "" without signatures."""

    model_card: str
    bom: str
    statement: str
    envelopes: str


def standard_forms(facts: ReleaseFacts) -> _StandardForms:
    """Describe a release. The bill of materials contains the packages that the workflow pins now."""
    pins = read_utf8(WORKFLOW / "requirements.txt")
    return _StandardForms(
        model_card=model_card(facts),
        bom=json_text(bill_of_materials(facts, pins)),
        statement=json_text(in_toto_statement(facts)),
        envelopes=envelopes(facts),
    )
