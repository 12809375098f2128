"""The text of config.yaml and schema.yaml of a new project, with what was decided and seen as comments."""

import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd
import yaml

from signoff.tables.records import Contract
from signoff.tables.table import ParsedTable

# A key of fewer rows has little history.
_FEWEST_ROWS_A_KEY = 10


def config_text(source: str, config: dict[str, Any], reader: dict[str, Any], key: str | None = None) -> str:
    """Return config.yaml, with a comment on each section; `key` says which earlier rows may help, see `history_key`."""
    usual = {"delimiter": ",", "encoding": "utf-8", "decimal": "."}
    reader = {key: value for key, value in reader.items() if value != usual.get(key)}
    notes = {
        "raw_data_source_url": "a path from this folder, or a URL; read again when it changes",
        "target": "what to predict",
        "time_column": "when each row happened; the last fifth in time is held out",
        "reader": "how the source is written",
        "features": "columns to leave out, parts of dates, columns of free text; derived features can be added here",
        "cleaning": "rows with a missing value are dropped, except in these columns",
        "model": "the best of several kinds of models by cross-validation; fast: gradient boosting",
        "split": "there is no time to split by",
    }
    config = dict(config)
    validation = config.pop("validation", {})
    sections = {"raw_data_source_url": source, **({"reader": reader} if reader else {}), **config}
    lines = ["# Every other key: config/README.md of the workflow"]
    for section, value in sections.items():
        lines.append(f"# {notes[section]}")
        lines.append(_block({section: value}))
    if key:
        entry = {"by": key, "values": [config["target"]], "lags": [1], "windows": ["4w"], "available_after": "1d"}
        shown = yaml.safe_dump([entry], default_flow_style=True, allow_unicode=True, sort_keys=False, width=1000)
        lines += [
            "# what happened in earlier rows may help: delete the #, and merge it into features if that is above;",
            "# available_after is how long after its moment a row's target is known (docs/history.md)",
            f"# features: {{history: {shown.strip()}}}",
        ]
    lines += ["# the data contract", _block({"validation": {"schema": "schema.yaml", **validation}})]
    lines += ["# limits for the model; set them when you have seen what is usual"]
    lines += ["# thresholds: {mae_max: 1.0, r2_min: 0.5}"]
    return "\n".join(lines) + "\n"


def history_key(table: ParsedTable, config: dict[str, Any]) -> str | None:
    """Return the column of text with the most values of which each has many rows in time; None if there is none."""
    if "time_column" not in config:
        return None
    levels = {name: table.frame[name].nunique() for name, kind in table.kinds.items() if kind == "text"}
    enough = {n: count for n, count in levels.items() if 2 <= count <= len(table.frame) / _FEWEST_ROWS_A_KEY}
    enough.pop(config["target"], None)
    return max(enough, key=lambda name: enough[name], default=None)


_DELIVERY_NOTES = {
    "rows": "shares: of the rows of the last run (min, max), and of a usual period in the newest one (newest)",
    "newest": "the newest period",
    "freshness": "the largest age of the newest row when the data are ingested",
    "complete": "calendar periods that all have rows; columns whose levels all have rows, also in the newest period",
}


def _block(value: Mapping[str, object]) -> str:
    """Return a mapping as YAML, with one key on each line."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000).rstrip()


def contract_text(contract: Contract, table: ParsedTable) -> str:
    """Return schema.yaml, with a comment on the values of each column."""
    lines = [
        "# What the data must keep, inferred from the data with slack: ranges are twice as wide as what was seen.",
        "# Tighten what you know better, above all the ranges, isin for categories, and unique for ids.",
    ]
    for key, value in contract.items():
        if key != "columns":
            lines += [f"# {_DELIVERY_NOTES[key]}", _block({key: value})]
    lines.append("columns:")
    for name, each in contract["columns"].items():
        lines.append(f"  # {_seen(table.frame[name], table.kinds[name])}")
        lines.append(textwrap.indent(_block({name: each}), "  "))
    return "\n".join(lines) + "\n"


def _seen(values: pd.Series, kind: str) -> str:
    """Return the comment on the values of a column."""
    known, missing = values.dropna(), int(values.isna().sum())
    words = [f"{missing:,} missing"] if missing else []
    if kind in ("number", "date"):
        words.insert(0, f"seen {known.min()} … {known.max()}")
    elif kind == "text":
        levels = known.unique()
        few = ", ".join(map(repr, sorted(levels)[:8]))
        words.insert(0, f"only {few}: tighten with checks: isin" if len(levels) <= 8 else f"{len(levels):,} different")
    # For most columns, the first rows decide, which is fast.
    if len(known) == len(values) and kind != "boolean" and known.head(1000).is_unique and known.is_unique:
        words.append("no value repeats: tighten with unique: true")
    return " ".join("; ".join(words).split())
