"""The section of the report on the model that a release predicts with, if it was trained again on all rows."""

from signoff.release.records import Backtest, Metrics, Refit
from signoff.report.document import Block, Code, Section, Words, number


def refit_section(found: Refit, metrics: Metrics, backtest: Backtest | None) -> Section:
    """Return the measurements of the evaluated model, and the known facts about the refitted one.

    `backtest` is the content of backtest.json, if there is a backtest.
    """
    rows, compared = metrics["split"]["rows"], found["agreement"]
    until = f", until {found['last_time']}" if found["last_time"] else ""
    what: Words = [
        f"A release of this model predicts with its recipe trained again on all {found['training_rows']:,} rows"
        f"{until}, the held-out ones included: ", Code("refit.json"), " describes it.",
    ]  # fmt: skip
    measured = (
        "No held-out row is left to measure it on. All scores, slices, figures and alarms in this report are those of "
        f"the evaluated model, which was trained on {rows['train']:,} rows. So are the prediction intervals: they come "
        "from errors of rows that the models had not seen, and are released with both models."
    )
    agrees = (
        f"On the newest {compared['rows']:,} rows, which the model that was trained again has seen, the predictions of "
        f"the two models differ by {number(compared['difference'])} on average, and their means by "
        f"{number(compared['bias'])}. The error of the evaluated model is {number(compared['MAE'])} (the mean on these "
        f"rows, or the median on all held-out rows if it is larger). Above {compared['limit']:g} times the error, an "
        "average difference is an alarm."
    )
    blocks: list[Block] = [what, measured, agrees]
    if backtest:
        error = number(backtest["overall"]["retrained"]["MAE"])
        blocks.append(
            "One week ahead, which is how a release predicts, a model that was retrained every week had a mean "
            f"absolute error of {error} in the backtest of {backtest['weeks']} weeks ({backtest['first_week']} to "
            f"{backtest['last_week']}, {backtest['rows']:,} rows)."
        )
    else:
        blocks.append(["Its error one week ahead is not known. ", Code("make backtest"), " measures it."])
    return Section("The released model", blocks)
