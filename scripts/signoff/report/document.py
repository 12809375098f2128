"""A document as data (sections of text, lists, tables and figures), and its two forms: Markdown, and one HTML page."""

import base64
import hashlib
import html
import re
from typing import NamedTuple

# Colours by name, for a light and a dark page; blue, orange and green are those of Okabe and Ito (2008), which the
# colour-blind can tell apart. Figures are drawn in the light ones, and follow the page where they stand in it.
COLOURS = {
    "paper": ("#ffffff", "#15181d"),
    "ink": ("#222222", "#e6e6e6"),
    "soft": ("#5c6670", "#a3adb8"),
    "line": ("#d5dae0", "#3a424c"),
    "shade": ("#f3f5f8", "#20252c"),
    "blue": ("#0072b2", "#56b4e9"),
    "orange": ("#d55e00", "#e69f00"),
    "green": ("#009e73", "#2fc79b"),
    "bad": ("#b3261e", "#ff8a80"),
    "good": ("#1b6e3a", "#6fd39a"),
    "doubt": ("#8a5300", "#f2b84b"),
}
LIGHT, DARK = (";".join(f"--{name}:{each[n]}" for name, each in COLOURS.items()) for n in (0, 1))
STYLE = f"""
:root {{ color-scheme: light dark; {LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {DARK} }} }}
"""
STYLE += """
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; background: var(--paper); color: var(--ink); }
main { max-width: 64rem; margin: 0 auto; padding: 1rem; }
h1, p, li, dd, figcaption, code { overflow-wrap: anywhere; }
td, th { overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; } h3 { font-size: 1rem; }
p, ul { margin: .6rem 0; max-width: 48rem; } ul { padding-left: 1.2rem; } a { color: var(--blue); }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .1rem 1rem; max-width: none; }
nav a { display: inline-block; padding: .25rem 0; }
code { font: .9em ui-monospace, monospace; background: var(--shade); padding: .05em .25em; border-radius: 3px; }
.box { border: 1px solid var(--line); border-left: .5rem solid var(--soft); border-radius: .4rem; padding: .2rem 1rem;
  background: var(--shade); margin: 1rem 0; }
.box h2 { margin: .6rem 0; font-size: 1.5rem; }
.good { border-left-color: var(--good); } .good h2 { color: var(--good); }
.bad { border-left-color: var(--bad); } .bad h2 { color: var(--bad); }
.doubt { border-left-color: var(--doubt); } .doubt h2 { color: var(--doubt); }
.wide { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line);
  min-width: 3.5rem; max-width: 26rem; white-space: pre-line; }
thead th { border-bottom-color: var(--soft); vertical-align: bottom; } tbody th { font-weight: normal; }
th.n, td.n { text-align: right; } td.n { white-space: nowrap; } .alarm { color: var(--bad); }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid var(--blue); }
th button::after { content: " ↕"; color: var(--soft); } th[aria-sort=ascending] button::after { content: " ↑"; }
th[aria-sort=descending] button::after { content: " ↓"; }
figure { display: inline-block; vertical-align: top; width: min(100%, 29rem); margin: 1.2rem 0 0; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .3rem; }
svg { display: block; width: 100%; height: auto; } svg * { stroke-linejoin: round; stroke-linecap: butt; }
@media (prefers-color-scheme: dark) { svg image { filter: invert(1) hue-rotate(180deg); } }
@media (min-width: 48rem) { .sides { display: grid; grid-template-columns: 1fr 1fr; gap: 0 2rem; }
  figure { margin-right: 1.5rem; } }
@media print {
  :root { color-scheme: light; LIGHT } svg image { filter: none; }
  body { font-size: 10pt; } main { max-width: none; padding: 0; } nav, th button::after { display: none; }
  .wide { overflow: visible; } figure, .box, tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
  table { font-size: 8pt; } th, td { padding: .15rem .3rem; min-width: 0; } td { overflow-wrap: anywhere; }
}
""".replace("LIGHT", LIGHT)
# Each column's heading sorts its table; rows without a value come last.
SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
      const compare = (a, b) => a !== "" && b !== "" && !isNaN(a) && !isNaN(b) ? a - b : a.localeCompare(b, "en");
      const rows = [...table.tBodies[0].rows].sort((one, other) => {
        const [a, b] = [key(one), key(other)];
        return a === "" || b === "" ? (a === "") - (b === "") : (up ? 1 : -1) * compare(a, b);
      });
      table.tBodies[0].append(...rows);
    });
  });
}
"""


class Code(str):
    """Text that a machine reads: a command, a path, a digest."""


class Strong(str):
    """Text that must be seen."""


class Alarm(Strong):
    """Text that tells of something bad."""


TAGS = {
    Code: ("<code>", "</code>"),
    Strong: ("<strong>", "</strong>"),
    Alarm: ('<strong class="alarm">', "</strong>"),
}


class Link(NamedTuple):
    """A link to a file beside the document."""

    text: str
    to: str


class Shown(NamedTuple):
    """What a cell shows, and the number by which its column is sorted."""

    text: str
    value: float | None


class Items(NamedTuple):
    """A list of points."""

    items: list


class Table(NamedTuple):
    """A table. A cell is text or a number or None, Code, Strong, Alarm, Link or Shown; newlines part its lines."""

    label: str
    names: list[str]
    rows: list[list]


class Figure(NamedTuple):
    """A figure: figures/NAME.png beside the Markdown, an SVG element in the page. Its caption says what to look for."""

    name: str
    caption: str
    svg: str


class Box(NamedTuple):
    """What is read first; `tone` is good, bad or doubt. Each side is a heading and its points."""

    tone: str
    title: str
    blocks: list
    sides: dict[str, list]


class Section(NamedTuple):
    """A heading and what stands below it: text, or a list of pieces of text, Items, Table, Figure."""

    title: str
    blocks: list


def markdown(title: str, parts: list) -> str:
    """Return a document as Markdown; `parts` are Sections and Boxes."""
    lines = [f"# {cell(title)}"]
    for part in parts:
        if isinstance(part, Box):
            inner = [
                f"**{cell(part.title)}**",
                *(line for block in part.blocks for line in ("", *markdown_block(block))),
            ]
            for heading, points in part.sides.items():
                inner += ["", f"**{cell(heading)}**", "", *markdown_block(Items(points))]
            lines += ["", *(f"> {line}".rstrip() for line in inner)]
        else:
            lines += ["", f"## {cell(part.title)}", *(x for block in part.blocks for x in ("", *markdown_block(block)))]
    return "\n".join(lines) + "\n"


def markdown_block(block: object) -> list[str]:
    """Return the lines of one block."""
    if isinstance(block, Items):
        return [f"- {markdown_text(each)}" for each in block.items]
    if isinstance(block, Table):
        return markdown_table(
            [cell(each) for each in block.names], [list(map(markdown_text, row)) for row in block.rows]
        )
    if isinstance(block, Figure):
        name = block.name
        return [f"![{name.replace('_', ' ')}](figures/{name}.png)", "", f"*{cell(block.caption)}*"]
    return [markdown_text(block)]


def markdown_text(words: object) -> str:
    """Return text, a cell, or a list of pieces of text."""
    if isinstance(words, Link):
        return f"[{cell(words.text)}]({words.to})"
    if isinstance(words, Shown):
        return cell(words.text)
    if isinstance(words, list):
        return "".join(map(markdown_text, words))
    if isinstance(words, Code):
        # A backtick or a bar would end the code or the cell.
        return f"`{words}`" if not re.search(r"[`|\n]", words) else cell(words)
    edges = re.fullmatch(r"(\s*)(.*?)(\s*)", shown(words), flags=re.S)
    text = cell(edges[2])
    return (
        (" " if edges[1] else "") + (f"**{text}**" if isinstance(words, Strong) else text) + (" " if edges[3] else "")
    )


def markdown_table(names: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table; its cells are Markdown already."""
    return [f"| {' | '.join(row)} |" for row in (names, ["---"] * len(names), *rows)]


