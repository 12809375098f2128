"""Write the pages of the reference: from the config's schema and its README, from make help, and each script's --help.

python docs/generate.py --output docs/reference
"""

import argparse
import ast
import contextlib
import importlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import yaml

ROOT = Path(__file__).resolve().parent.parent
NAMES = {"string": "text", "number": "a number", "integer": "a whole number", "boolean": "true or false"}
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def config_page() -> str:
    """Return the page of all config keys: their types from the schema, their meaning from config/README.md."""
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))
    # Its links to these pages, as they are from here.
    readme = (ROOT / "config/README.md").read_text(encoding="utf-8").replace("](../docs/", "](../")
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.+? \| .+) \|$", readme, flags=re.M))
    lines = [
        "# Configuration",
        "",
        "`config.yaml` is the only file to edit. Two keys are required: `raw_data_source_url` and `target`. An unknown",
        "key, a wrong type or a value out of range stops a run before it starts, with a one-line error that names it.",
        "",
    ]
    for key, rule in leaves(schema):
        default, _, meaning = rows[key].replace("\\|", "|").partition(" | ")
        default = default if default == "required" else f"default: {default}"
        lines += [f"## `{key}`", "", meaning.removesuffix(".") + ".", "", f"*{kind(rule)}; {default}*", ""]
    return "\n".join(lines) + readme[readme.index("## The source") :]


def leaves(schema: dict, prefix: str = "") -> list[tuple[str, dict]]:
    """Return each key of a schema with its rule; those of a section by section.key."""
    found = []
    for name, rule in schema["properties"].items():
        # A section is a mapping and nothing else.
        is_section = "properties" in rule and rule["type"] == "object"
        found += leaves(rule, f"{prefix}{name}.") if is_section else [(prefix + name, rule)]
    return found


def kind(rule: dict) -> str:
    """Return in words what values a rule of JSON Schema allows."""
    if "enum" in rule:
        return " or ".join(f"`{each}`" for each in rule["enum"] if each is not None)
    for choice in ("oneOf", "anyOf"):
        if choice in rule:
            return ", or ".join(kind(each) for each in rule[choice])
    types = rule.get("type", "anything")
    types = [each for each in (types if isinstance(types, list) else [types]) if each != "null"]
    words = [NAMES.get(each, each) for each in types]
    if types == ["array"]:
        words = [f"a list of {kind(rule['items'])}" if "items" in rule else "a list"]
    if types == ["object"]:
        inner = rule.get("additionalProperties")
        properties = ", ".join(f"`{name}`: {kind(each)}" for name, each in rule.get("properties", {}).items())
        words = [f"a mapping of {properties}" if properties else "a mapping"]
        if isinstance(inner, dict) and inner:
            words = [f"a mapping from names to: {kind(inner)}"]
    bounds = [f"{word} {json.dumps(rule[name])}" for name, word in BOUNDS.items() if name in rule]
    return ", ".join([" or ".join(words), *bounds])


def commands_page() -> str:
    """Return the page of all make targets and of all scripts' --help."""
    make = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = ["# Commands", "", "## make", "", "`DIR=folder` names the project, where it is not this folder.", ""]
    lines += ["| target | what it does |", "|---|---|"]
    lines += [f"| `make {name}` | {text} |" for name, text in (line.split(maxsplit=1) for line in make.splitlines())]
    lines += ["", "## Scripts", ""]
    lines += ["Each task is a script that runs by itself too, in the project's folder.", ""]
    for path in sorted((ROOT / "scripts").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            shown = ["```text", f"$ python scripts/{path.name} --help", help_of(path.stem), "```"]
            lines += [f"### {path.stem}", "", *more(ast.get_docstring(tree)), *shown, ""]
    return "\n".join(lines)


def more(docstring: str) -> list[str]:
    """Return the paragraphs of a script's docstring that --help does not show, its command line left out."""
    paragraphs = [each for each in docstring.split("\n\n")[1:] if "python scripts/" not in each]
    return [line for each in paragraphs for line in (each, "")]


def help_of(script: str) -> str:
    """Return what a script's --help prints."""
    printed = io.StringIO()
    with (
        mock.patch.object(sys, "argv", [f"{script}.py"]),
        mock.patch.dict(os.environ, {"COLUMNS": "88", "NO_COLOR": "1"}),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        importlib.import_module(script).main(["--help"])
    return printed.getvalue().strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, type=Path, help="the folder to write the pages to")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT / "scripts"))
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "config.md").write_text(config_page(), encoding="utf-8")
    (args.output / "commands.md").write_text(commands_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
