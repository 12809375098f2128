"""The page in a browser for a decision: its content, and the handling of its forms."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from signoff.base.config import Config, ReleaseConfig
from signoff.base.errors import TaskError, explain
from signoff.base.files import parsed_json, read_bytes
from signoff.config.settings import read_config
from signoff.ops.overview import update_index
from signoff.release.approval import DIAGNOSTICS, METRICS, PAGE, canonical, read_sign_off, reviewed_bytes
from signoff.release.decision import decide, without_commit
from signoff.release.detached import take_statement, write_statement
from signoff.release.form import Decision, Given, Subject
from signoff.release.live_record import read_live, warnings
from signoff.release.records import Diagnostics, Metrics
from signoff.release.side_by_side import problem_or
from signoff.release.signing import Written, write_decision
from signoff.release.subject import review, summary_lines
from signoff.report.decision_box import decision, decision_box
from signoff.report.document import (
    Alarm,
    Block,
    Box,
    Code,
    Download,
    Field,
    Form,
    Frame,
    Items,
    Link,
    Part,
    Section,
    Table,
    Words,
)
from signoff.report.judged import alarm_blocks, threshold_blocks
from signoff.report.live import live_figure, live_section
from signoff.report.page import page

# The permissions of the page in its content security policy.
_POLICY = "; frame-src 'self'; form-action 'self'; base-uri 'none'"
_GIVEN = ("reviewer", "decision", "comment", "override")


@dataclass
class Desk:
    """What the page works on: a project's config files, and its sign-off. `notices` are shown once."""

    config_paths: list[str] | None
    sign_off: Path
    notices: list[Part] = field(default_factory=list)

    def show(self, problem: str | None = None, given: Mapping[str, str] | None = None) -> str:
        """Return the page as HTML, with what went wrong and what was typed before."""
        parts, self.notices = self.notices, []
        if problem:
            parts = [Box("bad", "✗ Nothing was written", [problem], {}), *parts]
        try:
            config, paths = read_config(self.config_paths)
            subject = review(config, paths)
            title, more = f"Decide: {config.target}", _parts(config, subject, self.sign_off, given or {})
        except (TaskError, OSError) as error:
            title, more = "Decide", [Box("bad", "✗ There is nothing to decide on", [explain(error)], {})]
        # A statement that has just been written comes with the form for its signature.
        titles = [each.title for each in parts if isinstance(each, Section)]
        more = [each for each in more if not isinstance(each, Section) or each.title not in titles]
        return page(title, [*parts, *more], _POLICY)

    def report(self) -> bytes:
        """Return the report, with the digest that would be signed."""
        config, paths = read_config(self.config_paths)
        return reviewed_bytes(PAGE, review(config, paths)["files"])

    def take(self, action: str, given: Mapping[str, str]) -> None:
        """Do what a form asks for: "decide", "statement" or "signature".

        Parameters
        ----------
        action
            The address of the form.
        given
            Its fields. `subject` is the digest of what the page has shown.

        Raises
        ------
        TaskError
            As `write_decision` and `write_statement`; or the files are not those that the page has shown.
        """
        config, paths = read_config(self.config_paths)
        subject, rule = review(config, paths), config.release
        # Browsers end the lines of a form's text with CR and LF.
        fields = {name: value.replace("\r\n", "\n") for name, value in given.items()}
        words = cast(Given, {name: fields.get(name, "") for name in _GIVEN})
        if action != "signature" and fields.get("subject") != _digest(subject):
            raise TaskError("a file has changed since this page was opened. Read the report again, then decide.")
        if words["decision"] not in ("approve", "reject") and action != "signature":
            raise TaskError("the decision is missing. Choose approve or reject.")
        if action == "statement":
            path, text = write_statement(subject, words, self.sign_off, None, rule)
            self.notices = _to_sign(path, read_bytes(path), text)
            return
        if action == "decide":
            written = write_decision(
                subject, config, paths, self.sign_off, lambda: decide(subject, words, self.sign_off, rule, None)
            )
        else:
            content, path = fields.get("statement", "").strip().encode(), Path("the text")
            signature = f"{fields.get('signature', '').strip()}\n"
            written = write_decision(
                subject,
                config,
                paths,
                self.sign_off,
                lambda: take_statement(content, signature, path, subject, self.sign_off, rule),
            )
        update_index()
        self.notices = [_after(written, self.sign_off)]


def _digest(subject: Subject) -> str:
    """Return the digest by which a form identifies the subject of the decision."""
    return hashlib.sha256(canonical(without_commit(subject))).hexdigest()


def _after(written: Written, sign_off: Path) -> Box:
    """Return the box that says what was written, and what comes next."""
    one = written.decision
    signed = "with a signature" if one["signature"] else "without a signature: it is as trustworthy as this folder"
    blocks: list[Block] = [f"{one['reviewer']}: {one['decision']} was written to {sign_off}, {signed}."]
    if written.not_yet:
        blocks.append(f"It cannot be deployed yet: {written.not_yet}")
    else:
        blocks.append(["Next: ", Code("make deploy"), "."])
    return Box("doubt" if written.not_yet else "good", f"✓ The decision of {one['reviewer']} was written", blocks, {})