def cell(text: object) -> str:
    """Return text so that Markdown shows it as it is."""
    escaped = str(text).replace("&", "&amp;").replace("<", "&lt;")
    return " ".join(re.sub(r"([\\`*_\[\]|~$])", r"\\\1", escaped).split())


def shown(value: object) -> str:
    """Return what a cell shows."""
    return value if isinstance(value, str) else "" if value is None else number(value)


def number(value: float | None) -> str:
    """Return a whole number as it is, another with four significant digits, or "undefined"."""
    if value is None:
        return "undefined"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def page(title: str, parts: list) -> str:
    """Return a document as an HTML page that needs nothing else; `parts` are Sections, Boxes, and HTML as text.

    It forbids its reader to load anything or to run any script but SCRIPT, whatever stands in the data.
    """
    allowed = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{allowed}'"
    sections = [part for part in parts if isinstance(part, Section)]
    links = "".join(f'<li><a href="#{anchor(part.title)}">{html.escape(part.title)}</a></li>' for part in sections)
    lines = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>",
        f"<h1>{html.escape(title)}</h1>",
    ]
    listed = len(sections) == 1
    for part in parts:
        if isinstance(part, Section) and not listed:
            lines.append(f'<nav aria-label="Sections"><ul>{links}</ul></nav>')
            listed = True
        if isinstance(part, str):
            lines.append(part)
        elif isinstance(part, Box):
            lines.append(f'<section class="box {part.tone}">')
            lines += [f'<h2 id="decision">{html.escape(part.title)}</h2>', *map(html_block, part.blocks)]
            sides = [f"<div><h3>{html.escape(name)}</h3>{html_block(Items(x))}</div>" for name, x in part.sides.items()]
            lines.append(f'<div class="sides">{"".join(sides)}</div></section>')
        else:
            name = anchor(part.title)
            lines.append(f'<section>\n<h2 id="{name}">{html.escape(part.title)}</h2>')
            lines += [*map(html_block, part.blocks), "</section>"]
    return "\n".join([*lines, f"</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"])


