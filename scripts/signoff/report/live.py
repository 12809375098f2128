"""The live record in the report and in the history: the accuracy of each release by week."""

from collections.abc import Mapping, Sequence
from typing import Any

from signoff.release.live_record import Live, LiveWeek, warnings
from signoff.report.document import Alarm, Block, Figure, Items, Section, Shown, Table, Words
from signoff.report.drawing import BLUE, GREEN, LIGHT, ORANGE, new_figure, svg, with_legend
from signoff.report.timeline import date_axis, when

# The newest weeks; the others are in reports/live.csv.
_MOST_WEEKS = 26


def live_section(live: Live, numbers: Mapping[str, int] | None = None) -> Section:
    """Return the section of the live record: its warnings, and a table of its newest weeks, the newest first.

    `numbers` has the short number of each release, if the document uses such numbers.
    """
    lines: Sequence[LiveWeek] = live["weeks"]
    problems: list[Words] = [[Alarm(each)] for each in warnings(live, live["release"])]
    blocks: list[Block] = [Items(problems)] if problems else []
    answered = [line for line in lines if line["answered"]]
    if not answered:
        return Section("Live record", [*blocks, "No predicted row has a known value yet."])
    blocks.append(
        f"{live['rows']:,} rows predicted, of which {live['answered']:,} have a known value. A row that came after the "
        "data of the release and was never predicted counts as if it had been. All weeks are in reports/live.csv."
    )
    names = ["week from", "release", "rows", "MAE", "promised", "best baseline", "bias", "coverage", "alarms"]
    rows = [_row(line, numbers or {}) for line in reversed(answered[-_MOST_WEEKS:])]
    return Section("Live record", [*blocks, Table("Live error by week", names, rows)])


def live_figure(live: Live) -> Figure | None:
    """Return the figure of the live error by week; None if no week has an answer."""
    lines: list[LiveWeek] = [line for line in live["weeks"] if line["answered"] and line["week"]][-2 * _MOST_WEEKS :]
    if not lines:
        return None
    figure, axes = new_figure(3.2)
    # matplotlib accepts times, but its type hints do not include them.
    drawn: Any = axes
    for release in dict.fromkeys(line["release"] for line in lines):
        own = [line for line in lines if line["release"] == release]
        weeks = [when(str(line["week"])) for line in own]
        drawn.plot(weeks, [line["MAE"] for line in own], "o-", color=BLUE, markersize=4, label="MAE")
        drawn.plot(weeks, [line["promised_MAE"] for line in own], "_--", color=ORANGE, label="promised by the report")
        baseline = [float("nan") if line["baseline_MAE"] is None else line["baseline_MAE"] for line in own]
        drawn.plot(weeks, baseline, "_:", color=GREEN, label="best baseline")
    doubtful = [line for line in lines if line["alarms"]]
    if doubtful:
        at, errors = [when(str(line["week"])) for line in doubtful], [line["MAE"] for line in doubtful]
        drawn.scatter(at, errors, marker="X", s=70, color=LIGHT["bad"], label="alarm", zorder=3)
    date_axis(axes)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("MAE")
    caption = "The error of the deployed releases by week, from the values that came later. Lower is better."
    return Figure("live_error", caption, svg(with_legend(figure, axes), "live_error", "Live error by week"))


def _row(line: LiveWeek, numbers: Mapping[str, int]) -> list[Words]:
    """Return a line of the table."""
    rows = f"{line['answered']:,}{' (as if predicted)' if line['as_if'] else ''}"
    alarms: Words = Alarm(", ".join(line["alarms"])) if line["alarms"] else ""
    release: Words = numbers.get(line["release"], line["release"])
    return [
        line["week"] or "unknown",
        release,
        Shown(rows, line["answered"]),
        _cell(line["MAE"], ".4g"),
        _cell(line["promised_MAE"], ".4g"),
        _cell(line["baseline_MAE"], ".4g"),
        _cell(line["bias"], "+.4g"),
        _cell(line["coverage"], ".1%"),
        alarms,
    ]


def _cell(value: float | None, form: str) -> Words:
    return "" if value is None else Shown(format(value, form), value)
