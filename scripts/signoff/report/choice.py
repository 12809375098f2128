"""The section of the report on the settings that were compared, of which one was chosen."""

from signoff.base.numbers import agreed, counted
from signoff.model.records import ComparedSetting, Comparison, Metric, words_of
from signoff.report.document import Alarm, Block, Code, Strong, Table, Words
from signoff.report.results import MOST, rest


def candidates_blocks(found: Comparison, target: str, trained: int) -> list[Block]:
    """Return the section on the settings that were compared, and the number of training rows of the chosen one."""
    settings = found["settings"]
    words = f"Chosen from {counted(len(settings), 'candidate')} by {found['folds']}, on training rows alone"
    if len({each["rows"] for each in settings}) > 1:
        words += "; the best of each round went on to the next, with more rows"
    if "why" in found:
        words += f". The first is chosen: {found['why']}"
        words += ". The simpler one is preferred if it is within one standard error of the best, paired over the folds"
    if trials := found.get("trials"):
        count = trials["count"]
        words += f". {counted(count, 'setting')} {agreed(count, 'was', 'were')} drawn at random"
        words += f", in {trials['minutes']:g} minutes" if "minutes" in trials else ""
    if cost := found.get("cost"):
        words += (
            f". The choice cost {counted(cost['fits'], 'fit')}, which learnt from {cost['rows'] / trained:.3g} times "
            "as many rows as the chosen model; logs/train_model.log has the seconds"
        )
    metric = found.get("metric", "MAE")
    if metric in ("MAE", "RMSE"):
        words += f". {metric} is on the scale of {target}"
    words += f". {rest(len(settings), 'evaluation_metrics.json')}"
    names = ["estimator", "parameters", metric, "spread (standard deviation)", "rows", "verdict"]
    rows = [_candidate(each, metric, n == 0) for n, each in enumerate(settings[:MOST])]
    return [words.strip(), Table("Candidates", names, rows)]


def _candidate(each: ComparedSetting, metric: Metric, chosen: bool) -> list[Words]:
    """Return the row of a setting."""
    # Parameters may be estimators themselves.
    parameters = words_of(each).partition("(")[2].removesuffix(")") or "its defaults"
    verdict = Alarm(f"cannot be trained: {each['problem']}") if each["problem"] else Strong("chosen") if chosen else ""
    return [Code(each["estimator"].rpartition(".")[2]), parameters, each[metric], each["spread"], each["rows"], verdict]