def anchor(title: str) -> str:
    """Return the id of a section."""
    return re.sub(r"\W+", "-", title.lower())


def html_block(block: object) -> str:
    """Return one block."""
    if isinstance(block, Items):
        return f"<ul>{''.join(f'<li>{html_text(each)}</li>' for each in block.items)}</ul>"
    if isinstance(block, Table):
        return html_table(block)
    if isinstance(block, Figure):
        return f"<figure>{block.svg}\n<figcaption>{html.escape(block.caption)}</figcaption></figure>"
    return f"<p>{html_text(block)}</p>"


def html_text(words: object) -> str:
    """Return text, a cell, or a list of pieces of text."""
    if isinstance(words, Link):
        return f'<a href="{html.escape(words.to)}">{html.escape(words.text)}</a>'
    if isinstance(words, Shown):
        return html.escape(words.text)
    if isinstance(words, list):
        return "".join(map(html_text, words))
    start, end = TAGS.get(type(words), ("", ""))
    return f"{start}{html.escape(shown(words))}{end}"


def html_table(table: Table) -> str:
    """Return a table, in a frame that scrolls by itself where the page is too narrow for it."""
    numeric = [any(isinstance(row[n], int | float | Shown) for row in table.rows) for n in range(len(table.names))]
    classes = [' class="n"' if each else "" for each in numeric]
    head = "".join(f'<th scope="col"{c}>{html.escape(each)}</th>' for each, c in zip(table.names, classes, strict=True))
    rows = []
    for row in table.rows:
        cells = []
        for n, value in enumerate(row):
            key = value.value if isinstance(value, Shown) else value if isinstance(value, int | float) else None
            sort = f' data-sort="{"" if key is None else repr(key)}"' if numeric[n] else ""
            tag, scope = ("th", ' scope="row"') if n == 0 else ("td", "")
            cells.append(f"<{tag}{scope}{classes[n]}{sort}>{html_text(value)}</{tag}>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    sortable = ' class="sortable"' if len(rows) > 1 else ""
    frame = f'<div class="wide" role="region" aria-label="{html.escape(table.label)}" tabindex="0">'
    body = "\n".join(rows)
    return f"{frame}<table{sortable}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
