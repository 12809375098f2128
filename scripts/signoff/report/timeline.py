"""The figure of all runs and releases over time."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from signoff.report.drawing import INK, LIGHT, LINE, SOFT, plotting, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"passed": LIGHT["blue"], "failed": LIGHT["bad"], "threshold": LIGHT["doubt"]}
_BANDS = [LIGHT["line"], LIGHT["shade"]]
# The marker of each verdict, and its size.
_MARKERS = {"passed": ("o", 18), "failed": ("X", 42)}
_LIMITS = {"MAE": "mae_max", "R2": "r2_min"}


class Run(TypedDict, total=False):
    """A line of logs/runs.jsonl; one without a verdict has no scores."""

    at: str
    verdict: str
    MAE: float | None
    R2: float | None
    rows: int
    thresholds: dict[str, float | None]
    model_sha256: str | None
    release: str | None
    seconds: float | None
    cause: str | None
    stale: str | None
    exit_code: int | None
    log: str | None
    models: int
    models_failed: int
    models_waiting: int
    waiting: Any
    alarms: list[dict[str, str]]
    live: list[str]
    rolled_back: str | None
    rollback_failed: str
    events: list[str]
    notified: list[str]


@dataclass(frozen=True)
class Period:
    """A span of time in which a release was current."""

    start: datetime
    end: datetime
    release: str


def when(at: str) -> datetime:
    """Return a time of the list of runs or of the history in UTC, without a zone, as matplotlib takes it."""
    return datetime.fromisoformat(at).replace(tzinfo=None)


def timeline(runs: list[Run], periods: list[Period], numbers: dict[str, int], released: set[str | None]) -> str:
    """Return an SVG element with the current release, MAE, R2 and rows over time, one below the other.

    `numbers` has the number of each release by name; `released` are the digests of the models that were released.
    """
    figure: Figure
    figure, axes = plotting().subplots(4, figsize=(10, 7.5), sharex=True, height_ratios=[0.35, 3, 3, 2])
    strip, *panels = axes
    times = [*(when(run["at"]) for run in runs), *(time for each in periods for time in (each.start, each.end))]
    margin = max((max(times) - min(times)) * 0.02, timedelta(days=1))
    strip.set_xlim(min(times) - margin, max(times) + margin)
    _releases(strip, periods, numbers, margin)
    for panel in panels:
        for period in periods:
            panel.axvline(period.start, color=SOFT, linewidth=0.8, linestyle=":", label="the release changes")
    for panel, metric in zip(panels, _LIMITS, strict=False):
        _scores(panel, runs, metric, released, margin)
    panels[0].set_title("MAE: lower is better; R2: higher is better", loc="left", fontsize=10)
    _rows(panels[2], runs)
    for panel in panels:
        _without_verdict(panel, runs)
    date_axis(panels[2])
    legend = {
        label: handle for panel in panels[:2] for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return svg(figure, "history", "The current release, MAE, R2 and rows over time")


def _releases(strip: "Axes", periods: list[Period], numbers: dict[str, int], margin: timedelta) -> None:
    """Draw the current release as a strip, the last one to the edge."""
    # matplotlib accepts times and differences of times, but its type hints do not include them.
    drawn: Any = strip
    for n, each in enumerate(periods):
        end = each.end if n + 1 < len(periods) else each.end + margin
        width = end - each.start
        drawn.barh(0, width, left=each.start, height=1, color=_BANDS[n % 2])
        if width > 0.6 * margin:
            drawn.text(each.start + width / 2, 0, str(numbers[each.release]), ha="center", va="center", fontsize=9)
    strip.set(ylim=(-0.5, 0.5), yticks=[], ylabel="release")
    strip.yaxis.label.set(rotation=0, ha="right", va="center")
    strip.spines[:].set_visible(False)
    strip.tick_params(bottom=False)


def _scores(panel: "Axes", runs: list[Run], metric: str, released: set[str | None], margin: timedelta) -> None:
    """Draw a metric with its threshold, the verdicts, and the runs whose model was released."""
    drawn: Any = panel
    judged = [run for run in runs if run.get(metric) is not None]

    def points(some: list[Run]) -> tuple[list[datetime], list[Any]]:
        return [when(run["at"]) for run in some], [run.get(metric) for run in some]

    drawn.plot(*points(judged), color=LINE, linewidth=1)
    limits = [(when(run["at"]), run["thresholds"].get(_LIMITS[metric])) for run in judged if "thresholds" in run]
    if any(limit is not None for _, limit in limits):
        # A single run also gets a line.
        limits.append((limits[-1][0] + margin, limits[-1][1]))
        at, values = zip(*limits, strict=True)
        style = {"color": _COLOURS["threshold"], "linewidth": 1.2, "linestyle": "--", "where": "post"}
        drawn.step(at, [float("nan") if each is None else each for each in values], label="threshold", **style)
    for verdict, (marker, size) in _MARKERS.items():
        these = points([run for run in judged if run["verdict"] == verdict])
        drawn.scatter(*these, s=size, marker=marker, color=_COLOURS[verdict], label=f"verdict {verdict}", zorder=3)
    became = points([run for run in judged if run.get("model_sha256") in released])
    drawn.scatter(*became, s=110, facecolors="none", edgecolors=INK, label="its model was released")
    panel.set_ylabel(metric)


def _rows(panel: "Axes", runs: list[Run]) -> None:
    """Draw the number of rows."""
    drawn: Any = panel
    known = [(when(run["at"]), run["rows"]) for run in runs if "rows" in run]
    times, rows = [time for time, _ in known], [count for _, count in known]
    drawn.step(times, rows, where="post", color=SOFT)
    drawn.scatter(times, rows, s=8, color=SOFT)
    panel.set_ylabel("rows")
    panel.yaxis.set_major_formatter("{x:,.0f}")
    panel.set_ylim(bottom=0)


def _without_verdict(panel: "Axes", runs: list[Run]) -> None:
    """Mark the runs without a verdict at the bottom."""
    drawn: Any = panel
    lost = [when(run["at"]) for run in runs if run["verdict"] not in _MARKERS]
    style = {"s": 90, "color": LIGHT["bad"], "transform": panel.get_xaxis_transform()}
    drawn.scatter(lost, [0.03] * len(lost), marker="|", label="came to no verdict", **style)


def date_axis(panel: "Axes") -> None:
    """Label the axis with dates."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator: Any = AutoDateLocator(minticks=3)  # type: ignore[no-untyped-call]
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
