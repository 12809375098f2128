"""A document as one self-contained HTML page. Its template, style sheet and script are files beside this one."""

import base64
import functools
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from signoff.base.files import read_utf8
from signoff.report.document import COLOURS, Part, Section, Shown, Words, plain_text

_FOLDER = Path(__file__).parent
_STYLE, _SCRIPT = (read_utf8(_FOLDER / f"page.{kind}") for kind in ("css", "js"))


def page(title: str, parts: Sequence[Part], policy: str = "") -> str:
    """Return a document as an HTML page. `policy` allows the browser more, in the words of a content security policy.

    Its policy forbids the browser to load anything, and to run any script but SCRIPT, whatever the data contain.
    """
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    light, dark = (";".join(f"--{name}:{each[n]}" for name, each in COLOURS.items()) for n in (0, 1))
    sections = [part for part in parts if isinstance(part, Section)]
    looks = {"light": light, "dark": dark, "style": _STYLE, "script": _SCRIPT, "digest": digest, "policy": policy}
    return _environment().get_template("page.html.jinja").render(title=title, parts=parts, sections=sections, **looks)


# A report has several pages, and compiling the template takes longer than rendering it.
@functools.cache
def _environment() -> Environment:
    """Return the environment of the template, which escapes all values."""
    found = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {
        "kind": lambda block: type(block).__name__,
        "shown": plain_text,
        "anchor": _anchor,
        "key": _key,
        "base64": _base64,
    }
    return found


def _base64(content: bytes) -> str:
    """Return bytes as text for an address."""
    return base64.b64encode(content).decode()


def _anchor(title: str) -> str:
    """Return the id of a section."""
    return re.sub(r"\W+", "-", title.lower())


def _key(value: Words) -> str:
    """Return the key by which a cell of a numeric column is sorted; an empty one sorts last."""
    found = value.value if isinstance(value, Shown) else value
    return repr(found) if isinstance(found, int | float) else ""
