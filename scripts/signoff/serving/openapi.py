"""The OpenAPI document of the server: the columns that rows must have, and what is answered."""

from typing import Any

from signoff.model.scoring import LOW_AND_HIGH
from signoff.review.row_scores import Scorer

_NUMBER, _TEXT, _WHOLE = ({"type": kind} for kind in ("number", "string", "integer"))


def document(scorer: Scorer) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of a server that answers with this release."""
    columns = scorer.model.metadata["columns"]
    cell = {"type": ["number", "string", "boolean", "null"]}
    row = {
        "type": "object",
        "required": list(columns),
        "properties": {name: {**cell, "description": f"a {how['kind']}"} for name, how in columns.items()},
        "additionalProperties": cell,
    }
    schemas = {"Row": row, "Answer": _answer(scorer), "Error": _object({"error": _TEXT}), "Health": _health()}
    rows = {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Row"}}
    predict = {
        "summary": "Score rows as make predict does",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": rows}, "text/csv": {"schema": _TEXT}},
        },
        "responses": {
            "200": _response("Each row, with its prediction or the reason why it has none", "Answer"),
            "400": _response("The body is not a table of such rows", "Error"),
            "413": _response("The body is too large", "Error"),
            "415": _response("The body is neither JSON nor CSV", "Error"),
            "422": _response("No row could be scored, or the rows differ from the released data", "Answer"),
        },
    }
    health = {"summary": "The release that answers", "responses": {"200": _response("The state", "Health")}}
    text = {"200": {"description": "Prometheus' text format", "content": {"text/plain": {"schema": _TEXT}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Predictions of {scorer.model.metadata['target']}", "version": scorer.release},
        "paths": {
            "/predict": {"post": predict},
            "/health": {"get": health},
            "/metrics": {"get": {"summary": "Counts and durations", "responses": text}},
        },
        "components": {"schemas": schemas},
    }


def _answer(scorer: Scorer) -> dict[str, Any]:
    """Return the schema of an answer."""
    reasons = {name: {"type": ["number" if name.endswith("_by") else "string", "null"]} for name in scorer.last}
    ends = {name: {"type": ["number", "null"]} for name in LOW_AND_HIGH}
    prediction = _object({"row_number": _WHOLE, "prediction": _NUMBER}, {**ends, **reasons})
    share = {"type": ["number", "null"]}
    finding = {"column": {"type": ["string", "null"]}, "what": _TEXT, "before": share, "now": share, "sentence": _TEXT}
    counts = dict.fromkeys(("rows", "scored", "rejected"), _WHOLE)
    return _object(
        {
            "release": _TEXT,
            **counts,
            "predicted_at": _TEXT,
            "compared": _TEXT,
            "findings": _list(_object(finding)),
            "predictions": _list(prediction),
            "rejected_rows": _list(_object({"row_number": _WHOLE, "reason": _TEXT})),
        },
        {"error": _TEXT},
    )


def _health() -> dict[str, Any]:
    """Return the schema of the state."""
    status = {"enum": ["ok", "degraded"]}
    return _object({"status": status, "release": _TEXT, "since": _TEXT, "problem": {"type": ["string", "null"]}})


def _object(required: dict[str, Any], more: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the schema of an object with these keys, and perhaps some more."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(more or {})},
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def _response(words: str, schema: str) -> dict[str, Any]:
    """Return a response with a JSON body."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": words, "content": content}
