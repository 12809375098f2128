"""The style of all figures, as PNG for Markdown and as SVG for the page; the same data give the same bytes."""

import io
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from signoff.base.files import replacing
from signoff.report.document import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LIGHT = {name: light for name, (light, _) in COLOURS.items()}
BLUE, ORANGE, GREEN, INK, SOFT, LINE = (LIGHT[each] for each in ("blue", "orange", "green", "ink", "soft", "line"))
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


def new_figure(height: float) -> "tuple[Figure, Axes]":
    """Return a figure of that height in inches, as wide as all others, and its axes."""
    figure: Figure
    axes: Axes
    figure, axes = plotting().subplots(figsize=(5.5, height))
    return figure, axes


def bars(count: float) -> "tuple[Figure, Axes]":
    """Return a figure as high as `count` bars need, and its axes, with the first bar at the top."""
    figure, axes = new_figure(1.5 + 0.27 * max(count, 1))
    axes.invert_yaxis()
    if not count:
        axes.text(0.5, 0.5, "nothing to show", transform=axes.transAxes, ha="center", va="center", color=SOFT)
    return figure, axes


def with_legend(figure: "Figure", axes: "Axes") -> "Figure":
    """Return the figure with a legend below its axes, each label once."""
    legend = {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def short(text: object, most: int = 30) -> str:
    """Return a name of at most `most` characters that matplotlib writes unchanged."""
    text = " ".join(str(text).split())
    # Between two dollar signs it would typeset a formula.
    return (text if len(text) <= most else f"{text[: most - 1]}…").replace("$", r"\$")


def plotting() -> ModuleType:
    """Return matplotlib's pyplot in the style of all figures; imported here, since only figures need it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams |= {
        "font.family": "sans-serif",
        "font.size": 11,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": SOFT,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.constrained_layout.use": True,
        "svg.hashsalt": "signoff",
        "svg.fonttype": "none",
    }
    return plt


def save_figure(figure: "Figure", path: Path, close: bool = True) -> None:
    """Write a figure as PNG, atomically."""
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(110)
    with replacing(path) as new:
        # savefig would draw the figure twice, the first time only for its layout.
        FigureCanvasAgg(figure).print_png(new, metadata={"Software": None})  # type: ignore[no-untyped-call]
    if close:
        plt.close(figure)
    else:
        # The layout is already computed, and computing it again takes as long as drawing.
        figure.set_layout_engine("none")


def svg(figure: "Figure", name: str, label: str) -> str:
    """Return a figure as an SVG element for a page, and close it.

    Its colours are variables of the page, so that they follow a dark scheme. Its ids begin with `name`, so that those
    of two figures differ. Screen readers read `label`.
    """
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure.set_dpi(150)
    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set(facecolor="none", edgecolor="none")
    written = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    plt.close(figure)
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(written.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
        for key, value in parent.attrib.items():
            parent.set(key, _on_the_page(key, value, name))
    for size in ("width", "height"):
        del root.attrib[size]
    root.set("role", "img")
    root.set("aria-label", label)
    return ElementTree.tostring(root, encoding="unicode")


def _on_the_page(key: str, value: str, name: str) -> str:
    """Return the value of an attribute with `name` before each id and reference, and the page's names of colours."""
    if key == "id" or value.startswith("#"):
        return f"{'#' * value.startswith('#')}{name}-{value.lstrip('#')}"
    if key in ("style", "fill", "stroke"):
        named = {light: f"var(--{colour})" for colour, light in LIGHT.items()}
        return re.sub("#[0-9a-f]{6}", lambda found: named.get(found[0], found[0]), value)
    return value.replace("url(#", f"url(#{name}-") if value.startswith("url(#") else value
