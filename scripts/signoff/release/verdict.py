"""The verdict of a run: thresholds and contract together."""

import os
import sys
from pathlib import Path

from signoff.base.files import read_utf8
from signoff.base.numbers import counted, decimals
from signoff.model.thresholds import DeployedScores
from signoff.release.records import Metrics, Validation
from signoff.tables.violations import describe

# The prefix of the summary's lines in the log.
MARK = "| "
_RED, _GREEN, _YELLOW, _PLAIN = "\033[31m", "\033[32m", "\033[33m", "\033[0m"


def verdict(validation: Validation, metrics: Metrics, on_failure: str = "fail") -> tuple[list[str], list[str]]:
    """Return the lines of the summary and the reasons why the run failed; no reasons if it passed.

    Parameters
    ----------
    validation, metrics
        What validate_data and evaluate_model wrote.
    on_failure
        validation.on_failure: with "warn", a violated contract does not count.
    """
    custom = metrics.get("custom_metrics")
    own = custom["names"] if custom else []
    cleaning, violations = metrics["cleaning"], describe(validation["violations"])
    rows = metrics["split"]["rows"]
    lines = [
        f"Rows        {cleaning['rows_in']:,} in, {cleaning['rows_out']:,} after cleaning: "
        f"{rows['train']:,} to train, {rows['test']:,} held out ({metrics['split']['rule']})"
        if cleaning
        else f"Rows        {rows['train']:,} to train, {rows['test']:,} held out",
        f"Contract    {validation['status']}"
        + ("" if validation["contract"] else " (no contract: kinds of values only)"),
        *(f"            {each}" for each in violations[:10]),
        *([f"            … and {len(violations) - 10} more"] if len(violations) > 10 else []),
        "Held out    MAE        R2" + "".join(f"  {name:>9}" for name in own),
    ]
    champion: DeployedScores = metrics["champion"] or {}
    scored = {"model": metrics["model"]}
    scored |= {f"champion: {champion['release']}": {"test": champion["test"]}} if "test" in champion else {}
    scored |= {f"baseline: {name}": scores for name, scores in metrics["baselines"].items()}
    for name, scores in scored.items():
        score = scores["test"]
        more = "".join(f"  {decimals(score.get(each)):>{max(9, len(each))}}" for each in own)
        lines.append(f"  {score['MAE']:>13.4f}  {decimals(score['R2']):>9}{more}   {name}")
    if "note" in champion:
        lines.append(f"Champion    {champion['release']}: {champion['note']}")
    if "problem" in champion:
        lines.append(f"Champion    {champion['release']} cannot be scored: {champion['problem']}")
    reasons = []
    for each in metrics["thresholds"]:
        line = f"{each['name']} {each['limit']:g}: {each['metric']} is {decimals(each['value'])}"
        lines.append(f"Threshold   {line}, {'passed' if each['passed'] else 'FAILED'}")
        if not each["passed"]:
            reasons.append(f"threshold {line}")
    if not metrics["thresholds"]:
        lines.append("Threshold   none is set")
    if violations and on_failure == "warn":
        times = counted(len(violations), "time")
        lines.append(f"Warning     the data contract is violated {times} (validation.on_failure: warn)")
    elif violations:
        reasons += [f"data contract: {each}" for each in violations]
    return lines, reasons


def logged_summary(log: Path) -> list[str]:
    """Return the lines of the summary that is in a verdict's log."""
    lines = [line.partition(f" - INFO - {MARK}")[2] for line in read_utf8(log, errors="replace").splitlines()]
    return [line for line in lines if line]


def show_summary(log: Path, next_command: str) -> None:
    """Print the summary that is in a verdict's log; on a terminal with failures in red and passes in green."""
    lines = [*logged_summary(log), f"Next        {next_command}"]
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        lines = [f"{_colour(line)}{line}{_PLAIN}" for line in lines]
    print("", *lines, sep="\n", file=sys.stderr)


def _colour(line: str) -> str:
    """Return the colour of a line of the summary."""
    if "fail" in line.lower():
        return _RED
    if line.startswith("Warning"):
        return _YELLOW
    return _GREEN if line.endswith(("passed", "pass")) else _PLAIN