def _to_sign(path: Path, content: bytes, text: str) -> list[Part]:
    """Return the section with a statement to sign, and the form that takes the signature."""
    sign = Code(f"ssh-keygen -Y sign -f KEY -n signoff {path.name}")
    steps: list[Words] = [
        "Save the statement. It holds the decision and the digest of everything that was reviewed.",
        ["Sign it where your key is; the key does not come here: ", sign],
        f"Bring back {path.name}.sig below.",
    ]
    about: list[Words] = [Code(line) for line in text.splitlines()[:4]]
    return [
        Section("Sign the statement", [Items(steps), Download(path.name, content), Items(about)]),
        Section("Bring the signature", [_signature_form(content.decode())]),
    ]


def _signature_form(statement: str = "") -> Form:
    fields = [
        Field("statement", "Statement", "file", statement, "The file that was signed, unchanged"),
        Field("signature", "Signature", "file", "", "The file .sig that ssh-keygen has written"),
    ]
    return Form("signature", {}, fields, "Take the signature")


def _parts(config: Config, subject: Subject, sign_off: Path, given: Mapping[str, str]) -> list[Part]:
    """Return the part of the page on a model that waits for a decision."""
    files = subject["files"]
    metrics = cast(Metrics, parsed_json(reviewed_bytes(METRICS, files), Path(METRICS)))
    diagnostics = cast(Diagnostics, parsed_json(reviewed_bytes(DIAGNOSTICS, files), Path(DIAGNOSTICS)))
    live, release = read_live(), subject["predecessor"]
    told = warnings(live, release)
    parts: list[Part] = []
    try:
        parts.append(decision_box(decision(metrics, diagnostics, told)))
    except (TaskError, KeyError):
        # Diagnostics of an older form.
        parts.append(f"Verdict: {subject['verdict']}")
    parts.append([Link("Read the report", "report"), " in full before you decide."])
    parts.append(Section("Thresholds", threshold_blocks(metrics["thresholds"])))
    found = subject["alarms"]
    parts.append(Section("Alarms", alarm_blocks(cast(Any, found)) if found else ["No alarm was raised."]))
    parts.append(Section("What is decided on", [_summary(subject)]))
    parts.append(Section("Changes since the release", _changes(subject)))
    if live:
        section, figure = live_section(live), live_figure(live)
        parts.append(Section(section.title, [*([figure] if figure else []), *section.blocks]))
    parts.append(Section("Report", [[Link("Open the report by itself", "report"), "."], Frame("The report", "report")]))
    parts.append(Section("Decisions so far", [_decisions(subject, sign_off, config.release)]))
    doubts = [*subject["failures"], *(each["name"] for each in found)]
    if not config.release.allowed_signers:
        parts.append(Section("Decide", [_form("decide", "Write the decision", subject, doubts, given)]))
        return parts
    keys = "This project asks for signatures. Your key never comes here: you sign a statement where your key is."
    form = _form("statement", "Write the statement to sign", subject, doubts, given)
    parts.append(Section("Decide", [keys, form]))
    parts.append(Section("Bring the signature", [_signature_form(given.get("statement", ""))]))
    return parts


def _form(action: str, button: str, subject: Subject, doubts: list[str], given: Mapping[str, str]) -> Form:
    """Return the form of a decision."""
    fields = [
        Field("reviewer", "Your name", "text", given.get("reviewer", "")),
        Field(
            "decision",
            "Decision",
            "choice",
            given.get("decision", ""),
            choices=(("approve", "Approve"), ("reject", "Reject")),
        ),
        Field("comment", "Comment", "area", given.get("comment", ""), "What you have looked at, and why you decide so"),
    ]
    if doubts:
        hint = f"To approve, say why it is approved in spite of: {'; '.join(doubts)}"
        fields.append(Field("override", "Reason to override", "area", given.get("override", ""), hint, required=False))
    return Form(action, {"subject": _digest(subject)}, fields, button)


def _summary(subject: Subject) -> Table:
    """Return the summary that the terminal shows too, as a table."""
    rows: list[list[Words]] = []
    for line in summary_lines(subject):
        name, words = line[:12].strip(), line[12:]
        # The scores are right-aligned below their heading.
        if not line[:4].strip() and rows:
            rows[-1][1] = f"{rows[-1][1]}\n{line.strip()}"
        else:
            rows.append([name, words])
    return Table("Summary", ["what", "is"], rows)


def _changes(subject: Subject) -> list[Block]:
    """Return the tables of changes since the release."""
    found = problem_or(subject)
    if isinstance(found, str):
        return [Alarm(f"Unknown: {found}")]
    if not found:
        return ["Nothing is deployed yet: this would be the first release."]
    blocks: list[Block] = []
    for kind, changes in found.items():
        rows: list[list[Words]] = [[each.name, each.then, each.now] for each in changes]
        table = Table(kind, [kind, f"then ({subject['predecessor']})", "now"], rows)
        blocks.append(table if rows else f"{kind}: no change.")
    return blocks


def _decisions(subject: Subject, sign_off: Path, rule: ReleaseConfig) -> Block:
    """Return the table of the decisions on the same files."""
    decisions: list[Decision] = []
    if sign_off.is_file():
        try:
            document = read_sign_off(sign_off)
            decisions = document["decisions"] if without_commit(document) == without_commit(subject) else []
        except TaskError as error:
            return Alarm(str(error))
    needed = f"{rule.required_approvals} needed (release.required_approvals)"
    if not decisions:
        return f"Nobody has decided yet; {needed}."
    rows: list[list[Words]] = [
        [each["reviewer"], each["decision"], each["comment"], each["override"] or "", each["signed_at"]]
        for each in decisions
    ]
    return Table(f"Decisions, {needed}", ["reviewer", "decision", "comment", "override", "at"], rows)
