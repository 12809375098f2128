"""The figures of the report."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from signoff.features.recipe import names_of_values
from signoff.release.records import Diagnostics, Drift, Effect, Importance, Metrics, PredictionIntervals, SliceRow
from signoff.report.drawing import BLUE, GREEN, INK, LINE, ORANGE, SOFT, bars, new_figure, plotting, short, with_legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The most bars in one figure.
_MOST = 15
# In characters.
_LONGEST_VALUE, _LONGEST_NAME = 20, 30


def figures(metrics: Metrics, diagnostics: Diagnostics, holdout: pd.DataFrame) -> "Iterator[tuple[str, str, Figure]]":
    """Yield each figure with its section of the report and its name.

    `holdout` are the held-out rows: actual, predicted and, with a time column, time.
    """
    target = short(metrics["target"], 20)
    yield "Results", "predicted_against_actual", _predicted_against_actual(holdout, target)
    yield "Results", "residuals", _residuals(holdout, target)
    yield "Results", "error_over_time", _error_over_time(holdout, target)
    mae = float(metrics["model"]["test"]["MAE"] or 0)
    yield "Slices", "slices", _slices(diagnostics["slices"]["rows"][:_MOST], mae, target)
    yield "Drift", "drift", _drift(diagnostics["drift"])
    yield "Prediction intervals", "coverage", _coverage(diagnostics["prediction_interval"])
    yield "Importance", "importance", _importance(diagnostics["importance"][:_MOST], target)
    order = [each["feature"] for each in diagnostics["importance"]]
    effects = sorted(diagnostics["partial_dependence"].items(), key=lambda each: order.index(each[0]))
    yield (
        "Importance",
        "partial_dependence",
        _partial_dependence(effects[:6], target, diagnostics.get("date_parts", {})),
    )


def _predicted_against_actual(holdout: pd.DataFrame, target: str) -> "Figure":
    """Draw the cloud of the held-out rows."""
    actual, predicted = holdout["actual"], holdout["predicted"]
    figure, axes = new_figure(4.6)
    # matplotlib is imported only where figures are drawn.
    from matplotlib.colors import LinearSegmentedColormap, LogNorm
    from matplotlib.ticker import MaxNLocator

    colours = LinearSegmentedColormap.from_list("rows", ["#9cc9e6", BLUE, "#001f38"])
    cells = axes.hexbin(actual, predicted, gridsize=60, mincnt=1, cmap=colours, rasterized=True)
    counts = cells.get_array()
    many = counts is not None and counts.max() > 10
    cells.set_norm(LogNorm() if many else None)
    bar = figure.colorbar(cells, label="rows (log scale)" if many else "rows", format="{x:,.0f}")
    if bar.solids is not None:
        bar.solids.set_rasterized(True)
    if not many:
        bar.locator = MaxNLocator(integer=True)
    ends = [min(actual.min(), predicted.min()), max(actual.max(), predicted.max())]
    axes.plot(ends, ends, color=INK, linewidth=1, linestyle="--", label="exact")
    axes.set(xlabel=f"actual {target}", ylabel=f"predicted {target}")
    axes.legend(frameon=False)
    return figure


def _residuals(holdout: pd.DataFrame, target: str) -> "Figure":
    """Draw how the errors are spread."""
    found = holdout["predicted"] - holdout["actual"]
    figure, axes = new_figure(3.4)
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


def _error_over_time(holdout: pd.DataFrame, target: str) -> "Figure":
    """Draw the error by week or, without times, by twentieths of the rows."""
    figure, axes = new_figure(3.2)
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


def _slices(rows: list[SliceRow], overall: float, target: str) -> "Figure":
    """Draw the error of each slice with its interval, the worst above."""
    figure, axes = bars(len(rows))
    axes.axvline(overall, color=SOFT, linewidth=1, linestyle="--", label="all held-out rows")
    for n, row in enumerate(rows):
        low, high = row["MAE_interval"]
        colour, marker = (ORANGE, "s") if row["worse"] else (BLUE, "o")
        label = "the model, worse than the champion" if row["worse"] else "the model"
        if low is not None and high is not None:
            axes.hlines(n, low, high, color=colour, linewidth=2)
        axes.plot(row["MAE"], n, marker=marker, color=colour, linestyle="none", label=label)
        if row["champion_MAE"] is not None:
            style: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": INK, "linestyle": "none"}
            axes.plot(row["champion_MAE"], n, marker="D", label="the champion", **style)
    axes.set_yticks(range(len(rows)), [_slice_name(row["feature"], row["value"]) for row in rows])
    axes.set(xlabel=f"MAE of {target}")
    axes.set_xlim(left=0)
    return with_legend(figure, axes)


def _slice_name(feature: str, value: str) -> str:
    """Return the name of a slice, in which a long feature is cut before the value is."""
    value = short(value, _LONGEST_VALUE)
    return f"{short(feature, max(_LONGEST_NAME - len(value), 8))} = {value}"


def _drift(found: Drift) -> "Figure":
    """Draw the PSI of each feature, the largest above."""
    both = [(found["training"], "held-out rows against training rows", BLUE)]
    both += [(found["release"], "these data against the release's", GREEN)] if found["release"] is not None else []
    sides = [(name, colour, {each["feature"]: each["psi"] or 0.0 for each in rows}) for rows, name, colour in both]
    largest: dict[str, float] = {}
    for _, _, values in sides:
        largest |= {feature: max(psi, largest.get(feature, 0.0)) for feature, psi in values.items()}
    features = sorted(largest, key=lambda each: -largest[each])[:_MOST]
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


def _coverage(interval: PredictionIntervals) -> "Figure":
    """Draw the share of the held-out rows inside their prediction interval: over time or, without times, by slice."""
    percent: dict[str, Any] = {"color": SOFT, "linewidth": 1, "linestyle": "--"}
    percent["label"] = f"promised: {interval['level']:.0%}"
    if interval["over_time"]:
        figure, axes = new_figure(3.2)
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
    rows = sorted(interval["by_slice"], key=lambda each: each["coverage"])[:_MOST]
    figure, axes = bars(len(rows))
    axes.axvline(interval["level"], **percent)
    axes.plot([each["coverage"] for each in rows], range(len(rows)), "o", color=BLUE, label="found")
    axes.set_yticks(range(len(rows)), [_slice_name(row["feature"], row["value"]) for row in rows])
    axes.set(xlabel="rows inside their interval")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    return with_legend(figure, axes)


def _importance(rows: list[Importance], target: str) -> "Figure":
    """Draw by how much the error rises when a feature is shuffled, with its standard error."""
    figure, axes = bars(len(rows))
    spread: dict[str, Any] = {"xerr": [each["std"] for each in rows]}
    spread["error_kw"] = {"ecolor": INK, "elinewidth": 1, "capsize": 3}
    axes.barh(range(len(rows)), [each["mean"] for each in rows], 0.7, color=BLUE, **spread)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), [short(each["feature"]) for each in rows])
    axes.set(xlabel=f"rise of the MAE of {target}")
    return figure


def _partial_dependence(effects: list[tuple[str, Effect]], target: str, parts: dict[str, str]) -> "Figure":
    """Draw the mean prediction over the values of each feature, on one scale; `parts` are the features of dates."""
    lines = max(1, -(-len(effects) // 2))
    figure: Figure
    figure, grid = plotting().subplots(lines, 2, figsize=(5.5, 0.4 + 2 * lines), sharey=True, squeeze=False)
    for axes in grid.flat[len(effects) :]:
        axes.set_visible(False)
    for axes, (feature, effect) in zip(grid.flat, effects, strict=False):
        _effect(axes, effect, names_of_values(parts.get(feature)))
        axes.set_xlabel(short(feature, 28))
        axes.grid(axis="y", color=LINE, linewidth=0.6)
    figure.supylabel(f"mean prediction of {target}", fontsize=11)
    return figure


def _effect(axes: "Axes", effect: Effect, names: dict[float, str]) -> None:
    """Draw the mean prediction over the values of one feature, some of which have names."""
    values, mean = effect["values"], effect["mean"]
    if all(isinstance(each, int | float) and not isinstance(each, bool) for each in values):
        axes.plot(values, mean, color=BLUE, marker="." if len(values) < 25 else None)
        if names and all(each in names for each in values):
            axes.set_xticks(values, [names[each][:3] for each in values], rotation=45, ha="right")
    else:
        axes.plot(range(len(values)), mean, color=BLUE, marker="o", linestyle="none")
        axes.set_xticks(range(len(values)), [short(each, 12) for each in values], rotation=45, ha="right")
