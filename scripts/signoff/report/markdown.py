"""A document as Markdown."""

import re
from collections.abc import Sequence

from signoff.report.document import (
    Block,
    Box,
    Code,
    Download,
    Drawing,
    Figure,
    Form,
    Frame,
    Items,
    Link,
    Part,
    Section,
    Strong,
    Table,
    Words,
    plain_text,
)


def markdown(title: str, parts: Sequence[Part]) -> str:
    """Return a document as Markdown."""
    lines = [f"# {cell(title)}"]
    for part in parts:
        if isinstance(part, Box):
            inner = [f"**{cell(part.title)}**", *_spaced(part.blocks)]
            for heading, points in part.sides.items():
                inner += ["", f"**{cell(heading)}**", *_spaced([Items(points)])]
            lines += ["", *(f"> {line}".rstrip() for line in inner)]
        elif isinstance(part, Section):
            lines += ["", f"## {cell(part.title)}", *_spaced(part.blocks)]
        else:
            lines += _spaced([part])
    return "\n".join(lines) + "\n"


def markdown_table(names: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a table whose cells are Markdown."""
    return [f"| {' | '.join(row)} |" for row in (names, ["---"] * len(names), *rows)]


def cell(text: object) -> str:
    """Return text escaped, in one line, so that Markdown shows it unchanged."""
    escaped = str(text).replace("&", "&amp;").replace("<", "&lt;")
    return " ".join(re.sub(r"([\\`*_\[\]|~$])", r"\\\1", escaped).split())


def _spaced(blocks: list[Block]) -> list[str]:
    """Return the lines of some blocks, each after an empty line."""
    return [line for block in blocks for line in ("", *_block(block))]


def _block(block: Block) -> list[str]:
    """Return the lines of one block."""
    if isinstance(block, Items):
        return [f"- {_text(each)}" for each in block.items]
    if isinstance(block, Table):
        return markdown_table([cell(each) for each in block.names], [list(map(_text, row)) for row in block.rows])
    if isinstance(block, Figure):
        name = block.name
        return [f"![{name.replace('_', ' ')}](figures/{name}.png)", "", f"*{cell(block.caption)}*"]
    if isinstance(block, Drawing | Download | Form | Frame):
        return []
    return [_text(block)]


def _text(words: Words) -> str:
    """Return text in Markdown."""
    if isinstance(words, Link):
        return f"[{cell(words.text)}]({words.to})"
    if isinstance(words, list):
        return "".join(map(_text, words))
    # A backtick or a bar would end the code or the cell.
    if isinstance(words, Code) and not re.search(r"[`|\n]", words):
        return f"`{words}`"
    # Emphasis begins and ends at a word, so the spaces around it stay outside.
    found = re.fullmatch(r"(\s*)(.*?)(\s*)", plain_text(words), flags=re.S)
    before, text, after = found.groups() if found else ("", "", "")
    text = f"**{cell(text)}**" if isinstance(words, Strong) else cell(text)
    return f"{' ' if before else ''}{text}{' ' if after else ''}"
