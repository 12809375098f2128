"""The figures of the report, in one style: PNG for Markdown, SVG for the page; the same data give the same bytes."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from signoff.base.files import replacing
from signoff.report.document import COLOURS

LIGHT = {name: light for name, (light, _) in COLOURS.items()}
BLUE, ORANGE, GREEN, INK, SOFT, LINE = (LIGHT[each] for each in ("blue", "orange", "green", "ink", "soft", "line"))
# The most bars in one figure.
MOST = 15
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


def figures(metrics: dict, diagnostics: dict, holdout: pd.DataFrame) -> Iterator[tuple[str, str, object]]:
    """Yield the section of the report that each figure stands in, its name, and the figure.

    Parameters
    ----------
    metrics, diagnostics
        As they stand in evaluation_metrics.json and diagnostics.json.
    holdout
        The held-out rows: actual, predicted and, where there is a time column, time.
    """
    target = short(metrics["target"], 20)
    yield "Results", "predicted_against_actual", predicted_against_actual(holdout, target)
    yield "Results", "residuals", residuals(holdout, target)
    yield "Results", "error_over_time", error_over_time(holdout, target)
    yield "Slices", "slices", slices(diagnostics["slices"]["rows"][:MOST], metrics["model"]["test"]["MAE"], target)
    yield "Drift", "drift", drift(diagnostics["drift"])
    yield "Prediction intervals", "coverage", coverage(diagnostics["prediction_interval"])
    yield "Importance", "importance", importance(diagnostics["importance"][:MOST], target)
    order = [each["feature"] for each in diagnostics["importance"]]
    effects = sorted(diagnostics["partial_dependence"].items(), key=lambda each: order.index(each[0]))
    yield "Importance", "partial_dependence", partial_dependence(effects[:6], target)


def predicted_against_actual(holdout: pd.DataFrame, target: str):
    """Draw the cloud of the held-out rows."""
    actual, predicted = holdout["actual"], holdout["predicted"]
    plt = plotting()
    from matplotlib.colors import LinearSegmentedColormap, LogNorm
    from matplotlib.ticker import MaxNLocator

    figure, axes = plt.subplots(figsize=(5.5, 4.6))
    colours = LinearSegmentedColormap.from_list("rows", ["#9cc9e6", BLUE, "#001f38"])
    cells = axes.hexbin(actual, predicted, gridsize=60, mincnt=1, cmap=colours, rasterized=True)
    many = cells.get_array().max() > 10
    cells.set_norm(LogNorm() if many else None)
    bar = figure.colorbar(cells, label="rows (log scale)" if many else "rows", format="{x:,.0f}")
    bar.solids.set_rasterized(True)
    if not many:
        bar.locator = MaxNLocator(integer=True)
    ends = [min(actual.min(), predicted.min()), max(actual.max(), predicted.max())]
    axes.plot(ends, ends, color=INK, linewidth=1, linestyle="--", label="exact")
    axes.set(xlabel=f"actual {target}", ylabel=f"predicted {target}")
    axes.legend(frameon=False)
    return figure


def residuals(holdout: pd.DataFrame, target: str):
    """Draw how the errors are spread."""
    found = holdout["predicted"] - holdout["actual"]
    figure, axes = plotting().subplots(figsize=(5.5, 3.4))
    low, high = found.quantile([0.005, 0.995])
    beyond = int(((found < low) | (found > high)).sum())
    inside = found.clip(low, high) if high > low else found
    axes.hist(inside, bins=60, color=BLUE)
    axes.axvline(0, color=INK, linewidth=1)
    axes.axvline(found.mean(), color=ORANGE, linewidth=1.5, linestyle="--", label=f"mean {found.mean():.3g}")
    note = f"\n{beyond:,} rows beyond the edges are counted at them" if beyond and high > low else ""
    axes.set(xlabel=f"predicted − actual {target}{note}", ylabel="rows")
    axes.legend(frameon=False)
    return figure


def error_over_time(holdout: pd.DataFrame, target: str):
    """Draw the error by week or, without times, by twentieths of the rows."""
    figure, axes = plotting().subplots(figsize=(5.5, 3.2))
    errors = (holdout["predicted"] - holdout["actual"]).abs()
    if "time" in holdout:
        by_week = errors.groupby(holdout["time"].dt.tz_localize(None).dt.to_period("W").dt.start_time).mean()
        axes.plot(by_week.index, by_week, marker="o", color=BLUE)
        if len(by_week) <= 12:
            axes.set_xticks(by_week.index)
        axes.set(xlabel="week beginning", ylabel=f"MAE of {target}")
        figure.autofmt_xdate()
    else:
        groups = pd.qcut(pd.Series(range(len(errors)), errors.index), min(20, len(errors)), labels=False)
        by_group = errors.groupby(groups).mean()
        axes.plot(by_group.index + 1, by_group, marker="o", color=BLUE)
        axes.set(xlabel="held-out rows, in their order, by twentieths", ylabel=f"MAE of {target}")
    axes.set_ylim(0, 1.1 * axes.dataLim.y1 or 1)
    return figure


def slices(rows: list[dict], overall: float, target: str):
    """Draw the error of each slice with its interval, the worst above."""
    figure, axes = bars(len(rows))
    axes.axvline(overall, color=SOFT, linewidth=1, linestyle="--", label="all held-out rows")
    for n, row in enumerate(rows):
        low, high = row["MAE_interval"]
        colour, marker = (ORANGE, "s") if row["worse"] else (BLUE, "o")
        label = "the model, worse than the champion" if row["worse"] else "the model"
        axes.hlines(n, low, high, color=colour, linewidth=2)
        axes.plot(row["MAE"], n, marker=marker, color=colour, linestyle="none", label=label)
        if row["champion_MAE"] is not None:
            style = {"markerfacecolor": "none", "markeredgecolor": INK, "linestyle": "none", "label": "the champion"}
            axes.plot(row["champion_MAE"], n, marker="D", **style)
    axes.set_yticks(range(len(rows)), [short(f"{row['feature']} = {row['value']}") for row in rows])
    axes.set(xlabel=f"MAE of {target}")
    axes.set_xlim(left=0)
    return with_legend(figure, axes)


def drift(found: dict):
    """Draw the PSI of each feature, the largest above."""
    sides = [
        (name, colour, {each["feature"]: each["psi"] or 0.0 for each in found[key]})
        for key, name, colour in (
            ("training", "held-out rows against training rows", BLUE),
            ("release", "these data against the release's", GREEN),
        )
        if found[key] is not None
    ]
    largest = {}
    for _, _, values in sides:
        largest |= {feature: max(psi, largest.get(feature, 0.0)) for feature, psi in values.items()}
    features = sorted(largest, key=lambda each: -largest[each])[:MOST]
    figure, axes = bars(len(features) * (1 + 0.4 * (len(sides) - 1)))
    height = 0.8 / len(sides)
    for side, (name, colour, values) in enumerate(sides):
        at = [n + (side + 0.5) * height - 0.4 for n, each in enumerate(features) if each in values]
        axes.barh(at, [values[each] for each in features if each in values], height * 0.9, color=colour, label=name)
    for limit, style in ((0.1, ":"), (0.25, "--")):
        axes.axvline(limit, color=SOFT, linewidth=1, linestyle=style, label=f"PSI {limit}")
    axes.set_yticks(range(len(features)), [short(each) for each in features])
    axes.set(xlabel="population stability index (PSI, no unit)")
    return with_legend(figure, axes)


def coverage(interval: dict):
    """Draw the share of the held-out rows inside their prediction interval: over time or, without times, by slice."""
    percent = {"color": SOFT, "linewidth": 1, "linestyle": "--", "label": f"promised: {interval['level']:.0%}"}
    if interval["over_time"]:
        figure, axes = plotting().subplots(figsize=(5.5, 3.2))
        times = pd.to_datetime([each["time"] for each in interval["over_time"]], utc=True).tz_localize(None)
        axes.axhline(interval["level"], **percent)
        shares = [each["coverage"] for each in interval["over_time"]]
        axes.plot(times, shares, marker="o", color=BLUE, label="found")
        if len(times) <= 12:
            axes.set_xticks(times)
        axes.set(xlabel="week beginning", ylabel="rows inside their interval")
        axes.set_ylim(min(0.5, *shares), 1.02)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        figure.autofmt_xdate()
        axes.legend(frameon=False)
        return figure
    rows = sorted(interval["by_slice"], key=lambda each: each["coverage"])[:MOST]
    figure, axes = bars(len(rows))
    axes.axvline(interval["level"], **percent)
    axes.plot([each["coverage"] for each in rows], range(len(rows)), "o", color=BLUE, label="found")
    axes.set_yticks(range(len(rows)), [short(f"{row['feature']} = {row['value']}") for row in rows])
    axes.set(xlabel="rows inside their interval")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    return with_legend(figure, axes)


def importance(rows: list[dict], target: str):
    """Draw by how much the error rises when a feature is shuffled, with its standard error."""
    figure, axes = bars(len(rows))
    spread = {"xerr": [each["std"] for each in rows], "error_kw": {"ecolor": INK, "elinewidth": 1, "capsize": 3}}
    axes.barh(range(len(rows)), [each["mean"] for each in rows], 0.7, color=BLUE, **spread)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), [short(each["feature"]) for each in rows])
    axes.set(xlabel=f"rise of the MAE of {target}")
    return figure


def partial_dependence(effects: list[tuple[str, dict]], target: str):
    """Draw the mean prediction over the values of each feature, on one scale."""
    lines = max(1, -(-len(effects) // 2))
    figure, grid = plotting().subplots(lines, 2, figsize=(5.5, 0.4 + 2 * lines), sharey=True, squeeze=False)
    for axes in grid.flat[len(effects) :]:
        axes.set_visible(False)
    for axes, (feature, effect) in zip(grid.flat, effects, strict=False):
        values, mean = effect["values"], effect["mean"]
        if all(isinstance(each, int | float) and not isinstance(each, bool) for each in values):
            axes.plot(values, mean, color=BLUE, marker="." if len(values) < 25 else None)
        else:
            axes.plot(range(len(values)), mean, color=BLUE, marker="o", linestyle="none")
            axes.set_xticks(range(len(values)), [short(each, 12) for each in values], rotation=45, ha="right")
        axes.set_xlabel(short(feature, 28))
        axes.grid(axis="y", color=LINE, linewidth=0.6)
    figure.supylabel(f"mean prediction of {target}", fontsize=11)
    return figure


def bars(count: float):
    """Return a figure as high as so many bars need, the first one above; it says so where there is none."""
    figure, axes = plotting().subplots(figsize=(5.5, 1.5 + 0.27 * max(count, 1)))
    axes.invert_yaxis()
    if not count:
        axes.text(0.5, 0.5, "nothing to show", transform=axes.transAxes, ha="center", va="center", color=SOFT)
    return figure, axes


def with_legend(figure, axes):
    """Give a figure its legend, each label once, below the axes."""
    legend = {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def plain(text: object) -> str:
    """Return text that matplotlib writes as it is: between two dollar signs it would set a formula."""
    return str(text).replace("$", r"\$")


def short(text: object, most: int = 30) -> str:
    """Return a name that leaves room for the figure."""
    text = " ".join(str(text).split())
    return plain(text if len(text) <= most else f"{text[: most - 1]}…")


def plotting():
    """Return matplotlib's pyplot, set to the style of every figure; imported here, since only figures need it."""
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


