"""What is signed cannot be moved or changed: each place of a sign-off, a signature and a history, changed at random."""

import base64
import copy
import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import google.protobuf.json_format
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import Key

from signoff.base.config import ReleaseConfig
from signoff.base.errors import TaskError
from signoff.release.approval import (
    _check_decisions,
    canonical,
    check_names,
    check_new,
    parse_sign_off,
    released_as,
    serialised,
    statement,
)
from signoff.release.detached import _parse_statement
from signoff.release.envelope import envelope, pae, payload_of
from signoff.release.form import is_line, strict_json
from signoff.release.signature import _is_canonical, names_of, person_of, sign, verify_signature
from signoff.release.store import Releases

SIGN_OFF = Path("reports/sign_off.json")
NAMES = ("ada", "bob")
STORE = Releases()
SUBJECT = {
    "version": 3,
    "project": "ab" * 16,
    "predecessor": "20260101T000000Z-0123456789ab",
    "files": {"model/model.pkl": "1" * 64, "reports/final_report.md": "2" * 64, "config.yaml": "3" * 64},
    "code": {"commit": "c" * 40, "clean": True, "sha256": "4" * 64},
    "verdict": "failed",
    "failures": ["threshold mae_max 1: MAE is 1.5000", "another"],
    "alarms": [{"name": "drift", "feature": "x", "sentence": "x has moved."}],
}
NESTED = {key: value for key, value in SUBJECT.items() if key != "alarms"} | {"version": 2}
OLD = {key: value for key, value in NESTED.items() if key not in ("project", "predecessor")}
OLD |= {"version": 1, "compared_with": SUBJECT["predecessor"]}
LINES = [
    {"action": "deploy", "by": ["ada"], "reason": ["r"], "override": [], "model_sha256": "5" * 64, "from": None},
    {"action": "rollback", "by": ["root"], "reason": ["r"], "from": "20260101T000000Z-0123456789ab"},
    {"action": "prune", "reason": "release.keep: 1"},
]
LINES[0]["sign_off_sha256"] = "6" * 64
MANY = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
LEAVES = st.one_of(
    *(
        st.none(),
        st.booleans(),
        st.integers(),
        st.text(max_size=5),
        st.sampled_from(["approve", "reject", "ada", "bob"]),
    ),
    *(st.just({}), st.just([]), st.just(1.0), st.sampled_from(["1" * 64, "passed"])),
)


def key_pair(folder: Path, name: str) -> str:
    # Bob's is a key on an elliptic curve of NIST's.
    kind = "ecdsa" if name == "bob" else "ed25519"
    command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(folder / name)]
    subprocess.run(command, check=True)
    return (folder / f"{name}.pub").read_text("utf-8")


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    """Keys of Ada and Bob, and a second one of Ada's, and the file that lists them."""
    folder = tmp_path_factory.mktemp("keys")
    public = {name: key_pair(folder, name) for name in (*NAMES, "second")}
    lines = [f"ada {public['ada']}", f"bob {public['bob']}", f"ada,ada@home {public['second']}"]
    (folder / "signers").write_text("".join(lines), encoding="utf-8")
    return folder


def rule(keys: Path) -> ReleaseConfig:
    return ReleaseConfig(str(keys / "signers"), 2)


def decided(subject: dict, keys: Path, name: str, key: str | None = None) -> dict:
    decision = {"reviewer": name, "decision": "approve", "comment": "fine", "override": "it must be"}
    decision["signed_at"] = "2026-01-05T03:00:00Z"
    if subject["version"] == 3:
        decision["valid_until"] = "2026-02-05T03:00:00Z"
    return {**decision, "signature": sign(statement(subject, decision), keys / (key or name))}


@pytest.fixture(scope="module")
def signed(keys) -> dict:
    """A sign-off with two good signatures."""
    return {**SUBJECT, "decisions": [decided(SUBJECT, keys, name) for name in NAMES]}


def accepted(content: bytes, keys: Path) -> bool:
    """Return whether a sign-off would be released, as far as its form and its signatures decide."""
    try:
        document = parse_sign_off(content, SIGN_OFF)
        check_new(document, SIGN_OFF)
        _check_decisions(document, rule(keys))
    except TaskError:
        return False
    return True


