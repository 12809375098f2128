"""A release in standard forms, each read by the tool or the schema of those who define the form."""

import json
import re
import subprocess
from pathlib import Path

import google.protobuf.json_format
import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

import attest
from conftest import in_process
from signoff.base.errors import TaskError
from signoff.base.files import sha256
from signoff.config.settings import read_config
from signoff.release import model_signature
from signoff.release.bom import bill_of_materials
from signoff.release.facts import ReleaseFacts
from signoff.release.in_toto import in_toto_statement
from signoff.release.model_signature import write_model_signature
from signoff.release.store import Releases
from signoff.report.model_card import model_card


def wrong(bom: str) -> object:
    """Return what the official schema says against a bill of materials, or None."""
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(bom)


def statement(text: str) -> Statement:
    """Return a statement as in-toto's own library reads it; it refuses an unknown key."""
    found = Statement.copy_from_pb(google.protobuf.json_format.Parse(text, statement_pb2.Statement()))
    found.validate()
    return found


def one_changed(text: str, old: str, new: str) -> str:
    """Return a text with another byte in its first `old`."""
    assert old in text and sum(one != other for one, other in zip(old, new, strict=True)) == 1
    return text.replace(old, new, 1)


def front_of(card: str) -> dict:
    """Return the metadata of a model card."""
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, flags=re.S)[1])


def files_in(folder: Path) -> list[Path]:
    """Return the files in a folder, sorted, without those in its folders."""
    return sorted(path for path in folder.iterdir() if path.is_file())