def save_figure(figure, path: Path, close: bool = True) -> None:
    """Write a figure as PNG, atomically; the same figure gives the same bytes."""
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(110)
    with replacing(path) as new:
        # Not savefig, which draws once more, only to lay out.
        FigureCanvasAgg(figure).print_png(new, metadata={"Software": None})
    if close:
        plt.close(figure)
    else:
        # Laid out is it now, which costs as much as drawing it.
        figure.set_layout_engine("none")


def svg(figure, name: str, label: str) -> str:
    """Return a figure as an SVG element for a page, and close it.

    Its colours are those of the page by name, so that they follow it into the dark; its ids begin with `name`, so that
    those of two figures do not meet; `label` is what it is called where it cannot be seen.
    """
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure.set_dpi(150)
    for each in (figure, *figure.axes):
        each.patch.set(facecolor="none", edgecolor="none")
    written = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(written.getvalue())
    named = {light: f"var(--{colour})" for colour, light in LIGHT.items()}
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
        for key, value in parent.attrib.items():
            if key == "id" or value.startswith("#"):
                parent.set(key, f"{'#' * value.startswith('#')}{name}-{value.lstrip('#')}")
            elif key in ("style", "fill", "stroke"):
                parent.set(key, re.sub("#[0-9a-f]{6}", lambda found: named.get(found[0], found[0]), value))
            elif value.startswith("url(#"):
                parent.set(key, value.replace("url(#", f"url(#{name}-"))
    for size in ("width", "height"):
        del root.attrib[size]
    root.set("role", "img")
    root.set("aria-label", label)
    return ElementTree.tostring(root, encoding="unicode")
