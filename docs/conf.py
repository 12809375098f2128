"""How the site is built: make docs."""

import re
from pathlib import Path

from sphinx.errors import ExtensionError

project = "Signoff"
extensions = ["myst_parser", "sphinx_copybutton"]
exclude_patterns = ["_build"]
# So that a link can name a heading.
myst_heading_anchors = 3
html_theme = "furo"
html_title = "Signoff"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
copybutton_prompt_text = r"\$ |> "
copybutton_prompt_is_regexp = True
# The pages that are elsewhere in the contents; every other one is a how-to page.
ELSEWHERE = {"index", "tutorial", "explanation", "promises", "threat-model", "files", "dependencies"}
FIRST = [
    "your-data",
    "schedule",
    "sign-off-with-keys",
    "serving",
    "serve",
    "standard-forms",
    "live-record",
    "compliance",
]


def list_how_to_pages(app, page, content):
    """Fill in the contents' list of how-to pages, so that a new page needs no entry."""
    if page == "index":
        rest = sorted({path.stem for path in Path(app.srcdir).glob("*.md")} - {*FIRST, *ELSEWHERE})
        content[0] = content[0].replace("HOW-TO PAGES", "\n".join(FIRST + rest))


def check_that_nothing_is_loaded(app, error):
    """Fail where a built page would load something from the network."""
    if error or app.builder.format != "html":
        return
    loads = r"""(?:<(?:script|img|iframe|source)[^>]* src=|<link[^>]* href=|url\()["']?((?:https?:)?//[^"' >)]+)"""
    for path in (each for kind in ("html", "css") for each in Path(app.outdir).rglob(f"*.{kind}")):
        for url in re.findall(loads, path.read_text(encoding="utf-8")):
            raise ExtensionError(f"{path} loads {url}")


def setup(app):
    app.connect("source-read", list_how_to_pages)
    app.connect("build-finished", check_that_nothing_is_loaded)
