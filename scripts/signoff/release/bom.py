"""A release as a bill of materials in CycloneDX 1.6, with its model card.

The format: https://cyclonedx.org/docs/1.6/json/
"""

import hashlib
import re
import uuid
from typing import Any

from signoff.release.facts import ReleaseFacts
from signoff.release.store import predicts_with

# The names of packages that differ from those by which they are imported.
_PACKAGES = {"sklearn": "scikit-learn"}
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^ ;\\]+)(?: *; *(.*?))? *\\?$", flags=re.M)


def bill_of_materials(facts: ReleaseFacts, pins: str) -> dict[str, Any]:
    """Return the bill of materials of a release. It is the same for equal inputs.

    Parameters
    ----------
    facts
        The release.
    pins
        The text of requirements.txt. It is not part of the release, so the versions in model.json precede it.
    """
    recorded = [_recorded(name, version) for name, version in facts.model["versions"].items()]
    known = {each["name"] for each in recorded}
    pinned = [_pinned(*each) for each in _PIN.findall(pins) if each[0] not in known]
    digests = facts.deploy["sign_off_sha256"] + hashlib.sha256(pins.encode()).hexdigest()
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, f'signoff/release/{digests}')}",
        "version": 1,
        "metadata": {"timestamp": facts.deploy["at"], "component": _model(facts)},
        "components": [*(_data(path, digest) for path, digest in facts.data.items()), *recorded, *pinned],
        "dependencies": [{"ref": "model", "dependsOn": [each["bom-ref"] for each in recorded]}],
    }


def _model(facts: ReleaseFacts) -> dict[str, Any]:
    """Return the component of the model, with the digest of the file that the release predicts with."""
    model = facts.files[predicts_with(facts.files)]
    files = [{"name": f"signoff:file:{name}:sha256", "value": digest} for name, digest in facts.files.items()]
    owner = [{"name": "signoff:owner", "value": facts.about["owner"]}] if facts.about.get("owner") else []
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": f"model of {facts.metrics['target']}",
        "version": facts.name,
        "hashes": _hashes(model),
        "modelCard": {
            "modelParameters": _parameters(facts),
            "quantitativeAnalysis": {"performanceMetrics": _performance(facts)},
            "considerations": _considerations(facts),
        },
        "properties": [*owner, *files],
    }


def _parameters(facts: ReleaseFacts) -> dict[str, Any]:
    """Return the description of the model, its inputs and its outputs."""
    target, intervals = facts.metrics["target"], facts.model.get("intervals")
    outputs = [f"{target}: number"]
    if intervals:
        outputs.append(f"interval of {target}, level {intervals['level']:g}: two numbers")
    columns = facts.model.get("columns", {})
    return {
        "approach": {"type": "supervised"},
        "task": "regression",
        "modelArchitecture": facts.model["estimator"],
        "datasets": [{"ref": f"data:{path}"} for path in facts.data],
        "inputs": [{"format": f"{name}: {column['kind']}"} for name, column in columns.items()],
        "outputs": [{"format": each} for each in outputs],
    }


def _performance(facts: ReleaseFacts) -> list[dict[str, Any]]:
    """Return the held-out scores with their intervals, and those of the slices."""
    intervals = facts.diagnostics.get("intervals", {}).get("model", {})
    scores = facts.metrics["model"]["test"]
    found = [
        _metric(name, value, intervals.get(name), "held-out rows")
        for name, value in scores.items()
        if name != "rows" and value is not None
    ]
    for row in facts.diagnostics.get("slices", {}).get("rows", []):
        found.append(
            _metric("MAE", row["MAE"], row["MAE_interval"], f"held-out rows: {row['feature']} = {row['value']}")
        )
    return found


def _metric(name: str, value: float, interval: list[float | None] | None, part: str) -> dict[str, Any]:
    """Return a metric of some rows, as CycloneDX writes it: numbers are text."""
    metric: dict[str, Any] = {"type": name, "value": str(value), "slice": part}
    if interval and None not in interval:
        metric["confidenceInterval"] = {"lowerBound": str(interval[0]), "upperBound": str(interval[1])}
    return metric


def _considerations(facts: ReleaseFacts) -> dict[str, list[str]]:
    """Return the stated use of the model, and its limits: its data, missed thresholds and alarms."""
    split = facts.metrics["split"]
    limits = [f"It was tested on {split['rows']['test']} held-out rows: {split['rule']}."]
    limits += [facts.measured_on] if facts.measured_on else []
    limits += [*facts.document["failures"], *(each["sentence"] for each in facts.alarms)]
    uses = [f"Predict {facts.metrics['target']} for a row."]
    uses += [facts.about["intended_use"]] if facts.about.get("intended_use") else []
    limits = [*([facts.about["limitations"]] if facts.about.get("limitations") else []), *limits]
    return {"useCases": uses, "technicalLimitations": limits}


def _data(path: str, digest: str) -> dict[str, Any]:
    """Return the component of a reviewed file of data."""
    hashes, part = _hashes(digest), {"type": "dataset", "name": path}
    return {"type": "data", "bom-ref": f"data:{path}", "name": path, "hashes": hashes, "data": [part]}


def _recorded(name: str, version: str) -> dict[str, Any]:
    """Return the component of a package, or of Python, that the model was trained with."""
    name = _PACKAGES.get(name, name)
    kind, purl = ("platform", "generic") if name == "python" else ("library", "pypi")
    return _component(kind, name, version, f"pkg:{purl}/{name}@{version}", "model.json")


def _pinned(name: str, version: str, marker: str) -> dict[str, Any]:
    """Return the component of a package that the workflow pins, on the platforms of its marker."""
    purl = f"pkg:pypi/{re.sub('[-_.]+', '-', name).lower()}@{version}"
    component = _component("library", name, version, purl, "requirements.txt")
    if marker:
        component["scope"] = "optional"
        component["properties"].append({"name": "signoff:marker", "value": marker})
    return component


def _component(kind: str, name: str, version: str, purl: str, source: str) -> dict[str, Any]:
    """Return a component with the file that its version was read from."""
    properties = [{"name": "signoff:source", "value": source}]
    return {
        "type": kind,
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "properties": properties,
    }


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]
