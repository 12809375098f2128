"""The zip for an auditor: its files, that they are the same each time, and that OpenSSH checks its signatures."""

import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
import zipfile
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from securesystemslib.dsse import Envelope

import attest as attesting
import deploy as deploying
import dossier as collecting
import sign_off as signing
from conftest import ROOT, in_process
from signoff.base.config import ReleaseConfig
from signoff.release.facts import read_facts
from signoff.report.data_sheet import data_sheet

RULE = ReleaseConfig()
CONFIG = ["--config", "config.yaml"]


def unpacked(path: Path) -> dict[str, bytes]:
    """Return the files of a dossier by name, without its folder."""
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        return {name.removeprefix(f"{path.stem}/"): file.read(name) for name in file.namelist()}


def named(readme: bytes) -> dict[str, str]:
    """Return the SHA-256 of each file that the README names."""
    return dict(re.findall(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$", readme.decode(), flags=re.M))


def test_a_dossier_holds_what_was_signed_and_names_each_file_with_its_digest(released, monkeypatch):
    monkeypatch.chdir(released.folder)
    release, before = Path("deployed/current").resolve(), released.contents()
    code, said, _ = in_process(collecting, *CONFIG)
    assert code == 0, said
    path = Path(f"dossiers/{release.name}.zip")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in said
    files = unpacked(path)
    readme = files.pop("README.md")
    assert named(readme) == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    made = {"data-sheet.md", "model-card.md", "bom.cdx.json", "statement.intoto.json"}
    assert made | {"LICENCES.md", "history.jsonl", "history.head", "live.json", "live.csv"} == {
        name for name in files if not name.startswith("release/")
    }
    signed = {f"release/{each.relative_to(release)}": each for each in release.rglob("*") if each.is_file()}
    assert {name for name in signed if name not in files} == {"release/model.pkl"}
    assert all(each.read_bytes() == files[name] for name, each in signed.items() if name in files)
    assert files["history.jsonl"] == Path("deployed/history.jsonl").read_bytes()
    assert next(csv.DictReader(io.StringIO(files["live.csv"].decode())))["release"]
    text = readme.decode()
    assert "**Ada**: approve" in text and "the decisions are not signed with keys" in text
    assert f"`model.pkl`, with the SHA-256 `{hashlib.sha256((release / 'model.pkl').read_bytes()).hexdigest()}`" in text
    sheet = files["data-sheet.md"].decode()
    assert "| km | number | 33 | 0 | 536 | 1.04 | 10.48 | 19.98 |  |" in sheet
    assert "Cleaning kept 627 of 660 rows." in sheet and "No data contract" in sheet and "keeps the training" in sheet

    # The same files give the same bytes, at any time; what was released is not touched.
    deployed = json.loads(files["history.jsonl"].splitlines()[-1])["at"]
    with zipfile.ZipFile(path) as file:
        times = {each.date_time for each in file.infolist()}
    expected = datetime.fromisoformat(deployed)
    # A zip knows every second second.
    assert times == {expected.replace(second=expected.second // 2 * 2).timetuple()[:6]}
    first = path.read_bytes()
    shutil.rmtree("dossiers")
    for each in (*signed.values(), Path("deployed/history.jsonl")):
        each.touch()
    assert collecting.dossier(RULE, release.name).read_bytes() == first
    assert released.contents() == before

    report = release / "final_report.md"
    report.chmod(0o644)
    report.write_bytes(report.read_bytes().replace(b"a", b"b", 1))
    code, _, log = in_process(collecting, *CONFIG)
    assert code == 1
    assert [line for line in log if line.startswith("ERROR")][-1].startswith(
        f"ERROR - [dossier] deployed/releases/{release.name}/final_report.md was altered"
    )
    assert path.read_bytes() == first
    assert in_process(collecting, *CONFIG, "--release", min(Path("deployed/releases").iterdir()).name)[0] == 0


def test_openssh_alone_checks_the_signatures_of_a_dossier(finished, monkeypatch):
    monkeypatch.chdir(finished.folder)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "key"], check=True)
    Path("signers").write_text(f"ada {Path('key.pub').read_text('ascii')}", encoding="utf-8")
    words = ["--reviewer=ada", "--decision=approve", "--comment=signed", "--key=key"]
    assert in_process(signing, *CONFIG, *words)[0] == 0
    assert in_process(deploying, *CONFIG)[0] == 0
    with zipfile.ZipFile(collecting.dossier(ReleaseConfig("signers"))) as file:
        file.extractall("elsewhere")
    (folder,) = Path("elsewhere").iterdir()
    readme = (folder / "README.md").read_text("utf-8")
    assert "not signed with keys" not in readme
    command = re.search(r"`(ssh-keygen .*)`", readme)[1].replace("NAME", "ada")
    assert subprocess.run(["sh", "-c", command], cwd=folder, check=True, capture_output=True).stdout.startswith(b"Good")
    # The same decision as an in-toto bundle.
    assert in_process(attesting, *CONFIG)[0] == 0
    (bundle,) = Path("attestations").glob("*/sign_off.intoto.jsonl")
    made = Envelope.from_dict(json.loads(bundle.read_text("utf-8")))
    assert made.pae() == (folder / "signatures/1.signed").read_bytes()
    (signature,) = made.signatures.values()
    assert bytes.fromhex(signature.signature) == (folder / "signatures/1.signed.sig").read_bytes()
    shown = subprocess.run(["ssh-keygen", "-lf", "key.pub"], capture_output=True, text=True, check=True).stdout
    assert shown.split()[1] == signature.keyid
    about = folder / "signatures/1.signed"
    about.write_bytes(about.read_bytes().replace(b"approve", b"xpprove"))
    assert subprocess.run(["sh", "-c", command], cwd=folder, check=False, capture_output=True).returncode != 0


def test_the_data_sheet_shows_the_contract_and_where_the_data_violate_it(released_run, monkeypatch):
    monkeypatch.chdir(released_run.folder)
    facts = read_facts(None or Path("deployed/current").resolve().name, RULE)
    contract = {"columns": {"km": {"dtype": "float64", "checks": {"in_range": {"min_value": 0}}}}, "rows": {"min": 10}}
    violation = {"column": "km", "check": "in_range", "rows": 2, "examples": [{"value": -1, "row": 7}]}
    sheet = data_sheet(facts, {"violations": [violation]}, contract)
    assert '| km | `{"dtype": "float64", "checks": {"in_range": {"min_value": 0}}}` |' in sheet
    assert 'Of the whole table: `{"rows": {"min": 10}}`' in sheet
    assert "column km: violates 'in\\_range' in 2 rows (-1 in row 7)" in sheet
    assert "holds no statistics of its columns" in sheet


@pytest.mark.parametrize("name", sorted(each.name.partition(".")[0] for each in (ROOT / "tests/old").iterdir()))
def test_a_release_of_an_older_version_has_a_dossier(name, tmp_path, monkeypatch):
    with tarfile.open(ROOT / f"tests/old/{name}.tar.xz") as file:
        file.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    code, said, _ = in_process(collecting, *CONFIG)
    assert code == 0, said
    files = unpacked(next(Path("dossiers").iterdir()))
    assert {"data-sheet.md", "release/final_report.md", "release/sign_off.json"} <= files.keys()
    assert yaml.safe_load(files["release/config/config.yaml"])["target"] == "minutes"