def places(value: object, where: tuple = ()) -> list[tuple]:
    """Return the way to each value within a nested value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way for key, each in items for way in [(*where, key), *places(each, (*where, key))]]


def changed(value: dict, data) -> dict:
    """Return a nested value with one place changed, removed, added to, or moved to another object."""
    value = copy.deepcopy(value)
    *way, last = data.draw(st.sampled_from(places(value)))
    inner = value
    for key in way:
        inner = inner[key]
    how = data.draw(st.sampled_from(["replace", "delete", "add", "move", "text"]))
    if how == "replace":
        inner[last] = data.draw(LEAVES)
    elif how == "delete":
        del inner[last]
    elif how == "add" and isinstance(inner, dict):
        inner[data.draw(st.one_of(st.text(max_size=5), st.sampled_from(["files", "subject", "version"])))] = inner[last]
    elif how == "move":
        value[str(last)] = inner[last]
    elif isinstance(inner[last], str) and inner[last]:
        text, at = inner[last], data.draw(st.integers(0, len(inner[last]) - 1))
        inner[last] = text[:at] + data.draw(st.characters(codec="utf-8")) + text[at + data.draw(st.booleans()) :]
    return value


def test_what_was_signed_is_accepted(signed, keys):
    assert accepted(serialised(signed), keys)


@MANY
@given(st.data())
def test_no_changed_place_of_a_sign_off_is_accepted(signed, keys, data):
    other = changed(signed, data)
    try:
        content = serialised(other)
    except ValueError:
        return
    assert accepted(content, keys) == (content == serialised(signed)), other


def each_change(value: dict, where: tuple = ()) -> Iterator[tuple[str, dict]]:
    """Yield what was changed, and the nested value with that one change: each place, in each of some ways."""
    for *way, last in [*places(value), ("",)]:
        for how in (
            "delete",
            "unknown",
            "twice",
            "null",
            "empty",
            "list",
            "longer",
            "shorter",
            "case",
            "number",
            "other",
        ):
            other = copy.deepcopy(value)
            inner = other
            for key in way:
                inner = inner[key]
            old = inner.get(last) if isinstance(inner, dict) else inner[last]
            if how == "unknown" and isinstance(inner, dict):
                inner["unknown"] = old
            elif how == "delete" and last != "":
                del inner[last]
            elif how == "twice" and isinstance(inner, list):
                inner.append(old)
            elif last != "":
                text = old if isinstance(old, str) else ""
                inner[last] = (
                    {
                        "null": None,
                        "empty": type(old)(),
                        "list": [old],
                        "number": 1.0,
                        "other": "1" * 64,
                        "longer": f"{text} x",
                        "shorter": text[:-1],
                        "case": text.swapcase(),
                    }.get(how, old)
                    if old is not None or how in ("other", "list", "number")
                    else "x"
                )
            if other != value:
                yield f"{how} {'.'.join(map(str, (*way, last)))}", other


def test_each_place_of_a_sign_off_changed_in_each_way_is_refused(signed, keys):
    found = list(each_change(signed))
    assert len(found) > 200
    for what, other in found:
        try:
            content = serialised(other)
        except ValueError:
            continue
        assert not accepted(content, keys), what


def test_each_key_of_a_sign_off_that_is_there_twice_is_refused(signed, keys):
    lines = serialised(signed).splitlines(keepends=True)
    keyed = [number for number, line in enumerate(lines) if line.rstrip().endswith(b",") and b'": ' in line]
    assert len(keyed) > 15
    for number in keyed:
        assert not accepted(b"".join([*lines[:number], lines[number], *lines[number:]]), keys), lines[number]


@MANY
@given(st.data())
def test_no_changed_byte_of_a_sign_off_is_accepted(signed, keys, data):
    content = bytearray(serialised(signed))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    assert not accepted(bytes(content), keys)


@MANY
@given(st.data())
def test_no_changed_signature_is_accepted_whatever_openssh_reads(signed, keys, data):
    document = copy.deepcopy(signed)
    decision = document["decisions"][data.draw(st.integers(0, 1))]
    text = decision["signature"]
    how = data.draw(st.sampled_from(["text", "before", "after", "blob", "longer"]))
    body = "".join(text.splitlines()[1:-1])
    if how in ("before", "after"):
        more = data.draw(st.text(min_size=1, max_size=5))
        decision["signature"] = more + text if how == "before" else text + more
    elif how == "text":
        at = data.draw(st.integers(0, len(text) - 1))
        decision["signature"] = text[:at] + data.draw(st.sampled_from("\n A=")) + text[at:]
    else:
        blob = bytearray(base64.b64decode(body))
        if how == "blob":
            blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
        else:
            blob += data.draw(st.binary(min_size=1, max_size=5))
        decision["signature"] = armored(bytes(blob))
    assert not accepted(serialised(document), keys)


def armored(blob: bytes) -> str:
    text = base64.b64encode(blob).decode()
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


def test_a_second_writing_of_one_signature_is_not_canonical(signed):
    text = signed["decisions"][0]["signature"]
    blob = base64.b64decode("".join(text.splitlines()[1:-1]))
    assert armored(blob) == text and _is_canonical(text)
    # The number of Ed25519, with the group's order added, is the same number to a verifier that does not look.
    order = 2**252 + 27742317777372353535851937790883648493
    higher = (int.from_bytes(blob[-32:], "little") + order).to_bytes(32, "little")
    assert not _is_canonical(armored(blob[:-32] + higher))
    # A reserved field that OpenSSH does not look at.
    place = blob.index(b"\0\0\0\x07signoff") + 11
    assert blob[place : place + 4] == b"\0\0\0\0"
    assert not _is_canonical(armored(blob[:place] + b"\0\0\0\x01x" + blob[place + 4 :]))


# A public key on a hardware token (in software here), and its signature of "A decision.\n", by kind of key.
HARDWARE = {
    "sk-ssh-ed25519@openssh.com": (
        "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIO1uGgyRYXfAVMe+bMZEpZEEdrI7axygygCg9W5RUluvAAAABHNzaDo=",
        "U1NIU0lHAAAAAQAAAEoAAAAac2stc3NoLWVkMjU1MTlAb3BlbnNzaC5jb20AAAAg7W4aDJFhd8BUx75sxkSlkQR2sjtrHKDKAKD1"
        "blFSW68AAAAEc3NoOgAAAAdzaWdub2ZmAAAAAAAAAAZzaGE1MTIAAABnAAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAA"
        "QFdWGqsZXK1gVh2BdmdjtOXVIjZ+orYC0OFP3/YdXqLt3VoCiLb6BqaZEinnTfb1A2PcZ08TlUvoI9tUsXMaEggBEjRWeA==",
    ),
    "sk-ecdsa-sha2-nistp256@openssh.com": (
        "AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYAAABBBP7L0CISXSROamysZA1PznDM0cg1"
        "vz62ug+CxKtUxX6hdu77UTG8ox3S0Azy1m7ausBdAhgTxiidapSur/qv0GEAAAAEc3NoOg==",
        "U1NIU0lHAAAAAQAAAH8AAAAic2stZWNkc2Etc2hhMi1uaXN0cDI1NkBvcGVuc3NoLmNvbQAAAAhuaXN0cDI1NgAAAEEE/svQIhJd"
        "JE5qbKxkDU/OcMzRyDW/Pra6D4LEq1TFfqF27vtRMbyjHdLQDPLWbtq6wF0CGBPGKJ1qlK6v+q/QYQAAAARzc2g6AAAAB3NpZ25v"
        "ZmYAAAAAAAAABnNoYTUxMgAAAHgAAAAic2stZWNkc2Etc2hhMi1uaXN0cDI1NkBvcGVuc3NoLmNvbQAAAEkAAAAhAI8hND/sBKDw"
        "R/+L0Nrjt4AwxE+L3G26ZusaaciKO2bbAAAAIGAF8r6bSh68tjTNhmhypTNf6DntcGSYCrbcxPT4cgHnARI0Vng=",
    ),
}


@pytest.mark.parametrize("kind", HARDWARE)
def test_a_signature_by_a_hardware_key_is_accepted(tmp_path, kind):
    key, signature = HARDWARE[kind]
    (tmp_path / "signers").write_text(f'ada namespaces="signoff" {kind} {key}\n', encoding="utf-8")
    decision = {"reviewer": "ada", "signature": armored(base64.b64decode(signature))}
    assert verify_signature(b"A decision.\n", decision, tmp_path / "signers", None).startswith("SHA256:")
    with pytest.raises(TaskError):
        verify_signature(b"A decision,\n", decision, tmp_path / "signers", None)
    blob = bytearray(base64.b64decode(signature))
    # The counter of the token is signed, too.
    blob[-1] ^= 1
    with pytest.raises(TaskError):
        verify_signature(b"A decision.\n", decision | {"signature": armored(bytes(blob))}, tmp_path / "signers", None)


def test_a_decision_that_brings_its_own_files_moves_no_signature(signed, keys):
    for version, subject in ((3, SUBJECT), (2, NESTED), (1, OLD)):
        document = {**subject, "decisions": [decided(subject, keys, name) for name in NAMES]}
        moved = copy.deepcopy(document)
        moved["files"]["model/model.pkl"] = "9" * 64
        for decision in moved["decisions"]:
            decision["files"] = document["files"]
        with pytest.raises(TaskError, match=r"wrong form: the key decisions\.0\.files is unknown"):
            parse_sign_off(serialised(moved), SIGN_OFF)
        with pytest.raises(TaskError, match="wrong form"):
            _check_decisions(moved, rule(keys))
        # What was signed in the forms before still verifies, where each key has its place.
        _check_decisions(parse_sign_off(serialised(document), SIGN_OFF), rule(keys))
        assert accepted(serialised(document), keys) == (version == 3)
    with pytest.raises(TaskError, match=r"an older workflow .version 1.*then run make sign-off"):
        check_new(document, SIGN_OFF)


def test_a_key_that_is_there_twice_is_refused(signed):
    content = serialised(signed)
    for twice in (
        content.replace(b'"version": 3,', b'"version": 3,\n  "version": 3,'),
        content.replace(b'"comment": "fine",', b'"comment": "other",\n      "comment": "fine",', 1),
    ):
        assert twice != content
        with pytest.raises(TaskError, match="was altered"):
            parse_sign_off(twice, SIGN_OFF)
        with pytest.raises(ValueError, match="a key is repeated"):
            strict_json(twice)
    for word in (b'{"a": NaN}', b"[" * 100_000, b"\xff"):
        with pytest.raises(ValueError):
            strict_json(word)


@pytest.mark.parametrize("version", [True, 1.0, "3", None, [3], 0, 1, 2, 4])
def test_a_version_is_a_number_that_is_known(signed, version):
    with pytest.raises(TaskError):
        parse_sign_off(serialised({**signed, "version": version}), SIGN_OFF)


# The forms that other tools read


class OpenSSH(Key):
    """A public key in a file, whose signatures ssh-keygen checks for securesystemslib."""

    @classmethod
    def of(cls, name: str, keys: Path) -> "OpenSSH":
        shown = subprocess.run(["ssh-keygen", "-lf", keys / f"{name}.pub"], capture_output=True, check=True, text=True)
        return cls(shown.stdout.split()[1], "ssh", "ssh", {"public": str(keys / name)})

    def verify_signature(self, signature, data: bytes) -> None:
        file = Path(f"{self.keyval['public']}.sig")
        file.write_bytes(bytes.fromhex(signature.signature))
        name, signers = file.stem, file.with_name("signers")
        command = ["ssh-keygen", "-Y", "verify", "-f", signers, "-I", name, "-n", "signoff", "-s", file]
        if subprocess.run(command, input=data, capture_output=True, check=False).returncode != 0:
            raise UnverifiedSignatureError

    def to_dict(self) -> dict:
        raise NotImplementedError

    @classmethod
    def from_dict(cls, keyid, key_dict) -> "OpenSSH":
        raise NotImplementedError


def test_securesystemslib_and_in_toto_read_the_envelope_of_each_decision(signed, keys):
    for decision in signed["decisions"]:
        name, content = decision["reviewer"], statement(signed, decision)
        made = Envelope.from_dict(json.loads(json.dumps(envelope(content, decision["signature"]))))
        assert made.pae() == content
        assert [*made.verify([OpenSSH.of("bob", keys), OpenSSH.of("ada", keys)], 1).values()] == [
            OpenSSH.of(name, keys)
        ]
        read = google.protobuf.json_format.Parse(made.payload, statement_pb2.Statement())
        Statement.copy_from_pb(read).validate()
        assert {(each.name, each.digest["sha256"]) for each in read.subject} == {
            (released_as(path), digest) for path, digest in SUBJECT["files"].items()
        }
        said = google.protobuf.json_format.MessageToDict(read.predicate)
        assert said["decision"] == {key: value for key, value in decision.items() if key != "signature"}
        assert said["alarms"] == SUBJECT["alarms"] and said["verdict"] == "failed" and said["data"] == []
        # The other's signature, and one other byte.
        with pytest.raises(VerificationError):
            made.verify([OpenSSH.of("second", keys)], 1)
        made.payload = made.payload.replace(b"approve", b"approvf")
        with pytest.raises(VerificationError):
            made.verify([OpenSSH.of(name, keys)], 1)


@MANY
@given(st.data())
def test_no_other_text_is_parsed_as_the_statement(signed, data):
    subject, decision = SUBJECT, {**signed["decisions"][0], "signature": None}
    content = statement(subject, decision)
    assert _parse_statement(content, SIGN_OFF) == (subject, decision)
    if data.draw(st.booleans()):
        said = json.dumps(changed(json.loads(payload_of(content)), data), indent=2, ensure_ascii=False)
        other = pae(said.encode("utf-8", "replace"))
    else:
        at, more = data.draw(st.integers(0, len(content))), data.draw(st.sampled_from([b"", b" ", b"\n", b'"', b"0"]))
        other = content[:at] + more + content[at + data.draw(st.integers(0, 2)) :]
        if data.draw(st.booleans()):
            other = pae(other.split(b" ", 4)[-1])
    if other != content:
        try:
            found = _parse_statement(other, SIGN_OFF)
        except TaskError:
            return
        assert found != (subject, decision)


# Who has signed


def test_two_approvals_are_of_two_people_with_two_keys(keys):
    for one, other, enough in (
        (("ada", "ada"), ("bob", "bob"), True),
        (("ada", "ada"), ("ada", "second"), False),
        (("ada", "ada"), ("ada@home", "second"), False),
        (("ada", "second"), ("ada@home", "second"), False),
        (("bob", "bob"), ("ada@home", "second"), True),
    ):
        document = {**SUBJECT, "decisions": [decided(SUBJECT, keys, name, key) for name, key in (one, other)]}
        if enough:
            _check_decisions(document, rule(keys))
        else:
            with pytest.raises(TaskError, match=r"2 different people must approve.*1 more must run make sign-off"):
                _check_decisions(document, rule(keys))
    assert person_of("ADA@home", keys / "signers") == person_of("ada", keys / "signers") != "bob"


def test_a_quoted_name_is_one_name_of_its_line(keys, tmp_path):
    public = {name: (keys / f"{name}.pub").read_text("utf-8") for name in ("ada", "second")}
    signers = tmp_path / "signers"
    signers.write_text(f'# "Ada,bob"\n"Ada Lovelace,ada" {public["ada"]}\n  ada {public["second"]}', encoding="utf-8")
    named = (("Ada Lovelace", "ada"), ("ada", "second"))
    document = {**SUBJECT, "decisions": [decided(SUBJECT, keys, name, key) for name, key in named]}
    _check_decisions(document, ReleaseConfig(str(signers), 1))
    with pytest.raises(TaskError, match="1 more must run make sign-off"):
        _check_decisions(document, ReleaseConfig(str(signers), 2))
    assert names_of(signers) == ["Ada Lovelace", "ada"] and person_of("ada lovelace", signers) == "ada"


def test_two_certificates_of_one_person_count_once(tmp_path):
    for name in ("ca", "one", "two"):
        key_pair(tmp_path, name)
    for name in ("one", "two"):
        command = [
            "ssh-keygen",
            "-q",
            "-s",
            str(tmp_path / "ca"),
            "-I",
            name,
            "-n",
            "ada",
            str(tmp_path / f"{name}.pub"),
        ]
        subprocess.run(command, check=True)
        (tmp_path / f"{name}.pub").unlink()
        (tmp_path / f"{name}-cert.pub").rename(tmp_path / f"{name}.pub")
    (tmp_path / "signers").write_text(f"* cert-authority {(tmp_path / 'ca.pub').read_text('utf-8')}", encoding="utf-8")
    document = {**SUBJECT, "decisions": [decided(SUBJECT, tmp_path, "ada", key) for key in ("one", "two")]}
    _check_decisions(document, replace(rule(tmp_path), required_approvals=1))
    with pytest.raises(TaskError, match="1 more must run make sign-off"):
        _check_decisions(document, rule(tmp_path))


# What may be named


@pytest.mark.parametrize(
    "path",
    ["reports/../../../.bashrc", "/etc/passwd", "../x", "reports/x.html", "model/../x", "reports/figures/../x.png"],
)
def test_a_file_that_nobody_reviews_is_not_copied(signed, path):
    with pytest.raises(TaskError, match="not a file that is reviewed"):
        check_names([path], ["model/model.pkl"])
    place = released_as(path)
    assert place is None or (not place.startswith("/") and ".." not in place.split("/"))


def test_no_file_is_copied_through_a_link_or_over_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    Path("reports").symlink_to("elsewhere")
    with pytest.raises(TaskError, match="reports is a link"):
        check_names(["reports/final_report.md"], ["reports/final_report.md"])
    both = ["config/schema.yaml", "schema.yaml"]
    with pytest.raises(TaskError, match=r"config/schema.yaml and schema.yaml would both be config/schema.yaml"):
        check_names(both, both)
    check_names(["schema.yaml"], both)


# The history


@pytest.fixture
def history(tmp_path, monkeypatch) -> bytes:
    monkeypatch.chdir(tmp_path)
    for line in LINES:
        action, more = line["action"], {key: value for key, value in line.items() if key != "action"}
        STORE.append(action, "20260101T000000Z-0123456789ab", **more)
    assert len(STORE.history()) == len(LINES)
    return STORE.history_file.read_bytes()


@MANY
@given(st.data())
def test_no_changed_place_of_a_history_is_accepted(history, data):
    lines = history.splitlines()
    number = data.draw(st.integers(0, len(lines) - 1))
    other = changed(json.loads(lines[number]), data)
    try:
        lines[number] = canonical(other)
    except ValueError:
        return
    STORE.history_file.write_bytes(b"\n".join(lines) + b"\n")
    if STORE.history_file.read_bytes() != history:
        with pytest.raises(TaskError, match="Restore it"):
            STORE.history()


def test_each_place_of_a_history_changed_in_each_way_is_refused(history):
    lines = history.splitlines()
    changes = [
        (what, [*lines[:number], canonical(other), *lines[number + 1 :]])
        for number, line in enumerate(lines)
        for what, other in each_change(json.loads(line))
    ]
    changes += [(f"without line {n}", lines[:n] + lines[n + 1 :]) for n in range(len(lines))]
    changes += [(f"line {n} twice", [*lines[: n + 1], *lines[n:]]) for n in range(len(lines))]
    changes += [("turned round", lines[::-1]), ("blanks", [lines[0] + b" ", *lines[1:]])]
    twice = [line.replace(b'{"action"', b'{"action":"prune","action"', 1) for line in lines]
    changes += [(f"a key of line {n} twice", [*lines[:n], twice[n], *lines[n + 1 :]]) for n in range(len(lines))]
    assert len(changes) > 150
    for what, other in changes:
        STORE.history_file.write_bytes(b"\n".join(other) + b"\n")
        try:
            found = STORE.history()
        except TaskError:
            continue
        raise AssertionError(f"{what} is accepted: {found}")


@MANY
@given(st.data())
def test_a_line_of_a_wrong_form_is_refused_although_its_chain_holds(history, data):
    line = changed(json.loads(history.splitlines()[0]), data)
    if is_line(line):
        return
    try:
        content = canonical(line)
    except ValueError:
        return
    STORE.history_file.write_bytes(content + b"\n")
    STORE.head_file.write_text(hashlib.sha256(content).hexdigest() + "\n", encoding="ascii")
    with pytest.raises(TaskError, match=r"line 1 was altered|does not know its end"):
        STORE.history()


def test_a_history_names_no_folder_outside_of_the_releases(history):
    line = json.loads(history.splitlines()[0])
    for name in ("../../home", "/etc", "20260101T000000Z-0123456789ab/..", "x"):
        assert not is_line({**line, "release": name})