def test_other_tools_read_the_standard_forms_of_a_release(released, monkeypatch):
    monkeypatch.chdir(released.folder)
    release, before = Path("deployed/current").resolve(), released.contents()
    code, said, _ = in_process(attest, "--config", "config.yaml")
    assert code == 0, said
    assert "nothing of it is signed" in said
    folder = Path("attestations", release.name)
    card, bom, form = (path.read_text("utf-8") for path in files_in(folder))
    metrics, model = (
        json.loads((release / f"{name}.json").read_text("utf-8")) for name in ("evaluation_metrics", "model")
    )

    front = front_of(card)
    results = front["model-index"][0]["results"][0]
    assert {"task", "dataset", "metrics"} == results.keys()
    assert {"type", "name"} <= results["dataset"].keys()
    scores = {each["type"]: each["value"] for each in results["metrics"]}
    assert scores["mae"] == metrics["model"]["test"]["MAE"]
    assert scores["r_squared"] == metrics["model"]["test"]["R2"]
    assert front["library_name"] == "sklearn"
    for part in (
        "Owner: the config does not say",
        "baseline: km",
        "the release before",
        "2024-01-01",
        "**Ada**: approve",
    ):
        assert part in card
    assert "the config does not say." in card

    assert wrong(bom) is None
    parts = json.loads(bom)
    described = parts["metadata"]["component"]
    assert described["hashes"] == [{"alg": "SHA-256", "content": sha256(release / "model.pkl")}]
    performance = described["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    mae = next(each for each in performance if each["type"] == "MAE")
    assert float(mae["value"]) == metrics["model"]["test"]["MAE"]
    assert float(mae["confidenceInterval"]["lowerBound"]) < float(mae["value"])
    purls = [each["purl"] for each in parts["components"] if "purl" in each]
    assert len(set(purls)) == len(purls) > 50
    assert f"pkg:pypi/scikit-learn@{model['versions']['sklearn']}" in purls
    assert [each for each in purls if each.startswith("pkg:pypi/numpy@")] == [
        f"pkg:pypi/numpy@{model['versions']['numpy']}"
    ]
    data = {each["name"]: each["hashes"][0]["content"] for each in parts["components"] if each["type"] == "data"}
    assert data["data/raw/raw_data.csv"] == sha256(Path("data/raw/raw_data.csv"))

    read = statement(form)
    files = {str(path.relative_to(release)): sha256(path) for path in release.rglob("*") if path.is_file()}
    assert {each.name: each.digest["sha256"] for each in read.pb.subject} == files
    predicate = google.protobuf.json_format.MessageToDict(read.pb.predicate)
    assert predicate["decisions"][0]["reviewer"] == "Ada"
    assert predicate["predecessor"] == min(each.name for each in Path("deployed/releases").iterdir())
    assert predicate["project"] == Path("deployed/project.id").read_text("ascii").strip()

    # One byte is changed. Neither format has a digest of itself, so its tool notices only a change that breaks the
    # format. Another digit in a digest is noticed when it is compared with the file, or with the other form.
    digest = sha256(release / "model.pkl")
    digit = format(int(digest[0], 16) ^ 1, "x") + digest[1:]
    for old, new in (("CycloneDX", "CyclonedX"), ("learning-model", "learning-modem"), (digest, f"g{digest[1:]}")):
        assert wrong(one_changed(bom, old, new)) is not None, old
    assert wrong(one_changed(bom, digest, digit)) is None
    for old, new in (("Statement/v1", "Statement/v2"), ("predicateType", "predicateTypf"), ("subject", "subjecu")):
        with pytest.raises((google.protobuf.json_format.ParseError, ValueError)):
            statement(one_changed(form, old, new))
    changed = {each.name: each.digest["sha256"] for each in statement(one_changed(form, digest, digit)).pb.subject}
    assert changed != files and described["hashes"][0]["content"] == files["model.pkl"] != changed["model.pkl"]

    # The same release gives the same bytes, and nothing else has changed.
    model = {path: path.read_bytes() for path in (folder / "mlflow_model").rglob("*") if path.is_file()}
    attest.attest(read_config()[0], release.name)
    assert (card, bom, form) == tuple(path.read_text("utf-8") for path in files_in(folder))
    assert model == {path: path.read_bytes() for path in (folder / "mlflow_model").rglob("*") if path.is_file()}
    assert released.contents() == before
    assert Releases().verify(release.name, Releases().history())


def test_an_altered_release_is_refused_before_anything_is_written(released, monkeypatch):
    monkeypatch.chdir(released.folder)
    earlier = min(Path("deployed/releases").iterdir())
    report = earlier / "final_report.md"
    report.chmod(0o644)
    report.write_bytes(report.read_bytes().replace(b"a", b"b", 1))
    code, _, log = in_process(attest, "--config", "config.yaml", "--release", earlier.name)
    assert code == 1
    assert any(f"{report} was altered" in line for line in log)
    code, _, log = in_process(attest, "--config", "config.yaml", "--release", "20200101T000000Z-000000000000")
    assert code == 1
    assert any("names this release" in line for line in log)
    assert not Path("attestations").exists()


@pytest.fixture
def folder_and_key(tmp_path) -> tuple[Path, Path]:
    """A folder like that of a release, and a private key on the curve P-256 with its public key in `key.pub`."""
    folder, key = tmp_path / "release", tmp_path / "key"
    (folder / "config").mkdir(parents=True)
    (folder / "model.pkl").write_bytes(b"model")
    (folder / "config/config.yaml").write_bytes(b"target: y\n")
    for words in (["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], ["ec", "-in", key, "-pubout"]):
        done = subprocess.run(["openssl", *words], check=True, capture_output=True)
    (tmp_path / "key.pub").write_bytes(done.stdout)
    return folder, key


@pytest.mark.skipif(not model_signature._PROGRAM.exists(), reason="model_signing is not installed: make signing")
def test_model_signing_verifies_the_folder_of_a_release_until_a_byte_changes(folder_and_key, tmp_path):
    folder, key = folder_and_key
    files = {name: sha256(folder / name) for name in ("model.pkl", "config/config.yaml")}
    output = tmp_path / "model_signing.sig"
    write_model_signature(folder, files, key, output)
    options = ["--signature", output, "--public_key", tmp_path / "key.pub"]
    command = [model_signature._PROGRAM, "verify", "key", folder, *options]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    (folder / "model.pkl").write_bytes(b"modem")
    assert b"mismatch for 'model.pkl'" in subprocess.run(command, check=False, capture_output=True).stderr
    before = output.read_bytes()
    with pytest.raises(TaskError, match=r"release has changed while it was signed. Run make verify"):
        write_model_signature(folder, files, key, output)
    key.write_text("no key", encoding="ascii")
    with pytest.raises(TaskError, match=r"model_signing cannot sign with .*key: "):
        write_model_signature(folder, files, key, output)
    assert output.read_bytes() == before


def test_a_folder_is_signed_only_with_the_tool_and_a_key(folder_and_key, tmp_path, monkeypatch):
    folder, key = folder_and_key
    monkeypatch.setattr(model_signature, "_PROGRAM", tmp_path / "none")
    with pytest.raises(TaskError, match=r"model_signing is not installed. Install it: make signing"):
        write_model_signature(folder, {}, key, tmp_path / "model_signing.sig")
    with pytest.raises(TaskError, match=r"does not exist. Create one: openssl"):
        write_model_signature(folder, {}, tmp_path / "none", tmp_path / "model_signing.sig")
    assert not (tmp_path / "model_signing.sig").exists()


def facts(**changes: object) -> ReleaseFacts:
    """Return a release of one feature whose model was approved in spite of an alarm."""
    decision = {"reviewer": "Ada", "decision": "approve", "comment": "a|b", "signed_at": "2026-01-05T03:00:00Z"}
    decision |= {"override": "the shop was *closed*", "signature": None}
    split = {"rule": "the last 20% of the rows", "rows": {"train": 8, "test": 2}}
    scores = {"rows": 2, "MAE": 1.5, "R2": None}
    values = {
        "name": "20260105T030000Z-000000000000",
        "document": {
            "files": {"model/model.pkl": "0" * 64, "data/raw/raw_data.csv": "1" * 64},
            "code": {"commit": None, "clean": None, "sha256": "2" * 64},
            "verdict": "failed",
            "failures": ["MAE 1.5 is above 1"],
            "decisions": [decision],
            "compared_with": None,
        },
        "deploy": {"at": "2026-01-05T03:00:00Z", "sign_off_sha256": "3" * 64},
        "metrics": {"target": "y: <b>", "model": {"test": scores}, "baselines": {}, "split": split},
        "model": {"estimator": "Forest", "features": {"a|b": "number"}, "versions": {"python": "3.11.7"}},
        "diagnostics": {"alarms": [{"name": "drift", "feature": "x", "sentence": "x has moved."}]},
        "about": {"owner": "Grace", "intended_use": "Plan shifts", "limitations": "Not for nights"},
    }
    return ReleaseFacts(**{**values, **changes})


def test_the_forms_tell_of_alarms_overrides_and_what_the_config_says():
    card = model_card(facts())
    for part in ("Owner: Grace", "Plan shifts", "Not for nights", "Missed: MAE 1.5 is above 1", "Alarm: x has moved."):
        assert part in card
    assert r"Ada approved it nevertheless: the shop was \*closed\*" in card
    assert "| a\\|b | number |" in card
    assert front_of(card)["model-index"][0]["name"] == "model of y: <b>"
    assert [each["type"] for each in front_of(card)["model-index"][0]["results"][0]["metrics"]] == ["mae"]
    assert "holds no diagnostics" in model_card(facts(diagnostics={}))

    pins = "tomli==2.0 ; python_full_version < '3.11' \\\n    --hash=sha256:0\nNumPy_x==1.0 \\\n"
    bom = bill_of_materials(facts(), pins)
    assert wrong(json.dumps(bom)) is None
    considered = bom["metadata"]["component"]["modelCard"]["considerations"]
    assert "Plan shifts" in considered["useCases"]
    assert {"Not for nights", "MAE 1.5 is above 1", "x has moved."} <= set(considered["technicalLimitations"])
    tomli, other = (each for each in bom["components"] if each.get("purl", "").startswith("pkg:pypi"))
    assert (tomli["scope"], tomli["properties"][1]["value"]) == ("optional", "python_full_version < '3.11'")
    assert other["purl"] == "pkg:pypi/numpy-x@1.0"
    assert bom["serialNumber"] != bill_of_materials(facts(), "")["serialNumber"]

    read = statement(json.dumps(in_toto_statement(facts())))
    told = google.protobuf.json_format.MessageToDict(read.pb.predicate)
    assert told["alarms"] == [{"name": "drift", "feature": "x", "sentence": "x has moved."}]
    assert told["decisions"][0]["override"] == "the shop was *closed*"
    assert told["verdict"] == "failed"
