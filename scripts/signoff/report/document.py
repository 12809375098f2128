"""A document as data: sections and boxes of text, lists, tables and figures. Its forms are `markdown` and `page`."""

from typing import NamedTuple, TypeAlias

# Colours by name, for a light and a dark page; blue, orange and green are those of Okabe and Ito (2008), which
# colour-blind readers can distinguish. Figures use the light ones; within a page they follow its scheme.
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


class Code(str):
    """Text for a machine: a command, a path, a digest."""


class Strong(str):
    """Emphasised text."""


class Alarm(Strong):
    """Text that reports a problem."""


class Link(NamedTuple):
    """A link to a file beside the document."""

    text: str
    to: str


class Shown(NamedTuple):
    """The text of a cell, and the number by which its column is sorted."""

    text: str
    value: float | None


# A string, a number, or a list of pieces; what `shown` writes.
Words: TypeAlias = "str | float | Link | Shown | list[Words] | None"


class Items(NamedTuple):
    """A bulleted list."""

    items: list[Words]


class Table(NamedTuple):
    """A table. A newline within a cell begins a new line."""

    label: str
    names: list[str]
    rows: list[list[Words]]

    def numeric(self) -> list[bool]:
        """Return for each column whether it has a number."""
        return [any(isinstance(row[n], int | float | Shown) for row in self.rows) for n in range(len(self.names))]


class Figure(NamedTuple):
    """A figure: figures/NAME.png beside the Markdown, an SVG element in the page. Its caption says what to look for."""

    name: str
    caption: str
    svg: str


class Drawing(NamedTuple):
    """An SVG element as wide as the page, which has no Markdown form."""

    svg: str


class Field(NamedTuple):
    """A field of a form: `kind` is text, area (several lines), file (an area that a file can fill), or choice."""

    name: str
    label: str
    kind: str
    value: str = ""
    hint: str = ""
    required: bool = True
    choices: tuple[tuple[str, str], ...] = ()


class Form(NamedTuple):
    """A form that is posted to `action`, with hidden values; it has no Markdown form."""

    action: str
    hidden: dict[str, str]
    fields: list[Field]
    button: str


class Frame(NamedTuple):
    """Another page of the same server in a frame that isolates it; it has no Markdown form."""

    title: str
    address: str


class Download(NamedTuple):
    """A link that saves a small text under a name; it has no Markdown form."""

    name: str
    content: bytes


Block: TypeAlias = "Words | Items | Table | Figure | Drawing | Form | Frame | Download"


class Box(NamedTuple):
    """The box that is read first. `tone` is good, bad or doubt; each side is a heading with its points."""

    tone: str
    title: str
    blocks: list[Block]
    sides: dict[str, list[Words]]


class Section(NamedTuple):
    """A heading with its blocks."""

    title: str
    blocks: list[Block]


# Blocks outside sections come before the first one.
Part: TypeAlias = "Box | Section | Block"


def plain_text(value: Words) -> str:
    """Return the text of a string or a number; an empty one for None."""
    if isinstance(value, str):
        return value
    if isinstance(value, Link | Shown):
        return value.text
    if isinstance(value, list):
        return "".join(map(plain_text, value))
    return "" if value is None else number(value)


def number(value: float | None) -> str:
    """Return an integer with all its digits, any other number with four significant digits, or "undefined"."""
    if value is None:
        return "undefined"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
